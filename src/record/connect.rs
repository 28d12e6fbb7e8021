//! The record of a connect: which process asked for a connection to where, and what came of it. Plain data: made from what
//! the kernel says of a process, or from packets alone; `format` shows it.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::{DomainNames, EventOutcome, NetworkDirection, OfNode, Workload};
use crate::flow::{Endpoint, IpProtocol, Timestamp};

/// `podtap.connect.result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectResult {
    /// The connection was established. UDP: the address was set, which sends nothing.
    Established,
    /// The other end refused it, or a RST came in its name.
    Refused,
    /// Nothing came back until the kernel gave up.
    TimedOut,
    /// The network says that there is no way, or the kernel knows of none.
    Unreachable,
    /// The process closed it, or ended, before anything came of it.
    GivenUp,
    /// The kernel said no for another reason (`podtap.connect.errno`).
    Error,
}

impl ConnectResult {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Established, Self::Refused, Self::TimedOut, Self::Unreachable, Self::GivenUp, Self::Error];

    /// `podtap.connect.result`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::GivenUp => "given_up",
            Self::Error => "error",
        }
    }

    /// `event.outcome`. What was given up may have been one of two tries, of which the other was quicker.
    pub fn outcome(self) -> EventOutcome {
        match self {
            Self::Established => EventOutcome::Success,
            Self::Refused | Self::TimedOut | Self::Unreachable | Self::Error => EventOutcome::Failure,
            Self::GivenUp => EventOutcome::Unknown,
        }
    }
}

/// `podtap.connect.seen_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeenBy {
    /// The kernel, while the process asked for it: the process is known.
    Process,
    /// The capture: there is no process.
    Packets,
}

impl SeenBy {
    /// `podtap.connect.seen_by`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Packets => "packets",
        }
    }
}

/// A process as it was when it asked for the connection. Texts are redacted, and may hold any character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// `process.pid`: in the machine's own namespace of processes.
    pub pid: u32,
    /// `process.vpid`: in its own, where that is another one.
    pub own_pid: Option<u32>,
    /// `process.name`: what the kernel calls it; 15 bytes at most.
    pub name: CompactString,
    /// `process.executable`: the path within its own file system.
    pub executable: Option<CompactString>,
    /// `process.args`; the first of them, where they are long.
    pub args: Vec<CompactString>,
    /// There are more arguments, or the last one is longer.
    pub args_cut: bool,
    /// `process.parent.pid`.
    pub parent: Option<u32>,
    /// `process.start`.
    pub start: Option<Timestamp>,
    /// `user.id`.
    pub user: u32,
    /// `user.name`, where the name is known.
    pub user_name: Option<CompactString>,
    /// The container, where its control group is one's.
    pub container: Option<ProcessContainer>,
    /// `podtap.process.hostname`: in a pod, the pod's name.
    pub hostname: Option<CompactString>,
}

/// The container of a process, as its control group names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessContainer {
    /// `container.id`.
    pub id: CompactString,
    /// `container.name`, where something knows it.
    pub name: Option<CompactString>,
    /// `container.runtime`: `containerd`, `docker`, …
    pub runtime: Option<CompactString>,
    /// `podtap.process.pod_uid`.
    pub pod_uid: Option<CompactString>,
}

/// A connect, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectRecord {
    /// `event.id`.
    pub id: CompactString,
    /// When it was asked for.
    pub start: Timestamp,
    /// When its result was known.
    pub end: Option<Timestamp>,
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Address of the asking end; none where it never got one.
    pub source: Option<IpAddr>,
    /// Its port; likewise.
    pub source_port: Option<u16>,
    /// What was asked for.
    pub destination: Endpoint,
    /// What came of it.
    pub result: ConnectResult,
    /// Name of the error, without a success: `ECONNREFUSED`.
    pub errno: Option<CompactString>,
    /// Who saw it.
    pub seen_by: SeenBy,
    /// Who asked; none where packets alone were seen.
    pub process: Option<Arc<Process>>,
    /// `process.thread.id`: which of its threads.
    pub thread: Option<u32>,
    /// Inode of the network namespace, where it is known.
    pub netns: Option<u32>,
    /// SYNs sent, where packets were seen.
    pub tries: Option<u64>,
    /// The connection's id, where packets were seen.
    pub connection_id: Option<CompactString>,
    /// Interface of its first packet, likewise.
    pub interface: Option<Arc<str>>,
    /// Which way, seen from the pod; `None` when none of the ends is the pod's.
    pub direction: Option<NetworkDirection>,
    /// The workload behind the source's address, when it is known.
    pub source_workload: Option<Arc<Workload>>,
    /// The workload behind the destination's address, when it is known.
    pub destination_workload: Option<Arc<Workload>>,
    /// The names of the source's address, when they are known.
    pub source_domain: Option<Arc<DomainNames>>,
    /// The names of the destination's address, when they are known.
    pub destination_domain: Option<Arc<DomainNames>>,
    /// Where a node is observed, whose connect it is; set by the pipeline.
    pub of_node: Option<Box<OfNode>>,
}
