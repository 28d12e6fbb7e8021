//! A token bucket on the capture's clock.
//!
//! Holds at most one second's tokens; time that goes backwards refills nothing.

use crate::flow::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: f64,
    tokens: f64,
    latest: Option<Timestamp>,
}

impl Bucket {
    pub(super) fn new(rate: f64) -> Self {
        Self { rate, tokens: rate.max(1.0), latest: None }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, at: Timestamp) -> bool {
        let latest = self.latest.unwrap_or(at);
        let gained = at.since(latest) as f64 * self.rate / 1e9;
        self.tokens = (self.tokens + gained).min(self.rate.max(1.0));
        self.latest = Some(latest.max(at));
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn taken(bucket: &mut Bucket, times: impl Iterator<Item = i64>) -> usize {
        times.filter(|ms| bucket.take(Timestamp(ms * MS))).count()
    }

    #[test]
    fn a_second_at_ten_times_the_rate_gives_the_burst_and_the_rate() {
        let mut bucket = Bucket::new(10.0);
        assert_eq!(taken(&mut bucket, (0..1000).step_by(10)), 10 + 9);
        assert_eq!(taken(&mut bucket, (10_000..10_001).cycle().take(100)), 10);
    }

    #[test]
    fn less_than_one_a_second_is_one_now_and_then() {
        let mut bucket = Bucket::new(0.5);
        assert_eq!(taken(&mut bucket, (0..10_000).step_by(100)), 5);
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_tokens() {
        let mut bucket = Bucket::new(1.0);
        assert_eq!(taken(&mut bucket, [5000, 1000, 5000, 1000, 5000].into_iter()), 1);
    }
}
