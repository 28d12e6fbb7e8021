//! Any environment and flags: settings, or a message that names what is wrong. Never a panic, never a secret shown.

use podtap::assembly::Assembly;
use podtap::config::RunConfig;
use podtap::settings::{MemoryBounds, SettingPairs, VARIABLES, resolve};

/// Lines: the number of a variable, or its own name up to `=`; then the value. Behind an empty line come flags.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |b| *b == 0);
    let env = pairs(parts.next().unwrap_or_default());
    let flags = pairs(parts.next().unwrap_or_default());
    let file = |path: &str| if path.len().is_multiple_of(2) { Ok(path.to_owned()) } else { Err("no".to_owned()) };
    let resolution = resolve(&env, &flags, file);
    for row in &resolution.rows {
        printable(&row.shown());
    }
    for note in &resolution.notes {
        printable(&note.to_string());
    }
    match resolution.outcome {
        Ok(settings) => {
            let bounds = MemoryBounds::of(&settings, Some(bytes.len() as u64 * 1000));
            let _ = Assembly::new(&RunConfig { settings, bounds, notes: resolution.notes }, Vec::new());
        }
        Err(wrong) => printable(&wrong.to_string()),
    }
}

/// Nothing that moves a cursor.
fn printable(text: &str) {
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

fn pairs(bytes: &[u8]) -> SettingPairs {
    bytes.split(|b| *b == b'\n').filter_map(pair).collect()
}

fn pair(line: &[u8]) -> Option<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (first, rest) = line.split_first()?;
    if *first >= 0x80 {
        let variable = VARIABLES.get(usize::from(first - 0x80) % VARIABLES.len())?;
        return Some((variable.name.to_owned(), text(rest)));
    }
    let equals = line.iter().position(|b| *b == b'=')?;
    Some((text(line.get(..equals)?), text(line.get(equals + 1..)?)))
}
