//! What the network and the servers do: nothing is lost, and only what was in flight goes twice.

use std::time::Duration;

use podtap::sink::dead_letter::DeadLetters;
use podtap::sink::{DropReason, Sinks, UndeliveredPolicy};
use serde_json::Value;

use super::{
    Behaviour, Fault, Way, assert_arrived, every_fault, every_peer, feel, finish, in_flight, offer, spool_of, watch,
};
use crate::feed::{self, BATCH, OPTIONS, id, json_line, piece};
use crate::servers::Scratch;

const GRACE: Duration = Duration::from_secs(20);

#[test]
fn when_a_fault_is_over_everything_arrives_in_order_and_only_what_was_in_flight_twice() {
    every_fault(|what, peer, fault| {
        let sink = peer.spawn(1, OPTIONS, UndeliveredPolicy::default());
        offer(peer, &sink, 0..100);
        watch(what, &sink, |counts| counts.ledger.delivered == 100);
        peer.set(fault);
        offer(peer, &sink, 100..400);
        feel(what, peer, fault, &sink);
        peer.set(Fault::Healthy);
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 400);
        assert_arrived(what, peer, 0..400, in_flight(&counts));
        let counts = finish(what, sink, GRACE);
        assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (400, 0), "{what}");
    });
}

#[test]
fn a_fault_that_lasts_costs_what_the_queue_cannot_hold_and_all_of_it_is_counted() {
    every_fault(|what, peer, fault| {
        if !fault.blocks() {
            return;
        }
        peer.set(fault);
        let sink = peer.spawn(1, OPTIONS, UndeliveredPolicy::default());
        offer(peer, &sink, 0..20_000);
        let counts = feel(what, peer, fault, &sink);
        let held = counts.ledger.queued + counts.ledger.in_flight;
        assert!(held as usize <= OPTIONS.queue.records + BATCH, "{what}: {counts:?}");
        assert_eq!(counts.dropped[DropReason::QueueFull as usize], counts.ledger.dropped, "{what}");
        assert!(counts.ledger.dropped >= 20_000 - held - counts.ledger.delivered, "{what}");
        let counts = finish(what, sink, Duration::ZERO);
        assert_eq!(counts.ledger.delivered + counts.ledger.dropped, 20_000, "{what}");
    });
}

#[test]
fn a_target_that_restarts_again_and_again_loses_nothing() {
    every_peer(|what, mut peer| {
        if !peer.faults().contains(&Fault::Refuses) {
            return;
        }
        peer.be_patient();
        let sink = peer.spawn(1, OPTIONS, UndeliveredPolicy::default());
        let mut down = Duration::ZERO;
        for n in 0..10 {
            offer(&*peer, &sink, n * 100..(n + 1) * 100);
            watch(what, &sink, |counts| counts.ledger.delivered as usize > n * 100);
            let since = feed::now();
            peer.set(Fault::Refuses);
            peer.set(Fault::Healthy);
            down += since.elapsed();
        }
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 1000);
        assert_arrived(what, &*peer, 0..1000, in_flight(&counts));
        // Two a restart; more only while a busy machine takes its time for it.
        let most = 20 + down.as_millis();
        assert!(u128::from(counts.failed_attempts()) <= most, "{what}: {} of {most}", counts.failed_attempts());
        finish(what, sink, GRACE);
    });
}

#[test]
fn a_target_that_takes_only_a_part_gets_the_rest_again_and_nothing_twice() {
    every_peer(|what, mut peer| {
        if !peer.behaviours().contains(&Behaviour::TakesHalf) {
            return;
        }
        peer.behave(Behaviour::TakesHalf);
        let sink = peer.spawn(1, OPTIONS, UndeliveredPolicy::default());
        sink.offer(piece(0..120, peer.body()));
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 120);
        assert_eq!(counts.failed_attempts(), 1, "{what}");
        let mut got = peer.got();
        got.sort();
        assert!(got.into_iter().eq((0..120).map(id)), "{what}");
        finish(what, sink, GRACE);
    });
}

#[test]
fn what_a_target_refuses_for_good_is_counted_by_reason_and_kept_as_a_dead_letter() {
    every_peer(|what, mut peer| {
        if !peer.behaviours().contains(&Behaviour::RefusesHalf) {
            return;
        }
        let scratch = Scratch::new("dead-letters");
        let path = scratch.path("dead/letters.jsonl");
        peer.behave(Behaviour::RefusesHalf);
        let letters = DeadLetters::start(path.clone()).unwrap();
        let undelivered = UndeliveredPolicy { spool: None, dead_letters: Some(letters.clone()) };
        let sink = peer.spawn(1, OPTIONS, undelivered);
        sink.offer(piece(0..120, json_line));
        watch(what, &sink, |counts| counts.ledger.delivered == 95);
        let all = Sinks::new(vec![sink]).with_dead_letters(Some(letters)).finish(GRACE);
        let (ours, theirs) = (&all[0].1, &all[1].1);
        assert_eq!((ours.ledger.rejected, theirs.ledger.delivered, theirs.ledger.offered), (25, 25, 25), "{what}");
        assert_eq!(ours.rejected.iter().map(|(_, n)| n).collect::<Vec<_>>(), [25], "{what}: one reason");
        let text = std::fs::read_to_string(&path).unwrap();
        for (line, n) in text.lines().zip((1..50).step_by(2)) {
            let letter: Value = serde_json::from_str(line).unwrap();
            assert_eq!((letter["id"].as_str(), letter["sink"].as_str()), (Some(&*id(n)), Some(what)));
            assert!(!letter["reason"].as_str().unwrap().is_empty());
            assert_eq!(letter["record"], feed::record(n));
        }
        assert_eq!(text.lines().count(), 25, "{what}");
    });
}

#[test]
fn a_name_that_is_gone_is_a_fault_like_another() {
    every_peer(|what, peer| {
        let scratch = Scratch::new("astray");
        let gone = Way { host: "gone.invalid".to_owned(), ..Way::to(([127, 0, 0, 1], 1).into()) };
        let Some(sink) = peer.spawn_on(&gone, spool_of(&scratch)) else { return };
        offer(&*peer, &sink, 0..100);
        watch(what, &sink, |counts| counts.failed_attempts() >= 1);
        let counts = finish(what, sink, Duration::from_millis(400));
        assert_eq!((counts.ledger.spooled, counts.ledger.dropped), (100, 0), "{what}");
    });
}

#[test]
fn several_deliveries_at_once_lose_nothing_and_twice_goes_at_most_what_was_in_flight() {
    every_peer(|what, mut peer| {
        if !peer.faults().contains(&Fault::Refuses) {
            return;
        }
        let scratch = Scratch::new("several");
        peer.be_patient();
        peer.set(Fault::Refuses);
        let sink = peer.spawn(4, OPTIONS, spool_of(&scratch));
        // More than half of the queue: the oldest go to disk.
        offer(&*peer, &sink, 0..4000);
        watch(what, &sink, |counts| counts.ledger.spooled > 0 && counts.failed_attempts() > 4);
        peer.set(Fault::Healthy);
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 4000);
        if peer.acknowledges() {
            let mut got = peer.got();
            let copies = got.len() - 4000;
            got.sort();
            got.dedup();
            assert!(got.into_iter().eq((0..4000).map(id)), "{what}");
            assert!(copies <= if peer.stores_once() { 0 } else { in_flight(&counts) }, "{what}: {copies}");
        }
        assert_eq!(finish(what, sink, GRACE).spooled_bytes, 0, "{what}");
    });
}
