//! `podtap settings`: lists every variable with its meaning, default, current value and the origin of that.
//!
//! Masks nothing itself: the values it gets are already masked.

use std::fmt::Write;
use std::process::ExitCode;

use super::{Listing, WIDTH, refuse, say};
use crate::settings::{
    Bounds, Group, Origin, Pairs, Resolution, Row, Wrong, WrongValue, bytes_in_words, markdown, wrapped,
};
use crate::{assembly, config};

/// Column of the text after a name.
const INDENT: usize = 29;

/// Runs `podtap settings`.
pub fn run(listing: Listing, flags: &Pairs) -> ExitCode {
    match listing {
        Listing::Markdown => {
            let said = say(&markdown());
            if said { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Listing::Current => {
            let resolution = assembly::look(flags);
            let bounds = resolution.outcome.as_ref().ok().map(|settings| Bounds::of(settings, config::memory_limit()));
            let said = say(&listed(&resolution, bounds));
            match resolution.outcome {
                Ok(_) if said => ExitCode::SUCCESS,
                Ok(_) => ExitCode::FAILURE,
                // The listing ends with the notes already.
                Err(wrong) => refuse(&Wrong { warnings: Vec::new(), ..wrong }),
            }
        }
    }
}

/// The listing.
fn listed(resolution: &Resolution, bounds: Option<Bounds>) -> String {
    let mut out = String::new();
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}\n", group.title());
        for row in resolution.rows.iter().filter(|row| row.variable.group == *group) {
            entry(&mut out, row, bounds, resolution.wrong_with(row.variable.name));
        }
    }
    if !resolution.notes.is_empty() {
        out.push_str("Notes\n\n");
        for note in &resolution.notes {
            let _ = writeln!(out, "  {note}");
        }
        out.push('\n');
    }
    out
}

fn entry(out: &mut String, row: &Row, bounds: Option<Bounds>, wrong: Option<&WrongValue>) {
    let variable = row.variable;
    let value = match bounds.and_then(|bounds| found(bounds, variable.name)).filter(|_| row.shown() == "auto") {
        Some(number) => format!("auto: {number}"),
        None => row.shown(),
    };
    let from = if row.origin == Origin::Default {
        "(default)".to_owned()
    } else {
        format!("(from {}; default {})", row.origin, variable.default)
    };
    let _ = writeln!(out, "  {:<width$}{value}  {from}", variable.name, width = INDENT - 2);
    for line in wrong.into_iter().flat_map(|wrong| wrapped(&format!("WRONG: {}", wrong.why), WIDTH - INDENT)) {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
    let about = format!("{} Allowed: {}.", variable.explained(), variable.allowed());
    for line in wrapped(&about, WIDTH - INDENT) {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
    out.push('\n');
}

/// What an `auto` limit came to.
fn found(bounds: Bounds, name: &str) -> Option<String> {
    match name {
        "MAX_CONNECTIONS" => Some(bounds.connections.to_string()),
        "MAX_HELD_BYTES" => Some(bytes_in_words(bounds.held_bytes as u64)),
        "QUEUE_BYTES" => Some(bytes_in_words(bounds.queue_bytes as u64)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{VARIABLES, resolve};

    fn listing(env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        let pairs = |given: &[(&str, &str)]| given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let resolution = resolve(&pairs(env), &pairs(flags), |_| Err(String::new()));
        let bounds = resolution.outcome.as_ref().ok().map(|settings| Bounds::of(settings, Some(64 << 20)));
        listed(&resolution, bounds)
    }

    #[test]
    fn every_setting_is_listed_once_within_the_width() {
        let text = listing(&[], &[]);
        for variable in VARIABLES {
            let lines = text.lines().filter(|line| line.starts_with(&format!("  {} ", variable.name)));
            assert_eq!(lines.count(), 1, "{}", variable.name);
        }
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn a_value_stands_beside_its_origin_and_default() {
        let text = listing(&[("TIMEOUTAFTERMS", "5s"), ("FILE_KEP", "3")], &[("FORMAT", "classic")]);
        for part in [
            "FORMAT                     classic  (from flag; default auto)\n",
            "TIMEOUT_AFTER_MS           5s  (from environment, as TIMEOUTAFTERMS; default 10000)\n",
            "TIMEOUT_INTERVAL_CHECK     2000  (default)\n",
            "MAX_CONNECTIONS            auto: 6144  (default)\n",
            "QUEUE_BYTES                auto: 12MiB  (default)\n",
            "\n  FILE_KEP is not a setting; did you mean FILE_KEEP?\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_wrong_value_is_listed_and_marked() {
        let text = listing(&[("SAMPLE", "\u{1b}[2J"), ("LINGER", "1s")], &[]);
        assert!(text.contains("SAMPLE                     \\u{1b}[2J  (from environment"), "{text}");
        let marked: Vec<_> = text.lines().filter(|line| line.contains("WRONG")).map(str::trim).collect();
        assert_eq!(marked, ["WRONG: not a number"]);
    }
}
