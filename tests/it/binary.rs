//! The binary as its user runs it, in an empty environment.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The lines of standard output.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// The binary with this environment alone, from an observer that is the same everywhere.
pub(crate) fn podtap(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podtap"));
    command.args(args).env_clear().envs([("OBSERVER_ID", "golden"), ("NODE_NAME", "node-1")]).envs(env.iter().copied());
    command
}

/// Runs it, with `input` on standard input.
pub(crate) fn run(args: &[&str], env: &[(&str, &str)], input: &[u8]) -> Ran {
    let mut child = podtap(args, env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_vec());
    // From a thread: it may print before it has read all.
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // Who has seen enough does not read the rest.
    let _ = feed.join();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Replays a capture from standard input.
pub(crate) fn replay(capture: &[u8], env: &[(&str, &str)]) -> Ran {
    run(&["replay", "-"], env, capture)
}
