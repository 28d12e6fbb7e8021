//! The whole program in a real memory cgroup while all that can be filled is filled. That is connections, bytes held,
//! heads and requests that wait, on two interfaces; and the queue of a server that takes nothing. It must not be
//! killed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use podtap::flow::Endpoint;
use podtap::packet::TcpFlags;

use super::lab::{POD, at, fetch, in_a_pod, listen};
use super::running::{METRICS_PORT, PODTAP, Podtap, metric};
use super::wire::{TUN, tun};
use crate::limits::write_frame;

const MIB: u64 = 1 << 20;
const INTERFACES: [&str; 2] = ["tap0", "tap1"];

/// A cgroup with a limit on memory. Gone with the test.
struct Cgroup {
    folder: PathBuf,
    /// What its processes took at the worst.
    peak: &'static str,
    /// What says how often one of them was killed.
    events: &'static str,
}

impl Cgroup {
    /// Of version 2 or 1, whichever this machine has.
    fn new(limit: u64) -> Result<Self, String> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("podtap-{limit}-{}", std::process::id());
        let unified = std::fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
        let second = unified.split_whitespace().any(|controller| controller == "memory");
        let (folder, limits, peak, events): (_, &[&str], _, _) = if second {
            (root.join(name), &["memory.max"], "memory.peak", "memory.events")
        } else {
            (
                root.join("memory").join(name),
                &["memory.limit_in_bytes"],
                "memory.max_usage_in_bytes",
                "memory.oom_control",
            )
        };
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let group = Self { folder, peak, events };
        for file in limits {
            std::fs::write(group.folder.join(file), limit.to_string()).map_err(|error| format!("{file}: {error}"))?;
        }
        // No way out by swapping.
        let _ = std::fs::write(group.folder.join("memory.swap.max"), "0");
        let _ = std::fs::write(group.folder.join("memory.memsw.limit_in_bytes"), limit.to_string());
        Ok(group)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// How often the kernel killed something in it.
    fn kills(&self) -> u64 {
        let killed = |line: &str| line.strip_prefix("oom_kill ")?.parse().ok();
        self.read(self.events).lines().find_map(killed).expect("the kernel counts its kills")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// An interface, and what its clients have sent so far.
struct Flood {
    wire: File,
    frame: Vec<u8>,
}

impl Flood {
    fn segment(&mut self, client: u32, to_server: bool, flags: u8, numbers: [u32; 2], payload: &[u8]) {
        let [_, a, b, c] = (client / 60_000).to_be_bytes();
        let end = Endpoint::new([10, 100 + a, b, c], 1024 + (client % 60_000) as u16);
        write_frame(&mut self.frame, end, to_server, flags, numbers, payload);
        self.wire.write_all(&self.frame).unwrap();
    }

    fn open(&mut self, client: u32) {
        self.segment(client, true, TcpFlags::SYN, [0, 0], b"");
        self.segment(client, false, TcpFlags::SYN | TcpFlags::ACK, [0, 1], b"");
    }

    /// One of each kind of client.
    fn clients(&mut self, from: u32) {
        let long = "x".repeat(1200);
        let ack = TcpFlags::ACK;
        // A head that does not end.
        self.open(from);
        self.segment(from, true, ack, [1, 1], format!("GET / HTTP/1.1\r\nHost: {long}").as_bytes());
        // A request that no one answers.
        self.open(from + 1);
        self.segment(
            from + 1,
            true,
            ack,
            [1, 1],
            format!("GET /a HTTP/1.1\r\nHost: h\r\nA: {long}\r\n\r\n").as_bytes(),
        );
        // Bytes whose beginning does not come.
        self.open(from + 2);
        (0..4).for_each(|n| self.segment(from + 2, true, ack, [100 + n * 1300, 1], long.as_bytes()));
        (0..4).for_each(|n| self.segment(from + 2, true, ack, [9000 + n * 2, 1], b"x"));
        // Exchanges.
        self.open(from + 3);
        let request = format!("GET /b HTTP/1.1\r\nHost: h\r\nA: {long}\r\n\r\n");
        let answer = format!("HTTP/1.1 200 OK\r\nB: {long}\r\nContent-Length: 0\r\n\r\n");
        for n in 0..4 {
            let (asked, answered) = (1 + n * request.len() as u32, 1 + n * answer.len() as u32);
            self.segment(from + 3, true, ack, [asked, answered], request.as_bytes());
            self.segment(from + 3, false, ack, [answered, asked + request.len() as u32], answer.as_bytes());
        }
    }
}

fn fill_and_end(limit: u64) {
    in_a_pod(move |_| {
        if let Err(error) = File::open(TUN) {
            return eprintln!("SKIPPED: needs {TUN}: {error}");
        }
        let group = match Cgroup::new(limit) {
            Ok(group) => group,
            Err(error) => return eprintln!("SKIPPED: needs a memory cgroup of its own (root): {error}"),
        };
        let mut floods = INTERFACES.map(|name| Flood { wire: tun(name), frame: Vec::new() });
        let silent = listen(at(POD, 24_224));
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ >"$PROCS" && exec "$0""#, PODTAP]);
        command.env_clear().env("PROCS", group.folder.join("cgroup.procs")).envs([
            ("IFACE", INTERFACES.join(",").as_str()),
            ("LOGHEADERS", "true"),
            ("SEND_LOGS_TO", "fluentd,file"),
            ("FLUENTD_HOST", POD),
            ("FORMAT_FILE", "classic"),
            ("FILE_PATH", "/dev/null"),
            ("GRACE_PERIOD", "10s"),
            ("LINGER", "0"),
        ]);
        let mut podtap = Podtap::spawn(command);
        INTERFACES.iter().for_each(|_| podtap.says("capturing"));
        let mut client = 0;
        let (mut evicted, mut dropped) = (0.0, 0.0);
        // Until everything is full, and then as much again.
        for _ in 0..400 {
            for _ in 0..50 {
                floods.iter_mut().for_each(|flood| flood.clients(client));
                client += 4;
            }
            let page = fetch(at("127.0.0.1", METRICS_PORT), "/metrics").1;
            let value = |series| metric(&page, series).unwrap_or_default();
            evicted = value("podtap_connections_evicted_total");
            dropped = value(r#"podtap_sink_dropped_records_total{sink="fluentd",reason="queue_full"}"#);
        }
        let (kills, peak) = (group.kills(), group.read(group.peak));
        eprintln!(
            "{} MiB: peak {}, {evicted} connections evicted, {dropped} records dropped",
            limit / MIB,
            peak.trim()
        );
        assert_eq!(kills, 0, "killed");
        assert!(evicted > 0.0 && dropped > 0.0, "it was filled: {evicted} evicted, {dropped} dropped");
        podtap.signal("TERM");
        let (status, _, said) = podtap.end();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("LOST") && said.contains("The ledger adds up."), "{said}");
        assert_eq!(group.kills(), 0, "killed at the end");
        drop(silent);
    });
}

#[test]
fn the_worst_fits_into_64_mib() {
    fill_and_end(64 * MIB);
}

#[test]
fn the_worst_fits_into_32_mib() {
    fill_and_end(32 * MIB);
}
