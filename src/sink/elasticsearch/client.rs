//! Requests to whichever node answers, by the `elasticsearch` crate. Owns TLS, credentials, time limit and failover; it
//! does not know what is sent.
//!
//! Limits of that crate (9.1.0-alpha.1): it reads an answer whole. So only a declared Content-Length can be refused
//! beforehand; otherwise the time limit bounds it. It cannot expect another name in a certificate than the URL's. It asks
//! for no product, and speaks to OpenSearch as well. Its CONNECT to a proxy takes no header but User-Agent: there the
//! nonce is that marks it as ours.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::{ClientCertificate, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use elasticsearch::http::transport::{Connection, ConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use tokio::time::Instant;
use tokio_rustls::rustls::{CertificateError, Error as TlsError};

use super::super::connect::{
    HttpProxy, Patience, PemSource, ProxySettings, TlsOptions, any_of, io_reason, random, tls_error,
};
use super::super::error::{DeliveryError, FailureReason, retry_after};
use super::options::{ElasticsearchOptions, host};
use crate::exchange::own::{Nonce, nonce};
use crate::settings::SettingFault;

/// Largest answer to anything but `_bulk`: lists of templates are the long ones.
pub(crate) const MOST_ANSWER: usize = 8 << 20;

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct ServerReply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// How long it wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl ServerReply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What kind of failure it is, where it is no success.
    pub(crate) fn class(&self) -> FailureReason {
        super::answer::class(self.status, &self.body)
    }

    /// Status and the server's own words.
    pub(crate) fn words(&self) -> String {
        super::answer::whole(self.status, &self.body)
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct ServerRequest<'a> {
    pub(crate) method: Method,
    /// Percent-encoded where need be.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<Bytes>,
    pub(crate) gzipped: bool,
    /// Besides those that every request has; in lower case.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    /// Largest answer.
    pub(crate) most: usize,
}

impl<'a> ServerRequest<'a> {
    pub(crate) fn get(path: &'a str, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { method: Method::Get, path, query, body: None, gzipped: false, headers: &[], most: MOST_ANSWER }
    }

    #[cfg(feature = "setup")]
    pub(crate) fn post(
        path: &'a str,
        query: &'a [(&'a str, &'a str)],
        headers: &'a [(&'static str, &'a str)],
        body: Vec<u8>,
    ) -> Self {
        Self { method: Method::Post, headers, body: Some(body.into()), ..Self::get(path, query) }
    }

    pub(crate) fn put(path: &'a str, query: &'a [(&'a str, &'a str)], body: Vec<u8>) -> Self {
        Self {
            method: Method::Put,
            path,
            query,
            body: Some(body.into()),
            gzipped: false,
            headers: &[],
            most: MOST_ANSWER,
        }
    }
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct ClusterClient {
    /// One for each proxy in use, and for none where that is used.
    transports: Vec<(Option<HttpProxy>, Transport)>,
    nodes: NodeRing,
    patience: Mutex<Patience>,
}

impl ClusterClient {
    /// Reads the certificates; the error names the setting.
    pub(crate) fn new(options: &ElasticsearchOptions) -> Result<Self, SettingFault> {
        if options.tls.name.is_some() {
            let why = "the certificate's name is the URL's host: name the server like that";
            return Err(SettingFault::new("ELASTICSEARCH_TLS_NAME", why));
        }
        options.tls.check()?;
        let nodes = NodeRing::new(&options.nodes, &options.proxies);
        let mut transports: Vec<(Option<HttpProxy>, Transport)> = Vec::new();
        for proxy in &*nodes.proxies {
            if !transports.iter().any(|(known, _)| known == proxy) {
                transports.push((proxy.clone(), transport(options, &nodes, proxy.as_ref())?));
            }
        }
        Ok(Self { transports, nodes, patience: Mutex::new(Patience::new(options.timeout)) })
    }

    /// Knows already how slow the server is: from the client that this one replaces.
    pub(super) fn after(self, old: &Self) -> Self {
        *self.patience() = *old.patience();
        self
    }

    /// How long it waits for an answer by now.
    #[cfg(test)]
    pub(super) fn limit(&self) -> Duration {
        self.patience().limit()
    }

    /// Asks one node after the other, beginning with the one that answered last; the error is what the last one said.
    /// A node that answers 502, 503 or 504 is passed over like one that does not answer.
    pub(crate) async fn send(&self, request: &ServerRequest<'_>) -> Result<ServerReply, DeliveryError> {
        let mut last = Err(DeliveryError::new(FailureReason::Dns, "no node is set"));
        for _ in 0..self.nodes.urls.len() {
            let index = self.nodes.current.load(Ordering::Relaxed);
            last = self.ask(request).await.map_err(|error| error.at(self.nodes.name(index)));
            match &last {
                Ok(reply) if !matches!(reply.status, 502..=504) => break,
                Ok(_) | Err(_) => self.nodes.pass(index),
            }
        }
        last
    }

    async fn ask(&self, request: &ServerRequest<'_>) -> Result<ServerReply, DeliveryError> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("podtap/", env!("CARGO_PKG_VERSION"))));
        if request.gzipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, text) in request.headers {
            let text = value(text).map_err(|why| DeliveryError::new(FailureReason::Local, why))?;
            headers.insert(HeaderName::from_static(name), text);
        }
        let ServerRequest { method, path, query, body, most, .. } = request;
        let (limit, begun) = (self.patience().limit(), Instant::now());
        let failed = |error| self.failed(error, limit);
        let transport = self.transport()?;
        let answer = transport.send(*method, path, headers, Some(query), body.clone(), Some(limit));
        let answer = answer.await.map_err(failed)?;
        if answer.content_length().is_some_and(|bytes| bytes > *most as u64) {
            return Err(too_long(*most));
        }
        let status = answer.status_code().as_u16();
        let pause = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        let body = answer.bytes().await.map_err(failed)?;
        if request.body.is_some() {
            // How fast it answers a question says nothing about how fast it stores.
            self.patience().was_enough(begun.elapsed());
        }
        if body.len() > *most {
            return Err(too_long(*most));
        }
        Ok(ServerReply { status, body, retry_after: pause })
    }

    /// The one for the node whose turn it is.
    fn transport(&self) -> Result<&Transport, DeliveryError> {
        let proxy = self.nodes.proxies.get(self.nodes.current.load(Ordering::Relaxed));
        let found = self.transports.iter().find(|(by, _)| Some(by) == proxy);
        found.map(|(_, transport)| transport).ok_or_else(|| DeliveryError::new(FailureReason::Dns, "no node is set"))
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: elasticsearch::Error, limit: Duration) -> DeliveryError {
        let (reason, words) = if error.is_timeout() {
            self.patience().was_too_short();
            (FailureReason::Timeout, format!("no answer within {limit:?}"))
        } else {
            (reason(&error), chain(&error))
        };
        DeliveryError::new(reason, words).with_source(error)
    }
}

/// What sends requests through this proxy, or directly.
fn transport(
    options: &ElasticsearchOptions,
    nodes: &NodeRing,
    proxy: Option<&HttpProxy>,
) -> Result<Transport, SettingFault> {
    let of_ours = |why: String| SettingFault::new("ELASTICSEARCH_HOST", why);
    let mut builder = TransportBuilder::new(nodes.clone())
        .enable_meta_header(false)
        .header(header_name(), value(nonce().value()).map_err(of_ours)?)
        // Every request has another one; a CONNECT takes this.
        .header(USER_AGENT, value(&nonce().in_user_agent()).map_err(of_ours)?)
        // A compressed answer could not be bounded by its length; answers are filtered, and short.
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .cert_validation(validation(&options.tls)?);
    builder = match proxy {
        None => builder.disable_proxy(),
        Some(proxy) => {
            let url = Url::parse(&format!("http://{proxy}")).map_err(|why| SettingFault::new("HTTP_PROXY", why))?;
            let (user, password) = proxy.login().unzip();
            builder.proxy(url, user, password)
        }
    };
    // As a header and not as the crate's credentials: those have no room for a certificate next to a key.
    if let Some(header) = options.auth.header() {
        builder = builder
            .header(AUTHORIZATION, value(&header).map_err(|why| SettingFault::new(options.auth.setting(), why))?);
    }
    if let Some(identity) = identity(&options.tls)? {
        builder = builder.auth(Credentials::Certificate(ClientCertificate::Pem(identity)));
    }
    builder.build().map_err(|why| SettingFault::new("ELASTICSEARCH_TLS_CERT", chain(&why)))
}

fn too_long(most: usize) -> DeliveryError {
    DeliveryError::new(FailureReason::Protocol, format!("an answer of more than {most} bytes"))
}

/// From the innermost error of the system; that a name was not found only the library's words say.
fn reason(error: &(dyn Error + 'static)) -> FailureReason {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.to_string().as_str() {
            "dns error" => return FailureReason::Dns,
            NO_LOGIN => return FailureReason::Auth,
            NO_TUNNEL => return FailureReason::Server,
            _ => {}
        }
        next = error.source();
    }
    innermost(error).downcast_ref::<std::io::Error>().map_or(FailureReason::Closed, io_reason)
}

/// How the library says that a proxy answered 407 to CONNECT, and that it did not answer with 2xx.
const NO_LOGIN: &str = "tunnel error: proxy authorization required";
const NO_TUNNEL: &str = "tunnel error: unsuccessful";

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

/// The innermost cause: the outer ones only repeat the URL.
fn chain(error: &(dyn Error + 'static)) -> String {
    let innermost = innermost(error);
    if let Some(words) = innermost.downcast_ref::<std::io::Error>().and_then(tls_error).and_then(advice) {
        return words.to_owned();
    }
    let text = innermost.to_string();
    match text.as_str() {
        NO_LOGIN => {
            return "the proxy wants user and password: HTTPS_PROXY takes http://user:password@host:port".to_owned();
        }
        NO_TUNNEL => return "the proxy makes no tunnel to it; see HTTPS_PROXY and NO_PROXY".to_owned(),
        _ => {}
    }
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Where the library's words leave one alone; the settings hold for Kibana, too.
#[allow(clippy::wildcard_enum_match_arm, reason = "the library's own, open list: the rest is plain in its own words")]
fn advice(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::InvalidMessage(_) => {
            Some("the answer is not TLS; if the port is one without TLS, it takes http:// in the URL")
        }
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "the server's certificate is signed by no authority that podtap trusts: set ELASTICSEARCH_TLS_CA to the file with the \
             certificate of its authority",
        ),
        _ => None,
    }
}

fn header_name() -> HeaderName {
    HeaderName::from_static(Nonce::NAME)
}

/// Of a header that no log shows.
fn value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "holds a character that no header can".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn validation(tls: &TlsOptions) -> Result<CertificateValidation, SettingFault> {
    if !tls.verify {
        return Ok(CertificateValidation::None);
    }
    let Some(ca) = &tls.ca else { return Ok(CertificateValidation::Default) };
    let wrong = |why: String| SettingFault::new("ELASTICSEARCH_TLS_CA", why);
    let ca = Certificate::from_pem(&ca.read().map_err(wrong)?).map_err(|why| wrong(chain(&why)))?;
    Ok(CertificateValidation::Full(ca))
}

/// Certificate and key, one behind the other; a key next to its certificate is there already.
fn identity(tls: &TlsOptions) -> Result<Option<Vec<u8>>, SettingFault> {
    let Some(cert) = &tls.cert else { return Ok(None) };
    let mut both = cert.read().map_err(|why| SettingFault::new("ELASTICSEARCH_TLS_CERT", why))?;
    both.push(b'\n');
    let key = tls.key.as_ref().map(PemSource::read).transpose();
    both.extend(key.map_err(|why| SettingFault::new("ELASTICSEARCH_TLS_KEY", why))?.unwrap_or_default());
    Ok(Some(both))
}

/// The nodes and whose turn it is: the one that works, until it does not.
#[derive(Clone, Debug)]
struct NodeRing {
    urls: Arc<[Url]>,
    /// On the way to each.
    proxies: Arc<[Option<HttpProxy>]>,
    current: Arc<AtomicUsize>,
}

impl NodeRing {
    /// Begins anywhere, so that not all pods ask the first one.
    fn new(urls: &[Url], proxies: &ProxySettings) -> Self {
        let proxy = |url: &Url| proxies.to(&host(url)?, url.scheme() == "https").cloned();
        let current = Arc::new(AtomicUsize::new(any_of(urls.len(), random())));
        Self { urls: urls.into(), proxies: urls.iter().map(proxy).collect(), current }
    }

    /// On to the next one, unless somebody has gone on already.
    fn pass(&self, from: usize) {
        let next = (from + 1) % self.urls.len().max(1);
        let _ = self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn name(&self, index: usize) -> String {
        let Some(url) = self.urls.get(index) else { return String::new() };
        let by = self.proxies.get(index).and_then(Option::as_ref).map(|proxy| format!(" through the proxy {proxy}"));
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        format!("{host}:{port}{}", by.unwrap_or_default())
    }
}

impl ConnectionPool for NodeRing {
    #[allow(clippy::expect_used, reason = "the trait cannot fail; `Client::send` asks only where there is a node")]
    fn next(&self) -> Connection {
        let index = self.current.load(Ordering::Relaxed);
        Connection::new(self.urls.get(index).or(self.urls.first()).expect("a node").clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::InvalidMessage;

    use super::*;

    #[test]
    fn nodes_take_turns_only_when_one_fails() {
        let urls = ["http://a:1", "http://b:2", "http://c"].map(|url| Url::parse(url).unwrap());
        let nodes = NodeRing::new(&urls, &ProxySettings::default());
        let first = nodes.current.load(Ordering::Relaxed);
        nodes.pass(first);
        nodes.pass(first);
        assert_eq!(nodes.current.load(Ordering::Relaxed), (first + 1) % 3, "two failures of one node are one step");
        assert_eq!(nodes.name(0), "a:1");
        assert_eq!(nodes.name(2), "c:80");
    }

    #[test]
    fn a_handshake_that_fails_comes_with_advice() {
        let words = |error: TlsError| chain(&std::io::Error::other(std::io::Error::other(error)));
        assert!(words(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)).contains("ELASTICSEARCH_TLS_CA"));
        assert!(words(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)).contains("http:// in the URL"));
        assert!(words(TlsError::InvalidCertificate(CertificateError::Expired)).contains("certificate: Expired"));
    }
}
