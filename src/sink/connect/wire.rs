//! A connection that listens while it writes, each step within a patience. Owns the waiting and the words for what goes
//! wrong with it; what the bytes mean is the protocols'.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::super::error::{DeliveryError, FailureReason};
use super::{HostPort, ServerConnection, ServerStream, explain, io_reason};

/// How long a goodbye may take: nothing depends on it.
const GOODBYE: Duration = Duration::from_secs(1);

/// Bytes of an answer read at once.
pub(in crate::sink) const ROOM: usize = 512;

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(in crate::sink) enum WireFault {
    /// Reading or writing failed.
    Io(io::Error),
    /// The server closed the connection instead of this.
    Closed(&'static str),
    /// Nothing came of it in time.
    Late(&'static str, Duration),
    /// The server speaks, and says what it should not; with the advice.
    Foreign(String),
}

impl WireFault {
    /// Whether the server threw the connection away with bytes it had not read (RFC 2525 §2.17), or never saw it.
    pub(in crate::sink) fn is_reset(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::ConnectionReset)
    }

    /// Its class.
    pub(in crate::sink) fn reason(&self) -> FailureReason {
        match self {
            Self::Io(error) => io_reason(error),
            Self::Closed(_) => FailureReason::Closed,
            Self::Late(..) => FailureReason::Timeout,
            Self::Foreign(_) => FailureReason::Protocol,
        }
    }

    /// The same for the worker, with whom it happened.
    pub(in crate::sink) fn at(&self, host: &HostPort) -> DeliveryError {
        DeliveryError::new(self.reason(), self.to_string()).at(host)
    }

    /// Whether nothing came in time.
    pub(in crate::sink) fn is_late(&self) -> bool {
        matches!(self, Self::Late(..))
    }

    /// Whether it was the server that ended it, in order or not.
    pub(in crate::sink) fn is_closed(&self) -> bool {
        self.is_reset() || matches!(self, Self::Closed(_))
    }
}

impl fmt::Display for WireFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&explain(error)),
            Self::Closed(instead) => write!(f, "the server closed the connection, {instead} was expected"),
            Self::Late(what, patience) => write!(f, "no {what} within {patience:?}"),
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

/// What one step came to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sink) enum WireStep {
    /// This many bytes arrived.
    Read(usize),
    /// This many bytes were taken.
    Wrote(usize),
    /// All bytes taken are with the kernel.
    Flushed,
}

/// A connection.
#[derive(Debug)]
pub(in crate::sink) struct ByteWire {
    stream: ServerStream,
    host: HostPort,
    patience: Duration,
    flushed: bool,
}

impl ByteWire {
    pub(in crate::sink) fn new(connected: ServerConnection, patience: Duration) -> Self {
        let ServerConnection { stream, host, .. } = connected;
        Self { stream, host, patience, flushed: true }
    }

    pub(in crate::sink) fn host(&self) -> &HostPort {
        &self.host
    }

    /// Whether all bytes taken are with the kernel.
    pub(in crate::sink) fn is_flushed(&self) -> bool {
        self.flushed
    }

    /// How long one step may take.
    pub(in crate::sink) fn patience(&self) -> Duration {
        self.patience
    }

    pub(in crate::sink) fn stream(&self) -> &ServerStream {
        &self.stream
    }

    /// Whatever comes first: bytes arrive in `room`, or some of `out` are taken. Where `out` is empty, the bytes taken
    /// before are flushed, then there is only reading. `what` is waited for.
    pub(in crate::sink) async fn step(
        &mut self,
        out: &[IoSlice<'_>],
        room: &mut [u8],
        what: &'static str,
    ) -> Result<WireStep, WireFault> {
        let patience = self.patience;
        self.step_within(out, room, what, patience).await
    }

    /// The same within another time.
    pub(in crate::sink) async fn step_within(
        &mut self,
        out: &[IoSlice<'_>],
        room: &mut [u8],
        what: &'static str,
        patience: Duration,
    ) -> Result<WireStep, WireFault> {
        let step = timeout(patience, poll_fn(|cx| self.poll_step(cx, out, room))).await;
        match step.map_err(|_| WireFault::Late(what, patience))?.map_err(WireFault::Io)? {
            WireStep::Read(0) => Err(WireFault::Closed(what)),
            WireStep::Wrote(0) => Err(WireFault::Io(io::ErrorKind::WriteZero.into())),
            step @ (WireStep::Read(_) | WireStep::Wrote(_) | WireStep::Flushed) => Ok(step),
        }
    }

    /// What has arrived by now, without waiting: `None` nothing, 0 the end.
    pub(in crate::sink) async fn peek(&mut self, room: &mut [u8]) -> Result<Option<usize>, WireFault> {
        // The runtime looks at the sockets when nothing else is to be done: a moment ago there may have been.
        tokio::task::yield_now().await;
        let peeked = poll_fn(|cx| {
            Poll::Ready(match self.poll_read(cx, room) {
                Poll::Pending => Ok(None),
                Poll::Ready(read) => read.map(Some),
            })
        });
        peeked.await.map_err(WireFault::Io)
    }

    pub(in crate::sink) async fn close(mut self) {
        let _ = timeout(GOODBYE, self.stream.shutdown()).await;
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, out: &[IoSlice<'_>], room: &mut [u8]) -> Poll<io::Result<WireStep>> {
        if let Poll::Ready(read) = self.poll_read(cx, room) {
            return Poll::Ready(read.map(WireStep::Read));
        }
        if out.iter().any(|slice| !slice.is_empty()) {
            self.flushed = false;
            return Pin::new(&mut self.stream).poll_write_vectored(cx, out).map_ok(WireStep::Wrote);
        }
        if self.flushed {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.flushed = flushed.is_ready();
        flushed.map_ok(|()| WireStep::Flushed)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        Pin::new(&mut self.stream).poll_read(cx, &mut room).map_ok(|()| room.filled().len())
    }
}
