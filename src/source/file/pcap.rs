//! The classic format: a header, then records (draft-ietf-opsawg-pcap).
//!
//! Read in both byte orders, with microseconds or nanoseconds, with the longer records of Kuznetzov's patch, and with
//! the swapped lengths of versions before 2.4. The time zone is not applied: no known program ever wrote one.

use std::io::Read;

use super::window::FileWindow;
use super::{ByteOrder, CaptureFileError, Located, MAX_RECORD};
use crate::flow::Timestamp;
use crate::packet::LinkType;

const HEADER: usize = 24;
/// What libpcap takes whatever the header says; offload makes frames longer than an interface admits.
const LEAST_LIMIT: usize = 256 << 10;

/// What the first four bytes say, in the order they were written.
#[derive(Clone, Copy)]
pub(super) struct Magic {
    order: ByteOrder,
    nanos_per_tick: i64,
    record_header: usize,
}

impl Magic {
    pub(super) fn of(first: [u8; 4]) -> Option<Self> {
        [ByteOrder::Little, ByteOrder::Big].into_iter().find_map(|order| {
            let (nanos_per_tick, record_header) = match order.u32(first) {
                0xa1b2_c3d4 => (1000, 16),
                0xa1b2_3c4d => (1, 16),
                // Kuznetzov's patch: interface, protocol and packet type behind the lengths.
                0xa1b2_cd34 => (1000, 24),
                _ => return None,
            };
            Some(Self { order, nanos_per_tick, record_header })
        })
    }
}

/// The captured length before the length on the wire, or behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    /// Version 2.3 was written both ways: the captured length is the lower one.
    Either,
}

pub(super) struct PcapRecords {
    magic: Magic,
    link: LinkType,
    lengths: Lengths,
    limit: usize,
}

impl PcapRecords {
    /// Reads the file's header.
    pub(super) fn open<R: Read>(window: &mut FileWindow<R>, magic: Magic) -> Result<Self, CaptureFileError> {
        if !window.fill(HEADER)? {
            return Err(window.cut(0));
        }
        let Some(&[_, _, _, _, j0, j1, m0, m1, _, _, _, _, _, _, _, _, s0, s1, s2, s3, n0, n1, n2, n3]) =
            window.first::<HEADER>()
        else {
            return Err(window.cut(0));
        };
        let order = magic.order;
        let lengths = match (order.u16([j0, j1]), order.u16([m0, m1])) {
            (2, 0..3) | (543, 0) => Lengths::WireFirst,
            (2, 3) => Lengths::Either,
            (0..2, _) => return Err(CaptureFileError::corrupt(4, "a version before 2.0")),
            _ => Lengths::CapturedFirst,
        };
        let snaplen = usize::try_from(order.u32([s0, s1, s2, s3])).unwrap_or(usize::MAX);
        // The upper half holds the length of the checksum behind the frames, which their IP length leaves out anyway.
        let [link, _] = order.halves([n0, n1, n2, n3]);
        window.consume(HEADER);
        Ok(Self { magic, link: LinkType(link), lengths, limit: snaplen.clamp(LEAST_LIMIT, MAX_RECORD) })
    }

    #[inline(always)]
    pub(super) fn next<R: Read>(&mut self, window: &mut FileWindow<R>) -> Result<Option<Located>, CaptureFileError> {
        let header_len = self.magic.record_header;
        if !window.fill(header_len)? {
            return window.at_end().map(|()| None);
        }
        let Some([s0, s1, s2, s3, f0, f1, f2, f3, c0, c1, c2, c3, w0, w1, w2, w3]) = window.first().copied() else {
            return Err(window.cut(window.offset()));
        };
        let order = self.magic.order;
        let (captured, wire_len) = self.ordered(order.u32([c0, c1, c2, c3]), order.u32([w0, w1, w2, w3]));
        let len = usize::try_from(captured).unwrap_or(usize::MAX);
        if len > self.limit {
            return Err(self.too_long(window.offset(), len));
        }
        if !window.fill(header_len + len)? {
            return Err(window.cut(window.offset()));
        }
        window.consume(header_len + len);
        let fraction = i64::from(order.u32([f0, f1, f2, f3])) * self.magic.nanos_per_tick;
        Ok(Some(Located {
            at: Timestamp::new(order.u32([s0, s1, s2, s3]).into(), fraction),
            link: self.link,
            wire_len: wire_len.max(captured),
            len,
            back: 0,
            interface: None,
        }))
    }

    fn ordered(&self, first: u32, second: u32) -> (u32, u32) {
        match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::WireFirst => (second, first),
            Lengths::Either => (first.min(second), first.max(second)),
        }
    }

    #[cold]
    fn too_long(&self, offset: u64, len: usize) -> CaptureFileError {
        CaptureFileError::corrupt(offset, format!("a record of {len} bytes, where {} are the limit", self.limit))
    }
}
