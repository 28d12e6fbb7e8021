//! Batch after batch from a queue into a sink: repeats what was not accepted, settles every record in the ledger.
//! Owns the retry rule; it does not know any target's protocol (`Sink`).

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batch::{Batch, BatchLimits};
use super::dead_letter::DeadLetters;
use super::queue::{FailedAttempt, InFlight, Outlook, SLOW, SinkQueue, WorkerTask};
use super::{Delivery, DeliveryError, FailureReason, RejectedRecord, Sink, SinkError};
use crate::settings::{printable, printable_up_to};

/// The longest pause a server may ask for (Retry-After).
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Bytes of an error in the log: it may quote the server.
const LONGEST_ERROR: usize = 600;

/// How long to wait before trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBackoff {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of every wait.
    pub most: Duration,
}

impl RetryBackoff {
    /// Full jitter: anything from nothing to a bound that doubles with each attempt, so that a thousand pods do not come
    /// back in step. `random` is any number.
    pub fn wait(&self, attempt: u32, random: u64) -> Duration {
        let bound = self.first.saturating_mul(1 << attempt.min(30)).min(self.most);
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random % bound.saturating_add(1).max(1))
    }
}

/// What a worker goes by.
#[derive(Clone, Debug)]
pub(super) struct WorkerTerms {
    pub(super) batch: BatchLimits,
    pub(super) backoff: RetryBackoff,
    pub(super) hold_for: Option<Duration>,
    pub(super) dead_letters: Option<DeadLetters>,
}

impl WorkerTerms {
    /// The server's own wish first, then so long as to be out of step with others.
    fn wait(&self, attempt: u32, error: &DeliveryError) -> Duration {
        error.retry_after().unwrap_or_default().min(LONGEST_PAUSE) + self.backoff.wait(attempt, random())
    }

    /// Whether a server has refused for so long that what it refuses is given up (HOLD_FOR).
    fn is_over(&self, error: &DeliveryError, failed: &FailedAttempt) -> bool {
        let over = self.hold_for.zip(failed.refused_for).is_some_and(|(most, lasted)| lasted >= most);
        over && error.reason().is_refusal()
    }
}

/// One worker for each of `sinks`, until the queue is closed and empty, aborted, or the target is gone.
pub(super) async fn run_all<S: Sink>(sinks: Vec<S>, queue: Arc<SinkQueue>, terms: WorkerTerms) {
    let end = LeaveOnDrop(&queue);
    let mut workers = JoinSet::new();
    for sink in sinks {
        workers.spawn(run(sink, Arc::clone(&queue), terms.clone()));
    }
    while let Some(outcome) = workers.join_next().await {
        if let Err(error) = outcome {
            tracing::error!(sink = &*queue.name, %error, "internal error: sink worker crashed; delivery stopped");
            queue.abort();
        }
    }
    drop(end);
}

async fn run<S: Sink>(mut sink: S, queue: Arc<SinkQueue>, terms: WorkerTerms) {
    let mut reloads = 0;
    loop {
        match queue.next(&terms.batch, &mut reloads).await {
            WorkerTask::Deliver(flight) => {
                if !settle_all(&mut sink, &queue, flight, &terms, &mut reloads).await {
                    break;
                }
            }
            WorkerTask::Reload => sink.reload(),
            WorkerTask::End => break,
        }
    }
    // Here the sink's own last words are said (files closed, compressed): before the end is reported.
}

/// Whatever way the workers end, no one waits for them for ever and no record is left in between.
struct LeaveOnDrop<'a>(&'a SinkQueue);

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Tries until no record of the batch is left to try; false when there is no point in going on.
async fn settle_all<S: Sink>(
    sink: &mut S,
    queue: &SinkQueue,
    mut flight: InFlight<'_>,
    terms: &WorkerTerms,
    reloads: &mut u64,
) -> bool {
    let mut attempt = 0;
    loop {
        let Some(result) = try_once(sink, queue, &mut flight).await else { return false };
        let error = match result {
            Ok(delivery) => {
                settle(queue, &mut flight, &delivery, terms);
                if flight.batch().is_empty() {
                    return recovered(queue);
                }
                delivery.cause.unwrap_or_else(part_only)
            }
            Err(SinkError::Transient(error)) => error,
            Err(SinkError::Permanent(error)) => {
                let reason = error.to_string();
                let all = 0..flight.batch().records();
                let rejected = all.map(|index| RejectedRecord { index, reason: reason.clone() }).collect();
                settle(queue, &mut flight, &Delivery { rejected, ..Delivery::default() }, terms);
                return true;
            }
            Err(SinkError::Gone { delivered, why }) => {
                let rest = flight.batch().range(delivered, flight.batch().records());
                flight.settle(rest, &Batch::default());
                if let Some(why) = why {
                    tracing::warn!(sink = &*queue.name, error = why, "target gone for good");
                }
                queue.gone();
                return false;
            }
        };
        let failed = queue.failed(&error, Instant::now());
        report(queue, attempt, &error, &failed);
        let given_up = terms.is_over(&error, &failed);
        if given_up {
            give_up(queue, &mut flight, &error, terms);
        }
        flight.keep();
        if !pause(sink, queue, terms.wait(attempt, &error), reloads).await {
            return false;
        }
        if given_up {
            return true;
        }
        attempt = attempt.saturating_add(1);
    }
}

/// One attempt; none where the time is over. What takes long is kept as if it had failed already.
async fn try_once<S: Sink>(
    sink: &mut S,
    queue: &SinkQueue,
    flight: &mut InFlight<'_>,
) -> Option<Result<Delivery, SinkError>> {
    let batch = flight.batch().clone();
    let mut delivery = pin!(sink.deliver(&batch));
    tokio::select! {
        biased;
        result = &mut delivery => return Some(result),
        () = queue.aborted() => return None,
        () = tokio::time::sleep(SLOW) => {}
    }
    queue.is_failing();
    flight.keep();
    tokio::select! {
        biased;
        result = delivery => Some(result),
        () = queue.aborted() => None,
    }
}

/// Waits for the next attempt; false when there will be none. A reload ends it: somebody has mended something.
async fn pause<S: Sink>(sink: &mut S, queue: &SinkQueue, wait: Duration, reloads: &mut u64) -> bool {
    tokio::select! {
        biased;
        () = queue.aborted() => return false,
        () = queue.reload_asked(reloads) => {}
        () = tokio::time::sleep(wait) => return true,
    }
    sink.reload();
    true
}

/// Counts what is decided, buries what is rejected; the rest stays in flight.
fn settle(queue: &SinkQueue, flight: &mut InFlight<'_>, delivery: &Delivery, terms: &WorkerTerms) {
    let records = flight.batch().records();
    let to_retry = |index: usize| delivery.retry.binary_search(&index).is_ok();
    let mut rejected: Vec<&RejectedRecord> =
        delivery.rejected.iter().filter(|r| r.index < records && !to_retry(r.index)).collect();
    rejected.sort_by_key(|rejected| rejected.index);
    rejected.dedup_by_key(|rejected| rejected.index);
    for run in rejected.chunk_by(|a, b| a.reason == b.reason) {
        let [first, ..] = run else { continue };
        let total = queue.count_rejected(&first.reason, run.len() as u64);
        tell_rejected(queue, run.len() as u64, total, &first.reason);
    }
    if let Some(dead_letters) = &terms.dead_letters {
        dead_letters.bury(&queue.name, flight.batch(), &rejected);
    }
    let indices: Vec<_> = rejected.iter().map(|rejected| rejected.index).collect();
    let (rest, rejected) = (flight.batch().select(&delivery.retry), flight.batch().select(&indices));
    flight.settle(rest, &rejected);
}

/// First at once, then whenever the total gets one binary digit longer: a target that refuses everything does not fill
/// the log.
fn tell_rejected(queue: &SinkQueue, n: u64, total: u64, reason: &str) {
    if (total - n).checked_ilog2() != total.checked_ilog2() {
        tracing::warn!(sink = &*queue.name, records = n, total, reason = %printable(reason), "records rejected");
    }
}

/// Refused for longer than HOLD_FOR: as if for good.
fn give_up(queue: &SinkQueue, flight: &mut InFlight<'_>, error: &DeliveryError, terms: &WorkerTerms) {
    let reason = format!("held too long: {error}");
    let all = 0..flight.batch().records();
    let rejected = all.map(|index| RejectedRecord { index, reason: reason.clone() }).collect();
    settle(queue, flight, &Delivery { rejected, ..Delivery::default() }, terms);
}

/// A line when trouble begins, changes or lasts (`queue::trouble`); the repetitions are counted.
fn report(queue: &SinkQueue, attempt: u32, error: &DeliveryError, failed: &FailedAttempt) {
    let reason = error.reason();
    let error = printable_up_to(LONGEST_ERROR, &error.to_string());
    let Some(Outlook { lasting, waiting, room_for }) = failed.told else {
        tracing::debug!(sink = &*queue.name, attempt, %reason, error, "cannot deliver");
        return;
    };
    let room = match room_for {
        None => "not filling up".to_owned(),
        Some(Duration::ZERO) => "none left".to_owned(),
        Some(left) => format!("for about {left:?}"),
    };
    if lasting < Duration::from_secs(1) {
        tracing::warn!(sink = &*queue.name, %reason, error, waiting, "delivery failed; retrying");
    } else {
        let lasting = Duration::from_secs(lasting.as_secs());
        tracing::warn!(sink = &*queue.name, %reason, error, ?lasting, waiting, room, "still cannot deliver");
    }
}

/// Of a target that gives no reason.
fn part_only() -> DeliveryError {
    DeliveryError::new(FailureReason::Server, "the server accepted a part of the batch only")
}

fn recovered(queue: &SinkQueue) -> bool {
    if let Some((attempts, lasted)) = queue.recovered(Instant::now()) {
        tracing::info!(sink = &*queue.name, attempts, ?lasted, "delivering again");
    }
    true
}

/// The standard library's own seeds are random enough to keep pods out of step.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests;
