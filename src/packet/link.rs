//! Link headers: from a frame to the IP packet in it.
//!
//! It strips Ethernet, tags, cooked and loopback headers, and names what it does not open; it reads nothing of IP.

use etherparse::SingleVlanHeaderSlice;

use super::LinkType;
use super::span::Span;
use crate::flow::Scope;
use crate::ledger::Skip;

/// Tags in front of one packet; two are usual (QinQ), more are a loop or an attack.
const MAX_TAGS: usize = 8;
/// TLVs in front of the payload of an NFLOG frame; there are some twenty kinds.
const MAX_TLVS: usize = 64;

/// LINKTYPE_ values (<https://www.tcpdump.org/linktypes.html>) we know something of.
pub(super) mod linktype {
    pub(in crate::packet) const NULL: u16 = 0;
    pub(in crate::packet) const ETHERNET: u16 = 1;
    pub(in crate::packet) const PPP: u16 = 9;
    /// DLT_RAW of most systems, and of OpenBSD: some writers put them into the file as they are.
    pub(in crate::packet) const DLT_RAW: u16 = 12;
    pub(in crate::packet) const DLT_RAW_OPENBSD: u16 = 14;
    pub(in crate::packet) const PPP_HDLC: u16 = 50;
    pub(in crate::packet) const PPP_ETHER: u16 = 51;
    pub(in crate::packet) const RAW: u16 = 101;
    pub(in crate::packet) const IEEE802_11: u16 = 105;
    pub(in crate::packet) const LOOP: u16 = 108;
    pub(in crate::packet) const LINUX_SLL: u16 = 113;
    pub(in crate::packet) const PRISM: u16 = 119;
    pub(in crate::packet) const RADIOTAP: u16 = 127;
    pub(in crate::packet) const AVS: u16 = 163;
    pub(in crate::packet) const PPP_PPPD: u16 = 166;
    pub(in crate::packet) const PPI: u16 = 192;
    pub(in crate::packet) const PPP_WITH_DIR: u16 = 204;
    pub(in crate::packet) const IPV4: u16 = 228;
    pub(in crate::packet) const IPV6: u16 = 229;
    pub(in crate::packet) const NFLOG: u16 = 239;
    pub(in crate::packet) const LINUX_SLL2: u16 = 276;
}

/// EtherTypes, as Ethernet, cooked headers and GRE share them.
pub(super) mod ethertype {
    pub(in crate::packet) const IPV4: u16 = 0x0800;
    pub(in crate::packet) const IPV6: u16 = 0x86dd;
    /// Transparent Ethernet bridging: what follows is an Ethernet frame.
    pub(in crate::packet) const BRIDGED: u16 = 0x6558;
    pub(in crate::packet) const PPP: u16 = 0x880b;
    pub(in crate::packet) const MPLS: u16 = 0x8847;
    pub(in crate::packet) const MPLS_MULTICAST: u16 = 0x8848;
    pub(in crate::packet) const PPPOE_DISCOVERY: u16 = 0x8863;
    pub(in crate::packet) const PPPOE: u16 = 0x8864;
    pub(in crate::packet) const MACSEC: u16 = 0x88e5;
    pub(in crate::packet) const ERSPAN_II: u16 = 0x88be;
    pub(in crate::packet) const ERSPAN_III: u16 = 0x22eb;
    /// Smaller values are the length of an 802.3 frame.
    pub(in crate::packet) const LEAST: u16 = 0x0600;
}

/// An IP packet, of the version its link header announced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ip<'a> {
    V4(Span<'a>),
    V6(Span<'a>),
}

/// The IP packet in a frame.
pub(super) fn open<'a>(link: LinkType, frame: Span<'a>, scope: &mut Scope) -> Result<Ip<'a>, Skip> {
    match link.0 {
        linktype::ETHERNET => ethernet(frame, scope),
        linktype::LINUX_SLL => {
            let [.., high, low] = frame.first::<16>()?;
            typed(u16::from_be_bytes([*high, *low]), frame.after(16)?, scope)
        }
        linktype::LINUX_SLL2 => {
            let [high, low] = frame.first()?;
            typed(u16::from_be_bytes([*high, *low]), frame.after(20)?, scope)
        }
        linktype::NULL | linktype::LOOP => loopback(frame),
        linktype::RAW | linktype::DLT_RAW | linktype::DLT_RAW_OPENBSD => raw(frame),
        linktype::IPV4 => Ok(Ip::V4(frame)),
        linktype::IPV6 => Ok(Ip::V6(frame)),
        linktype::NFLOG => nflog(frame),
        linktype::PPP | linktype::PPP_HDLC | linktype::PPP_ETHER | linktype::PPP_PPPD | linktype::PPP_WITH_DIR => {
            Err(Skip::Ppp)
        }
        linktype::IEEE802_11 | linktype::PRISM | linktype::RADIOTAP | linktype::AVS | linktype::PPI => Err(Skip::Wlan),
        _ => Err(Skip::LinkType),
    }
}

/// An Ethernet frame: also the inner one of VXLAN and bridged GRE.
pub(super) fn ethernet<'a>(frame: Span<'a>, scope: &mut Scope) -> Result<Ip<'a>, Skip> {
    let [.., high, low] = frame.first::<14>()?;
    typed(u16::from_be_bytes([*high, *low]), frame.after(14)?, scope)
}

/// What follows an EtherType, behind any tags.
pub(super) fn typed<'a>(mut ether_type: u16, mut rest: Span<'a>, scope: &mut Scope) -> Result<Ip<'a>, Skip> {
    for _ in 0..=MAX_TAGS {
        match ether_type {
            ethertype::IPV4 => return Ok(Ip::V4(rest)),
            ethertype::IPV6 => return Ok(Ip::V6(rest)),
            // 802.1Q, 802.1ad, and the values QinQ had before it was a standard.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
                let tag = SingleVlanHeaderSlice::from_slice(rest.bytes).map_err(|_| rest.too_short())?;
                let id = tag.vlan_identifier().value();
                // 0 is a priority and no VLAN (802.1Q §9.6).
                *scope = if id == 0 { *scope } else { scope.vlan(id) };
                ether_type = tag.ether_type().0;
                rest = rest.after(tag.slice().len())?;
            }
            ..ethertype::LEAST => (ether_type, rest) = snap(rest)?,
            _ => return Err(unopened(ether_type)),
        }
    }
    Err(Skip::TooDeep)
}

/// 802.2 LLC with SNAP and the OUI that says an EtherType follows (RFC 1042).
fn snap(llc: Span<'_>) -> Result<(u16, Span<'_>), Skip> {
    match llc.first::<8>() {
        Ok([0xaa, 0xaa, 3, 0, 0, 0, high, low]) => {
            let ether_type = u16::from_be_bytes([*high, *low]);
            if ether_type < ethertype::LEAST { Err(Skip::NotIp) } else { Ok((ether_type, llc.after(8)?)) }
        }
        Err(Skip::CutHeaders) => Err(Skip::CutHeaders),
        _ => Err(Skip::NotIp),
    }
}

fn unopened(ether_type: u16) -> Skip {
    match ether_type {
        ethertype::MPLS | ethertype::MPLS_MULTICAST => Skip::Mpls,
        ethertype::PPPOE | ethertype::PPPOE_DISCOVERY | ethertype::PPP => Skip::Ppp,
        ethertype::MACSEC => Skip::Encrypted,
        ethertype::ERSPAN_II | ethertype::ERSPAN_III => Skip::Erspan,
        _ => Skip::NotIp,
    }
}

/// LINKTYPE_NULL and LINKTYPE_LOOP: an address family of the capturing system, in its byte order or the network's.
fn loopback(frame: Span<'_>) -> Result<Ip<'_>, Skip> {
    let little = u32::from_le_bytes(*frame.first()?);
    let family = if little > 0xffff { little.swap_bytes() } else { little };
    let rest = frame.after(4)?;
    match family {
        2 => Ok(Ip::V4(rest)),
        // AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 23 | 24 | 28 | 30 => Ok(Ip::V6(rest)),
        _ => Err(Skip::NotIp),
    }
}

/// No link header: the version is in the packet.
fn raw(packet: Span<'_>) -> Result<Ip<'_>, Skip> {
    let [first] = packet.first()?;
    match first >> 4 {
        4 => Ok(Ip::V4(packet)),
        6 => Ok(Ip::V6(packet)),
        _ => Err(Skip::NotIp),
    }
}

/// LINKTYPE_NFLOG: family, version, resource, then TLVs in the capturing host's byte order, one of them the packet.
fn nflog(frame: Span<'_>) -> Result<Ip<'_>, Skip> {
    const PAYLOAD: u16 = 9;
    let [family, ..] = *frame.first::<4>()?;
    let mut rest = frame.after(4)?;
    let big_endian = matches!(rest.first::<4>()?, [_, _, 0, kind] if *kind != 0);
    for _ in 0..MAX_TLVS {
        let [len, kind] = u16_pair(rest.first()?, big_endian);
        let value_len = usize::from(len).checked_sub(4).ok_or(Skip::Malformed)?;
        if kind & 0x7fff == PAYLOAD {
            let packet = promised(family, rest.after(4)?.limited(value_len));
            return match family {
                2 => Ok(Ip::V4(packet)),
                10 => Ok(Ip::V6(packet)),
                _ => Err(Skip::NotIp),
            };
        }
        rest = rest.after(usize::from(len).next_multiple_of(4))?;
        if rest.len == 0 {
            return Err(Skip::NotIp);
        }
    }
    Err(Skip::Malformed)
}

/// NFLOG's own limit cuts packets, and says so nowhere: only their IP header does.
fn promised(family: u8, packet: Span<'_>) -> Span<'_> {
    let len = match (family, packet.bytes) {
        (2, [_, _, high, low, ..]) => u16::from_be_bytes([*high, *low]).into(),
        (10, [_, _, _, _, high, low, ..]) => 40 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    Span::new(packet.bytes, packet.len.max(len))
}

fn u16_pair(&[a, b, c, d]: &[u8; 4], big_endian: bool) -> [u16; 2] {
    let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
    [read([a, b]), read([c, d])]
}
