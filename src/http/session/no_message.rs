//! What is no message: other protocols, garbage, and what is passed over until the next message begins.
//!
//! Owns where reading stops and begins again; which pairs that puts in doubt is in `pairing`.

use super::super::HttpContext;
use super::super::body::BodyProgress;
use super::super::detect::{DetectedStart, classify, classify_in_doubt};
use super::super::framing::{self, After, AskedFraming};
use super::super::head::{self, Folds, HeadKind, ParsedHead, StartLine};
use super::super::proxy_protocol::{self, ProxyHeader};
use super::super::reader::{EventBytes, ReaderState, Seek};
use super::{HttpSession, NextProtocol, ProtocolHandover};
use crate::flow::Direction;
use crate::ledger::NotHttp;
use crate::record::Weird;
use crate::redact::Redactor;
use crate::tcp::ConnSummary;
use crate::tls;

impl HttpSession {
    /// What is neither request nor response: another protocol, too little to tell, or garbage.
    pub(super) fn no_message(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        start: DetectedStart,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        match start {
            DetectedStart::NeedMore => self.hold(from, chunk, cx),
            DetectedStart::Tls if self.client.is_none() => {
                cx.ledger.tls_connections += 1;
                cx.protocols.count(tls::name(chunk.bytes));
                self.hand_over(NotHttp::Tls, cx)
            }
            // Where the beginning was not seen the preface may be part of a body; then both directions must speak HTTP/2.
            DetectedStart::H2 if self.client.is_none() && conn.origins_known => {
                let to = NextProtocol::Http2(self.proxied);
                self.handover =
                    Some(Box::new(ProtocolHandover { to, from, begins: chunk.offset, reached: chunk.offset }));
                self.hand_over(NotHttp::H2, cx)
            }
            DetectedStart::ProxyHeader if self.client.is_none() => match proxy_protocol::parse(chunk.bytes) {
                ProxyHeader::Whole(len, client) => {
                    self.proxied = client;
                    cx.ledger.not_http.add(NotHttp::ProxyHeader as usize, len as u64);
                    len
                }
                ProxyHeader::Partial => self.hold(from, chunk, cx),
                ProxyHeader::Bad => {
                    self.stray.insert(Weird::BadProxyHeader);
                    self.garbage(conn, from, chunk, cx)
                }
            },
            DetectedStart::Tls
            | DetectedStart::H2
            | DetectedStart::ProxyHeader
            | DetectedStart::Request
            | DetectedStart::Response
            | DetectedStart::Unknown => self.garbage(conn, from, chunk, cx),
        }
    }

    /// Both streams speak something else from here on.
    pub(in crate::http) fn hand_over(&mut self, to: NotHttp, cx: &mut HttpContext) -> usize {
        for reader in &mut self.readers {
            if let ReaderState::Head = reader.state {
                let kept = std::mem::take(&mut reader.buffer).len() as u64;
                cx.ledger.waiting -= kept;
                cx.ledger.not_http.add(to as usize, kept);
            }
            reader.state = ReaderState::Opaque(to);
            reader.opaque_from = reader.parsed_to;
        }
        0
    }

    /// Bytes where a message should begin: on an HTTP connection look for the next one, else this is none.
    pub(super) fn garbage(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        if self.client.is_none() {
            let reader = self.reader(from);
            reader.state = ReaderState::Opaque(NotHttp::Unknown);
            (reader.begun, reader.newest) = (chunk.begun(), chunk.at);
            cx.ledger.not_http.add(NotHttp::Unknown as usize, chunk.bytes.len() as u64);
            return chunk.bytes.len();
        }
        if self.awaits_http09(from, chunk) {
            return self.http09_answer(conn, from, chunk, cx);
        }
        self.name_garbage(from, chunk, cx);
        self.contradict(cx);
        self.reader(from).state = ReaderState::Resync(Seek::Anywhere);
        // At least one byte, or it would be tried again at the same place.
        cx.ledger.resync += 1;
        1
    }

    /// On the exchange that it follows, if that is still here; on the request that it answers, if one waits. That one was
    /// not left without. Else on the next message.
    fn name_garbage(&mut self, from: Direction, chunk: &EventBytes<'_>, cx: &mut HttpContext) {
        let answers = self.kind(from) == Some(HeadKind::Response);
        let record = if answers {
            self.pairing.garbled(chunk.offset, chunk.ack)
        } else {
            self.pairing.newest().filter(|slot| !slot.reported).and_then(|slot| slot.exchange.as_mut())
        };
        let Some(record) = record else {
            self.stray.insert(Weird::GarbageBetweenMessages);
            return;
        };
        if !record.weird.contains(Weird::GarbageBetweenMessages) {
            record.weird.insert(Weird::GarbageBetweenMessages);
            cx.ledger.weird.add(Weird::GarbageBetweenMessages as usize, 1);
        }
    }

    pub(super) fn opaque(
        &mut self,
        from: Direction,
        why: NotHttp,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        if chunk.fresh && self.turns_to_http(from, why, chunk) {
            self.reader(from).state = ReaderState::Start;
            return 0;
        }
        if why == NotHttp::Unknown && self.kind(from) == Some(HeadKind::Response) {
            self.pairing.unread(chunk.offset, chunk.ack);
        }
        let reader = self.reader(from);
        reader.newest = reader.newest.max(chunk.at);
        cx.ledger.not_http.add(why as usize, chunk.bytes.len() as u64);
        chunk.bytes.len()
    }

    /// Whether HTTP begins with `chunk`, a segment's start, on a stream that was none: anywhere in what was not recognised, and
    /// where a tunnel begins. A server that knows no TLS answers a hello in the clear.
    fn turns_to_http(&mut self, from: Direction, why: NotHttp, chunk: &EventBytes<'_>) -> bool {
        let start = classify(chunk.bytes);
        let begins = self.reader(from).opaque_from == chunk.offset;
        match why {
            NotHttp::Unknown => self.message_kind(from, start).is_some(),
            NotHttp::Tunnel => begins && self.message_kind(from, start).is_some(),
            NotHttp::Tls => begins && self.client.is_none() && start == DetectedStart::Response,
            NotHttp::ProxyHeader | NotHttp::H2 | NotHttp::Upgraded => false,
        }
    }

    /// Looks for the next message. After a loss only the start of a segment is believed: bytes of a body may look like
    /// a message too.
    pub(super) fn resync(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        seek: Seek,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        let start = classify_in_doubt(chunk.bytes);
        let looks_like = self.message_kind(from, start).filter(|_| chunk.fresh);
        // A beginning too short to tell is held only where one must be.
        let may_begin = looks_like.is_some() || (chunk.fresh && start == DetectedStart::NeedMore);
        let believed = looks_like.is_some() && seek != Seek::Acknowledged;
        if believed || (may_begin && self.is_acknowledged_start(conn, from, looks_like, chunk, &cx.redactor)) {
            self.reader(from).state = ReaderState::Start;
            (self.reader(from).joined, self.reader(from).passed) = (false, None);
            return 0;
        }
        cx.ledger.unproven += u64::from(looks_like.is_some());
        match looks_like {
            Some(HeadKind::Request) => {
                self.pairing.request_passed_over(&mut cx.left);
                self.emit_left(cx);
            }
            Some(HeadKind::Response) => self.pairing.response_passed_over(),
            None => {}
        }
        let found = if seek == Seek::Anywhere { self.next_message(from, chunk.bytes) } else { None };
        let skipped = found.unwrap_or(chunk.bytes.len());
        if found.is_some() {
            self.reader(from).state = ReaderState::Start;
        }
        if skipped > 0 && self.kind(from) == Some(HeadKind::Response) {
            self.pairing.unread(chunk.offset, chunk.ack);
        }
        if self.reader(from).passed.is_none() {
            self.reader(from).pass(chunk.ack);
        }
        cx.ledger.resync += skipped as u64;
        skipped
    }

    /// Whether a message, of this kind as far as that is known, begins with `chunk` by what both sides acknowledged. It is the
    /// first that was sent after the opposite side answered all before it, and nothing is behind it. (Who does not wait speaks
    /// while a body is under way; a body that is sent again, or waits for acknowledgements, goes on there.) Where that side was
    /// never heard, it is the first since something was received.
    fn is_acknowledged_start(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        kind: Option<HeadKind>,
        chunk: &EventBytes<'_>,
        redactor: &Redactor,
    ) -> bool {
        let alone = || kind.is_none_or(|kind| fills(kind, chunk.bytes, redactor));
        if !conn.hears(from.flip()) {
            return self.reader(from).has_received_more(chunk) && alone();
        }
        match self.kind(from) {
            Some(HeadKind::Request) => {
                let requests = || alone() || are_heads(chunk.bytes, |_| true);
                (self.begins_turn(from, chunk) && requests()) || self.are_usual_requests(chunk.bytes)
            }
            Some(HeadKind::Response) => {
                let asked = self.pairing.asked_at(chunk.offset) && !self.reader(from).is_passed(chunk);
                let turn = asked || (self.begins_turn(from, chunk) && !self.pairing.may_have_switched());
                turn && alone()
            }
            None => self.begins_turn(from, chunk) && alone(),
        }
    }

    /// Whether `bytes` are whole heads of requests without a body, as long as those before, and nothing else: a body that is
    /// just that would have to be made for this client.
    fn are_usual_requests(&self, bytes: &[u8]) -> bool {
        are_heads(bytes, |head| {
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            let target = line.splitn(3, |b| *b == b' ').nth(1).unwrap_or_default();
            self.pairing.sizes.is_usual_request((head.len() - target.len()) as u64)
        })
    }

    /// Where in `bytes`, behind a line end, a message begins.
    fn next_message(&self, from: Direction, bytes: &[u8]) -> Option<usize> {
        if self.kind(from) == Some(HeadKind::Response)
            && let Some(at) = memchr::memmem::find(bytes, VERSION).or_else(|| beginning_at_the_end(bytes))
        {
            return Some(at);
        }
        let starts = memchr::memchr_iter(b'\n', bytes).map(|lf| lf + 1);
        starts
            .take(64)
            .find(|at| bytes.get(*at..).is_some_and(|rest| self.message_kind(from, classify_in_doubt(rest)).is_some()))
    }
}

/// What a response begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// Where at the end of `bytes` there is the beginning of a version, the rest of which may come with the next segment.
fn beginning_at_the_end(bytes: &[u8]) -> Option<usize> {
    let mut tails = (1..VERSION.len()).rev().filter_map(|len| bytes.len().checked_sub(len));
    tails.find(|at| bytes.get(*at..).is_some_and(|tail| VERSION.starts_with(tail)))
}

/// Whether nothing but empty lines is behind the message that begins with `bytes`, by the length that it announces.
pub(super) fn fills(kind: HeadKind, bytes: &[u8], redactor: &Redactor) -> bool {
    let mut folds = Folds::default();
    let ParsedHead::Whole(len, head) = head::parse(kind, bytes, (&mut folds, redactor), None) else { return true };
    let body = match head.start {
        StartLine::Request { version, .. } => framing::of_request(version, &head.fields),
        StartLine::Response { status, .. } => match framing::of_response(AskedFraming::default(), status, &head.fields)
        {
            After::Body(body) => body,
            After::Tunnel | After::Upgraded => return true,
        },
    };
    let rest = bytes.get(len..).unwrap_or_default();
    let body = BodyProgress::new(body).map_or(0, |mut body| body.take(rest, |_| {}).consumed);
    rest.iter().skip(body).all(|b| matches!(b, b'\r' | b'\n'))
}

/// Whether `bytes` are whole heads of requests and nothing else, each of which `fits`.
fn are_heads(mut bytes: &[u8], fits: impl Fn(&[u8]) -> bool) -> bool {
    while !bytes.is_empty() {
        let end = head::end_of_head(bytes, 0);
        let Some((head, rest)) = end.and_then(|end| bytes.split_at_checked(end)) else { return false };
        if classify_in_doubt(head) != DetectedStart::Request || !fits(head) {
            return false;
        }
        bytes = rest;
    }
    true
}
