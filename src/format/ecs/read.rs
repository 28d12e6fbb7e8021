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
    CallSystem, Connection, Ended, EndedHow, Exchange, Grpc, Http2, Missing, NetworkDirection, Request, Reset,
    Response, Side, SocketCounts, StreamClass, Trust, Unanswered, Version, WebSocket, Weird, WeirdSet,
    grpc_status_name, h2_error,
};

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
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
pub fn read_json(line: &[u8]) -> Result<Read, NoExchange> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| NoExchange::NoRecord)?;
    match &*line.event.dataset.0 {
        "podtap.http" => line.read().ok_or(NoExchange::NoRecord),
        other if other.starts_with("podtap.") => Err(NoExchange::OtherDataset),
        _ => Err(NoExchange::NoRecord),
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Both)
    }
}

impl Text<'_> {
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
        #[serde(rename = "@timestamp")] timestamp: Text<'a>,
        event: Event<'a>,
        http: Http<'a>,
        url: Option<UrlPart<'a>>,
        user_agent: Option<Original<'a>>,
        network: Network<'a>,
        rpc: Option<Rpc<'a>>,
        kubernetes: Option<Kubernetes<'a>>,
        observer: Option<Observer<'a>>,
        podtap: Podtap<'a>,
        ;
        source: Option<End>,
        destination: Option<End>,
    }
    Event { dataset: Text<'a>, id: Text<'a>, end: Option<Text<'a>>, ; }
    Http {
        version: Option<Text<'a>>,
        route: Option<Text<'a>>,
        request: Option<RequestPart<'a>>,
        ;
        response: Option<ResponsePart>,
    }
    RequestPart { method: Option<Text<'a>>, ; bytes: u64, body: Body, }
    Original { original: Option<Text<'a>>, ; }
    UrlPart { original: Option<Text<'a>>, domain: Option<Text<'a>>, ; port: Option<u16>, }
    Network { direction: Option<Text<'a>>, community_id: Option<Text<'a>>, ; }
    Name { name: Option<Text<'a>>, ; }
    Kubernetes { namespace: Option<Text<'a>>, pod: Option<Name<'a>>, node: Option<Name<'a>>, ; }
    Ingress { interface: Option<Name<'a>>, ; }
    Observer { ingress: Option<Ingress<'a>>, ; }
    Rpc { system: Option<Name<'a>>, method: Option<Text<'a>>, response: Option<RpcResponse<'a>>, ; }
    RpcResponse { status_code: Option<Text<'a>>, ; }
    Podtap {
        trust: Text<'a>,
        missing: Vec<Text<'a>>,
        connection: ConnectionPart<'a>,
        stream: Text<'a>,
        weird: Vec<Text<'a>>,
        unanswered: Option<Text<'a>>,
        ended_by: Option<Text<'a>>,
        ended_how: Option<Text<'a>>,
        http2: Option<Http2Part<'a>>,
        websocket: Option<WebSocketPart<'a>>,
        ;
        timing: Timing,
        late: bool,
        open: bool,
    }
    ConnectionPart { id: Text<'a>, ; exchange: u32, }
    Http2Part { reset: Option<ResetPart<'a>>, ; stream_id: u32, }
    ResetPart { by: Text<'a>, code: Text<'a>, ; }
    WebSocketPart {
        closed_by: Option<Text<'a>>,
        ;
        client: Option<Counts>,
        server: Option<Counts>,
        close_code: Option<u16>,
    }
}

#[derive(Deserialize)]
struct End {
    ip: IpAddr,
    port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponsePart {
    status_code: Option<u16>,
    bytes: u64,
    body: Body,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    bytes: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Timing {
    connect_us: Option<u64>,
    request_us: u64,
    wait_us: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    messages: u64,
}

impl Line<'_> {
    fn read(self) -> Option<Read> {
        let start = time(&self.timestamp)?;
        let end = self.event.end.as_ref().and_then(time);
        let (client, server) = (endpoint(self.source?), endpoint(self.destination?));
        let podtap = self.podtap;
        let version = self.http.version.as_ref().map_or(Version::Unknown, version);
        let timing = &podtap.timing;
        let asked = start.plus(timing.request_us.saturating_mul(1000));
        let (url, agent) = (self.url, self.user_agent);
        let request =
            self.http.request.map(|part| request(&part, url.as_ref(), agent.as_ref(), version, [start, asked]));
        let begins = if request.is_some() { asked.plus(timing.wait_us.saturating_mul(1000)) } else { start };
        let response = self.http.response.map(|part| response(&part, version, begins, end.unwrap_or(begins)));
        let direction = self.network.direction.as_ref().and_then(direction);
        let interface = self.observer.and_then(|observer| observer.ingress).and_then(|ingress| ingress.interface);
        let connection = Connection {
            community_id: self.network.community_id.as_ref().map(Text::compact).unwrap_or_default(),
            direction,
            interface: interface.and_then(|interface| interface.name).map(|name| Arc::from(&*name.0)),
            ..Connection::new(podtap.connection.id.compact(), client, server)
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
            unanswered: podtap.unanswered.as_ref().and_then(|why| named(Unanswered::ALL, Unanswered::name, why)),
            late: podtap.late,
            ended: ended(podtap.ended_by.as_ref(), podtap.ended_how.as_ref()),
            route: self.http.route.as_ref().map(Text::compact),
            http2: podtap.http2.map(|part| Box::new(http2(&part))),
            grpc: self.rpc.map(|part| Box::new(grpc(&part))),
            websocket: podtap.websocket.map(|part| Box::new(websocket(&part))),
            open: podtap.open,
            ..Exchange::new(Arc::new(connection), self.event.id.compact(), podtap.connection.exchange)
        };
        Some(Read { exchange, pod, namespace, node })
    }
}

const TRUST: [Trust; 5] = [Trust::Complete, Trust::Truncated, Trust::Gap, Trust::Midstream, Trust::Unpaired];
const CLASSES: [StreamClass; 4] =
    [StreamClass::Exchange, StreamClass::Stream, StreamClass::Tunnel, StreamClass::Upgrade];
const SIDES: [Side; 2] = [Side::Client, Side::Server];
const ENDED_HOW: [EndedHow; 3] = [EndedHow::Fin, EndedHow::Rst, EndedHow::ResetStream];
const MISSING: [Missing; 6] = [
    Missing::REQUEST,
    Missing::RESPONSE,
    Missing::REQUEST_HEAD,
    Missing::RESPONSE_HEAD,
    Missing::REQUEST_BODY,
    Missing::RESPONSE_BODY,
];

/// The one of this name.
fn named<T: Copy, const N: usize>(all: [T; N], name: fn(T) -> &'static str, text: &Text<'_>) -> Option<T> {
    all.into_iter().find(|one| name(*one) == text.0)
}

fn time(text: &Text<'_>) -> Option<Timestamp> {
    let at = text.0.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(at.as_nanosecond()).ok().map(Timestamp)
}

fn endpoint(end: End) -> Endpoint {
    Endpoint::new(end.ip, end.port)
}

fn direction(text: &Text<'_>) -> Option<NetworkDirection> {
    match &*text.0 {
        "ingress" => Some(NetworkDirection::Ingress),
        "egress" => Some(NetworkDirection::Egress),
        "internal" => Some(NetworkDirection::Internal),
        _ => None,
    }
}

fn version(text: &Text<'_>) -> Version {
    match &*text.0 {
        "0.9" => Version::V09,
        "1.0" => Version::V10,
        "2" => Version::V2,
        _ => Version::V11,
    }
}

fn request(
    part: &RequestPart<'_>,
    url: Option<&UrlPart<'_>>,
    agent: Option<&Original<'_>>,
    version: Version,
    [first, last]: [Timestamp; 2],
) -> Request {
    let text = |text: Option<&Text<'_>>| text.map(Text::compact);
    let domain = text(url.and_then(|url| url.domain.as_ref()));
    let host = match (domain, url.and_then(|url| url.port)) {
        (Some(domain), Some(port)) => Some(format_compact!("{domain}:{port}")),
        (domain, _) => domain,
    };
    Request {
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

fn response(part: &ResponsePart, version: Version, first: Timestamp, last: Timestamp) -> Response {
    Response {
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

fn missing(names: &[Text<'_>]) -> Missing {
    let mut missing = Missing::default();
    for part in MISSING {
        if part.names().any(|name| names.iter().any(|text| text.0 == name)) {
            missing.insert(part);
        }
    }
    missing
}

fn weird(names: &[Text<'_>]) -> WeirdSet {
    let mut weird = WeirdSet::default();
    let known = |text: &Text<'_>| Weird::ALL.iter().find(|weird| weird.name() == text.0);
    names.iter().filter_map(known).for_each(|one| weird.insert(*one));
    weird
}

fn ended(by: Option<&Text<'_>>, how: Option<&Text<'_>>) -> Option<Ended> {
    let how = named(ENDED_HOW, EndedHow::name, how?)?;
    Some(Ended { by: by.and_then(|by| named(SIDES, Side::name, by)), how })
}

fn http2(part: &Http2Part<'_>) -> Http2 {
    let reset = part.reset.as_ref().and_then(|reset| {
        let code = (0..14).find(|code| h2_error(*code) == reset.code.0).or_else(|| reset.code.0.parse().ok())?;
        Some(Reset { by: named(SIDES, Side::name, &reset.by)?, code })
    });
    Http2 { stream: part.stream_id, reset, ..Http2::default() }
}

fn grpc(part: &Rpc<'_>) -> Grpc {
    let status = part.response.as_ref().and_then(|response| response.status_code.as_ref());
    let code =
        |text: &Text<'_>| (0..17).find(|code| grpc_status_name(*code) == Some(&text.0)).or_else(|| text.0.parse().ok());
    let named = part.system.as_ref().and_then(|system| system.name.as_ref());
    let connect = CallSystem::Connect { unary: false };
    let system = named.filter(|name| name.0 == connect.name()).map_or(CallSystem::Grpc, |_| connect);
    let method = part.method.as_ref().map(Text::compact);
    Grpc { system, method, status: status.and_then(code), ..Grpc::default() }
}

fn websocket(part: &WebSocketPart<'_>) -> WebSocket {
    let counts = |end: &Option<Counts>| {
        end.as_ref().map(|counts| SocketCounts { messages: counts.messages, ..SocketCounts::default() })
    };
    WebSocket {
        client: counts(&part.client),
        server: counts(&part.server),
        close_code: part.close_code,
        closed_by: part.closed_by.as_ref().and_then(|by| named(SIDES, Side::name, by)),
        ..WebSocket::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::Observer as ObserverData;
    use crate::format::ecs::write_json;
    use crate::format::text::{Style, write_line};
    use crate::record::sample::{conntrack, exchange, record};
    use crate::record::{Outcome, Record};

    fn json(record: &Record, observer: &ObserverData) -> Vec<u8> {
        let mut out = Vec::new();
        write_json(&mut out, record, observer);
        out
    }

    fn text(exchange: Exchange) -> String {
        let mut out = Vec::new();
        let style = Style { colour: true, slow_after: Some(5_000_000), ..Style::default() };
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
            (it.response, it.unanswered, it.trust) = (None, Some(Unanswered::Reset), Trust::Unpaired);
            it.missing.insert(Missing::RESPONSE);
        });
        add(&|it| it.response.as_mut().unwrap().status = Some(503));
        add(&|it| it.response = Some(crate::record::sample::http09()));
        add(&|it| it.request.as_mut().unwrap().host = None);
        add(&|it| it.request.as_mut().unwrap().target = "http://a:81/b?c".into());
        add(&|it| it.request.as_mut().unwrap().target = "/\\x00\"quoted\"".into());
        add(&|it| (it.class, it.late, it.open) = (StreamClass::Stream, true, true));
        add(&|it| {
            it.trust = Trust::Gap;
            it.missing.insert(Missing::RESPONSE_BODY);
            it.weird.insert(Weird::BareLf);
            it.ended = Some(Ended { by: Some(Side::Client), how: EndedHow::Rst });
        });
        add(&|it| {
            it.http2 = Some(Box::new(Http2 { reset: Some(Reset { by: Side::Server, code: 8 }), ..Http2::default() }));
            it.grpc = Some(Box::new(Grpc { status: Some(14), ..Grpc::default() }));
        });
        add(&|it| {
            let client = Some(SocketCounts { messages: 3, ..SocketCounts::default() });
            it.websocket = Some(Box::new(WebSocket { client, close_code: Some(1001), ..WebSocket::default() }));
        });
        for direction in [None, Some(NetworkDirection::Egress), Some(NetworkDirection::Internal)] {
            add(&|it| it.connection = Arc::new(Connection { direction, ..crate::record::sample::connection() }));
        }
        all
    }

    #[test]
    fn the_line_of_what_was_read_is_the_line_of_what_was_written() {
        for it in variety() {
            let read = read_json(&json(&record(it.clone()), &ObserverData::default())).unwrap().exchange;
            assert_eq!(text(read.clone()), text(it.clone()));
            assert_eq!((read.outcome(), read.end(), &read.id), (it.outcome(), it.end(), &it.id));
            assert_eq!(read.route, it.route);
        }
    }

    #[test]
    fn the_pod_comes_with_it() {
        let mut observer = ObserverData::default();
        (observer.pod.name, observer.pod.namespace) = (Some("web-1".into()), Some("shop".into()));
        let read = read_json(&json(&record(exchange()), &observer)).unwrap();
        assert_eq!((read.pod.as_deref(), read.namespace.as_deref(), read.node), (Some("web-1"), Some("shop"), None));
        assert_eq!(read.exchange.outcome(), Outcome::Success);
    }

    #[test]
    fn other_lines_are_told_apart() {
        let other = json(&Record::from(conntrack()), &ObserverData::default());
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
            let mut line = json(&record(variety[which % variety.len()].clone()), &ObserverData::default());
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
