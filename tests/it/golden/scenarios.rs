//! Conversations worth a golden record, each by its name.

use std::io::Write;
use std::net::Ipv6Addr;
use std::time::Duration;

use podtap::flow::Endpoint;
use podtap::synth::message::{chunk, chunked_response, request, response, response_head};
use podtap::synth::{Conversation, LinkHeaders, SynthFrame, SynthSide};

/// A name, and what the tap saw.
pub(crate) type Scenario = (&'static str, fn() -> Vec<SynthFrame>);

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("keep_alive", keep_alive),
    ("pipelining", pipelining),
    ("chunked_with_trailers", chunked_with_trailers),
    ("head_204_304", head_204_304),
    ("expect_continue", expect_continue),
    ("expectation_failed", expectation_failed),
    ("early_hints", early_hints),
    ("connect", connect),
    ("websocket", websocket),
    ("h2c_upgrade", h2c_upgrade),
    ("until_close", until_close),
    ("gzip", gzip),
    ("http_1_0", http_1_0),
    ("http_0_9", http_0_9),
    ("gap_in_body", gap_in_body),
    ("lost_request", lost_request),
    ("lost_response", lost_response),
    ("midstream", midstream),
    ("timeout_and_late_answer", timeout_and_late_answer),
    ("reset", reset),
    ("closed_without_answer", closed_without_answer),
    ("end_of_capture", end_of_capture),
    ("early_response", early_response),
    ("vlan", vlan),
    ("ipv6", ipv6),
    ("cooked_v1", cooked_v1),
    ("cooked_v2", cooked_v2),
    ("proxy_v1", proxy_v1),
    ("proxy_v2", proxy_v2),
    ("sse", sse),
    ("slow_stream", slow_stream),
    ("oddities", oddities),
    ("conflicting_lengths", conflicting_lengths),
    ("secrets", secrets),
    ("behind_proxies", behind_proxies),
    ("absolute_and_odd_targets", absolute_and_odd_targets),
    ("cut_by_snaplen", cut_by_snaplen),
    ("handshake_with_loss", handshake_with_loss),
];

const HOST: (&str, &str) = ("Host", "shop.local:8080");

fn start() -> Conversation {
    Conversation::default().handshake()
}

pub(crate) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn get(target: &str) -> Vec<u8> {
    request("GET", target, &[HOST, ("User-Agent", "curl/8.5.0")], b"")
}

fn ok() -> Vec<u8> {
    response("200 OK", &[("Content-Type", "text/plain; charset=utf-8")], b"hello")
}

fn one(conversation: Conversation) -> Vec<SynthFrame> {
    conversation.handshake().client(get("/cart?id=7")).after(millis(3)).server(ok()).close().frames()
}

fn keep_alive() -> Vec<SynthFrame> {
    start()
        .client(get("/cart?id=7"))
        .after(millis(12))
        .server(ok())
        .after(millis(500))
        .client(request("POST", "/orders/4711", &[HOST, ("Content-Type", "application/json")], b"{\"a\":1}"))
        .after(millis(40))
        .server(response("503 Service Unavailable", &[("Retry-After", "1")], b""))
        .close()
        .frames()
}

fn pipelining() -> Vec<SynthFrame> {
    start()
        .client([get("/1"), get("/2")].concat())
        .client(get("/3"))
        .after(millis(2))
        .server(ok())
        .after(millis(2))
        .server([response("404 Not Found", &[], b""), ok()].concat())
        .close()
        .frames()
}

fn chunked_with_trailers() -> Vec<SynthFrame> {
    let head = [HOST, ("Transfer-Encoding", "chunked")];
    let upload = [message_head("PUT", "/up", &head), chunk(b"abc"), chunk(b"")].concat();
    let mut answer = response_head("200 OK", &[("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]);
    answer.extend(b"5;name=\"v\"\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n");
    start().client(upload).after(millis(1)).segments_of(20).server(answer).close().frames()
}

fn message_head(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    request(method, target, headers, b"")
}

fn head_204_304() -> Vec<SynthFrame> {
    let head = |status| response_head(status, &[("Content-Length", "500")]);
    start()
        .client(message_head("HEAD", "/big", &[HOST]))
        .server(head("200 OK"))
        .client(get("/unchanged"))
        .server(head("304 Not Modified"))
        .client(message_head("DELETE", "/old", &[HOST]))
        .server(response_head("204 No Content", &[]))
        .close()
        .frames()
}

fn expect_continue() -> Vec<SynthFrame> {
    let head = message_head("POST", "/upload", &[HOST, ("Expect", "100-continue"), ("Content-Length", "5")]);
    start()
        .client(head)
        .after(millis(138))
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("hello")
        .after(millis(20))
        .server(response("201 Created", &[("Location", "/upload/1")], b""))
        .close()
        .frames()
}

fn expectation_failed() -> Vec<SynthFrame> {
    let head = message_head("POST", "/upload", &[HOST, ("Expect", "100-continue"), ("Content-Length", "5")]);
    start()
        .client(head)
        .server(response("417 Expectation Failed", &[], b""))
        .client(get("/next"))
        .server(ok())
        .close()
        .frames()
}

fn early_hints() -> Vec<SynthFrame> {
    start()
        .client(get("/page"))
        .after(millis(5))
        .server(response_head("103 Early Hints", &[("Link", "</style.css>; rel=preload")]))
        .after(millis(30))
        .server(ok())
        .close()
        .frames()
}

fn connect() -> Vec<SynthFrame> {
    start()
        .client(message_head("CONNECT", "db.local:5432", &[("Host", "db.local:5432")]))
        .after(millis(2))
        .server(response_head("200 Connection Established", &[]))
        .client(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
        .server("N")
        .close()
        .frames()
}

fn websocket() -> Vec<SynthFrame> {
    let ask = [HOST, ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    start()
        .client(message_head("GET", "/live", &ask))
        .server(response_head("101 Switching Protocols", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]))
        .server(b"\x81\x05hello")
        .client(b"\x81\x85\x01\x02\x03\x04\x69\x67\x6f\x68\x6e")
        .close()
        .frames()
}

fn h2c_upgrade() -> Vec<SynthFrame> {
    let ask = [HOST, ("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
    start()
        .client(message_head("GET", "/", &ask))
        .server(response_head("101 Switching Protocols", &[("Connection", "Upgrade"), ("Upgrade", "h2c")]))
        .server(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        .client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .close()
        .frames()
}

fn until_close() -> Vec<SynthFrame> {
    start()
        .client(get("/all"))
        .server([response_head("200 OK", &[("Connection", "close")]), b"some ".to_vec()].concat())
        .after(millis(7))
        .server("bytes")
        .server_fin()
        .client_fin()
        .server_ack()
        .frames()
}

fn gzip() -> Vec<SynthFrame> {
    let mut body = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    body.write_all(&[b'a'; 5000]).unwrap();
    let body = body.finish().unwrap();
    start().client(get("/packed")).server(response("200 OK", &[("Content-Encoding", "gzip")], &body)).close().frames()
}

fn http_1_0() -> Vec<SynthFrame> {
    start()
        .client("GET /old HTTP/1.0\r\nUser-Agent: Mozilla/1.0\r\n\r\n")
        .server("HTTP/1.0 200 OK\r\nContent-Type: TEXT/HTML\r\n\r\n<p>hi")
        .server_fin()
        .client_fin()
        .frames()
}

fn http_0_9() -> Vec<SynthFrame> {
    start().client("GET /older\r\n").after(millis(1)).server("<p>hi").server_fin().client_fin().frames()
}

fn gap_in_body() -> Vec<SynthFrame> {
    let answer = response("200 OK", &[], &[b'x'; 6000]);
    start()
        .client(get("/big"))
        .server(&answer[..1448])
        .lose(SynthSide::Server, 2896)
        .server(&answer[4344..])
        .client(get("/next"))
        .server(ok())
        .close()
        .frames()
}

fn lost_request() -> Vec<SynthFrame> {
    let lost = get("/lost");
    start()
        .client(get("/1"))
        .server(ok())
        .lose(SynthSide::Client, lost.len() as u32)
        .server(response("200 For The Lost", &[], b""))
        .after(millis(3000))
        .client(get("/3"))
        .server(ok())
        .close()
        .frames()
}

fn lost_response() -> Vec<SynthFrame> {
    start()
        .client(get("/1"))
        .lose(SynthSide::Server, ok().len() as u32)
        .after(millis(1))
        .client(get("/2"))
        .server(response("200 For 2", &[], b""))
        .after(millis(3000))
        .close()
        .frames()
}

fn midstream() -> Vec<SynthFrame> {
    let frames = start()
        .client(get("/before"))
        .server(response("200 For Before", &[], &[b'x'; 3000]))
        .client(get("/1"))
        .server(ok())
        .client(get("/2"))
        .server(ok())
        .close()
        .frames();
    // From the second segment of the first response on.
    frames.into_iter().skip(5).collect()
}

fn timeout_and_late_answer() -> Vec<SynthFrame> {
    start()
        .client(get("/slow"))
        .after(millis(14_000))
        .server(ok())
        .client(get("/next"))
        .server(response("200 For Next", &[], b""))
        .close()
        .frames()
}

fn reset() -> Vec<SynthFrame> {
    start().client(get("/refused")).after(millis(1)).server_rst().frames()
}

fn closed_without_answer() -> Vec<SynthFrame> {
    start().client(get("/crash")).after(millis(250)).server_fin().client_fin().frames()
}

fn end_of_capture() -> Vec<SynthFrame> {
    let answer = response("200 OK", &[], &[b'x'; 4000]);
    start()
        .client(get("/whole"))
        .server(ok())
        .client(get("/half"))
        .server(&answer[..1448])
        .client(get("/none"))
        .frames()
}

fn early_response() -> Vec<SynthFrame> {
    let upload = request("POST", "/upload", &[HOST], &[b'b'; 4000]);
    start()
        .client(&upload[..1000])
        .after(millis(5))
        .server(response("413 Content Too Large", &[("Connection", "close")], b""))
        .after(millis(5))
        .client(&upload[1000..])
        .close()
        .frames()
}

fn vlan() -> Vec<SynthFrame> {
    one(Conversation::default().vlans(&[100, 7]))
}

fn ipv6() -> Vec<SynthFrame> {
    let end = |n, port| Endpoint::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), port);
    one(Conversation::new(end(1, 40_000), end(2, 8080)).link(LinkHeaders::Raw))
}

fn cooked_v1() -> Vec<SynthFrame> {
    one(Conversation::default().link(LinkHeaders::Sll))
}

fn cooked_v2() -> Vec<SynthFrame> {
    one(Conversation::default().link(LinkHeaders::Sll2(2)).tap_at_server())
}

fn proxy_v1() -> Vec<SynthFrame> {
    let header = b"PROXY TCP4 203.0.113.7 10.0.0.2 4711 80\r\n".to_vec();
    start().client([header, get("/1")].concat()).server(ok()).client(get("/2")).server(ok()).close().frames()
}

fn proxy_v2() -> Vec<SynthFrame> {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x0a\x00\x00\x02\x12\x67\x00\x50";
    start().client(header).client(get("/1")).server(ok()).close().frames()
}

fn sse() -> Vec<SynthFrame> {
    let head = response_head("200 OK", &[("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]);
    let events = (0..4).fold(start().client(get("/events")).server(head), |c, n| {
        c.after(millis(1000)).server(chunk(format!("data: {n}\n\n").as_bytes()))
    });
    events.client_fin().server_fin().frames()
}

fn slow_stream() -> Vec<SynthFrame> {
    let answer = response("200 OK", &[], &[b'x'; 100]);
    start().client(get("/poll")).server(&answer[..80]).after(millis(31_000)).server(&answer[80..]).close().frames()
}

fn oddities() -> Vec<SynthFrame> {
    start()
        .client("GET /lf HTTP/1.1\nHost: a\n\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
        .client("\r\nBREW /pot HTTP/1.2\r\nHost: a\r\nX-Kept: one\r\n folded\r\n\r\n")
        .server("HTTP/1.1 418\r\nContent-Length: 0\r\n\r\ngarbage here\r\n")
        .client(b"GET /\x1b[31m\xe9 HTTP/1.1\r\nHost : a\r\nno colon\r\n\r\n")
        .server("HTTP/1.1 200 Tr\u{e8}s \x07bien\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        .close()
        .frames()
}

fn conflicting_lengths() -> Vec<SynthFrame> {
    start()
        .client(request("POST", "/smuggle", &[HOST, ("Transfer-Encoding", "chunked")], b"0\r\n\r\n"))
        .server("HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nbad")
        .close()
        .frames()
}

fn secrets() -> Vec<SynthFrame> {
    let headers = [
        ("Host", "shop"),
        ("Authorization", "Bearer c3VwZXJzZWNyZXQ"),
        ("Referer", "http://u:hunter2@shop/?token=hunter2"),
        ("X-Kept", "kept"),
        ("X-Request-Id", "req-1"),
    ];
    start()
        .client(request("GET", "http://admin:hunter2@shop/a?user=me&password=hunter2#x", &headers, b""))
        .server(response("302 Found", &[("Location", "/cb?code=hunter2&state=1"), ("Set-Cookie", "sid=hunter2")], b""))
        .close()
        .frames()
}

fn behind_proxies() -> Vec<SynthFrame> {
    let headers = [
        HOST,
        ("X-Forwarded-For", "203.0.113.7, 10.9.9.9"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let forwarded = [HOST, ("Forwarded", "for=\"[2001:db8:cafe::17]:4711\";proto=https;by=10.0.0.9")];
    start()
        .client(message_head("GET", "/users/4711/orders/0af76519-16cd-43dd-8448-eb211c80319c", &headers))
        .server(ok())
        .client(message_head("GET", "/", &forwarded))
        .server(ok())
        .close()
        .frames()
}

fn absolute_and_odd_targets() -> Vec<SynthFrame> {
    ["http://other.local/a/b?c=d", "*", "//double//slash", "/%2e%2e/%00?q=%", "?only=query"]
        .into_iter()
        .fold(start(), |c, target| {
            c.client(message_head("OPTIONS", target, &[HOST])).server(response("204 No Content", &[], b""))
        })
        .close()
        .frames()
}

/// 150 bytes of each frame: 54 of headers with timestamps 66, the rest of payload.
fn cut_by_snaplen() -> Vec<SynthFrame> {
    let frames = start()
        .client(get("/short"))
        .server(response("200 OK", &[], &[b'x'; 900]))
        .client(request("GET", "/long", &[HOST, ("X-Kept", &"k".repeat(300))], b""))
        .server(chunked_response("200 OK", &[], &[&[b'x'; 900]]))
        .close()
        .frames();
    podtap::synth::LineImpairments::new(1).cut(170).apply(frames)
}

/// The SYN is lost, and the first request is retransmitted.
fn handshake_with_loss() -> Vec<SynthFrame> {
    let mut frames = start()
        .client(get("/again"))
        .after(millis(200))
        .send_at(SynthSide::Client, 0, get("/again"))
        .server(ok())
        .close()
        .frames();
    frames.remove(0);
    frames
}
