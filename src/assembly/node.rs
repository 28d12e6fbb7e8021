//! What is different where a whole node is observed: which copies of a packet are recorded, and whose each record is.
//!
//! The rules are in `copies` and `record::OfNode`; here they meet settings and records.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::copies;
use crate::flow::Timestamp;
use crate::glob::Glob;
use crate::published::Subscription;
use crate::record::{NetworkDirection, OfNode, Record, Workload, is_pod_of};
use crate::settings::Settings;
use crate::source::routes::HostRoutes;
use crate::workload::Workloads;

/// How the copies of packets are judged, with OBSERVE=node.
pub(super) fn copies(settings: &Settings, interfaces: Vec<Glob>) -> Option<copies::CopyConfig> {
    let threads = u64::try_from(settings.capture_threads.count()).unwrap_or(1).max(1);
    let packets = settings.node_packets.map(|most| u64::try_from(most.count()).unwrap_or(u64::MAX));
    let packets_per_second = packets.map(|most| (most / threads).max(1));
    settings.of_node().then_some(copies::CopyConfig { interfaces, packets_per_second })
}

/// Whose the records of a node are.
pub(super) struct Node {
    pub(super) name: CompactString,
    pub(super) workloads: Workloads,
    /// Who is behind which interface.
    pub(super) routes: Subscription<HostRoutes>,
}

impl Node {
    /// Puts into a record whose it is. What is not of packets has podtap's own pod.
    pub(super) fn observe(&mut self, record: &mut Record) {
        if let Record::Http(exchange) = record {
            let connection = &exchange.connection;
            let ends = [
                (connection.client.ip, exchange.source_workload.as_ref()),
                (connection.server.ip, exchange.destination_workload.as_ref()),
            ];
            let interface = connection.interface.as_deref();
            exchange.of_node = Some(self.of(ends, connection.direction, interface, exchange.start()));
        } else if let Record::Flow(flow) = record {
            let ends = [
                (flow.source.ip, flow.source_workload.as_ref()),
                (flow.destination.ip, flow.destination_workload.as_ref()),
            ];
            let of_node = self.of(ends, flow.direction, flow.interface.as_deref(), flow.start);
            (flow.direction, flow.of_node) = (of_node.direction, Some(of_node));
        } else if let Record::Connect(connect) = record {
            let Some(source) = connect.source else { return };
            let ends = [
                (source, connect.source_workload.as_ref()),
                (connect.destination.ip, connect.destination_workload.as_ref()),
            ];
            let of_node = self.of(ends, connect.direction, connect.interface.as_deref(), connect.start);
            (connect.direction, connect.of_node) = (of_node.direction, Some(of_node));
        }
    }

    /// Whose a connection between these ends is. An address that no one knows may be another one of the pod behind the
    /// interface.
    fn of(
        &mut self,
        ends: [(IpAddr, Option<&Arc<Workload>>); 2],
        of_host: Option<NetworkDirection>,
        interface: Option<&str>,
        at: Timestamp,
    ) -> Box<OfNode> {
        let of_node = OfNode::new(&self.name, ends, of_host);
        let interface = interface.filter(|_| of_node.pod.is_none());
        let addresses = interface.map(|interface| self.routes.now().behind(interface)).unwrap_or_default();
        Box::new(match pod_behind(addresses, &self.name, |ip| self.workloads.at(ip, at)) {
            Some(pod) => of_node.by_interface(pod),
            None => of_node,
        })
    }
}

/// The one pod of the node that has any of these addresses.
fn pod_behind(
    addresses: &[IpAddr],
    node: &str,
    who: impl Fn(IpAddr) -> Option<Arc<Workload>>,
) -> Option<(IpAddr, Arc<Workload>)> {
    let mut pods = addresses.iter().filter_map(|ip| Some((*ip, who(*ip)?))).filter(|(_, it)| is_pod_of(it, node));
    let first = pods.next()?;
    let same = |it: &Workload| (&it.namespace, &it.name) == (&first.1.namespace, &first.1.name);
    pods.all(|(_, it)| same(&it)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_of_the_one_pod_that_its_addresses_name() {
        let who = |ip: IpAddr| {
            let [.., last] = ip.to_string().parse::<std::net::Ipv4Addr>().unwrap().octets();
            let (kind, name, node) = match last {
                1 | 2 => ("Pod", "a", "n1"),
                3 => ("Pod", "b", "n1"),
                4 => ("Node", "n1", "n1"),
                5 => ("Pod", "c", "n2"),
                _ => return None,
            };
            let [kind, name, node] = [kind, name, node].map(|text| Some(text.into()));
            Some(Arc::new(Workload { kind, name, node, ..Workload::default() }))
        };
        for (addresses, name) in [
            (&[1u8][..], Some("a")),
            (&[1, 2], Some("a")),
            (&[9, 1, 4], Some("a")),
            (&[1, 3], None),
            (&[4], None),
            (&[5], None),
            (&[], None),
        ] {
            let addresses: Vec<_> = addresses.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
            let found = pod_behind(&addresses, "n1", who);
            assert_eq!(found.and_then(|(_, pod)| pod.name.clone()).as_deref(), name, "{addresses:?}");
        }
    }
}
