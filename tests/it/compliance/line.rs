//! The plainest protocol there is, to try the machinery itself: lines up, one line back. Owns a sink and a server of it.
//!
//! A batch is its bodies, one a line, and `.N`. The answer is `ok`, or `retry I,J,…` with the positions that were not
//! stored, or `refuse I,J,…`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use podtap::sink::{Batch, Delivery, DeliveryError, FailureReason, RejectedRecord, Sink, SinkError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::ids_in;
use super::servers::{Outcome, Store};
use crate::feed::PATIENCE;

pub(crate) struct LineSink {
    address: String,
    patience: Duration,
    stream: Option<tokio::io::BufReader<tokio::net::TcpStream>>,
}

impl LineSink {
    pub(crate) fn new(address: &str) -> Self {
        Self::waiting(address, PATIENCE)
    }

    /// Waits so long for an answer.
    pub(super) fn waiting(address: &str, patience: Duration) -> Self {
        Self { address: address.to_owned(), patience, stream: None }
    }

    async fn exchange(&mut self, batch: &Batch) -> std::io::Result<Delivery> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => tokio::io::BufReader::new(tokio::net::TcpStream::connect(&self.address).await?),
        };
        let mut bytes: Vec<u8> = batch.iter().flat_map(|item| item.body).copied().collect();
        bytes.extend_from_slice(format!(".{}\n", batch.records()).as_bytes());
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.read_until(b'\n', &mut answer).await?;
        let answer = String::from_utf8(answer).unwrap_or_default();
        let mut words = answer.split_whitespace();
        let verb = words.next().unwrap_or_default().to_owned();
        let indices: Vec<usize> =
            words.next().unwrap_or_default().split(',').filter_map(|word| word.parse().ok()).collect();
        self.stream = Some(stream);
        let reason = "refused: it said so";
        match verb.as_str() {
            "ok" => Ok(Delivery::default()),
            "retry" => Ok(Delivery { retry: indices, ..Delivery::default() }),
            "refuse" => {
                let rejected =
                    indices.into_iter().map(|index| RejectedRecord { index, reason: reason.into() }).collect();
                Ok(Delivery { rejected, ..Delivery::default() })
            }
            _ => {
                self.stream = None;
                Err(std::io::Error::other("no answer"))
            }
        }
    }
}

impl Sink for LineSink {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        match tokio::time::timeout(self.patience, self.exchange(batch)).await {
            Ok(Ok(delivery)) => Ok(delivery),
            Ok(Err(error)) => Err(SinkError::Transient(DeliveryError::of_io(error))),
            Err(_) => Err(SinkError::Transient(DeliveryError::new(FailureReason::Timeout, "no answer in time"))),
        }
    }
}

/// Stores batches, and says of which records it did not.
pub(crate) fn serve(stream: TcpStream, stored: &Mutex<Store>) -> Option<()> {
    let mut batch = Vec::new();
    for line in BufReader::new(&stream).split(b'\n').map_while(Result::ok) {
        if line.first() != Some(&b'.') {
            batch.extend(ids_in(&line));
            continue;
        }
        let outcomes = stored.lock().unwrap().take(std::mem::take(&mut batch));
        let of = |which: Outcome| {
            let indices = outcomes.iter().enumerate().filter(|(_, outcome)| **outcome == which);
            indices.map(|(index, _)| index.to_string()).collect::<Vec<_>>().join(",")
        };
        let answer = match (of(Outcome::Later), of(Outcome::Never)) {
            (later, _) if !later.is_empty() => format!("retry {later}\n"),
            (_, never) if !never.is_empty() => format!("refuse {never}\n"),
            _ => "ok\n".to_owned(),
        };
        (&stream).write_all(answer.as_bytes()).ok()?;
    }
    None
}
