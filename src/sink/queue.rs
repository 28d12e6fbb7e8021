//! One sink's queue and its ledger. Owns every step that moves a record from one column of the ledger to another;
//! it does not know how records are delivered (`worker`).
//!
//! Bounded in records and in bytes. The producer is an ordinary thread (a capture must not wait, a replay may), the
//! consumer a task. Records and ledger change under one lock, taken once per block or batch and never held while
//! waiting. So `offered = delivered + rejected + dropped + queued + in flight + spooled` holds at every moment anybody
//! can look.
//!
//! With a spool the queue goes on on disk (`spill`). Its oldest records move there when memory is half full, and none of
//! memory is delivered while older ones lie on disk.

mod flight;
mod spill;
mod trouble;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(super) use self::flight::InFlight;
pub(super) use self::spill::SLOW;
use self::spill::SpillDisk;
pub use self::trouble::SinkStatus;
use self::trouble::TargetTrouble;
pub(super) use self::trouble::{FailedAttempt, Outlook};
use super::batch::{Batch, BatchLimits, BlockPiece, ENTRY_COST};
use crate::ledger::PerDataset;
pub use crate::ledger::{DropReason, RejectedBy, SinkCounts};

/// How much may wait in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// QUEUE_RECORDS.
    pub records: usize,
    /// QUEUE_BYTES: bodies, and `ENTRY_COST` for each record.
    pub bytes: usize,
}

/// What happens to a record that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped and counted: a capture never waits.
    Drop,
    /// Its producer waits: a replay loses nothing.
    Wait,
}

/// A queue's life; it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum QueuePhase {
    Open,
    /// Nothing comes in any more; what is queued is still delivered.
    Closed,
    /// The time for that is over.
    Aborted,
    /// The workers have gone, or are given up; what is left is being spooled.
    Left,
    /// Nothing moves any more.
    Ended,
}

#[derive(Debug)]
struct WaitingPiece {
    piece: BlockPiece,
    since: Instant,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<WaitingPiece>,
    /// Given back by a worker at its end, older than `waiting`; counted as queued, but in no limit.
    returned: Batch,
    records: usize,
    bytes: usize,
    counts: SinkCounts,
    /// Of `counts.ledger.in_flight`: those that are on disk too.
    in_flight_on_disk: u64,
    /// The last attempt to deliver failed.
    failing: bool,
    /// The spool is being opened: what it holds comes first.
    opening: bool,
    /// Records taken out of `waiting` are being written to the spool; they count as queued until they are there.
    spilling: bool,
    /// The disk takes records: with SPOOL_MODE=always they go there first.
    disk_ready: bool,
    /// With SPOOL_MODE=always: when what is on disk makes a batch that is old enough.
    disk_due: Option<Instant>,
    /// The target wants nothing more, not even later.
    unwanted: bool,
    /// Since when it takes nothing, and why.
    trouble: Option<TargetTrouble>,
}

/// What a worker shall do next.
#[derive(Debug)]
pub(super) enum WorkerTask<'a> {
    Deliver(InFlight<'a>),
    Reload,
    End,
}

/// What a look at the queue comes to.
enum QueueLook<'a> {
    Do(WorkerTask<'a>),
    /// The oldest records are on disk.
    Read,
    /// Until something happens, or until then.
    Wait(Option<Instant>),
}

/// A bounded queue with its ledger; shared by the producers and the worker of one sink.
#[derive(Debug)]
pub(super) struct SinkQueue {
    pub(super) name: Box<str>,
    limits: QueueLimits,
    when_full: WhenFull,
    state: Mutex<QueueState>,
    phase: watch::Sender<QueuePhase>,
    /// How often a reload was asked for.
    reloads: watch::Sender<u64>,
    /// For threads: space in the queue, or the end.
    changed: Condvar,
    /// For the workers: records, a reload, or the end.
    work: Notify,
    disk: Option<SpillDisk>,
}

impl SinkQueue {
    pub(super) fn new(name: &str, limits: QueueLimits, when_full: WhenFull) -> Self {
        Self {
            name: name.into(),
            limits: QueueLimits { records: limits.records.max(1), bytes: limits.bytes.max(1) },
            when_full,
            state: Mutex::default(),
            phase: watch::Sender::new(QueuePhase::Open),
            reloads: watch::Sender::new(0),
            changed: Condvar::new(),
            work: Notify::new(),
            disk: None,
        }
    }

    pub(super) fn counts(&self) -> SinkCounts {
        let state = self.lock();
        SinkCounts { queued_bytes: state.weight() as u64, ..state.counts.clone() }
    }

    /// Takes the records of `piece`: queues them, or drops and counts them. Waits only with `WhenFull::Wait`.
    pub(super) fn offer(&self, mut piece: BlockPiece) {
        let mut state = self.lock();
        loop {
            if self.phase() != QueuePhase::Open {
                let why = state.why_lost();
                return state.refuse(&piece, why);
            }
            let room = self.limits.records.saturating_sub(state.records);
            let fit = piece.fitting(self.limits.bytes.saturating_sub(state.weight()), ENTRY_COST).min(room);
            // A record larger than the whole queue goes through an empty one: nothing would ever make room for it.
            let fit = if state.records == 0 { fit.max(1) } else { fit };
            state.enqueue(piece.split_front(fit));
            self.wake_spooler(&state);
            if piece.records() == 0 {
                // Unlocked first: the worker, once awake, wants the lock at once.
                drop(state);
                return self.work.notify_one();
            }
            self.work.notify_one();
            match self.when_full {
                WhenFull::Wait => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                WhenFull::Drop => return self.overflow(&mut state, &piece),
            }
        }
    }

    /// Drops; says so when the total gets one binary digit longer: first at once, then ever more rarely.
    fn overflow(&self, state: &mut QueueState, piece: &BlockPiece) {
        let digits = |state: &QueueState| state.counts.dropped.iter().sum::<u64>().checked_ilog2();
        let before = digits(state);
        state.refuse(piece, DropReason::QueueFull);
        if digits(state) != before {
            let dropped = state.counts.ledger.dropped;
            tracing::warn!(sink = &*self.name, dropped, "queue full; dropping records");
        }
    }

    /// The next batch, as soon as it is full or old enough; the records are in flight from then on. `reloads` is what
    /// this worker has done of them.
    pub(super) async fn next(&self, limits: &BatchLimits, reloads: &mut u64) -> WorkerTask<'_> {
        loop {
            let mut work = pin!(self.work.notified());
            work.as_mut().enable();
            match self.look(limits, Instant::now(), reloads) {
                QueueLook::Do(next) => return next,
                QueueLook::Read => match self.read(limits) {
                    Some(flight) => return WorkerTask::Deliver(flight),
                    None => work.await,
                },
                QueueLook::Wait(None) => work.await,
                QueueLook::Wait(Some(due)) => tokio::select! {
                    () = work => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// What to do at `now`.
    fn look(&self, limits: &BatchLimits, now: Instant, reloads: &mut u64) -> QueueLook<'_> {
        let mut state = self.lock();
        let phase = self.phase();
        if phase >= QueuePhase::Aborted {
            return QueueLook::Do(WorkerTask::End);
        }
        let asked = *self.reloads.borrow();
        if std::mem::replace(reloads, asked) != asked {
            return QueueLook::Do(WorkerTask::Reload);
        }
        if state.opening || state.spilling {
            return QueueLook::Wait(None);
        }
        if state.counts.ledger.spooled > 0 {
            return self.look_at_disk(&mut state, limits, now);
        }
        if self.goes_to_disk_first(&state) && !state.waiting.is_empty() {
            return QueueLook::Wait(None);
        }
        let Some(oldest) = state.waiting.front() else {
            if phase == QueuePhase::Open {
                return QueueLook::Wait(None);
            }
            // For the next worker.
            self.work.notify_one();
            return QueueLook::Do(WorkerTask::End);
        };
        let due = oldest.since + limits.age;
        let full = state.records >= limits.records || state.bytes >= limits.bytes;
        if !full && phase == QueuePhase::Open && due > now {
            return QueueLook::Wait(Some(due));
        }
        let batch = state.take(limits);
        if !state.waiting.is_empty() {
            // For the next worker.
            self.work.notify_one();
        }
        drop(state);
        self.changed.notify_all();
        QueueLook::Do(WorkerTask::Deliver(InFlight::new(self, batch, None)))
    }

    /// A delivery takes long: what waits is not to wait in memory alone.
    pub(super) fn is_failing(&self) {
        let mut state = self.lock();
        state.failing = true;
        self.wake_spooler(&state);
    }

    /// Counts records that were not offered: the format has no such record.
    pub(super) fn leave_out(&self, records: PerDataset) {
        self.lock().counts.left_out_by_format += records;
    }

    /// Counts rejected records by the class of their reason; returns how many there were in all.
    pub(super) fn count_rejected(&self, reason: &str, n: u64) -> u64 {
        let mut state = self.lock();
        state.counts.rejected.add(reason, n);
        state.counts.rejected.iter().map(|(_, n)| n).sum()
    }

    /// Asks the workers to call `Sink::reload`.
    pub(super) fn reload(&self) {
        self.reloads.send_modify(|reloads| *reloads += 1);
        self.work.notify_waiters();
        self.work.notify_one();
    }

    /// Comes when a reload is asked for; `reloads` is what this worker has done of them.
    pub(super) async fn reload_asked(&self, reloads: &mut u64) {
        let done = *reloads;
        // The sender lives in `self`: an error cannot come.
        if let Ok(asked) = self.reloads.subscribe().wait_for(|asked| *asked != done).await {
            *reloads = *asked;
        }
    }

    /// Takes nothing more; what is queued is still delivered.
    pub(super) fn close(&self) {
        self.advance(self.lock(), QueuePhase::Closed);
    }

    /// Ends backoff and deliveries under way: the time is over, or a worker broke down. What is left is kept, or counted.
    pub(super) fn abort(&self) {
        self.advance(self.lock(), QueuePhase::Aborted);
    }

    /// The target is gone for good: nothing is kept for it.
    pub(super) fn gone(&self) {
        let mut state = self.lock();
        state.unwanted = true;
        self.advance(state, QueuePhase::Aborted);
    }

    /// The workers have ended, or hang and are given up: what is left goes to the spool, or is counted as dropped.
    pub(super) fn leave(&self) {
        self.advance(self.lock(), QueuePhase::Left);
        if self.disk.is_none() {
            self.end();
        }
    }

    /// Nothing will move any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if self.has_ended() {
            return;
        }
        let why = state.why_lost();
        state.waiting.clear();
        state.returned = Batch::default();
        (state.records, state.bytes) = (0, 0);
        let on_disk = std::mem::take(&mut state.in_flight_on_disk);
        let ledger = &mut state.counts.ledger;
        shift(&mut ledger.in_flight, &mut ledger.spooled, on_disk);
        let lost = std::mem::take(&mut ledger.queued) + std::mem::take(&mut ledger.in_flight);
        state.count_dropped(lost, why);
        self.advance(state, QueuePhase::Ended);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.phase() == QueuePhase::Ended
    }

    pub(super) async fn aborted(&self) {
        self.reached(QueuePhase::Aborted).await;
    }

    pub(super) async fn ended(&self) {
        self.reached(QueuePhase::Ended).await;
    }

    /// Blocks until the workers have gone, for at most `patience`; says whether they have.
    pub(super) fn wait_left(&self, patience: Duration) -> bool {
        self.wait_for(QueuePhase::Left, patience)
    }

    /// Blocks until nothing moves any more, for at most `patience`; says whether it does.
    pub(super) fn wait_ended(&self, patience: Duration) -> bool {
        self.wait_for(QueuePhase::Ended, patience)
    }

    fn wait_for(&self, phase: QueuePhase, patience: Duration) -> bool {
        let guard = self.lock();
        let _guard = self
            .changed
            .wait_timeout_while(guard, patience, |_| self.phase() < phase)
            .unwrap_or_else(PoisonError::into_inner);
        self.phase() >= phase
    }

    async fn reached(&self, phase: QueuePhase) {
        // The sender lives in `self`: an error cannot come.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    fn phase(&self) -> QueuePhase {
        *self.phase.borrow()
    }

    /// Under the lock, so that a thread about to wait on `changed` cannot miss it.
    fn advance(&self, guard: MutexGuard<'_, QueueState>, to: QueuePhase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            *phase = (*phase).max(to);
            forward
        });
        drop(guard);
        self.changed.notify_all();
        if let Some(disk) = &self.disk {
            disk.wake.notify_all();
        }
        self.work.notify_waiters();
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No step below panics half way; a poisoned lock would only say that a thread died while looking.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// Why records are lost at the end. Only a reader that left wanted no more: all else is a loss, a worker that broke
    /// down too.
    fn why_lost(&self) -> DropReason {
        if self.unwanted { DropReason::Gone } else { DropReason::Shutdown }
    }

    fn weight(&self) -> usize {
        self.bytes + self.records * ENTRY_COST
    }

    fn enqueue(&mut self, piece: BlockPiece) {
        let records = piece.records();
        if records == 0 {
            return;
        }
        self.records += records;
        self.bytes += piece.bytes();
        self.counts.ledger.offered += records as u64;
        self.counts.ledger.offered_by += piece.datasets();
        self.counts.ledger.queued += records as u64;
        self.waiting.push_back(WaitingPiece { piece, since: Instant::now() });
    }

    fn refuse(&mut self, piece: &BlockPiece, why: DropReason) {
        self.counts.ledger.offered += piece.records() as u64;
        self.counts.ledger.offered_by += piece.datasets();
        self.count_dropped(piece.records() as u64, why);
    }

    fn count_dropped(&mut self, n: u64, why: DropReason) {
        self.counts.ledger.dropped += n;
        if let Some(slot) = self.counts.dropped.get_mut(why as usize) {
            *slot += n;
        }
    }

    /// Moves the oldest records into flight.
    fn take(&mut self, limits: &BatchLimits) -> Batch {
        let batch = self.pop(limits.records, limits.bytes);
        self.records -= batch.records();
        self.bytes -= batch.bytes();
        let ledger = &mut self.counts.ledger;
        shift(&mut ledger.queued, &mut ledger.in_flight, batch.records() as u64);
        batch
    }

    /// Takes out the oldest records, at least one; they still count as queued, in the limits too.
    fn pop(&mut self, records: usize, bytes: usize) -> Batch {
        let mut batch = Batch::default();
        while let Some(front) = self.waiting.front_mut() {
            let fit = front.piece.fitting(bytes.saturating_sub(batch.bytes()), 0);
            let fit = fit.min(records.saturating_sub(batch.records()));
            let fit = if batch.is_empty() { fit.max(1) } else { fit };
            if fit == 0 {
                break;
            }
            batch.push(front.piece.split_front(fit));
            if front.piece.records() == 0 {
                self.waiting.pop_front();
            }
        }
        batch
    }
}

/// Moves at most `n` from one column to another.
fn shift(from: &mut u64, to: &mut u64, n: u64) {
    let n = n.min(*from);
    *from -= n;
    *to += n;
}

#[cfg(test)]
mod tests;
