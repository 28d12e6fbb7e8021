//! Elasticsearch and OpenSearch: `scripts/servers/elasticsearch`, `scripts/servers/opensearch`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::{Scratch, is_required, missing, script};
use crate::feed::wait_until;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Elasticsearch,
    OpenSearch,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Elasticsearch, Self::OpenSearch];

    fn script(self) -> Command {
        script(match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        })
    }

    /// Whether one can be started: it may be fetched, or was before. Fetching takes its time, and half the disk.
    fn is_there(self) -> bool {
        let allowed = is_required() || std::env::var_os("PODTAP_SERVERS").is_some();
        let word = if allowed { "fetch" } else { "fetched" };
        let asked = self.script().arg(word).output().unwrap();
        if !asked.status.success() {
            let why = String::from_utf8_lossy(&asked.stderr).into_owned();
            missing(&format!("no {self:?}: PODTAP_SERVERS=1 lets scripts/servers fetch it; {why}"));
        }
        asked.status.success()
    }

    fn shared(self) -> &'static OnceLock<Option<Search>> {
        static ELASTICSEARCH: OnceLock<Option<Search>> = OnceLock::new();
        static OPENSEARCH: OnceLock<Option<Search>> = OnceLock::new();
        match self {
            Self::Elasticsearch => &ELASTICSEARCH,
            Self::OpenSearch => &OPENSEARCH,
        }
    }
}

/// A running server; stopped and wiped when it is dropped, at the latest when the tests are over, however they end.
#[derive(Debug)]
pub(crate) struct Search {
    kind: Kind,
    directory: Scratch,
    port: u16,
    password: Option<&'static str>,
    settings: Vec<String>,
    version: Option<&'static str>,
}

/// Of the server that tests share; OpenSearch has no users here.
pub(crate) const PASSWORD: &str = "right-password";

/// An Elasticsearch with users, keys and tokens: too large to be fetched for every run.
const WITH_USERS: &str = "sonar-25.12.0.117093";

/// Of the server that tests share: a body of more than 12 MB is too large, and there is room for 9 MB at once.
const NARROW: [&str; 2] = ["http.max_content_length=12mb", "indexing_pressure.memory.limit=9mb"];

impl Search {
    /// The one that tests share; each has its own index. None, said on standard error, where none can be had.
    pub(crate) fn shared(kind: Kind) -> Option<&'static Self> {
        let password = (kind == Kind::Elasticsearch).then_some(PASSWORD);
        kind.shared().get_or_init(|| Self::own(kind, password, &NARROW)).as_ref()
    }

    /// Both that tests share.
    pub(crate) fn both() -> impl Iterator<Item = (Kind, &'static Self)> {
        Kind::BOTH.into_iter().filter_map(|kind| Some((kind, Self::shared(kind)?)))
    }

    /// One with its own settings.
    pub(crate) fn own(kind: Kind, password: Option<&'static str>, settings: &[&str]) -> Option<Self> {
        if !kind.is_there() {
            return None;
        }
        Some(Self::started(kind, password, settings, None))
    }

    /// One that knows its clients, where somebody has fetched it.
    #[cfg(feature = "setup")]
    pub(crate) fn secured() -> Option<Self> {
        let asked = Kind::Elasticsearch.script().env("ELASTICSEARCH_VERSION", WITH_USERS).arg("fetched").status();
        if !asked.unwrap().success() {
            let fetch = format!("ELASTICSEARCH_VERSION={WITH_USERS} scripts/servers/elasticsearch fetch");
            eprintln!("SKIPPED: no Elasticsearch with users; 900 MB: {fetch}");
            return None;
        }
        let settings = ["xpack.security.authc.token.enabled=true"];
        Some(Self::started(Kind::Elasticsearch, Some(PASSWORD), &settings, Some(WITH_USERS)))
    }

    fn started(kind: Kind, password: Option<&'static str>, settings: &[&str], version: Option<&'static str>) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let directory = Scratch::for_all(&format!("{kind:?}"));
        let mut server = Self { kind, directory, port: 0, password, settings, version };
        server.start();
        server.guard();
        server
    }

    /// Leaves behind what stops the server once this process has gone.
    #[allow(clippy::zombie_processes, reason = "it waits for us, not we for it")]
    fn guard(&self) {
        let wait = "while kill -0 $1 2>/dev/null; do sleep 1; done; $2 $3; rm -rf $3";
        let mut guard = Command::new("setsid");
        guard.args(["sh", "-c", wait, "guard", &std::process::id().to_string()]);
        guard.arg(script("stop").get_program()).arg(&self.directory.0);
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    }

    /// Starts it, or starts it again.
    pub(crate) fn start(&mut self) {
        let mut command = self.kind.script();
        command.arg(&self.directory.0).args(&self.settings).env("HEAP", "512m");
        if self.port != 0 {
            command.env("PORT", self.port.to_string());
        }
        command.envs(self.password.map(|password| ("PASSWORD", password)));
        command.envs(self.version.map(|version| ("ELASTICSEARCH_VERSION", version)));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        self.port = said.split(' ').next().unwrap().trim().parse().unwrap();
    }

    /// As a crash does.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.directory.path("pid")).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
        wait_until("the end of a killed server", || !Path::new("/proc").join(pid.trim()).join("exe").exists());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
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

    /// The records, by `_id`.
    pub(crate) fn stored(&self, index: &str) -> BTreeMap<String, Value> {
        self.ask("POST", &format!("/{index}/_refresh"), "");
        let hits = self.get(&format!("/{index}/_search?size=10000"))["hits"]["hits"].clone();
        let of = |hit: &Value| (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].clone());
        hits.as_array().unwrap().iter().map(of).collect()
    }

    /// Number of records that can be found.
    pub(crate) fn count(&self, index: &str) -> u64 {
        self.ask("POST", &format!("/{index}/_refresh"), "");
        self.get(&format!("/{index}/_count"))["count"].as_u64().unwrap()
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        let _ = script("stop").arg(&self.directory.0).status();
    }
}
