//! `/metrics`, `/healthz`, `/readyz`, `/status` on METRICS_ADDR. Owns the listener and the limits for its clients; the content
//! comes from `Metrics`.
//!
//! No probe depends on a sink: a dead log server must not remove the pod from its Service. If the port is taken, podtap
//! warns and runs without the endpoint.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Metrics;
use crate::guests::{Guest, GuestLimits, Guests};

/// Connections at once. For one more, the one goes that has taken longest over its request.
const MAX_CONNECTIONS: usize = 32;

/// From accept to the last byte of the answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(5);

/// A scraper's request is small.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Pause when no connection can be accepted (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener.
#[derive(Debug)]
pub struct MetricsEndpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsEndpoint {
    /// Binds; if the port is taken, only warns.
    pub fn bind(address: SocketAddr) -> Option<Self> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        bound.inspect_err(|error| tracing::warn!(%address, %error, "no metrics endpoint: cannot listen")).ok()
    }

    /// Binds the first address that can be had.
    pub fn bind_first(addresses: &[SocketAddr]) -> Option<Self> {
        let (last, others) = addresses.split_last()?;
        let quietly = |address: &SocketAddr| {
            let listener = TcpListener::bind(address).ok()?;
            listener.set_nonblocking(true).ok()?;
            let address = listener.local_addr().ok()?;
            Some(Self { listener, address })
        };
        others.iter().find_map(quietly).or_else(|| Self::bind(*last))
    }

    /// Where it listens, so that the capture can leave its traffic out.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until dropped; needs a tokio runtime with network and time.
    pub async fn serve(self, metrics: Arc<Metrics>) {
        self.serve_within(CONNECTION_DEADLINE, metrics).await;
    }

    async fn serve_within(self, deadline: Duration, metrics: Arc<Metrics>) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(%error, "no metrics endpoint"),
        };
        let guests =
            Guests::new(GuestLimits { connections: MAX_CONNECTIONS, bytes: MAX_CONNECTIONS * MAX_REQUEST_BYTES });
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (guest, metrics) = (guests.admit(), Arc::clone(&metrics));
                    tokio::spawn(async move {
                        tokio::select! {
                            () = guest.sent_away() => {}
                            () = tokio::time::sleep(deadline) => {}
                            () = answer_one(stream, &guest, &metrics) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "metrics endpoint cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One request for each connection.
async fn answer_one(stream: TcpStream, guest: &Guest, metrics: &Metrics) {
    let service = service_fn(|request| async move {
        guest.is_served();
        Ok::<_, Infallible>(answer(&request, metrics))
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "metrics request failed");
    }
}

fn answer<B>(request: &Request<B>, metrics: &Metrics) -> Response<String> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const JSON: &str = "application/json";
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (status, kind, body) = match request.uri().path() {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".to_owned())
        }
        "/metrics" => (StatusCode::OK, OPEN_METRICS, metrics.page()),
        "/healthz" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
        // Plain numbers and strings: it does not fail.
        "/status" => (StatusCode::OK, JSON, serde_json::to_string(&metrics.status()).unwrap_or_default() + "\n"),
        "/readyz" => readiness(request.uri().query().is_some_and(is_verbose), metrics, TEXT),
        _ => (StatusCode::NOT_FOUND, TEXT, "/metrics, /healthz, /readyz, /status\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Whether traffic is captured; with `?verbose` also how each sink does, which changes nothing about the status.
fn readiness(verbose: bool, metrics: &Metrics, kind: &'static str) -> (StatusCode, &'static str, String) {
    let sinks = if verbose { metrics.sinks_in_words() } else { String::new() };
    match metrics.is_capturing() {
        true => (StatusCode::OK, kind, format!("capturing\n{sinks}")),
        false => (StatusCode::SERVICE_UNAVAILABLE, kind, format!("not capturing\n{sinks}")),
    }
}

fn is_verbose(query: &str) -> bool {
    query.split('&').any(|part| part.split('=').next() == Some("verbose"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::sink::batch::tests::piece;
    use crate::sink::{Batch, DeliveryError, FailureReason, SinkError};

    /// How long anything here may take.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn running() -> (SocketAddr, Arc<Metrics>) {
        let metrics = Metrics::new(crate::sink::Sinks::default());
        let endpoint = MetricsEndpoint::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = endpoint.address();
        tokio::spawn(endpoint.serve(Arc::clone(&metrics)));
        (address, metrics)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n")).await
    }

    #[tokio::test]
    async fn it_answers_what_kubernetes_and_prometheus_ask() {
        let (address, metrics) = running().await;
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
        metrics.set_capturing(true);
        assert!(get(address, "/readyz?verbose").await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
        let page = get(address, "/metrics").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
        assert!(page.contains("\npodtap_frames_total 0\n") && page.ends_with("# EOF\n"));
        let (head, body) =
            get(address, "/status").await.split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(
            serde_json::from_str::<crate::metrics::StatusReport>(&body).unwrap().version,
            env!("CARGO_PKG_VERSION")
        );
    }

    /// A sink for which no one listens.
    struct Nowhere;

    impl crate::sink::Sink for Nowhere {
        async fn deliver(&mut self, _: &Batch) -> Result<crate::sink::Delivery, SinkError> {
            let error = DeliveryError::new(FailureReason::Auth, "es:9200: 401 security_exception: \x1b[2J no");
            Err(error.into())
        }
    }

    #[tokio::test]
    async fn verbose_readiness_names_why_a_sink_does_not_deliver_and_stays_ready() {
        let sink = crate::sink::spawn("elasticsearch", Nowhere, crate::sink::SinkOptions::default()).unwrap();
        sink.offer(piece(&["a", "b"]));
        let handle = sink.clone();
        let failed = move || {
            while handle.counts().failed_attempts() == 0 {
                std::thread::yield_now()
            }
        };
        tokio::task::spawn_blocking(failed).await.unwrap();
        let metrics = Metrics::new(crate::sink::Sinks::new(vec![sink]));
        let endpoint = MetricsEndpoint::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = endpoint.address();
        tokio::spawn(endpoint.serve(Arc::clone(&metrics)));
        metrics.set_capturing(true);
        let page = get(address, "/readyz?verbose=1").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        let told = "2 records waiting, reason auth: es:9200: 401 security_exception: \\u{1b}[2J no\n";
        assert!(page.contains("capturing\nsink elasticsearch: not delivering for ") && page.ends_with(told), "{page}");
        assert!(get(address, "/readyz").await.ends_with("\r\n\r\ncapturing\n"));
    }

    #[tokio::test]
    async fn it_refuses_to_be_written_to_and_survives_nonsense() {
        let (address, _metrics) = running().await;
        assert!(ask(address, "DELETE /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await.contains("allow: GET, HEAD\r\n"));
        assert!(ask(address, "\0\x01\x02 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_REQUEST_BYTES - 32));
        assert!(!ask(address, &long).await.contains(" 200 "));
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    /// No deadline helps in this test, so none can be what lets the last one in.
    #[tokio::test]
    async fn slow_connections_keep_no_one_out() {
        let metrics = Metrics::new(crate::sink::Sinks::default());
        let endpoint = MetricsEndpoint::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = endpoint.address();
        tokio::spawn(endpoint.serve_within(Duration::MAX, metrics));
        let mut slow = Vec::new();
        for begun in ["", "G", "GET /healthz HTTP/1.1\r\nHost: h\r\n", "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"] {
            for _ in 0..4 * MAX_CONNECTIONS {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(begun.as_bytes()).await.unwrap();
                slow.push(stream);
            }
            let answered = tokio::time::timeout(PATIENCE, get(address, "/healthz")).await;
            assert!(answered.expect("an answer").starts_with("HTTP/1.1 200 OK\r\n"), "{begun:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_ends_by_itself() {
        let (address, _metrics) = running().await;
        let mut mute = TcpStream::connect(address).await.unwrap();
        assert_eq!(mute.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[test]
    fn a_port_that_is_taken_is_no_reason_to_end() {
        let first = MetricsEndpoint::bind(([127, 0, 0, 1], 0).into()).unwrap();
        assert!(MetricsEndpoint::bind(first.address()).is_none());
    }
}
