//! Frames to segments and datagrams: the order of the steps, and the ledger of what became of every frame.
//!
//! It parses nothing itself (`plain`, `link`, `ip`) and keeps nothing but fragments.

use std::hash::BuildHasher;

use super::fragments::{Added, Fragment, FragmentLimits, FragmentTable};
use super::ip::{FoundPacket, OtherPacket, TcpPacket, Walk};
use super::span::ByteSpan;
use super::{CarriedIn, Datagram, Frame, Packet, Segment, link, plain};
use crate::flow::Timestamp;
use crate::ledger::{FrameLedger, Skip};

/// Decodes the frames of one capture.
pub struct FrameDecoder {
    fragments: FragmentTable,
    /// Fragments that several interfaces show are joined for each of them.
    by_interface: bool,
    /// The datagram joined last.
    joined: Vec<u8>,
    ledger: FrameLedger,
}

impl FrameDecoder {
    /// A decoder that holds fragments within `limits`.
    pub fn new(limits: FragmentLimits) -> Self {
        let (by_interface, joined, ledger) = Default::default();
        Self { fragments: FragmentTable::new(limits), by_interface, joined, ledger }
    }

    /// The same that expects to see one packet on several interfaces.
    #[must_use]
    pub fn telling_interfaces(self, by_interface: bool) -> Self {
        Self { by_interface, ..self }
    }

    /// What the frame holds, or the datagram whose last missing fragment it is. What else the frame was is in the ledger;
    /// there, what is no TCP segment counts as skipped.
    #[inline]
    pub fn decode_packet<'a>(&'a mut self, frame: &Frame<'a>) -> Option<Packet<'a>> {
        self.ledger.frames += 1;
        self.ledger.cut += u64::from(wire_len(frame) > frame.data.len());
        match plain::segment(frame) {
            Some(tcp) => Some(Packet::Tcp(self.segment(frame, tcp))),
            None => self.decode_any(frame),
        }
    }

    /// The TCP segment in the frame, where it holds one.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Option<Segment<'a>> {
        match self.decode_packet(frame)? {
            Packet::Tcp(segment) => Some(segment),
            Packet::Other(_) => None,
        }
    }

    /// What became of the frames so far.
    pub fn ledger(&self) -> &FrameLedger {
        &self.ledger
    }

    /// Gives up fragments that have waited too long; optional, since fragments that come do the same.
    pub fn on_timeout(&mut self, now: Timestamp) {
        self.fragments.expire(now);
        self.count_fragments();
    }

    /// The capture is over: gives up all fragments, which the ledger shows as lost.
    pub fn finish(&mut self) {
        self.on_timeout(Timestamp(i64::MAX));
    }

    /// Counts the segment given last as skipped instead, where only its tuple could tell (`Skip::OwnTraffic`).
    pub fn disown_last(&mut self, why: Skip) {
        self.ledger.segments = self.ledger.segments.saturating_sub(1);
        self.skip(why);
    }

    #[inline(never)]
    pub(super) fn decode_any<'a>(&'a mut self, frame: &Frame<'a>) -> Option<Packet<'a>> {
        let mut walk = Walk::default();
        walk.interface = self.interface_of(frame);
        let span = ByteSpan::new(frame.data, wire_len(frame));
        match link::open(frame.link, span, &mut walk.place).and_then(|ip| walk.packet(ip)) {
            Ok(FoundPacket::Segment(tcp)) => Some(Packet::Tcp(self.segment(frame, tcp))),
            Ok(FoundPacket::Fragment(fragment)) => self.join(frame, walk, &fragment),
            Err(skip) => {
                let skip = walk.outer(skip);
                self.skip(skip);
                match walk.other {
                    Some(other) => Some(Packet::Other(datagram(frame, other))),
                    None => self.no_packet(skip, 1),
                }
            }
        }
    }

    /// A number for the interface, where it matters.
    fn interface_of(&self, frame: &Frame<'_>) -> u64 {
        let name = frame.interface.filter(|_| self.by_interface);
        name.map_or(0, |name| foldhash::fast::FixedState::default().hash_one(&**name))
    }

    #[cfg(test)]
    pub(super) fn fragments_within(&self, limits: FragmentLimits) -> bool {
        self.fragments.within(limits)
    }

    fn join<'a>(&'a mut self, frame: &Frame<'a>, mut walk: Walk<'a>, fragment: &Fragment<'a>) -> Option<Packet<'a>> {
        let added = self.fragments.add(fragment, frame.at, &mut self.joined);
        self.count_fragments();
        let (protocol, len, carried) = match added {
            Added::Whole { protocol, len, carried } => (protocol, len, carried),
            Added::Held => {
                self.ledger.fragments += 1;
                return None;
            }
            Added::Malformed => return self.no_fragment(Skip::Malformed),
            Added::Dropped => return self.no_fragment(Skip::FragmentDropped),
        };
        walk.carried = carried;
        let of_all = |inner: CarriedIn| CarriedIn { frames: carried.frames, ..inner };
        let skip = match walk.upper(fragment.key.ips, protocol, ByteSpan::new(&self.joined, len)) {
            Ok(FoundPacket::Segment(tcp)) => {
                self.ledger.segments += 1;
                self.ledger.bad_ip_checksums += u64::from(tcp.damaged);
                return Some(Packet::Tcp(segment(frame, TcpPacket { carried: of_all(tcp.carried), ..tcp })));
            }
            // Fragments of a tunnel's packets inside fragments of the tunnel's own.
            Ok(FoundPacket::Fragment(_)) => Skip::TooDeep,
            Err(skip) => walk.outer(skip),
        };
        self.ledger.skipped.add(skip as usize, 1);
        match walk.other {
            Some(other) => {
                Some(Packet::Other(datagram(frame, OtherPacket { carried: of_all(other.carried), ..other })))
            }
            None => {
                self.ledger.no_packet.add(skip as usize, carried.frames.into());
                None
            }
        }
    }

    /// A fragment that its datagram cannot use.
    fn no_fragment<'a>(&mut self, why: Skip) -> Option<Packet<'a>> {
        self.skip(why);
        self.no_packet(why, 1)
    }

    /// Frames that no flow can count.
    fn no_packet<'a>(&mut self, why: Skip, frames: u64) -> Option<Packet<'a>> {
        self.ledger.no_packet.add(why as usize, frames);
        None
    }

    fn count_fragments(&mut self) {
        self.ledger.fragments_lost = self.fragments.lost();
        self.ledger.fragments_waiting = self.fragments.waiting();
    }

    /// Counts a segment.
    #[inline]
    fn segment<'a>(&mut self, frame: &Frame<'a>, tcp: TcpPacket<'a>) -> Segment<'a> {
        self.ledger.segments += 1;
        self.ledger.bad_ip_checksums += u64::from(tcp.damaged);
        segment(frame, tcp)
    }

    fn skip(&mut self, why: Skip) {
        self.ledger.skipped.add(why as usize, 1);
    }
}

fn wire_len(frame: &Frame<'_>) -> usize {
    usize::try_from(frame.wire_len).unwrap_or(usize::MAX)
}

#[inline]
fn segment<'a>(frame: &Frame<'a>, tcp: TcpPacket<'a>) -> Segment<'a> {
    Segment {
        at: frame.at,
        tuple: tcp.tuple,
        seq: tcp.seq,
        ack: tcp.ack,
        flags: tcp.flags,
        payload: tcp.payload,
        payload_len: tcp.payload_len,
        wire: tcp.wire,
        damaged: tcp.damaged,
        carried: tcp.carried,
        scope: tcp.place.scope,
        around: tcp.place.around,
        interface: frame.interface,
    }
}

fn datagram<'a>(frame: &Frame<'a>, other: OtherPacket<'a>) -> Datagram<'a> {
    Datagram {
        at: frame.at,
        protocol: other.protocol,
        tuple: other.tuple,
        icmp: other.icmp,
        payload: other.payload.bytes,
        payload_len: u32::try_from(other.payload.len).unwrap_or(u32::MAX),
        carried: other.carried,
        scope: other.place.scope,
        around: other.place.around,
        interface: frame.interface,
    }
}
