//! Finds where a frame begins, in a stream joined late or behind a hole.
//!
//! One header of nine bytes proves nothing. It takes a chain of headers, each where the one before it ends, whose types,
//! lengths, flags and stream ids fit together. Header blocks in it must decode. Until there is one the bytes are held, so
//! that nothing behind the first boundary is lost. Reads no frame for its meaning.

use std::collections::VecDeque;

use super::chunk::{Mark, StreamChunk};
use super::frame::{self, FrameHeader};
use crate::flow::Timestamp;
use crate::hpack::{HeaderBlock, HpackDecoder};
use crate::record::ConnectionSide;

/// Most bytes held of one stream.
pub(crate) const MAX_HELD: usize = 48 * 1024;
/// Most possible boundaries that are followed at once.
const MAX_CANDIDATES: usize = 16;
/// How far apart the streams of one chain may be.
const SPREAD: u32 = 4096;
/// So much is proof: three frames, or two of a kind that cannot be chance.
const PROOF: u32 = 3;

/// What is known of the stream that is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SearchKnowledge {
    /// Longest frame that its receiver allows.
    pub(crate) longest: u32,
    /// The connection speaks HTTP/2, and this is its newest stream: less is proof enough.
    pub(crate) newest: Option<u32>,
    /// Who sends it.
    pub(crate) sender: Option<ConnectionSide>,
}

/// A piece of what is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldRun {
    /// When it came.
    at: Timestamp,
    /// Offset behind it.
    end: u64,
    /// Number of the event that brought it.
    pub(crate) event: u64,
}

/// A boundary, and what the chain behind it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundBoundary {
    /// Bytes before it.
    pub(crate) at: usize,
    pub(crate) weight: u32,
    /// Whose stream it is, where a header block says so.
    pub(crate) sender: Option<ConnectionSide>,
    /// A stream of the chain.
    pub(crate) stream: u32,
    /// The chain begins with a segment and ends with one.
    aligned: bool,
}

/// Held bytes of one stream and the boundaries that are possible in them.
#[derive(Debug, Default)]
pub(crate) struct BoundarySearch {
    bytes: Vec<u8>,
    runs: VecDeque<HeldRun>,
    /// Offset of the first byte held.
    first: u64,
    candidates: Vec<usize>,
    /// How far candidates were looked for.
    looked: usize,
    /// What is held begins in the middle of a segment.
    begins_inside: bool,
}

impl BoundarySearch {
    /// Takes more bytes; gives a boundary once one is proven.
    pub(crate) fn take(
        &mut self,
        chunk: &StreamChunk<'_>,
        event: u64,
        known: SearchKnowledge,
    ) -> Option<FoundBoundary> {
        if self.bytes.is_empty() {
            (self.first, self.begins_inside) = (chunk.offset, false);
        }
        self.bytes.extend_from_slice(chunk.bytes);
        self.runs.push_back(HeldRun { at: chunk.at, end: chunk.offset + chunk.bytes.len() as u64, event });
        let found = self.proven(known);
        if found.is_none() {
            self.let_go();
        }
        found
    }

    fn proven(&mut self, known: SearchKnowledge) -> Option<FoundBoundary> {
        let mut scratch = HeaderBlock::default();
        let mut kept = Vec::new();
        for at in std::mem::take(&mut self.candidates) {
            match self.weigh(at, known, &mut scratch) {
                Some(found) if found.is_proof(known) => {
                    self.candidates = vec![at];
                    return Some(found);
                }
                Some(_) => kept.push(at),
                None => {}
            }
        }
        self.candidates = kept;
        while let Some(header) = self.bytes.get(self.looked..).and_then(<[u8]>::first_chunk::<{ frame::HEADER }>) {
            let at = self.looked;
            self.looked += 1;
            if !FrameHeader::parse(header).is_plausible(known.longest) {
                continue;
            }
            match self.weigh(at, known, &mut scratch) {
                Some(found) if found.is_proof(known) => {
                    self.candidates.insert(0, at);
                    return Some(found);
                }
                Some(_) if self.candidates.len() < MAX_CANDIDATES => self.candidates.push(at),
                Some(_) | None => {}
            }
        }
        None
    }

    /// The strongest candidate that is no proof by itself.
    pub(crate) fn likeliest(&self, known: SearchKnowledge) -> Option<FoundBoundary> {
        let mut scratch = HeaderBlock::default();
        let found = self.candidates.iter().filter_map(|at| self.weigh(*at, known, &mut scratch));
        found.filter(|found| found.aligned).max_by_key(|found| found.weight)
    }

    /// What the chain that begins at `at` is worth; `None`: it is none.
    fn weigh(&self, at: usize, known: SearchKnowledge, scratch: &mut HeaderBlock) -> Option<FoundBoundary> {
        let mut chain =
            Chain { weight: 0, sender: known.sender, said: None, low: known.newest, high: known.newest, open: None };
        let mut end = at;
        while chain.weight < 2 * PROOF
            && let Some(header) = self.bytes.get(end..).and_then(<[u8]>::first_chunk::<{ frame::HEADER }>)
        {
            let frame = FrameHeader::parse(header);
            let begin = end + frame::HEADER;
            end = begin + frame.len as usize;
            chain.add(frame, known.longest, self.bytes.get(begin..end), scratch)?;
        }
        let aligned = self.is_edge(at) && self.is_edge(end);
        Some(FoundBoundary { at, weight: chain.weight, sender: chain.said, stream: chain.high.unwrap_or(0), aligned })
    }

    /// Whether a segment begins or ends there.
    fn is_edge(&self, at: usize) -> bool {
        let offset = self.first + at as u64;
        (at == 0 && !self.begins_inside) || self.runs.binary_search_by_key(&offset, |run| run.end).is_ok()
    }

    /// Lets go what no frame begins in, and keeps its limit: what is oldest goes.
    fn let_go(&mut self) {
        let idle = self.candidates.iter().copied().min().unwrap_or(self.looked);
        let over = if self.bytes.len() > MAX_HELD { self.bytes.len() - MAX_HELD / 2 } else { 0 };
        if idle.max(over) > 0 {
            self.cut(idle.max(over));
        }
    }

    fn cut(&mut self, n: usize) {
        let n = n.min(self.bytes.len());
        self.begins_inside = !self.is_edge(n);
        self.bytes.drain(..n);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        self.first += n as u64;
        self.looked = self.looked.saturating_sub(n);
        self.candidates = self.candidates.iter().filter_map(|at| at.checked_sub(n)).collect();
        let gone = self.runs.partition_point(|run| run.end <= self.first);
        self.runs.drain(..gone);
    }

    /// Bytes that it keeps in memory.
    pub(crate) fn kept(&self) -> usize {
        self.bytes.capacity() + self.runs.capacity() * size_of::<HeldRun>()
    }

    /// Where the first byte held is in the stream.
    pub(crate) fn begin(&self) -> Option<Mark> {
        self.runs.front().map(|run| Mark { at: run.at, offset: self.first })
    }

    /// What is held from `at` on, piece by piece with the number of its event.
    pub(crate) fn pieces(&self, at: usize) -> impl Iterator<Item = (u64, StreamChunk<'_>)> {
        let mut begin = self.first;
        let least = self.first + at as u64;
        self.runs.iter().filter_map(move |run| {
            let (from, to) = (begin.max(least), run.end);
            begin = to;
            let place = |offset: u64| usize::try_from(offset - self.first).unwrap_or(usize::MAX);
            let bytes = self.bytes.get(place(from)..place(to)).filter(|bytes| !bytes.is_empty())?;
            Some((run.event, StreamChunk { at: run.at, offset: from, bytes, counted: true }))
        })
    }
}

impl FoundBoundary {
    fn is_proof(self, known: SearchKnowledge) -> bool {
        self.weight >= PROOF || (known.newest.is_some() && self.aligned && self.weight + 1 >= PROOF)
    }
}

/// Frames, each of which begins where the one before it ended.
struct Chain {
    weight: u32,
    sender: Option<ConnectionSide>,
    said: Option<ConnectionSide>,
    low: Option<u32>,
    high: Option<u32>,
    /// A header block goes on, on this stream.
    open: Option<u32>,
}

impl Chain {
    /// One more frame; `None`: it cannot follow. `payload` is there as far as it came whole.
    fn add(
        &mut self,
        frame: FrameHeader,
        longest: u32,
        payload: Option<&[u8]>,
        scratch: &mut HeaderBlock,
    ) -> Option<()> {
        let goes_on = frame.kind == frame::CONTINUATION && self.open == Some(frame.stream);
        // No one sends frames that say nothing.
        let empty =
            frame.len == 0 && (frame.kind == frame::HEADERS || (frame.kind == frame::DATA && !frame.ends_stream()));
        if !frame.is_plausible(longest)
            || empty
            || goes_on != (frame.kind == frame::CONTINUATION || self.open.is_some())
        {
            return None;
        }
        if frame.stream != 0 {
            let (low, high) = (self.low.unwrap_or(frame.stream), self.high.unwrap_or(frame.stream));
            if frame.stream > low.saturating_add(SPREAD) || high > frame.stream.saturating_add(SPREAD) {
                return None;
            }
            (self.low, self.high) = (Some(low.min(frame.stream)), Some(high.max(frame.stream)));
        }
        self.weight += if frame.has_fixed_length() { 2 } else { 1 };
        if frame.is_block() {
            self.open = (!frame.has(frame::END_HEADERS)).then_some(frame.stream);
            let whole = frame.kind != frame::CONTINUATION && frame.has(frame::END_HEADERS);
            if let Some(payload) = payload.filter(|_| whole) {
                self.block(frame, payload, scratch)?;
            }
        }
        Some(())
    }

    /// A whole block must decode, and be its sender's.
    fn block(&mut self, frame: FrameHeader, payload: &[u8], scratch: &mut HeaderBlock) -> Option<()> {
        let (_, fragment) = frame::fragment(frame, payload).ok()?;
        let mut decoder = HpackDecoder::new();
        decoder.forget();
        decoder.decode(fragment, scratch).ok()?;
        let said = if frame.kind == frame::PUSH_PROMISE { Some(ConnectionSide::Server) } else { sender_of(scratch) };
        let Some(said) = said else { return Some(()) };
        if self.sender.is_some_and(|sender| sender != said) {
            return None;
        }
        (self.sender, self.said) = (Some(said), Some(said));
        self.weight += 1;
        Some(())
    }
}

/// Who sends such a block: requests and responses have different pseudo-headers (RFC 9113 §8.3).
fn sender_of(block: &HeaderBlock) -> Option<ConnectionSide> {
    block.fields().find_map(|field| match field.name? {
        b":method" | b":path" | b":scheme" | b":authority" | b":protocol" => Some(ConnectionSide::Client),
        b":status" | b"grpc-status" => Some(ConnectionSide::Server),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    const UNKNOWN: SearchKnowledge = SearchKnowledge { longest: frame::USUAL_MAX, newest: None, sender: None };
    const HALF_KNOWN: SearchKnowledge =
        SearchKnowledge { longest: frame::USUAL_MAX, newest: Some(9), sender: Some(ConnectionSide::Client) };

    /// Where in the stream the boundary is.
    fn search(pieces: &[&[u8]], known: SearchKnowledge) -> Option<(u64, FoundBoundary)> {
        let mut search = BoundarySearch::default();
        let mut offset = 0;
        for (n, bytes) in pieces.iter().enumerate() {
            let chunk = StreamChunk { at: Timestamp(0), offset, bytes, counted: false };
            offset += bytes.len() as u64;
            if let Some(found) = search.take(&chunk, n as u64, known) {
                return Some((search.first + found.at as u64, found));
            }
        }
        None
    }

    fn request(stream: u32) -> Vec<u8> {
        wire(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &[0x82, 0x86, 0x84])
    }

    #[test]
    fn a_boundary_is_found_behind_the_rest_of_a_payload_however_it_is_cut() {
        let tail = b"the rest of a payload \0\0\0\x01\x05";
        let bytes = [&tail[..], &request(5), &request(7)].concat();
        for cut in 1..bytes.len() {
            let pieces: Vec<_> = bytes.chunks(cut).collect();
            let (at, found) = search(&pieces, UNKNOWN).unwrap();
            assert_eq!((at, found.sender), (tail.len() as u64, Some(ConnectionSide::Client)), "{cut}");
        }
    }

    #[test]
    fn one_frame_is_proof_only_where_the_connection_is_known_and_nothing_else_in_the_segment() {
        let one = request(11);
        assert_eq!(search(&[&one], UNKNOWN), None);
        assert_eq!(search(&[&one], HALF_KNOWN).map(|(at, _)| at), Some(0));
        assert_eq!(search(&[&[b"tail", &one[..]].concat()], HALF_KNOWN), None);
        // Another stream, another role, a block that is none.
        assert_eq!(search(&[&request(100_001)], HALF_KNOWN), None);
        assert_eq!(search(&[&wire(frame::HEADERS, frame::END_HEADERS, 11, &[0x88])], HALF_KNOWN), None);
        assert_eq!(search(&[&wire(frame::HEADERS, frame::END_HEADERS, 11, &[0x80])], HALF_KNOWN), None);
    }

    #[test]
    fn text_zeros_and_numbers_are_no_boundary_and_little_is_held_of_them() {
        let numbers: Vec<u8> = (0..20_000u64).flat_map(u64::to_be_bytes).collect();
        let ones = 1u64.to_be_bytes().repeat(20_000);
        for bytes in [&b"0123456789abcde\n".repeat(10_000)[..], &[0; 160_000], &numbers, &ones] {
            let mut search = BoundarySearch::default();
            for (n, piece) in bytes.chunks(1448).enumerate() {
                let chunk = StreamChunk { at: Timestamp(0), offset: n as u64 * 1448, bytes: piece, counted: false };
                assert_eq!(search.take(&chunk, n as u64, UNKNOWN), None);
                assert!(search.kept() < 4 * MAX_HELD, "{}", search.kept());
            }
        }
    }

    #[test]
    fn what_is_held_comes_out_as_it_came_in() {
        let bytes = [&request(5)[..], &request(7)].concat();
        let mut search = BoundarySearch::default();
        let (mut out, mut events) = (Vec::new(), Vec::new());
        for (n, piece) in bytes.chunks(10).enumerate() {
            let chunk =
                StreamChunk { at: Timestamp(n as i64), offset: 100 + n as u64 * 10, bytes: piece, counted: false };
            search.take(&chunk, n as u64, UNKNOWN);
        }
        for (event, piece) in search.pieces(3) {
            assert_eq!(piece.offset, 103 + out.len() as u64);
            assert_eq!(piece.at, Timestamp(event as i64));
            out.extend_from_slice(piece.bytes);
            events.push(event);
        }
        assert_eq!((out.as_slice(), events), (&bytes[3..], vec![0, 1, 2]));
    }
}
