//! Stream bytes of HTTP/1 to exchanges.
//!
//! `detect` says what bytes are, `head` and `body` parse one message, and `framing` decides its length. `pairing` says
//! which response answers which request. [`HttpSession`] is the analyzer that sits on a connection and holds them
//! together. No clock, no socket; knows nothing of packets.

mod body;
mod detect;
mod framing;
mod inside;
mod head;
mod pairing;
mod proxy_protocol;
mod reader;
mod room;
mod session;
#[cfg(test)]
mod tests;
mod transactions;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use compact_str::CompactString;

use crate::exchange::{self, ExchangeConfig};
use crate::pool::LimitPool;
use crate::redact::Redactor;

pub use session::HttpSession;
pub(crate) use session::{NextProtocol, ProtocolHandover};

/// What all sessions share, with what those of HTTP/1 need besides.
#[derive(Debug)]
pub struct HttpContext {
    shared: exchange::ExchangeContext,
    /// What leaves a queue while it is being changed.
    left: Vec<pairing::LeftQueue>,
}

impl HttpContext {
    /// An empty context.
    pub fn new(config: ExchangeConfig, redactor: Redactor) -> Self {
        Self { shared: exchange::ExchangeContext::new(config, redactor), left: Vec::new() }
    }

    /// An empty context that shares what may be kept with others.
    pub fn sharing(config: ExchangeConfig, redactor: Redactor, kept: &Arc<LimitPool>) -> Self {
        Self { shared: exchange::ExchangeContext::sharing(config, redactor, kept), left: Vec::new() }
    }
}

impl Deref for HttpContext {
    type Target = exchange::ExchangeContext;

    fn deref(&self) -> &exchange::ExchangeContext {
        &self.shared
    }
}

impl DerefMut for HttpContext {
    fn deref_mut(&mut self) -> &mut exchange::ExchangeContext {
        &mut self.shared
    }
}

/// `event.id` of the exchange whose request begins at `offset`.
fn exchange_id(connection: &str, offset: u64) -> CompactString {
    stream_id(connection, "-", offset)
}

/// `event.id` of a response without request.
fn orphan_id(connection: &str, offset: u64) -> CompactString {
    stream_id(connection, "-r", offset)
}

/// `connection`, `mark` and the offset in hexadecimal; without the machinery of `format!`, as every exchange has one.
fn stream_id(connection: &str, mark: &str, offset: u64) -> CompactString {
    // Written from its end on.
    let mut text = [0; 24];
    let mut places = text.iter_mut().rev();
    let mut len = 0;
    let mut put = |byte: u8| {
        if let Some(place) = places.next() {
            (*place, len) = (byte, len + 1);
        }
    };
    let mut rest = offset;
    loop {
        let digit = (rest & 15) as u8;
        put(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    mark.bytes().rev().for_each(put);
    let mut id = CompactString::from(connection);
    id.push_str(text.get(text.len() - len..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default());
    id
}
