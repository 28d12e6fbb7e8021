//! The kernel log as lines: from /dev/kmsg, from a file that is followed over rotations, from standard input.
//!
//! Owns where reading goes on, and when a file is another one. What a line means is known to `verdict`.

mod follow;
mod kmsg;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

pub use follow::FollowOptions;

use super::live::{CaptureError, StopSignal};
use super::wall_clock;
use crate::flow::Timestamp;
use crate::record::VerdictInput;
use crate::verdict::VerdictEngine;

/// Longest line; what is behind is cut off. The kernel writes some hundred bytes.
const LONGEST_LINE: usize = 16 << 10;
/// Bytes read at once.
const AT_ONCE: usize = 64 << 10;
/// How long a wait lasts at most: records are handed on at least so often.
const TICK: Duration = Duration::from_millis(100);

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogInput {
    /// /dev/kmsg, from now on.
    Kmsg,
    /// Standard input, to its end.
    Stdin,
    /// A file, to its end.
    File(PathBuf),
    /// A file, and what takes its place.
    Follow(FollowOptions),
}

/// Whether only an administrator may read the kernel log.
pub fn is_for_administrators() -> bool {
    super::netlink::sysctl("kernel/dmesg_restrict").is_ok_and(|restricted| restricted != 0)
}

/// Reads until it is stopped, or to the end of what has one. `step` is called several times a second, and whenever there are
/// some records.
pub fn run(
    input: &LogInput,
    stop: &StopSignal,
    verdicts: &mut VerdictEngine,
    mut step: impl FnMut(&mut VerdictEngine, Timestamp),
) -> Result<(), CaptureError> {
    verdicts.ledger_mut().opens += 1;
    let outcome = match input {
        LogInput::Kmsg => kmsg::run(stop, verdicts, &mut step),
        LogInput::Stdin => to_the_end(io::stdin(), VerdictInput::Stdin, stop, verdicts, &mut step),
        LogInput::File(path) => std::fs::File::open(path)
            .and_then(|file| to_the_end(file, VerdictInput::File, stop, verdicts, &mut step))
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
        LogInput::Follow(options) => follow::run(options, stop, verdicts, &mut step),
    };
    verdicts.finish();
    step(verdicts, wall_clock());
    outcome.map_err(|error| match error.downcast::<CaptureError>() {
        Ok(error) => error,
        Err(error) => CaptureError::Input { input: "the kernel log", message: error.to_string() },
    })
}

fn to_the_end(
    mut source: impl Read + AsFd,
    input: VerdictInput,
    stop: &StopSignal,
    verdicts: &mut VerdictEngine,
    step: &mut impl FnMut(&mut VerdictEngine, Timestamp),
) -> io::Result<()> {
    let (mut lines, mut room) = (LineCutter::default(), vec![0; AT_ONCE]);
    loop {
        let wakeup = stop.wait(Some(source.as_fd().as_raw_fd()), TICK);
        if wakeup.stopped {
            break;
        }
        if wakeup.ready {
            match source.read(&mut room) {
                Ok(0) => break,
                Ok(read) => lines.take(room.get(..read).unwrap_or_default(), |line| {
                    verdicts.handle_line(line, input, wall_clock(), None);
                }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let now = wall_clock();
        verdicts.handle_timeout(now);
        step(verdicts, now);
    }
    lines.finish(|line| verdicts.handle_line(line, input, wall_clock(), None));
    Ok(())
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct LineCutter {
    begun: Vec<u8>,
}

impl LineCutter {
    /// Passes on every line that has its end.
    fn take(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (whole, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if self.begun.is_empty() {
                line(whole.get(..LONGEST_LINE).unwrap_or(whole));
            } else {
                self.keep(whole);
                line(&self.begun);
                self.begun.clear();
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        self.keep(rest);
    }

    /// Bytes of a line whose end has not come.
    fn waiting(&self) -> usize {
        self.begun.len()
    }

    /// The last line needs no end.
    fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            line(&self.begun);
            self.begun.clear();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let text = b"one\n\ntwo\nthree";
        for size in 1..=text.len() {
            let (mut lines, mut found) = (LineCutter::default(), Vec::new());
            text.chunks(size).for_each(|chunk| lines.take(chunk, |line| found.push(line.to_vec())));
            assert_eq!(lines.waiting(), 5);
            lines.finish(|line| found.push(line.to_vec()));
            assert_eq!(found, [&b"one"[..], b"", b"two", b"three"], "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_room() {
        let mut lines = LineCutter::default();
        (0..100).for_each(|_| lines.take(&[b'x'; 1000], |_| panic!("no end")));
        assert_eq!(lines.waiting(), LONGEST_LINE);
        let mut lengths = Vec::new();
        lines.take(b"\nnext\n", |line| lengths.push(line.len()));
        assert_eq!(lengths, [LONGEST_LINE, 4]);
    }
}
