//! INCLUDE, EXCLUDE and ONLY together, for records that were made elsewhere. Samples nothing and counts nothing.

use super::expression::{FilterExpression, RecordSurroundings, is_of_kind};
use crate::record::Record;
use crate::settings::{OnlyKind, Settings};

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// INCLUDE.
    pub include: Option<FilterExpression>,
    /// EXCLUDE.
    pub exclude: Option<FilterExpression>,
    /// ONLY.
    pub only: Vec<OnlyKind>,
    /// SLOW_AFTER_MS, in nanoseconds.
    pub slow_after: Option<u64>,
}

impl Wanted {
    /// What the settings say, or which of them is wrong.
    pub fn of(settings: &Settings) -> Result<Self, String> {
        let expression = |name: &str, text: &Option<String>| {
            text.as_deref().map(FilterExpression::parse).transpose().map_err(|bad| format!("{name}: {bad}"))
        };
        Ok(Self {
            include: expression("INCLUDE", &settings.include)?,
            exclude: expression("EXCLUDE", &settings.exclude)?,
            only: settings.only.to_vec(),
            slow_after: settings.slow_after.and_then(|millis| u64::try_from(millis.0.as_nanos()).ok()),
        })
    }

    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none() && self.only.is_empty()
    }

    /// Whether it is wanted; `around` needs no `slow_after`.
    pub fn holds(&self, record: &Record, around: RecordSurroundings<'_>) -> bool {
        let around = RecordSurroundings { slow_after: self.slow_after, ..around };
        self.include.as_ref().is_none_or(|wanted| wanted.holds(record, &around))
            && !self.exclude.as_ref().is_some_and(|unwanted| unwanted.holds(record, &around))
            && (self.only.is_empty() || self.only.iter().any(|kind| is_of_kind(record, *kind, self.slow_after)))
    }
}
