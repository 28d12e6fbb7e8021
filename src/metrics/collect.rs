//! The ledgers as a Prometheus page (docs/metrics.md is made from it). Owns how a column becomes a metric, and metrics
//! without a column; `ledger` has the names and meanings of columns. Counts nothing.

use std::fmt::Result;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::MetricsSnapshot;
use super::netlog::{self, NetLog};
use super::red::{BUCKETS, Series};
use crate::ledger::{
    CONNECTS, CONNTRACK, ColumnValue, FLOWS, FRAMES, HTTP_BYTES, HTTP_MESSAGES, INTERFACES, KERNEL, LedgerColumn,
    RECORDS, SINKS, STREAMS, SinkCounts, VERDICTS, WORKLOADS,
};

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

impl Collector for MetricsSnapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut page = Page(encoder);
        page.build()?;
        page.columns(FRAMES, &self.ledger.frames)?;
        page.columns(KERNEL, &self.kernel)?;
        page.columns(INTERFACES, &self.kernel)?;
        page.columns(STREAMS, &self.ledger.streams)?;
        page.columns(HTTP_BYTES, &self.ledger.http)?;
        page.columns(HTTP_MESSAGES, &self.ledger.http)?;
        if self.ledger.flows.enabled {
            page.columns(FLOWS, &self.ledger.flows)?;
        }
        if self.ledger.conntrack.opens > 0 {
            page.columns(CONNTRACK, &self.ledger.conntrack)?;
        }
        if self.ledger.verdicts.opens > 0 {
            page.columns(VERDICTS, &self.ledger.verdicts)?;
        }
        if self.ledger.connects.opens > 0 {
            page.columns(CONNECTS, &self.ledger.connects)?;
        }
        if let Some(workloads) = &self.workloads {
            page.columns(WORKLOADS, workloads)?;
        }
        if let Some(netlog) = &self.netlog {
            let help = "Reports of flows that found no place for their series of `netlog_…`, and count under `other`.";
            page.counter("netlog_reports_folded", help, netlog.folded)?;
        }
        page.red(&self.red)?;
        page.columns(RECORDS, &self.records)?;
        page.sinks(&self.sinks)?;
        page.gauge("ledger_imbalances", "Equations that do not hold; anything but 0 is a bug.", self.imbalances().len())
    }
}

/// The metrics that NetLog had, under its own prefix.
#[derive(Debug)]
pub(super) struct FlowMetrics(pub(super) Option<NetLog>);

impl Collector for FlowMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let Some(netlog) = &self.0 else { return Ok(()) };
        let mut page = Page(encoder);
        let series = || netlog.series.iter().map(|(labels, counts)| (netlog_labels(labels), counts));
        let both = |of: fn(&netlog::NetLogCounts) -> [u64; 2]| {
            series().flat_map(move |(labels, counts)| {
                ["egress", "ingress"].into_iter().zip(of(counts)).map(move |(direction, n)| {
                    (labels.iter().copied().chain([("direction", direction)]).collect::<Vec<_>>(), n)
                })
            })
        };
        let help = "Bytes of flows: egress from the source, ingress to it.";
        page.counters("network_bytes", help, both(|counts| counts.bytes))?;
        page.counters("network_packets", "Packets of flows, likewise.", both(|counts| counts.packets))?;
        let help = "Flows that were reported and are not over.";
        page.gauges("network_connections_active", help, series().map(|(labels, counts)| (labels, counts.active)))?;
        let help = "First packet to last packet, of flows that are over.";
        let name = "network_connection_duration_seconds";
        let mut family = page.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, counts) in series() {
            let count = counts.durations.iter().sum::<u64>();
            if count == 0 {
                continue;
            }
            let bounds = netlog::BUCKETS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(counts.durations).collect();
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(seconds(counts.sum_ns), count, &buckets, None)?;
        }
        Ok(())
    }
}

fn netlog_labels(labels: &netlog::NetLogLabels) -> Vec<(&'static str, &str)> {
    vec![
        ("namespace", &labels.namespace),
        ("name", &labels.name),
        ("source", &labels.source),
        ("destination", &labels.destination),
        ("protocol", &labels.protocol),
        ("port", &labels.port),
    ]
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter(&value, NO_EXEMPLAR)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl TryInto<u64>) -> Result {
        let value = value.try_into().unwrap_or(u64::MAX);
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Counters by reason are one series each, zeros too: a rate needs its beginning.
    fn columns<T>(&mut self, columns: &[LedgerColumn<T>], of: &T) -> Result {
        columns.iter().try_for_each(|LedgerColumn { name, help, value, .. }| match value {
            ColumnValue::Counter(value) => self.counter(name, help, value(of)),
            ColumnValue::Gauge(value) => self.gauge(name, help, value(of)),
            ColumnValue::Reasons(by) => {
                let counts = (by.names)().into_iter().zip((by.counts)(of));
                self.counters(name, help, counts.map(|(reason, n)| ([(by.label, reason)], *n)))
            }
        })
    }

    fn build(&mut self) -> Result {
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        self.gauges("build_info", "Always 1; its label says which version runs.", [(labels, 1)])
    }

    fn red(&mut self, red: &[Series]) -> Result {
        let help = "HTTP requests; status class none: unanswered. Sampled-out ones count, ignored ones do not.";
        self.counters("http_requests", help, red.iter().map(|series| (labels(series), series.requests)))?;
        let help = "First byte of the request to last byte of the response, of exchanges seen whole.";
        let name = "http_request_duration_seconds";
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for series in red.iter() {
            let count = series.durations.iter().sum::<u64>();
            if count == 0 {
                continue;
            }
            let bounds = BUCKETS.iter().map(|bound| seconds(u128::from(*bound))).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(series.durations).collect();
            let labels = labels(series);
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(seconds(series.sum_ns), count, &buckets, None)?;
        }
        Ok(())
    }

    /// The columns of each sink, and why its target refused records.
    fn sinks(&mut self, sinks: &[(String, SinkCounts)]) -> Result {
        for LedgerColumn { name, help, value, .. } in SINKS {
            let each = |column: fn(&SinkCounts) -> u64| {
                sinks.iter().map(move |(name, sink)| ([("sink", name.as_str())], column(sink)))
            };
            match value {
                ColumnValue::Counter(value) => self.counters(name, help, each(*value)),
                ColumnValue::Gauge(value) => self.gauges(name, help, each(*value)),
                ColumnValue::Reasons(by) => {
                    let of_sink = |(name, sink): &'_ (String, SinkCounts)| {
                        let counts = (by.names)().into_iter().zip((by.counts)(sink));
                        let name = name.clone();
                        counts
                            .map(|(reason, n)| ([("sink", name.clone()), (by.label, reason.to_owned())], *n))
                            .collect::<Vec<_>>()
                    };
                    self.counters(name, help, sinks.iter().flat_map(of_sink))
                }
            }?;
        }
        let by_reason = sinks.iter().flat_map(|(name, sink)| {
            sink.rejected.iter().map(|(reason, n)| ([("sink", name.as_str()), ("reason", reason)], n))
        });
        self.counters("sink_rejections", "Rejected records by reason, in the target's words; at most 16.", by_reason)
    }
}

fn labels(series: &Series) -> Vec<(&'static str, &str)> {
    let of = series.labels;
    let mut labels = vec![
        ("method", of.method),
        ("status_class", of.status_class),
        ("route", &series.route),
        ("direction", of.direction),
    ];
    if !of.grpc_status.is_empty() {
        labels.push(("grpc_status", of.grpc_status));
    }
    labels
}

#[allow(clippy::cast_precision_loss, reason = "seconds for people; 52 bits of nanoseconds are 52 days")]
fn seconds(ns: u128) -> f64 {
    ns as f64 / 1e9
}
