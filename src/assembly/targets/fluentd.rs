//! Settings of the fluentd sink: FLUENTD_…. Starts nothing and sends nothing.

use super::{ServerSettings, Target, connector, current, files, key, max_age, paired, text};
use crate::assembly::faults::{FaultList, UnusableSettings};
use crate::format::Observer;
use crate::settings::{Settings, SinkName};
use crate::sink::connect::{HostPort, PemSource, TlsOptions};
use crate::sink::fluentd::{FluentdOptions, FluentdSink, ForwardCompression, ForwardCredentials, expand_tag};
use crate::source::own_traffic::OwnTraffic;

/// Placeholders of FLUENTD_TAG.
const PLACEHOLDERS: &[&str] = &["namespace", "pod", "node", "service", "cluster"];

pub(super) struct FluentdTarget;

impl Target for FluentdTarget {
    fn check(&self, settings: &Settings, observer: &Observer) -> Result<(), UnusableSettings> {
        sink(settings, observer, None).map(drop)
    }

    fn servers(&self, settings: &Settings) -> Vec<(HostPort, bool)> {
        servers(settings).listed()
    }

    fn encrypted(&self, settings: &Settings) -> Option<(Vec<HostPort>, TlsOptions)> {
        servers(settings).encrypted()
    }

    fn place(&self, settings: &Settings) -> String {
        format!("{} at {}", SinkName::Fluentd.word(), self.addresses(settings))
    }
}

/// `own` hears of every connection, so that none of it is recorded.
pub(in crate::assembly) fn sink(
    settings: &Settings,
    observer: &Observer,
    own: Option<&OwnTraffic>,
) -> Result<FluentdSink, UnusableSettings> {
    let mut faults = FaultList::default();
    let servers = servers(settings);
    let hosts = faults.keep(servers.hosts());
    let tls = faults.keep(servers.load_tls());
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

fn servers(settings: &Settings) -> ServerSettings<'_> {
    ServerSettings {
        setting: "FLUENTD_HOST",
        given: &settings.fluentd_host,
        port: settings.fluentd_port.count() as u16,
        tls: TlsOptions {
            settings: "FLUENTD",
            ca: settings.fluentd_tls_ca.as_deref().map(PemSource::of),
            cert: settings.fluentd_tls_cert.as_deref().map(PemSource::of),
            key: settings.fluentd_tls_key.as_ref().map(key),
            name: settings.fluentd_tls_name.clone(),
            verify: settings.fluentd_tls_verify,
        },
        wanted: &settings.fluentd_tls,
    }
}
