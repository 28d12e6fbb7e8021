//! `http.route`: the path with its variable segments named, for few distinct values.
//!
//! A heuristic that no framework confirms: what looks like an identifier becomes `{id}`; own patterns (ROUTES) come
//! first. It bounds the length of one route, not the number of routes.

use compact_str::CompactString;

use super::target::RequestUrl;
use crate::glob::{BadPattern, Glob};
use crate::record::HttpRequest;

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
pub struct RouteRules {
    patterns: Vec<RoutePattern>,
}

#[derive(Clone, Debug)]
struct RoutePattern {
    text: CompactString,
    segments: Vec<RouteSegment>,
    /// Ends in `*`: whatever follows belongs to it.
    open: bool,
}

#[derive(Clone, Debug)]
enum RouteSegment {
    Any,
    Fits(Glob),
}

impl RoutePattern {
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
            "*" => Ok(RouteSegment::Any),
            name if name.starts_with('{') && name.ends_with('}') => Ok(RouteSegment::Any),
            literal => Glob::new(literal).map(RouteSegment::Fits),
        };
        let segments = parts.iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), segments, open })
    }

    fn fits(&self, path: &str) -> bool {
        let mut rest = segments(path);
        let all_fit = self.segments.iter().all(|expected| match (expected, rest.next()) {
            (RouteSegment::Any, Some(_)) => true,
            (RouteSegment::Fits(glob), Some(segment)) => glob.matches(segment.as_bytes()),
            (_, None) => false,
        });
        all_fit && (self.open || rest.next().is_none())
    }
}

impl RouteRules {
    /// With own patterns, tried in order: `/users/{name}/posts/{post}`, `/static/*` (all below), `/v?/x`.
    pub fn new(patterns: &[String]) -> Result<Self, BadPattern> {
        if let Some(surplus) = patterns.get(MAX_PATTERNS) {
            return Err(BadPattern::new(surplus, "is one pattern more than the limit of 256"));
        }
        Ok(Self { patterns: patterns.iter().map(|p| RoutePattern::new(p)).collect::<Result<_, _>>()? })
    }

    /// The route of a request; none where it has no path (CONNECT, `*`).
    pub fn of_request(&self, request: &HttpRequest) -> Option<CompactString> {
        RequestUrl::path_of(&request.method, &request.target).map(|path| self.of(path))
    }

    /// The route of a path (without query).
    pub fn of(&self, path: &str) -> CompactString {
        if let Some(pattern) = self.patterns.iter().find(|p| p.fits(path)) {
            return pattern.text.clone();
        }
        let mut route = RouteText::default();
        let path = path.as_bytes();
        let has_parameters = memchr::memchr(b';', path).is_some();
        for (n, segment) in path.split(|b| *b == b'/').filter(|s| !s.is_empty()).enumerate() {
            let end = if has_parameters { memchr::memchr(b';', segment) } else { None };
            let name = segment.get(..end.unwrap_or(segment.len())).unwrap_or(segment);
            let shown = if is_variable(name) { b"{id}" } else { name };
            if n == MAX_SEGMENTS || route.len + 1 + shown.len() > MAX_ROUTE - 2 {
                route.push(b"/*");
                return route.finish();
            }
            route.push(b"/");
            route.push(shown);
        }
        if route.len == 0 {
            route.push(b"/");
        }
        route.finish()
    }
}

/// A route being put together, in place: it is longer than a `CompactString` holds without allocating, and most are
/// built of several pieces.
struct RouteText {
    bytes: [u8; MAX_ROUTE],
    len: usize,
}

impl Default for RouteText {
    fn default() -> Self {
        Self { bytes: [0; MAX_ROUTE], len: 0 }
    }
}

impl RouteText {
    /// Appends a piece; the caller sees to it that it fits.
    fn push(&mut self, piece: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.len..self.len + piece.len()) {
            free.copy_from_slice(piece);
            self.len += piece.len();
        }
    }

    /// Pieces of a `str`, cut at ASCII bytes.
    fn finish(&self) -> CompactString {
        CompactString::from_utf8(self.bytes.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|s| !s.is_empty())
}

/// How many bytes of a segment are of which kind, a byte for each count.
struct KindCounts(u32);

impl KindCounts {
    const DIGIT: u32 = 1;
    const LETTER: u32 = 1 << 8;
    const HEX: u32 = 1 << 16;
    /// Escapes, at signs, masks: text that somebody typed or that was hidden.
    const FREE: u32 = 1 << 24;

    #[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
    const OF_BYTE: [u32; 256] = {
        let mut kinds = [0; 256];
        let mut byte = 0;
        while byte < 128 {
            let it = byte as u8;
            kinds[byte] = Self::DIGIT * it.is_ascii_digit() as u32
                + Self::LETTER * it.is_ascii_alphabetic() as u32
                + Self::HEX * it.is_ascii_hexdigit() as u32
                + Self::FREE * matches!(it, b'%' | b'@' | b'*' | b'\\' | b'=' | b'+') as u32;
            byte += 1;
        }
        kinds
    };

    /// Of at most 255 bytes.
    fn of(segment: &[u8]) -> Self {
        Self(segment.iter().fold(0, |sum, b| sum + Self::OF_BYTE.get(usize::from(*b)).copied().unwrap_or_default()))
    }

    fn count(&self, unit: u32) -> usize {
        (self.0 / unit) as usize & 0xff
    }
}

/// The order of a segment's bytes.
#[derive(Default)]
struct Runs {
    /// Length of the longest run of digits.
    digits: usize,
    /// How often digit, lower and upper case change.
    changes: usize,
}

impl Runs {
    fn of(segment: &[u8]) -> Self {
        let mut runs = Self::default();
        let (mut run, mut last) = (0, 0);
        for byte in segment {
            let class = match byte {
                b'0'..=b'9' => 1,
                b'a'..=b'z' => 2,
                b'A'..=b'Z' => 3,
                _ => 0,
            };
            run = if class == 1 { run + 1 } else { 0 };
            runs.digits = runs.digits.max(run);
            runs.changes += usize::from(class != last && class != 0 && last != 0);
            last = class;
        }
        runs
    }
}

/// Whether a segment looks like an identifier: a number, date, uuid, hash, token, address, free text.
fn is_variable(segment: &[u8]) -> bool {
    if segment.len() > MAX_WORD {
        return true;
    }
    let kinds = KindCounts::of(segment);
    let (digits, letters) = (kinds.count(KindCounts::DIGIT), kinds.count(KindCounts::LETTER));
    let all_hex = kinds.count(KindCounts::HEX) == segment.len();
    if kinds.count(KindCounts::FREE) > 0 || (all_hex && segment.len() >= 16) {
        return true;
    }
    if digits == 0 {
        return false;
    }
    let is_number = letters == 0;
    let is_hex = all_hex && segment.len() >= 7;
    is_number || is_hex || is_mixed(segment, digits, digits + letters)
}

/// `order-12345`, `2024-11-20T…`, `index.4f3a9123.js`: but not `v2`, `oauth2`, `utf-8`.
fn is_mixed(segment: &[u8], digits: usize, alnum: usize) -> bool {
    let runs = Runs::of(segment);
    let has_number = runs.digits >= 4;
    let is_token = digits >= 2 && alnum >= 6 && runs.changes * 2 >= alnum;
    let is_long_token = digits >= 2 && alnum >= 10 && runs.changes * 4 >= alnum;
    has_number || is_token || is_long_token
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(path: &str) -> CompactString {
        RouteRules::default().of(path)
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
        let routes = RouteRules::new(&patterns).unwrap();
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
        assert!(RouteRules::new(&["users".to_owned()]).is_err());
        assert!(RouteRules::new(&vec!["/x".to_owned(); 257]).is_err());
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
