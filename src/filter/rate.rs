//! A token bucket on the capture's clock, one for all capture threads.
//!
//! Holds at most one second's tokens; time that goes backwards refills nothing. Takes no lock.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::flow::Timestamp;

/// Kept as a time: the one at which the bucket will be full again. A token that is taken moves it on by `each`, and there is
/// one as long as it lies less than a whole bucket ahead.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// Nanoseconds until there is another token.
    each: i64,
    /// How far ahead it may lie for one token to be left.
    most: i64,
    full_at: AtomicI64,
    latest: AtomicI64,
}

impl TokenBucket {
    pub(super) fn new(rate: f64) -> Self {
        let each = 1e9 / rate;
        let most = each * (rate.max(1.0) - 1.0);
        let begun = i64::MIN;
        Self { each: each as i64, most: most as i64, full_at: begun.into(), latest: begun.into() }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&self, at: Timestamp) -> bool {
        let now = self.latest.fetch_max(at.0, Ordering::Relaxed).max(at.0);
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = full_at.max(now);
            (full_at.saturating_sub(now) <= self.most).then(|| full_at.saturating_add(self.each))
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn taken(bucket: &TokenBucket, times: impl Iterator<Item = i64>) -> usize {
        times.filter(|ms| bucket.take(Timestamp(ms * MS))).count()
    }

    #[test]
    fn a_second_at_ten_times_the_rate_gives_the_burst_and_the_rate() {
        let bucket = TokenBucket::new(10.0);
        assert_eq!(taken(&bucket, (0..1000).step_by(10)), 10 + 9);
        assert_eq!(taken(&bucket, (10_000..10_001).cycle().take(100)), 10);
    }

    #[test]
    fn less_than_one_a_second_is_one_now_and_then() {
        let bucket = TokenBucket::new(0.5);
        assert_eq!(taken(&bucket, (0..10_000).step_by(100)), 5);
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let bucket = TokenBucket::new(1.0);
        assert_eq!(taken(&bucket, [5000, 1000, 5000, 1000, 5000].into_iter()), 1);
    }

    #[test]
    fn threads_share_the_tokens() {
        let bucket = TokenBucket::new(1000.0);
        let thread = || taken(&bucket, std::iter::repeat_n(7, 800));
        let taken: usize = std::thread::scope(|scope| {
            let threads = [scope.spawn(thread), scope.spawn(thread)];
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
