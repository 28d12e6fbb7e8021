//! What costs no allocation, counted by the allocator itself.
//!
//! Counts per thread, so that tests running beside do not disturb.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use podtap::flow::{Direction, Endpoint, FiveTuple, Timestamp};
use podtap::packet::{Segment, TcpFlags};
use podtap::tcp::{Analyzer, CloseReason, Conn, Limits, StreamEvent, Table};

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

    fn open(_: &Conn, _: &mut Seen) -> Self {
        Self
    }

    fn on_event(&mut self, _: &Conn, _: Direction, event: StreamEvent<'_>, seen: &mut Seen) {
        if let StreamEvent::Data { bytes, .. } = event {
            seen.bytes += bytes.len() as u64;
            seen.copied += u64::from(bytes.as_ptr() as usize != seen.payload_at);
        }
    }

    fn on_tick(&mut self, _: &Conn, _: Timestamp, _: &mut Seen) {}

    fn on_close(self, _: &Conn, _: Timestamp, _: CloseReason, _: &mut Seen) {}
}

fn limits() -> Limits {
    Limits {
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
        interface: None,
    }
}

fn open(table: &mut Table<Lent>, client: u16, seen: &mut Seen) {
    table.on_segment(&segment(client, true, 99, 0, TcpFlags::SYN, &[]), seen);
    table.on_segment(&segment(client, false, 499, 100, TcpFlags::SYN | TcpFlags::ACK, &[]), seen);
}

fn exchange(table: &mut Table<Lent>, client: u16, round: u32, payload: &[u8], seen: &mut Seen) {
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
    let (mut table, mut seen) = (Table::<Lent>::new(limits()), Seen::default());
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
    let (mut table, mut seen) = (Table::<Lent>::new(limits()), Seen::default());
    open(&mut table, 1, &mut seen);
    let swap = |table: &mut Table<Lent>, round: u32, seen: &mut Seen| {
        for half in [1, 0] {
            let seq = 100 + (2 * round + half) * 1448;
            seen.payload_at = payload.as_ptr() as usize;
            table.on_segment(&segment(1, true, seq, 500, TcpFlags::ACK, &payload), seen);
        }
    };
    swap(&mut table, 0, &mut seen);
    let count = allocations_in(|| (1..=1000).for_each(|round| swap(&mut table, round, &mut seen)));
    // The chunk, its place in the queue, the disorder; now and then the sweep of the holders.
    assert!((1000..=3100).contains(&count), "{count}");
    assert_eq!(seen.copied, 1001);
    assert_eq!(table.ledger().held, 0);
}
