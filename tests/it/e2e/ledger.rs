//! Ledger records of a live run, as they arrive at real servers: summed up they are what the closing lines say.

use std::collections::BTreeMap;

use podtap::setup::SetupOptions;
use serde_json::Value;

use super::lab::{Directory, Lab, POD, ask, at, connect, get, in_a_pod, nginx, until};
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
fn capture_is_told(records: &[&Value], closing: &BTreeMap<String, u64>) {
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
    assert!(sum(records, "kernel_packets") > 0);
    assert!(sum(records, "requests_paired") == 60 && sum(records, "records_left_out") == 6);
    // One interval ends where the next begins.
    for pair in records.windows(2) {
        assert_eq!(pair[0]["event"]["end"], pair[1]["event"]["start"]);
    }
    assert!(records.iter().all(|record| record["podtap"]["ledger"]["adds_up"] == true), "{records:?}");
}

/// What its records say of a sink: all but what became of the last ones, one of the capture and one of each of three sinks.
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
            ("BATCH_AGE", "50ms"),
            ("IGNORE_URLS", "/fail/"),
            ("POD_NAME", "shop-1"),
        ]);
        for round in 1..=3 {
            exchange(&lab, 20);
            until("ledger records that tell of them", || {
                let arrived = by_id(forward.records().into_iter());
                (sum(&of(&arrived, None), "requests_paired") >= round * 20).then_some(())
            });
        }
        let (printed, said) = podtap.interrupted();
        let closing = closing(&said);
        let at_fluentd = by_id(forward.records().into_iter());
        let at_elasticsearch = search.stored(INDEX);
        assert_eq!(at_fluentd, at_elasticsearch, "the same records in both places");
        assert!(at_fluentd.iter().all(|(id, record)| record["event"]["id"] == id.as_str()));
        assert!(at_fluentd.values().all(|record| record["kubernetes"]["pod"]["name"] == "shop-1"));
        let exchanges = at_fluentd.values().filter(|record| !is_ledger(record)).count();
        let printed: Vec<Value> = printed.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(exchanges == 54 && printed.len() == 54 && !printed.iter().any(is_ledger), "{said}");
        let of_capture = of(&at_fluentd, None);
        assert!(of_capture.len() > 3, "{said}");
        capture_is_told(&of_capture, &closing);
        // Standard output is told of, and gets none.
        assert_eq!(sum(&of(&at_fluentd, Some("stdout")), "sink_ledger_records"), 0);
        for sink in ["fluentd", "elasticsearch"] {
            sink_is_told(sink, &of(&at_fluentd, Some(sink)), &closing);
        }
    });
}
