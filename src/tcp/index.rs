//! Which connection a segment belongs to: the index of the slots by key, and by the other scopes that a connection is seen
//! in.
//!
//! Owns no connection, and judges no segment: what is one connection says `scopes`.

use hashbrown::HashTable;

use super::slots::ConnectionSlots;
use crate::flow::{ConnKey, HashedKey, KeyHasher, Keyed, Scope};
use crate::packet::Segment;

/// Indices of slots. The keys are only there: where most packets look, four bytes a connection stay in the cache,
/// forty-eight do not.
#[derive(Default)]
pub(super) struct SlotIndex {
    by_key: HashTable<u32>,
    by_alias: HashTable<(Scope, u32)>,
    /// The newest connection of a five-tuple, in whatever scope. Kept from the first scope on that is not the plain one.
    newest: HashTable<u32>,
    scoped: bool,
    hasher: KeyHasher,
}

impl SlotIndex {
    /// An empty one.
    pub(super) fn new(hasher: KeyHasher) -> Self {
        Self { hasher, ..Self::default() }
    }

    /// The connection of a segment.
    #[inline]
    pub(super) fn key_of(&self, segment: &Segment<'_>) -> Keyed {
        self.hasher.of(segment.tuple, segment.scope)
    }

    /// The connection of that key.
    #[inline]
    pub(super) fn find<A>(&self, key: &HashedKey, slots: &ConnectionSlots<A>) -> Option<u32> {
        let found = self.by_key.find(key.hash(), |index| slots.key(*index) == Some(key.key()));
        if found.is_none() && self.scoped {
            let is_it = |entry: &(Scope, u32)| alias_of(entry, slots) == Some(*key.key());
            return self.by_alias.find(key.hash(), is_it).map(|(_, index)| *index);
        }
        found.copied()
    }

    /// The newest connection of that five-tuple in another scope.
    pub(super) fn in_another_scope<A>(&mut self, key: &ConnKey, slots: &ConnectionSlots<A>) -> Option<u32> {
        self.scoped |= key.scope != Scope::default();
        if !self.scoped {
            return None;
        }
        let hashed = self.hasher.hashed(key.within(Scope::default()));
        let plain = *hashed.key();
        let newest = self.newest.find(hashed.hash(), |index| slots.plain(*index) == Some(plain));
        // One from before there were scopes is in no other table.
        let index = newest.copied().or_else(|| self.find(&hashed, slots))?;
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
            let hash = hasher.hashed(plain).hash();
            if let Ok(place) = self.newest.find_entry(hash, |index| slots.plain(*index) == Some(plain)) {
                place.remove();
            }
            let hash_of = |index: &u32| slots.plain(*index).map_or(0, |key| hasher.hashed(key).hash());
            self.newest.insert_unique(hash, index, hash_of);
        }
    }

    /// The connection at `index` has this key.
    pub(super) fn insert_key<A>(&mut self, key: &ConnKey, index: u32, slots: &ConnectionSlots<A>) {
        let hasher = &self.hasher;
        let hash_of = |index: &u32| slots.key(*index).map_or(0, |key| hasher.hashed(*key).hash());
        self.by_key.insert_unique(hasher.hashed(*key).hash(), index, hash_of);
    }

    /// The connection at `index` is seen under this key too.
    pub(super) fn insert_alias<A>(&mut self, key: &ConnKey, index: u32, slots: &ConnectionSlots<A>) {
        let hasher = &self.hasher;
        let hash_of = |entry: &(Scope, u32)| alias_of(entry, slots).map_or(0, |key| hasher.hashed(key).hash());
        self.by_alias.insert_unique(hasher.hashed(*key).hash(), (key.scope, index), hash_of);
    }

    /// Forgets that the connection at `index` has this key.
    pub(super) fn remove_key(&mut self, key: &ConnKey, index: u32) {
        take(&mut self.by_key, self.hasher.hashed(*key).hash(), index);
    }

    /// Forgets that the connection at `index` is seen under this key too.
    pub(super) fn remove_alias(&mut self, key: &ConnKey, index: u32) {
        if let Ok(place) =
            self.by_alias.find_entry(self.hasher.hashed(*key).hash(), |entry| *entry == (key.scope, index))
        {
            place.remove();
        }
    }

    /// Forgets the connection that was at `index`, with its key and its aliases.
    pub(super) fn remove(&mut self, key: &ConnKey, aliases: impl Iterator<Item = Scope>, index: u32) {
        self.remove_key(key, index);
        aliases.for_each(|scope| self.remove_alias(&key.within(scope), index));
        if self.scoped {
            take(&mut self.newest, self.hasher.hashed(*key).hash_of_ends(), index);
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
