//! The objects of the record in JSON, in the order in which they are written: names and types only.
//!
//! The names are the contract (`format::fields`); what fills them is `view`.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::parts::{FullUrl, Headers, MissingNames, WeirdNames};
use super::protocols::{ErrorPart, GrpcPart, Http2Part, Rpc, SsePart, WebSocketPart};
use crate::flow::Around;
use crate::format::stamp::Stamp;
use crate::record::{Labels, Names};

#[derive(Serialize)]
pub(super) struct View<'a> {
    #[serde(rename = "@timestamp")]
    pub(super) timestamp: Stamp,
    pub(super) ecs: Ecs,
    pub(super) event: Event<'a>,
    pub(super) http: Http<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<UrlParts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<Original<'a>>,
    pub(super) source: Side<'a>,
    pub(super) destination: Side<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Client>,
    pub(super) network: Network<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) span: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rpc: Option<Rpc<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubernetes: Option<Kubernetes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<Orchestrator<'a>>,
    pub(super) agent: Agent,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observer: Option<ObserverPart<'a>>,
    pub(super) podtap: Podtap<'a>,
}

#[derive(Serialize)]
pub(super) struct Ecs {
    pub(super) version: &'static str,
}

#[derive(Serialize)]
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) category: [&'static str; 2],
    pub(super) r#type: [&'static str; 2],
    pub(super) dataset: &'static str,
    pub(super) id: &'a str,
    pub(super) start: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    pub(super) outcome: &'static str,
}

#[derive(Serialize)]
pub(super) struct Http<'a> {
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
    pub(super) body: Option<Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<Headers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trailers: Option<Headers<'a>>,
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
    pub(super) body: Option<Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<Headers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trailers: Option<Headers<'a>>,
}

#[derive(Serialize)]
pub(super) struct Body {
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
pub(super) struct Original<'a> {
    pub(super) original: &'a str,
}

#[derive(Serialize)]
pub(super) struct Side<'a> {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<&'a Names>,
}

#[derive(Serialize)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
}

#[derive(Serialize)]
pub(super) struct Network<'a> {
    pub(super) transport: &'static str,
    pub(super) r#type: &'static str,
    pub(super) protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) direction: Option<&'static str>,
    pub(super) community_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vlan: Option<Vlan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inner: Option<Inner>,
}

/// The innermost of several VLANs.
#[derive(Serialize)]
pub(super) struct Inner {
    pub(super) vlan: Vlan,
}

/// A keyword in ECS.
#[derive(Serialize)]
pub(super) struct Vlan {
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
pub(super) struct Id<'a> {
    pub(super) id: &'a str,
}

#[derive(Serialize)]
pub(super) struct Name<'a> {
    pub(super) name: &'a str,
}

#[derive(Serialize)]
pub(super) struct Kubernetes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<PodPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<&'a Labels>,
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
pub(super) struct Orchestrator<'a> {
    pub(super) cluster: Name<'a>,
}

#[derive(Serialize)]
pub(super) struct Agent {
    pub(super) r#type: &'static str,
    pub(super) version: &'static str,
}

/// Where podtap runs, and that it is podtap: what all records say in the same way and the same order.
#[derive(Serialize)]
pub(super) struct Recorder<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubernetes: Option<Kubernetes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orchestrator: Option<Orchestrator<'a>>,
    pub(super) agent: Agent,
}

#[derive(Serialize)]
pub(super) struct ObserverPart<'a> {
    pub(super) ingress: Ingress<'a>,
}

#[derive(Serialize)]
pub(super) struct Ingress<'a> {
    pub(super) interface: Name<'a>,
}

#[derive(Serialize)]
pub(super) struct Podtap<'a> {
    pub(super) trust: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<MissingNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timing: Option<Timing>,
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
pub(super) struct Timing {
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
    pub(super) service: Option<&'a Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a Labels>,
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

impl Vlan {
    /// `network.vlan`
    pub(super) fn outer(around: &Around) -> Option<Self> {
        around.vlan.map(|id| Self { id: id.to_string() })
    }
}

impl Inner {
    /// `network.inner`
    pub(super) fn new(around: &Around) -> Option<Self> {
        around.inner_vlan.map(|id| Self { vlan: Vlan { id: id.to_string() } })
    }
}

impl TunnelPart {
    /// `podtap.tunnel`
    pub(super) fn new(around: &Around) -> Option<Self> {
        around.tunnel.map(|tunnel| Self { r#type: tunnel.kind.name(), id: tunnel.id.map(|id| id.to_string()) })
    }
}
