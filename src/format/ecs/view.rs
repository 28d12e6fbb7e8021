//! A record in the shape of the schema, borrowed, built for one serialization.
//!
//! Absent is `None` and not written. Computes nothing beyond differences of times.

use std::sync::Arc;

use compact_str::CompactString;

use super::ECS_VERSION;
use super::fit::LineFit;
use super::objects::*;
use super::parts::{FullUrl, HeaderMap, MissingNames, WeirdNames};
use super::process::{EXACT, ProcessContainerPart, ProcessPart, ProcessSurroundings, ProcessUserPart};
use super::protocols::{ErrorPart, GrpcPart, Http2Part, RpcPart, SsePart, WebSocketPart};
use crate::flow::{Endpoint, IpProtocol, community_id_of};
use crate::format::Observer;
use crate::format::stamp::Rfc3339Stamp;
use crate::record::{DomainNames, Exchange, HttpRequest, HttpResponse, HttpVersion, IcmpMessage, OfNode, Workload};
use crate::shape::target::RequestUrl;

/// What `record.md` leaves out when nothing was there: `None` for 0.
fn body(bytes: u64) -> Option<BodyPart> {
    (bytes > 0).then_some(BodyPart { bytes })
}

/// `Some(true)`, or nothing: marks are only written where they are set.
fn mark(set: bool) -> Option<bool> {
    set.then_some(true)
}

/// What HPACK's state hid is empty.
fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl<'a> ExchangeView<'a> {
    pub(super) fn new(exchange: &'a Exchange, observer: &'a Observer, fit: &'a LineFit) -> Self {
        let request = exchange.request.as_ref();
        let trace = request.and_then(|r| r.trace.as_deref());
        let start = Rfc3339Stamp::new(exchange.start());
        let name = |name: &'a str| NamePart { name };
        let interface = exchange.connection.interface.as_deref();
        Self {
            timestamp: start,
            ecs: EcsPart { version: ECS_VERSION },
            event: EventPart::new(exchange, start),
            http: HttpPart::new(exchange, fit),
            url: request.map(|r| UrlParts::new(r, fit)),
            user_agent: OriginalPart::user_agent(exchange, fit),
            source: EndpointPart::source(exchange),
            destination: EndpointPart::destination(exchange),
            client: exchange.client_ip.map(|ip| ClientPart { ip }),
            network: NetworkPart::new(exchange),
            trace: trace.map(|t| IdPart { id: &t.trace_id }),
            span: trace.map(|t| IdPart { id: &t.span_id }),
            rpc: RpcPart::new(exchange, fit),
            error: ErrorPart::new(exchange),
            process: exchange.process().map(|process| ProcessPart::new(process, None, fit)),
            user: exchange.process().map(ProcessUserPart::new),
            container: exchange.process().and_then(ProcessContainerPart::new),
            service: service(observer, exchange.of_node.as_deref()).map(name),
            labels: fit.labels(&observer.labels),
            host: observer.host_name.as_deref().map(name),
            kubernetes: KubernetesPart::of(exchange.of_node.as_deref(), observer, fit),
            orchestrator: OrchestratorPart::new(observer),
            agent: AgentPart::PODTAP,
            observer: interface.map(|n| ObserverPart { ingress: IngressPart { interface: name(n) } }),
            podtap: PodtapPart::new(exchange, fit),
        }
    }
}

impl<'a> OriginalPart<'a> {
    pub(super) fn user_agent(exchange: &'a Exchange, fit: &LineFit) -> Option<Self> {
        let user_agent = exchange.request.as_ref()?.user_agent.as_ref();
        fit.maybe(user_agent).map(|original| Self { original })
    }
}

impl<'a> EndpointPart<'a> {
    #[inline(always)]
    pub(super) fn source(exchange: &'a Exchange) -> Self {
        let Endpoint { ip, port } = exchange.connection.client;
        let domain = exchange.source_domain.as_deref().map(|domain| &domain.names);
        Self { ip, port, bytes: exchange.request.as_ref().map(|r| r.bytes), domain }
    }

    pub(super) fn destination(exchange: &'a Exchange) -> Self {
        let Endpoint { ip, port } = exchange.connection.server;
        let domain = exchange.destination_domain.as_deref().map(|domain| &domain.names);
        Self { ip, port, bytes: exchange.response.as_ref().map(|r| r.bytes), domain }
    }
}

impl AgentPart {
    pub(super) const PODTAP: Self = Self { r#type: "podtap", version: env!("CARGO_PKG_VERSION") };
}

impl<'a> OrchestratorPart<'a> {
    pub(super) fn new(observer: &'a Observer) -> Option<Self> {
        observer.cluster_name.as_deref().map(|name| Self { cluster: NamePart { name } })
    }
}

impl<'a> EventPart<'a> {
    pub(super) fn new(exchange: &'a Exchange, start: Rfc3339Stamp) -> Self {
        let end = exchange.end();
        Self {
            kind: "event",
            category: ["network", "web"],
            r#type: ["connection", "protocol"],
            dataset: "podtap.http",
            id: &exchange.id,
            start,
            end: end.map(|end| start.near(exchange.start(), end)),
            duration: end.map(|end| end.since(exchange.start())),
            outcome: exchange.outcome().name(),
        }
    }
}

impl<'a> HttpPart<'a> {
    #[inline(always)]
    pub(super) fn new(exchange: &'a Exchange, fit: &LineFit) -> Self {
        let (request, response) = (exchange.request.as_ref(), exchange.response.as_ref());
        let version = request.map(|r| r.version).and_then(HttpVersion::name);
        Self {
            version: version.or_else(|| response?.version.name()),
            route: fit.maybe(exchange.route.as_ref()),
            request: request.map(|r| RequestPart::new(r, fit)),
            response: response.map(|r| ResponsePart::new(r, fit)),
        }
    }
}

impl<'a> RequestPart<'a> {
    #[inline(always)]
    pub(super) fn new(request: &'a HttpRequest, fit: &LineFit) -> Self {
        Self {
            method: known(fit.text(&request.method)),
            bytes: request.bytes,
            body: body(request.body_bytes),
            mime_type: fit.maybe(request.mime_type.as_ref()),
            referrer: fit.maybe(request.referrer.as_ref()),
            id: fit.maybe(request.id.as_ref()),
            headers: (fit.headers && !request.headers.is_empty()).then_some(HeaderMap(&request.headers)),
            trailers: (fit.headers && !request.trailers.is_empty()).then_some(HeaderMap(&request.trailers)),
        }
    }
}

impl<'a> ResponsePart<'a> {
    #[inline(always)]
    pub(super) fn new(response: &'a HttpResponse, fit: &LineFit) -> Self {
        Self {
            status_code: response.status,
            status_phrase: fit.maybe(response.phrase.as_ref()),
            mime_type: fit.maybe(response.mime_type.as_ref()),
            bytes: response.bytes,
            body: body(response.body_bytes),
            headers: (fit.headers && !response.headers.is_empty()).then_some(HeaderMap(&response.headers)),
            trailers: (fit.headers && !response.trailers.is_empty()).then_some(HeaderMap(&response.trailers)),
        }
    }
}

impl<'a> UrlParts<'a> {
    pub(super) fn new(request: &'a HttpRequest, fit: &LineFit) -> Self {
        let url = RequestUrl::of(request);
        Self {
            original: known(fit.text(&request.target)),
            path: fit.maybe(url.path.filter(|_| fit.url_parts)),
            query: fit.maybe(url.query.filter(|_| fit.url_parts)),
            domain: fit.maybe(url.domain),
            port: url.port,
            scheme: fit.maybe(url.scheme),
            // A part of it would be another URL.
            full: FullUrl::of(&url)
                .filter(|full| fit.url_parts && full.len() <= fit.text && !request.target.is_empty()),
        }
    }
}

impl<'a> NetworkPart<'a> {
    pub(super) fn new(exchange: &'a Exchange) -> Self {
        let direction = exchange.direction().map(|direction| direction.name());
        Self {
            transport: "tcp",
            r#type: if exchange.connection.server.ip.is_ipv4() { "ipv4" } else { "ipv6" },
            protocol: "http",
            direction,
            community_id: &exchange.connection.community_id,
            vlan: VlanPart::outer(&exchange.connection.around),
            inner: InnerVlanPart::new(&exchange.connection.around),
        }
    }
}

/// `service.name`: of the observed pod.
pub(super) fn service<'a>(observer: &'a Observer, of_node: Option<&'a OfNode>) -> Option<&'a str> {
    match of_node {
        Some(of_node) => of_node.service_name().map(|name| name.as_str()),
        None => observer.service_name.as_deref(),
    }
}

impl<'a> RecorderParts<'a> {
    pub(super) fn new(observer: &'a Observer) -> Self {
        Self::of(None, observer)
    }

    /// Of a record that may be a node's.
    pub(super) fn of(of_node: Option<&'a OfNode>, observer: &'a Observer) -> Self {
        let name = |name: &'a str| NamePart { name };
        Self {
            service: service(observer, of_node).map(name),
            labels: LineFit::WHOLE.labels(&observer.labels),
            host: observer.host_name.as_deref().map(name),
            kubernetes: KubernetesPart::of(of_node, observer, &LineFit::WHOLE),
            orchestrator: OrchestratorPart::new(observer),
            agent: AgentPart::PODTAP,
        }
    }
}

impl IcmpPart {
    pub(super) fn new(icmp: IcmpMessage) -> Self {
        Self { r#type: icmp.kind, code: icmp.code, id: icmp.id }
    }
}

/// `network.community_id`: ICMP has its type and code in place of ports.
pub(super) fn community_id(
    protocol: IpProtocol,
    [source, destination]: [Endpoint; 2],
    icmp: Option<IcmpMessage>,
) -> CompactString {
    let [from, to] = icmp.map_or([source.port, destination.port], |icmp| [icmp.kind, icmp.code].map(u16::from));
    community_id_of(protocol, Endpoint { port: from, ..source }, Endpoint { port: to, ..destination })
}

impl<'a> KubernetesPart<'a> {
    /// The observed pod: where a node is observed, that of the record.
    pub(super) fn of(of_node: Option<&'a OfNode>, observer: &'a Observer, fit: &LineFit) -> Option<Self> {
        let Some(of_node) = of_node else { return Self::new(observer, fit) };
        let node = observer.pod.node.as_deref().or(observer.host_name.as_deref()).map(|name| NamePart { name });
        let (none, pod) = (Self { namespace: None, pod: None, node, labels: None, annotations: None }, &of_node.pod);
        let Some((ip, workload)) = pod else { return none.node.is_some().then_some(none) };
        let part = PodPart { name: workload.name.as_deref(), uid: None, ip: Some(*ip) };
        let labels = fit.labels(&workload.labels);
        Some(Self { namespace: workload.namespace.as_deref(), pod: Some(part), labels, ..none })
    }

    fn new(observer: &'a Observer, fit: &LineFit) -> Option<Self> {
        let pod = &observer.pod;
        let part = PodPart { name: pod.name.as_deref(), uid: pod.uid.as_deref(), ip: pod.ip };
        let has_pod = part.name.is_some() || part.uid.is_some() || part.ip.is_some();
        let (labels, annotations) = (fit.labels(&pod.labels), fit.labels(&pod.annotations));
        let namespace = pod.namespace.as_deref();
        let node = pod.node.as_deref().map(|name| NamePart { name });
        let has_any = has_pod || namespace.is_some() || node.is_some() || labels.is_some() || annotations.is_some();
        has_any.then_some(Self { namespace, pod: has_pod.then_some(part), node, labels, annotations })
    }
}

impl<'a> PodtapPart<'a> {
    #[inline(always)]
    pub(super) fn new(exchange: &'a Exchange, fit: &LineFit) -> Self {
        let is_early = exchange.in_order().is_some_and(|(request, response)| response.first < request.last);
        let http2 = exchange.http2.as_deref();
        Self {
            trust: exchange.trust.name(),
            missing: (!exchange.missing.is_empty()).then_some(MissingNames(exchange.missing)),
            timing: TimingPart::new(exchange),
            early_response: mark(is_early),
            connection: ConnectionPart::new(exchange),
            stream: exchange.class.name(),
            informational: (!exchange.informational.is_empty()).then_some(&exchange.informational),
            weird: (!exchange.weird.is_empty()).then_some(WeirdNames(exchange.weird)),
            unanswered: exchange.unanswered.map(|u| u.name()),
            late: mark(exchange.late),
            ended_by: exchange.ended.and_then(|ended| ended.by).map(crate::record::ConnectionSide::name),
            ended_how: exchange.ended.map(|ended| ended.how.name()),
            open: mark(exchange.open),
            unknown: http2.map(|stream| stream.unknown.as_slice()).filter(|names| !names.is_empty()),
            path_ref: http2.and_then(|stream| stream.path_ref.as_deref()),
            http2: Http2Part::new(exchange),
            grpc: GrpcPart::new(exchange, fit),
            websocket: WebSocketPart::new(exchange),
            sse: SsePart::new(exchange),
            process: exchange.process().and_then(|process| ProcessSurroundings::new(process, EXACT)),
            tunnel: TunnelPart::new(&exchange.connection.around),
            source: SidePart::new(exchange.source_workload.as_deref(), exchange.source_domain.as_deref(), fit),
            destination: SidePart::new(
                exchange.destination_workload.as_deref(),
                exchange.destination_domain.as_deref(),
                fit,
            ),
            observed: exchange.of_node.as_ref().map(|of_node| of_node.observed.name()),
            shortened: mark(fit.shortened),
        }
    }
}

impl TimingPart {
    #[inline(always)]
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        let timing = exchange.timing();
        let micros = |nanos: Option<u64>| nanos.map(|nanos| nanos / 1000);
        (exchange.request.is_some() || exchange.response.is_some()).then(|| Self {
            connect_us: micros(timing.connect),
            request_us: micros(timing.request),
            wait_us: micros(timing.wait),
            response_us: micros(timing.response),
            total_us: micros(timing.total),
        })
    }
}

impl<'a> ConnectionPart<'a> {
    /// The first exchange that was seen is the connection's first only where its handshake was seen.
    pub(super) fn new(exchange: &'a Exchange) -> Self {
        let reused = match (exchange.number, exchange.connect_ns) {
            (0 | 1, None) => None,
            (0 | 1, Some(_)) => Some(false),
            _ => Some(true),
        };
        Self { id: &exchange.connection.id, exchange: (exchange.number > 0).then_some(exchange.number), reused }
    }
}

impl<'a> SidePart<'a> {
    /// With nothing cut.
    pub(super) fn whole(workload: &'a Option<Arc<Workload>>, domain: &'a Option<Arc<DomainNames>>) -> Option<Self> {
        Self::new(workload.as_deref(), domain.as_deref(), &LineFit::WHOLE)
    }

    pub(super) fn new(workload: Option<&'a Workload>, domain: Option<&'a DomainNames>, fit: &LineFit) -> Option<Self> {
        let domain_source = domain.map(|domain| domain.source.name());
        let workload = workload.map(|it| WorkloadPart::new(it, fit));
        (workload.is_some() || domain_source.is_some()).then_some(Self { workload, domain_source })
    }
}

impl<'a> WorkloadPart<'a> {
    pub(super) fn new(it: &'a Workload, fit: &LineFit) -> Self {
        Self {
            namespace: it.namespace.as_deref(),
            name: it.name.as_deref(),
            kind: it.kind.as_deref(),
            service: (!it.services.is_empty()).then_some(&it.services),
            node: it.node.as_deref(),
            labels: fit.labels(&it.labels),
        }
    }
}
