//! Turns settings into the options of each sink: hosts, protocol, credentials. Starts nothing and sends nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::{FaultList, UnusableSettings};
use crate::config;
use crate::format::Observer;
use crate::settings::{Auto, LogstashType, Renewable, Secret, Settings, SinkName, printable, without_end};
use crate::sink::connect::{
    ConnectTimeouts, Connector, HostPort, LoadedTls, OnSocket, PemSource, ProxySettings, TlsOptions,
};
use crate::sink::file::FileOptions;
use crate::sink::fluentd::{FluentdOptions, FluentdSink, ForwardCompression, ForwardCredentials, expand_tag};
use crate::sink::logstash::{HttpBody, LogstashLogin, LogstashOptions, LogstashSink, LogstashTransport, MAX_DATAGRAM};
use crate::source::own_traffic::OwnTraffic;

#[cfg(feature = "es")]
use crate::settings::Format;
#[cfg(feature = "es")]
use crate::sink::elasticsearch::{self, ApiVersion, ElasticsearchAuth, ElasticsearchSink, IndexName, RecordFormat};

/// Placeholders of FLUENTD_TAG.
const PLACEHOLDERS: &[&str] = &["namespace", "pod", "node", "service", "cluster"];

/// Whether the settings of this sink can be used: makes what they come to, and drops it.
pub(super) fn check(sink: SinkName, settings: &Settings, observer: &Observer) -> Result<(), UnusableSettings> {
    match sink {
        SinkName::Stdout | SinkName::File => Ok(()),
        SinkName::Fluentd => fluentd(settings, observer, None).map(drop),
        SinkName::Logstash => logstash(settings, None).map(drop),
        #[cfg(feature = "es")]
        SinkName::Elasticsearch => elasticsearch(settings).map(drop),
        #[cfg(not(feature = "es"))]
        SinkName::Elasticsearch => Err(without_elasticsearch()),
    }
}

#[cfg(not(feature = "es"))]
pub(super) fn without_elasticsearch() -> UnusableSettings {
    UnusableSettings::new("SEND_LOGS_TO", "this build leaves out elasticsearch: build with the cargo feature `es`")
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

/// `own` hears of every connection, so that none of it is recorded.
pub(super) fn fluentd(
    settings: &Settings,
    observer: &Observer,
    own: Option<&OwnTraffic>,
) -> Result<FluentdSink, UnusableSettings> {
    let mut faults = FaultList::default();
    let port = settings.fluentd_port.count() as u16;
    let hosts = faults.keep(hosts("FLUENTD_HOST", &settings.fluentd_host, port));
    let tls = faults.keep(tls(fluentd_tls(settings), &settings.fluentd_tls));
    let tag = faults.keep(tag(&settings.fluentd_tag, observer));
    let credentials = faults.keep(credentials(settings));
    let ((hosts, tls), (tag, credentials)) = faults.finish(hosts.zip(tls).zip(tag.zip(credentials)))?;
    let timeout = settings.fluentd_timeout.0;
    let options = FluentdOptions {
        tag,
        ack: settings.fluentd_ack,
        compress: if settings.fluentd_compress { ForwardCompression::Gzip } else { ForwardCompression::None },
        credentials,
        hostname: observer.pod.name.as_ref().or(observer.hostname.as_ref()).map_or("podtap", |name| name).to_owned(),
        timeout,
    };
    let secrets = files(&settings.fluentd_username, &[&settings.fluentd_shared_key, &settings.fluentd_password]);
    let connector = connector(hosts, tls, timeout, own).renewed(max_age(settings), secrets);
    let settings = settings.clone();
    Ok(FluentdSink::new(connector, options).with_credentials_of(move || self::credentials(&settings).ok().flatten()))
}

fn tag(template: &str, observer: &Observer) -> Result<String, UnusableSettings> {
    let value = |name: &str| {
        match name {
            "namespace" => observer.pod.namespace.as_ref(),
            "pod" => observer.pod.name.as_ref(),
            "node" => observer.pod.node.as_ref(),
            "service" => observer.service_name.as_ref(),
            _ => observer.cluster_name.as_ref(),
        }
        .map(|text| text.as_str())
    };
    expand_tag(template, PLACEHOLDERS, value).map_err(|why| UnusableSettings::new("FLUENTD_TAG", why))
}

fn credentials(settings: &Settings) -> Result<Option<ForwardCredentials>, UnusableSettings> {
    let (username, password) = (&settings.fluentd_username, &settings.fluentd_password);
    paired("FLUENTD", username.is_some(), password.is_some())?;
    let any = settings.fluentd_shared_key.is_some() || username.is_some();
    Ok(any.then(|| ForwardCredentials {
        shared_key: text(settings.fluentd_shared_key.as_ref()),
        username: username.as_ref().map(current).unwrap_or_default(),
        password: text(password.as_ref()),
    }))
}

fn fluentd_tls(settings: &Settings) -> TlsOptions {
    TlsOptions {
        settings: "FLUENTD",
        ca: settings.fluentd_tls_ca.as_deref().map(PemSource::of),
        cert: settings.fluentd_tls_cert.as_deref().map(PemSource::of),
        key: settings.fluentd_tls_key.as_ref().map(key),
        name: settings.fluentd_tls_name.clone(),
        verify: settings.fluentd_tls_verify,
    }
}

/// `own` hears of every connection, so that none of it is recorded.
pub(super) fn logstash(settings: &Settings, own: Option<&OwnTraffic>) -> Result<LogstashSink, UnusableSettings> {
    let mut faults = FaultList::default();
    let hosts = faults.keep(hosts("LOGSTASH_HOST", &settings.logstash_host, logstash_port(settings)));
    let tls = faults.keep(tls(logstash_tls(settings), &settings.logstash_tls));
    let (username, password) = (&settings.logstash_username, &settings.logstash_password);
    let _ = faults.keep(paired("LOGSTASH", username.is_some(), password.is_some()));
    let proxies = faults.keep(proxies(SinkName::Logstash, settings));
    let ((hosts, tls), proxies) = faults.finish(hosts.zip(tls).zip(proxies))?;
    let timeout = settings.logstash_timeout.0;
    let connector = connector(hosts, tls, timeout, own)
        .renewed(max_age(settings), files(&settings.logstash_username, &[&settings.logstash_password]))
        .with_proxies(proxies);
    let options = LogstashOptions {
        transport: transport(settings),
        compress: settings.logstash_compress,
        path: settings.logstash_path.clone(),
        body: HttpBody::default(),
        login: login(settings),
        timeout,
        max_datagram: MAX_DATAGRAM,
        on_datagrams: own.cloned().map(|own| OnSocket::new(move |local, remote| own.add_datagrams(local, remote))),
    };
    let logstash = LogstashSink::new(connector, options)?;
    let settings = settings.clone();
    Ok(logstash.with_login_of(move || login(&settings)))
}

fn transport(settings: &Settings) -> LogstashTransport {
    match settings.logstash_type {
        LogstashType::Tcp => LogstashTransport::Tcp,
        LogstashType::Udp => LogstashTransport::Udp,
        LogstashType::Beats => LogstashTransport::Beats,
        LogstashType::Http => LogstashTransport::Http,
    }
}

fn logstash_port(settings: &Settings) -> u16 {
    settings.logstash_port.given().map_or(transport(settings).default_port(), |port| port.count() as u16)
}

/// The proxies of a sink: those that do not speak HTTP have none.
pub(super) fn proxies(sink: SinkName, settings: &Settings) -> Result<ProxySettings, UnusableSettings> {
    if !speaks_http(sink, settings) {
        return Ok(ProxySettings::default());
    }
    let (http, https) = (settings.http_proxy.as_deref(), settings.https_proxy.as_deref());
    Ok(ProxySettings::new(http, https, &settings.no_proxy)?)
}

fn speaks_http(sink: SinkName, settings: &Settings) -> bool {
    match sink {
        SinkName::Elasticsearch => true,
        SinkName::Logstash => settings.logstash_type == LogstashType::Http,
        SinkName::Stdout | SinkName::File | SinkName::Fluentd => false,
    }
}

/// The proxies through which a sink reaches its servers, each once.
pub fn proxies_in_use(sink: SinkName, settings: &Settings) -> Vec<String> {
    let Ok(proxies) = proxies(sink, settings) else { return Vec::new() };
    let mut found = Vec::new();
    for (host, encrypted) in servers(sink, settings) {
        found.extend(proxies.to(&host, encrypted).map(ToString::to_string).filter(|proxy| !found.contains(proxy)));
    }
    found
}

/// Where a sink's records go, for people: no credentials.
pub fn place(sink: SinkName, settings: &Settings) -> String {
    let servers: Vec<_> = servers(sink, settings).iter().map(|(host, _)| host.to_string()).collect();
    let (word, at) = (sink.word(), servers.join(", "));
    let place = match sink {
        SinkName::Stdout => word.to_owned(),
        SinkName::File => match &settings.file_path {
            Some(path) => format!("{word} {}", path.to_string_lossy()),
            None => word.to_owned(),
        },
        SinkName::Fluentd => format!("{word} at {at}"),
        SinkName::Logstash => {
            let lossy = settings.logstash_type == LogstashType::Udp;
            let lossy = if lossy { " (datagrams: what is lost is not known)" } else { "" };
            format!("{word} {} at {at}{lossy}", settings.logstash_type.word())
        }
        SinkName::Elasticsearch => format!("{word} at {at}, index {}", settings.elasticsearch_index),
    };
    printable(&place)
}

/// The servers of a sink, and whether they are spoken to in TLS.
fn servers(sink: SinkName, settings: &Settings) -> Vec<(HostPort, bool)> {
    let all = |setting: &str, given: &[String], port: u16| {
        let encrypted = encrypted(sink, settings).is_some();
        let hosts = hosts(setting, given, port).unwrap_or_default();
        hosts.into_iter().map(|host| (host, encrypted)).collect()
    };
    match sink {
        SinkName::Stdout | SinkName::File => Vec::new(),
        SinkName::Fluentd => all("FLUENTD_HOST", &settings.fluentd_host, settings.fluentd_port.count() as u16),
        SinkName::Logstash => all("LOGSTASH_HOST", &settings.logstash_host, logstash_port(settings)),
        #[cfg(feature = "es")]
        SinkName::Elasticsearch => {
            let nodes = elasticsearch_options(settings).map(|options| options.nodes).unwrap_or_default();
            nodes.iter().filter_map(|node| Some((elasticsearch::host(node)?, node.scheme() == "https"))).collect()
        }
        #[cfg(not(feature = "es"))]
        SinkName::Elasticsearch => Vec::new(),
    }
}

fn login(settings: &Settings) -> Option<LogstashLogin> {
    let username = settings.logstash_username.as_ref().map(current)?;
    Some(LogstashLogin { username, password: text(settings.logstash_password.as_ref()) })
}

fn max_age(settings: &Settings) -> Option<Duration> {
    settings.connection_max_age.map(|age| age.0)
}

fn logstash_tls(settings: &Settings) -> TlsOptions {
    TlsOptions {
        settings: "LOGSTASH",
        ca: settings.logstash_tls_ca.as_deref().map(PemSource::of),
        cert: settings.logstash_tls_cert.as_deref().map(PemSource::of),
        key: settings.logstash_tls_key.as_ref().map(key),
        name: settings.logstash_tls_name.clone(),
        verify: settings.logstash_tls_verify,
    }
}

#[cfg(feature = "es")]
pub(super) fn elasticsearch(settings: &Settings) -> Result<ElasticsearchSink, UnusableSettings> {
    let options = elasticsearch_options(settings)?;
    let sink = ElasticsearchSink::new(options)?;
    let secrets = [&settings.elasticsearch_api_key, &settings.elasticsearch_bearer, &settings.elasticsearch_password];
    let files = files(&settings.elasticsearch_username, &secrets);
    let (max_age, settings) = (max_age(settings), settings.clone());
    Ok(sink.renewed(max_age, files, move || elasticsearch_options(&settings).map_err(|why| why.to_string())))
}

/// What the sink and `podtap setup` know of a cluster.
#[cfg(feature = "es")]
pub fn elasticsearch_options(settings: &Settings) -> Result<elasticsearch::ElasticsearchOptions, UnusableSettings> {
    let tls = TlsOptions {
        settings: "ELASTICSEARCH",
        ca: settings.elasticsearch_tls_ca.as_deref().map(PemSource::of),
        cert: settings.elasticsearch_tls_cert.as_deref().map(PemSource::of),
        key: settings.elasticsearch_tls_key.as_ref().map(key),
        name: None,
        verify: settings.elasticsearch_tls_verify,
    };
    let encrypted = match settings.elasticsearch_tls.given() {
        Some(given) => *given,
        None => tls != TlsOptions::new(tls.settings),
    };
    let mut faults = FaultList::default();
    let nodes = faults.keep(nodes(settings, encrypted));
    let index =
        IndexName::new(&settings.elasticsearch_index).map_err(|why| UnusableSettings::new("ELASTICSEARCH_INDEX", why));
    let index = faults.keep(index);
    let api_version = settings.elasticsearch_api_version.parse::<ApiVersion>();
    let api_version = faults.keep(api_version.map_err(|why| UnusableSettings::new("ELASTICSEARCH_API_VERSION", why)));
    let auth = faults.keep(auth(settings));
    let proxies = faults.keep(proxies(SinkName::Elasticsearch, settings));
    let parts = nodes.zip(index).zip(api_version.zip(auth)).zip(proxies);
    let ((((nodes, in_url), index), (api_version, auth)), proxies) = faults.finish(parts)?;
    Ok(elasticsearch::ElasticsearchOptions {
        auth: auth.unwrap_or(in_url),
        tls,
        proxies,
        format: match settings.format_at(SinkName::Elasticsearch, false) {
            Format::Classic => RecordFormat::Classic,
            Format::Ecs
            | Format::Text
            | Format::Har
            | Format::ConntrackLog
            | Format::Cf
            | Format::CfRfc3339
            | Format::Netlog
            | Format::NetlogJson
            | Format::Lightmon
            | Format::LightmonJson
            | Format::LightmonTable => RecordFormat::Ecs,
        },
        doc_type: settings.elasticsearch_type.clone(),
        api_version,
        compress: settings.elasticsearch_compress,
        timeout: settings.elasticsearch_timeout.0,
        ..elasticsearch::ElasticsearchOptions::new(nodes, index)
    })
}

/// The cluster's nodes, and the credentials in their URLs.
#[cfg(feature = "es")]
fn nodes(
    settings: &Settings,
    encrypted: bool,
) -> Result<(Vec<::elasticsearch::http::Url>, ElasticsearchAuth), UnusableSettings> {
    let port = settings.elasticsearch_port.count() as u16;
    let (nodes, in_url) = match &settings.elasticsearch_cloud_id {
        Some(id) => {
            let nodes = elasticsearch::cloud(id).map_err(|why| UnusableSettings::new("ELASTICSEARCH_CLOUD_ID", why))?;
            (nodes, ElasticsearchAuth::None)
        }
        None => elasticsearch::nodes(&settings.elasticsearch_host, port, encrypted)
            .map_err(|why| UnusableSettings::new("ELASTICSEARCH_HOST", why))?,
    };
    // Not where a certificate implies it: that may be meant for Kibana alone.
    if settings.elasticsearch_tls.given() == Some(&true) && nodes.iter().any(|node| node.scheme() == "http") {
        return Err(UnusableSettings::new(
            "ELASTICSEARCH_TLS",
            "true, but ELASTICSEARCH_HOST holds a URL with http://",
        ));
    }
    Ok((nodes, in_url))
}

#[cfg(feature = "es")]
fn auth(settings: &Settings) -> Result<Option<ElasticsearchAuth>, UnusableSettings> {
    let (username, password) = (&settings.elasticsearch_username, &settings.elasticsearch_password);
    paired("ELASTICSEARCH", username.is_some(), password.is_some())?;
    let basic = username
        .as_ref()
        .map(|name| ElasticsearchAuth::Basic { username: current(name), password: text(password.as_ref()) });
    let key = settings.elasticsearch_api_key.as_ref().map(|key| ElasticsearchAuth::ApiKey(current(key.reveal())));
    let bearer = settings.elasticsearch_bearer.as_ref().map(|token| ElasticsearchAuth::Bearer(current(token.reveal())));
    let mut given = [("API_KEY", key), ("BEARER", bearer), ("USERNAME", basic)]
        .into_iter()
        .filter_map(|(name, auth)| auth.map(|auth| (name, auth)));
    match (given.next(), given.next()) {
        (Some((one, _)), Some((other, _))) => {
            let other = format!("ELASTICSEARCH_{other}");
            Err(UnusableSettings::new(
                &format!("ELASTICSEARCH_{one}"),
                format!("set, and {other} too: give one of them"),
            ))
        }
        (first, _) => Ok(first.map(|(_, auth)| auth)),
    }
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

fn hosts(setting: &str, given: &[String], port: u16) -> Result<Vec<HostPort>, UnusableSettings> {
    if given.is_empty() {
        return Err(UnusableSettings::new(setting, "names no host"));
    }
    given.iter().map(|host| HostPort::parse(host, port).map_err(|why| UnusableSettings::new(setting, why))).collect()
}

/// The hosts of a sink and how they are spoken to, where that is in TLS.
pub(super) fn encrypted(sink: SinkName, settings: &Settings) -> Option<(Vec<HostPort>, TlsOptions)> {
    let (setting, given, port, options, wanted) = match sink {
        SinkName::Stdout | SinkName::File => return None,
        SinkName::Fluentd => {
            let port = settings.fluentd_port.count() as u16;
            ("FLUENTD_HOST", &settings.fluentd_host, port, fluentd_tls(settings), &settings.fluentd_tls)
        }
        SinkName::Logstash => {
            let port = logstash_port(settings);
            ("LOGSTASH_HOST", &settings.logstash_host, port, logstash_tls(settings), &settings.logstash_tls)
        }
        #[cfg(feature = "es")]
        SinkName::Elasticsearch => {
            let options = elasticsearch_options(settings).ok()?;
            let https = options.nodes.iter().filter(|node| node.scheme() == "https");
            let hosts: Vec<_> = https.filter_map(elasticsearch::host).collect();
            return (!hosts.is_empty()).then_some((hosts, options.tls));
        }
        #[cfg(not(feature = "es"))]
        SinkName::Elasticsearch => return None,
    };
    let on = wanted.given().copied().unwrap_or(options != TlsOptions::new(options.settings));
    let hosts = hosts(setting, given, port).ok()?;
    on.then_some((hosts, options))
}

/// `auto`: when anything is said about it.
fn tls(options: TlsOptions, wanted: &Auto<bool>) -> Result<Option<LoadedTls>, UnusableSettings> {
    let said = options != TlsOptions::new(options.settings);
    let on = wanted.given().copied().unwrap_or(said);
    Ok(on.then(|| LoadedTls::load(options)).transpose()?)
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
        let expect = |text: &str| assert_eq!(login(&settings).unwrap().password, text);
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

    #[cfg(feature = "es")]
    #[test]
    fn a_url_in_the_clear_contradicts_encryption_that_was_asked_for() {
        let nodes = |host: &str, tls: &str| {
            let given = [("SEND_LOGS_TO", "elasticsearch"), ("ELASTICSEARCH_HOST", host), ("ELASTICSEARCH_TLS", tls)];
            let env = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let settings = resolve(&env, &SettingPairs::new(), |_| Err(String::new())).outcome.unwrap();
            elasticsearch_options(&settings).map(|options| options.nodes[0].to_string()).map_err(|why| why.to_string())
        };
        assert_eq!(nodes("es", "true").as_deref(), Ok("https://es:9200/"));
        assert_eq!(nodes("https://es", "true").as_deref(), Ok("https://es/"));
        assert_eq!(nodes("http://es:9200", "auto").as_deref(), Ok("http://es:9200/"));
        assert_eq!(
            nodes("es, http://es:9200", "true").unwrap_err(),
            "ELASTICSEARCH_TLS: true, but ELASTICSEARCH_HOST holds a URL with http://"
        );
    }
}
