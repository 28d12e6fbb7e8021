//! ELASTICSEARCH_INDEX: a name, or a pattern that a record's own time completes. Pure; whether a name is an index, an
//! alias or a data stream is the server's to say (`target`).

use std::fmt;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::flow::Timestamp;

/// What may be behind `%`: nothing finer than an hour, for an index a minute would kill any server.
const CONVERSIONS: &str = "YymdHjGV";

/// Longest name of an index (Elasticsearch: "Index names … cannot be longer than 255 bytes").
const MAX_BYTES: usize = 255;

/// What a name may not hold; `%` begins a conversion here, `<` date math that only the server would understand.
const FORBIDDEN: &str = "\\/*?\"<>| ,#:";

const HOUR_NANOS: i64 = 3_600_000_000_000;

/// A valid name or pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexName {
    text: Box<str>,
    dated: bool,
}

impl IndexName {
    /// Checks it; the error says what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "." || text == ".." {
            return Err("is not the name of an index".to_owned());
        }
        if text.starts_with(['-', '_', '+']) {
            return Err("must not begin with -, _ or +".to_owned());
        }
        let mut dated = false;
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' {
                conversion(letters.next())?;
                dated = true;
            } else if FORBIDDEN.contains(letter) || letter.is_control() {
                return Err(format!("must not hold {letter:?}"));
            } else if letter.is_uppercase() {
                return Err(format!("must be lower case, {letter:?} is not"));
            }
        }
        let name = Self { text: text.into(), dated };
        if name.at(Timestamp(0)).len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes"));
        }
        Ok(name)
    }

    /// Whether the record's time is part of the name: such names are always those of plain indices.
    pub fn is_dated(&self) -> bool {
        self.dated
    }

    /// The name for a record of this time, UTC.
    pub fn at(&self, time: Timestamp) -> String {
        if !self.dated {
            return self.text.to_string();
        }
        // Every `i64` of nanoseconds is a time that jiff knows, and `new` let only conversions pass that it knows.
        jiff::Timestamp::from_nanosecond(i128::from(time.0))
            .and_then(|time| strtime::format(self.text.as_bytes(), &time.to_zoned(TimeZone::UTC)))
            .unwrap_or_else(|_| self.pattern().replace('*', "0"))
    }

    /// All names it can be, for an index template: conversions become `*`.
    pub fn pattern(&self) -> String {
        let mut out = String::new();
        let mut letters = self.text.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' {
                letters.next();
            }
            out.push(if letter == '%' { '*' } else { letter });
        }
        out
    }

    /// The part before any date, without what joins it: what templates are named after.
    pub fn stem(&self) -> &str {
        let stem = self.text.split('%').next().unwrap_or_default().trim_end_matches(['-', '.', '_']);
        if stem.is_empty() { "records" } else { stem }
    }
}

fn conversion(letter: Option<char>) -> Result<(), String> {
    match letter {
        Some(letter) if CONVERSIONS.contains(letter) => Ok(()),
        Some(letter) => Err(format!("%{letter} is not understood: %Y %m %d %H %j %y %G %V are")),
        None => Err("ends in a single %".to_owned()),
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names of records one after the other: most have the same as the one before.
#[derive(Debug)]
pub(super) struct IndexNames<'a> {
    index: &'a IndexName,
    hour: Option<i64>,
    name: String,
}

impl<'a> IndexNames<'a> {
    pub(super) fn new(index: &'a IndexName) -> Self {
        Self { index, hour: None, name: String::new() }
    }

    pub(super) fn of(&mut self, time: Timestamp) -> &str {
        let hour = if self.index.dated { time.0.div_euclid(HOUR_NANOS) } else { 0 };
        if self.hour != Some(hour) {
            self.hour = Some(hour);
            self.name = self.index.at(time);
        }
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn a_name_is_the_same_at_any_time_and_a_pattern_is_completed_in_utc() {
        let noon = at(1_772_366_400);
        for (text, name, pattern, stem, dated) in [
            (
                "k8s-internal-networking",
                "k8s-internal-networking",
                "k8s-internal-networking",
                "k8s-internal-networking",
                false,
            ),
            ("web-%Y.%m.%d", "web-2026.03.01", "web-*.*.*", "web", true),
            ("web.%Y-%m", "web.2026-03", "web.*-*", "web", true),
            ("%y%j-x-%H", "26060-x-12", "**-x-*", "records", true),
            ("w-%G-w%V", "w-2026-w09", "w-*-w*", "w", true),
        ] {
            let index = IndexName::new(text).unwrap();
            let got = (index.at(noon), index.pattern(), index.stem(), index.is_dated());
            assert_eq!(got, (name.to_owned(), pattern.to_owned(), stem, dated), "{text}");
        }
        assert_eq!(IndexName::new("d-%d").unwrap().at(at(-1)), "d-31");
    }

    #[test]
    fn what_no_index_can_be_called_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "not the name"),
            ("..", "not the name"),
            ("_x", "begin"),
            ("-x", "begin"),
            ("Web", "lower case, 'W'"),
            ("a b", "' '"),
            ("a,b", "','"),
            ("<web-{now/d}>", "'<'"),
            ("a/b", "'/'"),
            ("a*", "'*'"),
            ("a\nb", "'\\n'"),
            ("a-%M", "%M is not understood"),
            ("a-%", "single %"),
            (&"x".repeat(256), "255 bytes"),
        ] {
            let error = IndexName::new(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(IndexName::new(&"x".repeat(255)).is_ok());
    }

    proptest! {
        #[test]
        fn a_run_of_records_gets_the_names_each_would_get_alone(
            times in prop::collection::vec(any::<i64>().prop_map(Timestamp), 0..20),
        ) {
            let index = IndexName::new("x-%Y.%m.%d-%H").unwrap();
            let mut names = IndexNames::new(&index);
            for time in times {
                prop_assert_eq!(names.of(time), index.at(time));
            }
        }
    }
}
