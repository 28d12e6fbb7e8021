//! Which connection a segment belongs to: the index of the slots by key, and by the other scopes that a connection is seen
//! in.
//!
//! Owns no connection, and judges no segment: what is one connection says `scopes`.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::slots::ConnectionSlots;
use crate::flow::{ConnKey, Scope};

/// Indices of slots. The keys are only there: where most packets look, four bytes a connection stay in the cache,
/// forty-eight do not.
#[derive(Default)]
pub(super) struct SlotIndex {
    by_key: HashTable<u32>,
    by_alias: HashTable<(Scope, u32)>,
    /// The newest connection of a five-tuple, in whatever scope. Kept from the first scope on that is not the plain one.
    newest: HashTable<u32>,
    scoped: bool,
    hasher: RandomState,
}

impl SlotIndex {
    /// The connection of that key.
    #[inline]
    pub(super) fn find<A>(&self, key: &ConnKey, slots: &ConnectionSlots<A>) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let found = self.by_key.find(hash, |index| slots.key(*index) == Some(key));
        if found.is_none() && self.scoped {
            let is_it = |entry: &(Scope, u32)| alias_of(entry, slots) == Some(*key);
            return self.by_alias.find(hash, is_it).map(|(_, index)| *index);
        }
        found.copied()
    }

    /// The newest connection of that five-tuple in another scope.
    pub(super) fn in_another_scope<A>(&mut self, key: &ConnKey, slots: &ConnectionSlots<A>) -> Option<u32> {
        self.scoped |= key.scope != Scope::default();
        if !self.scoped {
            return None;
        }
        let plain = key.within(Scope::default());
        let newest = self.newest.find(self.hasher.hash_one(plain), |index| slots.plain(*index) == Some(plain));
        // One from before there were scopes is in no other table.
        let index = newest.copied().or_else(|| self.find(&plain, slots))?;
        (slots.key(index)?.scope != key.scope).then_some(index)
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Entries of all tables.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.by_key.len() + self.by_alias.len() + self.newest.len()
    }

    /// A new connection.
    pub(super) fn insert<A>(&mut self, key: &ConnKey, index: u32, slots: &ConnectionSlots<A>) {
        self.insert_key(key, index, slots);
        if self.scoped {
            let hasher = &self.hasher;
            let plain = key.within(Scope::default());
            let hash = hasher.hash_one(plain);
            if let Ok(place) = self.newest.find_entry(hash, |index| slots.plain(*index) == Some(plain)) {
                place.remove();
            }
            let hash_of = |index: &u32| slots.plain(*index).map_or(0, |key| hasher.hash_one(key));
            self.newest.insert_unique(hash, index, hash_of);
        }
    }

    /// The connection at `index` has this key.
    pub(super) fn insert_key<A>(&mut self, key: &ConnKey, index: u32, slots: &ConnectionSlots<A>) {
        let hasher = &self.hasher;
        let hash_of = |index: &u32| slots.key(*index).map_or(0, |key| hasher.hash_one(key));
        self.by_key.insert_unique(hasher.hash_one(key), index, hash_of);
    }

    /// The connection at `index` is seen under this key too.
    pub(super) fn insert_alias<A>(&mut self, key: &ConnKey, index: u32, slots: &ConnectionSlots<A>) {
        let hasher = &self.hasher;
        let hash_of = |entry: &(Scope, u32)| alias_of(entry, slots).map_or(0, |key| hasher.hash_one(key));
        self.by_alias.insert_unique(hasher.hash_one(key), (key.scope, index), hash_of);
    }

    /// Forgets that the connection at `index` has this key.
    pub(super) fn remove_key(&mut self, key: &ConnKey, index: u32) {
        take(&mut self.by_key, self.hasher.hash_one(key), index);
    }

    /// Forgets that the connection at `index` is seen under this key too.
    pub(super) fn remove_alias(&mut self, key: &ConnKey, index: u32) {
        if let Ok(place) = self.by_alias.find_entry(self.hasher.hash_one(key), |entry| *entry == (key.scope, index)) {
            place.remove();
        }
    }

    /// Forgets the connection that was at `index`, with its key and its aliases.
    pub(super) fn remove(&mut self, key: &ConnKey, aliases: impl Iterator<Item = Scope>, index: u32) {
        self.remove_key(key, index);
        aliases.for_each(|scope| self.remove_alias(&key.within(scope), index));
        if self.scoped {
            take(&mut self.newest, self.hasher.hash_one(key.within(Scope::default())), index);
        }
    }
}

fn alias_of<A>((scope, index): &(Scope, u32), slots: &ConnectionSlots<A>) -> Option<ConnKey> {
    Some(slots.key(*index)?.within(*scope))
}

fn take(table: &mut HashTable<u32>, hash: u64, index: u32) {
    if let Ok(place) = table.find_entry(hash, |at| *at == index) {
        place.remove();
    }
}
