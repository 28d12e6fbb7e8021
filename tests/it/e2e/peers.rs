//! HTTP/2 and gRPC between programs of others, on loopback, and podtap beside them: its records are what they say they did.
//!
//! `scripts/servers/http2/run` fetches and runs them. Where a peer cannot be had, its test says SKIPPED; where CI is set, that
//! is a failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::lab::Directory;
use super::running::Podtap;
use crate::namespace::in_a_namespace;
use crate::servers::missing;

fn run() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers/http2/run"))
}

/// Whether the peer is there: fetched now if that is allowed, else by an earlier run.
fn is_there(peer: &str) -> bool {
    #[allow(clippy::disallowed_methods, reason = "a switch of the test, not a setting of podtap")]
    let allowed = std::env::var_os("CI").is_some() || std::env::var_os("PODTAP_SERVERS").is_some();
    if !allowed {
        missing(&format!("{peer}: PODTAP_SERVERS=1 lets scripts/servers/http2 fetch it"));
        return false;
    }
    let installed = run().args(["install", peer]).output().unwrap();
    if !installed.status.success() {
        missing(&format!("{peer}: {}", String::from_utf8_lossy(&installed.stderr)));
    }
    installed.status.success()
}

/// Lines without their counts, and how often each was said.
type Lines = BTreeMap<String, u64>;

/// A line of the peers, or of ours: what is not known to a client is not compared.
fn counted(lines: impl Iterator<Item = (String, u64)>) -> Lines {
    let mut counted = Lines::new();
    lines.for_each(|(line, count)| *counted.entry(line).or_default() += count);
    counted
}

fn said(output: &str) -> Lines {
    counted(output.lines().map(|line| {
        let (line, count) = line.rsplit_once(' ').unwrap();
        (line.to_owned(), count.parse().unwrap())
    }))
}

/// The line of a record, as the peers' script writes it.
fn line(record: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), str::to_owned);
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (rpc, podtap) = (&record["rpc"], &record["podtap"]);
    if rpc.is_null() {
        let status = number(&record["http"]["response"]["status_code"]);
        return format!(
            "http {} {} {status}",
            text(&record["http"]["request"]["method"]),
            text(&record["url"]["original"])
        );
    }
    let counts = |name: &str| number(&podtap["grpc"][name]);
    let (asked, answered) = (counts("request_messages"), counts("response_messages"));
    let method = text(&rpc["method"]);
    let status = text(&rpc["response"]["status_code"]);
    // Client and server have the same deadline: either ends the call, or its client before it said anything.
    let deadline =
        podtap["grpc"]["timeout_us"].is_u64() && answered == "0" && ["-", "DEADLINE_EXCEEDED"].contains(&&*status);
    if deadline {
        return format!("grpc {method} deadline - 0");
    }
    format!("grpc {method} {status} {asked} {answered}")
}

fn watched(peer: &'static str) {
    if !is_there(peer) {
        return;
    }
    in_a_namespace(move || {
        let scratch = Directory::new();
        let podtap = Podtap::capturing(&[("FORMAT", "ecs")]);
        let output = run().args([peer.as_ref(), scratch.path()]).output().unwrap();
        assert!(output.status.success(), "{peer}: {}", String::from_utf8_lossy(&output.stderr));
        let expected = said(&String::from_utf8(output.stdout).unwrap());
        let (records, log) = podtap.interrupted();
        let records: Vec<Value> = records.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let seen = counted(records.iter().map(|record| (line(record), 1)));
        assert_eq!(seen, expected, "{peer}: {log}");
        let whole = |record: &&Value| record["podtap"]["trust"] == "complete";
        assert_eq!(records.iter().filter(whole).count(), records.len(), "{peer}: {log}");
    });
}

#[test]
fn nghttp_and_h2load_are_recorded_as_they_asked() {
    watched("nghttp");
}

#[test]
fn an_upgrade_is_recorded_with_its_request_and_what_follows_it() {
    watched("upgrade");
}

#[test]
fn node_is_recorded_as_it_asked() {
    watched("node");
}

#[test]
fn go_is_recorded_as_it_asked() {
    watched("go");
}

#[test]
fn pythons_h2_is_recorded_as_it_asked() {
    watched("python");
}

#[test]
fn the_interop_cases_of_grpc_go_have_their_status_and_their_messages() {
    watched("grpcgo");
}

#[test]
fn grpcio_is_recorded_as_it_called() {
    watched("grpcpy");
}
