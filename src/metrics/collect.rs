//! The ledgers as a Prometheus page. Owns the metrics' names and help texts (`docs/metrics.md` is made from them);
//! it counts nothing.

use std::fmt::Result;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::Snapshot;
use super::red::{BUCKETS, Red, Series};
use crate::ledger::{ByReason, Discard, FrameLedger, HttpLedger, LeftOut, NotHttp, RecordLedger, Skip, StreamLedger};
use crate::record::{Unanswered, Weird};
use crate::sink::{Dropped, SinkCounts};

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut page = Page(encoder);
        page.build()?;
        page.frames(&self.ledger.frames)?;
        page.kernel(self)?;
        page.streams(&self.ledger.streams)?;
        page.http_bytes(&self.ledger.http)?;
        page.http_messages(&self.ledger.http)?;
        page.red(&self.red)?;
        page.records(&self.records)?;
        page.sinks(&self.sinks)?;
        page.gauge("ledger_imbalances", "Equations that do not hold; anything but 0 is a bug.", self.imbalances().len())
    }
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

    /// One series for each reason, zeros too: a rate needs its beginning.
    fn by_reason<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: &ByReason<N>,
        reasons: impl Iterator<Item = &'static str>,
    ) -> Result {
        self.counters(name, help, reasons.enumerate().map(|(index, reason)| ([(label, reason)], counts.at(index))))
    }

    fn build(&mut self) -> Result {
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        self.gauges("build_info", "Always 1; its label says which version runs.", [(labels, 1)])
    }

    /// frames = segments + fragments + skipped.
    fn frames(&mut self, f: &FrameLedger) -> Result {
        self.counter("frames", "Frames delivered by the capture.", f.frames)?;
        self.counter("frame_segments", "Frames that gave a TCP segment.", f.segments)?;
        self.counter("frame_fragments", "Frames that were a part of an IP packet, held or joined.", f.fragments)?;
        let reasons = Skip::ALL.iter().map(|reason| reason.name());
        self.by_reason("frames_skipped", "Frames that gave no TCP segment.", "reason", &f.skipped, reasons)?;
        self.counter("frames_cut", "Frames cut by the snap length.", f.cut)?;
        self.counter("bad_checksums", "Segments with a wrong checksum; offload makes that normal.", f.bad_checksums)
    }

    fn kernel(&mut self, s: &Snapshot) -> Result {
        self.counter("kernel_packets", "Packets that passed the kernel's filter.", s.kernel.received)?;
        let help = "Packets the kernel lost because the capture buffer was full.";
        self.counter("kernel_dropped_packets", help, s.kernel.dropped)?;
        let help = "Packets lost by the interface or its driver.";
        self.counter("interface_dropped_packets", help, s.kernel.interface_dropped)?;
        self.counter("interface_openings", "How often an interface was opened.", s.kernel.opens)?;
        let help = "Seconds an interface was waited for: what passed then was not seen.";
        self.counter("interface_away_seconds", help, s.kernel.blind.as_secs())
    }

    /// payload = delivered + duplicate + held + discarded.
    fn streams(&mut self, s: &StreamLedger) -> Result {
        self.counter("payload_bytes", "Payload bytes of TCP segments, as captured.", s.payload)?;
        self.counter("payload_delivered_bytes", "Payload bytes passed on in order.", s.delivered)?;
        self.counter("payload_duplicate_bytes", "Payload bytes retransmitted or overlapped.", s.duplicate)?;
        self.gauge("payload_held_bytes", "Payload bytes held out of order now.", s.held)?;
        let reasons = Discard::ALL.iter().map(|reason| reason.name());
        let help = "Payload bytes not passed on.";
        self.by_reason("payload_discarded_bytes", help, "reason", &s.discarded, reasons)?;
        self.counter("gap_bytes", "Bytes of streams that were never seen.", s.gap_bytes)?;
        self.counter("gaps", "Gaps in streams.", s.gaps)?;
        let help = "Overlapping bytes that differed from the first copy.";
        self.counter("overlap_conflict_bytes", help, s.overlap_conflicts)?;
        self.counter("connections", "TCP connections seen.", s.connections)?;
        self.gauge("connections_open", "TCP connections open now.", s.connections_open)?;
        self.counter("connections_evicted", "TCP connections given up to make room.", s.connections_evicted)?;
        self.counter("connects_refused", "Connects answered by a reset.", s.connects_refused)?;
        self.counter("connects_timed_out", "Connects never answered.", s.connects_timed_out)
    }

    /// bytes = heads + bodies + not HTTP + resync + waiting.
    fn http_bytes(&mut self, h: &HttpLedger) -> Result {
        self.counter("http_parsed_bytes", "Bytes passed to the HTTP parser.", h.bytes)?;
        self.counter("http_head_bytes", "Bytes of heads.", h.heads)?;
        self.counter("http_body_bytes", "Bytes of bodies, chunk framing and trailers included.", h.bodies)?;
        let kinds = NotHttp::ALL.iter().map(|kind| kind.name());
        self.by_reason("http_other_bytes", "Bytes that are not HTTP/1.", "protocol", &h.not_http, kinds)?;
        self.counter("http_resync_bytes", "Bytes skipped while looking for the next message.", h.resync)?;
        self.gauge("http_waiting_bytes", "Bytes of heads that are not whole yet.", h.waiting)
    }

    /// requests = paired + unanswered + unpaired + open; responses = paired + late + orphan + open.
    fn http_messages(&mut self, h: &HttpLedger) -> Result {
        self.counter("requests_seen", "Requests seen.", h.requests)?;
        self.counter("requests_paired", "Requests with their response.", h.paired)?;
        let reasons = Unanswered::ALL.iter().map(|reason| reason.name());
        self.by_reason("requests_unanswered", "Requests without a response.", "reason", &h.unanswered, reasons)?;
        self.counter("requests_unpaired", "Requests whose response the capture lost, or that is not known: it cannot be told from others, or not be read.", h.unpaired)?;
        self.gauge("requests_open", "Requests waiting for their response, or for its end.", h.open)?;
        self.counter("responses_seen", "Final responses seen.", h.responses)?;
        let help = "Responses that came after their request was reported as timed out.";
        self.counter("responses_late", help, h.late)?;
        self.counter("responses_orphan", "Responses without a request.", h.orphan)?;
        self.gauge("responses_open", "Final responses under way.", h.responses_open)?;
        self.counter("responses_informational", "1xx responses.", h.informational)?;
        self.counter("tls_connections", "Connections recognised as TLS.", h.tls_connections)?;
        self.counter("h2_connections", "Connections recognised as HTTP/2.", h.h2_connections)?;
        let names = Weird::ALL.iter().map(|weird| weird.name());
        self.by_reason("weird", "Protocol oddities.", "name", &h.weird, names)
    }

    fn red(&mut self, red: &Red) -> Result {
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

    /// made = left out + overrun + offered.
    fn records(&mut self, r: &RecordLedger) -> Result {
        self.counter("records_made", "Records made.", r.made)?;
        let reasons = LeftOut::ALL.iter().map(|reason| reason.name());
        self.by_reason("records_left_out", "Records left out on purpose.", "reason", &r.left_out, reasons)?;
        self.counter("records_overrun", "Records lost between capture and pipeline.", r.overrun)?;
        self.counter("records_offered", "Records offered to every sink.", r.offered)
    }

    /// offered = delivered + rejected + dropped + queued + in flight + spooled, for each sink.
    fn sinks(&mut self, sinks: &[(String, SinkCounts)]) -> Result {
        type Column = fn(&SinkCounts) -> u64;
        let each = |column: Column| sinks.iter().map(move |(name, sink)| ([("sink", name.as_str())], column(sink)));
        self.counters("sink_offered_records", "Records offered to the sink.", each(|s| s.ledger.offered))?;
        let help = "Of those offered: left in the spool by an earlier run.";
        self.counters("sink_recovered_records", help, each(|s| s.ledger.recovered))?;
        self.counters("sink_delivered_records", "Records its target accepted.", each(|s| s.ledger.delivered))?;
        self.counters("sink_rejected_records", "Records its target refused for good.", each(|s| s.ledger.rejected))?;
        let by_reason = sinks.iter().flat_map(|(name, sink)| {
            sink.rejected.iter().map(|(reason, n)| ([("sink", name.as_str()), ("reason", reason)], n))
        });
        self.counters("sink_rejections", "Rejected records by reason, in the target's words; at most 16.", by_reason)?;
        let dropped = sinks.iter().flat_map(|(name, sink)| {
            let reasons = Dropped::ALL.iter().map(|reason| reason.name()).zip(sink.dropped);
            reasons.map(|(reason, n)| ([("sink", name.as_str()), ("reason", reason)], n))
        });
        self.counters("sink_dropped_records", "Records given up.", dropped)?;
        self.gauges("sink_queued_records", "Records in the sink's queue.", each(|s| s.ledger.queued))?;
        self.gauges("sink_queued_bytes", "Bytes in the sink's queue, as limited.", each(|s| s.queued_bytes))?;
        self.gauges("sink_in_flight_records", "Records being delivered.", each(|s| s.ledger.in_flight))?;
        self.gauges("sink_spooled_records", "Records on disk.", each(|s| s.ledger.spooled))?;
        self.gauges("sink_spooled_bytes", "Bytes of the spool's segments.", each(|s| s.spooled_bytes))?;
        let help = "Bytes found in the spool that are no readable record; a torn write is among them.";
        self.counters("sink_spool_damaged_bytes", help, each(|s| s.spool_damaged_bytes))?;
        let help = "Attempts to deliver that failed and are repeated.";
        self.counters("sink_failed_attempts", help, each(|s| s.failed_attempts))
    }
}

fn labels(series: &Series) -> [(&'static str, &str); 4] {
    let of = series.labels;
    [("method", of.method), ("status_class", of.status_class), ("route", &series.route), ("direction", of.direction)]
}

#[allow(clippy::cast_precision_loss, reason = "seconds for people; 52 bits of nanoseconds are 52 days")]
fn seconds(ns: u128) -> f64 {
    ns as f64 / 1e9
}
