//! What one look at bytes says: their kinds, which of them a text has, and what ends a URL in it.
//!
//! Says where nothing can be; finds no secret.

use super::escape::is_printable;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteKind {
    /// A request-target or a header that is one URL: all of it.
    Target,
    /// Text that may hold URLs: any other header's value.
    Text,
    /// Text, or all of it an authority: a word alone may be `user@host`.
    Host,
    /// What was percent-encoded: a URL or a part of one, all of it.
    Decoded,
}

/// Kinds of bytes, one bit each; 0 ends a word.
pub(super) struct ByteKinds;

impl ByteKinds {
    pub(super) const LOWER: u8 = 1;
    pub(super) const UPPER: u8 = 2;
    pub(super) const DIGIT: u8 = 4;
    pub(super) const MIXED: u8 = Self::LOWER | Self::UPPER | Self::DIGIT;
    /// `-`, `_`, `.`
    pub(super) const JOINT: u8 = 8;

    #[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
    pub(super) const OF_BYTE: [u8; 256] = {
        let mut kinds = [0; 256];
        let mut byte = 0;
        while byte < 128 {
            kinds[byte] = match byte as u8 {
                b'a'..=b'z' => Self::LOWER,
                b'A'..=b'Z' => Self::UPPER,
                b'0'..=b'9' => Self::DIGIT,
                b'-' | b'_' | b'.' => Self::JOINT,
                _ => 0,
            };
            byte += 1;
        }
        kinds
    };

    pub(super) fn of(byte: u8) -> u8 {
        Self::OF_BYTE.get(usize::from(byte)).copied().unwrap_or_default()
    }
}

/// Which telling bytes a text has, by one look at each byte.
#[derive(Clone, Copy)]
pub(super) struct SeenBytes(u16);

impl SeenBytes {
    pub(super) const CAPITAL: u16 = ByteKinds::UPPER as u16;
    pub(super) const DIGIT: u16 = ByteKinds::DIGIT as u16;
    pub(super) const AT: u16 = 1 << 4;
    pub(super) const EQUALS: u16 = 1 << 5;
    pub(super) const PERCENT: u16 = 1 << 6;
    /// Also `+`, a blank in a query.
    pub(super) const BLANK: u16 = 1 << 7;
    const UNPRINTABLE: u16 = 1 << 8;
    const COLON: u16 = 1 << 9;
    /// Quotes and brackets, as JSON has them.
    const BRACKET: u16 = 1 << 10;
    /// What no credential has inside.
    pub(super) const WORD_END: u16 = 1 << 11;

    /// The lowest four bits are of `ByteKinds`.
    #[allow(clippy::indexing_slicing, reason = "runs in the compiler, where a panic is an error of compilation")]
    const MARKS: [u16; 256] = {
        let mut marks = [0; 256];
        let mut byte = 0u8;
        loop {
            let telling = match byte {
                b'@' => Self::AT,
                b'=' => Self::EQUALS,
                b'%' => Self::PERCENT,
                b' ' | b'+' => Self::BLANK,
                b':' => Self::COLON,
                b'"' | b'\'' | b'`' | b'{' | b'(' => Self::BRACKET,
                _ if is_printable(byte) => 0,
                _ => Self::UNPRINTABLE,
            };
            let kind = ByteKinds::OF_BYTE[byte as usize] as u16;
            marks[byte as usize] = telling | if kind == 0 { Self::WORD_END } else { kind };
            if byte == u8::MAX {
                break marks;
            }
            byte += 1;
        }
    };

    pub(super) fn in_bytes(raw: &[u8]) -> Self {
        Self(raw.iter().fold(0, |seen, byte| seen | Self::MARKS.get(usize::from(*byte)).copied().unwrap_or_default()))
    }

    pub(super) fn has(self, any_of: u16) -> bool {
        self.0 & any_of != 0
    }

    /// The `ByteKinds` that occur.
    pub(super) fn kinds(self) -> u8 {
        self.0.to_le_bytes()[0] & (ByteKinds::LOWER | ByteKinds::UPPER | ByteKinds::DIGIT | ByteKinds::JOINT)
    }

    pub(super) fn is_printable(self) -> bool {
        !self.has(Self::UNPRINTABLE)
    }

    /// Whether a name and a colon may label a value.
    pub(super) fn has_label(self) -> bool {
        self.has(Self::COLON) && self.has(Self::BRACKET | Self::BLANK)
    }
}

/// What ends a URL in text.
pub(super) fn is_url_end(byte: u8, kind: ByteKind) -> bool {
    matches!(kind, ByteKind::Text | ByteKind::Host) && matches!(byte, b' ' | b'"' | b'<' | b'>')
}
