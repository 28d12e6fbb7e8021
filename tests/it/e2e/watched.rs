//! `podtap top` next to a running podtap: what that records, on a screen, without a second capture.

use std::net::TcpStream;

use super::lab::{PEER, at, in_a_pod};
use super::running::Podtap;
use super::traffic::serve_one;
use crate::in_terminal::InTerminal;

#[test]
fn a_running_podtap_is_watched_also_after_it_began_again() {
    in_a_pod(|lab| {
        let podtap = Podtap::capturing(&[]);
        let mut top = InTerminal::start(&["top"], &[], 120, 24);
        top.shows(&["podtap top pod0 (running)", "no exchange so far", "nothing lost"]);
        serve_one(&lab, "/first");
        top.shows(&["GET /first", "1 seen, 0 failed"]);
        // Nothing listens there.
        assert!(TcpStream::connect(at(PEER, 9)).is_err());
        top.press("7");
        top.shows(&["CONNECT", &format!("-> {PEER}:9 refused")]);
        podtap.interrupted();
        top.shows(&["trying again"]);
        let podtap = Podtap::capturing(&[]);
        top.press("1");
        top.shows(&["nothing lost"]);
        serve_one(&lab, "/second");
        top.shows(&["GET /first", "GET /second", "2 seen, 0 failed"]);
        top.press("q");
        let (code, said) = top.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("3 records of the running podtap shown, 0 missed"), "{said}");
        podtap.interrupted();
    });
}

#[test]
fn where_none_runs_or_it_is_elsewhere_the_error_says_what_to_do() {
    in_a_pod(|_lab| {
        for (arguments, said) in [
            (&["top", "--from", "running"][..], "no podtap with metrics port 19199 runs here"),
            (&["top", "--from", ":4"], "It may have another port (--from :PORT), or run in another network namespace"),
            (&["top", "--from", "10.1.2.3:4"], "can be watched in its own network namespace only"),
            (&["top", "--from", "here"], "neither `running`, nor `capture`, nor the port"),
            (&["top", "--from", "running", "--metrics-addr", "none"], "METRICS_ADDR is none"),
        ] {
            let mut top = InTerminal::start(arguments, &[], 80, 24);
            let (code, found) = top.end();
            assert_eq!(code, Some(2), "{found}");
            assert!(found.contains(said), "{found}");
        }
    });
}
