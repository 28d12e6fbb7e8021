//! One segment file: how it is written, found and read. Owns nothing of the order of segments or of what is settled.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{self, BadHeader, SegmentHeader, encode_record};
use crate::ledger::PerDataset;
use crate::sink::batch::{Batch, BlockPiece, RecordBlock};

/// Bytes encoded before they are written.
const WRITE_BYTES: usize = 64 << 10;

/// `00000000000000000042.seg`: names sort by age.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.seg"))
}

/// The numbers of all segments in a directory, oldest first. Other files are no one's business here.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|digits| digits.len() == 20);
        numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest segment, still growing.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    file: File,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) records: u32,
    pub(super) datasets: PerDataset,
    header: SegmentHeader,
    buffer: Vec<u8>,
    synced: bool,
}

impl SegmentWriter {
    pub(super) fn create(directory: &Path, number: u64, encoding: &str) -> io::Result<Self> {
        let path = path(directory, number);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let marker = (RandomState::new().hash_one(number) as u32).to_le_bytes();
        let header = SegmentHeader::new(marker, encoding);
        let bytes = header.encode();
        if let Err(error) = file.write_all(&bytes) {
            // A header without records is of no use; if it cannot be removed the next start does.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let (bytes, datasets) = (bytes.len() as u64, PerDataset::default());
        Ok(Self { file, number, bytes, records: 0, datasets, header, buffer: Vec::new(), synced: false })
    }

    /// Appends; returns how many whole records are in the file now. A part of one is cut off again, and after an error
    /// nothing more is to be appended here.
    pub(super) fn append(&mut self, batch: &Batch) -> (usize, io::Result<()>) {
        self.synced = false;
        let (mut done, mut ends) = (0, Vec::new());
        let before = self.records;
        let appended = self.append_all(batch, &mut done, &mut ends);
        self.datasets += batch.range(0, (self.records - before) as usize).datasets();
        (done, appended)
    }

    fn append_all(&mut self, batch: &Batch, done: &mut usize, ends: &mut Vec<usize>) -> io::Result<()> {
        let mut items = batch.iter().peekable();
        while let Some(item) = items.next() {
            if !encode_record(&mut self.buffer, self.header.marker, self.records + ends.len() as u32, &item) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a record too large for the spool"));
            }
            ends.push(self.buffer.len());
            if self.buffer.len() < WRITE_BYTES && items.peek().is_some() {
                continue;
            }
            let (whole, outcome) = self.write_out(ends);
            *done += whole;
            outcome?;
            ends.clear();
        }
        Ok(())
    }

    /// Nothing more is appended. Where the footer cannot be written, the segment is read without it.
    pub(super) fn complete(&mut self) {
        let footer = self.header.footer(self.records);
        match self.file.write_all(&footer) {
            Ok(()) => self.bytes += footer.len() as u64,
            Err(_) => drop(self.file.set_len(self.bytes)),
        }
        self.synced = false;
    }

    fn write_out(&mut self, ends: &[usize]) -> (usize, io::Result<()>) {
        let (written, outcome) = write_counted(&mut self.file, &self.buffer);
        let whole = ends.partition_point(|end| *end <= written);
        let whole_bytes = whole.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
        self.bytes += whole_bytes as u64;
        self.records += whole as u32;
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_BYTES);
        if whole_bytes < written {
            // Where even that fails, the part is what a torn write is to every reader.
            let _ = self.file.set_len(self.bytes);
        }
        (whole, outcome)
    }

    /// fdatasync, once for what was written since.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync_data()?;
            self.synced = true;
        }
        Ok(())
    }
}

fn write_counted(out: &mut impl Write, mut bytes: &[u8]) -> (usize, io::Result<()>) {
    let total = bytes.len();
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return (total - bytes.len(), Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (total - bytes.len(), Err(error)),
        }
    }
    (total, Ok(()))
}

/// What a look at a segment of an earlier run found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FoundSegment {
    pub(super) encoding: Box<str>,
    pub(super) bytes: u64,
    pub(super) records: PerDataset,
    /// Records that it has or had, also those that were settled.
    pub(super) ordinals: u32,
    /// Known to be lost; of which dataset they were is not.
    pub(super) lost: u64,
    pub(super) damaged: u64,
    /// Of `damaged`, bytes that held an unknown number of records.
    pub(super) unknown: u64,
}

/// Reads a whole segment only to count what is in it. Counts from ordinal `from` on, of this many `records` where that is known;
/// `buffer` is reused.
pub(super) fn survey(
    path: &Path,
    from: u32,
    records: Option<u32>,
    buffer: &mut Vec<u8>,
) -> io::Result<Result<FoundSegment, BadHeader>> {
    read_into(path, buffer)?;
    let bytes = buffer.len() as u64;
    let opened = match layout::open(buffer) {
        Ok(opened) => opened,
        Err(why) => return Ok(Err(why)),
    };
    let (encoding, mut all) = (opened.header.encoding.clone(), opened.of_at_least(records).records(from));
    let mut records = PerDataset::default();
    all.by_ref().for_each(|stored| records.add(stored.item.dataset, 1));
    let (ordinals, lost, damaged, unknown) = (all.next, all.lost, all.damaged, all.unknown);
    Ok(Ok(FoundSegment { encoding, bytes, records, ordinals, lost, damaged, unknown }))
}

/// The records of a segment from ordinal `from` on, in memory, each with its ordinal.
#[derive(Debug)]
pub(super) struct LoadedRecords {
    pub(super) piece: BlockPiece,
    pub(super) ordinals: Vec<u32>,
    pub(super) damaged: u64,
}

/// Reads a segment for delivery.
pub(super) fn load(path: &Path, from: u32) -> io::Result<LoadedRecords> {
    let mut buffer = Vec::new();
    read_into(path, &mut buffer)?;
    let (mut block, mut ordinals) = (RecordBlock::default(), Vec::new());
    let Ok(opened) = layout::open(&buffer) else {
        return Ok(LoadedRecords { piece: BlockPiece::whole(Arc::new(block)), ordinals, damaged: buffer.len() as u64 });
    };
    let mut records = opened.records(from);
    for stored in records.by_ref() {
        block.push(stored.item.dataset, |out| {
            out.extend_from_slice(stored.item.body);
            (stored.item.id.into(), stored.item.at)
        });
        ordinals.push(stored.ordinal);
    }
    let damaged = records.damaged;
    Ok(LoadedRecords { piece: BlockPiece::whole(Arc::new(block.take_exact())), ordinals, damaged })
}

fn read_into(path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let mut file = File::open(path)?;
    io::Read::read_to_end(&mut file, buffer)?;
    Ok(())
}
