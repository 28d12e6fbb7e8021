//! How a head comes: in one piece, gathered from several segments, or cut off, so that its beginning has to do.
//!
//! Owns the bytes kept meanwhile; what a head means for the exchange is in `transactions`.

use super::super::HttpContext;
use super::super::detect::{DetectedStart, classify};
use super::super::head::{self, Folds, HeadKind, MessageHead, ParsedHead, StartLine};
use super::super::reader::{EventBytes, MessageStart, ReaderState, Seek};
use super::{HttpSession, is_proxy_header, open_message};
use crate::exchange::head_fields;
use crate::flow::{Direction, Timestamp};
use crate::record::{HttpHeader, Weird};
use crate::tcp::ConnSummary;

impl HttpSession {
    /// A message begins: parses its head in place when it is whole, keeps its beginning otherwise.
    pub(super) fn message(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        kind: HeadKind,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        match self.parse(conn, from, kind, chunk.bytes, MessageContext::begun(chunk.begun(), chunk.at), cx) {
            HeadOutcome::Whole(len) => len,
            HeadOutcome::Partial if chunk.bytes.len() < cx.head_limit() => self.hold(from, chunk, cx),
            HeadOutcome::Partial => {
                (self.reader(from).begun, self.reader(from).newest) = (chunk.begun(), chunk.at);
                self.cut_head(conn, from, chunk.bytes, Weird::HeadTooLarge, cx);
                chunk.bytes.len()
            }
            HeadOutcome::Invalid => self.garbage(conn, from, chunk, cx),
        }
    }

    fn parse(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        kind: HeadKind,
        bytes: &[u8],
        message: MessageContext,
        cx: &mut HttpContext,
    ) -> HeadOutcome {
        let (mut headers, mut folds) = (Vec::new(), Folds::default());
        let mut keep = head_fields(&cx.config.headers, &cx.redactor, &mut headers);
        let parsed = head::parse(
            kind,
            bytes,
            (&mut folds, &cx.redactor),
            keep.as_mut().map(|k| k as &mut dyn FnMut(&[u8], &[u8]) -> bool),
        );
        drop(keep);
        match &parsed {
            ParsedHead::Whole(len, head) => {
                cx.ledger.heads += *len as u64;
                let whole = bytes.get(..*len).unwrap_or_default();
                let ambiguous = is_ambiguous(head, whole);
                let message = MessageContext { len: *len as u64, headers, ambiguous, ..message };
                self.on_head(conn, from, head, message, cx);
                HeadOutcome::Whole(*len)
            }
            ParsedHead::Partial => HeadOutcome::Partial,
            ParsedHead::Invalid => HeadOutcome::Invalid,
        }
    }

    fn on_head(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        head: &MessageHead<'_>,
        message: MessageContext,
        cx: &mut HttpContext,
    ) {
        self.reader(from).body_untouched = true;
        self.reader(from).ambiguous = message.ambiguous;
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
    pub(super) fn hold(&mut self, from: Direction, chunk: &EventBytes<'_>, cx: &mut HttpContext) -> usize {
        cx.ledger.waiting += chunk.bytes.len() as u64;
        let reader = self.reader(from);
        reader.buffer.extend_from_slice(chunk.bytes);
        reader.scanned = 0;
        reader.begun = chunk.begun();
        reader.newest = chunk.at;
        reader.state = ReaderState::Head;
        chunk.bytes.len()
    }

    /// More bytes of a head that did not come in one piece.
    pub(super) fn in_head(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
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

    /// Tries the kept bytes again; `full`: more will not be kept. Returns how many of the newest bytes were not used.
    fn retry(&mut self, conn: &ConnSummary, from: Direction, before: usize, full: bool, cx: &mut HttpContext) -> usize {
        let buffer = std::mem::take(&mut self.reader(from).buffer);
        let (begun, newest) = (self.reader(from).begun, self.reader(from).newest);
        let kept = buffer.len();
        cx.ledger.waiting -= kept as u64;
        self.reader(from).state = ReaderState::Start;
        let whole = begun.chunk(&buffer);
        let (_, start) = open_message(&buffer, begun.offset);
        let used = match self.message_kind(from, start) {
            Some(kind) => match self.parse(conn, from, kind, &buffer, MessageContext::begun(begun, newest), cx) {
                HeadOutcome::Whole(len) => len,
                HeadOutcome::Partial if !full => return self.keep(from, buffer, cx),
                HeadOutcome::Partial => {
                    self.cut_head(conn, from, &buffer, Weird::HeadTooLarge, cx);
                    kept
                }
                HeadOutcome::Invalid => self.garbage(conn, from, &whole, cx),
            },
            None if start == DetectedStart::NeedMore => return self.keep(from, buffer, cx),
            None => self.no_message(conn, from, start, &whole, cx),
        };
        // Bytes of this chunk that were not used are left in it; kept ones that were not used are gone.
        let unused = kept - used.min(kept);
        let back = unused.min(kept - before);
        cx.ledger.resync += (unused - back) as u64;
        back
    }

    fn keep(&mut self, from: Direction, buffer: Vec<u8>, cx: &mut HttpContext) -> usize {
        cx.ledger.waiting += buffer.len() as u64;
        let reader = self.reader(from);
        reader.buffer = buffer;
        reader.state = ReaderState::Head;
        0
    }

    /// The rest of the head under way does not matter any more, or will not come.
    pub(in crate::http) fn cut_head_under_way(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        why: Weird,
        cx: &mut HttpContext,
    ) {
        let buffer = std::mem::take(&mut self.reader(from).buffer);
        cx.ledger.waiting -= buffer.len() as u64;
        self.cut_head(conn, from, &buffer, why, cx);
    }

    /// The rest of a head will not come, or is too long: takes what its beginning shows.
    pub(super) fn cut_head(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        buffer: &[u8],
        why: Weird,
        cx: &mut HttpContext,
    ) {
        let start = classify(buffer.trim_ascii_start());
        let (begun, newest) = (self.reader(from).begun, self.reader(from).newest);
        let (mut headers, mut folds) = (Vec::new(), Folds::default());
        let mut keep = head_fields(&cx.config.headers, &cx.redactor, &mut headers);
        let each = keep.as_mut().map(|k| k as &mut dyn FnMut(&[u8], &[u8]) -> bool);
        let head = self
            .message_kind(from, start)
            .and_then(|kind| Some((kind, head::lenient::salvage(kind, buffer, (&mut folds, &cx.redactor), each)?)));
        drop(keep);
        // Half a status line that no one waits for is none.
        let tells = memchr::memchr(b'\n', buffer).is_some() || self.pairing.awaits_response();
        let head = head.filter(|(kind, _)| tells || *kind == HeadKind::Request);
        self.reader(from).state = ReaderState::Resync(Seek::Acknowledged);
        let Some((kind, mut head)) = head else {
            cx.ledger.resync += buffer.len() as u64;
            cx.ledger.weird.add(why as usize, u64::from(why == Weird::UnfinishedHead));
            return;
        };
        if why != Weird::HeaderNotKept {
            head.weird.insert(why);
        }
        cx.ledger.heads += buffer.len() as u64;
        let end = begun.offset + buffer.len() as u64;
        let ambiguous = is_ambiguous(&head, buffer);
        let message = MessageContext { len: buffer.len() as u64, begun, newest, headers, cut: true, ambiguous };
        self.on_head(conn, from, &head, message, cx);
        if matches!(self.reader(from).state, ReaderState::Body(_)) {
            self.finish(from, kind, end, cx);
        }
        if !matches!(self.reader(from).state, ReaderState::Opaque(_)) {
            self.reader(from).state = ReaderState::Resync(Seek::Acknowledged);
        }
    }
}

/// What makes two readers of a head differ about where its message ends (RFC 9112 §6.3, §11.2).
const AMBIGUOUS: [Weird; 7] = [
    Weird::TeAndCl,
    Weird::ConflictingContentLength,
    Weird::BadContentLength,
    Weird::TeInHttp10,
    Weird::UnknownTransferCoding,
    Weird::SpaceBeforeColon,
    Weird::BareCr,
];

/// Whether two readers of `head`, which came as `bytes`, may differ about where its message ends.
fn is_ambiguous(head: &MessageHead<'_>, bytes: &[u8]) -> bool {
    let differently = |weird| head.weird.contains(weird);
    AMBIGUOUS.into_iter().any(differently)
        || ([Weird::BareLf, Weird::ObsFold].into_iter().any(differently) && head::lenient::framing_may_differ(bytes))
}

/// What trying to parse a head came to.
enum HeadOutcome {
    Whole(usize),
    Partial,
    Invalid,
}

/// What a head does not say of its message.
pub(in crate::http) struct MessageContext {
    /// Bytes of the head.
    pub len: u64,
    pub begun: MessageStart,
    /// Time of the head's last byte.
    pub newest: Timestamp,
    pub headers: Vec<HttpHeader>,
    /// The rest of the head is missing.
    pub cut: bool,
    /// Others may read its length in another way.
    pub ambiguous: bool,
}

impl MessageContext {
    /// One of which nothing more is known.
    fn begun(begun: MessageStart, newest: Timestamp) -> Self {
        Self { len: 0, begun, newest, headers: Vec::new(), cut: false, ambiguous: false }
    }
}
