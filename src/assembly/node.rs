//! What is different where a whole node is observed: which copies of a packet are recorded, and whose each record is.
//!
//! The rules are in `copies` and `record::OfNode`; here they meet settings and records.

use crate::copies;
use crate::glob::Glob;
use crate::record::{OfNode, Record};
use crate::settings::Settings;

/// How the copies of packets are judged, with OBSERVE=node.
pub(super) fn copies(settings: &Settings, interfaces: Vec<Glob>) -> Option<copies::CopyConfig> {
    let threads = u64::try_from(settings.capture_threads.count()).unwrap_or(1).max(1);
    let packets = settings.node_packets.map(|most| u64::try_from(most.count()).unwrap_or(u64::MAX));
    let packets_per_second = packets.map(|most| (most / threads).max(1));
    settings.of_node().then_some(copies::CopyConfig { interfaces, packets_per_second })
}

/// Puts into a record whose it is. What is not of packets has podtap's own pod.
pub(super) fn observe(record: &mut Record, node: &str) {
    match record {
        Record::Http(exchange) => {
            let connection = &exchange.connection;
            let ends = [
                (connection.client.ip, exchange.source_workload.as_ref()),
                (connection.server.ip, exchange.destination_workload.as_ref()),
            ];
            exchange.of_node = Some(Box::new(OfNode::new(node, ends, connection.direction)));
        }
        Record::Flow(flow) => {
            let ends = [
                (flow.source.ip, flow.source_workload.as_ref()),
                (flow.destination.ip, flow.destination_workload.as_ref()),
            ];
            let of_node = OfNode::new(node, ends, flow.direction);
            flow.direction = of_node.direction;
            flow.of_node = Some(Box::new(of_node));
        }
        Record::Connect(connect) => {
            let Some(source) = connect.source else { return };
            let ends = [
                (source, connect.source_workload.as_ref()),
                (connect.destination.ip, connect.destination_workload.as_ref()),
            ];
            let of_node = OfNode::new(node, ends, connect.direction);
            connect.direction = of_node.direction;
            connect.of_node = Some(Box::new(of_node));
        }
        Record::Conntrack(_) | Record::Verdict(_) | Record::Ledger(_) => {}
    }
}
