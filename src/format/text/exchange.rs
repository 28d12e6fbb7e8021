//! The line of an exchange: what was asked, what came back and when, who is at the other end, what is unusual.

use std::fmt::{self, Write};

use super::columns::{STATUS, STATUS_OR_WHY, ShownDuration, ShownSize, TOOK, cut_middle};
use super::{CYAN, DIM, GREEN, RED, TextLine, YELLOW};
use crate::flow::Endpoint;
use crate::record::{
    CallSystem, EndedHow, Exchange, HttpRequest, MissingParts, NetworkDirection, SocketCounts, StreamClass, Trust,
    WebSocket, grpc_status, h2_error,
};
use crate::redact::escape_into;
use crate::shape::target::RequestUrl;

const METHOD_WIDTH: usize = 4;

impl TextLine<'_> {
    pub(super) fn exchange(&mut self, exchange: &Exchange) -> fmt::Result {
        self.time(exchange.start())?;
        let arrow = match exchange.direction() {
            Some(NetworkDirection::Ingress) => '←',
            Some(NetworkDirection::Egress) => '→',
            Some(NetworkDirection::Internal) => '↔',
            None => '·',
        };
        write!(self.out, " {arrow} ")?;
        self.what(exchange);
        self.answer(exchange)?;
        self.other_end(exchange)?;
        self.asker(exchange.process())?;
        self.marks(exchange)
    }

    /// Method and URL, as one column.
    fn what(&mut self, exchange: &Exchange) {
        let start = self.out.len();
        match &exchange.request {
            Some(request) => {
                let method = if request.method.is_empty() { "?" } else { &request.method };
                escape_into(self.out, method.as_bytes());
                self.pad(start, METHOD_WIDTH);
                self.out.push(' ');
                self.url(request, exchange.connection.server);
            }
            None => self.out.push_str("-    (request not seen)"),
        }
        cut_middle(self.out, start, self.columns.longest_what);
        self.pad(start, self.columns.what);
    }

    fn url(&mut self, request: &HttpRequest, server: Endpoint) {
        let url = RequestUrl::of(request);
        match &request.host {
            // The target says it all.
            _ if url.is_absolute || url.scheme.is_none() => {}
            Some(host) => escape_into(self.out, host.as_bytes()),
            None => escape_into(self.out, server.to_string().as_bytes()),
        }
        let target = if request.target.is_empty() { "/(path not known)" } else { &request.target };
        escape_into(self.out, target.as_bytes());
    }

    /// Status, size and duration; or why there is no answer, and how long it was awaited.
    fn answer(&mut self, exchange: &Exchange) -> fmt::Result {
        self.out.push(' ');
        match &exchange.response {
            Some(response) => {
                let status = response.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
                let width = if self.columns.size { STATUS } else { STATUS_OR_WHY };
                self.painted(colour_of(exchange), format_args!("{status:<width$}"))?;
                if self.columns.size {
                    write!(self.out, " {:>8}", ShownSize(response.bytes).to_string())?;
                }
            }
            None => {
                let reset = exchange.http2.as_ref().is_some_and(|stream| stream.reset.is_some());
                let why = if reset { "reset" } else { exchange.unanswered.map_or("not seen", |why| why.name()) };
                let gap = if self.columns.size { "--- " } else { "" };
                self.painted(RED, format_args!("{gap}{why:<8}"))?;
            }
        }
        self.out.push(' ');
        self.took(exchange)?;
        self.out.push_str("  ");
        Ok(())
    }

    fn took(&mut self, exchange: &Exchange) -> fmt::Result {
        let Some(nanos) = exchange.took() else { return write!(self.out, "{:>TOOK$}", "-") };
        let text = ShownDuration(nanos).to_string();
        let slow = self.style.slow_after.is_some_and(|limit| exchange.is_slow(limit));
        let very = self.style.slow_after.is_some_and(|limit| exchange.is_slow(limit.saturating_mul(5)));
        match (slow, very) {
            (_, true) => self.painted(RED, format_args!("{text:>TOOK$}")),
            (true, false) => self.painted(YELLOW, format_args!("{text:>TOOK$}")),
            (false, false) => write!(self.out, "{text:>TOOK$}"),
        }
    }

    /// Who is at the other end: the client of a pod that serves, the server of one that asks.
    fn other_end(&mut self, exchange: &Exchange) -> fmt::Result {
        let (client, server) = (exchange.connection.client, exchange.connection.server);
        match exchange.direction() {
            Some(NetworkDirection::Ingress) => write!(self.out, "{client}"),
            Some(NetworkDirection::Egress) => write!(self.out, "{server}"),
            Some(NetworkDirection::Internal) | None if client.ip == server.ip => {
                write!(self.out, "{client} → :{}", server.port)
            }
            Some(NetworkDirection::Internal) | None => write!(self.out, "{client} → {server}"),
        }
    }

    /// What is out of the ordinary, in brackets.
    fn marks(&mut self, exchange: &Exchange) -> fmt::Result {
        if let Some((system, status)) = exchange.grpc.as_ref().and_then(|call| Some((call.system, call.status?))) {
            self.out.push(' ');
            let name = if system == CallSystem::Grpc { "gRPC" } else { "Connect" };
            self.painted(if status == 0 { GREEN } else { RED }, format_args!("{name} {}", grpc_status(status)))?;
        }
        let reset = exchange.http2.as_ref().and_then(|stream| stream.reset);
        if let Some(reset) = reset {
            write!(self.out, " [reset by {}: {}]", reset.by.name(), h2_error(reset.code))?;
        }
        if let Some(socket) = &exchange.websocket {
            self.socket(socket)?;
        }
        if let Some(ended) = exchange.ended.filter(|_| reset.is_none()) {
            let by = ended.by.map_or("?", crate::record::ConnectionSide::name);
            let how = if ended.how == EndedHow::Fin { "" } else { ended.how.name() };
            write!(self.out, " [✂ {by}{}{how}]", if how.is_empty() { "" } else { " " })?;
        }
        if exchange.open {
            self.out.push_str(" [open]");
        }
        if exchange.class != StreamClass::Exchange {
            write!(self.out, " [{}]", exchange.class.name())?;
        }
        if exchange.late {
            self.out.push_str(" [late]");
        }
        if exchange.trust != Trust::Complete && !is_plainly_unanswered(exchange) {
            write!(self.out, " [{}", exchange.trust.name())?;
            self.names(": ", exchange.missing.names())?;
            self.out.push(']');
        }
        if !exchange.weird.is_empty() {
            self.out.push_str(" [weird");
            self.names(": ", exchange.weird.iter().map(|w| w.name()))?;
            self.out.push(']');
        }
        Ok(())
    }

    /// Messages of both ends, and how it ended.
    fn socket(&mut self, socket: &WebSocket) -> fmt::Result {
        let count = |end: Option<SocketCounts>| end.map_or_else(|| "?".to_owned(), |end| end.messages.to_string());
        write!(self.out, " [messages {} sent, {} received", count(socket.client), count(socket.server))?;
        if let Some(by) = socket.closed_by {
            write!(self.out, "; closed by {}", by.name())?;
        }
        if let Some(code) = socket.close_code {
            write!(self.out, " ({code})")?;
        }
        self.out.push(']');
        Ok(())
    }
}

/// Whether nothing but the answer is missing, and the line says so already.
fn is_plainly_unanswered(exchange: &Exchange) -> bool {
    let mut response = MissingParts::default();
    response.insert(MissingParts::RESPONSE);
    exchange.unanswered.is_some() && exchange.trust == Trust::Unpaired && exchange.missing == response
}

/// Of the status: what it came to.
fn colour_of(exchange: &Exchange) -> &'static str {
    let failed = exchange.grpc.as_ref().is_some_and(|call| call.status.is_some_and(|status| status != 0));
    let status = exchange.response.as_ref().and_then(|response| response.status);
    match status.map(|status| status / 100) {
        _ if failed => RED,
        Some(2) => GREEN,
        Some(3) => CYAN,
        Some(4) => YELLOW,
        Some(5) => RED,
        Some(_) | None => DIM,
    }
}
