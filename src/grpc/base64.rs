//! Base64 as gRPC-Web sends it: in pieces, each of which may be padded. Keeps at most one group of four digits.

/// Decodes a stream of base64.
#[derive(Clone, Debug, Default)]
pub(super) struct Base64Decoder {
    bits: u32,
    digits: u8,
    pads: u8,
}

impl Base64Decoder {
    /// Decodes the next bytes, piece by piece; `false` where they are no base64.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> bool {
        let (mut out, mut len) = ([0; 96], 0);
        for byte in bytes {
            let Some(group) = self.digit(*byte) else { return false };
            for byte in group.into_iter().flatten() {
                if let Some(place) = out.get_mut(len) {
                    (*place, len) = (byte, len + 1);
                }
            }
            if len + 3 > out.len() {
                each(out.get(..len).unwrap_or_default());
                len = 0;
            }
        }
        each(out.get(..len).unwrap_or_default());
        true
    }

    /// One more digit; the bytes of the group that it completes. `None`: it is none.
    fn digit(&mut self, byte: u8) -> Option<[Option<u8>; 3]> {
        let value = match byte {
            b'=' if self.digits >= 2 => 0,
            _ if self.pads > 0 => return None,
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        self.bits = self.bits << 6 | u32::from(value);
        self.digits += 1;
        self.pads += u8::from(byte == b'=');
        if self.digits < 4 {
            return Some([None; 3]);
        }
        let ([_, a, b, c], pads) = (self.bits.to_be_bytes(), self.pads);
        *self = Self::default();
        Some([Some(a), Some(b).filter(|_| pads < 2), Some(c).filter(|_| pads < 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_padded_by_themselves_and_anything_else_is_no_base64() {
        for (text, expected) in [
            ("", Some("")),
            ("YQ==", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJj", Some("abc")),
            ("YQ==YWI=YWJj", Some("aababc")),
            ("YWJjZ", Some("abc")),
            ("YQ=a", None),
            ("Y===", None),
            ("YW-j", None),
            ("YW\n", None),
        ] {
            let mut out = Vec::new();
            let whole = Base64Decoder::default().take(text.as_bytes(), |piece| out.extend_from_slice(piece));
            assert_eq!(whole.then(|| String::from_utf8(out).unwrap()).as_deref(), expected, "{text}");
        }
    }
}
