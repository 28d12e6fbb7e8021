//! Datagrams of connection tracking: events and dumps of any bytes, in any order.

use podtap::conntrack::{ConntrackConfig, ConntrackEvents, ConntrackTracker};
use podtap::flow::Timestamp;
use podtap::ledger::Ledger;

use super::choices::Choices;

/// Flows that are remembered.
const FLOWS: usize = 8;

/// What comes next (events, a part of a dump, the end of one, time), a length, and this many bytes, again and again.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let events = match choices.byte() % 3 {
        0 => ConntrackEvents::All,
        1 => ConntrackEvents::Folded,
        _ => ConntrackEvents::Aggregate { interval: 1000 },
    };
    let mut tracker = ConntrackTracker::new(ConntrackConfig { events, max_flows: FLOWS, ..ConntrackConfig::default() });
    let (mut now, mut records) = (0i64, 0u64);
    while !choices.is_empty() {
        now += 300;
        match choices.byte() % 8 {
            0 => tracker.begin_dump(Timestamp(now)),
            1 => tracker.end_dump(Timestamp(now)),
            2 => tracker.handle_timeout(Timestamp(now)),
            3 | 4 => _ = tracker.handle_dump(None, datagram(&mut choices)),
            _ => tracker.handle_events(Some(1), datagram(&mut choices), Timestamp(now)),
        }
        records += tracker.records().drain(..).count() as u64;
        let ledger = Ledger { conntrack: tracker.ledger().clone(), ..Ledger::default() };
        assert!(ledger.imbalances().is_empty(), "{:?}", ledger.conntrack);
        assert!(ledger.conntrack.flows <= FLOWS as u64, "a table grows without end");
    }
    tracker.finish();
    records += tracker.records().len() as u64;
    let ledger = tracker.ledger();
    assert!(records <= ledger.events + ledger.begun + ledger.ended_by_dump, "records of nothing");
}

fn datagram<'a>(choices: &mut Choices<'a>) -> &'a [u8] {
    let length = usize::from(choices.byte()) * 2;
    choices.take(length)
}
