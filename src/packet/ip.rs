//! IP packets to TCP segments or fragments, through the tunnels in between.
//!
//! It reads headers with `etherparse`; it joins nothing (`fragments`) and counts nothing (`Decoder`).

use std::net::IpAddr;

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    TcpHeaderSlice, UdpHeaderSlice, err, ip_number,
};

use super::TcpFlags;
use super::fragments::{Fragment, FragmentKey};
use super::link::{self, Ip, ethertype};
use super::span::Span;
use crate::flow::{Endpoint, FiveTuple, Scope};
use crate::ledger::Skip;

/// Tunnels opened around one segment; overlays in overlays end at two or three.
pub(super) const MAX_TUNNELS: u8 = 4;
/// Extension headers of one packet; RFC 8200 §4.1 knows seven.
const MAX_EXTENSIONS: usize = 16;

/// A TCP segment without what its frame knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp<'a> {
    pub(super) tuple: FiveTuple,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: TcpFlags,
    pub(super) payload: &'a [u8],
    pub(super) payload_len: u32,
    /// Header and payload as captured.
    pub(super) wire: &'a [u8],
    /// An IPv4 header on the way had a wrong checksum.
    pub(super) damaged: bool,
    pub(super) scope: Scope,
}

/// What a packet holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Segment(Tcp<'a>),
    Fragment(Fragment<'a>),
}

/// Source and destination address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Addresses {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

/// What is remembered on the way from the frame to the segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    tunnels: u8,
    damaged: bool,
    /// The VLANs and tunnels so far.
    pub(super) scope: Scope,
    /// An IP header promised more than was on the wire.
    clipped: bool,
}

impl Walk {
    /// What an IP packet holds.
    pub(super) fn packet<'a>(&mut self, ip: Ip<'a>) -> Result<Found<'a>, Skip> {
        match ip {
            Ip::V4(packet) => self.ipv4(packet),
            Ip::V6(packet) => self.ipv6(packet),
        }
    }

    /// The reason to skip as seen from outside: what a tunnel holds besides TCP has one name.
    pub(super) fn outer(&self, skip: Skip) -> Skip {
        let inner = matches!(skip, Skip::NotIp | Skip::NotTcp | Skip::Icmp);
        if inner && self.tunnels > 0 { Skip::TunnelNotTcp } else { skip }
    }

    fn ipv4<'a>(&mut self, packet: Span<'a>) -> Result<Found<'a>, Skip> {
        let header = Ipv4HeaderSlice::from_slice(packet.bytes).map_err(|e| match e {
            err::ipv4::HeaderSliceError::Len(_) => packet.too_short(),
            err::ipv4::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let header_len = header.slice().len();
        // 0 is what segmentation offload leaves in a frame longer than the field can say.
        let payload = match usize::from(header.total_len()) {
            0 => packet,
            total if total < header_len => return Err(Skip::Malformed),
            total => self.limited(packet, total),
        }
        .after(header_len)?;
        self.damaged |= !checksum_holds(header.slice());
        let ips = Addresses { source: header.source_addr().into(), destination: header.destination_addr().into() };
        let protocol = header.protocol();
        if !header.is_fragmenting_payload() {
            return self.upper(ips, protocol, payload);
        }
        if let Some(skip) = unopened(protocol, false) {
            return Err(skip);
        }
        self.fragment(Fragment {
            key: FragmentKey { ips, scope: self.scope, protocol: protocol.0, id: header.identification().into() },
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
            protocol,
            payload,
        })
    }

    fn ipv6<'a>(&mut self, packet: Span<'a>) -> Result<Found<'a>, Skip> {
        let header = Ipv6HeaderSlice::from_slice(packet.bytes).map_err(|e| match e {
            err::ipv6::HeaderSliceError::Len(_) => packet.too_short(),
            err::ipv6::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let rest = packet.after(header.slice().len())?;
        // 0 is a jumbogram (RFC 2675), as offload makes them: the frame knows better.
        let payload = match header.payload_length() {
            0 => rest,
            len => self.limited(rest, len.into()),
        };
        let ips = Addresses { source: header.source_addr().into(), destination: header.destination_addr().into() };
        self.upper(ips, header.next_header(), payload)
    }

    /// What follows an IP header, behind extension headers. Also of a datagram joined from fragments.
    pub(super) fn upper<'a>(
        &mut self,
        ips: Addresses,
        mut protocol: IpNumber,
        mut rest: Span<'a>,
    ) -> Result<Found<'a>, Skip> {
        for _ in 0..=MAX_EXTENSIONS {
            let len = match protocol {
                ip_number::TCP => return self.tcp(ips, rest).map(Found::Segment),
                ip_number::AUTH => {
                    let header = IpAuthHeaderSlice::from_slice(rest.bytes).map_err(|e| match e {
                        err::ip_auth::HeaderSliceError::Len(_) => rest.too_short(),
                        err::ip_auth::HeaderSliceError::Content(_) => Skip::Malformed,
                    })?;
                    protocol = header.next_header();
                    header.slice().len()
                }
                ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS
                    if ips.source.is_ipv6() =>
                {
                    let header = Ipv6RawExtHeaderSlice::from_slice(rest.bytes).map_err(|_| rest.too_short())?;
                    protocol = header.next_header();
                    header.slice().len()
                }
                ip_number::IPV6_FRAG if ips.source.is_ipv6() => {
                    let header = Ipv6FragmentHeaderSlice::from_slice(rest.bytes).map_err(|_| rest.too_short())?;
                    if header.is_fragmenting_payload() {
                        return self.fragment(fragment_v6(ips, self.scope, &header, rest)?);
                    }
                    // An atomic fragment is a whole packet (RFC 6946).
                    protocol = header.next_header();
                    header.slice().len()
                }
                other => return self.inner(ips, other, rest),
            };
            rest = rest.after(len)?;
        }
        Err(Skip::TooDeep)
    }

    /// Opens a tunnel, or names what is not one.
    fn inner<'a>(&mut self, ips: Addresses, protocol: IpNumber, rest: Span<'a>) -> Result<Found<'a>, Skip> {
        let ip = match protocol {
            ip_number::IPV4 => Ip::V4(rest),
            ip_number::IPV6 => Ip::V6(rest),
            ip_number::GRE => return self.gre(ips, rest),
            ip_number::UDP => return self.udp(rest),
            other => return Err(unopened(other, ips.source.is_ipv6()).unwrap_or(Skip::NotTcp)),
        };
        self.enter()?;
        self.scope = self.scope.tunnel(ips.source, ips.destination, 0);
        self.packet(ip)
    }

    fn limited<'a>(&mut self, packet: Span<'a>, len: usize) -> Span<'a> {
        self.clipped |= len > packet.len;
        packet.limited(len)
    }

    /// A fragment whose own length is in doubt would put a datagram together wrongly.
    fn fragment<'a>(&self, fragment: Fragment<'a>) -> Result<Found<'a>, Skip> {
        if self.clipped { Err(Skip::Malformed) } else { Ok(Found::Fragment(fragment)) }
    }

    fn enter(&mut self) -> Result<(), Skip> {
        self.tunnels += 1;
        if self.tunnels > MAX_TUNNELS { Err(Skip::TooDeep) } else { Ok(()) }
    }

    /// GRE version 0 (RFC 2784, RFC 2890).
    fn gre<'a>(&mut self, ips: Addresses, rest: Span<'a>) -> Result<Found<'a>, Skip> {
        let &[flags, version, high, low] = rest.first()?;
        let kind = u16::from_be_bytes([high, low]);
        match (version & 7, kind) {
            (0, ethertype::ERSPAN_II | ethertype::ERSPAN_III) => return Err(Skip::Erspan),
            (0, _) if flags & 0x40 == 0 => {}
            // PPTP (RFC 2637).
            (1, ethertype::PPP) => return Err(Skip::Ppp),
            // Source routing (RFC 1701), or a version nobody defined.
            _ => return Err(Skip::NotTcp),
        }
        // Checksum, key and sequence number: four bytes each.
        let header_len = 4 + 4 * (flags & 0b1011_0000).count_ones() as usize;
        let inner = rest.after(header_len)?;
        self.enter()?;
        let key = if flags & 0x20 == 0 { 0 } else { gre_key(rest, flags)? };
        self.scope = self.scope.tunnel(ips.source, ips.destination, key);
        let ip = match kind {
            ethertype::BRIDGED => link::ethernet(inner, &mut self.scope)?,
            _ => link::typed(kind, inner, &mut self.scope)?,
        };
        self.packet(ip)
    }

    /// VXLAN (RFC 7348) is opened; other tunnels over UDP are named by their port.
    fn udp<'a>(&mut self, rest: Span<'a>) -> Result<Found<'a>, Skip> {
        let header = UdpHeaderSlice::from_slice(rest.bytes).map_err(|_| rest.too_short())?;
        let payload = match usize::from(header.length()) {
            // Offload leaves 0 here too; a length that is too small is nobody's payload.
            0..8 => rest,
            len => rest.limited(len),
        }
        .after(8)?;
        match (header.source_port(), header.destination_port()) {
            (_, 4789 | 8472) => {
                let &[flags, _, _, _, n0, n1, n2, _] = payload.first::<8>()?;
                if flags & 0x08 == 0 {
                    return Err(Skip::NotTcp);
                }
                self.enter()?;
                self.scope = self.scope.network(u32::from_be_bytes([0, n0, n1, n2]));
                let ip = link::ethernet(payload.after(8)?, &mut self.scope)?;
                self.packet(ip)
            }
            (_, 6081) => Err(Skip::Geneve),
            (_, 6635) => Err(Skip::Mpls),
            (2123 | 2152 | 3386, _) | (_, 2123 | 2152 | 3386) => Err(Skip::Gtp),
            _ => Err(Skip::NotTcp),
        }
    }

    /// Options that the snap length cut are no loss: nothing above reads them.
    fn tcp<'a>(&self, ips: Addresses, rest: Span<'a>) -> Result<Tcp<'a>, Skip> {
        const FIXED: usize = 20;
        let mut fixed: [u8; FIXED] = *rest.first()?;
        let [.., data_offset, flags, _, _, _, _, _, _] = &mut fixed;
        let header_len = usize::from(*data_offset >> 4) * 4;
        if header_len < FIXED || header_len > rest.len {
            return Err(Skip::Malformed);
        }
        let flags = TcpFlags(*flags);
        *data_offset = 0x50;
        let header = TcpHeaderSlice::from_slice(&fixed).map_err(|_| Skip::Malformed)?;
        Ok(Tcp {
            tuple: FiveTuple {
                source: Endpoint { ip: ips.source, port: header.source_port() },
                destination: Endpoint { ip: ips.destination, port: header.destination_port() },
            },
            seq: header.sequence_number(),
            ack: header.acknowledgment_number(),
            flags,
            payload: rest.bytes.get(header_len..).unwrap_or_default(),
            payload_len: u32::try_from(rest.len - header_len).unwrap_or(u32::MAX),
            wire: rest.bytes,
            damaged: self.damaged,
            scope: self.scope,
        })
    }
}

/// Why a protocol cannot lead to TCP, if it cannot.
fn unopened(protocol: IpNumber, v6: bool) -> Option<Skip> {
    match protocol {
        ip_number::TCP | ip_number::UDP | ip_number::GRE | ip_number::IPV4 | ip_number::IPV6 | ip_number::AUTH => None,
        ip_number::ICMP => Some(Skip::Icmp),
        ip_number::IPV6_ICMP if v6 => Some(Skip::Icmp),
        ip_number::ENCAP_SEC => Some(Skip::Encrypted),
        ip_number::MPLS_IN_IP => Some(Skip::Mpls),
        _ => Some(Skip::NotTcp),
    }
}

/// The key field of a GRE header that has one, behind the checksum where there is one too (RFC 2890).
fn gre_key(header: Span<'_>, flags: u8) -> Result<u32, Skip> {
    let at = if flags & 0x80 == 0 { 4 } else { 8 };
    header.after(at)?.first().map(|key| u32::from_be_bytes(*key))
}

fn fragment_v6<'a>(
    ips: Addresses,
    scope: Scope,
    header: &Ipv6FragmentHeaderSlice<'a>,
    rest: Span<'a>,
) -> Result<Fragment<'a>, Skip> {
    Ok(Fragment {
        // The next header is the first fragment's to say (RFC 8200 §4.5): it is no part of the key.
        key: FragmentKey { ips, scope, protocol: 0, id: header.identification() },
        offset: usize::from(header.fragment_offset().value()) * 8,
        more: header.more_fragments(),
        protocol: header.next_header(),
        payload: rest.after(header.slice().len())?,
    })
}

/// RFC 1071, over an IPv4 header whose length is a multiple of four. A sum of 0 was left to the hardware.
#[inline]
pub(super) fn checksum_holds(header: &[u8]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum == 0xffff || header.get(10..12) == Some(&[0, 0])
}
