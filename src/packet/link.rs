//! Link headers: from a frame to the IP packet in it.
//!
//! It strips Ethernet, tags, cooked and loopback headers, and names what it does not open; it reads nothing of IP.

use etherparse::SingleVlanHeaderSlice;

use super::LinkType;
use super::span::ByteSpan;
use super::wlan;
use crate::flow::PacketPlace;
use crate::ledger::Skip;

/// Tags in front of one packet; two are usual (QinQ), more are a loop or an attack.
const MAX_TAGS: usize = 8;
/// TLVs in front of the payload of an NFLOG frame; there are some twenty kinds.
const MAX_TLVS: usize = 64;

/// LINKTYPE_ values (<https://www.tcpdump.org/linktypes.html>) we know something of.
pub(super) mod linktype {
    pub(in crate::packet) const NULL: u16 = 0;
    pub(in crate::packet) const ETHERNET: u16 = 1;
    /// ARCNET of BSD: without the two bytes of an offset that Linux has.
    pub(in crate::packet) const ARCNET_BSD: u16 = 7;
    pub(in crate::packet) const PPP: u16 = 9;
    /// DLT_RAW of most systems, and of OpenBSD: some writers put them into the file as they are.
    pub(in crate::packet) const DLT_RAW: u16 = 12;
    pub(in crate::packet) const DLT_RAW_OPENBSD: u16 = 14;
    pub(in crate::packet) const PPP_HDLC: u16 = 50;
    pub(in crate::packet) const PPP_ETHER: u16 = 51;
    pub(in crate::packet) const RAW: u16 = 101;
    pub(in crate::packet) const IEEE802_11: u16 = 105;
    pub(in crate::packet) const CISCO_HDLC: u16 = 104;
    pub(in crate::packet) const LOOP: u16 = 108;
    pub(in crate::packet) const LINUX_SLL: u16 = 113;
    pub(in crate::packet) const PRISM: u16 = 119;
    pub(in crate::packet) const RADIOTAP: u16 = 127;
    pub(in crate::packet) const ARCNET_LINUX: u16 = 129;
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
pub(super) enum IpPacket<'a> {
    V4(ByteSpan<'a>),
    V6(ByteSpan<'a>),
}

/// The IP packet in a frame.
pub(super) fn open<'a>(link: LinkType, frame: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    match link.0 {
        linktype::ETHERNET => ethernet(frame, place),
        linktype::LINUX_SLL => {
            let [.., high, low] = frame.first::<16>()?;
            typed(u16::from_be_bytes([*high, *low]), frame.after(16)?, place)
        }
        linktype::LINUX_SLL2 => {
            let [high, low] = frame.first()?;
            typed(u16::from_be_bytes([*high, *low]), frame.after(20)?, place)
        }
        linktype::NULL | linktype::LOOP => loopback(frame),
        linktype::RAW | linktype::DLT_RAW | linktype::DLT_RAW_OPENBSD => raw(frame),
        linktype::IPV4 => Ok(IpPacket::V4(frame)),
        linktype::IPV6 => Ok(IpPacket::V6(frame)),
        linktype::NFLOG => nflog(frame),
        linktype::CISCO_HDLC => cisco_hdlc(frame, place),
        linktype::PPP | linktype::PPP_HDLC => match frame.first::<2>()? {
            // Unicast and broadcast of Cisco's own framing, which goes by this type too.
            [0x0f | 0x8f, 0] => cisco_hdlc(frame, place),
            _ => ppp(frame, place),
        },
        linktype::PPP_PPPD | linktype::PPP_WITH_DIR => ppp(frame.after(1)?, place),
        linktype::PPP_ETHER => typed(ethertype::PPPOE, frame, place),
        linktype::IEEE802_11 => wireless(frame, false, place),
        linktype::RADIOTAP => {
            let (frame, padded) = wlan::radiotap(frame)?;
            wireless(frame, padded, place)
        }
        linktype::PRISM => wireless(wlan::prism(frame)?, false, place),
        linktype::AVS => wireless(wlan::avs(frame)?, false, place),
        linktype::PPI => ppi(frame, place),
        linktype::ARCNET_LINUX => arcnet(frame.after(4)?, place),
        linktype::ARCNET_BSD => arcnet(frame.after(2)?, place),
        _ => Err(Skip::LinkType),
    }
}

/// An Ethernet frame: also the inner one of VXLAN and bridged GRE.
pub(super) fn ethernet<'a>(frame: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    let (ether_type, rest) = inside_ethernet(frame)?;
    typed(ether_type, rest, place)
}

fn inside_ethernet(frame: ByteSpan<'_>) -> Result<(u16, ByteSpan<'_>), Skip> {
    let [.., high, low] = frame.first::<14>()?;
    Ok((u16::from_be_bytes([*high, *low]), frame.after(14)?))
}

/// What follows an EtherType, behind any tags.
pub(super) fn typed<'a>(
    mut ether_type: u16,
    mut rest: ByteSpan<'a>,
    place: &mut PacketPlace,
) -> Result<IpPacket<'a>, Skip> {
    for _ in 0..=MAX_TAGS {
        match ether_type {
            ethertype::IPV4 => return Ok(IpPacket::V4(rest)),
            ethertype::IPV6 => return Ok(IpPacket::V6(rest)),
            // 802.1Q, 802.1ad, and the values QinQ had before it was a standard.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
                let tag = SingleVlanHeaderSlice::from_slice(rest.bytes).map_err(|_| rest.too_short())?;
                let id = tag.vlan_identifier().value();
                // 0 is a priority and no VLAN (802.1Q §9.6).
                if id > 0 {
                    place.enter_vlan(id);
                }
                ether_type = tag.ether_type().0;
                rest = rest.after(tag.slice().len())?;
            }
            ethertype::MPLS | ethertype::MPLS_MULTICAST => match behind_labels(rest)? {
                Labelled::Ip(ip) => return Ok(ip),
                Labelled::Ethernet(frame) => (ether_type, rest) = inside_ethernet(frame)?,
            },
            ethertype::PPPOE => (ether_type, rest) = pppoe(rest, place)?,
            ..ethertype::LEAST => (ether_type, rest) = snap(rest)?,
            _ => return Err(unopened(ether_type)),
        }
    }
    Err(Skip::TooDeep)
}

/// 802.2 LLC with SNAP and the OUI that says an EtherType follows (RFC 1042).
fn snap(llc: ByteSpan<'_>) -> Result<(u16, ByteSpan<'_>), Skip> {
    match llc.first::<8>() {
        Ok([0xaa, 0xaa, 3, 0, 0, 0, high, low]) => {
            let ether_type = u16::from_be_bytes([*high, *low]);
            if ether_type < ethertype::LEAST { Err(Skip::NotIp) } else { Ok((ether_type, llc.after(8)?)) }
        }
        Err(Skip::CutHeaders) => Err(Skip::CutHeaders),
        _ => Err(Skip::NotIp),
    }
}

/// A frame of 802.11: its data have an LLC header, as those of 802.3 may.
fn wireless<'a>(frame: ByteSpan<'a>, padded: bool, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    let (ether_type, rest) = snap(wlan::data(frame, padded)?)?;
    typed(ether_type, rest, place)
}

/// PPI: a header of a length that it says, and the type of what follows it.
fn ppi<'a>(frame: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    let &[version, _, l0, l1, t0, t1, t2, t3] = frame.first()?;
    let (len, kind) = (u16::from_le_bytes([l0, l1]), u32::from_le_bytes([t0, t1, t2, t3]));
    let rest = frame.after(len.into())?;
    match (version, u16::try_from(kind)) {
        (0, Ok(linktype::IEEE802_11)) => wireless(rest, false, place),
        (0, Ok(linktype::ETHERNET)) => ethernet(rest, place),
        _ => Err(Skip::Wlan),
    }
}

/// ARCNET behind its addresses: IP as in RFC 1051, or as in RFC 1201 with a flag and a sequence number.
fn arcnet<'a>(rest: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    const EXCEPTION: u8 = 0xff;
    let [kind] = *rest.first()?;
    let ether_type = match kind {
        0xf0 => return typed(ethertype::IPV4, rest.after(1)?, place),
        0xd4 => ethertype::IPV4,
        0xc4 => ethertype::IPV6,
        _ => return Err(Skip::NotIp),
    };
    let [_, split] = *rest.first()?;
    match split {
        0 => typed(ether_type, rest.after(4)?, place),
        // An exception packet says so in four bytes, and repeats the header.
        EXCEPTION => typed(ether_type, rest.after(8)?, place),
        // Part of a packet.
        _ => Err(Skip::LinkType),
    }
}

/// What MPLS carries.
enum Labelled<'a> {
    Ip(IpPacket<'a>),
    Ethernet(ByteSpan<'a>),
}

/// Labels name one direction of a path: they are no part of a scope. What follows them, no label says: IP by its version,
/// Ethernet by the control word before it (RFC 4928 §3, RFC 4385 §3).
fn behind_labels(mut rest: ByteSpan<'_>) -> Result<Labelled<'_>, Skip> {
    for _ in 0..=MAX_TAGS {
        let &[_, _, bottom, _] = rest.first()?;
        rest = rest.after(4)?;
        if bottom & 1 == 0 {
            continue;
        }
        let [first] = rest.first()?;
        return match first >> 4 {
            4 => Ok(Labelled::Ip(IpPacket::V4(rest))),
            6 => Ok(Labelled::Ip(IpPacket::V6(rest))),
            0 => Ok(Labelled::Ethernet(rest.after(4)?)),
            _ => Err(Skip::Mpls),
        };
    }
    Err(Skip::TooDeep)
}

/// The IP packet behind labels that lie in an IP packet.
pub(super) fn mpls<'a>(rest: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    typed(ethertype::MPLS, rest, place)
}

/// A session of PPPoE (RFC 2516).
fn pppoe<'a>(rest: ByteSpan<'a>, place: &mut PacketPlace) -> Result<(u16, ByteSpan<'a>), Skip> {
    let &[version, code, s0, s1, l0, l1] = rest.first()?;
    if version != 0x11 || code != 0 {
        return Err(Skip::Ppp);
    }
    place.enter_session(u16::from_be_bytes([s0, s1]));
    inside_ppp(rest.after(6)?.limited(u16::from_be_bytes([l0, l1]).into()))
}

/// A frame of PPP.
fn ppp<'a>(frame: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    let (ether_type, rest) = inside_ppp(frame)?;
    typed(ether_type, rest, place)
}

/// The EtherType that a protocol of PPP means, and what follows it, with or without address and control (RFC 1662).
fn inside_ppp(frame: ByteSpan<'_>) -> Result<(u16, ByteSpan<'_>), Skip> {
    let rest = if frame.bytes.starts_with(&[0xff, 3]) { frame.after(2)? } else { frame };
    let &[high, low] = rest.first()?;
    // A protocol in one byte is odd; the first of two is even.
    let (protocol, len) = if high & 1 == 1 { (high.into(), 1) } else { (u16::from_be_bytes([high, low]), 2) };
    let ether_type = match protocol {
        0x0021 => ethertype::IPV4,
        0x0057 => ethertype::IPV6,
        0x0281 => ethertype::MPLS,
        0x0283 => ethertype::MPLS_MULTICAST,
        _ => return Err(Skip::Ppp),
    };
    Ok((ether_type, rest.after(len)?))
}

fn cisco_hdlc<'a>(frame: ByteSpan<'a>, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
    let &[address, _, high, low] = frame.first()?;
    if ![0x0f, 0x8f].contains(&address) {
        return Err(Skip::NotIp);
    }
    typed(u16::from_be_bytes([high, low]), frame.after(4)?, place)
}

fn unopened(ether_type: u16) -> Skip {
    match ether_type {
        ethertype::PPPOE_DISCOVERY | ethertype::PPP => Skip::Ppp,
        ethertype::MACSEC => Skip::Encrypted,
        ethertype::ERSPAN_II | ethertype::ERSPAN_III => Skip::Erspan,
        _ => Skip::NotIp,
    }
}

/// LINKTYPE_NULL and LINKTYPE_LOOP: an address family of the capturing system, in its byte order or the network's.
fn loopback(frame: ByteSpan<'_>) -> Result<IpPacket<'_>, Skip> {
    let little = u32::from_le_bytes(*frame.first()?);
    let family = if little > 0xffff { little.swap_bytes() } else { little };
    let rest = frame.after(4)?;
    match family {
        2 => Ok(IpPacket::V4(rest)),
        // AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 23 | 24 | 28 | 30 => Ok(IpPacket::V6(rest)),
        _ => Err(Skip::NotIp),
    }
}

/// No link header: the version is in the packet.
pub(super) fn raw(packet: ByteSpan<'_>) -> Result<IpPacket<'_>, Skip> {
    let [first] = packet.first()?;
    match first >> 4 {
        4 => Ok(IpPacket::V4(packet)),
        6 => Ok(IpPacket::V6(packet)),
        _ => Err(Skip::NotIp),
    }
}

/// LINKTYPE_NFLOG: family, version, resource, then TLVs in the capturing host's byte order, one of them the packet.
fn nflog(frame: ByteSpan<'_>) -> Result<IpPacket<'_>, Skip> {
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
                2 => Ok(IpPacket::V4(packet)),
                10 => Ok(IpPacket::V6(packet)),
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
fn promised(family: u8, packet: ByteSpan<'_>) -> ByteSpan<'_> {
    let len = match (family, packet.bytes) {
        (2, [_, _, high, low, ..]) => u16::from_be_bytes([*high, *low]).into(),
        (10, [_, _, _, _, high, low, ..]) => 40 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    ByteSpan::new(packet.bytes, packet.len.max(len))
}

fn u16_pair(&[a, b, c, d]: &[u8; 4], big_endian: bool) -> [u16; 2] {
    let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
    [read([a, b]), read([c, d])]
}
