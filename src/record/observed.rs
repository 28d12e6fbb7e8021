//! Whose traffic a record of a whole node is: plain data, and the rule. The pipeline puts it into records.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::{NetworkDirection, Workload};

/// `podtap.observed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservedKind {
    /// An end is a pod of this node.
    Pod,
    /// An end is the node itself, and none a pod of it that has a name.
    Host,
    /// What passes the node, or whose ends have no name.
    Other,
}

impl ObservedKind {
    /// `podtap.observed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Host => "host",
            Self::Other => "other",
        }
    }
}

/// What a node's record says of the observed pod: it replaces what podtap says of the pod it runs in.
#[derive(Clone, Debug, PartialEq)]
pub struct OfNode {
    /// Whose traffic it is.
    pub observed: ObservedKind,
    /// The pod, and its address.
    pub pod: Option<(IpAddr, Arc<Workload>)>,
    /// Seen from the pod, else from the node.
    pub direction: Option<NetworkDirection>,
}

impl OfNode {
    /// Of a connection whose source and destination are these, on `node`; `of_host` is the direction as the node sees it. Of
    /// two pods of the node the destination is the one observed.
    pub fn new(
        node: &str,
        [source, destination]: [(IpAddr, Option<&Arc<Workload>>); 2],
        of_host: Option<NetworkDirection>,
    ) -> Self {
        let pod = |(ip, workload): (IpAddr, Option<&Arc<Workload>>)| {
            let is_here = |workload: &&Arc<Workload>| is_pod_of(workload, node);
            workload.filter(is_here).map(|workload| (ip, Arc::clone(workload)))
        };
        let (asks, serves) = (pod(source), pod(destination));
        let direction = match (&asks, &serves) {
            (Some(_), Some(_)) => Some(NetworkDirection::Internal),
            (Some(_), None) => Some(NetworkDirection::Egress),
            (None, Some(_)) => Some(NetworkDirection::Ingress),
            (None, None) => of_host,
        };
        let pod = serves.or(asks);
        let observed = match (&pod, direction) {
            (Some(_), _) => ObservedKind::Pod,
            (None, Some(_)) => ObservedKind::Host,
            (None, None) => ObservedKind::Other,
        };
        Self { observed, pod, direction }
    }

    /// The same where it came by the interface of a pod of this node: whose ends have no name is that pod's. What the pod
    /// does is the opposite of what the node does; without either, it is not known who asks.
    #[must_use]
    pub fn by_interface(self, pod: (IpAddr, Arc<Workload>)) -> Self {
        let direction = self.direction.map(|of_host| match of_host {
            NetworkDirection::Ingress => NetworkDirection::Egress,
            NetworkDirection::Egress => NetworkDirection::Ingress,
            NetworkDirection::Internal => NetworkDirection::Internal,
        });
        Self { observed: ObservedKind::Pod, pod: Some(pod), direction }
    }

    /// The application's name, as pods are labelled.
    pub fn service_name(&self) -> Option<&CompactString> {
        let (_, workload) = self.pod.as_ref()?;
        APP.into_iter().find_map(|name| workload.labels.value(name)).filter(|name| !name.is_empty())
    }
}

/// Labels that name an application, the first that is there.
const APP: [&str; 3] = ["app_kubernetes_io/name", "app", "k8s-app"];

/// Whether it is a pod of that node.
pub fn is_pod_of(workload: &Workload, node: &str) -> bool {
    workload.kind.as_deref() == Some("Pod") && workload.node.as_deref() == Some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: &str, node: &str) -> Arc<Workload> {
        let (kind, node) = (Some(kind.into()), Some(node.into()));
        Arc::new(Workload { kind, node, labels: [("app", "web")].into_iter().collect(), ..Workload::default() })
    }

    #[test]
    fn what_has_no_name_is_of_the_pod_whose_interface_it_came_by() {
        use NetworkDirection::{Egress, Ingress};
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        for (of_host, direction) in [(None, None), (Some(Egress), Some(Ingress)), (Some(Ingress), Some(Egress))] {
            let of = OfNode::new("n1", [(ip(1), None), (ip(2), None)], of_host);
            let of = of.by_interface((ip(9), workload("Pod", "n1")));
            assert_eq!(
                (of.observed, of.pod.map(|(ip, _)| ip), of.direction),
                (ObservedKind::Pod, Some(ip(9)), direction)
            );
        }
    }

    #[test]
    fn a_record_of_a_node_is_of_its_pod_else_of_the_node_itself() {
        use NetworkDirection::{Egress, Ingress, Internal};
        use ObservedKind::{Host, Other, Pod};
        let (here, there, node) = (workload("Pod", "n1"), workload("Pod", "n2"), workload("Node", "n1"));
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        for (source, destination, of_host, observed, pod, direction) in [
            (Some(&here), None, None, Pod, Some(1), Some(Egress)),
            (Some(&there), Some(&here), None, Pod, Some(2), Some(Ingress)),
            (Some(&here), Some(&here), None, Pod, Some(2), Some(Internal)),
            (Some(&node), Some(&here), Some(Egress), Pod, Some(2), Some(Ingress)),
            (Some(&node), Some(&there), Some(Egress), Host, None, Some(Egress)),
            (Some(&there), None, None, Other, None, None),
            (None, None, None, Other, None, None),
        ] {
            let of = OfNode::new("n1", [(ip(1), source), (ip(2), destination)], of_host);
            let seen = (of.observed, of.pod.as_ref().map(|(ip, _)| *ip), of.direction);
            assert_eq!(seen, (observed, pod.map(ip), direction));
            assert_eq!(of.service_name().map(CompactString::as_str), pod.map(|_| "web"));
        }
    }
}
