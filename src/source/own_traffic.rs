//! podtap's own traffic, so that no record begets a record.
//!
//! Known by our own sockets, never by a sink's port: the application may talk to the same server. Behind a mesh proxy a
//! second connection carries our requests that is not ours: there `exchange::own` knows them by a header. Does not drop
//! anything: capture threads ask a `OwnTrafficView` for each segment.

mod sockets;
mod table;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::flow::{FiveTuple, IpProtocol};
use crate::published::{Published, Subscription};
use table::{SocketSnapshot, SocketTable};

/// The sockets that are ours. Clones share one table; sinks and the metrics endpoint write to it, captures read it.
#[derive(Clone, Debug, Default)]
pub struct OwnTraffic(Arc<SharedTable>);

#[derive(Debug, Default)]
struct SharedTable {
    table: Mutex<SocketTable>,
    published: Published<SocketSnapshot>,
}

impl OwnTraffic {
    /// For a network namespace with these addresses (`interfaces::Tables::own_ips`); loopback is always ours.
    pub fn new(own_ips: &[IpAddr]) -> Self {
        let own = Self::default();
        own.change(|table| table.set_addresses(own_ips));
        own
    }

    /// The addresses changed.
    pub fn set_addresses(&self, own_ips: &[IpAddr]) {
        self.change(|table| table.set_addresses(own_ips));
    }

    /// We listen there: what arrives at it and its answers are ours. Call it before the first connection can come.
    pub fn add_listener(&self, local: SocketAddr) {
        self.change(|table| table.add_listener(local));
    }

    /// We connect, or are connected, from `local` to `remote`.
    ///
    /// Best called before connecting, with a socket already bound to port 0 (an unspecified address fits any). Then not
    /// even the handshake is taken for the application's. At the latest before the first byte is sent.
    pub fn add_connection(&self, local: SocketAddr, remote: SocketAddr) {
        let now = now();
        self.change(|table| table.add_connection(IpProtocol::TCP, local, remote, now));
    }

    /// We send datagrams of UDP from `local` to `remote`, and read its answers.
    pub fn add_datagrams(&self, local: SocketAddr, remote: SocketAddr) {
        let now = now();
        self.change(|table| table.add_connection(IpProtocol::UDP, local, remote, now));
    }

    /// Looks through this process's descriptors, for the sockets that libraries hide. Call it about every second, and
    /// after such a library may have connected. Costs a few system calls per descriptor, whatever the pod's
    /// connections; sockets of other processes are not looked at.
    pub fn refresh(&self) {
        let found = sockets::own();
        let now = now();
        self.change(|table| table.observe(&found, now));
    }

    /// What a capture thread asks; each has its own.
    pub fn view(&self) -> OwnTrafficView {
        OwnTrafficView(self.0.published.subscribe())
    }

    fn change(&self, change: impl FnOnce(&mut SocketTable)) {
        let mut table = self.lock();
        change(&mut table);
        self.0.published.publish(table.snapshot());
    }

    /// A panic of another writer leaves a table that is still right for every socket it holds.
    fn lock(&self) -> MutexGuard<'_, SocketTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A capture thread's view: no lock per segment, and yet as new as the last change.
#[derive(Clone, Debug)]
pub struct OwnTrafficView(Subscription<SocketSnapshot>);

impl OwnTrafficView {
    /// Whether a segment is podtap's own.
    pub fn is_own(&mut self, tuple: &FiveTuple) -> bool {
        let snapshot = self.0.now();
        !snapshot.is_empty() && snapshot.contains(tuple)
    }

    /// Whether a datagram of UDP is.
    pub fn is_own_datagram(&mut self, tuple: &FiveTuple) -> bool {
        self.0.now().contains_datagram(tuple)
    }
}

#[allow(clippy::disallowed_methods, reason = "an edge: how long a closed socket is remembered, never in a record")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::flow::Endpoint;

    fn tuple(source: SocketAddr, destination: SocketAddr) -> FiveTuple {
        FiveTuple {
            source: Endpoint::new(source.ip(), source.port()),
            destination: Endpoint::new(destination.ip(), destination.port()),
        }
    }

    #[test]
    fn a_view_sees_a_change_at_once_and_in_both_directions() {
        let own = OwnTraffic::new(&[]);
        let mut view = own.view();
        let (local, remote) = ("10.0.0.1:40000".parse().unwrap(), "10.0.0.9:9200".parse().unwrap());
        assert!(!view.is_own(&tuple(local, remote)));
        own.add_connection(local, remote);
        assert!(view.is_own(&tuple(local, remote)));
        assert!(view.is_own(&tuple(remote, local)));
        assert!(!view.is_own(&tuple("10.0.0.1:40001".parse().unwrap(), remote)), "another client of the same server");
    }

    #[test]
    fn a_refresh_finds_the_connections_that_were_not_announced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let found = sockets::own();
        assert!(found.listeners.contains(&listener.local_addr().unwrap()));
        let own = OwnTraffic::new(&[]);
        let mut view = own.view();
        let connection = tuple(client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert!(!view.is_own(&connection));
        own.refresh();
        assert!(view.is_own(&connection));
    }

    #[test]
    fn a_change_that_changes_nothing_is_not_published() {
        let own = OwnTraffic::new(&[]);
        own.add_listener("0.0.0.0:9090".parse().unwrap());
        let mut view = own.view();
        own.add_listener("0.0.0.0:9090".parse().unwrap());
        assert!(view.0.changed().is_none());
    }
}
