//! Real servers, started by the project's scripts, and what tests need around them. Dying is SIGKILL, and all of them
//! are gone when their test is. Knows no sink.
//!
//! Where a server cannot be had, its tests say SKIPPED; where CI is set, that is a failure.

mod forward;
mod lumberjack;
mod nginx;
#[cfg(feature = "es")]
mod search;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

pub(crate) use self::forward::Forward;
pub(crate) use self::lumberjack::Lumberjack;
pub(crate) use self::nginx::{Demands, Nginx};
#[cfg(feature = "es")]
pub(crate) use self::search::{Kind, Search};

/// A directory of one test's own, gone at its end.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    /// Where any user may go.
    #[cfg(feature = "es")]
    fn for_all(name: &str) -> Self {
        Self::within(&std::env::temp_dir(), &format!("podtap-{name}"))
    }

    fn within(directory: &Path, name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
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

/// Whether what is missing is a failure.
fn is_required() -> bool {
    #[allow(clippy::disallowed_methods, reason = "a test asks where it runs")]
    std::env::var("CI").is_ok()
}

/// Says what there is not; fails where it must be there.
pub(crate) fn missing(what: &str) {
    assert!(!is_required(), "in CI: {what}");
    eprintln!("SKIPPED: {what}");
}

/// Certificates, made once for all tests and never dropped, so always in the same place.
pub(crate) fn certificates() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certificates");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        assert!(script("certificates").arg(&dir).status().unwrap().success(), "openssl is needed");
        dir
    })
}

/// A free port of this machine that stays this test's own as long as the socket lives, which never listens. Anyone who connects
/// is refused, and a server that sets SO_REUSEADDR can listen there.
pub(crate) fn reserved() -> (SocketAddr, Socket) {
    let socket = bound((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// A socket with that address, with SO_REUSEADDR.
pub(crate) fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A child that dies with its test.
#[derive(Debug)]
struct Process(Child);

impl Process {
    /// Starts a server that says `listening PORT`.
    fn listening(command: &mut Command) -> (Self, u16) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").expect("the server did not start").parse().unwrap();
        (Self(child), port)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whole lines of a file that are JSON: one that a kill cut is none, nor one still being written.
fn json_lines(path: &Path) -> Vec<Value> {
    let bytes = fs::read(path).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
