//! What earlier runs left in a spool: every byte is read once, and what is missing or damaged is counted. Owns no order of
//! delivery; what one segment holds is known to `segment`.

use std::io;

use super::cursor::SpoolPosition;
use super::index::Listed;
use super::layout::BadHeader;
use super::segment::{self, FoundSegment};
use super::{Spool, SpoolSegment};
use crate::ledger::PerDataset;

/// What earlier runs left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sink) struct OpenedSpool {
    /// Records to deliver.
    pub(in crate::sink) records: PerDataset,
    /// Records known to be damaged, or to have been in segments that are missing.
    pub(in crate::sink) lost: u64,
    /// Bytes of no readable record.
    pub(in crate::sink) damaged_bytes: u64,
    /// Of those, bytes that held an unknown number of records.
    pub(in crate::sink) unknown_bytes: u64,
    /// Segments that are missing or empty, and held an unknown number of records.
    pub(in crate::sink) missing_segments: u64,
    /// Records in another encoding, left alone.
    pub(in crate::sink) foreign: u64,
}

/// What the index says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedSegment {
    /// There is no index.
    Unknown,
    /// It has no such segment: none of its records waits.
    No,
    Growing,
    Complete(u32),
}

impl NamedSegment {
    fn of(listed: Option<&Listed>, number: u64) -> Self {
        match listed.map(|listed| listed.get(&number)) {
            None => Self::Unknown,
            Some(None) => Self::No,
            Some(Some(None)) => Self::Growing,
            Some(Some(Some(records))) => Self::Complete(*records),
        }
    }

    fn records(self) -> Option<u32> {
        if let Self::Complete(records) = self { Some(records) } else { None }
    }
}

impl OpenedSpool {
    /// Nothing of a segment can be read; its records before `from` were settled.
    fn lose_segment(&mut self, named: NamedSegment, from: u32, bytes: u64) {
        match named {
            NamedSegment::Complete(records) => self.lost += u64::from(records.saturating_sub(from)),
            NamedSegment::Growing | NamedSegment::Unknown if bytes > 0 => self.unknown_bytes += bytes,
            NamedSegment::Growing => self.missing_segments += 1,
            NamedSegment::No | NamedSegment::Unknown => {}
        }
        self.damaged_bytes += bytes;
    }
}

impl Spool {
    pub(super) fn scan(&mut self, position: SpoolPosition) -> io::Result<OpenedSpool> {
        let (mut opened, mut buffer) = (OpenedSpool::default(), Vec::new());
        let listed = self.index.read();
        let numbers = segment::list(&self.directory)?;
        let from = |number: u64| if position.segment == number { position.ordinal } else { 0 };
        for number in &numbers {
            let named = NamedSegment::of(listed.as_ref(), *number);
            self.scan_segment(*number, named, from(*number), &mut buffer, &mut opened);
        }
        for number in listed.iter().flat_map(Listed::keys) {
            self.next_number = self.next_number.max(number.saturating_add(1));
            if numbers.binary_search(number).is_err() {
                let (named, path) =
                    (NamedSegment::of(listed.as_ref(), *number), segment::path(&self.directory, *number));
                tracing::warn!(path = %path.display(), "spool: a segment is missing");
                opened.lose_segment(named, from(*number), 0);
            }
        }
        if listed.is_some() || !numbers.is_empty() {
            self.write_index();
        }
        Ok(opened)
    }

    fn scan_segment(
        &mut self,
        number: u64,
        named: NamedSegment,
        from: u32,
        buffer: &mut Vec<u8>,
        opened: &mut OpenedSpool,
    ) {
        self.next_number = self.next_number.max(number.saturating_add(1));
        let path = segment::path(&self.directory, number);
        match segment::survey(&path, from, named.records(), buffer) {
            Ok(Ok(found)) => self.take_in(number, from, found, opened),
            Ok(Err(BadHeader::OtherVersion)) => {
                self.index.add(number, None);
                let (bytes, records) = (buffer.len() as u64, PerDataset::default());
                self.push(SpoolSegment { number, bytes, records, from: 0, foreign: true });
            }
            Ok(Err(BadHeader::Damaged)) if named == NamedSegment::No => {
                self.complain(
                    "a file is named like a segment but is not one; leaving it",
                    &io::ErrorKind::InvalidData.into(),
                );
            }
            Ok(Err(BadHeader::Torn)) if named == NamedSegment::Unknown => {
                opened.damaged_bytes += buffer.len() as u64;
                self.remove(number, 0);
            }
            Ok(Err(BadHeader::Torn | BadHeader::Damaged)) => {
                opened.lose_segment(named, from, buffer.len() as u64);
                self.remove(number, 0);
            }
            Err(error) => {
                self.complain("cannot read a segment; leaving it", &error);
                let bytes = std::fs::metadata(&path).map_or(0, |found| found.len()).max(1);
                opened.damaged_bytes += bytes;
                opened.unknown_bytes += bytes;
            }
        }
    }

    fn take_in(&mut self, number: u64, from: u32, found: FoundSegment, opened: &mut OpenedSpool) {
        let foreign = *found.encoding != *self.options.encoding;
        if foreign {
            opened.foreign += found.records.total();
        } else {
            opened.records += found.records;
            opened.unknown_bytes += found.unknown;
            opened.lost += found.lost;
            opened.damaged_bytes += found.damaged;
        }
        if found.records.total() == 0 {
            return self.remove(number, 0);
        }
        self.index.add(number, Some(found.ordinals));
        self.push(SpoolSegment { number, bytes: found.bytes, records: found.records, from, foreign });
    }

    fn push(&mut self, segment: SpoolSegment) {
        self.bytes += segment.bytes;
        self.segments.push_back(segment);
    }
}
