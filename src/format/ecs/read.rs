//! The way back: an exchange or a connect from its line of JSON, as far as the text line, filters and `top` need it.
//!
//! Takes what it knows and passes over the rest, so that lines of other versions are read too. Trusts no line: what does not
//! fit is left out.

mod connect;
mod exchange;
mod text;

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use serde::Deserialize;

use self::text::{JsonText, JsonTexts, objects};
use crate::flow::{Endpoint, Timestamp};
use crate::format::stamp;
use crate::record::{DomainNames, DomainSource, NetworkDirection, Process, ProcessContainer, Record, Workload};

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRecord {
    /// What happened.
    pub record: Record,
    /// `kubernetes.pod.name`
    pub pod: Option<CompactString>,
    /// `kubernetes.namespace`
    pub namespace: Option<CompactString>,
    /// `kubernetes.node.name`
    pub node: Option<CompactString>,
}

/// Why a line gave no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// A record of a kind that is not read.
    OtherDataset,
    /// No record of podtap's.
    NoRecord,
}

/// The exchange or connect of one line of JSON.
pub fn read_json(line: &[u8]) -> Result<ReadRecord, NotRead> {
    // JSON is UTF-8: looked at once, and not once for each text in it.
    let text = std::str::from_utf8(line).map_err(|_| NotRead::NoRecord)?;
    let line: Line<'_> = serde_json::from_str(text).map_err(|_| NotRead::NoRecord)?;
    match &*line.event.dataset.0 {
        "podtap.http" => exchange::read(line).ok_or(NotRead::NoRecord),
        "podtap.connect" => connect::read(line).ok_or(NotRead::NoRecord),
        other if other.starts_with("podtap.") => Err(NotRead::OtherDataset),
        _ => Err(NotRead::NoRecord),
    }
}

objects! {
    Line {
        #[serde(rename = "@timestamp")] timestamp: JsonText<'a>,
        event: Event<'a>,
        http: Http<'a>,
        url: Option<UrlPart<'a>>,
        user_agent: Option<Original<'a>>,
        network: Network<'a>,
        rpc: Option<Rpc<'a>>,
        process: Option<ProcessPart<'a>>,
        user: Option<UserPart<'a>>,
        container: Option<ContainerPart<'a>>,
        kubernetes: Option<Kubernetes<'a>>,
        observer: Option<Observer<'a>>,
        podtap: Podtap<'a>,
        source: Option<End<'a>>,
        destination: Option<End<'a>>,
        ;
        client: Option<Client>,
    }
    End { domain: Option<JsonTexts<'a>>, ; ip: Option<IpAddr>, port: Option<u16>, }
    SidePart { workload: Option<WorkloadPart<'a>>, domain_source: Option<JsonText<'a>>, ; }
    WorkloadPart { namespace: Option<JsonText<'a>>, name: Option<JsonText<'a>>, kind: Option<JsonText<'a>>, ; }
    Event { dataset: JsonText<'a>, id: JsonText<'a>, end: Option<JsonText<'a>>, ; }
    Http {
        version: Option<JsonText<'a>>,
        route: Option<JsonText<'a>>,
        request: Option<RequestPart<'a>>,
        ;
        response: Option<ReadResponse>,
    }
    RequestPart { method: Option<JsonText<'a>>, ; bytes: u64, body: ReadBody, }
    Original { original: Option<JsonText<'a>>, ; }
    UrlPart { original: Option<JsonText<'a>>, domain: Option<JsonText<'a>>, ; port: Option<u16>, }
    Network { direction: Option<JsonText<'a>>, transport: Option<JsonText<'a>>, ; }
    Name { name: Option<JsonText<'a>>, ; }
    ProcessPart { name: JsonText<'a>, executable: Option<JsonText<'a>>, args: Vec<JsonText<'a>>, ; pid: u32, }
    UserPart { id: Option<JsonText<'a>>, name: Option<JsonText<'a>>, ; }
    ContainerPart { id: JsonText<'a>, name: Option<JsonText<'a>>, ; }
    Kubernetes { namespace: Option<JsonText<'a>>, pod: Option<Name<'a>>, node: Option<Name<'a>>, ; }
    Ingress { interface: Option<Name<'a>>, ; }
    Observer { ingress: Option<Ingress<'a>>, ; }
    Rpc { system: Option<Name<'a>>, method: Option<JsonText<'a>>, response: Option<RpcResponse<'a>>, ; }
    RpcResponse { status_code: Option<JsonText<'a>>, ; }
    Podtap {
        trust: JsonText<'a>,
        missing: Vec<JsonText<'a>>,
        connection: ConnectionPart<'a>,
        stream: JsonText<'a>,
        weird: Vec<JsonText<'a>>,
        unanswered: Option<JsonText<'a>>,
        ended_by: Option<JsonText<'a>>,
        ended_how: Option<JsonText<'a>>,
        http2: Option<Http2Part<'a>>,
        websocket: Option<WebSocketPart<'a>>,
        source: Option<SidePart<'a>>,
        destination: Option<SidePart<'a>>,
        connect: Option<ConnectPart<'a>>,
        ;
        timing: ReadTiming,
        late: bool,
        open: bool,
    }
    ConnectionPart { id: JsonText<'a>, ; exchange: u32, }
    ConnectPart { result: JsonText<'a>, errno: Option<JsonText<'a>>, seen_by: JsonText<'a>, ; tries: Option<u64>, }
    Http2Part { reset: Option<ResetPart<'a>>, ; stream_id: u32, }
    ResetPart { by: JsonText<'a>, code: JsonText<'a>, ; }
    WebSocketPart {
        closed_by: Option<JsonText<'a>>,
        ;
        client: Option<ReadCounts>,
        server: Option<ReadCounts>,
        close_code: Option<u16>,
    }
}

#[derive(Deserialize)]
struct Client {
    ip: IpAddr,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadResponse {
    status_code: Option<u16>,
    bytes: u64,
    body: ReadBody,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadBody {
    bytes: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadTiming {
    connect_us: Option<u64>,
    request_us: u64,
    wait_us: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadCounts {
    messages: u64,
}

impl End<'_> {
    /// An end without a port is no exchange's.
    fn endpoint(&self) -> Option<Endpoint> {
        Some(Endpoint::new(self.ip?, self.port?))
    }
}

impl Observer<'_> {
    fn interface(self) -> Option<Arc<str>> {
        self.ingress?.interface?.name.map(|name| Arc::from(&*name.0))
    }
}

impl Kubernetes<'_> {
    /// The record, and whose it is.
    fn around(this: Option<Self>, record: Record) -> ReadRecord {
        let name = |part: Option<Name<'_>>| part.and_then(|part| part.name).map(|name| name.compact());
        let this = this.unwrap_or_default();
        ReadRecord {
            record,
            pod: name(this.pod),
            namespace: this.namespace.map(|name| name.compact()),
            node: name(this.node),
        }
    }
}

impl SidePart<'_> {
    fn workload(&self) -> Option<Arc<Workload>> {
        let part = self.workload.as_ref()?;
        let text = |text: &Option<JsonText<'_>>| text.as_ref().map(JsonText::compact);
        let (namespace, name, kind) = (text(&part.namespace), text(&part.name), text(&part.kind));
        Some(Arc::new(Workload { namespace, name, kind, ..Workload::default() }))
    }
}

/// The names of an end's address.
fn domain(names: Option<JsonTexts<'_>>, side: Option<&SidePart<'_>>) -> Option<Arc<DomainNames>> {
    let names = names?.0.iter().map(JsonText::compact).collect();
    let source = named(DomainSource::ALL, DomainSource::name, side?.domain_source.as_ref()?)?;
    Some(Arc::new(DomainNames { names, source }))
}

/// The one of this name.
fn named<T: Copy, const N: usize>(all: [T; N], name: fn(T) -> &'static str, text: &JsonText<'_>) -> Option<T> {
    all.into_iter().find(|one| name(*one) == text.0)
}

fn time(text: &JsonText<'_>) -> Option<Timestamp> {
    if let Some(at) = stamp::parse(&text.0) {
        return Some(at);
    }
    let at = text.0.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(at.as_nanosecond()).ok().map(Timestamp)
}

fn direction(text: &JsonText<'_>) -> Option<NetworkDirection> {
    match &*text.0 {
        "ingress" => Some(NetworkDirection::Ingress),
        "egress" => Some(NetworkDirection::Egress),
        "internal" => Some(NetworkDirection::Internal),
        _ => None,
    }
}

fn process(part: &ProcessPart<'_>, user: Option<&UserPart<'_>>, container: Option<&ContainerPart<'_>>) -> Process {
    let text = |text: Option<&JsonText<'_>>| text.map(JsonText::compact);
    Process {
        pid: part.pid,
        name: part.name.compact(),
        executable: text(part.executable.as_ref()),
        args: part.args.iter().map(JsonText::compact).collect(),
        user: user.and_then(|user| user.id.as_ref()?.0.parse().ok()).unwrap_or_default(),
        user_name: user.and_then(|user| text(user.name.as_ref())),
        container: container.map(|it| ProcessContainer {
            id: it.id.compact(),
            name: text(it.name.as_ref()),
            ..ProcessContainer::default()
        }),
        ..Process::default()
    }
}
