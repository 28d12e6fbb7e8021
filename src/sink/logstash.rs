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

use self::beats::BeatsTransport;
use self::http::HttpTransport;
use self::tcp::TcpTransport;
pub use self::udp::MAX_DATAGRAM;
use self::udp::UdpTransport;
pub use super::connect::HostCheck;
use super::connect::{Connector, OnSocket};
use super::{Batch, Delivery, Sink, SinkError};
use crate::settings::SettingFault;

/// How long `check` listens to a server that may have nothing to say.
const CHECK_PATIENCE: Duration = Duration::from_millis(500);

/// LOGSTASH_TYPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogstashTransport {
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

impl LogstashTransport {
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
pub struct LogstashLogin {
    /// May not hold a colon (RFC 7617 §2).
    pub username: String,
    /// Anything.
    pub password: String,
}

/// The password is not printed.
impl fmt::Debug for LogstashLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?}, …)", self.username)
    }
}

/// LOGSTASH_…
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogstashOptions {
    /// LOGSTASH_TYPE.
    pub transport: LogstashTransport,
    /// LOGSTASH_COMPRESS, of beats (zlib) and http (gzip).
    pub compress: bool,
    /// LOGSTASH_PATH, of http.
    pub path: String,
    /// Of http.
    pub body: HttpBody,
    /// Of http: basic authentication.
    pub login: Option<LogstashLogin>,
    /// LOGSTASH_TIMEOUT: how long to wait for an answer, and for a server that takes not one byte.
    pub timeout: Duration,
    /// Of udp: bytes of the largest record; larger ones are rejected.
    pub max_datagram: usize,
    /// Of udp: hears of every socket.
    pub on_datagrams: Option<OnSocket>,
}

impl Default for LogstashOptions {
    fn default() -> Self {
        Self {
            transport: LogstashTransport::default(),
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
pub struct LogstashSink(LogstashKind);

#[derive(Debug)]
enum LogstashKind {
    Tcp(Box<TcpTransport>),
    Udp(Box<UdpTransport>),
    Beats(Box<BeatsTransport>),
    Http(Box<HttpTransport>),
}

impl LogstashSink {
    /// To the hosts of `connector`. Says which setting cannot be used.
    pub fn new(connector: Connector, options: LogstashOptions) -> Result<Self, SettingFault> {
        Ok(Self(match options.transport {
            LogstashTransport::Tcp => LogstashKind::Tcp(Box::new(TcpTransport::new(connector, options))),
            LogstashTransport::Beats => LogstashKind::Beats(Box::new(BeatsTransport::new(connector, options))),
            LogstashTransport::Http => LogstashKind::Http(Box::new(HttpTransport::new(connector, options)?)),
            LogstashTransport::Udp if connector.is_tls() => {
                return Err(SettingFault::new(
                    "LOGSTASH_TLS",
                    "datagrams cannot be encrypted; use another LOGSTASH_TYPE",
                ));
            }
            LogstashTransport::Udp => LogstashKind::Udp(Box::new(UdpTransport::new(
                connector.hosts().to_vec(),
                connector.beginning(),
                options,
            ))),
        }))
    }

    /// Has the credentials of http read again for every connection: they are renewed under a running program.
    #[must_use]
    pub fn with_login_of(mut self, read: impl Fn() -> Option<LogstashLogin> + Send + Sync + 'static) -> Self {
        if let LogstashKind::Http(http) = &mut self.0 {
            http.renew_with(read);
        }
        self
    }

    /// Tries every host: connection, TLS, and as much of an answer as the transport knows. Leaves no record there.
    pub async fn check(&mut self) -> Vec<HostCheck> {
        let hosts = match &mut self.0 {
            LogstashKind::Udp(udp) => udp.hosts().to_vec(),
            LogstashKind::Tcp(tcp) => tcp.connector().hosts().to_vec(),
            LogstashKind::Beats(beats) => beats.connector().hosts().to_vec(),
            LogstashKind::Http(http) => http.connector().hosts().to_vec(),
        };
        let mut checks = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let mut steps = Vec::new();
            let outcome = match &self.0 {
                LogstashKind::Udp(udp) => udp.check(host, &mut steps).await,
                LogstashKind::Tcp(_) | LogstashKind::Beats(_) | LogstashKind::Http(_) => {
                    self.check_connected(index, &mut steps).await
                }
            };
            checks.push(HostCheck { host: host.to_string(), steps, fault: outcome.err() });
        }
        checks
    }

    async fn check_connected(&mut self, index: usize, steps: &mut Vec<String>) -> Result<(), String> {
        let connector = match &mut self.0 {
            LogstashKind::Udp(_) => return Ok(()),
            LogstashKind::Tcp(tcp) => tcp.connector(),
            LogstashKind::Beats(beats) => beats.connector(),
            LogstashKind::Http(http) => http.connector(),
        };
        let connected = connector.connect_to(index).await?;
        steps.push(format!("connected to {}, {}", connected.peer, connected.stream.security()));
        match &mut self.0 {
            LogstashKind::Udp(_) => Ok(()),
            LogstashKind::Tcp(tcp) => tcp.check(connected, steps).await,
            LogstashKind::Beats(beats) => beats.check(connected, steps).await,
            LogstashKind::Http(http) => http.check(connected, steps).await,
        }
    }
}

impl Sink for LogstashSink {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        match &mut self.0 {
            LogstashKind::Tcp(tcp) => tcp.deliver(batch).await,
            LogstashKind::Udp(udp) => udp.deliver(batch).await,
            LogstashKind::Beats(beats) => beats.deliver(batch).await,
            LogstashKind::Http(http) => http.deliver(batch).await,
        }
    }

    /// The next batch goes over a new connection, with certificates read again.
    fn reload(&mut self) {
        match &mut self.0 {
            LogstashKind::Tcp(tcp) => tcp.reload(),
            LogstashKind::Udp(udp) => udp.reload(),
            LogstashKind::Beats(beats) => beats.reload(),
            LogstashKind::Http(http) => http.reload(),
        }
    }
}

#[cfg(test)]
mod tests;
