//! The judge over other projects' captures: agreement, no wrong pair, no failure, and every remaining difference listed
//! with its reason in tests/known_differences.tsv.
//!
//! The captures are not part of this project: PODTAP_CORPORA names their folder, else it is looked for beside the
//! checkout. Without it the test says so and is skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;
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
