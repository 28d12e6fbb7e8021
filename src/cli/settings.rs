//! `podtap settings`: lists every variable with its meaning, default, current value and the origin of that.
//!
//! Masks nothing itself: the values it gets are already masked.

use std::fmt::Write;
use std::process::ExitCode;

use super::{SettingsListing, USAGE, WIDTH, WantedSettings, refuse, say, tell};
use crate::glob::Glob;
use crate::settings::{
    GROUPS, MemoryBounds, ResolvedSettings, SettingPairs, SettingRow, VARIABLES, ValueOrigin, WrongValue, WrongValues,
    bytes_in_words, markdown, wrapped,
};
use crate::{assembly, config};

/// Column of the text after a name.
const INDENT: usize = 29;

/// Runs `podtap settings`.
pub fn run(listing: SettingsListing, flags: &SettingPairs) -> ExitCode {
    match listing {
        SettingsListing::Markdown => {
            let said = say(&markdown());
            if said { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        SettingsListing::Current(wanted) => {
            let globs = match globs(&wanted) {
                Ok(globs) => globs,
                Err(why) => {
                    tell(&format!("podtap: {why}\n"));
                    return ExitCode::from(USAGE);
                }
            };
            let is_shown = |row: &SettingRow| {
                let named = globs.is_empty() || globs.iter().any(|glob| glob.matches(row.variable.name.as_bytes()));
                named && (!wanted.changed || row.origin != ValueOrigin::Default)
            };
            let resolution = assembly::look(flags);
            let bounds =
                resolution.outcome.as_ref().ok().map(|settings| MemoryBounds::of(settings, config::memory_limit()));
            let said = say(&listed(&resolution, bounds, is_shown));
            match resolution.outcome {
                Ok(_) if said => ExitCode::SUCCESS,
                Ok(_) => ExitCode::FAILURE,
                // The listing ends with the notes already.
                Err(wrong) => refuse(&WrongValues { warnings: Vec::new(), ..wrong }),
            }
        }
    }
}

/// The names that are asked for; each must fit a setting.
fn globs(wanted: &WantedSettings) -> Result<Vec<Glob>, String> {
    let glob = |name: &String| {
        let upper = name.trim_start_matches('-').to_ascii_uppercase().replace('-', "_");
        let glob = Glob::new(&upper).map_err(|bad| bad.to_string())?;
        if VARIABLES.iter().any(|variable| glob.matches(variable.name.as_bytes())) {
            return Ok(glob);
        }
        let near = VARIABLES.iter().map(|variable| (strsim::damerau_levenshtein(variable.name, &upper), variable.name));
        let near = near.min().filter(|(distance, name)| *distance <= name.len() / 3);
        let meant = near.map_or(String::new(), |(_, name)| format!("; did you mean {name}?"));
        Err(format!("{} is not a setting{meant}", crate::settings::printable(name)))
    };
    wanted.names.iter().map(glob).collect()
}

/// The listing.
fn listed(
    resolution: &ResolvedSettings,
    bounds: Option<MemoryBounds>,
    is_shown: impl Fn(&SettingRow) -> bool,
) -> String {
    let mut out = String::new();
    for group in GROUPS {
        let mut rows = resolution.rows.iter().filter(|row| row.variable.group == *group && is_shown(row)).peekable();
        if rows.peek().is_none() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{group}\n");
        for row in rows {
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

fn entry(out: &mut String, row: &SettingRow, bounds: Option<MemoryBounds>, wrong: Option<&WrongValue>) {
    let variable = row.variable;
    let value = match bounds.and_then(|bounds| found(bounds, variable.name)).filter(|_| row.shown() == "auto") {
        Some(number) => format!("auto: {number}"),
        None => row.shown(),
    };
    let from = if row.origin == ValueOrigin::Default {
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
fn found(bounds: MemoryBounds, name: &str) -> Option<String> {
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
    use crate::settings::resolve;

    fn listing(env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        let pairs = |given: &[(&str, &str)]| given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let resolution = resolve(&pairs(env), &pairs(flags), |_| Err(String::new()));
        let bounds = resolution.outcome.as_ref().ok().map(|settings| MemoryBounds::of(settings, Some(64 << 20)));
        listed(&resolution, bounds, |_| true)
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
    fn names_may_be_written_in_any_way_and_what_is_none_is_said_with_what_was_meant() {
        let asked = |name: &str| globs(&WantedSettings { names: vec![name.to_owned()], changed: false });
        for name in ["SLOW_AFTER_MS", "slow_after_ms", "--slow-after-ms", "SLOW*"] {
            assert!(asked(name).unwrap()[0].matches(b"SLOW_AFTER_MS"), "{name}");
        }
        assert_eq!(asked("IFCAE").unwrap_err(), "IFCAE is not a setting; did you mean IFACE?");
        assert_eq!(asked("COLOUR_OF_THE_SKY\x1b").unwrap_err(), "COLOUR_OF_THE_SKY\\u{1b} is not a setting");
    }

    #[test]
    fn what_is_not_shown_leaves_no_empty_group() {
        let resolution =
            resolve(&SettingPairs::from([("SAMPLE".to_owned(), "0.5".to_owned())]), &SettingPairs::new(), |_| {
                Err(String::new())
            });
        let text = listed(&resolution, None, |row| row.origin != ValueOrigin::Default);
        assert_eq!(text.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).count(), 1, "{text}");
        assert!(text.contains("  SAMPLE                     0.5  (from environment; default 1)\n"), "{text}");
    }

    #[test]
    fn a_value_is_shown_with_its_origin_and_default() {
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
