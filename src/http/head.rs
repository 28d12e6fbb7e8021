//! One message head: start line and the header fields that framing, pairing and the record need.
//!
//! Parsed by httparse; what it refuses goes to `lenient`, which takes what real servers take and names it.
//! Decides no framing (`framing`) and keeps nothing (`session` copies what the record needs).

mod folds;
pub(super) mod lenient;

use crate::record::{Version, Weird, WeirdSet};
use crate::redact::Redactor;
use crate::shape::target::{is_host, names_host};
use crate::shape::trace::Carriers;

pub(super) use self::folds::Folds;
use super::detect::is_known_method;

/// Header fields parsed without allocating; more than these go the lenient way, up to `MAX_HEADERS`.
const FAST_HEADERS: usize = 64;
/// Most header fields kept of one head. Those behind them are read too: they decide about framing all the same.
pub(super) const MAX_HEADERS: usize = 512;

/// The start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartLine<'a> {
    Request { method: &'a [u8], target: &'a [u8], version: Version },
    Response { version: Version, status: u16, phrase: &'a [u8] },
}

/// Content-Length, as all fields of that name together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum ContentLength {
    #[default]
    Absent,
    Bad,
    Is(u64),
}

/// What a head says.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub start: StartLine<'a>,
    pub fields: Fields<'a>,
    pub weird: WeirdSet,
}

/// The header fields podtap reads, by first occurrence.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    pub content_length: ContentLength,
    /// Transfer-Encoding's last coding is `chunked`.
    pub chunked: bool,
    /// There is a Transfer-Encoding.
    pub transfer_encoding: bool,
    pub host: Option<&'a [u8]>,
    pub upgrade: Option<&'a [u8]>,
    pub expect_continue: bool,
    pub user_agent: Option<&'a [u8]>,
    pub referrer: Option<&'a [u8]>,
    pub content_type: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
    pub trace: Carriers<'a>,
    pub forwarded: Lines<'a>,
    pub forwarded_for: Lines<'a>,
    pub nonce: Option<&'a [u8]>,
    /// Of gRPC-Web.
    pub grpc_status: Option<&'a [u8]>,
    pub grpc_message: Option<&'a [u8]>,
    /// Connect-Protocol-Version, of a call of Connect.
    pub connect_version: bool,
    pub connect_timeout: Option<&'a [u8]>,
}

/// The lines of a field that may be several times, in order; of more than four the last four.
#[derive(Debug, Default)]
pub(crate) struct Lines<'a> {
    lines: [&'a [u8]; 4],
    count: usize,
    dropped: bool,
}

impl<'a> Lines<'a> {
    fn push(&mut self, line: &'a [u8]) {
        if self.count == self.lines.len() {
            self.lines.rotate_left(1);
            self.count -= 1;
            self.dropped = true;
        }
        if let Some(slot) = self.lines.get_mut(self.count) {
            *slot = line;
            self.count += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[&'a [u8]] {
        self.lines.get(..self.count).unwrap_or_default()
    }

    /// Whether there were more than are kept.
    pub(super) fn has_dropped(&self) -> bool {
        self.dropped
    }
}

/// What parsing came to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack for one call; a box would be an allocation a head")]
pub(super) enum Parsed<'a> {
    /// A whole head of this many bytes.
    Whole(usize, Head<'a>),
    /// The end of the head is not there yet.
    Partial,
    /// Not a head.
    Invalid,
}

/// What keeps header fields as sent (LOGHEADERS); says whether it had room for the field.
pub(super) type EachField<'f> = Option<&'f mut dyn FnMut(&[u8], &[u8]) -> bool>;

/// Which kind of head is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// Parses the head at the start of `bytes`; `folds` keeps fields that have to be unfolded.
pub(super) fn parse<'a>(
    kind: Kind,
    bytes: &'a [u8],
    folds: (&'a mut Folds, &Redactor),
    each: EachField<'_>,
) -> Parsed<'a> {
    let mut weird = WeirdSet::default();
    let empty = leading_empty_lines(bytes);
    if empty > 0 {
        weird.insert(Weird::LeadingEmptyLine);
    }
    let Some(text) = bytes.get(empty..) else { return Parsed::Partial };
    let mut slots = [const { std::mem::MaybeUninit::uninit() }; FAST_HEADERS];
    let fast = match kind {
        Kind::Request => request(text, &mut slots),
        Kind::Response => response(text, &mut slots),
    };
    match fast {
        Fast::Whole(len, start, headers) => {
            note_line_ends(text.get(..len), headers, &mut weird);
            Parsed::Whole(empty + len, finish(start, headers, weird, each))
        }
        Fast::Partial => Parsed::Partial,
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

type Slots<'a> = [std::mem::MaybeUninit<httparse::Header<'a>>; FAST_HEADERS];

fn version(minor: u8) -> Version {
    if minor == 0 { Version::V10 } else { Version::V11 }
}

fn request<'a, 's>(text: &'a [u8], slots: &'s mut Slots<'a>) -> Fast<'a, 's> {
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

fn response<'a, 's>(text: &'a [u8], slots: &'s mut Slots<'a>) -> Fast<'a, 's> {
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
) -> Head<'a> {
    let mut head = Head { start, fields: Fields::default(), weird };
    for header in headers {
        head.field(header.name.as_bytes(), header.value);
        head.keep(header.name.as_bytes(), header.value, &mut each);
    }
    head.close();
    head
}

impl<'a> Head<'a> {
    /// Shows one header field to what keeps them.
    pub(super) fn keep(&mut self, name: &[u8], value: &[u8], each: &mut EachField<'_>) {
        if let Some(each) = each.as_mut()
            && !each(name, value)
        {
            self.weird.insert(Weird::HeaderNotKept);
        }
    }

    /// Takes one header field.
    pub(crate) fn field(&mut self, name: &[u8], value: &'a [u8]) {
        // As nearly everybody writes them, so that nearly always one comparison of all bytes is enough.
        let is = |usual: &str| name == usual.as_bytes() || name.eq_ignore_ascii_case(usual.as_bytes());
        let fields = &mut self.fields;
        // Length and first letter leave one comparison, or none, of nearly every field.
        match (name.len(), name.first().map_or(0, u8::to_ascii_lowercase)) {
            (2, b'b') if is("b3") => first(&mut fields.trace.b3, value),
            (4, b'h') if is("Host") => {
                if fields.host.is_some() {
                    self.weird.insert(Weird::DuplicateHost);
                }
                first(&mut fields.host, value);
            }
            (6, b'e') if is("Expect") => fields.expect_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            (7, b'r') if is("Referer") => first(&mut fields.referrer, value),
            (7, b'u') if is("Upgrade") => first(&mut fields.upgrade, value),
            (9, b'f') if is("Forwarded") => fields.forwarded.push(value),
            (10, b'u') if is("User-Agent") => first(&mut fields.user_agent, value),
            (11, b'x') if is("X-B3-SpanId") => first(&mut fields.trace.b3_span_id, value),
            (11, b'g') if is("grpc-status") => first(&mut fields.grpc_status, value),
            (12, b'g') if is("grpc-message") => first(&mut fields.grpc_message, value),
            (11, b't') if is("traceparent") => first(&mut fields.trace.traceparent, value),
            (12, b'c') if is("Content-Type") => first(&mut fields.content_type, value),
            (12, b'x') if is("X-Request-Id") => first(&mut fields.request_id, value),
            (12, b'x') if is("X-B3-TraceId") => first(&mut fields.trace.b3_trace_id, value),
            (14, b'c') if is("Content-Length") => self.content_length(value),
            (14, b'x') if is("X-Podtap-Nonce") => first(&mut fields.nonce, value),
            (15, b'x') if is("X-Forwarded-For") => fields.forwarded_for.push(value),
            (17, b't') if is("Transfer-Encoding") => self.transfer_encoding(value),
            (18, b'c') if is("Connect-Timeout-Ms") => first(&mut fields.connect_timeout, value),
            (24, b'c') if is("Connect-Protocol-Version") => fields.connect_version = true,
            _ => {}
        }
    }

    /// One number, or a list of equal numbers (RFC 9112 §6.3, 5); the first counts where they differ.
    fn content_length(&mut self, value: &[u8]) {
        for part in value.split(|b| *b == b',') {
            let number = decimal(part.trim_ascii());
            match (self.fields.content_length, number) {
                (ContentLength::Absent, Some(n)) => self.fields.content_length = ContentLength::Is(n),
                (ContentLength::Absent, None) => {
                    self.fields.content_length = ContentLength::Bad;
                    self.weird.insert(Weird::BadContentLength);
                }
                (ContentLength::Is(old), Some(n)) if old == n => self.weird.insert(Weird::DuplicateContentLength),
                (ContentLength::Is(_) | ContentLength::Bad, _) => self.weird.insert(Weird::ConflictingContentLength),
            }
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) {
        for coding in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            // RFC 2616 had a name for no coding at all; there are servers that still send it.
            if coding.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            self.fields.transfer_encoding = true;
            if self.fields.chunked {
                self.weird.insert(Weird::UnknownTransferCoding);
            }
            self.fields.chunked = coding.eq_ignore_ascii_case(b"chunked");
            let known = self.fields.chunked
                || [&b"gzip"[..], b"deflate", b"compress", b"x-gzip"].iter().any(|k| coding.eq_ignore_ascii_case(k));
            if !known {
                self.weird.insert(Weird::UnknownTransferCoding);
            }
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
                if version == Version::V11 && fields.host.is_none() {
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
        if version == Version::V10 && fields.transfer_encoding {
            self.weird.insert(Weird::TeInHttp10);
        }
    }
}

fn first<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8]) {
    if slot.is_none() {
        *slot = Some(value);
    }
}

/// Digits only: no sign, no space inside, no overflow.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

impl Parsed<'_> {
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

    fn head(kind: Kind, text: &[u8]) -> Head<'_> {
        match parse(kind, text, (Box::leak(Box::default()), &Redactor::off()), None) {
            Parsed::Whole(_, head) => head,
            other @ (Parsed::Partial | Parsed::Invalid) => panic!("{other:?} for {}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn an_ordinary_head_has_no_oddity() {
        let h = head(Kind::Request, b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
        assert!(h.weird.is_empty());
        assert_eq!(h.fields.host, Some(&b"x"[..]));
        assert_eq!(h.fields.content_length, ContentLength::Is(5));
    }

    #[test]
    fn oddities_are_named() {
        let table: &[(Kind, &[u8], Weird)] = &[
            (Kind::Request, b"GET / HTTP/1.1\nHost: x\n\n", Weird::BareLf),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", Weird::BareLf),
            (Kind::Request, b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Weird::LeadingEmptyLine),
            (Kind::Request, b"GET / HTTP/1.1\r\n\r\n", Weird::MissingHost),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n", Weird::InvalidHost),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: b\xfccher.example\r\n\r\n", Weird::InvalidHost),
            (Kind::Request, b"GET http://x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", Weird::InvalidHost),
            (Kind::Request, b"CONNECT x:http HTTP/1.1\r\nHost: x\r\n\r\n", Weird::InvalidHost),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Weird::DuplicateHost),
            (Kind::Request, b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", Weird::UnknownMethod),
            (
                Kind::Request,
                b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Weird::DuplicateContentLength,
            ),
            (
                Kind::Request,
                b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n",
                Weird::ConflictingContentLength,
            ),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", Weird::BadContentLength),
            (
                Kind::Response,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Weird::TeAndCl,
            ),
            (Kind::Response, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Weird::TeInHttp10),
            (Kind::Response, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: banana\r\n\r\n", Weird::UnknownTransferCoding),
            (Kind::Response, b"HTTP/1.1 999 Odd\r\n\r\n", Weird::OddStatus),
            (Kind::Request, b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", Weird::SpaceInTarget),
            (Kind::Request, b"GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n", Weird::BinaryTarget),
            (Kind::Request, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", Weird::BadStartLineSpacing),
            (Kind::Request, b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", Weird::OddVersion),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", Weird::SpaceBeforeColon),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", Weird::ObsFold),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", Weird::BadHeader),
            (Kind::Request, b"GET / HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n", Weird::BadHeaderValue),
            (Kind::Response, b"http/1.1 200 OK\r\n\r\n", Weird::OddVersion),
            (Kind::Response, b"ICY 200 OK\r\n\r\n", Weird::IcyStatusLine),
            (Kind::Request, b"GET /old\r\n", Weird::Http09),
            (Kind::Request, b"GET HTTP/1.1\r\nHost: x\r\n\r\n", Weird::MissingTarget),
            (Kind::Request, b"GET / JUNK/1.0\r\nHost: x\r\n\r\n", Weird::OddVersion),
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
            let StartLine::Response { phrase, status, .. } = head(Kind::Response, text).start else { panic!() };
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
        let h =
            head(Kind::Response, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(h.fields.chunked && !h.weird.contains(Weird::UnknownTransferCoding));
        let h = head(Kind::Response, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n");
        assert!(!h.fields.chunked && h.weird.contains(Weird::UnknownTransferCoding));
    }
}
