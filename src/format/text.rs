//! `FORMAT=text`: one aligned line for each exchange or event, for people.
//!
//! Nothing in it can move a cursor or change a colour: every byte that is not printable ASCII is escaped here once
//! more. Not meant to be parsed.

mod columns;
mod connect;
mod events;
mod exchange;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};

use compact_str::CompactString;

use self::columns::TextColumns;
pub use self::columns::{ShownDuration, ShownSize};
use super::stamp::Rfc3339Stamp;
use crate::flow::Timestamp;
use crate::record::Record;

const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// How lines are shown. The default is for files: no colours, UTC, no width to keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Columns of the terminal.
    pub width: Option<usize>,
    /// Whether it shows colours.
    pub colour: bool,
    /// From how many nanoseconds on an exchange is slow (SLOW_AFTER_MS).
    pub slow_after: Option<u64>,
    /// Seconds that the times shown are ahead of UTC.
    pub utc_offset: i32,
}

/// Appends a record as one line. A ledger record has none.
pub fn write_line(out: &mut Vec<u8>, record: &Record, style: &TextStyle) {
    let mut line = CompactString::with_capacity(160);
    let mut writer = TextLine { out: &mut line, style, columns: TextColumns::of(style.width) };
    // Writing to a string cannot fail.
    let _ = match record {
        Record::Http(exchange) => writer.exchange(exchange),
        Record::Flow(flow) => writer.flow(flow),
        Record::Conntrack(event) => writer.conntrack(event),
        Record::Verdict(packet) => writer.verdict(packet),
        Record::Connect(connect) => writer.connect(connect),
        Record::Ledger(_) => return,
    };
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// What the columns of exchanges are, in the same widths; without a newline.
pub fn heading(style: &TextStyle) -> String {
    let columns = TextColumns::of(style.width);
    let time = if style.utc_offset == 0 { "time (UTC)" } else { "time" };
    let mut out = format!("{time:<width$}", width = columns.time_width(style.utc_offset) + 3);
    let _ = write!(out, "{:<width$} ", "method and URL", width = columns.what);
    if columns.size {
        out.push_str("status    size")
    } else {
        out.push_str("status  ")
    }
    let _ = write!(out, "{:>width$}  peer [unusual]", "duration", width = columns::TOOK + 1);
    out
}

struct TextLine<'a> {
    out: &'a mut CompactString,
    style: &'a TextStyle,
    columns: TextColumns,
}

impl TextLine<'_> {
    /// When it began: with `Z`, or the offset of local time.
    fn time(&mut self, at: Timestamp) -> fmt::Result {
        let offset = self.style.utc_offset;
        let shifted = Timestamp(at.0.saturating_add(i64::from(offset) * 1_000_000_000));
        let stamp = Rfc3339Stamp::new(shifted);
        let digits = stamp.time_of_day().get(..self.columns.time_digits).unwrap_or_default();
        if offset == 0 {
            return self.painted(DIM, format_args!("{digits}Z"));
        }
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
        self.painted(DIM, format_args!("{digits}{sign}{:02}:{:02}", minutes / 60, minutes % 60))
    }

    fn painted(&mut self, colour: &str, text: impl fmt::Display) -> fmt::Result {
        if self.style.colour { write!(self.out, "{colour}{text}{RESET}") } else { write!(self.out, "{text}") }
    }

    /// Padded with spaces to `width` characters from `start` on.
    fn pad(&mut self, start: usize, width: usize) {
        let shown = self.out.get(start..).map_or(0, |text| text.chars().count());
        self.out.extend(std::iter::repeat_n(' ', width.saturating_sub(shown)));
    }

    fn names(&mut self, mut before: &'static str, names: impl Iterator<Item = &'static str>) -> fmt::Result {
        for name in names {
            write!(self.out, "{before}{name}")?;
            before = ", ";
        }
        Ok(())
    }
}
