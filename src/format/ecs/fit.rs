//! Shortens a record for a line with a size limit.
//!
//! Cuts labels and values from the wire; never numbers, identifiers and marks.

use crate::record::LabelSet;

/// How much of a record is shown.
pub(super) struct LineFit {
    pub(super) headers: bool,
    /// What repeats of the request-target: `url.full`, `url.path`, `url.query`.
    pub(super) url_parts: bool,
    labels: bool,
    /// Longest string of the wire.
    pub(super) text: usize,
    pub(super) shortened: bool,
}

impl LineFit {
    pub(super) const WHOLE: Self =
        Self { headers: true, url_parts: true, labels: true, text: usize::MAX, shortened: false };
    /// One after the other until the line fits: without what says a thing twice, then without headers, then shorter.
    pub(super) const STEPS: [Self; 9] = [
        Self::WHOLE,
        Self { url_parts: false, ..Self::CUT },
        Self { headers: false, ..Self::CUT },
        Self { text: usize::MAX, ..Self::SHORT },
        Self { text: 8192, ..Self::SHORT },
        Self::SHORT,
        Self { text: 512, ..Self::SHORT },
        Self { text: 128, labels: false, ..Self::SHORT },
        Self { text: 32, labels: false, ..Self::SHORT },
    ];
    const CUT: Self = Self { shortened: true, ..Self::WHOLE };
    const SHORT: Self = Self { headers: false, url_parts: false, text: 2048, ..Self::CUT };

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

    pub(super) fn labels<'a>(&self, labels: &'a LabelSet) -> Option<&'a LabelSet> {
        (self.labels && !labels.is_empty()).then_some(labels)
    }
}
