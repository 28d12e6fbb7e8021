//! Computes the `auto` limits from the memory that the container may use.
//!
//! Does not read that limit: `config` does.

use super::values::{Auto, Bytes, Count};
use super::variables::Settings;

/// Assumed where there is no memory limit: what a sidecar may take without being noticed.
const ASSUMED_MEMORY: u64 = 128 << 20;
/// The program itself, its threads and its buffers of fixed size.
const PROGRAM: u64 = 16 << 20;
/// What one tracked connection is reckoned to cost, apart from bytes held out of order.
const CONNECTION: u64 = 2 << 10;

/// What one flow of captured packets is reckoned to cost.
const CAPTURED_FLOW: u64 = 768;
/// What one flow of connection tracking is reckoned to cost.
const FLOW: u64 = 200;

/// The limits that follow the memory limit, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// MAX_CONNECTIONS.
    pub connections: usize,
    /// MAX_FLOWS.
    pub captured_flows: usize,
    /// CONNTRACK_FLOWS.
    pub flows: usize,
    /// MAX_HELD_BYTES.
    pub held_bytes: usize,
    /// QUEUE_BYTES, for each sink: where it is not given, all of them have one quarter together.
    pub queue_bytes: usize,
    /// What is remembered of workloads (WORKLOADS).
    pub workload_bytes: usize,
}

impl MemoryBounds {
    /// The bounds that hold with `memory` bytes: a quarter each of what the program leaves, the last quarter is slack.
    /// What was given explicitly is taken as given.
    pub fn of(settings: &Settings, memory: Option<u64>) -> Self {
        let memory = memory.unwrap_or(ASSUMED_MEMORY);
        let share = memory.saturating_sub(PROGRAM).max(memory / 4) / 4;
        let connections = (share / CONNECTION).clamp(256, 65_536);
        let bytes = share.clamp(1 << 20, 64 << 20);
        let sinks = u64::try_from(settings.send_logs_to.len()).unwrap_or(u64::MAX).max(1);
        Self {
            connections: count(settings.max_connections, connections),
            captured_flows: count(settings.max_flows, (share / CAPTURED_FLOW).clamp(1024, 1 << 20)),
            flows: count(settings.conntrack_flows, (share / FLOW).clamp(1024, 1 << 20)),
            held_bytes: size(settings.max_held_bytes, bytes),
            queue_bytes: size(settings.queue_bytes, bytes / sinks),
            workload_bytes: usize::try_from((share / 2).clamp(1 << 20, 32 << 20)).unwrap_or(usize::MAX),
        }
    }
}

fn count<const MIN: u64, const MAX: u64>(given: Auto<Count<MIN, MAX>>, auto: u64) -> usize {
    given.given().map_or(usize::try_from(auto).unwrap_or(usize::MAX), |count| count.count())
}

fn size<const MIN: u64, const MAX: u64>(given: Auto<Bytes<MIN, MAX>>, auto: u64) -> usize {
    given.given().map_or(usize::try_from(auto).unwrap_or(usize::MAX), |bytes| bytes.in_memory())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::settings;

    #[test]
    fn auto_limits_follow_the_memory_limit() {
        for (memory, connections, bytes) in [
            (None, 14_336, 28 << 20),
            (Some(64 << 20), 6_144, 12 << 20),
            (Some(32 << 20), 2_048, 4 << 20),
            (Some(1 << 20), 256, 1 << 20),
            (Some(0), 256, 1 << 20),
            (Some(u64::MAX), 65_536, 64 << 20),
        ] {
            let bounds = MemoryBounds::of(&settings(&[]), memory);
            let (flows, captured_flows) = (bounds.flows, bounds.captured_flows);
            let workload_bytes = (bytes / 2).max(1 << 20);
            let expected = MemoryBounds {
                connections,
                captured_flows,
                flows,
                held_bytes: bytes,
                queue_bytes: bytes,
                workload_bytes,
            };
            assert_eq!(bounds, expected, "{memory:?}");
            assert!(
                (1024..=1 << 20).contains(&flows) && (flows * 200 <= bytes.max(1 << 20) || flows == 1 << 20),
                "{memory:?}: {flows}"
            );
            assert!((1024..=flows).contains(&captured_flows), "{memory:?}: {captured_flows}");
        }
    }

    #[test]
    fn a_given_limit_stays_as_given() {
        let given = settings(&[("MAX_CONNECTIONS", "7"), ("MAX_HELD_BYTES", "1Gi")]);
        let bounds = MemoryBounds::of(&given, Some(32 << 20));
        assert_eq!((bounds.connections, bounds.held_bytes, bounds.queue_bytes), (7, 1 << 30, 4 << 20));
    }
}
