//! Words: closed sets of them, and small notations made of them.
//!
//! Does not say what a word does: the module that acts on it does.

use std::fmt;

use serde::Deserialize;

use crate::record::NetworkDirection;

use super::{SettingValue, by_envy, entries, plain_values, switch};

/// A closed set of words; upper and lower case are the same.
macro_rules! words {
    ($($(#[$doc:meta])* $type:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(or $alias:literal)*,)*
    })*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// Every word.
            pub const WORDS: &[&str] = &[$($word),*];

            /// How it is written.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                match text.to_ascii_lowercase().as_str() {
                    $($word $(| $alias)* => Ok(Self::$variant),)*
                    _ => Err("none of the allowed words".to_owned()),
                }
            }
        }

        impl SettingValue for $type {
            fn allowed() -> String {
                Self::WORDS.join(", ")
            }
            fn parse(name: &str, text: &str) -> Result<Self, String> {
                by_envy(name, text)
            }
        })*
    };
}

words! {
    /// What kind of run this is.
    Mode {
        /// As in production.
        Prod = "prod" or "production",
        /// Logs more of itself.
        Debug = "debug",
        /// On a developer's machine: listens on `lo`, prints readable text.
        Development = "development" or "dev",
    }

    /// What to record.
    RecordKind {
        /// HTTP exchanges, from captured packets.
        Http = "http",
        /// Flows: packets and bytes by connection, from captured packets.
        Flows = "flows",
        /// What the kernel's connection tracking reports.
        Conntrack = "conntrack",
        /// Packets that firewall rules logged.
        Verdicts = "verdicts",
        /// Connects of processes, by eBPF.
        Connects = "connects",
    }

    /// What is observed.
    Observe {
        /// The pod, or the machine, that podtap runs in.
        Pod = "pod",
        /// All pods of a node, and the node itself.
        Node = "node",
    }

    /// Records worth a look: a word of ONLY.
    OnlyKind {
        /// A status from 400, another one of gRPC than OK, no answer, a body cut short; a connection that was refused.
        Failed = "failed",
        /// At least SLOW_AFTER_MS.
        Slow = "slow",
        /// No answer.
        Unanswered = "unanswered",
    }

    /// Which events of connection tracking become records.
    ConntrackEvents {
        /// Each one.
        All = "all",
        /// One at the start of a flow, one at its end.
        Folded = "folded",
        /// One for all flows between two addresses, at intervals.
        Aggregate = "aggregate",
    }

    /// Labels of the metrics that NetLog had.
    NetlogLabels {
        /// Addresses, and the port that was opened to.
        Folded = "folded",
        /// The opener's port too, as NetLog had it.
        Literal = "literal",
    }

    /// What can hold for a flow: a word of INCLUDE_STATES and EXCLUDE_STATES.
    FlowState {
        /// The record is of its beginning.
        New = "new",
        /// The record is of a change.
        Update = "update",
        /// The record is of its end.
        End = "end",
        /// It was never established, or never answered.
        Failed = "failed",
        /// Packets were seen in both directions.
        SeenReply = "seen_reply",
        /// It is not given up early.
        Assured = "assured",
        /// Its source is translated.
        Snat = "snat",
        /// Its destination is translated.
        Dnat = "dnat",
        /// TCP: SYN sent.
        SynSent = "syn_sent",
        /// TCP: SYN answered.
        SynRecv = "syn_recv",
        /// TCP, SCTP: established.
        Established = "established",
        /// TCP: one end has closed.
        FinWait = "fin_wait",
        /// TCP: the other end has closed.
        CloseWait = "close_wait",
        /// TCP: both have closed.
        LastAck = "last_ack",
        /// TCP: closed in order.
        TimeWait = "time_wait",
        /// TCP: reset.
        Close = "close",
        /// A flow: nothing came back so far.
        Attempt = "attempt",
        /// A flow: both ends closed.
        Closed = "closed",
        /// A flow: reset after it was established.
        Reset = "reset",
        /// A flow: its SYN was answered by a RST.
        Refused = "refused",
        /// A flow: its destination cannot be reached.
        Unreachable = "unreachable",
        /// A flow: its SYN was never answered.
        TimedOut = "timed_out",
        /// A flow: silent for too long.
        Idle = "idle",
        /// A flow: it made room.
        Evicted = "evicted",
        /// A connect: its process closed it first.
        GivenUp = "given_up",
        /// A connect: another error.
        Error = "error",
        /// A rule let the packet pass.
        Allowed = "allowed",
        /// A rule held it back.
        Denied = "denied",
        /// A logged packet goes to a container, or to this machine.
        Ingress = "ingress",
        /// A logged packet comes from one.
        Egress = "egress",
    }

    /// What a record looks like.
    Format {
        /// Elastic Common Schema.
        Ecs = "ecs",
        /// As kubernetes-internal-http-logger printed it.
        Classic = "classic",
        /// For eyes.
        Text = "text",
        /// HTTP Archive, of a replay.
        Har = "har",
        /// As k8s-conntrack-log printed events of connection tracking.
        ConntrackLog = "conntrack-log",
        /// As Cloud Foundry's iptables-logger printed logged packets, with seconds since 1970.
        Cf = "cf" or "cf-deprecated",
        /// The same with the time in RFC 3339.
        CfRfc3339 = "cf-rfc3339",
        /// As NetLog printed flows.
        Netlog = "netlog",
        /// The same as JSON.
        NetlogJson = "netlog-json",
        /// As lightmon logged connects of processes.
        Lightmon = "lightmon",
        /// As it printed them as JSON.
        LightmonJson = "lightmon-json",
        /// As it printed them as a table.
        LightmonTable = "lightmon-table",
    }

    /// What a record looks like to a server: fields, not text.
    FieldFormat {
        /// Elastic Common Schema.
        Ecs = "ecs",
        /// As kubernetes-internal-http-logger sent it.
        Classic = "classic",
    }

    /// Where records go.
    SinkName {
        /// Standard output.
        Stdout = "stdout",
        /// A file, rotated.
        File = "file",
        /// The forward protocol.
        Fluentd = "fluentd",
        /// One of Logstash's inputs.
        Logstash = "logstash",
        /// Elasticsearch, or OpenSearch.
        Elasticsearch = "elasticsearch",
    }

    /// Which of Logstash's inputs.
    LogstashType {
        /// JSON lines over TCP.
        Tcp = "tcp",
        /// One datagram a record.
        Udp = "udp",
        /// Lumberjack v2.
        Beats = "beats",
        /// POST requests.
        Http = "http",
    }

    /// What goes to disk, and when.
    SpoolMode {
        /// What is too much for memory.
        Overflow = "overflow",
        /// While deliveries fail or take long, everything.
        Failing = "failing",
        /// Everything, before it is delivered.
        Always = "always",
    }

    /// When what is spooled is made to survive the machine.
    SpoolFsync {
        /// Never.
        None = "none",
        /// When a segment is full, and at the end.
        Segment = "segment",
        /// With every write.
        Batch = "batch",
    }

    /// `network.direction`, as a choice.
    DirectionName {
        /// The pod serves.
        Ingress = "ingress",
        /// The pod asks.
        Egress = "egress",
        /// Both ends are in the pod.
        Internal = "internal",
    }

    /// How much podtap says of itself.
    LogLevel {
        /// Nothing.
        Off = "off" or "none",
        /// What cannot go on.
        Error = "error",
        /// What needs a look.
        Warn = "warn" or "warning",
        /// What happens.
        Info = "info",
        /// Why it happens.
        Debug = "debug",
        /// Everything, each packet too.
        Trace = "trace",
    }

    /// What podtap's own log lines look like.
    LogFormat {
        /// For eyes.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

impl FlowState {
    /// The state that a record names so, if it can be asked for.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::try_from(word.to_owned()).ok()
    }
}

impl Format {
    /// Whether it is made for standard output and files only: lines, which no server reads.
    pub fn is_for_lines(self) -> bool {
        match self {
            Self::Ecs | Self::Classic => false,
            Self::Text
            | Self::Har
            | Self::ConntrackLog
            | Self::Cf
            | Self::CfRfc3339
            | Self::Netlog
            | Self::NetlogJson
            | Self::Lightmon
            | Self::LightmonJson
            | Self::LightmonTable => true,
        }
    }
}

impl SinkName {
    /// Whether there is a server at the other end.
    pub fn is_server(self) -> bool {
        match self {
            Self::Stdout | Self::File => false,
            Self::Fluentd | Self::Logstash | Self::Elasticsearch => true,
        }
    }
}

impl From<FieldFormat> for Format {
    fn from(format: FieldFormat) -> Self {
        match format {
            FieldFormat::Ecs => Self::Ecs,
            FieldFormat::Classic => Self::Classic,
        }
    }
}

impl From<DirectionName> for NetworkDirection {
    fn from(name: DirectionName) -> Self {
        match name {
            DirectionName::Ingress => Self::Ingress,
            DirectionName::Egress => Self::Egress,
            DirectionName::Internal => Self::Internal,
        }
    }
}

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
    fn words_are_read_in_any_case_and_by_their_other_names() {
        assert_eq!(Mode::parse("X", "PROD"), Ok(Mode::Prod));
        assert_eq!(LogLevel::parse("X", "Warning"), Ok(LogLevel::Warn));
        assert_eq!(SinkName::parse("X", "kafka").unwrap_err(), "none of the allowed words");
        assert_eq!(SinkName::allowed(), "stdout, file, fluentd, logstash, elasticsearch");
    }

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
