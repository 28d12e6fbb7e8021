//! The command line: parses it, and runs the commands that see no traffic (all but `run`, `replay` and `demo`).
//!
//! Every setting is a long flag too. Parses no value of a setting: a wrong one is reported together with all others.

pub mod check;
mod grammar;
mod lightmon;
#[cfg(feature = "inject")]
pub mod inject;
#[cfg(feature = "manual")]
pub mod manual;
pub mod settings;
pub mod status;
#[cfg(feature = "setup")]
pub mod setup;
#[cfg(feature = "inject")]
mod sidecar;
#[cfg(test)]
mod tests;
#[cfg(feature = "webhook")]
pub mod webhook;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ArgMatches;

#[cfg(any(feature = "setup", feature = "inject"))]
use self::grammar::command;
pub use self::grammar::grammar;
pub(crate) use crate::logging::tell;
#[cfg(feature = "top")]
use crate::settings::ListenAddress;
use crate::settings::{
    Format, HAR_IS_ONE_DOCUMENT, Observe, RecordKind, SettingPairs, VARIABLES, WrongValues, counted,
};

/// Width of help and listings.
const WIDTH: usize = 100;

/// Exit code when the command line or a setting is wrong.
pub(crate) const USAGE: u8 = 2;
/// Ended without having done all of its work.
pub(crate) const FAILED: i32 = 1;
/// Exit code after a second signal.
pub(crate) const INTERRUPTED: i32 = 130;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Capture in the pod.
    Run,
    /// Read captures.
    Replay(Vec<CaptureInput>),
    /// Show what is in captures as a page.
    Report(Vec<CaptureInput>),
    /// Show records that were written as JSON.
    View(ViewRequest),
    /// Check whether `run` would work here.
    Check {
        /// And write one marked record, where it can be deleted again.
        deep: bool,
    },
    /// Show every setting.
    Settings(SettingsListing),
    /// Show what a running one sees.
    Status(StatusRequest),
    /// Show what records look like, with made-up traffic.
    Demo,
    /// Prepare servers for the records.
    #[cfg(feature = "setup")]
    Setup(setup::SetupRequest),
    /// Add the sidecar to manifests, or remove it.
    #[cfg(feature = "inject")]
    Inject(Box<inject::InjectRequest>),
    /// Add the sidecar to pods as they are created. The error says what is wrong with one of its settings.
    #[cfg(feature = "webhook")]
    Webhook(Box<Result<crate::webhook::Webhook, String>>),
    /// Show traffic on a full screen: of a running podtap, live, or of captures.
    #[cfg(feature = "top")]
    Top(TopRequest),
    /// What packages bring besides the program.
    #[cfg(feature = "manual")]
    Manual(manual::ManualRequest),
    /// A command that this build leaves out; the cargo feature that it needs.
    LeftOut(&'static str),
}

/// The commands that this build leaves out, each with its cargo feature.
const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "setup"))]
    ("setup", "setup"),
    #[cfg(not(feature = "inject"))]
    ("inject", "inject"),
    #[cfg(not(feature = "inject"))]
    ("uninject", "inject"),
    #[cfg(not(feature = "webhook"))]
    ("webhook", "webhook"),
    #[cfg(not(feature = "manual"))]
    ("completions", "manual"),
    #[cfg(not(feature = "manual"))]
    ("man", "manual"),
    #[cfg(not(feature = "top"))]
    ("top", "top"),
];

/// One capture to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureInput {
    /// `-`.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// What `podtap view` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewRequest {
    /// Files, standard input.
    pub inputs: Vec<CaptureInput>,
    /// Wait for more behind the end of the last file.
    pub follow: bool,
}

/// What `podtap top` shows.
#[cfg(feature = "top")]
#[derive(Clone, Debug, PartialEq)]
pub struct TopRequest {
    /// Captures; none is the network.
    pub inputs: Vec<CaptureInput>,
    /// How many times as fast as it was; none is as fast as it can be read.
    pub speed: Option<f64>,
    /// Where exchanges come from without captures.
    pub from: TopFrom,
}

/// Where `podtap top` looks, without captures.
#[cfg(feature = "top")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopFrom {
    /// At a running podtap, or else it captures.
    Any,
    /// At the running podtap that METRICS_ADDR is of.
    Running,
    /// At the running podtap with this port for its metrics.
    Port(u16),
    /// It captures.
    Capture,
}

/// How `podtap status` shows what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// Again and again.
    pub watch: bool,
    /// As it came.
    pub json: bool,
}

impl CaptureInput {
    /// As it is called in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => crate::settings::printable(&path.display().to_string()),
        }
    }
}

/// How settings are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsListing {
    /// With current values and where they came from.
    Current(WantedSettings),
    /// The table of docs/settings.md.
    Markdown,
}

/// Which settings are shown; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedSettings {
    /// Names or globs, as variables or flags are written.
    pub names: Vec<String>,
    /// Only those that are not at their default.
    pub changed: bool,
}

/// A command line, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The settings given as flags, under their names in the environment.
    pub flags: SettingPairs,
}

/// Understands a command line; the error is also what `--help` and `--version` print.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = grammar().try_get_matches_from(lightmon::with_two_dashes(args))?;
    let (name, inner) = matches.subcommand().unwrap_or(("run", &matches));
    let command = match name {
        "replay" => Command::Replay(files(inner)),
        "report" => Command::Report(files(inner)),
        "view" => Command::View(view(inner)),
        "check" => Command::Check { deep: inner.get_flag("deep") },
        "settings" if inner.get_flag("markdown") => Command::Settings(SettingsListing::Markdown),
        "settings" => Command::Settings(SettingsListing::Current(WantedSettings {
            names: inner.get_many("name").into_iter().flatten().cloned().collect(),
            changed: inner.get_flag("changed"),
        })),
        "status" => Command::Status(StatusRequest { watch: inner.get_flag("watch"), json: inner.get_flag("json") }),
        "demo" => Command::Demo,
        "flows" | "conntrack" | "verdicts" | "connects" | "node" => Command::Run,
        #[cfg(feature = "setup")]
        "setup" => Command::Setup(setup::asked(inner)),
        #[cfg(feature = "inject")]
        "inject" => Command::Inject(Box::new(inject::request(inner, Some(sidecar::options(inner))))),
        #[cfg(feature = "inject")]
        "uninject" => Command::Inject(Box::new(inject::request(inner, None))),
        #[cfg(feature = "webhook")]
        "webhook" => Command::Webhook(Box::new(webhook::asked(inner))),
        #[cfg(feature = "manual")]
        "completions" => inner
            .get_one::<String>("shell")
            .and_then(|name| manual::shell(name))
            .map_or(Command::Run, |shell| Command::Manual(manual::ManualRequest::Completions(shell))),
        #[cfg(feature = "manual")]
        "man" => Command::Manual(match inner.get_one::<PathBuf>("folder") {
            Some(folder) => manual::ManualRequest::Pages(folder.clone()),
            None => manual::ManualRequest::Page,
        }),
        #[cfg(feature = "top")]
        "top" => Command::Top(top(inner)),
        other => left_out_or_run(other),
    };
    let innermost = inner.subcommand().map_or(inner, |(_, deeper)| deeper);
    let mut flags = if matches!(command, Command::LeftOut(_)) { SettingPairs::new() } else { given(innermost) };
    flags.extend(implied(name, inner));
    if name == "connects" {
        flags.extend(lightmon::implied(inner, |path| std::fs::read_to_string(path))?);
    }
    Ok(Invocation { command, flags })
}

/// The settings that a command means.
fn implied(command: &str, matches: &ArgMatches) -> SettingPairs {
    let record = |kind: RecordKind| ("RECORD".to_owned(), kind.word().to_owned());
    match command {
        "flows" => {
            let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            std::iter::once(record(RecordKind::Flows)).chain(as_netlog(matches, is_set)).collect()
        }
        "conntrack" => SettingPairs::from([record(RecordKind::Conntrack)]),
        "connects" => SettingPairs::from([record(RecordKind::Connects)]),
        "node" => SettingPairs::from([("OBSERVE".to_owned(), Observe::Node.word().to_owned())]),
        "verdicts" => {
            let file = matches.get_one::<String>("log").cloned();
            let whole = file.map(|path| [("VERDICT_FILE", path), ("VERDICT_FOLLOW", "false".to_owned())]);
            let whole = whole.into_iter().flatten().map(|(name, value)| (name.to_owned(), value));
            std::iter::once(record(RecordKind::Verdicts)).chain(whole).collect()
        }
        _ => SettingPairs::new(),
    }
}

/// NetLog's flags, by the settings they mean. What is given by its own name wins. As with NetLog, who names a Redis gets names
/// from it, also where the environment does (`is_set`) and says nothing of WORKLOADS.
fn as_netlog(matches: &ArgMatches, is_set: impl Fn(&str) -> bool) -> SettingPairs {
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    let json = matches.get_flag("json").then(|| Format::NetlogJson.word().to_owned());
    let format = given("netlog_format").map(|format| {
        let format = if format == "json" { Format::NetlogJson } else { Format::Netlog };
        format.word().to_owned()
    });
    // No format is called so here, and that is how NetLog's long flag says it.
    let long = given("FORMAT").filter(|format| format == "json").map(|_| Format::NetlogJson.word().to_owned());
    let long = long.map(|format| ("FORMAT".to_owned(), format));
    let redis = given("netlog_redis");
    let by_environment = (is_set("REDIS_HOST") || is_set("REDIS_ADDR")) && !is_set("WORKLOADS");
    let names = (redis.is_some() || by_environment).then(|| "redis".to_owned());
    [
        ("IFACE", given("interface")),
        ("FORMAT", json.or(format)),
        ("METRICS_ADDR", given("netlog_metrics")),
        ("REDIS_HOST", redis),
        ("WORKLOADS", names),
    ]
    .into_iter()
    .filter(|(name, _)| matches.get_one::<String>(name).is_none())
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .chain(long)
    .collect()
}

fn left_out_or_run(name: &str) -> Command {
    let feature = LEFT_OUT.iter().find(|(command, _)| *command == name);
    feature.map_or(Command::Run, |(_, feature)| Command::LeftOut(feature))
}

fn input(path: PathBuf) -> CaptureInput {
    if path.as_os_str() == "-" { CaptureInput::Stdin } else { CaptureInput::File(path) }
}

fn files(matches: &ArgMatches) -> Vec<CaptureInput> {
    matches.get_many("file").into_iter().flatten().cloned().map(input).collect()
}

/// An interface or a packet filter on the command line asks for a separate capture.
#[cfg(feature = "top")]
fn top(matches: &ArgMatches) -> TopRequest {
    let captures = ["IFACE", "CAP_FILTER"].into_iter().any(|name| matches.get_one::<String>(name).is_some());
    let from = matches.get_one::<TopFrom>("from").copied();
    TopRequest {
        inputs: files(matches),
        speed: matches.get_one::<f64>("speed").copied().filter(|speed| *speed > 0.0),
        from: from.unwrap_or(if captures { TopFrom::Capture } else { TopFrom::Any }),
    }
}

#[cfg(feature = "top")]
fn top_from(text: &str) -> Result<TopFrom, String> {
    match text {
        "running" => Ok(TopFrom::Running),
        "capture" => Ok(TopFrom::Capture),
        other => match ListenAddress::try_from(other.to_owned()) {
            Ok(ListenAddress { ip, port }) if ip.is_none_or(|ip| ip.is_loopback()) => Ok(TopFrom::Port(port)),
            Ok(_) => Err("a podtap can be watched in its own network namespace only: give its port, :PORT".to_owned()),
            Err(_) => {
                Err("neither `running`, nor `capture`, nor the port of a running podtap's metrics (:PORT)".to_owned())
            }
        },
    }
}

fn view(matches: &ArgMatches) -> ViewRequest {
    let files = files(matches);
    ViewRequest {
        inputs: if files.is_empty() { vec![CaptureInput::Stdin] } else { files },
        follow: matches.get_flag("follow"),
    }
}

fn given(matches: &ArgMatches) -> SettingPairs {
    let one = |name: &str| matches.get_one::<String>(name).map(|text| (name.to_owned(), text.clone()));
    VARIABLES
        .iter()
        .flat_map(|variable| [one(variable.name), variable.file().and_then(|name| one(&name))])
        .flatten()
        .collect()
}

/// Prints help, version, or what is wrong with the command line.
pub fn stop(error: &clap::Error) -> ExitCode {
    // If this cannot be printed, there is no other place to report it.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Prints that this build leaves the command out.
pub fn left_out(feature: &str) -> ExitCode {
    tell(&format!("podtap: this build leaves the command out: build with the cargo feature `{feature}`\n"));
    ExitCode::from(USAGE)
}

/// Prints what is wrong with the settings.
pub fn refuse(wrong: &WrongValues) -> ExitCode {
    tell(&format!("podtap: {wrong}\n"));
    ExitCode::from(USAGE)
}

/// Prints why this command cannot write what FORMAT asks for.
pub(crate) fn refuse_document() -> ExitCode {
    tell(&format!("podtap: FORMAT: {HAR_IS_ONE_DOCUMENT}\n"));
    ExitCode::from(USAGE)
}

/// Prints what is wrong with what a command was given.
#[cfg(feature = "inject")]
fn refused(wrong: &str) -> ExitCode {
    tell(&wrong.lines().map(|line| format!("podtap: {line}\n")).collect::<String>());
    ExitCode::from(USAGE)
}

/// Prints to standard output; false, and said, where that cannot be. A reader that has left is no error.
pub(crate) fn say(text: &str) -> bool {
    match said(&mut std::io::stdout().lock(), text) {
        Ok(()) => true,
        Err(why) => {
            tell(&format!("podtap: {why}\n"));
            false
        }
    }
}

fn said(out: &mut impl Write, text: &str) -> Result<(), String> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("standard output: {why}")),
        _ => Ok(()),
    }
}

/// Sets `flag` at the first Ctrl-C or SIGTERM; the second ends the process.
pub(crate) fn on_interrupt(flag: Arc<AtomicBool>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupts, mut terminations) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}

/// What was recognised and not decoded, for the closing lines.
pub(crate) fn protocol_lines(protocols: &crate::exchange::SeenProtocols) -> String {
    protocols
        .iter()
        .map(|(name, connections)| format!("not HTTP/1: {name}, {}\n", counted(connections, "connections")))
        .collect()
}
