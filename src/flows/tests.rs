//! Flows by hand: segments and datagrams in turn, and what the table reports of them.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{FlowConfig, FlowTable};
use crate::flow::{Endpoint, FiveTuple, IpProtocol, Scope, Timestamp};
use crate::ledger::{FrameLedger, Ledger};
use crate::packet::{CarriedIn, Datagram, Segment, TcpFlags};
use crate::record::{
    EventOutcome, FlowCounts, FlowEnd, FlowProgress, FlowRecord, FlowStatus, IcmpMessage, Record, Trust,
};

const SECOND: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;

/// A table, and its time.
struct Bench {
    flows: FlowTable,
    now: i64,
    out: Vec<Record>,
    frames: u64,
    client: u16,
    scope: Scope,
}

impl Bench {
    fn new(config: FlowConfig) -> Self {
        Self {
            flows: FlowTable::new(config),
            now: 0,
            out: Vec::new(),
            frames: 0,
            client: 40_000,
            scope: Scope::default(),
        }
    }

    /// `flags seq ack len`, after one more millisecond; `>` from the client, `<` from the server.
    fn tcp(&mut self, text: &str) -> &mut Self {
        let mut words = text.split_ascii_whitespace();
        let way = words.next().unwrap();
        let flags = words.next().unwrap().chars().fold(0, |flags, letter| {
            flags
                | match letter {
                    'S' => TcpFlags::SYN,
                    'A' => TcpFlags::ACK,
                    'F' => TcpFlags::FIN,
                    'R' => TcpFlags::RST,
                    other => panic!("{other}"),
                }
        });
        let [seq, ack, len] = [0; 3].map(|_: u32| words.next().map_or(0, |word| word.parse::<u32>().unwrap()));
        let window: u16 = words.next().map_or(1000, |word| word.parse().unwrap());
        let tuple = FiveTuple {
            source: Endpoint::new([10, 0, 0, 1], self.client),
            destination: Endpoint::new([10, 0, 0, 2], 80),
        };
        let mut wire = [0u8; 20];
        wire[14..16].copy_from_slice(&window.to_be_bytes());
        self.now += MS;
        let segment = Segment {
            at: Timestamp(self.now),
            tuple: if way == ">" { tuple } else { tuple.reversed() },
            seq,
            ack,
            flags: TcpFlags(flags),
            payload: &[],
            payload_len: len,
            wire: &wire,
            damaged: false,
            carried: CarriedIn { frames: 1, packets: 1, bytes: 40 + len },
            scope: self.scope,
            around: Default::default(),
            interface: None,
        };
        self.flows.on_segment(&segment, &mut self.out);
        self.frames += 1;
        self.check();
        self
    }

    /// From one port to another, of a protocol other than TCP.
    fn datagram(
        &mut self,
        protocol: IpProtocol,
        ends: (Endpoint, Endpoint),
        icmp: Option<IcmpMessage>,
        payload: &[u8],
    ) -> &mut Self {
        self.now += MS;
        let payload_len = payload.len() as u32;
        let datagram = Datagram {
            at: Timestamp(self.now),
            protocol,
            tuple: FiveTuple { source: ends.0, destination: ends.1 },
            icmp,
            payload,
            payload_len,
            carried: CarriedIn { frames: 1, packets: 1, bytes: 28 + payload_len },
            scope: self.scope,
            around: Default::default(),
            interface: None,
        };
        self.flows.on_datagram(&datagram, &mut self.out);
        self.frames += 1;
        self.check();
        self
    }

    fn udp(&mut self, from: u8, port: u16, to: u8, to_port: u16, len: usize) -> &mut Self {
        let ends = (Endpoint::new([10, 0, 0, from], port), Endpoint::new([10, 0, 0, to], to_port));
        self.datagram(IpProtocol::UDP, ends, None, &vec![0; len])
    }

    /// Time passes, in ticks of two seconds.
    fn wait(&mut self, seconds: i64) -> &mut Self {
        for _ in 0..seconds / 2 {
            self.now += 2 * SECOND;
            self.flows.on_timeout(Timestamp(self.now), &mut self.out);
            self.check();
        }
        self
    }

    fn finish(&mut self) -> Vec<FlowRecord> {
        self.flows.finish(Timestamp(self.now), &mut self.out);
        self.check();
        assert_eq!((self.flows.len(), self.flows.ledger().open_packets), (0, 0));
        self.records()
    }

    fn records(&mut self) -> Vec<FlowRecord> {
        let flow = |record| if let Record::Flow(flow) = record { *flow } else { panic!("{record:?}") };
        self.out.drain(..).map(flow).collect()
    }

    /// Everything is counted once, at every moment.
    fn check(&self) {
        let frames = FrameLedger { frames: self.frames, segments: self.frames, ..FrameLedger::default() };
        let ledger = Ledger { frames, flows: self.flows.ledger().clone(), ..Ledger::default() };
        assert_eq!(ledger.imbalances(), []);
    }
}

fn bench() -> Bench {
    Bench::new(FlowConfig::default())
}

fn tcp(script: &[&str]) -> Bench {
    let mut bench = bench();
    for line in script {
        bench.tcp(line);
    }
    bench
}

const OPEN: [&str; 3] = ["> S 100", "< SA 500 101", "> A 101 501"];

fn with(more: &[&str]) -> Bench {
    tcp(&[&OPEN[..], more].concat())
}

#[test]
fn a_connection_is_one_flow_with_what_each_end_sent() {
    let mut bench = with(&["> A 101 501 50", "< A 501 151 300", "> FA 151 801", "< FA 801 152", "> A 152 802"]);
    assert_eq!(bench.records(), []);
    bench.wait(4);
    let records = bench.records();
    let [flow] = &records[..] else { panic!("{records:?}") };
    let counts = |packets, bytes, payload_bytes| FlowCounts { packets, bytes, payload_bytes, ..FlowCounts::default() };
    assert_eq!(flow.counts, [counts(5, 250, 50), counts(3, 420, 300)]);
    assert_eq!((flow.source.port, flow.destination.port), (40_000, 80));
    assert_eq!(
        (flow.status, flow.outcome, flow.trust),
        (FlowStatus::Closed, Some(EventOutcome::Success), Trust::Complete)
    );
    assert_eq!((flow.ended_by, flow.last, flow.report), (Some(FlowEnd::Source), true, 1));
    assert_eq!((flow.start, flow.end, flow.duration), (Timestamp(MS), Timestamp(8 * MS), 7 * MS as u64));
    assert_eq!((flow.connect_ns, flow.rtt_ns), (Some(MS as u64), Some(2 * MS as u64)));
}

#[test]
fn news_say_how_far_a_connection_has_come_and_no_more_than_is_known() {
    use FlowProgress::{Answered, Begun, Established, Unanswered};
    let mut bench = Bench::new(FlowConfig { news: true, ..FlowConfig::default() });
    let said = |bench: &mut Bench| -> Vec<_> {
        bench
            .flows
            .news()
            .drain(..)
            .map(|news| (news.source.port, news.destination.port, news.progress, news.ended))
            .collect()
    };
    for line in OPEN.into_iter().chain(["> FA 101 501", "< FA 501 102"]) {
        bench.tcp(line);
    }
    bench.wait(4);
    let of = |progress, ended| (40_000, 80, progress, ended);
    assert_eq!(said(&mut bench), [of(Begun, false), of(Established, false), of(Established, true)]);
    // Refused; never answered; and reset by who opened it.
    bench.tcp("> S 100").tcp("< RA 0 101").wait(4);
    assert_eq!(said(&mut bench), [of(Begun, false), of(Answered, false), of(Answered, true)]);
    bench.tcp("> S 300").tcp("> S 300");
    bench.flows.look_for_unanswered(Timestamp(bench.now));
    assert_eq!(said(&mut bench), [of(Begun, false), of(Unanswered, false)]);
    bench.wait(70);
    assert_eq!(said(&mut bench), [of(Begun, true)]);
    bench.tcp("> S 700").tcp("> R 701").wait(4);
    assert_eq!(said(&mut bench), [of(Begun, false)], "an answer may have come that was not captured");
    // Datagrams: that nothing came back is not known.
    bench.udp(1, 9, 2, 53, 10);
    bench.flows.look_for_unanswered(Timestamp(bench.now));
    assert_eq!(said(&mut bench), [(9, 53, Begun, false)]);
    bench.udp(2, 53, 1, 9, 10).udp(1, 9, 2, 53, 10).udp(1, 8, 2, 53, 10).wait(40);
    assert_eq!(said(&mut bench), [(9, 53, Answered, false), (8, 53, Begun, false), (9, 53, Answered, true)]);
    // An echo has its identifier for a port.
    let echo = |kind| Some(IcmpMessage { kind, code: 0, id: Some(7) });
    let ends = [1, 2].map(|host| Endpoint::new([10, 0, 0, host], 0));
    bench.datagram(IpProtocol::ICMP, (ends[0], ends[1]), echo(8), &[]);
    bench.datagram(IpProtocol::ICMP, (ends[1], ends[0]), echo(0), &[]);
    assert_eq!(said(&mut bench), [(7, 0, Begun, false), (7, 0, Answered, false)]);
}

/// How a flow ends, and what came of it.
#[test]
fn the_state_of_a_flow_is_what_its_ends_made_of_it() {
    use EventOutcome::{Failure, Success};
    use FlowStatus::{Closed, Established, Refused, Reset, TimedOut};
    for (script, status, ended_by, outcome) in [
        (&["> S 100", "< RA 0 101"][..], Refused, Some(FlowEnd::Destination), Failure),
        // Of an older connection, or forged: it refuses nothing.
        (&["> S 100", "< RA 0 77", "< SA 500 101", "> A 101 501"], Established, None, Success),
        (&["> S 100", "> S 100", "> S 100"], TimedOut, None, Failure),
        (&[OPEN[0], OPEN[1], OPEN[2], "< R 501"], Reset, Some(FlowEnd::Destination), Success),
        // Whose RST was not believed goes on.
        (&[OPEN[0], OPEN[1], OPEN[2], "< R 501", "< A 501 101 10"], Established, None, Success),
        (&[OPEN[0], OPEN[1], OPEN[2], "< FA 501 101"], Established, Some(FlowEnd::Destination), Success),
        (
            &[OPEN[0], OPEN[1], OPEN[2], "< FA 501 101", "> FA 101 502", "> R 102"],
            Closed,
            Some(FlowEnd::Destination),
            Success,
        ),
        (&["> A 101 501 10", "< A 501 111 10"], Established, None, Success),
    ] {
        let mut bench = tcp(script);
        bench.now += 2 * SECOND;
        let records = bench.finish();
        let [flow] = &records[..] else { panic!("{script:?}: {records:?}") };
        assert_eq!((flow.status, flow.ended_by, flow.outcome), (status, ended_by, Some(outcome)), "{script:?}");
    }
}

/// How many flows it is, and the port of each source.
#[test]
fn another_syn_begins_another_flow_where_its_number_says_so() {
    let closed: &[&str] = &["> FA 101 501", "< FA 501 102", "> A 102 502"];
    let again: &[&str] = &["> S 9000", "< SA 7000 9001"];
    for (script, sources) in [
        (with(closed), vec![40_000]),
        (with(&[closed, again].concat()), vec![40_000, 40_000]),
        // The same SYN again, late.
        (with(&["> S 100", "> A 101 501 5"]), vec![40_000]),
        // A SYN in the middle counts once it is answered.
        (with(&["> S 9000", "> A 101 501 5"]), vec![40_000]),
        (with(again), vec![40_000, 40_000]),
        (tcp(&["> S 100", "> S 9000", "< SA 500 9001"]), vec![40_000, 40_000]),
        // Joined late, the server spoke first; then a SYN.
        (tcp(&["< A 501 101 5", "> S 3000000000", "< SA 800000000 3000000001"]), vec![80, 40_000]),
        // The capture turned both round.
        (tcp(&["< SA 500 101", "> S 100", "> A 101 501"]), vec![40_000]),
        (tcp(&["> A 101 501", "> S 100", "< SA 500 101"]), vec![40_000]),
        // Simultaneous open.
        (tcp(&["> S 100", "< S 500", "> SA 100 501", "< SA 500 101"]), vec![40_000]),
        (tcp(&["> S 100", "< RA 0 101", "> S 900", "< RA 0 901"]), vec![40_000, 40_000]),
    ] {
        let mut script = script;
        let found: Vec<_> = script.finish().iter().map(|flow| flow.source.port).collect();
        assert_eq!(found, sources);
    }
}

#[test]
fn a_connect_that_nothing_answers_is_reported_within_seconds_and_may_be_answered_all_the_same() {
    let mut bench = tcp(&["> S 100"]);
    bench.wait(2).tcp("> S 100").wait(6);
    let records = bench.records();
    let told: Vec<_> =
        records.iter().map(|flow| (flow.status, flow.outcome, flow.last, flow.counts[0].packets)).collect();
    assert_eq!(told, [(FlowStatus::TimedOut, Some(EventOutcome::Failure), false, 2)]);
    bench.tcp("> S 100").tcp("< SA 500 101").tcp("> A 101 501");
    let records = bench.finish();
    assert_eq!((records.len(), records[0].status, records[0].report), (1, FlowStatus::Established, 2));
}

#[test]
fn what_straggles_in_after_the_end_is_counted_in_its_flow() {
    let mut bench = with(&["> FA 101 501", "< FA 501 102", "> A 102 502", "< FA 501 102", "< R 502"]);
    let records = bench.finish();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].counts[1].packets, records[0].counts[1].resets, records[0].status),
        (4, 1, FlowStatus::Closed)
    );
}

#[test]
fn a_long_flow_is_reported_while_it_lives_with_what_came_since() {
    let mut bench = with(&["> A 101 501 50"]);
    bench.wait(70).tcp("< A 501 151 10").wait(70).wait(70).tcp("> A 151 511 7");
    let records = bench.finish();
    let seen: Vec<_> =
        records.iter().map(|r| (r.report, r.last, r.counts[0].payload_bytes, r.counts[1].payload_bytes)).collect();
    assert_eq!(seen, [(1, false, 50, 0), (2, false, 0, 10), (3, true, 7, 0)]);
    assert!(records.iter().all(|record| record.flow_id == records[0].flow_id && record.start <= record.end));
    assert!(records.windows(2).all(|pair| pair[0].end < pair[1].start && pair[0].id != pair[1].id));
    assert_eq!(records[2].outcome, Some(EventOutcome::Success));
    assert_eq!(records[0].outcome, None);
}

#[test]
fn a_datagram_and_its_answer_are_one_flow_until_both_are_silent() {
    let mut bench = bench();
    bench.udp(1, 5000, 2, 53, 30).udp(2, 53, 1, 5000, 90).udp(9, 1, 2, 514, 10);
    bench.wait(20).udp(9, 1, 2, 514, 10).wait(40);
    let records = bench.records();
    let seen: Vec<_> = records
        .iter()
        .map(|r| (r.source.port, r.counts.map(|counts| counts.payload_bytes), r.status, r.outcome))
        .collect();
    let (idle, success) = (FlowStatus::Idle, Some(EventOutcome::Success));
    assert_eq!(seen, [(5000, [30, 90], idle, success), (1, [20, 0], idle, Some(EventOutcome::Unknown))]);
}

#[test]
fn an_echo_and_its_reply_are_one_flow_and_an_error_marks_the_flow_it_quotes() {
    let mut bench = bench();
    let echo = |kind| Some(IcmpMessage { kind, code: 0, id: Some(7) });
    let ends = |a: u8, b: u8| (Endpoint::new([10, 0, 0, a], 0), Endpoint::new([10, 0, 0, b], 0));
    bench.datagram(IpProtocol::ICMP, ends(2, 1), echo(0), &[]);
    bench.datagram(IpProtocol::ICMP, ends(1, 2), echo(8), &[]).udp(1, 5000, 2, 53, 30);
    let quoted =
        [&[0x45, 0, 0, 58, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &[19, 136, 0, 53]].concat();
    let error = |code| Some(IcmpMessage { kind: 3, code, id: None });
    bench.datagram(IpProtocol::ICMP, ends(2, 1), error(3), &quoted);
    bench.tcp("> S 100");
    let mut quoted = quoted;
    quoted[9] = 6;
    quoted[20..].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    bench.datagram(IpProtocol::ICMP, ends(3, 1), error(1), &quoted);
    let records = bench.finish();
    let seen: Vec<_> = records.iter().map(|r| (r.source.ip, r.status, r.outcome)).collect();
    let ip = |last| Ipv4Addr::new(10, 0, 0, last).into();
    let failed = Some(EventOutcome::Failure);
    assert_eq!(seen[0], (ip(1), FlowStatus::Established, Some(EventOutcome::Success)));
    assert_eq!(seen[1], (ip(1), FlowStatus::Refused, failed));
    assert_eq!(seen[3], (ip(1), FlowStatus::Unreachable, failed));
    assert_eq!(seen.len(), 5, "each error is a flow of its sender: {seen:?}");
}

#[test]
fn one_five_tuple_in_two_vlans_is_two_flows_and_an_answer_may_come_in_another() {
    let mut bench = bench();
    for vlan in [1, 2] {
        bench.scope = Scope::default().vlan(vlan);
        bench.udp(1, 5000, 2, 53, 30);
    }
    assert_eq!(bench.finish().len(), 2);
    bench.scope = Scope::default().vlan(1);
    bench.tcp("> S 100");
    bench.scope = Scope::default().vlan(2);
    bench.tcp("< SA 500 101").tcp("< S 77777777");
    assert_eq!(bench.finish().iter().map(|flow| flow.counts.map(|c| c.packets)).collect::<Vec<_>>(), [[1, 2]]);
}

#[test]
fn zero_windows_are_counted_when_they_close_and_resent_bytes_when_they_come_again() {
    let mut bench = with(&["< A 501 101 0 0", "< A 501 101 0 0", "< A 501 101 0 9", "< A 501 101 0 0"]);
    bench.tcp("> A 101 501 50").tcp("> A 101 501 50").tcp("> A 121 501 60");
    let flow = &bench.finish()[0];
    assert_eq!(flow.counts.map(|counts| (counts.zero_windows, counts.retransmitted_bytes)), [(0, 80), (2, 0)]);
}

#[test]
fn no_tick_reports_more_flows_than_a_thousand_and_packets_and_the_next_tick_report_the_rest() {
    let mut bench = bench();
    for n in 0..10_000u16 {
        bench.udp(1, n, 2, 53, 10);
    }
    bench.now += 40 * SECOND;
    bench.flows.on_timeout(Timestamp(bench.now), &mut bench.out);
    assert_eq!(bench.records().len(), 1024);
    // What comes then counts in a flow that was not looked at yet, and begins another one where it was.
    for (port, reported) in [(9_999, 16), (0, 16), (1, 16)] {
        bench.udp(1, port, 2, 53, 10);
        assert_eq!(bench.records().len(), reported);
    }
    bench.wait(2);
    let flows = bench.records();
    assert_eq!((flows.len(), bench.flows.len()), (10_000 - 1024 - 3 * 16 - 1, 3));
    assert!(flows.iter().all(|flow| flow.last && flow.counts[0].packets == 1));
    assert_eq!(bench.finish().iter().map(|flow| flow.counts[0].packets).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn a_flood_of_strangers_pushes_no_connection_out_and_every_packet_is_reported() {
    let mut bench = Bench::new(FlowConfig { most: 256, ..FlowConfig::default() });
    for line in OPEN {
        bench.tcp(line);
    }
    for n in 0..5000u16 {
        bench.udp((n >> 8) as u8 | 0x80, n, 2, 53, 10);
        assert!(bench.flows.len() <= 256);
    }
    let evicted = bench.records();
    assert!(evicted.iter().all(|flow| flow.protocol == IpProtocol::UDP && flow.status == FlowStatus::Evicted));
    assert_eq!(bench.flows.ledger().evicted, evicted.len() as u64);
    let all = evicted.into_iter().chain(bench.finish());
    assert_eq!(all.map(|flow| flow.counts[0].packets + flow.counts[1].packets).sum::<u64>(), 5003);
}

#[test]
fn a_full_table_of_connections_gives_up_one_that_was_silent() {
    let mut bench = Bench::new(FlowConfig { most: 8, ..FlowConfig::default() });
    for client in 1..=8 {
        bench.client = client;
        for line in OPEN {
            bench.tcp(line);
        }
    }
    for client in [1, 2, 3, 4, 6, 7, 8, 20] {
        bench.client = client;
        bench.tcp("> A 101 501 1");
    }
    // The first round only forgets who was heard before.
    for client in [1, 2, 3, 4, 6, 7, 8, 21, 22] {
        bench.client = client;
        bench.tcp("> A 101 501 1");
    }
    let evicted = bench.records();
    assert_eq!(bench.flows.len(), 8);
    assert!(evicted.iter().all(|flow| flow.last && flow.status == FlowStatus::Evicted), "{evicted:?}");
}

proptest! {
    /// Whatever comes in whatever order: each packet is in one record, and the records add up.
    #[test]
    fn every_packet_is_reported_once(
        packets in prop::collection::vec((0..6u16, any::<bool>(), 0..32u8, 0..4u32, 0..4u32, 0..3u32, 0..3i64), 0..200),
        most in 2..20usize,
    ) {
        let mut bench = Bench::new(FlowConfig { most, interval: Some(3_000_000_000), ..FlowConfig::default() });
        let mut bytes = 0;
        for (client, up, flags, seq, ack, len, wait) in &packets {
            bench.client = *client;
            let letters: String = [(1, 'F'), (2, 'S'), (4, 'R'), (16, 'A')]
                .iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter).collect();
            let letters = if letters.is_empty() { "A" } else { &letters };
            bench.tcp(&format!("{} {letters} {} {} {}", if *up { ">" } else { "<" }, seq * 1000, ack * 1000, len * 500));
            bytes += 40 + u64::from(*len) * 500;
            bench.wait(wait * 2);
        }
        bench.flows.finish(Timestamp(bench.now), &mut bench.out);
        let records = bench.records();
        let sum = |of: fn(&FlowCounts) -> u64| records.iter().flat_map(|r| &r.counts).map(of).sum::<u64>();
        prop_assert_eq!((sum(|c| c.packets), sum(|c| c.bytes)), (packets.len() as u64, bytes));
        let mut last = std::collections::HashMap::new();
        for record in &records {
            prop_assert_ne!(last.insert(record.flow_id.clone(), record.last), Some(true));
            prop_assert!(record.start <= record.end);
            prop_assert!(record.counts.iter().all(|c| c.retransmitted_bytes <= c.payload_bytes));
        }
        prop_assert!(last.values().all(|last| *last));
    }
}
