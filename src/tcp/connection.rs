//! One connection: judges each segment as its receiver would have, and hands its parts to the two streams.
//!
//! SYNs are judged in `handshake`. Finds no connection and ends none by itself: `table` does, by a [`SegmentVerdict`].

mod doubt;
mod handshake;
mod scopes;

use self::doubt::{DoubtfulReset, Soundness};
pub(super) use self::handshake::HandshakeAttempt;
use self::scopes::Aliases;
use super::disorder::SegmentPiece;
use super::outlet::{StreamHolder, StreamOutlet, TableShared};
use super::stream::{Acked, ByteStream, SegmentPlace};
use super::{Analyzer, CloseReason, ConnSummary};
use crate::flow::{ConnKey, Direction, OuterLayers, Timestamp};
use crate::ledger::Discard;
use crate::packet::Segment;

/// A SYN not answered for this long is a failed connect also when the capture ends. This is the initial retransmission
/// timeout (RFC 6298 §2.1), before which no one gives up.
const CONNECT_PATIENCE: u64 = 1_000_000_000;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionPhase {
    /// One side has been heard, once: may be a SYN flood, a scan, a stray. The first to make room.
    Opening,
    /// Both sides, or one of them twice.
    Settled,
    /// Over, and remembered for a while so that what straggles in is not taken for a new connection.
    Closed,
}

/// What a segment means for its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SegmentVerdict {
    /// Part of it.
    Keep,
    /// Not believed.
    Ignore,
    /// Not believed, and counted already.
    Refuse,
    /// The last of it.
    Close(CloseReason),
    /// The first of another, with the same endpoints; not counted yet.
    Replace,
}

/// What few connections have, and those not for long.
#[derive(Default)]
pub(super) struct Oddities {
    pub(super) attempt: Option<HandshakeAttempt>,
    pub(super) aliases: Option<Aliases>,
    pub(super) reset: Option<DoubtfulReset>,
}

pub(super) struct TcpConnection<A> {
    pub(super) conn: ConnSummary,
    /// `[FromLow, FromHigh]`.
    pub(super) streams: [ByteStream; 2],
    pub(super) last_seen: Timestamp,
    pub(super) phase: ConnectionPhase,
    pub(super) analyzer: Option<Box<A>>,
    pub(super) odd: Option<Box<Oddities>>,
    early_end: Option<Box<Timestamp>>,
    /// A RST ended it.
    pub(super) reset_by_peer: bool,
}

/// The stream sent `from` there, and the opposite one.
pub(super) fn split(streams: &mut [ByteStream; 2], from: Direction) -> (&mut ByteStream, &mut ByteStream) {
    let [low, high] = streams;
    match from {
        Direction::FromLow => (low, high),
        Direction::FromHigh => (high, low),
    }
}

/// Length of the payload on the wire.
pub(super) fn wire_len(segment: &Segment<'_>) -> u64 {
    u64::from(segment.payload_len).max(segment.payload.len() as u64)
}

/// The offset up to which a segment acknowledges the stream, if it does. `Err`: it proves that the stream is not this
/// connection's any more.
#[inline]
fn acknowledged(stream: &mut ByteStream, segment: &Segment<'_>) -> Result<Option<u64>, ()> {
    if !segment.flags.ack() {
        return Ok(None);
    }
    let mut acked = stream.read_ack(segment.ack);
    if let Acked::Strays = acked {
        if !stream.follow_strays(segment.at) {
            return Err(());
        }
        acked = stream.read_ack(segment.ack);
    }
    Ok(if let Acked::Until(offset) = acked { Some(offset) } else { None })
}

impl<A: Analyzer> TcpConnection<A> {
    pub(super) fn new(key: ConnKey, segment: &Segment<'_>) -> Self {
        let conn = ConnSummary {
            key,
            first_seen: segment.at,
            originator: None,
            initial_seq: [None; 2],
            handshake_seen: false,
            origins_known: false,
            connect_ns: None,
            interface: segment.interface.cloned(),
            around: (segment.around != OuterLayers::default()).then(|| Box::new(segment.around)),
            conflicts: [0; 2],
            urgent: false,
            heard: [false; 2],
        };
        Self {
            conn,
            streams: Default::default(),
            last_seen: segment.at,
            phase: ConnectionPhase::Opening,
            analyzer: None,
            odd: None,
            early_end: None,
            reset_by_peer: false,
        }
    }

    /// Judges a segment of an open connection, and takes what is in it.
    pub(super) fn on_segment(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) -> SegmentVerdict {
        let flags = segment.flags;
        if let Some(heard) = self.conn.heard.get_mut(from as usize) {
            *heard = true;
        }
        let judged = if flags.rst() {
            Some(self.on_reset(from, segment, shared))
        } else if flags.syn() {
            self.on_syn(from, segment, shared)
        } else {
            self.on_attempt(from, segment)
        };
        match judged {
            Some(verdict @ (SegmentVerdict::Replace | SegmentVerdict::Keep | SegmentVerdict::Refuse)) => verdict,
            Some(verdict @ (SegmentVerdict::Ignore | SegmentVerdict::Close(_))) => {
                shared.discard(Discard::NotData, segment.payload.len());
                verdict
            }
            None => self.on_stream_segment(from, segment, index, shared, context),
        }
    }

    pub(super) fn attempt(&self) -> Option<&HandshakeAttempt> {
        self.odd.as_ref()?.attempt.as_ref()
    }

    pub(super) fn take_attempt(&mut self) -> Option<HandshakeAttempt> {
        let attempt = self.odd.as_mut()?.attempt.take();
        self.forget_oddities();
        attempt
    }

    pub(super) fn forget_oddities(&mut self) {
        self.odd.take_if(|odd| odd.attempt.is_none() && odd.aliases.is_none() && odd.reset.is_none());
    }

    fn on_stream_segment(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) -> SegmentVerdict {
        let flags = segment.flags;
        let seq = segment.seq.wrapping_add(u32::from(flags.syn()));
        let wire = wire_len(segment);
        if !split(&mut self.streams, from).0.talked {
            self.note_choice(from, segment);
            self.note_beginning(from, segment);
        }
        let (own, _) = split(&mut self.streams, from);
        let known = own.is_known();
        let len = wire.cast_signed() + i64::from(flags.fin());
        let place = own.place(seq, len);
        let (mut end, mut contradicts_end) = (i64::MIN, false);
        if let SegmentPlace::At(offset) = place {
            end = offset + len;
            contradicts_end = wire > 0 && own.contradicts_end(offset);
        } else if matches!(place, SegmentPlace::Stray) {
            return self.on_stray(from, segment, shared);
        }
        if len > 0 && own.is_fresh(end) {
            match self.soundness(from, segment, known, end, shared) {
                Soundness::Sound => {}
                Soundness::Doubtful => return self.on_doubtful(from, segment, place, index, shared, context),
                Soundness::Dropped => {
                    shared.discard(Discard::Refused, segment.payload.len());
                    return SegmentVerdict::Refuse;
                }
            }
        }
        if contradicts_end {
            return SegmentVerdict::Replace;
        }
        let (_, opposite) = split(&mut self.streams, from);
        let decides = opposite.awaits_answer();
        let Ok(ack) = acknowledged(opposite, segment) else { return SegmentVerdict::Replace };
        if let Some(offset) = ack {
            opposite.on_ack(offset, segment.at);
            if decides {
                self.settle_answered(from.flip(), segment.at, index, shared, context);
            }
        }
        self.note_origins();
        self.note_talk(from, flags.syn(), wire);
        self.weigh_reset(from, end, ack, shared);
        if let SegmentPlace::At(offset) = place {
            if wire > 0 {
                let piece = SegmentPiece { offset: 0, bytes: segment.payload, wire, at: segment.at, ack };
                let (stream, mut outlet) = self.way_out(from, Some(segment), index, shared, context);
                outlet.conn.urgent |= flags.urg();
                stream.on_bytes(offset, piece, &mut outlet);
            }
            if flags.fin() {
                self.on_fin(from, offset + wire.cast_signed(), segment.at, index, shared, context);
            }
        }
        self.settle(segment.at, true, index, shared, context);
        self.verdict()
    }

    /// Settles a stream whose receiver has answered. What it confirms was itself an answer: what that acknowledged goes first.
    fn settle_answered(
        &mut self,
        from: Direction,
        now: Timestamp,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) {
        let (own, opposite) = split(&mut self.streams, from);
        if let Some(ack) = own.confirmed_ack() {
            opposite.on_ack(ack, now);
            let (stream, mut outlet) = self.way_out(from.flip(), None, index, shared, context);
            stream.settle(now, &mut outlet);
        }
        let (stream, mut outlet) = self.way_out(from, None, index, shared, context);
        stream.settle(now, &mut outlet);
    }

    /// A FIN waits for its acknowledgement, but where no one can send one, or the other side has come to its end too.
    fn on_fin(
        &mut self,
        from: Direction,
        offset: i64,
        at: Timestamp,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) {
        let (_, opposite) = split(&mut self.streams, from);
        let sure = !opposite.seen() || opposite.is_at_end();
        let (stream, mut outlet) = self.way_out(from, None, index, shared, context);
        stream.on_fin(offset, at, sure, &mut outlet);
    }

    /// A segment far outside the window. It counts only once the other side proves that it got there, or, when the other
    /// side is never seen, once enough of them follow each other.
    fn on_stray(&mut self, from: Direction, segment: &Segment<'_>, shared: &mut TableShared) -> SegmentVerdict {
        let (own, opposite) = split(&mut self.streams, from);
        let believed = own.note_stray(segment.seq, segment.payload_len, segment.at) && !opposite.seen();
        if (believed && !own.follow_strays(segment.at)) || acknowledged(opposite, segment).is_err() {
            return SegmentVerdict::Replace;
        }
        shared.discard(Discard::OutOfWindow, segment.payload.len());
        SegmentVerdict::Ignore
    }

    fn note_origins(&mut self) {
        let [low, high] = &self.streams;
        self.conn.initial_seq = [low, high].map(|s| s.origin().map(|origin| origin.wrapping_sub(1)));
    }

    fn note_talk(&mut self, from: Direction, syn: bool, wire: u64) {
        if syn {
            return;
        }
        let (own, opposite) = split(&mut self.streams, from);
        let again = own.talked && wire > 0;
        own.talked = true;
        if opposite.seen() || again {
            self.phase = ConnectionPhase::Settled;
        }
    }

    /// One stream, and the way out of it.
    pub(super) fn way_out<'a>(
        &'a mut self,
        from: Direction,
        segment: Option<&'a Segment<'a>>,
        index: u32,
        shared: &'a mut TableShared,
        context: &'a mut A::Context,
    ) -> (&'a mut ByteStream, StreamOutlet<'a, A>) {
        let Self { conn, streams, analyzer, early_end, .. } = self;
        let (own, opposite) = split(streams, from);
        let (answered, sums_lie, opposite) = (opposite.seen(), own.sums_lie, opposite.awaited());
        (
            own,
            StreamOutlet {
                from,
                index,
                answered,
                opposite,
                conn,
                analyzer,
                early_end,
                sums_lie,
                segment,
                shared,
                context,
            },
        )
    }

    /// Passes on what can be, in both streams, as of `now`; `segment`: one more segment has been seen.
    #[inline]
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        segment: bool,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) {
        if self.streams.iter().all(ByteStream::is_orderly) {
            return;
        }
        // One hole at a time, and the originator's stream first: what one declares lost the other may wait for.
        if segment {
            self.streams.iter_mut().for_each(ByteStream::count_segment);
        }
        let order = self.order();
        let mut each = |act: fn(&mut ByteStream, Timestamp, &mut StreamOutlet<'_, A>) -> bool| {
            order.into_iter().any(|from| {
                let (stream, mut outlet) = self.way_out(from, None, index, shared, context);
                !stream.is_orderly() && act(stream, now, &mut outlet)
            })
        };
        // What each stream waits for from the other is no hole: only more patience ends that.
        while each(ByteStream::settle)
            || each(|stream, now, outlet| stream.has_waited(now, outlet) && stream.insist(outlet))
        {}
    }

    /// Gives up the holes of one stream until it holds nothing.
    pub(super) fn release(
        &mut self,
        from: Direction,
        now: Timestamp,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) -> SegmentVerdict {
        let (stream, mut outlet) = self.way_out(from, None, index, shared, context);
        stream.release(now, &mut outlet);
        self.verdict()
    }

    /// Whether the stream still holds what it began to hold as that holder.
    pub(super) fn holds_as(&mut self, holder: StreamHolder) -> bool {
        split(&mut self.streams, holder.from).0.holds_as(holder.id)
    }

    /// No more segments: delivers what is held, and closes the analyzer.
    pub(super) fn close(
        &mut self,
        at: Timestamp,
        reason: CloseReason,
        index: u32,
        shared: &mut TableShared,
        context: &mut A::Context,
    ) {
        self.flush(at, index, shared, context);
        if self.connect_failed(at) {
            shared.ledger.connects_timed_out += 1;
        }
        let (at, reason) = self.outcome(at, reason);
        if let Some(mut analyzer) = self.analyzer.take() {
            analyzer.on_close(&self.conn, at, reason, context);
        }
        self.take_attempt();
        self.phase = ConnectionPhase::Closed;
        self.last_seen = at;
    }

    /// Passes on all that is held, hole by hole, so that what one stream acknowledges comes before it where it can.
    fn flush(&mut self, at: Timestamp, index: u32, shared: &mut TableShared, context: &mut A::Context) {
        if self.streams.iter().all(ByteStream::is_orderly) {
            return;
        }
        let order = self.order();
        let mut each = |act: fn(&mut ByteStream, Timestamp, &mut StreamOutlet<'_, A>) -> bool| {
            order.into_iter().any(|from| {
                let (stream, mut outlet) = self.way_out(from, None, index, shared, context);
                act(stream, at, &mut outlet)
            })
        };
        while each(ByteStream::flush) || each(|stream, _, outlet| stream.insist(outlet)) {}
    }

    /// The originator's stream first, so that requests come before their responses where both wait.
    fn order(&self) -> [Direction; 2] {
        match self.conn.originator {
            Some(Direction::FromHigh) => [Direction::FromHigh, Direction::FromLow],
            Some(Direction::FromLow) | None => [Direction::FromLow, Direction::FromHigh],
        }
    }

    /// Its SYN was never answered, nor followed by anything.
    fn connect_failed(&mut self, at: Timestamp) -> bool {
        let Some(originator) = self.conn.originator else { return false };
        let (own, opposite) = split(&mut self.streams, originator);
        let lone_syn = own.syn && !own.talked && !opposite.seen();
        lone_syn && at.since(self.conn.first_seen) >= CONNECT_PATIENCE
    }

    /// Whether it is over by what both sides sent.
    pub(super) fn verdict(&self) -> SegmentVerdict {
        let [low, high] = &self.streams;
        if low.ended && high.ended { SegmentVerdict::Close(CloseReason::Closed) } else { SegmentVerdict::Keep }
    }

    /// One side has ended, the other has not.
    pub(super) fn is_half_closed(&self) -> bool {
        let [low, high] = &self.streams;
        low.ended != high.ended
    }

    /// Whether all of a segment was passed on before.
    pub(super) fn has_passed(&mut self, from: Direction, segment: &Segment<'_>) -> bool {
        let (own, _) = split(&mut self.streams, from);
        let seq = segment.seq.wrapping_add(u32::from(segment.flags.syn()));
        let wire = wire_len(segment).cast_signed();
        own.is_known() && matches!(own.place(seq, wire), SegmentPlace::At(offset) if !own.is_fresh(offset + wire))
    }

    /// Whether a segment that comes after the end belongs to a new connection with the same endpoints. Or to this one, if
    /// it never ended: a side that has reset or closed a connection sends nothing more on it.
    pub(super) fn is_succeeded_by(&mut self, from: Direction, segment: &Segment<'_>) -> bool {
        let (own, _) = split(&mut self.streams, from);
        let flags = segment.flags;
        let wire = wire_len(segment);
        match (flags.rst(), flags.syn()) {
            (true, _) => false,
            (false, true) => !own.starts_at(segment.seq.wrapping_add(1)),
            (false, false) => {
                wire > 0
                    && own.is_known()
                    && match own.place(segment.seq, wire.cast_signed()) {
                        SegmentPlace::At(offset) => {
                            (self.reset_by_peer && own.is_ahead(offset)) || own.contradicts_end(offset)
                        }
                        SegmentPlace::Stray => true,
                        SegmentPlace::Nowhere => false,
                    }
            }
        }
    }
}
