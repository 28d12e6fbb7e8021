use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::batch::tests::piece;
use super::super::{SinkOptions, Sinks, WhenFull, spawn};
use super::*;

/// A directory of this test's own, gone at its end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("podtap-file-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> FileOptions {
        FileOptions { path: self.0.join("a.log"), max_bytes: None, max_age: None, keep: 3, compress: false }
    }

    /// The old files, oldest first: name's end and text.
    fn old(&self) -> Vec<(bool, String)> {
        let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().path()).collect();
        names.retain(|path| path.file_name().unwrap() != "a.log");
        names.sort();
        names.iter().map(|path| (path.extension().unwrap() == "gz", text(path))).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    let file = File::open(path).unwrap();
    if path.extension().unwrap() == "gz" {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        text = io::read_to_string(file).unwrap();
    }
    text
}

/// Polls once: this sink's `deliver` never waits.
fn deliver(sink: &mut FileSink, bodies: &[&str]) -> Result<Delivery, SinkError> {
    let mut batch = Batch::default();
    batch.push(piece(bodies));
    let mut work = std::pin::pin!(sink.deliver(&batch));
    match work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("the file sink waited"),
    }
}

const ALL: Result<Delivery, SinkError> = Ok(Delivery { retry: Vec::new(), rejected: Vec::new(), cause: None });

#[test]
fn lines_are_appended_and_a_torn_last_line_is_ended_first() {
    let dir = Dir::new();
    let path = dir.options().path;
    for (before, after) in [("", "new\n"), ("old\n", "old\nnew\n"), ("torn", "torn\nnew\n")] {
        fs::write(&path, before).unwrap();
        assert_eq!(deliver(&mut FileSink::new(dir.options()), &["new\n"]), ALL);
        assert_eq!(text(&path), after);
    }
}

#[test]
fn a_missing_directory_is_made() {
    let dir = Dir::new();
    let path = dir.0.join("logs/of/mine/a.log");
    assert_eq!(deliver(&mut FileSink::new(FileOptions { path: path.clone(), ..dir.options() }), &["a\n"]), ALL);
    assert_eq!(text(&path), "a\n");
}

#[test]
fn no_file_grows_beyond_the_limit_but_for_a_line_that_is_longer_alone() {
    let dir = Dir::new();
    let mut sink = FileSink::new(FileOptions { max_bytes: Some(8), keep: 99, ..dir.options() });
    let lines = ["1\n", "22\n", "333\n", "4444\n", "too long for it\n", "6\n", "7\n"];
    assert_eq!(deliver(&mut sink, &lines[..2]), ALL);
    assert_eq!(deliver(&mut sink, &lines[2..]), ALL);
    drop(sink);
    let files: Vec<_> = dir.old().into_iter().map(|(_, text)| text).collect();
    assert_eq!(files, ["1\n22\n", "333\n", "4444\n", "too long for it\n"]);
    assert_eq!(text(&dir.options().path), "6\n7\n");
}

#[test]
fn the_newest_old_files_stay_compressed_and_whole() {
    let dir = Dir::new();
    let mut sink = FileSink::new(FileOptions { max_bytes: Some(2), keep: 2, compress: true, ..dir.options() });
    fs::write(dir.0.join("a.log-of-somebody-else"), "x").unwrap();
    for line in ["1\n", "2\n", "3\n", "4\n", "5\n"] {
        assert_eq!(deliver(&mut sink, &[line]), ALL);
    }
    drop(sink);
    assert_eq!(text(&dir.options().path), "5\n");
    fs::remove_file(dir.0.join("a.log-of-somebody-else")).expect("somebody else's file is not ours to delete");
    assert_eq!(dir.old(), [(true, "3\n".to_owned()), (true, "4\n".to_owned())]);
}

#[test]
fn what_a_kill_left_half_done_is_finished_by_the_next_start() {
    let dir = Dir::new();
    let stamp = "-20260301T120000.123456Z";
    fs::write(dir.0.join(format!("a.log{stamp}")), "whole\n").unwrap();
    fs::write(dir.0.join(format!("a.log{stamp}.gz.tmp")), "half").unwrap();
    drop(FileSink::new(FileOptions { compress: true, ..dir.options() }));
    assert_eq!(dir.old(), [(true, "whole\n".to_owned())]);
}

#[test]
fn a_file_that_is_too_old_is_put_away_but_never_an_empty_one() {
    let dir = Dir::new();
    let mut sink = FileSink::new(FileOptions { max_age: Some(Duration::ZERO), ..dir.options() });
    assert_eq!(deliver(&mut sink, &["1\n"]), ALL);
    assert_eq!(dir.old().len(), 0);
    assert_eq!(deliver(&mut sink, &["2\n"]), ALL);
    assert_eq!(dir.old().len(), 1);
    assert_eq!(text(&dir.options().path), "2\n");
}

#[test]
fn a_file_moved_away_or_deleted_gets_a_successor() {
    let dir = Dir::new();
    let path = dir.options().path;
    let mut sink = FileSink::new(dir.options());
    assert_eq!(deliver(&mut sink, &["1\n"]), ALL);
    fs::rename(&path, dir.0.join("moved.log")).unwrap();
    assert_eq!(deliver(&mut sink, &["2\n"]), ALL);
    assert_eq!((text(&dir.0.join("moved.log")), text(&path)), ("1\n".into(), "2\n".into()));
    fs::remove_file(&path).unwrap();
    assert_eq!(deliver(&mut sink, &["3\n"]), ALL);
    assert_eq!(text(&path), "3\n");
    fs::rename(&path, dir.0.join("moved.log")).unwrap();
    sink.reload();
    assert_eq!(text(&path), "", "SIGHUP makes it at once");
}

#[test]
fn a_file_emptied_by_others_is_written_from_its_start() {
    let dir = Dir::new();
    let mut sink = FileSink::new(FileOptions { max_bytes: Some(4), ..dir.options() });
    assert_eq!(deliver(&mut sink, &["1\n", "2\n"]), ALL);
    File::create(dir.options().path).unwrap();
    assert_eq!(deliver(&mut sink, &["3\n"]), ALL);
    assert_eq!((text(&dir.options().path), dir.old().len()), ("3\n".into(), 0));
}

#[test]
fn a_path_that_cannot_be_written_is_tried_again_and_loses_nothing() {
    let dir = Dir::new();
    let path = dir.options().path;
    fs::create_dir(&path).unwrap();
    let mut sink = FileSink::new(dir.options());
    assert!(matches!(deliver(&mut sink, &["1\n"]), Err(SinkError::Transient(_))));
    fs::remove_dir(&path).unwrap();
    assert_eq!(deliver(&mut sink, &["1\n"]), ALL);
    assert_eq!(text(&path), "1\n");
}

#[test]
fn a_device_that_is_always_full_is_a_transient_error() {
    let dir = Dir::new();
    let full = FileOptions { path: "/dev/full".into(), max_bytes: Some(1), ..dir.options() };
    let mut sink = FileSink::new(full);
    assert!(matches!(deliver(&mut sink, &["1\n"]), Err(SinkError::Transient(_))));
    let null = FileOptions { path: "/dev/null".into(), max_bytes: Some(1), ..dir.options() };
    assert_eq!(deliver(&mut FileSink::new(null), &["1\n", "2\n"]), ALL, "a device is never rotated");
    assert!(Path::new("/dev/null").exists());
}

#[test]
fn through_the_worker_every_record_is_written_before_the_end() {
    let dir = Dir::new();
    let options = SinkOptions { when_full: WhenFull::Wait, ..SinkOptions::default() };
    let file = FileSink::new(FileOptions { max_bytes: Some(1000), keep: 99, ..dir.options() });
    let sink = spawn("file", file, options).unwrap();
    let lines: Vec<String> = (0..2000).map(|n| format!("{n}\n")).collect();
    lines.iter().for_each(|line| sink.offer(piece(&[line])));
    let counts = Sinks::new(vec![sink]).finish(Duration::from_secs(60)).remove(0).1;
    assert_eq!((counts.ledger.delivered, counts.ledger.dropped), (2000, 0));
    let mut whole: String = dir.old().into_iter().map(|(_, text)| text).collect();
    whole += &text(&dir.options().path);
    assert_eq!(whole, lines.concat());
}
