//! TCP checksums: right, wrong, or not for us to judge.
//!
//! It says what the bytes say; whether to believe a wrong one is asked in `tcp`, where the receiver's answer decides.

use std::net::IpAddr;

use super::Segment;
use crate::flow::FiveTuple;

const TCP: u64 = 6;

/// What a segment's checksum says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// It fits the bytes: its receiver takes the segment.
    Right,
    /// Left to the hardware, which finishes it behind the tap.
    Left,
    /// The capture has not got all the bytes that it covers.
    Open,
    /// It fits nothing: its receiver drops the segment.
    Wrong,
}

impl Segment<'_> {
    /// Verifies the checksum (RFC 9293 §3.1). Costs a pass over the bytes, but for segments left to the hardware.
    pub fn checksum(&self) -> Checksum {
        if self.damaged {
            return Checksum::Wrong;
        }
        let Some(&[_, _, _, _, _, _, _, _, _, _, _, _, offset, _, _, _, high, low]) = self.wire.first_chunk::<18>()
        else {
            return Checksum::Open;
        };
        let field = u16::from_be_bytes([high, low]);
        let len = self.payload_len as usize + usize::from(offset >> 4) * 4;
        if self.wire.len() != len {
            return Checksum::Open;
        }
        // Without the length, and with it.
        let short = addresses(&self.tuple) + TCP;
        let pseudo = short + len as u64;
        if field == 0 || is_left_to_hardware(field, pseudo) {
            return Checksum::Left;
        }
        match () {
            () if fold(pseudo + u64::from(sum(self.wire))) == 0xffff => Checksum::Right,
            () if is_left_to_hardware(field, short) => Checksum::Left,
            () => Checksum::Wrong,
        }
    }
}

/// Whether the field holds the part of the sum that the sender's driver prepares. That is the pseudo-header's sum, with
/// the length (Linux, CHECKSUM_PARTIAL) or without (segmentation by the card), in either byte order.
#[inline]
fn is_left_to_hardware(field: u16, pseudo: u64) -> bool {
    // Neither is 0: a sum is 0 only where all that it adds is.
    let sum = fold(pseudo);
    sum == field || sum == field.swap_bytes()
}

/// The addresses' part of the pseudo-header's sum.
#[inline]
fn addresses(tuple: &FiveTuple) -> u64 {
    fn words(ip: IpAddr) -> u64 {
        match ip {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                (bits & 0xffff_ffff) as u64
                    + (bits >> 32 & 0xffff_ffff) as u64
                    + (bits >> 64 & 0xffff_ffff) as u64
                    + (bits >> 96) as u64
            }
        }
    }
    words(tuple.source.ip) + words(tuple.destination.ip)
}

/// The one's complement sum of the bytes as 16-bit words. It is the same in any byte order but for a swap at the end, and
/// for any width of word (RFC 1071 §2). So it adds little-endian words, 64 bytes at a time with one carry.
#[inline]
fn sum(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let (mut low, mut carries) = (0_u64, 0_u64);
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let mut carry = false;
        for word in words {
            (low, carry) = carrying_add(low, u64::from_le_bytes(*word), carry);
        }
        carries += u64::from(carry);
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words.iter().chain([&last_word(bytes, rest)]) {
        let (sum, carry) = low.overflowing_add(u64::from_le_bytes(*word));
        (low, carries) = (sum, carries + u64::from(carry));
    }
    fold(u64::from(fold(low)) + carries).swap_bytes()
}

/// The last bytes, fewer than eight, as a word with zeros behind them. They are cut out of the eight that `bytes` end with: a loop
/// over them would cost as much as the sum of a header.
#[inline]
fn last_word(bytes: &[u8], rest: &[u8]) -> [u8; 8] {
    match bytes.last_chunk::<8>() {
        Some(_) if rest.is_empty() => [0; 8],
        Some(last) => (u64::from_le_bytes(*last) >> (8 * (8 - rest.len()))).to_le_bytes(),
        None => {
            let mut word = [0; 8];
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            word
        }
    }
}

#[inline]
fn carrying_add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, Scope, Timestamp};
    use crate::packet::{CarriedIn, TcpFlags};

    /// RFC 9293 §3.1 word by word, over the pseudo-header of `len` bytes and over `bytes`.
    fn word_by_word(tuple: &FiveTuple, len: usize, bytes: &[u8]) -> u16 {
        let ip = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let mut all = [ip(tuple.source.ip), ip(tuple.destination.ip), (len as u32).to_be_bytes().to_vec()].concat();
        all.extend([0, 6]);
        all.extend(bytes);
        all.resize(all.len().next_multiple_of(2), 0);
        let sum = all.chunks(2).fold(0_u32, |sum, word| sum + u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// Segments of every length up to some hundred bytes, with a right checksum, or with the part that Linux leaves.
    fn each_segment(v6: bool, offloaded: bool, mut judge: impl FnMut(&Segment<'_>)) {
        let ip = |last: u8| -> IpAddr {
            if v6 { IpAddr::from([0xfd00, 0, 0xffff, 0, 0, 0, 1, u16::from(last)]) } else { [10, 255, 0, last].into() }
        };
        let tuple =
            FiveTuple { source: Endpoint { ip: ip(1), port: 40_000 }, destination: Endpoint { ip: ip(2), port: 80 } };
        for payload_len in 0..300_u32 {
            let len = 20 + payload_len as usize;
            let mut wire: Vec<u8> = (0..len).map(|i| ((i * 7919) >> 3) as u8).collect();
            wire[12] = 0x50;
            wire[16..18].fill(0);
            let covered = if offloaded { &[][..] } else { &wire[..] };
            let sum = word_by_word(&tuple, len, covered);
            let field = if offloaded { sum } else { !sum };
            wire[16..18].copy_from_slice(&field.to_be_bytes());
            judge(&segment(tuple, &wire, payload_len));
        }
    }

    fn segment(tuple: FiveTuple, wire: &[u8], payload_len: u32) -> Segment<'_> {
        Segment {
            at: Timestamp(0),
            tuple,
            seq: 1,
            ack: 1,
            flags: TcpFlags(0),
            payload: &[],
            payload_len,
            wire,
            damaged: false,
            carried: CarriedIn::default(),
            scope: Scope::default(),
            around: Default::default(),
            interface: None,
        }
    }

    #[test]
    fn a_right_sum_is_right_and_any_changed_bit_makes_it_wrong() {
        for v6 in [false, true] {
            each_segment(v6, false, |segment| {
                assert_eq!(segment.checksum(), Checksum::Right);
                for at in (4..segment.wire.len()).step_by(31).filter(|at| !(12..=17).contains(at)) {
                    let mut wire = segment.wire.to_vec();
                    wire[at] ^= 0x10;
                    assert_eq!(Segment { wire: &wire, ..*segment }.checksum(), Checksum::Wrong, "byte {at}");
                }
                assert_eq!(Segment { damaged: true, ..*segment }.checksum(), Checksum::Wrong);
            });
        }
    }

    #[test]
    fn what_is_left_to_the_hardware_is_known_in_every_form_that_drivers_leave() {
        for v6 in [false, true] {
            each_segment(v6, true, |segment| {
                assert_eq!(segment.checksum(), Checksum::Left);
                let field = u16::from_be_bytes([segment.wire[16], segment.wire[17]]);
                let without_length = fold(addresses(&segment.tuple) + TCP);
                for left in [0, field.swap_bytes(), without_length, without_length.swap_bytes()] {
                    let mut wire = segment.wire.to_vec();
                    wire[16..18].copy_from_slice(&left.to_be_bytes());
                    assert_eq!(Segment { wire: &wire, ..*segment }.checksum(), Checksum::Left, "{left:x}");
                }
            });
        }
    }

    #[test]
    fn a_segment_that_is_not_whole_is_not_judged() {
        let tuple = FiveTuple { source: Endpoint::new([1, 2, 3, 4], 5), destination: Endpoint::new([6, 7, 8, 9], 10) };
        let mut wire = [9; 40];
        wire[12] = 0x90;
        let wire = wire;
        let whole = &wire;
        for (wire, payload_len) in [(&wire[..0], 0), (&wire[..17], 0), (&wire[..39], 4), (&wire[..], 3), (&wire[..], 5)]
        {
            let segment = segment(tuple, wire, payload_len);
            assert_eq!(segment.checksum(), Checksum::Open, "{wire:?} {payload_len}");
            assert_eq!(Segment { wire: whole, payload_len: 4, ..segment }.checksum(), Checksum::Wrong);
        }
    }
}
