//! One connection to a forward server: the handshake, a chunk and its acknowledgement, and whether it is still there.
//! Owns the socket and the waiting; what the bytes mean is in `protocol`.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::connect::{Connected, HostPort, Stream, explain, random_bytes};
use super::protocol::{Credentials, Greeting, MAX_REPLY, Nonsense, Reply, decode_reply, hex, printable};

/// How long a goodbye may take: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a connection is of no use any more. In the clear and in words: no variant can hold a credential.
#[derive(Debug)]
pub(super) enum Fault {
    /// Reading or writing failed.
    Io(io::Error),
    /// The server closed the connection instead of this.
    Closed(&'static str),
    /// Nothing came of it in time.
    Late(&'static str, Duration),
    /// Another language.
    Nonsense(Nonsense),
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&explain(error)),
            Self::Closed(instead) => write!(f, "the server closed the connection, {instead} was expected"),
            Self::Late(what, patience) => write!(f, "no {what} within {patience:?}"),
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

impl From<Nonsense> for Fault {
    fn from(nonsense: Nonsense) -> Self {
        Self::Nonsense(nonsense)
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
pub(super) struct Link {
    stream: Stream,
    host: HostPort,
    patience: Duration,
    keepalive: bool,
    /// What has arrived and is not read yet; at most `MAX_REPLY`.
    arrived: Vec<u8>,
}

impl Link {
    pub(super) fn new(connected: Connected, patience: Duration) -> Self {
        let Connected { stream, host, .. } = connected;
        Self { stream, host, patience, keepalive: true, arrived: Vec::new() }
    }

    pub(super) fn host(&self) -> &HostPort {
        &self.host
    }

    /// Whether the next chunk may use it: neither forbidden by the server, nor has it sent what nobody asked for.
    pub(super) fn may_stay_open(&self) -> bool {
        self.keepalive && self.arrived.is_empty()
    }

    pub(super) async fn handshake(&mut self, credentials: &Credentials, hostname: &str) -> Result<Welcome, Fault> {
        let Reply::Helo(helo) = self.reply("HELO (has it no shared key?)", self.patience).await? else {
            return Err(Fault::Unexpected("HELO"));
        };
        let salt = hex(&random_bytes::<16>().map_err(Fault::NoRandom)?);
        let greeting = Greeting { helo: &helo, hostname, salt: &salt, credentials };
        self.write(&greeting.ping()).await?;
        let pong = match self.reply("PONG", self.patience).await {
            Ok(Reply::Pong(pong)) => pong,
            Ok(Reply::Helo(_) | Reply::Ack(_)) => return Err(Fault::Unexpected("PONG")),
            Err(Fault::Closed(_)) => return Err(Fault::ClosedOnPing),
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Fault::ClosedOnPing),
            Err(fault) => return Err(fault),
        };
        match pong.accepted {
            false => Err(Fault::Refused(pong.reason)),
            true if !greeting.is_proven(&pong) => Err(Fault::Unproven),
            true => {
                self.keepalive = helo.keepalive;
                Ok(Welcome::Accepted { hostname: printable(&pong.hostname), keepalive: helo.keepalive })
            }
        }
    }

    /// Gives the server a moment to ask for a key that we do not have.
    pub(super) async fn listen(&mut self, patience: Duration) -> Result<Welcome, Fault> {
        match self.reply("answer", patience).await {
            Err(Fault::Late(..)) if self.arrived.is_empty() => Ok(Welcome::Silent),
            Ok(Reply::Helo(_)) => Err(Fault::KeyWanted),
            Ok(_) => Err(Fault::Unexpected("nothing")),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a chunk; with a name, waits until the server has acknowledged it.
    pub(super) async fn deliver(&mut self, message: &[u8], chunk: Option<&str>) -> Result<(), Fault> {
        if let Err(fault) = self.write(message).await {
            return Err(self.last_words(fault).await);
        }
        let Some(chunk) = chunk else { return Ok(()) };
        match self.reply("acknowledgement", self.patience).await {
            Ok(Reply::Ack(acked)) if acked == chunk.as_bytes() => Ok(()),
            Ok(Reply::Ack(acked)) => Err(Fault::WrongAck(printable(&acked))),
            Ok(Reply::Helo(_)) => Err(Fault::KeyWanted),
            Ok(Reply::Pong(_)) => Err(Fault::Unexpected("an acknowledgement")),
            Err(fault) => Err(fault),
        }
    }

    /// Whether nothing has happened since the last chunk: a server that went away in the meantime has not got the next.
    pub(super) async fn is_at_rest(&mut self) -> Result<(), Fault> {
        // tokio knows only what its driver has seen: let it look.
        tokio::task::yield_now().await;
        match self.peek().await {
            Ok(None) => Ok(()),
            Ok(Some(0)) => Err(Fault::Closed("nothing")),
            Ok(Some(_)) => Err(Fault::Unexpected("nothing")),
            Err(error) => Err(Fault::Io(error)),
        }
    }

    pub(super) async fn close(mut self) {
        let _ = timeout(GOODBYE, self.stream.shutdown()).await;
    }

    /// The next answer, whole within `patience`, however slowly its bytes come.
    async fn reply(&mut self, what: &'static str, patience: Duration) -> Result<Reply, Fault> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((reply, length)) = decode_reply(&self.arrived)? {
                self.arrived.drain(..length);
                return Ok(reply);
            }
            let mut room = [0; 1024];
            let read = timeout_at(deadline, self.stream.read(&mut room)).await;
            match read.map_err(|_| Fault::Late(what, patience))?.map_err(Fault::Io)? {
                0 => return Err(Fault::Closed(what)),
                n => self.arrived.extend_from_slice(room.get(..n).unwrap_or_default()),
            }
        }
    }

    /// Writes all; a slow server has all the time it needs as long as it takes anything.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        let late = |_| Fault::Late("progress in sending", self.patience);
        while !bytes.is_empty() {
            let wrote = timeout(self.patience, self.stream.write(bytes)).await.map_err(late)?.map_err(Fault::Io)?;
            if wrote == 0 {
                return Err(Fault::Io(io::ErrorKind::WriteZero.into()));
            }
            bytes = bytes.get(wrote..).unwrap_or_default();
        }
        timeout(self.patience, self.stream.flush()).await.map_err(late)?.map_err(Fault::Io)
    }

    /// What a server said before it hung up on us says more than that it did.
    async fn last_words(&mut self, fault: Fault) -> Fault {
        match self.peek().await.map(|_| decode_reply(&self.arrived)) {
            Ok(Ok(Some((Reply::Helo(_), _)))) => Fault::KeyWanted,
            _ => fault,
        }
    }

    /// What has arrived by now: `None` nothing, 0 the end.
    async fn peek(&mut self) -> io::Result<Option<usize>> {
        let mut room = [0; MAX_REPLY / 8];
        let mut room = ReadBuf::new(&mut room);
        let stream = Pin::new(&mut self.stream);
        let mut stream = Some(stream);
        let ready = poll_fn(|cx| {
            let Some(stream) = stream.take() else { return Poll::Ready(Ok(false)) };
            match stream.poll_read(cx, &mut room) {
                Poll::Pending => Poll::Ready(Ok(false)),
                Poll::Ready(read) => Poll::Ready(read.map(|()| true)),
            }
        })
        .await?;
        self.arrived.extend_from_slice(room.filled());
        Ok(ready.then(|| room.filled().len()))
    }
}
