//! What a tap makes of the packets: it misses, repeats, reorders, delays, cuts them; then frames.
//!
//! Judges nothing.

use std::collections::BTreeSet;

use podtap::flow::{Endpoint, FiveTuple, Timestamp};
use podtap::packet::TcpFlags;
use podtap::synth::{LinkHeaders, RawSegment, Rng, SynthFrame, SynthSide};

use super::script::Truth;
use super::tcp::{Packet, Trace};

/// How the capture is spoilt.
#[derive(Clone, Debug, Default)]
pub struct Spoil {
    /// Share of frames missed.
    pub loss: f64,
    /// This many in a row, in the middle; 0 and 1: each by itself.
    pub burst: u64,
    /// Share seen twice.
    pub duplicate: f64,
    /// Share of frames that come up to `distance` nanoseconds late.
    pub late: f64,
    /// See `late`.
    pub distance: u64,
    /// All frames of this side come so much late: two interfaces, two queues.
    pub skew: Option<(SynthSide, u64)>,
    /// Frames keep the time at which they passed, though they come late.
    pub own_time: bool,
    /// Only this side is seen.
    pub only: Option<SynthSide>,
    /// The first part is not seen.
    pub skip: f64,
    /// Bytes kept of each frame; 0: all.
    pub snaplen: usize,
    /// So much the clock jumps, somewhere.
    pub clock: Option<i64>,
    /// Share of exchanges of which every frame with the first byte of a request, an interim or a final response is missed.
    pub heads: f64,
}

/// One captured frame: which packet, when, and how much of its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Index of the packet.
    pub packet: usize,
    /// Time on the capture's clock.
    pub at: u64,
    /// Bytes of payload kept.
    pub kept: u64,
}

/// One connection of a case.
#[derive(Clone, Debug)]
pub struct Conn {
    /// What passed, and both streams.
    pub trace: Trace,
    /// What it meant.
    pub truths: Vec<Truth>,
}

/// A capture with its truth.
#[derive(Clone, Debug)]
pub struct Case {
    /// The connections, one after the other on the same pair of endpoints.
    pub conns: Vec<Conn>,
    /// All packets, with the index of their connection, in order of time.
    pub packets: Vec<(usize, Packet)>,
    /// What was captured, in order.
    pub shots: Vec<Shot>,
    /// The clock jumped: its times say nothing about what was before.
    pub jumped: bool,
}

/// Headers of a frame: IPv4, TCP, timestamps.
const HEADERS: usize = 20 + 20 + 12;
/// When the first packet is sent, on this clock: it may jump back.
pub const BEGIN: u64 = 1_000_000_000_000;
/// Where the clock of packets and shots is 0: 2026-03-01, noon.
pub const NOON: i64 = 1_772_366_400_000_000_000;

impl Case {
    /// Puts connections one behind the other, `pause` nanoseconds between them, and spoils what was seen.
    pub fn new(conns: Vec<Conn>, pause: u64, spoil: &Spoil, rng: &mut Rng) -> Self {
        let mut packets: Vec<(usize, Packet)> = Vec::new();
        let mut start = BEGIN;
        for (index, conn) in conns.iter().enumerate() {
            packets.extend(conn.trace.packets.iter().map(|p| (index, Packet { at: p.at + start, ..p.clone() })));
            start = packets.last().map_or(0, |(_, p)| p.at) + pause;
        }
        let hidden = hidden(&conns, &packets, spoil.heads, rng);
        let mut shots = shots(&packets, spoil, rng);
        shots.retain(|shot| !hidden.contains(&shot.packet));
        Self { conns, packets, shots, jumped: spoil.clock.is_some() }
    }

    /// The frames of what was captured.
    pub fn frames(&self) -> Vec<SynthFrame> {
        self.shots.iter().map(|shot| self.frame(shot)).collect()
    }

    fn frame(&self, shot: &Shot) -> SynthFrame {
        let (conn, packet) = &self.packets[shot.packet];
        let trace = &self.conns[*conn].trace;
        let (client, server) = (Endpoint::new([10, 0, 0, 1], 40000), Endpoint::new([10, 0, 0, 2], 80));
        let tuple = FiveTuple { source: client, destination: server };
        let (own, tuple) = if packet.from == SynthSide::Client { (0, tuple) } else { (1, tuple.reversed()) };
        let payload = self.payload(*conn, packet);
        let flags = TcpFlags(packet.flags);
        let mut options = [0; 20];
        let options = options_of(flags, packet.clock, &mut options);
        let segment = RawSegment {
            tuple,
            seq: trace.isn[own].wrapping_add(packet.pos as u32),
            ack: if flags.ack() { trace.isn[1 - own].wrapping_add(packet.ack as u32) } else { 0 },
            flags,
            window: Some(if flags.syn() { 64_240 } else { (packet.window / 128).min(65_535) as u16 }),
            options,
            payload: &payload,
            ip_id: shot.packet as u16,
            outgoing: own == 0,
        };
        let mut frame = segment.frame(Timestamp(NOON + shot.at as i64), LinkHeaders::Raw);
        if packet.bad_checksum {
            // The sum is that of the right bytes.
            let from = frame.bytes.len() - payload.len();
            forge(&mut frame.bytes[from..]);
        }
        let missing = payload.len().saturating_sub(shot.kept as usize);
        frame.bytes.truncate(frame.bytes.len() - missing);
        frame
    }

    fn payload(&self, conn: usize, packet: &Packet) -> Vec<u8> {
        let stream = &self.conns[conn].trace.streams[usize::from(packet.from == SynthSide::Server)];
        let range = packet.data.start as usize..packet.data.end as usize;
        let mut bytes = stream[range].to_vec();
        if packet.forged {
            forge(&mut bytes);
        }
        bytes
    }

    /// The payload of a packet as it passed.
    pub fn text(&self, packet: usize) -> Vec<u8> {
        let (conn, packet) = &self.packets[packet];
        let mut bytes = self.payload(*conn, packet);
        if packet.bad_checksum {
            forge(&mut bytes);
        }
        bytes
    }
}

/// Changes names in such a way that one sees it: `/r/1` to `/f/1`, `R1` to `F1`; without a name one bit.
fn forge(bytes: &mut [u8]) {
    let mut named = false;
    for at in 1..bytes.len().saturating_sub(1) {
        match (bytes[at - 1], bytes[at], bytes[at + 1]) {
            (b'/', b'r', b'/') => bytes[at] = b'f',
            (b' ', b'R', b'0'..=b'9') => bytes[at] = b'F',
            _ => continue,
        }
        named = true;
    }
    if let Some(last) = bytes.last_mut().filter(|_| !named) {
        *last ^= 1;
    }
}

/// What Linux sends: with SYN also segment size, selective acknowledgements and scale 7.
fn options_of(flags: TcpFlags, clock: [u32; 2], out: &mut [u8; 20]) -> &[u8] {
    out[0..10].copy_from_slice(&[2, 4, 5, 0xB4, 4, 2, 3, 3, 7, 1]);
    out[10..12].copy_from_slice(&[8, 10]);
    out[12..16].copy_from_slice(&clock[0].to_be_bytes());
    out[16..20].copy_from_slice(&(if flags.ack() { clock[1] } else { 0 }).to_be_bytes());
    if flags.syn() {
        &out[..]
    } else {
        out[8..10].copy_from_slice(&[1, 1]);
        &out[8..]
    }
}

/// The packets that hold the first byte of some message of an unlucky exchange.
fn hidden(conns: &[Conn], packets: &[(usize, Packet)], share: f64, rng: &mut Rng) -> BTreeSet<usize> {
    let mut hidden = BTreeSet::new();
    if share == 0.0 {
        return hidden;
    }
    for (index, conn) in conns.iter().enumerate() {
        let mut before = 0;
        for truth in &conn.truths {
            let first = [
                (SynthSide::Client, truth.request.start),
                (SynthSide::Server, before),
                (SynthSide::Server, truth.response.start),
            ];
            before = truth.response.end;
            let Some((side, first)) = rng.pick(&first).copied().filter(|_| rng.chance(share)) else { continue };
            hidden.extend(packets.iter().enumerate().filter_map(|(at, (of, packet))| {
                (*of == index && packet.from == side && packet.data.contains(&first)).then_some(at)
            }));
        }
    }
    hidden
}

fn shots(packets: &[(usize, Packet)], spoil: &Spoil, rng: &mut Rng) -> Vec<Shot> {
    let mut placed: Vec<(u64, Shot)> = Vec::new();
    let mut missing = 0;
    let skipped = (packets.len() as f64 * spoil.skip) as usize;
    for (index, (_, packet)) in packets.iter().enumerate() {
        let burst = spoil.burst.max(1);
        if missing == 0 && rng.chance(spoil.loss / burst as f64) {
            missing = if burst == 1 { 1 } else { rng.between(1, 2 * burst - 1) };
        }
        if missing > 0 {
            missing -= 1;
            continue;
        }
        if index < skipped || spoil.only.is_some_and(|side| side != packet.from) {
            continue;
        }
        let mut delay = spoil.skew.filter(|(side, _)| *side == packet.from).map_or(0, |(_, late)| late);
        if rng.chance(spoil.late) {
            delay += rng.below(spoil.distance);
        }
        let len = packet.data.end - packet.data.start;
        let room = if spoil.snaplen == 0 { u64::MAX } else { spoil.snaplen.saturating_sub(HEADERS) as u64 };
        let shot = Shot { packet: index, at: packet.at, kept: len.min(room) };
        if rng.chance(spoil.duplicate) {
            placed.push((packet.at + delay + rng.below(spoil.distance.max(1000)), shot.clone()));
        }
        placed.push((packet.at + delay, shot));
    }
    placed.sort_by_key(|(place, _)| *place);
    let jump = spoil.clock.map(|by| (rng.below(placed.len() as u64) as usize, by));
    let at = |place: u64, shot: &Shot| if spoil.own_time { shot.at } else { place };
    let jumped = |index: usize, at: u64| match jump {
        Some((from, by)) if index >= from => at.saturating_add_signed(by),
        _ => at,
    };
    let shot = |(index, (place, shot)): (usize, (u64, Shot))| Shot { at: jumped(index, at(place, &shot)), ..shot };
    placed.into_iter().enumerate().map(shot).collect()
}
