//! What is counted in a body while it passes by: server-sent events, and the messages of gRPC-Web. Keeps no body.

use crate::flow::Timestamp;
use crate::grpc::{self, Messages};
use crate::record::{Exchange, Grpc};
use crate::redact::Redactor;
use crate::sse::{self, Events};

use super::head::Kind;

/// A body under way that is looked into.
#[derive(Debug)]
pub(super) enum Inside {
    Events(Events),
    Calls { messages: Messages, first: Option<Timestamp> },
}

impl Inside {
    /// By the media type of the message.
    pub(super) fn of(kind: Kind, mime_type: Option<&str>) -> Option<Box<Self>> {
        if kind == Kind::Response && sse::is_stream(mime_type) {
            return Some(Box::new(Self::Events(Events::default())));
        }
        let calls = mime_type.and_then(|mime_type| grpc::flavour(mime_type.as_bytes()));
        calls.map(|_| Box::new(Self::Calls { messages: Messages::default(), first: None }))
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
            Self::Calls { messages, .. } if kind == Kind::Request => call(record).request_messages = messages.count(),
            Self::Calls { messages, first } => {
                let call = call(record);
                call.response_messages = messages.count();
                call.first_message = first.filter(|_| call.response_messages.is_some());
                if let Some(status) = messages.trailer(b"grpc-status").and_then(grpc::status) {
                    call.status = Some(status);
                    call.message = messages.trailer(b"grpc-message").and_then(|text| message(text, redactor));
                }
            }
        }
    }
}

/// An answer without a message has its status in its head.
pub(super) fn status_in_head(record: &mut Exchange, status: &[u8], text: Option<&[u8]>, redactor: &Redactor) {
    let response = record.response.as_ref().and_then(|response| response.mime_type.as_deref());
    if response.and_then(|mime_type| grpc::flavour(mime_type.as_bytes())).is_none() {
        return;
    }
    let call = call(record);
    call.status = grpc::status(status);
    call.response_messages = Some(0);
    call.message = text.and_then(|text| message(text, redactor));
}

fn call(record: &mut Exchange) -> &mut Grpc {
    let method = record.request.as_ref().and_then(|request| grpc::method(&request.target));
    let call = record.grpc.get_or_insert_default();
    call.method = method;
    call
}

fn message(text: &[u8], redactor: &Redactor) -> Option<compact_str::CompactString> {
    (!text.is_empty()).then(|| redactor.prose(&grpc::message(text)))
}
