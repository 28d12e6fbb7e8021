//! The records of a segment, in order: what is damaged is passed over and counted. Owns how much a reader knows of what
//! it cannot read; it does not know where the segment came from.

use super::{
    BLOCK, FIXED, LayoutVersion, Marker, NextBytes, OpenedSegment, PREFIX, SegmentHeader, SpooledRecord, starts_alike,
    v1,
};
use crate::flow::Timestamp;
use crate::record::Dataset;
use crate::sink::batch::BatchItem;

/// The records of a segment.
#[derive(Debug)]
pub(in crate::sink::spool) struct SegmentRecords<'a> {
    header: SegmentHeader,
    version: LayoutVersion,
    rest: &'a [u8],
    complete: Option<u32>,
    from: u32,
    /// The ordinal behind the last record that is known.
    pub(in crate::sink::spool) next: u32,
    /// Bytes since the last record that was known; what they held is not known yet.
    gap: &'a [u8],
    /// Records known to be lost.
    pub(in crate::sink::spool) lost: u64,
    /// Bytes that belong to no record that can be read.
    pub(in crate::sink::spool) damaged: u64,
    /// Of those, bytes that held an unknown number of records.
    pub(in crate::sink::spool) unknown: u64,
}

impl<'a> SegmentRecords<'a> {
    pub(super) fn new(opened: OpenedSegment<'a>, from: u32) -> Self {
        let OpenedSegment { header, version, bytes, complete, damaged } = opened;
        Self { header, version, rest: bytes, complete, from, next: 0, gap: &[], lost: 0, damaged, unknown: 0 }
    }

    /// All records before `ordinal` that were not read are lost.
    fn lose_up_to(&mut self, ordinal: u32) {
        self.lost += u64::from(ordinal.max(self.from).saturating_sub(self.next.max(self.from)));
        self.next = self.next.max(ordinal);
        self.gap = &[];
    }

    fn skip(&mut self, bytes: usize) {
        if self.gap.is_empty() {
            self.gap = self.rest;
        }
        self.damaged += bytes as u64;
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn parse(&self) -> NextBytes<'a> {
        let next = match self.version {
            LayoutVersion::One => v1::parse(self.header.marker, self.rest),
            LayoutVersion::Two => parse(self.header.marker, self.rest),
        };
        match next {
            // Bytes of an earlier record that somebody put here: not the next one.
            NextBytes::Record(SpooledRecord { ordinal, .. }, _)
            | NextBytes::Damaged { ordinal, .. }
            | NextBytes::Torn { ordinal }
                if ordinal < self.next =>
            {
                NextBytes::Nothing
            }
            next
            @ (NextBytes::Record(..) | NextBytes::Damaged { .. } | NextBytes::Torn { .. } | NextBytes::Nothing) => next,
        }
    }

    /// Counts what is missing at the end.
    fn end(&mut self) {
        if let Some(records) = self.complete.take() {
            return self.lose_up_to(records);
        }
        let gap = std::mem::take(&mut self.gap);
        if !gap.is_empty() && !self.is_torn(gap) {
            self.unknown += gap.len() as u64;
        }
    }

    /// Whether these last bytes are the beginning of a record, or are a footer: no record is lost with them.
    fn is_torn(&self, gap: &[u8]) -> bool {
        let marker = self.header.marker;
        match self.version {
            LayoutVersion::One => v1::is_torn(marker, gap),
            LayoutVersion::Two if gap.len() < PREFIX && starts_alike(gap, &marker) => true,
            LayoutVersion::Two => {
                let footer = self.header.footer(self.next);
                let same = gap.iter().zip(&footer).filter(|(a, b)| a == b).count();
                gap.len() < BLOCK && footer.starts_with(gap) || gap.len() == BLOCK && same > BLOCK / 2
            }
        }
    }
}

impl<'a> Iterator for SegmentRecords<'a> {
    type Item = SpooledRecord<'a>;

    fn next(&mut self) -> Option<SpooledRecord<'a>> {
        while !self.rest.is_empty() {
            match self.parse() {
                NextBytes::Record(stored, behind) => {
                    self.lose_up_to(stored.ordinal);
                    self.next = stored.ordinal.saturating_add(1);
                    self.rest = behind;
                    if stored.ordinal >= self.from {
                        return Some(stored);
                    }
                }
                NextBytes::Damaged { ordinal, behind } => {
                    self.lose_up_to(ordinal.saturating_add(1));
                    self.damaged += (self.rest.len() - behind.len()) as u64;
                    self.rest = behind;
                }
                NextBytes::Torn { ordinal } if self.complete.is_none() => {
                    self.lose_up_to(ordinal);
                    self.damaged += self.rest.len() as u64;
                    self.rest = &[];
                }
                NextBytes::Torn { .. } | NextBytes::Nothing => {
                    let behind = self.rest.get(1..).unwrap_or_default();
                    let found = memchr::memmem::find(behind, &self.header.marker);
                    self.skip(found.unwrap_or(behind.len()) + 1);
                }
            }
        }
        self.end();
        None
    }
}

fn parse(marker: Marker, bytes: &[u8]) -> NextBytes<'_> {
    let Some((length, ordinal, rest)) = prefix(marker, bytes) else { return NextBytes::Nothing };
    let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(4);
    let Some((record, behind)) = rest.split_at_checked(length) else { return NextBytes::Torn { ordinal } };
    match content(record) {
        Some(item) => NextBytes::Record(SpooledRecord { ordinal, item }, behind),
        None => NextBytes::Damaged { ordinal, behind },
    }
}

/// Length, ordinal, and what follows.
fn prefix(marker: Marker, bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (covered, rest) = bytes.split_at_checked(PREFIX - 4)?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    if !covered.starts_with(&marker) || crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (_, numbers) = covered.split_first_chunk::<4>()?;
    let (length, ordinal) = numbers.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    // Shorter ones were never written.
    (length as usize + 4 >= FIXED).then_some((length, u32::from_le_bytes(*ordinal.first_chunk::<4>()?), rest))
}

fn content(record: &[u8]) -> Option<BatchItem<'_>> {
    let (crc, covered) = record.split_first_chunk::<4>()?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (at, rest) = covered.split_first_chunk::<8>()?;
    let (dataset, rest) = rest.split_first()?;
    let (id_len, rest) = rest.split_first_chunk::<2>()?;
    let (id, body) = rest.split_at_checked(usize::from(u16::from_le_bytes(*id_len)))?;
    let id = std::str::from_utf8(id).ok()?;
    Some(BatchItem { id, at: Timestamp(i64::from_le_bytes(*at)), dataset: Dataset::of_byte(*dataset)?, body })
}
