//! Calls on top of a body, of gRPC, gRPC-Web and the Connect protocol. Counts messages across frames and chunks, and reads
//! what headers and the end of the body say.
//!
//! Sees no frame boundaries and keeps no message. What ends a body of gRPC-Web or Connect (trailers, a JSON object) is
//! kept instead of counted. So is the error that a unary call of Connect has for a body.

mod base64;
mod connect;

use std::borrow::Cow;
use std::io::Read;

use compact_str::CompactString;

use self::base64::Base64Decoder;
use crate::record::CallSystem;

/// Longest end of a body that is kept.
const MAX_END: usize = 1024;
/// Longest end of a body once it is unpacked.
const MAX_UNPACKED: usize = 8 * 1024;

/// What a media type says of the protocol inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrpcFlavour {
    Grpc,
    /// gRPC-Web, its status in the body.
    Web,
    /// The same in base64.
    WebText,
    /// Connect, a stream of messages, its status in the body.
    Connect,
    /// Connect, one message in a plain body.
    ConnectUnary,
}

impl GrpcFlavour {
    /// By the Content-Type, and whether there is a Connect-Protocol-Version.
    pub(crate) fn of(content_type: &[u8], connect_version: bool) -> Option<Self> {
        let starts = |with: &[u8]| {
            let (base, rest) = content_type.split_at_checked(with.len())?;
            base.eq_ignore_ascii_case(with).then_some(rest)
        };
        if let Some(rest) = starts(b"application/grpc") {
            return match rest {
                [] | [b'+' | b';' | b' ', ..] => Some(Self::Grpc),
                [b'-', b'w', b'e', b'b', b'-', b't', b'e', b'x', b't', ..] => Some(Self::WebText),
                [b'-', b'w', b'e', b'b', ..] => Some(Self::Web),
                _ => None,
            };
        }
        if starts(b"application/connect+").is_some() {
            return Some(Self::Connect);
        }
        let unary = [&b"application/proto"[..], b"application/json"].into_iter().find_map(starts);
        unary.filter(|rest| connect_version && matches!(rest, [] | [b';' | b' ', ..])).map(|_| Self::ConnectUnary)
    }

    /// By the request line: a unary call of Connect may be a GET, its message in the query.
    pub(crate) fn of_get(method: &[u8], target: &[u8]) -> Option<Self> {
        let begin = memchr::memchr(b'?', target).filter(|_| method == b"GET")? + 1;
        let query = target.get(begin..)?;
        // Every exchange is asked, and hardly one has as many parameters.
        memchr::memchr_iter(b'&', query).nth(1)?;
        let is_there = |begin: &[u8]| query.split(|byte| *byte == b'&').any(|pair| pair.starts_with(begin));
        let version = query.split(|byte| *byte == b'&').any(|pair| pair == b"connect=v1");
        (version && is_there(b"message=") && is_there(b"encoding=")).then_some(Self::ConnectUnary)
    }

    /// Whose call it is.
    pub(crate) fn system(self) -> CallSystem {
        match self {
            Self::Grpc | Self::Web | Self::WebText => CallSystem::Grpc,
            Self::Connect => CallSystem::Connect { unary: false },
            Self::ConnectUnary => CallSystem::Connect { unary: true },
        }
    }

    /// The flag of the frame that ends a body. (Plain gRPC has none, and what is marked so would be no message.)
    fn end_flag(self) -> u8 {
        match self {
            Self::Grpc | Self::Web | Self::WebText => 0x80,
            Self::Connect | Self::ConnectUnary => 0x02,
        }
    }
}

/// The flag of a compressed frame.
const COMPRESSED: u8 = 1;

/// Counts the length-prefixed messages of one direction.
#[derive(Clone, Debug)]
pub(crate) struct MessageCounter {
    flavour: GrpcFlavour,
    decoder: Base64Decoder,
    prefix: [u8; 5],
    have: u8,
    /// Bytes of the message under way that are still to come.
    left: u32,
    /// The frame under way ends the body.
    ending: bool,
    end: Vec<u8>,
    /// The end was too long.
    end_unread: bool,
    end_compressed: bool,
    count: u64,
    /// Where messages begin is not known any more.
    lost: bool,
}

impl Default for MessageCounter {
    fn default() -> Self {
        Self::of(GrpcFlavour::Grpc)
    }
}

impl MessageCounter {
    pub(crate) fn of(flavour: GrpcFlavour) -> Self {
        Self {
            flavour,
            decoder: Base64Decoder::default(),
            prefix: [0; 5],
            have: 0,
            left: 0,
            ending: false,
            end: Vec::new(),
            end_unread: false,
            end_compressed: false,
            count: 0,
            lost: false,
        }
    }

    pub(crate) fn flavour(&self) -> GrpcFlavour {
        self.flavour
    }

    /// They are of that flavour, as turns out only now. What was taken for one of another framing was not counted right.
    pub(crate) fn turn_into(&mut self, flavour: GrpcFlavour) {
        let framed_alike = |flavour| matches!(flavour, GrpcFlavour::Grpc | GrpcFlavour::Web);
        if self.flavour == flavour || (framed_alike(self.flavour) && framed_alike(flavour)) {
            self.flavour = flavour;
            return;
        }
        let taken = self.count > 0 || self.have > 0 || self.left > 0 || self.ending || self.lost;
        *self = Self { lost: taken, ..Self::of(flavour) };
    }

    /// Takes the next bytes; says how many messages ended in them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> u64 {
        let before = self.count;
        match self.flavour {
            GrpcFlavour::ConnectUnary => self.keep(bytes),
            GrpcFlavour::WebText if !self.lost => {
                let mut decoder = std::mem::take(&mut self.decoder);
                self.lost = !decoder.take(bytes, |piece| self.take_framed(piece)) || self.lost;
                self.decoder = decoder;
            }
            GrpcFlavour::Grpc | GrpcFlavour::Web | GrpcFlavour::WebText | GrpcFlavour::Connect => {
                self.take_framed(bytes)
            }
        }
        self.count - before
    }

    fn take_framed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let n = bytes.len().min(self.left as usize);
                let (payload, rest) = bytes.split_at_checked(n).unwrap_or_default();
                if self.ending {
                    self.keep(payload);
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
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.end.len() + bytes.len() <= MAX_END {
            self.end.extend_from_slice(bytes);
        } else {
            self.end_unread = true;
        }
    }

    fn begin(&mut self) {
        let [flags, a, b, c, d] = self.prefix;
        let end = self.flavour.end_flag();
        self.lost = flags & !(COMPRESSED | end) != 0;
        self.ending = flags & end != 0;
        self.end_compressed = self.ending && flags & COMPRESSED != 0;
        (self.have, self.left) = (0, u32::from_be_bytes([a, b, c, d]));
        if self.left == 0 {
            self.advance(0);
        }
    }

    fn advance(&mut self, n: u32) {
        self.left -= n;
        if self.left == 0 && !self.ending {
            self.count += 1;
        }
    }

    /// The next `len` bytes are missing: harmless inside a message whose length counts them.
    pub(crate) fn skip(&mut self, len: u64) {
        let counted =
            matches!(self.flavour, GrpcFlavour::Grpc | GrpcFlavour::Web | GrpcFlavour::Connect) && !self.ending;
        if counted && len > 0 && u64::from(self.left) >= len {
            self.advance(len as u32);
        } else if len > 0 {
            self.lose();
        }
    }

    /// No one knows how many bytes are missing.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
    }

    /// Messages that are whole; none where that is not known. (A unary call of Connect has one, which no prefix counts.)
    pub(crate) fn count(&self) -> Option<u64> {
        (!self.lost && self.flavour != GrpcFlavour::ConnectUnary).then_some(self.count)
    }

    /// The status that the end of the body holds, and its text.
    pub(crate) fn status(&self) -> Option<(u32, Option<Vec<u8>>)> {
        if self.lost || self.end_unread || self.left > 0 {
            return None;
        }
        let end = if self.end_compressed { Cow::Owned(unpacked(&self.end)?) } else { Cow::Borrowed(&*self.end) };
        match self.flavour {
            GrpcFlavour::Grpc => None,
            GrpcFlavour::Web | GrpcFlavour::WebText => {
                let code = status(trailer(&end, b"grpc-status")?)?;
                Some((code, trailer(&end, b"grpc-message").map(message)))
            }
            GrpcFlavour::Connect => self.ending.then(|| connect::end_of_stream(&end)).flatten(),
            GrpcFlavour::ConnectUnary => connect::error(&end),
        }
    }
}

/// The trailers of gRPC-Web: the value of `name` in them.
fn trailer<'a>(trailers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    trailers.split(|b| *b == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let (found, value) = line.split_at_checked(colon)?;
        found.trim_ascii().eq_ignore_ascii_case(name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

/// The end of a body out of gzip, which all who compress it use where nothing else was agreed on.
fn unpacked(end: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let limit = MAX_UNPACKED as u64 + 1;
    flate2::read::GzDecoder::new(end).take(limit).read_to_end(&mut out).ok()?;
    (out.len() <= MAX_UNPACKED).then_some(out)
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

/// `connect-timeout-ms` in microseconds: at most ten digits.
pub(crate) fn connect_timeout_us(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.len() <= 10 && !text.starts_with('+'))?;
    Some(digits.parse::<u64>().ok()? * 1000)
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
            let plain = framed(&lengths);
            // In base64 as one piece, and each message by itself.
            let apart: Vec<u8> = lengths.iter().flat_map(|len| base64(&framed(&[*len]))).collect();
            for (flavour, bytes) in [
                (GrpcFlavour::Grpc, &plain),
                (GrpcFlavour::Connect, &plain),
                (GrpcFlavour::WebText, &base64(&plain)),
                (GrpcFlavour::WebText, &apart),
            ] {
                let mut messages = MessageCounter::of(flavour);
                let ended: u64 = bytes.chunks(cut).map(|piece| messages.take(piece)).sum();
                prop_assert_eq!(messages.count(), Some(lengths.len() as u64));
                prop_assert_eq!(ended, lengths.len() as u64);
            }
        }

        #[test]
        fn any_bytes_are_taken_and_a_loss_in_base64_takes_the_count_away(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            use GrpcFlavour::{Connect, ConnectUnary, Grpc, Web, WebText};
            for flavour in [Grpc, Web, WebText, Connect, ConnectUnary] {
                let mut messages = MessageCounter::of(flavour);
                let (front, back) = bytes.split_at(at.min(bytes.len()));
                messages.take(front);
                messages.skip(1);
                messages.take(back);
                let _ = messages.status();
                prop_assert!(flavour != WebText || messages.count().is_none());
            }
        }

        #[test]
        fn what_is_missing_inside_a_message_changes_no_count_and_what_is_not_takes_it_away(at in 0usize..60, len in 1u64..60) {
            let bytes = framed(&[20, 30]);
            let (begin, end) = (at.min(bytes.len()), (at + len as usize).min(bytes.len()));
            let mut messages = MessageCounter::default();
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
        let mut messages = MessageCounter::of(GrpcFlavour::Web);
        let trailers = b"grpc-status: 5\r\ngrpc-message:gone%20away\r\n";
        messages.take(&[&framed(&[3])[..], &[0x80, 0, 0, 0, trailers.len() as u8], trailers].concat());
        assert_eq!(messages.count(), Some(1));
        assert_eq!(messages.status(), Some((5, Some(b"gone away".to_vec()))));
    }

    #[test]
    fn a_flavour_is_known_by_its_media_type() {
        use GrpcFlavour::{Connect, ConnectUnary, Grpc, Web, WebText};
        for (content_type, version, expected) in [
            ("application/grpc", false, Some(Grpc)),
            ("application/grpc+proto", true, Some(Grpc)),
            ("Application/GRPC;charset=utf-8", false, Some(Grpc)),
            ("application/grpc-web+proto", false, Some(Web)),
            ("application/grpc-web-text", false, Some(WebText)),
            ("application/grpc-web-text+proto", false, Some(WebText)),
            ("application/grpcx", false, None),
            ("application/connect+json", false, Some(Connect)),
            ("application/connect+proto", true, Some(Connect)),
            ("application/connect", true, None),
            ("application/proto", true, Some(ConnectUnary)),
            ("application/json; charset=utf-8", true, Some(ConnectUnary)),
            ("application/json", false, None),
            ("application/json-patch", true, None),
        ] {
            assert_eq!(GrpcFlavour::of(content_type.as_bytes(), version), expected, "{content_type} {version}");
        }
    }

    #[test]
    fn a_unary_call_of_connect_may_be_a_get() {
        let query = "connect=v1&encoding=json&message=%7B%7D";
        for (method, target, is_call) in [
            ("GET", format!("/shop.Cart/Get?{query}"), true),
            ("GET", format!("/shop.Cart/Get?a=b&{query}&base64=1"), true),
            ("POST", format!("/shop.Cart/Get?{query}"), false),
            ("GET", "/shop.Cart/Get?connect=v1&encoding=json".into(), false),
            ("GET", "/shop.Cart/Get?connect=v2&encoding=json&message=a".into(), false),
            ("GET", "/search?message=a&encoding=utf-8".into(), false),
            ("GET", "/plain".into(), false),
        ] {
            let found = GrpcFlavour::of_get(method.as_bytes(), target.as_bytes());
            assert_eq!(found, is_call.then_some(GrpcFlavour::ConnectUnary), "{method} {target}");
        }
    }

    /// Standard base64, padded where it ends.
    fn base64(bytes: &[u8]) -> Vec<u8> {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = Vec::new();
        for group in bytes.chunks(3) {
            let three: [u8; 3] = std::array::from_fn(|i| group.get(i).copied().unwrap_or(0));
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            out.extend(
                (0..4).map(|i| if i <= group.len() { DIGITS[(bits >> (18 - 6 * i) & 63) as usize] } else { b'=' }),
            );
        }
        out
    }

    /// The end of a body in gzip.
    fn packed(flags: u8, text: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gzip, text).unwrap();
        let bytes = gzip.finish().unwrap();
        [&[flags], &(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
    }

    #[test]
    fn what_ends_a_body_says_the_status() {
        let end = |flag: u8, text: &str| [&[flag, 0, 0, 0, text.len() as u8], text.as_bytes()].concat();
        for (flavour, body, expected) in [
            (GrpcFlavour::Web, end(0x80, "grpc-status:0\r\n"), Some((0, None))),
            (GrpcFlavour::WebText, base64(&end(0x80, "grpc-status: 14\r\n")), Some((14, None))),
            (GrpcFlavour::Grpc, end(0x80, "grpc-status:0\r\n"), None),
            (GrpcFlavour::Connect, end(2, "{}"), Some((0, None))),
            (GrpcFlavour::Connect, end(2, r#"{"metadata":{"a":["b"]}}"#), Some((0, None))),
            (
                GrpcFlavour::Connect,
                end(2, r#"{"error":{"code":"not_found","message":"no"}}"#),
                Some((5, Some(b"no".to_vec()))),
            ),
            (GrpcFlavour::Connect, end(2, r#"{"error":{"code":"canceled"}}"#), Some((1, None))),
            (GrpcFlavour::Connect, end(2, r#"{"error":{"code":"odd"}}"#), None),
            (GrpcFlavour::Connect, end(2, r#"{"error":{}}"#), None),
            (GrpcFlavour::Connect, end(2, "broken"), None),
            (GrpcFlavour::Connect, end(3, "{}"), None),
            (GrpcFlavour::Connect, packed(3, br#"{"error":{"code":"aborted"}}"#), Some((10, None))),
            (GrpcFlavour::Web, packed(0x81, b"grpc-status: 7\r\n"), Some((7, None))),
            (GrpcFlavour::Connect, packed(3, &[b' '; MAX_UNPACKED + 1]), None),
            (GrpcFlavour::Connect, end(0, "{}"), None),
            (
                GrpcFlavour::ConnectUnary,
                br#"{"code":"unavailable","message":"later"}"#.to_vec(),
                Some((14, Some(b"later".to_vec()))),
            ),
            (GrpcFlavour::ConnectUnary, b"{}".to_vec(), None),
            (GrpcFlavour::ConnectUnary, b"<html>".to_vec(), None),
        ] {
            let mut whole = MessageCounter::of(flavour);
            whole.take(&body);
            assert_eq!(whole.status(), expected, "{flavour:?} {}", String::from_utf8_lossy(&body));
            // However it is cut; and while a byte is missing, nothing.
            let mut pieces = MessageCounter::of(flavour);
            body.chunks(1).for_each(|piece| _ = pieces.take(piece));
            assert_eq!(pieces.status(), expected);
            let mut cut = MessageCounter::of(flavour);
            cut.take(&body[..body.len() - 1]);
            assert_eq!(cut.status(), None);
        }
        // Half of a number is another number.
        let long = format!("x: {}\r\ngrpc-status: 1", "y".repeat(MAX_END - 20));
        let mut messages = MessageCounter::of(GrpcFlavour::Web);
        messages.take(&[&[0x80, 0, 0, 4, 100][..], long.as_bytes()].concat());
        messages.take(&[&b"4\r\n"[..], &[b'z'; 200]].concat());
        assert_eq!(messages.status(), None);
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
        assert_eq!(status(b"14"), Some(14));
        assert_eq!(status(b"x"), None);
    }
}
