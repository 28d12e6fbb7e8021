//! `podtap status` next to a running podtap: the same numbers as its records, and clear words where none runs.

use std::process::Command;

use serde_json::Value;

use super::lab::{in_a_pod, until};
use super::running::{PODTAP, Podtap};
use super::traffic::serve_one;

/// Code, standard output, standard error.
fn status(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PODTAP).arg("status").args(arguments).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_shows_what_the_running_one_has_counted() {
    in_a_pod(|lab| {
        let mut podtap = Podtap::capturing(&[("POD_NAME", "web-1"), ("POD_NAMESPACE", "shop")]);
        ["/a", "/b", "/c"].into_iter().for_each(|target| serve_one(&lab, target));
        podtap.records(3);
        let json = until("its status has all exchanges", || {
            let (code, json, said) = status(&["--json"]);
            assert_eq!(code, Some(0), "{said}");
            let json: Value = serde_json::from_str(&json).unwrap();
            let whole = json["total"]["requests"] == 3 && json["sinks"][0]["delivered"] == 3;
            (whole && json["recent"]["seconds"].as_u64() > Some(0)).then_some(json)
        });
        assert_eq!((&json["total"]["records"], &json["interfaces"][0]["waiting"]), (&3.into(), &Value::Null));
        let (code, text, _) = status(&[]);
        assert_eq!(code, Some(0));
        for part in ["observing pod shop/web-1", "3 requests", "stdout: 0 waiting, 3 delivered", "nothing lost"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.lines().count() <= 20 && text.lines().all(|line| line.len() <= 200), "{text}");
        podtap.interrupted();
        let (code, text, said) = status(&[]);
        assert_eq!((code, text.as_str()), (Some(1), ""));
        assert!(said.starts_with("podtap: no podtap runs here: port 19199 (METRICS_ADDR)"), "{said}");
    });
}

#[test]
fn without_a_port_to_ask_the_setting_is_named() {
    let (code, _, said) = status(&["--metrics-addr", "none"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("METRICS_ADDR is none") && said.contains("--metrics-addr"), "{said}");
}
