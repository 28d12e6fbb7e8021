//! A table with a bounded number of rows, for keys that anybody can invent. Those that are used most have a row each, the
//! others share one.
//!
//! A key without a row is a contender (`contenders`); it gets the row of a key that was used less. What that row had counted
//! moves to the shared one, so the sums over all rows are always exact.

use std::collections::HashMap;

use compact_str::CompactString;
use foldhash::fast::RandomState;

use super::{Contenders, Sample, TallyRow};

/// After this many exchanges what was used counts half.
const AGE_EVERY: u32 = 4096;

/// Rows by key.
#[derive(Debug, Default)]
pub struct LeadingRows {
    most: usize,
    rows: HashMap<CompactString, Used, RandomState>,
    others: TallyRow,
    contenders: Contenders,
    /// Rows that were given to another key.
    replaced: u64,
    /// No row is used less than this; it may be more.
    least: u32,
    since_aged: u32,
}

#[derive(Debug, Default)]
struct Used {
    row: TallyRow,
    /// Lately.
    recent: u32,
}

impl LeadingRows {
    /// Without rows, of which there will be this many at most.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Counts one more under a key.
    pub fn add(&mut self, key: &str, sample: impl Into<Sample>) {
        let sample = sample.into();
        self.age();
        if let Some(used) = self.rows.get_mut(key) {
            used.recent = used.recent.saturating_add(1);
            return used.row.add(sample);
        }
        if self.rows.len() < self.most {
            let used = self.rows.entry(key.into()).or_default();
            used.recent = 1;
            return used.row.add(sample);
        }
        match self.admit(key) {
            Some(row) => row.add(sample),
            None => self.others.add(sample),
        }
    }

    fn admit(&mut self, key: &str) -> Option<&mut TallyRow> {
        let hits = self.contenders.hit(&key);
        if !outdoes(hits, self.least) {
            return None;
        }
        let (least, gone) = self.rows.iter().map(|(key, used)| (used.recent, key)).min()?;
        self.least = least;
        if !outdoes(hits, least) {
            return None;
        }
        let gone = gone.clone();
        if let Some(gone) = self.rows.remove(&gone) {
            self.others.merge(&gone.row);
        }
        (self.replaced, self.least) = (self.replaced + 1, 0);
        let used = self.rows.entry(key.into()).or_default();
        used.recent = hits;
        Some(&mut used.row)
    }

    fn age(&mut self) {
        self.since_aged += 1;
        if self.since_aged == AGE_EVERY {
            self.since_aged = 0;
            self.least /= 2;
            self.rows.values_mut().for_each(|used| used.recent /= 2);
            self.contenders.age();
        }
    }

    /// Keys that have a row, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &TallyRow)> {
        self.rows.iter().map(|(key, used)| (key.as_str(), &used.row))
    }

    /// What the keys without a row have together.
    pub fn others(&self) -> &TallyRow {
        &self.others
    }

    /// How often a key took over the row of another one: 0 says that every row has all of its exchanges.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The rows with the largest numbers first; equal ones by key.
    pub fn sorted_by(&self, number: impl Fn(&TallyRow) -> u64) -> Vec<(&str, &TallyRow)> {
        let mut rows: Vec<_> = self.rows().collect();
        rows.sort_by(|(a, of_a), (b, of_b)| number(of_b).cmp(&number(of_a)).then_with(|| a.cmp(b)));
        rows
    }
}

/// Whether this many hits are clearly more than a row is used.
fn outdoes(hits: u32, used: u32) -> bool {
    hits > used.saturating_mul(2).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::exchange;

    fn total(leading: &LeadingRows) -> u64 {
        leading.rows().map(|(_, row)| row.exchanges).sum::<u64>() + leading.others().exchanges
    }

    #[test]
    fn invented_keys_take_no_row_from_those_that_are_used_and_none_goes_uncounted() {
        let mut leading = LeadingRows::new(8);
        let one = exchange();
        for n in 0..5000 {
            leading.add(&format!("/used/{}", n % 8), &one);
            if n >= 8 {
                leading.add(&format!("/invented/{n}"), &one);
            }
        }
        assert!(leading.rows().all(|(key, row)| key.starts_with("/used/") && row.exchanges == 625));
        assert_eq!((leading.rows().count(), total(&leading), leading.replaced()), (8, 9992, 0));
    }

    #[test]
    fn what_is_used_more_than_others_gets_a_row_also_late() {
        let mut leading = LeadingRows::new(4);
        let one = exchange();
        (0..4).for_each(|n| leading.add(&format!("/rare/{n}"), &one));
        (0..1000).for_each(|_| leading.add("/new", &one));
        let sorted = leading.sorted_by(|row| row.exchanges);
        assert_eq!((sorted[0].0, sorted.len(), leading.replaced()), ("/new", 4, 1));
        assert!(sorted[0].1.exchanges > 990);
        assert_eq!(total(&leading), 1004);
    }
}
