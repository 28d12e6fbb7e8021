//! What is counted in a body while it passes by: server-sent events, and the messages of gRPC-Web and Connect. Keeps no body
//! but a small error.

use crate::flow::Timestamp;
use crate::grpc::{self, Flavour, Messages};
use crate::record::{CallSystem, Exchange, Grpc};
use crate::redact::Redactor;
use crate::sse::{self, Events};

use super::head::{Fields, Kind};

/// A body under way that is looked into.
#[derive(Debug)]
pub(super) enum Inside {
    Events(Events),
    Calls { messages: Messages, first: Option<Timestamp> },
}

impl Inside {
    /// By the media type of the message, and what its request was.
    pub(super) fn of(kind: Kind, record: Option<&Exchange>) -> Option<Box<Self>> {
        let record = record?;
        let mime_type = match kind {
            Kind::Request => record.request.as_ref()?.mime_type.as_deref(),
            Kind::Response => record.response.as_ref()?.mime_type.as_deref(),
        };
        if kind == Kind::Response && sse::is_stream(mime_type) {
            return Some(Box::new(Self::Events(Events::default())));
        }
        let flavour = mime_type.and_then(|mime_type| Flavour::of(mime_type.as_bytes(), false));
        let messages = Messages::of(flavour.or_else(|| unary_error(kind, record))?);
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
    pub(super) fn tell(self, kind: Kind, record: &mut Exchange, redactor: &Redactor) {
        match self {
            Self::Events(events) => record.sse = events.told(),
            Self::Calls { messages, .. } if kind == Kind::Request => {
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
fn unary_error(kind: Kind, record: &Exchange) -> Option<Flavour> {
    let unary = record.grpc.as_ref()?.system == CallSystem::Connect { unary: true };
    let failed = record.response.as_ref()?.status != Some(200);
    (kind == Kind::Response && unary && failed).then_some(Flavour::ConnectUnary)
}

/// What the head of a request says of a call of Connect.
pub(super) fn connect_call(record: &mut Exchange, fields: &Fields<'_>) {
    let flavour = fields.content_type.and_then(|value| Flavour::of(value, fields.connect_version));
    if let Some(flavour @ (Flavour::Connect | Flavour::ConnectUnary)) = flavour {
        call(record, flavour).timeout_us = fields.connect_timeout.and_then(grpc::connect_timeout_us);
    }
}

/// An answer without a message has its status in its head.
pub(super) fn status_in_head(record: &mut Exchange, status: &[u8], text: Option<&[u8]>, redactor: &Redactor) {
    let response = record.response.as_ref().and_then(|response| response.mime_type.as_deref());
    let Some(flavour) = response.and_then(|mime_type| Flavour::of(mime_type.as_bytes(), false)) else { return };
    let call = call(record, flavour);
    call.status = grpc::status(status);
    call.response_messages = Some(0);
    call.message = text.and_then(|text| prose(&grpc::message(text), redactor));
}

fn call(record: &mut Exchange, flavour: Flavour) -> &mut Grpc {
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
