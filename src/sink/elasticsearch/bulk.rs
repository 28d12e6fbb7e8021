//! The body of a `_bulk` request. Pure; who takes it is `client`'s matter.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::fit::fitting;
use super::index::{IndexName, IndexNames};
use super::options::RecordFormat;
use crate::flow::Timestamp;
use crate::sink::Batch;

/// Bytes an action line takes next to the id: `{"create":{"_id":""}}` and the line feed.
const ACTION_BYTES: usize = 64;

/// Fast: records resemble each other so much that a higher level buys little.
const LEVEL: Compression = Compression::fast();

/// A request's body and the index its URL names.
#[derive(Debug)]
pub(super) struct BulkBody {
    /// The index of the first record; only records of another one name theirs.
    pub(super) index: String,
    pub(super) bytes: Vec<u8>,
}

/// Every record as a `create` with its own id: a record that is there already is answered with 409, not stored twice.
/// `fit` shortens what the server's `flat_object` would reject. A classic record has no time: it gets one here,
/// for a data stream takes nothing without.
pub(super) fn body(batch: &Batch, index: &IndexName, format: RecordFormat, fit: bool) -> BulkBody {
    let mut names = IndexNames::new(index);
    let mut url = String::new();
    let mut bytes = Vec::with_capacity(batch.bytes() + batch.records() * ACTION_BYTES);
    for item in batch.iter() {
        let name = names.of(item.at);
        if url.is_empty() {
            name.clone_into(&mut url);
        }
        action(&mut bytes, item.id, (name != url).then_some(name));
        let record = if fit { fitting(item.body) } else { item.body.into() };
        match (format, record.strip_prefix(b"{")) {
            (RecordFormat::Classic, Some(rest)) => {
                time(&mut bytes, item.at, rest.starts_with(b"}"));
                bytes.extend_from_slice(rest);
            }
            (RecordFormat::Classic | RecordFormat::Ecs, _) => bytes.extend_from_slice(&record),
        }
        if !record.ends_with(b"\n") {
            bytes.push(b'\n');
        }
    }
    BulkBody { index: url, bytes }
}

fn action(out: &mut Vec<u8>, id: &str, index: Option<&str>) {
    out.extend_from_slice(b"{\"create\":{\"_id\":");
    string(out, id);
    if let Some(index) = index {
        out.extend_from_slice(b",\"_index\":");
        string(out, index);
    }
    out.extend_from_slice(b"}}\n");
}

/// `{"@timestamp":"…"`, and the comma before what follows.
fn time(out: &mut Vec<u8>, at: Timestamp, is_last: bool) {
    out.extend_from_slice(b"{\"@timestamp\":");
    string(out, &at.to_string());
    if !is_last {
        out.push(b',');
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    // A `Vec` takes every write, and a string always serializes.
    let _ = serde_json::to_writer(out, text);
}

/// The same, gzipped.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), LEVEL);
    // As above: a `Vec` takes every write.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;
    use crate::sink::{BlockPiece, RecordBlock};

    fn batch(records: &[(&str, i64, &str)]) -> Batch {
        let mut block = RecordBlock::default();
        for (id, seconds, body) in records {
            block.push(crate::record::Dataset::Http, |out| {
                out.extend_from_slice(body.as_bytes());
                ((*id).into(), Timestamp(seconds * 1_000_000_000))
            });
        }
        let mut batch = Batch::default();
        batch.push(BlockPiece::whole(Arc::new(block)));
        batch
    }

    #[test]
    fn each_record_is_created_under_its_own_id_and_every_line_ends() {
        let body = body(
            &batch(&[("a", 0, "{\"x\":1}\n"), ("b\"c", 0, "{}")]),
            &IndexName::new("web").unwrap(),
            RecordFormat::Ecs,
            false,
        );
        let text = String::from_utf8(body.bytes.clone()).unwrap();
        assert_eq!(text, "{\"create\":{\"_id\":\"a\"}}\n{\"x\":1}\n{\"create\":{\"_id\":\"b\\\"c\"}}\n{}\n");
        assert_eq!(body.index, "web");
        let mut unzipped = Vec::new();
        flate2::read::GzDecoder::new(gzip(&body.bytes).as_slice()).read_to_end(&mut unzipped).unwrap();
        assert_eq!(unzipped, body.bytes);
    }

    #[test]
    fn a_classic_record_gets_the_time_that_it_lacks() {
        let batch = batch(&[("a", 1, "{\"host\":\"h\"}\n"), ("b", 1, "{}"), ("c", 1, "no json\n")]);
        let body = body(&batch, &IndexName::new("web").unwrap(), RecordFormat::Classic, false);
        let text = String::from_utf8(body.bytes).unwrap();
        let records: Vec<_> = text.lines().skip(1).step_by(2).collect();
        let time = "{\"@timestamp\":\"1970-01-01T00:00:01.000000Z\"";
        assert_eq!(records, [format!("{time},\"host\":\"h\"}}"), format!("{time}}}"), "no json".to_owned()]);
    }

    #[test]
    fn a_record_goes_to_the_index_of_its_day() {
        let day = 86_400;
        let batch =
            batch(&[("a", day, "{}\n"), ("b", 2 * day - 1, "{}\n"), ("c", 2 * day, "{}\n"), ("d", day, "{}\n")]);
        let body = body(&batch, &IndexName::new("web-%Y.%m.%d").unwrap(), RecordFormat::Ecs, true);
        assert_eq!(body.index, "web-1970.01.02");
        let text = String::from_utf8(body.bytes).unwrap();
        let actions: Vec<_> = text.lines().step_by(2).collect();
        assert_eq!(
            actions,
            [
                r#"{"create":{"_id":"a"}}"#,
                r#"{"create":{"_id":"b"}}"#,
                r#"{"create":{"_id":"c","_index":"web-1970.01.03"}}"#,
                r#"{"create":{"_id":"d"}}"#,
            ]
        );
    }
}
