//! The Elasticsearch sink and its setup against real servers (scripts/servers): Elasticsearch 8.7 and OpenSearch 2.19.
//!
//! Skipped, saying so, where neither CI nor PODTAP_SERVERS=1 is set and no server was fetched before.

mod corpus;
mod delivery;
mod setup;
mod trouble;

use std::sync::{Arc, PoisonError, RwLock};

use podtap::dissect::{self, Dissector};
use podtap::exchange::KeepHeaders;
use podtap::flow::Timestamp;
use podtap::format::{Observer, ecs};
use podtap::redact::Redactor;
use podtap::setup::{AppliedResource, SetupOptions};
use podtap::sink::elasticsearch::{ElasticsearchAuth, ElasticsearchOptions, ElasticsearchSink, IndexName, nodes};
use podtap::sink::{Batch, BlockPiece, Delivery, RecordBlock, Sink, SinkError};
use podtap::tcp::CloseReason;

use crate::servers::Search;

/// How a test talks to `server` about `index`.
pub(crate) fn options(server: &Search, index: &str) -> ElasticsearchOptions {
    options_to(&server.url(), server.password(), index)
}

pub(crate) fn options_to(url: &str, password: Option<&str>, index: &str) -> ElasticsearchOptions {
    let (nodes, _) = nodes(&[url.to_owned()], 9200, false).unwrap();
    let mut options = ElasticsearchOptions::new(nodes, IndexName::new(index).unwrap());
    if let Some(password) = password {
        options.auth = ElasticsearchAuth::Basic { username: "elastic".to_owned(), password: password.to_owned() };
    }
    options
}

pub(crate) fn set_up(options: &ElasticsearchOptions, setup: &SetupOptions) -> (Vec<AppliedResource>, String) {
    let mut out = Vec::new();
    let done = podtap::setup::elasticsearch(options, setup, &mut out).unwrap();
    (done, String::from_utf8(out).unwrap())
}

/// On its own runtime, as a sink's thread does.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The servers that tests share have not much room: where there is more than a little to take in, nothing else is.
static ROOM: RwLock<()> = RwLock::new(());

pub(crate) fn deliver(sink: &mut ElasticsearchSink, batch: &Batch) -> Result<Delivery, SinkError> {
    let _with_others = ROOM.read().unwrap_or_else(PoisonError::into_inner);
    wait(sink.deliver(batch))
}

/// While no other test delivers.
pub(crate) fn deliver_alone(sink: &mut ElasticsearchSink, batch: &Batch) -> Result<Delivery, SinkError> {
    let _alone = ROOM.write().unwrap_or_else(PoisonError::into_inner);
    wait(sink.deliver(batch))
}

pub(crate) fn sink(options: ElasticsearchOptions) -> ElasticsearchSink {
    ElasticsearchSink::new(options).unwrap()
}

/// Lines as records, under these ids.
pub(crate) fn batch<'a>(records: impl IntoIterator<Item = (&'a str, String)>) -> Batch {
    let mut block = RecordBlock::default();
    for (id, line) in records {
        block.push(podtap::record::Dataset::Http, |out| {
            out.extend_from_slice(line.as_bytes());
            (id.into(), Timestamp(0))
        });
    }
    let mut batch = Batch::default();
    batch.push(BlockPiece::whole(Arc::new(block)));
    batch
}

/// A line that fits the mapping.
fn line(text: &str) -> String {
    format!(
        "{{\"@timestamp\":\"2026-03-01T12:00:00.000123Z\",\"podtap\":{{\"trust\":\"complete\"}},\"url\":{{\"original\":\"{text}\"}}}}\n"
    )
}

/// Keeps everything there is to keep.
fn dissector(observer_id: &str) -> Dissector {
    let http = podtap::exchange::ExchangeConfig {
        headers: KeepHeaders::All,
        observer_id: observer_id.to_owned(),
        ..podtap::exchange::ExchangeConfig::default()
    };
    Dissector::new(dissect::DissectorConfig { http, ..dissect::DissectorConfig::default() }, Redactor::off())
}

/// What JSON on standard output would print, with ids and times.
fn encoded(dissector: &mut Dissector) -> Batch {
    dissector.finish(CloseReason::EndOfCapture);
    let mut block = RecordBlock::default();
    let observer = Observer::default();
    for record in dissector.records().drain(..) {
        block.push(podtap::record::Dataset::Http, |out| {
            ecs::write_json(out, &record, &observer);
            let exchange = record.exchange().unwrap();
            (exchange.id.clone(), exchange.start())
        });
    }
    let mut batch = Batch::default();
    batch.push(BlockPiece::whole(Arc::new(block)));
    batch
}
