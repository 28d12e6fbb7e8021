//! What networks and taps do to frames: lose, repeat, reorder, cut.
//!
//! Times stay in order: a frame that comes late carries the time at which it comes, as in a real capture.

use super::{Rng, SynthFrame};

/// Seeded impairments; by default none.
#[derive(Clone, Debug)]
pub struct LineImpairments {
    rng: Rng,
    drop: f64,
    duplicate: f64,
    reorder: f64,
    distance: usize,
    snaplen: usize,
}

impl LineImpairments {
    /// Nothing yet, with the dice of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), drop: 0.0, duplicate: 0.0, reorder: 0.0, distance: 0, snaplen: usize::MAX }
    }

    /// Each frame is lost with probability `p`.
    #[must_use]
    pub fn drop(mut self, p: f64) -> Self {
        self.drop = p;
        self
    }

    /// Each frame comes twice with probability `p`, within the reordering distance, else at once.
    #[must_use]
    pub fn duplicate(mut self, p: f64) -> Self {
        self.duplicate = p;
        self
    }

    /// Each frame is overtaken with probability `p`, by at most `distance` later ones.
    #[must_use]
    pub fn reorder(mut self, p: f64, distance: usize) -> Self {
        self.reorder = p;
        self.distance = distance;
        self
    }

    /// Each frame is cut to `snaplen` bytes.
    #[must_use]
    pub fn cut(mut self, snaplen: usize) -> Self {
        self.snaplen = snaplen;
        self
    }

    /// What is left of `frames`.
    pub fn apply(mut self, frames: impl IntoIterator<Item = SynthFrame>) -> Vec<SynthFrame> {
        let mut placed: Vec<(usize, SynthFrame)> = Vec::new();
        for (place, mut frame) in frames.into_iter().enumerate() {
            frame.bytes.truncate(self.snaplen);
            if self.rng.chance(self.drop) {
                continue;
            }
            if self.rng.chance(self.duplicate) {
                placed.push((place + self.delay(), frame.clone()));
            }
            let delay = if self.rng.chance(self.reorder) { self.delay() } else { 0 };
            placed.push((place + delay, frame));
        }
        let mut times: Vec<_> = placed.iter().map(|(_, frame)| frame.at).collect();
        times.sort_unstable();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().zip(times).map(|((_, frame), at)| SynthFrame { at, ..frame }).collect()
    }

    /// Behind 0 to `distance` frames. Frame n with delay d is overtaken by n+1 … n+d-1, which keep their places; the
    /// sort is stable, so one more is needed to be overtaken at all.
    fn delay(&mut self) -> usize {
        if self.distance == 0 { 0 } else { self.rng.between(1, self.distance as u64) as usize + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Timestamp;
    use crate::packet::LinkType;

    fn numbered(n: u32) -> Vec<SynthFrame> {
        (0..n).map(|i| SynthFrame::new(Timestamp(i64::from(i)), LinkType(1), i.to_be_bytes().to_vec())).collect()
    }

    fn numbers(frames: &[SynthFrame]) -> Vec<u32> {
        frames.iter().map(|f| u32::from_be_bytes(f.bytes[..4].try_into().unwrap())).collect()
    }

    #[test]
    fn without_impairments_nothing_changes() {
        assert_eq!(LineImpairments::new(1).apply(numbered(50)), numbered(50));
    }

    #[test]
    fn a_seed_decides_what_is_lost() {
        let lost = |seed| numbers(&LineImpairments::new(seed).drop(0.3).apply(numbered(1000)));
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
        assert!((600..800).contains(&lost(1).len()));
        assert!(lost(1).is_sorted());
    }

    #[test]
    fn duplicates_follow_their_original_at_once_unless_reordered() {
        let twice: Vec<u32> = (0..20).flat_map(|i| [i, i]).collect();
        assert_eq!(numbers(&LineImpairments::new(1).duplicate(1.0).apply(numbered(20))), twice);
    }

    #[test]
    fn reordering_is_bounded_and_leaves_the_clock_in_order() {
        let frames = LineImpairments::new(7).reorder(0.5, 3).apply(numbered(1000));
        let order = numbers(&frames);
        assert_eq!(frames.len(), 1000);
        assert!(!order.is_sorted());
        assert!(frames.is_sorted_by_key(|f| f.at));
        for (place, number) in order.iter().enumerate() {
            let overtaken_by = order[..place].iter().filter(|other| *other > number).count();
            assert!(overtaken_by <= 3, "{number} was overtaken by {overtaken_by}");
        }
    }

    #[test]
    fn a_cut_frame_still_knows_its_length() {
        let cut = LineImpairments::new(1).cut(2).apply(numbered(1));
        assert_eq!((cut[0].bytes.len(), cut[0].wire_len), (2, 4));
    }
}
