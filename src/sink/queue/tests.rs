//! The queue with its disk, one step at a time: no thread, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::batch::RecordBlock;
use super::super::spool::tests::Dir;
use super::super::spool::{Fsync, SpoolMode, SpoolOptions};
use super::super::{DeliveryError, FailureReason};
use super::*;
use crate::flow::Timestamp;
use crate::record::Dataset;

const LIMITS: QueueLimits = QueueLimits { records: 8, bytes: 1 << 20 };
const BATCH: BatchLimits = BatchLimits { records: 3, bytes: 1 << 20, age: Duration::ZERO };

fn records(numbers: std::ops::Range<usize>) -> BlockPiece {
    fill(Dataset::Http, numbers)
}

fn ledger_records(numbers: std::ops::Range<usize>) -> BlockPiece {
    fill(Dataset::Ledger, numbers)
}

fn fill(dataset: Dataset, numbers: std::ops::Range<usize>) -> BlockPiece {
    let mut block = RecordBlock::default();
    for n in numbers {
        block.push(dataset, |out| {
            out.extend_from_slice(format!("{n}\n").as_bytes());
            (compact_str::format_compact!("{n}"), Timestamp(n as i64))
        });
    }
    BlockPiece::whole(Arc::new(block))
}

fn numbers(batch: &Batch) -> Vec<usize> {
    batch.iter().map(|item| item.id.parse().unwrap()).collect()
}

fn queue_on(options: SpoolOptions) -> SinkQueue {
    let queue = SinkQueue::new("fake", LIMITS, WhenFull::Drop).with_spool(options, 1);
    queue.open_spool();
    queue
}

fn queue(dir: &Dir) -> SinkQueue {
    queue_on(dir.options())
}

/// The ledger, which adds up.
fn ledger(queue: &SinkQueue) -> crate::ledger::SinkLedger {
    let counts = queue.counts();
    assert_eq!(counts.ledger.imbalance(), None);
    assert_eq!(counts.ledger.dropped, counts.dropped.iter().sum::<u64>());
    counts.ledger
}

fn take(queue: &SinkQueue) -> Option<InFlight<'_>> {
    match queue.look(&BATCH, Instant::now(), &mut 0) {
        QueueLook::Do(WorkerTask::Deliver(flight)) => Some(flight),
        QueueLook::Read => queue.read(&BATCH),
        QueueLook::Do(WorkerTask::Reload | WorkerTask::End) | QueueLook::Wait(_) => None,
    }
}

fn deliver(queue: &SinkQueue) -> Vec<usize> {
    let Some(mut flight) = take(queue) else { return Vec::new() };
    ledger(queue);
    let got = numbers(flight.batch());
    flight.settle(Batch::default(), &Batch::default());
    got
}

fn reject(flight: &mut InFlight<'_>) {
    let all = flight.batch().clone();
    flight.settle(Batch::default(), &all);
}

fn deliver_all(queue: &SinkQueue) -> Vec<usize> {
    std::iter::from_fn(|| Some(deliver(queue)).filter(|got| !got.is_empty())).flatten().collect()
}

/// The end, as the worker and the spooler's thread make it.
fn end(queue: &SinkQueue) {
    queue.close();
    queue.abort();
    queue.leave();
    queue.spill_rest();
    queue.end();
    let ledger = ledger(queue);
    assert_eq!((ledger.queued, ledger.in_flight), (0, 0));
}

#[test]
fn half_a_queue_stays_in_memory_and_the_oldest_go_to_disk_and_out_first() {
    let dir = Dir::new();
    let queue = queue(&dir);
    queue.offer(records(0..4));
    queue.spill();
    assert_eq!((ledger(&queue).queued, ledger(&queue).spooled), (4, 0));
    queue.offer(records(4..6));
    queue.spill();
    assert_eq!((ledger(&queue).queued, ledger(&queue).spooled), (0, 6));
    queue.offer(records(6..9));
    assert_eq!(deliver_all(&queue), (0..9).collect::<Vec<_>>());
    assert_eq!(queue.counts().spooled_bytes, 0);
}

#[test]
fn a_burst_beyond_memory_is_dropped_as_queue_full_before_the_disk_is_asked() {
    let dir = Dir::new();
    let queue = queue(&dir);
    queue.offer(records(0..20));
    assert_eq!(queue.counts().dropped[DropReason::QueueFull as usize], 12);
    queue.spill();
    queue.offer(records(20..24));
    assert_eq!(deliver_all(&queue), (0..8).chain(20..24).collect::<Vec<_>>());
}

#[test]
fn a_replay_waits_instead_of_spilling_and_spools_only_what_is_left_at_the_end() {
    let dir = Dir::new();
    let queue = SinkQueue::new("fake", LIMITS, WhenFull::Wait).with_spool(dir.options(), 1);
    queue.open_spool();
    queue.offer(records(0..8));
    queue.spill();
    assert_eq!(ledger(&queue).spooled, 0);
    end(&queue);
    assert_eq!((ledger(&queue).spooled, ledger(&queue).dropped), (8, 0));
}

#[test]
fn the_end_spools_what_was_in_flight_before_what_was_queued() {
    let dir = Dir::new();
    let first = queue(&dir);
    first.offer(records(0..3));
    let flight = take(&first);
    first.offer(records(3..9));
    first.spill();
    first.offer(records(9..11));
    drop(flight);
    end(&first);
    assert_eq!(ledger(&first).spooled, 11);
    let second = queue(&dir);
    let found = ledger(&second);
    assert_eq!((found.offered, found.recovered, found.spooled), (11, 11, 11));
    second.offer(records(11..12));
    assert_eq!(deliver_all(&second), (0..12).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_hangs_with_records_from_disk_loses_none_of_them() {
    let dir = Dir::new();
    let first = queue(&dir);
    first.offer(records(0..8));
    first.spill();
    std::mem::forget(take(&first));
    first.offer(records(8..9));
    end(&first);
    assert_eq!((ledger(&first).spooled, ledger(&first).dropped), (9, 0));
    assert_eq!(deliver_all(&queue(&dir)), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_hangs_with_records_from_memory_has_them_counted_as_dropped() {
    let dir = Dir::new();
    let first = queue(&dir);
    first.offer(records(0..5));
    std::mem::forget(take(&first));
    end(&first);
    assert_eq!((ledger(&first).spooled, first.counts().dropped[DropReason::Shutdown as usize]), (2, 3));
}

#[test]
fn a_target_gone_for_good_gets_nothing_more_spooled() {
    let dir = Dir::new();
    let queue = queue(&dir);
    queue.offer(records(0..8));
    queue.spill();
    queue.offer(records(8..10));
    queue.gone();
    // Before its worker has noticed.
    queue.offer(records(10..13));
    end(&queue);
    assert_eq!((ledger(&queue).spooled, queue.counts().dropped[DropReason::Gone as usize]), (8, 5));
}

#[test]
fn without_a_usable_disk_it_goes_on_in_memory() {
    let dir = Dir::new();
    std::fs::write(dir.0.join("fake"), "a file where a directory should be").unwrap();
    let queue = queue(&dir);
    queue.offer(records(0..20));
    queue.spill();
    assert_eq!((ledger(&queue).queued, ledger(&queue).dropped), (8, 12));
    assert_eq!(deliver_all(&queue).len(), 8);
    queue.offer(records(20..22));
    end(&queue);
    assert_eq!(queue.counts().dropped[DropReason::Shutdown as usize], 2);
}

/// Lost, and how many of those were ledger records.
fn lost(queue: &SinkQueue) -> (u64, u64) {
    ledger(queue);
    (queue.counts().lost(), queue.counts().lost_of(Dataset::Ledger))
}

#[test]
fn of_what_is_lost_at_the_end_it_is_known_how_many_were_ledger_records() {
    // Two exchanges, then two ledger records, in batches of three.
    type Before = fn(&SinkQueue);
    let given_back: Before = |queue| drop(take(queue));
    let delivered: Before = |queue| drop(deliver(queue));
    let all_delivered: Before = |queue| drop(deliver_all(queue));
    let rejected: Before = |queue| reject(&mut take(queue).unwrap());
    let partly: Before = |queue| {
        let mut flight = take(queue).unwrap();
        let rest = flight.batch().range(1, 3);
        flight.settle(rest, &Batch::default());
    };
    for (n, before, expected) in [
        (0, (|_| ()) as Before, (4, 2)),
        (1, given_back, (4, 2)),
        (2, partly, (3, 2)),
        (3, delivered, (1, 1)),
        (4, rejected, (4, 2)),
        (5, all_delivered, (0, 0)),
    ] {
        let queue = SinkQueue::new("fake", LIMITS, WhenFull::Drop);
        queue.offer(records(0..2));
        queue.offer(ledger_records(2..4));
        before(&queue);
        end(&queue);
        assert_eq!(lost(&queue), expected, "{n}");
    }
}

#[test]
fn a_ledger_record_that_was_refused_or_in_flight_at_the_end_is_lost_and_one_on_disk_is_not() {
    let full = SinkQueue::new("fake", LIMITS, WhenFull::Drop);
    full.offer(records(0..7));
    full.offer(ledger_records(7..10));
    drop(deliver_all(&full));
    end(&full);
    assert_eq!(lost(&full), (2, 2));
    let hanging = SinkQueue::new("fake", LIMITS, WhenFull::Drop);
    hanging.offer(ledger_records(0..2));
    let mut flight = take(&hanging).unwrap();
    end(&hanging);
    flight.settle(Batch::default(), &Batch::default());
    assert_eq!(lost(&hanging), (2, 2), "whatever its worker says later");
    drop(flight);
    let dir = Dir::new();
    let spooled = queue(&dir);
    spooled.offer(ledger_records(0..2));
    end(&spooled);
    assert_eq!((lost(&spooled), ledger(&spooled).spooled), ((0, 0), 2));
}

#[test]
fn a_disk_that_takes_nothing_leaves_the_records_where_they_were_in_order() {
    let dir = Dir::new();
    // Room for no segment at all.
    let queue = queue_on(SpoolOptions { max_bytes: 100, ..dir.options() });
    queue.offer(records(0..8));
    queue.spill();
    assert_eq!((ledger(&queue).queued, ledger(&queue).spooled), (8, 0));
    assert_eq!(deliver_all(&queue), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_directory_that_somebody_removes_costs_what_was_in_it_and_that_is_counted() {
    let dir = Dir::new();
    let queue = queue(&dir);
    queue.offer(records(0..8));
    queue.spill();
    std::fs::remove_dir_all(dir.0.join("fake")).unwrap();
    queue.offer(records(8..10));
    assert!(deliver_all(&queue).is_empty());
    assert_eq!(queue.counts().dropped[DropReason::SpoolDamaged as usize], 8);
    queue.offer(records(10..16));
    queue.spill();
    assert_eq!((ledger(&queue).queued, ledger(&queue).spooled), (8, 0), "no directory, no new segment");
    assert_eq!(deliver_all(&queue), (8..16).collect::<Vec<_>>());
}

#[test]
fn the_oldest_on_disk_make_room_and_are_counted_as_spool_full() {
    let dir = Dir::new();
    let queue = queue_on(SpoolOptions { max_bytes: 128 << 10, fsync: Fsync::None, ..dir.options() });
    let mut offered = 0;
    while queue.counts().dropped[DropReason::SpoolFull as usize] == 0 {
        queue.offer(records(offered..offered + 8));
        offered += 8;
        queue.spill();
        ledger(&queue);
        assert!(offered < 100_000);
    }
    let dropped = ledger(&queue).dropped as usize;
    assert_eq!(deliver_all(&queue), (dropped..offered).collect::<Vec<_>>());
}

#[test]
fn at_the_end_a_failing_target_has_its_memory_spooled_while_it_is_still_tried() {
    let dir = Dir::new();
    let queue = queue(&dir);
    queue.offer(records(0..2));
    queue.close();
    queue.spill();
    assert_eq!(ledger(&queue).spooled, 0, "it may still take them");
    queue.failed(&DeliveryError::new(FailureReason::Refused, "refused"), Instant::now());
    queue.spill();
    assert_eq!(ledger(&queue).spooled, 2);
    assert_eq!(deliver_all(&queue), [0, 1]);
}

fn queue_in(dir: &Dir, mode: SpoolMode) -> SinkQueue {
    queue_on(SpoolOptions { mode, ..dir.options() })
}

#[test]
fn once_a_delivery_fails_what_waits_and_what_is_in_flight_goes_to_disk_until_the_disk_is_empty_again() {
    let dir = Dir::new();
    let first = queue_in(&dir, SpoolMode::Failing);
    first.offer(records(0..2));
    first.spill();
    assert_eq!(ledger(&first).spooled, 0, "nothing has failed yet");
    let mut flight = take(&first).unwrap();
    first.offer(ledger_records(2..3));
    first.is_failing();
    flight.keep();
    flight.keep();
    first.spill();
    assert_eq!((ledger(&first).queued, ledger(&first).in_flight, ledger(&first).spooled), (0, 2, 1));
    std::mem::forget(flight);
    drop(first);
    // kill -9: all three are there, in order, and of each it is known what it is.
    let second = queue_in(&dir, SpoolMode::Failing);
    let found = ledger(&second);
    assert_eq!((found.recovered, found.recovered_by.at(Dataset::Ledger)), (3, 1));
    second.offer(records(3..4));
    second.spill();
    assert_eq!(ledger(&second).spooled, 4, "as long as older ones are on disk");
    assert_eq!(deliver_all(&second), [0, 1, 2, 3]);
    second.offer(records(4..5));
    second.spill();
    assert_eq!((ledger(&second).queued, ledger(&second).spooled), (1, 0));
    assert_eq!((deliver_all(&second), second.counts().spooled_bytes), (vec![4], 0));
}

#[test]
fn what_is_in_flight_and_on_disk_is_settled_once_whatever_becomes_of_it() {
    type After = fn(&mut InFlight<'_>);
    let delivered: After = |flight| flight.settle(Batch::default(), &Batch::default());
    let rejected: After = reject;
    let partly: After = |flight| {
        let (rest, first) = (flight.batch().range(2, 3), flight.batch().range(0, 1));
        flight.settle(rest, &first);
    };
    for (n, after, (left, lost_records)) in [(0, delivered, (0, 0)), (1, rejected, (0, 3)), (2, partly, (1, 1))] {
        let dir = Dir::new();
        let queue = queue_in(&dir, SpoolMode::Failing);
        queue.offer(ledger_records(0..3));
        let mut flight = take(&queue).unwrap();
        queue.is_failing();
        flight.keep();
        after(&mut flight);
        drop(flight);
        end(&queue);
        assert_eq!((ledger(&queue).spooled, lost(&queue)), (left, (lost_records, lost_records)), "{n}");
    }
}

#[test]
fn with_always_no_record_is_delivered_before_it_is_on_disk_unless_the_disk_takes_none() {
    let dir = Dir::new();
    let queue = queue_in(&dir, SpoolMode::Always);
    queue.offer(records(0..5));
    assert!(take(&queue).is_none());
    queue.spill();
    assert_eq!(ledger(&queue).spooled, 5);
    let flight = take(&queue).unwrap();
    assert_eq!((numbers(flight.batch()), queue.lock().in_flight_on_disk), (vec![0, 1, 2], 3));
    drop(flight);
    let dir = Dir::new();
    let full = queue_on(SpoolOptions { mode: SpoolMode::Always, max_bytes: 100, ..dir.options() });
    full.offer(records(0..2));
    full.spill();
    assert_eq!(deliver_all(&full), [0, 1], "better from memory than not at all");
}

#[test]
fn with_always_what_is_on_disk_waits_for_others_as_long_as_it_would_in_memory() {
    let dir = Dir::new();
    let queue = queue_in(&dir, SpoolMode::Always);
    let (now, age) = (Instant::now(), Duration::from_secs(60));
    let looks_at = |now| match queue.look(&BatchLimits { age, ..BATCH }, now, &mut 0) {
        QueueLook::Read => "read",
        QueueLook::Wait(Some(due)) if due == now + age => "wait",
        QueueLook::Wait(_) => "wait less",
        QueueLook::Do(_) => "do",
    };
    queue.offer(records(0..1));
    queue.spill();
    assert_eq!([looks_at(now), looks_at(now + age / 2), looks_at(now + age)], ["wait", "wait less", "read"]);
    queue.offer(records(1..3));
    queue.spill();
    assert_eq!(looks_at(now), "read", "a full batch");
}

#[derive(Clone, Debug)]
enum Op {
    Offer(usize),
    Spill,
    Deliver,
    /// Some accepted, some to be tried again and then accepted.
    Partly,
    Reject,
    /// A shutdown with a batch in flight, and a new start.
    Restart,
    /// kill -9 with a batch in flight, and a new start.
    Kill,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1usize..6).prop_map(Op::Offer),
        4 => Just(Op::Spill),
        3 => Just(Op::Deliver),
        1 => Just(Op::Partly),
        1 => Just(Op::Reject),
        1 => Just(Op::Restart),
        1 => Just(Op::Kill),
    ];
    proptest::collection::vec(op, 1..60)
}

/// How often each record came out, and the last of this run.
#[derive(Default)]
struct Target {
    got: BTreeMap<usize, usize>,
    last: Option<usize>,
}

impl Target {
    fn take(&mut self, numbers: &[usize]) {
        for n in numbers {
            assert!(self.last.is_none_or(|last| last < *n), "{n} after {:?}", self.last);
            self.last = Some(*n);
            *self.got.entry(*n).or_default() += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn however_it_is_interrupted_the_ledger_adds_up_order_is_kept_and_what_was_spooled_arrives(
        ops in ops(), mode in prop_oneof![Just(SpoolMode::Overflow), Just(SpoolMode::Failing), Just(SpoolMode::Always)]
    ) {
        let dir = Dir::new();
        let queue = |dir: &Dir| queue_in(dir, mode);
        let mut run = queue(&dir);
        let (mut offered, mut lost, mut kills) = (0, 0, 0);
        let mut target = Target::default();
        for op in ops {
            match op {
                Op::Offer(n) => {
                    run.offer(records(offered..offered + n));
                    offered += n;
                }
                Op::Spill => run.spill(),
                Op::Deliver => target.take(&deliver(&run)),
                Op::Partly => if let Some(mut flight) = take(&run) {
                    target.take(&numbers(&flight.batch().range(0, 1)));
                    let rest = flight.batch().range(1, 9);
                    flight.settle(rest, &Batch::default());
                    ledger(&run);
                    target.take(&numbers(flight.batch()));
                    flight.settle(Batch::default(), &Batch::default());
                },
                Op::Reject => if let Some(mut flight) = take(&run) {
                    target.take(&numbers(flight.batch()));
                    reject(&mut flight);
                },
                Op::Restart => {
                    drop(take(&run));
                    end(&run);
                    prop_assert_eq!(run.counts().dropped[DropReason::Shutdown as usize], 0);
                    let spooled = ledger(&run).spooled;
                    lost += ledger(&run).dropped;
                    drop(run);
                    run = queue(&dir);
                    prop_assert_eq!(ledger(&run).recovered, spooled);
                    target.last = None;
                }
                Op::Kill => {
                    std::mem::forget(take(&run));
                    let memory = { let s = run.lock(); s.counts.ledger.in_flight - s.in_flight_on_disk };
                    let on_disk = ledger(&run).spooled + run.lock().in_flight_on_disk;
                    lost += ledger(&run).queued + memory + ledger(&run).dropped;
                    kills += 1;
                    drop(run);
                    run = queue(&dir);
                    prop_assert_eq!(ledger(&run).recovered, on_disk);
                    target.last = None;
                }
            }
            ledger(&run);
        }
        run.spill();
        target.take(&deliver_all(&run));
        lost += ledger(&run).dropped;
        prop_assert_eq!(target.got.len() as u64 + lost, offered as u64, "every record arrived or is known to be lost");
        prop_assert!(target.got.values().all(|n| *n == 1), "nothing twice: {} kills", kills);
    }
}
