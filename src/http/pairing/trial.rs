//! Pairs on trial: what speaks for them, what against, and what becomes of them.
//!
//! The capture began, or lost something, before it had seen how the client asks. One that keeps requests in advance looks
//! like one that waits, shifted by as many, until a response too many comes. So these pairs are held back.

use crate::flow::Timestamp;
use crate::record::{Missing, Trust};

use super::super::orphan_id;
use super::{Left, Loose, Loss, Order, Pairing, Slot};

/// So many exchanges on trial without a contradiction are believed.
const TRIAL: usize = 32;
/// So long nothing came on a connection that owes a response (nanoseconds): it owes none.
const QUIET: u64 = 3_000_000_000;

/// Pairs that may be contradicted yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// What a pair is called for which nothing speaks in the end.
    label: Trust,
    /// It is about the requests asked together, the first of which may be missing; else about the client's habit.
    group: bool,
}

impl Trial {
    /// The client is taken for one that waits for its answers.
    pub(super) fn of_habit(label: Trust) -> Self {
        Self { label, group: false }
    }

    /// A group is taken to be whole: its client asks again when it has as many answers.
    pub(super) fn of_group(label: Trust) -> Self {
        Self { label, group: true }
    }

    pub(super) fn is_of_group(self) -> bool {
        self.group
    }
}

impl Pairing {
    /// Whether what is paired now may be contradicted yet.
    pub(in crate::http) fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// A response comes that no request asked for, though none is missing: the pairs on trial were wrong.
    pub(super) fn fail_unless_explained(&mut self, left: &mut Vec<Left>) {
        let explained = self.requests_lost != Loss::None || self.unanswered().any(|s| s.loss != Loss::None);
        if !explained {
            self.fail(left);
        }
    }

    /// A response too many, a request too early, a body that is none: the pairs on trial were wrong.
    pub(in crate::http) fn fail(&mut self, left: &mut Vec<Left>) {
        let Some(trial) = self.trial.take() else { return };
        if !trial.group {
            self.client.asked_ahead();
        }
        self.order = Order::Lost;
        self.responses_lost = self.responses_lost.max(Loss::Perhaps);
        let last = self.slots.iter().rposition(|s| s.provisional).map_or(0, |at| at + 1);
        for mut slot in self.slots.drain(..last) {
            self.first += 1;
            left.extend(split(&mut slot).map(Left::Orphan));
            left.push(Left::Unpaired(slot));
        }
        // One of those responses may be theirs.
        self.slots.iter_mut().filter(|_| last > 0).for_each(|s| s.doubtful = true);
    }

    /// The client asked again when all was answered: so it was right to take it for one that waits.
    pub(super) fn count_agreement(&mut self) {
        let Some(trial) = self.trial else { return };
        if trial.group || self.slots.iter().filter(|s| s.provisional).count() >= TRIAL {
            self.pass();
        }
    }

    /// Nothing contradicts the pairs on trial: they are believed.
    fn pass(&mut self) {
        self.trial = None;
        self.slots.iter_mut().for_each(|s| s.provisional = false);
    }

    /// Ends a trial when the last response ended `QUIET` ago.
    pub(in crate::http) fn confirm(&mut self, now: Timestamp) {
        if self.trial.is_some() && self.is_quiet(now) {
            self.pass();
        }
    }

    /// No answer was outstanding, and none came for `QUIET`: the server owes none. While a request waits its silence says
    /// nothing.
    fn is_quiet(&self, now: Timestamp) -> bool {
        let last = self.slots.iter().rev().find(|s| s.provisional);
        self.slots.iter().all(|s| s.answered)
            && last.is_none_or(|s| s.ended().is_some_and(|end| now.since(end) >= QUIET))
    }

    /// Ends a trial, as nothing will be seen any more: because there is nothing (`over`), or because nobody looks. Then
    /// nothing speaks for the pairs but themselves, and their label says so.
    pub(in crate::http) fn judge(&mut self, over: bool, now: Timestamp, left: &mut Vec<Left>) {
        self.confirm(now);
        let Some(Trial { label, group }) = self.trial else { return };
        if group || (self.client.is_several() && self.client.waited() < 3) {
            // Asked together, and never again: nothing speaks for them.
            return self.fail(left);
        }
        if !over {
            self.slots.iter_mut().filter(|s| s.provisional).for_each(|s| s.trust = s.trust.max(label));
        }
        self.pass();
    }
}

/// Takes the response out of a wrong pair; each half keeps what is its own. Of a late answer, whose request was reported
/// before, nothing else is left.
fn split(slot: &mut Slot) -> Option<Loose> {
    let pair = slot.exchange.as_mut()?;
    let response = pair.response.take()?;
    let end = slot.response_end;
    let offset = slot.ack.unwrap_or(end);
    let mut exchange = pair.clone();
    exchange.id = orphan_id(&exchange.connection.id, offset);
    (exchange.request, exchange.response) = (None, Some(response));
    (exchange.client_ip, exchange.connect_ns, exchange.late, exchange.number) = (None, None, false, 0);
    pair.informational.clear();
    pair.late = false;
    slot.answered = false;
    let mut missing = Missing::default();
    if !slot.response_done {
        missing.insert(Missing::RESPONSE_BODY);
    }
    Some(Loose {
        exchange,
        offset,
        ack: None,
        done: true,
        end,
        bodyless: false,
        loss: Loss::None,
        lost_to: 0,
        waiting: false,
        trust: Trust::Unpaired,
        missing,
    })
}
