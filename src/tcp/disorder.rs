//! What a stream keeps once segments come early, go missing or contradict each other. These are the bytes held, the FIN
//! that waits, and the proof by which a hole is declared lost.
//!
//! Passes nothing on itself: `stream` does, in order.

use std::collections::{BTreeMap, VecDeque};

use super::outlet::StreamOutlet;
use super::{Analyzer, TcpLimits};
use crate::flow::Timestamp;
use crate::ledger::Discard;

/// What a held chunk costs next to its bytes: its place in the tree with the tree's slack, and the allocator's share.
pub(super) const CHUNK_COST: usize = 160;
/// Further segments of the connection after which an acknowledged hole is lost, however little time has passed. The
/// kernel takes up to 64 packets from one receive queue before it turns to the next (NAPI's weight). So an ACK can
/// overtake that many.
pub(super) const REORDER_SEGMENTS: u32 = 64;
/// Contiguous segments far outside the window that prove, where no ACK is ever seen, that the stream went there.
const STRAYS: u8 = 8;
/// Declared gaps remembered, so that bytes that come too late are distinguished from retransmissions.
const GAPS_REMEMBERED: usize = 8;
/// Most bytes of one segment that no hardware joined of several: those of an Ethernet frame.
const MAX_ALONE: u64 = 1460;
/// How long a FIN waits for its acknowledgement, nanoseconds: longer than a delayed one takes.
const FIN_WAIT: u64 = 1_000_000_000;

/// Bytes of a stream as one segment brought them.
#[derive(Clone, Copy)]
pub(super) struct SegmentPiece<'a> {
    pub(super) offset: u64,
    /// As captured.
    pub(super) bytes: &'a [u8],
    /// Length on the wire, at least that of `bytes`: the rest was cut.
    pub(super) wire: u64,
    pub(super) at: Timestamp,
    pub(super) ack: Option<u64>,
}

impl SegmentPiece<'_> {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.wire
    }

    /// The part from `start` to `stop`, both within the piece.
    fn part(&self, start: u64, stop: u64) -> Self {
        let index =
            |offset: u64| usize::try_from(offset - self.offset).map_or(self.bytes.len(), |i| i.min(self.bytes.len()));
        Self {
            offset: start,
            wire: stop - start,
            bytes: self.bytes.get(index(start)..index(stop)).unwrap_or_default(),
            ..*self
        }
    }

    /// The part from `start` on.
    pub(super) fn from(&self, start: u64) -> Self {
        self.part(start.clamp(self.offset, self.end()), self.end())
    }
}

/// A piece that came early, copied.
pub(super) struct HeldChunk {
    offset: u64,
    bytes: Box<[u8]>,
    wire: u64,
    at: Timestamp,
    ack: Option<u64>,
}

impl HeldChunk {
    fn new(piece: &SegmentPiece<'_>) -> Self {
        Self { offset: piece.offset, bytes: piece.bytes.into(), wire: piece.wire, at: piece.at, ack: piece.ack }
    }

    pub(super) fn piece(&self) -> SegmentPiece<'_> {
        SegmentPiece { offset: self.offset, bytes: &self.bytes, wire: self.wire, at: self.at, ack: self.ack }
    }

    fn end(&self) -> u64 {
        self.offset + self.wire
    }

    pub(super) fn captured(&self) -> usize {
        self.bytes.len()
    }

    fn cost(&self) -> usize {
        self.bytes.len() + CHUNK_COST
    }
}

/// A FIN that came before the bytes it follows, or that its receiver has not acknowledged yet.
#[derive(Clone, Copy)]
pub(super) struct Fin {
    pub(super) offset: u64,
    pub(super) at: Timestamp,
    /// Believed once it is next: it was acknowledged, or no one is there to do so.
    pub(super) sure: bool,
    /// Acknowledged.
    pub(super) proven: bool,
}

/// What decides doubts besides acknowledgements.
#[derive(Clone, Copy)]
pub(super) struct Over {
    /// No more will come.
    pub(super) last: bool,
    /// Bytes of the longest segment whose checksum was right or left to the hardware; 0: none was.
    pub(super) longest_right: u16,
}

/// Sequence numbers of contiguous segments far outside the window.
#[derive(Clone, Copy)]
struct Stray {
    start: u32,
    end: u32,
    count: u8,
}

/// The disorder of one stream.
pub(super) struct StreamDisorder {
    /// By offset, none empty on the wire, none overlapping, all at or after the stream's next offset. A tree: in a queue
    /// one that comes between others would move half of them.
    chunks: BTreeMap<u64, HeldChunk>,
    /// By offset: from segments that their receiver may have dropped, until it says so.
    doubtful: BTreeMap<u64, HeldChunk>,
    cost: usize,
    hold_id: u64,
    pub(super) fin: Option<Fin>,
    /// When bytes last came in order.
    moved: Timestamp,
    /// When the receiver last acknowledged no more than was passed on: it still waits for the hole itself.
    waiting: Option<Timestamp>,
    /// When the receiver last acknowledged anything.
    heard: Option<Timestamp>,
    /// Acknowledged, and long enough ago that a hole below is lost and not merely overtaken.
    ripe: u64,
    /// Acknowledged at `ripening_since`. Two marks instead of a queue of ACKs: a hole is declared after one to two waits.
    ripening: u64,
    ripening_since: Timestamp,
    ripening_segments: u32,
    stray: Option<Stray>,
    gaps: VecDeque<(u64, u64)>,
}

impl StreamDisorder {
    pub(super) fn new(at: Timestamp) -> Self {
        Self {
            chunks: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            cost: 0,
            hold_id: 0,
            fin: None,
            moved: at,
            waiting: None,
            heard: None,
            ripe: 0,
            ripening: 0,
            ripening_since: at,
            ripening_segments: 0,
            stray: None,
            gaps: VecDeque::new(),
        }
    }

    /// Nothing of it matters any more to a stream that is at `next`.
    pub(super) fn is_calm(&self, next: u64, acked: u64) -> bool {
        !self.is_holding() && self.fin.is_none() && acked <= next && self.stray.is_none() && self.gaps.is_empty()
    }

    /// Offset of the first held chunk.
    pub(super) fn first_held(&self) -> Option<u64> {
        self.chunks.first_key_value().map(|(offset, _)| *offset)
    }

    /// Where the last held byte, or the FIN, lies.
    pub(super) fn edge(&self) -> u64 {
        let held = self.chunks.last_key_value().map_or(0, |(_, chunk)| chunk.end());
        held.max(self.fin.map_or(0, |f| f.offset))
    }

    /// What ends the hole at the front: a chunk or the FIN, and when that came.
    pub(super) fn obstacle(&self) -> Option<(u64, Timestamp)> {
        let fin = self.fin.map(|f| (f.offset, f.at));
        let chunk = self.chunks.first_key_value().map(|(offset, chunk)| (*offset, chunk.at));
        chunk.or(fin)
    }

    /// Whether the FIN is next and waits for its acknowledgement: what lies behind it must wait too.
    pub(super) fn is_at_fin(&self, next: u64) -> bool {
        self.fin.is_some_and(|f| f.offset == next)
    }

    /// Whether nothing held lies at or before `end`, and no FIN at `next`: a piece from there to `end` can be passed on.
    pub(super) fn is_clear(&self, next: u64, end: u64) -> bool {
        self.first_held().is_none_or(|held| end <= held) && !self.is_at_fin(next)
    }

    /// Notes a FIN; of two the first in the stream counts.
    pub(super) fn note_fin(&mut self, fin: Fin) {
        match &mut self.fin {
            Some(known) if known.offset == fin.offset => known.sure |= fin.sure,
            Some(known) if known.offset < fin.offset => {}
            known => *known = Some(fin),
        }
    }

    /// What an acknowledgement up to `offset` says of the FIN, which takes a number but is no byte; gives how far bytes are
    /// acknowledged.
    pub(super) fn weigh_fin(&mut self, offset: u64) -> u64 {
        match &mut self.fin {
            // The receiver has more than that: it never took the FIN.
            Some(fin) if offset > fin.offset + 1 => {
                self.fin = None;
                offset
            }
            Some(fin) => {
                let acknowledged = offset == fin.offset + 1;
                fin.sure |= acknowledged;
                fin.proven |= acknowledged;
                offset.min(fin.offset)
            }
            None => offset,
        }
    }

    /// A FIN that stays without an acknowledgement and without anything that contradicts it is believed in the end.
    pub(super) fn outwait_fin(&mut self, next: u64, now: Timestamp) {
        let alone = self.chunks.is_empty();
        if let Some(fin) = &mut self.fin {
            fin.sure |= alone && fin.offset == next && now.since(fin.at) >= FIN_WAIT;
        }
    }

    fn is_holding(&self) -> bool {
        !(self.chunks.is_empty() && self.doubtful.is_empty())
    }

    /// Whether an acknowledgement decides something here.
    pub(super) fn awaits_answer(&self) -> bool {
        self.fin.is_some() || !self.doubtful.is_empty()
    }

    /// What is held costs this much.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Whether the stream still holds what it began to hold as `id`.
    pub(super) fn holds_as(&self, id: u64) -> bool {
        self.is_holding() && self.hold_id == id
    }

    /// Holds what of `piece` is not held yet: the first copy of a byte wins.
    pub(super) fn hold<A: Analyzer>(&mut self, piece: &SegmentPiece<'_>, outlet: &mut StreamOutlet<'_, A>) {
        let mut position = piece.offset;
        // The only one that begins before the piece and may reach into it.
        let before = self.chunks.range(..=position).next_back().map(|(_, chunk)| chunk);
        if let Some(chunk) = before.filter(|chunk| chunk.end() > position) {
            position = overlap(piece, chunk, outlet);
        }
        while position < piece.end() {
            let next = self.chunks.range(position..piece.end()).next();
            let stop = next.map_or(piece.end(), |(offset, _)| *offset);
            let behind = next.map_or(stop, |(_, chunk)| overlap(piece, chunk, outlet));
            if position < stop {
                self.insert(HeldChunk::new(&piece.part(position, stop)), outlet);
            }
            position = behind;
        }
    }

    fn insert<A: Analyzer>(&mut self, chunk: HeldChunk, outlet: &mut StreamOutlet<'_, A>) {
        self.count_in(&chunk, outlet);
        self.chunks.insert(chunk.offset, chunk);
    }

    fn count_in<A: Analyzer>(&mut self, chunk: &HeldChunk, outlet: &mut StreamOutlet<'_, A>) {
        if !self.is_holding() {
            self.hold_id = outlet.shared.holds.begin(outlet.index, outlet.from);
        }
        outlet.shared.ledger.held += chunk.bytes.len() as u64;
        outlet.shared.holds.cost += chunk.cost();
        self.cost += chunk.cost();
    }

    fn count_out<A: Analyzer>(&mut self, chunk: &HeldChunk, outlet: &mut StreamOutlet<'_, A>) {
        outlet.shared.ledger.held -= chunk.bytes.len() as u64;
        outlet.shared.holds.cost -= chunk.cost();
        self.cost -= chunk.cost();
        if !self.is_holding() {
            outlet.shared.holds.end();
        }
    }

    /// Holds a piece that its receiver may have dropped.
    pub(super) fn hold_doubtful<A: Analyzer>(&mut self, piece: &SegmentPiece<'_>, outlet: &mut StreamOutlet<'_, A>) {
        if self.doubtful.contains_key(&piece.offset) {
            return outlet.shared.discard(Discard::Refused, piece.bytes.len());
        }
        let chunk = HeldChunk::new(piece);
        self.count_in(&chunk, outlet);
        self.doubtful.insert(chunk.offset, chunk);
    }

    /// The first doubtful chunk, once it is decided, and whether its receiver took it. It did not if the same bytes came
    /// again. If it acknowledges them all the same, it took this copy or one that was not captured. A sender whose other
    /// checksums are right sends no wrong one, but hardware may join segments and leave the checksum of the first. Where the
    /// receiver is not heard any more, what was seen is believed after a while, unless other checksums were right.
    pub(super) fn decided<A: Analyzer>(
        &mut self,
        stand: (u64, u64),
        now: Timestamp,
        over: Over,
        outlet: &mut StreamOutlet<'_, A>,
    ) -> Option<(HeldChunk, bool)> {
        let (next, acked) = stand;
        let first = self.doubtful.first_entry()?;
        let chunk = first.get();
        let unheard = self.heard.is_none_or(|heard| heard < chunk.at);
        let waited = over.last || now.since(chunk.at) >= outlet.shared.limits.gap_wait;
        let longest = if over.longest_right == 0 { 0 } else { u64::from(over.longest_right).max(MAX_ALONE) };
        let taken = match () {
            () if chunk.end() <= next => false,
            () if acked >= chunk.end() => chunk.wire > longest,
            () if unheard && waited && longest == 0 => true,
            () if over.last => false,
            () => return None,
        };
        let chunk = first.remove();
        self.count_out(&chunk, outlet);
        Some((chunk, taken))
    }

    /// The farthest acknowledgement of the doubtful chunks that end before `acked`.
    pub(super) fn confirmed_ack(&self, acked: u64) -> Option<u64> {
        self.doubtful.values().take_while(|chunk| chunk.end() <= acked).filter_map(|chunk| chunk.ack).max()
    }

    /// Discards what is doubtful; whether there was anything.
    pub(super) fn discard_doubtful<A: Analyzer>(&mut self, outlet: &mut StreamOutlet<'_, A>) -> bool {
        let any = !self.doubtful.is_empty();
        while let Some((_, chunk)) = self.doubtful.pop_first() {
            self.count_out(&chunk, outlet);
            outlet.shared.discard(Discard::Limit, chunk.bytes.len());
        }
        any
    }

    /// The first held chunk acknowledges bytes of the opposite stream that are not passed on yet.
    pub(super) fn is_early<A: Analyzer>(&self, outlet: &StreamOutlet<'_, A>) -> bool {
        self.chunks.first_key_value().is_some_and(|(_, c)| outlet.is_early(c.ack))
    }

    /// It has done so for long. A hole is given up before. But where each stream waits for the other (a retransmission
    /// acknowledges more than the first copy did) there is none.
    pub(super) fn has_waited<A: Analyzer>(&self, now: Timestamp, outlet: &StreamOutlet<'_, A>) -> bool {
        let patience = outlet.shared.limits.acked_gap_wait.saturating_mul(3);
        let first = self.chunks.first_key_value();
        first.is_some_and(|(_, c)| outlet.is_early(c.ack) && now.since(c.at) >= patience)
    }

    /// The first held chunk, if it starts at `next`.
    pub(super) fn take_at<A: Analyzer>(&mut self, next: u64, outlet: &mut StreamOutlet<'_, A>) -> Option<HeldChunk> {
        if self.first_held()? == next { self.take(outlet) } else { None }
    }

    fn take<A: Analyzer>(&mut self, outlet: &mut StreamOutlet<'_, A>) -> Option<HeldChunk> {
        let (_, chunk) = self.chunks.pop_first()?;
        self.count_out(&chunk, outlet);
        Some(chunk)
    }

    /// Discards all that is held.
    pub(super) fn discard_held<A: Analyzer>(&mut self, why: Discard, outlet: &mut StreamOutlet<'_, A>) {
        while let Some(chunk) = self.take(outlet) {
            outlet.shared.discard(why, chunk.bytes.len());
        }
    }

    /// Bytes came in order: anyone who acknowledged more was early, or forged.
    pub(super) fn moved(&mut self, at: Timestamp) {
        self.moved = at;
        self.ripen_again(at);
    }

    /// The receiver acknowledged no more than was passed on.
    pub(super) fn receiver_waits(&mut self, at: Timestamp) {
        self.waiting = Some(at);
        self.heard = Some(at);
        self.ripen_again(at);
    }

    fn ripen_again(&mut self, at: Timestamp) {
        self.ripening_since = at;
        self.ripening_segments = 0;
    }

    /// The receiver acknowledged up to `acked`, beyond `next`: what lies between is not lost to it.
    pub(super) fn acknowledged(&mut self, next: u64, acked: u64, at: Timestamp) {
        self.heard = Some(at);
        if self.ripening <= next.max(self.ripe) {
            self.ripening = acked;
            self.ripen_again(at);
        }
    }

    /// One more segment of the connection was seen.
    pub(super) fn count_segment(&mut self) {
        self.ripening_segments = self.ripening_segments.saturating_add(1);
    }

    /// Lets what was acknowledged long enough ago become proof.
    pub(super) fn ripen(&mut self, acked: u64, now: Timestamp, limits: &TcpLimits) {
        let long_ago = now.since(self.ripening_since) >= limits.acked_gap_wait;
        if self.ripening > self.ripe && (long_ago || self.ripening_segments >= REORDER_SEGMENTS) {
            self.ripe = self.ripening;
            self.ripening = acked;
            self.ripen_again(now);
        }
    }

    /// How far the hole at `next` is lost at the time `now`.
    pub(super) fn lost_until(&self, next: u64, acked: u64, now: Timestamp, limits: &TcpLimits) -> Option<u64> {
        let obstacle = self.obstacle();
        if obstacle.is_some_and(|(offset, _)| offset <= next) {
            // No hole: what is next is there, and waits for the opposite stream, or for its acknowledgement.
            return None;
        }
        if self.ripe > next {
            match obstacle {
                Some((offset, _)) => return Some(offset.min(self.ripe)),
                // One byte and nothing behind it: as likely a FIN that was not captured, which also takes a number.
                None => return (self.ripe > next + 1).then_some(self.ripe),
            }
        }
        let (offset, at) = obstacle?;
        let receiver_waits = acked <= next && self.waiting.is_some_and(|w| w >= at);
        let stuck_since = self.moved.max(at);
        (!receiver_waits && now.since(stuck_since) >= limits.gap_wait).then_some(offset)
    }

    /// Remembers a declared gap.
    pub(super) fn remember_gap(&mut self, start: u64, end: u64) {
        if self.gaps.len() == GAPS_REMEMBERED {
            self.gaps.pop_front();
        }
        self.gaps.push_back((start, end));
    }

    /// How many bytes of `start..end` were declared lost.
    pub(super) fn too_late(&self, start: u64, end: u64) -> u64 {
        self.gaps.iter().map(|(s, e)| end.min(*e).saturating_sub(start.max(*s))).sum()
    }

    /// Notes a segment far outside the window; true when there were enough in a row to believe them.
    pub(super) fn note_stray(&mut self, seq: u32, len: u32) -> bool {
        let stray = match self.stray {
            Some(s) if s.end == seq => Stray { end: seq.wrapping_add(len), count: s.count.saturating_add(1), ..s },
            // A retransmission of one of them changes nothing.
            Some(s) if seq.wrapping_sub(s.start) < s.end.wrapping_sub(s.start) => s,
            Some(_) | None => Stray { start: seq, end: seq.wrapping_add(len), count: 1 },
        };
        self.stray = Some(stray);
        stray.count >= STRAYS
    }

    /// Whether `ack` acknowledges some of the strays.
    pub(super) fn strays_acknowledged(&self, ack: u32) -> bool {
        self.stray.is_some_and(|s| {
            let acknowledged = ack.wrapping_sub(s.start);
            acknowledged > 0 && acknowledged <= s.end.wrapping_sub(s.start)
        })
    }

    /// Where the strays end; they are forgotten.
    pub(super) fn take_strays(&mut self) -> Option<u32> {
        self.stray.take().map(|s| s.end)
    }
}

/// Counts the part of `late` that `first` holds already; gives its end.
fn overlap<A: Analyzer>(late: &SegmentPiece<'_>, first: &HeldChunk, outlet: &mut StreamOutlet<'_, A>) -> u64 {
    let (start, stop) = (late.offset.max(first.offset), late.end().min(first.end()));
    let (late, first) = (late.part(start, stop), first.piece().part(start, stop));
    outlet.duplicate(late.bytes.len());
    outlet.conflict(late.bytes.iter().zip(first.bytes).filter(|(a, b)| a != b).count());
    stop
}
