//! The table of own sockets, and the snapshot of it that capture threads read.
//!
//! Pure: time and sockets are arguments.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::sockets::FoundSockets;
use crate::flow::{ConnKey, Endpoint, FiveTuple, IpProtocol};

/// How long a connection is remembered after its socket is gone: its last segments are still in the ring, or are sent
/// again. Shorter than the kernel's TIME_WAIT of 60 s, after which the application may get the same port.
const LINGER: Duration = Duration::from_secs(10);

/// Connections remembered at most. The network cannot fill it: those to our own listeners are not in it.
const MAX_CONNECTIONS: usize = 4096;

/// All that is known; owned by the lock.
#[derive(Debug, Default)]
pub(super) struct SocketTable {
    addresses: BTreeSet<IpAddr>,
    /// Announced by their owner: they stay. With an unspecified address they are on every own one.
    announced: BTreeSet<Endpoint>,
    /// Found by the last observation.
    found: BTreeSet<Endpoint>,
    /// When each was last known to be open.
    connections: HashMap<SocketPair, Instant>,
}

/// A connection as we hold it; `local` may be unspecified where the socket is bound and not yet connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SocketPair {
    protocol: IpProtocol,
    local: Endpoint,
    remote: Endpoint,
}

impl SocketTable {
    pub(super) fn set_addresses(&mut self, own_ips: &[IpAddr]) {
        self.addresses = own_ips.iter().map(IpAddr::to_canonical).collect();
    }

    pub(super) fn add_listener(&mut self, local: SocketAddr) {
        self.announced.insert(endpoint(local));
    }

    /// `protocol` is TCP, or UDP for a socket that has one peer.
    pub(super) fn add_connection(&mut self, protocol: IpProtocol, local: SocketAddr, remote: SocketAddr, now: Instant) {
        if self.connections.len() >= MAX_CONNECTIONS {
            self.forget(now);
        }
        let pair = SocketPair { protocol, local: endpoint(local), remote: endpoint(remote) };
        if self.connections.len() < MAX_CONNECTIONS && !self.is_at_listener(&pair) {
            self.connections.insert(pair, now);
        }
    }

    /// Takes over what is open now, and forgets what has been gone for long.
    pub(super) fn observe(&mut self, found: &FoundSockets, now: Instant) {
        self.found = found.listeners.iter().copied().map(endpoint).collect();
        for (protocol, local, remote) in &found.connections {
            self.add_connection(*protocol, *local, *remote, now);
        }
        self.forget(now);
    }

    pub(super) fn snapshot(&self) -> SocketSnapshot {
        let mut snapshot = SocketSnapshot { addresses: self.addresses.clone(), ..SocketSnapshot::default() };
        snapshot.listeners = self.announced.union(&self.found).copied().collect();
        for pair in self.connections.keys() {
            let tuple = FiveTuple { source: pair.local, destination: pair.remote };
            match (pair.protocol == IpProtocol::TCP, pair.local.ip.is_unspecified()) {
                (true, true) => _ = snapshot.half_bound.insert((pair.local.port, pair.remote)),
                (true, false) => _ = snapshot.connections.insert(ConnKey::of(tuple).0),
                (false, _) => _ = snapshot.datagrams.insert(ConnKey::of(tuple).0),
            }
        }
        snapshot
    }

    fn forget(&mut self, now: Instant) {
        self.connections.retain(|_, seen| now.saturating_duration_since(*seen) < LINGER);
    }

    /// Accepted by a listener of ours: the listener's rule covers it.
    fn is_at_listener(&self, pair: &SocketPair) -> bool {
        let mut listeners = self.announced.iter().chain(&self.found);
        pair.protocol == IpProtocol::TCP && listeners.any(|listener| takes(listener, &pair.local, &self.addresses))
    }
}

/// What capture threads read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SocketSnapshot {
    connections: HashSet<ConnKey, foldhash::fast::RandomState>,
    half_bound: BTreeSet<(u16, Endpoint)>,
    /// Of UDP, between a socket and its one peer.
    datagrams: HashSet<ConnKey, foldhash::fast::RandomState>,
    listeners: Vec<Endpoint>,
    addresses: BTreeSet<IpAddr>,
}

impl SocketSnapshot {
    /// Nothing of TCP is ours: the usual case when records go to stdout.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.listeners.is_empty() && self.half_bound.is_empty()
    }

    /// Whether a datagram of UDP between these two is ours.
    pub(super) fn contains_datagram(&self, tuple: &FiveTuple) -> bool {
        !self.datagrams.is_empty() && self.datagrams.contains(&ConnKey::of(*tuple).0)
    }

    /// Whether a segment between these two is ours. Asked for every segment: what is usually empty is looked at first.
    pub(super) fn contains(&self, tuple: &FiveTuple) -> bool {
        self.at_listener(&tuple.source)
            || self.at_listener(&tuple.destination)
            || (!self.connections.is_empty() && self.connections.contains(&ConnKey::of(*tuple).0))
            || (!self.half_bound.is_empty() && self.is_half_bound(tuple))
    }

    fn at_listener(&self, end: &Endpoint) -> bool {
        self.listeners.iter().any(|listener| takes(listener, end, &self.addresses))
    }

    fn is_half_bound(&self, tuple: &FiveTuple) -> bool {
        self.half_bound.contains(&(tuple.source.port, tuple.destination))
            || self.half_bound.contains(&(tuple.destination.port, tuple.source))
    }
}

/// Whether an end of a connection is at this listener. One on 0.0.0.0 leaves IPv6 to others, one on [::] takes both.
fn takes(listener: &Endpoint, end: &Endpoint, addresses: &BTreeSet<IpAddr>) -> bool {
    if listener.port != end.port || !listener.ip.is_unspecified() {
        return listener == end;
    }
    let family = listener.ip.is_ipv6() || end.ip.is_ipv4();
    family && (end.ip.is_loopback() || addresses.contains(&end.ip))
}

/// A dual-stack socket names IPv4 peers as ::ffff:a.b.c.d; on the wire they are IPv4.
fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn is_own(table: &SocketTable, source: &str, destination: &str) -> bool {
        let tuple = FiveTuple { source: endpoint(at(source)), destination: endpoint(at(destination)) };
        let snapshot = table.snapshot();
        !snapshot.is_empty() && snapshot.contains(&tuple)
    }

    fn table(addresses: &[&str]) -> SocketTable {
        let mut table = SocketTable::default();
        table.set_addresses(&addresses.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>());
        table
    }

    #[allow(clippy::disallowed_methods, reason = "any instant will do as the beginning of a test's time")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_listener_on_every_address_is_ours_on_our_addresses_only() {
        let mut table = table(&["10.0.0.1", "fd00::1"]);
        assert!(!is_own(&table, "10.0.0.7:4000", "10.0.0.1:9090"));
        table.add_listener(at("[::]:9090"));
        for (source, destination, own) in [
            ("10.0.0.7:4000", "10.0.0.1:9090", true),
            ("10.0.0.1:9090", "10.0.0.7:4000", true),
            ("[fd00::7]:4000", "[fd00::1]:9090", true),
            ("127.0.0.1:4000", "127.0.0.6:9090", true),
            ("10.0.0.1:4000", "10.0.0.7:9090", false),
            ("10.0.0.7:4000", "10.0.0.1:8080", false),
        ] {
            assert_eq!(is_own(&table, source, destination), own, "{source} > {destination}");
        }
    }

    #[test]
    fn a_listener_on_one_address_is_ours_there_only() {
        let mut table = table(&["10.0.0.1"]);
        table.add_listener(at("127.0.0.1:9090"));
        assert!(is_own(&table, "127.0.0.1:4000", "127.0.0.1:9090"));
        assert!(!is_own(&table, "10.0.0.7:4000", "10.0.0.1:9090"));
    }

    #[test]
    fn a_listener_on_every_address_of_ipv4_leaves_ipv6_to_others() {
        let mut table = table(&["10.0.0.1", "fd00::1"]);
        table.add_listener(at("0.0.0.0:9090"));
        assert!(is_own(&table, "10.0.0.7:4000", "10.0.0.1:9090"));
        assert!(!is_own(&table, "[fd00::7]:4000", "[fd00::1]:9090"));
    }

    #[test]
    fn a_connection_is_ours_while_its_socket_lives_and_a_little_longer() {
        let mut table = table(&[]);
        let begin = start();
        let second = Duration::from_secs(1);
        let connection = (IpProtocol::TCP, at("10.0.0.1:40000"), at("[::ffff:10.0.0.9]:9200"));
        let open = FoundSockets { listeners: vec![], connections: vec![connection] };
        table.observe(&open, begin);
        table.observe(&open, begin + 100 * second);
        assert!(is_own(&table, "10.0.0.9:9200", "10.0.0.1:40000"));
        table.observe(&FoundSockets::default(), begin + 109 * second);
        assert!(is_own(&table, "10.0.0.1:40000", "10.0.0.9:9200"));
        table.observe(&FoundSockets::default(), begin + 110 * second);
        assert!(!is_own(&table, "10.0.0.1:40000", "10.0.0.9:9200"));
    }

    #[test]
    fn a_socket_of_udp_is_ours_by_its_datagrams_and_no_connection_is() {
        let mut table = table(&["10.0.0.1"]);
        table.add_listener(at("0.0.0.0:40000"));
        table.add_connection(IpProtocol::UDP, at("10.0.0.1:40000"), at("10.0.0.9:5000"), start());
        let tuple =
            |source, destination| FiveTuple { source: endpoint(at(source)), destination: endpoint(at(destination)) };
        let snapshot = table.snapshot();
        let there = tuple("10.0.0.1:40000", "10.0.0.9:5000");
        assert!(snapshot.contains_datagram(&there) && snapshot.contains_datagram(&there.reversed()));
        assert!(!snapshot.contains_datagram(&tuple("10.0.0.1:40001", "10.0.0.9:5000")));
        assert!(!snapshot.contains_datagram(&tuple("10.0.0.7:5000", "10.0.0.1:40000")), "the listener is of TCP");
        assert!(snapshot.connections.is_empty());
    }

    #[test]
    fn a_socket_that_is_bound_but_not_connected_is_known_by_its_port_and_its_peer() {
        let mut table = table(&["10.0.0.1"]);
        table.add_connection(IpProtocol::TCP, at("0.0.0.0:40000"), at("10.0.0.9:9200"), start());
        assert!(is_own(&table, "10.0.0.1:40000", "10.0.0.9:9200"));
        assert!(is_own(&table, "10.0.0.9:9200", "10.0.0.1:40000"));
        assert!(!is_own(&table, "10.0.0.1:40000", "10.0.0.8:9200"));
        assert!(!is_own(&table, "10.0.0.1:40001", "10.0.0.9:9200"));
    }

    #[test]
    fn the_limit_of_connections_holds_and_scrapes_do_not_count() {
        let mut table = table(&["10.0.0.1"]);
        table.add_listener(at("0.0.0.0:9090"));
        let begin = start();
        let from = |n: u32| SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 5000));
        for n in 0..10_000 {
            table.add_connection(IpProtocol::TCP, at("10.0.0.1:9090"), from(n), begin);
        }
        assert_eq!(table.connections.len(), 0);
        for n in 0..10_000 {
            table.add_connection(IpProtocol::TCP, at("10.0.0.1:40000"), from(n), begin);
        }
        assert_eq!(table.connections.len(), MAX_CONNECTIONS);
        table.add_connection(IpProtocol::TCP, at("10.0.0.1:40001"), from(1), begin + LINGER);
        assert_eq!(table.connections.len(), 1);
    }
}
