//! INCLUDE, EXCLUDE and the filter of `podtap view`: `status>=500 && !(host=*.local or path=/health*)`.
//!
//! Every name, operator and value is checked when the text is read, so that nothing widens or narrows silently. Compares
//! only; what a record says for a key is in `seen`.

mod fault;
mod key;
mod parse;
mod seen;
#[cfg(test)]
mod tests;

use ipnet::IpNet;

pub use self::fault::{BadExpression, BadValue, ExpectedPart, ExpressionFault, ValueFault};
use self::key::{NumberKey, TextKey, WhichEnds};
pub use self::seen::{RecordSurroundings, is_of_kind};
use crate::glob::Glob;
use crate::record::Record;
use crate::settings::{OnlyKind, StatusPattern};

/// Longest text that is read.
pub const MAX_LENGTH: usize = 16 << 10;
/// Deepest nesting of parentheses and negations.
pub const MAX_DEPTH: usize = 50;

/// What a record must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterExpression(ExpressionNode);

#[derive(Clone, Debug, PartialEq)]
enum ExpressionNode {
    All(Vec<ExpressionNode>),
    Any(Vec<ExpressionNode>),
    Not(Box<ExpressionNode>),
    Test(Test),
}

/// One comparison, or a word that is alone. It is false where the record does not have the value.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Kind(OnlyKind),
    Ip(WhichEnds, Vec<IpNet>),
    Port(WhichEnds, Numbers<u16>),
    Status(Vec<StatusPattern>),
    StatusIs(Compare, u16),
    Text(TextKey, Vec<Glob>),
    Contains(TextKey, String),
    Number(NumberKey, Numbers<u64>),
}

/// One of these, or on one side of a bound.
#[derive(Clone, Debug, PartialEq)]
enum Numbers<N> {
    OneOf(Vec<N>),
    Bound(Compare, N),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Compare {
    fn holds<N: PartialOrd>(self, value: N, bound: N) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
        }
    }
}

impl<N: PartialOrd + Copy> Numbers<N> {
    fn hold_for(&self, value: N) -> bool {
        match self {
            Self::OneOf(numbers) => numbers.contains(&value),
            Self::Bound(compare, bound) => compare.holds(value, *bound),
        }
    }
}

impl FilterExpression {
    /// Reads an expression; the error says where it goes wrong.
    pub fn parse(text: &str) -> Result<Self, BadExpression> {
        parse::parse(text).map(Self)
    }

    /// Whether it holds for a record.
    pub fn holds(&self, record: &Record, around: &RecordSurroundings<'_>) -> bool {
        self.0.holds(record, around)
    }
}

impl ExpressionNode {
    fn holds(&self, record: &Record, around: &RecordSurroundings<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(record, around)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(record, around)),
            Self::Not(node) => !node.holds(record, around),
            Self::Test(test) => test.holds(record, around),
        }
    }
}

impl Test {
    fn holds(&self, record: &Record, around: &RecordSurroundings<'_>) -> bool {
        match self {
            Self::Kind(kind) => is_of_kind(record, *kind, around.slow_after),
            Self::Ip(ends, nets) => {
                seen::ends(record, *ends, |end| nets.iter().any(|net| net.contains(&end.ip.to_canonical())))
            }
            Self::Port(ends, numbers) => seen::ends(record, *ends, |end| end.port > 0 && numbers.hold_for(end.port)),
            Self::Status(patterns) => {
                seen::status(record).is_some_and(|status| patterns.iter().any(|pattern| pattern.matches(status)))
            }
            Self::StatusIs(compare, bound) => seen::status(record).is_some_and(|status| compare.holds(status, *bound)),
            Self::Text(key, globs) => {
                seen::texts(record, around, *key, &mut |text| globs.iter().any(|glob| glob.matches(text.as_bytes())))
            }
            Self::Contains(key, part) => {
                seen::texts(record, around, *key, &mut |text| contains_ignoring_case(text, part))
            }
            Self::Number(key, numbers) => seen::number(record, *key).is_some_and(|number| numbers.hold_for(number)),
        }
    }
}

/// `part` is in lower case, and not empty.
fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}
