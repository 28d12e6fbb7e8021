//! An exchange from its line.

use std::sync::Arc;

use compact_str::format_compact;

use super::text::JsonText;
use super::{
    ContainerPart, Http2Part, Kubernetes, Line, Observer, Original, ProcessPart, ReadCounts, ReadRecord, ReadResponse,
    RequestPart, Rpc, SidePart, UrlPart, UserPart, WebSocketPart, direction, domain, named, process, time,
};
use crate::flow::Timestamp;
use crate::record::{
    CallSystem, ConnectionOpening, ConnectionSide, EarlyEnd, EndedHow, Exchange, ExchangeConnection, GrpcCall, Http2,
    HttpRequest, HttpResponse, HttpVersion, MissingParts, Record, SocketCounts, StreamClass, StreamReset, Trust,
    UnansweredReason, WebSocket, Weird, WeirdSet, grpc_status_name, h2_error,
};

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

/// The exchange, where the line has what every exchange has.
pub(super) fn read(line: Line<'_>) -> Option<ReadRecord> {
    let start = time(&line.timestamp)?;
    let end = line.event.end.as_ref().and_then(time);
    let (source, destination) = (line.source?, line.destination?);
    let (client, server) = (source.endpoint()?, destination.endpoint()?);
    let podtap = line.podtap;
    let version = line.http.version.as_ref().map_or(HttpVersion::Unknown, version);
    let timing = &podtap.timing;
    let asked = start.plus(timing.request_us.saturating_mul(1000));
    let (url, agent) = (line.url, line.user_agent);
    let request = line.http.request.map(|part| request(&part, url.as_ref(), agent.as_ref(), version, [start, asked]));
    let begins = if request.is_some() { asked.plus(timing.wait_us.saturating_mul(1000)) } else { start };
    let response = line.http.response.map(|part| response(&part, version, begins, end.unwrap_or(begins)));
    let direction = line.network.direction.as_ref().and_then(direction);
    let interface = line.observer.and_then(Observer::interface);
    let connection = ExchangeConnection {
        direction,
        interface,
        opening: line.process.map(|part| opening(&part, line.user.as_ref(), line.container.as_ref(), start)),
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
        route: line.http.route.as_ref().map(JsonText::compact),
        http2: podtap.http2.map(|part| Box::new(http2(&part))),
        grpc: line.rpc.map(|part| Box::new(grpc(&part))),
        websocket: podtap.websocket.map(|part| Box::new(websocket(&part))),
        open: podtap.open,
        client_ip: line.client.map(|client| client.ip),
        source_workload: podtap.source.as_ref().and_then(SidePart::workload),
        destination_workload: podtap.destination.as_ref().and_then(SidePart::workload),
        source_domain: domain(source.domain, podtap.source.as_ref()),
        destination_domain: domain(destination.domain, podtap.destination.as_ref()),
        ..Exchange::new(Arc::new(connection), line.event.id.compact(), podtap.connection.exchange)
    };
    Some(Kubernetes::around(line.kubernetes, Record::Http(Box::new(exchange))))
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
    use crate::format::ecs::{NotRead, read_json, write_json};
    use crate::format::text::{TextStyle, write_line};
    use crate::record::sample::{conntrack, everything_of_flow, exchange, record};
    use crate::record::{EventOutcome, NetworkDirection, Workload};

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
