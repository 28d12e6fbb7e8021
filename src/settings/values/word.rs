//! Words: closed sets of them, and small notations made of them.
//!
//! Does not say what a word does: the module that acts on it does.

use std::fmt;

use serde::Deserialize;

use crate::record::NetworkDirection;

use super::{SettingValue, by_envy};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_by_their_other_names() {
        assert_eq!(Mode::parse("X", "PROD"), Ok(Mode::Prod));
        assert_eq!(LogLevel::parse("X", "Warning"), Ok(LogLevel::Warn));
        assert_eq!(SinkName::parse("X", "kafka").unwrap_err(), "none of the allowed words");
        assert_eq!(SinkName::allowed(), "stdout, file, fluentd, logstash, elasticsearch");
    }
}
