//! Frames to segments: the order of the steps, and the ledger of what became of every frame.
//!
//! It parses nothing itself (`plain`, `link`, `ip`) and keeps nothing but fragments.

use super::fragments::{Added, Fragment, FragmentLimits, Fragments};
use super::ip::{Found, Tcp, Walk};
use super::span::Span;
use super::{Frame, Segment, link, plain};
use crate::flow::Timestamp;
use crate::ledger::{FrameLedger, Skip};

/// Decodes the frames of one capture.
pub struct Decoder {
    fragments: Fragments,
    /// The datagram joined last.
    joined: Vec<u8>,
    ledger: FrameLedger,
}

impl Decoder {
    /// A decoder that holds fragments within `limits`.
    pub fn new(limits: FragmentLimits) -> Self {
        Self { fragments: Fragments::new(limits), joined: Vec::new(), ledger: FrameLedger::default() }
    }

    /// The TCP segment in the frame, or in the datagram whose last missing fragment it is. What else the frame was is
    /// in the ledger.
    #[inline]
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Option<Segment<'a>> {
        self.ledger.frames += 1;
        self.ledger.cut += u64::from(wire_len(frame) > frame.data.len());
        match plain::segment(frame) {
            Some(tcp) => {
                self.ledger.segments += 1;
                self.ledger.bad_ip_checksums += u64::from(tcp.damaged);
                Some(segment(frame, tcp))
            }
            None => self.decode_any(frame),
        }
    }

    /// What became of the frames so far.
    pub fn ledger(&self) -> &FrameLedger {
        &self.ledger
    }

    /// Gives up fragments that have waited too long; optional, since fragments that come do the same.
    pub fn on_timeout(&mut self, now: Timestamp) {
        self.fragments.expire(now);
        self.ledger.fragments_lost = self.fragments.lost();
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
    pub(super) fn decode_any<'a>(&'a mut self, frame: &Frame<'a>) -> Option<Segment<'a>> {
        let mut walk = Walk::default();
        let span = Span::new(frame.data, wire_len(frame));
        match link::open(frame.link, span, &mut walk.scope).and_then(|ip| walk.packet(ip)) {
            Ok(Found::Segment(tcp)) => {
                self.ledger.segments += 1;
                self.ledger.bad_ip_checksums += u64::from(tcp.damaged);
                Some(segment(frame, tcp))
            }
            Ok(Found::Fragment(fragment)) => self.join(frame, walk, &fragment),
            Err(skip) => {
                self.skip(walk.outer(skip));
                None
            }
        }
    }

    #[cfg(test)]
    pub(super) fn fragments_within(&self, limits: FragmentLimits) -> bool {
        self.fragments.within(limits)
    }

    fn join<'a>(&'a mut self, frame: &Frame<'a>, mut walk: Walk, fragment: &Fragment<'a>) -> Option<Segment<'a>> {
        let added = self.fragments.add(fragment, frame.at, &mut self.joined);
        self.ledger.fragments_lost = self.fragments.lost();
        let skip = match added {
            Added::Held => {
                self.ledger.fragments += 1;
                return None;
            }
            Added::Malformed => Skip::Malformed,
            Added::Dropped => Skip::FragmentDropped,
            Added::Whole { protocol, len } => {
                match walk.upper(fragment.key.ips, protocol, Span::new(&self.joined, len)) {
                    Ok(Found::Segment(tcp)) => {
                        self.ledger.segments += 1;
                        self.ledger.bad_ip_checksums += u64::from(tcp.damaged);
                        return Some(segment(frame, tcp));
                    }
                    // Fragments of a tunnel's packets inside fragments of the tunnel's own.
                    Ok(Found::Fragment(_)) => Skip::TooDeep,
                    Err(skip) => walk.outer(skip),
                }
            }
        };
        self.ledger.skipped.add(skip as usize, 1);
        None
    }

    fn skip(&mut self, why: Skip) {
        self.ledger.skipped.add(why as usize, 1);
    }
}

fn wire_len(frame: &Frame<'_>) -> usize {
    usize::try_from(frame.wire_len).unwrap_or(usize::MAX)
}

#[inline]
fn segment<'a>(frame: &Frame<'a>, tcp: Tcp<'a>) -> Segment<'a> {
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
        scope: tcp.scope,
        interface: frame.interface,
    }
}
