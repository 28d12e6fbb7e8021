//! Connections to servers, shared by all sinks that have one: TCP or TLS, several hosts with several addresses each.
//! Owns how a connection comes about and what to say when it does not; it speaks no sink's protocol.
//!
//! Names are resolved again for every connection. One host after the other is tried, beginning with the one that worked
//! last (`Connector::failed` moves on). Of each host one address after the other is tried, in the same way. Nothing here
//! knows a credential, so no message can hold one.

mod check;
pub mod expiry;
mod explain;
mod host;
mod late;
mod patience;
pub mod proxy;
mod stream;
mod tenure;
mod tls;
pub(in crate::sink) mod wire;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub use self::check::HostCheck;
pub use self::explain::explain;
pub(in crate::sink) use self::explain::io_reason;
#[cfg(feature = "es")]
pub(in crate::sink) use self::explain::tls_error;
pub use self::host::HostPort;
pub(in crate::sink) use self::late::Late;
pub(in crate::sink) use self::patience::Patience;
pub use self::proxy::{HttpProxy, ProxySettings};
pub use self::stream::ServerStream;
pub(in crate::sink) use self::tenure::{ConnectionTenure, any_of, random};
pub(in crate::sink) use self::tls::random_bytes;
pub use self::tls::{LoadedTls, PemSource, TlsOptions};
use super::error::{DeliveryError, FailureReason};

/// Addresses of one name that are tried for one connection.
const MAX_ADDRESSES: usize = 16;

/// How long the steps to a connection may take; each address has the time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectTimeouts {
    /// Resolving a name.
    pub lookup: Duration,
    /// The TCP handshake.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
}

impl Default for ConnectTimeouts {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { lookup: ten, connect: ten, tls: ten }
    }
}

/// Hears of every socket, as (own address, server's address): what `source::own_traffic` wants to know. The own address
/// may be unspecified: then the socket is bound to that port and not a single packet has been sent yet.
#[derive(Clone)]
pub struct OnSocket(Arc<dyn Fn(SocketAddr, SocketAddr) + Send + Sync>);

impl OnSocket {
    /// Calls `hook`.
    pub fn new(hook: impl Fn(SocketAddr, SocketAddr) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Reports a socket.
    pub(in crate::sink) fn call(&self, local: SocketAddr, peer: SocketAddr) {
        (self.0)(local, peer);
    }
}

impl PartialEq for OnSocket {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl Eq for OnSocket {}

impl fmt::Debug for OnSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnSocket(…)")
    }
}

/// A connection and whom it leads to.
#[derive(Debug)]
pub struct ServerConnection {
    /// To read from and write to.
    pub stream: ServerStream,
    /// The host as in the settings.
    pub host: HostPort,
    /// Which of its addresses; the proxy's where there is one.
    pub peer: SocketAddr,
    /// The proxy that this connection leads to, where it asks for whole URLs: in the clear.
    pub proxy: Option<HttpProxy>,
}

/// Makes connections to the first of some hosts that can be reached.
#[derive(Debug)]
pub struct Connector {
    hosts: Vec<HostPort>,
    tls: Option<LoadedTls>,
    timeouts: ConnectTimeouts,
    on_socket: Option<OnSocket>,
    /// The host to begin with.
    first: usize,
    /// The address to begin with, of those that a name has.
    turn: usize,
    tenure: ConnectionTenure,
    proxies: ProxySettings,
}

impl Connector {
    /// For these hosts; without `tls` in the clear.
    pub fn new(hosts: Vec<HostPort>, tls: Option<LoadedTls>, timeouts: ConnectTimeouts) -> Self {
        let (tenure, proxies) = (ConnectionTenure::default(), ProxySettings::default());
        Self { hosts, tls, timeouts, on_socket: None, first: 0, turn: 0, tenure, proxies }
    }

    /// Lets `hook` hear of every socket.
    #[must_use]
    pub fn with_hook(mut self, hook: OnSocket) -> Self {
        self.on_socket = Some(hook);
        self
    }

    /// Begins with any of the hosts, so that each gets its share of a thousand pods.
    #[must_use]
    pub fn with_any_host_first(mut self) -> Self {
        self.begin_anywhere();
        self
    }

    /// Connections end after about `max_age`, and when one of `files` or of the certificates changes.
    #[must_use]
    pub fn renewed(mut self, max_age: Option<Duration>, mut files: Vec<PathBuf>) -> Self {
        files.extend(self.tls.iter().flat_map(|tls| tls.files()));
        self.tenure = ConnectionTenure::new(max_age, files);
        self
    }

    /// Reaches servers through these proxies: for HTTP only.
    #[must_use]
    pub fn with_proxies(mut self, proxies: ProxySettings) -> Self {
        self.proxies = proxies;
        self
    }

    /// The positions of the host and of the address to begin with.
    pub(in crate::sink) fn beginning(&self) -> (usize, usize) {
        (self.first, self.turn)
    }

    /// Whether the connection made last is to be replaced; then the next one may lead to another host.
    pub(in crate::sink) fn is_outdated(&mut self) -> bool {
        let outdated = self.tenure.is_over();
        if outdated {
            self.begin_anywhere();
        }
        outdated
    }

    fn begin_anywhere(&mut self) {
        self.first = any_of(self.hosts.len(), random());
        self.turn = any_of(TURNS, random());
    }

    /// The hosts, in the order of the settings.
    pub fn hosts(&self) -> &[HostPort] {
        &self.hosts
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects to the first host that can be reached.
    pub async fn connect(&mut self) -> Result<ServerConnection, DeliveryError> {
        // Before any file is read, so that no change is missed.
        self.tenure.begin();
        let mut failed: Option<DeliveryError> = None;
        for step in 0..self.hosts.len() {
            let index = (self.first + step) % self.hosts.len();
            match self.connect_to(index).await {
                Ok(connected) => {
                    self.first = index;
                    return Ok(connected);
                }
                Err(error) => {
                    failed = Some(match failed {
                        None => error,
                        Some(all) => all.and(&error),
                    });
                }
            }
        }
        Err(failed.unwrap_or_else(|| DeliveryError::new(FailureReason::Dns, "no host is set")))
    }

    /// Connects to one host, by its position in `hosts`.
    pub async fn connect_to(&mut self, index: usize) -> Result<ServerConnection, DeliveryError> {
        let host = self.hosts.get(index).cloned();
        let host = host.ok_or_else(|| DeliveryError::new(FailureReason::Dns, "no such host"))?;
        self.refresh_tls();
        let proxy = self.proxies.to(&host, self.is_tls()).cloned();
        let next = proxy.as_ref().map_or(&host, |proxy| &proxy.host);
        let by = proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        let addresses = lookup(next, self.timeouts.lookup).await?;
        let (mut reason, mut told) = (FailureReason::Unreachable, Vec::new());
        for address in in_turn(&addresses, self.turn).into_iter().take(MAX_ADDRESSES) {
            match self.open(&host, address, proxy.as_ref()).await {
                Ok(stream) => {
                    self.turn = turn_of(&addresses, address);
                    let proxy = proxy.filter(|_| !self.is_tls());
                    return Ok(ServerConnection { stream, host, peer: address, proxy });
                }
                Err(error) => {
                    reason = error.reason();
                    // Which of a name's addresses; an address alone needs no telling twice.
                    let one_of_many = reason != FailureReason::Tls && next.to_string() != address.to_string();
                    let why = if one_of_many { format!("{address}: {error}") } else { error.to_string() };
                    if !told.contains(&why) {
                        told.push(why);
                    }
                }
            }
        }
        Err(DeliveryError::new(reason, format!("{host}{by}: {}", told.join("; "))))
    }

    /// The connection made last turned out to be no good. The next one begins with the next host, and behind the last
    /// host with the next address.
    pub fn failed(&mut self) {
        self.first = (self.first + 1) % self.hosts.len().max(1);
        if self.first == 0 {
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// Certificates are renewed under a running program. Files that cannot be read any more (privileges were dropped,
    /// a renewal is under way) leave what was read before.
    fn refresh_tls(&mut self) {
        if let Some(Err(why)) = self.tls.as_mut().map(LoadedTls::reload) {
            tracing::debug!(error = %why, "certificate reload failed; keeping the current ones");
        }
    }

    async fn open(
        &self,
        host: &HostPort,
        address: SocketAddr,
        proxy: Option<&HttpProxy>,
    ) -> Result<ServerStream, DeliveryError> {
        let late = |what: String| DeliveryError::new(FailureReason::Timeout, what);
        let tcp = timeout(self.timeouts.connect, self.open_tcp(address)).await;
        let tcp = tcp.map_err(|_| late(format!("no answer within {:?}", self.timeouts.connect)))?;
        let mut tcp = tcp.map_err(DeliveryError::of_io)?;
        let Some(tls) = &self.tls else { return Ok(ServerStream::Plain(tcp)) };
        if let Some(proxy) = proxy {
            let tunnel = timeout(self.timeouts.connect, proxy.tunnel(&mut tcp, host)).await;
            tunnel.map_err(|_| late(format!("no tunnel within {:?}", self.timeouts.connect)))??;
        }
        match timeout(self.timeouts.tls, tls.handshake(tcp, &host.host)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let words = format!("no TLS handshake within {:?}: {}", self.timeouts.tls, tls.plain_port());
                Err(DeliveryError::new(FailureReason::Tls, words))
            }
        }
    }

    async fn open_tcp(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let (socket, any): (_, IpAddr) = match address {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
        };
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        // Bound first, so that the hook knows the port before a capture sees the handshake. Where the application uses
        // all ports, binding fails and connecting does not: it may share a port between targets.
        let announced = match &self.on_socket {
            Some(hook) if socket.bind(SocketAddr::new(any, 0)).is_ok() => {
                hook.call(socket.local_addr()?, address);
                true
            }
            _ => false,
        };
        let stream = socket.connect(address).await?;
        let local = stream.local_addr()?;
        // A port of our own range where no one listens can connect to itself (RFC 9293 §3.5, simultaneous open).
        if local == address {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if let (Some(hook), false) = (&self.on_socket, announced) {
            hook.call(local, address);
        }
        Ok(stream)
    }
}

/// An error of a system call in words, without the number of the error.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.chars().next().map_or_else(String::new, |first| first.to_lowercase().chain(text.chars().skip(1)).collect())
}

async fn lookup(host: &HostPort, patience: Duration) -> Result<Vec<SocketAddr>, DeliveryError> {
    let error = |why: String| DeliveryError::new(FailureReason::Dns, format!("{host}: {why}"));
    let found = timeout(patience, tokio::net::lookup_host((host.host.as_str(), host.port))).await;
    let found = found.map_err(|_| error(format!("the name was not resolved within {patience:?}")))?;
    let found = found.map_err(|why| error(format!("the name cannot be resolved: {}", plain(&why))))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(error("the name has no address".to_owned())) } else { Ok(addresses) }
}

/// Of a number that many addresses divide evenly.
const TURNS: usize = 720_720;

/// A name's addresses in the order in which they are tried. Which family comes first the system knows (RFC 6724); of one
/// family every address has its turn to be the first. For the system might name the same one first to every pod.
pub(in crate::sink) fn in_turn(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let families = addresses.chunk_by(|one, next| one.is_ipv4() == next.is_ipv4());
    let rotated = families.flat_map(|family| {
        let mut family = family.to_vec();
        family.sort_unstable();
        let first = turn % family.len().max(1);
        family.rotate_left(first);
        family
    });
    rotated.collect()
}

/// The turn in which this address is the first of its family.
fn turn_of(addresses: &[SocketAddr], address: SocketAddr) -> usize {
    addresses.iter().filter(|other| other.is_ipv4() == address.is_ipv4() && **other < address).count()
}

#[cfg(test)]
pub(in crate::sink) mod tests;
