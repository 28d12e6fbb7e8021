//! One direction of a connection: its bytes in order, lent where they come in order.
//!
//! Believes that a segment belongs here; whether to believe it is asked first ([`Stream::place`]), by `connection`.

use super::disorder::{Disorder, Fin, Piece};
use super::offset::nearest;
use super::outlet::Outlet;
use super::{Analyzer, GapCause};
use crate::flow::Timestamp;
use crate::ledger::Discard;

/// How far from what is known of a stream a segment may lie to be believed at once. TCP allows 1 GiB (RFC 7323 §2.3), but
/// nobody has that in flight, and one of four blind guesses would fall into it; what goes farther must be proven by the
/// other side.
pub(super) const WINDOW: i64 = 64 << 20;
/// The same for a RST, which ends everything. The receiver wants an exact match (RFC 5961 §3); we may have missed bytes.
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

    /// A FIN was seen, in order or not.
    pub(super) fn fin_seen(&self) -> bool {
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

    /// Where a segment of `len` sequence numbers from `seq` lies; tells the origin if none is known.
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

    /// Whether a RST with `seq` may be the peer's.
    pub(super) fn accepts_reset(&self, seq: u32) -> bool {
        let offset = nearest(self.origin, seq, self.next);
        let near = self.next.cast_signed() - RESET_WINDOW..=self.edge() + RESET_WINDOW;
        !self.known || near.contains(&offset)
    }

    /// Whether `ack` acknowledges nothing but what was sent: the SYN, and perhaps bytes.
    pub(super) fn has_sent(&self, ack: u32) -> bool {
        self.known && (0..=self.edge()).contains(&nearest(self.origin, ack, self.next))
    }

    /// Stands where a RST with `seq` says its sender was.
    pub(super) fn skip_to(&mut self, seq: u32) {
        let offset = nearest(self.origin, seq, self.next);
        self.next = self.next.max(u64::try_from(offset).unwrap_or(0));
    }

    /// Whether `offset` lies at or after all that was passed on.
    pub(super) fn is_ahead(&self, offset: i64) -> bool {
        offset >= self.next.cast_signed()
    }

    /// What an acknowledgement number of the opposite side means here; tells the origin if none is known.
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
    fn without_fin(&self, offset: u64) -> u64 {
        let fin = self.disorder.as_ref().and_then(|d| d.fin).map_or(u64::MAX, |f| f.offset);
        offset.min(if self.ended { self.next } else { fin })
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

    /// Notes a segment far outside the window; true when strays alone must be believed, as nobody acknowledges.
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
            outlet.data(piece.at, offset.cast_unsigned(), piece.ack, piece.bytes);
        } else {
            self.on_odd_bytes(offset, piece, outlet);
        }
    }

    fn on_odd_bytes<A: Analyzer>(&mut self, offset: i64, piece: Piece<'_>, outlet: &mut Outlet<'_, A>) {
        let piece = self.after_origin(offset, piece, outlet);
        let fresh = piece.from(self.next);
        self.count_old(piece.offset, piece.bytes.len() - fresh.bytes.len(), outlet);
        if fresh.wire == 0 {
            return;
        }
        if self.ended {
            outlet.shared.discard(Discard::Closed, fresh.bytes.len());
            return;
        }
        let first_held = self.disorder.as_ref().and_then(|d| d.first_held());
        let in_turn = fresh.offset == self.next && !outlet.is_early(fresh.ack);
        if in_turn && first_held.is_none_or(|held| fresh.end() <= held) {
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

    /// The part of a piece at or after the origin.
    fn after_origin<'a, A: Analyzer>(&self, offset: i64, piece: Piece<'a>, outlet: &mut Outlet<'_, A>) -> Piece<'a> {
        let before = u64::try_from(-offset).unwrap_or(0).min(piece.wire);
        let cut = Piece { offset: 0, ..piece }.from(before);
        // A byte in the place of the SYN is a keep-alive's; else we joined late, after these bytes.
        let why = if self.syn { Discard::NotData } else { Discard::OutOfWindow };
        outlet.shared.discard(why, piece.bytes.len() - cut.bytes.len());
        Piece { offset: u64::try_from(offset).unwrap_or(0), ..cut }
    }

    /// Counts `captured` bytes from `offset` that come after their place was passed.
    fn count_old<A: Analyzer>(&self, offset: u64, captured: usize, outlet: &mut Outlet<'_, A>) {
        let end = offset + captured as u64;
        let late = self.disorder.as_ref().map_or(0, |d| d.too_late(offset, end));
        let late = usize::try_from(late).unwrap_or(captured).min(captured);
        outlet.shared.discard(Discard::OutOfWindow, late);
        outlet.duplicate(captured - late);
    }

    /// Passes on a piece that starts at the next offset.
    fn pass_on<A: Analyzer>(&mut self, piece: Piece<'_>, outlet: &mut Outlet<'_, A>) {
        let captured = piece.bytes.len() as u64;
        self.next = piece.end();
        outlet.data(piece.at, piece.offset, piece.ack, piece.bytes);
        outlet.gap(piece.at, piece.offset + captured, piece.wire - captured, GapCause::Cut);
    }

    /// A FIN that follows the byte before `offset`.
    pub(super) fn on_fin<A: Analyzer>(&mut self, offset: i64, at: Timestamp, outlet: &mut Outlet<'_, A>) {
        let Ok(offset) = u64::try_from(offset) else { return };
        if self.ended || offset < self.next {
            return;
        }
        if offset == self.next && self.disorder.is_none() {
            self.end(at, outlet);
        } else {
            self.disorder(at).fin.get_or_insert(Fin { offset, at });
        }
    }

    fn end<A: Analyzer>(&mut self, at: Timestamp, outlet: &mut Outlet<'_, A>) {
        self.ended = true;
        self.acked = self.acked.min(self.next);
        outlet.end(at);
    }

    /// One more segment of the connection was seen.
    pub(super) fn count_segment(&mut self) {
        if let Some(disorder) = &mut self.disorder {
            disorder.count_segment();
        }
    }

    /// Passes on what has become contiguous, and declares a hole that is lost by now. True when the stream moved.
    pub(super) fn settle<A: Analyzer>(&mut self, now: Timestamp, outlet: &mut Outlet<'_, A>) -> bool {
        let before = self.next;
        self.with_disorder(outlet, |stream, disorder, outlet| {
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
        self.next > before
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
        let before = self.next;
        self.with_disorder(outlet, |stream, disorder, outlet| {
            stream.drain(disorder, outlet);
            let proven = (stream.acked > stream.next + 1).then_some(stream.acked);
            let hole = disorder.obstacle().map(|(offset, _)| offset).or(proven).filter(|end| *end > stream.next);
            if let Some(end) = hole.filter(|_| !stream.ended) {
                stream.give_up(end, now, disorder, outlet);
            }
        });
        self.next > before
    }

    /// The first held chunk has waited long enough for the opposite stream.
    pub(super) fn has_waited<A: Analyzer>(&self, now: Timestamp, outlet: &Outlet<'_, A>) -> bool {
        self.disorder.as_ref().is_some_and(|d| d.has_waited(now, outlet))
    }

    /// Passes on one chunk that waits for the opposite stream. False: none does.
    pub(super) fn insist<A: Analyzer>(&mut self, outlet: &mut Outlet<'_, A>) -> bool {
        let before = self.next;
        self.with_disorder(outlet, |stream, disorder, outlet| {
            if stream.pass_on_first(disorder, outlet) {
                stream.drain(disorder, outlet);
            }
        });
        self.next > before
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
        let first = disorder.first_held().unwrap_or(self.next);
        let hole = first - self.next;
        if hole == 0 {
            // Not for want of a byte here: for want of the opposite stream's.
            self.pass_on_first(disorder, outlet);
            return self.drain(disorder, outlet);
        }
        if outlet.answered && self.acked <= self.next && hole > disorder.cost() as u64 {
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
        while !disorder.is_early(outlet) && self.pass_on_first(disorder, outlet) {
            if disorder.fin.is_some_and(|f| f.offset == self.next) {
                break;
            }
        }
        match disorder.fin.filter(|f| f.offset <= self.next) {
            Some(fin) if fin.offset == self.next => {
                disorder.fin = None;
                disorder.discard_held(Discard::Closed, outlet);
                self.end(fin.at, outlet);
            }
            Some(_) => disorder.fin = None,
            None => {}
        }
    }

    fn disorder(&mut self, at: Timestamp) -> &mut Disorder {
        self.disorder.get_or_insert_with(|| Box::new(Disorder::new(at)))
    }
}
