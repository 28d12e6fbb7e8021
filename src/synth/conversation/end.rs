//! One end of a conversation: its sequence numbers, and the options its segments carry.
//!
//! When it speaks is told in the parent module.

use std::net::IpAddr;

use crate::flow::{Endpoint, Timestamp};
use crate::packet::TcpFlags;

/// What one end has sent and seen.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) endpoint: Endpoint,
    /// Initial sequence number.
    pub(super) isn: u32,
    /// Next sequence number to send.
    pub(super) next: u32,
    /// Next sequence number expected from the peer.
    pub(super) expected: u32,
    /// Full-sized segments received and not acknowledged yet.
    pub(super) unacked: usize,
    pub(super) ip_id: u16,
}

impl End {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let bits = match endpoint.ip {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let mixed = (bits as u64 ^ (bits >> 64) as u64 ^ u64::from(endpoint.port) << 32)
            .wrapping_add(1)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let isn = (mixed >> 32) as u32;
        Self { endpoint, isn, next: isn.wrapping_add(1), expected: 0, unacked: 0, ip_id: mixed as u16 }
    }
}

/// What Linux sends: MSS, SACK permitted and window scale in front (SYN only), then timestamps.
pub(super) fn options(flags: TcpFlags, at: Timestamp) -> [u8; 20] {
    let clock = ((at.0 / 1_000_000) as u32).to_be_bytes();
    let mut options = [0; 20];
    options[0..8].copy_from_slice(&[2, 4, 5, 0xB4, 3, 3, 7, 1]);
    options[8..12].copy_from_slice(if flags.syn() { &[4, 2, 8, 10] } else { &[1, 1, 8, 10] });
    options[12..16].copy_from_slice(&clock);
    if flags.ack() {
        options[16..20].copy_from_slice(&clock);
    }
    options
}
