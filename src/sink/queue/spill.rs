//! Where the queue goes on on disk. Owns when records move there and back, and the ledger of it; bytes and files are
//! `spool`'s.
//!
//! Its own thread writes: neither the capture nor a delivery waits for a disk. Two locks: the spool's, held during
//! writes and reads, then the queue's, never the other way round.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::batch::Batch;
use super::super::spool::{AppendOutcome, NoSpool, OpenedSpool, Spool, SpoolMode, SpoolOptions, TakenRecords, Ticket};
use super::{
    BatchLimits, DropReason, InFlight, QueueLook, QueuePhase, QueueState, SinkQueue, WaitingPiece, WhenFull, shift,
};
use crate::ledger::PerDataset;
use tokio::time::Instant;

/// Bytes moved at once.
const STEP: usize = 512 << 10;
/// How long to leave a disk alone that took nothing.
const RETRY: Duration = Duration::from_secs(10);
/// How long records may wait for others to go to disk together, where not memory but the target is the reason.
const GATHER: Duration = Duration::from_millis(50);
/// A delivery that takes longer than this may fail: what waits behind it is treated as if it had.
pub(in crate::sink) const SLOW: Duration = Duration::from_secs(1);
/// A predecessor that is just ending lets go of its spool within this many looks, so far apart.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The disk behind a queue.
#[derive(Debug)]
pub(super) struct SpillDisk {
    options: SpoolOptions,
    /// Deliveries at once.
    readers: usize,
    slot: Mutex<SpillSlot>,
    /// For the spooler.
    pub(super) wake: Condvar,
}

#[derive(Debug, Default)]
struct SpillSlot {
    spool: Option<Spool>,
    /// The disk took not all of the last step.
    failing: bool,
}

impl SpillDisk {
    fn lock(&self) -> MutexGuard<'_, SpillSlot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SinkQueue {
    /// With a spool, for `readers` deliveries at once. `keep` must run on a thread.
    pub(in crate::sink) fn with_spool(mut self, options: SpoolOptions, readers: usize) -> Self {
        self.disk = Some(SpillDisk { options, readers, slot: Mutex::default(), wake: Condvar::new() });
        self.lock().opening = true;
        self
    }

    /// Most bytes on disk, where there is one.
    pub(super) fn spool_bytes(&self) -> Option<u64> {
        self.disk.as_ref().map(|disk| disk.options.max_bytes)
    }

    pub(in crate::sink) fn has_spool(&self) -> bool {
        self.disk.is_some()
    }

    /// The spooler's thread: opens, moves what is too much for memory, and at the end what is left.
    pub(in crate::sink) fn keep(&self) {
        self.open_spool();
        while self.wait_for_spill() {
            self.spill();
        }
        self.spill_rest();
        self.end();
    }

    pub(super) fn open_spool(&self) {
        let Some(disk) = &self.disk else { return };
        let mut slot = disk.lock();
        let opened = self.open_when_free(disk);
        let mut state = self.lock();
        state.opening = false;
        match opened {
            Ok((spool, found)) => {
                state.counts.spooled_bytes = spool.bytes();
                slot.spool = Some(spool);
                state.disk_ready = true;
                state.recover(found);
                drop(state);
                self.tell(found);
            }
            Err(error) => {
                state.counts.spool_unopened = true;
                drop(state);
                let path = disk.options.directory.join(&*self.name);
                tracing::warn!(sink = &*self.name, path = %path.display(), %error, "spool unavailable; buffering in memory only");
            }
        }
        drop(slot);
        self.work.notify_waiters();
        self.work.notify_one();
    }

    fn open_when_free(&self, disk: &SpillDisk) -> Result<(Spool, OpenedSpool), NoSpool> {
        for _ in 1..LOOKS {
            match Spool::open(disk.options.clone(), &self.name) {
                Err(NoSpool::Taken) if self.phase() < QueuePhase::Aborted => std::thread::sleep(BETWEEN_LOOKS),
                outcome => return outcome,
            }
        }
        Spool::open(disk.options.clone(), &self.name)
    }

    fn tell(&self, found: OpenedSpool) {
        let sink = &*self.name;
        let records = found.records.total();
        if records > 0 {
            tracing::info!(sink, records, "spooled by an earlier run, delivered first");
        }
        if found.foreign > 0 {
            let records = found.foreign;
            tracing::warn!(sink, records, "spooled in another format: left alone until FORMAT is as it was");
        }
        let OpenedSpool { lost, damaged_bytes, unknown_bytes, missing_segments, .. } = found;
        if lost > 0 || unknown_bytes > 0 || missing_segments > 0 {
            tracing::warn!(sink, lost, damaged_bytes, unknown_bytes, missing_segments, "records of the spool are lost");
        } else if damaged_bytes > 0 {
            tracing::info!(sink, bytes = damaged_bytes, "the spool ends in a torn write; no record is lost with it");
        }
    }

    /// Whether memory has more than it should keep.
    fn wants_spill(&self, state: &QueueState) -> bool {
        let early = match self.mode() {
            SpoolMode::Overflow => false,
            // Also while older ones are on disk: they are delivered first, whatever the target does.
            SpoolMode::Failing => state.failing || state.counts.ledger.spooled > 0,
            SpoolMode::Always => true,
        };
        match self.phase() {
            QueuePhase::Open => self.is_half_full(state) || early && state.records > 0,
            // No one knows how long we are let live.
            QueuePhase::Closed => (state.failing || self.mode() == SpoolMode::Always) && state.records > 0,
            QueuePhase::Aborted | QueuePhase::Left | QueuePhase::Ended => false,
        }
    }

    fn is_half_full(&self, state: &QueueState) -> bool {
        let half = state.weight() > self.limits.bytes / 2 || state.records > self.limits.records / 2;
        // A replay waits instead; a disk would only be a detour.
        half && self.when_full == WhenFull::Drop
    }

    /// SPOOL_MODE; without a spool, and in a replay, only what is left at the end goes to disk.
    fn mode(&self) -> SpoolMode {
        match (&self.disk, self.when_full) {
            (Some(disk), WhenFull::Drop) => disk.options.mode,
            (None, _) | (_, WhenFull::Wait) => SpoolMode::Overflow,
        }
    }

    /// Whether records of memory are not delivered before they are on disk.
    pub(super) fn goes_to_disk_first(&self, state: &QueueState) -> bool {
        self.mode() == SpoolMode::Always && state.disk_ready
    }

    /// What is on disk goes out at once; but where everything goes there first, batches are made as in memory.
    pub(super) fn look_at_disk(&self, state: &mut QueueState, limits: &BatchLimits, now: Instant) -> QueueLook<'_> {
        let due = *state.disk_due.get_or_insert(now + limits.age);
        let full = state.counts.ledger.spooled >= limits.records as u64;
        if self.goes_to_disk_first(state) && self.phase() == QueuePhase::Open && !full && due > now {
            return QueueLook::Wait(Some(due));
        }
        QueueLook::Read
    }

    pub(super) fn wake_spooler(&self, state: &QueueState) {
        if let Some(disk) = &self.disk
            && self.wants_spill(state)
        {
            disk.wake.notify_one();
        }
    }

    /// Waits until there is something to move; false at the end.
    fn wait_for_spill(&self) -> bool {
        let Some(disk) = &self.disk else { return false };
        let (usable, failing) = {
            let slot = disk.lock();
            (slot.spool.is_some(), slot.failing)
        };
        let left = || self.phase() >= QueuePhase::Left;
        let guard = self.lock();
        if failing {
            let waited = disk.wake.wait_timeout_while(guard, RETRY, |_| !left());
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        } else {
            let waited = disk.wake.wait_while(guard, |state| !(left() || usable && self.wants_spill(state)));
            let guard = waited.unwrap_or_else(PoisonError::into_inner);
            // Few large writes instead of many small ones.
            let may_wait = |state: &mut QueueState| self.phase() == QueuePhase::Open && !self.is_half_full(state);
            drop(disk.wake.wait_timeout_while(guard, GATHER, may_wait).unwrap_or_else(PoisonError::into_inner));
        }
        !left()
    }

    /// Moves the oldest records of memory to disk. Those that cannot be written stay.
    pub(super) fn spill(&self) {
        let Some(disk) = &self.disk else { return };
        let mut slot = disk.lock();
        let SpillSlot { spool: Some(spool), failing } = &mut *slot else { return };
        let mut state = self.lock();
        if !self.wants_spill(&state) {
            return;
        }
        let since = state.waiting.front().map(|oldest| oldest.since);
        let batch = state.pop(usize::MAX, STEP);
        state.spilling = true;
        drop(state);
        let appended = spool.append(&batch);
        self.report(failing, appended.error.as_ref());
        let mut state = self.lock();
        state.counts.spooled_bytes = spool.bytes();
        state.disk_ready = appended.error.is_none();
        state.spilled(&batch, &appended, since);
        drop(state);
        drop(slot);
        self.changed.notify_all();
        self.work.notify_one();
    }

    /// The end: what was in flight first, since it is older than anything on disk, then what is queued.
    pub(super) fn spill_rest(&self) {
        let Some(disk) = &self.disk else { return };
        let mut slot = disk.lock();
        let Some(mut spool) = slot.spool.take() else { return };
        if !self.lock().unwanted {
            let returned = std::mem::take(&mut self.lock().returned);
            let first = spool.put_first(&returned);
            self.report(&mut slot.failing, first.error.as_ref());
            self.lock().moved(&returned, &first);
            loop {
                let batch = self.lock().pop(usize::MAX, STEP);
                let appended = spool.append(&batch);
                self.report(&mut slot.failing, appended.error.as_ref());
                self.lock().moved(&batch, &appended);
                if batch.is_empty() || appended.error.is_some() {
                    break;
                }
            }
        }
        let gone = spool.close();
        let mut state = self.lock();
        state.give_up_spooled(gone, DropReason::SpoolDamaged);
        state.counts.spooled_bytes = spool.bytes();
    }

    /// Says once that the disk does not take records, and once that it does again.
    fn report(&self, failing: &mut bool, error: Option<&std::io::Error>) {
        let before = std::mem::replace(failing, error.is_some());
        match error {
            Some(error) if !before => {
                tracing::warn!(sink = &*self.name, %error, "cannot write the spool; buffering in memory only");
            }
            None if before => tracing::info!(sink = &*self.name, "spooling again"),
            Some(_) | None => {}
        }
    }

    /// The next batch from disk.
    pub(super) fn read(&self, limits: &BatchLimits) -> Option<InFlight<'_>> {
        let disk = self.disk.as_ref()?;
        let mut slot = disk.lock();
        let spool = slot.spool.as_mut()?;
        let (taken, lost) = spool.take(limits, disk.readers);
        let mut state = self.lock();
        state.counts.spooled_bytes = spool.bytes();
        state.give_up_spooled(lost, DropReason::SpoolDamaged);
        state.disk_due = None;
        let TakenRecords::Batch(batch, ticket) = taken else {
            if lost.total() > 0 {
                // What was to be waited for is gone: the worker looks again.
                self.work.notify_one();
            }
            return None;
        };
        let n = batch.records() as u64;
        let ledger = &mut state.counts.ledger;
        shift(&mut ledger.spooled, &mut ledger.in_flight, n);
        state.in_flight_on_disk += n;
        drop(state);
        drop(slot);
        // For the next worker.
        self.work.notify_one();
        Some(InFlight::new(self, batch, Some(ticket)))
    }

    /// Writes a batch that is in flight to disk too; not with SPOOL_MODE=overflow.
    pub(super) fn keep_in_flight(&self, batch: &Batch) -> Option<Ticket> {
        let disk = self.disk.as_ref().filter(|_| self.mode() != SpoolMode::Overflow && !batch.is_empty())?;
        let mut slot = disk.lock();
        let SpillSlot { spool: Some(spool), failing } = &mut *slot else { return None };
        let (ticket, error) = match spool.keep(batch) {
            Ok(ticket) => (Some(ticket), None),
            Err(error) => (None, Some(error)),
        };
        self.report(failing, error.as_ref());
        let mut state = self.lock();
        state.counts.spooled_bytes = spool.bytes();
        if ticket.is_some() {
            state.in_flight_on_disk += batch.records() as u64;
            state.counts.ledger.kept_by += batch.datasets();
        }
        ticket
    }

    /// A batch from disk is settled.
    pub(super) fn done(&self, ticket: Ticket) {
        let Some(disk) = &self.disk else { return };
        let mut slot = disk.lock();
        if let Some(spool) = &mut slot.spool {
            spool.settle(ticket);
            self.lock().counts.spooled_bytes = spool.bytes();
        }
        drop(slot);
        self.work.notify_one();
    }
}

impl QueueState {
    fn recover(&mut self, found: OpenedSpool) {
        let (ledger, records) = (&mut self.counts.ledger, found.records.total());
        ledger.offered += records + found.lost;
        ledger.recovered += records + found.lost;
        ledger.spooled += records;
        for counts in [&mut ledger.offered_by, &mut ledger.recovered_by, &mut ledger.kept_by] {
            *counts += found.records;
        }
        self.count_dropped(found.lost, DropReason::SpoolDamaged);
        self.counts.spool_damaged_bytes += found.damaged_bytes;
        self.counts.spool_unknown_bytes += found.unknown_bytes;
        self.counts.spool_missing_segments += found.missing_segments;
    }

    /// Counts what was written, and puts the rest back where it came from.
    fn spilled(&mut self, batch: &Batch, appended: &AppendOutcome, since: Option<Instant>) {
        self.spilling = false;
        let rest = batch.range(appended.records, batch.records());
        self.records -= batch.records() - rest.records();
        self.bytes -= batch.bytes() - rest.bytes();
        self.moved(batch, appended);
        let since = since.unwrap_or_else(Instant::now);
        for piece in rest.into_pieces().rev() {
            self.waiting.push_front(WaitingPiece { piece, since });
        }
    }

    /// The first records of `batch` are on disk.
    fn moved(&mut self, batch: &Batch, appended: &AppendOutcome) {
        let ledger = &mut self.counts.ledger;
        shift(&mut ledger.queued, &mut ledger.spooled, appended.records as u64);
        ledger.kept_by += batch.range(0, appended.records).datasets();
        // No one has counted records in another encoding before.
        let foreign = appended.room.foreign;
        ledger.offered += foreign.total();
        ledger.recovered += foreign.total();
        ledger.offered_by += foreign;
        ledger.recovered_by += foreign;
        self.count_dropped(foreign.total(), DropReason::SpoolFull);
        self.give_up_spooled(appended.room.dropped, DropReason::SpoolFull);
    }

    fn give_up_spooled(&mut self, records: PerDataset, why: DropReason) {
        let ledger = &mut self.counts.ledger;
        ledger.kept_by -= records;
        let n = records.total().min(ledger.spooled);
        ledger.spooled -= n;
        self.count_dropped(n, why);
    }
}
