//! Two TCP ends and the way between them (RFC 9293, 5681, 6298; challenges: RFC 5961). They have sequence numbers,
//! acknowledgements at once or delayed, windows, and retransmission by time-out and by duplicates. What passes the tap
//! is noted.
//!
//! Positions count the SYN as 0, the first byte as 1, and the FIN behind the last byte. Knows no HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use podtap::packet::TcpFlags;
use podtap::synth::{Rng, SynthSide};

use super::script::{Act, Script, What};

/// The way between the ends, and how they behave.
#[derive(Clone, Debug)]
pub struct Net {
    /// Nanoseconds between client and tap, and between tap and server.
    pub latency: [u64; 2],
    /// Up to so much more for each packet; they may overtake each other then.
    pub jitter: u64,
    /// Share lost between sender and tap, and between tap and receiver.
    pub loss: [f64; 2],
    /// Share of data segments damaged before the tap: their checksum is wrong, their receiver drops them.
    pub damaged: f64,
    /// Share of data segments behind which somebody injects a reset in the window that is not exact.
    pub resets: f64,
    /// Share of data segments that somebody repeats with other bytes when they have been received.
    pub forged_copies: f64,
    /// Share of data segments that are sent again although they arrived.
    pub spurious: f64,
    /// Share of acknowledgements behind which the same end probes whether its peer is alive (RFC 9293 §3.8.4).
    pub probes: f64,
    /// Largest payload of the client's and of the server's segments.
    pub mss: [usize; 2],
    /// Every segment is acknowledged at once.
    pub ack_all: bool,
    /// Receive windows.
    pub window: u64,
    /// Share of data segments after which the receiving application does not read for a while, and how long at most.
    pub stalls: (f64, u64),
    /// Initial sequence numbers.
    pub isn: [u32; 2],
}

/// One packet as it passed the tap.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When, nanoseconds from the start.
    pub at: u64,
    /// Who sent it, or seems to have.
    pub from: SynthSide,
    /// Position of its first byte.
    pub pos: u64,
    /// Acknowledged position.
    pub ack: u64,
    /// Flags.
    pub flags: u8,
    /// Window in bytes.
    pub window: u64,
    /// Its payload, as offsets in the sender's stream.
    pub data: Range<u64>,
    /// Its bytes are not what its sender sent.
    pub forged: bool,
    /// Its checksum is wrong.
    pub bad_checksum: bool,
    /// Timestamp value and echo.
    pub clock: [u32; 2],
}

impl Packet {
    /// Behind its last position.
    pub fn end(&self) -> u64 {
        let flag = |bit: u8| u64::from(self.flags & bit != 0);
        self.pos + (self.data.end - self.data.start) + flag(TcpFlags::SYN) + flag(TcpFlags::FIN)
    }

    /// Whether it is of the handshake.
    pub fn opens(&self) -> bool {
        self.flags & TcpFlags::SYN != 0
    }

    /// Whether its sender really sent it, and its receiver takes it.
    pub fn is_true(&self) -> bool {
        !self.forged && !self.bad_checksum
    }
}

/// A connection as it happened.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What passed the tap, in order of time.
    pub packets: Vec<Packet>,
    /// Both streams: what the client and the server wrote.
    pub streams: [Vec<u8>; 2],
    /// Initial sequence numbers.
    pub isn: [u32; 2],
}

/// Smallest and first retransmission time-out.
const RTO: u64 = 200_000_000;
const FIRST_RTO: u64 = 1_000_000_000;
const DELAYED_ACK: u64 = 40_000_000;
/// This many retransmissions of the same are enough.
const MAX_BACKOFF: u32 = 7;
/// A play that takes more steps than this is cut.
const MAX_STEPS: u32 = 300_000;

#[derive(Default)]
struct Host {
    out: Vec<u8>,
    fin: bool,
    dead: bool,
    /// Acknowledged by the peer; next to send; highest sent.
    una: u64,
    next: u64,
    high: u64,
    /// Next expected of the peer.
    rcv: u64,
    /// What its application has read, while it stalls.
    stalled: Option<u64>,
    early: BTreeMap<u64, u64>,
    peer_window: u64,
    cwnd: u64,
    acts: VecDeque<Act>,
    due: Option<Act>,
    unacked: u64,
    quick: u32,
    must_ack: bool,
    ack_at: Option<u64>,
    rto_at: Option<u64>,
    /// When the timer of retransmission looks next.
    rto_look: Option<u64>,
    backoff: u32,
    duplicates: u32,
    recover: Option<u64>,
    echo: u32,
}

enum Event {
    Arrive(SynthSide, Packet),
    Act(SynthSide),
    Ack(SynthSide),
    Rto(SynthSide),
    Resume(SynthSide),
    Connect,
}

struct Sim<'a> {
    now: u64,
    hosts: [Host; 2],
    net: &'a Net,
    rng: &'a mut Rng,
    /// By time, then by the order in which they were planned.
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    tap: Vec<Packet>,
    /// When the last packet of each side passed the tap and arrived: without jitter none overtakes.
    last: [[u64; 2]; 2],
}

fn index(side: SynthSide) -> usize {
    match side {
        SynthSide::Client => 0,
        SynthSide::Server => 1,
    }
}

/// Lets both ends play their parts.
pub fn play(script: &Script, net: &Net, rng: &mut Rng) -> Trace {
    let host = |acts: &[Act], mss: usize, rng: &mut Rng| Host {
        acts: acts.iter().cloned().collect(),
        cwnd: 10 * mss as u64,
        quick: rng.below(17) as u32,
        peer_window: net.window,
        ..Host::default()
    };
    let hosts = [host(&script.client, net.mss[0], rng), host(&script.server, net.mss[1], rng)];
    let mut sim =
        Sim { now: 0, hosts, net, rng, events: BTreeMap::new(), order: 0, tap: Vec::new(), last: [[0; 2]; 2] };
    sim.at(0, Event::Connect);
    sim.run();
    let Sim { mut tap, hosts: [client, server], .. } = sim;
    tap.sort_by_key(|packet| packet.at);
    Trace { packets: tap, streams: [client.out, server.out], isn: net.isn }
}

impl Sim<'_> {
    fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.insert((time, self.order), event);
    }

    fn host(&mut self, side: SynthSide) -> &mut Host {
        &mut self.hosts[index(side)]
    }

    fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            let Some(((time, _), event)) = self.events.pop_first() else { break };
            self.now = time;
            match event {
                Event::Connect => {
                    self.transmit(SynthSide::Client);
                    self.poll(SynthSide::Client);
                }
                Event::Arrive(to, packet) => self.arrive(to, &packet),
                Event::Act(side) => self.act(side),
                Event::Ack(side) => {
                    let now = self.now;
                    let host = self.host(side);
                    if host.ack_at.is_some_and(|at| at <= now) && !host.dead {
                        self.pure_ack(side);
                    }
                }
                Event::Rto(side) => self.on_rto(side),
                Event::Resume(side) => {
                    self.host(side).stalled = None;
                    if !self.host(side).dead {
                        self.pure_ack(side);
                    }
                    self.poll(side);
                }
            }
        }
    }

    /// The application looks whether its next act is due.
    fn poll(&mut self, side: SynthSide) {
        let now = self.now;
        let host = self.host(side);
        if host.dead || host.due.is_some() {
            return;
        }
        let Some(next) = host.acts.front() else { return };
        if host.stalled.unwrap_or(host.rcv) > next.after {
            host.due = host.acts.pop_front();
            let delay = host.due.as_ref().map_or(0, |act| act.delay);
            self.at(now + delay, Event::Act(side));
        }
    }

    fn act(&mut self, side: SynthSide) {
        let host = self.host(side);
        let Some(act) = host.due.take() else { return };
        if host.dead {
            return;
        }
        match act.what {
            What::Write(bytes) => host.out.extend(bytes),
            What::Fin => host.fin = true,
            What::Reset => {
                let pos = host.next;
                host.dead = true;
                self.emit(side, pos, 0, TcpFlags::RST | TcpFlags::ACK);
                return;
            }
        }
        self.poll(side);
        let joins = act.more && self.host(side).due.as_ref().is_some_and(|next| next.delay == 0);
        if !joins {
            self.transmit(side);
        }
    }

    /// Sends what the windows allow.
    fn transmit(&mut self, side: SynthSide) {
        loop {
            let mss = self.net.mss[index(side)] as u64;
            let host = self.host(side);
            if host.dead {
                return;
            }
            let (next, end) = (host.next, 1 + host.out.len() as u64);
            let limit = host.una + host.cwnd.min(host.peer_window);
            if next == 0 {
                let flags = if side == SynthSide::Server { TcpFlags::SYN | TcpFlags::ACK } else { TcpFlags::SYN };
                if side == SynthSide::Client || host.rcv > 0 {
                    self.emit(side, 0, 0, flags);
                }
                return;
            }
            if host.una == 0 {
                return;
            }
            if next < end && next < limit {
                let len = mss.min(end - next).min(limit - next);
                // No small segment only because the window is nearly full (RFC 9293 §3.8.6.2.1).
                if len < mss.min(end - next) && host.una < host.next {
                    return;
                }
                let fin = if host.fin && next + len == end { TcpFlags::FIN } else { 0 };
                let push = if next + len == end { TcpFlags::PSH } else { 0 };
                self.emit(side, next, len, TcpFlags::ACK | push | fin);
            } else if next == end && host.fin {
                self.emit(side, next, 0, TcpFlags::ACK | TcpFlags::FIN);
            } else {
                if next < end && host.peer_window == 0 && host.rto_at.is_none() {
                    self.arm(side);
                }
                return;
            }
        }
    }

    /// How much it takes by now.
    fn window(&self, side: SynthSide) -> u64 {
        let host = &self.hosts[index(side)];
        let unread = host.stalled.map_or(0, |read| host.rcv.saturating_sub(read));
        self.net.window.saturating_sub(unread)
    }

    fn pure_ack(&mut self, side: SynthSide) {
        // Also while it sends again what lies before: an acknowledgement before the window would be dropped.
        let high = self.host(side).high;
        self.emit(side, high, 0, TcpFlags::ACK);
        if high > 1 && self.rng.chance(self.net.probes) {
            self.emit(side, high - 1, 0, TcpFlags::ACK);
        }
    }

    /// Sends one segment from `pos`, with all that is acknowledged by now.
    fn emit(&mut self, side: SynthSide, pos: u64, len: u64, flags: u8) {
        let now = self.now;
        let window = self.window(side);
        let host = self.host(side);
        let flag = |bit: u8| u64::from(flags & bit != 0);
        let sent = len + flag(TcpFlags::SYN) + flag(TcpFlags::FIN);
        let data = if len > 0 { pos - 1..pos - 1 + len } else { 0..0 };
        if sent > 0 {
            host.next = host.next.max(pos + sent);
        }
        host.high = host.high.max(host.next);
        (host.unacked, host.must_ack, host.ack_at) = (0, false, None);
        let clock = [(now / 1_000_000) as u32 + 1000 * (1 + index(side) as u32), host.echo];
        let ack = if flags & TcpFlags::ACK != 0 { host.rcv } else { 0 };
        if sent > 0 && host.rto_at.is_none() {
            self.arm(side);
        }
        let packet =
            Packet { at: 0, from: side, pos, ack, flags, window, data, forged: false, bad_checksum: false, clock };
        self.send(packet);
    }

    /// Puts a packet on the way, and those that others add to it.
    fn send(&mut self, packet: Packet) {
        let side = packet.from;
        let carries = packet.data.end > packet.data.start;
        let damaged = carries && self.rng.chance(self.net.damaged);
        self.travel(Packet { bad_checksum: damaged, ..packet.clone() });
        if !carries || damaged {
            return;
        }
        if self.rng.chance(self.net.resets) {
            let ahead = self.rng.between(1, 2000);
            let pos = self.host(side).high + ahead;
            self.travel(Packet { pos, data: 0..0, flags: TcpFlags::RST, forged: true, ..packet.clone() });
        }
        if self.rng.chance(self.net.forged_copies) {
            self.travel(Packet { forged: true, ..packet.clone() });
        }
        if self.rng.chance(self.net.spurious) {
            self.travel(packet);
        }
    }

    fn travel(&mut self, mut packet: Packet) {
        let (side, net) = (packet.from, self.net);
        let from = index(side);
        let (first, second) = (net.latency[from], net.latency[1 - from]);
        if self.rng.chance(net.loss[0]) {
            return;
        }
        packet.at = self.passes(from, 0, self.now + first);
        self.tap.push(packet.clone());
        if self.rng.chance(net.loss[1]) || packet.bad_checksum {
            return;
        }
        let arrives = self.passes(from, 1, packet.at + second);
        self.at(arrives, Event::Arrive(side.peer(), packet));
    }

    fn passes(&mut self, from: usize, place: usize, time: u64) -> u64 {
        if self.net.jitter > 0 {
            return time + self.rng.below(self.net.jitter);
        }
        let time = time.max(self.last[from][place] + 100);
        self.last[from][place] = time;
        time
    }

    fn arrive(&mut self, to: SynthSide, packet: &Packet) {
        let window = self.window(to);
        let host = self.host(to);
        if host.dead {
            return;
        }
        if packet.flags & TcpFlags::RST != 0 {
            // Only the exact next byte resets; others in the window are challenged (RFC 5961 §3.2).
            if packet.pos == host.rcv {
                host.dead = true;
            } else if packet.pos > host.rcv && packet.pos < host.rcv + window {
                self.pure_ack(to);
            }
            return;
        }
        if host.rcv == 0 && packet.flags & TcpFlags::SYN == 0 {
            return;
        }
        host.echo = packet.clock[0];
        self.on_ack(to, packet);
        self.on_data(to, packet);
        self.poll(to);
        self.transmit(to);
        if self.host(to).must_ack {
            self.pure_ack(to);
        }
    }

    fn on_ack(&mut self, to: SynthSide, packet: &Packet) {
        let (now, mss) = (self.now, self.net.mss[index(to)] as u64);
        let empty = packet.data.is_empty() && packet.flags & (TcpFlags::SYN | TcpFlags::FIN) == 0;
        let host = self.host(to);
        if packet.flags & TcpFlags::ACK == 0 || packet.ack > host.high {
            return;
        }
        host.peer_window = packet.window;
        if packet.ack > host.una {
            host.cwnd += mss.min(packet.ack - host.una);
            host.una = packet.ack;
            host.next = host.next.max(host.una);
            (host.duplicates, host.backoff) = (0, 0);
            host.rto_at = (host.una < host.high).then_some(now + RTO);
            match host.recover {
                Some(point) if host.una < point => self.retransmit(to),
                _ => host.recover = None,
            }
            if self.host(to).rto_at.is_some() {
                self.arm(to);
            }
        } else if packet.ack == host.una && empty && host.una < host.high {
            host.duplicates += 1;
            if host.duplicates == 3 && host.recover.is_none() {
                host.recover = Some(host.high);
                self.retransmit(to);
            }
        }
    }

    /// The first segment that is not acknowledged, once more.
    fn retransmit(&mut self, side: SynthSide) {
        let mss = self.net.mss[index(side)] as u64;
        let host = self.host(side);
        let (una, end) = (host.una, 1 + host.out.len() as u64);
        if una == 0 {
            return;
        }
        let len = mss.min(end.min(host.high).saturating_sub(una));
        let fin = if host.fin && una + len == end && host.high > end { TcpFlags::FIN } else { 0 };
        self.emit(side, una, len, TcpFlags::ACK | fin);
    }

    fn on_data(&mut self, to: SynthSide, packet: &Packet) {
        let (now, ack_all, window) = (self.now, self.net.ack_all, self.window(to));
        let stalls = self.net.stalls;
        let mss = self.net.mss[index(to.peer())] as u64;
        let (pos, end) = (packet.pos, packet.end());
        let host = self.host(to);
        if end == pos {
            host.must_ack |= pos < host.rcv;
            return;
        }
        // What the window does not hold is not taken: a probe, or one sent before the window closed.
        if end > host.rcv + window && !packet.data.is_empty() {
            host.must_ack = true;
            return;
        }
        if end <= host.rcv || pos > host.rcv {
            if pos > host.rcv && pos < host.rcv + window {
                let known = host.early.entry(pos).or_insert(end);
                *known = end.max(*known);
            }
            host.must_ack = true;
            return;
        }
        let before = host.rcv;
        host.rcv = end;
        let filled = !host.early.is_empty();
        while let Some((start, until)) = host.early.first_key_value().map(|(a, b)| (*a, *b)) {
            if start > host.rcv {
                break;
            }
            host.rcv = host.rcv.max(until);
            host.early.pop_first();
        }
        host.unacked += end - pos;
        let fin = packet.flags & (TcpFlags::FIN | TcpFlags::SYN) != 0;
        host.quick = host.quick.saturating_sub(1);
        if ack_all || filled || fin || host.quick > 0 || host.unacked > mss {
            host.must_ack = true;
        } else if host.ack_at.is_none() {
            host.ack_at = Some(now + DELAYED_ACK);
            self.at(now + DELAYED_ACK, Event::Ack(to));
        }
        if !packet.data.is_empty() && self.host(to).stalled.is_none() && self.rng.chance(stalls.0) {
            self.host(to).stalled = Some(before);
            let pause = self.rng.below(stalls.1);
            self.at(now + pause, Event::Resume(to));
        }
    }

    fn arm(&mut self, side: SynthSide) {
        let now = self.now;
        let host = self.host(side);
        let base = if host.una == 0 { FIRST_RTO } else { RTO };
        let at = now + (base << host.backoff.min(6));
        host.rto_at = Some(at);
        if host.rto_look.is_none_or(|look| at < look) {
            host.rto_look = Some(at);
            self.at(at, Event::Rto(side));
        }
    }

    fn on_rto(&mut self, side: SynthSide) {
        let (now, mss) = (self.now, self.net.mss[index(side)] as u64);
        let host = self.host(side);
        if host.rto_look.is_some_and(|look| look <= now) {
            host.rto_look = None;
        }
        let Some(at) = host.rto_at.filter(|_| !host.dead) else { return };
        if at > now {
            if host.rto_look.is_none() {
                host.rto_look = Some(at);
                self.at(at, Event::Rto(side));
            }
            return;
        }
        if host.peer_window == 0 {
            // A probe (RFC 9293 §3.8.6.1), as Linux sends it: one byte back, and empty.
            let pos = host.una.saturating_sub(1);
            host.backoff = (host.backoff + 1).min(4);
            host.rto_at = None;
            self.emit(side, pos, 0, TcpFlags::ACK);
            self.arm(side);
            return;
        }
        host.backoff += 1;
        if host.backoff > MAX_BACKOFF {
            host.dead = true;
            return;
        }
        host.next = host.una;
        host.cwnd = 2 * mss;
        (host.duplicates, host.recover, host.rto_at) = (0, None, None);
        self.transmit(side);
        if self.host(side).rto_at.is_none() {
            self.arm(side);
        }
    }
}
