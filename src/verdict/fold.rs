//! Folds repeated entries: the first is a record at once, what follows in an interval is counted in one more.
//!
//! Its table has a limit: what does not fit is not folded.

use std::collections::HashMap;
use std::net::IpAddr;

use compact_str::{CompactString, format_compact};
use foldhash::fast::FixedState;

use crate::flow::{IpProtocol, Timestamp};
use crate::record::{VerdictDirection, VerdictRecord};

/// Entries that are alike but for their source port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct FoldKey {
    prefix: CompactString,
    ingress: bool,
    protocol: Option<IpProtocol>,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    icmp: Option<(u8, u8)>,
    mark: Option<u32>,
    group: Option<u16>,
}

#[derive(Debug)]
struct FoldedEntry {
    until: Timestamp,
    /// The first one that is not a record yet, and how many there are.
    record: Option<VerdictRecord>,
}

/// What was seen lately.
#[derive(Debug)]
pub(super) struct EntryFold {
    interval: u64,
    most: usize,
    waiting: HashMap<FoldKey, FoldedEntry, FixedState>,
    /// When the next of them is over, at the earliest.
    next: Timestamp,
}

impl EntryFold {
    pub(super) fn new(interval: u64, most: usize) -> Self {
        Self { interval, most, waiting: HashMap::default(), next: Timestamp(i64::MAX) }
    }

    /// Gives the record back where it is the first of its kind.
    pub(super) fn add(&mut self, record: VerdictRecord, now: Timestamp) -> Option<VerdictRecord> {
        let key = key(&record);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            match &mut waiting.record {
                Some(first) => {
                    first.packets += record.packets;
                    first.lost_before += record.lost_before;
                    first.start = first.start.or(Some(first.at));
                    first.at = record.at;
                }
                empty @ None => *empty = Some(record),
            }
            return None;
        }
        if self.waiting.len() < self.most {
            let until = now.plus(self.interval);
            self.next = self.next.min(until);
            self.waiting.insert(key, FoldedEntry { until, record: None });
        }
        Some(record)
    }

    /// The records of the intervals that are over. Where there was a repetition, the next interval begins.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<VerdictRecord> {
        if now < self.next && self.next.since(now) <= self.interval {
            return Vec::new();
        }
        let (interval, mut records, mut next) = (self.interval, Vec::new(), Timestamp(i64::MAX));
        self.waiting.retain(|_, waiting| {
            // A clock that was set back must not hold records for ever.
            if now < waiting.until && waiting.until.since(now) <= interval {
                next = next.min(waiting.until);
                return true;
            }
            let Some(record) = waiting.record.take() else { return false };
            records.push(numbered(record));
            waiting.until = now.plus(interval);
            next = next.min(waiting.until);
            true
        });
        self.next = next;
        sorted(records)
    }

    /// All that waits.
    pub(super) fn finish(&mut self) -> Vec<VerdictRecord> {
        sorted(self.waiting.drain().filter_map(|(_, waiting)| waiting.record).map(numbered).collect())
    }
}

/// Several packets in one record are another record than the first of them.
fn numbered(record: VerdictRecord) -> VerdictRecord {
    if record.packets == 1 {
        return record;
    }
    VerdictRecord { id: format_compact!("{}.{}", record.id, record.packets), ..record }
}

/// The order of the table is chance.
fn sorted(mut records: Vec<VerdictRecord>) -> Vec<VerdictRecord> {
    records.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    records
}

fn key(record: &VerdictRecord) -> FoldKey {
    let packet = &record.packet;
    FoldKey {
        prefix: record.prefix.clone(),
        ingress: record.direction == VerdictDirection::Ingress,
        protocol: packet.protocol,
        source: packet.source.ip,
        destination: packet.destination.ip,
        port: packet.destination.port,
        icmp: packet.icmp.map(|icmp| (icmp.kind, icmp.code)),
        mark: record.mark,
        group: record.group,
    }
}
