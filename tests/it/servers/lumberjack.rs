//! A lumberjack server, as Logstash's `beats` input is one: `scripts/servers/lumberjack`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use socket2::Socket;

use super::{Process, Scratch, json_lines, missing, reserved, script};

/// A running server; each life has its own output file, for a kill may cut the last line.
pub(crate) struct Lumberjack {
    process: Option<Process>,
    pub(crate) port: u16,
    _reserved: Socket,
    dir: PathBuf,
    arguments: Vec<String>,
    lives: usize,
}

impl Lumberjack {
    /// `arguments` are the program's. `None`, said on standard error: there is none here.
    pub(crate) fn start(scratch: &Scratch, arguments: &[&str]) -> Option<Self> {
        program()?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (address, _reserved) = reserved();
        let mut server =
            Self { process: None, port: address.port(), _reserved, dir: scratch.0.clone(), arguments, lives: 0 };
        server.restart();
        Some(server)
    }

    pub(crate) fn restart_with(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
        self.restart();
    }

    pub(crate) fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(program().unwrap());
        command.arg("-out").arg(self.out(self.lives)).args(["-bind", &format!("127.0.0.1:{}", self.port)]);
        let (process, port) = Process::listening(command.args(&self.arguments).stderr(Stdio::null()));
        (self.process, self.port) = (Some(process), port);
        self.lives += 1;
    }

    fn out(&self, life: usize) -> PathBuf {
        self.dir.join(format!("lumberjack-{life}.jsonl"))
    }

    /// Of all lives.
    pub(crate) fn records(&self) -> Vec<Value> {
        (0..self.lives).flat_map(|life| json_lines(&self.out(life))).collect()
    }
}

fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| {
        let built = script("lumberjack/build").output().unwrap();
        if !built.status.success() {
            missing(&format!("no lumberjack server: {}", String::from_utf8_lossy(&built.stderr)));
        }
        built.status.success().then(|| String::from_utf8(built.stdout).unwrap().trim().into())
    });
    built.as_deref()
}
