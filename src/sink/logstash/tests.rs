//! Against servers that do what real ones cannot be made to do; one file a transport.

mod beats;
mod http;
mod tcp;
mod udp;

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::batch::tests::{batch, piece};
use super::super::connect::tests::dead;
use super::super::connect::{ConnectTimeouts, HostPort, LoadedTls, TlsOptions};
use super::*;

/// For what is expected to come, and for what is expected not to.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(80);
/// For both, one after the other: on a busy machine what comes takes its time.
const BOTH: Duration = Duration::from_secs(2);
const PASSWORD: &str = "canary-password";

fn delivered() -> Result<Delivery, SinkError> {
    Ok(Delivery::default())
}

fn retry(indices: impl IntoIterator<Item = usize>) -> Result<Delivery, SinkError> {
    Ok(Delivery { retry: indices.into_iter().collect(), ..Delivery::default() })
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// One whose kernel takes hardly more than its program.
fn narrow_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(8).unwrap()
}

fn sink_to(addresses: &[SocketAddr], options: LogstashOptions) -> LogstashSink {
    let hosts = addresses.iter().map(|a| HostPort { host: a.ip().to_string(), port: a.port() }).collect();
    LogstashSink::new(Connector::new(hosts, None, ConnectTimeouts::default()), options).unwrap()
}

fn options(transport: LogstashTransport, timeout: Duration) -> LogstashOptions {
    LogstashOptions { transport, timeout, ..LogstashOptions::default() }
}

/// One connection at the server's side.
struct Peer {
    stream: TcpStream,
}

async fn accept(server: &TcpListener) -> Peer {
    Peer { stream: server.accept().await.unwrap().0 }
}

impl Peer {
    async fn says(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn hears(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        self.stream.read_exact(&mut heard).await.unwrap();
        heard
    }

    /// Everything up to the end of the connection, however it comes.
    async fn hears_the_rest(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        while self.stream.read_buf(&mut heard).await.unwrap_or(0) > 0 {}
        heard
    }
}

/// Delivers against a server's script; causes are compared as being there.
async fn deliver<T>(
    sink: &mut LogstashSink,
    batch: &Batch,
    script: impl Future<Output = T>,
) -> (Result<Delivery, SinkError>, T) {
    let (result, told) = tokio::join!(sink.deliver(batch), script);
    if let Ok(delivery) = &result {
        assert_eq!(delivery.cause.is_some(), !delivery.retry.is_empty(), "a part that was not taken has a reason");
    }
    (result.map(|delivery| Delivery { cause: None, ..delivery }), told)
}

/// Delivers, expects that to fail in a way worth repeating, and that no secret shows.
async fn fails<T>(sink: &mut LogstashSink, batch: &Batch, script: impl Future<Output = T>) -> (String, T) {
    let (result, told) = deliver(sink, batch, script).await;
    let Err(SinkError::Transient(error)) = result else { panic!("{result:?}") };
    let why = error.to_string();
    assert!(!why.contains("canary") && !format!("{sink:?}").contains("canary"), "{why}");
    (why, told)
}

async fn check<T>(sink: &mut LogstashSink, script: impl Future<Output = T>) -> HostCheck {
    tokio::join!(sink.check(), script).0.remove(0)
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let host = || vec![HostPort { host: "h".to_owned(), port: 1 }];
    let plain = || Connector::new(host(), None, ConnectTimeouts::default());
    let tls = || {
        Connector::new(host(), Some(LoadedTls::load(TlsOptions::new("LOGSTASH")).unwrap()), ConnectTimeouts::default())
    };
    let http = || options(LogstashTransport::Http, LONG);
    let login = |username: &str| Some(LogstashLogin { username: username.to_owned(), password: PASSWORD.to_owned() });
    for (connector, options, word) in [
        (tls(), options(LogstashTransport::Udp, LONG), "LOGSTASH_TLS: "),
        (plain(), LogstashOptions { path: "x".into(), ..http() }, "LOGSTASH_PATH: "),
        (plain(), LogstashOptions { path: "http://h/x".into(), ..http() }, "LOGSTASH_PATH: "),
        (plain(), LogstashOptions { path: "/ x".into(), ..http() }, "LOGSTASH_PATH: "),
        (plain(), LogstashOptions { path: String::new(), ..http() }, "LOGSTASH_PATH: "),
        (plain(), LogstashOptions { login: login("a:b"), ..http() }, "LOGSTASH_USERNAME: "),
    ] {
        let told = LogstashSink::new(connector, options.clone()).unwrap_err().to_string();
        assert!(told.starts_with(word), "{told}");
        assert!(!format!("{told}{options:?}").contains("canary"));
    }
    assert!(LogstashSink::new(tls(), options(LogstashTransport::Beats, LONG)).is_ok());
}

#[tokio::test]
async fn a_host_that_refuses_is_named_and_the_next_takes_over_and_stays() {
    let server = listener().await;
    let (alive, dead) = (server.local_addr().unwrap(), dead(1));
    for transport in [LogstashTransport::Tcp, LogstashTransport::Beats, LogstashTransport::Http] {
        let mut alone = sink_to(&[dead], options(transport, LONG));
        let (why, ()) = fails(&mut alone, &batch(&["{}\n"]), async {}).await;
        assert_eq!(why, format!("{dead}: connection refused"));
        let mut both = sink_to(&[dead, alive], options(transport, LONG));
        let script = async {
            let mut peer = accept(&server).await;
            for _ in 0..2 {
                takes_one(&mut peer, transport).await;
            }
        };
        let twice = async { (both.deliver(&batch(&["{}\n"])).await, both.deliver(&batch(&["{}\n"])).await) };
        let (results, ()) = tokio::join!(twice, script);
        assert_eq!(results, (delivered(), delivered()), "{transport:?}");
    }
}

/// The server's side of `batch(&["{}\n"])`.
async fn takes_one(peer: &mut Peer, transport: LogstashTransport) {
    match transport {
        LogstashTransport::Tcp | LogstashTransport::Udp => assert_eq!(peer.hears(3).await, b"{}\n"),
        LogstashTransport::Beats => {
            assert_eq!(peer.hears(18).await, b"2W\0\0\0\x012J\0\0\0\x01\0\0\0\x02{}");
            peer.says(b"2A\0\0\0\x01").await;
        }
        LogstashTransport::Http => {
            assert_eq!(http::hears_request(peer).await.body, b"[{}]");
            peer.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    }
}

#[tokio::test]
async fn a_server_that_went_away_between_two_batches_costs_not_even_an_attempt() {
    let server = listener().await;
    for transport in [LogstashTransport::Tcp, LogstashTransport::Beats, LogstashTransport::Http] {
        let mut sink = sink_to(&[server.local_addr().unwrap()], options(transport, LONG));
        for _ in 0..3 {
            let script = async { takes_one(&mut accept(&server).await, transport).await };
            let (result, ()) = deliver(&mut sink, &batch(&["{}\n"]), script).await;
            assert_eq!(result, delivered(), "{transport:?}");
        }
    }
}

#[tokio::test]
async fn after_a_reload_the_next_batch_has_a_new_connection() {
    let server = listener().await;
    for transport in [LogstashTransport::Tcp, LogstashTransport::Beats, LogstashTransport::Http] {
        let mut sink = sink_to(&[server.local_addr().unwrap()], options(transport, LONG));
        for _ in 0..2 {
            let script = async {
                let mut peer = accept(&server).await;
                takes_one(&mut peer, transport).await;
                peer
            };
            let (result, mut peer) = deliver(&mut sink, &batch(&["{}\n"]), script).await;
            assert_eq!(result, delivered());
            sink.reload();
            assert_eq!(peer.hears_the_rest().await, b"");
        }
    }
}

#[tokio::test]
async fn a_delivery_that_is_dropped_half_way_takes_its_connection_along() {
    let server = listener().await;
    for transport in [LogstashTransport::Beats, LogstashTransport::Http] {
        let mut sink = sink_to(&[server.local_addr().unwrap()], options(transport, LONG));
        let records = batch(&["{}\n"]);
        let mut peer = tokio::select! {
            _ = sink.deliver(&records) => unreachable!("nobody answers"),
            peer = async { let mut peer = accept(&server).await; peer.hears(10).await; peer } => peer,
        };
        peer.hears_the_rest().await;
        let script = async { takes_one(&mut accept(&server).await, transport).await };
        let (result, ()) = deliver(&mut sink, &records, script).await;
        assert_eq!(result, delivered());
    }
}
