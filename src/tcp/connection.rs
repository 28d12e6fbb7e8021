//! One connection: judges each segment as its receiver would have, and hands its parts to the two streams.
//!
//! SYNs are judged in `handshake`. Finds no connection and ends none by itself: `table` does, told by a [`Verdict`].

use super::disorder::Piece;
use super::handshake::Attempt;
use super::outlet::{Holder, Outlet, Shared};
use super::stream::{Acked, Place, Stream};
use super::{Analyzer, CloseReason, Conn};
use crate::flow::{ConnKey, Direction, Timestamp};
use crate::ledger::Discard;
use crate::packet::Segment;

/// A SYN not answered for this long is a failed connect also when the capture ends: the initial retransmission timeout
/// (RFC 6298 §2.1), before which nobody gives up.
const CONNECT_PATIENCE: u64 = 1_000_000_000;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// One side has been heard, once: may be a SYN flood, a scan, a stray. The first to make room.
    Opening,
    /// Both sides, or one of them twice.
    Settled,
    /// Over, and remembered for a while so that what straggles in is not taken for a new connection.
    Closed,
}

/// What a segment means for its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Part of it.
    Keep,
    /// Not believed.
    Ignore,
    /// The last of it.
    Close(CloseReason),
    /// The first of another, with the same endpoints; not counted yet.
    Replace,
}

pub(super) struct Connection<A> {
    pub(super) conn: Conn,
    /// `[FromLow, FromHigh]`.
    pub(super) streams: [Stream; 2],
    pub(super) last_seen: Timestamp,
    pub(super) phase: Phase,
    pub(super) analyzer: Option<Box<A>>,
    pub(super) attempt: Option<Box<Attempt>>,
    early_end: Option<Box<Timestamp>>,
    /// Whose RST ended it.
    reset_by: Option<Direction>,
}

/// The stream sent `from` there, and the opposite one.
pub(super) fn split(streams: &mut [Stream; 2], from: Direction) -> (&mut Stream, &mut Stream) {
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
fn acknowledged(stream: &mut Stream, segment: &Segment<'_>) -> Result<Option<u64>, ()> {
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

impl<A: Analyzer> Connection<A> {
    pub(super) fn new(key: ConnKey, segment: &Segment<'_>) -> Self {
        let conn = Conn {
            key,
            first_seen: segment.at,
            originator: None,
            initial_seq: [None; 2],
            handshake_seen: false,
            origins_known: false,
            connect_ns: None,
            interface: segment.interface.cloned(),
            overlap_conflict: false,
            heard: [false; 2],
        };
        Self {
            conn,
            streams: Default::default(),
            last_seen: segment.at,
            phase: Phase::Opening,
            analyzer: None,
            attempt: None,
            early_end: None,
            reset_by: None,
        }
    }

    /// Judges a segment of an open connection, and takes what is in it.
    pub(super) fn on_segment(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        index: u32,
        shared: &mut Shared,
        context: &mut A::Context,
    ) -> Verdict {
        let flags = segment.flags;
        if let Some(heard) = self.conn.heard.get_mut(from as usize) {
            *heard = true;
        }
        let judged = if flags.rst() {
            Some(self.on_reset(from, segment, shared))
        } else if flags.syn() {
            self.on_syn(from, segment)
        } else {
            self.begins_attempt(from, segment).then_some(Verdict::Replace)
        };
        match judged {
            Some(verdict @ (Verdict::Replace | Verdict::Keep)) => verdict,
            Some(verdict @ (Verdict::Ignore | Verdict::Close(_))) => {
                shared.discard(Discard::NotData, segment.payload.len());
                verdict
            }
            None => self.on_stream_segment(from, segment, index, shared, context),
        }
    }

    fn on_reset(&mut self, from: Direction, segment: &Segment<'_>, shared: &mut Shared) -> Verdict {
        let acknowledged = segment.flags.ack().then_some(segment.ack);
        if self.attempt.as_ref().is_some_and(|a| a.from != from && Some(a.origin) == acknowledged) {
            shared.ledger.connects_refused += 1;
            return Verdict::Close(CloseReason::Reused);
        }
        let (own, opposite) = split(&mut self.streams, from);
        let answers_syn = opposite.syn && !own.is_known();
        let believed = if answers_syn {
            // Only if it acknowledges it (RFC 9293 §3.10.7.3).
            acknowledged.is_some_and(|ack| opposite.has_sent(ack))
        } else {
            own.accepts_reset(segment.seq)
        };
        if !believed {
            return Verdict::Ignore;
        }
        own.talked = true;
        shared.ledger.connects_refused += u64::from(answers_syn);
        Verdict::Close(CloseReason::Reset)
    }

    fn on_stream_segment(
        &mut self,
        from: Direction,
        segment: &Segment<'_>,
        index: u32,
        shared: &mut Shared,
        context: &mut A::Context,
    ) -> Verdict {
        let flags = segment.flags;
        let seq = segment.seq.wrapping_add(u32::from(flags.syn()));
        let wire = wire_len(segment);
        self.note_choice(from, segment);
        let (own, opposite) = split(&mut self.streams, from);
        let place = own.place(seq, wire.cast_signed() + i64::from(flags.fin()));
        if matches!(place, Place::Stray) {
            return self.on_stray(from, segment, shared);
        }
        let Ok(ack) = acknowledged(opposite, segment) else { return Verdict::Replace };
        if let Some(offset) = ack {
            opposite.on_ack(offset, segment.at);
        }
        self.note_origins();
        self.note_talk(from, flags.syn(), wire);
        if let Place::At(offset) = place {
            let piece = Piece { offset: 0, bytes: segment.payload, wire, at: segment.at, ack };
            let (stream, mut outlet) = self.way_out(from, index, shared, context);
            if wire > 0 {
                stream.on_bytes(offset, piece, &mut outlet);
            }
            if flags.fin() {
                stream.on_fin(offset + wire.cast_signed(), segment.at, &mut outlet);
            }
        }
        self.settle(segment.at, true, index, shared, context);
        self.verdict()
    }

    /// A segment far outside the window: it counts only once the other side proves that it got there, or, when the other
    /// side is never seen, once enough of them follow each other.
    fn on_stray(&mut self, from: Direction, segment: &Segment<'_>, shared: &mut Shared) -> Verdict {
        let (own, opposite) = split(&mut self.streams, from);
        let believed = own.note_stray(segment.seq, segment.payload_len, segment.at) && !opposite.seen();
        if (believed && !own.follow_strays(segment.at)) || acknowledged(opposite, segment).is_err() {
            return Verdict::Replace;
        }
        shared.discard(Discard::OutOfWindow, segment.payload.len());
        Verdict::Ignore
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
            self.phase = Phase::Settled;
        }
    }

    /// One stream, and the way out of it.
    fn way_out<'a>(
        &'a mut self,
        from: Direction,
        index: u32,
        shared: &'a mut Shared,
        context: &'a mut A::Context,
    ) -> (&'a mut Stream, Outlet<'a, A>) {
        let Self { conn, streams, analyzer, early_end, .. } = self;
        let (own, opposite) = split(streams, from);
        let (answered, opposite) = (opposite.seen(), opposite.awaited());
        (own, Outlet { from, index, answered, opposite, conn, analyzer, early_end, shared, context })
    }

    /// Passes on what can be, in both streams, as of `now`; `segment`: one more segment has been seen.
    #[inline]
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        segment: bool,
        index: u32,
        shared: &mut Shared,
        context: &mut A::Context,
    ) {
        if self.streams.iter().all(Stream::is_orderly) {
            return;
        }
        // One hole at a time, and the originator's stream first: what one declares lost the other may wait for.
        if segment {
            self.streams.iter_mut().for_each(Stream::count_segment);
        }
        let order = self.order();
        let mut each = |act: fn(&mut Stream, Timestamp, &mut Outlet<'_, A>) -> bool| {
            order.into_iter().any(|from| {
                let (stream, mut outlet) = self.way_out(from, index, shared, context);
                act(stream, now, &mut outlet)
            })
        };
        // What each stream waits for from the other is no hole: only more patience ends that.
        while each(Stream::settle)
            || each(|stream, now, outlet| stream.has_waited(now, outlet) && stream.insist(outlet))
        {}
    }

    /// Gives up the holes of one stream until it holds nothing.
    pub(super) fn release(
        &mut self,
        from: Direction,
        now: Timestamp,
        index: u32,
        shared: &mut Shared,
        context: &mut A::Context,
    ) -> Verdict {
        let (stream, mut outlet) = self.way_out(from, index, shared, context);
        stream.release(now, &mut outlet);
        self.verdict()
    }

    /// Whether the stream still holds what it began to hold as that holder.
    pub(super) fn holds_as(&mut self, holder: Holder) -> bool {
        split(&mut self.streams, holder.from).0.holds_as(holder.id)
    }

    /// No more segments: delivers what is held, and closes the analyzer.
    pub(super) fn close(
        &mut self,
        at: Timestamp,
        reason: CloseReason,
        index: u32,
        shared: &mut Shared,
        context: &mut A::Context,
    ) {
        self.flush(at, index, shared, context);
        if self.connect_failed(at) {
            shared.ledger.connects_timed_out += 1;
        }
        if let Some(analyzer) = self.analyzer.take() {
            analyzer.on_close(&self.conn, at, reason, context);
        }
        self.attempt = None;
        self.phase = Phase::Closed;
        self.last_seen = at;
    }

    /// Passes on all that is held, hole by hole, so that what one stream acknowledges comes before it where it can.
    fn flush(&mut self, at: Timestamp, index: u32, shared: &mut Shared, context: &mut A::Context) {
        let order = self.order();
        let mut each = |act: fn(&mut Stream, Timestamp, &mut Outlet<'_, A>) -> bool| {
            order.into_iter().any(|from| {
                let (stream, mut outlet) = self.way_out(from, index, shared, context);
                act(stream, at, &mut outlet)
            })
        };
        while each(Stream::flush) || each(|stream, _, outlet| stream.insist(outlet)) {}
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
    pub(super) fn verdict(&self) -> Verdict {
        let [low, high] = &self.streams;
        if low.ended && high.ended { Verdict::Close(CloseReason::Closed) } else { Verdict::Keep }
    }

    /// One side has ended, the other has not.
    pub(super) fn is_half_closed(&self) -> bool {
        let [low, high] = &self.streams;
        low.ended != high.ended
    }

    /// It was ended by this RST.
    pub(super) fn note_reset(&mut self, from: Direction, segment: &Segment<'_>) {
        self.reset_by = segment.flags.rst().then_some(from);
        split(&mut self.streams, from).0.skip_to(segment.seq);
    }

    /// Whether a segment that comes after the end belongs to a new connection with the same endpoints; or to this one, if
    /// its RST was forged: who has reset a connection sends nothing more on it.
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
                        Place::At(offset) => self.reset_by == Some(from) && own.is_ahead(offset),
                        Place::Stray => true,
                        Place::Nowhere => false,
                    }
            }
        }
    }
}
