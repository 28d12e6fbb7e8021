//! Real servers, started by the project's scripts; dying is SIGKILL.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use super::{event_id, wait_until};

/// Scratch space of one test.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        Self::at(format!("logstash-{name}-{}", std::process::id()))
    }

    fn at(name: String) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name))
}

/// Certificates, made once for all tests; a static is never dropped, so always in the same place.
pub(super) fn certificates() -> &'static Path {
    static DIR: OnceLock<Scratch> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = Scratch::at("logstash-certificates".to_owned());
        assert!(script("certificates").arg(&dir.0).status().unwrap().success(), "openssl is needed");
        dir
    });
    &dir.0
}

/// Where CI is set, what is missing is a failure, not a reason to skip.
fn missing(what: &str) {
    #[allow(clippy::disallowed_methods, reason = "a test asks where it runs")]
    let required = std::env::var("CI").is_ok();
    assert!(!required, "in CI: {what}");
    eprintln!("SKIPPED: {what}");
}

/// The lumberjack server's program, if there is one.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| {
        let built = script("lumberjack/build").output().unwrap();
        let path = String::from_utf8(built.stdout).unwrap();
        if !built.status.success() {
            missing(&format!("no lumberjack server: {}", String::from_utf8_lossy(&built.stderr)));
        }
        built.status.success().then(|| path.trim().into())
    });
    built.as_deref()
}

/// A lumberjack server; each life has an output file of its own, for a kill may cut the last line.
pub(super) struct Lumberjack {
    child: Child,
    pub(super) port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    life: usize,
}

impl Lumberjack {
    /// `None`, said on standard error: there is none here.
    pub(super) fn start(scratch: &Scratch, arguments: &[&str]) -> Option<Self> {
        program()?;
        Some(Self::live(scratch.0.clone(), arguments.iter().map(|a| (*a).to_owned()).collect(), 0, 0))
    }

    fn live(dir: PathBuf, arguments: Vec<String>, port: u16, life: usize) -> Self {
        let mut command = Command::new(program().unwrap());
        command.arg("-out").arg(dir.join(format!("{life}.jsonl"))).args(["-bind", &format!("127.0.0.1:{port}")]);
        let mut child = command.args(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").expect("the server did not start").parse().unwrap();
        Self { child, port, dir, arguments, life }
    }

    pub(super) fn restart(&mut self) {
        self.kill();
        let arguments = std::mem::take(&mut self.arguments);
        *self = Self::live(self.dir.clone(), arguments, self.port, self.life + 1);
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whole lines of all lives.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for life in 0..=self.life {
            let text = fs::read_to_string(self.dir.join(format!("{life}.jsonl"))).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            lines.extend(whole.lines().map(str::to_owned));
        }
        lines
    }
}

impl Drop for Lumberjack {
    fn drop(&mut self) {
        self.kill();
    }
}

/// nginx, which makes a file of each request's body.
pub(super) struct Nginx {
    child: Child,
    pub(super) port: u16,
    dir: PathBuf,
    certificate: Vec<String>,
}

impl Nginx {
    /// `None`, said on standard error: there is none here.
    pub(super) fn start(scratch: &Scratch, certificate: Option<(String, String)>) -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            missing("no nginx");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let certificate = certificate.map_or_else(Vec::new, |(certificate, key)| vec![certificate, key]);
        Some(Self::live(scratch.0.clone(), port, certificate))
    }

    fn live(dir: PathBuf, port: u16, certificate: Vec<String>) -> Self {
        let mut command = script("nginx-tls");
        let child = command.arg(port.to_string()).arg(&dir).args(&certificate).spawn().unwrap();
        wait_until("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, dir, certificate }
    }

    pub(super) fn restart(&mut self) {
        self.kill();
        *self = Self::live(self.dir.clone(), self.port, std::mem::take(&mut self.certificate));
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whole bodies, decompressed where they were not plain.
    pub(super) fn bodies(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.join("bodies")).unwrap();
        let mut bodies = Vec::new();
        for file in files {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            let mut text = String::new();
            let whole = match bytes.starts_with(&[0x1f, 0x8b]) {
                true => GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).is_ok(),
                false => bytes.as_slice().read_to_string(&mut text).is_ok(),
            };
            // A kill may leave a beginning.
            if whole && (text.ends_with(']') || text.ends_with('\n')) {
                bodies.push(text);
            }
        }
        bodies
    }

    /// Records of all bodies that are arrays.
    pub(super) fn lines(&self) -> Vec<String> {
        let arrays =
            self.bodies().into_iter().map(|body| serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap());
        arrays.flatten().map(|record| record.to_string()).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How often each `event.id` arrived.
pub(super) fn arrived(lines: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(event_id(&serde_json::from_str(line).unwrap())).or_default() += 1;
    }
    counts
}
