//! A record of connection tracking as nested objects. Owns their names, meanings and order.

use std::net::IpAddr;

use compact_str::CompactString;
use serde::{Serialize, Serializer};

use super::ECS_VERSION;
use super::declare::parts;
use super::fit::LineFit;
use super::objects::{EcsPart, IanaNumber, IcmpPart, RecorderParts, SidePart, below};
use super::view::community_id;
use crate::flow::{Endpoint, IpProtocol};
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{
    ConntrackAction, ConntrackRecord, ConntrackStatus, ConntrackTuple, Dataset, PacketCounters, Workload,
};

parts! {
    struct ConntrackView<'a> in "" {
        timestamp: Rfc3339Stamp as "@timestamp" => Date "When it happened: of `new` the start, of `end` the end";
        ecs: EcsPart => listed below(&["ecs."]);
        event: ConntrackEventPart<'a> => own;
        source: ConntrackSidePart => [
            "source.ip" Ip "Who opened, before translation",
            "source.port" Long "Its port; absent for protocols without, and where several are aggregated",
            "source.packets" Long "Packets of who opened, at the end; absent where the kernel does not count",
            "source.bytes" Long "Its bytes at the end, from the IP header on",
            "source.nat.ip" Ip "The source's address after translation, where source or port differ",
            "source.nat.port" Long "Its port after translation",
        ];
        destination: ConntrackSidePart => [
            "destination.ip" Ip "Who was opened to, before translation: the address of a Service",
            "destination.port" Long "Its port",
            "destination.packets" Long "Packets of the other end",
            "destination.bytes" Long "Its bytes",
            "destination.nat.ip" Ip "The destination's address after translation: the pod behind a Service",
            "destination.nat.port" Long "Its port after translation",
        ];
        network: ConntrackNetworkPart => own;
        flat recorder: RecorderParts<'a> => own;
        podtap: ConntrackPodtapPart<'a> => own;
    }

    struct ConntrackEventPart<'a> in "event." {
        kind: &'static str => Keyword "`event`";
        category: [&'static str; 1] => Keyword "`network`";
        r#type: [&'static str; 2] as "type" => Keyword "`connection`, and `start`, `info` or `end`";
        action: &'static str => Keyword "`new`, `update`, `end`";
        dataset: &'static str => Keyword "`podtap.conntrack`";
        id: &'a str => Keyword "Deterministic: the flow, and the record within it";
        maybe start: Rfc3339Stamp => Date "When the flow began; absent where that is not known. Aggregated: the first event";
        maybe end: Rfc3339Stamp => Date "When it ended. Aggregated: the last event";
        maybe duration: u64 => Long "`event.end` − `event.start` in nanoseconds";
        maybe outcome: &'static str => Keyword "At the end: `success` (TCP, SCTP: established; others: answered), `failure` (never established; ICMP: never answered), `unknown`";
    }

    struct ConntrackNetworkPart in "network." {
        transport: CompactString => Keyword "`tcp`, `udp`, `icmp`, `ipv6-icmp`, `sctp`, …; the number of a protocol without a name";
        iana_number: IanaNumber => Keyword "Number of the protocol";
        r#type: &'static str as "type" => Keyword "`ipv4`, `ipv6`";
        maybe direction: &'static str => Keyword "`ingress`, `egress`, `internal`, where an end is the pod's";
        maybe bytes: u64 => Long "Bytes of both directions, from the IP header on";
        maybe packets: u64 => Long "Packets of both directions";
        maybe community_id: CompactString => Keyword "Community ID v1, seed 0, of the addresses before translation; not aggregated";
    }

    struct ConntrackPodtapPart<'a> in "podtap." {
        maybe icmp: IcmpPart => [
            "podtap.icmp.type" Long "Type of ICMP",
            "podtap.icmp.code" Long "Code of ICMP",
            "podtap.icmp.id" Long "Identifier of an echo",
        ];
        conntrack: ConntrackPart => own;
        maybe source: SidePart<'a> => listed below(&["podtap.source.workload."]);
        maybe destination: SidePart<'a> => listed below(&["podtap.destination.workload."]);
    }

    struct ConntrackPart in "podtap.conntrack." {
        maybe id: u32 => Long "The kernel's number of the entry; several flows may have it one after the other";
        maybe zone: u16 => Long "Zone; absent in the default zone";
        maybe mark: u32 => Long "Mark; absent where it is 0";
        maybe status: StatusNames => Keyword "`seen_reply`, `assured`, `confirmed`, `snat`, `dnat`, `dying`, `expected`, `helper`, `offload`";
        maybe tcp_state: &'static str => Keyword "State of TCP, as `conntrack -L` names it, in lower case";
        maybe sctp_state: &'static str => Keyword "The same of SCTP";
        maybe namespace: i32 => Long "Id of the network namespace, with CONNTRACK_ALL_NAMESPACES";
        events: u64 => Long "Events of the kernel about this flow so far, or in this record";
        maybe end_known_by: &'static str => Keyword "`closed` (the connection's close), `destroy`, `dump` (not after it)";
        maybe tries: u64 => Long "Packets sent, where nothing came back";
        maybe begun: u64 => Long "Aggregated: flows that began";
        maybe ended: u64 => Long "Aggregated: flows that ended; their packets and bytes are summed";
        maybe failed: u64 => Long "Aggregated: of those that ended, flows that were never established or answered";
        maybe source_ports: u64 => Long "Aggregated: different source ports, 4096 at most";
    }
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
pub(super) struct NatPart {
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

pub(super) struct StatusNames(ConntrackStatus);

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
    use super::ConntrackView;
    use crate::flow::IpProtocol;
    use crate::format::Observer;
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
            let listed = ConntrackView::fields()
                .into_iter()
                .filter(|field| field.name.split('.').try_fold(&whole, |value, key| value.get(key)).is_some());
            of_listed_types(listed, &whole);
        }
        fields.extend(ConntrackView::fields().into_iter().map(|field| field.name.to_owned()));
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
