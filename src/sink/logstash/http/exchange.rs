//! One connection to an HTTP server, driven by hand: a request and its answer. Each step has a time limit, and all of
//! it is gone when the future is dropped. Owns how much of an answer is read; its meaning is `http`'s.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::super::connect::{HostPort, HttpProxy, ServerConnection, ServerStream, explain, io_reason};
use super::super::super::error::{DeliveryError, FailureReason, retry_after};

/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// Bytes of an answer's body that are kept.
const KEPT: usize = 2 << 10;

/// Bytes of an answer's body that are read so that the connection can be used again.
const MAX_BODY: usize = 64 << 10;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// The beginning of its body.
    pub(super) words: Vec<u8>,
    /// Whether it came when all of the request had been sent.
    pub(super) was_heard: bool,
    /// Whether the connection may be used again.
    pub(super) may_stay_open: bool,
    /// Who said it.
    pub(super) host: String,
}

/// A connection that may be used.
pub(super) struct LiveConnection {
    sender: SendRequest<Once>,
    connection: Connection<TokioIo<WatchedStream>, Once>,
    progress: Arc<ByteProgress>,
    host: HostPort,
    encrypted: bool,
    proxy: Option<HttpProxy>,
}

impl LiveConnection {
    pub(super) async fn new(connected: ServerConnection) -> Result<Self, DeliveryError> {
        let ServerConnection { stream, host, proxy, .. } = connected;
        let encrypted = matches!(stream, ServerStream::Tls(_));
        let progress = Arc::new(ByteProgress::default());
        let watched = WatchedStream { stream, progress: Arc::clone(&progress) };
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(watched)).await;
        let (sender, connection) = handshake.map_err(|error| why(error).at(&host))?;
        Ok(Self { sender, connection, progress, host, encrypted, proxy })
    }

    pub(super) fn host(&self) -> &HostPort {
        &self.host
    }

    /// The proxy that passes requests on.
    pub(super) fn proxy(&self) -> Option<&HttpProxy> {
        self.proxy.as_ref()
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether the next request may use it: a server that went away in the meantime has not got it.
    pub(super) async fn is_ready(&mut self) -> bool {
        // The runtime looks at the sockets when nothing else is to be done: a moment ago there may have been.
        tokio::task::yield_now().await;
        let (connection, sender) = (&mut self.connection, &mut self.sender);
        poll_fn(|cx| {
            let ended = Pin::new(&mut *connection).poll(cx).is_ready();
            Poll::Ready(!ended && matches!(sender.poll_ready(cx), Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Sends a request and waits for the answer; `patience` is for each step forward.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Once>,
        patience: Duration,
    ) -> Result<HttpAnswer, DeliveryError> {
        let length = request.body().length();
        let before = self.progress.written();
        let progress = Arc::clone(&self.progress);
        let all_sent = || progress.written() - before >= length;
        let host = self.host.to_string();
        let response = self.sender.send_request(request);
        let mut answer = pin!(async move {
            let response = response.await?;
            let was_heard = all_sent();
            read(response, was_heard, host).await
        });
        let mut ended = false;
        loop {
            let seen = self.progress.total();
            tokio::select! {
                biased;
                answer = &mut answer => {
                    return answer.map(|answer| HttpAnswer { may_stay_open: answer.may_stay_open && !ended, ..answer })
                        .map_err(why);
                }
                _ = &mut self.connection, if !ended => ended = true,
                () = tokio::time::sleep(patience) => {
                    if self.progress.total() == seen {
                        let what = if self.progress.written() - before < length { "progress in sending" } else { "answer" };
                        return Err(DeliveryError::new(FailureReason::Timeout, format!("no {what} within {patience:?}")));
                    }
                }
            }
        }
    }
}

async fn read(response: Response<Incoming>, was_heard: bool, host: String) -> hyper::Result<HttpAnswer> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let mut body = response.into_body();
    let (mut words, mut length, mut whole) = (Vec::new(), 0, true);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // The status is what counts; a body that breaks off only ends the connection.
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        let Some(bytes) = frame.data_ref() else { continue };
        length += bytes.len();
        words.extend_from_slice(bytes.get(..bytes.len().min(KEPT - words.len())).unwrap_or_default());
        if length > MAX_BODY {
            whole = false;
            break;
        }
    }
    Ok(HttpAnswer { status, retry_after, words, was_heard, may_stay_open: whole && was_heard, host })
}

/// An error of hyper's in words that hold no part of the request.
fn why(error: hyper::Error) -> DeliveryError {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    let (reason, words) = if error.is_parse() {
        (FailureReason::Protocol, "the answer is not HTTP; if the port speaks TLS, set LOGSTASH_TLS=true".to_owned())
    } else if error.is_incomplete_message() || error.is_canceled() {
        (FailureReason::Closed, "the server closed the connection, an answer was expected".to_owned())
    } else {
        source.map_or_else(|| (FailureReason::Closed, error.to_string()), |io| (io_reason(io), explain(io)))
    };
    DeliveryError::new(reason, words).with_source(error)
}

/// A body that is there already.
#[derive(Debug)]
pub(super) struct Once(Bytes);

impl Once {
    pub(super) fn new(body: Bytes) -> Self {
        Self(body)
    }

    fn length(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = std::mem::take(&mut self.get_mut().0);
        Poll::Ready(if body.is_empty() { None } else { Some(Ok(Frame::data(body))) })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

/// Bytes that have passed.
#[derive(Debug, Default)]
struct ByteProgress {
    written: AtomicU64,
    read: AtomicU64,
}

impl ByteProgress {
    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn total(&self) -> u64 {
        self.written() + self.read.load(Ordering::Relaxed)
    }
}

/// A stream that counts.
#[derive(Debug)]
struct WatchedStream {
    stream: ServerStream,
    progress: Arc<ByteProgress>,
}

impl WatchedStream {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.progress.written.fetch_add(*n as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.progress.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
