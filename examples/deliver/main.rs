//! How fast records are delivered: `scripts/bench/deliver [RECORDS]`.
//!
//! Each sink runs as in podtap, queue, batches and all. The receiver on loopback looks at nothing but where a batch ends,
//! and answers. Next to it the same JSON goes to a file. Prints a Markdown table: records a second by the clock, and
//! what a record costs the sink's own thread. Then how many that thread could do with a core for itself, also as a share
//! of what the file's can.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark ends where something is wrong")]

mod receivers;
mod records;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use podtap::sink::connect::{ConnectTimeouts, Connector, HostPort};
use podtap::sink::elasticsearch::{self, ElasticsearchSink, IndexName};
use podtap::sink::file::{FileOptions, FileSink};
use podtap::sink::fluentd::{FluentdOptions, FluentdSink, ForwardCompression};
use podtap::sink::logstash::{LogstashOptions, LogstashSink, LogstashTransport};
use podtap::sink::{
    BatchLimits, BlockPiece, QueueLimits, RecordBlock, Sink, SinkHandle, SinkOptions, Sinks, WhenFull, spawn,
};

use records::Encoding;

/// As podtap has them by default.
const OPTIONS: SinkOptions = SinkOptions {
    queue: QueueLimits { records: 10_000, bytes: 16 << 20 },
    when_full: WhenFull::Wait,
    batch: BatchLimits { records: 500, bytes: 1 << 20, age: Duration::from_secs(1) },
    backoff: podtap::sink::RetryBackoff { first: Duration::from_millis(100), most: Duration::from_secs(30) },
    hold_for: None,
};

fn main() {
    let records = std::env::args().nth(1).map_or(500_000, |text| text.parse().unwrap());
    let (json, msgpack) = (records::blocks(Encoding::Json), records::blocks(Encoding::Msgpack));
    let directory = std::env::temp_dir().join(format!("podtap-deliver-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = run(file(&directory), &json, records);
    std::fs::remove_dir_all(&directory).unwrap();
    println!("{records} records of {} bytes of JSON\n", records::mean(&json));
    println!("| sink | records/s | ns of a core per record | records/s on one core | of the file's |");
    println!("|---|--:|--:|--:|--:|");
    print(&file, "file, no server", &file);
    for compress in [ForwardCompression::None, ForwardCompression::Gzip] {
        print(
            &run(forward(compress), &msgpack, records),
            &format!("fluentd, {}", word(compress == ForwardCompression::Gzip)),
            &file,
        );
    }
    for (transport, compress) in [
        (LogstashTransport::Beats, false),
        (LogstashTransport::Beats, true),
        (LogstashTransport::Http, false),
        (LogstashTransport::Http, true),
        (LogstashTransport::Tcp, false),
    ] {
        let name = format!("logstash {}, {}", format!("{transport:?}").to_lowercase(), word(compress));
        print(&run(logstash(transport, compress), &json, records), &name, &file);
    }
    for compress in [false, true] {
        print(&run(bulk(compress), &json, records), &format!("elasticsearch, {}", word(compress)), &file);
    }
}

fn word(compress: bool) -> &'static str {
    if compress { "compressed" } else { "plain" }
}

/// What a run took.
struct Took {
    records: f64,
    wall: Duration,
    busy: Duration,
}

impl Took {
    fn on_one_core(&self) -> f64 {
        self.records / self.busy.as_secs_f64()
    }
}

fn print(took: &Took, name: &str, file: &Took) {
    println!(
        "| {name} | {:.0} | {:.0} | {:.0} | {:.0} % |",
        took.records / took.wall.as_secs_f64(),
        took.busy.as_nanos() as f64 / took.records,
        took.on_one_core(),
        100.0 * took.on_one_core() / file.on_one_core()
    );
}

fn run(sink: SinkHandle, blocks: &[Arc<RecordBlock>], records: usize) -> Took {
    let thread = thread_of(&sink);
    let (start, before) = (now(), busy(&thread));
    let mut offered = 0;
    for block in blocks.iter().cycle() {
        sink.offer(BlockPiece::whole(Arc::clone(block)));
        offered += block.records();
        if offered >= records {
            break;
        }
    }
    while sink.counts().ledger.delivered < offered as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = Took { records: offered as f64, wall: start.elapsed(), busy: busy(&thread) - before };
    let counts = Sinks::new(vec![sink]).finish(Duration::from_secs(10)).remove(0).1;
    assert_eq!((counts.ledger.delivered, counts.failed_attempts()), (offered as u64, 0));
    took
}

/// Numbered: the thread of an earlier sink may still be there.
fn start(sink: impl Sink) -> SinkHandle {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    spawn(&NEXT.fetch_add(1, Ordering::Relaxed).to_string(), sink, OPTIONS).unwrap()
}

fn connector(address: SocketAddr) -> Connector {
    let host = HostPort { host: address.ip().to_string(), port: address.port() };
    Connector::new(vec![host], None, ConnectTimeouts::default())
}

fn file(directory: &Path) -> SinkHandle {
    let path = directory.join("records.jsonl");
    start(FileSink::new(FileOptions { path, max_bytes: None, max_age: None, keep: 0, compress: false }))
}

fn forward(compress: ForwardCompression) -> SinkHandle {
    let options = FluentdOptions { tag: receivers::TAG.to_owned(), compress, ..FluentdOptions::default() };
    start(FluentdSink::new(connector(receivers::start(receivers::forward)), options))
}

fn logstash(transport: LogstashTransport, compress: bool) -> SinkHandle {
    let receiver = match (transport, compress) {
        (LogstashTransport::Beats, false) => receivers::windows,
        (LogstashTransport::Beats, true) => receivers::compressed_windows,
        (LogstashTransport::Http, _) => receivers::requests,
        (LogstashTransport::Tcp | LogstashTransport::Udp, _) => receivers::bytes,
    };
    let options = LogstashOptions { transport, compress, ..LogstashOptions::default() };
    start(LogstashSink::new(connector(receivers::start(receiver)), options).unwrap())
}

fn bulk(compress: bool) -> SinkHandle {
    let (nodes, _) = elasticsearch::nodes(&[receivers::bulk().to_string()], 9200, false).unwrap();
    let index = IndexName::new(receivers::STREAM).unwrap();
    let options =
        elasticsearch::ElasticsearchOptions { compress, ..elasticsearch::ElasticsearchOptions::new(nodes, index) };
    start(ElasticsearchSink::new(options).unwrap())
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures")]
fn now() -> Instant {
    Instant::now()
}

/// The sink's thread among ours, by its name.
fn thread_of(sink: &SinkHandle) -> String {
    let name = format!("sink-{}", sink.name());
    let is_sink = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    loop {
        let mut threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
        if let Some(path) = threads.find(is_sink) {
            return path.join("schedstat").display().to_string();
        }
    }
}

/// How long a thread has been on a processor.
fn busy(schedstat: &str) -> Duration {
    let text = std::fs::read_to_string(schedstat).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
