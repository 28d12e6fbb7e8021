//! What waits in the queue: a request with what has come of it, a response without request, and what leaves.
//!
//! Knows what one of them can say by itself; their order is the queue's.

use super::super::framing::AskedFraming;
use crate::flow::Timestamp;
use crate::record::{Exchange, MissingParts, Trust};

/// Where a message is among those of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct MessagePlace {
    /// The run that it belongs to: nothing is missing within it.
    pub run: u32,
    pub number: i64,
}

impl MessagePlace {
    /// Of what took no one's turn.
    pub(super) const NOWHERE: Self = Self { run: u32::MAX, number: 0 };
}

/// A request and what has come of it.
#[derive(Debug)]
pub(in crate::http) struct RequestSlot {
    /// The record under way; `None` once it has left.
    pub exchange: Option<Box<Exchange>>,
    /// It was reported as unanswered: what comes now is late.
    pub reported: bool,
    /// Facts that outlive the record.
    pub asked: AskedFraming,
    /// It waits for `100 Continue` before its body.
    pub expects: bool,
    /// Offset of the request's first byte in its stream.
    pub offset: u64,
    /// How much of the response stream its segment acknowledged.
    pub ack: Option<u64>,
    pub place: MessagePlace,
    /// It is the first of those with its acknowledgement.
    pub opens: bool,
    pub request_done: bool,
    /// The final response's head was seen, or will not be looked for any more.
    pub answered: bool,
    pub response_done: bool,
    /// Offset of the response's first byte, once there is one.
    pub response_at: u64,
    /// Offset behind the response, once it is done.
    pub response_end: u64,
    /// When its last bytes came is not known: they were lost.
    pub tail_lost: bool,
    /// Paired while the connection is on trial.
    pub provisional: bool,
    /// Its response may have been lost by the capture: its absence proves nothing.
    pub doubtful: bool,
    /// When an interim response last showed that its server is at work.
    pub heard: Option<Timestamp>,
    /// Worst thing that happened to either half so far.
    pub trust: Trust,
    pub missing: MissingParts,
}

impl RequestSlot {
    /// A request that began at `offset`, its segment acknowledging `ack`: nothing else of it is known yet.
    pub(in crate::http) fn new(exchange: Box<Exchange>, asked: AskedFraming, offset: u64, ack: Option<u64>) -> Self {
        Self {
            exchange: Some(exchange),
            reported: false,
            asked,
            expects: false,
            offset,
            ack,
            place: MessagePlace::default(),
            opens: false,
            request_done: false,
            answered: false,
            response_done: false,
            response_at: 0,
            response_end: 0,
            tail_lost: false,
            provisional: false,
            doubtful: false,
            heard: None,
            trust: Trust::Complete,
            missing: MissingParts::default(),
        }
    }

    /// Nothing more is awaited.
    pub(super) fn settled(&self) -> bool {
        self.request_done && self.response_done && !self.provisional
    }

    /// Whether a response that begins at `offset`, its segment acknowledging `ack`, may answer it. Neither side had seen
    /// the other's message when it sent what came before.
    pub(super) fn may_be_answered_by(&self, offset: u64, ack: Option<u64>) -> bool {
        ack.is_none_or(|ack| ack > self.offset) && self.ack.is_none_or(|had| had <= offset)
    }

    /// Its response is not among those that were seen, or cannot be distinguished from others.
    pub(super) fn give_up(&mut self) {
        (self.answered, self.response_done, self.doubtful) = (true, true, true);
    }

    /// When its response ended, once it is whole.
    pub(super) fn ended(&self) -> Option<Timestamp> {
        self.exchange.as_ref().filter(|_| self.response_done && !self.tail_lost).and_then(|e| e.end())
    }
}

/// A response without a slot: what its client sends next may yet tell its request.
#[derive(Debug)]
pub(in crate::http) struct OrphanResponse {
    pub exchange: Box<Exchange>,
    pub offset: u64,
    /// Where the first interim response before it began, else as `offset`.
    pub start: u64,
    /// How much of the request stream its segment acknowledged.
    pub ack: Option<u64>,
    pub done: bool,
    pub end: u64,
    /// It announced a body, and another message followed in its place: it answers a HEAD.
    pub bodyless: bool,
    pub place: MessagePlace,
    /// Its request may still be found.
    pub waiting: bool,
    pub trust: Trust,
    pub missing: MissingParts,
}

impl OrphanResponse {
    /// A response that began at `offset`, its segment acknowledging `ack`: nothing else of it is known yet.
    pub(in crate::http) fn new(exchange: Box<Exchange>, offset: u64, ack: Option<u64>) -> Self {
        Self {
            exchange,
            offset,
            start: offset,
            ack,
            done: false,
            end: offset,
            bodyless: false,
            place: MessagePlace::NOWHERE,
            waiting: false,
            trust: Trust::Complete,
            missing: MissingParts::default(),
        }
    }

    /// It is whole, and nothing will show its request.
    pub(super) fn settled(&self) -> bool {
        self.done && !self.waiting
    }

    /// Whether it can be what answers `slot`: by TCP's evidence, and by how its body was read without knowing the request.
    pub(super) fn may_answer(&self, slot: &RequestSlot) -> bool {
        let bytes = self.exchange.response.as_ref().map_or(0, |r| r.body_bytes);
        let misread = if slot.asked.head { bytes > 0 } else { self.bodyless };
        let misread = misread || slot.asked.connect || slot.asked.http09;
        slot.may_be_answered_by(self.offset, self.ack) && !misread
    }
}

/// Where the response under way is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum ResponseTarget {
    /// The slot with this number.
    Slot(u64),
    /// The newest loose response.
    Loose,
}

/// What leaves the queue.
#[derive(Debug)]
pub(in crate::http) enum LeftQueue {
    /// Request and response.
    Paired(RequestSlot),
    /// A request whose response was lost, or cannot be distinguished from others.
    Unpaired(RequestSlot),
    /// A response without request.
    Orphan(OrphanResponse),
}
