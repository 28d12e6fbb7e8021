//! The logstash sink, whole (queue, worker, connection), against real servers: `scripts/servers/lumberjack`, nginx by
//! `scripts/servers/nginx-tls`, and plain sockets where the protocol is nothing more.

mod arrival;
mod restarts;
mod servers;
mod throughput;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podtap::flow::{Endpoint, Timestamp};
use podtap::sink::connect::{Connector, HostPort, Pem, Timeouts, Tls, TlsOptions};
use podtap::sink::logstash::{HostCheck, Login, Logstash, LogstashOptions, Transport};
use podtap::sink::{
    Backoff, BatchLimits, Block, Options, Piece, QueueLimits, SinkCounts, SinkHandle, Sinks, WhenFull, spawn,
};
use podtap::synth::{Conversation, pcap};
use serde_json::Value;

use self::servers::{Lumberjack, Nginx, Scratch, certificates};
use crate::binary;

const GRACE: Duration = Duration::from_secs(60);
const BATCH: usize = 100;

fn options(transport: Transport) -> LogstashOptions {
    LogstashOptions { transport, timeout: GRACE, ..LogstashOptions::default() }
}

fn trusting(ca: &str) -> TlsOptions {
    TlsOptions { ca: Some(Pem::File(certificates().join(ca))), ..TlsOptions::new("LOGSTASH") }
}

fn logstash(port: u16, tls: Option<TlsOptions>, options: LogstashOptions) -> Logstash {
    let hosts = vec![HostPort { host: "127.0.0.1".to_owned(), port }];
    let tls = tls.map(|options| Tls::load(options).unwrap());
    Logstash::new(Connector::new(hosts, tls, Timeouts::default()), options).unwrap()
}

fn start(sink: Logstash) -> SinkHandle {
    let backoff = Backoff { first: Duration::from_millis(5), most: Duration::from_millis(50) };
    let batch = BatchLimits { records: BATCH, bytes: 1 << 20, age: Duration::ZERO };
    let queue = QueueLimits { records: 1_000_000, bytes: 1 << 30 };
    spawn("logstash", sink, Options { queue, when_full: WhenFull::Drop, batch, backoff }).unwrap()
}

fn offer<'a>(sink: &SinkHandle, lines: impl IntoIterator<Item = &'a str>) {
    let mut block = Block::default();
    for line in lines {
        block.push(|out| {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
            (event_id(&serde_json::from_str(line).unwrap()).as_str().into(), Timestamp::new(1, 0))
        });
    }
    sink.offer(Piece::whole(Arc::new(block)));
}

fn event_id(record: &Value) -> String {
    record["event"]["id"].as_str().unwrap().to_owned()
}

fn finish_within(sink: SinkHandle, grace: Duration) -> SinkCounts {
    let counts = Sinks::new(vec![sink]).finish(grace).remove(0).1;
    assert_eq!(counts.ledger.imbalance(), None);
    counts
}

/// Delivers `lines`, all at the first attempt.
fn deliver_all(sink: Logstash, lines: &[String]) {
    let sink = start(sink);
    offer(&sink, lines.iter().map(String::as_str));
    let counts = finish_within(sink, GRACE);
    let all = lines.len() as u64;
    assert_eq!((counts.ledger.offered, counts.ledger.delivered, counts.failed_attempts), (all, all, 0));
}

fn check(mut sink: Logstash) -> HostCheck {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sink.check()).remove(0)
}

/// Waits for something that another process has to do.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a test's patience has an end")]
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < GRACE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What `podtap replay` prints to standard output for a capture with all kinds of bytes in it.
fn printed() -> Vec<String> {
    let mut frames = Vec::new();
    for port in 0..60u16 {
        let client = Endpoint::new([10, 0, 0, 1], 40_000 + port);
        let mut conversation = Conversation::new(client, Endpoint::new([10, 0, 0, 2], 80))
            .at(Timestamp::new(1_700_000_000, i64::from(port) * 1_000))
            .handshake();
        for round in 0..5 {
            let body = "b".repeat(usize::from(port) * 7);
            conversation = conversation
                .client(format!(
                    "POST /a/{port}?q=%22{round}&ä=\"<&> HTTP/1.1\r\nHost: shop\r\nUser-Agent: \u{1b}[31m\\ ü\u{2028}\r\n\
                     X-Raw: \"quoted\"\tand\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))
                .server(format!("HTTP/1.1 {} for-{port}\r\nContent-Length: 3\r\n\r\nyes", [200, 204, 404, 503, 301][round]));
        }
        frames.extend(if port % 3 == 0 { conversation.server_rst().frames() } else { conversation.close().frames() });
    }
    let ran = binary::replay(&pcap(&frames), &[("LOGHEADERS", "true")]);
    let lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
    assert!(lines.len() >= 250, "{}", ran.stderr);
    lines
}

/// As values, sorted by id: field by field.
fn by_id<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    let mut records: Vec<Value> = lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(event_id);
    records
}

/// Records of the shape of real ones, numbered.
fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("{{\"event\":{{\"id\":\"id-{n}\"}},\"n\":{n}}}")).collect()
}

fn login(password: &str) -> Option<Login> {
    Some(Login { username: "user".to_owned(), password: password.to_owned() })
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

/// A certificate and its key.
fn server_certificate(name: &str) -> (String, String) {
    (path(certificates(), name), path(certificates(), "server.key"))
}
