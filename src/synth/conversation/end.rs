//! One end of a conversation: its sequence numbers, and the options its segments carry.
//!
//! The parent module decides when it speaks.

use std::net::IpAddr;

use crate::flow::{Endpoint, Timestamp};
use crate::packet::TcpFlags;
use crate::synth::Rng;

/// What one end has sent and seen.
#[derive(Clone, Debug)]
pub(super) struct SynthEnd {
    pub(super) endpoint: Endpoint,
    /// Initial sequence number.
    pub(super) isn: u32,
    /// Next sequence number to send.
    pub(super) next: u32,
    /// Next sequence number expected from the peer.
    pub(super) expected: u32,
    /// Full-sized segments received and not acknowledged yet.
    pub(super) unacked: usize,
    /// Clock of the peer's last segment.
    pub(super) echo: u32,
    pub(super) ip_id: u16,
}

impl SynthEnd {
    /// Its initial sequence number is made of both endpoints.
    pub(super) fn new(endpoint: Endpoint, peer: Endpoint) -> Self {
        let mut rng = Rng::new(words(endpoint) ^ words(peer).rotate_left(1));
        let isn = rng.number() as u32;
        Self { endpoint, isn, next: isn.wrapping_add(1), expected: 0, unacked: 0, echo: 0, ip_id: rng.number() as u16 }
    }
}

fn words(endpoint: Endpoint) -> u64 {
    let bits = match endpoint.ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    bits as u64 ^ (bits >> 64) as u64 ^ (u64::from(endpoint.port) << 40)
}

/// Value of the timestamp option: milliseconds.
pub(super) fn clock(at: Timestamp) -> u32 {
    (at.0 / 1_000_000) as u32
}

/// What Linux sends: MSS, window scale and SACK permitted in front (SYN only), then timestamps. `echo` is the peer's
/// last clock (RFC 7323 §3), which strict receivers check.
pub(super) fn options(flags: TcpFlags, clock: u32, echo: u32) -> [u8; 20] {
    let mut options = [0; 20];
    options[0..8].copy_from_slice(&[2, 4, 5, 0xB4, 3, 3, 7, 1]);
    options[8..12].copy_from_slice(if flags.syn() { &[4, 2, 8, 10] } else { &[1, 1, 8, 10] });
    options[12..16].copy_from_slice(&clock.to_be_bytes());
    if flags.ack() {
        options[16..20].copy_from_slice(&echo.to_be_bytes());
    }
    options
}
