//! Settings of the logstash sink: LOGSTASH_…. Starts nothing and sends nothing.

use super::{ServerSettings, Target, connector, current, files, key, max_age, paired, proxies, text};
use crate::assembly::faults::{FaultList, UnusableSettings};
use crate::format::Observer;
use crate::settings::{LogstashType, Settings, SinkName};
use crate::sink::connect::{HostPort, OnSocket, PemSource, TlsOptions};
use crate::sink::logstash::{HttpBody, LogstashLogin, LogstashOptions, LogstashSink, LogstashTransport, MAX_DATAGRAM};
use crate::source::own_traffic::OwnTraffic;

pub(super) struct LogstashTarget;

impl Target for LogstashTarget {
    fn check(&self, settings: &Settings, _: &Observer) -> Result<(), UnusableSettings> {
        sink(settings, None).map(drop)
    }

    fn servers(&self, settings: &Settings) -> Vec<(HostPort, bool)> {
        servers(settings).listed()
    }

    fn encrypted(&self, settings: &Settings) -> Option<(Vec<HostPort>, TlsOptions)> {
        servers(settings).encrypted()
    }

    fn speaks_http(&self, settings: &Settings) -> bool {
        settings.logstash_type == LogstashType::Http
    }

    fn place(&self, settings: &Settings) -> String {
        let lossy = settings.logstash_type == LogstashType::Udp;
        let lossy = if lossy { " (datagrams: what is lost is not known)" } else { "" };
        let (word, kind) = (SinkName::Logstash.word(), settings.logstash_type.word());
        format!("{word} {kind} at {}{lossy}", self.addresses(settings))
    }
}

/// `own` hears of every connection, so that none of it is recorded.
pub(in crate::assembly) fn sink(
    settings: &Settings,
    own: Option<&OwnTraffic>,
) -> Result<LogstashSink, UnusableSettings> {
    let mut faults = FaultList::default();
    let servers = servers(settings);
    let hosts = faults.keep(servers.hosts());
    let tls = faults.keep(servers.load_tls());
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

fn port(settings: &Settings) -> u16 {
    settings.logstash_port.given().map_or(transport(settings).default_port(), |port| port.count() as u16)
}

pub(super) fn login(settings: &Settings) -> Option<LogstashLogin> {
    let username = settings.logstash_username.as_ref().map(current)?;
    Some(LogstashLogin { username, password: text(settings.logstash_password.as_ref()) })
}

fn servers(settings: &Settings) -> ServerSettings<'_> {
    ServerSettings {
        setting: "LOGSTASH_HOST",
        given: &settings.logstash_host,
        port: port(settings),
        tls: TlsOptions {
            settings: "LOGSTASH",
            ca: settings.logstash_tls_ca.as_deref().map(PemSource::of),
            cert: settings.logstash_tls_cert.as_deref().map(PemSource::of),
            key: settings.logstash_tls_key.as_ref().map(key),
            name: settings.logstash_tls_name.clone(),
            verify: settings.logstash_tls_verify,
        },
        wanted: &settings.logstash_tls,
    }
}
