//! How to reach the API server: a Pod's service account, or a kubeconfig. Owns where credentials come from; sends nothing.
//!
//! Tokens are read again for every request, as Kubernetes renews them about once an hour.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;

use crate::sink::connect::{HostPort, PemSource, TlsOptions};
use crate::yaml;

/// Where a Pod has its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Longest kubeconfig.
const LONGEST_CONFIG: u64 = 4 << 20;
/// Longest token.
const LONGEST_TOKEN: u64 = 64 << 10;
/// What TLS calls its settings here; `in_words` makes a kubeconfig's of them.
const TLS_SETTINGS: &str = "KUBERNETES";

/// An API server and who asks it.
#[derive(Clone, PartialEq)]
pub(in crate::workload) struct ApiAccess {
    /// The server.
    pub(super) host: HostPort,
    /// What is in front of every path; empty mostly.
    pub(super) prefix: String,
    /// None in the clear.
    pub(super) tls: Option<TlsOptions>,
    credentials: ApiCredentials,
    /// Where this is known from, in words.
    source: String,
}

#[derive(Clone, PartialEq)]
enum ApiCredentials {
    /// None, or a certificate.
    None,
    /// A bearer token.
    Token(String),
    /// A file with one.
    TokenFile(PathBuf),
    /// User and password.
    Basic(String),
}

/// Without its credentials.
impl fmt::Debug for ApiAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

impl fmt::Display for ApiAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server at {}, by {}", self.host, self.source)
    }
}

impl ApiAccess {
    /// By this kubeconfig; without one by the service account of the Pod that this is, else by `~/.kube/config`.
    pub(in crate::workload) fn find(kubeconfig: Option<&Path>) -> Result<Self, String> {
        if let Some(paths) = kubeconfig {
            // A list, as kubectl has it: the first one counts.
            let first = std::env::split_paths(paths).find(|path| path.exists());
            return Self::of_file(first.as_deref().unwrap_or(paths));
        }
        let var = |name: &str| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
        if let (Some(host), Some(port)) = (var("KUBERNETES_SERVICE_HOST"), var("KUBERNETES_SERVICE_PORT")) {
            return Self::of_pod(&host, &port, Path::new(ACCOUNT));
        }
        match var("HOME").map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.exists()) {
            Some(path) => Self::of_file(&path),
            None => Err("no API server is known: this is no Pod, and KUBECONFIG is not set".to_owned()),
        }
    }

    fn of_pod(host: &str, port: &str, account: &Path) -> Result<Self, String> {
        let token = account.join("token");
        if !token.exists() {
            return Err(format!(
                "{} is missing: the Pod has no service account's token (automountServiceAccountToken)",
                token.display()
            ));
        }
        let bracketed = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self {
            host: HostPort::parse(&bracketed, 443)?,
            prefix: String::new(),
            tls: Some(TlsOptions {
                ca: Some(PemSource::File(account.join("ca.crt"))),
                ..TlsOptions::new(TLS_SETTINGS)
            }),
            credentials: ApiCredentials::TokenFile(token),
            source: "the Pod's service account".to_owned(),
        })
    }

    fn of_file(path: &Path) -> Result<Self, String> {
        let text = read(path, LONGEST_CONFIG)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let source = format!("kubeconfig {}", path.display());
        of_text(&text, folder, source).map_err(|why| format!("kubeconfig {}: {why}", path.display()))
    }

    /// The value of the Authorization header, if there is one.
    pub(super) fn authorization(&self) -> Result<Option<String>, String> {
        Ok(match &self.credentials {
            ApiCredentials::None => None,
            ApiCredentials::Token(token) => Some(format!("Bearer {token}")),
            ApiCredentials::TokenFile(path) => Some(format!("Bearer {}", read(path, LONGEST_TOKEN)?.trim())),
            ApiCredentials::Basic(encoded) => Some(format!("Basic {encoded}")),
        })
    }
}

/// A message of TLS with a kubeconfig's words for its settings.
pub(super) fn in_words(message: &str) -> String {
    let words = [
        ("KUBERNETES_TLS_CA", "certificate-authority"),
        ("KUBERNETES_TLS_CERT", "client-certificate"),
        ("KUBERNETES_TLS_KEY", "client-key"),
        ("KUBERNETES_TLS_NAME", "tls-server-name"),
        ("KUBERNETES_TLS_VERIFY", "insecure-skip-tls-verify"),
    ];
    words.into_iter().fold(message.to_owned(), |text, (setting, word)| text.replace(setting, word))
}

fn read(path: &Path, longest: u64) -> Result<String, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.take(longest).read_to_end(&mut text).map_err(|error| format!("{}: {error}", path.display()))?;
    String::from_utf8(text).map_err(|_| format!("{}: is not UTF-8", path.display()))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KubeConfig {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<NamedEntry>,
    #[serde(default)]
    clusters: Vec<NamedEntry>,
    #[serde(default)]
    users: Vec<NamedEntry>,
}

#[derive(Deserialize)]
struct NamedEntry {
    name: String,
    context: Option<KubeContext>,
    cluster: Option<KubeCluster>,
    user: Option<KubeUser>,
}

#[derive(Deserialize)]
struct KubeContext {
    cluster: String,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KubeCluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct KubeUser {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    #[serde(rename = "auth-provider")]
    auth_provider: Option<serde::de::IgnoredAny>,
}

fn of_text(text: &str, folder: &Path, source: String) -> Result<ApiAccess, String> {
    let config: KubeConfig = serde_json::from_value(yaml::value(text)?).map_err(|error| error.to_string())?;
    let current = config.current_context.filter(|name| !name.is_empty()).ok_or("it has no current-context")?;
    let named = |list: Vec<NamedEntry>, what: &str, name: &str| {
        list.into_iter().find(|named| named.name == name).ok_or(format!("there is no {what} {name:?}"))
    };
    let context = named(config.contexts, "context", &current)?.context.ok_or("the current context is empty")?;
    let cluster = named(config.clusters, "cluster", &context.cluster)?.cluster.ok_or("the cluster is empty")?;
    let user = match context.user.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => named(config.users, "user", name)?.user.unwrap_or_default(),
        None => KubeUser::default(),
    };
    if cluster.proxy_url.is_some() {
        return Err("proxy-url is not supported".to_owned());
    }
    let (host, prefix, encrypted) = server(&cluster.server)?;
    let credentials = credentials(&user, folder)?;
    let ca = pem(cluster.certificate_authority, cluster.certificate_authority_data, folder)?;
    let tls = TlsOptions {
        ca,
        cert: pem(user.client_certificate, user.client_certificate_data, folder)?,
        key: pem(user.client_key, user.client_key_data, folder)?,
        name: cluster.tls_server_name,
        verify: cluster.insecure_skip_tls_verify != Some(true),
        ..TlsOptions::new(TLS_SETTINGS)
    };
    Ok(ApiAccess { host, prefix, tls: encrypted.then_some(tls), credentials, source })
}

fn credentials(user: &KubeUser, folder: &Path) -> Result<ApiCredentials, String> {
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err("users with exec or auth-provider are not supported: podtap starts no program".to_owned());
    }
    Ok(match (&user.token_file, &user.token, &user.username) {
        (Some(path), ..) => ApiCredentials::TokenFile(folder.join(path)),
        (None, Some(token), _) => ApiCredentials::Token(token.trim().to_owned()),
        (None, None, Some(name)) => {
            let password = user.password.as_deref().unwrap_or_default();
            ApiCredentials::Basic(base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}")))
        }
        (None, None, None) => ApiCredentials::None,
    })
}

/// The data wins over the file, as with kubectl.
fn pem(file: Option<PathBuf>, data: Option<String>, folder: &Path) -> Result<Option<PemSource>, String> {
    let Some(data) = data.filter(|data| !data.is_empty()) else {
        return Ok(file.map(|file| PemSource::File(folder.join(file))));
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(|text| Some(PemSource::Text(text))).ok_or("a certificate's or key's data is not Base64 of PEM".to_owned())
}

fn server(url: &str) -> Result<(HostPort, String, bool), String> {
    let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("the server is not a URL with https:// or http://".to_owned()),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = HostPort::parse(authority, if encrypted { 443 } else { 80 })?;
    let path = path.trim_matches('/');
    Ok((host, if path.is_empty() { String::new() } else { format!("/{path}") }, encrypted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
apiVersion: v1
kind: Config
current-context: a
contexts:
- {name: a, context: {cluster: c, user: u}}
- {name: b, context: {cluster: c}}
clusters:
- name: c
  cluster: {server: 'https://127.0.0.1:6443/k8s/', certificate-authority: ca.crt}
users:
- name: u
  user: {tokenFile: token}
";

    fn access(text: &str) -> Result<ApiAccess, String> {
        of_text(text, Path::new("/home/me/.kube"), "test".to_owned())
    }

    #[test]
    fn a_kubeconfig_says_whom_to_ask_and_how() {
        let found = access(CONFIG).unwrap();
        assert_eq!((found.host.to_string().as_str(), found.prefix.as_str()), ("127.0.0.1:6443", "/k8s"));
        assert_eq!(found.tls.as_ref().unwrap().ca, Some(PemSource::File("/home/me/.kube/ca.crt".into())));
        assert!(found.credentials == ApiCredentials::TokenFile("/home/me/.kube/token".into()));
        let none = access(&CONFIG.replace("current-context: a", "current-context: b")).unwrap();
        assert_eq!(none.authorization(), Ok(None));
        for (user, header) in [
            ("{token: abc}", Some("Bearer abc")),
            ("{username: me, password: secret}", Some("Basic bWU6c2VjcmV0")),
            ("{client-certificate: c.crt, client-key: c.key}", None),
        ] {
            let found = access(&CONFIG.replace("{tokenFile: token}", user)).unwrap();
            assert_eq!(found.authorization().unwrap().as_deref(), header, "{user}");
            assert!(!format!("{found:?}").contains("abc"));
        }
        let data = format!("certificate-authority-data: {}", "LS0tLS1CRUdJTiBYLS0tLS0K");
        let found = access(&CONFIG.replace("certificate-authority: ca.crt", &data)).unwrap();
        assert_eq!(found.tls.unwrap().ca, Some(PemSource::Text("-----BEGIN X-----\n".to_owned())));
        let plain = access(&CONFIG.replace("https://127.0.0.1:6443/k8s/", "http://[::1]:8080")).unwrap();
        assert_eq!((plain.host.to_string().as_str(), plain.tls.is_none(), &*plain.prefix), ("[::1]:8080", true, ""));
    }

    #[test]
    fn what_a_kubeconfig_lacks_or_cannot_have_is_said() {
        for (from, to, why) in [
            ("current-context: a", "", "no current-context"),
            ("current-context: a", "current-context: x", "no context \"x\""),
            ("cluster: c, user: u", "cluster: x, user: u", "no cluster \"x\""),
            ("cluster: c, user: u", "cluster: c, user: x", "no user \"x\""),
            ("{tokenFile: token}", "{exec: {command: aws}}", "podtap starts no program"),
            ("https://127.0.0.1:6443/k8s/", "127.0.0.1:6443", "is not a URL"),
            ("certificate-authority: ca.crt", "certificate-authority-data: '***'", "not Base64"),
            ("contexts:", "contexts: [", "line "),
        ] {
            let error = access(&CONFIG.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
    }

    #[test]
    fn a_pod_has_its_account_and_its_token_is_read_every_time() {
        let folder = std::env::temp_dir().join(format!("podtap-account-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(ApiAccess::of_pod("10.96.0.1", "443", &folder).unwrap_err().contains("automountServiceAccountToken"));
        std::fs::write(folder.join("token"), "one\n").unwrap();
        let found = ApiAccess::of_pod("fd00::1", "443", &folder).unwrap();
        assert_eq!(found.host.to_string(), "[fd00::1]:443");
        assert_eq!(found.authorization(), Ok(Some("Bearer one".to_owned())));
        std::fs::write(folder.join("token"), "two").unwrap();
        assert_eq!(found.authorization(), Ok(Some("Bearer two".to_owned())));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(found.authorization().is_err());
    }
}
