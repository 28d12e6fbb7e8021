//! Order while it is certain, and how it becomes certain again.
//!
//! Owns the numbering: where a run begins, when its shift is known, and what that pairs.

use crate::record::Trust;

use super::doubt::{Conflict, Doubt, Grade, RunHole};
use super::evidence::{AskedRequest, Heard};
use super::sizes::MissingBytes;
use super::trial::Presumed;
use super::{Group, LeftQueue, MAX_HEARD, MessagePlace, OrphanResponse, Pairing, RequestSlot};

/// No interim response is that large, as a rule (bytes).
const LARGE: u64 = 128;

/// How many messages are missing before the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct MissingMessages {
    /// At least, for certain.
    certain: i64,
    /// At least, as it seems.
    likely: i64,
    /// At most, by their size.
    most: Option<i64>,
    /// What they have in bytes.
    bytes: Option<MissingBytes>,
}

impl MissingMessages {
    /// One, neither more nor less.
    pub(super) fn is_one(self) -> bool {
        (self.likely, self.most) == (1, Some(1))
    }
}

/// This many groups of requests, each as far ahead as ever, show that nothing else is missing.
const STEADY: usize = 6;

impl Pairing {
    /// A run of which nothing is known yet.
    pub(super) fn new_run(&mut self) -> u32 {
        self.runs += 1;
        self.doubt.get_or_insert_with(|| Box::new(Doubt::new())).add(self.runs);
        self.runs
    }

    /// Behind a loss of requests a run of them begins.
    pub(super) fn begin_request_run(&mut self, offset: u64, left: &mut Vec<LeftQueue>) {
        let Some(lost) = self.request_gap.take() else { return };
        let bytes = lost.before(offset, true);
        let most = bytes.and_then(|bytes| self.sizes.most_in(&bytes));
        let whole = i64::from(lost.whole);
        let missing = MissingMessages { certain: whole, likely: whole, most, bytes };
        self.begin_run(|it| &mut it.asked, missing, left);
    }

    /// Behind a loss of responses a run of them begins. What is missing may be an interim response and nothing else, where
    /// such were seen or are awaited.
    pub(super) fn begin_response_run(&mut self, offset: u64, left: &mut Vec<LeftQueue>) {
        if self.response_gap {
            let missing = self.missing_responses(offset);
            (self.response_gap, self.response_hole) = (false, None);
            self.begin_run(|it| &mut it.answered, missing, left);
        }
    }

    /// How many responses are missing if the next one begins at `offset`.
    fn missing_responses(&self, offset: u64) -> MissingMessages {
        // What is missing may be where another protocol begins.
        let hole = self.response_hole.filter(|_| !self.may_have_switched());
        let bytes = hole.and_then(|lost| lost.before(offset, false));
        let most = bytes.and_then(|bytes| self.sizes.most_in(&bytes));
        let interims = self.largest_interim.unwrap_or(0).saturating_mul(2);
        let held_one = bytes.is_some() && hole.is_some_and(|lost| lost.at_first() >= LARGE.max(interims));
        // A client that asks when it has an answer has asked where the hole ends.
        let asks = self.habit.asks_when_answered(self.largest_interim.is_some());
        let had_one = bytes.is_some() && self.group.ack == Some(offset) && asks;
        let final_ones = held_one || had_one;
        MissingMessages { certain: 0, likely: i64::from(final_ones), most, bytes }
    }

    /// The next message is the first of a run, unless it is known how many are missing before it.
    fn begin_run(
        &mut self,
        next: fn(&mut Self) -> &mut MessagePlace,
        missing: MissingMessages,
        left: &mut Vec<LeftQueue>,
    ) {
        if missing.is_one() {
            next(self).number += 1;
            self.counted = true;
            return;
        }
        if self.doubt.as_ref().is_some_and(|doubt| !doubt.has_room()) {
            self.start_over(left);
        }
        let run = self.new_run();
        let before = std::mem::replace(&mut next(self).run, run);
        self.ahead = None;
        if let Some(doubt) = &mut self.doubt {
            // Nothing was known of the new run, so nothing can contradict this.
            let _: Result<_, _> = doubt.limit(before, run, -missing.certain, Grade::Certain);
            let _: Result<_, _> = doubt.limit(before, run, -missing.likely, Grade::Sized);
            doubt.holes.extend(missing.bytes.map(|missing| RunHole { before, run, missing }));
        }
    }

    /// Takes what the lengths of holes say, by the sizes that are known now.
    fn measure(&mut self) -> Result<(), Conflict> {
        let Some(doubt) = &mut self.doubt else { return Ok(()) };
        for at in 0..doubt.holes.len() {
            let Some(RunHole { before, run, missing }) = doubt.holes.get(at).copied() else { break };
            if let Some(most) = self.sizes.most_in(&missing) {
                doubt.limit(run, before, most, Grade::Sized)?;
            }
        }
        Ok(())
    }

    /// A request acknowledges more than the one before it, which it `follows` unless others may be missing between them.
    pub(super) fn on_group(&mut self, slot: &RequestSlot, heard: u64, follows: bool, left: &mut Vec<LeftQueue>) {
        let before = std::mem::replace(&mut self.group, Group { ack: slot.ack, ..Group::default() });
        let free = !self.is_held_back();
        if let Some(not_had) = before.not_had.filter(|_| before.exact && follows && free && self.trial.is_none()) {
            self.habit.ends(slot.place.number - 1 - not_had);
        }
        if self.doubt.is_some() || self.response_gap {
            self.count_rounds(slot, heard);
            return;
        }
        let Some((not_had, exact)) = slot.ack.and_then(|had| self.first_not_had(had, heard)) else { return };
        (self.group.not_had, self.group.exact) = (Some(not_had), exact);
        let lag = slot.place.number - not_had;
        if self.trial.is_some() {
            if self.habit.most(true).is_some_and(|most| lag <= most) { self.count_agreement() } else { self.fail(left) }
        } else if before.ack.is_some() && free {
            self.habit.begins(lag);
        }
    }

    /// Whether a request that waits for `100 Continue` waits for its answer: what is behind it was held back.
    pub(super) fn is_held_back(&self) -> bool {
        self.habit.may_be_held_back() && self.unanswered().any(|slot| slot.expects)
    }

    /// A request has this lag. Where the order rests on another habit it was not found again.
    pub(super) fn asks(&mut self, lag: i64, left: &mut Vec<LeftQueue>) {
        if self.is_refuted_by(lag) {
            self.contradict(left);
        } else {
            self.habit.asks(lag, !self.is_held_back());
        }
    }

    /// A request has this lag at least. Where order rests on another habit it was not found again.
    pub(super) fn exceeds(&mut self, lag: i64, left: &mut Vec<LeftQueue>) {
        if self.is_refuted_by(lag) {
            self.contradict(left);
        } else {
            self.habit.exceeds(lag);
        }
    }

    /// Whether the order rests on a habit that such a lag is none of.
    fn is_refuted_by(&self, lag: i64) -> bool {
        let rests = self.trial.is_some() || (self.supposed && !self.habit.is_known());
        rests && self.habit.most(false).is_some_and(|most| lag > most)
    }

    /// Puts a request into the queue. Gives the number of the one that the response under way answers, if it turns out.
    pub(super) fn place_request(&mut self, slot: RequestSlot, left: &mut Vec<LeftQueue>) -> Option<u64> {
        let asked = AskedRequest::from(&slot);
        self.slots.push_back(slot);
        let mut joined = None;
        if self.doubt.is_some() {
            let said = self.measure().and_then(|()| self.compare_with_heard(&asked));
            self.resolve(said, left);
            joined = self.merge(left);
            self.settle_rounds(asked.place, left);
            self.settle_steady(left);
        }
        if let Some(had) = asked.ack {
            while self.earlier.front().is_some_and(|heard| heard.start < had) {
                self.earlier.pop_front();
            }
        }
        let waits = self.loose.iter().any(|l| l.waiting && l.place.run == 0);
        let joined = joined.or_else(|| if waits { self.join_all(left) } else { None });
        self.forget_past_runs();
        joined
    }

    /// Requests and responses that come now have known numbers, and so have all that these can be compared with. Nothing more
    /// will be known of the runs before them.
    fn forget_past_runs(&mut self) {
        let Some(latest) = self.latest.filter(|_| self.doubt.is_some()) else { return };
        let heard = self.earlier.iter().map(|heard| heard.place).chain([latest.place]);
        if heard.chain([self.asked, self.answered]).all(|place| place.run == 0) {
            (self.doubt, self.joined_late) = (None, false);
            self.slots.iter_mut().filter(|s| !s.answered && s.place.run != 0).for_each(RequestSlot::give_up);
            self.loose.iter_mut().filter(|l| l.place.run != 0).for_each(|l| l.waiting = false);
        }
    }

    fn compare_with_heard(&mut self, request: &AskedRequest) -> Result<(), Conflict> {
        for at in 0..self.earlier.len() {
            if let Some(heard) = self.earlier.get(at).copied() {
                self.compare(request, &heard)?;
            }
        }
        self.latest.map_or(Ok(()), |heard| self.compare(request, &heard))
    }

    /// Requests begin before `known`, and the server had all up to `heard.ack`: it answers one of those.
    fn compare_with_asked(&mut self, heard: &Heard, known: u64) -> Result<(), Conflict> {
        if self.request_gap.is_none() && heard.ack.is_some_and(|ack| ack <= known) {
            self.at_least(self.asked, heard.place, 1)?;
        }
        for at in 0..self.slots.len() {
            if let Some(asked) = self.slots.get(at).map(AskedRequest::from) {
                self.compare(&asked, heard)?;
            }
        }
        Ok(())
    }

    /// What contradicts the client's habit makes it another one; what contradicts certainty leaves nothing to go by.
    fn resolve(&mut self, said: Result<(), Conflict>, left: &mut Vec<LeftQueue>) {
        match said {
            Ok(()) => {}
            Err(Conflict::Likely) if self.trial.is_none() && self.widen() => {}
            Err(_) => self.contradict(left),
        }
    }

    /// Remembers a response that takes its turn.
    fn take_turn(&mut self, heard: Heard) {
        self.answered.number += 1;
        self.took_turn = true;
        if let Some(before) = self.latest.replace(heard)
            && self.group.ack.is_none_or(|had| before.start >= had)
        {
            if self.earlier.len() >= MAX_HEARD {
                self.earlier.pop_front();
            }
            self.earlier.push_back(before);
        }
    }

    /// Nothing is missing: the response answers the first request that waits. One that cannot takes no turn.
    pub(super) fn in_order(
        &mut self,
        heard: Heard,
        offset: u64,
        known: u64,
        left: &mut Vec<LeftQueue>,
    ) -> Option<usize> {
        let number = self.answered.number;
        let waiting = self.slots.iter_mut().filter(|s| !s.answered);
        waiting.take_while(|s| s.place.number < number).for_each(RequestSlot::give_up);
        let Some(index) = self.slots.iter().position(|s| !s.answered) else {
            // It answers a request that is missing, one that comes after it, or none.
            if self.request_gap.is_some() || heard.ack.is_none_or(|ack| ack > known) {
                self.take_turn(heard);
            } else {
                self.refute(left);
            }
            return None;
        };
        let slot = self.slots.get(index)?;
        if slot.place.number > number {
            self.take_turn(heard);
            return None;
        }
        if !slot.may_be_answered_by(offset, heard.ack) {
            self.refute(left);
            return None;
        }
        self.take_turn(heard);
        Some(index)
    }

    /// Messages may be missing: the response answers the request that evidence leaves, if it leaves one.
    pub(super) fn by_evidence(
        &mut self,
        heard: Heard,
        offset: u64,
        known: u64,
        left: &mut Vec<LeftQueue>,
    ) -> Option<usize> {
        let label = self.label();
        let said = self.measure().and_then(|()| self.compare_with_asked(&heard, known));
        self.take_turn(heard);
        self.resolve(said, left);
        self.merge(left);
        self.forget_past_runs();
        let place = self.latest?.place;
        let index = self.slots.iter().position(|s| !s.answered && s.place == place && place.run == 0)?;
        let slot = self.slots.get_mut(index)?;
        if !slot.may_be_answered_by(offset, heard.ack) {
            self.contradict(left);
            return None;
        }
        slot.trust = slot.trust.max(label);
        Some(index)
    }

    /// What a pair is called whose order was found again.
    pub(super) fn label(&self) -> Trust {
        if self.joined_late { Trust::Midstream } else { Trust::Gap }
    }

    /// Runs whose shift is known become part of run 0. Gives the number of the request that the response under way answers,
    /// if that turns out.
    fn merge(&mut self, left: &mut Vec<LeftQueue>) -> Option<u64> {
        let label = self.label();
        let (mut merged, mut by_habit) = (false, false);
        let several = self.may_be_several();
        while let Some(run) = self.next_known_run() {
            merged = true;
            by_habit |= !self.doubt.as_ref().is_some_and(|doubt| doubt.is_apart_by_size(run, 0));
            self.renumber(run);
        }
        if !merged {
            return None;
        }
        if self.doubt.as_ref().is_some_and(|doubt| doubt.is_over()) {
            self.doubt = None;
        }
        self.counted |= !by_habit;
        if by_habit && (several || !self.client_is_known_to_wait()) {
            let presumed = self.presumed.get_or_insert_with(|| Box::new(Presumed::new(label)));
            presumed.several |= several && self.habit.is_supposed();
        }
        if by_habit && !self.habit.is_known() {
            self.trial.get_or_insert(label);
            self.supposed = true;
        }
        self.joined_late &= self.doubt.is_some();
        self.join_all(left)
    }

    /// A run whose shift is known. Where those of requests and responses are known of each other alone, theirs is the order
    /// from now on.
    fn next_known_run(&mut self) -> Option<u32> {
        let (asked, answered) = (self.asked.run, self.answered.run);
        let doubt = self.doubt.as_mut()?;
        if let Some(run) = doubt.known_run() {
            return Some(run);
        }
        if asked == 0 || answered == 0 || doubt.apart(asked, answered).is_none() {
            return None;
        }
        doubt.rebase(answered);
        self.slots.iter_mut().filter(|s| !s.answered && s.place.run == 0).for_each(RequestSlot::give_up);
        self.loose.iter_mut().filter(|l| l.place.run == 0).for_each(|l| l.waiting = false);
        self.earlier.retain(|heard| heard.place.run != 0);
        self.each_place(|place| match place.run {
            0 => place.run = u32::MAX,
            run if run == answered => place.run = 0,
            _ => {}
        });
        self.next_known_run()
    }

    /// The numbers of a run become those of run 0.
    fn renumber(&mut self, run: u32) {
        let Some(shift) = self.doubt.as_ref().and_then(|doubt| doubt.apart(run, 0)) else { return };
        self.ahead = None;
        self.each_place(|place| {
            if place.run == run {
                *place = MessagePlace { run: 0, number: place.number + shift };
            }
        });
        if let Some(doubt) = &mut self.doubt {
            doubt.remove(run);
        }
    }

    fn each_place(&mut self, mut change: impl FnMut(&mut MessagePlace)) {
        self.slots.iter_mut().for_each(|s| change(&mut s.place));
        self.loose.iter_mut().for_each(|l| change(&mut l.place));
        self.earlier.iter_mut().chain(&mut self.latest).for_each(|h| change(&mut h.place));
        change(&mut self.asked);
        change(&mut self.answered);
    }

    /// Pairs what waits in run 0 and has the same number. What has no other half there has none.
    fn join_all(&mut self, left: &mut Vec<LeftQueue>) -> Option<u64> {
        let mut under_way = None;
        let mut at = 0;
        let (mut wrong, provisional) = (false, self.trial.is_some());
        while let Some(loose) = self.loose.get(at) {
            let place = loose.place;
            if !loose.waiting || place.run != 0 {
                at += 1;
                continue;
            }
            let index = self.slots.iter().position(|s| !s.answered && s.place == place);
            let Some((index, slot)) = index.and_then(|index| Some((index, self.slots.get_mut(index)?))) else {
                let later = self.asked.run != 0 || place.number >= self.asked.number;
                if let Some(loose) = self.loose.get_mut(at) {
                    loose.waiting = later;
                }
                at += 1;
                continue;
            };
            if !loose.may_answer(slot) {
                wrong = true;
                break;
            }
            let Some(loose) = self.loose.remove(at) else { break };
            if !loose.done {
                under_way = Some(self.first + index as u64);
            }
            join(slot, loose, provisional);
        }
        if wrong {
            self.contradict(left);
            return None;
        }
        if self.answered.run == 0 {
            let next = self.answered.number;
            let lost = |s: &&mut RequestSlot| !s.answered && s.place.run == 0 && s.place.number < next;
            let newest = self.latest.map(|heard| heard.place);
            self.slots.iter_mut().filter(lost).filter(|s| Some(s.place) != newest).for_each(RequestSlot::give_up);
        }
        under_way
    }

    /// Nothing is outstanding, it seems: there were as many responses as requests. That is believed where the client then had
    /// asked as far ahead as it ever does. Had it given up something unanswered, it would not have.
    pub(super) fn settle_drained(&mut self, left: &mut Vec<LeftQueue>) {
        // What was passed over and looks like a request may be one.
        if self.is_gapless() && self.doubt.as_mut().is_none_or(|doubt| doubt.count_passed().is_ok()) {
            let apart = self.answered.number - self.asked.number;
            self.settle_at(apart, left);
        }
    }

    /// The client was seen to ask as far ahead as ever, again and again: so it does.
    fn settle_steady(&mut self, left: &mut Vec<LeftQueue>) {
        let Some(ahead) = self.ahead.filter(|_| self.is_gapless()) else { return };
        if self.habit.is_steady_at_last() && ahead.less_far == 0 && ahead.as_far >= STEADY {
            self.settle_at(ahead.most, left);
        }
    }

    /// A client may ask several things at once, have as many answers, and only then ask again. One that does so time after
    /// time waits for all of them: nothing is outstanding when it asks. (One that keeps requests under way asks when it has
    /// one answer.)
    fn count_rounds(&mut self, slot: &RequestSlot, heard: u64) {
        let drained = self.is_gapless() && slot.ack == Some(self.ended_at) && heard == self.ended_at;
        let now = (slot.place, self.answered);
        let Some(before) = std::mem::replace(&mut self.round, drained.then_some(now)).filter(|_| drained) else {
            self.rounds = 0;
            return;
        };
        let same_runs = (before.0.run, before.1.run) == (now.0.run, now.1.run);
        let (asked, answered) = (now.0.number - before.0.number, now.1.number - before.1.number);
        self.rounds = if same_runs && asked == answered && asked > 1 { self.rounds + 1 } else { 0 };
        if self.rounds >= STEADY {
            self.habit.waits_for_all(asked - 1);
        }
    }

    /// After `STEADY` rounds, the next response answers the newest request, if that begins a round.
    fn settle_rounds(&mut self, newest: MessagePlace, left: &mut Vec<LeftQueue>) {
        if self.rounds >= STEADY && self.round.is_some_and(|(begins, _)| begins == newest) {
            self.rounds = 0;
            self.apart_by(self.answered.number - newest.number, left);
        }
    }

    /// The newest requests and responses are `apart` if the client's habit makes that the most that they may be, or nothing is
    /// known of that.
    fn settle_at(&mut self, apart: i64, left: &mut Vec<LeftQueue>) {
        let fits = self.ahead.is_some_and(|ahead| ahead.most == apart) || self.habit.most(true).is_none();
        if fits {
            self.apart_by(apart, left);
        }
    }

    fn apart_by(&mut self, apart: i64, left: &mut Vec<LeftQueue>) {
        let (asked, answered) = (self.asked.run, self.answered.run);
        let Some(doubt) = &mut self.doubt else { return };
        let limits = [(answered, asked, -apart), (asked, answered, apart)];
        if limits.into_iter().all(|(a, b, most)| doubt.limit(a, b, most, Grade::Habit).is_ok()) {
            self.merge(left);
        }
    }

    /// What order says cannot be. If that is certain, this response answers nothing. If it only seemed so, it is wrong.
    fn refute(&mut self, left: &mut Vec<LeftQueue>) {
        if self.trial.is_some() || self.counted {
            self.contradict(left);
        }
    }

    /// What was taken for evidence, or for the client's habit, contradicts itself.
    pub(super) fn contradict(&mut self, left: &mut Vec<LeftQueue>) {
        if self.trial.is_some() {
            self.fail(left);
        } else {
            self.habit.give_up();
            self.start_over(left);
        }
        self.supposed = false;
    }

    /// Nothing of before says anything of what comes.
    pub(super) fn start_over(&mut self, left: &mut Vec<LeftQueue>) {
        let newest = self.slots.back().map(|s| s.place);
        self.doubt = None;
        (self.counted, self.presumed) = (false, None);
        self.answered.run = 0;
        (self.latest, self.response_gap) = (None, true);
        self.ahead = None;
        self.earlier.clear();
        let run = self.new_run();
        for slot in self.slots.iter_mut().filter(|s| !s.answered) {
            slot.doubtful = true;
            if Some(slot.place) == newest {
                slot.place.run = run;
            } else {
                slot.give_up();
            }
        }
        self.asked.run = run;
        let whole = self.loose.iter().position(|l| !l.done).unwrap_or(self.loose.len());
        left.extend(self.loose.drain(..whole).map(LeftQueue::Orphan));
        self.loose.iter_mut().for_each(|l| l.waiting = false);
    }

    /// The client asks again, having received `ack`, while the response under way, of a request that is not known, announces
    /// more. A client that waits has all of it.
    pub(super) fn is_misread(&self, ack: Option<u64>) -> bool {
        let newest = self.loose.back();
        self.habit.waits()
            && self.habit.is_known()
            && newest.zip(ack).is_some_and(|(l, ack)| l.offset < ack && (!l.done || l.end > ack))
    }
}

/// Puts a response into its request's slot.
fn join(slot: &mut RequestSlot, answer: OrphanResponse, provisional: bool) {
    slot.answered = true;
    slot.provisional = provisional;
    slot.response_done = answer.done;
    slot.response_at = answer.offset;
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
