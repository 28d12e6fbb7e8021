//! The old files: named, compressed and deleted next to the hot path. Knows nothing of the open one but its path.
//!
//! The directory itself is the list of what is to do. Whatever has an old file's name is compressed, or deleted when
//! there are more than FILE_KEEP. So a lost wake-up, a kill half way (a `.tmp` is left) or a second run cost nothing:
//! the next look finds it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;

/// `-20260301T120000.123456Z`.
const STAMP: &str = "-%Y%m%dT%H%M%S.%6fZ";
const STAMP_LEN: usize = 24;

/// Puts files away; its own thread compresses and deletes.
#[derive(Debug)]
pub(super) struct Old {
    keeper: Keeper,
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
}

#[derive(Clone, Debug)]
struct Keeper {
    path: PathBuf,
    keep: usize,
    compress: bool,
}

impl Old {
    pub(super) fn new(path: &Path, keep: usize, compress: bool) -> Self {
        let mut old = Self { keeper: Keeper { path: path.to_owned(), keep, compress }, thread: None };
        if old.keeper.list().is_ok_and(|left| !left.is_empty()) {
            old.wake();
        }
        old
    }

    /// Renames the file to an old file's name.
    pub(super) fn put_away(&mut self, now: SystemTime) -> io::Result<()> {
        let mut stamp = jiff::Timestamp::try_from(now).unwrap_or_default();
        let target = loop {
            let target = with_suffix(&self.keeper.path, &stamp.strftime(STAMP).to_string());
            if !target.try_exists()? && !with_suffix(&target, ".gz").try_exists()? {
                break target;
            }
            stamp += jiff::SignedDuration::from_micros(1);
        };
        fs::rename(&self.keeper.path, target)?;
        self.wake();
        Ok(())
    }

    fn wake(&mut self) {
        if self.thread.is_none() {
            let (sender, receiver) = sync_channel(1);
            let keeper = self.keeper.clone();
            let spawned = std::thread::Builder::new().name("sink-file-old".into()).spawn(move || {
                receiver.iter().for_each(|()| keeper.tidy());
            });
            self.thread = spawned.ok().map(|thread| (sender, thread));
        }
        if let Some((sender, _)) = &self.thread {
            match sender.try_send(()) {
                // Full: a look is due anyway, and it will see this file too.
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }
}

/// What is to do is finished before the sink says that it has ended.
impl Drop for Old {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

impl Keeper {
    fn tidy(&self) {
        if let Err(error) = self.try_tidy() {
            tracing::warn!(sink = "file", path = %self.path.display(), %error, "rotated files not compressed or removed");
        }
    }

    fn try_tidy(&self) -> io::Result<()> {
        let names = self.list()?;
        let (torn, mut names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| has_end(name, ".tmp"));
        torn.iter().try_for_each(|name| fs::remove_file(self.sibling(name)))?;
        names.sort_unstable();
        let excess = names.len().saturating_sub(self.keep);
        for name in names.drain(..excess) {
            fs::remove_file(self.sibling(&name))?;
        }
        for name in names.iter().filter(|name| self.compress && !has_end(name, ".gz")) {
            compress(&self.sibling(name))?;
        }
        Ok(())
    }

    /// Names of old files, whole or not.
    fn list(&self) -> io::Result<Vec<OsString>> {
        let Some(name) = self.path.file_name() else { return Ok(Vec::new()) };
        let entries = fs::read_dir(self.directory())?;
        Ok(entries.filter_map(Result::ok).map(|e| e.file_name()).filter(|n| is_old(name, n)).collect())
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn sibling(&self, name: &OsStr) -> PathBuf {
        self.directory().join(name)
    }
}

/// Whether `name` is `<base>-<stamp>` with an end that we make: no one else's file is ever deleted.
fn is_old(base: &OsStr, name: &OsStr) -> bool {
    let Some(rest) = name.as_bytes().strip_prefix(base.as_bytes()) else { return false };
    let Some((stamp, end)) = rest.split_at_checked(STAMP_LEN) else { return false };
    let shape = b"-00000000T000000.000000Z";
    let shaped = stamp.iter().zip(shape).all(|(is, shape)| match shape {
        b'0' => is.is_ascii_digit(),
        _ => is == shape,
    });
    shaped && matches!(end, b"" | b".gz" | b".gz.tmp")
}

fn has_end(name: &OsStr, end: &str) -> bool {
    name.as_bytes().ends_with(end.as_bytes())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `name` → `name.gz`; at any moment one of the two is whole.
fn compress(path: &Path) -> io::Result<()> {
    let whole = with_suffix(path, ".gz");
    let partial = with_suffix(&whole, ".tmp");
    let mut source = File::open(path)?;
    let target = File::create(&partial)?;
    target.set_permissions(source.metadata()?.permissions())?;
    let mut encoder = GzEncoder::new(target, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(partial, whole)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_making_count_as_old() {
        let old = |name: &str| is_old(OsStr::new("a.log"), OsStr::new(name));
        for name in ["", ".gz", ".gz.tmp"] {
            assert!(old(&format!("a.log-20260301T120000.123456Z{name}")), "{name}");
        }
        for name in [
            "a.log",
            "a.log-",
            "a.log.1",
            "a.log-20260301",
            "b.log-20260301T120000.123456Z",
            "a.log-20260301T120000.123456Z.bak",
            "a.log-2026030_T120000.123456Z",
            "a.log-20260301 120000.123456Z",
        ] {
            assert!(!old(name), "{name}");
        }
    }

    #[test]
    fn the_stamp_has_the_shape_that_is_looked_for() {
        let stamp = jiff::Timestamp::UNIX_EPOCH.strftime(STAMP).to_string();
        assert_eq!(stamp, "-19700101T000000.000000Z");
        assert_eq!(stamp.len(), STAMP_LEN);
    }
}
