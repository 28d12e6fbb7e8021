//! Frames of HTTP/2 (RFC 9113 §4 and §6): their headers, which of them can be, and what the small ones say.
//!
//! Looks at bytes that are there; gathers nothing.

use crate::ledger::H2Frame;

/// The connection preface of the client (§3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 9;
/// Longest payload until a peer allows more (§6.5.2).
pub(crate) const USUAL_MAX: u32 = 16_384;
/// Longest payload that there can be.
pub(crate) const MAX: u32 = (1 << 24) - 1;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// What is wrong with a frame (§7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokenFrame {
    /// PROTOCOL_ERROR
    Protocol,
    /// FRAME_SIZE_ERROR
    Size,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    reserved: bool,
}

impl FrameHeader {
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, s, t, u, v] = *bytes;
        let stream = u32::from_be_bytes([s, t, u, v]);
        Self {
            len: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 == 1,
        }
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The last frame that its sender has for the stream.
    pub(crate) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.has(END_STREAM)
    }

    /// Whether it holds a part of a header block.
    pub(crate) fn is_block(self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE | CONTINUATION)
    }

    /// Its type in the ledger.
    pub(crate) fn counted_as(self) -> H2Frame {
        match self.kind {
            DATA => H2Frame::Data,
            HEADERS => H2Frame::Headers,
            PRIORITY => H2Frame::Priority,
            RST_STREAM => H2Frame::RstStream,
            SETTINGS => H2Frame::Settings,
            PUSH_PROMISE => H2Frame::PushPromise,
            PING => H2Frame::Ping,
            GOAWAY => H2Frame::GoAway,
            WINDOW_UPDATE => H2Frame::WindowUpdate,
            CONTINUATION => H2Frame::Continuation,
            _ => H2Frame::Unknown,
        }
    }

    /// What the header alone shows to be wrong.
    pub(crate) fn check(self, longest: u32) -> Result<(), BrokenFrame> {
        if self.len > longest {
            return Err(BrokenFrame::Size);
        }
        let size_fits = match self.kind {
            PRIORITY => self.len == 5,
            RST_STREAM | WINDOW_UPDATE => self.len == 4,
            SETTINGS => self.len.is_multiple_of(6) && (!self.has(ACK) || self.len == 0),
            PING => self.len == 8,
            GOAWAY => self.len >= 8,
            _ => true,
        };
        let stream_fits = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION => self.stream != 0,
            SETTINGS | PING | GOAWAY => self.stream == 0,
            _ => true,
        };
        let pads = matches!(self.kind, DATA | HEADERS | PUSH_PROMISE) && self.has(PADDED);
        match (stream_fits, size_fits) {
            (false, _) => Err(BrokenFrame::Protocol),
            (_, false) => Err(BrokenFrame::Size),
            _ if pads && self.len == 0 => Err(BrokenFrame::Size),
            _ => Ok(()),
        }
    }

    /// Whether bytes of which nothing is known may be this header: only what the RFC defines, and nothing that a sender
    /// must leave out.
    pub(crate) fn is_plausible(self, longest: u32) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
            SETTINGS | PING => ACK,
            PUSH_PROMISE => END_HEADERS | PADDED,
            CONTINUATION => END_HEADERS,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        self.flags & !flags == 0 && !self.reserved && self.check(longest).is_ok()
    }

    /// Whether a frame of a type or with flags that the RFC does not define, or one that says nothing, may be here: senders
    /// may send those, but they prove nothing.
    pub(crate) fn is_strange(self, longest: u32) -> bool {
        self.kind != CONTINUATION && !self.reserved && self.check(longest).is_ok()
    }

    /// Types whose length is fixed say more by their header than others.
    pub(crate) fn has_fixed_length(self) -> bool {
        matches!(self.kind, PRIORITY | RST_STREAM | SETTINGS | PING | WINDOW_UPDATE)
    }
}

/// The part of a header block in a HEADERS, PUSH_PROMISE or CONTINUATION frame, and the stream that it promises.
pub(crate) fn fragment(frame: FrameHeader, payload: &[u8]) -> Result<(Option<u32>, &[u8]), BrokenFrame> {
    if frame.kind == CONTINUATION {
        return Ok((None, payload));
    }
    let mut rest = unpadded(frame, payload)?;
    let mut promised = None;
    if frame.kind == HEADERS && frame.has(WITH_PRIORITY) {
        rest = rest.get(5..).ok_or(BrokenFrame::Size)?;
    }
    if frame.kind == PUSH_PROMISE {
        let (stream, behind) = rest.split_first_chunk::<4>().ok_or(BrokenFrame::Size)?;
        let stream = u32::from_be_bytes(*stream) & 0x7fff_ffff;
        if stream == 0 || stream % 2 == 1 {
            return Err(BrokenFrame::Protocol);
        }
        (promised, rest) = (Some(stream), behind);
    }
    Ok((promised, rest))
}

/// A payload without its padding (§6.1).
pub(crate) fn unpadded(frame: FrameHeader, payload: &[u8]) -> Result<&[u8], BrokenFrame> {
    if !frame.has(PADDED) {
        return Ok(payload);
    }
    let (pad, rest) = payload.split_first().ok_or(BrokenFrame::Size)?;
    let len = rest.len().checked_sub(usize::from(*pad)).ok_or(BrokenFrame::Protocol)?;
    Ok(rest.get(..len).unwrap_or_default())
}

/// What a small frame says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Reset {
        code: u32,
    },
    GoAway {
        last: u32,
    },
    /// SETTINGS that allow its sender's peer frames of this length.
    MaxFrame(u32),
    Other,
}

/// Reads the payload of any frame that is neither DATA nor part of a header block; its beginning is enough.
pub(crate) fn control(frame: FrameHeader, payload: &[u8]) -> Result<Control, BrokenFrame> {
    let word = |at: usize| payload.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    match frame.kind {
        RST_STREAM => Ok(Control::Reset { code: word(0).ok_or(BrokenFrame::Size)? }),
        GOAWAY => Ok(Control::GoAway { last: word(0).ok_or(BrokenFrame::Size)? & 0x7fff_ffff }),
        WINDOW_UPDATE if word(0).is_some_and(|increment| increment & 0x7fff_ffff == 0) => Err(BrokenFrame::Protocol),
        SETTINGS => {
            let (settings, _) = payload.as_chunks::<6>();
            let longest = settings.iter().rev().find_map(|[id, kind, a, b, c, d]| {
                ([*id, *kind] == [0, 5]).then(|| u32::from_be_bytes([*a, *b, *c, *d]))
            });
            Ok(longest.map_or(Control::Other, Control::MaxFrame))
        }
        _ => Ok(Control::Other),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes().chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
    }

    /// Header and whatever its payload says, or what is wrong with it.
    fn read(wire: &[u8]) -> Result<(FrameHeader, Vec<u8>, Option<u32>), BrokenFrame> {
        let (header, payload) = wire.split_first_chunk::<HEADER>().unwrap();
        let frame = FrameHeader::parse(header);
        frame.check(USUAL_MAX)?;
        if frame.is_block() {
            return fragment(frame, payload).map(|(promised, rest)| (frame, rest.to_vec(), promised));
        }
        if frame.kind == DATA {
            return unpadded(frame, payload).map(|data| (frame, data.to_vec(), None));
        }
        match control(frame, payload)? {
            Control::Reset { code } => Ok((frame, Vec::new(), Some(code))),
            Control::GoAway { last } => Ok((frame, Vec::new(), Some(last))),
            Control::MaxFrame(_) | Control::Other => Ok((frame, Vec::new(), None)),
        }
    }

    fn number(value: &serde_json::Value) -> Option<u32> {
        value.as_u64().and_then(|n| u32::try_from(n).ok())
    }

    /// ../shared/corpora/http2-frame-test-case: frames and what they say, and frames that are wrong.
    #[test]
    fn every_case_of_the_frame_suite_is_read() {
        let corpora = std::env::var_os("PODTAP_CORPORA")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"), PathBuf::from);
        let Ok(folders) = std::fs::read_dir(corpora.join("http2-frame-test-case")) else {
            eprintln!("SKIPPED every_case_of_the_frame_suite_is_read: no http2-frame-test-case among the corpora");
            return;
        };
        let mut cases = 0;
        for file in folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).into_iter().flatten()) {
            let path = file.unwrap().path();
            let case: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let found = read(&hex(case["wire"].as_str().unwrap()));
            cases += 1;
            if let Some(errors) = case["error"].as_array() {
                let code = match found {
                    Err(BrokenFrame::Protocol) => 1,
                    Err(BrokenFrame::Size) => 6,
                    Ok(frame) => panic!("{}: {frame:?} for {errors:?}", path.display()),
                };
                assert!(errors.iter().any(|e| e == code), "{}: {code} for {errors:?}", path.display());
                continue;
            }
            let (frame, text, word) = found.unwrap_or_else(|why| panic!("{}: {why:?}", path.display()));
            let expected = &case["frame"];
            let header = ["length", "type", "flags", "stream_identifier"].map(|name| number(&expected[name]).unwrap());
            assert_eq!([frame.len, frame.kind.into(), frame.flags.into(), frame.stream], header, "{}", path.display());
            let payload = &expected["frame_payload"];
            for name in ["data", "header_block_fragment"] {
                if let Some(expected) = payload[name].as_str() {
                    assert_eq!(text, expected.as_bytes(), "{}", path.display());
                }
            }
            let words = ["promised_stream_id", "error_code", "last_stream_id"].map(|name| number(&payload[name]));
            if let Some(word) = word {
                assert!(words.contains(&Some(word)), "{}: {word} in {words:?}", path.display());
            }
        }
        assert!(cases > 30, "{cases}");
    }

    #[test]
    fn text_and_zeros_are_no_frames() {
        for bytes in [b"GET / HTT", b"HTTP/1.1 ", &[0; 9], b"\x16\x03\x01\x02\0\x01\0\x01\xfc", b"{\"a\":\"b\"}"] {
            assert!(!FrameHeader::parse(bytes).is_plausible(USUAL_MAX), "{bytes:?}");
        }
        for wire in ["000000040100000000", "00000408000000000b", "000008060000000000", "00003f010400000001"] {
            let header: [u8; HEADER] = hex(wire).try_into().unwrap();
            assert!(FrameHeader::parse(&header).is_plausible(USUAL_MAX), "{wire}");
        }
    }
}
