//! How fast the Elasticsearch sink is: `cargo run --release --example bulk_null -- [RECORDS] [gzip]`.
//!
//! A server on loopback that stores nothing answers `_bulk`; the sink runs as in podtap, queue, batches and all. Prints
//! records a second, and how many the sink's own thread would do with a core for itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark ends where something is wrong")]

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use podtap::dissect::{Config, Dissector};
use podtap::format::{Observer, ecs};
use podtap::record::Record;
use podtap::redact::Redactor;
use podtap::sink::elasticsearch::{Elasticsearch, IndexName, Options, nodes};
use podtap::sink::{BatchLimits, Block, Options as Feed, Piece, QueueLimits, Sinks, WhenFull, spawn};
use podtap::synth::Conversation;
use podtap::tcp::CloseReason;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let records = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(500_000);
    let compress = arguments.iter().any(|text| text == "gzip");
    let server = null_server();
    let (nodes, _) = nodes(&[server.to_string()], 9200, false).unwrap();
    let options = Options { compress, ..Options::new(nodes, IndexName::new("null").unwrap()) };
    let feed = Feed {
        queue: QueueLimits { records: 10_000, bytes: 16 << 20 },
        when_full: WhenFull::Wait,
        batch: BatchLimits { records: 500, bytes: 1 << 20, age: Duration::from_secs(1) },
        ..Feed::default()
    };
    let sink = spawn("elasticsearch", Elasticsearch::new(options).unwrap(), feed).unwrap();
    let thread = thread_of_the_sink();
    let blocks = blocks();
    let bytes =
        blocks.iter().map(|block| block.bytes()).sum::<usize>() / blocks.iter().map(|b| b.records()).sum::<usize>();
    let start = now();
    let mut offered = 0;
    for block in blocks.iter().cycle() {
        sink.offer(Piece::whole(Arc::clone(block)));
        offered += block.records();
        if offered >= records {
            break;
        }
    }
    while sink.counts().ledger.delivered < offered as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (wall, busy) = (start.elapsed(), busy(&thread));
    let counts = Sinks::new(vec![sink]).finish(Duration::from_secs(10)).remove(0).1;
    assert_eq!((counts.ledger.delivered, counts.failed_attempts), (offered as u64, 0));
    println!(
        "{offered} records of {bytes} bytes{}: {:.0} records/s; {:.2} µs of the sink's thread each = {:.0} records/s on one core",
        if compress { ", gzip" } else { "" },
        offered as f64 / wall.as_secs_f64(),
        busy.as_secs_f64() * 1e6 / offered as f64,
        offered as f64 / busy.as_secs_f64(),
    );
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures")]
fn now() -> Instant {
    Instant::now()
}

/// Some thousand different records as podtap makes them, in blocks as its pipeline makes them.
fn blocks() -> Vec<Arc<Block>> {
    let observer = Observer::default();
    let mut blocks = vec![Block::default()];
    for number in 0..8000 {
        let request = format!(
            "GET /api/orders/{number}?page={} HTTP/1.1\r\nHost: shop.local:8080\r\nUser-Agent: curl/8.5.0\r\n\r\n",
            number % 7
        );
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let mut dissector = Dissector::new(Config::default(), Redactor::off());
        let frames = Conversation::default().handshake().client(request).server(answer).close().frames();
        frames.iter().for_each(|frame| dissector.handle_frame(&frame.as_frame(), |_| false));
        dissector.finish(CloseReason::EndOfCapture);
        for record in dissector.records().drain(..) {
            if blocks.last().is_some_and(|block| block.bytes() > 128 << 10) {
                blocks.push(Block::default());
            }
            let Some(block) = blocks.last_mut() else { continue };
            block.push(|out| {
                ecs::write_json(out, &record, &observer);
                let Record::Http(exchange) = &record;
                // The same id again and again would be as fast.
                (format!("{}.{number}", exchange.id).into(), exchange.start())
            });
        }
    }
    blocks.into_iter().map(Arc::new).collect()
}

/// The thread of the sink among ours.
fn thread_of_the_sink() -> String {
    let is_sink = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("sink-elastic"))
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

/// Answers every `_bulk` with as many successes as it has records, everything else as a data stream that exists.
fn null_server() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request| async {
                    Ok::<_, Infallible>(hyper::Response::new(Whole(Some(answer(request).await.into()))))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    address
}

async fn answer(request: hyper::Request<Incoming>) -> String {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    match head.uri.path() {
        "/" => r#"{"version":{"number":"9.1.0"}}"#.to_owned(),
        "/null" => r#"{".ds-null-000001":{"data_stream":"null"}}"#.to_owned(),
        path if path.ends_with("/_bulk") => {
            if head.headers.contains_key("content-encoding") {
                let mut unzipped = Vec::new();
                flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut unzipped).unwrap();
                bytes = unzipped;
            }
            let records = memchr::memchr_iter(b'\n', &bytes).count() / 2;
            let items = vec![r#"{"create":{"status":201}}"#; records];
            format!(r#"{{"items":[{}]}}"#, items.join(","))
        }
        _ => "{}".to_owned(),
    }
}

/// A body in one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
