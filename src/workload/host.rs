//! The Host header as a witness of a server's name. Says nothing where a proxy is asked: its address has another name.

use std::net::IpAddr;

use compact_str::CompactString;

use crate::record::{DomainNames, DomainSource, Exchange};
use crate::shape::target::RequestUrl;

/// The server's name, as the client called it.
pub(super) fn witness(exchange: &Exchange) -> Option<DomainNames> {
    let request = exchange.request.as_ref()?;
    let url = RequestUrl::of(request);
    // What an absolute target or CONNECT names is behind the server, not the server.
    if url.is_absolute || request.method == "CONNECT" {
        return None;
    }
    let name = url.domain?.trim_end_matches('.');
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || address.parse::<IpAddr>().is_ok() {
        return None;
    }
    let lower: CompactString = name.chars().map(|c| c.to_ascii_lowercase()).collect();
    Some(DomainNames { names: [lower].into_iter().collect(), source: DomainSource::Host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn a_host_names_the_server_unless_it_is_an_address_or_the_server_is_a_proxy() {
        for (method, target, host, name) in [
            ("GET", "/a", Some("Shop.Local."), Some("shop.local")),
            ("GET", "/a", Some("shop.local:8080"), Some("shop.local")),
            ("OPTIONS", "*", Some("shop.local"), Some("shop.local")),
            ("GET", "/a", Some("10.0.0.1:80"), None),
            ("GET", "/a", Some("[fd00::1]:80"), None),
            ("GET", "/a", Some(""), None),
            ("GET", "/a", None, None),
            ("GET", "http://example.com/a", Some("example.com"), None),
            ("CONNECT", "example.com:443", Some("example.com:443"), None),
        ] {
            let mut exchange = sample::exchange();
            let request = exchange.request.as_mut().unwrap();
            (request.method, request.target, request.host) = (method.into(), target.into(), host.map(Into::into));
            let found = witness(&exchange).map(|domain| domain.names.iter().next().unwrap().to_string());
            assert_eq!(found.as_deref(), name, "{method} {target} {host:?}");
        }
        let mut exchange = sample::exchange();
        exchange.request = None;
        assert_eq!(witness(&exchange), None);
    }
}
