//! `podtap replay --format har`: a document that the format's specification allows, whole and with every exchange.

use podtap::demo::rendered;
use podtap::flow::Timestamp;
use podtap::synth::pcap;
use serde_json::Value;

use crate::binary::{replay, run};

const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

/// Members that HAR 1.2 demands, and the type of each.
const DEMANDED: [(&str, &[(&str, Kind)]); 8] = [
    ("/log", &[("version", Kind::Text), ("creator", Kind::Object), ("entries", Kind::Array)]),
    ("/log/creator", &[("name", Kind::Text), ("version", Kind::Text)]),
    (
        "/log/entries/*",
        &[
            ("startedDateTime", Kind::Time),
            ("time", Kind::Positive),
            ("request", Kind::Object),
            ("response", Kind::Object),
            ("cache", Kind::Object),
            ("timings", Kind::Object),
        ],
    ),
    (
        "/log/entries/*/request",
        &[
            ("method", Kind::Text),
            ("url", Kind::Url),
            ("httpVersion", Kind::Text),
            ("cookies", Kind::Array),
            ("headers", Kind::Array),
            ("queryString", Kind::Array),
            ("headersSize", Kind::Integer),
            ("bodySize", Kind::Integer),
        ],
    ),
    (
        "/log/entries/*/response",
        &[
            ("status", Kind::Integer),
            ("statusText", Kind::Text),
            ("httpVersion", Kind::Text),
            ("cookies", Kind::Array),
            ("headers", Kind::Array),
            ("content", Kind::Object),
            ("redirectURL", Kind::Text),
            ("headersSize", Kind::Integer),
            ("bodySize", Kind::Integer),
        ],
    ),
    ("/log/entries/*/response/content", &[("size", Kind::Integer), ("mimeType", Kind::Text)]),
    ("/log/entries/*/timings", &[("send", Kind::Positive), ("wait", Kind::Positive), ("receive", Kind::Positive)]),
    ("/log/entries/*/request/headers/*", &[("name", Kind::Text), ("value", Kind::Text)]),
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Url,
    Time,
    Object,
    Array,
    Integer,
    /// A number that is not negative.
    Positive,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        let text = |test: fn(&str) -> bool| value.as_str().is_some_and(test);
        match self {
            Self::Text => value.is_string(),
            Self::Url => text(|url| url.contains("://")),
            Self::Time => text(|time| time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T'),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Positive => value.as_f64().is_some_and(|number| number >= 0.0),
        }
    }
}

/// Every value at a path; `*` is each element.
fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('/').skip(1).fold(vec![value], |values, part| {
        let elements = values.into_iter();
        if part == "*" {
            elements.flat_map(|value| value.as_array().unwrap()).collect()
        } else {
            elements.map(|value| &value[part]).collect()
        }
    })
}

fn faults(document: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for (path, members) in DEMANDED {
        for object in at(document, path) {
            for (name, kind) in members.iter().filter(|(name, kind)| !kind.fits(&object[name])) {
                out.push(format!("{path}: {name} is not {kind:?}: {}", object[name]));
            }
        }
    }
    for entry in at(document, "/log/entries/*") {
        let parts = entry["timings"].as_object().unwrap().values().filter_map(Value::as_f64);
        let sum: f64 = parts.filter(|part| *part >= 0.0).sum();
        if (sum - entry["time"].as_f64().unwrap()).abs() > 1e-6 {
            out.push(format!("time is not the sum of its parts: {entry}"));
        }
    }
    out
}

fn demo() -> Vec<u8> {
    pcap(&rendered(NOON))
}

#[test]
fn a_replay_gives_one_valid_document_with_every_exchange() {
    let ran = replay(&demo(), &[("FORMAT", "har"), ("OWN_IPS", "10.1.0.20"), ("LOGHEADERS", "true")]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(faults(&document), [""; 0]);
    let records = replay(&demo(), &[("OWN_IPS", "10.1.0.20"), ("LOGHEADERS", "true")]);
    let records: Vec<Value> = records.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let entries = at(&document, "/log/entries/*");
    assert_eq!(entries.len(), records.len());
    for (entry, record) in entries.into_iter().zip(&records) {
        assert_eq!(entry["_podtap"]["id"], record["event"]["id"]);
        let status = record["http"]["response"]["status_code"].as_u64().unwrap_or(0);
        assert_eq!(entry["response"]["status"], status);
        if let Some(url) = record["url"]["full"].as_str() {
            assert_eq!(entry["request"]["url"], url);
        }
        for (part, timing) in [("send", "request_us"), ("wait", "wait_us"), ("receive", "response_us")] {
            if let Some(micros) = record["podtap"]["timing"][timing].as_u64() {
                let millis = entry["timings"][part].as_f64().unwrap();
                assert_eq!((millis * 1000.0).round() as u64, micros, "{part}");
            }
        }
    }
}

#[test]
fn the_check_of_the_test_finds_what_is_wrong() {
    let ran = replay(&demo(), &[("FORMAT", "har")]);
    let mut document: Value = serde_json::from_str(&ran.stdout).unwrap();
    document["log"]["entries"][0]["time"] = 1e9.into();
    document["log"]["entries"][1]["request"].as_object_mut().unwrap().remove("url");
    assert_eq!(faults(&document).len(), 2);
}

#[test]
fn without_an_exchange_and_with_filters_it_is_a_document_too() {
    for (flags, at_least) in [(&["--include", "path=/nothing"][..], 0), (&["--only", "failed"], 1)] {
        let ran = run(&[&["replay", "-", "--format", "har"], flags].concat(), &[], &demo());
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(at(&document, "/log/entries/*").len() >= at_least && faults(&document).is_empty());
    }
    let nothing = run(&["replay", "-", "--format", "har"], &[], b"no capture");
    assert_eq!(nothing.code, Some(1));
    assert!(at(&serde_json::from_str(&nothing.stdout).unwrap(), "/log/entries/*").is_empty());
}

#[test]
fn where_a_document_has_no_end_it_is_refused_by_name() {
    let file = ["replay", "-", "--format", "har", "--send-logs-to", "file", "--file-path", "/nonexistent/x"];
    for (arguments, setting) in [
        (&["run", "--format", "har"][..], "FORMAT"),
        (&["demo", "--format-stdout", "har"], "FORMAT"),
        (&file, "FORMAT_FILE"),
    ] {
        let ran = run(arguments, &[], b"");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(
            ran.stderr.contains(setting) && ran.stderr.contains("only `podtap replay` writes it"),
            "{}",
            ran.stderr
        );
    }
}
