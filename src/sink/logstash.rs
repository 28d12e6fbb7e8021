//! Logstash, in four ways (LOGSTASH_TYPE): its `beats`, `http`, `tcp` and `udp` inputs, and whatever speaks the same. Owns
//! what they have in common; each transport says for itself when a record counts as delivered. Encodes nothing: bodies
//! are JSON lines, and go out as they are.
//!
//! | transport | delivered is | after a fault |
//! |---|---|---|
//! | beats | acknowledged by the server | what was not acknowledged goes again |
//! | http | answered with 2xx | the request goes again |
//! | tcp | acknowledged by the server's kernel | the batch goes again; what the kernel took may be lost |
//! | udp | sent | no one knows |

mod beats;
mod foreign;
mod http;
mod kernel;
pub mod lumberjack;
mod tcp;
mod udp;

use std::fmt;
use std::time::Duration;

use self::beats::Beats;
use self::http::Http;
use self::tcp::Tcp;
pub use self::udp::MAX_DATAGRAM;
use self::udp::Udp;
pub use super::connect::HostCheck;
use super::connect::{Connector, OnSocket};
use super::{Batch, Delivery, Sink, SinkError};
use crate::settings::SettingFault;

/// How long `check` listens to a server that may have nothing to say.
const CHECK_PATIENCE: Duration = Duration::from_millis(500);

/// LOGSTASH_TYPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// JSON lines over TCP.
    #[default]
    Tcp,
    /// One datagram a record.
    Udp,
    /// Lumberjack v2.
    Beats,
    /// POST requests.
    Http,
}

impl Transport {
    /// LOGSTASH_PORT, if it is not set.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Beats => 5044,
            Self::Tcp | Self::Udp | Self::Http => 5000,
        }
    }
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpBody {
    /// One JSON array of all records (`application/json`): Logstash makes an event of each.
    #[default]
    Array,
    /// A record a line (`application/x-ndjson`).
    Lines,
}

/// LOGSTASH_USERNAME and LOGSTASH_PASSWORD.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// May not hold a colon (RFC 7617 §2).
    pub username: String,
    /// Anything.
    pub password: String,
}

/// The password is not printed.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, …)", self.username)
    }
}

/// LOGSTASH_…
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogstashOptions {
    /// LOGSTASH_TYPE.
    pub transport: Transport,
    /// LOGSTASH_COMPRESS, of beats (zlib) and http (gzip).
    pub compress: bool,
    /// LOGSTASH_PATH, of http.
    pub path: String,
    /// Of http.
    pub body: HttpBody,
    /// Of http: basic authentication.
    pub login: Option<Login>,
    /// LOGSTASH_TIMEOUT: how long to wait for an answer, and for a server that takes not one byte.
    pub timeout: Duration,
    /// Of udp: bytes of the largest record; larger ones are rejected.
    pub max_datagram: usize,
    /// Of udp: told of every socket.
    pub on_datagrams: Option<OnSocket>,
}

impl Default for LogstashOptions {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            compress: false,
            path: "/".to_owned(),
            body: HttpBody::default(),
            login: None,
            timeout: Duration::from_secs(10),
            max_datagram: MAX_DATAGRAM,
            on_datagrams: None,
        }
    }
}

/// The logstash sink. Bodies are JSON objects, each with a newline behind it.
#[derive(Debug)]
pub struct Logstash(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(Box<Tcp>),
    Udp(Box<Udp>),
    Beats(Box<Beats>),
    Http(Box<Http>),
}

impl Logstash {
    /// To the hosts of `connector`. Says which setting cannot be used.
    pub fn new(connector: Connector, options: LogstashOptions) -> Result<Self, SettingFault> {
        Ok(Self(match options.transport {
            Transport::Tcp => Kind::Tcp(Box::new(Tcp::new(connector, options))),
            Transport::Beats => Kind::Beats(Box::new(Beats::new(connector, options))),
            Transport::Http => Kind::Http(Box::new(Http::new(connector, options)?)),
            Transport::Udp if connector.is_tls() => {
                return Err(SettingFault::new(
                    "LOGSTASH_TLS",
                    "datagrams cannot be encrypted; use another LOGSTASH_TYPE",
                ));
            }
            Transport::Udp => Kind::Udp(Box::new(Udp::new(connector.hosts().to_vec(), connector.beginning(), options))),
        }))
    }

    /// Has the credentials of http read again for every connection: they are renewed under a running program.
    #[must_use]
    pub fn with_login_of(mut self, read: impl Fn() -> Option<Login> + Send + Sync + 'static) -> Self {
        if let Kind::Http(http) = &mut self.0 {
            http.renew_with(read);
        }
        self
    }

    /// Tries every host: connection, TLS, and as much of an answer as the transport knows. Leaves no record there.
    pub async fn check(&mut self) -> Vec<HostCheck> {
        let hosts = match &mut self.0 {
            Kind::Udp(udp) => udp.hosts().to_vec(),
            Kind::Tcp(tcp) => tcp.connector().hosts().to_vec(),
            Kind::Beats(beats) => beats.connector().hosts().to_vec(),
            Kind::Http(http) => http.connector().hosts().to_vec(),
        };
        let mut checks = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let mut steps = Vec::new();
            let outcome = match &self.0 {
                Kind::Udp(udp) => udp.check(host, &mut steps).await,
                Kind::Tcp(_) | Kind::Beats(_) | Kind::Http(_) => self.check_connected(index, &mut steps).await,
            };
            checks.push(HostCheck { host: host.to_string(), steps, fault: outcome.err() });
        }
        checks
    }

    async fn check_connected(&mut self, index: usize, steps: &mut Vec<String>) -> Result<(), String> {
        let connector = match &mut self.0 {
            Kind::Udp(_) => return Ok(()),
            Kind::Tcp(tcp) => tcp.connector(),
            Kind::Beats(beats) => beats.connector(),
            Kind::Http(http) => http.connector(),
        };
        let connected = connector.connect_to(index).await?;
        steps.push(format!("connected to {}, {}", connected.peer, connected.stream.security()));
        match &mut self.0 {
            Kind::Udp(_) => Ok(()),
            Kind::Tcp(tcp) => tcp.check(connected, steps).await,
            Kind::Beats(beats) => beats.check(connected, steps).await,
            Kind::Http(http) => http.check(connected, steps).await,
        }
    }
}

impl Sink for Logstash {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        match &mut self.0 {
            Kind::Tcp(tcp) => tcp.deliver(batch).await,
            Kind::Udp(udp) => udp.deliver(batch).await,
            Kind::Beats(beats) => beats.deliver(batch).await,
            Kind::Http(http) => http.deliver(batch).await,
        }
    }

    /// The next batch goes over a new connection, with certificates read again.
    fn reload(&mut self) {
        match &mut self.0 {
            Kind::Tcp(tcp) => tcp.reload(),
            Kind::Udp(udp) => udp.reload(),
            Kind::Beats(beats) => beats.reload(),
            Kind::Http(http) => http.reload(),
        }
    }
}

#[cfg(test)]
mod tests;
