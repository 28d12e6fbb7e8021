//! The closing lines: the whole ledger at exit, for people. Owns the wording; counts nothing.
//!
//! One equation per line, without the terms that are zero; then one line for each loss; then whether everything adds
//! up.

use std::fmt::Write;

use super::{KernelCounters, imbalances};
use crate::ledger::{
    ByReason, ConnectLedger, ConntrackLedger, Discard, FlowLedger, Ledger, LeftOut, NotHttp, ProcessJoin, RecordLedger,
    Skip, VerdictLedger,
};
use crate::record::{Dataset, UnansweredReason};
use crate::settings::{counted, thousands as count};
use crate::sink::{DropReason, SinkCounts};

/// The ledger as text, each line with its newline.
pub fn closing_lines(
    ledger: &Ledger,
    kernel: &KernelCounters,
    records: &RecordLedger,
    sinks: &[(String, SinkCounts)],
) -> String {
    let mut lines = Vec::new();
    let elsewhere = ledger.conntrack.opens + ledger.verdicts.opens + ledger.connects.opens;
    if elsewhere + kernel.unheard == 0 || ledger.frames.frames > 0 || kernel.opens > 0 {
        capture_lines(&mut lines, ledger, kernel);
        flow_lines(&mut lines, &ledger.flows);
        http_lines(&mut lines, ledger);
    }
    conntrack_lines(&mut lines, &ledger.conntrack);
    verdict_lines(&mut lines, &ledger.verdicts);
    connect_lines(&mut lines, &ledger.connects);
    record_lines(&mut lines, records, sinks);
    lines.retain(ClosingLine::says_something);
    let mut out = String::new();
    let (label, total) = lines.iter().fold((0, 0), |(l, t), line| (l.max(line.label.len()), t.max(line.total.len())));
    for line in &lines {
        let (equals, terms) = if line.terms.is_empty() { ("", String::new()) } else { (" = ", line.terms.join(" + ")) };
        let _ = writeln!(out, "{:label$}  {:>total$}{equals}{terms}{}", line.label, line.total, line.beside);
    }
    let losses = losses(ledger, kernel, sinks);
    for loss in &losses {
        let _ = writeln!(out, "LOST  {loss}");
    }
    let wrong = imbalances(ledger, records, sinks);
    for (whose, i) in &wrong {
        let whose = if whose.is_empty() { String::new() } else { format!("{whose}: ") };
        let _ = writeln!(out, "DOES NOT ADD UP  {whose}{} ({} against {})", i.equation, count(i.left), count(i.right));
    }
    let repeated = ledger.streams.connections_repeated;
    if repeated > 0 {
        let what = "connections in more than one VLAN or tunnel: their records may be there twice";
        let _ = writeln!(out, "SEEN TWICE  {}", counted(repeated, what));
    }
    out.push_str(&match (losses.is_empty() && repeated == 0, wrong.is_empty()) {
        (true, true) => format!("Nothing lost{}; the ledger adds up.\n", but(ledger, sinks)),
        (false, true) => "The ledger adds up.\n".to_owned(),
        (_, false) => "This is a bug in podtap; please report it with these lines.\n".to_owned(),
    });
    out
}

/// What is no loss, and no reason to keep silent. These are records whose reader had left, or that no one could look at,
/// and events that came late.
fn but(ledger: &Ledger, sinks: &[(String, SinkCounts)]) -> String {
    let mut said = Vec::new();
    let again = ledger.conntrack.dropped;
    if again > 0 {
        let what = "tries to send changes and ends of tracked connections failed (the kernel sends them again)";
        said.push(counted(again, what));
    }
    for (name, sink) in sinks {
        if sink.gone() > 0 {
            said.push(format!("{} for {name} came after its reader had left", counted(sink.gone(), "records")));
        }
        if sink.spool_unopened {
            said.push(format!("the spool for {name} could not be opened: records of earlier runs may wait there"));
        }
    }
    if said.is_empty() { String::new() } else { format!(", but {}", said.join(" and ")) }
}

/// `label total = term + term, other`.
struct ClosingLine {
    label: String,
    total: String,
    terms: Vec<String>,
    beside: String,
}

impl ClosingLine {
    fn new(label: &str, total: u64) -> Self {
        Self { label: label.to_owned(), total: count(total), terms: Vec::new(), beside: String::new() }
    }

    /// Some zeros are news: no frame, no request, no record.
    fn says_something(&self) -> bool {
        let silent = ["connections", "payload bytes", "parsed bytes", "responses"].contains(&self.label.as_str());
        !(silent && self.total == "0" && self.terms.is_empty() && self.beside.is_empty())
    }

    fn term(mut self, n: u64, name: &str) -> Self {
        if n > 0 {
            self.terms.push(format!("{} {name}", count(n)));
        }
        self
    }

    fn reasons(mut self, n: u64, name: &str, reasons: impl Iterator<Item = (&'static str, u64)>) -> Self {
        let reasons: Vec<_> = named(reasons);
        if n > 0 {
            self.terms.push(format!("{} {name} ({})", count(n), reasons.join("; ")));
        }
        self
    }

    fn beside(mut self, n: u64, name: &str) -> Self {
        if n > 0 {
            let _ = write!(self.beside, ", {}", counted(n, name));
        }
        self
    }
}

fn capture_lines(lines: &mut Vec<ClosingLine>, ledger: &Ledger, kernel: &KernelCounters) {
    let (f, s) = (&ledger.frames, &ledger.streams);
    let skipped = by_reason(&f.skipped, Skip::ALL.iter().map(|r| r.name()));
    let frames = ClosingLine::new("frames", f.frames)
        .term(f.segments, "segments")
        .term(f.fragments, "fragments")
        .reasons(f.skipped.total(), "skipped", skipped);
    lines.push(frames);
    if *kernel != KernelCounters::default() {
        let line = ClosingLine::new("kernel packets", kernel.received).beside(kernel.dropped, "dropped");
        lines.push(line.beside(kernel.interface_dropped, "dropped by the interface"));
    }
    let connections = ClosingLine::new("connections", s.connections)
        .beside(s.connections_open, "still open")
        .beside(s.connections_evicted, "evicted")
        .beside(s.connections_repeated, "seen again in another VLAN or tunnel")
        .beside(s.connects_refused, "connects refused")
        .beside(s.connects_timed_out, "connects timed out");
    lines.push(connections);
    let discarded = by_reason(&s.discarded, Discard::ALL.iter().map(|r| r.name()));
    let payload = ClosingLine::new("payload bytes", s.payload)
        .term(s.delivered, "in order")
        .term(s.duplicate, "duplicate")
        .term(s.held, "held")
        .reasons(s.discarded.total(), "discarded", discarded);
    lines.push(payload);
}

fn flow_lines(lines: &mut Vec<ClosingLine>, f: &FlowLedger) {
    if !f.enabled {
        return;
    }
    let apart = by_reason(&f.without_flow, Skip::ALL.iter().map(|r| r.name()));
    let frames = ClosingLine::new("frames of flows", f.frames)
        .beside(f.without_flow.total(), "of no flow")
        .beside(f.waiting, "waiting");
    let frames = if f.without_flow.total() > 0 {
        ClosingLine { beside: format!("{} ({})", frames.beside, named(apart).join("; ")), ..frames }
    } else {
        frames
    };
    lines.push(frames);
    let packets = ClosingLine::new("packets of flows", f.packets)
        .term(f.reported_packets, "reported")
        .term(f.open_packets, "open");
    lines.push(packets);
    let bytes =
        ClosingLine::new("bytes of flows", f.bytes).term(f.reported_bytes, "reported").term(f.open_bytes, "open");
    lines.push(bytes);
    let flows = ClosingLine::new("flows", f.flows).beside(f.open, "still open").beside(f.evicted, "evicted");
    lines.push(flows.beside(f.records, "records"));
}

fn http_lines(lines: &mut Vec<ClosingLine>, ledger: &Ledger) {
    let h = &ledger.http;
    let others = by_reason(&h.not_http, NotHttp::ALL.iter().map(|kind| kind.name()));
    let bytes = ClosingLine::new("parsed bytes", h.bytes)
        .term(h.heads, "heads")
        .term(h.bodies, "bodies")
        .term(h.control, "control")
        .reasons(h.not_http.total(), "not HTTP/1", others)
        .term(h.resync, "resync")
        .term(h.waiting, "waiting");
    lines.push(bytes);
    let unanswered = by_reason(&h.unanswered, UnansweredReason::ALL.iter().map(|why| why.name()));
    let requests = ClosingLine::new("requests", h.requests)
        .term(h.paired, "paired")
        .reasons(h.unanswered.total(), "unanswered", unanswered)
        .term(h.reset, "reset")
        .term(h.unpaired, "unpaired")
        .term(h.open, "open");
    lines.push(requests);
    let responses = ClosingLine::new("responses", h.responses)
        .term(h.paired, "paired")
        .term(h.late, "late")
        .term(h.orphan, "orphan")
        .term(h.responses_open, "open");
    lines.push(responses.beside(h.informational, "informational"));
}

fn conntrack_lines(lines: &mut Vec<ClosingLine>, c: &ConntrackLedger) {
    if c.opens == 0 {
        return;
    }
    let sent = ClosingLine::new("conntrack sent", c.events + c.lost_beginnings + c.dropped)
        .term(c.events, "read")
        .term(c.lost_beginnings, "lost beginnings")
        .term(c.dropped, "dropped and sent again");
    lines.push(sent.beside(c.overruns, "overruns").beside(c.dumps, "dumps").beside(c.dumps_failed, "failed dumps"));
    let read = ClosingLine::new("conntrack events", c.events)
        .term(c.recorded, "recorded")
        .term(c.folded, "folded")
        .term(c.left_out, "left out")
        .term(c.repeated, "repeated")
        .term(c.unreadable, "unreadable");
    lines.push(read.beside(c.ended_by_dump, "ends known by a dump").beside(c.untracked, "without room in the table"));
}

fn verdict_lines(lines: &mut Vec<ClosingLine>, v: &VerdictLedger) {
    if v.opens == 0 {
        return;
    }
    let read = ClosingLine::new("verdict entries", v.entries)
        .term(v.recorded, "recorded")
        .term(v.waiting, "waiting")
        .term(v.folded, "folded")
        .term(v.left_out, "left out")
        .term(v.unmatched, "with an unknown prefix")
        .term(v.no_ip, "not IP")
        .term(v.cut, "cut")
        .term(v.foreign, "foreign");
    lines.push(
        read.beside(v.repeats, "records of repeats")
            .beside(v.unjoined, "without room to wait")
            .beside(v.glued, "glued")
            .beside(v.rotations, "rotations"),
    );
}

fn connect_lines(lines: &mut Vec<ClosingLine>, c: &ConnectLedger) {
    if c.opens == 0 {
        return;
    }
    let connects = ClosingLine::new("connects", c.events)
        .term(c.recorded, "recorded")
        .term(c.unreadable, "unreadable")
        .term(c.dropped, "dropped")
        .beside(c.own, "of podtap itself")
        .beside(c.missed, "runs left out by the kernel");
    lines.push(connects);
    if c.joins.total() > 0 {
        let line = ClosingLine::new("processes asked for", c.joins.total());
        let found = by_reason(&c.joins, ProcessJoin::ALL.iter().map(|join| join.name()));
        lines.push(found.fold(line, |line, (name, n)| line.term(n, name)).beside(c.forgotten, "connects forgotten"));
    }
}

fn record_lines(lines: &mut Vec<ClosingLine>, records: &RecordLedger, sinks: &[(String, SinkCounts)]) {
    let left_out = by_reason(&records.left_out, LeftOut::ALL.iter().map(|reason| reason.name()));
    let made = ClosingLine::new("records", records.made)
        .reasons(records.left_out.total(), "left out", left_out)
        .term(records.offered, "offered");
    lines.push(made);
    for (name, sink) in sinks {
        let l = &sink.ledger;
        let line = ClosingLine::new(name, l.offered)
            .term(l.delivered, "delivered")
            .term(l.rejected, "rejected")
            .reasons(l.dropped, "dropped", dropped(sink))
            .term(l.queued, "queued")
            .term(l.in_flight, "in flight")
            .term(l.spooled, "spooled");
        let line = line.beside(l.recovered, "of them from an earlier run");
        let line = line.beside(sink.ledger_records(), "of them ledger records");
        let line = line.beside(sink.left_out_by_format.total(), "left out by its format");
        let line = line.beside(sink.spool_damaged_bytes, "damaged bytes in the spool");
        lines.push(line.beside(sink.failed_attempts(), "failed attempts"));
    }
}

/// What no one will ever see, or was refused, and what it was. A reader that left (`| head`) wanted no more.
pub(crate) fn losses(ledger: &Ledger, kernel: &KernelCounters, sinks: &[(String, SinkCounts)]) -> Vec<String> {
    let s = &ledger.streams;
    let limits = s.discarded.at(Discard::Limit as usize) + s.discarded.at(Discard::Evicted as usize);
    let mut out: Vec<String> = [
        (kernel.dropped, "packets: the capture buffer was full"),
        (kernel.interface_dropped, "packets: dropped by the interface"),
        (ledger.frames.skipped.at(Skip::FragmentDropped as usize), "fragments of packets that never became whole"),
        (ledger.frames.cut, "frames cut by the snap length"),
        (s.gap_bytes, "bytes of streams never seen"),
        (limits, "bytes of streams: a limit was reached"),
        (s.discarded.at(Discard::Closed as usize), "bytes behind the end of their connection, not read"),
        (ledger.http.unpaired, "requests whose response is not known"),
        (ledger.http.unproven, "segments may begin a message or continue a body: what was before is missing"),
        (s.overlap_conflicts, "bytes that came twice and differed: which of them were received is not known"),
        (ledger.conntrack.lost_beginnings, "beginnings of tracked connections: the receive buffer was full"),
        (ledger.verdicts.lost, "logged packets that NFLOG numbered and that never came"),
        (ledger.verdicts.lines_missed, "lines of /dev/kmsg: overwritten before they were read"),
        (ledger.verdicts.suppressed, "lines of the kernel log: left out by the kernel"),
        (ledger.verdicts.cut, "lines of the kernel log: cut before their addresses were whole"),
        (ledger.connects.dropped, "connects found the ring of their program full"),
        (ledger.connects.untracked, "connects had no room to wait for their result"),
        (ledger.connects.unended, "connects whose result was missed"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| counted(n, what))
    .collect();
    if kernel.left > 0 {
        out.push(format!("what {} had not processed when GRACE_PERIOD was over", counted(kernel.left, "captures")));
    }
    if kernel.unheard > 0 {
        let inputs = counted(kernel.unheard, "inputs");
        out.push(format!("what {inputs} had to say: unreadable from the start, or failed (the log says which)"));
    }
    if kernel.blind > std::time::Duration::ZERO {
        out.push(format!("{:.1} seconds not captured: an interface could not be opened", kernel.blind.as_secs_f64()));
    }
    for (name, sink) in sinks {
        let why = dropped(sink).filter(|(why, _)| *why != DropReason::Gone.name());
        let reasons = named(why.chain([("rejected", sink.ledger.rejected)]));
        let of_ledger = match sink.lost_of(Dataset::Ledger) {
            0 => String::new(),
            n => format!(", {} of them ledger records", count(n)),
        };
        if sink.lost() > 0 {
            out.push(format!("{} for {name} ({}){of_ledger}", counted(sink.lost(), "records"), reasons.join("; ")));
        }
        if sink.spool_unknown_bytes > 0 {
            let bytes = count(sink.spool_unknown_bytes);
            out.push(format!("an unknown number of records for {name}: {bytes} damaged bytes in the spool"));
        }
        if sink.spool_missing_segments > 0 {
            let segments = counted(sink.spool_missing_segments, "segments");
            out.push(format!("an unknown number of records for {name}: {segments} of the spool missing"));
        }
    }
    out
}

fn dropped(sink: &SinkCounts) -> impl Iterator<Item = (&'static str, u64)> {
    DropReason::ALL.iter().map(|why| why.name()).zip(sink.dropped)
}

fn by_reason<const N: usize>(
    counts: &ByReason<N>,
    names: impl Iterator<Item = &'static str>,
) -> impl Iterator<Item = (&'static str, u64)> {
    names.enumerate().map(|(index, name)| (name, counts.at(index)))
}

fn named(reasons: impl Iterator<Item = (&'static str, u64)>) -> Vec<String> {
    reasons.filter(|(_, n)| *n > 0).map(|(why, n)| format!("{why} {}", count(n))).collect()
}

#[cfg(test)]
mod tests;
