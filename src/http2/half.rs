//! One direction of a connection, frame by frame.
//!
//! Takes frames apart across segments, gathers header blocks and decodes them, and knows what a hole in it means. What
//! frames mean for streams is in `streams`.

use super::chunk::{Mark, StreamChunk};
use super::frame::{self, Control, FrameHeader, PREFACE};
use super::search::BoundarySearch;
use crate::exchange::ExchangeContext;
use crate::flow::Timestamp;
use crate::hpack::HpackDecoder;
use crate::record::Weird;

/// Most CONTINUATION frames of one header block.
const MAX_CONTINUATIONS: u32 = 128;
/// As much of a small frame's payload is kept.
const MAX_SMALL: usize = 128;

/// Where the reader is.
#[derive(Debug)]
pub(super) enum HalfState {
    /// This many bytes of the preface are still to come.
    Preface(usize),
    /// In a frame's header.
    Header,
    /// In a frame's payload.
    Payload,
    /// Looking for a frame's beginning.
    Lost(Box<BoundarySearch>),
}

/// A header block under way, or whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockHead {
    pub(super) stream: u32,
    pub(super) promised: Option<u32>,
    pub(super) ends_stream: bool,
    pub(super) begun: Mark,
    /// Time of its last byte.
    pub(super) newest: Timestamp,
    /// Bytes of all its frames.
    pub(super) wire: u64,
    continuations: u32,
    /// It grew over a limit: read over, not kept.
    spoiled: bool,
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum HalfStep {
    Nothing,
    /// Payload of a DATA frame: this many bytes behind the first `skip` of those taken.
    Data {
        stream: u32,
        skip: usize,
        len: usize,
        wire: u64,
        ends: bool,
    },
    /// A header block is whole; its fields are in the context, unless it is `bad`.
    Block(BlockHead, Option<Weird>),
    Control(FrameHeader, Control),
    /// This cannot be a frame.
    Broken,
}

/// What a hole took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoleEffect {
    /// Bytes of one DATA frame; `sure`: all of them data, no padding.
    InData { stream: u32, sure: bool, ends: bool },
    /// Nothing that matters.
    Harmless,
    /// Frames, and with them whatever they said.
    Frames,
}

#[derive(Debug)]
pub(super) struct Half {
    pub(super) state: HalfState,
    header: [u8; frame::HEADER],
    have: u8,
    frame: FrameHeader,
    begun: Mark,
    /// Payload bytes still to come, and padding among them.
    left: u32,
    pad: u32,
    pad_unread: bool,
    /// Header blocks and small frames that do not come in one piece.
    buffer: Vec<u8>,
    /// Where the frame under way begins in it.
    fragment_at: usize,
    block: Option<BlockHead>,
    pub(super) decoder: HpackDecoder,
    /// If the next header block is HEADERS of this stream, no block was in the hole before it.
    pub(super) resumes_at: Option<u32>,
    /// Longest frame that its receiver allows.
    pub(super) longest: u32,
    pub(super) ended: bool,
}

impl Half {
    pub(super) fn new(state: HalfState) -> Self {
        let mut decoder = HpackDecoder::new();
        if matches!(state, HalfState::Lost(_)) {
            decoder.forget();
        }
        Self {
            state,
            header: [0; frame::HEADER],
            have: 0,
            frame: FrameHeader::default(),
            begun: Mark::default(),
            left: 0,
            pad: 0,
            pad_unread: false,
            buffer: Vec::new(),
            fragment_at: 0,
            block: None,
            decoder,
            resumes_at: None,
            longest: frame::USUAL_MAX,
            ended: false,
        }
    }

    /// Bytes that it keeps in memory.
    pub(super) fn kept(&self) -> usize {
        let search = if let HalfState::Lost(search) = &self.state { search.kept() } else { 0 };
        self.buffer.capacity() + self.decoder.kept() + search
    }

    /// Takes some bytes from the front of `chunk`, and says how many. Not while lost.
    pub(super) fn step(&mut self, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) -> (usize, HalfStep) {
        match self.state {
            HalfState::Preface(left) => self.preface(left, chunk, cx),
            HalfState::Header => self.header(chunk, cx),
            HalfState::Payload if self.frame.kind == frame::DATA => self.data(chunk, cx),
            HalfState::Payload if self.frame.is_block() => self.block(chunk, cx),
            HalfState::Payload => self.small(chunk, cx),
            HalfState::Lost(_) => (chunk.bytes.len(), HalfStep::Nothing),
        }
    }

    fn preface(&mut self, left: usize, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) -> (usize, HalfStep) {
        let n = left.min(chunk.bytes.len());
        cx.ledger.control += chunk.count(n);
        let expected = PREFACE.len().checked_sub(left).and_then(|at| PREFACE.get(at..at + n));
        if expected != chunk.bytes.get(..n) {
            return (n, HalfStep::Broken);
        }
        self.state = if n == left { HalfState::Header } else { HalfState::Preface(left - n) };
        (n, HalfStep::Nothing)
    }

    fn header(&mut self, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) -> (usize, HalfStep) {
        if self.have == 0 {
            self.begun = chunk.mark();
        }
        let mut used = 0;
        for (place, byte) in self.header.iter_mut().skip(usize::from(self.have)).zip(chunk.bytes) {
            *place = *byte;
            used += 1;
        }
        self.have += used as u8;
        cx.ledger.control += chunk.count(used);
        if usize::from(self.have) < frame::HEADER {
            return (used, HalfStep::Nothing);
        }
        self.have = 0;
        (used, self.begin(chunk.at, cx))
    }

    /// A frame's header is whole.
    fn begin(&mut self, at: Timestamp, cx: &mut ExchangeContext) -> HalfStep {
        let frame = FrameHeader::parse(&self.header);
        let fits = match self.block {
            Some(open) => frame.kind == frame::CONTINUATION && frame.stream == open.stream,
            // Its beginning was in a hole; its block is lost anyway.
            None => frame.kind != frame::CONTINUATION,
        };
        if !fits || frame.check(frame::MAX).is_err() {
            return HalfStep::Broken;
        }
        cx.ledger.h2_frames.add(frame.counted_as() as usize, 1);
        (self.frame, self.left, self.state) = (frame, frame.len, HalfState::Payload);
        self.pad_unread = frame.kind == frame::DATA && frame.has(frame::PADDED);
        self.pad = 0;
        match &mut self.block {
            None => self.buffer.clear(),
            Some(block) => {
                block.wire += u64::from(frame.len) + frame::HEADER as u64;
                block.continuations += 1;
                block.spoiled |= block.continuations > MAX_CONTINUATIONS;
            }
        }
        self.fragment_at = self.buffer.len();
        if frame.is_block() && self.block.is_none() {
            if self.resumes_at.take() == Some(frame.stream) && frame.kind == frame::HEADERS {
                self.decoder.resume();
            }
            self.block = Some(BlockHead {
                stream: frame.stream,
                promised: None,
                ends_stream: frame.ends_stream(),
                begun: self.begun,
                newest: at,
                wire: u64::from(frame.len) + frame::HEADER as u64,
                continuations: 0,
                spoiled: false,
            });
        }
        if self.left > 0 { HalfStep::Nothing } else { self.end(at, cx) }
    }

    /// The frame under way is whole.
    fn end(&mut self, at: Timestamp, cx: &mut ExchangeContext) -> HalfStep {
        self.state = HalfState::Header;
        let frame = self.frame;
        if frame.kind == frame::DATA {
            let wire = frame::HEADER as u64;
            return HalfStep::Data { stream: frame.stream, skip: 0, len: 0, wire, ends: frame.ends_stream() };
        }
        if frame.is_block() {
            return self.end_fragment(at, cx);
        }
        match frame::control(frame, &self.buffer) {
            Ok(control) => HalfStep::Control(frame, control),
            Err(_) => HalfStep::Control(frame, Control::Other),
        }
    }

    fn data(&mut self, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) -> (usize, HalfStep) {
        let first = if self.left == self.frame.len { frame::HEADER as u64 } else { 0 };
        let mut skip = 0;
        if self.pad_unread
            && let Some(pad) = chunk.bytes.first()
        {
            (skip, self.pad_unread) = (1, false);
            self.left -= 1;
            self.pad = u32::from(*pad);
            if self.pad > self.left {
                cx.ledger.bodies += chunk.count(1);
                return (1, HalfStep::Broken);
            }
        }
        let there = chunk.bytes.len() - skip;
        let len = there.min((self.left - self.pad) as usize);
        let padding = (there - len).min(if len == (self.left - self.pad) as usize { self.pad as usize } else { 0 });
        self.left -= (len + padding) as u32;
        self.pad -= padding as u32;
        let used = skip + len + padding;
        cx.ledger.bodies += chunk.count(used);
        if self.left == 0 {
            self.state = HalfState::Header;
        }
        let ends = self.left == 0 && self.frame.ends_stream();
        (used, HalfStep::Data { stream: self.frame.stream, skip, len, wire: used as u64 + first, ends })
    }

    fn block(&mut self, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) -> (usize, HalfStep) {
        let n = chunk.bytes.len().min(self.left as usize);
        let bytes = chunk.bytes.get(..n).unwrap_or_default();
        cx.ledger.heads += chunk.count(n);
        let untouched = self.left == self.frame.len;
        self.left -= n as u32;
        let whole = self.left == 0 && untouched && self.frame.has(frame::END_HEADERS);
        if whole && self.frame.kind != frame::CONTINUATION {
            self.state = HalfState::Header;
            return (n, self.whole_fragment(bytes, chunk.at, cx));
        }
        let limit = cx.head_limit();
        if let Some(block) = &mut self.block {
            block.newest = block.newest.max(chunk.at);
            block.spoiled |= self.buffer.len() + n > limit;
            if !block.spoiled {
                self.buffer.extend_from_slice(bytes);
            }
        }
        if self.left > 0 { (n, HalfStep::Nothing) } else { (n, self.end(chunk.at, cx)) }
    }

    /// A header block that came in one piece is decoded where it is.
    fn whole_fragment(&mut self, payload: &[u8], at: Timestamp, cx: &mut ExchangeContext) -> HalfStep {
        let Some(mut block) = self.block.take() else { return HalfStep::Nothing };
        block.newest = block.newest.max(at);
        let Ok((promised, fragment)) = frame::fragment(self.frame, payload) else { return HalfStep::Broken };
        block.promised = promised;
        let bad = self.decoder.decode(fragment, &mut cx.block).err().map(|_| Weird::BadHeaderBlock);
        HalfStep::Block(block, bad)
    }

    /// A part of a header block is whole, in the buffer from `fragment_at` on.
    fn end_fragment(&mut self, at: Timestamp, cx: &mut ExchangeContext) -> HalfStep {
        let Some(block) = &mut self.block else { return HalfStep::Nothing };
        block.newest = block.newest.max(at);
        if !block.spoiled && self.frame.kind != frame::CONTINUATION {
            let payload = self.buffer.get(self.fragment_at..).unwrap_or_default();
            let Ok((promised, fragment)) = frame::fragment(self.frame, payload) else { return HalfStep::Broken };
            block.promised = promised;
            // What is in front of the fragment, and its padding, go.
            let begin = fragment.as_ptr() as usize - payload.as_ptr() as usize;
            let len = fragment.len();
            self.buffer.truncate(self.fragment_at + begin + len);
            self.buffer.drain(self.fragment_at..self.fragment_at + begin);
        }
        if !self.frame.has(frame::END_HEADERS) {
            return HalfStep::Nothing;
        }
        let block = *block;
        self.block = None;
        let buffer = std::mem::take(&mut self.buffer);
        if block.spoiled {
            self.decoder.forget();
            return HalfStep::Block(block, Some(Weird::HeadTooLarge));
        }
        let bad = self.decoder.decode(&buffer, &mut cx.block).err().map(|_| Weird::BadHeaderBlock);
        HalfStep::Block(block, bad)
    }

    fn small(&mut self, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) -> (usize, HalfStep) {
        let n = chunk.bytes.len().min(self.left as usize);
        cx.ledger.control += chunk.count(n);
        let room = MAX_SMALL.saturating_sub(self.buffer.len()).min(n);
        self.buffer.extend_from_slice(chunk.bytes.get(..room).unwrap_or_default());
        self.left -= n as u32;
        if self.left > 0 { (n, HalfStep::Nothing) } else { (n, self.end(chunk.at, cx)) }
    }

    /// The next `len` bytes are missing. Where `may_resume`, it may turn out that no header block was among them.
    pub(super) fn skip(&mut self, len: u64, may_resume: bool) -> HoleEffect {
        let inside = matches!(self.state, HalfState::Payload) && len <= u64::from(self.left) && !self.frame.is_block();
        let says_nothing = !matches!(self.frame.kind, frame::RST_STREAM | frame::GOAWAY);
        if inside && self.frame.kind == frame::DATA {
            self.left -= len as u32;
            // Whether padding was among it no one knows: it only shortens what is counted.
            (self.pad, self.pad_unread) = (self.pad.min(self.left), false);
            if self.left == 0 {
                self.state = HalfState::Header;
            }
            let ends = self.left == 0 && self.frame.ends_stream();
            return HoleEffect::InData { stream: self.frame.stream, sure: !self.frame.has(frame::PADDED), ends };
        }
        if inside && says_nothing {
            self.left -= len as u32;
            if self.left == 0 {
                self.state = HalfState::Header;
            }
            return HoleEffect::Harmless;
        }
        if may_resume && self.block.is_none() {
            self.decoder.suspend();
        } else {
            self.decoder.forget();
        }
        self.search();
        HoleEffect::Frames
    }

    /// Frames are missing, or what follows is none: looks for the next one, and trusts nothing that was inserted.
    pub(super) fn lose(&mut self) {
        self.decoder.forget();
        self.search();
    }

    fn search(&mut self) {
        self.state = HalfState::Lost(Box::default());
        (self.block, self.have, self.left, self.resumes_at) = (None, 0, 0, None);
        self.buffer = Vec::new();
    }

    /// The stream whose DATA frame is under way.
    pub(super) fn in_data_of(&self) -> Option<u32> {
        (matches!(self.state, HalfState::Payload) && self.frame.kind == frame::DATA).then_some(self.frame.stream)
    }
}
