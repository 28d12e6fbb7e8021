//! Where bytes leave: events to the analyzer, each byte into the ledger.
//!
//! Opens the analyzer at the first event. Decides nothing about order (that is `stream` and `disorder`).

use std::collections::VecDeque;

use super::recent::RecentBytes;
use super::{Analyzer, ConnSummary, GapCause, StreamEvent, TcpLimits};
use crate::flow::{Direction, Timestamp};
use crate::ledger::{Discard, StreamLedger};
use crate::packet::{Checksum, Segment};

/// What all connections of a table share.
pub(super) struct TableShared {
    pub(super) limits: TcpLimits,
    pub(super) ledger: StreamLedger,
    pub(super) holds: HeldStreams,
    pub(super) recent: RecentBytes,
}

impl TableShared {
    /// Counts captured bytes that are not passed on.
    pub(super) fn discard(&mut self, why: Discard, bytes: usize) {
        self.ledger.discarded.add(why as usize, bytes as u64);
    }
}

/// Who holds bytes out of order, oldest first, so that the oldest gives up when all together hold too much.
#[derive(Default)]
pub(super) struct HeldStreams {
    /// What all held bytes cost in memory, bookkeeping included.
    pub(super) cost: usize,
    /// In the order they began to hold; streams that have let go since are skipped when their turn comes.
    pub(super) queue: VecDeque<StreamHolder>,
    /// How many of the queue still hold.
    active: usize,
    last_id: u64,
}

/// A stream that began to hold bytes.
#[derive(Clone, Copy)]
pub(super) struct StreamHolder {
    pub(super) index: u32,
    pub(super) from: Direction,
    /// Equal to the stream's own while it still holds.
    pub(super) id: u64,
}

impl HeldStreams {
    /// A stream begins to hold: its id from now on.
    pub(super) fn begin(&mut self, index: u32, from: Direction) -> u64 {
        self.last_id += 1;
        self.active += 1;
        self.queue.push_back(StreamHolder { index, from, id: self.last_id });
        self.last_id
    }

    /// A stream holds nothing any more.
    pub(super) fn end(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// None holds anything, nor is remembered as one that did.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.cost == 0 && self.queue.is_empty()
    }

    /// Most of the queue are streams that have let go: time to sweep it.
    pub(super) fn is_stale(&self) -> bool {
        self.queue.len() > 2 * self.active + 64
    }
}

/// The way out of one stream.
pub(super) struct StreamOutlet<'a, A: Analyzer> {
    /// Which stream.
    pub(super) from: Direction,
    /// Slot of the connection.
    pub(super) index: u32,
    /// The opposite side is heard: its acknowledgements would prove a loss.
    pub(super) answered: bool,
    /// How far the opposite stream was passed on, when more of it may come.
    pub(super) opposite: Option<u64>,
    pub(super) conn: &'a mut ConnSummary,
    pub(super) analyzer: &'a mut Option<Box<A>>,
    /// A stream that ended before there was an analyzer to tell.
    pub(super) early_end: &'a mut Option<Box<Timestamp>>,
    /// The stream's checksums mean nothing.
    pub(super) sums_lie: bool,
    /// The segment under way.
    pub(super) segment: Option<&'a Segment<'a>>,
    pub(super) shared: &'a mut TableShared,
    pub(super) context: &'a mut A::Context,
}

impl<A: Analyzer> StreamOutlet<'_, A> {
    /// Whether a segment that acknowledges `ack` must wait: its sender had bytes of the opposite stream that are not
    /// passed on yet. One number more may be a FIN.
    #[inline]
    pub(super) fn is_early(&self, ack: Option<u64>) -> bool {
        matches!((ack, self.opposite), (Some(ack), Some(passed)) if ack > passed + 1)
    }

    /// The next bytes. `recent` is the number of the piece remembered last of this stream.
    #[inline]
    pub(super) fn data(&mut self, recent: &mut u32, at: Timestamp, offset: u64, ack: Option<u64>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.shared.ledger.delivered += bytes.len() as u64;
        let unread = self.analyzer.as_ref().map_or(0, |analyzer| analyzer.unread(self.from));
        if unread < bytes.len() as u64 {
            *recent = self.shared.recent.remember(*recent, offset, bytes);
        }
        self.event(StreamEvent::Data { at, offset, ack, bytes });
    }

    /// The next `len` bytes are missing for good.
    pub(super) fn gap(&mut self, at: Timestamp, offset: u64, len: u64, cause: GapCause) {
        if len > 0 {
            self.shared.ledger.gaps += 1;
            self.shared.ledger.gap_bytes += len;
            self.event(StreamEvent::Gap { at, offset, len, cause });
        }
    }

    /// No more bytes. Opens no analyzer: a stream without bytes is announced only when the other one has some.
    pub(super) fn end(&mut self, at: Timestamp) {
        match self.analyzer {
            Some(analyzer) => analyzer.on_event(self.conn, self.from, StreamEvent::End { at }, self.context),
            None => *self.early_end = Some(Box::new(at)),
        }
    }

    /// Counts captured bytes that had been passed on before.
    pub(super) fn duplicate(&mut self, bytes: usize) {
        self.shared.ledger.duplicate += bytes as u64;
    }

    /// Notes that `bytes` of an overlap differ from the copy that came first; but not where the later one is damaged.
    pub(super) fn conflict(&mut self, bytes: usize) {
        if bytes > 0 && !self.is_wrong() {
            self.shared.ledger.overlap_conflicts += bytes as u64;
            let [low, high] = &mut self.conn.conflicts;
            let conflicts = self.from.pick(low, high);
            *conflicts = conflicts.wrapping_add(1);
        }
    }

    fn is_wrong(&mut self) -> bool {
        let judged = self.segment.filter(|_| !self.sums_lie);
        let wrong = judged.is_some_and(|segment| segment.checksum() == Checksum::Wrong);
        self.shared.ledger.bad_checksums += u64::from(wrong);
        wrong
    }

    #[inline]
    fn event(&mut self, event: StreamEvent<'_>) {
        if self.analyzer.is_none() {
            self.open();
        }
        if let Some(analyzer) = self.analyzer {
            analyzer.on_event(self.conn, self.from, event, self.context);
        }
    }

    #[cold]
    fn open(&mut self) {
        let mut analyzer = Box::new(A::open(self.conn, self.context));
        // Only the opposite stream can have ended: this one has an event.
        if let Some(at) = self.early_end.take() {
            analyzer.on_event(self.conn, self.from.flip(), StreamEvent::End { at: *at }, self.context);
        }
        *self.analyzer = Some(analyzer);
    }
}
