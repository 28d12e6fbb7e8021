//! How far ahead the client of one connection asks, as far as was seen while order was certain.
//!
//! A request *lags* by as many as come between it and the first request whose response its client had not received when it
//! asked. That is 0 for a client that waits, and 1 for one that keeps a request in advance. Requests with the same
//! acknowledgement are a
//! *group*: nothing was received between them. Who asks several things at once begins each group with lag 0. After a loss
//! this says how many may be missing at most.

/// This many groups make a habit.
const KNOWN: u32 = 8;
/// This many groups that ended alike are worth a trial.
const ALIKE: u32 = 1;
/// This many shorten it.
const OFTEN: u32 = 3;
/// The most must have been seen this often.
const AGAIN: u32 = 5;
/// One that has this many others under way may have begun with fewer.
const RISES: i64 = 3;

/// The most that was seen of a lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Most {
    /// Nothing was seen: it is taken to be 0, until something contradicts that.
    Supposed,
    /// This, so often.
    Seen(i64, u32),
    /// More than what was taken for it.
    Unlimited,
}

impl Most {
    /// This lag was seen, once more if that counts.
    fn learn(&mut self, lag: i64, counts: bool) {
        *self = match *self {
            Self::Seen(most, times) => Self::Seen(most.max(lag), times.saturating_add(u32::from(counts))),
            Self::Supposed | Self::Unlimited => Self::Seen(lag, u32::from(counts)),
        };
    }

    fn get(self) -> Option<i64> {
        match self {
            Self::Supposed => Some(0),
            Self::Seen(most, _) => Some(most),
            Self::Unlimited => None,
        }
    }
}

/// The lags that were seen.
#[derive(Debug)]
pub(super) struct Habit {
    /// Of a group's first request.
    first: Most,
    /// Of any request.
    any: Most,
    /// The most with which a group ended; how many did, and how many ended with less.
    ended: Option<i64>,
    ends: u32,
    ends_less: u32,
    /// All groups ended with the same lag.
    alike: bool,
    /// Its requests wait for `100 Continue` too.
    held_back: bool,
    /// What was taken for it was none once.
    refuted: bool,
    /// The newest group went further than those before.
    rising: bool,
}

impl Default for Habit {
    fn default() -> Self {
        Self {
            first: Most::Supposed,
            any: Most::Supposed,
            ended: None,
            ends: 0,
            ends_less: 0,
            alike: true,
            held_back: false,
            refuted: false,
            rising: false,
        }
    }
}

impl Habit {
    /// A group begins with this lag.
    pub(super) fn begins(&mut self, lag: i64) {
        self.first.learn(lag, true);
    }

    /// A request has this lag, and could have had a larger one if it is `free`.
    pub(super) fn asks(&mut self, lag: i64, free: bool) {
        self.rising |= self.any.get().is_none_or(|most| lag > most);
        self.any.learn(lag, free);
    }

    /// A request has this lag at least.
    pub(super) fn exceeds(&mut self, lag: i64) {
        if self.any.get().is_some_and(|most| lag > most) {
            self.any = Most::Unlimited;
        }
    }

    /// Requests were lost, which may belong to the newest group: how far it went, if further than those before, is not known.
    pub(super) fn is_cut_off(&mut self) {
        if std::mem::take(&mut self.rising) {
            self.any = Most::Unlimited;
        }
    }

    /// A group ended with this lag.
    pub(super) fn ends(&mut self, lag: i64) {
        self.rising = false;
        self.alike &= *self.ended.get_or_insert(lag) == lag;
        if self.ended < Some(lag) {
            // One that keeps many under way may begin with fewer, each time more.
            let begins = lag >= RISES && self.ends <= 1 && self.ends_less == 0;
            self.ends_less = self.ends_less.saturating_add(if begins { 0 } else { self.ends });
            (self.ended, self.ends) = (Some(lag), 0);
        }
        let less = self.ended > Some(lag);
        let count = if less { &mut self.ends_less } else { &mut self.ends };
        *count = count.saturating_add(1);
    }

    /// It asks for one thing and `more` at once, and asks again only when it has all answers.
    pub(super) fn waits_for_all(&mut self, more: i64) {
        (self.first, self.any) = (Most::Seen(0, KNOWN), Most::Seen(more, KNOWN));
        (self.ended, self.ends, self.ends_less, self.refuted) = (Some(more), KNOWN, 0, false);
    }

    /// A request waits for `100 Continue` before its body, and what is behind it as well. Until its answer comes that says
    /// nothing of what its client does else.
    pub(super) fn holds_back(&mut self) {
        self.held_back = true;
    }

    /// A request of it waits for `100 Continue`, or one did.
    pub(super) fn may_be_held_back(&self) -> bool {
        self.held_back
    }

    /// Nothing was seen of it.
    pub(super) fn is_supposed(&self) -> bool {
        self.any == Most::Supposed
    }

    /// It was seen often enough to be believed.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.first, Most::Seen(_, KNOWN..))
    }

    /// Each of its groups ended as far ahead as it ever asks, as often as is believed.
    fn is_steady(&self) -> bool {
        matches!(self.any, Most::Seen(most, KNOWN..) if self.always_ends(most))
    }

    /// All of its groups ended so, but for those with which it began.
    pub(super) fn is_steady_at_last(&self) -> bool {
        let Most::Seen(most, KNOWN..) = self.any else { return false };
        self.is_steady() || (self.ended == Some(most) && self.ends >= KNOWN && self.ends_less == 0)
    }

    /// Groups were seen, and each of them ended with this lag.
    fn always_ends(&self, lag: i64) -> bool {
        self.alike && self.ended == Some(lag)
    }

    /// Whole groups were seen, all of them alike.
    pub(super) fn was_seen(&self) -> bool {
        self.alike && self.ends >= ALIKE && !self.refuted
    }

    /// So were several.
    pub(super) fn was_seen_often(&self) -> bool {
        self.was_seen() && self.ends >= OFTEN
    }

    /// What it was supposed to be was confirmed.
    pub(super) fn proven(&mut self) {
        let most = self.first.get().unwrap_or(0);
        self.first = Most::Seen(most, KNOWN);
    }

    /// A request asked further ahead than was taken for the most. Gives up one limit: that of requests that may be any of
    /// their group before the other. False: there is none left.
    pub(super) fn widen(&mut self) -> bool {
        self.refuted = true;
        let which = if self.any == Most::Unlimited { &mut self.first } else { &mut self.any };
        std::mem::replace(which, Most::Unlimited) != Most::Unlimited
    }

    /// Nothing that was taken for the most of a lag holds.
    pub(super) fn give_up(&mut self) {
        (self.first, self.any, self.refuted) = (Most::Unlimited, Most::Unlimited, true);
    }

    /// The client waits for its answers, as far as was seen.
    pub(super) fn waits(&self) -> bool {
        self.most(false) == Some(0)
    }

    /// It asks when it has an answer, and not when it has an interim response, of which there may be some.
    pub(super) fn asks_when_answered(&self, interims: bool) -> bool {
        !self.held_back && (!interims || (self.waits() && self.is_known()))
    }

    /// Most lag of a request, which is the first of its group or may be any.
    pub(super) fn most(&self, first: bool) -> Option<i64> {
        let any = self.any.get().zip(self.first.get()).map(|(any, first)| any.max(first));
        // Who was seen to wait for all answers a few times may do so always, or not.
        let waits = any == Some(0);
        let often = matches!(self.any, Most::Seen(_, KNOWN..));
        // Whole groups were seen, and none that ended otherwise.
        let alike =
            !self.refuted && self.ends >= ALIKE && matches!(self.any, Most::Seen(most, _) if self.always_ends(most));
        if self.held_back && !(waits && self.was_seen()) && !self.is_known() {
            return None;
        }
        let fits = !self.refuted && (waits || self.is_steady());
        // Of a client that asks now further ahead, now less, the most was seen once it came again and again, or mostly.
        let mostly = self.ended == any && (self.ends >= AGAIN || self.ends >= self.ends_less);
        let again = mostly || self.ends_less == 0;
        match first && self.is_known() && fits {
            true => self.first.get(),
            false => any.filter(|_| alike || waits || (again && (often || self.is_known()))),
        }
    }
}
