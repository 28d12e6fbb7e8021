//! The clocks of a capture thread: when to tick, what time the capture has reached, how long to back off.
//!
//! The one file of `live` that reads clocks. Waits for nothing itself.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::flow::Timestamp;

/// Between two ticks, while nothing is read.
const TICK: Duration = Duration::from_millis(250);
/// Between two ticks, when one comes right behind frames: what they gave goes out, and no extra wake-up is needed.
const TICK_BEHIND_FRAMES: Duration = Duration::from_millis(50);
/// Between two samples of the kernel's counters.
const SAMPLE: Duration = Duration::from_secs(1);
/// What a kernel timer may be late.
const TIMER_SLACK: Duration = Duration::from_millis(10);

/// When things are due, and what time the capture has reached.
#[derive(Debug)]
pub(super) struct CapturePace {
    last_tick: Option<Instant>,
    next_sample: Instant,
    clock: CaptureClock,
}

/// What is due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) tick: bool,
    pub(super) sample: bool,
}

impl CapturePace {
    /// For a ring whose blocks retire after `timeout_ms`.
    pub(super) fn new(timeout_ms: u32) -> Self {
        let now = monotonic();
        // The kernel retires a block when its timer finds it unchanged: up to twice the interval after its first frame.
        let hold = Duration::from_millis(u64::from(timeout_ms.max(1)) * 2) + TIMER_SLACK;
        let clock = CaptureClock { hold, drained: wall_clock(), last_frame: Timestamp::default() };
        Self { last_tick: None, next_sample: now + SAMPLE, clock }
    }

    /// How long the kernel may hold a frame back.
    pub(super) fn hold(&self) -> Duration {
        self.clock.hold
    }

    /// Frames up to this one were passed on.
    pub(super) fn saw(&mut self, at: Timestamp) {
        self.clock.last_frame = at;
    }

    /// At this time of the wall clock the ring had nothing more.
    pub(super) fn drained(&mut self, wall: Timestamp) {
        self.clock.drained = wall;
    }

    /// What is due, and sets the next times; `behind_frames` when some have just been passed on. A thread that was late
    /// does not catch up on missed ticks.
    pub(super) fn due(&mut self, behind_frames: bool) -> Due {
        let now = monotonic();
        let interval = if behind_frames { TICK_BEHIND_FRAMES } else { TICK };
        let tick = self.last_tick.is_none_or(|last| now.saturating_duration_since(last) >= interval);
        let due = Due { tick, sample: now >= self.next_sample };
        if due.tick {
            self.last_tick = Some(now);
        }
        if due.sample {
            self.next_sample = now + SAMPLE;
        }
        due
    }

    /// How long until the next tick.
    pub(super) fn until_tick(&self) -> Duration {
        let so_far = self.last_tick.map(|last| monotonic().saturating_duration_since(last));
        so_far.map_or(Duration::ZERO, |so_far| TICK.saturating_sub(so_far))
    }

    /// The time that the capture has reached.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.at(wall_clock())
    }
}

/// The capture's clock, from what was seen and from what cannot come any more.
#[derive(Debug)]
struct CaptureClock {
    hold: Duration,
    drained: Timestamp,
    last_frame: Timestamp,
}

impl CaptureClock {
    /// No frame still to come is older than when the ring was last found empty, less what the kernel may hold back.
    /// Frames come in order, so under load the last one shows it. One from the future says that the wall clock was set
    /// back meanwhile.
    fn at(&self, wall: Timestamp) -> Timestamp {
        let hold = i64::try_from(self.hold.as_nanos()).unwrap_or(i64::MAX);
        let horizon = Timestamp(self.drained.0.saturating_sub(hold)).min(wall);
        if self.last_frame <= wall { horizon.max(self.last_frame) } else { horizon }
    }
}

/// Delays that double while an interface does not stay open.
#[derive(Debug)]
pub(super) struct ReopenBackoff {
    delay: Duration,
}

impl ReopenBackoff {
    const FIRST: Duration = Duration::from_millis(100);
    /// An interface that comes back is captured within this.
    const LAST: Duration = Duration::from_secs(5);
    /// A handle that lasted this long was no failed attempt.
    const LASTING: Duration = Duration::from_secs(10);

    /// The delay before the next attempt.
    pub(super) fn step(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(Self::LAST);
        delay
    }

    /// Whether the next delay is the first of a series.
    pub(super) fn is_fresh(&self) -> bool {
        self.delay == Self::FIRST
    }

    /// A handle was open for so long.
    pub(super) fn lasted(&mut self, open: Duration) {
        if open >= Self::LASTING {
            *self = Self::default();
        }
    }
}

impl Default for ReopenBackoff {
    fn default() -> Self {
        Self { delay: Self::FIRST }
    }
}

/// A stretch of time on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elapsed(Instant);

impl Elapsed {
    pub(super) fn start() -> Self {
        Self(monotonic())
    }

    pub(super) fn so_far(self) -> Duration {
        monotonic().saturating_duration_since(self.0)
    }
}

#[allow(clippy::disallowed_methods, reason = "an edge: paces ticks and backoff, never enters a record")]
fn monotonic() -> Instant {
    Instant::now()
}

/// The clock of the kernel's packet timestamps.
#[allow(clippy::disallowed_methods, reason = "an edge: where frames come live, the capture's clock is the wall clock")]
pub(super) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_the_empty_ring_at_a_distance_and_under_load_the_last_frame() {
        let ms = |n: i64| Timestamp(n * 1_000_000);
        for (drained, last_frame, wall, now, case) in [
            (1000, 0, 1000, 890, "quiet"),
            (1000, 850, 1000, 890, "a frame some time ago"),
            (1000, 950, 1000, 950, "a frame just now"),
            (1000, 4990, 5000, 4990, "busy: not drained for long"),
            (1000, 9000, 1000, 890, "the wall clock was set back"),
            (9000, 9000, 1000, 1000, "and nothing was read since"),
        ] {
            let clock =
                CaptureClock { hold: Duration::from_millis(110), drained: ms(drained), last_frame: ms(last_frame) };
            assert_eq!(clock.at(ms(wall)), ms(now), "{case}");
        }
    }

    #[test]
    fn delays_double_up_to_a_limit_and_start_over_after_a_handle_that_lasted() {
        let mut backoff = ReopenBackoff::default();
        assert!(backoff.is_fresh());
        let delays: Vec<u128> = (0..8).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.lasted(Duration::from_secs(1));
        assert!(!backoff.is_fresh());
        backoff.lasted(Duration::from_secs(10));
        assert!(backoff.is_fresh());
    }

    #[test]
    fn the_first_tick_is_due_at_once_and_then_not_for_a_while() {
        let mut pace = CapturePace::new(50);
        assert_eq!(pace.until_tick(), Duration::ZERO);
        assert_eq!(pace.due(false), Due { tick: true, sample: false });
        assert!(pace.until_tick() <= TICK);
        assert_eq!(pace.hold(), Duration::from_millis(110));
    }
}
