//! Capturing as another user than root, the way container runtimes start a process.
//!
//! This binary itself is copied, given the file capability, and run again as the child below. setpriv(1) keeps permitted
//! capabilities over the change of user, as runc does for Kubernetes. A second setpriv(1) in between, which has no file
//! capability, loses them, as under Docker.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use podtap::flow::{Endpoint, FiveTuple, Timestamp};
use podtap::packet::Frame;
use podtap::source::live::{self, CaptureOptions, CaptureState, FrameSink};
use podtap::source::own_traffic::OwnTraffic;
use podtap::source::privilege::{NeededRight, Privileges};

const OTHER_USER: &str = "setpriv --reuid 65532 --regid 65532 --clear-groups --inh-caps=-all";
const GRANTED: &str = "--bounding-set=-all,+net_raw";
const NOT_GRANTED: &str = "--bounding-set=-all";
const CAPTURES: &str = "captures";

/// Not a test: what the tests run.
#[test]
#[ignore = "is run by the other tests of this file, as another user"]
fn child() {
    struct Opened(Option<live::StopSender>);
    impl FrameSink for Opened {
        fn on_frame(&mut self, _: Frame<'_>) {}
        fn on_tick(&mut self, _: Timestamp) {}
        fn on_state(&mut self, _: &CaptureState) {
            self.0 = None;
        }
    }
    println!("start: {}", Privileges::prepare(&[NeededRight::NetRaw]));
    println!("knows its own sockets: {}", knows_its_own_sockets());
    let (sender, stop) = live::stop_pair().unwrap();
    match live::run(&CaptureOptions::new("lo"), &stop, &mut Opened(Some(sender))) {
        Ok(()) => println!("{CAPTURES}"),
        Err(error) => println!("{error}"),
    }
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().filter(|line| line.starts_with("Cap")).for_each(|line| println!("{line}"));
}

/// A process with a file capability is not dumpable, so parts of /proc/self belong to root; its descriptors must not.
fn knows_its_own_sockets() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let end = |address: SocketAddr| Endpoint::new(address.ip(), address.port());
    let own = OwnTraffic::default();
    own.refresh();
    let (source, destination) = (end(client.local_addr().unwrap()), end(client.peer_addr().unwrap()));
    own.view().is_own(&FiveTuple { source, destination })
}

#[test]
fn as_in_kubernetes_a_user_captures_with_the_grant_and_the_file_capability_also_without_privilege_escalation() {
    let Some(binary) = Copy::make("cap_net_raw=p") else { return };
    for options in ["", "--no-new-privs"] {
        let said = binary.run(&[OTHER_USER, GRANTED, options]);
        assert!(said.contains(CAPTURES), "{said}");
        assert!(said.contains("start: NET_RAW is kept for opening interfaces"), "{said}");
        assert!(said.contains("knows its own sockets: true"), "{said}");
        for set in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000002000", "CapInh:\t0000000000000000"] {
            assert!(said.contains(set), "{set} in {said}");
        }
    }
}

#[test]
fn as_under_docker_the_file_capability_is_enough_unless_new_privileges_are_forbidden() {
    let Some(binary) = Copy::make("cap_net_raw=p") else { return };
    let said = binary.run(&[OTHER_USER, GRANTED, "setpriv"]);
    assert!(said.contains(CAPTURES), "{said}");
    let said = binary.run(&[OTHER_USER, GRANTED, "setpriv --no-new-privs"]);
    assert!(said.contains("no-new-privileges makes the file capability void"), "{said}");
}

#[test]
fn without_the_grant_the_process_starts_and_says_what_to_add() {
    let Some(binary) = Copy::make("cap_net_raw=p") else { return };
    let said = binary.run(&[OTHER_USER, NOT_GRANTED, "--no-new-privs"]);
    assert!(said.contains("add: [NET_RAW]"), "{said}");
    // The reason for `=p`: with `=ep` the same process cannot even be executed.
    let Some(binary) = Copy::make("cap_net_raw=ep") else { return };
    let said = binary.run(&[OTHER_USER, NOT_GRANTED, "--no-new-privs"]);
    assert!(said.contains("Operation not permitted"), "{said}");
}

#[test]
fn without_the_file_capability_the_error_says_how_to_set_it() {
    let Some(binary) = Copy::make("") else { return };
    let said = binary.run(&[OTHER_USER, GRANTED]);
    assert!(said.contains("setcap cap_net_raw=p on the binary"), "{said}");
}

#[test]
fn root_keeps_net_raw_and_nothing_else() {
    let Some(binary) = Copy::make("") else { return };
    for options in ["setpriv", "setpriv --inh-caps=-all --bounding-set=-all,+net_raw --no-new-privs"] {
        let said = binary.run(&[options]);
        assert!(said.contains(CAPTURES), "{said}");
        for set in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000002000", "CapBnd:\t0000000000002000"] {
            assert!(said.contains(set), "{set} in {said}");
        }
    }
}

/// A copy of this test binary in a temporary directory, removed at the end.
struct Copy(PathBuf);

impl Copy {
    /// None, and says so, where the test cannot run.
    fn make(file_capability: &str) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("podtap-privilege-{:016x}", unique()));
        std::fs::create_dir(&directory).unwrap();
        let copy = Self(directory.join("it"));
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        copy_program(&std::env::current_exe().unwrap(), &copy.0);
        if !file_capability.is_empty() && !works(Command::new("setcap").arg(file_capability).arg(&copy.0)) {
            eprintln!("SKIPPED: needs root and setcap(8) of libcap2-bin");
            return None;
        }
        if !works(Command::new("setpriv").args(["--reuid=65532", "--clear-groups", "true"])) {
            eprintln!("SKIPPED: needs root and setpriv(1) of util-linux");
            return None;
        }
        Some(copy)
    }

    /// Runs the child behind these words, and returns everything it said.
    fn run(&self, words: &[&str]) -> String {
        let words: Vec<&str> = words.iter().flat_map(|words| words.split_whitespace()).collect();
        let (program, arguments) = words.split_first().unwrap();
        let child = ["--exact", "privilege::child", "--ignored", "--nocapture", "--test-threads=1"];
        let output = Command::new(program).args(arguments).arg(&self.0).args(child).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(directory) = self.0.parent() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// By cp(1). What this process had open for writing, a child that another test has just forked may hold so a little longer,
/// and a file that is open for writing cannot be executed (ETXTBSY).
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(works(Command::new("cp").arg("--").args([from, to])), "cp {from:?} {to:?}");
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o755)).unwrap();
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn unique() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
