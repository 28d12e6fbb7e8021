//! Answers of HTTP/0.9: a body and nothing else, until the server closes (RFC 1945 §6). There is no status to tell.
//!
//! Only to a request without a version (`detect` says what is one), and only where no status line comes. Servers that know
//! nothing of HTTP/0.9 answer as ever. Which request is next is for `pairing` to say.

use super::super::HttpContext;
use super::super::body::BodyProgress;
use super::super::detect::{DetectedStart, classify};
use super::super::head::HeadKind;
use super::super::pairing::ResponseTarget;
use super::super::reader::{EventBytes, ReaderState};
use super::{HttpSession, MAX_LEAD, open_message};
use crate::exchange;
use crate::flow::Direction;
use crate::ledger::NotHttp;
use crate::record::Weird;
use crate::tcp::ConnSummary;

impl HttpSession {
    /// Whether what begins with `chunk` is the next answer, to a request of HTTP/0.9, if it is one.
    pub(super) fn awaits_http09(&self, from: Direction, chunk: &EventBytes<'_>) -> bool {
        self.kind(from) == Some(HeadKind::Response) && self.pairing.answers_http09(chunk.offset, chunk.ack)
    }

    /// An answer begins: it may yet turn out to have a status line.
    pub(super) fn at_http09_answer(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        if may_become_status_line(chunk.bytes) {
            return self.hold(from, chunk, cx);
        }
        self.reader(from).newest = chunk.at;
        self.http09_answer(conn, from, chunk, cx)
    }

    /// All of `chunk` is the beginning of the next answer's body.
    pub(super) fn http09_answer(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> usize {
        if !self.begin_http09_answer(conn, from, chunk, cx) {
            let reader = self.reader(from);
            reader.state = ReaderState::Opaque(NotHttp::Unknown);
            reader.begun.ack = None;
            return 0;
        }
        let (len, newest) = (chunk.bytes.len(), self.reader(from).newest.max(chunk.at));
        cx.ledger.bodies += len as u64;
        self.count(HeadKind::Response, newest, len as u64, len as u64);
        len
    }

    /// Puts an answer that begins where `chunk` does into its request's slot. False: it is not sure whose it is.
    fn begin_http09_answer(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        chunk: &EventBytes<'_>,
        cx: &mut HttpContext,
    ) -> bool {
        let begun = chunk.begun();
        self.time_out(conn, begun.at, cx);
        let known = self.parsed_to(from.flip());
        let slot = self.pairing.response(begun.offset, begun.ack, known, &mut cx.left);
        self.emit_left(cx);
        let Some(number) = slot else { return false };
        cx.ledger.responses += 1;
        cx.ledger.responses_open += 1;
        self.answer(number, exchange::http09_response(begun));
        let mut weird = std::mem::take(&mut self.stray);
        weird.insert(Weird::Http09);
        self.note(HeadKind::Response, weird, cx);
        self.begin_body(from, BodyProgress::UntilClose);
        self.reader(from).body_untouched = false;
        true
    }

    /// A request of HTTP/0.9 came, and the capture showed its answer before it: bytes that no one could read then. (They
    /// stay counted as what they were taken for: counters only grow.)
    pub(in crate::http) fn http09_answer_seen(&mut self, conn: &ConnSummary, from: Direction, cx: &mut HttpContext) {
        let reader = self.reader(from);
        let (begun, newest, end, ended) = (reader.begun, reader.newest, reader.parsed_to, reader.ended);
        let unread = matches!(reader.state, ReaderState::Opaque(NotHttp::Unknown));
        let chunk = begun.chunk(&[]);
        if !unread || begun.ack.is_none() || !self.awaits_http09(from, &chunk) {
            return;
        }
        if self.begin_http09_answer(conn, from, &chunk, cx) {
            let len = end - begun.offset;
            self.count(HeadKind::Response, newest, len, len);
            if ended {
                self.finish(from, HeadKind::Response, end, cx);
            }
        }
    }

    /// The server ends, and what it began to send is no status line.
    pub(super) fn end_http09_start(&mut self, conn: &ConnSummary, from: Direction, cx: &mut HttpContext) {
        let begun = self.reader(from).begun;
        let chunk = begun.chunk(&[]);
        let held = matches!(self.reader(from).state, ReaderState::Head) && self.awaits_http09(from, &chunk);
        if !held || open_message(&self.reader(from).buffer, begun.offset).1 == DetectedStart::Response {
            return;
        }
        let buffer = std::mem::take(&mut self.reader(from).buffer);
        cx.ledger.waiting -= buffer.len() as u64;
        let used = self.http09_answer(conn, from, &begun.chunk(&buffer), cx);
        cx.ledger.not_http.add(NotHttp::Unknown as usize, (buffer.len() - used) as u64);
    }

    /// The client asks again, having received `ack`, while the answer of HTTP/0.9 from there goes on: it knows where that
    /// ended, and we do not. This is not HTTP/0.9, or not as it was meant.
    pub(in crate::http) fn end_http09_answer(&mut self, from: Direction, ack: Option<u64>, cx: &mut HttpContext) {
        let Some(ResponseTarget::Slot(number)) = self.target else { return };
        let end = self.reader(from).parsed_to;
        let until_close = matches!(self.reader(from).state, ReaderState::Body(BodyProgress::UntilClose));
        let slot = self.pairing.slot(number).filter(|s| until_close && s.asked.http09);
        if slot.and_then(|s| s.ack.zip(ack)).is_some_and(|(had, has)| has > had) {
            self.framing_lost(from, HeadKind::Response, end, cx);
        }
    }
}

/// Whether what follows `bytes`, the beginning of an answer, may yet make a status line of it.
fn may_become_status_line(bytes: &[u8]) -> bool {
    let lead = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    match bytes.get(lead..).unwrap_or_default() {
        _ if lead > MAX_LEAD => false,
        [] => true,
        [b'H' | b'h', ..] => classify(bytes.get(lead..).unwrap_or_default()) == DetectedStart::NeedMore,
        _ => false,
    }
}
