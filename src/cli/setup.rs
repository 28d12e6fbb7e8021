//! `podtap setup`: prepares Elasticsearch and Kibana (or OpenSearch and its Dashboards) for the records. Owns the
//! command line and the way from settings to the options of `setup`; `setup` decides what to create.

use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches};

use super::{USAGE, command, say, tell};
use crate::assembly::{self, elasticsearch_options};
use crate::settings::{SettingPairs, Settings, SinkName, printable};
use crate::setup::{Retention, SetupOptions, elasticsearch, kibana};
use crate::sink::elasticsearch::{ElasticsearchAuth, RecordFormat, nodes};

/// What to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupRequest {
    /// Templates, data stream and retention.
    pub elasticsearch: bool,
    /// Data view, searches and dashboards.
    pub kibana: bool,
    /// How long to keep records, as written; none where it was not.
    pub retention: Option<String>,
    /// Also replaces what a user changed or made.
    pub overwrite: bool,
    /// Only shows what would be sent.
    pub print: bool,
    /// With `print`: the dashboards for OpenSearch Dashboards.
    pub opensearch: bool,
}

/// What was asked for.
pub(super) fn asked(matches: &ArgMatches) -> SetupRequest {
    let (what, matches) = matches.subcommand().unwrap_or(("all", matches));
    let flag = |name: &str| matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or_default();
    SetupRequest {
        elasticsearch: what != "kibana",
        kibana: what != "elasticsearch",
        retention: matches.try_get_one::<String>("retention").ok().flatten().cloned(),
        overwrite: flag("overwrite"),
        print: flag("print"),
        opensearch: flag("opensearch-dashboards"),
    }
}

/// `podtap setup elasticsearch|kibana|all`.
pub(super) fn grammar() -> clap::Command {
    let retention = Arg::new("retention")
        .long("retention")
        .value_name("TIME")
        .help("Keep records at least this long: 30d (the default), 12h, none");
    let overwrite = Arg::new("overwrite")
        .long("overwrite")
        .action(ArgAction::SetTrue)
        .help("Also replace objects that users changed or created");
    let print =
        Arg::new("print").long("print").action(ArgAction::SetTrue).help("Print what would be sent, and send nothing");
    let opensearch = Arg::new("opensearch-dashboards")
        .long("opensearch-dashboards")
        .action(ArgAction::SetTrue)
        .requires("print")
        .help("With --print: print the dashboards for OpenSearch Dashboards");
    let of = |name: &'static str, path: &'static str, about: &'static str| {
        command(name, about).display_name(path).args([&overwrite, &print])
    };
    let elasticsearch = "podtap setup elasticsearch";
    command("setup", "Prepare servers for the records: templates and retention, dashboards")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(of("elasticsearch", elasticsearch, "Templates, data stream and retention").arg(&retention))
        .subcommand(of("kibana", "podtap setup kibana", "Data view, searches and dashboards").arg(&opensearch))
        .subcommand(of("all", "podtap setup all", "Both").args([&retention, &opensearch]))
}

/// Why it ended.
enum SetupFailure {
    /// The command line or a setting.
    Usage(String),
    /// The server.
    Server(String),
}

/// Runs `podtap setup`.
pub fn run(asked: &SetupRequest, flags: &SettingPairs) -> ExitCode {
    // The settings of Elasticsearch are in use here, even if records go elsewhere.
    let mut flags = flags.clone();
    flags.insert("SEND_LOGS_TO".to_owned(), SinkName::Elasticsearch.word().to_owned());
    let config = match assembly::load(&flags) {
        Ok(config) => config,
        Err(wrong) => return super::refuse(&wrong),
    };
    config.notes.iter().filter(|note| note.is_warning()).for_each(|note| tell(&format!("podtap: {note}\n")));
    let mut printed = Vec::new();
    let outcome = if asked.print {
        steps(asked, &config.settings, &mut printed)
    } else {
        steps(asked, &config.settings, &mut std::io::stdout().lock())
    };
    let said = say(&String::from_utf8_lossy(&printed));
    let (why, code) = match outcome {
        Ok(()) if said => return ExitCode::SUCCESS,
        Ok(()) => return ExitCode::FAILURE,
        Err(SetupFailure::Usage(why)) => (why, ExitCode::from(USAGE)),
        Err(SetupFailure::Server(why)) => (why, ExitCode::FAILURE),
    };
    tell(&format!("podtap: {why}\n"));
    code
}

fn steps(asked: &SetupRequest, settings: &Settings, out: &mut impl Write) -> Result<(), SetupFailure> {
    let usage = |why: &dyn std::fmt::Display| SetupFailure::Usage(why.to_string());
    let server = elasticsearch_options(settings).map_err(|why| usage(&why))?;
    let retention = match &asked.retention {
        Some(text) => text.parse().map_err(|why| usage(&format!("--retention {} {why}", printable(text))))?,
        None => Retention::default(),
    };
    let kibana = kibana_options(asked, settings).map_err(|why| usage(&why))?;
    // The dashboards would be wrong, and that is known before anything is made.
    if asked.kibana && server.format != RecordFormat::Ecs {
        let why = "FORMAT_ELASTICSEARCH is classic, but the dashboards are for ecs records: run `podtap setup \
                   elasticsearch` alone";
        return Err(usage(&why));
    }
    if asked.elasticsearch {
        let options = SetupOptions { retention, overwrite: asked.overwrite, print: asked.print };
        elasticsearch(&server, &options, out).map_err(|why| SetupFailure::Server(format!("Elasticsearch: {why}")))?;
    }
    if asked.kibana {
        kibana::import(&kibana, out).map_err(|why| SetupFailure::Server(format!("Kibana: {why}")))?;
    }
    Ok(())
}

/// Kibana gets the credentials and certificates of Elasticsearch, unless its own are set.
fn kibana_options(asked: &SetupRequest, settings: &Settings) -> Result<kibana::KibanaOptions, String> {
    let mut server = elasticsearch_options(settings).map_err(|why| why.to_string())?;
    let index_pattern = server.index.pattern();
    let url = std::slice::from_ref(&settings.kibana_url);
    let (urls, in_url) = nodes(url, 5601, false).map_err(|why| format!("KIBANA_URL: {why}"))?;
    server.nodes = urls;
    match &settings.kibana_api_key {
        Some(key) => server.auth = ElasticsearchAuth::ApiKey(key.reveal().text().to_owned()),
        None if in_url != ElasticsearchAuth::None => server.auth = in_url,
        None => {}
    }
    let space = settings.kibana_space.clone().filter(|space| space != "default");
    let is_id = |space: &String| {
        !space.is_empty() && space.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
    };
    if space.as_ref().is_some_and(|space| !is_id(space)) {
        return Err("KIBANA_SPACE: the id of a space has small letters, digits, _ and - only".to_owned());
    }
    Ok(kibana::KibanaOptions {
        server,
        space,
        index_pattern,
        overwrite: asked.overwrite,
        print: asked.print,
        opensearch: asked.opensearch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::settings::resolve;

    fn setup(line: &str) -> SetupRequest {
        let parsed = parse(line.split(' ').map(std::ffi::OsString::from)).unwrap();
        let Command::Setup(asked) = parsed.command else { panic!("{line}") };
        asked
    }

    fn kibana(env: &[(&str, &str)]) -> Result<crate::setup::kibana::KibanaOptions, String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = resolve(&env, &SettingPairs::new(), |_| Err(String::new())).outcome.unwrap();
        kibana_options(&setup("podtap setup kibana --overwrite"), &settings)
    }

    #[test]
    fn every_part_has_the_flags_that_matter_to_it() {
        let none = SetupRequest {
            elasticsearch: true,
            kibana: true,
            retention: None,
            overwrite: false,
            print: false,
            opensearch: false,
        };
        assert_eq!(setup("podtap setup all"), none);
        let elasticsearch = setup("podtap setup elasticsearch --retention 90d --print");
        let expected = SetupRequest { kibana: false, retention: Some("90d".to_owned()), print: true, ..none.clone() };
        assert_eq!(elasticsearch, expected);
        assert_eq!(
            setup("podtap setup kibana --overwrite"),
            SetupRequest { elasticsearch: false, overwrite: true, ..none }
        );
        for wrong in [
            "podtap setup",
            "podtap setup grafana",
            "podtap setup kibana --retention 3d",
            "podtap setup kibana --opensearch-dashboards",
        ] {
            assert!(parse(wrong.split(' ').map(std::ffi::OsString::from)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_setting_may_stand_behind_it() {
        let line = "podtap setup kibana --kibana-url http://k:1 --print".split(' ').map(std::ffi::OsString::from);
        let flags = parse(line).unwrap().flags;
        assert_eq!(flags, SettingPairs::from([("KIBANA_URL".to_owned(), "http://k:1".to_owned())]));
    }

    #[test]
    fn kibana_gets_the_credentials_of_elasticsearch_unless_its_own_are_set() {
        let basic = |name: &str| ElasticsearchAuth::Basic { username: name.to_owned(), password: "p".to_owned() };
        let elastic = [("ELASTICSEARCH_USERNAME", "elastic"), ("ELASTICSEARCH_PASSWORD", "p")];
        let options = kibana(&elastic).unwrap();
        assert_eq!(options.server.auth, basic("elastic"));
        assert_eq!(options.server.nodes[0].as_str(), "http://localhost:5601/");
        assert_eq!((options.space, options.index_pattern.as_str()), (None, "k8s-internal-networking"));
        let url = [elastic[0], elastic[1], ("KIBANA_URL", "https://me:p@kibana.example/base")];
        let options = kibana(&url).unwrap();
        assert_eq!(options.server.auth, basic("me"));
        assert_eq!(options.server.nodes[0].as_str(), "https://kibana.example/base");
        let key = kibana(&[elastic[0], elastic[1], ("KIBANA_API_KEY", "id:key")]).unwrap();
        assert_eq!(key.server.auth, ElasticsearchAuth::ApiKey("id:key".to_owned()));
        let dated = kibana(&[("ELASTICSEARCH_INDEX", "web-%Y.%m.%d"), ("KIBANA_SPACE", "shop")]).unwrap();
        assert_eq!((dated.space.as_deref(), dated.index_pattern.as_str()), (Some("shop"), "web-*.*.*"));
        assert_eq!(kibana(&[("KIBANA_SPACE", "default")]).unwrap().space, None);
        for wrong in ["../x", "Shop", "a b"] {
            assert!(kibana(&[("KIBANA_SPACE", wrong)]).is_err(), "{wrong}");
        }
        assert!(kibana(&[("KIBANA_URL", "ftp://k")]).unwrap_err().starts_with("KIBANA_URL"));
    }
}
