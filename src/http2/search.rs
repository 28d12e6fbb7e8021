//! Finds where a frame begins, in a stream joined late or behind a hole.
//!
//! A body may hold frames of HTTP/2 too: it may be a capture. So a boundary is believed when one chain of frames explains all
//! that came since, and something else agrees: what the opposite side says, that the chain is longer than any frame that could
//! enclose it, or time. Until then the bytes are held, so that nothing behind the boundary is lost. Reads no frame for its
//! meaning.

use std::collections::VecDeque;

use super::chain::{FrameChain, PROOF, SearchKnowledge};
use super::chunk::{Mark, StreamChunk};
use super::frame::{self, FrameHeader, PREFACE};
use crate::flow::Timestamp;

/// Most bytes held of one stream.
pub(crate) const MAX_HELD: usize = 48 * 1024;
/// Most possible boundaries that are followed at once.
const MAX_CHAINS: usize = 16;
/// So long after its beginning a chain that nothing contradicted is believed: a frame that encloses it would have ended by then
/// (nanoseconds).
const LASTS: u64 = 1_000_000_000;

/// A piece of what is held.
#[derive(Clone, Copy, Debug)]
struct HeldRun {
    /// When it came.
    at: Timestamp,
    /// Offset behind it.
    end: u64,
    /// Number of the event that brought it.
    event: u64,
}

/// Held bytes of one stream and the chains of frames that are possible in them.
#[derive(Debug, Default)]
pub(crate) struct BoundarySearch {
    bytes: Vec<u8>,
    runs: VecDeque<HeldRun>,
    /// Offset of the first byte taken.
    origin: Option<u64>,
    /// Offset of the first byte held.
    first: u64,
    /// In the order in which they were found.
    chains: Vec<FrameChain>,
    /// How far frames were looked for.
    looked: u64,
    /// A frame whose header was not looked at begins before this offset.
    blind: Option<u64>,
    /// What is held begins in the middle of a segment.
    begins_inside: bool,
}

impl BoundarySearch {
    /// Takes more bytes.
    pub(crate) fn take(&mut self, chunk: &StreamChunk<'_>, event: u64, known: SearchKnowledge) {
        if self.bytes.is_empty() {
            (self.first, self.begins_inside) = (chunk.offset, false);
            self.looked = self.looked.max(chunk.offset);
        }
        self.origin.get_or_insert(chunk.offset);
        self.blind.get_or_insert(chunk.offset);
        self.bytes.extend_from_slice(chunk.bytes);
        self.runs.push_back(HeldRun { at: chunk.at, end: chunk.offset + chunk.bytes.len() as u64, event });
        self.sweep(chunk.at, known);
        self.let_go();
    }

    /// Follows the chains, and begins one wherever a frame may.
    fn sweep(&mut self, now: Timestamp, known: SearchKnowledge) {
        let mut nearest = self.chains.iter().map(|chain| chain.next).min().unwrap_or(u64::MAX);
        while let Some(header) = self.slice(self.looked).and_then(<[u8]>::first_chunk::<{ frame::HEADER }>) {
            let at = self.looked;
            let frame = FrameHeader::parse(header);
            self.looked += 1;
            let mut is_next = false;
            if at >= nearest {
                self.resolve(at, now, known);
                is_next = self.follow(frame, at, known);
                nearest = self.chains.iter().map(|chain| chain.next).min().unwrap_or(u64::MAX);
            }
            if is_next || !frame.is_plausible(known.longest) {
                continue;
            }
            if self.chains.len() >= MAX_CHAINS {
                self.blind = self.blind.max(Some(at));
            } else if let Some(chain) = FrameChain::begin(frame, self.mark(at), self.is_behind_preface(at), known) {
                nearest = nearest.min(chain.next);
                self.chains.push(chain);
                self.prove(at, known);
            }
        }
        self.resolve(self.end(), now, known);
    }

    /// The frame at `at` is the next one of some chains, or ends them; says whether it is of any.
    fn follow(&mut self, frame: FrameHeader, at: u64, known: SearchKnowledge) -> bool {
        let mark = self.mark(at);
        self.chains.retain_mut(|chain| chain.next != at || chain.add(frame, mark, known));
        self.merge();
        self.prove(at, known);
        self.chains.iter().any(|chain| chain.last == at)
    }

    /// Of chains that became one the earliest stays.
    fn merge(&mut self) {
        let mut ends: Vec<u64> = Vec::with_capacity(self.chains.len());
        self.chains.retain(|chain| {
            let alone = !ends.contains(&chain.next);
            ends.push(chain.next);
            alone
        });
    }

    /// A frame that begins so far behind what was not looked at is in no other.
    fn prove(&mut self, at: u64, known: SearchKnowledge) {
        if self.blind.is_some_and(|blind| at >= blind + u64::from(known.longest)) {
            let here = self.chains.iter_mut().filter(|chain| chain.last == at);
            here.for_each(|chain| {
                chain.proven_at.get_or_insert(at);
            });
        }
    }

    /// Header blocks that end at or before `end` are there: a chain whose block is none is none.
    fn resolve(&mut self, end: u64, now: Timestamp, known: SearchKnowledge) {
        let mut chains = std::mem::take(&mut self.chains);
        chains.retain_mut(|chain| {
            let Some(at) = chain.pending().filter(|_| chain.next <= end) else { return true };
            let payload = self.slice(at).and_then(|rest| rest.get(frame::HEADER..(chain.next - at) as usize));
            payload.is_some_and(|payload| chain.resolve(payload, self.mark(at), now, known))
        });
        self.chains = chains;
    }

    /// The chain that explains what came by `now`, if only one does. What looks like one frame and does not go on for long is
    /// none; nor are a few bytes that look like one in the middle of a chain that says more.
    pub(crate) fn chain(&self, now: Timestamp) -> Option<&FrameChain> {
        let goes_on = |chain: &&FrameChain| chain.weight > 1 || now.since(chain.begun.at) < LASTS;
        let first = self.chains.iter().filter(goes_on).min_by_key(|chain| chain.begun.offset)?;
        // What can deceive has header blocks.
        let weak =
            |chain: &FrameChain| chain.begun == first.begun || (chain.said.is_none() && chain.weight < first.weight);
        self.chains.iter().filter(goes_on).all(weak).then_some(first)
    }

    /// Whether a chain is long enough to be none by chance.
    pub(crate) fn is_weighty(&self, chain: &FrameChain, known: SearchKnowledge) -> bool {
        let aligned = self.is_edge(chain.begun.offset) && self.is_edge(chain.next);
        chain.weight >= PROOF || (known.newest.is_some() && aligned && chain.weight + 1 >= PROOF)
    }

    /// The frames of the chain that begins at `at` are none; what follows them may be.
    pub(crate) fn distrust(&mut self, at: u64, known: SearchKnowledge) {
        if let Some(chain) = self.chains.iter_mut().find(|chain| chain.begun.offset == at) {
            let begun = Mark { at: chain.begun.at, offset: chain.next };
            chain.begin_again(begun, known);
        }
    }

    fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    fn place(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn slice(&self, from: u64) -> Option<&[u8]> {
        self.bytes.get(self.place(from)..)
    }

    /// The place of a byte that is held, and when it came.
    fn mark(&self, offset: u64) -> Mark {
        let run = self.runs.get(self.runs.partition_point(|run| run.end <= offset));
        Mark { at: run.map_or(Timestamp::default(), |run| run.at), offset }
    }

    fn is_behind_preface(&self, at: u64) -> bool {
        let at = self.place(at);
        at.checked_sub(PREFACE.len()).and_then(|from| self.bytes.get(from..at)) == Some(PREFACE)
    }

    /// Whether a segment begins or ends there.
    fn is_edge(&self, offset: u64) -> bool {
        (offset == self.first && !self.begins_inside) || self.runs.binary_search_by_key(&offset, |run| run.end).is_ok()
    }

    /// Lets go what no frame begins in, and keeps its limit: what is oldest goes.
    fn let_go(&mut self) {
        let idle = self.chains.iter().map(|chain| chain.begun.offset).min().unwrap_or(self.looked);
        let idle = idle.saturating_sub(PREFACE.len() as u64).max(self.first);
        let over = if self.bytes.len() > MAX_HELD { self.end() - MAX_HELD as u64 / 2 } else { self.first };
        self.cut(idle.max(over));
        let (first, blind) = (self.first, &mut self.blind);
        self.chains.retain_mut(|chain| {
            let stays = chain.begun.offset >= first || chain.shorten(first);
            if !stays {
                *blind = (*blind).max(Some(first));
            }
            stays
        });
    }

    fn cut(&mut self, offset: u64) {
        let n = self.place(offset).min(self.bytes.len());
        if n == 0 {
            return;
        }
        self.begins_inside = !self.is_edge(offset);
        self.bytes.drain(..n);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        self.first += n as u64;
        self.looked = self.looked.max(self.first);
        let gone = self.runs.partition_point(|run| run.end <= self.first);
        self.runs.drain(..gone);
    }

    /// Bytes that it keeps in memory.
    pub(crate) fn kept(&self) -> usize {
        let chains = self.chains.iter().map(FrameChain::kept).sum::<usize>();
        let own = self.chains.capacity() * size_of::<FrameChain>() + chains;
        self.bytes.capacity() + self.runs.capacity() * size_of::<HeldRun>() + own
    }

    /// Whether bytes in front of `begin` were taken.
    pub(crate) fn passes_over(&self, begin: u64) -> bool {
        self.origin.is_some_and(|origin| origin < begin)
    }

    /// Where the first byte held is in the stream.
    pub(crate) fn begin(&self) -> Option<Mark> {
        self.runs.front().map(|run| Mark { at: run.at, offset: self.first })
    }

    /// What is held from the offset `least` on, piece by piece with the number of its event.
    pub(crate) fn pieces(&self, least: u64) -> impl Iterator<Item = (u64, StreamChunk<'_>)> {
        let mut begin = self.first;
        self.runs.iter().filter_map(move |run| {
            let (from, to) = (begin.max(least), run.end);
            begin = to;
            let bytes = self.bytes.get(self.place(from)..self.place(to)).filter(|bytes| !bytes.is_empty())?;
            Some((run.event, StreamChunk { at: run.at, offset: from, bytes, counted: true }))
        })
    }
}

impl FrameChain {
    /// Whether a frame around it would have ended by `now`.
    pub(crate) fn has_lasted(&self, now: Timestamp) -> bool {
        self.proven_at.is_some() || now.since(self.begun.at) >= LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ConnectionSide;

    fn wire(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = (payload.len() as u32).to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    const UNKNOWN: SearchKnowledge = SearchKnowledge { longest: frame::USUAL_MAX, newest: None, sender: None };
    const HALF_KNOWN: SearchKnowledge =
        SearchKnowledge { longest: frame::USUAL_MAX, newest: Some(9), sender: Some(ConnectionSide::Client) };

    /// Where in the stream the first weighty chain begins, and whose it says that it is.
    fn search(pieces: &[&[u8]], known: SearchKnowledge) -> Option<(u64, Option<ConnectionSide>)> {
        let mut search = BoundarySearch::default();
        let mut offset = 0;
        for (n, bytes) in pieces.iter().enumerate() {
            let at = Timestamp(n as i64 * 1_000_000_000);
            search.take(&StreamChunk { at, offset, bytes, counted: false }, n as u64, known);
            offset += bytes.len() as u64;
            if let Some(chain) = search.chain(at).filter(|chain| search.is_weighty(chain, known)) {
                return Some((chain.begun.offset, chain.said));
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
            assert_eq!(search(&pieces, UNKNOWN), Some((tail.len() as u64, Some(ConnectionSide::Client))), "{cut}");
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
                search.take(&chunk, n as u64, UNKNOWN);
                assert!(search.chain(Timestamp(0)).is_none_or(|chain| chain.weight < PROOF));
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
        for (event, piece) in search.pieces(103) {
            assert_eq!(piece.offset, 103 + out.len() as u64);
            assert_eq!(piece.at, Timestamp(event as i64));
            out.extend_from_slice(piece.bytes);
            events.push(event);
        }
        assert_eq!((out.as_slice(), events), (&bytes[3..], vec![0, 1, 2]));
    }
}
