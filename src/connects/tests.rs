use proptest::prelude::*;

use super::entry::{ConnectEntry, HEADER, LONGEST};
use super::{ConnectConfig, ConnectEngine, KernelClocks, KernelCounts};
use crate::flow::{Endpoint, Timestamp};
use crate::ledger::Ledger;
use crate::record::{ConnectRecord, ConnectResult, NetworkDirection, Record};
use crate::redact::Redactor;

/// An entry as the program writes it.
#[derive(Clone)]
struct Written {
    header: [u8; HEADER],
    names: Vec<&'static str>,
    args: Vec<u8>,
}

impl Written {
    fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.header[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let text: Vec<u8> = self.names.iter().flat_map(|name| name.bytes().chain([0])).collect();
        let mut whole = self.clone();
        whole.put(100, &(text.len() as u16).to_le_bytes()).put(102, &(self.args.len() as u16).to_le_bytes());
        [&whole.header[..], &text, &self.args].concat()
    }
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// curl in a container asks 10.0.0.2:80 from 10.0.0.1:40000 with success, on CPU 1; the next one a nanosecond later.
fn written(nth: u64) -> Written {
    let mut it = Written {
        header: [0; HEADER],
        names: vec!["curl", "web-7f9f", ID, "docker", "curl", "bin", "usr"],
        args: b"curl\0--password\0hunter2\0http://h/\0".to_vec(),
    };
    it.put(0, &(4_999 + nth).to_le_bytes()).put(8, &9_000u64.to_le_bytes());
    it.put(16, &2_000u64.to_le_bytes()).put(24, &[10, 0, 0, 1]).put(40, &[10, 0, 0, 2]);
    for (at, number) in [(56, 1u32), (60, 77), (64, 4711), (68, 4712), (72, 1), (76, 7), (80, 33), (84, 5)] {
        it.put(at, &number.to_le_bytes());
    }
    it.put(92, &40_000u16.to_le_bytes()).put(94, &80u16.to_le_bytes()).put(96, &[4, 6, 0, 0]);
    it.put(104, &[3, 2, 0]);
    it
}

fn connects() -> ConnectEngine {
    let mut config = ConnectConfig { mounts: 5, ..ConnectConfig::default() };
    config.read_users("root:x:0:0::/root:/bin/sh\nwww-data:x:33:33\nnonsense\nother:x:33:1");
    let mut connects = ConnectEngine::new(config, vec![[10, 0, 0, 1].into()]);
    connects.set_clocks(KernelClocks { monotonic: 1_000_000, boot: 2_000_000, error: 0 });
    connects
}

fn records(connects: &mut ConnectEngine, entries: &[Vec<u8>]) -> Vec<ConnectRecord> {
    entries.iter().for_each(|entry| connects.handle_entry(entry));
    let connect = |record| if let Record::Connect(connect) = record { Some(*connect) } else { None };
    connects.records().drain(..).filter_map(connect).collect()
}

fn balance(connects: &ConnectEngine) {
    assert_eq!(Ledger { connects: connects.ledger().clone(), ..Ledger::default() }.imbalances(), []);
}

#[test]
fn an_entry_becomes_a_record_with_its_process() {
    let mut connects = connects();
    let record = records(&mut connects, &[written(1).bytes()]).remove(0);
    assert_eq!((record.start, record.end), (Timestamp(1_005_000), Some(Timestamp(1_009_000))));
    assert_eq!((record.source, record.source_port), (Some([10, 0, 0, 1].into()), Some(40_000)));
    assert_eq!((record.destination, record.result), (Endpoint::new([10, 0, 0, 2], 80), ConnectResult::Established));
    assert_eq!((record.direction, record.thread, record.netns), (Some(NetworkDirection::Egress), Some(4712), Some(77)));
    let process = record.process.unwrap();
    assert_eq!((process.pid, process.own_pid, process.parent, process.user), (4711, Some(7), Some(1), 33));
    assert_eq!((&*process.name, process.executable.as_deref()), ("curl", Some("/usr/bin/curl")));
    assert_eq!(process.args, ["curl", "--password", "****", "http://h/"]);
    assert_eq!((process.user_name.as_deref(), process.hostname.as_deref()), (Some("www-data"), Some("web-7f9f")));
    assert_eq!(process.start, Some(Timestamp(2_002_000)));
    let container = process.container.clone().unwrap();
    assert_eq!((&*container.id, container.runtime.as_deref()), (ID, Some("docker")));
    balance(&connects);
}

#[test]
fn what_came_of_it_is_read_from_outcome_and_error() {
    use ConnectResult::{Error, Established, GivenUp, Refused, TimedOut, Unreachable};
    let cases = [
        (0u8, 0i32, Established, None),
        (1, 111, Refused, Some("ECONNREFUSED")),
        (1, 110, TimedOut, Some("ETIMEDOUT")),
        (1, 113, Unreachable, Some("EHOSTUNREACH")),
        (1, 101, Unreachable, Some("ENETUNREACH")),
        (1, 99, Error, Some("EADDRNOTAVAIL")),
        (1, 4321, Error, Some("4321")),
        (2, 0, GivenUp, None),
    ];
    for (outcome, error, result, errno) in cases {
        let mut entry = written(1);
        entry.put(98, &[outcome]).put(88, &error.to_le_bytes());
        let record = records(&mut connects(), &[entry.bytes()]).remove(0);
        assert_eq!((record.result, record.errno.as_deref()), (result, errno));
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut entry = written(1);
    // No end, no source, a cut path, another mount namespace, no container.
    entry
        .put(8, &[0; 8])
        .put(24, &[0; 4])
        .put(92, &[0; 2])
        .put(99, &[3])
        .put(84, &6u32.to_le_bytes())
        .put(104, &[3, 0, 0]);
    entry.names = vec!["curl", "", "curl", "bin", "usr"];
    entry.args.clear();
    let record = records(&mut connects(), &[entry.bytes()]).remove(0);
    assert_eq!((record.end, record.source, record.source_port), (None, None, None));
    let process = record.process.unwrap();
    assert_eq!(
        (process.executable.as_deref(), process.user_name.as_deref(), process.hostname.as_deref()),
        (None, None, None)
    );
    assert!(process.container.is_none() && process.args.is_empty() && process.args_cut);
}

#[test]
fn arguments_are_what_is_between_their_ends() {
    for (bytes, expected) in [
        (&b""[..], &[][..]),
        (b"a\0", &["a"][..]),
        (b"a\0\0b\0", &["a", "", "b"]),
        (b"a\0cut", &["a", "cut"]),
        (b"\0", &[""]),
    ] {
        let mut entry = written(1);
        entry.args = bytes.to_vec();
        let process = records(&mut connects(), &[entry.bytes()]).remove(0).process.unwrap();
        assert_eq!(process.args, expected, "{bytes:?}");
    }
}

#[test]
fn a_version_6_address_is_read_whole_and_what_is_within_is_internal() {
    let mut entry = written(1);
    let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
    entry.put(96, &[6]).put(24, &loopback).put(40, &loopback);
    let record = records(&mut connects(), &[entry.bytes()]).remove(0);
    assert_eq!(record.destination.ip, std::net::Ipv6Addr::LOCALHOST);
    assert_eq!(record.direction, Some(NetworkDirection::Internal));
}

#[test]
fn what_the_ring_lost_is_counted_exactly_and_what_was_never_read_too() {
    let mut connects = connects();
    records(&mut connects, &[written(1).bytes(), written(2).bytes()]);
    let counts =
        |sent, dropped| [KernelCounts::default(), KernelCounts { sent, dropped, own: 1, ..KernelCounts::default() }];
    connects.handle_counts(&counts(2, 5), false);
    assert_eq!((connects.ledger().events, connects.ledger().read, connects.ledger().dropped), (7, 2, 5));
    balance(&connects);
    // Counted by the program, and not read yet: that is no loss before the end.
    connects.handle_counts(&counts(3, 5), false);
    balance(&connects);
    assert_eq!(connects.read_up_to(), None);
    // What is no entry was sent too.
    records(&mut connects, &[b"no entry".to_vec()]);
    balance(&connects);
    assert_eq!(connects.read_up_to(), Some(Timestamp::default()));
    connects.handle_counts(&counts(3, 6), true);
    assert_eq!((connects.ledger().events, connects.ledger().dropped, connects.ledger().own), (9, 6, 1));
    balance(&connects);
    // An entry that was sent and never came does not add up, and must not.
    connects.handle_counts(&counts(4, 6), true);
    let ledger = Ledger { connects: connects.ledger().clone(), ..Ledger::default() };
    assert_eq!(ledger.imbalances().len(), 1);
}

#[test]
fn each_entry_has_another_id_and_the_same_entry_the_same() {
    let ids = |seqs: &[u64]| {
        let entries: Vec<_> = seqs.iter().map(|seq| written(*seq).bytes()).collect();
        records(&mut connects(), &entries).into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[1, 2]), ids(&[1, 2]));
    assert_ne!(ids(&[1]), ids(&[2]));
}

proptest! {
    #[test]
    fn any_bytes_are_an_entry_or_counted_as_none_and_the_ledger_adds_up(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
        let mut connects = connects();
        let made = records(&mut connects, &entries).len() as u64;
        prop_assert_eq!(connects.ledger().read, entries.len() as u64);
        prop_assert_eq!(made, connects.ledger().recorded);
        prop_assert_eq!(made + connects.ledger().unreadable, entries.len() as u64);
        balance(&connects);
    }

    #[test]
    fn an_entry_with_any_changes_gives_no_more_text_than_it_has(changes in prop::collection::vec((0usize..HEADER, any::<u8>()), 0..6), cut in 0usize..LONGEST) {
        let mut entry = written(1);
        for (at, byte) in changes {
            entry.put(at, &[byte]);
        }
        let mut bytes = entry.bytes();
        bytes.truncate(cut);
        if let Some(read) = ConnectEntry::read(&bytes) {
            let names = read.groups.iter().chain(&read.groups_v1).chain(&read.path).map(|name| name.len() + 1).sum::<usize>();
            prop_assert!(names + read.name.len() + read.hostname.len() + 2 + read.args.len() + HEADER <= bytes.len());
            prop_assert!(Redactor::off().arguments(read.arguments()).len() <= read.args.len() + 1);
        }
    }
}
