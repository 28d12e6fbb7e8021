//! Where the secrets are in a URL, or in text that may hold URLs: ranges of bytes to mask.
//!
//! Looks at raw bytes and copies none of them. What it does not do is parse a URL properly. A parser can be made to
//! disagree with the server's, so everything that looks like a secret to a careless reader is one.
//!
//! Only printable bytes delimit, so that masking its own escaped output changes nothing.

use std::ops::Range;

use memchr::memchr_iter;

use super::names::percent_decode;
use super::seen::{ByteKind, SeenBytes, is_url_end};
use super::{Looks, MASK, Redactor, credentials, labelled, schemes, userinfo};

/// How often a value may be percent-encoded on top of itself and still be looked into. What is encoded more often is
/// masked as it is.
const MAX_DEPTH: u8 = 3;

type Ranges = Vec<Range<usize>>;

impl Redactor {
    /// The ranges to mask of a text without any telling byte: what looks like a credential.
    pub(super) fn credentials(raw: &[u8], seen: SeenBytes, looks: Looks) -> Ranges {
        let mut found = Ranges::new();
        if looks != Looks::Nothing {
            credentials::find(raw, seen, looks == Looks::Everything, &mut found);
        }
        merge(found)
    }

    /// The ranges to mask, in order, apart from each other.
    pub(super) fn secrets(&self, raw: &[u8], seen: SeenBytes, kind: ByteKind, looks: Looks) -> Ranges {
        merge(Finder { redactor: self, looks, found: Ranges::new(), spared: Ranges::new() }.find(raw, seen, kind, 0))
    }
}

struct Finder<'r> {
    redactor: &'r Redactor,
    looks: Looks,
    found: Ranges,
    /// Values whose names the settings spare: no secret by their looks alone.
    spared: Ranges,
}

impl Finder<'_> {
    fn find(mut self, raw: &[u8], seen: SeenBytes, kind: ByteKind, depth: u8) -> Ranges {
        if seen.has(SeenBytes::AT) {
            userinfo::find(raw, kind, &mut self.found);
        }
        self.find_paths(raw, kind);
        if seen.has(SeenBytes::EQUALS) && !self.redactor.query.is_none() {
            self.find_parameters(raw, kind);
        }
        if seen.has_label() && !self.redactor.query.is_none() {
            labelled::find(raw, |name| self.redactor.query.holds_parameter(name), &mut self.found);
        }
        if seen.has(SeenBytes::BLANK) {
            schemes::find(raw, &mut self.found);
        }
        if self.looks != Looks::Nothing && credentials::may_be_in(raw, seen) {
            let known = self.found.len();
            credentials::find(raw, seen, self.looks == Looks::Everything, &mut self.found);
            self.spare(known);
        }
        if seen.has(SeenBytes::PERCENT) {
            self.find_encoded(raw, kind, depth);
        }
        self.found
    }

    /// Drops what was found from `known` on inside values that the settings spare.
    fn spare(&mut self, known: usize) {
        let Self { spared, found, .. } = self;
        if spared.is_empty() {
            return;
        }
        let is_spared = |range: &Range<usize>| {
            let before = spared.partition_point(|spared| spared.start <= range.start);
            spared.get(before.wrapping_sub(1)).is_some_and(|spared| range.end <= spared.end)
        };
        let by_looks = found.split_off(known);
        found.extend(by_looks.into_iter().filter(|range| !is_spared(range)));
    }

    /// Values of `name=value`, where the name is a secret's.
    fn find_parameters(&mut self, raw: &[u8], kind: ByteKind) {
        let query_from = raw.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(raw.len());
        let query = &self.redactor.query;
        let mut done = 0;
        for at in memchr_iter(b'=', raw) {
            let Some(before) = raw.get(done..at) else { continue };
            let name = match before.iter().rposition(|b| starts_name(*b)) {
                Some(mark) => before.get(mark + 1..).unwrap_or_default(),
                None => before,
            };
            done = at + 1;
            let is_secret = query.holds_parameter(name);
            if is_secret || query.spares(name) {
                let value = value(raw, at + 1, kind, query_from < at);
                if is_secret {
                    done = value.end.max(done);
                    // An empty value stays empty: a mask would say that there was one.
                    self.found.extend((!value.is_empty()).then_some(value));
                } else {
                    self.spared.push(value);
                }
            }
        }
    }

    /// Path segments that REDACT_PATH names, of the target or of each URL in the text.
    fn find_paths(&mut self, raw: &[u8], kind: ByteKind) {
        let paths = &self.redactor.paths;
        if paths.is_empty() {
            return;
        }
        let origin_form = raw.starts_with(b"/");
        let behind_authority = userinfo::authorities(raw, kind).filter_map(|start| {
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
            for pattern in paths {
                masked_until = pattern
                    .find(path, is_end, start, &mut self.found)
                    .map_or(masked_until, |end| end.max(masked_until));
            }
        }
    }

    /// Percent-encoded pieces that hold a secret once decoded: the whole piece, be it a segment, a name or a value.
    fn find_encoded(&mut self, raw: &[u8], kind: ByteKind, depth: u8) {
        let path_len = match kind {
            ByteKind::Target => raw.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(raw.len()),
            ByteKind::Text | ByteKind::Host | ByteKind::Decoded => 0,
        };
        let (path, rest) = raw.split_at_checked(path_len).unwrap_or_default();
        let (mark, rest) = rest.split_at_checked(usize::from(kind == ByteKind::Target)).unwrap_or_default();
        let mut start = 0;
        for segment in path.split(|b| *b == b'/') {
            self.find_encoded_piece(segment, start, self.looks, depth);
            start += segment.len() + 1;
        }
        start = path_len + mark.len();
        let in_text = matches!(kind, ByteKind::Text | ByteKind::Host);
        let ends_pair = |b: &u8| *b == b'&' || (in_text && matches!(b, b'?' | b'#')) || is_url_end(*b, kind);
        for pair in rest.split(ends_pair) {
            let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
            self.find_encoded_piece(name, start, self.looks, depth);
            let value = pair.get(name.len() + 1..).unwrap_or_default();
            let value_start = start + name.len() + 1;
            let is_spared = self.spared.binary_search_by_key(&value_start, |spared| spared.start).is_ok();
            let looks = if is_spared { Looks::Nothing } else { self.looks };
            self.find_encoded_piece(value, value_start, looks, depth);
            start += pair.len() + 1;
        }
    }

    fn find_encoded_piece(&mut self, piece: &[u8], start: usize, looks: Looks, depth: u8) {
        if memchr::memchr(b'%', piece).is_none() {
            return;
        }
        let decoded = percent_decode(piece);
        if decoded == piece {
            return;
        }
        let is_secret = depth == MAX_DEPTH || {
            let inner = Finder { redactor: self.redactor, looks, found: Ranges::new(), spared: Ranges::new() };
            let is_masked = |range: Range<usize>| decoded.get(range) == Some(MASK.as_bytes());
            !inner
                .find(&decoded, SeenBytes::in_bytes(&decoded), ByteKind::Decoded, depth + 1)
                .into_iter()
                .all(is_masked)
        };
        self.found.extend(is_secret.then_some(start..start + piece.len()));
    }
}

/// What is before a name: in a query, a path or a text.
fn starts_name(byte: u8) -> bool {
    matches!(
        byte,
        b'?' | b'&' | b';' | b'#' | b'/' | b' ' | b',' | b'"' | b'\'' | b'<' | b'(' | b'{' | b':' | b'|' | b'+'
    )
}

/// The value that begins at `start`, without its quotes. `;` may be part of it, so it does not end it.
fn value(raw: &[u8], start: usize, kind: ByteKind, in_query: bool) -> Range<usize> {
    let value = raw.get(start..).unwrap_or_default();
    if let (ByteKind::Text | ByteKind::Host, Some((b'"', quoted))) = (kind, value.split_first()) {
        let len = memchr::memchr(b'"', quoted).unwrap_or(quoted.len());
        return start + 1..start + 1 + len;
    }
    let end = match kind {
        // A path parameter, `/a;jsessionid=1/b`.
        ByteKind::Target if !in_query => memchr::memchr3(b'/', b'?', b'#', value),
        ByteKind::Target | ByteKind::Decoded => memchr::memchr(b'&', value),
        ByteKind::Text | ByteKind::Host => value.iter().position(|b| *b == b'&' || is_url_end(*b, kind)),
    };
    start..end.map_or(raw.len(), |len| start + len)
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
