//! What is added up in rows and what they are sorted by, and in which order the user comes to it. Compares nothing.

use compact_str::CompactString;

use crate::record::Record;
use crate::tally::{TallyKey, connect_key};

/// What a table has a row for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Exchanges that are alike.
    Key(TallyKey),
    /// Connects that are alike.
    Connect,
}

impl By {
    /// All of them, by the digit that chooses them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TallyKey::ALL.into_iter().map(Self::Key).chain([Self::Connect])
    }

    /// For a heading.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Key(key) => key.name(),
            Self::Connect => "connect",
        }
    }

    /// The row that a record counts in.
    pub(super) fn row_of(self, record: &Record) -> Option<CompactString> {
        match (self, record) {
            (Self::Key(key), Record::Http(exchange)) => Some(key.of(exchange)),
            (Self::Connect, Record::Connect(connect)) => Some(connect_key(connect)),
            (Self::Key(_) | Self::Connect, _) => None,
        }
    }
}

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

    /// Steps forward that make one step back.
    pub(super) const BACK: usize = Self::ALL.len() - 1;

    pub(super) fn next(self, step: usize) -> Self {
        let index = Self::ALL.iter().position(|order| *order == self).unwrap_or(0);
        Self::ALL.get((index + step) % Self::ALL.len()).copied().unwrap_or(Self::Rate)
    }
}
