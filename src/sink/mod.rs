//! Where records go: one queue, one worker and one ledger for each sink, so that a dead one holds up neither another
//! nor the capture. Owns delivery; what a record looks like is decided before (`format`, `pipeline`).
//!
//! A sink is one verb over one batch (`Sink::deliver`); queueing, batching, retry, shutdown and counting are written
//! once around it. Each worker has its own thread with a small runtime. So a sink may block (a pipe that no one reads,
//! a disk), and nothing else notices.
//!
//! Shutdown is end-of-stream: `close` lets the queue run empty, `finish` waits for that within a grace time, then cuts
//! deliveries and backoff short. What is left goes to the spool, or is counted as dropped.

pub mod batch;
pub mod connect;
#[cfg(feature = "es")]
pub mod elasticsearch;
pub mod dead_letter;
mod error;
pub mod file;
pub mod fluentd;
pub mod logstash;
mod queue;
pub mod spool;
pub mod stdout;
mod worker;
mod write;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::batch::{Batch, BatchLimits, BlockPiece, RecordBlock};
use self::dead_letter::DeadLetters;
pub use self::error::{AtFault, DeliveryError, FailureReason, SinkError};
use self::queue::SinkQueue;
pub use self::queue::{DropReason, QueueLimits, RejectedBy, SinkCounts, SinkStatus, WhenFull};
use self::spool::SpoolOptions;
pub use self::worker::RetryBackoff;
use self::worker::WorkerTerms;
use crate::ledger::PerDataset;

/// A target for records.
pub trait Sink: Send + 'static {
    /// Delivers a batch. Called again with what it left undone, before anything else, and may be dropped at any await
    /// when the time for shutdown is over.
    fn deliver(&mut self, batch: &Batch) -> impl Future<Output = Result<Delivery, SinkError>> + Send;

    /// SIGHUP: open files again, read certificates again.
    fn reload(&mut self) {}
}

/// What became of a batch; what is not named here is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Positions (ascending) of the records to try again.
    pub retry: Vec<usize>,
    /// Records refused for good; none of them in `retry`.
    pub rejected: Vec<RejectedRecord>,
    /// Why those of `retry` were not taken, where the target said so.
    pub cause: Option<DeliveryError>,
}

/// A record refused for good: what a dead letter is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Its position in the batch.
    pub index: usize,
    /// The target's words; they are counted by what is before the first colon.
    pub reason: String,
}

/// How a sink is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkOptions {
    /// What may wait.
    pub queue: QueueLimits,
    /// And what happens to the rest.
    pub when_full: WhenFull,
    /// What makes a batch.
    pub batch: BatchLimits,
    /// How to repeat.
    pub backoff: RetryBackoff,
    /// How long records are held for a server that answers and refuses them; `None`: for ever.
    pub hold_for: Option<Duration>,
}

impl Default for SinkOptions {
    /// For a sink on this machine: whatever is there goes at once.
    fn default() -> Self {
        Self {
            queue: QueueLimits { records: 20_000, bytes: 16 << 20 },
            when_full: WhenFull::Drop,
            batch: BatchLimits { records: 4096, bytes: 1 << 20, age: Duration::ZERO },
            backoff: RetryBackoff { first: Duration::from_millis(100), most: Duration::from_secs(30) },
            hold_for: None,
        }
    }
}

/// What becomes of records that are not delivered.
#[derive(Clone, Debug, Default)]
pub struct UndeliveredPolicy {
    /// Where they wait next to memory, and for the next run.
    pub spool: Option<SpoolOptions>,
    /// Where those are kept that the target refused for good.
    pub dead_letters: Option<DeadLetters>,
}

/// Starts the worker of `sink` on its own thread.
pub fn spawn<S: Sink>(name: &str, sink: S, options: SinkOptions) -> io::Result<SinkHandle> {
    spawn_all(name, vec![sink], options, UndeliveredPolicy::default())
}

/// Starts one worker for each of `sinks`, which all lead to one target. That is this many deliveries at once
/// (X_CONCURRENCY); with more than one, batches may overtake each other. They share a queue, a ledger and a thread; with
/// a spool there is a second thread, which writes to disk.
pub fn spawn_all<S: Sink>(
    name: &str,
    sinks: Vec<S>,
    options: SinkOptions,
    undelivered: UndeliveredPolicy,
) -> io::Result<SinkHandle> {
    let mut queue = SinkQueue::new(name, options.queue, options.when_full);
    if let Some(spool) = undelivered.spool {
        queue = queue.with_spool(spool, sinks.len());
    }
    let queue = Arc::new(queue);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let terms = WorkerTerms {
        batch: options.batch,
        backoff: options.backoff,
        hold_for: options.hold_for,
        dead_letters: undelivered.dead_letters,
    };
    let work = worker::run_all(sinks, Arc::clone(&queue), terms);
    if queue.has_spool() {
        let queue = Arc::clone(&queue);
        std::thread::Builder::new().name(format!("spool-{name}")).spawn(move || queue.keep())?;
    }
    // Not joined: a thread that hangs in a write must not keep the program from ending. `queue` says when it has ended.
    std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || runtime.block_on(work))?;
    Ok(SinkHandle { queue })
}

/// The way in to a running sink.
#[derive(Clone, Debug)]
pub struct SinkHandle {
    queue: Arc<SinkQueue>,
}

impl SinkHandle {
    /// As in SEND_LOGS_TO.
    pub fn name(&self) -> &str {
        &self.queue.name
    }

    /// Offers records; returns at once, except with `WhenFull::Wait`.
    pub fn offer(&self, piece: BlockPiece) {
        self.queue.offer(piece);
    }

    /// Counts records that were not offered, since the format has no such record.
    pub fn leave_out(&self, records: PerDataset) {
        self.queue.leave_out(records);
    }

    /// The ledger at this moment.
    pub fn counts(&self) -> SinkCounts {
        self.queue.counts()
    }

    /// Whether it will never deliver anything again.
    pub fn has_ended(&self) -> bool {
        self.queue.has_ended()
    }
}

/// How long a worker may take to notice that its time is over. With little CPU to use up, that is not at once, and what it
/// holds is lost to the spool. Only one that hangs takes all of it; at most an eighth of the grace time is kept for that.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// Of the grace time at most so much, and at most a quarter, is kept for writing the rest to the spool.
const SPOOL_RESERVE: Duration = Duration::from_secs(3);

/// All sinks of this run.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    sinks: Vec<SinkHandle>,
    dead_letters: Option<DeadLetters>,
}

impl Sinks {
    /// These.
    pub fn new(sinks: Vec<SinkHandle>) -> Self {
        Self { sinks, dead_letters: None }
    }

    /// And where they bury what is refused: ended after them, counted next to them.
    #[must_use]
    pub fn with_dead_letters(self, dead_letters: Option<DeadLetters>) -> Self {
        Self { dead_letters, ..self }
    }

    /// Each, without the dead letters.
    pub fn iter(&self) -> impl Iterator<Item = &SinkHandle> {
        self.sinks.iter()
    }

    fn with_letters(&self) -> impl Iterator<Item = &SinkHandle> {
        self.sinks.iter().chain(self.dead_letters.as_ref().map(DeadLetters::handle))
    }

    /// Names and ledgers at this moment.
    pub fn counts(&self) -> Vec<(String, SinkCounts)> {
        self.with_letters().map(|sink| (sink.name().to_owned(), sink.counts())).collect()
    }

    /// How each does, without the dead letters.
    pub fn status(&self) -> Vec<SinkStatus> {
        let now = tokio::time::Instant::now();
        self.iter().map(|sink| sink.queue.status(now)).collect()
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.with_letters().for_each(|sink| sink.queue.reload());
    }

    /// Waits until no sink is left of those there were: then the program has nothing more to do, and ends with exit
    /// code 0. Without any sink (metrics only) that never comes.
    pub async fn ended(&self) {
        for sink in self.iter() {
            sink.queue.ended().await;
        }
        if self.sinks.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends deliveries and backoff at once (the second SIGTERM); `finish` then returns soon.
    pub fn abort(&self) {
        self.iter().for_each(|sink| sink.queue.abort());
    }

    /// Takes nothing more, delivers what is queued within `grace`, spools the rest or counts it as dropped. Blocks: call
    /// it where blocking is fine (`spawn_blocking`). The ledgers are final: nothing queued, nothing in flight.
    pub fn finish(&self, grace: Duration) -> Vec<(String, SinkCounts)> {
        self.iter().for_each(|sink| sink.queue.close());
        let spooling = self.iter().any(|sink| sink.queue.has_spool());
        let reserve = if spooling { (grace / 4).min(SPOOL_RESERVE) } else { Duration::ZERO };
        let hanging = (grace / 8).min(ABORT_PATIENCE);
        self.wait(grace - reserve - hanging, |sink, patience| sink.queue.wait_left(patience));
        self.abort();
        self.wait(ABORT_PATIENCE, |sink, patience| sink.queue.wait_left(patience));
        // A worker that hangs in a system call ends with the process; what it holds is still in its hands.
        self.iter().for_each(|sink| sink.queue.leave());
        self.wait(reserve.max(ABORT_PATIENCE), |sink, patience| sink.queue.wait_ended(patience));
        self.iter().for_each(|sink| sink.queue.end());
        if let Some(letters) = self.dead_letters.as_ref().map(DeadLetters::handle) {
            letters.queue.close();
            letters.queue.wait_left(ABORT_PATIENCE);
            letters.queue.abort();
            letters.queue.wait_left(ABORT_PATIENCE);
            letters.queue.leave();
        }
        self.counts()
    }

    /// Waits for nothing any more: what is queued or in a worker's hands is counted as dropped. The ledgers are final.
    pub fn leave(&self) -> Vec<(String, SinkCounts)> {
        for sink in self.with_letters() {
            sink.queue.close();
            sink.queue.abort();
            sink.queue.leave();
            sink.queue.end();
        }
        self.counts()
    }

    #[allow(clippy::disallowed_methods, reason = "a deadline over several waits needs the clock of this machine")]
    fn wait(&self, patience: Duration, wait: impl Fn(&SinkHandle, Duration) -> bool) {
        let start = Instant::now();
        for sink in self.iter() {
            wait(sink, patience.saturating_sub(start.elapsed()));
        }
    }
}
