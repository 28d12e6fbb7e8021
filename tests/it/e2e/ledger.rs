//! Ledger records of a live run, as they arrive at real servers: summed up they are what the closing lines say.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use podtap::setup::SetupOptions;
use serde_json::Value;

use super::lab::{Directory, Lab, POD, ask, at, connect, get, in_a_pod, listen, nginx, until};
use super::running::Podtap;
use crate::elasticsearch::{options, set_up};
use crate::feed::by_id;
use crate::servers::{Forward, Kind, Scratch, Search};

const INDEX: &str = "ledger";

/// Numbers of the closing lines: `label`, and `label.term` for each of its parts.
fn closing(said: &str) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    for line in said.lines() {
        let Some((label, rest)) = line.split_once("  ") else { continue };
        let words: Vec<_> = rest.split([' ', '(', ';', ')']).filter(|word| !word.is_empty()).collect();
        let number = |word: &str| word.replace(',', "").parse::<u64>().ok();
        let Some(total) = words.first().and_then(|word| number(word)) else { continue };
        out.insert(label.to_owned(), total);
        for pair in words.windows(2).skip(1) {
            if let Some(n) = number(pair[0]) {
                out.insert(format!("{label}.{}", pair[1].trim_end_matches(',')), n);
            }
        }
    }
    out
}

/// `number` requests of the peer, one of ten for what is left out on purpose.
fn exchange(lab: &Lab, number: usize) {
    let mut client = lab.peer(|| connect(at(POD, 80)));
    for n in 0..number {
        ask(&mut client, &get(if n % 10 == 9 { "/fail/" } else { "/echo/" }));
    }
}

fn is_ledger(record: &Value) -> bool {
    record["event"]["dataset"] == "podtap.ledger"
}

/// More than fits into the ring, while podtap sleeps: the kernel has to drop packets. What follows in the same stream when that
/// is `over` shows the gap.
fn flood(lab: &Lab, podtap: &Podtap, over: impl Fn()) {
    podtap.signal("STOP");
    let listener = listen(at(POD, 8080));
    let mut client = lab.peer(|| connect(at(POD, 8080)));
    let mut server = listener.accept().unwrap().0;
    let mut server_too = server.try_clone().unwrap();
    let reading = std::thread::spawn(move || server.read_exact(&mut vec![0; 8 << 20]).unwrap());
    client.write_all(&vec![b'x'; 8 << 20]).unwrap();
    reading.join().unwrap();
    podtap.signal("CONT");
    over();
    client.write_all(b"and on").unwrap();
    drop(client);
    assert_eq!(server_too.read_to_string(&mut String::new()).unwrap(), 6);
}

/// What the closing lines say was lost of `what`.
fn lost(said: &str, what: &str) -> u64 {
    let number = |line: &str| line.strip_prefix("LOST  ")?.strip_suffix(what)?.trim().replace(',', "").parse().ok();
    said.lines().find_map(number).unwrap_or(0)
}

/// Of the capture (no sink) or of one sink, in order.
fn of<'a>(records: &'a BTreeMap<String, Value>, sink: Option<&str>) -> Vec<&'a Value> {
    let is = |record: &&Value| is_ledger(record) && record["podtap"]["ledger"]["sink"].as_str() == sink;
    let mut out: Vec<_> = records.values().filter(is).collect();
    out.sort_by_key(|record| record["@timestamp"].as_str().unwrap().to_owned());
    out
}

/// What is not known yet is absent.
fn sum(records: &[&Value], name: &str) -> u64 {
    records.iter().filter_map(|record| record["podtap"]["ledger"].get(name)?.as_u64()).sum()
}

/// What the records of the capture say against what the closing lines do.
fn capture_is_told(records: &[&Value], said: &str) {
    let closing = closing(said);
    for (name, line) in [
        ("frames", "frames"),
        ("frame_segments", "frames.segments"),
        ("frames_skipped", "frames.skipped"),
        ("kernel_packets", "kernel packets"),
        ("connections", "connections"),
        ("payload_bytes", "payload bytes"),
        ("payload_delivered_bytes", "payload bytes.in"),
        ("payload_discarded_bytes", "payload bytes.discarded"),
        ("http_parsed_bytes", "parsed bytes"),
        ("http_head_bytes", "parsed bytes.heads"),
        ("requests_seen", "requests"),
        ("requests_paired", "requests.paired"),
        ("requests_unanswered", "requests.unanswered"),
        ("responses_seen", "responses"),
        ("records_made", "records"),
        ("records_left_out", "records.left"),
        ("records_offered", "records.offered"),
    ] {
        assert_eq!(sum(records, name), closing.get(line).copied().unwrap_or(0), "{name}: {closing:?}");
    }
    for (name, what) in [
        ("kernel_dropped_packets", "packets: the capture buffer was full"),
        ("gap_bytes", "bytes of streams never seen"),
    ] {
        assert!(sum(records, name) > 0, "{name}");
        assert_eq!(sum(records, name), lost(said, what), "{name}: {said}");
    }
    // How many of them a busy machine dropped is luck.
    let some = ["requests_paired", "records_left_out", "records_offered"];
    assert!(some.iter().all(|name| sum(records, name) > 0), "{said}");
    // One interval ends where the next begins.
    for pair in records.windows(2) {
        assert_eq!(pair[0]["event"]["end"], pair[1]["event"]["start"]);
    }
    assert!(records.iter().all(|record| record["podtap"]["ledger"]["adds_up"] == true), "{records:?}");
}

/// What its records say of a sink: all but what became of the last ones. There is one of the capture and one of each of
/// three sinks.
fn sink_is_told(sink: &str, records: &[&Value], closing: &BTreeMap<String, u64>) {
    let last = 4;
    assert_eq!(sum(records, "sink_offered_records") + last, closing[sink], "{sink}: {closing:?}");
    assert_eq!(sum(records, "sink_ledger_records") + last, closing[&format!("{sink}.of")], "{sink}: {closing:?}");
    let at_the_end = records.last().unwrap();
    let waiting = ["sink_queued_records", "sink_in_flight_records", "sink_spooled_records"];
    let waiting: u64 = waiting.iter().map(|name| sum(&[at_the_end], name)).sum();
    let delivered = closing[&format!("{sink}.delivered")];
    assert_eq!(sum(records, "sink_delivered_records") + waiting + last, delivered, "{sink}: {closing:?}");
    for name in ["sink_dropped_records", "sink_rejected_records", "sink_recovered_records"] {
        assert_eq!(sum(records, name), 0, "{sink}: {name}");
    }
    assert!(records.iter().all(|record| record["podtap"]["ledger"]["adds_up"] == true), "{records:?}");
}

#[test]
fn the_sums_over_all_ledger_records_are_the_closing_ledger_at_real_servers() {
    in_a_pod(|lab| {
        let (directory, scratch) = (Directory::new(), Scratch::new("ledger"));
        let Some(_nginx) = nginx(directory.path()) else { return };
        let Some(forward) = Forward::start(&scratch, &[]) else { return };
        let Some(search) = Search::own(Kind::Elasticsearch, None, &[]) else { return };
        set_up(&options(&search, INDEX), &SetupOptions::default());
        connect(at(POD, 80));
        let (forward_host, url) = (format!("127.0.0.1:{}", forward.port), search.url());
        let podtap = Podtap::capturing(&[
            ("SEND_LOGS_TO", "stdout,fluentd,elasticsearch"),
            ("FORMAT", "ecs"),
            ("FLUENTD_HOST", &forward_host),
            ("ELASTICSEARCH_HOST", &url),
            ("ELASTICSEARCH_INDEX", INDEX),
            ("LEDGER_INTERVAL", "100ms"),
            // Less than the flood, and room for what comes while podtap waits for a processor.
            ("CAPTURE_BUFFER", "4MiB"),
            ("BATCH_AGE", "50ms"),
            ("IGNORE_URLS", "/fail/"),
            ("POD_NAME", "shop-1"),
        ]);
        let told = |name: &str| sum(&of(&by_id(forward.records()), None), name);
        let until_told = |name: &str, least: u64| until(name, || (told(name) >= least).then_some(()));
        let mut paired = 0;
        for round in 1..=3 {
            if round == 2 {
                flood(&lab, &podtap, || until_told("kernel_dropped_packets", 1));
            }
            exchange(&lab, 20);
            // At least one of each round.
            until_told("requests_paired", paired + 1);
            paired = told("requests_paired");
        }
        let (printed, said) = podtap.interrupted();
        let at_fluentd = by_id(forward.records());
        let at_elasticsearch = search.stored(INDEX);
        assert_eq!(at_fluentd, at_elasticsearch, "the same records in both places");
        assert!(at_fluentd.iter().all(|(id, record)| record["event"]["id"] == id.as_str()));
        assert!(at_fluentd.values().all(|record| record["kubernetes"]["pod"]["name"] == "shop-1"));
        let exchanges = at_fluentd.values().filter(|record| !is_ledger(record)).count();
        let printed: Vec<Value> = printed.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(exchanges == printed.len() && !printed.iter().any(is_ledger), "{said}");
        let of_capture = of(&at_fluentd, None);
        assert!(of_capture.len() > 3, "{said}");
        capture_is_told(&of_capture, &said);
        let closing = closing(&said);
        // Standard output is mentioned, and gets none.
        assert_eq!(sum(&of(&at_fluentd, Some("stdout")), "sink_ledger_records"), 0);
        for sink in ["fluentd", "elasticsearch"] {
            sink_is_told(sink, &of(&at_fluentd, Some(sink)), &closing);
        }
    });
}
