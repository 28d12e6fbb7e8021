//! From text to a tree of tests:
//!
//! ```text
//! list  = any *( ";" any )                     ; one of the groups
//! any   = all *( ( "||" | "or" ) all )
//! all   = one *( ( "&&" | "and" ) one )
//! one   = ( "!" | "not" ) one | "(" list ")" | test
//! test  = key operator value *( "," value ) | "failed" | "slow" | "unanswered"
//! ```
//!
//! Operators are `=` (also `==`), `!=`, `~` (contains), `!~`, and for numbers `<`, `<=`, `>`, `>=`. `!=` is the negation of
//! `=`. Evaluates nothing.

use ipnet::IpNet;

use super::fault::{BadExpression, BadValue, ExpectedPart, ExpressionFault, ValueFault};
use super::key::{ExpressionKey, NumberKey, TextKey, key};
use super::{Compare, ExpressionNode, MAX_DEPTH, MAX_LENGTH, Numbers, Test};
use crate::glob::Glob;
use crate::record::Dataset;
use crate::settings::{IpNetwork, OnlyKind, StatusPattern};

/// What ends a key.
const MARKS: &str = "()!&|;,=<>~'\"";
/// What ends a value that is not in quotes.
const MARKS_BEHIND_VALUES: &str = "()&|;,'\"";

pub(super) fn parse(text: &str) -> Result<ExpressionNode, BadExpression> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    if text.len() > MAX_LENGTH {
        return Err(parser.bad(ExpressionFault::TooLong));
    }
    let node = parser.list()?;
    parser.blank();
    if parser.rest().is_empty() { Ok(node) } else { Err(parser.expected(ExpectedPart::Joint)) }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes, on the boundary of a character.
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blank(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn bad(&self, why: ExpressionFault) -> BadExpression {
        self.bad_at(self.at, why)
    }

    fn bad_at(&self, at: usize, why: ExpressionFault) -> BadExpression {
        let before = self.text.get(..at).unwrap_or_default();
        BadExpression { column: before.chars().count() + 1, why }
    }

    fn expected(&self, part: ExpectedPart) -> BadExpression {
        self.bad(ExpressionFault::Expected(part, self.rest().chars().take(20).collect()))
    }

    /// Takes a mark, if it comes next.
    fn mark(&mut self, mark: &str) -> bool {
        self.blank();
        let found = self.rest().starts_with(mark);
        if found {
            self.at += mark.len();
        }
        found
    }

    /// Takes a word such as `and`, if it comes next and is a whole word.
    fn word(&mut self, word: &str) -> bool {
        self.blank();
        let rest = self.rest();
        let found = bare(rest).eq_ignore_ascii_case(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn list(&mut self) -> Result<ExpressionNode, BadExpression> {
        let mut nodes = vec![self.any()?];
        while self.mark(";") {
            self.blank();
            // The last group may end in `;` too.
            if !self.rest().is_empty() {
                nodes.push(self.any()?);
            }
        }
        Ok(joined(nodes, ExpressionNode::Any))
    }

    fn any(&mut self) -> Result<ExpressionNode, BadExpression> {
        let mut nodes = vec![self.all()?];
        while self.mark("||") || self.word("or") {
            nodes.push(self.all()?);
        }
        Ok(joined(nodes, ExpressionNode::Any))
    }

    fn all(&mut self) -> Result<ExpressionNode, BadExpression> {
        let mut nodes = vec![self.one()?];
        while self.mark("&&") || self.word("and") {
            nodes.push(self.one()?);
        }
        Ok(joined(nodes, ExpressionNode::All))
    }

    fn one(&mut self) -> Result<ExpressionNode, BadExpression> {
        if self.depth >= MAX_DEPTH {
            return Err(self.bad(ExpressionFault::TooDeep));
        }
        self.depth += 1;
        let node = if self.mark("!") || self.word("not") {
            ExpressionNode::Not(Box::new(self.one()?))
        } else if self.mark("(") {
            let inner = self.list()?;
            if !self.mark(")") {
                return Err(self.expected(ExpectedPart::Close));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<ExpressionNode, BadExpression> {
        self.blank();
        let (start, name) = (self.at, bare(self.rest()));
        if name.is_empty() {
            return Err(self.expected(ExpectedPart::Name));
        }
        self.at += name.len();
        let operator = self.operator();
        if operator.is_none()
            && let Ok(kind) = OnlyKind::try_from(name.to_owned())
        {
            return Ok(ExpressionNode::Test(Test::Kind(kind)));
        }
        let Some(key) = key(name) else { return Err(self.bad_at(start, ExpressionFault::UnknownKey(name.to_owned()))) };
        let Some(operator) = operator else {
            return Err(self.expected(ExpectedPart::Operator(name.to_owned())));
        };
        self.blank();
        let value_at = self.at;
        let values = self.values()?;
        let (negated, test) = match operator {
            Operator::Is { negated } => (negated, one_of(key, &values)),
            Operator::Has { negated } => (negated, contains(key, &values)),
            Operator::Than(compare) => (false, bounded(key, compare, &values)),
        };
        let test = test.map_err(|why| self.bad_at(value_at, ExpressionFault::Value(name.to_owned(), why)))?;
        let test = ExpressionNode::Test(test);
        Ok(if negated { ExpressionNode::Not(Box::new(test)) } else { test })
    }

    fn operator(&mut self) -> Option<Operator> {
        const OPERATORS: [(&str, Operator); 9] = [
            ("==", Operator::Is { negated: false }),
            ("=", Operator::Is { negated: false }),
            ("!=", Operator::Is { negated: true }),
            ("~", Operator::Has { negated: false }),
            ("!~", Operator::Has { negated: true }),
            ("<=", Operator::Than(Compare::AtMost)),
            ("<", Operator::Than(Compare::Below)),
            (">=", Operator::Than(Compare::AtLeast)),
            (">", Operator::Than(Compare::Above)),
        ];
        let (_, operator) = OPERATORS.iter().find(|(mark, _)| self.mark(mark))?;
        Some(*operator)
    }

    fn values(&mut self) -> Result<Vec<&'a str>, BadExpression> {
        let mut values = vec![self.value()?];
        while self.mark(",") {
            values.push(self.value()?);
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<&'a str, BadExpression> {
        self.blank();
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            let word = until(rest, MARKS_BEHIND_VALUES);
            self.at += word.len();
            return if word.is_empty() { Err(self.expected(ExpectedPart::Value)) } else { Ok(word) };
        };
        let inner = rest.get(1..).unwrap_or_default();
        let Some(end) = inner.find(quote) else { return Err(self.bad(ExpressionFault::OpenQuote(quote))) };
        self.at += end + 2;
        let value = inner.get(..end).unwrap_or_default();
        if value.is_empty() { Err(self.bad(ExpressionFault::EmptyValue)) } else { Ok(value) }
    }
}

/// `=` and `!=`, `~` and `!~`, or a bound.
#[derive(Clone, Copy, Debug)]
enum Operator {
    Is { negated: bool },
    Has { negated: bool },
    Than(Compare),
}

/// The word at the beginning.
fn bare(text: &str) -> &str {
    until(text, MARKS)
}

fn until<'a>(text: &'a str, marks: &str) -> &'a str {
    let end = text.find(|c: char| c.is_whitespace() || marks.contains(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn joined(mut nodes: Vec<ExpressionNode>, join: impl Fn(Vec<ExpressionNode>) -> ExpressionNode) -> ExpressionNode {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            join(nodes)
        }
    }
}

fn each<T>(values: &[&str], read: impl Fn(&str) -> Result<T, BadValue>) -> Result<Vec<T>, ValueFault> {
    values.iter().map(|value| read(value).map_err(|why| ValueFault::Bad((*value).to_owned(), why))).collect()
}

fn one_of(key: ExpressionKey, values: &[&str]) -> Result<Test, ValueFault> {
    Ok(match key {
        ExpressionKey::Ip(ends) => Test::Ip(ends, each(values, network)?),
        ExpressionKey::Port(ends) => Test::Port(ends, Numbers::OneOf(each(values, port)?)),
        ExpressionKey::Status => Test::Status(each(values, status)?),
        ExpressionKey::Text(text) => Test::Text(text, each(values, |value| glob(text, value))?),
        ExpressionKey::Number(number) => {
            Test::Number(number, Numbers::OneOf(each(values, |text| quantity(number, text))?))
        }
    })
}

fn contains(key: ExpressionKey, values: &[&str]) -> Result<Test, ValueFault> {
    match (key, values) {
        (ExpressionKey::Text(text), [part]) => Ok(Test::Contains(text, part.to_ascii_lowercase())),
        (ExpressionKey::Text(_), _) => Err(ValueFault::OneText),
        (ExpressionKey::Ip(_) | ExpressionKey::Port(_) | ExpressionKey::Status | ExpressionKey::Number(_), _) => {
            Err(ValueFault::TextsOnly)
        }
    }
}

fn bounded(key: ExpressionKey, compare: Compare, values: &[&str]) -> Result<Test, ValueFault> {
    let [value] = values else { return Err(ValueFault::OneBound) };
    let named = |why: BadValue| ValueFault::Bad((*value).to_owned(), why);
    match key {
        ExpressionKey::Status => {
            let status = value.parse().map_err(|_| named(BadValue::Status))?;
            Ok(Test::StatusIs(compare, status))
        }
        ExpressionKey::Port(ends) => Ok(Test::Port(ends, Numbers::Bound(compare, port(value).map_err(named)?))),
        ExpressionKey::Number(number) => {
            Ok(Test::Number(number, Numbers::Bound(compare, quantity(number, value).map_err(named)?)))
        }
        ExpressionKey::Ip(_) | ExpressionKey::Text(_) => Err(ValueFault::NumbersOnly),
    }
}

fn network(text: &str) -> Result<IpNet, BadValue> {
    IpNetwork::try_from(text.to_owned()).map(|network| network.0).map_err(BadValue::Setting)
}

fn status(text: &str) -> Result<StatusPattern, BadValue> {
    StatusPattern::try_from(text.to_owned()).map_err(BadValue::Setting)
}

fn port(text: &str) -> Result<u16, BadValue> {
    text.parse().ok().filter(|port| *port > 0).ok_or(BadValue::Port)
}

/// Closed sets are checked: a word that no record can have would leave out nothing, or everything.
fn glob(key: TextKey, text: &str) -> Result<Glob, BadValue> {
    let datasets = Dataset::ALL.map(|dataset| dataset.name().trim_start_matches("podtap."));
    let words: &[&str] = match key {
        TextKey::Dataset => &datasets,
        TextKey::Direction => &["ingress", "egress", "internal"],
        TextKey::Trust => &["complete", "truncated", "gap", "midstream", "unpaired"],
        TextKey::Unanswered => &["timeout", "closed", "reset", "shutdown"],
        TextKey::Host
        | TextKey::Path
        | TextKey::Url
        | TextKey::Route
        | TextKey::Method
        | TextKey::Agent
        | TextKey::Grpc
        | TextKey::Interface
        | TextKey::Protocol
        | TextKey::State
        | TextKey::Pod
        | TextKey::Namespace
        | TextKey::Node
        | TextKey::Workload
        | TextKey::Connection
        | TextKey::Container
        | TextKey::Process
        | TextKey::User => &[],
        // As its predecessor did: a part of it is enough.
        TextKey::Keyword => return Glob::ignoring_case(&format!("*{text}*")).map_err(|bad| BadValue::Glob(bad.why)),
    };
    let is_exact = matches!(key, TextKey::Path | TextKey::Url | TextKey::Route | TextKey::Connection);
    let glob = if is_exact { Glob::new(text) } else { Glob::ignoring_case(text) };
    let glob = glob.map_err(|bad| BadValue::Glob(bad.why))?;
    if words.is_empty() || words.iter().any(|word| glob.matches(word.as_bytes())) {
        Ok(glob)
    } else {
        Err(BadValue::NoneOf(words.to_vec()))
    }
}

/// `250ms`, `1.5s`, `2m`, a bare number of milliseconds; `10k`, `1.5MB`, `4MiB`, a bare number of bytes.
fn quantity(key: NumberKey, text: &str) -> Result<u64, BadValue> {
    const TIMES: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9), ("", 1e6)];
    const BYTES: [(&str, f64); 10] = [
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("k", 1e3),
        ("m", 1e6),
        ("b", 1.0),
        ("", 1.0),
    ];
    let units: &[(&str, f64)] = match key {
        NumberKey::Duration => &TIMES,
        NumberKey::Bytes => &BYTES,
    };
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at_checked(digits).unwrap_or_default();
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let number: Option<f64> = number.parse().ok();
    match (number, factor) {
        (Some(number), Some(factor)) if number * factor < 1e19 => Ok((number * factor).round() as u64),
        (Some(_), Some(_)) => Err(BadValue::TooLarge),
        (Some(_), None) => {
            Err(BadValue::Unit(units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect()))
        }
        (None, _) => Err(BadValue::Number),
    }
}
