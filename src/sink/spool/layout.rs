//! The bytes of a segment: header, then records. Owns encoding and decoding; opens no file. Bytes from a disk are not
//! trusted: nothing is believed before its checksum fits, and no length makes memory grow.
//!
//! All numbers little-endian.
//! ```text
//! header   "podtapS1" · marker u32 · length u8 · encoding (so many bytes) · crc32 of all before
//! record   marker u32 · length u32 · crc32 u32 · ordinal u32 · time i64 · id length u16 · id · body
//!                       └ bytes from `ordinal` on      └ of `length` and of the bytes from `ordinal` on
//! ```
//! The marker is a random number of this segment: behind damage the next record is looked for by it, and no recorded
//! traffic can contain it on purpose. Ordinals count a segment's records, so that behind damage it is known how many
//! were lost.

use crate::flow::Timestamp;
use crate::sink::batch::Item;

const MAGIC: [u8; 8] = *b"podtapS1";
/// Magic up to the version.
const MAGIC_NAME: usize = 7;
/// Longest name of an encoding; its length is one byte.
const ENCODING_LEN: usize = 200;
/// Marker, length, crc.
const PREFIX: usize = 12;
/// Ordinal, time, id length.
const FIXED: usize = 14;

/// What a record costs on disk beside id and body.
pub(super) const RECORD_COST: usize = PREFIX + FIXED;

/// The bytes that begin each record of one segment.
pub(super) type Marker = [u8; 4];

/// What stands before the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) marker: Marker,
    /// What bodies are: a segment is only sent by a sink that wants the same.
    pub(super) encoding: Box<str>,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// The file ends in it: killed before anything was stored.
    Torn,
    /// Written by another version.
    OtherVersion,
    /// It does not add up.
    Damaged,
}

impl Header {
    pub(super) fn new(marker: Marker, encoding: &str) -> Self {
        let end = (0..=encoding.len().min(ENCODING_LEN)).rev().find(|end| encoding.is_char_boundary(*end));
        Self { marker, encoding: encoding.get(..end.unwrap_or(0)).unwrap_or_default().into() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.marker);
        out.push(self.encoding.len() as u8);
        out.extend_from_slice(self.encoding.as_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// The header and what follows it.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), BadHeader> {
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(magic) {
            let named = magic.get(..MAGIC_NAME) == MAGIC.get(..MAGIC_NAME);
            return Err(if named { BadHeader::OtherVersion } else { BadHeader::Damaged });
        }
        let parts = || {
            let (_, rest) = bytes.split_at_checked(MAGIC.len())?;
            let (marker, rest) = rest.split_first_chunk::<4>()?;
            let (length, rest) = rest.split_first()?;
            let (encoding, rest) = rest.split_at_checked(usize::from(*length))?;
            let (crc, rest) = rest.split_first_chunk::<4>()?;
            Some((marker, encoding, u32::from_le_bytes(*crc), rest))
        };
        let Some((marker, encoding, crc, rest)) = parts() else { return Err(BadHeader::Torn) };
        let covered = bytes.len() - rest.len() - 4;
        let whole = bytes.get(..covered).is_some_and(|bytes| crc32fast::hash(bytes) == crc);
        match std::str::from_utf8(encoding) {
            Ok(encoding) if whole => Ok((Self { marker: *marker, encoding: encoding.into() }, rest)),
            _ => Err(BadHeader::Damaged),
        }
    }
}

/// Appends one record; false when it is too large for the layout.
pub(super) fn encode_record(out: &mut Vec<u8>, marker: Marker, ordinal: u32, item: &Item<'_>) -> bool {
    let (Ok(id_len), Ok(length)) =
        (u16::try_from(item.id.len()), u32::try_from(FIXED + item.id.len() + item.body.len()))
    else {
        return false;
    };
    out.extend_from_slice(&marker);
    out.extend_from_slice(&length.to_le_bytes());
    let crc_at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&ordinal.to_le_bytes());
    out.extend_from_slice(&item.at.0.to_le_bytes());
    out.extend_from_slice(&id_len.to_le_bytes());
    out.extend_from_slice(item.id.as_bytes());
    out.extend_from_slice(item.body);
    let crc = checksum(length, out.get(crc_at + 4..).unwrap_or_default());
    if let Some(slot) = out.get_mut(crc_at..crc_at + 4) {
        slot.copy_from_slice(&crc.to_le_bytes());
    }
    true
}

fn checksum(length: u32, bytes: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&length.to_le_bytes());
    hash.update(bytes);
    hash.finalize()
}

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) ordinal: u32,
    pub(super) item: Item<'a>,
}

/// The records of a segment, in order; what is damaged is passed over and counted.
#[derive(Debug)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
    marker: Marker,
    next: u32,
    /// Records known to be lost: ordinals that are missing before one that was found.
    pub(super) lost: u64,
    /// Bytes that belong to no record that can be read.
    pub(super) damaged: u64,
}

impl<'a> Records<'a> {
    /// `bytes` is what follows the header.
    pub(super) fn new(marker: Marker, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, marker, next: 0, lost: 0, damaged: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        while !self.rest.is_empty() {
            if let Some((stored, rest)) = decode_record(self.marker, self.rest)
                && stored.ordinal >= self.next
            {
                self.lost += u64::from(stored.ordinal - self.next);
                self.next = stored.ordinal.saturating_add(1);
                self.rest = rest;
                return Some(stored);
            }
            let behind = self.rest.get(1..).unwrap_or_default();
            let skip = memchr::memmem::find(behind, &self.marker).unwrap_or(behind.len()) + 1;
            self.damaged += skip as u64;
            self.rest = self.rest.get(skip..).unwrap_or_default();
        }
        None
    }
}

fn decode_record(marker: Marker, bytes: &[u8]) -> Option<(Stored<'_>, &[u8])> {
    let (found, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let (record, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    if *found != marker || checksum(length, record) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (ordinal, rest) = record.split_first_chunk::<4>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (id_len, rest) = rest.split_first_chunk::<2>()?;
    let (id, body) = rest.split_at_checked(usize::from(u16::from_le_bytes(*id_len)))?;
    let item = Item { id: std::str::from_utf8(id).ok()?, at: Timestamp(i64::from_le_bytes(*at)), body };
    Some((Stored { ordinal: u32::from_le_bytes(*ordinal), item }, behind))
}

/// What there is in a segment's bytes, whatever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Ids of the records that can be read, in order.
    pub ids: Vec<String>,
    /// Records known to be lost.
    pub lost: u64,
    /// Bytes of what can be read.
    pub whole: u64,
    /// Bytes of what cannot.
    pub damaged: u64,
}

/// Reads any bytes as a segment: what the fuzz target holds on to. `None` without a usable header.
pub fn survey(bytes: &[u8]) -> Option<Survey> {
    let (header, rest) = Header::decode(bytes).ok()?;
    let mut records = Records::new(header.marker, rest);
    let (mut ids, mut whole) = (Vec::new(), 0);
    for stored in records.by_ref() {
        ids.push(stored.item.id.to_owned());
        whole += (stored.item.id.len() + stored.item.body.len() + RECORD_COST) as u64;
    }
    Some(Survey { ids, lost: records.lost, whole, damaged: records.damaged })
}

/// A segment of these records; the fuzz target damages it.
pub fn segment<'a>(marker: [u8; 4], encoding: &str, items: impl IntoIterator<Item = Item<'a>>) -> Vec<u8> {
    let mut out = Header::new(marker, encoding).encode();
    for (ordinal, item) in (0..).zip(items) {
        encode_record(&mut out, marker, ordinal, &item);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKER: Marker = [7, 0, 255, 3];

    /// A segment of these bodies and the offset behind each record.
    fn segment(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let mut out = super::segment(MARKER, "fake/ecs", []);
        let mut ends = Vec::new();
        for (n, body) in bodies.iter().enumerate() {
            let id = format!("id-{n}");
            let item = Item { id: &id, at: Timestamp(n as i64 - 1), body };
            assert!(encode_record(&mut out, MARKER, n as u32, &item));
            ends.push(out.len());
        }
        (out, ends)
    }

    /// Ordinals and bodies; lost; damaged.
    fn read(bytes: &[u8]) -> (Vec<(u32, Vec<u8>)>, u64, u64) {
        let Ok((header, rest)) = Header::decode(bytes) else { return (Vec::new(), 0, bytes.len() as u64) };
        let mut records = Records::new(header.marker, rest);
        let got = records.by_ref().map(|s| (s.ordinal, s.item.body.to_vec())).collect();
        (got, records.lost, records.damaged)
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Bodies made of the marker and of whole records are the nastiest.
        let nasty = prop_oneof![Just(MARKER.to_vec()), Just(segment(&[b"inner".to_vec()]).0), Just(Vec::new())];
        let any = proptest::collection::vec(any::<u8>(), 0..60);
        proptest::collection::vec(prop_oneof![3 => any, 1 => nasty], 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_prefix_of_the_bytes_gives_a_prefix_of_the_records(bodies in bodies()) {
            let (bytes, ends) = segment(&bodies);
            for cut in 0..=bytes.len() {
                let whole = ends.iter().filter(|end| **end <= cut).count();
                let (got, lost, _) = read(&bytes[..cut]);
                // What a torn body contains of a record of this very segment may be taken for one; a marker that is
                // random makes that impossible, here it is known.
                let real: Vec<_> = got.into_iter().filter(|(n, body)| bodies.get(*n as usize) == Some(body)).collect();
                prop_assert_eq!(real.len(), whole);
                prop_assert!(real.iter().enumerate().all(|(n, (ordinal, _))| n as u32 == *ordinal));
                prop_assert_eq!(lost, 0);
            }
        }

        #[test]
        fn a_damaged_byte_costs_at_most_its_record_and_is_counted(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..8),
            flip in 1u8..,
        ) {
            let (bytes, ends) = segment(&bodies);
            let header = Header::new(MARKER, "fake/ecs").encode().len();
            for at in header..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let hit = ends.iter().filter(|end| **end <= at).count();
                let (got, lost, damaged) = read(&damaged);
                let expected: Vec<_> = bodies.iter().cloned().enumerate().map(|(n, b)| (n as u32, b))
                    .filter(|(n, _)| *n as usize != hit).collect();
                prop_assert_eq!(got, expected);
                prop_assert!(damaged > 0);
                // The last record's loss is only known by its bytes.
                prop_assert_eq!(lost, u64::from(hit + 1 < bodies.len()));
            }
        }

        #[test]
        fn no_bytes_panic_and_every_one_is_accounted_for(
            noise in proptest::collection::vec(any::<u8>(), 0..300), whole in any::<bool>()
        ) {
            let mut bytes = if whole { segment(&[b"a".to_vec()]).0 } else { Vec::new() };
            bytes.extend_from_slice(&noise);
            let header = segment(&[]).0.len();
            if let Some(found) = survey(&bytes) {
                prop_assert!(!whole || !found.ids.is_empty());
                prop_assert_eq!(found.whole + found.damaged, (bytes.len() - header) as u64);
            }
        }
    }

    #[test]
    fn a_damaged_header_is_told_from_a_torn_one_and_from_another_version() {
        let bytes = segment(&[]).0;
        assert_eq!(Header::decode(&bytes).unwrap().0.encoding.as_ref(), "fake/ecs");
        for cut in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..cut]), Err(BadHeader::Torn), "{cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let why = Header::decode(&damaged).unwrap_err();
            assert!(
                why == if at == 7 { BadHeader::OtherVersion } else { BadHeader::Damaged } || at == 12,
                "{at} {why:?}"
            );
        }
    }

    #[test]
    fn an_id_longer_than_its_length_field_is_refused() {
        let id = "x".repeat(70_000);
        let mut out = Vec::new();
        assert!(!encode_record(&mut out, MARKER, 0, &Item { id: &id, at: Timestamp(0), body: b"" }));
        assert!(out.is_empty());
    }
}
