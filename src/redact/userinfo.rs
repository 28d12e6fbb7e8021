//! User information: what is before the `@` of an authority, or of what may be one.

use std::ops::Range;

use memchr::memmem;

use super::seen::{ByteKind, is_url_end};

/// How far behind an authority with an impossible port its `@` is looked for (`http://u:pass/word@host`).
const MAX_USERINFO: usize = 256;

/// Where authorities begin: behind `://`, behind a leading `//`, and in a target of authority form (CONNECT).
pub(super) fn authorities(raw: &[u8], kind: ByteKind) -> impl Iterator<Item = usize> {
    let leading = match kind {
        _ if raw.starts_with(b"//") => Some(2),
        ByteKind::Target if !raw.starts_with(b"/") => Some(0),
        ByteKind::Target | ByteKind::Text | ByteKind::Host | ByteKind::Decoded => None,
    };
    leading.into_iter().chain(memmem::find_iter(raw, b"://").map(|at| at + 3))
}

/// Adds what is user information.
pub(super) fn find(raw: &[u8], kind: ByteKind, found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for start in authorities(raw, kind) {
        if start >= done
            && let Some(end) = userinfo_end(raw, start, kind)
        {
            found.push(start..end);
            done = end;
        }
    }
    find_bare(raw, kind, found);
}

/// Where the userinfo of the authority at `start` ends, if it has one: the last `@` before the path.
fn userinfo_end(raw: &[u8], start: usize, kind: ByteKind) -> Option<usize> {
    let rest = raw.get(start..)?;
    let len = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b'\\') || is_url_end(*b, kind));
    let (authority, behind) = rest.split_at_checked(len.unwrap_or(rest.len()))?;
    if let Some(at) = memchr::memrchr(b'@', authority) {
        return Some(start + at);
    }
    // `http://user:pass/word@host/`: what means the port is none, so it is a password.
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
fn find_bare(raw: &[u8], kind: ByteKind, found: &mut Vec<Range<usize>>) {
    let alone = kind == ByteKind::Host && !raw.contains(&b' ');
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
            byte if ends_word(*byte, kind) => (start, has_colon, has_scheme) = (at + 1, false, false),
            _ => {}
        }
    }
}

fn ends_word(byte: u8, kind: ByteKind) -> bool {
    let in_target = kind == ByteKind::Target && matches!(byte, b'/' | b'?' | b'&' | b'=' | b'#' | b';');
    in_target || is_url_end(byte, kind)
}
