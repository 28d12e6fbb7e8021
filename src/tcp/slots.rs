//! Where connections lie: a slab, with those that may be strays and those that are settled in two lists by age.
//!
//! Finds nothing by its key (that is `table`) and decides no end.

use super::connection::{ConnectionPhase, TcpConnection};
use crate::flow::{ConnKey, Scope};

const NONE: u32 = u32::MAX;

/// Memory of one connection, without its place in the index and without the analyzer.
#[cfg(test)]
pub(super) const SLOT_SIZE: usize = size_of::<Option<ConnectionSlot<()>>>();

struct ConnectionSlot<A> {
    connection: TcpConnection<A>,
    /// In the list of settled connections.
    settled: bool,
    older: u32,
    newer: u32,
}

#[derive(Clone, Copy)]
struct SlotList {
    oldest: u32,
    newest: u32,
    len: usize,
}

impl Default for SlotList {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE, len: 0 }
    }
}

/// Connections by index.
pub(super) struct ConnectionSlots<A> {
    slots: Vec<Option<ConnectionSlot<A>>>,
    free: Vec<u32>,
    /// Opening or closed.
    passing: SlotList,
    settled: SlotList,
}

impl<A> Default for ConnectionSlots<A> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), passing: SlotList::default(), settled: SlotList::default() }
    }
}

impl<A> ConnectionSlots<A> {
    /// One more than the greatest index.
    pub(super) fn bound(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(NONE)
    }

    /// The key of the connection at `index`.
    #[inline]
    pub(super) fn key(&self, index: u32) -> Option<&ConnKey> {
        self.slots.get(index as usize)?.as_ref().map(|slot| &slot.connection.conn.key)
    }

    /// The key of the connection at `index` without its scope.
    pub(super) fn plain(&self, index: u32) -> Option<ConnKey> {
        Some(self.key(index)?.within(Scope::default()))
    }

    #[inline]
    pub(super) fn get(&mut self, index: u32) -> Option<&mut TcpConnection<A>> {
        self.slot(index).map(|s| &mut s.connection)
    }

    /// Which is the first to make room. One that has not settled while those take more than an eighth of `limit`, so that
    /// a SYN flood cannot push out the others; else the settled one idle longest.
    pub(super) fn victim(&self, limit: usize) -> Option<u32> {
        let passing_first = self.passing.len > limit / 8 || self.settled.len == 0;
        let list = if passing_first { self.passing } else { self.settled };
        (list.oldest != NONE).then_some(list.oldest)
    }

    pub(super) fn insert(&mut self, connection: TcpConnection<A>) -> u32 {
        let slot = ConnectionSlot { connection, settled: false, older: NONE, newer: NONE };
        let index = if let Some(index) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(index as usize) {
                *place = Some(slot);
            }
            index
        } else {
            if self.slots.len() == self.slots.capacity() {
                // A quarter more, not twice as much: most of the memory of an idle table lies here.
                self.slots.reserve_exact(64.max(self.slots.len() / 4));
            }
            self.slots.push(Some(slot));
            self.bound() - 1
        };
        self.link(index);
        index
    }

    /// Takes the connection out.
    pub(super) fn remove(&mut self, index: u32) -> Option<TcpConnection<A>> {
        self.unlink(index);
        let slot = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(slot.connection)
    }

    /// Makes the connection the newest of its list, which may have changed.
    #[inline]
    pub(super) fn touch(&mut self, index: u32) {
        let newest = (self.settled.newest, self.passing.newest);
        let Some(slot) = self.slot(index) else { return };
        let settled = slot.connection.phase == ConnectionPhase::Settled;
        let newest = if slot.settled { newest.0 } else { newest.1 };
        if settled != slot.settled || newest != index {
            self.unlink(index);
            if let Some(slot) = self.slot(index) {
                slot.settled = settled;
            }
            self.link(index);
        }
    }

    #[inline]
    fn slot(&mut self, index: u32) -> Option<&mut ConnectionSlot<A>> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    fn list(&mut self, settled: bool) -> &mut SlotList {
        if settled { &mut self.settled } else { &mut self.passing }
    }

    /// Takes the slot out of the list it is in.
    fn unlink(&mut self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        let (settled, older, newer) = (slot.settled, slot.older, slot.newer);
        let list = self.list(settled);
        list.len -= 1;
        if list.oldest == index {
            list.oldest = newer;
        }
        if list.newest == index {
            list.newest = older;
        }
        if let Some(slot) = self.slot(older) {
            slot.newer = newer;
        }
        if let Some(slot) = self.slot(newer) {
            slot.older = older;
        }
    }

    /// Puts the slot, which is in no list, at its own newest end.
    fn link(&mut self, index: u32) {
        let Some(settled) = self.slot(index).map(|s| s.settled) else { return };
        let list = self.list(settled);
        let older = std::mem::replace(&mut list.newest, index);
        list.len += 1;
        if older == NONE {
            list.oldest = index;
        }
        if let Some(slot) = self.slot(older) {
            slot.newer = index;
        }
        if let Some(slot) = self.slot(index) {
            slot.older = older;
            slot.newer = NONE;
        }
    }
}
