//! An exchange, whichever version of HTTP it came in: how a record is filled from heads, and what all sessions share.
//!
//! Reads no bytes of the network: `http` and `http2` do, and say here what they found.

pub(crate) mod fields;
mod fill;
pub mod own;
pub(crate) mod room;

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

pub(crate) use self::fill::{client_ip, connection, empty, http09_response, request, response};
pub(crate) use self::own::is_own;
use crate::flow::Timestamp;
use crate::ledger::HttpLedger;
use crate::pool::{LimitPool, PoolShare};
use crate::record::{CallSystem, Exchange, HttpHeader, Record, StreamClass, UnansweredReason};
use crate::redact::{RecentTexts, Redactor};
use crate::shape::proxy::TrustedProxies;
use crate::tcp::CloseReason;

/// Which headers a record keeps (LOGHEADERS).
#[derive(Clone, Debug, Default)]
pub enum KeepHeaders {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those with these names, lower case.
    Named(Vec<String>),
}

impl KeepHeaders {
    fn keeps(&self, name: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name)),
        }
    }
}

/// What all sessions are given.
#[derive(Clone, Debug)]
pub struct ExchangeConfig {
    /// Longest head looked at (MAX_HEAD_BYTES).
    pub max_head_bytes: usize,
    /// Bytes that all sessions together keep of heads under way and of exchanges that wait for something.
    pub max_kept_bytes: usize,
    /// When a request counts as unanswered, nanoseconds behind its last byte (TIMEOUT_AFTER_MS).
    pub timeout_after: u64,
    /// When a response counts as a stream, nanoseconds (STREAM_AFTER_MS).
    pub stream_after: u64,
    /// Headers to keep.
    pub headers: KeepHeaders,
    /// Identity of the observer, part of every `event.id` (OBSERVER_ID, pod uid, host name).
    pub observer_id: String,
    /// Own addresses, for the direction (OWN_IPS).
    pub own_ips: Vec<IpAddr>,
    /// Proxies whose word about the client is taken (TRUSTED_PROXIES).
    pub trusted_proxies: TrustedProxies,
    /// Marks podtap's own requests.
    pub nonce: Option<own::Nonce>,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        Self {
            max_head_bytes: 64 * 1024,
            max_kept_bytes: 16 << 20,
            timeout_after: 10_000_000_000,
            stream_after: 30_000_000_000,
            headers: KeepHeaders::None,
            observer_id: String::new(),
            own_ips: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            nonce: None,
        }
    }
}

/// What all sessions share.
#[derive(Debug)]
pub struct ExchangeContext {
    /// What they are given.
    pub config: ExchangeConfig,
    /// Masks secrets before anything is kept.
    pub redactor: Redactor,
    /// What it left as it was.
    pub(crate) recent: RecentTexts,
    /// What they count.
    pub ledger: HttpLedger,
    /// Names seen in TLS handshakes and such.
    pub protocols: SeenProtocols,
    /// What they make.
    pub out: Vec<Record>,
    /// Where header blocks of HTTP/2 are decoded.
    pub(crate) block: crate::hpack::HeaderBlock,
    /// Where messages of DNS go, if they are wanted.
    pub(crate) dns: Option<crate::dns::DnsWatch>,
    /// Gauge: bytes that sessions keep of exchanges (`room`).
    kept: usize,
    /// Of all that sessions of all capture threads keep.
    share: PoolShare,
}

impl ExchangeContext {
    /// An empty context.
    pub fn new(config: ExchangeConfig, redactor: Redactor) -> Self {
        let alone = LimitPool::new(config.max_kept_bytes);
        Self::sharing(config, redactor, &alone)
    }

    /// An empty context that shares what may be kept with others.
    pub fn sharing(config: ExchangeConfig, redactor: Redactor, kept: &Arc<LimitPool>) -> Self {
        Self {
            config,
            redactor,
            recent: RecentTexts::default(),
            ledger: HttpLedger::default(),
            protocols: SeenProtocols::default(),
            out: Vec::new(),
            block: crate::hpack::HeaderBlock::default(),
            dns: None,
            kept: 0,
            share: PoolShare::new(kept),
        }
    }
}

impl ExchangeContext {
    /// A record is made.
    pub(crate) fn record(&mut self, exchange: Box<Exchange>) {
        self.ledger.records += 1;
        self.out.push(Record::Http(exchange));
    }

    /// The record of a whole exchange is made; one that goes on for long is in a class apart.
    pub(crate) fn record_exchange(&mut self, mut exchange: Box<Exchange>) {
        if let Some(response) = exchange.response.as_ref().filter(|_| exchange.class == StreamClass::Exchange) {
            let long = response.last.since(response.first) >= self.config.stream_after;
            if long || response.mime_type.as_deref() == Some("text/event-stream") {
                exchange.class = StreamClass::Stream;
            }
        }
        // One message each way: the status of HTTP says that it went well.
        if let Some(call) = exchange.grpc.as_mut().filter(|call| call.system == CallSystem::Connect { unary: true }) {
            let done = exchange.response.as_ref().is_some_and(|response| response.status == Some(200));
            call.status = call.status.or(done.then_some(0));
        }
        self.record(exchange);
    }
}

/// Where and when a message began, and what its first segment acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageStart {
    pub at: Timestamp,
    pub offset: u64,
    pub ack: Option<u64>,
}

/// What was recognised and not decoded, by name: `tls api.example.com (h2)`, `h2`. Bounded.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SeenProtocols {
    counts: std::collections::BTreeMap<CompactString, u64>,
}

impl SeenProtocols {
    /// Names kept apart; more are counted together as `other`.
    const MAX_NAMES: usize = 64;

    pub(crate) fn count(&mut self, name: CompactString) {
        let known = self.counts.contains_key(&name) || self.counts.len() < Self::MAX_NAMES;
        *self.counts.entry(if known { name } else { CompactString::const_new("other") }).or_default() += 1;
    }

    /// Names and how many connections had them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, n)| (name.as_str(), *n))
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Self) {
        for (name, n) in &other.counts {
            *self.counts.entry(name.clone()).or_default() += n;
        }
    }
}

/// Why requests are unanswered when their connection ends; `None`: unknown, since it was podtap that needed the room.
pub(crate) fn unanswered_by(reason: CloseReason) -> Option<UnansweredReason> {
    match reason {
        CloseReason::Closed | CloseReason::Reused | CloseReason::Idle => Some(UnansweredReason::Closed),
        CloseReason::Reset(_) => Some(UnansweredReason::Reset),
        CloseReason::EndOfCapture | CloseReason::Shutdown => Some(UnansweredReason::Shutdown),
        CloseReason::Evicted => None,
    }
}

/// What keeps the header fields that a record shows, masked, and says whether it had room; `None` where it shows none.
pub(crate) fn head_fields<'a>(
    keep: &'a KeepHeaders,
    redactor: &'a Redactor,
    into: &'a mut Vec<HttpHeader>,
) -> Option<impl FnMut(&[u8], &[u8]) -> bool + 'a> {
    if matches!(keep, KeepHeaders::None) {
        return None;
    }
    Some(move |name: &[u8], value: &[u8]| {
        let (wanted, has_room) = (keep.keeps(name), into.len() < MAX_KEPT_HEADERS);
        if wanted && has_room {
            into.push(HttpHeader { name: redactor.text(name), value: redactor.header_value(name, value) });
        }
        has_room || !wanted
    })
}

/// Most header fields kept of one message.
const MAX_KEPT_HEADERS: usize = 128;
