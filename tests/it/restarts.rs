//! Real servers that die twenty times under 2,000 records a second. Nothing that was acknowledged is lost, nothing is
//! in Elasticsearch twice; elsewhere at most a batch a kill is. Of what no one acknowledges the loss is bounded.

#[cfg(feature = "es")]
mod search;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podtap::sink::connect::{ConnectTimeouts, Connector, HostPort, LoadedTls, PemSource, TlsOptions};
use podtap::sink::fluentd::{FluentdOptions, FluentdSink};
use podtap::sink::logstash::{LogstashOptions, LogstashSink, LogstashTransport};
use podtap::sink::{SinkCounts, SinkHandle, spawn};
use serde_json::Value;

use crate::feed::{BATCH, Body, PATIENCE, ROOMY, arrived, finish, id, json_line, msgpack, piece, wait_until, watch};
use crate::servers::{Forward, Lumberjack, Nginx, Scratch, certificates};

const KILLS: usize = 20;

/// 2,000 records a second until `over`; returns how many.
fn load(sink: &SinkHandle, body: Body, over: &Receiver<()>) -> usize {
    let mut offered = 0;
    while over.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
        sink.offer(piece(offered..offered + 20, body));
        offered += 20;
    }
    offered
}

/// Kills and restarts while records come in; what is left is delivered at the end.
fn under_load(sink: SinkHandle, body: Body, kills: usize, mut restart: impl FnMut()) -> (usize, SinkCounts) {
    let offered = std::thread::scope(|scope| {
        let (end, over) = sync_channel(0);
        let loading = &sink;
        let loading = scope.spawn(move || load(loading, body, &over));
        for _ in 0..kills {
            let before = sink.counts().ledger.delivered;
            watch("between two kills", &sink, |counts| counts.ledger.delivered > before + 200);
            restart();
        }
        end.send(()).unwrap();
        loading.join().unwrap()
    });
    (offered, finish(sink, PATIENCE * 2))
}

fn expect_no_loss(what: &str, offered: usize, counts: &SinkCounts, records: &[Value]) {
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (offered as u64, 0), "{what}");
    // How many kills fell between two batches, and so were not felt, is a matter of luck.
    let arrived = arrived(records);
    let lost: Vec<_> = (0..offered).map(id).filter(|id| !arrived.contains_key(id)).collect();
    assert_eq!(lost, Vec::<String>::new(), "{what}");
    let duplicates = records.len() - arrived.len();
    println!("{what}: {offered} records, {} failed attempts, 0 lost, {duplicates} twice", counts.failed_attempts());
    assert!(duplicates <= KILLS * BATCH, "{what}: {duplicates} twice: more than a batch a kill");
}

fn connector(port: u16, tls: Option<TlsOptions>) -> Connector {
    let host = HostPort { host: "127.0.0.1".to_owned(), port };
    Connector::new(vec![host], tls.map(|options| LoadedTls::load(options).unwrap()), ConnectTimeouts::default())
}

fn logstash(connector: Connector, transport: LogstashTransport) -> SinkHandle {
    let compress = transport == LogstashTransport::Beats;
    let options = LogstashOptions { transport, compress, timeout: PATIENCE, ..LogstashOptions::default() };
    spawn("logstash", LogstashSink::new(connector, options).unwrap(), ROOMY).unwrap()
}

#[test]
fn a_forward_receiver_killed_twenty_times_under_load_loses_nothing() {
    let scratch = Scratch::new("forward-killed");
    let Some(mut server) = Forward::start(&scratch, &[]) else { return };
    let sink = FluentdSink::new(connector(server.port, None), FluentdOptions::default());
    let sink = spawn("fluentd", sink, ROOMY).unwrap();
    let (offered, counts) = under_load(sink, msgpack, KILLS, || server.restart());
    expect_no_loss("forward", offered, &counts, &server.records());
}

#[test]
fn a_lumberjack_server_killed_twenty_times_under_load_loses_nothing() {
    let scratch = Scratch::new("beats-killed");
    let Some(mut server) = Lumberjack::start(&scratch, &[]) else { return };
    let sink = logstash(connector(server.port, None), LogstashTransport::Beats);
    let (offered, counts) = under_load(sink, json_line, KILLS, || server.restart());
    expect_no_loss("beats", offered, &counts, &server.records());
}

#[test]
fn an_http_server_with_tls_killed_twenty_times_under_load_loses_nothing() {
    let scratch = Scratch::new("http-killed");
    let Some(mut server) = Nginx::start(&scratch, Some("server.pem")) else { return };
    let trusting =
        TlsOptions { ca: Some(PemSource::File(certificates().join("ca.pem"))), ..TlsOptions::new("LOGSTASH") };
    let sink = logstash(connector(server.port, Some(trusting)), LogstashTransport::Http);
    let (offered, counts) = under_load(sink, json_line, KILLS, || server.restart());
    expect_no_loss("http", offered, &counts, &server.records());
}

/// A server of JSON lines whose connections can be cut with whatever is unread in them.
struct Lines {
    address: SocketAddr,
    read: Arc<Mutex<Vec<String>>>,
    cut: SyncSender<()>,
}

impl Lines {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let read: Arc<Mutex<Vec<String>>> = Arc::default();
        let (cut, cuts) = sync_channel(0);
        let lines = Arc::clone(&read);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // What lies in this buffer is lost without a sign; what lies in the kernel's is not.
                for line in BufReader::with_capacity(512, stream).lines() {
                    // A cut line is not whole, and what follows it comes over another connection.
                    let Ok(line) = line else { break };
                    if serde_json::from_str::<Value>(&line).is_ok() {
                        lines.lock().unwrap().push(line);
                    }
                    if cuts.try_recv().is_ok() {
                        break;
                    }
                }
            }
        });
        Self { address, read, cut }
    }
}

#[test]
fn what_tcp_loses_when_connections_are_cut_twenty_times_under_load_is_bounded() {
    let server = Lines::start();
    let sink = logstash(connector(server.address.port(), None), LogstashTransport::Tcp);
    let (offered, counts) = under_load(sink, json_line, KILLS, || server.cut.send(()).unwrap());
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (offered as u64, 0));
    // One connection after the other: when this one has been read, all others have.
    TcpStream::connect(server.address).unwrap().write_all(b"{\"end\":true}\n").unwrap();
    wait_until("the end", || server.read.lock().unwrap().last().is_some_and(|line| line.contains("end")));
    server.read.lock().unwrap().pop();
    let lines = server.read.lock().unwrap();
    let distinct: BTreeSet<_> = lines.iter().collect();
    let (lost, twice) = (offered - distinct.len(), lines.len() - distinct.len());
    println!("tcp: {offered} records, {KILLS} connections cut: {lost} lost, {twice} twice");
    assert!(lost <= KILLS * BATCH, "{lost} lost: more than a batch a cut");
    assert!(twice <= KILLS * 2 * BATCH, "{twice} twice");
}
