//! Connections of HTTP/2 in a literal notation: what becomes of each stream.

mod calls;
mod late;

use proptest::prelude::*;

use super::*;
use crate::exchange::{ExchangeConfig, KeepHeaders};
use crate::flow::{Endpoint, FiveTuple};
use crate::record::{EventOutcome, Exchange, Record, StreamReset, Trust};
use crate::redact::Redactor;

const CLIENT: ConnectionSide = ConnectionSide::Client;
const SERVER: ConnectionSide = ConnectionSide::Server;
const END: u8 = frame::END_STREAM;

/// A frame.
fn wire(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals; `+name` is inserted into the table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let one = |(name, value): &(&str, &str)| {
        let (first, name) = name.strip_prefix('+').map_or((0x00, *name), |name| (0x40, name));
        [&[first, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    fields.iter().flat_map(one).collect()
}

fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    wire(frame::HEADERS, frame::END_HEADERS | flags, stream, &block(fields))
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END, &[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop")])
}

fn call(stream: u32) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/pkg.Svc/Do"), (":authority", "shop")];
    headers(stream, 0, &[&fields[..], &[("content-type", "application/grpc"), ("grpc-timeout", "5S")]].concat())
}

fn answer(stream: u32, flags: u8, status: &str) -> Vec<u8> {
    headers(stream, flags, &[(":status", status)])
}

fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    wire(frame::DATA, flags, stream, bytes)
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    wire(frame::RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn conn() -> ConnSummary {
    let tuple =
        FiveTuple { source: Endpoint::new([10, 0, 0, 1], 50_000), destination: Endpoint::new([10, 0, 0, 2], 80) };
    ConnSummary {
        first_seen: Timestamp(1),
        originator: Some(Direction::FromLow),
        initial_seq: [Some(1), Some(1)],
        handshake_seen: true,
        origins_known: true,
        connect_ns: Some(1000),
        ..ConnSummary::joined_late(tuple)
    }
}

/// A connection under test, in segments a millisecond apart.
struct Bench {
    connection: Http2Connection,
    cx: ExchangeContext,
    now: i64,
    offsets: [u64; 2],
}

impl Bench {
    fn new(beginning: Http2Beginning) -> Self {
        let config = ExchangeConfig { headers: KeepHeaders::All, ..ExchangeConfig::default() };
        let mut cx = ExchangeContext::new(config, Redactor::default());
        let connection = Http2Connection::new(&conn(), Direction::FromLow, beginning, None, &mut cx);
        Self { connection, cx, now: 0, offsets: [0; 2] }
    }

    fn opened() -> Self {
        Self::new(Http2Beginning::Preface(0))
    }

    fn from(side: ConnectionSide) -> Direction {
        if side == CLIENT { Direction::FromLow } else { Direction::FromHigh }
    }

    fn event(&mut self, side: ConnectionSide, event: StreamEvent<'_>) {
        self.connection.on_event(Self::from(side), event, &mut self.cx);
        let ledger = crate::ledger::Ledger { http: self.cx.ledger.clone(), ..Default::default() };
        let own: Vec<_> = ledger.imbalances().into_iter().filter(|i| !i.equation.starts_with("delivered")).collect();
        assert!(own.is_empty(), "{own:?}");
    }

    fn send(mut self, side: ConnectionSide, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.now += 1_000_000;
        let offset = self.offsets[side as usize];
        self.offsets[side as usize] += bytes.len() as u64;
        self.event(side, StreamEvent::Data { at: Timestamp(self.now), offset, ack: None, bytes });
        self
    }

    fn lose(mut self, side: ConnectionSide, len: usize) -> Self {
        let offset = self.offsets[side as usize];
        self.offsets[side as usize] += len as u64;
        let at = Timestamp(self.now);
        self.event(side, StreamEvent::Gap { at, offset, len: len as u64, cause: crate::tcp::GapCause::Lost });
        self
    }

    fn end(mut self, side: ConnectionSide) -> Self {
        self.now += 1_000_000;
        self.event(side, StreamEvent::End { at: Timestamp(self.now) });
        self
    }

    fn later(mut self, ms: i64) -> Self {
        self.now += ms * 1_000_000;
        self.connection.on_tick(Timestamp(self.now), &mut self.cx);
        self
    }

    fn close(mut self, reason: CloseReason) -> Vec<Exchange> {
        self.connection.on_close(Timestamp(self.now), reason, &mut self.cx);
        let ledger = crate::ledger::Ledger { http: self.cx.ledger.clone(), ..Default::default() };
        let own: Vec<_> = ledger.imbalances().into_iter().filter(|i| !i.equation.starts_with("delivered")).collect();
        assert!(own.is_empty(), "{own:?}");
        assert_eq!((ledger.http.open, ledger.http.responses_open), (0, 0));
        self.cx.out.into_iter().filter_map(Record::into_exchange).collect()
    }

    fn records(self) -> Vec<Exchange> {
        self.close(CloseReason::Closed)
    }
}

/// Stream, method and target, status.
fn line(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().map_or("-".to_owned(), |r| format!("{} {}", r.method, r.target));
    let status = exchange.response.as_ref().map(|r| r.status.map_or("?".to_owned(), |s| s.to_string()));
    format!("{} {request} {}", exchange.http2.as_ref().unwrap().stream, status.unwrap_or_else(|| "-".to_owned()))
}

fn lines(records: &[Exchange]) -> Vec<String> {
    records.iter().map(line).collect()
}

#[test]
fn answers_find_their_requests_in_any_order() {
    let records = Bench::opened()
        .send(CLIENT, [get(1, "/a"), get(3, "/b"), get(5, "/c")].concat())
        .send(SERVER, answer(5, 0, "200"))
        .send(SERVER, [answer(1, END, "404"), answer(3, 0, "500"), data(5, END, b"cc")].concat())
        .send(SERVER, data(3, END, b"b"))
        .records();
    assert_eq!(lines(&records), ["1 GET /a 404", "5 GET /c 200", "3 GET /b 500"]);
    assert!(records.iter().all(|r| r.trust == Trust::Complete && r.missing.is_empty()));
    let c = &records[1];
    assert_eq!((c.response.as_ref().unwrap().body_bytes, c.number), (2, 3));
    assert_eq!((c.start(), c.end()), (Timestamp(1_000_000), Some(Timestamp(3_000_000))));
    assert_eq!((records[0].connect_ns, records[1].connect_ns), (Some(1000), None));
}

#[test]
fn every_cut_into_segments_gives_the_same() {
    let padded = wire(frame::DATA, END | frame::PADDED, 1, &[&[3][..], b"body", &[0; 3]].concat());
    let fields = block(&[(":method", "POST"), (":scheme", "http"), (":path", "/up"), ("+x-a", "1")]);
    let (first, second) = fields.split_at(9);
    let asked = [
        PREFACE.to_vec(),
        wire(frame::SETTINGS, 0, 0, &[0, 5, 0, 0x10, 0, 0]),
        wire(
            frame::HEADERS,
            frame::PADDED | frame::WITH_PRIORITY,
            1,
            &[&[2, 0, 0, 0, 0, 9][..], first, &[0; 2]].concat(),
        ),
        wire(frame::CONTINUATION, frame::END_HEADERS, 1, second),
        padded,
        wire(0xfa, 0xff, 7, b"of a type that nobody knows"),
        get(3, "/b"),
    ]
    .concat();
    let answered = [
        answer(1, 0, "100"),
        answer(1, 0, "201"),
        headers(1, END, &[("x-trailer", "t")]),
        answer(3, END, "200"),
        wire(frame::PING, 0, 0, &[0; 8]),
    ]
    .concat();
    let whole = Bench::new(Http2Beginning::Preface(24)).send(CLIENT, &asked).send(SERVER, &answered).records();
    assert_eq!(lines(&whole), ["1 POST /up 201", "3 GET /b 200"]);
    assert_eq!(whole[0].informational, [100]);
    assert_eq!(whole[0].request.as_ref().unwrap().body_bytes, 4);
    assert_eq!(whole[0].response.as_ref().unwrap().trailers[0].value, "t");
    for cut in 1..asked.len() {
        let bench =
            asked.chunks(cut).fold(Bench::new(Http2Beginning::Preface(24)), |bench, piece| bench.send(CLIENT, piece));
        let cut_up = answered.chunks(cut).fold(bench, |bench, piece| bench.send(SERVER, piece)).records();
        let sizes = |records: &[Exchange]| {
            let of = |r: &Exchange| {
                let (request, response) = (r.request.clone().unwrap(), r.response.clone().unwrap());
                (line(r), request.bytes, request.body_bytes, request.headers, response.bytes, response.trailers)
            };
            records.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&cut_up), sizes(&whole), "{cut}");
    }
}

#[test]
fn a_call_has_its_status_its_messages_and_its_deadline() {
    let message = [&[0, 0, 0, 0, 2][..], b"hi"].concat();
    let type_and_status = [(":status", "200"), ("content-type", "application/grpc")];
    let trailers = [("grpc-status", "14"), ("grpc-message", "try%20again")];
    let records = Bench::opened()
        .send(CLIENT, [call(1), data(1, END, &message.repeat(2))].concat())
        .send(SERVER, [headers(1, 0, &type_and_status), data(1, 0, &message[..3])].concat())
        .send(SERVER, [data(1, 0, &message[3..]), headers(1, END, &trailers)].concat())
        .send(CLIENT, [call(3), data(3, END, &message)].concat())
        .send(SERVER, headers(3, END, &[&type_and_status[..], &[("grpc-status", "0")]].concat()))
        .send(CLIENT, call(5))
        .send(CLIENT, reset(5, 8))
        .records();
    let calls: Vec<_> = records.iter().map(|r| r.grpc.as_deref().unwrap()).collect();
    let counts = |n: usize| (calls[n].request_messages, calls[n].response_messages, calls[n].status);
    assert_eq!(counts(0), (Some(2), Some(1), Some(14)));
    assert_eq!(counts(1), (Some(1), Some(0), Some(0)));
    assert_eq!(counts(2), (Some(0), Some(0), None));
    assert_eq!(calls[0].message.as_deref(), Some("try again"));
    assert_eq!((calls[0].method.as_deref(), calls[0].timeout_us), (Some("pkg.Svc/Do"), Some(5_000_000)));
    assert_eq!(calls[0].first_message, Some(Timestamp(3_000_000)));
    let outcomes: Vec<_> = records.iter().map(Exchange::outcome).collect();
    assert_eq!(outcomes, [EventOutcome::Failure, EventOutcome::Success, EventOutcome::Failure]);
}

#[test]
fn a_reset_says_by_whom_and_an_answer_on_its_way_is_still_one() {
    let records = Bench::opened()
        .send(CLIENT, [get(1, "/a"), get(3, "/b"), get(5, "/c")].concat())
        .send(SERVER, reset(1, 7))
        .send(CLIENT, [reset(3, 8), reset(5, 8)].concat())
        .send(SERVER, answer(5, 0, "200"))
        .later(2000)
        .records();
    assert_eq!(lines(&records), ["1 GET /a -", "5 GET /c 200", "3 GET /b -"]);
    let resets: Vec<_> = records.iter().map(|r| r.http2.as_ref().unwrap().reset.unwrap()).collect();
    let [by_server, by_client] = [StreamReset { by: SERVER, code: 7 }, StreamReset { by: CLIENT, code: 8 }];
    assert_eq!(resets, [by_server, by_client, by_client]);
    assert!(records.iter().all(|r| r.unanswered.is_none() && r.trust == Trust::Complete));
    assert!(records.iter().all(|r| r.outcome() == EventOutcome::Failure));
}

#[test]
fn what_does_not_end_by_itself_says_who_ended_it_and_how() {
    let half = || Bench::opened().send(CLIENT, [get(1, "/a"), get(3, "/b")].concat()).send(SERVER, answer(1, 0, "200"));
    let by = |by, how| Some(EarlyEnd { by, how });
    let reset = half().send(CLIENT, [reset(1, 8), reset(3, 8)].concat()).later(2000).records();
    let expected = by(Some(CLIENT), EndedHow::ResetStream);
    assert_eq!(reset.iter().map(|r| r.ended).collect::<Vec<_>>(), [expected; 2]);
    let hung_up = half().end(SERVER).end(CLIENT).records();
    let expected = by(Some(SERVER), EndedHow::Fin);
    assert_eq!(hung_up.iter().map(|r| r.ended).collect::<Vec<_>>(), [expected; 2]);
    let cut = half().close(CloseReason::Reset(Direction::FromLow));
    assert_eq!(cut.iter().map(|r| r.ended).collect::<Vec<_>>(), [by(Some(CLIENT), EndedHow::Rst); 2]);
    // An answer that was cut is a failure, whatever its head said.
    assert!(reset.iter().chain(&hung_up).chain(&cut).all(|r| r.outcome() == EventOutcome::Failure));
    let whole = half().send(SERVER, [data(1, END, b"x"), answer(3, END, "204")].concat()).end(CLIENT).records();
    assert!(whole.iter().all(|r| r.ended.is_none() && r.outcome() == EventOutcome::Success));
    let capture_over = half().close(CloseReason::EndOfCapture);
    assert!(capture_over.iter().all(|r| r.ended.is_none()));
}

#[test]
fn an_early_answer_that_is_reset_without_an_error_is_no_failure() {
    let upload = headers(1, 0, &[(":method", "POST"), (":scheme", "http"), (":path", "/up")]);
    let records = Bench::opened()
        .send(CLIENT, [upload, data(1, 0, b"half")].concat())
        .send(SERVER, [answer(1, END, "200"), reset(1, 0)].concat())
        .records();
    assert_eq!(lines(&records), ["1 POST /up 200"]);
    assert_eq!(records[0].outcome(), EventOutcome::Success);
}

#[test]
fn streams_above_a_goaway_were_not_processed() {
    let goaway = wire(frame::GOAWAY, 0, 0, &[&1u32.to_be_bytes()[..], &[0; 4]].concat());
    let records = Bench::opened()
        .send(CLIENT, [get(1, "/a"), get(3, "/b")].concat())
        .send(SERVER, [goaway, answer(1, END, "200")].concat())
        // Asked before its client heard of it.
        .send(CLIENT, get(5, "/c"))
        .records();
    assert_eq!(lines(&records), ["3 GET /b -", "1 GET /a 200", "5 GET /c -"]);
    for refused in [&records[0], &records[2]] {
        assert!(refused.http2.as_ref().unwrap().not_processed);
        assert_eq!(refused.unanswered, Some(UnansweredReason::Closed));
    }
}

/// A request with trailers that are in the table, seen from its trailers on.
#[test]
fn trailers_whose_request_was_not_seen_are_no_request() {
    let reference = wire(frame::HEADERS, frame::END_HEADERS | END, 1, &[0x80 | 62]);
    let records = Bench::new(Http2Beginning::Midstream)
        .send(CLIENT, [get(3, "/b"), get(5, "/c"), get(7, "/d"), reference].concat())
        .send(
            SERVER,
            [answer(1, END, "201"), answer(3, END, "200"), answer(5, END, "200"), answer(7, END, "200")].concat(),
        )
        .records();
    assert_eq!(lines(&records), ["3 GET /b 200", "5 GET /c 200", "7 GET /d 200"]);
}

#[test]
fn a_promise_is_a_request_of_the_server() {
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/style.css"), (":authority", "shop")];
    let promise = [&2u32.to_be_bytes()[..], &block(&fields)].concat();
    let records = Bench::opened()
        .send(CLIENT, get(1, "/"))
        .send(SERVER, [wire(frame::PUSH_PROMISE, frame::END_HEADERS, 1, &promise), answer(1, END, "200")].concat())
        .send(SERVER, answer(2, END, "200"))
        .records();
    assert_eq!(lines(&records), ["1 GET / 200", "2 GET /style.css 200"]);
    assert!(records[1].http2.as_ref().unwrap().pushed && !records[0].http2.as_ref().unwrap().pushed);
}

#[test]
fn the_request_of_an_upgrade_is_stream_1() {
    let request = crate::record::sample::request();
    let records = Bench::new(Http2Beginning::Upgrade(Some(Box::new(request))))
        .send(SERVER, [wire(frame::SETTINGS, 0, 0, &[]), answer(1, END, "200")].concat())
        .send(CLIENT, [PREFACE, &get(3, "/next")].concat())
        .send(SERVER, answer(3, END, "204"))
        .records();
    assert_eq!(lines(&records), ["1 GET /cart?id=7 200", "3 GET /next 204"]);
    assert!(records[0].http2.as_ref().unwrap().upgraded);
}

#[test]
fn a_socket_in_a_stream_is_counted() {
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    let records = Bench::opened()
        .send(CLIENT, headers(1, 0, &fields))
        .send(SERVER, answer(1, 0, "200"))
        .send(CLIENT, data(1, 0, &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']))
        .send(SERVER, data(1, END, &[0x88, 2, 0x03, 0xe8]))
        .send(CLIENT, data(1, END, b""))
        .records();
    let socket = records[0].websocket.as_ref().unwrap();
    assert_eq!((socket.client.unwrap().text, socket.close_code, socket.closed_by), (1, Some(1000), Some(SERVER)));
    assert_eq!(lines(&records), ["1 CONNECT /chat 200"]);
}

#[test]
fn a_socket_whose_acceptance_was_lost_counts_nothing_of_its_server_and_one_that_was_refused_nothing_at_all() {
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    let head = answer(1, 0, "200");
    let last = [data(1, END, &[0x82, 1, b'a']), wire(frame::PING, 0, 0, &[0; 8])].concat();
    let records = Bench::opened()
        .send(CLIENT, headers(1, 0, &fields))
        .lose(SERVER, head.len())
        .send(SERVER, last)
        .send(CLIENT, data(1, END, &[0x88, 0x80, 0, 0, 0, 0]))
        .records();
    let socket = records[0].websocket.as_ref().unwrap();
    assert_eq!((socket.client.map(|client| client.frames), socket.server), (Some(1), None));
    let records = Bench::opened().send(CLIENT, headers(1, 0, &fields)).send(SERVER, reset(1, 7)).records();
    assert!(records[0].websocket.is_none());
}

#[test]
fn a_request_that_waits_too_long_is_recorded_and_its_late_answer_too() {
    let records = Bench::opened()
        .send(CLIENT, [get(1, "/slow"), call(3)].concat())
        .later(10_001)
        .send(SERVER, answer(1, END, "200"))
        .records();
    assert_eq!(lines(&records), ["1 GET /slow -", "1 - 200", "3 POST /pkg.Svc/Do -"]);
    assert_eq!(records[0].unanswered, Some(UnansweredReason::Timeout));
    // A call whose client still sends is no question yet.
    assert_eq!(records[2].unanswered, Some(UnansweredReason::Closed));
    assert!(records[1].late && records[1].id.ends_with(".late"));
}

#[test]
fn secrets_in_header_blocks_are_masked_however_they_are_sent() {
    let secret = [("authorization", "Bearer s3cr3t"), ("cookie", "a=s3cr3t"), ("+cookie", "b=s3cr3t")];
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":path", "/?token=s3cr3t"), (":authority", "me:s3cr3t@shop")];
    let records = Bench::opened()
        .send(CLIENT, headers(1, 0, &[&fields[..], &secret].concat()))
        .send(CLIENT, headers(1, END, &[("x-api-key", "s3cr3t")]))
        .send(SERVER, [answer(1, 0, "200"), headers(1, END, &[("set-cookie", "c=s3cr3t")])].concat())
        .records();
    let text = format!("{records:?}");
    assert!(!text.contains("s3cr3t"), "{text}");
    assert_eq!(records[0].request.as_ref().unwrap().headers.len(), 3);
}

/// Six exchanges whose paths are in the table, one request or answer each segment.
fn conversation() -> Vec<(ConnectionSide, Vec<u8>)> {
    let inserted = [("+:path", "/one"), ("+:path", "/two"), ("+x-id", "7")];
    let open = [(":method", "GET"), (":scheme", "http")];
    let mut out =
        vec![(CLIENT, headers(1, END, &[&open[..], &inserted[..1]].concat())), (SERVER, answer(1, END, "200"))];
    out.push((CLIENT, headers(3, END, &[&open[..], &inserted[1..]].concat())));
    out.push((SERVER, [answer(3, 0, "200"), data(3, END, b"two")].concat()));
    for (stream, index) in [(5, 0xbf), (7, 0xc0), (9, 0xbf), (11, 0xc0)] {
        let block = [&[0x82, 0x86, index][..]].concat();
        out.push((CLIENT, wire(frame::HEADERS, frame::END_HEADERS | END, stream, &block)));
        out.push((SERVER, [answer(stream, 0, "200"), data(stream, END, b"more")].concat()));
    }
    out
}

fn fits(record: &Exchange, whole: &[Exchange]) -> bool {
    let id = record.http2.as_ref().unwrap().stream;
    let truth = whole.iter().find(|w| w.http2.as_ref().unwrap().stream == id).unwrap();
    let same = |a: &str, b: &str| a.is_empty() || a == b;
    let request = match (&record.request, &truth.request) {
        (Some(a), Some(b)) => same(&a.method, &b.method) && same(&a.target, &b.target),
        (None, _) => true,
        (Some(_), None) => false,
    };
    let status = |e: &Exchange| e.response.as_ref().and_then(|r| r.status);
    request && (status(record).is_none() || status(record) == status(truth))
}

#[test]
fn a_late_join_or_a_lost_segment_gives_less_and_nothing_else() {
    let all = conversation();
    let run = |from: usize, without: Option<usize>| {
        let begin = if from == 0 { Http2Beginning::Preface(0) } else { Http2Beginning::Midstream };
        let bench = all.iter().enumerate().skip(from).fold(Bench::new(begin), |bench, (n, (side, bytes))| {
            if without == Some(n) { bench.lose(*side, bytes.len()) } else { bench.send(*side, bytes) }
        });
        bench.records()
    };
    let whole = run(0, None);
    assert_eq!(whole.len(), 6);
    let paths: Vec<_> = whole.iter().map(|r| r.request.as_ref().unwrap().target.as_str()).collect();
    assert_eq!(paths, ["/one", "/two", "/two", "/one", "/two", "/one"]);
    for at in 0..all.len() {
        for record in run(at, None).iter().chain(&run(0, Some(at))) {
            assert!(fits(record, &whole), "{at}: {record:?}");
        }
    }
    // Joined behind both insertions: the paths are unknown, and equal ones have equal labels.
    let late = run(4, None);
    let labels: Vec<_> = late.iter().filter_map(|r| r.http2.as_ref().unwrap().path_ref.clone()).collect();
    assert!(labels.len() >= 3, "{labels:?}");
    assert_eq!(labels[0], labels[2]);
    assert_ne!(labels[0], labels[1]);
    assert_eq!(late[0].http2.as_ref().unwrap().unknown, [":path"]);
    assert_eq!(late[0].trust, Trust::Midstream);
}

/// Between two requests of one path bytes of their client are missing: whether the second path, which refers to the first, is known.
#[test]
fn what_was_known_before_a_hole_is_known_behind_it_only_if_no_header_block_can_have_been_in_it() {
    let first = |stream, ends| {
        headers(stream, ends, &[(":method", "GET"), (":scheme", "http"), ("+:path", "/a"), (":authority", "shop")])
    };
    let again = |stream| wire(frame::HEADERS, frame::END_HEADERS | END, stream, &[0x82, 0x86, 0x80 | 62]);
    let control = wire(frame::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
    let (whole, open) = (vec![first(1, END)], vec![first(1, 0)]);
    let over = vec![first(1, 0), reset(1, 8)];
    let cut = vec![first(1, END), again(3)[..11].to_vec()];
    for (before, lost, behind, is_known) in [
        (&whole, control.len(), again(3), true),
        (&whole, again(3).len(), again(5), false),
        // Its trailers may be missing, unless it goes on or was given up.
        (&open, control.len(), again(3), false),
        (&open, control.len(), [data(1, 0, b"more"), data(1, 0, b"more"), again(3)].concat(), true),
        (&over, control.len(), again(3), true),
        // A block was under way.
        (&cut, 1, again(5), false),
        // Not the next stream.
        (&whole, control.len(), again(1), false),
    ] {
        let mut bench = Bench::opened();
        for bytes in before {
            bench = bench.send(CLIENT, bytes);
        }
        let bench = bench.lose(CLIENT, lost).send(CLIENT, [behind, control.clone(), control.clone()].concat());
        let records = bench.send(SERVER, [3, 5].map(|stream| answer(stream, END, "200")).concat()).records();
        let asked = records.iter().filter(|record| record.request.is_some());
        let last = asked.max_by_key(|record| record.http2.as_ref().unwrap().stream).unwrap();
        let target = last.request.as_ref().map(|request| request.target.as_str());
        let known = last.http2.as_ref().unwrap().stream > 1 && target == Some("/a");
        assert_eq!(known, is_known, "{before:02x?} {lost} {:?}", lines(&records));
    }
}

#[test]
fn a_hole_inside_data_costs_nothing_else() {
    let records = Bench::opened()
        .send(CLIENT, headers(1, END, &[(":method", "GET"), (":scheme", "http"), ("+:path", "/big")]))
        .send(SERVER, [answer(1, 0, "200"), data(1, END, &[7; 1000])[..200].to_vec()].concat())
        .lose(SERVER, 800)
        .records();
    assert_eq!(records[0].trust, Trust::Gap);
    let records = Bench::opened()
        .send(CLIENT, get(1, "/big"))
        .send(SERVER, [answer(1, 0, "200"), data(1, END, &[7; 1000])[..209].to_vec()].concat())
        .lose(SERVER, 500)
        .send(SERVER, [&[7; 300][..], &answer(3, END, "200")].concat())
        .send(CLIENT, get(3, "/x"))
        .records();
    assert_eq!(lines(&records)[0], "1 GET /big 200");
    assert_eq!(records[0].response.as_ref().unwrap().body_bytes, 1000);
    assert_eq!(records[1].trust, Trust::Complete);
}

#[test]
fn floods_stay_small() {
    // Rapid reset, streams without end, CONTINUATION without end.
    let mut bench = Bench::opened();
    for n in 0..20_000 {
        bench = bench.send(CLIENT, [get(2 * n + 1, "/r"), reset(2 * n + 1, 8)].concat());
    }
    assert!(bench.cx.out.len() > 18_000);
    let mut bench = Bench::opened();
    for n in 0..10_000 {
        bench = bench.send(CLIENT, get(2 * n + 1, "/open"));
    }
    assert_eq!(bench.cx.ledger.h2_streams_evicted, 10_000 - streams::MAX_STREAMS as u64);
    let mut bench = Bench::opened().send(CLIENT, wire(frame::HEADERS, 0, 1, &[0x82]));
    for _ in 0..20_000 {
        bench = bench.send(CLIENT, wire(frame::CONTINUATION, 0, 1, &[0; 100]));
    }
    assert!(bench.connection.low.kept() < 256 * 1024, "{}", bench.connection.low.kept());
    let records = bench.send(CLIENT, wire(frame::CONTINUATION, frame::END_HEADERS, 1, &[])).records();
    assert!(records[0].weird.contains(Weird::HeadTooLarge));
}

#[test]
fn what_sessions_keep_is_given_back() {
    let bench = conversation().into_iter().fold(Bench::opened(), |bench, (side, bytes)| bench.send(side, bytes));
    let Bench { mut connection, mut cx, .. } = bench.send(CLIENT, get(13, "/never"));
    connection.on_close(Timestamp(1), CloseReason::Evicted, &mut cx);
    assert_eq!(cx.room_in_use(), 0);
}

proptest! {
    #[test]
    fn any_bytes_with_any_holes_balance(pieces in proptest::collection::vec((any::<bool>(), proptest::option::of(0usize..40), proptest::collection::vec(any::<u8>(), 0..60)), 0..30), late in any::<bool>()) {
        let mut bench = if late { Bench::new(Http2Beginning::Midstream) } else { Bench::opened() };
        for (n, (client, hole, bytes)) in pieces.into_iter().enumerate() {
            let side = if client { CLIENT } else { SERVER };
            bench = bench.send(side, wire(bytes.first().copied().unwrap_or(1) % 11, bytes.last().copied().unwrap_or(5), n as u32, &bytes));
            if let Some(len) = hole.filter(|len| *len > 0) {
                bench = bench.lose(side, len);
            }
        }
        bench.records();
    }

    /// Any segments lost, of any cut: nothing is recorded that is not so.
    #[test]
    fn losses_change_no_value(cut in 5usize..200, lost in proptest::collection::vec(0usize..60, 0..5)) {
        let all = conversation();
        let whole = all.iter().fold(Bench::opened(), |bench, (side, bytes)| bench.send(*side, bytes)).records();
        let mut segments = Vec::new();
        for (side, bytes) in &all {
            segments.extend(bytes.chunks(cut).map(|piece| (*side, piece.to_vec())));
        }
        let holed = segments.iter().enumerate().fold(Bench::opened(), |bench, (n, (side, bytes))| {
            if lost.contains(&n) { bench.lose(*side, bytes.len()) } else { bench.send(*side, bytes) }
        });
        for record in holed.records() {
            prop_assert!(fits(&record, &whole), "{record:?}");
        }
    }
}
