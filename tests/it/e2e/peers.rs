//! HTTP/2 and gRPC between programs of others, on loopback, and podtap next to them: its records are what they say they did.
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

/// Lines, and how often each is said: at least and at most.
type Lines = BTreeMap<String, (u64, u64)>;

fn said(output: &str) -> Lines {
    let line = |line: &str| {
        let (line, count) = line.rsplit_once(' ').unwrap();
        let (least, most) = count.split_once('-').unwrap_or((count, count));
        (line.to_owned(), (least.parse().unwrap(), most.parse().unwrap()))
    };
    output.lines().map(line).collect()
}

/// The line of a record, as the peers' script writes it, and other ways to say the same.
fn lines(record: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), str::to_owned);
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (rpc, podtap, http) = (&record["rpc"], &record["podtap"], &record["http"]);
    if rpc.is_null() {
        let (method, status) = (text(&http["request"]["method"]), number(&http["response"]["status_code"]));
        return vec![format!("http {method} {} {status}", text(&record["url"]["original"]))];
    }
    let counts = |name: &str| number(&podtap["grpc"][name]);
    let (asked, answered) = (counts("request_messages"), counts("response_messages"));
    let (method, status) = (text(&rpc["method"]), text(&rpc["response"]["status_code"]));
    // Client and server have the same deadline, and a server that hears of a call given up may say so: either ends it.
    let given_up = ["-", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"].contains(&&*status) && answered == "0";
    let mut ways = vec![status.as_str()];
    ways.extend(given_up.then_some("-"));
    ways.extend((given_up && podtap["grpc"]["timeout_us"].is_u64()).then_some("deadline"));
    let with = |asked: &str| -> Vec<String> {
        ways.iter().map(|status| format!("grpc {method} {status} {asked} {answered}")).collect()
    };
    [with(&asked), with("-")].concat()
}

fn watched(peer: &'static str) {
    if !is_there(peer) {
        return;
    }
    in_a_namespace(move || {
        let scratch = Directory::new();
        // Clients ask before their server listens; that is not what this is about.
        let podtap = Podtap::capturing(&[("FORMAT", "ecs"), ("FAILED_CONNECTS", "false")]);
        let output = run().args([peer.as_ref(), scratch.path()]).output().unwrap();
        assert!(output.status.success(), "{peer}: {}", String::from_utf8_lossy(&output.stderr));
        let expected = said(&String::from_utf8(output.stdout).unwrap());
        let (records, log) = podtap.interrupted();
        let records: Vec<Value> = records.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for record in &records {
            let ways = lines(record);
            let known = ways.iter().find(|line| expected.contains_key(*line)).or(ways.last());
            *seen.entry(known.unwrap().clone()).or_default() += 1;
        }
        for (line, (least, most)) in &expected {
            let count = seen.remove(line).unwrap_or_default();
            assert!((least..=most).contains(&&count), "{peer}: {line}: {count} of {least}, beside {seen:?}; {log}");
        }
        assert!(seen.is_empty(), "{peer}: nothing of this was said: {seen:?}; {log}");
        // What its peer gave up before it was answered has one half, and is called unanswered.
        let whole = |podtap: &Value| podtap["trust"] == "complete" || podtap["unanswered"].is_string();
        let half = records.iter().find(|record| !whole(&record["podtap"]));
        assert!(half.is_none(), "{peer}: {half:?}; {log}");
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

#[test]
fn connect_go_is_recorded_as_it_called() {
    watched("connect");
}
