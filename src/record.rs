//! The record: one exchange or one event, one line. Plain data, made by `http`, `conntrack`, `verdict` and others, shown by `format`.
//!
//! Field names of the JSON are a contract; they live in `format::ecs` (and `docs/record.md`). Everything here
//! is already redacted: a secret never enters a `Record`.

use compact_str::CompactString;

use crate::flow::Timestamp;

mod bare;
mod connect;
mod connection;
mod conntrack;
mod dataset;
mod exchange;
mod flow;
mod observed;
mod opening;
#[cfg(test)]
pub(crate) mod sample;
mod protocols;
mod statement;
mod timing;
mod verdict;
mod weird;
mod workload;

pub use self::connect::{ConnectRecord, ConnectResult, Process, ProcessContainer, SeenBy};
pub use self::connection::{ExchangeConnection, NetworkDirection};
pub use self::conntrack::{
    ConntrackAction, ConntrackRecord, ConntrackStatus, ConntrackTuple, EndKnownBy, FoldedFlows, IcmpMessage,
    PacketCounters,
};
pub use self::dataset::Dataset;
pub use self::exchange::{
    Exchange, HttpHeader, HttpRequest, HttpResponse, HttpVersion, MissingParts, StreamClass, TraceContext,
    UnansweredReason,
};
pub use self::flow::{FlowCounts, FlowEnd, FlowRecord, FlowStatus};
pub use self::observed::{ObservedKind, OfNode, is_pod_of};
pub use self::opening::ConnectionOpening;
pub use self::protocols::{
    CallSystem, ConnectionSide, EarlyEnd, EndedHow, EventStream, GrpcCall, Http2, SocketCounts, StreamReset, WebSocket,
    grpc_status, grpc_status_name, h2_error,
};
pub use self::statement::Statement;
pub use self::timing::ExchangeTiming;
pub use self::verdict::{
    FlowNews, FlowProgress, FollowedBy, LoggedPacket, StoredContainer, VerdictDirection, VerdictInput, VerdictMeaning,
    VerdictRecord,
};
pub use self::weird::{Weird, WeirdSet};
pub use self::workload::{DomainNames, DomainSource, EndNames, LabelSet, NameSet, Workload};

/// What podtap emits, of whichever kind. Filters, queues and spool need only its `meta`.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// One HTTP exchange, or what was seen of it.
    Http(Box<Exchange>),
    /// What was counted of a flow since its last report.
    Flow(Box<FlowRecord>),
    /// What the kernel's connection tracking says of a connection, or of several.
    Conntrack(Box<ConntrackRecord>),
    /// A packet that a firewall rule logged.
    Verdict(Box<VerdictRecord>),
    /// A connection that was asked for, and what came of it.
    Connect(Box<ConnectRecord>),
    /// What was counted for a while. Made outside the pipeline, for servers only: no filter sees it.
    Ledger(Box<Statement>),
}

/// What every record has, of whichever kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta<'a> {
    /// What kind of event it is.
    pub dataset: Dataset,
    /// `event.id`.
    pub id: &'a CompactString,
    /// `@timestamp`.
    pub at: Timestamp,
}

/// A record of the kind that its body is.
macro_rules! from_bodies {
    ($($kind:ident($body:ty)),*) => {
        $(impl From<$body> for Record {
            fn from(body: $body) -> Self {
                Self::$kind(Box::new(body))
            }
        })*
    };
}

from_bodies!(
    Http(Exchange),
    Flow(FlowRecord),
    Conntrack(ConntrackRecord),
    Verdict(VerdictRecord),
    Connect(ConnectRecord),
    Ledger(Statement)
);

impl Record {
    /// What it has in common with all others.
    pub fn meta(&self) -> RecordMeta<'_> {
        match self {
            Self::Http(exchange) => RecordMeta { dataset: Dataset::Http, id: &exchange.id, at: exchange.start() },
            Self::Flow(flow) => RecordMeta { dataset: Dataset::Flow, id: &flow.id, at: flow.end },
            Self::Conntrack(event) => RecordMeta { dataset: Dataset::Conntrack, id: &event.id, at: event.at },
            Self::Verdict(packet) => RecordMeta { dataset: Dataset::Verdict, id: &packet.id, at: packet.at },
            Self::Connect(connect) => RecordMeta { dataset: Dataset::Connect, id: &connect.id, at: connect.start },
            Self::Ledger(statement) => RecordMeta { dataset: Dataset::Ledger, id: &statement.id, at: statement.to },
        }
    }

    /// Takes the `event.id` out of a record that is encoded already.
    pub(crate) fn take_id(&mut self) -> CompactString {
        std::mem::take(match self {
            Self::Http(exchange) => &mut exchange.id,
            Self::Flow(flow) => &mut flow.id,
            Self::Conntrack(event) => &mut event.id,
            Self::Verdict(packet) => &mut packet.id,
            Self::Connect(connect) => &mut connect.id,
            Self::Ledger(statement) => &mut statement.id,
        })
    }

    /// What kind of event it is.
    pub fn dataset(&self) -> Dataset {
        self.meta().dataset
    }

    /// The exchange, where it is one.
    pub fn exchange(&self) -> Option<&Exchange> {
        if let Self::Http(exchange) = self { Some(exchange) } else { None }
    }

    /// The same, owned.
    pub fn into_exchange(self) -> Option<Exchange> {
        if let Self::Http(exchange) = self { Some(*exchange) } else { None }
    }
}

/// `podtap.trust`, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Every byte of both messages was seen, or is known by framing.
    Complete,
    /// The snap length, a limit or the end of the capture cut it, or its end is unknown.
    Truncated,
    /// Bytes are missing inside, framing still sure.
    Gap,
    /// We joined the connection late.
    Midstream,
    /// One half only.
    Unpaired,
}

impl Trust {
    /// `podtap.trust`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Gap => "gap",
            Self::Midstream => "midstream",
            Self::Unpaired => "unpaired",
        }
    }
}

/// `event.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventOutcome {
    /// Status below 400; of gRPC: OK.
    Success,
    /// Status from 400, or another one of gRPC, or unanswered, or reset before the end.
    Failure,
    /// Otherwise.
    Unknown,
}

impl EventOutcome {
    /// `event.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}
