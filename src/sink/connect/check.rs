//! What `podtap check` finds at one server. Owns the words' order; who speaks them is the sinks' own.

use std::fmt;

/// What `check` found at one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCheck {
    /// The host.
    pub host: String,
    /// What worked, and what the server answered.
    pub steps: Vec<String>,
    /// What did not.
    pub fault: Option<String>,
}

impl fmt::Display for HostCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.iter().chain(&self.fault).map(String::as_str).collect::<Vec<_>>();
        write!(f, "{}: {}", self.host, steps.join("; "))
    }
}
