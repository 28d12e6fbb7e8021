//! The line of a flow by hand: busy networks have as many flows as exchanges. `flow::FlowView` has the same parts, and a
//! property test compares both. What every record has is written in pieces as long as can be.

use super::EcsLine;
use crate::flow::{Endpoint, IpProtocol};
use crate::format::Observer;
use crate::format::ecs::fit::LineFit;
use crate::format::ecs::objects::{IcmpPart, SidePart, TunnelPart};
use crate::format::ecs::process::{EXACT, ProcessSurroundings};
use crate::format::ecs::view::community_id;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{DomainNames, FlowCounts, FlowRecord};

/// From the end of `@timestamp` to the event's id.
macro_rules! before_id {
    ($kinds:literal) => {
        concat!(
            "\",\"ecs\":{\"version\":\"",
            ecs_version!(),
            "\"},\"event\":{\"kind\":\"event\",\"category\":[\"network\"],\"type\":[\"connection\",",
            $kinds,
            "],\"action\":\"network_flow\",\"dataset\":\"podtap.flow\",\"id\":\""
        )
    };
}

/// Appends the record, without line feed.
pub(in crate::format::ecs) fn append(out: &mut Vec<u8>, record: &FlowRecord, observer: &Observer, fit: &LineFit) {
    EcsLine { out }.flow(record, observer, fit);
}

impl EcsLine<'_> {
    fn flow(&mut self, record: &FlowRecord, observer: &Observer, fit: &LineFit) {
        let [there, back] = &record.counts;
        self.flow_event(record);
        self.raw("\"flow\":{\"id\":\"");
        self.plain(&record.flow_id);
        self.raw(if record.last {
            "\",\"final\":true},\"source\":{\"ip\":\""
        } else {
            "\",\"final\":false},\"source\":{\"ip\":\""
        });
        self.flow_side(record.protocol, record.source, there, record.source_domain.as_deref());
        self.raw("},\"destination\":{\"ip\":\"");
        self.flow_side(record.protocol, record.destination, back, record.destination_domain.as_deref());
        self.flow_network(record);
        self.process(record.process(), fit);
        self.observer(record.of_node.as_deref(), observer, &LineFit::WHOLE);
        if let Some(interface) = &record.interface {
            self.text("\"observer\":{\"ingress\":{\"interface\":{\"name\":\"", Some(interface));
            self.close("}}},");
        }
        self.flow_podtap(record, fit);
        self.close("}}");
    }

    /// A text of our own making, which has nothing to escape.
    #[inline(always)]
    fn plain(&mut self, text: &str) {
        debug_assert!(super::is_plain(text.as_bytes()), "{text}");
        self.out.extend_from_slice(text.as_bytes());
    }

    fn flow_event(&mut self, record: &FlowRecord) {
        let end = Rfc3339Stamp::new(record.end);
        self.raw("{\"@timestamp\":\"");
        self.out.extend_from_slice(end.as_bytes());
        self.raw(match (record.report == 1, record.last) {
            (true, true) => before_id!("\"start\",\"end\""),
            (true, false) => before_id!("\"start\""),
            (false, true) => before_id!("\"end\""),
            (false, false) => before_id!("\"info\""),
        });
        self.plain(&record.id);
        self.raw("\",\"start\":\"");
        self.out.extend_from_slice(end.near(record.end, record.start).as_bytes());
        self.raw("\",\"end\":\"");
        self.out.extend_from_slice(end.as_bytes());
        self.raw("\",\"duration\":");
        self.digits(record.end.since(record.start));
        if let Some(outcome) = record.outcome {
            self.raw(",\"outcome\":\"");
            self.plain(outcome.name());
            self.raw("\"");
        }
        self.raw("},");
    }

    /// What is behind `"ip":"`.
    fn flow_side(&mut self, protocol: IpProtocol, end: Endpoint, counts: &FlowCounts, domain: Option<&DomainNames>) {
        self.address(end.ip);
        if protocol.has_ports() {
            self.raw("\",\"port\":");
            self.digits(end.port.into());
            self.raw(",\"packets\":");
        } else {
            self.raw("\",\"packets\":");
        }
        self.digits(counts.packets);
        self.raw(",\"bytes\":");
        self.digits(counts.bytes);
        if let Some(domain) = domain {
            self.raw(",\"domain\":");
            self.rest(&domain.names);
        }
    }

    fn flow_network(&mut self, record: &FlowRecord) {
        let FlowRecord { protocol, source, destination, .. } = *record;
        let [there, back] = &record.counts;
        match (protocol, source.ip.is_ipv4()) {
            (IpProtocol::TCP, true) => {
                self.raw("},\"network\":{\"transport\":\"tcp\",\"iana_number\":\"6\",\"type\":\"ipv4\"");
            }
            (_, is_v4) => {
                self.raw("},\"network\":{\"transport\":\"");
                self.plain(&protocol.text());
                self.raw("\",\"iana_number\":\"");
                self.digits(protocol.0.into());
                self.raw(if is_v4 { "\",\"type\":\"ipv4\"" } else { "\",\"type\":\"ipv6\"" });
            }
        }
        if let Some(direction) = record.direction {
            self.raw(",\"direction\":\"");
            self.plain(direction.name());
            self.raw("\"");
        }
        self.raw(",\"bytes\":");
        self.digits(there.bytes + back.bytes);
        self.raw(",\"packets\":");
        self.digits(there.packets + back.packets);
        self.raw(",\"community_id\":\"");
        match &record.connection {
            Some(connection) => self.plain(&connection.community_id),
            None => self.plain(&community_id(protocol, [source, destination], record.icmp)),
        }
        self.raw("\",");
        self.vlans(&record.around);
        self.close("},");
    }

    fn flow_podtap(&mut self, record: &FlowRecord, fit: &LineFit) {
        let micros = |ns: Option<u64>| ns.map(|ns| ns / 1000);
        self.raw("\"podtap\":{\"trust\":\"");
        self.plain(record.trust.name());
        self.raw("\",");
        self.part(key!("icmp"), record.icmp.map(IcmpPart::new).as_ref());
        if let Some(id) = &record.connection_id {
            self.raw("\"connection\":{\"id\":\"");
            self.plain(id);
            self.raw("\"},");
        }
        self.raw("\"flow\":{\"state\":\"");
        self.plain(record.status.name());
        self.raw("\",\"report\":");
        self.digits(record.report.into());
        self.raw(",\"duration_us\":");
        self.digits(record.duration / 1000);
        self.raw(",");
        self.word(key!("ended_by" ""), record.ended_by.map(|end| end.name()));
        self.number(key!("connect_us"), micros(record.connect_ns));
        self.number(key!("rtt_us"), micros(record.rtt_ns));
        self.number(key!("exchanges"), record.exchanges);
        let [there, back] = &record.counts;
        self.raw("\"source\":{\"payload_bytes\":");
        self.flow_end(there, record.protocol);
        self.raw("\"destination\":{\"payload_bytes\":");
        self.flow_end(back, record.protocol);
        self.close("},");
        let surroundings = record.process().and_then(|process| ProcessSurroundings::new(process, EXACT));
        self.part(key!("process"), surroundings.as_ref());
        self.part(key!("tunnel"), TunnelPart::new(&record.around).as_ref());
        self.part(key!("source"), SidePart::whole(&record.source_workload, &record.source_domain).as_ref());
        self.part(
            key!("destination"),
            SidePart::whole(&record.destination_workload, &record.destination_domain).as_ref(),
        );
        self.word(key!("observed" ""), record.of_node.as_ref().map(|of_node| of_node.observed.name()));
        self.flag(key!("shortened"), fit.shortened.then_some(true));
    }

    /// What is behind `"payload_bytes":`.
    fn flow_end(&mut self, counts: &FlowCounts, protocol: IpProtocol) {
        self.digits(counts.payload_bytes);
        match (protocol == IpProtocol::TCP, counts.retransmitted_bytes, counts.resets, counts.zero_windows) {
            (false, ..) => self.raw("},"),
            (true, 0, 0, 0) => self.raw(",\"retransmitted_bytes\":0,\"resets\":0,\"zero_windows\":0},"),
            (true, again, resets, windows) => {
                self.raw(",");
                self.number(key!("retransmitted_bytes"), Some(again));
                self.number(key!("resets"), Some(resets));
                self.number(key!("zero_windows"), Some(windows));
                self.close("},");
            }
        }
    }
}
