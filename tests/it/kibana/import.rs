//! `podtap setup kibana`, the program itself, against the made-up Kibana.

use std::process::Command;

use serde_json::json;

use super::fake::{Kibana, Kind};

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn podtap(arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podtap"));
    command.env_clear().args(arguments).envs(env.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn setup(kibana: &Kibana, more: &[&str]) -> Ran {
    let url = kibana.url();
    podtap(&[&["setup", "kibana", "--kibana-url", &url], more].concat(), &[])
}

/// How many lines begin with this.
fn lines(text: &str, first: &str) -> usize {
    text.lines().filter(|line| line.starts_with(first)).count()
}

/// As many as there are in the file.
fn all() -> usize {
    super::objects().len()
}

#[test]
fn everything_is_created_once_and_then_kept_by_default() {
    let kibana = Kibana::start(Kind::default());
    let ran = setup(&kibana, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    assert_eq!(lines(&ran.stdout, "created "), all(), "{}", ran.stdout);
    let where_to = format!("note       {}/app/dashboards#/view/podtap-overview\n", kibana.url());
    assert!(ran.stdout.ends_with(&where_to), "{}", ran.stdout);
    let before = kibana.objects("");
    assert_eq!(before.len(), all());

    let ran = setup(&kibana, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(lines(&ran.stdout, "kept "), all(), "{}", ran.stdout);
    assert!(ran.stdout.contains("kept       dashboard podtap-trust: it exists already (--overwrite replaces it)\n"));

    kibana.with("", |objects| objects.values_mut().for_each(|object| object["attributes"]["title"] = json!("mine")));
    let ran = setup(&kibana, &["--overwrite"]);
    assert_eq!(lines(&ran.stdout, "updated "), all(), "{}", ran.stdout);
    assert_eq!(kibana.objects(""), before);
}

/// Kibana's `_import` alone would create nothing here, and call it a success.
#[test]
fn what_is_missing_is_created_where_something_else_is_kept() {
    let kibana = Kibana::start(Kind::default());
    setup(&kibana, &[]);
    let search = ("search".to_owned(), "podtap-trouble".to_owned());
    let dashboard = ("dashboard".to_owned(), "podtap-slow".to_owned());
    kibana.with("", |objects| {
        objects.get_mut(&search).unwrap()["attributes"]["title"] = json!("mine");
        objects.remove(&dashboard).unwrap();
    });
    let ran = setup(&kibana, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(lines(&ran.stdout, "created    dashboard podtap-slow"), 1, "{}", ran.stdout);
    assert_eq!(lines(&ran.stdout, "kept "), all() - 1, "{}", ran.stdout);
    let now = kibana.objects("");
    assert!(now.contains_key(&dashboard));
    assert_eq!(now[&search]["attributes"]["title"], "mine");
}

#[test]
fn each_space_has_separate_objects() {
    let kibana = Kibana::start(Kind { base: "/base", ..Kind::default() });
    let ran = setup(&kibana, &["--kibana-space", "shop", "--elasticsearch-index", "web-%Y.%m.%d"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(kibana.objects("").is_empty());
    let objects = kibana.objects("shop");
    assert_eq!(objects.len(), all());
    assert!(objects.keys().all(|(_, id)| id.starts_with("podtap-shop-")));
    let view = &objects[&("index-pattern".to_owned(), "podtap-shop-http".to_owned())];
    assert_eq!(view["attributes"]["title"], "web-*.*.*");
    assert!(ran.stdout.contains("/base/s/shop/app/dashboards#/view/podtap-shop-overview"), "{}", ran.stdout);
    let nowhere = setup(&kibana, &["--kibana-space", "nowhere"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("404 Saved object [space/nowhere] not found"), "{}", nowhere.stderr);
}

#[test]
fn a_key_or_the_credentials_of_elasticsearch_open_the_door() {
    let secured = |authorization| Kibana::start(Kind { authorization: Some(authorization), ..Kind::default() });
    let key = std::env::temp_dir().join(format!("podtap-kibana-key-{}", std::process::id()));
    std::fs::write(&key, "id:key\n").unwrap();
    let kibana = secured("ApiKey aWQ6a2V5");
    let run = |kibana: &Kibana, env: &[(&str, &str)]| {
        podtap(&["setup", "kibana"], &[&[("KIBANA_URL", kibana.url().as_str())], env].concat())
    };
    let ran = run(&kibana, &[("KIBANA_API_KEY_FILE", key.to_str().unwrap())]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    std::fs::remove_file(&key).unwrap();
    let elastic = [("ELASTICSEARCH_USERNAME", "elastic"), ("ELASTICSEARCH_PASSWORD", "secret")];
    let ran = run(&secured("Basic ZWxhc3RpYzpzZWNyZXQ="), &elastic);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let ran = run(&kibana, &[("KIBANA_API_KEY", "id:wrong-one")]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("401 [security_exception]") && !ran.stderr.contains("wrong-one"), "{}", ran.stderr);
}

#[test]
fn what_would_not_understand_the_objects_gets_none() {
    for (kind, why) in [
        (Kind { version: Some("8.7.1"), ..Kind::default() }, "this is Kibana 8.7.1: Kibana 8.8 or newer is needed"),
        (Kind { refuses: Some(503), ..Kind::default() }, "Kibana is not ready yet (503)"),
        (Kind { refuses: Some(404), ..Kind::default() }, "what answers there is not Kibana"),
        (
            Kind { unknown: &["dashboard"], ..Kind::default() },
            "did not take dashboard podtap-overview: unsupported_type",
        ),
    ] {
        let kibana = Kibana::start(kind);
        let ran = setup(&kibana, &[]);
        assert_eq!(ran.code, Some(1), "{why}: {}", ran.stdout);
        assert!(ran.stderr.starts_with("podtap: Kibana: ") && ran.stderr.contains(why), "{why}: {}", ran.stderr);
        assert!(!kibana.objects("").keys().any(|(kind, _)| kind == "dashboard"));
    }
    let hidden = Kibana::start(Kind { version: None, ..Kind::default() });
    assert_eq!(setup(&hidden, &[]).code, Some(0), "a version that is not told stops nobody");
    let nobody = podtap(&["setup", "kibana", "--kibana-url", "http://127.0.0.1:1"], &[]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("127.0.0.1:1: Connection refused"), "{}", nobody.stderr);
}

#[test]
fn what_is_printed_is_the_file() {
    for (more, file) in
        [(&[][..], "kibana/podtap.ndjson"), (&["--opensearch-dashboards"], "kibana/podtap-opensearch.ndjson")]
    {
        let ran = podtap(&[&["setup", "kibana", "--print"], more].concat(), &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(ran.stdout == std::fs::read_to_string(path).unwrap(), "{file}");
    }
}

fn dashboards(version: &'static str, tenants: bool) -> Kibana {
    Kibana::start(Kind { version: Some(version), tenants, ..Kind::default() })
}

#[test]
fn opensearch_dashboards_gets_objects_that_it_can_draw() {
    let objects = super::file("kibana/podtap-opensearch.ndjson");
    for version in ["1.3.20", "2.19.1", "3.6.0"] {
        let server = dashboards(version, false);
        let ran = setup(&server, &[]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
        assert_eq!(lines(&ran.stdout, "created "), objects.len(), "{}", ran.stdout);
        assert_eq!(lines(&ran.stdout, "created    index pattern podtap-http"), 1, "{}", ran.stdout);
        let where_to = format!("note       {}/app/dashboards#/view/podtap-overview\n", server.url());
        assert!(ran.stdout.ends_with(&where_to), "{}", ran.stdout);
        let there: Vec<_> = server.objects("").into_values().collect();
        assert!(objects.iter().all(|object| there.contains(object)));

        let gone = ("visualization".to_owned(), "podtap-trust-labels".to_owned());
        server.with("", |objects| drop(objects.remove(&gone).unwrap()));
        let ran = setup(&server, &[]);
        assert_eq!(lines(&ran.stdout, "created    visualization podtap-trust-labels"), 1, "{}", ran.stdout);
        assert_eq!(lines(&ran.stdout, "kept "), objects.len() - 1, "{}", ran.stdout);
        assert_eq!(lines(&setup(&server, &["--overwrite"]).stdout, "updated "), objects.len());
    }
}

/// The security plugin takes a tenant that it does not know for another one.
#[test]
fn each_tenant_has_separate_objects_and_a_missing_one_gets_none() {
    let server = dashboards("2.19.1", true);
    let ran = setup(&server, &["--kibana-space", "shop"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    assert!(server.objects("").is_empty());
    assert!(server.objects("shop").contains_key(&("dashboard".to_owned(), "podtap-overview".to_owned())));
    assert!(ran.stdout.contains("/app/dashboards?security_tenant=shop#/view/podtap-overview"), "{}", ran.stdout);
    for (server, space, why) in [
        (&server, "nowhere", "there is no tenant nowhere for this user"),
        (&server, "shown", "this user may not write to the tenant shown"),
        (&dashboards("2.19.1", false), "shop", "there are no tenants"),
    ] {
        let ran = setup(server, &["--kibana-space", space]);
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        assert!(server.objects("").is_empty());
    }
    let ran = setup(&server, &["--kibana-space", "global"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!server.objects("").is_empty());
}

#[test]
fn all_prepares_both_and_elasticsearch_takes_its_flags() {
    let given = [("ELASTICSEARCH_API_VERSION", "8.x")];
    let ran = podtap(&["setup", "all", "--print", "--retention", "7d"], &given);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with("PUT /") && ran.stdout.contains("podtap-overview"));
    let ran = podtap(&["setup", "elasticsearch", "--print"], &given);
    assert!(ran.stdout.contains("_component_template") && !ran.stdout.contains("podtap-overview"), "{}", ran.stdout);
    let wrong = podtap(&["setup", "elasticsearch", "--retention", "soon"], &given);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("--retention soon is not a retention"), "{}", wrong.stderr);
    let wrong = podtap(&["setup", "kibana"], &[("KIBANA_SPACE", "../x")]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}
