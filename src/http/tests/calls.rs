//! Calls over HTTP/1.1: gRPC-Web, also in base64, and the Connect protocol.

use super::*;
use crate::record::{CallSystem, GrpcCall};

fn post(content_type: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /shop.Cart/Get HTTP/1.1\r\nHost: shop\r\nContent-Type: {content_type}\r\n{more}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn answer(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn call(request: &[u8], response: &[u8]) -> GrpcCall {
    let mut wire = Wire::new();
    wire.data(FromLow, request).data(FromHigh, response);
    let record = wire.close(CloseReason::Closed).remove(0);
    let call = *record.grpc.unwrap();
    assert_eq!(call.method.as_deref(), Some("shop.Cart/Get"));
    call
}

fn framed(flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[flags, 0, 0, 0, payload.len() as u8], payload].concat()
}

#[test]
fn a_call_of_grpc_web_in_base64_has_its_messages_and_its_status() {
    let text = "application/grpc-web-text+proto";
    // A message of two bytes; two of one and none; trailers with `grpc-status: 5`.
    let (one, two, trailers) = ("AAAAAAJhYg==", "AAAAAAFhAAAAAAA=", "gAAAAA5ncnBjLXN0YXR1czogNQ==");
    let call = call(&post(text, "", one.as_bytes()), &answer(200, text, [two, trailers].concat().as_bytes()));
    assert_eq!((call.system, call.request_messages, call.response_messages), (CallSystem::Grpc, Some(1), Some(2)));
    assert_eq!(call.status, Some(5));
}

#[test]
fn a_stream_of_connect_has_its_messages_status_and_deadline() {
    let stream = "application/connect+json";
    let asked = [framed(0, b"{}"), framed(0, b"{}")].concat();
    let end = framed(2, br#"{"error":{"code":"unavailable","message":"try again"}}"#);
    let answered = [framed(0, b"{}"), end].concat();
    let request = post(stream, "Connect-Protocol-Version: 1\r\nConnect-Timeout-Ms: 250\r\n", &asked);
    let call = call(&request, &answer(200, stream, &answered));
    assert_eq!(call.system, CallSystem::Connect { unary: false });
    assert_eq!((call.request_messages, call.response_messages, call.status), (Some(2), Some(1), Some(14)));
    assert_eq!((call.message.as_deref(), call.timeout_us), (Some("try again"), Some(250_000)));
}

#[test]
fn a_unary_call_of_connect_ends_as_http_says_or_its_error() {
    let version = "Connect-Protocol-Version: 1\r\n";
    for (status, content_type, body, expected, message) in [
        (200, "application/proto", &b"\x0a\x01a"[..], Some(0), None),
        (200, "application/json", b"{}", Some(0), None),
        (404, "application/json", br#"{"code":"not_found","message":"no cart"}"#, Some(5), Some("no cart")),
        (503, "text/html", b"<html>", None, None),
    ] {
        let call = call(&post("application/proto", version, b"\x0a\x01a"), &answer(status, content_type, body));
        assert_eq!(call.system, CallSystem::Connect { unary: true });
        assert_eq!((call.status, call.message.as_deref()), (expected, message), "{status} {content_type}");
        assert_eq!((call.request_messages, call.response_messages), (None, None));
    }
    let mut wire = Wire::new();
    wire.data(FromLow, &post("application/json", "", b"{}")).data(FromHigh, &answer(200, "application/json", b"{}"));
    assert!(wire.close(CloseReason::Closed)[0].grpc.is_none(), "JSON alone is no call");
}

#[test]
fn a_unary_call_of_connect_may_be_a_get() {
    let line = "GET /shop.Cart/Get?connect=v1&encoding=json&message=%7B%7D HTTP/1.1\r\nHost: shop\r\n\r\n";
    for (status, body, expected) in [(200, &b"{}"[..], 0), (404, br#"{"code":"not_found"}"#, 5)] {
        let call = call(line.as_bytes(), &answer(status, "application/json", body));
        assert_eq!((call.system, call.status), (CallSystem::Connect { unary: true }, Some(expected)));
        assert_eq!((call.request_messages, call.response_messages), (None, None));
    }
}
