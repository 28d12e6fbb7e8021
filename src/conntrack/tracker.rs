//! The table of flows, and which events become records. Owns the ledger of conntrack.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;

use super::aggregate::FlowAggregate;
use super::config::{ConntrackConfig, ConntrackEvents};
use super::gone::{BARE, BY_DUMP, GoneFlows};
use super::live::{LiveFlow, LiveKey};
use super::message::{ConntrackEntry, EventKind, NoEvent, read};
use super::succeeded::{Predecessor, SucceededFlows};
use crate::flow::Timestamp;
use crate::ledger::ConntrackLedger;
use crate::netlink::{DONE, DUMP_INTERRUPTED, NetlinkMessages};
use crate::record::{ConntrackAction, EndKnownBy, FlowNews, FlowProgress, Record};

/// How a dump goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpProgress {
    /// More is to come.
    Going,
    /// It is complete.
    Done,
    /// The kernel ended it, with this error number.
    Failed(i32),
}

/// How long the end of a flow may take that a dump no longer shows: the kernel repeats it until it fits into our buffer.
const MISSING_FOR: u64 = 10_000_000_000;

/// The flows, and the records they gave.
#[derive(Debug)]
pub struct ConntrackTracker {
    config: ConntrackConfig,
    hasher: RandomState,
    flows: HashTable<Box<LiveFlow>>,
    succeeded: SucceededFlows,
    gone: GoneFlows,
    aggregate: FlowAggregate,
    /// When the running interval of `aggregate` ends.
    due: Option<Timestamp>,
    generation: u32,
    /// A dump runs; what it shows may be older or newer than the events that are still to be read.
    dumping: bool,
    /// The running dump may lack entries.
    interrupted: bool,
    /// When the last dump began.
    dumped: Timestamp,
    /// A dump was asked for.
    asked: bool,
    news: Vec<FlowNews>,
    ledger: ConntrackLedger,
    out: Vec<Record>,
}

impl ConntrackTracker {
    /// With an empty table.
    pub fn new(config: ConntrackConfig) -> Self {
        Self {
            aggregate: FlowAggregate::new((config.max_flows / 4).max(1024)),
            config,
            hasher: RandomState::default(),
            flows: HashTable::new(),
            succeeded: SucceededFlows::default(),
            gone: GoneFlows::default(),
            due: None,
            generation: 0,
            dumping: false,
            interrupted: false,
            dumped: Timestamp::default(),
            asked: false,
            news: Vec::new(),
            ledger: ConntrackLedger::default(),
            out: Vec::new(),
        }
    }

    /// The records made so far; the caller takes them out.
    pub fn records(&mut self) -> &mut Vec<Record> {
        &mut self.out
    }

    /// How far connections have come since; the caller takes them out.
    pub fn news(&mut self) -> &mut Vec<FlowNews> {
        &mut self.news
    }

    /// Somebody waits for what only a dump can show.
    pub fn ask_for_dump(&mut self) {
        self.asked = true;
    }

    /// Whether that was so since the last dump.
    pub fn is_asked_for_dump(&self) -> bool {
        self.asked
    }

    /// What was counted.
    pub fn ledger(&self) -> &ConntrackLedger {
        &self.ledger
    }

    /// For those who open the socket: openings, drops and overruns are theirs to count.
    pub fn ledger_mut(&mut self) -> &mut ConntrackLedger {
        &mut self.ledger
    }

    /// Takes other addresses for the pod's.
    pub fn set_own_ips(&mut self, own_ips: Vec<IpAddr>) {
        self.config.own_ips = own_ips;
    }

    /// Whether only a dump can show that some flows have ended.
    pub fn needs_dump(&self) -> bool {
        self.ledger.silent > 0 || self.ledger.missing > 0
    }

    /// Takes a datagram of events; `now` dates those that the kernel does not date.
    pub fn handle_events(&mut self, namespace: Option<i32>, datagram: &[u8], now: Timestamp) {
        let mut messages = NetlinkMessages::new(datagram);
        for message in &mut messages {
            self.ledger.events += 1;
            match read(&message) {
                Ok((kind, entry)) => self.handle(namespace, kind, &entry, now),
                Err(NoEvent::Foreign | NoEvent::Unreadable) => self.ledger.unreadable += 1,
            }
        }
        if !messages.rest.is_empty() {
            self.ledger.events += 1;
            self.ledger.unreadable += 1;
        }
    }

    /// A dump begins: what it does not show by its end is gone.
    pub fn begin_dump(&mut self, now: Timestamp) {
        (self.dumped, self.asked) = (now, false);
        self.generation = self.generation.wrapping_add(1);
        (self.dumping, self.interrupted) = (true, false);
        self.gone.begin_dump();
        self.ledger.dumps += 1;
    }

    /// Takes a datagram of the dump.
    pub fn handle_dump(&mut self, namespace: Option<i32>, datagram: &[u8]) -> DumpProgress {
        for message in NetlinkMessages::new(datagram) {
            self.interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            match (message.kind, message.error()) {
                (DONE, _) => return DumpProgress::Done,
                (_, Some(code)) if code != 0 => return DumpProgress::Failed(code),
                _ => {}
            }
            if let Ok((EventKind::Update | EventKind::New, entry)) = read(&message) {
                self.ledger.dump_entries += 1;
                self.handle_dumped(namespace, &entry);
            }
        }
        DumpProgress::Going
    }

    /// The dump is complete, and every event that came before its end has been handled.
    pub fn end_dump(&mut self, now: Timestamp) {
        self.dumping = false;
        if self.interrupted {
            // Entries may be missing from it that are still there.
            return;
        }
        let generation = self.generation;
        let (mut ended, mut missing) = (Vec::new(), 0);
        let lost = self.flows.extract_if(|flow| {
            let there = flow.generation == generation;
            let waited = flow.missing().is_some_and(|since| now.since(since) >= MISSING_FOR);
            let over = !there && (waited || flow.events == 0);
            flow.set_missing(if there || over { None } else { flow.missing().or(Some(now)) });
            missing += u64::from(flow.missing().is_some());
            over
        });
        ended.extend(lost);
        self.ledger.missing = missing;
        // The order of the table is chance.
        ended.sort_by_cached_key(|flow| {
            let key = flow.key();
            (flow.start(), key.id, key.tuple.source, key.tuple.destination)
        });
        for flow in ended {
            self.forget(&flow);
            self.gone.remember(stable_hash(&flow.key()), BY_DUMP);
            self.ledger.ended_by_dump += 1;
            self.tell_end(&flow, now);
            let (end, known_by) = ended_at(flow.closed(), now, EndKnownBy::Dump);
            self.give(&flow, ConntrackAction::End, end, Some((end, known_by)));
        }
    }

    /// Time has come so far: an interval may be over.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for old in self.succeeded.expire(now, MISSING_FOR) {
            self.end_without_message(&old);
        }
        let ConntrackEvents::Aggregate { interval } = self.config.events else { return };
        let due = *self.due.get_or_insert(now.plus(interval));
        // A clock that was set back must not hold records for ever.
        if now >= due || due.since(now) > interval {
            self.flush_aggregate();
            self.due = Some(now.plus(interval));
        }
    }

    /// The end: what waits goes out.
    pub fn finish(&mut self) {
        for old in self.succeeded.expire(Timestamp(i64::MAX), 0) {
            self.end_without_message(&old);
        }
        self.flush_aggregate();
    }

    fn flush_aggregate(&mut self) {
        let records = self.aggregate.flush();
        self.ledger.sums += records.len() as u64;
        self.out.extend(records.into_iter().map(Record::from));
    }

    fn handle(&mut self, namespace: Option<i32>, kind: EventKind, entry: &ConntrackEntry, now: Timestamp) {
        let key = key(namespace, entry);
        let at = entry.at.or(if kind == EventKind::Destroy { entry.stop } else { None }).unwrap_or(now);
        match kind {
            EventKind::New => self.handle_new(key, entry, at),
            EventKind::Update => self.handle_update(key, entry, at),
            EventKind::Destroy => self.handle_destroy(key, entry, at),
        }
    }

    fn handle_new(&mut self, key: LiveKey, entry: &ConntrackEntry, at: Timestamp) {
        self.ledger.begun += 1;
        self.gone.begin(stable_hash(&key));
        if let Some(flow) = self.take(&key).filter(|old| !self.is_ahead(old))
            && let Some(old) = self.succeeded.add(key, Predecessor { flow, until: at })
        {
            self.end_without_message(&old);
        }
        let mut flow = LiveFlow::new(key, entry, self.generation);
        flow.set_start(Some(entry.start.unwrap_or(at)));
        (flow.begun, flow.events) = (true, 1);
        self.tell(&flow, None, at);
        let kept = self.give(&flow, ConntrackAction::New, at, None);
        self.count(kept);
        self.enter(flow);
    }

    /// Its DESTROY never came: only that it is over is known.
    fn end_without_message(&mut self, old: &Predecessor) {
        let end = old.flow.closed().map(|closed| (closed, EndKnownBy::Closed));
        self.give(&old.flow, ConntrackAction::End, old.until, end);
    }

    /// While events wait in our buffer, a dump shows flows that begin in them.
    fn is_ahead(&self, known: &LiveFlow) -> bool {
        self.dumping && known.events == 0 && known.generation == self.generation
    }

    fn handle_update(&mut self, key: LiveKey, entry: &ConntrackEntry, at: Timestamp) {
        self.ledger.updates += 1;
        let (place, known) = match self.succeeded.take(&key, entry.at) {
            Some((place, old)) => (Some((place, old.until)), Some(old.flow)),
            None => (None, self.take(&key)),
        };
        let mut flow = known.unwrap_or_else(|| Box::new(LiveFlow::new(key, entry, self.generation)));
        let before = flow.progress();
        flow.absorb(entry);
        self.tell(&flow, Some(before), at);
        (flow.events, flow.generation, flow.updated) = (flow.events.saturating_add(1), self.generation, true);
        flow.set_missing(None);
        flow.close(entry.state, at);
        if self.config.events == ConntrackEvents::Folded {
            self.ledger.folded += 1;
        } else {
            let kept = self.give(&flow, ConntrackAction::Update, at, None);
            self.count(kept);
        }
        match place {
            Some((place, until)) => self.succeeded.put_back(key, place, Predecessor { flow, until }),
            None => self.enter_boxed(flow),
        }
    }

    fn handle_destroy(&mut self, key: LiveKey, entry: &ConntrackEntry, at: Timestamp) {
        self.ledger.ended += 1;
        let (hash, end) = (stable_hash(&key), end_hash(entry));
        let old = self.succeeded.take(&key, entry.stop.or(entry.at)).map(|(_, old)| old.flow);
        let known = old.or_else(|| self.take_ended(&key, entry));
        if known.is_none() && self.gone.is_repeated(hash, end) {
            self.ledger.repeated += 1;
            return;
        }
        self.gone.remember(hash, end);
        let mut flow = known.unwrap_or_else(|| Box::new(LiveFlow::new(key, entry, self.generation)));
        flow.absorb(entry);
        flow.events = flow.events.saturating_add(1);
        self.tell_end(&flow, at);
        let (end, known_by) = ended_at(flow.closed(), entry.stop.unwrap_or(at), EndKnownBy::Destroy);
        let kept = self.give(&flow, ConntrackAction::End, at, Some((end, known_by)));
        self.count(kept);
    }

    /// The flow in the table that ends; none where the message is about an earlier one with the same key.
    fn take_ended(&mut self, key: &LiveKey, entry: &ConntrackEntry) -> Option<Box<LiveFlow>> {
        let flow = self.take(key)?;
        // A dump showed the next flow already, or its beginning was read already.
        let is_later = flow.events == 0 && differ(flow.start(), entry.start) || ended_before(entry, flow.start());
        if is_later {
            self.enter_boxed(flow);
            return None;
        }
        Some(flow)
    }

    /// What a dump shows: no event, and no record. It completes what is known, or makes a flow known that is silent.
    fn handle_dumped(&mut self, namespace: Option<i32>, entry: &ConntrackEntry) {
        let (key, generation) = (key(namespace, entry), self.generation);
        let hash = self.hasher.hash_one(key);
        let Some(flow) = self.flows.find_mut(hash, |flow| flow.key() == key) else {
            // The dump may have been written before the end that was read already.
            if !self.gone.ended_since_dump(stable_hash(&key)) {
                let mut flow = LiveFlow::new(key, entry, generation);
                flow.set_start(entry.start);
                self.enter(flow);
            }
            return;
        };
        self.ledger.missing = self.ledger.missing.saturating_sub(u64::from(flow.missing().is_some()));
        flow.generation = generation;
        flow.set_missing(None);
        // Else it shows the flow before this one, or the next.
        if !differ(flow.start(), entry.start) {
            flow.absorb(entry);
            if self.config.news {
                let progress = flow.progress().max(FlowProgress::Unanswered);
                self.news.push(flow.news(progress, false, self.dumped));
            }
        }
    }

    /// News of a flow that has come further than before.
    fn tell(&mut self, flow: &LiveFlow, before: Option<FlowProgress>, at: Timestamp) {
        let progress = flow.progress();
        if self.config.news && before.is_none_or(|before| progress > before) {
            self.news.push(flow.news(progress, false, at));
        }
    }

    fn tell_end(&mut self, flow: &LiveFlow, at: Timestamp) {
        // What may have been an answer is none that is known, and its absence is not known either.
        if self.config.news && flow.may_be_answered() == (flow.progress() > FlowProgress::Begun) {
            self.news.push(flow.news(flow.progress(), true, at));
        }
    }

    /// One event's place in the ledger.
    fn count(&mut self, kept: bool) {
        match (kept, self.config.events) {
            (false, _) => self.ledger.left_out += 1,
            (true, ConntrackEvents::Aggregate { .. }) => self.ledger.folded += 1,
            (true, ConntrackEvents::All | ConntrackEvents::Folded) => self.ledger.recorded += 1,
        }
    }

    /// Makes a record, unless the filter leaves it out.
    fn give(
        &mut self,
        flow: &LiveFlow,
        action: ConntrackAction,
        at: Timestamp,
        end: Option<(Timestamp, EndKnownBy)>,
    ) -> bool {
        let record = flow.record(action, at, end, &self.config);
        if !self.config.filter.keeps_conntrack(&record) {
            return false;
        }
        if matches!(self.config.events, ConntrackEvents::Aggregate { .. }) {
            if self.aggregate.is_full() {
                self.flush_aggregate();
            }
            self.aggregate.add(record);
        } else {
            self.out.push(Record::from(record));
        }
        true
    }

    fn take(&mut self, key: &LiveKey) -> Option<Box<LiveFlow>> {
        let hash = self.hasher.hash_one(key);
        let (flow, _) = self.flows.find_entry(hash, |flow| flow.key() == *key).ok()?.remove();
        self.forget(&flow);
        Some(flow)
    }

    /// A flow has left the table.
    fn forget(&mut self, flow: &LiveFlow) {
        self.ledger.flows = self.flows.len() as u64;
        self.ledger.silent = self.ledger.silent.saturating_sub(u64::from(flow.events == 0));
        self.ledger.missing = self.ledger.missing.saturating_sub(u64::from(flow.missing().is_some()));
    }

    fn enter(&mut self, flow: LiveFlow) {
        self.enter_boxed(Box::new(flow));
    }

    fn enter_boxed(&mut self, flow: Box<LiveFlow>) {
        if self.flows.len() >= self.config.max_flows {
            self.ledger.untracked += 1;
            return;
        }
        self.ledger.silent += u64::from(flow.events == 0);
        let hash = self.hasher.hash_one(flow.key());
        let hasher = &self.hasher;
        self.flows.insert_unique(hash, flow, |flow| hasher.hash_one(flow.key()));
        self.ledger.flows = self.flows.len() as u64;
    }
}

/// The end of a connection is its close, however long the kernel kept the entry.
fn ended_at(closed: Option<Timestamp>, gone: Timestamp, by: EndKnownBy) -> (Timestamp, EndKnownBy) {
    closed.map_or((gone, by), |closed| (closed, EndKnownBy::Closed))
}

/// Two times that are both known.
fn differ(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Whether an entry was removed before this flow began; a clock that was set back between its own times says nothing.
fn ended_before(entry: &ConntrackEntry, start: Option<Timestamp>) -> bool {
    let span = entry.start.zip(entry.stop).filter(|(start, stop)| start <= stop);
    span.zip(start).is_some_and(|((_, stop), start)| stop < start)
}

fn key(namespace: Option<i32>, entry: &ConntrackEntry) -> LiveKey {
    LiveKey { namespace, id: entry.id.unwrap_or(0), zone: entry.zone.unwrap_or(0), tuple: entry.original }
}

/// The same in every run: what is repeated must be known by it.
fn stable_hash(key: &LiveKey) -> u64 {
    FixedState::default().hash_one(key)
}

fn end_hash(entry: &ConntrackEntry) -> u64 {
    let counters = entry.counters.map(|both| both.map(|one| (one.packets, one.bytes)));
    if (entry.start, entry.stop, counters) == (None, None, None) {
        return BARE;
    }
    FixedState::default().hash_one((entry.start, entry.stop, counters)).max(BARE + 1)
}
