//! One connection: both its streams, the queue between them, and what comes of it.
//!
//! Steps through the bytes and keeps the ledger: bodies here, `heads`, what is `no_message`, and what `breaks` a stream
//! off. How a record is filled is in `exchange`, which response answers which request in `pairing`.

mod breaks;
mod heads;
mod http09;
mod no_message;

use std::sync::Arc;

use crate::flow::{Direction, Timestamp};
use crate::ledger::NotHttp;
use crate::record::{ExchangeConnection, HttpRequest, MissingParts, Trust, Weird, WeirdSet};
use crate::tcp::{Analyzer, CloseReason, ConnSummary, GapCause, StreamEvent};

use super::HttpContext;
use super::body::BodyProgress;
use super::detect::{DetectedStart, classify, classify_proxy};
use super::head::HeadKind;
use super::inside::InsideBody;
use super::pairing::{Pairing, ResponseTarget};
use super::reader::{EventBytes, ReaderState, Seek, StreamReader};

pub(super) use self::heads::MessageContext;
use self::no_message::fills;

/// The HTTP analyzer of one connection.
#[derive(Debug)]
pub struct HttpSession {
    readers: [StreamReader; 2],
    /// Which stream holds the requests.
    pub(super) client: Option<Direction>,
    pub(super) pairing: Pairing,
    /// Where the response under way goes.
    pub(super) target: Option<ResponseTarget>,
    /// Shared part of the records, made with the first one.
    pub(super) shared: Option<Arc<ExchangeConnection>>,
    /// The client that a PROXY protocol header named.
    pub(super) proxied: Option<std::net::IpAddr>,
    /// Exchanges so far.
    pub(super) exchanges: u32,
    /// Oddities between messages, for the next one.
    pub(super) stray: WeirdSet,
    /// That bytes were urgent has been named.
    urgent_named: bool,
    /// Which stream ended first, and when.
    pub(super) ended_first: Option<(Direction, Timestamp)>,
    /// Who reset the connection.
    reset_by: Option<Direction>,
    /// The connection speaks a protocol from here on that others read.
    pub(super) handover: Option<Box<ProtocolHandover>>,
}

/// Where another protocol begins.
#[derive(Debug)]
pub(crate) struct ProtocolHandover {
    pub(crate) to: NextProtocol,
    /// Stream in which it was seen.
    pub(crate) from: Direction,
    /// Where it begins there.
    pub(crate) begins: u64,
    /// Bytes before this one were read here.
    pub(crate) reached: u64,
}

/// What is spoken from there on.
#[derive(Debug)]
pub(crate) enum NextProtocol {
    /// HTTP/2, by its preface, which a client that a PROXY header named has sent.
    Http2(Option<std::net::IpAddr>),
    /// HTTP/2, by Upgrade: the request that asked for it.
    Upgraded(Option<Box<HttpRequest>>),
    /// WebSocket; the record of its upgrade is made with `websocket`.
    WebSocket,
}

impl Analyzer for HttpSession {
    type Context = HttpContext;

    fn open(conn: &ConnSummary, _: &mut HttpContext) -> Self {
        let reader = |from| StreamReader::new(conn.origins_known || conn.originator == Some(from));
        Self {
            readers: [reader(Direction::FromLow), reader(Direction::FromHigh)],
            client: None,
            pairing: if conn.origins_known { Pairing::default() } else { Pairing::joined_late() },
            target: None,
            shared: None,
            proxied: None,
            exchanges: 0,
            stray: Default::default(),
            urgent_named: false,
            ended_first: None,
            reset_by: None,
            handover: None,
        }
    }

    /// What it hands over it counts as no HTTP, for on its own it has no one to hand it to.
    fn on_event(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        self.read(conn, from, event, cx);
        if let Some(handover) = self.take_handover() {
            handover.count_rest(event, cx);
        }
    }

    fn on_tick(&mut self, conn: &ConnSummary, now: Timestamp, cx: &mut HttpContext) {
        if self.pairing.is_empty() {
            return;
        }
        self.within_room(cx, |it, cx| {
            it.pairing.confirm(now, &mut cx.left);
            it.emit_left(cx);
            it.pairing.stop_waiting(now);
            it.time_out(conn, now, cx);
            it.flush(cx);
        });
    }

    fn on_close(&mut self, conn: &ConnSummary, at: Timestamp, reason: CloseReason, cx: &mut HttpContext) {
        self.reset_by = if let CloseReason::Reset(from) = reason { Some(from) } else { None };
        self.within_room(cx, |it, cx| {
            for from in [Direction::FromLow, Direction::FromHigh] {
                it.close_reader(conn, from, reason, cx);
            }
            it.flush(cx);
            it.drain(conn, at, reason, cx);
        });
    }
}

impl ProtocolHandover {
    /// No one takes it: the bytes behind it are of another protocol, and no more is known of them.
    fn count_rest(&self, event: StreamEvent<'_>, cx: &mut HttpContext) {
        let kind = match self.to {
            NextProtocol::Http2(_) | NextProtocol::Upgraded(_) => {
                cx.ledger.h2_connections += 1;
                cx.protocols.count("h2".into());
                NotHttp::H2
            }
            NextProtocol::WebSocket => NotHttp::Upgraded,
        };
        if let StreamEvent::Data { offset, bytes, .. } = event {
            let end = offset + bytes.len() as u64;
            cx.ledger.not_http.add(kind as usize, end.saturating_sub(self.reached));
        }
    }
}

impl HttpSession {
    /// Reads an event, up to where another protocol begins.
    pub(crate) fn read(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, cx: &mut HttpContext) {
        if conn.origins_known {
            self.pairing.joined_in_time();
        }
        self.within_room(cx, |it, cx| {
            it.name_oddities(conn, from, cx);
            match event {
                StreamEvent::Data { at, offset, ack, bytes } => {
                    cx.ledger.bytes += bytes.len() as u64;
                    it.on_data(conn, from, EventBytes { at, offset, ack, bytes, fresh: true }, cx);
                }
                StreamEvent::Gap { offset, len, cause, .. } => it.on_gap(conn, from, offset, len, cause, cx),
                StreamEvent::End { at } => it.on_end(conn, from, at, cx),
            }
            it.flush(cx);
        });
    }

    /// HTTP/1 is over on this connection: everything that waits goes out.
    pub(crate) fn end(&mut self, conn: &ConnSummary, at: Timestamp, cx: &mut HttpContext) {
        self.within_room(cx, |it, cx| {
            it.flush(cx);
            it.drain(conn, at, CloseReason::Closed, cx);
        });
    }

    /// The protocol that takes over, once.
    pub(crate) fn take_handover(&mut self) -> Option<Box<ProtocolHandover>> {
        self.handover.take()
    }

    /// How many of the next bytes of a stream are not looked at, whatever they are.
    pub(crate) fn unread(&self, from: Direction) -> u64 {
        let [low, high] = &self.readers;
        from.pick(low, high).unread()
    }

    /// Whether nothing was understood so far.
    pub(crate) fn is_unrecognised(&self) -> bool {
        self.client.is_none()
            && self.readers.iter().all(|reader| {
                matches!(
                    reader.state,
                    ReaderState::Start | ReaderState::Opaque(NotHttp::Unknown) | ReaderState::Resync { .. }
                )
            })
    }

    /// Which stream holds the requests.
    pub(crate) fn client(&self) -> Option<Direction> {
        self.client
    }

    fn reader(&mut self, from: Direction) -> &mut StreamReader {
        let [low, high] = &mut self.readers;
        from.pick(low, high)
    }

    /// What the stream `from` holds, once that is known.
    fn kind(&self, from: Direction) -> Option<HeadKind> {
        self.client.map(|client| if client == from { HeadKind::Request } else { HeadKind::Response })
    }

    /// What TCP found odd: on the exchange under way, else on the next one. Urgent bytes are named once for each connection.
    fn name_oddities(&mut self, conn: &ConnSummary, from: Direction, cx: &mut HttpContext) {
        if conn.conflicts == [0; 2] && !conn.urgent {
            return;
        }
        for (stream, now) in [Direction::FromLow, Direction::FromHigh].into_iter().zip(conn.conflicts) {
            if std::mem::replace(&mut self.reader(stream).conflicts, now) != now {
                self.name_oddity(stream, Weird::OverlapConflict, cx);
                self.on_conflict(conn, stream, cx);
            }
        }
        if conn.urgent && !std::mem::replace(&mut self.urgent_named, true) {
            self.name_oddity(from, Weird::UrgentBytes, cx);
        }
    }

    fn name_oddity(&mut self, from: Direction, weird: Weird, cx: &mut HttpContext) {
        let body = matches!(self.reader(from).state, ReaderState::Body(_));
        match self.kind(from).filter(|kind| body || *kind == HeadKind::Request && self.pairing.awaits_response()) {
            Some(kind) => self.note(kind, weird.into(), cx),
            None => self.stray.merge(weird.into()),
        }
    }

    /// Bytes came twice and differed: the first copy was read, and the receiver may have taken the other one. Unless a body of
    /// known length is under way, where messages begin and end is not known any more.
    fn on_conflict(&mut self, conn: &ConnSummary, from: Direction, cx: &mut HttpContext) {
        let parsed_to = self.reader(from).parsed_to;
        let opaque = matches!(self.reader(from).state, ReaderState::Opaque(_));
        let Some(kind) = self.kind(from).filter(|_| !opaque) else { return };
        self.doubt(kind, Trust::Gap, MissingParts::default());
        if kind == HeadKind::Request {
            // The other copy may be of any request that waits.
            self.pairing.slots().filter(|slot| !slot.answered).for_each(|slot| slot.trust = slot.trust.max(Trust::Gap));
        }
        self.on_gap(conn, from, parsed_to, 0, GapCause::Lost, cx);
    }

    fn on_data(&mut self, conn: &ConnSummary, from: Direction, mut chunk: EventBytes<'_>, cx: &mut HttpContext) {
        if self.client == Some(from) {
            self.pairing.client_sent(chunk.ack, &mut cx.left);
            self.emit_left(cx);
        }
        self.note_turn(from, &chunk);
        let mut idle_steps = 0;
        while !chunk.bytes.is_empty() {
            let used = self.step(conn, from, &chunk, cx);
            // A step may only change the state; this many in a row that take nothing would go on for ever.
            idle_steps = if used == 0 { idle_steps + 1 } else { 0 };
            if idle_steps > MAX_IDLE_STEPS {
                cx.ledger.resync += chunk.bytes.len() as u64;
                self.reader(from).state = ReaderState::Resync(Seek::Anywhere);
                break;
            }
            chunk.advance(used);
            if let Some(handover) = &mut self.handover {
                handover.reached = chunk.offset;
                return;
            }
        }
        let end = chunk.offset + chunk.bytes.len() as u64;
        self.reader(from).parsed_to = end;
    }

    /// The opposite side's next turn begins where this was sent. An interim response ends none: a body may follow it.
    fn note_turn(&mut self, from: Direction, chunk: &EventBytes<'_>) {
        let Some(at) = chunk.ack.filter(|_| !is_interim_start(chunk.bytes)) else { return };
        self.reader(from.flip()).turn.note(at, chunk.offset + chunk.bytes.len() as u64);
    }

    /// Takes some bytes from the front of `chunk`; says how many.
    fn step(&mut self, conn: &ConnSummary, from: Direction, chunk: &EventBytes<'_>, cx: &mut HttpContext) -> usize {
        match self.reader(from).state {
            ReaderState::Start => self.at_start(conn, from, chunk, cx),
            ReaderState::Head => self.in_head(conn, from, chunk, cx),
            ReaderState::Body(_) => self.in_body(from, chunk, cx),
            ReaderState::Opaque(why) => self.opaque(from, why, chunk, cx),
            ReaderState::Resync(seek) => self.resync(conn, from, seek, chunk, cx),
        }
    }

    fn at_start(&mut self, conn: &ConnSummary, from: Direction, chunk: &EventBytes<'_>, cx: &mut HttpContext) -> usize {
        let (lead, start) = open_message(chunk.bytes, chunk.offset);
        if start != DetectedStart::Response && self.awaits_http09(from, chunk) {
            return self.at_http09_answer(conn, from, chunk, cx);
        }
        if lead == chunk.bytes.len() || lead > MAX_LEAD {
            // Empty lines behind a body, or before a request whose head comes with the next segment.
            self.stray.insert(Weird::LeadingEmptyLine);
            cx.ledger.resync += lead as u64;
            return lead;
        }
        match self.message_kind(from, start) {
            // It may be the middle of a body, which may hold anything.
            Some(kind) if self.reader(from).joined && !fills(kind, chunk.bytes, &cx.redactor) => {
                self.reader(from).state = ReaderState::Resync(Seek::Acknowledged);
                0
            }
            Some(kind) => {
                self.reader(from).joined = false;
                self.message(conn, from, kind, chunk, cx)
            }
            None => self.no_message(conn, from, start, chunk, cx),
        }
    }

    /// Whether `chunk` is the first that was sent after the opposite side answered all before it.
    pub(super) fn begins_turn(&mut self, from: Direction, chunk: &EventBytes<'_>) -> bool {
        self.reader(from).begins_turn(chunk)
    }

    /// The kind of message that `start` begins, when this stream may hold it.
    fn message_kind(&self, from: Direction, start: DetectedStart) -> Option<HeadKind> {
        let kind = match start {
            DetectedStart::Request => HeadKind::Request,
            DetectedStart::Response => HeadKind::Response,
            DetectedStart::Tls
            | DetectedStart::H2
            | DetectedStart::ProxyHeader
            | DetectedStart::NeedMore
            | DetectedStart::Unknown => return None,
        };
        self.kind(from).is_none_or(|known| known == kind).then_some(kind)
    }

    fn in_body(&mut self, from: Direction, chunk: &EventBytes<'_>, cx: &mut HttpContext) -> usize {
        let Some(kind) = self.kind(from) else { return 0 };
        if self.reader(from).body_untouched && self.is_bodyless(from, kind, chunk) {
            if kind == HeadKind::Response {
                self.contradict_by_body(cx);
            }
            self.finish(from, kind, chunk.offset, cx);
            return 0;
        }
        if self.reader(from).body_untouched && kind == HeadKind::Response && self.may_be_bodyless(chunk.bytes) {
            self.contradict_by_body(cx);
            self.framing_lost(from, kind, chunk.offset, cx);
            self.reader(from).pass(chunk.ack);
            return 0;
        }
        let reader = self.reader(from);
        reader.body_untouched = false;
        let ReaderState::Body(body) = &mut reader.state else { return 0 };
        let mut inside = reader.inside.as_mut();
        let step = body.take(chunk.bytes, |payload| {
            if let Some(inside) = &mut inside {
                inside.take(chunk.at, payload);
            }
        });
        let mut weird = WeirdSet::default();
        if let BodyProgress::Chunked(chunked) = body {
            for (seen, name) in [
                (chunked.extension, Weird::ChunkExtension),
                (chunked.trailers, Weird::Trailers),
                (chunked.bare_lf, Weird::BareLf),
                (step.broken, Weird::BadChunk),
            ] {
                if seen {
                    weird.insert(name);
                }
            }
        }
        cx.ledger.bodies += step.consumed as u64;
        self.count(kind, chunk.at, step.consumed as u64, step.payload);
        if !weird.is_empty() {
            self.note(kind, weird, cx);
        }
        let end = chunk.offset + step.consumed as u64;
        if step.broken {
            self.framing_lost(from, kind, end, cx);
        } else if step.done {
            self.finish(from, kind, end, cx);
        }
        step.consumed
    }

    /// The message under way on `from` is whole, and ended before `end`.
    pub(super) fn finish(&mut self, from: Direction, kind: HeadKind, end: u64, cx: &mut HttpContext) {
        self.reader(from).state = ReaderState::Start;
        if let Some(inside) = self.reader(from).inside.take()
            && let Some(record) = self.record_of(kind)
        {
            inside.tell(kind, record, &cx.redactor);
        }
        if std::mem::take(&mut self.reader(from).ambiguous) {
            self.end_unsure(from, kind, end);
        }
        match kind {
            HeadKind::Request => {
                if let Some(slot) = self.pairing.newest() {
                    slot.request_done = true;
                }
            }
            HeadKind::Response => match self.target.take() {
                Some(ResponseTarget::Slot(number)) => self.pairing.response_done(number, end),
                Some(ResponseTarget::Loose) => self.pairing.loose_done(end),
                None => {}
            },
        }
    }

    pub(super) fn begin_body(&mut self, from: Direction, body: BodyProgress) {
        if let Some(kind) = self.kind(from) {
            let inside = InsideBody::of(kind, self.record_of(kind).map(|record| &**record));
            self.reader(from).inside = inside;
        }
        self.reader(from).state = ReaderState::Body(body);
    }

    /// Whether all that came `from` there, if anything did, was understood.
    pub(super) fn speaks_http(&mut self, from: Direction) -> bool {
        matches!(self.reader(from).state, ReaderState::Start | ReaderState::Body(_))
    }

    /// What comes from `from` on this stream is handed over.
    pub(super) fn opaque_begins(&mut self, from: Direction, offset: u64) {
        self.reader(from).opaque_from = offset;
    }

    /// The body under way is none: what comes next is looked for.
    pub(super) fn forget_body(&mut self, from: Direction) {
        self.target = None;
        self.look_for_message(from);
    }

    /// What comes next is a message if both sides' acknowledgements show it.
    pub(super) fn look_for_message(&mut self, from: Direction) {
        self.reader(from).state = ReaderState::Resync(Seek::Acknowledged);
    }

    /// How long the message under way on this stream is cannot be known for sure: answers may be taken for its body.
    pub(super) fn is_ambiguous(&mut self, from: Direction) -> bool {
        self.reader(from).ambiguous
    }

    /// Where the body under way begins, if no byte of it was seen.
    pub(super) fn untouched_body(&mut self, from: Direction) -> Option<u64> {
        let reader = self.reader(from);
        (matches!(reader.state, ReaderState::Body(_)) && reader.body_untouched).then_some(reader.parsed_to)
    }

    /// Where the head under way on this stream begins; nowhere if there is none.
    pub(super) fn head_under_way(&mut self, from: Direction) -> u64 {
        let reader = self.reader(from);
        if matches!(reader.state, ReaderState::Head) { reader.begun.offset } else { u64::MAX }
    }

    /// How far the messages of this stream are known: a head under way is not.
    pub(super) fn parsed_to(&mut self, from: Direction) -> u64 {
        let reader = self.reader(from);
        if matches!(reader.state, ReaderState::Head) { reader.begun.offset } else { reader.parsed_to }
    }
}

/// Whether `bytes` begin with an interim response, by its status.
fn is_interim_start(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 1") && !bytes.starts_with(b"HTTP/1.1 101")
}

/// Most steps in a row that may take nothing.
const MAX_IDLE_STEPS: u32 = 3;

/// Most empty lines before a message that are kept as part of its head, bytes: anyone who sends more gains nothing by it.
const MAX_LEAD: usize = 16;

/// The empty lines in front of a message (RFC 9112 §2.2), and what begins behind them. Those in front of a stream may
/// be the beginning of a PROXY header.
fn open_message(bytes: &[u8], offset: u64) -> (usize, DetectedStart) {
    if is_proxy_header(bytes, offset) {
        return (0, classify_proxy(bytes));
    }
    let lead = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    (lead, classify(bytes.get(lead..).unwrap_or_default()))
}

fn is_proxy_header(bytes: &[u8], offset: u64) -> bool {
    offset == 0 && matches!(classify_proxy(bytes), DetectedStart::ProxyHeader | DetectedStart::NeedMore)
}
