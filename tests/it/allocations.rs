//! What costs no allocation, counted by the allocator itself.
//!
//! Counts per thread, so that tests that run at the same time do not disturb.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use podtap::dissect::{self, Dissector};
use podtap::flow::{Direction, Endpoint, FiveTuple, Scope, Timestamp};
use podtap::format::{Observer, ecs};
use podtap::packet::{CarriedIn, Segment, TcpFlags};
use podtap::pipeline::{FormatOutlet, Pipeline};
use podtap::record::Record;
use podtap::redact::Redactor;
use podtap::shape::route::RouteRules;
use podtap::synth::{Conversation, SynthFrame, message};
use podtap::tcp::{Analyzer, CloseReason, ConnSummary, ConnectionTable, StreamEvent, TcpLimits};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not freed again by this thread.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

/// How many bytes more than before `act` are live at the worst moment of it, allocated by this thread.
pub(crate) fn peak_in(act: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    act();
    usize::try_from(PEAK.get() - before).unwrap()
}

#[allow(unsafe_code, reason = "an allocator cannot be replaced otherwise")]
// SAFETY: passes everything on to the system's allocator; the counter is a const-initialised thread local without
// destructor, so counting never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count(layout.size() as i64);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How often `act` allocates on this thread.
fn allocations_in(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

/// Counts bytes, and checks that they lie in the segment itself.
struct Lent;

#[derive(Default)]
struct Seen {
    bytes: u64,
    payload_at: usize,
    copied: u64,
}

impl Analyzer for Lent {
    type Context = Seen;

    fn open(_: &ConnSummary, _: &mut Seen) -> Self {
        Self
    }

    fn on_event(&mut self, _: &ConnSummary, _: Direction, event: StreamEvent<'_>, seen: &mut Seen) {
        if let StreamEvent::Data { bytes, .. } = event {
            seen.bytes += bytes.len() as u64;
            seen.copied += u64::from(bytes.as_ptr() as usize != seen.payload_at);
        }
    }

    fn on_tick(&mut self, _: &ConnSummary, _: Timestamp, _: &mut Seen) {}

    fn on_close(&mut self, _: &ConnSummary, _: Timestamp, _: CloseReason, _: &mut Seen) {}
}

fn limits() -> TcpLimits {
    TcpLimits {
        connections: 10_000,
        held_per_stream: 1 << 20,
        held_total: 8 << 20,
        gap_wait: 5_000_000_000,
        acked_gap_wait: 200_000_000,
        idle: 300_000_000_000,
        idle_opening: 30_000_000_000,
    }
}

fn segment<'a>(client: u16, from_client: bool, seq: u32, ack: u32, flags: u8, payload: &'a [u8]) -> Segment<'a> {
    let tuple = FiveTuple {
        source: Endpoint::new([10, 0, (client >> 8) as u8, client as u8], 40_000),
        destination: Endpoint::new([10, 1, 0, 1], 80),
    };
    Segment {
        at: Timestamp(1_000_000),
        tuple: if from_client { tuple } else { tuple.reversed() },
        seq,
        ack,
        flags: TcpFlags(flags),
        payload,
        payload_len: payload.len() as u32,
        wire: &[],
        damaged: false,
        carried: CarriedIn::default(),
        scope: Scope::default(),
        around: Default::default(),
        interface: None,
    }
}

fn open(table: &mut ConnectionTable<Lent>, client: u16, seen: &mut Seen) {
    table.on_segment(&segment(client, true, 99, 0, TcpFlags::SYN, &[]), seen);
    table.on_segment(&segment(client, false, 499, 100, TcpFlags::SYN | TcpFlags::ACK, &[]), seen);
}

fn exchange(table: &mut ConnectionTable<Lent>, client: u16, round: u32, payload: &[u8], seen: &mut Seen) {
    let len = payload.len() as u32;
    let (request, response) = (100 + round * len, 500 + round * len);
    seen.payload_at = payload.as_ptr() as usize;
    table.on_segment(&segment(client, true, request, response, TcpFlags::ACK, payload), seen);
    table.on_segment(&segment(client, false, response, request + len, TcpFlags::ACK, payload), seen);
    table.on_segment(&segment(client, true, request + len, response + len, TcpFlags::ACK, &[]), seen);
}

#[test]
fn bytes_in_order_are_lent_and_cost_no_allocation() {
    let payload = [7; 1448];
    let (mut table, mut seen) = (ConnectionTable::<Lent>::new(limits()), Seen::default());
    for client in 0..100 {
        open(&mut table, client, &mut seen);
        exchange(&mut table, client, 0, &payload, &mut seen);
    }
    let count = allocations_in(|| {
        for round in 1..=1000 {
            for client in 0..100 {
                exchange(&mut table, client, round, &payload, &mut seen);
            }
        }
    });
    assert_eq!(count, 0);
    assert_eq!(seen.copied, 0);
    assert_eq!(seen.bytes, 1001 * 100 * 2 * 1448);
}

#[test]
fn bytes_out_of_order_cost_few_allocations_and_leave_nothing_behind() {
    let payload = [7; 1448];
    let (mut table, mut seen) = (ConnectionTable::<Lent>::new(limits()), Seen::default());
    open(&mut table, 1, &mut seen);
    let swap = |table: &mut ConnectionTable<Lent>, round: u32, seen: &mut Seen| {
        for half in [1, 0] {
            let seq = 100 + (2 * round + half) * 1448;
            seen.payload_at = payload.as_ptr() as usize;
            table.on_segment(&segment(1, true, seq, 500, TcpFlags::ACK, &payload), seen);
        }
    };
    swap(&mut table, 0, &mut seen);
    let count = allocations_in(|| (1..=1000).for_each(|round| swap(&mut table, round, &mut seen)));
    // The chunk, its place in the tree, the disorder; now and then the sweep of the holders.
    assert!((1000..=3100).contains(&count), "{count}");
    assert_eq!(seen.copied, 1001);
    assert_eq!(table.ledger().held, 0);
}

/// One connection with this many exchanges, each request with the given target and headers, each response with a body.
fn keep_alive(exchanges: usize, target: &str, headers: &[(&str, &str)]) -> Vec<SynthFrame> {
    let mut talk = Conversation::default().handshake();
    for _ in 0..exchanges {
        let answer = [("Content-Type", "application/json"), ("Content-Length", "1024")];
        talk = talk.client(message::request("GET", target, headers, b""));
        talk = talk.server(message::response("200 OK", &answer, &[b'x'; 1024]));
    }
    talk.frames()
}

/// Frames to encoded records, as a capture thread does it. Gives how often that allocates for each of the exchanges
/// behind the first ten, and how many bytes of JSON came out.
fn allocations_per_exchange(frames: &[SynthFrame]) -> (f64, usize) {
    const WARM: usize = 24;
    let mut dissector = Dissector::new(dissect::DissectorConfig::default(), Redactor::default());
    let (routes, observer, mut bytes) = (RouteRules::default(), Observer::default(), 0);
    let select = |record: &mut Record| {
        let Record::Http(exchange) = record else { unreachable!() };
        exchange.route = exchange.request.as_ref().and_then(|request| routes.of_request(request));
        None
    };
    let encode = |record: &Record, out: &mut Vec<u8>| {
        let before = out.len();
        ecs::write_json_capped(out, record, &observer, 16 << 10);
        bytes += out.len() - before;
        podtap::format::Encoded::Written
    };
    let mut pipeline = Pipeline::new(select, vec![FormatOutlet { encode, sinks: vec![] }], None);
    let mut pass = |frames: &[SynthFrame]| {
        for frame in frames {
            dissector.handle_frame(&frame.as_frame(), |_| false);
            pipeline.push(dissector.records());
        }
        pipeline.ledger().made
    };
    let (warm, rest) = frames.split_at(WARM);
    let before = pass(warm);
    let mut after = 0;
    let count = allocations_in(|| after = pass(rest));
    (count as f64 / (after - before) as f64, bytes)
}

#[test]
fn an_exchange_costs_few_allocations_from_frame_to_json() {
    // The record itself, and each text that is longer than fits in place (24 bytes).
    for (target, headers, texts) in [
        ("/cart/7", &[("Host", "shop.local:8080"), ("User-Agent", "curl/8.5.0")][..], 0),
        ("/api/v1/orders/282565/items?sort=price&order=desc&lang=en", &[("Host", "shop.local")], 2),
        (
            "/api/v1/orders/282565/items?sort=price&order=desc&lang=en",
            &[
                ("Host", "shop.local"),
                ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0"),
                ("Referer", "http://shop.local/cart/7?utm_source=newsletter"),
                ("X-Request-Id", "49610e59f0f60c7221f5a7d5b6559aa6"),
                ("Accept", "application/json, text/html;q=0.9, */*;q=0.8"),
            ],
            5,
        ),
    ] {
        let (each, bytes) = allocations_per_exchange(&keep_alive(2000, target, headers));
        assert!(bytes > 2000 * 500, "{bytes}");
        // A little on top: blocks of encoded records that grow.
        assert!(each <= f64::from(1 + texts) + 0.1, "{each} for {target}");
    }
}
