//! What all sessions together may keep in memory: heads under way, and exchanges that wait for something.
//!
//! No one is cut short for what others keep as long as there is room. Each connection may have a share of what is free,
//! and a little even when nothing is. What is over that is recorded at once, as it is. Decides nothing about pairs.

use crate::record::{Exchange, HttpHeader, HttpRequest, HttpResponse};

use super::ExchangeContext;

/// Of what is free, one connection may take one part in this many.
const SHARE: usize = 8;
/// What a head may grow to even when nothing is free, bytes.
const LEAST_HEAD: usize = 1024;

impl ExchangeContext {
    fn free(&self) -> usize {
        self.share.limit().saturating_sub(self.in_use())
    }

    fn in_use(&self) -> usize {
        self.kept.saturating_add(usize::try_from(self.ledger.waiting).unwrap_or(usize::MAX))
    }

    /// What one connection may take of what is free.
    pub(crate) fn free_share(&self) -> usize {
        self.free() / SHARE
    }

    /// How long a head may become now.
    pub(crate) fn head_limit(&self) -> usize {
        self.config.max_head_bytes.min(self.free_share().max(LEAST_HEAD))
    }

    /// Whether one connection may have taken more than its share: as long as half of the room is free none can.
    pub(crate) fn is_half_full(&self) -> bool {
        self.kept > self.share.limit() / 2
    }

    /// Whether all together keep more than they may.
    pub(crate) fn is_full(&self) -> bool {
        self.in_use() > self.share.limit()
    }

    /// Says to those that share the room how much of it is in use here.
    pub(crate) fn publish_use(&mut self) {
        self.share.set(self.in_use());
    }

    /// Bytes that all sessions keep.
    #[cfg(test)]
    pub(crate) fn room_in_use(&self) -> usize {
        self.kept
    }

    /// What was counted as `kept` bytes takes `now` bytes.
    pub(crate) fn recount(&mut self, kept: &mut usize, now: usize) {
        self.keep(now);
        self.let_go(std::mem::replace(kept, now));
    }

    /// This many bytes are kept from now on.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.kept += bytes;
    }

    /// This many bytes are kept no more.
    pub(crate) fn let_go(&mut self, bytes: usize) {
        debug_assert!(self.kept >= bytes, "more goes than came");
        self.kept = self.kept.saturating_sub(bytes);
    }
}

/// Bytes that a request keeps outside its record.
pub(crate) fn of_request(request: &HttpRequest) -> usize {
    let texts = [&request.host, &request.mime_type, &request.referrer, &request.id, &request.user_agent];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
    request.method.len() + request.target.len() + texts + of_headers(&request.headers)
}

/// Bytes that a response keeps outside its record.
pub(crate) fn of_response(response: &HttpResponse) -> usize {
    let texts: usize = [&response.phrase, &response.mime_type].into_iter().flatten().map(|text| text.len()).sum();
    texts + of_headers(&response.headers)
}

/// Bytes that both halves keep outside their record.
pub(crate) fn of_exchange(exchange: &Exchange) -> usize {
    exchange.request.as_ref().map_or(0, of_request) + exchange.response.as_ref().map_or(0, of_response)
}

fn of_headers(headers: &[HttpHeader]) -> usize {
    headers.iter().map(|header| size_of::<HttpHeader>() + header.name.len() + header.value.len()).sum()
}
