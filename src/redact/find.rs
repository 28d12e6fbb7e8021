//! Where the secrets are in a URL, or in text that may hold URLs: ranges of bytes to mask.
//!
//! Looks at raw bytes and copies none of them; what it does not do is parse a URL properly: a parser can be made to
//! disagree with the server's, so everything that looks like a secret to a careless reader is one.
//!
//! Only printable bytes delimit, so that masking its own escaped output changes nothing.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use super::escape::is_printable;
use super::names::percent_decode;
use super::{MASK, Redactor};

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request-target or a header that is one URL: all of it.
    Target,
    /// Text that may hold URLs: any other header's value.
    Text,
    /// Text, or all of it an authority: a word alone may be `user@host`.
    Host,
    /// What was percent-encoded: a URL or a part of one, all of it.
    Decoded,
}

/// How often a value may be percent-encoded on top of itself and still be looked into.
const MAX_DEPTH: u8 = 3;

/// How far behind an authority with an impossible port its `@` is looked for (`http://u:pass/word@host`).
const MAX_USERINFO: usize = 256;

/// A word behind `Bearer` or the like that is at least this long is taken for a credential.
const MIN_CREDENTIAL: usize = 16;

type Ranges = Vec<Range<usize>>;

/// Which telling bytes a text has, by one look at each byte.
#[derive(Clone, Copy)]
pub(super) struct Seen(u8);

impl Seen {
    pub(super) const AT: u8 = 1;
    pub(super) const EQUALS: u8 = 2;
    pub(super) const PERCENT: u8 = 4;
    pub(super) const SPACE: u8 = 8;
    const UNPRINTABLE: u8 = 16;

    #[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
    const MARKS: [u8; 256] = {
        let mut marks = [0; 256];
        let mut byte = 0u8;
        loop {
            marks[byte as usize] = match byte {
                b'@' => Self::AT,
                b'=' => Self::EQUALS,
                b'%' => Self::PERCENT,
                b' ' => Self::SPACE,
                _ if is_printable(byte) => 0,
                _ => Self::UNPRINTABLE,
            };
            if byte == u8::MAX {
                break marks;
            }
            byte += 1;
        }
    };

    pub(super) fn in_bytes(raw: &[u8]) -> Self {
        Self(raw.iter().fold(0, |seen, byte| seen | Self::MARKS.get(usize::from(*byte)).copied().unwrap_or_default()))
    }

    pub(super) fn has(self, any_of: u8) -> bool {
        self.0 & any_of != 0
    }

    pub(super) fn is_printable(self) -> bool {
        !self.has(Self::UNPRINTABLE)
    }
}

impl Redactor {
    /// The ranges to mask, in order, apart from each other.
    pub(super) fn secrets(&self, raw: &[u8], seen: Seen, kind: Kind) -> Ranges {
        let mut found = Ranges::new();
        self.find_all(raw, seen, kind, 0, &mut found);
        merge(found)
    }

    fn find_all(&self, raw: &[u8], seen: Seen, kind: Kind, depth: u8, found: &mut Ranges) {
        if seen.has(Seen::AT) {
            find_userinfo(raw, kind, found);
        }
        self.find_paths(raw, kind, found);
        if seen.has(Seen::EQUALS) && !self.query.is_none() {
            self.find_parameters(raw, kind, found);
        }
        if seen.has(Seen::SPACE) && kind != Kind::Target {
            find_credentials(raw, found);
        }
        if seen.has(Seen::PERCENT) && depth < MAX_DEPTH {
            self.find_encoded(raw, kind, depth, found);
        }
    }

    /// Values of `name=value`, where the name is a secret's.
    fn find_parameters(&self, raw: &[u8], kind: Kind, found: &mut Ranges) {
        let query_from = raw.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(raw.len());
        let mut done = 0;
        for at in memchr_iter(b'=', raw) {
            let Some(before) = raw.get(done..at) else { continue };
            let name = match before.iter().rposition(|b| starts_name(*b, kind)) {
                Some(mark) => before.get(mark + 1..),
                // In text the first word may be a name.
                None if done == 0 && kind != Kind::Target => Some(before),
                None => None,
            };
            done = at + 1;
            if name.is_some_and(|name| self.query.holds_parameter(name)) {
                let value = value(raw, at + 1, kind, query_from < at);
                done = value.end.max(done);
                // An empty value stays empty: a mask would say that there was one.
                found.extend((!value.is_empty()).then_some(value));
            }
        }
    }

    /// Path segments that REDACT_PATH names, of the target or of each URL in the text.
    fn find_paths(&self, raw: &[u8], kind: Kind, found: &mut Ranges) {
        if self.paths.is_empty() {
            return;
        }
        let origin_form = raw.starts_with(b"/");
        let behind_authority = authorities(raw, kind).filter_map(|start| {
            let slash =
                raw.get(start..)?.iter().position(|b| is_url_end(*b, kind) || matches!(b, b'/' | b'?' | b'#'))?;
            Some(start + slash)
        });
        let is_end = |b: &u8| matches!(b, b'?' | b'#') || is_url_end(*b, kind);
        // What is masked as a whole is not looked into again, however many URLs it holds.
        let mut masked_until = 0;
        for start in origin_form.then_some(0).into_iter().chain(behind_authority) {
            if start < masked_until {
                continue;
            }
            let path = raw.get(start..).unwrap_or_default();
            for pattern in &self.paths {
                masked_until =
                    pattern.find(path, is_end, start, found).map_or(masked_until, |end| end.max(masked_until));
            }
        }
    }

    /// Percent-encoded pieces that hold a secret once decoded: the whole piece, be it a segment, a name or a value.
    fn find_encoded(&self, raw: &[u8], kind: Kind, depth: u8, found: &mut Ranges) {
        let path_len = match kind {
            Kind::Target => raw.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(raw.len()),
            Kind::Text | Kind::Host | Kind::Decoded => 0,
        };
        let (path, rest) = raw.split_at_checked(path_len).unwrap_or_default();
        let (mark, rest) = rest.split_at_checked(usize::from(kind == Kind::Target)).unwrap_or_default();
        let mut start = 0;
        for segment in path.split(|b| *b == b'/') {
            self.find_encoded_piece(segment, start, depth, found);
            start += segment.len() + 1;
        }
        start = path_len + mark.len();
        let in_text = matches!(kind, Kind::Text | Kind::Host);
        let ends_pair = |b: &u8| *b == b'&' || (in_text && matches!(b, b'?' | b'#')) || is_url_end(*b, kind);
        for pair in rest.split(ends_pair) {
            let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
            self.find_encoded_piece(name, start, depth, found);
            let value = pair.get(name.len() + 1..).unwrap_or_default();
            self.find_encoded_piece(value, start + name.len() + 1, depth, found);
            start += pair.len() + 1;
        }
    }

    fn find_encoded_piece(&self, piece: &[u8], start: usize, depth: u8, found: &mut Ranges) {
        if memchr::memchr(b'%', piece).is_none() {
            return;
        }
        let decoded = percent_decode(piece);
        if decoded != piece {
            let mut inner = Ranges::new();
            self.find_all(&decoded, Seen::in_bytes(&decoded), Kind::Decoded, depth + 1, &mut inner);
            let is_masked = |range: Range<usize>| decoded.get(range) == Some(MASK.as_bytes());
            found.extend((!inner.into_iter().all(is_masked)).then_some(start..start + piece.len()));
        }
    }
}

fn starts_name(byte: u8, kind: Kind) -> bool {
    let in_url = matches!(byte, b'?' | b'&' | b';' | b'#');
    in_url || (kind != Kind::Target && matches!(byte, b' ' | b',' | b'"' | b'<' | b'('))
}

/// What ends a URL in text.
fn is_url_end(byte: u8, kind: Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Host) && matches!(byte, b' ' | b'"' | b'<' | b'>')
}

/// The value that begins at `start`, without its quotes. `;` may be part of it, so it does not end it.
fn value(raw: &[u8], start: usize, kind: Kind, in_query: bool) -> Range<usize> {
    let value = raw.get(start..).unwrap_or_default();
    if let (Kind::Text | Kind::Host, Some((b'"', quoted))) = (kind, value.split_first()) {
        let len = memchr::memchr(b'"', quoted).unwrap_or(quoted.len());
        return start + 1..start + 1 + len;
    }
    let is_end = |b: &u8| match kind {
        // A path parameter, `/a;jsessionid=1/b`.
        Kind::Target if !in_query => matches!(b, b'/' | b'?' | b'#'),
        Kind::Target | Kind::Decoded => *b == b'&',
        Kind::Text | Kind::Host => *b == b'&' || is_url_end(*b, kind),
    };
    start..value.iter().position(is_end).map_or(raw.len(), |len| start + len)
}

/// Where authorities begin: behind `://`, behind a leading `//`, and in a target of authority form (CONNECT).
fn authorities(raw: &[u8], kind: Kind) -> impl Iterator<Item = usize> {
    let leading = match kind {
        _ if raw.starts_with(b"//") => Some(2),
        Kind::Target if !raw.starts_with(b"/") => Some(0),
        Kind::Target | Kind::Text | Kind::Host | Kind::Decoded => None,
    };
    leading.into_iter().chain(memmem::find_iter(raw, b"://").map(|at| at + 3))
}

fn find_userinfo(raw: &[u8], kind: Kind, found: &mut Ranges) {
    let mut done = 0;
    for start in authorities(raw, kind) {
        if start >= done
            && let Some(end) = userinfo_end(raw, start, kind)
        {
            found.push(start..end);
            done = end;
        }
    }
    if kind != Kind::Target {
        find_bare_userinfo(raw, kind, found);
    }
}

/// Where the userinfo of the authority at `start` ends, if it has one: the last `@` before the path.
fn userinfo_end(raw: &[u8], start: usize, kind: Kind) -> Option<usize> {
    let rest = raw.get(start..)?;
    let len = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b'\\') || is_url_end(*b, kind));
    let (authority, behind) = rest.split_at_checked(len.unwrap_or(rest.len()))?;
    if let Some(at) = memchr::memrchr(b'@', authority) {
        return Some(start + at);
    }
    // `http://user:pass/word@host/`: what stands for the port is none, so it is a password.
    let port = authority.split(|b| *b == b':').nth(1)?;
    if authority.starts_with(b"[") || port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let near = behind.get(..MAX_USERINFO.min(behind.len()))?;
    let at = memchr::memrchr(b'@', near)?;
    let word = near.get(..at)?.split(|b| is_url_end(*b, kind)).next()?;
    let at = if word.len() == at { at } else { memchr::memrchr(b'@', word)? };
    Some(start + authority.len() + at)
}

/// `user:password@host` without a scheme, and in a host `user@host`. One look at each byte: a text may be all `@`.
fn find_bare_userinfo(raw: &[u8], kind: Kind, found: &mut Ranges) {
    let alone = kind == Kind::Host && !raw.contains(&b' ');
    let (mut start, mut has_colon, mut has_scheme) = (0, false, false);
    for (at, byte) in raw.iter().enumerate() {
        match byte {
            b'@' if (alone || has_colon) && !has_scheme => {
                found.push(start..at);
                (start, has_colon) = (at, false);
            }
            b':' => {
                has_colon = true;
                has_scheme |= raw.get(at..).is_some_and(|rest| rest.starts_with(b"://"));
            }
            byte if is_url_end(*byte, kind) => (start, has_colon, has_scheme) = (at + 1, false, false),
            _ => {}
        }
    }
}

/// A long word behind `Bearer` and the like.
fn find_credentials(raw: &[u8], found: &mut Ranges) {
    for space in memchr_iter(b' ', raw) {
        let (before, behind) = raw.split_at_checked(space).unwrap_or_default();
        // Most words are told apart by their last letter.
        let scheme: &[u8] = match before.last() {
            Some(b'r' | b'R') => b"bearer",
            Some(b'c' | b'C') => b"basic",
            _ => continue,
        };
        if before.get(before.len().wrapping_sub(scheme.len())..).is_some_and(|word| word.eq_ignore_ascii_case(scheme)) {
            let word = behind.get(1..).unwrap_or_default();
            let len = memchr::memchr(b' ', word).unwrap_or(word.len());
            if len >= MIN_CREDENTIAL {
                found.push(space + 1..space + 1 + len);
            }
        }
    }
}

fn merge(mut ranges: Ranges) -> Ranges {
    if ranges.len() < 2 {
        return ranges;
    }
    ranges.sort_unstable_by_key(|r| r.start);
    ranges.dedup_by(|next, kept| {
        let overlaps = next.start <= kept.end;
        if overlaps {
            kept.end = kept.end.max(next.end);
        }
        overlaps
    });
    ranges
}
