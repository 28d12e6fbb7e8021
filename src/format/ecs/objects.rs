//! The objects of an exchange in JSON, in the order in which they are written: names, types and meanings. What fills them is
//! `view`.
//!
//! The names are the contract. Other records have many of them with the same meaning ([`below`]).

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::declare::parts;
use super::parts::{FullUrl, HeaderMap, MissingNames, WeirdNames};
use super::process::{ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::protocols::{ErrorPart, GrpcPart, Http2Part, RpcPart, SsePart, WebSocketPart};
use crate::flow::OuterLayers;
use crate::format::fields::RecordField;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{LabelSet, NameSet};

parts! {
    struct ExchangeView<'a> in "" {
        timestamp: Rfc3339Stamp as "@timestamp" => Date "First byte of the request, or of the response if the request was not seen; UTC, microseconds or nanoseconds";
        ecs: EcsPart => ["ecs.version" Keyword "Version of the Elastic Common Schema the names were checked against"];
        event: EventPart<'a> => own;
        http: HttpPart<'a> => own;
        maybe url: UrlParts<'a> => own;
        maybe user_agent: OriginalPart<'a> => ["user_agent.original" Wildcard "User-Agent"];
        source: EndpointPart<'a> => [
            "source.ip" Ip "The client's address",
            "source.port" Long "The client's port",
            "source.bytes" Long "What the client sent for this exchange",
            "source.domain" Keyword "With WORKLOADS: name of the client's address; a list where there are several (`podtap.source.domain_source`)",
        ];
        destination: EndpointPart<'a> => [
            "destination.ip" Ip "The server's address",
            "destination.port" Long "The server's port",
            "destination.bytes" Long "What the server sent for this exchange",
            "destination.domain" Keyword "With WORKLOADS: name of the server's address; a list where there are several (`podtap.destination.domain_source`)",
        ];
        maybe client: ClientPart => [
            "client.ip" Ip "The client behind trusted proxies (TRUSTED_PROXIES), by a PROXY header, Forwarded and X-Forwarded-For, when there is one",
        ];
        network: NetworkPart<'a> => own;
        maybe trace: IdPart<'a> => ["trace.id" Keyword "From `traceparent` or B3"];
        maybe span: IdPart<'a> => ["span.id" Keyword "From `traceparent` or B3: the sender's span"];
        maybe rpc: RpcPart<'a> => [
            "rpc.system.name" Keyword "`grpc` (also gRPC-Web), `connectrpc` (the Connect protocol)",
            "rpc.method" Keyword "`package.Service/Method`",
            "rpc.response.status_code" Keyword "Status of the call by name, of Connect too (`OK`, `UNAVAILABLE`); absent where none was on the wire, or it is not known",
        ];
        maybe error: ErrorPart => own;
        maybe process: ProcessPart<'a> => listed without(ProcessPart::fields(), |name| name == "process.thread.id");
        maybe user: ProcessUserPart<'a> => own;
        maybe container: ProcessContainerPart<'a> => own;
        maybe service: NamePart<'a> => ["service.name" Keyword "SERVICE_NAME, else the pod's app label"];
        maybe labels: &'a LabelSet => Object "TAGS; `_` for `.` in names";
        maybe host: NamePart<'a> => ["host.name" Keyword "The node, or the host outside Kubernetes"];
        maybe kubernetes: KubernetesPart<'a> => own;
        maybe orchestrator: OrchestratorPart<'a> => ["orchestrator.cluster.name" Keyword "CLUSTER_NAME"];
        agent: AgentPart => own;
        maybe observer: ObserverPart<'a> => [
            "observer.ingress.interface.name" Keyword "Interface the connection was seen on",
        ];
        podtap: PodtapPart<'a> => own;
    }

    struct EventPart<'a> in "event." {
        kind: &'static str => Keyword "`event`";
        category: [&'static str; 2] => Keyword "`network`, `web`";
        r#type: [&'static str; 2] as "type" => Keyword "`connection`, `protocol`";
        dataset: &'static str => Keyword "`podtap.http`";
        id: &'a str => Keyword "Deterministic: the same exchange seen again by the same observer has the same id; the day is part of it";
        start: Rfc3339Stamp => Date "As `@timestamp`";
        maybe end: Rfc3339Stamp => Date "Last byte of the response; absent where the clock was set back meanwhile";
        maybe duration: u64 => Long "`event.end` − `event.start` in nanoseconds";
        outcome: &'static str => Keyword "`success` (status below 400; of gRPC: `OK`), `failure` (another status, or unanswered, or reset), `unknown`";
    }

    struct HttpPart<'a> in "http." {
        maybe version: &'a str => Keyword "`0.9`, `1.0`, `1.1`, `2`";
        maybe route: &'a str => Keyword "Path with its variable segments named: `/orders/{id}`";
        maybe request: RequestPart<'a> => own;
        maybe response: ResponsePart<'a> => own;
    }

    struct RequestPart<'a> in "http.request." {
        maybe method: &'a str => Keyword "Method as sent; absent where HPACK's state hid it";
        bytes: u64 => Long "Head and body on the wire";
        maybe body: BodyPart => [
            "http.request.body.bytes" Long "Body after de-chunking, before decompression; absent without a body",
        ];
        maybe mime_type: &'a str => Keyword "Media type of Content-Type, lower case, without parameters";
        maybe referrer: &'a str => Wildcard "Referer, secrets masked";
        maybe id: &'a str => Keyword "X-Request-Id";
        maybe headers: HeaderMap<'a> => Flattened "With LOGHEADERS: lower-case names; a string, or a list where repeated; secrets masked";
        maybe trailers: HeaderMap<'a> => Flattened "With LOGHEADERS, as headers: the trailers of HTTP/2";
    }

    struct ResponsePart<'a> in "http.response." {
        maybe status_code: u16 => Long "Status code of the final response; HTTP/0.9 has none";
        maybe status_phrase: &'a str => Keyword "Reason phrase, when there is one";
        maybe mime_type: &'a str => Keyword "Media type of Content-Type, lower case, without parameters";
        bytes: u64 => Long "Head and body on the wire";
        maybe body: BodyPart => [
            "http.response.body.bytes" Long "Body after de-chunking, before decompression; absent without a body",
        ];
        maybe headers: HeaderMap<'a> => Flattened "With LOGHEADERS, as for the request";
        maybe trailers: HeaderMap<'a> => Flattened "With LOGHEADERS, as for the request";
    }

    struct UrlParts<'a> in "url." {
        maybe original: &'a str => Wildcard "Request-target exactly as sent; secrets masked, bytes outside printable ASCII as `\\xNN`, which adds at most 6 KiB: what is behind is left out, and counted at the end";
        maybe path: &'a str => Wildcard "Path of the target; absent for CONNECT and `*`";
        maybe query: &'a str => Keyword "Query of the target, without `?`";
        maybe domain: &'a str => Keyword "Host of the target, else of the Host header; absent without either";
        maybe port: u16 => Long "Port in the target or the Host header; absent where none was written, or one that does not exist (see `destination.port`)";
        maybe scheme: &'a str => Keyword "`http`, or what an absolute target says; absent for CONNECT";
        maybe full: FullUrl<'a> => Wildcard "Scheme, host, port, path and query; absent where the host is unknown or the port does not exist";
    }

    struct NetworkPart<'a> in "network." {
        transport: &'static str => Keyword "`tcp`";
        r#type: &'static str as "type" => Keyword "`ipv4`, `ipv6`";
        protocol: &'static str => Keyword "`http`";
        maybe direction: &'static str => Keyword "`ingress` (the pod serves), `egress` (the pod asks), `internal` (both ends in the pod)";
        community_id: &'a str => Keyword "Community ID v1, seed 0";
        maybe vlan: VlanPart => [
            "network.vlan.id" Keyword "VLAN of the first packet; inside a tunnel, where there is one",
        ];
        maybe inner: InnerVlanPart => ["network.inner.vlan.id" Keyword "The innermost VLAN, of several"];
    }

    struct KubernetesPart<'a> in "kubernetes." {
        maybe namespace: &'a str => Keyword "Namespace of the observed pod";
        maybe pod: PodPart<'a> => own;
        maybe node: NamePart<'a> => ["kubernetes.node.name" Keyword "Node of the observed pod"];
        maybe labels: &'a LabelSet => Object "Labels of the observed pod; `_` for `.` in names";
        maybe annotations: &'a LabelSet => Object "Annotations of the allow list ANNOTATIONS; `_` for `.` in names";
    }

    struct PodPart<'a> in "kubernetes.pod." {
        maybe name: &'a str => Keyword "Name of the observed pod";
        maybe uid: &'a str => Keyword "Uid of the observed pod";
        maybe ip: IpAddr => Ip "Address of the observed pod";
    }

    struct AgentPart in "agent." {
        r#type: &'static str as "type" => Keyword "`podtap`";
        version: &'static str => Keyword "Version of podtap";
    }

    /// Where podtap runs, and that it is podtap: what all records say in the same way and the same order.
    struct RecorderParts<'a> in "" {
        maybe service: NamePart<'a> => listed below(&["service."]);
        maybe labels: &'a LabelSet => listed below(&["labels"]);
        maybe host: NamePart<'a> => listed below(&["host."]);
        maybe kubernetes: KubernetesPart<'a> => listed below(&["kubernetes."]);
        maybe orchestrator: OrchestratorPart<'a> => listed below(&["orchestrator."]);
        agent: AgentPart => listed below(&["agent."]);
    }

    struct PodtapPart<'a> in "podtap." {
        trust: &'static str => Keyword "`complete`, `truncated`, `gap`, `midstream`, `unpaired`";
        maybe missing: MissingNames => Keyword "What the label is about: `request`, `response`, `request_head`, `response_head`, `request_body`, `response_body`";
        maybe timing: TimingPart => own;
        maybe early_response: bool => Boolean "`true` where the answer began before the request had ended";
        connection: ConnectionPart<'a> => own;
        stream: &'static str => Keyword "`exchange`, `stream` (SSE, long poll), `tunnel` (CONNECT), `upgrade` (101)";
        maybe informational: &'a [u16] => Long "1xx status codes before the final one";
        maybe weird: WeirdNames => Keyword "Protocol oddities by name";
        maybe unanswered: &'static str => Keyword "Why there is no response: `timeout`, `closed`, `reset`, `shutdown`";
        maybe late: bool => Boolean "`true` for a response whose request was reported as timed out before";
        maybe ended_by: &'static str => Keyword "Who ended what did not end by itself (a cut or unanswered exchange, a stream of HTTP/2, a WebSocket without a close frame), by the first FIN or else a RST: `client`, `server`; absent where that is not known";
        maybe ended_how: &'static str => Keyword "How: `fin`, `rst`, `reset_stream`";
        maybe open: bool => Boolean "`true` for what goes on: it is recorded once more when it ends, with the same id but for `.open`";
        maybe unknown: &'a [&'static str] => Keyword "What HPACK's state hid after a late join or a loss: `:method`, `:scheme`, `:path`, `:authority`, `:status`, `grpc-status`";
        maybe path_ref: &'a str => Keyword "Label of a `:path` that is not known: within its connection the same label is the same path";
        maybe http2: Http2Part => own;
        maybe grpc: GrpcPart<'a> => own;
        maybe websocket: WebSocketPart => own;
        maybe sse: SsePart => own;
        maybe process: ProcessSurroundings<'a> => own;
        maybe tunnel: TunnelPart => [
            "podtap.tunnel.type" Keyword "The innermost tunnel around the first packet: `ip`, `gre`, `vxlan`, `geneve`, `erspan`, `gtp`, `pppoe`",
            "podtap.tunnel.id" Keyword "Its number: VNI, key of GRE, session, tunnel end (TEID)",
        ];
        maybe source: SidePart<'a> => [
            "podtap.source.workload.namespace" Keyword "With WORKLOADS: namespace of the workload behind the client's address",
            "podtap.source.workload.name" Keyword "Its name",
            "podtap.source.workload.kind" Keyword "Its kind",
            "podtap.source.workload.service" Keyword "The Service that it serves; a list where there are several",
            "podtap.source.workload.node" Keyword "The node that it runs on",
            "podtap.source.workload.labels" Object "Its labels; `_` for `.` in names",
            "podtap.source.domain_source" Keyword "Who says `source.domain`: `dns`",
        ];
        maybe destination: SidePart<'a> => [
            "podtap.destination.workload.namespace" Keyword "With WORKLOADS: namespace of the workload behind the server's address",
            "podtap.destination.workload.name" Keyword "Its name",
            "podtap.destination.workload.kind" Keyword "Its kind",
            "podtap.destination.workload.service" Keyword "The Service that it serves; a list where there are several",
            "podtap.destination.workload.node" Keyword "The node that it runs on",
            "podtap.destination.workload.labels" Object "Its labels; `_` for `.` in names",
            "podtap.destination.domain_source" Keyword "Who says `destination.domain`: `dns`, `sni`, `host`",
        ];
        maybe observed: &'static str => Keyword "With OBSERVE=node: `pod` (of this node, which `kubernetes.*` names), `host` (the node itself), `other`";
        maybe shortened: bool => Boolean "`true` where parts of the URL that repeat, headers, labels or long strings were left out to keep a line of standard output under 16 KiB";
    }

    struct TimingPart in "podtap.timing." {
        maybe connect_us: u64 => Long "SYN → SYN-ACK; only on the first exchange of a connection whose handshake was seen";
        maybe request_us: u64 => Long "Request first byte → last byte";
        maybe wait_us: u64 => Long "Request last byte → response first byte; 0 where the answer began before the request had ended, absent where the clock was set back";
        maybe response_us: u64 => Long "Response first byte → last byte";
        maybe total_us: u64 => Long "Request first byte → response last byte";
    }

    struct ConnectionPart<'a> in "podtap.connection." {
        id: &'a str => Keyword "The TCP connection";
        maybe exchange: u32 => Long "1, 2, … in the connection, as seen; absent where its request was not";
        maybe reused: bool => Boolean "Whether an exchange went before in the connection; absent where we joined late";
    }
}

#[derive(Serialize)]
pub(super) struct EcsPart {
    pub(super) version: &'static str,
}

#[derive(Serialize)]
pub(super) struct BodyPart {
    pub(super) bytes: u64,
}

#[derive(Serialize)]
pub(super) struct OriginalPart<'a> {
    pub(super) original: &'a str,
}

#[derive(Serialize)]
pub(super) struct EndpointPart<'a> {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<&'a NameSet>,
}

#[derive(Serialize)]
pub(super) struct ClientPart {
    pub(super) ip: IpAddr,
}

/// The innermost of several VLANs.
#[derive(Serialize)]
pub(super) struct InnerVlanPart {
    pub(super) vlan: VlanPart,
}

/// A keyword in ECS.
#[derive(Serialize)]
pub(super) struct VlanPart {
    id: String,
}

/// The innermost tunnel.
#[derive(Serialize)]
pub(super) struct TunnelPart {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct IdPart<'a> {
    pub(super) id: &'a str,
}

#[derive(Serialize)]
pub(super) struct NamePart<'a> {
    pub(super) name: &'a str,
}

#[derive(Serialize)]
pub(super) struct OrchestratorPart<'a> {
    pub(super) cluster: NamePart<'a>,
}

#[derive(Serialize)]
pub(super) struct ObserverPart<'a> {
    pub(super) ingress: IngressPart<'a>,
}

#[derive(Serialize)]
pub(super) struct IngressPart<'a> {
    pub(super) interface: NamePart<'a>,
}

#[derive(Serialize)]
pub(super) struct SidePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload: Option<WorkloadPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain_source: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct WorkloadPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<&'a NameSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a LabelSet>,
}

/// A keyword in ECS.
pub(super) struct IanaNumber(pub(super) u8);

impl Serialize for IanaNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

#[derive(Serialize)]
pub(super) struct IcmpPart {
    pub(super) r#type: u8,
    pub(super) code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u16>,
}

/// Fields of an exchange whose names begin like this: another record has them with the same meaning.
pub(super) fn below(prefixes: &[&str]) -> Vec<RecordField> {
    without(ExchangeView::fields(), |name| !prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

/// The fields but some.
pub(super) fn without(mut fields: Vec<RecordField>, left_out: impl Fn(&str) -> bool) -> Vec<RecordField> {
    fields.retain(|field| !left_out(field.name));
    fields
}

impl VlanPart {
    /// `network.vlan`
    pub(super) fn outer(around: &OuterLayers) -> Option<Self> {
        around.vlan.map(|id| Self { id: id.to_string() })
    }
}

impl InnerVlanPart {
    /// `network.inner`
    pub(super) fn new(around: &OuterLayers) -> Option<Self> {
        around.inner_vlan.map(|id| Self { vlan: VlanPart { id: id.to_string() } })
    }
}

impl TunnelPart {
    /// `podtap.tunnel`
    pub(super) fn new(around: &OuterLayers) -> Option<Self> {
        around.tunnel.map(|tunnel| Self { r#type: tunnel.kind.name(), id: tunnel.id.map(|id| id.to_string()) })
    }
}
