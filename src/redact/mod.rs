//! Secrets out, control bytes escaped: what the wire says becomes what a record may say.
//!
//! Every byte of the network that is stored passes here first, so no queue, file, log or metric ever holds a
//! secret this module knows. It does not decide what is stored (`http` does), and sees no bodies.

mod arguments;
mod credentials;
mod escape;
mod find;
mod labelled;
mod names;
mod path;
mod recent;
mod schemes;
mod seen;
#[cfg(test)]
mod tests;
mod userinfo;
mod words;

use compact_str::CompactString;

pub(crate) use self::escape::escape_into;
pub use self::escape::{MAX_ESCAPE_GROWTH, escape};
use self::escape::{copied, escape_prose_into, growing_within, push_printable, say_left_out};
pub use self::names::NameList;
use self::path::PathPattern;
pub(crate) use self::recent::RecentTexts;
use self::seen::{ByteKind, SeenBytes};
use crate::glob::BadPattern;

/// What is in place of a secret, whatever its length.
pub const MASK: &str = "****";

/// Authentication schemes that may be shown; anything else before the credentials could be a credential itself.
const SCHEMES: &[&str] = &[
    "apikey",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "digest",
    "dpop",
    "hoba",
    "mutual",
    "negotiate",
    "ntlm",
    "scram-sha-256",
    "sharedkey",
    "token",
    "vapid",
];

/// Headers whose value is one URL, to its end. URLs inside other values (Link, Refresh) are found by their looks.
const URL_HEADERS: &[&str] = &[
    "referer",
    "location",
    "content-location",
    "origin",
    "destination",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-envoy-original-path",
    "x-accel-redirect",
];

/// Headers whose value is there to be compared: only what an issuer marked is a credential in them.
const IDENTIFIERS: &[&str] = &["x-request-id", "x-correlation-id", "traceparent", "tracestate", "b3"];

/// Masks secrets and escapes bytes outside printable ASCII as `\xNN`.
///
/// A secret is known by its name, by where it is (user information of a URL, REDACT_PATH) or by its looks (a JSON Web
/// Token, `ghp_…`). With both name lists `none` and no path pattern nothing is masked: then [`target`](Self::target)
/// returns exactly what was sent, but for escapes. With one of them `none` looks count no more where it applies: the
/// parameters' in URLs, the headers' in all other text.
#[derive(Clone, Debug)]
pub struct Redactor {
    headers: NameList,
    query: NameList,
    paths: Vec<PathPattern>,
    off: bool,
    fields: SecretFields,
}

/// Which of the headers that become fields are secrets: asked for every exchange, so looked up once.
#[derive(Clone, Copy, Debug)]
struct SecretFields {
    user_agent: bool,
    referrer: bool,
    request_id: bool,
}

/// What is masked for its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    Nothing,
    /// What an issuer marked, and what is made like nothing else.
    Marked,
    /// Also long words without any mark.
    Everything,
}

/// The built-in names, no path patterns.
impl Default for Redactor {
    fn default() -> Self {
        Self::of(NameList::default(), NameList::default(), Vec::new())
    }
}

impl Redactor {
    /// From REDACT_HEADERS, REDACT_QUERY and REDACT_PATH.
    ///
    /// A path pattern is a path whose segments with a wildcard are masked: `/reset/*` masks all that follows
    /// `/reset/`, `/users/{name}/orders` masks one segment.
    pub fn new(headers: NameList, query: NameList, paths: &[String]) -> Result<Self, BadPattern> {
        let paths = paths.iter().map(|p| PathPattern::new(p)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(headers, query, paths))
    }

    /// Masks nothing, still escapes.
    pub fn off() -> Self {
        Self::of(NameList::none(), NameList::none(), Vec::new())
    }

    fn of(headers: NameList, query: NameList, paths: Vec<PathPattern>) -> Self {
        let off = headers.is_none() && query.is_none() && paths.is_empty();
        let fields = SecretFields {
            user_agent: headers.holds_header(b"user-agent"),
            referrer: headers.holds_header(b"referer"),
            request_id: headers.holds_header(b"x-request-id"),
        };
        Self { headers, query, paths, off, fields }
    }

    /// Whether the value of this header is a secret as a whole.
    pub fn is_secret_header(&self, name: &[u8]) -> bool {
        self.headers.holds_header(name)
    }

    /// The value of User-Agent, as [`header_value`](Self::header_value) gives it.
    pub fn user_agent(&self, value: &[u8]) -> CompactString {
        self.field(self.fields.user_agent, b"user-agent", value, ByteKind::Text, Looks::Everything)
    }

    /// The value of Referer, likewise.
    pub fn referrer(&self, value: &[u8]) -> CompactString {
        self.field(self.fields.referrer, b"referer", value, ByteKind::Target, Looks::Everything)
    }

    /// The value of X-Request-Id, likewise.
    pub fn request_id(&self, value: &[u8]) -> CompactString {
        self.field(self.fields.request_id, b"x-request-id", value, ByteKind::Text, Looks::Marked)
    }

    fn field(&self, is_secret: bool, name: &[u8], value: &[u8], kind: ByteKind, looks: Looks) -> CompactString {
        if is_secret { masked_value(name, value) } else { self.apply(value, kind, looks) }
    }

    /// The value of a header: masked if it is a secret, else with the URLs in it masked.
    ///
    /// Headers that become fields of their own have a method each, so that REDACT_HEADERS holds for them too.
    pub fn header_value(&self, name: &[u8], value: &[u8]) -> CompactString {
        if self.is_secret_header(name) {
            return masked_value(name, value);
        }
        if credentials::is_cut_by_colon(name, value) && !self.headers.is_none() && !self.headers.spares(name) {
            return CompactString::const_new(MASK);
        }
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        let kind = match name {
            _ if URL_HEADERS.iter().any(is) => ByteKind::Target,
            _ if is(&"host") => ByteKind::Host,
            _ => ByteKind::Text,
        };
        let looks = match name {
            _ if self.headers.spares(name) => Looks::Nothing,
            _ if IDENTIFIERS.iter().any(is) => Looks::Marked,
            _ => Looks::Everything,
        };
        self.apply(value, kind, looks)
    }

    /// A request-target.
    pub fn target(&self, target: &[u8]) -> CompactString {
        self.apply(target, ByteKind::Target, Looks::Everything)
    }

    /// Any other text of the wire: a host, a reason phrase, a method, a media type, a header's name.
    pub fn text(&self, bytes: &[u8]) -> CompactString {
        self.apply(bytes, ByteKind::Host, Looks::Everything)
    }

    /// Text for people, in UTF-8: an error message. Only what is no text, and what controls a terminal, is escaped.
    pub fn prose(&self, bytes: &[u8]) -> CompactString {
        self.applied(bytes, ByteKind::Host, Looks::Everything, escape_prose_into)
    }

    fn apply(&self, raw: &[u8], kind: ByteKind, looks: Looks) -> CompactString {
        self.applied(raw, kind, looks, escape_into)
    }

    #[inline]
    fn applied(
        &self,
        raw: &[u8],
        kind: ByteKind,
        looks: Looks,
        escape_into: fn(&mut CompactString, &[u8]),
    ) -> CompactString {
        let seen = SeenBytes::in_bytes(raw);
        let names = if kind == ByteKind::Target { &self.query } else { &self.headers };
        let looks = if names.is_none() { Looks::Nothing } else { looks };
        let secrets = match (self.off, self.may_hold_secret(seen)) {
            (false, true) => self.secrets(raw, seen, kind, looks),
            (false, false) if credentials::may_be_in(raw, seen) => Self::credentials(raw, seen, looks),
            // Nearly every short text passes by here.
            (true, _) | (false, false) => Vec::new(),
        };
        if secrets.is_empty() && seen.is_printable() {
            return copied(raw);
        }
        // Cut first: what is left out holds no secret that would need a mask. What is printable does not grow.
        let kept = if seen.is_printable() { raw.len() } else { growing_within(raw, MAX_ESCAPE_GROWTH) };
        let escape_into = if seen.is_printable() { push_printable } else { escape_into };
        let mut out = CompactString::with_capacity(kept);
        let mut done = 0;
        for range in secrets.into_iter().filter(|range| range.start < kept) {
            escape_into(&mut out, raw.get(done..range.start).unwrap_or_default());
            out.push_str(MASK);
            done = range.end;
        }
        escape_into(&mut out, raw.get(done..kept).unwrap_or_default());
        say_left_out(&mut out, raw.len().saturating_sub(kept.max(done)));
        out
    }

    /// Whether the bytes are there without which there is no secret but for its looks.
    fn may_hold_secret(&self, seen: SeenBytes) -> bool {
        seen.has(SeenBytes::AT | SeenBytes::EQUALS | SeenBytes::PERCENT | SeenBytes::BLANK)
            || seen.has_label()
            || !self.paths.is_empty()
    }
}

/// `Bearer ****` for credentials behind a known scheme, else `****`.
fn masked_value(name: &[u8], value: &[u8]) -> CompactString {
    let carries_scheme = |suffix: &[u8]| name.len() >= suffix.len() && name.to_ascii_lowercase().ends_with(suffix);
    if (carries_scheme(b"authorization") || carries_scheme(b"authenticate"))
        && let Some(scheme) = value.split(|b| *b == b' ').next()
        && SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
        && scheme.len() < value.len()
    {
        let mut out = escape(scheme);
        out.push(' ');
        out.push_str(MASK);
        return out;
    }
    CompactString::const_new(MASK)
}
