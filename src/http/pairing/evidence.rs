//! What TCP says of a request and a response: which of the two numbers is the larger, and by how much at most.
//!
//! A request was sent when its client had received what its segment acknowledges, so it comes behind all requests whose
//! responses begin before that. A response was sent when its server had received what its segment acknowledges, so it answers
//! a request that begins before that. The client's habit limits the other side.

use super::doubt::{Conflict, Grade};
use super::{MessagePlace, OrphanResponse, Pairing, RequestSlot};

/// A response that the newest request's client may not have received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub place: MessagePlace,
    /// Where it begins, its interim responses included.
    pub start: u64,
    /// How much of the request stream its segment acknowledged.
    pub ack: Option<u64>,
}

impl From<&OrphanResponse> for Heard {
    fn from(loose: &OrphanResponse) -> Self {
        Self { place: loose.place, start: loose.start, ack: loose.ack }
    }
}

/// How far ahead the client of the newest runs asks at most, by its habit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// How much the shift of the requests is at most more than that of the responses.
    pub most: i64,
    /// Groups that began as far ahead as that.
    pub as_far: usize,
    /// Groups that did not.
    pub less_far: usize,
}

/// What is known of a request here.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedRequest {
    pub place: MessagePlace,
    pub offset: u64,
    pub ack: Option<u64>,
    /// It is the first of those with its acknowledgement.
    pub opens: bool,
}

impl From<&RequestSlot> for AskedRequest {
    fn from(slot: &RequestSlot) -> Self {
        let RequestSlot { place, offset, ack, opens, .. } = *slot;
        Self { place, offset, ack, opens }
    }
}

impl Pairing {
    /// Takes what `request` and `response` say of each other.
    pub(super) fn compare(&mut self, request: &AskedRequest, response: &Heard) -> Result<(), Conflict> {
        let after = response.ack.is_some_and(|ack| ack <= request.offset);
        let had = request.ack;
        if after || had.is_some_and(|had| had > response.start) {
            self.at_least(request.place, response.place, 1)?;
        } else if had == Some(response.start) {
            self.at_least(request.place, response.place, 0)?;
        }
        self.compare_habit(request, response)
    }

    /// Takes what the client's habit says of them: a request is at most so far ahead of a response that its client had not
    /// received.
    fn compare_habit(&mut self, request: &AskedRequest, response: &Heard) -> Result<(), Conflict> {
        if request.ack.is_none_or(|had| had > response.start) {
            return Ok(());
        }
        let Some(most) = self.habit.most(request.opens) else { return Ok(()) };
        let by = response.place.number + most - request.place.number;
        if (request.place.run, response.place.run) == (self.asked.run, self.answered.run) {
            self.note_ahead(by, request.opens && request.ack == Some(response.start));
        }
        self.limit(request.place.run, response.place.run, by, Grade::Habit)
    }

    /// Whether a hole has room for two of the client's shortest requests. One that waits sent one.
    pub(super) fn may_be_several(&self) -> bool {
        self.doubt.iter().flat_map(|doubt| &doubt.holes).any(|hole| self.sizes.holds_two(&hole.missing))
    }

    /// A group that began at a response's beginning, or any request, is so far ahead.
    fn note_ahead(&mut self, most: i64, begins: bool) {
        let ahead = self.ahead.get_or_insert(Ahead { most, as_far: 0, less_far: 0 });
        if most < ahead.most {
            *ahead = Ahead { most, as_far: 0, less_far: ahead.less_far + ahead.as_far };
        }
        if begins && most == ahead.most {
            ahead.as_far += 1;
        } else if begins {
            ahead.less_far += 1;
        }
    }

    /// The number of `request` is at least `by` more than that of `response`.
    pub(super) fn at_least(&mut self, request: MessagePlace, response: MessagePlace, by: i64) -> Result<(), Conflict> {
        self.limit(response.run, request.run, request.number - response.number - by, Grade::Certain)
    }

    /// Within a run order says all.
    fn limit(&mut self, a: u32, b: u32, most: i64, grade: Grade) -> Result<(), Conflict> {
        match &mut self.doubt {
            Some(doubt) if a != b => doubt.limit(a, b, most, grade),
            _ => Ok(()),
        }
    }

    /// Begins again with the client's habit, which turned out to be another one, on all that is in the queue.
    pub(super) fn widen(&mut self) -> bool {
        while self.habit.widen() {
            self.ahead = None;
            if let Some(doubt) = &mut self.doubt {
                doubt.only_certain();
            }
            if self.compare_all().is_ok() {
                return true;
            }
        }
        false
    }

    fn compare_all(&mut self) -> Result<(), Conflict> {
        let heard = self.loose.iter().filter(|l| l.waiting).map(Heard::from);
        let heard: Vec<Heard> = heard.chain(self.earlier.iter().copied()).chain(self.latest).collect();
        for at in 0..self.slots.len() {
            let Some(asked) = self.slots.get(at).map(AskedRequest::from) else { break };
            heard.iter().try_for_each(|heard| self.compare_habit(&asked, heard))?;
        }
        Ok(())
    }

    /// The number of the first response that a client which had received `had` had not received whole, and whether that is
    /// where it begins.
    pub(super) fn first_not_had(&self, had: u64, heard: u64) -> Option<(i64, bool)> {
        // How long the body of a response is whose request is not known cannot be said. Nor what is in unreadable bytes, or in
        // those that the capture shows later.
        if self.garbled || had > heard || self.loose.back().is_some_and(|loose| !loose.done) {
            return None;
        }
        let Some(latest) = self.latest else { return Some((self.answered.number, had == 0)) };
        if had > latest.start {
            let whole = self.ended_at <= had && self.ended_at > latest.start;
            return Some((latest.place.number + i64::from(whole), self.ended_at == had));
        }
        let mut before = None;
        for heard in self.earlier.iter().chain([&latest]) {
            if heard.start >= had {
                return if heard.start == had { Some((heard.place.number, true)) } else { before };
            }
            before = Some((heard.place.number, false));
        }
        None
    }
}
