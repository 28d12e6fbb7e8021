//! Exchanges over time, in a bounded number of buckets: where they would be too many, each becomes twice as long.

use super::Durations;
use super::sample::duration;
use crate::record::{EventOutcome, Exchange};

/// So long is a bucket at first, nanoseconds.
const FIRST_WIDTH: i64 = 100_000_000;
/// Longer there is none: the whole range of time has fewer than that.
const WIDEST: i64 = 1 << 60;

/// Equal parts of time.
#[derive(Clone, Debug)]
pub struct Timeline {
    most: usize,
    width: i64,
    /// The beginning of the first bucket, in widths since 1970.
    first: i64,
    buckets: Vec<TimeBucket>,
}

/// The exchanges that began in one part of time.
#[derive(Clone, Debug, Default)]
pub struct TimeBucket {
    /// All.
    pub exchanges: u64,
    /// As `event.outcome` has it.
    pub failed: u64,
    /// Of exchanges with an answer.
    pub durations: Durations,
}

impl TimeBucket {
    fn merge(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.failed += other.failed;
        self.durations.merge(&other.durations);
    }
}

impl Timeline {
    /// Of this many buckets at most, and at least two.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(2), width: FIRST_WIDTH, first: 0, buckets: Vec::new() }
    }

    /// Counts an exchange where it began.
    pub fn add(&mut self, exchange: &Exchange) {
        let Some(bucket) = self.bucket_at(exchange.start().0) else { return };
        bucket.exchanges += 1;
        bucket.failed += u64::from(exchange.outcome() == EventOutcome::Failure);
        if let Some(took) = duration(exchange) {
            bucket.durations.add(took);
        }
    }

    fn bucket_at(&mut self, at: i64) -> Option<&mut TimeBucket> {
        loop {
            let number = at.div_euclid(self.width);
            if self.buckets.is_empty() {
                self.first = number;
            }
            let (from, to) = (self.first.min(number), (self.first + self.buckets.len() as i64 - 1).max(number));
            if usize::try_from(to - from).is_ok_and(|span| span < self.most) || self.width >= WIDEST {
                let before = usize::try_from(self.first - from).unwrap_or(0);
                self.buckets.splice(0..0, std::iter::repeat_with(TimeBucket::default).take(before));
                self.first = from;
                let index = usize::try_from(number - from).unwrap_or(0);
                if self.buckets.len() <= index {
                    self.buckets.resize_with(index + 1, TimeBucket::default);
                }
                return self.buckets.get_mut(index);
            }
            self.double();
        }
    }

    fn double(&mut self) {
        let first = self.first.div_euclid(2);
        let odd = usize::from(self.first != first * 2);
        let mut merged: Vec<TimeBucket> = Vec::with_capacity(self.buckets.len() / 2 + 1);
        for (index, bucket) in self.buckets.drain(..).enumerate() {
            match merged.last_mut() {
                Some(last) if (index + odd) % 2 == 1 => last.merge(&bucket),
                _ => merged.push(bucket),
            }
        }
        (self.first, self.buckets) = (first, merged);
        self.width *= 2;
    }

    /// When the first bucket begins, nanoseconds since 1970.
    pub fn begins(&self) -> i64 {
        self.first.saturating_mul(self.width)
    }

    /// How long each bucket is, in nanoseconds.
    pub fn width(&self) -> u64 {
        self.width.unsigned_abs()
    }

    /// All, in order.
    pub fn buckets(&self) -> &[TimeBucket] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Timestamp;
    use crate::record::sample::exchange;

    fn at(nanos: i64) -> Exchange {
        let mut one = exchange();
        one.request.as_mut().unwrap().first = Timestamp(nanos);
        one
    }

    proptest! {
        #[test]
        fn every_exchange_is_in_the_bucket_of_its_time_however_far_apart(
            times in proptest::collection::vec(prop_oneof![0i64..100_000_000_000, any::<i64>()], 1..60), most in 2usize..30
        ) {
            let mut timeline = Timeline::new(most);
            times.iter().for_each(|time| timeline.add(&at(*time)));
            prop_assert!(timeline.buckets().len() <= most.max(20));
            prop_assert_eq!(timeline.buckets().iter().map(|bucket| bucket.exchanges).sum::<u64>(), times.len() as u64);
            for (index, bucket) in (0i128..).zip(timeline.buckets()) {
                let width = i128::from(timeline.width());
                let begins = (i128::from(timeline.first) + index) * width;
                let inside = times.iter().filter(|time| (begins..begins + width).contains(&i128::from(**time)));
                prop_assert_eq!(inside.count() as u64, bucket.exchanges);
            }
        }
    }
}
