//! The sums of one key: how many, how they ended, how long they took, how far they can be trusted.

use super::{Durations, Sample};

/// Seconds of the past that are known one by one.
pub const SPARK_SECONDS: usize = 60;
/// A rate is over this many seconds.
const RATE_SECONDS: i64 = 10;

const SECOND: i64 = 1_000_000_000;

/// Sums over exchanges, connects or flows.
#[derive(Clone, Debug)]
pub struct TallyRow {
    /// All of them, of whichever kind.
    pub exchanges: u64,
    /// A status from 400, another one of gRPC than OK, cut, no answer; a connect that failed.
    pub failed: u64,
    /// No answer.
    pub unanswered: u64,
    /// Of requests and responses.
    pub bytes: u64,
    /// Of exchanges that have an answer.
    pub durations: Durations,
    /// By `Trust`, from best to worst.
    pub trust: [u64; 5],
    /// By second of its start, of the last minute; `seconds[n % 60]`.
    seconds: [u32; SPARK_SECONDS],
    newest: i64,
}

impl Default for TallyRow {
    fn default() -> Self {
        Self {
            exchanges: 0,
            failed: 0,
            unanswered: 0,
            bytes: 0,
            durations: Durations::default(),
            trust: [0; 5],
            seconds: [0; SPARK_SECONDS],
            newest: i64::MIN,
        }
    }
}

impl TallyRow {
    /// Counts one more.
    pub fn add(&mut self, sample: impl Into<Sample>) {
        let sample = sample.into();
        self.exchanges += sample.number;
        self.bytes += sample.bytes;
        self.failed += u64::from(sample.failed);
        if sample.number == 0 {
            return;
        }
        self.unanswered += u64::from(sample.unanswered);
        if let Some(took) = sample.took {
            self.durations.add(took);
        }
        if let Some(count) = self.trust.get_mut(sample.trust as usize) {
            *count += 1;
        }
        self.tick(sample.end.0.div_euclid(SECOND));
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        self.bytes += other.bytes;
        self.durations.merge(&other.durations);
        self.trust.iter_mut().zip(other.trust).for_each(|(count, more)| *count += more);
    }

    /// What can be less than whole: exchanges that are not `complete`.
    pub fn doubtful(&self) -> u64 {
        let [complete, others @ ..] = &self.trust;
        debug_assert_eq!(complete + others.iter().sum::<u64>(), self.exchanges);
        others.iter().sum()
    }

    fn tick(&mut self, second: i64) {
        let window = SPARK_SECONDS as i64;
        if second > self.newest {
            let new = if self.newest == i64::MIN { window } else { (second - self.newest).min(window) };
            (0..new).for_each(|back| self.set(second - back, 0));
            self.newest = second;
        }
        if self.newest - second < window {
            self.set(second, self.at(second).saturating_add(1));
        }
    }

    fn at(&self, second: i64) -> u32 {
        let index = usize::try_from(second.rem_euclid(SPARK_SECONDS as i64)).unwrap_or(0);
        self.seconds.get(index).copied().unwrap_or(0)
    }

    fn set(&mut self, second: i64, count: u32) {
        let index = usize::try_from(second.rem_euclid(SPARK_SECONDS as i64)).unwrap_or(0);
        if let Some(place) = self.seconds.get_mut(index) {
            *place = count;
        }
    }

    /// How many ended in each of the last `seconds` seconds before `now` (nanoseconds), the oldest first.
    pub fn recent(&self, now: i64, seconds: usize) -> impl Iterator<Item = u32> + '_ {
        let last = now.div_euclid(SECOND) - 1;
        (0..seconds as i64).rev().map(move |back| {
            let second = last - back;
            let known = second <= self.newest && self.newest - second < SPARK_SECONDS as i64;
            if known { self.at(second) } else { 0 }
        })
    }

    /// A second, over the last ten.
    pub fn rate(&self, now: i64) -> f64 {
        let all: u64 = self.recent(now, RATE_SECONDS as usize).map(u64::from).sum();
        all as f64 / RATE_SECONDS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{START, exchange};
    use crate::record::{Exchange, Trust, UnansweredReason};

    fn at(second: u64) -> Exchange {
        let mut one = exchange();
        let at = START.plus(second * 1_000_000_000);
        let request = one.request.as_mut().unwrap();
        (request.first, request.last) = (at, at);
        let response = one.response.as_mut().unwrap();
        (response.first, response.last) = (at.plus(1_000_000), at.plus(2_000_000));
        one
    }

    #[test]
    fn all_that_is_known_of_an_exchange_is_added() {
        let mut row = TallyRow::default();
        row.add(&exchange());
        let mut failed = exchange();
        (failed.response, failed.unanswered, failed.trust) = (None, Some(UnansweredReason::Timeout), Trust::Unpaired);
        row.add(&failed);
        assert_eq!((row.exchanges, row.failed, row.unanswered, row.doubtful()), (2, 1, 1, 1));
        assert_eq!((row.bytes, row.durations.total(), row.durations.at(50)), (143 + 1834 + 143, 1, Some(12_400_000)));
        let mut twice = row.clone();
        twice.merge(&row);
        assert_eq!((twice.exchanges, twice.bytes, twice.durations.total()), (4, 2 * row.bytes, 2));
    }

    #[test]
    fn the_last_minute_is_known_by_the_second_and_what_is_older_is_forgotten() {
        let mut row = TallyRow::default();
        let now = |second: i64| START.0 + second * SECOND;
        assert_eq!(row.rate(now(0)), 0.0);
        for second in [0, 0, 3, 1, 3] {
            row.add(&at(second));
        }
        assert_eq!(row.recent(now(4), 5).collect::<Vec<_>>(), [0, 2, 1, 0, 2]);
        assert_eq!(row.rate(now(4)), 0.5);
        row.add(&at(62));
        // So late that its second is forgotten already.
        row.add(&at(1));
        assert_eq!(row.recent(now(63), 60).sum::<u32>(), 3);
        assert_eq!(row.recent(now(63), 60).take(2).collect::<Vec<_>>(), [2, 0]);
        row.add(&at(500));
        assert_eq!(row.recent(now(501), 60).collect::<Vec<_>>(), [vec![0; 59], vec![1]].concat());
    }
}
