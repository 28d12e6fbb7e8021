//! A receiver of Fluentd's forward protocol: `scripts/servers/forward`.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;
use socket2::Socket;

use super::{Process, Scratch, json_lines, missing, reserved, script};

/// A running receiver, with the same port and the same output file in all its lives.
pub(crate) struct Forward {
    process: Option<Process>,
    pub(crate) port: u16,
    _reserved: Socket,
    out: PathBuf,
    arguments: Vec<String>,
}

impl Forward {
    /// `arguments` are the script's. `None`, said on standard error: there is none here.
    pub(crate) fn start(scratch: &Scratch, arguments: &[String]) -> Option<Self> {
        is_there().then(|| {
            let (out, arguments) = (scratch.path("forward.jsonl"), arguments.to_vec());
            let (address, _reserved) = reserved();
            let mut receiver = Self { process: None, port: address.port(), _reserved, out, arguments };
            receiver.restart();
            receiver
        })
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn restart_with(&mut self, arguments: Vec<String>) {
        self.arguments = arguments;
        self.restart();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = script("forward");
        let (process, port) =
            Process::listening(command.arg(self.port.to_string()).arg(&self.out).args(&self.arguments));
        (self.process, self.port) = (Some(process), port);
    }

    /// All events, each with `tag`, `time` and `record`.
    pub(crate) fn events(&self) -> Vec<Value> {
        json_lines(&self.out)
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        self.events().into_iter().map(|mut event| event["record"].take()).collect()
    }
}

fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let installed = script("forward").arg("install").output().unwrap();
        if !installed.status.success() {
            missing(&format!("no forward receiver: {}", String::from_utf8_lossy(&installed.stderr)));
        }
        installed.status.success()
    })
}
