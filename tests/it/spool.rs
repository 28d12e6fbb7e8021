//! The spool in processes that are killed, and on disks that are full or read-only.
//!
//! What damage to it costs is in `damage`. A child is this very test binary, which learns from its environment what to be: kill -9 must hit a whole process.

mod damage;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use podtap::sink::spool::{Fsync, SpoolMode, SpoolOptions};
use podtap::sink::{
    Batch, BlockPiece, Delivery, DropReason, QueueLimits, RetryBackoff, Sink, SinkCounts, SinkError, SinkHandle,
    SinkOptions, UndeliveredPolicy, spawn_all,
};

use super::compliance::line::{self, LineSink};
use super::compliance::servers::{self, Stored};
use super::feed::{self, BATCH, BUSY, finish, id, json_line, now};
use super::servers::Scratch;
use super::small_disk::{mount, on_a_small_disk};

const OPTIONS: SinkOptions = SinkOptions {
    queue: QueueLimits { records: 2000, bytes: 1 << 20 },
    backoff: RetryBackoff { first: Duration::from_millis(1), most: Duration::from_millis(5) },
    ..feed::OPTIONS
};
/// No one listens there.
const NOBODY: &str = "127.0.0.1:1";

fn start(directory: &Path, address: &str) -> SinkHandle {
    start_with(directory, LineSink::new(address))
}

fn start_with(directory: &Path, sink: impl Sink) -> SinkHandle {
    start_in(directory, SpoolMode::Overflow, sink)
}

fn start_in(directory: &Path, mode: SpoolMode, sink: impl Sink) -> SinkHandle {
    let directory = directory.to_owned();
    let spool = SpoolOptions { directory, max_bytes: 64 << 20, mode, fsync: Fsync::None, encoding: "test".into() };
    let undelivered = UndeliveredPolicy { spool: Some(spool), dead_letters: None };
    spawn_all("line", vec![sink], OPTIONS, undelivered).unwrap()
}

fn piece(numbers: std::ops::Range<usize>) -> BlockPiece {
    feed::piece(numbers, json_line)
}

fn watch(sink: &SinkHandle, done: impl Fn(&SinkCounts) -> bool) -> SinkCounts {
    feed::watch("spool", sink, done)
}

fn child(role: &str, directory: &Path, argument: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::a_child_that_is_killed", "--ignored", "--nocapture"])
        .envs([("PODTAP_ROLE", role), ("PODTAP_ARGUMENT", argument)])
        .env("PODTAP_DIRECTORY", directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "not a test: the process that other tests start and kill"]
fn a_child_that_is_killed() {
    let of = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    let directory = of("PODTAP_DIRECTORY");
    // On one processor libtest has begun a line with the name of the test.
    println!();
    match of("PODTAP_ROLE").as_str() {
        "fill" => fill(Path::new(&directory), of("PODTAP_ARGUMENT").parse().unwrap()),
        "keep" => keep(Path::new(&directory), &of("PODTAP_ARGUMENT")),
        "deliver" => deliver_until_killed(Path::new(&directory), &of("PODTAP_ARGUMENT")),
        "overflow" => overflow(Path::new(&directory)),
        _ => {}
    }
}

/// Offers records from `first` on to no one, and prints how many of them are on disk.
fn fill(directory: &Path, first: usize) {
    let sink = start(directory, NOBODY);
    // The first run's batch in flight is from memory; a later run's from disk.
    let in_memory = if first == 0 { BATCH } else { 0 };
    sink.offer(piece(first..first + in_memory));
    let recovered = watch(&sink, |counts| counts.ledger.in_flight > 0).ledger.recovered as usize;
    let mut next = first + in_memory;
    loop {
        sink.offer(piece(next..next + 20));
        next += 20;
        let counts = watch(&sink, |counts| counts.ledger.queued < 1500).ledger;
        assert_eq!(counts.dropped, 0);
        let on_disk = (counts.spooled + counts.in_flight) as usize - in_memory - recovered;
        println!("on disk {on_disk}");
    }
}

/// Starts a child that fills, kills it after `lines` lines; how many records it said were on disk.
fn fill_and_kill(directory: &Path, first: usize, lines: usize) -> usize {
    kill_after(child("fill", directory, &first.to_string()), lines)
}

/// What it said last before it was killed, after this many lines.
fn kill_after(mut child: Child, lines: usize) -> usize {
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let numbers = said.filter_map(|line| line.strip_prefix("on disk ").and_then(|n| n.parse::<usize>().ok()));
    let mut numbers = numbers.skip(lines);
    let mut on_disk = numbers.next().unwrap();
    child.kill().unwrap();
    // What it said before the signal reached it.
    on_disk = numbers.last().unwrap_or(on_disk);
    child.wait().unwrap();
    on_disk
}

/// Offers records, and prints how many of them a kill cannot cost any more. The argument is the mode, the address, and the
/// first record's number.
fn keep(directory: &Path, argument: &str) {
    let mut parts = argument.split(' ');
    let mode = if parts.next() == Some("always") { SpoolMode::Always } else { SpoolMode::Failing };
    let sink = start_in(directory, mode, LineSink::new(parts.next().unwrap()));
    let first: usize = parts.next().unwrap().parse().unwrap();
    let mut next = first;
    loop {
        sink.offer(piece(next..next + 20));
        next += 20;
        let is_kept = |counts: &SinkCounts| mode == SpoolMode::Always || counts.failed_attempts() > 0;
        watch(&sink, |counts| counts.ledger.queued == 0 && is_kept(counts));
        println!("on disk {}", next - first);
    }
}

/// Three lives that end with kill -9; of each, the number of its first record and how many were safe.
fn three_kills(directory: &Path, mode: &str, address: &str) -> Vec<(usize, usize)> {
    let lives = [(0, 10), (100_000, 25), (200_000, 40)];
    let life = |(first, lines): (usize, usize)| {
        let child = child("keep", directory, &format!("{mode} {address} {first}"));
        (first, kill_after(child, lines))
    };
    lives.map(life).to_vec()
}

fn expect_all(got: Vec<String>, lives: Vec<(usize, usize)>) {
    let arrived: std::collections::BTreeSet<String> = got.into_iter().collect();
    for (first, safe) in lives {
        assert!(safe > 100);
        let lost: Vec<_> = (first..first + safe).map(id).filter(|id| !arrived.contains(id)).collect();
        assert_eq!(lost, Vec::<String>::new(), "of {safe}");
    }
}

#[test]
fn three_kills_while_the_server_is_down_cost_only_what_has_just_come_in() {
    let dir = Scratch::new("spool");
    let lives = three_kills(&dir.0, "failing", NOBODY);
    expect_all(deliver_rest(&dir.0), lives);
}

#[test]
fn with_always_three_kills_while_the_server_is_up_cost_only_what_has_just_come_in() {
    let dir = Scratch::new("spool");
    let (address, stored) = server();
    let lives = three_kills(&dir.0, "always", &address);
    let sink = start(&dir.0, &address);
    watch(&sink, |counts| counts.ledger.delivered == counts.ledger.offered && counts.ledger.spooled == 0);
    // The scan of the spool is over when its thread has ended.
    finish(sink, Duration::from_secs(5));
    let got = stored.lock().unwrap().ids.clone();
    expect_all(got, lives);
}

fn server() -> (String, Stored) {
    let stored = Stored::default();
    (servers::start(Stored::clone(&stored), line::serve).to_string(), stored)
}

/// Delivers what is in the spool; returns it.
fn deliver_rest(directory: &Path) -> Vec<String> {
    let (address, got) = server();
    let sink = start(directory, &address);
    let counts = watch(&sink, |counts| counts.ledger.recovered > 0 && counts.ledger.delivered == counts.ledger.offered);
    assert_eq!(counts.ledger.dropped, 0);
    finish(sink, Duration::from_secs(5));
    let got = got.lock().unwrap().ids.clone();
    assert_eq!(got.len() as u64, counts.ledger.delivered);
    got
}

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_spooled() {
    for lines in [100, 173, 250, 401, 999] {
        let dir = Scratch::new("spool");
        let said = fill_and_kill(&dir.0, 0, lines);
        assert!(said > 0);
        // The second run begins with the first one's records; its batch in flight is from disk.
        let again = fill_and_kill(&dir.0, 500_000, 150 + lines);
        let got = deliver_rest(&dir.0);
        let (first, second): (Vec<_>, Vec<_>) = got.into_iter().partition(|id| id.as_str() < "id-500000");
        assert!(first.len() >= said && second.len() >= again, "{} of {said}, {} of {again}", first.len(), second.len());
        assert!(first.into_iter().enumerate().all(|(n, got)| got == id(BATCH + n)), "in order, without a hole");
        assert!(second.into_iter().enumerate().all(|(n, got)| got == id(500_000 + n)), "in order, without a hole");
    }
}

fn deliver_until_killed(directory: &Path, address: &str) {
    let sink = start(directory, address);
    loop {
        watch(&sink, |counts| counts.ledger.in_flight > 0);
        std::thread::yield_now();
    }
}

#[test]
fn kill_9_while_it_delivers_from_disk_sends_at_most_one_batch_twice() {
    let dir = Scratch::new("spool");
    let said = fill_and_kill(&dir.0, 0, 500);
    let (address, got) = server();
    for stop in [1, 777, 2500] {
        let mut child = child("deliver", &dir.0, &address);
        while got.lock().unwrap().ids.len() < stop {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut all = got.lock().unwrap().ids.clone();
    if all.len() < said {
        all.extend(deliver_rest(&dir.0));
    }
    let mut times = BTreeMap::new();
    all.iter().for_each(|id| *times.entry(id.clone()).or_insert(0) += 1);
    assert!(times.len() >= said && times.into_keys().enumerate().all(|(n, got)| got == id(BATCH + n)));
    assert!(all.len() <= said + 2000 + 3 * BATCH);
    let twice = all.len() - all.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(twice <= 3 * BATCH, "{twice} twice after three kills");
}

/// A sink with a bug.
struct Breaks;

impl Sink for Breaks {
    async fn deliver(&mut self, _: &Batch) -> Result<Delivery, SinkError> {
        panic!("a bug in a sink")
    }
}

#[test]
fn a_sink_that_breaks_down_leaves_its_records_in_the_spool() {
    let dir = Scratch::new("spool");
    let sink = start_with(&dir.0, Breaks);
    sink.offer(piece(0..120));
    watch(&sink, |_| sink.has_ended());
    let counts = finish(sink, Duration::from_secs(5));
    assert_eq!((counts.ledger.spooled, counts.ledger.dropped), (120, 0));
    assert!(deliver_rest(&dir.0).into_iter().eq((0..120).map(id)), "what it broke on comes first");
}

/// A sink that blocks its thread: a pipe that no one reads.
struct Blocks(std::sync::mpsc::Receiver<()>);

impl Sink for Blocks {
    async fn deliver(&mut self, _: &Batch) -> Result<Delivery, SinkError> {
        let _ = self.0.recv();
        Ok(Delivery::default())
    }
}

#[test]
fn a_sink_that_blocks_its_thread_holds_up_neither_the_spool_nor_the_end() {
    let dir = Scratch::new("spool");
    let (release, blocked) = std::sync::mpsc::sync_channel(1);
    let sink = start_with(&dir.0, Blocks(blocked));
    sink.offer(piece(0..50));
    watch(&sink, |counts| counts.ledger.in_flight == 50);
    sink.offer(piece(50..1500));
    watch(&sink, |counts| counts.ledger.spooled > 0);
    let start = now();
    let counts = finish(sink, Duration::from_millis(200));
    assert!(start.elapsed() < BUSY);
    assert_eq!((counts.ledger.spooled, counts.dropped[DropReason::Shutdown as usize]), (1450, 50));
    drop(release);
    assert!(deliver_rest(&dir.0).into_iter().eq((50..1500).map(id)));
}

#[test]
fn a_full_disk_holds_what_it_took_and_the_rest_goes_on_in_memory() {
    on_a_small_disk(|disk| {
        let sink = start(disk, NOBODY);
        // The disk takes some four thousand.
        for n in 0..9000 {
            sink.offer(piece(n..n + 1));
            if n % 100 == 0 {
                // So that the disk is what is too slow, not the thread that writes.
                watch(&sink, |counts| counts.ledger.queued < 1500 || counts.ledger.spooled > 1500);
            }
        }
        let counts = watch(&sink, |counts| counts.ledger.queued == 2000);
        assert!(counts.dropped[DropReason::QueueFull as usize] > 0 && counts.ledger.spooled > 1000, "{counts:?}");
        let counts = finish(sink, Duration::from_millis(400));
        assert!(counts.dropped[DropReason::Shutdown as usize] > 0, "no room for memory's either");
        let left = counts.ledger.spooled;
        assert!(left > 1000);
        let got = deliver_rest(disk);
        assert_eq!(got.len() as u64, left);
        assert!(got.is_sorted(), "oldest first");
    });
}

#[test]
fn on_a_read_only_disk_it_goes_on_in_memory_and_leaves_what_is_there() {
    on_a_small_disk(|disk| {
        let sink = start(disk, NOBODY);
        (0..300).for_each(|n| sink.offer(piece(n..n + 1)));
        assert_eq!(finish(sink, Duration::from_millis(100)).ledger.spooled, 300);
        mount(disk, libc::MS_REMOUNT | libc::MS_RDONLY).unwrap();
        let sink = start(disk, NOBODY);
        (300..2300).for_each(|n| sink.offer(piece(n..n + 1)));
        let counts = watch(&sink, |counts| counts.ledger.offered == 2000 && counts.failed_attempts() > 0);
        assert_eq!((counts.ledger.spooled, counts.ledger.dropped), (0, 0));
        let counts = finish(sink, Duration::from_millis(100));
        assert_eq!(counts.dropped[DropReason::Shutdown as usize], 2000);
        mount(disk, libc::MS_REMOUNT).unwrap();
        assert!(deliver_rest(disk).into_iter().eq((0..300).map(id)));
    });
}

/// 180 MB to no one, through a queue of 4 MiB and a spool of 64 MiB.
fn overflow(directory: &Path) {
    let spool = SpoolOptions {
        directory: directory.to_owned(),
        max_bytes: 64 << 20,
        mode: SpoolMode::Overflow,
        fsync: Fsync::Segment,
        encoding: "test".into(),
    };
    let undelivered = UndeliveredPolicy { spool: Some(spool), dead_letters: None };
    let options = SinkOptions { queue: QueueLimits { records: 100_000, bytes: 4 << 20 }, ..OPTIONS };
    let sink = spawn_all("line", vec![LineSink::new(NOBODY)], options, undelivered).unwrap();
    let (start_of_writing, mut most) = (now(), 0);
    for n in (0..1_300_000).step_by(1000) {
        sink.offer(piece(n..n + 1000));
        watch(&sink, |counts| counts.queued_bytes < 3 << 20);
        most = most.max(own_memory());
    }
    let counts = sink.counts();
    assert!(counts.dropped[DropReason::SpoolFull as usize] > 0 && counts.spooled_bytes <= 64 << 20);
    println!("most {most}");
    println!("wrote in {:?}", start_of_writing.elapsed());
    let start_of_end = now();
    let counts = finish(sink, Duration::from_secs(1));
    assert_eq!(counts.ledger.imbalance(), None);
    println!("ended in {:?}, spooled {}", start_of_end.elapsed(), counts.ledger.spooled);
    let start_of_scan = now();
    let sink = start(directory, NOBODY);
    let again = watch(&sink, |counts| counts.ledger.recovered > 0);
    println!("found again in {:?}", start_of_scan.elapsed());
    assert_eq!(again.ledger.recovered, counts.ledger.spooled);
}

/// In kB. Not the pages of the program's file: those of this test binary are many, and the kernel takes them back.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    anonymous.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_target_that_is_down_for_good_costs_no_more_memory_than_the_queue_and_4_mb() {
    let dir = Scratch::new("spool");
    let output = child("overflow", &dir.0, "").wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let most: u64 = text.lines().find_map(|line| line.strip_prefix("most ")).expect(&text).parse().unwrap();
    println!("{text}");
    assert!(most < (4 + 4) << 10, "{most} kB");
    assert!(output.status.success());
}
