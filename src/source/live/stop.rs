//! Telling capture threads to stop, and waiting for frames or for that.
//!
//! Stopping is the end of a stream, as everywhere in podtap. The writing end of a pipe is closed, and every poll on its
//! reading end wakes up. Does not join threads.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// Stops every holder of the `StopSignal` made with it: by `stop`, or when it is dropped.
#[derive(Debug)]
pub struct StopSender(PipeWriter);

impl StopSender {
    /// Stops; the same as dropping it.
    pub fn stop(self) {
        drop(self.0);
    }
}

/// Receives the signal to stop; clones share it.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<PipeReader>);

/// A pair of ends: the deciding side keeps the first, each capture thread gets a clone of the second.
pub fn stop_pair() -> io::Result<(StopSender, StopSignal)> {
    let (reader, writer) = io::pipe()?;
    Ok((StopSender(writer), StopSignal(Arc::new(reader))))
}

/// Why a wait ended. Both false: the time ran out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Wakeup {
    /// `StopSender` is gone.
    pub(in crate::source) stopped: bool,
    /// The descriptor has frames, or an error that reading it will tell.
    pub(in crate::source) ready: bool,
}

impl StopSignal {
    /// Waits until `fd` is ready, the signal to stop came, or `timeout` is over; at least a millisecond when not zero.
    pub(in crate::source) fn wait(&self, fd: Option<RawFd>, timeout: Duration) -> Wakeup {
        let [stopped, ready] = poll([self.0.as_raw_fd(), fd.unwrap_or(NO_FD)], timeout);
        Wakeup { stopped, ready }
    }

    /// The same for two descriptors; whether the signal to stop came.
    pub(in crate::source) fn wait_for_two(&self, [one, other]: [RawFd; 2], timeout: Duration) -> bool {
        let [stopped, ..] = poll([self.0.as_raw_fd(), one, other], timeout);
        stopped
    }
}

/// Waits for one descriptor only; whether it is ready.
pub(in crate::source) fn wait_for(fd: RawFd, timeout: Duration) -> bool {
    let [ready, _] = poll([fd, NO_FD], timeout);
    ready
}

/// poll(2) skips negative descriptors.
const NO_FD: RawFd = -1;

/// Which of the descriptors have something to read, or an error. An interruption by a signal is a wait without result:
/// callers loop anyway.
fn poll<const N: usize>(fds: [RawFd; N], timeout: Duration) -> [bool; N] {
    let mut entries = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let millis = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    #[allow(unsafe_code, reason = "std has no poll(2), and libpcap's own wait cannot be woken by a second descriptor")]
    // SAFETY: `entries` are as many initialised entries as the length says, and live for the whole call.
    let outcome = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, millis) };
    // The content of `revents` after an error is unspecified.
    entries.map(|entry| outcome > 0 && entry.revents != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_time_by_the_descriptor_and_by_the_stop() {
        let (sender, stop) = stop_pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = Some(reader.as_raw_fd());
        assert_eq!(stop.wait(fd, Duration::from_millis(1)), Wakeup { stopped: false, ready: false });
        io::Write::write_all(&mut writer, b"x").unwrap();
        assert_eq!(stop.wait(fd, Duration::from_secs(60)), Wakeup { stopped: false, ready: true });
        sender.stop();
        assert_eq!(stop.wait(None, Duration::from_secs(60)), Wakeup { stopped: true, ready: false });
        assert!(stop.clone().wait(None, Duration::ZERO).stopped);
    }

    #[test]
    fn a_sender_that_is_dropped_stops_a_thread_that_waits() {
        let (sender, stop) = stop_pair().unwrap();
        let waiting = std::thread::spawn(move || stop.wait(None, Duration::from_secs(60)).stopped);
        drop(sender);
        assert!(waiting.join().unwrap());
    }
}
