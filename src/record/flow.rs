//! The record of a flow: packets and bytes between two ends, since the last record of the same flow. Plain data: `flows`
//! makes it, `format` shows it.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    ConnectionOpening, DomainNames, EventOutcome, ExchangeConnection, IcmpMessage, NetworkDirection, OfNode, Trust,
    Workload,
};
use crate::flow::{Endpoint, IpProtocol, OuterLayers, Timestamp};

/// `podtap.flow.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowStatus {
    /// Nothing came back so far.
    Attempt,
    /// Packets went both ways, or it was joined late.
    Established,
    /// TCP: both ends closed.
    Closed,
    /// TCP: reset after it was established.
    Reset,
    /// A RST answered its SYN, or ICMP says that nothing listens on its port.
    Refused,
    /// ICMP says that its destination cannot be reached.
    Unreachable,
    /// TCP: its SYN was never answered.
    TimedOut,
    /// Nothing came for the idle time.
    Idle,
    /// Made room for another.
    Evicted,
}

impl FlowStatus {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Attempt,
        Self::Established,
        Self::Closed,
        Self::Reset,
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
        Self::Idle,
        Self::Evicted,
    ];

    /// `podtap.flow.state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Established => "established",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
        }
    }
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEnd {
    /// Who opened.
    Source,
    /// The other.
    Destination,
}

impl FlowEnd {
    /// `podtap.flow.ended_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// What one end sent since the last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// IP packets; each fragment is one.
    pub packets: u64,
    /// Their lengths, as their IP headers say.
    pub bytes: u64,
    /// What they carried behind the header of the transport protocol.
    pub payload_bytes: u64,
    /// TCP: of those, bytes sent again.
    pub retransmitted_bytes: u64,
    /// TCP: segments with RST.
    pub resets: u64,
    /// TCP: how often its receive window closed.
    pub zero_windows: u64,
}

/// A report of one flow.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowRecord {
    /// `event.id`: the flow's id and the number of the report.
    pub id: CompactString,
    /// `flow.id`.
    pub flow_id: CompactString,
    /// 1, 2, … within the flow.
    pub report: u32,
    /// No more will come.
    pub last: bool,
    /// The first packet since the last report.
    pub start: Timestamp,
    /// The last packet.
    pub end: Timestamp,
    /// From the flow's first packet to its last one, nanoseconds.
    pub duration: u64,
    /// The protocol.
    pub protocol: IpProtocol,
    /// Of ICMP: the first message's.
    pub icmp: Option<IcmpMessage>,
    /// Who opened: sent the SYN, or the first packet.
    pub source: Endpoint,
    /// The other.
    pub destination: Endpoint,
    /// What the source and the destination sent.
    pub counts: [FlowCounts; 2],
    /// How far it has come.
    pub status: FlowStatus,
    /// Who sent the first FIN, or the RST.
    pub ended_by: Option<FlowEnd>,
    /// What came of it; only in the last record.
    pub outcome: Option<EventOutcome>,
    /// How far the record can be trusted.
    pub trust: Trust,
    /// SYN → SYN-ACK in nanoseconds.
    pub connect_ns: Option<u64>,
    /// From one end to the other and back, nanoseconds: the least that was seen so far.
    pub rtt_ns: Option<u64>,
    /// HTTP exchanges recorded in it since the last report; `None` where HTTP is not read.
    pub exchanges: Option<u64>,
    /// The same as that of the exchanges in it.
    pub connection_id: Option<CompactString>,
    /// The connection as its exchanges have it, where one was recorded.
    pub connection: Option<Arc<ExchangeConnection>>,
    /// How the connection began, where processes are looked for; none where its SYN was not seen.
    pub opening: Option<Arc<ConnectionOpening>>,
    /// What the client calls the server in its TLS ClientHello (SNI), where its first segment has it.
    pub server_name: Option<CompactString>,
    /// Which way, seen from the pod; `None` when none of the ends is the pod's.
    pub direction: Option<NetworkDirection>,
    /// Interface that its first packet came from.
    pub interface: Option<Arc<str>>,
    /// The VLANs and tunnels around its first packet.
    pub around: OuterLayers,
    /// The workload behind the source's address, when it is known.
    pub source_workload: Option<Arc<Workload>>,
    /// The workload behind the destination's address, when it is known.
    pub destination_workload: Option<Arc<Workload>>,
    /// The names of the source's address, when they are known.
    pub source_domain: Option<Arc<DomainNames>>,
    /// The names of the destination's address, when they are known.
    pub destination_domain: Option<Arc<DomainNames>>,
    /// Where a node is observed, whose flow it is; set by the pipeline.
    pub of_node: Option<Box<OfNode>>,
}
