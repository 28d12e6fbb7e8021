//! One connection to a forward server: the handshake, a chunk and its acknowledgement, and whether it is still there.
//! Owns the socket and the waiting; what the bytes mean is in `protocol`.

use std::fmt;
use std::io::IoSlice;
use std::time::Duration;

use tokio::time::Instant;

use super::super::connect::wire::{self, ByteWire, ROOM, WireStep};
use super::super::connect::{HostPort, ServerConnection, random_bytes};
use super::super::error::{DeliveryError, FailureReason};
use super::protocol::{
    ForwardCredentials, ForwardReply, Greeting, MAX_REPLY, NotForward, decode_reply, hex, printable,
};

/// Why a connection is of no use any more. In the clear and in words: no variant can hold a credential.
#[derive(Debug)]
pub(super) enum LinkFault {
    /// The connection itself.
    Wire(wire::WireFault),
    /// Another language.
    Nonsense(NotForward),
    /// A message that has no place here.
    Unexpected(&'static str),
    /// It acknowledged something else.
    WrongAck(String),
    /// It wants a key, we have none.
    KeyWanted,
    /// It does not want us; in its own words.
    Refused(String),
    /// It closed the connection on our PING, which Fluent Bit does with a wrong key.
    ClosedOnPing,
    /// It did not prove that it knows the key.
    Unproven,
    /// The system has no random numbers.
    NoRandom(String),
}

impl LinkFault {
    /// Its class.
    pub(super) fn reason(&self) -> FailureReason {
        match self {
            Self::Wire(fault) => fault.reason(),
            Self::Nonsense(_) | Self::Unexpected(_) | Self::WrongAck(_) => FailureReason::Protocol,
            Self::KeyWanted | Self::Refused(_) | Self::ClosedOnPing | Self::Unproven => FailureReason::Auth,
            Self::NoRandom(_) => FailureReason::Local,
        }
    }

    /// The same for the worker, with whom it happened.
    pub(super) fn at(&self, host: &HostPort) -> DeliveryError {
        DeliveryError::new(self.reason(), self.to_string()).at(host)
    }
}

impl LinkFault {
    /// Whether nothing came in time.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Wire(fault) if fault.is_late())
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(fault) => fault.fmt(f),
            Self::Nonsense(nonsense) => nonsense.fmt(f),
            Self::Unexpected(what) => write!(f, "the server sent something else where {what} was expected"),
            Self::WrongAck(chunk) => write!(f, "the server acknowledged another chunk: {chunk}"),
            Self::KeyWanted => f.write_str("the server asks for a shared key: set FLUENTD_SHARED_KEY"),
            Self::Refused(reason) => write!(
                f,
                "the server refused us: {reason}; see FLUENTD_SHARED_KEY, FLUENTD_USERNAME and FLUENTD_PASSWORD"
            ),
            Self::ClosedOnPing => f.write_str(
                "the server closed the connection during the handshake; is FLUENTD_SHARED_KEY the right one?",
            ),
            Self::Unproven => {
                f.write_str("the server accepted us without proof that it knows FLUENTD_SHARED_KEY; it gets no records")
            }
            Self::NoRandom(why) => f.write_str(why),
        }
    }
}

impl From<NotForward> for LinkFault {
    fn from(nonsense: NotForward) -> Self {
        Self::Nonsense(nonsense)
    }
}

impl From<wire::WireFault> for LinkFault {
    fn from(fault: wire::WireFault) -> Self {
        Self::Wire(fault)
    }
}

/// How a server received us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// It did not ask.
    Silent,
    /// It asked, and took our answer.
    Accepted { hostname: String, keepalive: bool },
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("asked for no key"),
            Self::Accepted { hostname, keepalive } => {
                let once = if *keepalive { "" } else { ", a new connection for each chunk" };
                write!(f, "accepted by {hostname:?}{once}")
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct FluentdLink {
    wire: ByteWire,
    keepalive: bool,
    /// What has arrived and is not read yet; at most `MAX_REPLY`.
    arrived: Vec<u8>,
}

impl FluentdLink {
    pub(super) fn new(connected: ServerConnection, patience: Duration) -> Self {
        Self { wire: ByteWire::new(connected, patience), keepalive: true, arrived: Vec::new() }
    }

    pub(super) fn host(&self) -> &HostPort {
        self.wire.host()
    }

    /// Whether the next chunk may use it: neither forbidden by the server, nor has it sent what no one asked for.
    pub(super) fn may_stay_open(&self) -> bool {
        self.keepalive && self.arrived.is_empty()
    }

    pub(super) async fn handshake(
        &mut self,
        credentials: &ForwardCredentials,
        hostname: &str,
    ) -> Result<Welcome, LinkFault> {
        let ForwardReply::Helo(helo) = self.reply("HELO (has it no shared key?)", self.wire.patience()).await? else {
            return Err(LinkFault::Unexpected("HELO"));
        };
        let salt = hex(&random_bytes::<16>().map_err(LinkFault::NoRandom)?);
        let greeting = Greeting { helo: &helo, hostname, salt: &salt, credentials };
        self.write(&greeting.ping()).await?;
        let pong = match self.reply("PONG", self.wire.patience()).await {
            Ok(ForwardReply::Pong(pong)) => pong,
            Ok(ForwardReply::Helo(_) | ForwardReply::Ack(_)) => return Err(LinkFault::Unexpected("PONG")),
            Err(LinkFault::Wire(fault)) if fault.is_closed() => return Err(LinkFault::ClosedOnPing),
            Err(fault) => return Err(fault),
        };
        match pong.accepted {
            false => Err(LinkFault::Refused(pong.reason)),
            true if !greeting.is_proven(&pong) => Err(LinkFault::Unproven),
            true => {
                self.keepalive = helo.keepalive;
                Ok(Welcome::Accepted { hostname: printable(&pong.hostname), keepalive: helo.keepalive })
            }
        }
    }

    /// Gives the server a moment to ask for a key that we do not have.
    pub(super) async fn listen(&mut self, patience: Duration) -> Result<Welcome, LinkFault> {
        match self.reply("answer", patience).await {
            Err(LinkFault::Wire(wire::WireFault::Late(..))) if self.arrived.is_empty() => Ok(Welcome::Silent),
            Ok(ForwardReply::Helo(_)) => Err(LinkFault::KeyWanted),
            Ok(_) => Err(LinkFault::Unexpected("nothing")),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a chunk.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), LinkFault> {
        if let Err(fault) = self.write(message).await {
            // What a server said before it hung up on us says more than that it did.
            let asked = matches!(decode_reply(&self.arrived), Ok(Some((ForwardReply::Helo(_), _))));
            return Err(if asked { LinkFault::KeyWanted } else { fault });
        }
        Ok(())
    }

    /// Waits until the server has acknowledged the chunk that was sent last.
    pub(super) async fn acknowledged(&mut self, chunk: &str, patience: Duration) -> Result<(), LinkFault> {
        match self.reply("acknowledgement", patience).await {
            Ok(ForwardReply::Ack(acked)) if acked == chunk.as_bytes() => Ok(()),
            Ok(ForwardReply::Ack(acked)) => Err(LinkFault::WrongAck(printable(&acked))),
            Ok(ForwardReply::Helo(_)) => Err(LinkFault::KeyWanted),
            Ok(ForwardReply::Pong(_)) => Err(LinkFault::Unexpected("an acknowledgement")),
            Err(fault) => Err(fault),
        }
    }

    /// Whether nothing has happened since the last chunk: a server that went away in the meantime has not got the next.
    pub(super) async fn is_at_rest(&mut self) -> Result<(), LinkFault> {
        match self.wire.peek(&mut [0; ROOM]).await? {
            None => Ok(()),
            Some(0) => Err(wire::WireFault::Closed("nothing").into()),
            Some(_) => Err(LinkFault::Unexpected("nothing")),
        }
    }

    pub(super) async fn close(self) {
        self.wire.close().await;
    }

    /// The next answer, whole within `patience`, however slowly its bytes come.
    async fn reply(&mut self, what: &'static str, patience: Duration) -> Result<ForwardReply, LinkFault> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((reply, length)) = decode_reply(&self.arrived)? {
                self.arrived.drain(..length);
                return Ok(reply);
            }
            let mut room = [0; ROOM];
            let left = deadline.saturating_duration_since(Instant::now());
            match self.wire.step_within(&[], &mut room, what, left).await {
                Ok(WireStep::Read(n)) => self.arrived.extend_from_slice(room.get(..n).unwrap_or_default()),
                Ok(WireStep::Wrote(_) | WireStep::Flushed) => {}
                Err(wire::WireFault::Late(what, _)) => return Err(wire::WireFault::Late(what, patience).into()),
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Writes all; a slow server has all the time it needs as long as it takes anything.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), LinkFault> {
        let mut room = [0; ROOM];
        while !bytes.is_empty() || !self.wire.is_flushed() {
            match self.wire.step(&[IoSlice::new(bytes)], &mut room, "progress in sending").await? {
                WireStep::Wrote(n) => bytes = bytes.get(n..).unwrap_or_default(),
                WireStep::Flushed => {}
                WireStep::Read(_) if self.arrived.len() > MAX_REPLY => {
                    decode_reply(&self.arrived)?;
                    return Err(LinkFault::Unexpected("nothing"));
                }
                WireStep::Read(n) => self.arrived.extend_from_slice(room.get(..n).unwrap_or_default()),
            }
        }
        Ok(())
    }
}
