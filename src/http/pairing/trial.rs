//! Pairs on trial: what speaks for them, what against, and what becomes of them.

use crate::flow::Timestamp;
use crate::record::{Missing, Trust};

use super::super::orphan_id;
use super::{Left, Loose, Pairing, QUIET, Slot, TRIAL};

impl Pairing {
    /// The slot at `index` is the next to be answered: what is before it will not be. What follows is on trial.
    pub(super) fn resynchronise(&mut self, index: usize, left: &mut Vec<Left>) {
        for slot in self.slots.drain(..index) {
            self.first += 1;
            left.push(if slot.answered && slot.response_done { Left::Paired(slot) } else { Left::Unpaired(slot) });
        }
        (self.responses_lost, self.owed, self.unmatched) = (false, false, 0);
        let label = if self.joined_late { Trust::Midstream } else { Trust::Gap };
        (self.trial, self.resynchronised) = (Some(label), true);
        self.joined_late = false;
        if let Some(slot) = self.slots.front_mut() {
            (slot.doubtful, slot.after_gap) = (false, false);
            slot.trust = slot.trust.max(label);
        }
    }

    /// A response too many, a request too early, a body that is none: the pairs on trial were wrong.
    pub(in crate::http) fn fail(&mut self, left: &mut Vec<Left>) {
        if self.trial.is_none() {
            return;
        }
        self.trial = None;
        self.pipelined = true;
        self.responses_lost = true;
        let last = self.slots.iter().rposition(|s| s.provisional).map_or(0, |at| at + 1);
        for mut slot in self.slots.drain(..last) {
            self.first += 1;
            left.extend(split(&mut slot).map(Left::Orphan));
            left.push(Left::Unpaired(slot));
        }
        // One of those responses may be theirs.
        self.slots.iter_mut().filter(|_| last > 0).for_each(|s| s.doubtful = true);
    }

    /// On trial: the client must have had the whole response before it asked again.
    pub(super) fn confirm_by(&mut self, next: &Slot, left: &mut Vec<Left>) {
        if self.trial.is_none() {
            return;
        }
        let Some(last) = self.slots.iter().rev().find(|s| s.provisional) else { return };
        let sequential = last.response_done && next.ack.is_none_or(|ack| ack >= last.response_end);
        if !sequential {
            self.pipelined = true;
            self.fail(left);
            return;
        }
        let asked = next.exchange.as_ref().map(|e| e.start());
        let quiet = asked.is_some_and(|at| self.is_quiet(at));
        if quiet || self.slots.iter().filter(|s| s.provisional).count() >= TRIAL {
            self.pass(left);
        }
    }

    /// Nothing contradicts the pairs on trial: they stand. A response behind them that found no request does.
    fn pass(&mut self, left: &mut Vec<Left>) {
        // Only a client that does not pipeline gets on trial: it was found out since.
        if self.pipelined || self.loose.iter().any(|l| self.contradicts(l)) {
            self.fail(left);
            return;
        }
        self.trial = None;
        self.slots.iter_mut().for_each(|s| s.provisional = false);
    }

    /// A response behind a pair on trial that found no request.
    pub(super) fn contradicts(&self, loose: &Loose) -> bool {
        self.slots.iter().any(|s| s.provisional && s.response_done && loose.offset >= s.response_end)
    }

    /// Ends a trial when the last response ended `QUIET` ago.
    pub(in crate::http) fn confirm(&mut self, now: Timestamp, left: &mut Vec<Left>) {
        if self.trial.is_some() && self.is_quiet(now) {
            self.pass(left);
        }
    }

    /// No answer was outstanding, and none came for `QUIET`: the server owes none. While a request waits its silence says
    /// nothing.
    fn is_quiet(&self, now: Timestamp) -> bool {
        let last = self.slots.iter().rev().find(|s| s.provisional);
        self.slots.iter().all(|s| s.answered)
            && last.is_none_or(|s| s.ended().is_some_and(|end| now.since(end) >= QUIET))
    }

    /// A client that was believed to wait for its answers and is found to ask in advance: order is as unsure again as it
    /// was, and nothing can make it sure.
    pub(super) fn reconsider(&mut self) {
        if self.pipelined && self.resynchronised && self.trial.is_none() {
            self.responses_lost = true;
            self.slots.iter_mut().filter(|s| !s.answered).for_each(|s| s.doubtful = true);
        }
    }

    /// Ends a trial, as nothing will be seen any more: because there is nothing (`over`), or because nobody looks. Then
    /// nothing speaks for the pairs but themselves, and their label says so.
    pub(in crate::http) fn judge(&mut self, over: bool, now: Timestamp, left: &mut Vec<Left>) {
        self.confirm(now, left);
        let Some(label) = self.trial else { return };
        if !over {
            self.slots.iter_mut().filter(|s| s.provisional).for_each(|s| s.trust = s.trust.max(label));
        }
        self.pass(left);
    }

    /// Segments were never seen: what is on trial loses its evidence. (Cut segments were seen; they hide at most what
    /// began inside them.)
    pub(in crate::http) fn segments_lost(&mut self, left: &mut Vec<Left>) {
        let pipelined = self.pipelined;
        self.fail(left);
        self.pipelined = pipelined;
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
    if pair.late {
        slot.exchange = None;
    }
    slot.answered = false;
    let mut missing = Missing::default();
    if !slot.response_done {
        missing.insert(Missing::RESPONSE_BODY);
    }
    Some(Loose { exchange, offset, ack: None, done: true, end, waiting: false, trust: Trust::Unpaired, missing })
}
