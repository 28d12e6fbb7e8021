//! The state that capture threads share with the waiting main thread: whether there is traffic, who captures, which
//! addresses are ours. Counters and records pass elsewhere (`metrics`, `sink`).

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::Metrics;
use crate::published::{Published, Subscription};

/// Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct SharedState(Arc<RunState>);

#[derive(Debug)]
struct RunState {
    frames: AtomicU64,
    busy: AtomicUsize,
    /// How many captures are open; the lock keeps the number and what `/readyz` says together.
    capturing: Mutex<usize>,
    metrics: Arc<Metrics>,
    own_ips: Published<Vec<IpAddr>>,
    /// As a capture thread begins: with the first addresses, whenever that is.
    first_own_ips: Subscription<Vec<IpAddr>>,
}

impl SharedState {
    pub(super) fn new(metrics: Arc<Metrics>, own_ips: Vec<IpAddr>) -> Self {
        let own_ips = Published::new(own_ips);
        Self(Arc::new(RunState {
            frames: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            capturing: Mutex::new(0),
            metrics,
            first_own_ips: own_ips.subscribe(),
            own_ips,
        }))
    }

    /// Frames so far that were not our own, as of the last tick of each capture.
    pub(super) fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Whether an exchange was open at the last tick of some capture.
    pub(super) fn is_busy(&self) -> bool {
        self.0.busy.load(Ordering::Relaxed) > 0
    }

    /// Takes these addresses over. True when they are others than before.
    pub(super) fn set_own_ips(&self, now: &[IpAddr]) -> bool {
        self.0.own_ips.publish(now.to_vec())
    }

    /// The part of one capture thread.
    pub(super) fn part(&self) -> ThreadPart {
        ThreadPart { shared: self.clone(), busy: false, capturing: false, own_ips: self.0.first_own_ips.clone() }
    }

    fn count_capturing(&self, one_more: bool) {
        let mut capturing = self.0.capturing.lock().unwrap_or_else(PoisonError::into_inner);
        *capturing = if one_more { *capturing + 1 } else { capturing.saturating_sub(1) };
        self.0.metrics.set_capturing(*capturing > 0);
    }
}

/// What one capture thread reports and asks. Dropped, it neither captures nor is busy any more.
#[derive(Debug)]
pub(super) struct ThreadPart {
    shared: SharedState,
    busy: bool,
    capturing: bool,
    own_ips: Subscription<Vec<IpAddr>>,
}

impl ThreadPart {
    pub(super) fn set_capturing(&mut self, capturing: bool) {
        if capturing != self.capturing {
            self.capturing = capturing;
            self.shared.count_capturing(capturing);
        }
    }

    /// `frames` more, and whether an exchange is open now.
    pub(super) fn tick(&mut self, frames: u64, busy: bool) {
        let RunState { frames: all, busy: busy_ones, .. } = &*self.shared.0;
        all.fetch_add(frames, Ordering::Relaxed);
        match (self.busy, busy) {
            (false, true) => _ = busy_ones.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = busy_ones.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => {}
        }
        self.busy = busy;
    }

    /// Our addresses, when they changed since the last call.
    pub(super) fn new_own_ips(&mut self) -> Option<Vec<IpAddr>> {
        self.own_ips.changed().cloned()
    }
}

impl Drop for ThreadPart {
    fn drop(&mut self) {
        self.set_capturing(false);
        self.tick(0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Sinks;

    fn shared() -> (SharedState, Arc<Metrics>) {
        let metrics = Metrics::new(Sinks::default());
        (SharedState::new(Arc::clone(&metrics), vec![]), metrics)
    }

    #[test]
    fn it_is_ready_as_long_as_one_of_the_interfaces_is_captured() {
        let (shared, metrics) = shared();
        let (mut a, mut b) = (shared.part(), shared.part());
        for (change_a, change_b, ready) in
            [(true, false, true), (true, true, true), (false, true, true), (false, false, false)]
        {
            a.set_capturing(change_a);
            b.set_capturing(change_b);
            assert_eq!(metrics.is_capturing(), ready, "{change_a} {change_b}");
        }
        a.set_capturing(true);
        drop(a);
        assert!(!metrics.is_capturing());
    }

    #[test]
    fn it_is_busy_as_long_as_one_of_the_captures_is() {
        let (shared, _) = shared();
        let (mut a, mut b) = (shared.part(), shared.part());
        a.tick(3, true);
        b.tick(4, false);
        a.tick(0, true);
        assert_eq!((shared.frames(), shared.is_busy()), (7, true));
        b.tick(0, true);
        a.tick(0, false);
        assert!(shared.is_busy());
        drop(b);
        assert!(!shared.is_busy());
    }

    #[test]
    fn each_capture_gets_new_addresses_once() {
        let (shared, _) = shared();
        let (mut a, mut b) = (shared.part(), shared.part());
        let ip = [IpAddr::from([10, 0, 0, 7])];
        assert!(a.new_own_ips().is_none());
        assert!(shared.set_own_ips(&ip));
        assert!(!shared.set_own_ips(&ip));
        let told = [a.new_own_ips(), a.new_own_ips(), b.new_own_ips(), shared.part().new_own_ips()];
        assert_eq!(
            told,
            [Some(ip.to_vec()), None, Some(ip.to_vec()), Some(ip.to_vec())],
            "also to one that begins later"
        );
    }
}
