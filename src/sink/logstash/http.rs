//! To an `http` input: a batch a POST request. Owns what an answer means for the records; the connection is `exchange`'s.
//!
//! 2xx: delivered. 413: half as many the next time; a single record is rejected. 400 and 422 with words are about the
//! records: they are rejected. Everything else speaks of the server's state or of our settings (`StatusVerdict::of`), a page and
//! an empty answer too: tried again, for both get repaired. 429 and 503 are back pressure, and may ask for a pause.
//! Redirects are not followed.
//!
//! Requests carry `x-podtap-nonce`, so that a capture that sees them behind a proxy knows them for ours.

mod exchange;

use std::fmt;
use std::io::Write;

use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use tokio::time::Instant;

use self::exchange::{HttpAnswer, LiveConnection, Once};
use super::super::connect::{Connector, HttpProxy, Patience, ServerConnection};
use super::super::{Batch, Delivery, DeliveryError, FailureReason, RejectedRecord, SinkError};
use super::{HttpBody, LogstashLogin, LogstashOptions};
use crate::exchange::own::{Nonce, nonce};
use crate::settings::SettingFault;

/// Characters of the server's words that are shown.
const WORDS_TOLD: usize = 120;

pub(super) struct HttpTransport {
    connector: Connector,
    options: LogstashOptions,
    path: Uri,
    authorization: Option<HeaderValue>,
    live: Option<LiveConnection>,
    renewal: Option<Box<dyn Fn() -> Option<LogstashLogin> + Send + Sync>>,
    patience: Patience,
    /// Bytes of bodies a server takes at once, as far as known (413).
    fits: usize,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("connector", &self.connector).field("path", &self.path).finish_non_exhaustive()
    }
}

impl HttpTransport {
    pub(super) fn new(connector: Connector, options: LogstashOptions) -> Result<Self, SettingFault> {
        let wrong = |why: &str| SettingFault::new("LOGSTASH_PATH", why);
        let path: Uri = options.path.parse().map_err(|_| wrong("not the path of a URL"))?;
        if !options.path.starts_with('/') || path.authority().is_some() {
            return Err(wrong("a path begins with /"));
        }
        let authorization = options.login.as_ref().map(basic).transpose()?;
        let patience = Patience::new(options.timeout);
        let (live, renewal, fits) = (None, None, usize::MAX);
        Ok(Self { connector, options, path, authorization, live, renewal, patience, fits })
    }

    /// Has credentials read again for every connection.
    pub(super) fn renew_with(&mut self, read: impl Fn() -> Option<LogstashLogin> + Send + Sync + 'static) {
        self.renewal = Some(Box::new(read));
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        &mut self.connector
    }

    pub(super) fn reload(&mut self) {
        self.live = None;
        self.fits = usize::MAX;
    }

    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let (mut done, mut delivery) = (0, Delivery::default());
        while done < batch.records() {
            let rest = batch.range(done, batch.records());
            let part = rest.range(0, rest.fitting(self.fits).max(1));
            let end = done + part.records();
            match self.post(&part).await {
                Ok(()) => done = end,
                Err(StatusVerdict::TooLarge(_)) if part.records() > 1 => self.fits = part.bytes() / 2,
                Err(StatusVerdict::TooLarge(reason) | StatusVerdict::Rejected(reason)) => {
                    delivery.rejected.extend((done..end).map(|index| RejectedRecord { index, reason: reason.clone() }));
                    done = end;
                }
                Err(StatusVerdict::Later(error)) if done == 0 => return Err(SinkError::Transient(error)),
                Err(StatusVerdict::Later(error)) => {
                    tracing::debug!(sink = "logstash", done, of = batch.records(), %error, "a part was taken");
                    delivery.retry = (done..batch.records()).collect();
                    delivery.cause = Some(error);
                    break;
                }
            }
        }
        Ok(delivery)
    }

    /// One request for all records of `part`.
    async fn post(&mut self, part: &Batch) -> Result<(), StatusVerdict> {
        let body = self.body(part).map_err(|why| StatusVerdict::Rejected(why.to_string()))?;
        let mut live = self.open().await.map_err(StatusVerdict::Later)?;
        let request = self.request(&live, body);
        let begun = Instant::now();
        let answer = match live.exchange(request, self.patience.limit()).await {
            Ok(answer) => answer,
            Err(error) => {
                if error.reason() == FailureReason::Timeout {
                    self.patience.was_too_short();
                }
                self.connector.failed();
                return Err(StatusVerdict::Later(error.at(live.host())));
            }
        };
        self.patience.was_enough(begun.elapsed());
        let mut verdict = StatusVerdict::of(&answer, live.is_encrypted());
        if let Err(StatusVerdict::Later(error)) = verdict {
            // Another host has not asked for it.
            let pause = error.retry_after().filter(|_| self.connector.hosts().len() == 1);
            verdict = Err(StatusVerdict::Later(error.with_retry_after(pause)));
            self.connector.failed();
        } else if answer.may_stay_open {
            self.live = Some(live);
        }
        verdict.map_err(|verdict| verdict.at(&answer.host))
    }

    /// The connection in use, if it is still good, else a new one.
    async fn open(&mut self) -> Result<LiveConnection, DeliveryError> {
        let outdated = self.connector.is_outdated();
        if let Some(mut live) = self.live.take()
            && !outdated
            && live.is_ready().await
        {
            return Ok(live);
        }
        let connected = self.connector.connect().await?;
        if let Some(login) = self.renewal.as_ref().and_then(|renewal| renewal()) {
            match basic(&login) {
                Ok(value) => self.authorization = Some(value),
                Err(why) => tracing::debug!(sink = "logstash", error = %why, "keeping the current credentials"),
            }
        }
        LiveConnection::new(connected).await
    }

    fn body(&self, batch: &Batch) -> std::io::Result<Bytes> {
        if !self.options.compress {
            let mut out = Vec::with_capacity(batch.bytes() + 2);
            self.write_body(&mut out, batch)?;
            return Ok(out.into());
        }
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        self.write_body(&mut out, batch)?;
        Ok(out.finish()?.into())
    }

    fn write_body(&self, out: &mut impl Write, batch: &Batch) -> std::io::Result<()> {
        if self.options.body == HttpBody::Lines {
            return batch.slices().try_for_each(|slice| out.write_all(&slice));
        }
        out.write_all(b"[")?;
        for (index, item) in batch.iter().enumerate() {
            if index > 0 {
                out.write_all(b",")?;
            }
            out.write_all(item.body.strip_suffix(b"\n").unwrap_or(item.body))?;
        }
        out.write_all(b"]")
    }

    fn request(&self, live: &LiveConnection, body: Bytes) -> Request<Once> {
        let host = live.host().to_string();
        let mut request = Request::new(Once::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = match live.proxy() {
            None => self.path.clone(),
            Some(_) => whole(&host, &self.path),
        };
        let kind = match self.options.body {
            HttpBody::Array => "application/json",
            HttpBody::Lines => "application/x-ndjson",
        };
        let headers = request.headers_mut();
        let mut set = |name: HeaderName, value: Option<HeaderValue>| value.map(|value| headers.insert(name, value));
        set(header::HOST, HeaderValue::try_from(host).ok());
        set(header::PROXY_AUTHORIZATION, live.proxy().and_then(HttpProxy::authorization).and_then(secret));
        set(header::CONTENT_TYPE, Some(HeaderValue::from_static(kind)));
        set(header::USER_AGENT, Some(HeaderValue::from_static(concat!("podtap/", env!("CARGO_PKG_VERSION")))));
        set(header::CONTENT_ENCODING, self.options.compress.then(|| HeaderValue::from_static("gzip")));
        set(header::AUTHORIZATION, self.authorization.clone());
        set(HeaderName::from_static(Nonce::NAME), HeaderValue::try_from(nonce().value()).ok());
        request
    }

    /// A POST without records.
    pub(super) async fn check(&self, connected: ServerConnection, steps: &mut Vec<String>) -> Result<(), String> {
        let mut live = LiveConnection::new(connected).await?;
        let body = self.body(&Batch::default()).map_err(|why| why.to_string())?;
        let request = self.request(&live, body);
        let answer = live.exchange(request, self.options.timeout).await?;
        match StatusVerdict::of(&answer, live.is_encrypted()) {
            Ok(()) => {
                steps.push(format!("answered a request without records with {}", answer.status));
                Ok(())
            }
            Err(StatusVerdict::Later(error)) => Err(error.into()),
            Err(StatusVerdict::TooLarge(why) | StatusVerdict::Rejected(why)) => Err(why),
        }
    }
}

/// A URL, as a proxy wants it (RFC 9112 §3.2.2).
fn whole(host: &str, path: &Uri) -> Uri {
    format!("http://{host}{path}").parse().unwrap_or_else(|_| path.clone())
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn basic(login: &LogstashLogin) -> Result<HeaderValue, SettingFault> {
    if login.username.contains(':') {
        return Err(SettingFault::new("LOGSTASH_USERNAME", "may not hold a colon"));
    }
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", login.username, login.password));
    let value = HeaderValue::try_from(format!("Basic {pair}"));
    let mut value = value.map_err(|_| SettingFault::new("LOGSTASH_PASSWORD", "cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What an answer means, if it is not that all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StatusVerdict {
    /// To be tried again, perhaps after a pause.
    Later(DeliveryError),
    /// Fewer at once.
    TooLarge(String),
    /// For good.
    Rejected(String),
}

impl StatusVerdict {
    fn of(answer: &HttpAnswer, encrypted: bool) -> Result<(), Self> {
        let status = answer.status;
        if status.is_success() {
            let early = || DeliveryError::new(FailureReason::Protocol, early(status));
            return if answer.was_heard { Ok(()) } else { Err(Self::Later(early())) };
        }
        let words = words(&answer.words);
        if status == StatusCode::BAD_REQUEST && !encrypted && told_of_tls(&words) {
            let what = "the port speaks TLS: set LOGSTASH_TLS=true";
            return Err(Self::Later(DeliveryError::new(FailureReason::Tls, what)));
        }
        let told = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
        let advice = match status.as_u16() {
            401 => "; see LOGSTASH_USERNAME and LOGSTASH_PASSWORD",
            407 => "; HTTP_PROXY takes http://user:password@host:port",
            404 | 405 => "; see LOGSTASH_PATH",
            300..=399 => "; redirects are not followed, see LOGSTASH_HOST, _TLS and _PATH",
            _ => "",
        };
        let later = || {
            let reason = FailureReason::of_http_status(status.as_u16());
            let pause = answer.retry_after.filter(|_| matches!(status.as_u16(), 429 | 503));
            Self::Later(DeliveryError::new(reason, format!("{told}{advice}")).with_retry_after(pause))
        };
        Err(match status.as_u16() {
            413 => Self::TooLarge(told),
            // The server names the records, in its own words; an empty answer or a page is a gateway's.
            400 | 422 if is_own(&answer.words) => Self::Rejected(told),
            _ => later(),
        })
    }

    fn at(self, host: &str) -> Self {
        let at = |why: String| format!("{host}: {why}");
        match self {
            Self::Later(error) => Self::Later(error.at(host)),
            Self::TooLarge(why) => Self::TooLarge(at(why)),
            Self::Rejected(why) => Self::Rejected(at(why)),
        }
    }
}

/// Whether an answer may be about records: gateways and meshes answer with a page, or with nothing.
fn is_own(words: &[u8]) -> bool {
    words.trim_ascii_start().first().is_some_and(|first| *first != b'<')
}

/// In the words of nginx and of Go.
fn told_of_tls(words: &str) -> bool {
    words.contains("to HTTPS port") || words.contains("to an HTTPS server")
}

fn early(status: StatusCode) -> String {
    format!("{status} before the server had the records: it cannot have taken them")
}

/// The server's words, on one line, printable, and not too many; of a page in HTML what it says.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut plain = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                plain.push(' ');
            }
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let told: String = line.chars().take(WORDS_TOLD).collect();
    let more = if told.len() < line.len() { "…" } else { "" };
    format!("{}{more}", told.escape_debug())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, words: &str) -> HttpAnswer {
        HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            words: words.as_bytes().to_vec(),
            was_heard: true,
            may_stay_open: true,
            host: "h:1".to_owned(),
        }
    }

    #[test]
    fn an_answer_decides_by_its_status_whether_records_are_delivered_go_again_or_are_refused() {
        for (statuses, kind) in [
            (&[200u16, 201, 202, 204][..], "delivered"),
            (&[301, 302, 307, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 414, 415], "later"),
            (&[421, 425, 426, 431, 451, 500, 501, 502, 504], "later"),
            (&[429, 503], "later, not before 7s"),
            (&[413], "too large"),
            (&[400, 422], "rejected"),
        ] {
            for status in statuses {
                let verdict = match StatusVerdict::of(&answer(*status, "what"), false) {
                    Ok(()) => "delivered".to_owned(),
                    Err(StatusVerdict::Later(error)) => match error.retry_after() {
                        None => "later".to_owned(),
                        Some(pause) => format!("later, not before {pause:?}"),
                    },
                    Err(StatusVerdict::TooLarge(_)) => "too large".to_owned(),
                    Err(StatusVerdict::Rejected(_)) => "rejected".to_owned(),
                };
                assert_eq!(verdict, kind, "{status}");
            }
        }
    }

    #[test]
    fn a_page_or_an_empty_answer_is_not_about_the_records() {
        for status in [400, 422] {
            for words in ["", " \r\n", "<html>", "\n<!DOCTYPE html>"] {
                assert!(
                    matches!(StatusVerdict::of(&answer(status, words), false), Err(StatusVerdict::Later(_))),
                    "{words:?}"
                );
            }
            for words in ["bad record", "{\"error\":1}"] {
                assert!(
                    matches!(StatusVerdict::of(&answer(status, words), false), Err(StatusVerdict::Rejected(_))),
                    "{words:?}"
                );
            }
        }
    }

    #[test]
    fn yes_before_the_records_were_sent_is_not_believed() {
        let early = HttpAnswer { was_heard: false, ..answer(200, "ok") };
        assert!(matches!(StatusVerdict::of(&early, false), Err(StatusVerdict::Later(_))));
    }

    #[test]
    fn a_port_that_speaks_tls_is_understood() {
        for text in [
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            "Client sent an HTTP request to an HTTPS server.\n",
        ] {
            let told = format!("{:?}", StatusVerdict::of(&answer(400, text), false));
            assert!(told.contains("LOGSTASH_TLS=true"), "{told}");
            assert!(!format!("{:?}", StatusVerdict::of(&answer(400, text), true)).contains("LOGSTASH_TLS"));
        }
    }

    #[test]
    fn the_servers_words_come_on_one_short_printable_line_and_a_page_without_its_tags() {
        for (body, line) in [
            ("", ""),
            ("no\n  way\r\n", "no way"),
            ("<html><head><title>403 Forbidden</title></head></html>", "403 Forbidden"),
            ("\x1b[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(words(body.as_bytes()), line);
        }
        assert_eq!(words("x".repeat(9000).as_bytes()), format!("{}…", "x".repeat(WORDS_TOLD)));
        assert_eq!(words(b"\xff"), "\u{fffd}");
    }
}
