//! What one end of a TCP connection has sent, by its sequence numbers: what came twice, how long an answer takes.
//!
//! Holds no bytes; decides no state (that is `entry`).

use crate::flow::Timestamp;

/// Stretches of one stream that are remembered as not seen; the oldest makes room.
const MAX_HOLES: usize = 8;
/// A hole filled within this time was reordering; later, its sender sent the bytes again (as Wireshark has it).
const REORDERING: u64 = 3_000_000;
/// Numbers further apart than this are not of one stream.
const PLAUSIBLE: u32 = 1 << 30;

/// What one connection sends before another takes its ports is mostly less.
const FAR: u32 = 1 << 24;

/// Sequence numbers before others: `a` comes before `b`.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b)).cast_signed() < 0
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// Number of the SYN, where one was seen.
    pub(super) syn: Option<u32>,
    /// FIN was seen.
    pub(super) fin: bool,
    /// Its window is closed.
    closed_window: bool,
    /// The number after the highest byte seen.
    next: Option<u32>,
    /// What the other end acknowledged last.
    acked: Option<u32>,
    /// What is timed until it is acknowledged.
    timed: Option<(u32, Timestamp)>,
    /// The least time until an acknowledgement, nanoseconds.
    pub(super) rtt: Option<u64>,
    holes: Vec<SequenceHole>,
}

#[derive(Clone, Copy, Debug)]
struct SequenceHole {
    start: u32,
    end: u32,
    since: Timestamp,
}

impl Sequence {
    /// Takes `len` numbers from `seq` on, of which `payload` are bytes; gives how many bytes were sent again.
    #[inline]
    pub(super) fn take(&mut self, seq: u32, len: u32, payload: u32, at: Timestamp) -> u32 {
        let end = seq.wrapping_add(len);
        let Some(next) = self.next.filter(|next| seq.wrapping_sub(*next).wrapping_add(PLAUSIBLE) < 2 * PLAUSIBLE)
        else {
            self.next = Some(end);
            self.time(end, len, at);
            return 0;
        };
        if !before(seq, next) {
            if seq != next {
                self.miss(SequenceHole { start: next, end: seq, since: at });
            }
            self.next = Some(end);
            self.time(end, len, at);
            return 0;
        }
        // A keep-alive sends nothing (RFC 9293 §3.8.4).
        if len == 0 || (len == 1 && payload <= 1 && end == next) {
            return 0;
        }
        self.take_again(seq, end, next, at).min(payload)
    }

    fn take_again(&mut self, seq: u32, end: u32, next: u32, at: Timestamp) -> u32 {
        let old_end = if before(next, end) { next } else { end };
        if before(next, end) {
            self.next = Some(end);
        }
        // An acknowledgement may be of either copy (Karn).
        self.timed = None;
        let filled = self.fill(seq, old_end, at);
        old_end.wrapping_sub(seq) - filled
    }

    fn time(&mut self, end: u32, len: u32, at: Timestamp) {
        if len > 0 && self.timed.is_none() {
            self.timed = Some((end, at));
        }
    }

    /// The other end has acknowledged so far.
    #[inline]
    pub(super) fn on_ack(&mut self, ack: u32, at: Timestamp) {
        if self.acked.is_none_or(|acked| before(acked, ack)) {
            self.acked = Some(ack);
        }
        if let Some((end, since)) = self.timed
            && !before(ack, end)
        {
            self.timed = None;
            let took = at.since(since);
            self.rtt = Some(self.rtt.map_or(took, |least| least.min(took)));
        }
    }

    /// The other end has bytes that were never seen here.
    pub(super) fn misses_bytes(&self) -> bool {
        let beyond = self.next.zip(self.acked).is_some_and(|(next, acked)| before(next, acked));
        beyond || !self.holes.is_empty()
    }

    /// Counts a window that closes; `window` is before scaling, which 0 does not need.
    #[inline]
    pub(super) fn on_window(&mut self, window: u16) -> bool {
        let closes = window == 0 && !self.closed_window;
        self.closed_window = window == 0;
        closes
    }

    /// Whether what was seen may follow a SYN with this number: it came late, and begins no other connection.
    pub(super) fn may_follow(&self, syn: u32) -> bool {
        let first = syn.wrapping_add(1);
        self.next.or(self.acked).is_none_or(|number| number.wrapping_sub(first) < FAR)
    }

    /// Whether the number is of another stream than what was seen.
    pub(super) fn is_foreign(&self, seq: u32) -> bool {
        self.next.is_some_and(|next| seq.wrapping_sub(next).wrapping_add(FAR) >= 2 * FAR)
    }

    fn miss(&mut self, hole: SequenceHole) {
        if self.holes.len() >= MAX_HOLES {
            self.holes.remove(0);
        }
        self.holes.push(hole);
    }

    /// How many of these numbers were missing, and not for so long that their sender sent them again.
    fn fill(&mut self, start: u32, end: u32, at: Timestamp) -> u32 {
        let mut filled = 0;
        let mut left = Vec::with_capacity(self.holes.len());
        for hole in self.holes.drain(..) {
            let from = if before(hole.start, start) { start } else { hole.start };
            let to = if before(end, hole.end) { end } else { hole.end };
            if !before(from, to) {
                left.push(hole);
                continue;
            }
            if at.since(hole.since) <= REORDERING {
                filled += to.wrapping_sub(from);
            }
            left.extend((hole.start != from).then_some(SequenceHole { end: from, ..hole }));
            left.extend((hole.end != to).then_some(SequenceHole { start: to, ..hole }));
        }
        left.truncate(MAX_HOLES);
        self.holes = left;
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// `(ms, seq, len)` in turn: the bytes sent again, and whether any are missing at the end.
    fn again(segments: &[(i64, u32, u32)]) -> (u32, bool) {
        let mut sequence = Sequence::default();
        let again = segments.iter().map(|&(ms, seq, len)| sequence.take(seq, len, len, Timestamp(ms * MS))).sum();
        (again, sequence.misses_bytes())
    }

    #[test]
    fn bytes_that_come_twice_or_late_were_sent_again_and_reordered_ones_were_not() {
        for (segments, expected) in [
            (&[(0, 100, 50), (1, 150, 50)][..], (0, false)),
            (&[(0, 100, 50), (1, 100, 50)], (50, false)),
            (&[(0, 100, 50), (1, 120, 50)], (30, false)),
            (&[(0, 100, 50), (1, 200, 50), (2, 150, 50)], (0, false)),
            (&[(0, 100, 50), (1, 200, 50), (300, 150, 50)], (50, false)),
            (&[(0, 100, 50), (1, 200, 50)], (0, true)),
            (&[(0, 100, 50), (1, 200, 50), (2, 170, 10)], (0, true)),
            // Keep-alives, and the wrap of the numbers.
            (&[(0, 100, 50), (1, 149, 1), (2, 149, 0)], (0, false)),
            (&[(0, u32::MAX - 9, 20), (1, 10, 5), (2, u32::MAX - 9, 20)], (20, false)),
            // Another stream's numbers.
            (&[(0, 100, 50), (1, 0x7fff_0000, 50)], (0, false)),
        ] {
            assert_eq!(again(segments), expected, "{segments:?}");
        }
    }

    #[test]
    fn the_least_time_until_an_acknowledgement_counts_and_not_that_of_what_was_sent_again() {
        let mut sequence = Sequence::default();
        let ms = |ms: i64| Timestamp(ms * MS);
        sequence.take(100, 50, 50, ms(0));
        sequence.on_ack(149, ms(5));
        assert_eq!(sequence.rtt, None);
        sequence.on_ack(150, ms(9));
        sequence.take(150, 50, 50, ms(10));
        sequence.on_ack(200, ms(14));
        assert_eq!(sequence.rtt, Some(4_000_000));
        sequence.take(200, 50, 50, ms(20));
        sequence.take(200, 50, 50, ms(30));
        sequence.on_ack(250, ms(31));
        assert_eq!(sequence.rtt, Some(4_000_000));
        sequence.on_ack(300, ms(32));
        assert!(sequence.misses_bytes());
    }

    #[test]
    fn the_holes_of_a_stream_have_a_limit() {
        let mut sequence = Sequence::default();
        for n in 0..1000 {
            sequence.take(n * 100, 10, 10, Timestamp(0));
        }
        assert_eq!(sequence.holes.len(), MAX_HOLES);
    }
}
