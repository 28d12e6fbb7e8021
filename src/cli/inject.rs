//! `podtap inject` and `podtap uninject`: read manifests from files and standard input, and write the edited ones.
//!
//! All or nothing: if one object cannot be edited, nothing is written, because the output is usually applied. Knows no
//! YAML (`crate::inject` does).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::{CaptureInput, input, refused, said, tell};
use crate::inject::{InjectOutcome, InjectReport, SidecarOptions, capabilities, inject, uninject};
use crate::settings::printable;
use crate::yaml::MalformedYaml;

/// What files in a directory are manifests by their name.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

const NATIVE: &str = "podtap is a native sidecar, which needs Kubernetes 1.29 or newer. Older versions drop the restartPolicy \
of init containers: podtap would never end, and the pod never start. Use --classic for them.";

/// What the sidecar must be allowed.
fn permission(options: &SidecarOptions) -> String {
    let needed = capabilities(&options.env);
    let (noun, names) = (if needed.len() == 1 { "capability" } else { "capabilities" }, needed.join(", "));
    format!("The namespace must allow the {noun} {names}, which the Pod Security level `baseline` does not.")
}

const NOTHING: &str = "Nothing to inject into: no Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or \
CronJob.";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectRequest {
    /// Files, directories, standard input.
    pub inputs: Vec<CaptureInput>,
    /// Search directories recursively.
    pub recursive: bool,
    /// Files are changed instead of written to standard output.
    pub in_place: bool,
    /// What cannot be done is left as it is.
    pub keep_going: bool,
    /// The sidecar; none is for `uninject`. The error says what is wrong with a setting.
    pub sidecar: Option<Result<SidecarOptions, String>>,
}

/// The flags of both commands.
pub(super) fn flags() -> Vec<Arg> {
    let switch =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    vec![
        Arg::new("filename")
            .short('f')
            .long("filename")
            .value_name("FILE")
            .action(ArgAction::Append)
            .value_parser(value_parser!(PathBuf))
            .help("Manifest, or directory of them (*.yaml, *.yml, *.json); - is standard input; repeatable"),
        Arg::new("file")
            .value_name("FILE")
            .num_args(0..)
            .required_unless_present("filename")
            .value_parser(value_parser!(PathBuf))
            .help("The same without -f"),
        switch("recursive", "Search directories recursively").short('R'),
        switch("in-place", "Change the files instead of writing to standard output").short('i'),
        switch("keep-going", "Leave objects that cannot be edited unchanged, and edit the rest"),
    ]
}

/// Of `inject` only.
pub(super) fn replace_flag() -> Arg {
    Arg::new("replace")
        .long("replace")
        .action(ArgAction::SetTrue)
        .help("Replace the container of kubernetes-internal-http-logger or kubernetes-pod2pod-log")
}

/// Understands them.
pub(super) fn request(matches: &ArgMatches, sidecar: Option<Result<SidecarOptions, String>>) -> InjectRequest {
    InjectRequest {
        inputs: ["filename", "file"]
            .into_iter()
            .flat_map(|name| matches.get_many(name).into_iter().flatten().cloned().map(input))
            .collect(),
        recursive: matches.get_flag("recursive"),
        in_place: matches.get_flag("in-place"),
        keep_going: matches.get_flag("keep-going"),
        sidecar,
    }
}

/// One text that was read.
struct ManifestSource {
    /// What it is called in messages.
    name: String,
    /// Where it is written back to.
    path: Option<PathBuf>,
    text: String,
}

/// Runs `podtap inject` or `podtap uninject`.
pub fn run(request: &InjectRequest) -> ExitCode {
    let options = match request.sidecar.as_ref().map(Result::as_ref).transpose() {
        Ok(options) => options,
        Err(wrong) => return refused(wrong),
    };
    let mut wrong = Vec::new();
    let sources: Vec<_> = request.inputs.iter().flat_map(|input| read(input, request.recursive, &mut wrong)).collect();
    let mut reports = Vec::new();
    for source in &sources {
        let report = options.map_or_else(|| uninject(&source.text), |options| inject(&source.text, options));
        match report {
            Ok(report) => reports.push(report),
            Err(malformed) => wrong.push(no_yaml(source, &malformed)),
        }
    }
    if wrong.is_empty() {
        tell(&account(&sources, &reports, request.keep_going, &mut wrong));
    }
    if wrong.is_empty() {
        wrong.extend(write(&sources, &reports, request.in_place));
        tell(&closing(&reports, options));
    }
    tell(&wrong.iter().map(|wrong| format!("podtap: {wrong}\n")).collect::<String>());
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The texts behind one `-f`.
fn read(input: &CaptureInput, recursive: bool, wrong: &mut Vec<String>) -> Vec<ManifestSource> {
    let mut text = String::new();
    let (name, path, read) = match input {
        CaptureInput::Stdin => ("standard input".to_owned(), None, std::io::stdin().lock().read_to_string(&mut text)),
        CaptureInput::File(path) if path.is_dir() => return directory(path, recursive, wrong),
        CaptureInput::File(path) => {
            let read = std::fs::read_to_string(path).map(|read| text = read).map(|()| 0);
            (printable(&path.display().to_string()), Some(path.clone()), read)
        }
    };
    match read {
        Ok(_) => vec![ManifestSource { name, path, text }],
        Err(error) => {
            wrong.push(format!("{name}: {error}"));
            Vec::new()
        }
    }
}

fn directory(path: &Path, recursive: bool, wrong: &mut Vec<String>) -> Vec<ManifestSource> {
    let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut paths: Vec<_> = match entries {
        Ok(entries) => entries.iter().map(std::fs::DirEntry::path).collect(),
        Err(error) => {
            wrong.push(format!("{}: {error}", printable(&path.display().to_string())));
            return Vec::new();
        }
    };
    paths.sort();
    let is_manifest = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        // A link to a directory may lead back to where it is.
        let below = recursive && path.is_dir() && !path.is_symlink();
        below || (path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)))
    };
    paths.into_iter().filter(is_manifest).flat_map(|path| read(&CaptureInput::File(path), recursive, wrong)).collect()
}

fn no_yaml(source: &ManifestSource, malformed: &MalformedYaml) -> String {
    let MalformedYaml { line, column, why } = malformed;
    let template = source.text.contains("{{");
    let advice = if template { "; if this is a template, render it first (helm template)" } else { "" };
    format!("{}:{line}:{column}: not YAML: {}{advice}", source.name, printable(why))
}

/// A line for each object; what could not be done is wrong, unless one is to keep going.
fn account(sources: &[ManifestSource], reports: &[InjectReport], keep_going: bool, wrong: &mut Vec<String>) -> String {
    let mut lines = String::new();
    for (source, report) in sources.iter().zip(reports) {
        for treated in &report.objects {
            let object = &treated.object;
            let title = printable(&format!("{} {}", object.kind, object.name));
            let at = format!("{}:{}: {title}: ", source.name, object.line);
            let (word, reason) = match &treated.outcome {
                InjectOutcome::Injected => ("injected", ""),
                InjectOutcome::Updated => ("updated", ""),
                InjectOutcome::Unchanged => ("unchanged", ""),
                InjectOutcome::Removed => ("removed", ""),
                InjectOutcome::Skipped(reason) => ("skipped: ", reason.as_str()),
                InjectOutcome::Refused(reason) if keep_going => ("left as it is: ", reason.as_str()),
                InjectOutcome::Refused(reason) => {
                    wrong.push(format!("{at}not possible: {}", printable(reason)));
                    continue;
                }
            };
            lines.push_str(&format!("podtap: {at}{word}{}\n", printable(reason)));
            lines.extend(treated.notes.iter().map(|note| format!("podtap: {at}note: {}\n", printable(note))));
        }
    }
    if !wrong.is_empty() {
        wrong.push("nothing is written; --keep-going skips what cannot be edited".to_owned());
        return String::new();
    }
    lines
}

/// What holds for all of them.
fn closing(reports: &[InjectReport], options: Option<&SidecarOptions>) -> String {
    let Some(options) = options else { return String::new() };
    let mut outcomes = reports.iter().flat_map(|report| &report.objects).map(|treated| &treated.outcome);
    let mut lines = Vec::new();
    if reports.iter().all(|report| report.objects.is_empty()) {
        lines.push(NOTHING.to_owned());
    } else if outcomes.any(|outcome| matches!(outcome, InjectOutcome::Injected | InjectOutcome::Updated)) {
        lines.extend((!options.classic).then(|| NATIVE.to_owned()));
        lines.push(permission(options));
    }
    lines.iter().map(|line| format!("podtap: {line}\n")).collect()
}

/// Writes the texts; what went wrong is returned.
fn write(sources: &[ManifestSource], reports: &[InjectReport], in_place: bool) -> Vec<String> {
    let printed = |text: &str| said(&mut std::io::stdout().lock(), text).err();
    if !in_place {
        return printed(&joined(reports.iter().map(|report| report.text.as_str()))).into_iter().collect();
    }
    let changed = sources.iter().zip(reports).filter(|(source, report)| source.text != report.text);
    let failed = changed.filter_map(|(source, report)| {
        let Some(path) = &source.path else { return printed(&report.text) };
        std::fs::write(path, &report.text).err().map(|error| format!("{}: {error}", source.name))
    });
    failed.collect()
}

/// Several texts as one stream of documents; a single one as it is.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for text in texts {
        if out.is_empty() {
            out.push_str(text);
            continue;
        }
        let text = text.trim_start_matches('\u{feff}');
        if !out.ends_with(['\n', '\r']) {
            out.push('\n');
        }
        // Directives come after the end of a document, which is then to be marked.
        let part = if text.starts_with("---") {
            ""
        } else if text.starts_with('%') {
            "...\n"
        } else {
            "---\n"
        };
        out.push_str(part);
        out.push_str(text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_texts_are_one_stream() {
        for (texts, stream) in [
            (&["a: 1"][..], "a: 1"),
            (&["a: 1", "b: 2\n"], "a: 1\n---\nb: 2\n"),
            (&["a: 1\n", "---\nb: 2\n", "\u{feff}c: 3"], "a: 1\n---\nb: 2\n---\nc: 3"),
            (&["a: 1\n", "%YAML 1.2\n---\nb: 2\n"], "a: 1\n...\n%YAML 1.2\n---\nb: 2\n"),
            (&["", "a: 1\n"], "a: 1\n"),
        ] {
            assert_eq!(joined(texts.iter().copied()), stream);
        }
    }
}
