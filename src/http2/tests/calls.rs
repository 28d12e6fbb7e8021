//! Calls that are not plain gRPC: gRPC-Web in base64, and the Connect protocol.

use super::*;
use crate::record::{CallSystem, GrpcCall};

fn asked(stream: u32, content_type: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/pkg.Svc/Do"), (":authority", "shop")];
    headers(stream, 0, &[&fields[..], &[("content-type", content_type)], more].concat())
}

fn answered(stream: u32, status: &str, content_type: &str) -> Vec<u8> {
    headers(stream, 0, &[(":status", status), ("content-type", content_type)])
}

fn call(request: Vec<u8>, asked: &[u8], response: Vec<u8>, answer: &[u8]) -> GrpcCall {
    let records = Bench::opened()
        .send(CLIENT, [request, data(1, END, asked)].concat())
        .send(SERVER, response)
        .send(SERVER, data(1, END, answer))
        .records();
    let call = records[0].grpc.as_deref().unwrap().clone();
    assert_eq!(call.method.as_deref(), Some("pkg.Svc/Do"));
    call
}

#[test]
fn a_call_of_grpc_web_in_base64_has_its_messages_and_its_status() {
    let text = "application/grpc-web-text";
    let (one, end) = (b"AAAAAAJhYg==", b"AAAAAAJhYg==gAAAAA5ncnBjLXN0YXR1czogNQ==");
    let call = call(asked(1, text, &[]), one, answered(1, "200", text), end);
    assert_eq!((call.request_messages, call.response_messages, call.status), (Some(1), Some(1), Some(5)));
}

#[test]
fn a_stream_of_connect_has_its_messages_status_and_deadline() {
    let stream = "application/connect+proto";
    let message = [0, 0, 0, 0, 1, b'a'];
    let end = br#"{"error":{"code":"canceled","message":"enough"}}"#;
    let answer = [&message[..], &message, &[2, 0, 0, 0, end.len() as u8], end].concat();
    let call = call(asked(1, stream, &[("connect-timeout-ms", "20")]), &message, answered(1, "200", stream), &answer);
    assert_eq!((call.system, call.status), (CallSystem::Connect { unary: false }, Some(1)));
    assert_eq!((call.request_messages, call.response_messages), (Some(1), Some(2)));
    assert_eq!((call.message.as_deref(), call.timeout_us), (Some("enough"), Some(20_000)));
}

#[test]
fn a_unary_call_of_connect_ends_as_http_says_or_its_error() {
    let version = [("connect-protocol-version", "1")];
    for (status, content_type, body, expected, outcome) in [
        ("200", "application/proto", &b"a"[..], Some(0), EventOutcome::Success),
        ("401", "application/json", br#"{"code":"unauthenticated"}"#, Some(16), EventOutcome::Failure),
        ("502", "text/plain", b"bad gateway", None, EventOutcome::Failure),
    ] {
        let request = [asked(1, "application/proto", &version), data(1, END, b"a")].concat();
        let response = [answered(1, status, content_type), data(1, END, body)].concat();
        let records = Bench::opened().send(CLIENT, request).send(SERVER, response).records();
        let call = records[0].grpc.as_deref().unwrap();
        assert_eq!((call.system, call.status), (CallSystem::Connect { unary: true }, expected), "{status}");
        assert_eq!((call.request_messages, call.response_messages), (None, None));
        assert_eq!(records[0].outcome(), outcome);
    }
}

#[test]
fn a_unary_call_of_connect_may_be_a_get() {
    let get = get(1, "/pkg.Svc/Do?connect=v1&encoding=proto&message=");
    for (status, body, expected) in [("200", &b""[..], 0), ("404", br#"{"code":"not_found"}"#, 5)] {
        let response = [answered(1, status, "application/json"), data(1, END, body)].concat();
        let records = Bench::opened().send(CLIENT, &get).send(SERVER, response).records();
        let call = records[0].grpc.as_deref().unwrap();
        assert_eq!((call.system, call.status), (CallSystem::Connect { unary: true }, Some(expected)));
        assert_eq!(call.method.as_deref(), Some("pkg.Svc/Do"));
    }
}
