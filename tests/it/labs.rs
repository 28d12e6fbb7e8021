//! Given labs and their judges: real connections, logged packets and connects of processes in network namespaces, with
//! conntrack-tools and ulogd2 as second opinions.
//!
//! They are not part of this project: PODTAP_LABS names their folder, else it is looked for next to the checkout.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PODTAP: &str = env!("CARGO_BIN_EXE_podtap");

/// Where the labs are.
#[allow(clippy::disallowed_methods, reason = "a switch of the tests, not a setting of podtap")]
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/labs");
    let folder = std::env::var_os("PODTAP_LABS").map_or_else(beside, PathBuf::from);
    if !folder.join("verdicts/lines").is_dir() {
        eprintln!("SKIPPED: no labs (PODTAP_LABS, or ../shared/labs beside the checkout)");
        return None;
    }
    Some(folder)
}

/// One lab, with namespaces of this name; gone when it is dropped.
struct Lab {
    folder: PathBuf,
    name: String,
    out: PathBuf,
    /// The program that takes it down.
    keeper: &'static str,
}

impl Lab {
    /// None, with a word, where something is missing.
    fn new(kind: &str, name: &str, programs: &[&str]) -> Option<Self> {
        let folder = folder()?.join(kind);
        #[allow(unsafe_code, reason = "std does not say who runs the test")]
        // SAFETY: takes nothing, and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        let runs = |program: &&str| {
            let help = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            help.is_ok()
        };
        if let Some(missing) = programs.iter().find(|program| !runs(program)) {
            eprintln!("SKIPPED: the lab needs {missing}");
            return None;
        }
        if !is_root {
            eprintln!("SKIPPED: the lab needs root");
            return None;
        }
        let name = format!("{name}{}", std::process::id());
        let out = std::env::temp_dir().join(format!("podtap-lab-{name}"));
        let keeper = if folder.join("lab").exists() { "lab" } else { "traffic" };
        Some(Self { folder, name, out, keeper })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.folder.join(program));
        command.args(arguments).env("LAB", &self.name).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts podtap with these settings under the judge.
    fn judged(&self, judge: &[&str], settings: &[&str]) -> String {
        let out = self.out.to_str().unwrap();
        let run = ["run", "--out", out, "--wait", "60", "--ready", "INFO recording"];
        let podtap = ["--", PODTAP, "run", "--metrics-addr", "none"];
        let output = self.run("judge", &[&run[..], judge, &podtap, settings].concat());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{judge:?} {settings:?}\n{told}{errors}");
        told
    }

    /// What podtap wrote to standard error: its closing lines, too.
    fn closing(&self) -> String {
        std::fs::read_to_string(self.out.join("stderr.txt")).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(self.keeper, &["down"]);
        let _ = std::fs::remove_dir_all(&self.out);
    }
}

#[test]
fn every_connection_of_a_node_is_recorded_as_conntrack_tools_see_it() {
    let Some(lab) = Lab::new("conntrack", "ptc", &["conntrack", "iptables", "python3"]) else { return };
    assert!(lab.run("lab", &["up"]).status.success());
    let settings = ["--record", "conntrack", "--format", "ecs"];
    lab.judged(&["all"], &settings);
    assert!(lab.closing().contains("Nothing lost; the ledger adds up."), "{}", lab.closing());
    lab.judged(&["--before", "long:8", "--early", "stream", "short", "reuse", "nat"], &settings);
    // As many again as the buffer holds while no one reads: no end is lost, and no connection ends twice.
    let told = lab.judged(&["--stall", "flood:20000"], &settings);
    assert!(told.contains(" dropped 0 of 20000 flows are missing"), "{told}");
    let dropped: u64 = told.split_once("command's ").unwrap().1.split_once(',').unwrap().0.parse().unwrap();
    let (lost, again) = (counted(&lab, "lost beginnings"), counted(&lab, "dropped and sent again"));
    assert_eq!(lost + again, dropped, "{told}{}", lab.closing());
    let records = std::fs::read_to_string(lab.out.join("records.jsonl")).unwrap();
    let flood = |line: &&str| line.contains(r#""action":"new""#) && line.contains(r#""transport":"udp""#);
    let begun = records.lines().filter(flood).count() as u64;
    assert!(lost > 0);
    assert_eq!(begun + lost, 20_000, "{told}{}", lab.closing());
}

/// The number before these words in the closing lines.
fn counted(lab: &Lab, what: &str) -> u64 {
    let closing = lab.closing().replace(',', "");
    let before = closing.split_once(&format!(" {what}")).map(|(before, _)| before.rsplit(' ').next().unwrap().parse());
    before.map_or(0, Result::unwrap)
}

#[test]
fn every_logged_packet_of_a_cell_is_recorded_as_it_was_sent_with_its_container() {
    let Some(lab) = Lab::new("verdicts", "ptv", &["ulogd", "iptables", "nft", "python3"]) else { return };
    let store = format!("/run/podtap-labs/{}/store.json", lab.name);
    let settings = ["--record", "verdicts", "--verdict-groups", "5,6,7", "--verdict-store", &store, "--format"];
    lab.judged(&["--format", "cf"], &[&settings[..], &["cf"]].concat());
    // Both ends are named, the judge knows the side that the origin names.
    let one_side = ["--field", "source_container=", "--field", "destination_container="];
    lab.judged(&one_side, &[&settings[..], &["ecs"]].concat());
    assert!(lab.closing().contains("Nothing lost; the ledger adds up."), "{}", lab.closing());
}

/// What keeps the kernel from taking the program here, in the words of `podtap check`.
fn no_connects() -> Option<String> {
    let output =
        Command::new(PODTAP).args(["check", "--record", "connects", "--metrics-addr", "none"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.lines().find(|line| line.starts_with("FAIL")).map(str::to_owned)
}

#[test]
fn every_connect_is_recorded_with_its_process_and_what_came_of_it() {
    let Some(lab) = Lab::new("connects", "ptx", &["ip", "iptables", "python3"]) else { return };
    if let Some(why) = no_connects() {
        eprintln!("SKIPPED: connects by eBPF: {why}");
        return;
    }
    // The judge compares arguments as they are.
    let settings =
        ["--record", "connects", "--connect-udp", "true", "--redact-headers", "none", "--redact-query", "none"];
    let settings = [&settings[..], &["--format", "ecs", "--grace-period", "4"]].concat();
    let told = lab.judged(&[], &settings);
    assert!(told.contains("verdict: agrees"), "{told}");
    assert!(lab.closing().contains("Nothing lost; the ledger adds up."), "{}", lab.closing());
    let node = [&settings[..], &["--connect-all-namespaces", "true"]].concat();
    lab.judged(&["--scope", "host"], &node);
    assert!(lab.closing().contains("Nothing lost; the ledger adds up."), "{}", lab.closing());
}

#[test]
fn the_judge_agrees_about_given_lines_in_both_formats() {
    let Some(labs) = folder() else { return };
    let verdicts = labs.join("verdicts");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let work = std::env::temp_dir().join(format!("podtap-lines-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    let (log, records, store) = (work.join("kern.log"), work.join("records"), text(&verdicts.join("store.json")));
    for (name, format) in ["kernel", "formats", "seed"].iter().flat_map(|name| [(name, "cf"), (name, "ecs")]) {
        let cases = text(&verdicts.join(format!("lines/{name}.jsonl")));
        let judge = |arguments: &[&str]| match Command::new(verdicts.join("judge")).args(arguments).output() {
            Ok(output) => Some(output),
            Err(error) => {
                eprintln!("SKIPPED: the judge needs python3: {error}");
                None
            }
        };
        let Some(lines) = judge(&["text", &cases]) else { break };
        std::fs::write(&log, lines.stdout).unwrap();
        let settings = ["--verdict-store", &store, "--metrics-addr", "none", "--format", format];
        let podtap = Command::new(PODTAP).args(["verdicts", &text(&log)]).args(settings).output().unwrap();
        std::fs::write(&records, podtap.stdout).unwrap();
        let one_side = ["--field", "source_container=", "--field", "destination_container="];
        let options = if format == "cf" { &["--format", "cf"][..] } else { &one_side };
        let judged = judge(&[&["lines"], options, &[&cases, &text(&records)]].concat()).unwrap();
        assert!(judged.status.success(), "{name} {format}: {}", String::from_utf8_lossy(&judged.stdout));
    }
    std::fs::remove_dir_all(&work).unwrap();
}

/// The lines of the origin's own examples, but for the time, which they have without a year.
#[test]
fn the_origins_examples_are_written_byte_for_byte_in_all_three_formats() {
    let Some(labs) = folder() else { return };
    let verdicts = labs.join("verdicts");
    let cases = std::fs::read_to_string(verdicts.join("lines/seed.jsonl")).unwrap();
    let cases: Vec<serde_json::Value> = cases.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Its keys in their order: parsed ones are sorted.
    let text = std::fs::read_to_string(verdicts.join("lines/seed.jsonl")).unwrap();
    let classic: Vec<String> = text
        .lines()
        .map(|line| line.split_once("\"classic\": ").unwrap().1.strip_suffix('}').unwrap())
        .map(|line| line.replace("\": ", "\":").replace(", \"", ",\""))
        .collect();
    let log = std::env::temp_dir().join(format!("podtap-seed-{}", std::process::id()));
    std::fs::write(&log, cases.iter().map(|case| format!("{}\n", case["line"].as_str().unwrap())).collect::<String>())
        .unwrap();
    for format in ["cf", "cf-deprecated", "cf-rfc3339"] {
        let store = verdicts.join("store.json");
        let settings = ["--verdict-store", store.to_str().unwrap(), "--metrics-addr", "none", "--format", format];
        let podtap = Command::new(PODTAP).args(["verdicts", log.to_str().unwrap()]).args(settings).output().unwrap();
        let lines: Vec<String> = String::from_utf8(podtap.stdout).unwrap().lines().map(without_time).collect();
        let source = "\"source\":\"cfnetworking.iptables\",";
        let expected: Vec<String> = classic
            .iter()
            .map(|line| match format {
                "cf-rfc3339" => {
                    let line = line.replace("\"log_level\":1,", "");
                    format!(
                        "{{\"timestamp\":\"0000-00-00T00:00:00.000000000Z\",\"level\":\"info\",{source}{}",
                        &line[1..]
                    )
                }
                _ => format!("{{\"timestamp\":\"0000000000.000000000\",{source}{}", &line[1..]),
            })
            .collect();
        assert_eq!(lines, expected, "{format}");
    }
    std::fs::remove_file(&log).unwrap();
}

/// With zeros for the digits of the time.
fn without_time(line: &str) -> String {
    let (time, rest) = line.strip_prefix("{\"timestamp\":\"").unwrap().split_once('"').unwrap();
    let zeros: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    format!("{{\"timestamp\":\"{zeros}\"{rest}")
}
