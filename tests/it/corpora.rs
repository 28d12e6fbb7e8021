//! The judge over other projects' captures: agreement, no wrong pair, no failure, and every remaining difference listed
//! with its reason in tests/known_differences.tsv; and the contested captures, judged by eye in tests/contested.tsv.
//!
//! The captures are not part of this project: PODTAP_CORPORA names their folder, else it is looked for beside the
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

fn known() -> Differences {
    let lines = include_str!("../known_differences.tsv").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.splitn(4, '\t');
            let mut next = || fields.next().unwrap().to_owned();
            let (kind, count, capture, reason) = (next(), next(), next(), next());
            assert!(reason.len() > 10, "no reason for {capture}");
            ((capture, kind), count.parse().unwrap())
        })
        .collect()
}

/// `missing  path: …`, one line a difference.
fn told(output: &str) -> Differences {
    let mut told = Differences::new();
    for line in output.lines() {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(capture)) = (words.next(), words.next().and_then(|w| w.strip_suffix(':'))) else {
            continue;
        };
        if matches!(kind, "wrong" | "missing" | "extra" | "time") {
            *told.entry((capture.to_owned(), kind.to_owned())).or_default() += 1;
        }
    }
    told
}

#[test]
fn the_judge_agrees_but_for_what_is_listed() {
    let Some(folder) = corpora() else {
        eprintln!("skipped: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let report = std::env::temp_dir().join(format!("podtap-judge-{}.json", std::process::id()));
    let output = Command::new("python3")
        .arg(folder.join("compare.py"))
        .args(["--list", "wrong,missing,extra,time", "--json"])
        .arg(&report)
        .args(["--", env!("CARGO_BIN_EXE_podtap"), "replay", "{}"])
        .args(["--redact-headers=none", "--redact-query=none", "--log-level=error"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let judged: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    std::fs::remove_file(&report).unwrap();
    assert!(judged["agreement"].as_f64().unwrap() >= 0.97, "{text}");
    assert_eq!(judged["total"]["wrong"].as_u64().unwrap_or(0), 0, "wrong pairs");
    assert_eq!(judged["failures"].as_array().unwrap().len(), 0, "{}", judged["failures"]);
    let (told, known) = (told(&text), known());
    let new: Vec<_> = told.iter().filter(|(what, n)| known.get(*what) != Some(n)).collect();
    let gone: Vec<_> = known.iter().filter(|(what, n)| told.get(*what) != Some(n)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "differences that are not listed: {new:#?}\nlisted, but otherwise: {gone:#?}"
    );
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

fn replayed(capture: &Path) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podtap"));
    command.arg("replay").arg(capture).args(["--format=ecs", "--log-level=error"]);
    let output = command.output().unwrap();
    let records: Vec<serde_json::Value> =
        output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
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
