//! One direction of a connection: what is known of its numbers, and where a segment, a RST or an acknowledgement lies in it.
//! `bytes` passes on what it carries.
//!
//! Believes that a segment belongs here; whether to believe it is asked first ([`ByteStream::place`]), by `connection`.

mod bytes;

use super::disorder::StreamDisorder;
use super::offset::nearest;
use crate::flow::Timestamp;

/// How far from what is known of a stream a segment may lie to be believed at once. TCP allows 1 GiB (RFC 7323 §2.3), but
/// no one has that in flight, and one of four blind guesses would fall into it. What goes farther must be proven by the
/// other side.
pub(super) const WINDOW: i64 = 64 << 20;
/// The same for a RST: what is farther is none of this connection's.
const RESET_WINDOW: i64 = 1 << 20;
/// No gap is larger: beyond it is another connection.
const MAX_LEAD: i64 = 1 << 30;

/// Where a segment lies.
pub(super) enum SegmentPlace {
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
pub(super) struct ByteStream {
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
    disorder: Option<Box<StreamDisorder>>,
}

impl ByteStream {
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

    /// How far it was passed on, when it is heard and has not ended. What its receiver acknowledged beyond that comes yet,
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
    pub(super) fn place(&mut self, seq: u32, len: i64) -> SegmentPlace {
        if !self.known {
            if len == 0 {
                // Without bytes it may be a keep-alive, which lies one before.
                return SegmentPlace::Nowhere;
            }
            self.learn(seq);
        }
        let offset = nearest(self.origin, seq, self.next);
        let next = self.next.cast_signed();
        if offset == next || (offset >= next - WINDOW && offset + len <= self.edge() + WINDOW) {
            SegmentPlace::At(offset)
        } else {
            SegmentPlace::Stray
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
    #[inline]
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

    fn disorder(&mut self, at: Timestamp) -> &mut StreamDisorder {
        self.disorder.get_or_insert_with(|| Box::new(StreamDisorder::new(at)))
    }
}
