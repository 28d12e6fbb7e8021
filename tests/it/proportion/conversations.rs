//! What clients and servers send: heads, bodies and nonsense, in segments of all sizes, to records and their lines.

use podtap::attempts;
use podtap::dissect::{Dissector, DissectorConfig};
use podtap::exchange::KeepHeaders;
use podtap::flow::{Endpoint, Timestamp};
use podtap::format::{Observer, ecs, text};
use podtap::packet::{Frame, LinkType, TcpFlags};
use podtap::record::Record;
use podtap::redact::{NameList, Redactor};
use podtap::shape::route::RouteRules;
use podtap::tcp::CloseReason;

use super::texts::PIECES;
use super::{Case, sample};
use crate::limits::write_frame;

/// Bytes of the smallest size: four times as many fit into a head.
const BYTES: usize = 3072;

/// What is before the piece, from the client and from the server.
const PLACES: &[(&str, &str, &str)] = &[
    ("stream", "", ""),
    ("target", "GET /", ""),
    ("value", "GET / HTTP/1.1\r\nHost: h\r\nX-Any: ", ""),
    ("head", "GET / HTTP/1.1\r\nHost: h\r\n", ""),
    ("chunked body", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
    ("answer", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
    ("answered body", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
];

/// What is a message, or the beginning of one.
const MESSAGES: &[&str] = &[
    "GET ",
    "GET / ",
    "GET /\r\n",
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "HTTP/1.1 ",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 204 x\r\n\r\n",
    "PROXY ",
    "PRI * HTTP/2.0\r\n",
    "0\r\n",
    "0\r\n\r\n",
    "1\r\nx\r\n",
    "1;a=b\r\nx\r\n",
    "A: b\r\n",
    "A: b\r\n c\r\n",
    "A:\r\n Cookie: x\r\n",
    " a\r\n",
    "A\r\n",
    "Host: h\r\n",
    "Content-Length: 1\r\n",
    "Content-Length: 1,",
    "Transfer-Encoding: chunked\r\n",
    "Forwarded: for=1.2.3.4\r\n",
    "X-Forwarded-For: 1.2.3.4, \r\n",
    "Connection: a, ",
    "\x16\x03\x01\x00\x01\x01",
    "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
    "Cookie: a=b; token=c\r\n",
    "traceparent: 00-1-1-1\r\n",
    "UNKNOWN / HTTP/1.1\r\n\r\n",
    "\r\n\r\n\0\r\nQUIT\n",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, client, server) in PLACES {
        for piece in MESSAGES {
            for segment in [1, 7, 1400] {
                // In single bytes each costs a whole packet: fewer show as much.
                let bytes = match segment {
                    1 => BYTES / 4,
                    // A broken body is given up by whole segments: with few of them that is a step and no slope.
                    1400 if place.ends_with("body") => 2 * BYTES,
                    _ => BYTES,
                };
                cases.push(conversation(place, client, server, piece, segment, bytes));
            }
        }
        for piece in PIECES {
            cases.push(conversation(place, client, server, piece, 536, BYTES));
        }
    }
    sample(cases, 4)
}

fn conversation(
    place: &str,
    client: &'static str,
    server: &'static str,
    piece: &'static str,
    segment: usize,
    bytes: usize,
) -> Case {
    Case::new(format!("{place} {piece:?} by {segment}"), move |size| {
        let junk: Vec<u8> = piece.bytes().cycle().take(size * bytes).collect();
        let (mut asked, mut answered) = (client.as_bytes().to_vec(), server.as_bytes().to_vec());
        if server.is_empty() {
            asked.extend(junk)
        } else {
            answered.extend(junk)
        }
        let frames = frames(&asked, &answered, segment);
        move || run(&frames)
    })
}

pub(super) type Frames = Vec<(Timestamp, Vec<u8>)>;

fn frames(asked: &[u8], answered: &[u8], segment: usize) -> Frames {
    let client = Endpoint::new([10, 0, 0, 1], 40_000);
    let mut frames = Vec::new();
    let mut send = |to_server, flags, numbers, payload: &[u8]| {
        let mut frame = Vec::new();
        write_frame(&mut frame, client, to_server, flags, numbers, payload);
        frames.push((Timestamp(1_000_000_000_000).plus(frames.len() as u64 * 10_000), frame));
    };
    send(true, TcpFlags::SYN, [0, 0], b"");
    send(false, TcpFlags::SYN | TcpFlags::ACK, [0, 1], b"");
    for (n, part) in asked.chunks(segment).enumerate() {
        send(true, TcpFlags::ACK, [1 + (n * segment) as u32, 1], part);
    }
    for (n, part) in answered.chunks(segment).enumerate() {
        send(false, TcpFlags::ACK, [1 + (n * segment) as u32, 1 + asked.len() as u32], part);
    }
    frames
}

/// Frames to lines, as a capture thread does it.
pub(super) fn run(frames: &Frames) {
    let paths = ["/reset/*", "/a/*/b"].map(str::to_owned);
    let redactor = Redactor::new(NameList::default(), NameList::default(), &paths).unwrap();
    let mut config = DissectorConfig::default();
    config.http.headers = KeepHeaders::All;
    config.connects = Some(attempts::AttemptConfig {
        most: 100,
        observer_id: String::new(),
        own_ips: Vec::new(),
        reported: attempts::ReportedConnects::None,
    });
    let mut dissector = Dissector::new(config, redactor);
    let (routes, observer, mut out) = (RouteRules::default(), Observer::default(), Vec::new());
    let mut encode = |dissector: &mut Dissector| {
        for mut record in dissector.records().drain(..) {
            if let Record::Http(exchange) = &mut record {
                exchange.route = exchange.request.as_ref().and_then(|request| routes.of_request(request));
            }
            out.clear();
            ecs::write_json_capped(&mut out, &record, &observer, 16 << 10);
            text::write_line(&mut out, &record, &text::TextStyle { colour: true, ..text::TextStyle::default() });
        }
    };
    for (at, data) in frames {
        let wire_len = data.len() as u32;
        dissector.handle_frame(&Frame { at: *at, link: LinkType(101), data, wire_len, interface: None }, |_| false);
        encode(&mut dissector);
    }
    dissector.finish(CloseReason::EndOfCapture);
    encode(&mut dissector);
}
