//! Frames to TCP segments, and to the datagrams of other protocols.
//!
//! Pure: borrows the frame, allocates only to join fragments, keeps no connection state (that is `tcp` and `flows`).

mod checksum;
mod decoder;
mod fragments;
mod ip;
mod link;
mod plain;
mod span;
mod tunnels;
mod undelivered;
mod wlan;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

pub use checksum::Checksum;
pub use decoder::FrameDecoder;
pub use fragments::FragmentLimits;
pub use undelivered::UndeliveredPacket;

use crate::flow::{FiveTuple, IpProtocol, OuterLayers, Scope, Timestamp};
use crate::record::IcmpMessage;

/// Source and destination address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct IpAddresses {
    source: IpAddr,
    destination: IpAddr,
}

/// Link type of a frame: the LINKTYPE_ values of <https://www.tcpdump.org/linktypes.html> (a file's, not the DLT).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkType(pub u16);

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the kernel saw it.
    pub at: Timestamp,
    /// What its first bytes are.
    pub link: LinkType,
    /// What was captured.
    pub data: &'a [u8],
    /// Its length on the wire, at least `data.len()`.
    pub wire_len: u32,
    /// Name of the interface, where known.
    pub interface: Option<&'a Arc<str>>,
}

/// TCP flags, the low byte of the header's flag field (RFC 9293 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// PSH.
    pub const PSH: u8 = 8;
    /// ACK.
    pub const ACK: u8 = 16;
    /// URG.
    pub const URG: u8 = 32;

    /// Whether FIN is set.
    pub fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }
    /// Whether SYN is set.
    pub fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }
    /// Whether RST is set.
    pub fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }
    /// Whether URG is set.
    pub fn urg(self) -> bool {
        self.0 & Self::URG != 0
    }
    /// Whether ACK is set.
    pub fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

impl std::fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (bit, letter) in [(Self::SYN, 'S'), (Self::FIN, 'F'), (Self::RST, 'R'), (Self::PSH, 'P'), (Self::ACK, 'A')]
        {
            if self.0 & bit != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// What a segment or datagram came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedIn {
    /// Frames: more than one where it came in fragments.
    pub frames: u32,
    /// IP packets around it, the innermost ones: its fragments, or one.
    pub packets: u32,
    /// Their lengths as their IP headers say, tunnels around them left out.
    pub bytes: u32,
}

impl std::ops::AddAssign for CarriedIn {
    fn add_assign(&mut self, other: Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What a frame holds, or the datagram whose last missing fragment it is.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "both are lent for a moment; a box would be an allocation for each frame")]
pub enum Packet<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// A datagram of UDP, ICMP or SCTP.
    Other(Datagram<'a>),
}

/// One datagram of a protocol other than TCP: the innermost one that could be reached.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Capture time (of the last fragment, when it came in fragments).
    pub at: Timestamp,
    /// UDP, ICMP of either version, or SCTP.
    pub protocol: IpProtocol,
    /// Who sent it to whom; the ports of ICMP are 0.
    pub tuple: FiveTuple,
    /// Of ICMP.
    pub icmp: Option<IcmpMessage>,
    /// What is behind its header (of ICMP: behind eight bytes), as captured.
    pub payload: &'a [u8],
    /// The length of that on the wire.
    pub payload_len: u32,
    /// The packets around it.
    pub carried: CarriedIn,
    /// The VLANs and tunnels around it, as one number.
    pub scope: Scope,
    /// The same by name.
    pub around: OuterLayers,
    /// Name of the interface, where known.
    pub interface: Option<&'a Arc<str>>,
}

/// One TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Capture time (of the last fragment, when it came in fragments).
    pub at: Timestamp,
    /// Who sent it to whom.
    pub tuple: FiveTuple,
    /// Sequence number of the SYN, or of the first payload byte.
    pub seq: u32,
    /// Acknowledgement number; meaningful with ACK.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Payload as captured; shorter than `payload_len` when the snap length cut it.
    pub payload: &'a [u8],
    /// Payload length on the wire.
    pub payload_len: u32,
    /// TCP header and payload, one behind the other, as captured. Empty where they are not what its sender wrote.
    pub wire: &'a [u8],
    /// An IPv4 header around it has a wrong checksum: its receiver drops it.
    pub damaged: bool,
    /// The packets around it.
    pub carried: CarriedIn,
    /// The VLANs and tunnels around it, as one number.
    pub scope: Scope,
    /// The same by name.
    pub around: OuterLayers,
    /// Name of the interface, where known.
    pub interface: Option<&'a Arc<str>>,
}

impl Segment<'_> {
    /// The window that its sender advertises, before scaling.
    pub fn window(&self) -> Option<u16> {
        let [.., high, low] = self.wire.first_chunk::<16>()?;
        Some(u16::from_be_bytes([*high, *low]))
    }
}
