//! All flows: finds the one that a packet belongs to, makes room, reports.
//!
//! Does not look into a packet beyond what names its flow: `entry` does.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;

use super::FlowConfig;
use super::entry::{FlowEntry, FlowKey, Last, SeenPacket};
use crate::flow::{ConnKey, FiveTuple, FlowIds, IpProtocol, KeyHasher, Keyed, Timestamp};
use crate::ledger::FlowLedger;
use crate::packet::{Datagram, Segment, UndeliveredPacket};
use crate::pool::{LimitPool, PoolShare};
use crate::record::{ExchangeConnection, FlowNews, Record};

/// Slots that a tick looks at itself, and each packet behind it until all were looked at: so no tick keeps the capture waiting.
const AT_A_TICK: u32 = 1024;
const WITH_A_PACKET: u32 = 16;

/// The flows of one capture thread.
#[derive(Debug)]
pub struct FlowTable {
    config: FlowConfig,
    /// Exchanges are recorded too, and counted.
    reads_http: bool,
    hasher: KeyHasher,
    index: HashTable<u32>,
    slots: Vec<FlowSlot>,
    /// The flow of the last packet.
    newest: u32,
    free: Vec<u32>,
    /// Flows that may be stray packets, in the order in which they came, with the generation of their slot.
    passing: VecDeque<(u32, u32)>,
    /// How many flows are such.
    unsettled: usize,
    /// Where the next settled flow to make room is looked for.
    hand: u32,
    /// The look at all flows that is under way.
    look: Option<Look>,
    known: PoolShare,
    ids: FlowIds,
    ledger: FlowLedger,
    news: Vec<FlowNews>,
}

#[derive(Debug, Default)]
struct FlowSlot {
    flow: Option<FlowEntry>,
    generation: u32,
}

/// What is over, silent for too long or due at that time, from this slot on.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Timestamp,
    next: u32,
}

impl FlowTable {
    /// None known; shares the limit with others.
    pub fn sharing(config: FlowConfig, reads_http: bool, most: &Arc<LimitPool>) -> Self {
        let ids = FlowIds::new(&config.observer_id);
        Self {
            config,
            reads_http,
            hasher: KeyHasher::default(),
            index: HashTable::new(),
            slots: Vec::new(),
            newest: 0,
            free: Vec::new(),
            passing: VecDeque::new(),
            unsettled: 0,
            hand: 0,
            look: None,
            known: PoolShare::new(most),
            ids,
            ledger: FlowLedger { enabled: true, ..FlowLedger::default() },
            news: Vec::new(),
        }
    }

    /// None known.
    pub fn new(config: FlowConfig) -> Self {
        let most = LimitPool::new(config.most.max(1));
        Self::sharing(config, false, &most)
    }

    /// The same where segments come with their keys, which this hasher made.
    #[must_use]
    pub fn hashing_with(self, hasher: KeyHasher) -> Self {
        Self { hasher, ..self }
    }

    /// Takes one segment, in order of capture.
    pub fn on_segment(&mut self, segment: &Segment<'_>, out: &mut Vec<Record>) {
        self.on_keyed(&self.hasher.of(segment.tuple, segment.scope), segment, out);
    }

    /// Takes one segment with its key.
    #[inline]
    pub fn on_keyed(&mut self, keyed: &Keyed, segment: &Segment<'_>, out: &mut Vec<Record>) {
        self.take(&SeenPacket::of_segment(keyed, segment), out);
    }

    /// Takes one datagram, in order of capture.
    pub fn on_datagram(&mut self, datagram: &Datagram<'_>, out: &mut Vec<Record>) {
        self.take(&SeenPacket::of_datagram(&self.hasher, datagram), out);
        if let Some(error) = UndeliveredPacket::of(datagram) {
            self.on_unreachable(&error, datagram.at);
        }
    }

    /// An exchange was recorded in this connection.
    pub fn on_exchange(&mut self, connection: &Arc<ExchangeConnection>) {
        let is_newest = flow_at(&self.slots, self.newest).is_some_and(|flow| flow.carries(connection));
        let index = if is_newest { Some(self.newest) } else { self.flow_of(connection) };
        if let Some(flow) = index.and_then(|index| self.flow(index)) {
            flow.on_exchange(connection);
        }
    }

    fn flow_of(&self, connection: &ExchangeConnection) -> Option<u32> {
        let tuple = FiveTuple { source: connection.client, destination: connection.server };
        let key = FlowKey::of_ports(&self.hasher, tuple, IpProtocol::TCP);
        let is_it = |index: &u32| flow_at(&self.slots, *index).is_some_and(|flow| flow.carries(connection));
        self.index.find(key.hash, is_it).copied()
    }

    /// Time passed: reports what is over, silent for too long, or due. Of many flows, packets that come and the next tick look
    /// at the rest.
    pub fn on_timeout(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        self.look_on(u32::MAX, out);
        self.look = Some(Look { at: now, next: 0 });
        self.look_on(AT_A_TICK, out);
        while self.known.exceeds(0) && self.evict(now, out) {}
    }

    fn look_on(&mut self, most: u32, out: &mut Vec<Record>) {
        let Some(Look { at, next }) = self.look else { return };
        let end = next.saturating_add(most).min(self.bound());
        for index in next..end {
            let Some(flow) = flow_at(&self.slots, index) else { continue };
            if let Some(last) = flow.last(at, &self.config) {
                self.end(index, last, at, out);
            } else if flow.is_due(at, &self.config) {
                self.report(index, None, at, out);
            }
        }
        self.look = (end < self.bound()).then_some(Look { at, next: end });
    }

    /// The end of everything: reports every flow.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        self.look = None;
        for index in 0..self.bound() {
            if let Some(flow) = flow_at(&self.slots, index) {
                let last = if flow.is_over() { Last::Over } else { Last::Capture };
                self.end(index, last, now, out);
            }
        }
    }

    /// How far connections have come since; the caller takes them out.
    pub fn news(&mut self) -> &mut Vec<FlowNews> {
        &mut self.news
    }

    /// Somebody waits for what no one has answered so far.
    pub fn look_for_unanswered(&mut self, now: Timestamp) {
        let flows = self.slots.iter().filter_map(|slot| slot.flow.as_ref());
        self.news.extend(flows.filter_map(|flow| flow.unanswered(now)));
    }

    /// Our own addresses changed.
    pub fn set_own_ips(&mut self, own_ips: Vec<IpAddr>) {
        self.config.own_ips = own_ips;
    }

    /// What was counted.
    pub fn ledger(&self) -> &FlowLedger {
        &self.ledger
    }

    /// Flows known now.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn bound(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    fn flow(&mut self, index: u32) -> Option<&mut FlowEntry> {
        self.slots.get_mut(index as usize)?.flow.as_mut()
    }

    #[inline]
    fn find(&self, seen: &SeenPacket<'_>) -> Option<u32> {
        let slots = &self.slots;
        let is_it =
            |index: &u32| flow_at(slots, *index).is_some_and(|flow| seen.has(&flow.key) && flow.is_met_by(seen));
        if is_it(&self.newest) {
            return Some(self.newest);
        }
        self.index.find(seen.hash, is_it).copied()
    }

    fn take(&mut self, seen: &SeenPacket<'_>, out: &mut Vec<Record>) {
        if self.look.is_some() {
            self.look_on(WITH_A_PACKET, out);
        }
        let index = match self.find(seen) {
            Some(index) if flow_at(&self.slots, index).is_some_and(|flow| flow.is_succeeded_by(seen)) => {
                self.end(index, Last::Over, seen.at, out);
                self.begin(seen, out)
            }
            Some(index) => index,
            None => self.begin(seen, out),
        };
        let (packets, bytes) = (u64::from(seen.carried.packets), u64::from(seen.carried.bytes));
        self.ledger.frames += u64::from(seen.carried.frames);
        self.ledger.packets += packets;
        self.ledger.bytes += bytes;
        self.ledger.open_packets += packets;
        self.ledger.open_bytes += bytes;
        let hears = self.config.news;
        self.newest = index;
        let Some(flow) = self.flow(index) else { return };
        let before = flow.settled;
        flow.take(seen);
        let settles = flow.settled != before;
        let news = if hears { flow.news(seen.at) } else { None };
        self.news.extend(news);
        if settles {
            self.unsettled -= 1;
        }
    }

    fn begin(&mut self, seen: &SeenPacket<'_>, out: &mut Vec<Record>) -> u32 {
        while self.known.exceeds(1) && self.evict(seen.at, out) {}
        let index = self.free.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                // A quarter more, not twice as much: most of the memory of a table lies here.
                self.slots.reserve_exact(64.max(self.slots.len() / 4));
            }
            self.slots.push(FlowSlot::default());
            self.bound() - 1
        });
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.flow = Some(FlowEntry::new(seen));
            self.passing.push_back((index, slot.generation));
        }
        self.unsettled += 1;
        self.forget_settled();
        let slots = &self.slots;
        self.index.insert_unique(seen.hash, index, |&index| flow_at(slots, index).map_or(0, |flow| flow.key.hash));
        self.ledger.flows += 1;
        self.note_len();
        index
    }

    fn note_len(&mut self) {
        self.known.set(self.index.len());
        self.ledger.open = self.index.len() as u64;
    }

    fn on_unreachable(&mut self, error: &UndeliveredPacket, at: Timestamp) {
        let key = FlowKey::of_ports(&self.hasher, error.tuple, error.protocol);
        let (_, from) = ConnKey::of(error.tuple);
        let slots = &self.slots;
        let found = self.index.find(key.hash, |&index| flow_at(slots, index).is_some_and(|flow| flow.key == key));
        let (found, hears) = (found.copied(), self.config.news);
        if let Some(flow) = found.and_then(|index| self.flow(index)) {
            flow.on_unreachable(from, error.port);
            let news = if hears { flow.news(at) } else { None };
            self.news.extend(news);
        }
    }

    /// The last report of a flow, which is then forgotten.
    fn end(&mut self, index: u32, last: Last, now: Timestamp, out: &mut Vec<Record>) {
        self.report(index, Some(last), now, out);
        if self.config.news && matches!(last, Last::Over | Last::Idle) {
            self.news.extend(flow_at(&self.slots, index).and_then(FlowEntry::last_news));
        }
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let Some(flow) = &slot.flow else { return };
        self.unsettled -= usize::from(!flow.settled);
        if let Ok(entry) = self.index.find_entry(flow.key.hash, |&known| known == index) {
            entry.remove();
        }
        slot.flow = None;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.note_len();
    }

    fn report(&mut self, index: u32, last: Option<Last>, now: Timestamp, out: &mut Vec<Record>) {
        let (config, reads_http) = ((&self.config, &self.ids), self.reads_http);
        let Some(flow) = self.slots.get_mut(index as usize).and_then(|slot| slot.flow.as_mut()) else { return };
        let open = flow.open();
        out.push(Record::Flow(Box::new(flow.report(now, last, reads_http, config))));
        self.ledger.open_packets -= open.packets;
        self.ledger.open_bytes -= open.bytes;
        self.ledger.reported_packets += open.packets;
        self.ledger.reported_bytes += open.bytes;
        self.ledger.records += 1;
    }

    /// Gives up one flow, so that a flood cannot push out the others. It is the oldest that may be stray while those
    /// take more than an eighth; else a settled one that was silent since the hand passed by. False when there is none.
    fn evict(&mut self, now: Timestamp, out: &mut Vec<Record>) -> bool {
        let strays_first = self.unsettled > self.known.limit() / 8 || self.unsettled == self.index.len();
        let victim = if strays_first { self.oldest_stray() } else { self.silent().or_else(|| self.oldest_stray()) };
        let Some(index) = victim else { return false };
        let over = flow_at(&self.slots, index).is_some_and(FlowEntry::is_over);
        self.ledger.evicted += u64::from(!over);
        self.end(index, if over { Last::Over } else { Last::Evicted }, now, out);
        true
    }

    fn oldest_stray(&mut self) -> Option<u32> {
        while let Some((index, generation)) = self.passing.pop_front() {
            if self.is_passing(index, generation) {
                return Some(index);
            }
        }
        None
    }

    fn is_passing(&self, index: u32, generation: u32) -> bool {
        let slot = self.slots.get(index as usize).filter(|slot| slot.generation == generation);
        slot.and_then(|slot| slot.flow.as_ref()).is_some_and(|flow| !flow.settled)
    }

    /// Each flow that something came for since the last round is passed by once.
    fn silent(&mut self) -> Option<u32> {
        for _ in 0..2 * u64::from(self.bound()) {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.bound().max(1);
            let Some(flow) = self.flow(index).filter(|flow| flow.settled) else { continue };
            if flow.is_over() || !std::mem::take(&mut flow.referenced) {
                return Some(index);
            }
        }
        None
    }

    /// What has settled or gone since it came waits no longer in the list of strays.
    fn forget_settled(&mut self) {
        if self.passing.len() > 2 * self.unsettled + 1024 {
            let mut passing = std::mem::take(&mut self.passing);
            passing.retain(|(index, generation)| self.is_passing(*index, *generation));
            self.passing = passing;
        }
    }
}

fn flow_at(slots: &[FlowSlot], index: u32) -> Option<&FlowEntry> {
    slots.get(index as usize)?.flow.as_ref()
}
