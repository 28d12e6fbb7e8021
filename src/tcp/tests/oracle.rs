//! Random traffic against a model that is obviously right: a map of bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What an analyzer was given, checked as it is given: offsets without holes or repetition, one end.
#[derive(Default)]
pub(super) struct Told {
    pub(super) streams: [Side; 2],
    pub(super) opens: usize,
    closes: usize,
    pub(super) reasons: Vec<CloseReason>,
}

#[derive(Default)]
pub(super) struct Side {
    next: u64,
    pub(super) bytes: BTreeMap<u64, u8>,
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) ended: bool,
}

pub(super) struct Model;

impl Analyzer for Model {
    type Context = Told;

    fn open(_: &ConnSummary, told: &mut Told) -> Self {
        told.opens += 1;
        // Of several connections only the last is looked at.
        told.streams = Default::default();
        Self
    }

    fn on_event(&mut self, _: &ConnSummary, from: Direction, event: StreamEvent<'_>, told: &mut Told) {
        let side = &mut told.streams[from as usize];
        assert!(!side.ended, "nothing after the end");
        match event {
            StreamEvent::Data { offset, bytes, .. } => {
                assert!(!bytes.is_empty());
                assert_eq!(offset, side.next);
                side.bytes.extend((offset..).zip(bytes.iter().copied()));
                side.next += bytes.len() as u64;
            }
            StreamEvent::Gap { offset, len, .. } => {
                assert!(len > 0);
                assert_eq!(offset, side.next);
                side.gaps.push((offset, len));
                side.next += len;
            }
            StreamEvent::End { .. } => side.ended = true,
        }
    }

    fn on_tick(&mut self, _: &ConnSummary, _: Timestamp, _: &mut Told) {}

    fn on_close(&mut self, _: &ConnSummary, _: Timestamp, reason: CloseReason, told: &mut Told) {
        told.closes += 1;
        told.reasons.push(reason);
    }
}

/// One segment of a plan.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) from: Direction,
    start: usize,
    pub(super) end: usize,
    pub(super) fin: bool,
    /// How far it acknowledges the other stream.
    ack: usize,
}

/// Bytes that tell their offset, so that a misplaced one is noticed.
fn byte(from: Direction, offset: usize) -> u8 {
    (offset as u8).wrapping_mul(31).wrapping_add((offset >> 8) as u8) ^ (from as u8 * 0x80)
}

pub(super) fn content(from: Direction, range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|offset| byte(from, offset)).collect()
}

/// Segments of both streams as sent: cut at random, some retransmitted with other cuts.
pub(super) fn traffic() -> impl Strategy<Value = Vec<Planned>> {
    let cut = (1_usize..40, any::<bool>(), 0_usize..50, 0_usize..50);
    prop::collection::vec(cut, 1..40).prop_map(|cuts| {
        let (mut sent, mut out) = ([0_usize; 2], Vec::new());
        for (len, low, back, ahead) in cuts {
            let from = if low { Direction::FromLow } else { Direction::FromHigh };
            let (own, other) = (from as usize, from.flip() as usize);
            let ack = sent[other];
            out.push(Planned { from, start: sent[own], end: sent[own] + len, fin: false, ack });
            sent[own] += len;
            if back > 35 {
                // An overlap with what was sent before, and perhaps with what comes next.
                let start = sent[own].saturating_sub(back);
                let end = sent[own] + ahead.saturating_sub(25);
                out.push(Planned { from, start, end, fin: false, ack });
                sent[own] = sent[own].max(end);
            }
        }
        for from in [Direction::FromLow, Direction::FromHigh] {
            let (own, other) = (from as usize, from.flip() as usize);
            out.push(Planned { from, start: sent[own], end: sent[own], fin: true, ack: sent[other] });
        }
        out
    })
}

/// The plan with each segment moved by at most `by` places, some twice.
fn shuffled(plan: Vec<Planned>, by: usize) -> impl Strategy<Value = Vec<Planned>> {
    let moves = prop::collection::vec((0..=by, prop::option::weighted(0.2, 0..=by)), plan.len());
    moves.prop_map(move |moves| {
        let mut keyed = Vec::new();
        for (i, (planned, (delay, again))) in plan.iter().zip(moves).enumerate() {
            keyed.push((i + delay, planned.clone()));
            keyed.extend(again.map(|delay| (i + delay, planned.clone())));
        }
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, planned)| planned).collect()
    })
}

pub(super) struct Run {
    pub(super) table: ConnectionTable<Model>,
    pub(super) told: Told,
    origins: [u32; 2],
    at: i64,
}

impl Run {
    pub(super) fn new(origins: [u32; 2], limits: TcpLimits) -> Self {
        Self { table: ConnectionTable::new(limits), told: Told::default(), origins, at: 0 }
    }

    fn segment(&mut self, from: Direction, seq: u32, ack: u32, flags: u8, payload: &[u8], cut: u32) {
        self.any(from, (seq, ack, flags), payload, cut, false);
    }

    /// A segment that is no part of the traffic.
    pub(super) fn noise(&mut self, from: Direction, seq: u32, ack: u32, flags: u8, payload: &[u8], damaged: bool) {
        self.any(from, (seq, ack, flags), payload, 0, damaged);
    }

    fn any(&mut self, from: Direction, numbers: (u32, u32, u8), payload: &[u8], cut: u32, damaged: bool) {
        let (seq, ack, flags) = numbers;
        let low = Endpoint::new([10, 0, 0, 1], 1000);
        let high = Endpoint::new([10, 0, 0, 2], 80);
        let tuple = FiveTuple { source: low, destination: high };
        self.at += MS as i64;
        let segment = Segment {
            at: Timestamp(self.at),
            tuple: if from == Direction::FromLow { tuple } else { tuple.reversed() },
            seq,
            ack,
            flags: TcpFlags(flags),
            payload,
            payload_len: payload.len() as u32 + cut,
            wire: &[],
            damaged,
            carried: CarriedIn::default(),
            scope: Scope::default(),
            around: Default::default(),
            interface: None,
        };
        self.table.on_segment(&segment, &mut self.told);
        self.check();
    }

    fn check(&mut self) {
        let l = self.table.ledger();
        assert_eq!(l.payload, l.delivered + l.duplicate + l.held + l.discarded.total(), "{l:?}");
        assert!(self.table.shared().holds.cost <= self.table.shared().limits.held_total);
        assert!(self.table.connections().len() <= self.table.shared().limits.connections);
    }

    pub(super) fn handshake(&mut self) {
        let [low, high] = self.origins;
        self.segment(Direction::FromLow, low.wrapping_sub(1), 0, TcpFlags::SYN, &[], 0);
        self.segment(Direction::FromHigh, high.wrapping_sub(1), low, TcpFlags::SYN | TcpFlags::ACK, &[], 0);
    }

    pub(super) fn play(&mut self, planned: &Planned) {
        let (own, other) = (planned.from as usize, planned.from.flip() as usize);
        let seq = self.origins[own].wrapping_add(planned.start as u32);
        let ack = self.origins[other].wrapping_add(planned.ack as u32);
        let flags = TcpFlags::ACK | if planned.fin { TcpFlags::FIN } else { 0 };
        self.segment(planned.from, seq, ack, flags, &content(planned.from, planned.start..planned.end), 0);
    }

    pub(super) fn finish(&mut self) {
        self.table.finish(Timestamp(self.at), CloseReason::EndOfCapture, &mut self.told);
        self.check();
        assert_eq!(self.told.opens, self.told.closes);
        assert_eq!(self.table.ledger().held, 0);
        assert_eq!(self.table.shared().holds.cost, 0);
        assert_eq!(self.table.len(), 0);
    }
}

/// Limits that no traffic of these tests reaches, so that only order matters.
pub(super) fn patient() -> TcpLimits {
    TcpLimits { held_per_stream: 1 << 20, held_total: 1 << 20, acked_gap_wait: u64::MAX, ..limits() }
}

pub(super) fn origins() -> impl Strategy<Value = [u32; 2]> {
    prop_oneof![Just([0xffff_ff00, 0xffff_fff0]), any::<[u32; 2]>()]
}

proptest! {
    #[test]
    fn whatever_the_order_every_byte_comes_out_once_and_in_place(
        plan in traffic().prop_flat_map(|plan| shuffled(plan, 12)),
        origins in origins(),
    ) {
        let mut run = Run::new(origins, patient());
        run.handshake();
        plan.iter().for_each(|p| run.play(p));
        run.finish();
        for from in [Direction::FromLow, Direction::FromHigh] {
            let total = plan.iter().filter(|p| p.from == from).map(|p| p.end).max().unwrap_or(0);
            let side = &run.told.streams[from as usize];
            if run.told.opens > 0 {
                prop_assert!(side.ended);
                prop_assert_eq!(&side.gaps, &[]);
                let bytes: Vec<u8> = side.bytes.values().copied().collect();
                prop_assert_eq!(bytes, content(from, 0..total));
            }
        }
        prop_assert_eq!(run.table.ledger().connections, 1);
        prop_assert_eq!(run.table.ledger().overlap_conflicts, 0);
    }

    #[test]
    fn whatever_is_lost_every_byte_seen_comes_out_in_place_and_the_gaps_are_the_rest(
        plan in traffic().prop_flat_map(|plan| shuffled(plan, 6)),
        lost in prop::collection::vec(any::<bool>(), 100),
        origins in origins(),
        wait in prop_oneof![Just(u64::MAX), Just(20 * MS)],
    ) {
        let mut run = Run::new(origins, TcpLimits { acked_gap_wait: wait, ..patient() });
        run.handshake();
        let mut seen = [(); 2].map(|()| BTreeMap::new());
        for planned in plan.iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(p, _)| p) {
            let range = planned.start..planned.end;
            seen[planned.from as usize].extend(range.clone().map(|o| o as u64).zip(content(planned.from, range)));
            run.play(planned);
        }
        run.finish();
        for (side, seen) in run.told.streams.iter().zip(&seen) {
            // A byte may come after its hole was declared; then it is not passed on. Never is one made up or moved.
            for (offset, byte) in &side.bytes {
                prop_assert_eq!(seen.get(offset), Some(byte));
            }
            if wait == u64::MAX && !side.ended && run.told.opens > 0 {
                prop_assert_eq!(&side.bytes, seen);
            }
            let holes: u64 = side.gaps.iter().map(|(_, len)| len).sum();
            prop_assert_eq!(side.next, side.bytes.len() as u64 + holes);
        }
        let l = run.table.ledger();
        prop_assert_eq!(l.gap_bytes, run.told.streams.iter().flat_map(|s| &s.gaps).map(|(_, len)| len).sum::<u64>());
    }

    #[test]
    fn nothing_on_the_wire_can_break_it(
        garbage in prop::collection::vec(
            (any::<bool>(), near(), near(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), 0_u32..3, 0_u16..500),
            1..200,
        ),
        tight in any::<bool>(),
    ) {
        let limits = if tight { TcpLimits { held_per_stream: 700, held_total: 1200, ..limits() } } else { limits() };
        let mut run = Run::new([100, 500], limits);
        run.handshake();
        for (low, seq, ack, flags, payload, cut, pause) in garbage {
            let from = if low { Direction::FromLow } else { Direction::FromHigh };
            run.segment(from, seq, ack, flags, &payload, cut);
            run.at += i64::from(pause) * MS as i64;
            if pause > 400 {
                run.table.on_timeout(Timestamp(run.at), &mut run.told);
                run.check();
            }
        }
        run.finish();
    }
}

/// Numbers around the streams of the test above, around the edges of their windows, and anywhere.
fn near() -> impl Strategy<Value = u32> {
    prop_oneof![90_u32..700, 90_u32..700, 67_108_800_u32..67_109_500, 0x4000_0000_u32..0x4000_0400, any::<u32>()]
}
