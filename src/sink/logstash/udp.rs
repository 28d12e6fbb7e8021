//! To a `udp` input: one datagram a record. Owns what little can be known about their arrival: nearly nothing.
//!
//! A record counts as delivered when the kernel has sent its datagram. Datagrams get lost in every buffer on the way, and
//! no one notices; a burst that is larger than the server's receive buffer is enough. Only when no one listens there at all may a
//! host say so (ICMP, RFC 1122 §4.1.3.3), for an earlier datagram and if nothing in between keeps it from that. Then the batch
//! goes again, to the next host, and what went before it is lost.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::super::connect::{HostPort, in_turn};
use super::super::{Batch, Delivery, DeliveryError, FailureReason, RejectedRecord, SinkError};
use super::{CHECK_PATIENCE, LogstashOptions};

/// The largest payload of a datagram over IPv4: 65535 less the headers of IP and UDP.
pub const MAX_DATAGRAM: usize = 65_507;

/// Nothing says that a server has moved: its name is asked for again this often.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct UdpTransport {
    hosts: Vec<HostPort>,
    options: LogstashOptions,
    /// The host whose turn it is.
    turn: usize,
    /// The address whose turn it is, of those that a name has.
    address: usize,
    link: Option<UdpLink>,
}

#[derive(Debug)]
struct UdpLink {
    socket: UdpSocket,
    host: HostPort,
    peer: SocketAddr,
    resolved: Instant,
}

impl UdpTransport {
    /// Begins with the host and the address at these positions.
    pub(super) fn new(hosts: Vec<HostPort>, (turn, address): (usize, usize), options: LogstashOptions) -> Self {
        tracing::warn!(
            sink = "logstash",
            "LOGSTASH_TYPE=udp: datagrams that get lost on the way cannot be counted; beats and http are acknowledged"
        );
        Self { hosts, options, turn, address, link: None }
    }

    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let link = self.open().await?;
        let mut rejected = Vec::new();
        let sent = send_all(&link, batch, self.options.max_datagram, &mut rejected).await;
        match sent {
            Ok(()) => {
                self.link = Some(link);
                Ok(Delivery { rejected, ..Delivery::default() })
            }
            Err(error) => {
                self.pass();
                Err(SinkError::Transient(DeliveryError::of_io(error).at(link.peer).at(&link.host)))
            }
        }
    }

    pub(super) fn reload(&mut self) {
        self.link = None;
    }

    pub(super) fn hosts(&self) -> &[HostPort] {
        &self.hosts
    }

    /// A datagram without content shows whether somebody refuses it; more cannot be known.
    pub(super) async fn check(&self, host: &HostPort, steps: &mut Vec<String>) -> Result<(), String> {
        let link = self.connect(host).await?;
        link.socket.send(&[]).await.map_err(|error| plain(&error))?;
        match timeout(CHECK_PATIENCE, link.socket.recv(&mut [0])).await {
            Ok(Err(error)) => Err(format!("{}: {}", link.peer, plain(&error))),
            Ok(Ok(_)) | Err(_) => {
                steps.push(format!("{} does not refuse datagrams; whether records arrive cannot be known", link.peer));
                Ok(())
            }
        }
    }

    async fn open(&mut self) -> Result<UdpLink, DeliveryError> {
        let no_host = || DeliveryError::new(FailureReason::Dns, "no host is set");
        let host = self.hosts.get(self.turn).ok_or_else(no_host)?;
        let known = match self.link.take() {
            Some(link) if link.resolved.elapsed() < RESOLVE_EVERY && link.host == *host => {
                match link.socket.take_error() {
                    Ok(None) => return Ok(link),
                    Ok(Some(error)) | Err(error) => {
                        let error = plain(&error);
                        tracing::warn!(sink = "logstash", %host, error, "datagrams sent before were refused: they are lost");
                    }
                }
                None
            }
            other => other,
        };
        match (self.connect(host).await, known) {
            (Ok(link), _) => Ok(link),
            // The name service fails; the address from before may do.
            (Err(_), Some(link)) if link.host == *host => Ok(UdpLink { resolved: Instant::now(), ..link }),
            (Err(why), _) => {
                self.pass();
                Err(why)
            }
        }
    }

    /// On to the next host, and behind the last one to the next address.
    fn pass(&mut self) {
        self.turn = (self.turn + 1) % self.hosts.len().max(1);
        if self.turn == 0 {
            self.address = self.address.wrapping_add(1);
        }
    }

    /// A socket to the first address of `host` that can be reached at all.
    async fn connect(&self, host: &HostPort) -> Result<UdpLink, DeliveryError> {
        let unknown = |why: String| DeliveryError::new(FailureReason::Dns, format!("{host}: {why}"));
        let found = timeout(self.options.timeout, tokio::net::lookup_host((host.host.as_str(), host.port))).await;
        let found =
            found.map_err(|_| unknown(format!("the name was not resolved within {:?}", self.options.timeout)))?;
        let found = found.map_err(|error| unknown(format!("the name cannot be resolved: {}", plain(&error))))?;
        let mut why = unknown("the name has no address".to_owned());
        for peer in in_turn(&found.collect::<Vec<_>>(), self.address) {
            match connected(peer).await {
                Ok(socket) => {
                    if let (Some(hook), Ok(local)) = (&self.options.on_datagrams, socket.local_addr()) {
                        hook.call(local, peer);
                    }
                    return Ok(UdpLink { socket, host: host.clone(), peer, resolved: Instant::now() });
                }
                Err(error) => why = DeliveryError::of_io(error).at(peer).at(host),
            }
        }
        Err(why)
    }
}

async fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

async fn send_all(link: &UdpLink, batch: &Batch, most: usize, rejected: &mut Vec<RejectedRecord>) -> io::Result<()> {
    for (index, item) in batch.iter().enumerate() {
        let body = item.body.strip_suffix(b"\n").unwrap_or(item.body);
        if body.len() > most {
            rejected.push(too_large(index, body.len(), &format!("{most} bytes")));
            continue;
        }
        match link.socket.send(body).await {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                rejected.push(too_large(index, body.len(), "the network"));
            }
            Err(error) => return Err(error),
        }
    }
    // A refusal that is already here; one that is still on its way shows before the next batch.
    link.socket.take_error()?.map_or(Ok(()), Err)
}

fn too_large(index: usize, bytes: usize, most: &str) -> RejectedRecord {
    RejectedRecord { index, reason: format!("a record of {bytes} bytes is too large for a datagram ({most})") }
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
