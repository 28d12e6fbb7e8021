//! One suite over all sinks: the same faults, the same expectations. A sink takes part by a `Peer`: how to start it, and
//! a well-behaved server of its protocol; the network's faults are `door`'s.
//!
//! Expected of each, under each fault: the ledger adds up at every moment; when the fault is over everything arrives,
//! in order, nothing twice but what was in flight; a shutdown in it ends within the grace time, and what was not
//! delivered is in the spool, or counted as dropped where there is none.

mod door;
pub(crate) mod line;
mod peers;
mod servers;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use podtap::flow::Timestamp;
use podtap::sink::dead_letter::DeadLetters;
use podtap::sink::spool::{Fsync, SpoolOptions};
use podtap::sink::{
    Backoff, BatchLimits, Block, Options, Piece, QueueLimits, SinkCounts, SinkHandle, Sinks, Undelivered, WhenFull,
};

/// What is wrong with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Healthy,
    /// Nobody listens; or a path that cannot be opened.
    Refuses,
    /// Connections are taken, bytes are read, nothing is answered.
    Hangs,
    /// The connection ends some hundred bytes into a batch.
    ClosesMidBatch,
    /// The server gets everything; the connection ends with its first answer.
    LosesAnswers,
    /// It is only slow.
    ReadsSlowly,
    /// Bytes come back that are no answer.
    TalksNonsense,
}

impl Fault {
    const NETWORK: [Self; 6] =
        [Self::Refuses, Self::Hangs, Self::ClosesMidBatch, Self::LosesAnswers, Self::ReadsSlowly, Self::TalksNonsense];

    /// Whether nothing gets through as long as it lasts.
    fn blocks(self) -> bool {
        !matches!(self, Self::Healthy | Self::ReadsSlowly)
    }
}

/// What a server does with the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// Stores every other record, says so, and then behaves.
    TakesHalf,
    /// Stores every other record, refuses the others for good, and then behaves.
    RefusesHalf,
}

/// One sink and its server.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;
    /// What can go wrong with it.
    fn faults(&self) -> &'static [Fault];
    /// Whether delivered is stored, or only sent.
    fn acknowledges(&self) -> bool;
    /// Whether single records can be taken or refused.
    fn answers_each(&self) -> bool;
    /// A record as the sink takes it.
    fn body(&self, message: &str) -> Vec<u8>;
    fn set(&mut self, fault: Fault);
    fn behave(&mut self, behaviour: Behaviour);
    /// Starts the sink, with `concurrency` deliveries at once.
    fn spawn(&self, concurrency: usize, options: Options, undelivered: Undelivered) -> SinkHandle;
    /// Starts the sink towards a name that does not exist; `None` where there are no names.
    fn spawn_astray(&self, options: Options, undelivered: Undelivered) -> Option<SinkHandle>;
    /// Ids of the records the target has stored, in order.
    fn got(&self) -> Vec<String>;
}

/// Ids are found in whatever bytes a protocol makes of a record.
pub(crate) fn ids_in(bytes: &[u8]) -> Vec<String> {
    let text: String = bytes.iter().map(|byte| *byte as char).collect();
    let mut ids = Vec::new();
    for part in text.split("<id-").skip(1) {
        ids.extend(part.split_once('>').map(|(digits, _)| format!("id-{digits}")));
    }
    ids
}

pub(crate) fn id(n: usize) -> String {
    format!("id-{n:06}")
}

/// Records as lines of JSON.
pub(crate) fn piece(numbers: std::ops::Range<usize>) -> Piece {
    piece_of(numbers, |message| format!("{{\"message\":\"{message}\"}}\n").into_bytes())
}

fn piece_of(numbers: std::ops::Range<usize>, body: impl Fn(&str) -> Vec<u8>) -> Piece {
    let mut block = Block::default();
    for n in numbers {
        block.push(|out| {
            out.extend_from_slice(&body(&format!("<{}>", id(n))));
            (id(n).as_str().into(), Timestamp(1_700_000_000_000_000_000 + n as i64))
        });
    }
    Piece::whole(Arc::new(block))
}

const BATCH: usize = 50;
const OPTIONS: Options = Options {
    queue: QueueLimits { records: 5000, bytes: 8 << 20 },
    when_full: WhenFull::Drop,
    batch: BatchLimits { records: BATCH, bytes: 1 << 20, age: Duration::ZERO },
    backoff: Backoff { first: Duration::from_millis(5), most: Duration::from_millis(40) },
};

/// A directory of this test's own, gone at its end.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("podtap-compliance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn spool(&self) -> SpoolOptions {
        let directory = self.0.join("spool");
        SpoolOptions { directory, max_bytes: 16 << 20, fsync: Fsync::Segment, encoding: "test".into() }
    }

    fn undelivered(&self) -> Undelivered {
        Undelivered { spool: Some(self.spool()), dead_letters: None }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[allow(clippy::disallowed_methods, reason = "how long a shutdown takes is what is tested")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Looks at the ledger until `done`; it must add up each time.
fn watch(what: &str, sink: &SinkHandle, done: impl Fn(&SinkCounts) -> bool) -> SinkCounts {
    let start = now();
    loop {
        let counts = sink.counts();
        assert_eq!(counts.ledger.imbalance(), None, "{what}");
        assert_eq!(counts.ledger.dropped, counts.dropped.iter().sum::<u64>(), "{what}");
        if done(&counts) {
            return counts;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: {counts:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn offer(peer: &dyn Peer, sink: &SinkHandle, numbers: std::ops::Range<usize>) {
    for start in numbers.clone().step_by(20) {
        sink.offer(piece_of(start..(start + 20).min(numbers.end), |message| peer.body(message)));
    }
}

fn finish(sink: SinkHandle, grace: Duration) -> SinkCounts {
    let (_, counts) = Sinks::new(vec![sink]).finish(grace).remove(0);
    assert_eq!(counts.ledger.imbalance(), None);
    assert_eq!((counts.ledger.queued, counts.ledger.in_flight), (0, 0));
    counts
}

/// All of `numbers` arrived, first copies in order, at most `twice` more than once.
fn assert_arrived(what: &str, peer: &dyn Peer, numbers: std::ops::Range<usize>, twice: usize) {
    if !peer.acknowledges() {
        // What its server's kernel had taken may be gone.
        return;
    }
    let got = peer.got();
    let mut seen = BTreeSet::new();
    let first: Vec<&String> = got.iter().filter(|id| seen.insert(*id)).collect();
    let expected: Vec<String> = numbers.map(id).collect();
    let wrong = first.iter().zip(&expected).position(|(got, expected)| *got != expected);
    assert_eq!((first.len(), wrong), (expected.len(), None), "{what}: missing, invented or out of order");
    assert!(got.len() - expected.len() <= twice, "{what}: {} twice", got.len() - expected.len());
}

fn every_peer(test: impl Fn(&str, &mut dyn Peer, Fault)) {
    for make in peers::ALL {
        let faults = make().faults();
        for fault in faults {
            let mut peer = make();
            let what = format!("{} {fault:?}", peer.name());
            test(&what, &mut *peer, *fault);
        }
    }
}

#[test]
fn when_a_fault_is_over_everything_arrives_in_order_and_only_what_was_in_flight_twice() {
    every_peer(|what, peer, fault| {
        let sink = peer.spawn(1, OPTIONS, Undelivered::default());
        offer(&*peer, &sink, 0..100);
        watch(what, &sink, |counts| counts.ledger.delivered == 100);
        peer.set(fault);
        offer(&*peer, &sink, 100..400);
        watch(what, &sink, |counts| !fault.blocks() || counts.failed_attempts >= 2);
        peer.set(Fault::Healthy);
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 400);
        assert_arrived(what, peer, 0..400, BATCH * counts.failed_attempts as usize);
        let counts = finish(sink, Duration::from_secs(5));
        assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (400, 0), "{what}");
    });
}

#[test]
fn a_shutdown_in_a_fault_ends_in_time_and_counts_what_is_left_as_dropped() {
    every_peer(|what, peer, fault| {
        let sink = peer.spawn(1, OPTIONS, Undelivered::default());
        peer.set(fault);
        offer(&*peer, &sink, 0..300);
        watch(what, &sink, |counts| !fault.blocks() || counts.ledger.in_flight > 0);
        let start = now();
        let counts = finish(sink, Duration::from_millis(200));
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
        assert_eq!(counts.ledger.delivered + counts.ledger.dropped, 300, "{what}");
        assert!(
            !peer.acknowledges() || peer.got().len() as u64 >= counts.ledger.delivered,
            "{what}: delivered means stored"
        );
    });
}

#[test]
fn a_shutdown_in_a_fault_spools_what_is_left_and_the_next_run_delivers_it_first() {
    every_peer(|what, peer, fault| {
        let dir = Dir::new();
        peer.set(fault);
        let sink = peer.spawn(1, OPTIONS, dir.undelivered());
        offer(&*peer, &sink, 0..300);
        watch(what, &sink, |counts| !fault.blocks() || counts.failed_attempts >= 1);
        let start = now();
        let counts = finish(sink, Duration::from_millis(400));
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
        let (delivered, spooled) = (counts.ledger.delivered, counts.ledger.spooled);
        assert_eq!((delivered + spooled, counts.ledger.dropped), (300, 0), "{what}");
        peer.set(Fault::Healthy);
        let sink = peer.spawn(1, OPTIONS, dir.undelivered());
        offer(&*peer, &sink, 300..320);
        let second = watch(what, &sink, |counts| counts.ledger.delivered == spooled + 20);
        assert_eq!(second.ledger.recovered, spooled, "{what}");
        assert_arrived(what, peer, 0..320, BATCH * (counts.failed_attempts as usize + 1));
        assert_eq!(finish(sink, Duration::from_secs(5)).spooled_bytes, 0, "{what}");
    });
}

#[test]
fn a_target_that_restarts_again_and_again_loses_nothing() {
    for make in peers::ALL {
        let mut peer = make();
        let what = peer.name();
        let sink = peer.spawn(1, OPTIONS, Undelivered::default());
        for n in 0..10 {
            offer(&*peer, &sink, n * 100..(n + 1) * 100);
            watch(what, &sink, |counts| counts.ledger.delivered as usize > n * 100);
            peer.set(Fault::Refuses);
            peer.set(Fault::Healthy);
        }
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 1000);
        assert_arrived(what, &*peer, 0..1000, BATCH * 10);
        assert!(counts.failed_attempts <= 20, "{what}: {}", counts.failed_attempts);
        finish(sink, Duration::from_secs(5));
    }
}

#[test]
fn a_target_that_takes_only_a_part_gets_the_rest_again_and_nothing_twice() {
    for mut peer in peers::ALL.iter().map(|make| make()).filter(|peer| peer.answers_each()) {
        let what = peer.name();
        peer.behave(Behaviour::TakesHalf);
        let sink = peer.spawn(1, OPTIONS, Undelivered::default());
        sink.offer(piece(0..120));
        watch(what, &sink, |counts| counts.ledger.delivered == 120);
        let mut got = peer.got();
        got.sort();
        assert!(got.into_iter().eq((0..120).map(id)), "{what}");
        finish(sink, Duration::from_secs(5));
    }
}

#[test]
fn what_a_target_refuses_for_good_is_counted_by_reason_and_kept_as_a_dead_letter() {
    for mut peer in peers::ALL.iter().map(|make| make()).filter(|peer| peer.answers_each()) {
        let (what, dir) = (peer.name(), Dir::new());
        let path = dir.0.join("dead/letters.jsonl");
        peer.behave(Behaviour::RefusesHalf);
        let letters = DeadLetters::start(path.clone()).unwrap();
        let undelivered = Undelivered { spool: None, dead_letters: Some(letters.clone()) };
        let sink = peer.spawn(1, OPTIONS, undelivered);
        sink.offer(piece(0..120));
        watch(what, &sink, |counts| counts.ledger.delivered == 95);
        let all = Sinks::new(vec![sink]).with_dead_letters(Some(letters)).finish(Duration::from_secs(5));
        let (ours, theirs) = (&all[0].1, &all[1].1);
        assert_eq!((ours.ledger.rejected, theirs.ledger.delivered, theirs.ledger.offered), (25, 25, 25), "{what}");
        assert_eq!(ours.rejected.iter().map(|(_, n)| n).sum::<u64>(), 25, "{what}");
        assert_eq!(ours.rejected.iter().count(), 1, "{what}");
        let text = std::fs::read_to_string(&path).unwrap();
        for (line, n) in text.lines().zip((1..50).step_by(2)) {
            let letter: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((letter["id"].as_str(), letter["sink"].as_str()), (Some(&*id(n)), Some(what)));
            assert!(!letter["reason"].as_str().unwrap().is_empty());
            assert_eq!(letter["record"]["message"], format!("<{}>", id(n)));
        }
        assert_eq!(text.lines().count(), 25, "{what}");
    }
}

#[test]
fn a_name_that_is_gone_is_a_fault_like_another() {
    for peer in peers::ALL.iter().map(|make| make()) {
        let (what, dir) = (peer.name(), Dir::new());
        let Some(sink) = peer.spawn_astray(OPTIONS, dir.undelivered()) else { continue };
        offer(&*peer, &sink, 0..100);
        watch(what, &sink, |counts| counts.failed_attempts >= 1);
        let start = now();
        let counts = finish(sink, Duration::from_millis(400));
        assert!(start.elapsed() < Duration::from_secs(2), "{what}: {:?}", start.elapsed());
        assert_eq!((counts.ledger.spooled, counts.ledger.dropped), (100, 0), "{what}");
    }
}

#[test]
fn several_deliveries_at_once_lose_nothing_and_twice_goes_at_most_what_was_in_flight() {
    for make in peers::ALL {
        let (mut peer, dir) = (make(), Dir::new());
        let what = peer.name();
        peer.set(Fault::Refuses);
        let sink = peer.spawn(4, OPTIONS, dir.undelivered());
        // More than half of the queue: the oldest go to disk.
        offer(&*peer, &sink, 0..4000);
        watch(what, &sink, |counts| counts.ledger.spooled > 0 && counts.failed_attempts > 4);
        peer.set(Fault::Healthy);
        let counts = watch(what, &sink, |counts| counts.ledger.delivered == 4000);
        let mut got = peer.got();
        if !peer.acknowledges() {
            continue;
        }
        let copies = got.len() - 4000;
        got.sort();
        got.dedup();
        assert!(got.into_iter().eq((0..4000).map(id)), "{what}");
        assert!(copies <= BATCH * counts.failed_attempts as usize, "{what}: {copies}");
        let start = now();
        assert_eq!(finish(sink, Duration::from_secs(20)).spooled_bytes, 0, "{what}");
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: a worker that has nothing to do must end");
    }
}
