//! HTTP/2 put together (RFC 9113): frames, and header blocks as an encoder with a table writes them (RFC 7541).
//!
//! Written by hand and without the module that decodes, so that a mistake there cannot cancel out here. What is given is
//! what is sent, right or wrong.

use std::collections::VecDeque;

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// Bytes of a body.
    pub const DATA: u8 = 0;
    /// Opens a stream, answers it, or ends it with trailers.
    pub const HEADERS: u8 = 1;
    /// Which streams matter more.
    pub const PRIORITY: u8 = 2;
    /// Ends a stream at once.
    pub const RST_STREAM: u8 = 3;
    /// What its sender can take.
    pub const SETTINGS: u8 = 4;
    /// A request that the server makes for its client.
    pub const PUSH_PROMISE: u8 = 5;
    /// Whether the other end lives.
    pub const PING: u8 = 6;
    /// No more streams.
    pub const GOAWAY: u8 = 7;
    /// How much more may be sent.
    pub const WINDOW_UPDATE: u8 = 8;
    /// The rest of a header block.
    pub const CONTINUATION: u8 = 9;
}

/// Its sender's last frame of the stream; of SETTINGS: an acknowledgement.
pub const END_STREAM: u8 = 1;
/// The header block is whole.
pub const END_HEADERS: u8 = 4;
/// Padding: its length comes first, itself last.
pub const PADDED: u8 = 8;
/// HEADERS with a priority.
pub const WITH_PRIORITY: u8 = 0x20;

/// Longest payload of DATA here; what a receiver allows from the start.
const MAX_DATA: usize = 16_384;
/// What a table may hold until its owner says otherwise (RFC 9113 §6.5.2).
const TABLE_SIZE: usize = 4096;
/// Overhead of an entry (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// Entries of the static table.
const STATIC: usize = 61;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, len @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&len[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Empty SETTINGS.
pub fn settings() -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[])
}

/// How a header block lies in its frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// Bytes of padding in its first frame.
    pub padding: Option<u8>,
    /// With a priority.
    pub priority: bool,
    /// CONTINUATION frames behind the first one.
    pub continuations: usize,
}

/// A header block in HEADERS, or in PUSH_PROMISE where it has one, and in CONTINUATION frames.
pub fn head(stream: u32, promised: Option<u32>, block: &[u8], ends: bool, shape: Shape) -> Vec<u8> {
    let mut pieces = block.chunks(block.len().div_ceil(shape.continuations + 1).max(1)).peekable();
    let first = pieces.next().unwrap_or_default();
    let front = match promised {
        Some(promised) => promised.to_be_bytes().to_vec(),
        None if shape.priority => vec![0, 0, 0, 0, 15],
        None => Vec::new(),
    };
    let mut flags = if promised.is_none() && ends { END_STREAM } else { 0 };
    flags |= if promised.is_none() && shape.priority { WITH_PRIORITY } else { 0 };
    flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
    let kind = if promised.is_some() { kind::PUSH_PROMISE } else { kind::HEADERS };
    let mut out = padded(kind, flags, stream, &[&front, first].concat(), shape.padding);
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        out.extend(frame(kind::CONTINUATION, flags, stream, piece));
    }
    out
}

/// A frame with so much padding.
pub fn padded(kind: u8, flags: u8, stream: u32, payload: &[u8], padding: Option<u8>) -> Vec<u8> {
    match padding {
        None => frame(kind, flags, stream, payload),
        Some(len) => frame(kind, flags | PADDED, stream, &[&[len], payload, &vec![0; usize::from(len)]].concat()),
    }
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A body, or a part of one; `ends` the stream.
pub fn data(stream: u32, body: &[u8], ends: bool) -> Vec<u8> {
    let mut parts = body.chunks(MAX_DATA).peekable();
    let mut out = Vec::with_capacity(body.len() + 9);
    if body.is_empty() {
        return frame(kind::DATA, u8::from(ends), stream, body);
    }
    while let Some(part) = parts.next() {
        let flags = u8::from(ends && parts.peek().is_none());
        out.extend(frame(kind::DATA, flags, stream, part));
    }
    out
}

/// One message of gRPC, for a body.
pub fn grpc_message(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &len, message].concat()
}

/// The encoder of one direction: it refers to what it has sent before, and codes by Huffman what becomes shorter.
#[derive(Clone, Debug)]
pub struct HpackEncoder {
    /// Newest first.
    table: VecDeque<(String, String)>,
    size: usize,
    max: usize,
    /// The next block says how large the table is.
    resized: bool,
}

impl Default for HpackEncoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, max: TABLE_SIZE, resized: false }
    }
}

impl HpackEncoder {
    /// HEADERS with these fields.
    pub fn headers(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
        let block = self.block(fields);
        frame(kind::HEADERS, END_HEADERS | u8::from(ends), stream, &block)
    }

    /// The table holds that much from the next block on.
    pub fn resize(&mut self, max: usize) {
        (self.max, self.resized) = (max, true);
        self.evict();
    }

    /// A header block.
    pub fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.resized) {
            integer(self.max, 5, 0x20, &mut out);
        }
        fields.iter().for_each(|(name, value)| self.field(name, value, &mut out));
        out
    }

    fn field(&mut self, name: &str, value: &str, out: &mut Vec<u8>) {
        if let Some(index) = static_index(name, value).or_else(|| self.index(name, Some(value))) {
            integer(index, 7, 0x80, out);
            return;
        }
        let index = static_name(name).or_else(|| self.index(name, None)).unwrap_or(0);
        let keeps = !CHANGING.contains(&name);
        if keeps {
            integer(index, 6, 0x40, out);
        } else {
            integer(index, 4, 0x00, out);
        }
        if index == 0 {
            string(name, out);
        }
        string(value, out);
        if keeps {
            self.insert(name, value);
        }
    }

    fn index(&self, name: &str, value: Option<&str>) -> Option<usize> {
        let is = |entry: &(String, String)| entry.0 == name && value.is_none_or(|value| entry.1 == value);
        self.table.iter().position(is).map(|at| at + STATIC + 1)
    }

    fn insert(&mut self, name: &str, value: &str) {
        self.size += name.len() + value.len() + OVERHEAD;
        self.table.push_front((name.to_owned(), value.to_owned()));
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max {
            let Some((name, value)) = self.table.pop_back() else { break };
            self.size -= name.len() + value.len() + OVERHEAD;
        }
    }
}

/// What encoders do not keep: it is another one each time.
const CHANGING: [&str; 6] = [":path", "content-length", "etag", "age", "location", "set-cookie"];

/// Whole fields of the static table (RFC 7541 appendix A).
const FIELDS: [(&str, &str, usize); 13] = [
    (":method", "GET", 2),
    (":method", "POST", 3),
    (":path", "/", 4),
    (":path", "/index.html", 5),
    (":scheme", "http", 6),
    (":scheme", "https", 7),
    (":status", "200", 8),
    (":status", "204", 9),
    (":status", "206", 10),
    (":status", "304", 11),
    (":status", "400", 12),
    (":status", "404", 13),
    (":status", "500", 14),
];

/// Names of the static table, as far as they are usual.
const NAMES: [(&str, usize); 24] = [
    (":authority", 1),
    (":method", 2),
    (":path", 4),
    (":scheme", 6),
    (":status", 8),
    ("accept-encoding", 16),
    ("accept-language", 17),
    ("accept", 19),
    ("age", 21),
    ("authorization", 23),
    ("cache-control", 24),
    ("content-encoding", 26),
    ("content-length", 28),
    ("content-type", 31),
    ("cookie", 32),
    ("date", 33),
    ("etag", 34),
    ("host", 38),
    ("location", 46),
    ("referer", 51),
    ("server", 54),
    ("set-cookie", 55),
    ("user-agent", 58),
    ("vary", 59),
];

fn static_index(name: &str, value: &str) -> Option<usize> {
    FIELDS.iter().find(|field| field.0 == name && field.1 == value).map(|field| field.2)
}

fn static_name(name: &str) -> Option<usize> {
    NAMES.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
}

/// An integer whose first byte has `prefix` bits for it, behind `first` (RFC 7541 §5.1).
fn integer(number: usize, prefix: u32, first: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if number < mask {
        out.push(first | number as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = number - mask;
    while rest > 127 {
        out.push(0x80 | (rest & 127) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(text: &str, out: &mut Vec<u8>) {
    match huffman(text.as_bytes()).filter(|coded| coded.len() < text.len()) {
        Some(coded) => {
            integer(coded.len(), 7, 0x80, out);
            out.extend(coded);
        }
        None => {
            integer(text.len(), 7, 0x00, out);
            out.extend(text.as_bytes());
        }
    }
}

/// Bits of the code of each ASCII character (RFC 7541 appendix B); no other byte has a code of at most 15 bits.
const LENGTHS: &[u8; 128] = &[
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
];
/// Longest code that is written.
const LONGEST: u8 = 15;

/// `text` in Huffman's code; none where a character has a long code.
fn huffman(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut have) = (Vec::with_capacity(text.len()), 0u32, 0u32);
    for byte in text {
        let (code, length) = CODES.get(usize::from(*byte)).copied().filter(|(_, length)| *length > 0)?;
        bits = bits << length | u32::from(code);
        have += u32::from(length);
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | (0xff >> have));
    }
    Some(out)
}

/// The code of each ASCII character and its bits, 0 bits for a long one.
const CODES: [(u16, u8); 128] = codes();

/// The code is canonical: of one length the codes rise with their characters.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn codes() -> [(u16, u8); 128] {
    let (mut codes, mut code, mut length) = ([(0, 0); 128], 0u16, 1);
    while length <= LONGEST {
        code <<= 1;
        let mut byte = 0;
        while byte < LENGTHS.len() {
            if LENGTHS[byte] == length {
                codes[byte] = (code, length);
                code += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_integers_are_those_of_the_rfc() {
        // RFC 7541 appendix C.4.1 and C.1.2.
        assert_eq!(huffman(b"www.example.com").unwrap(), b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        assert_eq!(huffman(b"custom-value").unwrap(), b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf");
        let mut out = Vec::new();
        integer(1337, 5, 0, &mut out);
        assert_eq!(out, [31, 154, 10]);
    }

    #[test]
    fn what_was_sent_before_becomes_one_byte() {
        let mut encoder = HpackEncoder::default();
        let fields = [(":method", "GET"), (":authority", "shop"), ("x-any", "thing")];
        let first = encoder.block(&fields);
        assert!(first.len() > 12);
        assert_eq!(encoder.block(&fields), [0x82, 0x80 | 63, 0x80 | 62]);
    }
}
