//! How the client of one connection asks, as far as was seen.
//!
//! After a loss this is what says how far the client had come when it asked again. Knows counts only.

/// A client's habit. A *group* is the requests that acknowledge the same byte: asked without anything received between.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Groups that began when nothing was outstanding.
    waited: u32,
    /// A group began while something was.
    ahead: bool,
    /// Requests in the group under way.
    size: u32,
    /// Most requests in one group.
    largest: u32,
}

/// What a client does, when that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Nothing was seen of it.
    Unknown,
    /// It asks again when all is answered: one thing at a time, or several.
    Waits,
    /// It asks before it has its answers.
    Ahead,
}

impl Client {
    /// The first requests of all: nothing is outstanding, and nothing is proven by that.
    pub(super) fn begins_first_group(&mut self) {
        self.size = 0;
    }

    /// A new group begins while something is `outstanding`, or nothing is.
    pub(super) fn begins_group(&mut self, outstanding: bool) {
        self.size = 0;
        self.ahead |= outstanding;
        self.waited += u32::from(!outstanding);
    }

    /// A request of the group under way.
    pub(super) fn asks(&mut self) {
        self.size += 1;
        self.largest = self.largest.max(self.size);
    }

    /// It was found to ask several things at once.
    pub(super) fn asks_several(&mut self) {
        self.largest = self.largest.max(2);
    }

    /// It was found to ask before it has its answers.
    pub(super) fn asked_ahead(&mut self) {
        self.ahead = true;
    }

    /// Whether it asks several things at once.
    pub(super) fn is_several(&self) -> bool {
        self.largest > 1
    }

    /// Groups that began when nothing was outstanding.
    pub(super) fn waited(&self) -> u32 {
        self.waited
    }

    /// Its habit, as far as it was seen.
    pub(super) fn habit(&self) -> Habit {
        match (self.ahead, self.waited) {
            (true, _) => Habit::Ahead,
            (false, 0) => Habit::Unknown,
            (false, _) => Habit::Waits,
        }
    }
}
