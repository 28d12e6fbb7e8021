//! The bytes of a segment: header, records, footer. Owns encoding and decoding; opens no file. Bytes from a disk are not
//! trusted: nothing is believed before its checksum fits, and no length makes memory grow.
//!
//! All numbers little-endian.
//! ```text
//! block    "podtapS2" · marker u32 · records u32 · length u8 · encoding (padded to 43 bytes) · crc32 of all before
//! header   two blocks, in which `records` is not known yet (0xffffffff)
//! record   marker u32 · length u32 · ordinal u32 · crc32 of these three
//!          · crc32 of all behind it · time i64 · dataset u8 · id length u16 · id · body      (`length` bytes after the crc32)
//! footer   one block, once the segment is complete
//! ```
//! The marker is a random number of this segment: behind damage the next record is looked for by it, and no recorded
//! traffic can contain it on purpose. What is needed to read a segment is in three places, so that no single damaged
//! byte costs more than its record. A record's length and ordinal have their own checksum. They say how many records were
//! lost behind damage, and separate a damaged record from one whose write was cut off. The footer says how many records
//! there are; where it is missing too, what is lost at the end is counted in bytes.
//!
//! Segments of the version before (`v1`) are read, never written.

mod records;
#[cfg(test)]
mod tests;
pub(super) mod v1;

pub(super) use self::records::SegmentRecords;
use crate::sink::batch::BatchItem;

/// What every version begins with.
const MAGIC_NAME: [u8; 7] = *b"podtapS";
const MAGIC: [u8; 8] = *b"podtapS2";
/// Bytes of a block.
const BLOCK: usize = 64;
/// Bytes before the first record of a segment.
pub const HEADER: usize = 2 * BLOCK;
/// Longest name of an encoding.
const ENCODING_LEN: usize = BLOCK - MAGIC.len() - 4 - 4 - 1 - 4;
/// Not known yet.
const GROWING: u32 = u32::MAX;
/// Marker, length, ordinal, crc.
const PREFIX: usize = 16;
/// Crc, time, dataset, id length.
const FIXED: usize = 15;

/// What a record costs on disk next to id and body.
pub(super) const RECORD_COST: usize = PREFIX + FIXED;
/// What a segment costs next to its records.
pub(super) const SEGMENT_COST: u64 = (HEADER + BLOCK) as u64;

/// The bytes that begin each record of one segment.
pub(super) type Marker = [u8; 4];

/// What is around the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) marker: Marker,
    /// What bodies are: a segment is only sent by a sink that wants the same.
    pub(super) encoding: Box<str>,
}

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink::spool) struct SpooledRecord<'a> {
    pub(in crate::sink::spool) ordinal: u32,
    pub(in crate::sink::spool) item: BatchItem<'a>,
}

/// What bytes begin with.
enum NextBytes<'a> {
    Record(SpooledRecord<'a>, &'a [u8]),
    /// Its length and ordinal are known, the rest of it is damaged.
    Damaged {
        ordinal: u32,
        behind: &'a [u8],
    },
    /// A record whose write was cut off by the end of the file: it had not counted as stored.
    Torn {
        ordinal: u32,
    },
    Nothing,
}

/// Whether one begins with the other.
fn starts_alike(bytes: &[u8], marker: &Marker) -> bool {
    bytes.iter().zip(marker).all(|(a, b)| a == b)
}

/// Why a segment cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// The file ends in it: killed before anything was stored.
    Torn,
    /// Written by another version.
    OtherVersion,
    /// No copy of it adds up.
    Damaged,
}

/// A segment whose records can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenedSegment<'a> {
    pub(super) header: SegmentHeader,
    version: LayoutVersion,
    /// The records.
    bytes: &'a [u8],
    /// How many there are, where the footer says so.
    complete: Option<u32>,
    /// Bytes of damaged copies of the header.
    damaged: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LayoutVersion {
    One,
    Two,
}

impl SegmentHeader {
    pub(super) fn new(marker: Marker, encoding: &str) -> Self {
        let end = (0..=encoding.len().min(ENCODING_LEN)).rev().find(|end| encoding.is_char_boundary(*end));
        Self { marker, encoding: encoding.get(..end.unwrap_or(0)).unwrap_or_default().into() }
    }

    /// What a segment begins with.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.block(GROWING).repeat(2)
    }

    /// What a segment of this many records ends with.
    pub(super) fn footer(&self, records: u32) -> Vec<u8> {
        self.block(records)
    }

    fn block(&self, records: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.marker);
        out.extend_from_slice(&records.to_le_bytes());
        out.push(self.encoding.len() as u8);
        out.extend_from_slice(self.encoding.as_bytes());
        out.resize(BLOCK - 4, 0);
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    fn of_block(block: &[u8]) -> Option<(Self, u32)> {
        let (covered, crc) = block.split_at_checked(BLOCK - 4)?;
        if crc != crc32fast::hash(covered).to_le_bytes() || !covered.starts_with(&MAGIC) {
            return None;
        }
        let (_, rest) = covered.split_at_checked(MAGIC.len())?;
        let (marker, rest) = rest.split_first_chunk::<4>()?;
        let (records, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first()?;
        let encoding = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
        Some((Self { marker: *marker, encoding: encoding.into() }, u32::from_le_bytes(*records)))
    }
}

/// Finds what is needed to read a segment: the first copy that adds up counts.
pub(super) fn open(bytes: &[u8]) -> Result<OpenedSegment<'_>, BadHeader> {
    match open_v2(bytes) {
        // Not before: one damaged byte makes the older name of the newer one.
        Err(_) if bytes.starts_with(v1::MAGIC) => {
            let (header, bytes) = v1::header(bytes)?;
            Ok(OpenedSegment { header, version: LayoutVersion::One, bytes, complete: None, damaged: 0 })
        }
        outcome => outcome,
    }
}

fn open_v2(bytes: &[u8]) -> Result<OpenedSegment<'_>, BadHeader> {
    let Some((header, behind)) = bytes.split_at_checked(HEADER) else {
        let named = MAGIC_NAME.starts_with(bytes.get(..MAGIC_NAME.len()).unwrap_or(bytes));
        let ours = MAGIC.starts_with(bytes.get(..MAGIC.len()).unwrap_or(bytes));
        return Err(if named && !ours { BadHeader::OtherVersion } else { BadHeader::Torn });
    };
    let (first, second) = header.split_at(BLOCK);
    let copies = [SegmentHeader::of_block(first), SegmentHeader::of_block(second)];
    let damaged = copies.iter().filter(|copy| copy.is_none()).count() * BLOCK;
    let found = copies.into_iter().flatten().next().map(|(header, _)| header);
    let split = behind.len().checked_sub(BLOCK).and_then(|at| behind.split_at_checked(at));
    let footer = split.and_then(|(records, footer)| Some((records, SegmentHeader::of_block(footer)?)));
    // A body may end in any bytes; only in the marker it cannot.
    let footer = footer.filter(|(_, (at_end, _))| found.as_ref().is_none_or(|found| found == at_end));
    match (found, footer) {
        (Some(header), None) => Ok(OpenedSegment {
            header,
            version: LayoutVersion::Two,
            bytes: behind,
            complete: None,
            damaged: damaged as u64,
        }),
        (_, Some((bytes, (header, records)))) => {
            let complete = (records != GROWING).then_some(records);
            Ok(OpenedSegment { header, version: LayoutVersion::Two, bytes, complete, damaged: damaged as u64 })
        }
        (None, None) if first.starts_with(&MAGIC_NAME) && !first.starts_with(&MAGIC) => Err(BadHeader::OtherVersion),
        (None, None) => Err(BadHeader::Damaged),
    }
}

impl<'a> OpenedSegment<'a> {
    /// With what somebody else knows of the number of records.
    pub(super) fn of_at_least(self, records: Option<u32>) -> Self {
        Self { complete: self.complete.max(records), ..self }
    }

    /// The records from ordinal `from` on; of those before it nothing is counted as lost.
    pub(super) fn records(self, from: u32) -> SegmentRecords<'a> {
        SegmentRecords::new(self, from)
    }
}

/// Appends one record; false when it is too large for the layout.
pub(super) fn encode_record(out: &mut Vec<u8>, marker: Marker, ordinal: u32, item: &BatchItem<'_>) -> bool {
    let (Ok(id_len), Ok(length)) =
        (u16::try_from(item.id.len()), u32::try_from(FIXED - 4 + item.id.len() + item.body.len()))
    else {
        return false;
    };
    let start = out.len();
    out.extend_from_slice(&marker);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&ordinal.to_le_bytes());
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
    let crc_at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&item.at.0.to_le_bytes());
    out.push(item.dataset as u8);
    out.extend_from_slice(&id_len.to_le_bytes());
    out.extend_from_slice(item.id.as_bytes());
    out.extend_from_slice(item.body);
    let crc = crc32fast::hash(out.get(crc_at + 4..).unwrap_or_default());
    if let Some(slot) = out.get_mut(crc_at..crc_at + 4) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    true
}

/// What there is in a segment's bytes, whatever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSurvey {
    /// Ids of the records that can be read, in order.
    pub ids: Vec<String>,
    /// Records known to be lost.
    pub lost: u64,
    /// Bytes of what can be read.
    pub whole: u64,
    /// Bytes of what cannot.
    pub damaged: u64,
    /// Of those, bytes that held an unknown number of records.
    pub unknown: u64,
}

/// Reads any bytes as a segment: what the fuzz target holds on to. `None` where they cannot be one.
pub fn survey(bytes: &[u8]) -> Option<SegmentSurvey> {
    let opened = open(bytes).ok()?;
    let outside = (bytes.len() - opened.bytes.len()) as u64 - opened.damaged;
    let cost = if opened.version == LayoutVersion::One { v1::RECORD_COST } else { RECORD_COST };
    let mut records = opened.records(0);
    let (mut ids, mut whole) = (Vec::new(), outside);
    for stored in records.by_ref() {
        ids.push(stored.item.id.to_owned());
        whole += (stored.item.id.len() + stored.item.body.len() + cost) as u64;
    }
    Some(SegmentSurvey { ids, lost: records.lost, whole, damaged: records.damaged, unknown: records.unknown })
}

/// A complete segment of these records; the fuzz target damages it.
pub fn segment<'a>(marker: [u8; 4], encoding: &str, items: impl IntoIterator<Item = BatchItem<'a>>) -> Vec<u8> {
    let header = SegmentHeader::new(marker, encoding);
    let mut out = header.encode();
    let mut records = 0;
    for item in items {
        records += u32::from(encode_record(&mut out, marker, records, &item));
    }
    out.extend_from_slice(&header.footer(records));
    out
}
