//! All connections: finds the one a segment belongs to, makes room, and ends them by time.
//!
//! Does not look into a segment beyond what opens a connection: `connection` does.

use std::sync::Arc;

use super::connection::{ConnectionPhase, HandshakeAttempt, SegmentVerdict, TcpConnection, wire_len};
use super::index::SlotIndex;
use super::outlet::{HeldStreams, TableShared};
use super::recent::RecentBytes;
use super::slots::ConnectionSlots;
use super::{Analyzer, CloseReason, TcpLimits};
use crate::flow::{ConnKey, Direction, HashedKey, KeyHasher, Keyed, Timestamp};
use crate::ledger::{Discard, StreamLedger};
use crate::packet::Segment;
use crate::pool::{LimitPool, PoolShare};

/// How long a connection that is over is remembered, so that retransmissions and last ACKs open none. Counted from its end
/// and not prolonged by what comes; TIME-WAIT (RFC 9293 §3.6.1) would be minutes, which no sidecar's port pairs need.
const LINGER: u64 = 10_000_000_000;

/// The connections of one capture.
///
/// At every moment, also between two calls of an analyzer, the ledger's equation holds for what it was given.
pub struct ConnectionTable<A: Analyzer> {
    index: SlotIndex,
    slots: ConnectionSlots<A>,
    shared: TableShared,
    /// Of the connections that all tables may know.
    known: PoolShare,
    /// Of the bytes that all tables may hold.
    held: PoolShare,
}

impl<A: Analyzer> ConnectionTable<A> {
    /// An empty table.
    pub fn new(limits: TcpLimits) -> Self {
        let (connections, held) = (LimitPool::new(limits.connections.max(1)), LimitPool::new(limits.held_total));
        Self::sharing(limits, &connections, &held)
    }

    /// An empty table that shares its limits on connections and on held bytes with others.
    pub fn sharing(limits: TcpLimits, connections: &Arc<LimitPool>, held: &Arc<LimitPool>) -> Self {
        let (ledger, holds, recent) = (StreamLedger::default(), HeldStreams::default(), RecentBytes::new());
        let shared = TableShared { limits, ledger, holds, recent };
        let (known, held) = (PoolShare::new(connections), PoolShare::new(held));
        Self { index: SlotIndex::default(), slots: ConnectionSlots::default(), shared, known, held }
    }

    /// The same where segments come with their keys, which this hasher made.
    #[must_use]
    pub fn hashing_with(self, hasher: KeyHasher) -> Self {
        Self { index: SlotIndex::new(hasher), ..self }
    }

    /// Takes one segment, in order of capture.
    pub fn on_segment(&mut self, segment: &Segment<'_>, context: &mut A::Context) {
        self.on_keyed(&self.index.key_of(segment), segment, context);
    }

    /// Takes one segment with its key.
    pub fn on_keyed(&mut self, keyed: &Keyed, segment: &Segment<'_>, context: &mut A::Context) {
        self.shared.ledger.payload += segment.payload.len() as u64;
        let (from, key) = (keyed.from, keyed.key.key());
        let known = self.find(&keyed.key, from, segment).and_then(|index| self.still_there(index, from, segment));
        let index = match known {
            Some(index) => index,
            None if opens(segment) => self.begin(*key, from, segment, None, context),
            None => return self.shared.discard(Discard::NotData, segment.payload.len()),
        };
        let index = self.apart(index, key, from, segment, context);
        self.pass_to(index, from, segment, context);
        self.relieve(segment.at, context);
    }

    /// Time passed: gives up holes that waited long enough, forgets idle connections, and passes the time to every analyzer.
    pub fn on_timeout(&mut self, now: Timestamp, context: &mut A::Context) {
        for index in 0..self.slots.bound() {
            let Some(connection) = self.slots.get(index) else { continue };
            if connection.phase == ConnectionPhase::Closed {
                if now.since(connection.last_seen) >= LINGER {
                    self.forget(index);
                }
            } else if let Some(from) = connection.reset_by(now) {
                self.end(index, now, CloseReason::Reset(from), context);
            } else if now.since(connection.last_seen) >= idle_limit(connection, &self.shared.limits) {
                self.end(index, now, CloseReason::Idle, context);
                self.forget(index);
            } else {
                connection.settle(now, false, index, &mut self.shared, context);
                if let SegmentVerdict::Close(reason) = connection.verdict() {
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
    pub(super) fn shared(&self) -> &TableShared {
        &self.shared
    }

    /// Entries of the index.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> usize {
        self.index.entries()
    }

    /// Streams that keep anything next to their numbers.
    #[cfg(test)]
    pub(super) fn disordered(&mut self) -> usize {
        let slots = &mut self.slots;
        let disordered = |c: &mut TcpConnection<A>| c.streams.iter().filter(|s| !s.is_orderly()).count();
        (0..slots.bound()).filter_map(|index| slots.get(index).map(disordered)).sum()
    }

    /// What the table remembers, ended connections included.
    #[cfg(test)]
    pub(super) fn connections(&mut self) -> Vec<super::ConnSummary> {
        let slots = &mut self.slots;
        (0..slots.bound()).filter_map(|index| slots.get(index).map(|c| c.conn.clone())).collect()
    }

    #[inline]
    fn find(&mut self, key: &HashedKey, from: Direction, segment: &Segment<'_>) -> Option<u32> {
        match self.index.find(key, &self.slots) {
            None => self.find_elsewhere(key, from, segment),
            known => known,
        }
    }

    /// The connection that the segment belongs to, though it was seen in another scope until now.
    fn find_elsewhere(&mut self, key: &HashedKey, from: Direction, segment: &Segment<'_>) -> Option<u32> {
        let index = self.index.in_another_scope(key.key(), &self.slots)?;
        let takes = self.slots.get(index)?.takes_scope(from, segment, &self.shared.recent);
        takes.then(|| {
            self.index.insert_alias(key.key(), index, &self.slots);
            index
        })
    }

    /// The index, or that of a connection for the segment's scope alone, where the segment shows that it is another one.
    #[inline]
    fn apart(
        &mut self,
        index: u32,
        key: &ConnKey,
        from: Direction,
        segment: &Segment<'_>,
        context: &mut A::Context,
    ) -> u32 {
        let Some(connection) = self.slots.get(index).filter(|c| c.aliases().is_some()) else { return index };
        if connection.is_contradicted(from, segment, &self.shared.recent) {
            return self.part(index, *key, segment, context);
        }
        connection.note_scope(from, segment);
        index
    }

    fn part(&mut self, index: u32, key: ConnKey, segment: &Segment<'_>, context: &mut A::Context) -> u32 {
        let Some(twin) = self.slots.get(index) else { return index };
        let whole = twin.release_scope(key.scope);
        if twin.conn.key != key {
            self.index.remove_alias(&key, index);
        } else if let Some(scope) = twin.promote_scope() {
            self.index.remove_key(&key, index);
            self.index.remove_alias(&key.within(scope), index);
            self.index.insert_key(&key.within(scope), index, &self.slots);
        } else {
            return index;
        }
        let mut connection = TcpConnection::new(key, segment);
        if let Some(twin) = self.slots.get(index).filter(|_| whole) {
            connection.begin_as(twin);
        }
        self.admit(key, connection, segment.at, context)
    }

    /// The index, unless that connection is over and the segment is none of its stragglers.
    fn still_there(&mut self, index: u32, from: Direction, segment: &Segment<'_>) -> Option<u32> {
        let connection = self.slots.get(index)?;
        if connection.phase != ConnectionPhase::Closed {
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
        if connection.phase == ConnectionPhase::Closed {
            if !segment.flags.rst() && connection.has_passed(from, segment) {
                self.shared.ledger.duplicate += segment.payload.len() as u64;
                return;
            }
            let why = if segment.flags.rst() { Discard::NotData } else { Discard::Closed };
            return self.shared.discard(why, segment.payload.len());
        }
        match connection.on_segment(from, segment, index, &mut self.shared, context) {
            SegmentVerdict::Keep => {
                connection.last_seen = segment.at;
                self.slots.touch(index);
            }
            SegmentVerdict::Ignore | SegmentVerdict::Refuse => {}
            SegmentVerdict::Close(reason) => self.end(index, segment.at, reason, context),
            SegmentVerdict::Replace => self.replace(index, from, segment, context),
        }
    }

    /// The segment belongs to another connection with the same endpoints.
    fn replace(&mut self, index: u32, from: Direction, segment: &Segment<'_>, context: &mut A::Context) {
        let Some(connection) = self.slots.get(index) else { return };
        let key = connection.conn.key.within(segment.scope);
        let attempt = connection.take_attempt().filter(|a| a.is_met_by(from, segment));
        self.end(index, segment.at, CloseReason::Reused, context);
        self.forget(index);
        if attempt.is_none() && !opens(segment) {
            return self.shared.discard(Discard::NotData, segment.payload.len());
        }
        let index = self.begin(key, from, segment, attempt.as_ref(), context);
        // A new connection replaces nothing: this goes no deeper.
        self.pass_to(index, from, segment, context);
    }

    fn begin(
        &mut self,
        key: ConnKey,
        from: Direction,
        segment: &Segment<'_>,
        attempt: Option<&HandshakeAttempt>,
        context: &mut A::Context,
    ) -> u32 {
        let elsewhere = self.index.in_another_scope(&key, &self.slots).and_then(|index| self.slots.get(index));
        let repeated = elsewhere.is_some_and(|other| other.has_number_of(from, segment));
        self.shared.ledger.connections_repeated += u64::from(repeated);
        let mut connection = TcpConnection::new(key, segment);
        if let Some(attempt) = attempt {
            connection.adopt(attempt);
        }
        self.admit(key, connection, segment.at, context)
    }

    /// Room for a new connection, and its place there.
    fn admit(&mut self, key: ConnKey, connection: TcpConnection<A>, at: Timestamp, context: &mut A::Context) -> u32 {
        self.make_room(1, at, context);
        let index = self.slots.insert(connection);
        self.index.insert(&key, index, &self.slots);
        self.known.set(self.index.len());
        self.shared.ledger.connections += 1;
        self.shared.ledger.connections_open += 1;
        index
    }

    /// Forgets connections until this many more may come.
    #[inline]
    fn make_room(&mut self, more: usize, at: Timestamp, context: &mut A::Context) {
        while self.known.exceeds(more)
            && let Some(victim) = self.slots.victim(self.known.limit())
        {
            self.evict(victim, at, context);
        }
    }

    fn evict(&mut self, index: u32, at: Timestamp, context: &mut A::Context) {
        if self.slots.get(index).is_some_and(|c| c.phase != ConnectionPhase::Closed) {
            self.shared.ledger.connections_evicted += 1;
        }
        self.end(index, at, CloseReason::Evicted, context);
        self.forget(index);
    }

    /// Closes a connection that is not closed yet; it stays to catch stragglers.
    fn end(&mut self, index: u32, at: Timestamp, reason: CloseReason, context: &mut A::Context) {
        let Some(connection) = self.slots.get(index) else { return };
        if connection.phase != ConnectionPhase::Closed {
            connection.close(at, reason, index, &mut self.shared, context);
            self.shared.ledger.connections_open -= 1;
            self.slots.touch(index);
        }
    }

    fn forget(&mut self, index: u32) {
        if let Some(connection) = self.slots.remove(index) {
            let aliases = connection.aliases().into_iter().flat_map(|aliases| aliases.scopes());
            self.index.remove(&connection.conn.key, aliases, index);
            self.known.set(self.index.len());
        }
    }

    /// Gives way where all tables together know or hold too much: the oldest holds let go.
    #[inline]
    fn relieve(&mut self, now: Timestamp, context: &mut A::Context) {
        self.make_room(0, now, context);
        // Nearly always: nothing is held, and nothing was.
        if self.shared.holds.is_empty() && self.held.is_empty() {
            return;
        }
        self.let_go(now, context);
    }

    fn let_go(&mut self, now: Timestamp, context: &mut A::Context) {
        self.held.set(self.shared.holds.cost);
        while self.held.exceeds(0)
            && let Some(holder) = self.shared.holds.queue.pop_front()
        {
            let Some(connection) = self.slots.get(holder.index) else { continue };
            if connection.holds_as(holder)
                && let SegmentVerdict::Close(reason) =
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

fn idle_limit<A: Analyzer>(connection: &TcpConnection<A>, limits: &TcpLimits) -> u64 {
    let soon = connection.phase == ConnectionPhase::Opening || connection.is_half_closed() || connection.is_in_doubt();
    if soon { limits.idle_opening } else { limits.idle }
}
