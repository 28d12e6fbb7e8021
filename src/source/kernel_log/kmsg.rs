//! /dev/kmsg: one record for each read, numbered. SYSLOG is effective only while it is opened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::{CaptureError, LONGEST_LINE, StopSignal, TICK, Timestamp, VerdictEngine, VerdictInput, wall_clock};
use crate::source::privilege::{self, NeededRight};

const PATH: &str = "/dev/kmsg";
/// Records read in a row before others are handed on.
const READS: usize = 256;

pub(super) fn run(
    stop: &StopSignal,
    verdicts: &mut VerdictEngine,
    step: &mut impl FnMut(&mut VerdictEngine, Timestamp),
) -> io::Result<()> {
    let mut file = open()?;
    let boot = booted();
    let mut room = vec![0; LONGEST_LINE];
    loop {
        let wakeup = stop.wait(Some(file.as_raw_fd()), TICK);
        for _ in 0..READS {
            match file.read(&mut room) {
                Ok(0) => break,
                Ok(read) => {
                    let record = room.get(..read).unwrap_or_default();
                    // Behind the first line are fields of the device.
                    let line = record.split(|byte| *byte == b'\n').next().unwrap_or_default();
                    verdicts.handle_line(line, VerdictInput::Kmsg, wall_clock(), Some(boot));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Overwritten before it was read: the number of the next record says how many there were.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let now = wall_clock();
        verdicts.handle_timeout(now);
        step(verdicts, now);
        if wakeup.stopped {
            return Ok(());
        }
    }
}

fn open() -> io::Result<File> {
    let open = || -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(PATH)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    match open() {
        // Where the log is for administrators only (kernel.dmesg_restrict).
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => privilege::with(NeededRight::Syslog, open)
            .map_err(|missing| io::Error::other(CaptureError::NotPermitted(missing)))?,
        outcome => outcome,
    }
}

/// When this machine started, by the clock that the kernel dates its log with.
fn booted() -> Timestamp {
    let mut since = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[allow(unsafe_code, reason = "std does not say how long the machine has run")]
    // SAFETY: the kernel writes into a structure that lives for the whole call.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut since) };
    let nanos = if outcome == 0 { Timestamp::new(since.tv_sec, since.tv_nsec).0 } else { 0 };
    Timestamp(wall_clock().0.saturating_sub(nanos))
}
