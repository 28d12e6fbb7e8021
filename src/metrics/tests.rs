use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::flow::Timestamp;
use crate::record::sample::{self, record};
use crate::record::{Exchange, HttpRequest, HttpResponse, StreamClass, Trust, UnansweredReason};

pub(crate) fn exchange(method: &str, status: Option<u16>, route: &str, total_ns: u64) -> Exchange {
    let first = Timestamp(1_000);
    let last = first.plus(total_ns);
    Exchange {
        request: Some(HttpRequest { method: method.into(), first, last: first, ..sample::request() }),
        response: status.map(|status| HttpResponse { status: Some(status), first, last, ..sample::response() }),
        unanswered: status.is_none().then_some(UnansweredReason::Timeout),
        connect_ns: None,
        route: Some(route.into()),
        ..sample::exchange()
    }
}

fn page_of(records: &[Record]) -> String {
    let metrics = Metrics::new(Sinks::default());
    let probe = metrics.probe();
    let mut requests = WaitingRequests::default();
    records.iter().cloned().for_each(|record| requests.add(record, false));
    probe.count(&mut requests);
    metrics.page()
}

#[test]
fn requests_and_latency_have_their_labels() {
    const MS: u64 = 1_000_000;
    let page = page_of(&[
        record(exchange("GET", Some(200), "/orders/{id}", 3 * MS)),
        record(exchange("GET", Some(204), "/orders/{id}", MS)),
        record(exchange("GET", Some(200), "/orders/{id}", 60_000 * MS)),
        record(exchange("PWN\"", None, "/a\\\"b", 0)),
    ]);
    let labels = r#"{method="GET",status_class="2xx",route="/orders/{id}",direction="ingress"}"#;
    for line in [
        format!("podtap_http_requests_total{labels} 3"),
        format!("podtap_http_request_duration_seconds_count{labels} 3"),
        format!("podtap_http_request_duration_seconds_sum{labels} 60.004"),
        r#"podtap_http_requests_total{method="other",status_class="none",route="/a\\\"b",direction="ingress"} 1"#
            .into(),
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\nnot in\n{page}");
    }
    for (bound, n) in [("0.001", 1), ("0.0025", 1), ("0.005", 2), ("10.0", 2), ("+Inf", 3)] {
        let line = format!(r#"le="{bound}","#);
        let bucket = page.lines().find(|l| l.contains(&line) && l.contains("/orders/{id}")).expect(bound);
        assert!(bucket.ends_with(&format!(" {n}")), "{bucket}");
    }
    assert!(!page.lines().any(|l| l.contains("duration") && l.contains("none")), "no duration without a response");
}

#[test]
fn streams_late_responses_and_orphans_do_not_bend_the_latency() {
    let stream = Exchange { class: StreamClass::Stream, ..exchange("GET", Some(200), "/sse", 1 << 40) };
    let midstream = Exchange { trust: Trust::Midstream, ..exchange("GET", Some(200), "/mid", 5) };
    let late = Exchange { late: true, ..exchange("GET", Some(200), "/late", 5) };
    let orphan = Exchange { request: None, ..exchange("GET", Some(200), "/orphan", 5) };
    let page = page_of(&[stream, midstream, late, orphan].map(record));
    assert!(!page.contains("podtap_http_request_duration_seconds_count"));
    let routes = ["/sse", "/mid", "/late", "/orphan"].map(|route| page.contains(&format!("route=\"{route}\"")));
    assert_eq!(routes, [true, true, false, false]);
}

#[test]
fn the_number_of_series_has_a_bound_and_no_request_goes_uncounted() {
    let hostile = (0..5000u16).map(|n| record(exchange("GET", Some(n), &format!("/{n}"), 5)));
    let long = record(exchange("GET", Some(200), &"/x".repeat(200), 5));
    let page = page_of(&hostile.chain([long]).collect::<Vec<_>>());
    let series: Vec<_> = page.lines().filter(|l| l.starts_with("podtap_http_requests_total{")).collect();
    let extra = series.iter().filter(|l| l.contains("route=\"other\"")).count();
    assert_eq!(series.len() - extra, MAX_SERIES);
    assert!((1..=6).contains(&extra), "one for each status class: {extra}");
    let total: u64 = series.iter().map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(total, 5001);
    let known = page_of(&[record(exchange("GET", Some(200), &"/x".repeat(200), 5))]);
    assert!(known.contains("route=\"other\"") && !known.contains("/x/x"));
}

#[test]
fn a_scrape_adds_up_what_capture_threads_published() {
    let metrics = Metrics::new(Sinks::default());
    let (one, two) = (metrics.probe(), metrics.probe());
    let mut ledger = Ledger::default();
    ledger.frames.frames = 5;
    ledger.streams.connects_refused = 1;
    for probe in [&one, &two, &two] {
        probe.publish(&ledger, &KernelCounters { received: 7, dropped: 2, ..KernelCounters::default() });
        probe.publish_records(&RecordLedger { made: 3, offered: 3, ..RecordLedger::default() });
    }
    let page = metrics.page();
    for line in [
        "podtap_frames_total 10",
        "podtap_kernel_packets_total 14",
        "podtap_kernel_dropped_packets_total 4",
        "podtap_records_made_total 6",
        "podtap_records_offered_total 6",
        "podtap_connects_refused_total 2",
        "podtap_frames_skipped_total{reason=\"icmp\"} 0",
        "podtap_ledger_imbalances 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\nnot in\n{page}");
    }
}

/// One row of the reference: name as Prometheus stores it, type, labels, help.
fn rows(page: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    let mut help = "";
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), _) => {
                help = line.split_once(name).unwrap().1.trim();
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
                let labels = labels_of(page, &name).into_iter().collect::<Vec<_>>().join(", ");
                rows.insert(name.clone(), format!("| `{name}` | {kind} | {labels} | {help} |"));
            }
            _ => {}
        }
    }
    rows
}

fn labels_of<'a>(page: &'a str, name: &str) -> BTreeSet<&'a str> {
    let samples = page.lines().filter(|l| l.starts_with(name) && !l.starts_with('#'));
    let sets = samples.filter_map(|l| l.split_once('{')?.1.rsplit_once('}')).map(|(set, _)| set);
    let names = sets.flat_map(|set| set.split("\",").filter_map(|label| Some(label.split_once('=')?.0)));
    names.filter(|label| *label != "le").collect()
}

#[test]
fn the_reference_in_docs_is_the_page_itself() {
    let metrics = Metrics::new(Sinks::default());
    let mut call = exchange("POST", Some(200), "/a.B/C", 5);
    call.grpc = Some(Box::new(crate::record::GrpcCall { status: Some(14), ..Default::default() }));
    let mut requests = WaitingRequests::default();
    requests.add(record(call), false);
    metrics.probe().count(&mut requests);
    let mut snapshot = metrics.snapshot();
    let mut sink = SinkCounts::default();
    sink.rejected.add("mapping: x", 1);
    snapshot.sinks = vec![("stdout".into(), sink)];
    (snapshot.ledger.conntrack.opens, snapshot.ledger.verdicts.opens, snapshot.ledger.connects.opens) = (1, 1, 1);
    snapshot.workloads = Some(crate::ledger::WorkloadCounts::default());
    snapshot.ledger.flows.enabled = true;
    snapshot.netlog = Some(super::netlog::NetLog::new(false, 1));
    let mut registry = Registry::with_prefix("podtap");
    registry.register_collector(Box::new(snapshot));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();

    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let doc = std::fs::read_to_string(&path).unwrap();
    let (before, table) = doc.split_once("| metric |").unwrap();
    let (_, after) = table.split_once("\n\n").unwrap_or((table, ""));
    let rows: Vec<_> = rows(&page).into_values().collect();
    let expected =
        format!("{before}| metric | type | labels | meaning |\n|---|---|---|---|\n{}\n\n{after}", rows.join("\n"));
    #[allow(clippy::disallowed_methods, reason = "a switch of the test, not a setting of podtap")]
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(doc == expected, "docs/metrics.md is out of date; run: UPDATE=1 cargo test --lib metrics::");
    }
}
