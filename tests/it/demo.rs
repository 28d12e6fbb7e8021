//! `podtap demo`, as its user starts it: captured where that is permitted, rendered where not.

use std::process::{Command, Output};

use podtap::demo::{SECRET_MARK, exchanges};

use crate::namespace::in_a_namespace;

fn demo(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.env_clear().output().unwrap();
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{err}");
    assert!(!out.contains(SECRET_MARK) && !err.contains(SECRET_MARK), "a secret is shown");
    (out, err)
}

fn podtap() -> &'static str {
    env!("CARGO_BIN_EXE_podtap")
}

#[test]
fn the_demo_captures_every_exchange_that_it_plays() {
    in_a_namespace(|| {
        let (out, err) = demo(Command::new(podtap()).arg("demo"));
        assert_eq!(out.lines().count(), exchanges() as usize, "{out}{err}");
        assert!(out.lines().all(|line| line.contains(" ↔ ")), "{out}");
        assert!(err.contains("exchanges were played") && err.contains("Nothing lost; the ledger adds up.\n"), "{err}");
    });
}

#[test]
fn a_user_without_the_right_to_capture_learns_it_and_sees_rendered_traffic() {
    let tool = |arguments: &[&str]| Command::new("setpriv").args(arguments).arg("true").output();
    let without = ["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];
    if !tool(&without).is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: needs root and setpriv(1) of util-linux");
        return;
    }
    let (out, err) = demo(Command::new("/usr/bin/setpriv").args(without).args([podtap(), "demo", "--format=ecs"]));
    assert_eq!(out.lines().count(), exchanges() as usize, "{out}{err}");
    assert!(out.lines().all(|line| line.contains("\"direction\":\"ingress\"")), "{out}");
    for words in
        ["never on a network", "NET_RAW was not granted", "were rendered", "Nothing lost; the ledger adds up.\n"]
    {
        assert!(err.contains(words), "{err}");
    }
}
