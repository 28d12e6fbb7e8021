//! Encoded records on their way to a sink: `RecordBlock`, `BlockPiece`, `Batch`. Owns no queue and knows no target.
//!
//! A record is encoded once for each format in use. Everything behind only counts and points. A block is one buffer
//! with its records' ends, a piece is a run of whole records of a block, and a batch is some pieces.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use sha1::{Digest, Sha1};

use crate::flow::Timestamp;
use crate::ledger::PerDataset;
use crate::record::Dataset;

/// How much makes a batch: whatever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// BATCH_RECORDS.
    pub records: usize,
    /// BATCH_BYTES, of bodies; one record may be larger.
    pub bytes: usize,
    /// BATCH_AGE: how long the oldest record waits for others. Zero: whatever is there goes at once.
    pub age: Duration,
}

/// What one queued record costs next to its body: its `BlockEntry`, the heap part of its id, its share of the queue.
pub const ENTRY_COST: usize = 128;

#[derive(Clone, Debug)]
struct BlockEntry {
    id: CompactString,
    at: Timestamp,
    end: usize,
    dataset: Dataset,
}

/// Encoded records, one behind the other in one buffer.
#[derive(Debug, Default)]
pub struct RecordBlock {
    bytes: Vec<u8>,
    entries: Vec<BlockEntry>,
}

impl RecordBlock {
    /// Appends one record; `encode` appends its bytes (for lines: with the newline), changes nothing before them, and
    /// returns its `event.id` and time.
    pub fn push(&mut self, dataset: Dataset, encode: impl FnOnce(&mut Vec<u8>) -> (CompactString, Timestamp)) {
        self.push_if(dataset, |out| Some(encode(out)));
    }

    /// The same where there may be nothing to append: then `encode` returns nothing, and what it appended is cut off.
    /// Returns whether there was a record.
    pub fn push_if(
        &mut self,
        dataset: Dataset,
        encode: impl FnOnce(&mut Vec<u8>) -> Option<(CompactString, Timestamp)>,
    ) -> bool {
        let start = self.bytes.len();
        let Some((id, at)) = encode(&mut self.bytes) else {
            self.bytes.truncate(start);
            return false;
        };
        self.entries.push(BlockEntry { id, at, end: self.bytes.len(), dataset });
        true
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Takes the records out into a block of exactly their size. So a small block waiting in a queue does not hold a
    /// large buffer that no one counted.
    pub fn take_exact(&mut self) -> Self {
        let (bytes, entries) = (self.bytes.as_slice().into(), self.entries.drain(..).collect());
        let exact = Self { bytes, entries };
        self.bytes.clear();
        exact
    }

    /// Where record `index` begins: at the end of the one before.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |entry| entry.end)
    }
}

/// A run of whole records of one block.
#[derive(Clone, Debug)]
pub struct BlockPiece {
    block: Arc<RecordBlock>,
    from: usize,
    to: usize,
}

impl BlockPiece {
    /// All records of `block`.
    pub fn whole(block: Arc<RecordBlock>) -> Self {
        let to = block.records();
        Self { block, from: 0, to }
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.to - self.from
    }

    /// How many records of each dataset.
    pub fn datasets(&self) -> PerDataset {
        let mut counts = PerDataset::default();
        let entries = self.block.entries.get(self.from..self.to).unwrap_or_default();
        entries.iter().for_each(|entry| counts.add(entry.dataset, 1));
        counts
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> usize {
        self.block.start(self.to) - self.block.start(self.from)
    }

    /// Bodies, one behind the other.
    pub fn body(&self) -> &[u8] {
        self.block.bytes.get(self.block.start(self.from)..self.block.start(self.to)).unwrap_or_default()
    }

    /// The largest number of leading records whose cost is at most `budget`, a record costing its body and `each`.
    pub fn fitting(&self, budget: usize, each: usize) -> usize {
        if self.bytes() + self.records() * each <= budget {
            return self.records();
        }
        let start = self.block.start(self.from);
        let entries = self.block.entries.get(self.from..self.to).unwrap_or_default();
        entries
            .iter()
            .enumerate()
            .position(|(i, entry)| entry.end - start + (i + 1) * each > budget)
            .unwrap_or(entries.len())
    }

    /// Splits off the first `records` records.
    #[must_use]
    pub fn split_front(&mut self, records: usize) -> Self {
        let middle = (self.from + records).min(self.to);
        let front = Self { block: Arc::clone(&self.block), from: self.from, to: middle };
        self.from = middle;
        front
    }

    fn items(&self) -> impl Iterator<Item = BatchItem<'_>> {
        let entries = self.block.entries.get(self.from..self.to).unwrap_or_default();
        let mut start = self.block.start(self.from);
        entries.iter().map(move |entry| {
            let body = self.block.bytes.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            BatchItem { id: &entry.id, at: entry.at, dataset: entry.dataset, body }
        })
    }
}

/// One encoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// `event.id`.
    pub id: &'a str,
    /// Its time.
    pub at: Timestamp,
    /// What kind of event it is.
    pub dataset: Dataset,
    /// What the encoder made of it.
    pub body: &'a [u8],
}

/// What a sink delivers in one go.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pieces: Vec<BlockPiece>,
    records: usize,
    bytes: usize,
}

impl Batch {
    /// Appends a piece.
    pub fn push(&mut self, piece: BlockPiece) {
        if piece.records() == 0 {
            return;
        }
        self.records += piece.records();
        self.bytes += piece.bytes();
        self.pieces.push(piece);
    }

    /// Appends the records of another batch.
    pub fn extend(&mut self, other: Self) {
        other.into_pieces().for_each(|piece| self.push(piece));
    }

    /// How many records of each dataset.
    pub fn datasets(&self) -> PerDataset {
        let mut counts = PerDataset::default();
        self.pieces.iter().for_each(|piece| counts += piece.datasets());
        counts
    }

    /// Its pieces, in order.
    pub fn into_pieces(self) -> impl DoubleEndedIterator<Item = BlockPiece> {
        self.pieces.into_iter()
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The records, in order; their positions are the indices in a `Delivery`.
    pub fn iter(&self) -> impl Iterator<Item = BatchItem<'_>> {
        self.pieces.iter().flat_map(BlockPiece::items)
    }

    /// The bodies as few contiguous slices.
    pub fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.pieces.iter().map(|piece| IoSlice::new(piece.body()))
    }

    /// A name made of the records' ids: the same records again carry the same one (forward's `chunk`).
    pub fn id(&self) -> String {
        use base64::Engine;
        let mut hash = Sha1::new();
        for item in self.iter() {
            hash.update(item.id);
            hash.update([0]);
        }
        base64::engine::general_purpose::STANDARD.encode(hash.finalize())
    }

    /// Records `from..to`.
    #[must_use]
    pub fn range(&self, from: usize, to: usize) -> Self {
        let (mut out, mut at) = (Self::default(), 0);
        for piece in &self.pieces {
            let (first, end) = (at, at + piece.records());
            let mut rest = piece.clone();
            let _before = rest.split_front(from.clamp(first, end) - first);
            out.push(rest.split_front(to.clamp(first, end) - from.clamp(first, end).min(to.clamp(first, end))));
            at = end;
        }
        out
    }

    /// The records at `indices` (ascending; what is out of range is ignored).
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut out = Self::default();
        let mut indices = indices.iter().copied().peekable();
        while let Some(from) = indices.next() {
            let mut to = from + 1;
            while indices.next_if_eq(&to).is_some() {
                to += 1;
            }
            let run = self.range(from, to);
            run.pieces.into_iter().for_each(|piece| out.push(piece));
        }
        out
    }

    /// The largest number of leading records with together at most `bytes` bytes.
    pub fn fitting(&self, bytes: usize) -> usize {
        let (mut left, mut records) = (bytes, 0);
        for piece in &self.pieces {
            let fit = piece.fitting(left, 0);
            records += fit;
            if fit < piece.records() {
                break;
            }
            left -= piece.bytes();
        }
        records
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One block of the given bodies; ids are the bodies.
    pub(crate) fn piece(bodies: &[&str]) -> BlockPiece {
        let mut block = RecordBlock::default();
        for body in bodies {
            block.push(Dataset::Http, |out| {
                out.extend_from_slice(body.as_bytes());
                ((*body).into(), Timestamp(1))
            });
        }
        BlockPiece::whole(Arc::new(block))
    }

    /// One piece of them.
    pub(crate) fn batch(bodies: &[&str]) -> Batch {
        of_pieces(&[bodies])
    }

    fn of_pieces(pieces: &[&[&str]]) -> Batch {
        let mut batch = Batch::default();
        pieces.iter().for_each(|bodies| batch.push(piece(bodies)));
        batch
    }

    fn bodies(batch: &Batch) -> Vec<&str> {
        batch.iter().map(|item| std::str::from_utf8(item.body).unwrap()).collect()
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let batch = of_pieces(&[&["a", "bb"], &["", "cccc"]]);
        assert_eq!(bodies(&batch), ["a", "bb", "", "cccc"]);
        assert_eq!((batch.records(), batch.bytes()), (4, 7));
        assert_eq!(batch.slices().map(|s| s.len()).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn any_range_and_selection_equals_the_one_of_a_vector() {
        let batch = of_pieces(&[&["a", "bb"], &["c"], &["dd", "e", "f"]]);
        let all = bodies(&batch);
        for from in 0..=6 {
            for to in from..=7 {
                let part = batch.range(from, to);
                assert_eq!(bodies(&part), all[from..to.min(6)], "{from}..{to}");
                assert_eq!(part.bytes(), all[from..to.min(6)].concat().len());
            }
        }
        for mask in 0..64u32 {
            let indices: Vec<_> = (0..6).filter(|i| mask >> i & 1 == 1).collect();
            let expected: Vec<_> = indices.iter().map(|i| all[*i]).collect();
            assert_eq!(bodies(&batch.select(&indices)), expected);
        }
        assert_eq!(bodies(&batch.range(4, 2)), [""; 0], "an empty range, not a panic");
        assert_eq!(bodies(&batch.select(&[5, 6, 99])), ["f"]);
    }

    #[test]
    fn as_many_records_fit_as_the_budget_pays_for() {
        let piece = piece(&["aa", "bbb", "c"]);
        assert_eq!([0, 1, 2, 4, 5, 6].map(|budget| piece.fitting(budget, 0)), [0, 0, 1, 1, 2, 3]);
        assert_eq!([11, 12, 24, 25, 36].map(|budget| piece.fitting(budget, 10)), [0, 1, 1, 2, 3]);
        let batch = of_pieces(&[&["aa", "bbb"], &["c"], &["dddd"]]);
        assert_eq!([1, 2, 5, 6, 9, 10].map(|bytes| batch.fitting(bytes)), [0, 1, 2, 3, 3, 4]);
    }

    #[test]
    fn the_same_records_have_the_same_batch_id_however_they_are_cut() {
        let (one, two) = (of_pieces(&[&["a", "b", "c"]]), of_pieces(&[&["a"], &["b", "c"]]));
        assert_eq!(one.id(), two.id());
        assert_ne!(one.id(), of_pieces(&[&["ab", "c"]]).id());
        assert_ne!(one.id(), one.range(0, 2).id());
    }

    #[test]
    fn what_is_no_record_leaves_nothing_in_the_block() {
        let mut block = RecordBlock::default();
        block.push(Dataset::Ledger, |out| (out.extend_from_slice(b"one"), ("1".into(), Timestamp(1))).1);
        assert!(!block.push_if(Dataset::Flow, |out| (out.extend_from_slice(b"half"), None).1));
        assert_eq!((block.records(), block.bytes()), (1, 3));
        assert_eq!(BlockPiece::whole(Arc::new(block)).datasets(), PerDataset::of(Dataset::Ledger, 1));
    }

    #[test]
    fn a_block_taken_out_is_exactly_as_large_as_its_records_and_the_rest_is_reused() {
        let mut block = RecordBlock::default();
        block.bytes.reserve(1 << 16);
        block.push(Dataset::Http, |out| {
            out.extend_from_slice(b"line\n");
            ("id".into(), Timestamp(1))
        });
        let taken = block.take_exact();
        assert_eq!((taken.records(), taken.bytes.capacity()), (1, 5));
        assert!(block.is_empty() && block.bytes.capacity() >= 1 << 16);
    }
}
