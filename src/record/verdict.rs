//! The record of a packet that a firewall rule logged: plain data. `verdict` makes it, `format` shows it.

use std::sync::Arc;

use compact_str::CompactString;

use super::{IcmpMessage, Workload};
use crate::flow::{Endpoint, IpProtocol, Timestamp};

/// Which way, seen from the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictDirection {
    /// To a container, or to this machine.
    Ingress,
    /// From a container, or from this machine.
    Egress,
}

impl VerdictDirection {
    /// `network.direction`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// `podtap.verdict.input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictInput {
    /// A group of NFLOG.
    Nflog,
    /// /dev/kmsg.
    Kmsg,
    /// A kernel log file.
    File,
    /// Standard input.
    Stdin,
}

impl VerdictInput {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Nflog, Self::Kmsg, Self::File, Self::Stdin];

    /// `podtap.verdict.input`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nflog => "nflog",
            Self::Kmsg => "kmsg",
            Self::File => "file",
            Self::Stdin => "stdin",
        }
    }
}

/// What a rule's prefix says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerdictMeaning {
    /// Whether the packet may pass.
    pub allowed: bool,
    /// `podtap.verdict.kind`.
    pub kind: Option<CompactString>,
}

/// What followed a logged packet: `podtap.verdict.followed_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FollowedBy {
    /// Its connection was established.
    Established,
    /// Something came back.
    Answered,
    /// Nothing came back, or nothing more was logged.
    Nothing,
    /// It was held back, and another packet to the same place was logged.
    Retried,
}

impl FollowedBy {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Established, Self::Answered, Self::Nothing, Self::Retried];

    /// `podtap.verdict.followed_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Answered => "answered",
            Self::Nothing => "nothing",
            Self::Retried => "retried",
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowProgress {
    /// It began.
    Begun,
    /// It was looked at later, and nothing had come back.
    Unanswered,
    /// Something came back.
    Answered,
    /// TCP and SCTP: it is established.
    Established,
}

/// What is known of a connection, for those who wait for what follows a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowNews {
    /// The protocol.
    pub protocol: IpProtocol,
    /// Who opened, before translation; for an echo the port is its identifier.
    pub source: Endpoint,
    /// Who was opened to, before translation.
    pub destination: Endpoint,
    /// The source after translation.
    pub source_nat: Option<Endpoint>,
    /// The destination after translation.
    pub destination_nat: Option<Endpoint>,
    /// How far it has come.
    pub progress: FlowProgress,
    /// It is over.
    pub ended: bool,
    /// When that was so.
    pub at: Timestamp,
}

impl FlowNews {
    /// The two ends as rules may see them: before all translation, behind that of the destination, behind both.
    pub fn seen_as(&self) -> impl Iterator<Item = (Endpoint, Endpoint)> {
        let destination = self.destination_nat.unwrap_or(self.destination);
        let behind = self.destination_nat.map(|_| (self.source, destination));
        let both = self.source_nat.map(|source| (source, destination));
        [Some((self.source, self.destination)), behind, both].into_iter().flatten()
    }
}

/// The container behind an address, as Cloud Foundry's store names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredContainer {
    /// Its handle.
    pub id: CompactString,
    /// `app_id`; empty where there is none.
    pub app: CompactString,
    /// `space_id`
    pub space: CompactString,
    /// `org_id`
    pub org: CompactString,
    /// `policy_group_id`, to which marks belong.
    pub group: CompactString,
}

/// A packet as a log entry shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedPacket {
    /// The protocol; none where the line does not say.
    pub protocol: Option<IpProtocol>,
    /// Sender; the port is 0 where the entry has none.
    pub source: Endpoint,
    /// Receiver; likewise.
    pub destination: Endpoint,
    /// Whether the entry has the sender's port, and the receiver's. A port may well be 0.
    pub has_port: [bool; 2],
    /// Type, code and id of ICMP.
    pub icmp: Option<IcmpMessage>,
    /// Length of the IP packet, from its header.
    pub length: Option<u32>,
    /// It is a later fragment, whose ports are in the first one.
    pub fragment: bool,
    /// The entry has less than the headers.
    pub truncated: bool,
}

/// A logged packet, or several alike.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRecord {
    /// `event.id`.
    pub id: CompactString,
    /// When it was logged; of several the last.
    pub at: Timestamp,
    /// When the first of several was.
    pub start: Option<Timestamp>,
    /// How many packets.
    pub packets: u64,
    /// The rule's prefix as logged.
    pub prefix: CompactString,
    /// What it says.
    pub meaning: VerdictMeaning,
    /// Which way.
    pub direction: VerdictDirection,
    /// The packet; of several the first.
    pub packet: LoggedPacket,
    /// Mark, where there is one.
    pub mark: Option<u32>,
    /// Group of NFLOG.
    pub group: Option<u16>,
    /// Where the entry was read.
    pub input: VerdictInput,
    /// Interface that it came in by.
    pub interface_in: Option<CompactString>,
    /// Interface that it goes out by.
    pub interface_out: Option<CompactString>,
    /// User of the sending process.
    pub user: Option<u32>,
    /// Who is behind the source's address.
    pub source: Option<Arc<StoredContainer>>,
    /// Who is behind the destination's address.
    pub destination: Option<Arc<StoredContainer>>,
    /// What followed, where connection tracking is recorded as well.
    pub followed_by: Option<FollowedBy>,
    /// Packets that NFLOG lost before this one since the last record of its group.
    pub lost_before: u64,
    /// The workload behind the source's address, when it is known.
    pub source_workload: Option<Arc<Workload>>,
    /// The workload behind the destination's address, when it is known.
    pub destination_workload: Option<Arc<Workload>>,
}

impl LoggedPacket {
    /// The ports, where the entry has them.
    pub fn ports(&self) -> [Option<u16>; 2] {
        let [source, destination] = self.has_port;
        [source.then_some(self.source.port), destination.then_some(self.destination.port)]
    }
}

impl VerdictRecord {
    /// `event.action`: direction and verdict in one word.
    pub fn action(&self) -> &'static str {
        match (self.direction, self.meaning.allowed) {
            (VerdictDirection::Ingress, true) => "ingress-allowed",
            (VerdictDirection::Ingress, false) => "ingress-denied",
            (VerdictDirection::Egress, true) => "egress-allowed",
            (VerdictDirection::Egress, false) => "egress-denied",
        }
    }

    /// Who the record is about: the destination of what comes in, the source of what goes out.
    pub fn subject(&self) -> Option<&StoredContainer> {
        match self.direction {
            VerdictDirection::Ingress => self.destination.as_deref(),
            VerdictDirection::Egress => self.source.as_deref(),
        }
    }
}
