//! What HTTP/2, gRPC, WebSocket and server-sent events add to the record in JSON: names, and what fills them.

use compact_str::{CompactString, format_compact};
use serde::Serialize;

use super::declare::parts;
use super::fit::LineFit;
use crate::record::{self, EventOutcome, Exchange, SocketCounts, Weird, grpc_status, h2_error};

/// `rpc`, by OpenTelemetry's names.
#[derive(Serialize)]
pub(super) struct RpcPart<'a> {
    pub(super) system: RpcSystemPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<RpcResponse>,
}

#[derive(Serialize)]
pub(super) struct RpcSystemPart {
    pub(super) name: &'static str,
}

#[derive(Serialize)]
pub(super) struct RpcResponse {
    pub(super) status_code: CompactString,
}

parts! {
    /// `error`
    struct ErrorPart in "error." {
        r#type: CompactString as "type" => Keyword "Of a failure: the status of gRPC, else the code of the stream's reset, else the HTTP status";
    }

    /// `podtap.http2`
    struct Http2Part in "podtap.http2." {
        stream_id: u32 => Long "Stream of HTTP/2";
        maybe reset: ResetPart => [
            "podtap.http2.reset.by" Keyword "Who reset the stream: `client`, `server`",
            "podtap.http2.reset.code" Keyword "Error code of the reset by name: `CANCEL`",
        ];
        maybe not_processed: bool => Boolean "`true` where a GOAWAY says that the server did not look at it: it may be sent again";
        maybe upgraded: bool => Boolean "`true` for stream 1 of a connection upgraded from HTTP/1.1, whose request that was";
        maybe pushed: bool => Boolean "`true` for a stream that the server began";
    }

    /// `podtap.grpc`
    struct GrpcPart<'a> in "podtap.grpc." {
        maybe message: &'a str => Keyword "`grpc-message`, percent-decoded, as UTF-8, secrets masked; of Connect the message of the error";
        maybe request_messages: u64 => Long "Messages of the client; absent where a loss made them uncountable, and of a unary call of Connect, which has one";
        maybe response_messages: u64 => Long "Messages of the server; absent likewise";
        maybe first_message_us: u64 => Long "Request first byte → first message of the server whole";
        maybe timeout_us: u64 => Long "`grpc-timeout`, or `connect-timeout-ms`";
        maybe encoding: &'a str => Keyword "`grpc-encoding` of the response, else of the request";
    }

    /// `podtap.websocket`
    struct WebSocketPart in "podtap.websocket." {
        maybe client: CountsPart => [
            "podtap.websocket.client.messages" Long "Messages of the client; all counts of an end are absent where a loss made them uncountable",
            "podtap.websocket.client.frames" Long "Frames of any kind",
            "podtap.websocket.client.text" Long "Text messages",
            "podtap.websocket.client.binary" Long "Binary messages",
            "podtap.websocket.client.pings" Long "Pings",
            "podtap.websocket.client.pongs" Long "Pongs",
            "podtap.websocket.client.bytes" Long "Payload of messages, as sent",
        ];
        maybe server: CountsPart => [
            "podtap.websocket.server.messages" Long "The same of the server",
            "podtap.websocket.server.frames" Long "Frames of any kind",
            "podtap.websocket.server.text" Long "Text messages",
            "podtap.websocket.server.binary" Long "Binary messages",
            "podtap.websocket.server.pings" Long "Pings",
            "podtap.websocket.server.pongs" Long "Pongs",
            "podtap.websocket.server.bytes" Long "Payload of messages, as sent",
        ];
        maybe close_code: u16 => Long "Code of the first close frame; absent where it has none";
        maybe closed_by: &'static str => Keyword "Who sent the first close frame: `client`, `server`";
        maybe compressed: bool => Boolean "`true` where messages were compressed";
        maybe duration_us: u64 => Long "End of the answer that opened the socket → last byte of it; over HTTP/2 absent";
    }

    /// `podtap.sse`
    struct SsePart in "podtap.sse." {
        events: u64 => Long "Server-sent events in the response";
        maybe first_event_us: u64 => Long "Request first byte → first event whole";
    }
}

#[derive(Serialize)]
pub(super) struct ResetPart {
    pub(super) by: &'static str,
    pub(super) code: CompactString,
}

#[derive(Serialize)]
pub(super) struct CountsPart {
    pub(super) messages: u64,
    pub(super) frames: u64,
    pub(super) text: u64,
    pub(super) binary: u64,
    pub(super) pings: u64,
    pub(super) pongs: u64,
    pub(super) bytes: u64,
}

fn mark(set: bool) -> Option<bool> {
    set.then_some(true)
}

impl<'a> RpcPart<'a> {
    pub(super) fn new(exchange: &'a Exchange, fit: &LineFit) -> Option<Self> {
        let call = exchange.grpc.as_deref()?;
        let response = call.status.map(|status| RpcResponse { status_code: grpc_status(status) });
        Some(Self {
            system: RpcSystemPart { name: call.system.name() },
            method: fit.maybe(call.method.as_ref()),
            response,
        })
    }
}

impl ErrorPart {
    /// What a failure was, where something says so: the status of gRPC, the code of a reset, the status of HTTP.
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        if exchange.outcome() != EventOutcome::Failure {
            return None;
        }
        let call = exchange.grpc.as_ref().and_then(|call| call.status).filter(|status| *status != 0).map(grpc_status);
        let reset = || exchange.http2.as_ref()?.reset.map(|reset| h2_error(reset.code));
        let status = || exchange.response.as_ref()?.status.map(|status| format_compact!("{status}"));
        let cut = || exchange.weird.contains(Weird::BodyCutByClose).then(|| Weird::BodyCutByClose.name().into());
        call.or_else(reset).or_else(cut).or_else(status).map(|r#type| Self { r#type })
    }
}

impl Http2Part {
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        let stream = exchange.http2.as_deref()?;
        Some(Self {
            stream_id: stream.stream,
            reset: stream.reset.map(|reset| ResetPart { by: reset.by.name(), code: h2_error(reset.code) }),
            not_processed: mark(stream.not_processed),
            upgraded: mark(stream.upgraded),
            pushed: mark(stream.pushed),
        })
    }
}

impl<'a> GrpcPart<'a> {
    pub(super) fn new(exchange: &'a Exchange, fit: &LineFit) -> Option<Self> {
        let call = exchange.grpc.as_deref()?;
        let begun = exchange.request.as_ref().map(|request| request.first);
        Some(Self {
            message: fit.maybe(call.message.as_ref()),
            request_messages: call.request_messages,
            response_messages: call.response_messages,
            first_message_us: call.first_message.zip(begun).map(|(first, begun)| first.since(begun) / 1000),
            timeout_us: call.timeout_us,
            encoding: fit.maybe(call.encoding.as_ref()),
        })
    }
}

impl WebSocketPart {
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        let socket: &record::WebSocket = exchange.websocket.as_deref()?;
        Some(Self {
            client: socket.client.map(Into::into),
            server: socket.server.map(Into::into),
            close_code: socket.close_code,
            closed_by: socket.closed_by.map(record::ConnectionSide::name),
            compressed: mark(socket.compressed),
            duration_us: socket.lasted_us,
        })
    }
}

impl From<SocketCounts> for CountsPart {
    fn from(counts: SocketCounts) -> Self {
        let SocketCounts { messages, frames, text, binary, pings, pongs, bytes } = counts;
        Self { messages, frames, text, binary, pings, pongs, bytes }
    }
}

impl SsePart {
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        let events = exchange.sse?;
        let begun = exchange.request.as_ref().map(|request| request.first);
        let first_event_us = events.first.zip(begun).map(|(first, begun)| first.since(begun) / 1000);
        Some(Self { events: events.events, first_event_us })
    }
}
