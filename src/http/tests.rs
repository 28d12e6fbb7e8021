//! Sessions driven by literal events: `>` is the client's bytes, `<` the server's, one event a line.

mod calls;
mod doubt;
mod ended;
mod fields;
mod found;
mod http09;
mod lookalikes;

use std::net::IpAddr;

use super::*;
use crate::exchange::KeepHeaders;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::flow::{Direction, Endpoint, FiveTuple, Timestamp};
use crate::record::{Exchange, Record, StreamClass, Weird};
use crate::tcp::{Analyzer, CloseReason, ConnSummary, GapCause, StreamEvent};

/// Drives one session; acknowledgements are those of a client and a server that read everything at once.
struct Wire {
    conn: ConnSummary,
    session: Option<HttpSession>,
    cx: HttpContext,
    now: i64,
    sent: [u64; 2],
}

impl Wire {
    fn new() -> Self {
        Self::joined(true)
    }

    fn joined(handshake_seen: bool) -> Self {
        let client = Endpoint::new("10.0.0.1".parse::<IpAddr>().unwrap(), 40000);
        let server = Endpoint::new("10.0.0.2".parse::<IpAddr>().unwrap(), 80);
        let conn = ConnSummary {
            originator: handshake_seen.then_some(Direction::FromLow),
            initial_seq: [Some(1), Some(2)],
            handshake_seen,
            origins_known: handshake_seen,
            connect_ns: Some(1000),
            ..ConnSummary::joined_late(FiveTuple { source: client, destination: server })
        };
        let mut cx = HttpContext::new(ExchangeConfig::default(), Redactor::off());
        let session = Some(HttpSession::open(&conn, &mut cx));
        Self { conn, session, cx, now: 0, sent: [0, 0] }
    }

    fn event(&mut self, from: Direction, event: StreamEvent<'_>) {
        if let StreamEvent::Data { bytes, .. } = event {
            self.sent[from as usize] += bytes.len() as u64;
        }
        self.session.as_mut().unwrap().on_event(&self.conn, from, event, &mut self.cx);
        let h = &self.cx.ledger;
        assert_eq!(h.bytes, h.heads + h.bodies + h.not_http.total() + h.resync + h.waiting, "{h:?}");
        assert_eq!(h.requests, h.paired + h.unanswered.total() + h.unpaired + h.open, "{h:?}");
        assert_eq!(h.responses, h.paired + h.late + h.orphan + h.responses_open, "{h:?}");
    }

    fn data(&mut self, from: Direction, bytes: &[u8]) -> &mut Self {
        self.data_acking(from, bytes, self.sent[from.flip() as usize])
    }

    fn data_acking(&mut self, from: Direction, bytes: &[u8], ack: u64) -> &mut Self {
        self.now += 1000;
        let (at, offset) = (Timestamp(self.now), self.sent[from as usize]);
        self.event(from, StreamEvent::Data { at, offset, ack: Some(ack), bytes });
        self
    }

    fn client(&mut self, text: &str) -> &mut Self {
        self.data(Direction::FromLow, text.as_bytes())
    }

    fn server(&mut self, text: &str) -> &mut Self {
        self.data(Direction::FromHigh, text.as_bytes())
    }

    fn lose(&mut self, from: Direction, len: u64) -> &mut Self {
        let (at, offset) = (Timestamp(self.now), self.sent[from as usize]);
        self.sent[from as usize] += len;
        self.event(from, StreamEvent::Gap { at, offset, len, cause: GapCause::Lost });
        self
    }

    fn tick(&mut self, millis: i64) -> &mut Self {
        self.now += millis * 1_000_000;
        self.session.as_mut().unwrap().on_tick(&self.conn, Timestamp(self.now), &mut self.cx);
        self
    }

    fn end(&mut self, from: Direction) -> &mut Self {
        let at = Timestamp(self.now);
        self.event(from, StreamEvent::End { at });
        self
    }

    fn close(&mut self, reason: CloseReason) -> Vec<Exchange> {
        let mut session = self.session.take().unwrap();
        session.on_close(&self.conn, Timestamp(self.now), reason, &mut self.cx);
        let h = &self.cx.ledger;
        assert_eq!((h.open, h.responses_open, h.waiting), (0, 0, 0), "nothing is left open");
        assert_eq!(self.cx.room_in_use(), 0, "nothing is kept");
        self.cx.out.drain(..).filter_map(Record::into_exchange).collect()
    }

    /// One line a record: `method target status trust`, `-` for a missing half.
    fn lines(&mut self, reason: CloseReason) -> Vec<String> {
        self.close(reason).iter().map(line).collect()
    }
}

fn line(e: &Exchange) -> String {
    let request = e.request.as_ref().map_or("-".into(), |r| format!("{} {}", r.method, r.target));
    let status = e.response.as_ref().map_or("-".into(), |r| r.status.map_or("body".into(), |s| s.to_string()));
    let why = e.unanswered.map_or(String::new(), |u| format!(" {}", u.name()));
    let late = if e.late { " late" } else { "" };
    format!("{request} {status} {}{why}{late}", e.trust.name())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n")
}
fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok")
}

#[test]
fn an_exchange_has_both_halves_and_their_times() {
    let mut w = Wire::new();
    w.client(&get("/a")).server(OK);
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!(line(&e), "GET /a 200 complete");
    let (q, r) = (e.request.unwrap(), e.response.unwrap());
    assert_eq!((q.first.0, r.last.0, r.bytes, r.body_bytes), (1000, 2000, OK.len() as u64, 2));
    assert_eq!(e.connect_ns, Some(1000));
}

#[test]
fn keep_alive_and_pipelining_pair_by_order() {
    let mut w = Wire::new();
    w.client(&get("/1")).server(&status(201));
    w.client(&(get("/2") + &get("/3") + &get("/4"))).server(&(status(202) + &status(203))).server(&status(404));
    let expected = ["GET /1 201 complete", "GET /2 202 complete", "GET /3 203 complete", "GET /4 404 complete"];
    assert_eq!(w.lines(CloseReason::Closed), expected);
}

#[test]
fn any_cut_into_segments_gives_the_same_records() {
    let requests = format!("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc{}", get("/q"));
    let responses = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n{OK}"
    );
    let whole = {
        let mut w = Wire::new();
        w.client(&requests).server(&responses);
        w.lines(CloseReason::Closed)
    };
    assert_eq!(whole, ["POST /p 200 complete", "GET /q 200 complete"]);
    for cut in 1..requests.len() {
        let mut w = Wire::new();
        w.client(&requests[..cut]).client(&requests[cut..]).server(&responses);
        assert_eq!(w.lines(CloseReason::Closed), whole, "requests cut at {cut}");
    }
    for cut in 1..responses.len() {
        let mut w = Wire::new();
        w.client(&requests).server(&responses[..cut]).server(&responses[cut..]);
        assert_eq!(w.lines(CloseReason::Closed), whole, "responses cut at {cut}");
    }
    let mut w = Wire::new();
    for b in requests.bytes() {
        w.data(FromLow, &[b]);
    }
    for b in responses.bytes() {
        w.data(FromHigh, &[b]);
    }
    assert_eq!(w.lines(CloseReason::Closed), whole, "byte by byte");
}

#[test]
fn the_method_decides_about_the_body() {
    let mut w = Wire::new();
    w.client("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n").server("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n");
    w.client(&get("/304")).server("HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n");
    w.client(&get("/204")).server("HTTP/1.1 204 No Content\r\n\r\n");
    w.client(&get("/x")).server(OK);
    let expected = ["HEAD /h 200 complete", "GET /304 304 complete", "GET /204 204 complete", "GET /x 200 complete"];
    assert_eq!(w.lines(CloseReason::Closed), expected);
}

#[test]
fn informational_responses_are_kept_apart_from_the_final_one() {
    let mut w = Wire::new();
    w.client("POST /u HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    w.server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("abc")
        .server("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        .server(OK);
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!((line(&e).as_str(), e.informational), ("POST /u 200 complete", vec![100, 103]));
}

#[test]
fn a_refused_expectation_leaves_no_body_to_wait_for() {
    let mut w = Wire::new();
    w.client("POST /u HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n")
        .server(&status(417));
    w.client(&get("/next")).server(OK);
    assert_eq!(w.lines(CloseReason::Closed), ["POST /u 417 complete", "GET /next 200 complete"]);
}

#[test]
fn an_early_response_waits_for_the_end_of_its_request() {
    let mut w = Wire::new();
    w.client("POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc").server(&status(413)).client("def");
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!(line(&e), "POST /u 413 complete");
    assert_eq!(e.request.unwrap().body_bytes, 6);
}

#[test]
fn upgrade_and_connect_hand_the_connection_over() {
    let mut w = Wire::new();
    w.client("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    w.server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02").client("GET / HTTP/1.1\r\n\r\n");
    let e = w.close(CloseReason::Closed);
    assert_eq!((e.len(), e[0].class), (1, StreamClass::Upgrade));
    let mut w = Wire::new();
    w.client("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\n\r\n")
        .client("\x16\x03\x01")
        .server("x");
    let e = w.close(CloseReason::Closed);
    assert_eq!((e.len(), e[0].class), (1, StreamClass::Tunnel));
    assert_eq!(w.cx.ledger.not_http.total(), 4);
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    let mut w = Wire::new();
    w.client("GET / HTTP/1.0\r\n\r\n").server("HTTP/1.0 200 OK\r\n\r\nabc").server("def").end(FromHigh);
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!((line(&e).as_str(), e.response.unwrap().body_bytes), ("GET / 200 complete", 6));
}

#[test]
fn unanswered_requests_say_why() {
    for (reason, why) in [
        (CloseReason::Closed, "closed"),
        (CloseReason::Reset(FromHigh), "reset"),
        (CloseReason::Shutdown, "shutdown"),
        (CloseReason::EndOfCapture, "shutdown"),
    ] {
        assert_eq!(Wire::new().client(&get("/a")).lines(reason), [format!("GET /a - unpaired {why}")]);
    }
}

#[test]
fn a_late_answer_is_never_paired_with_the_next_request() {
    let mut w = Wire::new();
    w.client(&get("/slow")).tick(9_999).tick(2).client(&get("/next")).server(&status(200)).server(&status(404));
    let expected = ["GET /slow - unpaired timeout", "GET /slow 200 complete late", "GET /next 404 complete"];
    assert_eq!(w.lines(CloseReason::Closed), expected);
}

#[test]
fn a_lost_request_leaves_its_response_alone_and_the_next_pair_right() {
    let mut w = Wire::new();
    w.client(&get("/1")).server(&status(201));
    w.lose(FromLow, 40).server(&status(202));
    w.client(&get("/3")).server(&status(203));
    w.client(&get("/4")).server(&status(204).replace("ok", ""));
    let lines = w.lines(CloseReason::Closed);
    assert_eq!(lines[..3], ["GET /1 201 complete", "- 202 unpaired", "GET /3 203 gap"]);
}

#[test]
fn a_lost_response_leaves_its_request_alone_and_the_next_pair_right() {
    let mut w = Wire::new();
    w.client(&get("/1")).server(&status(201));
    w.client(&get("/2")).lose(FromHigh, 50);
    w.client(&get("/3")).server(&status(203));
    assert_eq!(w.lines(CloseReason::Closed), ["GET /1 201 complete", "GET /2 - unpaired", "GET /3 203 gap"]);
}

#[test]
fn a_gap_inside_a_body_of_known_length_is_survived() {
    let mut w = Wire::new();
    w.client(&get("/1")).server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab").lose(FromHigh, 6).server("yz");
    w.client(&get("/2")).server(&status(202));
    assert_eq!(w.lines(CloseReason::Closed), ["GET /1 200 gap", "GET /2 202 complete"]);
}

#[test]
fn after_a_gap_past_a_bodys_end_the_next_sure_pair_is_found() {
    let mut w = Wire::new();
    w.client(&get("/1")).server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab");
    // the tail of response 1 and the beginning of response 2 are lost
    let known = w.sent[1];
    w.lose(FromHigh, 30).data_acking(FromLow, get("/2").as_bytes(), known + 8).server("rest of a body\r\n");
    w.client(&get("/3")).server(&status(203));
    assert_eq!(w.lines(CloseReason::Closed), ["GET /1 200 gap", "GET /2 - unpaired", "GET /3 203 gap"]);
}

#[test]
fn pipelined_requests_get_no_pair_on_evidence_that_does_not_hold_for_them() {
    // /1 is lost; /2 and /3 were sent together with it, all acknowledging nothing.
    let mut w = Wire::new();
    w.lose(FromLow, 36);
    w.data_acking(FromLow, get("/2").as_bytes(), 0).data_acking(FromLow, get("/3").as_bytes(), 0);
    w.server(&status(201)).server(&status(202)).server(&status(203));
    // What follows a hole may be the body of an upload whose head is missing.
    assert_eq!(w.lines(CloseReason::Closed), ["- 201 unpaired", "- 202 unpaired", "- 203 unpaired"]);
    // only /3 is seen: its pair with the answer to /1 is provisional, and the answers too many undo it
    let mut w = Wire::new();
    w.lose(FromLow, 72).data_acking(FromLow, get("/3").as_bytes(), 0);
    w.server(&status(201)).server(&status(202)).server(&status(203));
    for line in w.lines(CloseReason::Closed) {
        assert!(line.contains("unpaired"), "{line}");
    }
}

#[test]
fn joined_late_the_first_pair_is_labelled_and_the_rest_is_complete() {
    let mut w = Wire::joined(false);
    w.client(&get("/1")).server(OK).client(&get("/2")).server(OK).end(Direction::FromLow);
    assert_eq!(w.lines(CloseReason::Closed), ["GET /1 200 midstream", "GET /2 200 complete"]);
    let mut w = Wire::joined(false);
    w.server(OK).client(&get("/2")).server(&status(202));
    assert_eq!(w.lines(CloseReason::Closed), ["- 200 unpaired", "GET /2 202 midstream"]);
    // What comes first may be the rest of a body, which may look like answers.
    for first in ["the rest of some body".to_owned(), OK.repeat(3)] {
        let mut w = Wire::joined(false);
        w.server(&first).client(&get("/2")).server(&status(202));
        assert_eq!(w.lines(CloseReason::Closed), ["GET /2 202 midstream"]);
    }
}

#[test]
fn a_request_that_comes_after_its_answer_is_paired_when_the_server_acknowledged_it() {
    // Reassembly puts them in order (`tcp`), but not for ever.
    let mut w = Wire::new();
    let request = get("/1");
    w.data_acking(FromHigh, status(201).as_bytes(), request.len() as u64);
    w.data_acking(FromLow, request.as_bytes(), 0);
    assert_eq!(w.lines(CloseReason::Closed), ["GET /1 201 gap"]);
}

#[test]
fn garbage_between_messages_is_named_and_skipped() {
    let mut w = Wire::new();
    w.client(&get("/1")).server("HTTP/1.1 204 No Content\r\n\r\nsurprise").client(&get("/2")).server(OK);
    let e = w.close(CloseReason::Closed);
    assert_eq!(e.iter().map(line).collect::<Vec<_>>(), ["GET /1 204 complete", "GET /2 200 complete"]);
    let named: Vec<bool> = e.iter().map(|e| e.weird.contains(Weird::GarbageBetweenMessages)).collect();
    assert_eq!(named, [true, false], "with the response in one segment: on its exchange");

    let mut w = Wire::new();
    w.client(&get("/1")).server("HTTP/1.1 204 No Content\r\n\r\n").server("surprise").client(&get("/2")).server(OK);
    let e = w.close(CloseReason::Closed);
    let named: Vec<bool> = e.iter().map(|e| e.weird.contains(Weird::GarbageBetweenMessages)).collect();
    assert_eq!(named, [false, true], "that exchange has left already");
}

#[test]
fn a_cut_head_shows_what_it_can() {
    let mut w = Wire::new();
    w.client("GET /1 HTTP/1.1\r\nHost: shop\r\nUser-").lose(FromLow, 100);
    w.server("HTTP/1.1 200 OK\r\nContent-Ty").lose(FromHigh, 100);
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!(line(&e), "GET /1 200 truncated");
    assert_eq!(e.missing.names().collect::<Vec<_>>(), ["request_head", "response_head"]);
}

#[test]
fn a_head_without_end_is_cut_at_its_limit() {
    let mut w = Wire::new();
    w.client("GET /1 HTTP/1.1\r\nHost: shop\r\n");
    for _ in 0..3000 {
        w.client("X-Filler: ............................................................\r\n");
    }
    let held = w.session.as_ref().unwrap();
    assert!(format!("{held:?}").len() < 1_000_000);
    let e = w.close(CloseReason::Closed).remove(0);
    assert!(e.weird.contains(Weird::HeadTooLarge));
}

#[test]
fn other_protocols_are_named_and_counted() {
    let mut w = Wire::new();
    w.client("\x16\x03\x01\x00\x05abcde").server("\x16\x03\x03");
    assert_eq!(w.close(CloseReason::Closed), []);
    assert_eq!(w.cx.protocols.iter().collect::<Vec<_>>(), [("tls", 1)]);
    assert_eq!(w.cx.ledger.tls_connections, 1);
    let mut w = Wire::new();
    w.client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxx").server("yyy");
    assert_eq!(w.close(CloseReason::Closed), []);
    assert_eq!(w.cx.protocols.iter().collect::<Vec<_>>(), [("h2", 1)]);
    let mut w = Wire::new();
    w.client("SSH-2.0-x\r\n").server("SSH-2.0-y\r\n");
    assert_eq!(w.close(CloseReason::Closed), []);
    assert_eq!(w.cx.ledger.not_http.at(crate::ledger::NotHttp::Unknown as usize), 22);
}

#[test]
fn a_proxy_header_names_the_client_and_does_not_hide_the_request() {
    let mut w = Wire::new();
    w.client("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n").client(&get("/1")).server(OK);
    let e = w.close(CloseReason::Closed).remove(0);
    assert_eq!(e.client_ip, Some("192.0.2.7".parse().unwrap()));
    let mut w = Wire::new();
    w.client("PROXY TCP4 192.0.").client(&format!("2.7 10.0.0.1 4711 80\r\n{}", get("/1"))).server(OK);
    assert_eq!(w.lines(CloseReason::Closed), ["GET /1 200 complete"]);
}
