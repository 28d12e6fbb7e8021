//! Records for sinks under test, and sinks that are fed with them. Anyone who looks at a ledger here finds it adding up,
//! within its bounds, or the test fails. Knows no sink and no server.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podtap::flow::Timestamp;
use podtap::format::msgpack;
use podtap::sink::{
    BatchLimits, BlockPiece, QueueLimits, RecordBlock, RetryBackoff, SinkCounts, SinkHandle, SinkOptions, Sinks,
    WhenFull,
};
use serde_json::{Value, json};

/// How long to wait for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// How much longer than it should take something may take on a machine that is busy; what hangs takes longer.
pub(crate) const BUSY: Duration = Duration::from_secs(30);

/// Records of a batch.
pub(crate) const BATCH: usize = 50;

/// A queue of some hundred batches, and impatience.
pub(crate) const OPTIONS: SinkOptions = SinkOptions {
    queue: QueueLimits { records: 5000, bytes: 8 << 20 },
    when_full: WhenFull::Drop,
    batch: BatchLimits { records: BATCH, bytes: 1 << 20, age: Duration::ZERO },
    backoff: RetryBackoff { first: Duration::from_millis(5), most: Duration::from_millis(40) },
    hold_for: None,
};

/// The same with room for everything.
pub(crate) const ROOMY: SinkOptions =
    SinkOptions { queue: QueueLimits { records: 1_000_000, bytes: 1 << 30 }, ..OPTIONS };

pub(crate) fn id(n: usize) -> String {
    format!("id-{n:06}")
}

/// A record of the shape of real ones.
pub(crate) fn record(n: usize) -> Value {
    json!({ "@timestamp": "2026-03-01T12:00:00.000123Z", "event": { "id": id(n) }, "url": { "original": format!("/{n}") } })
}

/// How a sink takes a record.
pub(crate) type Body = fn(&Value) -> Vec<u8>;

pub(crate) fn json_line(record: &Value) -> Vec<u8> {
    format!("{record}\n").into_bytes()
}

pub(crate) fn msgpack(record: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    msgpack::encode(record, &mut bytes).unwrap();
    bytes
}

/// Numbered records in one block.
pub(crate) fn piece(numbers: Range<usize>, body: Body) -> BlockPiece {
    piece_of(numbers.map(record), body)
}

/// Each under its `event.id`, a nanosecond after the one before.
pub(crate) fn piece_of(records: impl IntoIterator<Item = Value>, body: Body) -> BlockPiece {
    let mut block = RecordBlock::default();
    for (n, record) in records.into_iter().enumerate() {
        block.push(podtap::record::Dataset::Http, |out| {
            out.extend_from_slice(&body(&record));
            (event_id(&record).into(), Timestamp::new(1, n as i64))
        });
    }
    BlockPiece::whole(Arc::new(block))
}

pub(crate) fn event_id(record: &Value) -> &str {
    record["event"]["id"].as_str().unwrap()
}

/// How often each `event.id` arrived.
pub(crate) fn arrived(records: &[Value]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    records.iter().for_each(|record| *times.entry(event_id(record).to_owned()).or_default() += 1);
    times
}

/// By id, whatever order they came in.
pub(crate) fn by_id(records: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    records.into_iter().map(|record| (event_id(&record).to_owned(), record)).collect()
}

#[allow(clippy::disallowed_methods, reason = "patience has an end, and how long a shutdown takes is what is tested")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for something that another thread or process has to do.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        // Not how long it takes, but that the other one gets the processor.
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

/// What must hold whenever anybody looks.
pub(crate) fn examined(what: &str, counts: SinkCounts) -> SinkCounts {
    assert_eq!(counts.ledger.imbalance(), None, "{what}: {counts:?}");
    assert_eq!(counts.ledger.dropped, counts.dropped.iter().sum::<u64>(), "{what}");
    counts
}

/// Looks at the ledger until `done`.
pub(crate) fn watch(what: &str, sink: &SinkHandle, done: impl Fn(&SinkCounts) -> bool) -> SinkCounts {
    let mut last = examined(what, sink.counts());
    let start = now();
    while !done(&last) {
        assert!(start.elapsed() < PATIENCE, "{what}: {last:?}");
        std::thread::park_timeout(Duration::from_micros(200));
        last = examined(what, sink.counts());
    }
    last
}

/// Ends a sink; the end must be one.
pub(crate) fn finish(sink: SinkHandle, grace: Duration) -> SinkCounts {
    let (name, counts) = Sinks::new(vec![sink]).finish(grace).remove(0);
    let counts = examined(&name, counts);
    assert_eq!((counts.ledger.queued, counts.ledger.in_flight), (0, 0), "{name}");
    assert_eq!(counts.ledger.rejected, counts.rejected.iter().map(|(_, n)| n).sum::<u64>(), "{name}");
    counts
}

/// On its own runtime, as a sink's thread does.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
