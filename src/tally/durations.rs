//! How long things took: a histogram whose percentiles are at most 1/64 too high, in bounded memory. Knows no exchange.

/// Counters for each power of two.
const STEPS: u32 = 64;
/// What took longer (18 minutes) shares the last counter; the longest is known exactly.
const MOST_BITS: u32 = 40;
/// This many counters there are at most: 9 KB.
const MOST_COUNTERS: usize = (STEPS * (MOST_BITS - STEPS.ilog2() + 1)) as usize;

/// Durations by size.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    counts: Vec<u32>,
    total: u64,
    longest: u64,
}

impl Durations {
    /// One more, in nanoseconds.
    pub fn add(&mut self, nanos: u64) {
        let index = index_of(nanos).min(MOST_COUNTERS - 1);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.longest = self.longest.max(nanos);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count = count.saturating_add(*more));
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What this many percent are not above; none where there is none.
    pub fn at(&self, percent: u64) -> Option<u64> {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        let is_last = index + 1 == MOST_COUNTERS;
        Some(if is_last { self.longest } else { upper_bound(index).min(self.longest) })
    }

    /// How many are in each range of a factor of two, from the shortest to the longest that there are. Each has its upper
    /// bound in nanoseconds, and a number.
    pub fn by_power(&self) -> Vec<(u64, u64)> {
        let mut out: Vec<(u64, u64)> = Vec::new();
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let bound = upper_bound(index).checked_next_power_of_two().unwrap_or(u64::MAX);
            while let Some((last, _)) = out.last().copied().filter(|(last, _)| *last < bound / 2) {
                out.push((last * 2, 0));
            }
            match out.last_mut() {
                Some((last, n)) if *last == bound => *n += u64::from(*count),
                _ => out.push((bound, u64::from(*count))),
            }
        }
        out
    }
}

/// Numbers below `STEPS` have a counter each; above, the highest bits count.
fn index_of(n: u64) -> usize {
    let shift = (u64::BITS - n.leading_zeros()).saturating_sub(STEPS.ilog2() + 1);
    (u64::from(shift * STEPS) + (n >> shift)) as usize
}

/// The largest number with this index.
fn upper_bound(index: usize) -> u64 {
    let steps = u64::from(STEPS);
    let shift = (index as u64 / steps).saturating_sub(1);
    let lowest = (index as u64 - shift * steps) << shift;
    lowest.saturating_add((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn its_memory_is_bounded_and_the_longest_is_exact() {
        let mut durations = Durations::default();
        [1, 1 << 39, 1 << 50, u64::MAX].into_iter().for_each(|nanos| durations.add(nanos));
        assert_eq!((durations.counts.len(), durations.total()), (MOST_COUNTERS, 4));
        assert_eq!((durations.at(1), durations.at(100)), (Some(1), Some(u64::MAX)));
        assert_eq!(Durations::default().at(50), None);
    }

    #[test]
    fn ranges_of_a_factor_of_two_have_no_holes_and_all_of_the_numbers() {
        let mut durations = Durations::default();
        assert!(durations.by_power().is_empty());
        [1000, 1023, 1024, 1500, 9000].into_iter().for_each(|nanos| durations.add(nanos));
        assert_eq!(durations.by_power(), [(1024, 2), (2048, 2), (4096, 0), (8192, 0), (16_384, 1)]);
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_two_percent_of_the_exact_one(
            mut numbers in proptest::collection::vec(0u64..100_000_000_000, 1..300), percent in 1u64..=100
        ) {
            let mut durations = Durations::default();
            numbers.iter().for_each(|n| durations.add(*n));
            numbers.sort_unstable();
            let exact = numbers[(numbers.len() * percent as usize).div_ceil(100).max(1) - 1];
            let found = durations.at(percent).unwrap();
            prop_assert!(found >= exact && found - exact <= exact / 50 + 1, "{} {}", found, exact);
        }

        #[test]
        fn an_index_keeps_the_order_and_its_bound(n in any::<u64>()) {
            let index = index_of(n);
            prop_assert!(upper_bound(index) >= n && index_of(upper_bound(index)) == index);
        }
    }
}
