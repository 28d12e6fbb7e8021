//! What HTTP/2, gRPC, WebSocket and server-sent events add to an exchange. Plain data.

use compact_str::{CompactString, format_compact};

use crate::flow::Timestamp;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionSide {
    /// Who asked.
    Client,
    /// Who answered.
    Server,
}

impl ConnectionSide {
    /// `client` or `server`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// `podtap.http2`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Http2 {
    /// `.stream_id`
    pub stream: u32,
    /// `.reset`: by the first RST_STREAM.
    pub reset: Option<StreamReset>,
    /// `.not_processed`: above the last stream that a GOAWAY names; safe to send again.
    pub not_processed: bool,
    /// `.upgraded`: its request came as HTTP/1.1 with Upgrade: h2c.
    pub upgraded: bool,
    /// `.pushed`: the server promised it.
    pub pushed: bool,
    /// `podtap.unknown`: what HPACK's state hid.
    pub unknown: Vec<&'static str>,
    /// `podtap.path_ref`: label of a `:path` that is not known; the same label is the same path.
    pub path_ref: Option<CompactString>,
}

/// Who reset a stream, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamReset {
    /// By whom.
    pub by: ConnectionSide,
    /// Error code (RFC 9113 §7).
    pub code: u32,
}

/// How something ended that did not end by itself. That is an exchange of HTTP/1 that was cut or left unanswered, a stream
/// of HTTP/2 before its END_STREAM, or a WebSocket without a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyEnd {
    /// `podtap.ended_by`; none where that is not known.
    pub by: Option<ConnectionSide>,
    /// `podtap.ended_how`
    pub how: EndedHow,
}

/// `podtap.ended_how`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedHow {
    /// The connection's FIN.
    Fin,
    /// The connection's RST.
    Rst,
    /// RST_STREAM.
    ResetStream,
}

impl EndedHow {
    /// As records have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::ResetStream => "reset_stream",
        }
    }
}

/// Name of an error code of HTTP/2 (RFC 9113 §7).
pub fn h2_error(code: u32) -> CompactString {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let name = usize::try_from(code).ok().and_then(|n| NAMES.get(n));
    name.map_or_else(|| format_compact!("{code}"), |name| CompactString::const_new(name))
}

/// Name of a status of gRPC, or its number.
pub fn grpc_status(status: u32) -> CompactString {
    grpc_status_name(status).map_or_else(|| format_compact!("{status}"), CompactString::const_new)
}

/// Name of a status of gRPC that there is.
pub fn grpc_status_name(status: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(status).ok().and_then(|n| NAMES.get(n)).copied()
}

/// Whose way of calling it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CallSystem {
    /// gRPC and gRPC-Web.
    #[default]
    Grpc,
    /// The Connect protocol.
    Connect {
        /// One message each way, in plain bodies: the status of HTTP says whether it went well.
        unary: bool,
    },
}

impl CallSystem {
    /// `rpc.system.name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Connect { .. } => "connectrpc",
        }
    }
}

/// One call of gRPC, or of the Connect protocol, which has the same codes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GrpcCall {
    /// `rpc.system.name`.
    pub system: CallSystem,
    /// `rpc.method`: `pkg.Service/Method`.
    pub method: Option<CompactString>,
    /// `rpc.response.status_code`, as a number; none where none was on the wire, or it is not known.
    pub status: Option<u32>,
    /// `podtap.grpc.message`, percent-decoded, secrets masked.
    pub message: Option<CompactString>,
    /// Messages of the client that were seen whole; none where they could not be counted.
    pub request_messages: Option<u64>,
    /// Messages of the server, likewise.
    pub response_messages: Option<u64>,
    /// When the first message of the server was whole.
    pub first_message: Option<Timestamp>,
    /// `grpc-timeout` in microseconds.
    pub timeout_us: Option<u64>,
    /// `grpc-encoding` of the response, else of the request.
    pub encoding: Option<CompactString>,
}

/// `podtap.websocket`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WebSocket {
    /// What the client sent; none where a loss made it uncountable.
    pub client: Option<SocketCounts>,
    /// What the server sent, likewise.
    pub server: Option<SocketCounts>,
    /// Code of the first close frame; none where it had none.
    pub close_code: Option<u16>,
    /// Who sent the first close frame.
    pub closed_by: Option<ConnectionSide>,
    /// Messages were compressed (permessage-deflate).
    pub compressed: bool,
    /// From the end of the answer that opened it to its last byte, microseconds.
    pub lasted_us: Option<u64>,
}

/// What one end of a WebSocket sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SocketCounts {
    /// Data messages that were seen whole.
    pub messages: u64,
    /// All frames.
    pub frames: u64,
    /// Text messages, by their first frame.
    pub text: u64,
    /// Binary messages, by their first frame.
    pub binary: u64,
    /// Pings.
    pub pings: u64,
    /// Pongs.
    pub pongs: u64,
    /// Payload of data frames.
    pub bytes: u64,
}

/// `podtap.sse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EventStream {
    /// Events that were seen whole.
    pub events: u64,
    /// When the first one was.
    pub first: Option<Timestamp>,
}
