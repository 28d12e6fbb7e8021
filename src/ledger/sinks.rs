//! The counts of one sink, and their reasons. Owns no lock; the sink's queue changes the numbers.

use compact_str::CompactString;

use super::{FailureReason, PerDataset, SinkLedger};
use crate::record::Dataset;

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    /// The queue was full.
    QueueFull,
    /// The target is gone for good: a closed pipe. No reader is left.
    Gone,
    /// podtap, or what delivers in it, ended before it could be delivered.
    Shutdown,
    /// The spool was full: the oldest make room.
    SpoolFull,
    /// It was in the spool, and cannot be read.
    SpoolDamaged,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::QueueFull, Self::Gone, Self::Shutdown, Self::SpoolFull, Self::SpoolDamaged];

    /// The name in metrics and closing lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Gone => "gone",
            Self::Shutdown => "shutdown",
            Self::SpoolFull => "spool_full",
            Self::SpoolDamaged => "spool_damaged",
        }
    }
}

/// One sink's ledger, and the counts outside its equation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// The equation.
    pub ledger: SinkLedger,
    /// `ledger.dropped` by reason.
    pub dropped: [u64; DropReason::ALL.len()],
    /// `ledger.rejected` by reason class, at most sixteen.
    pub rejected: RejectedBy,
    /// Attempts to deliver that failed and were, or will be, repeated, by reason.
    pub failed: [u64; FailureReason::ALL.len()],
    /// Gauge: bytes in the queue, as limited.
    pub queued_bytes: u64,
    /// Gauge: bytes of the spool's segments.
    pub spooled_bytes: u64,
    /// Bytes of the spool that belong to no record that can be read; a torn write is among them.
    pub spool_damaged_bytes: u64,
    /// Of those, bytes that held records of which no one knows how many there were.
    pub spool_unknown_bytes: u64,
    /// Segments of the spool that are missing or empty, and held records of which no one knows how many there were.
    pub spool_missing_segments: u64,
    /// The spool could not be opened: what earlier runs left there waits.
    pub spool_unopened: bool,
    /// Next to the equation: records that were not offered, since the sink's format has no such record.
    pub left_out_by_format: PerDataset,
}

impl SinkCounts {
    /// Attempts to deliver that failed, over all reasons.
    pub fn failed_attempts(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Counts one of them.
    pub fn count_failed(&mut self, reason: FailureReason) {
        if let Some(count) = self.failed.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Records that will never arrive, other than those whose reader went away.
    pub fn lost(&self) -> u64 {
        self.ledger.rejected + self.ledger.dropped.saturating_sub(self.gone())
    }

    /// Records whose reader had left.
    pub fn gone(&self) -> u64 {
        self.dropped.get(DropReason::Gone as usize).copied().unwrap_or_default()
    }

    /// Of those lost, the ones of a dataset, once nothing moves any more.
    pub fn lost_of(&self, dataset: Dataset) -> u64 {
        self.ledger.offered_by.without(self.ledger.kept_by).at(dataset).min(self.lost())
    }

    /// Of those that this run offered, ledger records.
    pub fn ledger_records(&self) -> u64 {
        self.ledger.offered_by.without(self.ledger.recovered_by).at(Dataset::Ledger)
    }
}

/// Maximum number of classes; later ones count as `other`.
const REASON_CLASSES: usize = 16;
/// Longest name of a class.
const CLASS_LEN: usize = 40;

/// Rejected records by class of reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedBy(Vec<(CompactString, u64)>);

impl RejectedBy {
    /// Counts records refused for `reason`.
    pub fn add(&mut self, reason: &str, n: u64) {
        let class = class(reason);
        let known = self.0.iter().position(|(known, _)| *known == class);
        let class = if known.is_none() && self.0.len() + 1 >= REASON_CLASSES { "other".into() } else { class };
        match self.0.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += n,
            None => self.0.push((class, n)),
        }
    }

    /// Classes and how many, in order of their first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(class, n)| (class.as_str(), *n))
    }
}

/// The class of a reason: what is before its first colon, in letters fit for a label. Sinks begin their reasons with
/// a word of the protocol (`mapper_parsing_exception: …`, `413: …`).
fn class(reason: &str) -> CompactString {
    let head = reason.split(':').next().unwrap_or_default().trim();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let class: CompactString = head.chars().take(CLASS_LEN).map(plain).collect();
    if class.is_empty() { "unknown".into() } else { class }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_counts_under_the_text_before_its_colon() {
        for (reason, expected) in [
            ("mapper_parsing_exception: failed to parse [a]", "mapper_parsing_exception"),
            ("413: Payload Too Large", "413"),
            ("Too Large", "too_large"),
            ("", "unknown"),
            (": x", "unknown"),
            ("\u{1b}[31m\"é", "__31m__"),
        ] {
            assert_eq!(class(reason), expected, "{reason:?}");
        }
        assert_eq!(class(&"x".repeat(1000)).len(), CLASS_LEN);
    }

    #[test]
    fn a_server_that_finds_ever_new_reasons_makes_no_more_than_sixteen_classes() {
        let mut by = RejectedBy::default();
        (0..100).for_each(|n| by.add(&format!("reason {n}: x"), 2));
        by.add("reason 3: y", 1);
        assert_eq!(by.iter().count(), REASON_CLASSES);
        assert_eq!(by.iter().map(|(_, n)| n).sum::<u64>(), 201);
        assert_eq!((by.iter().nth(3), by.iter().last()), (Some(("reason_3", 3)), Some(("other", 170))));
    }
}
