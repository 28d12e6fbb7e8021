//! Segments that their receiver may not have taken: resets, and those with a wrong checksum.
//!
//! Keeps a doubt until what follows settles it (RFC 5961). SYNs are judged in `handshake`; FINs and doubtful bytes wait in
//! `disorder`.

use super::super::disorder::SegmentPiece;
use super::super::outlet::TableShared;
use super::super::stream::{Acked, ByteStream, ResetPlace, SegmentPlace};
use super::super::{Analyzer, CloseReason};
use super::{SegmentVerdict, TcpConnection, split, wire_len};
use crate::flow::{Direction, Timestamp};
use crate::packet::{Checksum, Segment};

/// How long nothing may follow a RST that its receiver believes, nanoseconds. What crosses it is seen until then, and one
/// that its receiver never got is found out.
const RESET_QUIET: u64 = 1_000_000_000;

/// A RST that nothing has contradicted so far.
pub(in crate::tcp) struct DoubtfulReset {
    from: Direction,
    at: Timestamp,
    offset: i64,
    /// Its receiver believes it.
    exact: bool,
}

/// Whether the receiver of a segment takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tcp) enum Soundness {
    /// Nothing speaks against it.
    Sound,
    /// Its receiver may have dropped it.
    Doubtful,
    /// Its receiver dropped it, as far as can be known.
    Dropped,
}

/// Whether the segment's checksum is wrong, where checksums mean anything.
pub(in crate::tcp) fn is_wrong(stream: &mut ByteStream, segment: &Segment<'_>, shared: &mut TableShared) -> bool {
    if stream.sums_lie {
        return false;
    }
    let sum = segment.checksum();
    if matches!(sum, Checksum::Right | Checksum::Left) {
        stream.note_right_sum(wire_len(segment));
    }
    shared.ledger.bad_checksums += u64::from(sum == Checksum::Wrong);
    sum == Checksum::Wrong
}

impl<A: Analyzer> TcpConnection<A> {
    pub(in crate::tcp) fn on_reset(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        shared: &mut TableShared,
    ) -> SegmentVerdict {
        let acknowledged = segment.flags.ack().then_some(segment.ack);
        let refused = self.attempt().is_some_and(|a| a.is_refused_by(from, segment));
        // What acknowledges bytes of this connection refuses no other one.
        let other = refused && !split(&mut self.streams, from.flip()).0.has_sent(segment.ack);
        if other && segment.checksum() != Checksum::Wrong {
            shared.ledger.connects_refused += 1;
            return SegmentVerdict::Close(CloseReason::Reused);
        }
        let (own, opposite) = split(&mut self.streams, from);
        if opposite.syn && !own.is_known() {
            // Only if it acknowledges the SYN (RFC 9293 §3.10.7.3).
            if !acknowledged.is_some_and(|ack| opposite.has_sent(ack)) {
                return SegmentVerdict::Ignore;
            }
            own.talked = true;
            shared.ledger.connects_refused += 1;
            return SegmentVerdict::Close(CloseReason::Reset(from));
        }
        let wrong = is_wrong(own, segment, shared);
        let (place, offset) = own.place_reset(segment.seq);
        if place == ResetPlace::Far {
            return SegmentVerdict::Ignore;
        }
        let exact = place == ResetPlace::Exact && !wrong;
        own.talked |= exact;
        if exact && let Some(Acked::Until(offset)) = acknowledged.map(|ack| opposite.read_ack(ack)) {
            // What its sender had of the other stream, the capture may have lost.
            opposite.on_ack(offset, segment.at);
        }
        if !self.reset().is_some_and(|reset| reset.exact) {
            self.odd.get_or_insert_default().reset = Some(DoubtfulReset { from, at: segment.at, offset, exact });
        }
        SegmentVerdict::Ignore
    }

    fn reset(&self) -> Option<&DoubtfulReset> {
        self.odd.as_ref()?.reset.as_ref()
    }

    fn take_reset(&mut self) -> Option<DoubtfulReset> {
        let reset = self.odd.as_mut()?.reset.take();
        self.forget_oddities();
        reset
    }

    /// Who ended the connection with a RST that its receiver believes, as nothing has followed.
    pub(in crate::tcp) fn reset_by(&self, now: Timestamp) -> Option<Direction> {
        let quiet = |reset: &DoubtfulReset| now.since(self.last_seen.max(reset.at)) >= RESET_QUIET;
        self.reset().filter(|reset| reset.exact && quiet(reset)).map(|reset| reset.from)
    }

    /// Whether a RST waits that its receiver would ask back about.
    pub(in crate::tcp) fn is_in_doubt(&self) -> bool {
        self.reset().is_some()
    }

    /// A believed segment weighs on a RST before it: who sends more has not reset the connection. What its receiver sends
    /// may have crossed it, unless the RST was not believable anyway.
    pub(in crate::tcp) fn weigh_reset(
        &mut self,
        from: Direction,
        end: i64,
        ack: Option<u64>,
        shared: &mut TableShared,
    ) {
        let Some(reset) = self.odd.as_mut().and_then(|odd| odd.reset.as_mut()) else { return };
        if !reset.exact && from != reset.from && ack.is_some_and(|ack| ack.cast_signed() == reset.offset) {
            // The capture lost what came before the RST.
            reset.exact = true;
        } else if !reset.exact || (from == reset.from && end > reset.offset) {
            self.take_reset();
            shared.ledger.resets_ignored += 1;
        }
    }

    /// Whether the receiver takes a segment that brings something new and ends at `end`. What no one reads is not verified:
    /// nothing depends on it.
    pub(in crate::tcp) fn soundness(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        known: bool,
        end: i64,
        shared: &mut TableShared,
    ) -> Soundness {
        let unread = self.analyzer.as_ref().map_or(0, |analyzer| analyzer.unread(from));
        let (own, opposite) = split(&mut self.streams, from);
        if own.is_unread(end, unread) && !segment.flags.fin() {
            return Soundness::Sound;
        }
        let wrong = is_wrong(own, segment, shared);
        match (wrong, opposite.seen()) {
            (true, true) if known => Soundness::Doubtful,
            (true, false) if own.has_right_sums() => Soundness::Dropped,
            _ => Soundness::Sound,
        }
    }

    /// A segment with a wrong checksum: its receiver says whether it took it. A FIN on it comes again.
    pub(in crate::tcp) fn on_doubtful(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        place: SegmentPlace,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) -> SegmentVerdict {
        let (_, opposite) = split(&mut self.streams, from);
        let ack = if segment.flags.ack() { opposite.offset_of(segment.ack) } else { None };
        let (bytes, wire) = (segment.payload, wire_len(segment));
        if let SegmentPlace::At(offset) = place
            && wire > 0
        {
            let piece = SegmentPiece { offset: 0, bytes, wire, at: segment.at, ack };
            let (stream, mut outlet) = self.way_out(from, None, index, shared, context);
            stream.on_doubtful_bytes(offset, piece, &mut outlet);
            self.settle(segment.at, false, index, shared, context);
        }
        SegmentVerdict::Refuse
    }

    /// How the connection ended in truth: a RST that nothing contradicted is what ended it, whatever was noticed later, and so
    /// are two FINs.
    pub(in crate::tcp) fn outcome(&mut self, at: Timestamp, reason: CloseReason) -> (Timestamp, CloseReason) {
        if self.streams.iter().all(|stream| stream.ended) {
            return (at, CloseReason::Closed);
        }
        let unfollowed = |reset: &DoubtfulReset| reset.exact || self.last_seen <= reset.at;
        let reset = if self.reset().is_some_and(unfollowed) { self.take_reset() } else { None };
        match reset {
            Some(reset) if reason != CloseReason::Evicted => {
                self.reset_by_peer = true;
                (reset.at, CloseReason::Reset(reset.from))
            }
            _ => (at, reason),
        }
    }
}
