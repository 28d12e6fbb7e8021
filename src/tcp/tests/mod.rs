//! The notation of the tests: one line is one segment, one line is one event.
//!
//! `"> SA 499 100 hello @7 cut=3"`: from the low endpoint (`<`: the high one), flags, sequence number, acknowledgement
//! (`-`: no ACK flag), payload. Then capture time in ms (else one more than before), and bytes cut off by the snap
//! length. `!` is a wrong checksum, `=` one left to the hardware; else none that could be judged.

mod forged;
mod lifetime;
mod loss;
mod oracle;
mod order;
mod receiver;
mod scopes;

use super::*;
use crate::flow::{Endpoint, FiveTuple, Scope};
use crate::ledger::{Discard, StreamLedger};
use crate::packet::{CarriedIn, Segment, TcpFlags};

pub(super) const MS: u64 = 1_000_000;

/// Events as lines; `detail`: with times in ms and acknowledgements.
#[derive(Default)]
pub(super) struct Log {
    pub(super) lines: Vec<String>,
    pub(super) detail: bool,
    pub(super) ticks: usize,
}

pub(super) struct Recorder;

fn arrow(from: Direction) -> char {
    match from {
        Direction::FromLow => '>',
        Direction::FromHigh => '<',
    }
}

impl Analyzer for Recorder {
    type Context = Log;

    fn open(_: &ConnSummary, _: &mut Log) -> Self {
        Self
    }

    fn on_event(&mut self, _: &ConnSummary, from: Direction, event: StreamEvent<'_>, log: &mut Log) {
        let from = arrow(from);
        let detail = |at: Timestamp, ack: Option<u64>| match (log.detail, ack) {
            (false, _) => String::new(),
            (true, None) => format!(" @{}", at.0 / 1_000_000),
            (true, Some(ack)) => format!(" @{} ^{ack}", at.0 / 1_000_000),
        };
        let line = match event {
            StreamEvent::Data { at, offset, ack, bytes } => {
                let text = String::from_utf8_lossy(bytes);
                format!("{from} {offset} {text}{}", detail(at, ack))
            }
            StreamEvent::Gap { at, offset, len, cause } => {
                format!("{from} {offset}+{len} {cause:?}{}", detail(at, None))
            }
            StreamEvent::End { at } => format!("{from} end{}", detail(at, None)),
        };
        log.lines.push(line);
    }

    fn on_tick(&mut self, _: &ConnSummary, _: Timestamp, log: &mut Log) {
        log.ticks += 1;
    }

    fn on_close(&mut self, conn: &ConnSummary, _: Timestamp, reason: CloseReason, log: &mut Log) {
        let conflict = if conn.conflicts != [0; 2] { " conflict" } else { "" };
        log.lines.push(format!("{reason:?}{conflict}"));
    }
}

impl ConnSummary {
    /// A connection that goes from its lower to its higher end, of which only the middle was seen.
    pub(crate) fn joined_late(tuple: FiveTuple) -> Self {
        let (key, from) = ConnKey::of(tuple);
        assert_eq!(from, Direction::FromLow);
        Self {
            key,
            first_seen: Timestamp(0),
            originator: None,
            initial_seq: [None; 2],
            handshake_seen: false,
            origins_known: false,
            connect_ns: None,
            interface: None,
            around: None,
            conflicts: [0; 2],
            urgent: false,
            heard: [true; 2],
        }
    }
}

pub(super) fn limits() -> TcpLimits {
    TcpLimits {
        connections: 100,
        held_per_stream: 4096,
        held_total: 16 * 1024,
        gap_wait: 5000 * MS,
        acked_gap_wait: 100 * MS,
        idle: 60_000 * MS,
        idle_opening: 10_000 * MS,
    }
}

/// A table, what came out of it, and the time.
pub(super) struct Bench {
    pub(super) table: ConnectionTable<Recorder>,
    pub(super) log: Log,
    pub(super) scope: Scope,
    now: i64,
    ports: (u16, u16),
}

impl Bench {
    pub(super) fn new(limits: TcpLimits) -> Self {
        Self {
            table: ConnectionTable::new(limits),
            log: Log::default(),
            scope: Scope::default(),
            now: 0,
            ports: (1000, 80),
        }
    }

    /// Goes on with another pair of endpoints.
    pub(super) fn on_port(&mut self, low: u16) -> &mut Self {
        self.ports.0 = low;
        self
    }

    pub(super) fn feed(&mut self, lines: &[&str]) -> &mut Self {
        for line in lines {
            self.feed_line(line);
        }
        self
    }

    fn feed_line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let (mut payload, mut cut, mut damaged, mut at) = ("", 0, false, self.now + 1);
        let mut wire = Vec::new();
        for word in &words[4..] {
            if let Some(ms) = word.strip_prefix('@') {
                at = ms.parse().unwrap();
            } else if let Some(bytes) = word.strip_prefix("cut=") {
                cut = bytes.parse().unwrap();
            } else if *word == "!" {
                damaged = true;
            } else if *word == "=" {
                wire = vec![0; 20];
                wire[12] = 0x50;
            } else {
                payload = word;
            }
        }
        self.now = at;
        let mut flags = words[1].chars().fold(0, |flags, letter| {
            flags
                | match letter {
                    'F' => TcpFlags::FIN,
                    'S' => TcpFlags::SYN,
                    'R' => TcpFlags::RST,
                    'P' => TcpFlags::PSH,
                    'U' => TcpFlags::URG,
                    _ => 0,
                }
        });
        if words[3] != "-" {
            flags |= TcpFlags::ACK;
        }
        let segment = self.segment(words[0] == ">", words[2].parse().unwrap(), words[3].parse().unwrap_or(0), flags);
        let payload_len = payload.len() as u32 + cut;
        if !wire.is_empty() {
            wire.extend_from_slice(payload.as_bytes());
        }
        self.take(&Segment { payload: payload.as_bytes(), payload_len, wire: &wire, damaged, ..segment });
    }

    pub(super) fn segment<'a>(&self, from_low: bool, seq: u32, ack: u32, flags: u8) -> Segment<'a> {
        let low = Endpoint::new([10, 0, 0, 1], self.ports.0);
        let high = Endpoint::new([10, 0, 0, 2], self.ports.1);
        let tuple = FiveTuple { source: low, destination: high };
        Segment {
            at: self.at(),
            tuple: if from_low { tuple } else { tuple.reversed() },
            seq,
            ack,
            flags: TcpFlags(flags),
            payload: &[],
            payload_len: 0,
            wire: &[],
            damaged: false,
            carried: CarriedIn::default(),
            scope: self.scope,
            around: Default::default(),
            interface: None,
        }
    }

    pub(super) fn take(&mut self, segment: &Segment<'_>) {
        self.table.on_segment(segment, &mut self.log);
        self.check();
    }

    pub(super) fn at(&self) -> Timestamp {
        Timestamp(self.now * MS as i64)
    }

    pub(super) fn tick(&mut self, ms: i64) -> &mut Self {
        self.now = ms;
        self.table.on_timeout(self.at(), &mut self.log);
        self.check();
        self
    }

    pub(super) fn finish(&mut self) -> &mut Self {
        self.table.finish(self.at(), CloseReason::EndOfCapture, &mut self.log);
        self.check();
        assert_eq!(self.ledger().held, 0);
        assert_eq!(self.table.shared().holds.cost, 0);
        assert_eq!(self.table.len(), 0);
        self
    }

    pub(super) fn ledger(&self) -> &StreamLedger {
        self.table.ledger()
    }

    pub(super) fn discarded(&self, why: Discard) -> u64 {
        self.ledger().discarded.at(why as usize)
    }

    fn check(&self) {
        let l = self.ledger();
        assert_eq!(l.payload, l.delivered + l.duplicate + l.held + l.discarded.total(), "{l:?}");
    }

    /// What came out since the last time.
    pub(super) fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log.lines)
    }

    pub(super) fn connection(&mut self) -> ConnSummary {
        self.table.connections().first().cloned().unwrap()
    }
}

/// The handshake that most tests begin with: streams start at 100 and 500.
pub(super) const HANDSHAKE: [&str; 3] = ["> S 99 -", "< S 499 100", "> - 100 500"];

/// A bench with a connection that is open.
pub(super) fn opened() -> Bench {
    let mut bench = Bench::new(limits());
    bench.feed(&HANDSHAKE);
    bench
}

#[test]
fn an_idle_connection_is_small() {
    let key = size_of::<u32>() + 1;
    // A hash table of this growth is between 7/16 and 7/8 full; a slab may be a quarter empty.
    let bytes = key * 12 / 7 + slots::SLOT_SIZE * 9 / 8;
    assert!(bytes <= 300, "{bytes} bytes: {} for the slot", slots::SLOT_SIZE);
}
