//! The kernel's counters of one interface, extended from 32 bits and over reopened handles.
//!
//! They are not part of the ledger's equations. Does not count the frames that libpcap delivered: the dissector does. The
//! kernel's `received` is something else (on `lo` it counts both copies of a packet, of which libpcap drops one).

pub use crate::ledger::KernelCounters;

/// Follows the cumulative 32-bit counters of a handle by deltas.
#[derive(Debug, Default)]
pub(super) struct CounterFollow {
    received: Counter,
    dropped: Counter,
    interface_dropped: Counter,
}

impl CounterFollow {
    /// A new handle counts from zero.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Adds what happened since the last sample of this handle.
    pub(super) fn add(&mut self, sample: pcap::Stat, to: &mut KernelCounters) {
        to.received += self.received.step(sample.received);
        to.dropped += self.dropped.step(sample.dropped);
        to.interface_dropped += self.interface_dropped.step(sample.if_dropped);
    }
}

#[derive(Debug, Default)]
struct Counter {
    last: u32,
}

impl Counter {
    /// What was added since the last sample. More than half the range within a second is not an increase but a counter
    /// that went back. libpcap takes `ps_ifdrop` from sysfs, where an interface made again begins at 0.
    fn step(&mut self, now: u32) -> u64 {
        let delta = now.wrapping_sub(self.last);
        self.last = now;
        if delta > u32::MAX / 2 { 0 } else { u64::from(delta) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(received: u32, dropped: u32, if_dropped: u32) -> pcap::Stat {
        // `Stat` has no public constructor but public fields.
        pcap::Stat { received, dropped, if_dropped }
    }

    #[test]
    fn counters_go_on_over_32_bits_and_over_a_reopened_handle() {
        let (mut follow, mut sum) = (CounterFollow::default(), KernelCounters::default());
        for (received, total) in [
            (2_000_000_000, 2_000_000_000u64),
            (4_000_000_000, 4_000_000_000),
            (5, 4_294_967_301),
            (5, 4_294_967_301),
            (9, 4_294_967_305),
        ] {
            follow.add(stat(received, received / 1000, 0), &mut sum);
            assert_eq!(sum.received, total);
        }
        follow.restart();
        follow.add(stat(3, 1, 0), &mut sum);
        assert_eq!(sum.received, 4_294_967_308);
    }

    #[test]
    fn a_counter_that_goes_back_adds_nothing_and_goes_on_from_there() {
        let (mut follow, mut sum) = (CounterFollow::default(), KernelCounters::default());
        for (sample, total) in [(10, 10), (4, 10), (6, 12), (0u32.wrapping_sub(1), 12), (1, 14)] {
            follow.add(stat(0, 0, sample), &mut sum);
            assert_eq!(sum.interface_dropped, total, "after {sample}");
        }
    }
}
