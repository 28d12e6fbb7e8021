//! Fluentd's forward protocol v1: to Fluentd, Fluent Bit, Vector, the OpenTelemetry collector. Owns when a batch counts as
//! delivered; bytes are made and read in `protocol`, sockets used in `link`.
//!
//! A batch is one PackedForward (or CompressedPackedForward) message whose `chunk` is the batch's id. The same records again carry the same
//! chunk, so a server that removes duplicates can. With FLUENTD_ACK (the default) a batch is delivered when its chunk was acknowledged,
//! also late and over an earlier connection. Anything else (no acknowledgement in time, another one, an end of the connection, nonsense)
//! ends the connection. The next host's turn comes, and the whole batch goes again. Nothing is lost; at most the batch in flight arrives
//! twice. No one is refused for good either. A wrong key or certificate gets repaired on one side or the other, and the records wait for
//! that as long as the queue has room. The worker's backoff keeps the attempts rare.
//!
//! Without FLUENTD_ACK a batch counts as delivered when the kernel has taken it. What the server had not read when it
//! died is lost, and no one can know.
//!
//! One connection, kept alive between batches if the server allows it; no heartbeat. `deliver` takes the connection out
//! of the sink and puts it back only when it is at rest. So a future that is dropped at any await closes it.

mod link;
mod msgpack;
pub mod protocol;
mod tag;

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use self::link::{FluentdLink, LinkFault, Welcome};
use self::protocol::{BatchPacker, TooLarge};
pub use self::protocol::{ForwardCompression, ForwardCredentials};
pub use self::tag::expand_tag;
pub use super::connect::HostCheck;
use super::connect::{Connector, Late, Patience, ServerConnection};
use super::{Batch, Delivery, DeliveryError, FailureReason, RejectedRecord, Sink, SinkError};

/// How long `check` waits for a server to ask for a key where we have none, and how long a connection without
/// acknowledgements does. Such a server takes our records and throws them away without a word.
const HELO_PATIENCE: Duration = Duration::from_millis(250);

/// Longer than anybody listens.
const LATE: Duration = Duration::from_secs(24 * 3600);

/// FLUENTD_…
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluentdOptions {
    /// FLUENTD_TAG, its placeholders replaced (`expand_tag`).
    pub tag: String,
    /// FLUENTD_ACK.
    pub ack: bool,
    /// FLUENTD_COMPRESS.
    pub compress: ForwardCompression,
    /// FLUENTD_SHARED_KEY, FLUENTD_USERNAME and FLUENTD_PASSWORD; `None`: no handshake.
    pub credentials: Option<ForwardCredentials>,
    /// What to call ourselves in the handshake: the pod's or host's name. Must not be the server's.
    pub hostname: String,
    /// FLUENTD_TIMEOUT: how long to wait for an answer, and for a server that takes not one byte.
    pub timeout: Duration,
}

impl Default for FluentdOptions {
    fn default() -> Self {
        Self {
            tag: "k8s-internal-networking".to_owned(),
            ack: true,
            compress: ForwardCompression::None,
            credentials: None,
            hostname: "podtap".to_owned(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// The fluentd sink. Bodies are msgpack maps (`format::msgpack`).
#[derive(Debug)]
pub struct FluentdSink {
    connector: Connector,
    options: FluentdOptions,
    packer: BatchPacker,
    link: Option<FluentdLink>,
    reopen: bool,
    renewal: Option<CredentialRenewal>,
    patience: Patience,
    late: Late,
}

/// Where credentials are read again.
struct CredentialRenewal(Box<dyn Fn() -> Option<ForwardCredentials> + Send + Sync>);

impl fmt::Debug for CredentialRenewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal(…)")
    }
}

impl FluentdSink {
    /// To the hosts of `connector`.
    pub fn new(connector: Connector, options: FluentdOptions) -> Self {
        let packer = BatchPacker::new(&options.tag, options.compress);
        let patience = Patience::new(options.timeout);
        Self { connector, options, packer, link: None, reopen: false, renewal: None, patience, late: Late::default() }
    }

    /// Has credentials read again for every connection: they are renewed under a running program.
    #[must_use]
    pub fn with_credentials_of(
        mut self,
        read: impl Fn() -> Option<ForwardCredentials> + Send + Sync + 'static,
    ) -> Self {
        self.renewal = Some(CredentialRenewal(Box::new(read)));
        self
    }

    /// Tries every host: connection, TLS, handshake, and an empty chunk where it would be acknowledged.
    pub async fn check(&mut self) -> Vec<HostCheck> {
        let mut checks = Vec::new();
        for index in 0..self.connector.hosts().len() {
            let host = self.connector.hosts().get(index).map(ToString::to_string).unwrap_or_default();
            let mut steps = Vec::new();
            let fault = self.check_host(index, &mut steps).await.err();
            // Errors name their host, for logs; here it is in front anyway.
            let fault = fault.map(|why| why.strip_prefix(&format!("{host}: ")).map(str::to_owned).unwrap_or(why));
            checks.push(HostCheck { host, steps, fault });
        }
        checks
    }

    async fn check_host(&mut self, index: usize, steps: &mut Vec<String>) -> Result<(), String> {
        let connected = self.connector.connect_to(index).await?;
        steps.push(format!("connected to {}, {}", connected.peer, connected.stream.security()));
        let mut link = self.greet(connected, true, Some(steps)).await?;
        if !self.options.ack {
            return Ok(());
        }
        let batch = Batch::default();
        let packed = self.packer.pack(&batch, Some("podtap-check")).map_err(|error| error.to_string())?;
        let words = |fault: LinkFault| format!("an empty chunk was sent: {fault}");
        link.send(packed.message).await.map_err(words)?;
        link.acknowledged("podtap-check", self.options.timeout).await.map_err(words)?;
        steps.push("acknowledged an empty chunk".to_owned());
        Ok(())
    }

    /// The connection in use, if it is still good, else a new one.
    async fn open(&mut self) -> Result<FluentdLink, DeliveryError> {
        let outdated = self.connector.is_outdated();
        if let Some(mut link) = self.link.take() {
            match link.is_at_rest().await {
                _ if self.reopen || outdated => link.close().await,
                Ok(()) => return Ok(link),
                Err(why) => tracing::debug!(sink = "fluentd", why = %why, "connection lost; reconnecting"),
            }
        }
        self.reopen = false;
        let connected = self.connector.connect().await?;
        if let Some(renewal) = &self.renewal {
            self.options.credentials = (renewal.0)();
        }
        let opened = self.greet(connected, !self.options.ack, None).await;
        if opened.is_err() {
            self.connector.failed();
        }
        opened
    }

    /// The handshake where we have credentials; else, if `listen`, a moment in which the server may ask for them.
    async fn greet(
        &self,
        connected: ServerConnection,
        listen: bool,
        steps: Option<&mut Vec<String>>,
    ) -> Result<FluentdLink, DeliveryError> {
        let host = connected.host.clone();
        let mut link = FluentdLink::new(connected, self.options.timeout);
        let welcome = match &self.options.credentials {
            Some(credentials) => link.handshake(credentials, &self.options.hostname).await,
            None if listen => link.listen(HELO_PATIENCE).await,
            None => Ok(Welcome::Silent),
        };
        let welcome = welcome.map_err(|fault| fault.at(&host))?;
        if let Some(steps) = steps {
            steps.push(welcome.to_string());
        }
        Ok(link)
    }
}

impl Sink for FluentdSink {
    /// A chunk that was sent over an earlier connection counts as delivered as soon as that acknowledges it.
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let chunk = self.options.ack.then(|| batch.id());
        let mut late = std::mem::take(&mut self.late);
        late.about(|| chunk.clone().unwrap_or_default());
        let outcome = tokio::select! {
            biased;
            () = late.acknowledged() => {
                tracing::debug!(sink = "fluentd", "acknowledged late, over an earlier connection");
                return Ok(Delivery::default());
            }
            outcome = self.send(batch, chunk.as_deref()) => outcome,
        };
        match outcome {
            Ok(delivery) => Ok(delivery),
            Err((error, link)) => {
                if let (Some(mut link), Some(chunk)) = (link, chunk) {
                    let name = chunk.clone();
                    late.listen(chunk, async move { link.acknowledged(&name, LATE).await.is_ok() });
                }
                self.late = late;
                Err(error)
            }
        }
    }

    /// The next batch goes over a new connection, with certificates read again.
    fn reload(&mut self) {
        self.reopen = true;
    }
}

impl FluentdSink {
    /// Sends a batch over the connection in use. The error comes with the connection, where all was sent over it and only
    /// the acknowledgement is missing.
    async fn send(&mut self, batch: &Batch, chunk: Option<&str>) -> Result<Delivery, (SinkError, Option<FluentdLink>)> {
        let mut link = self.open().await.map_err(|error| (error.into(), None))?;
        let packed = self.packer.pack(batch, chunk).map_err(|error| (unpackable(error), None))?;
        let delivery =
            Delivery { rejected: packed.rejected.into_iter().map(not_a_map).collect(), ..Delivery::default() };
        if packed.records > 0 {
            if let Err(fault) = link.send(packed.message).await {
                return Err(self.failed(fault, link, false));
            }
            let sent = Instant::now();
            if let Some(chunk) = chunk {
                if let Err(fault) = link.acknowledged(chunk, self.patience.limit()).await {
                    return Err(self.failed(fault, link, true));
                }
                self.patience.was_enough(sent.elapsed());
            }
        }
        match link.may_stay_open() {
            true => self.link = Some(link),
            false => link.close().await,
        }
        Ok(delivery)
    }

    fn failed(&mut self, fault: LinkFault, link: FluentdLink, was_sent: bool) -> (SinkError, Option<FluentdLink>) {
        self.connector.failed();
        let error = SinkError::Transient(fault.at(link.host()));
        let is_slow = was_sent && fault.is_late();
        if is_slow {
            self.patience.was_too_short();
        }
        (error, is_slow.then_some(link))
    }
}

fn unpackable(error: TooLarge) -> SinkError {
    DeliveryError::new(FailureReason::TooLarge, error.to_string()).with_source(error).into()
}

fn not_a_map(index: usize) -> RejectedRecord {
    RejectedRecord { index, reason: "not encoded as a msgpack map".to_owned() }
}

#[cfg(test)]
mod tests;
