//! Heads to records: copies what a record needs out of a head, masked.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::flow::{ConnectionBeginning, Direction, community_id, connection_id};
use crate::record::{
    ConnectionOpening, EndNames, Exchange, ExchangeConnection, HttpHeader, HttpRequest, HttpResponse, HttpVersion,
    NetworkDirection,
};
use crate::redact::Redactor;
use crate::shape::{proxy, trace};
use crate::tcp::ConnSummary;

use super::fields::KnownFields;
use super::{ExchangeConfig, MessageStart};

/// The part that all exchanges of a connection share.
pub(crate) fn connection(conn: &ConnSummary, client: Direction, config: &ExchangeConfig) -> Arc<ExchangeConnection> {
    let ends = conn.key.tuple(client);
    let seq = |of: Direction| conn.initial_seq.get(of as usize).copied().flatten();
    let beginning = ConnectionBeginning {
        initial_seq: [client, client.flip()].map(seq),
        first_seen: conn.first_seen,
        handshake_seen: conn.handshake_seen,
    };
    Arc::new(ExchangeConnection {
        id: connection_id(ends, &beginning, &config.observer_id),
        client: ends.source,
        server: ends.destination,
        community_id: community_id(&conn.key).into(),
        direction: NetworkDirection::of(&config.own_ips, ends.source.ip, [ends.destination.ip]),
        interface: conn.interface.clone(),
        scope: conn.key.scope,
        around: conn.around.as_deref().copied().unwrap_or_default(),
        names: EndNames::default(),
        opening: (conn.originator == Some(client)).then(|| ConnectionOpening::new(conn.first_seen)),
    })
}

/// Whether a request is podtap's own. A CONNECT that a library makes has the nonce in User-Agent: it takes no other header.
pub(crate) fn is_own(method: &[u8], fields: &KnownFields<'_>, config: &ExchangeConfig) -> bool {
    let Some(nonce) = config.nonce.as_ref().map(String::as_bytes) else { return false };
    let in_user_agent = || fields.user_agent.and_then(|agent| agent.strip_suffix(b")")?.strip_suffix(nonce));
    fields.nonce == Some(nonce) || method == b"CONNECT" && in_user_agent().is_some_and(|before| before.ends_with(b"("))
}

/// An exchange with neither half yet.
pub(crate) fn empty(connection: Arc<ExchangeConnection>, id: CompactString, number: u32) -> Box<Exchange> {
    Box::new(Exchange::new(connection, id, number))
}

/// The request half.
pub(crate) fn request(
    line: (&[u8], &[u8], HttpVersion),
    fields: &KnownFields<'_>,
    headers: Vec<HttpHeader>,
    begun: MessageStart,
    redactor: &Redactor,
) -> HttpRequest {
    let (method, target, version) = line;
    let text = |value: &[u8]| redactor.text(value);
    let trace = trace::parse(&fields.trace);
    HttpRequest {
        method: text(method),
        target: redactor.target(target),
        version,
        host: fields.host.filter(|h| !h.is_empty()).map(text),
        mime_type: fields.content_type.and_then(|value| mime_type(value, redactor)),
        referrer: fields.referrer.map(|r| redactor.referrer(r)),
        id: fields.request_id.map(|id| redactor.request_id(id)),
        user_agent: fields.user_agent.map(|ua| redactor.user_agent(ua)),
        trace: trace.map(Box::new),
        headers,
        trailers: Vec::new(),
        first: begun.at,
        last: begun.at,
        bytes: 0,
        body_bytes: 0,
    }
}

/// The response half.
pub(crate) fn response(
    line: (HttpVersion, u16, &[u8]),
    fields: &KnownFields<'_>,
    headers: Vec<HttpHeader>,
    begun: MessageStart,
    redactor: &Redactor,
) -> HttpResponse {
    let (version, status, phrase) = line;
    HttpResponse {
        status: Some(status),
        phrase: (!phrase.is_empty()).then(|| redactor.text(phrase)),
        version,
        mime_type: fields.content_type.and_then(|value| mime_type(value, redactor)),
        headers,
        trailers: Vec::new(),
        first: begun.at,
        last: begun.at,
        bytes: 0,
        body_bytes: 0,
    }
}

/// The response half of HTTP/0.9, which is a body and nothing else.
pub(crate) fn http09_response(begun: MessageStart) -> HttpResponse {
    HttpResponse {
        status: None,
        phrase: None,
        version: HttpVersion::V09,
        mime_type: None,
        headers: Vec::new(),
        trailers: Vec::new(),
        first: begun.at,
        last: begun.at,
        bytes: 0,
        body_bytes: 0,
    }
}

/// The client behind proxies, by a PROXY protocol header and the request's own headers.
pub(crate) fn client_ip(
    fields: &KnownFields<'_>,
    cut: bool,
    proxied: Option<IpAddr>,
    peer: IpAddr,
    config: &ExchangeConfig,
) -> Option<IpAddr> {
    let (forwarded, custom) = (&fields.forwarded, &fields.forwarded_for);
    let claims = if cut {
        // The last lines are missing, which the nearest proxies wrote: what is left may be forged.
        proxy::HopClaims {
            proxy_header: proxied.filter(|ip| !config.trusted_proxies.contains(*ip)),
            ..Default::default()
        }
    } else {
        proxy::HopClaims {
            proxy_header: proxied,
            forwarded: forwarded.as_slice(),
            x_forwarded_for: custom.as_slice(),
            first_lines_missing: forwarded.has_dropped() || custom.has_dropped(),
        }
    };
    proxy::client_ip(&claims, peer, &config.trusted_proxies)
}

/// Media type without parameters, lower case; only what looks like one.
fn mime_type(value: &[u8], redactor: &Redactor) -> Option<CompactString> {
    let end = memchr::memchr2(b';', b',', value).unwrap_or(value.len());
    let bare = value.get(..end)?.trim_ascii();
    // Every byte is looked at, without a branch for each: most are plain.
    let plain = !bare.is_empty() && bare.len() <= 255 && bare.iter().fold(true, |all, b| all & b.is_ascii_graphic());
    if !plain {
        return None;
    }
    let mut text = redactor.text(bare);
    text.make_ascii_lowercase();
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_ours_by_its_nonce_and_a_connect_also_by_its_user_agent() {
        let (mark, agent) = ("0123456789abcdef".to_owned(), "podtap/1 (0123456789abcdef)".to_owned());
        let config = ExchangeConfig { nonce: Some(mark.clone()), ..ExchangeConfig::default() };
        let is_own = |method: &str, nonce: Option<&str>, user_agent: Option<&str>| {
            let (nonce, user_agent) = (nonce.map(str::as_bytes), user_agent.map(str::as_bytes));
            super::is_own(method.as_bytes(), &KnownFields { nonce, user_agent, ..KnownFields::default() }, &config)
        };
        assert!(is_own("POST", Some(&mark), None));
        assert!(is_own("CONNECT", None, Some(&agent)));
        assert!(!is_own("POST", None, Some(&agent)), "every other request of ours has the header");
        assert!(!is_own("CONNECT", None, Some(&mark)));
        assert!(!is_own("CONNECT", Some("0"), Some("podtap/1 ()")));
        assert!(!super::is_own(b"CONNECT", &KnownFields::default(), &ExchangeConfig::default()));
    }
}
