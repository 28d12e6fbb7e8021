//! Servers of scripts/servers, as processes of a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Elasticsearch,
    OpenSearch,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Elasticsearch, Self::OpenSearch];

    fn script(self) -> PathBuf {
        script(match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        })
    }

    /// A directory that is there when the server was fetched before.
    fn cached(self) -> bool {
        // As scripts/servers/common.sh has it.
        let root = std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let home = if root { Some("/var/cache".into()) } else { home };
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).unwrap_or_default();
        let version = match self {
            Self::Elasticsearch => "elasticsearch-8.7.1",
            Self::OpenSearch => "opensearch-2.19.1.0",
        };
        cache.join("podtap/servers").join(version).join(".complete").exists()
    }

    fn shared(self) -> &'static OnceLock<Option<Server>> {
        static ELASTICSEARCH: OnceLock<Option<Server>> = OnceLock::new();
        static OPENSEARCH: OnceLock<Option<Server>> = OnceLock::new();
        match self {
            Self::Elasticsearch => &ELASTICSEARCH,
            Self::OpenSearch => &OPENSEARCH,
        }
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(name)
}

/// A running server; stopped and wiped when it is dropped, at the latest when the tests are over, however they end.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    directory: PathBuf,
    port: u16,
    password: Option<&'static str>,
    settings: Vec<String>,
}

impl Server {
    /// The one that tests share; each has an index of its own. None, and says so, where no server can be had.
    pub(crate) fn shared(kind: Kind) -> Option<&'static Self> {
        let server = kind.shared().get_or_init(|| Self::own(kind, None, &[])).as_ref();
        if server.is_none() {
            eprintln!("SKIPPED: needs {kind:?}: PODTAP_SERVERS=1 lets scripts/servers fetch it");
        }
        server
    }

    /// One with settings of its own.
    pub(crate) fn own(kind: Kind, password: Option<&'static str>, settings: &[&str]) -> Option<Self> {
        if std::env::var_os("PODTAP_SERVERS").is_none() && !kind.cached() {
            eprintln!("SKIPPED: needs {kind:?}: PODTAP_SERVERS=1 lets scripts/servers fetch it");
            return None;
        }
        let mut server = Self {
            kind,
            directory: std::env::temp_dir().join(format!("podtap-{kind:?}-{:016x}", unique())),
            port: 0,
            password,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
        };
        server.start();
        server.guard();
        Some(server)
    }

    /// Leaves behind what stops the server once this process has gone.
    #[allow(clippy::zombie_processes, reason = "it waits for us, not we for it")]
    fn guard(&self) {
        let wait = "while kill -0 $1 2>/dev/null; do sleep 1; done; $2 $3; rm -rf $3";
        let mut guard = Command::new("setsid");
        guard.args(["sh", "-c", wait, "guard", &std::process::id().to_string()]);
        guard.arg(script("stop")).arg(&self.directory);
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    }

    /// Starts it, or starts it again.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(self.kind.script());
        command.arg(&self.directory).args(&self.settings).env("HEAP", "512m");
        if self.port != 0 {
            command.env("PORT", self.port.to_string());
        }
        if let Some(password) = self.password {
            command.env("PASSWORD", password);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        self.port = said.split(' ').next().unwrap().trim().parse().unwrap();
    }

    /// As a crash does.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.directory.join("pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
        while Path::new("/proc").join(pid.trim()).join("exe").exists() {
            std::thread::yield_now();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password
    }

    /// One request by curl: the status and what was answered.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-H", "content-type: application/json", "-w", "\n%{http_code}"]);
        if let Some(password) = self.password {
            command.args(["-u", &format!("elastic:{password}")]);
        }
        if !body.is_empty() {
            command.args(["--data-binary", body]);
        }
        let output = command.arg(format!("{}{path}", self.url())).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, status) = text.trim_end().rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Number of records that can be found.
    pub(crate) fn count(&self, index: &str) -> u64 {
        self.ask("POST", &format!("/{index}/_refresh"), "");
        self.get(&format!("/{index}/_count"))["count"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new(script("stop")).arg(&self.directory).status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn unique() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
