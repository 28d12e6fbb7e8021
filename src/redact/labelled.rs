//! Secrets behind a name and a colon: JSON (`"password": "…"`), arguments of GraphQL (`login(password: "…")`), what somebody
//! wrote out (`X-Api-Key: …`).
//!
//! Parses no JSON: what is cut off or escaped is found too. A colon alone labels nothing (`auth-service:8080`).

use std::ops::Range;

use memchr::memchr_iter;

/// Longest name looked at.
const MAX_NAME: usize = 96;

/// Adds the values whose name is a secret one.
pub(super) fn find(raw: &[u8], is_secret: impl Fn(&[u8]) -> bool, found: &mut Vec<Range<usize>>) {
    let mut done = 0;
    for colon in memchr_iter(b':', raw) {
        if colon < done {
            continue;
        }
        let before = raw.get(done.max(colon.saturating_sub(MAX_NAME))..colon).unwrap_or_default();
        let behind = raw.get(colon + 1..).unwrap_or_default();
        if label(before, behind).is_some_and(&is_secret) {
            let value = value(raw, colon + 1);
            done = value.end.max(colon + 1);
            found.extend((!value.is_empty()).then_some(value));
        }
    }
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'+')
}

/// The name before a colon, where it is one of a value: in quotes, inside brackets, or with a blank or a quote behind it.
fn label<'a>(before: &'a [u8], behind: &[u8]) -> Option<&'a [u8]> {
    let end = before.iter().rposition(|b| !is_blank(*b))? + 1;
    let text = before.get(..end)?;
    let quoted = text.last().is_some_and(|b| is_quote(*b));
    let text = if quoted {
        let end = text.iter().rposition(|b| !(is_quote(*b) || *b == b'\\'))? + 1;
        text.get(..end)?
    } else {
        text
    };
    let is_end = |b: &u8| {
        is_quote(*b)
            || is_blank(*b)
            || matches!(
                b,
                b'{' | b'}'
                    | b'('
                    | b')'
                    | b'['
                    | b','
                    | b';'
                    | b':'
                    | b'&'
                    | b'='
                    | b'?'
                    | b'/'
                    | b'<'
                    | b'>'
                    | b'|'
                    | b'$'
            )
    };
    let start = text.iter().rposition(is_end).map_or(0, |at| at + 1);
    let inside = text
        .iter()
        .rev()
        .skip(text.len() - start)
        .find(|b| !is_blank(**b))
        .is_some_and(|b| matches!(b, b'{' | b'(' | b','));
    let follows = behind.first().is_some_and(|b| is_blank(*b) || is_quote(*b) || *b == b'\\');
    (quoted || inside || follows).then(|| text.get(start..))?
}

/// The value that begins at `start`: what is in quotes, or a word, or a whole object or list.
fn value(raw: &[u8], start: usize) -> Range<usize> {
    let rest = raw.get(start..).unwrap_or_default();
    let blanks = rest.iter().take_while(|b| is_blank(**b)).count();
    let escapes = rest.iter().skip(blanks).take_while(|b| **b == b'\\').count();
    let from = blanks + escapes;
    let (from, len) = match rest.get(from..).and_then(|value| value.split_first()) {
        Some((quote, text)) if is_quote(*quote) => (from + 1, quoted_len(text, *quote, escapes)),
        Some((b'{' | b'[', text)) => (from, text.len() + 1),
        _ => {
            let is_end =
                |b: &u8| is_blank(*b) || is_quote(*b) || matches!(b, b',' | b'}' | b')' | b']' | b'&' | b';' | b'<');
            let text = rest.get(blanks..).unwrap_or_default();
            (blanks, text.iter().position(is_end).unwrap_or(text.len()))
        }
    };
    start + from..start + from + len
}

/// How long a text is that a quote behind as many backslashes as its first one ends, or behind fewer.
fn quoted_len(text: &[u8], quote: u8, escapes: usize) -> usize {
    let mut backslashes = 0;
    for (at, byte) in text.iter().enumerate() {
        match *byte {
            b'\\' => backslashes += 1,
            byte if byte == quote && backslashes <= escapes => return at - backslashes,
            _ => backslashes = 0,
        }
    }
    text.len()
}
