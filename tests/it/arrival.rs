//! The same records everywhere: every golden scene goes through the binary to all sinks at once. What arrives at each
//! real server is, field by field, what standard output printed in the same run.

use std::collections::BTreeMap;

use podtap::setup::SetupOptions;
use podtap::synth::pcap;
use serde_json::Value;

use crate::binary::replay;
use crate::elasticsearch::{options, set_up};
use crate::feed::by_id;
use crate::golden;
use crate::golden::ENV;
use crate::servers::{Forward, Kind, Lumberjack, Nginx, Scratch, Search, certificates};

const INDEX: &str = "arrival";

/// Settings, next to those that are the same for all.
type Settings = Vec<(&'static str, String)>;

/// Replays every scene, each as seen by its own observer: their addresses and times are the same. Returns what was
/// printed.
fn replayed(settings: &Settings) -> BTreeMap<String, Value> {
    let mut printed = BTreeMap::new();
    for (name, play) in golden::all() {
        let mut env: Vec<(&str, &str)> = ENV.to_vec();
        env.extend([("SEND_LOGS_TO", "stdout,file,fluentd,logstash,elasticsearch"), ("OBSERVER_ID", name)]);
        env.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
        let ran = replay(&pcap(&play()), &env);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        let records = by_id(ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()));
        assert_eq!(records.len(), ran.stdout.lines().count(), "{name}: an id stands twice");
        printed.extend(records);
    }
    assert!(printed.len() > golden::all().count(), "a scene is about a record at least");
    printed
}

fn elasticsearch(server: &Search) -> Settings {
    set_up(&options(server, INDEX), &SetupOptions::default());
    let mut settings = vec![("ELASTICSEARCH_HOST", server.url()), ("ELASTICSEARCH_INDEX", INDEX.to_owned())];
    if let Some(password) = server.password() {
        settings.extend([("ELASTICSEARCH_USERNAME", "elastic".to_owned())]);
        settings.extend([("ELASTICSEARCH_PASSWORD", password.to_owned())]);
    }
    settings
}

/// Says which record is not the same, and does not print thousands of lines.
fn expect_same(where_: &str, arrived: &BTreeMap<String, Value>, printed: &BTreeMap<String, Value>) {
    assert_eq!(arrived.keys().collect::<Vec<_>>(), printed.keys().collect::<Vec<_>>(), "{where_}");
    for (id, record) in printed {
        assert_eq!(&arrived[id], record, "{where_}");
    }
}

fn lines_of(path: &std::path::Path) -> BTreeMap<String, Value> {
    by_id(std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()))
}

#[test]
fn forward_beats_elasticsearch_and_a_file_get_what_standard_output_prints() {
    let scratch = Scratch::new("arrival-plain");
    let Some(forward) = Forward::start(&scratch, &[]) else { return };
    let Some(beats) = Lumberjack::start(&scratch, &[]) else { return };
    let Some(server) = Search::shared(Kind::Elasticsearch) else { return };
    let file = scratch.path("records.jsonl");
    let mut settings = elasticsearch(server);
    settings.extend([
        ("FILE_PATH", file.display().to_string()),
        ("FLUENTD_HOST", "127.0.0.1".to_owned()),
        ("FLUENTD_PORT", forward.port.to_string()),
        ("LOGSTASH_HOST", format!("127.0.0.1:{}", beats.port)),
        ("LOGSTASH_TYPE", "beats".to_owned()),
    ]);
    let printed = replayed(&settings);
    expect_same("file", &lines_of(&file), &printed);
    expect_same("forward", &by_id(forward.records()), &printed);
    expect_same("beats", &by_id(beats.records()), &printed);
    expect_same("Elasticsearch", &server.stored(INDEX), &printed);
    // The same captures once more change nothing there.
    assert_eq!(replayed(&settings), printed);
    expect_same("Elasticsearch, twice", &server.stored(INDEX), &printed);
}

#[test]
fn with_tls_and_compression_so_do_forward_http_and_opensearch() {
    let scratch = Scratch::new("arrival-tls");
    let of = |name: &str| certificates().join(name).display().to_string();
    let given = [format!("cert={}", of("server.pem")), format!("certkey={}", of("server.key")), "key=k3y".to_owned()];
    let Some(forward) = Forward::start(&scratch, &given) else { return };
    let Some(http) = Nginx::start(&scratch, Some("server.pem")) else { return };
    let Some(server) = Search::shared(Kind::OpenSearch) else { return };
    let mut settings = elasticsearch(server);
    settings.extend([
        ("FILE_PATH", scratch.path("records.jsonl").display().to_string()),
        ("FLUENTD_HOST", format!("127.0.0.1:{}", forward.port)),
        ("FLUENTD_TLS_CA", of("ca.pem")),
        ("FLUENTD_SHARED_KEY", "k3y".to_owned()),
        ("FLUENTD_COMPRESS", "true".to_owned()),
        ("LOGSTASH_HOST", "127.0.0.1".to_owned()),
        ("LOGSTASH_PORT", http.port.to_string()),
        ("LOGSTASH_TYPE", "http".to_owned()),
        ("LOGSTASH_PATH", "/login".to_owned()),
        ("LOGSTASH_USERNAME", "user".to_owned()),
        ("LOGSTASH_PASSWORD", "secret".to_owned()),
        ("LOGSTASH_TLS_CA", of("ca.pem")),
        ("LOGSTASH_COMPRESS", "true".to_owned()),
    ]);
    let printed = replayed(&settings);
    expect_same("forward", &by_id(forward.records()), &printed);
    expect_same("http", &by_id(http.records()), &printed);
    expect_same("OpenSearch", &server.stored(INDEX), &printed);
}
