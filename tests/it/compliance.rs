//! One suite over all sinks: the same faults, the same expectations. A sink takes part by a `Peer`: how to start it, and
//! a well-behaved server of its protocol. The network's faults are `door`'s, those of certificates `tls`'s.
//!
//! Expected of each, under each fault: the ledger adds up at every moment anybody looks, and the queue keeps its bounds.
//! When the fault is over everything arrives, in order, nothing twice but what was in flight. A shutdown in it ends
//! within the grace time; what was not delivered is in the spool, or counted as dropped where there is none.
//!
//! | fault | file |
//! |---|---|
//! | refuses, never accepts, hangs, closes within a batch, loses answers, reads slowly, talks nonsense, restarts, name gone | `faults` |
//! | takes or refuses only a part | `faults` |
//! | certificate expired, of another name, of another authority; clear text where TLS is expected | `tls` |
//! | an HTTP proxy on the way, and one that refuses | `proxies` |
//! | full disk, under the spool and under the file | `disk` |
//! | SIGTERM, once and twice, when idle, connecting, in flight, in backoff, while spooling | `shutdown` |

#[cfg(feature = "es")]
pub(crate) mod bulk;
mod disk;
pub(crate) mod door;
mod faults;
pub(crate) mod line;
mod peers;
mod proxies;
pub(crate) mod servers;
mod shutdown;
pub(crate) mod tls;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use podtap::sink::connect::{ProxySettings, TlsOptions};
use podtap::sink::spool::{Fsync, SpoolMode, SpoolOptions};
use podtap::sink::{SinkCounts, SinkHandle, SinkOptions, UndeliveredPolicy};

use crate::feed::{self, BATCH, BUSY, Body, OPTIONS, id, piece};
use crate::servers::Scratch;

/// What is wrong with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Healthy,
    /// No one listens; or a path that cannot be opened.
    Refuses,
    /// No one answers: a connection neither comes about nor fails.
    NeverAccepts,
    /// Connections are taken, bytes are read, nothing is answered; or bytes are not even read.
    Hangs,
    /// The connection ends some hundred bytes into a batch.
    ClosesMidBatch,
    /// The server gets everything; the connection ends with its first answer.
    LosesAnswers,
    /// It is only slow.
    ReadsSlowly,
    /// Bytes come back that are no answer.
    TalksNonsense,
    /// There is no room.
    DiskFull,
}

impl Fault {
    /// Whether nothing gets through as long as it lasts.
    fn blocks(self) -> bool {
        !matches!(self, Self::Healthy | Self::ReadsSlowly)
    }

    /// Whether only time shows that something is wrong.
    fn is_silent(self) -> bool {
        matches!(self, Self::NeverAccepts | Self::Hangs | Self::TalksNonsense)
    }
}

/// What a server does with the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    /// Stores a half of it, says which, and then behaves.
    TakesHalf,
    /// Stores every other record, refuses the others for good, and then behaves.
    RefusesHalf,
}

/// How long a sink waits for a server that may never answer. A busy machine may keep one that does from it as long, so what
/// is expected of attempts and copies is said by the ledger.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// How a sink gets to its server.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    host: String,
    port: u16,
    tls: Option<TlsOptions>,
    proxies: ProxySettings,
    /// How long it waits for a step.
    patience: Duration,
}

impl Way {
    fn to(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            tls: None,
            proxies: ProxySettings::default(),
            patience: IMPATIENCE,
        }
    }
}

/// One sink and its server.
pub(crate) trait Peer: Send {
    fn name(&self) -> &'static str;
    /// What can go wrong with it.
    fn faults(&self) -> &'static [Fault];
    /// Whether delivered is stored, or only sent.
    fn acknowledges(&self) -> bool;
    /// Whether the same record again changes nothing.
    fn stores_once(&self) -> bool {
        false
    }
    /// Whether it can be repeated: what a pipe takes, it takes.
    fn retries(&self) -> bool {
        true
    }
    /// What its server can do with a part of a batch.
    fn behaviours(&self) -> &'static [Behaviour] {
        &[]
    }
    fn body(&self) -> Body;
    fn set(&mut self, fault: Fault);
    /// From now on sinks wait for an answer however long it takes: none will be missing.
    fn be_patient(&mut self) {}
    fn behave(&mut self, _: Behaviour) {}
    /// Starts the sink, with `concurrency` deliveries at once.
    fn spawn(&self, concurrency: usize, options: SinkOptions, undelivered: UndeliveredPolicy) -> SinkHandle;
    /// The same on another way; `None` where there are no ways.
    fn spawn_on(&self, _: &Way, _: UndeliveredPolicy) -> Option<SinkHandle> {
        None
    }
    /// Where its server is, without the door; `None` where nothing is encrypted.
    fn backend(&self) -> Option<SocketAddr> {
        None
    }
    /// Ids of the records the target has stored, in order.
    fn got(&self) -> Vec<String>;
}

/// Ids are found in whatever bytes a protocol makes of a record.
pub(crate) fn ids_in(bytes: &[u8]) -> Vec<String> {
    let text: String = bytes.iter().map(|byte| *byte as char).collect();
    let digits =
        |part: &str| part.get(..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned);
    text.split("id-").skip(1).filter_map(digits).map(|digits| format!("id-{digits}")).collect()
}

/// Not synced: a disk that takes its time is not what is tested here.
fn spool_in(directory: &Path) -> UndeliveredPolicy {
    let directory = directory.to_owned();
    let spool = SpoolOptions {
        directory,
        max_bytes: 16 << 20,
        mode: SpoolMode::Overflow,
        fsync: Fsync::None,
        encoding: "test".into(),
    };
    UndeliveredPolicy { spool: Some(spool), dead_letters: None }
}

/// Looks at the ledger and at the bounds until `done`.
fn watch(what: &str, sink: &SinkHandle, done: impl Fn(&SinkCounts) -> bool) -> SinkCounts {
    feed::watch(what, sink, |counts| {
        assert!(counts.ledger.queued <= OPTIONS.queue.records as u64, "{what}: {counts:?}");
        assert!(counts.queued_bytes <= OPTIONS.queue.bytes as u64, "{what}: {counts:?}");
        done(counts)
    })
}

/// Waits until the sink has noticed what is wrong, twice where it tries twice.
fn feel(what: &str, peer: &dyn Peer, fault: Fault, sink: &SinkHandle) -> SinkCounts {
    watch(what, sink, |counts| match (fault.blocks(), peer.retries()) {
        (false, _) => true,
        (true, true) => counts.failed_attempts() >= 2,
        (true, false) => counts.ledger.in_flight > 0,
    })
}

/// In blocks as a pipeline makes them.
fn offer(peer: &dyn Peer, sink: &SinkHandle, numbers: std::ops::Range<usize>) {
    for start in numbers.clone().step_by(20) {
        sink.offer(piece(start..(start + 20).min(numbers.end), peer.body()));
    }
}

/// A shutdown with so much time; it must not take much longer.
fn finish(what: &str, sink: SinkHandle, grace: Duration) -> SinkCounts {
    let start = feed::now();
    let counts = feed::finish(sink, grace);
    assert!(start.elapsed() < grace + BUSY, "{what}: {:?}", start.elapsed());
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
    let (copies, most) = (got.len() - expected.len(), if peer.stores_once() { 0 } else { twice });
    assert!(copies <= most, "{what}: {copies} twice");
}

/// Runs `test` with every sink, each on its own thread: most of the time they wait.
fn every_peer(test: impl Fn(&str, Box<dyn Peer>) + Sync) {
    std::thread::scope(|scope| {
        for make in peers::ALL {
            scope.spawn(|| {
                let peer = make();
                test(peer.name(), peer);
            });
        }
    });
}

/// Runs `test` with every sink in every fault it can meet.
fn every_fault(test: impl Fn(&str, &mut dyn Peer, Fault) + Sync) {
    std::thread::scope(|scope| {
        let test = &test;
        for make in peers::ALL {
            for fault in make().faults() {
                scope.spawn(move || {
                    let mut peer = make();
                    if !fault.is_silent() {
                        peer.be_patient();
                    }
                    test(&format!("{} {fault:?}", peer.name()), &mut *peer, *fault);
                });
            }
        }
    });
}

/// This many records may come a second time.
fn in_flight(counts: &SinkCounts) -> usize {
    BATCH * counts.failed_attempts() as usize
}

fn spool_of(scratch: &Scratch) -> UndeliveredPolicy {
    spool_in(&scratch.path("spool"))
}
