//! What follows a logged packet: news of connections before, while and after a record waits.

use proptest::prelude::*;

use super::*;
use crate::filter::FlowFilter;
use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::ledger::Ledger;
use crate::record::FlowProgress::{Answered, Begun, Established, Unanswered};
use crate::record::{FlowNews, FlowProgress, FollowedBy, Record, VerdictInput};

const T0: Timestamp = Timestamp(1_772_366_400_000_000_000);
const SECOND: u64 = 1_000_000_000;
const PATIENCE: u64 = 10;

fn at(second: u64) -> Timestamp {
    T0.plus(second * SECOND)
}

fn verdicts(repeats: Option<u64>) -> VerdictEngine {
    VerdictEngine::new(VerdictConfig {
        prefixes: PrefixPatterns::cloud_foundry(),
        container_interfaces: Vec::new(),
        repeats: repeats.map(|seconds| seconds * SECOND),
        patience: Some(PATIENCE * SECOND),
        observer_id: String::new(),
        filter: FlowFilter::default(),
    })
}

/// A packet is logged in this second.
fn logged(verdicts: &mut VerdictEngine, second: u64, prefix: &str, protocol: &str, port: u16) {
    let line = format!("{prefix} IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=60 PROTO={protocol} SPT={port} DPT=80 ");
    verdicts.handle_line(line.as_bytes(), VerdictInput::File, at(second), None);
}

fn news(second: u64, protocol: IpProtocol, port: u16, progress: FlowProgress, ended: bool) -> FlowNews {
    let [source, destination] = [([10, 0, 0, 1], port), ([10, 0, 0, 2], 80)].map(|(ip, port)| Endpoint::new(ip, port));
    FlowNews { protocol, source, destination, source_nat: None, destination_nat: None, progress, ended, at: at(second) }
}

fn tcp(second: u64, progress: FlowProgress, ended: bool) -> FlowNews {
    news(second, IpProtocol::TCP, 1, progress, ended)
}

/// What followed, of the records since.
fn given(verdicts: &mut VerdictEngine) -> Vec<Option<&'static str>> {
    let ledger = Ledger { verdicts: verdicts.ledger().clone(), ..Ledger::default() };
    assert_eq!(ledger.imbalances(), []);
    let followed = |record| {
        let Record::Verdict(packet) = record else { panic!("{record:?}") };
        packet.followed_by.map(FollowedBy::name)
    };
    verdicts.records().drain(..).map(followed).collect()
}

#[test]
fn what_may_pass_is_followed_by_what_its_connection_came_to() {
    let cases: [(&str, &[FlowNews], u64, Option<&str>); 9] = [
        ("established at once", &[tcp(0, Begun, false), tcp(1, Established, false)], 1, Some("established")),
        ("a reply is not the last word of TCP", &[tcp(0, Begun, false), tcp(1, Answered, false)], 10, Some("answered")),
        ("a reply, then established", &[tcp(1, Answered, false), tcp(2, Established, false)], 2, Some("established")),
        ("refused", &[tcp(0, Begun, false), tcp(3, Answered, true)], 3, Some("answered")),
        ("over without a reply", &[tcp(0, Begun, false), tcp(3, Begun, true)], 3, Some("nothing")),
        ("seen in the table without a reply", &[tcp(0, Begun, false), tcp(5, Unanswered, false)], 10, Some("nothing")),
        ("seen too early for a reply", &[tcp(0, Unanswered, false)], 10, None),
        ("begun only", &[tcp(0, Begun, false)], 10, None),
        ("another connection", &[news(1, IpProtocol::TCP, 2, Established, false)], 10, None),
    ];
    for (name, heard, second, expected) in cases {
        let mut verdicts = verdicts(None);
        logged(&mut verdicts, 0, "OK_x", "TCP", 1);
        heard.iter().for_each(|news| verdicts.handle_news(news));
        verdicts.handle_timeout(at(second.saturating_sub(1).min(PATIENCE - 1)));
        let early = given(&mut verdicts);
        verdicts.handle_timeout(at(second));
        let all = [early, given(&mut verdicts)].concat();
        assert_eq!(all, [expected], "{name}");
    }
}

#[test]
fn news_may_come_before_the_entry_and_an_earlier_connection_says_nothing_of_a_later_packet() {
    let mut verdicts = verdicts(None);
    verdicts.handle_news(&tcp(1, Established, false));
    logged(&mut verdicts, 2, "OK_x", "TCP", 1);
    assert_eq!(given(&mut verdicts), [Some("established")]);
    verdicts.handle_news(&tcp(3, Established, true));
    logged(&mut verdicts, 5, "OK_x", "TCP", 1);
    verdicts.handle_timeout(at(15));
    assert_eq!(given(&mut verdicts), [None]);
}

#[test]
fn a_reply_is_the_last_word_of_a_protocol_without_connections() {
    let mut verdicts = verdicts(None);
    logged(&mut verdicts, 0, "OK_x", "UDP", 7);
    verdicts.handle_news(&news(0, IpProtocol::UDP, 7, Answered, false));
    assert_eq!(given(&mut verdicts), [Some("answered")]);
}

#[test]
fn a_rule_may_see_a_connection_before_or_behind_a_translation() {
    let [pod, node] = [([10, 0, 0, 2], 80), ([10, 0, 0, 1], 1)].map(|(ip, port)| Endpoint::new(ip, port));
    let [service, client] = [([10, 96, 0, 1], 443), ([10, 9, 9, 9], 5)].map(|(ip, port)| Endpoint::new(ip, port));
    let of = |source, destination, source_nat, destination_nat| FlowNews {
        source,
        destination,
        source_nat,
        destination_nat,
        ..tcp(1, Established, false)
    };
    for news in [
        of(node, service, None, Some(pod)),
        of(client, service, Some(node), Some(pod)),
        of(node, pod, Some(client), Some(service)),
        of(client, pod, Some(node), None),
    ] {
        let mut verdicts = verdicts(None);
        logged(&mut verdicts, 0, "OK_x", "TCP", 1);
        verdicts.handle_news(&news);
        assert_eq!(given(&mut verdicts), [Some("established")], "{news:?}");
    }
}

#[test]
fn what_was_held_back_is_tried_again_from_any_port_or_not() {
    for repeats in [None, Some(60)] {
        let mut verdicts = verdicts(repeats);
        logged(&mut verdicts, 0, "DENY_x", "TCP", 1);
        assert_eq!(given(&mut verdicts), []);
        logged(&mut verdicts, 3, "DENY_x", "TCP", 2);
        assert_eq!(given(&mut verdicts), [Some("retried")]);
        logged(&mut verdicts, 3, "DENY_x", "UDP", 2);
        verdicts.handle_timeout(at(13));
        let rest = given(&mut verdicts);
        // A folded one adds to a record that comes later.
        assert_eq!(rest, if repeats.is_none() { vec![Some("nothing"); 2] } else { vec![Some("nothing")] });
    }
}

#[test]
fn after_a_loss_nothing_is_known_to_be_absent() {
    let mut verdicts = verdicts(None);
    logged(&mut verdicts, 0, "DENY_x", "TCP", 1);
    verdicts.handle_lost_news(at(5));
    verdicts.handle_timeout(at(10));
    verdicts.ledger_mut().lost += 1;
    logged(&mut verdicts, 20, "DENY_x", "TCP", 1);
    verdicts.handle_timeout(at(25));
    verdicts.handle_timeout(at(30));
    logged(&mut verdicts, 40, "DENY_x", "TCP", 1);
    verdicts.handle_timeout(at(50));
    assert_eq!(given(&mut verdicts), [None, None, Some("nothing")]);
}

#[test]
fn the_table_is_asked_for_only_while_something_waits_that_it_can_complete() {
    let mut verdicts = verdicts(None);
    logged(&mut verdicts, 0, "DENY_x", "TCP", 1);
    assert!(!verdicts.wants_table(at(6)));
    logged(&mut verdicts, 1, "OK_x", "TCP", 1);
    let asked: Vec<_> = (1..11).filter(|second| verdicts.wants_table(at(*second))).collect();
    assert_eq!(asked, [6, 9]);
    assert!(verdicts.take_unknown_prefix().is_none());
}

#[test]
fn what_has_no_room_to_wait_goes_out_at_once_and_is_counted() {
    let mut verdicts = verdicts(None);
    for port in 0..20_000u16 {
        logged(&mut verdicts, 0, "OK_x", "TCP", port);
    }
    assert_eq!(
        (given(&mut verdicts).len(), verdicts.ledger().waiting, verdicts.ledger().unjoined),
        (3616, 16_384, 3616)
    );
    verdicts.finish();
    assert_eq!((given(&mut verdicts).len(), verdicts.ledger().waiting), (16_384, 0));
}

proptest! {
    #[test]
    fn every_entry_becomes_one_record_whatever_is_heard_and_when(
        steps in proptest::collection::vec((0u8..8, 0u16..4, 0u64..8), 0..60)
    ) {
        let (mut verdicts, mut second, mut entries, mut records) = (verdicts(None), 0, 0, 0);
        for (what, port, seconds) in steps {
            second += seconds;
            let heard = |progress, ended| news(second, IpProtocol::TCP, port, progress, ended);
            match what {
                0 | 1 => {
                    entries += 1;
                    logged(&mut verdicts, second, if what == 0 { "OK_x" } else { "DENY_x" }, "TCP", port);
                }
                2 => verdicts.handle_news(&heard(Begun, false)),
                3 => verdicts.handle_news(&heard(Answered, false)),
                4 => verdicts.handle_news(&heard(Established, port == 0)),
                5 => verdicts.handle_news(&heard(Begun, true)),
                6 => verdicts.handle_lost_news(at(second)),
                _ => verdicts.handle_timeout(at(second)),
            }
            records += given(&mut verdicts).len();
        }
        // Whatever waits, waits no longer than its time.
        verdicts.handle_timeout(at(second + PATIENCE));
        records += given(&mut verdicts).len();
        prop_assert_eq!((records, verdicts.ledger().waiting), (entries, 0));
    }
}
