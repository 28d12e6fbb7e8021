//! gRPC on top of a body: messages counted across frames and chunks, and what its headers say.
//!
//! Sees no frame boundaries and keeps no message. gRPC-Web ends with a frame of trailers in the body, which is kept
//! instead of counted.

use compact_str::CompactString;

/// Longest trailers of gRPC-Web that are kept.
const MAX_TRAILERS: usize = 1024;

/// What a media type says of the protocol inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Grpc,
    /// gRPC-Web, its status in the body.
    Web,
}

/// The flavour of a Content-Type.
pub(crate) fn flavour(content_type: &[u8]) -> Option<Flavour> {
    let (base, rest) = content_type.split_at_checked(16)?;
    if !base.eq_ignore_ascii_case(b"application/grpc") {
        return None;
    }
    match rest {
        [] | [b'+' | b';' | b' ', ..] => Some(Flavour::Grpc),
        // In base64: messages cannot be counted without decoding.
        [b'-', b'w', b'e', b'b', b'-', b't', b'e', b'x', b't', ..] => None,
        [b'-', b'w', b'e', b'b', ..] => Some(Flavour::Web),
        _ => None,
    }
}

/// Counts the length-prefixed messages of one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    prefix: [u8; 5],
    have: u8,
    /// Bytes of the message under way that are still to come.
    left: u32,
    in_trailers: bool,
    trailers: Vec<u8>,
    count: u64,
    /// Where messages begin is not known any more.
    lost: bool,
}

impl Messages {
    /// Takes the next bytes; says how many messages ended in them.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let before = self.count;
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let n = bytes.len().min(self.left as usize);
                let (payload, rest) = bytes.split_at_checked(n).unwrap_or_default();
                if self.in_trailers && self.trailers.len() + n <= MAX_TRAILERS {
                    self.trailers.extend_from_slice(payload);
                }
                bytes = rest;
                self.advance(n as u32);
                continue;
            }
            let need = self.prefix.len() - usize::from(self.have);
            let (part, rest) = bytes.split_at_checked(need.min(bytes.len())).unwrap_or_default();
            for byte in part {
                if let Some(place) = self.prefix.get_mut(usize::from(self.have)) {
                    *place = *byte;
                }
                self.have += 1;
            }
            bytes = rest;
            if usize::from(self.have) == self.prefix.len() {
                self.begin();
            }
        }
        self.count - before
    }

    fn begin(&mut self) {
        let [flags, a, b, c, d] = self.prefix;
        // Compressed or not; gRPC-Web marks its trailers.
        self.lost = flags & 0x7e != 0;
        self.in_trailers = flags & 0x80 != 0;
        (self.have, self.left) = (0, u32::from_be_bytes([a, b, c, d]));
        if self.left == 0 {
            self.advance(0);
        }
    }

    fn advance(&mut self, n: u32) {
        self.left -= n;
        if self.left == 0 && !self.in_trailers {
            self.count += 1;
        }
    }

    /// The next `len` bytes are missing: harmless inside a message.
    pub(crate) fn skip(&mut self, len: u64) {
        if len > 0 && u64::from(self.left) >= len && !self.in_trailers {
            self.advance(len as u32);
        } else if len > 0 {
            self.lose();
        }
    }

    /// No one knows how many bytes are missing.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Messages that are whole; none where that is not known.
    pub(crate) fn count(&self) -> Option<u64> {
        (!self.lost).then_some(self.count)
    }

    /// The trailers of gRPC-Web: the value of `name` in them.
    pub(crate) fn trailer(&self, name: &[u8]) -> Option<&[u8]> {
        let mut lines = self.trailers.split(|b| *b == b'\n').filter(|_| self.left == 0);
        lines.find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (found, value) = line.split_at_checked(colon)?;
            found.trim_ascii().eq_ignore_ascii_case(name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
        })
    }
}

/// The number of `grpc-status`.
pub(crate) fn status(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok().filter(|text| text.len() <= 9)?.parse().ok()
}

/// `grpc-timeout` in microseconds: at most eight digits and a unit.
pub(crate) fn timeout_us(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => number * 3_600_000_000,
        b'M' => number * 60_000_000,
        b'S' => number * 1_000_000,
        b'm' => number * 1_000,
        b'u' => number,
        b'n' => number / 1_000,
        _ => return None,
    })
}

/// `grpc-message`, percent-decoded; what is no code stays as it is.
pub(crate) fn message(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    out
}

/// `pkg.Service/Method` of a path, without its query.
pub(crate) fn method(target: &str) -> Option<CompactString> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let (service, method) = path.rsplit_once('/')?;
    (!service.is_empty() && !method.is_empty()).then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(lengths: &[usize]) -> Vec<u8> {
        lengths.iter().flat_map(|len| [&[0][..], &(*len as u32).to_be_bytes(), &vec![7; *len]].concat()).collect()
    }

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(lengths in proptest::collection::vec(0usize..40, 0..8), cut in 1usize..30) {
            let mut messages = Messages::default();
            let mut ended = 0;
            for piece in framed(&lengths).chunks(cut) {
                ended += messages.take(piece);
            }
            prop_assert_eq!(messages.count(), Some(lengths.len() as u64));
            prop_assert_eq!(ended, lengths.len() as u64);
        }

        #[test]
        fn what_is_missing_inside_a_message_changes_no_count_and_what_is_not_takes_it_away(at in 0usize..60, len in 1u64..60) {
            let bytes = framed(&[20, 30]);
            let (begin, end) = (at.min(bytes.len()), (at + len as usize).min(bytes.len()));
            let mut messages = Messages::default();
            messages.take(&bytes[..begin]);
            messages.skip((end - begin) as u64);
            messages.take(&bytes[end..]);
            let inside = |from: usize, to: usize| begin >= from && end <= to;
            let known = begin == end || inside(5, 25) || inside(30, 60);
            prop_assert_eq!(messages.count(), known.then_some(2));
        }
    }

    #[test]
    fn the_trailers_of_grpc_web_are_no_message() {
        let mut messages = Messages::default();
        let trailers = b"grpc-status: 5\r\ngrpc-message:gone%20away\r\n";
        messages.take(&[&framed(&[3])[..], &[0x80, 0, 0, 0, trailers.len() as u8], trailers].concat());
        assert_eq!(messages.count(), Some(1));
        assert_eq!(messages.trailer(b"grpc-status").and_then(status), Some(5));
        assert_eq!(message(messages.trailer(b"grpc-message").unwrap()), b"gone away");
    }

    #[test]
    fn headers_are_read() {
        for (value, expected) in [
            (&b"1S"[..], Some(1_000_000)),
            (b"250m", Some(250_000)),
            (b"99999999H", Some(99_999_999 * 3_600_000_000)),
            (b"1500n", Some(1)),
            (b"123456789m", None),
            (b"5", None),
            (b"m", None),
            (b"-1m", None),
        ] {
            assert_eq!(timeout_us(value), expected, "{}", String::from_utf8_lossy(value));
        }
        assert_eq!(message(b"50%25 of %C3%A4%zz%"), "50% of ä%zz%".as_bytes());
        assert_eq!(method("/pkg.Svc/Do?x=1").as_deref(), Some("pkg.Svc/Do"));
        assert_eq!(method("/plain"), None);
        assert_eq!(flavour(b"application/grpc+proto"), Some(Flavour::Grpc));
        assert_eq!(flavour(b"application/grpc-web+proto"), Some(Flavour::Web));
        assert_eq!(flavour(b"application/grpcx"), None);
        assert_eq!(status(b"14"), Some(14));
        assert_eq!(status(b"x"), None);
    }
}
