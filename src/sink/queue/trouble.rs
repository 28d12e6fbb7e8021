//! How it is with a target that takes nothing: since when, why now, what waits, how long there is room. Owns when that
//! is worth a line in the log, and the end of patience with a server that refuses (HOLD_FOR); it repeats no delivery.
//!
//! A line for the first failure, for every other reason, and every few minutes while it lasts. A log that still says
//! "connection refused" of a server that has long been answering 401 leads its reader to the wrong place.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{DeliveryError, FailureReason};
use super::{QueueState, SinkQueue};

/// While nothing changes.
const REMIND: Duration = Duration::from_secs(300);
/// Between lines about reasons that were logged before: several servers may take turns.
const AGAIN: Duration = Duration::from_secs(60);
/// A whole, when room is measured in parts.
const FULL: u64 = 1_000_000;

/// A target that takes nothing.
#[derive(Clone, Debug)]
pub(super) struct TargetTrouble {
    since: Instant,
    /// Since when the server answers, and refuses.
    refused_since: Option<Instant>,
    error: DeliveryError,
    told_at: Instant,
    told: FailureReason,
    /// Those logged already.
    ever_told: [bool; FailureReason::ALL.len()],
    attempts: u64,
    /// Of `FULL`, at the beginning.
    filled: u64,
}

/// What is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Outlook {
    /// How long it has lasted.
    pub(in crate::sink) lasting: Duration,
    /// Records in memory and on disk.
    pub(in crate::sink) waiting: u64,
    /// How long there will be room if it goes on like this; `None`: cannot be said, or for ever.
    pub(in crate::sink) room_for: Option<Duration>,
}

/// What a failed attempt comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct FailedAttempt {
    /// If it is worth a line.
    pub(in crate::sink) told: Option<Outlook>,
    /// How long the server has been answering and refusing.
    pub(in crate::sink) refused_for: Option<Duration>,
}

/// How a sink does, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    /// As in SEND_LOGS_TO.
    pub name: String,
    /// Records in memory and on disk.
    pub waiting: u64,
    /// What keeps it from delivering, and for how long.
    pub trouble: Option<(DeliveryError, Duration)>,
}

impl TargetTrouble {
    fn new(error: &DeliveryError, filled: u64, now: Instant) -> Self {
        Self {
            since: now,
            refused_since: None,
            error: error.clone(),
            told_at: now,
            told: error.reason(),
            ever_told: [false; FailureReason::ALL.len()],
            attempts: 0,
            filled,
        }
    }

    /// Says whether this attempt is worth a line.
    fn add(&mut self, error: &DeliveryError, now: Instant) -> bool {
        self.attempts += 1;
        self.error = error.clone();
        let reason = error.reason();
        if reason.is_refusal() {
            self.refused_since.get_or_insert(now);
        }
        let quiet = now - self.told_at;
        let known = self.ever_told.get_mut(reason as usize);
        let is_new = known.is_some_and(|known| !std::mem::replace(known, true));
        let worth = is_new || quiet >= REMIND || (reason != self.told && quiet >= AGAIN);
        if worth {
            (self.told_at, self.told) = (now, reason);
        }
        worth
    }

    /// From how fast it has filled up so far.
    fn room_for(&self, filled: u64, now: Instant) -> Option<Duration> {
        let grown = filled.checked_sub(self.filled).filter(|grown| *grown > 0)?;
        let lasted = (now - self.since).as_nanos();
        let left = lasted * u128::from(FULL.saturating_sub(filled)) / u128::from(grown);
        Some(Duration::from_secs(u64::try_from(left / 1_000_000_000).unwrap_or(u64::MAX)))
    }
}

impl SinkQueue {
    /// Counts a failed attempt.
    pub(in crate::sink) fn failed(&self, error: &DeliveryError, now: Instant) -> FailedAttempt {
        let mut state = self.lock();
        state.counts.count_failed(error.reason());
        state.failing = true;
        self.wake_spooler(&state);
        let filled = self.filled(&state);
        let trouble = state.trouble.get_or_insert_with(|| TargetTrouble::new(error, filled, now));
        let worth = trouble.add(error, now);
        let (lasting, room_for) = (now - trouble.since, trouble.room_for(filled, now));
        let refused_for = trouble.refused_since.map(|since| now - since);
        let told = worth.then(|| Outlook { lasting, waiting: state.undelivered(), room_for });
        FailedAttempt { told, refused_for }
    }

    /// A whole batch was taken: what it took until then, if anything was the matter.
    pub(in crate::sink) fn recovered(&self, now: Instant) -> Option<(u64, Duration)> {
        let trouble = self.lock().trouble.take()?;
        Some((trouble.attempts, now - trouble.since))
    }

    /// For people.
    pub(in crate::sink) fn status(&self, now: Instant) -> SinkStatus {
        let state = self.lock();
        let trouble = state.trouble.as_ref().map(|trouble| (trouble.error.clone(), now - trouble.since));
        SinkStatus { name: self.name.to_string(), waiting: state.undelivered(), trouble }
    }

    /// How much of all room is taken, memory and disk, in parts of `FULL`.
    fn filled(&self, state: &QueueState) -> u64 {
        let parts = |used: u64, room: u64| {
            let parts = u128::from(used) * u128::from(FULL) / u128::from(room.max(1));
            u64::try_from(parts).unwrap_or(FULL).min(FULL)
        };
        let (bytes, most) = (state.weight() as u64, self.limits.bytes as u64);
        match self.spool_bytes() {
            Some(disk) => parts(bytes + state.counts.spooled_bytes, most + disk),
            None => parts(bytes, most).max(parts(state.records as u64, self.limits.records as u64)),
        }
    }
}

impl QueueState {
    /// Records that are neither settled nor lost.
    fn undelivered(&self) -> u64 {
        let ledger = &self.counts.ledger;
        ledger.queued + ledger.in_flight + ledger.spooled
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::batch::tests::piece;
    use super::super::{QueueLimits, WhenFull};
    use super::*;

    fn error(reason: FailureReason) -> DeliveryError {
        DeliveryError::new(reason, reason.name())
    }

    /// Seconds at which an attempt failed and why, and whether that is logged.
    #[test]
    fn a_line_for_each_new_reason_one_in_a_while_and_no_more() {
        use FailureReason::{Auth, Refused, Timeout};
        let queue = SinkQueue::new("x", QueueLimits { records: 10, bytes: 1 << 20 }, WhenFull::Drop);
        let start = Instant::now();
        for (at, reason, told) in [
            (0, Refused, true),
            (1, Refused, false),
            (200, Refused, false),
            (201, Auth, true),
            (202, Refused, false),
            (203, Auth, false),
            (262, Refused, true),
            (263, Timeout, true),
            (400, Timeout, false),
            (563, Timeout, true),
            (564, Timeout, false),
        ] {
            let failed = queue.failed(&error(reason), start + Duration::from_secs(at));
            assert_eq!(failed.told.is_some(), told, "{at}: {reason}");
        }
        let at = start + Duration::from_secs(600);
        assert_eq!(queue.status(at).trouble, Some((error(Timeout), Duration::from_secs(600))));
        assert_eq!(queue.counts().failed_attempts(), 11);
        assert_eq!(queue.recovered(at), Some((11, Duration::from_secs(600))));
        assert_eq!((queue.recovered(at), queue.status(at).trouble), (None, None));
        assert!(queue.failed(&error(Timeout), at).told.is_some(), "the next trouble is reported again");
    }

    #[test]
    fn how_long_there_is_room_follows_from_how_fast_it_fills() {
        let queue = SinkQueue::new("x", QueueLimits { records: 10, bytes: 1 << 20 }, WhenFull::Drop);
        let start = Instant::now();
        queue.offer(piece(&["a"]));
        let room_after = |seconds: u64| {
            // Another reason each time, so that it is logged.
            let reason = FailureReason::ALL[seconds as usize];
            queue.failed(&error(reason), start + Duration::from_secs(seconds)).told.unwrap()
        };
        let first = room_after(0);
        assert_eq!((first.waiting, first.room_for), (1, None));
        assert_eq!(room_after(1).room_for, None, "nothing comes in");
        queue.offer(piece(&["b", "c"]));
        let then = room_after(10);
        assert_eq!((then.waiting, then.room_for), (3, Some(Duration::from_secs(35))));
        queue.offer(piece(&["x"; 9]));
        assert_eq!(room_after(11).room_for, Some(Duration::ZERO));
    }

    #[test]
    fn the_time_of_a_refusal_is_that_of_a_server_that_answers() {
        use FailureReason::{Forbidden, Refused};
        let queue = SinkQueue::new("x", QueueLimits { records: 10, bytes: 1 << 20 }, WhenFull::Drop);
        let start = Instant::now();
        for (at, reason, refused_for) in
            [(0, Refused, None), (9, Forbidden, Some(0)), (10, Refused, Some(1)), (12, Forbidden, Some(3))]
        {
            let failed = queue.failed(&error(reason), start + Duration::from_secs(at));
            assert_eq!(failed.refused_for, refused_for.map(Duration::from_secs), "{at}");
        }
    }
}
