//! The way back: an exchange from its line of JSON, as far as the text line and filters need it.
//!
//! Takes what it knows and passes over the rest, so that lines of other versions are read too. Trusts no line: what does not
//! fit is left out.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::flow::{Endpoint, Timestamp};
use crate::record::{
    CallSystem, ConnectionOpening, ConnectionSide, EarlyEnd, EndedHow, Exchange, ExchangeConnection, GrpcCall, Http2,
    HttpRequest, HttpResponse, HttpVersion, MissingParts, NetworkDirection, Process, ProcessContainer, SocketCounts,
    StreamClass, StreamReset, Trust, UnansweredReason, WebSocket, Weird, WeirdSet, grpc_status_name, h2_error,
};

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRecord {
    /// What happened.
    pub exchange: Exchange,
    /// `kubernetes.pod.name`
    pub pod: Option<CompactString>,
    /// `kubernetes.namespace`
    pub namespace: Option<CompactString>,
    /// `kubernetes.node.name`
    pub node: Option<CompactString>,
}

/// Why a line gave no exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoExchange {
    /// A record of another kind.
    OtherDataset,
    /// No record of podtap's.
    NoRecord,
}

/// The exchange of one line of JSON.
pub fn read_json(line: &[u8]) -> Result<ReadRecord, NoExchange> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| NoExchange::NoRecord)?;
    match &*line.event.dataset.0 {
        "podtap.http" => line.read().ok_or(NoExchange::NoRecord),
        other if other.starts_with("podtap.") => Err(NoExchange::OtherDataset),
        _ => Err(NoExchange::NoRecord),
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Default)]
struct JsonText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = JsonText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(JsonText(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(JsonText(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl JsonText<'_> {
    fn compact(&self) -> CompactString {
        CompactString::from(&*self.0)
    }
}

/// Objects of the line: the members that hold text, then the others.
macro_rules! objects {
    ($($name:ident { $($(#[$meta:meta])* $text:ident: $text_type:ty,)* ; $($plain:ident: $plain_type:ty,)* })*) => {
        $(#[derive(Default, Deserialize)]
        #[serde(default)]
        struct $name<'a> {
            $(#[serde(borrow)] $(#[$meta])* $text: $text_type,)*
            $($plain: $plain_type,)*
        })*
    };
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
        ;
        source: Option<ReadEnd>,
        destination: Option<ReadEnd>,
    }
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
    Network { direction: Option<JsonText<'a>>, community_id: Option<JsonText<'a>>, ; }
    Name { name: Option<JsonText<'a>>, ; }
    ProcessPart { name: JsonText<'a>, executable: Option<JsonText<'a>>, ; pid: u32, }
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
struct ReadEnd {
    ip: IpAddr,
    port: u16,
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
        let (client, server) = (endpoint(self.source?), endpoint(self.destination?));
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
        let interface = self.observer.and_then(|observer| observer.ingress).and_then(|ingress| ingress.interface);
        let connection = ExchangeConnection {
            community_id: self.network.community_id.as_ref().map(JsonText::compact).unwrap_or_default(),
            direction,
            interface: interface.and_then(|interface| interface.name).map(|name| Arc::from(&*name.0)),
            opening: self.process.map(|part| opening(&part, self.user.as_ref(), self.container.as_ref(), start)),
            ..ExchangeConnection::new(podtap.connection.id.compact(), client, server)
        };
        let (pod, namespace, node) = self.kubernetes.map_or((None, None, None), |it| {
            let name = |part: Option<Name<'_>>| part.and_then(|part| part.name).map(|name| name.compact());
            (name(it.pod), it.namespace.map(|name| name.compact()), name(it.node))
        });
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
            ..Exchange::new(Arc::new(connection), self.event.id.compact(), podtap.connection.exchange)
        };
        Some(ReadRecord { exchange, pod, namespace, node })
    }
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
    let at = text.0.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(at.as_nanosecond()).ok().map(Timestamp)
}

fn endpoint(end: ReadEnd) -> Endpoint {
    Endpoint::new(end.ip, end.port)
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
    let text = |text: Option<&JsonText<'_>>| text.map(JsonText::compact);
    let process = Process {
        pid: part.pid,
        name: part.name.compact(),
        executable: text(part.executable.as_ref()),
        user: user.and_then(|user| user.id.as_ref()?.0.parse().ok()).unwrap_or_default(),
        user_name: user.and_then(|user| text(user.name.as_ref())),
        container: container.map(|it| ProcessContainer {
            id: it.id.compact(),
            name: text(it.name.as_ref()),
            ..ProcessContainer::default()
        }),
        ..Process::default()
    };
    let opening = ConnectionOpening::new(start);
    // It was made just now.
    let _ = opening.asker.set(Some(Arc::new(process)));
    opening
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
    use crate::record::sample::{conntrack, exchange, record};
    use crate::record::{EventOutcome, Record};

    fn json(record: &Record, observer: &Observer) -> Vec<u8> {
        let mut out = Vec::new();
        write_json(&mut out, record, observer);
        out
    }

    fn text(exchange: Exchange) -> String {
        let mut out = Vec::new();
        let style = TextStyle { colour: true, slow_after: Some(5_000_000), ..TextStyle::default() };
        write_line(&mut out, &record(exchange), &style);
        String::from_utf8(out).unwrap()
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
            let read = read_json(&json(&record(it.clone()), &Observer::default())).unwrap().exchange;
            assert_eq!(text(read.clone()), text(it.clone()));
            assert_eq!((read.outcome(), read.end(), &read.id), (it.outcome(), it.end(), &it.id));
            assert_eq!(read.route, it.route);
        }
    }

    #[test]
    fn the_pod_comes_with_it() {
        let mut observer = Observer::default();
        (observer.pod.name, observer.pod.namespace) = (Some("web-1".into()), Some("shop".into()));
        let read = read_json(&json(&record(exchange()), &observer)).unwrap();
        assert_eq!((read.pod.as_deref(), read.namespace.as_deref(), read.node), (Some("web-1"), Some("shop"), None));
        assert_eq!(read.exchange.outcome(), EventOutcome::Success);
    }

    #[test]
    fn other_lines_are_told_apart() {
        let other = json(&Record::from(conntrack()), &Observer::default());
        for (line, why) in [
            (&other[..], NoExchange::OtherDataset),
            (b"{}", NoExchange::NoRecord),
            (b"{\"event\":{\"dataset\":\"nginx.access\"}}", NoExchange::NoRecord),
            (b"{\"event\":{\"dataset\":\"podtap.http\"}}", NoExchange::NoRecord),
            (b"no json", NoExchange::NoRecord),
            (b"", NoExchange::NoRecord),
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
                let shown = text(read.exchange);
                let controls = shown.trim_end().chars().filter(|c| c.is_control()).count();
                prop_assert_eq!(controls, shown.matches("\x1b[").count(), "{:?}", shown);
            }
        }
    }
}
