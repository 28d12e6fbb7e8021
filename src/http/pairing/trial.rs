//! Pairs on trial: what speaks for them, what against, and what becomes of them.
//!
//! The capture began, or lost something, before it had seen how the client asks. One that keeps requests in advance looks
//! like one that waits, shifted by as many, until a response too many comes. So these pairs are held back.

use crate::flow::Timestamp;
use crate::record::{MissingParts, Trust};

use super::super::orphan_id;
use super::{LeftQueue, OrphanResponse, Pairing, RequestSlot};

/// This many exchanges on trial without a contradiction are believed, as far as that goes: their label stays. More of a client
/// whose habit was not seen often before the trial: one that keeps requests under way looks like one that waits.
const TRIAL: usize = 32;
const TRIAL_UNSEEN: usize = 200;
/// Pauses of a client that show that nothing was outstanding.
const IDLE_TIMES: u8 = 4;
/// A pause is this many times as long as the longest wait for a response, and this many nanoseconds.
const IDLE_WAITS: u64 = 4;
const IDLE: u64 = 1_000_000;
/// So long nothing came on a connection that owes a response (nanoseconds): it owes none.
const QUIET: u64 = 3_000_000_000;
/// And this long where the server says by interim responses that it takes its time.
const QUIET_AT_WORK: u64 = 60_000_000_000;

/// An order that rests on what the client did before; nothing confirmed it since.
#[derive(Debug)]
pub(super) struct Presumed {
    /// What a pair is called meanwhile.
    pub label: Trust,
    /// A hole had room for several requests of a client of which nothing was seen.
    pub several: bool,
    /// When the newest whole response ended.
    last_end: Option<Timestamp>,
    /// Pauses since.
    idle_times: u8,
}

impl Presumed {
    pub(super) fn new(label: Trust) -> Self {
        Self { label, several: false, last_end: None, idle_times: 0 }
    }
}

impl Pairing {
    /// Whether what is paired now may be contradicted yet.
    pub(in crate::http) fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// A response too many, a request too early, a body that is none: the pairs on trial were wrong.
    pub(in crate::http) fn fail(&mut self, left: &mut Vec<LeftQueue>) {
        if self.trial.take().is_none() {
            return;
        }
        self.habit.give_up();
        let last = self.slots.iter().rposition(|s| s.provisional).map_or(0, |at| at + 1);
        for mut slot in self.slots.drain(..last) {
            self.first += 1;
            left.extend(split(&mut slot).map(LeftQueue::Orphan));
            left.push(LeftQueue::Unpaired(slot));
        }
        self.start_over(left);
    }

    /// The client asked again as it is thought to: so that was right.
    pub(super) fn count_agreement(&mut self) {
        let enough = if self.habit.was_seen_often() { TRIAL } else { TRIAL_UNSEEN };
        if self.slots.iter().filter(|s| s.provisional).count() >= enough {
            self.habit.proven();
            self.pass();
        }
    }

    /// The next request comes `at`: a server that lets a client wait for so long, again and again, owes it nothing.
    pub(super) fn note_idle(&mut self, at: Timestamp) {
        if self.presumed.is_none() || !self.is_even() {
            return;
        }
        let Some(presumed) = &mut self.presumed else { return };
        let enough = IDLE.max(self.longest_wait.saturating_mul(IDLE_WAITS));
        presumed.idle_times += u8::from(presumed.last_end.is_some_and(|end| at.since(end) >= enough));
        if presumed.idle_times >= IDLE_TIMES {
            self.order_is_shown();
        }
    }

    /// The response of this exchange is whole.
    pub(super) fn note_wait(&mut self, number: u64) {
        let Some(exchange) = self.slot(number).and_then(|slot| slot.exchange.as_ref()) else { return };
        let wait = exchange.in_order().map(|(request, response)| response.first.since(request.first));
        let ended = exchange.end();
        self.longest_wait = self.longest_wait.max(wait.unwrap_or(0));
        if let Some(presumed) = &mut self.presumed {
            presumed.last_end = ended;
        }
    }

    /// Nothing was outstanding: what was presumed is so.
    fn order_is_shown(&mut self) {
        self.presumed = None;
        if self.trial.is_some() {
            self.habit.proven();
            self.pass();
        }
    }

    /// Nothing contradicts the pairs on trial: they are believed.
    pub(super) fn pass(&mut self) {
        self.trial = None;
        self.slots.iter_mut().for_each(|s| s.provisional = false);
    }

    /// When the last response ended `QUIET` ago nothing is outstanding; a trial ends.
    pub(in crate::http) fn confirm(&mut self, now: Timestamp, left: &mut Vec<LeftQueue>) {
        if (self.trial.is_some() || self.doubt.is_some()) && self.is_quiet(now) {
            if self.habit.most(true).is_some() {
                self.settle_drained(left);
            }
            if self.trial.is_some() && self.is_even() && (self.habit.waits() || self.habit.is_known()) {
                self.presumed = None;
                self.pass();
            }
        }
    }

    /// Each request has its response, and its client has all of them as it asks with `slot`; the responses are known up to
    /// `heard`.
    pub(super) fn is_drained(&self, slot: &RequestSlot, heard: u64) -> bool {
        slot.ack == Some(self.ended_at) && heard == self.ended_at && self.answered == slot.place && self.is_even()
    }

    /// Each request has its response, and each response its request, as far as is known.
    fn is_even(&self) -> bool {
        self.is_certain() && !self.has_halves()
    }

    /// Whether a request waits for its response, or a response for its request.
    fn has_halves(&self) -> bool {
        self.awaits_response() || self.loose.iter().any(|l| l.waiting)
    }

    /// Responses are missing behind the one that answers the last request.
    fn ends_too_late(&self) -> bool {
        self.response_hole.is_some_and(|lost| lost.whole) && !self.awaits_response()
    }

    /// No response came for `QUIET`, nor for a multiple of what the server took before.
    fn is_quiet(&self, now: Timestamp) -> bool {
        let waits = self.slots.iter().filter_map(|s| s.exchange.as_ref()?.in_order());
        let slowest = waits.map(|(request, response)| response.first.since(request.first)).max().unwrap_or(0);
        let quiet = if self.largest_interim.is_some() { QUIET_AT_WORK } else { QUIET };
        let quiet = quiet.max(slowest.saturating_mul(4));
        let long_ago = |end: Option<Timestamp>| end.is_some_and(|end| now.since(end) >= quiet);
        let paired = self.slots.iter().rev().find(|s| s.answered).map(RequestSlot::ended);
        let alone = self.loose.back().map(|l| l.exchange.end().filter(|_| l.done));
        paired.is_none_or(long_ago) && alone.is_none_or(long_ago)
    }

    /// Ends a trial, as nothing more will be seen. Either there is nothing more (`over`; a client that ended first was
    /// `content` with what it had), or no one looks. Then nothing speaks for the pairs but themselves, and their label
    /// says so.
    pub(in crate::http) fn judge(&mut self, over: bool, content: bool, now: Timestamp, left: &mut Vec<LeftQueue>) {
        self.confirm(now, left);
        let known = self.habit.most(true).is_some() || (content && !self.unreadable);
        if over && known && self.loose.iter().all(|l| l.done) {
            self.settle_drained(left);
        }
        let Some(label) = self.trial else { return };
        // Of a client that waits, what no one saw the end of is recorded as it looks.
        let open = (over || !self.habit.waits()) && (self.doubt.is_some() || self.has_halves());
        // What was lost since explains that; what the client did before the first loss speaks for them.
        let explained = over && !(self.doubt.is_none() && self.is_gapless()) && self.habit.was_seen();
        // It may have asked for several things at once; only an end with as many responses speaks against it.
        let unsure = !over && self.presumed.as_ref().is_some_and(|presumed| presumed.several);
        if ((open || self.ends_too_late()) && !explained) || unsure {
            // A response too few or too many: one more may be missing than was thought.
            return self.fail(left);
        }
        if !over || !self.is_gapless() {
            self.slots.iter_mut().filter(|s| s.provisional).for_each(|s| s.trust = s.trust.max(label));
        } else if content {
            self.presumed = None;
        }
        self.pass();
    }
}

/// Takes the response out of a wrong pair; each half keeps what is its own. Of a late answer, whose request was reported
/// before, nothing else is left.
fn split(slot: &mut RequestSlot) -> Option<OrphanResponse> {
    let pair = slot.exchange.as_mut()?;
    let response = pair.response.take()?;
    let end = slot.response_end;
    let offset = slot.response_at;
    let mut exchange = pair.clone();
    exchange.id = orphan_id(&exchange.connection.id, offset);
    (exchange.request, exchange.response) = (None, Some(response));
    (exchange.client_ip, exchange.connect_ns, exchange.late, exchange.number) = (None, None, false, 0);
    pair.informational.clear();
    pair.late = false;
    slot.answered = false;
    let mut missing = MissingParts::default();
    if !slot.response_done {
        missing.insert(MissingParts::RESPONSE_BODY);
    }
    Some(OrphanResponse { done: true, end, missing, ..OrphanResponse::new(exchange, offset, None) })
}
