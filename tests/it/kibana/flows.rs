//! Records of connections and logged packets for the dashboards, from what a kernel would say.

use podtap::conntrack::{Config as TrackerConfig, Tracker};
use podtap::flow::Timestamp;
use podtap::format::Observer;
use podtap::format::ecs::write_json;
use podtap::netlink::{CREATED, Writer, nest};
use podtap::record::{FollowedBy, Record, VerdictInput};
use podtap::verdict::{Config, Prefixes, Store, Verdicts};
use serde_json::Value;

const SECOND: i64 = 1_000_000_000;

/// Connections to a Service, some of which nothing answered, and packets that rules let pass or held back.
pub(super) fn lines(noon: Timestamp) -> Vec<Value> {
    let mut records = connections(noon);
    records.extend(verdicts());
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
    let mut tracker = Tracker::new(TrackerConfig { max_flows: 100, ..TrackerConfig::default() });
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
    let mut message = Writer::netfilter(kind, flags, 0, 2, 0)
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

fn verdicts() -> Vec<Record> {
    let mut verdicts = Verdicts::new(Config {
        prefixes: Prefixes::cloud_foundry(),
        container_interfaces: Vec::new(),
        repeats: None,
        patience: None,
        observer_id: String::new(),
        filter: Default::default(),
    });
    let store = r#"{"a": {"ip": "10.255.15.7", "metadata": {"app_id": "shop", "space_id": "s", "org_id": "o"}}}"#;
    verdicts.set_store(Store::parse(store.as_bytes()).unwrap());
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
