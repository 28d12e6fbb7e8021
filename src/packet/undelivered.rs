//! What an ICMP error quotes: the packet that did not arrive.
//!
//! Reads the quotation only; that packet was captured by itself, if at all.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Datagram;
use crate::flow::{Endpoint, FiveTuple, IpProtocol};

/// A packet that could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndeliveredPacket {
    /// UDP or TCP.
    pub protocol: IpProtocol,
    /// Who sent it to whom.
    pub tuple: FiveTuple,
    /// It arrived, and nothing listens on its port.
    pub port: bool,
}

impl UndeliveredPacket {
    /// What the datagram says of another packet, where it is such an error.
    pub fn of(datagram: &Datagram<'_>) -> Option<Self> {
        let icmp = datagram.icmp?;
        let (port, quoted) = match (datagram.protocol, icmp.kind, icmp.code) {
            // Too large a packet arrives in smaller pieces (RFC 1191).
            (IpProtocol::ICMP, 3, 4) => return None,
            (IpProtocol::ICMP, 3, code) => (code == 3, v4(datagram.payload)?),
            (IpProtocol::ICMP6, 1, code) => (code == 4, v6(datagram.payload)?),
            _ => return None,
        };
        let (protocol, tuple) = quoted;
        [IpProtocol::TCP, IpProtocol::UDP].contains(&protocol).then_some(Self { protocol, tuple, port })
    }
}

fn v4(packet: &[u8]) -> Option<(IpProtocol, FiveTuple)> {
    let &[first, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = packet.first_chunk()?;
    let header_len = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || header_len < 20 || u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return None;
    }
    let ends = [Ipv4Addr::new(s0, s1, s2, s3).into(), Ipv4Addr::new(d0, d1, d2, d3).into()];
    tuple(IpProtocol(protocol), ends, packet.get(header_len..)?)
}

fn v6(packet: &[u8]) -> Option<(IpProtocol, FiveTuple)> {
    let (&[first, _, _, _, _, _, protocol, _], rest) = packet.split_first_chunk::<8>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let ends = [Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into()];
    if first >> 4 == 6 { tuple(IpProtocol(protocol), ends, rest) } else { None }
}

fn tuple(protocol: IpProtocol, ends: [std::net::IpAddr; 2], header: &[u8]) -> Option<(IpProtocol, FiveTuple)> {
    let &[s0, s1, d0, d1] = header.first_chunk()?;
    let [source, destination] = ends;
    let source = Endpoint { ip: source, port: u16::from_be_bytes([s0, s1]) };
    let destination = Endpoint { ip: destination, port: u16::from_be_bytes([d0, d1]) };
    Some((protocol, FiveTuple { source, destination }))
}
