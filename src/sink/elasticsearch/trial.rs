//! One marked record there and away again: `podtap check --deep`. Owns what is said of each step; the sink sends its records
//! otherwise.

use std::hash::{BuildHasher, RandomState};

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error::DeliveryError;
use super::client::{ClusterClient, MOST_ANSWER, ServerReply, ServerRequest};
use super::options::RecordFormat;
use super::target::{CheckedTarget, TargetKind};
use crate::flow::Timestamp;

/// What a record is marked with, so that one that stays behind is known for what it is.
const MARK: &str = "podtap check --deep";

/// Writes, reads and deletes a record; says what worked, and in the error what did not.
pub(super) async fn run(
    client: &ClusterClient,
    target: &CheckedTarget,
    index: &str,
    format: RecordFormat,
    at: Timestamp,
) -> Result<String, DeliveryError> {
    let id = format!("podtap-check-{:016x}", RandomState::new().hash_one(0u8));
    let record = record(format, &id, at);
    let mut query = vec![("op_type", "create")];
    if target.kind == TargetKind::DataStream && target.server.can_require_data_stream() {
        query.push(("require_data_stream", "true"));
    }
    let written = client.send(&ServerRequest::put(&format!("/{index}/_doc/{id}"), &query, record)).await?;
    let stored = match written.is_success() {
        true => stored_in(&written).unwrap_or_else(|| index.to_owned()),
        false => return Err(failed("a record cannot be written", &written)),
    };
    let path = format!("/{stored}/_doc/{id}");
    let read = client.send(&ServerRequest::get(&path, &[])).await?;
    let removed = client.send(&ServerRequest { method: Method::Delete, ..ServerRequest::get(&path, &[]) }).await?;
    if !removed.is_success() {
        let what = format!("a record was written, and cannot be deleted: _id {id} stays in {stored}");
        return Err(failed(&what, &removed));
    }
    // Who may only write is well set up: podtap reads nothing.
    Ok(match read.is_success() {
        true => format!("a record was written to {stored}, read and deleted"),
        false => format!("a record was written to {stored} and deleted, but cannot be read: {}", read.words()),
    })
}

fn failed(what: &str, reply: &ServerReply) -> DeliveryError {
    DeliveryError::new(reply.class(), format!("{what}: {}", reply.words()))
}

/// A data stream stores in one of its indices.
fn stored_in(reply: &ServerReply) -> Option<String> {
    #[derive(Deserialize)]
    struct StoredRecord {
        _index: String,
    }
    let StoredRecord { _index: index } = serde_json::from_slice(&reply.body).ok()?;
    let is_name = !index.is_empty() && !index.contains(['/', '?', '#', '%']) && reply.body.len() < MOST_ANSWER;
    is_name.then_some(index)
}

fn record(format: RecordFormat, id: &str, at: Timestamp) -> Vec<u8> {
    let time = at.to_string();
    let record: Value = match format {
        RecordFormat::Ecs => {
            json!({ "@timestamp": time, "event": { "id": id, "dataset": "podtap.check" }, "message": MARK })
        }
        RecordFormat::Classic => json!({ "@timestamp": time, "url": MARK }),
    };
    record.to_string().into_bytes()
}
