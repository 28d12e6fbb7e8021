//! HTTPS for the webhook: connections, their limits, and the end. What is answered is `review`'s.
//!
//! Every client that reaches the port may ask: a response contains only the pod of the request.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificate::ServingCertificate;
use super::review::{NamespacePolicy, review};
use crate::guests::{Guest, GuestLimits, Guests};
use crate::inject::SidecarOptions;

/// Connections at once. For one more, one goes that has waited longest without a whole request.
const MAX_CONNECTIONS: usize = 128;
/// Largest review: the API server takes no larger request itself.
const MAX_BODY: usize = 3 << 20;
/// Largest head of a request.
const MAX_HEAD: usize = 64 << 10;
/// Bytes of all reviews that are being read, which bounds the memory that they take. For more, the one goes that has taken
/// longest. Answered is one at a time.
const MAX_BODIES: usize = 4 * MAX_BODY;
/// Handshake, head and body of a request: each has to be there within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this long a connection ends with its next answer, so that none lasts for ever.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// How often certificate and key are looked at. SIGHUP looks at once.
const REFRESH: Duration = Duration::from_secs(30);
/// How long it goes on answering after SIGTERM: until then it is still being asked.
const LINGER: Duration = Duration::from_secs(5);
/// How long answers that were begun may take then.
const FINISH: Duration = Duration::from_secs(2);
/// Pause when no connection can be accepted (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub(super) struct WebhookServer {
    sidecar: SidecarOptions,
    guests: Arc<Guests>,
    /// Whether it is about to end: connections are not kept for further requests, so that those go elsewhere.
    ending: watch::Sender<bool>,
}

impl WebhookServer {
    /// Gives pods this sidecar.
    pub(super) fn new(sidecar: SidecarOptions) -> Arc<Self> {
        let guests = Guests::new(GuestLimits { connections: MAX_CONNECTIONS, bytes: MAX_BODIES });
        Arc::new(Self { sidecar, guests, ending: watch::Sender::new(false) })
    }

    /// Answers until SIGTERM or SIGINT and a little longer; a second one ends it at once.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        mut certificate: ServingCertificate,
    ) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hup = signal(SignalKind::hangup())?;
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::info!(address = %listener.local_addr()?, image = self.sidecar.image, "webhook listening");
        let mut end = None;
        loop {
            let stop = tokio::select! {
                connection = self.accept(&listener) => {
                    tokio::spawn(connection.run(TlsAcceptor::from(certificate.config())));
                    false
                }
                _ = refresh.tick() => { reread(&mut certificate); false }
                _ = hup.recv() => { reread(&mut certificate); false }
                _ = term.recv() => self.ending.send_replace(true),
                _ = int.recv() => self.ending.send_replace(true),
                () = until(end) => break,
            };
            if stop {
                return Ok(());
            }
            if *self.ending.borrow() {
                end = end.or_else(|| Some(Instant::now() + LINGER));
            }
        }
        // What was begun is finished.
        let _ = timeout(FINISH, self.guests.gone()).await;
        Ok(())
    }

    /// The next connection.
    async fn accept(self: &Arc<Self>, listener: &TcpListener) -> WebhookConnection {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    return WebhookConnection { stream, server: Arc::clone(self), guest: self.guests.admit() };
                }
                Err(error) => {
                    tracing::debug!(%error, "webhook cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, guest: &Guest) -> Response<String> {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::POST, "/mutate" | "/inject") => {
                self.review(request.into_body(), guest, NamespacePolicy::Open).await
            }
            (&Method::POST, "/forbidden") => self.review(request.into_body(), guest, NamespacePolicy::Forbidden).await,
            (&Method::GET | &Method::HEAD, "/healthz" | "/readyz") => response(StatusCode::OK, "alive\n".to_owned()),
            (_, "/mutate" | "/inject" | "/forbidden" | "/healthz" | "/readyz") => {
                response(StatusCode::METHOD_NOT_ALLOWED, "POST a review, GET /healthz\n".to_owned())
            }
            _ => response(StatusCode::NOT_FOUND, "/mutate, /healthz\n".to_owned()),
        };
        guest.is_served();
        answer
    }

    async fn review(&self, body: Incoming, guest: &Guest, ground: NamespacePolicy) -> Response<String> {
        let body = match timeout(PATIENCE, collected(body, guest)).await {
            Ok(Ok(body)) => body,
            Ok(Err(status)) => return response(status, format!("a review of at most {MAX_BODY} bytes\n")),
            Err(_) => return response(StatusCode::REQUEST_TIMEOUT, String::new()),
        };
        match review(&body, &self.sidecar, ground) {
            Ok(answer) => {
                let mut response = response(StatusCode::OK, answer);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(why) => {
                let why = crate::settings::printable(&why);
                tracing::warn!(why, "invalid request");
                response(StatusCode::BAD_REQUEST, format!("{why}\n"))
            }
        }
    }
}

/// One connection, and the place that it takes.
struct WebhookConnection {
    stream: TcpStream,
    server: Arc<WebhookServer>,
    guest: Guest,
}

impl WebhookConnection {
    async fn run(self, acceptor: TlsAcceptor) {
        tokio::select! {
            () = self.guest.sent_away() => {}
            () = serve(self.stream, acceptor, &self.guest, &self.server) => {}
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, guest: &Guest, server: &WebhookServer) {
    let stream = match timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        // Most often the API server, which does not trust the certificate: its caBundle is another one.
        Ok(Err(error)) => return tracing::warn!(%error, "no TLS handshake"),
        Err(_) => return,
    };
    let service = service_fn(|request| async move { Ok::<_, Infallible>(server.answer(request, guest).await) });
    let mut ending = server.ending.subscribe();
    let mut http = http1::Builder::new();
    let http = http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD);
    let http = http.keep_alive(!*ending.borrow_and_update());
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let aged = async {
        tokio::select! { () = sleep(CONNECTION_AGE) => {}, _ = ending.changed() => {} }
    };
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = aged => {
            connection.as_mut().graceful_shutdown();
            timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "webhook connection failed");
    }
}

fn reread(certificate: &mut ServingCertificate) {
    match certificate.refresh() {
        Ok(true) => tracing::info!("certificate reloaded"),
        Ok(false) => {}
        Err(error) => tracing::warn!(error, "certificate reload failed; keeping the current one"),
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// The whole body, unless it is too long.
async fn collected(mut body: Incoming, guest: &Guest) -> Result<Vec<u8>, StatusCode> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY || !guest.takes(data.len()) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn response(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
