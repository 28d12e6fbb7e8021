//! What arrives is what standard output prints, field by field; and what a server's settings make of it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};

use podtap::sink::logstash::HttpBody;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::servers::arrived;
use super::*;

#[test]
fn by_beats_records_arrive_as_standard_output_prints_them() {
    let printed = printed();
    for (compress, tls) in [(false, false), (true, false), (true, true)] {
        let scratch = Scratch::new(&format!("beats-{compress}-{tls}"));
        let (certificate, key) = server_certificate("server.pem");
        let arguments = if tls { vec!["-cert", &certificate, "-key", &key] } else { Vec::new() };
        let Some(server) = Lumberjack::start(&scratch, &arguments) else { return };
        let options = LogstashOptions { compress, ..options(Transport::Beats) };
        deliver_all(logstash(server.port, tls.then(|| trusting("ca.pem")), options), &printed);
        let lines = server.lines();
        assert_eq!(by_id(lines.iter().map(String::as_str)), by_id(printed.iter().map(String::as_str)));
    }
}

#[test]
fn by_http_records_arrive_as_standard_output_prints_them() {
    let printed = printed();
    let expected = by_id(printed.iter().map(String::as_str));
    for (body, compress, tls) in
        [(HttpBody::Array, false, false), (HttpBody::Array, true, true), (HttpBody::Lines, false, true)]
    {
        let scratch = Scratch::new(&format!("http-{body:?}-{compress}-{tls}"));
        let Some(server) = Nginx::start(&scratch, tls.then(|| server_certificate("server.pem"))) else { return };
        let options = LogstashOptions { body, compress, ..options(Transport::Http) };
        deliver_all(logstash(server.port, tls.then(|| trusting("ca.pem")), options), &printed);
        match body {
            HttpBody::Array => {
                assert_eq!(by_id(server.lines().iter().map(String::as_str)), expected);
            }
            HttpBody::Lines => {
                let bodies = server.bodies();
                let mut lines: Vec<_> = bodies.iter().flat_map(|body| body.lines()).collect();
                let mut printed: Vec<_> = printed.iter().map(String::as_str).collect();
                lines.sort_unstable();
                printed.sort_unstable();
                assert_eq!(lines, printed, "byte by byte");
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
    deliver_all(logstash(port, None, options(Transport::Tcp)), &printed);
    assert_eq!(server.join().unwrap(), printed);
}

#[test]
fn by_tcp_and_tls_too() {
    let printed = printed();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let mut stream = acceptor().accept(stream).await.unwrap();
            let mut text = Vec::new();
            // The client ends with the connection, without a word.
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut text).await;
            String::from_utf8(text).unwrap()
        })
    });
    deliver_all(logstash(port, Some(trusting("ca.pem")), options(Transport::Tcp)), &printed);
    assert_eq!(server.join().unwrap().lines().collect::<Vec<_>>(), printed);
}

fn acceptor() -> TlsAcceptor {
    let (certificate, key) = server_certificate("server.pem");
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[test]
fn by_udp_each_datagram_is_a_record_as_standard_output_prints_it() {
    let mut printed = printed();
    // As many as fit into a receive buffer: the rest could be lost, as the documentation says.
    printed.truncate(50);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    deliver_all(logstash(socket.local_addr().unwrap().port(), None, options(Transport::Udp)), &printed);
    for line in &printed {
        let mut room = vec![0; 1 << 16];
        let length = socket.recv(&mut room).unwrap();
        assert_eq!(&room[..length], line.as_bytes());
    }
}

#[test]
fn a_lumberjack_server_that_takes_its_time_is_kept_by_its_keep_alives() {
    let scratch = Scratch::new("keepalive");
    let Some(server) = Lumberjack::start(&scratch, &["-hold", "1500ms", "-keepalive", "100ms"]) else { return };
    let options = LogstashOptions { timeout: Duration::from_millis(800), ..options(Transport::Beats) };
    deliver_all(logstash(server.port, None, options), &numbered(0, 10));
    assert_eq!(arrived(&server.lines()).values().sum::<usize>(), 10);
}

#[test]
fn an_http_server_that_is_overrun_gets_everything_once_in_the_end() {
    let scratch = Scratch::new("limited");
    let Some(server) = Nginx::start(&scratch, None) else { return };
    let options = LogstashOptions { path: "/limited".to_owned(), ..options(Transport::Http) };
    let sink = start(logstash(server.port, None, options));
    let lines = numbered(0, BATCH * 8);
    offer(&sink, lines.iter().map(String::as_str));
    let counts = finish_within(sink, GRACE);
    assert_eq!(counts.ledger.delivered, 800);
    assert!(counts.failed_attempts > 0, "nginx has refused none");
    let arrived: std::collections::BTreeSet<String> = arrived(&server.lines()).into_keys().collect();
    assert_eq!(arrived.len(), 800);
}

#[test]
fn an_http_server_with_a_small_limit_gets_smaller_requests() {
    let scratch = Scratch::new("small");
    let Some(server) = Nginx::start(&scratch, None) else { return };
    let options = LogstashOptions { path: "/small".to_owned(), ..options(Transport::Http) };
    deliver_all(logstash(server.port, None, options), &numbered(0, 1000));
    let arrived = arrived(&server.lines());
    assert_eq!((arrived.len(), arrived.values().sum::<usize>()), (1000, 1000));
}

#[test]
fn what_a_server_never_takes_is_counted_and_the_end_comes_in_time() {
    let scratch = Scratch::new("down");
    let Some(server) = Nginx::start(&scratch, None) else { return };
    let options = LogstashOptions { path: "/down".to_owned(), ..options(Transport::Http) };
    let sink = start(logstash(server.port, None, options));
    let lines = numbered(0, 300);
    offer(&sink, lines.iter().map(String::as_str));
    wait_until("a few attempts", || sink.counts().failed_attempts > 3);
    let counts = finish_within(sink, Duration::from_millis(50));
    assert_eq!((counts.ledger.offered, counts.ledger.delivered, counts.ledger.dropped), (300, 0, 300));
}

#[test]
fn the_check_says_what_real_servers_answer() {
    let scratch = (Scratch::new("check-beats"), Scratch::new("check-http"), Scratch::new("check-expired"));
    let Some(beats) = Lumberjack::start(&scratch.0, &[]) else { return };
    let Some(http) = Nginx::start(&scratch.1, Some(server_certificate("server.pem"))) else { return };
    let Some(expired) = Nginx::start(&scratch.2, Some(server_certificate("expired.pem"))) else { return };
    let to_login =
        |password| LogstashOptions { path: "/login".to_owned(), login: login(password), ..options(Transport::Http) };
    let trusted = || Some(trusting("ca.pem"));
    for (sink, words, fine) in [
        (logstash(beats.port, None, options(Transport::Beats)), "closed the connection on a wrong frame", true),
        (logstash(beats.port, None, options(Transport::Tcp)), "whether records arrive cannot be known", true),
        (logstash(beats.port, None, options(Transport::Http)), "in the clear; ", false),
        (logstash(beats.port, trusted(), options(Transport::Beats)), "set LOGSTASH_TLS=false", false),
        (
            logstash(http.port, trusted(), to_login("secret")),
            "TLS 1.3; answered a request without records with 200",
            true,
        ),
        (logstash(http.port, trusted(), to_login("wrong")), "401 Unauthorized", false),
        (logstash(http.port, None, to_login("secret")), "set LOGSTASH_TLS=true", false),
        (logstash(http.port, trusted(), options(Transport::Beats)), "is it LOGSTASH_TYPE=http?", false),
        (logstash(http.port, None, options(Transport::Beats)), "is it LOGSTASH_TYPE=http?", false),
        (logstash(http.port, Some(trusting("stranger.pem")), to_login("secret")), "signed by none", false),
        (logstash(expired.port, trusted(), to_login("secret")), "expired", false),
    ] {
        let found = check(sink);
        assert!(found.to_string().contains(words), "{found}");
        assert_eq!(found.fault.is_none(), fine, "{found}");
        assert!(!found.to_string().contains("secret"));
    }
    assert_eq!(beats.lines(), Vec::<String>::new(), "a check leaves no event");
}
