//! Records of connections and logged packets for the dashboards, from what a kernel would say.

use std::sync::Arc;

use etherparse::PacketBuilder;
use podtap::conntrack::{ConntrackConfig, ConntrackTracker};
use podtap::dissect::{self, Dissector};
use podtap::flow::Timestamp;
use podtap::format::Observer;
use podtap::format::ecs::write_json;
use podtap::netlink::{CREATED, NetlinkWriter, nest};
use podtap::packet::{Frame, LinkType};
use podtap::record::{DomainNames, DomainSource, FollowedBy, Record, VerdictInput, Workload};
use podtap::redact::Redactor;
use podtap::tcp::CloseReason;
use podtap::verdict::{ContainerStore, PrefixPatterns, VerdictConfig, VerdictEngine};
use serde_json::Value;

const SECOND: i64 = 1_000_000_000;

/// Connections to a Service, some of which nothing answered, and packets that rules let pass or held back.
pub(super) fn lines(noon: Timestamp) -> Vec<Value> {
    let mut records = connections(noon);
    records.extend(verdicts());
    records.extend(packets(noon));
    for (n, record) in records.iter_mut().enumerate() {
        if let Record::Verdict(packet) = record {
            packet.followed_by = Some(FollowedBy::ALL[n % 4]);
        }
    }
    let observer = Observer::default();
    let line = |record: &Record| {
        let mut out = Vec::new();
        write_json(&mut out, record, &observer);
        serde_json::from_slice(&out).unwrap()
    };
    records.iter().map(line).collect()
}

fn connections(noon: Timestamp) -> Vec<Record> {
    let mut tracker = ConntrackTracker::new(ConntrackConfig { max_flows: 100, ..ConntrackConfig::default() });
    for n in 0..12u8 {
        let (begins, ends) = (noon.0 + i64::from(n) * SECOND, noon.0 + (i64::from(n) + 3) * SECOND);
        let answered = n % 4 != 3;
        tracker.handle_events(None, &message(n, begins, None, answered), noon);
        let packets = if answered { [6, 600, 5, 2000] } else { [4, 240, 0, 0] };
        tracker.handle_events(None, &message(n, ends, Some(packets), answered), noon);
    }
    std::mem::take(tracker.records())
}

/// The beginning or the end of a connection, as the kernel says it.
fn message(n: u8, at: i64, ended: Option<[u64; 4]>, answered: bool) -> Vec<u8> {
    let (client, service, pod) = ([10, 1, 0, 100 + n % 3], [10, 96, 0, 10 + n % 2], [10, 1, 0, 20]);
    let port = (40_000 + u16::from(n)).to_be_bytes().to_vec();
    let protocol = if n.is_multiple_of(3) { 17 } else { 6 };
    let tuple = |source: [u8; 4], destination: [u8; 4], ports: [Vec<u8>; 2]| {
        let ip = nest(&[(1, source.to_vec()), (2, destination.to_vec())]);
        let [from, to] = ports;
        nest(&[(1, ip), (2, nest(&[(1, vec![protocol]), (2, from), (3, to)]))])
    };
    let (there, here) = (80u16.to_be_bytes().to_vec(), 8080u16.to_be_bytes().to_vec());
    let status: u32 = if answered { 0x2e } else { 0x28 };
    let (kind, flags) = if ended.is_some() { (0x102, 0) } else { (0x100, CREATED) };
    let mut message = NetlinkWriter::netfilter(kind, flags, 0, 2, 0)
        .attribute(1, &tuple(client, service, [port.clone(), there]))
        .attribute(2, &tuple(pod, client, [here, port]))
        .attribute(3, &status.to_be_bytes())
        .attribute(12, &u32::from(n + 1).to_be_bytes())
        .attribute(27, &at.to_be_bytes());
    if protocol == 6 {
        message = message.attribute(4, &nest(&[(1, nest(&[(1, vec![3])]))]));
    }
    if let Some([a, b, c, d]) = ended {
        let pair = |x: u64, y: u64| nest(&[(1, x.to_be_bytes().to_vec()), (2, y.to_be_bytes().to_vec())]);
        message = message.attribute(9, &pair(a, b)).attribute(10, &pair(c, d));
    }
    message.finish()
}

/// Flows of packets: some closed, reset, refused, never answered, with bytes sent twice, and of UDP.
fn packets(noon: Timestamp) -> Vec<Record> {
    let config = dissect::DissectorConfig { reads_http: false, flows: Some(Default::default()), ..Default::default() };
    let mut dissector = Dissector::new(config, Redactor::off());
    let mut at = noon.0;
    for data in (0..12).flat_map(connection) {
        at += SECOND / 10;
        let (at, wire_len) = (Timestamp(at), data.len() as u32);
        let frame = Frame { at, link: LinkType(101), data: &data, wire_len, interface: None };
        dissector.handle_frame(&frame, |_| false);
    }
    dissector.handle_timeout(Timestamp(at + 70 * SECOND));
    dissector.finish(CloseReason::EndOfCapture);
    let mut records = std::mem::take(dissector.records());
    for (n, record) in records.iter_mut().enumerate() {
        let Record::Flow(flow) = record else { continue };
        let named = |name: &str| Some(Arc::new(Workload { name: Some(name.into()), ..Workload::default() }));
        (flow.source_workload, flow.destination_workload) = (named("client"), named(["shop", "cart"][n % 2]));
        let names = [["shop.local", "cart.local"][n % 2]].into_iter().collect();
        flow.destination_domain = Some(Arc::new(DomainNames { names, source: DomainSource::Dns }));
        flow.exchanges = Some(1);
    }
    records
}

/// The packets of one of them: the flags as in `tcpdump`, then the numbers.
fn connection(n: u8) -> Vec<Vec<u8>> {
    let there = |flags, seq, ack, payload: &str| segment(n, true, flags, [seq, ack], payload);
    let back = |flags, seq, ack, payload: &str| segment(n, false, flags, [seq, ack], payload);
    let opened = [there("S", 1, 0, ""), back("S.", 1, 2, ""), there(".", 2, 2, "hello"), there(".", 2, 2, "hello")];
    let answered = [back(".", 2, 7, "answer"), back(".", 2, 7, "answer")];
    let whole = || opened.iter().chain(&answered).cloned();
    match n % 6 {
        0 => vec![there("S", 1, 0, ""), back("R.", 0, 2, "")],
        1 => vec![there("S", 1, 0, "")],
        2 => {
            let mut data = Vec::new();
            let ip = PacketBuilder::ipv4([10, 1, 0, 100], [10, 1, 0, 20], 64);
            ip.udp(5000 + u16::from(n), 53).write(&mut data, b"question").unwrap();
            vec![data]
        }
        3 => whole().chain([back("R.", 8, 7, "")]).collect(),
        4 => whole().collect(),
        _ => whole().chain([there("F.", 7, 8, ""), back("F.", 8, 8, "")]).collect(),
    }
}

fn segment(n: u8, there: bool, flags: &str, [seq, ack]: [u32; 2], payload: &str) -> Vec<u8> {
    let (client, server, port) = ([10, 1, 0, 100 + n % 3], [10, 1, 0, 20 + n % 2], 40_000 + u16::from(n));
    let (from, to, ports) = if there { (client, server, (port, 80)) } else { (server, client, (80, port)) };
    // One server takes no more for a while.
    let window = if n == 4 && !there { 0 } else { 1000 };
    let mut header = PacketBuilder::ipv4(from, to, 64).tcp(ports.0, ports.1, seq, window);
    for flag in flags.chars() {
        header = match flag {
            'S' => header.syn(),
            'F' => header.fin(),
            'R' => header.rst(),
            _ => header.ack(ack),
        };
    }
    let mut data = Vec::new();
    header.write(&mut data, payload.as_bytes()).unwrap();
    data
}

fn verdicts() -> Vec<Record> {
    let mut verdicts = VerdictEngine::new(VerdictConfig {
        prefixes: PrefixPatterns::cloud_foundry(),
        container_interfaces: Vec::new(),
        repeats: None,
        patience: None,
        observer_id: String::new(),
        filter: Default::default(),
    });
    let store = r#"{"a": {"ip": "10.255.15.7", "metadata": {"app_id": "shop", "space_id": "s", "org_id": "o"}}}"#;
    verdicts.set_store(ContainerStore::parse(store.as_bytes()).unwrap());
    for n in 0..10 {
        let rule = ["OK_0002_shop", "DENY_a", "DENY_C2C_a"][n % 3];
        let line = format!(
            "2026-03-01T12:00:{n:02}.000000+00:00 cell kernel: {rule} IN=s-1 OUT=eth0 SRC=10.255.15.7 DST=10.0.0.{} LEN=60 \
             PROTO=TCP SPT=40000 DPT={} WINDOW=1 SYN ",
            n % 4,
            80 + n % 2
        );
        verdicts.handle_line(line.as_bytes(), VerdictInput::File, Timestamp(0), None);
    }
    std::mem::take(verdicts.records())
}
