//! Logged packets for real: NFLOG in a network namespace, files through the binary, and given lines with what was really sent.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use podtap::ledger::{Ledger, VerdictLedger};
use podtap::record::{Record, VerdictRecord};
use podtap::source::live::{CaptureError, StopSender, stop_pair};
use podtap::source::nflog::{self, NflogOptions};
use podtap::verdict::{PrefixPatterns, VerdictConfig, VerdictEngine};
use serde_json::Value;

use crate::namespace::in_a_namespace;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: u16 = 5;
const PODTAP: &str = env!("CARGO_BIN_EXE_podtap");

/// Runs `test` in a namespace in which packets to this UDP port are logged.
fn where_packets_are_logged(port: u16, test: impl FnOnce() + Send + 'static) {
    in_a_namespace(move || {
        let rule =
            format!("-A OUTPUT -p udp --dport {port} -j NFLOG --nflog-group {GROUP} --nflog-prefix DENY_ORL_one");
        match Command::new("iptables").args(rule.split(' ')).status() {
            Ok(status) if status.success() => test(),
            other => missing(&format!("needs iptables(8) with its target NFLOG: {other:?}")),
        }
    });
}

#[allow(clippy::disallowed_methods, reason = "a switch of the tests, not a setting of podtap")]
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("SKIPPED: {what}");
}

fn config() -> VerdictConfig {
    VerdictConfig {
        prefixes: PrefixPatterns::cloud_foundry(),
        container_interfaces: Vec::new(),
        repeats: None,
        patience: None,
        observer_id: String::new(),
        filter: Default::default(),
    }
}

type Given = (Vec<VerdictRecord>, VerdictLedger);

struct Listener {
    stop: StopSender,
    given: Receiver<Given>,
    thread: JoinHandle<Result<(), CaptureError>>,
}

impl Listener {
    /// Reads the group when it returns. With a `gate` it stops at each step, until there is no sender any more.
    fn start(buffer_bytes: u64, gate: Option<Receiver<()>>) -> Self {
        let (stop, stopped) = stop_pair().unwrap();
        let (sender, given): (SyncSender<Given>, _) = sync_channel(1 << 16);
        let thread = std::thread::spawn(move || {
            let mut verdicts = VerdictEngine::new(config());
            nflog::run(&NflogOptions { groups: vec![GROUP], buffer_bytes }, &stopped, &mut verdicts, |verdicts, _| {
                let ledger = Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() };
                assert_eq!(ledger.imbalances(), []);
                let packet = |record| if let Record::Verdict(packet) = record { Some(*packet) } else { None };
                let _ = sender.send((verdicts.records().drain(..).filter_map(packet).collect(), ledger.verdicts));
                if let Some(gate) = &gate {
                    let _ = gate.recv();
                }
            })
        });
        let listener = Self { stop, given, thread };
        listener.given.recv_timeout(PATIENCE).unwrap();
        listener
    }

    fn finish(self) -> Given {
        self.stop.stop();
        let (mut seen, mut last) = (Vec::new(), VerdictLedger::default());
        while let Ok((records, ledger)) = self.given.recv_timeout(PATIENCE) {
            seen.extend(records);
            last = ledger;
        }
        self.thread.join().unwrap().unwrap();
        (seen, last)
    }
}

fn send(packets: usize, port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    (0..packets).for_each(|_| assert_eq!(socket.send_to(b"four", ("127.0.0.1", port)).unwrap(), 4));
}

#[test]
fn a_logged_packet_is_recorded_with_its_rule_group_and_interface() {
    where_packets_are_logged(9, || {
        let listener = Listener::start(1 << 20, None);
        send(3, 9);
        let (seen, ledger) = listener.finish();
        assert_eq!((seen.len(), ledger.entries, ledger.lost), (3, 3, 0));
        let first = &seen[0];
        assert_eq!(
            (first.action(), first.prefix.as_str(), first.group),
            ("egress-denied", "DENY_ORL_one", Some(GROUP))
        );
        assert_eq!((first.meaning.kind.as_deref(), first.interface_out.as_deref()), (Some("orl"), Some("lo")));
        assert_eq!((first.packet.destination.port, first.packet.length), (9, Some(32)));
    });
}

#[test]
fn what_the_buffer_cannot_hold_is_counted_to_the_packet() {
    const PACKETS: usize = 5000;
    where_packets_are_logged(9, || {
        let (open, gate) = sync_channel(0);
        let listener = Listener::start(64 << 10, Some(gate));
        send(PACKETS, 9);
        drop(open);
        // The loss shows in the number of the next packet that fits.
        let mut seen = 0;
        while seen == 0 {
            seen = listener.given.recv_timeout(PATIENCE).unwrap().0.len();
        }
        send(1, 9);
        let (rest, ledger) = listener.finish();
        assert!(ledger.dropped > 0, "{ledger:?}");
        let recorded = seen + rest.len();
        assert_eq!(ledger.lost as usize + recorded, PACKETS + 1, "{ledger:?}");
    });
}

#[test]
fn a_group_that_another_program_reads_is_refused_by_name() {
    where_packets_are_logged(9, || {
        let listener = Listener::start(1 << 20, None);
        let (_stop, stopped) = stop_pair().unwrap();
        let options = NflogOptions { groups: vec![GROUP], buffer_bytes: 1 << 20 };
        let error = nflog::run(&options, &stopped, &mut VerdictEngine::new(config()), |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("group 5 cannot be read: another program"), "{error}");
        listener.finish();
    });
}

/// Standard output and standard error of `podtap verdicts` with these arguments.
fn podtap(arguments: &[&str]) -> (String, String) {
    let common = ["verdicts", "--metrics-addr", "none", "--format", "ecs", "--log-level", "warn"];
    let run = Command::new(PODTAP).args(common).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(run.stdout), text(run.stderr))
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podtap-verdicts-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_read_to_its_end_in_order_and_the_closing_lines_add_up() {
    let folder = Folder::new("file");
    let line =
        |port: usize| format!("OK_x IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=37 PROTO=UDP SPT=1 DPT={port} LEN=17 \n");
    let text: String = (1..=20_000).map(line).chain(["something else\n".to_owned()]).collect();
    let log = folder.write("kern.log", &text);
    let (out, told) = podtap(&[&log]);
    let ports: Vec<_> =
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["destination"]["port"].as_u64()).collect();
    assert_eq!(ports, (1..=20_000).map(Some).collect::<Vec<_>>());
    assert!(told.contains("verdict entries  20,001 = 20,000 recorded + 1 foreign\n"), "{told}");
    assert!(told.ends_with("Nothing lost; the ledger adds up.\n"), "{told}");
    let absent =
        Command::new(PODTAP).args(["verdicts", "/nowhere/kern.log", "--metrics-addr", "none"]).output().unwrap();
    assert_eq!(absent.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("/nowhere/kern.log: No such file"));
}

#[test]
fn given_lines_of_a_real_kernel_are_read_as_they_were_sent() {
    let Some(labs) = crate::labs::folder().map(|labs| labs.join("verdicts")) else { return };
    let folder = Folder::new("given");
    let store = labs.join("store.json");
    let mut judged = 0;
    for name in ["kernel", "formats", "seed"] {
        let cases = std::fs::read_to_string(labs.join(format!("lines/{name}.jsonl"))).unwrap();
        let cases: Vec<Value> = cases.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let cases: Vec<_> =
            cases.iter().filter(|case| case["optional"] != true && case["expected"].is_object()).collect();
        let text: String = cases.iter().map(|case| format!("{}\n", case["line"].as_str().unwrap())).collect();
        let (out, _) = podtap(&[&folder.write("all.log", &text), "--verdict-store", store.to_str().unwrap()]);
        let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), cases.len(), "{name}");
        cases.iter().zip(&records).for_each(|(case, record)| is_as_sent(case, record));
        judged += cases.len();
    }
    assert!(judged > 200, "{judged}");
}

fn is_as_sent(case: &Value, record: &Value) {
    let expected = &case["expected"];
    let context = || format!("{case}\n{record}");
    let transport =
        record["network"]["transport"].as_str().map(|name| if name == "ipv6-icmp" { "icmpv6" } else { name });
    let numbered = record["network"]["iana_number"].as_str();
    let known = expected["transport"].as_str();
    let in_the_line =
        |name: &str| !case["not_in_the_line"].as_array().is_some_and(|names| names.iter().any(|it| it == name));
    assert!(!in_the_line("transport") || known == transport || known == numbered, "{}", context());
    for (field, path) in [
        ("message", "/event/action"),
        ("sport", "/source/port"),
        ("dport", "/destination/port"),
        ("length", "/network/bytes"),
        ("icmp_type", "/podtap/icmp/type"),
        ("icmp_code", "/podtap/icmp/code"),
        ("mark", "/podtap/verdict/mark"),
        ("in", "/observer/ingress/interface/name"),
        ("out", "/observer/egress/interface/name"),
        ("container", "/container/id"),
        ("app", "/cloudfoundry/app/id"),
        ("org", "/cloudfoundry/org/id"),
    ] {
        if in_the_line(field) && !expected[field].is_null() {
            assert_eq!(record.pointer(path), Some(&expected[field]), "{field}: {}", context());
        }
    }
    let address = |value: &Value| value.as_str().unwrap().parse::<std::net::IpAddr>().unwrap();
    assert_eq!(address(&record["source"]["ip"]), address(&expected["src"]), "{}", context());
    assert_eq!(address(&record["destination"]["ip"]), address(&expected["dst"]), "{}", context());
    let prefix = expected["prefix"].as_str().unwrap().trim_end();
    assert_eq!(record["rule"]["name"], prefix, "{}", context());
}
