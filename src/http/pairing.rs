//! Which response answers which request.
//!
//! As long as no message can be missing, by order (RFC 9112 §9.3), and never against TCP's evidence: a response was sent
//! when its server had at least the beginning of the request, and a request was sent when its client had nothing of the
//! response yet. Segments come here behind the bytes that they acknowledge, so what is missing is known before it matters.
//!
//! ```text
//!            a response is due that may be missing,
//!            or behind a request that may be missing
//!   Certain ────────────────────────────────────────▶ Lost
//!      ▲                                                │
//!      └────────────────────────────────────────────────┘
//!        the client asks again, and its acknowledgement says how far it had come (`settle`)
//! ```
//!
//! Where the client's habit was not seen before the loss, what is paired afterwards is on *trial* (`trial`).
//!
//! Knows offsets and order only, no HTTP.

mod client;
mod settle;
mod slot;
mod trial;

use std::collections::VecDeque;

use crate::flow::Timestamp;
use crate::record::{Exchange, Trust};

use self::client::{Client, Habit};
pub(super) use self::slot::{Left, Loose, Loss, Slot, Target};
use self::trial::Trial;

/// Most requests of one connection that wait for their response, and most responses that wait for their request.
pub(super) const MAX_PENDING: usize = 256;

/// A hole no longer than this may be an interim response and nothing else, where one was asked for (bytes).
const INTERIM: u64 = 256;
/// So long a response waits for what tells its request (nanoseconds).
const PATIENCE: u64 = 15_000_000_000;

/// Whether order says which request the next response answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    /// The first that waits.
    #[default]
    Certain,
    /// It does not, until the client's next acknowledgement.
    Lost,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    first: u64,
    loose: VecDeque<Loose>,
    order: Order,
    client: Client,
    /// What may be missing before the next request.
    requests_lost: Loss,
    /// What may be missing before the next response.
    responses_lost: Loss,
    /// Where the newest hole of the responses' stream ends, and how long it was.
    hole: (u64, u64),
    /// What came where an answer should have begun was none.
    garbled: bool,
    /// The loss was that we joined late.
    joined_late: bool,
    /// A response was judged, or something was lost.
    judged: bool,
    /// What is paired now may be contradicted yet.
    trial: Option<Trial>,
    /// Order was found again on a habit not seen before.
    resynchronised: bool,
    /// What the newest request's segment acknowledged.
    asked_at: Option<u64>,
    /// What the newest final response's segment acknowledged.
    answered_at: Option<u64>,
    /// Where the newest response ended that is whole: a request that acknowledges less was sent before its client had it.
    ended_at: u64,
    /// The longest interim response that the server sent, bytes.
    longest_interim: u64,
    /// Number of the newest group's first request, where it is taken for that, and what may be missing before it.
    assumed: Option<(u64, Loss)>,
}

impl Pairing {
    /// A connection whose beginning was not seen: order proves nothing yet.
    pub(super) fn joined_late() -> Self {
        let (requests_lost, responses_lost) = (Loss::Perhaps, Loss::Perhaps);
        Self { requests_lost, responses_lost, joined_late: true, order: Order::Lost, ..Self::default() }
    }

    /// The capture showed the handshake after the first bytes: nothing was missed before them. Too late once something
    /// else was lost, or a response was judged without that knowledge.
    pub(super) fn joined_in_time(&mut self) {
        if self.joined_late && !self.judged {
            self.joined_late = false;
            (self.order, self.trial) = (Order::Certain, None);
            (self.responses_lost, self.requests_lost) = (Loss::None, Loss::None);
            if let Some(slot) = self.slots.front_mut() {
                (slot.loss, slot.trust) = (Loss::None, Trust::Complete);
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
                self.responses_lost = self.responses_lost.max(Loss::Perhaps);
            } else if let Some(slot) = self.slots.pop_front() {
                all -= cost(slot.exchange.as_deref());
                self.first += 1;
                left.push(Left::Unpaired(slot));
                // What answers it later cannot be told from what answers the next.
                (self.order, self.responses_lost) = (Order::Lost, self.responses_lost.max(Loss::Perhaps));
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

    /// Whether order alone says which request a response answers: nothing is missing.
    pub(super) fn is_ordered(&self) -> bool {
        let missing = self.requests_lost.max(self.responses_lost);
        self.order == Order::Certain && missing == Loss::None && self.unanswered().all(|s| s.loss == Loss::None)
    }

    fn unanswered(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|s| !s.answered)
    }

    /// Whether a request to which no body comes back may be what a response without a request answers.
    pub(super) fn may_await_head(&self) -> bool {
        self.requests_lost != Loss::None || self.unanswered().any(|s| s.asked.head || s.loss != Loss::None)
    }

    /// Whether the client waits for its answers, as far as was seen.
    pub(super) fn client_waits(&self) -> bool {
        self.client.habit() != Habit::Ahead
    }

    /// Whether the newest request was sent when its client had received exactly `offset` bytes: a message ends there.
    pub(super) fn asked_at(&self, offset: u64) -> bool {
        self.asked_at == Some(offset)
    }

    /// Whether a segment that acknowledges `ack` was sent when its client had more of the answers than at its newest request.
    pub(super) fn has_read_on(&self, ack: Option<u64>) -> bool {
        ack.zip(self.asked_at).is_none_or(|(ack, before)| ack > before)
    }

    /// What should be the next answer is none that can be read: gives the request that it should answer.
    pub(super) fn garbled(&mut self, offset: u64, ack: Option<u64>) -> Option<&mut Slot> {
        self.unread(offset, ack);
        self.slots.iter_mut().find(|s| !s.answered && s.may_be_answered_by(offset, ack))
    }

    /// Bytes of the server that nobody can read: they may be the answer, or hold it, so its absence proves nothing.
    pub(super) fn unread(&mut self, offset: u64, ack: Option<u64>) {
        for slot in self.slots.iter_mut().filter(|s| !s.answered && s.may_be_answered_by(offset, ack)) {
            (slot.doubtful, self.garbled) = (true, true);
        }
    }

    /// Whether bytes that begin at `offset`, their segment acknowledging `ack`, are the next answer if they are one, and
    /// that is HTTP/0.9's.
    pub(super) fn answers_http09(&self, offset: u64, ack: Option<u64>) -> bool {
        let next = self.slots.iter().find(|s| !s.answered);
        next.is_some_and(|s| s.asked.http09 && s.may_be_answered_by(offset, ack) && self.is_next(s))
    }

    /// Whether the next response answers `slot`, the first that waits.
    fn is_next(&self, slot: &Slot) -> bool {
        let alone = self.unanswered().nth(1).is_none();
        let certain = self.order == Order::Certain && slot.loss == Loss::None && (alone || !self.garbled);
        certain && (self.responses_lost == Loss::None || self.only_interim_lost(slot, alone))
    }

    /// What is missing is no longer than the interim response that this request, the only one, waits for.
    fn only_interim_lost(&self, slot: &Slot, alone: bool) -> bool {
        let (_, len) = self.hole;
        alone && slot.expects && len <= INTERIM && self.requests_lost == Loss::None
    }

    /// Whether there is a request without an answer.
    pub(super) fn awaits_response(&self) -> bool {
        self.unanswered().next().is_some()
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

    /// Whether the newest request is within the limit.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() <= MAX_PENDING
    }

    /// A request began. Gives what that settles.
    /// Returns whether the response under way was misread: it has no such body.
    pub(super) fn request(&mut self, mut slot: Slot, left: &mut Vec<Left>) -> bool {
        slot.loss = std::mem::take(&mut self.requests_lost);
        let unplaced = self.loose.iter().any(|l| l.waiting && slot.may_be_answered_by(l.offset, l.ack));
        slot.doubtful = unplaced || self.answered_at.is_some_and(|had| had > slot.offset);
        if self.slots.len() > MAX_PENDING
            && let Some(over) = self.slots.pop_back()
        {
            // Those within the limit keep their answers; of those beyond it only the newest is kept.
            left.push(Left::Unpaired(over));
            slot.loss = Loss::Certain;
        }
        let misread = self.on_acknowledgement(&mut slot, left);
        let several = self.client.is_several();
        self.client.asks();
        if !several
            && self.client.is_several()
            && let Some((number, loss)) = self.assumed.take()
            && let Some(first) = self.slot(number).filter(|s| !s.answered)
        {
            // It asks several things at once after all: so what is missing may have been asked together with these.
            first.loss = loss;
        }
        if self.resynchronised && !several && self.client.is_several() && self.client.waited() > 1 {
            // It was taken for one that asks one thing at a time.
            self.client.asked_ahead();
            self.fail(left);
            (self.order, self.responses_lost) = (Order::Lost, self.responses_lost.max(Loss::Perhaps));
            slot.doubtful = true;
        }
        self.slots.push_back(slot);
        misread
    }

    /// Bytes of the client that look like a request, and are none that is believed: if it is one, its client did not wait.
    pub(super) fn request_passed_over(&mut self) {
        self.client.asked_ahead();
    }

    /// The client sent bytes whose segment acknowledges `ack`. Behind a lost request: was that one asked with the one before?
    pub(super) fn client_sent(&mut self, ack: Option<u64>) {
        if self.requests_lost == Loss::Certain && ack.is_some() && ack == self.asked_at {
            self.client.asks_several();
        }
    }

    /// The slot of the response that begins at `offset`, or `None` for a loose one. The requests are known up to `known`.
    pub(super) fn response(&mut self, offset: u64, ack: Option<u64>, known: u64, left: &mut Vec<Left>) -> Option<u64> {
        self.judged = true;
        // The request of the second one had come before the first one was sent.
        if ack.is_some() && self.answered_at == ack {
            self.client.asks_several();
        }
        self.answered_at = ack;
        let Some(index) = self.slots.iter().position(|s| !s.answered) else {
            // It answers a request that is missing, one that comes after it, or none.
            if ack.is_some_and(|ack| ack > known) {
                self.requests_lost = self.requests_lost.max(Loss::Perhaps);
            }
            if self.requests_lost != Loss::None {
                self.order = Order::Lost;
            }
            self.fail_unless_explained(left);
            return None;
        };
        let slot = self.slots.get(index)?;
        if !self.is_next(slot) {
            self.order = Order::Lost;
            return None;
        }
        if !slot.may_be_answered_by(offset, ack) {
            self.fail_unless_explained(left);
            return None;
        }
        let hole = std::mem::take(&mut self.responses_lost);
        self.garbled = false;
        let provisional = self.trial.is_some();
        let slot = self.slots.get_mut(index)?;
        (slot.answered, slot.provisional) = (true, provisional);
        if hole != Loss::None {
            slot.trust = slot.trust.max(Trust::Gap);
        }
        Some(self.first + index as u64)
    }

    /// Keeps a response that has no slot.
    pub(super) fn keep_loose(&mut self, mut loose: Loose, left: &mut Vec<Left>) {
        loose.waiting = self.order == Order::Lost;
        loose.loss = std::mem::take(&mut self.responses_lost);
        (loose.lost_to, _) = self.hole;
        if loose.waiting {
            let (offset, ack) = (loose.offset, loose.ack);
            let may_be_its = self.slots.iter_mut().filter(|s| !s.answered && s.may_be_answered_by(offset, ack));
            may_be_its.for_each(|s| s.doubtful = true);
        }
        if self.loose.len() >= MAX_PENDING
            && let Some(old) = self.loose.pop_front()
        {
            left.push(Left::Orphan(old));
            if let Some(first) = self.loose.front_mut() {
                first.loss = Loss::Certain;
            }
        }
        self.loose.push_back(loose);
    }

    /// The response to `number` is whole and ended at `end`.
    pub(super) fn response_done(&mut self, number: u64, end: u64) {
        self.ended_at = self.ended_at.max(end);
        if let Some(slot) = self.slot(number) {
            (slot.response_done, slot.response_end) = (true, end);
        }
    }

    /// A 1xx response: gives the request it belongs to, the one that the next response answers, if that is known.
    pub(super) fn informational(
        &mut self,
        offset: u64,
        len: u64,
        ack: Option<u64>,
        at: Timestamp,
    ) -> Option<&mut Slot> {
        self.longest_interim = self.longest_interim.max(len);
        let index = self.slots.iter().position(|s| !s.answered)?;
        let slot = self.slots.get(index)?;
        if !self.is_next(slot) || !slot.may_be_answered_by(offset, ack) {
            return None;
        }
        let slot = self.slots.get_mut(index)?;
        slot.heard = slot.heard.max(Some(at));
        Some(slot)
    }

    /// Requests may be missing; `whole`: at least one is missing wholly.
    pub(super) fn requests_lost(&mut self, whole: bool) {
        self.judged = true;
        self.requests_lost = self.requests_lost.max(if whole { Loss::Certain } else { Loss::Perhaps });
    }

    /// Responses may be missing in a hole of `len` bytes up to `end`; `whole`: it began where one should.
    pub(super) fn responses_lost(&mut self, end: u64, len: u64, whole: bool) {
        self.judged = true;
        let more = if self.responses_lost == Loss::None { 0 } else { self.hole.1 };
        self.hole = (end, len + more);
        self.responses_lost = self.responses_lost.max(if whole { Loss::Certain } else { Loss::Perhaps });
        self.slots
            .iter_mut()
            .filter(|s| !s.answered && s.ack.is_none_or(|ack| ack < end))
            .for_each(|s| s.doubtful = true);
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

    /// Nothing has told the request of the responses that began `PATIENCE` ago.
    pub(super) fn stop_waiting(&mut self, now: Timestamp) {
        for loose in self.loose.iter_mut().filter(|l| l.waiting && now.since(l.exchange.start()) >= PATIENCE) {
            loose.waiting = false;
        }
    }

    /// Everything that is left, in order, at the connection's end.
    pub(super) fn drain(&mut self) -> (VecDeque<Slot>, VecDeque<Loose>) {
        self.first += self.slots.len() as u64;
        (std::mem::take(&mut self.slots), std::mem::take(&mut self.loose))
    }
}
