//! The parts of a URL, out of request-target and Host (RFC 9112 §3.2).
//!
//! Takes apart what was sent, adds nothing to it: no default port, no host from an address, no decoding.

use crate::record::Request;

/// The URL of a request, as far as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Url<'a> {
    /// `http` in clear text, or what an absolute-form target says; none for CONNECT.
    pub scheme: Option<&'a str>,
    /// Host of the target, else of the Host header; an IPv6 literal in its brackets.
    pub domain: Option<&'a str>,
    /// The port, where one was written.
    pub port: Option<u16>,
    /// Path; none for CONNECT and `*`, and where an absolute-form target has none.
    pub path: Option<&'a str>,
    /// Query without its `?`; none where there is no `?`.
    pub query: Option<&'a str>,
    /// The target is itself a whole URL (absolute-form).
    pub is_absolute: bool,
    /// Path and query as sent (fragment, too), for the whole URL.
    pub path_and_query: &'a str,
}

impl<'a> Url<'a> {
    /// The URL that `request` asks for.
    pub fn of(request: &'a Request) -> Self {
        Self::parse(&request.method, &request.target, request.host.as_deref())
    }

    /// From method, request-target and Host header.
    pub fn parse(method: &str, target: &'a str, host: Option<&'a str>) -> Self {
        if method == "CONNECT" {
            let (domain, port) = split_authority(without_userinfo(target));
            return Self { domain, port, ..Self::default() };
        }
        if let Some((scheme, rest)) = absolute_form(target) {
            let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let (domain, port) = split_authority(without_userinfo(authority));
            let url = Self { scheme: Some(scheme), domain, port, is_absolute: true, ..Self::default() };
            return url.with_path(rest);
        }
        let (domain, port) = host.map_or((None, None), split_authority);
        let url = Self { scheme: Some("http"), domain, port, ..Self::default() };
        if target == "*" { url } else { url.with_path(target) }
    }

    fn with_path(mut self, rest: &'a str) -> Self {
        self.path_and_query = rest;
        let without_fragment = rest.split('#').next().unwrap_or(rest);
        let (path, query) = match without_fragment.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (without_fragment, None),
        };
        self.path = (!path.is_empty()).then_some(path);
        self.query = query;
        self
    }
}

/// Scheme and what follows `://`, where the target begins with a scheme (RFC 3986 §3.1).
fn absolute_form(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    let mut bytes = scheme.bytes();
    let is_scheme = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

fn without_userinfo(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// `host[:port]`; nothing of it where it is no host.
fn split_authority(authority: &str) -> (Option<&str>, Option<u16>) {
    let authority = authority.trim_matches([' ', '\t']);
    let end = if authority.starts_with('[') {
        authority.find(']').map_or(0, |at| at + 1)
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(end);
    if host.is_empty() || !host.bytes().all(is_host_byte) {
        return (None, None);
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => (Some(host), None),
        Some("") => (Some(host), None),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => (Some(host), digits.parse().ok()),
        _ => (None, None),
    }
}

/// RFC 3986 §3.2.2: reg-name, IP literal.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=[]:".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<u16>, Option<&'a str>, Option<&'a str>);

    fn parts<'a>(method: &str, target: &'a str, host: Option<&'a str>) -> Parts<'a> {
        let url = Url::parse(method, target, host);
        (url.scheme, url.domain, url.port, url.path, url.query)
    }

    #[test]
    fn the_four_forms_of_a_target_give_their_parts() {
        let http = Some("http");
        for (method, target, host, expected) in [
            (
                "GET",
                "/cart?id=7",
                Some("shop.local:8080"),
                (http, Some("shop.local"), Some(8080), Some("/cart"), Some("id=7")),
            ),
            ("GET", "/", Some("shop.local"), (http, Some("shop.local"), None, Some("/"), None)),
            ("GET", "/a?b?c#d", None, (http, None, None, Some("/a"), Some("b?c"))),
            ("GET", "/a?", Some("h"), (http, Some("h"), None, Some("/a"), Some(""))),
            ("GET", "/", Some("[2001:db8::1]:80"), (http, Some("[2001:db8::1]"), Some(80), Some("/"), None)),
            ("GET", "https://u@h:1/p?q", Some("other"), (Some("https"), Some("h"), Some(1), Some("/p"), Some("q"))),
            ("GET", "http://h?q=http://x", None, (http, Some("h"), None, None, Some("q=http://x"))),
            ("GET", "/x?u=http://y/", Some("h"), (http, Some("h"), None, Some("/x"), Some("u=http://y/"))),
            ("CONNECT", "shop.local:443", Some("x"), (None, Some("shop.local"), Some(443), None, None)),
            ("OPTIONS", "*", Some("h:1"), (http, Some("h"), Some(1), None, None)),
        ] {
            assert_eq!(parts(method, target, host), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_host_that_is_none_gives_no_domain() {
        for host in ["", ":80", "a b", "u@h", "h:port", "[::1", "h/x", "a:b:c", "h\\x00", "[::1]x"] {
            let url = Url::parse("GET", "/", Some(host));
            assert_eq!((url.domain, url.port), (None, None), "{host}");
        }
        assert_eq!(Url::parse("GET", "/", Some("h:99999")).port, None);
        assert_eq!(Url::parse("GET", "/", Some("h:")).domain, Some("h"));
    }
}
