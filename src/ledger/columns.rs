//! Every counter of every ledger by its public name: `podtap_<name>` in `/metrics` is `podtap.ledger.<name>` in a
//! ledger record. Owns names and meanings; counts nothing.

use super::{
    ConnectLedger, ConntrackLedger, Discard, DropReason, FailureReason, FlowLedger, FrameLedger, H2Frame, HttpLedger,
    KernelCounters, LeftOut, NotHttp, ProcessJoin, RecordLedger, SinkCounts, Skip, StreamLedger, VerdictLedger,
};
use crate::record::{Dataset, UnansweredReason, Weird};

/// A counter of the ledger `T`.
#[derive(Debug)]
pub struct LedgerColumn<T> {
    /// Of the metric, without `podtap_` and `_total`.
    pub name: &'static str,
    /// In a ledger record.
    pub field: &'static str,
    /// A sentence.
    pub help: &'static str,
    /// Its place.
    pub value: ColumnValue<T>,
}

/// The place of a column's number.
#[derive(Debug)]
pub enum ColumnValue<T> {
    /// It only grows.
    Counter(fn(&T) -> u64),
    /// What there is now.
    Gauge(fn(&T) -> u64),
    /// A counter for each reason.
    Reasons(ReasonCounts<T>),
}

/// Counters by reason.
#[derive(Debug)]
pub struct ReasonCounts<T> {
    /// The metric's label.
    pub label: &'static str,
    /// The reasons, in order.
    pub names: fn() -> Vec<&'static str>,
    /// Their counters.
    pub counts: fn(&T) -> &[u64],
}

impl<T> LedgerColumn<T> {
    /// The number at this moment, over all reasons.
    pub fn at(&self, of: &T) -> u64 {
        match &self.value {
            ColumnValue::Counter(value) | ColumnValue::Gauge(value) => value(of),
            ColumnValue::Reasons(by) => (by.counts)(of).iter().sum(),
        }
    }

    /// What came to it between two moments, never negative; of a gauge what it is at the later one.
    pub fn between(&self, before: &T, now: &T) -> u64 {
        match &self.value {
            ColumnValue::Counter(_) | ColumnValue::Reasons(_) => self.at(now).saturating_sub(self.at(before)),
            ColumnValue::Gauge(value) => value(now),
        }
    }
}

macro_rules! columns {
    ($($name:literal $kind:ident($value:expr $(, $label:literal, $names:expr)?) $help:literal,)*) => {
        &[$(LedgerColumn {
            name: $name,
            field: concat!("podtap.ledger.", $name),
            help: $help,
            value: columns!(@ $kind $value $(, $label, $names)?),
        },)*]
    };
    (@ ReasonCounts $counts:expr, $label:literal, $names:expr) => {
        ColumnValue::Reasons(ReasonCounts { label: $label, names: $names, counts: $counts })
    };
    (@ $kind:ident $value:expr) => { ColumnValue::$kind($value) };
}
pub(super) use columns;

/// frames = segments + fragments + skipped.
pub const FRAMES: &[LedgerColumn<FrameLedger>] = columns! {
    "frames" Counter(|f| f.frames) "Frames delivered by the capture.",
    "frame_segments" Counter(|f| f.segments) "Frames that gave a TCP segment.",
    "frame_fragments" Counter(|f| f.fragments) "Frames that were a part of an IP packet, held or joined.",
    "frames_skipped" ReasonCounts(|f| f.skipped.counts(), "reason", || Skip::ALL.iter().map(|why| why.name()).collect())
        "Frames that gave no TCP segment.",
    "frames_cut" Counter(|f| f.cut) "Frames cut by the snap length.",
    "bad_ip_checksums" Counter(|f| f.bad_ip_checksums) "Segments behind an IPv4 header with a wrong checksum.",
};

/// Of the kernel, where it was ever asked.
pub const KERNEL: &[LedgerColumn<KernelCounters>] = columns! {
    "kernel_packets" Counter(|k| k.received) "Packets that passed the kernel's filter.",
    "kernel_dropped_packets" Counter(|k| k.dropped) "Packets the kernel lost because the capture buffer was full.",
    "interface_dropped_packets" Counter(|k| k.interface_dropped) "Packets lost by the interface or its driver.",
};

/// Whether there was an interface to capture.
pub const INTERFACES: &[LedgerColumn<KernelCounters>] = columns! {
    "interface_openings" Counter(|k| k.opens) "How often an interface was opened.",
    "interface_away_seconds" Counter(|k| k.blind.as_secs())
        "Seconds an interface was waited for: what passed then was not seen.",
    "inputs_failed" Counter(|k| k.unheard)
        "Other inputs (connection tracking, logged packets, connects) that could not be read, or failed.",
};

/// payload = delivered + duplicate + held + discarded.
pub const STREAMS: &[LedgerColumn<StreamLedger>] = columns! {
    "payload_bytes" Counter(|s| s.payload) "Payload bytes of TCP segments, as captured.",
    "payload_delivered_bytes" Counter(|s| s.delivered) "Payload bytes passed on in order.",
    "payload_duplicate_bytes" Counter(|s| s.duplicate) "Payload bytes retransmitted or overlapped.",
    "payload_held_bytes" Gauge(|s| s.held) "Payload bytes held out of order now.",
    "payload_discarded_bytes" ReasonCounts(|s| s.discarded.counts(), "reason", || Discard::ALL.iter().map(|why| why.name()).collect())
        "Payload bytes not passed on.",
    "gap_bytes" Counter(|s| s.gap_bytes) "Bytes of streams that were never seen.",
    "gaps" Counter(|s| s.gaps) "Gaps in streams.",
    "overlap_conflict_bytes" Counter(|s| s.overlap_conflicts) "Overlapping bytes that differed from the first copy.",
    "bad_checksums" Counter(|s| s.bad_checksums)
        "Segments with a wrong TCP or IPv4 checksum that was not left to the hardware, of those verified.",
    "resets_ignored" Counter(|s| s.resets_ignored) "Resets after which the connection went on.",
    "connections" Counter(|s| s.connections) "TCP connections seen.",
    "connections_open" Gauge(|s| s.connections_open) "TCP connections open now.",
    "connections_evicted" Counter(|s| s.connections_evicted) "TCP connections given up to make room.",
    "connections_repeated" Counter(|s| s.connections_repeated)
        "TCP connections seen again in another VLAN or tunnel, with the same sequence numbers.",
    "connects_refused" Counter(|s| s.connects_refused) "Connects answered by a reset.",
    "connects_timed_out" Counter(|s| s.connects_timed_out) "Connects never answered.",
    "connects_not_followed" Counter(|s| s.connects_not_followed) "SYNs given up to make room, before their result was known (MAX_CONNECTIONS).",
};

/// bytes = heads + bodies + control + not HTTP + resync + waiting.
pub const HTTP_BYTES: &[LedgerColumn<HttpLedger>] = columns! {
    "http_parsed_bytes" Counter(|h| h.bytes) "Bytes passed to the HTTP parser.",
    "http_head_bytes" Counter(|h| h.heads) "Bytes of heads.",
    "http_body_bytes" Counter(|h| h.bodies) "Bytes of bodies, chunk framing and trailers included.",
    "http_control_bytes" Counter(|h| h.control)
        "Bytes of HTTP/2 that are neither: headers of frames, frames about the connection, its preface.",
    "http_other_bytes" ReasonCounts(|h| h.not_http.counts(), "protocol", || NotHttp::ALL.iter().map(|kind| kind.name()).collect())
        "Bytes that are not HTTP.",
    "http_resync_bytes" Counter(|h| h.resync) "Bytes skipped while looking for the next message.",
    "http_waiting_bytes" Gauge(|h| h.waiting) "Bytes of heads that are not whole yet.",
};

/// requests = paired + unanswered + reset + unpaired + open; responses = paired + late + orphan + open.
pub const HTTP_MESSAGES: &[LedgerColumn<HttpLedger>] = columns! {
    "requests_seen" Counter(|h| h.requests) "Requests seen.",
    "requests_paired" Counter(|h| h.paired) "Requests with their response.",
    "requests_unanswered" ReasonCounts(|h| h.unanswered.counts(), "reason", || UnansweredReason::ALL.iter().map(|why| why.name()).collect())
        "Requests without a response.",
    "requests_reset" Counter(|h| h.reset) "Requests of HTTP/2 whose stream was reset before a response.",
    "requests_unpaired" Counter(|h| h.unpaired)
        "Requests whose response was lost by the capture, or is unknown: indistinguishable from others, or unreadable.",
    "requests_open" Gauge(|h| h.open) "Requests waiting for their response, or for its end.",
    "responses_seen" Counter(|h| h.responses) "Final responses seen.",
    "responses_late" Counter(|h| h.late) "Responses that came after their request was reported as timed out.",
    "responses_orphan" Counter(|h| h.orphan) "Responses without a request.",
    "responses_open" Gauge(|h| h.responses_open) "Final responses under way.",
    "responses_informational" Counter(|h| h.informational) "1xx responses.",
    "messages_unproven" Counter(|h| h.unproven)
        "Segments that begin like a message and may as well continue a body, because what was before is missing.",
    "tls_connections" Counter(|h| h.tls_connections) "Connections recognised as TLS.",
    "h2_connections" Counter(|h| h.h2_connections) "Connections recognised as HTTP/2.",
    "h2_frames" ReasonCounts(|h| h.h2_frames.counts(), "type", || H2Frame::ALL.iter().map(|kind| kind.name()).collect())
        "Frames of HTTP/2.",
    "h2_header_blocks" Counter(|h| h.h2_blocks) "Header blocks of HTTP/2.",
    "h2_header_blocks_hidden" Counter(|h| h.h2_blocks_hidden)
        "Of those, blocks with fields that cannot be known: they refer to what was inserted before we came, or in a hole.",
    "h2_streams_evicted" Counter(|h| h.h2_streams_evicted) "Streams of HTTP/2 given up to keep a limit.",
    "websockets_open" Gauge(|h| h.sockets_open) "WebSockets whose record waits for their end.",
    "websockets_told_open" Counter(|h| h.sockets_told_open) "Records of WebSockets made while they were open.",
    "weird" ReasonCounts(|h| h.weird.counts(), "name", || Weird::ALL.iter().map(|weird| weird.name()).collect())
        "Protocol oddities.",
};

/// events = recorded + folded + left out + repeated + unreadable; only where conntrack is recorded.
pub const CONNTRACK: &[LedgerColumn<ConntrackLedger>] = columns! {
    "conntrack_events_sent" Counter(|c| c.events + c.lost_beginnings + c.dropped) "Events that the kernel sent: those read and those dropped.",
    "conntrack_events" Counter(|c| c.events) "Events read.",
    "conntrack_events_dropped" Counter(|c| c.lost_beginnings + c.dropped)
        "Events that the kernel dropped because a receive buffer was full.",
    "conntrack_beginnings_lost" Counter(|c| c.lost_beginnings)
        "Of those, beginnings of flows, which the kernel does not send again; it sends changes and ends again.",
    "conntrack_events_recorded" Counter(|c| c.recorded) "Events that became a record.",
    "conntrack_events_folded" Counter(|c| c.folded) "Events folded into the record of others.",
    "conntrack_events_left_out" Counter(|c| c.left_out) "Events left out by INCLUDE_… and EXCLUDE_… settings.",
    "conntrack_events_repeated" Counter(|c| c.repeated) "Ends of flows that the kernel sent again.",
    "conntrack_events_unreadable" Counter(|c| c.unreadable) "Messages of another kind, or not readable.",
    "conntrack_events_new" Counter(|c| c.begun) "Of the events: flows that begin.",
    "conntrack_events_update" Counter(|c| c.updates) "Of the events: changes of a flow.",
    "conntrack_events_destroy" Counter(|c| c.ended) "Of the events: flows that end.",
    "conntrack_sums" Counter(|c| c.sums) "Records about several flows (CONNTRACK_EVENTS=aggregate).",
    "conntrack_overruns" Counter(|c| c.overruns) "Times the receive buffer was full; the table is then dumped again.",
    "conntrack_dumps" Counter(|c| c.dumps) "Dumps of the kernel's table.",
    "conntrack_dumps_failed" Counter(|c| c.dumps_failed) "Dumps that failed.",
    "conntrack_dump_entries" Counter(|c| c.dump_entries) "Entries read from dumps.",
    "conntrack_ended_by_dump" Counter(|c| c.ended_by_dump) "Records of flows whose end only a dump showed.",
    "conntrack_untracked" Counter(|c| c.untracked) "Times a flow had no room in the table (CONNTRACK_FLOWS).",
    "conntrack_flows" Gauge(|c| c.flows) "Flows in the table.",
    "conntrack_flows_silent" Gauge(|c| c.silent) "Of those, flows that never had an event.",
    "conntrack_flows_missing" Gauge(|c| c.missing) "Of those, flows that the last dump did not show.",
};

/// entries = recorded + waiting + folded + left out + unmatched + no IP + cut + foreign; only where verdicts are recorded.
pub const VERDICTS: &[LedgerColumn<VerdictLedger>] = columns! {
    "verdict_entries" Counter(|v| v.entries) "Entries of NFLOG and lines of the kernel log read.",
    "verdict_entries_recorded" Counter(|v| v.recorded) "Entries that became a record.",
    "verdict_entries_waiting" Gauge(|v| v.waiting) "Entries whose record waits for what follows (VERDICT_OUTCOME).",
    "verdict_entries_folded" Counter(|v| v.folded) "Entries folded into the record of others.",
    "verdict_entries_left_out" Counter(|v| v.left_out) "Entries left out by INCLUDE_… and EXCLUDE_… settings.",
    "verdict_entries_unmatched" Counter(|v| v.unmatched) "Entries whose prefix fits no pattern of VERDICT_PREFIXES.",
    "verdict_entries_no_ip" Counter(|v| v.no_ip) "Entries about no IP packet.",
    "verdict_entries_cut" Counter(|v| v.cut) "Lines that end before both addresses are whole.",
    "verdict_entries_foreign" Counter(|v| v.foreign) "Lines and messages that no rule wrote.",
    "verdict_repeats" Counter(|v| v.repeats) "Records of repeated entries (VERDICT_REPEATS).",
    "verdict_records_unjoined" Counter(|v| v.unjoined) "Records that had no room to wait for what follows.",
    "verdict_packets_lost" Counter(|v| v.lost) "Packets that NFLOG numbered and that never came.",
    "verdict_messages_dropped" Counter(|v| v.dropped) "Messages of NFLOG that found the receive buffer full; one may hold several packets.",
    "verdict_lines_missed" Counter(|v| v.lines_missed) "Lines of /dev/kmsg that were overwritten before they were read.",
    "verdict_lines_suppressed" Counter(|v| v.suppressed) "Lines that the kernel says it left out.",
    "verdict_entries_glued" Counter(|v| v.glued) "Entries on a line with another one.",
    "verdict_headers_cut" Counter(|v| v.cut_headers) "Of the entries: packets whose headers were not whole.",
    "verdict_fragments" Counter(|v| v.fragments) "Of the entries: later fragments, which have no ports.",
    "verdict_rotations" Counter(|v| v.rotations) "Times the kernel log file was another one, or shorter than before.",
    "verdict_stores" Counter(|v| v.stores) "Versions of the store of containers read.",
};

/// connects = read + dropped; only where connects are recorded.
pub const CONNECTS: &[LedgerColumn<ConnectLedger>] = columns! {
    "connect_events" Counter(|c| c.events) "Connects whose result the kernel reported.",
    "connect_events_read" Counter(|c| c.read) "Of those, read from the ring.",
    "connect_events_dropped" Counter(|c| c.dropped) "Of those, dropped because the ring was full (CONNECT_BUFFER).",
    "connect_events_recorded" Counter(|c| c.recorded) "Events that became a record.",
    "connect_events_unreadable" Counter(|c| c.unreadable) "Events that cannot be read.",
    "connects_untracked" Counter(|c| c.untracked) "Connects with no room to wait for their result: too many at the same time.",
    "connects_unended" Counter(|c| c.unended) "Connects whose result was missed.",
    "connects_own" Counter(|c| c.own) "Connects of podtap itself, which are not recorded.",
    "connects_forgotten" Counter(|c| c.forgotten) "Connects forgotten to keep a limit: records that come later do not find their process.",
    "process_joins" ReasonCounts(|c| c.joins.counts(), "result", || ProcessJoin::ALL.iter().map(|join| join.name()).collect())
        "Records of exchanges, flows and failed connects for which a process was looked for, by what was found.",
    "connect_runs_missed" Counter(|c| c.missed) "Runs of the program that the kernel left out, as it was running on that CPU already.",
};

/// frames = frames in flows + without flow + waiting; packets = reported + open; only where flows are recorded.
pub const FLOWS: &[LedgerColumn<FlowLedger>] = columns! {
    "flow_frames" Counter(|f| f.frames) "Frames that are packets of flows, or parts of such packets.",
    "frames_without_flow" ReasonCounts(|f| f.without_flow.counts(), "reason", || Skip::ALL.iter().map(|why| why.name()).collect())
        "Frames that belong to no flow.",
    "flow_frames_waiting" Gauge(|f| f.waiting) "Frames held until it is known to which flow they belong.",
    "flow_packets" Counter(|f| f.packets) "Packets of flows.",
    "flow_bytes" Counter(|f| f.bytes) "Bytes of flows, from the IP header on.",
    "flow_packets_reported" Counter(|f| f.reported_packets) "Packets of flows in records.",
    "flow_bytes_reported" Counter(|f| f.reported_bytes) "Bytes of flows in records.",
    "flow_packets_open" Gauge(|f| f.open_packets) "Packets of flows that no record has yet.",
    "flow_bytes_open" Gauge(|f| f.open_bytes) "Bytes of flows that no record has yet.",
    "flows" Counter(|f| f.flows) "Flows seen.",
    "flows_open" Gauge(|f| f.open) "Flows in the table.",
    "flows_evicted" Counter(|f| f.evicted) "Flows given up to make room (MAX_FLOWS).",
    "flow_records" Counter(|f| f.records) "Records of flows made.",
};

/// made = left out + offered.
pub const RECORDS: &[LedgerColumn<RecordLedger>] = columns! {
    "records_made" Counter(|r| r.made) "Records made.",
    "records_left_out" ReasonCounts(|r| r.left_out.counts(), "reason", || LeftOut::ALL.iter().map(|why| why.name()).collect())
        "Records left out on purpose.",
    "records_offered" Counter(|r| r.offered) "Records offered to every sink.",
};

/// offered = delivered + rejected + dropped + queued + in flight + spooled, for each sink.
pub const SINKS: &[LedgerColumn<SinkCounts>] = columns! {
    "sink_offered_records" Counter(|s| s.ledger.offered) "Records offered to the sink.",
    "sink_recovered_records" Counter(|s| s.ledger.recovered) "Of those offered: left in the spool by an earlier run.",
    "sink_ledger_records" Counter(|s| s.ledger_records()) "Of those offered by this run: ledger records; the others are exchanges.",
    "sink_delivered_records" Counter(|s| s.ledger.delivered) "Records its target accepted.",
    "sink_rejected_records" Counter(|s| s.ledger.rejected) "Records its target refused for good.",
    "sink_dropped_records" ReasonCounts(|s| &s.dropped, "reason", || DropReason::ALL.iter().map(|why| why.name()).collect())
        "Records given up.",
    "sink_queued_records" Gauge(|s| s.ledger.queued) "Records in the sink's queue.",
    "sink_queued_bytes" Gauge(|s| s.queued_bytes) "Bytes in the sink's queue, as limited.",
    "sink_in_flight_records" Gauge(|s| s.ledger.in_flight) "Records being delivered.",
    "sink_spooled_records" Gauge(|s| s.ledger.spooled) "Records on disk.",
    "sink_spooled_bytes" Gauge(|s| s.spooled_bytes) "Bytes of the spool's segments.",
    "sink_spool_damaged_bytes" Counter(|s| s.spool_damaged_bytes)
        "Bytes found in the spool that are no readable record; a torn write is among them.",
    "sink_failed_attempts" ReasonCounts(|s| &s.failed, "reason", || FailureReason::ALL.iter().map(|why| why.name()).collect())
        "Attempts to deliver that failed and are repeated.",
    "sink_spool_unknown_bytes" Counter(|s| s.spool_unknown_bytes)
        "Of those, bytes that held records, of which it is not known how many.",
    "sink_spool_missing_segments" Counter(|s| s.spool_missing_segments)
        "Segments of the spool that are missing or empty, and held records, of which it is not known how many.",
    "sink_left_out_records" ReasonCounts(|s| s.left_out_by_format.counts(), "dataset", || Dataset::ALL.iter().map(|d| d.name()).collect())
        "Records not offered to the sink: its format has no such record.",
};

/// Names and meanings of all numbers of ledger records: those of the capture, then those of a sink.
pub fn ledger_fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    fn of<T>(columns: &'static [LedgerColumn<T>]) -> impl Iterator<Item = (&'static str, &'static str)> {
        columns.iter().map(|column| (column.field, column.help))
    }
    let capture = of(FRAMES).chain(of(KERNEL)).chain(of(INTERFACES)).chain(of(STREAMS)).chain(of(FLOWS));
    let capture = capture
        .chain(of(HTTP_BYTES))
        .chain(of(HTTP_MESSAGES))
        .chain(of(CONNTRACK))
        .chain(of(VERDICTS))
        .chain(of(CONNECTS));
    capture.chain(of(RECORDS)).chain(of(SINKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_never_negative_and_a_gauge_is_what_it_is() {
        let column = |name: &str| STREAMS.iter().find(|column| column.name == name).unwrap();
        let ledger = |gap_bytes, held, late: u64| {
            let mut ledger = StreamLedger { gap_bytes, held, ..StreamLedger::default() };
            ledger.discarded.add(Discard::Limit as usize, 1);
            ledger.discarded.add(Discard::Closed as usize, late);
            ledger
        };
        for (before, now, gaps, held, discarded) in [
            (ledger(0, 0, 0), ledger(0, 0, 0), 0, 0, 0),
            (ledger(3, 9, 1), ledger(10, 4, 6), 7, 4, 5),
            (ledger(10, 4, 6), ledger(3, 9, 1), 0, 9, 0),
            (ledger(u64::MAX, 0, 0), ledger(0, 1, 0), 0, 1, 0),
        ] {
            let between = |name| column(name).between(&before, &now);
            let found = ["gap_bytes", "payload_held_bytes", "payload_discarded_bytes"].map(between);
            assert_eq!(found, [gaps, held, discarded], "{before:?} {now:?}");
        }
    }

    #[test]
    fn no_name_occurs_twice_and_none_hides_another() {
        let mut fields: Vec<_> = ledger_fields().map(|(field, _)| field).collect();
        let all = fields.len();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), all);
    }
}
