//! `FORMAT=text`: one aligned line for each exchange or event, for people.
//!
//! Nothing in it can move a cursor or change a colour: every byte that is not printable ASCII is escaped here once
//! more. Not meant to be parsed.

mod events;

use std::fmt::{self, Write};

use compact_str::CompactString;

use super::stamp::Stamp;
use crate::flow::Endpoint;
use crate::record::{
    Exchange, NetworkDirection, Record, Request, SocketCounts, StreamClass, Trust, WebSocket, grpc_status, h2_error,
};
use crate::redact::escape_into;
use crate::shape::target::Url;

/// Width of method and URL together; a longer URL pushes the rest to the right.
const URL_WIDTH: usize = 39;
/// What is shown of a longer URL.
const MAX_URL: usize = 400;
const METHOD_WIDTH: usize = 4;

const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Appends a record as one line; with colours only where a terminal will show them. A ledger record has none.
pub fn write_line(out: &mut Vec<u8>, record: &Record, colour: bool) {
    let mut line = CompactString::with_capacity(160);
    let mut writer = Line { out: &mut line, colour };
    // Writing to a string cannot fail.
    let _ = match record {
        Record::Http(exchange) => writer.exchange(exchange),
        Record::Conntrack(event) => writer.conntrack(event),
        Record::Verdict(packet) => writer.verdict(packet),
        Record::Ledger(_) => return,
    };
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

struct Line<'a> {
    out: &'a mut CompactString,
    colour: bool,
}

impl Line<'_> {
    fn exchange(&mut self, exchange: &Exchange) -> fmt::Result {
        self.painted(DIM, Stamp::new(exchange.start()).time_of_day())?;
        let arrow = match exchange.connection.direction {
            Some(NetworkDirection::Ingress) => '←',
            Some(NetworkDirection::Egress) => '→',
            Some(NetworkDirection::Internal) => '↔',
            None => '·',
        };
        write!(self.out, " {arrow} ")?;
        self.what(exchange);
        self.answer(exchange)?;
        self.other_end(exchange)?;
        self.marks(exchange)
    }

    fn painted(&mut self, colour: &str, text: &str) -> fmt::Result {
        if self.colour { write!(self.out, "{colour}{text}{RESET}") } else { self.out.write_str(text) }
    }

    /// Method and URL, padded as one column.
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
        self.pad(start, URL_WIDTH);
    }

    fn url(&mut self, request: &Request, server: Endpoint) {
        let start = self.out.len();
        let url = Url::of(request);
        match &request.host {
            // The target says it all.
            _ if url.is_absolute || url.scheme.is_none() => {}
            Some(host) => escape_into(self.out, host.as_bytes()),
            None => escape_into(self.out, server.to_string().as_bytes()),
        }
        let target = if request.target.is_empty() { "/(path not known)" } else { &request.target };
        escape_into(self.out, target.as_bytes());
        if self.out.len() - start > MAX_URL {
            self.out.truncate(start + MAX_URL);
            self.out.push_str("...");
        }
    }

    fn pad(&mut self, start: usize, width: usize) {
        let shown = self.out.len() - start;
        self.out.extend(std::iter::repeat_n(' ', width.saturating_sub(shown)));
    }

    /// Status, size and duration, or why there is none.
    fn answer(&mut self, exchange: &Exchange) -> fmt::Result {
        self.out.push(' ');
        let Some(response) = &exchange.response else {
            let why = exchange.unanswered.map_or("not seen", |why| why.name());
            self.painted(RED, "---")?;
            if let Some(reset) = exchange.http2.as_ref().and_then(|stream| stream.reset) {
                return write!(self.out, "  reset by {} ({})  ", reset.by.name(), h2_error(reset.code));
            }
            return match (exchange.unanswered, duration(exchange)) {
                (Some(_), Some(after)) => write!(self.out, "  unanswered ({why}) {after}  "),
                (Some(_), None) => write!(self.out, "  unanswered ({why})  "),
                (None, _) => write!(self.out, "  response {why}  "),
            };
        };
        let failed = exchange.grpc.as_ref().is_some_and(|call| call.status.is_some_and(|status| status != 0));
        let colour = match response.status.map(|status| status / 100) {
            _ if failed => RED,
            Some(2) => GREEN,
            Some(3) => CYAN,
            Some(4) => YELLOW,
            Some(5) => RED,
            Some(_) | None => DIM,
        };
        let status = response.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        self.painted(colour, &format!("{status:<3}"))?;
        let took = duration(exchange).map_or_else(|| "-".to_owned(), |took| took.to_string());
        write!(self.out, "{:>10}{took:>10}   ", Size(response.bytes).to_string())
    }

    /// Who is at the other end: the client of a pod that serves, the server of one that asks.
    fn other_end(&mut self, exchange: &Exchange) -> fmt::Result {
        let (client, server) = (exchange.connection.client, exchange.connection.server);
        match exchange.connection.direction {
            Some(NetworkDirection::Ingress) => write!(self.out, "{client}"),
            Some(NetworkDirection::Egress) => write!(self.out, "{server}"),
            Some(NetworkDirection::Internal) | None => write!(self.out, "{client} → {server}"),
        }
    }

    /// What is out of the ordinary, in brackets.
    fn marks(&mut self, exchange: &Exchange) -> fmt::Result {
        if let Some(status) = exchange.grpc.as_ref().and_then(|call| call.status) {
            self.out.push(' ');
            self.painted(if status == 0 { GREEN } else { RED }, &format!("gRPC {}", grpc_status(status)))?;
        }
        if let (Some(reset), true) = (exchange.http2.as_ref().and_then(|h| h.reset), exchange.response.is_some()) {
            write!(self.out, " [reset by {}: {}]", reset.by.name(), h2_error(reset.code))?;
        }
        if let Some(socket) = &exchange.websocket {
            self.socket(socket)?;
        }
        if exchange.class != StreamClass::Exchange {
            write!(self.out, " [{}]", exchange.class.name())?;
        }
        if exchange.late {
            self.out.write_str(" [late]")?;
        }
        if exchange.trust != Trust::Complete {
            write!(self.out, " [{}", exchange.trust.name())?;
            self.names(": ", exchange.missing.names())?;
            self.out.push(']');
        }
        if !exchange.weird.is_empty() {
            self.out.write_str(" [weird")?;
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

    fn names(&mut self, mut before: &'static str, names: impl Iterator<Item = &'static str>) -> fmt::Result {
        for name in names {
            write!(self.out, "{before}{name}")?;
            before = ", ";
        }
        Ok(())
    }
}

/// From the first byte of the request to the last of the response, or to when waiting was given up.
fn duration(exchange: &Exchange) -> Option<Took> {
    let request = exchange.request.as_ref()?;
    let end = exchange.end().or(exchange.gave_up)?;
    Some(Took(end.since(request.first)))
}

/// Bytes in powers of ten, two digits at least: `812 B`, `1.8 kB`, `12 MB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["B", "kB", "MB", "GB", "TB"])
    }
}

/// Nanoseconds: `850 us`, `12.4 ms`, `10.0 s`.
struct Took(u64);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1000;
        match micros {
            0..1000 => write!(f, "{micros} us"),
            1000..1_000_000 => write!(f, "{:.1} ms", micros as f64 / 1e3),
            _ => write!(f, "{:.1} s", micros as f64 / 1e6),
        }
    }
}

fn scaled(f: &mut fmt::Formatter<'_>, n: u64, units: &[&str]) -> fmt::Result {
    let mut value = n as f64;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let mut is_whole = true;
    // What would be printed as 1000 is one of the next unit.
    while value >= 999.5
        && let Some(next) = units.next()
    {
        (value, unit, is_whole) = (value / 1000.0, next, false);
    }
    let digits = usize::from(!is_whole && value < 9.95);
    write!(f, "{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flow::Timestamp;
    use crate::record::sample::{self, exchange, record};
    use crate::record::{Connection, Missing, Unanswered, Weird};
    use proptest::prelude::*;

    fn line(exchange: Exchange) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &record(exchange), false);
        String::from_utf8(out).unwrap()
    }

    fn at(mut it: Exchange, start: Timestamp) -> Exchange {
        let shift = |time: Timestamp| start.plus(time.since(sample::START));
        if let Some(request) = &mut it.request {
            (request.first, request.last) = (shift(request.first), shift(request.last));
        }
        if let Some(response) = &mut it.response {
            (response.first, response.last) = (shift(response.first), shift(response.last));
        }
        it.gave_up = it.gave_up.map(shift);
        it
    }

    fn unanswered() -> Exchange {
        let mut it = exchange();
        let request = it.request.as_mut().unwrap();
        (request.method, request.target) = ("POST".into(), "/v1/charge".into());
        request.host = Some("payments:8443".into());
        it.connection = Arc::new(Connection {
            direction: Some(NetworkDirection::Egress),
            server: Endpoint::new([10, 1, 9, 9], 8443),
            ..sample::connection()
        });
        it.response = None;
        it.unanswered = Some(Unanswered::Timeout);
        it.gave_up = Some(sample::START.plus(10_000_000_000));
        it
    }

    /// The two lines of the contract.
    #[test]
    fn the_contracts_lines_come_out_as_they_are_written() {
        let noon = 1_772_366_400 + 34 * 60 + 56;
        assert_eq!(
            line(at(exchange(), Timestamp::new(noon, 789_012_000))),
            "12:34:56.789012 ← GET  shop.local:8080/cart?id=7          200    1.8 kB   12.4 ms   10.1.2.3:51234\n"
        );
        assert_eq!(
            line(at(unanswered(), Timestamp::new(noon, 790_101_000))),
            "12:34:56.790101 → POST payments:8443/v1/charge            ---  unanswered (timeout) 10.0 s  10.1.9.9:8443\n"
        );
    }

    #[test]
    fn a_half_says_what_was_not_seen() {
        let orphan = line(Exchange { request: None, ..exchange() });
        assert!(orphan.contains("-    (request not seen)") && orphan.contains("         -   10.1.2.3"), "{orphan}");
        let lost = line(Exchange { response: None, trust: Trust::Unpaired, ..exchange() });
        assert!(lost.contains("---  response not seen  10.1.2.3:51234 [unpaired]"), "{lost}");
    }

    #[test]
    fn an_answer_without_a_status_is_one() {
        let old = line(Exchange { response: Some(crate::record::sample::http09()), ..exchange() });
        assert!(old.contains(" -      1.6 kB   12.4 ms   10.1.2.3:51234\n"), "{old}");
    }

    #[test]
    fn marks_stand_at_the_end() {
        let mut it = Exchange { class: StreamClass::Stream, late: true, trust: Trust::Gap, ..exchange() };
        it.missing.insert(Missing::RESPONSE_BODY);
        it.missing.insert(Missing::REQUEST_BODY);
        it.weird.insert(Weird::BareLf);
        it.weird.insert(Weird::TeAndCl);
        let marks = " [stream] [late] [gap: request_body, response_body] [weird: te_and_cl, bare_lf]\n";
        assert!(line(it).ends_with(marks));
    }

    #[test]
    fn both_ends_are_shown_where_it_is_not_clear_which_is_the_other() {
        for (direction, arrow) in [(Some(NetworkDirection::Internal), '↔'), (None, '·')] {
            let connection = Arc::new(Connection { direction, ..sample::connection() });
            let line = line(Exchange { connection, ..exchange() });
            assert!(line.contains(&format!(" {arrow} GET")), "{line}");
            assert!(line.ends_with("   10.1.2.3:51234 → 10.1.9.9:8080\n"), "{line}");
        }
    }

    #[test]
    fn a_url_is_put_together_from_what_was_sent() {
        for (method, target, host, expected) in [
            ("GET", "/x", None, "GET  10.1.9.9:8080/x "),
            ("GET", "http://a/x", Some("b"), "GET  http://a/x "),
            ("CONNECT", "a:443", Some("a:443"), "CONNECT a:443 "),
            ("OPTIONS", "*", Some("a"), "OPTIONS a* "),
        ] {
            let mut it = exchange();
            let request = it.request.as_mut().unwrap();
            (request.method, request.target, request.host) = (method.into(), target.into(), host.map(Into::into));
            let line = line(it);
            assert!(line.contains(expected), "{line}");
        }
        let mut it = exchange();
        it.request.as_mut().unwrap().target = "/x".repeat(5000).into();
        assert!(line(it).len() < 600);
    }

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1834, "1.8 kB"),
            (12_345_678, "12 MB"),
            (999_999, "1.0 MB"),
        ];
        for (bytes, expected) in sizes {
            assert_eq!(Size(bytes).to_string(), expected);
        }
        for (nanos, expected) in
            [(999, "0 us"), (850_000, "850 us"), (12_400_000, "12.4 ms"), (61_000_000_000, "61.0 s")]
        {
            assert_eq!(Took(nanos).to_string(), expected);
        }
    }

    #[test]
    fn colours_are_put_around_the_status_and_taken_back() {
        let mut out = Vec::new();
        write_line(&mut out, &record(exchange()), true);
        let line = String::from_utf8(out).unwrap();
        assert!(line.contains("\x1b[32m200\x1b[0m"));
        assert_eq!(line.matches('\x1b').count() % 2, 0);
    }

    proptest! {
        #[test]
        fn no_text_of_the_wire_reaches_a_terminal_raw(method in "\\PC{0,5}|[\\x00-\\x7f]{0,5}", target in "[\\x00-\\x7fé\u{202e}]{0,40}",
                                                      host in "[\\x00-\\x7fé\u{9b}]{0,20}") {
            let mut it = exchange();
            let request = it.request.as_mut().unwrap();
            (request.method, request.target, request.host) = (method.into(), target.into(), Some(host.into()));
            let line = line(it);
            let shown = line.strip_suffix('\n').unwrap();
            prop_assert!(shown.chars().all(|c| (' '..='~').contains(&c) || "←→".contains(c)), "{:?}", shown);
        }
    }
}
