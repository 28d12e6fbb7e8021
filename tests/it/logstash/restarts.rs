//! Servers that die twenty times under load: nothing acknowledged is lost, duplicates are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use super::servers::arrived;
use super::*;

const KILLS: usize = 20;

/// 2,000 records a second until `over`; returns how many.
fn load(sink: &SinkHandle, over: &Receiver<()>) -> usize {
    let mut offered = 0;
    while over.recv_timeout(Duration::from_millis(10)).is_err() {
        let lines = numbered(offered, offered + 20);
        offer(sink, lines.iter().map(String::as_str));
        offered += 20;
    }
    offered
}

/// Kills and restarts while records come in; what is left is delivered at the end.
fn under_load(sink: Logstash, restart: impl FnMut() + Send) -> (usize, SinkCounts) {
    let sink = start(sink);
    let offered = std::thread::scope(|scope| {
        let (end, over) = sync_channel(0);
        let loading = scope.spawn(|| {
            let over = over;
            load(&sink, &over)
        });
        let mut restart = restart;
        for _ in 0..KILLS {
            let before = sink.counts().ledger.delivered;
            wait_until("deliveries between two kills", || sink.counts().ledger.delivered > before + 200);
            restart();
        }
        end.send(()).unwrap();
        loading.join().unwrap()
    });
    (offered, finish_within(sink, GRACE))
}

fn expect_no_loss(offered: usize, counts: &SinkCounts, arrived: &BTreeMap<String, usize>) {
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (offered as u64, 0));
    let lost: Vec<_> = (0..offered).map(|n| format!("id-{n}")).filter(|id| !arrived.contains_key(id)).collect();
    assert_eq!(lost, Vec::<String>::new());
    let duplicates = arrived.values().sum::<usize>() - arrived.len();
    println!("{offered} records, {KILLS} kills, {} failed attempts, {duplicates} duplicates", counts.failed_attempts);
    assert!(duplicates <= KILLS * BATCH, "{duplicates} duplicates: more than a batch a kill");
}

#[test]
fn a_lumberjack_server_killed_twenty_times_under_load_loses_nothing() {
    let scratch = Scratch::new("beats-killed");
    let Some(mut server) = Lumberjack::start(&scratch, &[]) else { return };
    let sink = logstash(server.port, None, LogstashOptions { compress: true, ..options(Transport::Beats) });
    let (offered, counts) = under_load(sink, || server.restart());
    expect_no_loss(offered, &counts, &arrived(&server.lines()));
}

#[test]
fn an_http_server_killed_twenty_times_under_load_loses_nothing() {
    let scratch = Scratch::new("http-killed");
    let Some(mut server) = Nginx::start(&scratch, Some(server_certificate("server.pem"))) else { return };
    let sink = logstash(server.port, Some(trusting("ca.pem")), options(Transport::Http));
    let (offered, counts) = under_load(sink, || server.restart());
    expect_no_loss(offered, &counts, &arrived(&server.lines()));
}

/// A server of JSON lines whose connections can be cut with whatever is unread in them.
struct Lines {
    address: SocketAddr,
    read: Arc<Mutex<Vec<String>>>,
    cut: std::sync::mpsc::SyncSender<()>,
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
    let sink = logstash(server.address.port(), None, options(Transport::Tcp));
    let (offered, counts) = under_load(sink, || server.cut.send(()).unwrap());
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (offered as u64, 0));
    // One connection after the other: when this one has been read, all others have.
    TcpStream::connect(server.address).unwrap().write_all(b"{\"end\":true}\n").unwrap();
    let is_end = |line: &String| line.contains("end");
    wait_until("the end", || server.read.lock().unwrap().last().is_some_and(is_end));
    server.read.lock().unwrap().pop();
    let lines = server.read.lock().unwrap();
    let distinct: BTreeSet<_> = lines.iter().collect();
    let (lost, twice) = (offered - distinct.len(), lines.len() - distinct.len());
    println!("{offered} records, {KILLS} connections cut: {lost} lost, {twice} duplicates");
    assert!(lost <= KILLS * BATCH, "{lost} lost: more than a batch a kill");
    assert!(twice <= KILLS * 2 * BATCH, "{twice} twice");
}
