//! Every kind of damage to a spool on disk: what still arrives, what is counted as lost, and what the closing lines say of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use podtap::sink::spool::layout::survey;

use super::*;
use podtap::metrics::closing_lines;

const RECORDS: usize = 1500;
/// Bytes of a header, and of a footer.
const HEADER: usize = 128;
const FOOTER: usize = 64;

/// What is to be known of a loss.
#[derive(Clone, Copy)]
enum Known {
    /// This many records.
    Records(usize),
    /// All records of the segment.
    Segment,
    /// That it is not known how many.
    Unknown,
}
use Known::{Records, Segment, Unknown};

/// What somebody does to a segment's file.
type Damage = fn(&Path);

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, range: impl FnOnce(usize) -> std::ops::Range<usize>) {
    change(path, |bytes| {
        let range = range(bytes.len());
        bytes[range].iter_mut().for_each(|byte| *byte ^= 0x5a);
    });
}

fn cut(path: &Path, length: impl FnOnce(usize) -> usize) {
    change(path, |bytes| bytes.truncate(length(bytes.len())));
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}

/// In a segment that is complete.
const CASES: &[(&str, Damage, Known)] = &[
    ("none", |_| {}, Records(0)),
    ("the header's first byte", |path| flip(path, |_| 0..1), Records(0)),
    ("the header's number of records", |path| flip(path, |_| 12..13), Records(0)),
    ("the header's first copy", |path| flip(path, |_| 0..HEADER / 2), Records(0)),
    ("the whole header", |path| flip(path, |_| 0..HEADER), Records(0)),
    ("a record's marker", |path| flip(path, |_| HEADER..HEADER + 1), Records(1)),
    ("a record's length", |path| flip(path, |_| HEADER + 4..HEADER + 5), Records(1)),
    ("a record's ordinal", |path| flip(path, |_| HEADER + 8..HEADER + 9), Records(1)),
    ("a record's body", |path| flip(path, |_| 200..201), Records(1)),
    ("the last record", |path| flip(path, |len| len - FOOTER - 1..len - FOOTER), Records(1)),
    ("the footer", |path| flip(path, |len| len - FOOTER..len), Records(0)),
    ("no footer", |path| cut(path, |len| len - FOOTER), Records(0)),
    ("the last record and the footer", |path| flip(path, |len| len - FOOTER - 1..len), Records(1)),
    ("every record", |path| flip(path, |len| HEADER..len - FOOTER), Segment),
    ("header and footer", |path| (flip(path, |_| 0..HEADER), flip(path, |len| len - FOOTER..len)).0, Segment),
    ("everything", |path| change(path, |bytes| bytes.fill(0)), Segment),
    ("cut in its last record", |path| cut(path, |len| len - FOOTER - 1), Records(1)),
    ("cut behind its header", |path| cut(path, |_| HEADER), Segment),
    ("cut in its header", |path| cut(path, |_| 70), Segment),
    ("empty", |path| cut(path, |_| 0), Segment),
    ("deleted", |path| fs::remove_file(path).unwrap(), Segment),
    ("renamed", |path| fs::rename(path, beside(path, "old")).unwrap(), Segment),
    ("another file in its place", |path| fs::write(path, "a note\n".repeat(1000)).unwrap(), Segment),
    // It opens, and reading fails, also for root.
    ("a directory in its place", |path| (fs::remove_file(path).unwrap(), fs::create_dir(path).unwrap()).1, Unknown),
    ("somebody's file beside it", |path| fs::write(beside(path, "notes.txt"), "x").unwrap(), Records(0)),
    ("a file with a segment's name", |path| fs::write(beside(path, FOREIGN), "x".repeat(500)).unwrap(), Records(0)),
    ("the cursor", |path| fs::write(beside(path, "cursor"), "x".repeat(48)).unwrap(), Records(0)),
    ("no cursor", |path| drop(fs::remove_file(beside(path, "cursor"))), Records(0)),
    ("the index", |path| flip(&beside(path, "index"), |_| 20..21), Records(0)),
    ("no index", |path| fs::remove_file(beside(path, "index")).unwrap(), Records(0)),
];
const FOREIGN: &str = "00000000000000000007.seg";

#[test]
fn of_a_damaged_spool_all_else_arrives_and_nothing_lost_is_said_only_where_that_is_so() {
    let full = Scratch::new("spool-damaged");
    let sink = in_segments(&full.0);
    sink.offer(piece(0..RECORDS));
    assert_eq!(finish(sink, Duration::from_millis(200)).ledger.spooled, RECORDS as u64);
    let whole = segments(&full.0);
    assert!(whole.len() > 2, "{whole:?}");
    for (what, damage, known) in CASES {
        for victim in [0, 1, whole.len() - 1] {
            let dir = Scratch::new("spool-damaged");
            copy(&full.0, &dir.0);
            let path = &segments(&dir.0)[victim];
            let records = survey(&fs::read(path).unwrap()).unwrap().ids.len();
            damage(path);
            expect(&format!("{what}, in segment {victim}"), &dir.0, *known, records);
            assert!(*what != "a file with a segment's name" || beside(path, FOREIGN).exists(), "nobody's to remove");
        }
    }
}

/// Delivers what can be read, and compares what was counted, and what the closing lines say, with what arrived.
fn expect(what: &str, directory: &Path, known: Known, records: usize) {
    let (address, got) = server();
    let sink = start(directory, &address);
    let settled = |counts: &SinkCounts| counts.ledger.delivered + counts.ledger.dropped == counts.ledger.offered;
    watch(&sink, |counts| counts.ledger.offered > 0 && settled(counts));
    let counts = finish(sink, BUSY);
    let got: BTreeSet<_> = got.lock().unwrap().ids.iter().cloned().collect();
    let (lost, dropped) = (RECORDS - got.len(), counts.ledger.dropped as usize);
    let unknown = counts.spool_unknown_bytes > 0 || counts.spool_missing_segments > 0;
    let expected = match known {
        Records(n) => (n, n, false),
        Segment => (records, records, false),
        Unknown => (records, 0, true),
    };
    assert_eq!((lost, dropped, unknown), expected, "{what}: lost, counted, unknown; {counts:?}");
    let said = said_of(counts);
    assert_eq!(said.contains("Nothing lost"), lost == 0, "{what}: {lost} lost, and said:\n{said}");
    let number = match known {
        Records(0) => return,
        Records(1) => "LOST  1 record for line (spool_damaged 1)\n".to_owned(),
        Records(_) | Segment => format!("LOST  {lost} records for line (spool_damaged {lost})\n"),
        Unknown => "LOST  an unknown number of records for line: ".to_owned(),
    };
    assert!(said.contains(&number), "{what}: {number}{said}");
}

#[test]
fn a_spool_that_cannot_be_opened_is_named_at_the_end() {
    let dir = Scratch::new("spool-closed");
    fs::write(dir.0.join("line"), "no directory").unwrap();
    let (address, got) = server();
    let sink = start(&dir.0, &address);
    sink.offer(piece(0..100));
    watch(&sink, |counts| counts.ledger.delivered == 100);
    let said = said_of(finish(sink, BUSY));
    assert_eq!(got.lock().unwrap().ids.len(), 100, "podtap goes on in memory");
    assert!(said.contains("Nothing lost, but the spool for line could not be opened"), "{said}");
}

fn said_of(counts: SinkCounts) -> String {
    let (ledger, kernel, records) = Default::default();
    closing_lines(&ledger, &kernel, &records, &[("line".to_owned(), counts)])
}

/// A sink without a server, with a spool of small segments.
fn in_segments(directory: &Path) -> SinkHandle {
    let directory = directory.to_owned();
    let (mode, fsync) = (SpoolMode::Always, Fsync::None);
    let spool = SpoolOptions { directory, max_bytes: 1 << 20, mode, fsync, encoding: "test".into() };
    let undelivered = UndeliveredPolicy { spool: Some(spool), dead_letters: None };
    spawn_all("line", vec![LineSink::new(NOBODY)], OPTIONS, undelivered).unwrap()
}

/// The segments' files, oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join("line")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
}

fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.join("line"), to.join("line"));
    fs::create_dir(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
