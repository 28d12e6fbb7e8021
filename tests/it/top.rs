//! `podtap top` in a pseudo-terminal: what its user sees, presses and leaves behind.

use podtap::demo::{exchanges, rendered};
use podtap::flow::Timestamp;
use podtap::synth::pcap;

use crate::binary::run;
use crate::in_terminal::InTerminal;
use crate::servers::Scratch;

const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

fn capture(scratch: &Scratch) -> String {
    let path = scratch.path("demo.pcap");
    std::fs::write(&path, pcap(&rendered(NOON))).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_capture_is_shown_keys_and_windows_change_it_and_q_leaves_the_terminal_as_it_was() {
    let scratch = Scratch::new("top");
    let file = capture(&scratch);
    let seen = format!("{} seen, ", exchanges());
    let mut top = InTerminal::start(&["top", "--speed", "0", "--own-ips", "10.1.0.20", &file], &[], 80, 24);
    top.shows(&[&seen, "ENDED", "GET /api/v1/products/{id}", "nothing lost", "q quit"]);
    assert!(top.shown.screen().alternate_screen());
    top.press("2");
    top.shows(&["PEER", "10.1.0.104"]);
    top.resize(130, 30);
    top.shows(&["DOUBTFUL", "LAST SECONDS"]);
    top.press("4");
    top.shows(&["STATUS", "no answer: closed"]);
    top.press("/status=500");
    top.shows(&["/status=500_", " seen, "]);
    top.press("\r");
    let filtered = top.shows(&["/status=500 "]);
    let rows: Vec<_> = filtered.lines().skip(3).take_while(|line| !line.trim().is_empty()).collect();
    assert!(rows.len() == 1 && rows[0].starts_with("500 "), "{filtered}");
    top.press("\r");
    top.shows(&["wait", "response", "complete"]);
    top.press("q");
    let (code, said) = top.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the ledger adds up."), "{said}");
    assert!(!top.shown.screen().alternate_screen() && !top.shown.screen().hide_cursor());
}

#[test]
fn control_c_and_signals_end_it_and_leave_the_terminal_as_it_was() {
    let scratch = Scratch::new("top");
    let file = capture(&scratch);
    for by in ["\u{3}", "INT", "TERM"] {
        // So slowly that it would take a year.
        let mut top = InTerminal::start(&["top", "--speed", "0.0000001", &file], &[], 80, 24);
        top.shows(&["podtap top", "q quit"]);
        if by.len() == 1 {
            top.press(by);
        } else {
            let pid = top.child.id().to_string();
            assert!(std::process::Command::new("kill").args([&format!("-{by}"), &pid]).status().unwrap().success());
        }
        let (code, said) = top.end();
        assert_eq!(code, Some(0), "{by:?} {said}");
        assert!(!top.shown.screen().alternate_screen(), "{by:?}");
    }
}

#[test]
fn when_the_terminal_goes_away_it_ends() {
    let scratch = Scratch::new("top");
    let file = capture(&scratch);
    let mut top = InTerminal::start(&["top", "--speed", "0.0000001", &file], &[], 80, 24);
    top.shows(&["podtap top"]);
    // The reader's copy goes with its thread, which the hangup ends.
    top.keyboard = None;
    let pid = top.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    top.child.wait().unwrap();
}

#[test]
fn without_colours_everything_is_there() {
    let scratch = Scratch::new("top");
    let file = capture(&scratch);
    let mut top = InTerminal::start(&["top", "--speed", "0", &file], &[("NO_COLOR", "1")], 80, 24);
    top.shows(&["ENDED", "GET /api/v1/products/{id}"]);
    let screen = top.shown.screen();
    let coloured = (0..24)
        .flat_map(|line| (0..80).map(move |column| (line, column)))
        .any(|(line, column)| screen.cell(line, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default));
    assert!(!coloured);
}

#[test]
fn what_cannot_show_a_full_screen_is_refused() {
    let ran = run(&["top", "-"], &[("TERM", "xterm")], b"");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("top needs a terminal"), "{}", ran.stderr);
    let mut dumb = InTerminal::start(&["top", "-"], &[("TERM", "dumb")], 80, 24);
    let (code, said) = dumb.end();
    assert_eq!(code, Some(2));
    assert!(said.contains("podtap status"), "{said}");
}
