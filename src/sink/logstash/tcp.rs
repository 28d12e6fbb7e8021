//! To a `tcp` input: JSON lines, without acknowledgement. Owns what can be known about their arrival nevertheless.
//!
//! A batch counts as delivered when the other side's *kernel* has acknowledged its last byte. Whatever happens before
//! that, all of it goes again over another connection. What the kernel took and the program behind it never read is
//! lost when that program dies. That is at most its receive buffer, and no one can know how much. Two signs are heeded:
//! - an end of the connection is noticed before the next batch is given to it;
//! - a connection that was *reset* had unread bytes (RFC 2525 §2.17): the batch delivered last goes again, if that was
//!   within the timeout.
//!
//! A server that does not read exerts back pressure (Logstash whose own outputs are still). With one host we wait as long
//! as its kernel is alive, for a new connection would only have another buffer to lose. With several the next host's turn
//! comes after the timeout.

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tokio::time::Instant;

use super::super::connect::wire::{ByteWire, ROOM, WireFault, WireStep};
use super::super::connect::{Connector, ServerConnection, ServerStream};
use super::super::{Batch, Delivery, SinkError};
use super::foreign::foreign;
use super::{CHECK_PATIENCE, LogstashOptions, kernel};

/// Pauses between looks at what the other side's kernel has acknowledged.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

const PROGRESS: &str = "progress in sending";

#[derive(Debug)]
pub(super) struct TcpTransport {
    connector: Connector,
    options: LogstashOptions,
    wire: Option<ByteWire>,
    /// What was delivered last, and when: the server may not have read it yet.
    recent: Option<(Batch, Instant)>,
    /// It goes again.
    again: bool,
}

impl TcpTransport {
    pub(super) fn new(connector: Connector, options: LogstashOptions) -> Self {
        Self { connector, options, wire: None, recent: None, again: false }
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        &mut self.connector
    }

    pub(super) async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let mut wire = self.open().await?;
        if let Err(fault) = self.send_all(&mut wire, batch).await {
            self.mourn(&wire, &fault);
            self.connector.failed();
            return Err(SinkError::Transient(fault.at(wire.host())));
        }
        self.recent = Some((batch.clone(), Instant::now()));
        self.wire = Some(wire);
        Ok(Delivery::default())
    }

    pub(super) fn reload(&mut self) {
        self.wire = None;
    }

    /// What a reset connection may have lost first, then the batch.
    async fn send_all(&mut self, wire: &mut ByteWire, batch: &Batch) -> Result<(), WireFault> {
        let hosts = self.connector.hosts().len();
        if let (true, Some((lost, _))) = (self.again, &self.recent) {
            send(wire, lost, hosts).await?;
            self.again = false;
        }
        send(wire, batch, hosts).await
    }

    /// The connection in use, if it is still good, else a new one.
    async fn open(&mut self) -> Result<ByteWire, SinkError> {
        let outdated = self.connector.is_outdated();
        if let Some(mut wire) = self.wire.take() {
            match at_rest(&mut wire).await {
                Ok(()) if outdated => wire.close().await,
                Ok(()) => return Ok(wire),
                Err(fault) => self.mourn(&wire, &fault),
            }
        }
        let connected = self.connector.connect().await?;
        Ok(ByteWire::new(connected, self.options.timeout))
    }

    /// A connection has ended: what may it have taken along?
    fn mourn(&mut self, wire: &ByteWire, fault: &WireFault) {
        let host = wire.host();
        let reset = fault.is_reset() || self.again;
        self.recent.take_if(|(_, since)| !reset || since.elapsed() > self.options.timeout);
        let Some((batch, _)) = &self.recent else {
            return tracing::debug!(sink = "logstash", %host, %fault, "connection lost; reconnecting");
        };
        if !self.again {
            tracing::warn!(
                sink = "logstash",
                %host,
                records = batch.records(),
                "the server reset the connection with records unread: the last batch goes again; of those before it some \
                 may be lost, LOGSTASH_TYPE=beats would know"
            );
        }
        self.again = true;
    }

    /// Nothing is sent, and nothing is ever answered: what can be seen is whether the connection stays.
    pub(super) async fn check(&self, connected: ServerConnection, steps: &mut Vec<String>) -> Result<(), String> {
        let mut wire = ByteWire::new(connected, self.options.timeout);
        let mut room = [0; ROOM];
        match wire.step_within(&[], &mut room, "records", CHECK_PATIENCE).await {
            Err(WireFault::Late(..)) => {
                steps.push("listens, and will answer nothing: whether records arrive cannot be known".to_owned());
                wire.close().await;
                Ok(())
            }
            Ok(WireStep::Read(n)) => listen(room.get(..n).unwrap_or_default()).map_err(|fault| fault.to_string()),
            Ok(_) => Ok(()),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

/// Writes a batch, and waits until the other side's kernel has all of it.
async fn send(wire: &mut ByteWire, batch: &Batch, hosts: usize) -> Result<(), WireFault> {
    let mut slices: Vec<IoSlice<'_>> = batch.slices().filter(|slice| !slice.is_empty()).collect();
    let mut rest = slices.as_mut_slice();
    let mut room = [0; ROOM];
    while !rest.is_empty() || !wire.is_flushed() {
        let step = match wire.step(rest, &mut room, PROGRESS).await {
            Err(WireFault::Late(..)) if hosts == 1 && is_alive(wire) => continue,
            // It closes the connection behind the last record: whether it has it all, `settle` finds out.
            Err(WireFault::Closed(_)) if rest.is_empty() => break,
            step => step?,
        };
        match step {
            WireStep::Wrote(n) => IoSlice::advance_slices(&mut rest, n),
            WireStep::Read(n) => listen(room.get(..n).unwrap_or_default())?,
            WireStep::Flushed => {}
        }
    }
    settle(wire, hosts).await
}

/// Waits until the other side's kernel has all bytes.
async fn settle(wire: &mut ByteWire, hosts: usize) -> Result<(), WireFault> {
    let patience = wire.patience();
    let (mut pause, longest) = PAUSES;
    let (mut left, mut since) = (unacknowledged(wire)?, Instant::now());
    while left > 0 {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
        let mut room = [0; ROOM];
        if let Some(n) = wire.peek(&mut room).await? {
            listen(room.get(..n).unwrap_or_default())?;
        }
        let now_left = unacknowledged(wire)?;
        if now_left > 0 && kernel::is_gone(socket(wire.stream())).map_err(WireFault::Io)? {
            return Err(WireFault::Io(ErrorKind::ConnectionReset.into()));
        }
        if now_left < left || (hosts == 1 && since.elapsed() > patience && is_alive(wire)) {
            since = Instant::now();
        }
        if since.elapsed() > patience {
            return Err(WireFault::Late(PROGRESS, patience));
        }
        left = now_left;
    }
    Ok(())
}

/// Whether its kernel still answers, though its program does not read.
fn is_alive(wire: &ByteWire) -> bool {
    let alive = kernel::is_answering(socket(wire.stream())).unwrap_or(false);
    if alive {
        tracing::debug!(sink = "logstash", host = %wire.host(), "the server does not read: waiting for it");
    }
    alive
}

fn unacknowledged(wire: &ByteWire) -> Result<usize, WireFault> {
    kernel::unacknowledged(socket(wire.stream())).map_err(WireFault::Io)
}

fn socket(stream: &ServerStream) -> BorrowedFd<'_> {
    match stream {
        ServerStream::Plain(tcp) => tcp.as_fd(),
        ServerStream::Tls(tls) => tls.get_ref().0.as_fd(),
    }
}

/// Words from a server that has none to say: known ones are a fault, unknown ones are let pass.
fn listen(said: &[u8]) -> Result<(), WireFault> {
    foreign(said).map_or(Ok(()), |advice| Err(WireFault::Foreign(advice.to_owned())))
}

async fn at_rest(wire: &mut ByteWire) -> Result<(), WireFault> {
    let mut room = [0; ROOM];
    loop {
        match wire.peek(&mut room).await? {
            None => return Ok(()),
            Some(0) => return Err(WireFault::Closed("nothing")),
            Some(n) => listen(room.get(..n).unwrap_or_default())?,
        }
    }
}
