//! How far a segment has been settled: one small file, overwritten in place. Owns nothing else; without it (or where
//! neither slot can be read) a segment is simply delivered again from its start.
//!
//! ```text
//! two slots of   generation u64 · segment u64 · ordinal u32 · crc32 of all before     (little-endian)
//! ```
//! Generation n goes to slot n mod 2: a torn write leaves the one before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const SLOT: usize = 24;

/// Records of `segment` before `ordinal` are settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpoolPosition {
    pub(super) segment: u64,
    pub(super) ordinal: u32,
}

#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
    /// The numbers of all segments that a slot may name lie between these two. None of them is used again, as a
    /// position would apply to another segment.
    pub(super) lowest: u64,
    pub(super) highest: Option<u64>,
}

impl Cursor {
    /// Takes the open file; returns the newest position it holds.
    pub(super) fn new(file: File) -> (Self, SpoolPosition) {
        let mut bytes = [0; 2 * SLOT];
        let mut read = 0;
        while let Ok(n) = file.read_at(bytes.get_mut(read..).unwrap_or_default(), read as u64)
            && n > 0
        {
            read += n;
        }
        let slots = || bytes.as_chunks::<SLOT>().0.iter().filter_map(decode);
        let (generation, position) = slots().max_by_key(|(generation, _)| *generation).unwrap_or_default();
        let named = || slots().map(|(_, position)| position.segment);
        let (lowest, highest) = (named().min().unwrap_or(u64::MAX), named().max());
        (Self { file, generation, lowest, highest }, position)
    }

    pub(super) fn write(&mut self, position: SpoolPosition) -> io::Result<()> {
        self.generation += 1;
        self.lowest = self.lowest.min(position.segment);
        self.highest = self.highest.max(Some(position.segment));
        let mut slot = Vec::with_capacity(SLOT);
        slot.extend_from_slice(&self.generation.to_le_bytes());
        slot.extend_from_slice(&position.segment.to_le_bytes());
        slot.extend_from_slice(&position.ordinal.to_le_bytes());
        slot.extend_from_slice(&crc32fast::hash(&slot).to_le_bytes());
        self.file.write_all_at(&slot, self.generation % 2 * SLOT as u64)
    }
}

fn decode(slot: &[u8; SLOT]) -> Option<(u64, SpoolPosition)> {
    let (generation, rest) = slot.split_first_chunk::<8>()?;
    let (segment, rest) = rest.split_first_chunk::<8>()?;
    let (ordinal, rest) = rest.split_first_chunk::<4>()?;
    let crc = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let covered = slot.get(..SLOT - 4)?;
    let position = SpoolPosition { segment: u64::from_le_bytes(*segment), ordinal: u32::from_le_bytes(*ordinal) };
    (crc32fast::hash(covered) == crc).then_some((u64::from_le_bytes(*generation), position))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dir;
    use super::*;

    fn open(dir: &Dir) -> (Cursor, SpoolPosition) {
        let path = dir.0.join("cursor");
        Cursor::new(File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap())
    }

    #[test]
    fn the_newest_position_is_read_and_a_torn_one_leaves_the_one_before() {
        let dir = Dir::new();
        assert_eq!(open(&dir).1, SpoolPosition::default());
        let at = |n: u32| SpoolPosition { segment: 7, ordinal: n };
        for n in 1..=5 {
            open(&dir).0.write(at(n)).unwrap();
            assert_eq!(open(&dir).1, at(n));
        }
        // Generation 5 lies in the second slot.
        for byte in SLOT..2 * SLOT {
            let file = File::options().read(true).write(true).open(dir.0.join("cursor")).unwrap();
            let mut old = [0];
            file.read_exact_at(&mut old, byte as u64).unwrap();
            file.write_all_at(&[old[0] ^ 0x55], byte as u64).unwrap();
            assert_eq!(open(&dir).1, at(4), "{byte}");
            file.write_all_at(&old, byte as u64).unwrap();
        }
        assert_eq!(open(&dir).1, at(5));
    }

    #[test]
    fn an_empty_slot_is_no_position() {
        assert_eq!(decode(&[0; SLOT]), None);
    }
}
