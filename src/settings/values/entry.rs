//! Entries of lists that have a form: names of headers, status codes, tags. Words are in `word`.

use serde::Deserialize;

use super::{SettingValue, by_envy, entries, plain_values, switch};

/// LOGHEADERS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum HeadersToLog {
    /// None is recorded.
    Off,
    /// All are.
    All,
    /// These are.
    Named(Vec<String>),
}

/// `token` of RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl TryFrom<String> for HeadersToLog {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match switch(&text) {
            Some(true) => return Ok(Self::All),
            Some(false) => return Ok(Self::Off),
            None => {}
        }
        let names: Vec<String> = entries(&text).into_iter().map(str::to_owned).collect();
        if names.is_empty() {
            Ok(Self::Off)
        } else if names.iter().all(|name| is_token(name)) {
            Ok(Self::Named(names))
        } else {
            Err("not the name of a header".to_owned())
        }
    }
}

/// A status code, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StatusPattern {
    /// `304`.
    Code(u16),
    /// `2xx`: the first digit.
    Class(u16),
}

impl StatusPattern {
    /// Whether `status` is meant.
    pub fn matches(self, status: u16) -> bool {
        match self {
            Self::Code(code) => code == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

impl TryFrom<String> for StatusPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let class = text.to_ascii_lowercase().strip_suffix("xx").map(str::to_owned);
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| plain)
        };
        match class {
            Some(digit) => number(&digit).filter(|n| (1..=9).contains(n)).map(Self::Class),
            None => number(&text).filter(|n| (100..=999).contains(n)).map(Self::Code),
        }
        .ok_or("not a status code".to_owned())
    }
}

/// `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RecordTag {
    /// Name under `labels.*`.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl TryFrom<String> for RecordTag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("an entry without =".to_owned())?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() {
            return Err("an entry without key or value".to_owned());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

plain_values! {
    HeadersToLog => "true, false, or comma list of header names";
    StatusPattern => "304, 2xx";
    RecordTag => "key=value";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::values::ListOf;

    #[test]
    fn logheaders_is_a_switch_or_a_list_of_names() {
        for (text, expected) in [
            ("true", HeadersToLog::All),
            ("false", HeadersToLog::Off),
            ("none", HeadersToLog::Off),
            (",", HeadersToLog::Off),
            ("Accept, x-id", HeadersToLog::Named(vec!["Accept".to_owned(), "x-id".to_owned()])),
        ] {
            assert_eq!(HeadersToLog::parse("X", text), Ok(expected), "{text}");
        }
        assert!(HeadersToLog::parse("X", "Accept: x").is_err());
    }

    #[test]
    fn a_status_is_a_code_or_a_class() {
        let list = ListOf::<StatusPattern>::parse("X", "2XX, 304").unwrap();
        for (status, inside) in [(200, true), (299, true), (304, true), (301, false), (404, false)] {
            assert_eq!(list.iter().any(|pattern| pattern.matches(status)), inside, "{status}");
        }
        for text in ["0xx", "xx", "20x", "99", "1000", "+2xx", "é"] {
            assert!(StatusPattern::parse("X", text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_need_key_and_value() {
        let tag = |text| RecordTag::parse("X", text);
        assert_eq!(tag("env = a=b"), Ok(RecordTag { key: "env".to_owned(), value: "a=b".to_owned() }));
        for text in ["env", "=x", "env="] {
            assert!(tag(text).is_err(), "{text}");
        }
    }
}
