//! One message head: start line and the header fields that framing, pairing and the record need.
//!
//! Parsed by httparse; what it refuses goes to `lenient`, which takes what real servers take and names it.
//! Decides no framing (`framing`) and keeps nothing (`session` copies what the record needs).

mod folds;
pub(super) mod lenient;

pub(super) use crate::exchange::fields::{ContentLength, KnownFields, MessageHead, StartLine};
use crate::record::{HttpVersion, Weird, WeirdSet};
use crate::redact::Redactor;
use crate::shape::target::{is_host, names_host};

pub(super) use self::folds::Folds;
use super::detect::is_known_method;

/// Header fields parsed without allocating; more than these go the lenient way, up to `MAX_HEADERS`.
const FAST_HEADERS: usize = 64;
/// Most header fields kept of one head. Those behind them are read too: they decide about framing all the same.
pub(super) const MAX_HEADERS: usize = 512;

/// What parsing came to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack for one call; a box would be an allocation a head")]
pub(super) enum ParsedHead<'a> {
    /// A whole head of this many bytes.
    Whole(usize, MessageHead<'a>),
    /// The end of the head is not there yet.
    Partial,
    /// Not a head.
    Invalid,
}

/// What keeps header fields as sent (LOGHEADERS); says whether it had room for the field.
pub(super) type EachField<'f> = Option<&'f mut dyn FnMut(&[u8], &[u8]) -> bool>;

/// Which kind of head is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadKind {
    Request,
    Response,
}

/// Parses the head at the start of `bytes`; `folds` keeps fields that have to be unfolded.
pub(super) fn parse<'a>(
    kind: HeadKind,
    bytes: &'a [u8],
    folds: (&'a mut Folds, &Redactor),
    each: EachField<'_>,
) -> ParsedHead<'a> {
    let mut weird = WeirdSet::default();
    let empty = leading_empty_lines(bytes);
    if empty > 0 {
        weird.insert(Weird::LeadingEmptyLine);
    }
    let Some(text) = bytes.get(empty..) else { return ParsedHead::Partial };
    let mut slots = [const { std::mem::MaybeUninit::uninit() }; FAST_HEADERS];
    let fast = match kind {
        HeadKind::Request => request(text, &mut slots),
        HeadKind::Response => response(text, &mut slots),
    };
    match fast {
        Fast::Whole(len, start, headers) => {
            note_line_ends(text.get(..len), headers, &mut weird);
            ParsedHead::Whole(empty + len, finish(start, headers, weird, each))
        }
        Fast::Partial => ParsedHead::Partial,
        Fast::Refused => lenient::parse(kind, text, folds, weird, each).behind(empty),
    }
}

/// CR and LF before the start line (RFC 9112 §2.2).
fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// What httparse makes of a head.
enum Fast<'a, 's> {
    Whole(usize, StartLine<'a>, &'s [httparse::Header<'a>]),
    Partial,
    Refused,
}

type HeaderSlots<'a> = [std::mem::MaybeUninit<httparse::Header<'a>>; FAST_HEADERS];

fn version(minor: u8) -> HttpVersion {
    if minor == 0 { HttpVersion::V10 } else { HttpVersion::V11 }
}

fn request<'a, 's>(text: &'a [u8], slots: &'s mut HeaderSlots<'a>) -> Fast<'a, 's> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(text, slots) {
        Ok(httparse::Status::Complete(len)) => {
            let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
                return Fast::Refused;
            };
            let (method, target) = (method.as_bytes(), target.as_bytes());
            Fast::Whole(len, StartLine::Request { method, target, version: version(minor) }, parsed.headers)
        }
        Ok(httparse::Status::Partial) => Fast::Partial,
        Err(_) => Fast::Refused,
    }
}

fn response<'a, 's>(text: &'a [u8], slots: &'s mut HeaderSlots<'a>) -> Fast<'a, 's> {
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, text, slots) {
        Ok(httparse::Status::Complete(len)) => {
            let (Some(status), Some(reason), Some(minor)) = (parsed.code, parsed.reason, parsed.version) else {
                return Fast::Refused;
            };
            // httparse gives "" for a phrase with bytes over 0x7f: take it from the line.
            let phrase = if reason.is_empty() { lenient::phrase(text) } else { reason.as_bytes() };
            Fast::Whole(len, StartLine::Response { version: version(minor), status, phrase }, parsed.headers)
        }
        Ok(httparse::Status::Partial) => Fast::Partial,
        Err(_) => Fast::Refused,
    }
}

/// httparse takes a bare LF silently. Each line of a head ends where the next one's name begins, the last one and the
/// empty line at the head's end.
fn note_line_ends(head: Option<&[u8]>, fields: &[httparse::Header<'_>], weird: &mut WeirdSet) {
    let head = head.unwrap_or_default();
    let ends_well = |field: &httparse::Header<'_>| {
        let at = (field.name.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
        head.get(at.wrapping_sub(2)) == Some(&b'\r')
    };
    if !(head.ends_with(b"\r\n\r\n") && fields.iter().all(ends_well)) {
        weird.insert(Weird::BareLf);
    }
}

fn finish<'a>(
    start: StartLine<'a>,
    headers: &[httparse::Header<'a>],
    weird: WeirdSet,
    mut each: EachField<'_>,
) -> MessageHead<'a> {
    let mut head = MessageHead { start, fields: KnownFields::default(), weird };
    for header in headers {
        head.field(header.name.as_bytes(), header.value);
        head.keep(header.name.as_bytes(), header.value, &mut each);
    }
    head.close();
    head
}

impl<'a> MessageHead<'a> {
    /// Shows one header field to what keeps them.
    pub(super) fn keep(&mut self, name: &[u8], value: &[u8], each: &mut EachField<'_>) {
        if let Some(each) = each.as_mut()
            && !each(name, value)
        {
            self.weird.insert(Weird::HeaderNotKept);
        }
    }

    /// Names what only the whole head shows.
    pub(super) fn close(&mut self) {
        let fields = &self.fields;
        if fields.transfer_encoding && fields.content_length != ContentLength::Absent {
            self.weird.insert(Weird::TeAndCl);
        }
        let version = match self.start {
            StartLine::Request { method, target, version } => {
                if !is_known_method(method) {
                    self.weird.insert(Weird::UnknownMethod);
                }
                if !target.iter().fold(true, |all, b| all & b.is_ascii_graphic()) {
                    self.weird.insert(Weird::BinaryTarget);
                }
                if version == HttpVersion::V11 && fields.host.is_none() {
                    self.weird.insert(Weird::MissingHost);
                }
                if !(fields.host.is_none_or(is_host) && names_host(method, target)) {
                    self.weird.insert(Weird::InvalidHost);
                }
                version
            }
            StartLine::Response { version, status, .. } => {
                if !(100..600).contains(&status) {
                    self.weird.insert(Weird::OddStatus);
                }
                version
            }
        };
        if version == HttpVersion::V10 && fields.transfer_encoding {
            self.weird.insert(Weird::TeInHttp10);
        }
    }
}

impl ParsedHead<'_> {
    /// The same behind `skipped` bytes.
    fn behind(self, skipped: usize) -> Self {
        match self {
            Self::Whole(len, head) => Self::Whole(len + skipped, head),
            Self::Partial | Self::Invalid => self,
        }
    }
}

/// Where the head at the start of `bytes` ends (behind its empty line), looking from `from` on.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let lead = leading_empty_lines(bytes);
    let mut at = from.saturating_sub(2).max(lead);
    loop {
        let rest = bytes.get(at..)?;
        let lf = at + memchr::memchr(b'\n', rest)?;
        match bytes.get(lf + 1..)? {
            [b'\n', ..] => return Some(lf + 2),
            [b'\r', b'\n', ..] => return Some(lf + 3),
            _ => at = lf + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: HeadKind, text: &[u8]) -> MessageHead<'_> {
        match parse(kind, text, (Box::leak(Box::default()), &Redactor::off()), None) {
            ParsedHead::Whole(_, head) => head,
            other @ (ParsedHead::Partial | ParsedHead::Invalid) => {
                panic!("{other:?} for {}", String::from_utf8_lossy(text))
            }
        }
    }

    #[test]
    fn an_ordinary_head_has_no_oddity() {
        let h = head(HeadKind::Request, b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
        assert!(h.weird.is_empty());
        assert_eq!(h.fields.host, Some(&b"x"[..]));
        assert_eq!(h.fields.content_length, ContentLength::Is(5));
    }

    #[test]
    fn oddities_are_named() {
        let table: &[(HeadKind, &[u8], Weird)] = &[
            (HeadKind::Request, b"GET / HTTP/1.1\nHost: x\n\n", Weird::BareLf),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", Weird::BareLf),
            (HeadKind::Request, b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Weird::LeadingEmptyLine),
            (HeadKind::Request, b"GET / HTTP/1.1\r\n\r\n", Weird::MissingHost),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n", Weird::InvalidHost),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: b\xfccher.example\r\n\r\n", Weird::InvalidHost),
            (HeadKind::Request, b"GET http://x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", Weird::InvalidHost),
            (HeadKind::Request, b"CONNECT x:http HTTP/1.1\r\nHost: x\r\n\r\n", Weird::InvalidHost),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Weird::DuplicateHost),
            (HeadKind::Request, b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", Weird::UnknownMethod),
            (
                HeadKind::Request,
                b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Weird::DuplicateContentLength,
            ),
            (
                HeadKind::Request,
                b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n",
                Weird::ConflictingContentLength,
            ),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", Weird::BadContentLength),
            (
                HeadKind::Response,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Weird::TeAndCl,
            ),
            (HeadKind::Response, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Weird::TeInHttp10),
            (HeadKind::Response, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: banana\r\n\r\n", Weird::UnknownTransferCoding),
            (HeadKind::Response, b"HTTP/1.1 999 Odd\r\n\r\n", Weird::OddStatus),
            (HeadKind::Request, b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", Weird::SpaceInTarget),
            (HeadKind::Request, b"GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n", Weird::BinaryTarget),
            (HeadKind::Request, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", Weird::BadStartLineSpacing),
            (HeadKind::Request, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", Weird::OddVersion),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", Weird::SpaceBeforeColon),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", Weird::ObsFold),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", Weird::BadHeader),
            (HeadKind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", Weird::BadHeaderValue),
            (HeadKind::Response, b"http/1.1 200 OK\r\n\r\n", Weird::OddVersion),
            (HeadKind::Response, b"ICY 200 OK\r\n\r\n", Weird::IcyStatusLine),
            (HeadKind::Request, b"GET /old\r\n", Weird::Http09),
            (HeadKind::Request, b"GET HTTP/1.1\r\nHost: x\r\n\r\n", Weird::MissingTarget),
            (HeadKind::Request, b"GET / JUNK/1.0\r\nHost: x\r\n\r\n", Weird::OddVersion),
        ];
        for (kind, text, weird) in table {
            let h = head(*kind, text);
            assert!(h.weird.contains(*weird), "{} of {:?}", weird.name(), String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_phrase_survives_also_with_bytes_outside_ascii() {
        for (text, expected) in [
            (&b"HTTP/1.1 200 Tr\xe8s bien\r\n\r\n"[..], &b"Tr\xe8s bien"[..]),
            (b"HTTP/1.1 200\r\n\r\n", b""),
            (b"HTTP/1.1 200 \r\n\r\n", b""),
        ] {
            let StartLine::Response { phrase, status, .. } = head(HeadKind::Response, text).start else { panic!() };
            assert_eq!((phrase, status), (expected, 200));
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_from_any_place_before_it() {
        let text = b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        for from in 0..26 {
            assert_eq!(end_of_head(text, from), Some(26), "from {from}");
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.0\n\nx", 0), Some(16));
        assert_eq!(end_of_head(b"GET / HTTP/1.0\r\n\r", 0), None);
    }

    #[test]
    fn the_last_coding_decides_and_two_fields_are_one_list() {
        let h = head(
            HeadKind::Response,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        assert!(h.fields.chunked && !h.weird.contains(Weird::UnknownTransferCoding));
        let h = head(HeadKind::Response, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n");
        assert!(!h.fields.chunked && h.weird.contains(Weird::UnknownTransferCoding));
    }
}
