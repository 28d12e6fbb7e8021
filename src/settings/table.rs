//! The declarations as text: the table of docs/settings.md, and lines of a given width.
//!
//! Shows no current value (`cli` does).

use std::fmt::Write;

use super::variables::{GROUPS, VARIABLES};

/// The table of docs/settings.md.
pub fn markdown() -> String {
    let mut out = String::new();
    for group in GROUPS {
        // Writing to a String cannot fail.
        let _ = write!(out, "## {group}\n\n| variable | meaning | allowed | default |\n|---|---|---|---|\n");
        for variable in VARIABLES.iter().filter(|variable| variable.group == *group) {
            let (name, default) = (variable.name, variable.default);
            let meaning = cell(&variable.explained());
            let _ = writeln!(out, "| `{name}` | {meaning} | {} | `{default}` |", cell(&variable.allowed()));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

/// `text` in lines of at most `width` characters; a longer word has its own line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `1 connection`, `2,000 connections`: `what` is a noun in the plural, with or without words around it.
pub fn counted(n: u64, what: &str) -> String {
    let is_plural = |word: &&str| word.trim_end_matches(':').ends_with('s');
    // The noun is the first word, or the one behind an adjective.
    let Some(noun) = what.split(' ').take(2).find(is_plural).filter(|_| n == 1) else {
        return format!("{} {what}", thousands(n));
    };
    let bare = noun.trim_end_matches(':');
    let singular = match bare.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => bare.strip_suffix('s').unwrap_or(bare).to_owned(),
    };
    format!("1 {}", what.replacen(bare, &singular, 1))
}

/// With a comma for every three digits.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_counted_in_the_singular() {
        for (n, what, expected) in [
            (0, "connections", "0 connections"),
            (1, "connections", "1 connection"),
            (2, "connections", "2 connections"),
            (1_234_567, "bytes", "1,234,567 bytes"),
            (1, "packets: the buffer was full", "1 packet: the buffer was full"),
            (1, "failed attempts", "1 failed attempt"),
            (1, "entries", "1 entry"),
            (1, "frames cut by the snap length", "1 frame cut by the snap length"),
            (1, "left out by its format", "1 left out by its format"),
        ] {
            assert_eq!(counted(n, what), expected);
        }
    }

    #[test]
    fn every_setting_has_one_row_of_four_cells() {
        let table = markdown();
        for variable in VARIABLES {
            let rows: Vec<_> =
                table.lines().filter(|line| line.starts_with(&format!("| `{}` |", variable.name))).collect();
            assert_eq!(rows.len(), 1, "{}", variable.name);
            assert_eq!(rows[0].matches(" |").count(), 4, "{}", rows[0]);
        }
    }

    #[test]
    fn lines_are_no_longer_than_asked() {
        assert_eq!(wrapped("a bb ccc dddddd e", 5), ["a bb", "ccc", "dddddd", "e"]);
        assert!(wrapped("", 5).is_empty());
    }
}
