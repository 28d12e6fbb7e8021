//! The flags that describe a sidecar: the same for `inject` and `webhook`.
//!
//! Checks every value, so that no manifest gets one that Kubernetes or podtap would refuse.

use clap::{Arg, ArgAction, ArgMatches};

use super::{command, given};
use crate::inject::{SidecarOptions, check};
use crate::settings::SettingPairs;

/// Below it a memory request is never more than its limit.
const UNITS: [(&str, f64); 9] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("", 1.0),
];

/// Said below the help of every command that takes these flags.
const AFTER_HELP: &str = "Every setting is a flag too (--format is FORMAT): it is set in the sidecar, \
and wins over\nConfigMap and Secret. Annotations of a pod (podtap.io/format) win over both.";

/// A command that takes these flags after its own.
pub(super) fn grammar(name: &'static str, about: &'static str, own: Vec<Arg>) -> clap::Command {
    command(name, about).args(own).args(flags()).after_help(AFTER_HELP).after_long_help(AFTER_HELP)
}

/// The flags.
fn flags() -> Vec<Arg> {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let amount = |name, help| flag(name, "QUANTITY", help).value_parser(quantity);
    vec![
        flag("image", "IMAGE", "Image of the sidecar").value_parser(image),
        flag("image-pull-policy", "POLICY", "When to pull the image").value_parser(["Always", "IfNotPresent", "Never"]),
        flag(
            "config-map",
            "NAME",
            "ConfigMap with the settings, which may be missing; none for no ConfigMap [default: podtap]",
        )
        .value_parser(name),
        flag("secret", "NAME", "Secret with more settings (passwords, keys), which may be missing").value_parser(name),
        Arg::new("classic")
            .long("classic")
            .action(ArgAction::SetTrue)
            .help("For clusters before 1.29: an ordinary container instead of a native sidecar; not for Jobs"),
        amount("cpu", "CPU request [default: 10m]"),
        amount("cpu-limit", "CPU limit [default: none, since throttling loses frames]"),
        amount("memory", "Memory limit; the limits of tables follow it [default: 64Mi]"),
        amount("memory-request", "Memory request [default: 32Mi]"),
        flag("env", "NAME=VALUE", "Environment variable of the sidecar; repeatable")
            .action(ArgAction::Append)
            .value_parser(assignment),
    ]
}

/// The sidecar that is asked for; what is wrong with a setting is the error.
pub(super) fn options(matches: &ArgMatches) -> Result<SidecarOptions, String> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let unless_none = |name: &str| text(name).map(|text| Some(text).filter(|text| text != "none"));
    let mut options = SidecarOptions {
        classic: matches.get_flag("classic"),
        pull_policy: text("image-pull-policy"),
        ..SidecarOptions::default()
    };
    options.image = text("image").unwrap_or(options.image);
    options.config_map = unless_none("config-map").unwrap_or(options.config_map);
    options.secret = unless_none("secret").flatten();
    let resources = &mut options.resources;
    resources.cpu_request = unless_none("cpu").unwrap_or(resources.cpu_request.take());
    resources.cpu_limit = unless_none("cpu-limit").flatten();
    resources.memory_limit = unless_none("memory").unwrap_or(resources.memory_limit.take());
    let bytes = |amount: &Option<String>| amount.as_deref().and_then(amount_of);
    let too_much = bytes(&resources.memory_limit).zip(bytes(&resources.memory_request)).is_some_and(|(l, r)| l < r);
    let usual = if too_much { resources.memory_limit.clone() } else { resources.memory_request.take() };
    resources.memory_request = unless_none("memory-request").unwrap_or(usual);
    options.env = variables(matches)?;
    // Only `inject` has it: a webhook sees pods, and cannot take a container out for good.
    options.replace = matches.try_get_one::<bool>("replace").is_ok_and(|given| given == Some(&true));
    Ok(options)
}

/// What `--env` and the settings' own flags say.
fn variables(matches: &ArgMatches) -> Result<SettingPairs, String> {
    let assigned = matches.get_many::<(String, String)>("env").into_iter().flatten().cloned();
    let env: SettingPairs = given(matches).into_iter().chain(assigned).collect();
    let wrong: Vec<_> = env.iter().filter_map(|(name, value)| check(name, value).err()).collect();
    if wrong.is_empty() { Ok(env) } else { Err(wrong.join("\n")) }
}

fn image(text: &str) -> Result<String, String> {
    let fine = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if fine { Ok(text.to_owned()) } else { Err("not the name of an image".to_owned()) }
}

/// The name of a ConfigMap or Secret (RFC 1123, as Kubernetes reads it).
fn name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let fine = text.len() <= 253 && text.split('.').all(label);
    if fine { Ok(text.to_owned()) } else { Err("small letters, digits, - and . only".to_owned()) }
}

fn quantity(text: &str) -> Result<String, String> {
    let fine = text == "none" || amount_of(text).is_some_and(|amount| amount > 0.0);
    if fine { Ok(text.to_owned()) } else { Err("not a quantity as Kubernetes writes them (10m, 64Mi)".to_owned()) }
}

fn amount_of(text: &str) -> Option<f64> {
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?;
    let digits =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    number.parse::<f64>().ok().filter(|_| digits).map(|number| number * factor)
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("no NAME=VALUE")?;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fine = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
    if fine { Ok((name.to_owned(), value.to_owned())) } else { Err(format!("{name:?} is not the name of a variable")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::SidecarResources;

    fn asked(line: &str) -> Result<SidecarOptions, String> {
        let words = std::iter::once("podtap").chain(line.split_ascii_whitespace());
        let command = clap::Command::new("podtap")
            .args(flags())
            .args(crate::settings::VARIABLES.iter().flat_map(super::super::grammar::flags_of));
        options(&command.try_get_matches_from(words).map_err(|error| error.to_string())?)
    }

    #[test]
    fn nothing_asked_is_the_default() {
        assert_eq!(asked(""), Ok(SidecarOptions::default()));
    }

    #[test]
    fn what_is_asked_is_had() {
        let options = asked(
            "--image a/b:1 --image-pull-policy Never --config-map c --secret s --classic --cpu none --cpu-limit 1 \
             --memory 16Mi --env A=b=c --format ecs",
        );
        let options = options.unwrap();
        assert_eq!((&*options.image, options.pull_policy.as_deref()), ("a/b:1", Some("Never")));
        assert_eq!((options.config_map.as_deref(), options.secret.as_deref()), (Some("c"), Some("s")));
        assert!(options.classic);
        let text = |text: &str| Some(text.to_owned());
        let resources = SidecarResources {
            cpu_request: None,
            cpu_limit: text("1"),
            memory_request: text("16Mi"),
            memory_limit: text("16Mi"),
        };
        assert_eq!(options.resources, resources);
        let env: Vec<_> = options.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=b=c", "FORMAT=ecs"]);
        assert_eq!(asked("--config-map none").unwrap().config_map, None);
    }

    #[test]
    fn what_kubernetes_or_podtap_would_refuse_is_refused_here() {
        for line in [
            "--memory 64MB",
            "--memory -1",
            "--cpu 0",
            "--cpu inf",
            "--config-map Podtap",
            "--secret a..b",
            "--image-pull-policy Sometimes",
            "--env =x",
            "--env 1A=x",
            "--env FROMAT=ecs",
            "--env SNAPLEN=many",
            "--format pretty",
        ] {
            assert!(asked(line).is_err(), "{line}");
        }
    }
}
