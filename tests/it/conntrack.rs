//! Connection tracking for real: connections in a network namespace that tracks them, and a full receive buffer.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use podtap::conntrack::{ConntrackConfig, ConntrackTracker};
use podtap::flow::IpProtocol;
use podtap::ledger::{ConntrackLedger, Ledger};
use podtap::record::{ConntrackAction, ConntrackRecord, EndKnownBy, EventOutcome, Record};
use podtap::source::conntrack::{self, ConntrackOptions, KernelAccounting};
use podtap::source::live::{StopSender, stop_pair};

use crate::namespace::{in_a_namespace, ip};

const PATIENCE: Duration = Duration::from_secs(60);
/// Dumps asked for until an entry with a second to live is over: each takes milliseconds.
const TRIES: usize = 20_000;
/// How many flows the kernel tracks in this namespace.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Runs `test` in a namespace in which connections are tracked and counted, and forgotten soon after their end.
fn where_connections_are_tracked(test: impl FnOnce() + Send + 'static) {
    in_a_namespace(|| {
        let rule = "-A OUTPUT -m conntrack --ctstate INVALID -j ACCEPT";
        match Command::new("iptables").args(rule.split(' ')).status() {
            Ok(status) if status.success() => {}
            other => return missing(&format!("needs iptables(8) with its match conntrack: {other:?}")),
        }
        let names = [("acct", 1), ("timestamp", 1), ("tcp_timeout_time_wait", 1), ("tcp_timeout_close", 1)];
        for (name, value) in names.into_iter().chain([("udp_timeout", 300)]) {
            std::fs::write(format!("/proc/sys/net/netfilter/nf_conntrack_{name}"), value.to_string()).unwrap();
        }
        test();
    });
}

#[allow(clippy::disallowed_methods, reason = "a switch of the tests, not a setting of podtap")]
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("SKIPPED: {what}");
}

/// What a listener gives, batch by batch, and its ledger then.
type Given = (Vec<ConntrackRecord>, ConntrackLedger);

struct Listener {
    stop: Option<StopSender>,
    given: Receiver<Given>,
    thread: JoinHandle<()>,
    seen: Vec<ConntrackRecord>,
    ledger: ConntrackLedger,
}

impl Listener {
    /// Has listened when it returns. Without a sender for `gate` it stops at its first step, until one is there.
    fn start(options: ConntrackOptions, gate: Option<Receiver<()>>) -> Self {
        let (stop, stopped) = stop_pair().unwrap();
        let (sender, given): (SyncSender<Given>, _) = sync_channel(1 << 16);
        let thread = std::thread::spawn(move || {
            let mut tracker =
                ConntrackTracker::new(ConntrackConfig { max_flows: 100_000, ..ConntrackConfig::default() });
            let outcome = conntrack::run(&options, &stopped, &mut tracker, |tracker, _| {
                let ledger = Ledger { conntrack: tracker.ledger().clone(), ..Ledger::default() };
                assert_eq!(ledger.imbalances(), []);
                let event = |record| if let Record::Conntrack(event) = record { Some(*event) } else { None };
                let records = tracker.records().drain(..).filter_map(event).collect();
                let _ = sender.send((records, ledger.conntrack));
                if let Some(gate) = &gate {
                    let _ = gate.recv();
                }
            });
            outcome.unwrap();
        });
        let mut listener =
            Self { stop: Some(stop), given, thread, seen: Vec::new(), ledger: ConntrackLedger::default() };
        listener.step();
        listener
    }

    fn step(&mut self) {
        let (records, ledger) = self.given.recv_timeout(PATIENCE).unwrap();
        self.seen.extend(records);
        self.ledger = ledger;
    }

    /// Goes on until `done`; a dump of somebody else has the kernel look for entries that are over.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let mut tries = 0;
        while !done(self) {
            assert!(tries < TRIES, "{what}: {:#?} {:#?}", self.ledger, self.seen);
            tries += 1;
            Self::start(options(), None).finish();
            self.step();
        }
    }

    fn finish(mut self) -> Given {
        self.stop.take().unwrap().stop();
        while let Ok((records, ledger)) = self.given.recv_timeout(PATIENCE) {
            self.seen.extend(records);
            self.ledger = ledger;
        }
        self.thread.join().unwrap();
        (self.seen, self.ledger)
    }

    fn end_of(&self, protocol: IpProtocol, port: u16) -> Option<&ConntrackRecord> {
        self.seen.iter().find(|event| {
            let tuple = &event.tuple;
            event.action == ConntrackAction::End && (tuple.protocol, tuple.destination.port) == (protocol, port)
        })
    }
}

fn options() -> ConntrackOptions {
    ConntrackOptions { buffer_bytes: 8 << 20, all_namespaces: false }
}

#[test]
fn connections_are_recorded_from_their_start_to_their_close_with_what_came_of_them() {
    where_connections_are_tracked(|| {
        let accounting = KernelAccounting::read().unwrap();
        assert!(accounting.counters && accounting.times);
        let mut listener = Listener::start(options(), None);
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = server.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", open)).unwrap();
        drop(server.accept().unwrap());
        drop(client);
        let closed = 9;
        TcpStream::connect(("127.0.0.1", closed)).unwrap_err();
        listener.until("both ends", |seen| {
            seen.end_of(IpProtocol::TCP, open).is_some() && seen.end_of(IpProtocol::TCP, closed).is_some()
        });
        let served = listener.end_of(IpProtocol::TCP, open).unwrap();
        assert_eq!((served.outcome, served.end_known_by), (Some(EventOutcome::Success), Some(EndKnownBy::Closed)));
        let [there, back] = served.counters.unwrap();
        assert!(there.packets >= 3 && back.packets >= 2 && served.start < served.end, "{served:?}");
        let refused = listener.end_of(IpProtocol::TCP, closed).unwrap();
        assert_eq!(
            (refused.outcome, refused.counters.map(|both| both[0].packets)),
            (Some(EventOutcome::Failure), Some(1))
        );
        let news = |port| {
            let is_new = |event: &&ConntrackRecord| event.action == ConntrackAction::New;
            listener.seen.iter().filter(is_new).filter(|event| event.tuple.destination.port == port).count()
        };
        assert_eq!((news(open), news(closed)), (1, 1));
        let (_, ledger) = listener.finish();
        assert_eq!((ledger.dropped, ledger.unreadable), (0, 0));
    });
}

#[test]
fn what_was_there_before_is_known_from_a_dump_and_its_end_from_another() {
    where_connections_are_tracked(|| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let listener = Listener::start(options(), None);
        assert_eq!((listener.ledger.dump_entries, listener.ledger.silent), (1, 1));
        // A reset: the entry has a second to live.
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let mut entries = (0..TRIES).map(|_| Listener::start(options(), None).finish().1.dump_entries);
        assert!(entries.any(|entries| entries == 0), "the entry stays");
        let (seen, ledger) = listener.finish();
        let [event] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((event.action, event.tuple.destination.port), (ConntrackAction::End, port));
        assert!(event.start.is_some() && event.end.is_some(), "the kernel knows since when it was there: {event:?}");
        assert_eq!((ledger.flows, ledger.events), (0, ledger.recorded + ledger.folded));
    });
}

/// What the kernel says it dropped on the netfilter sockets of this namespace.
fn kernel_drops() -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1] == "12").map(|row| row[8].parse::<u64>().unwrap()).sum()
}

#[test]
fn what_the_buffer_cannot_hold_is_counted_exactly_and_known_from_a_dump() {
    where_connections_are_tracked(|| {
        let (open, gate) = sync_channel(0);
        let small = ConntrackOptions { buffer_bytes: 128 << 10, ..options() };
        let mut listener = Listener::start(small, Some(gate));
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Below the ports that the kernel chooses itself: each is a flow.
        for port in 10_000..12_000 {
            UdpSocket::bind(("127.0.0.1", port)).unwrap().send_to(b"?", silent.local_addr().unwrap()).unwrap();
        }
        drop(open);
        listener.until("the resynchronisation", |seen| seen.ledger.dumps >= 2 && seen.ledger.lost_beginnings > 0);
        let (dropped, tracked) = (kernel_drops(), std::fs::read_to_string(COUNT).unwrap());
        let (seen, ledger) = listener.finish();
        assert!(ledger.overruns > 0 && ledger.begun < 1000, "{ledger:?}");
        assert_eq!(ledger.begun + ledger.lost_beginnings, 2000, "{ledger:?}");
        assert_eq!(ledger.lost_beginnings + ledger.dropped, dropped, "{ledger:?}");
        assert_eq!((ledger.flows, ledger.untracked), (tracked.trim().parse().unwrap(), 0), "{ledger:?}");
        assert_eq!(seen.len() as u64, ledger.begun);
    });
}

#[test]
fn a_namespace_without_connection_tracking_says_so() {
    in_a_namespace(|| {
        let listener = Listener::start(options(), None);
        let (seen, ledger) = listener.finish();
        assert!(seen.is_empty() && ledger.events == 0 && ledger.dumps_failed == 0, "{ledger:?}");
    });
}

/// With the rights that podtap keeps, not with all that root has: the kernel looks at them for every event.
#[test]
fn connections_of_other_namespaces_are_recorded_with_the_id_that_they_have_in_this_one() {
    where_connections_are_tracked(|| {
        let other = format!("podtap-other-{}", std::process::id());
        let _gone = Other(other.clone());
        ip(&format!("netns add {other}"));
        ip(&format!("netns set {other} 7"));
        ip(&format!("-n {other} link set lo up"));
        let within = |command: &str| ip(&format!("netns exec {other} {command}"));
        within("iptables -A OUTPUT -m conntrack --ctstate INVALID -j ACCEPT");
        let mut podtap = Command::new(env!("CARGO_BIN_EXE_podtap"))
            .args(["run", "--record", "conntrack", "--conntrack-all-namespaces", "true"])
            .args(["--format", "ecs", "--metrics-addr", "none"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(podtap.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(told.any(|line| line.contains("INFO recording")));
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"?", "127.0.0.1:9").unwrap();
        // An echo is tracked as well, and every system has the program.
        within("ping -c 1 -W 1 127.0.0.1");
        let records = BufReader::new(podtap.stdout.take().unwrap()).lines().map_while(Result::ok);
        let seen: Vec<_> = records
            .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
            .map(|record| {
                let number = record["podtap"]["conntrack"]["namespace"].as_i64();
                (record["network"]["transport"].as_str().unwrap().to_owned(), number)
            })
            .take(2)
            .collect();
        podtap.kill().unwrap();
        podtap.wait().unwrap();
        assert_eq!(seen, [("udp".to_owned(), None), ("icmp".to_owned(), Some(7))]);
    });
}

/// A named namespace, which goes with the test.
struct Other(String);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
