//! Credentials behind the name of their scheme, in any text: `Bearer …`, `Basic …`, `Token …`.
//!
//! A header that carries nothing else is known by its name and masked as a whole.

use std::ops::Range;

/// A word behind a scheme that is at least this long is taken for a credential.
const MIN_CREDENTIAL: usize = 16;
/// A shorter one if it has a digit, or capitals behind its first letter: `Basic auth required` is text.
const MIN_ODD: usize = 6;

/// Adds the words behind the names of schemes.
pub(super) fn find(raw: &[u8], found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for blank in memchr::memchr2_iter(b' ', b'+', raw) {
        let (before, behind) = raw.split_at_checked(blank).unwrap_or_default();
        if blank < done || !ends_in_scheme(before) {
            continue;
        }
        let start = blank + behind.iter().take_while(|b| matches!(b, b' ' | b'+')).count();
        let rest = raw.get(start..).unwrap_or_default();
        let is_end = |b: &u8| matches!(b, b' ' | b'"' | b'\'' | b',' | b';' | b'&' | b'<' | b'>');
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        done = start + len;
        if rest.get(..len).is_some_and(is_credential) {
            found.push(start..done);
        }
    }
}

fn is_credential(word: &[u8]) -> bool {
    let is_odd = || word.iter().skip(1).any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    word.len() >= MIN_CREDENTIAL || (word.len() >= MIN_ODD && is_odd())
}

fn ends_in_scheme(before: &[u8]) -> bool {
    // Most words are distinguished by their last letter.
    let schemes: &[&str] = match before.last().map_or(0, u8::to_ascii_lowercase) {
        b'r' => &["bearer"],
        b'c' => &["basic"],
        b'n' => &["token"],
        b'e' => &["negotiate"],
        b'm' => &["ntlm"],
        b'p' => &["dpop"],
        b'y' => &["apikey", "api-key", "sso-key"],
        _ => return false,
    };
    let ends_with = |scheme: &&str| {
        let word = before.get(before.len().wrapping_sub(scheme.len())..);
        word.is_some_and(|word| word.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    schemes.iter().any(ends_with)
}
