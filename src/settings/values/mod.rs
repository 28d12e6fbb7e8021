//! The types of settings: text in, a valid value out.
//!
//! Every type goes through serde and `envy`, one variable at a time, so that one wrong value hides no other. `clean`
//! handles what comes before that (which of several spellings wins, `none`, defaults).

mod entry;
mod filter;
mod number;
mod place;
mod word;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use entry::{HeadersToLog, RecordTag, StatusPattern};
pub use filter::{CAPTURE_FILTER_WITH_DNS, CaptureFilter, DEFAULT_CAPTURE_FILTER};
pub use number::{Bytes, Count, Fraction, Millis, Rate, Seconds, bytes_in_words};
pub use place::{IpNetwork, ListenAddress, ProtocolName, WorkloadSource};
pub use word::{
    ConntrackEvents, DirectionName, FieldFormat, FlowState, Format, LogFormat, LogLevel, LogstashType, Mode,
    NetlogLabels, Observe, OnlyKind, RecordKind, SinkName, SpoolFsync, SpoolMode,
};

/// What the type of a setting can do.
pub trait SettingValue: Sized {
    /// Whether it is never shown.
    const SECRET: bool = false;
    /// Whether it can be read from a file that `<name>_FILE` names.
    const IN_FILE: bool = Self::SECRET;

    /// What may be written, in words.
    fn allowed() -> String;

    /// The value of a cleaned, non-empty text; the error says what is wrong with it, without repeating it.
    fn parse(name: &str, text: &str) -> Result<Self, String>;

    /// The same, with the file that its text was read from.
    #[must_use]
    fn of_file(self, _path: &str) -> Self {
        self
    }
}

/// One value through serde and envy.
fn by_envy<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    #[derive(Deserialize)]
    struct OneSetting<T> {
        value: T,
    }
    let pair = ("value".to_owned(), text.to_owned());
    match envy::from_iter::<_, OneSetting<T>>([pair]) {
        Ok(one) => Ok(one.value),
        Err(envy::Error::MissingValue(_)) => Err(format!("{name} has no value")),
        // envy repeats value and name behind what is wrong: the caller does that, and knows what is secret.
        Err(envy::Error::Custom(why)) => {
            Err(why.split_once(" while parsing value ").map_or(why.clone(), |(what, _)| what.to_owned()))
        }
    }
}

/// Values that serde makes of one string, and what may be written for them.
macro_rules! plain_values {
    ($($type:ty => $allowed:expr;)*) => {
        $(impl SettingValue for $type {
            fn allowed() -> String {
                $allowed.to_owned()
            }
            fn parse(name: &str, text: &str) -> Result<Self, String> {
                by_envy(name, text)
            }
        })*
    };
}
use plain_values;

plain_values! {
    String => "text";
    PathBuf => "a path";
    IpAddr => "an IP address";
}

/// `true` and `false`, as people write them.
fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" | "none" => Some(false),
        _ => None,
    }
}

impl SettingValue for bool {
    fn allowed() -> String {
        "true, false".to_owned()
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        by_envy(name, switch(text).map_or(text, |on| if on { "true" } else { "false" }))
    }
}

/// `none` switches it off.
impl<T: SettingValue> SettingValue for Option<T> {
    const SECRET: bool = T::SECRET;
    const IN_FILE: bool = T::IN_FILE;

    fn allowed() -> String {
        format!("{}, or none", T::allowed())
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") { Ok(None) } else { T::parse(name, text).map(Some) }
    }
    fn of_file(self, path: &str) -> Self {
        self.map(|value| value.of_file(path))
    }
}

/// A value that podtap finds out itself unless it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// `auto`.
    Auto,
    /// Given.
    Given(T),
}

impl<T> Auto<T> {
    /// The value, where it was given.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Auto => None,
            Self::Given(value) => Some(value),
        }
    }
}

impl<T: SettingValue> SettingValue for Auto<T> {
    const SECRET: bool = T::SECRET;
    const IN_FILE: bool = T::IN_FILE;

    fn allowed() -> String {
        format!("auto, or {}", T::allowed())
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("auto") { Ok(Self::Auto) } else { T::parse(name, text).map(Self::Given) }
    }
}

/// Entries with commas between them; spaces around an entry do not count, `none` is the empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOf<T>(pub Vec<T>);

impl<T> std::ops::Deref for ListOf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: SettingValue + DeserializeOwned> SettingValue for ListOf<T> {
    const SECRET: bool = T::SECRET;
    const IN_FILE: bool = T::IN_FILE;

    fn allowed() -> String {
        format!("comma list of: {}; or none", T::allowed())
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        by_envy(name, &entries(text).join(",")).map(Self)
    }
}

fn entries(text: &str) -> Vec<&str> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Vec::new();
    }
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect()
}

/// A text, and the file that it was read from, which may hold another one by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewable {
    text: String,
    file: Option<PathBuf>,
}

impl Renewable {
    /// The text at the start.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file, where it came from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl SettingValue for Renewable {
    const IN_FILE: bool = true;

    fn allowed() -> String {
        String::allowed()
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        by_envy(name, text).map(|text| Self { text, file: None })
    }
    fn of_file(self, path: &str) -> Self {
        Self { file: Some(path.into()), ..self }
    }
}

/// What must never be shown: neither by `Debug` nor by `podtap settings`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Renewable);

impl Secret {
    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &Renewable {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(super::MASK)
    }
}

impl SettingValue for Secret {
    const SECRET: bool = true;

    fn allowed() -> String {
        "text (secret)".to_owned()
    }
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        Renewable::parse(name, text).map(Self)
    }
    fn of_file(self, path: &str) -> Self {
        Self(self.0.of_file(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: SettingValue>(text: &str) -> Result<T, String> {
        T::parse("X", text)
    }

    #[test]
    fn a_list_ignores_spaces_and_empty_entries_and_none_empties_it() {
        for (text, expected) in [
            ("a", vec!["a"]),
            (" a , b b,,c, ", vec!["a", "b b", "c"]),
            ("none", vec![]),
            ("None", vec![]),
            (",", vec![]),
        ] {
            assert_eq!(parsed::<ListOf<String>>(text).unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn a_list_of_typed_entries_fails_as_a_whole_and_says_why() {
        assert_eq!(parsed::<ListOf<IpAddr>>("10.0.0.1, ::1").unwrap().len(), 2);
        assert_eq!(parsed::<ListOf<IpAddr>>("10.0.0.1, x").unwrap_err(), "invalid IP address syntax");
    }

    #[test]
    fn switches_are_read_as_people_write_them() {
        for (text, on) in [("true", true), ("YES", true), ("1", true), ("on", true), ("off", false), ("0", false)] {
            assert_eq!(parsed::<bool>(text), Ok(on), "{text}");
        }
        assert_eq!(parsed::<bool>("perhaps").unwrap_err(), "provided string was not `true` or `false`");
    }

    #[test]
    fn none_and_auto_stand_before_the_value() {
        assert_eq!(parsed::<Option<Millis>>("none"), Ok(None));
        assert_eq!(parsed::<Auto<Option<String>>>("auto"), Ok(Auto::Auto));
        assert_eq!(parsed::<Auto<Option<String>>>("none"), Ok(Auto::Given(None)));
        assert_eq!(parsed::<Auto<Option<String>>>("lo"), Ok(Auto::Given(Some("lo".to_owned()))));
    }

    #[test]
    fn a_secret_is_not_in_its_debug_output() {
        let secret = parsed::<Option<Secret>>("hunter2").unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.unwrap().reveal().text(), "hunter2");
    }
}
