//! SYNs: the start of this connection, again this start, or the start of another one with the same endpoints.
//!
//! A SYN on a connection that lives is not believed until it is answered or followed (RFC 5961 §4: a forged one must
//! not end a connection).

use super::connection::{Connection, Phase, Verdict, split};
use super::stream::{Acked, Stream};
use super::{Analyzer, Conn};
use crate::flow::{Direction, Timestamp};
use crate::packet::Segment;

/// A handshake seen on a connection that still lives.
pub(super) struct Attempt {
    /// Who sent the SYN.
    pub(super) from: Direction,
    /// The sequence number after its SYN.
    pub(super) origin: u32,
    /// When.
    pub(super) at: Timestamp,
    /// The SYN itself was seen, not only its answer.
    syn: bool,
}

impl Attempt {
    /// Whether the segment answers or follows it.
    pub(super) fn is_met_by(&self, from: Direction, segment: &Segment<'_>) -> bool {
        if from == self.from { segment.seq == self.origin } else { segment.ack == self.origin }
    }
}

impl<A: Analyzer> Connection<A> {
    /// Starts as what was an attempt on the connection before.
    pub(super) fn adopt(&mut self, attempt: &Attempt) {
        let (own, _) = split(&mut self.streams, attempt.from);
        own.learn(attempt.origin);
        own.syn = attempt.syn;
        self.conn.originator = Some(attempt.from);
        self.conn.first_seen = attempt.at;
    }

    /// Whether the segment is the first after a SYN that was not believed so far.
    pub(super) fn begins_attempt(&self, from: Direction, segment: &Segment<'_>) -> bool {
        self.attempt.as_ref().is_some_and(|a| a.from == from && a.origin == segment.seq)
    }

    /// Judges a SYN; `None`: it is part of this connection, and so is what it carries.
    pub(super) fn on_syn(&mut self, from: Direction, segment: &Segment<'_>) -> Option<Verdict> {
        if segment.flags.fin() {
            return Some(Verdict::Ignore);
        }
        let answers = segment.flags.ack();
        let origin = segment.seq.wrapping_add(1);
        let (own, opposite) = split(&mut self.streams, from);
        let opening = self.phase == Phase::Opening;
        let belongs =
            own.starts_at(origin) || (opening && !own.is_known() && (!answers || acknowledges_syn(segment, opposite)));
        if belongs {
            own.learn(origin);
            own.syn = true;
            note_handshake(&mut self.conn, from, segment, opposite);
            return None;
        }
        Some(self.on_foreign_syn(from, segment, origin))
    }

    /// Of several answers to its SYN the originator acknowledges the one that it took.
    pub(super) fn note_choice(&mut self, from: Direction, segment: &Segment<'_>) {
        let (own, opposite) = split(&mut self.streams, from);
        let first = own.syn && !own.talked && opposite.is_untouched() && segment.flags.ack() && !segment.flags.syn();
        if first && opposite.syn && matches!(opposite.read_ack(segment.ack), Acked::Implausible) {
            opposite.learn(segment.ack);
        }
    }

    fn on_foreign_syn(&mut self, from: Direction, segment: &Segment<'_>, origin: u32) -> Verdict {
        let answers = segment.flags.ack();
        let (own, opposite) = split(&mut self.streams, from);
        if answers && opposite.starts_at(segment.ack) {
            // A second answer to the same SYN, by a proxy or by a listener that forgot the first: which one the originator
            // took, it will say (`note_choice`).
            return Verdict::Ignore;
        }
        let never_answered = !answers && own.syn && !own.talked && !opposite.seen();
        let ending = own.fin_seen() || opposite.fin_seen();
        let answered = answers && self.attempt.as_ref().is_some_and(|a| a.from != from && a.origin == segment.ack);
        if never_answered || ending || answered {
            return Verdict::Replace;
        }
        let (from, origin) = if answers { (from.flip(), segment.ack) } else { (from, origin) };
        let known = self.attempt.as_ref().is_some_and(|a| a.from == from && a.origin == origin);
        if !known {
            self.attempt = Some(Box::new(Attempt { from, origin, at: segment.at, syn: !answers }));
        }
        Verdict::Ignore
    }
}

/// Whether the segment acknowledges the other side's SYN, as far as that is known.
fn acknowledges_syn(segment: &Segment<'_>, opposite: &Stream) -> bool {
    !opposite.is_known() || opposite.has_sent(segment.ack)
}

fn note_handshake(conn: &mut Conn, from: Direction, segment: &Segment<'_>, opposite: &Stream) {
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
