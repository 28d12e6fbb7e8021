//! Keys that have no place in a bounded table, and how often they were seen. That finds those that are used more than one that has a
//! place. Owns the bound on what that costs; keeps no names, and decides nothing.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::flow::Timestamp;

/// Places that contenders with like hashes share: this many of them that are used alike are distinguished.
const WAYS: usize = 8;
/// Contenders at once are eight times as many. What is more of the traffic than one request in a thousand is found.
const SETS: usize = 128;

/// Places that may be taken over at once, as a restarted client or a new version of the application brings new routes.
const MOST_TURNS: u32 = 20;

/// Then there is another turn after each interval of this many nanoseconds: a scraper keeps every series it ever saw.
const TURN_EVERY: u64 = 10_000_000_000;

/// Places found by a hash that no one outside knows. One that comes while all of its set are taken wears the least of
/// them out. So ever new ones get none, while those that come again keep theirs (Misra and Gries' frequent items).
#[derive(Debug)]
pub(crate) struct Contenders {
    hasher: RandomState,
    sets: Box<[[Contender; WAYS]]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Contender {
    hash: u64,
    hits: u32,
}

impl Default for Contenders {
    fn default() -> Self {
        Self { hasher: RandomState::default(), sets: vec![Default::default(); SETS].into() }
    }
}

impl Contenders {
    /// One more request of `key`: how many there were, as far as they outweigh those that came between.
    pub(crate) fn hit(&mut self, key: &impl Hash) -> u32 {
        let hash = self.hasher.hash_one(key);
        let set = usize::try_from(hash % SETS as u64).ok().and_then(|index| self.sets.get_mut(index));
        let Some(set) = set else { return 0 };
        if let Some(known) = set.iter_mut().find(|contender| contender.hash == hash) {
            known.hits = known.hits.saturating_add(1);
            return known.hits;
        }
        match set.iter_mut().min_by_key(|contender| contender.hits) {
            Some(least) if least.hits > 0 => {
                least.hits -= 1;
                0
            }
            Some(free) => {
                *free = Contender { hash, hits: 1 };
                1
            }
            None => 0,
        }
    }

    /// What was seen counts half from now on.
    pub(crate) fn age(&mut self) {
        self.sets.iter_mut().flatten().for_each(|contender| contender.hits /= 2);
    }
}

/// How many places may be taken over now.
#[derive(Debug)]
pub(crate) struct Turns {
    left: u32,
    since: Timestamp,
}

impl Default for Turns {
    fn default() -> Self {
        Self { left: MOST_TURNS, since: Timestamp::default() }
    }
}

impl Turns {
    /// Whether there is one, by the capture's clock.
    pub(crate) fn is_there_one(&mut self, now: Timestamp) -> bool {
        let passed = now.since(self.since) / TURN_EVERY;
        if passed > 0 || now < self.since {
            self.left = MOST_TURNS.min(self.left.saturating_add(u32::try_from(passed).unwrap_or(MOST_TURNS)));
            self.since = now;
        }
        self.left > 0
    }

    /// Takes it.
    pub(crate) fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}
