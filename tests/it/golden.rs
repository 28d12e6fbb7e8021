//! Whole records, byte for byte: captures that podtap's own synth renders, through the binary, against tests/golden.
//!
//! `UPDATE=1 cargo test --test it golden` rewrites them; then read the diff.

pub(crate) mod scenarios;
pub(crate) mod streams;

use std::collections::BTreeSet;
use std::path::PathBuf;

use podtap::synth::{SynthFrame, pcap};
use serde_json::Value;

use crate::binary::replay;
use scenarios::{SCENARIOS, Scenario};
use streams::STREAMS;

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().chain(STREAMS)
}

/// The pod is the server.
pub(crate) const ENV: &[(&str, &str)] =
    &[("OWN_IPS", "10.0.0.2,2001:db8::2"), ("LOGHEADERS", "x-kept,location,set-cookie")];

fn records(frames: &[SynthFrame]) -> String {
    let ran = replay(&pcap(frames), ENV);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("DOES NOT ADD UP"), "{}", ran.stderr);
    // The only part of a record that changes with a release.
    ran.stdout.replace(concat!(r#""version":""#, env!("CARGO_PKG_VERSION"), r#"""#), r#""version":"VERSION""#)
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"))
}

#[test]
fn every_scenario_gives_the_records_that_were_read_and_found_right() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (name, play) in all() {
        let seen = records(&play());
        if update {
            std::fs::create_dir_all(file(name).parent().unwrap()).unwrap();
            std::fs::write(file(name), &seen).unwrap();
        }
        let expected = std::fs::read_to_string(file(name)).unwrap_or_default();
        if seen != expected {
            wrong.push(format!("{name}:\n{}", difference(&expected, &seen)));
        }
    }
    let how = "if that is right: UPDATE=1 cargo test --test it golden";
    assert!(wrong.is_empty(), "{}\n{how}", wrong.join("\n"));
}

/// Machines that make up the same sequence numbers every day. What comes on another day is another record, and a replay
/// gives each the same name again.
#[test]
fn the_same_packets_have_the_same_ids_and_on_another_day_others() {
    const DAY: i64 = 86_400_000_000_000;
    for (name, play) in all() {
        let (frames, mut later) = (play(), play());
        later.iter_mut().for_each(|frame| frame.at.0 += DAY);
        let today = ids(&records(&frames));
        assert_eq!(today, ids(&records(&frames)), "{name}");
        let tomorrow = ids(&records(&later));
        assert_eq!(today.len(), tomorrow.len(), "{name}");
        let shared: Vec<_> = today.intersection(&tomorrow).collect();
        assert!(shared.is_empty(), "{name}: {shared:?}");
    }
}

fn ids(lines: &str) -> BTreeSet<String> {
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].as_str().unwrap().to_owned();
    lines.lines().map(id).collect()
}

/// The lines that are not the same, old and new.
fn difference(expected: &str, seen: &str) -> String {
    let old = expected.lines().filter(|line| !seen.lines().any(|other| other == *line)).map(|line| format!("- {line}"));
    let new = seen.lines().filter(|line| !expected.lines().any(|other| other == *line)).map(|line| format!("+ {line}"));
    old.chain(new).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_golden_file_is_without_its_scenario() {
    for entry in std::fs::read_dir(file("x").parent().unwrap()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(all().any(|(known, _)| format!("{known}.json") == name), "{name}");
    }
}
