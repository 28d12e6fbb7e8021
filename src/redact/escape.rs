//! Bytes of the wire to printable text: `\xNN` for all that is not printable ASCII.
//!
//! A backslash of the wire stays as it is, so that text which needs no escape is exactly what was sent. The
//! price is that `\x41` in a record may be one byte escaped or four bytes sent. Knows no secrets.

use compact_str::CompactString;

/// What escaping may add to one text. A binary URL would make a record four times its size, in each field that holds a
/// part of it, and JSON doubles every backslash. What is behind is left out, and the text says how much that is.
pub const MAX_ESCAPE_GROWTH: usize = 6 << 10;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte may be in a record, and on a terminal, as it is.
pub(crate) const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f)
}

/// Appends `bytes` to `out`, all of it printable.
pub(crate) fn escape_into(out: &mut CompactString, bytes: &[u8]) {
    for run in bytes.chunk_by(|a, b| is_printable(*a) && is_printable(*b)) {
        match (run, std::str::from_utf8(run)) {
            ([byte], _) if !is_printable(*byte) => push_hex(out, *byte),
            (_, Ok(text)) => out.push_str(text),
            (_, Err(_)) => run.iter().for_each(|byte| push_hex(out, *byte)),
        }
    }
}

/// Appends `bytes` to `out` as UTF-8. Invalid bytes become hex, and so does every character that controls a terminal or turns
/// the direction of text round, but for tab and line ends.
pub(super) fn escape_prose_into(out: &mut CompactString, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                out.push(character);
            } else {
                character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_hex(out, byte));
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(out, *byte));
    }
}

fn is_plain(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => false,
        _ => !character.is_control(),
    }
}

fn push_hex(out: &mut CompactString, byte: u8) {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).map_or('0', |d| char::from(*d));
    out.push_str("\\x");
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}

/// `bytes` as printable text.
pub fn escape(bytes: &[u8]) -> CompactString {
    if bytes.iter().fold(true, |all, b| all & is_printable(*b)) { copied(bytes) } else { escaped(bytes) }
}

/// Printable bytes as they are: printable ASCII is UTF-8, so that the check costs what a copy costs.
pub(super) fn copied(bytes: &[u8]) -> CompactString {
    std::str::from_utf8(bytes).map_or_else(|_| escaped(bytes), CompactString::new)
}

/// Appends printable bytes as they are.
pub(super) fn push_printable(out: &mut CompactString, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.push_str(text),
        Err(_) => escape_into(out, bytes),
    }
}

#[cold]
fn escaped(bytes: &[u8]) -> CompactString {
    let (kept, left_out) = bytes.split_at_checked(growing_within(bytes, MAX_ESCAPE_GROWTH)).unwrap_or((bytes, &[]));
    let mut out = CompactString::with_capacity(kept.len() + 16);
    escape_into(&mut out, kept);
    say_left_out(&mut out, left_out.len());
    out
}

/// How many leading bytes grow by at most `most` when they are escaped.
pub(super) fn growing_within(bytes: &[u8], most: usize) -> usize {
    // `\xNN` is three bytes more than the byte itself.
    let over = bytes.iter().enumerate().filter(|(_, byte)| !is_printable(**byte)).nth(most / 3);
    over.map_or(bytes.len(), |(index, _)| index)
}

/// At the end of a text that was cut.
pub(super) fn say_left_out(out: &mut CompactString, bytes: usize) {
    if bytes > 0 {
        out.push_str("...(");
        out.push_str(&bytes.to_string());
        out.push_str(" bytes left out)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_bytes_and_bytes_above_ascii_become_hex() {
        for (bytes, expected) in [
            (&b"plain text"[..], "plain text"),
            (b"", ""),
            (b"\x1b[31mred", "\\x1b[31mred"),
            (b"caf\xc3\xa9", "caf\\xc3\\xa9"),
            (b"a\tb\r\n\0\x7f", "a\\x09b\\x0d\\x0a\\x00\\x7f"),
            (b"back\\slash", "back\\slash"),
        ] {
            assert_eq!(escape(bytes), expected);
        }
    }

    #[test]
    fn prose_keeps_its_letters_and_loses_what_controls() {
        for (bytes, expected) in [
            ("a\tb\r\ncafé ☺ 😈".as_bytes(), "a\tb\r\ncafé ☺ 😈"),
            (b"\x1b[31mred \0\x7f", "\\x1b[31mred \\x00\\x7f"),
            ("\u{9b}31m \u{202e}txt.exe".as_bytes(), "\\xc2\\x9b31m \\xe2\\x80\\xaetxt.exe"),
            (b"half \xe2\x98", "half \\xe2\\x98"),
        ] {
            let mut out = CompactString::default();
            escape_prose_into(&mut out, bytes);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn escaping_makes_no_text_much_longer_and_says_what_it_left_out() {
        let binary = vec![0x80; 40_000];
        let text = escape(&binary);
        let kept = MAX_ESCAPE_GROWTH / 3;
        assert_eq!(text, format!("{}...({} bytes left out)", "\\x80".repeat(kept), 40_000 - kept));
        // Long, but hardly anything to escape in it.
        let long = [b"a".repeat(40_000).as_slice(), b"\x80"].concat();
        assert_eq!(escape(&long).len(), 40_004);
        for n in [0, 1, kept, kept + 1, 40_000] {
            let mixed: Vec<u8> = [b"a".repeat(n), vec![0; n]].concat();
            assert!(escape(&mixed).len() <= mixed.len() + MAX_ESCAPE_GROWTH + 40, "{n}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_printable_ascii_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let text = escape(&bytes);
            prop_assert!(text.bytes().all(is_printable));
            prop_assert_eq!(escape(text.as_bytes()), text);
        }
    }
}
