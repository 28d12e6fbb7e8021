//! Requests and responses as services exchange them: varied targets, methods, statuses, headers.

use podtap::synth::Rng;
use podtap::synth::message::{request, response, response_head};

const HOSTS: [&str; 4] = ["shop.example", "api.shop.example", "static.shop.example", "accounts.internal:8080"];
const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "okhttp/4.12.0",
    "Go-http-client/1.1",
    "python-requests/2.32.3",
];
const PATHS: [&str; 8] =
    ["/api/v1/orders/", "/api/v1/users/", "/api/v2/search/", "/cart/", "/images/", "/products/", "/health/", "/t/"];
const TYPES: [&str; 5] =
    ["application/json", "text/html; charset=utf-8", "application/javascript", "image/png", "text/css"];
const STATUSES: [&str; 8] =
    ["200 OK", "200 OK", "200 OK", "200 OK", "201 Created", "404 Not Found", "500 Internal Server Error", "302 Found"];

fn of<'a>(choices: &[&'a str], rng: &mut Rng) -> &'a str {
    rng.pick(choices).copied().unwrap_or_default()
}

/// One request: seven in eight are GET, the others POST or PUT some JSON.
pub(crate) fn any_request(rng: &mut Rng) -> Vec<u8> {
    let id = rng.below(1_000_000);
    let target = match rng.below(3) {
        0 => format!("{}{id}", of(&PATHS, rng)),
        1 => format!("{}{id}?page={}&limit=50", of(&PATHS, rng), rng.below(40)),
        _ => format!("{}{id}/items?sort=price&order=desc&lang=en-GB", of(&PATHS, rng)),
    };
    let (host, agent) = (of(&HOSTS, rng), of(&AGENTS, rng));
    let request_id = format!("{:016x}{:016x}", rng.number(), rng.number());
    let mut headers = vec![
        ("Host", host),
        ("User-Agent", agent),
        ("Accept", "application/json, text/html;q=0.9, */*;q=0.8"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
        ("Connection", "keep-alive"),
        ("X-Request-Id", &request_id),
    ];
    if rng.below(8) > 0 {
        return request("GET", &target, &headers, b"");
    }
    headers.push(("Content-Type", "application/json"));
    let body = format!("{{\"product\":{id},\"quantity\":{},\"note\":\"leave it at the door\"}}", rng.between(1, 9));
    request(if rng.chance(0.7) { "POST" } else { "PUT" }, &target, &headers, body.as_bytes())
}

/// Its response, with a body of `body` bytes.
pub(crate) fn any_response(rng: &mut Rng, body: usize) -> Vec<u8> {
    let (status, kind) = (of(&STATUSES, rng), of(&TYPES, rng));
    let etag = format!("\"{:016x}\"", rng.number());
    let headers = [
        ("Server", "nginx/1.27.0"),
        ("Date", "Sun, 01 Mar 2026 12:00:00 GMT"),
        ("Content-Type", kind),
        ("Connection", "keep-alive"),
        ("Cache-Control", "max-age=60, must-revalidate"),
        ("ETag", &etag),
        ("Vary", "Accept-Encoding"),
    ];
    response(status, &headers, &filler(rng, body))
}

/// The head of a download of `length` bytes, chunked when `None`.
pub(crate) fn download_head(length: Option<usize>) -> Vec<u8> {
    let length = length.map(|length| length.to_string());
    let framing = match &length {
        Some(length) => ("Content-Length", length.as_str()),
        None => ("Transfer-Encoding", "chunked"),
    };
    response_head("200 OK", &[("Server", "nginx/1.27.0"), ("Content-Type", "application/octet-stream"), framing])
}

/// The head of an upload of `length` bytes.
pub(crate) fn upload_head(target: &str, length: usize) -> Vec<u8> {
    let length = length.to_string();
    request("PUT", target, &[("Host", "backup.internal"), ("User-Agent", AGENTS[3]), ("Content-Length", &length)], b"")
}

/// Text of no meaning, not all the same.
pub(crate) fn filler(rng: &mut Rng, len: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        let letters =
            rng.number().to_le_bytes().map(|byte| LETTERS.get(usize::from(byte & 63)).copied().unwrap_or(b' '));
        bytes.extend(letters);
    }
    bytes.truncate(len);
    bytes
}

/// A message of HTTP/1 as HTTP/2 has it: fields, and the body.
pub(crate) fn as_http2(message: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    let (head, body) = message.split_at_checked(end).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines().filter(|line| !line.is_empty());
    let start: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut fields = match start[..] {
        [method, target, "HTTP/1.1"] => vec![own(":method", method), own(":scheme", "http"), own(":path", target)],
        [_, status, ..] => vec![own(":status", status)],
        _ => Vec::new(),
    };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "connection" => {}
            "host" => fields.insert(3, own(":authority", value)),
            name => fields.push(own(name, value)),
        }
    }
    (fields, body)
}
