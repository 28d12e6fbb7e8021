use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::flow::Timestamp;
use crate::format::Pod;
use crate::format::fields::{FieldType, RecordField};
use crate::record::sample::{self, START, exchange, header, record};
use crate::record::{
    ConnectionSide, DomainNames, DomainSource, EarlyEnd, EndedHow, EventStream, Exchange, GrpcCall, Http2, HttpVersion,
    LabelSet, MissingParts, NetworkDirection, SocketCounts, StreamClass, StreamReset, TraceContext, Trust,
    UnansweredReason, WebSocket, Weird, Workload,
};

/// The observer of the contract's example.
fn observer() -> Observer {
    let pod = Pod {
        namespace: Some("shop".into()),
        name: Some("cart-7f9f".into()),
        uid: Some("0d1e".into()),
        ip: Some([10, 1, 9, 9].into()),
        node: Some("n1".into()),
        labels: [("app", "cart")].into_iter().collect(),
        annotations: LabelSet::default(),
    };
    Observer { pod, ..Observer::default() }
}

fn line(exchange: Exchange, observer: &Observer) -> String {
    let mut out = Vec::new();
    write_json(&mut out, &record(exchange), observer);
    String::from_utf8(out).unwrap()
}

fn json(exchange: Exchange) -> Value {
    serde_json::from_str(&line(exchange, &Observer::default())).unwrap()
}

/// Everything a record can have, at once: more than any exchange has.
pub(super) fn everything() -> (Exchange, Observer) {
    let mut it = exchange();
    let workload = Workload {
        namespace: Some("shop".into()),
        name: Some("web".into()),
        kind: Some("Pod".into()),
        services: ["web", "web-canary"].into_iter().collect(),
        node: Some("n1".into()),
        labels: [("app", "web")].into_iter().collect(),
    };
    let request = it.request.as_mut().unwrap();
    request.mime_type = Some("text/plain".into());
    request.referrer = Some("http://shop.local/".into());
    request.id = Some("r-1".into());
    request.trace = Some(Box::new(TraceContext { trace_id: "4bf9".into(), span_id: "00f0".into() }));
    request.headers = vec![header("Accept", "a"), header("X-One", "1"), header("accept", "b")];
    request.body_bytes = 5;
    request.last = START.plus(12_000_000);
    request.trailers = vec![header("x-sum", "7")];
    let response = it.response.as_mut().unwrap();
    response.headers = vec![header("Server", "nginx")];
    response.trailers = vec![header("grpc-status", "14")];
    let around = sample::everything_around();
    let interface = Some("eth0".into());
    it.connection = Arc::new(crate::record::ExchangeConnection {
        interface,
        around,
        opening: Some(sample::opening()),
        ..sample::connection()
    });
    it.missing.insert(MissingParts::REQUEST_BODY);
    it.missing.insert(MissingParts::RESPONSE_BODY);
    it.informational = vec![100, 103];
    it.weird.insert(Weird::BareLf);
    it.unanswered = Some(UnansweredReason::Timeout);
    it.late = true;
    add_protocols(&mut it);
    it.client_ip = Some([203, 0, 113, 7].into());
    it.source_workload = Some(Arc::new(workload.clone()));
    it.destination_workload = Some(Arc::new(workload));
    let names = ["shop.local"].into_iter().collect();
    it.destination_domain = Some(Arc::new(DomainNames { names, source: DomainSource::Host }));
    let names = ["web.shop"].into_iter().collect();
    it.source_domain = Some(Arc::new(DomainNames { names, source: DomainSource::Dns }));
    let mut by = observer();
    by.pod.annotations = [("team.example/owner", "shop")].into_iter().collect();
    by.service_name = Some("cart".into());
    by.labels = [("env", "prod")].into_iter().collect();
    by.host_name = Some("n1".into());
    by.cluster_name = Some("c1".into());
    (it, by)
}

/// What HTTP/2, gRPC, WebSocket and server-sent events add.
fn add_protocols(it: &mut Exchange) {
    it.open = true;
    it.ended = Some(EarlyEnd { by: Some(ConnectionSide::Server), how: EndedHow::Fin });
    it.http2 = Some(Box::new(Http2 {
        stream: 5,
        reset: Some(StreamReset { by: ConnectionSide::Client, code: 8 }),
        not_processed: true,
        upgraded: true,
        pushed: true,
        unknown: vec![":path"],
        path_ref: Some("1.4".into()),
    }));
    it.grpc = Some(Box::new(GrpcCall {
        system: crate::record::CallSystem::Grpc,
        method: Some("pkg.Svc/Do".into()),
        status: Some(14),
        message: Some("try again".into()),
        request_messages: Some(1),
        response_messages: Some(0),
        first_message: Some(START.plus(3_000_000)),
        timeout_us: Some(5_000_000),
        encoding: Some("gzip".into()),
    }));
    let counts = SocketCounts { messages: 2, frames: 5, text: 1, binary: 1, pings: 1, pongs: 1, bytes: 300 };
    it.websocket = Some(Box::new(WebSocket {
        client: Some(counts),
        server: Some(counts),
        close_code: Some(1000),
        closed_by: Some(ConnectionSide::Server),
        compressed: true,
        lasted_us: Some(20_000),
    }));
    it.sse = Some(EventStream { events: 3, first: Some(START.plus(4_000_000)) });
}

/// The example of the contract, byte for byte, but for the identifiers it leaves open.
#[test]
fn the_contracts_example_comes_out_as_it_is_written() {
    let expected = concat!(
        r#"{"@timestamp":"2026-03-01T12:00:00.000123Z","ecs":{"version":"9.0.0"},"event":{"kind":"event","category":["network","web"],"type":["connection","protocol"],"#,
        r#""dataset":"podtap.http","id":"m3J0c5k2QmE.0","start":"2026-03-01T12:00:00.000123Z","end":"2026-03-01T12:00:00.012523Z","duration":12400000,"outcome":"success"},"#,
        r#""http":{"version":"1.1","route":"/cart","request":{"method":"GET","bytes":143},"response":{"status_code":200,"status_phrase":"OK","mime_type":"application/json","bytes":1834,"body":{"bytes":1620}}},"#,
        r#""url":{"original":"/cart?id=7","path":"/cart","query":"id=7","domain":"shop.local","port":8080,"scheme":"http","full":"http://shop.local:8080/cart?id=7"},"#,
        r#""user_agent":{"original":"curl/8.5.0"},"source":{"ip":"10.1.2.3","port":51234,"bytes":143},"destination":{"ip":"10.1.9.9","port":8080,"bytes":1834},"#,
        r#""network":{"transport":"tcp","type":"ipv4","protocol":"http","direction":"ingress","community_id":"1:LQU9qZlK+B5F3KDmev6m5PMibrg="},"#,
        r#""kubernetes":{"namespace":"shop","pod":{"name":"cart-7f9f","uid":"0d1e","ip":"10.1.9.9"},"node":{"name":"n1"},"labels":{"app":"cart"}},"agent":{"type":"podtap","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""},"podtap":{"trust":"complete","timing":{"connect_us":210,"request_us":0,"wait_us":11900,"response_us":500,"total_us":12400},"#,
        r#""connection":{"id":"m3J0c5k2QmE","exchange":1,"reused":false},"stream":"exchange"}}"#,
        "\n"
    );
    assert_eq!(line(exchange(), &observer()), expected);
}

pub(super) fn leaves(prefix: &str, value: &Value, out: &mut BTreeSet<String>) {
    let is_object =
        |name: &str| all_fields().any(|f| f.name == name && matches!(f.kind, FieldType::Object | FieldType::Flattened));
    let Some(map) = value.as_object().filter(|_| !is_object(prefix)) else {
        out.insert(prefix.to_owned());
        return;
    };
    for (key, below) in map {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        leaves(&name, below, out);
    }
}

/// With `podtap.shortened` it is every field there is; a field that is not listed, or never written, fails here.
#[test]
fn the_listed_fields_are_the_written_fields() {
    let (it, by) = everything();
    let mut written = BTreeSet::from(["podtap.shortened".to_owned()]);
    leaves("", &serde_json::from_str(&line(it.clone(), &by)).unwrap(), &mut written);
    let on_a_node = Exchange { of_node: Some(Box::new(sample::of_node())), ..it };
    leaves("", &serde_json::from_str(&line(on_a_node, &by)).unwrap(), &mut written);
    let listed: BTreeSet<String> = ExchangeView::fields().iter().map(|f| f.name.to_owned()).collect();
    assert_eq!(written, listed);
}

#[test]
fn the_types_of_the_values_are_the_listed_types() {
    let (it, by) = everything();
    let whole: Value = serde_json::from_str(&line(it, &by)).unwrap();
    let elsewhere = ["podtap.shortened", "podtap.observed"];
    of_listed_types(ExchangeView::fields().into_iter().filter(|f| !elsewhere.contains(&f.name)), &whole);
}

#[test]
fn a_record_of_a_node_names_the_pod_of_the_record_and_not_podtaps_own() {
    let (it, by) = everything();
    let json = |of_node| -> Value {
        let it = Exchange { of_node: Some(Box::new(of_node)), ..it.clone() };
        serde_json::from_str(&line(it, &by)).unwrap()
    };
    let of_pod = json(sample::of_node());
    let pod = json!({"namespace": "shop", "pod": {"name": "web", "ip": "10.61.2.2"}, "node": {"name": "n1"}, "labels": {"app": "web"}});
    assert_eq!(of_pod["kubernetes"], pod);
    assert_eq!((&of_pod["service"]["name"], &of_pod["podtap"]["observed"]), (&json!("web"), &json!("pod")));
    let observed = crate::record::ObservedKind::Host;
    let of_host = json(crate::record::OfNode { observed, pod: None, direction: Some(NetworkDirection::Egress) });
    assert_eq!(of_host["kubernetes"], json!({"node": {"name": "n1"}}));
    assert_eq!((&of_host["service"], &of_host["network"]["direction"]), (&Value::Null, &json!("egress")));
}

/// Asserts that each of `fields` has a value of its type in `whole`.
pub(super) fn of_listed_types(fields: impl Iterator<Item = RecordField>, whole: &Value) {
    for field in fields {
        let value = field.name.split('.').fold(whole, |value, key| &value[key]);
        let one = value.as_array().map_or(value, |list| &list[0]);
        let fits = match field.kind {
            FieldType::Date | FieldType::Keyword | FieldType::Wildcard | FieldType::Ip => one.is_string(),
            FieldType::Long => one.is_u64(),
            FieldType::Boolean => one.is_boolean(),
            FieldType::Object | FieldType::Flattened => one.is_object(),
        };
        assert!(fits, "{}: {value}", field.name);
    }
}

#[test]
fn what_is_unknown_is_absent() {
    let mut it = exchange();
    it.response = None;
    it.unanswered = Some(UnansweredReason::Timeout);
    it.gave_up = Some(START.plus(10_000_000_000));
    it.connect_ns = None;
    it.route = None;
    let request = it.request.as_mut().unwrap();
    (request.host, request.user_agent) = (None, None);
    let json = json(it);
    assert_eq!(json["http"], json!({"version": "1.1", "request": {"method": "GET", "bytes": 143}}));
    assert_eq!(json["url"], json!({"original": "/cart?id=7", "path": "/cart", "query": "id=7", "scheme": "http"}));
    assert_eq!(json["destination"], json!({"ip": "10.1.9.9", "port": 8080}));
    assert_eq!(json["event"]["outcome"], "failure");
    assert_eq!(json["podtap"]["unanswered"], "timeout");
    assert_eq!(json["podtap"]["timing"], json!({"request_us": 0}));
    assert_eq!(json["podtap"]["connection"], json!({"id": "m3J0c5k2QmE", "exchange": 1}));
    for absent in ["user_agent", "client", "trace", "span", "service", "labels", "host", "kubernetes", "observer"] {
        assert_eq!(json.get(absent), None, "{absent}");
    }
    for absent in ["end", "duration"] {
        assert_eq!(json["event"].get(absent), None, "{absent}");
    }
}

#[test]
fn a_response_alone_begins_with_itself() {
    let mut it = exchange();
    it.request = None;
    it.late = true;
    (it.trust, it.number) = (Trust::Unpaired, 3);
    it.missing.insert(MissingParts::REQUEST);
    let json = json(it);
    assert_eq!(json["@timestamp"], "2026-03-01T12:00:00.012023Z");
    assert_eq!(json["event"]["duration"], 500_000);
    assert_eq!(json.get("url"), None);
    assert_eq!(json["source"], json!({"ip": "10.1.2.3", "port": 51234}));
    assert_eq!(json["podtap"]["trust"], "unpaired");
    assert_eq!(json["podtap"]["missing"], json!(["request"]));
    assert_eq!(json["podtap"]["late"], true);
    assert_eq!(json["podtap"]["timing"], json!({"connect_us": 210, "response_us": 500}));
    assert_eq!(json["podtap"]["connection"]["reused"], true);
}

#[test]
fn an_answer_before_the_end_of_its_request_waits_zero_and_says_so() {
    let mut it = exchange();
    it.request.as_mut().unwrap().last = START.plus(12_100_000);
    let json = json(it);
    assert_eq!(json["podtap"]["early_response"], true);
    assert_eq!(json["podtap"]["timing"]["wait_us"], 0);
    assert_eq!(json["podtap"]["timing"]["request_us"], 12_100);
}

#[test]
fn a_clock_that_goes_back_gives_no_time_rather_than_none_at_all() {
    for late_end in [false, true] {
        let mut it = exchange();
        let end = if late_end { START.plus(5_000) } else { Timestamp(0) };
        let response = it.response.as_mut().unwrap();
        (response.first, response.last) = (Timestamp(0), end);
        let json = json(it);
        let (event, timing) = (&json["event"], &json["podtap"]["timing"]);
        let total = late_end.then_some(5);
        assert_eq!(event.get("duration"), late_end.then(|| json!(5_000)).as_ref());
        assert_eq!(event.get("end").is_some(), late_end);
        assert_eq!(timing.get("total_us"), total.map(|t| json!(t)).as_ref());
        assert_eq!((timing.get("wait_us"), json["podtap"].get("early_response")), (None, None));
    }
}

#[test]
fn headers_have_lower_case_names_and_lists_where_repeated() {
    let (it, by) = everything();
    let json: Value = serde_json::from_str(&line(it, &by)).unwrap();
    assert_eq!(json["http"]["request"]["headers"], json!({"accept": ["a", "b"], "x-one": "1"}));
    assert_eq!(json["http"]["response"]["headers"], json!({"server": "nginx"}));
}

#[test]
fn other_forms_of_target_give_other_urls() {
    for (method, target, host, full) in [
        ("GET", "http://a:1/x?y", Some("b"), Some("http://a:1/x?y")),
        ("OPTIONS", "*", Some("a:1"), Some("http://a:1")),
        ("CONNECT", "a:443", Some("a:443"), None),
        ("GET", "x", Some("a"), None),
        ("GET", "/x", None, None),
        ("GET", "/x", Some("[::1]:80"), Some("http://[::1]:80/x")),
    ] {
        let mut it = exchange();
        let request = it.request.as_mut().unwrap();
        (request.method, request.target, request.host) = (method.into(), target.into(), host.map(Into::into));
        assert_eq!(json(it)["url"].get("full"), full.map(|f| json!(f)).as_ref(), "{method} {target}");
    }
}

#[test]
fn every_direction_class_and_version_has_its_word() {
    let mut it = exchange();
    it.class = StreamClass::Upgrade;
    it.request.as_mut().unwrap().version = HttpVersion::V10;
    it.connection = Arc::new(crate::record::ExchangeConnection {
        direction: Some(NetworkDirection::Internal),
        client: crate::flow::Endpoint::new([0, 0, 0, 0, 0, 0, 0, 1], 5),
        server: crate::flow::Endpoint::new([0, 0, 0, 0, 0, 0, 0, 1], 80),
        ..sample::connection()
    });
    let json = json(it);
    assert_eq!(json["podtap"]["stream"], "upgrade");
    assert_eq!(json["http"]["version"], "1.0");
    assert_eq!((&json["network"]["type"], &json["network"]["direction"]), (&json!("ipv6"), &json!("internal")));
    assert_eq!(json["source"]["ip"], "::1");
}

#[test]
fn a_capped_line_loses_what_repeats_then_headers_then_length_and_says_so() {
    let capped = |it: &Exchange, max| {
        let mut out = b"before\n".to_vec();
        let shortened = write_json_capped(&mut out, &record(it.clone()), &observer(), max);
        let line = out.strip_prefix(b"before\n").unwrap();
        assert!(line.len() <= max, "{} > {max}", line.len());
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        let json: Value = serde_json::from_slice(line).unwrap();
        assert_eq!(json["podtap"].get("shortened"), shortened.then_some(&json!(true)));
        json
    };
    let mut it = exchange();
    assert_eq!(capped(&it, 16_384)["url"]["query"], "id=7");

    it.request.as_mut().unwrap().headers = vec![header("x", &"v".repeat(20_000))];
    let json = capped(&it, 16_384);
    assert_eq!(json["http"]["request"].get("headers"), None);
    assert_eq!(json["url"]["query"], "id=7");

    let request = it.request.as_mut().unwrap();
    request.headers = vec![header("x", "kept")];
    request.target = format!("/{}?a=b", "l".repeat(9_000)).into();
    let json = capped(&it, 16_384);
    assert_eq!(json["url"]["original"].as_str().unwrap().len(), 9_005);
    assert_eq!(json["http"]["request"]["headers"]["x"], "kept");
    for repeated in ["full", "path", "query"] {
        assert_eq!(json["url"].get(repeated), None, "{repeated}");
    }

    let request = it.request.as_mut().unwrap();
    request.target = format!("/{}", "é".repeat(30_000)).into();
    request.user_agent = Some("u".repeat(60_000).into());
    it.route = Some("r".repeat(60_000).into());
    let json = capped(&it, 16_384);
    assert_eq!(json["url"]["original"].as_str().unwrap().len(), 2047);
    assert_eq!(json["url"].get("full"), None, "a part of a URL is another URL");
    assert_eq!(json["event"]["id"], "m3J0c5k2QmE.0");
    capped(&it, 4096);
}

#[test]
fn whatever_is_in_a_string_the_line_stays_one_line_of_json() {
    let mut it = exchange();
    it.request.as_mut().unwrap().target = "/\"\\\n\u{1b}[31m\u{2028}".into();
    let text = line(it, &observer());
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.contains('\u{1b}'));
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}
