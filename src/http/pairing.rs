//! Which response answers which request.
//!
//! As long as no message can have been lost, by order alone (RFC 9112 §9.3). After a loss the number of lost messages
//! is unknown, and order proves nothing. Then TCP's acknowledgements do: a client that does not pipeline sends a request
//! when it has received exactly the bytes up to where that request's response will begin. So a response that begins at
//! byte `s` answers the request whose segment acknowledged exactly `s` bytes, and no other.
//!
//! A client that keeps one request in advance looks just like that, shifted by one, until the response too many comes.
//! So what is paired after such a resynchronisation is on *trial*: held back until the connection falls quiet or ends, or
//! `TRIAL` exchanges agree; a contradiction sends all of them out unpaired, and the connection gets no pair any more. If
//! the capture ends first, nothing speaks for them but themselves, and each is labelled.
//!
//! Knows offsets and order only, no HTTP.

mod slot;
mod trial;

use std::collections::VecDeque;

use crate::flow::Timestamp;
use crate::record::{Exchange, Trust};

pub(super) use self::slot::{Left, Loose, Slot, Target};

/// Most requests of one connection that wait for their response, and most responses that wait for their request.
pub(super) const MAX_PENDING: usize = 256;

/// So many exchanges on trial without a contradiction are believed.
const TRIAL: usize = 32;
/// So long nothing came on a connection that owes a response (nanoseconds): it owes none.
const QUIET: u64 = 3_000_000_000;
/// So long a response waits for its request (nanoseconds), which the capture may show after it.
const PATIENCE: u64 = 1_000_000_000;

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    loose: VecDeque<Loose>,
    /// Responses may be missing before the next one: order proves nothing.
    responses_lost: bool,
    /// Requests may be missing before the next one.
    requests_lost: bool,
    /// At least one whole request is missing, and no response was since: the next one answers none that was seen.
    owed: bool,
    /// Responses without a request since the last pair.
    unmatched: usize,
    /// Order was found again on evidence that a client which pipelines would give too.
    resynchronised: bool,
    /// The loss was that we joined late.
    joined_late: bool,
    /// What came where an answer should have begun was none.
    garbled: bool,
    /// A response was judged, or something was lost.
    judged: bool,
    /// A request was sent before the answer to the one before it had been received.
    pipelined: bool,
    /// Resynchronised on evidence that the next messages may contradict; what a pair is called for which they do not come.
    trial: Option<Trust>,
    /// What the newest request's segment acknowledged.
    asked_at: Option<u64>,
    /// What the newest final response's segment acknowledged.
    answered_at: Option<u64>,
    /// At least one whole request was lost behind the newest one, and nothing of the client was seen since.
    fresh_loss: bool,
}

impl Pairing {
    /// A connection whose beginning was not seen: order proves nothing yet.
    pub(super) fn joined_late() -> Self {
        Self { responses_lost: true, requests_lost: true, joined_late: true, ..Self::default() }
    }

    /// The capture showed the handshake after the first bytes: nothing was missed before them. Too late once something
    /// else was lost, or a response was judged without that knowledge.
    pub(super) fn joined_in_time(&mut self) {
        if self.joined_late && !self.judged {
            self.joined_late = false;
            (self.responses_lost, self.requests_lost) = (false, false);
            if let Some(slot) = self.slots.front_mut() {
                slot.after_gap = false;
            }
        }
    }

    /// Whether the queue holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.loose.is_empty()
    }

    /// Requests and responses in the queue.
    pub(super) fn len(&self) -> usize {
        self.slots.len() + self.loose.len()
    }

    /// Gives up what waits longest until all places together cost no more than `limit`.
    pub(super) fn shrink_to(&mut self, limit: usize, cost: impl Fn(Option<&Exchange>) -> usize, left: &mut Vec<Left>) {
        let slots: usize = self.slots.iter().map(|s| cost(s.exchange.as_deref())).sum();
        let mut all: usize = slots + self.loose.iter().map(|l| cost(Some(&l.exchange))).sum::<usize>();
        while all > limit {
            if let Some(loose) = self.loose.pop_front() {
                all -= cost(Some(&loose.exchange));
                left.push(Left::Orphan(loose));
            } else if let Some(slot) = self.slots.front() {
                all -= cost(slot.exchange.as_deref());
                self.give_up_front(left);
            } else {
                break;
            }
        }
    }

    /// The slot with this number.
    pub(super) fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }

    /// Whether order alone says which request a response answers: nothing was lost.
    pub(super) fn is_ordered(&self) -> bool {
        !self.responses_lost && !self.requests_lost && !self.slots.iter().any(|s| s.after_gap && !s.answered)
    }

    /// Whether what is paired now may be contradicted yet.
    pub(super) fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// What should be the next answer is none that can be read: gives the request that it should answer.
    pub(super) fn garbled(&mut self, offset: u64, ack: Option<u64>) -> Option<&mut Slot> {
        self.unread(offset, ack);
        let next = self.slots.iter_mut().find(|s| !s.answered && s.may_be_answered_by(offset, ack));
        self.garbled |= next.is_some();
        next
    }

    /// Bytes of the server that nobody can read: they may be the answer, or hold it, so its absence proves nothing.
    pub(super) fn unread(&mut self, offset: u64, ack: Option<u64>) {
        let slots = self.slots.iter_mut().filter(|s| !s.answered && s.may_be_answered_by(offset, ack));
        slots.for_each(|s| s.doubtful = true);
    }

    /// Garbage may have been an answer. While one request waits, what is read next is still its answer; of several, nobody
    /// knows whose.
    fn ungarble(&mut self) {
        if std::mem::take(&mut self.garbled) && self.slots.iter().filter(|s| !s.answered).count() > 1 {
            self.responses_lost = true;
        }
    }

    /// Whether bytes that begin at `offset`, their segment acknowledging `ack`, are the next answer if they are one, and
    /// that is HTTP/0.9's.
    pub(super) fn answers_http09(&self, offset: u64, ack: Option<u64>) -> bool {
        let next = self.slots.iter().find(|s| !s.answered);
        next.is_some_and(|s| {
            let sure = !self.responses_lost && !s.after_gap;
            s.asked.http09 && s.may_be_answered_by(offset, ack) && (sure || s.ack == Some(offset))
        })
    }

    /// Whether there is a request without an answer.
    pub(super) fn awaits_response(&self) -> bool {
        self.slots.iter().any(|s| !s.answered)
    }

    /// The newest request.
    pub(super) fn newest(&mut self) -> Option<&mut Slot> {
        self.slots.back_mut()
    }

    /// Whether there is a response whose request may still come.
    pub(super) fn awaits_request(&self) -> bool {
        self.loose.iter().any(|l| l.waiting)
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
    pub(super) fn request(&mut self, mut slot: Slot, left: &mut Vec<Left>) -> Option<u64> {
        self.confirm_by(&slot, left);
        slot.after_gap = std::mem::take(&mut self.requests_lost);
        // Nothing came back between the two: the second did not wait for the first one's answer.
        self.pipelined |= slot.ack.is_some() && self.slots.back().is_some_and(|last| last.ack == slot.ack);
        (self.asked_at, self.fresh_loss) = (slot.ack, false);
        if self.slots.len() >= MAX_PENDING {
            self.give_up_front(left);
        }
        self.slots.push_back(slot);
        let number = self.first + self.slots.len() as u64 - 1;
        self.join_loose(number, left)
    }

    /// The oldest request makes room; what answers it later cannot be told from what answers the next.
    fn give_up_front(&mut self, left: &mut Vec<Left>) {
        if let Some(slot) = self.slots.pop_front() {
            self.first += 1;
            left.push(Left::Unpaired(slot));
            self.responses_lost = true;
        }
    }

    /// Joins the waiting response that only this newest request can have asked for.
    fn join_loose(&mut self, number: u64, left: &mut Vec<Left>) -> Option<u64> {
        self.reconsider();
        let after_gap = self.slots.back().is_some_and(|s| s.after_gap);
        let found = if self.responses_lost || after_gap {
            self.loose_by_acknowledgement(left)
        } else {
            self.oldest_loose(left)
        }?;
        let loose = self.loose.remove(found)?;
        self.loose.iter_mut().take(found).for_each(|l| l.waiting = false);
        let slot = self.slots.back_mut()?;
        slot.answered = true;
        slot.provisional = self.trial.is_some();
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

    /// By order: the oldest, when no other request waits for it.
    fn oldest_loose(&mut self, left: &mut Vec<Left>) -> Option<usize> {
        let slot = self.slots.back()?;
        let found = self.loose.iter().position(|l| l.waiting)?;
        let loose = self.loose.get(found)?;
        if self.slots.iter().filter(|s| !s.answered).count() != 1 || loose.ack.is_some_and(|ack| ack <= slot.offset) {
            return None;
        }
        if self.trial.is_some() && slot.ack.is_some_and(|ack| ack != loose.offset) {
            self.fail(left);
            return None;
        }
        Some(found)
    }

    /// After a loss: the one that begins where this request's segment says.
    fn loose_by_acknowledgement(&mut self, left: &mut Vec<Left>) -> Option<usize> {
        let slot = self.slots.back()?;
        let (offset, ack) = (slot.offset, slot.ack?);
        let fits = |l: &Loose| l.waiting && l.offset == ack && l.ack.is_none_or(|ack| ack > offset);
        let found = self.loose.iter().position(fits)?;
        if self.slots.iter().rev().skip(1).any(|s| !s.answered && s.ack == Some(ack)) {
            self.pipelined = true;
        }
        // Those before it answer what is missing.
        self.pipelined |= self.owed && self.unmatched <= self.loose.len() - found;
        if self.pipelined {
            return None;
        }
        self.resynchronise(self.slots.len() - 1, left);
        Some(found)
    }

    /// The slot of the response that begins at `offset`, or `None` for a loose one.
    pub(super) fn response(&mut self, offset: u64, ack: Option<u64>, left: &mut Vec<Left>) -> Option<u64> {
        self.judged = true;
        // The second one's request had come before the first one was sent.
        self.pipelined |= ack.is_some() && self.answered_at == ack;
        self.answered_at = ack;
        self.ungarble();
        self.reconsider();
        let next = self.slots.iter().position(|s| !s.answered);
        let sure = next.filter(|at| !self.responses_lost && self.slots.get(*at).is_some_and(|s| !s.after_gap));
        let possible = |s: &Slot| s.may_be_answered_by(offset, ack);
        let index = match sure {
            Some(at) if self.trial.is_some() => {
                self.slots.get(at).is_some_and(|s| possible(s) && s.ack.is_none_or(|a| a == offset)).then_some(at)
            }
            Some(at) => self.slots.get(at).is_some_and(possible).then_some(at),
            None => self.by_acknowledgement(offset, ack, left),
        };
        let Some(index) = index else {
            self.slots.iter_mut().filter(|s| !s.answered && possible(s)).for_each(|s| s.doubtful = true);
            // A lost request would explain it, and so would a pair shifted by one: both go, the client is not blamed.
            let explained = self.requests_lost || self.slots.iter().any(|s| s.after_gap && !s.answered);
            let pipelined = self.pipelined;
            self.fail(left);
            self.pipelined = pipelined || (self.pipelined && !explained);
            return None;
        };
        let slot = self.slots.get_mut(index)?;
        slot.answered = true;
        slot.provisional = self.trial.is_some();
        self.unmatched = 0;
        Some(self.first + index as u64)
    }

    /// After a loss: the one request that was sent when the client had received exactly `offset` bytes.
    fn by_acknowledgement(&mut self, offset: u64, ack: Option<u64>, left: &mut Vec<Left>) -> Option<usize> {
        let mut candidates = self.slots.iter().enumerate().filter(|(_, s)| !s.answered && s.ack == Some(offset));
        let (index, slot) = candidates.next()?;
        if self.pipelined || candidates.next().is_some() || (self.owed && self.unmatched == 0) {
            self.pipelined = true;
            return None;
        }
        if ack.is_some_and(|ack| ack <= slot.offset) {
            return None;
        }
        self.resynchronise(index, left);
        Some(0)
    }

    /// Keeps a response that has no slot. `waiting` says whether its request may still come.
    pub(super) fn keep_loose(&mut self, loose: Loose, left: &mut Vec<Left>) {
        if self.loose.len() >= MAX_PENDING
            && let Some(old) = self.loose.pop_front()
        {
            self.requests_lost |= old.waiting;
            left.push(Left::Orphan(old));
        }
        self.loose.push_back(loose);
        self.unmatched += 1;
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

    /// A 1xx response from `begin` to `end`: the final one begins behind it, not where the request's segment says. Gives
    /// the request it belongs to, by the same evidence as the final one would.
    pub(super) fn informational(&mut self, begin: u64, end: u64, ack: Option<u64>) -> Option<&mut Slot> {
        let ordered = !self.responses_lost && self.trial.is_none();
        let fits = |s: &Slot| (ordered && !s.after_gap) || s.ack == Some(begin);
        let slot = self.slots.iter_mut().find(|s| !s.answered && fits(s))?;
        if !slot.may_be_answered_by(begin, ack) {
            return None;
        }
        slot.ack = slot.ack.map(|ack| ack.max(end));
        Some(slot)
    }

    /// The client sent something that acknowledges `ack`. Behind a lost request: did that one wait for its turn?
    pub(super) fn client_sent(&mut self, ack: Option<u64>) {
        if std::mem::take(&mut self.fresh_loss) {
            self.pipelined |= ack.is_some() && ack == self.asked_at;
        }
    }

    /// Requests may be missing up to `end`: only those already queued are still answered in order. `whole`: it began
    /// between two requests, so that at least one is missing wholly.
    pub(super) fn requests_lost(&mut self, end: u64, whole: bool) {
        (self.requests_lost, self.judged) = (true, true);
        self.owed |= whole && !self.responses_lost;
        self.fresh_loss |= whole;
        self.loose.iter_mut().for_each(|l| l.waiting &= l.ack.is_some_and(|ack| ack > end));
    }

    /// Responses may be missing up to `end`: what was asked before the client had received that far has lost its answer
    /// or cannot be told apart.
    pub(super) fn responses_lost(&mut self, end: u64, left: &mut Vec<Left>) {
        (self.responses_lost, self.judged, self.owed) = (true, true, false);
        while let Some(slot) = self.slots.front() {
            let lost = !slot.answered && slot.request_done && slot.ack.is_none_or(|ack| ack < end);
            if !lost && !slot.settled() {
                break;
            }
            let Some(slot) = self.slots.pop_front() else { break };
            self.first += 1;
            left.push(if lost { Left::Unpaired(slot) } else { Left::Paired(slot) });
        }
        self.slots
            .iter_mut()
            .filter(|s| !s.answered && s.ack.is_none_or(|ack| ack < end))
            .for_each(|s| s.doubtful = true);
    }

    /// Takes out what is settled: pairs from the front, orphans that are whole.
    pub(super) fn settled(&mut self, left: &mut Vec<Left>) -> Option<Left> {
        if self.slots.front().is_some_and(Slot::settled) {
            self.first += 1;
            return self.slots.pop_front().map(Left::Paired);
        }
        if self.loose.front().is_some_and(|l| l.done && !l.waiting) {
            if self.loose.front().is_some_and(|l| self.contradicts(l)) {
                self.fail(left);
            }
            return self.loose.pop_front().map(Left::Orphan);
        }
        None
    }

    /// No request will come any more for the responses that began `PATIENCE` ago; or if one does after all, order does not
    /// say which it is.
    pub(super) fn stop_waiting(&mut self, now: Timestamp) {
        for loose in self.loose.iter_mut().filter(|l| l.waiting && now.since(l.exchange.start()) >= PATIENCE) {
            loose.waiting = false;
            self.requests_lost = true;
        }
    }

    /// Everything that is left, in order, at the connection's end.
    pub(super) fn drain(&mut self) -> (VecDeque<Slot>, VecDeque<Loose>) {
        self.first += self.slots.len() as u64;
        (std::mem::take(&mut self.slots), std::mem::take(&mut self.loose))
    }
}
