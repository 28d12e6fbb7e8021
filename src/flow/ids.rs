//! The id of a connection: the same wherever it is seen, whatever is read of it.
//!
//! Knows no record; Community IDs are in `flow` itself.

use std::net::IpAddr;

use compact_str::CompactString;
use ring::digest::{Context, SHA256, digest};

use super::{FiveTuple, IpProtocol, Scope, Timestamp, mix};

/// The day, in nanoseconds.
const DAY: i64 = 86_400_000_000_000;

/// What distinguishes a TCP connection from others between the same ends.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBeginning {
    /// Initial sequence number of the source's and of the destination's stream.
    pub initial_seq: [Option<u32>; 2],
    /// Time of the first packet.
    pub first_seen: Timestamp,
    /// SYN and SYN-ACK were seen.
    pub handshake_seen: bool,
}

/// The first 96 bits of SHA-256 over observer, endpoints, initial sequence numbers and the day (UTC) of the first packet,
/// base64url. Sequence numbers repeat, where a machine makes them up at once and in time anywhere: on another day it is
/// another connection. A finer time would distinguish two captures of the same packets. Where the handshake was not seen,
/// the exact time joins in: the sequence numbers that are seen first may be any.
pub fn connection_id(ends: FiveTuple, beginning: &ConnectionBeginning, observer: &str) -> CompactString {
    let mut input = DigestInput::new();
    for end in [ends.source, ends.destination] {
        input.push_ip(end.ip);
        input.push(end.port.to_be_bytes());
    }
    for seq in beginning.initial_seq {
        input.push(seq.unwrap_or(0).to_be_bytes());
    }
    input.push(beginning.first_seen.0.div_euclid(DAY).to_be_bytes());
    if !beginning.handshake_seen {
        input.push(beginning.first_seen.0.to_be_bytes());
    }
    let mut hash = Context::new(&SHA256);
    hash.update(&(observer.len() as u64).to_be_bytes());
    hash.update(observer.as_bytes());
    hash.update(input.bytes());
    encoded(hash.finish().as_ref().first_chunk().unwrap_or(&[0; 12]))
}

/// What is hashed of a flow, put together first: to hand a digest a few bytes at a time costs more than to copy them.
pub(super) struct DigestInput {
    /// Two ends of IPv6 take 36, and what goes with them 24.
    bytes: [u8; 64],
    len: usize,
}

impl DigestInput {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }

    #[inline]
    pub(super) fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        debug_assert!(self.len + N <= self.bytes.len(), "no room for what is hashed");
        if let Some(place) = self.bytes.get_mut(self.len..).and_then(|free| free.first_chunk_mut::<N>()) {
            *place = bytes;
            self.len += N;
        }
    }

    #[inline]
    pub(super) fn push_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.push(ip.octets()),
            IpAddr::V6(ip) => self.push(ip.octets()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Ids of flows of any protocol, as one observer gives them.
#[derive(Clone, Copy, Debug)]
pub struct FlowIds([u64; 2]);

impl FlowIds {
    /// Those of this observer.
    pub fn new(observer: &str) -> Self {
        let digest = digest(&SHA256, observer.as_bytes());
        let mut words = digest.as_ref().as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        Self([words.next().unwrap_or_default(), words.next().unwrap_or_default()])
    }

    /// Over observer, protocol, endpoints, scope and the time of the first packet. Quicker than a digest, as there may be as
    /// many flows as packets; an attacker may make two flows with one id.
    pub fn id(&self, protocol: IpProtocol, ends: FiveTuple, scope: Scope, first: Timestamp) -> CompactString {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => [1, u64::from(ip.to_bits())],
            IpAddr::V6(ip) => [(ip.to_bits() >> 64) as u64, ip.to_bits() as u64],
        };
        let [source, destination] = [ends.source, ends.destination].map(|end| bits(end.ip));
        let ports = u64::from(ends.source.port) << 16 | u64::from(ends.destination.port);
        let rest = [ports << 8 | u64::from(protocol.0), scope.0.into(), first.0.cast_unsigned()];
        let [low, high] = self.0.map(|seed| {
            let words = source.iter().chain(&destination).chain(&rest);
            words.fold(seed, |hash, word| mix(hash.rotate_left(23) ^ word)).to_le_bytes()
        });
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, ..]) = (low, high);
        encoded(&[a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// Twelve bytes as base64url (RFC 4648 §5), of which `text` is made for each record.
fn encoded(bytes: &[u8; 12]) -> CompactString {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = [0u8; 16];
    for (from, to) in bytes.as_chunks::<3>().0.iter().zip(text.as_chunks_mut::<4>().0) {
        let [a, b, c] = from.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        *to = [18, 12, 6, 0].map(|shift| ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or_default());
    }
    CompactString::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;

    const HOUR: i64 = DAY / 24;

    fn ends() -> FiveTuple {
        FiveTuple { source: Endpoint::new([10, 0, 0, 1], 40_000), destination: Endpoint::new([10, 0, 0, 2], 80) }
    }

    /// When two captures of the same ends and sequence numbers were made, and whether they are of one connection.
    #[test]
    fn twelve_bytes_are_written_as_base64url() {
        for (bytes, text) in [
            (*b"Hello world!", "SGVsbG8gd29ybGQh"),
            ([0; 12], "AAAAAAAAAAAAAAAA"),
            ([0xff; 12], "________________"),
            ([0xfb, 0xef, 0xbe, 0, 0x10, 0x83, 0x10, 0x51, 0x87, 0x20, 0x92, 0x8b], "----ABCDEFGHIJKL"),
        ] {
            assert_eq!(encoded(&bytes), text);
        }
    }

    #[test]
    fn the_same_sequence_numbers_on_another_day_are_another_connection() {
        let id = |first_seen: i64, handshake_seen| {
            let initial_seq = [Some(1000), Some(2000)];
            let beginning = ConnectionBeginning { initial_seq, first_seen: Timestamp(first_seen), handshake_seen };
            connection_id(ends(), &beginning, "observer")
        };
        let noon = 20_000 * DAY + 12 * HOUR;
        for (other, handshake_seen, same) in [
            (noon, true, true),
            (noon + 1_000, true, true),
            (noon + DAY, true, false),
            (noon - 13 * HOUR, true, false),
            (noon - 40_000 * DAY, true, false),
            (noon, false, true),
            (noon + 1_000, false, false),
        ] {
            assert_eq!(id(noon, handshake_seen) == id(other, handshake_seen), same, "{other} {handshake_seen}");
        }
    }

    #[test]
    fn a_flow_has_another_id_for_everything_that_makes_it_another_flow() {
        let id = |protocol, scope, at, observer| {
            FlowIds::new(observer).id(IpProtocol(protocol), ends(), scope, Timestamp(at))
        };
        let vlan = Scope::default().vlan(7);
        let plain = Scope::default();
        let mut ids = vec![id(6, plain, 1, "a"), id(17, plain, 1, "a"), id(6, vlan, 1, "a"), id(6, plain, 2, "a")];
        ids.push(id(6, plain, 1, "b"));
        ids.push(FlowIds::new("a").id(IpProtocol::TCP, ends().reversed(), plain, Timestamp(1)));
        let other_port = Endpoint { port: 81, ..ends().destination };
        ids.push(FlowIds::new("a").id(
            IpProtocol::TCP,
            FiveTuple { destination: other_port, ..ends() },
            plain,
            Timestamp(1),
        ));
        assert_eq!(ids[0], id(6, plain, 1, "a"));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), ids[0].len()), (all, 16));
    }
}
