//! Why an attempt to deliver failed: a closed list, so that it fits a label. Owns the classes and who can mend each; the
//! words for people are made where the failure is seen (`sink`).

/// The class of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FailureReason {
    /// The name is not known, or the name service does not answer.
    Dns,
    /// Nothing listens on that port.
    Refused,
    /// There is no way to the address.
    Unreachable,
    /// No connection, no progress or no answer in time.
    Timeout,
    /// The server closed or reset the connection.
    Closed,
    /// No agreement on TLS: certificates, names, versions.
    Tls,
    /// The server does not accept our credentials, or wants some.
    Auth,
    /// It knows us and does not let us write.
    Forbidden,
    /// It asks for a pause.
    Throttled,
    /// It can take records only once something on it is changed: a template, an alias, an index that is closed or full.
    NotReady,
    /// It failed by itself.
    Server,
    /// What answers does not speak the protocol: another kind of server, or a gateway in between.
    Protocol,
    /// The batch is too large for it.
    TooLarge,
    /// It does not take the record: its fields, its form, its id.
    Record,
    /// This machine: a disk, a terminal, no random numbers.
    Local,
}

/// Who can mend a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtFault {
    /// Whatever lies between us and the server.
    Network,
    /// The server, and nothing that anybody set: it may well recover.
    Server,
    /// Settings, here or there: the server answers, and goes on to refuse until somebody changes one.
    Settings,
    /// The record: sending it again does not help.
    Record,
    /// This machine.
    Machine,
}

impl FailureReason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Dns,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Closed,
        Self::Tls,
        Self::Auth,
        Self::Forbidden,
        Self::Throttled,
        Self::NotReady,
        Self::Server,
        Self::Protocol,
        Self::TooLarge,
        Self::Record,
        Self::Local,
    ];

    /// The name in metrics, log lines and `/readyz?verbose`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::NotReady => "not_ready",
            Self::Server => "server",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Record => "record",
            Self::Local => "local",
        }
    }

    /// Who can mend it.
    pub fn at_fault(self) -> AtFault {
        match self {
            Self::Dns | Self::Refused | Self::Unreachable | Self::Timeout | Self::Closed => AtFault::Network,
            Self::Throttled | Self::Server => AtFault::Server,
            Self::Tls | Self::Auth | Self::Forbidden | Self::NotReady | Self::Protocol => AtFault::Settings,
            Self::TooLarge | Self::Record => AtFault::Record,
            Self::Local => AtFault::Machine,
        }
    }

    /// Whether the server answers, and goes on to refuse until somebody changes a setting: what HOLD_FOR is about.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Auth | Self::Forbidden | Self::NotReady | Self::Protocol)
    }

    /// Of an HTTP status that is no success (RFC 9110 §15), as far as the status alone can say.
    pub fn of_http_status(status: u16) -> Self {
        match status {
            401 | 407 => Self::Auth,
            403 => Self::Forbidden,
            408 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::Throttled,
            500.. => Self::Server,
            _ => Self::Protocol,
        }
    }
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_counts_in_its_own_place_under_its_own_name() {
        let mut names: Vec<_> = FailureReason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')), "{names:?}");
        assert!(FailureReason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FailureReason::ALL.len());
    }

    #[test]
    fn a_status_alone_blames_a_record_only_for_its_size() {
        let blamed = |status: &u16| FailureReason::of_http_status(*status).at_fault() == AtFault::Record;
        assert_eq!((100..1000).filter(blamed).collect::<Vec<_>>(), [413]);
    }
}
