//! One packet passes several interfaces of a node: the pod's own, a bridge, the uplink. Decides which of its copies is
//! recorded, and which connections are left out where there is more traffic than the budget allows.
//!
//! Owns a table of connections and their interfaces, nothing of their content. A packet that is translated on its way has
//! other addresses then, so it belongs to another connection here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use crate::flow::{ConnKey, Direction, FiveTuple, IpProtocol, Scope, Timestamp};
use crate::glob::Glob;
use crate::ledger::Skip;

/// After this number of packets on other interfaces, and none on its own for this time, a direction has moved.
const MOVED_AFTER: u32 = 8;
const SILENT: u64 = 1_000_000_000;
/// The span in which packets are counted for the budget.
const SECOND: u64 = 1_000_000_000;
/// All connections.
const ALL: f64 = 1.0;
/// The smallest part of the connections that is recorded, whatever the budget.
const LEAST: f64 = 1.0 / 1024.0;
/// How much more is recorded in each second in which the budget holds.
const RECOVERY: f64 = 1.25;

/// Parts of the table, each behind a lock.
const SHARDS: usize = 16;

/// What is recorded of several interfaces.
#[derive(Clone, Debug)]
pub struct CopyConfig {
    /// NODE_INTERFACES: the first pattern that fits is the interface's rank; one that fits none is left out.
    pub interfaces: Vec<Glob>,
    /// NODE_PACKETS, of one capture thread.
    pub packets_per_second: Option<u64>,
}

/// Where one packet was seen.
#[derive(Clone, Copy, Debug)]
pub struct PacketPassing<'a> {
    /// Sender and receiver.
    pub tuple: FiveTuple,
    /// The protocol.
    pub protocol: IpProtocol,
    /// TCP: SYN is set.
    pub opens: bool,
    /// The interface.
    pub interface: Option<&'a Arc<str>>,
    /// When.
    pub at: Timestamp,
}

/// The connections of a node. All capture threads share it: a packet in a tunnel may come to another thread than its copy
/// outside of it.
#[derive(Debug)]
pub struct NodePassages {
    shards: [Mutex<Shard>; SHARDS],
    /// Of one shard.
    most: usize,
}

/// Connections with a packet since the maps were changed last, and older ones. Together they are at most `most`.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<PassageKey, PassageEntry, RandomState>,
    old: HashMap<PassageKey, PassageEntry, RandomState>,
}

/// What one capture thread asks.
#[derive(Debug)]
pub struct CopyDetector {
    config: CopyConfig,
    passages: Arc<NodePassages>,
    ranks: HashMap<Arc<str>, Option<u8>>,
    budget: Budget,
}

type PassageKey = (ConnKey, IpProtocol);

#[derive(Debug, Default)]
struct PassageEntry {
    left_out: bool,
    /// Of what the lower and the higher end sends.
    homes: [Option<Home>; 2],
}

/// Where a direction of a connection is recorded.
#[derive(Debug)]
struct Home {
    interface: Arc<str>,
    rank: u8,
    last: Timestamp,
    /// Packets on other interfaces since then.
    elsewhere: u32,
}

/// Interfaces whose rank is remembered; names come and go with pods.
const MAX_RANKS: usize = 4096;

impl NodePassages {
    /// None known, and never more than `most`.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { shards: Default::default(), most: most / SHARDS })
    }

    /// Connections remembered.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards.map(|shard| shard.young.len() + shard.old.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Does something with the connection; nothing where there is none of them.
    fn with<T>(
        &self,
        key: PassageKey,
        new: impl FnOnce() -> PassageEntry,
        act: impl FnOnce(&mut PassageEntry) -> T,
    ) -> Option<T> {
        let shard = self.shards.get(key.0.spread(1) as usize % SHARDS)?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(shard.entry(key, self.most, new)))
    }
}

impl Shard {
    fn entry(&mut self, key: PassageKey, most: usize, new: impl FnOnce() -> PassageEntry) -> &mut PassageEntry {
        if !self.young.contains_key(&key) {
            if self.young.len() >= (most / 2).max(1) {
                self.old = std::mem::take(&mut self.young);
            }
            if let Some(known) = self.old.remove(&key) {
                self.young.insert(key, known);
            }
        }
        self.young.entry(key).or_insert_with(new)
    }
}

impl CopyDetector {
    /// For one more thread that shares `passages`.
    pub fn sharing(config: CopyConfig, passages: &Arc<NodePassages>) -> Self {
        let budget = Budget { most: config.packets_per_second, share: ALL, taken: 0, since: None };
        Self { config, passages: Arc::clone(passages), ranks: HashMap::new(), budget }
    }

    /// Why the packet is not recorded, if it is not. Where the interface is not known, there are no copies.
    pub fn leaves_out(&mut self, packet: &PacketPassing<'_>) -> Option<Skip> {
        let interface = packet.interface?;
        let Some(rank) = self.rank(interface) else { return Some(Skip::OtherInterface) };
        let (ends, from) = ConnKey::of(packet.tuple);
        let key = (ends.within(Scope::default()), packet.protocol);
        self.budget.pass(packet.at);
        let share = self.budget.share;
        let new = || PassageEntry { left_out: !is_of_share(&key, share), ..PassageEntry::default() };
        let left_out = self.passages.with(key, new, |entry| entry.leaves_out(from, interface, rank, packet)).flatten();
        self.budget.taken += u64::from(left_out.is_none());
        left_out
    }

    fn rank(&mut self, interface: &Arc<str>) -> Option<u8> {
        if let Some(rank) = self.ranks.get(interface) {
            return *rank;
        }
        let fits = |glob: &Glob| glob.matches(interface.as_bytes());
        let rank = self.config.interfaces.iter().position(fits).map(|rank| u8::try_from(rank).unwrap_or(u8::MAX));
        if self.ranks.len() >= MAX_RANKS {
            self.ranks.clear();
        }
        self.ranks.insert(Arc::clone(interface), rank);
        rank
    }
}

impl PassageEntry {
    fn leaves_out(
        &mut self,
        from: Direction,
        interface: &Arc<str>,
        rank: u8,
        packet: &PacketPassing<'_>,
    ) -> Option<Skip> {
        let [low, high] = &mut self.homes;
        match (self.left_out, from) {
            (true, _) => Some(Skip::Sampled),
            (false, from) => (!takes(from.pick(low, high), interface, rank, packet)).then_some(Skip::Repeated),
        }
    }
}

/// Whether this copy counts. The first interface that shows a direction is its home. A SYN that comes by a preferred one
/// moves it there: nothing else is under way then that could count twice.
fn takes(home: &mut Option<Home>, interface: &Arc<str>, rank: u8, packet: &PacketPassing<'_>) -> bool {
    let here = Home { interface: Arc::clone(interface), rank, last: packet.at, elsewhere: 0 };
    let Some(known) = home else {
        *home = Some(here);
        return true;
    };
    if *known.interface == **interface {
        (known.last, known.elsewhere) = (packet.at, 0);
        return true;
    }
    if packet.opens && rank < known.rank {
        *home = Some(here);
        return false;
    }
    known.elsewhere = known.elsewhere.saturating_add(1);
    let moved = known.elsewhere >= MOVED_AFTER && packet.at.since(known.last) >= SILENT;
    if moved {
        *home = Some(here);
    }
    moved
}

/// How many packets are looked into, and the part of new connections that this allows.
#[derive(Debug)]
struct Budget {
    most: Option<u64>,
    share: f64,
    taken: u64,
    since: Option<Timestamp>,
}

impl Budget {
    #[inline]
    fn pass(&mut self, at: Timestamp) {
        let (Some(most), Some(since)) = (self.most, self.since) else {
            self.since = Some(at);
            return;
        };
        let passed = at.since(since);
        // A clock that was set back begins a new second.
        if passed < SECOND && at >= since {
            return;
        }
        let rate = self.taken as f64 * SECOND as f64 / passed.max(SECOND) as f64;
        let wanted = if rate > most as f64 { self.share * most as f64 / rate } else { self.share * RECOVERY };
        (self.share, self.taken, self.since) = (wanted.clamp(LEAST, ALL), 0, Some(at));
    }
}

/// The same on every node and in every thread, so that both ends of a connection agree.
fn is_of_share((ends, protocol): &PassageKey, share: f64) -> bool {
    share >= ALL || (ends.spread(u64::from(protocol.0)) as f64) < share * 2f64.powi(64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;

    fn copies(patterns: &[&str], packets_per_second: Option<u64>) -> CopyDetector {
        let interfaces = patterns.iter().map(|pattern| Glob::new(pattern).unwrap()).collect();
        CopyDetector::sharing(CopyConfig { interfaces, packets_per_second }, &NodePassages::new(1024))
    }

    fn tuple(port: u16) -> FiveTuple {
        FiveTuple { source: Endpoint::new([10, 0, 0, 1], port), destination: Endpoint::new([10, 0, 0, 2], 80) }
    }

    /// What becomes of packets: `>` there, `<` back, capital `S` for a SYN there; on which interface, and at which second.
    fn verdicts(copies: &mut CopyDetector, packets: &[(&str, &str, i64)]) -> String {
        let judge = |(what, interface, second): &(&str, &str, i64)| {
            let name: Arc<str> = (*interface).into();
            let tuple = if *what == "<" { tuple(4000).reversed() } else { tuple(4000) };
            let at = Timestamp(second * SECOND as i64);
            let (protocol, opens) = (IpProtocol::TCP, *what == "S");
            match copies.leaves_out(&PacketPassing { tuple, protocol, opens, interface: Some(&name), at }) {
                None => '+',
                Some(Skip::Repeated) => '=',
                Some(Skip::OtherInterface) => '-',
                Some(_) => '?',
            }
        };
        packets.iter().map(judge).collect()
    }

    #[test]
    fn each_direction_is_recorded_where_it_was_first_seen_and_a_syn_prefers_the_pods_interface() {
        let all = ["veth*", "*"];
        for (packets, expected) in [
            // From a pod: its interface shows it first, and what comes back last.
            (
                &[("S", "veth1", 0), ("S", "cni0", 0), ("S", "eth0", 0), ("<", "eth0", 0), ("<", "veth1", 0)][..],
                "+==+=",
            ),
            // To a pod: the SYN counts on the uplink, the rest on the pod's interface.
            (&[("S", "eth0", 0), ("S", "veth1", 0), (">", "eth0", 0), (">", "veth1", 0)], "+==+"),
            // Nothing opens it, or the other interface is no better.
            (&[(">", "eth0", 0), (">", "veth1", 0), (">", "eth0", 0)], "+=+"),
            (&[("S", "eth0", 0), ("S", "cni0", 0), (">", "eth0", 0)], "+=+"),
        ] {
            assert_eq!(verdicts(&mut copies(&all, None), packets), expected, "{packets:?}");
        }
    }

    #[test]
    fn what_fits_no_pattern_is_left_out_and_an_unknown_interface_has_no_copies() {
        let mut pods = copies(&["veth*"], None);
        assert_eq!(verdicts(&mut pods, &[("S", "eth0", 0), ("S", "veth1", 0)]), "-+");
        let unknown = PacketPassing {
            tuple: tuple(1),
            protocol: IpProtocol::UDP,
            opens: false,
            interface: None,
            at: Timestamp(0),
        };
        assert!(pods.leaves_out(&unknown).is_none() && pods.leaves_out(&unknown).is_none());
    }

    #[test]
    fn a_direction_moves_when_its_interface_has_been_silent_while_others_were_not() {
        let mut copies = copies(&["*"], None);
        let mut packets = vec![(">", "a", 0)];
        packets.extend([(">", "b", 5); 9]);
        packets.extend([(">", "a", 5), (">", "b", 5)]);
        assert_eq!(verdicts(&mut copies, &packets), "+=======++=+");
    }

    #[test]
    fn what_is_remembered_has_a_limit_and_what_is_in_use_stays() {
        let mut copies = copies(&["*"], None);
        let name: Arc<str> = "a".into();
        let mut pass = |port, interface: &Arc<str>| {
            let (protocol, at) = (IpProtocol::UDP, Timestamp(0));
            copies.leaves_out(&PacketPassing {
                tuple: tuple(port),
                protocol,
                opens: false,
                interface: Some(interface),
                at,
            })
        };
        let other: Arc<str> = "b".into();
        for port in 1..10_000 {
            assert_eq!(pass(port, &name), None);
            pass(1, &name);
            assert_eq!(pass(1, &other), Some(Skip::Repeated), "{port}");
        }
        let known = copies.passages.len();
        assert!((512..=1024).contains(&known), "{known}");
    }

    #[test]
    fn beyond_the_budget_whole_connections_are_left_out_and_all_come_back_when_it_holds() {
        let mut copies = copies(&["*"], Some(1000));
        let name: Arc<str> = "a".into();
        let mut taken_in = |second: i64, connections: u16, packets: u16| {
            let mut taken = 0;
            for port in 0..connections {
                let mut of_one = 0;
                for n in 0..packets {
                    let nanos = (i64::from(port) * i64::from(packets) + i64::from(n)) * 1000;
                    let tuple = tuple((second as u16) * 1000 + port);
                    let at = Timestamp(second * SECOND as i64 + nanos);
                    let packet =
                        PacketPassing { tuple, protocol: IpProtocol::TCP, opens: n == 0, interface: Some(&name), at };
                    of_one += u16::from(copies.leaves_out(&packet).is_none());
                }
                assert!(of_one == 0 || of_one == packets, "never a part of a connection");
                taken += of_one;
            }
            taken
        };
        assert_eq!(taken_in(0, 500, 10), 5000);
        let second = taken_in(1, 500, 10);
        assert!((500..1600).contains(&second), "{second}");
        (2..20).for_each(|second| _ = taken_in(second, 5, 1));
        assert_eq!(taken_in(20, 10, 10), 100);
    }
}
