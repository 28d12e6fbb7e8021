//! Bytes of the wire to printable text: `\xNN` for all that is not printable ASCII.
//!
//! A backslash of the wire stays as it is, so that text which needs no escape is exactly what was sent; the
//! price is that `\x41` in a record may be one byte escaped or four bytes sent. Knows no secrets.

use compact_str::CompactString;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte may stand in a record, and on a terminal, as it is.
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

#[cold]
fn escaped(bytes: &[u8]) -> CompactString {
    let mut out = CompactString::with_capacity(bytes.len() + 16);
    escape_into(&mut out, bytes);
    out
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

    proptest! {
        #[test]
        fn nothing_but_printable_ascii_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let text = escape(&bytes);
            prop_assert!(text.bytes().all(is_printable));
            prop_assert_eq!(escape(text.as_bytes()), text);
        }
    }
}
