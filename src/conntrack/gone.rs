//! Flows that have ended, for a while: the kernel repeats a DESTROY for every listener when one of them missed it.
//!
//! Keeps hashes only, and a bounded number of them.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::FixedState;

/// How many ends are remembered: as many as the kernel may repeat after a long stop of its slowest listener.
const REMEMBERED: usize = 65_536;

/// What ended, by the hash of its key.
#[derive(Debug, Default)]
pub(super) struct GoneFlows {
    /// The hash of the end itself: a later flow with the same key ends otherwise.
    ends: HashMap<u64, u64, FixedState>,
    order: VecDeque<u64>,
    /// Of them, those that ended since the last dump began.
    since_dump: HashSet<u64, FixedState>,
}

/// Of an end that only a dump showed: whatever DESTROY comes for it is the same end.
pub(super) const BY_DUMP: u64 = 0;
/// Of an end without times and counters: it looks like every other one.
pub(super) const BARE: u64 = 1;

impl GoneFlows {
    pub(super) fn remember(&mut self, key: u64, end: u64) {
        if self.ends.insert(key, end).is_none() {
            self.order.push_back(key);
        }
        self.since_dump.insert(key);
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.ends.remove(&oldest);
                self.since_dump.remove(&oldest);
            }
        }
    }

    /// Whether this end was there before.
    pub(super) fn is_repeated(&self, key: u64, end: u64) -> bool {
        self.ends.get(&key).is_some_and(|known| *known == end || *known == BY_DUMP)
    }

    /// A flow with this key begins: the end that it will have may look like one that is known only by times and counters.
    pub(super) fn begin(&mut self, key: u64) {
        if self.ends.get(&key).is_some_and(|end| [BY_DUMP, BARE].contains(end)) {
            self.ends.remove(&key);
        }
        self.since_dump.remove(&key);
    }

    /// A dump begins: what ended before cannot be in it.
    pub(super) fn begin_dump(&mut self) {
        self.since_dump.clear();
    }

    /// Whether this flow ended while the running dump was read, and nothing with this key began since.
    pub(super) fn ended_since_dump(&self, key: u64) -> bool {
        self.since_dump.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ends_are_forgotten_and_their_number_has_a_bound() {
        let mut gone = GoneFlows::default();
        (0..3 * REMEMBERED as u64).for_each(|n| {
            gone.remember(n, BARE);
            gone.begin(n / 2);
        });
        assert!(gone.order.len() <= REMEMBERED && gone.ends.len() <= REMEMBERED);
        assert!(gone.since_dump.len() <= REMEMBERED);
        let last = 3 * REMEMBERED as u64 - 1;
        assert!(gone.is_repeated(last, BARE) && !gone.is_repeated(last, 2) && !gone.is_repeated(0, BARE));
    }

    #[test]
    fn an_end_that_a_dump_showed_is_every_later_end_of_that_flow() {
        let mut gone = GoneFlows::default();
        gone.remember(7, BY_DUMP);
        assert!(gone.is_repeated(7, 99));
        gone.begin(7);
        assert!(!gone.is_repeated(7, 99));
        gone.remember(7, 99);
        gone.begin(7);
        assert!(gone.is_repeated(7, 99) && !gone.is_repeated(7, 98), "the end of the one before may be sent again");
    }
}
