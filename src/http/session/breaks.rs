//! What breaks a stream off or ends it: gaps, a head whose rest does not come, FIN, the connection's end.
//!
//! Decides what that says about the messages under way; which pairs it puts in doubt stands in `pairing`.

use super::super::body::Body;
use super::super::detect::classify;
use super::super::folds::Folds;
use super::super::head::Kind;
use super::super::reader::State;
use super::super::{Context, head_fields, lenient};
use super::{Message, Session};
use crate::flow::{Direction, Timestamp};
use crate::record::{Missing, Trust, Weird, WeirdSet};
use crate::tcp::{CloseReason, Conn, GapCause};

impl Session {
    pub(super) fn on_gap(
        &mut self,
        conn: &Conn,
        from: Direction,
        offset: u64,
        len: u64,
        cause: GapCause,
        cx: &mut Context,
    ) {
        let end = offset + len;
        let kind = self.kind(from);
        let trust = if cause == GapCause::Lost { Trust::Gap } else { Trust::Truncated };
        self.reader(from).parsed_to = end;
        let between = matches!(self.reader(from).state, State::Start);
        match &mut self.reader(from).state {
            State::Opaque(_) => {
                // What began there is not known as a whole any more: it is nobody's answer.
                self.reader(from).begun.ack = None;
                return;
            }
            State::Body(body) => {
                let part = body.skip(len);
                let Some(kind) = kind else { return };
                let missing = if kind == Kind::Request { Missing::REQUEST_BODY } else { Missing::RESPONSE_BODY };
                self.reader(from).body_untouched = false;
                self.doubt(kind, trust, missing);
                if kind == Kind::Response && part != Some(false) {
                    self.tail_lost();
                }
                match part {
                    Some(done) => {
                        self.count(kind, Timestamp(i64::MIN), len, len);
                        if done {
                            self.finish(from, kind, end, cx);
                        }
                        return;
                    }
                    None => self.finish(from, kind, offset, cx),
                }
            }
            State::Head => {
                let buffer = std::mem::take(&mut self.reader(from).buffer);
                cx.ledger.waiting -= buffer.len() as u64;
                self.cut_head(conn, from, &buffer, Weird::HeaderNotKept, cx);
            }
            State::Start | State::Resync { .. } => {}
        }
        if !matches!(self.reader(from).state, State::Opaque(_)) {
            self.reader(from).state = State::Resync { lost: true };
        }
        self.flush(cx);
        if cause == GapCause::Lost {
            self.pairing.segments_lost(&mut cx.left);
        }
        match kind.or(self.kind(from)) {
            Some(Kind::Response) => self.pairing.responses_lost(end, &mut cx.left),
            Some(Kind::Request) => self.pairing.requests_lost(end, between),
            None => self.pairing.requests_lost(end, false),
        }
        self.emit_left(cx);
    }

    /// Where the body under way ends cannot be told any more; what is known of it ends at `end`. What follows may be body
    /// as well as messages: only the start of a segment is believed, and order proves nothing.
    pub(super) fn framing_lost(&mut self, from: Direction, kind: Kind, end: u64, cx: &mut Context) {
        let missing = if kind == Kind::Request { Missing::REQUEST_BODY } else { Missing::RESPONSE_BODY };
        self.doubt(kind, Trust::Truncated, missing);
        self.finish(from, kind, end, cx);
        self.reader(from).state = State::Resync { lost: true };
        match kind {
            Kind::Response => self.pairing.responses_lost(end, &mut cx.left),
            // Whole requests may hide in it, whose answers come first.
            Kind::Request => self.pairing.requests_lost(end, true),
        }
        self.emit_left(cx);
    }

    /// The rest of a head will not come, or is too long: takes what its beginning tells.
    pub(super) fn cut_head(&mut self, conn: &Conn, from: Direction, buffer: &[u8], why: Weird, cx: &mut Context) {
        let start = classify(buffer.trim_ascii_start());
        let (begun, newest) = (self.reader(from).begun, self.reader(from).newest);
        let (mut headers, mut folds) = (Vec::new(), Folds::default());
        let mut keep = head_fields(&cx.config.headers, &cx.redactor, &mut headers);
        let each = keep.as_mut().map(|k| k as &mut dyn FnMut(&[u8], &[u8]));
        let head = self
            .message_kind(from, start)
            .and_then(|kind| Some((kind, lenient::salvage(kind, buffer, (&mut folds, &cx.redactor), each)?)));
        drop(keep);
        // Half a status line that nobody waits for is none.
        let tells = memchr::memchr(b'\n', buffer).is_some() || self.pairing.awaits_response();
        let head = head.filter(|_| tells);
        self.reader(from).state = State::Resync { lost: true };
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
        let message = Message { len: buffer.len() as u64, begun, newest, headers, cut: true };
        self.on_head(conn, from, &head, message, cx);
        if matches!(self.reader(from).state, State::Body(_)) {
            self.finish(from, kind, end, cx);
        }
        if !matches!(self.reader(from).state, State::Opaque(_)) {
            self.reader(from).state = State::Resync { lost: true };
        }
    }

    pub(super) fn on_end(&mut self, conn: &Conn, from: Direction, at: Timestamp, cx: &mut Context) {
        if std::mem::replace(&mut self.reader(from).ended, true) {
            return;
        }
        self.close_reader(conn, from, CloseReason::Closed, cx);
        if self.kind(from) == Some(Kind::Response) {
            self.flush(cx);
            self.no_more_responses(at, CloseReason::Closed, cx);
        }
    }

    /// No byte will come on this stream any more: ends what is under way.
    pub(super) fn close_reader(&mut self, conn: &Conn, from: Direction, reason: CloseReason, cx: &mut Context) {
        let cut_by_us = !matches!(reason, CloseReason::Closed | CloseReason::Reset | CloseReason::Reused);
        let end = self.reader(from).parsed_to;
        self.end_http09_start(from, cx);
        let tells = cut_by_us || self.kind(from) == Some(Kind::Response) || self.pairing.awaits_request();
        match &self.reader(from).state {
            State::Head if tells => {
                let buffer = std::mem::take(&mut self.reader(from).buffer);
                cx.ledger.waiting -= buffer.len() as u64;
                let why = if cut_by_us { Weird::HeaderNotKept } else { Weird::UnfinishedHead };
                self.cut_head(conn, from, &buffer, why, cx);
            }
            State::Head => {
                // Its client ended it, and got no answer: no server ever had this request. It is named and counted, but no
                // exchange.
                let buffer = std::mem::take(&mut self.reader(from).buffer);
                cx.ledger.waiting -= buffer.len() as u64;
                cx.ledger.resync += buffer.len() as u64;
                cx.ledger.weird.add(Weird::UnfinishedHead as usize, 1);
                self.reader(from).state = State::Start;
            }
            State::Body(body) => {
                let until_close = matches!(body, Body::UntilClose);
                let Some(kind) = self.kind(from) else { return };
                let missing = if kind == Kind::Request { Missing::REQUEST_BODY } else { Missing::RESPONSE_BODY };
                if cut_by_us {
                    self.doubt(kind, Trust::Truncated, missing);
                } else if !until_close || reason == CloseReason::Reset {
                    self.contradict(cx);
                    let mut weird = WeirdSet::default();
                    weird.insert(Weird::BodyCutByClose);
                    self.note(kind, weird, cx);
                }
                self.finish(from, kind, end, cx);
            }
            State::Start | State::Opaque(_) | State::Resync { .. } => {}
        }
    }
}
