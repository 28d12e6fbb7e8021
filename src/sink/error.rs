//! Why a delivery did not succeed, as a type: the class, who can mend it, how long to wait, what it came from. Owns no
//! retry rule (`worker`) and no protocol: each sink makes its errors where it sees them.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use crate::ledger::{AtFault, FailureReason};

/// One failed attempt.
#[derive(Clone, Debug)]
pub struct DeliveryError {
    reason: FailureReason,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl DeliveryError {
    /// `message` is for people: it names the server, the setting or the byte. It must not hold a credential.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None, source: None }
    }

    /// Of a file or a terminal.
    pub fn local(error: io::Error, message: impl Into<String>) -> Self {
        Self::new(FailureReason::Local, message).with_source(error)
    }

    /// The server asked for a pause.
    #[must_use]
    pub fn with_retry_after(self, pause: Option<Duration>) -> Self {
        Self { retry_after: pause, ..self }
    }

    /// What it came from.
    #[must_use]
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// The same, said with what is in front: the server it happened at.
    #[must_use]
    pub fn at(self, whom: impl fmt::Display) -> Self {
        Self { message: format!("{whom}: {}", self.message), ..self }
    }

    /// Another server failed, too: the class stays that of the first one.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self { message: format!("{}; {}", self.message, other.message), ..self }
    }

    /// The class.
    pub fn reason(&self) -> FailureReason {
        self.reason
    }

    /// Who can mend it.
    pub fn at_fault(&self) -> AtFault {
        self.reason.at_fault()
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for DeliveryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Two errors are the same when they say the same: sources do not compare.
impl PartialEq for DeliveryError {
    fn eq(&self, other: &Self) -> bool {
        (self.reason, &self.message, self.retry_after) == (other.reason, &other.message, other.retry_after)
    }
}

impl Eq for DeliveryError {}

/// For those who only show it.
impl From<DeliveryError> for String {
    fn from(error: DeliveryError) -> Self {
        error.message
    }
}

/// Retry-After in either of its forms (RFC 9110 §10.2.3); the past is now.
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// Why a batch was not delivered; where nothing else is said, nothing of it is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// Worth trying again.
    Transient(DeliveryError),
    /// Never worth trying again: the batch is rejected.
    Permanent(DeliveryError),
    /// The target will never take anything again.
    Gone {
        /// This many leading records of the batch it took before.
        delivered: usize,
        /// Nothing where it is no one's fault: a closed pipe.
        why: Option<String>,
    },
}

impl From<DeliveryError> for SinkError {
    /// Worth trying again, unless it is about the records themselves.
    fn from(error: DeliveryError) -> Self {
        match error.at_fault() {
            AtFault::Record => Self::Permanent(error),
            AtFault::Network | AtFault::Server | AtFault::Settings | AtFault::Machine => Self::Transient(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_understood_in_seconds_and_as_a_date() {
        for (value, pause) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value), pause.map(Duration::from_secs), "{value}");
        }
        let far = retry_after("Fri, 06 Nov 2499 08:49:37 GMT").unwrap();
        assert!(far > Duration::from_secs(86_400 * 365));
    }

    #[test]
    fn only_what_is_about_the_records_is_for_good() {
        for reason in FailureReason::ALL {
            let permanent = matches!(SinkError::from(DeliveryError::new(reason, "")), SinkError::Permanent(_));
            assert_eq!(permanent, reason.at_fault() == AtFault::Record, "{reason}");
        }
    }

    #[test]
    fn an_error_keeps_what_it_came_from() {
        let error = DeliveryError::of_io(io::ErrorKind::ConnectionRefused.into()).at("es:9200");
        assert_eq!(error.to_string(), "es:9200: connection refused");
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
    }
}
