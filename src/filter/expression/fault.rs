//! What can be wrong with an expression, as types. Their texts say what may be written instead.

use std::fmt;

use super::key::{KEYS, near};
use super::{MAX_DEPTH, MAX_LENGTH};
use crate::settings::OnlyKind;

/// How much of a name is shown.
const SHOWN: usize = 40;

/// A text that is no expression: its writer's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadExpression {
    /// The character where it goes wrong, from 1.
    pub column: usize,
    /// What is wrong there, and what may be written.
    pub why: ExpressionFault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpressionFault {
    /// Longer than `MAX_LENGTH`.
    TooLong,
    /// Deeper than `MAX_DEPTH`.
    TooDeep,
    /// Something else comes here.
    Expected(ExpectedPart, String),
    /// No key has this name.
    UnknownKey(String),
    /// A quote without its end.
    OpenQuote(char),
    /// A value of no characters.
    EmptyValue,
    /// What is compared with this key cannot be its value.
    Value(String, ValueFault),
}

/// What may come at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedPart {
    /// A key.
    Name,
    /// An operator behind this key.
    Operator(String),
    /// A value.
    Value,
    /// The parenthesis that closes.
    Close,
    /// What joins tests, or the end.
    Joint,
}

/// Why a value does not go with its key and its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFault {
    /// `~` with several values.
    OneText,
    /// `<` or `>` with several values.
    OneBound,
    /// `~` with a key whose values are no texts.
    TextsOnly,
    /// `<` or `>` with a key whose values are no numbers.
    NumbersOnly,
    /// The key cannot have this value.
    Bad(String, BadValue),
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadValue {
    /// No port.
    Port,
    /// No status code.
    Status,
    /// No number.
    Number,
    /// A number that is too large.
    TooLarge,
    /// No unit; these are known.
    Unit(Vec<&'static str>),
    /// None of these words.
    NoneOf(Vec<&'static str>),
    /// A glob that cannot be read.
    Glob(&'static str),
    /// As a setting of this kind says it.
    Setting(String),
}

impl fmt::Display for BadExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.column, self.why)
    }
}

impl std::error::Error for BadExpression {}

impl fmt::Display for ExpressionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {MAX_LENGTH} bytes"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH}"),
            Self::Expected(part, found) if found.is_empty() => write!(f, "expected {part}, found the end"),
            Self::Expected(part, found) => write!(f, "expected {part}, found {found:?}"),
            Self::UnknownKey(name) => unknown_key(f, name),
            Self::OpenQuote(quote) => write!(f, "the quote {quote} is not closed"),
            Self::EmptyValue => f.write_str("an empty value"),
            Self::Value(key, why) => write!(f, "{key}: {why}"),
        }
    }
}

fn unknown_key(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let shown: String = name.chars().take(SHOWN).collect();
    write!(f, "{shown:?} is not a key")?;
    if let Some(near) = near(name) {
        write!(f, "; did you mean {near}?")?;
    }
    let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
    write!(f, " (keys: {}; alone: {})", names.join(", "), OnlyKind::WORDS.join(", "))
}

impl fmt::Display for ExpectedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("a name such as status or host"),
            Self::Operator(key) => write!(f, "`=`, `!=`, `~`, `<` or `>` behind {key}"),
            Self::Value => f.write_str("a value"),
            Self::Close => f.write_str("`)`"),
            Self::Joint => f.write_str("`&&`, `||`, `;` or the end"),
        }
    }
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneText => f.write_str("`~` takes one value"),
            Self::OneBound => f.write_str("`<` and `>` take one value"),
            Self::TextsOnly => f.write_str("`~` is for texts; use `=`"),
            Self::NumbersOnly => f.write_str("`<` and `>` are for numbers; use `=`"),
            Self::Bad(value, why) => write!(f, "{value:?}: {why}"),
        }
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("not a port"),
            Self::Status => f.write_str("not a status code"),
            Self::Number => f.write_str("not a number"),
            Self::TooLarge => f.write_str("too large"),
            Self::Unit(known) => write!(f, "unknown unit; known are {}", known.join(", ")),
            Self::NoneOf(words) => write!(f, "none of {}", words.join(", ")),
            Self::Glob(why) => f.write_str(why),
            Self::Setting(why) => f.write_str(why),
        }
    }
}
