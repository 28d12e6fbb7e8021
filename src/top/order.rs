//! What rows are sorted by, and in which order the user comes to it. Compares nothing.

/// What rows are sorted by, the largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOrder {
    Rate,
    Total,
    Failed,
    Unanswered,
    P50,
    P95,
    P99,
    Bytes,
}

impl RowOrder {
    const ALL: [Self; 8] =
        [Self::Rate, Self::Total, Self::Failed, Self::Unanswered, Self::P50, Self::P95, Self::P99, Self::Bytes];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Total => "total",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Bytes => "bytes",
        }
    }

    /// One step back is so many forth.
    pub(super) const BACK: usize = Self::ALL.len() - 1;

    pub(super) fn next(self, step: usize) -> Self {
        let index = Self::ALL.iter().position(|order| *order == self).unwrap_or(0);
        Self::ALL.get((index + step) % Self::ALL.len()).copied().unwrap_or(Self::Rate)
    }
}
