//! The grammar of the command line: commands, their flags and their help. Gives no meaning to what was given.

use std::path::PathBuf;

use clap::{Arg, ArgAction, value_parser};

#[cfg(feature = "manual")]
use super::manual;
#[cfg(feature = "setup")]
use super::setup;
#[cfg(feature = "webhook")]
use super::webhook;
use super::{LEFT_OUT, WIDTH, lightmon};
#[cfg(feature = "inject")]
use super::{inject, sidecar};
use crate::settings::{VARIABLES, Variable, flag, wrapped};

const AFTER_SHORT_HELP: &str = "Every setting is a flag and an environment variable (--format is FORMAT): \
`podtap help run`\nlists them, `podtap settings` shows their current values.";

const AFTER_HELP: &str = "Every setting is also an environment variable: --format is FORMAT. The flag wins.\n\
`podtap settings` shows the current values and where they come from.";

#[cfg(feature = "inject")]
const INJECT: &str = "Add the sidecar to manifests: podtap inject -f app.yaml | kubectl apply -f -";

#[cfg(feature = "webhook")]
const WEBHOOK: &str = "Add the sidecar to pods as they are created (a mutating admission webhook)";

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
        .subcommand(command("replay", "Read captures instead of the network").arg(&files))
        .subcommand(command("report", "Show captures as a page: podtap report a.pcap > report.html").arg(files))
        .subcommand(
            command("view", "Show records in JSON as lines: kubectl logs POD -c podtap | podtap view")
                .args(view_flags()),
        )
        .subcommand(command("check", "Check whether podtap would work here, and what is missing").arg(deep))
        .subcommand(
            command("status", "Show what a running podtap sees: kubectl exec POD -c podtap -- podtap status")
                .args(status_flags()),
        )
        .subcommand(
            command("settings", "Show every setting: meaning, value, and where the value came from")
                .args([names, changed, markdown]),
        )
        .subcommand(
            command("flows", "Record packets and bytes by connection (run with RECORD=flows)").args(netlog_flags()),
        )
        .subcommand(command("node", "Observe all pods of a node, and the node itself (run with OBSERVE=node)"))
        .subcommand(command(
            "conntrack",
            "Record what the kernel's connection tracking reports (run with RECORD=conntrack)",
        ))
        .subcommand(
            command("verdicts", "Record packets that firewall rules logged (run with RECORD=verdicts)").arg(log),
        )
        .subcommand(
            command("connects", "Record which process connected where (run with RECORD=connects)")
                .args(lightmon::flags()),
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
        #[cfg(feature = "manual")]
        completions(),
        #[cfg(feature = "manual")]
        man(),
        #[cfg(feature = "top")]
        top(),
    ])
}

#[cfg(feature = "manual")]
fn completions() -> clap::Command {
    let shell = Arg::new("shell").value_name("SHELL").required(true).value_parser(manual::SHELLS);
    command("completions", "Print completions: podtap completions bash > /etc/bash_completion.d/podtap")
        .hide(true)
        .arg(shell.help("bash, zsh or fish"))
}

#[cfg(feature = "manual")]
fn man() -> clap::Command {
    let folder = Arg::new("folder").value_name("FOLDER").value_parser(value_parser!(PathBuf));
    command("man", "Print the manual page, or write all of them into a folder")
        .hide(true)
        .arg(folder.help("Write podtap.1 and a page for each command there"))
}

#[cfg(feature = "top")]
fn top() -> clap::Command {
    let files = Arg::new("file").value_name("FILE").num_args(0..).value_parser(value_parser!(PathBuf));
    let speed = Arg::new("speed").long("speed").value_name("TIMES").value_parser(value_parser!(f64)).default_value("1");
    let from = Arg::new("from").long("from").value_name("WHERE").value_parser(super::top_from);
    command("top", "Watch traffic on a full screen, live or of captures: rates, latency, failures").args([
        files.help("Captures to play back. Without one: watch a running podtap, or capture where none runs"),
        from.help("`running`: watch the podtap that runs here; :PORT: the one with this metrics port; `capture`: capture here"),
        speed.help("How fast captures are played back: 10 is ten times as fast, 0 as fast as they can be read"),
    ])
}

/// Takes any arguments, so that the answer is which feature is missing.
fn left_out_grammar(name: &'static str) -> clap::Command {
    let rest = Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
    clap::Command::new(name).hide(true).disable_help_flag(true).disable_version_flag(true).arg(rest)
}

pub(super) fn command(name: &'static str, about: &'static str) -> clap::Command {
    clap::Command::new(name)
        .display_name(format!("podtap {name}"))
        .about(about)
        .after_help(AFTER_SHORT_HELP)
        .after_long_help(AFTER_HELP)
}

pub(super) fn flags_of(variable: &'static Variable) -> Vec<Arg> {
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
        .help_heading(variable.group)
        .help(wrapped(help, WIDTH - 10).join("\n"))
}

/// Flags of NetLog that no setting has.
fn netlog_flags() -> [Arg; 5] {
    let value =
        |id: &'static str, short: char, help: &'static str| Arg::new(id).short(short).value_name("VALUE").help(help);
    [
        value("interface", 'i', "As in NetLog: --iface").long("interface"),
        value("netlog_format", 'f', "As in NetLog: its lines, as text or json").value_parser(["text", "json"]),
        value("netlog_metrics", 'm', "As in NetLog: --metrics-addr"),
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("As in NetLog: --format netlog-json"),
        Arg::new("netlog_redis")
            .long("redis-addr")
            .value_name("VALUE")
            .help("As in NetLog: --workloads redis --redis-host"),
    ]
}

fn status_flags() -> [Arg; 2] {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    [flag("watch").help("Show it every two seconds"), flag("json").help("Show it as JSON, one line each time")]
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
