//! What HTTP/2, gRPC, WebSocket and server-sent events add to the record in JSON: names, and what fills them.

use compact_str::{CompactString, format_compact};
use serde::Serialize;

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

/// `error`
#[derive(Serialize)]
pub(super) struct ErrorPart {
    pub(super) r#type: CompactString,
}

/// `podtap.http2`
#[derive(Serialize)]
pub(super) struct Http2Part {
    pub(super) stream_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reset: Option<ResetPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_processed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upgraded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pushed: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct ResetPart {
    pub(super) by: &'static str,
    pub(super) code: CompactString,
}

/// `podtap.grpc`
#[derive(Serialize)]
pub(super) struct GrpcPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_message_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<&'a str>,
}

/// `podtap.websocket`
#[derive(Serialize)]
pub(super) struct WebSocketPart {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<CountsPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<CountsPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) close_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) closed_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compressed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_us: Option<u64>,
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

/// `podtap.sse`
#[derive(Serialize)]
pub(super) struct SsePart {
    pub(super) events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_event_us: Option<u64>,
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
