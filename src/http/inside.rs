//! What is counted in a body while it passes by: server-sent events, and the messages of gRPC-Web and Connect. Keeps no body
//! but a small error.

use crate::flow::Timestamp;
use crate::grpc::{self, GrpcFlavour, MessageCounter};
use crate::record::{CallSystem, Exchange, GrpcCall};
use crate::redact::Redactor;
use crate::sse::{self, EventCounter};

use super::head::{HeadKind, KnownFields};

/// A body under way that is looked into.
#[derive(Debug)]
pub(super) enum InsideBody {
    Events(EventCounter),
    Calls { messages: MessageCounter, first: Option<Timestamp> },
}

impl InsideBody {
    /// By the media type of the message, and what its request was.
    pub(super) fn of(kind: HeadKind, record: Option<&Exchange>) -> Option<Box<Self>> {
        let record = record?;
        let mime_type = match kind {
            HeadKind::Request => record.request.as_ref()?.mime_type.as_deref(),
            HeadKind::Response => record.response.as_ref()?.mime_type.as_deref(),
        };
        if kind == HeadKind::Response && sse::is_stream(mime_type) {
            return Some(Box::new(Self::Events(EventCounter::default())));
        }
        let flavour = mime_type.and_then(|mime_type| GrpcFlavour::of(mime_type.as_bytes(), false));
        let messages = MessageCounter::of(flavour.or_else(|| unary_error(kind, record))?);
        Some(Box::new(Self::Calls { messages, first: None }))
    }

    pub(super) fn take(&mut self, at: Timestamp, payload: &[u8]) {
        match self {
            Self::Events(events) => events.take(at, payload),
            Self::Calls { messages, first } => {
                if messages.take(payload) > 0 {
                    first.get_or_insert(at);
                }
            }
        }
    }

    /// Bytes are missing.
    pub(super) fn lose(&mut self) {
        match self {
            Self::Events(events) => events.lose(),
            Self::Calls { messages, .. } => messages.lose(),
        }
    }

    /// The body is over: what was counted goes into the record.
    pub(super) fn tell(self, kind: HeadKind, record: &mut Exchange, redactor: &Redactor) {
        match self {
            Self::Events(events) => record.sse = events.told(),
            Self::Calls { messages, .. } if kind == HeadKind::Request => {
                let call = call(record, messages.flavour());
                call.request_messages = messages.count();
            }
            Self::Calls { messages, first } => {
                let call = call(record, messages.flavour());
                call.response_messages = messages.count();
                call.first_message = first.filter(|_| call.response_messages.is_some());
                if let Some((status, text)) = messages.status() {
                    call.status = Some(status);
                    call.message = text.and_then(|text| prose(&text, redactor));
                }
            }
        }
    }
}

/// What is read of the body that answers a unary call of Connect: the error, where it is one.
fn unary_error(kind: HeadKind, record: &Exchange) -> Option<GrpcFlavour> {
    let unary = record.grpc.as_ref()?.system == CallSystem::Connect { unary: true };
    let failed = record.response.as_ref()?.status != Some(200);
    (kind == HeadKind::Response && unary && failed).then_some(GrpcFlavour::ConnectUnary)
}

/// What the head of a request says of a call of Connect.
pub(super) fn connect_call(record: &mut Exchange, (method, target): (&[u8], &[u8]), fields: &KnownFields<'_>) {
    let by_type = fields.content_type.and_then(|value| GrpcFlavour::of(value, fields.connect_version));
    let flavour = by_type.or_else(|| GrpcFlavour::of_get(method, target));
    if let Some(flavour @ (GrpcFlavour::Connect | GrpcFlavour::ConnectUnary)) = flavour {
        call(record, flavour).timeout_us = fields.connect_timeout.and_then(grpc::connect_timeout_us);
    }
}

/// An answer without a message has its status in its head.
pub(super) fn status_in_head(record: &mut Exchange, status: &[u8], text: Option<&[u8]>, redactor: &Redactor) {
    let response = record.response.as_ref().and_then(|response| response.mime_type.as_deref());
    let Some(flavour) = response.and_then(|mime_type| GrpcFlavour::of(mime_type.as_bytes(), false)) else { return };
    let call = call(record, flavour);
    call.status = grpc::status(status);
    call.response_messages = Some(0);
    call.message = text.and_then(|text| prose(&grpc::message(text), redactor));
}

fn call(record: &mut Exchange, flavour: GrpcFlavour) -> &mut GrpcCall {
    let method = record.request.as_ref().and_then(|request| grpc::method(&request.target));
    let call = record.grpc.get_or_insert_default();
    if call.system == CallSystem::default() {
        call.system = flavour.system();
    }
    call.method = method;
    call
}

fn prose(text: &[u8], redactor: &Redactor) -> Option<compact_str::CompactString> {
    (!text.is_empty()).then(|| redactor.prose(text))
}
