//! The line of a flow by hand: busy networks have as many flows as exchanges. `flow::FlowView` has the same parts, and a
//! property test compares both.

use super::EcsLine;
use crate::flow::{Endpoint, IpProtocol};
use crate::format::Observer;
use crate::format::ecs::ECS_VERSION;
use crate::format::ecs::fit::LineFit;
use crate::format::ecs::flow::kinds;
use crate::format::ecs::objects::{IcmpPart, SidePart, TunnelPart};
use crate::format::ecs::process::{EXACT, ProcessSurroundings};
use crate::format::ecs::view::community_id;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{FlowCounts, FlowRecord, NameSet};

/// Appends the record, without line feed.
pub(in crate::format::ecs) fn append(out: &mut Vec<u8>, record: &FlowRecord, observer: &Observer, fit: &LineFit) {
    EcsLine { out }.flow(record, observer, fit);
}

impl EcsLine<'_> {
    fn flow(&mut self, record: &FlowRecord, observer: &Observer, fit: &LineFit) {
        let end = Rfc3339Stamp::new(record.end);
        let [there, back] = record.counts;
        let domain = record.destination_domain.as_deref().map(|domain| &domain.names);
        self.raw("{");
        self.stamp(key!("@timestamp" ""), &end);
        self.word("\"ecs\":{\"version\":\"", Some(ECS_VERSION));
        self.close("},");
        self.flow_event(record, &end);
        self.word("\"flow\":{\"id\":\"", Some(&record.flow_id));
        self.flag(key!("final"), Some(record.last));
        self.close("},");
        self.flow_side("\"source\":{\"ip\":\"", record.protocol, record.source, there, None);
        self.flow_side("\"destination\":{\"ip\":\"", record.protocol, record.destination, back, domain);
        self.flow_network(record);
        self.process(record.process(), fit);
        self.observer(record.of_node.as_deref(), observer, &LineFit::WHOLE);
        if let Some(interface) = &record.interface {
            self.text("\"observer\":{\"ingress\":{\"interface\":{\"name\":\"", Some(interface));
            self.close("}}},");
        }
        self.flow_podtap(record, fit);
        self.close("}");
    }

    fn flow_event(&mut self, record: &FlowRecord, end: &Rfc3339Stamp) {
        self.raw("\"event\":{\"kind\":\"event\",\"category\":[\"network\"],\"type\":[");
        for kind in kinds(record) {
            self.word("\"", Some(kind));
        }
        self.close("],");
        self.raw("\"action\":\"network_flow\",\"dataset\":\"podtap.flow\",");
        self.word(key!("id" ""), Some(&record.id));
        self.stamp(key!("start" ""), &Rfc3339Stamp::new(record.start));
        self.stamp(key!("end" ""), end);
        self.number(key!("duration"), Some(record.end.since(record.start)));
        self.word(key!("outcome" ""), record.outcome.map(|outcome| outcome.name()));
        self.close("},");
    }

    fn flow_side(
        &mut self,
        key: &'static str,
        protocol: IpProtocol,
        end: Endpoint,
        counts: FlowCounts,
        domain: Option<&NameSet>,
    ) {
        self.ip(key, Some(end.ip));
        self.number(key!("port"), protocol.has_ports().then(|| end.port.into()));
        self.number(key!("packets"), Some(counts.packets));
        self.number(key!("bytes"), Some(counts.bytes));
        self.part(key!("domain"), domain);
        self.close("},");
    }

    fn flow_network(&mut self, record: &FlowRecord) {
        let FlowRecord { protocol, source, destination, .. } = *record;
        let [there, back] = &record.counts;
        self.word("\"network\":{\"transport\":\"", Some(&protocol.text()));
        self.raw("\"iana_number\":\"");
        self.digits(protocol.0.into());
        self.raw("\",");
        self.word(key!("type" ""), Some(if source.ip.is_ipv4() { "ipv4" } else { "ipv6" }));
        self.word(key!("direction" ""), record.direction.map(|direction| direction.name()));
        self.number(key!("bytes"), Some(there.bytes + back.bytes));
        self.number(key!("packets"), Some(there.packets + back.packets));
        match &record.connection {
            Some(connection) => self.word(key!("community_id" ""), Some(&connection.community_id)),
            None => {
                let id = community_id(protocol, [source, destination], record.icmp);
                self.word(key!("community_id" ""), Some(&id));
            }
        }
        self.vlans(&record.around);
        self.close("},");
    }

    fn flow_podtap(&mut self, record: &FlowRecord, fit: &LineFit) {
        let of_tcp = record.protocol == IpProtocol::TCP;
        let micros = |ns: Option<u64>| ns.map(|ns| ns / 1000);
        self.word("\"podtap\":{\"trust\":\"", Some(record.trust.name()));
        self.part(key!("icmp"), record.icmp.map(IcmpPart::new).as_ref());
        if record.connection_id.is_some() {
            self.word("\"connection\":{\"id\":\"", record.connection_id.as_deref());
            self.close("},");
        }
        self.word("\"flow\":{\"state\":\"", Some(record.status.name()));
        self.number(key!("report"), Some(record.report.into()));
        self.number(key!("duration_us"), micros(Some(record.duration)));
        self.word(key!("ended_by" ""), record.ended_by.map(|end| end.name()));
        self.number(key!("connect_us"), micros(record.connect_ns));
        self.number(key!("rtt_us"), micros(record.rtt_ns));
        self.number(key!("exchanges"), record.exchanges);
        let [there, back] = &record.counts;
        self.flow_end("\"source\":{\"payload_bytes\":", there, of_tcp);
        self.flow_end("\"destination\":{\"payload_bytes\":", back, of_tcp);
        self.close("},");
        let surroundings = record.process().and_then(|process| ProcessSurroundings::new(process, EXACT));
        self.part(key!("process"), surroundings.as_ref());
        self.part(key!("tunnel"), TunnelPart::new(&record.around).as_ref());
        let source = SidePart::new(record.source_workload.as_deref(), None, &LineFit::WHOLE);
        self.part(key!("source"), source.as_ref());
        let (workload, domain) = (record.destination_workload.as_deref(), record.destination_domain.as_deref());
        self.part(key!("destination"), SidePart::new(workload, domain, &LineFit::WHOLE).as_ref());
        self.word(key!("observed" ""), record.of_node.as_ref().map(|of_node| of_node.observed.name()));
        self.flag(key!("shortened"), fit.shortened.then_some(true));
        self.close("}");
    }

    fn flow_end(&mut self, key: &'static str, counts: &FlowCounts, of_tcp: bool) {
        self.number(key, Some(counts.payload_bytes));
        if of_tcp {
            self.number(key!("retransmitted_bytes"), Some(counts.retransmitted_bytes));
            self.number(key!("resets"), Some(counts.resets));
            self.number(key!("zero_windows"), Some(counts.zero_windows));
        }
        self.close("},");
    }
}
