//! What the settings of each sink come to: hosts, protocol, credentials. One file for each kind of server; `of` is the one
//! place that knows them all. Starts nothing and sends nothing.

#[cfg(feature = "es")]
pub(super) mod elasticsearch;
pub(super) mod fluentd;
pub(super) mod logstash;

use std::path::PathBuf;
use std::time::Duration;

use super::faults::UnusableSettings;
use crate::config;
use crate::format::Observer;
use crate::settings::{Auto, Renewable, Secret, Settings, SinkName, printable, without_end};
use crate::sink::connect::{
    ConnectTimeouts, Connector, HostPort, LoadedTls, OnSocket, PemSource, ProxySettings, TlsOptions,
};
use crate::sink::file::FileOptions;
use crate::source::own_traffic::OwnTraffic;

/// What the settings say of one kind of sink.
trait Target {
    /// Whether they can be used: makes what they come to, and drops it.
    fn check(&self, settings: &Settings, observer: &Observer) -> Result<(), UnusableSettings>;

    /// Its servers, and whether they are spoken to in TLS.
    fn servers(&self, settings: &Settings) -> Vec<(HostPort, bool)>;

    /// The servers that are spoken to in TLS, and how; none where there are none.
    fn encrypted(&self, settings: &Settings) -> Option<(Vec<HostPort>, TlsOptions)>;

    /// Whether it speaks HTTP, so that HTTP proxies are for it.
    fn speaks_http(&self, _: &Settings) -> bool {
        false
    }

    /// Where its records go, for people: no credentials.
    fn place(&self, settings: &Settings) -> String;

    /// Its servers, for people.
    fn addresses(&self, settings: &Settings) -> String {
        let servers: Vec<_> = self.servers(settings).iter().map(|(host, _)| host.to_string()).collect();
        servers.join(", ")
    }
}

fn of(sink: SinkName) -> &'static dyn Target {
    match sink {
        SinkName::Stdout => &LocalTarget(SinkName::Stdout),
        SinkName::File => &LocalTarget(SinkName::File),
        SinkName::Fluentd => &fluentd::FluentdTarget,
        SinkName::Logstash => &logstash::LogstashTarget,
        #[cfg(feature = "es")]
        SinkName::Elasticsearch => &elasticsearch::ElasticsearchTarget,
        #[cfg(not(feature = "es"))]
        SinkName::Elasticsearch => &LocalTarget(SinkName::Elasticsearch),
    }
}

/// A sink without servers.
struct LocalTarget(SinkName);

impl Target for LocalTarget {
    fn check(&self, _: &Settings, _: &Observer) -> Result<(), UnusableSettings> {
        if self.0 == SinkName::Elasticsearch { Err(without_elasticsearch()) } else { Ok(()) }
    }

    fn servers(&self, _: &Settings) -> Vec<(HostPort, bool)> {
        Vec::new()
    }

    fn encrypted(&self, _: &Settings) -> Option<(Vec<HostPort>, TlsOptions)> {
        None
    }

    fn place(&self, settings: &Settings) -> String {
        let path = settings.file_path.as_ref().filter(|_| self.0 == SinkName::File);
        path.map_or_else(|| self.0.word().to_owned(), |path| format!("{} {}", self.0.word(), path.to_string_lossy()))
    }
}

pub(super) fn without_elasticsearch() -> UnusableSettings {
    UnusableSettings::new("SEND_LOGS_TO", "this build has no Elasticsearch sink: build with the cargo feature `es`")
}

/// Whether the settings of this sink can be used.
pub(super) fn check(sink: SinkName, settings: &Settings, observer: &Observer) -> Result<(), UnusableSettings> {
    of(sink).check(settings, observer)
}

/// The servers of a sink that are spoken to in TLS, and how.
pub(super) fn encrypted(sink: SinkName, settings: &Settings) -> Option<(Vec<HostPort>, TlsOptions)> {
    of(sink).encrypted(settings)
}

/// Where a sink's records go, for people: no credentials.
pub fn place(sink: SinkName, settings: &Settings) -> String {
    printable(&of(sink).place(settings))
}

/// The proxies of a sink: those that do not speak HTTP have none.
pub(super) fn proxies(sink: SinkName, settings: &Settings) -> Result<ProxySettings, UnusableSettings> {
    if !of(sink).speaks_http(settings) {
        return Ok(ProxySettings::default());
    }
    let (http, https) = (settings.http_proxy.as_deref(), settings.https_proxy.as_deref());
    Ok(ProxySettings::new(http, https, &settings.no_proxy)?)
}

/// The proxies through which a sink reaches its servers, each once.
pub fn proxies_in_use(sink: SinkName, settings: &Settings) -> Vec<String> {
    let Ok(proxies) = proxies(sink, settings) else { return Vec::new() };
    let mut found = Vec::new();
    for (host, encrypted) in of(sink).servers(settings) {
        found.extend(proxies.to(&host, encrypted).map(ToString::to_string).filter(|proxy| !found.contains(proxy)));
    }
    found
}

pub(super) fn file(settings: &Settings) -> FileOptions {
    FileOptions {
        path: settings.file_path.clone().unwrap_or_default(),
        max_bytes: settings.file_max_bytes.map(|bytes| bytes.bytes()),
        max_age: settings.file_max_age.map(|seconds| seconds.0),
        keep: settings.file_keep.count(),
        compress: settings.file_compress,
    }
}

/// The settings that say where the servers of a sink are, and how they are spoken to.
struct ServerSettings<'a> {
    setting: &'static str,
    given: &'a [String],
    port: u16,
    tls: TlsOptions,
    wanted: &'a Auto<bool>,
}

impl ServerSettings<'_> {
    fn hosts(&self) -> Result<Vec<HostPort>, UnusableSettings> {
        if self.given.is_empty() {
            return Err(UnusableSettings::new(self.setting, "names no host"));
        }
        let host = |host: &String| HostPort::parse(host, self.port);
        self.given.iter().map(|given| host(given).map_err(|why| UnusableSettings::new(self.setting, why))).collect()
    }

    /// `auto`: when anything is said about it.
    fn are_encrypted(&self) -> bool {
        self.wanted.given().copied().unwrap_or(self.tls != TlsOptions::new(self.tls.settings))
    }

    fn load_tls(&self) -> Result<Option<LoadedTls>, UnusableSettings> {
        Ok(self.are_encrypted().then(|| LoadedTls::load(self.tls.clone())).transpose()?)
    }

    fn listed(&self) -> Vec<(HostPort, bool)> {
        let encrypted = self.are_encrypted();
        self.hosts().unwrap_or_default().into_iter().map(|host| (host, encrypted)).collect()
    }

    fn encrypted(self) -> Option<(Vec<HostPort>, TlsOptions)> {
        let hosts = self.hosts().ok()?;
        self.are_encrypted().then_some((hosts, self.tls))
    }
}

fn max_age(settings: &Settings) -> Option<Duration> {
    settings.connection_max_age.map(|age| age.0)
}

fn paired(sink: &str, username: bool, password: bool) -> Result<(), UnusableSettings> {
    match (username, password) {
        (true, false) => {
            Err(UnusableSettings::new(&format!("{sink}_USERNAME"), format!("set, but {sink}_PASSWORD is not")))
        }
        (false, true) => {
            Err(UnusableSettings::new(&format!("{sink}_PASSWORD"), format!("set, but {sink}_USERNAME is not")))
        }
        (true, true) | (false, false) => Ok(()),
    }
}

fn text(secret: Option<&Secret>) -> String {
    secret.map(|secret| current(secret.reveal())).unwrap_or_default()
}

/// What its file holds now, where it came from one; what it held at start, where that cannot be read.
fn current(given: &Renewable) -> String {
    let Some(file) = given.file() else { return given.text().to_owned() };
    let read = config::read_secret(&file.to_string_lossy());
    let text = read.as_deref().map(without_end).unwrap_or_default();
    if text.is_empty() {
        tracing::debug!(file = %file.display(), "credentials not read again; keeping those of the start");
        return given.text().to_owned();
    }
    text.to_owned()
}

/// The files of a user's name and of these secrets: when one changes, connections are made again.
fn files(username: &Option<Renewable>, secrets: &[&Option<Secret>]) -> Vec<PathBuf> {
    let secrets = secrets.iter().filter_map(|secret| secret.as_ref().map(Secret::reveal));
    let files = username.iter().chain(secrets).filter_map(Renewable::file);
    files.map(ToOwned::to_owned).collect()
}

/// A private key: by its path where there is one, so that a renewed key is seen.
fn key(secret: &Secret) -> PemSource {
    let key = secret.reveal();
    key.file().map_or_else(|| PemSource::of(key.text()), |file| PemSource::File(file.to_owned()))
}

fn connector(hosts: Vec<HostPort>, tls: Option<LoadedTls>, timeout: Duration, own: Option<&OwnTraffic>) -> Connector {
    let defaults = ConnectTimeouts::default();
    let timeouts = ConnectTimeouts {
        lookup: defaults.lookup.min(timeout),
        connect: defaults.connect.min(timeout),
        tls: defaults.tls.min(timeout),
    };
    let connector = Connector::new(hosts, tls, timeouts).with_any_host_first();
    match own.cloned() {
        Some(own) => connector.with_hook(OnSocket::new(move |local, remote| own.add_connection(local, remote))),
        None => connector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{SettingPairs, resolve};

    /// As Kubernetes mounts a Secret: each file a link into `..data`, and that a link to a directory.
    #[test]
    fn a_secret_is_what_its_file_holds_now_and_what_it_held_at_start_where_that_cannot_be_read() {
        use std::fs;
        use std::os::unix::fs::symlink;
        let dir = std::env::temp_dir().join(format!("podtap-renewed-secret-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let (link, file) = (dir.join("..data"), dir.join("password"));
        let publish = |version: &str, text: &str| {
            fs::create_dir(dir.join(version)).unwrap();
            fs::write(dir.join(version).join("password"), text).unwrap();
            symlink(version, dir.join("new")).unwrap();
            fs::rename(dir.join("new"), &link).unwrap();
        };
        publish("v1", "old\n");
        symlink("..data/password", &file).unwrap();
        let path = file.to_string_lossy().into_owned();
        let given = [
            ("SEND_LOGS_TO", "logstash"),
            ("LOGSTASH_TYPE", "http"),
            ("LOGSTASH_USERNAME", "me"),
            ("LOGSTASH_PASSWORD_FILE", &path),
        ];
        let env = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = resolve(&env, &SettingPairs::new(), config::read_secret).outcome.unwrap();
        assert_eq!(files(&None, &[&settings.logstash_password, &settings.fluentd_password]), [file.as_path()]);
        let expect = |text: &str| assert_eq!(logstash::login(&settings).unwrap().password, text);
        expect("old");
        publish("v2", "new \r\n");
        expect("new ");
        publish("v3", "\n");
        expect("old");
        fs::remove_file(&link).unwrap();
        expect("old");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_place_that_is_said_at_start_has_every_host_with_its_port_and_no_password() {
        let said = |sink: SinkName, given: &[(&str, &str)]| {
            let to = [("SEND_LOGS_TO", sink.word())];
            let env = given.iter().chain(&to).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            place(sink, &resolve(&env, &SettingPairs::new(), |_| Err(String::new())).outcome.unwrap())
        };
        for (sink, given, expected) in [
            (SinkName::Stdout, &[][..], "stdout"),
            (SinkName::File, &[("FILE_PATH", "/logs/a\u{1b}b")], "file /logs/a\\u{1b}b"),
            (
                SinkName::Fluentd,
                &[("FLUENTHOST", "a, b:1, ::1"), ("FLUENTPORT", "2123")],
                "fluentd at a:2123, b:1, [::1]:2123",
            ),
            (SinkName::Logstash, &[("LOGSTASH_HOST", "a"), ("LOGSTASH_TYPE", "beats")], "logstash beats at a:5044"),
            (
                SinkName::Logstash,
                &[("LOGSTASH_HOST", "a"), ("LOGSTASH_TYPE", "udp")],
                "logstash udp at a:5000 (datagrams: what is lost is not known)",
            ),
            #[cfg(feature = "es")]
            (
                SinkName::Elasticsearch,
                &[("ELASTICSEARCH_HOST", "https://me:hunter2@es.example, other")],
                "elasticsearch at es.example:443, other:9200, index k8s-internal-networking",
            ),
        ] {
            assert_eq!(said(sink, given), expected);
        }
    }
}
