//! HTTP/1.1 with the API server: a page of a list, or a watch line by line. Owns connections and their limits; knows no
//! object.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::access::{ApiAccess, in_words};
use crate::exchange::own;
use crate::sink::connect::{ConnectTimeouts, Connector, LoadedTls, OnSocket};

/// How long an answer may take, and each piece of its body.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest page: with fewer objects where that is not enough.
pub(super) const MAX_PAGE: usize = 8 << 20;
/// Longest line of a watch: an object has 1.5 MiB in etcd at most, and JSON is longer.
const MAX_LINE: usize = 8 << 20;
/// Longest message of a server that is repeated.
const MAX_WORDS: usize = 400;
/// Largest head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestTrouble {
    /// What was asked for is too old by now: 410 Gone. The list has to be read again.
    Expired,
    /// The page is larger than [`MAX_PAGE`].
    TooLarge,
    /// The server said no, with this status.
    Refused(u16, String),
    /// No answer, or one that cannot be read.
    Failed(String),
}

impl RequestTrouble {
    /// In words, for the log.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Expired => "what was asked for is too old (410)".to_owned(),
            Self::TooLarge => format!("a page is larger than {} MiB", MAX_PAGE >> 20),
            Self::Refused(status, words) => format!("the API server answered {status}: {words}"),
            Self::Failed(why) => why.clone(),
        }
    }
}

/// The API server, as one follower sees it: one connection at a time.
pub(super) struct ApiConnection {
    access: ApiAccess,
    connector: Connector,
    sender: Option<SendRequest<NoBody>>,
}

impl ApiConnection {
    /// Reads certificates; `hook` learns of every connection.
    pub(super) fn new(access: ApiAccess, hook: Option<OnSocket>) -> Result<Self, String> {
        let tls = access.tls.clone().map(LoadedTls::load).transpose().map_err(|why| in_words(&why.to_string()))?;
        let connector = Connector::new(vec![access.host.clone()], tls, ConnectTimeouts::default());
        let connector = hook.into_iter().fold(connector, Connector::with_hook);
        Ok(Self { access, connector, sender: None })
    }

    /// The whole answer.
    pub(super) async fn get(&mut self, path: &str) -> Result<Vec<u8>, RequestTrouble> {
        let response = self.ask(path).await?;
        let whole = body(response.into_body(), MAX_PAGE).await;
        if whole.is_err() {
            self.sender = None;
        }
        whole
    }

    /// The lines of an answer that goes on; each may take `idle` at most.
    pub(super) async fn watch(&mut self, path: &str, idle: Duration) -> Result<AnswerLines, RequestTrouble> {
        let response = self.ask(path).await?;
        // The connection is the watch's now: what else is asked meanwhile would wait for its end.
        let sender = self.sender.take();
        Ok(AnswerLines {
            body: response.into_body(),
            _sender: sender,
            buffer: Vec::new(),
            searched: 0,
            idle,
            skipping: false,
        })
    }

    async fn ask(&mut self, path: &str) -> Result<Response<Incoming>, RequestTrouble> {
        let request = self.request(path)?;
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let answer = timeout(PATIENCE, sender.send_request(request)).await;
        let answer = answer.map_err(|_| RequestTrouble::Failed(format!("no answer within {PATIENCE:?}")))?;
        let response = answer.map_err(|error| RequestTrouble::Failed(error.to_string()))?;
        let status = response.status();
        if status.is_success() {
            self.sender = Some(sender);
            return Ok(response);
        }
        let words = body(response.into_body(), MAX_PAGE).await.unwrap_or_default();
        Err(refused(status.as_u16(), &words))
    }

    async fn connect(&mut self) -> Result<SendRequest<NoBody>, RequestTrouble> {
        let connected =
            self.connector.connect().await.map_err(|error| RequestTrouble::Failed(in_words(&error.to_string())))?;
        let io = TokioIo::new(connected.stream);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(io)
            .await
            .map_err(|error| RequestTrouble::Failed(error.to_string()))?;
        // It ends when its sender is dropped, or the server closes it; what fails is seen by who waits for an answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn request(&self, path: &str) -> Result<Request<NoBody>, RequestTrouble> {
        let nonce = own::nonce();
        let mut request = Request::get(format!("{}{path}", self.access.prefix))
            .header("host", self.access.host.to_string())
            .header("accept", "application/json")
            .header("user-agent", concat!("podtap/", env!("CARGO_PKG_VERSION")))
            .header(own::Nonce::NAME, nonce.value());
        if let Some(credentials) = self.access.authorization().map_err(RequestTrouble::Failed)? {
            request = request.header("authorization", credentials);
        }
        // Its words could hold the token.
        request
            .body(NoBody)
            .map_err(|_| RequestTrouble::Failed("the token or the path is no part of a request".to_owned()))
    }
}

/// What the server says of itself is a `Status`; a proxy may say anything.
fn refused(status: u16, body: &[u8]) -> RequestTrouble {
    let said: Option<super::objects::ApiObject> = serde_json::from_slice(body).ok();
    let message = said.and_then(|object| object.message);
    let words = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    if status == 410 {
        return RequestTrouble::Expired;
    }
    RequestTrouble::Refused(status, crate::settings::printable_up_to(MAX_WORDS, words.trim()))
}

async fn frame(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, RequestTrouble> {
    loop {
        let frame = timeout(patience, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))).await;
        match frame {
            Err(_) => return Err(RequestTrouble::Failed(format!("nothing was received for {patience:?}"))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(RequestTrouble::Failed(error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

async fn body(mut body: Incoming, most: usize) -> Result<Vec<u8>, RequestTrouble> {
    let mut whole = Vec::new();
    while let Some(bytes) = frame(&mut body, PATIENCE).await? {
        if whole.len() + bytes.len() > most {
            return Err(RequestTrouble::TooLarge);
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

/// An answer that goes on.
pub(super) struct AnswerLines {
    body: Incoming,
    /// Dropped, it would end the connection.
    _sender: Option<SendRequest<NoBody>>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold no line's end.
    searched: usize,
    idle: Duration,
    /// The line is too long: up to its end everything is left out.
    skipping: bool,
}

impl AnswerLines {
    /// Hands the next line to `read`; false at the end. A line that is too long is an error, once.
    pub(super) async fn next(&mut self, read: impl FnOnce(&[u8])) -> Result<bool, RequestTrouble> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let end = self.searched + at;
                let whole = !std::mem::take(&mut self.skipping);
                if whole {
                    read(self.buffer.get(..end).unwrap_or_default());
                }
                self.buffer.drain(..=end);
                self.searched = 0;
                self.shrink();
                return if whole { Ok(true) } else { Err(RequestTrouble::TooLarge) };
            }
            self.searched = self.buffer.len();
            if self.skipping || self.searched > MAX_LINE {
                self.skipping = true;
                self.buffer = Vec::new();
                self.searched = 0;
            }
            match frame(&mut self.body, self.idle).await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(false),
            }
        }
    }

    /// One large object must not cost its room for as long as the watch lives.
    fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 256 << 10 {
            self.buffer = Vec::new();
        }
    }
}

/// GET has no body.
pub(super) struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}
