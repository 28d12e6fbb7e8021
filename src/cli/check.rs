//! `podtap check`: one line for each thing that `podtap run` needs, and how to fix what is missing.
//!
//! Checks settings and files. What needs the network (capability, interface, filter) is checked by the code that opens
//! captures, and passed in.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::ExitCode;

use super::{USAGE, WIDTH, say};
use crate::assembly;
use crate::settings::{ResolvedSettings, SettingNote, SettingPairs, Settings, SinkName, printable, wrapped};

/// The state of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Works, perhaps not as meant.
    Warn,
    /// Does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    /// Its state.
    pub verdict: CheckState,
    /// What was found; printable.
    pub what: String,
    /// What to do about it; printable, empty where nothing is to be done.
    pub advice: String,
}

impl CheckFinding {
    /// All is well.
    pub fn ok(what: impl Into<String>) -> Self {
        Self { verdict: CheckState::Ok, what: what.into(), advice: String::new() }
    }

    /// Works, perhaps not as meant.
    pub fn warn(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: CheckState::Warn, what: what.into(), advice: advice.into() }
    }

    /// Does not work.
    pub fn fail(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: CheckState::Fail, what: what.into(), advice: advice.into() }
    }
}

/// Runs `podtap check`; `capture` looks at what the capture needs, once the settings are known to be valid.
pub fn run(flags: &SettingPairs, capture: impl FnOnce(&Settings) -> Vec<CheckFinding>) -> ExitCode {
    let resolution = assembly::look(flags);
    let mut findings = of_settings(&resolution);
    if let Ok(settings) = &resolution.outcome {
        findings.extend(of_files(settings));
        findings.extend(capture(settings));
    }
    let said = say(&report(&findings));
    exit_code(&resolution, &findings, said)
}

/// Wrong settings are the user's to mend, as everywhere: `run` ends so, too.
fn exit_code(resolution: &ResolvedSettings, findings: &[CheckFinding], said: bool) -> ExitCode {
    let failed = findings.iter().any(|finding| finding.verdict == CheckState::Fail);
    match (&resolution.outcome, said && !failed) {
        (Err(_), _) => ExitCode::from(USAGE),
        (Ok(_), true) => ExitCode::SUCCESS,
        (Ok(_), false) => ExitCode::FAILURE,
    }
}

fn report(findings: &[CheckFinding]) -> String {
    let lines = findings.iter().map(|finding| {
        let mark = match finding.verdict {
            CheckState::Ok => "ok  ",
            CheckState::Warn => "warn",
            CheckState::Fail => "FAIL",
        };
        let advice = wrapped(&finding.advice, WIDTH - 6).into_iter().map(|line| format!("      {line}\n"));
        format!("{mark}  {}\n{}", finding.what, advice.collect::<String>())
    });
    lines.collect()
}

fn of_settings(resolution: &ResolvedSettings) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    match &resolution.outcome {
        Ok(_) => findings.push(CheckFinding::ok("every setting is valid")),
        Err(wrong) => findings.extend(
            wrong.values.iter().map(|value| CheckFinding::fail(value.to_string(), "`podtap settings` explains it")),
        ),
    }
    let note = |note: &SettingNote| {
        if note.is_warning() { CheckFinding::warn(note.to_string(), "") } else { CheckFinding::ok(note.to_string()) }
    };
    findings.extend(resolution.notes.iter().map(note));
    findings
}

/// Whether what goes to a disk can be written there.
fn of_files(settings: &Settings) -> Vec<CheckFinding> {
    let file = settings.file_path.as_deref().filter(|_| settings.sends_to(SinkName::File));
    let spool = settings.spool_dir.as_ref().map(|directory| directory.join("records"));
    [("FILE_PATH", file), ("DEAD_LETTER_PATH", settings.dead_letter_path.as_deref()), ("SPOOL_DIR", spool.as_deref())]
        .into_iter()
        .filter_map(|(name, path)| path.map(|path| of_file(name, path)))
        .collect()
}

fn of_file(name: &str, path: &Path) -> CheckFinding {
    let shown = printable(&path.to_string_lossy());
    match writable(path) {
        Ok(()) => CheckFinding::ok(format!("{name} {shown} can be written")),
        Err(error) => CheckFinding::fail(
            format!("{name} {shown} cannot be written: {error}"),
            format!("Mount a writable volume there, or give another {name}"),
        ),
    }
}

/// Tries without a trace: an existing file is opened for appending; otherwise a file next to it is created and removed.
/// `run` makes missing directories: then the trial is in the nearest one that exists.
fn writable(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return OpenOptions::new().append(true).open(path).map(drop);
    }
    let nearest = path.ancestors().skip(1).find(|directory| directory.as_os_str().is_empty() || directory.exists());
    let trial = nearest.unwrap_or(Path::new("")).join(format!("podtap.check-{}", std::process::id()));
    File::create_new(&trial)?;
    std::fs::remove_file(&trial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::resolve;

    fn resolution(env: &[(&str, &str)]) -> ResolvedSettings {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        resolve(&env, &SettingPairs::new(), |_| Err(String::new()))
    }

    #[test]
    fn every_wrong_setting_and_every_note_is_a_line() {
        let text = report(&of_settings(&resolution(&[
            ("SAMPLE", "x"),
            ("LINGER", "y"),
            ("FROMAT", "ecs"),
            ("IGNOREURLS", "/a"),
        ])));
        let marks: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).map(|line| &line[..4]).collect();
        assert_eq!(marks, ["FAIL", "FAIL", "ok  ", "warn"], "{text}");
        assert_eq!(report(&of_settings(&resolution(&[]))), "ok    every setting is valid\n");
        let mut refused = resolution(&[("ROUTES", "x")]);
        refused.refuse([("ROUTES".to_owned(), "a path begins with /".to_owned())]);
        let text = report(&of_settings(&refused));
        assert!(text.starts_with("FAIL  ROUTES = \"x\" (environment): a path begins with /\n"), "{text}");
    }

    #[test]
    fn the_file_is_tried_only_when_records_go_there_and_nothing_is_left_behind() {
        let directory = std::env::temp_dir().join(format!("podtap-check-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("records");
        let verdict = |path: &Path| {
            let path = path.to_str().unwrap();
            let settings = resolution(&[("SEND_LOGS_TO", "file"), ("FILE_PATH", path)]).outcome.unwrap();
            of_files(&settings)[0].verdict
        };
        assert_eq!(verdict(&path), CheckState::Ok);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        assert_eq!(verdict(&directory.join("absent/deeper/records")), CheckState::Ok, "`run` makes the directories");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        std::fs::write(directory.join("file"), "").unwrap();
        assert_eq!(verdict(&directory.join("file/records")), CheckState::Fail);
        std::fs::remove_file(directory.join("file")).unwrap();
        assert_eq!(verdict(&directory), CheckState::Fail);
        assert_eq!(of_files(&resolution(&[("FILE_PATH", "/absent/x")]).outcome.unwrap()), []);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
