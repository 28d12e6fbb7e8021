//! Batch after batch from a queue into a sink: repeats what was not accepted, settles every record in the ledger.
//! Owns the retry rule; it does not know any target's protocol (`Sink`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::queue::{BatchLimits, Next, Queue};
use super::{Delivery, Sink, SinkError};

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

/// Delivers until the queue is closed and empty, aborted, or the target is gone.
pub(super) async fn run<S: Sink>(mut sink: S, queue: Arc<Queue>, limits: BatchLimits, backoff: Backoff) {
    let end = EndOnDrop(&queue);
    loop {
        match queue.next(&limits).await {
            Next::Deliver(batch) => {
                if !settle_all(&mut sink, &queue, batch, backoff).await {
                    break;
                }
            }
            Next::Reload => sink.reload(),
            Next::End => break,
        }
    }
    // The sink's own last words (files closed, compressed) belong before the end is told.
    drop(sink);
    drop(end);
}

/// Whatever way the worker ends, a panic included, nobody waits for it for ever and no record is left in between.
struct EndOnDrop<'a>(&'a Queue);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Tries until no record of the batch is left to try; false when there is no point in going on.
async fn settle_all<S: Sink>(sink: &mut S, queue: &Queue, mut batch: Batch, backoff: Backoff) -> bool {
    let mut attempt = 0;
    loop {
        let result = tokio::select! {
            biased;
            result = sink.deliver(&batch) => result,
            () = queue.aborted() => return false,
        };
        match result {
            Ok(delivery) => {
                batch = settle(queue, &batch, &delivery);
                if batch.is_empty() {
                    return recovered(queue, attempt);
                }
                report(queue, attempt, "the target took only a part");
            }
            Err(SinkError::Transient(why)) => report(queue, attempt, &why),
            Err(SinkError::Permanent(why)) => {
                tracing::warn!(sink = &*queue.name, records = batch.records(), error = why, "batch rejected");
                queue.settle(0, batch.records());
                return true;
            }
            Err(SinkError::Gone { delivered, why }) => {
                queue.settle(delivered, 0);
                if let Some(why) = why {
                    tracing::warn!(sink = &*queue.name, error = why, "target gone for good");
                }
                return false;
            }
        }
        queue.count_failed_attempt();
        tokio::select! {
            biased;
            () = queue.aborted() => return false,
            () = tokio::time::sleep(backoff.wait(attempt, random())) => {}
        }
        attempt = attempt.saturating_add(1);
    }
}

/// Counts what is decided; returns what is left to try.
fn settle(queue: &Queue, batch: &Batch, delivery: &Delivery) -> Batch {
    let rest = batch.select(&delivery.retry);
    let rejected = delivery.rejected.len().min(batch.records() - rest.records());
    if let Some(first) = delivery.rejected.first() {
        tracing::warn!(sink = &*queue.name, records = rejected, reason = first.reason, "records rejected");
    }
    queue.settle(batch.records() - rest.records() - rejected, rejected);
    rest
}

/// One line when trouble begins; the repetitions are counted.
fn report(queue: &Queue, attempt: u32, why: &str) {
    if attempt == 0 {
        tracing::warn!(sink = &*queue.name, error = why, "cannot deliver, trying again");
    } else {
        tracing::debug!(sink = &*queue.name, attempt, error = why, "cannot deliver");
    }
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
