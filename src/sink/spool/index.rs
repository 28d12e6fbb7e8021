//! Which segments there are, and how many records each has: one small file, replaced as a whole. Owns nothing else; without
//! it (or where it cannot be read) a segment that somebody removed is not missed.
//!
//! ```text
//! "podtapI1" · for each segment: number u64 · records u32 (0xffffffff while it grows) · crc32 of all before   (little-endian)
//! ```
//! A segment is in it from before its first record until just before its file is removed. So a kill -9 at any moment
//! leaves no name in it whose file podtap itself has removed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"podtapI1";
/// Records of a segment that grows.
const GROWING: u32 = u32::MAX;
/// Bytes read at most: names of more segments than a spool ever has.
const MAX_BYTES: u64 = 16 << 20;

/// The number of records of each segment; `None` while it grows.
pub(super) type Listed = BTreeMap<u64, Option<u32>>;

/// The segments of this run.
#[derive(Debug)]
pub(super) struct SegmentIndex {
    directory: PathBuf,
    segments: Listed,
}

impl SegmentIndex {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), segments: Listed::new() }
    }

    /// What an earlier run left, if it can be read.
    pub(super) fn read(&self) -> Option<Listed> {
        let mut bytes = Vec::new();
        fs::File::open(self.path()).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        decode(&bytes)
    }

    /// Takes a segment in, without writing.
    pub(super) fn add(&mut self, number: u64, records: Option<u32>) {
        self.segments.insert(number, records);
    }

    /// Notes that there is a segment, and what it has once it is complete.
    pub(super) fn note(&mut self, number: u64, records: Option<u32>) -> io::Result<()> {
        self.add(number, records);
        self.write()
    }

    /// Forgets a segment.
    pub(super) fn forget(&mut self, number: u64) -> io::Result<()> {
        if self.segments.remove(&number).is_none() {
            return Ok(());
        }
        self.write()
    }

    /// Replaces the file. Where that fails there is none: one that is out of date would report losses that are none.
    pub(super) fn write(&self) -> io::Result<()> {
        let outcome = self.replace();
        if outcome.is_err() {
            let _ = fs::remove_file(self.path());
        }
        outcome
    }

    fn replace(&self) -> io::Result<()> {
        let new = self.directory.join("index.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&encode(&self.segments))?;
        fs::rename(&new, self.path())
    }

    fn path(&self) -> PathBuf {
        self.directory.join("index")
    }
}

fn encode(segments: &Listed) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for (number, records) in segments {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&records.unwrap_or(GROWING).to_le_bytes());
    }
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Listed> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (entries, rest) = covered.strip_prefix(MAGIC)?.as_chunks::<12>();
    let entry = |bytes: &[u8; 12]| {
        let (number, records) = bytes.split_first_chunk::<8>()?;
        let records = u32::from_le_bytes(*records.first_chunk::<4>()?);
        Some((u64::from_le_bytes(*number), (records != GROWING).then_some(records)))
    };
    rest.is_empty().then(|| entries.iter().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dir;
    use super::*;

    #[test]
    fn what_was_noted_is_read_again_and_damage_anywhere_makes_it_unreadable() {
        let dir = Dir::new();
        let mut index = SegmentIndex::new(&dir.0);
        assert_eq!(index.read(), None);
        index.note(7, None).unwrap();
        index.note(8, Some(5)).unwrap();
        index.note(7, Some(3)).unwrap();
        index.note(9, None).unwrap();
        index.forget(8).unwrap();
        assert_eq!(index.read(), Some(Listed::from([(7, Some(3)), (9, None)])));
        let bytes = fs::read(index.path()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert_eq!((decode(&damaged), decode(&bytes[..at])), (None, None), "byte {at}");
        }
    }

    #[test]
    fn one_that_cannot_be_replaced_is_removed() {
        let dir = Dir::new();
        let mut index = SegmentIndex::new(&dir.0);
        index.note(7, None).unwrap();
        fs::create_dir(dir.0.join("index.new")).unwrap();
        assert!(index.note(8, None).is_err());
        assert_eq!(index.read(), None);
    }
}
