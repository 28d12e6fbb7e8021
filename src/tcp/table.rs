//! All connections: finds the one a segment belongs to, makes room, and ends them by time.
//!
//! Does not look into a segment beyond what opens a connection: `connection` does.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::connection::{Connection, Phase, Verdict, wire_len};
use super::handshake::Attempt;
use super::outlet::{Holds, Shared};
use super::slots::Slots;
use super::{Analyzer, CloseReason, Limits};
use crate::flow::{ConnKey, Direction, Timestamp};
use crate::ledger::{Discard, StreamLedger};
use crate::packet::Segment;
use crate::pool::{Pool, Share};

/// How long a connection that is over is remembered, so that retransmissions and last ACKs open none. Counted from its end
/// and not prolonged by what comes; TIME-WAIT (RFC 9293 §3.6.1) would be minutes, which no sidecar's port pairs need.
const LINGER: u64 = 10_000_000_000;

/// The connections of one capture.
///
/// At every moment, also between two calls of an analyzer, the ledger's equation holds for what it was told.
pub struct Table<A: Analyzer> {
    /// Indices of `slots` by key. The keys stand only there: where most packets look, four bytes a connection stay in
    /// the cache, forty-four do not.
    by_key: HashTable<u32>,
    hasher: RandomState,
    slots: Slots<A>,
    shared: Shared,
    /// Of the connections that all tables may know.
    known: Share,
    /// Of the bytes that all tables may hold.
    held: Share,
}

impl<A: Analyzer> Table<A> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        let (connections, held) = (Pool::new(limits.connections.max(1)), Pool::new(limits.held_total));
        Self::sharing(limits, &connections, &held)
    }

    /// An empty table that shares its limits on connections and on held bytes with others.
    pub fn sharing(limits: Limits, connections: &Arc<Pool>, held: &Arc<Pool>) -> Self {
        let shared = Shared { limits, ledger: StreamLedger::default(), holds: Holds::default() };
        let (known, held) = (Share::new(connections), Share::new(held));
        Self { by_key: HashTable::new(), hasher: RandomState::default(), slots: Slots::default(), shared, known, held }
    }

    /// Takes one segment, in order of capture.
    pub fn on_segment(&mut self, segment: &Segment<'_>, context: &mut A::Context) {
        self.shared.ledger.payload += segment.payload.len() as u64;
        let (key, from) = ConnKey::of(segment.tuple);
        let known = self.find(&key).and_then(|index| self.still_there(index, from, segment));
        let index = match known {
            Some(index) => index,
            None if opens(segment) => self.admit(key, segment, None, context),
            None => return self.shared.discard(Discard::NotData, segment.payload.len()),
        };
        self.pass_to(index, from, segment, context);
        self.relieve(segment.at, context);
    }

    /// Time passed: gives up holes that waited long enough, forgets idle connections, and tells every analyzer the time.
    pub fn on_timeout(&mut self, now: Timestamp, context: &mut A::Context) {
        for index in 0..self.slots.bound() {
            let Some(connection) = self.slots.get(index) else { continue };
            if connection.phase == Phase::Closed {
                if now.since(connection.last_seen) >= LINGER {
                    self.forget(index);
                }
            } else if now.since(connection.last_seen) >= idle_limit(connection, &self.shared.limits) {
                self.end(index, now, CloseReason::Idle, context);
                self.forget(index);
            } else {
                connection.settle(now, false, index, &mut self.shared, context);
                if let Verdict::Close(reason) = connection.verdict() {
                    self.end(index, now, reason, context);
                } else if let Some(analyzer) = &mut connection.analyzer {
                    analyzer.on_tick(&connection.conn, now, context);
                }
            }
        }
        self.relieve(now, context);
    }

    /// The end of everything: delivers what is held, with gaps, and closes every connection.
    pub fn finish(&mut self, at: Timestamp, reason: CloseReason, context: &mut A::Context) {
        for index in 0..self.slots.bound() {
            self.end(index, at, reason, context);
            self.forget(index);
        }
    }

    /// What came in and where it went.
    pub fn ledger(&self) -> &StreamLedger {
        &self.shared.ledger
    }

    /// Connections open now.
    pub fn len(&self) -> usize {
        usize::try_from(self.shared.ledger.connections_open).unwrap_or(usize::MAX)
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Streams that keep anything beside their numbers.
    #[cfg(test)]
    pub(super) fn disordered(&mut self) -> usize {
        let slots = &mut self.slots;
        let disordered = |c: &mut Connection<A>| c.streams.iter().filter(|s| !s.is_orderly()).count();
        (0..slots.bound()).filter_map(|index| slots.get(index).map(disordered)).sum()
    }

    /// What the table remembers, ended connections included.
    #[cfg(test)]
    pub(super) fn connections(&mut self) -> Vec<super::Conn> {
        let slots = &mut self.slots;
        (0..slots.bound()).filter_map(|index| slots.get(index).map(|c| c.conn.clone())).collect()
    }

    fn find(&self, key: &ConnKey) -> Option<u32> {
        let is_it = |index: &u32| self.slots.key(*index) == Some(key);
        self.by_key.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// The index, unless that connection is over and the segment is none of its stragglers.
    fn still_there(&mut self, index: u32, from: Direction, segment: &Segment<'_>) -> Option<u32> {
        let connection = self.slots.get(index)?;
        if connection.phase != Phase::Closed {
            return Some(index);
        }
        let expired = segment.at.since(connection.last_seen) >= LINGER;
        if expired || connection.is_succeeded_by(from, segment) {
            self.forget(index);
            return None;
        }
        Some(index)
    }

    fn pass_to(&mut self, index: u32, from: Direction, segment: &Segment<'_>, context: &mut A::Context) {
        let Some(connection) = self.slots.get(index) else { return };
        if connection.phase == Phase::Closed {
            let why = if segment.flags.rst() { Discard::NotData } else { Discard::Closed };
            return self.shared.discard(why, segment.payload.len());
        }
        match connection.on_segment(from, segment, index, &mut self.shared, context) {
            Verdict::Keep => {
                connection.last_seen = segment.at;
                self.slots.touch(index);
            }
            Verdict::Ignore => {}
            Verdict::Close(reason) => {
                self.end(index, segment.at, reason, context);
                if segment.flags.rst()
                    && let Some(connection) = self.slots.get(index)
                {
                    connection.note_reset(from, segment);
                }
            }
            Verdict::Replace => self.replace(index, from, segment, context),
        }
    }

    /// The segment belongs to another connection with the same endpoints.
    fn replace(&mut self, index: u32, from: Direction, segment: &Segment<'_>, context: &mut A::Context) {
        let Some(connection) = self.slots.get(index) else { return };
        let key = connection.conn.key;
        let attempt = connection.attempt.take().filter(|a| a.is_met_by(from, segment));
        self.end(index, segment.at, CloseReason::Reused, context);
        self.forget(index);
        if attempt.is_none() && !opens(segment) {
            return self.shared.discard(Discard::NotData, segment.payload.len());
        }
        let index = self.admit(key, segment, attempt.as_deref(), context);
        // A new connection replaces nothing: this goes no deeper.
        self.pass_to(index, from, segment, context);
    }

    /// Room for a new connection, and its place there.
    fn admit(
        &mut self,
        key: ConnKey,
        segment: &Segment<'_>,
        attempt: Option<&Attempt>,
        context: &mut A::Context,
    ) -> u32 {
        self.make_room(1, segment.at, context);
        let mut connection = Connection::new(key, segment);
        if let Some(attempt) = attempt {
            connection.adopt(attempt);
        }
        let index = self.slots.insert(connection);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash_of = |index: &u32| slots.key(*index).map_or(0, |key| hasher.hash_one(key));
        self.by_key.insert_unique(hasher.hash_one(key), index, hash_of);
        self.known.set(self.by_key.len());
        self.shared.ledger.connections += 1;
        self.shared.ledger.connections_open += 1;
        index
    }

    /// Forgets connections until so many more may come.
    fn make_room(&mut self, more: usize, at: Timestamp, context: &mut A::Context) {
        while self.known.exceeds(more)
            && let Some(victim) = self.slots.victim(self.known.limit())
        {
            self.evict(victim, at, context);
        }
    }

    fn evict(&mut self, index: u32, at: Timestamp, context: &mut A::Context) {
        if self.slots.get(index).is_some_and(|c| c.phase != Phase::Closed) {
            self.shared.ledger.connections_evicted += 1;
        }
        self.end(index, at, CloseReason::Evicted, context);
        self.forget(index);
    }

    /// Closes a connection that is not closed yet; it stays to catch stragglers.
    fn end(&mut self, index: u32, at: Timestamp, reason: CloseReason, context: &mut A::Context) {
        let Some(connection) = self.slots.get(index) else { return };
        if connection.phase != Phase::Closed {
            connection.close(at, reason, index, &mut self.shared, context);
            self.shared.ledger.connections_open -= 1;
            self.slots.touch(index);
        }
    }

    fn forget(&mut self, index: u32) {
        let Some(key) = self.slots.remove(index) else { return };
        if let Ok(place) = self.by_key.find_entry(self.hasher.hash_one(key), |at| *at == index) {
            place.remove();
            self.known.set(self.by_key.len());
        }
    }

    /// Gives way where all tables together know or hold too much: the oldest holds let go.
    fn relieve(&mut self, now: Timestamp, context: &mut A::Context) {
        self.make_room(0, now, context);
        self.held.set(self.shared.holds.cost);
        while self.held.exceeds(0)
            && let Some(holder) = self.shared.holds.queue.pop_front()
        {
            let Some(connection) = self.slots.get(holder.index) else { continue };
            if connection.holds_as(holder)
                && let Verdict::Close(reason) =
                    connection.release(holder.from, now, holder.index, &mut self.shared, context)
            {
                self.end(holder.index, now, reason, context);
            }
            self.held.set(self.shared.holds.cost);
        }
        if self.shared.holds.is_stale() {
            let slots = &mut self.slots;
            self.shared.holds.queue.retain(|h| slots.get(h.index).is_some_and(|c| c.holds_as(*h)));
        }
    }
}

/// Whether a segment of no known connection opens one: a SYN, or payload of one we joined late. What has neither (a last
/// ACK, a stray FIN, a scan) could only open a phantom.
fn opens(segment: &Segment<'_>) -> bool {
    let flags = segment.flags;
    if flags.rst() || (flags.syn() && flags.fin()) {
        return false;
    }
    flags.syn() || wire_len(segment) > 0
}

fn idle_limit<A: Analyzer>(connection: &Connection<A>, limits: &Limits) -> u64 {
    if connection.phase == Phase::Opening || connection.is_half_closed() { limits.idle_opening } else { limits.idle }
}
