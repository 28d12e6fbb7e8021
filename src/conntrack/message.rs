//! Reads one message of ctnetlink. Owns the numbers of its attributes; keeps nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::netlink::{CREATED, NetlinkAttribute, NetlinkAttributes, NetlinkMessage};
use crate::record::{ConntrackStatus, ConntrackTuple, IcmpMessage, PacketCounters};

/// `NFNL_SUBSYS_CTNETLINK`, in the high byte of a type.
const SUBSYSTEM: u16 = 1;
/// `IPCTNL_MSG_CT_NEW`, also of updates and dumps.
const NEW: u16 = 0;
/// `IPCTNL_MSG_CT_GET`
const GET: u16 = 1;
/// `IPCTNL_MSG_CT_DELETE`
const DELETE: u16 = 2;

/// The type of a request for entries.
pub const GET_KIND: u16 = SUBSYSTEM << 8 | GET;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An entry was made.
    New,
    /// An entry changed; in a dump: it is there.
    Update,
    /// An entry was removed.
    Destroy,
}

/// An entry of the table, as far as the message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackEntry {
    /// Addresses before translation.
    pub original: ConntrackTuple,
    /// Addresses of the answers: those after translation, the other way round.
    pub reply: ConntrackTuple,
    /// The kernel's number, a hash.
    pub id: Option<u32>,
    /// Its status.
    pub status: Option<ConntrackStatus>,
    /// State of TCP or SCTP, as the kernel numbers it.
    pub state: Option<u8>,
    /// Zone.
    pub zone: Option<u16>,
    /// Mark.
    pub mark: Option<u32>,
    /// Of both directions.
    pub counters: Option<[PacketCounters; 2]>,
    /// When it was made.
    pub start: Option<Timestamp>,
    /// When it was removed.
    pub stop: Option<Timestamp>,
    /// When this happened.
    pub at: Option<Timestamp>,
}

/// Why a message is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {
    /// Of another subsystem, or of another kind: expectations, say.
    Foreign,
    /// Something that every event has is missing, or does not fit.
    Unreadable,
}

mod number {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const PROTOINFO: u16 = 4;
    pub(super) const MARK: u16 = 8;
    pub(super) const COUNTERS_ORIG: u16 = 9;
    pub(super) const COUNTERS_REPLY: u16 = 10;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const TIMESTAMP: u16 = 20;
    pub(super) const TIMESTAMP_EVENT: u16 = 27;
}

/// Reads a message.
pub fn read(message: &NetlinkMessage<'_>) -> Result<(EventKind, ConntrackEntry), NoEvent> {
    let kind = match (message.kind >> 8, message.kind & 0xff) {
        (SUBSYSTEM, NEW) if message.flags & CREATED != 0 => EventKind::New,
        (SUBSYSTEM, NEW) => EventKind::Update,
        (SUBSYSTEM, DELETE) => EventKind::Destroy,
        _ => return Err(NoEvent::Foreign),
    };
    let (family, _, attributes) = message.netfilter().ok_or(NoEvent::Unreadable)?;
    // IPv4 and IPv6; the tracking of bridges and ARP has other tables.
    if ![2, 10].contains(&family) {
        return Err(NoEvent::Foreign);
    }
    entry(attributes).map(|entry| (kind, entry)).ok_or(NoEvent::Unreadable)
}

fn entry(attributes: NetlinkAttributes<'_>) -> Option<ConntrackEntry> {
    let (mut original, mut reply) = (None, None);
    let (mut id, mut status, mut state, mut zone, mut mark) = (None, None, None, None, None);
    let (mut there, mut back, mut start, mut stop, mut at) = (None, None, None, None, None);
    for attribute in attributes {
        match attribute.kind {
            number::TUPLE_ORIG => original = tuple(attribute.nested()),
            number::TUPLE_REPLY => reply = tuple(attribute.nested()),
            number::STATUS => status = attribute.u32().map(ConntrackStatus),
            number::PROTOINFO => state = protocol_state(attribute.nested()),
            number::MARK => mark = attribute.u32(),
            number::COUNTERS_ORIG => there = counters(attribute.nested()),
            number::COUNTERS_REPLY => back = counters(attribute.nested()),
            number::ID => id = attribute.u32(),
            number::ZONE => zone = attribute.u16(),
            number::TIMESTAMP => (start, stop) = span(attribute.nested()),
            number::TIMESTAMP_EVENT => at = nanoseconds(attribute),
            _ => {}
        }
    }
    let counters = there.zip(back).map(|(there, back)| [there, back]);
    let (original, reply) = (original?, reply?);
    // The kernel translates no family into the other.
    if original.source.ip.is_ipv4() != reply.source.ip.is_ipv4() {
        return None;
    }
    Some(ConntrackEntry { original, reply, id, status, state, zone, mark, counters, start, stop, at })
}

/// Addresses and what distinguishes flows between them; nothing where one address is missing.
fn tuple(attributes: NetlinkAttributes<'_>) -> Option<ConntrackTuple> {
    let (mut source, mut destination, mut protocol) = (None, None, None);
    let (mut ports, mut icmp) = ([0; 2], None::<IcmpMessage>);
    for part in attributes {
        match part.kind {
            1 => {
                for address in part.nested() {
                    match (address.kind, ip(address.value)) {
                        (1 | 3, Some(ip)) => source = Some(ip),
                        (2 | 4, Some(ip)) => destination = Some(ip),
                        _ => {}
                    }
                }
            }
            2 => {
                for number in part.nested() {
                    match number.kind {
                        1 => protocol = number.u8().map(IpProtocol),
                        2 => ports[0] = number.u16()?,
                        3 => ports[1] = number.u16()?,
                        4 | 7 => icmp.get_or_insert_default().id = number.u16(),
                        5 | 8 => icmp.get_or_insert_default().kind = number.u8()?,
                        6 | 9 => icmp.get_or_insert_default().code = number.u8()?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let (source, destination) = (source?, destination?);
    let same_family = source.is_ipv4() == destination.is_ipv4();
    let [source, destination] = [Endpoint::new(source, ports[0]), Endpoint::new(destination, ports[1])];
    same_family.then_some(ConntrackTuple { protocol: protocol?, source, destination, icmp })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into());
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()))
}

/// Packets and bytes, in 64 bits, or in 32 as old kernels have them.
fn counters(attributes: NetlinkAttributes<'_>) -> Option<PacketCounters> {
    let (mut packets, mut bytes) = (None, None);
    for attribute in attributes {
        let number = attribute.u64().or_else(|| attribute.u32().map(u64::from));
        match attribute.kind {
            1 | 3 => packets = number,
            2 | 4 => bytes = number,
            _ => {}
        }
    }
    Some(PacketCounters { packets: packets?, bytes: bytes? })
}

fn span(attributes: NetlinkAttributes<'_>) -> (Option<Timestamp>, Option<Timestamp>) {
    let (mut start, mut stop) = (None, None);
    for attribute in attributes {
        match attribute.kind {
            1 => start = nanoseconds(attribute),
            2 => stop = nanoseconds(attribute),
            _ => {}
        }
    }
    (start, stop)
}

/// A time, since 1970; 0 is none.
fn nanoseconds(attribute: NetlinkAttribute<'_>) -> Option<Timestamp> {
    attribute.u64().filter(|at| *at > 0).and_then(|at| i64::try_from(at).ok()).map(Timestamp)
}

/// Of TCP (1) and SCTP (3); the state is the first attribute of both.
fn protocol_state(mut attributes: NetlinkAttributes<'_>) -> Option<u8> {
    let of_protocol = attributes.find(|attribute| [1, 3].contains(&attribute.kind))?;
    of_protocol.nested().find(|attribute| attribute.kind == 1)?.u8()
}

/// The name of a state, as `conntrack -L` prints it, in lower case.
pub fn state_name(protocol: IpProtocol, state: u8) -> Option<&'static str> {
    const TCP: [&str; 10] = [
        "none",
        "syn_sent",
        "syn_recv",
        "established",
        "fin_wait",
        "close_wait",
        "last_ack",
        "time_wait",
        "close",
        "syn_sent2",
    ];
    const SCTP: [&str; 9] = [
        "none",
        "closed",
        "cookie_wait",
        "cookie_echoed",
        "established",
        "shutdown_sent",
        "shutdown_recd",
        "shutdown_ack_sent",
        "heartbeat_sent",
    ];
    let names: &[&'static str] = match protocol {
        IpProtocol::TCP => &TCP,
        IpProtocol::SCTP => &SCTP,
        _ => &[],
    };
    names.get(usize::from(state)).copied()
}

/// Whether the connection is over in this state, however long the entry lives on.
pub(super) fn is_closed(protocol: IpProtocol, state: u8) -> bool {
    match protocol {
        IpProtocol::TCP => [7, 8].contains(&state),
        IpProtocol::SCTP => state == 1,
        _ => false,
    }
}
