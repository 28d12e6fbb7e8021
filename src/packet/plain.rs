//! The fast path: TCP over IPv4 without options or IPv6 without extension headers, right behind its link header.
//!
//! It gives what the general path (`link`, `ip`) would give, or nothing; a property test in `tests` holds it to that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ip::{TcpPacket, checksum_holds};
use super::link::{ethertype, linktype};
use super::{CarriedIn, Frame, TcpFlags};
use crate::flow::{Endpoint, FiveTuple, PacketPlace};

const TCP: u8 = 6;

/// The segment, where the frame is that plain.
#[inline]
pub(super) fn segment<'a>(frame: &Frame<'a>) -> Option<TcpPacket<'a>> {
    let (ether_type, packet) = match frame.link.0 {
        linktype::ETHERNET => {
            let ([.., high, low], packet) = frame.data.split_first_chunk::<14>()?;
            (u16::from_be_bytes([*high, *low]), packet)
        }
        linktype::LINUX_SLL2 => {
            let ([high, low, ..], packet) = frame.data.split_first_chunk::<20>()?;
            (u16::from_be_bytes([*high, *low]), packet)
        }
        linktype::LINUX_SLL => {
            let ([.., high, low], packet) = frame.data.split_first_chunk::<16>()?;
            (u16::from_be_bytes([*high, *low]), packet)
        }
        _ => return None,
    };
    let cut = usize::try_from(frame.wire_len).ok()?.saturating_sub(frame.data.len());
    match ether_type {
        ethertype::IPV4 => ipv4(packet, cut),
        ethertype::IPV6 => ipv6(packet, cut),
        _ => None,
    }
}

#[inline]
fn ipv4(packet: &[u8], cut: usize) -> Option<TcpPacket<'_>> {
    let (header, rest) = packet.split_first_chunk::<20>()?;
    let &[0x45, _, t0, t1, _, _, f0, f1, _, TCP, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header else { return None };
    // More fragments to come, or an offset.
    if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
        return None;
    }
    let total = u16::from_be_bytes([t0, t1]);
    let len = usize::from(total).checked_sub(20)?;
    let source = Ipv4Addr::new(s0, s1, s2, s3).into();
    let destination = Ipv4Addr::new(d0, d1, d2, d3).into();
    let around = IpHeader { ips: (source, destination), damaged: !checksum_holds(header), bytes: total.into() };
    tcp(rest, len.min(rest.len() + cut), around)
}

#[inline]
fn ipv6(packet: &[u8], cut: usize) -> Option<TcpPacket<'_>> {
    let (&[first, _, _, _, l0, l1, TCP, _], rest) = packet.split_first_chunk::<8>()? else { return None };
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    if first >> 4 != 6 {
        return None;
    }
    let source = Ipv6Addr::from(*source).into();
    let destination = Ipv6Addr::from(*destination).into();
    let len = u16::from_be_bytes([l0, l1]);
    let limit = usize::from(len).min(rest.len() + cut);
    tcp(rest, limit, IpHeader { ips: (source, destination), damaged: false, bytes: 40 + u32::from(len) })
}

/// What the IP header says.
struct IpHeader {
    /// Source and destination.
    ips: (IpAddr, IpAddr),
    damaged: bool,
    bytes: u32,
}

/// `len` is what the IP header says, and the frame's length on the wire allows. A length below TCP's header, the 0 of offload among them, is not plain.
#[inline]
fn tcp(rest: &[u8], len: usize, ip: IpHeader) -> Option<TcpPacket<'_>> {
    let header = rest.first_chunk::<20>()?;
    let &[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] = header;
    let header_len = usize::from(offset >> 4) * 4;
    if header_len < 20 || header_len > len {
        return None;
    }
    let captured = rest.get(..len).unwrap_or(rest);
    Some(TcpPacket {
        tuple: FiveTuple {
            source: Endpoint { ip: ip.ips.0, port: u16::from_be_bytes([s0, s1]) },
            destination: Endpoint { ip: ip.ips.1, port: u16::from_be_bytes([d0, d1]) },
        },
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        flags: TcpFlags(flags),
        payload: captured.get(header_len..)?,
        payload_len: u32::try_from(len - header_len).ok()?,
        wire: captured,
        damaged: ip.damaged,
        carried: CarriedIn { frames: 1, packets: 1, bytes: ip.bytes },
        place: PacketPlace::default(),
    })
}
