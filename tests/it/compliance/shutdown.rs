//! SIGTERM at any moment, once (`Sinks::finish`) or twice (`Sinks::abort`): it ends in time, and nothing is unaccounted for.

use std::time::Duration;

use podtap::sink::{RetryBackoff, SinkCounts, SinkHandle, SinkOptions, Sinks, UndeliveredPolicy};

use super::{Fault, Peer, assert_arrived, every_fault, every_peer, feel, finish, in_flight, offer, spool_of, watch};
use crate::feed::{BUSY, OPTIONS, examined, now};
use crate::servers::Scratch;

#[test]
fn a_shutdown_in_a_fault_ends_in_time_and_counts_what_is_left_as_dropped() {
    every_fault(|what, peer, fault| {
        let sink = peer.spawn(1, OPTIONS, UndeliveredPolicy::default());
        peer.set(fault);
        offer(peer, &sink, 0..300);
        watch(what, &sink, |counts| !fault.blocks() || counts.ledger.in_flight > 0);
        let counts = finish(what, sink, Duration::from_millis(200));
        assert_eq!(counts.ledger.delivered + counts.ledger.dropped, 300, "{what}");
        assert!(
            !peer.acknowledges() || !peer.retries() || peer.got().len() as u64 >= counts.ledger.delivered,
            "{what}: delivered means stored"
        );
    });
}

#[test]
fn a_shutdown_in_a_fault_spools_what_is_left_and_the_next_run_delivers_it_first() {
    every_fault(|what, peer, fault| {
        if !peer.retries() {
            return;
        }
        let scratch = Scratch::new("shutdown");
        peer.set(fault);
        let sink = peer.spawn(1, OPTIONS, spool_of(&scratch));
        offer(peer, &sink, 0..300);
        feel(what, peer, fault, &sink);
        let counts = finish(what, sink, Duration::from_millis(400));
        let (delivered, spooled) = (counts.ledger.delivered, counts.ledger.spooled);
        assert_eq!((delivered + spooled, counts.ledger.dropped), (300, 0), "{what}");
        peer.set(Fault::Healthy);
        let sink = peer.spawn(1, OPTIONS, spool_of(&scratch));
        offer(peer, &sink, 300..320);
        let second = watch(what, &sink, |counts| counts.ledger.delivered == spooled + 20);
        assert_eq!(second.ledger.recovered, spooled, "{what}");
        assert_arrived(what, peer, 0..320, in_flight(&counts) + in_flight(&second) + super::BATCH);
        assert_eq!(finish(what, sink, Duration::from_secs(5)).spooled_bytes, 0, "{what}");
    });
}

/// What a sink is doing when the signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Idle,
    Connecting,
    InFlight,
    InBackoff,
    Spooling,
}

impl Moment {
    const ALL: [Self; 5] = [Self::Idle, Self::Connecting, Self::InFlight, Self::InBackoff, Self::Spooling];

    fn fault(self) -> Fault {
        match self {
            Self::Idle => Fault::Healthy,
            Self::Connecting => Fault::NeverAccepts,
            Self::InFlight => Fault::Hangs,
            Self::InBackoff | Self::Spooling => Fault::Refuses,
        }
    }

    fn records(self) -> usize {
        match self {
            Self::Idle | Self::Connecting | Self::InFlight | Self::InBackoff => 300,
            // More than half of the queue.
            Self::Spooling => 4000,
        }
    }

    fn has_come(self, counts: &SinkCounts) -> bool {
        match self {
            Self::Idle => counts.ledger.delivered == 300,
            Self::Connecting | Self::InFlight => counts.ledger.in_flight > 0,
            Self::InBackoff => counts.failed_attempts() > 0,
            Self::Spooling => counts.ledger.spooled > 0,
        }
    }
}

/// A backoff that no shutdown waits for.
const PATIENT: SinkOptions = SinkOptions {
    backoff: RetryBackoff { first: Duration::from_secs(3600), most: Duration::from_secs(3600) },
    ..OPTIONS
};

fn bring_to(what: &str, moment: Moment, peer: &mut dyn Peer, undelivered: UndeliveredPolicy) -> SinkHandle {
    if !moment.fault().is_silent() {
        peer.be_patient();
    }
    peer.set(moment.fault());
    let sink = peer.spawn(1, PATIENT, undelivered);
    offer(peer, &sink, 0..moment.records());
    watch(what, &sink, |counts| moment.has_come(counts));
    sink
}

fn every_moment(test: impl Fn(&str, Moment, &mut dyn Peer) + Sync) {
    every_peer(|name, mut peer| {
        for moment in Moment::ALL {
            if peer.retries() && (moment == Moment::Idle || peer.faults().contains(&moment.fault())) {
                test(&format!("{name} {moment:?}"), moment, &mut *peer);
            }
        }
    });
}

#[test]
fn sigterm_at_any_moment_keeps_what_is_left_on_disk() {
    every_moment(|what, moment, peer| {
        let scratch = Scratch::new("moment");
        let sink = bring_to(what, moment, peer, spool_of(&scratch));
        let counts = finish(what, sink, Duration::from_millis(100));
        assert_eq!(counts.ledger.delivered + counts.ledger.spooled, moment.records() as u64, "{what}: {counts:?}");
        assert_eq!(counts.ledger.dropped, 0, "{what}");
    });
}

#[test]
fn a_second_sigterm_ends_at_once_and_still_keeps_what_is_left() {
    every_moment(|what, moment, peer| {
        let scratch = Scratch::new("second");
        let sink = bring_to(what, moment, peer, spool_of(&scratch));
        let sinks = Sinks::new(vec![sink]);
        let start = now();
        let counts = std::thread::scope(|scope| {
            let ending = scope.spawn(|| sinks.finish(Duration::from_secs(3600)));
            sinks.abort();
            examined(what, ending.join().unwrap().remove(0).1)
        });
        assert!(start.elapsed() < BUSY, "{what}: {:?}", start.elapsed());
        assert_eq!(counts.ledger.delivered + counts.ledger.spooled, moment.records() as u64, "{what}: {counts:?}");
    });
}

#[test]
fn sigterm_without_a_spool_counts_what_is_left_as_dropped_at_shutdown() {
    every_moment(|what, moment, peer| {
        if moment == Moment::Spooling {
            return;
        }
        let sink = bring_to(what, moment, peer, UndeliveredPolicy::default());
        let counts = finish(what, sink, Duration::from_millis(100));
        let lost = counts.dropped[podtap::sink::DropReason::Shutdown as usize];
        assert_eq!((counts.ledger.delivered + lost, counts.ledger.dropped), (300, lost), "{what}");
    });
}
