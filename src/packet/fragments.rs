//! IP fragments to datagrams, within limits.
//!
//! Overlaps are treated as Linux treats them, since that is what the pod's own kernel does: a fragment inside what is
//! there already is a duplicate and ignored (the first copy wins), any other overlap condemns the datagram. For IPv6 a
//! duplicate with other content condemns it too (RFC 5722, RFC 8200 §4.5). It decodes nothing (`ip`).

use std::collections::HashMap;

use etherparse::IpNumber;

use super::ip::Addresses;
use super::span::Span;
use crate::flow::Timestamp;

/// The longest payload of an IP datagram.
const MAX_DATAGRAM: usize = 65_535;
/// What a fragment costs besides its bytes: the bookkeeping of a flood of tiny ones counts too.
const PIECE_COST: usize = 64;

/// Bounds on fragments waiting for the rest of their datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Datagrams under way; the oldest makes room.
    pub datagrams: usize,
    /// Bytes held for them in all, bookkeeping included; the oldest makes room.
    pub bytes: usize,
    /// Nanoseconds of capture time after which an incomplete datagram is given up.
    pub age: u64,
}

impl Default for FragmentLimits {
    /// 256 datagrams, 1 MiB, and the 30 s of Linux (`ipfrag_time`).
    fn default() -> Self {
        Self { datagrams: 256, bytes: 1 << 20, age: 30_000_000_000 }
    }
}

/// What makes fragments belong together (RFC 791 §2.3, RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct FragmentKey {
    pub(super) ips: Addresses,
    pub(super) protocol: u8,
    pub(super) id: u32,
}

/// One fragment, as it lies in its packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) key: FragmentKey,
    /// Of its first byte in the datagram's payload.
    pub(super) offset: usize,
    pub(super) more: bool,
    /// What the payload is, if this is the first fragment.
    pub(super) protocol: IpNumber,
    pub(super) payload: Span<'a>,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits, or was there before.
    Held,
    /// It was the last one missing: the payload, of `len` bytes on the wire, has been joined.
    Whole { protocol: IpNumber, len: usize },
    /// Its length or place is impossible.
    Malformed,
    /// Its datagram is given up.
    Dropped,
}

struct Piece {
    offset: usize,
    len: usize,
    /// Shorter than `len` when the snap length cut it.
    bytes: Box<[u8]>,
}

impl Piece {
    fn end(&self) -> usize {
        self.offset + self.len
    }
}

struct Datagram {
    since: Timestamp,
    /// Ordered, never overlapping.
    pieces: Vec<Piece>,
    /// The end, once the last fragment was seen.
    total: Option<usize>,
    protocol: Option<IpNumber>,
    /// Frames held for it, duplicates among them.
    frames: u64,
    /// Given up: only remembers that what is still to come is dropped.
    condemned: bool,
}

/// Datagrams under way.
pub(super) struct Fragments {
    limits: FragmentLimits,
    datagrams: HashMap<FragmentKey, Datagram, foldhash::fast::RandomState>,
    /// Invariant: the cost of all pieces.
    held: usize,
    next_sweep: Timestamp,
    /// Frames that were held and then given up.
    lost: u64,
}

impl Fragments {
    pub(super) fn new(limits: FragmentLimits) -> Self {
        Self { limits, datagrams: HashMap::default(), held: 0, next_sweep: Timestamp(i64::MIN), lost: 0 }
    }

    /// Frames that were held and then given up.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a fragment in; when it completes its datagram, the payload replaces what was in `joined`.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>, at: Timestamp, joined: &mut Vec<u8>) -> Added {
        let end = fragment.offset + fragment.payload.len;
        let ragged = fragment.more && !fragment.payload.len.is_multiple_of(8);
        if ragged || fragment.payload.len == 0 || end > MAX_DATAGRAM {
            return Added::Malformed;
        }
        self.expire(at);
        let cost = fragment.payload.bytes.len() + PIECE_COST;
        if !self.make_room(&fragment.key, cost) {
            return Added::Dropped;
        }
        let datagram = self.datagrams.entry(fragment.key).or_insert_with(|| Datagram::new(at));
        match datagram.place(fragment, end) {
            Placed::Duplicate => {
                datagram.frames += 1;
                Added::Held
            }
            Placed::Refused => {
                self.lost += datagram.frames;
                self.held -= datagram.condemn();
                Added::Dropped
            }
            Placed::New => {
                datagram.frames += 1;
                self.held += cost;
                self.join(&fragment.key, joined)
            }
        }
    }

    /// Gives up what has waited too long. The table does this by itself, but only when fragments come.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if now < self.next_sweep && self.next_sweep.since(now) <= self.limits.age {
            return;
        }
        self.next_sweep = now.plus(self.limits.age / 8);
        let age = self.limits.age;
        let (lost, held) = (&mut self.lost, &mut self.held);
        self.datagrams.retain(|_, datagram| {
            let keep = now.since(datagram.since) < age;
            if !keep {
                *lost += datagram.frames;
                *held -= datagram.condemn();
            }
            keep
        });
    }

    /// Makes room for `cost` bytes and, if it is new, for a datagram; false when the limits never allow it.
    fn make_room(&mut self, key: &FragmentKey, cost: usize) -> bool {
        if cost > self.limits.bytes || self.limits.datagrams == 0 {
            return false;
        }
        let full = !self.datagrams.contains_key(key) && self.datagrams.len() >= self.limits.datagrams;
        let mut evict = full;
        while evict || self.held + cost > self.limits.bytes {
            let Some(oldest) = self.datagrams.iter().min_by_key(|(_, d)| d.since).map(|(key, _)| *key) else { break };
            if let Some(mut datagram) = self.datagrams.remove(&oldest) {
                self.lost += datagram.frames;
                self.held -= datagram.condemn();
            }
            evict = false;
        }
        true
    }

    /// Whether the count of what is held is right, and within the limits.
    #[cfg(test)]
    pub(super) fn within(&self, limits: FragmentLimits) -> bool {
        let pieces = self.datagrams.values().flat_map(|datagram| &datagram.pieces);
        let held: usize = pieces.map(|piece| piece.bytes.len() + PIECE_COST).sum();
        held == self.held && held <= limits.bytes && self.datagrams.len() <= limits.datagrams
    }

    fn join(&mut self, key: &FragmentKey, joined: &mut Vec<u8>) -> Added {
        let Some((protocol, len)) = self.datagrams.get(key).and_then(Datagram::complete) else { return Added::Held };
        let Some(mut datagram) = self.datagrams.remove(key) else { return Added::Held };
        joined.clear();
        for piece in &datagram.pieces {
            joined.extend_from_slice(&piece.bytes);
            if piece.bytes.len() < piece.len {
                break;
            }
        }
        self.held -= datagram.condemn();
        Added::Whole { protocol, len }
    }
}

enum Placed {
    New,
    Duplicate,
    Refused,
}

impl Datagram {
    fn new(since: Timestamp) -> Self {
        Self { since, pieces: Vec::new(), total: None, protocol: None, frames: 0, condemned: false }
    }

    fn place(&mut self, fragment: &Fragment<'_>, end: usize) -> Placed {
        let past_the_end = self.total.is_some_and(|total| end > total || (!fragment.more && end != total));
        let short_end = !fragment.more && self.pieces.last().is_some_and(|piece| piece.end() > end);
        if self.condemned || past_the_end || short_end {
            return Placed::Refused;
        }
        // The first piece that ends behind our start: the only place we fit, if it starts behind our end.
        let at = self.pieces.partition_point(|piece| piece.end() <= fragment.offset);
        if self.pieces.get(at).is_some_and(|piece| piece.offset < end) {
            return if self.covers(at, fragment, end) { Placed::Duplicate } else { Placed::Refused };
        }
        let bytes = fragment.payload.bytes.into();
        self.pieces.insert(at, Piece { offset: fragment.offset, len: fragment.payload.len, bytes });
        if fragment.offset == 0 {
            self.protocol = Some(fragment.protocol);
        }
        if !fragment.more {
            self.total = Some(end);
        }
        Placed::New
    }

    /// Whether the pieces from `at` on hold all of the fragment; of IPv6, with the same content.
    fn covers(&self, at: usize, fragment: &Fragment<'_>, end: usize) -> bool {
        let mut covered = fragment.offset;
        for piece in self.pieces.get(at..).unwrap_or_default() {
            if covered >= end || piece.offset > covered {
                break;
            }
            if fragment.key.ips.source.is_ipv6() && !agrees(piece, fragment) {
                return false;
            }
            covered = piece.end();
        }
        covered >= end
    }

    fn complete(&self) -> Option<(IpNumber, usize)> {
        let mut covered = 0;
        for piece in &self.pieces {
            if piece.offset != covered {
                return None;
            }
            covered = piece.end();
        }
        (self.total == Some(covered)).then_some((self.protocol?, covered))
    }

    /// Drops all it holds; gives back what that cost.
    fn condemn(&mut self) -> usize {
        self.condemned = true;
        self.frames = 0;
        self.pieces.drain(..).map(|piece| piece.bytes.len() + PIECE_COST).sum()
    }
}

/// Whether the captured bytes that both have are the same.
fn agrees(piece: &Piece, fragment: &Fragment<'_>) -> bool {
    let from = piece.offset.max(fragment.offset);
    let ours = fragment.payload.bytes.get(from - fragment.offset..).unwrap_or_default();
    let theirs = piece.bytes.get(from - piece.offset..).unwrap_or_default();
    ours.iter().zip(theirs).all(|(a, b)| a == b)
}
