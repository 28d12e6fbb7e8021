//! The logstash sink, whole (queue, worker, connection), against real servers: `scripts/servers/lumberjack`, nginx by
//! `scripts/servers/nginx-tls`, and plain sockets where the protocol is nothing more.

mod arrival;

use podtap::flow::{Endpoint, Timestamp};
use podtap::sink::connect::{ConnectTimeouts, Connector, HostPort, LoadedTls, PemSource, TlsOptions};
use podtap::sink::logstash::{HostCheck, LogstashLogin, LogstashOptions, LogstashSink, LogstashTransport};
use podtap::sink::{SinkHandle, spawn};
use podtap::synth::{Conversation, pcap};
use serde_json::Value;

use crate::binary;
use crate::feed::{PATIENCE, ROOMY, block_on, finish, json_line, piece_of};
use crate::servers::certificates;

fn options(transport: LogstashTransport) -> LogstashOptions {
    LogstashOptions { transport, timeout: PATIENCE, ..LogstashOptions::default() }
}

fn trusting(ca: &str) -> TlsOptions {
    TlsOptions { ca: Some(PemSource::File(certificates().join(ca))), ..TlsOptions::new("LOGSTASH") }
}

fn logstash(port: u16, tls: Option<TlsOptions>, options: LogstashOptions) -> LogstashSink {
    let hosts = vec![HostPort { host: "127.0.0.1".to_owned(), port }];
    let tls = tls.map(|options| LoadedTls::load(options).unwrap());
    LogstashSink::new(Connector::new(hosts, tls, ConnectTimeouts::default()), options).unwrap()
}

fn start(sink: LogstashSink) -> SinkHandle {
    spawn("logstash", sink, ROOMY).unwrap()
}

/// Delivers `records`, all at the first attempt.
fn deliver_all(sink: LogstashSink, records: &[Value]) {
    let sink = start(sink);
    sink.offer(piece_of(records.iter().cloned(), json_line));
    let counts = finish(sink, PATIENCE);
    assert_eq!((counts.ledger.delivered, counts.failed_attempts()), (records.len() as u64, 0));
}

fn check(mut sink: LogstashSink) -> HostCheck {
    block_on(sink.check()).remove(0)
}

/// What `podtap replay` prints to standard output for a capture with all kinds of bytes in it.
fn printed() -> Vec<Value> {
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
    let records: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() >= 250, "{}", ran.stderr);
    records
}

fn login(password: &str) -> Option<LogstashLogin> {
    Some(LogstashLogin { username: "user".to_owned(), password: password.to_owned() })
}
