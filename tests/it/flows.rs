//! Flows: the judge over other projects' captures, and a replay of the command line.

use std::path::PathBuf;
use std::process::Command;

use podtap::synth;

fn judge() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    let folder = std::env::var_os("PODTAP_CORPORA").map_or(beside, PathBuf::from);
    Some(folder.join("flows_compare.py")).filter(|judge| judge.exists())
}

/// What the judge agrees with at least, of all five-tuples: exact packets and bytes each way.
const AGREEMENT: f64 = 0.995;

#[test]
fn the_judge_of_flows_finds_no_wrong_sum_and_no_wrong_direction() {
    let Some(judge) = judge() else {
        eprintln!("SKIPPED: no corpora (PODTAP_CORPORA, or ../shared/corpora beside the checkout)");
        return;
    };
    let report = std::env::temp_dir().join(format!("podtap-flows-{}.json", std::process::id()));
    let output = Command::new("python3")
        .arg(judge)
        .arg("--json")
        .arg(&report)
        .args(["--", env!("CARGO_BIN_EXE_podtap"), "replay", "{}"])
        .args(["--record", "flows", "--format", "ecs", "--log-level=error"])
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let judged: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    std::fs::remove_file(&report).unwrap();
    assert_eq!(judged["failures"].as_array().unwrap().len(), 0, "{}", judged["failures"]);
    for fault in ["wrong", "swapped by syn", "time", "sum", "final"] {
        assert_eq!(judged["total"][fault].as_u64().unwrap_or(0), 0, "{fault}");
    }
    assert!(judged["agreement"].as_f64().unwrap() >= AGREEMENT, "{}", judged["agreement"]);
}

#[test]
fn a_replay_gives_exchanges_and_their_flow_with_one_connection_id() {
    let conversation = synth::Conversation::default().handshake();
    let conversation = conversation.client("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n");
    let conversation = conversation.server("HTTP/1.1 204 No Content\r\n\r\n");
    let conversation = conversation.client("GET /b HTTP/1.1\r\nHost: shop\r\n\r\n");
    let frames = conversation.server("HTTP/1.1 204 No Content\r\n\r\n").close().frames();
    let capture = std::env::temp_dir().join(format!("podtap-flows-{}.pcap", std::process::id()));
    std::fs::write(&capture, synth::pcap(&frames)).unwrap();
    let replay = |record: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_podtap"))
            .args(["replay", "--format=ecs", "--record", record])
            .arg(&capture)
            .output()
            .unwrap();
        let records: Vec<serde_json::Value> =
            output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let closing = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(closing.contains("Nothing lost; the ledger adds up."), "{closing}");
        records
    };
    let both = replay("http,flows");
    let datasets: Vec<_> = both.iter().map(|record| record["event"]["dataset"].as_str().unwrap()).collect();
    assert_eq!(datasets, ["podtap.http", "podtap.http", "podtap.flow"]);
    let ids: Vec<_> = both.iter().map(|record| &record["podtap"]["connection"]["id"]).collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let flow = &both[2];
    assert_eq!(flow["podtap"]["flow"]["exchanges"], 2);
    assert_eq!(flow["podtap"]["flow"]["state"], "closed");
    assert_eq!(flow["network"]["packets"], frames.len());
    let alone = replay("flows");
    assert_eq!(alone.len(), 1);
    for same in ["/flow/id", "/network", "/podtap/connection/id", "/podtap/flow/source", "/event"] {
        assert_eq!(alone[0].pointer(same), flow.pointer(same), "{same}");
    }
    assert_eq!(alone[0]["podtap"]["flow"].get("exchanges"), None);
    std::fs::remove_file(&capture).unwrap();
}
