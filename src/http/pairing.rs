//! Which response answers which request.
//!
//! As long as no message can have been lost, by order alone (RFC 9112 §9.3). After a loss the number of lost messages
//! is unknown, and order proves nothing. Then TCP's acknowledgements do: a client that does not pipeline sends a request
//! when it has received exactly the bytes up to where that request's response will begin. So a response that begins at
//! byte `s` answers the request whose segment acknowledged exactly `s` bytes, and no other. Such a pair is *provisional*
//! until what follows confirms it (the next request acknowledges the response's end, or the connection ends); a response
//! too many shows that it was wrong, and both halves go out unpaired. A client that was seen to pipeline gets no pair
//! on evidence that does not hold for it.
//!
//! Knows offsets and order only, no HTTP.

use std::collections::VecDeque;

use crate::flow::Timestamp;
use crate::record::{Exchange, Missing, Trust};

use super::framing::Asked;

/// Most requests of one connection that wait for their response, and most responses that wait for their request.
pub(super) const MAX_PENDING: usize = 256;

/// A request and what has come of it.
#[derive(Debug)]
pub(super) struct Slot {
    /// The record under way; `None` once it was reported as timed out.
    pub exchange: Option<Box<Exchange>>,
    /// Facts that outlive the record.
    pub asked: Asked,
    /// It waits for `100 Continue` before its body.
    pub expects: bool,
    /// Offset of the request's first byte in its stream.
    pub offset: u64,
    /// How much of the response stream its segment acknowledged.
    pub ack: Option<u64>,
    pub request_done: bool,
    /// The final response's head was seen.
    pub answered: bool,
    pub response_done: bool,
    /// Offset behind the response, once it is done.
    pub response_end: u64,
    /// Paired by evidence after a loss, not yet confirmed.
    pub provisional: bool,
    /// Its response may have been lost by the capture: its absence proves nothing.
    pub doubtful: bool,
    /// Worst thing that happened to either half so far.
    pub trust: Trust,
    pub missing: Missing,
}

impl Slot {
    /// Nothing more is awaited.
    fn settled(&self) -> bool {
        self.request_done && self.response_done && !self.provisional
    }
}

/// A response without a slot: its request comes later (capture order), or never.
#[derive(Debug)]
pub(super) struct Loose {
    pub exchange: Box<Exchange>,
    /// How much of the request stream its segment acknowledged.
    pub ack: Option<u64>,
    pub done: bool,
    pub end: u64,
    /// Its request may still come.
    pub waiting: bool,
    pub trust: Trust,
    pub missing: Missing,
}

/// Where the response under way is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The slot with this number.
    Slot(u64),
    /// The newest loose response.
    Loose,
}

/// What leaves the queue.
#[derive(Debug)]
pub(super) enum Left {
    /// Request and response.
    Paired(Slot),
    /// A request whose response was lost, or cannot be told from others.
    Unpaired(Slot),
    /// A response without request.
    Orphan(Loose),
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    loose: VecDeque<Loose>,
    /// After a loss: how many unanswered slots at the front are still sure by order; `None` without loss.
    sure: Option<usize>,
    /// The loss was that we joined late.
    joined_late: bool,
    /// A request was sent before the answer to the one before it had been received.
    pipelined: bool,
}

impl Pairing {
    /// A connection whose beginning was not seen: order proves nothing yet.
    pub(super) fn joined_late() -> Self {
        Self { sure: Some(0), joined_late: true, ..Self::default() }
    }

    /// Whether the queue holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.loose.is_empty()
    }

    /// The slot with this number.
    pub(super) fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }

    /// The newest request.
    pub(super) fn newest(&mut self) -> Option<&mut Slot> {
        self.slots.back_mut()
    }

    /// The newest loose response.
    pub(super) fn newest_loose(&mut self) -> Option<&mut Loose> {
        self.loose.back_mut()
    }

    /// All requests, oldest first.
    pub(super) fn slots(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut()
    }

    /// A request began. Gives what its arrival settles; the loose response it finds, if any, is joined to it.
    /// Returns whether the response under way (the newest loose one) is now this slot's, by its number.
    pub(super) fn request(&mut self, slot: Slot, left: &mut Vec<Left>) -> Option<u64> {
        self.confirm_by(&slot, left);
        if self.slots.len() >= MAX_PENDING {
            self.give_up_front(left);
        }
        self.slots.push_back(slot);
        let number = self.first + self.slots.len() as u64 - 1;
        self.join_loose(number)
    }

    /// A provisional pair is right when the client had its whole response before it asked again.
    fn confirm_by(&mut self, next: &Slot, left: &mut Vec<Left>) {
        let Some(last) = self.slots.back_mut().filter(|s| s.provisional) else { return };
        if last.response_done && next.ack.is_none_or(|ack| ack >= last.response_end) {
            last.provisional = false;
        } else {
            self.pipelined = true;
            self.demote(left);
        }
    }

    /// The oldest request makes room; what answers it later cannot be told from what answers the next.
    fn give_up_front(&mut self, left: &mut Vec<Left>) {
        if let Some(slot) = self.slots.pop_front() {
            self.first += 1;
            left.push(Left::Unpaired(slot));
            self.sure = Some(0);
        }
    }

    /// Joins the oldest waiting response to the only request that can have asked for it.
    fn join_loose(&mut self, number: u64) -> Option<u64> {
        if self.sure.is_some() || self.slots.iter().filter(|s| !s.answered).count() != 1 {
            return None;
        }
        let front = self.loose.front().filter(|l| l.waiting)?;
        let slot = self.slots.back_mut()?;
        if front.ack.is_some_and(|ack| ack <= slot.offset) {
            return None;
        }
        let loose = self.loose.pop_front()?;
        slot.answered = true;
        slot.response_done = loose.done;
        slot.response_end = loose.end;
        slot.trust = slot.trust.max(loose.trust);
        slot.missing.insert(loose.missing);
        if let Some(exchange) = slot.exchange.as_mut() {
            exchange.response = loose.exchange.response;
            exchange.weird.merge(loose.exchange.weird);
        }
        (!loose.done).then_some(number)
    }

    /// The slot of the response that begins at `offset`, or `None` for a loose one.
    pub(super) fn response(&mut self, offset: u64, ack: Option<u64>, left: &mut Vec<Left>) -> Option<u64> {
        let index = match self.sure {
            None => self.slots.iter().position(|s| !s.answered),
            Some(0) => self.by_acknowledgement(offset, ack, left),
            Some(sure) => {
                self.sure = Some(sure - 1);
                self.slots.iter().position(|s| !s.answered)
            }
        };
        let Some(index) = index else {
            self.demote(left);
            return None;
        };
        let slot = self.slots.get_mut(index)?;
        slot.answered = true;
        Some(self.first + index as u64)
    }

    /// After a loss: the one request that was sent when the client had received exactly `offset` bytes.
    fn by_acknowledgement(&mut self, offset: u64, ack: Option<u64>, left: &mut Vec<Left>) -> Option<usize> {
        let mut candidates = self.slots.iter().enumerate().filter(|(_, s)| !s.answered && s.ack == Some(offset));
        let (index, slot) = candidates.next()?;
        if self.pipelined || candidates.next().is_some() {
            self.pipelined = true;
            return None;
        }
        if ack.is_some_and(|ack| ack <= slot.offset) {
            return None;
        }
        for _ in 0..index {
            if let Some(slot) = self.slots.pop_front() {
                self.first += 1;
                left.push(if slot.answered && slot.response_done { Left::Paired(slot) } else { Left::Unpaired(slot) });
            }
        }
        self.sure = None;
        let label = if self.joined_late { Trust::Midstream } else { Trust::Gap };
        self.joined_late = false;
        let slot = self.slots.front_mut()?;
        slot.provisional = true;
        slot.doubtful = false;
        slot.trust = slot.trust.max(label);
        Some(0)
    }

    /// A response too many, or a request too early: the last provisional pair was wrong.
    fn demote(&mut self, left: &mut Vec<Left>) {
        let Some(index) = self.slots.iter().position(|s| s.provisional) else { return };
        for _ in 0..=index {
            let Some(mut slot) = self.slots.pop_front() else { return };
            self.first += 1;
            if !slot.provisional {
                left.push(Left::Unpaired(slot));
                continue;
            }
            if let Some(loose) = split(&mut slot) {
                left.push(Left::Orphan(loose));
            }
            left.push(Left::Unpaired(slot));
        }
        self.sure = Some(0);
    }

    /// Keeps a response that has no slot. `waiting` says whether its request may still come.
    pub(super) fn keep_loose(&mut self, loose: Loose, left: &mut Vec<Left>) {
        if self.loose.len() >= MAX_PENDING
            && let Some(old) = self.loose.pop_front()
        {
            left.push(Left::Orphan(old));
        }
        self.loose.push_back(loose);
    }

    /// The response to `number` is whole and ended at `end`: was the next request sent before the client had it?
    pub(super) fn response_done(&mut self, number: u64, end: u64) {
        let next = self.slot(number + 1).filter(|s| !s.answered).and_then(|s| s.ack);
        if next.is_some_and(|ack| ack < end) {
            self.pipelined = true;
        }
        if let Some(slot) = self.slot(number) {
            slot.response_done = true;
            slot.response_end = end;
        }
    }

    /// A 1xx response ended at `end`: the final one begins there, not where the request's segment says.
    pub(super) fn informational(&mut self, end: u64) {
        if let Some(slot) = self.slots.iter_mut().find(|s| !s.answered)
            && let Some(ack) = slot.ack.as_mut()
        {
            *ack = (*ack).max(end);
        }
    }

    /// Requests may be missing from here on: only those already queued are still answered in order.
    pub(super) fn requests_lost(&mut self) {
        if self.sure.is_none() {
            self.sure = Some(self.slots.iter().filter(|s| !s.answered).count());
        }
        self.loose.iter_mut().for_each(|l| l.waiting = false);
    }

    /// Responses may be missing up to `end`: what was asked before the client had received that far has lost its answer
    /// or cannot be told apart.
    pub(super) fn responses_lost(&mut self, end: u64, left: &mut Vec<Left>) {
        self.sure = Some(0);
        while let Some(slot) = self.slots.front() {
            let lost = !slot.answered && slot.request_done && slot.ack.is_none_or(|ack| ack < end);
            if !lost && !slot.settled() {
                break;
            }
            let Some(slot) = self.slots.pop_front() else { break };
            self.first += 1;
            left.push(if lost { Left::Unpaired(slot) } else { Left::Paired(slot) });
        }
        self.slots.iter_mut().filter(|s| !s.answered && s.ack.is_none_or(|ack| ack < end)).for_each(|s| s.doubtful = true);
    }

    /// Takes out what is settled: pairs from the front, orphans that are whole.
    pub(super) fn settled(&mut self) -> Option<Left> {
        if self.slots.front().is_some_and(Slot::settled) {
            self.first += 1;
            return self.slots.pop_front().map(Left::Paired);
        }
        if self.loose.front().is_some_and(|l| l.done && !l.waiting) {
            return self.loose.pop_front().map(Left::Orphan);
        }
        None
    }

    /// Nothing contradicted the provisional pairs whose response ended before `until`: they stand.
    pub(super) fn confirm(&mut self, until: Timestamp) {
        for slot in self.slots.iter_mut().filter(|s| s.provisional && s.response_done) {
            let end = slot.exchange.as_ref().and_then(|e| e.end());
            slot.provisional = end.is_some_and(|end| end > until);
        }
    }

    /// No request will come any more for the responses that began before `until`.
    pub(super) fn stop_waiting(&mut self, until: Timestamp) {
        for loose in &mut self.loose {
            loose.waiting &= loose.exchange.start() > until;
        }
    }

    /// Everything that is left, in order, at the connection's end.
    pub(super) fn drain(&mut self) -> (VecDeque<Slot>, VecDeque<Loose>) {
        self.first += self.slots.len() as u64;
        (std::mem::take(&mut self.slots), std::mem::take(&mut self.loose))
    }
}

/// Takes the response out of a wrong pair.
fn split(slot: &mut Slot) -> Option<Loose> {
    let request = slot.exchange.as_mut()?;
    let response = request.response.take()?;
    let mut exchange = request.clone();
    exchange.request = None;
    exchange.response = Some(response);
    slot.answered = false;
    let end = slot.response_end;
    exchange.id = super::orphan_id(&exchange.connection.id, slot.ack.unwrap_or(end));
    Some(Loose { exchange, ack: None, done: true, end, waiting: false, trust: Trust::Unpaired, missing: Missing::default() })
}
