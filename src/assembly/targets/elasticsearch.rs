//! Settings of the elasticsearch sink: ELASTICSEARCH_…. `podtap setup` reads them here, too. Starts nothing and sends nothing.

use super::{Target, current, files, key, max_age, paired, proxies, text};
use crate::assembly::faults::{FaultList, UnusableSettings};
use crate::format::Observer;
use crate::settings::{Format, Settings, SinkName};
use crate::sink::connect::{HostPort, PemSource, TlsOptions};
use crate::sink::elasticsearch::{
    self, ApiVersion, ElasticsearchAuth, ElasticsearchOptions, ElasticsearchSink, IndexName, RecordFormat,
};

pub(super) struct ElasticsearchTarget;

impl Target for ElasticsearchTarget {
    fn check(&self, settings: &Settings, _: &Observer) -> Result<(), UnusableSettings> {
        sink(settings).map(drop)
    }

    fn servers(&self, settings: &Settings) -> Vec<(HostPort, bool)> {
        let nodes = elasticsearch_options(settings).map(|options| options.nodes).unwrap_or_default();
        nodes.iter().filter_map(|node| Some((elasticsearch::host(node)?, node.scheme() == "https"))).collect()
    }

    fn encrypted(&self, settings: &Settings) -> Option<(Vec<HostPort>, TlsOptions)> {
        let options = elasticsearch_options(settings).ok()?;
        let https = options.nodes.iter().filter(|node| node.scheme() == "https");
        let hosts: Vec<_> = https.filter_map(elasticsearch::host).collect();
        (!hosts.is_empty()).then_some((hosts, options.tls))
    }

    fn speaks_http(&self, _: &Settings) -> bool {
        true
    }

    fn place(&self, settings: &Settings) -> String {
        let (word, index) = (SinkName::Elasticsearch.word(), &settings.elasticsearch_index);
        format!("{word} at {}, index {index}", self.addresses(settings))
    }
}

pub(in crate::assembly) fn sink(settings: &Settings) -> Result<ElasticsearchSink, UnusableSettings> {
    let options = elasticsearch_options(settings)?;
    let sink = ElasticsearchSink::new(options)?;
    let secrets = [&settings.elasticsearch_api_key, &settings.elasticsearch_bearer, &settings.elasticsearch_password];
    let files = files(&settings.elasticsearch_username, &secrets);
    let (max_age, settings) = (max_age(settings), settings.clone());
    Ok(sink.renewed(max_age, files, move || elasticsearch_options(&settings).map_err(|why| why.to_string())))
}

/// What the sink and `podtap setup` know of a cluster.
pub fn elasticsearch_options(settings: &Settings) -> Result<ElasticsearchOptions, UnusableSettings> {
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
    Ok(ElasticsearchOptions {
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
        ..ElasticsearchOptions::new(nodes, index)
    })
}

/// The cluster's nodes, and the credentials in their URLs.
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
                format!("set together with {other}: give only one"),
            ))
        }
        (first, _) => Ok(first.map(|(_, auth)| auth)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{SettingPairs, resolve};

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
