//! Entries of the kernel, real and damaged, and the records they give.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::filter::FlowFilter;
use crate::flow::{IpProtocol, Timestamp};
use crate::glob::Glob;
use crate::ledger::Ledger;
use crate::netlink::NetlinkWriter;
use crate::record::{IcmpMessage, Record, VerdictDirection, VerdictInput, VerdictRecord};

const NOW: Timestamp = Timestamp(1_772_366_400_000_000_000);
const SECOND: u64 = 1_000_000_000;
const TCP: &str = "DENY_C2C_cb40f81e-52ce-41c5- IN=s-010255015007 OUT=s-010255015013 MAC=aa:aa:0a:ff:0f:07:ee:ee:0a:ff:0f:07:08:00 \
    SRC=10.255.15.7 DST=10.255.15.13 LEN=60 TOS=0x00 PREC=0x00 TTL=63 ID=35889 DF PROTO=TCP SPT=36004 DPT=723 WINDOW=29200 \
    RES=0x00 SYN URGP=0 MARK=0x2 ";
const ICMP_ERROR: &str = "OK_x IN=eth0 OUT=eth1 SRC=10.64.1.2 DST=10.64.2.27 LEN=56 TOS=0x00 PREC=0x00 TTL=63 ID=4660 DF PROTO=ICMP \
    TYPE=3 CODE=3 [SRC=192.0.2.7 DST=10.64.1.2 LEN=37 TOS=0x00 PREC=0x00 TTL=64 ID=4660 DF PROTO=UDP SPT=53 DPT=40404 LEN=17 ] ";

fn verdicts(repeats: Option<u64>) -> VerdictEngine {
    VerdictEngine::new(VerdictConfig {
        prefixes: PrefixPatterns::cloud_foundry(),
        container_interfaces: vec![Glob::new("s-*").unwrap()],
        repeats,
        patience: None,
        observer_id: "cell".to_owned(),
        filter: FlowFilter::default(),
    })
}

fn taken(verdicts: &mut VerdictEngine) -> Vec<VerdictRecord> {
    let ledger = Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() };
    assert_eq!(ledger.imbalances(), []);
    let packet = |record| if let Record::Verdict(packet) = record { *packet } else { panic!("{record:?}") };
    verdicts.records().drain(..).map(packet).collect()
}

fn of_line(line: &str) -> VerdictRecord {
    let mut verdicts = verdicts(None);
    verdicts.handle_line(line.as_bytes(), VerdictInput::File, NOW, None);
    taken(&mut verdicts).pop().unwrap_or_else(|| panic!("{line}: {:?}", verdicts.ledger()))
}

fn ends(record: &VerdictRecord) -> (IpAddr, u16, IpAddr, u16) {
    let packet = &record.packet;
    (packet.source.ip, packet.source.port, packet.destination.ip, packet.destination.port)
}

#[test]
fn a_line_gives_addresses_rule_mark_interfaces_and_direction() {
    let record = of_line(TCP);
    assert_eq!(ends(&record), ([10, 255, 15, 7].into(), 36004, [10, 255, 15, 13].into(), 723));
    assert_eq!((record.action(), record.meaning.kind.as_deref()), ("ingress-denied", Some("c2c")));
    assert_eq!((record.prefix.as_str(), record.mark), ("DENY_C2C_cb40f81e-52ce-41c5- ", Some(2)));
    assert_eq!(record.interface_out.as_deref(), Some("s-010255015013"));
    assert_eq!((record.packet.protocol, record.packet.length), (Some(IpProtocol::TCP), Some(60)));
    let to_outside = of_line(&TCP.replace("OUT=s-010255015013", "OUT=eth0"));
    assert_eq!(to_outside.direction, VerdictDirection::Egress);
    assert_eq!(of_line(&TCP.replace("OUT=s-010255015013", "OUT=")).direction, VerdictDirection::Ingress);
}

/// As each of these hands on the same line; the time is known where the head has year and zone.
#[test]
fn every_head_that_a_line_may_have_is_taken_off() {
    let wall = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond() as i64);
    let at = |text: &str| Some(wall(text));
    for (head, time) in [
        ("", None),
        ("4,2047,6595922467,-;", None),
        ("<4>[ 6595.922467] ", None),
        ("[ 6595.922467] ", None),
        ("[Sun Nov 29 22:04:50 2026] ", None),
        ("[  +0.059501] ", None),
        ("kern  :warn  : [ 6595.922467] ", None),
        ("2026-11-29T22:04:50,922467+00:00 ", at("2026-11-29T22:04:50.922467Z")),
        ("Nov 29 22:04:54 vm kernel: ", None),
        ("Nov 29 22:04:57 vm kernel: [ 6595.922467] ", None),
        ("<4>Nov 29 22:04:57 vm kernel: [ 6595.922467] ", None),
        ("2026-11-29T22:04:54.754359+0000 vm kernel: ", at("2026-11-29T22:04:54.754359Z")),
        ("2026-11-29T22:04:57.937066+00:00 vm kernel: [ 6595.922467] ", at("2026-11-29T22:04:57.937066Z")),
        ("<4>1 2026-11-29T22:04:57.937066+00:00 vm kernel - - - [ 6595.922467] ", at("2026-11-29T22:04:57.937066Z")),
        ("Sun 2026-11-29 22:04:54 UTC vm kernel: ", None),
        ("[ 6595.922467] vm kernel: ", None),
        ("1795989894.754359 vm kernel: ", at("2026-11-29T22:04:54.754359Z")),
    ] {
        let record = of_line(&format!("{head}{TCP}"));
        assert_eq!(
            (record.prefix.as_str(), record.at),
            ("DENY_C2C_cb40f81e-52ce-41c5- ", time.unwrap_or(NOW)),
            "{head:?}"
        );
    }
    let json = format!(r#"{{"__REALTIME_TIMESTAMP":"1795989894754359","MESSAGE":"{TCP}"}}"#);
    assert_eq!(of_line(&json).at, wall("2026-11-29T22:04:54.754359Z"));
    let bytes: Vec<_> = TCP.bytes().map(|byte| byte.to_string()).collect();
    assert_eq!(of_line(&format!(r#"{{"MESSAGE":[{}]}}"#, bytes.join(","))).packet.destination.port, 723);
}

#[test]
fn a_line_of_this_machine_s_own_log_is_dated_from_its_start() {
    let mut verdicts = verdicts(None);
    verdicts.handle_line(format!("4,7,2000000,-;{TCP}").as_bytes(), VerdictInput::Kmsg, NOW, Some(Timestamp(5)));
    verdicts.handle_line(format!("4,10,3000000,-;{TCP}").as_bytes(), VerdictInput::Kmsg, NOW, Some(Timestamp(5)));
    let times: Vec<_> = taken(&mut verdicts).iter().map(|record| record.at.0).collect();
    assert_eq!((times, verdicts.ledger().lines_missed), (vec![2_000_000_005, 3_000_000_005], 2));
}

#[test]
fn prefixes_may_hold_anything() {
    for prefix in ["DENY_xIN=", "DENY_", "DENY_IN=a OUTX=", "DENY_pod\\xe2\\x98\\x83\\x5c ", "DENY_[a] kernel: "] {
        let line = format!("4,1,1,-;{prefix}IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=37 PROTO=UDP SPT=1 DPT=2 LEN=17 ");
        let record = of_line(&line);
        let expected = prefix.replace("\\xe2\\x98\\x83\\x5c", "☃\\");
        assert_eq!((record.prefix.as_str(), record.packet.length), (expected.as_str(), Some(37)), "{prefix}");
    }
}

#[test]
fn an_icmp_error_is_not_the_packet_that_it_quotes() {
    let record = of_line(ICMP_ERROR);
    assert_eq!(ends(&record), ([10, 64, 1, 2].into(), 0, [10, 64, 2, 27].into(), 0));
    assert_eq!(record.packet.icmp, Some(IcmpMessage { kind: 3, code: 3, id: None }));
    let echo =
        of_line("OK_x IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=84 ID=58750 DF PROTO=ICMP TYPE=8 CODE=0 ID=172 SEQ=1");
    assert_eq!(echo.packet.icmp, Some(IcmpMessage { kind: 8, code: 0, id: Some(172) }));
}

#[test]
fn other_protocols_fragments_and_cut_headers_are_named() {
    let of = |rest: &str| {
        of_line(&format!(
            "OK_x IN=a OUT=b SRC=fd00:0064::2 DST=fd00:0064::75 LEN=72 TC=0 HOPLIMIT=63 FLOWLBL=0 {rest} "
        ))
        .packet
    };
    let sctp = of("PROTO=132");
    assert_eq!((sctp.protocol, sctp.truncated, sctp.source.port), (Some(IpProtocol::SCTP), false, 0));
    let later = of("FRAG:1448 ID:0000cafe PROTO=UDP");
    assert_eq!((later.protocol, later.fragment, later.truncated), (Some(IpProtocol::UDP), true, false));
    assert!(of("PROTO=TCP INCOMPLETE [8 bytes]").truncated);
    let options = of("OPT ( ) PROTO=UDP SPT=54230 DPT=1 LEN=17");
    assert_eq!((options.source.port, options.truncated), (54230, false));
    assert_eq!(of("").protocol, None);
}

#[test]
fn lines_that_are_no_entry_are_counted_by_what_they_are() {
    let mut verdicts = verdicts(None);
    for line in [
        "eth0: renamed from veth1",
        "",
        "IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=1 PROTO=UDP SPT=1 DPT=2 LEN=9 ",
        "DENY_a IN=in0 OUT= ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=02:00:00:00:00:0a IPSRC=10.64.1.2",
        "DENY_l IN=in0 OUT= MAC=01:80:c2:00:00:0e:02:00:00:00:00:0a:88:cc ",
        "DENY_c IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2",
        "net_ratelimit: 12 callbacks suppressed",
    ] {
        verdicts.handle_line(line.as_bytes(), VerdictInput::File, NOW, None);
    }
    assert!(taken(&mut verdicts).is_empty());
    let ledger = verdicts.ledger();
    assert_eq!((ledger.entries, ledger.foreign, ledger.no_ip, ledger.cut, ledger.unmatched), (7, 3, 2, 1, 1));
    assert_eq!(ledger.suppressed, 12);
    assert_eq!(verdicts.take_unknown_prefix().as_deref(), Some(""));
}

#[test]
fn glued_lines_are_an_entry_each() {
    let mut verdicts = verdicts(None);
    verdicts.handle_line(
        format!("{}{ICMP_ERROR}", TCP.trim_end()).replace("MARK=0x2OK_x", "MARK=0x2 OK_x").as_bytes(),
        VerdictInput::File,
        NOW,
        None,
    );
    let found: Vec<_> =
        taken(&mut verdicts).iter().map(|record| (record.prefix.to_string(), record.packet.destination.ip)).collect();
    let first = ("DENY_C2C_cb40f81e-52ce-41c5- ".to_owned(), IpAddr::from([10, 255, 15, 13]));
    assert_eq!(found, [first, ("OK_x ".to_owned(), [10, 64, 2, 27].into())]);
    assert_eq!(verdicts.ledger().glued, 1);
}

#[test]
fn a_semicolon_in_a_line_makes_no_head_of_what_is_before_it() {
    let line = b"4,20,65, OK_x IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=60 PROTO=UDP SPT=1 DPT=2 ;";
    let read = read_line(line).pop().unwrap().unwrap();
    assert_eq!((read.prefix.as_str(), read.at), ("4,20,65, OK_x ", LineTime::Unknown));
}

/// A garbled log: bytes are missing in the middle, and two lines look like one.
#[test]
fn what_two_packets_said_is_not_one_packet() {
    let counted = |line: &str| {
        let mut verdicts = verdicts(None);
        verdicts.handle_line(line.as_bytes(), VerdictInput::File, NOW, None);
        let ends: Vec<_> = taken(&mut verdicts).iter().map(ends).collect();
        (ends, verdicts.ledger().cut)
    };
    let first = "OK_x IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=60 PROTO=TCP SPT=1 DPT=2 ";
    let whole = ([10, 0, 0, 1].into(), 1, [10, 0, 0, 2].into(), 2);
    for (line, ends, cut) in [
        ("OK_x IN=a OUT=b SRC=10.0.0.1 SRC=10.0.0.3 DST=10.0.0.4 LEN=60 PROTO=TCP SPT=3 DPT=4 ", vec![], 1),
        ("OK_x IN=a OUT=b SRC=fd00::1 DST=10.0.0.4 LEN=60 PROTO=TCP SPT=3 DPT=4 ", vec![], 1),
        ("OK_x IN=a OUT=b SRC=10.0.0.1 DST=10.0.SRC=1 DST=10.0.0.4 LEN=60 PROTO=UDP SPT=3 DPT=4 ", vec![], 1),
        (&format!("{first}SRC=10.0.0.3 DST=10.0.0.4 LEN=60 PROTO=TCP SPT=3 DPT=4 "), vec![whole], 0),
    ] {
        assert_eq!(counted(line), (ends, cut), "{line}");
    }
}

/// Wherever a line was cut: what is still said of the packet is true.
#[test]
fn a_cut_line_says_less_but_nothing_wrong() {
    for whole in [TCP, ICMP_ERROR] {
        let expected = of_line(whole);
        for cut in 0..whole.len() {
            let mut verdicts = verdicts(None);
            verdicts.handle_line(&whole.as_bytes()[..cut], VerdictInput::File, NOW, None);
            for record in taken(&mut verdicts) {
                let (is, was) = (&record.packet, &expected.packet);
                assert_eq!((is.source.ip, is.destination.ip), (was.source.ip, was.destination.ip), "{cut}");
                for (is, was) in [(is.source.port, was.source.port), (is.destination.port, was.destination.port)] {
                    assert!(is == 0 || is == was, "{cut}: {is} for {was}");
                }
                assert!(is.length.is_none_or(|length| Some(length) == was.length), "{cut}");
            }
        }
    }
}

#[test]
fn the_containers_of_both_ends_are_named_and_the_subject_follows_the_direction() {
    let mut verdicts = verdicts(None);
    let store = r#"{"a": {"ip": "10.255.15.7", "metadata": {"app_id": "from"}}, "b": {"ip": "10.255.15.13", "metadata": {"app_id": "to"}}}"#;
    verdicts.set_store(ContainerStore::parse(store.as_bytes()).unwrap());
    verdicts.handle_line(TCP.as_bytes(), VerdictInput::Stdin, NOW, None);
    verdicts.handle_line(TCP.replace("OUT=s-010255015013", "OUT=eth0").as_bytes(), VerdictInput::Stdin, NOW, None);
    let apps: Vec<_> = taken(&mut verdicts).iter().map(|record| record.subject().unwrap().app.to_string()).collect();
    assert_eq!(apps, ["to", "from"]);
}

#[test]
fn a_sender_on_another_cell_is_known_by_its_mark() {
    let mut verdicts = verdicts(None);
    let store = r#"{"a": {"ip": "10.255.15.7", "metadata": {"app_id": "shop", "policy_group_id": "shop"}}}"#;
    verdicts.set_store(ContainerStore::parse(store.as_bytes()).unwrap());
    for source in ["10.255.99.1", "10.255.15.7", "10.255.99.1"] {
        verdicts.handle_line(TCP.replace("10.255.15.7", source).as_bytes(), VerdictInput::File, NOW, None);
    }
    let senders: Vec<_> = taken(&mut verdicts)
        .iter()
        .map(|record| record.source.as_ref().map(|it| (it.id.to_string(), it.app.to_string())))
        .collect();
    let shop = |id: &str| Some((id.to_owned(), "shop".to_owned()));
    assert_eq!(senders, [None, shop("a"), shop("")]);
}

#[test]
fn repeats_are_one_record_at_once_and_one_for_the_others() {
    let mut verdicts = verdicts(Some(10 * SECOND));
    let at = |seconds: u64| NOW.plus(seconds * SECOND);
    for second in 0..5 {
        // Each from another port.
        let line = TCP.replace("SPT=36004", &format!("SPT={}", 40_000 + second));
        verdicts.handle_line(line.as_bytes(), VerdictInput::File, at(second), None);
        verdicts.handle_timeout(at(second));
    }
    verdicts.handle_line(ICMP_ERROR.as_bytes(), VerdictInput::File, at(5), None);
    assert_eq!(taken(&mut verdicts).iter().map(|record| record.packets).collect::<Vec<_>>(), [1, 1]);
    verdicts.handle_timeout(at(11));
    let [others] = &taken(&mut verdicts)[..] else { panic!() };
    assert_eq!((others.packets, others.start, others.at), (4, Some(at(1)), at(4)));
    verdicts.handle_line(TCP.as_bytes(), VerdictInput::File, at(12), None);
    verdicts.handle_line(TCP.as_bytes(), VerdictInput::File, at(30), None);
    verdicts.finish();
    let rest: Vec<_> = taken(&mut verdicts).iter().map(|record| record.packets).collect();
    assert_eq!(rest, [2]);
    assert_eq!((verdicts.ledger().folded, verdicts.ledger().recorded, verdicts.ledger().repeats), (6, 2, 2));
}

fn nflog(sequence: u32, prefix: &str, payload: &[u8]) -> Vec<u8> {
    let prefix = [prefix.as_bytes(), &[0]].concat();
    NetlinkWriter::netfilter(4 << 8, 0, 0, 2, 5)
        .attribute(1, &[8, 0, 2, 0])
        .attribute(2, &7u32.to_be_bytes())
        .attribute(4, &1u32.to_be_bytes())
        .attribute(9, payload)
        .attribute(10, &prefix)
        .attribute(12, &sequence.to_be_bytes())
        .finish()
}

fn udp() -> Vec<u8> {
    vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 53, 0, 8, 0, 0]
}

#[test]
fn packets_of_nflog_are_recorded_and_those_that_never_came_are_counted_exactly() {
    let mut verdicts = verdicts(None);
    let datagram: Vec<u8> = [0u32, 1, 5].iter().flat_map(|n| nflog(*n, "OK_0002_e9e8 ", &udp())).collect();
    verdicts.handle_nflog(&datagram, NOW, |index| Some(format!("if{index}").into()));
    let records = taken(&mut verdicts);
    assert_eq!(records.iter().map(|record| record.lost_before).collect::<Vec<_>>(), [0, 0, 3]);
    let first = &records[0];
    assert_eq!((first.group, first.mark, first.interface_in.as_deref()), (Some(5), Some(7), Some("if1")));
    assert_eq!((first.meaning.kind.as_deref(), first.packet.destination.port, first.at), (Some("c2c"), 53, NOW));
    verdicts.handle_nflog(&nflog(2, "OK_x", &udp()), NOW, |_| None);
    verdicts.handle_nflog(&nflog(4, "OK_x", &[0; 3]), NOW, |_| None);
    assert_eq!(taken(&mut verdicts).len(), 1);
    assert_eq!((verdicts.ledger().lost, verdicts.ledger().no_ip), (4, 1));
}

#[test]
fn entries_read_again_have_the_same_ids_and_two_alike_without_a_time_have_not() {
    let ids = |lines: &[String]| -> Vec<_> {
        let mut verdicts = verdicts(None);
        lines.iter().for_each(|line| verdicts.handle_line(line.as_bytes(), VerdictInput::File, NOW, None));
        taken(&mut verdicts).into_iter().map(|record| record.id).collect()
    };
    let dated = vec![format!("[ 1.000001] {TCP}"), format!("[ 1.000002] {TCP}")];
    assert_eq!(ids(&dated), ids(&dated));
    let all = ids(&[dated, vec![TCP.to_owned(), TCP.to_owned()]].concat());
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), 4);
}

proptest! {
    #[test]
    fn any_bytes_keep_the_ledger(
        lines in proptest::collection::vec("([A-Z]{1,5}[=:_ ][a-z0-9.:\\[\\]()]{0,8} ?|IN=|OUT=| SRC=10.0.0.1|\\[|\\] |kernel: ){0,24}", 0..6),
        bytes in proptest::collection::vec(any::<u8>(), 0..200), fold in any::<bool>()
    ) {
        let mut verdicts = verdicts(fold.then_some(1));
        for line in lines.iter().map(String::as_bytes).chain([&bytes[..]]) {
            verdicts.handle_line(line, VerdictInput::Kmsg, NOW, Some(NOW));
            verdicts.handle_nflog(line, NOW, |_| None);
            let mut damaged = nflog(1, "OK_", &bytes);
            if let Some(place) = damaged.get_mut(line.len() % 60) {
                *place ^= bytes.first().copied().unwrap_or(1);
            }
            verdicts.handle_nflog(&damaged, NOW, |_| None);
            taken(&mut verdicts);
        }
        verdicts.finish();
        taken(&mut verdicts);
    }
}
