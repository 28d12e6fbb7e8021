//! Connections joined late, in which HTTP/1 understands nothing: when frames of both directions are taken for HTTP/2.

use super::*;
use crate::exchange::ExchangeConfig;
use crate::flow::Direction::{FromHigh, FromLow};
use crate::flow::{Endpoint, FiveTuple};
use crate::redact::Redactor;
use crate::synth::http2::{self as h2, HpackEncoder, PREFACE as CLIENT_PREFACE};
use crate::tcp::GapCause;

const SECOND: i64 = 1_000_000_000;

/// A connection under test, joined late; segments a millisecond apart.
struct Wire {
    conn: ConnSummary,
    session: Session,
    cx: HttpContext,
    now: i64,
    offsets: [u64; 2],
}

impl Wire {
    fn joined_late() -> Self {
        let tuple =
            FiveTuple { source: Endpoint::new([10, 0, 0, 1], 50_000), destination: Endpoint::new([10, 0, 0, 2], 8080) };
        let conn = ConnSummary::joined_late(tuple);
        let mut cx = HttpContext::new(ExchangeConfig::default(), Redactor::off());
        let session = Session::open(&conn, &mut cx);
        Self { conn, session, cx, now: 0, offsets: [0; 2] }
    }

    fn event(
        mut self,
        from: Direction,
        len: usize,
        event: impl FnOnce(Timestamp, u64) -> StreamEvent<'static>,
    ) -> Self {
        self.now += 1_000_000;
        let offset = self.offsets[from as usize];
        self.offsets[from as usize] += len as u64;
        self.session.on_event(&self.conn, from, event(Timestamp(self.now), offset), &mut self.cx);
        self
    }

    fn send(self, from: Direction, bytes: Vec<u8>) -> Self {
        let bytes: &'static [u8] = bytes.leak();
        self.event(from, bytes.len(), |at, offset| StreamEvent::Data { at, offset, ack: None, bytes })
    }

    fn lose(self, from: Direction, len: u64) -> Self {
        self.event(from, len as usize, |at, offset| StreamEvent::Gap { at, offset, len, cause: GapCause::Lost })
    }

    fn later(mut self, seconds: i64) -> Self {
        self.now += seconds * SECOND;
        self.session.on_tick(&self.conn, Timestamp(self.now), &mut self.cx);
        self
    }

    /// Stream, target and status of each record.
    fn lines(mut self) -> Vec<String> {
        self.session.on_close(&self.conn, Timestamp(self.now), CloseReason::Closed, &mut self.cx);
        let exchanges = std::mem::take(&mut self.cx.out).into_iter().filter_map(Record::into_exchange);
        exchanges.map(|exchange| line(&exchange)).collect()
    }
}

fn line(exchange: &Exchange) -> String {
    let target = exchange.request.as_ref().map_or("-", |request| request.target.as_str());
    let status = exchange.response.as_ref().and_then(|response| response.status).unwrap_or_default();
    format!("{} {target} {status}", exchange.http2.as_ref().map_or(0, |http2| http2.stream))
}

fn ask(stream: u32) -> Vec<u8> {
    let path = format!("/{stream}");
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", path.as_str()), (":authority", "shop")];
    HpackEncoder::default().headers(stream, &fields, true)
}

fn answer(stream: u32) -> Vec<u8> {
    [HpackEncoder::default().headers(stream, &[(":status", "200")], false), h2::data(stream, b"{}", true)].concat()
}

#[test]
fn a_hole_before_anything_was_asked_does_not_hide_what_is_asked_behind_it() {
    let wire = Wire::joined_late()
        .send(FromLow, [CLIENT_PREFACE, &h2::settings()].concat())
        .send(FromHigh, h2::settings())
        .lose(FromLow, 49);
    let wire = [3, 5, 7].iter().fold(wire, |wire, n| wire.send(FromLow, ask(*n)).send(FromHigh, answer(*n)));
    assert_eq!(wire.lines(), ["3 /3 200", "5 /5 200", "7 /7 200"]);
}

#[test]
fn a_hole_behind_what_was_never_answered_hides_nothing_for_ever() {
    let wire = Wire::joined_late().send(FromLow, [ask(3), ask(5)].concat()).lose(FromLow, 49).later(20);
    let wire = [7, 9].iter().fold(wire, |wire, n| wire.send(FromLow, ask(*n)).send(FromHigh, answer(*n)));
    assert_eq!(wire.lines(), ["7 /7 200", "9 /9 200"]);
}

#[test]
fn a_long_head_that_does_not_say_whose_it_is_is_the_clients_once_another_one_does() {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/long"), (":authority", "shop")];
    let block = HpackEncoder::default().block(&fields);
    let (first, rest) = block.split_at(5);
    let long = [
        h2::frame(h2::kind::HEADERS, h2::END_STREAM, 3, first),
        h2::frame(h2::kind::CONTINUATION, h2::END_HEADERS, 3, rest),
    ];
    let wire = Wire::joined_late().send(FromLow, long.concat()).send(FromHigh, answer(3));
    let wire = [5, 7].iter().fold(wire, |wire, n| wire.send(FromLow, ask(*n)).send(FromHigh, answer(*n)));
    assert_eq!(wire.lines(), ["3 /long 200", "5 /5 200", "7 /7 200"]);
}
