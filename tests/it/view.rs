//! `podtap view`, as its user runs it: next to a replay that shows the same, in pipes, behind a growing file.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use podtap::demo::{exchanges, rendered};
use podtap::flow::Timestamp;
use podtap::synth::pcap;

use crate::binary::{podtap, replay, run};
use crate::in_terminal::InTerminal;
use crate::servers::Scratch;

const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

fn json() -> String {
    replay(&pcap(&rendered(NOON)), &[("OWN_IPS", "10.1.0.20")]).stdout
}

/// Without the time that an unanswered request was waited for, which a record in JSON does not have.
fn without_wait(line: &str) -> String {
    if !line.contains(" --- ") {
        return line.to_owned();
    }
    line.split_whitespace().filter(|word| !["s", "ms", "-"].contains(word) && word.parse::<f64>().is_err()).collect()
}

#[test]
fn it_shows_the_lines_that_a_replay_shows() {
    let text = replay(&pcap(&rendered(NOON)), &[("OWN_IPS", "10.1.0.20"), ("FORMAT", "text")]);
    let viewed = run(&["view"], &[], json().as_bytes());
    assert_eq!(viewed.code, Some(0), "{}", viewed.stderr);
    let lines = |ran: &crate::binary::Ran| ran.lines().into_iter().map(without_wait).collect::<Vec<_>>();
    assert_eq!(lines(&viewed), lines(&text));
    assert!(viewed.stderr.starts_with(&format!("{0} exchanges read, {0} shown: ", exchanges())), "{}", viewed.stderr);
}

#[test]
fn filters_leave_the_same_lines_as_in_a_replay() {
    for flags in [
        &["--only", "failed"][..],
        &["--only", "slow,unanswered"],
        &["--include", "status>=400 && host=api.*"],
        &["--exclude", "status=2xx or method=POST"],
    ] {
        let capture = pcap(&rendered(NOON));
        let replayed = run(&[&["replay", "-", "--own-ips", "10.1.0.20"], flags].concat(), &[], &capture);
        let viewed = run(&[&["view", "-"], flags].concat(), &[], json().as_bytes());
        let expected = run(&["view"], &[], replayed.stdout.as_bytes());
        assert_eq!(viewed.stdout, expected.stdout, "{flags:?}");
        let lines = viewed.lines().len();
        assert!(lines > 0 && lines < exchanges() as usize, "{flags:?}: {lines}");
    }
}

#[test]
fn a_wrong_expression_is_refused_with_its_place() {
    let ran = run(&["view", "--include", "status=200 && hots=x"], &[], b"");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("character 15: \"hots\" is not a key; did you mean host?"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let many = json().repeat(2000);
    let mut child =
        podtap(&["view"], &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(many.as_bytes()));
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let _ = feed.join();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{said}");
}

#[test]
fn it_follows_a_file_that_grows_and_is_replaced_until_a_signal_ends_it_with_the_summary() {
    let folder = std::env::temp_dir().join(format!("podtap-follow-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("records.json");
    let all = json();
    let lines: Vec<_> = all.lines().collect();
    std::fs::write(&path, format!("{}\n", lines[0])).unwrap();
    let mut child = podtap(&["view", "-f", path.to_str().unwrap()], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line
    };
    let seen = next();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(format!("{}\n", lines[1]).as_bytes())
        .unwrap();
    assert_ne!(next(), seen);
    let new = folder.join("new.json");
    std::fs::write(&new, format!("{}\n", lines[0])).unwrap();
    std::fs::rename(&new, &path).unwrap();
    assert_eq!(next(), seen);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("3 exchanges read, 3 shown"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn in_a_terminal_it_follows_keeps_to_the_width_as_it_changes_and_ends_with_control_c() {
    let scratch = Scratch::new("view");
    let (path, all) = (scratch.path("records.json"), json());
    let plain: Vec<_> = all.lines().filter(|line| line.contains("/api/v1/products/")).take(6).collect();
    std::fs::write(&path, plain[..3].join("\n") + "\n").unwrap();
    let mut view = InTerminal::start(&["view", "-f", path.to_str().unwrap()], &[("TZ", "UTC")], 120, 24);
    let shown = |view: &mut InTerminal, lines: usize, width: usize| {
        let text = view.shows_lines(lines);
        assert!(text.lines().all(|line| line.starts_with("12:00:") && line.chars().count() <= width), "{text}");
        text
    };
    let wide = shown(&mut view, 3, 120);
    assert!(wide.contains(" kB") || wide.contains(" B "), "a column for sizes: {wide}");
    view.resize(80, 24);
    let append = std::fs::OpenOptions::new().append(true).open(&path);
    append.unwrap().write_all((plain[3..].join("\n") + "\n").as_bytes()).unwrap();
    let narrow = view.shows_lines(6);
    let new: Vec<_> = narrow.lines().skip(3).collect();
    assert!(new.iter().all(|line| line.starts_with("12:00:") && !line.contains(" B ")), "{narrow}");
    view.press("\u{3}");
    let (code, said) = view.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("6 exchanges read, 6 shown"), "{said}");
}
