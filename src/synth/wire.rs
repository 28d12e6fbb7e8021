//! One TCP segment to the bytes of a frame: link, VLAN, IPv4 or IPv6, TCP, checksums.
//!
//! Written by hand and not with the crate that `packet` decodes with, so that a mistake there cannot cancel out here.

use std::net::{IpAddr, Ipv6Addr};

use super::SynthFrame;
use crate::flow::{FiveTuple, Timestamp};
use crate::packet::{LinkType, TcpFlags};

/// The headers before the IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkHeaders {
    /// Ethernet II.
    #[default]
    Ethernet,
    /// Linux cooked capture v1, as `any` gives it by default.
    Sll,
    /// Linux cooked capture v2, with this interface index.
    Sll2(u32),
    /// Nothing.
    Raw,
}

impl LinkHeaders {
    /// Its number in a capture file.
    pub fn link_type(self) -> LinkType {
        LinkType(match self {
            Self::Ethernet => 1,
            Self::Sll => 113,
            Self::Sll2(_) => 276,
            Self::Raw => 101,
        })
    }
}

/// How a conversation's segments are wrapped.
#[derive(Clone, Debug, Default)]
pub(super) struct Wrap {
    pub(super) link: LinkHeaders,
    /// 802.1Q tags, outermost first (Ethernet only).
    pub(super) vlans: Vec<u16>,
    /// Leave in the TCP checksum what the kernel leaves there for the card to finish.
    pub(super) offload: bool,
}

/// One TCP segment, with any numbers.
#[derive(Clone, Copy, Debug)]
pub struct RawSegment<'a> {
    /// From where to where.
    pub tuple: FiveTuple,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window as on the wire; `None`: 64,240 with SYN, else what scaled by 128 is 3 MB.
    pub window: Option<u16>,
    /// Options, padded to whole words.
    pub options: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// IPv4's identification.
    pub ip_id: u16,
    /// Whether the host of the tap sent it, as cooked headers say.
    pub outgoing: bool,
}

impl RawSegment<'_> {
    /// Its frame, with right checksums.
    pub fn frame(&self, at: Timestamp, link: LinkHeaders) -> SynthFrame {
        let wrap = Wrap { link, ..Wrap::default() };
        SynthFrame::new(at, link.link_type(), render(&wrap, self))
    }
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const VLAN: u16 = 0x8100;
const TCP: u8 = 6;
const TTL: u8 = 64;
/// Scaled by 128 (the option of the SYN) 3 MB: larger than what anyone sends without waiting for acknowledgements.
const WINDOW: u16 = 24_576;
/// The window of a SYN is never scaled (RFC 7323 §2.2).
const SYN_WINDOW: u16 = 64_240;

/// The frame of one segment.
pub(super) fn render(wrap: &Wrap, out: &RawSegment<'_>) -> Vec<u8> {
    let (source, destination) = same_family(out.tuple.source.ip, out.tuple.destination.ip);
    let ether_type = if source.is_ipv4() { IPV4 } else { IPV6 };
    let tcp_len = 20 + out.options.len() + out.payload.len();
    let mut frame = Vec::with_capacity(80 + tcp_len);
    link_header(&mut frame, wrap, out, ether_type);
    ip_header(&mut frame, source, destination, tcp_len, out.ip_id);
    let pseudo = pseudo_header_sum(source, destination, tcp_len);
    tcp_segment(&mut frame, out, pseudo, wrap.offload);
    frame
}

/// A mixed pair becomes IPv6 with the IPv4 end mapped (RFC 4291 §2.5.5.2).
fn same_family(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    fn mapped(ip: IpAddr) -> Ipv6Addr {
        match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        }
    }
    if a.is_ipv4() == b.is_ipv4() { (a, b) } else { (mapped(a).into(), mapped(b).into()) }
}

/// A locally administered address made of the end of an IP address.
fn mac(ip: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => (v6.to_bits() as u32).to_be_bytes(),
    };
    [0x02, 0x42, a, b, c, d]
}

fn link_header(frame: &mut Vec<u8>, wrap: &Wrap, out: &RawSegment<'_>, ether_type: u16) {
    // Packet types of the cooked headers: 0 to us, 4 sent by us.
    let kind: u8 = if out.outgoing { 4 } else { 0 };
    let source = mac(out.tuple.source.ip);
    match wrap.link {
        LinkHeaders::Raw => {}
        LinkHeaders::Ethernet => {
            frame.extend(mac(out.tuple.destination.ip));
            frame.extend(source);
            for tag in &wrap.vlans {
                frame.extend(VLAN.to_be_bytes());
                frame.extend(tag.to_be_bytes());
            }
            frame.extend(ether_type.to_be_bytes());
        }
        LinkHeaders::Sll => {
            frame.extend([0, kind, 0, 1, 0, 6]);
            frame.extend(source);
            frame.extend([0, 0]);
            frame.extend(ether_type.to_be_bytes());
        }
        LinkHeaders::Sll2(interface) => {
            frame.extend(ether_type.to_be_bytes());
            frame.extend([0, 0]);
            frame.extend(interface.to_be_bytes());
            frame.extend([0, 1, kind, 6]);
            frame.extend(source);
            frame.extend([0, 0]);
        }
    }
}

/// A length that 16 bits cannot hold is written as 0, as the kernel does for BIG TCP.
fn ip_header(frame: &mut Vec<u8>, source: IpAddr, destination: IpAddr, tcp_len: usize, ip_id: u16) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = [0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&u16::try_from(20 + tcp_len).unwrap_or(0).to_be_bytes());
            header[4..6].copy_from_slice(&ip_id.to_be_bytes());
            header[6] = 0x40; // don't fragment
            header[8] = TTL;
            header[9] = TCP;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let sum = finish(add(0, &header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = [0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&u16::try_from(tcp_len).unwrap_or(0).to_be_bytes());
            header[6] = TCP;
            header[7] = TTL;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
            frame.extend(header);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {} // `same_family` rules it out
    }
}

fn tcp_segment(frame: &mut Vec<u8>, out: &RawSegment<'_>, pseudo: u64, offload: bool) {
    let mut header = [0; 20];
    header[0..2].copy_from_slice(&out.tuple.source.port.to_be_bytes());
    header[2..4].copy_from_slice(&out.tuple.destination.port.to_be_bytes());
    header[4..8].copy_from_slice(&out.seq.to_be_bytes());
    header[8..12].copy_from_slice(&out.ack.to_be_bytes());
    header[12] = (((20 + out.options.len()) / 4) << 4) as u8;
    header[13] = out.flags.0;
    let window = out.window.unwrap_or(if out.flags.syn() { SYN_WINDOW } else { WINDOW });
    header[14..16].copy_from_slice(&window.to_be_bytes());
    let sum = if offload {
        !finish(pseudo)
    } else {
        // Header and options are of even length, so the parts can be summed one by one.
        finish(add(add(add(pseudo, &header), out.options), out.payload))
    };
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    frame.extend(out.options);
    frame.extend(out.payload);
}

fn pseudo_header_sum(source: IpAddr, destination: IpAddr, tcp_len: usize) -> u64 {
    let sum_of = |sum, ip| match ip {
        IpAddr::V4(v4) => add(sum, &v4.octets()),
        IpAddr::V6(v6) => add(sum, &v6.octets()),
    };
    let length = tcp_len as u64;
    sum_of(sum_of(u64::from(TCP), source), destination) + (length & 0xFFFF) + (length >> 16)
}

/// Adds 32 bits at a time: one's complement sums are the same for any word size once folded (RFC 1071 §2).
fn add(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        if let Ok(word) = <[u8; 4]>::try_from(word) {
            sum += u64::from(u32::from_be_bytes(word));
        }
    }
    let mut last = [0; 4];
    for (slot, byte) in last.iter_mut().zip(words.remainder()) {
        *slot = *byte;
    }
    sum + u64::from(u32::from_be_bytes(last))
}

fn finish(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn outgoing<'a>(v6: bool, payload: &'a [u8]) -> RawSegment<'a> {
        let (a, b): (IpAddr, IpAddr) = if v6 {
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())
        } else {
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
        };
        RawSegment {
            tuple: FiveTuple { source: Endpoint { ip: a, port: 40000 }, destination: Endpoint { ip: b, port: 80 } },
            seq: 0xFFFF_FFF0,
            ack: 7,
            flags: TcpFlags(TcpFlags::ACK | TcpFlags::PSH),
            window: None,
            options: &[1, 1, 1, 0],
            payload,
            ip_id: 1,
            outgoing: true,
        }
    }

    /// etherparse is the second opinion on layout and checksums.
    #[test]
    fn headers_and_checksums_are_right_for_every_family_link_and_odd_length() {
        for v6 in [false, true] {
            for payload in [&b""[..], b"a", b"ab", b"abc", b"abcd", b"\xFF\xFF\xFF\xFF\xFF"] {
                for (link, skip) in [
                    (LinkHeaders::Ethernet, 14),
                    (LinkHeaders::Sll, 16),
                    (LinkHeaders::Sll2(3), 20),
                    (LinkHeaders::Raw, 0),
                ] {
                    let frame = render(&Wrap { link, ..Wrap::default() }, &outgoing(v6, payload));
                    let packet = SlicedPacket::from_ip(&frame[skip..]).unwrap();
                    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
                    let sum = match packet.net.unwrap() {
                        NetSlice::Ipv4(ip) => {
                            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
                        }
                        NetSlice::Ipv6(ip) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(tcp.checksum(), sum.unwrap(), "{link:?} v6={v6} {payload:?}");
                    assert_eq!((tcp.sequence_number(), tcp.payload()), (0xFFFF_FFF0, payload));
                }
            }
        }
    }

    #[test]
    fn tags_stand_between_addresses_and_ether_type() {
        let wrap = Wrap { vlans: vec![100, 7], ..Wrap::default() };
        let frame = render(&wrap, &outgoing(false, b"x"));
        assert_eq!(frame[12..22], [0x81, 0, 0, 100, 0x81, 0, 0, 7, 8, 0]);
        assert!(SlicedPacket::from_ethernet(&frame).unwrap().transport.is_some());
    }

    #[test]
    fn a_frame_of_big_tcp_has_an_ip_length_of_0_and_an_offloaded_one_a_partial_checksum() {
        let payload = vec![b'x'; 100_000];
        let frame = render(&Wrap::default(), &outgoing(false, &payload));
        assert_eq!(frame[16..18], [0, 0]);
        let whole = render(&Wrap { link: LinkHeaders::Raw, ..Wrap::default() }, &outgoing(false, b"x"));
        let offloaded =
            render(&Wrap { link: LinkHeaders::Raw, offload: true, ..Wrap::default() }, &outgoing(false, b"x"));
        assert_ne!(whole[36..38], offloaded[36..38]);
        assert_eq!((&whole[..36], &whole[38..]), (&offloaded[..36], &offloaded[38..]));
    }
}
