//! One process, one spool: flock(2) on a file in it. Owns the lock only; the kernel frees it with the process, also after
//! kill -9.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct SpoolLock(#[allow(dead_code, reason = "closing it is what unlocks")] File);

impl SpoolLock {
    /// `None` when somebody else holds it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        #[allow(unsafe_code, reason = "std's File::try_lock is younger than our rust-version")]
        // SAFETY: no pointers; the descriptor is open as long as `file` lives.
        let outcome = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        if outcome == 0 {
            return Ok(Some(Self(file)));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dir;
    use super::*;

    #[test]
    fn the_second_one_does_not_get_it_until_the_first_has_gone() {
        let dir = Dir::new();
        let path = dir.0.join("lock");
        let first = SpoolLock::take(&path).unwrap();
        assert!(first.is_some() && SpoolLock::take(&path).unwrap().is_none());
        drop(first);
        assert!(SpoolLock::take(&path).unwrap().is_some());
    }
}
