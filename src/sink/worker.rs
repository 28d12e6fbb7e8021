//! Batch after batch from a queue into a sink: repeats what was not accepted, settles every record in the ledger.
//! Owns the retry rule; it does not know any target's protocol (`Sink`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::batch::Batch;
use super::dead_letter::DeadLetters;
use super::queue::{BatchLimits, InFlight, Next, Queue};
use super::{Delivery, DeliveryError, FailureReason, Rejected, Sink, SinkError};
use crate::settings::printable;

/// How long to wait before trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of every wait.
    pub most: Duration,
}

impl Backoff {
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
pub(super) struct Terms {
    pub(super) batch: BatchLimits,
    pub(super) backoff: Backoff,
    pub(super) dead_letters: Option<DeadLetters>,
}

/// One worker for each of `sinks`, until the queue is closed and empty, aborted, or the target is gone.
pub(super) async fn run_all<S: Sink>(sinks: Vec<S>, queue: Arc<Queue>, terms: Terms) {
    let end = LeaveOnDrop(&queue);
    let mut workers = JoinSet::new();
    for sink in sinks {
        workers.spawn(run(sink, Arc::clone(&queue), terms.clone()));
    }
    while let Some(outcome) = workers.join_next().await {
        if let Err(error) = outcome {
            tracing::error!(sink = &*queue.name, %error, "a bug in this sink, it delivers nothing any more");
            queue.abort();
        }
    }
    drop(end);
}

async fn run<S: Sink>(mut sink: S, queue: Arc<Queue>, terms: Terms) {
    let mut reloads = 0;
    loop {
        match queue.next(&terms.batch, &mut reloads).await {
            Next::Deliver(flight) => {
                if !settle_all(&mut sink, &queue, flight, &terms).await {
                    break;
                }
            }
            Next::Reload => sink.reload(),
            Next::End => break,
        }
    }
    // Here the sink's own last words are said (files closed, compressed): before the end is told.
}

/// Whatever way the workers end, nobody waits for them for ever and no record is left in between.
struct LeaveOnDrop<'a>(&'a Queue);

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Tries until no record of the batch is left to try; false when there is no point in going on.
async fn settle_all<S: Sink>(sink: &mut S, queue: &Queue, mut flight: InFlight<'_>, terms: &Terms) -> bool {
    let mut attempt = 0;
    loop {
        let result = tokio::select! {
            biased;
            result = sink.deliver(flight.batch()) => result,
            () = queue.aborted() => return false,
        };
        let error = match result {
            Ok(delivery) => {
                settle(queue, &mut flight, &delivery, terms);
                if flight.batch().is_empty() {
                    return recovered(queue, attempt);
                }
                delivery.cause.unwrap_or_else(part_only)
            }
            Err(SinkError::Transient(error)) => error,
            Err(SinkError::Permanent(error)) => {
                let reason = error.to_string();
                let all = 0..flight.batch().records();
                let rejected = all.map(|index| Rejected { index, reason: reason.clone() }).collect();
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
        report(queue, attempt, &error);
        queue.count_failed_attempt(error.reason());
        if !pause(queue, terms.backoff.wait(attempt, random())).await {
            return false;
        }
        attempt = attempt.saturating_add(1);
    }
}

/// Waits for the next attempt; false when there will be none.
async fn pause(queue: &Queue, wait: Duration) -> bool {
    tokio::select! {
        biased;
        () = queue.aborted() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

/// Counts what is decided, buries what is rejected; the rest stays in flight.
fn settle(queue: &Queue, flight: &mut InFlight<'_>, delivery: &Delivery, terms: &Terms) {
    let records = flight.batch().records();
    let to_retry = |index: usize| delivery.retry.binary_search(&index).is_ok();
    let mut rejected: Vec<&Rejected> =
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
fn tell_rejected(queue: &Queue, n: u64, total: u64, reason: &str) {
    if (total - n).checked_ilog2() != total.checked_ilog2() {
        tracing::warn!(sink = &*queue.name, records = n, total, reason = %printable(reason), "records rejected");
    }
}

/// One line when trouble begins; the repetitions are counted.
fn report(queue: &Queue, attempt: u32, error: &DeliveryError) {
    let reason = error.reason();
    if attempt == 0 {
        tracing::warn!(sink = &*queue.name, %reason, %error, "cannot deliver, trying again");
    } else {
        tracing::debug!(sink = &*queue.name, attempt, %reason, %error, "cannot deliver");
    }
}

/// Of a target that gives no reason of its own.
fn part_only() -> DeliveryError {
    DeliveryError::new(FailureReason::Server, "the target took only a part")
}

fn recovered(queue: &Queue, attempts: u32) -> bool {
    if attempts > 0 {
        tracing::info!(sink = &*queue.name, attempts, "delivering again");
    }
    true
}

/// The standard library's own seeds are random enough to keep pods out of step.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests;
