//! A chain of frames, each of which begins where the one before it ended.
//!
//! One header of nine bytes proves nothing; a chain must fit together in types, lengths, flags and stream ids, and its header
//! blocks must decode, be their sender's, and open streams in order. Holds no bytes; whether it is believed `search` decides.

use std::collections::{BTreeMap, BTreeSet};

use super::chunk::Mark;
use super::frame::{self, FrameHeader};
use crate::flow::Timestamp;
use crate::hpack::{HeaderBlock, HpackDecoder};
use crate::record::ConnectionSide;

/// How far apart the streams of one chain may be.
const SPREAD: u32 = 4096;
/// So much is proof where nothing contradicts: three frames, or two of a kind that cannot be chance.
pub(super) const PROOF: u32 = 3;
/// Most frames of streams that are remembered of one chain: the newest ones.
const MAX_TOUCHED: usize = 1024;
/// What one of its kinds takes in memory.
const SIZE_OF_KIND: usize = 2 * size_of::<(u32, TouchingFrame)>();

/// What is known of the stream that is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SearchKnowledge {
    /// Longest frame that its receiver allows.
    pub(crate) longest: u32,
    /// The connection speaks HTTP/2, and this is the newest stream that its client opened: less is proof enough.
    pub(crate) newest: Option<u32>,
    /// Who sends it.
    pub(crate) sender: Option<ConnectionSide>,
}

/// A frame of a stream, in a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TouchedStream {
    pub(crate) stream: u32,
    /// Where the frame begins.
    pub(crate) at: u64,
    /// When it was whole.
    when: Timestamp,
    pub(crate) frame: TouchingFrame,
}

/// What a frame does to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TouchingFrame {
    /// A client's head: opens it.
    Asks,
    /// A server's final head.
    Answers,
    /// Another header block: trailers, 1xx, one that does not say what it is.
    Block,
    Data,
    /// Resets it, or says how much may be sent.
    Other,
}

/// Where the chains of both directions speak of the same streams: of one that the client opens and the server has frames of
/// later; where it opens none, of one that both have frames of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAgreement {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) last_answered: u64,
}

/// A chain of the client of which the server has heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfirmedChain {
    pub(crate) begin: u64,
    /// Streams are opened in front of that, the newest one then, which the server has not heard of so far.
    pub(crate) unheard: Option<Timestamp>,
}

/// Frames, each of which begins where the one before it ended.
#[derive(Debug)]
pub(crate) struct FrameChain {
    pub(crate) begun: Mark,
    /// Where its next frame begins.
    pub(super) next: u64,
    /// Where its last one does.
    pub(super) last: u64,
    pub(crate) weight: u32,
    /// Whose it is, where a header block says so.
    pub(crate) said: Option<ConnectionSide>,
    /// Behind the client's preface.
    pub(crate) preface: bool,
    /// Its first frame that no frame encloses whose header was not seen.
    pub(crate) proven_at: Option<u64>,
    touched: Vec<TouchedStream>,
    /// The streams and kinds in it.
    kinds: BTreeSet<(u32, TouchingFrame)>,
    low: Option<u32>,
    high: Option<u32>,
    /// Newest stream that was opened.
    opened: u32,
    /// A header block goes on, on this stream.
    open: Option<u32>,
    /// A frame with a whole header block, which is not there yet.
    pending: Option<(FrameHeader, u64)>,
}

/// What one more frame makes of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkFit {
    Fits,
    /// It contradicts what came before it: it or that is no frame.
    Contradicts,
    /// It is no frame.
    NoFrame,
}

impl FrameChain {
    /// Begins with `frame`; `None`: it is none.
    pub(super) fn begin(frame: FrameHeader, begun: Mark, preface: bool, known: SearchKnowledge) -> Option<Self> {
        let mut chain = Self {
            begun,
            next: begun.offset,
            last: begun.offset,
            weight: 0,
            said: None,
            preface: false,
            proven_at: None,
            touched: Vec::new(),
            kinds: BTreeSet::new(),
            low: None,
            high: None,
            opened: 0,
            open: None,
            pending: None,
        };
        chain.begin_again(begun, known);
        chain.preface = preface;
        (chain.link(frame, known) == LinkFit::Fits).then(|| chain.took(frame, begun, known)).map(|()| chain)
    }

    /// Whatever came before `begun` is not part of it.
    pub(super) fn begin_again(&mut self, begun: Mark, known: SearchKnowledge) {
        (self.begun, self.weight, self.said, self.open, self.pending) = (begun, 0, None, None, None);
        (self.low, self.high, self.opened) = (known.newest, known.newest, known.newest.unwrap_or(0));
        self.preface = false;
        self.proven_at = self.proven_at.filter(|at| *at >= begun.offset);
        self.touched.clear();
        self.kinds.clear();
    }

    /// What is in front of `first` is not held any more: it begins with the first frame of a stream behind that. Says whether there
    /// is one.
    pub(super) fn shorten(&mut self, first: u64) -> bool {
        self.forget_touched(|touched| touched.at >= first);
        let Some(begun) = self.touched.first() else { return false };
        self.begun = Mark { at: begun.when, offset: begun.at };
        self.proven_at = self.proven_at.map(|at| at.max(begun.at));
        self.pending.is_none_or(|(_, at)| at >= first)
    }

    /// The next frame, which begins at `at`; says whether the chain goes on.
    pub(super) fn add(&mut self, frame: FrameHeader, at: Mark, known: SearchKnowledge) -> bool {
        match self.link(frame, known) {
            LinkFit::NoFrame => return false,
            LinkFit::Fits => {}
            LinkFit::Contradicts => {
                self.begin_again(at, known);
                if self.link(frame, known) != LinkFit::Fits {
                    return false;
                }
            }
        }
        self.took(frame, at, known);
        true
    }

    fn took(&mut self, frame: FrameHeader, mark: Mark, known: SearchKnowledge) {
        let at = mark.offset;
        self.last = at;
        self.next = at + frame::HEADER as u64 + u64::from(frame.len);
        if frame.stream != 0 {
            let (low, high) = (self.low.unwrap_or(frame.stream), self.high.unwrap_or(frame.stream));
            (self.low, self.high) = (Some(low.min(frame.stream)), Some(high.max(frame.stream)));
        }
        if frame.is_block() {
            self.open = (!frame.has(frame::END_HEADERS)).then_some(frame.stream);
            if self.open.is_none() && frame.kind != frame::CONTINUATION {
                self.pending = Some((frame, at));
                return;
            }
        }
        let plausible = frame.is_plausible(known.longest) && !says_nothing(frame);
        self.weight += if frame.has_fixed_length() { 2 } else { u32::from(plausible) };
        let client = known.sender.or(self.said) == Some(ConnectionSide::Client);
        let does = match frame.kind {
            frame::DATA => TouchingFrame::Data,
            // The rest of its block is in CONTINUATION, and is not read here.
            frame::HEADERS if client && frame.stream > self.opened => TouchingFrame::Asks,
            frame::HEADERS => TouchingFrame::Block,
            _ => TouchingFrame::Other,
        };
        if does == TouchingFrame::Asks {
            self.opened = frame.stream;
        }
        self.touch(frame.stream, at, mark.at, does);
    }

    /// Of what only goes on, the first frame of each stream is remembered.
    fn touch(&mut self, stream: u32, at: u64, when: Timestamp, frame: TouchingFrame) {
        let goes_on = matches!(frame, TouchingFrame::Data | TouchingFrame::Other);
        if stream == 0 || (!self.kinds.insert((stream, frame)) && goes_on) {
            return;
        }
        if self.touched.len() >= MAX_TOUCHED {
            let first = self.touched.get(MAX_TOUCHED / 2).map_or(at, |touched| touched.at);
            self.forget_touched(|touched| touched.at >= first);
        }
        self.touched.push(TouchedStream { stream, at, when, frame });
    }

    fn forget_touched(&mut self, stays: impl Fn(&TouchedStream) -> bool) {
        self.touched.retain(stays);
        self.kinds = self.touched.iter().map(|touched| (touched.stream, touched.frame)).collect();
    }

    /// Whether `frame` can follow, by its header alone.
    fn link(&self, frame: FrameHeader, known: SearchKnowledge) -> LinkFit {
        let goes_on = frame.kind == frame::CONTINUATION && self.open == Some(frame.stream);
        let usual = frame.is_plausible(known.longest) && !says_nothing(frame);
        let strange = self.weight >= PROOF && frame.is_strange(known.longest);
        if !(usual || strange) || goes_on != (frame.kind == frame::CONTINUATION || self.open.is_some()) {
            return LinkFit::NoFrame;
        }
        let (low, high) = (self.low.unwrap_or(frame.stream), self.high.unwrap_or(frame.stream));
        let near = frame.stream <= low.saturating_add(SPREAD) && high <= frame.stream.saturating_add(SPREAD);
        if frame.stream != 0 && !near { LinkFit::Contradicts } else { LinkFit::Fits }
    }

    /// Where the header block that it waits for is: in the payload of the frame that begins there.
    pub(super) fn pending(&self) -> Option<u64> {
        self.pending.map(|(_, at)| at)
    }

    /// The payload that it waited for; says whether the chain goes on.
    pub(super) fn resolve(&mut self, payload: &[u8], mark: Mark, when: Timestamp, known: SearchKnowledge) -> bool {
        let Some((frame, at)) = self.pending.take() else { return true };
        let mut block = HeaderBlock::default();
        let mut decoder = HpackDecoder::new();
        decoder.forget();
        let fragment = frame::fragment(frame, payload).ok().map(|(_, fragment)| fragment);
        if fragment.is_none_or(|fragment| decoder.decode(fragment, &mut block).is_err()) {
            return false;
        }
        let promises = frame.kind == frame::PUSH_PROMISE;
        let said = if promises { Some(ConnectionSide::Server) } else { sender_of(&block) };
        if known.sender.is_some() && said.is_some() && known.sender != said {
            return false;
        }
        if self.said.is_none() && said == Some(ConnectionSide::Client) {
            self.take_blocks_for_requests();
        }
        let sender = known.sender.or(said).or(self.said);
        let does = match sender {
            _ if promises => TouchingFrame::Other,
            Some(ConnectionSide::Client) if said.is_some() || frame.stream > self.opened => TouchingFrame::Asks,
            Some(ConnectionSide::Server) if is_final(&block) => TouchingFrame::Answers,
            _ => TouchingFrame::Block,
        };
        let again = does == TouchingFrame::Answers && self.kinds.contains(&(frame.stream, does));
        let other_side = self.said.is_some() && said.is_some() && self.said != said;
        let in_order = does != TouchingFrame::Asks || frame.stream > self.opened;
        if again || other_side || !in_order {
            self.begin_again(mark, known);
            if does == TouchingFrame::Asks && frame.stream <= self.opened {
                return false;
            }
        }
        if does == TouchingFrame::Asks {
            self.opened = frame.stream;
        }
        self.said = said.or(self.said);
        self.weight += 1 + u32::from(said.is_some());
        self.touch(frame.stream, at, when, does);
        true
    }

    /// It is the client's: blocks that did not say whose they are open their streams, as far as those rise.
    fn take_blocks_for_requests(&mut self) {
        let opened = &mut self.opened;
        let blocks = self.touched.iter_mut().filter(|touched| touched.frame == TouchingFrame::Block);
        for block in blocks {
            if block.stream > *opened {
                (block.frame, *opened) = (TouchingFrame::Asks, block.stream);
            }
        }
        self.forget_touched(|_| true);
    }

    /// Its frames of streams, as far as they are remembered.
    pub(crate) fn touched(&self) -> &[TouchedStream] {
        &self.touched
    }

    /// Where it is believed from: where it opens the first of its streams that was `heard` of later, and if before that there
    /// are only bodies that go on, from its beginning on.
    pub(crate) fn confirmed(&self, heard: impl Fn(u32, Timestamp) -> bool) -> Option<ConfirmedChain> {
        let asks = |touched: &TouchedStream| touched.frame == TouchingFrame::Asks;
        let at = self.touched.iter().position(|touched| asks(touched) && heard(touched.stream, touched.when))?;
        let (before, behind) = self.touched.split_at_checked(at)?;
        let only_bodies = before.iter().all(|touched| touched.frame == TouchingFrame::Data);
        let begin = if only_bodies { self.begun.offset } else { behind.first()?.at };
        Some(ConfirmedChain { begin, unheard: before.iter().filter(|touched| asks(touched)).map(|t| t.when).max() })
    }

    /// When it opened the newest stream in front of the place where it is proven.
    pub(crate) fn asked_before_proof(&self) -> Option<Timestamp> {
        let proven = self.proven_at?;
        let before = self.touched.iter().take_while(|touched| touched.at < proven);
        before.filter(|touched| touched.frame == TouchingFrame::Asks).map(|touched| touched.when).max()
    }

    /// Where it and the chain of the server agree.
    pub(crate) fn agreement(&self, server: &Self) -> Option<FrameAgreement> {
        let mut first = BTreeMap::new();
        for other in server.touched.iter().rev() {
            first.insert(other.stream, other);
        }
        let asks: Vec<_> = self.touched.iter().filter(|touched| touched.frame == TouchingFrame::Asks).collect();
        let answer = |asked: &TouchedStream| {
            let answer = first.get(&asked.stream).filter(|other| other.when >= asked.when)?;
            Some((asked.at, answer.at))
        };
        let shared = || self.touched.iter().find_map(|mine| first.get(&mine.stream).map(|other| (mine.at, other.at)));
        let (asked, at) = match asks.iter().find_map(|asked| answer(asked)) {
            None if asks.is_empty() => shared()?,
            found => found?,
        };
        let answers = || asks.iter().filter_map(|asked| answer(asked)).map(|(_, answered)| answered);
        Some(FrameAgreement {
            asked,
            answered: answers().min().unwrap_or(at),
            last_answered: answers().max().unwrap_or(at),
        })
    }

    /// Bytes that it keeps in memory.
    pub(super) fn kept(&self) -> usize {
        self.touched.capacity() * size_of::<TouchedStream>() + self.kinds.len() * SIZE_OF_KIND
    }
}

/// Whether it is a frame that hardly anyone sends, for it says nothing.
fn says_nothing(frame: FrameHeader) -> bool {
    frame.len == 0 && (frame.kind == frame::HEADERS || (frame.kind == frame::DATA && !frame.ends_stream()))
}

/// Who sends such a block: requests and responses have different pseudo-headers (RFC 9113 §8.3).
fn sender_of(block: &HeaderBlock) -> Option<ConnectionSide> {
    block.fields().find_map(|field| match field.name? {
        b":method" | b":path" | b":scheme" | b":authority" | b":protocol" => Some(ConnectionSide::Client),
        b":status" | b"grpc-status" => Some(ConnectionSide::Server),
        _ => None,
    })
}

/// Whether it is the head of a final response.
fn is_final(block: &HeaderBlock) -> bool {
    block
        .fields()
        .any(|field| field.name == Some(b":status") && field.value.is_some_and(|value| !value.starts_with(b"1")))
}
