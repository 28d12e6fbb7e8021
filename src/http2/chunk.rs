//! Bytes of one event, and what is left of them.

use crate::flow::Timestamp;

/// When and where something began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at: Timestamp,
    pub(crate) offset: u64,
}

/// Bytes of one stream that came in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamChunk<'a> {
    pub(crate) at: Timestamp,
    /// Offset of the first byte left.
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
    /// They are in the ledger already, as what they were taken for.
    pub(crate) counted: bool,
}

impl StreamChunk<'_> {
    /// Takes `used` bytes from the front.
    pub(crate) fn advance(&mut self, used: usize) {
        self.bytes = self.bytes.get(used..).unwrap_or_default();
        self.offset += used as u64;
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { at: self.at, offset: self.offset }
    }

    /// `used` of its bytes, for the ledger.
    pub(crate) fn count(&self, used: usize) -> u64 {
        if self.counted { 0 } else { used as u64 }
    }
}
