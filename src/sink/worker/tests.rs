use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::task::JoinHandle;

use super::super::batch::Batch;
use super::super::batch::tests::piece;
use super::super::queue::{DropReason, QueueLimits, WhenFull};
use super::super::{RejectedRecord, SinkCounts};
use super::*;

/// What the fake target does with the next batch; without a script it takes everything.
#[derive(Debug)]
enum Step {
    Fail(SinkError),
    Retry(Vec<usize>),
    Reject(Vec<usize>),
    Hang,
    /// Fails after ten seconds.
    Slow,
    Panic,
}

/// What it saw: milliseconds since the start, and the bodies.
type Seen = Arc<Mutex<Vec<(u128, String)>>>;

struct Fake {
    script: VecDeque<Step>,
    seen: Seen,
    start: Instant,
    queue: Arc<SinkQueue>,
}

impl Sink for Fake {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        assert_balanced(&self.queue.counts());
        let bodies = batch.iter().map(|item| String::from_utf8_lossy(item.body).into_owned()).collect::<Vec<_>>();
        self.seen.lock().unwrap().push((self.start.elapsed().as_millis(), bodies.join(" ")));
        match self.script.pop_front() {
            None => Ok(Delivery::default()),
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Retry(retry)) => Ok(Delivery { retry, ..Delivery::default() }),
            Some(Step::Reject(indices)) => {
                let rejected =
                    indices.iter().map(|&index| RejectedRecord { index, reason: "mapping".into() }).collect();
                Ok(Delivery { rejected, ..Delivery::default() })
            }
            Some(Step::Slow) => {
                pass(10_000).await;
                Err(refused())
            }
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Panic) => panic!("a bug in a sink"),
        }
    }

    fn reload(&mut self) {
        self.seen.lock().unwrap().push((self.start.elapsed().as_millis(), "reload".into()));
    }
}

struct Rig {
    queue: Arc<SinkQueue>,
    seen: Seen,
    worker: JoinHandle<()>,
}

const HOLD_FOR: Duration = Duration::from_secs(30);
const BATCH: BatchLimits = BatchLimits { records: 3, bytes: 100, age: Duration::from_millis(50) };
const AT_ONCE: BatchLimits = BatchLimits { age: Duration::ZERO, ..BATCH };

fn rig_with(script: Vec<Step>, batch: BatchLimits, queue: QueueLimits) -> Rig {
    let queue = Arc::new(SinkQueue::new("fake", queue, WhenFull::Drop));
    let seen = Seen::default();
    let fake =
        Fake { script: script.into(), seen: Arc::clone(&seen), start: Instant::now(), queue: Arc::clone(&queue) };
    let backoff = RetryBackoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
    let terms = WorkerTerms { batch, backoff, hold_for: Some(HOLD_FOR), dead_letters: None };
    let worker = tokio::spawn(run_all(vec![fake], Arc::clone(&queue), terms));
    Rig { queue, seen, worker }
}

fn rig(script: Vec<Step>, batch: BatchLimits) -> Rig {
    rig_with(script, batch, QueueLimits { records: 10, bytes: 1 << 20 })
}

impl Rig {
    fn offer(&self, bodies: &[&str]) {
        self.queue.offer(piece(bodies));
        assert_balanced(&self.queue.counts());
    }

    /// Closes, waits for the end and returns delivered, rejected, dropped by reason.
    async fn end(self) -> (u64, u64, [u64; 3]) {
        self.queue.close();
        let _ = self.worker.await;
        assert!(self.queue.has_ended());
        let counts = self.queue.counts();
        assert_balanced(&counts);
        assert_eq!((counts.ledger.queued, counts.ledger.in_flight), (0, 0));
        let [queue_full, gone, shutdown, spool @ ..] = counts.dropped;
        assert_eq!(spool, [0, 0]);
        (counts.ledger.delivered, counts.ledger.rejected, [queue_full, gone, shutdown])
    }

    fn batches(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(_, bodies)| bodies.clone()).collect()
    }

    fn times(&self) -> Vec<u128> {
        self.seen.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

fn assert_balanced(counts: &SinkCounts) {
    assert_eq!(counts.ledger.imbalance(), None);
    assert_eq!(counts.ledger.dropped, counts.dropped.iter().sum::<u64>());
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn refused() -> SinkError {
    SinkError::Transient(DeliveryError::new(FailureReason::Refused, "connection refused"))
}

fn transient() -> Step {
    Step::Fail(refused())
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_by_count() {
    let rig = rig(vec![], BATCH);
    rig.offer(&["a", "b"]);
    rig.offer(&["c", "d"]);
    pass(1).await;
    assert_eq!(rig.batches(), ["a b c"]);
    assert_eq!(rig.end().await, (4, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_by_bytes_and_one_record_may_be_larger() {
    let rig = rig(vec![], BatchLimits { records: 99, bytes: 4, ..BATCH });
    rig.offer(&["aa", "bb", "larger than four", "c"]);
    pass(1).await;
    assert_eq!(rig.batches(), ["aa bb", "larger than four"]);
    assert_eq!(rig.end().await, (4, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_its_oldest_record_is_old_enough() {
    let rig = rig(vec![], BATCH);
    rig.offer(&["a"]);
    pass(30).await;
    rig.offer(&["b"]);
    pass(100).await;
    assert_eq!((rig.batches(), rig.times()), (vec!["a b".to_owned()], vec![50]));
    assert_eq!(rig.end().await, (2, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn without_an_age_a_record_goes_at_once() {
    let rig = rig(vec![], AT_ONCE);
    for body in ["a", "b"] {
        rig.offer(&[body]);
        pass(7).await;
    }
    assert_eq!(rig.times(), [0, 7]);
    assert_eq!(rig.end().await, (2, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn closing_delivers_what_waits_for_company() {
    let rig = rig(vec![], BATCH);
    rig.offer(&["a"]);
    pass(10).await;
    let seen = Arc::clone(&rig.seen);
    assert_eq!(rig.end().await, (1, 0, [0, 0, 0]));
    assert_eq!(*seen.lock().unwrap(), [(10, "a".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_is_tried_again_with_the_same_records_and_later_ones_wait() {
    let rig = rig(vec![transient(), transient()], AT_ONCE);
    rig.offer(&["a"]);
    pass(1).await;
    rig.offer(&["b"]);
    pass(400).await;
    assert_eq!(rig.batches(), ["a", "a", "a", "b"]);
    assert_eq!(rig.queue.counts().failed_attempts(), 2);
    assert_eq!(rig.end().await, (2, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_gets_it_up_to_a_minute() {
    for (asked, least, most) in [(20, 20, 21), (9999, 60, 61)] {
        let error = DeliveryError::new(FailureReason::Throttled, "429");
        let error = error.with_retry_after(Some(Duration::from_secs(asked)));
        let rig = rig(vec![Step::Fail(SinkError::Transient(error))], AT_ONCE);
        rig.offer(&["a"]);
        pass(100_000).await;
        let second = rig.times()[1];
        assert!((least * 1000..=most * 1000).contains(&second), "{second}");
        assert_eq!(rig.end().await, (1, 0, [0, 0, 0]));
    }
}

/// HOLD_FOR counts from the first refusal, over batches; a server that is merely away is waited for.
#[tokio::test(start_paused = true)]
async fn what_a_server_refuses_is_held_for_its_time_and_then_rejected() {
    let fail = |reason| Step::Fail(SinkError::Transient(DeliveryError::new(reason, "no")));
    for (reason, expected) in [
        (FailureReason::Forbidden, (0, 4)),
        (FailureReason::NotReady, (0, 4)),
        (FailureReason::Refused, (4, 0)),
        (FailureReason::Server, (4, 0)),
    ] {
        let rig = rig((0..200).map(|_| fail(reason)).collect(), AT_ONCE);
        rig.offer(&["a", "b", "c", "d"]);
        pass(25_000).await;
        assert_eq!(rig.queue.counts().ledger.rejected, 0, "{reason}: not yet");
        pass(10_000).await;
        assert_eq!(rig.queue.counts().ledger.rejected, expected.1, "{reason}");
        pass(1_000_000).await;
        let (delivered, rejected, _) = rig.end().await;
        assert_eq!((delivered, rejected), expected, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_not_accepted_is_tried_again() {
    let rig = rig(vec![Step::Retry(vec![0, 2]), Step::Retry(vec![1])], AT_ONCE);
    rig.offer(&["a", "b", "c"]);
    pass(1).await;
    let counts = rig.queue.counts();
    assert!(counts.ledger.delivered >= 1 && counts.ledger.delivered + counts.ledger.in_flight == 3);
    pass(2000).await;
    assert_eq!(rig.batches(), ["a b c", "a c", "c"]);
    assert_eq!(rig.end().await, (3, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn what_the_target_refuses_for_good_is_rejected_and_the_rest_goes_on() {
    let permanent = Step::Fail(SinkError::Permanent(DeliveryError::new(FailureReason::TooLarge, "413")));
    let rig = rig(vec![Step::Reject(vec![1]), permanent], AT_ONCE);
    rig.offer(&["a", "b", "c"]);
    rig.offer(&["d", "e"]);
    rig.offer(&["f"]);
    pass(1).await;
    assert_eq!(rig.batches(), ["a b c", "d e f"]);
    assert_eq!(rig.end().await, (2, 4, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_newest_exactly_to_its_limit() {
    let rig = rig_with(vec![Step::Hang], AT_ONCE, QueueLimits { records: 4, bytes: 1 << 20 });
    rig.offer(&["a"]);
    pass(1).await;
    rig.offer(&["b", "c", "d"]);
    rig.offer(&["e", "f", "g"]);
    rig.offer(&["h"]);
    let counts = rig.queue.counts();
    assert_eq!((counts.ledger.in_flight, counts.ledger.queued), (1, 4));
    assert_eq!(counts.dropped[DropReason::QueueFull as usize], 3);
    rig.queue.abort();
    assert_eq!(rig.end().await, (0, 0, [3, 0, 5]));
}

#[tokio::test(start_paused = true)]
async fn a_queue_full_of_bytes_is_full_and_a_record_larger_than_it_passes_alone() {
    let limits = QueueLimits { records: 99, bytes: 2 * (super::super::batch::ENTRY_COST + 5) };
    let rig = rig_with(vec![Step::Hang], AT_ONCE, limits);
    let large = "x".repeat(10_000);
    rig.offer(&[&large]);
    pass(1).await;
    rig.offer(&["five1", "five2", "five3"]);
    let counts = rig.queue.counts();
    assert_eq!((counts.ledger.in_flight, counts.ledger.queued, counts.ledger.dropped), (1, 2, 1));
    assert_eq!(counts.queued_bytes, limits.bytes as u64);
    rig.queue.abort();
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_backoff_ends_at_its_deadline_and_counts_what_is_left() {
    let rig = rig((0..100).map(|_| transient()).collect(), AT_ONCE);
    rig.offer(&["a", "b", "c", "d"]);
    pass(5000).await;
    rig.queue.close();
    pass(3000).await;
    assert!(!rig.queue.has_ended(), "it goes on trying as long as it may");
    rig.queue.abort();
    let at = Instant::now();
    assert_eq!(rig.end().await, (0, 0, [0, 0, 4]));
    assert_eq!(at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_is_cut_off_at_the_deadline() {
    let rig = rig(vec![Step::Hang], AT_ONCE);
    rig.offer(&["a"]);
    pass(1000).await;
    rig.queue.abort();
    assert_eq!(rig.end().await, (0, 0, [0, 0, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_target_gone_for_good_ends_the_worker_and_the_rest_is_dropped_as_gone() {
    let rig = rig(vec![Step::Fail(SinkError::Gone { delivered: 1, why: None })], AT_ONCE);
    rig.offer(&["a", "b"]);
    rig.queue.ended().await;
    rig.offer(&["c"]);
    assert_eq!(rig.end().await, (1, 0, [0, 2, 0]));
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_that_panics_leaves_is_lost_and_counted_as_that() {
    let rig = rig(vec![Step::Panic], AT_ONCE);
    rig.offer(&["a", "b", "c", "d"]);
    rig.queue.ended().await;
    rig.offer(&["e"]);
    assert_eq!(rig.queue.counts().lost(), 5, "nobody left: that was a bug");
    assert_eq!(rig.end().await, (0, 0, [0, 0, 5]));
}

#[tokio::test(start_paused = true)]
async fn records_offered_after_the_close_are_dropped_and_counted() {
    let rig = rig(vec![], AT_ONCE);
    rig.queue.close();
    rig.offer(&["late"]);
    assert_eq!(rig.end().await, (0, 0, [0, 0, 1]));
}

/// A server may ask for a minute, and a batch may fail for days.
#[tokio::test(start_paused = true)]
async fn a_reload_acts_between_two_attempts_and_ends_the_pause() {
    let error = DeliveryError::new(FailureReason::Auth, "no").with_retry_after(Some(LONGEST_PAUSE));
    let busy = || Step::Fail(SinkError::Transient(error.clone()));
    let rig = rig(vec![busy(), busy()], AT_ONCE);
    rig.offer(&["a"]);
    pass(5000).await;
    rig.queue.reload();
    pass(1).await;
    assert_eq!(rig.batches(), ["a", "reload", "a"], "at once, and once");
    assert_eq!(rig.times(), [0, 5000, 5000]);
    pass(50_000).await;
    assert_eq!(rig.batches().len(), 3, "then the pause is kept");
    pass(20_000).await;
    assert_eq!(rig.batches(), ["a", "reload", "a", "a"]);
    assert_eq!(rig.end().await, (1, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_reload_during_an_attempt_comes_before_the_next_one() {
    let rig = rig(vec![Step::Slow], AT_ONCE);
    rig.offer(&["a"]);
    pass(1).await;
    rig.queue.reload();
    pass(10_000).await;
    assert_eq!(rig.batches(), ["a", "reload", "a"]);
    assert_eq!(rig.times(), [0, 10_000, 10_000]);
    assert_eq!(rig.end().await, (1, 0, [0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_reload_reaches_an_idle_sink() {
    let rig = rig(vec![], BATCH);
    pass(20).await;
    rig.queue.reload();
    pass(20).await;
    assert_eq!(*rig.seen.lock().unwrap(), [(20, "reload".to_owned())]);
    rig.end().await;
}

/// A replay loses nothing: its thread waits for a slow target.
#[tokio::test]
async fn a_producer_that_may_wait_loses_nothing() {
    let queue = Arc::new(SinkQueue::new("fake", QueueLimits { records: 2, bytes: 1 << 20 }, WhenFull::Wait));
    let producer = Arc::clone(&queue);
    let thread = std::thread::spawn(move || {
        (0..100).for_each(|_| producer.offer(piece(&["a", "b", "c", "d", "e"])));
        producer.close();
    });
    let mut records = 0;
    while let WorkerTask::Deliver(mut flight) = queue.next(&AT_ONCE, &mut 0).await {
        assert!(flight.batch().records() <= 2);
        assert_balanced(&queue.counts());
        records += flight.batch().records();
        flight.settle(Batch::default(), &Batch::default());
    }
    thread.join().unwrap();
    assert_eq!((records, queue.counts().ledger.delivered), (500, 500));
}

/// And a shutdown frees a producer that waits.
#[test]
fn a_close_frees_a_producer_that_waits() {
    let queue = Arc::new(SinkQueue::new("fake", QueueLimits { records: 1, bytes: 1 << 20 }, WhenFull::Wait));
    let producer = Arc::clone(&queue);
    let thread = std::thread::spawn(move || producer.offer(piece(&["a", "b"])));
    while queue.counts().ledger.queued == 0 {
        std::thread::yield_now();
    }
    queue.close();
    thread.join().unwrap();
    let counts = queue.counts();
    assert_eq!((counts.ledger.queued, counts.dropped), (1, [0, 0, 1, 0, 0]));
}

#[test]
fn backoff_has_full_jitter_under_a_bound_that_doubles_up_to_the_most() {
    let backoff = RetryBackoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
    let bounds = [0, 1, 2, 3, 4, 31, u32::MAX].map(|attempt| {
        (0..20_000u64).map(|n| backoff.wait(attempt, n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).max().unwrap()
    });
    for (bound, most) in bounds.iter().zip([100, 200, 400, 800, 1000, 1000, 1000]) {
        let most = Duration::from_millis(most);
        assert!(*bound <= most && *bound > most.mul_f64(0.99), "{bound:?} of {most:?}");
    }
    assert_eq!(backoff.wait(9, 0), Duration::ZERO);
    let none = RetryBackoff { first: Duration::ZERO, most: Duration::ZERO };
    assert_eq!(none.wait(3, u64::MAX), Duration::ZERO);
}
