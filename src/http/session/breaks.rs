//! What breaks a stream off or ends it: gaps, framing that is lost, FIN, the connection's end.
//!
//! Decides what that says about the messages under way; which pairs it puts in doubt is in `pairing`.

use super::super::HttpContext;
use super::super::body::BodyProgress;
use super::super::head::HeadKind;
use super::super::pairing::ResponseTarget;
use super::super::reader::{ReaderState, Seek};
use super::HttpSession;
use crate::flow::{Direction, Timestamp};
use crate::record::{ConnectionSide, EarlyEnd, EndedHow, MissingParts, Trust, Weird};
use crate::tcp::{CloseReason, ConnSummary, GapCause};

/// No message is shorter (RFC 9112 §4: `HTTP/1.1 200 `, an empty line): bytes that are fewer belong to others, or to none.
const LEAST_MESSAGE: u64 = 17;

impl HttpSession {
    pub(super) fn on_gap(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        offset: u64,
        len: u64,
        cause: GapCause,
        cx: &mut HttpContext,
    ) {
        let end = offset + len;
        let kind = self.kind(from);
        self.reader(from).parsed_to = end;
        let between = matches!(self.reader(from).state, ReaderState::Start);
        match self.reader(from).state {
            ReaderState::Opaque(_) => {
                // What began there is not known as a whole any more: it is no one's answer.
                self.reader(from).begun.ack = None;
                return;
            }
            ReaderState::Body(_) => {
                let rest = self.rest_of_body(from).filter(|rest| *rest < len);
                if self.gap_in_body(from, offset, rest.unwrap_or(len), cause, cx) {
                    if let Some(rest) = rest {
                        // Where the body ends is known; behind it whole messages may be missing.
                        self.on_gap(conn, from, offset + rest, len - rest, cause, cx);
                    }
                    return;
                }
            }
            ReaderState::Head => {
                let buffer = std::mem::take(&mut self.reader(from).buffer);
                cx.ledger.waiting -= buffer.len() as u64;
                self.cut_head(conn, from, &buffer, Weird::HeaderNotKept, cx);
            }
            ReaderState::Start | ReaderState::Resync(_) => {}
        }
        self.reader(from).passed = None;
        match &mut self.reader(from).state {
            ReaderState::Opaque(_) => {}
            ReaderState::Resync(seek) => *seek = (*seek).max(Seek::SegmentStart),
            // What comes first may be the body of a message whose head is missing.
            state @ (ReaderState::Start | ReaderState::Head | ReaderState::Body(_)) => {
                *state = ReaderState::Resync(Seek::Acknowledged);
            }
        }
        self.flush(cx);
        let opened = conn.originator.map(|client| if client == from { HeadKind::Request } else { HeadKind::Response });
        let hole = (between && len >= LEAST_MESSAGE).then_some((offset, end));
        match kind.or(self.kind(from)).or(opened) {
            Some(HeadKind::Response) => self.pairing.responses_lost(hole, end),
            Some(HeadKind::Request) => self.pairing.requests_lost(hole),
            None => self.pairing.requests_lost(None),
        }
        self.emit_left(cx);
    }

    /// How much is missing of a body whose length was announced.
    fn rest_of_body(&mut self, from: Direction) -> Option<u64> {
        if let ReaderState::Body(BodyProgress::Fixed { remaining }) = &self.reader(from).state {
            Some(*remaining)
        } else {
            None
        }
    }

    /// Part of a body is missing. Returns whether its end is still known, so that nothing else is in doubt.
    fn gap_in_body(&mut self, from: Direction, offset: u64, len: u64, cause: GapCause, cx: &mut HttpContext) -> bool {
        let Some(kind) = self.kind(from) else { return true };
        let unknown = self.target == Some(ResponseTarget::Loose);
        let reader = self.reader(from);
        let ReaderState::Body(body) = &mut reader.state else { return false };
        // Of a response to a HEAD that is missing the body will not come.
        let part = if reader.body_untouched && unknown { None } else { body.skip(len) };
        reader.body_untouched = false;
        if let Some(inside) = &mut reader.inside {
            inside.lose();
        }
        let trust = if cause == GapCause::Lost { Trust::Gap } else { Trust::Truncated };
        self.doubt(kind, trust, body_of(kind));
        if kind == HeadKind::Response && part != Some(false) {
            self.tail_lost();
        }
        let Some(done) = part else {
            self.finish(from, kind, offset, cx);
            return false;
        };
        self.count(kind, Timestamp(i64::MIN), len, len);
        if done {
            self.finish(from, kind, offset + len, cx);
        }
        true
    }

    /// Where the body under way ends cannot be known any more; what is known of it ends at `end`. What follows may be body
    /// as well as messages: only the start of a segment is believed, and order proves nothing.
    pub(super) fn framing_lost(&mut self, from: Direction, kind: HeadKind, end: u64, cx: &mut HttpContext) {
        self.doubt(kind, Trust::Truncated, body_of(kind));
        self.finish(from, kind, end, cx);
        self.reader(from).state = ReaderState::Resync(Seek::Acknowledged);
        match kind {
            HeadKind::Response => self.pairing.responses_lost(None, end),
            // Whole requests may hide in it, whose answers come first.
            HeadKind::Request => self.pairing.requests_lost(None),
        }
        self.emit_left(cx);
    }

    /// The message under way ends here if its receiver read its head as we did. What follows is believed when the opposite
    /// side's acknowledgements prove it, not because it is next.
    pub(super) fn end_unsure(&mut self, from: Direction, kind: HeadKind, end: u64) {
        self.doubt(kind, Trust::Truncated, body_of(kind));
        self.reader(from).state = ReaderState::Resync(Seek::Acknowledged);
        match kind {
            HeadKind::Response => self.pairing.responses_lost(None, end),
            HeadKind::Request => self.pairing.requests_lost(None),
        }
    }

    pub(super) fn on_end(&mut self, conn: &ConnSummary, from: Direction, at: Timestamp, cx: &mut HttpContext) {
        if std::mem::replace(&mut self.reader(from).ended, true) {
            return;
        }
        self.ended_first.get_or_insert((from, at));
        self.close_reader(conn, from, CloseReason::Closed, cx);
        if self.kind(from) == Some(HeadKind::Response) && !self.pairing.in_doubt() {
            self.flush(cx);
            self.no_more_responses(conn, at, CloseReason::Closed, cx);
        }
    }

    /// No byte will come on this stream any more: ends what is under way.
    pub(super) fn close_reader(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        reason: CloseReason,
        cx: &mut HttpContext,
    ) {
        let cut_by_us = !matches!(reason, CloseReason::Closed | CloseReason::Reset(_) | CloseReason::Reused);
        let end = self.reader(from).parsed_to;
        self.end_http09_start(conn, from, cx);
        let never_had = !cut_by_us
            && self.kind(from) != Some(HeadKind::Response)
            && self.ended_first.is_some_and(|(first, _)| first == from.flip());
        match &self.reader(from).state {
            ReaderState::Head if never_had => {
                // Its server ended the connection before it had this request, which is named and counted, but no exchange.
                let buffer = std::mem::take(&mut self.reader(from).buffer);
                cx.ledger.waiting -= buffer.len() as u64;
                cx.ledger.resync += buffer.len() as u64;
                cx.ledger.weird.add(Weird::UnfinishedHead as usize, 1);
                self.reader(from).state = ReaderState::Start;
            }
            ReaderState::Head => {
                let why = if cut_by_us { Weird::HeaderNotKept } else { Weird::UnfinishedHead };
                self.cut_head_under_way(conn, from, why, cx);
            }
            ReaderState::Body(body) => {
                let until_close = matches!(body, BodyProgress::UntilClose);
                let Some(kind) = self.kind(from) else { return };
                if cut_by_us {
                    self.doubt(kind, Trust::Truncated, body_of(kind));
                } else if !until_close || matches!(reason, CloseReason::Reset(_)) {
                    self.name_end(kind);
                    self.contradict(cx);
                    self.note(kind, Weird::BodyCutByClose.into(), cx);
                    self.doubt(kind, Trust::Complete, body_of(kind));
                }
                self.finish(from, kind, end, cx);
            }
            ReaderState::Start | ReaderState::Opaque(_) | ReaderState::Resync(_) => {}
        }
    }
}

impl HttpSession {
    /// Says on the message under way who ended it, where the connection did not leave it whole.
    pub(in crate::http) fn name_end(&mut self, kind: HeadKind) {
        let ended = match kind {
            HeadKind::Request => self.ended(),
            HeadKind::Response => {
                let begun =
                    self.response_record().and_then(|record| record.response.as_ref()).map(|answer| answer.first);
                begun.and_then(|begun| self.answer_ended(begun))
            }
        };
        if let Some(record) = self.record_of(kind) {
            record.ended = ended;
        }
    }

    /// Who ended the connection: with the first FIN, else with a RST.
    pub(in crate::http) fn ended(&self) -> Option<EarlyEnd> {
        let fin = self.ended_first.map(|(from, _)| (from, EndedHow::Fin));
        fin.or(self.reset()).and_then(|end| self.ended_so(end))
    }

    /// Who ended an answer that began at `begun`. A client may send its FIN with its request and still read: that FIN ends
    /// no answer.
    fn answer_ended(&mut self, begun: Timestamp) -> Option<EarlyEnd> {
        let server = self.client?.flip();
        let (over, reset) = (self.reader(server).ended, self.reset());
        if !over && reset.is_none() {
            return None;
        }
        let first = self.ended_first.filter(|(from, at)| *from == server || *at >= begun).map(|(from, _)| from);
        let fin = first.or(over.then_some(server)).map(|from| (from, EndedHow::Fin));
        fin.or(reset).and_then(|end| self.ended_so(end))
    }

    fn reset(&self) -> Option<(Direction, EndedHow)> {
        self.reset_by.map(|from| (from, EndedHow::Rst))
    }

    fn ended_so(&self, (from, how): (Direction, EndedHow)) -> Option<EarlyEnd> {
        let side = if self.client? == from { ConnectionSide::Client } else { ConnectionSide::Server };
        Some(EarlyEnd { by: Some(side), how })
    }
}

/// The part of an exchange that the body of such a message is.
fn body_of(kind: HeadKind) -> MissingParts {
    match kind {
        HeadKind::Request => MissingParts::REQUEST_BODY,
        HeadKind::Response => MissingParts::RESPONSE_BODY,
    }
}
