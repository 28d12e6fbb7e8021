//! Heads to records: copies what a record needs out of a head, masked.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use crate::flow::{ConnectionBeginning, Direction, community_id, connection_id};
use crate::record::{
    ConnectionOpening, EndNames, Exchange, ExchangeConnection, HttpHeader, HttpRequest, HttpResponse, HttpVersion,
    NetworkDirection,
};
use crate::redact::{RecentTexts, Redactor};
use crate::shape::{proxy, trace};
use crate::tcp::ConnSummary;

use super::fields::KnownFields;
use super::{ExchangeConfig, ExchangeContext, MessageStart};

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
        community_id: community_id(&conn.key),
        direction: NetworkDirection::of(&config.own_ips, ends.source.ip, [ends.destination.ip]),
        interface: conn.interface.clone(),
        scope: conn.key.scope,
        around: conn.around.as_deref().copied().unwrap_or_default(),
        names: EndNames::default(),
        opening: (conn.originator == Some(client)).then(|| ConnectionOpening::new(conn.first_seen)),
    })
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
    cx: &mut ExchangeContext,
) -> HttpRequest {
    let (method, target, version) = line;
    let ExchangeContext { redactor, recent, .. } = cx;
    let trace = trace::parse(&fields.trace);
    HttpRequest {
        method: recent.text(method, redactor),
        target: redactor.target(target),
        version,
        host: fields.host.filter(|host| !host.is_empty()).map(|host| recent.text(host, redactor)),
        mime_type: fields.content_type.and_then(|value| mime_type(value, recent, redactor)),
        referrer: fields.referrer.map(|r| redactor.referrer(r)),
        id: fields.request_id.map(|id| redactor.request_id(id)),
        user_agent: fields.user_agent.map(|agent| recent.user_agent(agent, redactor)),
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
    cx: &mut ExchangeContext,
) -> HttpResponse {
    let (version, status, phrase) = line;
    let ExchangeContext { redactor, recent, .. } = cx;
    HttpResponse {
        status: Some(status),
        phrase: (!phrase.is_empty()).then(|| recent.text(phrase, redactor)),
        version,
        mime_type: fields.content_type.and_then(|value| mime_type(value, recent, redactor)),
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
fn mime_type(value: &[u8], recent: &mut RecentTexts, redactor: &Redactor) -> Option<CompactString> {
    let end = memchr::memchr2(b';', b',', value).unwrap_or(value.len());
    let bare = value.get(..end)?.trim_ascii();
    // Every byte is looked at, without a branch for each: most are plain.
    let plain = !bare.is_empty() && bare.len() <= 255 && bare.iter().fold(true, |all, b| all & b.is_ascii_graphic());
    if !plain {
        return None;
    }
    let mut text = recent.text(bare, redactor);
    text.make_ascii_lowercase();
    Some(text)
}
