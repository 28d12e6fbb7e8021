//! Patterns with `*` (any run of bytes, `/` included) and `?` (any one byte), for settings.
//!
//! Not a path glob: no `**`, no classes, no regular expressions. Matching takes at most text × pattern steps,
//! and patterns are short ([`MAX_PATTERN`]).

use std::fmt;

/// Longest pattern accepted, so that matching stays cheap whatever the network sends.
pub const MAX_PATTERN: usize = 256;

/// A pattern of a setting that cannot be used: the operator's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl BadPattern {
    /// `pattern` cannot be used because of `why`.
    pub fn new(pattern: &str, why: &'static str) -> Self {
        Self { pattern: pattern.to_owned(), why }
    }
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.pattern, self.why)
    }
}

impl std::error::Error for BadPattern {}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: Box<[u8]>,
    ignore_case: bool,
}

impl Glob {
    /// A case-sensitive pattern.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        Self::build(pattern, false)
    }

    /// A pattern for which ASCII upper and lower case are the same.
    pub fn ignoring_case(pattern: &str) -> Result<Self, BadPattern> {
        Self::build(pattern, true)
    }

    fn build(pattern: &str, ignore_case: bool) -> Result<Self, BadPattern> {
        if pattern.is_empty() {
            return Err(BadPattern::new(pattern, "is empty"));
        }
        if pattern.len() > MAX_PATTERN {
            return Err(BadPattern::new(pattern, "is longer than 256 bytes"));
        }
        let mut bytes = pattern.as_bytes().to_vec();
        bytes.dedup_by(|a, b| *a == b'*' && *b == b'*');
        if ignore_case {
            bytes.make_ascii_lowercase();
        }
        Ok(Self { pattern: bytes.into(), ignore_case })
    }

    /// Whether the pattern has neither `*` nor `?`.
    pub fn is_literal(&self) -> bool {
        !self.pattern.iter().any(|b| matches!(b, b'*' | b'?'))
    }

    /// Whether all of `text` fits the pattern.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut p, mut t) = (0, 0);
        // After the last `*`: where the pattern goes on, and how much of the text the star has eaten.
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = text.get(t) {
            let byte = if self.ignore_case { byte.to_ascii_lowercase() } else { *byte };
            match self.pattern.get(p) {
                Some(b'*') => {
                    p += 1;
                    star = Some((p, t));
                }
                Some(expected) if *expected == b'?' || *expected == byte => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut star {
                    Some((after, eaten)) => {
                        *eaten += 1;
                        (p, t) = (*after, *eaten);
                    }
                    None => return false,
                },
            }
        }
        self.pattern.iter().skip(p).all(|b| *b == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks_match_runs_and_single_bytes() {
        for (pattern, text, expected) in [
            ("/health", "/health", true),
            ("/health", "/healthz", false),
            ("/health*", "/health/live", true),
            ("*/metrics", "/a/b/metrics", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("**", "", true),
            ("*", "anything", true),
            ("a*a*a*b", "aaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_counts_by_default() {
        assert!(!Glob::new("Kube*").unwrap().matches(b"kube-probe"));
        assert!(Glob::ignoring_case("Kube*").unwrap().matches(b"KUBE-probe"));
    }

    #[test]
    fn an_empty_or_endless_pattern_is_refused() {
        assert_eq!(Glob::new("").unwrap_err().to_string(), "\"\": is empty");
        assert!(Glob::new(&"a".repeat(257)).is_err());
    }

    /// The obviously right, exponential way.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => model(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => model(rest, text) || model(pattern, tail),
            (Some((p, rest)), Some((t, tail))) => (*p == b'?' || p == t) && model(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_obvious_model(pattern in "[ab*?]{1,8}", text in "[ab]{0,10}") {
            let glob = Glob::new(&pattern).unwrap();
            prop_assert_eq!(glob.matches(text.as_bytes()), model(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
