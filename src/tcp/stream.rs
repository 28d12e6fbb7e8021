//! One direction of a connection: its bytes in order, lent where they come in order.
//!
//! Believes that a segment belongs here; whether to believe it is asked first ([`Stream::place`]), by `connection`.

use super::disorder::{Disorder, Fin, Over, Piece};
use super::offset::nearest;
use super::outlet::Outlet;
use super::{Analyzer, GapCause};
use crate::flow::Timestamp;
use crate::ledger::Discard;

/// How far from what is known of a stream a segment may lie to be believed at once. TCP allows 1 GiB (RFC 7323 §2.3), but
/// no one has that in flight, and one of four blind guesses would fall into it; what goes farther must be proven by the
/// other side.
pub(super) const WINDOW: i64 = 64 << 20;
/// The same for a RST: what is farther is none of this connection's.
const RESET_WINDOW: i64 = 1 << 20;
/// No gap is larger: beyond it is another connection.
const MAX_LEAD: i64 = 1 << 30;

/// Where a segment lies.
pub(super) enum Place {
    /// At this offset; negative: before the origin.
    At(i64),
    /// The stream's origin is unknown, and this segment does not tell it.
    Nowhere,
    /// Far outside the window.
    Stray,
}

/// Where a RST lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResetPlace {
    /// Where its receiver believes it (RFC 5961 §3.2), as far as is known.
    Exact,
    /// Near it: a receiver asks back before it believes that. But so a RST looks too whose sender's last bytes the capture
    /// lost.
    Near,
    /// Far from it.
    Far,
}

/// What an acknowledgement says about the stream it acknowledges.
pub(super) enum Acked {
    /// All before this offset.
    Until(u64),
    /// Nothing believable.
    Implausible,
    /// The stream is where its stray segments were, proven by its receiver.
    Strays,
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Stream {
    /// Sequence number of offset 0; meaningful when `known`.
    origin: u32,
    known: bool,
    /// Its SYN was seen.
    pub(super) syn: bool,
    /// A segment other than a SYN was seen and believed.
    pub(super) talked: bool,
    /// FIN, in order.
    pub(super) ended: bool,
    /// That FIN was acknowledged.
    end_proven: bool,
    /// Bytes of the longest segment, at least 1, whose checksum was right or left to the hardware. 0: none was.
    longest_right: u16,
    /// Checksums mean nothing here: the receiver takes segments with wrong ones.
    pub(super) sums_lie: bool,
    /// Number of the last piece among the recent ones.
    recent: u32,
    /// All before was passed on or declared lost.
    next: u64,
    /// Greatest believable acknowledgement.
    acked: u64,
    disorder: Option<Box<Disorder>>,
}

impl Stream {
    /// Any segment of this direction was believed.
    pub(super) fn seen(&self) -> bool {
        self.syn || self.talked
    }

    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Offset 0 has the sequence number `origin`.
    pub(super) fn learn(&mut self, origin: u32) {
        self.origin = origin;
        self.known = true;
    }

    pub(super) fn starts_at(&self, origin: u32) -> bool {
        self.known && self.origin == origin
    }

    pub(super) fn origin(&self) -> Option<u32> {
        self.known.then_some(self.origin)
    }

    /// Nothing was passed on, held or proven yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.next == 0 && self.acked == 0 && self.disorder.is_none() && !self.ended
    }

    /// Nothing is out of order, missing or doubtful.
    #[inline]
    pub(super) fn is_orderly(&self) -> bool {
        self.disorder.is_none()
    }

    /// Its FIN was seen, and nothing is missing before it.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended || self.disorder.as_ref().is_some_and(|d| d.is_at_fin(self.next))
    }

    /// A FIN was seen, in order or not.
    fn fin_seen(&self) -> bool {
        self.ended || self.disorder.as_ref().is_some_and(|d| d.fin.is_some())
    }

    /// How far it was passed on, when it is heard and has not ended: what its receiver acknowledged beyond that comes yet,
    /// or is given up.
    #[inline]
    pub(super) fn awaited(&self) -> Option<u64> {
        (self.seen() && !self.ended).then_some(self.next)
    }

    /// The farthest offset that is certain to exist.
    fn edge(&self) -> i64 {
        let held = self.disorder.as_ref().map_or(0, |d| d.edge());
        self.next.max(self.acked).max(held).cast_signed()
    }

    /// Where a segment of `len` sequence numbers from `seq` lies; gives the origin if none is known.
    pub(super) fn place(&mut self, seq: u32, len: i64) -> Place {
        if !self.known {
            if len == 0 {
                // Without bytes it may be a keep-alive, which lies one before.
                return Place::Nowhere;
            }
            self.learn(seq);
        }
        let offset = nearest(self.origin, seq, self.next);
        let next = self.next.cast_signed();
        if offset == next || (offset >= next - WINDOW && offset + len <= self.edge() + WINDOW) {
            Place::At(offset)
        } else {
            Place::Stray
        }
    }

    /// Where a RST with `seq` lies, and its offset. A receiver takes it at the next byte it expects, at the end of what it
    /// holds out of order, and behind a FIN.
    pub(super) fn place_reset(&self, seq: u32) -> (ResetPlace, i64) {
        let offset = nearest(self.origin, seq, self.next);
        let (next, edge) = (self.next.cast_signed(), self.edge());
        let behind_fin = self.fin_seen() && offset == edge + 1;
        let exact = !self.known || behind_fin || [next, edge, self.acked.cast_signed().max(next)].contains(&offset);
        let place = match () {
            () if exact => ResetPlace::Exact,
            () if (next - RESET_WINDOW..=edge + RESET_WINDOW).contains(&offset) => ResetPlace::Near,
            () => ResetPlace::Far,
        };
        (place, offset)
    }

    /// Whether `seq` lies where this stream is.
    pub(super) fn is_near(&self, seq: u32) -> bool {
        let offset = nearest(self.origin, seq, self.next);
        self.known && (self.next.cast_signed() - WINDOW..=self.edge() + WINDOW).contains(&offset)
    }

    /// Whether `len` bytes from `seq` on begin with the next byte, or have it among them.
    pub(super) fn is_continued_by(&self, seq: u32, len: u64) -> bool {
        let ahead = nearest(self.origin, seq, self.next) - self.next.cast_signed();
        self.known && ahead <= 0 && ahead + len.cast_signed() >= 0
    }

    /// Whether bytes come behind a FIN that no one acknowledged: it was none.
    pub(super) fn contradicts_end(&self, offset: i64) -> bool {
        self.ended && !self.end_proven && self.is_ahead(offset)
    }

    /// Whether a piece that ends at `end` does so among the next `unread` bytes, and not with the last of them.
    pub(super) fn is_unread(&self, end: i64, unread: u64) -> bool {
        unread > 0 && self.is_orderly() && end < i64::try_from(self.next.saturating_add(unread)).unwrap_or(i64::MAX)
    }

    /// Whether checksums of the stream mean something: one was right, or left to the hardware.
    pub(super) fn has_right_sums(&self) -> bool {
        self.longest_right > 0
    }

    /// Notes a segment of `len` bytes whose checksum is right, or left to the hardware.
    pub(super) fn note_right_sum(&mut self, len: u64) {
        self.longest_right = self.longest_right.max(u16::try_from(len.max(1)).unwrap_or(u16::MAX));
    }

    /// Whether a piece that ends at `end` brings anything new.
    pub(super) fn is_fresh(&self, end: i64) -> bool {
        end > self.next.cast_signed()
    }

    /// Whether a piece that ends at `end` brings something that is neither passed on nor acknowledged.
    pub(super) fn is_unheard(&self, end: i64) -> bool {
        end > self.next.max(self.acked).cast_signed()
    }

    /// The offset of an acknowledgement number, where the origin is known; it is not judged.
    pub(super) fn offset_of(&self, ack: u32) -> Option<u64> {
        let offset = nearest(self.origin, ack, self.next);
        u64::try_from(offset).ok().filter(|_| self.known)
    }

    /// Whether `ack` acknowledges nothing but what was sent: the SYN, perhaps bytes and a FIN.
    pub(super) fn has_sent(&self, ack: u32) -> bool {
        let edge = self.edge() + i64::from(self.fin_seen());
        self.known && (0..=edge).contains(&nearest(self.origin, ack, self.next))
    }

    /// Whether `offset` lies at or after all that was passed on.
    pub(super) fn is_ahead(&self, offset: i64) -> bool {
        offset >= self.next.cast_signed()
    }

    /// What an acknowledgement number of the opposite side means here; gives the origin if none is known.
    pub(super) fn read_ack(&mut self, ack: u32) -> Acked {
        if !self.known {
            self.learn(ack);
        }
        let offset = nearest(self.origin, ack, self.next);
        let next = self.next.cast_signed();
        if (next - WINDOW..=next).contains(&offset) {
            return Acked::Until(u64::try_from(offset).unwrap_or(0));
        }
        if offset > next && offset <= self.edge() + WINDOW && offset - next <= MAX_LEAD {
            return Acked::Until(self.without_fin(offset.cast_unsigned()));
        }
        match self.disorder.as_ref().is_some_and(|d| d.strays_acknowledged(ack)) {
            true => Acked::Strays,
            false => Acked::Implausible,
        }
    }

    /// The FIN takes a sequence number, but is no byte.
    fn without_fin(&mut self, offset: u64) -> u64 {
        if self.ended {
            self.end_proven |= offset > self.next;
            return offset.min(self.next);
        }
        self.disorder.as_mut().map_or(offset, |d| d.weigh_fin(offset))
    }

    /// The opposite side acknowledged up to `offset`, in a segment that is believed.
    pub(super) fn on_ack(&mut self, offset: u64, at: Timestamp) {
        if offset > self.next {
            self.acked = self.acked.max(offset);
            let (next, acked) = (self.next, self.acked);
            self.disorder(at).acknowledged(next, acked, at);
        } else if let Some(disorder) = &mut self.disorder {
            disorder.receiver_waits(at);
        }
    }

    /// Notes a segment far outside the window; true when strays alone must be believed, as no one acknowledges.
    pub(super) fn note_stray(&mut self, seq: u32, len: u32, at: Timestamp) -> bool {
        len > 0 && self.disorder(at).note_stray(seq, len)
    }

    /// Goes on where the stray segments were. False: that is not this connection any more.
    pub(super) fn follow_strays(&mut self, at: Timestamp) -> bool {
        let next = self.next;
        // Behind them: their bytes were not kept.
        let Some(end) = self.disorder(at).take_strays() else { return false };
        let offset = nearest(self.origin, end, next);
        let lead = offset - next.cast_signed();
        if !(0..=MAX_LEAD).contains(&lead) || self.ended {
            return false;
        }
        self.on_ack(offset.cast_unsigned(), at);
        true
    }

    /// Takes the bytes of a segment at `offset`; those before the stream's origin or its next offset are counted and left.
    #[inline]
    pub(super) fn on_bytes<A: Analyzer>(&mut self, offset: i64, piece: Piece<'_>, outlet: &mut Outlet<'_, A>) {
        let whole = piece.bytes.len() as u64 == piece.wire;
        let in_turn = self.disorder.is_none() && !self.ended && !outlet.is_early(piece.ack);
        if offset == self.next.cast_signed() && whole && in_turn {
            self.next += piece.wire;
            outlet.data(&mut self.recent, piece.at, offset.cast_unsigned(), piece.ack, piece.bytes);
        } else {
            self.on_odd_bytes(offset, piece, outlet);
        }
    }

    fn on_odd_bytes<A: Analyzer>(&mut self, offset: i64, piece: Piece<'_>, outlet: &mut Outlet<'_, A>) {
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
    pub(super) fn on_doubtful_bytes<A: Analyzer>(&mut self, offset: i64, piece: Piece<'_>, outlet: &mut Outlet<'_, A>) {
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
    fn after_origin<'a, A: Analyzer>(&self, offset: i64, piece: Piece<'a>, outlet: &mut Outlet<'_, A>) -> Piece<'a> {
        let before = u64::try_from(-offset).unwrap_or(0).min(piece.wire);
        let cut = Piece { offset: 0, ..piece }.from(before);
        // A byte in the place of the SYN is a keep-alive's; else we joined late, after these bytes.
        let why = if self.syn { Discard::NotData } else { Discard::OutOfWindow };
        outlet.shared.discard(why, piece.bytes.len() - cut.bytes.len());
        Piece { offset: u64::try_from(offset).unwrap_or(0), ..cut }
    }

    /// Counts bytes from `offset` on that come after their place was passed.
    fn count_old<A: Analyzer>(&self, offset: u64, bytes: &[u8], outlet: &mut Outlet<'_, A>) {
        let captured = bytes.len();
        let end = offset + captured as u64;
        let late = self.disorder.as_ref().map_or(0, |d| d.too_late(offset, end));
        let late = usize::try_from(late).unwrap_or(captured).min(captured);
        outlet.shared.discard(Discard::OutOfWindow, late);
        outlet.duplicate(captured - late);
        outlet.conflict(outlet.shared.recent.differing(self.recent, offset, bytes));
    }

    /// Passes on a piece that starts at the next offset.
    fn pass_on<A: Analyzer>(&mut self, piece: Piece<'_>, outlet: &mut Outlet<'_, A>) {
        let captured = piece.bytes.len() as u64;
        self.next = piece.end();
        outlet.data(&mut self.recent, piece.at, piece.offset, piece.ack, piece.bytes);
        outlet.gap(piece.at, piece.offset + captured, piece.wire - captured, GapCause::Cut);
    }

    /// A FIN that follows the byte before `offset`. Unless it is `sure` it waits for its acknowledgement: a receiver may
    /// never have got it, and then more follows.
    pub(super) fn on_fin<A: Analyzer>(&mut self, offset: i64, at: Timestamp, sure: bool, outlet: &mut Outlet<'_, A>) {
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

    fn end<A: Analyzer>(&mut self, Fin { at, proven, .. }: Fin, outlet: &mut Outlet<'_, A>) {
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
    pub(super) fn count_segment(&mut self) {
        if let Some(disorder) = &mut self.disorder {
            disorder.count_segment();
        }
    }

    /// Passes on what has become contiguous, and declares a hole that is lost by now. True when the stream moved.
    pub(super) fn settle<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut Outlet<'_, A>) -> bool {
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
    pub(super) fn release<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut Outlet<'_, A>) {
        self.with_disorder(outlet, |stream, disorder, outlet| {
            while disorder.cost() > 0 {
                stream.make_room(now, disorder, outlet);
            }
        });
    }

    /// Whether what is held is still what began as `id`.
    pub(super) fn holds_as(&self, id: u64) -> bool {
        self.disorder.as_ref().is_some_and(|d| d.holds_as(id))
    }

    /// No more segments will come: the first hole is lost. True when there was one, or something else was passed on.
    pub(super) fn flush<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut Outlet<'_, A>) -> bool {
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
    pub(super) fn has_waited<A: Analyzer>(&self, now: Timestamp, outlet: &Outlet<'_, A>) -> bool {
        self.disorder.as_ref().is_some_and(|d| d.has_waited(now, outlet))
    }

    /// Passes on one chunk that waits for the opposite stream. False: none does.
    pub(super) fn insist<A: Analyzer>(&mut self, outlet: &mut Outlet<'_, A>) -> bool {
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
        disorder: &mut Disorder,
        outlet: &mut Outlet<'_, A>,
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

    /// Number of the last piece among the recent ones.
    pub(super) fn recent(&self) -> u32 {
        self.recent
    }

    /// Has the origin of another stream, and nothing else of it.
    pub(super) fn begin_as(&mut self, other: &Self) {
        *self = Self { origin: other.origin, known: other.known, syn: other.syn, ..Self::default() };
    }

    /// How far the doubtful bytes acknowledge the opposite stream that are confirmed by now.
    pub(super) fn confirmed_ack(&self) -> Option<u64> {
        self.disorder.as_ref()?.confirmed_ack(self.acked)
    }

    /// Whether an acknowledgement decides something here.
    pub(super) fn awaits_answer(&self) -> bool {
        self.disorder.as_ref().is_some_and(|d| d.awaits_answer())
    }

    /// Runs `act` with the disorder taken out, and puts it back while it matters.
    fn with_disorder<A: Analyzer>(
        &mut self,
        outlet: &mut Outlet<'_, A>,
        act: impl FnOnce(&mut Self, &mut Disorder, &mut Outlet<'_, A>),
    ) {
        if let Some(mut disorder) = self.disorder.take() {
            act(self, &mut disorder, outlet);
            if !disorder.is_calm(self.next, self.acked) {
                self.disorder = Some(disorder);
            }
        }
    }

    /// The hole from the next offset to `end` is lost.
    fn give_up<A: Analyzer>(&mut self, end: u64, now: Timestamp, disorder: &mut Disorder, outlet: &mut Outlet<'_, A>) {
        disorder.remember_gap(self.next, end);
        outlet.gap(now, self.next, end - self.next, GapCause::Lost);
        self.next = end;
        self.drain(disorder, outlet);
    }

    /// Holds less: gives up the first hole. But where the receiver is heard and has not got that hole either, and the hole
    /// is larger than all that lies behind it, jumping would lose more than it saves (and is what a forger wants).
    fn make_room<A: Analyzer>(&mut self, now: Timestamp, disorder: &mut Disorder, outlet: &mut Outlet<'_, A>) {
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
    fn pass_on_first<A: Analyzer>(&mut self, disorder: &mut Disorder, outlet: &mut Outlet<'_, A>) -> bool {
        let chunk = disorder.take_at(self.next, outlet);
        if let Some(chunk) = &chunk {
            self.pass_on(chunk.piece(), outlet);
        }
        chunk.is_some()
    }

    /// Passes on what is held and in turn.
    fn drain<A: Analyzer>(&mut self, disorder: &mut Disorder, outlet: &mut Outlet<'_, A>) {
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

    fn disorder(&mut self, at: Timestamp) -> &mut Disorder {
        self.disorder.get_or_insert_with(|| Box::new(Disorder::new(at)))
    }
}
