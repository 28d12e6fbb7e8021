//! The basic words of a flow: time, endpoints, direction. Depends on nothing else.
//!
//! Decodes no packets (`packet`) and keeps no state (`tcp`).

mod hashed;
mod ids;
mod place;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compact_str::{CompactString, format_compact};
use sha1::{Digest, Sha1};

pub use self::hashed::{HashedKey, KeyHasher, Keyed, Ready, ReadyHash};
use self::ids::DigestInput;
pub use self::ids::{ConnectionBeginning, FlowIds, connection_id};
pub use self::place::{OuterLayers, PacketPlace, Tunnel, TunnelKind};

/// Nanoseconds since the Unix epoch, on the capture's clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From the seconds and nanoseconds of a kernel timestamp; saturates instead of wrapping.
    pub fn new(seconds: i64, nanos: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to `self`; 0 when the clock went back.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// `self` plus `nanos`, saturating.
    #[must_use]
    pub fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }

    /// `self` less `nanos`, saturating.
    #[must_use]
    pub fn minus(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339, UTC, with microseconds, or nanoseconds where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        let digits = if self.0 % 1000 == 0 { 6 } else { 9 };
        write!(f, "{time:.digits$}")
    }
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// TCP or UDP port.
    pub port: u16,
}

impl Endpoint {
    /// An address and a port.
    pub fn new(ip: impl Into<IpAddr>, port: u16) -> Self {
        Self { ip: ip.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// The VLANs and tunnels around a packet, as one number; 0 for a packet that has none.
///
/// One five-tuple in two VLANs or virtual networks is two connections: they share addresses, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Scope(u32);

impl Scope {
    /// The scope inside a VLAN.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.inside(1, id.into())
    }

    /// The scope inside a virtual network. The tunnel's ends are no part of it: a fabric may send one connection through
    /// several of them.
    #[must_use]
    pub fn network(self, id: u32) -> Self {
        self.inside(2, id.into())
    }

    /// The scope inside a tunnel between two addresses, whichever way round, with the tunnel's key (GRE) or 0.
    #[must_use]
    pub fn tunnel(self, a: IpAddr, b: IpAddr, key: u32) -> Self {
        fn number(ip: IpAddr) -> u64 {
            let bits = match ip {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            mix(bits as u64) ^ (bits >> 64) as u64
        }
        self.inside(3, mix(number(a)).wrapping_add(mix(number(b))) ^ u64::from(key))
    }

    /// The scope inside a session of PPPoE.
    #[must_use]
    pub fn session(self, id: u16) -> Self {
        self.inside(4, id.into())
    }

    fn inside(self, kind: u64, id: u64) -> Self {
        Self((mix(mix(u64::from(self.0) << 8 | kind) ^ id) >> 32) as u32 | 1)
    }
}

/// Spreads every bit over the whole word (the finalizer of splitmix64).
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Sender and receiver of one segment; the protocol is TCP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FiveTuple {
    /// Sender.
    pub source: Endpoint,
    /// Receiver.
    pub destination: Endpoint,
}

impl FiveTuple {
    /// The same pair the other way round.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// Which of the two streams of a connection: sent by its lower or by its higher endpoint.
///
/// Says nothing about who is the client: that is decided by content, in `http`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Sent by the lower endpoint of the `ConnKey`.
    FromLow,
    /// Sent by the higher endpoint of the `ConnKey`.
    FromHigh,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub fn flip(self) -> Self {
        match self {
            Self::FromLow => Self::FromHigh,
            Self::FromHigh => Self::FromLow,
        }
    }

    /// Of two things, the one of this direction.
    #[inline]
    #[must_use]
    pub fn pick<T>(self, low: T, high: T) -> T {
        match self {
            Self::FromLow => low,
            Self::FromHigh => high,
        }
    }
}

/// A connection's identity, the same for both directions: its endpoints in order, and where they were met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnKey {
    /// The lower endpoint.
    pub low: Endpoint,
    /// The higher endpoint.
    pub high: Endpoint,
    /// The VLANs and tunnels around its packets.
    pub scope: Scope,
}

impl ConnKey {
    /// The key of a segment's connection outside of any VLAN or tunnel, and the direction the segment goes.
    #[inline(always)]
    pub fn of(tuple: FiveTuple) -> (Self, Direction) {
        let FiveTuple { source, destination } = tuple;
        match (source.ip, destination.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Self::of_v4((a, source.port), (b, destination.port)),
            _ if source <= destination => (Self::plain(source, destination), Direction::FromLow),
            _ => (Self::plain(destination, source), Direction::FromHigh),
        }
    }

    /// The same in one comparison, and put together from numbers, as this is on the path of every packet. To read whole
    /// what a decoder has just written piece by piece makes the processor wait.
    #[inline(always)]
    fn of_v4(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> (Self, Direction) {
        let number = |(ip, port): (Ipv4Addr, u16)| u64::from(ip.to_bits()) << 16 | u64::from(port);
        let end = |(ip, port): (Ipv4Addr, u16)| Endpoint { ip: IpAddr::V4(ip), port };
        if number(source) <= number(destination) {
            (Self::plain(end(source), end(destination)), Direction::FromLow)
        } else {
            (Self::plain(end(destination), end(source)), Direction::FromHigh)
        }
    }

    #[inline]
    fn plain(low: Endpoint, high: Endpoint) -> Self {
        Self { low, high, scope: Scope(0) }
    }

    /// The same endpoints in a scope.
    #[must_use]
    #[inline]
    pub fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// A number that is the same on every machine, and spreads keys evenly; `salt` makes others of them.
    pub fn spread(&self, salt: u64) -> u64 {
        let word = |end: &Endpoint| {
            let bits = match end.ip {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            mix(bits as u64) ^ mix((bits >> 64) as u64 ^ u64::from(end.port) << 48)
        };
        mix(mix(salt ^ word(&self.low)) ^ word(&self.high) ^ u64::from(self.scope.0))
    }

    /// Sender and receiver of the segments that go in `direction`.
    pub fn tuple(&self, direction: Direction) -> FiveTuple {
        match direction {
            Direction::FromLow => FiveTuple { source: self.low, destination: self.high },
            Direction::FromHigh => FiveTuple { source: self.high, destination: self.low },
        }
    }
}

/// Hashes two or three words instead of the enum's parts: this is on the path of every packet.
impl Hash for ConnKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        fn word(ip: IpAddr) -> u128 {
            match ip {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            }
        }
        match (self.low.ip, self.high.ip) {
            (IpAddr::V4(low), IpAddr::V4(high)) => {
                state.write_u64(u64::from(low.to_bits()) << 32 | u64::from(high.to_bits()));
            }
            (low, high) => {
                state.write_u128(word(low));
                state.write_u128(word(high));
            }
        }
        let ports = u64::from(self.low.port) << 16 | u64::from(self.high.port);
        state.write_u64(ports << 32 | u64::from(self.scope.0));
    }
}

/// A protocol on top of IP, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// ICMP
    pub const ICMP: Self = Self(1);
    /// TCP
    pub const TCP: Self = Self(6);
    /// UDP
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6
    pub const ICMP6: Self = Self(58);
    /// SCTP
    pub const SCTP: Self = Self(132);

    /// Names as IANA registers them, in lower case.
    const NAMES: [(u8, &'static str); 14] = [
        (1, "icmp"),
        (2, "igmp"),
        (4, "ipip"),
        (6, "tcp"),
        (17, "udp"),
        (33, "dccp"),
        (41, "ipv6"),
        (47, "gre"),
        (50, "esp"),
        (51, "ah"),
        (58, "ipv6-icmp"),
        (89, "ospf"),
        (132, "sctp"),
        (136, "udplite"),
    ];

    /// Its name; none where the number is all there is.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// Its name, or its number where it has none.
    pub fn text(self) -> CompactString {
        self.name().map_or_else(|| format_compact!("{}", self.0), CompactString::const_new)
    }

    /// By name or number, in any case; `icmpv6` and `icmp6` are `ipv6-icmp`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let text = if ["icmpv6", "icmp6"].contains(&text.as_str()) { "ipv6-icmp" } else { &text };
        let named = Self::NAMES.iter().find(|(_, name)| *name == text).map(|(number, _)| Self(*number));
        named.or_else(|| text.parse().ok().map(Self))
    }

    /// Whether its packets name ports.
    pub fn has_ports(self) -> bool {
        [6, 17, 33, 132, 136].contains(&self.0)
    }

    /// Whether it is ICMP, of either version.
    pub fn is_icmp(self) -> bool {
        self == Self::ICMP || self == Self::ICMP6
    }
}

/// Community ID v1, seed 0, of a TCP flow: <https://github.com/corelight/community-id-spec>.
pub fn community_id(key: &ConnKey) -> CompactString {
    hashed(IpProtocol::TCP, key.low, key.high, true)
}

/// Community ID v1, seed 0, of any protocol. For ICMP the ports are type and code.
pub fn community_id_of(protocol: IpProtocol, source: Endpoint, destination: Endpoint) -> CompactString {
    let mut ends = (source, destination);
    let mut one_way = false;
    if protocol.is_icmp() {
        match icmp_counterpart(protocol, source.port) {
            Some(counterpart) => ends.1.port = counterpart,
            None => one_way = true,
        }
    }
    if !one_way && ends.0 > ends.1 {
        ends = (ends.1, ends.0);
    }
    let has_ports = protocol.is_icmp() || [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::SCTP].contains(&protocol);
    hashed(protocol, ends.0, ends.1, has_ports)
}

/// The type of the message that answers one of this type, or that it answers.
pub fn icmp_counterpart(protocol: IpProtocol, kind: u16) -> Option<u16> {
    let pairs: &[(u16, u16)] = if protocol == IpProtocol::ICMP {
        &[(8, 0), (13, 14), (15, 16), (10, 9), (17, 18)]
    } else {
        &[(128, 129), (133, 134), (135, 136), (130, 131), (139, 140), (144, 145)]
    };
    pairs.iter().find_map(|(a, b)| if kind == *a { Some(*b) } else { (kind == *b).then_some(*a) })
}

fn hashed(protocol: IpProtocol, low: Endpoint, high: Endpoint, with_ports: bool) -> CompactString {
    let mut input = DigestInput::new();
    input.push(0u16.to_be_bytes());
    input.push_ip(low.ip);
    input.push_ip(high.ip);
    input.push([protocol.0, 0]);
    if with_ports {
        input.push(low.port.to_be_bytes());
        input.push(high.port.to_be_bytes());
    }
    let mut text = *b"1:                            ";
    if let Some((_, base64)) = text.split_first_chunk_mut::<2>() {
        let written = STANDARD.encode_slice(Sha1::digest(input.bytes()), base64);
        debug_assert_eq!(written, Ok(base64.len()), "20 bytes are 28 characters");
    }
    CompactString::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_prints_microseconds_or_nanoseconds() {
        assert_eq!(Timestamp::new(1_772_366_400, 123_000).to_string(), "2026-03-01T12:00:00.000123Z");
        assert_eq!(Timestamp::new(1_772_366_400, 123_456).to_string(), "2026-03-01T12:00:00.000123456Z");
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_negative_duration() {
        assert_eq!(Timestamp(5).since(Timestamp(7)), 0);
        assert_eq!(Timestamp(i64::MIN).since(Timestamp(i64::MAX)), 0);
    }

    #[test]
    fn both_directions_have_one_key() {
        let a = Endpoint::new([10, 0, 0, 2], 80);
        let b = Endpoint::new([10, 0, 0, 1], 4242);
        let tuple = FiveTuple { source: a, destination: b };
        let (key, direction) = ConnKey::of(tuple);
        let (same, back) = ConnKey::of(tuple.reversed());
        assert_eq!(key, same);
        assert_eq!(direction.flip(), back);
        assert_eq!(key.tuple(direction), tuple);
    }

    #[test]
    fn the_lower_endpoint_is_the_lower_one_however_it_is_compared() {
        let ips =
            ["10.0.0.1", "10.0.1.0", "9.255.255.255", "::1", "::ffff:10.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let ends: Vec<_> = ips.into_iter().flat_map(|ip| [80, 4242].map(|port| Endpoint { ip, port })).collect();
        for (source, destination) in ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b))) {
            let (key, direction) = ConnKey::of(FiveTuple { source, destination });
            assert_eq!((key.low, key.high), (source.min(destination), source.max(destination)));
            assert_eq!(direction == Direction::FromLow, source <= destination);
        }
    }

    /// The TCP vectors of the specification's baseline (seed 0).
    #[test]
    fn community_ids_equal_the_published_vectors() {
        let id = |source: &str, sp, destination: &str, dp| {
            let source = Endpoint::new(source.parse::<IpAddr>().unwrap(), sp);
            let destination = Endpoint::new(destination.parse::<IpAddr>().unwrap(), dp);
            community_id(&ConnKey::of(FiveTuple { source, destination }).0)
        };
        assert_eq!(id("128.232.110.120", 34855, "66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(id("66.35.250.204", 80, "128.232.110.120", 34855), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(
            id("2001:470:e5bf:dead:4957:2174:e82c:4887", 63943, "2607:f8b0:400c:c03::1a", 25),
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="
        );
    }

    /// Vectors of the specification's baseline for the other protocols.
    #[test]
    fn community_ids_of_udp_icmp_and_sctp_equal_the_published_vectors() {
        let id = |protocol, source: &str, sp, destination: &str, dp| {
            let end = |ip: &str, port| Endpoint::new(ip.parse::<IpAddr>().unwrap(), port);
            community_id_of(protocol, end(source, sp), end(destination, dp))
        };
        let udp = "1:d/FP5EW3wiY1vCndhwleRRKHowQ=";
        assert_eq!(id(IpProtocol::UDP, "192.168.1.52", 54585, "8.8.8.8", 53), udp);
        assert_eq!(id(IpProtocol::UDP, "8.8.8.8", 53, "192.168.1.52", 54585), udp);
        let echo = "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=";
        assert_eq!(id(IpProtocol::ICMP, "192.168.0.89", 8, "192.168.0.1", 0), echo);
        assert_eq!(id(IpProtocol::ICMP, "192.168.0.1", 0, "192.168.0.89", 0), echo);
        let sctp = id(IpProtocol::SCTP, "192.168.170.8", 7, "192.168.170.56", 80);
        assert_eq!(sctp, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ=");
        assert_eq!(
            id(IpProtocol::TCP, "128.232.110.120", 34855, "66.35.250.204", 80),
            "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
        );
    }

    #[test]
    fn a_protocol_is_read_by_name_and_by_number() {
        for (text, number) in [("tcp", 6), ("ICMPv6", 58), ("icmp6", 58), ("ipv6-icmp", 58), ("132", 132), ("253", 253)]
        {
            assert_eq!(IpProtocol::parse(text), Some(IpProtocol(number)), "{text}");
        }
        assert_eq!((IpProtocol::parse("quic"), IpProtocol::parse("256"), IpProtocol(253).name()), (None, None, None));
    }
}
