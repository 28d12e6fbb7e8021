//! The body of one message: its framing, decided once (RFC 9112 §6.3), and how far it has come.
//!
//! Counts bytes; keeps none of them.

use super::detect::is_token;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is none.
    None,
    /// This many bytes.
    Fixed(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection is closed.
    UntilClose,
}

/// A body under way.
#[derive(Debug)]
pub(super) enum BodyProgress {
    Fixed { remaining: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// What a step over some bytes did.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct BodyStep {
    /// Bytes that belong to this body, framing included.
    pub consumed: usize,
    /// Of them, payload.
    pub payload: u64,
    /// The body is whole.
    pub done: bool,
    /// The chunked framing is broken: the rest cannot be distinguished from what follows.
    pub broken: bool,
}

impl BodyProgress {
    /// How many of the next bytes are content.
    pub(super) fn unread(&self) -> u64 {
        match self {
            Self::Fixed { remaining } => *remaining,
            Self::Chunked(Chunked { state: ChunkState::Data(remaining), .. }) => *remaining,
            Self::Chunked(_) => 0,
            Self::UntilClose => u64::MAX,
        }
    }

    /// `None` where there is nothing to wait for.
    pub(super) fn new(length: BodyLength) -> Option<Self> {
        match length {
            BodyLength::None | BodyLength::Fixed(0) => None,
            BodyLength::Fixed(remaining) => Some(Self::Fixed { remaining }),
            BodyLength::Chunked => Some(Self::Chunked(Chunked::default())),
            BodyLength::UntilClose => Some(Self::UntilClose),
        }
    }

    /// Takes what belongs to the body from the front of `bytes`; `each` sees its payload.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> BodyStep {
        match self {
            Self::Fixed { remaining } => {
                let taken = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                *remaining -= taken as u64;
                each(bytes.get(..taken).unwrap_or_default());
                BodyStep { consumed: taken, payload: taken as u64, done: *remaining == 0, broken: false }
            }
            Self::Chunked(chunked) => chunked.take(bytes, each),
            Self::UntilClose => {
                each(bytes);
                BodyStep { consumed: bytes.len(), payload: bytes.len() as u64, done: false, broken: false }
            }
        }
    }

    /// Skips `len` bytes that were never seen. `Some(done)` when the framing is still sure, `None` when it is lost.
    pub(super) fn skip(&mut self, len: u64) -> Option<bool> {
        let remaining = match self {
            Self::Fixed { remaining } => remaining,
            Self::Chunked(Chunked { state: ChunkState::Data(remaining), .. }) => {
                // Exactly to the end of a chunk is sure too: CR LF follows.
                *remaining = remaining.checked_sub(len)?;
                if *remaining == 0 {
                    let Self::Chunked(chunked) = self else { return None };
                    chunked.state = ChunkState::DataEnd;
                }
                return Some(false);
            }
            Self::Chunked(_) => return None,
            Self::UntilClose => return Some(false),
        };
        *remaining = remaining.checked_sub(len)?;
        Some(*remaining == 0)
    }
}

/// Longest line of a chunk's size with its extensions; longer is broken.
const MAX_SIZE_LINE: u32 = 4096;
/// All trailers together.
const MAX_TRAILERS: u32 = 64 * 1024;

/// Chunked transfer coding, RFC 9112 §7.1.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: ChunkState,
    /// Bytes of the current size line, or of the trailers.
    line: u32,
    /// A chunk extension was seen.
    pub extension: bool,
    /// A trailer was seen.
    pub trailers: bool,
    /// A line ended in LF alone.
    pub bare_lf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// In the hexadecimal size; `None` before its first digit.
    Size(Option<u64>),
    /// Behind the size's digits, until LF.
    SizeRest { size: u64, cr: bool },
    /// In the chunk's data, this many bytes to come.
    Data(u64),
    /// Behind the data: CR LF or LF.
    DataEnd,
    /// CR seen behind the data.
    DataEndCr,
    /// At the start of a trailer line.
    TrailerStart,
    /// At the start of a trailer line, CR seen.
    TrailerStartCr,
    /// In a trailer's name, or in what should be one.
    TrailerName,
    /// In a trailer line, behind its colon.
    Trailer,
}

impl Default for ChunkState {
    fn default() -> Self {
        Self::Size(None)
    }
}

/// What one byte of framing led to.
enum ChunkNext {
    State(ChunkState),
    Done,
    Broken,
}

impl Chunked {
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> BodyStep {
        let mut step = BodyStep::default();
        while let Some(rest) = bytes.get(step.consumed..).filter(|r| !r.is_empty()) {
            if let ChunkState::Data(remaining) = self.state {
                let taken = usize::try_from(remaining).unwrap_or(usize::MAX).min(rest.len());
                each(rest.get(..taken).unwrap_or_default());
                step.consumed += taken;
                step.payload += taken as u64;
                let left = remaining - taken as u64;
                self.state = if left == 0 { ChunkState::DataEnd } else { ChunkState::Data(left) };
                continue;
            }
            let Some(byte) = rest.first() else { break };
            match self.framing(*byte) {
                ChunkNext::State(state) => self.state = state,
                ChunkNext::Done => step.done = true,
                ChunkNext::Broken => {
                    step.broken = true;
                    return step;
                }
            }
            step.consumed += 1;
            if step.done {
                break;
            }
        }
        step
    }

    fn framing(&mut self, byte: u8) -> ChunkNext {
        self.line += 1;
        let limit = if matches!(self.state, ChunkState::Size(_) | ChunkState::SizeRest { .. }) {
            MAX_SIZE_LINE
        } else {
            MAX_TRAILERS
        };
        if self.line > limit {
            return ChunkNext::Broken;
        }
        match self.state {
            ChunkState::Size(size) => self.size(size, byte),
            ChunkState::SizeRest { size, cr } => self.size_rest(size, cr, byte),
            ChunkState::Data(_) => ChunkNext::Broken,
            ChunkState::DataEnd if byte == b'\r' => ChunkNext::State(ChunkState::DataEndCr),
            ChunkState::DataEnd if byte == b'\n' => {
                self.bare_lf = true;
                self.next_size()
            }
            ChunkState::DataEndCr if byte == b'\n' => self.next_size(),
            ChunkState::DataEnd | ChunkState::DataEndCr => ChunkNext::Broken,
            ChunkState::TrailerStart | ChunkState::TrailerStartCr if byte == b'\n' => ChunkNext::Done,
            ChunkState::TrailerStart if byte == b'\r' => ChunkNext::State(ChunkState::TrailerStartCr),
            // A trailer continued (RFC 9112 §5.2).
            ChunkState::TrailerStart if self.trailers && matches!(byte, b' ' | b'\t') => {
                ChunkNext::State(ChunkState::Trailer)
            }
            ChunkState::TrailerStart | ChunkState::TrailerName => self.trailer_name(byte),
            ChunkState::TrailerStartCr => ChunkNext::Broken,
            ChunkState::Trailer if byte == b'\n' => ChunkNext::State(ChunkState::TrailerStart),
            ChunkState::Trailer => ChunkNext::State(ChunkState::Trailer),
        }
    }

    fn size(&mut self, size: Option<u64>, byte: u8) -> ChunkNext {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (digit, size) {
            (Some(digit), size) => match size.unwrap_or(0).checked_mul(16) {
                Some(shifted) => ChunkNext::State(ChunkState::Size(Some(shifted + digit))),
                None => ChunkNext::Broken,
            },
            (None, Some(size)) => self.size_rest(size, false, byte),
            (None, None) if matches!(byte, b' ' | b'\t') => ChunkNext::State(ChunkState::Size(None)),
            (None, None) => ChunkNext::Broken,
        }
    }

    fn size_rest(&mut self, size: u64, cr: bool, byte: u8) -> ChunkNext {
        if byte == b'\n' {
            self.bare_lf |= !cr;
            self.line = 0;
            return ChunkNext::State(if size == 0 { ChunkState::TrailerStart } else { ChunkState::Data(size) });
        }
        match byte {
            b';' => self.extension = true,
            b'\r' | b' ' | b'\t' => {}
            _ if self.extension => {}
            _ => return ChunkNext::Broken,
        }
        ChunkNext::State(ChunkState::SizeRest { size, cr: byte == b'\r' })
    }

    /// What is no field may be the next message, behind a body without its last line.
    fn trailer_name(&mut self, byte: u8) -> ChunkNext {
        match (self.state, byte) {
            (ChunkState::TrailerName, b':') => {
                self.trailers = true;
                ChunkNext::State(ChunkState::Trailer)
            }
            (ChunkState::TrailerStart | ChunkState::TrailerName, byte) if is_token(byte) => {
                ChunkNext::State(ChunkState::TrailerName)
            }
            _ => ChunkNext::Broken,
        }
    }

    fn next_size(&mut self) -> ChunkNext {
        self.line = 0;
        ChunkNext::State(ChunkState::Size(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(bytes: &[u8]) -> (BodyStep, Chunked) {
        let mut chunked = Chunked::default();
        let step = chunked.take(bytes, |_| {});
        (step, chunked)
    }

    #[test]
    fn a_chunked_body_ends_behind_its_last_chunk() {
        let (step, _) = chunked(b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1");
        assert_eq!(step, BodyStep { consumed: 15, payload: 5, done: true, broken: false });
    }

    #[test]
    fn extensions_trailers_and_bare_lf_are_noticed() {
        let (step, seen) = chunked(b"3;a=\"b\"\nabc\n0\r\nX-Sum: 1\r\n folded\r\n\r\n");
        assert!(step.done && !step.broken);
        assert_eq!((seen.extension, seen.trailers, seen.bare_lf), (true, true, true));
    }

    #[test]
    fn what_is_no_size_or_no_line_end_is_broken() {
        let trailers = [
            &b"0\r\nHTTP/1.1 200 OK\r\n"[..],
            b"0\r\nGET http://a/ HTTP/1.1\r\n",
            b"0\r\nA\r\n\r\n",
            b"0\r\n:\r\n",
            b"0\r\n\ra",
        ];
        let sizes =
            [&b"xyz\r\n"[..], b"3\r\nabcdef", b"3\r\nabc\r5\r\n", b"fffffffffffffffff\r\n", b"\r\n", b"5 5\r\n"];
        for bad in sizes.into_iter().chain(trailers) {
            assert!(chunked(bad).0.broken, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_body() {
        let whole = b"5;x\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n";
        for cut in 0..=whole.len() {
            let mut body = BodyProgress::new(BodyLength::Chunked).unwrap();
            let (a, b) = (body.take(&whole[..cut], |_| {}), body.take(&whole[cut..], |_| {}));
            assert_eq!(a.consumed + b.consumed, whole.len());
            assert_eq!(a.payload + b.payload, 21);
            assert!(a.done || b.done);
        }
    }

    #[test]
    fn a_gap_inside_known_bytes_is_survivable_and_any_other_is_not() {
        let mut fixed = BodyProgress::new(BodyLength::Fixed(10)).unwrap();
        assert_eq!(fixed.skip(4), Some(false));
        assert_eq!(fixed.skip(6), Some(true));
        assert_eq!(BodyProgress::new(BodyLength::Fixed(10)).unwrap().skip(11), None);
        let mut chunked = BodyProgress::new(BodyLength::Chunked).unwrap();
        assert_eq!(chunked.skip(1), None);
        chunked.take(b"a\r\n01", |_| {});
        assert_eq!(chunked.skip(8), Some(false));
        assert!(chunked.take(b"\r\n0\r\n\r\n", |_| {}).done);
        assert_eq!(BodyProgress::new(BodyLength::UntilClose).unwrap().skip(1 << 40), Some(false));
    }
}
