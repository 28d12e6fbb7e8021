//! A record that is kept to be looked at: without headers, which nothing shows, and what it takes. Keeps none itself.

use crate::exchange::room::of_exchange;
use crate::record::{ConnectRecord, Exchange, Record};

/// Takes out what no eye sees.
pub(crate) fn strip(record: &mut Record) {
    let Record::Http(exchange) = record else { return };
    if let Some(request) = &mut exchange.request {
        (request.headers, request.trailers) = (Vec::new(), Vec::new());
    }
    if let Some(response) = &mut exchange.response {
        (response.headers, response.trailers) = (Vec::new(), Vec::new());
    }
}

/// Bytes that it takes, of the kinds that are kept.
pub(crate) fn bytes_of(record: &Record) -> usize {
    if let Record::Http(exchange) = record {
        size_of::<Exchange>() + of_exchange(exchange)
    } else if let Record::Connect(connect) = record {
        let args = connect.process.as_ref().map_or(0, |process| process.args.iter().map(|arg| arg.len()).sum());
        size_of::<ConnectRecord>() + args
    } else {
        0
    }
}
