//! How many messages are missing between those that were seen.
//!
//! Messages of a stream are numbered as they come. A loss begins a new *run*: before it an unknown number is missing, by
//! which all of its numbers are too small, its *shift*. What is known of the shifts are limits of their differences, and what
//! follows from these (matrices of difference bounds, closed under addition). One matrix is *certain*; the client's habit
//! adds to another, which may turn out to be wrong. Run 0 has the shift 0.
//!
//! Knows numbers only; which evidence gives which limit is in `evidence`.

use super::sizes::MissingBytes;

/// Most runs that are distinguished.
pub(super) const MAX_RUNS: usize = 8;
/// No limit.
const FAR: i64 = i64::MAX / 4;

/// What is known of the shifts.
#[derive(Debug)]
pub(super) struct Doubt {
    runs: Vec<u32>,
    certain: ShiftBounds,
    /// What is certain, and what the sizes of messages add.
    sized: ShiftBounds,
    /// And what the client's habit adds.
    likely: ShiftBounds,
    /// Holes before runs, whose length limits what is missing.
    pub(super) holes: Vec<RunHole>,
}

/// What a limit rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// The client's habit.
    Habit,
    /// The sizes of messages.
    Sized,
    /// TCP.
    Certain,
}

/// How many bytes of whole messages are missing between two runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunHole {
    pub before: u32,
    pub run: u32,
    pub missing: MissingBytes,
}

/// A limit that contradicts what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// What is certain.
    Certain,
    /// What is likely.
    Likely,
}

impl Doubt {
    /// Run 0 alone.
    pub(super) fn new() -> Self {
        Self {
            runs: vec![0],
            certain: ShiftBounds::default(),
            sized: ShiftBounds::default(),
            likely: ShiftBounds::default(),
            holes: Vec::new(),
        }
    }

    /// Whether there is room for another run.
    pub(super) fn has_room(&self) -> bool {
        self.runs.len() < MAX_RUNS
    }

    /// Whether no run but 0 is left.
    pub(super) fn is_over(&self) -> bool {
        self.runs.len() == 1
    }

    /// A run of which nothing is known yet.
    pub(super) fn add(&mut self, run: u32) {
        let new = self.runs.len();
        self.runs.push(run);
        self.certain.clear(new);
        self.sized.clear(new);
        self.likely.clear(new);
    }

    /// The shift of `a` is at most `most` more than that of `b`.
    pub(super) fn limit(&mut self, a: u32, b: u32, most: i64, grade: Grade) -> Result<(), Conflict> {
        let (Some(a), Some(b)) = (self.index(a), self.index(b)) else { return Ok(()) };
        let runs = self.runs.len();
        if grade == Grade::Certain && !self.certain.limit(a, b, most, runs) {
            return Err(Conflict::Certain);
        }
        if grade >= Grade::Sized && !self.sized.limit(a, b, most, runs) {
            return Err(Conflict::Certain);
        }
        if self.likely.limit(a, b, most, runs) { Ok(()) } else { Err(Conflict::Likely) }
    }

    /// Takes what was passed over for requests, as it seems.
    pub(super) fn count_passed(&mut self) -> Result<(), Conflict> {
        for at in 0..self.holes.len() {
            let Some(RunHole { before, run, missing }) = self.holes.get(at).copied() else { break };
            if missing.of_requests && missing.passed > 0 {
                self.limit(before, run, -missing.passed, Grade::Habit)?;
            }
        }
        Ok(())
    }

    /// Forgets what only the client's habit said.
    pub(super) fn only_certain(&mut self) {
        self.likely = self.sized;
    }

    /// How much the shift of `a` is at most more than that of `b`, by these bounds.
    fn at_most(&self, bounds: &ShiftBounds, a: u32, b: u32) -> Option<i64> {
        let most = bounds.get(self.index(a)?, self.index(b)?);
        (most < FAR / 2).then_some(most)
    }

    /// How much it is more, once these bounds leave one value.
    fn apart_by(&self, bounds: &ShiftBounds, a: u32, b: u32) -> Option<i64> {
        let most = self.at_most(bounds, a, b)?;
        (self.at_most(bounds, b, a)? == -most).then_some(most)
    }

    /// How much the shift of `a` is more than that of `b`, once that is known.
    pub(super) fn apart(&self, a: u32, b: u32) -> Option<i64> {
        self.apart_by(&self.likely, a, b)
    }

    /// Whether that is known without the client's habit.
    pub(super) fn is_apart_by_size(&self, a: u32, b: u32) -> bool {
        self.apart_by(&self.sized, a, b).is_some()
    }

    /// A run other than 0 whose shift is known.
    pub(super) fn known_run(&self) -> Option<u32> {
        self.runs.iter().copied().find(|run| *run != 0 && self.apart(*run, 0).is_some())
    }

    /// `run` becomes run 0, and what was run 0 is gone.
    pub(super) fn rebase(&mut self, run: u32) {
        self.remove(0);
        self.holes.retain(|hole| hole.run != run);
        self.holes.iter_mut().filter(|hole| hole.before == run).for_each(|hole| hole.before = 0);
        if let Some(id) = self.runs.iter_mut().find(|id| **id == run) {
            *id = 0;
        }
    }

    /// Nothing has a number of this run any more.
    pub(super) fn remove(&mut self, run: u32) {
        let Some(gone) = self.index(run) else { return };
        let last = self.runs.len() - 1;
        self.runs.swap_remove(gone);
        self.holes.retain(|hole| hole.run != run && hole.before != run);
        self.certain.put(last, gone);
        self.sized.put(last, gone);
        self.likely.put(last, gone);
    }

    fn index(&self, run: u32) -> Option<usize> {
        self.runs.iter().position(|id| *id == run)
    }
}

/// Row `a`, column `b`: the shift of `a` is at most so much more than that of `b`.
#[derive(Clone, Copy, Debug)]
struct ShiftBounds([[i64; MAX_RUNS]; MAX_RUNS]);

impl Default for ShiftBounds {
    fn default() -> Self {
        Self([[FAR; MAX_RUNS]; MAX_RUNS])
    }
}

impl ShiftBounds {
    fn get(&self, a: usize, b: usize) -> i64 {
        if a == b { 0 } else { self.0.get(a).and_then(|row| row.get(b)).copied().unwrap_or(FAR) }
    }

    fn set(&mut self, a: usize, b: usize, most: i64) {
        if let Some(cell) = self.0.get_mut(a).and_then(|row| row.get_mut(b)) {
            *cell = most;
        }
    }

    /// Takes a limit and what follows from it. False: it contradicts what is known.
    fn limit(&mut self, a: usize, b: usize, most: i64, runs: usize) -> bool {
        if most + self.get(b, a) < 0 {
            return false;
        }
        if most < self.get(a, b) {
            for (from, to) in (0..runs).flat_map(|from| (0..runs).map(move |to| (from, to))) {
                let way = self.get(from, a).saturating_add(most).saturating_add(self.get(b, to));
                self.set(from, to, self.get(from, to).min(way));
            }
        }
        true
    }

    /// Nothing is known of `new`.
    fn clear(&mut self, new: usize) {
        for other in 0..MAX_RUNS {
            self.set(new, other, FAR);
            self.set(other, new, FAR);
        }
    }

    /// What is known of `from` is known of `to` instead.
    fn put(&mut self, from: usize, to: usize) {
        for other in 0..=from {
            self.set(to, other, self.get(from, other));
        }
        for other in 0..=from {
            self.set(other, to, self.get(other, from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_from_both_sides_tell_a_shift_and_what_follows_from_it() {
        let mut doubt = Doubt::new();
        doubt.add(1);
        doubt.add(2);
        assert_eq!((doubt.limit(1, 2, 3, Grade::Certain), doubt.limit(2, 0, 1, Grade::Certain)), (Ok(()), Ok(())));
        assert_eq!((doubt.apart(1, 0), doubt.at_most(&doubt.likely, 1, 0)), (None, Some(4)));
        assert_eq!(doubt.limit(0, 1, -4, Grade::Habit), Ok(()));
        assert_eq!((doubt.apart(1, 0), doubt.apart(1, 2), doubt.apart(2, 0)), (Some(4), Some(3), Some(1)));
        assert_eq!(doubt.limit(1, 0, 3, Grade::Habit), Err(Conflict::Likely));
        assert_eq!(doubt.limit(0, 1, -5, Grade::Certain), Err(Conflict::Certain));
        doubt.only_certain();
        assert_eq!((doubt.apart(1, 0), doubt.limit(1, 0, 3, Grade::Certain)), (None, Ok(())));
    }

    #[test]
    fn another_run_can_become_run_0() {
        let mut doubt = Doubt::new();
        (1..4).for_each(|run| doubt.add(run));
        assert!(doubt.limit(3, 2, 2, Grade::Certain).is_ok() && doubt.limit(2, 3, -2, Grade::Certain).is_ok());
        doubt.rebase(2);
        assert_eq!((doubt.apart(3, 0), doubt.apart(1, 0), doubt.known_run()), (Some(2), None, Some(3)));
        doubt.remove(1);
        assert_eq!(doubt.apart(3, 0), Some(2));
        doubt.remove(3);
        assert!(doubt.is_over());
    }
}
