//! Dead letters: what a target refused for good, kept for people. Owns the line. The file is a file sink's like any
//! other, with a queue and its own ledger, so that a full disk holds up no delivery.
//!
//! One JSON line a record: `{"reason":…,"sink":…,"time":…,"id":…,"record":…}`. `record` is the JSON that was refused, or
//! a string where it is text, or `record_base64` is in its place where it is neither.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use serde::de::IgnoredAny;

use super::batch::{Batch, BatchItem, BlockPiece, RecordBlock};
use super::file::{FileOptions, FileSink};
use super::{BatchLimits, QueueLimits, RejectedRecord, SinkHandle, SinkOptions, spawn};

/// The name in metrics and closing lines.
pub const NAME: &str = "dead_letters";

/// The file is rotated at this size, and one old file is kept: refusals are to be read by people.
const MAX_BYTES: u64 = 32 << 20;
const KEEP: usize = 1;
/// Lines that may wait for a slow disk; what is more is counted as dropped.
const QUEUE: QueueLimits = QueueLimits { records: 2000, bytes: 2 << 20 };
/// A target's words, as far as they are kept.
const REASON_BYTES: usize = 1024;
/// Lines handed over at once.
const BLOCK_BYTES: usize = 128 << 10;

/// The way in to the dead-letter file; shared by all sinks.
#[derive(Clone, Debug)]
pub struct DeadLetters(SinkHandle);

impl DeadLetters {
    /// Starts writing to `path` (DEAD_LETTER_PATH). A file that cannot be opened is reported, and tried again.
    pub fn start(path: PathBuf) -> io::Result<Self> {
        let file = FileOptions { path, max_bytes: Some(MAX_BYTES), max_age: None, keep: KEEP, compress: false };
        let batch = BatchLimits { records: 1000, bytes: 1 << 20, age: std::time::Duration::ZERO };
        spawn(NAME, FileSink::new(file), SinkOptions { queue: QUEUE, batch, ..SinkOptions::default() }).map(Self)
    }

    pub(super) fn handle(&self) -> &SinkHandle {
        &self.0
    }

    /// `rejected` in ascending order.
    pub(super) fn bury(&self, sink: &str, batch: &Batch, rejected: &[&RejectedRecord]) {
        let mut rejected = rejected.iter().peekable();
        let mut block = RecordBlock::default();
        for (index, item) in batch.iter().enumerate() {
            let Some(refused) = rejected.next_if(|rejected| rejected.index == index) else { continue };
            block.push(item.dataset, |out| {
                write_line(out, sink, &refused.reason, &item);
                (item.id.into(), item.at)
            });
            if block.bytes() >= BLOCK_BYTES || rejected.peek().is_none() {
                self.0.offer(BlockPiece::whole(Arc::new(block.take_exact())));
            }
            if rejected.peek().is_none() {
                break;
            }
        }
    }
}

fn write_line(out: &mut Vec<u8>, sink: &str, reason: &str, item: &BatchItem<'_>) {
    let end = (0..=reason.len().min(REASON_BYTES)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let time = item.at.to_string();
    let fields = [
        ("{\"reason\":", reason.get(..end).unwrap_or_default()),
        (",\"sink\":", sink),
        (",\"time\":", &time),
        (",\"id\":", item.id),
    ];
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        write_string(out, value);
    }
    let body = item.body.trim_ascii_end();
    match std::str::from_utf8(body) {
        Ok(json) if !json.contains(['\n', '\r']) && serde_json::from_str::<IgnoredAny>(json).is_ok() => {
            out.extend_from_slice(b",\"record\":");
            out.extend_from_slice(body);
        }
        Ok(text) => {
            out.extend_from_slice(b",\"record\":");
            write_string(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b",\"record_base64\":");
            write_string(out, &base64::engine::general_purpose::STANDARD.encode(item.body));
        }
    }
    out.extend_from_slice(b"}\n");
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    // Into memory, and of a string: neither fails.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Timestamp;

    fn line(reason: &str, body: &[u8]) -> serde_json::Value {
        let mut out = b"before\n".to_vec();
        write_line(
            &mut out,
            "elasticsearch",
            reason,
            &BatchItem { id: "id-1", at: Timestamp(1_000), dataset: crate::record::Dataset::Http, body },
        );
        let line = std::str::from_utf8(&out).unwrap().strip_prefix("before\n").unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line:?}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_line_holds_the_record_as_what_it_is() {
        let json = line("mapping: x", b"{\"a\":[1,\"\\u001b\"]}\n");
        let keys = json.as_object().unwrap().iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>();
        assert_eq!(keys.len(), 5);
        assert_eq!(json["record"]["a"][0], 1);
        assert_eq!((json["reason"].as_str(), json["sink"].as_str()), (Some("mapping: x"), Some("elasticsearch")));
        assert_eq!((json["time"].as_str(), json["id"].as_str()), (Some("1970-01-01T00:00:00.000001Z"), Some("id-1")));
        assert_eq!(line("", b"GET /a 200\n")["record"], "GET /a 200");
        assert_eq!(line("", b"{\n}\n")["record"], "{\n}", "two lines are no line");
        assert_eq!(line("", b"{\"torn\":")["record"], "{\"torn\":");
        assert_eq!(line("", b"\x81\xa1a\xff")["record_base64"], "gaFh/w==");
    }

    #[test]
    fn a_targets_words_can_neither_break_the_line_nor_fill_the_disk() {
        let json = line("\"\n\u{1b}]0;x\u{7}", b"1");
        assert_eq!(json["reason"], "\"\n\u{1b}]0;x\u{7}");
        let json = line(&"é".repeat(5000), b"1");
        assert_eq!(json["reason"].as_str().unwrap().len(), REASON_BYTES);
        let json = line(&format!("a{}", "é".repeat(5000)), b"1");
        assert_eq!(json["reason"].as_str().unwrap().len(), REASON_BYTES - 1);
    }
}
