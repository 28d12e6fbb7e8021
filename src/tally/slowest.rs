//! The exchanges that took longest: this many at most.

use crate::record::Exchange;

/// Exchanges, the slowest first.
#[derive(Clone, Debug)]
pub struct SlowestExchanges {
    most: usize,
    /// Sorted, the slowest first; of equal ones, the earlier.
    kept: Vec<(u64, Exchange)>,
}

impl SlowestExchanges {
    /// Keeps this many.
    pub fn new(most: usize) -> Self {
        Self { most, kept: Vec::new() }
    }

    /// Keeps it where it is one of the slowest.
    pub fn add(&mut self, exchange: &Exchange) {
        let Some(took) = exchange.took() else { return };
        if self.kept.len() >= self.most && self.kept.last().is_none_or(|(least, _)| took <= *least) {
            return;
        }
        let place = self.kept.partition_point(|(other, _)| *other >= took);
        self.kept.insert(place, (took, exchange.clone()));
        self.kept.truncate(self.most);
    }

    /// Each with its nanoseconds.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Exchange)> {
        self.kept.iter().map(|(took, exchange)| (*took, exchange))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::sample::exchange;

    proptest! {
        #[test]
        fn they_are_the_slowest_in_order(took in proptest::collection::vec(0u64..50, 0..100), most in 0usize..20) {
            let mut slowest = SlowestExchanges::new(most);
            for nanos in &took {
                let mut one = exchange();
                let start = one.start();
                one.response.as_mut().unwrap().last = start.plus(*nanos);
                slowest.add(&one);
            }
            let mut sorted = took;
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            sorted.truncate(most);
            prop_assert_eq!(slowest.iter().map(|(took, _)| took).collect::<Vec<_>>(), sorted);
        }
    }
}
