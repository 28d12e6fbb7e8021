//! Tunnels over UDP: which a datagram is by its ports, what its header says, and what is inside.
//!
//! Opens none of the packets inside: that is `ip`. Tunnels to a relay or broker (L2TP, Teredo, AYIYA) are no networks below the
//! pod's: they are flows of it.

use super::link::{self, IpPacket, ethertype};
use super::span::ByteSpan;
use crate::flow::{PacketPlace, TunnelKind};
use crate::ledger::Skip;

/// Extension headers of GTP-U.
const MAX_EXTENSIONS: usize = 16;

/// What a tunnel holds.
#[derive(Clone, Copy, Debug)]
enum Inside<'a> {
    Ethernet(ByteSpan<'a>),
    Typed(u16, ByteSpan<'a>),
    /// IP of either version.
    Raw(ByteSpan<'a>),
}

/// What of a tunnel distinguishes connections.
#[derive(Clone, Copy, Debug)]
enum Scoped {
    /// The number of its network.
    Network(u32),
    /// Nothing: each direction has its own number, or there is none.
    Nothing(Option<u32>),
}

/// The header of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tunnelled<'a> {
    kind: Option<TunnelKind>,
    scoped: Scoped,
    inside: Inside<'a>,
}

impl<'a> Tunnelled<'a> {
    /// The packet inside, and where it was met.
    pub(super) fn open(self, place: &mut PacketPlace) -> Result<IpPacket<'a>, Skip> {
        match (self.kind, self.scoped) {
            (Some(kind), Scoped::Network(id)) => place.enter_network(kind, id),
            (Some(kind), Scoped::Nothing(id)) => place.note_tunnel(kind, id),
            (None, _) => {}
        }
        match self.inside {
            Inside::Ethernet(frame) => link::ethernet(frame, place),
            Inside::Typed(ether_type, rest) => link::typed(ether_type, rest, place),
            Inside::Raw(packet) => link::raw(packet),
        }
    }
}

/// The tunnel in a datagram.
pub(super) fn read(source: u16, destination: u16, payload: ByteSpan<'_>) -> Result<Tunnelled<'_>, Skip> {
    match (source, destination) {
        (_, 4789 | 8472) => vxlan(payload),
        (_, 4790) => vxlan_gpe(payload),
        (_, 6081) => geneve(payload),
        (_, 6635) => {
            let inside = Inside::Typed(ethertype::MPLS, payload);
            Ok(Tunnelled { kind: None, scoped: Scoped::Nothing(None), inside })
        }
        (_, 2152) => gtp(payload),
        (2123 | 2152 | 3386, _) | (_, 2123 | 3386) => Err(Skip::Gtp),
        _ => Err(Skip::NotTcp),
    }
}

/// VXLAN (RFC 7348).
fn vxlan(payload: ByteSpan<'_>) -> Result<Tunnelled<'_>, Skip> {
    let &[flags, _, _, _, n0, n1, n2, _] = payload.first::<8>()?;
    if flags & 0x08 == 0 {
        return Err(Skip::NotTcp);
    }
    let network = Scoped::Network(u32::from_be_bytes([0, n0, n1, n2]));
    Ok(Tunnelled { kind: Some(TunnelKind::Vxlan), scoped: network, inside: Inside::Ethernet(payload.after(8)?) })
}

/// VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe): the same, and it says what is inside.
fn vxlan_gpe(payload: ByteSpan<'_>) -> Result<Tunnelled<'_>, Skip> {
    let &[flags, _, _, next, ..] = payload.first::<8>()?;
    // Version 0; without the bit for a next protocol it is VXLAN.
    let next = if flags & 0x04 == 0 { 3 } else { next };
    let tunnel = vxlan(payload)?;
    let rest = payload.after(8)?;
    let inside = match next {
        _ if flags & 0x30 != 0 => return Err(Skip::NotTcp),
        1 | 2 => Inside::Raw(rest),
        3 => Inside::Ethernet(rest),
        5 => Inside::Typed(ethertype::MPLS, rest),
        _ => return Err(Skip::NotTcp),
    };
    Ok(Tunnelled { inside, ..tunnel })
}

/// Geneve (RFC 8926).
fn geneve(payload: ByteSpan<'_>) -> Result<Tunnelled<'_>, Skip> {
    let &[options, _, high, low, n0, n1, n2, _] = payload.first::<8>()?;
    if options >> 6 != 0 {
        return Err(Skip::Geneve);
    }
    let network = Scoped::Network(u32::from_be_bytes([0, n0, n1, n2]));
    let inner = payload.after(8 + 4 * usize::from(options & 0x3f))?;
    let inside = match u16::from_be_bytes([high, low]) {
        ethertype::BRIDGED => Inside::Ethernet(inner),
        kind => Inside::Typed(kind, inner),
    };
    Ok(Tunnelled { kind: Some(TunnelKind::Geneve), scoped: network, inside })
}

/// GTP-U version 1 (3GPP TS 29.281). Its tunnels have one direction: their numbers are no part of a scope.
fn gtp(payload: ByteSpan<'_>) -> Result<Tunnelled<'_>, Skip> {
    const USER_PACKET: u8 = 255;
    let &[flags, kind, _, _, t0, t1, t2, t3] = payload.first::<8>()?;
    if flags >> 4 != 0b0011 || kind != USER_PACKET {
        return Err(Skip::Gtp);
    }
    let mut rest = payload.after(8)?;
    if flags & 7 != 0 {
        let &[_, _, _, mut extension] = rest.first()?;
        rest = rest.after(4)?;
        for _ in 0..MAX_EXTENSIONS {
            if flags & 4 == 0 || extension == 0 {
                break;
            }
            let [words] = *rest.first()?;
            let len = 4 * usize::from(words).max(1);
            extension = *rest.bytes.get(len - 1).ok_or_else(|| rest.too_short())?;
            rest = rest.after(len)?;
        }
    }
    let end = Scoped::Nothing(Some(u32::from_be_bytes([t0, t1, t2, t3])));
    Ok(Tunnelled { kind: Some(TunnelKind::Gtp), scoped: end, inside: Inside::Raw(rest) })
}
