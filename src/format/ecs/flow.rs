//! A report of a flow as nested objects. Owns their names, meanings and order.

use compact_str::CompactString;
use serde::Serialize;

use super::ECS_VERSION;
use super::declare::parts;
use super::fit::LineFit;
use super::objects::{
    EcsPart, IanaNumber, IcmpPart, IngressPart, InnerVlanPart, NamePart, ObserverPart, RecorderParts, SidePart,
    TunnelPart, VlanPart, below,
};
use super::process::{EXACT, ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::view::community_id;
use crate::flow::{Endpoint, IpProtocol};
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{Dataset, DomainNames, FlowCounts, FlowRecord, NameSet};

parts! {
    struct FlowView<'a> in "" {
        timestamp: Rfc3339Stamp as "@timestamp" => Date "As `event.end`";
        ecs: EcsPart => listed below(&["ecs."]);
        event: FlowEventPart<'a> => own;
        flow: FlowPart<'a> => own;
        source: FlowSidePart<'a> => [
            "source.ip" Ip "Who opened: the sender of the SYN, without one of the first packet",
            "source.port" Long "Its port; absent for ICMP",
            "source.packets" Long "IP packets from there; each fragment is one",
            "source.bytes" Long "Their lengths, as their IP headers say",
        ] and below(&["source.domain"]);
        destination: FlowSidePart<'a> => [
            "destination.ip" Ip "The other end",
            "destination.port" Long "Its port",
            "destination.packets" Long "IP packets from there",
            "destination.bytes" Long "Their lengths",
        ] and below(&[
                "destination.domain"]);
        network: FlowNetworkPart => own;
        maybe process: ProcessPart<'a> => listed below(&["process."]);
        maybe user: ProcessUserPart<'a> => own;
        maybe container: ProcessContainerPart<'a> => own;
        flat recorder: RecorderParts<'a> => own;
        maybe observer: ObserverPart<'a> => [
            "observer.ingress.interface.name" Keyword "Interface that its first packet came from",
        ];
        podtap: FlowPodtapPart<'a> => own;
    }

    struct FlowEventPart<'a> in "event." {
        kind: &'static str => Keyword "`event`";
        category: [&'static str; 1] => Keyword "`network`";
        r#type: &'static [&'static str] as "type" => Keyword "`connection`, and `start` (the first record), `end` (the last one), or `info`";
        action: &'static str => Keyword "`network_flow`";
        dataset: &'static str => Keyword "`podtap.flow`";
        id: &'a str => Keyword "`flow.id` and `podtap.flow.report`; the same flow seen again by the same observer has the same";
        start: Rfc3339Stamp => Date "The first packet since the last record";
        end: Rfc3339Stamp => Date "The last packet";
        duration: u64 => Long "`event.end` − `event.start` in nanoseconds";
        maybe outcome: &'static str => Keyword "In the last record: `success` (answered), `failure` (refused, unreachable, TCP or an echo without an answer), `unknown`";
    }

    struct FlowPart<'a> in "flow." {
        id: &'a str => Keyword "The flow: the same in all of its records";
        r#final: bool as "final" => Boolean "Whether no record of the flow follows";
    }

    struct FlowNetworkPart in "network." {
        transport: compact_str::CompactString => Keyword "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`";
        iana_number: IanaNumber => Keyword "Number of the protocol";
        r#type: &'static str as "type" => Keyword "`ipv4`, `ipv6`";
        maybe direction: &'static str => Keyword "`ingress`, `egress`, `internal`, where an end is the pod's";
        bytes: u64 => Long "Bytes of both directions";
        packets: u64 => Long "Packets of both directions";
        community_id: CompactString => Keyword "Community ID v1, seed 0";
        maybe vlan: VlanPart => listed below(&["network.vlan."]);
        maybe inner: InnerVlanPart => listed below(&["network.inner."]);
    }

    struct FlowPodtapPart<'a> in "podtap." {
        trust: &'static str => Keyword "TCP: `complete`, `truncated` (its end was not seen), `gap` (the capture missed bytes), `midstream`";
        maybe icmp: IcmpPart => [
            "podtap.icmp.type" Long "Type of ICMP, of the first message",
            "podtap.icmp.code" Long "Code of ICMP",
            "podtap.icmp.id" Long "Identifier of an echo",
        ];
        maybe connection: FlowConnectionPart<'a> => [
            "podtap.connection.id" Keyword "The TCP connection, as in the records of its HTTP exchanges",
        ];
        flow: FlowCountsPart => own;
        maybe process: ProcessSurroundings<'a> => own;
        maybe tunnel: TunnelPart => listed below(&["podtap.tunnel."]);
        maybe source: SidePart<'a> => listed below(&["podtap.source."]);
        maybe destination: SidePart<'a> => listed below(&["podtap.destination."]);
        maybe observed: &'static str => listed below(&["podtap.observed"]);
        maybe shortened: bool => Boolean "`true` where texts were shortened to keep a line of standard output under 16 KiB";
    }

    struct FlowCountsPart in "podtap.flow." {
        state: &'static str => Keyword "`attempt` (nothing came back so far), `established`, `closed`, `reset`, `refused`, `unreachable`, `timed_out`, `idle`, `evicted` (to make room)";
        report: u32 => Long "1, 2, … within the flow";
        duration_us: u64 => Long "First packet of the flow → `event.end`";
        maybe ended_by: &'static str => Keyword "Who sent the first FIN, or the RST: `source`, `destination`";
        maybe connect_us: u64 => Long "SYN → SYN-ACK";
        maybe rtt_us: u64 => Long "From one end to the other and back: the least time between bytes and their acknowledgement, of both ways, so far";
        maybe exchanges: u64 => Long "HTTP exchanges recorded in it; absent where HTTP is not recorded";
        source: FlowEndPart => [
            "podtap.flow.source.payload_bytes" Long "Bytes behind the transport header, of the source",
            "podtap.flow.source.retransmitted_bytes" Long "TCP: of those, bytes that came twice, or more than 3 ms after later ones",
            "podtap.flow.source.resets" Long "TCP: segments with RST",
            "podtap.flow.source.zero_windows" Long "TCP: how often its receive window closed",
        ];
        destination: FlowEndPart => [
            "podtap.flow.destination.payload_bytes" Long "The same of the destination",
            "podtap.flow.destination.retransmitted_bytes" Long "The same of the destination",
            "podtap.flow.destination.resets" Long "The same of the destination",
            "podtap.flow.destination.zero_windows" Long "The same of the destination",
        ];
    }
}

/// `event.type`: of the first report `start`, of the last one `end`, of one between `info`.
pub(super) fn kinds(record: &FlowRecord) -> &'static [&'static str] {
    match (record.report == 1, record.last) {
        (true, true) => &["connection", "start", "end"],
        (true, false) => &["connection", "start"],
        (false, true) => &["connection", "end"],
        (false, false) => &["connection", "info"],
    }
}

#[derive(Serialize)]
pub(super) struct FlowSidePart<'a> {
    ip: std::net::IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    packets: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a NameSet>,
}

#[derive(Serialize)]
pub(super) struct FlowConnectionPart<'a> {
    id: &'a str,
}

#[derive(Serialize)]
pub(super) struct FlowEndPart {
    payload_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmitted_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero_windows: Option<u64>,
}

impl<'a> FlowView<'a> {
    pub(super) fn new(record: &'a FlowRecord, observer: &'a Observer, fit: &'a LineFit) -> Self {
        let name = |name: &'a str| NamePart { name };
        let [there, back] = record.counts;
        let interface = record
            .interface
            .as_deref()
            .map(|interface| ObserverPart { ingress: IngressPart { interface: name(interface) } });
        Self {
            timestamp: Rfc3339Stamp::new(record.end),
            ecs: EcsPart { version: ECS_VERSION },
            event: FlowEventPart::new(record),
            flow: FlowPart { id: &record.flow_id, r#final: record.last },
            source: FlowSidePart::new(record.protocol, record.source, there, record.source_domain.as_deref()),
            destination: FlowSidePart::new(
                record.protocol,
                record.destination,
                back,
                record.destination_domain.as_deref(),
            ),
            network: FlowNetworkPart::new(record),
            process: record.process().map(|process| ProcessPart::new(process, None, fit)),
            user: record.process().map(ProcessUserPart::new),
            container: record.process().and_then(ProcessContainerPart::new),
            recorder: RecorderParts::of(record.of_node.as_deref(), observer),
            observer: interface,
            podtap: FlowPodtapPart::new(record, fit),
        }
    }
}

impl<'a> FlowEventPart<'a> {
    fn new(record: &'a FlowRecord) -> Self {
        Self {
            kind: "event",
            category: ["network"],
            r#type: kinds(record),
            action: "network_flow",
            dataset: Dataset::Flow.name(),
            id: &record.id,
            start: Rfc3339Stamp::new(record.start),
            end: Rfc3339Stamp::new(record.end),
            duration: record.end.since(record.start),
            outcome: record.outcome.map(|outcome| outcome.name()),
        }
    }
}

impl<'a> FlowSidePart<'a> {
    /// A port of 0 was on the wire, too.
    fn new(protocol: IpProtocol, end: Endpoint, counts: FlowCounts, domain: Option<&'a DomainNames>) -> Self {
        let port = protocol.has_ports().then_some(end.port);
        let domain = domain.map(|domain| &domain.names);
        Self { ip: end.ip, port, packets: counts.packets, bytes: counts.bytes, domain }
    }
}

impl FlowNetworkPart {
    fn new(record: &FlowRecord) -> Self {
        let FlowRecord { protocol, source, destination, .. } = *record;
        let [there, back] = &record.counts;
        Self {
            transport: protocol.text(),
            iana_number: IanaNumber(protocol.0),
            r#type: if source.ip.is_ipv4() { "ipv4" } else { "ipv6" },
            direction: record.direction.map(|direction| direction.name()),
            bytes: there.bytes + back.bytes,
            packets: there.packets + back.packets,
            community_id: record.connection.as_ref().map_or_else(
                || community_id(protocol, [source, destination], record.icmp),
                |connection| connection.community_id.clone(),
            ),
            vlan: VlanPart::outer(&record.around),
            inner: InnerVlanPart::new(&record.around),
        }
    }
}

impl<'a> FlowPodtapPart<'a> {
    fn new(record: &'a FlowRecord, fit: &LineFit) -> Self {
        let [there, back] = record.counts.map(|counts| FlowEndPart::new(counts, record.protocol));
        Self {
            trust: record.trust.name(),
            icmp: record.icmp.map(IcmpPart::new),
            connection: record.connection_id.as_deref().map(|id| FlowConnectionPart { id }),
            flow: FlowCountsPart {
                state: record.status.name(),
                report: record.report,
                duration_us: record.duration / 1000,
                ended_by: record.ended_by.map(|end| end.name()),
                connect_us: record.connect_ns.map(|ns| ns / 1000),
                rtt_us: record.rtt_ns.map(|ns| ns / 1000),
                exchanges: record.exchanges,
                source: there,
                destination: back,
            },
            process: record.process().and_then(|process| ProcessSurroundings::new(process, EXACT)),
            tunnel: TunnelPart::new(&record.around),
            source: SidePart::whole(&record.source_workload, &record.source_domain),
            destination: SidePart::whole(&record.destination_workload, &record.destination_domain),
            observed: record.of_node.as_ref().map(|of_node| of_node.observed.name()),
            shortened: fit.shortened.then_some(true),
        }
    }
}

impl FlowEndPart {
    fn new(counts: FlowCounts, protocol: IpProtocol) -> Self {
        let of_tcp = |n: u64| (protocol == IpProtocol::TCP).then_some(n);
        Self {
            payload_bytes: counts.payload_bytes,
            retransmitted_bytes: of_tcp(counts.retransmitted_bytes),
            resets: of_tcp(counts.resets),
            zero_windows: of_tcp(counts.zero_windows),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::tests::{everything, leaves, of_listed_types};
    use super::super::{write_json, write_json_capped};
    use super::FlowView;
    use crate::flow::IpProtocol;
    use crate::format::Observer;
    use crate::record::sample::{self, everything_of_flow, flow};
    use crate::record::{ConnectionOpening, FlowRecord, IcmpMessage};

    fn line(record: FlowRecord, observer: &Observer) -> String {
        let mut out = Vec::new();
        write_json(&mut out, &record.into(), observer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_flow_says_what_each_end_sent_and_what_came_of_it() {
        let expected = concat!(
            r#"{"@timestamp":"2026-03-01T12:00:01.000123Z","ecs":{"version":"9.0.0"},"event":{"kind":"event","category":["network"],"type":["connection","start","end"],"#,
            r#""action":"network_flow","dataset":"podtap.flow","id":"AAECAwQFBgcICQoL.1","start":"2026-03-01T12:00:00.000123Z","end":"2026-03-01T12:00:01.000123Z","duration":1000000000,"#,
            r#""outcome":"success"},"flow":{"id":"AAECAwQFBgcICQoL","final":true},"source":{"ip":"10.61.1.2","port":51234,"packets":6,"bytes":512},"#,
            r#""destination":{"ip":"10.61.2.2","port":8080,"packets":5,"bytes":2300},"#,
            r#""network":{"transport":"tcp","iana_number":"6","type":"ipv4","bytes":2812,"packets":11,"community_id":"1:oNCdSAXoot8DLtnHZSuTdh80Hw8="},"#,
            r#""agent":{"type":"podtap","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""},"podtap":{"trust":"complete","connection":{"id":"Y29ubmVjdGlvbi1p"},"flow":{"state":"closed","report":1,"duration_us":1000000,"ended_by":"source","#,
            r#""connect_us":150,"rtt_us":180,"exchanges":1,"source":{"payload_bytes":200,"retransmitted_bytes":0,"resets":0,"zero_windows":0},"#,
            r#""destination":{"payload_bytes":2040,"retransmitted_bytes":20,"resets":0,"zero_windows":0}}}}"#,
            "\n"
        );
        assert_eq!(line(flow(), &Observer::default()), expected);
    }

    #[test]
    fn the_listed_fields_are_the_written_fields_with_their_types() {
        let observer = everything().1;
        let mut written = BTreeSet::from(["podtap.shortened".to_owned()]);
        let whole: Value = serde_json::from_str(&line(everything_of_flow(), &observer)).unwrap();
        leaves("", &whole, &mut written);
        let elsewhere = ["podtap.shortened", "podtap.observed"];
        of_listed_types(FlowView::fields().into_iter().filter(|field| !elsewhere.contains(&field.name)), &whole);
        let of_node = Some(Box::new(crate::record::sample::of_node()));
        let on_a_node = line(FlowRecord { of_node, ..everything_of_flow() }, &observer);
        leaves("", &serde_json::from_str(&on_a_node).unwrap(), &mut written);
        let fields: BTreeSet<_> = FlowView::fields().into_iter().map(|field| field.name.to_owned()).collect();
        assert_eq!(written, fields);
    }

    #[test]
    fn a_long_line_is_shortened_and_says_so() {
        let mut process = everything_of_flow().process().unwrap().clone();
        process.args = vec!["\u{1}".repeat(1000).into(); 4];
        let opening = ConnectionOpening::new(sample::START);
        opening.asker.set(Some(process.into())).unwrap();
        let record = FlowRecord { opening: Some(opening.into()), ..flow() };
        let mut out = Vec::new();
        assert!(write_json_capped(&mut out, &record.into(), &Observer::default(), 16 << 10));
        assert!(out.len() <= 16 << 10, "{}", out.len());
        let json: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["podtap"]["shortened"], true);
        assert!(json["process"].get("command_line").is_none() && json["process"]["pid"] == 4711);
    }

    #[test]
    fn what_a_protocol_has_not_is_absent_and_a_report_between_says_so() {
        let mut ping = flow();
        ping.protocol = IpProtocol::ICMP;
        ping.icmp = Some(IcmpMessage { kind: 8, code: 0, id: Some(77) });
        (ping.source.port, ping.destination.port) = (0, 0);
        (ping.connection_id, ping.exchanges, ping.connect_ns, ping.rtt_ns) = (None, None, None, None);
        (ping.report, ping.last, ping.outcome, ping.ended_by) = (2, false, None, None);
        let json: Value = serde_json::from_str(&line(ping, &Observer::default())).unwrap();
        assert_eq!(json["source"], json!({"ip": "10.61.1.2", "packets": 6, "bytes": 512}));
        assert_eq!(json["event"]["type"], json!(["connection", "info"]));
        assert_eq!(json["podtap"]["icmp"], json!({"type": 8, "code": 0, "id": 77}));
        assert_eq!(json["podtap"]["flow"]["source"], json!({"payload_bytes": 200}));
    }
}
