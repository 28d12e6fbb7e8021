//! Segments of podtap 0.1, for reading only: what an update finds in the spool is delivered.
//!
//! ```text
//! header   "podtapS1" · marker u32 · length u8 · encoding (this many bytes) · crc32 of all before
//! record   marker u32 · length u32 · crc32 u32 · ordinal u32 · time i64 · id length u16 · id · body
//!                       └ bytes from `ordinal` on      └ of `length` and of the bytes from `ordinal` on
//! ```

use super::{BadHeader, Marker, NextBytes, SegmentHeader, SpooledRecord, starts_alike};
use crate::flow::Timestamp;
use crate::record::Dataset;
use crate::sink::batch::BatchItem;

pub(super) const MAGIC: &[u8; 8] = b"podtapS1";
/// Marker, length, crc.
const PREFIX: usize = 12;
/// What a record costs next to id and body: also ordinal, time, id length.
pub(super) const RECORD_COST: usize = PREFIX + 14;

/// The header and what follows it.
pub(super) fn header(bytes: &[u8]) -> Result<(SegmentHeader, &[u8]), BadHeader> {
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
        Ok(encoding) if whole => Ok((SegmentHeader { marker: *marker, encoding: encoding.into() }, rest)),
        _ => Err(BadHeader::Damaged),
    }
}

pub(super) fn parse(marker: Marker, bytes: &[u8]) -> NextBytes<'_> {
    record(marker, bytes).map_or(NextBytes::Nothing, |(stored, behind)| NextBytes::Record(stored, behind))
}

fn record(marker: Marker, bytes: &[u8]) -> Option<(SpooledRecord<'_>, &[u8])> {
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
    let at = Timestamp(i64::from_le_bytes(*at));
    let item = BatchItem { id: std::str::from_utf8(id).ok()?, at, dataset: dataset(body), body };
    Some((SpooledRecord { ordinal: u32::from_le_bytes(*ordinal), item }, behind))
}

fn checksum(length: u32, bytes: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&length.to_le_bytes());
    hash.update(bytes);
    hash.finalize()
}

/// It was not stored, but `event.dataset` is in the body. As it is searched for it is nowhere else. In JSON a quote
/// within a string is escaped, and in MessagePack the bytes of the two lengths are no UTF-8 there.
fn dataset(body: &[u8]) -> Dataset {
    let json = br#""dataset":"podtap.ledger""#;
    let msgpack = b"\xa7dataset\xadpodtap.ledger";
    let has = |words: &[u8]| memchr::memmem::find(body, words).is_some();
    if has(json) || has(msgpack) { Dataset::Ledger } else { Dataset::Http }
}

/// Whether the last bytes of a file are the beginning of a record that was longer.
pub(super) fn is_torn(marker: Marker, bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| length.first_chunk::<4>()).map(|length| u32::from_le_bytes(*length));
    let whole = length.map_or(usize::MAX, |length| PREFIX.saturating_add(length as usize));
    starts_alike(bytes, &marker) && bytes.len() < whole
}
