//! The parts of a URL, out of request-target and Host (RFC 9112 §3.2).
//!
//! Takes apart what was sent, adds nothing to it: no default port, no host from an address, no decoding.

use crate::record::HttpRequest;

/// The URL of a request, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RequestUrl<'a> {
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
    /// A port was written that does not exist.
    pub has_bad_port: bool,
    /// The target is itself a whole URL (absolute-form).
    pub is_absolute: bool,
    /// Path and query as sent (fragment, too), for the whole URL.
    pub path_and_query: &'a str,
}

impl<'a> RequestUrl<'a> {
    /// The URL that `request` asks for.
    pub fn of(request: &'a HttpRequest) -> Self {
        Self::parse(&request.method, &request.target, request.host.as_deref())
    }

    /// From method, request-target and Host header.
    pub fn parse(method: &str, target: &'a str, host: Option<&'a str>) -> Self {
        // Extended CONNECT has a path like any other request (RFC 8441 §4).
        if method == "CONNECT" && !target.starts_with('/') {
            return Self::default().with_authority(split_authority(without_userinfo(target)));
        }
        if let Some((scheme, rest)) = absolute_form(target) {
            let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let url = Self { scheme: Some(scheme), is_absolute: true, ..Self::default() };
            return url.with_authority(split_authority(without_userinfo(authority))).with_path(rest);
        }
        let url = Self { scheme: Some("http"), ..Self::default() };
        let url = url.with_authority(host.map_or(Authority::default(), split_authority));
        if target == "*" { url } else { url.with_path(target) }
    }

    /// Its path alone.
    pub fn path_of(method: &str, target: &'a str) -> Option<&'a str> {
        if target.starts_with('/') {
            let end = memchr::memchr2(b'?', b'#', target.as_bytes()).unwrap_or(target.len());
            return target.get(..end);
        }
        Self::parse(method, target, None).path
    }

    fn with_authority(self, authority: Authority<'a>) -> Self {
        let Authority { domain, port, has_bad_port } = authority;
        Self { domain, port, has_bad_port, ..self }
    }

    fn with_path(mut self, rest: &'a str) -> Self {
        self.path_and_query = rest;
        let (without_fragment, _) = cut_at(rest, b'#').unwrap_or((rest, ""));
        let (path, query) = match cut_at(without_fragment, b'?') {
            Some((path, query)) => (path, Some(query)),
            None => (without_fragment, None),
        };
        self.path = (!path.is_empty()).then_some(path);
        self.query = query;
        self
    }
}

/// What is before and behind the first `mark`, an ASCII byte: `split_once`, but quick on short texts.
fn cut_at(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(mark, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
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

/// Whether `host` can be the value of a Host header (RFC 9110 §7.2): a host and a port that exists, or nothing.
pub(crate) fn is_host(host: &[u8]) -> bool {
    // What nearly all of them are: letters, digits, dots and hyphens, and four digits of port at most.
    let colon = memchr::memchr(b':', host).unwrap_or(host.len());
    let (name, port) = host.split_at_checked(colon).unwrap_or_default();
    let is_plain =
        |name: &[u8]| name.iter().fold(true, |all, b| all & (b.is_ascii_alphanumeric() | (*b == b'.') | (*b == b'-')));
    if !name.is_empty() && is_plain(name) && (port.is_empty() || (port.len() <= 5 && is_port(port))) {
        return true;
    }
    host.is_empty() || std::str::from_utf8(host).is_ok_and(|text| split_authority(text).is_valid())
}

/// A colon and digits.
fn is_port(text: &[u8]) -> bool {
    text.split_first().is_some_and(|(colon, digits)| *colon == b':' && digits.iter().all(u8::is_ascii_digit))
}

/// Whether the host that the request-target names, if it names one, is one.
pub(crate) fn names_host(method: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let Ok(target) = std::str::from_utf8(target) else { return true };
    let authority = match absolute_form(target) {
        _ if method == b"CONNECT" => target,
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => return true,
    };
    split_authority(without_userinfo(authority)).is_valid()
}

/// What `host[:port]` says.
#[derive(Clone, Copy, Default)]
struct Authority<'a> {
    domain: Option<&'a str>,
    port: Option<u16>,
    has_bad_port: bool,
}

impl Authority<'_> {
    fn is_valid(self) -> bool {
        self.domain.is_some() && !self.has_bad_port
    }
}

/// `host[:port]`; nothing of it where it is no host.
fn split_authority(authority: &str) -> Authority<'_> {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    let padded = blank(authority.as_bytes().first()) || blank(authority.as_bytes().last());
    let authority = if padded { authority.trim_matches([' ', '\t']) } else { authority };
    let end = if authority.starts_with('[') {
        authority.find(']').map_or(0, |at| at + 1)
    } else {
        memchr::memchr(b':', authority.as_bytes()).unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(end);
    if host.is_empty() || !host.bytes().all(|b| HOST_BYTES.get(usize::from(b)) == Some(&true)) {
        return Authority::default();
    }
    let known = Authority { domain: Some(host), ..Authority::default() };
    match port.strip_prefix(':') {
        None if port.is_empty() => known,
        Some("") => known,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let port = digits.parse().ok();
            Authority { port, has_bad_port: port.is_none(), ..known }
        }
        _ => Authority::default(),
    }
}

/// RFC 3986 §3.2.2: reg-name, IP literal.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+')
        || matches!(byte, b',' | b';' | b'=' | b'[' | b']' | b':')
}

#[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
const HOST_BYTES: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        all[byte] = is_host_byte(byte as u8);
        byte += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<u16>, Option<&'a str>, Option<&'a str>);

    fn parts<'a>(method: &str, target: &'a str, host: Option<&'a str>) -> Parts<'a> {
        let url = RequestUrl::parse(method, target, host);
        assert_eq!(RequestUrl::path_of(method, target), url.path, "{method} {target}");
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
    fn a_host_is_valid_or_it_is_not() {
        for (host, expected) in [
            ("", true),
            ("h", true),
            ("h:", true),
            ("h:0", true),
            ("h:65535", true),
            ("my_service.ns.svc.", true),
            ("xn--bcher-kva.example:8080", true),
            ("[fe80::1%25eth0]:80", true),
            ("h:65536", false),
            ("h:00000000000000000000001", true),
            ("h:-1", false),
            ("u@h", false),
            ("a b", false),
            ("a/b", false),
            ("HomeKit\\032x.local", false),
            ("[::1", false),
        ] {
            assert_eq!(is_host(host.as_bytes()), expected, "{host}");
        }
        assert!(!is_host(b"b\xc3\xbccher.example"));
        for (method, target, expected) in [
            ("GET", "/x", true),
            ("OPTIONS", "*", true),
            ("GET", "http://h:80/x", true),
            ("GET", "http://u:p@h:80?x", true),
            ("GET", "http://h:99999/", false),
            ("GET", "http://", false),
            ("GET", "http://a b/", false),
            ("CONNECT", "h:443", true),
            ("CONNECT", "h:port", false),
            ("GET", "odd", true),
        ] {
            assert_eq!(names_host(method.as_bytes(), target.as_bytes()), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_host_that_is_none_gives_no_domain() {
        for host in ["", ":80", "a b", "u@h", "h:port", "[::1", "h/x", "a:b:c", "h\\x00", "[::1]x"] {
            let url = RequestUrl::parse("GET", "/", Some(host));
            assert_eq!((url.domain, url.port), (None, None), "{host}");
        }
        let odd = RequestUrl::parse("GET", "/", Some("h:99999"));
        assert_eq!((odd.domain, odd.port, odd.has_bad_port), (Some("h"), None, true));
        assert_eq!(RequestUrl::parse("GET", "/", Some("h:")).domain, Some("h"));
    }
}
