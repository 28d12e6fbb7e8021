//! What the head of a message says, in every version of HTTP: the header fields that framing, pairing and the record need.
//!
//! Borrows everything. Parses no head (`http::head`, `http2::message`), and decides no framing.

use crate::record::{HttpVersion, Weird, WeirdSet};
use crate::shape::trace::TraceCarriers;

/// The start line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartLine<'a> {
    Request { method: &'a [u8], target: &'a [u8], version: HttpVersion },
    Response { version: HttpVersion, status: u16, phrase: &'a [u8] },
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
pub(crate) struct MessageHead<'a> {
    pub start: StartLine<'a>,
    pub fields: KnownFields<'a>,
    pub weird: WeirdSet,
}

/// The header fields podtap reads, by first occurrence.
#[derive(Debug, Default)]
pub(crate) struct KnownFields<'a> {
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
    pub trace: TraceCarriers<'a>,
    pub forwarded: FieldLines<'a>,
    pub forwarded_for: FieldLines<'a>,
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
pub(crate) struct FieldLines<'a> {
    lines: [&'a [u8]; 4],
    count: usize,
    dropped: bool,
}

impl<'a> FieldLines<'a> {
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
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped
    }
}

impl<'a> MessageHead<'a> {
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
