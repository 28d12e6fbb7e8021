//! HTTP/2 (RFC 9113): the bytes of a connection to exchanges.
//!
//! `frame` says what a frame's header is, and `half` takes one direction apart. `search` finds the next frame where bytes are
//! missing, by a `chain` of them, and `message` reads a header block. `stream` and `streams` make records of them;
//! `crate::grpc` counts messages in them. `Http2Connection` holds them together. Sees no packet, and no HTTP/1.

mod chain;
mod chunk;
mod frame;
mod half;
mod message;
mod search;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::exchange::{self, ExchangeContext, head_fields, unanswered_by};
use crate::flow::{Direction, Timestamp};
use crate::hpack::HeaderBlock;
use crate::record::{ConnectionSide, EarlyEnd, EndedHow, HttpRequest, UnansweredReason, Weird};
use crate::tcp::{CloseReason, ConnSummary, StreamEvent};

pub(crate) use self::chain::{FrameChain, SearchKnowledge};
pub(crate) use self::chunk::StreamChunk;
use self::frame::{Control, PREFACE};
use self::half::{Half, HalfState, HalfStep, HoleEffect};
use self::message::BlockMessage;
pub(crate) use self::search::BoundarySearch;
use self::streams::{Arrived, Http2Streams};

/// Longest frame that is looked for where no one saw what the peers agreed on.
pub(crate) const USUAL_MAX: u32 = frame::USUAL_MAX;

/// Most streams that are remembered as heard of.
const MAX_HEARD: usize = 256;
/// So long requests behind a hole wait for an answer while one that came after them has one (nanoseconds); shorter than answers
/// wait for their requests.
const OVERTAKEN: u64 = 500_000_000;
/// So long they wait while nothing is answered, though what follows them is believed by now (nanoseconds).
const UNHEARD: u64 = 10_000_000_000;

/// How a connection came to speak HTTP/2.
#[derive(Debug)]
pub(crate) enum Http2Beginning {
    /// By its preface, of which this many bytes are still to come.
    Preface(usize),
    /// By Upgrade: this was the request, and stream 1 is its answer.
    Upgrade(Option<Box<HttpRequest>>),
    /// We joined late.
    Midstream,
}

/// The HTTP/2 analyzer of one connection.
#[derive(Debug)]
pub(crate) struct Http2Connection {
    client: Direction,
    low: Half,
    high: Half,
    streams: Http2Streams,
    /// Events so far.
    events: u64,
    /// Streams that the server had frames of while the client's frames are looked for, and when the last one came.
    heard: BTreeMap<u32, Timestamp>,
    /// What was accounted for in the context's room.
    kept: usize,
}

impl Http2Connection {
    pub(crate) fn new(
        conn: &ConnSummary,
        client: Direction,
        beginning: Http2Beginning,
        proxied: Option<std::net::IpAddr>,
        cx: &mut ExchangeContext,
    ) -> Self {
        cx.ledger.h2_connections += 1;
        cx.protocols.count("h2".into());
        let shared = exchange::connection(conn, client, &cx.config);
        let late = matches!(beginning, Http2Beginning::Midstream);
        let state = |side| match (&beginning, side) {
            (Http2Beginning::Midstream, _) => HalfState::Lost(Box::default()),
            (Http2Beginning::Preface(left), ConnectionSide::Client) if *left > 0 => HalfState::Preface(*left),
            (Http2Beginning::Upgrade(_), ConnectionSide::Client) => HalfState::Preface(PREFACE.len()),
            (Http2Beginning::Preface(_) | Http2Beginning::Upgrade(_), _) => HalfState::Header,
        };
        let (asks, answers) = (Half::new(state(ConnectionSide::Client)), Half::new(state(ConnectionSide::Server)));
        let (low, high) = if client == Direction::FromLow { (asks, answers) } else { (answers, asks) };
        let streams = Http2Streams::new(shared, conn.connect_ns.filter(|_| !late), proxied, late);
        let mut connection = Self { client, low, high, streams, events: 0, heard: BTreeMap::new(), kept: 0 };
        if let Http2Beginning::Upgrade(Some(request)) = beginning {
            connection.streams.upgraded(*request, cx);
        }
        connection
    }

    /// A frame of `from` begins with what is fed next.
    pub(crate) fn begin_at_frame(&mut self, from: Direction) {
        self.half(from).state = HalfState::Header;
    }

    /// We joined late and saw little of what came up to `at`.
    pub(crate) fn unsure(&mut self, at: Timestamp) {
        self.streams.unsure(at);
    }

    /// Its preface came, and what was in front of it was not seen: it may be an Upgrade.
    pub(crate) fn lose_beginning(&mut self) {
        let server = self.client.flip();
        self.half(server).lose();
        self.streams.upgrade_unseen = true;
    }

    /// Bytes of `from` are missing, no one knows how many.
    pub(crate) fn break_off(&mut self, from: Direction, at: Timestamp, cx: &mut ExchangeContext) {
        let side = self.side(from);
        self.half(from).lose();
        self.streams.on_hole(side, at, cx);
    }

    pub(crate) fn on_event(&mut self, from: Direction, event: StreamEvent<'_>, cx: &mut ExchangeContext) {
        match event {
            StreamEvent::Data { at, offset, ack: _, bytes } => {
                cx.ledger.bytes += bytes.len() as u64;
                self.feed(from, StreamChunk { at, offset, bytes, counted: false }, cx);
            }
            StreamEvent::Gap { at, offset: _, len, cause: _ } => self.on_gap(from, len, at, cx),
            StreamEvent::End { at } => self.on_end(from, at, cx),
        }
        self.account(cx);
    }

    pub(crate) fn on_tick(&mut self, now: Timestamp, cx: &mut ExchangeContext) {
        self.settle_both(now, false, cx);
        self.doubt_what_is_lost(now);
        if !self.streams.is_empty() {
            self.streams.on_tick(now, cx);
        }
    }

    pub(crate) fn on_close(&mut self, at: Timestamp, reason: CloseReason, cx: &mut ExchangeContext) {
        if let CloseReason::Reset(from) = reason {
            let by = Some(self.side(from));
            self.streams.ended.get_or_insert(EarlyEnd { by, how: EndedHow::Rst });
        }
        self.settle_both(at, true, cx);
        self.doubt_what_is_lost(at);
        self.streams.drain(at, unanswered_by(reason), cx);
        cx.let_go(self.kept);
    }

    /// Where frames of the server begin is not known by now: answers may have been among them.
    fn doubt_what_is_lost(&mut self, at: Timestamp) {
        let server = self.client.flip();
        if matches!(self.half(server).state, HalfState::Lost(_)) {
            self.streams.unsure(at);
        }
    }

    fn side(&self, from: Direction) -> ConnectionSide {
        if from == self.client { ConnectionSide::Client } else { ConnectionSide::Server }
    }

    fn is_lost(&self, from: Direction) -> bool {
        matches!(from.pick(&self.low, &self.high).state, HalfState::Lost(_))
    }

    fn half(&mut self, from: Direction) -> &mut Half {
        from.pick(&mut self.low, &mut self.high)
    }

    /// Keeps account of what both halves keep; where all together keep too much, tables go first.
    fn account(&mut self, cx: &mut ExchangeContext) {
        cx.recount(&mut self.kept, self.low.kept() + self.high.kept());
        if cx.is_full() {
            self.shed(cx);
        }
    }

    #[cold]
    fn shed(&mut self, cx: &mut ExchangeContext) {
        for half in [&mut self.low, &mut self.high] {
            half.decoder.forget();
            if let HalfState::Lost(search) = &mut half.state {
                **search = BoundarySearch::default();
            }
        }
        let now = self.low.kept() + self.high.kept();
        cx.keep(now);
        cx.let_go(self.kept);
        self.kept = now;
    }

    /// The next bytes of the stream `from`; they count in the ledger's `bytes` already.
    pub(crate) fn feed(&mut self, from: Direction, mut chunk: StreamChunk<'_>, cx: &mut ExchangeContext) {
        self.events += 1;
        while !chunk.bytes.is_empty() {
            if matches!(self.half(from).state, HalfState::Lost(_)) {
                self.seek(from, &chunk, cx);
                return;
            }
            let (used, step) = self.half(from).step(&chunk, cx);
            self.act(from, &chunk, step, cx);
            chunk.advance(used);
        }
        if from != self.client {
            self.settle(self.client, chunk.at, false, cx);
        }
    }

    fn act(&mut self, from: Direction, chunk: &StreamChunk<'_>, step: HalfStep, cx: &mut ExchangeContext) {
        let side = self.side(from);
        if side == ConnectionSide::Server {
            self.hear(&step, chunk.at);
        }
        match step {
            HalfStep::Nothing => {}
            HalfStep::Data { stream, skip, len, wire, ends } => {
                let bytes = chunk.bytes.get(skip..skip + len).unwrap_or_default();
                if self.streams.on_data(side, stream, chunk.at, bytes, (wire, ends), cx) {
                    self.expect_block(from);
                }
            }
            HalfStep::Block(head, bad) => self.on_block(from, head, bad, cx),
            // What the server had sent by then is not read so far.
            HalfStep::Control(frame, Control::Reset { .. })
                if side == ConnectionSide::Client && self.is_lost(from.flip()) =>
            {
                self.streams.doubt_reset(frame.stream);
            }
            HalfStep::Control(frame, Control::Reset { code }) => {
                self.streams.on_reset(side, frame.stream, code, chunk.at, cx);
            }
            HalfStep::Control(_, Control::GoAway { last }) if side == ConnectionSide::Server => {
                self.streams.on_goaway(last, chunk.at, cx);
            }
            HalfStep::Control(_, Control::MaxFrame(longest)) => {
                self.half(from.flip()).longest = longest.min(frame::MAX)
            }
            HalfStep::Control(_, Control::GoAway { .. } | Control::Other) => {}
            HalfStep::Broken => {
                cx.ledger.weird.add(Weird::BadFrame as usize, 1);
                self.break_off(from, chunk.at, cx);
            }
        }
    }

    fn on_block(&mut self, from: Direction, head: half::BlockHead, bad: Option<Weird>, cx: &mut ExchangeContext) {
        let block: HeaderBlock = std::mem::take(&mut cx.block);
        let mut headers = Vec::new();
        let mut keep = head_fields(&cx.config.headers, &cx.redactor, &mut headers);
        let message = match bad {
            Some(_) => BlockMessage::empty(),
            None => BlockMessage::read(&block, keep.as_mut().map(|k| k as &mut dyn FnMut(&[u8], &[u8]) -> bool)),
        };
        drop(keep);
        cx.ledger.h2_blocks += 1;
        cx.ledger.h2_blocks_hidden += u64::from(message.hidden > 0 || bad.is_some());
        let (from, epoch) = (self.side(from), self.half(from).decoder.epoch());
        self.streams.on_block(Arrived { from, head, message, headers, bad, epoch }, cx);
        cx.block = block;
    }

    /// A stream that the server has a frame of: it has the request.
    fn hear(&mut self, step: &HalfStep, at: Timestamp) {
        let stream = match step {
            HalfStep::Block(head, _) => head.stream,
            HalfStep::Data { stream, .. } => *stream,
            HalfStep::Control(frame, _) => frame.stream,
            HalfStep::Nothing | HalfStep::Broken => 0,
        };
        let client = self.client;
        if stream == 0 || !matches!(self.half(client).state, HalfState::Lost(_)) {
            return;
        }
        let heard = self.heard.entry(stream).or_insert(at);
        *heard = at.max(*heard);
        if self.heard.len() > MAX_HEARD {
            self.heard.pop_first();
        }
    }

    /// Looks for a frame's beginning. What is held counts as passed over, whatever becomes of it: counters only grow.
    fn seek(&mut self, from: Direction, chunk: &StreamChunk<'_>, cx: &mut ExchangeContext) {
        let event = self.events;
        cx.ledger.resync += chunk.count(chunk.bytes.len());
        let known = self.known(from);
        let HalfState::Lost(search) = &mut self.half(from).state else { return };
        search.take(chunk, event, known);
        self.settle(from, chunk.at, false, cx);
    }

    fn known(&mut self, from: Direction) -> SearchKnowledge {
        let newest = self.streams.newest;
        let (sender, longest) = (Some(self.side(from)), self.half(from).longest);
        SearchKnowledge { longest, newest: (newest > 0).then_some(newest), sender }
    }

    /// The server's frames first: they show what its client asked.
    fn settle_both(&mut self, now: Timestamp, last: bool, cx: &mut ExchangeContext) {
        self.settle(self.client.flip(), now, last, cx);
        self.settle(self.client, now, last, cx);
    }

    /// Goes on at a frame's beginning, once one is believed; `last`: no more will come that shows it.
    fn settle(&mut self, from: Direction, now: Timestamp, last: bool, cx: &mut ExchangeContext) {
        let Some(begin) = self.believed(from, now, last) else { return };
        let half = self.half(from);
        let HalfState::Lost(search) = &mut half.state else { return };
        let search = std::mem::take(search);
        half.state = HalfState::Header;
        let server = self.client.flip();
        if from == server {
            self.streams.unsure(now);
        } else {
            self.heard = BTreeMap::new();
        }
        if search.passes_over(begin) {
            let side = self.side(from);
            self.streams.on_hole(side, now, cx);
        }
        for (_, piece) in search.pieces(begin) {
            self.feed(from, piece, cx);
        }
    }

    /// Where frames begin again. Those of the client are believed where the server has heard of one, those of the server where
    /// they answer what was asked, and nothing contradicts that for as long as a frame around them might last.
    fn believed(&mut self, from: Direction, now: Timestamp, last: bool) -> Option<u64> {
        let known = self.known(from);
        let HalfState::Lost(search) = &from.pick(&self.low, &self.high).state else { return None };
        let chain = search.chain(now)?;
        if from == self.client {
            return self.begin_of_requests(chain, now, last);
        }
        let begin = chain.begun.offset;
        if chain.touched().iter().all(|touched| self.streams.may_come(touched)) {
            let believed = search.is_weighty(chain, known) && (last || chain.has_lasted(now));
            return if believed { self.begin_of_answers(chain, now) } else { None };
        }
        if let HalfState::Lost(search) = &mut self.half(from).state {
            search.distrust(begin, known);
        }
        None
    }

    /// From where on a chain of the client is believed: from the first stream on that the server has heard of. Those in front of it
    /// have a while to be heard of too; without any it is where the chain is proven.
    fn begin_of_requests(&self, chain: &FrameChain, now: Timestamp, last: bool) -> Option<u64> {
        let heard = |stream, when| self.heard.get(&stream).is_some_and(|at| *at >= when);
        let (begin, asked, patience) = match chain.confirmed(heard) {
            Some(confirmed) => (confirmed.begin, confirmed.unheard, OVERTAKEN),
            None => (chain.proven_at?, chain.asked_before_proof(), UNHEARD),
        };
        let waits = !last && asked.is_some_and(|asked| now.since(asked) < patience);
        (!waits).then_some(begin)
    }

    /// From where on a chain of the server is believed: where it may answer streams that no one saw, from the first one on that
    /// is known to have been asked.
    fn begin_of_answers(&self, chain: &FrameChain, now: Timestamp) -> Option<u64> {
        if !self.streams.asks_missing {
            return Some(chain.begun.offset);
        }
        let asked = chain.touched().iter().find(|touched| self.streams.awaits(touched)).map(|touched| touched.at);
        let agreed = || match &self.client.pick(&self.low, &self.high).state {
            HalfState::Lost(asks) => asks.chain(now)?.agreement(chain).map(|found| found.answered),
            HalfState::Preface(_) | HalfState::Header | HalfState::Payload => None,
        };
        asked.or_else(agreed).or(chain.proven_at)
    }

    fn on_gap(&mut self, from: Direction, len: u64, at: Timestamp, cx: &mut ExchangeContext) {
        let side = self.side(from);
        self.settle(from, at, true, cx);
        let half = self.half(from);
        if let HalfState::Lost(search) = &mut half.state {
            **search = BoundarySearch::default();
            self.streams.on_hole(side, at, cx);
            self.expect_block(from);
            return;
        }
        let within = half.in_data_of();
        // A server may send 1xx at any time.
        match half.skip(len, side == ConnectionSide::Client) {
            HoleEffect::Harmless => {}
            HoleEffect::InData { stream, sure, ends } => {
                self.streams.on_data_lost(side, stream, (len, sure), (ends, at), cx);
            }
            HoleEffect::Frames => {
                if let Some(stream) = within {
                    self.streams.on_data_lost(side, stream, (0, false), (false, at), cx);
                }
                self.streams.on_hole(side, at, cx);
                self.expect_block(from);
            }
        }
    }

    /// Behind a hole: which header block would show that none was in it.
    fn expect_block(&mut self, from: Direction) {
        if self.half(from).decoder.is_suspended() {
            let next = self.streams.next_block();
            self.half(from).resumes_at = next;
        }
    }

    fn on_end(&mut self, from: Direction, at: Timestamp, cx: &mut ExchangeContext) {
        let ended = std::mem::replace(&mut self.half(from).ended, true);
        let by = Some(self.side(from));
        if self.side(from) == ConnectionSide::Server {
            self.settle_both(at, true, cx);
        } else {
            self.settle(from, at, true, cx);
        }
        self.streams.ended.get_or_insert(EarlyEnd { by, how: EndedHow::Fin });
        if !ended && self.side(from) == ConnectionSide::Server {
            self.doubt_what_is_lost(at);
            self.streams.drain(at, Some(UnansweredReason::Closed), cx);
        }
    }
}
