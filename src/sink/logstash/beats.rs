//! To a `beats` input, acknowledged. Owns when a record counts as delivered: when the server has acknowledged it, neither
//! earlier nor otherwise. The bytes are `lumberjack`'s.
//!
//! A batch goes window by window. While a window is written the server is listened to. One that holds us up says with
//! keep-alive acknowledgements that it is still at work, and then has all the time it needs. After a fault the
//! connection is thrown away, the next host's turn comes, and only what was not acknowledged goes again.

use std::io::IoSlice;
use std::time::Duration;

use tokio::time::Instant;

use super::super::connect::wire::{ByteWire, ROOM, WireFault, WireStep};
use super::super::connect::{Connector, Late, Patience, ServerConnection};
use super::super::{Batch, Delivery, DeliveryError, FailureReason, SinkError};
use super::lumberjack::{WindowAcks, WindowEncoder};
use super::{CHECK_PATIENCE, LogstashOptions};

const ACK: &str = "acknowledgement";
/// Longer than anybody listens.
const LATE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct BeatsTransport {
    connector: Connector,
    options: LogstashOptions,
    encoder: WindowEncoder,
    wire: Option<ByteWire>,
    patience: Patience,
    late: Late,
}

impl BeatsTransport {
    pub(super) fn new(connector: Connector, options: LogstashOptions) -> Self {
        let encoder = WindowEncoder::new(options.compress);
        let patience = Patience::new(options.timeout);
        Self { connector, options, encoder, wire: None, patience, late: Late::default() }
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        &mut self.connector
    }

    /// A batch that was sent over an earlier connection counts as delivered as soon as that acknowledges it.
    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let mut late = std::mem::take(&mut self.late);
        late.about(|| batch.id());
        let (mut wire, sent) = tokio::select! {
            biased;
            () = late.acknowledged() => {
                tracing::debug!(sink = "logstash", "acknowledged late, over an earlier connection");
                return Ok(Delivery::default());
            }
            sent = self.send(batch) => match sent {
                Ok(sent) => sent,
                Err(error) => {
                    self.late = late;
                    return Err(error);
                }
            },
        };
        let Some(fault) = sent.fault else {
            self.wire = Some(wire);
            return Ok(Delivery::default());
        };
        self.connector.failed();
        let (done, error) = (sent.done, fault.at(wire.host()));
        if fault.is_late() && sent.was_whole {
            self.patience.was_too_short();
            let (id, mut acks) = (batch.range(done, batch.records()).id(), sent.acks);
            late.listen(id, async move {
                let mut nothing: &[u8] = &[];
                exchange(&mut wire, &mut nothing, &mut acks, LATE).await.is_ok()
            });
        }
        self.late = late;
        if done == 0 {
            return Err(SinkError::Transient(error));
        }
        tracing::debug!(sink = "logstash", acknowledged = done, of = batch.records(), %error, "a part was acknowledged");
        Ok(Delivery { retry: (done..batch.records()).collect(), cause: Some(error), ..Delivery::default() })
    }

    pub(super) fn reload(&mut self) {
        self.wire = None;
    }

    /// The connection in use, if it is still good, else a new one.
    async fn open(&mut self) -> Result<ByteWire, SinkError> {
        let outdated = self.connector.is_outdated();
        if let Some(mut wire) = self.wire.take() {
            match at_rest(&mut wire).await {
                Ok(()) if outdated => wire.close().await,
                Ok(()) => return Ok(wire),
                Err(why) => tracing::debug!(sink = "logstash", %why, "connection lost; reconnecting"),
            }
        }
        let connected = self.connector.connect().await?;
        Ok(ByteWire::new(connected, self.options.timeout))
    }

    /// The connection, and what came of the batch on it.
    async fn send(&mut self, batch: &Batch) -> Result<(ByteWire, SentWindow), SinkError> {
        let mut wire = self.open().await?;
        let mut sent = SentWindow::default();
        while sent.done < batch.records() {
            let done = sent.done;
            let rest = batch.range(done, batch.records());
            let window = rest.range(0, WindowEncoder::fitting(&rest));
            let bytes = self.encoder.window(&window).map_err(unpackable)?;
            sent.acks = WindowAcks::new(window.records());
            let (mut out, begun) = (bytes, Instant::now());
            let outcome = exchange(&mut wire, &mut out, &mut sent.acks, self.patience.limit()).await;
            sent.done += sent.acks.acknowledged();
            if let Err(fault) = outcome {
                sent.was_whole = out.is_empty() && window.records() == rest.records();
                sent.fault = Some(fault);
                break;
            }
            self.patience.was_enough(begun.elapsed());
        }
        Ok((wire, sent))
    }

    /// There is no handshake, and an event would end up in somebody's index. Logstash acknowledges an empty window.
    /// Others do not. On a wrong frame any lumberjack server closes the connection; a server of another kind is silent
    /// or says what it is.
    pub(super) async fn check(&self, connected: ServerConnection, steps: &mut Vec<String>) -> Result<(), String> {
        let mut wire = ByteWire::new(connected, self.options.timeout);
        let answer = match probe(&mut wire, b"2W\0\0\0\0").await {
            Err(WireFault::Late(..)) => probe(&mut wire, b"2W\0\0\0\x012?").await,
            Ok(()) => {
                steps.push("acknowledged an empty window".to_owned());
                return Ok(());
            }
            Err(fault) => return Err(fault.to_string()),
        };
        match answer {
            Err(WireFault::Late(..)) => {
                Err("the server is silent where a beats input closes the connection (on a wrong \
                                         frame): is it LOGSTASH_TYPE=tcp?"
                    .to_owned())
            }
            Err(WireFault::Io(_) | WireFault::Closed(_)) => {
                steps.push("closed the connection on a wrong frame, as a beats input does".to_owned());
                Ok(())
            }
            Err(WireFault::Foreign(what)) => Err(what),
            Ok(()) => Err("the server acknowledged a wrong frame".to_owned()),
        }
    }
}

fn unpackable(error: std::io::Error) -> SinkError {
    DeliveryError::new(FailureReason::TooLarge, error.to_string()).with_source(error).into()
}

/// Sends a few bytes and waits a moment for an acknowledgement.
async fn probe(wire: &mut ByteWire, bytes: &[u8]) -> Result<(), WireFault> {
    let (mut out, mut room, mut acks) = (bytes, [0; ROOM], WindowAcks::new(0));
    loop {
        match wire.step_within(&[IoSlice::new(out)], &mut room, ACK, CHECK_PATIENCE).await? {
            WireStep::Wrote(n) => out = out.get(n..).unwrap_or_default(),
            WireStep::Flushed => {}
            WireStep::Read(n) => {
                let said = room.get(..n).unwrap_or_default();
                acks.feed(said).map_err(|nonsense| WireFault::Foreign(nonsense.to_string()))?;
                if acks.is_complete() {
                    return Ok(());
                }
            }
        }
    }
}

/// What came of a batch.
#[derive(Debug, Default)]
struct SentWindow {
    /// Leading records that were acknowledged.
    done: usize,
    /// Why not all.
    fault: Option<WireFault>,
    /// All of it was sent.
    was_whole: bool,
    /// Of the last window.
    acks: WindowAcks,
}

/// Sends the rest of a window and waits until all of it is acknowledged; what is sent, `patience` for the next sign of life.
async fn exchange(
    wire: &mut ByteWire,
    out: &mut &[u8],
    acks: &mut WindowAcks,
    patience: Duration,
) -> Result<(), WireFault> {
    let mut room = [0; ROOM];
    while !out.is_empty() || !acks.is_complete() {
        let patience = if out.is_empty() && wire.is_flushed() { patience } else { wire.patience() };
        match wire.step_within(&[IoSlice::new(out)], &mut room, ACK, patience).await? {
            WireStep::Wrote(n) => *out = out.get(n..).unwrap_or_default(),
            WireStep::Flushed => {}
            WireStep::Read(n) => {
                let said = room.get(..n).unwrap_or_default();
                acks.feed(said).map_err(|nonsense| WireFault::Foreign(nonsense.to_string()))?;
                if acks.is_all() && !out.is_empty() {
                    *acks = WindowAcks::default();
                    return Err(WireFault::Foreign(
                        "the server acknowledged records that it has not got yet".to_owned(),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether nothing but keep-alives came since the last acknowledgement: a number from then would be taken for one of the
/// next window's.
async fn at_rest(wire: &mut ByteWire) -> Result<(), WireFault> {
    let mut room = [0; ROOM];
    let mut acks = WindowAcks::new(0);
    loop {
        match wire.peek(&mut room).await? {
            None if acks.is_complete() => return Ok(()),
            None => return Err(WireFault::Closed("a whole acknowledgement")),
            Some(0) => return Err(WireFault::Closed("nothing")),
            Some(n) => {
                let said = room.get(..n).unwrap_or_default();
                acks.feed(said).map_err(|nonsense| WireFault::Foreign(nonsense.to_string()))?;
            }
        }
    }
}
