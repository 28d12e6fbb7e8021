//! What arrives is what standard output prints, field by field; and what a server's settings make of it.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use podtap::sink::logstash::HttpBody;

use super::*;
use crate::compliance::tls::terminator;
use crate::feed::{arrived, by_id, piece, watch};
use crate::servers::{Lumberjack, Nginx, Scratch};

/// Each record as a line, without its end.
fn lines(records: &[Value]) -> Vec<String> {
    records.iter().map(Value::to_string).collect()
}

#[test]
fn by_beats_records_arrive_as_standard_output_prints_them() {
    let printed = printed();
    for (compress, tls) in [(false, false), (true, false), (true, true)] {
        let scratch = Scratch::new("beats");
        let file = |name: &str| certificates().join(name).display().to_string();
        let (certificate, key) = (file("server.pem"), file("server.key"));
        let arguments = if tls { vec!["-cert", &certificate, "-key", &key] } else { Vec::new() };
        let Some(server) = Lumberjack::start(&scratch, &arguments) else { return };
        let options = LogstashOptions { compress, ..options(LogstashTransport::Beats) };
        deliver_all(logstash(server.port, tls.then(|| trusting("ca.pem")), options), &printed);
        assert_eq!(by_id(server.records()), by_id(printed.clone()));
    }
}

#[test]
fn by_http_records_arrive_as_standard_output_prints_them() {
    let printed = printed();
    for (body, compress, tls) in
        [(HttpBody::Array, false, false), (HttpBody::Array, true, true), (HttpBody::Lines, false, true)]
    {
        let scratch = Scratch::new("http");
        let Some(server) = Nginx::start(&scratch, tls.then_some("server.pem")) else { return };
        let options = LogstashOptions { body, compress, ..options(LogstashTransport::Http) };
        deliver_all(logstash(server.port, tls.then(|| trusting("ca.pem")), options), &printed);
        match body {
            HttpBody::Array => assert_eq!(by_id(server.records()), by_id(printed.clone())),
            HttpBody::Lines => {
                let bodies = server.bodies();
                let mut arrived: Vec<_> = bodies.iter().flat_map(|body| body.lines()).collect();
                let mut printed = lines(&printed);
                arrived.sort_unstable();
                printed.sort_unstable();
                assert_eq!(arrived, printed, "byte by byte");
            }
        }
    }
}

#[test]
fn by_tcp_lines_arrive_byte_by_byte_in_order() {
    let printed = printed();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        BufReader::new(stream).lines().map(Result::unwrap).collect::<Vec<_>>()
    });
    deliver_all(logstash(port, None, options(LogstashTransport::Tcp)), &printed);
    assert_eq!(server.join().unwrap(), lines(&printed));
}

#[test]
fn by_tcp_and_tls_too() {
    let printed = printed();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = terminator(listener.local_addr().unwrap(), "server.pem");
    let server = std::thread::spawn(move || {
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    deliver_all(logstash(door.address().port(), Some(trusting("ca.pem")), options(LogstashTransport::Tcp)), &printed);
    assert_eq!(server.join().unwrap().lines().collect::<Vec<_>>(), lines(&printed));
}

#[test]
fn by_udp_each_datagram_is_a_record_as_standard_output_prints_it() {
    let mut printed = printed();
    // As many as fit into a receive buffer: the rest could be lost, as the documentation says.
    printed.truncate(50);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    deliver_all(logstash(socket.local_addr().unwrap().port(), None, options(LogstashTransport::Udp)), &printed);
    for line in lines(&printed) {
        let mut room = vec![0; 1 << 16];
        let length = socket.recv(&mut room).unwrap();
        assert_eq!(&room[..length], line.as_bytes());
    }
}

#[test]
fn a_lumberjack_server_that_takes_its_time_is_kept_by_its_keep_alives() {
    let scratch = Scratch::new("keepalive");
    // Much longer than a busy machine keeps a keep-alive back, and the batch held longer still.
    let Some(server) = Lumberjack::start(&scratch, &["-hold", "8s", "-keepalive", "100ms"]) else { return };
    let options = LogstashOptions { timeout: Duration::from_secs(6), ..options(LogstashTransport::Beats) };
    let sink = start(logstash(server.port, None, options));
    sink.offer(piece(0..10, json_line));
    assert_eq!(finish(sink, PATIENCE).failed_attempts(), 0);
    assert_eq!(server.records().len(), 10);
}

#[test]
fn an_http_server_that_is_overrun_gets_everything_once_in_the_end() {
    let scratch = Scratch::new("limited");
    let Some(server) = Nginx::start(&scratch, None) else { return };
    let options = LogstashOptions { path: "/limited".to_owned(), ..options(LogstashTransport::Http) };
    let sink = start(logstash(server.port, None, options));
    // Four batches, to a server that takes one a second.
    sink.offer(piece(0..200, json_line));
    let counts = finish(sink, PATIENCE);
    assert_eq!(counts.ledger.delivered, 200);
    assert!(counts.failed_attempts() > 0, "nginx has refused none");
    assert_eq!(arrived(&server.records()).len(), 200);
}

#[test]
fn an_http_server_with_a_small_limit_gets_smaller_requests() {
    let scratch = Scratch::new("small");
    let Some(server) = Nginx::start(&scratch, None) else { return };
    let options = LogstashOptions { path: "/small".to_owned(), ..options(LogstashTransport::Http) };
    let sink = start(logstash(server.port, None, options));
    sink.offer(piece(0..1000, json_line));
    finish(sink, PATIENCE);
    let arrived = arrived(&server.records());
    assert_eq!((arrived.len(), arrived.values().sum::<usize>()), (1000, 1000));
}

#[test]
fn what_a_server_never_takes_is_counted_and_the_end_comes_in_time() {
    let scratch = Scratch::new("down");
    let Some(server) = Nginx::start(&scratch, None) else { return };
    let options = LogstashOptions { path: "/down".to_owned(), ..options(LogstashTransport::Http) };
    let sink = start(logstash(server.port, None, options));
    sink.offer(piece(0..300, json_line));
    watch("attempts", &sink, |counts| counts.failed_attempts() > 3);
    let counts = finish(sink, Duration::from_millis(50));
    assert_eq!((counts.ledger.offered, counts.ledger.delivered, counts.ledger.dropped), (300, 0, 300));
}

#[test]
fn the_check_says_what_real_servers_answer() {
    let scratch = (Scratch::new("check-beats"), Scratch::new("check-http"), Scratch::new("check-expired"));
    let Some(beats) = Lumberjack::start(&scratch.0, &[]) else { return };
    let Some(http) = Nginx::start(&scratch.1, Some("server.pem")) else { return };
    let Some(expired) = Nginx::start(&scratch.2, Some("expired.pem")) else { return };
    let to_login = |password| LogstashOptions {
        path: "/login".to_owned(),
        login: login(password),
        ..options(LogstashTransport::Http)
    };
    let trusted = || Some(trusting("ca.pem"));
    for (sink, words, fine) in [
        (logstash(beats.port, None, options(LogstashTransport::Beats)), "closed the connection on a wrong frame", true),
        (logstash(beats.port, None, options(LogstashTransport::Tcp)), "whether records arrive cannot be known", true),
        (logstash(beats.port, None, options(LogstashTransport::Http)), "in the clear; ", false),
        (logstash(beats.port, trusted(), options(LogstashTransport::Beats)), "set LOGSTASH_TLS=false", false),
        (
            logstash(http.port, trusted(), to_login("secret")),
            "TLS 1.3; answered a request without records with 200",
            true,
        ),
        (logstash(http.port, trusted(), to_login("wrong")), "401 Unauthorized", false),
        (logstash(http.port, None, to_login("secret")), "set LOGSTASH_TLS=true", false),
        (logstash(http.port, trusted(), options(LogstashTransport::Beats)), "is it LOGSTASH_TYPE=http?", false),
        (logstash(http.port, None, options(LogstashTransport::Beats)), "is it LOGSTASH_TYPE=http?", false),
        (logstash(http.port, Some(trusting("stranger.pem")), to_login("secret")), "signed by none", false),
        (logstash(expired.port, trusted(), to_login("secret")), "expired", false),
    ] {
        let found = check(sink);
        assert!(found.to_string().contains(words), "{found}");
        assert_eq!(found.fault.is_none(), fine, "{found}");
        assert!(!found.to_string().contains("secret"));
    }
    assert_eq!(beats.records(), Vec::<Value>::new(), "a check leaves no event");
}
