//! The declarations as text: the table of docs/settings.md, and lines of a given width.
//!
//! Shows no current value (`cli` does).

use std::fmt::Write;

use super::variables::{Group, VARIABLES};

/// The table of docs/settings.md.
pub fn markdown() -> String {
    let mut out = String::new();
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _ = write!(out, "## {}\n\n| variable | meaning | allowed | default |\n|---|---|---|---|\n", group.title());
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

#[cfg(test)]
mod tests {
    use super::*;

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
