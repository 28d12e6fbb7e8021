//! Which response answers which request.
//!
//! As long as no message can be missing, by order (RFC 9112 §9.3), and never against TCP's evidence. A response was sent
//! when its server had at least the beginning of the request. A request was sent when its client had nothing of the
//! response yet. Segments come here behind the bytes that they acknowledge, so what is missing is known before it matters.
//!
//! ```text
//!            messages may be missing: those that follow are a run, by an unknown number behind
//!   Certain ──────────────────────────────────────────────────────────────────────────────────▶ Doubt
//!      ▲                                                                                          │
//!      └──────────────────────────────────────────────────────────────────────────────────────────┘
//!            acknowledgements and the client's habit leave one number only (`evidence`, `habit`)
//! ```
//!
//! Messages are numbered; a request and a response with the same number are a pair. Where the client's habit was not seen
//! before the loss, what is paired afterwards is on *trial* (`trial`).
//!
//! Knows offsets and order only, no HTTP.

mod doubt;
mod evidence;
mod habit;
mod settle;
mod sizes;
mod slot;
mod trial;

use std::collections::VecDeque;

use crate::flow::Timestamp;
use crate::record::{Exchange, Trust};

use self::doubt::Doubt;
use self::evidence::{Ahead, Heard};
use self::habit::Habit;
use self::sizes::{HeadSizes, Lost};
pub(super) use self::slot::{LeftQueue, MessagePlace, OrphanResponse, RequestSlot, ResponseTarget};
use self::trial::Presumed;

/// Most requests of one connection that wait for their response, and most responses that wait for their request.
pub(super) const MAX_PENDING: usize = 256;

/// Most responses that are remembered because their client may not have received them.
const MAX_HEARD: usize = 64;
/// So long a response waits for what shows its request (nanoseconds).
const PATIENCE: u64 = 60_000_000_000;

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    slots: VecDeque<RequestSlot>,
    /// Number of the first slot.
    first: u64,
    loose: VecDeque<OrphanResponse>,
    /// Place of the next request.
    asked: MessagePlace,
    /// Place of the next response.
    answered: MessagePlace,
    /// What is known where messages may be missing; `None` while order is certain.
    doubt: Option<Box<Doubt>>,
    /// Runs so far.
    runs: u32,
    habit: Habit,
    /// The newest group of requests.
    group: Group,
    /// When the newest group began, and the groups before it that were answered one after another by as many responses.
    round: Option<(MessagePlace, MessagePlace)>,
    rounds: usize,
    /// The newest response, and those before it that the newest request's client may not have had.
    latest: Option<Heard>,
    earlier: VecDeque<Heard>,
    /// The response that was judged last has a number.
    took_turn: bool,
    /// Where the first interim response before the next response began.
    interim: Option<u64>,
    /// Requests may be missing before the next one.
    request_gap: Option<Lost>,
    /// Responses may be missing before the next one, those that a hole held among them.
    response_gap: bool,
    response_hole: Option<Lost>,
    /// Sizes of the heads that were seen.
    pub(super) sizes: HeadSizes,
    /// The largest interim response that was seen.
    largest_interim: Option<u64>,
    /// The order rests on the sizes of what is missing, until there are as many responses as requests.
    counted: bool,
    /// It rests on what the client did before, and nothing confirmed it since.
    presumed: Option<Box<Presumed>>,
    /// The longest that a response took (nanoseconds).
    longest_wait: u64,
    /// The loss was that we joined late.
    joined_late: bool,
    /// A response was judged, or something was lost.
    judged: bool,
    /// What began where an answer should have begun was none.
    garbled: bool,
    /// That was so once.
    unreadable: bool,
    /// The order rests on what the client's habit was supposed to be.
    supposed: bool,
    /// What the client's habit says of the newest runs.
    ahead: Option<Ahead>,
    /// What is paired now may be contradicted yet; what a pair is called for which nothing speaks in the end.
    trial: Option<Trust>,
    /// Where the newest response ended that is whole.
    ended_at: u64,
}

/// Requests with the same acknowledgement: nothing was received between them.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// What they acknowledge.
    ack: Option<u64>,
    /// Number of the first response that their client had not received, where order was certain.
    not_had: Option<i64>,
    /// What they acknowledge is where that response begins.
    exact: bool,
    /// This many follow the first.
    more: i64,
}

impl Pairing {
    /// A connection whose beginning was not seen: order proves nothing yet.
    pub(super) fn joined_late() -> Self {
        let mut late = Self { joined_late: true, ..Self::default() };
        late.asked.run = late.new_run();
        late
    }

    /// The capture showed the handshake after the first bytes: nothing was missed before them. Too late once something
    /// else was lost, or a response was judged without that knowledge.
    pub(super) fn joined_in_time(&mut self) {
        if self.joined_late && !self.judged {
            self.joined_late = false;
            self.doubt = None;
            self.asked.run = 0;
            self.slots.iter_mut().for_each(|s| s.place.run = 0);
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

    /// Gives up what waits longest until all places together cost no more than `limit`. What answers it later has no request.
    pub(super) fn shrink_to(
        &mut self,
        limit: usize,
        cost: impl Fn(Option<&Exchange>) -> usize,
        left: &mut Vec<LeftQueue>,
    ) {
        let slots: usize = self.slots.iter().map(|s| cost(s.exchange.as_deref())).sum();
        let mut all: usize = slots + self.loose.iter().map(|l| cost(Some(&l.exchange))).sum::<usize>();
        while all > limit {
            if let Some(loose) = self.loose.pop_front() {
                all -= cost(Some(&loose.exchange));
                left.push(LeftQueue::Orphan(loose));
            } else if let Some(slot) = self.slots.pop_front() {
                all -= cost(slot.exchange.as_deref());
                self.first += 1;
                left.push(LeftQueue::Unpaired(slot));
            } else {
                break;
            }
        }
    }

    /// The slot with this number.
    pub(super) fn slot(&mut self, number: u64) -> Option<&mut RequestSlot> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }

    /// Whether order alone says which request a response answers: nothing is missing.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_certain() && self.unanswered().next().is_none_or(|s| s.place == self.answered)
    }

    /// Whether no message can be missing, neither among those that were seen nor before the next one.
    fn is_certain(&self) -> bool {
        self.doubt.is_none() && self.is_gapless()
    }

    /// Whether no message can be missing before the next one.
    fn is_gapless(&self) -> bool {
        self.request_gap.is_none() && !self.response_gap
    }

    fn unanswered(&self) -> impl Iterator<Item = &RequestSlot> {
        self.slots.iter().filter(|s| !s.answered)
    }

    /// Whether the client waits for its answers, as far as was seen.
    pub(super) fn client_waits(&self) -> bool {
        self.habit.waits()
    }

    /// Whether the client was seen to wait for its answers, again and again.
    pub(super) fn client_is_known_to_wait(&self) -> bool {
        self.habit.waits() && self.habit.is_known() && self.presumed.is_none()
    }

    /// Whether a request was sent when its client had received exactly `offset` bytes: a message ends there.
    pub(super) fn asked_at(&self, offset: u64) -> bool {
        self.group.ack == Some(offset) || self.slots.iter().any(|s| s.ack == Some(offset))
    }

    /// What should be the next answer cannot be read. Gives the exchange whose response it follows, or that of the
    /// request which it should answer.
    pub(super) fn garbled(&mut self, offset: u64, ack: Option<u64>) -> Option<&mut Box<Exchange>> {
        self.unread(offset, ack);
        let ends_here = |s: &RequestSlot| s.response_done && s.response_end == offset && s.exchange.is_some();
        let slot = match self.slots.iter().rposition(ends_here) {
            Some(index) => self.slots.get_mut(index),
            None => self.may_be_answered_by(offset, ack).next(),
        };
        slot?.exchange.as_mut()
    }

    /// The requests that a response which begins at `offset`, its segment acknowledging `ack`, may answer.
    fn may_be_answered_by(&mut self, offset: u64, ack: Option<u64>) -> impl Iterator<Item = &mut RequestSlot> {
        self.slots.iter_mut().filter(move |s| !s.answered && s.may_be_answered_by(offset, ack))
    }

    /// Bytes of the server that no one can read: they may be the answer, or hold it, so its absence proves nothing.
    pub(super) fn unread(&mut self, offset: u64, ack: Option<u64>) {
        let waiting = self.may_be_answered_by(offset, ack).map(|slot| slot.doubtful = true).count() > 0;
        self.response_gap |= self.doubt.is_some() || self.trial.is_some();
        self.garbled |= waiting;
        self.unreadable |= waiting;
    }

    /// Whether bytes that begin at `offset`, their segment acknowledging `ack`, are the next answer if they are one, and
    /// that is HTTP/0.9's.
    pub(super) fn answers_http09(&self, offset: u64, ack: Option<u64>) -> bool {
        let next = self.unanswered().next();
        let likely =
            |s: &RequestSlot| self.client_waits() && s.ack == Some(offset) && self.unanswered().nth(1).is_none();
        let next = next.filter(|s| s.asked.http09 && s.may_be_answered_by(offset, ack));
        next.is_some_and(|s| self.is_next(s) || likely(s))
    }

    /// Whether the next response answers `slot`, the first that waits.
    fn is_next(&self, slot: &RequestSlot) -> bool {
        self.doubt.is_none() && !self.response_gap && slot.place == self.answered
    }

    /// Whether an answer is awaited behind which another protocol may begin.
    pub(super) fn may_have_switched(&self) -> bool {
        self.unanswered().any(|slot| slot.asked.upgrade || slot.asked.connect)
    }

    /// Whether there is a request without an answer.
    pub(super) fn awaits_response(&self) -> bool {
        self.unanswered().next().is_some()
    }

    /// The newest request.
    pub(super) fn newest(&mut self) -> Option<&mut RequestSlot> {
        self.slots.back_mut()
    }

    /// The newest loose response.
    pub(super) fn newest_loose(&mut self) -> Option<&mut OrphanResponse> {
        self.loose.back_mut()
    }

    /// All requests, oldest first.
    pub(super) fn slots(&mut self) -> impl Iterator<Item = &mut RequestSlot> {
        self.slots.iter_mut()
    }

    /// Whether the newest request is within the limit.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() <= MAX_PENDING
    }

    /// A request began; the responses are known up to `heard`. Gives what that settles. Returns what becomes of the response
    /// under way.
    pub(super) fn request(&mut self, mut slot: RequestSlot, heard: u64, left: &mut Vec<LeftQueue>) -> UnderWay {
        if self.slots.len() > MAX_PENDING
            && let Some(over) = self.slots.pop_back()
        {
            // Those within the limit keep their answers; of those beyond it only the newest is kept.
            left.push(LeftQueue::Unpaired(over));
        }
        if slot.expects {
            self.habit.holds_back();
        }
        let before = self.asked;
        self.begin_request_run(slot.offset, left);
        let follows = self.asked == before && (before.number > 0 || !self.joined_late);
        slot.place = self.asked;
        self.asked.number += 1;
        let misread = self.is_misread(slot.ack);
        if misread {
            left.extend(self.loose.pop_back().map(LeftQueue::Orphan));
            self.response_gap = true;
        }
        if self.counted && self.is_drained(&slot, heard) {
            self.counted = false;
        }
        if let Some(exchange) = slot.exchange.as_ref().filter(|_| slot.ack == Some(self.ended_at)) {
            self.note_idle(exchange.start());
        }
        if slot.ack > self.group.ack {
            slot.opens = follows && !self.is_held_back();
            self.on_group(&slot, heard, follows, left);
        } else if follows {
            self.group.more += 1;
        }
        if self.doubt.is_some() || self.trial.is_some() || self.response_gap {
            self.exceeds(self.group.more, left);
        }
        if let Some(not_had) = self.group.not_had.filter(|_| follows && self.trial.is_none()) {
            self.asks(slot.place.number - not_had, left);
        }
        // What was said of it may have made it the first of a run.
        slot.place.run = self.asked.run;
        let joined = self.place_request(slot, left);
        if misread { UnderWay::Misread } else { joined.map_or(UnderWay::Stays, UnderWay::Answers) }
    }

    /// The client sent bytes whose segment acknowledges `ack`: with a lost request in front of them, that was asked together
    /// with the one before.
    pub(super) fn client_sent(&mut self, ack: Option<u64>, left: &mut Vec<LeftQueue>) {
        if self.request_gap.is_some_and(|lost| lost.whole) && ack.is_some() && ack == self.group.ack {
            self.exceeds(1, left);
        }
    }

    /// Whether order is to be found again: what is unanswered yet may turn out to be answered.
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Bytes of the server that look like a response, and are none that is believed.
    pub(super) fn response_passed_over(&mut self) {
        self.response_hole.iter_mut().for_each(Lost::pass);
    }

    /// Bytes of the client that look like a request, and are none that is believed: if it is one, its client did not wait.
    pub(super) fn request_passed_over(&mut self, left: &mut Vec<LeftQueue>) {
        self.requests_lost(None);
        self.request_gap.iter_mut().for_each(Lost::pass);
        self.exceeds(1, left);
    }

    /// The slot of the response that begins at `offset`, or `None` for a loose one. The requests are known up to `known`.
    pub(super) fn response(
        &mut self,
        offset: u64,
        ack: Option<u64>,
        known: u64,
        left: &mut Vec<LeftQueue>,
    ) -> Option<u64> {
        self.judged = true;
        self.took_turn = false;
        // While one request waits, what is read next is still its answer; of several, no one knows whose.
        let several = self.request_gap.is_some() || self.unanswered().nth(1).is_some();
        self.response_gap |= std::mem::take(&mut self.garbled) && several;
        self.begin_response_run(offset, left);
        if ack.is_some() && self.latest.is_some_and(|latest| latest.ack == ack) {
            // The server had both requests when it sent the first answer.
            self.exceeds(1, left);
        }
        let start = self.interim.take().unwrap_or(offset);
        let heard = Heard { place: self.answered, start, ack };
        let index = match self.doubt {
            None => self.in_order(heard, offset, known, left),
            Some(_) => self.by_evidence(heard, offset, known, left),
        }?;
        let provisional = self.trial.is_some();
        let label = if self.counted { self.label() } else { Trust::Complete };
        let slot = self.slots.get_mut(index)?;
        slot.trust = slot.trust.max(label);
        (slot.answered, slot.provisional, slot.response_at) = (true, provisional, offset);
        Some(self.first + index as u64)
    }

    /// Keeps a response that has no slot.
    pub(super) fn keep_loose(&mut self, mut loose: OrphanResponse, left: &mut Vec<LeftQueue>) {
        let (offset, ack) = (loose.offset, loose.ack);
        if let Some(heard) = self.latest.filter(|_| self.took_turn) {
            (loose.place, loose.start) = (heard.place, heard.start);
            let later = self.asked.run != 0 || heard.place.number >= self.asked.number;
            loose.waiting = heard.place.run != 0 || later;
        }
        if loose.waiting {
            self.may_be_answered_by(offset, ack).for_each(|s| s.doubtful = true);
        }
        if self.loose.len() >= MAX_PENDING {
            left.extend(self.loose.pop_front().map(LeftQueue::Orphan));
        }
        self.loose.push_back(loose);
    }

    /// The response to `number` is whole and ended at `end`.
    pub(super) fn response_done(&mut self, number: u64, end: u64) {
        self.ended_at = self.ended_at.max(end);
        if let Some(slot) = self.slot(number) {
            (slot.response_done, slot.response_end) = (true, end);
        }
        self.note_wait(number);
    }

    /// The newest loose response is whole and ended at `end`.
    pub(super) fn loose_done(&mut self, end: u64) {
        self.ended_at = self.ended_at.max(end);
        if let Some(loose) = self.loose.back_mut() {
            (loose.done, loose.end) = (true, end);
        }
    }

    /// A 1xx response of `len` bytes: gives the request it belongs to, the one that the next response answers, if that is
    /// known.
    pub(super) fn informational(
        &mut self,
        offset: u64,
        ack: Option<u64>,
        at: Timestamp,
        len: u64,
    ) -> Option<&mut RequestSlot> {
        self.interim.get_or_insert(offset);
        self.largest_interim = self.largest_interim.max(Some(len));
        let index = self.slots.iter().position(|s| !s.answered)?;
        let slot = self.slots.get(index)?;
        if !self.is_next(slot) || !slot.may_be_answered_by(offset, ack) {
            return None;
        }
        let slot = self.slots.get_mut(index)?;
        slot.heard = slot.heard.max(Some(at));
        Some(slot)
    }

    /// Requests may be missing, wholly if a message ended before the `hole`.
    pub(super) fn requests_lost(&mut self, hole: Option<(u64, u64)>) {
        self.judged = true;
        self.habit.is_cut_off();
        self.request_gap = Some(Lost::behind(self.request_gap, hole));
    }

    /// Responses may be missing in what comes before `end`, wholly if a message ended before the `hole`.
    pub(super) fn responses_lost(&mut self, hole: Option<(u64, u64)>, end: u64) {
        let before = if self.response_gap { Some(self.response_hole.unwrap_or_default()) } else { None };
        self.response_hole = Some(Lost::behind(before, hole));
        (self.judged, self.response_gap, self.interim) = (true, true, None);
        let in_doubt = self.slots.iter_mut().filter(|s| !s.answered && s.ack.is_none_or(|ack| ack < end));
        in_doubt.for_each(|s| s.doubtful = true);
    }

    /// A server says that it waits no longer. Behind a loss that may be what an idle connection ends with, and no answer: it
    /// takes no request's turn then.
    pub(super) fn ends_idle(&mut self) -> bool {
        self.took_turn = false;
        self.response_gap
    }

    /// Whether anything is settled.
    #[inline]
    pub(super) fn has_settled(&self) -> bool {
        self.slots.front().is_some_and(RequestSlot::settled) || self.loose.front().is_some_and(OrphanResponse::settled)
    }

    /// Takes out what is settled: pairs from the front, orphans that are whole.
    pub(super) fn settled(&mut self) -> Option<LeftQueue> {
        if self.slots.front().is_some_and(RequestSlot::settled) {
            self.first += 1;
            let mut slot = self.slots.pop_front()?;
            slot.trust = slot.trust.max(self.presumed.as_ref().map_or(slot.trust, |presumed| presumed.label));
            return Some(LeftQueue::Paired(slot));
        }
        if self.loose.front().is_some_and(OrphanResponse::settled) {
            return self.loose.pop_front().map(LeftQueue::Orphan);
        }
        None
    }

    /// Nothing has shown the request of the responses that began `PATIENCE` ago.
    pub(super) fn stop_waiting(&mut self, now: Timestamp) {
        for loose in self.loose.iter_mut().filter(|l| l.waiting && now.since(l.exchange.start()) >= PATIENCE) {
            loose.waiting = false;
        }
    }

    /// Everything that is left, in order, at the connection's end.
    pub(super) fn drain(&mut self) -> (VecDeque<RequestSlot>, VecDeque<OrphanResponse>) {
        self.first += self.slots.len() as u64;
        if let Some(presumed) = &self.presumed {
            self.slots.iter_mut().filter(|s| s.answered).for_each(|s| s.trust = s.trust.max(presumed.label));
        }
        (std::mem::take(&mut self.slots), std::mem::take(&mut self.loose))
    }
}

/// What a request says of the response under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnderWay {
    /// Nothing.
    Stays,
    /// It answers the request with this number.
    Answers(u64),
    /// Its client has all of it: it has no such body.
    Misread,
}
