//! The basic words of a flow: time, endpoints, direction. Depends on nothing else.
//!
//! Decodes no packets (`packet`) and keeps no state (`tcp`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

use sha1::{Digest, Sha1};

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

/// A connection's identity, the same for both directions: its endpoints in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnKey {
    /// The lower endpoint.
    pub low: Endpoint,
    /// The higher endpoint.
    pub high: Endpoint,
}

impl ConnKey {
    /// The key of a segment's connection, and the direction the segment goes.
    #[inline]
    pub fn of(tuple: FiveTuple) -> (Self, Direction) {
        let FiveTuple { source, destination } = tuple;
        match (source.ip, destination.ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Self::of_v4((a, source.port), (b, destination.port)),
            _ if source <= destination => (Self { low: source, high: destination }, Direction::FromLow),
            _ => (Self { low: destination, high: source }, Direction::FromHigh),
        }
    }

    /// The same in one comparison, and put together from numbers: reading whole what a decoder has just written piece by
    /// piece makes the processor wait, and this is on the path of every packet.
    #[inline]
    fn of_v4(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> (Self, Direction) {
        let number = |(ip, port): (Ipv4Addr, u16)| u64::from(ip.to_bits()) << 16 | u64::from(port);
        let end = |(ip, port): (Ipv4Addr, u16)| Endpoint { ip: IpAddr::V4(ip), port };
        if number(source) <= number(destination) {
            (Self { low: end(source), high: end(destination) }, Direction::FromLow)
        } else {
            (Self { low: end(destination), high: end(source) }, Direction::FromHigh)
        }
    }

    /// Sender and receiver of the segments that go in `direction`.
    pub fn tuple(&self, direction: Direction) -> FiveTuple {
        match direction {
            Direction::FromLow => FiveTuple { source: self.low, destination: self.high },
            Direction::FromHigh => FiveTuple { source: self.high, destination: self.low },
        }
    }
}

/// Hashes three words instead of the enum's parts: this is on the path of every packet.
impl Hash for ConnKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fn word(ip: IpAddr) -> u128 {
            match ip {
                IpAddr::V4(v4) => u128::from(v4.to_bits()),
                IpAddr::V6(v6) => v6.to_bits(),
            }
        }
        state.write_u128(word(self.low.ip));
        state.write_u128(word(self.high.ip));
        state.write_u32(u32::from(self.low.port) << 16 | u32::from(self.high.port));
    }
}

/// Community ID v1, seed 0, of a TCP flow: <https://github.com/corelight/community-id-spec>.
pub fn community_id(key: &ConnKey) -> String {
    fn octets(hash: &mut Sha1, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => hash.update(v4.octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
    }
    const TCP: u8 = 6;
    let mut hash = Sha1::new();
    hash.update(0u16.to_be_bytes());
    octets(&mut hash, key.low.ip);
    octets(&mut hash, key.high.ip);
    hash.update([TCP, 0]);
    hash.update(key.low.port.to_be_bytes());
    hash.update(key.high.port.to_be_bytes());
    use base64::Engine;
    let mut id = String::with_capacity(30);
    id.push_str("1:");
    base64::engine::general_purpose::STANDARD.encode_string(hash.finalize(), &mut id);
    id
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
}
