//! The widths of the columns, and numbers and texts that fit into them. Knows no record.

use std::fmt;

use compact_str::CompactString;

/// Width of the column of durations.
pub(super) const TOOK: usize = 8;
/// Width of the column of sizes.
pub(super) const SIZE: usize = 8;
/// Width of the status, where a size follows.
pub(super) const STATUS: usize = 3;
/// Width of status or of why there is none, where no size follows.
pub(super) const STATUS_OR_WHY: usize = 8;

/// `255.255.255.255:65535`: what most peers need at most.
const PEER: usize = 21;
/// Below this many columns the size is left out, and a time has milliseconds.
const ROOMY: usize = 100;
/// Method and URL in a file, where a longer one pushes the rest to the right.
const WHAT_IN_FILES: usize = 39;
/// Method and URL have at least so much, however narrow the terminal.
const LEAST_WHAT: usize = 16;
/// And at most, however wide.
const MOST_WHAT: usize = 110;
/// What is shown of a longer URL in a file.
const LONGEST_IN_FILES: usize = 400;
/// Arrow and spaces around it.
const ARROW: usize = 3;

/// The columns of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextColumns {
    /// Characters of `12:34:56.789012` that are shown.
    pub(super) time_digits: usize,
    /// Method and URL together.
    pub(super) what: usize,
    /// The most that is shown of them.
    pub(super) longest_what: usize,
    /// Whether there is a column for the size.
    pub(super) size: bool,
}

impl TextColumns {
    pub(super) fn of(width: Option<usize>) -> Self {
        let Some(width) = width else {
            return Self { time_digits: 15, what: WHAT_IN_FILES, longest_what: LONGEST_IN_FILES, size: true };
        };
        let size = width >= ROOMY;
        let (time_digits, status) = if size { (15, STATUS + 1 + SIZE) } else { (12, STATUS_OR_WHY) };
        let rest = time_digits + 1 + ARROW + 1 + status + 1 + TOOK + 2 + PEER;
        // Some of what a wide terminal has is for what is unusual, behind the peer.
        let unusual = width.saturating_sub(ROOMY) / 4;
        let what = width.saturating_sub(rest + unusual).clamp(LEAST_WHAT, MOST_WHAT);
        Self { time_digits, what, longest_what: what, size }
    }

    /// Of a time and its zone.
    pub(super) fn time_width(self, utc_offset: i32) -> usize {
        self.time_digits + if utc_offset == 0 { 1 } else { "+00:00".len() }
    }
}

/// Cuts the middle out of `text[start..]`, which is printable ASCII, so that `most` characters are left. The host and the
/// end of a path say more than what is between them.
pub(super) fn cut_middle(text: &mut CompactString, start: usize, most: usize) {
    let shown = text.len().saturating_sub(start);
    if shown <= most || most == 0 {
        return;
    }
    let kept = most - 1;
    let (head, tail) = (kept / 2, kept - kept / 2);
    let Some(end) = text.get(text.len() - tail..).map(CompactString::from) else { return };
    text.truncate(start + head);
    text.push('…');
    text.push_str(&end);
}

/// Bytes in powers of ten, two digits at least: `812 B`, `1.8 kB`, `12 MB`.
#[derive(Clone, Copy, Debug)]
pub struct ShownSize(pub u64);

impl fmt::Display for ShownSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
    }
}

/// Nanoseconds: `850 us`, `12.4 ms`, `10.0 s`.
#[derive(Clone, Copy, Debug)]
pub struct ShownDuration(pub u64);

impl fmt::Display for ShownDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1000;
        match micros {
            0..1000 => write!(f, "{micros} us"),
            1000..1_000_000 => write!(f, "{:.1} ms", micros as f64 / 1e3),
            _ => write!(f, "{:.1} s", micros as f64 / 1e6),
        }
    }
}

fn scaled(f: &mut fmt::Formatter<'_>, n: u64, units: &[&str]) -> fmt::Result {
    let mut value = n as f64;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let mut is_whole = true;
    // What would be printed as 1000 is one of the next unit.
    while value >= 999.5
        && let Some(next) = units.next()
    {
        (value, unit, is_whole) = (value / 1000.0, next, false);
    }
    let digits = usize::from(!is_whole && value < 9.95);
    write!(f, "{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1834, "1.8 kB"),
            (12_345_678, "12 MB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18 EB"),
        ];
        for (bytes, expected) in sizes {
            assert_eq!(ShownSize(bytes).to_string(), expected);
        }
        for (nanos, expected) in
            [(999, "0 us"), (850_000, "850 us"), (12_400_000, "12.4 ms"), (61_000_000_000, "61.0 s")]
        {
            assert_eq!(ShownDuration(nanos).to_string(), expected);
        }
    }

    #[test]
    fn the_middle_of_a_long_text_is_cut_and_both_ends_stay() {
        for (most, expected) in
            [(20, "GET shop/a/b/c/d"), (9, "GET …/c/d"), (2, "…d"), (1, "…"), (0, "GET shop/a/b/c/d")]
        {
            let mut text = CompactString::from(">GET shop/a/b/c/d");
            cut_middle(&mut text, 1, most);
            assert_eq!(text, format!(">{expected}"), "{most}");
        }
    }

    #[test]
    fn a_plain_line_fits_into_every_terminal_from_80_columns_on() {
        for width in 80..300 {
            let columns = TextColumns::of(Some(width));
            let status = if columns.size { STATUS + 1 + SIZE } else { STATUS_OR_WHY };
            let line = columns.time_width(0) + ARROW + columns.what + 1 + status + 1 + TOOK + 2 + PEER;
            assert!(line <= width, "{width}: {line}");
            assert!(columns.what == MOST_WHAT || line + width / 4 >= width, "{width}: {line}");
        }
    }
}
