//! One flow of the table: what messages said of it, and what records and news say of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroI64, NonZeroU32};

use compact_str::{CompactString, format_compact};
use sha1::{Digest, Sha1};

use super::config::ConntrackConfig;
use super::message::{ConntrackEntry, is_closed, state_name};
use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::record::{
    ConntrackAction, ConntrackRecord, ConntrackStatus, ConntrackTuple, EndKnownBy, EventOutcome, FlowNews,
    FlowProgress, IcmpMessage, NetworkDirection, PacketCounters,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LiveKey {
    pub(super) namespace: Option<i32>,
    pub(super) id: u32,
    pub(super) zone: u16,
    pub(super) tuple: ConntrackTuple,
}

/// A time, or none, in eight bytes: there may be hundreds of thousands of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CompactTime(Option<NonZeroI64>);

impl CompactTime {
    pub(super) fn get(self) -> Option<Timestamp> {
        self.0.map(|time| Timestamp(time.get() ^ i64::MIN))
    }
}

impl From<Option<Timestamp>> for CompactTime {
    fn from(time: Option<Timestamp>) -> Self {
        Self(time.and_then(|time| NonZeroI64::new(time.0 ^ i64::MIN)))
    }
}

/// Four addresses: of who opened and who was opened to, and of the answers the other way round.
#[derive(Debug)]
enum FlowAddresses {
    V4([Ipv4Addr; 4]),
    V6(Box<[Ipv6Addr; 4]>),
}

impl FlowAddresses {
    fn new(all: [IpAddr; 4]) -> Self {
        let [Some(a), Some(b), Some(c), Some(d)] = all.map(|ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None })
        else {
            // A message with addresses of both families is not read (`message`).
            let v6 = |ip| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            return Self::V6(Box::new(all.map(v6)));
        };
        Self::V4([a, b, c, d])
    }

    fn all(&self) -> [IpAddr; 4] {
        match self {
            Self::V4(all) => all.map(IpAddr::V4),
            Self::V6(all) => all.map(IpAddr::V6),
        }
    }
}

/// What the first two of `LiveFlow::ports` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortUse {
    Port,
    /// Type and code of ICMP are the second.
    Icmp,
    /// So they are, and the first is an identifier.
    Echo,
}

/// Rare parts, kept apart: there may be hundreds of thousands of flows.
#[derive(Clone, Copy, Debug, Default)]
struct Rare {
    /// Of a dump, or at the end: live flows seldom have them.
    counters: Option<[PacketCounters; 2]>,
    /// Not in the dumps since then, though events came for it.
    missing: CompactTime,
}

#[derive(Debug)]
pub(super) struct LiveFlow {
    addresses: FlowAddresses,
    start: CompactTime,
    closed: CompactTime,
    rare: Option<Box<Rare>>,
    /// -1 is none: the kernel's numbers are never negative.
    namespace: i32,
    id: u32,
    status: ConntrackStatus,
    mark: Option<NonZeroU32>,
    pub(super) events: u32,
    /// The last dump that had it, or during which an event came.
    pub(super) generation: u32,
    ports: [u16; 4],
    zone: u16,
    protocol: IpProtocol,
    kind: PortUse,
    state: Option<u8>,
    pub(super) begun: bool,
    pub(super) updated: bool,
}

impl LiveFlow {
    pub(super) fn new(key: LiveKey, entry: &ConntrackEntry, generation: u32) -> Self {
        let ConntrackTuple { protocol, source, destination, icmp } = key.tuple;
        let (kind, ports) = match icmp {
            None => (PortUse::Port, [source.port, destination.port]),
            Some(IcmpMessage { kind, code, id }) => {
                let of = if id.is_some() { PortUse::Echo } else { PortUse::Icmp };
                (of, [id.unwrap_or(0), u16::from_be_bytes([kind, code])])
            }
        };
        let [there, back] = [entry.reply.source, entry.reply.destination];
        let mut flow = Self {
            addresses: FlowAddresses::new([source.ip, destination.ip, there.ip, back.ip]),
            start: entry.start.into(),
            closed: CompactTime::default(),
            rare: None,
            namespace: key.namespace.unwrap_or(-1),
            id: key.id,
            status: entry.status.unwrap_or_default(),
            mark: entry.mark.and_then(NonZeroU32::new),
            events: 0,
            generation,
            ports: [ports[0], ports[1], there.port, back.port],
            zone: key.zone,
            protocol,
            kind,
            state: entry.state,
            begun: false,
            updated: false,
        };
        flow.set_counters(entry.counters);
        flow
    }

    pub(super) fn key(&self) -> LiveKey {
        let namespace = (self.namespace >= 0).then_some(self.namespace);
        LiveKey { namespace, id: self.id, zone: self.zone, tuple: self.tuple() }
    }

    fn tuple(&self) -> ConntrackTuple {
        let ([source, destination, ..], [first, second, ..]) = (self.addresses.all(), self.ports);
        let [kind, code] = second.to_be_bytes();
        let (ports, icmp) = match self.kind {
            PortUse::Port => ([first, second], None),
            PortUse::Icmp => ([0; 2], Some(IcmpMessage { kind, code, id: None })),
            PortUse::Echo => ([0; 2], Some(IcmpMessage { kind, code, id: Some(first) })),
        };
        let [source, destination] = [Endpoint::new(source, ports[0]), Endpoint::new(destination, ports[1])];
        ConntrackTuple { protocol: self.protocol, source, destination, icmp }
    }

    fn reply(&self) -> [Endpoint; 2] {
        let ([.., there, back], [.., from, to]) = (self.addresses.all(), self.ports);
        [Endpoint::new(there, from), Endpoint::new(back, to)]
    }

    pub(super) fn start(&self) -> Option<Timestamp> {
        self.start.get()
    }

    pub(super) fn set_start(&mut self, start: Option<Timestamp>) {
        self.start = start.into();
    }

    pub(super) fn closed(&self) -> Option<Timestamp> {
        self.closed.get()
    }

    /// The first message counts that says so.
    pub(super) fn close(&mut self, state: Option<u8>, at: Timestamp) {
        if self.closed().is_none() && state.is_some_and(|state| is_closed(self.protocol, state)) {
            self.closed = Some(at).into();
        }
    }

    fn counters(&self) -> Option<[PacketCounters; 2]> {
        self.rare.as_ref()?.counters
    }

    fn set_counters(&mut self, counters: Option<[PacketCounters; 2]>) {
        if counters.is_some() {
            self.rare.get_or_insert_default().counters = counters;
        }
    }

    pub(super) fn missing(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.missing.get()
    }

    pub(super) fn set_missing(&mut self, since: Option<Timestamp>) {
        match (&mut self.rare, since) {
            (None, None) => {}
            (rare, since) => rare.get_or_insert_default().missing = since.into(),
        }
    }

    /// What a later message knows better.
    pub(super) fn absorb(&mut self, entry: &ConntrackEntry) {
        let ([source, destination, ..], [first, second, ..]) = (self.addresses.all(), self.ports);
        let [there, back] = [entry.reply.source, entry.reply.destination];
        if self.reply() != [there, back] {
            self.addresses = FlowAddresses::new([source, destination, there.ip, back.ip]);
            self.ports = [first, second, there.port, back.port];
        }
        self.status.0 |= entry.status.unwrap_or_default().0;
        self.state = entry.state.or(self.state);
        self.mark = entry.mark.map_or(self.mark, NonZeroU32::new);
        self.set_counters(entry.counters);
        self.start = self.start.get().or(entry.start).into();
    }

    pub(super) fn progress(&self) -> FlowProgress {
        match self.protocol {
            IpProtocol::TCP | IpProtocol::SCTP if self.status.has(ConntrackStatus::ASSURED) => {
                FlowProgress::Established
            }
            _ if self.is_answered() => FlowProgress::Answered,
            _ => FlowProgress::Begun,
        }
    }

    /// Whether something came back. The kernel does not say so of a connection whose only answer was a reset; it counts it.
    fn is_answered(&self) -> bool {
        self.status.has(ConntrackStatus::SEEN_REPLY) || self.counters().is_some_and(|[_, back]| back.packets > 0)
    }

    /// Whether that cannot be known: a reset may have come from either end.
    pub(super) fn may_be_answered(&self) -> bool {
        let is_reset =
            self.protocol == IpProtocol::TCP && self.state.is_some_and(|state| is_closed(IpProtocol::TCP, state));
        self.is_answered() || is_reset && self.counters().is_none()
    }

    pub(super) fn news(&self, progress: FlowProgress, ended: bool, at: Timestamp) -> FlowNews {
        let ConntrackTuple { protocol, source, destination, icmp } = self.tuple();
        let id = icmp.and_then(|icmp| icmp.id);
        let as_source = |end: Endpoint| Endpoint { port: id.unwrap_or(end.port), ..end };
        let [destination_nat, source_nat] = self.reply();
        FlowNews {
            protocol,
            source: as_source(source),
            destination,
            source_nat: Some(source_nat).filter(|nat| *nat != source).map(as_source),
            destination_nat: Some(destination_nat).filter(|nat| *nat != destination),
            progress,
            ended,
            at,
        }
    }

    pub(super) fn record(
        &self,
        action: ConntrackAction,
        at: Timestamp,
        end: Option<(Timestamp, EndKnownBy)>,
        config: &ConntrackConfig,
    ) -> ConntrackRecord {
        let LiveKey { namespace, id, zone, tuple } = self.key();
        let [reply_source, reply_destination] = self.reply();
        let source_nat = (reply_destination != tuple.source && !tuple.protocol.is_icmp()
            || reply_destination.ip != tuple.source.ip)
            .then_some(reply_destination);
        let destination_nat = (reply_source != tuple.destination && !tuple.protocol.is_icmp()
            || reply_source.ip != tuple.destination.ip)
            .then_some(reply_source);
        let is_end = action == ConntrackAction::End;
        let ends = [destination_nat, Some(tuple.destination)].into_iter().flatten();
        ConntrackRecord {
            id: self.event_id(action, config),
            action,
            at: end.map_or(at, |(end, _)| end),
            // A clock that was set back makes no flow that ends before it begins.
            start: self.start.get().filter(|start| end.is_none_or(|(end, _)| *start <= end)),
            end: end.map(|(end, _)| end),
            end_known_by: end.map(|(_, known_by)| known_by),
            tuple,
            source_nat,
            destination_nat,
            counters: self.counters().filter(|_| is_end),
            kernel_id: (id != 0).then_some(id),
            zone: (zone != 0).then_some(zone),
            mark: self.mark.map(NonZeroU32::get),
            status: self.status,
            state: self.state.and_then(|state| state_name(tuple.protocol, state)),
            namespace,
            events: self.events.into(),
            begun: self.begun,
            updated: self.updated,
            outcome: is_end.then(|| self.outcome()),
            tries: self.tries().filter(|_| is_end),
            flows: None,
            direction: NetworkDirection::of(&config.own_ips, tuple.source.ip, ends.map(|end| end.ip)),
            source_workload: None,
            destination_workload: None,
        }
    }

    /// TCP and SCTP: whether it was ever established. UDP may well want no answer.
    pub(super) fn outcome(&self) -> EventOutcome {
        let replied = self.is_answered();
        match self.protocol {
            IpProtocol::TCP | IpProtocol::SCTP if self.status.has(ConntrackStatus::ASSURED) => EventOutcome::Success,
            IpProtocol::TCP | IpProtocol::SCTP => EventOutcome::Failure,
            IpProtocol::ICMP | IpProtocol::ICMP6 if !replied => EventOutcome::Failure,
            _ if replied => EventOutcome::Success,
            _ => EventOutcome::Unknown,
        }
    }

    /// The packets that nothing answered.
    pub(super) fn tries(&self) -> Option<u64> {
        self.counters().filter(|_| !self.is_answered()).map(|[there, _]| there.packets)
    }

    /// The same flow has the same id in all of its records, and from every run that sees its beginning.
    pub(super) fn event_id(&self, action: ConntrackAction, config: &ConntrackConfig) -> CompactString {
        let LiveKey { namespace, id, zone, tuple } = self.key();
        let mut hash = Sha1::new();
        hash.update(config.observer_id.as_bytes());
        hash.update(self.start.get().map_or(0, |start| start.0).to_le_bytes());
        hash.update(namespace.unwrap_or(-1).to_le_bytes());
        hash.update(id.to_le_bytes());
        hash.update(zone.to_le_bytes());
        hash.update([tuple.protocol.0]);
        for end in [tuple.source, tuple.destination] {
            match end.ip {
                IpAddr::V4(v4) => hash.update(v4.octets()),
                IpAddr::V6(v6) => hash.update(v6.octets()),
            }
            hash.update(end.port.to_le_bytes());
        }
        let icmp = tuple.icmp.unwrap_or_default();
        hash.update([icmp.kind, icmp.code]);
        hash.update(icmp.id.unwrap_or_default().to_le_bytes());
        let digest: [u8; 20] = hash.finalize().into();
        let flow = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        match action {
            ConntrackAction::New | ConntrackAction::End => format_compact!("{flow:016x}.{}", action.name()),
            ConntrackAction::Update => format_compact!("{flow:016x}.{}", self.events),
        }
    }
}
