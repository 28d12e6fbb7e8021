//! The file sink: whole lines appended to one file. Owns the open file and when it is changed for a new one; the old
//! ones are `old`'s.
//!
//! On disk: `FILE_PATH` holds whole lines. It is renamed to `FILE_PATH-20260301T120000.123456Z` (UTC, so names sort by
//! age) in two cases. Before it would grow beyond FILE_MAX_BYTES (one line alone may be larger), and when it is older
//! than FILE_MAX_AGE. FILE_KEEP old ones stay, as `….gz` with FILE_COMPRESS. A kill leaves at most one torn line at the
//! end; the next start ends it with a newline. A write that fails half way is cut back to the last whole line, and
//! tried again. Who moves or deletes the file gets a new one in its place with the next record, or with SIGHUP.

mod old;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use self::old::Old;
use super::write::{WriteProgress, write_batch};
use super::{Batch, Delivery, DeliveryError, Sink, SinkError};

/// How the file is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// FILE_PATH.
    pub path: PathBuf,
    /// FILE_MAX_BYTES; `None`: no limit.
    pub max_bytes: Option<u64>,
    /// FILE_MAX_AGE; `None`: no limit.
    pub max_age: Option<Duration>,
    /// FILE_KEEP: how many old files stay.
    pub keep: usize,
    /// FILE_COMPRESS.
    pub compress: bool,
}

/// Lines into a file.
#[derive(Debug)]
pub struct FileSink {
    options: FileOptions,
    open: Option<OpenFile>,
    old: Old,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Device and inode: what distinguishes this file from another of the same name.
    identity: (u64, u64),
    size: u64,
    born: SystemTime,
    /// Not a pipe or a device: those are never rotated, cut or looked for.
    regular: bool,
    /// The last line has no end: a newline comes first.
    torn: bool,
    /// The size beyond which it is rotated.
    full_at: u64,
}

impl FileSink {
    /// Opens the file. A failure is only logged: each delivery tries again, and until then records wait in the queue.
    pub fn new(options: FileOptions) -> Self {
        let old = Old::new(&options.path, options.keep, options.compress);
        let mut sink = Self { options, open: None, old };
        if let Err(error) = sink.reopen() {
            tracing::warn!(sink = "file", path = %sink.options.path.display(), %error, "cannot open yet");
        }
        sink
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.open = None;
        if let Some(directory) = self.options.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.options.path)?;
        let meta = file.metadata()?;
        let torn = meta.is_file() && ends_torn(&mut file, meta.len())?;
        self.open = Some(OpenFile {
            file,
            identity: identity(&meta),
            size: meta.len(),
            born: meta.created().unwrap_or_else(|_| now()),
            regular: meta.is_file(),
            torn,
            full_at: self.options.max_bytes.unwrap_or(u64::MAX),
        });
        Ok(())
    }

    /// The open file, which is the one at the path, young enough and with room for something.
    fn ready(&mut self) -> io::Result<&mut OpenFile> {
        let moved = match (&mut self.open, self.options.path.metadata()) {
            (Some(open), _) if !open.regular => false,
            (Some(open), Ok(meta)) => {
                open.size = meta.len();
                open.identity != identity(&meta)
            }
            (None, _) => true,
            (Some(_), Err(_)) => true,
        };
        if moved {
            self.reopen()?;
        }
        let too_old = |open: &OpenFile| self.options.max_age.is_some_and(|most| age(open.born) >= most);
        if self.open.as_ref().is_some_and(|open| open.regular && open.size > 0 && too_old(open)) {
            self.rotate()?;
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Puts the file away and begins a new one. Where it cannot be put away (a directory without write permission) it
    /// simply grows on: too large is better than lost.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match self.old.put_away(now()) {
            Ok(()) => self.reopen(),
            Err(error) => {
                tracing::warn!(sink = "file", path = %self.options.path.display(), %error, "cannot rotate the file; it keeps growing");
                open.full_at = open.size.saturating_add(self.options.max_bytes.unwrap_or(u64::MAX));
                open.born = now();
                Ok(())
            }
        }
    }

    /// Writes as many leading records as the file has room for, at least one; returns how many were.
    fn write_some(&mut self, batch: &Batch) -> (usize, io::Result<()>) {
        let open = match self.ready() {
            Ok(open) => open,
            Err(error) => return (0, Err(error)),
        };
        let mut fit = open.room_for(batch);
        if fit == 0 && open.size > 0 {
            if let Err(error) = self.rotate() {
                return (0, Err(error));
            }
            fit = self.open.as_ref().map_or(0, |open| open.room_for(batch));
        }
        match &mut self.open {
            Some(open) => open.append(&batch.range(0, fit.max(1))),
            None => (0, Err(io::ErrorKind::NotFound.into())),
        }
    }
}

impl OpenFile {
    fn room_for(&self, batch: &Batch) -> usize {
        if !self.regular {
            return batch.records();
        }
        batch.fitting(usize::try_from(self.full_at.saturating_sub(self.size)).unwrap_or(usize::MAX))
    }

    /// Appends; returns how many whole records are in the file now. A part of one is cut off again.
    fn append(&mut self, batch: &Batch) -> (usize, io::Result<()>) {
        if self.torn {
            if let Err(error) = self.file.write_all(b"\n") {
                return (0, Err(error));
            }
            self.size += 1;
            self.torn = false;
        }
        let WriteProgress { bytes, error } = write_batch(&mut self.file, batch, 0);
        let Some(error) = error else {
            self.size += bytes as u64;
            return (batch.records(), Ok(()));
        };
        let whole = batch.fitting(bytes);
        let whole_bytes = batch.range(0, whole).bytes();
        self.size += whole_bytes as u64;
        if whole_bytes < bytes {
            self.torn = !self.regular || self.file.set_len(self.size).is_err();
        }
        (whole, Err(error))
    }
}

impl Sink for FileSink {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let mut done = 0;
        while done < batch.records() {
            let (written, result) = self.write_some(&batch.range(done, batch.records()));
            done += written;
            match result {
                Ok(()) => {}
                Err(error) => {
                    let message = format!("{}: {error}", self.options.path.display());
                    let error = DeliveryError::local(error, message);
                    if done == 0 {
                        return Err(SinkError::Transient(error));
                    }
                    let retry = (done..batch.records()).collect();
                    return Ok(Delivery { retry, cause: Some(error), ..Delivery::default() });
                }
            }
        }
        Ok(Delivery::default())
    }

    fn reload(&mut self) {
        if let Err(error) = self.reopen() {
            tracing::warn!(sink = "file", path = %self.options.path.display(), %error, "cannot reopen yet");
        }
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn ends_torn(file: &mut File, size: u64) -> io::Result<bool> {
    if size == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[allow(
    clippy::disallowed_methods,
    reason = "a file's age is measured by the clock of this machine, not the capture's"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn age(born: SystemTime) -> Duration {
    now().duration_since(born).unwrap_or_default()
}

#[cfg(test)]
mod tests;
