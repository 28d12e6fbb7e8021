//! How to reach and use a server: what the settings come to. Reads no environment and no file.

use std::fmt;
use std::time::Duration;

use elasticsearch::http::Url;
use elasticsearch::http::transport::CloudId;

use super::super::connect::proxy::decoded;
use super::super::connect::{HostPort, ProxySettings, TlsOptions};
use super::index::IndexName;
use super::server::ApiVersion;

/// Everything the sink and `podtap setup elasticsearch` need to know.
#[derive(Clone, Debug)]
pub struct ElasticsearchOptions {
    /// ELASTICSEARCH_HOST and _PORT, or _CLOUD_ID: nodes of one cluster, at least one (`nodes`, `cloud`).
    pub nodes: Vec<Url>,
    /// Who we are.
    pub auth: ElasticsearchAuth,
    /// ELASTICSEARCH_TLS_…, for `https` nodes. Its authority is trusted next to the public ones, and its name cannot be
    /// another than the URL's: limits of the `elasticsearch` crate.
    pub tls: TlsOptions,
    /// HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
    pub proxies: ProxySettings,
    /// ELASTICSEARCH_INDEX.
    pub index: IndexName,
    /// FORMAT_ELASTICSEARCH: what the records are, which decides the mapping.
    pub format: RecordFormat,
    /// ELASTICSEARCH_TYPE, for servers that still have types.
    pub doc_type: Option<String>,
    /// ELASTICSEARCH_API_VERSION.
    pub api_version: ApiVersion,
    /// ELASTICSEARCH_COMPRESS: gzip the requests.
    pub compress: bool,
    /// ELASTICSEARCH_TIMEOUT: from connecting to the last byte of the answer.
    pub timeout: Duration,
}

impl ElasticsearchOptions {
    /// These nodes and this index, everything else as by default.
    pub fn new(nodes: Vec<Url>, index: IndexName) -> Self {
        Self {
            nodes,
            auth: ElasticsearchAuth::None,
            tls: TlsOptions::new("ELASTICSEARCH"),
            proxies: ProxySettings::default(),
            index,
            format: RecordFormat::Ecs,
            doc_type: None,
            api_version: ApiVersion::Auto,
            compress: true,
            timeout: Duration::from_secs(10),
        }
    }
}

/// What records look like: an index takes one kind, for in the other the same names mean other things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordFormat {
    /// The Elastic Common Schema: `host` is an object.
    #[default]
    Ecs,
    /// The keys of kubernetes-internal-http-logger: `host` is a text.
    Classic,
}

impl RecordFormat {
    /// As in FORMAT_ELASTICSEARCH.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Classic => "classic",
        }
    }

    /// The component template with its mappings.
    pub fn component(self) -> &'static str {
        match self {
            Self::Ecs => "podtap-mappings",
            Self::Classic => "podtap-mappings-classic",
        }
    }
}

/// Who we are. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum ElasticsearchAuth {
    /// No one.
    #[default]
    None,
    /// ELASTICSEARCH_USERNAME, ELASTICSEARCH_PASSWORD.
    Basic {
        /// User.
        username: String,
        /// Password.
        password: String,
    },
    /// ELASTICSEARCH_BEARER.
    Bearer(String),
    /// ELASTICSEARCH_API_KEY: `id:key`, or that in Base64 as the server shows it.
    ApiKey(String),
}

impl ElasticsearchAuth {
    /// The setting that the secret comes from.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::None | Self::Basic { .. } => "ELASTICSEARCH_PASSWORD",
            Self::Bearer(_) => "ELASTICSEARCH_BEARER",
            Self::ApiKey(_) => "ELASTICSEARCH_API_KEY",
        }
    }

    /// The value of the header Authorization.
    pub(super) fn header(&self) -> Option<String> {
        use base64::Engine;
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        match self {
            Self::None => None,
            Self::Basic { username, password } => Some(format!("Basic {}", base64(&format!("{username}:{password}")))),
            Self::Bearer(token) => Some(format!("Bearer {token}")),
            Self::ApiKey(key) if key.contains(':') => Some(format!("ApiKey {}", base64(key))),
            Self::ApiKey(key) => Some(format!("ApiKey {key}")),
        }
    }
}

impl fmt::Debug for ElasticsearchAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
            Self::ApiKey(_) => "ApiKey(…)",
        })
    }
}

/// The nodes that ELASTICSEARCH_HOST names. Hosts (`name`, `name:port`, `::1`, `[::1]:port`) get the default port, and
/// TLS where `tls` says so. Full URLs say everything themselves. Credentials in a URL are taken out of it; they are
/// valid for all nodes.
pub fn nodes(hosts: &[String], port: u16, tls: bool) -> Result<(Vec<Url>, ElasticsearchAuth), String> {
    let mut auth = ElasticsearchAuth::None;
    let mut nodes = Vec::new();
    for host in hosts {
        let mut url = parse(host.trim(), port, tls)?;
        if !url.username().is_empty() {
            auth = ElasticsearchAuth::Basic {
                username: decoded(url.username()),
                password: decoded(url.password().unwrap_or("")),
            };
            // Both can only fail for URLs without a host.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
        }
        nodes.push(url);
    }
    if nodes.is_empty() { Err("names no host".to_owned()) } else { Ok((nodes, auth)) }
}

/// Host and port of a node.
pub fn host(node: &Url) -> Option<HostPort> {
    let port = node.port_or_known_default()?;
    HostPort::parse(&format!("{}:{port}", node.host_str()?), port).ok()
}

/// The node that ELASTICSEARCH_CLOUD_ID names.
pub fn cloud(id: &str) -> Result<Vec<Url>, String> {
    // The reason would repeat the id.
    CloudId::parse(id).map(|cloud| vec![cloud.url]).map_err(|_| "is not a cloud id (name:base64)".to_owned())
}

fn parse(host: &str, port: u16, tls: bool) -> Result<Url, String> {
    // Not the text itself: it may hold a password.
    let wrong = |why: &dyn fmt::Display| format!("holds something that is neither a host nor a URL: {why}");
    if host.contains("://") {
        let url = Url::parse(host).map_err(|why| wrong(&why))?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(&"a URL is http:// or https://, without ? and #"));
        }
        return Ok(url);
    }
    let scheme = if tls { "https" } else { "http" };
    let host = if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    if host.is_empty() || host.contains(['/', '@', '?', '#', '\\']) {
        return Err(wrong(&"give host, host:port, or a whole URL"));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, rest)| !rest.contains(']'));
    let authority = if has_port { host } else { format!("{host}:{port}") };
    Url::parse(&format!("{scheme}://{authority}/")).map_err(|why| wrong(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(hosts: &[&str], tls: bool) -> Result<Vec<String>, String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        nodes(&hosts, 9200, tls).map(|(nodes, _)| nodes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn hosts_get_the_default_port_and_urls_say_everything_themselves() {
        for (host, tls, url) in [
            ("es", false, "http://es:9200/"),
            ("es", true, "https://es:9200/"),
            (" es:9201 ", false, "http://es:9201/"),
            ("10.0.0.1", false, "http://10.0.0.1:9200/"),
            ("::1", false, "http://[::1]:9200/"),
            ("[::1]", true, "https://[::1]:9200/"),
            ("[::1]:9201", false, "http://[::1]:9201/"),
            ("https://es.example", false, "https://es.example/"),
            ("http://es:9201/prefix", true, "http://es:9201/prefix"),
        ] {
            assert_eq!(urls(&[host], tls), Ok(vec![url.to_owned()]), "{host}");
        }
        assert_eq!(urls(&["a", "b"], false).unwrap().len(), 2);
        for wrong in ["", "a/b", "ftp://a", "a:x", "http://", "https://a?b", "user:pw@es"] {
            assert!(urls(&[wrong], false).is_err(), "{wrong}");
        }
        assert!(urls(&[], false).is_err());
    }

    #[test]
    fn credentials_in_a_url_leave_it_and_are_never_shown() {
        let (nodes, auth) = nodes(&["https://me:p%40ss@es:9200".to_owned()], 9200, false).unwrap();
        assert_eq!(nodes[0].as_str(), "https://es:9200/");
        assert_eq!(auth, ElasticsearchAuth::Basic { username: "me".to_owned(), password: "p@ss".to_owned() });
        assert_eq!(auth.header().unwrap(), "Basic bWU6cEBzcw==");
        let secret = "hunter2".to_owned();
        let basic = ElasticsearchAuth::Basic { username: String::new(), password: secret.clone() };
        let shown =
            format!("{basic:?}{:?}{:?}", ElasticsearchAuth::Bearer(secret.clone()), ElasticsearchAuth::ApiKey(secret));
        assert!(!shown.contains("hunter2"), "{shown}");
        let wrong = super::nodes(&["https://me:hunter2@:x".to_owned()], 9200, false).unwrap_err();
        assert!(!wrong.contains("hunter2"), "{wrong}");
    }

    #[test]
    fn an_api_key_is_taken_in_either_form_and_a_cloud_id_names_a_node() {
        assert_eq!(ElasticsearchAuth::ApiKey("id:key".to_owned()).header().unwrap(), "ApiKey aWQ6a2V5");
        assert_eq!(ElasticsearchAuth::ApiKey("aWQ6a2V5".to_owned()).header().unwrap(), "ApiKey aWQ6a2V5");
        let nodes = cloud("my:ZXhhbXBsZS5jb20kYWJj").unwrap();
        assert_eq!(nodes[0].as_str(), "https://abc.example.com/");
        assert!(cloud("my:%%").is_err_and(|why| !why.contains("%%")));
    }
}
