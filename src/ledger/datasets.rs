//! A count for each kind of event. Knows no record: who counts says which kind it was.

use std::ops::{AddAssign, SubAssign};

use crate::record::Dataset;

/// A number for each dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerDataset([u64; Dataset::COUNT]);

impl PerDataset {
    /// None of any.
    pub const ZERO: Self = Self([0; Dataset::COUNT]);

    /// `n` of one dataset.
    pub fn of(dataset: Dataset, n: u64) -> Self {
        let mut counts = Self::default();
        counts.add(dataset, n);
        counts
    }

    /// Adds `n` to one dataset's count.
    pub fn add(&mut self, dataset: Dataset, n: u64) {
        if let Some(slot) = self.0.get_mut(dataset as usize) {
            *slot += n;
        }
    }

    /// One dataset's count.
    pub fn at(&self, dataset: Dataset) -> u64 {
        self.0.get(dataset as usize).copied().unwrap_or_default()
    }

    /// The counts, in the order of [`Dataset::ALL`].
    pub fn counts(&self) -> &[u64] {
        &self.0
    }

    /// Sum over all datasets.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each count less the other's, but not below zero.
    #[must_use]
    pub fn without(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl AddAssign for PerDataset {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, n)| *count += n);
    }
}

impl SubAssign for PerDataset {
    /// Not below zero.
    fn sub_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, n)| *count = count.saturating_sub(n));
    }
}
