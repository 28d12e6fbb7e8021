//! `http.route`: the path with its variable segments named, for few distinct values.
//!
//! A heuristic, told by no framework: what looks like an identifier becomes `{id}`; own patterns (ROUTES) come
//! first. It bounds the length of one route, not the number of routes.

use compact_str::CompactString;

use super::target::Url;
use crate::glob::{BadPattern, Glob};
use crate::record::Request;

/// Segments shown; the rest is `*`.
const MAX_SEGMENTS: usize = 12;
/// Longest route shown; the rest is `*`.
const MAX_ROUTE: usize = 128;
/// A segment longer than this varies, whatever it looks like.
const MAX_WORD: usize = 48;
/// Patterns accepted: each path is compared with each of them.
const MAX_PATTERNS: usize = 256;

/// How paths become routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: CompactString,
    segments: Vec<Segment>,
    /// Ends in `*`: whatever follows belongs to it.
    open: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Any,
    Fits(Glob),
}

impl Pattern {
    fn new(pattern: &str) -> Result<Self, BadPattern> {
        let text = pattern.trim();
        if !text.starts_with('/') || text.len() > MAX_ROUTE {
            return Err(BadPattern::new(pattern, "a route begins with / and has at most 128 bytes"));
        }
        let mut parts: Vec<&str> = segments(text).collect();
        let open = parts.last().is_some_and(|last| matches!(*last, "*" | "**"));
        if open {
            parts.pop();
        }
        let segment = |part: &&str| match *part {
            "*" => Ok(Segment::Any),
            name if name.starts_with('{') && name.ends_with('}') => Ok(Segment::Any),
            literal => Glob::new(literal).map(Segment::Fits),
        };
        let segments = parts.iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), segments, open })
    }

    fn fits(&self, path: &str) -> bool {
        let mut rest = segments(path);
        let all_fit = self.segments.iter().all(|expected| match (expected, rest.next()) {
            (Segment::Any, Some(_)) => true,
            (Segment::Fits(glob), Some(segment)) => glob.matches(segment.as_bytes()),
            (_, None) => false,
        });
        all_fit && (self.open || rest.next().is_none())
    }
}

impl Routes {
    /// With own patterns, tried in order: `/users/{name}/posts/{post}`, `/static/*` (all below), `/v?/x`.
    pub fn new(patterns: &[String]) -> Result<Self, BadPattern> {
        if let Some(surplus) = patterns.get(MAX_PATTERNS) {
            return Err(BadPattern::new(surplus, "is one pattern more than the limit of 256"));
        }
        Ok(Self { patterns: patterns.iter().map(|p| Pattern::new(p)).collect::<Result<_, _>>()? })
    }

    /// The route of a request; none where it has no path (CONNECT, `*`).
    pub fn of_request(&self, request: &Request) -> Option<CompactString> {
        Url::of(request).path.map(|path| self.of(path))
    }

    /// The route of a path (without query).
    pub fn of(&self, path: &str) -> CompactString {
        if let Some(pattern) = self.patterns.iter().find(|p| p.fits(path)) {
            return pattern.text.clone();
        }
        let mut route = CompactString::default();
        for (n, segment) in segments(path).enumerate() {
            let name = segment.split(';').next().unwrap_or(segment);
            let shown = if is_variable(name) { "{id}" } else { name };
            if n == MAX_SEGMENTS || route.len() + 1 + shown.len() > MAX_ROUTE - 2 {
                route.push_str("/*");
                return route;
            }
            route.push('/');
            route.push_str(shown);
        }
        if route.is_empty() {
            route.push('/');
        }
        route
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|s| !s.is_empty())
}

/// What one look at a segment tells.
#[derive(Default)]
struct Looks {
    digits: usize,
    letters: usize,
    hex: usize,
    /// Length of the longest run of digits.
    digit_run: usize,
    /// How often digit, lower and upper case change.
    changes: usize,
    /// Escapes, at signs, masks: text that somebody typed or that was hidden.
    free: bool,
}

fn look(segment: &str) -> Looks {
    let mut looks = Looks::default();
    let (mut run, mut last) = (0, 0);
    for byte in segment.bytes() {
        let class = match byte {
            b'0'..=b'9' => 1,
            b'a'..=b'z' => 2,
            b'A'..=b'Z' => 3,
            _ => 0,
        };
        looks.digits += usize::from(class == 1);
        looks.letters += usize::from(class > 1);
        looks.hex += usize::from(byte.is_ascii_hexdigit());
        run = if class == 1 { run + 1 } else { 0 };
        looks.digit_run = looks.digit_run.max(run);
        looks.changes += usize::from(class != last && class != 0 && last != 0);
        looks.free |= matches!(byte, b'%' | b'@' | b'*' | b'\\' | b'=' | b'+');
        last = class;
    }
    looks
}

/// Whether a segment looks like an identifier: a number, date, uuid, hash, token, address, free text.
fn is_variable(segment: &str) -> bool {
    let looks = look(segment);
    let alnum = looks.digits + looks.letters;
    let is_number = looks.digits > 0 && looks.letters == 0;
    let is_hex = looks.hex == segment.len() && (segment.len() >= 16 || (segment.len() >= 7 && looks.digits > 0));
    // `order-12345`, `2024-11-20T…`, `index.4f3a9123.js`: but not `v2`, `oauth2`, `utf-8`.
    let has_number = looks.digit_run >= 4;
    let is_token = looks.digits >= 2 && alnum >= 6 && looks.changes * 2 >= alnum;
    let is_long_token = looks.digits >= 2 && alnum >= 10 && looks.changes * 4 >= alnum;
    is_number || is_hex || has_number || is_token || is_long_token || looks.free || segment.len() > MAX_WORD
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(path: &str) -> CompactString {
        Routes::default().of(path)
    }

    #[test]
    fn identifiers_become_id() {
        for segment in [
            "7",
            "12345",
            "-3",
            "1.5",
            "2024-11-20",
            "2024-11-20T12:00:00Z",
            "550e8400-e29b-41d4-a716-446655440000",
            "550E8400E29B41D4A716446655440000",
            "deadbeefdeadbeef",
            "a1b2c3d",
            "4f3a9123",
            "cus_9s6XKzkNRiz8i3",
            "order-12345",
            "dQw4w9WgXcQ",
            "me@example.com",
            "me%40example.com",
            "caf\\xc3\\xa9",
            "****",
            "10.1.2.3",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
            "a1b2c3",
            "01HV6ZK4Y8Q3J7T9XW2B5C6D7E",
            "x=1",
        ] {
            assert_eq!(route(&format!("/orders/{segment}")), "/orders/{id}", "{segment}");
        }
    }

    #[test]
    fn words_stay() {
        for segment in [
            "cart",
            "v1",
            "v2beta1",
            "oauth2",
            "utf-8",
            "en-US",
            "getUserById",
            "user-profile-settings",
            "index.html",
            "app.min.js",
            "facade",
            "deadbeef",
            "i18n",
            "mp4",
            "base64",
            "sha256sum",
            "http2",
            "k8s",
            "_bulk",
            ".well-known",
            "jquery-3.7.1.min.js",
            "kubernetes-internal",
            "s3",
            "ipv4",
            "log4j",
        ] {
            let path = format!("/api/{segment}/x");
            assert_eq!(route(&path), path);
        }
    }

    #[test]
    fn a_route_has_no_doubled_or_trailing_slash_and_no_path_parameters() {
        for (path, expected) in [("", "/"), ("/", "/"), ("//a//b/", "/a/b"), ("/a;v=1/b", "/a/b"), ("a/7", "/a/{id}")] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn own_patterns_come_first_and_in_order() {
        let patterns = ["/users/{name}/posts/{post}", "/static/*", "/v?/ping"].map(str::to_owned);
        let routes = Routes::new(&patterns).unwrap();
        for (path, expected) in [
            ("/users/bob/posts/hello", "/users/{name}/posts/{post}"),
            ("/users/bob/posts", "/users/bob/posts"),
            ("/users/bob/posts/hello/x", "/users/bob/posts/hello/x"),
            ("/static/a/b/c.js", "/static/*"),
            ("/v7/ping/", "/v?/ping"),
            ("/v77/ping", "/v77/ping"),
        ] {
            assert_eq!(routes.of(path), expected, "{path}");
        }
        assert!(Routes::new(&["users".to_owned()]).is_err());
        assert!(Routes::new(&vec!["/x".to_owned(); 257]).is_err());
    }

    #[test]
    fn a_deep_path_ends_in_a_star() {
        assert_eq!(route(&"/a".repeat(13)), format!("{}/*", "/a".repeat(12)));
        assert_eq!(route(&"/a".repeat(12)), "/a".repeat(12));
    }

    proptest! {
        #[test]
        fn a_route_is_short_whatever_the_path(path in "(/[ -~]{0,60}){0,20}") {
            let route = route(&path);
            prop_assert!(route.len() <= MAX_ROUTE);
            prop_assert!(route.starts_with('/'));
        }
    }
}
