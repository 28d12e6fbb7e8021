//! Who reads a connection: HTTP/1 until it hands over, then HTTP/2 or WebSocket.
//!
//! Where HTTP/1 understands nothing, looks next to it for HTTP/2 that was joined late. Owns the change from one to the other;
//! reads no message itself.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::dns;
use crate::exchange::room;
use crate::flow::{Direction, Timestamp};
use crate::http::{self, HttpContext, NextProtocol, ProtocolHandover};
use crate::http2::{
    BoundarySearch, FrameChain, Http2Beginning, Http2Connection, SearchKnowledge, StreamChunk, USUAL_MAX,
};
use crate::ledger::NotHttp;
use crate::record::{ConnectionSide, EarlyEnd, EndedHow, Exchange, MissingParts, Record, Trust, WebSocket};
use crate::tcp::{Analyzer, CloseReason, ConnSummary, StreamEvent};
use crate::websocket::SocketEnds;

/// This many bytes of a connection are looked at for HTTP/2.
const MAX_LOOKED: u64 = 512 * 1024;
/// Least weight of a chain in each direction.
const HALF_PROOF: u32 = 2;
/// So long frames of one direction wait for those of the other where bytes behind them are missing (nanoseconds).
const WAITS: u64 = 10_000_000_000;
/// Length of HTTP/2's preface.
const PREFACE: u64 = 24;

/// The analyzer of one connection.
#[derive(Debug)]
pub struct Session {
    speaks: SpokenProtocol,
    sniffer: Option<Box<FrameSniffer>>,
    /// Bytes that the sniffer saw.
    looked: u64,
    /// Messages of DNS, where this may be a connection that carries some; whatever else it is.
    dns: Option<Box<DnsTap>>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "HTTP/1 is the rule and needs no second allocation; the others have one")]
enum SpokenProtocol {
    Http1(http::HttpSession),
    Http2(Box<Http2Connection>),
    WebSocket(Box<UpgradedSocket>),
}

impl Analyzer for Session {
    type Context = HttpContext;

    fn open(conn: &ConnSummary, cx: &mut HttpContext) -> Self {
        let dns = DnsTap::of(conn, cx).map(Box::new);
        Self { speaks: SpokenProtocol::Http1(http::HttpSession::open(conn, cx)), sniffer: None, looked: 0, dns }
    }

    fn unread(&self, from: Direction) -> u64 {
        if self.dns.is_some() {
            return 0;
        }
        match &self.speaks {
            SpokenProtocol::Http1(http1) => match http1.unread(from) {
                // What HTTP/1 does not understand may be HTTP/2.
                u64::MAX if self.looked <= MAX_LOOKED && http1.is_unrecognised() => 0,
                unread => unread,
            },
            SpokenProtocol::Http2(_) | SpokenProtocol::WebSocket(_) => 0,
        }
    }

    fn on_event(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        if let Some(dns) = &mut self.dns {
            dns.take(conn, from, event, cx);
        }
        match &mut self.speaks {
            SpokenProtocol::Http1(http1) => {
                let made = cx.out.len();
                http1.read(conn, from, event, cx);
                if let Some(handover) = http1.take_handover() {
                    self.hand_over(conn, *handover, event, made, cx);
                } else if http1.is_unrecognised() {
                    self.sniff(conn, from, event, cx);
                } else if self.sniffer.is_some() {
                    self.stop_sniffing(cx);
                }
            }
            SpokenProtocol::Http2(http2) => {
                http2.on_event(from, event, cx);
                cx.publish_use();
            }
            SpokenProtocol::WebSocket(socket) => socket.on_event(from, event, cx),
        }
    }

    fn on_tick(&mut self, conn: &ConnSummary, now: Timestamp, cx: &mut HttpContext) {
        match &mut self.speaks {
            SpokenProtocol::Http1(http1) => {
                http1.on_tick(conn, now, cx);
                self.decide(conn, now, false, cx);
            }
            SpokenProtocol::Http2(http2) => http2.on_tick(now, cx),
            SpokenProtocol::WebSocket(socket) => socket.on_tick(now, cx),
        }
    }

    fn on_close(&mut self, conn: &ConnSummary, at: Timestamp, reason: CloseReason, cx: &mut HttpContext) {
        self.decide(conn, at, true, cx);
        self.stop_sniffing(cx);
        if let Some(dns) = self.dns.take() {
            cx.let_go(dns.kept);
        }
        match &mut self.speaks {
            SpokenProtocol::Http1(http1) => http1.on_close(conn, at, reason, cx),
            SpokenProtocol::Http2(http2) => http2.on_close(at, reason, cx),
            SpokenProtocol::WebSocket(socket) => socket.on_close(reason, cx),
        }
        cx.publish_use();
    }
}

impl Session {
    /// HTTP/1 ends in the middle of `event`; what is left of that is the next protocol's.
    fn hand_over(
        &mut self,
        conn: &ConnSummary,
        handover: ProtocolHandover,
        event: StreamEvent<'_>,
        made: usize,
        cx: &mut HttpContext,
    ) {
        let SpokenProtocol::Http1(http1) = &mut self.speaks else { return };
        let ProtocolHandover { to, from, begins, reached } = handover;
        let rest = match event {
            StreamEvent::Data { at, offset, ack: _, bytes } => {
                let read = usize::try_from(reached.saturating_sub(offset)).unwrap_or(usize::MAX);
                StreamChunk { at, offset: reached, bytes: bytes.get(read..).unwrap_or_default(), counted: false }
            }
            // A head that its connection cut hands over nothing.
            StreamEvent::Gap { .. } | StreamEvent::End { .. } => return,
        };
        http1.end(conn, rest.at, cx);
        match to {
            NextProtocol::Http2(proxied) => {
                let left = PREFACE.saturating_sub(reached - begins) as usize;
                self.begin_http2(conn, from, Http2Beginning::Preface(left), proxied, cx);
            }
            NextProtocol::Upgraded(request) => {
                let client = http1.client().unwrap_or(from.flip());
                self.begin_http2(conn, client, Http2Beginning::Upgrade(request), None, cx);
            }
            NextProtocol::WebSocket => {
                let client = http1.client().unwrap_or(from.flip());
                match UpgradedSocket::from_record(client, made, cx) {
                    Some(socket) => self.speaks = SpokenProtocol::WebSocket(Box::new(socket)),
                    None => cx.ledger.not_http.add(NotHttp::Upgraded as usize, rest.bytes.len() as u64),
                }
            }
        }
        match &mut self.speaks {
            SpokenProtocol::Http2(http2) => http2.feed(from, rest, cx),
            SpokenProtocol::WebSocket(socket) => socket.data(from, rest.at, rest.bytes, cx),
            SpokenProtocol::Http1(_) => {}
        }
    }

    /// What the server sent before is HTTP/2 too: its settings need not wait for the client's preface.
    fn begin_http2(
        &mut self,
        conn: &ConnSummary,
        client: Direction,
        beginning: Http2Beginning,
        proxied: Option<IpAddr>,
        cx: &mut HttpContext,
    ) {
        let by_preface = matches!(beginning, Http2Beginning::Preface(_));
        let mut http2 = Box::new(Http2Connection::new(conn, client, beginning, proxied, cx));
        let server = client.flip();
        let sniffer = self.stop_sniffing(cx);
        if by_preface {
            let held = sniffer.as_ref().map(|sniffer| sniffer.search(server));
            let from_start = held.and_then(BoundarySearch::begin).is_some_and(|mark| mark.offset == 0);
            let anything = self.looked > 0;
            if !conn.origins_known || (anything && held.is_some_and(|held| held.begin().is_some()) && !from_start) {
                http2.lose_beginning();
            }
            for (_, piece) in held.into_iter().flat_map(|held| held.pieces(0)) {
                http2.feed(server, piece, cx);
            }
        }
        self.speaks = SpokenProtocol::Http2(http2);
    }

    /// Looks for HTTP/2 in what HTTP/1 does not understand.
    fn sniff(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        let StreamEvent::Data { at, offset, ack: _, bytes } = event else {
            self.break_off(conn, from, event, cx);
            return;
        };
        self.looked = self.looked.saturating_add(bytes.len() as u64);
        if self.looked > MAX_LOOKED || cx.is_full() {
            self.stop_sniffing(cx);
            return;
        }
        let sniffer = self.sniffer.get_or_insert_default();
        sniffer.take(conn, from, StreamChunk { at, offset, bytes, counted: true });
        sniffer.account(cx);
        cx.publish_use();
        self.decide(conn, at, false, cx);
    }

    /// What is held ends here: it is HTTP/2 by now, or waits for the opposite direction to agree.
    fn break_off(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        let (StreamEvent::Gap { at, .. } | StreamEvent::End { at } | StreamEvent::Data { at, .. }) = event;
        self.decide(conn, at, true, cx);
        match (&mut self.speaks, &mut self.sniffer, event) {
            (SpokenProtocol::Http2(http2), _, _) => http2.on_event(from, event, cx),
            (_, Some(sniffer), StreamEvent::Gap { .. }) => sniffer.gap(from, at),
            _ => {}
        }
    }

    /// Goes over to HTTP/2 where both directions speak it; `last`: no more will come that shows it.
    fn decide(&mut self, conn: &ConnSummary, now: Timestamp, last: bool, cx: &mut HttpContext) {
        let Some(found) = self.sniffer.as_ref().and_then(|sniffer| sniffer.found(conn, now, last)) else { return };
        let Some(sniffer) = self.stop_sniffing(cx) else { return };
        let beginning = if found.preface { Http2Beginning::Preface(0) } else { Http2Beginning::Midstream };
        let mut http2 = Box::new(Http2Connection::new(conn, found.client, beginning, None, cx));
        if found.preface {
            http2.lose_beginning();
        }
        sniffer.replay(&mut http2, &found, cx);
        self.speaks = SpokenProtocol::Http2(http2);
    }

    fn stop_sniffing(&mut self, cx: &mut HttpContext) -> Option<Box<FrameSniffer>> {
        let sniffer = self.sniffer.take()?;
        cx.let_go(sniffer.kept);
        Some(sniffer)
    }
}

/// Reads messages of DNS next to anyone who reads the connection.
#[derive(Debug, Default)]
struct DnsTap {
    streams: [dns::DnsStream; 2],
    kept: usize,
}

impl DnsTap {
    /// Where names of DNS are wanted and the port is DNS'.
    fn of(conn: &ConnSummary, cx: &HttpContext) -> Option<Self> {
        let concerns = || dns::DnsWatch::concerns(&conn.key.tuple(Direction::FromLow));
        (cx.dns.is_some() && concerns()).then(Self::default)
    }

    fn take(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        let (Some(stream), Some(watch)) = (self.streams.get_mut(from as usize), &mut cx.dns) else { return };
        match event {
            StreamEvent::Data { at, bytes, .. } => {
                let tuple = conn.key.tuple(from);
                stream.take(bytes, |message| watch.take(&tuple, message, at));
            }
            StreamEvent::Gap { .. } => stream.lose(),
            StreamEvent::End { .. } => {}
        }
        // Messages have no mark: without its beginning nothing of a stream is known.
        if cx.is_full() || !conn.origins_known {
            self.streams.iter_mut().for_each(dns::DnsStream::lose);
        }
        let kept = self.streams.iter().map(dns::DnsStream::kept).sum();
        cx.recount(&mut self.kept, kept);
        cx.publish_use();
    }
}

/// Looks for frames in both streams of a connection.
#[derive(Debug, Default)]
struct FrameSniffer {
    low: BoundarySearch,
    high: BoundarySearch,
    /// Bytes behind what is held are missing: no more are held.
    broken_off: [bool; 2],
    events: u64,
    kept: usize,
}

/// HTTP/2 in both directions.
struct FoundFrames {
    client: Direction,
    /// Where frames begin, in `[FromLow, FromHigh]`.
    begin: [u64; 2],
    /// The client's begin behind its preface.
    preface: bool,
}

impl FrameSniffer {
    fn search(&self, from: Direction) -> &BoundarySearch {
        from.pick(&self.low, &self.high)
    }

    fn search_mut(&mut self, from: Direction) -> &mut BoundarySearch {
        from.pick(&mut self.low, &mut self.high)
    }

    fn account(&mut self, cx: &mut HttpContext) {
        cx.recount(&mut self.kept, self.low.kept() + self.high.kept());
    }

    fn take(&mut self, conn: &ConnSummary, from: Direction, chunk: StreamChunk<'_>) {
        self.events += 1;
        if self.is_broken_off(from, chunk.at) {
            return;
        }
        let sender =
            conn.originator.map(|client| if client == from { ConnectionSide::Client } else { ConnectionSide::Server });
        let events = self.events;
        self.search_mut(from).take(&chunk, events, SearchKnowledge { longest: USUAL_MAX, newest: None, sender });
    }

    /// Bytes of `from` are missing. Requests or answers before them wait for the opposite direction, for a while.
    fn gap(&mut self, from: Direction, at: Timestamp) {
        let waits = |chain: &FrameChain| {
            chain.weight >= HALF_PROOF && !chain.touched().is_empty() && at.since(chain.begun.at) < WAITS
        };
        let waits = self.search(from).chain(at).is_some_and(waits);
        if !waits {
            *self.search_mut(from) = BoundarySearch::default();
        }
        if let Some(broken_off) = self.broken_off.get_mut(from as usize) {
            *broken_off = waits;
        }
    }

    /// Whether what is held of `from` ends at a hole. It is let go once it has waited long enough.
    fn is_broken_off(&mut self, from: Direction, now: Timestamp) -> bool {
        let waits = self.search(from).begin().is_some_and(|begun| now.since(begun.at) < WAITS);
        let Some(broken_off) = self.broken_off.get_mut(from as usize) else { return false };
        if *broken_off && !waits {
            *broken_off = false;
            *self.search_mut(from) = BoundarySearch::default();
        }
        self.broken_off.get(from as usize) == Some(&true)
    }

    /// Who the client is and where frames begin, where chains in both directions agree for as long as a frame around them
    /// might last: the body of a message may hold frames too, and that of its answer the same ones.
    fn found(&self, conn: &ConnSummary, now: Timestamp, last: bool) -> Option<FoundFrames> {
        let (low, high) = (self.low.chain(now)?, self.high.chain(now)?);
        let said = [client_of(Direction::FromLow, low.said), client_of(Direction::FromHigh, high.said)];
        let client = match said {
            [Some(one), Some(other)] if one != other => return None,
            [one, other] => one.or(other).or(conn.originator)?,
        };
        let (asks, answers) = client.pick((low, high), (high, low));
        let lasted = last || (low.has_lasted(now) && high.has_lasted(now));
        if asks.weight < HALF_PROOF || answers.weight < HALF_PROOF || !(lasted || answers.proven_at.is_some()) {
            return None;
        }
        let found = asks.agreement(answers)?;
        let proven = answers.proven_at.is_some_and(|proven| found.last_answered >= proven);
        let (asked, answered) = (lasted || proven).then_some((found.asked, found.answered))?;
        let asked = if asks.preface { asks.begun.offset } else { asked };
        let begin = client.pick([asked, answered], [answered, asked]);
        Some(FoundFrames { client, begin, preface: asks.preface })
    }

    /// What was held goes to `http2`, in the order in which it came.
    fn replay(&self, http2: &mut Http2Connection, found: &FoundFrames, cx: &mut HttpContext) {
        let server = found.client.flip();
        let of = |from: Direction| {
            let begin = found.begin.get(from as usize).copied().unwrap_or_default();
            // Where the client's preface was seen its server's first frames are found in the same way.
            let begin = if found.preface && from == server { 0 } else { begin };
            self.search(from).pieces(begin).map(move |(event, piece)| (event, from, piece))
        };
        let mut pieces: Vec<_> = of(Direction::FromLow).chain(of(Direction::FromHigh)).collect();
        pieces.sort_by_key(|(event, _, _)| *event);
        if !found.preface {
            http2.begin_at_frame(found.client);
            http2.begin_at_frame(server);
        }
        let newest = pieces.last().map(|(_, _, piece)| piece.at);
        pieces.into_iter().for_each(|(_, from, piece)| http2.feed(from, piece, cx));
        newest.into_iter().for_each(|at| http2.unsure(at));
        for from in [Direction::FromLow, Direction::FromHigh] {
            if self.broken_off.get(from as usize) == Some(&true) {
                http2.break_off(from, newest.unwrap_or_default(), cx);
            }
        }
    }
}

/// The client, if `sender` sends what comes `from` there.
fn client_of(from: Direction, sender: Option<ConnectionSide>) -> Option<Direction> {
    sender.map(|sender| if sender == ConnectionSide::Client { from } else { from.flip() })
}

/// A connection that was upgraded to WebSocket, with the record of its upgrade.
#[derive(Debug)]
struct UpgradedSocket {
    client: Direction,
    record: Box<Exchange>,
    socket: SocketEnds,
    kept: usize,
    /// It was recorded as open.
    told: bool,
    ended: [bool; 2],
    ended_by: Option<ConnectionSide>,
    newest: Timestamp,
}

impl UpgradedSocket {
    /// Takes back the record that HTTP/1 has just made of the upgrade; `None` where it did not: it may have had doubts.
    fn from_record(client: Direction, made: usize, cx: &mut HttpContext) -> Option<Self> {
        let is_upgrade = |record: &Record| record.exchange().is_some_and(|exchange| exchange.websocket.is_some());
        let at = made + cx.out.get(made..)?.iter().position(is_upgrade)?;
        let record = Box::new(cx.out.remove(at).into_exchange()?);
        cx.ledger.records -= 1;
        cx.ledger.sockets_open += 1;
        let kept = size_of::<Exchange>() + room::of_exchange(&record);
        let newest = record.end().unwrap_or_default();
        cx.keep(kept);
        Some(Self {
            client,
            record,
            socket: SocketEnds::default(),
            kept,
            told: false,
            ended: [false; 2],
            ended_by: None,
            newest,
        })
    }

    fn side(&self, from: Direction) -> ConnectionSide {
        if from == self.client { ConnectionSide::Client } else { ConnectionSide::Server }
    }

    fn on_event(&mut self, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        match event {
            StreamEvent::Data { at, bytes, .. } => {
                cx.ledger.bytes += bytes.len() as u64;
                self.data(from, at, bytes, cx);
            }
            StreamEvent::Gap { len, .. } => {
                let side = self.side(from);
                self.socket.skip(side, len);
                let body = if side == ConnectionSide::Client {
                    MissingParts::REQUEST_BODY
                } else {
                    MissingParts::RESPONSE_BODY
                };
                self.record.missing.insert(body);
                self.record.trust = self.record.trust.max(Trust::Gap);
            }
            StreamEvent::End { .. } => {
                let side = self.side(from);
                self.ended_by.get_or_insert(side);
                if let Some(ended) = self.ended.get_mut(from as usize) {
                    *ended = true;
                }
            }
        }
    }

    /// The exchange ended with its 101; what follows is counted separately.
    fn data(&mut self, from: Direction, at: Timestamp, bytes: &[u8], cx: &mut HttpContext) {
        let side = self.side(from);
        cx.ledger.not_http.add(NotHttp::Upgraded as usize, bytes.len() as u64);
        self.socket.take(side, bytes);
        self.newest = self.newest.max(at);
    }

    /// Who ended it, where no close frame did (RFC 6455 §7.1.5: code 1006).
    fn ended_without_close(&self, reason: CloseReason) -> Option<EarlyEnd> {
        if self.socket.is_closed() {
            return None;
        }
        let rst = if let CloseReason::Reset(from) = reason { Some(self.side(from)) } else { None };
        let rst = rst.map(|by| EarlyEnd { by: Some(by), how: EndedHow::Rst });
        self.ended_by.map(|by| EarlyEnd { by: Some(by), how: EndedHow::Fin }).or(rst)
    }

    fn told(&self) -> Option<Box<WebSocket>> {
        let begun = self.record.response.as_ref().map(|response| response.last);
        let lasted = begun.map(|begun| self.newest.since(begun) / 1000);
        Some(Box::new(WebSocket { lasted_us: lasted, ..self.socket.told() }))
    }

    /// A socket that lives for long is recorded once while it is open.
    fn on_tick(&mut self, now: Timestamp, cx: &mut HttpContext) {
        if self.told || now.since(self.record.start()) < cx.config.stream_after {
            return;
        }
        self.told = true;
        let mut record = self.record.clone();
        record.id.push_str(".open");
        record.open = true;
        record.websocket = self.told();
        cx.ledger.sockets_told_open += 1;
        cx.record(record);
    }

    fn on_close(&mut self, reason: CloseReason, cx: &mut HttpContext) {
        let cut_by_us = matches!(reason, CloseReason::EndOfCapture | CloseReason::Shutdown | CloseReason::Evicted);
        if cut_by_us && self.ended != [true; 2] {
            self.record.trust = self.record.trust.max(Trust::Truncated);
            self.record.missing.insert(MissingParts::RESPONSE_BODY);
        }
        self.record.websocket = self.told();
        self.record.ended = self.ended_without_close(reason);
        cx.let_go(self.kept);
        cx.ledger.sockets_open -= 1;
        cx.record(self.record.clone());
    }
}
