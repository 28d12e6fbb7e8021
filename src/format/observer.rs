//! The observer: what all records of this process have in common.
//!
//! Plain data; other modules know where it comes from (environment, Downward API).

use std::net::IpAddr;

use compact_str::CompactString;

use crate::record::LabelSet;

/// What every record of this process has in common. Absent means unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    /// `service.name`: SERVICE_NAME, else the pod's app label.
    pub service_name: Option<CompactString>,
    /// `labels.*`: TAGS.
    pub labels: LabelSet,
    /// `host.name`: the node, or the host outside Kubernetes.
    pub host_name: Option<CompactString>,
    /// HOSTNAME of the classic record: the name the system itself goes by, in a pod the pod's.
    pub hostname: Option<CompactString>,
    /// `orchestrator.cluster.name`: CLUSTER_NAME.
    pub cluster_name: Option<CompactString>,
    /// `kubernetes.*`: the observed pod.
    pub pod: Pod,
}

/// The observed pod, as far as the Downward API knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `kubernetes.namespace`
    pub namespace: Option<CompactString>,
    /// `kubernetes.pod.name`
    pub name: Option<CompactString>,
    /// `kubernetes.pod.uid`
    pub uid: Option<CompactString>,
    /// `kubernetes.pod.ip`
    pub ip: Option<IpAddr>,
    /// `kubernetes.node.name`
    pub node: Option<CompactString>,
    /// `kubernetes.labels.*`
    pub labels: LabelSet,
    /// `kubernetes.annotations.*`: only those of the allow list.
    pub annotations: LabelSet,
}
