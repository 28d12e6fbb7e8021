mod damage;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::flow::Timestamp;
use crate::record::Dataset;
use crate::sink::batch::{BatchLimits, BlockPiece, RecordBlock};

/// A directory of this test's own, gone at its end.
pub(in crate::sink) struct Dir(pub(in crate::sink) PathBuf);

impl Dir {
    pub(in crate::sink) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("podtap-spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(in crate::sink) fn options(&self) -> SpoolOptions {
        let directory = self.0.clone();
        SpoolOptions {
            directory,
            max_bytes: 64 << 20,
            mode: SpoolMode::Overflow,
            fsync: Fsync::None,
            encoding: "ecs".into(),
        }
    }

    fn open(&self) -> (Spool, OpenedSpool) {
        Spool::open(self.options(), "fake").unwrap()
    }

    /// The segment files, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let directory = self.0.join("fake");
        segment::list(&directory).unwrap().into_iter().map(|number| segment::path(&directory, number)).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Records whose ids and bodies are these numbers, the bodies padded to `size`.
fn sized(numbers: impl IntoIterator<Item = usize>, size: usize) -> Batch {
    let mut block = RecordBlock::default();
    for n in numbers {
        block.push(Dataset::Http, |out| {
            out.extend_from_slice(format!("{n:0size$}").as_bytes());
            (compact_str::format_compact!("{n}"), Timestamp(n as i64))
        });
    }
    let mut batch = Batch::default();
    batch.push(BlockPiece::whole(Arc::new(block)));
    batch
}

fn numbered(numbers: impl IntoIterator<Item = usize>) -> Batch {
    sized(numbers, 1)
}

fn numbers(batch: &Batch) -> Vec<usize> {
    let check = |item: crate::sink::batch::BatchItem<'_>| {
        let n: usize = item.id.parse().unwrap();
        assert_eq!((std::str::from_utf8(item.body).unwrap().parse(), item.at), (Ok(n), Timestamp(n as i64)));
        n
    };
    batch.iter().map(check).collect()
}

const NONE: PerDataset = PerDataset::ZERO;

fn http(n: u64) -> PerDataset {
    PerDataset::of(Dataset::Http, n)
}

const THREE: BatchLimits = BatchLimits { records: 3, bytes: 1 << 20, age: Duration::ZERO };
const ALL: BatchLimits = BatchLimits { records: usize::MAX, bytes: usize::MAX, age: Duration::ZERO };

fn put(spool: &mut Spool, batch: &Batch) {
    let appended = spool.append(batch);
    assert!(appended.error.is_none() && appended.room == SpoolRoom::default());
    assert_eq!(appended.records, batch.records());
}

/// Everything that is left, settled as it comes; what could not be read.
fn drain(spool: &mut Spool) -> (Vec<usize>, u64) {
    let (mut out, mut lost) = (Vec::new(), 0);
    loop {
        let (taken, unreadable) = spool.take(&ALL, 1);
        lost += unreadable.total();
        match taken {
            TakenRecords::Batch(batch, ticket) => {
                out.extend(numbers(&batch));
                spool.settle(ticket);
            }
            TakenRecords::Nothing => return (out, lost),
            TakenRecords::Wait => panic!("nothing is outstanding"),
        }
    }
}

#[test]
fn what_was_stored_comes_back_in_order_and_leaves_no_file_behind() {
    let dir = Dir::new();
    let (mut spool, opened) = dir.open();
    assert_eq!(opened, OpenedSpool::default());
    put(&mut spool, &numbered(0..5));
    put(&mut spool, &numbered(5..7));
    drop(spool);
    let (mut spool, opened) = dir.open();
    assert_eq!(opened, OpenedSpool { records: http(7), ..OpenedSpool::default() });
    put(&mut spool, &numbered(7..9));
    assert_eq!(drain(&mut spool), ((0..9).collect(), 0));
    assert_eq!((dir.segments().len(), spool.bytes()), (0, 0));
}

#[test]
fn only_its_owner_may_read_it() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..1));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.0.join("fake")), 0o700);
    for name in ["lock", "cursor", "index"] {
        assert_eq!(mode(&dir.0.join("fake").join(name)), 0o600);
    }
    assert_eq!(mode(&dir.segments()[0]), 0o600);
}

#[test]
fn a_restart_goes_on_behind_what_was_settled() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..10));
    for expected in [0..3, 3..6] {
        let (TakenRecords::Batch(batch, ticket), NONE) = spool.take(&THREE, 1) else { panic!() };
        assert_eq!(numbers(&batch), expected.collect::<Vec<_>>());
        spool.settle(ticket);
    }
    // In flight, and never settled.
    assert!(matches!(spool.take(&THREE, 1), (TakenRecords::Batch(..), NONE)));
    assert!(matches!(spool.take(&THREE, 1), (TakenRecords::Wait, NONE)), "the bound of what may go out twice");
    drop(spool);
    let (mut spool, opened) = dir.open();
    assert_eq!(opened.records.total(), 4);
    assert_eq!(drain(&mut spool).0, [6, 7, 8, 9]);
}

#[test]
fn batches_settled_out_of_order_are_only_forgotten_up_to_the_first_that_is_not() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..12));
    let mut tickets = Vec::new();
    for _ in 0..3 {
        let (TakenRecords::Batch(_, ticket), NONE) = spool.take(&THREE, 3) else { panic!() };
        tickets.push(ticket);
    }
    spool.settle(tickets[0]);
    spool.settle(tickets[2]);
    drop(spool);
    let (mut spool, opened) = dir.open();
    assert_eq!((opened.records.total(), drain(&mut spool).0), (9, (3..12).collect()));
}

#[test]
fn what_was_in_flight_at_the_end_goes_before_what_is_newer() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(3..6));
    assert_eq!(spool.put_first(&numbered(0..3)).records, 3);
    spool.close();
    drop(spool);
    let (mut spool, _) = dir.open();
    assert!(matches!(spool.take(&THREE, 2), (TakenRecords::Batch(..), NONE)));
    assert_eq!(spool.put_first(&numbered(100..101)).records, 1);
    drop(spool);
    assert_eq!(drain(&mut dir.open().0).0, [100, 0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_oldest_segments_make_room_exactly_counted_and_the_bound_is_kept() {
    let dir = Dir::new();
    let options = SpoolOptions { max_bytes: 300 << 10, ..dir.options() };
    let (mut spool, _) = Spool::open(options, "fake").unwrap();
    let mut dropped = 0;
    for n in 0..1000 {
        let appended = spool.append(&sized([n], 1000));
        assert!(appended.error.is_none());
        dropped += appended.room.dropped.total() as usize;
        let on_disk: u64 = dir.segments().iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(on_disk <= 300 << 10 && on_disk == spool.bytes());
    }
    assert!(dropped > 600);
    assert_eq!(drain(&mut spool), ((dropped..1000).collect(), 0));
}

#[test]
fn a_segment_under_delivery_does_not_make_room_and_where_nothing_can_it_is_an_error() {
    let dir = Dir::new();
    let options = SpoolOptions { max_bytes: 64 << 10, ..dir.options() };
    let (mut spool, _) = Spool::open(options, "fake").unwrap();
    put(&mut spool, &sized(0..50, 1000));
    assert!(matches!(spool.take(&THREE, 1), (TakenRecords::Batch(..), NONE)));
    let appended = spool.append(&sized(50..70, 1000));
    assert!(appended.error.is_some() && appended.records == 0);
    assert_eq!(appended.room, SpoolRoom::default());
    put(&mut spool, &sized(70..75, 1000));
}

#[test]
fn another_encoding_is_left_alone_until_it_is_back_or_room_is_needed() {
    let dir = Dir::new();
    put(&mut dir.open().0, &sized(0..50, 1000));
    let classic = SpoolOptions { encoding: "classic".into(), max_bytes: 64 << 10, ..dir.options() };
    let (mut spool, opened) = Spool::open(classic.clone(), "fake").unwrap();
    assert_eq!(opened, OpenedSpool { foreign: 50, ..OpenedSpool::default() });
    put(&mut spool, &numbered(50..52));
    assert_eq!(drain(&mut spool), (vec![50, 51], 0));
    drop(spool);
    assert_eq!(dir.open().1.records.total(), 50);
    let (mut spool, _) = Spool::open(classic, "fake").unwrap();
    let appended = spool.append(&sized(52..82, 1000));
    assert_eq!((appended.records, appended.room), (30, SpoolRoom { dropped: NONE, foreign: http(50) }));
}

#[test]
fn a_segment_of_another_version_stays_and_one_without_any_header_is_counted() {
    for index in [true, false] {
        of_other_versions(index);
    }
}

/// In records where the index says how many there were, else in bytes.
fn of_other_versions(index: bool) {
    let dir = Dir::new();
    for n in 0..3 {
        let (mut spool, _) = dir.open();
        put(&mut spool, &numbered(n..n + 1));
    }
    let segments = dir.segments();
    let overwrite = |path: &Path, range: std::ops::Range<usize>, with: u8| {
        let mut bytes = fs::read(path).unwrap();
        bytes[range].fill(with);
        fs::write(path, &bytes).unwrap();
        bytes.len() as u64
    };
    let damaged = overwrite(&segments[0], 0..layout::HEADER, 0);
    for copy in [0, layout::HEADER / 2] {
        overwrite(&segments[1], copy + 7..copy + 8, b'9');
    }
    if !index {
        fs::remove_file(dir.0.join("fake/index")).unwrap();
    }
    let (mut spool, opened) = dir.open();
    let (lost, unknown_bytes) = if index { (1, 0) } else { (0, damaged) };
    assert_eq!(
        opened,
        OpenedSpool { records: http(1), damaged_bytes: damaged, lost, unknown_bytes, ..OpenedSpool::default() }
    );
    assert_eq!(drain(&mut spool), (vec![2], 0));
    assert_eq!(dir.segments(), [segments[1].clone()]);
}

#[test]
fn records_damaged_while_they_wait_are_counted_when_they_are_read() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..10));
    let path = &dir.segments()[0];
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    fs::write(path, &bytes).unwrap();
    assert_eq!(drain(&mut spool), ((0..9).collect(), 1), "also the last, whose ordinal nothing follows");
    put(&mut spool, &numbered(10..12));
    fs::remove_file(&dir.segments()[0]).unwrap();
    assert_eq!(drain(&mut spool), (vec![], 2), "a segment that somebody removed");
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn a_second_process_and_a_place_that_is_no_directory_are_refused() {
    let dir = Dir::new();
    let first = dir.open();
    assert!(matches!(Spool::open(dir.options(), "fake"), Err(NoSpool::Taken)));
    assert!(Spool::open(dir.options(), "other").is_ok());
    drop(first);
    assert!(Spool::open(dir.options(), "fake").is_ok());
    fs::write(dir.0.join("file"), "x").unwrap();
    assert!(matches!(Spool::open(dir.options(), "file"), Err(NoSpool::Io(_))));
}

#[test]
fn files_of_others_in_the_directory_are_not_touched() {
    let dir = Dir::new();
    fs::create_dir(dir.0.join("fake")).unwrap();
    for name in ["notes.txt", "1.seg", "0000000000000000000x.seg", "00000000000000000001.seg.bak"] {
        fs::write(dir.0.join("fake").join(name), "x").unwrap();
    }
    let (mut spool, opened) = dir.open();
    assert_eq!((opened, drain(&mut spool).0.len()), (OpenedSpool::default(), 0));
    assert_eq!(fs::read_dir(dir.0.join("fake")).unwrap().count(), 6, "with lock and cursor");
}

#[test]
fn every_fsync_policy_stores_the_same() {
    for fsync in [Fsync::None, Fsync::Segment, Fsync::Batch] {
        let dir = Dir::new();
        let options = SpoolOptions { fsync, max_bytes: 1 << 20, ..dir.options() };
        let (mut spool, _) = Spool::open(options, "fake").unwrap();
        (0..4).for_each(|n| put(&mut spool, &sized(n * 50..(n + 1) * 50, 1000)));
        spool.close();
        drop(spool);
        assert_eq!(dir.segments().len(), 4);
        assert_eq!(drain(&mut dir.open().0).0, (0..200).collect::<Vec<_>>());
    }
}

/// Written by podtap 0.1.0: four exchanges and three ledger records for each of two servers.
fn of_v1(dir: &Dir, sink: &str) -> Vec<PathBuf> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spool_v1").join(sink);
    let to = dir.0.join("fake");
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    dir.segments()
}

#[test]
fn segments_of_the_last_release_are_delivered_in_order_with_what_each_record_is() {
    for (sink, encoding) in [("fluentd", "ecs/msgpack"), ("logstash", "ecs")] {
        let dir = Dir::new();
        of_v1(&dir, sink);
        let options = SpoolOptions { encoding: encoding.into(), ..dir.options() };
        let (mut spool, opened) = Spool::open(options.clone(), "fake").unwrap();
        let mut expected = http(4);
        expected.add(Dataset::Ledger, 3);
        assert_eq!(opened, OpenedSpool { records: expected, ..OpenedSpool::default() });
        put(&mut spool, &numbered(0..2));
        let (TakenRecords::Batch(first, ticket), NONE) = spool.take(&THREE, 1) else { panic!() };
        spool.settle(ticket);
        drop(spool);
        let (mut spool, opened) = Spool::open(options, "fake").unwrap();
        assert_eq!((opened.records.total(), opened.lost, opened.unknown_bytes), (9 - first.records() as u64, 0, 0));
        let mut ids: Vec<String> = first.iter().map(|item| item.id.to_owned()).collect();
        while let (TakenRecords::Batch(batch, ticket), NONE) = spool.take(&ALL, 1) {
            ids.extend(batch.iter().map(|item| item.id.to_owned()));
            spool.settle(ticket);
        }
        assert_eq!((ids.len(), &ids[7..]), (9, &["0".to_owned(), "1".to_owned()][..]));
        assert!(ids[4..7].iter().all(|id| id.contains(".ledger.1")) && ids[0] != ids[1], "{ids:?}");
        assert!(dir.segments().is_empty());
    }
}

#[test]
fn of_a_segment_of_the_last_release_a_damaged_end_is_counted_in_bytes_and_a_torn_one_is_none() {
    let dir = Dir::new();
    let options = SpoolOptions { encoding: "ecs".into(), ..dir.options() };
    let path = of_v1(&dir, "logstash").pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut last = bytes.clone();
    *last.last_mut().unwrap() ^= 1;
    for (bytes, unknown) in [(&bytes[..bytes.len() - 10], false), (&last, true)] {
        fs::write(&path, bytes).unwrap();
        let (spool, opened) = Spool::open(options.clone(), "fake").unwrap();
        assert_eq!((opened.records.total(), opened.unknown_bytes > 0), (6, unknown));
        drop(spool);
        fs::remove_file(dir.0.join("fake/index")).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Take,
    /// The n-th of those outstanding.
    Settle(usize),
    /// kill -9 and a new start.
    Kill,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (1usize..8).prop_map(Op::Append),
        4 => Just(Op::Take),
        4 => (0usize..3).prop_map(Op::Settle),
        1 => Just(Op::Kill),
    ];
    proptest::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_nothing_is_lost_and_at_most_one_batch_for_each_reader_comes_twice(
        ops in ops(), readers in 1usize..4
    ) {
        let dir = Dir::new();
        let (mut spool, _) = dir.open();
        let (mut stored, mut settled) = (0, BTreeSet::new());
        let mut outstanding: Vec<(Ticket, Vec<usize>)> = Vec::new();
        let mut next = 0;
        for op in ops {
            match op {
                Op::Append(n) => {
                    put(&mut spool, &numbered(stored..stored + n));
                    stored += n;
                }
                Op::Take => if let (TakenRecords::Batch(batch, ticket), NONE) = spool.take(&THREE, readers) {
                    let got = numbers(&batch);
                    prop_assert_eq!(&got, &(next..next + got.len()).collect::<Vec<_>>());
                    next += got.len();
                    outstanding.push((ticket, got));
                },
                Op::Settle(n) if n < outstanding.len() => {
                    let (ticket, got) = outstanding.remove(n);
                    spool.settle(ticket);
                    settled.extend(got);
                }
                Op::Settle(_) => {}
                Op::Kill => {
                    drop(spool);
                    outstanding.clear();
                    let (again, opened) = dir.open();
                    spool = again;
                    next = stored - opened.records.total() as usize;
                    prop_assert!((0..next).all(|n| settled.contains(&n)), "lost before {}", next);
                    let twice = settled.iter().filter(|n| **n >= next).count();
                    prop_assert!(twice <= THREE.records * (readers - 1), "{} twice", twice);
                    // They go out again; another kill is another life's.
                    settled.retain(|n| *n < next);
                }
            }
        }
        drop(spool);
        let left = drain(&mut dir.open().0).0;
        settled.extend(left);
        prop_assert_eq!(settled, (0..stored).collect());
    }
}
