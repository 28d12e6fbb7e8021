//! Beginnings come by a socket, changes and ends by another: what is read in another order than it was sent.

use super::*;

/// Beginnings are read from a socket of their own, so that of the next flow may come before the end of this one.
#[test]
fn what_is_read_behind_the_beginning_of_the_next_flow_is_still_about_the_one_before() {
    let [end, next_end] = [[6, 512, 5, 2300], [1, 60, 1, 40]].map(|counters| Said::destroy(1, counters));
    let established = Said::update(1, 0x18e, 3);
    let refused = Said { status: Some(0x208), state: Some(8), ..next_end.clone() };
    for dated in [false, true] {
        let mut messages = [Said::new(1), Said::new(1), established.clone(), end.clone(), refused.clone()];
        if dated {
            for (message, second) in messages.iter_mut().zip([0, 20, 1, 10, 30]) {
                message.at = Some(at(second).0);
            }
        }
        let records = play(&mut tracker(ConntrackEvents::Folded), &messages);
        assert_eq!(actions(&records), ["new", "new", "end", "end"]);
        let ends: Vec<_> =
            records[2..].iter().map(|end| (end.outcome.unwrap(), end.counters.unwrap()[0].packets)).collect();
        assert_eq!(ends, [(EventOutcome::Success, 6), (EventOutcome::Failure, 1)]);
        assert!(!dated || (records[2].start, records[3].start) == (Some(at(0)), Some(at(20))));
    }
}

/// The kernel sends an end again for every listener when one of them missed it, also when its tuple lives again.
#[test]
fn an_end_that_is_sent_again_ends_no_later_flow() {
    let destroyed =
        |from: i64, to: i64| Said { span: [Some(at(from).0), Some(at(to).0)], ..Said::destroy(1, [1, 60, 1, 40]) };
    let mut tracker = tracker(ConntrackEvents::Folded);
    let messages = [
        Said::new(1).when(0),
        destroyed(0, 5).when(5),
        Said::new(1).when(6),
        destroyed(0, 5).when(7),
        // Of one whose beginning was lost.
        destroyed(-9, -1).when(8),
        destroyed(6, 20).when(20),
    ];
    let records = play(&mut tracker, &messages);
    assert_eq!(actions(&records), ["new", "end", "new", "end", "end"]);
    let ends: Vec<_> = records.iter().filter_map(|record| record.end).collect();
    assert_eq!((ends, tracker.ledger().repeated), (vec![at(5), at(-1), at(20)], 1));
}

proptest! {
    /// Beginnings are read from a socket of their own: all that were sent before the others that were read, and some more.
    #[test]
    fn two_sockets_read_one_after_the_other_end_each_flow_once_and_as_it_ended(
        ports in proptest::collection::vec(0u16..3, 1..40), cuts in proptest::collection::vec((1usize..6, 0usize..6), 0..20),
        dated in any::<bool>()
    ) {
        let mut events = timeline(&ports);
        if !dated {
            // Ends are distinguished by their counters.
            for (n, event) in (1u64..).zip(&mut events) {
                (event.span, event.at) = ([None; 2], None);
                event.counters = event.counters.map(|_| [n, 60, 1, 40]);
            }
        }
        let mut tracker = tracker(ConntrackEvents::Folded);
        let (mut records, mut begun) = (Vec::new(), 0);
        let (beginnings, ends): (Vec<_>, Vec<_>) = events.iter().enumerate().partition(|(_, event)| event.kind == EventKind::New);
        let (mut rest, mut cuts) = (&ends[..], cuts.into_iter().chain(std::iter::repeat((9, 3))));
        while !rest.is_empty() || begun < beginnings.len() {
            let (read, further) = cuts.next().unwrap();
            let (held, later) = rest.split_at(read.min(rest.len()));
            let sent = held.last().map_or(begun, |(place, _)| beginnings.partition_point(|(begin, _)| begin < place)) + further;
            for (_, event) in beginnings.get(begun..sent.min(beginnings.len())).unwrap_or_default().iter().chain(held) {
                records.extend(play(&mut tracker, &[(*event).clone()]));
            }
            (begun, rest) = (begun.max(sent.min(beginnings.len())), later);
        }
        tracker.finish();
        records.extend(taken(&mut tracker));
        let found: Vec<_> = records.iter().filter(|record| record.action == ConntrackAction::End)
            .map(|end| (end.tuple.source.port, end.counters.unwrap()[0].packets, if dated { end.start } else { None }))
            .collect();
        let expected: Vec<_> = ends.iter()
            .map(|(_, end)| (end.port, end.counters.unwrap()[0], end.span[0].map(Timestamp)))
            .collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(tracker.ledger().begun as usize, beginnings.len());
    }
}
