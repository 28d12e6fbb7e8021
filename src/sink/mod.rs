//! Where records go: one queue, one worker and one ledger for each sink, so that a dead one holds up neither another
//! nor the capture. Owns delivery; what a record looks like is decided before (`format`, `pipeline`).
//!
//! A sink is one verb over one batch (`Sink::deliver`); queueing, batching, retry, shutdown and counting are written
//! once around it. Each worker has a thread of its own with a small runtime: a sink may block (a pipe that nobody
//! reads, a disk), and nothing else notices.
//!
//! Shutdown is end-of-stream: `close` lets the queue run empty, `finish` waits for that within a grace time, then cuts
//! deliveries and backoff short; what is left is counted as dropped.

pub mod batch;
pub mod connect;
#[cfg(feature = "es")]
pub mod elasticsearch;
pub mod file;
pub mod fluentd;
pub mod logstash;
mod queue;
pub mod stdout;
mod worker;
mod write;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::batch::{Batch, Block, Piece};
use self::queue::Queue;
pub use self::queue::{BatchLimits, Dropped, QueueLimits, SinkCounts, WhenFull};
pub use self::worker::Backoff;

/// A target for records.
pub trait Sink: Send + 'static {
    /// Delivers a batch. Called again with what it left undone, before anything else, and may be dropped at any await
    /// when the time for shutdown is over.
    fn deliver(&mut self, batch: &Batch) -> impl Future<Output = Result<Delivery, SinkError>> + Send;

    /// SIGHUP: open files anew, read certificates again.
    fn reload(&mut self) {}
}

/// What became of a batch; what is not named here is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Positions (ascending) of the records to try again.
    pub retry: Vec<usize>,
    /// Records refused for good; none of them in `retry`.
    pub rejected: Vec<Rejected>,
}

/// A record refused for good: what a dead letter is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its position in the batch.
    pub index: usize,
    /// The target's words.
    pub reason: String,
}

/// Why a batch was not delivered; where nothing else is said, nothing of it is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// Worth trying again.
    Transient(String),
    /// Never worth trying again: the batch is rejected.
    Permanent(String),
    /// The target will never take anything again.
    Gone {
        /// So many leading records of the batch it took before.
        delivered: usize,
        /// Nothing where it is nobody's fault: a closed pipe.
        why: Option<String>,
    },
}

/// How a sink is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What may wait.
    pub queue: QueueLimits,
    /// And what happens to the rest.
    pub when_full: WhenFull,
    /// What makes a batch.
    pub batch: BatchLimits,
    /// How to repeat.
    pub backoff: Backoff,
}

impl Default for Options {
    /// For a sink on this machine: whatever is there goes at once.
    fn default() -> Self {
        Self {
            queue: QueueLimits { records: 20_000, bytes: 16 << 20 },
            when_full: WhenFull::Drop,
            batch: BatchLimits { records: 4096, bytes: 1 << 20, age: Duration::ZERO },
            backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(30) },
        }
    }
}

/// Starts the worker of `sink` on a thread of its own.
pub fn spawn<S: Sink>(name: &str, sink: S, options: Options) -> io::Result<SinkHandle> {
    let queue = Arc::new(Queue::new(name, options.queue, options.when_full));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = worker::run(sink, Arc::clone(&queue), options.batch, options.backoff);
    // Not joined: a thread that hangs in a write must not keep the program from ending. `queue` tells its end.
    std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || runtime.block_on(work))?;
    Ok(SinkHandle { queue })
}

/// The way in to a running sink.
#[derive(Clone, Debug)]
pub struct SinkHandle {
    queue: Arc<Queue>,
}

impl SinkHandle {
    /// As in SEND_LOGS_TO.
    pub fn name(&self) -> &str {
        &self.queue.name
    }

    /// Offers records; returns at once, except with `WhenFull::Wait`.
    pub fn offer(&self, piece: Piece) {
        self.queue.offer(piece);
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

/// How long a worker may take to notice that its time is over.
const ABORT_PATIENCE: Duration = Duration::from_millis(250);

/// All sinks of this run.
#[derive(Clone, Debug, Default)]
pub struct Sinks(Vec<SinkHandle>);

impl Sinks {
    /// These.
    pub fn new(sinks: Vec<SinkHandle>) -> Self {
        Self(sinks)
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = &SinkHandle> {
        self.0.iter()
    }

    /// Names and ledgers at this moment.
    pub fn counts(&self) -> Vec<(String, SinkCounts)> {
        self.iter().map(|sink| (sink.name().to_owned(), sink.counts())).collect()
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.iter().for_each(|sink| sink.queue.reload());
    }

    /// Waits until no sink is left of those there were: then the program has nothing more to do, and ends with exit
    /// code 0. Without any sink (metrics only) that never comes.
    pub async fn ended(&self) {
        for sink in self.iter() {
            sink.queue.ended().await;
        }
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends deliveries and backoff at once (the second SIGTERM); `finish` then returns soon.
    pub fn abort(&self) {
        self.iter().for_each(|sink| sink.queue.abort());
    }

    /// Takes nothing more, delivers what is queued within `grace`, counts the rest as dropped. Blocks: call it where
    /// blocking is fine (`spawn_blocking`). The ledgers are final: nothing queued, nothing in flight.
    pub fn finish(&self, grace: Duration) -> Vec<(String, SinkCounts)> {
        self.iter().for_each(|sink| sink.queue.close());
        self.wait(grace);
        self.abort();
        self.wait(ABORT_PATIENCE);
        // A worker that hangs in a system call ends with the process.
        self.iter().filter(|sink| !sink.has_ended()).for_each(|sink| sink.queue.end());
        self.counts()
    }

    #[allow(clippy::disallowed_methods, reason = "a deadline over several waits needs the clock of this machine")]
    fn wait(&self, patience: Duration) {
        let start = Instant::now();
        for sink in self.iter() {
            sink.queue.wait_ended(patience.saturating_sub(start.elapsed()));
        }
    }
}
