//! The bytes passed on last, of all streams together: what a later copy is compared with.
//!
//! Holds a fixed amount of memory, whatever the traffic: the oldest give way. Judges nothing: `stream` counts.

/// Bytes remembered in all: a retransmission comes within a second or two, and a pod's heads in that time fit.
const BYTES: usize = 256 << 10;
/// Pieces remembered in all.
const PIECES: usize = 2048;
/// Bytes remembered of one piece: a head is rarely longer, and a body is not remembered at all.
const PIECE: usize = 4096;
/// Pieces of one stream that are looked at for one copy.
const STEPS: usize = 32;

/// One piece of one stream.
#[derive(Clone, Copy, Default)]
struct RecentPiece {
    number: u32,
    /// The piece of the same stream that was remembered before it.
    before: u32,
    /// In the stream.
    offset: u64,
    /// Among all bytes ever remembered.
    start: u64,
    len: u32,
}

/// What was passed on last.
pub(super) struct RecentBytes {
    bytes: Vec<u8>,
    pieces: Vec<RecentPiece>,
    /// Bytes ever remembered, with those left free at the end of a round.
    written: u64,
    /// Number of the last piece; 0 is none.
    last: u32,
}

impl RecentBytes {
    /// Nothing remembered, nothing allocated.
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), pieces: Vec::new(), written: 0, last: 0 }
    }

    /// Remembers bytes of a stream whose last piece was `before`; gives the number of this one.
    #[inline]
    pub(super) fn remember(&mut self, before: u32, offset: u64, bytes: &[u8]) -> u32 {
        let bytes = bytes.get(..PIECE).unwrap_or(bytes);
        if self.bytes.is_empty() {
            self.bytes = vec![0; BYTES];
            self.pieces = vec![RecentPiece::default(); PIECES];
        }
        let mut at = self.written as usize % BYTES;
        if at + bytes.len() > BYTES {
            self.written += (BYTES - at) as u64;
            at = 0;
        }
        let (start, number) = (self.written, self.last.wrapping_add(1).max(1));
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        if let Some(place) = self.pieces.get_mut(number as usize % PIECES) {
            *place = RecentPiece { number, before, offset, start, len: bytes.len() as u32 };
        }
        self.written += bytes.len() as u64;
        self.last = number;
        number
    }

    /// How many of `bytes` at `offset` differ from what is remembered of that stream, whose last piece was `last`.
    pub(super) fn differing(&self, last: u32, offset: u64, bytes: &[u8]) -> usize {
        let (mut number, mut differing) = (last, 0);
        for _ in 0..STEPS {
            let Some((piece, first)) = self.piece(number) else { break };
            let start = offset.max(piece.offset);
            let ours = from(bytes, start - offset);
            let theirs = from(first, start - piece.offset);
            differing += ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
            number = piece.before;
        }
        differing
    }

    /// Whether all of `bytes` are remembered at `offset` of that stream.
    pub(super) fn holds(&self, last: u32, offset: u64, bytes: &[u8]) -> bool {
        let (mut number, mut same) = (last, 0);
        for _ in 0..STEPS {
            let Some((piece, first)) = self.piece(number) else { break };
            let start = offset.max(piece.offset);
            let (ours, theirs) = (from(bytes, start - offset), from(first, start - piece.offset));
            same += ours.iter().zip(theirs).filter(|(a, b)| a == b).count();
            number = piece.before;
        }
        !bytes.is_empty() && same == bytes.len()
    }

    /// The piece of that number with its bytes, while they are there.
    fn piece(&self, number: u32) -> Option<(&RecentPiece, &[u8])> {
        let piece = self.pieces.get(number as usize % PIECES).filter(|p| p.number == number && number != 0)?;
        if self.written - piece.start > BYTES as u64 {
            return None;
        }
        let at = piece.start as usize % BYTES;
        Some((piece, self.bytes.get(at..at + piece.len as usize)?))
    }
}

fn from(bytes: &[u8], skip: u64) -> &[u8] {
    usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_copy_is_compared_with_what_overlaps_it_and_with_nothing_else() {
        let mut recent = RecentBytes::new();
        let a = recent.remember(0, 10, b"abcdef");
        let other = recent.remember(0, 10, b"XXXXXX");
        let b = recent.remember(a, 16, b"ghij");
        for (last, offset, bytes, differing) in [
            (b, 10, &b"abcdefghij"[..], 0),
            (b, 14, b"eXgX", 2),
            (b, 0, b"..........aB", 1),
            (b, 20, b"zz", 0),
            (b, 5, b"zzzzz", 0),
            (a, 16, b"zz", 0),
            (other, 10, b"abcdef", 6),
            (0, 10, b"zz", 0),
        ] {
            assert_eq!(recent.differing(last, offset, bytes), differing, "{last} {offset}");
            let held = differing == 0 && last == b && offset == 10;
            assert_eq!(recent.holds(last, offset, bytes), held, "{last} {offset}");
        }
    }

    #[test]
    fn memory_is_fixed_and_the_oldest_gives_way() {
        let mut recent = RecentBytes::new();
        let (first, mut last) = (recent.remember(0, 0, b"first"), 0);
        assert_eq!(recent.differing(first, 0, b"FIRST"), 5);
        for n in 0..300_u64 {
            last = recent.remember(last, 5000 * n, &vec![n as u8; 5000]);
        }
        assert_eq!((recent.bytes.len(), recent.pieces.len()), (BYTES, PIECES));
        assert_eq!(recent.differing(first, 0, b"FIRST"), 0);
        assert_eq!(recent.differing(last, 5000 * 299, &[0; 5000]), PIECE);
        for _ in 0..PIECES {
            recent.remember(0, 0, b"x");
        }
        assert_eq!(recent.differing(last, 5000 * 299, &[0; 5000]), 0);
    }
}
