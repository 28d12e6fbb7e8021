//! lightmon's flags and its `config.yaml`, as the settings that they mean. Its filter is checked: what it let through silently
//! is refused. Reads no setting.

use std::ffi::OsString;
use std::fmt;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches};

use crate::filter::expression::{ExpressionFault, FilterExpression};
use crate::settings::{Format, SettingPairs};

/// Its flags with one dash, as Go has them, and the names that they have here.
const FLAGS: [(&str, &str); 6] = [
    ("-v6", "--lightmon-v6"),
    ("-k8s", "--lightmon-k8s"),
    ("-log_path", "--lightmon-log-path"),
    ("-docker_runtime", "--lightmon-docker-runtime"),
    ("-docker_data", "--lightmon-docker-data"),
    ("-exclude", "--exclude-lightmon"),
];

/// Keys of its configuration file.
const KEYS: [&str; 8] = ["ipv6", "k8s", "format", "logPath", "docker_runtime", "docker_data", "exclude", "ebpfType"];

/// Its formats, as it calls them.
const FORMATS: [&str; 4] = ["log", "logfile", "json", "table"];

/// Its flags in the way that this command line takes them; of other commands nothing changes.
pub(super) fn with_two_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.into_iter().collect();
    if args.get(1).is_some_and(|command| command == "connects") {
        for arg in args.iter_mut().skip(2) {
            let Some(text) = arg.to_str() else { continue };
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            if let Some((_, long)) = FLAGS.iter().find(|(short, _)| *short == name) {
                *arg = value.map_or_else(|| (*long).to_owned(), |value| format!("{long}={value}")).into();
            }
        }
    }
    args
}

/// The flags of `podtap connects`.
pub(super) fn flags() -> [Arg; 8] {
    let value = |id: &'static str, help: &'static str| Arg::new(id).value_name("VALUE").help(help);
    let switch = |id: &'static str, help: &'static str| {
        value(id, help).action(ArgAction::Set).num_args(0..=1).default_missing_value("true").require_equals(true)
    };
    [
        value("lm_format", "As in lightmon: its lines").short('f').value_parser(FORMATS),
        value("lm_config", "As in lightmon: read its config.yaml; flags win").short('c'),
        value("lm_log_path", "As in lightmon (-log_path): folder of its log file").long("lightmon-log-path"),
        value("lm_exclude", "As in lightmon (-exclude): leave these out").long("exclude-lightmon"),
        switch("lm_v6", "As in lightmon (-v6): with =false leave IPv6 out").long("lightmon-v6"),
        switch("lm_k8s", "As in lightmon (-k8s): not needed").long("lightmon-k8s").hide(true),
        value("lm_docker_runtime", "As in lightmon: not needed").long("lightmon-docker-runtime").hide(true),
        value("lm_docker_data", "As in lightmon: not needed").long("lightmon-docker-data").hide(true),
    ]
}

/// The settings that its flags and its file mean; a setting that is given by its own name wins.
pub(super) fn implied(
    matches: &ArgMatches,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> Result<SettingPairs, clap::Error> {
    meant(matches, read).map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")))
}

fn meant(matches: &ArgMatches, read: impl Fn(&str) -> std::io::Result<String>) -> Result<SettingPairs, LightmonFault> {
    let file = match matches.get_one::<String>("lm_config") {
        None => SettingPairs::new(),
        Some(path) => {
            let text = read(path).map_err(|error| LightmonFault::Unreadable(path.clone(), error))?;
            config(&text).map_err(|why| LightmonFault::Config(path.clone(), why))?
        }
    };
    // An empty value counts as not given, as with every setting.
    let given = |flag: &str, key: &str| {
        let value = matches.get_one::<String>(flag).or_else(|| file.get(key));
        value.filter(|value| !value.trim().is_empty()).cloned()
    };
    let mut pairs = SettingPairs::new();
    let mut set = |name: &str, value: String| {
        if matches.get_one::<String>(name).is_none() {
            pairs.insert(name.to_owned(), value);
        }
    };
    let folder = given("lm_log_path", "logPath");
    // A folder for its log file says which format is meant.
    let word = given("lm_format", "format").or_else(|| folder.is_some().then(|| "logfile".to_owned()));
    if let Some(word) = word {
        let format = format(word)?;
        set("FORMAT", format.word().to_owned());
        if let Some(folder) = folder.filter(|_| format == Format::Lightmon) {
            set("SEND_LOGS_TO", "file".to_owned());
            set("FILE_PATH", format!("{}/lightmon.log", folder.trim_end_matches('/')));
            // As it rotates its own.
            set("FILE_MAX_AGE", "1h".to_owned());
            set("FILE_KEEP", "8".to_owned());
        }
    }
    match given("lm_v6", "ipv6").as_deref() {
        Some("false") => set("INCLUDE_CIDRS", "0.0.0.0/0".to_owned()),
        None | Some("true") => {}
        Some(other) => return Err(LightmonFault::Word("ipv6", other.to_owned(), &["true", "false"])),
    }
    if let Some(text) = given("lm_exclude", "exclude") {
        set("EXCLUDE", expression(&text).map_err(LightmonFault::Exclude)?);
    }
    Ok(pairs)
}

fn format(word: String) -> Result<Format, LightmonFault> {
    match word.as_str() {
        "log" | "logfile" => Ok(Format::Lightmon),
        "json" => Ok(Format::LightmonJson),
        "table" => Ok(Format::LightmonTable),
        _ => Err(LightmonFault::Word("format", word, &FORMATS)),
    }
}

/// Its file: one `key: value` in a line.
fn config(text: &str) -> Result<SettingPairs, ConfigFault> {
    let mut pairs = SettingPairs::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') || line == "---" {
            continue;
        }
        let (key, value) = line.split_once(':').ok_or(ConfigFault::NoPair(number))?;
        if !KEYS.contains(&key) {
            return Err(ConfigFault::UnknownKey(number, key.to_owned()));
        }
        let value = scalar(value.trim()).ok_or(ConfigFault::OpenQuote(number))?;
        if pairs.insert(key.to_owned(), value).is_some() {
            return Err(ConfigFault::Twice(number, key.to_owned()));
        }
    }
    Ok(pairs)
}

/// A value without its quotes, or without the comment behind it.
fn scalar(value: &str) -> Option<String> {
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let end = value.find(" #").unwrap_or(value.len());
        return value.get(..end).map(|value| value.trim_end().to_owned());
    };
    let inner = value.get(1..)?;
    let end = inner.rfind(quote)?;
    inner.get(..end).map(str::to_owned)
}

/// Its filter as an expression of EXCLUDE: groups by `;`, in a group either `&&` or `||`, and four keys.
fn expression(text: &str) -> Result<String, ExcludeFault> {
    let mut groups = Vec::new();
    for group in outside_quotes(text, ";")? {
        if group.trim().is_empty() {
            continue;
        }
        let (all, any) = (outside_quotes(group, "&&")?, outside_quotes(group, "||")?);
        let (conditions, operator) = match (all.len() > 1, any.len() > 1) {
            (true, true) => return Err(ExcludeFault::Mixed(group.trim().to_owned())),
            (true, false) => (all, " && "),
            (false, _) => (any, " || "),
        };
        let tests: Vec<_> = conditions.into_iter().map(condition).collect::<Result<_, _>>()?;
        groups.push(tests.join(operator));
    }
    if groups.is_empty() { Err(ExcludeFault::Nothing(text.to_owned())) } else { Ok(groups.join("; ")) }
}

fn condition(text: &str) -> Result<String, ExcludeFault> {
    let text = text.trim();
    let shown = || text.to_owned();
    let (key, value) = text.split_once('=').ok_or_else(|| ExcludeFault::NoPair(shown()))?;
    let (key, value) = (key.trim(), value.trim());
    let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let bare = quoted('\'').or_else(|| quoted('"')).unwrap_or(value);
    if bare.is_empty() {
        return Err(ExcludeFault::NoValue(shown()));
    }
    if bare.contains(['\'', '"']) {
        return Err(ExcludeFault::InnerQuote(shown()));
    }
    let operator = match key {
        "dport" | "dip" | "keyword" => "=",
        // A part of the name is enough.
        "container" => "~",
        other => return Err(ExcludeFault::UnknownKey(other.to_owned())),
    };
    let test = format!("{key}{operator}'{bare}'");
    match FilterExpression::parse(&test) {
        Ok(_) => Ok(test),
        Err(bad) => Err(ExcludeFault::Value(shown(), bad.why)),
    }
}

/// The parts between the marks that are in no quotes.
fn outside_quotes<'a>(text: &'a str, mark: &str) -> Result<Vec<&'a str>, ExcludeFault> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let next = rest.chars().next().unwrap_or_default();
        match quote {
            None if rest.starts_with(mark) => {
                parts.push(text.get(start..at).unwrap_or_default());
                at += mark.len();
                start = at;
                continue;
            }
            None if matches!(next, '\'' | '"') => quote = Some(next),
            Some(open) if open == next => quote = None,
            None | Some(_) => {}
        }
        at += next.len_utf8();
    }
    if quote.is_some() {
        return Err(ExcludeFault::OpenQuote(text.to_owned()));
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

/// What its user wrote and cannot be meant. None of it helps to try again.
#[derive(Debug)]
enum LightmonFault {
    Unreadable(String, std::io::Error),
    Config(String, ConfigFault),
    Word(&'static str, String, &'static [&'static str]),
    Exclude(ExcludeFault),
}

/// What is wrong in its file, each with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConfigFault {
    NoPair(u32),
    OpenQuote(u32),
    UnknownKey(u32, String),
    Twice(u32, String),
}

/// What is wrong with its filter, each with the part that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ExcludeFault {
    NoPair(String),
    NoValue(String),
    InnerQuote(String),
    OpenQuote(String),
    Mixed(String),
    Nothing(String),
    UnknownKey(String),
    Value(String, ExpressionFault),
}

impl fmt::Display for LightmonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "-c: {path} cannot be read: {error}"),
            Self::Config(path, why) => write!(f, "-c: {path}: {why}"),
            Self::Word(key, word, words) => write!(f, "{key}: {word:?} is none of {}", words.join(", ")),
            Self::Exclude(why) => write!(f, "-exclude: {why}"),
        }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPair(line) => write!(f, "line {line} is not `key: value`"),
            Self::OpenQuote(line) => write!(f, "line {line}: the quote is not closed"),
            Self::UnknownKey(line, key) => {
                write!(f, "line {line}: {key:?} is not a key of lightmon ({})", KEYS.join(", "))
            }
            Self::Twice(line, key) => write!(f, "line {line}: {key} is there twice"),
        }
    }
}

impl fmt::Display for ExcludeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPair(part) => write!(f, "{part:?} is no `key=value`"),
            Self::NoValue(part) => write!(f, "{part:?} has no value: it would fit everything"),
            Self::InnerQuote(part) => write!(f, "{part:?}: quotes go around the whole value"),
            Self::OpenQuote(part) => write!(f, "{part:?}: a quote is not closed"),
            Self::Mixed(group) => write!(f, "{group:?} has both && and ||: make two groups of it with `;`"),
            Self::Nothing(text) => write!(f, "{text:?} says nothing"),
            Self::UnknownKey(key) => write!(f, "{key:?} is none of dport, dip, keyword, container"),
            Self::Value(part, why) => write!(f, "{part:?}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_filters_are_expressions_here() {
        for (text, expected) in [
            ("dport=80", "dport='80'"),
            ("dport=80 && dip='192.168.1.1'", "dport='80' && dip='192.168.1.1'"),
            ("dport=80; dip='192.168.1.1'", "dport='80'; dip='192.168.1.1'"),
            ("dip='192.168.1.0/24'", "dip='192.168.1.0/24'"),
            ("keyword='nginx';keyword=\"mysql\";", "keyword='nginx'; keyword='mysql'"),
            ("keyword='qcloud'||dport='53'", "keyword='qcloud' || dport='53'"),
            ("container=\"redis\"", "container~'redis'"),
            ("keyword='a;b && c'", "keyword='a;b && c'"),
        ] {
            let found = expression(text).unwrap();
            assert_eq!(found, expected);
            assert!(FilterExpression::parse(&found).is_ok(), "{found}");
        }
    }

    #[test]
    fn what_it_let_through_silently_is_refused_by_name() {
        for (text, word) in [
            ("dport", "`key=value`"),
            ("port=80", "\"port\" is none of"),
            ("dport=80 && dip=1.2.3.4 || dport=81", "both && and ||"),
            ("keyword=''", "no value"),
            ("keyword='nginx", "not closed"),
            ("dip=\"10.0.0.1\" && dport=80; dip=\"10", "not closed"),
            (";", "says nothing"),
            ("dport=80 &&", "`key=value`"),
            ("dport!=80", "\"dport!\" is none of"),
            ("dport=99999", "\"dport=99999\": dport: \"99999\": not a port"),
            ("dport=80,dip=1.2.3.4", "not a port"),
            ("dport=x", "not a port"),
            ("dip=10.0.0.0/33", "not an IP address or network"),
            ("dip=nowhere", "not an IP address or network"),
        ] {
            let why = expression(text).unwrap_err().to_string();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn its_file_is_read_strictly() {
        let found = config("ipv6: false\n# note\nformat: \"logfile\"\nlogPath: /logs # here\nexclude: \"keyword='q'||dport='53'\"\nebpfType: 0\n").unwrap();
        let pairs: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert!(
            pairs.contains(&("exclude", "keyword='q'||dport='53'")) && pairs.contains(&("logPath", "/logs")),
            "{pairs:?}"
        );
        for (text, word) in [
            ("foo: 1", "line 1: \"foo\""),
            ("ipv6", "line 1 is no"),
            ("a\nformat: 'x", "line 1 is no"),
            ("format: 'x", "not closed"),
            ("format: json\n\nformat: table", "line 3: format is there twice"),
        ] {
            assert!(config(text).unwrap_err().to_string().contains(word), "{text}");
        }
    }

    #[test]
    fn flags_of_one_dash_are_read_and_win_over_the_file() {
        let parse = |line: &str| {
            let args = with_two_dashes(line.split(' ').map(OsString::from));
            let command = clap::Command::new("connects").args(flags()).no_binary_name(true);
            let command = command.arg(Arg::new("FORMAT").long("format"));
            let names = ["SEND_LOGS_TO", "FILE_PATH", "FILE_MAX_AGE", "FILE_KEEP", "INCLUDE_CIDRS", "EXCLUDE"];
            let command = command.args(names.map(|name| Arg::new(name).long(name.to_lowercase())));
            let matches = command.try_get_matches_from(args.into_iter().skip(2))?;
            implied(&matches, |_| Ok("format: table\nipv6: false\nlogPath: /file\nexclude: \"dport=53\"".to_owned()))
        };
        let found = parse("podtap connects -f logfile -log_path /logs/ -exclude dport=80 -v6 -c x").unwrap();
        let expected = [
            ("EXCLUDE", "dport='80'"),
            ("FILE_KEEP", "8"),
            ("FILE_MAX_AGE", "1h"),
            ("FILE_PATH", "/logs/lightmon.log"),
            ("FORMAT", "lightmon"),
            ("SEND_LOGS_TO", "file"),
        ];
        let mut pairs: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, expected);
        let found = parse("podtap connects -c x").unwrap();
        assert_eq!(found.get("INCLUDE_CIDRS").map(String::as_str), Some("0.0.0.0/0"));
        assert_eq!(found.get("FORMAT").map(String::as_str), Some("lightmon-table"));
        assert!(parse("podtap connects -exclude nonsense").unwrap_err().to_string().contains("-exclude: \"nonsense\""));
        assert_eq!(parse("podtap connects --format ecs -f json").unwrap().get("FORMAT"), None);
        let found = parse("podtap connects -log_path /logs").unwrap();
        assert_eq!(found.get("FILE_PATH").map(String::as_str), Some("/logs/lightmon.log"));
        let found = parse("podtap connects -f log -log_path= -exclude=").unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
