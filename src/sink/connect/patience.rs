//! How long to wait for the answer to what was sent whole. Owns the number only.

use std::time::Duration;

/// A server that takes longer than this for every batch is too slow to be of use. Fluentd's own forwarder waits 190 seconds
/// for an acknowledgement, Elasticsearch a minute for its shards, nginx a minute for what is behind it.
const MOST: Duration = Duration::from_secs(240);

/// X_TIMEOUT; longer for a server that was seen to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Patience {
    least: Duration,
    now: Duration,
}

impl Patience {
    pub(in crate::sink) fn new(least: Duration) -> Self {
        Self { least, now: least }
    }

    /// How long to wait this time.
    pub(in crate::sink) fn limit(&self) -> Duration {
        self.now
    }

    /// All was sent, and no answer came in time: next time it has twice as long.
    pub(in crate::sink) fn was_too_short(&mut self) {
        self.now = self.now.saturating_mul(2).min(MOST.max(self.least));
    }

    /// The answer took so long; the next one may take twice as long.
    pub(in crate::sink) fn was_enough(&mut self, took: Duration) {
        self.now = took.saturating_mul(2).clamp(self.least, MOST.max(self.least));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_stays_with_a_slow_server_and_comes_back_with_a_fast_one() {
        let seconds = Duration::from_secs;
        let mut patience = Patience::new(seconds(10));
        let grown = std::iter::repeat_with(|| {
            patience.was_too_short();
            patience.limit().as_secs()
        });
        assert_eq!(grown.take(6).collect::<Vec<_>>(), [20, 40, 80, 160, 240, 240]);
        for (took, limit) in [(45, 90), (1, 10), (500, 240)] {
            patience.was_enough(seconds(took));
            assert_eq!(patience.limit(), seconds(limit));
        }
        let mut longer = Patience::new(seconds(1000));
        longer.was_too_short();
        assert_eq!(longer.limit(), seconds(1000), "what was set is not made shorter");
    }
}
