//! podtap as the users that containers run as.

use std::path::Path;
use std::process::{Command, Stdio};

use super::lab::{Directory, in_a_pod};
use super::running::{METRICS_PORT, PODTAP, Podtap, ready};
use super::traffic::serve_one;
use crate::privilege::copy_program;

const USER: &str = "--reuid=65532 --regid=65532 --clear-groups --inh-caps=-all --no-new-privs";

/// How a runtime starts a container of that user: with NET_RAW granted by the pod's securityContext, or not.
fn as_the_user(directory: &Directory, granted: bool) -> Option<Command> {
    let binary = directory.join("podtap");
    copy_program(Path::new(PODTAP), Path::new(&binary));
    let setcap = Command::new("setcap").args(["cap_net_raw=p", &binary]).stderr(Stdio::null()).status();
    let setpriv = Command::new("setpriv").arg("--version").stdout(Stdio::null()).status();
    if ![setcap, setpriv].into_iter().all(|status| status.is_ok_and(|status| status.success())) {
        eprintln!("SKIPPED: needs setcap(8) of libcap2-bin and setpriv(1) of util-linux");
        return None;
    }
    let capabilities = if granted { "--bounding-set=-all,+net_raw" } else { "--bounding-set=-all" };
    let mut command = Command::new("setpriv");
    command.env_clear().args(USER.split(' ')).args([capabilities, &binary]);
    Some(command)
}

#[test]
fn a_user_other_than_root_captures_with_net_raw_and_keeps_nothing_else() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let Some(command) = as_the_user(&directory, true) else { return };
        let mut podtap = Podtap::spawn(command);
        podtap.says("capturing");
        assert_eq!(ready(), 200);
        serve_one(&lab, "/cart");
        assert_eq!(podtap.record()["podtap"]["trust"], "complete");
        let status = std::fs::read_to_string(format!("/proc/{}/status", podtap.id())).unwrap();
        for line in ["Uid:\t65532\t65532", "CapEff:\t0000000000000000", "CapPrm:\t0000000000002000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line} in {status}");
        }
        podtap.interrupted();
    });
}

#[test]
fn without_net_raw_it_stays_up_says_what_to_do_and_is_not_ready() {
    in_a_pod(|lab| {
        let directory = Directory::new();
        let Some(command) = as_the_user(&directory, false) else { return };
        let mut podtap = Podtap::spawn(command);
        podtap.says("cannot capture on pod0: no interface can be opened");
        assert_eq!(ready(), 503);
        assert_eq!(super::lab::fetch(super::lab::at("127.0.0.1", METRICS_PORT), "/healthz").0, 200);
        serve_one(&lab, "/unseen");
        podtap.signal("TERM");
        let (status, records, said) = podtap.end();
        assert_eq!((status.code(), records.len()), (Some(0), 0), "{said}");
        assert!(said.contains("add: [NET_RAW]") && said.contains("frames"), "{said}");
    });
}
