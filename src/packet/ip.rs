//! IP packets to TCP segments, other datagrams or fragments, through the tunnels in between.
//!
//! It reads headers with `etherparse`; it joins nothing (`fragments`) and counts nothing (`Decoder`).

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    TcpHeaderSlice, UdpHeaderSlice, err, ip_number,
};

use super::fragments::{Fragment, FragmentKey};
use super::link::{self, IpPacket, ethertype};
use super::span::ByteSpan;
use super::{CarriedIn, IpAddresses, TcpFlags, tunnels};
use crate::flow::{Endpoint, FiveTuple, IpProtocol, PacketPlace, Scope, TunnelKind};
use crate::ledger::Skip;
use crate::record::IcmpMessage;

/// Tunnels opened around one segment; overlays in overlays end at two or three.
pub(super) const MAX_TUNNELS: u8 = 4;
/// Extension headers of one packet; RFC 8200 §4.1 knows seven.
const MAX_EXTENSIONS: usize = 16;

/// A TCP segment without what its frame knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpPacket<'a> {
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
    pub(super) carried: CarriedIn,
    pub(super) place: PacketPlace,
}

/// A datagram of another protocol, without what its frame knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherPacket<'a> {
    pub(super) protocol: IpProtocol,
    pub(super) tuple: FiveTuple,
    pub(super) icmp: Option<IcmpMessage>,
    pub(super) payload: ByteSpan<'a>,
    pub(super) carried: CarriedIn,
    pub(super) place: PacketPlace,
}

/// What a packet holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundPacket<'a> {
    Segment(TcpPacket<'a>),
    Fragment(Fragment<'a>),
}

/// What is remembered on the way from the frame to the segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk<'a> {
    tunnels: u8,
    damaged: bool,
    /// The innermost IP packet so far, or the fragments it came in.
    pub(super) carried: CarriedIn,
    /// The innermost datagram of a protocol other than TCP so far.
    pub(super) other: Option<OtherPacket<'a>>,
    /// The VLANs and tunnels so far.
    pub(super) place: PacketPlace,
    /// Part of what makes fragments belong together.
    pub(super) interface: u64,
    /// An IP header promised more than was on the wire.
    clipped: bool,
}

impl<'a> Walk<'a> {
    /// What an IP packet holds.
    pub(super) fn packet(&mut self, ip: IpPacket<'a>) -> Result<FoundPacket<'a>, Skip> {
        match ip {
            IpPacket::V4(packet) => self.ipv4(packet),
            IpPacket::V6(packet) => self.ipv6(packet),
        }
    }

    /// The reason to skip as seen from outside: what a tunnel holds besides TCP has one name.
    pub(super) fn outer(&self, skip: Skip) -> Skip {
        let inner = matches!(skip, Skip::NotIp | Skip::NotTcp | Skip::Icmp);
        if inner && self.tunnels > 0 { Skip::TunnelNotTcp } else { skip }
    }

    fn ipv4(&mut self, packet: ByteSpan<'a>) -> Result<FoundPacket<'a>, Skip> {
        let header = Ipv4HeaderSlice::from_slice(packet.bytes).map_err(|e| match e {
            err::ipv4::HeaderSliceError::Len(_) => packet.too_short(),
            err::ipv4::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let header_len = header.slice().len();
        self.carried = one_packet(match usize::from(header.total_len()) {
            0 => packet.len,
            total => total,
        });
        // 0 is what segmentation offload leaves in a frame longer than the field can say.
        let payload = match usize::from(header.total_len()) {
            0 => packet,
            total if total < header_len => return Err(Skip::Malformed),
            total => self.limited(packet, total),
        }
        .after(header_len)?;
        self.damaged |= !checksum_holds(header.slice());
        let ips = IpAddresses { source: header.source_addr().into(), destination: header.destination_addr().into() };
        let protocol = header.protocol();
        if !header.is_fragmenting_payload() {
            return self.upper(ips, protocol, payload);
        }
        if let Some(skip) = unopened(protocol, false) {
            return Err(skip);
        }
        self.fragment(Fragment {
            key: FragmentKey {
                ips,
                scope: self.place.scope,
                interface: self.interface,
                protocol: protocol.0,
                id: header.identification().into(),
            },
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
            protocol,
            payload,
            bytes: self.carried.bytes,
        })
    }

    fn ipv6(&mut self, packet: ByteSpan<'a>) -> Result<FoundPacket<'a>, Skip> {
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
        self.carried = one_packet(header.slice().len() + rest_len(header.payload_length(), rest));
        let ips = IpAddresses { source: header.source_addr().into(), destination: header.destination_addr().into() };
        self.upper(ips, header.next_header(), payload)
    }

    /// What follows an IP header, behind extension headers. Also of a datagram joined from fragments.
    pub(super) fn upper(
        &mut self,
        ips: IpAddresses,
        mut protocol: IpNumber,
        mut rest: ByteSpan<'a>,
    ) -> Result<FoundPacket<'a>, Skip> {
        for _ in 0..=MAX_EXTENSIONS {
            let len = match protocol {
                ip_number::TCP => return self.tcp(ips, rest).map(FoundPacket::Segment),
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
                        return self.fragment(fragment_v6(
                            ips,
                            (self.place.scope, self.interface),
                            &header,
                            rest,
                            self.carried.bytes,
                        )?);
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
    fn inner(&mut self, ips: IpAddresses, protocol: IpNumber, rest: ByteSpan<'a>) -> Result<FoundPacket<'a>, Skip> {
        let ip = match protocol {
            ip_number::IPV4 => IpPacket::V4(rest),
            ip_number::IPV6 => IpPacket::V6(rest),
            ip_number::MPLS_IN_IP => link::mpls(rest, &mut self.place)?,
            ip_number::GRE => return self.gre(ips, rest),
            ip_number::UDP => return self.udp(ips, rest),
            other => {
                self.note_other(ips, other, rest);
                return Err(unopened(other, ips.source.is_ipv6()).unwrap_or(Skip::NotTcp));
            }
        };
        self.enter()?;
        self.place.enter_tunnel(TunnelKind::Ip, ips.source, ips.destination, None);
        self.packet(ip)
    }

    /// ICMP and SCTP, as far as their ports go.
    fn note_other(&mut self, ips: IpAddresses, protocol: IpNumber, rest: ByteSpan<'a>) {
        let protocol = IpProtocol(protocol.0);
        if protocol == IpProtocol::SCTP
            && let (Ok([s0, s1, d0, d1, ..]), Ok(payload)) = (rest.first::<12>(), rest.after(12))
        {
            let ports = [u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])];
            self.note(ips, protocol, ports, None, payload);
        }
        let version = if ips.source.is_ipv6() { IpProtocol::ICMP6 } else { IpProtocol::ICMP };
        if protocol == version
            && let (Ok([kind, code, _, _, i0, i1, _, _]), Ok(payload)) = (rest.first::<8>(), rest.after(8))
        {
            let echo = crate::flow::icmp_counterpart(protocol, (*kind).into()).is_some();
            let id = echo.then(|| u16::from_be_bytes([*i0, *i1]));
            self.note(ips, protocol, [0; 2], Some(IcmpMessage { kind: *kind, code: *code, id }), payload);
        }
    }

    fn note(
        &mut self,
        ips: IpAddresses,
        protocol: IpProtocol,
        [source_port, destination_port]: [u16; 2],
        icmp: Option<IcmpMessage>,
        payload: ByteSpan<'a>,
    ) {
        let tuple = FiveTuple {
            source: Endpoint { ip: ips.source, port: source_port },
            destination: Endpoint { ip: ips.destination, port: destination_port },
        };
        self.other = Some(OtherPacket { protocol, tuple, icmp, payload, carried: self.carried, place: self.place });
    }

    fn limited(&mut self, packet: ByteSpan<'a>, len: usize) -> ByteSpan<'a> {
        self.clipped |= len > packet.len;
        packet.limited(len)
    }

    /// A fragment whose own length is in doubt would put a datagram together wrongly.
    fn fragment(&self, fragment: Fragment<'a>) -> Result<FoundPacket<'a>, Skip> {
        if self.clipped { Err(Skip::Malformed) } else { Ok(FoundPacket::Fragment(fragment)) }
    }

    fn enter(&mut self) -> Result<(), Skip> {
        self.tunnels += 1;
        if self.tunnels > MAX_TUNNELS { Err(Skip::TooDeep) } else { Ok(()) }
    }

    /// GRE version 0 (RFC 2784, RFC 2890).
    fn gre(&mut self, ips: IpAddresses, rest: ByteSpan<'a>) -> Result<FoundPacket<'a>, Skip> {
        let &[flags, version, high, low] = rest.first()?;
        let kind = u16::from_be_bytes([high, low]);
        match (version & 7, kind) {
            (0, _) if flags & 0x40 == 0 => {}
            // PPTP (RFC 2637).
            (1, ethertype::PPP) => return Err(Skip::Ppp),
            // Source routing (RFC 1701), or a version no one defined.
            _ => return Err(Skip::NotTcp),
        }
        // Checksum, key and sequence number: four bytes each.
        let header_len = 4 + 4 * (flags & 0b1011_0000).count_ones() as usize;
        let inner = rest.after(header_len)?;
        self.enter()?;
        if let ethertype::ERSPAN_II | ethertype::ERSPAN_III = kind {
            let frame = self.erspan(kind, flags & 0x10 != 0, inner)?;
            let ip = link::ethernet(frame, &mut self.place)?;
            return self.packet(ip);
        }
        let key = if flags & 0x20 == 0 { None } else { Some(gre_key(rest, flags)?) };
        self.place.enter_tunnel(TunnelKind::Gre, ips.source, ips.destination, key);
        let ip = match kind {
            ethertype::BRIDGED => link::ethernet(inner, &mut self.place)?,
            _ => link::typed(kind, inner, &mut self.place)?,
        };
        self.packet(ip)
    }

    /// The mirrored frame. A mirror is no separate network: only the VLAN that it names counts, of a frame whose tag is gone.
    fn erspan(&mut self, kind: u16, numbered: bool, rest: ByteSpan<'a>) -> Result<ByteSpan<'a>, Skip> {
        // Type I has neither sequence numbers nor a header.
        if kind == ethertype::ERSPAN_II && !numbered {
            self.place.enter_mirror(None);
            return Ok(rest);
        }
        let &[version, vlan, session, id] = rest.first()?;
        let header_len = match (kind, version >> 4) {
            (ethertype::ERSPAN_II, 1) => 8,
            // With a subheader of the platform, where the last bit says so.
            (ethertype::ERSPAN_III, 2) => {
                let [.., last] = rest.first::<12>()?;
                12 + 8 * usize::from(last & 1)
            }
            _ => return Err(Skip::Erspan),
        };
        self.place.enter_mirror(Some(u16::from_be_bytes([session & 3, id])));
        let id = u16::from_be_bytes([version & 0xf, vlan]);
        if id > 0 {
            self.place.enter_vlan(id);
        }
        rest.after(header_len)
    }

    /// Tunnels over UDP go by the port they are sent to.
    fn udp(&mut self, ips: IpAddresses, rest: ByteSpan<'a>) -> Result<FoundPacket<'a>, Skip> {
        let header = UdpHeaderSlice::from_slice(rest.bytes).map_err(|_| rest.too_short())?;
        let payload = match usize::from(header.length()) {
            // Offload leaves 0 here too; a length that is too small is no one's payload.
            0..8 => rest,
            len => rest.limited(len),
        }
        .after(8)?;
        self.note(ips, IpProtocol::UDP, [header.source_port(), header.destination_port()], None, payload);
        if header.destination_port() == 4754 {
            return self.gre(ips, payload);
        }
        let tunnel = tunnels::read(header.source_port(), header.destination_port(), payload)?;
        self.enter()?;
        let ip = tunnel.open(&mut self.place)?;
        self.packet(ip)
    }

    /// Options that the snap length cut are no loss: nothing above reads them.
    fn tcp(&self, ips: IpAddresses, rest: ByteSpan<'a>) -> Result<TcpPacket<'a>, Skip> {
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
        Ok(TcpPacket {
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
            carried: self.carried,
            place: self.place,
        })
    }
}

fn one_packet(bytes: usize) -> CarriedIn {
    CarriedIn { frames: 1, packets: 1, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
}

/// Length of an IPv6 payload: as its header says, or where that is left to the frame, what the frame holds.
fn rest_len(said: u16, rest: ByteSpan<'_>) -> usize {
    if said == 0 { rest.len } else { said.into() }
}

/// Why a protocol cannot lead to TCP, if it cannot.
fn unopened(protocol: IpNumber, v6: bool) -> Option<Skip> {
    match protocol {
        ip_number::TCP | ip_number::UDP | ip_number::GRE | ip_number::IPV4 | ip_number::IPV6 | ip_number::AUTH => None,
        ip_number::MPLS_IN_IP => None,
        ip_number::ICMP => Some(Skip::Icmp),
        ip_number::IPV6_ICMP if v6 => Some(Skip::Icmp),
        ip_number::ENCAP_SEC => Some(Skip::Encrypted),
        _ => Some(Skip::NotTcp),
    }
}

/// The key field of a GRE header that has one, behind the checksum where there is one too (RFC 2890).
fn gre_key(header: ByteSpan<'_>, flags: u8) -> Result<u32, Skip> {
    let at = if flags & 0x80 == 0 { 4 } else { 8 };
    header.after(at)?.first().map(|key| u32::from_be_bytes(*key))
}

fn fragment_v6<'a>(
    ips: IpAddresses,
    (scope, interface): (Scope, u64),
    header: &Ipv6FragmentHeaderSlice<'a>,
    rest: ByteSpan<'a>,
    bytes: u32,
) -> Result<Fragment<'a>, Skip> {
    Ok(Fragment {
        // The next header is the first fragment's to say (RFC 8200 §4.5): it is no part of the key.
        key: FragmentKey { ips, scope, interface, protocol: 0, id: header.identification() },
        offset: usize::from(header.fragment_offset().value()) * 8,
        more: header.more_fragments(),
        protocol: header.next_header(),
        payload: rest.after(header.slice().len())?,
        bytes,
    })
}

/// RFC 1071, over an IPv4 header whose length is a multiple of four. A sum of 0 was left to the hardware.
#[inline]
pub(super) fn checksum_holds(header: &[u8]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    // In any byte order: all ones are that in each.
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum();
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum == 0xffff || header.get(10..12) == Some(&[0, 0])
}
