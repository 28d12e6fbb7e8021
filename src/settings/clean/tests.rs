use proptest::prelude::*;

use super::*;
use crate::settings::VARIABLES;
use crate::settings::values::{Count, Secret};

/// What a server sink declares: there is none yet.
const SINK: &[Variable] = &[
    Variable { old: Some("FLUENTHOST"), ..variable("FLUENTD_HOST", "localhost") },
    Variable { old: Some("FLUENTPORT"), allowed_by_type: Port::allowed, ..variable("FLUENTD_PORT", "24224") },
    Variable { secret: true, in_file: true, allowed_by_type: Secret::allowed, ..variable("FLUENTD_PASSWORD", "none") },
];

type Port = Count<1, 65_535>;

const fn variable(name: &'static str, default: &'static str) -> Variable {
    Variable {
        name,
        meaning: "",
        default,
        group: "Output",
        old: None,
        only: None,
        secret: false,
        in_file: false,
        allowed: None,
        allowed_by_type: String::allowed,
    }
}

fn pairs(given: &[(&str, &str)]) -> SettingPairs {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn cleaned(env: &[(&str, &str)], flags: &[(&str, &str)]) -> SettingTexts {
    clean(SINK, &pairs(env), &pairs(flags), &|path| match path {
        "/run/secret" => Ok("s3cret \n".to_owned()),
        "/run/windows" => Ok("s3cret\r\n".to_owned()),
        "/run/two" => Ok("s3cret\n\n".to_owned()),
        "/run/empty" => Ok("\n".to_owned()),
        _ => Err("No such file or directory".to_owned()),
    })
}

fn value<'a>(texts: &'a SettingTexts, name: &str) -> (&'a str, String) {
    let row = texts.rows.iter().find(|row| row.variable.name == name).unwrap();
    (&row.text, row.origin.to_string())
}

fn notes(texts: &SettingTexts) -> Vec<String> {
    texts.notes.iter().map(SettingNote::to_string).collect()
}

fn wrongs(texts: &SettingTexts) -> Vec<String> {
    texts.wrong.iter().map(WrongValue::to_string).collect()
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_default() {
    let host = |env: &[_], flags: &[_]| {
        let texts = cleaned(env, flags);
        let (text, origin) = value(&texts, "FLUENTD_HOST");
        (text.to_owned(), origin)
    };
    let expect = |text: &str, origin: &str| (text.to_owned(), origin.to_owned());
    assert_eq!(host(&[], &[]), expect("localhost", "default"));
    assert_eq!(host(&[("FLUENTD_HOST", " a ")], &[]), expect("a", "environment"));
    assert_eq!(host(&[("FLUENTD_HOST", "a")], &[("FLUENTD_HOST", "b")]), expect("b", "flag"));
    assert_eq!(host(&[("FLUENTD_HOST", " ")], &[]), expect("localhost", "default"));
    assert_eq!(host(&[("FLUENTD_HOST", "a")], &[("FLUENTD_HOST", "")]), expect("localhost", "default"));
}

#[test]
fn an_old_spelling_is_read_with_a_note_and_loses_against_the_new_one() {
    let texts = cleaned(&[("FLUENTHOST", "a")], &[]);
    assert_eq!(value(&texts, "FLUENTD_HOST"), ("a", "environment, as FLUENTHOST".to_owned()));
    assert_eq!(notes(&texts), ["FLUENTHOST is the old spelling of FLUENTD_HOST, and read as it"]);
    let texts = cleaned(&[("FLUENTHOST", "a"), ("FLUENTD_HOST", "b")], &[]);
    assert_eq!(value(&texts, "FLUENTD_HOST"), ("b", "environment".to_owned()));
    assert_eq!(notes(&texts), ["FLUENTHOST is the old spelling of FLUENTD_HOST; both are set, FLUENTD_HOST is used"]);
}

#[test]
fn a_service_link_gives_host_and_port_when_no_host_is_set() {
    let link = ("FLUENTD_PORT", "tcp://10.0.0.1:24225");
    let texts = cleaned(&[link, ("FLUENTD_SERVICE_HOST", "10.0.0.1"), ("FLUENTD_PORT_24225_TCP_PROTO", "tcp")], &[]);
    assert_eq!(value(&texts, "FLUENTD_HOST"), ("10.0.0.1", "service link FLUENTD_PORT".to_owned()));
    assert_eq!(value(&texts, "FLUENTD_PORT"), ("24225", "service link FLUENTD_PORT".to_owned()));
    assert_eq!(
        notes(&texts),
        ["FLUENTD_PORT was set by Kubernetes for a Service: host 10.0.0.1, port 24225 taken from it"]
    );
    assert!(wrongs(&texts).is_empty());
}

#[test]
fn a_service_link_is_ignored_when_a_host_or_a_port_is_set() {
    let link = ("FLUENTD_PORT", "tcp://10.0.0.1:24225");
    for (env, flags, host, port) in [
        (vec![link, ("FLUENTD_HOST", "a")], vec![], "a", "24224"),
        (vec![link, ("FLUENTHOST", "a")], vec![], "a", "24224"),
        (vec![link], vec![("FLUENTD_HOST", "a")], "a", "24224"),
        (vec![link], vec![("FLUENTD_PORT", "7")], "localhost", "7"),
        (vec![link, ("FLUENTPORT", "7")], vec![], "localhost", "7"),
        (vec![("FLUENTD_PORT", "udp://10.0.0.1:1")], vec![], "localhost", "24224"),
    ] {
        let texts = cleaned(&env, &flags);
        assert_eq!(
            (value(&texts, "FLUENTD_HOST").0, value(&texts, "FLUENTD_PORT").0),
            (host, port),
            "{env:?} {flags:?}"
        );
        assert!(wrongs(&texts).is_empty() && !notes(&texts).iter().any(|note| note.contains("Service")), "{env:?}");
    }
}

#[test]
fn a_secret_comes_from_a_file_without_its_last_newline() {
    for (path, secret) in [("/run/secret", "s3cret "), ("/run/windows", "s3cret"), ("/run/two", "s3cret\n")] {
        let texts = cleaned(&[("FLUENTD_PASSWORD_FILE", path)], &[]);
        assert_eq!(value(&texts, "FLUENTD_PASSWORD"), (secret, format!("file {path}")));
        assert!(notes(&texts).is_empty());
    }
    let texts = cleaned(&[("FLUENTD_PASSWORD", "x")], &[("FLUENTD_PASSWORD_FILE", "/run/secret")]);
    assert_eq!(value(&texts, "FLUENTD_PASSWORD").0, "s3cret ");
}

#[test]
fn a_secret_from_the_environment_loses_one_line_feed_and_a_note_says_so() {
    for (text, secret, noted) in [
        ("s3cret\n", "s3cret", true),
        ("s3cret\r\n", "s3cret", true),
        ("s3cret\n\n", "s3cret\n", true),
        ("s3cret ", "s3cret ", false),
    ] {
        let texts = cleaned(&[("FLUENTD_PASSWORD", text)], &[]);
        assert_eq!(value(&texts, "FLUENTD_PASSWORD").0, secret);
        let notes = notes(&texts);
        assert_eq!(
            notes.iter().any(|note| note.starts_with("FLUENTD_PASSWORD ends in a line feed")),
            noted,
            "{notes:?}"
        );
        assert!(!format!("{notes:?}").contains("s3cret"));
    }
    let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert!(notes(&cleaned(&[("FLUENTD_PASSWORD", key)], &[])).is_empty(), "of PEM it is a part");
}

#[test]
fn a_secret_that_cannot_be_had_is_wrong_by_name_and_file() {
    for (env, said) in [
        (
            vec![("FLUENTD_PASSWORD_FILE", "/nowhere")],
            "FLUENTD_PASSWORD_FILE = \"/nowhere\" (file /nowhere): the file cannot be read: No such file or directory",
        ),
        (
            vec![("FLUENTD_PASSWORD_FILE", "/run/empty")],
            "FLUENTD_PASSWORD_FILE = \"/run/empty\" (file /run/empty): the file is empty",
        ),
        (
            vec![("FLUENTD_PASSWORD_FILE", "/run/secret"), ("FLUENTD_PASSWORD", "hunter2")],
            "FLUENTD_PASSWORD: FLUENTD_PASSWORD and FLUENTD_PASSWORD_FILE are both set; allowed: text (secret)",
        ),
        (
            vec![("FLUENTD_PASSWORD", "a\u{fffd}")],
            "FLUENTD_PASSWORD = \"********\" (environment): not UTF-8; allowed: text (secret)",
        ),
    ] {
        let mut texts = cleaned(&env, &[]);
        assert_eq!(wrongs(&texts), [said]);
        assert_eq!(texts.parse::<Option<Secret>>("FLUENTD_PASSWORD"), Some(None), "the default takes its place");
        assert_eq!(wrongs(&texts), [said], "and it is said once");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let texts = cleaned(&[("FLUENTD_PASSWORD", "hunter2")], &[]);
    let shown: Vec<_> = texts.rows.iter().map(SettingRow::shown).collect();
    assert_eq!(shown, ["localhost", "24224", "********"]);
    assert_eq!(cleaned(&[], &[]).rows[2].shown(), "none");
}

#[test]
fn a_mode_implies_only_what_is_not_set() {
    let row = |env: &[_], name: &str| {
        let texts = clean(VARIABLES, &pairs(env), &SettingPairs::new(), &|_| Err(String::new()));
        let (text, origin) = value(&texts, name);
        format!("{text} by {origin}")
    };
    assert_eq!(row(&[("MODE", "development")], "IFACE"), "lo by MODE");
    assert_eq!(row(&[("MODE", "Development")], "FORMAT"), "text by MODE");
    assert_eq!(row(&[("MODE", "development"), ("IFACE", "eth0")], "IFACE"), "eth0 by environment");
    assert_eq!(row(&[("MODE", "debug")], "LOG_LEVEL"), "debug by MODE");
    assert_eq!(row(&[("MODE", "debug"), ("LOG_LEVEL", "warn")], "LOG_LEVEL"), "warn by environment");
    assert_eq!(row(&[("MODE", "nonsense")], "LOG_LEVEL"), "info by default");
}

/// Names that are settings, or near them, or anything.
fn names() -> impl Strategy<Value = String> {
    let known = prop::sample::select(VARIABLES).prop_map(|variable| variable.name.to_owned());
    let near = known.clone().prop_flat_map(|name| {
        (0..=name.len()).prop_map(move |at| format!("{}{}", &name[..at], name.get(at + 1..).unwrap_or("é")))
    });
    prop_oneof![known, near, "[A-Z_]{0,12}_PORT(_[0-9]{1,6}_(TCP|UDP))?", any::<String>()]
}

proptest! {
    #[test]
    fn any_environment_gives_settings_or_says_what_is_wrong(
        env in prop::collection::vec((names(), any::<String>()), 0..8),
        flags in prop::collection::vec((names(), "[ -~]{0,12}"), 0..4),
    ) {
        let result = crate::settings::Settings::from_pairs(env, flags, |_| Err(String::new()));
        if let Err(wrong) = result {
            prop_assert!(!wrong.values.is_empty());
            prop_assert!(!wrong.to_string().chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
