//! Captured bytes that know how many there were on the wire.
//!
//! It distinguishes a cut header (the snap length's doing) from one that does not add up; it does not know any protocol.

use crate::ledger::Skip;

/// Bytes as captured, and their number on the wire: `bytes.len() <= len`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteSpan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) len: usize,
}

impl<'a> ByteSpan<'a> {
    pub(super) fn new(bytes: &'a [u8], wire_len: usize) -> Self {
        Self { bytes, len: wire_len.max(bytes.len()) }
    }

    /// Why a header that should be here is not.
    pub(super) fn too_short(self) -> Skip {
        if self.bytes.len() < self.len { Skip::CutHeaders } else { Skip::Malformed }
    }

    /// The first `N` bytes.
    pub(super) fn first<const N: usize>(self) -> Result<&'a [u8; N], Skip> {
        self.bytes.first_chunk().ok_or_else(|| self.too_short())
    }

    /// What follows a header of `n` captured bytes.
    pub(super) fn after(self, n: usize) -> Result<Self, Skip> {
        let bytes = self.bytes.get(n..).ok_or_else(|| self.too_short())?;
        Ok(Self { bytes, len: self.len - n })
    }

    /// As a header says: `len` bytes in all. What lies behind is padding; there is never more than was on the wire.
    pub(super) fn limited(self, len: usize) -> Self {
        Self { bytes: self.bytes.get(..len).unwrap_or(self.bytes), len: len.min(self.len) }
    }
}
