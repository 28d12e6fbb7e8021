//! Segments to stream bytes: reassembly, gaps, limits, connection lifetime.
//!
//! Direction-neutral: who is the client is decided by content, in `http`. The bytes of each stream are pushed
//! into an [`Analyzer`]; in-order bytes are lent, never copied. Knows no protocol above TCP.
//!
//! From the door inwards: [`ConnectionTable`] finds or makes room for the connection (`slots` keeps them by age), and
//! `connection` judges the segment as the receiver would have. `offset` turns its numbers into 64-bit offsets, and `stream`
//! passes bytes on in order. `disorder` keeps what came early and decides when a hole is lost; `outlet` counts every byte that
//! leaves.

mod connection;
mod disorder;
mod index;
mod offset;
mod outlet;
mod recent;
mod slots;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::flow::{ConnKey, Direction, OuterLayers, Timestamp};

pub use table::ConnectionTable;

/// What an analyzer may know of its connection.
#[derive(Clone, Debug)]
pub struct ConnSummary {
    /// Endpoints.
    pub key: ConnKey,
    /// Time of the first segment seen.
    pub first_seen: Timestamp,
    /// Who sent the SYN (or received the SYN-ACK), when one was seen.
    pub originator: Option<Direction>,
    /// Initial sequence number of each stream, `[FromLow, FromHigh]`: of the SYN, else one before the first byte seen.
    pub initial_seq: [Option<u32>; 2],
    /// Both SYN and SYN-ACK were seen.
    pub handshake_seen: bool,
    /// A SYN-ACK was seen, both SYNs, or a SYN and what its sender sent next: both streams are known from their first byte.
    pub origins_known: bool,
    /// SYN → SYN-ACK in nanoseconds, when both were seen.
    pub connect_ns: Option<u64>,
    /// Interface of the first frame.
    pub interface: Option<Arc<str>>,
    /// The VLANs and tunnels around the first frame, by name, where there are any.
    pub around: Option<Box<OuterLayers>>,
    /// Segments with bytes that differed from the first copy, `[FromLow, FromHigh]`, modulo 256: which copy its receiver took
    /// is not known.
    pub conflicts: [u8; 2],
    /// Bytes came that their sender marked as urgent, in some stream.
    pub urgent: bool,
    /// A segment of this direction was seen, `[FromLow, FromHigh]`: the capture shows it.
    pub heard: [bool; 2],
}

impl ConnSummary {
    /// Whether the capture shows what comes `from` there.
    pub fn hears(&self, from: Direction) -> bool {
        self.heard.get(from as usize).copied().unwrap_or(true)
    }
}

/// Why bytes of a stream are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// Never seen.
    Lost,
    /// Seen, but cut by the snap length.
    Cut,
    /// Seen, but given up because of a limit.
    Limit,
}

/// What happens on one stream, in order of its bytes.
#[derive(Clone, Copy, Debug)]
pub enum StreamEvent<'a> {
    /// The next bytes.
    Data {
        /// Capture time of the segment that brought them.
        at: Timestamp,
        /// Offset of the first of them in the stream; 0 is the first byte after the SYN, or the first byte seen.
        offset: u64,
        /// How far that segment acknowledged the opposite stream: an offset in it. `None` without ACK flag or when the
        /// opposite stream's origin is unknown.
        ack: Option<u64>,
        /// The bytes, never empty.
        bytes: &'a [u8],
    },
    /// The next `len` bytes are missing and will not come.
    Gap {
        /// When that became clear.
        at: Timestamp,
        /// Offset of the first missing byte.
        offset: u64,
        /// How many.
        len: u64,
        /// Why.
        cause: GapCause,
    },
    /// FIN, in order: no more bytes.
    End {
        /// Capture time of the FIN.
        at: Timestamp,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Both streams ended by FIN.
    Closed,
    /// RST, sent from there.
    Reset(Direction),
    /// A new SYN took the same endpoints.
    Reused,
    /// Nothing came for the idle limit.
    Idle,
    /// Made room for another.
    Evicted,
    /// The capture ended (a file's end).
    EndOfCapture,
    /// podtap is asked to stop.
    Shutdown,
}

/// What sits on a connection and reads both its streams.
pub trait Analyzer: Sized {
    /// What the analyzers of all connections share: configuration, counters, output.
    type Context;

    /// A connection has its first event. Called then and not before: a connection that never carries a byte (a SYN flood,
    /// a probe) costs no analyzer and gives no calls.
    fn open(conn: &ConnSummary, context: &mut Self::Context) -> Self;

    /// How many of the next bytes of the stream `from` are read by no one, whatever they are: a body, an encrypted stream.
    /// Their checksums are not verified, and no copy of them is compared with the first.
    fn unread(&self, from: Direction) -> u64 {
        let _ = from;
        0
    }

    /// The next event of the stream `from`.
    fn on_event(&mut self, conn: &ConnSummary, from: Direction, event: StreamEvent<'_>, context: &mut Self::Context);

    /// Time passed: called for every connection at each [`ConnectionTable::on_timeout`](crate::tcp).
    fn on_tick(&mut self, conn: &ConnSummary, now: Timestamp, context: &mut Self::Context);

    /// The connection is over, and nothing follows. Bytes still held out of order have been delivered before, with gaps.
    fn on_close(&mut self, conn: &ConnSummary, at: Timestamp, reason: CloseReason, context: &mut Self::Context);
}

/// Bounds on what the network can fill.
#[derive(Clone, Debug)]
pub struct TcpLimits {
    /// Connections tracked at once; the one idle longest makes room (MAX_CONNECTIONS).
    pub connections: usize,
    /// Bytes held out of order for one stream.
    pub held_per_stream: usize,
    /// Bytes held out of order in all (MAX_HELD_BYTES).
    pub held_total: usize,
    /// How long a hole that no one acknowledged may hold up a stream, nanoseconds.
    pub gap_wait: u64,
    /// How long a hole whose bytes the other side acknowledged may, nanoseconds (capture reordering).
    pub acked_gap_wait: u64,
    /// Idle time after which a connection is forgotten, nanoseconds.
    pub idle: u64,
    /// Idle time after which a connection that never completed its handshake, or is half closed, is forgotten, nanoseconds.
    pub idle_opening: u64,
}
