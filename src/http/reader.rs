//! Where the parser is in one stream.

use std::num::NonZeroU64;

use crate::flow::Timestamp;
use crate::ledger::NotHttp;

use super::body::BodyProgress;
use super::inside::InsideBody;
pub(super) use crate::exchange::MessageStart;

/// Bytes of one event, and what is left of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventBytes<'a> {
    pub at: Timestamp,
    /// Offset of the first byte left.
    pub offset: u64,
    pub ack: Option<u64>,
    pub bytes: &'a [u8],
    /// Nothing has been taken from it: a segment starts here.
    pub fresh: bool,
}

impl EventBytes<'_> {
    /// Takes `used` bytes from the front.
    pub(super) fn advance(&mut self, used: usize) {
        self.bytes = self.bytes.get(used..).unwrap_or_default();
        self.offset += used as u64;
        self.fresh &= used == 0;
    }

    /// Where it begins.
    pub(super) fn begun(&self) -> MessageStart {
        MessageStart { at: self.at, offset: self.offset, ack: self.ack }
    }
}

impl MessageStart {
    /// What began here, its bytes as far as they were kept.
    pub(super) fn chunk(self, bytes: &[u8]) -> EventBytes<'_> {
        EventBytes { at: self.at, offset: self.offset, ack: self.ack, bytes, fresh: true }
    }
}

/// Where the parser is.
#[derive(Debug, Default)]
pub(super) enum ReaderState {
    /// Between two messages.
    #[default]
    Start,
    /// In a head, its bytes in `StreamReader::buffer`.
    Head,
    /// In a body.
    Body(BodyProgress),
    /// No HTTP/1 any more, or never.
    Opaque(NotHttp),
    /// Looking for the next message.
    Resync(Seek),
}

/// Where the next message is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seek {
    /// Wherever a line begins like one: no byte is missing.
    Anywhere,
    /// At a segment's start: bytes are missing from where a message should have begun.
    SegmentStart,
    /// At a segment's start that the opposite side's acknowledgements prove. What comes first may be the rest of a body, and
    /// a body may hold anything.
    Acknowledged,
}

/// The opposite side had all up to here when it spoke, and spoke up to there: who sends what follows here having received
/// that begins something new, unless it pipelines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    pub at: u64,
    pub heard: u64,
}

impl Turn {
    /// None was seen.
    const UNKNOWN: Self = Self { at: 0, heard: u64::MAX };

    /// The opposite side spoke up to `heard`, having had all up to `at`.
    pub(super) fn note(&mut self, at: u64, heard: u64) {
        if at > self.at || self.heard == u64::MAX {
            *self = Self { at, heard };
        }
    }
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct StreamReader {
    pub state: ReaderState,
    /// The head under way, when it did not come in one piece.
    pub buffer: Vec<u8>,
    /// Nothing was read yet, and the capture began later than the stream.
    pub joined: bool,
    /// Where its newest turn begins.
    pub turn: Turn,
    /// One more than what the first bytes acknowledge that were passed over since the last message.
    pub passed: Option<NonZeroU64>,
    /// How far `buffer` was searched for its end.
    pub scanned: usize,
    /// Where the head under way began.
    pub begun: MessageStart,
    /// When its newest bytes came.
    pub newest: Timestamp,
    /// Offset behind the last byte or gap.
    pub parsed_to: u64,
    /// Where it was handed over to another protocol.
    pub opaque_from: u64,
    /// How long the message under way is cannot be known for sure: others read its head in another way.
    pub ambiguous: bool,
    /// Copies that differed, as far as that was noticed.
    pub conflicts: u8,
    /// No byte of the body under way was seen.
    pub body_untouched: bool,
    /// FIN was seen.
    pub ended: bool,
    /// What is counted in the body under way.
    pub inside: Option<Box<InsideBody>>,
}

impl StreamReader {
    /// A stream of which nothing was seen yet; whether its beginning is known.
    pub(super) fn new(origin_known: bool) -> Self {
        Self {
            joined: !origin_known,
            turn: if origin_known { Turn::default() } else { Turn::UNKNOWN },
            ..Self::default()
        }
    }

    /// Whether a turn begins with `chunk`.
    pub(super) fn begins_turn(&self, chunk: &EventBytes<'_>) -> bool {
        let Turn { at, heard } = self.turn;
        let known = heard != u64::MAX;
        known && !self.is_passed(chunk) && at >= chunk.offset && chunk.ack.is_none_or(|ack| ack >= heard)
    }

    /// Bytes that acknowledge `ack` are passed over.
    pub(super) fn pass(&mut self, ack: Option<u64>) {
        self.passed = NonZeroU64::new(ack.unwrap_or(0).saturating_add(1));
    }

    /// Whether `chunk` was sent when no more had been received than with bytes that were passed over.
    pub(super) fn is_passed(&self, chunk: &EventBytes<'_>) -> bool {
        self.passed.is_some_and(|passed| chunk.ack.is_some_and(|ack| ack < passed.get()))
    }

    /// Whether `chunk` was sent when more had been received than when the first bytes were that were passed over.
    pub(super) fn has_received_more(&self, chunk: &EventBytes<'_>) -> bool {
        self.passed.is_some_and(|passed| chunk.ack.is_none_or(|ack| ack >= passed.get()))
    }

    /// How many of the next bytes are not looked at, whatever they are.
    pub(super) fn unread(&self) -> u64 {
        match &self.state {
            ReaderState::Body(body) if !self.body_untouched && self.inside.is_none() => body.unread(),
            ReaderState::Opaque(_) => u64::MAX,
            ReaderState::Body(_) | ReaderState::Start | ReaderState::Head | ReaderState::Resync { .. } => 0,
        }
    }
}
