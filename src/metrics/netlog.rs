//! NetLog's four metrics of flows, without its faults: the gauge falls, short flows count, and the series have a limit.
//!
//! By default a series is one of two addresses and the port that was opened to. The opener's port, a new one for each
//! connection, is folded. What finds no place goes under the addresses `other`, so that sums stay right.

use std::collections::HashMap;

use compact_str::{CompactString, format_compact};
use foldhash::fast::RandomState;

use crate::flow::Endpoint;
use crate::format::netlog::{named, protocol};
use crate::record::FlowRecord;

const OTHER: &str = "other";

/// Upper bounds of the buckets, in seconds; these are Prometheus' own, as NetLog had them, and longer ones.
pub(super) const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// The labels of a series; of `direction` there are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NetLogLabels {
    pub(super) namespace: CompactString,
    pub(super) name: CompactString,
    pub(super) source: CompactString,
    pub(super) destination: CompactString,
    pub(super) protocol: CompactString,
    pub(super) port: CompactString,
}

impl NetLogLabels {
    fn new(flow: &FlowRecord, literal: bool) -> Self {
        let workload = named(flow);
        let end = |end: Endpoint| {
            if literal && flow.protocol.has_ports() { format_compact!("{end}") } else { format_compact!("{}", end.ip) }
        };
        let port = flow.protocol.has_ports().then_some(flow.destination.port);
        Self {
            namespace: workload.and_then(|workload| workload.namespace.clone()).unwrap_or_default(),
            name: workload.and_then(|workload| workload.name.clone()).unwrap_or_default(),
            source: end(flow.source),
            destination: end(flow.destination),
            protocol: protocol(flow.protocol).into(),
            port: port.map(|port| format_compact!("{port}")).unwrap_or_default(),
        }
    }

    fn other(protocol: CompactString) -> Self {
        let other = CompactString::const_new(OTHER);
        Self {
            namespace: other.clone(),
            name: other.clone(),
            source: other.clone(),
            destination: other.clone(),
            protocol,
            port: other,
        }
    }
}

/// What is counted for one combination of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct NetLogCounts {
    /// From the source, and to it.
    pub(super) bytes: [u64; 2],
    pub(super) packets: [u64; 2],
    /// Flows that a record mentioned, and whose last one is still to come.
    pub(super) active: u64,
    pub(super) durations: [u64; BUCKETS.len() + 1],
    pub(super) sum_ns: u128,
}

/// All series.
#[derive(Clone, Debug)]
pub(super) struct NetLog {
    pub(super) series: HashMap<NetLogLabels, NetLogCounts, RandomState>,
    /// Records that found no place for their series.
    pub(super) folded: u64,
    literal: bool,
    most: usize,
}

impl NetLog {
    /// With NetLog's own labels, ports of openers among them, where that is wanted.
    pub(super) fn new(literal: bool, most: usize) -> Self {
        Self { series: HashMap::default(), folded: 0, literal, most: most.max(1) }
    }

    pub(super) fn observe(&mut self, flow: &FlowRecord) {
        let mut labels = NetLogLabels::new(flow, self.literal);
        if !self.series.contains_key(&labels) && self.series.len() >= self.most {
            labels = NetLogLabels::other(labels.protocol);
            self.folded += 1;
        }
        let counts = self.series.entry(labels).or_default();
        for (side, sent) in flow.counts.iter().enumerate() {
            if let (Some(bytes), Some(packets)) = (counts.bytes.get_mut(side), counts.packets.get_mut(side)) {
                *bytes += sent.bytes;
                *packets += sent.packets;
            }
        }
        match (flow.report, flow.last) {
            (1, false) => counts.active += 1,
            (2.., true) => counts.active = counts.active.saturating_sub(1),
            (_, _) => {}
        }
        if flow.last {
            counts.sum_ns += u128::from(flow.duration);
            let seconds = std::time::Duration::from_nanos(flow.duration).as_secs_f64();
            let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
            if let Some(bucket) = counts.durations.get_mut(bucket) {
                *bucket += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::flow;

    const MAX_SERIES: usize = 2000;

    fn from_port(port: u16, last_octet: u8) -> FlowRecord {
        let mut flow = flow();
        flow.source = Endpoint::new([10, 0, 0, last_octet], port);
        flow
    }

    fn packets(netlog: &NetLog) -> u64 {
        netlog.series.values().flat_map(|counts| counts.packets).sum()
    }

    #[test]
    fn fifty_thousand_ports_are_one_series_and_ten_thousand_addresses_have_a_limit() {
        let mut netlog = NetLog::new(false, MAX_SERIES);
        (0..50_000).for_each(|port| netlog.observe(&from_port(port, 1)));
        assert_eq!((netlog.series.len(), netlog.folded), (1, 0));
        for n in 0..10_000u32 {
            let mut one = flow();
            one.source = Endpoint::new(std::net::Ipv4Addr::from_bits(0x0b00_0000 | n), 1);
            netlog.observe(&one);
        }
        // And one for what is folded.
        assert_eq!((netlog.series.len(), netlog.folded), (MAX_SERIES + 1, 10_000 - (MAX_SERIES as u64 - 1)));
        assert_eq!(packets(&netlog), 60_000 * 11);
    }

    #[test]
    fn with_literal_labels_each_port_is_a_series_up_to_the_limit_and_sums_stay_right() {
        let mut netlog = NetLog::new(true, 100);
        (0..50_000).for_each(|port| netlog.observe(&from_port(port, 1)));
        assert_eq!((netlog.series.len(), netlog.folded), (101, 49_900));
        assert_eq!(packets(&netlog), 50_000 * 11);
        assert!(netlog.series.keys().any(|labels| labels.source == "10.0.0.1:7" && labels.port == "8080"));
    }

    #[test]
    fn the_gauge_rises_with_a_first_report_and_falls_with_the_last_and_short_flows_count() {
        let mut netlog = NetLog::new(false, 10);
        let report = |report, last| FlowRecord { report, last, ..flow() };
        let mut active = |record| {
            netlog.observe(&record);
            let counts = netlog.series.values().next().unwrap();
            (counts.active, counts.durations.iter().sum::<u64>())
        };
        assert_eq!(active(report(1, true)), (0, 1));
        assert_eq!(active(report(1, false)), (1, 1));
        assert_eq!(active(report(1, false)), (2, 1));
        assert_eq!(active(report(2, false)), (2, 1));
        assert_eq!(active(report(3, true)), (1, 2));
        assert_eq!(active(report(2, true)), (0, 3));
    }
}
