//! Frames for tests, header by header: each function puts one header before what it is given.

use crate::flow::Timestamp;
use crate::packet::{Frame, LinkType};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

fn join(head: &[u8], rest: &[u8]) -> Vec<u8> {
    [head, rest].concat()
}

fn be(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap().to_be_bytes()
}

/// 4242 → 80, sequence 1000, acknowledging 2000, PSH and ACK, with four bytes of options.
pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
    let head = [
        [0x10, 0x92, 0, 80].as_slice(),
        &1000u32.to_be_bytes(),
        &2000u32.to_be_bytes(),
        &[0x60, 0x18, 1, 0, 0, 0, 0, 0],
        &[1, 1, 1, 0],
    ];
    join(&head.concat(), payload)
}

pub(super) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let head = [[0xc0, 0], port.to_be_bytes(), be(payload.len() + 8), [0, 0]].concat();
    join(&head, payload)
}

/// 10.0.0.1 → 10.0.0.2.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(protocol, 0, 0, false, payload)
}

pub(super) fn ipv4_fragment(protocol: u8, id: u16, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let [i0, i1] = id.to_be_bytes();
    let [l0, l1] = be(20 + payload.len());
    let [f0, f1] = be(offset / 8 + if more { 0x2000 } else { 0 });
    let mut head = [0x45, 0, l0, l1, i0, i1, f0, f1, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let sum: u32 = head.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = !(sum + (sum >> 16)) as u16;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    join(&head, payload)
}

/// fd00::1 → fd00::2.
pub(super) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = be(payload.len());
    let mut head = [0u8; 40];
    head[..8].copy_from_slice(&[0x60, 0, 0, 0, l0, l1, next_header, 64]);
    (head[8], head[23], head[24], head[39]) = (0xfd, 1, 0xfd, 2);
    join(&head, payload)
}

pub(super) fn ipv6_fragment(next_header: u8, id: u32, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let head = [[next_header, 0], be(offset | usize::from(more))].concat();
    ipv6(44, &join(&join(&head, &id.to_be_bytes()), payload))
}

/// A hop-by-hop, routing or destination options header of eight bytes.
pub(super) fn extension(next_header: u8, payload: &[u8]) -> Vec<u8> {
    join(&[next_header, 0, 1, 4, 0, 0, 0, 0], payload)
}

/// An authentication header with four bytes of integrity check.
pub(super) fn authentication(next_header: u8, payload: &[u8]) -> Vec<u8> {
    join(&[next_header, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9], payload)
}

pub(super) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    join(&[[2, 0, 0, 0, 0, 1].as_slice(), &[2, 0, 0, 0, 0, 2], &ether_type.to_be_bytes()].concat(), payload)
}

pub(super) fn tag(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    join(&[[0, 42], ether_type.to_be_bytes()].concat(), payload)
}

pub(super) fn gre(flags: u8, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let optional = vec![7; 4 * (flags >> 4 & 0b1011).count_ones() as usize];
    join(&[&[flags, 0], ether_type.to_be_bytes().as_slice(), &optional].concat(), payload)
}

pub(super) fn vxlan(frame: &[u8]) -> Vec<u8> {
    join(&[8, 0, 0, 0, 0, 0, 42, 0], frame)
}

/// A data frame of 802.11: `more` is what follows its three addresses and the sequence number.
pub(super) fn wlan(control: u8, flags: u8, more: &[u8], packet: &[u8]) -> Vec<u8> {
    let ether_type: &[u8] = if packet.first().is_some_and(|first| first >> 4 == 6) { &[0x86, 0xdd] } else { &[8, 0] };
    [&[control, flags], [0; 22].as_slice(), more, &[0xaa, 0xaa, 3, 0, 0, 0], ether_type, packet].concat()
}

/// A whole frame.
pub(super) fn frame(link: u16, data: &[u8]) -> Frame<'_> {
    Frame { at: Timestamp(0), link: LinkType(link), data, wire_len: data.len() as u32, interface: None }
}

/// Two labels.
pub(super) fn mpls(inner: &[u8]) -> Vec<u8> {
    [&[0, 1, 0, 64, 0, 2, 1, 64], inner].concat()
}

/// Session 5.
pub(super) fn pppoe(protocol: u16, inner: &[u8]) -> Vec<u8> {
    let len = u16::try_from(inner.len() + 2).unwrap().to_be_bytes();
    [&[0x11, 0, 0, 5], len.as_slice(), &protocol.to_be_bytes(), inner].concat()
}
