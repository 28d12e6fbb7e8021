//! One connection: both its streams, the queue between them, and what comes of it.
//!
//! Steps through the bytes and keeps the ledger; how a record is filled stands in `exchange`, which response answers
//! which request in `pairing`.

mod breaks;
mod http09;

use std::sync::Arc;

use crate::flow::{Direction, Timestamp};
use crate::ledger::NotHttp;
use crate::record::{Connection, Header, Weird, WeirdSet};
use crate::tcp::{Analyzer, CloseReason, Conn, StreamEvent};

use super::body::Body;
use super::detect::{Start, classify, classify_proxy};
use super::folds::Folds;
use super::head::{self, Head, Kind, Parsed, StartLine};
use super::pairing::{Pairing, Target};
use super::proxy_protocol::{self, ProxyHeader};
use super::reader::{Begun, Chunk, Reader, State};
use super::{Context, tls};

/// The HTTP analyzer of one connection.
#[derive(Debug)]
pub struct Session {
    readers: [Reader; 2],
    /// Which stream holds the requests.
    pub(super) client: Option<Direction>,
    pub(super) pairing: Pairing,
    /// Where the response under way goes.
    pub(super) target: Option<Target>,
    /// Shared part of the records, made with the first one.
    pub(super) shared: Option<Arc<Connection>>,
    /// The client that a PROXY protocol header named.
    pub(super) proxied: Option<std::net::IpAddr>,
    /// Exchanges so far.
    pub(super) exchanges: u32,
    /// Oddities between messages, for the next one.
    pub(super) stray: WeirdSet,
    /// Overlapping segments that differed were named.
    conflict_named: bool,
}

impl Analyzer for Session {
    type Context = Context;

    fn open(conn: &Conn, _: &mut Context) -> Self {
        Self {
            readers: Default::default(),
            client: None,
            pairing: if conn.origins_known { Pairing::default() } else { Pairing::joined_late() },
            target: None,
            shared: None,
            proxied: None,
            exchanges: 0,
            stray: Default::default(),
            conflict_named: false,
        }
    }

    fn on_event(&mut self, conn: &Conn, from: Direction, event: StreamEvent<'_>, cx: &mut Context) {
        if conn.origins_known {
            self.pairing.joined_in_time();
        }
        self.within_room(cx, |it, cx| {
            it.name_conflict(conn, from, cx);
            match event {
                StreamEvent::Data { at, offset, ack, bytes } => {
                    cx.ledger.bytes += bytes.len() as u64;
                    it.on_data(conn, from, Chunk { at, offset, ack, bytes, fresh: true }, cx);
                }
                StreamEvent::Gap { offset, len, cause, .. } => it.on_gap(conn, from, offset, len, cause, cx),
                StreamEvent::End { at } => it.on_end(conn, from, at, cx),
            }
            it.flush(cx);
        });
    }

    fn on_tick(&mut self, _: &Conn, now: Timestamp, cx: &mut Context) {
        if self.pairing.is_empty() {
            return;
        }
        self.within_room(cx, |it, cx| {
            it.pairing.confirm(now, &mut cx.left);
            it.emit_left(cx);
            it.pairing.stop_waiting(now);
            it.time_out(now, cx);
            it.flush(cx);
        });
    }

    fn on_close(mut self, conn: &Conn, at: Timestamp, reason: CloseReason, cx: &mut Context) {
        self.within_room(cx, |it, cx| {
            for from in [Direction::FromLow, Direction::FromHigh] {
                it.close_reader(conn, from, reason, cx);
            }
            it.flush(cx);
            it.drain(at, reason, cx);
        });
    }
}

impl Session {
    fn reader(&mut self, from: Direction) -> &mut Reader {
        let [low, high] = &mut self.readers;
        match from {
            Direction::FromLow => low,
            Direction::FromHigh => high,
        }
    }

    /// What the stream `from` holds, once that is known.
    fn kind(&self, from: Direction) -> Option<Kind> {
        self.client.map(|client| if client == from { Kind::Request } else { Kind::Response })
    }

    /// Once for each connection: on the exchange under way, else on the next one.
    fn name_conflict(&mut self, conn: &Conn, from: Direction, cx: &mut Context) {
        if !conn.overlap_conflict || std::mem::replace(&mut self.conflict_named, true) {
            return;
        }
        let mut weird = WeirdSet::default();
        weird.insert(Weird::OverlapConflict);
        match self.kind(from).filter(|_| matches!(self.reader(from).state, State::Body(_))) {
            Some(kind) => self.note(kind, weird, cx),
            None => self.stray.merge(weird),
        }
    }

    fn on_data(&mut self, conn: &Conn, from: Direction, mut chunk: Chunk<'_>, cx: &mut Context) {
        if self.client == Some(from) {
            self.pairing.client_sent(chunk.ack);
        }
        let mut idle_steps = 0;
        while !chunk.bytes.is_empty() {
            let used = self.step(conn, from, &chunk, cx);
            // A step may only change the state; two in a row that take nothing would go on for ever.
            idle_steps = if used == 0 { idle_steps + 1 } else { 0 };
            if idle_steps > 3 {
                cx.ledger.resync += chunk.bytes.len() as u64;
                self.reader(from).state = State::Resync { lost: false };
                break;
            }
            chunk.advance(used);
        }
        let end = chunk.offset + chunk.bytes.len() as u64;
        self.reader(from).parsed_to = end;
    }

    /// Takes some bytes from the front of `chunk`; says how many.
    fn step(&mut self, conn: &Conn, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        match self.reader(from).state {
            State::Start => self.at_start(conn, from, chunk, cx),
            State::Head => self.in_head(conn, from, chunk, cx),
            State::Body(_) => self.in_body(from, chunk, cx),
            State::Opaque(why) => self.opaque(from, why, chunk, cx),
            State::Resync { lost } => self.resync(from, lost, chunk, cx),
        }
    }

    fn at_start(&mut self, conn: &Conn, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        let (lead, start) = open_message(chunk.bytes, chunk.offset);
        if start != Start::Response && self.awaits_http09(from, chunk) {
            return self.at_http09_answer(from, chunk, cx);
        }
        if lead == chunk.bytes.len() || lead > MAX_LEAD {
            // Empty lines behind a body, or before a request whose head comes with the next segment.
            self.stray.insert(Weird::LeadingEmptyLine);
            cx.ledger.resync += lead as u64;
            return lead;
        }
        match self.message_kind(from, start) {
            Some(kind) => self.message(conn, from, kind, chunk, cx),
            None => self.no_message(from, start, chunk, cx),
        }
    }

    /// The kind of message that `start` begins, when this stream may hold it.
    fn message_kind(&self, from: Direction, start: Start) -> Option<Kind> {
        let kind = match start {
            Start::Request => Kind::Request,
            Start::Response => Kind::Response,
            Start::Tls | Start::H2 | Start::ProxyHeader | Start::NeedMore | Start::Unknown => return None,
        };
        self.kind(from).is_none_or(|known| known == kind).then_some(kind)
    }

    /// A message begins: parses its head in place when it is whole, keeps its beginning otherwise.
    fn message(&mut self, conn: &Conn, from: Direction, kind: Kind, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        match self.parse(conn, from, kind, chunk.bytes, Message::begun(chunk.begun(), chunk.at), cx) {
            Outcome::Whole(len) => len,
            Outcome::Partial if chunk.bytes.len() < cx.head_limit() => self.hold(from, chunk, cx),
            Outcome::Partial => {
                (self.reader(from).begun, self.reader(from).newest) = (chunk.begun(), chunk.at);
                self.cut_head(conn, from, chunk.bytes, Weird::HeadTooLarge, cx);
                chunk.bytes.len()
            }
            Outcome::Invalid => self.garbage(from, chunk, cx),
        }
    }

    fn parse(
        &mut self,
        conn: &Conn,
        from: Direction,
        kind: Kind,
        bytes: &[u8],
        message: Message,
        cx: &mut Context,
    ) -> Outcome {
        let (mut headers, mut folds) = (Vec::new(), Folds::default());
        let mut keep = super::head_fields(&cx.config.headers, &cx.redactor, &mut headers);
        let parsed = head::parse(
            kind,
            bytes,
            (&mut folds, &cx.redactor),
            keep.as_mut().map(|k| k as &mut dyn FnMut(&[u8], &[u8])),
        );
        drop(keep);
        match &parsed {
            Parsed::Whole(len, head) => {
                cx.ledger.heads += *len as u64;
                let message = Message { len: *len as u64, headers, ..message };
                self.on_head(conn, from, head, message, cx);
                Outcome::Whole(*len)
            }
            Parsed::Partial => Outcome::Partial,
            Parsed::Invalid => Outcome::Invalid,
        }
    }

    fn on_head(&mut self, conn: &Conn, from: Direction, head: &Head<'_>, message: Message, cx: &mut Context) {
        self.reader(from).body_untouched = true;
        match head.start {
            StartLine::Request { method, target, version } => {
                self.client.get_or_insert(from);
                self.on_request(conn, from, (method, target, version), head, message, cx);
            }
            StartLine::Response { version, status, phrase } => {
                self.client.get_or_insert(from.flip());
                self.on_response(conn, from, (version, status, phrase), head, message, cx);
            }
        }
    }

    /// Keeps the beginning of a head until the rest comes.
    fn hold(&mut self, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        cx.ledger.waiting += chunk.bytes.len() as u64;
        let reader = self.reader(from);
        reader.buffer.extend_from_slice(chunk.bytes);
        reader.scanned = 0;
        reader.begun = chunk.begun();
        reader.newest = chunk.at;
        reader.state = State::Head;
        chunk.bytes.len()
    }

    /// What is neither request nor response: another protocol, too little to tell, or garbage.
    fn no_message(&mut self, from: Direction, start: Start, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        match start {
            Start::NeedMore => self.hold(from, chunk, cx),
            Start::Tls if self.client.is_none() => {
                cx.ledger.tls_connections += 1;
                cx.protocols.count(tls::name(chunk.bytes));
                self.hand_over(NotHttp::Tls, cx)
            }
            Start::H2 if self.client.is_none() => {
                cx.ledger.h2_connections += 1;
                cx.protocols.count("h2".into());
                self.hand_over(NotHttp::H2, cx)
            }
            Start::ProxyHeader if self.client.is_none() => match proxy_protocol::parse(chunk.bytes) {
                ProxyHeader::Whole(len, client) => {
                    self.proxied = client;
                    cx.ledger.not_http.add(NotHttp::ProxyHeader as usize, len as u64);
                    len
                }
                ProxyHeader::Partial => self.hold(from, chunk, cx),
                ProxyHeader::Bad => {
                    self.stray.insert(Weird::BadProxyHeader);
                    self.garbage(from, chunk, cx)
                }
            },
            Start::Tls | Start::H2 | Start::ProxyHeader | Start::Request | Start::Response | Start::Unknown => {
                self.garbage(from, chunk, cx)
            }
        }
    }

    /// Both streams speak something else from here on.
    pub(super) fn hand_over(&mut self, to: NotHttp, cx: &mut Context) -> usize {
        for reader in &mut self.readers {
            if let State::Head = reader.state {
                let kept = std::mem::take(&mut reader.buffer).len() as u64;
                cx.ledger.waiting -= kept;
                cx.ledger.not_http.add(to as usize, kept);
            }
            reader.state = State::Opaque(to);
        }
        0
    }

    /// Bytes where a message should begin: on an HTTP connection look for the next one, else this is none.
    fn garbage(&mut self, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        if self.client.is_none() {
            let reader = self.reader(from);
            reader.state = State::Opaque(NotHttp::Unknown);
            (reader.begun, reader.newest) = (chunk.begun(), chunk.at);
            cx.ledger.not_http.add(NotHttp::Unknown as usize, chunk.bytes.len() as u64);
            return chunk.bytes.len();
        }
        if self.awaits_http09(from, chunk) {
            return self.http09_answer(from, chunk, cx);
        }
        self.name_garbage(from, chunk, cx);
        self.contradict(cx);
        self.reader(from).state = State::Resync { lost: false };
        // At least one byte, or it would be tried again at the same place.
        cx.ledger.resync += 1;
        1
    }

    /// On the request that it is the answer to, if one waits: that one was not left without. Else on the next message.
    fn name_garbage(&mut self, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) {
        let answers = self.kind(from) == Some(Kind::Response);
        let slot = if answers { self.pairing.garbled(chunk.offset, chunk.ack) } else { None };
        let record = slot.and_then(|slot| slot.exchange.as_mut());
        let Some(record) = record else {
            self.stray.insert(Weird::GarbageBetweenMessages);
            return;
        };
        if !record.weird.contains(Weird::GarbageBetweenMessages) {
            record.weird.insert(Weird::GarbageBetweenMessages);
            cx.ledger.weird.add(Weird::GarbageBetweenMessages as usize, 1);
        }
    }

    /// More bytes of a head that did not come in one piece.
    fn in_head(&mut self, conn: &Conn, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        let limit = cx.head_limit();
        let room = limit.saturating_sub(self.reader(from).buffer.len()).max(1);
        let taken = chunk.bytes.get(..room).unwrap_or(chunk.bytes);
        let reader = self.reader(from);
        let before = reader.buffer.len();
        let first_line_was_open = memchr::memchr(b'\n', &reader.buffer).is_none();
        reader.buffer.extend_from_slice(taken);
        reader.newest = reader.newest.max(chunk.at);
        let first_line_ends = first_line_was_open && memchr::memchr(b'\n', taken).is_some();
        let ends = head::end_of_head(&reader.buffer, reader.scanned).is_some();
        reader.scanned = reader.buffer.len();
        let undecided = before < 32 || is_proxy_header(&reader.buffer, reader.begun.offset);
        cx.ledger.waiting += taken.len() as u64;
        let full = self.reader(from).buffer.len() >= limit;
        if ends || first_line_ends || undecided || full {
            let back = self.retry(conn, from, before, full, cx);
            return taken.len() - back;
        }
        taken.len()
    }

    /// Tries the kept bytes anew; `full`: more will not be kept. Returns how many of the newest bytes were not used.
    fn retry(&mut self, conn: &Conn, from: Direction, before: usize, full: bool, cx: &mut Context) -> usize {
        let buffer = std::mem::take(&mut self.reader(from).buffer);
        let (begun, newest) = (self.reader(from).begun, self.reader(from).newest);
        let kept = buffer.len();
        cx.ledger.waiting -= kept as u64;
        self.reader(from).state = State::Start;
        let whole = begun.chunk(&buffer);
        let (_, start) = open_message(&buffer, begun.offset);
        let used = match self.message_kind(from, start) {
            Some(kind) => match self.parse(conn, from, kind, &buffer, Message::begun(begun, newest), cx) {
                Outcome::Whole(len) => len,
                Outcome::Partial if !full => return self.keep(from, buffer, cx),
                Outcome::Partial => {
                    self.cut_head(conn, from, &buffer, Weird::HeadTooLarge, cx);
                    kept
                }
                Outcome::Invalid => self.garbage(from, &whole, cx),
            },
            None if start == Start::NeedMore => return self.keep(from, buffer, cx),
            None => self.no_message(from, start, &whole, cx),
        };
        // Bytes of this chunk that were not used are left in it; kept ones that were not used are gone.
        let unused = kept - used.min(kept);
        let back = unused.min(kept - before);
        cx.ledger.resync += (unused - back) as u64;
        back
    }

    fn keep(&mut self, from: Direction, buffer: Vec<u8>, cx: &mut Context) -> usize {
        cx.ledger.waiting += buffer.len() as u64;
        let reader = self.reader(from);
        reader.buffer = buffer;
        reader.state = State::Head;
        0
    }

    fn in_body(&mut self, from: Direction, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        let Some(kind) = self.kind(from) else { return 0 };
        if self.reader(from).body_untouched && self.is_bodyless(kind, chunk.bytes) {
            if kind == Kind::Response {
                self.contradict(cx);
            }
            self.finish(from, kind, chunk.offset, cx);
            return 0;
        }
        let reader = self.reader(from);
        reader.body_untouched = false;
        let State::Body(body) = &mut reader.state else { return 0 };
        let step = body.take(chunk.bytes);
        let mut weird = WeirdSet::default();
        if let Body::Chunked(chunked) = body {
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

    fn opaque(&mut self, from: Direction, why: NotHttp, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        // A stream that was not HTTP may turn to it at the start of a segment.
        if why == NotHttp::Unknown && chunk.fresh && self.message_kind(from, classify(chunk.bytes)).is_some() {
            self.reader(from).state = State::Start;
            return 0;
        }
        if why == NotHttp::Unknown && self.kind(from) == Some(Kind::Response) {
            self.pairing.unread(chunk.offset, chunk.ack);
        }
        let reader = self.reader(from);
        reader.newest = reader.newest.max(chunk.at);
        cx.ledger.not_http.add(why as usize, chunk.bytes.len() as u64);
        chunk.bytes.len()
    }

    /// Looks for the next message. After a loss only the start of a segment is believed: bytes of a body may look like
    /// a message too.
    fn resync(&mut self, from: Direction, lost: bool, chunk: &Chunk<'_>, cx: &mut Context) -> usize {
        if chunk.fresh && self.message_kind(from, classify(chunk.bytes)).is_some() {
            self.reader(from).state = State::Start;
            return 0;
        }
        let found = if lost { None } else { self.next_message(from, chunk.bytes) };
        let skipped = found.unwrap_or(chunk.bytes.len());
        if found.is_some() {
            self.reader(from).state = State::Start;
        }
        if skipped > 0 && self.kind(from) == Some(Kind::Response) {
            self.pairing.unread(chunk.offset, chunk.ack);
        }
        cx.ledger.resync += skipped as u64;
        skipped
    }

    /// Where in `bytes`, behind a line end, a message begins.
    fn next_message(&self, from: Direction, bytes: &[u8]) -> Option<usize> {
        if self.kind(from) == Some(Kind::Response)
            && let Some(at) = memchr::memmem::find(bytes, VERSION).or_else(|| beginning_at_the_end(bytes))
        {
            return Some(at);
        }
        let starts = memchr::memchr_iter(b'\n', bytes).map(|lf| lf + 1);
        starts
            .take(64)
            .find(|at| bytes.get(*at..).is_some_and(|rest| self.message_kind(from, classify(rest)).is_some()))
    }

    /// The message under way on `from` is whole, and ended before `end`.
    pub(super) fn finish(&mut self, from: Direction, kind: Kind, end: u64, cx: &mut Context) {
        self.reader(from).state = State::Start;
        match kind {
            Kind::Request => {
                if let Some(slot) = self.pairing.newest() {
                    slot.request_done = true;
                }
            }
            Kind::Response => match self.target.take() {
                Some(Target::Slot(number)) => self.pairing.response_done(number, end),
                Some(Target::Loose) => {
                    if let Some(loose) = self.pairing.newest_loose() {
                        loose.done = true;
                        loose.end = end;
                    }
                }
                None => {}
            },
        }
        self.flush(cx);
    }

    pub(super) fn begin_body(&mut self, from: Direction, body: Body) {
        self.reader(from).state = State::Body(body);
    }

    /// The response under way turns out to answer a HEAD: the body it announced will not come.
    pub(super) fn end_of_head_response(&mut self, from: Direction, cx: &mut Context) {
        let reader = self.reader(from);
        if reader.body_untouched && matches!(reader.state, State::Body(_)) {
            let end = reader.parsed_to;
            self.finish(from, Kind::Response, end, cx);
        }
    }

    /// Whether all that came `from` there, if anything did, was understood.
    pub(super) fn speaks_http(&mut self, from: Direction) -> bool {
        matches!(self.reader(from).state, State::Start | State::Body(_))
    }

    /// How far the messages of this stream are known: a head under way is not.
    pub(super) fn parsed_to(&mut self, from: Direction) -> u64 {
        let reader = self.reader(from);
        if matches!(reader.state, State::Head) { reader.begun.offset } else { reader.parsed_to }
    }
}

/// What a response begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// Where at the end of `bytes` there is the beginning of a version, the rest of which may come with the next segment.
fn beginning_at_the_end(bytes: &[u8]) -> Option<usize> {
    let mut tails = (1..VERSION.len()).rev().filter_map(|len| bytes.len().checked_sub(len));
    tails.find(|at| bytes.get(*at..).is_some_and(|tail| VERSION.starts_with(tail)))
}

/// Most empty lines before a message that are kept as part of its head, bytes: whoever sends more gains nothing by it.
const MAX_LEAD: usize = 16;

/// The empty lines in front of a message (RFC 9112 §2.2), and what begins behind them. Those in front of a stream may
/// be the beginning of a PROXY header.
fn open_message(bytes: &[u8], offset: u64) -> (usize, Start) {
    if is_proxy_header(bytes, offset) {
        return (0, classify_proxy(bytes));
    }
    let lead = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    (lead, classify(bytes.get(lead..).unwrap_or_default()))
}

fn is_proxy_header(bytes: &[u8], offset: u64) -> bool {
    offset == 0 && matches!(classify_proxy(bytes), Start::ProxyHeader | Start::NeedMore)
}

/// What trying to parse a head came to.
enum Outcome {
    Whole(usize),
    Partial,
    Invalid,
}

/// What a head does not say of its message.
pub(super) struct Message {
    /// Bytes of the head.
    pub len: u64,
    pub begun: Begun,
    /// Time of the head's last byte.
    pub newest: Timestamp,
    pub headers: Vec<Header>,
    /// The rest of the head is missing.
    pub cut: bool,
}

impl Message {
    /// One of which nothing more is known.
    fn begun(begun: Begun, newest: Timestamp) -> Self {
        Self { len: 0, begun, newest, headers: Vec::new(), cut: false }
    }
}
