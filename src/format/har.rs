//! `FORMAT=har`: entries of an HTTP Archive 1.2 (<http://www.softwareishard.com/blog/har-12-spec/>), for other people's tools.
//!
//! Makes entries, and names what is around them. An archive is one JSON document with a beginning and an end, so only
//! `podtap replay` writes it. What the format demands and no one saw is `-1`, `0` or empty, as the format says.

use std::fmt;

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::Encoded;
use super::stamp::Rfc3339Stamp;
use crate::record::{Exchange, HttpHeader, HttpRequest, HttpResponse, HttpVersion, Record};
use crate::shape::target::RequestUrl;

/// What is before the first entry.
pub fn beginning() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{{\"log\":{{\"version\":\"1.2\",\"creator\":{{\"name\":\"podtap\",\"version\":\"{version}\"}},\"entries\":[\n"
    )
}

/// What is between two entries.
pub const BETWEEN: &[u8] = b",\n";

/// What is behind the last entry.
pub const END: &str = "\n]}}\n";

/// Appends an exchange as one entry. The format has none for a response without its request, nor for other records.
pub fn write_entry(out: &mut Vec<u8>, record: &Record) -> Encoded {
    let Record::Http(exchange) = record else { return Encoded::NotInThisFormat };
    let Some(request) = &exchange.request else { return Encoded::NotInThisFormat };
    let before = out.len();
    // Into memory, and of plain structs: it does not fail.
    match serde_json::to_writer(&mut *out, &Entry::new(exchange, request)) {
        Ok(()) => Encoded::Written,
        Err(_) => {
            out.truncate(before);
            Encoded::NotInThisFormat
        }
    }
}

/// Members of the format, in its spelling.
macro_rules! objects {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$meta])*
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct $name<'a> {
            $($(#[$field_meta])* $field: $type,)*
        })*
    };
}

objects! {
    Entry {
        started_date_time: Rfc3339Stamp,
        time: HarMillis,
        request: RequestPart<'a>,
        response: ResponsePart<'a>,
        cache: Empty,
        timings: HarTimings,
        #[serde(rename = "serverIPAddress")] server: std::net::IpAddr,
        connection: &'a str,
        #[serde(rename = "_podtap")] podtap: Podtap<'a>,
    }
    RequestPart {
        method: &'a str,
        url: AbsoluteUrl<'a>,
        http_version: &'static str,
        cookies: [Empty; 0],
        headers: HarHeaders<'a>,
        query_string: Query<'a>,
        #[serde(skip_serializing_if = "Option::is_none")] post_data: Option<PostData<'a>>,
        headers_size: i64,
        body_size: u64,
    }
    PostData { mime_type: &'a str, text: &'a str, }
    ResponsePart {
        status: u16,
        status_text: &'a str,
        http_version: &'static str,
        cookies: [Empty; 0],
        headers: HarHeaders<'a>,
        content: Content<'a>,
        #[serde(rename = "redirectURL")] redirect_url: &'a str,
        headers_size: i64,
        body_size: i64,
        #[serde(rename = "_error", skip_serializing_if = "Option::is_none")] error: Option<&'a str>,
    }
    Content { size: u64, mime_type: &'a str, }
    Podtap {
        id: &'a str,
        trust: &'static str,
        #[serde(skip_serializing_if = "Vec::is_empty")] missing: Vec<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")] route: Option<&'a str>,
        client: std::net::IpAddr,
        client_port: u16,
        #[serde(skip_serializing_if = "Option::is_none")] direction: Option<&'static str>,
        stream: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")] unanswered: Option<&'static str>,
    }
}

#[derive(serde::Serialize)]
struct Empty {}

/// Each in milliseconds, and together the time of the entry.
#[derive(serde::Serialize)]
struct HarTimings {
    blocked: i8,
    dns: i8,
    ssl: i8,
    connect: HarPart,
    send: HarMillis,
    wait: HarMillis,
    receive: HarMillis,
}

/// Nanoseconds, written in milliseconds.
#[derive(Clone, Copy)]
struct HarMillis(u64);

impl Serialize for HarMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0 / 1000) as f64 / 1e3)
    }
}

/// The same, or -1 where it does not apply.
struct HarPart(Option<u64>);

impl Serialize for HarPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(nanos) => HarMillis(nanos).serialize(serializer),
            None => serializer.serialize_i8(-1),
        }
    }
}

impl<'a> Entry<'a> {
    fn new(exchange: &'a Exchange, request: &'a HttpRequest) -> Self {
        let timing = exchange.timing();
        let whole = |nanos: Option<u64>| nanos.map_or(0, |nanos| nanos / 1000 * 1000);
        // Whose answer never came was waited for until it was given up.
        let given_up = exchange.gave_up.filter(|_| exchange.response.is_none());
        let wait = timing.wait.or_else(|| given_up.map(|at| at.since(request.last)));
        let [connect, send, wait, receive] = [timing.connect, timing.request, wait, timing.response].map(whole);
        let connection = &exchange.connection;
        Self {
            // The connection is drawn directly before its first request, wherever it was.
            started_date_time: Rfc3339Stamp::new(request.first.minus(connect)),
            time: HarMillis(connect + send + wait + receive),
            request: RequestPart::new(exchange, request),
            response: ResponsePart::new(exchange),
            cache: Empty {},
            timings: HarTimings {
                blocked: -1,
                dns: -1,
                ssl: -1,
                connect: HarPart(timing.connect),
                send: HarMillis(send),
                wait: HarMillis(wait),
                receive: HarMillis(receive),
            },
            server: connection.server.ip,
            connection: &connection.id,
            podtap: Podtap {
                id: &exchange.id,
                trust: exchange.trust.name(),
                missing: exchange.missing.names().collect(),
                route: exchange.route.as_deref(),
                client: connection.client.ip,
                client_port: connection.client.port,
                direction: connection.direction.map(crate::record::NetworkDirection::name),
                stream: exchange.class.name(),
                unanswered: exchange.unanswered.map(crate::record::UnansweredReason::name),
            },
        }
    }
}

impl<'a> RequestPart<'a> {
    fn new(exchange: &'a Exchange, request: &'a HttpRequest) -> Self {
        let known = [
            ("Host", request.host.as_deref()),
            ("User-Agent", request.user_agent.as_deref()),
            ("Referer", request.referrer.as_deref()),
        ];
        let url = RequestUrl::of(request);
        let mime_type = request.mime_type.as_deref();
        let post = (request.body_bytes > 0 || mime_type.is_some())
            .then(|| PostData { mime_type: mime_type.unwrap_or_default(), text: "" });
        Self {
            method: &request.method,
            url: AbsoluteUrl { url, request, exchange },
            http_version: version(request.version),
            cookies: [],
            headers: HarHeaders { recorded: &request.headers, known },
            query_string: Query(url.query.unwrap_or_default()),
            post_data: post,
            headers_size: -1,
            body_size: request.body_bytes,
        }
    }
}

impl<'a> ResponsePart<'a> {
    fn new(exchange: &'a Exchange) -> Self {
        let response = exchange.response.as_ref();
        let header = |response: &'a HttpResponse, name: &str| {
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| &*header.value)
        };
        let size = response.map_or(0, |response| response.body_bytes);
        Self {
            status: response.and_then(|response| response.status).unwrap_or(0),
            status_text: response.and_then(|response| response.phrase.as_deref()).unwrap_or_default(),
            http_version: response.map_or("unknown", |response| version(response.version)),
            cookies: [],
            headers: HarHeaders {
                recorded: response.map_or(&[], |response| &response.headers),
                known: Default::default(),
            },
            content: Content {
                size,
                mime_type: response.and_then(|response| response.mime_type.as_deref()).unwrap_or("x-unknown"),
            },
            redirect_url: response.and_then(|response| header(response, "location")).unwrap_or_default(),
            headers_size: -1,
            body_size: response.map_or(-1, |_| i64::try_from(size).unwrap_or(i64::MAX)),
            error: response.is_none().then(|| why_none(exchange)),
        }
    }
}

/// Why there is no response.
fn why_none(exchange: &Exchange) -> &'static str {
    let reset = exchange.http2.as_ref().is_some_and(|stream| stream.reset.is_some());
    exchange.unanswered.map_or(if reset { "reset" } else { "no response seen" }, |why| why.name())
}

fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::V09 => "HTTP/0.9",
        HttpVersion::V10 => "HTTP/1.0",
        HttpVersion::V11 => "HTTP/1.1",
        HttpVersion::V2 => "HTTP/2",
        HttpVersion::Unknown => "unknown",
    }
}

/// An absolute URL, as the format demands: the server's address in place of a host that was not sent.
struct AbsoluteUrl<'a> {
    url: RequestUrl<'a>,
    request: &'a HttpRequest,
    exchange: &'a Exchange,
}

impl fmt::Display for AbsoluteUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        if url.is_absolute {
            return f.write_str(&self.request.target);
        }
        write!(f, "{}://", url.scheme.unwrap_or("http"))?;
        match url.domain {
            Some(domain) => {
                f.write_str(domain)?;
                url.port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
            }
            None => write!(f, "{}", self.exchange.connection.server)?,
        }
        let rest = url.path_and_query;
        if !rest.starts_with('/') {
            f.write_str("/")?;
        }
        f.write_str(rest)
    }
}

impl Serialize for AbsoluteUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(serde::Serialize)]
struct NameValue<'a> {
    name: &'a str,
    value: &'a str,
}

/// Those that LOGHEADERS keeps; without it, those that every record has.
struct HarHeaders<'a> {
    recorded: &'a [HttpHeader],
    known: [(&'static str, Option<&'a str>); 3],
}

impl Serialize for HarHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for header in self.recorded {
            sequence.serialize_element(&NameValue { name: &header.name, value: &header.value })?;
        }
        if self.recorded.is_empty() {
            for (name, value) in self.known.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
                sequence.serialize_element(&NameValue { name, value })?;
            }
        }
        sequence.end()
    }
}

/// As sent: not decoded.
struct Query<'a>(&'a str);

impl Serialize for Query<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for pair in self.0.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            sequence.serialize_element(&NameValue { name, value })?;
        }
        sequence.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::UnansweredReason;
    use crate::record::sample::{conntrack, exchange, header, record};

    fn entry(exchange: Exchange) -> Value {
        let mut out = Vec::new();
        assert_eq!(write_entry(&mut out, &record(exchange)), Encoded::Written);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_exchange_is_an_entry_whose_parts_add_up_to_its_time() {
        let found = entry(Exchange { connect_ns: Some(210_000), ..exchange() });
        assert_eq!(found["startedDateTime"], "2026-03-01T11:59:59.999913Z");
        assert_eq!((&found["time"], &found["serverIPAddress"]), (&json!(12.61), &json!("10.1.9.9")));
        let timings =
            json!({"blocked": -1, "dns": -1, "ssl": -1, "connect": 0.21, "send": 0.0, "wait": 11.9, "receive": 0.5});
        assert_eq!(found["timings"], timings);
        let request = &found["request"];
        assert_eq!((&request["method"], &request["url"]), (&json!("GET"), &json!("http://shop.local:8080/cart?id=7")));
        assert_eq!(request["queryString"], json!([{"name": "id", "value": "7"}]));
        assert_eq!(request["headers"][1], json!({"name": "User-Agent", "value": "curl/8.5.0"}));
        assert_eq!((request.get("postData"), &request["httpVersion"]), (None, &json!("HTTP/1.1")));
        let content = json!({"size": 1620, "mimeType": "application/json"});
        assert_eq!((&found["response"]["status"], &found["response"]["content"]), (&json!(200), &content));
        assert_eq!(found["_podtap"]["trust"], "complete");
    }

    #[test]
    fn without_an_answer_the_wait_is_what_was_waited() {
        let start = exchange().start();
        let gave_up = Some(start.plus(10_000_000_000));
        let waited = Exchange { response: None, unanswered: Some(UnansweredReason::Timeout), gave_up, ..exchange() };
        let found = entry(Exchange { connect_ns: None, ..waited });
        assert_eq!((&found["time"], &found["timings"]["connect"]), (&json!(10_000.0), &json!(-1)));
        let response = &found["response"];
        assert_eq!(
            (&response["status"], &response["_error"], &response["bodySize"]),
            (&json!(0), &json!("timeout"), &json!(-1))
        );
    }

    #[test]
    fn recorded_headers_take_the_place_of_those_that_are_always_known() {
        let mut one = exchange();
        one.request.as_mut().unwrap().headers = vec![header("X-A", "\"1\"")];
        one.response.as_mut().unwrap().headers = vec![header("LOCATION", "/next")];
        let found = entry(one);
        assert_eq!(found["request"]["headers"], json!([{"name": "X-A", "value": "\"1\""}]));
        assert_eq!(found["response"]["redirectURL"], "/next");
    }

    #[test]
    fn a_url_is_absolute_whatever_was_sent() {
        for (method, target, host, expected) in [
            ("GET", "/a", None, "http://10.1.9.9:8080/a"),
            ("GET", "http://other/x?y", Some("shop"), "http://other/x?y"),
            ("OPTIONS", "*", Some("shop"), "http://shop/"),
            ("CONNECT", "far:443", None, "http://far:443/"),
            ("GET", "", Some("shop"), "http://shop/"),
        ] {
            let mut one = exchange();
            let request = one.request.as_mut().unwrap();
            (request.method, request.target, request.host) = (method.into(), target.into(), host.map(Into::into));
            assert_eq!(entry(one)["request"]["url"], expected, "{method} {target}");
        }
    }

    #[test]
    fn what_has_no_request_has_no_entry() {
        let mut out = Vec::new();
        for other in [record(Exchange { request: None, ..exchange() }), Record::from(conntrack())] {
            assert_eq!(write_entry(&mut out, &other), Encoded::NotInThisFormat);
        }
        assert!(out.is_empty());
    }

    #[test]
    fn entries_between_beginning_and_end_are_one_document() {
        for n in 0..3 {
            let mut entries = Vec::new();
            (0..n).for_each(|_| {
                let mut out = Vec::new();
                assert_eq!(write_entry(&mut out, &record(exchange())), Encoded::Written);
                entries.push(out);
            });
            let whole = [beginning().as_bytes(), &entries.join(BETWEEN), END.as_bytes()].concat();
            let whole: Value = serde_json::from_slice(&whole).unwrap();
            assert_eq!(whole["log"]["entries"].as_array().unwrap().len(), n);
        }
    }
}
