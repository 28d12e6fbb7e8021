//! Puts the process into records of exchanges and flows, and into failed connects that packets show. One for each capture
//! thread.
//!
//! A connect is known in the kernel before the first byte of its connection is sent, but it may be read after the packets.
//! Then a record waits until the connects were read up to its end. Owns those that wait; decides nothing about the process
//! (`askers`), and leaves nothing out.

use std::collections::VecDeque;

use super::askers::{ConnectionAskers, FoundAsker};
use crate::exchange::room::of_exchange;
use crate::flow::{Endpoint, FiveTuple, IpProtocol, Timestamp};
use crate::ledger::{ByReason, ProcessJoin};
use crate::record::{
    ConnectRecord, ConnectionOpening, Exchange, FlowRecord, FlowStatus, NetworkDirection, Record, SeenBy,
};

/// Records that may wait at once.
const MAX_WAITING: usize = 4096;
/// What they may take, bytes.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// How many ticks of the capture, of at least 50 ms, a record waits at most. Connects are read ten times a second.
const PATIENCE: u64 = 40;
/// The kernel captures a packet shortly before its socket learns of it.
const BEHIND_PACKET: u64 = 10_000_000;
/// What a record takes besides its texts, nearly.
const RECORD_BYTES: usize = 1024;

/// Records in, records with their process out.
#[derive(Debug)]
pub struct ProcessJoiner {
    askers: ConnectionAskers,
    waiting: VecDeque<WaitingRecord>,
    bytes: usize,
    ticks: u64,
    joins: ByReason<{ ProcessJoin::COUNT }>,
}

#[derive(Debug)]
struct WaitingRecord {
    /// The tick that it waits for at most.
    until: u64,
    bytes: usize,
    record: Record,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinOutcome {
    /// No process is looked for.
    NotAsked,
    This(ProcessJoin),
    /// More connects have to be read first.
    NotYet,
}

impl ProcessJoiner {
    /// None waits.
    pub fn new(askers: ConnectionAskers) -> Self {
        Self { askers, waiting: VecDeque::new(), bytes: 0, ticks: 0, joins: ByReason::default() }
    }

    /// Looks for the processes of `records`; takes out those that have to wait.
    pub fn take(&mut self, records: &mut Vec<Record>) {
        let mut kept = Vec::with_capacity(records.len());
        for mut record in records.drain(..) {
            let found = self.look(&mut record);
            let room = if found == JoinOutcome::NotYet { self.room_for(&record) } else { None };
            if let Some(bytes) = room {
                self.bytes += bytes;
                self.waiting.push_back(WaitingRecord { until: self.ticks + PATIENCE, bytes, record });
            } else {
                self.count(found);
                kept.push(record);
            }
        }
        *records = kept;
    }

    /// What the record takes, if it may wait.
    fn room_for(&self, record: &Record) -> Option<usize> {
        let bytes = bytes_of(record);
        (self.waiting.len() < MAX_WAITING && self.bytes + bytes <= MAX_WAITING_BYTES).then_some(bytes)
    }

    /// Time passed: puts those into `records` that need not wait longer.
    pub fn tick(&mut self, records: &mut Vec<Record>) {
        self.ticks += 1;
        for _ in 0..self.waiting.len() {
            let Some(mut one) = self.waiting.pop_front() else { break };
            let found = self.look(&mut one.record);
            if found == JoinOutcome::NotYet && one.until > self.ticks {
                self.waiting.push_back(one);
            } else {
                self.bytes -= one.bytes;
                self.count(found);
                records.push(one.record);
            }
        }
    }

    /// The capture is over: puts all of them into `records`.
    pub fn finish(&mut self, records: &mut Vec<Record>) {
        self.ticks = self.ticks.saturating_add(PATIENCE);
        self.tick(records);
    }

    /// Whether some wait for connects that were not read yet.
    pub fn is_waiting(&self) -> bool {
        let read = self.askers.read_up_to();
        self.waiting.iter().filter_map(|one| ends_at(&one.record)).any(|end| end.plus(BEHIND_PACKET) > read)
    }

    /// What was found so far, by records.
    pub fn joins(&self) -> &ByReason<{ ProcessJoin::COUNT }> {
        &self.joins
    }

    fn count(&mut self, found: JoinOutcome) {
        match found {
            JoinOutcome::NotAsked => {}
            JoinOutcome::This(join) => self.joins.add(join as usize, 1),
            JoinOutcome::NotYet => self.joins.add(ProcessJoin::Late as usize, 1),
        }
    }

    fn look(&self, record: &mut Record) -> JoinOutcome {
        let Some(end) = ends_at(record) else { return JoinOutcome::NotAsked };
        if let Record::Http(exchange) = record {
            self.look_for_exchange(exchange, end)
        } else if let Record::Flow(flow) = record {
            self.look_for_flow(flow, end)
        } else if let Record::Connect(connect) = record {
            self.look_for_connect(connect, end)
        } else {
            JoinOutcome::NotAsked
        }
    }

    fn look_for_exchange(&self, exchange: &Exchange, end: Timestamp) -> JoinOutcome {
        let connection = &exchange.connection;
        let ends = FiveTuple { source: connection.client, destination: connection.server };
        let Some(opening) = &connection.opening else { return self.midstream(connection.direction) };
        self.look_up(opening, &ends, connection.direction, end)
    }

    fn look_for_flow(&self, flow: &FlowRecord, end: Timestamp) -> JoinOutcome {
        let ends = FiveTuple { source: flow.source, destination: flow.destination };
        let Some(opening) = &flow.opening else { return self.midstream(flow.direction) };
        // Its connect goes on: the next record may know more.
        let goes_on = matches!(flow.status, FlowStatus::Attempt | FlowStatus::TimedOut);
        if goes_on && matches!(self.askers.of(&ends, opening.at), FoundAsker::Unknown) {
            return JoinOutcome::This(self.unknown(flow.direction));
        }
        self.look_up(opening, &ends, flow.direction, end)
    }

    /// A failed connect that packets show: with a process it is recorded a second time.
    fn look_for_connect(&self, connect: &mut ConnectRecord, end: Timestamp) -> JoinOutcome {
        let Some((ip, port)) = connect.source.zip(connect.source_port) else { return JoinOutcome::NotAsked };
        let ends = FiveTuple { source: Endpoint { ip, port }, destination: connect.destination };
        let opening = ConnectionOpening::new(connect.start);
        let found = self.look_up(&opening, &ends, connect.direction, end);
        connect.process = opening.asker.into_inner().flatten();
        found
    }

    fn look_up(
        &self,
        opening: &ConnectionOpening,
        ends: &FiveTuple,
        direction: Option<NetworkDirection>,
        end: Timestamp,
    ) -> JoinOutcome {
        if let Some(known) = opening.asker.get() {
            return JoinOutcome::This(if known.is_some() { ProcessJoin::Joined } else { self.unknown(direction) });
        }
        // First how far the connects were read: what is read meanwhile may be found, and nothing is missed.
        let read = self.askers.read_up_to();
        let (asker, join) = match self.askers.of(ends, opening.at) {
            FoundAsker::One(process) => (Some(process), ProcessJoin::Joined),
            FoundAsker::Several => (None, ProcessJoin::Ambiguous),
            FoundAsker::Unknown => {
                let join = self.unknown(direction);
                if join == ProcessJoin::Unknown && end.plus(BEHIND_PACKET) > read {
                    return JoinOutcome::NotYet;
                }
                (None, join)
            }
        };
        // Another thread of the same connection can have found nothing else.
        let _ = opening.asker.set(asker);
        JoinOutcome::This(join)
    }

    fn midstream(&self, direction: Option<NetworkDirection>) -> JoinOutcome {
        let incoming = self.unknown(direction) == ProcessJoin::Incoming;
        JoinOutcome::This(if incoming { ProcessJoin::Incoming } else { ProcessJoin::Midstream })
    }

    /// Why there is no process: where only our own namespace is watched, none of it asks for what comes in.
    fn unknown(&self, direction: Option<NetworkDirection>) -> ProcessJoin {
        let comes_in = direction == Some(NetworkDirection::Ingress) && !self.askers.watches_all();
        if comes_in { ProcessJoin::Incoming } else { ProcessJoin::Unknown }
    }
}

/// When the last packet came that the record is about; none where no process is looked for.
fn ends_at(record: &Record) -> Option<Timestamp> {
    if let Record::Http(exchange) = record {
        let request = exchange.request.as_ref().map(|request| request.last);
        let response = exchange.response.as_ref().map(|response| response.last);
        Some(request.max(response).max(exchange.gave_up).unwrap_or_default())
    } else if let Record::Flow(flow) = record {
        (flow.protocol == IpProtocol::TCP).then_some(flow.end)
    } else if let Record::Connect(connect) = record {
        (connect.seen_by == SeenBy::Packets).then(|| connect.end.unwrap_or(connect.start))
    } else {
        None
    }
}

/// What it takes, nearly.
fn bytes_of(record: &Record) -> usize {
    RECORD_BYTES + if let Record::Http(exchange) = record { of_exchange(exchange) } else { 0 }
}

#[cfg(test)]
mod tests;
