//! The way back: an exchange or a connect from its line of JSON, as far as the text line, filters and `top` need it.
//!
//! Takes what it knows and passes over the rest, so that lines of other versions are read too. Trusts no line: what does not
//! fit is left out.

mod connect;
mod text;

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use self::text::{JsonText, JsonTexts, objects};
use crate::flow::{Endpoint, Timestamp};
use crate::format::stamp;
use crate::record::{
    CallSystem, ConnectionOpening, ConnectionSide, DomainNames, DomainSource, EarlyEnd, EndedHow, Exchange,
    ExchangeConnection, GrpcCall, Http2, HttpRequest, HttpResponse, HttpVersion, MissingParts, NetworkDirection,
    Process, ProcessContainer, Record, SocketCounts, StreamClass, StreamReset, Trust, UnansweredReason, WebSocket,
    Weird, WeirdSet, Workload, grpc_status_name, h2_error,
};

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
        "podtap.http" => line.read().ok_or(NotRead::NoRecord),
        "podtap.connect" => connect::read(text).ok_or(NotRead::NoRecord),
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
        ;
        timing: ReadTiming,
        late: bool,
        open: bool,
    }
    ConnectionPart { id: JsonText<'a>, ; exchange: u32, }
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

impl Line<'_> {
    fn read(self) -> Option<ReadRecord> {
        let start = time(&self.timestamp)?;
        let end = self.event.end.as_ref().and_then(time);
        let (source, destination) = (self.source?, self.destination?);
        let (client, server) = (source.endpoint()?, destination.endpoint()?);
        let podtap = self.podtap;
        let version = self.http.version.as_ref().map_or(HttpVersion::Unknown, version);
        let timing = &podtap.timing;
        let asked = start.plus(timing.request_us.saturating_mul(1000));
        let (url, agent) = (self.url, self.user_agent);
        let request =
            self.http.request.map(|part| request(&part, url.as_ref(), agent.as_ref(), version, [start, asked]));
        let begins = if request.is_some() { asked.plus(timing.wait_us.saturating_mul(1000)) } else { start };
        let response = self.http.response.map(|part| response(&part, version, begins, end.unwrap_or(begins)));
        let direction = self.network.direction.as_ref().and_then(direction);
        let interface = self.observer.and_then(Observer::interface);
        let connection = ExchangeConnection {
            direction,
            interface,
            opening: self.process.map(|part| opening(&part, self.user.as_ref(), self.container.as_ref(), start)),
            ..ExchangeConnection::new(podtap.connection.id.compact(), client, server)
        };
        let exchange = Exchange {
            request,
            response,
            connect_ns: timing.connect_us.map(|micros| micros.saturating_mul(1000)),
            trust: named(TRUST, Trust::name, &podtap.trust)?,
            missing: missing(&podtap.missing),
            class: named(CLASSES, StreamClass::name, &podtap.stream)?,
            weird: weird(&podtap.weird),
            unanswered: podtap
                .unanswered
                .as_ref()
                .and_then(|why| named(UnansweredReason::ALL, UnansweredReason::name, why)),
            late: podtap.late,
            ended: ended(podtap.ended_by.as_ref(), podtap.ended_how.as_ref()),
            route: self.http.route.as_ref().map(JsonText::compact),
            http2: podtap.http2.map(|part| Box::new(http2(&part))),
            grpc: self.rpc.map(|part| Box::new(grpc(&part))),
            websocket: podtap.websocket.map(|part| Box::new(websocket(&part))),
            open: podtap.open,
            client_ip: self.client.map(|client| client.ip),
            source_workload: podtap.source.as_ref().and_then(SidePart::workload),
            destination_workload: podtap.destination.as_ref().and_then(SidePart::workload),
            source_domain: domain(source.domain, podtap.source.as_ref()),
            destination_domain: domain(destination.domain, podtap.destination.as_ref()),
            ..Exchange::new(Arc::new(connection), self.event.id.compact(), podtap.connection.exchange)
        };
        Some(Kubernetes::around(self.kubernetes, Record::Http(Box::new(exchange))))
    }
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

const TRUST: [Trust; 5] = [Trust::Complete, Trust::Truncated, Trust::Gap, Trust::Midstream, Trust::Unpaired];
const CLASSES: [StreamClass; 4] =
    [StreamClass::Exchange, StreamClass::Stream, StreamClass::Tunnel, StreamClass::Upgrade];
const SIDES: [ConnectionSide; 2] = [ConnectionSide::Client, ConnectionSide::Server];
const ENDED_HOW: [EndedHow; 3] = [EndedHow::Fin, EndedHow::Rst, EndedHow::ResetStream];
const MISSING: [MissingParts; 6] = [
    MissingParts::REQUEST,
    MissingParts::RESPONSE,
    MissingParts::REQUEST_HEAD,
    MissingParts::RESPONSE_HEAD,
    MissingParts::REQUEST_BODY,
    MissingParts::RESPONSE_BODY,
];

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

fn version(text: &JsonText<'_>) -> HttpVersion {
    match &*text.0 {
        "0.9" => HttpVersion::V09,
        "1.0" => HttpVersion::V10,
        "2" => HttpVersion::V2,
        _ => HttpVersion::V11,
    }
}

fn request(
    part: &RequestPart<'_>,
    url: Option<&UrlPart<'_>>,
    agent: Option<&Original<'_>>,
    version: HttpVersion,
    [first, last]: [Timestamp; 2],
) -> HttpRequest {
    let text = |text: Option<&JsonText<'_>>| text.map(JsonText::compact);
    let domain = text(url.and_then(|url| url.domain.as_ref()));
    let host = match (domain, url.and_then(|url| url.port)) {
        (Some(domain), Some(port)) => Some(format_compact!("{domain}:{port}")),
        (domain, _) => domain,
    };
    HttpRequest {
        method: text(part.method.as_ref()).unwrap_or_default(),
        target: text(url.and_then(|url| url.original.as_ref())).unwrap_or_default(),
        version,
        host,
        mime_type: None,
        referrer: None,
        id: None,
        user_agent: text(agent.and_then(|agent| agent.original.as_ref())),
        trace: None,
        headers: Vec::new(),
        trailers: Vec::new(),
        first,
        last,
        bytes: part.bytes,
        body_bytes: part.body.bytes,
    }
}

/// Who asked for the connection. When it began is not in the line.
fn opening(
    part: &ProcessPart<'_>,
    user: Option<&UserPart<'_>>,
    container: Option<&ContainerPart<'_>>,
    start: Timestamp,
) -> ConnectionOpening {
    let opening = ConnectionOpening::new(start);
    // It was made just now.
    let _ = opening.asker.set(Some(Arc::new(process(part, user, container))));
    opening
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

fn response(part: &ReadResponse, version: HttpVersion, first: Timestamp, last: Timestamp) -> HttpResponse {
    HttpResponse {
        status: part.status_code,
        phrase: None,
        version,
        mime_type: None,
        headers: Vec::new(),
        trailers: Vec::new(),
        first,
        last,
        bytes: part.bytes,
        body_bytes: part.body.bytes,
    }
}

fn missing(names: &[JsonText<'_>]) -> MissingParts {
    let mut missing = MissingParts::default();
    for part in MISSING {
        if part.names().any(|name| names.iter().any(|text| text.0 == name)) {
            missing.insert(part);
        }
    }
    missing
}

fn weird(names: &[JsonText<'_>]) -> WeirdSet {
    let mut weird = WeirdSet::default();
    let known = |text: &JsonText<'_>| Weird::ALL.iter().find(|weird| weird.name() == text.0);
    names.iter().filter_map(known).for_each(|one| weird.insert(*one));
    weird
}

fn ended(by: Option<&JsonText<'_>>, how: Option<&JsonText<'_>>) -> Option<EarlyEnd> {
    let how = named(ENDED_HOW, EndedHow::name, how?)?;
    Some(EarlyEnd { by: by.and_then(|by| named(SIDES, ConnectionSide::name, by)), how })
}

fn http2(part: &Http2Part<'_>) -> Http2 {
    let reset = part.reset.as_ref().and_then(|reset| {
        let code = (0..14).find(|code| h2_error(*code) == reset.code.0).or_else(|| reset.code.0.parse().ok())?;
        Some(StreamReset { by: named(SIDES, ConnectionSide::name, &reset.by)?, code })
    });
    Http2 { stream: part.stream_id, reset, ..Http2::default() }
}

fn grpc(part: &Rpc<'_>) -> GrpcCall {
    let status = part.response.as_ref().and_then(|response| response.status_code.as_ref());
    let code = |text: &JsonText<'_>| {
        (0..17).find(|code| grpc_status_name(*code) == Some(&text.0)).or_else(|| text.0.parse().ok())
    };
    let named = part.system.as_ref().and_then(|system| system.name.as_ref());
    let connect = CallSystem::Connect { unary: false };
    let system = named.filter(|name| name.0 == connect.name()).map_or(CallSystem::Grpc, |_| connect);
    let method = part.method.as_ref().map(JsonText::compact);
    GrpcCall { system, method, status: status.and_then(code), ..GrpcCall::default() }
}

fn websocket(part: &WebSocketPart<'_>) -> WebSocket {
    let counts = |end: &Option<ReadCounts>| {
        end.as_ref().map(|counts| SocketCounts { messages: counts.messages, ..SocketCounts::default() })
    };
    WebSocket {
        client: counts(&part.client),
        server: counts(&part.server),
        close_code: part.close_code,
        closed_by: part.closed_by.as_ref().and_then(|by| named(SIDES, ConnectionSide::name, by)),
        ..WebSocket::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::Observer;
    use crate::format::ecs::write_json;
    use crate::format::text::{TextStyle, write_line};
    use crate::record::EventOutcome;
    use crate::record::sample::{conntrack, everything_of_flow, exchange, record};

    fn json(record: &Record, observer: &Observer) -> Vec<u8> {
        let mut out = Vec::new();
        write_json(&mut out, record, observer);
        out
    }

    fn line_of(record: &Record) -> String {
        let mut out = Vec::new();
        let style = TextStyle { colour: true, slow_after: Some(5_000_000), ..TextStyle::default() };
        write_line(&mut out, record, &style);
        String::from_utf8(out).unwrap()
    }

    fn text(exchange: Exchange) -> String {
        line_of(&record(exchange))
    }

    fn exchange_of(json: &[u8]) -> Exchange {
        read_json(json).unwrap().record.into_exchange().unwrap()
    }

    /// Each way in which an exchange can differ that a line shows.
    fn variety() -> Vec<Exchange> {
        let mut all = vec![exchange()];
        let mut add = |change: &dyn Fn(&mut Exchange)| {
            let mut it = exchange();
            change(&mut it);
            all.push(it);
        };
        add(&|it| it.request = None);
        add(&|it| it.response = None);
        add(&|it| {
            (it.response, it.unanswered, it.trust) = (None, Some(UnansweredReason::Reset), Trust::Unpaired);
            it.missing.insert(MissingParts::RESPONSE);
        });
        add(&|it| it.response.as_mut().unwrap().status = Some(503));
        add(&|it| it.response = Some(crate::record::sample::http09()));
        add(&|it| it.request.as_mut().unwrap().host = None);
        add(&|it| it.request.as_mut().unwrap().target = "http://a:81/b?c".into());
        add(&|it| it.request.as_mut().unwrap().target = "/\\x00\"quoted\"".into());
        add(&|it| (it.class, it.late, it.open) = (StreamClass::Stream, true, true));
        add(&|it| {
            it.trust = Trust::Gap;
            it.missing.insert(MissingParts::RESPONSE_BODY);
            it.weird.insert(Weird::BareLf);
            it.ended = Some(EarlyEnd { by: Some(ConnectionSide::Client), how: EndedHow::Rst });
        });
        add(&|it| {
            it.http2 = Some(Box::new(Http2 {
                reset: Some(StreamReset { by: ConnectionSide::Server, code: 8 }),
                ..Http2::default()
            }));
            it.grpc = Some(Box::new(GrpcCall { status: Some(14), ..GrpcCall::default() }));
        });
        add(&|it| {
            let client = Some(SocketCounts { messages: 3, ..SocketCounts::default() });
            it.websocket = Some(Box::new(WebSocket { client, close_code: Some(1001), ..WebSocket::default() }));
        });
        add(&|it| {
            let opening = Some(crate::record::sample::opening());
            it.connection = Arc::new(ExchangeConnection { opening, ..crate::record::sample::connection() });
        });
        for direction in [None, Some(NetworkDirection::Egress), Some(NetworkDirection::Internal)] {
            add(&|it| {
                it.connection = Arc::new(ExchangeConnection { direction, ..crate::record::sample::connection() })
            });
        }
        all
    }

    #[test]
    fn the_line_of_what_was_read_is_the_line_of_what_was_written() {
        for it in variety() {
            let read = exchange_of(&json(&record(it.clone()), &Observer::default()));
            assert_eq!(text(read.clone()), text(it.clone()));
            assert_eq!((read.outcome(), read.end(), &read.id), (it.outcome(), it.end(), &it.id));
            assert_eq!(read.route, it.route);
        }
    }

    #[test]
    fn who_is_at_both_ends_comes_with_it() {
        let flow = everything_of_flow();
        let mut it = exchange();
        it.client_ip = Some([9, 9, 9, 9].into());
        (it.source_workload, it.destination_workload) = (flow.source_workload, flow.destination_workload);
        (it.source_domain, it.destination_domain) = (flow.source_domain, flow.destination_domain);
        let read = exchange_of(&json(&record(it.clone()), &Observer::default()));
        assert_eq!((read.client_ip, &read.source_domain), (it.client_ip, &it.source_domain));
        assert_eq!(read.destination_domain, it.destination_domain);
        for (found, given) in
            [(&read.source_workload, &it.source_workload), (&read.destination_workload, &it.destination_workload)]
        {
            let (found, given) = (found.as_ref().unwrap(), given.as_ref().unwrap());
            let of = |it: &Workload| (it.namespace.clone(), it.name.clone(), it.kind.clone());
            assert_eq!(of(found), of(given));
        }
    }

    #[test]
    fn the_pod_comes_with_it() {
        let mut observer = Observer::default();
        (observer.pod.name, observer.pod.namespace) = (Some("web-1".into()), Some("shop".into()));
        let read = read_json(&json(&record(exchange()), &observer)).unwrap();
        assert_eq!((read.pod.as_deref(), read.namespace.as_deref(), read.node), (Some("web-1"), Some("shop"), None));
        assert_eq!(read.record.exchange().unwrap().outcome(), EventOutcome::Success);
    }

    #[test]
    fn other_lines_are_recognised() {
        let other = json(&Record::from(conntrack()), &Observer::default());
        for (line, why) in [
            (&other[..], NotRead::OtherDataset),
            (b"{}", NotRead::NoRecord),
            (b"{\"event\":{\"dataset\":\"nginx.access\"}}", NotRead::NoRecord),
            (b"{\"event\":{\"dataset\":\"podtap.http\"}}", NotRead::NoRecord),
            (b"no json", NotRead::NoRecord),
            (b"", NotRead::NoRecord),
        ] {
            assert_eq!(read_json(line), Err(why), "{}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn a_broken_line_is_no_record_or_one_that_can_be_shown(at in 0usize..1500, byte in any::<u8>(), which in 0usize..20) {
            let variety = variety();
            let mut line = json(&record(variety[which % variety.len()].clone()), &Observer::default());
            let at = at % line.len();
            line[at] = byte;
            if let Ok(read) = read_json(&line) {
                let shown = line_of(&read.record);
                let controls = shown.trim_end().chars().filter(|c| c.is_control()).count();
                prop_assert_eq!(controls, shown.matches("\x1b[").count(), "{:?}", shown);
            }
        }
    }
}
