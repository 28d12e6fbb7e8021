//! The messages about settings: origins of values, warnings, wrong values.
//!
//! Decides nothing. Every name and value in here is printable, and contains no secret.

use std::fmt;

use super::values::SinkName;

/// Shown in place of a secret.
pub const MASK: &str = "********";

/// Longest value repeated in a message.
const LONGEST_SHOWN: usize = 200;

/// `text` fit for a terminal: control characters escaped, user and password of a URL masked, cut when very long.
pub fn printable(text: &str) -> String {
    printable_up_to(LONGEST_SHOWN, text)
}

/// The same, of about `longest` bytes at most.
pub fn printable_up_to(longest: usize, text: &str) -> String {
    let mut out = String::new();
    for character in without_userinfo(text).chars() {
        if out.len() >= longest {
            out.push('…');
            break;
        }
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

/// `https://user:password@host` in any entry of a list, without the part before the `@`.
fn without_userinfo(text: &str) -> String {
    let masked = text.split(',').map(|entry| {
        let Some((scheme, rest)) = entry.split_once("://") else { return entry.to_owned() };
        let authority = rest.split_once(['/', '?', '#']).map_or(rest, |(authority, _)| authority);
        let Some((userinfo, _)) = authority.rsplit_once('@') else { return entry.to_owned() };
        let host = rest.get(userinfo.len()..).unwrap_or("");
        format!("{scheme}://{MASK}{host}")
    });
    masked.collect::<Vec<_>>().join(",")
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nothing was set.
    Default,
    /// Implied by MODE.
    Mode,
    /// The environment.
    Environment,
    /// The environment, under the old spelling.
    OldSpelling(&'static str),
    /// The command line.
    Flag,
    /// A file named by `<name>_FILE`.
    File(String),
    /// A variable that Kubernetes makes for a Service.
    ServiceLink(String),
    /// Implied by hosts that are set, under the names that were used.
    Hosts(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Mode => f.write_str("MODE"),
            Self::Environment => f.write_str("environment"),
            Self::OldSpelling(old) => write!(f, "environment, as {old}"),
            Self::Flag => f.write_str("flag"),
            Self::File(path) => write!(f, "file {}", printable(path)),
            Self::ServiceLink(name) => write!(f, "service link {name}"),
            Self::Hosts(names) => write!(f, "implied by {names}"),
        }
    }
}

/// What is worth saying, though nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingNote {
    /// An old spelling was read.
    OldSpelling {
        /// Old name.
        old: &'static str,
        /// Its new name.
        new: &'static str,
    },
    /// The old and the new spelling are both set; the new one wins.
    OldSpellingIgnored {
        /// Old name.
        old: &'static str,
        /// Its new name.
        new: &'static str,
    },
    /// Host and port were taken from what Kubernetes set for a Service.
    ServiceLink {
        /// The variable.
        name: &'static str,
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// SEND_LOGS_TO is not set, and follows from hosts that are.
    ImpliedByHosts {
        /// The settings, as they were written.
        names: String,
        /// What SEND_LOGS_TO comes to.
        to: String,
    },
    /// No setting, but nearly.
    Misspelt {
        /// As found.
        name: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// `<name>_FILE` of a setting that is not read from a file.
    NotFromFile {
        /// As found.
        name: String,
        /// The setting.
        setting: &'static str,
    },
    /// A secret from the environment ended in a line feed, which is not part of it.
    LineFeedCut {
        /// The setting.
        name: &'static str,
    },
    /// A setting that this version does not use.
    Unused {
        /// As found.
        name: String,
    },
    /// Set for a sink that nothing is sent to.
    NoSuchSink {
        /// The setting.
        name: &'static str,
        /// The sink.
        sink: SinkName,
    },
}

impl SettingNote {
    /// Whether something may not work as its writer thinks.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::OldSpelling { .. } | Self::ServiceLink { .. } | Self::ImpliedByHosts { .. } => false,
            Self::OldSpellingIgnored { .. }
            | Self::Misspelt { .. }
            | Self::NotFromFile { .. }
            | Self::LineFeedCut { .. }
            | Self::Unused { .. }
            | Self::NoSuchSink { .. } => true,
        }
    }
}

impl fmt::Display for SettingNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldSpelling { old, new } => write!(f, "{old} is the old spelling of {new}, and read as it"),
            Self::OldSpellingIgnored { old, new } => {
                write!(f, "{old} is the old spelling of {new}; both are set, {new} is used")
            }
            Self::ServiceLink { name, host, port } => {
                write!(
                    f,
                    "{name} was set by Kubernetes for a Service: host {}, port {port} taken from it",
                    printable(host)
                )
            }
            Self::ImpliedByHosts { names, to } => {
                let are = if names.contains(',') { "are" } else { "is" };
                write!(f, "{names} {are} set and SEND_LOGS_TO is not: records go to {to}")
            }
            Self::Misspelt { name, meant: Some(meant) } => {
                write!(f, "{} is not a setting; did you mean {meant}?", printable(name))
            }
            Self::Misspelt { name, meant: None } => write!(f, "{} is not a setting", printable(name)),
            Self::NotFromFile { name, setting } => {
                write!(
                    f,
                    "{name} is not a setting: only secrets and user names are read from files, {setting} is none of them"
                )
            }
            Self::LineFeedCut { name } => {
                write!(f, "{name} ends in a line feed, which is cut off: `echo -n` and `printf` write none")
            }
            Self::Unused { name } => write!(f, "{name} is known, but this version does not use it"),
            Self::NoSuchSink { name, sink } => write!(f, "{name} is set, but SEND_LOGS_TO does not name {sink}"),
        }
    }
}

/// A setting that is well-formed but cannot be used, as the part says that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    /// The setting.
    pub setting: String,
    /// What is wrong with it; without its value, which may be a secret.
    pub why: String,
}

impl SettingFault {
    /// Of this setting.
    pub fn new(setting: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { setting: setting.into(), why: why.to_string() }
    }
}

impl fmt::Display for SettingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.why)
    }
}

impl std::error::Error for SettingFault {}

/// For those who only show it.
impl From<SettingFault> for String {
    fn from(fault: SettingFault) -> Self {
        fault.to_string()
    }
}

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongValue {
    /// The setting.
    pub name: String,
    /// Its value, masked where it is a secret; `None` when it is missing.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: ValueOrigin,
    /// What is wrong with it.
    pub why: String,
    /// What may be written instead; empty where that does not help.
    pub allowed: String,
}

impl fmt::Display for WrongValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(value) = &self.value {
            write!(f, " = \"{value}\" ({})", self.origin)?;
        }
        write!(f, ": {}", self.why)?;
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        Ok(())
    }
}

impl WrongValue {
    /// What is wrong with something that no single setting decides.
    pub(super) fn without_setting(name: String, why: &str) -> Self {
        Self { name, value: None, origin: ValueOrigin::Default, why: printable(why), allowed: String::new() }
    }
}

/// Every value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongValues {
    /// The values, at least one.
    pub values: Vec<WrongValue>,
    /// What else may not be as meant: a misspelt name may be why a value is missing.
    pub warnings: Vec<SettingNote>,
}

impl WrongValues {
    /// What is wrong with a setting; with its file where that holds it.
    pub(super) fn of(&self, name: &str) -> Option<&WrongValue> {
        self.values.iter().find(|wrong| wrong.name == name || wrong.name.strip_suffix("_FILE") == Some(name))
    }
}

impl fmt::Display for WrongValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.values.len() {
            1 => writeln!(f, "1 setting is wrong:")?,
            count => writeln!(f, "{count} settings are wrong:")?,
        }
        for value in &self.values {
            writeln!(f, "  {value}")?;
        }
        for note in &self.warnings {
            writeln!(f, "{note}")?;
        }
        write!(f, "`podtap settings` explains every setting.")
    }
}

impl std::error::Error for WrongValues {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_holds_no_control_characters_and_no_password() {
        for (text, shown) in [
            ("plain", "plain"),
            ("a\u{1b}[31mb\n", "a\\u{1b}[31mb\\n"),
            ("https://u:p@es:9200/x@y", "https://********@es:9200/x@y"),
            ("http://a,https://u:p@b", "http://a,https://********@b"),
            ("user@host", "user@host"),
            ("http://h/?q=a@b", "http://h/?q=a@b"),
            ("://@", "://********@"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert!(printable(&"ä".repeat(5000)).len() < 300);
    }
}
