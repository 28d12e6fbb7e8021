//! The dynamic table (RFC 7541 §2.3.2), as far as an observer can know it.
//!
//! Entries are found by their distance from the newest. What was inserted before we came, or may have been in a hole, is
//! *unknown*, and never means anything else. To keep more than the encoder does is harmless: what it has evicted it refers
//! to no more. An entry that was too large for its table emptied that table, so the distances of later ones are the same.
//! So the size that the encoder uses need not be known for any value to be right. Decodes nothing.

use std::collections::VecDeque;

use super::static_table;

/// Overhead of an entry (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// The size that an encoder may use until it says otherwise (RFC 9113 §6.5.2).
const INITIAL_SIZE: usize = 4096;
/// Most bytes of one table that are kept, whatever its encoder may use: older entries are unknown.
pub(super) const MAX_SIZE: usize = 16 * 1024;

/// A name as an entry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryName<'a> {
    /// By an index of the static table.
    Static(u8),
    Text(&'a [u8]),
    Unknown,
}

/// What an index means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexedField<'a> {
    Entry(EntryName<'a>, &'a [u8]),
    /// An entry that is not known; which one, by its number: insertions since all was unknown count from 0, those before
    /// it down from -1.
    Unknown(i64),
    /// There is no such entry.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct TableEntry {
    /// Where its text begins, counted from the first byte ever kept.
    at: u32,
    /// Length of its name in the text; `STATIC` and above: an index of the static table; `UNKNOWN`.
    name: u32,
    value: u32,
}

const STATIC: u32 = u32::MAX - 256;
const UNKNOWN: u32 = u32::MAX;

impl TableEntry {
    fn name_len(self) -> usize {
        if self.name >= STATIC { 0 } else { self.name as usize }
    }

    fn size(self) -> usize {
        let name = match self.name {
            UNKNOWN => 0,
            index if index >= STATIC => {
                static_table::entry((index - STATIC) as usize).map_or(0, |(name, _)| name.len())
            }
            len => len as usize,
        };
        name + self.value as usize + OVERHEAD
    }
}

/// The table of one direction.
#[derive(Debug)]
pub(super) struct DynamicTable {
    /// Oldest first.
    entries: VecDeque<TableEntry>,
    text: Vec<u8>,
    /// The number of the first byte in `text`.
    base: u32,
    size: usize,
    max: usize,
    /// Below the known entries there is nothing, rather than something unknown.
    complete: bool,
    /// `max` is what the encoder uses; else it is only what we keep.
    max_known: bool,
    /// Entries inserted since all was unknown.
    inserted: i64,
}

impl DynamicTable {
    /// That of a connection whose first byte was seen.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            text: Vec::new(),
            base: 0,
            size: 0,
            max: INITIAL_SIZE,
            complete: true,
            max_known: true,
            inserted: 0,
        }
    }

    /// All is unknown from now on: we joined late, or a header block was lost.
    pub(super) fn forget(&mut self) {
        *self = Self { max: MAX_SIZE, complete: false, max_known: false, ..Self::new() };
    }

    /// What is at `index` of the dynamic table, from 0 for the newest.
    pub(super) fn find(&self, index: usize) -> IndexedField<'_> {
        let known = self.entries.len();
        let entry = known.checked_sub(index.saturating_add(1)).and_then(|at| self.entries.get(at));
        let Some(entry) = entry else {
            let number = self.inserted.saturating_sub(index as i64 + 1);
            return if self.complete { IndexedField::Nothing } else { IndexedField::Unknown(number) };
        };
        let begin = entry.at.wrapping_sub(self.base) as usize;
        let text = self.text.get(begin..).unwrap_or_default();
        let (name, rest) = text.split_at_checked(entry.name_len()).unwrap_or_default();
        let value = rest.get(..entry.value as usize).unwrap_or_default();
        let name = match entry.name {
            UNKNOWN => EntryName::Unknown,
            index if index >= STATIC => EntryName::Static((index - STATIC) as u8),
            _ => EntryName::Text(name),
        };
        IndexedField::Entry(name, value)
    }

    /// Inserts an entry in front. One that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: EntryName<'_>, value: &[u8]) {
        let (name_text, name) = match name {
            EntryName::Text(text) => (text, text.len() as u32),
            EntryName::Static(index) => (&b""[..], STATIC + u32::from(index)),
            EntryName::Unknown => (&b""[..], UNKNOWN),
        };
        let mut entry = TableEntry { at: 0, name, value: value.len() as u32 };
        self.inserted += 1;
        let size = entry.size();
        self.evict_to(self.max.saturating_sub(size));
        if size > self.max {
            // Where the encoder's table may be larger than ours it may have the entry, and we do not.
            self.complete = self.max_known;
            return;
        }
        self.compact();
        entry.at = self.base.wrapping_add(self.text.len() as u32);
        self.text.extend_from_slice(name_text);
        self.text.extend_from_slice(value);
        self.entries.push_back(entry);
        self.size += size;
    }

    /// The encoder uses `size` bytes from now on (RFC 7541 §6.3).
    pub(super) fn resize(&mut self, size: usize) {
        self.max_known = size <= MAX_SIZE;
        self.max = size.min(MAX_SIZE);
        self.evict_to(self.max);
        if size == 0 {
            self.complete = true;
        }
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
            // The encoder evicted all that was older, or we keep less than it does.
            self.complete = self.max_known;
        }
    }

    /// Lets go of the text of evicted entries, once they are more than those kept.
    fn compact(&mut self) {
        let first = self.entries.front().map_or(self.text.len(), |e| e.at.wrapping_sub(self.base) as usize);
        if first > self.text.len() / 2 {
            self.text.drain(..first.min(self.text.len()));
            self.base = self.base.wrapping_add(first as u32);
        }
    }

    /// Bytes that it keeps in memory.
    pub(super) fn kept(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<TableEntry>()
    }
}
