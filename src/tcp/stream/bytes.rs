//! The bytes of a stream: passed on in order, held while they are early, given up when they are lost.

use super::super::disorder::{Fin, Over, SegmentPiece, StreamDisorder};
use super::super::outlet::StreamOutlet;
use super::super::{Analyzer, GapCause};
use super::ByteStream;
use crate::flow::Timestamp;
use crate::ledger::Discard;

impl ByteStream {
    /// Takes the bytes of a segment at `offset`; those before the stream's origin or its next offset are counted and left.
    #[inline]
    pub(in crate::tcp) fn on_bytes<A: Analyzer>(
        &mut self,
        offset: i64,
        piece: SegmentPiece<'_>,
        outlet: &mut StreamOutlet<'_, A>,
    ) {
        let whole = piece.bytes.len() as u64 == piece.wire;
        let in_turn = self.disorder.is_none() && !self.ended && !outlet.is_early(piece.ack);
        if offset == self.next.cast_signed() && whole && in_turn {
            self.next += piece.wire;
            outlet.data(&mut self.recent, piece.at, offset.cast_unsigned(), piece.ack, piece.bytes);
        } else {
            self.on_odd_bytes(offset, piece, outlet);
        }
    }

    fn on_odd_bytes<A: Analyzer>(&mut self, offset: i64, piece: SegmentPiece<'_>, outlet: &mut StreamOutlet<'_, A>) {
        let piece = self.after_origin(offset, piece, outlet);
        let fresh = piece.from(self.next);
        let old = piece.bytes.get(..piece.bytes.len() - fresh.bytes.len()).unwrap_or_default();
        self.count_old(piece.offset, old, outlet);
        if fresh.wire == 0 {
            return;
        }
        if self.ended {
            outlet.shared.discard(Discard::Closed, fresh.bytes.len());
            return;
        }
        let next = self.next;
        let clear = self.disorder.as_ref().is_none_or(|d| d.is_clear(next, fresh.end()));
        if fresh.offset == next && clear && !outlet.is_early(fresh.ack) {
            self.pass_on(fresh, outlet);
        } else {
            self.disorder(fresh.at).hold(&fresh, outlet);
        }
        if fresh.offset <= self.next
            && let Some(disorder) = &mut self.disorder
        {
            disorder.moved(fresh.at);
        }
    }

    /// Keeps the bytes of a segment that its receiver may have dropped, until that is known.
    pub(in crate::tcp) fn on_doubtful_bytes<A: Analyzer>(
        &mut self,
        offset: i64,
        piece: SegmentPiece<'_>,
        outlet: &mut StreamOutlet<'_, A>,
    ) {
        let piece = self.after_origin(offset, piece, outlet);
        let fresh = piece.from(self.next);
        outlet.shared.discard(Discard::Refused, piece.bytes.len() - fresh.bytes.len());
        if self.ended || fresh.wire == 0 {
            outlet.shared.discard(Discard::Refused, fresh.bytes.len());
        } else {
            self.disorder(fresh.at).hold_doubtful(&fresh, outlet);
        }
    }

    /// The part of a piece at or after the origin.
    fn after_origin<'a, A: Analyzer>(
        &self,
        offset: i64,
        piece: SegmentPiece<'a>,
        outlet: &mut StreamOutlet<'_, A>,
    ) -> SegmentPiece<'a> {
        let before = u64::try_from(-offset).unwrap_or(0).min(piece.wire);
        let cut = SegmentPiece { offset: 0, ..piece }.from(before);
        // A byte in the place of the SYN is a keep-alive's; else we joined late, after these bytes.
        let why = if self.syn { Discard::NotData } else { Discard::OutOfWindow };
        outlet.shared.discard(why, piece.bytes.len() - cut.bytes.len());
        SegmentPiece { offset: u64::try_from(offset).unwrap_or(0), ..cut }
    }

    /// Counts bytes from `offset` on that come after their place was passed.
    fn count_old<A: Analyzer>(&self, offset: u64, bytes: &[u8], outlet: &mut StreamOutlet<'_, A>) {
        let captured = bytes.len();
        let end = offset + captured as u64;
        let late = self.disorder.as_ref().map_or(0, |d| d.too_late(offset, end));
        let late = usize::try_from(late).unwrap_or(captured).min(captured);
        outlet.shared.discard(Discard::OutOfWindow, late);
        outlet.duplicate(captured - late);
        // Who asks whether the peer is there may send any byte in the place of the last one (RFC 9293 §3.8.4).
        if captured > 1 || end != self.next {
            outlet.conflict(outlet.shared.recent.differing(self.recent, offset, bytes));
        }
    }

    /// Passes on a piece that starts at the next offset.
    fn pass_on<A: Analyzer>(&mut self, piece: SegmentPiece<'_>, outlet: &mut StreamOutlet<'_, A>) {
        let captured = piece.bytes.len() as u64;
        self.next = piece.end();
        outlet.data(&mut self.recent, piece.at, piece.offset, piece.ack, piece.bytes);
        outlet.gap(piece.at, piece.offset + captured, piece.wire - captured, GapCause::Cut);
    }

    /// A FIN that follows the byte before `offset`. Unless it is `sure` it waits for its acknowledgement: a receiver may
    /// never have got it, and then more follows.
    pub(in crate::tcp) fn on_fin<A: Analyzer>(
        &mut self,
        offset: i64,
        at: Timestamp,
        sure: bool,
        outlet: &mut StreamOutlet<'_, A>,
    ) {
        let Ok(offset) = u64::try_from(offset) else { return };
        if self.ended || offset < self.next {
            return;
        }
        let proven = self.acked > offset;
        let fin = Fin { offset, at, sure: sure || proven, proven };
        if sure && offset == self.next && self.disorder.is_none() {
            self.end(fin, outlet);
        } else {
            self.disorder(at).note_fin(fin);
        }
    }

    fn end<A: Analyzer>(&mut self, Fin { at, proven, .. }: Fin, outlet: &mut StreamOutlet<'_, A>) {
        self.ended = true;
        self.end_proven = proven;
        self.acked = self.acked.min(self.next);
        outlet.end(at);
    }

    /// How far it has come.
    fn progress(&self) -> (u64, bool) {
        (self.next, self.ended)
    }

    /// One more segment of the connection was seen.
    pub(in crate::tcp) fn count_segment(&mut self) {
        if let Some(disorder) = &mut self.disorder {
            disorder.count_segment();
        }
    }

    /// Passes on what has become contiguous, and declares a hole that is lost by now. True when the stream moved.
    pub(in crate::tcp) fn settle<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut StreamOutlet<'_, A>) -> bool {
        let before = self.progress();
        self.with_disorder(outlet, |stream, disorder, outlet| {
            stream.settle_doubts(now, false, disorder, outlet);
            disorder.outwait_fin(stream.next, now);
            stream.drain(disorder, outlet);
            disorder.ripen(stream.acked, now, &outlet.shared.limits);
            if !stream.ended
                && let Some(end) = disorder.lost_until(stream.next, stream.acked, now, &outlet.shared.limits)
            {
                stream.give_up(end, now, disorder, outlet);
            }
            while disorder.cost() > outlet.shared.limits.held_per_stream {
                stream.make_room(now, disorder, outlet);
            }
        });
        self.progress() != before
    }

    /// Gives up the holes until nothing is held.
    pub(in crate::tcp) fn release<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut StreamOutlet<'_, A>) {
        self.with_disorder(outlet, |stream, disorder, outlet| {
            while disorder.cost() > 0 {
                stream.make_room(now, disorder, outlet);
            }
        });
    }

    /// Whether what is held is still what began as `id`.
    pub(in crate::tcp) fn holds_as(&self, id: u64) -> bool {
        self.disorder.as_ref().is_some_and(|d| d.holds_as(id))
    }

    /// No more segments will come: the first hole is lost. True when there was one, or something else was passed on.
    pub(in crate::tcp) fn flush<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut StreamOutlet<'_, A>) -> bool {
        let before = self.progress();
        self.with_disorder(outlet, |stream, disorder, outlet| {
            stream.settle_doubts(now, true, disorder, outlet);
            disorder.fin = disorder.fin.map(|fin| Fin { sure: true, ..fin });
            stream.drain(disorder, outlet);
            let proven = (stream.acked > stream.next + 1).then_some(stream.acked);
            let hole = disorder.obstacle().map(|(offset, _)| offset).or(proven).filter(|end| *end > stream.next);
            if let Some(end) = hole.filter(|_| !stream.ended) {
                stream.give_up(end, now, disorder, outlet);
            }
        });
        self.progress() != before
    }

    /// The first held chunk has waited long enough for the opposite stream.
    pub(in crate::tcp) fn has_waited<A: Analyzer>(&self, now: Timestamp, outlet: &StreamOutlet<'_, A>) -> bool {
        self.disorder.as_ref().is_some_and(|d| d.has_waited(now, outlet))
    }

    /// Passes on one chunk that waits for the opposite stream. False: none does.
    pub(in crate::tcp) fn insist<A: Analyzer>(&mut self, outlet: &mut StreamOutlet<'_, A>) -> bool {
        let before = self.progress();
        self.with_disorder(outlet, |stream, disorder, outlet| {
            if !disorder.is_at_fin(stream.next) && stream.pass_on_first(disorder, outlet) {
                stream.drain(disorder, outlet);
            }
        });
        self.progress() != before
    }

    /// Takes or leaves what was doubtful, as far as that is decided; all of it when it is `over`.
    fn settle_doubts<A: Analyzer>(
        &mut self,
        now: Timestamp,
        over: bool,
        disorder: &mut StreamDisorder,
        outlet: &mut StreamOutlet<'_, A>,
    ) {
        let over = Over { last: over, longest_right: self.longest_right };
        while let Some((chunk, taken)) = disorder.decided((self.next, self.acked), now, over, outlet) {
            if !taken || self.ended {
                outlet.shared.discard(Discard::Refused, chunk.captured());
                continue;
            }
            // No checksum fitted so far, and the receiver minds it not: they are left to hardware that the tap is before.
            self.sums_lie |= !self.has_right_sums() && self.acked >= chunk.piece().end();
            let piece = chunk.piece();
            let fresh = piece.from(self.next);
            outlet.shared.discard(Discard::Refused, piece.bytes.len() - fresh.bytes.len());
            if fresh.offset == self.next && disorder.is_clear(self.next, fresh.end()) && !outlet.is_early(fresh.ack) {
                self.pass_on(fresh, outlet);
                disorder.moved(now);
                self.drain(disorder, outlet);
            } else {
                disorder.hold(&fresh, outlet);
            }
        }
    }

    /// Runs `act` with the disorder taken out, and puts it back while it matters.
    fn with_disorder<A: Analyzer>(
        &mut self,
        outlet: &mut StreamOutlet<'_, A>,
        act: impl FnOnce(&mut Self, &mut StreamDisorder, &mut StreamOutlet<'_, A>),
    ) {
        if let Some(mut disorder) = self.disorder.take() {
            act(self, &mut disorder, outlet);
            if !disorder.is_calm(self.next, self.acked) {
                self.disorder = Some(disorder);
            }
        }
    }

    /// The hole from the next offset to `end` is lost.
    fn give_up<A: Analyzer>(
        &mut self,
        end: u64,
        now: Timestamp,
        disorder: &mut StreamDisorder,
        outlet: &mut StreamOutlet<'_, A>,
    ) {
        disorder.remember_gap(self.next, end);
        outlet.gap(now, self.next, end - self.next, GapCause::Lost);
        self.next = end;
        self.drain(disorder, outlet);
    }

    /// Holds less: gives up the first hole. But where the receiver is heard and has not got that hole either, the hole may
    /// be larger than all that lies behind it. Then jumping would lose more than it saves (and is what a forger wants).
    fn make_room<A: Analyzer>(
        &mut self,
        now: Timestamp,
        disorder: &mut StreamDisorder,
        outlet: &mut StreamOutlet<'_, A>,
    ) {
        if disorder.discard_doubtful(outlet) {
            return;
        }
        let first = disorder.first_held().unwrap_or(self.next);
        let hole = first - self.next;
        if hole == 0 && !disorder.is_at_fin(self.next) {
            // Not for want of a byte here: for want of the opposite stream's.
            self.pass_on_first(disorder, outlet);
            return self.drain(disorder, outlet);
        }
        // A FIN that no one acknowledges may be in front of it.
        if hole == 0 || (outlet.answered && self.acked <= self.next && hole > disorder.cost() as u64) {
            disorder.discard_held(Discard::Limit, outlet);
        } else {
            self.give_up(first, now, disorder, outlet);
        }
    }

    /// Passes on the first held chunk, if it is next.
    fn pass_on_first<A: Analyzer>(&mut self, disorder: &mut StreamDisorder, outlet: &mut StreamOutlet<'_, A>) -> bool {
        let chunk = disorder.take_at(self.next, outlet);
        if let Some(chunk) = &chunk {
            self.pass_on(chunk.piece(), outlet);
        }
        chunk.is_some()
    }

    /// Passes on what is held and in turn.
    fn drain<A: Analyzer>(&mut self, disorder: &mut StreamDisorder, outlet: &mut StreamOutlet<'_, A>) {
        while !disorder.is_at_fin(self.next) && !disorder.is_early(outlet) && self.pass_on_first(disorder, outlet) {}
        match disorder.fin {
            Some(fin) if fin.offset == self.next && fin.sure => {
                disorder.fin = None;
                disorder.discard_held(Discard::Closed, outlet);
                self.end(fin, outlet);
            }
            Some(fin) if fin.offset < self.next => disorder.fin = None,
            Some(_) | None => {}
        }
    }
}
