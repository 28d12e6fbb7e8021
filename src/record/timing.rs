//! The four parts of an exchange's time: connect, request, wait, response. Knows no unit but nanoseconds.

use super::{Exchange, MissingParts};

/// Nanoseconds of each part that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeTiming {
    /// SYN to SYN-ACK, only of the first exchange of a connection.
    pub connect: Option<u64>,
    /// First byte of the request to its last one.
    pub request: Option<u64>,
    /// From there to the first byte of the response.
    pub wait: Option<u64>,
    /// From there to its last one.
    pub response: Option<u64>,
    /// First byte of the request to the last one of the response.
    pub total: Option<u64>,
}

impl Exchange {
    /// How long each part took, as far as it was seen.
    pub fn timing(&self) -> ExchangeTiming {
        let (request, response) = (self.request.as_ref(), self.response.as_ref());
        // Of a response whose head was lost no one knows when it began.
        let lost = self.http2.is_some() && self.missing.contains(MissingParts::RESPONSE_HEAD);
        let headless = lost && response.is_some_and(|response| response.status.is_none());
        let end = self.end().filter(|_| response.is_some());
        let in_order = self.in_order().filter(|_| !headless);
        ExchangeTiming {
            connect: self.connect_ns,
            request: request.map(|r| r.last.since(r.first)),
            wait: in_order.map(|(request, response)| response.first.since(request.last)),
            response: response.filter(|_| !headless).map(|r| r.last.since(r.first)),
            total: request.zip(end).map(|(request, end)| end.since(request.first)),
        }
    }

    /// How long it took, or how long its answer was waited for in vain.
    pub fn took(&self) -> Option<u64> {
        let request = self.request.as_ref()?;
        self.end().or(self.gave_up).map(|end| end.since(request.first))
    }
}
