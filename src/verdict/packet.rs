//! Reads the headers of an IP packet that NFLOG copied, as far as they were copied.
//!
//! Joins no fragments: the ports of later ones are not in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::flow::{Endpoint, IpProtocol};
use crate::record::{IcmpMessage, LoggedPacket};

/// Extension headers that are passed over; more of them make a packet whose protocol is not known.
const MAX_EXTENSIONS: usize = 8;

/// Reads a packet; none where not even the addresses are there.
pub fn read(bytes: &[u8]) -> Option<LoggedPacket> {
    match bytes.first()? >> 4 {
        4 => v4(bytes),
        6 => v6(bytes),
        _ => None,
    }
}

fn v4(bytes: &[u8]) -> Option<LoggedPacket> {
    let head = bytes.first_chunk::<20>()?;
    let [first, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *head;
    let offset = u16::from_be_bytes([f0, f1]) & 0x1fff;
    let header = usize::from(first & 15) * 4;
    let ends = [Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3)].map(IpAddr::V4);
    let rest = if header >= 20 { bytes.get(header..) } else { None };
    let length = u16::from_be_bytes([l0, l1]).into();
    Some(above(ends, Some(IpProtocol(protocol)), length, offset > 0, rest))
}

fn v6(bytes: &[u8]) -> Option<LoggedPacket> {
    let (head, mut rest) = bytes.split_at_checked(40)?;
    let address = |at: usize| -> Option<IpAddr> {
        let octets = head.get(at..at + 16)?.first_chunk::<16>()?;
        Some(IpAddr::V6(Ipv6Addr::from(*octets)))
    };
    let ends = [address(8)?, address(24)?];
    let payload = head.get(4..6).and_then(|pair| pair.first_chunk::<2>()).map_or(0, |pair| u16::from_be_bytes(*pair));
    let (mut next, length) = (*head.get(6)?, 40 + u32::from(payload));
    for _ in 0..MAX_EXTENSIONS {
        // Hop-by-hop, routing, destination options, mobility: their length is in units of eight bytes.
        let size = match next {
            0 | 43 | 60 | 135 => rest.get(1).map(|units| (usize::from(*units) + 1) * 8),
            44 => Some(8),
            _ => return Some(above(ends, Some(IpProtocol(next)), length, false, Some(rest))),
        };
        let Some((extension, behind)) = size.and_then(|size| rest.split_at_checked(size)) else {
            return Some(above(ends, None, length, false, None));
        };
        let fragment =
            extension.get(2..4).and_then(|pair| pair.first_chunk::<2>()).map(|pair| u16::from_be_bytes(*pair));
        let is_later = next == 44 && fragment.is_some_and(|offset| offset >> 3 > 0);
        next = extension.first().copied().unwrap_or(59);
        if is_later {
            return Some(above(ends, Some(IpProtocol(next)), length, true, Some(behind)));
        }
        rest = behind;
    }
    Some(above(ends, None, length, false, None))
}

/// Ports, or type and code; `rest` is what is behind the IP header, where that is whole.
fn above(
    [source, destination]: [IpAddr; 2],
    protocol: Option<IpProtocol>,
    length: u32,
    fragment: bool,
    rest: Option<&[u8]>,
) -> LoggedPacket {
    let mut packet = LoggedPacket {
        protocol,
        source: Endpoint::new(source, 0),
        destination: Endpoint::new(destination, 0),
        has_port: [false; 2],
        icmp: None,
        length: Some(length),
        fragment,
        truncated: rest.is_none(),
    };
    let (Some(protocol), Some(rest), false) = (protocol, rest, fragment) else { return packet };
    if protocol.has_ports() {
        match rest.first_chunk::<4>() {
            Some([s0, s1, d0, d1]) => {
                packet.source.port = u16::from_be_bytes([*s0, *s1]);
                packet.destination.port = u16::from_be_bytes([*d0, *d1]);
                packet.has_port = [true; 2];
            }
            None => packet.truncated = true,
        }
    } else if protocol.is_icmp() {
        match *rest {
            [kind, code, ..] => {
                let is_echo = [(1, 8), (1, 0), (58, 128), (58, 129)].contains(&(protocol.0, kind));
                let id = rest.get(4..6).and_then(|pair| pair.first_chunk::<2>()).map(|pair| u16::from_be_bytes(*pair));
                packet.icmp = Some(IcmpMessage { kind, code, id: id.filter(|_| is_echo) });
            }
            _ => packet.truncated = true,
        }
    }
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = fragment.to_be_bytes();
        let length = 20 + payload.len() as u8;
        let head = [0x45, 0, 0, length, 0, 1, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&head[..], payload].concat()
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        bytes.extend([0xfd; 16]);
        bytes.extend([0xfe; 16]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn ports_type_and_code_are_read_where_they_are() {
        let ports = [0x9c, 0x40, 0, 80, 0, 0, 0, 0];
        let udp = read(&ipv4(17, 0, &ports)).unwrap();
        assert_eq!((udp.source.port, udp.destination.port, udp.length, udp.truncated), (40_000, 80, Some(28), false));
        let echo = read(&ipv4(1, 0, &[8, 0, 0, 0, 0, 77, 0, 1])).unwrap();
        assert_eq!(echo.icmp, Some(IcmpMessage { kind: 8, code: 0, id: Some(77) }));
        let unreachable = read(&ipv4(1, 0, &[3, 3, 0, 0, 0, 77, 0, 1])).unwrap();
        assert_eq!(unreachable.icmp, Some(IcmpMessage { kind: 3, code: 3, id: None }));
        let later = read(&ipv4(17, 185, &ports)).unwrap();
        assert_eq!((later.source.port, later.fragment, later.truncated), (0, true, false));
        let behind_options = read(&ipv6(0, &[&[6, 0, 0, 0, 0, 0, 0, 0][..], &ports].concat())).unwrap();
        assert_eq!((behind_options.protocol, behind_options.destination.port), (Some(IpProtocol::TCP), 80));
        let later = read(&ipv6(44, &[&[17, 0, 5, 0xa8, 0, 0, 0, 1][..], &ports].concat())).unwrap();
        assert_eq!((later.protocol, later.fragment, later.source.port), (Some(IpProtocol::UDP), true, 0));
    }

    #[test]
    fn what_was_cut_is_said_to_be() {
        let whole = ipv4(6, 0, &[0, 1, 0, 2]);
        for cut in 0..whole.len() {
            let packet = read(&whole[..cut]);
            assert_eq!(packet.is_some(), cut >= 20, "{cut}");
            assert!(packet.is_none_or(|packet| packet.truncated), "{cut}");
        }
        assert!(!read(&whole).unwrap().truncated);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), first in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()]) {
            let _ = read(&[&[first][..], &bytes].concat());
        }
    }
}
