//! What a report says of a flow, and when one is due. Counts nothing: `entry` does.

use std::sync::Arc;

use compact_str::CompactString;

use super::super::FlowConfig;
use super::super::sequence::Sequence;
use super::{FlowEntry, FlowPhase, Last, TcpProgress, of};
use crate::flow::{ConnectionBeginning, FlowIds, Timestamp, connection_id};
use crate::record::{
    ConnectionOpening, EventOutcome, FlowCounts, FlowEnd, FlowRecord, FlowStatus, NetworkDirection, Trust,
};

/// How long what is over is kept for what straggles in.
const LINGER: u64 = 2_000_000_000;
/// A SYN not answered for this long is a failed connect (RFC 6298 §2.1: no one gives up before).
const CONNECT_PATIENCE: u64 = 1_000_000_000;
/// A SYN not answered for this long is reported at once, as timed out so far.
const CONNECT_TIMEOUT: u64 = 5_000_000_000;
/// How long an unanswered SYN is waited with; its repetitions prolong that.
const IDLE_ATTEMPT: u64 = 60_000_000_000;

impl FlowEntry {
    /// Whether it has ended, or been silent for too long.
    pub(in crate::flows) fn last(&self, now: Timestamp, config: &FlowConfig) -> Option<Last> {
        if self.over.is_some_and(|over| now.since(over) >= LINGER) {
            return Some(Last::Over);
        }
        let idle = match (self.tcp.is_some(), self.phase) {
            (true, FlowPhase::Attempt) => IDLE_ATTEMPT,
            (true, _) => config.idle_tcp,
            (false, _) => config.idle,
        };
        (now.since(self.last) >= idle).then_some(Last::Idle)
    }

    /// Whether a report is due while it lives.
    pub(in crate::flows) fn is_due(&self, now: Timestamp, config: &FlowConfig) -> bool {
        let unanswered = self.reports == 0 && self.has_timed_out(now);
        let due = unanswered || config.interval.is_some_and(|interval| now.since(self.reported) >= interval);
        due && self.open().packets > 0
    }

    /// Nothing has answered its SYN for longer than most applications wait.
    fn has_timed_out(&self, now: Timestamp) -> bool {
        self.tcp.is_some() && self.phase == FlowPhase::Attempt && now.since(self.first) >= CONNECT_TIMEOUT
    }

    pub(in crate::flows) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// What no report has yet.
    pub(in crate::flows) fn open(&self) -> FlowCounts {
        let [low, high] = &self.counts;
        FlowCounts { packets: low.packets + high.packets, bytes: low.bytes + high.bytes, ..FlowCounts::default() }
    }

    /// The report of what came since the last one; `reads_http` says whether exchanges are counted.
    pub(in crate::flows) fn report(
        &mut self,
        now: Timestamp,
        last: Option<Last>,
        reads_http: bool,
        (config, ids): (&FlowConfig, &FlowIds),
    ) -> FlowRecord {
        self.reports = self.reports.saturating_add(1);
        self.reported = now;
        let mut ends = self.key.ends.tuple(self.source);
        let protocol = self.key.protocol;
        let flow_id = ids.id(protocol, ends, self.began_in, self.first);
        if protocol.is_icmp() {
            (ends.source.port, ends.destination.port) = (0, 0);
        }
        let counts = std::mem::take(&mut self.counts);
        let nothing = counts.iter().all(|counts| counts.packets == 0);
        let status = self.status(last, now);
        let opening = if config.openings { self.opening() } else { None };
        let tcp = self.tcp.as_deref();
        FlowRecord {
            id: report_id(&flow_id, self.reports),
            flow_id,
            report: self.reports,
            last: last.is_some(),
            // A clock that was set back makes no report that ends before it begins.
            start: if nothing { self.last } else { self.since.min(self.last) },
            end: self.last,
            duration: self.last.since(self.first),
            protocol,
            icmp: self.icmp,
            source: ends.source,
            destination: ends.destination,
            counts: [self.source, self.source.flip()].map(|from| of(&counts, from)),
            status,
            ended_by: self.ended_by.map(|by| if by == self.source { FlowEnd::Source } else { FlowEnd::Destination }),
            outcome: (last.is_some() || status == FlowStatus::TimedOut).then(|| self.outcome(status)),
            trust: self.trust(last),
            connect_ns: tcp.and_then(|tcp| tcp.connect_ns),
            rtt_ns: tcp.and_then(TcpProgress::rtt),
            exchanges: (tcp.is_some() && reads_http).then(|| std::mem::take(&mut self.exchanges).into()),
            connection_id: tcp.map(|tcp| self.connection_id(tcp, config)),
            connection: tcp.and_then(|tcp| tcp.connection.clone()),
            opening,
            server_name: tcp.and_then(|tcp| tcp.server_name.clone()),
            direction: NetworkDirection::of(&config.own_ips, ends.source.ip, [ends.destination.ip]),
            interface: self.interface.clone(),
            around: self.around,
            source_workload: None,
            destination_workload: None,
            source_domain: None,
            destination_domain: None,
            of_node: None,
        }
    }

    /// How it began: the same in all of its reports.
    fn opening(&mut self) -> Option<Arc<ConnectionOpening>> {
        let tcp = self.tcp.as_mut()?;
        let [low, high] = &tcp.sequences;
        self.source.pick(low, high).syn?;
        Some(Arc::clone(tcp.opening.get_or_insert_with(|| Arc::new(ConnectionOpening::new(self.first)))))
    }

    fn status(&self, last: Option<Last>, now: Timestamp) -> FlowStatus {
        let waited = now.since(self.first) >= CONNECT_PATIENCE;
        match (self.phase, last) {
            (FlowPhase::Closed, _) => FlowStatus::Closed,
            (FlowPhase::Reset, _) => FlowStatus::Reset,
            (FlowPhase::Refused, _) => FlowStatus::Refused,
            (FlowPhase::Unreachable, _) => FlowStatus::Unreachable,
            (_, Some(Last::Evicted)) => FlowStatus::Evicted,
            (FlowPhase::Attempt, Some(_)) if self.tcp.is_some() && waited => FlowStatus::TimedOut,
            (_, Some(Last::Idle)) => FlowStatus::Idle,
            (FlowPhase::Attempt, None) if self.has_timed_out(now) => FlowStatus::TimedOut,
            (FlowPhase::Attempt, _) => FlowStatus::Attempt,
            (FlowPhase::Established, _) => FlowStatus::Established,
        }
    }

    /// A datagram may want no answer; TCP and an echo do.
    fn outcome(&self, status: FlowStatus) -> EventOutcome {
        match (status, self.phase) {
            (FlowStatus::Refused | FlowStatus::Unreachable | FlowStatus::TimedOut, _) => EventOutcome::Failure,
            (_, FlowPhase::Established | FlowPhase::Closed | FlowPhase::Reset) => EventOutcome::Success,
            (FlowStatus::Idle, FlowPhase::Attempt) if self.icmp.is_some_and(|icmp| icmp.id.is_some()) => {
                EventOutcome::Failure
            }
            (_, FlowPhase::Attempt | FlowPhase::Refused | FlowPhase::Unreachable) => EventOutcome::Unknown,
        }
    }

    fn trust(&self, last: Option<Last>) -> Trust {
        let Some(tcp) = &self.tcp else { return Trust::Complete };
        if tcp.sequences.iter().all(|sequence| sequence.syn.is_none()) {
            Trust::Midstream
        } else if tcp.sequences.iter().any(Sequence::misses_bytes) {
            Trust::Gap
        } else if matches!(last, Some(Last::Evicted | Last::Capture)) && self.over.is_none() {
            Trust::Truncated
        } else {
            Trust::Complete
        }
    }

    fn connection_id(&self, tcp: &TcpProgress, config: &FlowConfig) -> CompactString {
        if let Some(connection) = &tcp.connection {
            return connection.id.clone();
        }
        let [low, high] = [0, 1].map(|side| tcp.sequences.get(side).and_then(|sequence: &Sequence| sequence.syn));
        let initial_seq = [self.source.pick(low, high), self.source.pick(high, low)];
        let handshake_seen = low.is_some() && high.is_some();
        let beginning = ConnectionBeginning { initial_seq, first_seen: self.first, handshake_seen };
        connection_id(self.key.ends.tuple(self.source), &beginning, &config.observer_id)
    }
}

/// `event.id`: the flow's id, and the number of the report.
fn report_id(flow_id: &str, report: u32) -> CompactString {
    let mut id = CompactString::with_capacity(flow_id.len() + 2);
    id.push_str(flow_id);
    id.push('.');
    id.push_str(itoa::Buffer::new().format(report));
    id
}

impl TcpProgress {
    /// From the capture to both ends and back: what lies between them, wherever the capture is.
    fn rtt(&self) -> Option<u64> {
        let [low, high] = &self.sequences;
        Some(low.rtt?.saturating_add(high.rtt?))
    }
}
