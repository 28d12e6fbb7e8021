//! Joins logged packets with what connection tracking saw of their connections afterwards.
//!
//! A record waits until that is known, or its time is over. *Nothing* is said on evidence only: the connection was seen
//! unanswered later, or no further packet was logged. Both tables have a limit: what does not fit goes out at once, without.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::flow::{Endpoint, IpProtocol, Timestamp};
use crate::record::{FlowNews, FlowProgress, FollowedBy, VerdictRecord};

/// Records that wait at the same time.
const MAX_WAITING: usize = 16_384;
/// Connections that are remembered, as each rule may see them; the oldest are forgotten first.
const MAX_KNOWN: usize = 32_768;
/// How late an entry may be read that has no time in it: it may seem to come after the end of its connection.
const READ_LATE: u64 = 1_000_000_000;
/// How long an answer may take before a connection counts as unanswered.
const ANSWER_TIME: u64 = 1_000_000_000;

/// What may follow is found by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum FollowKey {
    /// The connection of a packet that may pass.
    Flow(IpProtocol, Endpoint, Endpoint),
    /// Of packets that may not: who tries to reach what, from whichever port.
    Attempt(Option<IpProtocol>, IpAddr, Endpoint),
}

#[derive(Debug)]
struct WaitingVerdict {
    record: VerdictRecord,
    until: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct KnownFlow {
    progress: FlowProgress,
    ended: bool,
    at: Timestamp,
}

/// What waits, and what is known.
#[derive(Debug)]
pub(super) struct FlowFollow {
    patience: u64,
    waiting: HashMap<FollowKey, VecDeque<WaitingVerdict>, RandomState>,
    count: usize,
    /// By their time; those that went out earlier are passed over.
    order: VecDeque<(Timestamp, FollowKey)>,
    known: HashMap<FollowKey, KnownFlow, RandomState>,
    known_order: VecDeque<FollowKey>,
    /// News or entries were lost: until then nothing is known to be absent.
    blind_until: Timestamp,
    /// When the table of connections was asked for.
    asked: Timestamp,
}

impl FlowFollow {
    /// Each record waits this many nanoseconds.
    pub(super) fn new(patience: u64) -> Self {
        Self {
            patience,
            waiting: HashMap::default(),
            count: 0,
            order: VecDeque::new(),
            known: HashMap::default(),
            known_order: VecDeque::new(),
            blind_until: Timestamp(i64::MIN),
            asked: Timestamp(i64::MIN),
        }
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether another record has room.
    pub(super) fn has_room(&self) -> bool {
        self.count < MAX_WAITING
    }

    /// Another packet was logged: those before it that were held back were tried again.
    pub(super) fn tried_again(&mut self, record: &VerdictRecord) -> Vec<VerdictRecord> {
        match key(record) {
            Some(key @ FollowKey::Attempt(..)) => self.release(&key, |_| Some(FollowedBy::Retried)),
            Some(FollowKey::Flow(..)) | None => Vec::new(),
        }
    }

    /// Takes a record, or gives it back: with what is known already, or without where nothing can be known.
    pub(super) fn add(&mut self, mut record: VerdictRecord, now: Timestamp) -> Option<VerdictRecord> {
        let Some(key) = key(&record) else { return Some(record) };
        if let Some(followed) = self.known.get(&key).and_then(|known| known.for_good(&key, record.at)) {
            record.followed_by = Some(followed);
            return Some(record);
        }
        if !self.has_room() {
            return Some(record);
        }
        let until = now.plus(self.patience);
        self.waiting.entry(key).or_default().push_back(WaitingVerdict { record, until });
        self.count += 1;
        if self.order.len() > 2 * self.count + 1024 {
            let waiting = &self.waiting;
            self.order
                .retain(|(until, key)| waiting.get(key).is_some_and(|all| all.iter().any(|it| it.until == *until)));
        }
        self.order.push_back((until, key));
        None
    }

    /// Takes what connection tracking says; gives the records for which that is the last word.
    pub(super) fn hear(&mut self, news: &FlowNews) -> Vec<VerdictRecord> {
        let mut out = Vec::new();
        let known = KnownFlow { progress: news.progress, ended: news.ended, at: news.at };
        for key in news.seen_as().map(|(source, destination)| FollowKey::Flow(news.protocol, source, destination)) {
            if self.known.insert(key, known).is_none() {
                self.known_order.push_back(key);
            }
            out.extend(self.release(&key, |record| known.for_good(&key, record.at)));
        }
        while self.known_order.len() > MAX_KNOWN {
            let oldest = self.known_order.pop_front();
            oldest.and_then(|key| self.known.remove(&key));
        }
        out
    }

    /// Something was lost that might have been what followed.
    pub(super) fn lost(&mut self, now: Timestamp) {
        self.blind_until = now.plus(self.patience);
    }

    /// The records whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<VerdictRecord> {
        let mut out = Vec::new();
        while let Some((until, key)) = self.order.front().copied() {
            // A clock that was set back must not hold records for ever.
            if now < until && until.since(now) <= self.patience {
                break;
            }
            self.order.pop_front();
            let Some(all) = self.waiting.get_mut(&key) else { continue };
            let over = all.iter().take_while(|waiting| waiting.until <= until).count();
            out.extend(all.drain(..over).map(|waiting| (key, waiting.record)));
            self.count -= over;
            if all.is_empty() {
                self.waiting.remove(&key);
            }
        }
        out.into_iter().map(|(key, record)| self.at_last(record, &key, now)).collect()
    }

    /// All that waits, with what is known.
    pub(super) fn finish(&mut self) -> Vec<VerdictRecord> {
        let mut all: Vec<_> =
            self.waiting.drain().flat_map(|(key, all)| all.into_iter().map(move |it| (key, it.record))).collect();
        all.sort_by(|(_, a), (_, b)| (a.at, &a.id).cmp(&(b.at, &b.id)));
        self.order.clear();
        self.count = 0;
        let known = |(key, mut record): (FollowKey, VerdictRecord)| {
            record.followed_by = self.known.get(&key).and_then(|known| known.so_far(record.at));
            record
        };
        all.into_iter().map(known).collect()
    }

    /// Whether the table of connections should be looked at, since records wait that only it can complete. Says so once for
    /// each quarter of the time that records wait.
    pub(super) fn wants_table(&mut self, now: Timestamp) -> bool {
        let soon = now.plus(self.patience / 2);
        let waits = |(until, key): &(Timestamp, FollowKey)| *until <= soon && matches!(key, FollowKey::Flow(..));
        let asks = self.asked.plus(self.patience / 4) <= now && self.order.iter().take(1024).any(waits);
        if asks {
            self.asked = now;
        }
        asks
    }

    fn release(
        &mut self,
        key: &FollowKey,
        followed: impl Fn(&VerdictRecord) -> Option<FollowedBy>,
    ) -> Vec<VerdictRecord> {
        let Some(all) = self.waiting.get_mut(key) else { return Vec::new() };
        let (mut out, mut rest) = (Vec::new(), VecDeque::new());
        for mut waiting in all.drain(..) {
            match followed(&waiting.record) {
                Some(by) => {
                    waiting.record.followed_by = Some(by);
                    out.push(waiting.record);
                }
                None => rest.push_back(waiting),
            }
        }
        self.count -= out.len();
        if rest.is_empty() {
            self.waiting.remove(key);
        } else {
            *all = rest;
        }
        out
    }

    fn at_last(&self, mut record: VerdictRecord, key: &FollowKey, now: Timestamp) -> VerdictRecord {
        let sees = now >= self.blind_until;
        record.followed_by = match key {
            FollowKey::Attempt(..) => Some(FollowedBy::Nothing).filter(|_| sees),
            FollowKey::Flow(..) => self.known.get(key).and_then(|known| known.so_far(record.at)),
        };
        record.followed_by = record.followed_by.filter(|by| sees || *by != FollowedBy::Nothing);
        record
    }
}

impl KnownFlow {
    /// What followed a packet of then, where nothing can change it any more.
    fn for_good(self, key: &FollowKey, packet: Timestamp) -> Option<FollowedBy> {
        let FollowKey::Flow(protocol, ..) = key else { return None };
        let establishes = [IpProtocol::TCP, IpProtocol::SCTP].contains(protocol);
        let is_last = self.ended
            || match self.progress {
                FlowProgress::Begun | FlowProgress::Unanswered => false,
                FlowProgress::Answered => !establishes,
                FlowProgress::Established => true,
            };
        if is_last { self.so_far(packet) } else { None }
    }

    /// What followed it so far.
    fn so_far(self, packet: Timestamp) -> Option<FollowedBy> {
        // What ended before the packet was another connection with the same ends.
        if self.ended && self.at.plus(READ_LATE) < packet {
            return None;
        }
        match self.progress {
            FlowProgress::Established => Some(FollowedBy::Established),
            FlowProgress::Answered => Some(FollowedBy::Answered),
            FlowProgress::Begun | FlowProgress::Unanswered if self.ended => Some(FollowedBy::Nothing),
            FlowProgress::Unanswered => (self.at.since(packet) >= ANSWER_TIME).then_some(FollowedBy::Nothing),
            FlowProgress::Begun => None,
        }
    }
}

/// None where the entry does not say which connection it is of.
fn key(record: &VerdictRecord) -> Option<FollowKey> {
    let packet = &record.packet;
    if !record.meaning.allowed {
        return Some(FollowKey::Attempt(packet.protocol, packet.source.ip, packet.destination));
    }
    let protocol = packet.protocol?;
    if packet.fragment || protocol.has_ports() && packet.has_port != [true; 2] {
        return None;
    }
    let id = packet.icmp.and_then(|icmp| icmp.id);
    if protocol.is_icmp() && id.is_none() {
        return None;
    }
    let source = Endpoint { port: id.unwrap_or(packet.source.port), ..packet.source };
    Some(FollowKey::Flow(protocol, source, packet.destination))
}
