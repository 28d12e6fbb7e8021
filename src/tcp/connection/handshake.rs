//! SYNs: the start of this connection, again this start, or the start of another one with the same endpoints.
//!
//! A SYN on a connection that lives is not believed until it is answered or followed. A forged one must not end a
//! connection (RFC 5961 §4).

use super::super::outlet::TableShared;
use super::super::stream::{Acked, ByteStream};
use super::super::{Analyzer, ConnSummary};
use super::doubt::is_wrong;
use super::{ConnectionPhase, SegmentVerdict, TcpConnection, split, wire_len};
use crate::flow::{Direction, Timestamp};
use crate::packet::Segment;

/// Bytes that may follow a SYN before its answer is seen.
const MOST_AHEAD: u32 = 1 << 20;

/// A handshake seen on a connection that still lives.
pub(in crate::tcp) struct HandshakeAttempt {
    /// Who sent the SYN.
    pub(in crate::tcp) from: Direction,
    /// The sequence number after its SYN.
    pub(in crate::tcp) origin: u32,
    /// When.
    pub(in crate::tcp) at: Timestamp,
    /// Bytes that followed it.
    sent: u32,
    /// The SYN itself was seen, not only its answer.
    syn: bool,
}

impl HandshakeAttempt {
    /// Whether the segment answers or follows it.
    pub(in crate::tcp) fn is_met_by(&self, from: Direction, segment: &Segment<'_>) -> bool {
        self.covers(if from == self.from { segment.seq } else { segment.ack })
    }

    /// Whether a RST refuses it: the SYN was seen, and is what the RST acknowledges.
    pub(in crate::tcp) fn is_refused_by(&self, from: Direction, segment: &Segment<'_>) -> bool {
        self.syn && self.from != from && segment.flags.ack() && segment.ack == self.origin
    }

    /// Whether a number is its origin, or of what followed.
    fn covers(&self, number: u32) -> bool {
        number.wrapping_sub(self.origin) <= self.sent
    }
}

impl<A: Analyzer> TcpConnection<A> {
    /// Starts as what was an attempt on the connection before.
    pub(in crate::tcp) fn adopt(&mut self, attempt: &HandshakeAttempt) {
        let (own, _) = split(&mut self.streams, attempt.from);
        own.learn(attempt.origin);
        own.syn = attempt.syn;
        self.conn.originator = Some(attempt.from);
        self.conn.first_seen = attempt.at;
    }

    /// Judges a segment that follows or answers a SYN that was not believed so far; `None`: it does neither. The other side
    /// must answer, as far as it is heard. A receiver ignores a SYN in the middle, and what follows it (RFC 5961 §4).
    pub(in crate::tcp) fn on_attempt(&mut self, from: Direction, segment: &Segment<'_>) -> Option<SegmentVerdict> {
        let attempt = self.odd.as_mut()?.attempt.as_mut().filter(|a| a.is_met_by(from, segment))?;
        let (own, opposite) = split(&mut self.streams, attempt.from);
        if from != attempt.from {
            let answers = segment.flags.ack() && !own.has_sent(segment.ack);
            return answers.then_some(SegmentVerdict::Replace);
        }
        if own.is_continued_by(segment.seq, wire_len(segment)) {
            return None;
        }
        if !opposite.seen() {
            return Some(SegmentVerdict::Replace);
        }
        let end = segment.seq.wrapping_sub(attempt.origin).saturating_add(segment.payload_len);
        attempt.sent = attempt.sent.max(end.min(MOST_AHEAD));
        Some(SegmentVerdict::Ignore)
    }

    /// Judges a SYN; `None`: it is part of this connection, and so is what it carries.
    pub(in crate::tcp) fn on_syn(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        shared: &mut TableShared,
    ) -> Option<SegmentVerdict> {
        if segment.flags.fin() {
            return Some(SegmentVerdict::Ignore);
        }
        let answers = segment.flags.ack();
        let origin = segment.seq.wrapping_add(1);
        let (own, opposite) = split(&mut self.streams, from);
        let opening = self.phase == ConnectionPhase::Opening;
        let belongs =
            own.starts_at(origin) || (opening && !own.is_known() && (!answers || acknowledges_syn(segment, opposite)));
        if belongs {
            let late = own.talked || own.syn || (opposite.syn && !answers);
            own.learn(origin);
            own.syn = true;
            note_handshake(&mut self.conn, from, segment, opposite);
            // A receiver drops what comes on a SYN when it has one or has answered (RFC 5961 §4), but for what it acknowledged.
            let dropped = late && own.is_unheard(wire_len(segment).cast_signed());
            return dropped.then_some(SegmentVerdict::Ignore);
        }
        if is_wrong(own, segment, shared) {
            return Some(SegmentVerdict::Ignore);
        }
        Some(self.on_foreign_syn(from, segment, origin))
    }

    /// Of several answers to its SYN the originator acknowledges the one that it took.
    pub(in crate::tcp) fn note_choice(&mut self, from: Direction, segment: &Segment<'_>) {
        let (own, opposite) = split(&mut self.streams, from);
        let first = own.syn && !own.talked && opposite.is_untouched() && segment.flags.ack() && !segment.flags.syn();
        if first && opposite.syn && matches!(opposite.read_ack(segment.ack), Acked::Implausible) {
            opposite.learn(segment.ack);
        }
    }

    /// The first segment behind a SYN whose answer was missed. A client that sends its first byte, or nothing yet, has received
    /// nothing but that answer (before a request, no HTTP server speaks).
    pub(in crate::tcp) fn note_beginning(&mut self, from: Direction, segment: &Segment<'_>) {
        let (own, opposite) = split(&mut self.streams, from);
        let first = own.syn && !own.talked && own.starts_at(segment.seq) && segment.flags.ack() && !segment.flags.syn();
        let answered = opposite.is_untouched() && (!opposite.is_known() || opposite.starts_at(segment.ack));
        self.conn.origins_known |= first && answered && self.conn.originator == Some(from);
    }

    fn on_foreign_syn(&mut self, from: Direction, segment: &Segment<'_>, origin: u32) -> SegmentVerdict {
        let answers = segment.flags.ack();
        let met = self.attempt().is_some_and(|a| a.syn && a.from != from && a.origin == segment.ack);
        let (own, opposite) = split(&mut self.streams, from);
        if answers && opposite.starts_at(segment.ack) {
            // A second answer to the same SYN, by a proxy or by a listener that forgot the first. The originator will say
            // which one it took (`note_choice`).
            return SegmentVerdict::Ignore;
        }
        let never_answered = !answers && own.syn && !own.talked && !opposite.seen();
        // What acknowledges bytes of this connection answers no other SYN.
        let answered = answers && met && !opposite.has_sent(segment.ack);
        if never_answered || answered {
            return SegmentVerdict::Replace;
        }
        let (from, origin) = if answers { (from.flip(), segment.ack) } else { (from, origin) };
        let known = self.attempt().is_some_and(|a| a.from == from && a.origin == origin);
        if !known {
            let attempt = HandshakeAttempt { from, origin, at: segment.at, sent: 0, syn: !answers };
            self.odd.get_or_insert_default().attempt = Some(attempt);
        }
        SegmentVerdict::Ignore
    }
}

/// Whether the segment acknowledges the other side's SYN, as far as that is known.
fn acknowledges_syn(segment: &Segment<'_>, opposite: &ByteStream) -> bool {
    !opposite.is_known() || opposite.has_sent(segment.ack)
}

fn note_handshake(conn: &mut ConnSummary, from: Direction, segment: &Segment<'_>, opposite: &ByteStream) {
    let answers = segment.flags.ack();
    let originator = *conn.originator.get_or_insert(if answers { from.flip() } else { from });
    conn.handshake_seen = opposite.syn;
    let told = answers && (!opposite.is_known() || opposite.starts_at(segment.ack));
    conn.origins_known |= told || opposite.syn;
    // `first_seen` is the first SYN's, also when it was retransmitted.
    if answers && opposite.syn && originator != from && conn.connect_ns.is_none() && segment.at >= conn.first_seen {
        conn.connect_ns = Some(segment.at.since(conn.first_seen));
    }
}
