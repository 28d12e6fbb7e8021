//! The last records, to look into: at most `MOST`, in at most `MOST_BYTES`. Counts nothing.

use std::collections::VecDeque;

use crate::record::Record;
use crate::tally::kept::{bytes_of, strip};

/// Records.
const MOST: usize = 2000;
/// What they may take together.
const MOST_BYTES: usize = 3 << 20;

/// Records in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Recent {
    kept: VecDeque<(Record, usize)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a copy, without headers: nothing shows them. The oldest ones go for it.
    pub(super) fn push(&mut self, record: &Record) {
        let mut record = record.clone();
        strip(&mut record);
        let bytes = bytes_of(&record);
        while self.kept.len() >= MOST || (self.bytes + bytes > MOST_BYTES && !self.kept.is_empty()) {
            self.bytes -= self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        self.bytes += bytes;
        self.kept.push_back((record, bytes));
    }

    pub(super) fn oldest_first(&self) -> impl Iterator<Item = &Record> {
        self.kept.iter().map(|(record, _)| record)
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Record> {
        self.kept.iter().rev().map(|(record, _)| record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{connect, exchange, header, record};

    #[test]
    fn what_is_remembered_has_a_limit_in_number_and_in_bytes() {
        let mut recent = Recent::default();
        (0..3 * MOST).for_each(|_| recent.push(&connect().into()));
        assert_eq!(recent.newest_first().count(), MOST);
        let mut long = exchange();
        let request = long.request.as_mut().unwrap();
        (request.target, request.headers) = ("/x".repeat(30_000).into(), vec![header("a", "b")]);
        for _ in 0..MOST {
            recent.push(&record(long.clone()));
            assert!(recent.bytes <= MOST_BYTES);
        }
        let kept = recent.newest_first().count();
        assert!((40..60).contains(&kept), "{kept}");
        let newest = recent.newest_first().next().unwrap().exchange().unwrap();
        assert!(newest.request.as_ref().unwrap().headers.is_empty());
        assert_eq!(recent.bytes, recent.oldest_first().map(bytes_of).sum::<usize>());
    }
}
