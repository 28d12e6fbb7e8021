//! The spool's way out: oldest records first into batches, and what is settled leaves the disk. Owns which batches are out;
//! what comes in, and the bound of it all, is `spool`'s.

use super::cursor::SpoolPosition;
use super::segment::{self, LoadedRecords};
use super::{Spool, SpoolSegment};
use crate::ledger::PerDataset;
use crate::sink::batch::{Batch, BatchLimits, BlockPiece};

/// Records to deliver.
#[derive(Debug)]
pub(in crate::sink) enum TakenRecords {
    Batch(Batch, Ticket),
    /// Not before something is settled.
    Wait,
    Nothing,
}

/// Names a batch until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Ticket(u64);

/// The segment being delivered.
#[derive(Debug)]
pub(super) struct SegmentReading {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) rest: BlockPiece,
    /// Ordinals of all records that were loaded.
    pub(super) ordinals: Vec<u32>,
}

/// A batch taken and not yet settled, or settled before an older one.
#[derive(Debug)]
pub(super) struct OutstandingBatch {
    pub(super) ticket: Ticket,
    pub(super) settled: bool,
    pub(super) end: SpoolPosition,
    /// The segment's last batch: the file goes with it.
    pub(super) last_of: Option<u64>,
}

impl Spool {
    /// The next records in order, at most `limits`; at most `readers` batches are unsettled at any moment. The number
    /// returned with it is of records that counted as spooled and cannot be read.
    pub(in crate::sink) fn take(&mut self, limits: &BatchLimits, readers: usize) -> (TakenRecords, PerDataset) {
        if self.outstanding.len() >= readers.max(1) {
            return (TakenRecords::Wait, PerDataset::default());
        }
        let mut lost = PerDataset::default();
        while self.reading.is_none() {
            match self.load_next() {
                Some(unreadable) => lost += unreadable,
                None => return (TakenRecords::Nothing, lost),
            }
        }
        let ticket = self.next_ticket();
        let Some(reading) = &mut self.reading else { return (TakenRecords::Nothing, lost) };
        let fit = reading.rest.fitting(limits.bytes, 0).min(limits.records).max(1);
        let mut batch = Batch::default();
        batch.push(reading.rest.split_front(fit));
        let left = reading.rest.records();
        let last = reading.ordinals.get((reading.ordinals.len() - left).saturating_sub(1));
        let end =
            SpoolPosition { segment: reading.number, ordinal: last.map_or(0, |ordinal| ordinal.saturating_add(1)) };
        let last_of = (left == 0).then_some(reading.bytes);
        if left == 0 {
            self.reading = None;
        }
        self.outstanding.push_back(OutstandingBatch { ticket, settled: false, end, last_of });
        (TakenRecords::Batch(batch, ticket), lost)
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Reads the oldest segment into memory; returns how many of its records cannot be read, or that there is none.
    fn load_next(&mut self) -> Option<PerDataset> {
        if !self.segments.iter().any(|segment| !segment.foreign) {
            self.close_writing(false);
        }
        let index = self.segments.iter().position(|segment| !segment.foreign)?;
        let segment = self.segments.remove(index)?;
        match segment::load(&segment::path(&self.directory, segment.number), segment.from) {
            Ok(LoadedRecords { piece, ordinals, damaged }) => {
                let lost = segment.records.without(piece.datasets());
                if lost.total() > 0 {
                    let (path, lost) = (self.directory.display(), lost.total());
                    tracing::warn!(%path, lost, damaged, "damaged records in the spool");
                }
                if ordinals.is_empty() {
                    self.remove(segment.number, segment.bytes);
                } else {
                    let SpoolSegment { number, bytes, .. } = segment;
                    self.reading = Some(SegmentReading { number, bytes, rest: piece, ordinals });
                }
                Some(lost)
            }
            Err(error) => {
                // The file stays: whatever it is, the next start may be luckier.
                self.bytes = self.bytes.saturating_sub(segment.bytes);
                let outcome = self.index.forget(segment.number);
                self.report_index(outcome);
                self.complain("cannot read a segment; leaving it", &error);
                Some(segment.records)
            }
        }
    }

    /// A batch is delivered or rejected, every record of it.
    pub(in crate::sink) fn settle(&mut self, ticket: Ticket) {
        if let Some(taken) = self.outstanding.iter_mut().find(|taken| taken.ticket == ticket) {
            taken.settled = true;
        }
        let mut reached = None;
        while self.outstanding.front().is_some_and(|taken| taken.settled) {
            let Some(taken) = self.outstanding.pop_front() else { break };
            reached = Some(taken.end);
            if let Some(bytes) = taken.last_of {
                self.remove(taken.end.segment, bytes);
                reached = None;
            }
        }
        if let Some(position) = reached
            && let Err(error) = self.cursor.write(position)
        {
            self.complain("cannot write the spool's cursor; after a restart some records are sent twice", &error);
        }
    }
}
