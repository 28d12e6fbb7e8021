//! An exchange: one request and its response, of any version of HTTP. Plain data; `exchange` and `http` fill it.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::{
    DomainNames, EarlyEnd, EventOutcome, EventStream, ExchangeConnection, GrpcCall, Http2, NetworkDirection, OfNode,
    Trust, WebSocket, Weird, WeirdSet, Workload,
};
use crate::flow::Timestamp;

/// One request and its response, or the half that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The connection.
    pub connection: Arc<ExchangeConnection>,
    /// `event.id`: `<connection id>.<offset of the request in its stream, hex>`. An orphan response has its own offset
    /// behind `r`; a late response has its request's id and `.late` behind it.
    pub id: CompactString,
    /// 1, 2, … within the connection, by its request; 0: of an unknown one.
    pub number: u32,
    /// The request, when seen.
    pub request: Option<HttpRequest>,
    /// The final response, when seen.
    pub response: Option<HttpResponse>,
    /// SYN → SYN-ACK in nanoseconds; only on the first exchange of a connection whose handshake was seen.
    pub connect_ns: Option<u64>,
    /// How far the record can be trusted.
    pub trust: Trust,
    /// What the label is about.
    pub missing: MissingParts,
    /// Exchange, stream, tunnel or upgrade.
    pub class: StreamClass,
    /// 1xx status codes before the final one (at most `MAX_INFORMATIONAL`).
    pub informational: Vec<u16>,
    /// Protocol oddities.
    pub weird: WeirdSet,
    /// Why there is no response, where the request was seen to its end and none came.
    pub unanswered: Option<UnansweredReason>,
    /// A response whose request had been reported as timed out before.
    pub late: bool,
    /// Who ended what did not end by itself, and how.
    pub ended: Option<EarlyEnd>,
    /// The client behind proxies.
    pub client_ip: Option<IpAddr>,
    /// `http.route`; set by the pipeline.
    pub route: Option<CompactString>,
    /// It carries podtap's own nonce: a request of ours to a sink. The filter leaves it out.
    pub own_traffic: bool,
    /// When the wait for an unanswered request was given up: time-out, close, reset, end.
    pub gave_up: Option<Timestamp>,
    /// The stream, of HTTP/2.
    pub http2: Option<Box<Http2>>,
    /// The call, of gRPC.
    pub grpc: Option<Box<GrpcCall>>,
    /// What the socket behind an upgrade said.
    pub websocket: Option<Box<WebSocket>>,
    /// Server-sent events in the response's body.
    pub sse: Option<EventStream>,
    /// It goes on: what there is of it is recorded before its end, and once more then.
    pub open: bool,
    /// The workload behind the client's address, when it is known; set by the pipeline.
    pub source_workload: Option<Arc<Workload>>,
    /// The workload behind the server's address, when it is known; set by the pipeline.
    pub destination_workload: Option<Arc<Workload>>,
    /// The names of the client's address, when they are known; set by the pipeline.
    pub source_domain: Option<Arc<DomainNames>>,
    /// The names of the server's address, when they are known; set by the pipeline.
    pub destination_domain: Option<Arc<DomainNames>>,
    /// Where a node is observed, whose exchange it is; set by the pipeline.
    pub of_node: Option<Box<OfNode>>,
}

/// HTTP version as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// A request line without a version.
    V09,
    /// HTTP/1.0.
    V10,
    /// HTTP/1.1, and what calls itself another 1.x.
    V11,
    /// HTTP/2.
    V2,
    /// Of HTTP/1, and its end was not seen.
    Unknown,
}

impl HttpVersion {
    /// `http.version`; `None` if it was not seen.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::V09 => Some("0.9"),
            Self::V10 => Some("1.0"),
            Self::V11 => Some("1.1"),
            Self::V2 => Some("2"),
            Self::Unknown => None,
        }
    }
}

/// One header field, in order of appearance; the name as sent, the value masked where it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHeader {
    /// Name as sent.
    pub name: CompactString,
    /// Value; bytes outside printable ASCII as `\xNN`.
    pub value: CompactString,
}

/// The request half.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRequest {
    /// Method as sent; empty where HPACK's state hid it.
    pub method: CompactString,
    /// Request-target as sent, secrets masked, bytes outside printable ASCII as `\xNN`; empty where HPACK's state hid it.
    pub target: CompactString,
    /// Version.
    pub version: HttpVersion,
    /// Host header as sent (may hold a port).
    pub host: Option<CompactString>,
    /// Media type of Content-Type, lower case, without parameters.
    pub mime_type: Option<CompactString>,
    /// Referer.
    pub referrer: Option<CompactString>,
    /// X-Request-Id.
    pub id: Option<CompactString>,
    /// User-Agent.
    pub user_agent: Option<CompactString>,
    /// W3C traceparent or B3.
    pub trace: Option<Box<TraceContext>>,
    /// Headers, only with LOGHEADERS.
    pub headers: Vec<HttpHeader>,
    /// Trailers of HTTP/2, likewise.
    pub trailers: Vec<HttpHeader>,
    /// Time of the first byte.
    pub first: Timestamp,
    /// Time of the last byte seen.
    pub last: Timestamp,
    /// Head and body on the wire.
    pub bytes: u64,
    /// Body after de-chunking, before decompression.
    pub body_bytes: u64,
}

/// Distributed tracing context of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `trace.id`.
    pub trace_id: CompactString,
    /// `span.id`.
    pub span_id: CompactString,
}

/// The response half.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpResponse {
    /// Status code; HTTP/0.9 has none.
    pub status: Option<u16>,
    /// Reason phrase, when there is one.
    pub phrase: Option<CompactString>,
    /// Version.
    pub version: HttpVersion,
    /// Media type of Content-Type, lower case, without parameters.
    pub mime_type: Option<CompactString>,
    /// Headers, only with LOGHEADERS.
    pub headers: Vec<HttpHeader>,
    /// Trailers of HTTP/2, likewise.
    pub trailers: Vec<HttpHeader>,
    /// Time of the first byte.
    pub first: Timestamp,
    /// Time of the last byte seen.
    pub last: Timestamp,
    /// Head and body on the wire.
    pub bytes: u64,
    /// Body after de-chunking, before decompression.
    pub body_bytes: u64,
}

/// `podtap.stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamClass {
    /// Request and response.
    Exchange,
    /// Server-sent events, or a response longer than STREAM_AFTER_MS.
    Stream,
    /// CONNECT.
    Tunnel,
    /// 101 Switching Protocols.
    Upgrade,
}

impl StreamClass {
    /// `podtap.stream`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Stream => "stream",
            Self::Tunnel => "tunnel",
            Self::Upgrade => "upgrade",
        }
    }
}

/// `podtap.unanswered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnansweredReason {
    /// No response within TIMEOUT_AFTER_MS.
    Timeout,
    /// The connection was closed, or the capture ended.
    Closed,
    /// The connection was reset.
    Reset,
    /// podtap ended first.
    Shutdown,
}

impl UnansweredReason {
    /// All reasons, in the order of the ledger.
    pub const ALL: [Self; 4] = [Self::Timeout, Self::Closed, Self::Reset, Self::Shutdown];

    /// `podtap.unanswered`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
        }
    }
}

/// `podtap.missing`: parts of the exchange that were not seen whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MissingParts(u8);

impl MissingParts {
    /// The whole request.
    pub const REQUEST: Self = Self(1);
    /// The whole response.
    pub const RESPONSE: Self = Self(2);
    /// A part of the request's head.
    pub const REQUEST_HEAD: Self = Self(4);
    /// A part of the response's head.
    pub const RESPONSE_HEAD: Self = Self(8);
    /// A part of the request's body.
    pub const REQUEST_BODY: Self = Self(16);
    /// A part of the response's body.
    pub const RESPONSE_BODY: Self = Self(32);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::REQUEST, "request"),
        (Self::RESPONSE, "response"),
        (Self::REQUEST_HEAD, "request_head"),
        (Self::RESPONSE_HEAD, "response_head"),
        (Self::REQUEST_BODY, "request_body"),
        (Self::RESPONSE_BODY, "response_body"),
    ];

    /// Adds `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is missing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(part, _)| self.contains(*part)).map(|(_, name)| name)
    }
}

impl Exchange {
    /// First byte of the request, or of the response if the request was not seen.
    pub fn start(&self) -> Timestamp {
        match (&self.request, &self.response) {
            (Some(request), _) => request.first,
            (None, Some(response)) => response.first,
            (None, None) => Timestamp::default(),
        }
    }

    /// Which way, seen from the observed pod; `None` when none of the ends is known to be its.
    pub fn direction(&self) -> Option<NetworkDirection> {
        self.of_node.as_ref().map_or(self.connection.direction, |of_node| of_node.direction)
    }

    /// Last byte of the response; `None` where that was before the start: the clock was set back meanwhile.
    pub fn end(&self) -> Option<Timestamp> {
        self.response.as_ref().map(|r| r.last).filter(|last| *last >= self.start())
    }

    /// Request and response, where both were seen and the clock says that the request began first.
    pub fn in_order(&self) -> Option<(&HttpRequest, &HttpResponse)> {
        self.request.as_ref().zip(self.response.as_ref()).filter(|(request, response)| response.first >= request.first)
    }

    /// It was reported as unanswered before: the response is late, and this record another one.
    pub(crate) fn be_late(&mut self) {
        if !std::mem::replace(&mut self.late, true) {
            self.id.push_str(".late");
        }
    }

    /// Success, failure or unknown.
    pub fn outcome(&self) -> EventOutcome {
        if let Some(outcome) = self.grpc_outcome().or(self.reset_outcome()) {
            return outcome;
        }
        match (self.response.as_ref().map(|r| r.status), self.unanswered) {
            (Some(_), _) if self.is_cut() => EventOutcome::Failure,
            (Some(Some(100..400)), _) if self.is_call_without_status() => EventOutcome::Unknown,
            (Some(Some(100..400)), _) => EventOutcome::Success,
            (Some(Some(400..600)), _) | (None, Some(_)) => EventOutcome::Failure,
            (Some(_), _) | (None, None) => EventOutcome::Unknown,
        }
    }

    /// Whether it took at least `limit` nanoseconds. A stream is long by nature: only the wait for its beginning counts.
    pub fn is_slow(&self, limit: u64) -> bool {
        let Some(response) = &self.response else { return false };
        let until = match self.class {
            StreamClass::Exchange => response.last,
            StreamClass::Stream | StreamClass::Tunnel | StreamClass::Upgrade => response.first,
        };
        until.since(self.start()) >= limit
    }

    /// Its answer ended before its framing says so. A stream of events ends no other way.
    fn is_cut(&self) -> bool {
        self.class == StreamClass::Exchange && self.weird.contains(Weird::BodyCutByClose)
    }

    /// By the status of gRPC, whatever HTTP says next to it.
    fn grpc_outcome(&self) -> Option<EventOutcome> {
        let status = self.grpc.as_ref()?.status?;
        Some(if status == 0 { EventOutcome::Success } else { EventOutcome::Failure })
    }

    /// A stream that was reset did not end as it should, unless the reset says that nothing is wrong (RFC 9113 §8.1).
    fn reset_outcome(&self) -> Option<EventOutcome> {
        let reset = self.http2.as_ref()?.reset?;
        (reset.code != 0 || self.response.is_none()).then_some(EventOutcome::Failure)
    }

    /// Whether gRPC says what came of the call, or nothing does: its HTTP status alone is no success.
    pub fn is_call_without_status(&self) -> bool {
        self.grpc.as_ref().is_some_and(|call| call.status.is_none())
    }
}
