//! Records for tests: the contract's example, and parts to vary it with.

use std::sync::Arc;

use super::{
    ConnectRecord, ConnectResult, ConnectionOpening, ConntrackAction, ConntrackRecord, ConntrackStatus, ConntrackTuple,
    EndKnownBy, Exchange, ExchangeConnection, FlowCounts, FlowEnd, FlowRecord, FlowStatus, FollowedBy, HttpHeader,
    HttpRequest, HttpResponse, HttpVersion, IcmpMessage, LoggedPacket, NetworkDirection, OfNode, PacketCounters,
    Process, ProcessContainer, Record, SeenBy, StoredContainer, Trust, VerdictDirection, VerdictInput, VerdictMeaning,
    VerdictRecord,
};
use crate::flow::{Endpoint, IpProtocol, OuterLayers, Timestamp, Tunnel, TunnelKind};

/// 2026-03-01T12:00:00.000123Z, where the example begins.
pub(crate) const START: Timestamp = Timestamp(1_772_366_400_000_123_000);

/// A header.
pub(crate) fn header(name: &str, value: &str) -> HttpHeader {
    HttpHeader { name: name.into(), value: value.into() }
}

/// `GET /cart?id=7`.
pub(crate) fn request() -> HttpRequest {
    HttpRequest {
        method: "GET".into(),
        target: "/cart?id=7".into(),
        version: HttpVersion::V11,
        host: Some("shop.local:8080".into()),
        mime_type: None,
        referrer: None,
        id: None,
        user_agent: Some("curl/8.5.0".into()),
        trace: None,
        headers: Vec::new(),
        trailers: Vec::new(),
        first: START,
        last: START,
        bytes: 143,
        body_bytes: 0,
    }
}

/// `200 OK`, 11.9 ms after the request.
pub(crate) fn response() -> HttpResponse {
    HttpResponse {
        status: Some(200),
        phrase: Some("OK".into()),
        version: HttpVersion::V11,
        mime_type: Some("application/json".into()),
        headers: Vec::new(),
        trailers: Vec::new(),
        first: START.plus(11_900_000),
        last: START.plus(12_400_000),
        bytes: 1834,
        body_bytes: 1620,
    }
}

/// The same answer as HTTP/0.9 gives it: a body and nothing else.
pub(crate) fn http09() -> HttpResponse {
    HttpResponse { status: None, phrase: None, version: HttpVersion::V09, mime_type: None, bytes: 1620, ..response() }
}

/// The connection of the example, seen by the server's pod.
pub(crate) fn connection() -> ExchangeConnection {
    let ends = [Endpoint::new([10, 1, 2, 3], 51234), Endpoint::new([10, 1, 9, 9], 8080)];
    ExchangeConnection {
        community_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=".into(),
        direction: Some(NetworkDirection::Ingress),
        ..ExchangeConnection::new("m3J0c5k2QmE".into(), ends[0], ends[1])
    }
}

/// The whole example.
pub(crate) fn exchange() -> Exchange {
    Exchange {
        request: Some(request()),
        response: Some(response()),
        connect_ns: Some(210_000),
        route: Some("/cart".into()),
        ..Exchange::new(Arc::new(connection()), "m3J0c5k2QmE.0".into(), 1)
    }
}

/// An exchange as a record.
pub(crate) fn record(exchange: Exchange) -> Record {
    Record::Http(Box::new(exchange))
}

/// The end of a connection to a Service.
pub(crate) fn conntrack() -> ConntrackRecord {
    ConntrackRecord {
        id: "00c0ffee00c0ffee.end".into(),
        action: ConntrackAction::End,
        at: START.plus(1_000_000_000),
        start: Some(START),
        end: Some(START.plus(1_000_000_000)),
        end_known_by: Some(EndKnownBy::Closed),
        tuple: ConntrackTuple {
            protocol: IpProtocol::TCP,
            source: Endpoint::new([10, 61, 1, 2], 51234),
            destination: Endpoint::new([10, 96, 61, 10], 80),
            icmp: None,
        },
        source_nat: None,
        destination_nat: Some(Endpoint::new([10, 61, 2, 2], 8080)),
        counters: Some([PacketCounters { packets: 6, bytes: 512 }, PacketCounters { packets: 5, bytes: 2300 }]),
        kernel_id: Some(7),
        zone: None,
        mark: None,
        status: ConntrackStatus(0b10_1110),
        state: Some("time_wait"),
        namespace: None,
        events: 6,
        begun: true,
        updated: true,
        outcome: Some(super::EventOutcome::Success),
        tries: None,
        flows: None,
        direction: None,
        source_workload: None,
        destination_workload: None,
    }
}

/// Everything that such a record can have, but what only one protocol or only aggregated ones have not.
pub(crate) fn everything_of_conntrack() -> ConntrackRecord {
    let workload = super::Workload {
        namespace: Some("shop".into()),
        name: Some("web".into()),
        kind: Some("Pod".into()),
        services: ["web", "web-canary"].into_iter().collect(),
        node: Some("n1".into()),
        labels: [("app", "web")].into_iter().collect(),
    };
    let workload = Some(std::sync::Arc::new(workload));
    let mut it = conntrack();
    it.tuple.icmp = Some(IcmpMessage { kind: 8, code: 0, id: Some(1) });
    (it.zone, it.mark, it.namespace, it.tries) = (Some(3), Some(0x2), Some(4), Some(5));
    it.source_nat = Some(Endpoint::new([10, 61, 1, 1], 1024));
    it.direction = Some(NetworkDirection::Ingress);
    (it.source_workload, it.destination_workload) = (workload.clone(), workload);
    it
}

/// A short connection, over in order.
pub(crate) fn flow() -> FlowRecord {
    let counts = |packets, bytes, payload_bytes, retransmitted_bytes| FlowCounts {
        packets,
        bytes,
        payload_bytes,
        retransmitted_bytes,
        ..FlowCounts::default()
    };
    FlowRecord {
        id: "AAECAwQFBgcICQoL.1".into(),
        flow_id: "AAECAwQFBgcICQoL".into(),
        report: 1,
        last: true,
        start: START,
        end: START.plus(1_000_000_000),
        duration: 1_000_000_000,
        protocol: IpProtocol::TCP,
        icmp: None,
        source: Endpoint::new([10, 61, 1, 2], 51234),
        destination: Endpoint::new([10, 61, 2, 2], 8080),
        counts: [counts(6, 512, 200, 0), counts(5, 2300, 2040, 20)],
        status: FlowStatus::Closed,
        ended_by: Some(FlowEnd::Source),
        outcome: Some(super::EventOutcome::Success),
        trust: Trust::Complete,
        connect_ns: Some(150_000),
        rtt_ns: Some(180_000),
        exchanges: Some(1),
        connection_id: Some("Y29ubmVjdGlvbi1p".into()),
        connection: None,
        opening: None,
        server_name: None,
        direction: None,
        interface: None,
        around: OuterLayers::default(),
        source_workload: None,
        destination_workload: None,
        source_domain: None,
        destination_domain: None,
        of_node: None,
    }
}

/// Everything that such a record can have: more than any has.
pub(crate) fn everything_of_flow() -> FlowRecord {
    let mut it = flow();
    let workload = everything_of_conntrack().source_workload;
    it.icmp = Some(IcmpMessage { kind: 8, code: 0, id: Some(172) });
    (it.direction, it.interface) = (Some(NetworkDirection::Ingress), Some("eth0".into()));
    it.around = everything_around();
    (it.source_workload, it.destination_workload) = (workload.clone(), workload);
    let names = ["web.shop"].into_iter().collect();
    it.source_domain = Some(std::sync::Arc::new(super::DomainNames { names, source: super::DomainSource::Dns }));
    it.destination_domain = it.source_domain.clone();
    it.opening = Some(Arc::new(opening()));
    it
}

/// The opening of a connection that a process with everything asked for.
pub(crate) fn opening() -> ConnectionOpening {
    let opening = ConnectionOpening::new(START);
    let _ = opening.asker.set(Some(Arc::new(everything_of_process())));
    opening
}

/// All that may be around a packet.
pub(crate) fn everything_around() -> OuterLayers {
    let tunnel = Some(Tunnel { kind: TunnelKind::Vxlan, id: Some(42) });
    OuterLayers { vlan: Some(7), inner_vlan: Some(8), tunnel }
}

/// What a record of a node has besides.
pub(crate) fn of_node() -> OfNode {
    let labels = [("app", "web")].into_iter().collect();
    let name = |name: &str| Some(name.into());
    let workload = super::Workload { namespace: name("shop"), name: name("web"), labels, ..Default::default() };
    let pod = Some(([10, 61, 2, 2].into(), Arc::new(workload)));
    OfNode { observed: super::ObservedKind::Pod, pod, direction: Some(NetworkDirection::Ingress) }
}

/// A packet to a container that a rule held back.
pub(crate) fn verdict() -> VerdictRecord {
    let container = StoredContainer {
        id: "cb40f81e-52ce-41c5-b00f-0d13".into(),
        app: "app-13".into(),
        space: "space-7".into(),
        org: "org-7".into(),
        ..StoredContainer::default()
    };
    VerdictRecord {
        id: "0123456789abcdef".into(),
        at: START,
        start: None,
        packets: 1,
        prefix: "DENY_C2C_cb40f81e-52ce-41c5- ".into(),
        meaning: VerdictMeaning { allowed: false, kind: Some("c2c".into()) },
        direction: VerdictDirection::Ingress,
        packet: LoggedPacket {
            protocol: Some(IpProtocol::TCP),
            source: Endpoint::new([10, 255, 15, 7], 36004),
            destination: Endpoint::new([10, 255, 15, 13], 723),
            has_port: [true; 2],
            icmp: None,
            length: Some(60),
            fragment: false,
            truncated: false,
        },
        mark: Some(2),
        group: None,
        input: VerdictInput::File,
        interface_in: Some("s-010255015007".into()),
        interface_out: Some("s-010255015013".into()),
        user: None,
        source: None,
        destination: Some(Arc::new(container)),
        followed_by: None,
        lost_before: 0,
        source_workload: None,
        destination_workload: None,
    }
}

/// An echo request to somewhere else, of a container that is not known.
pub(crate) fn logged_echo() -> VerdictRecord {
    let mut it = verdict();
    it.packet.protocol = Some(IpProtocol::ICMP);
    it.packet.icmp = Some(IcmpMessage { kind: 8, code: 0, id: Some(172) });
    it.packet.has_port = [false; 2];
    (it.packet.source.port, it.packet.destination) = (0, Endpoint::new([10, 0, 0, 1], 0));
    it.direction = VerdictDirection::Egress;
    (it.destination, it.mark, it.meaning) = (None, None, VerdictMeaning { allowed: true, kind: None });
    it
}

/// Everything that such a record can have: more than any has.
pub(crate) fn everything_of_verdict() -> VerdictRecord {
    let mut it = verdict();
    let workload = everything_of_conntrack().source_workload;
    (it.start, it.group, it.user, it.lost_before) = (Some(START), Some(5), Some(1000), 3);
    it.followed_by = Some(FollowedBy::Retried);
    it.packet.icmp = Some(IcmpMessage { kind: 8, code: 0, id: Some(172) });
    it.source = it.destination.clone();
    (it.source_workload, it.destination_workload) = (workload.clone(), workload);
    it
}

/// A connect of curl, established.
pub(crate) fn connect() -> ConnectRecord {
    let process = Process {
        pid: 4711,
        name: "curl".into(),
        executable: Some("/usr/bin/curl".into()),
        args: vec!["curl".into(), "http://web/".into()],
        user: 1000,
        ..Process::default()
    };
    let (id, destination) = ("00c0ffee00c0ffee".into(), Endpoint::new([10, 96, 61, 10], 80));
    ConnectRecord {
        end: Some(START.plus(210_000)),
        source: Some([10, 61, 1, 2].into()),
        source_port: Some(51234),
        process: Some(Arc::new(process)),
        ..ConnectRecord::new(id, START, destination, SeenBy::Process, ConnectResult::Established)
    }
}

/// Everything that is known of a process.
fn everything_of_process() -> Process {
    let container = ProcessContainer {
        id: "c0ffee".repeat(10).into(),
        name: Some("web".into()),
        runtime: Some("containerd".into()),
        pod_uid: Some("0d1e".into()),
    };
    let mut process = (*connect().process.unwrap()).clone();
    (process.own_pid, process.args_cut, process.parent) = (Some(7), true, Some(1));
    (process.start, process.user_name) = (Some(START), Some("www".into()));
    (process.container, process.hostname) = (Some(container), Some("web-7f9f".into()));
    process
}

/// Everything that such a record can have: more than any has.
pub(crate) fn everything_of_connect() -> ConnectRecord {
    let (mut it, flow) = (connect(), everything_of_flow());
    it.process = Some(Arc::new(everything_of_process()));
    (it.errno, it.thread, it.netns, it.tries) = (Some("EHOSTUNREACH".into()), Some(4712), Some(4_026_531_840), Some(3));
    (it.connection_id, it.interface, it.direction) = (flow.connection_id, flow.interface, flow.direction);
    (it.source_workload, it.destination_workload) = (flow.source_workload, flow.destination_workload);
    (it.source_domain, it.destination_domain) = (flow.source_domain, flow.destination_domain);
    it
}
