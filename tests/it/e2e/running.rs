//! podtap as its user starts it: the binary, the environment, signals, what it prints.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::Value;

use super::lab::{PATIENCE, Process, at, fetch, until};

/// The binary under test.
pub(super) const PODTAP: &str = env!("CARGO_BIN_EXE_podtap");

/// Where it serves metrics when nothing else is said.
pub(super) const METRICS_PORT: u16 = 19_199;

/// A running podtap.
pub(super) struct Podtap {
    process: Process,
    records: Receiver<String>,
    said: Receiver<String>,
    log: String,
}

impl Podtap {
    /// With this environment and no other; waits until it captures.
    pub(super) fn capturing(environment: &[(&str, &str)]) -> Self {
        let mut podtap = Self::start(environment);
        podtap.says("capturing");
        podtap
    }

    pub(super) fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(PODTAP);
        command.env_clear().envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// Whatever runs podtap in the end.
    pub(super) fn spawn(command: Command) -> Self {
        let mut child = Self::spawn_unread(command);
        let records = lines(child.0.stdout.take().unwrap());
        Self::with(child, records)
    }

    /// Its standard output is left to the test.
    pub(super) fn spawn_with_output(command: Command) -> (Self, ChildStdout) {
        let mut child = Self::spawn_unread(command);
        let output = child.0.stdout.take().unwrap();
        (Self::with(child, sync_channel(0).1), output)
    }

    fn spawn_unread(mut command: Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process(command.spawn().unwrap())
    }

    fn with(mut process: Process, records: Receiver<String>) -> Self {
        let said = lines(process.0.stderr.take().unwrap());
        Self { process, records, said, log: String::new() }
    }

    /// Its next line on standard output.
    pub(super) fn line(&mut self) -> String {
        match self.records.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                self.has_said("");
                panic!("no record: {error}; {}", self.log)
            }
        }
    }

    pub(super) fn record(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub(super) fn records(&mut self, number: usize) -> Vec<Value> {
        (0..number).map(|_| self.record()).collect()
    }

    /// Waits until it has said that on standard error.
    pub(super) fn says(&mut self, text: &str) {
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let found = line.contains(text);
                    self.log += &(line + "\n");
                    if found {
                        return;
                    }
                }
                Err(error) => panic!("it does not say {text:?}: {error}; {}", self.log),
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub(super) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Its end: exit status, the lines on standard output not looked at, everything on standard error.
    pub(super) fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let child: &mut Child = &mut self.process.0;
        let status = until("podtap ends", || child.try_wait().unwrap());
        let records = self.records.iter().collect();
        // Both pipes end with the process, whenever the threads that read them get the processor.
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            self.log += &(line + "\n");
        }
        (status, records, std::mem::take(&mut self.log))
    }

    /// Ends it as a user does; what it had left to say, and that its ledger adds up.
    pub(super) fn interrupted(self) -> (Vec<String>, String) {
        self.signal("INT");
        let (status, records, said) = self.end();
        assert!(status.success(), "{status}: {said}");
        assert!(said.contains("the ledger adds up.") || said.contains("The ledger adds up."), "{said}");
        (records, said)
    }

    /// Whether it has said that by now.
    pub(super) fn has_said(&mut self, text: &str) -> bool {
        self.log.extend(self.said.try_iter().flat_map(|line| [line, "\n".to_owned()]));
        self.log.contains(text)
    }
}

/// `/readyz`, asked on loopback: the status.
pub(super) fn ready() -> u16 {
    fetch(at("127.0.0.1", METRICS_PORT), "/readyz").0
}

/// A number on the metrics page, by its name with labels. It is published about once a second.
pub(super) fn metric(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The metrics page as soon as a series has this value.
pub(super) fn page_with(series: &str, value: f64) -> String {
    let address = at("127.0.0.1", METRICS_PORT);
    let mut last = String::new();
    let attempt = || {
        last = fetch(address, "/metrics").1;
        metric(&last, series).is_some_and(|now| (now - value).abs() < 0.5).then(|| last.clone())
    };
    until(&format!("{series} {value}"), attempt)
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver): (SyncSender<String>, _) = sync_channel(100_000);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
