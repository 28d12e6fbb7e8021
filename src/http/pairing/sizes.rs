//! How many messages a hole held, by its length: the heads that one end sends on a connection differ little.
//!
//! This limits a count from above, as the client's habit does: it is likely, not certain.

/// Heads that must have been seen before their sizes are believed.
const ENOUGH: u16 = 2;
/// Heads that must have been seen before one of the same size is believed where a body may be.
const USUAL: u16 = 2;
/// A request may be smaller by this many eighths than the smallest that was seen (a HEAD after GETs has fewer fields). So
/// may a response (one without content).
const SMALLER_REQUEST: u16 = 3;
const SMALLER_RESPONSE: u16 = 4;
/// No message is smaller (RFC 9112 §3: `GET / HTTP/1.1`, an empty line).
const LEAST: u16 = 18;

/// Sizes of the heads that were seen on a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct HeadSizes {
    requests: SizeRange,
    /// Those of requests without a body.
    bodyless: SizeRange,
    /// Those of final responses.
    responses: SizeRange,
}

impl HeadSizes {
    /// A request's head: how long it is, and its target.
    pub(in crate::http) fn learn_request(&mut self, whole: u64, target: u64, has_body: bool) {
        let len = whole - target;
        self.requests.learn(len);
        if !has_body {
            self.bodyless.learn(len);
        }
    }

    /// A final response's head, `len` bytes.
    pub(in crate::http) fn learn_response(&mut self, len: u64) {
        self.responses.learn(len);
    }

    /// Whether a head of a request, `len` bytes without its target, is as long as those before that had no body.
    pub(in crate::http) fn is_usual_request(&self, len: u64) -> bool {
        self.bodyless.is_usual(len)
    }

    /// Whether there is room for two of the shortest requests, with the shortest of targets.
    pub(super) fn holds_two(&self, missing: &MissingBytes) -> bool {
        missing.of_requests && missing.len >= 2 * (u64::from(self.requests.least) + 1)
    }

    /// The most messages that may be missing, once enough sizes are known.
    pub(super) fn most_in(&self, missing: &MissingBytes) -> Option<i64> {
        let most = match missing.of_requests {
            true => self.requests.most_in(missing.len, SMALLER_REQUEST),
            false => self.responses.most_in(missing.len, SMALLER_RESPONSE),
        };
        most.map(|most| most.max(missing.passed))
    }
}

/// Sizes of the heads of one kind, without what varies from message to message (a request's target).
#[derive(Clone, Copy, Debug, Default)]
struct SizeRange {
    least: u16,
    most: u16,
    seen: u16,
}

impl SizeRange {
    /// A whole head of `len` such bytes.
    fn learn(&mut self, len: u64) {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.least = if self.seen == 0 { len } else { self.least.min(len) };
        self.most = self.most.max(len);
        self.seen = self.seen.saturating_add(1);
    }

    /// Whether enough heads were seen, and this length is one of theirs.
    fn is_usual(&self, len: u64) -> bool {
        self.seen >= USUAL && (u64::from(self.least)..=u64::from(self.most)).contains(&len)
    }

    /// The most messages that `len` bytes can hold if none is smaller than the least that was seen by more than this
    /// many `eighths`. The more these differ, the smaller the next may be. At least 1.
    fn most_in(&self, len: u64, eighths: u16) -> Option<i64> {
        let margin = self.least / 8 * eighths + (self.most - self.least) / 2;
        let least = self.least.saturating_sub(margin).max(LEAST);
        let most = i64::try_from(len / u64::from(least)).unwrap_or(i64::MAX);
        // Where there is no room for one, some are smaller than those that were seen.
        Some(most).filter(|most| *most > 0 && self.seen >= ENOUGH)
    }
}

/// Bytes that are missing, all of them whole messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct MissingBytes {
    pub len: u64,
    /// As many messages may be among them at least, whatever their size.
    pub passed: i64,
    pub of_requests: bool,
}

/// Lost bytes of a stream, in which messages may be missing, and those behind them that could not be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    /// At least one message is missing wholly.
    pub whole: bool,
    /// From where to where the first ones are, if a message ended before them.
    hole: Option<(u64, u64)>,
    /// Segments behind them that begin like a message and were passed over.
    passed: u32,
}

impl Lost {
    /// These bytes as well as those `before` them; nothing is known of them unless a message ended before the hole.
    pub(super) fn behind(before: Option<Self>, hole: Option<(u64, u64)>) -> Self {
        let Some(before) = before else { return Self { whole: hole.is_some(), hole, passed: 0 } };
        let joined = before.hole.zip(hole).filter(|(one, two)| one.1 == two.0).map(|(one, two)| (one.0, two.1));
        Self { whole: before.whole || hole.is_some(), hole: joined.or(before.hole), passed: before.passed }
    }

    /// The bytes before the next message, at `offset`, if all of them are known to be whole messages.
    pub(super) fn before(&self, offset: u64, of_requests: bool) -> Option<MissingBytes> {
        let len = self.hole.and_then(|(begin, _)| offset.checked_sub(begin))?;
        Some(MissingBytes { len, passed: self.passed(), of_requests })
    }

    /// One more segment that begins like a message is passed over.
    pub(super) fn pass(&mut self) {
        self.passed = self.passed.saturating_add(1);
    }

    /// How many messages there may be whatever their size: those that were passed over, and one before them.
    fn passed(&self) -> i64 {
        if self.passed == 0 { 0 } else { i64::from(self.passed) + i64::from(self.hole.is_some()) }
    }

    /// How many of them were lost at the first place, where a message begins.
    pub(super) fn at_first(&self) -> u64 {
        self.hole.map_or(0, |(begin, end)| end - begin)
    }
}
