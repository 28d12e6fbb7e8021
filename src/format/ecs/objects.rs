//! The objects of the record in JSON, in the order in which they are written: names and types only.
//!
//! The names are the contract (`format::fields`); what fills them is `view`.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::parts::{FullUrl, HeaderMap, MissingNames, WeirdNames};
use super::process::{ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::protocols::{ErrorPart, GrpcPart, Http2Part, RpcPart, SsePart, WebSocketPart};
use crate::flow::OuterLayers;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{LabelSet, NameSet};

#[derive(Serialize)]
pub(super) struct ExchangeView<'a> {
    #[serde(rename = "@timestamp")]
    pub(super) timestamp: Rfc3339Stamp,
    pub(super) ecs: EcsPart,
    pub(super) event: EventPart<'a>,
    pub(super) http: HttpPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<UrlParts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<OriginalPart<'a>>,
    pub(super) source: EndpointPart<'a>,
    pub(super) destination: EndpointPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<ClientPart>,
    pub(super) network: NetworkPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<IdPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) span: Option<IdPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rpc: Option<RpcPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<ProcessPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<ProcessUserPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<ProcessContainerPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<NamePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a LabelSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<NamePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubernetes: Option<KubernetesPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<OrchestratorPart<'a>>,
    pub(super) agent: AgentPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observer: Option<ObserverPart<'a>>,
    pub(super) podtap: PodtapPart<'a>,
}

#[derive(Serialize)]
pub(super) struct EcsPart {
    pub(super) version: &'static str,
}

#[derive(Serialize)]
pub(super) struct EventPart<'a> {
    pub(super) kind: &'static str,
    pub(super) category: [&'static str; 2],
    pub(super) r#type: [&'static str; 2],
    pub(super) dataset: &'static str,
    pub(super) id: &'a str,
    pub(super) start: Rfc3339Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<Rfc3339Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    pub(super) outcome: &'static str,
}

#[derive(Serialize)]
pub(super) struct HttpPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<RequestPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<ResponsePart<'a>>,
}

#[derive(Serialize)]
pub(super) struct RequestPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<&'a str>,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<BodyPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<HeaderMap<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trailers: Option<HeaderMap<'a>>,
}

#[derive(Serialize)]
pub(super) struct ResponsePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_phrase: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<&'a str>,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<BodyPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<HeaderMap<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trailers: Option<HeaderMap<'a>>,
}

#[derive(Serialize)]
pub(super) struct BodyPart {
    pub(super) bytes: u64,
}

#[derive(Serialize)]
pub(super) struct UrlParts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) original: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheme: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) full: Option<FullUrl<'a>>,
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

#[derive(Serialize)]
pub(super) struct NetworkPart<'a> {
    pub(super) transport: &'static str,
    pub(super) r#type: &'static str,
    pub(super) protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) direction: Option<&'static str>,
    pub(super) community_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vlan: Option<VlanPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inner: Option<InnerVlanPart>,
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
pub(super) struct KubernetesPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<PodPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<NamePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a LabelSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<&'a LabelSet>,
}

#[derive(Serialize)]
pub(super) struct PodPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<IpAddr>,
}

#[derive(Serialize)]
pub(super) struct OrchestratorPart<'a> {
    pub(super) cluster: NamePart<'a>,
}

#[derive(Serialize)]
pub(super) struct AgentPart {
    pub(super) r#type: &'static str,
    pub(super) version: &'static str,
}

/// Where podtap runs, and that it is podtap: what all records say in the same way and the same order.
#[derive(Serialize)]
pub(super) struct RecorderParts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<NamePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a LabelSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<NamePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubernetes: Option<KubernetesPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<OrchestratorPart<'a>>,
    pub(super) agent: AgentPart,
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
pub(super) struct PodtapPart<'a> {
    pub(super) trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<MissingNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timing: Option<TimingPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) early_response: Option<bool>,
    pub(super) connection: ConnectionPart<'a>,
    pub(super) stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) informational: Option<&'a [u16]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) weird: Option<WeirdNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unanswered: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) late: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_how: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) open: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown: Option<&'a [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http2: Option<Http2Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grpc: Option<GrpcPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) websocket: Option<WebSocketPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sse: Option<SsePart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<ProcessSurroundings<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tunnel: Option<TunnelPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<SidePart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shortened: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct TimingPart {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connect_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_us: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct ConnectionPart<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exchange: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reused: Option<bool>,
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
