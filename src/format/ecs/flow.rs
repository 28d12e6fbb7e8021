//! A report of a flow as nested objects. Owns their names and order; `fields` lists them.

use serde::Serialize;

use super::ECS_VERSION;
use super::fit::LineFit;
use super::objects::{
    EcsPart, IanaNumber, IcmpPart, IngressPart, InnerVlanPart, NamePart, ObserverPart, RecorderParts, SidePart,
    TunnelPart, VlanPart,
};
use super::process::{EXACT, ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::view::community_id;
use crate::flow::{Endpoint, IpProtocol};
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{Dataset, DomainNames, FlowCounts, FlowRecord, NameSet};

#[derive(Serialize)]
pub(super) struct FlowView<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Rfc3339Stamp,
    ecs: EcsPart,
    event: FlowEventPart<'a>,
    flow: FlowPart<'a>,
    source: FlowSidePart<'a>,
    destination: FlowSidePart<'a>,
    network: FlowNetworkPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<ProcessUserPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ProcessContainerPart<'a>>,
    #[serde(flatten)]
    recorder: RecorderParts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observer: Option<ObserverPart<'a>>,
    podtap: FlowPodtapPart<'a>,
}

#[derive(Serialize)]
struct FlowEventPart<'a> {
    kind: &'static str,
    category: [&'static str; 1],
    r#type: &'static [&'static str],
    action: &'static str,
    dataset: &'static str,
    id: &'a str,
    start: Rfc3339Stamp,
    end: Rfc3339Stamp,
    duration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
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
struct FlowPart<'a> {
    id: &'a str,
    r#final: bool,
}

#[derive(Serialize)]
struct FlowSidePart<'a> {
    ip: std::net::IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    packets: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a NameSet>,
}

#[derive(Serialize)]
struct FlowNetworkPart {
    transport: compact_str::CompactString,
    iana_number: IanaNumber,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    bytes: u64,
    packets: u64,
    community_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<VlanPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner: Option<InnerVlanPart>,
}

#[derive(Serialize)]
struct FlowPodtapPart<'a> {
    trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<FlowConnectionPart<'a>>,
    flow: FlowCountsPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessSurroundings<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<TunnelPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortened: Option<bool>,
}

#[derive(Serialize)]
struct FlowConnectionPart<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct FlowCountsPart {
    state: &'static str,
    report: u32,
    duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchanges: Option<u64>,
    source: FlowEndPart,
    destination: FlowEndPart,
}

#[derive(Serialize)]
struct FlowEndPart {
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
                |connection| connection.community_id.to_string(),
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
    use crate::flow::IpProtocol;
    use crate::format::Observer;
    use crate::format::fields::flow_record_fields;
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
        of_listed_types(flow_record_fields().filter(|field| !elsewhere.contains(&field.name)), &whole);
        let of_node = Some(Box::new(crate::record::sample::of_node()));
        let on_a_node = line(FlowRecord { of_node, ..everything_of_flow() }, &observer);
        leaves("", &serde_json::from_str(&on_a_node).unwrap(), &mut written);
        let fields: BTreeSet<_> = flow_record_fields().map(|field| field.name.to_owned()).collect();
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
