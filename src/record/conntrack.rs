//! The record of a connection that the kernel tracks: plain data. `conntrack` makes it, `format` shows it.

use std::sync::Arc;

use compact_str::CompactString;

use super::{EventOutcome, NetworkDirection, Workload};
use crate::flow::{Endpoint, IpProtocol, Timestamp};

/// `event.action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConntrackAction {
    /// The kernel began to track it.
    New,
    /// Its state changed; of folded flows: they live.
    Update,
    /// The kernel forgot it.
    End,
}

impl ConntrackAction {
    /// `event.action`.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Update => "update",
            Self::End => "end",
        }
    }
}

/// `podtap.conntrack.end_known_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKnownBy {
    /// The kernel's DESTROY: the time when the entry was removed.
    Destroy,
    /// An update to a state in which the connection is closed; the entry lived on.
    Closed,
    /// A dump of the table that no longer had it: the end was before.
    Dump,
}

impl EndKnownBy {
    /// `podtap.conntrack.end_known_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Destroy => "destroy",
            Self::Closed => "closed",
            Self::Dump => "dump",
        }
    }
}

/// Packets and bytes of one direction; bytes count from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for PacketCounters {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Type, code and id of ICMP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IcmpMessage {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo.
    pub id: Option<u16>,
}

/// Who opened, and who was opened to. Ports are 0 where the protocol has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConntrackTuple {
    /// The protocol.
    pub protocol: IpProtocol,
    /// The one who opened.
    pub source: Endpoint,
    /// The other.
    pub destination: Endpoint,
    /// Of ICMP.
    pub icmp: Option<IcmpMessage>,
}

/// `podtap.conntrack.status`: what the kernel says of an entry, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConntrackStatus(pub u32);

impl ConntrackStatus {
    /// Packets were seen in both directions.
    pub const SEEN_REPLY: Self = Self(1 << 1);
    /// The connection is established, and not given up early.
    pub const ASSURED: Self = Self(1 << 2);

    const NAMES: [(u32, &'static str); 9] = [
        (1, "expected"),
        (1 << 1, "seen_reply"),
        (1 << 2, "assured"),
        (1 << 3, "confirmed"),
        (1 << 4, "snat"),
        (1 << 5, "dnat"),
        (1 << 9, "dying"),
        (1 << 13, "helper"),
        (1 << 14, "offload"),
    ];

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, in the order of the bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }
}

/// What a record of several flows says about their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldedFlows {
    /// Flows that began in the interval.
    pub begun: u64,
    /// Flows that ended in it.
    pub ended: u64,
    /// Of those that ended, the ones that were never answered.
    pub failed: u64,
    /// Different source ports among them, as far as they were counted.
    pub source_ports: u64,
}

/// One event of the kernel's connection tracking, or several that were folded.
#[derive(Clone, Debug, PartialEq)]
pub struct ConntrackRecord {
    /// `event.id`.
    pub id: CompactString,
    /// `event.action`.
    pub action: ConntrackAction,
    /// When it happened, by the kernel's clock where it says so.
    pub at: Timestamp,
    /// When the flow began, or the interval; `None` where it was there before podtap and the kernel does not say.
    pub start: Option<Timestamp>,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// How the end is known.
    pub end_known_by: Option<EndKnownBy>,
    /// Addresses before any translation.
    pub tuple: ConntrackTuple,
    /// The translated end of who opened, where it differs.
    pub source_nat: Option<Endpoint>,
    /// The translated end of who was opened to, where it differs.
    pub destination_nat: Option<Endpoint>,
    /// Of both directions, where the kernel counts.
    pub counters: Option<[PacketCounters; 2]>,
    /// The kernel's number of the entry.
    pub kernel_id: Option<u32>,
    /// Zone.
    pub zone: Option<u16>,
    /// Mark, where there is one.
    pub mark: Option<u32>,
    /// The kernel's status.
    pub status: ConntrackStatus,
    /// State of TCP or SCTP by name.
    pub state: Option<&'static str>,
    /// Number of the network namespace, where several are listened to.
    pub namespace: Option<i32>,
    /// Events in this record.
    pub events: u64,
    /// Whether the flow's beginning was seen.
    pub begun: bool,
    /// Whether an update was seen.
    pub updated: bool,
    /// What came of it; only at the end.
    pub outcome: Option<EventOutcome>,
    /// How often it was tried, where it was never answered and the kernel counts.
    pub tries: Option<u64>,
    /// Of a record about several flows.
    pub flows: Option<FoldedFlows>,
    /// Which way, seen from the pod; `None` when no own address is among the two.
    pub direction: Option<NetworkDirection>,
    /// The workload behind the source's address, when it is known.
    pub source_workload: Option<Arc<Workload>>,
    /// The workload behind the destination's address, when it is known.
    pub destination_workload: Option<Arc<Workload>>,
}
