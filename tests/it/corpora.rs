//! The judge over other projects' captures: agreement, no wrong pair, no failure. Every remaining difference is listed with its reason in
//! tests/known_differences.tsv (those of HTTP/2, gRPC and WebSocket in known_differences_h2.tsv). The contested captures are judged by eye
//! in tests/contested.tsv.
//!
//! The captures are not part of this project: PODTAP_CORPORA names their folder, else it is looked for next to the
//! checkout. Without it the test says so and is skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn corpora() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("PODTAP_CORPORA").map_or(beside, PathBuf::from);
    folder.join("compare.py").exists().then_some(folder)
}

type Differences = BTreeMap<(String, String), usize>;

/// What is listed, and how many records and rows of that podtap has to answer for.
struct Known {
    all: Differences,
    ours: usize,
}

fn known() -> Known {
    listed(&[include_str!("../known_differences.tsv")])
}

/// What is listed of HTTP/2, gRPC and WebSocket, next to that.
fn known_with_protocols() -> Known {
    listed(&[include_str!("../known_differences.tsv"), include_str!("../known_differences_h2.tsv")])
}

fn listed(tables: &[&str]) -> Known {
    let (mut all, mut ours) = (Differences::new(), 0);
    for line in tables.iter().flat_map(|table| table.lines()).filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.splitn(5, '\t').collect();
        let [kind, count, whose, capture, reason] = fields[..] else { panic!("{line}") };
        assert!(reason.len() > 10, "no reason for {capture}");
        assert!(["judge", "choice", "ours", "keys"].contains(&whose), "{line}");
        let count: usize = count.parse().unwrap();
        *all.entry((capture.to_owned(), kind.to_owned())).or_default() += count;
        // A wrong pair is a row and a record.
        ours += match (whose, kind) {
            ("ours", "wrong") => 2 * count,
            ("ours", "missing" | "extra") => count,
            _ => 0,
        };
    }
    Known { all, ours }
}

impl Known {
    /// The agreement over what can be decided: without the rows in which the judge errs, or in which both are right.
    fn decidable(&self, judged: &serde_json::Value) -> f64 {
        let matched = judged["total"]["matched"].as_f64().unwrap();
        2.0 * matched / (2.0 * matched + self.ours as f64)
    }
}

/// `missing  path: …`, one line a difference.
fn told(output: &str) -> Differences {
    let mut told = Differences::new();
    for line in output.lines() {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(capture)) = (words.next(), words.next().and_then(|w| w.strip_suffix(':'))) else {
            continue;
        };
        if matches!(kind, "wrong" | "missing" | "extra" | "time" | "field") {
            *told.entry((capture.to_owned(), kind.to_owned())).or_default() += 1;
        }
    }
    told
}

/// What the judge says with these switches: the agreement, the sums, and the differences one by one.
fn judged(folder: &Path, switches: &[&str], kinds: &str) -> (serde_json::Value, Differences) {
    let name = format!("podtap-judge{}-{}.json", switches.concat(), std::process::id());
    let report = std::env::temp_dir().join(name);
    let output = Command::new("python3")
        .arg(folder.join("compare.py"))
        .args(switches)
        .args(["--list", kinds, "--json"])
        .arg(&report)
        .args(["--", env!("CARGO_BIN_EXE_podtap"), "replay", "{}"])
        .args(["--redact-headers=none", "--redact-query=none", "--log-level=error"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let judged: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    std::fs::remove_file(&report).unwrap();
    assert_eq!(judged["failures"].as_array().unwrap().len(), 0, "{}", judged["failures"]);
    println!("{text}");
    (judged, told(&text))
}

fn agree(told: &Differences, known: &Known) {
    let known = &known.all;
    let new: Vec<_> = told.iter().filter(|(what, n)| known.get(*what) != Some(n)).collect();
    let gone: Vec<_> = known.iter().filter(|(what, n)| told.get(*what) != Some(n)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "differences that are not listed: {new:#?}\nlisted, but otherwise: {gone:#?}"
    );
}

#[test]
fn the_judge_agrees_but_for_what_is_listed() {
    let Some(folder) = corpora() else {
        eprintln!("skipped: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let (judged, told) = judged(&folder, &[], "wrong,missing,extra,time");
    assert!(judged["agreement"].as_f64().unwrap() >= 0.975);
    assert!(known().decidable(&judged) >= 0.99, "{}", known().decidable(&judged));
    assert_eq!(judged["total"]["wrong"].as_u64().unwrap_or(0), 0, "wrong pairs");
    agree(&told, &known());
}

/// Here the judge calls pairs wrong whose request it does not know itself: each is listed with its reason.
#[test]
fn the_judge_of_http2_grpc_and_websocket_agrees_but_for_what_is_listed() {
    let Some(folder) = corpora() else {
        eprintln!("skipped: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let (judged, told) = judged(&folder, &["--h2", "--grpc", "--ws"], "wrong,missing,extra,time,field");
    let total = |what: &str| judged["total"][what].as_u64().unwrap_or(0);
    assert_eq!(total("late_wrong"), 0, "other values after a late join or a loss");
    let known = known_with_protocols();
    println!("agreement over what can be decided: {:.4}", known.decidable(&judged));
    assert!(known.decidable(&judged) >= 0.99);
    let wrong: usize = known.all.iter().filter(|((_, kind), _)| kind == "wrong").map(|(_, count)| count).sum();
    assert_eq!(total("wrong"), wrong as u64);
    agree(&told, &known);
}

/// The captures of HPACK's stories, whose requests tshark does not always know: against the stories themselves.
#[test]
fn every_story_of_hpack_is_recorded_as_it_is_written() {
    let Some(folder) = corpora() else {
        eprintln!("skipped: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let mut exchanges = 0;
    for entry in std::fs::read_dir(folder.join("hpack-test-case")).unwrap() {
        let capture = entry.unwrap().path();
        let name = capture.file_name().unwrap().to_str().unwrap().to_owned();
        let origin = std::fs::read(folder.join(format!("origin/hpack-test-case/{name}.json"))).unwrap();
        let origin: serde_json::Value = serde_json::from_slice(&origin).unwrap();
        let written = origin[0]["tuples"].as_array().unwrap();
        let said: BTreeMap<_, _> = records(&capture)
            .into_iter()
            .map(|record| (record["podtap"]["http2"]["stream_id"].as_u64().unwrap(), record))
            .collect();
        assert_eq!(said.len(), written.len(), "{name}");
        for story in written {
            let record = &said[&story["h2_stream"].as_u64().unwrap()];
            let (http, method) = (&record["http"], &story["method"]);
            assert_eq!(&http["request"]["method"], method, "{name} {story}");
            assert_eq!(record["url"]["original"], story["uri"], "{name} {story}");
            assert_eq!(http["response"]["status_code"], story["status"], "{name} {story}");
            exchanges += 1;
        }
    }
    assert!(exchanges > 200, "{exchanges}");
}

/// How many records there are, and how many of them are pairs.
#[derive(Debug, PartialEq)]
struct Told {
    records: usize,
    pairs: usize,
}

fn contested() -> BTreeMap<String, Told> {
    let lines = include_str!("../contested.tsv").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let [records, pairs, capture, reason] = fields[..] else { panic!("{line}") };
            assert!(reason.len() > 10, "no reason for {capture}");
            (capture.to_owned(), Told { records: records.parse().unwrap(), pairs: pairs.parse().unwrap() })
        })
        .collect()
}

/// Its exchanges.
fn records(capture: &Path) -> Vec<serde_json::Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podtap"));
    command.arg("replay").arg(capture).args(["--format=ecs", "--log-level=error"]);
    command.args(["--redact-headers=none", "--redact-query=none"]);
    let output = command.output().unwrap();
    let lines = output.stdout.split(|b| *b == b'\n');
    let records = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    records.filter(|record| record["event"]["dataset"] == "podtap.http").collect()
}

fn replayed(capture: &Path) -> Told {
    let records = records(capture);
    let is_pair = |r: &&serde_json::Value| r["http"]["request"].is_object() && r["http"]["response"].is_object();
    Told { records: records.len(), pairs: records.iter().filter(is_pair).count() }
}

#[test]
fn the_contested_captures_give_what_was_found_right_by_eye() {
    let Some(folder) = corpora() else {
        eprintln!("skipped: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let entries = manifest.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let told: BTreeMap<_, _> = entries
        .filter(|entry| entry["contested"] == true)
        .map(|entry| {
            let capture = entry["path"].as_str().unwrap().to_owned();
            let told = replayed(&folder.join(&capture));
            (capture, told)
        })
        .collect();
    let listed = contested();
    for (capture, told) in &told {
        assert_eq!(listed.get(capture), Some(told), "{capture}");
    }
    assert_eq!(listed.len(), told.len(), "a capture is listed that is not contested");
}
