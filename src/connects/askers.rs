//! Who asked for which connection and when, by the connects that were read: one thread writes, capture threads ask.
//!
//! Ports are used again, so addresses and ports alone prove nothing. A connection is a process's where its SYN was captured
//! between the moment at which the process asked and the moment at which the kernel knew the result. No two sockets of one
//! network namespace have the same ends at the same time. Guesses nothing: two that fit are none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use compact_str::CompactString;
use dashmap::DashMap;

use crate::flow::{Endpoint, FiveTuple, IpProtocol, Timestamp};
use crate::record::{ConnectRecord, Process, Record, SeenBy};

/// What is remembered at most, bytes: some 7,000 connects of usual processes.
const MAX_BYTES: usize = 4 << 20;
/// How long a connect is remembered, nanoseconds.
const MEMORY: u64 = 3_600_000_000_000;
/// What a connect takes besides its process: its place in the table and in the order of their age.
const ENTRY_BYTES: usize = 256;
/// Times of frames may be cut to microseconds.
const FRAME_CLOCK: u64 = 1_000;

/// Which connects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskerNamespaces {
    /// Inode of the network namespace that is captured, where it is known.
    pub own: Option<u32>,
    /// Whether connects of others are read, too.
    pub all: bool,
}

/// Asks who asked. Clones share what there is.
#[derive(Clone, Debug)]
pub struct ConnectionAskers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    namespaces: AskerNamespaces,
    connects: DashMap<FiveTuple, Vec<AskedConnect>, foldhash::fast::RandomState>,
    /// Nanoseconds; every connect whose result was known by then was read.
    read_up_to: AtomicI64,
}

/// One connect.
#[derive(Clone, Debug)]
struct AskedConnect {
    /// Between these its SYN was sent.
    span: [Timestamp; 2],
    netns: Option<u32>,
    process: Arc<Process>,
}

/// Who asked for a connection.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FoundAsker {
    /// This process.
    One(Arc<Process>),
    /// Several could have.
    Several,
    /// None that was read.
    Unknown,
}

/// Writes; when it is dropped, nothing more will come.
#[derive(Debug)]
pub struct AskerBook {
    shared: Arc<Shared>,
    /// The oldest first.
    order: VecDeque<AskerLine>,
    bytes: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct AskerLine {
    ends: FiveTuple,
    from: Timestamp,
    to: Timestamp,
    bytes: usize,
}

impl AskerBook {
    /// An empty one.
    pub fn new(namespaces: AskerNamespaces) -> Self {
        let (connects, read_up_to) = (DashMap::default(), AtomicI64::new(i64::MIN));
        let shared = Arc::new(Shared { namespaces, connects, read_up_to });
        Self { shared, order: VecDeque::new(), bytes: 0, forgotten: 0 }
    }

    /// For those who ask.
    pub fn askers(&self) -> ConnectionAskers {
        ConnectionAskers(Arc::clone(&self.shared))
    }

    /// Notes the connects of these records. Their times may be off by `error` nanoseconds.
    pub fn note(&mut self, records: &[Record], error: u64) {
        for record in records {
            if let Record::Connect(connect) = record {
                self.note_one(connect, error);
            }
        }
    }

    /// Every connect whose result was known at this time was noted.
    pub fn has_read_up_to(&mut self, at: Timestamp) {
        self.shared.read_up_to.store(at.0, Ordering::Release);
        while self.order.front().is_some_and(|line| at.since(line.to) >= MEMORY)
            && let Some(line) = self.order.pop_front()
        {
            self.forget(&line);
        }
    }

    /// Connects that were forgotten to keep the limit.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn note_one(&mut self, connect: &ConnectRecord, error: u64) {
        let source = connect.source.zip(connect.source_port).map(|(ip, port)| Endpoint { ip, port });
        let (Some(source), Some(end), Some(process)) = (source, connect.end, &connect.process) else { return };
        if connect.protocol != IpProtocol::TCP || connect.seen_by != SeenBy::Process {
            return;
        }
        let ends = FiveTuple { source, destination: connect.destination };
        let error = error.saturating_add(FRAME_CLOCK);
        let (from, to) = (connect.start.minus(error), end.plus(error));
        let asked = AskedConnect { span: [from, to], netns: connect.netns, process: Arc::clone(process) };
        let bytes = ENTRY_BYTES + bytes_of(process);
        self.shared.connects.entry(ends).or_default().push(asked);
        self.order.push_back(AskerLine { ends, from, to, bytes });
        self.bytes += bytes;
        while self.bytes > MAX_BYTES
            && let Some(line) = self.order.pop_front()
        {
            self.forget(&line);
            self.forgotten += 1;
        }
    }

    fn forget(&mut self, line: &AskerLine) {
        self.bytes = self.bytes.saturating_sub(line.bytes);
        self.shared.connects.remove_if_mut(&line.ends, |_, all| {
            if let Some(at) = all.iter().position(|asked| asked.span == [line.from, line.to]) {
                all.swap_remove(at);
            }
            all.is_empty()
        });
    }
}

impl Drop for AskerBook {
    fn drop(&mut self) {
        self.shared.read_up_to.store(i64::MAX, Ordering::Release);
    }
}

impl ConnectionAskers {
    /// Every connect whose result was known by then was read.
    pub fn read_up_to(&self) -> Timestamp {
        Timestamp(self.0.read_up_to.load(Ordering::Acquire))
    }

    /// Whether connects of other network namespaces are read, too.
    pub(super) fn watches_all(&self) -> bool {
        self.0.namespaces.all
    }

    /// Who asked for the connection between these ends whose SYN was captured then.
    pub(super) fn of(&self, ends: &FiveTuple, syn: Timestamp) -> FoundAsker {
        let Some(connects) = self.0.connects.get(ends) else { return FoundAsker::Unknown };
        // Each namespace has its own loopback.
        let own = self.0.namespaces.own;
        let is_near = |asked: &&AskedConnect| !ends.destination.ip.is_loopback() || asked.netns == own || own.is_none();
        let fits = |asked: &&AskedConnect| asked.span[0] <= syn && syn <= asked.span[1];
        let mut found = connects.iter().filter(is_near).filter(fits);
        match (found.next(), found.next()) {
            (Some(asked), None) => FoundAsker::One(Arc::clone(&asked.process)),
            (Some(_), Some(_)) => FoundAsker::Several,
            (None, _) => FoundAsker::Unknown,
        }
    }
}

/// What a process takes, nearly.
fn bytes_of(process: &Process) -> usize {
    let heap = |text: &CompactString| if text.is_heap_allocated() { text.capacity() } else { 0 };
    let texts = [process.executable.as_ref(), process.user_name.as_ref(), process.hostname.as_ref()];
    let container = process.container.iter().map(|it| {
        let names = [it.name.as_ref(), it.runtime.as_ref(), it.pod_uid.as_ref()];
        heap(&it.id) + names.into_iter().flatten().map(heap).sum::<usize>()
    });
    let args = process.args.iter().map(|arg| size_of::<CompactString>() + heap(arg));
    size_of::<Process>()
        + heap(&process.name)
        + texts.into_iter().flatten().map(heap).sum::<usize>()
        + container.sum::<usize>()
        + args.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::connect;

    /// A connect of this process from port 51234, within a span of seconds.
    fn of(pid: u32, [from, to]: [i64; 2]) -> ConnectRecord {
        let mut it = connect();
        it.process = Some(Arc::new(Process { pid, ..Process::default() }));
        (it.start, it.end) = (at(from), Some(at(to)));
        it
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000_000)
    }

    fn ends() -> FiveTuple {
        let it = connect();
        FiveTuple { source: Endpoint::new([10, 61, 1, 2], 51234), destination: it.destination }
    }

    fn noted(connects: &[ConnectRecord], namespaces: AskerNamespaces) -> (AskerBook, ConnectionAskers) {
        let mut book = AskerBook::new(namespaces);
        book.note(&connects.iter().cloned().map(Record::from).collect::<Vec<_>>(), 0);
        let askers = book.askers();
        (book, askers)
    }

    fn pid(asker: FoundAsker) -> Result<u32, &'static str> {
        match asker {
            FoundAsker::One(process) => Ok(process.pid),
            FoundAsker::Several => Err("several"),
            FoundAsker::Unknown => Err("unknown"),
        }
    }

    #[test]
    fn a_port_that_is_used_again_is_of_who_asked_when_the_syn_was_sent_and_of_no_one_else() {
        // Failed, then two others one after the other.
        let (_book, askers) = noted(&[of(1, [10, 11]), of(2, [20, 21]), of(3, [30, 31])], AskerNamespaces::default());
        for (syn, expected) in [
            (9, Err("unknown")),
            (10, Ok(1)),
            (11, Ok(1)),
            (12, Err("unknown")),
            (19, Err("unknown")),
            (20, Ok(2)),
            (25, Err("unknown")),
            (31, Ok(3)),
            (99, Err("unknown")),
        ] {
            assert_eq!(pid(askers.of(&ends(), at(syn))), expected, "{syn}");
        }
        let others = [
            FiveTuple { source: Endpoint { port: 51235, ..ends().source }, ..ends() },
            FiveTuple { destination: Endpoint { port: 81, ..ends().destination }, ..ends() },
            ends().reversed(),
        ];
        for other in others {
            assert_eq!(pid(askers.of(&other, at(10))), Err("unknown"), "{other:?}");
        }
    }

    #[test]
    fn two_namespaces_with_the_same_ends_at_the_same_time_are_no_proof() {
        let both = [of(1, [10, 12]), of(2, [11, 13])];
        let (_book, askers) = noted(&both, AskerNamespaces { own: Some(7), all: true });
        let found = [10, 11, 12, 13].map(|syn| pid(askers.of(&ends(), at(syn))));
        assert_eq!(found, [Ok(1), Err("several"), Err("several"), Ok(2)]);
    }

    #[test]
    fn loopback_is_each_namespaces_own() {
        let lo = |pid, netns| {
            let ip = std::net::IpAddr::from([127, 0, 0, 1]);
            let destination = Endpoint { ip, port: 80 };
            ConnectRecord { source: Some(ip), destination, netns: Some(netns), ..of(pid, [10, 12]) }
        };
        let (_book, askers) = noted(&[lo(1, 7), lo(2, 8)], AskerNamespaces { own: Some(7), all: true });
        let ends =
            FiveTuple { source: Endpoint::new([127, 0, 0, 1], 51234), destination: Endpoint::new([127, 0, 0, 1], 80) };
        assert_eq!(pid(askers.of(&ends, at(11))), Ok(1));
    }

    #[test]
    fn what_is_no_connect_of_tcp_with_its_ends_and_its_time_names_no_one() {
        let whole = of(1, [10, 12]);
        let lacking = [
            ConnectRecord { protocol: IpProtocol::UDP, ..whole.clone() },
            ConnectRecord { end: None, ..whole.clone() },
            ConnectRecord { source: None, ..whole.clone() },
            ConnectRecord { source_port: None, ..whole.clone() },
            ConnectRecord { process: None, ..whole.clone() },
            ConnectRecord { seen_by: SeenBy::Packets, ..whole },
        ];
        let (book, askers) = noted(&lacking, AskerNamespaces::default());
        assert_eq!((pid(askers.of(&ends(), at(11))), book.order.len()), (Err("unknown"), 0));
    }

    #[test]
    fn an_uncertain_clock_widens_the_span_by_as_much() {
        let mut book = AskerBook::new(AskerNamespaces::default());
        book.note(&[of(1, [10, 12]).into()], 500_000);
        let near = |nanos| pid(book.askers().of(&ends(), Timestamp(nanos)));
        assert_eq!(near(10_000_000_000 - 501_000), Ok(1));
        assert_eq!(near(10_000_000_000 - 501_001), Err("unknown"));
        assert_eq!(near(12_000_000_000 + 501_000), Ok(1));
    }

    #[test]
    fn the_oldest_make_room_within_the_limit_and_an_hour_is_remembered() {
        let mut book = AskerBook::new(AskerNamespaces::default());
        let askers = book.askers();
        for n in 0..100_000u32 {
            let mut it = of(n, [10, 12]);
            it.source_port = Some(n as u16);
            book.note(&[it.into()], 0);
            assert!(book.bytes <= MAX_BYTES);
        }
        let kept = book.order.len();
        assert_eq!(kept as u64 + book.forgotten(), 100_000);
        assert!(kept > 3_000 && book.shared.connects.len() == kept, "{kept}");
        book.has_read_up_to(at(12 + 3_599));
        assert_eq!(book.order.len(), kept);
        book.has_read_up_to(at(12 + 3_601));
        assert_eq!((book.order.len(), book.bytes, book.shared.connects.len()), (0, 0, 0));
        drop(book);
        assert_eq!(askers.read_up_to(), Timestamp(i64::MAX));
    }
}
