//! What the network can fill stays within its limits: counts, the ledger, and bytes of memory as the allocator counts
//! them. Bounds are of the order of what the limits promise, with the slack that growing tables need.

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::flow::{Endpoint, Timestamp};
use podtap::ledger::Ledger;
use podtap::packet::{Frame, LinkType, TcpFlags};
use podtap::redact::Redactor;
use podtap::tcp::CloseReason;

use crate::allocations::peak_in;

const CONNECTIONS: usize = 2000;
const HELD: usize = 1 << 20;
const KEPT: usize = 2 << 20;
const MIB: usize = 1 << 20;

fn config() -> DissectorConfig {
    let mut config = DissectorConfig::default();
    config.tcp.connections = CONNECTIONS;
    config.tcp.held_total = HELD;
    config.tcp.held_per_stream = HELD / 4;
    config.http.max_kept_bytes = KEPT;
    config
}

/// A dissector that is fed segments, and gives its records away at once.
struct Flood {
    dissector: Dissector,
    at: Timestamp,
    frame: Vec<u8>,
    records: u64,
}

impl Flood {
    fn new() -> Self {
        let dissector = Dissector::new(config(), Redactor::default());
        Self { dissector, at: Timestamp::new(1_772_366_400, 0), frame: Vec::new(), records: 0 }
    }

    /// A segment of client number `client` to port 80, or of the server to it; a microsecond after the one before.
    fn segment(&mut self, client: u32, to_server: bool, flags: u8, seq: u32, ack: u32, payload: &[u8]) {
        let [_, a, b, c] = (client / 60_000).to_be_bytes();
        let end = Endpoint::new([10, a, b, c], 1024 + (client % 60_000) as u16);
        write_frame(&mut self.frame, end, to_server, flags, [seq, ack], payload);
        self.at = self.at.plus(1_000);
        let wire_len = self.frame.len() as u32;
        let frame = Frame { at: self.at, link: LinkType(101), data: &self.frame, wire_len, interface: None };
        self.dissector.handle_frame(&frame, |_| false);
        self.records += self.dissector.records().len() as u64;
        self.dissector.records().clear();
    }

    fn data(&mut self, client: u32, seq: u32, payload: &[u8]) {
        self.segment(client, true, TcpFlags::ACK, seq, 1, payload);
    }

    fn open(&mut self, client: u32) {
        self.segment(client, true, TcpFlags::SYN, 0, 0, b"");
        self.segment(client, false, TcpFlags::SYN | TcpFlags::ACK, 0, 1, b"");
    }

    fn ledger(&self) -> Ledger {
        let ledger = self.dissector.ledger();
        assert_eq!(ledger.imbalances(), []);
        assert!(ledger.streams.connections_open <= CONNECTIONS as u64);
        assert!(ledger.streams.held <= HELD as u64);
        ledger
    }

    fn finish(mut self) -> (Ledger, u64) {
        self.ledger();
        self.dissector.finish(CloseReason::EndOfCapture);
        let records = self.records + self.dissector.records().drain(..).count() as u64;
        let ledger = self.ledger();
        let left = [ledger.streams.held, ledger.streams.connections_open, ledger.http.waiting, ledger.http.open];
        assert_eq!((left, ledger.http.records), ([0; 4], records));
        (ledger, records)
    }
}

pub(crate) fn write_frame(
    frame: &mut Vec<u8>,
    client: Endpoint,
    to_server: bool,
    flags: u8,
    [seq, ack]: [u32; 2],
    payload: &[u8],
) {
    let server = Endpoint::new([10, 255, 0, 1], 80);
    let (from, to) = if to_server { (client, server) } else { (server, client) };
    let octets = |end: Endpoint| match end.ip {
        std::net::IpAddr::V4(ip) => ip.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    };
    let len = u16::try_from(40 + payload.len()).unwrap_or(0).to_be_bytes();
    frame.clear();
    frame.extend([0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([octets(from), octets(to)].concat());
    frame.extend([from.port.to_be_bytes(), to.port.to_be_bytes()].concat());
    frame.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(payload);
}

/// Runs a flood and says how many bytes it took at its worst, with what came of it.
fn peak(act: impl FnOnce(&mut Flood)) -> (usize, Ledger, u64) {
    let mut result = None;
    let peak = peak_in(|| {
        let mut flood = Flood::new();
        act(&mut flood);
        result = Some(flood.finish());
    });
    let (ledger, records) = result.unwrap();
    (peak, ledger, records)
}

fn assert_below(peak: usize, bound: usize, what: &str) {
    eprintln!("{what}: {} KiB at the worst", peak >> 10);
    assert!(peak <= bound, "{what}: {peak} bytes, more than {bound}");
}

#[test]
fn a_flood_of_syns_takes_what_the_table_may_and_leaves_the_others_alone() {
    let (peak, ledger, records) = peak(|flood| {
        for client in 0..100 {
            flood.open(client);
            flood.data(client, 1, b"GET /before HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in 1000..200_000 {
            flood.segment(client, true, TcpFlags::SYN, client, 0, b"");
        }
        for client in 0..100 {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            flood.segment(client, false, TcpFlags::ACK, 1, 34, answer);
        }
    });
    assert_eq!((ledger.http.paired, records), (100, 100), "who was there before the flood is not hurt by it");
    assert!(ledger.streams.connections_evicted >= 190_000);
    assert_below(peak, CONNECTIONS * 1024 + MIB, "SYNs");
}

#[test]
fn more_connections_than_the_limit_push_out_the_oldest_and_say_so() {
    let (peak, ledger, records) = peak(|flood| {
        for client in 0..20_000 {
            flood.open(client);
            flood.data(client, 1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
    });
    assert_eq!((ledger.http.requests, records), (20_000, 20_000));
    assert_eq!(ledger.streams.connections_evicted, 20_000 - CONNECTIONS as u64);
    // No one closed those: it was podtap that needed the room.
    assert_eq!(ledger.http.unpaired, ledger.streams.connections_evicted);
    assert_below(peak, CONNECTIONS * 3 * 1024 + MIB, "connections with a request");
}

#[test]
fn half_requests_on_every_connection_are_held_to_one_limit_together() {
    let half = [b"GET / HTTP/1.1\r\nCookie: ".to_vec(), vec![b'c'; 30_000]].concat();
    let (peak, ledger, _) = peak(|flood| {
        for client in 0..CONNECTIONS as u32 {
            flood.open(client);
            flood.data(client, 1, &half);
            flood.data(client, 1 + half.len() as u32, &half[30..]);
        }
    });
    assert_eq!(ledger.http.requests, CONNECTIONS as u64, "what they tell is told");
    assert_below(peak, CONNECTIONS * 3 * 1024 + KEPT + MIB, "half requests");
}

#[test]
fn an_endless_head_takes_what_one_head_may() {
    let (peak, ledger, records) = peak(|flood| {
        flood.open(1);
        flood.data(1, 1, b"GET /endless HTTP/1.1\r\n");
        let line = [b"X: ".to_vec(), vec![b'x'; 1000], b"\r\n".to_vec()].concat();
        for n in 0..20_000u32 {
            flood.data(1, 24 + n * line.len() as u32, &line);
        }
    });
    assert_eq!((ledger.http.requests, records), (1, 1));
    assert_below(peak, MIB, "an endless head");
}

#[test]
fn a_pipeline_without_answers_keeps_its_first_requests_and_the_newest() {
    let request = [b"GET /".to_vec(), vec![b'p'; 1000], b" HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat();
    let (peak, ledger, records) = peak(|flood| {
        flood.open(1);
        for n in 0..20_000u32 {
            flood.data(1, 1 + n * request.len() as u32, &request);
        }
    });
    assert_eq!((ledger.http.requests, records), (20_000, 20_000));
    // Those within MAX_PENDING wait for their answers, and so does the newest one.
    assert_eq!(ledger.http.unpaired, 20_000 - 257, "MAX_PENDING");
    assert_below(peak, 256 * 4 * 1024 + MIB, "a pipeline");
}

#[test]
fn pipelines_on_every_connection_are_held_to_one_limit_together() {
    let request = [b"GET /".to_vec(), vec![b'p'; 4000], b" HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat();
    let (peak, ledger, records) = peak(|flood| {
        for client in 0..200 {
            flood.open(client);
            for n in 0..200u32 {
                flood.data(client, 1 + n * request.len() as u32, &request);
            }
        }
    });
    assert_eq!((ledger.http.requests, records), (40_000, 40_000));
    assert_below(peak, CONNECTIONS * 3 * 1024 + KEPT + MIB, "pipelines");
}

#[test]
fn answers_without_a_question_are_not_kept() {
    let (peak, ledger, records) = peak(|flood| {
        flood.open(1);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for n in 0..20_000u32 {
            flood.segment(1, false, TcpFlags::ACK, 1 + n * answer.len() as u32, 1_000_000, answer);
        }
    });
    assert_eq!((ledger.http.orphan, records), (20_000, 20_000));
    assert_below(peak, MIB, "orphans");
}

#[test]
fn bytes_out_of_order_are_held_to_their_limit_by_one_connection_and_by_all() {
    let payload = [b'x'; 1400];
    for clients in [1u32, 500] {
        let (peak, ledger, _) = peak(|flood| {
            (0..clients).for_each(|client| flood.open(client));
            for n in 0..20_000u32 {
                // Every second segment never comes.
                flood.data(n % clients, 1 + (n / clients * 2 + 1) * 1400, &payload);
            }
        });
        assert!(ledger.streams.gap_bytes > 0);
        assert_below(peak, HELD + CONNECTIONS * 2048 + MIB, "out of order");
    }
}

#[test]
fn a_header_or_a_chunk_size_that_promises_anything_reserves_nothing() {
    let (peak, _, _) = peak(|flood| {
        for client in 0..1000 {
            flood.open(client);
            flood.data(client, 1, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\nx");
            let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nx";
            flood.segment(client, false, TcpFlags::ACK, 1, 100, chunked);
        }
    });
    assert_below(peak, 1000 * 3 * 1024 + MIB, "promises");
}

#[test]
fn fragments_that_are_never_whole_are_held_to_their_limit() {
    let mut dissector = Dissector::new(config(), Redactor::default());
    let peak = peak_in(|| {
        for n in 0..100_000u32 {
            let [_, _, a, b] = n.to_be_bytes();
            let mut data = vec![0x45, 0, 0x05, 0xdc, a, b, 0x20, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            data.resize(1500, b'x');
            let at = Timestamp::new(1_772_366_400, i64::from(n));
            dissector
                .handle_frame(&Frame { at, link: LinkType(101), data: &data, wire_len: 1500, interface: None }, |_| {
                    false
                });
        }
        dissector.finish(CloseReason::EndOfCapture);
    });
    let ledger = dissector.ledger();
    assert_eq!(ledger.imbalances(), []);
    assert_eq!(
        ledger.frames.fragments_lost,
        100_000 - ledger.frames.skipped.total(),
        "all are told as lost in the end"
    );
    assert_below(peak, 3 * MIB, "fragments");
}
