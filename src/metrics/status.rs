//! The state of a running podtap at one moment: what `/status` answers and `podtap status` shows.
//!
//! Made of what the ledgers, the sinks and RED count already; counts nothing itself but what came in the last minute.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::closing::losses;
use super::red::{BUCKETS, RedMetrics, Series};
use super::{Metrics, imbalances, lock};
use crate::flow::Timestamp;
use crate::sink::{SinkCounts, SinkStatus};

/// Rates are those of so long.
const RECENT: Duration = Duration::from_secs(60);
/// Failing routes that are named.
const MOST_ROUTES: usize = 5;

/// Everything that is shown. What a newer podtap adds is passed over, and what an older one lacks is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReport {
    /// Of podtap.
    pub version: String,
    /// When it started, in RFC 3339.
    pub since: String,
    /// How long ago that was.
    pub uptime_seconds: u64,
    /// Whom it observes.
    pub observing: Option<String>,
    /// Where it captures.
    pub interfaces: Vec<InterfaceStatus>,
    /// Of the last minute, or of the time since the start.
    pub recent: StatusRates,
    /// Since the start.
    pub total: StatusTotals,
    /// The routes with most failures since the start, at most five.
    pub failing: Vec<FailingRoute>,
    /// Where records go.
    pub sinks: Vec<SinkState>,
    /// What was lost, a sentence each.
    pub lost: Vec<String>,
    /// Equations of the ledger that do not hold: bugs.
    pub imbalances: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceStatus {
    /// `eth0`
    pub name: String,
    /// Why it is not captured at the moment.
    pub waiting: Option<String>,
}

/// What came in each second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusRates {
    /// The average is over so long.
    pub seconds: u64,
    /// Packets.
    pub frames: f64,
    /// Requests.
    pub requests: f64,
    /// Of them, failed ones.
    pub failed: f64,
}

/// What came since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusTotals {
    /// Packets.
    pub frames: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that got no response.
    pub unanswered: u64,
    /// TCP connections.
    pub connections: u64,
    /// Of them, those that are open.
    pub connections_open: u64,
    /// Connects that were refused.
    pub connects_refused: u64,
    /// Connects that got no answer.
    pub connects_timed_out: u64,
    /// Records.
    pub records: u64,
    /// Of them, those left out on purpose.
    pub left_out: u64,
}

/// A route that fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailingRoute {
    /// GET and the like.
    pub method: String,
    /// `/orders/{id}`
    pub route: String,
    /// As the pod sees it.
    pub direction: String,
    /// All requests.
    pub requests: u64,
    /// Status from 400, another one of gRPC than OK, no answer.
    pub failed: u64,
    /// The bound of the metrics' bucket that 95 % of the durations are in or below. None where that is the last one, which
    /// has no bound.
    pub p95_at_most_ms: Option<f64>,
}

/// A sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkState {
    /// As in SEND_LOGS_TO.
    pub name: String,
    /// Records in memory and on disk.
    pub waiting: u64,
    /// Records that arrived.
    pub delivered: u64,
    /// Records that were dropped or rejected.
    pub lost: u64,
    /// What keeps it from delivering.
    pub error: Option<String>,
    /// For how long.
    pub failing_seconds: Option<u64>,
}

/// What a running podtap says of itself.
#[derive(Debug, Default)]
pub(super) struct AboutProcess {
    since: Timestamp,
    observing: Option<String>,
    /// One for each second of the last minute, and the one before.
    samples: VecDeque<StatusSample>,
}

#[derive(Clone, Copy, Debug, Default)]
struct StatusSample {
    at: Duration,
    frames: u64,
    requests: u64,
    failed: u64,
}

impl Metrics {
    /// Says once when it began, and whom it observes.
    pub fn begin(&self, since: Timestamp, observing: Option<String>) {
        *lock(&self.about) = AboutProcess { since, observing, samples: VecDeque::from([StatusSample::default()]) };
    }

    /// Looks at the counters, for rates: about once a second, `at` so long after the start.
    pub fn sample(&self, at: Duration) {
        let frames = lock(&self.slots).iter().map(|slot| slot.ledger.frames.frames).sum();
        let RedMetrics { counted: requests, failed, .. } = *lock(&self.red);
        let samples = &mut lock(&self.about).samples;
        samples.push_back(StatusSample { at, frames, requests, failed });
        while samples.get(1).is_some_and(|second| at.saturating_sub(second.at) >= RECENT) {
            samples.pop_front();
        }
    }

    /// Everything that `podtap status` shows.
    pub fn status(&self) -> StatusReport {
        let (seen, states) = (self.snapshot(), self.sinks.status());
        let interfaces = lock(&self.slots).iter().filter_map(|slot| slot.interface.clone()).collect();
        let about = lock(&self.about);
        let last = about.samples.back().copied().unwrap_or_default();
        let (streams, http) = (&seen.ledger.streams, &seen.ledger.http);
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // To the second.
            since: Timestamp(about.since.0 - about.since.0.rem_euclid(1_000_000_000)).to_string(),
            uptime_seconds: last.at.as_secs(),
            observing: about.observing.clone(),
            interfaces,
            recent: rates(about.samples.front().copied().unwrap_or_default(), last),
            total: StatusTotals {
                frames: seen.ledger.frames.frames,
                requests: http.requests,
                unanswered: http.unanswered.total(),
                connections: streams.connections,
                connections_open: streams.connections_open,
                connects_refused: streams.connects_refused,
                connects_timed_out: streams.connects_timed_out,
                records: seen.records.made,
                left_out: seen.records.left_out.total(),
            },
            failing: failing(&seen.red),
            sinks: states.into_iter().map(|state| sink_state(state, &seen.sinks)).collect(),
            lost: losses(&seen.ledger, &seen.kernel, &seen.sinks),
            imbalances: imbalances(&seen.ledger, &seen.records, &seen.sinks)
                .into_iter()
                .map(|(whose, found)| format!("{whose} {}", found.equation).trim_start().to_owned())
                .collect(),
        }
    }
}

fn rates(first: StatusSample, last: StatusSample) -> StatusRates {
    let span = last.at.saturating_sub(first.at);
    if span.is_zero() {
        return StatusRates::default();
    }
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / span.as_secs_f64();
    StatusRates {
        seconds: span.as_secs_f64().round() as u64,
        frames: rate(first.frames, last.frames),
        requests: rate(first.requests, last.requests),
        failed: rate(first.failed, last.failed),
    }
}

/// Series by method, route and direction, those with most failures first.
fn failing(series: &[Series]) -> Vec<FailingRoute> {
    #[derive(Default)]
    struct StatusSum {
        requests: u64,
        failed: u64,
        durations: [u64; BUCKETS.len() + 1],
    }
    let mut sums: HashMap<(&CompactString, &str, &str), StatusSum> = HashMap::new();
    for one in series {
        let sum = sums.entry((&one.route, one.labels.method, one.labels.direction)).or_default();
        sum.requests += one.requests;
        sum.failed += if one.labels.is_failure() { one.requests } else { 0 };
        sum.durations.iter_mut().zip(one.durations).for_each(|(all, n)| *all += n);
    }
    let mut failing: Vec<_> = sums.into_iter().filter(|(_, sum)| sum.failed > 0).collect();
    failing.sort_by(|(a, of_a), (b, of_b)| of_b.failed.cmp(&of_a.failed).then_with(|| a.cmp(b)));
    let route = |((route, method, direction), sum): ((&CompactString, &str, &str), StatusSum)| FailingRoute {
        method: method.to_owned(),
        route: route.to_string(),
        direction: direction.to_owned(),
        requests: sum.requests,
        failed: sum.failed,
        p95_at_most_ms: p95(&sum.durations),
    };
    failing.into_iter().take(MOST_ROUTES).map(route).collect()
}

fn p95(durations: &[u64]) -> Option<f64> {
    let rank = (durations.iter().sum::<u64>() * 95).div_ceil(100);
    let mut seen = 0;
    let bucket = durations.iter().position(|n| {
        seen += n;
        rank > 0 && seen >= rank
    })?;
    BUCKETS.get(bucket).map(|bound| *bound as f64 / 1e6)
}

fn sink_state(state: SinkStatus, counts: &[(String, SinkCounts)]) -> SinkState {
    let counts = counts.iter().find(|(name, _)| *name == state.name).map(|(_, counts)| counts);
    let trouble = state.trouble.as_ref();
    SinkState {
        waiting: state.waiting,
        delivered: counts.map_or(0, |counts| counts.ledger.delivered),
        lost: counts.map_or(0, SinkCounts::lost),
        error: trouble.map(|(error, _)| crate::settings::printable_up_to(super::LONGEST_ERROR, &error.to_string())),
        failing_seconds: trouble.map(|(_, lasting)| lasting.as_secs()),
        name: state.name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::exchange;
    use super::*;
    use crate::ledger::Ledger;
    use crate::metrics::{KernelCounters, WaitingRequests};
    use crate::record::sample::record;
    use crate::sink::Sinks;

    fn counted(metrics: &std::sync::Arc<Metrics>, exchanges: &[(Option<u16>, &str, u64)]) {
        let mut requests = WaitingRequests::default();
        for (status, route, nanos) in exchanges {
            requests.add(record(exchange("GET", *status, route, *nanos)), false);
        }
        metrics.probe().count(&mut requests);
    }

    #[test]
    fn rates_are_of_the_last_minute_alone() {
        let metrics = Metrics::new(Sinks::default());
        metrics.begin(Timestamp(0), None);
        let probe = metrics.probe();
        let mut ledger = Ledger::default();
        let mut at = |second: u64, frames: u64, failed: bool| {
            ledger.frames.frames += frames;
            probe.publish(&ledger, &KernelCounters::default());
            counted(&metrics, &[(Some(if failed { 500 } else { 200 }), "/a", 1)]);
            metrics.sample(Duration::from_secs(second));
            metrics.status().recent
        };
        assert_eq!(at(2, 10, true), StatusRates { seconds: 2, frames: 5.0, requests: 0.5, failed: 0.5 });
        for second in 3..=62 {
            at(second, 100, false);
        }
        let quiet = StatusRates { seconds: 60, frames: 100.0, requests: 1.0, failed: 0.0 };
        assert_eq!(at(63, 100, false), quiet);
        assert!(lock(&metrics.about).samples.len() <= 62);
    }

    #[test]
    fn the_routes_that_fail_most_come_first_with_all_their_requests_and_the_bound_of_their_latency() {
        let metrics = Metrics::new(Sinks::default());
        assert_eq!(metrics.status().failing, []);
        let ms = 1_000_000;
        counted(
            &metrics,
            &[(Some(200), "/a", ms), (Some(500), "/a", ms * 200), (None, "/a", 0), (Some(404), "/b", ms)],
        );
        counted(&metrics, &[(Some(503), "/slow", ms * 60_000), (Some(200), "/fine", 1)]);
        let failing = metrics.status().failing;
        let shown: Vec<_> = failing.iter().map(|it| (&*it.route, it.requests, it.failed, it.p95_at_most_ms)).collect();
        let expected = [("/a", 3, 2, Some(250.0)), ("/b", 1, 1, Some(1.0)), ("/slow", 1, 1, None)];
        assert_eq!(shown, expected);
        (0..9).for_each(|n| counted(&metrics, &[(Some(500), &format!("/{n}"), 1)]));
        assert_eq!(metrics.status().failing.len(), MOST_ROUTES);
    }

    #[test]
    fn what_is_sent_is_understood_and_what_is_unknown_is_passed_over() {
        let metrics = Metrics::new(Sinks::default());
        metrics.begin(Timestamp(1_772_366_400_000_000_000), Some("shop/web-1".to_owned()));
        metrics.probe().watch("eth0");
        counted(&metrics, &[(Some(500), "/a\"\\", 1)]);
        let status = metrics.status();
        let mut json = serde_json::to_value(&status).unwrap();
        json["new"] = true.into();
        assert_eq!(serde_json::from_value::<StatusReport>(json).unwrap(), status);
        assert_eq!(serde_json::from_str::<StatusReport>("{}").unwrap(), StatusReport::default());
        assert_eq!((status.interfaces.len(), status.interfaces[0].waiting.is_some()), (1, true));
    }
}
