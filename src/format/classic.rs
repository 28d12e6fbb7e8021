//! `FORMAT=classic`: the lines of kubernetes-internal-http-logger, with the same keys and units; `resCode` is always a
//! number.
//!
//! It has no key for trust; `ecs` has.

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::Observer;
use crate::record::{Exchange, HttpRequest, NetworkDirection, Record, UnansweredReason};

/// What the origin recorded for a request without a response.
const TIMED_OUT: u16 = 408;

/// A record as it is serialized.
#[derive(Clone, Copy, Debug)]
pub struct ClassicRecord<'a> {
    /// What happened.
    pub record: &'a Record,
    /// Who saw it.
    pub observer: &'a Observer,
}

impl Serialize for ClassicRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exchange = self.record.exchange();
        let exchange = exchange.ok_or_else(|| serde::ser::Error::custom("the classic record is one of exchanges"))?;
        ClassicView::new(exchange, self.observer).serialize(serializer)
    }
}

/// Appends the record as one line of JSON; nothing of what is no exchange.
pub fn write_json(out: &mut Vec<u8>, record: &Record, observer: &Observer) {
    let Record::Http(exchange) = record else { return };
    write_view(out, &ClassicView::new(exchange, observer));
}

/// Appends the record as one line of JSON of at most `max` bytes (from 4 KiB), line feed included. Where it must be
/// shorter it goes without headers, then with its URL and host shortened. Returns whether it was; the keys have no place
/// to say so.
pub fn write_json_capped(out: &mut Vec<u8>, record: &Record, observer: &Observer, max: usize) -> bool {
    const LONGEST: usize = 1024;
    let Record::Http(exchange) = record else { return false };
    let start = out.len();
    let mut view = ClassicView::new(exchange, observer);
    write_view(out, &view);
    if out.len() - start <= max {
        return false;
    }
    view.headers = None;
    out.truncate(start);
    write_view(out, &view);
    if out.len() - start > max {
        [&mut view.url, &mut view.host, &mut view.method].into_iter().flatten().for_each(|text| {
            *text = text.get(..LONGEST).unwrap_or(text);
        });
        out.truncate(start);
        write_view(out, &view);
    }
    true
}

fn write_view(out: &mut Vec<u8>, view: &ClassicView<'_>) {
    let written = serde_json::to_writer(&mut *out, view);
    // A `Vec` takes every write and every key is a string.
    debug_assert!(written.is_ok(), "a record that is no JSON");
    out.push(b'\n');
}

#[derive(Serialize)]
struct ClassicView<'a> {
    #[serde(rename = "resTime", skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(rename = "srcIP")]
    source_ip: IpAddr,
    #[serde(rename = "srcPort")]
    source_port: u16,
    #[serde(rename = "dstIP")]
    destination_ip: IpAddr,
    #[serde(rename = "dstPort")]
    destination_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<RawLines<'a>>,
    #[serde(rename = "resCode", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(rename = "HOSTNAME", skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
}

impl<'a> ClassicView<'a> {
    fn new(exchange: &'a Exchange, observer: &'a Observer) -> Self {
        let (connection, request) = (&*exchange.connection, exchange.request.as_ref());
        Self {
            seconds: seconds(exchange),
            direction: exchange.direction().map(|direction| match direction {
                // Both ends in the pod: the pod serves, so it is income, as the origin had it on `lo`.
                NetworkDirection::Ingress | NetworkDirection::Internal => "income",
                NetworkDirection::Egress => "outgo",
            }),
            source_ip: connection.client.ip,
            source_port: connection.client.port,
            destination_ip: connection.server.ip,
            destination_port: connection.server.port,
            host: request.and_then(|r| r.host.as_deref()),
            url: request.map(|r| r.target.as_str()),
            method: request.map(|r| r.method.as_str()),
            headers: request.filter(|r| !r.headers.is_empty()).map(RawLines),
            status: status(exchange),
            hostname: observer.hostname.as_deref(),
        }
    }
}

/// From the request's first byte to the response's last, or to when waiting was given up.
fn seconds(exchange: &Exchange) -> Option<f64> {
    let request = exchange.request.as_ref()?;
    let end = exchange.end().or(exchange.gave_up)?;
    Some(end.since(request.first) as f64 / 1e9)
}

/// The origin knew one reason for a missing response. What podtap did not see, or not wait for, has no status, nor has
/// an answer of HTTP/0.9.
fn status(exchange: &Exchange) -> Option<u16> {
    let unanswered = exchange.unanswered.and_then(|why| match why {
        UnansweredReason::Timeout | UnansweredReason::Closed | UnansweredReason::Reset => Some(TIMED_OUT),
        UnansweredReason::Shutdown => None,
    });
    exchange.response.as_ref().map_or(unanswered, |r| r.status)
}

/// The lines of the request's head as the origin had them: a JSON array in a string, the request line first.
struct RawLines<'a>(&'a HttpRequest);

impl RawLines<'_> {
    fn json(&self) -> serde_json::Result<String> {
        let HttpRequest { method, target, version, headers, .. } = self.0;
        let version = version.name().map(|v| format!(" HTTP/{v}")).unwrap_or_default();
        let first = format!("{method} {target}{version}");
        let lines = headers.iter().map(|header| format!("{}: {}", header.name, header.value));
        serde_json::to_string(&std::iter::once(first).chain(lines).collect::<Vec<_>>())
    }
}

impl Serialize for RawLines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.json().map_err(serde::ser::Error::custom)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::sample::{self, START, exchange, header, record};

    fn line(exchange: Exchange) -> String {
        let observer = Observer { hostname: Some("cart-7f9f".into()), ..Observer::default() };
        let mut out = Vec::new();
        write_json(&mut out, &record(exchange), &observer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_whole_exchange_has_the_origins_keys_in_the_origins_order() {
        let mut it = exchange();
        it.request.as_mut().unwrap().headers = vec![header("Host", "shop.local"), header("X-A", "\"1\"")];
        let expected = concat!(
            r#"{"resTime":0.0124,"type":"income","srcIP":"10.1.2.3","srcPort":51234,"dstIP":"10.1.9.9","dstPort":8080,"#,
            r#""host":"shop.local:8080","url":"/cart?id=7","method":"GET","headers":"[\"GET /cart?id=7 HTTP/1.1\",\"Host: shop.local\",\"X-A: \\\"1\\\"\"]","#,
            r#""resCode":200,"HOSTNAME":"cart-7f9f"}"#,
            "\n"
        );
        assert_eq!(line(it), expected);
    }

    #[test]
    fn a_request_without_a_response_is_408_where_the_wait_is_over() {
        for (why, expected) in [
            (UnansweredReason::Timeout, Some(TIMED_OUT)),
            (UnansweredReason::Closed, Some(TIMED_OUT)),
            (UnansweredReason::Reset, Some(TIMED_OUT)),
            (UnansweredReason::Shutdown, None),
        ] {
            let it = Exchange {
                response: None,
                unanswered: Some(why),
                gave_up: Some(START.plus(10_000_000_000)),
                ..exchange()
            };
            assert_eq!(status(&it), expected, "{why:?}");
            assert_eq!(seconds(&it), Some(10.0));
        }
    }

    #[test]
    fn what_was_not_seen_is_absent() {
        let connection = Arc::new(crate::record::ExchangeConnection { direction: None, ..sample::connection() });
        let line = line(Exchange { request: None, connection, ..exchange() });
        let expected = r#"{"srcIP":"10.1.2.3","srcPort":51234,"dstIP":"10.1.9.9","dstPort":8080,"resCode":200,"HOSTNAME":"cart-7f9f"}"#;
        assert_eq!(line.trim_end(), expected);
        let lost = Exchange { response: None, ..exchange() };
        assert_eq!((status(&lost), seconds(&lost)), (None, None));
        let http09 = Exchange { response: Some(sample::http09()), ..exchange() };
        assert_eq!((status(&http09), seconds(&http09)), (None, Some(0.0124)));
    }

    #[test]
    fn the_direction_is_the_pods() {
        for (direction, expected) in [
            (NetworkDirection::Ingress, "income"),
            (NetworkDirection::Egress, "outgo"),
            (NetworkDirection::Internal, "income"),
        ] {
            let connection =
                Arc::new(crate::record::ExchangeConnection { direction: Some(direction), ..sample::connection() });
            assert!(line(Exchange { connection, ..exchange() }).contains(&format!("\"type\":\"{expected}\"")));
        }
    }

    #[test]
    fn a_capped_line_loses_its_headers_then_its_length() {
        let mut it = exchange();
        it.request.as_mut().unwrap().headers = vec![header("x", &"v".repeat(20_000))];
        for url in ["/short".to_owned(), "/long".repeat(10_000)] {
            it.request.as_mut().unwrap().target = url.into();
            let mut out = Vec::new();
            assert!(write_json_capped(&mut out, &record(it.clone()), &Observer::default(), 16_384));
            assert!(out.len() <= 16_384);
            let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!((json.get("headers"), &json["resCode"]), (None, &serde_json::json!(200)));
        }
        let mut out = Vec::new();
        assert!(!write_json_capped(&mut out, &record(exchange()), &Observer::default(), 16_384));
    }
}
