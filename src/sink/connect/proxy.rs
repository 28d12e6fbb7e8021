//! HTTP proxies between us and servers: which server is reached through which, and the request for a tunnel. Owns what
//! HTTP_PROXY, HTTPS_PROXY and NO_PROXY mean; it opens no connection.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::error::{DeliveryError, FailureReason};
use super::HostPort;
use crate::exchange::own::{Nonce, nonce};
use crate::settings::SettingFault;

/// The port of a proxy that names none.
const PORT: u16 = 80;
/// Bytes of a proxy's answer to CONNECT.
const MAX_ANSWER: usize = 16 << 10;

/// What the three settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    http: Option<HttpProxy>,
    https: Option<HttpProxy>,
    direct: Vec<Direct>,
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// Where it listens.
    pub host: HostPort,
    login: Option<(String, String)>,
}

/// Servers that no proxy is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    /// This name and all below it; on this port, or on any.
    Name(String, Option<u16>),
    Net(IpNet, Option<u16>),
}

impl ProxySettings {
    /// From the texts of the settings; the error names the wrong one.
    pub fn new(http: Option<&str>, https: Option<&str>, direct: &[String]) -> Result<Self, SettingFault> {
        let proxy = |setting: &str, text: Option<&str>| {
            text.map(HttpProxy::parse).transpose().map_err(|why| SettingFault::new(setting, why))
        };
        let entries = direct.iter().flat_map(|entry| entry.split_ascii_whitespace());
        Ok(Self {
            http: proxy("HTTP_PROXY", http)?,
            https: proxy("HTTPS_PROXY", https)?,
            direct: entries.filter_map(Direct::parse).collect(),
        })
    }

    /// The proxy on the way to a server. To this machine itself there is none.
    pub fn to(&self, server: &HostPort, encrypted: bool) -> Option<&HttpProxy> {
        let proxy = if encrypted { &self.https } else { &self.http }.as_ref()?;
        let name = server.host.trim_end_matches('.').to_ascii_lowercase();
        let ip = name.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let is_here = name == "localhost" || name.ends_with(".localhost") || ip.is_some_and(|ip| ip.is_loopback());
        let direct = is_here || self.direct.iter().any(|direct| direct.covers(&name, ip, server.port));
        (!direct).then_some(proxy)
    }
}

impl Direct {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Ok(net) = entry.parse::<IpNet>() {
            return Some(Self::Net(net, None));
        }
        let whole = HostPort::parse(&entry, 0).ok()?;
        let port = Some(whole.port).filter(|port| *port > 0);
        if let Ok(ip) = whole.host.parse::<IpAddr>() {
            return Some(Self::Net(ip.to_canonical().into(), port));
        }
        let name = whole.host.trim_start_matches("*.").trim_matches('.').to_owned();
        (!name.is_empty()).then_some(Self::Name(name, port))
    }

    fn covers(&self, name: &str, ip: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Net(net, only) => ip.is_some_and(|ip| net.contains(&ip)) && only.is_none_or(|only| only == port),
            Self::Name(own, only) => {
                let above = name.strip_suffix(own.as_str());
                let is_below = above.is_some_and(|above| above.is_empty() || above.ends_with('.'));
                is_below && only.is_none_or(|only| only == port)
            }
        }
    }
}

impl HttpProxy {
    /// From `http://user:password@host:port`, of which only the host is needed. The error shows no password.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("only a proxy that is itself reached by http:// can be used".to_owned()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, host) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((login, host)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((decoded(user), decoded(password))), host)
            }
        };
        Ok(Self { host: HostPort::parse(host, PORT)?, login })
    }

    /// User and password.
    pub fn login(&self) -> Option<(&str, &str)> {
        self.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// The value of the header Proxy-Authorization.
    pub(in crate::sink) fn authorization(&self) -> Option<String> {
        let (user, password) = self.login()?;
        Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))))
    }

    /// Asks for a tunnel to `server` over a connection to this proxy.
    pub(super) async fn tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        server: &HostPort,
    ) -> Result<(), DeliveryError> {
        let login = self.authorization().map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!(
            "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: podtap/{}\r\n{}: {}\r\n{login}\r\n",
            env!("CARGO_PKG_VERSION"),
            Nonce::NAME,
            nonce().value(),
        );
        stream.write_all(request.as_bytes()).await.map_err(DeliveryError::of_io)?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read_buf(&mut answer).await.map_err(DeliveryError::of_io)?;
            if read == 0 || answer.len() > MAX_ANSWER {
                return Err(judged(&answer).err().unwrap_or_else(nonsense));
            }
        }
        judged(&answer)
    }
}

/// What an answer to CONNECT means. A tunnel is silent until we speak.
fn judged(answer: &[u8]) -> Result<(), DeliveryError> {
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).map(String::from_utf8_lossy);
    let Some(status) = status.and_then(|text| text.parse::<u16>().ok()) else { return Err(nonsense()) };
    let advice = match status {
        200..=299 if answer.ends_with(b"\r\n\r\n") => return Ok(()),
        200..=299 => return Err(nonsense()),
        407 => "; HTTPS_PROXY takes http://user:password@host:port",
        _ => "; see HTTPS_PROXY and NO_PROXY",
    };
    let reason = FailureReason::of_http_status(status);
    Err(DeliveryError::new(reason, format!("answered {status} to a request for a tunnel{advice}")))
}

fn nonsense() -> DeliveryError {
    let what = "gave no answer of HTTP to a request for a tunnel: is HTTPS_PROXY a proxy?";
    DeliveryError::new(FailureReason::Protocol, what)
}

/// Percent-decoding of what a URL says about user and password.
pub(in crate::sink) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Without its password.
impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}{})", self.host, if self.login.is_some() { ", …" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(direct: &str) -> ProxySettings {
        let direct: Vec<_> = direct.split(',').map(str::to_owned).collect();
        ProxySettings::new(Some("clear:1"), Some("http://me:p%40ss@safe:2/"), &direct).unwrap()
    }

    #[test]
    fn each_kind_of_server_has_its_proxy_and_this_machine_none() {
        let proxies = proxies("");
        let to = |host: &str, encrypted| {
            proxies.to(&HostPort::parse(host, 9200).unwrap(), encrypted).map(ToString::to_string)
        };
        assert_eq!(to("es", false).as_deref(), Some("clear:1"));
        assert_eq!(to("es", true).as_deref(), Some("safe:2"));
        for here in ["localhost", "LOCALHOST.", "es.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!((to(here, false), to(here, true)), (None, None), "{here}");
        }
        let only = ProxySettings::new(None, Some("safe"), &[]).unwrap();
        assert_eq!(only.to(&HostPort { host: "es".into(), port: 1 }, false), None);
        assert_eq!(only.to(&HostPort { host: "es".into(), port: 1 }, true).unwrap().host.port, 80);
    }

    #[test]
    fn no_proxy_names_hosts_domains_addresses_networks_and_ports() {
        for (direct, host, is_direct) in [
            ("*", "es", true),
            ("", "es", false),
            ("es", "es", true),
            ("ES.", "es", true),
            ("es", "other-es", false),
            ("es", "a.es", true),
            (".svc.cluster.local", "es.logging.svc.cluster.local", true),
            ("*.svc.cluster.local", "es.logging.svc.cluster.local.", true),
            ("cluster.local", "mycluster.local", false),
            ("a,b c", "c", true),
            ("es:9200", "es:9200", true),
            ("es:9200", "es:9201", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "es", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "::ffff:10.1.2.3", true),
            ("10.1.2.3:9", "10.1.2.3:9", true),
            ("10.1.2.3:9", "10.1.2.3:8", false),
            ("[fd00::1]:9", "[fd00::1]:9", true),
            ("fd00::/8", "fd00::1", true),
            ("fd00::1", "fd00::2", false),
            ("10.0.0.0/99,:,//,[", "es", false),
        ] {
            let server = HostPort::parse(host, 9200).unwrap();
            assert_eq!(proxies(direct).to(&server, true).is_none(), is_direct, "{direct}: {host}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_or_a_url_and_its_password_is_not_shown() {
        let proxy = HttpProxy::parse("http://me:hunter%3A2@proxy:3128").unwrap();
        assert_eq!((proxy.to_string(), proxy.login()), ("proxy:3128".to_owned(), Some(("me", "hunter:2"))));
        assert_eq!(proxy.authorization().unwrap(), "Basic bWU6aHVudGVyOjI=");
        assert!(!format!("{proxy:?}").contains("hunter"));
        for wrong in ["https://me:hunter2@proxy", "socks5://hunter2@proxy:1", "http://", "http://me:hunter2@", "a:b:c"]
        {
            let why = ProxySettings::new(Some(wrong), None, &[]).unwrap_err().to_string();
            assert!(why.starts_with("HTTP_PROXY: ") && !why.contains("hunter2"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_tunnel_is_there_when_the_proxy_says_so_and_nothing_more() {
        let proxy = HttpProxy::parse("me:pw@proxy").unwrap();
        let server = HostPort { host: "es".into(), port: 9243 };
        let huge = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; MAX_ANSWER], b"\r\n\r\n"].concat();
        for (answer, expected) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], None),
            (b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n", None),
            (b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n", Some((FailureReason::Auth, "user:password"))),
            (b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", Some((FailureReason::Forbidden, "answered 403"))),
            (b"HTTP/1.1 502 Bad\r\n", Some((FailureReason::Server, "answered 502"))),
            (b"HTTP/1.1 200 OK\r\n\r\nmore", Some((FailureReason::Protocol, "no answer of HTTP"))),
            (b"HTTP/1.1 200 OK\r\n", Some((FailureReason::Protocol, "no answer of HTTP"))),
            (b"SSH-2.0-x\r\n\r\n", Some((FailureReason::Protocol, "no answer of HTTP"))),
            (b"", Some((FailureReason::Protocol, "no answer of HTTP"))),
            (&huge, Some((FailureReason::Protocol, "no answer of HTTP"))),
        ] {
            let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
            let script = async {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    theirs.read_buf(&mut asked).await.unwrap();
                }
                theirs.write_all(answer).await.unwrap();
                drop(theirs);
                String::from_utf8(asked).unwrap()
            };
            let (outcome, asked) = tokio::join!(proxy.tunnel(&mut ours, &server), script);
            assert!(asked.starts_with("CONNECT es:9243 HTTP/1.1\r\nHost: es:9243\r\n"), "{asked}");
            assert!(asked.contains("\r\nProxy-Authorization: Basic bWU6cHc=\r\n"), "{asked}");
            assert!(asked.contains(&format!("\r\n{}: {}\r\n", Nonce::NAME, nonce().value())), "{asked}");
            let error = outcome.err();
            assert_eq!(error.as_ref().map(DeliveryError::reason), expected.map(|(reason, _)| reason), "{error:?}");
            if let (Some(error), Some((_, words))) = (error, expected) {
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
}
