//! `podtap inject` and `podtap uninject`, as their user runs them, on manifests of all sorts (tests/inject).
//!
//! `UPDATE=1 cargo test --test it inject` rewrites the expected files; then read the diff. Whether that is valid is
//! seen by tests/charts/test_inject.py.

use std::path::{Path, PathBuf};

use crate::binary::{Ran, run};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject")
}

/// The manifests, and where what they become is kept.
fn fixtures() -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.is_file()).collect();
    paths.sort();
    assert!(paths.len() >= 6, "{paths:?}");
    let expected = |path: &PathBuf| folder().join("expected").join(path.file_name().unwrap());
    paths.into_iter().map(|path| (path.clone(), expected(&path))).collect()
}

fn podtap(args: &[&str], input: &str) -> Ran {
    run(args, &[], input.as_bytes())
}

fn file(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_manifest_becomes_what_is_expected_and_comes_back_byte_for_byte() {
    let update = std::env::var_os("UPDATE").is_some();
    for (path, expected) in fixtures() {
        let name = path.to_str().unwrap();
        // Whatever the release.
        let ran = podtap(&["inject", "-f", name, "--image", "registry.example/podtap:1"], "");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        if update {
            std::fs::create_dir_all(expected.parent().unwrap()).unwrap();
            std::fs::write(&expected, &ran.stdout).unwrap();
        }
        let how = "if that is right: UPDATE=1 cargo test --test it inject";
        assert_eq!(ran.stdout, file(&expected), "{name}: {how}");
        assert_eq!(podtap(&["uninject", "-f", expected.to_str().unwrap()], "").stdout, file(&path), "{name}");
    }
}

#[test]
fn standard_input_directories_and_several_files_are_one_stream() {
    let both = podtap(&["inject", "-f", "-", "-f", folder().join("batch.yaml").to_str().unwrap()], "kind: Other\n");
    assert_eq!(both.code, Some(0));
    assert!(both.stdout.starts_with("kind: Other\n---\napiVersion: batch/v1\n"), "{}", both.stdout);
    let all = podtap(&["inject", "-f", folder().to_str().unwrap()], "");
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert_eq!(all.stderr.matches(": injected\n").count(), 9, "{}", all.stderr);
    assert!(all.stderr.contains("windows.yaml:1: ReplicationController windows-file: injected"), "{}", all.stderr);
    let deep = podtap(&["inject", "-R", "-f", folder().to_str().unwrap()], "");
    assert_eq!(deep.stderr.matches(": injected\n").count(), 9);
    assert_eq!(deep.stderr.matches(": updated\n").count(), 9, "the expected ones have another image");
}

#[test]
fn the_output_says_what_older_clusters_and_pod_security_make_of_it() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n";
    let native = podtap(&["inject", "-f", "-"], pod);
    assert!(native.stderr.contains("standard input:1: Pod a: injected\n"), "{}", native.stderr);
    assert!(native.stderr.contains("1.29") && native.stderr.contains("NET_RAW"), "{}", native.stderr);
    let classic = podtap(&["inject", "-f", "-", "--classic"], pod);
    assert!(!classic.stderr.contains("1.29") && classic.stderr.contains("NET_RAW"), "{}", classic.stderr);
    let none = podtap(&["inject", "-f", "-"], "kind: Service\n");
    assert!(none.stdout == "kind: Service\n" && none.stderr.contains("Nothing to inject"), "{}", none.stderr);
    let again = podtap(&["inject", "-f", "-"], &native.stdout);
    assert_eq!((again.stdout, again.stderr.as_str()), (native.stdout, "podtap: standard input:1: Pod a: unchanged\n"));
}

#[test]
fn nothing_is_written_where_one_thing_cannot_be_done() {
    let fine = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n";
    let job =
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: b}\nspec: {template: {spec: {containers: [{name: b}]}}}\n";
    let both = format!("{fine}---\n{job}");
    let refused = podtap(&["inject", "--classic", "-f", "-"], &both);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.contains("standard input:6: Job b: not possible: an ordinary container"),
        "{}",
        refused.stderr
    );
    let rest = podtap(&["inject", "--classic", "--keep-going", "-f", "-"], &both);
    assert_eq!(rest.code, Some(0));
    assert!(rest.stdout.ends_with(job) && rest.stdout.contains("podtap-pod"), "{}", rest.stdout);
    for (args, input, code, why) in [
        (&["inject", "-f", "-"][..], "a: [\n", 1, "standard input:1:4: not YAML"),
        (&["inject", "-f", "-"], "a: {{ .Values.x }}{{ b }}\n", 1, "helm template"),
        (&["inject", "-f", "/nowhere.yaml"], "", 1, "/nowhere.yaml: "),
        (&["inject", "-f", "-", "--env", "FROMAT=ecs"], "", 2, "did you mean FORMAT?"),
        (&["inject", "-f", "-", "--snaplen", "many"], "", 2, "SNAPLEN"),
        (&["inject", "-f", "-", "--memory", "64MB"], "", 2, "64Mi"),
        (&["inject"], "", 2, "[FILE]"),
        (&["uninject", "-f", "-", "--image", "x"], "", 2, "--image"),
    ] {
        let ran = podtap(args, input);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn files_are_changed_in_place_only_where_there_is_something_to_change() {
    let folder = std::env::temp_dir().join(format!("podtap-inject-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (pod, other) = (folder.join("pod.yaml"), folder.join("other.yml"));
    let text = file(&self::folder().join("deployment.yaml"));
    std::fs::write(&pod, &text).unwrap();
    std::fs::write(&other, "kind: Other").unwrap();
    let before = std::fs::metadata(&other).unwrap().modified().unwrap();
    let at = folder.to_str().unwrap();
    let ran = podtap(&["inject", "-i", "-f", at], "");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
    assert!(file(&pod).contains("podtap-pod"));
    assert_eq!(std::fs::metadata(&other).unwrap().modified().unwrap(), before);
    assert_eq!(podtap(&["uninject", "-i", "-f", at], "").code, Some(0));
    assert_eq!(file(&pod), text);
    std::fs::remove_dir_all(&folder).unwrap();
}
