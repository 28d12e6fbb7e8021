//! The BPF program for real: connects of another process while its ring is not read.

use std::process::Command;

use podtap::connects::{ConnectConfig, ConnectEngine};
use podtap::ledger::Ledger;
use podtap::record::{ConnectRecord, ConnectResult, Record};
use podtap::source::connects::{ConnectSourceOptions, load, namespace, run};
use podtap::source::live::stop_pair;

use crate::namespace::in_a_namespace;

/// Connects to a closed port: many times what the smallest ring holds.
const CONNECTS: u64 = 2000;

#[test]
fn what_found_no_room_while_the_reader_slept_is_counted_exactly() {
    in_a_namespace(|| {
        let options = ConnectSourceOptions { netns: namespace("net"), udp: false, early: true, buffer_bytes: 64 << 10 };
        let loaded = match load(&options) {
            Ok(loaded) => loaded,
            Err(why) => return eprintln!("SKIPPED: connects by eBPF: {why}"),
        };
        // Another process: this one is podtap itself, and left out.
        let script = format!("for ((n = 0; n < {CONNECTS}; n++)); do : <>/dev/tcp/127.0.0.1/1; done");
        let bash = match Command::new("bash").args(["-c", &script]).stderr(std::process::Stdio::null()).spawn() {
            Ok(bash) => bash,
            Err(why) => return eprintln!("SKIPPED: needs bash: {why}"),
        };
        let pid = bash.id();
        bash.wait_with_output().unwrap();

        let (stopping, stop) = stop_pair().unwrap();
        drop(stopping);
        let mut connects = ConnectEngine::new(ConnectConfig::default(), Vec::new());
        let mut seen: Vec<ConnectRecord> = Vec::new();
        run(loaded, &stop, &mut connects, |connects, _| {
            let connect = |record| if let Record::Connect(connect) = record { Some(*connect) } else { None };
            seen.extend(connects.records().drain(..).filter_map(connect));
        })
        .unwrap();
        let ledger = connects.ledger().clone();
        assert_eq!((ledger.events, ledger.read + ledger.dropped), (CONNECTS, CONNECTS), "{ledger:?}");
        assert!(ledger.dropped > 0 && ledger.read == seen.len() as u64 && ledger.untracked + ledger.unended == 0);
        assert_eq!(Ledger { connects: ledger, ..Ledger::default() }.imbalances(), []);
        for connect in seen {
            let process = connect.process.unwrap();
            assert_eq!((process.pid, &*process.name, connect.result), (pid, "bash", ConnectResult::Refused));
        }
    });
}
