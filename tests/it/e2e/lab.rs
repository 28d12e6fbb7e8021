//! A pod and its peer: two network namespaces joined by a pair of interfaces, with threads that live in them.
//! Knows nothing of podtap.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use crate::namespace::{enter, in_a_namespace, ip};

/// For whatever must come; only a failing test waits so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const POD: &str = "10.77.0.2";
pub(super) const PEER: &str = "10.77.0.1";
pub(super) const POD_V6: &str = "fd77::2";
pub(super) const PEER_V6: &str = "fd77::1";

/// The peer; the test itself runs in the pod.
pub(super) struct Lab {
    jobs: SyncSender<Job>,
    peer_thread: i32,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs `test` in a pod: `pod0` with an address of each family and the default route, `peer0` at the other end.
pub(super) fn in_a_pod(test: impl FnOnce(Lab) + Send + 'static) {
    in_a_namespace(|| {
        let (jobs, work) = sync_channel::<Job>(0);
        let (tell, told) = sync_channel(0);
        std::thread::spawn(move || {
            enter().unwrap();
            tell.send(thread_id()).unwrap();
            work.iter().for_each(|job| job());
        });
        let lab = Lab { jobs, peer_thread: told.recv().unwrap() };
        lab.join_with_a_pair();
        test(lab);
    });
}

impl Lab {
    /// Adds both ends of the pair; also after `ip link del pod0`.
    pub(super) fn join_with_a_pair(&self) {
        ip(&format!("link add pod0 type veth peer name peer0 netns {}", self.peer_thread));
        self.peer(|| {
            ip(&format!("addr add {PEER}/24 dev peer0"));
            ip(&format!("addr add {PEER_V6}/64 dev peer0 nodad"));
            ip("link set peer0 up");
        });
        ip(&format!("addr add {POD}/24 dev pod0"));
        ip(&format!("addr add {POD_V6}/64 dev pod0 nodad"));
        ip("link set pod0 up");
        ip(&format!("route add default via {PEER}"));
    }

    /// Runs something at the peer's end. Sockets and processes that it makes stay there.
    pub(super) fn peer<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = sync_channel(1);
        self.jobs.send(Box::new(move || tell.send(work()).unwrap())).unwrap();
        told.recv().expect("what was to be done at the peer failed")
    }
}

fn thread_id() -> i32 {
    #[allow(unsafe_code, reason = "std does not tell the kernel's number of a thread")]
    // SAFETY: takes no arguments and cannot fail.
    unsafe {
        libc::gettid()
    }
}

/// What comes of `attempt`, as soon as something does.
pub(super) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let pause = Duration::from_millis(5);
    let attempts = PATIENCE.as_millis() / pause.as_millis();
    for _ in 0..attempts {
        if let Some(value) = attempt() {
            return value;
        }
        std::thread::sleep(pause);
    }
    panic!("in vain: {what}");
}

pub(super) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// A listener on a port that may have been another's just now. A child that another test has just forked holds that one
/// until it becomes another program.
pub(super) fn listen(on: SocketAddr) -> TcpListener {
    until(&format!("{on} to be free"), || TcpListener::bind(on).ok())
}

/// A connection to a listener that may be about to begin.
pub(super) fn connect(to: SocketAddr) -> TcpStream {
    let stream = until(&format!("connecting to {to}"), || TcpStream::connect(to).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one answer with a Content-Length; the whole of it.
pub(super) fn answer(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
    let head = String::from_utf8(got).unwrap();
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// One request on a connection that is open, and its answer.
pub(super) fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.local\r\nUser-Agent: e2e\r\n\r\n")
}

/// GET on its own connection: status and body.
pub(super) fn fetch(to: SocketAddr, target: &str) -> (u16, String) {
    let mut stream = connect(to);
    let request = format!("GET {target} HTTP/1.1\r\nHost: shop.local\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let status = all.split(' ').nth(1).unwrap().parse().unwrap();
    (status, all.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// A directory that ends with the test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("podtap-e2e-{:016x}", RandomState::new().build_hasher().finish()));
        std::fs::create_dir(&path).unwrap();
        // Others than root are to get in, too.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child process that does not outlive the test.
pub(super) struct Process(pub(super) Child);

impl Process {
    pub(super) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // What a shell has started outlives it.
            let children = format!("/proc/{0}/task/{0}/children", self.0.id());
            for child in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", child]).status();
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx on port 80 of both families, where it was started. None where it is not installed: says so.
pub(super) fn nginx(directory: &Path) -> Option<Process> {
    let own = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {own}/{kind};"))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {own}/pid; error_log {own}/error.log;
        events {{ worker_connections 1024; }}
        http {{ access_log off; {temporary} default_type text/plain; keepalive_requests 100000;
          server {{ listen 80; listen [::]:80;
            location /echo/ {{ return 200 $request_uri; }}
            location /fail/ {{ return 503 broken; }}
            location /moved/ {{ return 301 /echo/; }} }} }}"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => Some(Process(child)),
        Err(error) => {
            eprintln!("SKIPPED: needs nginx: {error}");
            None
        }
    }
}
