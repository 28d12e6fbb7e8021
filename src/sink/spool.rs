//! The disk spool: what one sink could not deliver yet, in files. Owns order, bound and what is settled on disk; it
//! counts nothing in a ledger (`queue`) and has no thread.
//!
//! # Layout
//! `SPOOL_DIR/<sink>/`, readable by its owner only:
//! - `lock`: held with flock(2) by the one process that uses the directory. A second one says so and goes without.
//! - `00000000000000000042.seg`: a segment, records behind a header (`layout`): each with length, checksum, ordinal, time,
//!   dataset, id and body. Oldest first by name; only the newest grows, and only in the run that began it.
//! - `cursor`: how far the oldest segment under delivery is settled (`cursor`).
//! - `index`: which segments there are, with their numbers of records (`index`): one that somebody removed or cut is missed.
//!
//! The header names the encoding of the bodies. Segments of another encoding (FORMAT was changed) stay where they are
//! and go when FORMAT is back, or, oldest first, when room is needed.
//!
//! # Guarantees
//! - A record counts as spooled when write(2) has taken all of it. From then on a kill -9 at any moment does not lose it.
//!   SPOOL_FSYNC says what the loss of the whole machine may cost. With `none` that is whatever the kernel had not
//!   written back (about 30 s). With `segment` (the default) it is at most the newest segment, 1 MiB, at one fdatasync a
//!   segment. `batch` nothing that counts as spooled, at one fdatasync a write.
//! - Any prefix of a segment's bytes holds a prefix of its records. A torn write costs the record that was being written,
//!   which had not counted as spooled. A damaged byte costs its record at most, and what is lost is counted. The count is
//!   exact; where no one can know how many records damaged bytes held, it is in bytes. So is what was in segments that
//!   are missing. Only of the segment that grew when podtap was killed no one can know whether its end was cut off later.
//! - Oldest first, records of memory only after those on disk. What was in flight when an earlier run ended comes
//!   before what that run had spooled, as it is older. Several deliveries at once (X_CONCURRENCY) may overtake each
//!   other by that many batches.
//! - A record leaves the disk only when it is settled, and its segment when all are. The cursor is written with every
//!   settled batch. After a kill at most one batch for each delivery at once goes out twice (after the loss of the
//!   machine: a segment).
//! - SPOOL_MAX_BYTES bounds the files of one sink. The oldest segment that is not under delivery makes room.

mod cursor;
mod index;
pub mod layout;
mod lock;
mod reading;
mod scan;
mod segment;
mod volume;

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use self::cursor::{Cursor, SpoolPosition};
use self::index::SegmentIndex;
use self::layout::{RECORD_COST, SEGMENT_COST};
use self::lock::SpoolLock;
use self::reading::{OutstandingBatch, SegmentReading};
pub(super) use self::reading::{TakenRecords, Ticket};
pub(super) use self::scan::OpenedSpool;
use self::segment::SegmentWriter;
pub use self::volume::volume_bytes;
use super::batch::Batch;
use crate::ledger::PerDataset;

/// When records on disk are made to survive the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Never: the kernel writes back when it likes.
    None,
    /// When a segment is full, and at the end.
    #[default]
    Segment,
    /// With every write.
    Batch,
}

/// What goes to disk, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpoolMode {
    /// What is too much for memory, and what is left at the end.
    Overflow,
    /// While deliveries fail or take long, everything.
    #[default]
    Failing,
    /// Everything, before it is delivered.
    Always,
}

/// Where and how to spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// SPOOL_DIR; each sink has its own directory in it.
    pub directory: PathBuf,
    /// SPOOL_MAX_BYTES, for each sink.
    pub max_bytes: u64,
    /// SPOOL_MODE.
    pub mode: SpoolMode,
    /// SPOOL_FSYNC.
    pub fsync: Fsync,
    /// What bodies are (`ecs`, `classic`, `ecs/msgpack` …): what was spooled as one is never sent as another.
    pub encoding: String,
}

/// Why there is no spool.
#[derive(Debug)]
pub(super) enum NoSpool {
    Taken,
    Io(io::Error),
}

impl std::fmt::Display for NoSpool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken => f.write_str("another process uses it"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// What was given up to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpoolRoom {
    /// Records that counted as spooled.
    pub(super) dropped: PerDataset,
    /// Records of another encoding, which no one has counted yet.
    pub(super) foreign: PerDataset,
}

/// What became of an `append`.
#[derive(Debug, Default)]
pub(super) struct AppendOutcome {
    /// This many leading records are on disk.
    pub(super) records: usize,
    pub(super) room: SpoolRoom,
    /// Why not all.
    pub(super) error: Option<io::Error>,
}

#[derive(Debug)]
struct SpoolSegment {
    number: u64,
    bytes: u64,
    /// To be delivered.
    records: PerDataset,
    /// The first of them.
    from: u32,
    foreign: bool,
}

/// One sink's spool.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    options: SpoolOptions,
    cursor: Cursor,
    index: SegmentIndex,
    /// Closed, oldest first.
    segments: VecDeque<SpoolSegment>,
    writing: Option<SegmentWriter>,
    reading: Option<SegmentReading>,
    outstanding: VecDeque<OutstandingBatch>,
    /// Of all files of segments.
    bytes: u64,
    next_number: u64,
    next_ticket: u64,
    complained: bool,
    _lock: SpoolLock,
}

/// Where numbers begin: far from zero, since what was in flight at the end goes before the oldest.
const FIRST_NUMBER: u64 = 1 << 40;

impl Spool {
    /// Opens `sink`'s directory; reads every byte in it once.
    pub(super) fn open(options: SpoolOptions, sink: &str) -> Result<(Self, OpenedSpool), NoSpool> {
        let directory = options.directory.join(sink);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(NoSpool::Io)?;
        let lock = SpoolLock::take(&directory.join("lock")).map_err(NoSpool::Io)?.ok_or(NoSpool::Taken)?;
        let (cursor, position) = Cursor::new(open_cursor(&directory).map_err(NoSpool::Io)?);
        let next_number = cursor.highest.map_or(FIRST_NUMBER, |named| named.saturating_add(1).max(FIRST_NUMBER));
        let mut spool = Self {
            index: SegmentIndex::new(&directory),
            directory,
            options,
            cursor,
            segments: VecDeque::new(),
            writing: None,
            reading: None,
            outstanding: VecDeque::new(),
            bytes: 0,
            next_number,
            next_ticket: 0,
            complained: false,
            _lock: lock,
        };
        let opened = spool.scan(position).map_err(NoSpool::Io)?;
        Ok((spool, opened))
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Small enough that the bound is kept by small steps, large enough that a file is worth its while.
    fn segment_bytes(&self) -> u64 {
        (self.options.max_bytes / 16).clamp(64 << 10, 1 << 20)
    }

    /// Stores records behind all others.
    pub(super) fn append(&mut self, batch: &Batch) -> AppendOutcome {
        let mut appended = AppendOutcome::default();
        while appended.records < batch.records() && appended.error.is_none() {
            let rest = batch.range(appended.records, batch.records());
            let fit = rest.fitting(self.segment_bytes() as usize).max(1);
            self.append_some(&rest.range(0, fit), &mut appended);
        }
        if self.options.fsync == Fsync::Batch {
            self.sync();
        }
        appended
    }

    fn append_some(&mut self, batch: &Batch, appended: &mut AppendOutcome) {
        let cost = cost(batch);
        if !self.make_room(cost, &mut appended.room) {
            appended.error = Some(io::Error::new(io::ErrorKind::StorageFull, "SPOOL_MAX_BYTES is too small"));
            return;
        }
        let full = |writer: &SegmentWriter| writer.bytes > 0 && writer.bytes + cost > self.segment_bytes();
        if self.writing.as_ref().is_some_and(full) {
            self.close_writing(self.options.fsync != Fsync::None);
        }
        let outcome = self.writer().map(|writer| {
            let before = writer.bytes;
            let (records, outcome) = writer.append(batch);
            (writer.bytes - before, records, outcome)
        });
        match outcome {
            Ok((bytes, records, outcome)) => {
                self.bytes += bytes;
                appended.records += records;
                appended.error = outcome.err();
            }
            Err(error) => appended.error = Some(error),
        }
        if appended.error.is_some() {
            self.close_writing(false);
        }
    }

    fn writer(&mut self) -> io::Result<&mut SegmentWriter> {
        if self.writing.is_none() {
            let writer = SegmentWriter::create(&self.directory, self.next_number, &self.options.encoding)?;
            self.next_number += 1;
            self.bytes += writer.bytes;
            self.note(writer.number, None);
            self.sync_directory();
            self.writing = Some(writer);
        }
        self.writing.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Stores records before all others: they are older. Returns how many.
    pub(super) fn put_first(&mut self, batch: &Batch) -> AppendOutcome {
        let mut appended = AppendOutcome::default();
        if batch.is_empty() {
            return appended;
        }
        let Some(number) = self.number_before_all() else { return self.append(batch) };
        if self.bytes + cost(batch) > self.options.max_bytes {
            // It would be the first to make room for itself.
            appended.error = Some(io::ErrorKind::StorageFull.into());
            return appended;
        }
        match SegmentWriter::create(&self.directory, number, &self.options.encoding) {
            Ok(mut writer) => {
                let (records, outcome) = writer.append(batch);
                appended.records = records;
                appended.error = outcome.err();
                writer.complete();
                let sync = self.options.fsync != Fsync::None;
                if let Err(error) = if sync { writer.sync() } else { Ok(()) } {
                    self.complain("not synced", &error);
                }
                self.bytes += writer.bytes;
                self.note(number, Some(writer.records));
                self.segments.push_front(closed(&writer));
            }
            Err(error) => appended.error = Some(error),
        }
        appended
    }

    /// A number lower than that of any segment there is or was; none where there is no segment.
    fn number_before_all(&self) -> Option<u64> {
        let oldest = self.segments.iter().map(|segment| segment.number).chain(self.reading.as_ref().map(|r| r.number));
        let oldest = oldest.chain(self.outstanding.iter().map(|taken| taken.end.segment)).min();
        let oldest = oldest.or(self.writing.as_ref().map(|writer| writer.number))?;
        Some(oldest.min(self.cursor.lowest).saturating_sub(1))
    }

    /// Stores a batch of memory that is being delivered, before all others: it is older. All of it, or nothing.
    pub(super) fn keep(&mut self, batch: &Batch) -> io::Result<Ticket> {
        if self.bytes + cost(batch) > self.options.max_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = self.number_before_all().unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number - 1
        });
        let mut writer = SegmentWriter::create(&self.directory, number, &self.options.encoding)?;
        let (records, outcome) = writer.append(batch);
        if let Err(error) = outcome {
            self.remove(number, 0);
            return Err(error);
        }
        writer.complete();
        if self.options.fsync != Fsync::None
            && let Err(error) = writer.sync()
        {
            self.complain("not synced", &error);
        }
        self.note(number, Some(writer.records));
        self.sync_directory();
        self.bytes += writer.bytes;
        let ticket = self.next_ticket();
        let end = SpoolPosition { segment: number, ordinal: records as u32 };
        self.outstanding.push_front(OutstandingBatch { ticket, settled: false, end, last_of: Some(writer.bytes) });
        Ok(ticket)
    }

    /// Drops oldest segments until `bytes` more fit; false when they never will.
    fn make_room(&mut self, bytes: u64, room: &mut SpoolRoom) -> bool {
        while self.bytes + bytes > self.options.max_bytes {
            if self.segments.is_empty() {
                // Nothing but the segment being written: it is the oldest then.
                self.close_writing(false);
            }
            let Some(oldest) = self.segments.pop_front() else { return false };
            *(if oldest.foreign { &mut room.foreign } else { &mut room.dropped }) += oldest.records;
            self.remove(oldest.number, oldest.bytes);
        }
        true
    }

    fn close_writing(&mut self, sync: bool) {
        if let Some(writer) = self.writing.as_mut().filter(|writer| writer.records > 0) {
            let before = writer.bytes;
            writer.complete();
            self.bytes += writer.bytes - before;
        }
        if sync {
            self.sync();
        }
        let Some(writer) = self.writing.take() else { return };
        if writer.records == 0 {
            return self.remove(writer.number, writer.bytes);
        }
        self.note(writer.number, Some(writer.records));
        self.segments.push_back(closed(&writer));
    }

    /// What is left is for the next run. Returns what is not: segments whose files somebody removed.
    pub(super) fn close(&mut self) -> PerDataset {
        self.close_writing(self.options.fsync != Fsync::None);
        let (mut gone, segments) = (PerDataset::default(), std::mem::take(&mut self.segments));
        for segment in segments {
            if segment.foreign || segment::path(&self.directory, segment.number).exists() {
                self.segments.push_back(segment);
            } else {
                gone += segment.records;
                self.remove(segment.number, segment.bytes);
            }
        }
        gone
    }

    /// Notes in the index that there is a segment.
    fn note(&mut self, number: u64, records: Option<u32>) {
        let outcome = self.index.note(number, records);
        self.report_index(outcome);
    }

    fn write_index(&mut self) {
        let outcome = self.index.write();
        self.report_index(outcome);
    }

    fn report_index(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.complain("spool index cannot be written; a removed segment will go unnoticed", &error);
        }
    }

    fn sync(&mut self) {
        if let Some(Err(error)) = self.writing.as_mut().map(SegmentWriter::sync) {
            self.complain("not synced", &error);
        }
    }

    /// A new file's name must survive as well as its bytes.
    fn sync_directory(&mut self) {
        if self.options.fsync != Fsync::None
            && let Err(error) = File::open(&self.directory).and_then(|directory| directory.sync_all())
        {
            self.complain("not synced", &error);
        }
    }

    fn remove(&mut self, number: u64, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let outcome = self.index.forget(number);
        self.report_index(outcome);
        match std::fs::remove_file(segment::path(&self.directory, number)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.complain("cannot remove a segment; after a restart its records are sent again", &error),
        }
    }

    /// Once: a disk that fails fails all the time.
    fn complain(&mut self, what: &str, error: &io::Error) {
        if std::mem::replace(&mut self.complained, true) {
            tracing::debug!(path = %self.directory.display(), %error, "spool: {what}");
        } else {
            tracing::warn!(path = %self.directory.display(), %error, "spool: {what}");
        }
    }
}

fn open_cursor(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join("cursor"))
}

fn closed(writer: &SegmentWriter) -> SpoolSegment {
    SpoolSegment { number: writer.number, bytes: writer.bytes, records: writer.datasets, from: 0, foreign: false }
}

/// Bytes on disk at most, where a segment is begun and completed for them.
fn cost(batch: &Batch) -> u64 {
    let ids: usize = batch.iter().map(|item| item.id.len()).sum();
    (batch.bytes() + ids + batch.records() * RECORD_COST) as u64 + SEGMENT_COST
}

#[cfg(test)]
pub(in crate::sink) mod tests;
