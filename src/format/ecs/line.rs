//! Writes the record as JSON by hand, in a third of the time of `serde_json`.
//!
//! This pays off because every record of every sink passes here. It repeats the field names, in pieces as large as the
//! schema allows; a property test compares every byte with what serde makes of `View`. Rare parts (headers, lists,
//! workloads) are left to `serde_json`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::ECS_VERSION;
use super::fit::LineFit;
use super::objects::{
    ConnectionPart, EndpointPart, EventPart, HttpPart, InnerVlanPart, KubernetesPart, NetworkPart, OrchestratorPart,
    OriginalPart, PodtapPart, RequestPart, ResponsePart, TimingPart, UrlParts, VlanPart,
};
use super::process::{ProcessContainerPart, ProcessPart, ProcessUserPart};
use super::protocols::{ErrorPart, RpcPart};
use super::view::service;
use crate::flow::OuterLayers;
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{Exchange, LabelSet, OfNode, Process};

/// The start of a member, `"name":` or `"name":"`, as one constant.
macro_rules! key {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
    ($name:literal "") => {
        concat!("\"", $name, "\":\"")
    };
}

pub(super) mod flow;

/// Appends the record, without line feed.
pub(super) fn append(out: &mut Vec<u8>, exchange: &Exchange, observer: &Observer, fit: &LineFit) {
    EcsLine { out }.record(exchange, observer, fit);
}

/// Every member leaves a comma behind, which the end of its object replaces.
struct EcsLine<'a> {
    out: &'a mut Vec<u8>,
}

impl EcsLine<'_> {
    #[inline(always)]
    fn raw(&mut self, piece: &'static str) {
        self.out.extend_from_slice(piece.as_bytes());
    }

    /// `"name":"text",`, where there is a text; `key` ends with the opening quote. Inlined, so that the key is a
    /// constant there.
    #[inline(always)]
    fn text(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.raw(key);
            self.escaped(text);
            self.raw("\",");
        }
    }

    /// The same for a text of our own making, which has nothing to escape: a word, base64, hexadecimal.
    #[inline(always)]
    fn word(&mut self, key: &'static str, word: Option<&str>) {
        if let Some(word) = word {
            debug_assert!(is_plain(word.as_bytes()), "{word}");
            self.raw(key);
            self.out.extend_from_slice(word.as_bytes());
            self.raw("\",");
        }
    }

    fn escaped(&mut self, text: &str) {
        if is_plain(text.as_bytes()) {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.unusual(text);
        }
    }

    #[cold]
    fn unusual(&mut self, text: &str) {
        let start = self.out.len();
        self.rest(text);
        // Without the quotes, which the pieces around it have.
        self.out.pop();
        self.out.remove(start);
    }

    #[inline(always)]
    fn number(&mut self, key: &'static str, number: Option<u64>) {
        if let Some(number) = number {
            self.raw(key);
            self.digits(number);
            self.raw(",");
        }
    }

    #[inline(always)]
    fn digits(&mut self, number: u64) {
        // Most counts are small.
        match u8::try_from(number) {
            Ok(digit @ 0..10) => self.out.push(b'0' + digit),
            _ => self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    fn flag(&mut self, key: &'static str, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.raw(key);
            self.raw(if flag { "true," } else { "false," });
        }
    }

    #[inline(always)]
    fn stamp(&mut self, key: &'static str, stamp: &Rfc3339Stamp) {
        self.raw(key);
        self.out.extend_from_slice(stamp.as_bytes());
        self.raw("\",");
    }

    fn ip(&mut self, key: &'static str, ip: Option<IpAddr>) {
        let Some(ip) = ip else { return };
        self.raw(key);
        self.address(ip);
        self.raw("\",");
    }

    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => {
                let (text, len) = dotted(v4);
                self.out.extend_from_slice(text.get(..len).unwrap_or_default());
            }
            // A `Vec` takes every write.
            IpAddr::V6(v6) => drop(write!(self.out, "{v6}")),
        }
    }

    /// A part that is rare enough for `serde_json`; a `Vec` takes every write.
    fn rest<T: Serialize + ?Sized>(&mut self, part: &T) {
        let written = serde_json::to_writer(&mut *self.out, part);
        debug_assert!(written.is_ok(), "a part of a record that is no JSON");
    }

    /// Takes it by value: of parts whose members are lent, all members would have to be in memory.
    #[inline(always)]
    fn part<T: Serialize>(&mut self, key: &'static str, part: Option<T>) {
        if let Some(part) = part {
            self.raw(key);
            self.rest(&part);
            self.raw(",");
        }
    }

    fn labels(&mut self, key: &'static str, labels: Option<&LabelSet>) {
        let Some(labels) = labels else { return };
        self.raw(key);
        for (name, value) in labels.iter() {
            self.raw("\"");
            self.escaped(name);
            self.raw("\":\"");
            self.escaped(value);
            self.raw("\",");
        }
        self.close("},");
    }

    /// Ends an object: its last member's comma becomes the bracket.
    #[inline]
    fn close(&mut self, end: &'static str) {
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.raw(end);
    }

    /// Part by part, each made when it is written and forgotten then: all at once they are a kilobyte to fill and to read
    /// again. `View` has the same parts.
    fn record(&mut self, exchange: &Exchange, observer: &Observer, fit: &LineFit) {
        let start = Rfc3339Stamp::new(exchange.start());
        self.raw("{");
        self.stamp(key!("@timestamp" ""), &start);
        self.raw("\"ecs\":{\"version\":\"");
        self.raw(ECS_VERSION);
        self.raw("\"},");
        self.event(&EventPart::new(exchange, start));
        self.http(HttpPart::new(exchange, fit));
        if let Some(request) = &exchange.request {
            self.url(&UrlParts::new(request, fit), fit.shortened);
        }
        self.nested("\"user_agent\":{\"original\":\"", OriginalPart::user_agent(exchange, fit).map(|u| u.original));
        self.side("\"source\":{\"ip\":\"", &EndpointPart::source(exchange));
        self.side("\"destination\":{\"ip\":\"", &EndpointPart::destination(exchange));
        if exchange.client_ip.is_some() {
            self.ip("\"client\":{\"ip\":\"", exchange.client_ip);
            self.close("},");
        }
        self.network(&NetworkPart::new(exchange), &exchange.connection.around);
        if let Some(trace) = exchange.request.as_ref().and_then(|r| r.trace.as_deref()) {
            self.nested("\"trace\":{\"id\":\"", Some(&trace.trace_id));
            self.nested("\"span\":{\"id\":\"", Some(&trace.span_id));
        }
        self.part(key!("rpc"), RpcPart::new(exchange, fit).as_ref());
        self.nested("\"error\":{\"type\":\"", ErrorPart::new(exchange).as_ref().map(|error| error.r#type.as_str()));
        self.process(exchange.process(), fit);
        self.observer(exchange.of_node.as_deref(), observer, fit);
        if let Some(interface) = &exchange.connection.interface {
            self.text("\"observer\":{\"ingress\":{\"interface\":{\"name\":\"", Some(interface));
            self.close("}}},");
        }
        self.podtap(PodtapPart::new(exchange, fit));
        self.close("}");
    }

    /// Who asked for the connection, where that is known.
    #[inline]
    fn process(&mut self, process: Option<&Process>, fit: &LineFit) {
        if let Some(process) = process {
            self.part(key!("process"), Some(&ProcessPart::new(process, None, fit)));
            self.part(key!("user"), Some(&ProcessUserPart::new(process)));
            self.part(key!("container"), ProcessContainerPart::new(process).as_ref());
        }
    }

    /// Who saw it: the same in every record.
    fn observer(&mut self, of_node: Option<&OfNode>, observer: &Observer, fit: &LineFit) {
        self.nested("\"service\":{\"name\":\"", service(observer, of_node));
        self.labels("\"labels\":{", fit.labels(&observer.labels));
        self.nested("\"host\":{\"name\":\"", observer.host_name.as_deref());
        if let Some(kubernetes) = &KubernetesPart::of(of_node, observer, fit) {
            self.kubernetes(kubernetes);
        }
        self.part(key!("orchestrator"), OrchestratorPart::new(observer).as_ref());
        self.raw(concat!("\"agent\":{\"type\":\"podtap\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"},"));
    }

    /// An object with one text.
    #[inline]
    fn nested(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.raw(key);
            self.escaped(text);
            self.raw("\"},");
        }
    }

    fn event(&mut self, event: &EventPart<'_>) {
        self.raw(concat!(
            "\"event\":{\"kind\":\"event\",\"category\":[\"network\",\"web\"],",
            "\"type\":[\"connection\",\"protocol\"],\"dataset\":\"podtap.http\","
        ));
        self.word(key!("id" ""), Some(event.id));
        self.stamp(key!("start" ""), &event.start);
        if let Some(end) = &event.end {
            self.stamp(key!("end" ""), end);
        }
        self.number(key!("duration"), event.duration);
        self.raw(key!("outcome" ""));
        self.raw(event.outcome);
        self.raw("\"},");
    }

    #[inline(always)]
    fn http(&mut self, http: HttpPart<'_>) {
        self.raw("\"http\":{");
        self.word(key!("version" ""), http.version);
        self.text(key!("route" ""), http.route);
        if let Some(request) = http.request {
            self.request(request);
        }
        if let Some(response) = http.response {
            self.response(response);
        }
        self.close("},");
    }

    #[inline(always)]
    fn request(&mut self, request: RequestPart<'_>) {
        self.raw("\"request\":{");
        self.text(key!("method" ""), request.method);
        self.number(key!("bytes"), Some(request.bytes));
        self.part(key!("body"), request.body);
        self.text(key!("mime_type" ""), request.mime_type);
        self.text(key!("referrer" ""), request.referrer);
        self.text(key!("id" ""), request.id);
        self.part(key!("headers"), request.headers);
        self.part(key!("trailers"), request.trailers);
        self.close("},");
    }

    #[inline(always)]
    fn response(&mut self, response: ResponsePart<'_>) {
        match response.status_code {
            Some(status) => self.number("\"response\":{\"status_code\":", Some(status.into())),
            None => self.raw("\"response\":{"),
        }
        self.text(key!("status_phrase" ""), response.status_phrase);
        self.text(key!("mime_type" ""), response.mime_type);
        self.number(key!("bytes"), Some(response.bytes));
        if let Some(body) = &response.body {
            self.number("\"body\":{\"bytes\":", Some(body.bytes));
            self.close("},");
        }
        self.part(key!("headers"), response.headers);
        self.part(key!("trailers"), response.trailers);
        self.close("},");
    }

    fn url(&mut self, url: &UrlParts<'_>, shortened: bool) {
        // Its parts are parts of these two, where nothing was cut off.
        let is_plain = |text: &str| is_plain(text.as_bytes());
        if !shortened && is_plain(url.original.unwrap_or_default()) && is_plain(url.domain.unwrap_or_default()) {
            self.url_parts(url, |line, part| line.out.extend_from_slice(part.as_bytes()));
        } else {
            self.url_parts(url, Self::escaped);
        }
    }

    #[inline(always)]
    fn url_parts(&mut self, url: &UrlParts<'_>, append: impl Fn(&mut Self, &str)) {
        self.raw("\"url\":{");
        self.url_part(key!("original" ""), url.original, &append);
        self.url_part(key!("path" ""), url.path, &append);
        self.url_part(key!("query" ""), url.query, &append);
        self.url_part(key!("domain" ""), url.domain, &append);
        self.number(key!("port"), url.port.map(u64::from));
        self.url_part(key!("scheme" ""), url.scheme, &append);
        if let Some(full) = &url.full {
            self.raw(key!("full" ""));
            append(self, full.scheme);
            self.raw("://");
            append(self, full.domain);
            if let Some(port) = full.port {
                self.raw(":");
                self.out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
            }
            append(self, full.path_and_query);
            self.raw("\",");
        }
        self.close("},");
    }

    #[inline(always)]
    fn url_part(&mut self, key: &'static str, part: Option<&str>, append: &impl Fn(&mut Self, &str)) {
        if let Some(part) = part {
            self.raw(key);
            append(self, part);
            self.raw("\",");
        }
    }

    fn side(&mut self, key: &'static str, side: &EndpointPart<'_>) {
        self.ip(key, Some(side.ip));
        self.number(key!("port"), Some(side.port.into()));
        self.number(key!("bytes"), side.bytes);
        self.part(key!("domain"), side.domain);
        self.close("},");
    }

    fn network(&mut self, network: &NetworkPart<'_>, around: &OuterLayers) {
        self.word("\"network\":{\"transport\":\"tcp\",\"type\":\"", Some(network.r#type));
        self.raw("\"protocol\":\"http\",");
        self.word(key!("direction" ""), network.direction);
        self.word(key!("community_id" ""), Some(network.community_id));
        self.vlans(around);
        self.close("},");
    }

    fn vlans(&mut self, around: &OuterLayers) {
        if *around != OuterLayers::default() {
            self.part(key!("vlan"), VlanPart::outer(around).as_ref());
            self.part(key!("inner"), InnerVlanPart::new(around).as_ref());
        }
    }

    fn kubernetes(&mut self, kubernetes: &KubernetesPart<'_>) {
        self.raw("\"kubernetes\":{");
        self.text(key!("namespace" ""), kubernetes.namespace);
        if let Some(pod) = &kubernetes.pod {
            self.raw("\"pod\":{");
            self.text(key!("name" ""), pod.name);
            self.text(key!("uid" ""), pod.uid);
            self.ip(key!("ip" ""), pod.ip);
            self.close("},");
        }
        self.nested("\"node\":{\"name\":\"", kubernetes.node.as_ref().map(|n| n.name));
        self.labels("\"labels\":{", kubernetes.labels);
        self.labels("\"annotations\":{", kubernetes.annotations);
        self.close("},");
    }

    #[inline(always)]
    fn podtap(&mut self, podtap: PodtapPart<'_>) {
        self.word("\"podtap\":{\"trust\":\"", Some(podtap.trust));
        self.part(key!("missing"), podtap.missing);
        if let Some(timing) = &podtap.timing {
            self.timing(timing);
        }
        self.flag(key!("early_response"), podtap.early_response);
        self.connection(&podtap.connection);
        self.word(key!("stream" ""), Some(podtap.stream));
        self.part(key!("informational"), podtap.informational);
        self.part(key!("weird"), podtap.weird);
        self.word(key!("unanswered" ""), podtap.unanswered);
        self.flag(key!("late"), podtap.late);
        self.word(key!("ended_by" ""), podtap.ended_by);
        self.word(key!("ended_how" ""), podtap.ended_how);
        self.flag(key!("open"), podtap.open);
        self.part(key!("unknown"), podtap.unknown);
        self.word(key!("path_ref" ""), podtap.path_ref);
        self.part(key!("http2"), podtap.http2);
        self.part(key!("grpc"), podtap.grpc);
        self.part(key!("websocket"), podtap.websocket);
        self.part(key!("sse"), podtap.sse);
        self.part(key!("process"), podtap.process);
        self.part(key!("tunnel"), podtap.tunnel);
        self.part(key!("source"), podtap.source);
        self.part(key!("destination"), podtap.destination);
        self.word(key!("observed" ""), podtap.observed);
        self.flag(key!("shortened"), podtap.shortened);
        self.close("}");
    }

    #[inline(always)]
    fn timing(&mut self, timing: &TimingPart) {
        self.raw("\"timing\":{");
        self.number(key!("connect_us"), timing.connect_us);
        self.number(key!("request_us"), timing.request_us);
        self.number(key!("wait_us"), timing.wait_us);
        self.number(key!("response_us"), timing.response_us);
        self.number(key!("total_us"), timing.total_us);
        self.close("},");
    }

    #[inline(always)]
    fn connection(&mut self, connection: &ConnectionPart<'_>) {
        self.word("\"connection\":{\"id\":\"", Some(connection.id));
        self.number(key!("exchange"), connection.exchange.map(u64::from));
        self.flag(key!("reused"), connection.reused);
        self.close("},");
    }
}

/// An IPv4 address as text, and its length.
fn dotted(ip: Ipv4Addr) -> ([u8; 16], usize) {
    let (mut text, mut len) = ([0; 16], 0);
    for octet in ip.octets() {
        let (digits, count) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
        // What is behind the dot is written over by the next octet.
        if let Some(place) = text.get_mut(len..).and_then(|rest| rest.first_chunk_mut()) {
            *place = digits;
        }
        len += count;
    }
    (text, len - 1)
}

/// Each octet in digits with a dot behind, and the length of that.
#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
const OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut n = 0;
    while n < 256 {
        let [a, b, c] = [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
        octets[n] = match n {
            0..10 => ([c, b'.', 0, 0], 2),
            10..100 => ([b, c, b'.', 0], 3),
            _ => ([a, b, c, b'.'], 4),
        };
        n += 1;
    }
    octets
};

/// Whether no byte needs an escape in a JSON string (RFC 8259 §7), eight bytes at a time. The last eight overlap those
/// before them, as most texts are short.
fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return is_short_plain(bytes);
    };
    let (words, _) = bytes.as_chunks::<8>();
    let odd = words.iter().fold(odd_bytes(*last), |any, word| any | odd_bytes(*word));
    odd == 0
}

/// The same of fewer than eight bytes: of four to seven the first four and the last.
#[inline]
fn is_short_plain(bytes: &[u8]) -> bool {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some([a, b, c, d]), Some([e, f, g, h])) => odd_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) == 0,
        _ => bytes.iter().all(|b| *b >= 0x20 && *b != b'"' && *b != b'\\'),
    }
}

/// Not 0 where a byte needs an escape.
fn odd_bytes(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(word);
    // The high bit of a byte is set where the byte is below `n`; above the lowest such byte it may be set wrongly.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_text_is_one_that_serde_json_copies(text in "[ -~\\x00-\\x1f\"\\\\é]{0,20}") {
            let same = serde_json::to_string(&text).unwrap() == format!("\"{text}\"");
            prop_assert_eq!(is_plain(text.as_bytes()), same);
        }

        #[test]
        fn an_address_is_written_as_rust_prints_it(ip in any::<Ipv4Addr>()) {
            let (text, len) = dotted(ip);
            prop_assert_eq!(std::str::from_utf8(&text[..len]).unwrap(), ip.to_string());
        }
    }
}
