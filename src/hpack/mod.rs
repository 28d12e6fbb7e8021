//! HPACK, header compression of HTTP/2 (RFC 7541), as an observer reads it.
//!
//! A decoder for each direction of a connection, fed with whole header blocks in order. Joined late, or behind a hole, it
//! gives what is certain and says *unknown* for the rest. Entries of the dynamic table are known from the newest insertion
//! on. It never guesses. Knows no HTTP: neither which names are allowed nor what they mean.

mod huffman;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

use self::table::{DynamicTable, EntryName, IndexedField};

/// Most fields given of one block; the others are read and not given.
pub const MAX_FIELDS: usize = 1024;
/// Most bytes that one block may become, in all: a block of references to long entries ends here ("table bomb").
pub const MAX_TEXT: usize = 256 * 1024;

/// Why a block could not be read. What its direction's table holds is unknown from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBlock {
    /// It breaks the rules of RFC 7541, or we read something that is no block.
    Malformed,
    /// It becomes longer than [`MAX_TEXT`].
    TooLong,
}

/// One name or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldText {
    Static(&'static [u8]),
    /// Begin and length in the text.
    Text(usize, usize),
    Unknown,
}

/// One field, its text in the block.
#[derive(Clone, Copy, Debug)]
struct FieldParts {
    name: FieldText,
    value: FieldText,
    /// The entry it refers to, where that is unknown.
    entry: Option<i64>,
}

/// One field of a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderField<'a> {
    /// Its name; `None`: it is in an entry that is not known.
    pub name: Option<&'a [u8]>,
    /// Its value; `None` likewise.
    pub value: Option<&'a [u8]>,
    /// Number of the entry that it refers to as a whole, where that is not known. The same number within the same
    /// [`HpackDecoder::epoch`] is the same field.
    pub entry: Option<i64>,
}

/// The fields of one block. Used again for the next, so that decoding allocates nothing.
#[derive(Debug, Default)]
pub struct HeaderBlock {
    text: Vec<u8>,
    fields: Vec<FieldParts>,
}

impl HeaderBlock {
    /// The fields in order.
    pub fn fields(&self) -> impl Iterator<Item = HeaderField<'_>> {
        self.fields.iter().map(|field| HeaderField {
            name: self.part(field.name),
            value: self.part(field.value),
            entry: field.entry,
        })
    }

    fn part(&self, part: FieldText) -> Option<&[u8]> {
        match part {
            FieldText::Static(text) => Some(text),
            FieldText::Text(begin, len) => self.text.get(begin..begin + len),
            FieldText::Unknown => None,
        }
    }

    /// Empties it, and gives back memory that an unusual block needed.
    fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.text.shrink_to(16 * 1024);
    }

    fn add(&mut self, bytes: &[u8]) -> FieldText {
        let begin = self.text.len();
        self.text.extend_from_slice(bytes);
        FieldText::Text(begin, bytes.len())
    }

    fn push(&mut self, name: FieldText, value: FieldText, entry: Option<i64>) {
        if self.fields.len() < MAX_FIELDS {
            self.fields.push(FieldParts { name, value, entry });
        }
    }
}

/// The decoder of one direction.
#[derive(Debug)]
pub struct HpackDecoder {
    table: DynamicTable,
    epoch: u32,
    /// The table up to a hole, as long as it may turn out that no block was in it.
    aside: Option<Box<DynamicTable>>,
}

impl Default for HpackDecoder {
    fn default() -> Self {
        Self { table: DynamicTable::new(), epoch: 0, aside: None }
    }
}

impl HpackDecoder {
    /// A decoder that has seen every block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Blocks may be missing before the next one: nothing that was inserted is known any more.
    pub fn forget(&mut self) {
        self.table.forget();
        self.aside = None;
        self.epoch += 1;
    }

    /// Blocks may be missing before the next one. If it turns out before that block that none was, [`resume`](Self::resume).
    pub fn suspend(&mut self) {
        let table = std::mem::replace(&mut self.table, DynamicTable::new());
        self.forget();
        self.aside = Some(Box::new(table));
    }

    /// Whether there is something to resume.
    pub fn is_suspended(&self) -> bool {
        self.aside.is_some()
    }

    /// No block was missing: what was known before the hole is known again.
    pub fn resume(&mut self) {
        if let Some(table) = self.aside.take() {
            self.table = *table;
            self.epoch -= 1;
        }
    }

    /// How often [`forget`](Self::forget) was called.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Bytes that it keeps in memory.
    pub fn kept(&self) -> usize {
        self.table.kept() + self.aside.as_ref().map_or(0, |table| table.kept())
    }

    /// Reads a whole header block into `out`. After an error nothing is known any more, and `out` holds what was read.
    pub fn decode(&mut self, block: &[u8], out: &mut HeaderBlock) -> Result<(), BadBlock> {
        out.clear();
        self.aside = None;
        let mut input = BlockInput { rest: block };
        let mut work = 0;
        while let Some(first) = input.rest.first().copied() {
            let result = self.field(first, &mut input, out);
            // What is copied into the table counts too: a short reference may copy a long name.
            let inserted = result.as_ref().map_or(0, |inserted| *inserted);
            work += inserted;
            let result = result.and_then(|_| {
                let all = out.text.len().saturating_add(work);
                if all > MAX_TEXT { Err(BadBlock::TooLong) } else { Ok(()) }
            });
            if let Err(why) = result {
                self.forget();
                return Err(why);
            }
        }
        Ok(())
    }

    /// Reads one field or instruction; says how many bytes went into the table.
    fn field(&mut self, first: u8, input: &mut BlockInput<'_>, out: &mut HeaderBlock) -> Result<usize, BadBlock> {
        match first {
            // Indexed (§6.1).
            0x80.. => {
                let index = input.integer(7)?;
                self.indexed(index, out).map(|()| 0)
            }
            // Literal with incremental indexing (§6.2.1).
            0x40..=0x7f => self.literal(6, true, input, out),
            // Table size update (§6.3).
            0x20..=0x3f => {
                let size = input.integer(5)?;
                self.table.resize(size);
                Ok(0)
            }
            // Literal without indexing, or never indexed (§6.2.2, §6.2.3).
            0x00..=0x1f => self.literal(4, false, input, out),
        }
    }

    fn indexed(&mut self, index: usize, out: &mut HeaderBlock) -> Result<(), BadBlock> {
        if let Some((name, value)) = static_table::entry(index) {
            out.push(FieldText::Static(name), FieldText::Static(value), None);
            return Ok(());
        }
        let index = index.checked_sub(static_table::LEN + 1).ok_or(BadBlock::Malformed)?;
        match self.table.find(index) {
            IndexedField::Entry(name, value) => {
                let name = part_of(name, out);
                let value = out.add(value);
                out.push(name, value, None);
            }
            IndexedField::Unknown(number) => out.push(FieldText::Unknown, FieldText::Unknown, Some(number)),
            IndexedField::Nothing => return Err(BadBlock::Malformed),
        }
        Ok(())
    }

    fn literal(
        &mut self,
        prefix: u32,
        insert: bool,
        input: &mut BlockInput<'_>,
        out: &mut HeaderBlock,
    ) -> Result<usize, BadBlock> {
        let index = input.integer(prefix)?;
        let (name, static_name) = self.name(index, input, out)?;
        let value = input.string(out)?;
        out.push(name, value, None);
        if !insert {
            return Ok(0);
        }
        let text = |part| match part {
            FieldText::Text(begin, len) => out.text.get(begin..begin + len),
            FieldText::Static(text) => Some(text),
            FieldText::Unknown => None,
        };
        let value = text(value).unwrap_or_default();
        let (name, len) = match (static_name, text(name)) {
            (Some(index), _) => (EntryName::Static(index), 0),
            (None, Some(text)) => (EntryName::Text(text), text.len()),
            (None, None) => (EntryName::Unknown, 0),
        };
        self.table.insert(name, value);
        Ok(len + value.len())
    }

    /// The name of a literal, and its index where that is the static table's.
    fn name(
        &self,
        index: usize,
        input: &mut BlockInput<'_>,
        out: &mut HeaderBlock,
    ) -> Result<(FieldText, Option<u8>), BadBlock> {
        if index == 0 {
            return Ok((input.string(out)?, None));
        }
        if let Some((name, _)) = static_table::entry(index) {
            return Ok((FieldText::Static(name), u8::try_from(index).ok()));
        }
        let index = index.checked_sub(static_table::LEN + 1).ok_or(BadBlock::Malformed)?;
        match self.table.find(index) {
            IndexedField::Entry(name, _) => {
                let index = if let EntryName::Static(index) = name { Some(index) } else { None };
                Ok((part_of(name, out), index))
            }
            IndexedField::Unknown(_) => Ok((FieldText::Unknown, None)),
            IndexedField::Nothing => Err(BadBlock::Malformed),
        }
    }
}

fn part_of(name: EntryName<'_>, out: &mut HeaderBlock) -> FieldText {
    match name {
        EntryName::Static(index) => {
            static_table::entry(usize::from(index)).map_or(FieldText::Unknown, |(name, _)| FieldText::Static(name))
        }
        EntryName::Text(text) => out.add(text),
        EntryName::Unknown => FieldText::Unknown,
    }
}

/// What is left of a block.
struct BlockInput<'a> {
    rest: &'a [u8],
}

impl<'a> BlockInput<'a> {
    fn byte(&mut self) -> Result<u8, BadBlock> {
        let (first, rest) = self.rest.split_first().ok_or(BadBlock::Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An integer whose first byte has `prefix` bits for it (§5.1). Nothing in a block is longer than 2^28.
    fn integer(&mut self, prefix: u32) -> Result<usize, BadBlock> {
        let mask = (1usize << prefix) - 1;
        let mut number = usize::from(self.byte()?) & mask;
        if number < mask {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadBlock::Malformed)
    }

    /// A string, plain or in Huffman's code (§5.2), into the text of `out`.
    fn string(&mut self, out: &mut HeaderBlock) -> Result<FieldText, BadBlock> {
        let coded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let len = self.integer(7)?;
        let (string, rest) = self.rest.split_at_checked(len).ok_or(BadBlock::Malformed)?;
        self.rest = rest;
        if !coded {
            return Ok(out.add(string));
        }
        let begin = out.text.len();
        if !huffman::decode(string, &mut out.text) {
            return Err(BadBlock::Malformed);
        }
        Ok(FieldText::Text(begin, out.text.len() - begin))
    }
}
