//! The mix: three seconds in the life of a small shop's service, good and bad.
//!
//! All secrets in here are made up; they show the masking.

use super::calls::{self, BROWSER};
use super::script::DemoScript;
use crate::synth::SynthSide::{Client, Server};
use crate::synth::message::{chunk, chunked_response, request, response, response_head};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PNG: (&str, &str) = ("Content-Type", "image/png");

/// All scenes; each is one connection.
pub(super) fn mix() -> Vec<DemoScript> {
    let mut scenes: Vec<DemoScript> = (0..3).map(busy_client).collect();
    scenes.extend([
        browsing(),
        orders(),
        errors(),
        slow(),
        chunked(),
        large(),
        pipelined(),
        unanswered(),
        crash(),
        server_sent_events(),
        expect_continue(),
        redirects(),
        secrets(),
        probe(),
        websocket(),
        calls::many_at_once(),
        calls::calls(),
    ]);
    scenes
}

fn get(target: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let headers = [("Host", "shop.example"), ("User-Agent", BROWSER), ("Accept", "*/*")];
    request("GET", target, &[&headers, more].concat(), b"")
}

fn call(method: &str, target: &str, body: &str) -> Vec<u8> {
    let headers = [("Host", "api.shop.example"), ("User-Agent", "okhttp/4.12.0"), JSON];
    request(method, target, &headers, body.as_bytes())
}

fn json(status: &str, body: &str) -> Vec<u8> {
    response(status, &[("Server", "demo"), JSON], body.as_bytes())
}

fn html(body: &str) -> Vec<u8> {
    response("200 OK", &[("Server", "demo"), ("Content-Type", "text/html; charset=utf-8")], body.as_bytes())
}

/// Fast and steady: 8 exchanges on one connection, each answered in 1 to 7 ms.
fn busy_client(number: u64) -> DemoScript {
    let exchange = |script: DemoScript, n: u64| {
        let id = 100 + 37 * n % 60 + number;
        let trace = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", id * 0x0101_0101);
        let answer = json("200 OK", &format!("{{\"id\":{id},\"name\":\"teapot\",\"price\":{}.90}}", id % 40));
        let ask = get(&format!("/api/v1/products/{id}"), &[("traceparent", &trace)]);
        script.ask(ask).answer(1 + n * 5 % 7, answer).pause(220 + 67 * n % 90)
    };
    (0..8).fold(DemoScript::starting(40 * number), exchange).close()
}

/// A page with what belongs to it, on one connection: 200, 304, 404, HEAD.
fn browsing() -> DemoScript {
    let not_modified = response_head("304 Not Modified", &[("Server", "demo"), ("ETag", "\"a1b2c3\"")]);
    let head = request("HEAD", "/images/hero.png", &[("Host", "shop.example"), ("User-Agent", BROWSER)], b"");
    DemoScript::starting(10)
        .ask(get("/", &[("X-Forwarded-For", "203.0.113.7")]))
        .answer(12, html(&"<p>Welcome to the shop.</p>\n".repeat(300)))
        .pause(15)
        .ask(get("/app.js?v=42", &[("If-None-Match", "\"a1b2c3\""), ("Referer", "http://shop.example/")]))
        .answer(2, not_modified)
        .ask(get("/favicon.ico", &[("Referer", "http://shop.example/")]))
        .answer(1, response("404 Not Found", &[("Server", "demo"), ("Content-Type", "text/plain")], b"not found\n"))
        .ask(head)
        .answer(1, response_head("200 OK", &[("Server", "demo"), PNG, ("Content-Length", "2000000")]))
        .pause(20)
        .close()
}

/// Writing: 201, 200, 204, 409.
fn orders() -> DemoScript {
    let order = r#"{"product":104,"quantity":2,"note":"leave it at the door"}"#;
    DemoScript::starting(120)
        .ask(call("POST", "/api/v1/orders", order))
        .answer(35, json("201 Created", r#"{"order":5001,"state":"accepted"}"#))
        .pause(100)
        .ask(call("PATCH", "/api/v1/orders/5001", r#"{"quantity":3}"#))
        .answer(22, json("200 OK", r#"{"order":5001,"state":"changed"}"#))
        .ask(call("PUT", "/api/v1/orders/5001", r#"{"quantity":4}"#))
        .answer(9, json("409 Conflict", r#"{"error":"already packed"}"#))
        .ask(call("DELETE", "/api/v1/orders/4999", ""))
        .answer(14, response_head("204 No Content", &[("Server", "demo")]))
        .close()
}

fn errors() -> DemoScript {
    let busy = response("503 Service Unavailable", &[("Retry-After", "1"), JSON], br#"{"error":"overloaded"}"#);
    DemoScript::starting(300)
        .ask(call("GET", "/api/v1/orders/0", ""))
        .answer(48, json("500 Internal Server Error", r#"{"error":"division by zero"}"#))
        .pause(200)
        .ask(call("GET", "/api/v1/stock", ""))
        .answer(3, busy.clone())
        .pause(400)
        .ask(call("GET", "/api/v1/stock", ""))
        .answer(2, busy)
        .pause(300)
        .ask(call("GET", "/api/v1/stock", ""))
        .answer(180, json("200 OK", r#"{"104":12}"#))
        .close()
}

fn slow() -> DemoScript {
    let report = "month,revenue\n2026-01,1200\n2026-02,1350\n";
    DemoScript::starting(200)
        .ask(get("/reports/monthly?year=2026", &[]))
        .answer(1_600, response("200 OK", &[("Content-Type", "text/csv")], report.as_bytes()))
        .close()
}

/// A body that comes bit by bit.
fn chunked() -> DemoScript {
    let head = response_head("200 OK", &[("Server", "demo"), JSON, ("Transfer-Encoding", "chunked")]);
    let rows =
        |script: DemoScript, n: u32| script.pause(70).more(Server, chunk(format!("{{\"row\":{n}}}\n").as_bytes()));
    let begun = DemoScript::starting(400).ask(get("/api/v1/export", &[])).answer(18, head);
    (0..6).fold(begun, rows).more(Server, chunk(b"")).close()
}

fn large() -> DemoScript {
    let image = response("200 OK", &[("Server", "demo"), PNG], &vec![0x89; 2_000_000]);
    DemoScript::starting(600).ask(get("/images/hero.png", &[])).answer(6, image).close()
}

/// Three requests at once, answered in their order.
fn pipelined() -> DemoScript {
    DemoScript::starting(800)
        .ask(get("/pipelined/1", &[]))
        .ask(get("/pipelined/2", &[]))
        .ask(get("/pipelined/3", &[]))
        .answer(30, json("200 OK", r#"{"n":1}"#))
        .answer(15, json("200 OK", r#"{"n":2}"#))
        .answer(1, json("200 OK", r#"{"n":3}"#))
        .close()
}

/// The server never answers; the client gives up.
fn unanswered() -> DemoScript {
    DemoScript::starting(500).ask(get("/hang", &[])).pause(1_500).close()
}

/// The server dies over a request.
fn crash() -> DemoScript {
    DemoScript::starting(1_000).ask(call("POST", "/api/v1/payments", r#"{"order":5001}"#)).pause(40).reset()
}

fn server_sent_events() -> DemoScript {
    let headers =
        [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("Transfer-Encoding", "chunked")];
    let event = |script: DemoScript, n: u32| {
        script.pause(280).more(Server, chunk(format!("data: {{\"visitors\":{n}}}\n\n").as_bytes()))
    };
    let begun = DemoScript::starting(100)
        .ask(get("/events", &[("Accept", "text/event-stream")]))
        .answer(4, response_head("200 OK", &headers));
    (31..39).fold(begun, event).more(Server, chunk(b"")).close()
}

/// The client asks before it sends a body (RFC 9110 §10.1.1).
fn expect_continue() -> DemoScript {
    let headers = [
        ("Host", "shop.example"),
        ("User-Agent", "curl/8.8.0"),
        ("Expect", "100-continue"),
        ("Content-Type", "application/pdf"),
        ("Content-Length", "65536"),
    ];
    DemoScript::starting(1_200)
        .ask(request("PUT", "/uploads/invoice.pdf", &headers, b""))
        .answer(5, response_head("100 Continue", &[]))
        .more(Client, vec![b'%'; 65_536])
        .answer(60, response("201 Created", &[("Location", "/uploads/invoice.pdf")], b""))
        .close()
}

fn redirects() -> DemoScript {
    let moved = |status, to| response(status, &[("Server", "demo"), ("Location", to)], b"");
    DemoScript::starting(1_400)
        .ask(get("/teapots", &[]))
        .answer(1, moved("301 Moved Permanently", "/products?kind=teapot"))
        .ask(get("/products?kind=teapot", &[]))
        .answer(2, moved("302 Found", "/products?kind=teapot&page=1"))
        .ask(get("/products?kind=teapot&page=1", &[]))
        .answer(25, html("<ul><li>Brown Betty</li></ul>\n"))
        .close()
}

/// What must not be shown: a token in the query, credentials in headers.
fn secrets() -> DemoScript {
    let ask = [("Authorization", "Bearer made-up-bearer-secret"), ("Cookie", "session=made-up-cookie-secret")];
    let answer = [("Location", "/account"), ("Set-Cookie", "session=made-up-new-secret; HttpOnly; Secure")];
    DemoScript::starting(1_600)
        .ask(get("/login/callback?state=ok&token=made-up-token-secret&lang=en", &ask))
        .answer(40, response("302 Found", &answer, b""))
        .ask(get("/account?api_key=made-up-key-secret", &ask))
        .answer(18, chunked_response("200 OK", &[JSON], &[br#"{"name":"Ada"}"#]))
        .close()
}

/// HTTP/1.0, and a body that ends with the connection.
fn probe() -> DemoScript {
    DemoScript::starting(1_800)
        .ask("GET /healthz HTTP/1.0\r\nHost: 10.1.0.20:8080\r\nUser-Agent: kube-probe/1.33\r\n\r\n")
        .answer(1, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nok\n")
        .hang_up()
}

/// An upgrade, and a few frames of what follows; key and answer are those of RFC 6455 §1.3.
fn websocket() -> DemoScript {
    let ask = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer =
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
    DemoScript::starting(2_000)
        .ask(get("/chat", &ask))
        .answer(3, response_head("101 Switching Protocols", &answer))
        .more(Client, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".as_slice())
        .answer(20, b"\x81\x05Hello".as_slice())
        .close()
}
