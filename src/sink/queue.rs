//! One sink's queue and its ledger. Owns every step that moves a record from one column of the ledger to another;
//! it does not know how records are delivered (`worker`).
//!
//! Bounded in records and in bytes. The producer is an ordinary thread (a capture must not wait, a replay may), the
//! consumer a task. Records and ledger change under one lock, taken once per block or batch and never held while
//! waiting: so `offered = delivered + rejected + dropped + queued + in flight + spooled` holds at every moment anybody
//! can look.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::batch::{Batch, ENTRY_COST, Piece};
use crate::ledger::SinkLedger;

/// How much may wait in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// QUEUE_RECORDS.
    pub records: usize,
    /// QUEUE_BYTES: bodies, and `ENTRY_COST` for each record.
    pub bytes: usize,
}

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

/// What happens to a record that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped and counted: a capture never waits.
    Drop,
    /// Its producer waits: a replay loses nothing.
    Wait,
}

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dropped {
    /// The queue was full.
    QueueFull,
    /// The target is gone for good: a closed pipe.
    Gone,
    /// podtap ended before it could be delivered.
    Shutdown,
}

impl Dropped {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Gone, Self::Shutdown];

    /// The name in metrics and closing lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Gone => "gone",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One sink's ledger, and what stands beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// The equation.
    pub ledger: SinkLedger,
    /// `ledger.dropped` by reason.
    pub dropped: [u64; Dropped::ALL.len()],
    /// Attempts to deliver that failed and were, or will be, repeated.
    pub failed_attempts: u64,
    /// Gauge: bytes in the queue, as limited.
    pub queued_bytes: u64,
}

/// A queue's life; it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing comes in any more; what is queued is still delivered.
    Closed,
    /// The time for that is over.
    Aborted,
    /// The worker has gone.
    Ended,
}

#[derive(Debug)]
struct Waiting {
    piece: Piece,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    records: usize,
    bytes: usize,
    counts: SinkCounts,
    reload: bool,
}

/// What the worker shall do next.
#[derive(Debug)]
pub(super) enum Next {
    Deliver(Batch),
    Reload,
    End,
}

/// A bounded queue with its ledger; shared by the producers and the worker of one sink.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Box<str>,
    limits: QueueLimits,
    when_full: WhenFull,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// For threads: space in the queue, or the end.
    changed: Condvar,
    /// For the worker: records, a reload, or the end.
    work: Notify,
}

impl Queue {
    pub(super) fn new(name: &str, limits: QueueLimits, when_full: WhenFull) -> Self {
        Self {
            name: name.into(),
            limits: QueueLimits { records: limits.records.max(1), bytes: limits.bytes.max(1) },
            when_full,
            state: Mutex::default(),
            phase: watch::Sender::new(Phase::Open),
            changed: Condvar::new(),
            work: Notify::new(),
        }
    }

    pub(super) fn counts(&self) -> SinkCounts {
        let state = self.lock();
        SinkCounts { queued_bytes: state.weight() as u64, ..state.counts.clone() }
    }

    /// Takes the records of `piece`: queues them, or drops and counts them. Waits only with `WhenFull::Wait`.
    pub(super) fn offer(&self, mut piece: Piece) {
        let mut state = self.lock();
        loop {
            if self.phase() != Phase::Open {
                let why = if self.phase() == Phase::Ended { Dropped::Gone } else { Dropped::Shutdown };
                return state.refuse(&piece, why);
            }
            let room = self.limits.records.saturating_sub(state.records);
            let fit = piece.fitting(self.limits.bytes.saturating_sub(state.weight()), ENTRY_COST).min(room);
            // A record larger than the whole queue goes through an empty one: nothing would ever make room for it.
            let fit = if state.records == 0 { fit.max(1) } else { fit };
            state.enqueue(piece.split_front(fit));
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
    fn overflow(&self, state: &mut State, piece: &Piece) {
        let digits = |state: &State| state.counts.dropped.iter().sum::<u64>().checked_ilog2();
        let before = digits(state);
        state.refuse(piece, Dropped::QueueFull);
        if digits(state) != before {
            let dropped = state.counts.ledger.dropped;
            tracing::warn!(sink = &*self.name, dropped, "queue full, records are being dropped");
        }
    }

    /// The next batch, as soon as it is full or old enough; the records are in flight from then on.
    pub(super) async fn next(&self, limits: &BatchLimits) -> Next {
        loop {
            let mut work = pin!(self.work.notified());
            work.as_mut().enable();
            match self.ready(limits, Instant::now()) {
                Ok(next) => return next,
                Err(None) => work.await,
                Err(Some(due)) => tokio::select! {
                    () = work => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// What to do at `now`, or when to look again at the latest.
    fn ready(&self, limits: &BatchLimits, now: Instant) -> Result<Next, Option<Instant>> {
        let mut state = self.lock();
        let phase = self.phase();
        if phase >= Phase::Aborted {
            return Ok(Next::End);
        }
        if std::mem::take(&mut state.reload) {
            return Ok(Next::Reload);
        }
        let Some(oldest) = state.waiting.front() else {
            return if phase == Phase::Closed { Ok(Next::End) } else { Err(None) };
        };
        let due = oldest.since + limits.age;
        let full = state.records >= limits.records || state.bytes >= limits.bytes;
        if !full && phase == Phase::Open && due > now {
            return Err(Some(due));
        }
        let batch = state.take(limits);
        drop(state);
        self.changed.notify_all();
        Ok(Next::Deliver(batch))
    }

    /// Moves records out of flight; what was already given up stays so.
    pub(super) fn settle(&self, delivered: usize, rejected: usize) {
        let mut state = self.lock();
        let ledger = &mut state.counts.ledger;
        for (column, n) in [(&mut ledger.delivered, delivered), (&mut ledger.rejected, rejected)] {
            let n = (n as u64).min(ledger.in_flight);
            ledger.in_flight -= n;
            *column += n;
        }
    }

    pub(super) fn count_failed_attempt(&self) {
        self.lock().counts.failed_attempts += 1;
    }

    /// Asks the worker to call `Sink::reload`.
    pub(super) fn reload(&self) {
        self.lock().reload = true;
        self.work.notify_one();
    }

    /// Takes nothing more; what is queued is still delivered.
    pub(super) fn close(&self) {
        self.advance(self.lock(), Phase::Closed);
    }

    /// Ends backoff and deliveries under way.
    pub(super) fn abort(&self) {
        self.advance(self.lock(), Phase::Aborted);
    }

    /// Nothing will be delivered any more: the worker has ended, or hangs and is given up.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        let why = if self.phase() == Phase::Open { Dropped::Gone } else { Dropped::Shutdown };
        state.waiting.clear();
        (state.records, state.bytes) = (0, 0);
        let ledger = &mut state.counts.ledger;
        let lost = std::mem::take(&mut ledger.queued) + std::mem::take(&mut ledger.in_flight);
        state.count_dropped(lost, why);
        self.advance(state, Phase::Ended);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.phase() == Phase::Ended
    }

    pub(super) async fn aborted(&self) {
        self.reached(Phase::Aborted).await;
    }

    pub(super) async fn ended(&self) {
        self.reached(Phase::Ended).await;
    }

    /// Blocks until the worker has ended, for at most `patience`; says whether it has.
    pub(super) fn wait_ended(&self, patience: Duration) -> bool {
        let guard = self.lock();
        let _guard = self
            .changed
            .wait_timeout_while(guard, patience, |_| !self.has_ended())
            .unwrap_or_else(PoisonError::into_inner);
        self.has_ended()
    }

    async fn reached(&self, phase: Phase) {
        // The sender lives in `self`: an error cannot come.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Under the lock, so that a thread about to wait on `changed` cannot miss it.
    fn advance(&self, guard: MutexGuard<'_, State>, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            *phase = (*phase).max(to);
            forward
        });
        drop(guard);
        self.changed.notify_all();
        self.work.notify_waiters();
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No step below panics half way; a poisoned lock would only say that a thread died while looking.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn weight(&self) -> usize {
        self.bytes + self.records * ENTRY_COST
    }

    fn enqueue(&mut self, piece: Piece) {
        let records = piece.records();
        if records == 0 {
            return;
        }
        self.records += records;
        self.bytes += piece.bytes();
        self.counts.ledger.offered += records as u64;
        self.counts.ledger.queued += records as u64;
        self.waiting.push_back(Waiting { piece, since: Instant::now() });
    }

    fn refuse(&mut self, piece: &Piece, why: Dropped) {
        self.counts.ledger.offered += piece.records() as u64;
        self.count_dropped(piece.records() as u64, why);
    }

    fn count_dropped(&mut self, n: u64, why: Dropped) {
        self.counts.ledger.dropped += n;
        if let Some(slot) = self.counts.dropped.get_mut(why as usize) {
            *slot += n;
        }
    }

    fn take(&mut self, limits: &BatchLimits) -> Batch {
        let mut batch = Batch::default();
        while let Some(front) = self.waiting.front_mut() {
            let fit = front.piece.fitting(limits.bytes.saturating_sub(batch.bytes()), 0);
            let fit = fit.min(limits.records.saturating_sub(batch.records()));
            let fit = if batch.is_empty() { fit.max(1) } else { fit };
            if fit == 0 {
                break;
            }
            batch.push(front.piece.split_front(fit));
            if front.piece.records() == 0 {
                self.waiting.pop_front();
            }
        }
        self.records -= batch.records();
        self.bytes -= batch.bytes();
        self.counts.ledger.queued -= batch.records() as u64;
        self.counts.ledger.in_flight += batch.records() as u64;
        batch
    }
}
