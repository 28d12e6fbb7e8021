//! A record of connection tracking as nested objects. Owns their names and order; `fields` lists them.

use std::net::IpAddr;

use compact_str::CompactString;
use serde::{Serialize, Serializer};

use super::ECS_VERSION;
use super::fit::LineFit;
use super::objects::{EcsPart, IanaNumber, IcmpPart, RecorderParts, SidePart};
use super::view::community_id;
use crate::flow::{Endpoint, IpProtocol};
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{
    ConntrackAction, ConntrackRecord, ConntrackStatus, ConntrackTuple, Dataset, PacketCounters, Workload,
};

#[derive(Serialize)]
pub(super) struct ConntrackView<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Rfc3339Stamp,
    ecs: EcsPart,
    event: ConntrackEventPart<'a>,
    source: ConntrackSidePart,
    destination: ConntrackSidePart,
    network: ConntrackNetworkPart,
    #[serde(flatten)]
    recorder: RecorderParts<'a>,
    podtap: ConntrackPodtapPart<'a>,
}

#[derive(Serialize)]
struct ConntrackEventPart<'a> {
    kind: &'static str,
    category: [&'static str; 1],
    r#type: [&'static str; 2],
    action: &'static str,
    dataset: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Rfc3339Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Rfc3339Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct ConntrackSidePart {
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nat: Option<NatPart>,
}

#[derive(Serialize)]
struct NatPart {
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
pub(super) struct ConntrackNetworkPart {
    transport: CompactString,
    iana_number: IanaNumber,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    community_id: Option<String>,
}

#[derive(Serialize)]
struct ConntrackPodtapPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<IcmpPart>,
    conntrack: ConntrackPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<SidePart<'a>>,
}

#[derive(Serialize)]
struct ConntrackPart {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sctp_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<i32>,
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_known_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ports: Option<u64>,
}

struct StatusNames(ConntrackStatus);

impl Serialize for StatusNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = serializer.serialize_seq(Some(self.0.names().count()))?;
        self.0.names().try_for_each(|name| list.serialize_element(name))?;
        list.end()
    }
}

impl<'a> ConntrackView<'a> {
    pub(super) fn new(record: &'a ConntrackRecord, observer: &'a Observer) -> Self {
        let ConntrackTuple { protocol, source, destination, .. } = record.tuple;
        let [there, back] = record.counters.map_or([None; 2], |counters| counters.map(Some));
        Self {
            timestamp: Rfc3339Stamp::new(record.at),
            ecs: EcsPart { version: ECS_VERSION },
            event: ConntrackEventPart::new(record),
            source: ConntrackSidePart::new(protocol, source, there, record.source_nat),
            destination: ConntrackSidePart::new(protocol, destination, back, record.destination_nat),
            network: ConntrackNetworkPart::new(record),
            recorder: RecorderParts::new(observer),
            podtap: ConntrackPodtapPart::new(record),
        }
    }
}

impl<'a> ConntrackEventPart<'a> {
    fn new(record: &'a ConntrackRecord) -> Self {
        let change = match record.action {
            ConntrackAction::New => "start",
            ConntrackAction::Update => "info",
            ConntrackAction::End => "end",
        };
        Self {
            kind: "event",
            category: ["network"],
            r#type: ["connection", change],
            action: record.action.name(),
            dataset: Dataset::Conntrack.name(),
            id: &record.id,
            start: record.start.map(Rfc3339Stamp::new),
            end: record.end.map(Rfc3339Stamp::new),
            duration: record.start.zip(record.end).map(|(start, end)| end.since(start)),
            outcome: record.outcome.map(|outcome| outcome.name()),
        }
    }
}

impl ConntrackSidePart {
    pub(super) fn new(
        protocol: IpProtocol,
        end: Endpoint,
        counters: Option<PacketCounters>,
        nat: Option<Endpoint>,
    ) -> Self {
        let port = |end: Endpoint| (protocol.has_ports() && end.port > 0).then_some(end.port);
        Self {
            ip: end.ip,
            port: port(end),
            packets: counters.map(|counters| counters.packets),
            bytes: counters.map(|counters| counters.bytes),
            nat: nat.map(|end| NatPart { ip: end.ip, port: port(end) }),
        }
    }
}

impl ConntrackNetworkPart {
    fn new(record: &ConntrackRecord) -> Self {
        let ConntrackTuple { protocol, source, destination, icmp } = record.tuple;
        let sum = |of: fn(&PacketCounters) -> u64| record.counters.as_ref().map(|both| both.iter().map(of).sum());
        Self {
            transport: protocol.text(),
            iana_number: IanaNumber(protocol.0),
            r#type: if source.ip.is_ipv4() { "ipv4" } else { "ipv6" },
            direction: record.direction.map(|direction| direction.name()),
            bytes: sum(|counters| counters.bytes),
            packets: sum(|counters| counters.packets),
            community_id: record.flows.is_none().then(|| community_id(protocol, [source, destination], icmp)),
        }
    }
}

impl<'a> ConntrackPodtapPart<'a> {
    fn new(record: &'a ConntrackRecord) -> Self {
        let side =
            |workload: &'a Option<std::sync::Arc<Workload>>| SidePart::new(workload.as_deref(), None, &LineFit::WHOLE);
        let of = |protocol| record.state.filter(|_| record.tuple.protocol == protocol);
        let flows = record.flows.as_ref();
        Self {
            icmp: record.tuple.icmp.map(IcmpPart::new),
            conntrack: ConntrackPart {
                id: record.kernel_id,
                zone: record.zone,
                mark: record.mark,
                status: (record.status != ConntrackStatus::default()).then_some(StatusNames(record.status)),
                tcp_state: of(IpProtocol::TCP),
                sctp_state: of(IpProtocol::SCTP),
                namespace: record.namespace,
                events: record.events,
                end_known_by: record.end_known_by.map(|by| by.name()),
                tries: record.tries,
                begun: flows.map(|flows| flows.begun),
                ended: flows.map(|flows| flows.ended),
                failed: flows.map(|flows| flows.failed),
                source_ports: flows.map(|flows| flows.source_ports).filter(|ports| *ports > 0),
            },
            source: side(&record.source_workload),
            destination: side(&record.destination_workload),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::tests::{everything, leaves, of_listed_types};
    use super::super::write_json;
    use crate::flow::IpProtocol;
    use crate::format::Observer;
    use crate::format::fields::conntrack_record_fields;
    use crate::record::sample::{conntrack, everything_of_conntrack};
    use crate::record::{ConntrackRecord, ConntrackStatus, FoldedFlows, IcmpMessage};

    fn line(record: ConntrackRecord, observer: &Observer) -> String {
        let mut out = Vec::new();
        write_json(&mut out, &record.into(), observer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_flow_through_a_service_names_both_addresses() {
        let expected = concat!(
            r#"{"@timestamp":"2026-03-01T12:00:01.000123Z","ecs":{"version":"9.0.0"},"event":{"kind":"event","category":["network"],"type":["connection","end"],"action":"end","#,
            r#""dataset":"podtap.conntrack","id":"00c0ffee00c0ffee.end","start":"2026-03-01T12:00:00.000123Z","end":"2026-03-01T12:00:01.000123Z","duration":1000000000,"outcome":"success"},"#,
            r#""source":{"ip":"10.61.1.2","port":51234,"packets":6,"bytes":512},"destination":{"ip":"10.96.61.10","port":80,"packets":5,"bytes":2300,"nat":{"ip":"10.61.2.2","port":8080}},"#,
            r#""network":{"transport":"tcp","iana_number":"6","type":"ipv4","bytes":2812,"packets":11,"community_id":"1:jOJfwMHf31/LWh1n1tbBNi4OXwE="},"#,
            r#""agent":{"type":"podtap","version":""#,
            env!("CARGO_PKG_VERSION"),
            r#""},"podtap":{"conntrack":{"id":7,"status":["seen_reply","assured","confirmed","dnat"],"tcp_state":"time_wait","events":6,"end_known_by":"closed"}}}"#,
            "\n"
        );
        assert_eq!(line(conntrack(), &Observer::default()), expected);
    }

    #[test]
    fn the_listed_fields_are_the_written_fields_with_their_types() {
        let observer = everything().1;
        let (mut written, mut fields) = (BTreeSet::new(), BTreeSet::new());
        let tcp = everything_of_conntrack();
        let mut sctp = tcp.clone();
        sctp.tuple.protocol = IpProtocol::SCTP;
        sctp.flows = Some(FoldedFlows { begun: 3, ended: 2, failed: 1, source_ports: 3 });
        for record in [tcp, sctp] {
            let whole: Value = serde_json::from_str(&line(record, &observer)).unwrap();
            leaves("", &whole, &mut written);
            let listed = conntrack_record_fields()
                .filter(|field| field.name.split('.').try_fold(&whole, |value, key| value.get(key)).is_some());
            of_listed_types(listed, &whole);
        }
        fields.extend(conntrack_record_fields().map(|field| field.name.to_owned()));
        assert_eq!(written, fields);
    }

    #[test]
    fn what_a_protocol_has_not_is_absent() {
        let mut ping = conntrack();
        ping.tuple.protocol = IpProtocol::ICMP;
        ping.tuple.icmp = Some(IcmpMessage { kind: 8, code: 0, id: Some(77) });
        (ping.destination_nat, ping.status, ping.state) = (None, ConntrackStatus::default(), None);
        let json: Value = serde_json::from_str(&line(ping, &Observer::default())).unwrap();
        assert_eq!(json["source"], json!({"ip": "10.61.1.2", "packets": 6, "bytes": 512}));
        assert_eq!(json["podtap"]["icmp"], json!({"type": 8, "code": 0, "id": 77}));
        assert_eq!(json["network"]["transport"], "icmp");
        assert_eq!(json["podtap"]["conntrack"], json!({"id": 7, "events": 6, "end_known_by": "closed"}));
    }
}
