//! Prepares a server before records go there: `podtap setup elasticsearch`. Owns templates, retention
//! and the care not to overwrite what somebody changed; it sends no record.

mod apply;
mod compare;
pub mod kibana;
mod mappings;
mod plan;

use std::fmt;
use std::io::Write;
use std::str::FromStr;

pub use self::apply::{AppliedResource, SetupAction};
pub use self::plan::{ResourceKind, ServerAbilities, ServerResource, SetupPlan};
use crate::sink::elasticsearch::ElasticsearchOptions;

/// How `podtap setup elasticsearch` is to go about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetupOptions {
    /// When records may be deleted.
    pub retention: Retention,
    /// Also what somebody changed, or made.
    pub overwrite: bool,
    /// Only show what would be sent.
    pub print: bool,
}

/// How long records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Unlimited,
    /// At least this long, as servers write it: `30d`.
    Limited(String),
}

impl Retention {
    /// What may be written.
    pub const ALLOWED: &'static str = "days or hours (30d, 12h), or none";
}

impl Default for Retention {
    /// Long enough to look into something, short enough that no disk fills up unnoticed.
    fn default() -> Self {
        Self::Limited("30d".to_owned())
    }
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        if text == "none" {
            return Ok(Self::Unlimited);
        }
        let number = text.strip_suffix(['d', 'h']).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|number| number.parse::<u16>().ok()) {
            Some(1..) => Ok(Self::Limited(text)),
            _ => Err(format!("is not a retention: {}", Self::ALLOWED)),
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("none"),
            Self::Limited(text) => f.write_str(text),
        }
    }
}

/// Runs `podtap setup elasticsearch`: asks the server what it is, makes what is missing, says what it did. Blocks. The
/// error is a sentence for the user.
pub fn elasticsearch(
    options: &ElasticsearchOptions,
    setup: &SetupOptions,
    out: &mut impl Write,
) -> Result<Vec<AppliedResource>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    runtime.block_on(apply::run(options, setup, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_written_as_servers_do() {
        for text in ["30d", "1h", "400D"] {
            assert_eq!(text.parse(), Ok(Retention::Limited(text.to_ascii_lowercase())));
        }
        assert_eq!("none".parse(), Ok(Retention::Unlimited));
        for text in ["", "0d", "d", "30", "-1d", "+1d", "30w", "99999d", "1.5d"] {
            assert!(text.parse::<Retention>().is_err(), "{text}");
        }
    }
}
