//! The command line: parses it, and runs the commands that see no traffic (all but `run`, `replay` and `demo`).
//!
//! Every setting is a long flag too. Parses no value of a setting: a wrong one is reported together with all others.

pub mod check;
#[cfg(feature = "inject")]
pub mod inject;
pub mod settings;
#[cfg(feature = "setup")]
pub mod setup;
#[cfg(feature = "inject")]
mod sidecar;
#[cfg(feature = "webhook")]
pub mod webhook;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

pub(crate) use crate::logging::tell;
use crate::settings::{Format, Pairs, RecordKind, VARIABLES, Variable, Wrong, counted, flag, wrapped};

/// Width of help and listings.
const WIDTH: usize = 100;

/// Exit code when the command line or a setting is wrong.
pub(crate) const USAGE: u8 = 2;
/// Ended without having done all of its work.
pub(crate) const FAILED: i32 = 1;
/// Exit code after a second signal.
pub(crate) const INTERRUPTED: i32 = 130;

const AFTER_SHORT_HELP: &str = "Every setting is a flag and an environment variable (--format is FORMAT): \
`podtap help run`\nlists them, `podtap settings` shows their current values.";

const AFTER_HELP: &str = "Every setting is also an environment variable: --format is FORMAT. The flag wins.\n\
`podtap settings` shows the current values and where they come from.";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Capture in the pod.
    Run,
    /// Read captures.
    Replay(Vec<Input>),
    /// Show records that were written as JSON.
    View(View),
    /// Check whether `run` would work here.
    Check {
        /// And write one marked record, where it can be deleted again.
        deep: bool,
    },
    /// Show every setting.
    Settings(Listing),
    /// Show what records look like, with made-up traffic.
    Demo,
    /// Prepare servers for the records.
    #[cfg(feature = "setup")]
    Setup(setup::Request),
    /// Add the sidecar to manifests, or remove it.
    #[cfg(feature = "inject")]
    Inject(Box<inject::Request>),
    /// Add the sidecar to pods as they are created. The error says what is wrong with one of its settings.
    #[cfg(feature = "webhook")]
    Webhook(Box<Result<crate::webhook::Webhook, String>>),
    /// A command that this build leaves out; the cargo feature that it needs.
    LeftOut(&'static str),
}

#[cfg(feature = "inject")]
const INJECT: &str = "Add the sidecar to manifests: podtap inject -f app.yaml | kubectl apply -f -";

#[cfg(feature = "webhook")]
const WEBHOOK: &str = "Add the sidecar to pods as they are created (a mutating admission webhook)";

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
];

/// One capture to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `-`.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// What `podtap view` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Files, standard input.
    pub inputs: Vec<Input>,
    /// Wait for more behind the end of the last file.
    pub follow: bool,
}

impl Input {
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
pub enum Listing {
    /// With current values and where they came from.
    Current(Wanted),
    /// The table of docs/settings.md.
    Markdown,
}

/// Which settings are shown; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names or globs, as variables or flags are written.
    pub names: Vec<String>,
    /// Only those that are not at their default.
    pub changed: bool,
}

/// A command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The settings given as flags, under their names in the environment.
    pub flags: Pairs,
}

/// Understands a command line; the error is also what `--help` and `--version` print.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = grammar().try_get_matches_from(args)?;
    let (name, inner) = matches.subcommand().unwrap_or(("run", &matches));
    let command = match name {
        "replay" => Command::Replay(inner.get_many("file").into_iter().flatten().cloned().map(input).collect()),
        "view" => Command::View(view(inner)),
        "check" => Command::Check { deep: inner.get_flag("deep") },
        "settings" if inner.get_flag("markdown") => Command::Settings(Listing::Markdown),
        "settings" => Command::Settings(Listing::Current(Wanted {
            names: inner.get_many("name").into_iter().flatten().cloned().collect(),
            changed: inner.get_flag("changed"),
        })),
        "demo" => Command::Demo,
        "flows" | "conntrack" | "verdicts" => Command::Run,
        #[cfg(feature = "setup")]
        "setup" => Command::Setup(setup::asked(inner)),
        #[cfg(feature = "inject")]
        "inject" => Command::Inject(Box::new(inject::request(inner, Some(sidecar::options(inner))))),
        #[cfg(feature = "inject")]
        "uninject" => Command::Inject(Box::new(inject::request(inner, None))),
        #[cfg(feature = "webhook")]
        "webhook" => Command::Webhook(Box::new(webhook::asked(inner))),
        other => left_out_or_run(other),
    };
    let innermost = inner.subcommand().map_or(inner, |(_, deeper)| deeper);
    let mut flags = if matches!(command, Command::LeftOut(_)) { Pairs::new() } else { given(innermost) };
    flags.extend(implied(name, inner));
    Ok(Invocation { command, flags })
}

/// The settings that a command stands for.
fn implied(command: &str, matches: &ArgMatches) -> Pairs {
    let record = |kind: RecordKind| ("RECORD".to_owned(), kind.word().to_owned());
    match command {
        "flows" => std::iter::once(record(RecordKind::Flows)).chain(as_netlog(matches)).collect(),
        "conntrack" => Pairs::from([record(RecordKind::Conntrack)]),
        "verdicts" => {
            let file = matches.get_one::<String>("log").cloned();
            let whole = file.map(|path| [("VERDICT_FILE", path), ("VERDICT_FOLLOW", "false".to_owned())]);
            let whole = whole.into_iter().flatten().map(|(name, value)| (name.to_owned(), value));
            std::iter::once(record(RecordKind::Verdicts)).chain(whole).collect()
        }
        _ => Pairs::new(),
    }
}

/// NetLog's flags, by the settings they stand for. What is given by its own name wins.
fn as_netlog(matches: &ArgMatches) -> Pairs {
    let given = |name: &str| matches.get_one::<String>(name).cloned();
    let json = matches.get_flag("json").then(|| Format::NetlogJson.word().to_owned());
    let format = given("netlog_format").map(|format| {
        let format = if format == "json" { Format::NetlogJson } else { Format::Netlog };
        format.word().to_owned()
    });
    [("IFACE", given("interface")), ("FORMAT", json.or(format)), ("METRICS_ADDR", given("netlog_metrics"))]
        .into_iter()
        .filter(|(name, _)| matches.get_one::<String>(name).is_none())
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Flags of NetLog that no setting has.
fn netlog_flags() -> [Arg; 4] {
    let value =
        |id: &'static str, short: char, help: &'static str| Arg::new(id).short(short).value_name("VALUE").help(help);
    [
        value("interface", 'i', "As in NetLog: --iface").long("interface"),
        value("netlog_format", 'f', "As in NetLog: its lines, as text or json").value_parser(["text", "json"]),
        value("netlog_metrics", 'm', "As in NetLog: --metrics-addr"),
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("As in NetLog: --format netlog-json"),
    ]
}

fn left_out_or_run(name: &str) -> Command {
    let feature = LEFT_OUT.iter().find(|(command, _)| *command == name);
    feature.map_or(Command::Run, |(_, feature)| Command::LeftOut(feature))
}

fn input(path: PathBuf) -> Input {
    if path.as_os_str() == "-" { Input::Stdin } else { Input::File(path) }
}

fn view(matches: &ArgMatches) -> View {
    let files: Vec<_> = matches.get_many("file").into_iter().flatten().cloned().map(input).collect();
    View { inputs: if files.is_empty() { vec![Input::Stdin] } else { files }, follow: matches.get_flag("follow") }
}

fn view_flags() -> [Arg; 2] {
    let files = Arg::new("file")
        .value_name("FILE")
        .num_args(0..)
        .value_parser(value_parser!(PathBuf))
        .help("JSON lines, also gzipped or from `kubectl logs`; - or none is standard input");
    let follow = Arg::new("follow").short('f').long("follow").action(ArgAction::SetTrue);
    [files, follow.help("Wait for more lines at the end of the last file")]
}

fn given(matches: &ArgMatches) -> Pairs {
    let one = |name: &str| matches.get_one::<String>(name).map(|text| (name.to_owned(), text.clone()));
    VARIABLES
        .iter()
        .flat_map(|variable| [one(variable.name), variable.file().and_then(|name| one(&name))])
        .flatten()
        .collect()
}

/// The grammar of the command line, from the same declaration as everything else about settings.
pub fn grammar() -> clap::Command {
    let files = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .num_args(1..)
        .value_parser(value_parser!(PathBuf))
        .help("Captures (pcap, pcapng, gzip of either), read one after the other; - is standard input");
    let markdown =
        Arg::new("markdown").long("markdown").action(ArgAction::SetTrue).help("Print the table of docs/settings.md");
    let names = Arg::new("name").value_name("NAME").num_args(0..).help("Only these, also with * and ? (FLUENTD_*)");
    let changed = Arg::new("changed").long("changed").action(ArgAction::SetTrue);
    let changed = changed.help("Only settings that are not at their default");
    let deep = Arg::new("deep")
        .long("deep")
        .action(ArgAction::SetTrue)
        .help("Also write one marked record to Elasticsearch, read it and delete it");
    let log = Arg::new("log").value_name("FILE").help("Kernel log to read to its end; - is standard input");
    clap::Command::new("podtap")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Records the HTTP exchanges of a pod: captures, reassembles, pairs and times them.")
        .after_help(AFTER_SHORT_HELP)
        .after_long_help(AFTER_HELP)
        .propagate_version(true)
        .args_override_self(true)
        .disable_help_flag(true)
        .arg(help_flag())
        .args(VARIABLES.iter().flat_map(flags_of))
        .subcommand(command("run", "Capture in the pod (the default)"))
        .subcommand(command("replay", "Read captures instead of the network").arg(files))
        .subcommand(
            command("view", "Show records in JSON as lines: kubectl logs POD -c podtap | podtap view")
                .args(view_flags()),
        )
        .subcommand(command("check", "Check whether podtap would work here, and what is missing").arg(deep))
        .subcommand(
            command("settings", "Show every setting: meaning, value, and where the value came from")
                .args([names, changed, markdown]),
        )
        .subcommand(
            command("flows", "Record packets and bytes by connection (run with RECORD=flows)").args(netlog_flags()),
        )
        .subcommand(command(
            "conntrack",
            "Record what the kernel's connection tracking reports (run with RECORD=conntrack)",
        ))
        .subcommand(
            command("verdicts", "Record packets that firewall rules logged (run with RECORD=verdicts)").arg(log),
        )
        .subcommand(command("demo", "Show what records look like, with made-up traffic"))
        .subcommands(installing())
        .subcommands(LEFT_OUT.iter().map(|(name, _)| left_out_grammar(name)))
}

/// `-h` and `--help` are one page; `podtap help run` lists every setting.
fn help_flag() -> Arg {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).global(true);
    help.help("Print help; `podtap help COMMAND` prints all of it")
}

/// The commands that prepare or install, each behind a cargo feature.
fn installing() -> Vec<clap::Command> {
    Vec::from([
        #[cfg(feature = "setup")]
        setup::grammar(),
        #[cfg(feature = "inject")]
        sidecar::grammar("inject", INJECT, inject::flags().into_iter().chain([inject::replace_flag()]).collect()),
        #[cfg(feature = "inject")]
        command("uninject", "Remove the sidecar from manifests").args(inject::flags()),
        #[cfg(feature = "webhook")]
        sidecar::grammar("webhook", WEBHOOK, webhook::flags()),
    ])
}

/// Takes any arguments, so that the answer is which feature is missing.
fn left_out_grammar(name: &'static str) -> clap::Command {
    let rest = Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
    clap::Command::new(name).hide(true).disable_help_flag(true).disable_version_flag(true).arg(rest)
}

fn command(name: &'static str, about: &'static str) -> clap::Command {
    clap::Command::new(name)
        .display_name(format!("podtap {name}"))
        .about(about)
        .after_help(AFTER_SHORT_HELP)
        .after_long_help(AFTER_HELP)
}

fn flags_of(variable: &'static Variable) -> Vec<Arg> {
    let meaning = format!("{} Allowed: {}. Default: {}.", variable.meaning, variable.allowed(), variable.default);
    let mut flags = vec![flag_of(variable, variable.name.to_owned(), &meaning)];
    flags.extend(variable.file().map(|file| flag_of(variable, file, &format!("File to read {} from.", variable.name))));
    flags
}

fn flag_of(variable: &'static Variable, name: String, help: &str) -> Arg {
    let long = flag(&name);
    Arg::new(name)
        .long(long)
        .value_name("VALUE")
        // `-x` takes a name out of these lists; elsewhere what begins with a dash is the next flag.
        .allow_hyphen_values(variable.name.starts_with("REDACT_"))
        .allow_negative_numbers(true)
        .global(true)
        .hide_short_help(true)
        .help_heading(variable.group.title())
        .help(wrapped(help, WIDTH - 10).join("\n"))
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
pub fn refuse(wrong: &Wrong) -> ExitCode {
    tell(&format!("podtap: {wrong}\n"));
    ExitCode::from(USAGE)
}

/// Prints what is wrong with what a command was given.
#[cfg(feature = "inject")]
fn refused(wrong: &str) -> ExitCode {
    tell(&wrong.lines().map(|line| format!("podtap: {line}\n")).collect::<String>());
    ExitCode::from(USAGE)
}

/// Prints to standard output; false, and said, where that cannot be. A reader that has left is no error.
fn say(text: &str) -> bool {
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

/// What was recognised and not decoded, for the closing lines.
pub(crate) fn protocol_lines(protocols: &crate::http::Protocols) -> String {
    protocols
        .iter()
        .map(|(name, connections)| format!("not HTTP/1: {name}, {}\n", counted(connections, "connections")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    fn command(line: &str) -> Command {
        parsed(line).unwrap().command
    }

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }

    #[test]
    fn every_command_is_understood_and_none_means_run() {
        let file = |path: &str| Input::File(PathBuf::from(path));
        assert_eq!(command("podtap"), Command::Run);
        assert_eq!(command("podtap run"), Command::Run);
        assert_eq!(command("podtap --format text"), Command::Run);
        assert_eq!(command("podtap replay a.pcap - b"), Command::Replay(vec![file("a.pcap"), Input::Stdin, file("b")]));
        let view = |inputs: Vec<Input>, follow| Command::View(View { inputs, follow });
        assert_eq!(command("podtap view"), view(vec![Input::Stdin], false));
        assert_eq!(command("podtap view a.json - -f --only slow"), view(vec![file("a.json"), Input::Stdin], true));
        assert_eq!(command("podtap check"), Command::Check { deep: false });
        assert_eq!(command("podtap check --deep"), Command::Check { deep: true });
        let listing = |names: &[&str], changed| {
            let names = names.iter().map(ToString::to_string).collect();
            Command::Settings(Listing::Current(Wanted { names, changed }))
        };
        assert_eq!(command("podtap settings"), listing(&[], false));
        assert_eq!(command("podtap settings IFACE tags --changed"), listing(&["IFACE", "tags"], true));
        assert_eq!(command("podtap settings --markdown"), Command::Settings(Listing::Markdown));
        assert_eq!(command("podtap demo"), Command::Demo);
        let conntrack = parsed("podtap conntrack --record http").unwrap();
        let pairs = |pairs: &[(&str, &str)]| -> Pairs {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!((conntrack.command, conntrack.flags), (Command::Run, pairs(&[("RECORD", "conntrack")])));
        let netlog = parsed("podtap flows --interface eth0 --json --metrics-addr :9090").unwrap();
        let expected = [("RECORD", "flows"), ("IFACE", "eth0"), ("FORMAT", "netlog-json"), ("METRICS_ADDR", ":9090")];
        assert_eq!((netlog.command, netlog.flags), (Command::Run, pairs(&expected)));
        let netlog = parsed("podtap flows -i eth1 -f text -m :9191 --format ecs").unwrap();
        let expected = [("RECORD", "flows"), ("IFACE", "eth1"), ("FORMAT", "ecs"), ("METRICS_ADDR", ":9191")];
        assert_eq!(netlog.flags, pairs(&expected));
        let live = parsed("podtap verdicts --verdict-groups 5").unwrap();
        assert_eq!(live.flags, pairs(&[("RECORD", "verdicts"), ("VERDICT_GROUPS", "5")]));
        let file = parsed("podtap verdicts kern.log").unwrap();
        let whole = [("RECORD", "verdicts"), ("VERDICT_FILE", "kern.log"), ("VERDICT_FOLLOW", "false")];
        assert_eq!((file.command, file.flags), (Command::Run, pairs(&whole)));
    }

    #[test]
    #[cfg(feature = "inject")]
    fn a_manifest_may_be_named_with_or_without_f() {
        for name in ["inject", "uninject"] {
            for (rest, files) in [("app.yaml", 1), ("-f app.yaml", 1), ("-f a.yaml b.yaml -i -f c.yaml", 3), ("-", 1)] {
                let Command::Inject(request) = command(&format!("podtap {name} {rest}")) else { panic!("{rest}") };
                assert_eq!(request.inputs.len(), files, "{rest}");
            }
            let missing = parsed(&format!("podtap {name}")).unwrap_err().to_string();
            assert!(missing.contains("FILE"), "{missing}");
        }
    }

    #[test]
    fn a_flag_stands_before_or_after_the_command_and_the_last_one_counts() {
        for (line, format) in [
            ("podtap --format text replay x", "text"),
            ("podtap replay x --format text", "text"),
            ("podtap replay --format=text x", "text"),
            ("podtap --format ecs --format text check", "text"),
            ("podtap --format ecs check --format text", "text"),
        ] {
            let flags = parsed(line).unwrap().flags;
            assert_eq!(flags, Pairs::from([("FORMAT".to_owned(), format.to_owned())]), "{line}");
        }
    }

    #[test]
    fn every_setting_is_a_flag() {
        for variable in VARIABLES {
            let flags = parsed(&format!("podtap --{}=-1,x", variable.flag())).unwrap().flags;
            assert_eq!(flags, Pairs::from([(variable.name.to_owned(), "-1,x".to_owned())]));
        }
    }

    #[test]
    fn a_value_that_begins_with_a_dash_may_stand_apart_where_it_means_something() {
        for (line, name, value) in [
            ("podtap --redact-headers -authorization check", "REDACT_HEADERS", "-authorization"),
            ("podtap replay x --redact-query -token,+pin", "REDACT_QUERY", "-token,+pin"),
            ("podtap --timeout-after-ms -5 check", "TIMEOUT_AFTER_MS", "-5"),
        ] {
            let flags = parsed(line).unwrap().flags;
            assert_eq!(flags, Pairs::from([(name.to_owned(), value.to_owned())]), "{line}");
        }
        assert!(parsed("podtap --format --iface lo").is_err());
    }

    #[test]
    fn what_cannot_be_printed_is_said_and_a_reader_that_left_is_no_error() {
        struct Broken(std::io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let full = said(&mut Broken(std::io::ErrorKind::StorageFull), "x").unwrap_err();
        assert!(full.starts_with("standard output: "), "{full}");
        assert_eq!(said(&mut Broken(std::io::ErrorKind::BrokenPipe), "x"), Ok(()));
    }

    #[test]
    fn a_wrong_command_line_says_what_may_have_been_meant() {
        assert!(parsed("podtap --fromat text").unwrap_err().to_string().contains("--format"));
        assert!(parsed("podtap chek").unwrap_err().to_string().contains("check"));
        assert!(parsed("podtap replay").unwrap_err().to_string().contains("<FILE>"));
    }

    #[test]
    fn a_command_that_the_build_leaves_out_names_its_feature_whatever_follows() {
        for (name, feature) in LEFT_OUT {
            for line in [format!("podtap {name}"), format!("podtap {name} kibana --print -f x.yaml --help")] {
                assert_eq!(command(&line), Command::LeftOut(feature), "{line}");
            }
        }
        let help = grammar().render_help().to_string();
        for (name, feature) in [("setup", "setup"), ("inject", "inject"), ("webhook", "webhook")] {
            let listed = help.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
            assert_eq!(listed, !LEFT_OUT.contains(&(name, feature)), "{name} in {help}");
        }
    }

    #[test]
    fn help_and_version_are_there_for_every_command() {
        let installing: [&[&str]; 3] = [
            if cfg!(feature = "setup") {
                &[" setup", " setup elasticsearch", " setup kibana", " setup all"]
            } else {
                &[]
            },
            if cfg!(feature = "inject") { &[" inject", " uninject"] } else { &[] },
            if cfg!(feature = "webhook") { &[" webhook"] } else { &[] },
        ];
        let always = ["", " run", " replay", " view", " check", " settings", " demo"];
        for name in always.iter().chain(installing.into_iter().flatten()) {
            for flag in ["-h", "--help"] {
                let short = parsed(&format!("podtap{name} {flag}")).unwrap_err();
                assert_eq!(short.exit_code(), 0);
                let lines = short.to_string().lines().count();
                assert!(lines <= 45, "{name}: {lines} lines");
            }
            let help = parsed(&format!("podtap help{}", if name.is_empty() { " run" } else { name })).unwrap_err();
            assert_eq!(help.exit_code(), 0);
            let width = help.to_string().lines().map(|line| line.chars().count()).max();
            assert!(width <= Some(WIDTH), "{width:?}");
            for variable in VARIABLES {
                assert!(help.to_string().contains(&format!("--{} ", variable.flag())), "{name} {}", variable.name);
            }
            let version = parsed(&format!("podtap{name} --version")).unwrap_err().to_string();
            assert!(version.ends_with(&format!(" {}\n", env!("CARGO_PKG_VERSION"))), "{version}");
        }
        let short = parsed("podtap -h").unwrap_err().to_string();
        assert!(short.lines().count() <= 30 && short.contains("podtap settings"), "{short}");
    }
}
