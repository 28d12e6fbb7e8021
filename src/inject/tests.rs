//! `inject` and `uninject` on whole texts: odd layouts one by one, and all sorts of them by chance.

use proptest::prelude::*;

use super::*;

fn options() -> SidecarOptions {
    SidecarOptions::default()
}

fn other_options() -> SidecarOptions {
    let env = [("SPOOL_DIR".to_owned(), "/spool".to_owned())].into();
    SidecarOptions { image: "other/image:2".to_owned(), secret: Some("keys".to_owned()), env, ..options() }
}

fn injected(text: &str, options: &SidecarOptions) -> InjectReport {
    inject(text, options).unwrap_or_else(|malformed| panic!("{malformed:?}\n{text}"))
}

fn taken_out(text: &str) -> String {
    uninject(text).unwrap_or_else(|malformed| panic!("{malformed:?}\n{text}")).text
}

fn outcomes(report: &InjectReport) -> Vec<&InjectOutcome> {
    report.objects.iter().map(|treated| &treated.outcome).collect()
}

/// In and out again, twice in, and another one in its place.
fn there_and_back(text: &str, options: &SidecarOptions) -> String {
    let report = injected(text, options);
    assert!(
        report.objects.iter().all(|object| object.outcome == InjectOutcome::Injected),
        "{:#?}\n{text}",
        report.objects
    );
    assert_ne!(report.text, text);
    assert_eq!(taken_out(&report.text), text, "\n{}", report.text);
    let again = injected(&report.text, options);
    assert_eq!(again.text, report.text);
    assert!(again.objects.iter().all(|object| object.outcome == InjectOutcome::Unchanged), "{:#?}", again.objects);
    let other = injected(&report.text, &SidecarOptions { classic: options.classic, ..other_options() });
    assert!(other.objects.iter().all(|object| object.outcome == InjectOutcome::Updated), "{:#?}", other.objects);
    assert_eq!(taken_out(&other.text), text, "\n{}", other.text);
    assert_eq!(injected(&other.text, options).text, report.text);
    report.text
}

/// The lines that came in, without the sidecar's own.
fn around(text: &str) -> Vec<String> {
    let before = injected(text, &options()).text;
    let own = |line: &&str| {
        let line = line.trim_start();
        ["apiVersion", "kind", "spec", "metadata", "initContainers", "containers", "volumes", "#", "- name: podtap"]
            .iter()
            .any(|start| line.starts_with(start))
            || line.starts_with("- name")
    };
    let wanted = |line: &&str| !line.contains("POD_") && !line.contains("NODE_") && !line.contains("podtap-metrics");
    before.lines().filter(own).filter(wanted).map(|line| line.trim_end().to_owned()).collect()
}

const HEAD: &str = "apiVersion: v1\nkind: Pod\n";

#[test]
fn every_layout_is_edited_in_its_own_style_and_restored() {
    for spec in [
        "spec:\n  containers:\n    - name: app\n",
        "spec:\n  containers:\n  - name: app",
        "spec:\n    containers:\n    -   name: app\n        image: a # why\n    # after\n",
        "spec:\n  # about spec\n\n  # about containers\n  containers: # here\n  # about app\n  - name: app\n\n\n# end\n",
        "spec:\n  initContainers:\n\n  # first\n  # of all\n  - name: init\n  containers:\n  - name: app\n",
        "spec:\n  initContainers:\n    -\n      name: init\n    - &x\n      name: second\n  containers: &c\n    - *x\n",
        "spec:\n  initContainers: []\n  containers:\n    - name: app\n  volumes: []",
        "spec:\n  initContainers:   [ ]  # none\n  containers:\n  - name: app\n  volumes: ~ # none either\n",
        "spec:\n  volumes:\n  containers:\n  - name: app\n  initContainers: null",
        "spec:\n  containers: [{name: app}]\n",
        "spec:\n  containers: [\n    {name: app}, # one\n    {name: other},\n  ]\n",
        "spec: {containers: [{name: app}], volumes: [], initContainers: null}\n",
        "spec: { volumes: [ ], containers: [ { name: app } ] }\n",
        "spec: {\n  # odd\n  containers: [\n    # odder\n    {name: app}\n  ]\n}\n",
        "spec:\n  \"containers\":\n  - name: app\n  'volumes':\n  - name: podtap-like\n",
        "spec:\n  containers:\n  - name: app\n    args:\n    - |\n      # not a comment\n      - name: podtap\n\n  # a comment\n  volumes:\n  - name: v\n    emptyDir: {}\n",
        "spec:\n  hostname: >-\n    x\n    # text\n  containers:\n  - name: app\n    args: [\"a\n      b\"]\n",
        "spec: &spec\n  containers: !!seq\n  - !!map\n    name: app\nx: &y 1\nz: *y\n",
        "spec:\n  containers:\n  - name: &n app\n    image: *n\n  volumes:\n  - <<: &v {name: a}\n    emptyDir: {}\n  - <<: *v\n    name: b\n",
        "spec:\n  containers:\n  - {name: app, args: ['\u{1f980}', \"\\u00e9\"]} # \u{e9}\u{e9}\n",
        "spec:\n  containers:\n  - name: app\n...\n# tail\n---\n# only a comment\n---\nnot: a pod\n",
    ] {
        for classic in [false, true] {
            for text in [
                format!("{HEAD}{spec}"),
                format!("\u{feff}---\n{HEAD}{spec}"),
                format!("{HEAD}{spec}").replace('\n', "\r\n"),
            ] {
                there_and_back(&text, &SidecarOptions { classic, ..options() });
            }
        }
    }
}

#[test]
fn an_insertion_goes_where_a_person_would_put_it() {
    let text = format!(
        "{HEAD}spec:\n  # about spec\n\n  # about containers\n  # and more\n  containers:\n    # about app\n    - name: app\n  \
         volumes:\n    # about v\n    - name: v\n"
    );
    let expected = [
        "apiVersion: v1",
        "kind: Pod",
        "spec:",
        "  # about spec",
        "  initContainers:",
        "    - name: podtap",
        "  # about containers",
        "  # and more",
        "  containers:",
        "    # about app",
        "    - name: app",
        "  volumes:",
        "    - name: podtap-pod",
        "    # about v",
        "    - name: v",
    ];
    let lines: Vec<_> = around(&text).into_iter().filter(|line| line != "        - name: podtap-pod").collect();
    assert_eq!(lines, expected);
}

#[test]
fn json_stays_json() {
    for text in [
        r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"app"}]}}"#,
        "{\n    \"apiVersion\": \"v1\",\n    \"kind\": \"Pod\",\n    \"spec\": {\n        \"containers\": [\n            {\n                \"name\": \"app\"\n            }\n        ],\n        \"volumes\": []\n    }\n}\n",
        "{\r\n\t\"apiVersion\": \"v1\",\r\n\t\"kind\": \"Pod\",\r\n\t\"spec\": {\r\n\t\t\"volumes\": [{\"name\": \"v\"}],\r\n\t\t\"initContainers\": null,\r\n\t\t\"containers\": [\r\n\t\t\t{\"name\": \"\\ud83e\\udd80\"}\r\n\t\t]\r\n\t}\r\n}",
    ] {
        for classic in [false, true] {
            let after = there_and_back(text, &SidecarOptions { classic, ..options() });
            let value: Value = serde_json::from_str(&after).unwrap();
            let container = if classic { "/spec/containers/1/name" } else { "/spec/initContainers/0/name" };
            assert_eq!(value.pointer(container), Some(&Value::from("podtap")), "{after}");
        }
    }
}

#[test]
fn every_kind_is_known_by_its_group_and_reached_by_its_way() {
    let template = "template: {metadata: {annotations: {podtap.io/tags: a=b}}, spec: {containers: [{name: app}]}}";
    for (head, spec, known) in [
        ("apiVersion: v1\nkind: ReplicationController", template.to_owned(), true),
        ("apiVersion: apps/v1\nkind: Deployment", template.to_owned(), true),
        ("apiVersion: extensions/v1beta1\nkind: DaemonSet", template.to_owned(), true),
        ("apiVersion: apps/v1\nkind: StatefulSet", template.to_owned(), true),
        ("apiVersion: apps/v1\nkind: ReplicaSet", template.to_owned(), true),
        ("apiVersion: batch/v1\nkind: Job", template.to_owned(), true),
        ("apiVersion: batch/v1\nkind: CronJob", format!("jobTemplate: {{spec: {{{template}}}}}"), true),
        ("apiVersion: batch.volcano.sh/v1alpha1\nkind: Job", template.to_owned(), false),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Rollout", template.to_owned(), false),
        ("apiVersion: v1\nkind: PodTemplate", template.to_owned(), false),
    ] {
        let text = format!("{head}\nmetadata: {{name: x}}\nspec: {{{spec}}}\n");
        if known {
            let after = there_and_back(&text, &options());
            assert!(after.contains(r#"{"name": "TAGS", "value": "a=b"}"#), "{after}");
        } else {
            let report = injected(&text, &options());
            assert_eq!((report.text, report.objects.len()), (text, 0));
        }
    }
}

#[test]
fn every_object_of_a_stream_and_of_a_list_is_treated() {
    let pod = |name: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: app\n")
    };
    let item = |name: &str| format!("- {}", pod(name).trim_end().replace('\n', "\n  "));
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}\n- kind: ConfigMap\n{}\n", item("c"), item("d"));
    let text = format!("{}---\n---\nkind: Service\n---\n{}---\n{list}", pod("a"), pod("b"));
    there_and_back(&text, &options());
    let report = injected(&text, &options());
    let seen: Vec<_> = report.objects.iter().map(|treated| (&*treated.object.name, treated.object.line)).collect();
    assert_eq!(seen, [("a", 1), ("b", 12), ("c", 23), ("d", 31)]);
}

#[test]
fn where_an_edit_would_change_others_it_is_refused() {
    for (text, why) in [
        ("spec: &s\n  containers:\n  - name: a\nother: *s\n", "`spec` has aliases"),
        ("x: &s\n  containers:\n  - name: a\nspec: *s\n", "`spec` is an alias"),
        ("x: &c\n- name: a\nspec:\n  containers: *c\n", "`containers` is an alias"),
        ("x: &s\n  volumes: [{name: v}]\nspec:\n  <<: *s\n  containers:\n  - name: a\n", "merge key"),
        ("spec:\n  containers:\n  - name: a\n  volumes: []\n  volumes: []\n", "twice"),
        ("spec:\n  containers:\n  - name: a\n  volumes: {}\n", "no list"),
        ("spec:\n  ? containers\n  : - name: a\n", "laid out"),
        ("spec:\n  containers:\n  - name: a\n  volumes: !!seq []\n", "laid out"),
        ("spec: {containers: [{name: a}], volumes: }\n", "laid out"),
    ] {
        let text = format!("{HEAD}{text}");
        let report = injected(&text, &options());
        assert_eq!(report.text, text);
        match outcomes(&report)[..] {
            [InjectOutcome::Refused(reason)] => assert!(reason.contains(why), "{reason}"),
            ref other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn one_that_is_refused_does_not_hinder_the_others() {
    let fine = format!("{HEAD}spec:\n  containers:\n  - name: a\n");
    let bad = format!("{HEAD}spec:\n  ? containers\n  : - name: a\n");
    let report = injected(&format!("{fine}---\n{bad}---\n{fine}"), &options());
    assert!(matches!(
        outcomes(&report)[..],
        [InjectOutcome::Injected, InjectOutcome::Refused(_), InjectOutcome::Injected]
    ));
    let alone = injected(&fine, &options()).text;
    assert_eq!(report.text, format!("{alone}---\n{bad}---\n{alone}"));
}

#[test]
fn what_a_cluster_or_another_program_wrote_is_known_and_taken_out_too() {
    // As `kubectl get -o yaml` gives it: keys sorted, defaults filled in, no comments.
    let text = format!(
        "{HEAD}spec:\n  containers:\n  - image: a\n    name: app\n  initContainers:\n  - image: ghcr.io/podtap/podtap:0.0.1\n    \
         imagePullPolicy: IfNotPresent\n    name: podtap\n    restartPolicy: Always\n    volumeMounts:\n    - mountPath: \
         /etc/podtap/pod\n      name: podtap-pod\n      readOnly: true\n  volumes:\n  - name: data\n    emptyDir: {{}}\n  - \
         downwardAPI: {{items: []}}\n    name: podtap-pod\n"
    );
    let bare = format!(
        "{HEAD}spec:\n  containers:\n  - image: a\n    name: app\n  volumes:\n  - name: data\n    emptyDir: {{}}\n"
    );
    assert_eq!(taken_out(&text), bare);
    let report = injected(&text, &options());
    assert_eq!(outcomes(&report), [&InjectOutcome::Updated]);
    assert_eq!(taken_out(&report.text), bare);
}

#[test]
fn a_sidecar_in_the_wrong_place_is_moved() {
    let classic =
        injected(&format!("{HEAD}spec:\n  containers:\n  - name: a\n"), &SidecarOptions { classic: true, ..options() });
    let native = injected(&classic.text, &options());
    assert_eq!(outcomes(&native), [&InjectOutcome::Updated]);
    assert_eq!(native.text, injected(&taken_out(&classic.text), &options()).text);
}

#[test]
fn aliases_that_stand_for_more_than_fits_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", [&*alias; 10].join(", ")));
    }
    let text = format!("{bomb}{HEAD}spec:\n  containers:\n  - name: a\n  volumes: *a11\n");
    assert!(matches!(outcomes(&injected(&text, &options()))[..], [InjectOutcome::Refused(_)]));
    let own = format!("{HEAD}spec: &s\n  containers:\n  - name: a\n    env: *s\n");
    assert!(matches!(outcomes(&injected(&own, &options()))[..], [InjectOutcome::Refused(_)]));
}

#[test]
fn invalid_yaml_is_reported_with_its_place() {
    let malformed = inject("a: 1\nb: [\n", &options()).unwrap_err();
    assert!(malformed.line >= 2 && !malformed.why.is_empty(), "{malformed:?}");
    assert_eq!(injected("", &options()), InjectReport { text: String::new(), objects: Vec::new() });
}

/// How one list of the pod is written.
fn list(items: &'static [&'static str]) -> impl Strategy<Value = Option<(u8, Vec<&'static str>)>> {
    prop::option::of((0..6u8, prop::sample::subsequence(items, 0..=items.len())))
}

fn written(key: &str, (form, items): &(u8, Vec<&str>), dashes: usize, comment: bool) -> String {
    let note = if comment { "  # note" } else { "" };
    if items.is_empty() {
        let empty = ["", " []", " [ ]", " null", " ~", ""][usize::from(*form)];
        return format!("{key}:{empty}{note}\n");
    }
    let block = |item: &&str| {
        let above = if comment { format!("{:dashes$}# above\n", "") } else { String::new() };
        let dash = if *form == 4 { format!("-\n{:dashes$}  ", "") } else { "- ".to_owned() };
        format!("{above}{:dashes$}{dash}{}\n", "", item.replace('\n', &format!("\n{:dashes$}  ", "")))
    };
    match form {
        0 => format!("{key}: [{}]{note}\n", items.iter().map(|item| flow(item)).collect::<Vec<_>>().join(", ")),
        1 => {
            format!("\"{key}\": [\n  {}\n  ]\n", items.iter().map(|item| flow(item)).collect::<Vec<_>>().join(",\n  "))
        }
        _ => format!("{key}:{note}\n{}", items.iter().map(block).collect::<String>()),
    }
}

fn flow(item: &str) -> String {
    format!("{{{}}}", item.lines().next().unwrap_or_default())
}

const CONTAINERS: &[&str] = &[
    "name: app",
    "name: two\nargs:\n- |\n  # text\n  - name: podtap",
    "name: \"thr\u{e9}e\"\nenv: # why\n  - {name: A, value: 'it''s'}",
    "name: four\nargs: [a,\n  b]\n# tail",
];
const INITS: &[&str] = &["name: init", "name: \"in it\"\ncommand:\n- >-\n  a\n\n  b"];
const VOLUMES: &[&str] = &["name: data\nemptyDir: {}", "name: other"];

prop_compose! {
    /// A pod, in some layout.
    fn pod()(
        mut parts in (list(INITS), list(VOLUMES), 2..6u8, prop::sample::subsequence(CONTAINERS, 1..=CONTAINERS.len()))
            .prop_map(|(inits, volumes, form, containers)| vec![
                inits.map(|list| ("initContainers", list)),
                volumes.map(|list| ("volumes", list)),
                Some(("containers", (if form > 4 { 0 } else { form }, containers))),
            ]).prop_shuffle(),
        (step, dashes_in, comment, windows, mark, finished) in
            (1..5usize, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        other in prop::sample::select(vec!["", "hostname: h\n", "# lone\n\n", "hostname: |\n   text\n   # text\n\n"]),
    ) -> String {
        let dashes = if dashes_in { 2 } else { 0 };
        let lists = parts.drain(..).flatten().map(|(key, list)| written(key, &list, dashes, comment));
        let spec: String = std::iter::once(other.to_owned()).chain(lists).collect();
        let spec: String = spec.lines().map(|line| match line {
            "" => "\n".to_owned(),
            line => format!("{:step$}{line}\n", ""),
        }).collect();
        let text = format!("{}{HEAD}metadata: {{name: x}}\nspec:\n{spec}", if mark { "---\n" } else { "" });
        let text = if finished { text } else { text.trim_end().to_owned() };
        if windows { text.replace('\n', "\r\n") } else { text }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_layout_it_comes_back_byte_for_byte(pods in prop::collection::vec(pod(), 1..3), classic: bool) {
        let mut text = String::new();
        for pod in pods {
            if !text.is_empty() {
                text.push_str(if text.ends_with('\n') { "---\n" } else { "\n---\n" });
            }
            text.push_str(&pod);
        }
        there_and_back(&text, &SidecarOptions { classic, ..options() });
    }

    #[test]
    fn json_in_any_layout_comes_back_byte_for_byte(
        (init, volumes) in (0..4u8, 0..4u8), indent in prop::sample::select(vec!["", " ", "    ", "\t"]), pretty: bool, classic: bool,
    ) {
        let list = |form: u8| match form {
            0 => None,
            1 => Some(Value::Null),
            2 => Some(Value::Array(Vec::new())),
            _ => Some(serde_json::json!([{"name": "x"}, {"name": "y"}])),
        };
        let mut spec = serde_json::json!({"containers": [{"name": "a"}, {"name": "b", "args": []}], "zone": "z"});
        for (key, form) in [("initContainers", init), ("volumes", volumes)] {
            if let Some(list) = list(form) {
                spec[key] = list;
            }
        }
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let text = text.lines().map(|line| {
            let bare = line.trim_start();
            format!("{}{bare}", indent.repeat((line.len() - bare.len()) / 2))
        }).collect::<Vec<_>>().join("\n");
        let after = there_and_back(&text, &SidecarOptions { classic, ..options() });
        prop_assert!(serde_json::from_str::<Value>(&after).is_ok());
    }

    #[test]
    fn no_text_makes_it_panic(text in "([ \\-:,\\[\\]{}#&*|>\"'\n\t]|kind: Pod\n|apiVersion: v1\n|spec:\n|containers:|name: podtap|volumes:|[a-z])*") {
        if let Ok(report) = inject(&text, &options()) {
            let _ = uninject(&report.text);
        }
    }
}

/// The old logger wherever it can be, in every style; and what `uninject` leaves behind it.
#[test]
fn an_old_logger_is_replaced_and_its_settings_stay_however_often_one_injects() {
    let replace = SidecarOptions { replace: true, ..options() };
    let old = "{name: old, image: a/kubernetes-pod2pod-log:1, env: [{name: FLUENTHOST, value: f}], envFrom: [{configMapRef: {name: logger}}]}";
    let json = r#"{"name": "old", "image": "kubernetes-internal-http-logger", "env": [{"name": "FLUENTHOST", "value": "f"}], "envFrom": [{"configMapRef": {"name": "logger"}}]}"#;
    let block = "  - name: old # gone\n    image: kubernetes-internal-http-logger\n    env:\n    - name: FLUENTHOST\n      value: f\n    envFrom:\n    - configMapRef:\n        name: logger\n";
    for (text, without) in [
        (
            format!("{HEAD}spec:\n  containers:\n  - name: app # why\n{block}"),
            format!("{HEAD}spec:\n  containers:\n  - name: app # why\n"),
        ),
        (
            format!("{HEAD}spec:\n  containers:\n{block}  - name: app\n"),
            format!("{HEAD}spec:\n  containers:\n  - name: app\n"),
        ),
        (
            format!("{HEAD}spec:\n  initContainers:\n{block}  containers:\n  - name: app\n"),
            format!("{HEAD}spec:\n  containers:\n  - name: app\n"),
        ),
        (
            format!("{HEAD}spec:\n  initContainers:\n  - name: first\n{block}  containers:\n  - name: app\n"),
            format!("{HEAD}spec:\n  initContainers:\n  - name: first\n  containers:\n  - name: app\n"),
        ),
        (
            format!("{HEAD}spec: {{containers: [{{name: app}}, {old}]}}\n"),
            format!("{HEAD}spec: {{containers: [{{name: app}}]}}\n"),
        ),
        (
            format!(r#"{{"apiVersion": "v1", "kind": "Pod", "spec": {{"containers": [{json}, {{"name": "app"}}]}}}}"#),
            r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [ {"name": "app"}]}}"#.to_owned(),
        ),
    ] {
        let kept = injected(&text, &options());
        assert!(kept.objects[0].notes.concat().contains("--replace"), "{:?}", kept.objects);
        let report = injected(&text, &replace);
        assert_eq!(report.objects[0].outcome, InjectOutcome::Injected, "{text}");
        let notes = report.objects[0].notes.concat();
        assert!(notes.contains("settings taken over: FLUENTHOST, ConfigMap logger"), "{notes}");
        for (word, there) in [("old", false), ("FLUENTHOST", true), ("logger", true), ("podtap-pod", true)] {
            assert_eq!(report.text.contains(word), there, "{word}: {}", report.text);
        }
        assert_eq!(taken_out(&report.text), without);
        // Where the plain sidecar was first, the same comes of it.
        assert_eq!(injected(&kept.text, &replace).text, report.text);
        let again = injected(&report.text, &replace);
        assert_eq!((again.text.as_str(), outcomes(&again)), (report.text.as_str(), vec![&InjectOutcome::Unchanged]));
        let plain = injected(&report.text, &options());
        assert_eq!(outcomes(&plain), [&InjectOutcome::Updated]);
        assert!(plain.objects[0].notes.concat().contains("no longer: FLUENTHOST, logger"), "{:?}", plain.objects);
    }
}

#[test]
fn a_logger_that_is_alone_or_set_wrongly_is_not_replaced() {
    let replace = SidecarOptions { replace: true, ..options() };
    for (containers, why) in [
        ("[{name: old, image: kubernetes-pod2pod-log}]", "no container but the one"),
        ("[{name: a}, {name: old, image: kubernetes-pod2pod-log, env: [{name: MODE, value: loud}]}]", "MODE"),
    ] {
        let text = format!("{HEAD}spec: {{containers: {containers}}}\n");
        let report = injected(&text, &replace);
        assert!(
            matches!(&report.objects[0].outcome, InjectOutcome::Refused(reason) if reason.contains(why)),
            "{:?}",
            report.objects
        );
        assert_eq!(report.text, text);
    }
}
