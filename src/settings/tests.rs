use super::names::UNUSED;
use super::testing::settings;
use super::*;

fn wrong(env: &[(&str, &str)]) -> String {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_pairs(env, [], |_| Err(String::new())).unwrap_err().to_string()
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    let defaults = settings(&[]);
    assert_eq!(defaults.send_logs_to.0, [SinkName::Stdout]);
    assert_eq!(defaults.timeout_after.0.as_millis(), 10_000);
    assert_eq!(defaults.snaplen.bytes(), 262_144);
    assert_eq!(defaults.iface, Auto::Auto);
    assert_eq!(defaults.pod_name, None);
}

#[test]
fn the_origins_configuration_is_read_as_it_was() {
    let given = settings(&[
        ("IFACE", "eth0"),
        ("IGNOREURLS", "/info, /health"),
        ("CAPFILTER", "tcp port 2123"),
        ("TIMEOUTINTERVALCHECK", "500"),
        ("TIMEOUTAFTERMS", "5000"),
        ("MODE", "prod"),
        ("SEND_LOGS_TO", "stdout"),
        ("LOGHEADERS", "true"),
    ]);
    assert_eq!(given.iface, Auto::Given(ListOf(vec!["eth0".to_owned()])));
    assert_eq!(given.ignore_urls.0, ["/info", "/health"]);
    assert_eq!(given.cap_filter.live(), Some("tcp port 2123"));
    assert_eq!(given.timeout_after.0.as_millis(), 5000);
    assert_eq!(given.log_headers, HeadersToLog::All);
}

/// The logger that podtap replaces had a host in its ConfigMap, and no SEND_LOGS_TO.
#[test]
fn a_host_without_send_logs_to_means_standard_output_and_its_server() {
    for (env, expected, said) in [
        (&[("FLUENTHOST", "fluentd"), ("FLUENTPORT", "24224")][..], "stdout,fluentd", "FLUENTHOST is set and"),
        (&[("FLUENTD_HOST", "f")], "stdout,fluentd", "FLUENTD_HOST is set and"),
        (&[("LOGSTASH_HOST", "l")], "stdout,logstash", "LOGSTASH_HOST is set and"),
        (
            &[("FLUENTHOST", "f"), ("ELASTICSEARCH_HOST", "e")],
            "stdout,fluentd,elasticsearch",
            "FLUENTHOST, ELASTICSEARCH_HOST are set and",
        ),
        (&[("FLUENTHOST", "f"), ("SEND_LOGS_TO", "logstash")], "logstash", ""),
        (&[("FLUENTHOST", "f"), ("SEND_LOGS_TO", "none")], "", ""),
        (&[("FLUENTHOST", "none")], "stdout", ""),
        (&[("FLUENTPORT", "24224")], "stdout", ""),
        (&[("FLUENTD_PORT", "tcp://10.0.0.1:24224")], "stdout", ""),
    ] {
        let pairs = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (given, notes) = Settings::from_pairs(pairs, [], |_| Err(String::new())).unwrap();
        let to: Vec<_> = given.send_logs_to.iter().map(|sink| sink.word()).collect();
        assert_eq!(to.join(","), expected, "{env:?}");
        let notes: Vec<_> =
            notes.iter().map(ToString::to_string).filter(|note| note.contains("records go to")).collect();
        assert_eq!(notes.is_empty(), said.is_empty(), "{env:?}: {notes:?}");
        assert!(notes.iter().all(|note| note.starts_with(said) && note.ends_with(expected)), "{notes:?}");
    }
}

/// Deliveries wait for an answer; what comes in meanwhile has to find room.
#[test]
fn a_silent_server_does_not_fill_the_default_queue_at_500_records_a_second_before_its_time_is_over() {
    const RATE: f64 = 500.0;
    const RECORD_BYTES: f64 = 1500.0;
    let defaults = settings(&[]);
    // The memory limit of the chart's default.
    let bounds = MemoryBounds::of(&defaults, Some(64 << 20));
    for timeout in [defaults.fluentd_timeout, defaults.logstash_timeout, defaults.elasticsearch_timeout] {
        let records = RATE * (timeout.0 + defaults.batch_age.0).as_secs_f64();
        assert!(records < defaults.queue_records.count() as f64 * 0.7, "{records} records");
        assert!(records * RECORD_BYTES < bounds.queue_bytes as f64 * 0.7, "{records} records");
    }
}

#[test]
fn every_wrong_value_is_named_in_one_message() {
    assert_eq!(
        wrong(&[
            ("TIMEOUT_AFTER_MS", "soon"),
            ("SEND_LOGS_TO", "stdout, kafka"),
            ("SAMPLE", "2"),
            ("FORMAT", "classic"),
            ("FLUENTD_HSOT", "x"),
        ]),
        "3 settings are wrong:
  SEND_LOGS_TO = \"stdout, kafka\" (environment): none of the allowed words; \
allowed: comma list of: stdout, file, fluentd, logstash, elasticsearch; or none
  SAMPLE = \"2\" (environment): not between 0 and 1; allowed: 0 to 1
  TIMEOUT_AFTER_MS = \"soon\" (environment): not a number; \
allowed: milliseconds, 1 or more (or with a unit: 500ms, 10s, 5m)
FLUENTD_HSOT is not a setting; did you mean FLUENTD_HOST?
`podtap settings` explains every setting."
    );
}

#[test]
fn the_file_sink_needs_a_path() {
    assert!(wrong(&[("SEND_LOGS_TO", "file")]).contains("FILE_PATH: not set, but SEND_LOGS_TO names file"));
    let given = settings(&[("SEND_LOGS_TO", "file"), ("FILE_PATH", "/tmp/x")]);
    assert_eq!(given.file_path.as_deref(), Some(std::path::Path::new("/tmp/x")));
}

#[test]
fn a_setting_of_a_sink_that_is_not_used_is_pointed_out() {
    let env = [("FILE_PATH".to_owned(), "/x".to_owned())];
    let (_, notes) = Settings::from_pairs(env, [], |_| Err(String::new())).unwrap();
    assert_eq!(notes, [SettingNote::NoSuchSink { name: "FILE_PATH", sink: SinkName::File }]);
}

#[test]
fn the_format_is_text_only_for_eyes_unless_it_is_said() {
    for (env, terminal, stdout, file) in [
        (vec![], false, Format::Ecs, Format::Ecs),
        (vec![], true, Format::Text, Format::Ecs),
        (vec![("FORMAT", "ecs")], true, Format::Ecs, Format::Ecs),
        (vec![("FORMAT", "classic")], false, Format::Classic, Format::Classic),
        (vec![("FORMAT", "classic"), ("FORMAT_FILE", "text")], true, Format::Classic, Format::Text),
        (vec![("FORMAT_STDOUT", "classic")], true, Format::Classic, Format::Ecs),
        (vec![("MODE", "development")], false, Format::Text, Format::Text),
    ] {
        let given = settings(&env);
        let formats = (given.format_at(SinkName::Stdout, terminal), given.format_at(SinkName::File, terminal));
        assert_eq!(formats, (stdout, file), "{env:?} {terminal}");
    }
}

#[test]
fn capturing_lingers_for_half_the_grace_period_and_never_longer_than_all_of_it() {
    for (env, millis) in [
        (vec![], 12_500),
        (vec![("GRACE_PERIOD", "10s")], 5_000),
        (vec![("LINGER", "3")], 3_000),
        (vec![("LINGER", "25")], 25_000),
        (vec![("LINGER", "0")], 0),
    ] {
        assert_eq!(settings(&env).linger().as_millis(), millis, "{env:?}");
    }
}

#[test]
fn every_default_is_allowed_and_no_name_is_declared_twice() {
    let defaults = VARIABLES.iter().map(|v| (v.name.to_owned(), v.default.to_owned()));
    assert_eq!(Settings::from_pairs(defaults, [], |_| Err(String::new())).unwrap().0, settings(&[]));
    let mut names: Vec<&str> = VARIABLES.iter().flat_map(|v| [Some(v.name), v.old]).flatten().collect();
    names.extend(UNUSED.split_ascii_whitespace());
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn spans_that_contradict_each_other_are_refused() {
    for (env, wrong) in [
        (vec![("LINGER", "26s")], Some("LINGER")),
        (vec![("LINGER", "25s")], None),
        (vec![("LINGER", "30s"), ("GRACE_PERIOD", "30s")], None),
        (vec![("GRACE_PERIOD", "1s")], None),
        (vec![("TIMEOUT_INTERVAL_CHECK", "100s")], Some("TIMEOUT_INTERVAL_CHECK")),
        (vec![("TIMEOUT_INTERVAL_CHECK", "10s")], None),
        (vec![("TIMEOUT_INTERVAL_CHECK", "100s"), ("TIMEOUT_AFTER_MS", "100s")], None),
        (vec![("TIMEOUT_AFTER_MS", "100")], None),
        (vec![("TIMEOUT_AFTER_MS", "100"), ("TIMEOUT_INTERVAL_CHECK", "2s")], None),
    ] {
        let pairs = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let outcome = Settings::from_pairs(pairs, [], |_| Err(String::new()));
        let names: Vec<_> = outcome.err().into_iter().flat_map(|wrong| wrong.values).map(|value| value.name).collect();
        assert_eq!(names.first().map(String::as_str), wrong, "{env:?}");
    }
}
