//! Folds flows with the same source address, destination and protocol into one record for each interval.
//!
//! Does not know how long an interval is. Its table has a limit: beyond it the caller flushes early.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use compact_str::format_compact;
use foldhash::fast::FixedState;

use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::record::{
    ConntrackAction, ConntrackRecord, ConntrackStatus, ConntrackTuple, FoldedFlows, IcmpMessage, PacketCounters,
};

/// Source ports that are distinguished in one record; more of them count as no further port.
const MAX_PORTS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct AggregateKey {
    namespace: Option<i32>,
    protocol: IpProtocol,
    source: IpAddr,
    destination: Endpoint,
    /// Type and code of ICMP.
    icmp: Option<(u8, u8)>,
    destination_nat: Option<Endpoint>,
}

#[derive(Debug)]
struct AggregateSum {
    first: Timestamp,
    last: Timestamp,
    events: u64,
    updated: bool,
    flows: FoldedFlows,
    ports: BTreeSet<u16>,
    counters: Option<[PacketCounters; 2]>,
    /// One of its records: what they have in common.
    like: ConntrackRecord,
}

/// The sums of the running interval.
#[derive(Debug)]
pub(super) struct FlowAggregate {
    sums: HashMap<AggregateKey, AggregateSum, FixedState>,
    most: usize,
}

impl FlowAggregate {
    pub(super) fn new(most: usize) -> Self {
        Self { sums: HashMap::default(), most }
    }

    /// Adds what would have been a record; its counters only at the end of a flow, so that none counts twice.
    pub(super) fn add(&mut self, record: ConntrackRecord) {
        let key = AggregateKey {
            namespace: record.namespace,
            protocol: record.tuple.protocol,
            source: record.tuple.source.ip,
            destination: record.tuple.destination,
            icmp: record.tuple.icmp.map(|icmp| (icmp.kind, icmp.code)),
            destination_nat: record.destination_nat,
        };
        let sum = self.sums.entry(key).or_insert_with(|| AggregateSum::new(&record));
        sum.add(&record);
    }

    /// Whether the next flow needs room that there is not.
    pub(super) fn is_full(&self) -> bool {
        self.sums.len() >= self.most
    }

    /// The records of the interval, in the order of their first events.
    pub(super) fn flush(&mut self) -> Vec<ConntrackRecord> {
        let mut sums: Vec<_> = self.sums.drain().collect();
        sums.sort_by_key(|(key, sum)| (sum.first, *key));
        sums.into_iter().map(|(_, sum)| sum.finish()).collect()
    }
}

impl AggregateSum {
    fn new(record: &ConntrackRecord) -> Self {
        Self {
            first: record.at,
            last: record.at,
            events: 0,
            updated: false,
            flows: FoldedFlows::default(),
            ports: BTreeSet::new(),
            counters: None,
            like: record.clone(),
        }
    }

    fn add(&mut self, record: &ConntrackRecord) {
        self.first = self.first.min(record.at);
        self.last = self.last.max(record.at);
        self.events += 1;
        match record.action {
            ConntrackAction::New => self.flows.begun += 1,
            ConntrackAction::Update => self.updated = true,
            ConntrackAction::End => {
                self.flows.ended += 1;
                self.flows.failed += u64::from(record.outcome == Some(crate::record::EventOutcome::Failure));
                if let Some(counters) = record.counters {
                    let sums = self.counters.get_or_insert_default();
                    sums.iter_mut().zip(counters).for_each(|(sum, more)| *sum += more);
                }
            }
        }
        if self.ports.len() < MAX_PORTS {
            self.ports.insert(record.tuple.source.port);
        }
    }

    fn finish(self) -> ConntrackRecord {
        let ports = if self.like.tuple.protocol.has_ports() { self.ports.len() as u64 } else { 0 };
        let ConntrackTuple { protocol, source, destination, icmp } = self.like.tuple;
        let icmp = icmp.map(|icmp| IcmpMessage { id: None, ..icmp });
        let source = Endpoint { port: 0, ..source };
        ConntrackRecord {
            id: format_compact!("{}.sum", self.like.id.split('.').next().unwrap_or_default()),
            action: ConntrackAction::Update,
            at: self.last,
            start: Some(self.first),
            end: Some(self.last),
            end_known_by: None,
            tuple: ConntrackTuple { protocol, source, destination, icmp },
            source_nat: None,
            counters: self.counters,
            kernel_id: None,
            mark: None,
            status: ConntrackStatus::default(),
            state: None,
            events: self.events,
            begun: self.flows.begun > 0,
            updated: self.updated,
            outcome: None,
            tries: None,
            flows: Some(FoldedFlows { source_ports: ports, ..self.flows }),
            ..self.like
        }
    }
}
