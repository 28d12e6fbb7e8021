//! What a client's acknowledgement settles after a loss.
//!
//! A client that waits for its answers has all of them when it asks again, so between two such moments there are as many
//! answers as requests: they pair from the front up to the first hole and from the back down to the last one. Who asks
//! before it has its answers leaves nothing to go by.
//!
//! Decides when order is certain again; what is paired on a habit not seen before is on trial (`trial`).

use crate::record::Trust;

use super::client::Habit;
use super::trial::Trial;
use super::{Left, Loose, Loss, Order, Pairing, Slot};

/// What the requests and answers between two acknowledgements come to.
enum Match {
    /// So many of the newest requests and answers are pairs; the others have lost their other half.
    Newest(usize),
    /// The client had asked before it had its answers.
    Ahead,
    /// The body under way is none: the client has its answers.
    Misread,
}

impl Pairing {
    /// A request comes; its segment may acknowledge more than that of the one before it. Returns whether that shows the
    /// response under way to be misread: it has no such body.
    pub(super) fn on_acknowledgement(&mut self, slot: &mut Slot, left: &mut Vec<Left>) -> bool {
        let Some(ack) = slot.ack else { return false };
        let before = self.asked_at;
        if before.is_some_and(|before| ack <= before) {
            return false;
        }
        self.asked_at = Some(ack);
        let missing = slot.loss.max(self.responses_lost);
        if before.is_none() && !self.joined_late && missing == Loss::None && ack == 0 {
            self.client.begins_first_group();
            return false;
        }
        let certain = self.order == Order::Certain && missing == Loss::None && !self.garbled && self.loose.is_empty();
        if certain && self.slots.iter().all(|s| s.loss == Loss::None) {
            self.on_certain_group(ack, left);
            return false;
        }
        self.client.habit() != Habit::Ahead && self.on_waiting_client(ack, slot, left)
    }

    /// All that was asked and answered before is known.
    fn on_certain_group(&mut self, ack: u64, left: &mut Vec<Left>) {
        let outstanding = self.ended_at > ack || self.slots.iter().any(|s| !s.is_answered_by(ack));
        if outstanding && self.trial.is_some() {
            self.fail(left);
        }
        self.client.begins_group(outstanding);
        if !outstanding {
            self.count_agreement();
        }
    }

    /// The client is one that waits, as far as is known: when it asks again, having received `ack`, nothing is outstanding.
    fn on_waiting_client(&mut self, ack: u64, next: &mut Slot, left: &mut Vec<Left>) -> bool {
        let known = self.client.habit() != Habit::Unknown;
        let several = self.client.is_several();
        let matched = self.match_all(ack, next, several);
        // What is missing right before `next` was answered before it, unless it was asked together with it.
        let paid = self.loose.iter().filter(|l| l.waiting).count() > self.unanswered().count();
        let together = several && next.loss != Loss::None;
        match matched {
            Match::Ahead => {
                self.fail(left);
                self.client.asked_ahead();
                self.order = Order::Lost;
                return false;
            }
            Match::Misread => self.join_newest(0, left),
            Match::Newest(pairs) => self.join_newest(pairs, left),
        }
        self.order = Order::Certain;
        self.garbled = false;
        if self.hole.0 <= ack {
            self.responses_lost = Loss::None;
        }
        let label = if self.joined_late { Trust::Midstream } else { Trust::Gap };
        next.trust = next.trust.max(label);
        next.doubtful = false;
        self.assumed = None;
        if !together || paid {
            self.assumed = Some((self.first + self.slots.len() as u64, std::mem::take(&mut next.loss)));
        }
        self.joined_late = false;
        self.client.begins_group(false);
        self.count_agreement();
        if !known && self.trial.is_none() {
            (self.trial, self.resynchronised) = (Some(Trial::of_habit(label)), true);
        }
        if together && paid && self.trial.is_none() {
            self.trial = Some(Trial::of_group(label));
        }
        matches!(matched, Match::Misread)
    }

    /// How the requests without an answer and the answers without a request pair, when nothing is outstanding at `ack`.
    fn match_all(&self, ack: u64, next: &Slot, several: bool) -> Match {
        let slots: Vec<&Slot> = self.unanswered().collect();
        let loose: Vec<&Loose> = self.loose.iter().filter(|l| l.waiting).collect();
        if self.ended_at > ack || self.slots.iter().any(|s| s.answered && !s.is_answered_by(ack)) {
            return Match::Ahead;
        }
        if loose.iter().any(|l| !l.done || l.end > ack) {
            return if self.client.habit() == Habit::Waits { Match::Misread } else { Match::Ahead };
        }
        let lost_answers =
            self.garbled || self.responses_lost != Loss::None || loose.iter().any(|l| l.loss != Loss::None);
        if !lost_answers && (loose.len() < slots.len() || (next.loss == Loss::Certain && loose.is_empty() && !several))
        {
            return Match::Ahead;
        }
        // One answer for each hole: that two adjacent ones are missing looks like one that is still to come. Nor is a hole one
        // that may be an interim response and nothing else.
        let holes = loose.iter().filter(|l| l.loss != Loss::None).count()
            + usize::from(self.responses_lost != Loss::None)
            + usize::from(self.garbled);
        let vague = self.hole.1 <= 2 * self.longest_interim;
        if several && slots.len() > loose.len() + if vague { 0 } else { holes } {
            return Match::Ahead;
        }
        let tail_known = next.loss == Loss::None
            && !self.garbled
            && self.responses_lost == Loss::None
            && loose.last().is_some_and(|l| l.end == ack);
        if !tail_known {
            return Match::Newest(0);
        }
        let mut pairs = 0;
        for (slot, answer) in slots.iter().rev().zip(loose.iter().rev()) {
            let (first_slot, first_answer) = (pairs + 1 == slots.len(), pairs + 1 == loose.len());
            if !answer.may_answer(slot) {
                return if lost_answers { Match::Newest(0) } else { Match::Ahead };
            }
            if first_slot && answer.may_hide_answer_to(slot) {
                break;
            }
            // At least one request is missing before it, and no answer could be its.
            if slot.loss == Loss::Certain && first_answer && answer.loss == Loss::None {
                return Match::Ahead;
            }
            pairs += 1;
            if slot.loss != Loss::None || answer.loss != Loss::None {
                return Match::Newest(pairs);
            }
        }
        // No hole explains that there is more of the one than of the other.
        if pairs == slots.len() && pairs == loose.len() || lost_answers {
            Match::Newest(pairs)
        } else {
            Match::Newest(0)
        }
    }

    /// Pairs the newest requests and answers; what is before them has lost its other half.
    fn join_newest(&mut self, pairs: usize, left: &mut Vec<Left>) {
        let alone = self.loose.len() - pairs.min(self.loose.len());
        let waiting = self.slots.iter().filter(|s| !s.answered).count();
        let given_up = waiting - pairs.min(waiting);
        if alone + given_up > 0 && self.trial.is_some_and(Trial::is_of_group) {
            self.fail(left);
        }
        left.extend(self.loose.drain(..alone).map(Left::Orphan));
        self.slots.iter_mut().filter(|s| !s.answered).take(given_up).for_each(Slot::give_up);
        let mut loose = std::mem::take(&mut self.loose).into_iter();
        for slot in self.slots.iter_mut().filter(|s| !s.answered) {
            let Some(answer) = loose.next() else { break };
            join(slot, answer, self.trial.is_some_and(|trial| !trial.is_of_group()));
        }
    }
}

/// Puts a response into its request's slot.
fn join(slot: &mut Slot, answer: Loose, provisional: bool) {
    slot.answered = true;
    slot.provisional = provisional;
    slot.response_done = answer.done;
    slot.response_end = answer.end;
    slot.trust = slot.trust.max(answer.trust).max(Trust::Gap);
    slot.missing.insert(answer.missing);
    if let Some(exchange) = slot.exchange.as_mut() {
        if slot.reported {
            exchange.be_late();
        }
        exchange.response = answer.exchange.response;
        exchange.weird.merge(answer.exchange.weird);
        exchange.class = answer.exchange.class;
    }
}
