//! Keys of connections with their hashes. Each packet's key is hashed once, for all tables of its capture thread.
//!
//! Keeps no table.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use foldhash::fast::RandomState;

use super::{ConnKey, Direction, FiveTuple, Scope, mix};

/// Hashes keys; tables that are given the same keys have clones of one.
#[derive(Clone, Debug, Default)]
pub struct KeyHasher(RandomState);

/// A connection's key and its hash.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey {
    key: ConnKey,
    of_ends: u64,
}

/// The connection that a packet belongs to, and which way the packet goes.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    /// The connection.
    pub key: HashedKey,
    /// Who sent it.
    pub from: Direction,
}

impl KeyHasher {
    /// The connection of a packet between these ends.
    #[inline]
    pub fn of(&self, tuple: FiveTuple, scope: Scope) -> Keyed {
        let (ends, from) = ConnKey::of(tuple);
        Keyed { key: HashedKey { key: ends.within(scope), of_ends: self.0.hash_one(ends) }, from }
    }

    /// A key with its hash.
    pub fn hashed(&self, key: ConnKey) -> HashedKey {
        HashedKey { key, of_ends: self.0.hash_one(key.within(Scope::default())) }
    }
}

impl HashedKey {
    /// The key.
    #[inline]
    pub fn key(&self) -> &ConnKey {
        &self.key
    }

    /// The key without its scope.
    #[inline]
    pub fn ends(&self) -> ConnKey {
        self.key.within(Scope::default())
    }

    /// Hash of the key.
    #[inline]
    pub fn hash(&self) -> u64 {
        // A scope is spread over its 32 bits already. An odd number spreads those over 64.
        self.of_ends ^ u64::from(self.key.scope.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Hash of the key without its scope.
    #[inline]
    pub fn hash_of_ends(&self) -> u64 {
        self.of_ends
    }
}

impl PartialEq for HashedKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for HashedKey {}

impl Hash for HashedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash());
    }
}

/// For maps by keys that have their hash.
pub type Ready = BuildHasherDefault<ReadyHash>;

/// Passes on a hash that was made before.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadyHash(u64);

impl Hasher for ReadyHash {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not used by `HashedKey`.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| mix(hash ^ u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Endpoint;

    #[test]
    fn both_directions_have_one_hash_and_each_scope_another() {
        let hasher = KeyHasher::default();
        let tuple =
            FiveTuple { source: Endpoint::new([10, 0, 0, 2], 80), destination: Endpoint::new([10, 0, 0, 1], 4242) };
        let (plain, vlan) = (Scope::default(), Scope::default().vlan(7));
        let (there, back) = (hasher.of(tuple, plain), hasher.of(tuple.reversed(), plain));
        assert_eq!((there.key, there.key.hash(), there.from), (back.key, back.key.hash(), back.from.flip()));
        assert_eq!(there.key.hash(), there.key.hash_of_ends());
        let tagged = hasher.of(tuple, vlan).key;
        assert_eq!((tagged.ends(), tagged.hash_of_ends()), (*there.key.key(), there.key.hash()));
        assert_ne!(tagged.hash(), there.key.hash());
        let again = hasher.clone().hashed(*tagged.key());
        assert_eq!((again, again.hash()), (tagged, tagged.hash()));
    }
}
