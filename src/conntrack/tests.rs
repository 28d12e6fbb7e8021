//! Sequences of messages as the kernel sends them, and what becomes of them.

mod sockets;

use proptest::prelude::*;
use proptest::sample::select;

use super::message::{EventKind, read};
use super::*;
use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::netlink::{CREATED, NetlinkMessage, NetlinkMessages, NetlinkWriter, nest};
use crate::record::{
    ConntrackAction, ConntrackRecord, ConntrackTuple, EndKnownBy, EventOutcome, IcmpMessage, PacketCounters, Record,
};

const SECOND: i64 = 1_000_000_000;
const T0: i64 = 1_772_366_400 * SECOND;

fn at(second: i64) -> Timestamp {
    Timestamp(T0 + second * SECOND)
}

/// What a message says; the rest is as for a connection to a Service.
#[derive(Clone, Debug)]
struct Said {
    kind: EventKind,
    port: u16,
    protocol: u8,
    id: u32,
    status: Option<u32>,
    state: Option<u8>,
    counters: Option<[u64; 4]>,
    span: [Option<i64>; 2],
    at: Option<i64>,
    nat: bool,
}

fn said(kind: EventKind, port: u16) -> Said {
    let (status, state) = (Some(0x188), Some(1));
    Said { kind, port, protocol: 6, id: 7, status, state, counters: None, span: [None; 2], at: None, nat: true }
}

impl Said {
    fn new(port: u16) -> Self {
        said(EventKind::New, port)
    }

    fn update(port: u16, status: u32, state: u8) -> Self {
        Self { status: Some(status), state: Some(state), ..said(EventKind::Update, port) }
    }

    fn destroy(port: u16, counters: [u64; 4]) -> Self {
        Self { status: Some(0x20e), state: None, counters: Some(counters), ..said(EventKind::Destroy, port) }
    }

    fn when(mut self, second: i64) -> Self {
        self.at = Some(at(second).0);
        self
    }

    fn tuple(&self, reply: bool) -> Vec<u8> {
        let (client, service, pod) = ([10, 61, 1, 2], [10, 96, 61, 10], [10, 61, 2, 2]);
        let server = if self.nat { pod } else { service };
        let (source, destination, ports) =
            if reply { (server, client, [8080, self.port]) } else { (client, service, [self.port, 80]) };
        let ip = nest(&[(1, source.to_vec()), (2, destination.to_vec())]);
        let mut parts = vec![(1, vec![self.protocol])];
        if self.protocol == 1 {
            parts.extend([(4, self.port.to_be_bytes().to_vec()), (5, vec![if reply { 0 } else { 8 }]), (6, vec![0])]);
        } else {
            parts.extend([(2, ports[0].to_be_bytes().to_vec()), (3, ports[1].to_be_bytes().to_vec())]);
        }
        nest(&[(1, ip), (2, nest(&parts))])
    }

    fn bytes(&self) -> Vec<u8> {
        let (kind, flags) = match self.kind {
            EventKind::New => (0x100, CREATED),
            EventKind::Update => (0x100, 0),
            EventKind::Destroy => (0x102, 0),
        };
        let mut message = NetlinkWriter::netfilter(kind, flags, 0, 2, 0)
            .attribute(1, &self.tuple(false))
            .attribute(2, &self.tuple(true))
            .attribute(12, &self.id.to_be_bytes());
        if let Some(status) = self.status {
            message = message.attribute(3, &status.to_be_bytes());
        }
        if let Some(state) = self.state {
            message = message.attribute(4, &nest(&[(1, nest(&[(1, vec![state])]))]));
        }
        if let Some([a, b, c, d]) = self.counters {
            let pair = |x: u64, y: u64| nest(&[(1, x.to_be_bytes().to_vec()), (2, y.to_be_bytes().to_vec())]);
            message = message.attribute(9, &pair(a, b)).attribute(10, &pair(c, d));
        }
        let span: Vec<_> = (1..).zip(self.span).filter_map(|(n, at)| Some((n, at?.to_be_bytes().to_vec()))).collect();
        if !span.is_empty() {
            message = message.attribute(20, &nest(&span));
        }
        if let Some(at) = self.at {
            message = message.attribute(27, &at.to_be_bytes());
        }
        message.finish()
    }
}

/// What a kernel really sent: name and bytes.
fn recorded() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("recorded.hex").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let (name, hex) = line.split_once(' ').unwrap();
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        (name, hex.as_bytes().chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect())
    })
}

#[cfg(target_endian = "little")]
#[test]
fn messages_of_a_real_kernel_are_read_whole() {
    let mut shapes = 0;
    for (name, bytes) in recorded() {
        let (kind, entry) = read(&NetlinkMessages::new(&bytes).next().unwrap()).unwrap();
        let parts: Vec<_> = name.split('-').collect();
        let expected = [("new", EventKind::New), ("update", EventKind::Update), ("destroy", EventKind::Destroy)];
        assert!(expected.contains(&(parts[0], kind)), "{name}");
        assert_eq!(entry.original.source.ip.is_ipv4(), parts[1] == "v4", "{name}");
        let protocol = entry.original.protocol;
        assert_eq!(protocol.name(), Some(parts[2]), "{name}");
        assert_eq!(entry.original.icmp.is_some(), parts[2] == "icmp", "{name}");
        assert_eq!(entry.state.map(|state| state.to_string()).as_deref(), parts.get(3).copied(), "{name}");
        assert!(entry.id.is_some() && entry.status.is_some() && entry.at.is_some(), "{name}: {entry:?}");
        let ended = kind == EventKind::Destroy;
        assert_eq!((entry.counters.is_some(), entry.stop.is_some()), (ended, ended), "{name}: {entry:?}");
        assert_eq!(entry.original.source.port > 0, protocol.has_ports(), "{name}");
        shapes += 1;
    }
    assert_eq!(shapes, 25);
}

fn tracker(events: ConntrackEvents) -> ConntrackTracker {
    ConntrackTracker::new(ConntrackConfig { events, max_flows: 1000, ..ConntrackConfig::default() })
}

/// Feeds messages, one a second, and returns the records; the ledger adds up after each.
fn play(tracker: &mut ConntrackTracker, messages: &[Said]) -> Vec<ConntrackRecord> {
    for (second, message) in (100..).zip(messages) {
        tracker.handle_events(None, &message.bytes(), at(second));
        balanced(tracker);
    }
    taken(tracker)
}

fn balanced(tracker: &ConntrackTracker) {
    let ledger = crate::ledger::Ledger { conntrack: tracker.ledger().clone(), ..Default::default() };
    assert_eq!(ledger.imbalances(), []);
}

fn taken(tracker: &mut ConntrackTracker) -> Vec<ConntrackRecord> {
    let event = |record| if let Record::Conntrack(event) = record { *event } else { panic!("{record:?}") };
    tracker.records().drain(..).map(event).collect()
}

fn actions(records: &[ConntrackRecord]) -> Vec<&'static str> {
    records.iter().map(|record| record.action.name()).collect()
}

fn dump(tracker: &mut ConntrackTracker, entries: &[Said], now: i64) {
    tracker.begin_dump(at(now));
    for entry in entries {
        assert_eq!(tracker.handle_dump(None, &entry.bytes()), DumpProgress::Going);
    }
    let mut done = vec![20, 0, 0, 0, 3, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    done.extend([0; 4]);
    assert_eq!(tracker.handle_dump(None, &done), DumpProgress::Done);
    tracker.end_dump(at(now));
}

fn life(port: u16) -> [Said; 5] {
    [
        Said::new(port).when(0),
        Said::update(port, 0x18a, 2).when(1),
        Said::update(port, 0x18e, 3).when(2),
        Said::update(port, 0x18e, 7).when(9),
        Said::destroy(port, [6, 512, 5, 2300]).when(129),
    ]
}

#[test]
fn a_connection_is_one_record_at_its_start_and_one_at_its_end_whose_time_is_its_close() {
    let records = play(&mut tracker(ConntrackEvents::Folded), &life(40_000));
    assert_eq!(actions(&records), ["new", "end"]);
    let [new, end] = &records[..] else { panic!() };
    let tuple = ConntrackTuple {
        protocol: IpProtocol::TCP,
        source: Endpoint::new([10, 61, 1, 2], 40_000),
        destination: Endpoint::new([10, 96, 61, 10], 80),
        icmp: None,
    };
    assert_eq!((new.tuple, new.at, new.start, new.end), (tuple, at(0), Some(at(0)), None));
    assert_eq!((new.source_nat, new.destination_nat), (None, Some(Endpoint::new([10, 61, 2, 2], 8080))));
    assert_eq!((end.at, end.start, end.end), (at(9), Some(at(0)), Some(at(9))));
    assert_eq!((end.end_known_by, end.outcome, end.events), (Some(EndKnownBy::Closed), Some(EventOutcome::Success), 5));
    let counters = [PacketCounters { packets: 6, bytes: 512 }, PacketCounters { packets: 5, bytes: 2300 }];
    assert_eq!((end.counters, end.state), (Some(counters), Some("time_wait")));
    assert_eq!(new.id.split_once('.').unwrap().0, end.id.split_once('.').unwrap().0);
}

#[test]
fn all_events_are_records_where_that_is_asked_for() {
    let mut tracker = tracker(ConntrackEvents::All);
    let records = play(&mut tracker, &life(1));
    assert_eq!(actions(&records), ["new", "update", "update", "update", "end"]);
    let ids: std::collections::BTreeSet<_> = records.iter().map(|record| &record.id).collect();
    assert_eq!((ids.len(), tracker.ledger().recorded, tracker.ledger().flows), (5, 5, 0));
}

#[test]
fn what_was_never_answered_is_a_failure_and_says_how_often_it_was_tried() {
    let silent = Said { status: Some(0x208), ..Said::destroy(1, [4, 240, 0, 0]) };
    // The kernel does not say that there was an answer when that was a reset.
    let refused = Said { status: Some(0x208), state: Some(8), ..Said::destroy(2, [1, 60, 1, 40]) };
    let udp = Said { protocol: 17, status: Some(0x208), ..Said::destroy(3, [1, 68, 0, 0]) };
    let ping = Said { protocol: 1, status: Some(0x208), ..Said::destroy(4, [3, 252, 0, 0]) };
    let ends = play(&mut tracker(ConntrackEvents::Folded), &[silent, refused, udp, ping]);
    let found: Vec<_> = ends.iter().map(|end| (end.outcome.unwrap(), end.tries)).collect();
    use EventOutcome::{Failure, Unknown};
    assert_eq!(found, [(Failure, Some(4)), (Failure, None), (Unknown, Some(1)), (Failure, Some(3))]);
    assert_eq!(ends[3].tuple.icmp, Some(IcmpMessage { kind: 8, code: 0, id: Some(4) }));
}

#[test]
fn an_end_that_the_kernel_repeats_is_one_record_and_a_reused_port_is_a_new_flow() {
    let mut tracker = tracker(ConntrackEvents::Folded);
    let end = Said::destroy(1, [1, 60, 1, 40]);
    let records = play(&mut tracker, &[Said::new(1), end.clone(), end.clone(), end.clone(), Said::new(1), end]);
    assert_eq!(actions(&records), ["new", "end", "new", "end"]);
    assert_eq!((tracker.ledger().repeated, tracker.ledger().recorded), (2, 4));
    assert_ne!(records[1].id, records[3].id);
}

#[test]
fn a_flow_whose_end_was_lost_ends_when_its_tuple_begins_again() {
    let mut tracker = tracker(ConntrackEvents::Folded);
    let records = play(&mut tracker, &[Said::new(1), Said::new(1)]);
    assert_eq!(actions(&records), ["new", "new"], "its end may still come");
    tracker.handle_timeout(at(110));
    assert!(tracker.records().is_empty());
    tracker.handle_timeout(at(111));
    let [end] = &taken(&mut tracker)[..] else { panic!() };
    assert_eq!((end.action, end.at, end.end, end.end_known_by), (ConntrackAction::End, at(101), None, None));
    assert_eq!(actions(&play(&mut tracker, &[Said::new(1), Said::new(1)])), ["new", "new"]);
    tracker.finish();
    assert_eq!(actions(&taken(&mut tracker)), ["end", "end"]);
    balanced(&tracker);
}

#[test]
fn flows_that_were_there_before_are_known_from_a_dump_and_end_with_a_later_one() {
    let mut tracker = tracker(ConntrackEvents::Folded);
    let entry = Said { counters: Some([2, 100, 1, 50]), ..Said::update(1, 0x18e, 3) };
    dump(&mut tracker, &[entry.clone(), Said { port: 2, ..entry.clone() }], 1);
    assert!(tracker.needs_dump() && tracker.records().is_empty());
    dump(&mut tracker, &[Said { counters: Some([4, 200, 3, 150]), port: 2, ..entry }], 2);
    let [end] = &taken(&mut tracker)[..] else { panic!() };
    assert_eq!((end.tuple.source.port, end.start, end.end), (1, None, Some(at(2))));
    assert_eq!((end.end_known_by, end.outcome), (Some(EndKnownBy::Dump), Some(EventOutcome::Success)));
    assert_eq!(end.counters.unwrap()[0].packets, 2);
    // What comes later is the same end, once more.
    let late = play(&mut tracker, &[Said::destroy(1, [9, 9, 9, 9]), Said::destroy(2, [9, 900, 9, 900])]);
    assert_eq!(late.iter().map(|end| end.tuple.source.port).collect::<Vec<_>>(), [2]);
    assert!(!tracker.needs_dump());
}

#[test]
fn a_flow_with_events_is_given_one_dump_more_for_its_end_to_come() {
    let mut tracker = tracker(ConntrackEvents::Folded);
    play(&mut tracker, &[Said::new(1), Said::new(2)]);
    dump(&mut tracker, &[], 10);
    dump(&mut tracker, &[], 11);
    assert!(taken(&mut tracker).is_empty() && tracker.needs_dump());
    assert_eq!(actions(&play(&mut tracker, &[Said::destroy(1, [1, 1, 1, 1])])), ["end"]);
    dump(&mut tracker, &[], 20);
    let ends = taken(&mut tracker);
    assert_eq!((ends.len(), ends[0].tuple.source.port, ends[0].end_known_by), (1, 2, Some(EndKnownBy::Dump)));
    assert_eq!((tracker.ledger().flows, tracker.ledger().missing, tracker.ledger().ended_by_dump), (0, 0, 1));
}

#[test]
fn a_dump_under_which_the_table_changed_ends_nothing() {
    let mut tracker = tracker(ConntrackEvents::Folded);
    dump(&mut tracker, &[Said::update(1, 0x18e, 3)], 1);
    tracker.begin_dump(at(2));
    let mut done = vec![20, 0, 0, 0, 3, 0, 0x12, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    done.extend([0; 4]);
    tracker.handle_dump(None, &done);
    tracker.end_dump(at(2));
    assert!(taken(&mut tracker).is_empty());
}

/// What the kernel did, in order: on each port one flow after the other, and what is there in between.
fn timeline(ports: &[u16]) -> Vec<Said> {
    let (mut live, mut events) = ([None::<i64>; 4], Vec::new());
    for (second, port) in (1i64..).zip(ports) {
        let place = &mut live[usize::from(*port)];
        let (mut event, start) = match place.take() {
            None => (Said::new(*port), *place.insert(second)),
            Some(start) => (Said::destroy(*port, [1, 1, 1, 1]), start),
        };
        event.span = [Some(at(start).0), (place.is_none()).then_some(at(second).0)];
        events.push(event.when(second));
    }
    events
}

/// Entries of the table after this many events.
fn table(events: &[Said]) -> Vec<Said> {
    let mut live: std::collections::BTreeMap<u16, Said> = Default::default();
    for event in events {
        match event.kind {
            EventKind::New => drop(live.insert(event.port, Said { kind: EventKind::Update, ..event.clone() })),
            EventKind::Update | EventKind::Destroy => drop(live.remove(&event.port)),
        }
    }
    live.into_values().collect()
}

#[test]
fn a_refused_dump_says_why() {
    let refused = [&[36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], &(-1i32).to_ne_bytes(), &[0; 16]].concat();
    assert_eq!(tracker(ConntrackEvents::Folded).handle_dump(None, &refused), DumpProgress::Failed(1));
}

#[test]
fn flows_between_two_addresses_are_one_record_for_each_interval() {
    let mut tracker = tracker(ConntrackEvents::Aggregate { interval: 60 * SECOND as u64 });
    tracker.handle_timeout(at(0));
    for port in 1..=5 {
        play(&mut tracker, &life(port)[..if port == 5 { 2 } else { 5 }]);
    }
    assert!(taken(&mut tracker).is_empty());
    tracker.handle_timeout(at(60));
    let [sum] = &taken(&mut tracker)[..] else { panic!() };
    let flows = sum.flows.unwrap();
    assert_eq!((flows.begun, flows.ended, flows.failed, flows.source_ports), (5, 4, 0, 5));
    assert_eq!((sum.action, sum.events, sum.tuple.source.port), (ConntrackAction::Update, 22, 0));
    assert_eq!(sum.counters.unwrap()[1], PacketCounters { packets: 20, bytes: 9200 });
    assert_eq!((sum.start, sum.end), (Some(at(0)), Some(at(9))));
    tracker.handle_timeout(at(120));
    assert!(taken(&mut tracker).is_empty());
}

#[test]
fn a_flow_costs_no_more_than_settings_reckon_with() {
    // A place in the table, filled between the half and seven eighths, and what the allocator adds.
    let (place, allocator) = (9 * 2, 8);
    assert!(size_of::<super::live::LiveFlow>() + place + allocator <= 120, "{}", size_of::<super::live::LiveFlow>());
}

#[test]
fn a_key_comes_out_of_a_flow_as_it_went_in() {
    let mut keys = 0;
    for (_, bytes) in recorded() {
        let (_, entry) = read(&NetlinkMessages::new(&bytes).next().unwrap()).unwrap();
        for namespace in [None, Some(0), Some(7)] {
            let key = super::live::LiveKey { namespace, id: 5, zone: 9, tuple: entry.original };
            let flow = super::live::LiveFlow::new(key, &entry, 1);
            assert_eq!(flow.key(), key);
            keys += 1;
        }
    }
    assert_eq!(keys, 75);
}

#[test]
fn news_say_how_far_a_connection_has_come_and_no_more_than_is_known() {
    use crate::record::FlowProgress::{Answered, Begun, Established, Unanswered};
    let config = ConntrackConfig { max_flows: 100, news: true, ..ConntrackConfig::default() };
    let mut tracker = ConntrackTracker::new(config);
    let said = |tracker: &mut ConntrackTracker| -> Vec<_> {
        tracker.news().drain(..).map(|news| (news.source.port, news.progress, news.ended)).collect()
    };
    play(&mut tracker, &life(1));
    assert_eq!(
        said(&mut tracker),
        [(1, Begun, false), (1, Answered, false), (1, Established, false), (1, Established, true)]
    );
    let reset = |port, counters| {
        let end = Said { status: Some(0x208), state: Some(8), ..Said::destroy(port, [1, 60, 1, 40]) };
        [Said::new(port), Said { counters, ..end }]
    };
    play(&mut tracker, &reset(2, Some([1, 60, 1, 40])));
    assert_eq!(said(&mut tracker), [(2, Begun, false), (2, Answered, true)]);
    play(&mut tracker, &reset(3, None));
    assert_eq!(said(&mut tracker), [(3, Begun, false)], "who reset it is not known");
    play(&mut tracker, &reset(4, Some([2, 80, 0, 0])));
    assert_eq!(said(&mut tracker), [(4, Begun, false), (4, Begun, true)]);
    play(&mut tracker, &[Said::new(5)]);
    dump(&mut tracker, &[Said::update(5, 0x188, 1)], 9);
    assert_eq!(said(&mut tracker), [(5, Begun, false), (5, Unanswered, false)]);
}

#[test]
fn a_full_table_loses_no_end() {
    let mut tracker = ConntrackTracker::new(ConntrackConfig { max_flows: 2, ..ConntrackConfig::default() });
    let mut messages: Vec<_> = (1..=4).map(Said::new).collect();
    messages.extend((1..=4).map(|port| Said::destroy(port, [1, 60, 1, 40])));
    let records = play(&mut tracker, &messages);
    assert_eq!(records.iter().filter(|record| record.action == ConntrackAction::End).count(), 4);
    assert_eq!((tracker.ledger().untracked, tracker.ledger().flows), (2, 0));
}

#[test]
fn the_kernels_own_times_win_over_ours() {
    let span = [Some(at(1).0), Some(at(5).0)];
    let destroyed = Said { span, at: Some(at(6).0), protocol: 17, ..Said::destroy(1, [1, 1, 1, 1]) };
    let [end] = &play(&mut tracker(ConntrackEvents::Folded), &[destroyed])[..] else { panic!() };
    assert_eq!((end.start, end.end, end.end_known_by), (Some(at(1)), Some(at(5)), Some(EndKnownBy::Destroy)));
}

#[test]
fn what_is_not_wanted_is_counted_and_no_record() {
    use crate::filter::{FlowFilter, FlowRules};
    let exclude = FlowRules { ports: vec![8080], ..FlowRules::default() };
    let filter = FlowFilter { exclude, ..FlowFilter::default() };
    let mut tracker = ConntrackTracker::new(ConntrackConfig { filter, max_flows: 9, ..ConntrackConfig::default() });
    assert!(play(&mut tracker, &life(1)).is_empty());
    assert_eq!((tracker.ledger().left_out, tracker.ledger().folded), (2, 3));
}

#[test]
fn messages_of_others_and_cut_ones_are_counted() {
    let whole = Said::new(1).bytes();
    let mut tracker = tracker(ConntrackEvents::Folded);
    let mut foreign = whole.clone();
    foreign[5] = 2;
    tracker.handle_events(None, &foreign, at(0));
    for cut in 1..whole.len() {
        tracker.handle_events(None, &whole[..cut], at(0));
    }
    tracker.handle_events(None, &NetlinkWriter::netfilter(0x100, CREATED, 0, 2, 0).finish(), at(0));
    balanced(&tracker);
    let events = whole.len() as u64 + 1;
    assert_eq!((tracker.ledger().events, tracker.ledger().unreadable), (events, events));
    assert!(taken(&mut tracker).is_empty());
}

prop_compose! {
    fn any_message()(kind in select(vec![EventKind::New, EventKind::Update, EventKind::Destroy]), port in 1u16..6,
                     protocol in select(vec![1u8, 6, 17, 132]), status in select(vec![None, Some(0x188), Some(0x18e)]),
                     state in select(vec![None, Some(1u8), Some(3), Some(7)]), counted in any::<bool>(), at in 0..50i64) -> Said {
        let counters = counted.then_some([1, 60, 1, 40]);
        Said { port, protocol, status, state, counters, at: Some(T0 + at), ..said(kind, 1) }
    }
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_ledger_and_gives_each_flow_at_most_one_end(
        messages in proptest::collection::vec(any_message(), 0..60), mode in 0usize..3, room in 1usize..5, dumps in any::<bool>()
    ) {
        let events = [ConntrackEvents::All, ConntrackEvents::Folded, ConntrackEvents::Aggregate { interval: 7 }][mode];
        let mut tracker = ConntrackTracker::new(ConntrackConfig { events, max_flows: room, ..ConntrackConfig::default() });
        let mut records = Vec::new();
        for (n, message) in messages.iter().enumerate() {
            tracker.handle_events(None, &message.bytes(), at(0));
            if dumps && n % 7 == 0 {
                dump(&mut tracker, &messages[..n % 3], 0);
            }
            balanced(&tracker);
            records.extend(taken(&mut tracker));
            prop_assert!(tracker.ledger().flows <= room as u64);
        }
        tracker.finish();
        records.extend(taken(&mut tracker));
        let of = |action| records.iter().filter(|record| record.action == action).count() as u64;
        let ledger = tracker.ledger();
        match events {
            ConntrackEvents::All => prop_assert_eq!(ledger.folded, 0),
            ConntrackEvents::Folded => prop_assert_eq!(of(ConntrackAction::Update), 0),
            ConntrackEvents::Aggregate { .. } => prop_assert_eq!(of(ConntrackAction::Update), records.len() as u64),
        }
        if mode < 2 {
            prop_assert_eq!(of(ConntrackAction::New), ledger.begun);
            prop_assert!(of(ConntrackAction::End) <= ledger.begun + ledger.ended + ledger.ended_by_dump);
        }
    }

    /// The dump's entries are of one moment, and the events around it are read earlier or later than that.
    #[test]
    fn a_dump_at_any_moment_ends_no_flow_twice_and_loses_none(
        ports in proptest::collection::vec(0u16..4, 1..24), cuts in any::<[prop::sample::Index; 4]>()
    ) {
        let events = timeline(&ports);
        let mut cuts = cuts.map(|cut| cut.index(events.len() + 1));
        cuts.sort_unstable();
        // The dump begins, its entries are read, they are of this moment, its end.
        let [begin, shown, moment, end] = cuts;
        for moment in [begin, shown, moment] {
            let mut tracker = tracker(ConntrackEvents::Folded);
            let mut records = play(&mut tracker, &events[..begin]);
            tracker.begin_dump(at(99));
            records.extend(play(&mut tracker, &events[begin..shown]));
            for entry in table(&events[..moment]) {
                tracker.handle_dump(None, &entry.bytes());
            }
            records.extend(play(&mut tracker, &events[shown..end]));
            tracker.end_dump(at(100));
            records.extend(play(&mut tracker, &events[end..]));
            let ends: Vec<_> = records.iter().filter(|record| record.action == ConntrackAction::End).collect();
            let destroyed = events.iter().filter(|event| event.kind == EventKind::Destroy);
            let expected: Vec<_> = destroyed.map(|event| (event.port, event.span.map(|at| at.map(Timestamp)))).collect();
            let found: Vec<_> =
                ends.iter().map(|end| (end.tuple.source.port, [end.start, end.end])).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), delete in any::<bool>()) {
        let kind = if delete { 0x102 } else { 0x100 };
        let _ = read(&NetlinkMessage { kind, flags: 0, sequence: 0, body: &bytes });
        let mut tracker = tracker(ConntrackEvents::All);
        tracker.handle_events(None, &bytes, at(0));
        balanced(&tracker);
        let mut changed = Said::destroy(1, [1, 2, 3, 4]).bytes();
        for (n, byte) in bytes.iter().enumerate().take(4) {
            let place = 16 + (usize::from(*byte) * 7 + n * 31) % (changed.len() - 16);
            changed[place] = byte.wrapping_mul(37);
        }
        if let Some(message) = NetlinkMessages::new(&changed).next() {
            let _ = read(&message);
        }
    }
}
