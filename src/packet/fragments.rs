//! IP fragments to datagrams, within limits.
//!
//! Overlaps are treated as Linux treats them, since that is what the pod's own kernel does. A fragment inside what is
//! there already is a duplicate and ignored (the first copy wins). Any other overlap condemns the datagram. For IPv6 a
//! duplicate with other content condemns it too (RFC 5722, RFC 8200 §4.5). It decodes nothing (`ip`).

use std::collections::{BTreeMap, HashMap};

use etherparse::IpNumber;

use super::span::ByteSpan;
use super::{CarriedIn, IpAddresses};
use crate::flow::{Scope, Timestamp};

/// The longest payload of an IP datagram.
const MAX_DATAGRAM: usize = 65_535;
/// What a fragment costs besides its bytes: the bookkeeping of a flood of tiny ones counts too.
const PIECE_COST: usize = 128;

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
    pub(super) ips: IpAddresses,
    pub(super) scope: Scope,
    pub(super) interface: u64,
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
    pub(super) payload: ByteSpan<'a>,
    /// Length of the whole packet.
    pub(super) bytes: u32,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits, or was there before.
    Held,
    /// It was the last one missing: the payload, of `len` bytes on the wire, has been joined.
    Whole { protocol: IpNumber, len: usize, carried: CarriedIn },
    /// Its length or place is impossible.
    Malformed,
    /// Its datagram is given up.
    Dropped,
}

struct FragmentPiece {
    len: usize,
    /// Shorter than `len` when the snap length cut it.
    bytes: Box<[u8]>,
}

struct DatagramParts {
    since: Timestamp,
    /// Its place in `FragmentTable::by_age`.
    serial: u64,
    /// By offset, never overlapping.
    pieces: BTreeMap<usize, FragmentPiece>,
    /// The stretches that the pieces cover, by start: the end of each. No two touch. So neither a duplicate nor the last
    /// piece costs a look at every piece.
    runs: BTreeMap<usize, usize>,
    /// The end, once the last fragment was seen.
    total: Option<usize>,
    protocol: Option<IpNumber>,
    /// Frames held for it, duplicates among them.
    frames: u64,
    /// Lengths of their packets.
    bytes: u64,
    /// Given up: only remembers that what is still to come is dropped.
    condemned: bool,
}

/// Datagrams under way.
pub(super) struct FragmentTable {
    limits: FragmentLimits,
    datagrams: HashMap<FragmentKey, DatagramParts, foldhash::fast::RandomState>,
    /// Those datagrams in the order of their first fragments.
    by_age: BTreeMap<u64, FragmentKey>,
    last_serial: u64,
    /// Invariant: the cost of all pieces.
    held: usize,
    /// Frames that were held and then given up.
    lost: u64,
    /// Gauge: frames held now.
    waiting: u64,
}

impl FragmentTable {
    pub(super) fn new(limits: FragmentLimits) -> Self {
        Self {
            limits,
            datagrams: HashMap::default(),
            by_age: BTreeMap::new(),
            last_serial: 0,
            held: 0,
            lost: 0,
            waiting: 0,
        }
    }

    /// Frames that were held and then given up.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Frames held now.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
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
        let (by_age, last_serial) = (&mut self.by_age, &mut self.last_serial);
        let datagram = self.datagrams.entry(fragment.key).or_insert_with(|| {
            *last_serial += 1;
            by_age.insert(*last_serial, fragment.key);
            DatagramParts::new(at, *last_serial)
        });
        match datagram.place(fragment, end) {
            Placed::Duplicate => {
                datagram.count(fragment);
                self.waiting += 1;
                Added::Held
            }
            Placed::Refused => {
                self.lost += datagram.frames;
                self.waiting -= datagram.frames;
                self.held -= datagram.condemn();
                Added::Dropped
            }
            Placed::New => {
                datagram.count(fragment);
                self.waiting += 1;
                self.held += cost;
                self.join(&fragment.key, joined)
            }
        }
    }

    /// Gives up what has waited too long. The table does this by itself, but only when fragments come.
    ///
    /// A datagram that began after `now` is of another clock, one that was set back since: it is old as well.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.by_age.first_key_value()
            && let Some(since) = self.datagrams.get(key).map(|datagram| datagram.since)
            && now.since(since).max(since.since(now)) >= self.limits.age
        {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        let Some((_, oldest)) = self.by_age.pop_first() else { return };
        if let Some(mut datagram) = self.datagrams.remove(&oldest) {
            self.lost += datagram.frames;
            self.waiting -= datagram.frames;
            self.held -= datagram.condemn();
        }
    }

    /// Makes room for `cost` bytes and, if it is new, for a datagram; false when the limits never allow it.
    fn make_room(&mut self, key: &FragmentKey, cost: usize) -> bool {
        if cost > self.limits.bytes || self.limits.datagrams == 0 {
            return false;
        }
        if !self.datagrams.contains_key(key) && self.datagrams.len() >= self.limits.datagrams {
            self.give_up_oldest();
        }
        while self.held + cost > self.limits.bytes && !self.by_age.is_empty() {
            self.give_up_oldest();
        }
        true
    }

    /// Whether the count of what is held is right, and within the limits.
    #[cfg(test)]
    pub(super) fn within(&self, limits: FragmentLimits) -> bool {
        let held: usize = self.datagrams.values().map(DatagramParts::cost).sum();
        let all_by_age = self.by_age.len() == self.datagrams.len();
        held == self.held && held <= limits.bytes && self.datagrams.len() <= limits.datagrams && all_by_age
    }

    fn join(&mut self, key: &FragmentKey, joined: &mut Vec<u8>) -> Added {
        let Some((protocol, len)) = self.datagrams.get(key).and_then(DatagramParts::complete) else {
            return Added::Held;
        };
        let Some(mut datagram) = self.datagrams.remove(key) else { return Added::Held };
        self.by_age.remove(&datagram.serial);
        joined.clear();
        for piece in datagram.pieces.values() {
            joined.extend_from_slice(&piece.bytes);
            if piece.bytes.len() < piece.len {
                break;
            }
        }
        let carried = datagram.carried();
        self.waiting -= datagram.frames;
        self.held -= datagram.condemn();
        Added::Whole { protocol, len, carried }
    }
}

enum Placed {
    New,
    Duplicate,
    Refused,
}

impl DatagramParts {
    fn new(since: Timestamp, serial: u64) -> Self {
        let (pieces, runs) = (BTreeMap::new(), BTreeMap::new());
        Self { since, serial, pieces, runs, total: None, protocol: None, frames: 0, bytes: 0, condemned: false }
    }

    fn place(&mut self, fragment: &Fragment<'_>, end: usize) -> Placed {
        let past_the_end = self.total.is_some_and(|total| end > total || (!fragment.more && end != total));
        let short_end = !fragment.more && self.runs.last_key_value().is_some_and(|(_, last)| *last > end);
        if self.condemned || past_the_end || short_end {
            return Placed::Refused;
        }
        // The last run that begins before our end: the only one that may overlap, unless two do.
        let before = self.runs.range(..end).next_back().map(|(start, end)| (*start, *end));
        if let Some((start, stop)) = before.filter(|(_, stop)| *stop > fragment.offset) {
            let covered = start <= fragment.offset && end <= stop;
            return if covered && self.agrees(fragment) { Placed::Duplicate } else { Placed::Refused };
        }
        let start = before.filter(|(_, stop)| *stop == fragment.offset).map_or(fragment.offset, |(start, _)| start);
        let stop = self.runs.remove(&end).unwrap_or(end);
        self.runs.insert(start, stop);
        let piece = FragmentPiece { len: fragment.payload.len, bytes: fragment.payload.bytes.into() };
        self.pieces.insert(fragment.offset, piece);
        if fragment.offset == 0 {
            self.protocol = Some(fragment.protocol);
        }
        if !fragment.more {
            self.total = Some(end);
        }
        Placed::New
    }

    /// Whether a duplicate has the content of what is held, as far as both were captured. IPv4 does not ask.
    fn agrees(&self, fragment: &Fragment<'_>) -> bool {
        if !fragment.key.ips.source.is_ipv6() {
            return true;
        }
        let captured_end = fragment.offset + fragment.payload.bytes.len();
        let first = self.pieces.range(..=fragment.offset).next_back().map_or(fragment.offset, |(offset, _)| *offset);
        self.pieces.range(first..captured_end.max(first)).all(|(offset, piece)| agrees(*offset, piece, fragment))
    }

    fn count(&mut self, fragment: &Fragment<'_>) {
        self.frames += 1;
        self.bytes += u64::from(fragment.bytes);
    }

    /// All its fragments together.
    fn carried(&self) -> CarriedIn {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let packets = number(self.frames);
        CarriedIn { frames: packets, packets, bytes: number(self.bytes) }
    }

    fn complete(&self) -> Option<(IpNumber, usize)> {
        let total = self.total?;
        (self.runs.get(&0) == Some(&total)).then_some((self.protocol?, total))
    }

    fn cost(&self) -> usize {
        self.pieces.values().map(|piece| piece.bytes.len() + PIECE_COST).sum()
    }

    /// Drops all it holds; gives back what that cost.
    fn condemn(&mut self) -> usize {
        let cost = self.cost();
        self.condemned = true;
        self.frames = 0;
        self.pieces.clear();
        self.runs.clear();
        cost
    }
}

/// Whether the captured bytes that both have are the same.
fn agrees(offset: usize, piece: &FragmentPiece, fragment: &Fragment<'_>) -> bool {
    let from = offset.max(fragment.offset);
    let ours = fragment.payload.bytes.get(from - fragment.offset..).unwrap_or_default();
    let theirs = piece.bytes.get(from - offset..).unwrap_or_default();
    ours.iter().zip(theirs).all(|(a, b)| a == b)
}
