use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;

use super::*;
use crate::exchange::own::nonce;

const THREE: [&str; 3] = ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"];
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request as the server sees it.
pub(super) struct Heard {
    head: String,
    pub(super) body: Vec<u8>,
}

impl Heard {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        fields.find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

pub(super) async fn hears_request(peer: &mut Peer) -> Heard {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(peer.hears(1).await[0]));
    }
    let mut heard = Heard { head, body: Vec::new() };
    let length = heard.field("content-length").unwrap().parse().unwrap();
    heard.body = peer.hears(length).await;
    heard
}

fn http(timeout: Duration) -> LogstashOptions {
    let login = Some(LogstashLogin { username: "me".to_owned(), password: PASSWORD.to_owned() });
    LogstashOptions { login, ..options(LogstashTransport::Http, timeout) }
}

fn sink(server: &TcpListener, timeout: Duration) -> LogstashSink {
    sink_to(&[server.local_addr().unwrap()], http(timeout))
}

/// Hears one request and answers; keeps the connection open until the client is done with it.
async fn answers(server: &TcpListener, answer: &[u8]) -> Heard {
    let mut peer = accept(server).await;
    let heard = hears_request(&mut peer).await;
    peer.says(answer).await;
    heard
}

#[tokio::test]
async fn a_request_holds_what_the_settings_say() {
    let server = listener().await;
    let address = server.local_addr().unwrap();
    for (body, compress, kind, expected) in [
        (HttpBody::Array, false, "application/json", "[{\"a\":1},{\"b\":2},{\"c\":3}]"),
        (HttpBody::Lines, false, "application/x-ndjson", "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n"),
        (HttpBody::Array, true, "application/json", "[{\"a\":1},{\"b\":2},{\"c\":3}]"),
    ] {
        let options = LogstashOptions { path: "/in?x=1".to_owned(), body, compress, ..http(LONG) };
        let (result, heard) = deliver(&mut sink_to(&[address], options), &batch(&THREE), answers(&server, OK)).await;
        assert_eq!(result, delivered());
        assert!(heard.head.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{}", heard.head);
        assert_eq!(heard.field("host"), Some(address.to_string().as_str()));
        assert_eq!(heard.field("content-type"), Some(kind));
        assert_eq!(heard.field("authorization"), Some("Basic bWU6Y2FuYXJ5LXBhc3N3b3Jk"));
        assert_eq!(heard.field("x-podtap-nonce"), Some(nonce().value()));
        assert_eq!(heard.field("content-encoding"), compress.then_some("gzip"));
        let text = match compress {
            true => std::io::read_to_string(GzDecoder::new(heard.body.as_slice())).unwrap(),
            false => String::from_utf8(heard.body).unwrap(),
        };
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn a_server_under_pressure_says_how_long_it_wants_to_be_left_alone() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let busy = format!("HTTP/1.1 {status}\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
        let (result, _) = deliver(&mut sink, &batch(&THREE), answers(&server, busy.as_bytes())).await;
        let Err(SinkError::Transient(error)) = result else { panic!("{result:?}") };
        assert!(error.to_string().ends_with(&format!("{status}: busy")), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_until_it_fits_and_the_size_is_remembered() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let four = batch(&["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n", "{\"d\":4}\n"]);
    // Two of them fit; the last is refused alone as well.
    let script = async {
        let mut peer = accept(&server).await;
        let mut heard = Vec::new();
        loop {
            let request = hears_request(&mut peer).await;
            let body = String::from_utf8(request.body).unwrap();
            let refused = body.len() > 17 || body.contains('d');
            peer.says(if refused { b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n" } else { OK }).await;
            heard.push(body);
            if heard.len() == 5 {
                return (heard, peer);
            }
        }
    };
    let (result, (heard, mut peer)) = deliver(&mut sink, &four, script).await;
    assert_eq!(heard[1..], ["[{\"a\":1},{\"b\":2}]", "[{\"c\":3},{\"d\":4}]", "[{\"c\":3}]", "[{\"d\":4}]"]);
    let delivery = result.unwrap();
    assert_eq!((delivery.retry, delivery.rejected.len(), delivery.rejected[0].index), (vec![], 1, 3));
    assert!(delivery.rejected[0].reason.contains("413 Payload Too Large"), "{:?}", delivery.rejected);
    let next = async {
        let body = hears_request(&mut peer).await.body;
        peer.says(OK).await;
        let other = hears_request(&mut peer).await.body;
        peer.says(OK).await;
        (body, other)
    };
    let (result, bodies) = deliver(&mut sink, &batch(&THREE[..2]), next).await;
    assert_eq!((result, bodies), (delivered(), (b"[{\"a\":1}]".to_vec(), b"[{\"b\":2}]".to_vec())));
}

#[tokio::test]
async fn after_a_part_was_taken_only_the_rest_goes_again() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        for answer in [&b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"[..], OK, b"HTTP/1.1 500 Oops\r\n\r\n"] {
            hears_request(&mut peer).await;
            peer.says(answer).await;
        }
    };
    assert_eq!(deliver(&mut sink, &batch(&THREE), script).await.0, retry([1, 2]));
}

#[tokio::test]
async fn records_that_a_server_refuses_are_rejected_with_its_words_and_the_next_ones_go() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let no = b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 18\r\n\r\nno \x1b[2J\r\n nonsense";
    let script = async {
        let mut peer = accept(&server).await;
        hears_request(&mut peer).await;
        peer.says(no).await;
        hears_request(&mut peer).await;
        peer.says(OK).await;
    };
    let both = async { (sink.deliver(&batch(&THREE)).await, sink.deliver(&batch(&THREE)).await) };
    let ((first, second), ()) = tokio::join!(both, script);
    let rejected = first.unwrap().rejected;
    assert_eq!(rejected.len(), 3);
    assert!(rejected[2].reason.ends_with("422 Unprocessable Entity: no \\u{1b}[2J nonsense"), "{rejected:?}");
    assert_eq!(second, delivered());
}

#[tokio::test]
async fn whatever_else_happens_costs_one_attempt_and_is_reported() {
    let server = listener().await;
    for (answer, words) in [
        (&b""[..], "no answer within 80ms"),
        (b"HTTP/1.1 200 ", "no answer within 80ms"),
        (b"\x15\x03\x01\0\x02\x02\x16\r\n\r\n", "set LOGSTASH_TLS=true"),
        (b"SSH-2.0-x\r\n", "is not HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "redirects are not followed"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "see LOGSTASH_USERNAME"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "see LOGSTASH_PATH"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502 Bad Gateway"),
    ] {
        let mut sink = sink(&server, if words.ends_with("80ms") { SHORT } else { LONG });
        let script = async {
            let mut peer = accept(&server).await;
            hears_request(&mut peer).await;
            peer.says(answer).await;
            peer.hears_the_rest().await
        };
        let (why, rest) = fails(&mut sink, &batch(&THREE), script).await;
        assert!(why.contains(words) && why.starts_with("127.0.0.1:"), "{why}");
        assert_eq!(rest, b"", "closed");
    }
}

#[tokio::test]
async fn a_connection_that_ends_at_any_point_costs_one_attempt() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let large = batch(&[&"x".repeat(24 << 20)]);
    for bytes in [0, 10, 100_000] {
        fails(&mut sink, &large, async { accept(&server).await.hears(bytes).await }).await;
    }
    let (why, _) = fails(&mut sink, &batch(&THREE), answers(&server, b"")).await;
    assert!(why.contains("closed the connection, an answer was expected"), "{why}");
    let (why, _) = fails(&mut sink, &batch(&THREE), answers(&server, b"HTTP/1.1 200 O")).await;
    assert!(why.contains("closed the connection, an answer was expected"), "{why}");
}

#[tokio::test]
async fn a_server_that_does_not_read_is_given_up_and_one_that_is_slow_is_not() {
    let server = narrow_listener();
    let large = "x".repeat(16 << 20);
    let (why, _peer) = fails(&mut sink(&server, SHORT), &batch(&[&large]), accept(&server)).await;
    assert!(why.contains("no progress in sending within 80ms"), "{why}");
    let patience = BOTH * 2;
    let script = async {
        let mut peer = accept(&server).await;
        let mut left = 16 << 20;
        for _ in 0..12 {
            tokio::time::sleep(patience / 10).await;
            left -= peer.hears(1 << 20).await.len();
        }
        peer.hears(left).await;
        peer.says(OK).await;
        peer
    };
    let (result, _peer) = deliver(&mut sink(&server, patience), &batch(&[&large]), script).await;
    assert_eq!(result, delivered());
}

#[tokio::test]
async fn yes_to_what_was_not_sent_yet_is_not_believed_and_no_to_it_is() {
    let server = narrow_listener();
    let large = "x".repeat(24 << 20);
    let says = async |answer: &[u8]| {
        let mut peer = accept(&server).await;
        peer.hears(1000).await;
        peer.says(answer).await;
        peer
    };
    let (why, _peer) = fails(&mut sink(&server, LONG), &batch(&[&large]), says(OK)).await;
    assert!(why.contains("before the server had the records"), "{why}");
    let no = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
    let (result, _peer) = deliver(&mut sink(&server, LONG), &batch(&[&large]), says(no)).await;
    assert_eq!(result.unwrap().rejected.len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_read_only_so_far_and_its_status_counts() {
    let server = listener().await;
    let mut sink = sink(&server, LONG);
    let script = async {
        let mut peer = accept(&server).await;
        hears_request(&mut peer).await;
        let mut said = peer.stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while said.is_ok() {
            said = peer.stream.write_all(&[b'x'; 10_000]).await;
        }
    };
    assert_eq!(deliver(&mut sink, &batch(&THREE), script).await.0, delivered());
    let endless_head = async {
        let mut peer = accept(&server).await;
        hears_request(&mut peer).await;
        let mut said = peer.stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while said.is_ok() {
            said = peer.stream.write_all(b"x: y\r\n").await;
        }
    };
    let (why, ()) = fails(&mut sink, &batch(&THREE), endless_head).await;
    assert!(why.contains("is not HTTP"), "{why}");
}

#[tokio::test]
async fn the_check_sends_no_record_and_says_what_the_server_answered() {
    let server = listener().await;
    for (answer, words, fine) in [
        (OK, "answered a request without records with 200 OK", true),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "401 Unauthorized; see LOGSTASH_USERNAME", false),
        (b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", "413", false),
        (b"", "closed the connection, an answer was expected", false),
    ] {
        let mut sink = sink(&server, LONG);
        let script = async { assert_eq!(answers(&server, answer).await.body, b"[]") };
        let found = check(&mut sink, script).await;
        assert_eq!(found.fault.is_none(), fine);
        assert!(found.to_string().contains(words), "{found}");
    }
}

#[tokio::test]
async fn a_password_that_was_renewed_is_used_as_soon_as_the_old_one_is_refused() {
    let server = listener().await;
    let password = Arc::new(Mutex::new("old"));
    let current = Arc::clone(&password);
    let login = move || {
        let password = current.lock().unwrap().to_string();
        Some(LogstashLogin { username: "me".to_owned(), password })
    };
    let mut sink = sink(&server, LONG).with_login_of(login);
    let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    let (_, heard) = fails(&mut sink, &batch(&THREE), answers(&server, refusal)).await;
    assert_eq!(heard.field("authorization"), Some("Basic bWU6b2xk"));
    *password.lock().unwrap() = "new";
    let (result, heard) = deliver(&mut sink, &batch(&THREE), answers(&server, OK)).await;
    assert_eq!((result, heard.field("authorization")), (delivered(), Some("Basic bWU6bmV3")));
}
