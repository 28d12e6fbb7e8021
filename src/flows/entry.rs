//! One flow: its counts since the last report, and how far it has come.
//!
//! Finds nothing and ends nothing by itself: `table` does.

mod news;
mod report;

use std::sync::Arc;

use compact_str::CompactString;

use super::sequence::Sequence;
use crate::flow::{
    ConnKey, Direction, FiveTuple, IpProtocol, KeyHasher, Keyed, OuterLayers, Scope, Timestamp, icmp_counterpart,
};
use crate::packet::{CarriedIn, Datagram, Segment, TcpFlags};
use crate::record::{ConnectionOpening, ExchangeConnection, FlowCounts, FlowProgress, IcmpMessage};
use crate::tls;

/// Packets of one end alone that make a flow more than a stray one.
const SETTLED_AFTER: u32 = 3;

/// What flows are distinguished by, besides their scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowKey {
    pub(super) hash: u64,
    /// Of ICMP: the identifier of an echo as both ports, else type and code.
    pub(super) ends: ConnKey,
    pub(super) protocol: IpProtocol,
    /// Of ICMP: its type, the higher one of those that ask and answer.
    icmp: u8,
}

impl PartialEq for FlowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (self.ends, self.protocol, self.icmp) == (other.ends, other.protocol, other.icmp)
    }
}

impl FlowKey {
    /// Of a protocol with ports.
    pub(super) fn of_ports(hasher: &KeyHasher, tuple: FiveTuple, protocol: IpProtocol) -> Self {
        Self::new(&hasher.of(tuple, Scope::default()), protocol, 0)
    }

    fn new(keyed: &Keyed, protocol: IpProtocol, icmp: u8) -> Self {
        Self { hash: hash(keyed, protocol, icmp), ends: keyed.key.ends(), protocol, icmp }
    }
}

/// That of the ends, where it is TCP: most packets need no other.
fn hash(keyed: &Keyed, protocol: IpProtocol, icmp: u8) -> u64 {
    let mark = u64::from(protocol.0 ^ IpProtocol::TCP.0) << 8 | u64::from(icmp);
    keyed.key.hash_of_ends() ^ mark.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One packet, as a flow sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenPacket<'a> {
    pub(super) hash: u64,
    keyed: Keyed,
    pub(super) protocol: IpProtocol,
    icmp_kind: u8,
    pub(super) from: Direction,
    pub(super) at: Timestamp,
    pub(super) scope: Scope,
    pub(super) around: &'a OuterLayers,
    pub(super) carried: CarriedIn,
    pub(super) payload_len: u32,
    pub(super) icmp: Option<IcmpMessage>,
    pub(super) tcp: Option<&'a Segment<'a>>,
    pub(super) interface: Option<&'a Arc<str>>,
}

impl<'a> SeenPacket<'a> {
    #[inline]
    pub(super) fn of_segment(keyed: &Keyed, segment: &'a Segment<'a>) -> Self {
        Self {
            hash: keyed.key.hash_of_ends(),
            keyed: *keyed,
            protocol: IpProtocol::TCP,
            icmp_kind: 0,
            from: keyed.from,
            at: segment.at,
            scope: segment.scope,
            around: &segment.around,
            carried: segment.carried,
            payload_len: segment.payload_len,
            icmp: None,
            tcp: Some(segment),
            interface: segment.interface,
        }
    }

    pub(super) fn of_datagram(hasher: &KeyHasher, datagram: &'a Datagram<'a>) -> Self {
        let mut tuple = datagram.tuple;
        let mut asks = 0;
        if let Some(icmp) = datagram.icmp {
            let counterpart = icmp_counterpart(datagram.protocol, icmp.kind.into());
            asks = counterpart.map_or(icmp.kind, |other| icmp.kind.max(u8::try_from(other).unwrap_or(u8::MAX)));
            let code = counterpart.map_or(icmp.code.into(), |_| icmp.id.unwrap_or(0));
            (tuple.source.port, tuple.destination.port) = (code, code);
        }
        let keyed = hasher.of(tuple, Scope::default());
        Self {
            hash: hash(&keyed, datagram.protocol, asks),
            keyed,
            protocol: datagram.protocol,
            icmp_kind: asks,
            from: keyed.from,
            at: datagram.at,
            scope: datagram.scope,
            around: &datagram.around,
            carried: datagram.carried,
            payload_len: datagram.payload_len,
            icmp: datagram.icmp,
            tcp: None,
            interface: datagram.interface,
        }
    }

    /// Whether it is of the flow with that key, or of another one in another scope.
    #[inline]
    pub(super) fn has(&self, key: &FlowKey) -> bool {
        let ConnKey { low, high, .. } = self.keyed.key.key();
        self.hash == key.hash
            && (*low, *high) == (key.ends.low, key.ends.high)
            && (self.protocol, self.icmp_kind) == (key.protocol, key.icmp)
    }

    fn flags(&self) -> TcpFlags {
        self.tcp.map(|segment| segment.flags).unwrap_or_default()
    }

    /// Who opened, as far as this packet shows.
    fn source(&self) -> Direction {
        let answers_syn = self.flags().syn() && self.flags().ack();
        let answers_echo = self.icmp.is_some_and(|icmp| is_answer(self.protocol, icmp.kind));
        if answers_syn || answers_echo { self.from.flip() } else { self.from }
    }
}

/// Whether messages of this type answer others.
fn is_answer(protocol: IpProtocol, kind: u8) -> bool {
    let answers: &[u8] =
        if protocol == IpProtocol::ICMP { &[0, 9, 14, 16, 18] } else { &[129, 131, 134, 136, 140, 145] };
    answers.contains(&kind)
}

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FlowPhase {
    Attempt,
    Established,
    Closed,
    Reset,
    Refused,
    Unreachable,
}

/// Why a flow is reported for the last time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Last {
    /// It is over by what its ends sent, or another took its ports.
    Over,
    /// Nothing came for too long.
    Idle,
    /// It makes room.
    Evicted,
    /// The capture is over.
    Capture,
}

/// One flow.
#[derive(Debug)]
pub(super) struct FlowEntry {
    pub(super) key: FlowKey,
    /// Where each direction was seen.
    scope: [Option<Scope>; 2],
    /// Where the first packet was.
    began_in: Scope,
    around: OuterLayers,
    source: Direction,
    phase: FlowPhase,
    /// When it came to a phase that is an end.
    over: Option<Timestamp>,
    ended_by: Option<Direction>,
    first: Timestamp,
    /// The first packet since the last report.
    since: Timestamp,
    last: Timestamp,
    reported: Timestamp,
    reports: u32,
    counts: [FlowCounts; 2],
    heard: [bool; 2],
    packets: u32,
    tcp: Option<Box<TcpProgress>>,
    icmp: Option<IcmpMessage>,
    exchanges: u32,
    interface: Option<Arc<str>>,
    /// How far those who wait for news know it has come.
    told: Option<FlowProgress>,
    /// Something came since the hand of the clock passed by.
    pub(super) referenced: bool,
    /// More than a stray packet.
    pub(super) settled: bool,
}

#[derive(Debug, Default)]
struct TcpProgress {
    sequences: [Sequence; 2],
    connect_ns: Option<u64>,
    /// As the exchanges in it have it.
    connection: Option<Arc<ExchangeConnection>>,
    /// As its records have it.
    opening: Option<Arc<ConnectionOpening>>,
    /// A SYN in the middle, which counts once it is answered or followed: who sent it, and its number.
    attempt: Option<(Direction, u32)>,
    /// Who sent the RST that ended it.
    reset_by: Option<Direction>,
    /// The first bytes of who opened were looked at.
    looked_at: bool,
    /// What they call the server.
    server_name: Option<CompactString>,
}

fn side<T>(both: &mut [T; 2], from: Direction) -> (&mut T, &mut T) {
    let [low, high] = both;
    match from {
        Direction::FromLow => (low, high),
        Direction::FromHigh => (high, low),
    }
}

fn of<T: Clone>([low, high]: &[T; 2], from: Direction) -> T {
    from.pick(low, high).clone()
}

impl FlowEntry {
    pub(super) fn new(seen: &SeenPacket<'_>) -> Self {
        Self {
            key: FlowKey::new(&seen.keyed, seen.protocol, seen.icmp_kind),
            scope: [None; 2],
            began_in: seen.scope,
            around: *seen.around,
            source: seen.source(),
            phase: FlowPhase::Attempt,
            over: None,
            ended_by: None,
            first: seen.at,
            since: seen.at,
            last: seen.at,
            reported: seen.at,
            reports: 0,
            counts: Default::default(),
            heard: [false; 2],
            packets: 0,
            tcp: seen.tcp.is_some().then(Box::default),
            icmp: seen.icmp,
            exchanges: 0,
            interface: seen.interface.cloned(),
            told: None,
            referenced: false,
            settled: false,
        }
    }

    /// Whether a packet with its key was met where this flow is. The answer of TCP may come in another VLAN or tunnel.
    #[inline]
    pub(super) fn is_met_by(&self, seen: &SeenPacket<'_>) -> bool {
        let (own, opposite) = (of(&self.scope, seen.from), of(&self.scope, seen.from.flip()));
        match (own, opposite) {
            (Some(scope), _) if scope == seen.scope => true,
            (None, Some(scope)) => scope == seen.scope || self.is_answered_by(seen),
            (Some(_), _) | (None, None) => false,
        }
    }

    fn is_answered_by(&self, seen: &SeenPacket<'_>) -> bool {
        let Some((tcp, segment)) = self.tcp.as_ref().zip(seen.tcp) else { return false };
        let opposite = seen.from.flip().pick(&tcp.sequences[0], &tcp.sequences[1]);
        segment.flags.ack() && !opposite.is_foreign(segment.ack)
    }

    /// Whether a packet with its key begins another flow.
    #[inline]
    pub(super) fn is_succeeded_by(&self, seen: &SeenPacket<'_>) -> bool {
        let Some((tcp, segment)) = self.tcp.as_ref().zip(seen.tcp) else { return false };
        let flags = segment.flags;
        if flags.rst() || (self.over.is_none() && !flags.syn() && tcp.attempt.is_none()) {
            return false;
        }
        let own = seen.from.pick(&tcp.sequences[0], &tcp.sequences[1]);
        let answers = flags.ack()
            && tcp.attempt.is_some_and(|(from, syn)| from != seen.from && segment.ack == syn.wrapping_add(1));
        match (flags.syn(), flags.ack()) {
            _ if own.syn == Some(segment.seq) && flags.syn() => false,
            (true, true) => answers || (self.over.is_some() && own.syn.is_some()),
            (true, false) if self.over.is_some() => true,
            (true, false) if own.syn.is_none() => !own.may_follow(segment.seq),
            (true, false) => self.phase == FlowPhase::Attempt,
            (false, _) if self.over.is_some() => segment.payload_len > 0 && own.is_foreign(segment.seq),
            (false, _) => {
                tcp.attempt.is_some_and(|(from, syn)| from == seen.from && segment.seq == syn.wrapping_add(1))
            }
        }
    }

    /// Whether it is this connection.
    pub(super) fn carries(&self, connection: &ExchangeConnection) -> bool {
        let ConnKey { low, high, .. } = self.key.ends;
        let ends = (connection.client, connection.server);
        let is_between = ends == (low, high) || ends == (high, low);
        is_between && self.key.protocol == IpProtocol::TCP && self.scope.contains(&Some(connection.scope))
    }

    /// Counts its own packet.
    #[inline]
    pub(super) fn take(&mut self, seen: &SeenPacket<'_>) {
        if self.counts.iter().all(|counts| counts.packets == 0) {
            self.since = seen.at;
        }
        let (counts, _) = side(&mut self.counts, seen.from);
        counts.packets += u64::from(seen.carried.packets);
        counts.bytes += u64::from(seen.carried.bytes);
        counts.payload_bytes += u64::from(seen.payload_len);
        let (scope, _) = side(&mut self.scope, seen.from);
        *scope = Some(seen.scope);
        self.last = seen.at;
        self.referenced = true;
        if !self.settled {
            self.note_heard(seen.from);
        }
        if let Some(segment) = seen.tcp {
            self.take_tcp(seen.from, segment);
        }
    }

    fn note_heard(&mut self, from: Direction) {
        let (heard, _) = side(&mut self.heard, from);
        *heard = true;
        self.packets = self.packets.saturating_add(1);
        let both = self.heard == [true; 2];
        if both && self.phase == FlowPhase::Attempt && self.tcp.is_none() {
            self.phase = FlowPhase::Established;
        }
        self.settled = both || self.packets >= SETTLED_AFTER && self.tcp.is_none();
    }

    fn take_tcp(&mut self, from: Direction, segment: &Segment<'_>) {
        let Some(tcp) = &mut self.tcp else { return };
        if !tcp.looked_at && from == self.source && !segment.payload.is_empty() {
            tcp.looked_at = true;
            tcp.server_name = tls::server_name(segment.payload);
        }
        let flags = segment.flags;
        let (own, opposite) = side(&mut tcp.sequences, from);
        let (counts, _) = side(&mut self.counts, from);
        if flags.rst() {
            counts.resets += 1;
        } else {
            let len = segment.payload_len + u32::from(flags.syn()) + u32::from(flags.fin());
            counts.retransmitted_bytes += u64::from(own.take(segment.seq, len, segment.payload_len, segment.at));
            if !flags.syn() && segment.window().is_some_and(|window| own.on_window(window)) {
                counts.zero_windows += 1;
            }
        }
        if flags.ack() {
            opposite.on_ack(segment.ack, segment.at);
        }
        if flags.0 & (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) != 0 || self.phase != FlowPhase::Established {
            self.judge(from, segment);
        }
    }

    /// What a segment with SYN, FIN or RST means, or one before or after the flow is established.
    fn judge(&mut self, from: Direction, segment: &Segment<'_>) {
        let flags = segment.flags;
        match (flags.rst(), flags.syn(), flags.fin()) {
            (true, ..) => self.on_reset(from, segment),
            (_, true, _) => self.on_syn(from, segment),
            (_, _, fin) => self.on_other(from, segment, fin),
        }
    }

    fn on_syn(&mut self, from: Direction, segment: &Segment<'_>) {
        let Some(tcp) = &mut self.tcp else { return };
        let (own, opposite) = side(&mut tcp.sequences, from);
        let known = own.syn.map_or(self.over.is_some() || own.may_follow(segment.seq), |syn| syn == segment.seq);
        if !known {
            if !segment.flags.ack() {
                tcp.attempt = Some((from, segment.seq));
            }
            return;
        }
        own.syn = Some(segment.seq);
        if !segment.flags.ack() {
            // Without its SYN, who opened was a guess.
            if opposite.syn.is_none() && self.reports == 0 {
                self.source = from;
            }
            return;
        }
        if self.phase == FlowPhase::Attempt {
            self.phase = FlowPhase::Established;
        }
        if opposite.syn.is_some() && self.source != from && tcp.connect_ns.is_none() && segment.at >= self.first {
            tcp.connect_ns = Some(segment.at.since(self.first));
        }
    }

    fn on_other(&mut self, from: Direction, segment: &Segment<'_>, fin: bool) {
        let Some(tcp) = &mut self.tcp else { return };
        match self.phase {
            // Joined late; or both SYNs crossed; or the capture lost the answer.
            FlowPhase::Attempt => self.phase = FlowPhase::Established,
            // Who has reset a connection sends nothing more on it: it was forged, or not taken.
            FlowPhase::Reset if tcp.reset_by == Some(from) => {
                (self.phase, self.over, self.ended_by, tcp.reset_by) = (FlowPhase::Established, None, None, None);
            }
            FlowPhase::Established
            | FlowPhase::Closed
            | FlowPhase::Reset
            | FlowPhase::Refused
            | FlowPhase::Unreachable => {}
        }
        if !fin {
            return;
        }
        let (own, opposite) = side(&mut tcp.sequences, from);
        own.fin = true;
        self.ended_by = self.ended_by.or(Some(from));
        if opposite.fin && self.phase == FlowPhase::Established {
            (self.phase, self.over) = (FlowPhase::Closed, Some(segment.at));
        }
    }

    fn on_reset(&mut self, from: Direction, segment: &Segment<'_>) {
        let Some(tcp) = &mut self.tcp else { return };
        let (_, opposite) = side(&mut tcp.sequences, from);
        let refuses = opposite.syn.is_some_and(|syn| segment.flags.ack() && segment.ack == syn.wrapping_add(1));
        let phase = match self.phase {
            FlowPhase::Attempt if refuses && from != self.source => FlowPhase::Refused,
            // Of an older connection, or forged.
            FlowPhase::Attempt if opposite.syn.is_some() && segment.flags.ack() => return,
            FlowPhase::Attempt | FlowPhase::Established => FlowPhase::Reset,
            FlowPhase::Closed | FlowPhase::Reset | FlowPhase::Refused | FlowPhase::Unreachable => return,
        };
        self.ended_by = self.ended_by.or(Some(from));
        tcp.reset_by = Some(from);
        (self.phase, self.over) = (phase, Some(segment.at));
    }

    /// ICMP says that what `from` sent did not arrive.
    pub(super) fn on_unreachable(&mut self, from: Direction, port: bool) {
        if self.phase != FlowPhase::Attempt || from != self.source {
            return;
        }
        self.phase = if port { FlowPhase::Refused } else { FlowPhase::Unreachable };
    }

    /// An exchange was recorded in this connection.
    pub(super) fn on_exchange(&mut self, connection: &Arc<ExchangeConnection>) {
        self.exchanges = self.exchanges.saturating_add(1);
        if let Some(tcp) = &mut self.tcp
            && tcp.connection.is_none()
        {
            tcp.connection = Some(Arc::clone(connection));
        }
    }
}
