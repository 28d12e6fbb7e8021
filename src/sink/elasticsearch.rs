//! Elasticsearch (7.17, 8, 9) and OpenSearch (1 to 3), by `_bulk`. Owns what a server's answers mean for a batch; it
//! creates no template (`setup`), and waits and repeats nothing (`worker`).
//!
//! Every record is created under its `event.id`, so sending it again changes nothing: the server answers 409, which is
//! delivered. That holds within one index: after a rollover of a data stream the same id can be created once more. An
//! index named by the record's own date (`name-%Y.%m.%d`) keeps the promise always.
//!
//! What is wrong on the server's side (credentials, rights, a missing template, no room, a gateway's page) holds records.
//! Only what names the document rejects it.

mod answer;
mod bulk;
mod client;
mod fit;
mod index;
mod options;
mod server;
mod target;
mod trial;
mod verdict;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use elasticsearch::http::Method;
pub use elasticsearch::http::Url;

pub use self::answer::outcomes;
use self::answer::{SentBatch, SplitReason, judged, splits};
#[cfg(feature = "setup")]
pub(crate) use self::client::ServerReply;
pub(crate) use self::client::{ClusterClient, ServerRequest};
pub use self::index::IndexName;
pub use self::options::{ElasticsearchAuth, ElasticsearchOptions, RecordFormat, cloud, host, nodes};
pub use self::server::{ApiVersion, ServerFlavour, ServerVersion};
pub use self::target::{CheckedTarget, TargetKind};
#[cfg(feature = "setup")]
pub(crate) use self::target::{contradiction, held, server as ask_server};

use super::connect::ConnectionTenure;
use super::{Batch, Delivery, DeliveryError, Sink, SinkError};
use crate::flow::Timestamp;
use crate::settings::SettingFault;

/// Sends batches to one cluster.
#[derive(Debug)]
pub struct ElasticsearchSink {
    options: ElasticsearchOptions,
    client: ClusterClient,
    /// What is behind the index's name; asked again after every failure, for the server may be another one since.
    target: Option<CheckedTarget>,
    warned: bool,
    /// Bodies of more bytes than this were too large for the server.
    most_bytes: usize,
    tenure: ConnectionTenure,
    renewal: Option<OptionsRenewal>,
    /// The last attempt failed: perhaps what we have is not valid any more.
    suspect: bool,
}

/// Where options are made again, with credentials as they are by now.
struct OptionsRenewal(Box<dyn Fn() -> Result<ElasticsearchOptions, String> + Send + Sync>);

impl fmt::Debug for OptionsRenewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal(…)")
    }
}

/// What became of a part of a batch.
enum PartOutcome {
    Settled(Delivery),
    /// Too large, or one document in it is malformed: the halves will show.
    Halve {
        too_large: bool,
    },
}

impl ElasticsearchSink {
    /// Reads certificates; asks the server only when there is something to deliver. The error names the setting.
    pub fn new(options: ElasticsearchOptions) -> Result<Self, SettingFault> {
        let client = ClusterClient::new(&options)?;
        options.tls.warn();
        let (target, warned, most_bytes, tenure) = (None, false, usize::MAX, ConnectionTenure::default());
        Ok(Self { options, client, target, warned, most_bytes, tenure, renewal: None, suspect: false })
    }

    /// Has `make` make options again when what they were made of is outdated: after about `max_age`, and when one of
    /// `files` or of the certificates changes.
    #[must_use]
    pub fn renewed(
        mut self,
        max_age: Option<Duration>,
        mut files: Vec<PathBuf>,
        make: impl Fn() -> Result<ElasticsearchOptions, String> + Send + Sync + 'static,
    ) -> Self {
        files.extend(self.options.tls.files());
        self.tenure = ConnectionTenure::new(max_age, files);
        self.tenure.begin();
        self.renewal = Some(OptionsRenewal(Box::new(make)));
        self
    }

    /// A new client where the one in use is outdated; a file that cannot be used leaves everything as it is.
    fn renew_outdated(&mut self) {
        let suspect = std::mem::take(&mut self.suspect);
        if self.tenure.is_over() || suspect && self.tenure.have_files_changed() {
            self.reload();
        }
    }

    /// Asks the server what it is and what is behind the name: `podtap check`. Sends no record.
    pub async fn examine(&self, at: Timestamp) -> Result<CheckedTarget, DeliveryError> {
        target::examine(&self.client, &self.options, &self.options.index.at(at)).await
    }

    /// The same, and the server is asked what it is even where the settings say so.
    pub async fn check(&self, at: Timestamp) -> Result<CheckedTarget, DeliveryError> {
        let found = target::server(&self.client, ApiVersion::Auto).await?;
        let mut target = self.examine(at).await?;
        if let ApiVersion::Given(given) = self.options.api_version
            && !given.agrees(found)
        {
            let why = format!("ELASTICSEARCH_API_VERSION says {given}, but the server is {found}");
            target.warning = Some(target.warning.map_or(why.clone(), |other| format!("{why}; {other}")));
        }
        Ok(target)
    }

    /// Writes one marked record where records of `at` go, reads it and deletes it. Says what worked.
    pub async fn try_record(&self, target: &CheckedTarget, at: Timestamp) -> Result<String, DeliveryError> {
        trial::run(&self.client, target, &self.options.index.at(at), self.options.format, at).await
    }

    async fn target(&mut self, batch: &Batch) -> Result<CheckedTarget, SinkError> {
        if let Some(target) = &self.target {
            return Ok(target.clone());
        }
        let at = batch.iter().next().map_or(Timestamp(0), |item| item.at);
        let target = self.examine(at).await?;
        self.tell(&target);
        self.target = Some(target.clone());
        Ok(target)
    }

    /// Once, however often the server is asked.
    fn tell(&mut self, target: &CheckedTarget) {
        if std::mem::replace(&mut self.warned, true) {
            return;
        }
        tracing::info!(server = %target.server, index = %self.options.index, kind = ?target.kind, "elasticsearch found");
        if let Some(warning) = &target.warning {
            tracing::warn!("{warning}");
        }
    }

    /// One request for records that are all of one part.
    async fn send(&self, target: &CheckedTarget, part: &Batch) -> Result<PartOutcome, SinkError> {
        let fit = target.server.flattened_type() == Some("flat_object");
        let bulk::BulkBody { index, bytes } = bulk::body(part, &self.options.index, self.options.format, fit);
        let path = match &self.options.doc_type {
            Some(kind) => format!("/{index}/{kind}/_bulk"),
            None => format!("/{index}/_bulk"),
        };
        let mut query = vec![("filter_path", answer::FILTER)];
        if target.kind == TargetKind::DataStream && target.server.can_require_data_stream() {
            query.push(("require_data_stream", "true"));
        }
        let request = ServerRequest {
            method: Method::Post,
            path: &path,
            query: &query,
            body: Some(if self.options.compress { bulk::gzip(&bytes) } else { bytes }.into()),
            gzipped: self.options.compress,
            headers: &[],
            most: answer::most_bytes(part.records()),
        };
        let reply = self.client.send(&request).await?;
        if let Some(split) = splits(reply.status, &reply.body)
            && part.records() > 1
        {
            tracing::debug!(
                status = reply.status,
                records = part.records(),
                "batch refused as a whole; sending it in halves"
            );
            return Ok(PartOutcome::Halve { too_large: split == SplitReason::TooLarge });
        }
        let sent = SentBatch { records: part.records(), one_index: !self.options.index.is_dated() };
        judged(reply.status, &reply.body, sent).map(PartOutcome::Settled).map_err(|error| match error {
            SinkError::Transient(error) => SinkError::Transient(error.with_retry_after(reply.retry_after)),
            other @ (SinkError::Permanent(_) | SinkError::Gone { .. }) => other,
        })
    }

    /// The batch in parts that the server has not yet found too large.
    fn parts(&self, batch: &Batch) -> VecDeque<Range<usize>> {
        let mut parts = VecDeque::new();
        let mut from = 0;
        while from < batch.records() {
            let rest = batch.range(from, batch.records());
            let records = rest.fitting(self.most_bytes).max(1);
            parts.push_back(from..from + records);
            from += records;
        }
        parts
    }

    /// Remembers what was too large, so that the next batches need not be refused first.
    fn shrink(&mut self, part: &Batch) {
        self.most_bytes = self.most_bytes.min(part.bytes().div_ceil(2).max(1));
    }
}

impl Sink for ElasticsearchSink {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        self.renew_outdated();
        let target = match self.target(batch).await {
            Ok(target) => target,
            Err(error) => {
                self.suspect = true;
                return Err(error);
            }
        };
        let mut parts = self.parts(batch);
        let mut whole = Delivery::default();
        while let Some(range) = parts.pop_front() {
            let part = batch.range(range.start, range.end);
            match self.send(&target, &part).await {
                Ok(PartOutcome::Settled(part)) => {
                    if !part.retry.is_empty() {
                        self.target = None;
                    }
                    whole.cause = whole.cause.or_else(|| part.cause.clone());
                    add(&mut whole, &part, range.start);
                }
                Ok(PartOutcome::Halve { too_large }) => {
                    if too_large {
                        self.shrink(&part);
                    }
                    let middle = range.start + range.len() / 2;
                    parts.push_front(middle..range.end);
                    parts.push_front(range.start..middle);
                }
                Err(error) => {
                    self.target = None;
                    self.suspect = true;
                    return undone(whole, range.start, batch.records(), error);
                }
            }
        }
        Ok(whole)
    }

    fn reload(&mut self) {
        // Before anything is read, so that no change is missed; also where that fails: once for each change.
        self.tenure.begin();
        let options = self.renewal.as_ref().map_or_else(|| Ok(self.options.clone()), |renewal| (renewal.0)());
        let client = |options: &ElasticsearchOptions| ClusterClient::new(options).map_err(|why| why.to_string());
        match options.and_then(|options| Ok((client(&options)?.after(&self.client), options))) {
            Ok((client, options)) => {
                (self.client, self.options) = (client, options);
                self.target = None;
                self.most_bytes = usize::MAX;
            }
            Err(why) => {
                tracing::warn!(error = why, "certificate or credential reload failed; keeping the current ones")
            }
        }
    }
}

/// Adds the outcome of the part that begins at record `from`.
fn add(whole: &mut Delivery, part: &Delivery, from: usize) {
    whole.retry.extend(part.retry.iter().map(|index| index + from));
    let rejected = part.rejected.iter().cloned();
    whole.rejected.extend(rejected.map(|mut record| {
        record.index += from;
        record
    }));
}

/// From record `from` on nothing is known to be delivered; what went before stays so.
fn undone(mut whole: Delivery, from: usize, records: usize, error: SinkError) -> Result<Delivery, SinkError> {
    if from == 0 {
        return Err(error);
    }
    whole.retry.extend(from..records);
    if whole.retry.len() == records {
        return Err(error);
    }
    if let SinkError::Transient(error) = error {
        whole.cause = whole.cause.or(Some(error));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests;
