//! How much of a record is shown where a line has a limit.
//!
//! Cuts what came from the wire and the labels; never numbers, identifiers and marks.

use crate::record::Labels;

/// How much of a record is shown.
pub(super) struct Fit {
    pub(super) headers: bool,
    labels: bool,
    /// Longest string of the wire.
    pub(super) text: usize,
    pub(super) shortened: bool,
}

impl Fit {
    pub(super) const WHOLE: Self = Self { headers: true, labels: true, text: usize::MAX, shortened: false };
    /// One after the other until the line fits.
    pub(super) const STEPS: [Self; 7] = [
        Self::WHOLE,
        Self { headers: false, labels: true, text: usize::MAX, shortened: true },
        Self { headers: false, labels: true, text: 2048, shortened: true },
        Self { headers: false, labels: true, text: 512, shortened: true },
        Self { headers: false, labels: false, text: 512, shortened: true },
        Self { headers: false, labels: false, text: 128, shortened: true },
        Self { headers: false, labels: false, text: 32, shortened: true },
    ];

    pub(super) fn text<'a>(&self, text: &'a str) -> &'a str {
        if text.len() <= self.text {
            return text;
        }
        let boundary = (0..=self.text).rev().find(|n| text.is_char_boundary(*n));
        text.get(..boundary.unwrap_or(0)).unwrap_or_default()
    }

    pub(super) fn maybe<'a>(&self, text: Option<&'a (impl AsRef<str> + ?Sized)>) -> Option<&'a str> {
        text.map(|t| self.text(t.as_ref()))
    }

    pub(super) fn labels<'a>(&self, labels: &'a Labels) -> Option<&'a Labels> {
        (self.labels && !labels.is_empty()).then_some(labels)
    }
}
