//! Connects of processes for the dashboards, and exchanges that found theirs.

use std::sync::Arc;

use podtap::connects::{AskerBook, AskerNamespaces, ProcessJoiner};
use podtap::dissect::{self, Dissector};
use podtap::exchange;
use podtap::flow::{Endpoint, FiveTuple, Timestamp};
use podtap::format::Observer;
use podtap::format::ecs::write_json;
use podtap::record::{ConnectRecord, ConnectResult, Process, ProcessContainer, Record, SeenBy};
use podtap::redact::Redactor;
use podtap::synth::Conversation;
use podtap::synth::message::{request, response};
use podtap::tcp::CloseReason;
use serde_json::Value;

const SECOND: u64 = 1_000_000_000;

/// Connects of three programs with each result, some seen by packets only, and exchanges of those that were established.
pub(super) fn lines(noon: Timestamp) -> Vec<Value> {
    let mut records: Vec<Record> = (0..24).map(|n| connect(n, noon).into()).collect();
    let mut book = AskerBook::new(AskerNamespaces::default());
    book.note(&records, 0);
    book.has_read_up_to(noon.plus(3600 * SECOND));
    let mut asked = exchanges(noon);
    ProcessJoiner::new(book.askers()).take(&mut asked);
    assert!(asked.iter().all(|record| record.exchange().unwrap().process().is_some()));
    records.append(&mut asked);
    let line = |record: &Record| {
        let mut out = Vec::new();
        write_json(&mut out, record, &Observer::default());
        serde_json::from_slice(&out).unwrap()
    };
    records.iter().map(line).collect()
}

/// When the connect of that number was asked for.
fn begin(n: u16, noon: Timestamp) -> Timestamp {
    noon.plus(u64::from(n) * SECOND)
}

fn ends(n: u16) -> FiveTuple {
    let server = Endpoint::new([10, 1, 0, 20 + (n % 3) as u8], if n.is_multiple_of(2) { 80 } else { 5432 });
    FiveTuple { source: Endpoint::new([10, 1, 0, 100], 41_000 + n), destination: server }
}

fn connect(n: u16, noon: Timestamp) -> ConnectRecord {
    let result =
        if n.is_multiple_of(3) { ConnectResult::Established } else { ConnectResult::ALL[1 + usize::from(n % 5)] };
    let by_packets = n % 12 == 7;
    let failed = !matches!(result, ConnectResult::Established | ConnectResult::GivenUp);
    let FiveTuple { source, destination } = ends(n);
    let (seen_by, result) =
        if by_packets { (SeenBy::Packets, ConnectResult::TimedOut) } else { (SeenBy::Process, result) };
    let id = format!("connect-{n}").into();
    ConnectRecord {
        end: Some(begin(n, noon).plus(300_000)),
        source: Some(source.ip),
        source_port: Some(source.port),
        errno: failed.then(|| "ECONNREFUSED".into()),
        process: (!by_packets).then(|| Arc::new(process(n))),
        tries: by_packets.then_some(3),
        ..ConnectRecord::new(id, begin(n, noon), destination, seen_by, result)
    }
}

fn process(n: u16) -> Process {
    let name = ["curl", "python3", "java"][usize::from(n / 3 % 3)];
    let container = ProcessContainer {
        id: "c0ffee".repeat(10).into(),
        name: Some(["web", "worker"][usize::from(n % 2)].into()),
        ..ProcessContainer::default()
    };
    Process {
        pid: 4000 + u32::from(n),
        name: name.into(),
        executable: Some(format!("/usr/bin/{name}").into()),
        args: vec![name.into(), "--once".into()],
        user: u32::from(n % 2) * 1000,
        container: Some(container),
        ..Process::default()
    }
}

/// An exchange in each connection that was established, every third of which fails.
fn exchanges(noon: Timestamp) -> Vec<Record> {
    let http = exchange::ExchangeConfig { observer_id: "processes".to_owned(), ..exchange::ExchangeConfig::default() };
    let mut dissector =
        Dissector::new(dissect::DissectorConfig { http, ..dissect::DissectorConfig::default() }, Redactor::off());
    for n in (0..24).step_by(3) {
        let FiveTuple { source, destination } = ends(n);
        let conversation = Conversation::new(source, destination).at(begin(n, noon).plus(100_000)).handshake();
        let host = ["shop.local", "cart.local"][usize::from(n % 2)];
        let asked = conversation.client(request("GET", "/", &[("Host", host)], b""));
        let status = if n.is_multiple_of(9) { "503 Service Unavailable" } else { "200 OK" };
        for frame in asked.server(response(status, &[], b"ok")).close().frames() {
            dissector.handle_frame(&frame.as_frame(), |_| false);
        }
    }
    dissector.finish(CloseReason::EndOfCapture);
    std::mem::take(dissector.records())
}
