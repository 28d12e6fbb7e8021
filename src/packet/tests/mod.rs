use proptest::prelude::*;

use super::ip::MAX_TUNNELS;
use super::*;
use crate::flow::Endpoint;
use crate::ledger::{FrameLedger, Ledger, Skip};
use wire::*;

mod fragments;
mod wire;

const PAYLOAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

fn decoder() -> FrameDecoder {
    FrameDecoder::new(FragmentLimits::default())
}

/// Every frame is accounted for.
fn assert_balanced(frames: &FrameLedger) {
    let ledger = Ledger { frames: frames.clone(), ..Ledger::default() };
    assert_eq!(ledger.imbalances(), []);
}

/// The one reason the frame was skipped for.
fn skip(frame: &Frame<'_>) -> Option<Skip> {
    let mut decoder = decoder();
    let segments = u64::from(decoder.decode(frame).is_some());
    assert_balanced(decoder.ledger());
    assert_eq!(decoder.ledger().segments, segments);
    Skip::ALL.iter().copied().find(|skip| decoder.ledger().skipped.at(*skip as usize) == 1)
}

fn v4() -> Vec<u8> {
    ipv4(TCP, &tcp(PAYLOAD))
}

fn v6() -> Vec<u8> {
    ipv6(TCP, &tcp(PAYLOAD))
}

type Wrapped = Vec<(&'static str, u16, Vec<u8>)>;

/// The same segment behind every header that is opened.
fn wrapped() -> Wrapped {
    [behind_links(), behind_radio(), behind_packets(), behind_labels(), behind_datagrams(), behind_generic()].concat()
}

fn behind_links() -> Wrapped {
    let (v4, v6) = (&v4(), &v6());
    let nflog = |family: u8, packet: &[u8]| {
        let len = u16::try_from(packet.len() + 4).unwrap().to_le_bytes();
        [[family, 0, 0, 5].as_slice(), &[8, 0, 1, 0, 8, 0, 1, 0], &[5, 0, 10, 0, b'x', 0, 0, 0], &len, &[9, 0], packet]
            .concat()
    };
    vec![
        ("ethernet, IPv4", 1, ethernet(0x0800, v4)),
        ("ethernet, IPv6", 1, ethernet(0x86dd, v6)),
        ("802.1Q", 1, ethernet(0x8100, &tag(0x0800, v4))),
        ("802.1ad with 802.1Q", 1, ethernet(0x88a8, &tag(0x8100, &tag(0x86dd, v6)))),
        ("old QinQ", 1, ethernet(0x9100, &tag(0x9200, &tag(0x0800, v4)))),
        ("802.3 with SNAP", 1, ethernet(100, &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], v4.as_slice()].concat())),
        ("cooked", 113, [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], v4.as_slice()].concat()),
        ("cooked, tagged", 113, [&[0; 14], [0x81, 0].as_slice(), &tag(0x86dd, v6)].concat()),
        ("cooked 2", 276, [&[0x86, 0xdd], [0; 18].as_slice(), v6].concat()),
        ("null, little endian", 0, [&[2, 0, 0, 0], v4.as_slice()].concat()),
        ("null, big endian", 0, [&[0, 0, 0, 2], v4.as_slice()].concat()),
        ("null, IPv6 of Darwin", 0, [&[30, 0, 0, 0], v6.as_slice()].concat()),
        ("null, IPv6 of FreeBSD", 0, [&[0, 0, 0, 28], v6.as_slice()].concat()),
        ("loop", 108, [&[0, 0, 0, 24], v6.as_slice()].concat()),
        ("raw, IPv4", 101, v4.clone()),
        ("raw, IPv6", 101, v6.clone()),
        ("raw under its DLT", 12, v4.clone()),
        ("raw under OpenBSD's DLT", 14, v6.clone()),
        ("link type IPv4", 228, v4.clone()),
        ("link type IPv6", 229, v6.clone()),
        ("nflog, IPv4", 239, nflog(2, v4)),
        ("nflog, IPv6", 239, nflog(10, v6)),
        (
            "nflog of a big-endian host",
            239,
            [[2, 0, 0, 5].as_slice(), &[0, 8, 0, 1, 8, 0, 1, 0], &[0, 66, 0, 9], v4].concat(),
        ),
    ]
}

/// 802.11 under the headers that monitors put in front of it, and ARCNET.
fn behind_radio() -> Wrapped {
    let (v4, v6) = (&v4(), &v6());
    let plain = &wlan(0x08, 1, &[], v4);
    let padded = [&wlan(0x88, 2, &[0, 0], &[])[..26], &[0, 0, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd], v6].concat();
    let prism = |len: [u8; 4]| [&[0x44, 0, 0, 0], len.as_slice(), &[0; 136], plain.as_slice()].concat();
    vec![
        ("802.11", 105, plain.clone()),
        ("802.11, QoS", 105, wlan(0x88, 2, &[0, 0], v6)),
        ("802.11, QoS and HT control", 105, wlan(0x88, 0x82, &[0, 0, 1, 2, 3, 4], v4)),
        ("802.11 between access points", 105, wlan(0x88, 3, &[9, 9, 9, 9, 9, 9, 0, 0], v4)),
        ("radiotap without fields", 127, [&[0, 0, 8, 0, 0, 0, 0, 0], plain.as_slice()].concat()),
        ("radiotap with time and flags, padded", 127, {
            let head = [&[0, 0, 17, 0, 3, 0, 0, 0], [0; 8].as_slice(), &[0x20]].concat();
            [&head[..], &padded].concat()
        }),
        ("radiotap with more words", 127, {
            [&[0, 0, 14, 0, 2, 0, 0, 0x80, 0x20, 8, 0, 0, 0x10, 0], plain.as_slice()].concat()
        }),
        ("Prism", 119, prism([144, 0, 0, 0])),
        ("Prism of a big-endian host", 119, prism([0, 0, 0, 144])),
        ("AVS", 163, [&[0x80, 0x21, 0x10, 1, 0, 0, 0, 12, 0, 0, 0, 0], plain.as_slice()].concat()),
        ("AVS under Prism's type", 119, [&[0x80, 0x21, 0x10, 1, 0, 0, 0, 8], plain.as_slice()].concat()),
        ("PPI", 192, [&[0, 0, 8, 0, 105, 0, 0, 0], plain.as_slice()].concat()),
        ("PPI, Ethernet", 192, [&[0, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0, 0], ethernet(0x0800, v4).as_slice()].concat()),
        ("ARCNET, RFC 1051", 129, [&[1, 2, 0, 0, 0xf0], v4.as_slice()].concat()),
        ("ARCNET, RFC 1201", 129, [&[1, 2, 0, 0, 0xd4, 0, 0, 7], v4.as_slice()].concat()),
        ("ARCNET, exception packet", 129, [&[1, 2, 0, 0, 0xc4, 0xff, 0, 7, 0xc4, 0, 0, 7], v6.as_slice()].concat()),
        ("ARCNET of BSD", 7, [&[1, 2, 0xd4, 0, 0, 7], v4.as_slice()].concat()),
    ]
}

/// VXLAN that says what is in it.
fn behind_generic() -> Wrapped {
    let (v4, v6) = (&v4(), &v6());
    let eth4 = &ethernet(0x0800, v4);
    let to = |port, head: &[u8], inner: &[u8]| ipv4(UDP, &udp(port, &[head, inner].concat()));
    vec![
        ("VXLAN-GPE, IPv6", 228, to(4790, &[0x0c, 0, 0, 2, 0, 0, 42, 0], v6)),
        ("VXLAN-GPE, Ethernet", 228, to(4790, &[0x0c, 0, 0, 3, 0, 0, 42, 0], eth4)),
        ("VXLAN-GPE, MPLS", 228, to(4790, &[0x0c, 0, 0, 5, 0, 0, 42, 0], &mpls(v4))),
        ("VXLAN at GPE's port", 228, to(4790, &[8, 0, 0, 0, 0, 0, 42, 0], eth4)),
    ]
}

fn behind_packets() -> Wrapped {
    let (v4, v6) = (&v4(), &v6());
    let eth4 = &ethernet(0x0800, v4);
    vec![
        ("IPv4 options", 228, {
            let mut packet = [&v4[..20], &[1, 1, 1, 0], &v4[20..]].concat();
            (packet[0], packet[3], packet[10], packet[11]) = (0x46, packet[3] + 4, 0, 0);
            packet
        }),
        ("IPv4, AH", 228, ipv4(51, &authentication(TCP, &tcp(PAYLOAD)))),
        ("hop by hop", 229, ipv6(0, &extension(TCP, &tcp(PAYLOAD)))),
        (
            "routing, destination options, AH",
            229,
            ipv6(43, &extension(60, &extension(51, &authentication(TCP, &tcp(PAYLOAD))))),
        ),
        ("atomic fragment", 229, ipv6_fragment(TCP, 7, 0, false, &tcp(PAYLOAD))),
        ("6in4", 228, ipv4(41, v6)),
        ("4in6", 229, ipv6(4, v4)),
        ("IPIP", 228, ipv4(4, v4)),
        ("GRE", 228, ipv4(47, &gre(0, 0x0800, v4))),
        ("GRE, checksum", 228, ipv4(47, &gre(0x80, 0x86dd, v6))),
        ("GRE, key and sequence", 229, ipv6(47, &gre(0x30, 0x0800, v4))),
        ("GRE, bridged, all fields", 228, ipv4(47, &gre(0xb0, 0x6558, eth4))),
        ("VXLAN", 228, ipv4(UDP, &udp(4789, &vxlan(eth4)))),
        ("VXLAN at Linux's port", 229, ipv6(UDP, &udp(8472, &vxlan(&ethernet(0x8100, &tag(0x86dd, v6)))))),
        ("VXLAN in GRE in 6in4", 1, {
            let overlay = ipv4(UDP, &udp(4789, &vxlan(eth4)));
            ethernet(0x0800, &ipv4(41, &ipv6(47, &gre(0, 0x0800, &overlay))))
        }),
    ]
}

fn behind_labels() -> Wrapped {
    let (v4, v6) = (&v4(), &v6());
    let eth4 = &ethernet(0x0800, v4);
    vec![
        ("MPLS", 1, ethernet(0x8847, &mpls(v4))),
        ("MPLS with Ethernet inside", 1, ethernet(0x8847, &mpls(&[&[0; 4], eth4.as_slice()].concat()))),
        ("MPLS in IP", 228, ipv4(137, &mpls(v6))),
        ("MPLS in UDP", 228, ipv4(UDP, &udp(6635, &mpls(v4)))),
        ("PPPoE in a VLAN", 1, ethernet(0x8100, &tag(0x8864, &pppoe(0x21, v4)))),
        ("PPPoE, IPv6", 51, pppoe(0x57, v6)),
        ("PPP", 9, [&[0xff, 3, 0, 0x21], v4.as_slice()].concat()),
        ("PPP, protocol in one byte", 50, [&[0x21], v4.as_slice()].concat()),
        ("PPP with MPLS, and its direction before", 204, [&[0, 0xff, 3, 2, 0x81], mpls(v4).as_slice()].concat()),
        ("Cisco HDLC", 104, [&[0x0f, 0, 8, 0], v4.as_slice()].concat()),
        ("Cisco HDLC under PPP's type", 50, [&[0x8f, 0, 0x86, 0xdd], v6.as_slice()].concat()),
    ]
}

fn behind_datagrams() -> Wrapped {
    let (v4, v6) = (&v4(), &v6());
    let eth4 = &ethernet(0x0800, v4);
    vec![
        (
            "Geneve, bridged, with options",
            228,
            ipv4(UDP, &udp(6081, &[&[2, 0, 0x65, 0x58, 0, 0, 7, 0], [0; 8].as_slice(), eth4].concat())),
        ),
        ("Geneve, IPv6", 229, ipv6(UDP, &udp(6081, &[&[0, 0, 0x86, 0xdd, 0, 0, 7, 0], v6.as_slice()].concat()))),
        ("ERSPAN I", 228, ipv4(47, &gre(0, 0x88be, eth4))),
        ("ERSPAN II", 228, ipv4(47, &gre(0x10, 0x88be, &[&[0x10, 7, 0, 1, 0, 0, 0, 0], eth4.as_slice()].concat()))),
        (
            "ERSPAN III",
            228,
            ipv4(47, &gre(0x10, 0x22eb, &[&[0x20, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], eth4.as_slice()].concat())),
        ),
        ("ERSPAN III, subheader", 228, {
            let header = [0x20, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            ipv4(47, &gre(0x10, 0x22eb, &[&header, eth4.as_slice()].concat()))
        }),
        ("GTP-U", 228, ipv4(UDP, &udp(2152, &[&[0x30, 255, 0, 0, 0, 0, 0, 9], v4.as_slice()].concat()))),
        ("GTP-U with an extension", 228, {
            let header = [0x34, 255, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0x10, 9, 0];
            ipv4(UDP, &udp(2152, &[&header, v6.as_slice()].concat()))
        }),
        ("GRE in UDP", 228, ipv4(UDP, &udp(4754, &gre(0x20, 0x0800, v4)))),
    ]
}

fn assert_is_the_segment(name: &str, segment: &Segment<'_>) {
    let v4 = segment.tuple.source.ip.is_ipv4();
    let [source, destination] = if v4 { ["10.0.0.1", "10.0.0.2"] } else { ["fd00::1", "fd00::2"] };
    let end = |ip: &str, port| Endpoint { ip: ip.parse().unwrap(), port };
    assert_eq!(segment.tuple.source, end(source, 4242), "{name}");
    assert_eq!(segment.tuple.destination, end(destination, 80), "{name}");
    assert_eq!((segment.seq, segment.ack, segment.flags), (1000, 2000, TcpFlags(0x18)), "{name}");
    assert_eq!((segment.payload, segment.payload_len as usize), (PAYLOAD, PAYLOAD.len()), "{name}");
}

#[test]
fn the_segment_is_found_behind_every_header_that_is_opened() {
    for (name, link, data) in wrapped() {
        let mut decoder = decoder();
        match decoder.decode(&frame(link, &data)) {
            Some(segment) => assert_is_the_segment(name, &segment),
            None => panic!("{name}: {:?}", decoder.ledger()),
        }
        assert_eq!(decoder.ledger(), &FrameLedger { frames: 1, segments: 1, ..decoder.ledger().clone() }, "{name}");
        assert_balanced(decoder.ledger());
    }
}

#[test]
fn padding_behind_the_packet_is_not_payload() {
    for (name, link, data) in wrapped() {
        let padded = [data.as_slice(), b"padding"].concat();
        let mut decoder = decoder();
        assert_is_the_segment(name, &decoder.decode(&frame(link, &padded)).unwrap());
    }
}

#[test]
fn a_frame_cut_anywhere_gives_what_is_there_and_says_what_is_missing() {
    for (name, link, data) in wrapped() {
        for captured in 0..data.len() {
            let cut = Frame { data: &data[..captured], ..frame(link, &data) };
            let missing = data.len() - captured;
            let mut decoder = decoder();
            if let Some(segment) = decoder.decode(&cut) {
                assert_eq!(segment.payload_len as usize, PAYLOAD.len(), "{name} at {captured}");
                assert_eq!(segment.payload, &PAYLOAD[..PAYLOAD.len().saturating_sub(missing)], "{name} at {captured}");
            } else {
                assert!(missing > PAYLOAD.len(), "{name} at {captured}");
                assert_eq!(skip(&cut), Some(Skip::CutHeaders), "{name} at {captured}");
            }
            assert_eq!(decoder.ledger().cut, 1);
            assert_balanced(decoder.ledger());
        }
    }
}

#[test]
fn a_frame_that_was_never_longer_is_malformed_when_headers_do_not_fit() {
    for (name, link, data) in wrapped() {
        for len in 0..data.len() - PAYLOAD.len() - 24 {
            let skip = skip(&frame(link, &data[..len])).unwrap();
            // NFLOG cuts packets without a word in the frame.
            let cut = link == 239 && skip == Skip::CutHeaders;
            assert!(cut || matches!(skip, Skip::Malformed | Skip::NotIp), "{name} at {len}: {skip:?}");
        }
    }
}

#[test]
fn a_packet_is_never_longer_than_its_frame_was_on_the_wire() {
    for (ether_type, mut packet, at) in [(0x0800, v4(), 2), (0x86dd, v6(), 4)] {
        packet[at] = 0x70;
        let data = ethernet(ether_type, &packet);
        assert_is_the_segment("plain", &decoder().decode(&frame(1, &data)).unwrap());
        assert_is_the_segment(
            "tagged",
            &decoder().decode(&frame(1, &ethernet(0x8100, &tag(ether_type, &packet)))).unwrap(),
        );
        let longer = Frame { wire_len: data.len() as u32 + 10, ..frame(1, &data) };
        assert_eq!(decoder().decode(&longer).unwrap().payload_len as usize, PAYLOAD.len() + 10);
    }
    let mut fragment = ipv4_fragment(TCP, 1, 64, false, PAYLOAD);
    fragment[2] = 0x70;
    assert_eq!(skip(&frame(228, &fragment)), Some(Skip::Malformed));
}

#[test]
fn nflog_cuts_packets_and_only_their_header_says_so() {
    let packet = v4();
    let cut = &packet[..packet.len() - 10];
    let len = u16::try_from(cut.len() + 4).unwrap().to_le_bytes();
    let data = [[2, 0, 0, 5].as_slice(), &len, &[9, 0], cut].concat();
    let mut decoder = decoder();
    let segment = decoder.decode(&frame(239, &data)).unwrap();
    assert_eq!((segment.payload, segment.payload_len as usize), (&PAYLOAD[..PAYLOAD.len() - 10], PAYLOAD.len()));
}

#[test]
fn offload_leaves_no_length_and_the_frame_has_it() {
    let mut packet = v4();
    packet[2..4].fill(0);
    assert_is_the_segment("IPv4", &decoder().decode(&frame(1, &ethernet(0x0800, &packet))).unwrap());
    let mut packet = ipv6(0, &extension(TCP, &tcp(PAYLOAD)));
    packet[4..6].fill(0);
    assert_is_the_segment("jumbogram", &decoder().decode(&frame(1, &ethernet(0x86dd, &packet))).unwrap());
    let huge = vec![b'x'; 200_000];
    let mut packet = v6();
    packet[4..6].fill(0);
    let packet = ethernet(0x86dd, &[packet, huge].concat());
    let cut = Frame { data: &packet[..1000], ..frame(1, &packet) };
    let mut decoder = decoder();
    let segment = decoder.decode(&cut).unwrap();
    assert_eq!(segment.payload_len as usize, PAYLOAD.len() + 200_000);
    assert_eq!(segment.payload.len(), 1000 - 14 - 40 - 24);
}

#[test]
fn what_gives_no_segment_is_skipped_by_name() {
    let eth = |ether_type| ethernet(ether_type, &[0x45; 64]);
    let v4 = |protocol| ipv4(protocol, &[0x45; 64]);
    let table = [
        (Skip::NotIp, 1, eth(0x0806)),
        (Skip::NotIp, 1, ethernet(38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0, 0])),
        (Skip::NotIp, 0, vec![7, 0, 0, 0, 1, 2, 3, 4]),
        (Skip::NotIp, 101, vec![0x10; 40]),
        (Skip::NotTcp, 228, v4(132)),
        (Skip::NotTcp, 228, v4(47)),
        (Skip::NotTcp, 228, ipv4(UDP, &udp(53, b"?"))),
        (Skip::NotTcp, 228, ipv4(UDP, &udp(4789, &[0; 64]))),
        (Skip::NotTcp, 228, ipv4(0, &extension(TCP, &tcp(b"")))),
        (Skip::Icmp, 228, v4(1)),
        (Skip::Icmp, 229, ipv6(58, &[0; 8])),
        (Skip::TooDeep, 1, ethernet(0x8847, &[0; 64])),
        (Skip::Mpls, 1, ethernet(0x8847, &[0, 0, 1, 64, 0xf0, 0, 0, 0])),
        (Skip::Ppp, 1, eth(0x8864)),
        (Skip::Ppp, 9, vec![0; 64]),
        (Skip::Ppp, 228, ipv4(47, &[0x30, 1, 0x88, 0x0b, 0, 0, 0, 0])),
        (Skip::Gtp, 228, ipv4(UDP, &udp(2152, &[0; 64]))),
        (Skip::Geneve, 228, ipv4(UDP, &udp(6081, &[0x40; 64]))),
        (Skip::Wlan, 127, vec![0; 64]),
        // A beacon; data without a body, in part, in an aggregate, damaged.
        (Skip::Wlan, 105, wlan(0x80, 0, &[], &[0; 40])),
        (Skip::Wlan, 105, wlan(0x48, 1, &[], &[0; 40])),
        (Skip::Wlan, 105, wlan(0x08, 5, &[], &[0x45; 40])),
        (Skip::Wlan, 105, wlan(0x88, 1, &[0x80, 0], &[0x45; 40])),
        (Skip::Wlan, 127, [&[0, 0, 9, 0, 2, 0, 0, 0, 0x40], wlan(0x08, 1, &[], &[0x45; 40]).as_slice()].concat()),
        (Skip::Wlan, 192, vec![0; 64]),
        (Skip::Encrypted, 105, wlan(0x08, 0x41, &[], &[0x45; 40])),
        (Skip::NotIp, 129, vec![0; 64]),
        (Skip::LinkType, 129, vec![1, 2, 0, 0, 0xd4, 3, 0, 7, 0x45]),
        (Skip::NotTcp, 228, ipv4(UDP, &udp(4790, &[0x0c, 0, 0, 4, 0, 0, 42, 0]))),
        (Skip::Erspan, 228, ipv4(47, &gre(0x10, 0x88be, &[0; 64]))),
        (Skip::Encrypted, 1, eth(0x88e5)),
        (Skip::Encrypted, 228, v4(50)),
        (Skip::TunnelNotTcp, 228, ipv4(4, &v4(1))),
        (Skip::TunnelNotTcp, 228, ipv4(47, &gre(0, 0x6558, &eth(0x0806)))),
        (Skip::TunnelNotTcp, 228, ipv4(UDP, &udp(4789, &vxlan(&ethernet(0x0800, &ipv4(UDP, &udp(53, b"?"))))))),
        (Skip::LinkType, 8, vec![0; 64]),
        (Skip::Malformed, 228, v6()),
        (Skip::Malformed, 1, ethernet(0x0800, &v6())),
        (Skip::Malformed, 228, ipv4(TCP, &[0; 19])),
        (Skip::Malformed, 228, ipv4(TCP, &[0x40; 20])),
        (Skip::Malformed, 228, ipv4(TCP, &[0xf0; 20])),
    ];
    for (expected, link, data) in table {
        assert_eq!(skip(&frame(link, &data)), Some(expected), "link {link}: {data:02x?}");
    }
}

#[test]
fn tunnels_tags_and_extensions_are_opened_up_to_their_limits() {
    let nested = |depth| (0..depth).fold(v4(), |packet, _| ipv4(4, &packet));
    assert_eq!(skip(&frame(228, &nested(MAX_TUNNELS))), None);
    assert_eq!(skip(&frame(228, &nested(MAX_TUNNELS + 1))), Some(Skip::TooDeep));
    let tagged = |depth| ethernet(0x8100, &(1..depth).fold(tag(0x0800, &v4()), |rest, _| tag(0x8100, &rest)));
    assert_eq!(skip(&frame(1, &tagged(8))), None);
    assert_eq!(skip(&frame(1, &tagged(9))), Some(Skip::TooDeep));
    let extended = |n| ipv6(60, &(1..n).fold(extension(TCP, &tcp(PAYLOAD)), |rest, _| extension(60, &rest)));
    assert_eq!(skip(&frame(229, &extended(16))), None);
    assert_eq!(skip(&frame(229, &extended(17))), Some(Skip::TooDeep));
}

#[test]
fn a_wrong_header_checksum_is_counted_and_the_segment_kept() {
    for tagged in [false, true] {
        let wrap = |packet: &[u8]| {
            if tagged { ethernet(0x8100, &tag(0x0800, packet)) } else { ethernet(0x0800, packet) }
        };
        let mut packet = v4();
        let mut decoder = decoder();
        assert!(decoder.decode(&frame(1, &wrap(&packet))).is_some());
        assert_eq!(decoder.ledger().bad_ip_checksums, 0);
        packet[10] ^= 1;
        assert!(decoder.decode(&frame(1, &wrap(&packet))).is_some());
        assert_eq!(decoder.ledger().bad_ip_checksums, 1);
    }
}

#[test]
fn a_disowned_segment_counts_as_skipped() {
    let data = v4();
    let mut decoder = decoder();
    assert!(decoder.decode(&frame(228, &data)).is_some());
    decoder.disown_last(Skip::OwnTraffic);
    assert_eq!((decoder.ledger().segments, decoder.ledger().skipped.at(Skip::OwnTraffic as usize)), (0, 1));
    assert_balanced(decoder.ledger());
}

/// A frame near a plain one: bytes changed in its headers, cut, padded, of any length on the wire.
fn almost_plain() -> impl Strategy<Value = (u16, Vec<u8>, u32)> {
    let change = (0..90usize, any::<u8>());
    let kind = (prop::sample::select(vec![1u16, 113, 276]), any::<bool>());
    (kind, prop::collection::vec(change, 0..3), 0..160usize, 0..300u32).prop_map(|((link, six), changes, len, more)| {
        let (ether_type, packet) = if six { (0x86dd, v6()) } else { (0x0800u16, v4()) };
        let [high, low] = ether_type.to_be_bytes();
        let mut data = match link {
            1 => ethernet(ether_type, &packet),
            113 => [&[0; 14], [high, low].as_slice(), &packet].concat(),
            _ => [&[high, low], [0; 18].as_slice(), &packet].concat(),
        };
        for (at, value) in changes {
            if let Some(byte) = data.get_mut(at) {
                *byte = value;
            }
        }
        // Whole as often as not; cut or padded otherwise.
        if len >= 60 {
            let len = if len < 100 { data.len() } else { len };
            data.resize(len, 0xee);
        } else {
            data.truncate(data.len().saturating_sub(len));
        }
        let wire_len = data.len() as u32 + more.saturating_sub(150);
        (link, data, wire_len)
    })
}

proptest! {
    // Microseconds each, and a wrong bit in one field is rare.
    #![proptest_config(ProptestConfig::with_cases(1 << 16))]

    #[test]
    fn the_fast_path_gives_what_the_general_path_gives((link, data, wire_len) in almost_plain()) {
        let frame = Frame { wire_len, ..frame(link, &data) };
        if let Some(fast) = plain::segment(&frame) {
            let mut walk = ip::Walk::default();
            let span = span::ByteSpan::new(&data, wire_len as usize);
            match link::open(frame.link, span, &mut walk.place).and_then(|ip| walk.packet(ip)) {
                Ok(ip::FoundPacket::Segment(general)) => prop_assert_eq!(fast, general),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_lose_a_frame(
        link in prop::sample::select(vec![0u16, 1, 7, 9, 12, 14, 101, 105, 108, 113, 119, 127, 129, 163, 192, 228, 229, 239, 276, 999]),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..8),
        more in 0..200u32,
    ) {
        let mut decoder = decoder();
        for data in &frames {
            let frame = frame(link, data);
            decoder.decode(&Frame { wire_len: frame.wire_len + more, ..frame });
        }
        prop_assert_eq!(decoder.ledger().frames, frames.len() as u64);
        assert_balanced(decoder.ledger());
    }

    #[test]
    fn no_change_to_a_good_frame_makes_it_panic_or_lose_a_frame(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
    ) {
        let (_, link, mut data) = which.get(&wrapped()).clone();
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        let mut decoder = decoder();
        for len in [data.len(), keep.index(data.len())] {
            if let Some(segment) = decoder.decode(&Frame { data: &data[..len], ..frame(link, &data) }) {
                prop_assert!(segment.payload.len() <= segment.payload_len as usize);
            }
        }
        prop_assert_eq!(decoder.ledger().frames, 2);
        assert_balanced(decoder.ledger());
    }
}

#[test]
fn plain_frames_take_the_fast_path() {
    for (link, data) in [(1, ethernet(0x0800, &v4())), (1, ethernet(0x86dd, &v6()))] {
        assert!(plain::segment(&frame(link, &data)).is_some());
    }
    for (name, link, data) in wrapped().iter().filter(|(_, link, _)| *link == 276) {
        assert!(plain::segment(&frame(*link, data)).is_some(), "{name}");
    }
}
