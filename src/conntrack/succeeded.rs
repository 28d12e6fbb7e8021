//! Flows whose tuple has begun again before their own end was read. Beginnings come by a socket of their own and are read
//! first; the kernel also sends an end again that found the buffer full.
//!
//! Holds a bounded number of them. What becomes of one is the tracker's business.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::live::{LiveFlow, LiveKey};
use crate::flow::Timestamp;

/// Flows that wait for their end at the same time.
const MOST: usize = 4096;

#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) flow: Box<LiveFlow>,
    /// When the next flow with its key began.
    pub(super) until: Timestamp,
}

/// Where one was among those with its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPlace(usize);

#[derive(Debug, Default)]
pub(super) struct SucceededFlows {
    /// Oldest first.
    flows: HashMap<LiveKey, VecDeque<Predecessor>, RandomState>,
    count: usize,
}

impl SucceededFlows {
    /// Takes a flow; gives it back where there is no room.
    pub(super) fn add(&mut self, key: LiveKey, flow: Predecessor) -> Option<Predecessor> {
        if self.count >= MOST {
            return Some(flow);
        }
        self.count += 1;
        self.flows.entry(key).or_default().push_back(flow);
        None
    }

    /// The flow that a message is about which happened then. Where the kernel gives no times, the order of messages says so:
    /// what is about the next flow comes behind the end of this one.
    pub(super) fn take(&mut self, key: &LiveKey, happened: Option<Timestamp>) -> Option<(KeyPlace, Predecessor)> {
        let waiting = self.flows.get_mut(key)?;
        let place = waiting.iter().position(|flow| happened.is_none_or(|at| at <= flow.until))?;
        let flow = waiting.remove(place)?;
        if waiting.is_empty() {
            self.flows.remove(key);
        }
        self.count -= 1;
        Some((KeyPlace(place), flow))
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&mut self, key: LiveKey, place: KeyPlace, flow: Predecessor) {
        let waiting = self.flows.entry(key).or_default();
        waiting.insert(place.0.min(waiting.len()), flow);
        self.count += 1;
    }

    /// Those that have waited this many nanoseconds, oldest first.
    pub(super) fn expire(&mut self, now: Timestamp, patience: u64) -> Vec<Predecessor> {
        let mut over = Vec::new();
        // A clock that was set back must not hold them for ever.
        let is_over = |at: Timestamp| now.since(at) >= patience || at.since(now) > patience;
        self.flows.retain(|_, waiting| {
            while waiting.front().is_some_and(|oldest| is_over(oldest.until)) {
                over.extend(waiting.pop_front());
            }
            !waiting.is_empty()
        });
        self.count -= over.len();
        over.sort_by_key(|flow| flow.until);
        over
    }
}
