//! Work in proportion to bytes. Whatever comes from the network or from a file, twice as much of it takes twice the
//! instructions, not four times. Who chooses the bytes must not choose the price.
//!
//! Counted, not timed: valgrind runs this very binary and counts the instructions of everything, also of the crates. The
//! same on every run and however busy the machine is. Each feed gets each shape in three sizes. Where every shape meets
//! every feed, a sample of them is counted, and all with `PODTAP_PROPORTION_ALL=1`.

mod conversations;
mod frames;
mod streams;
mod texts;

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is measured: made for a size, then run.
pub(crate) struct Case {
    name: String,
    /// Of size 1, 2 or 4.
    make: Box<dyn Fn(usize) -> Box<dyn FnMut()>>,
}

impl Case {
    /// `make` gets the size and does, uncounted, all that is not measured.
    pub(crate) fn new<A: FnMut() + 'static>(name: impl Into<String>, make: impl Fn(usize) -> A + 'static) -> Self {
        Self { name: name.into(), make: Box::new(move |size| Box::new(make(size))) }
    }
}

const SIZES: [usize; 3] = [1, 2, 4];

/// How much more than in proportion the last doubling may cost: sorting is allowed, and tables that grow.
const MOST: f64 = 1.3;

/// Less than this many instructions say nothing: a long copy counts as one for each byte, a short one does not.
const LEAST: u64 = 400_000;

/// Set for the process that valgrind runs: which of the groups it goes through.
const GROUP: &str = "PODTAP_PROPORTION";

/// Set for all cases instead of samples.
const ALL: &str = "PODTAP_PROPORTION_ALL";

/// One in this many cases, the same on every run: chosen by their names, so that a new one does not choose others.
pub(crate) fn sample(cases: impl IntoIterator<Item = Case>, one_in: u32) -> Vec<Case> {
    #[allow(clippy::disallowed_methods, reason = "a switch of the test, not a setting of podtap")]
    let all = std::env::var_os(ALL).is_some();
    cases.into_iter().filter(|case| all || crc32fast::hash(case.name.as_bytes()).is_multiple_of(one_in)).collect()
}

type Cases = fn() -> Vec<Case>;

const GROUPS: [(&str, Cases); 4] = [
    ("texts", texts::cases),
    ("conversations", conversations::cases),
    ("frames", frames::cases),
    ("streams", streams::cases),
];

#[test]
fn texts_cost_in_proportion_to_their_bytes() {
    check("texts");
}

#[test]
fn conversations_cost_in_proportion_to_their_bytes() {
    check("conversations");
}

#[test]
fn frames_cost_in_proportion_to_their_number() {
    check("frames");
}

#[test]
fn streams_cost_in_proportion_to_their_frames() {
    check("streams");
}

/// What valgrind runs; by itself it does nothing.
#[test]
fn counted_by_valgrind() {
    #[allow(clippy::disallowed_methods, reason = "a switch of the test, not a setting of podtap")]
    let Ok(group) = std::env::var(GROUP) else { return };
    for case in cases_of(&group) {
        for size in SIZES {
            podtap_counted(&mut *(case.make)(size));
        }
    }
}

/// Everything in here is counted. valgrind knows it by its name.
#[allow(unsafe_code, reason = "a name that valgrind can be given")]
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn podtap_counted(act: &mut dyn FnMut()) {
    act();
}

fn cases_of(group: &str) -> Vec<Case> {
    GROUPS.iter().find(|(name, _)| *name == group).map(|(_, cases)| cases()).unwrap()
}

fn check(group: &str) {
    let cases = cases_of(group);
    let Some(counts) = counted(group, cases.len() * SIZES.len()) else { return };
    let mut wrong = Vec::new();
    for (case, counts) in cases.iter().zip(counts.as_chunks::<3>().0) {
        let [one, two, four] = *counts;
        // Of a cost in proportion the second difference is twice the first, whatever stays the same.
        let growth = four.saturating_sub(two) as f64 / (2.0 * two.saturating_sub(one).max(LEAST / 10) as f64);
        let line = format!("{:60} {one:>12} {two:>12} {four:>12}  {growth:.2}", case.name);
        eprintln!("{line}");
        if growth > MOST && four > LEAST {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "more than in proportion:\n{}", wrong.join("\n"));
}

/// The instructions of each case and size, in order; none where valgrind is not there.
fn counted(group: &str, expected: usize) -> Option<Vec<u64>> {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        let why = format!("needs valgrind(1): {error}");
        #[allow(clippy::disallowed_methods, reason = "a switch of the test, not a setting of podtap")]
        let required = std::env::var_os("CI").is_some();
        assert!(!required, "{why}");
        eprintln!("SKIPPED: {why}");
        return None;
    }
    let folder = Folder(std::env::temp_dir().join(format!("podtap-proportion-{group}-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let out = folder.0.join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=podtap_counted", "--dump-after=podtap_counted", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "proportion::counted_by_valgrind", "--nocapture", "--test-threads=1"])
        .env(GROUP, group)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let total = |number: usize| totals(&folder.0.join(format!("out.{number}")));
    let counts: Vec<_> = (1..=expected).map(|number| total(number).expect("a count for each case")).collect();
    assert_eq!(total(expected + 1).unwrap_or_default(), 0, "nothing else is counted");
    Some(counts)
}

/// What one part of callgrind's profile counted.
fn totals(part: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(part).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    line.trim().parse().ok()
}

/// Goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
