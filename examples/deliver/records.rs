//! Records as podtap makes them, in blocks as its pipeline makes them.

use std::sync::Arc;

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::format::msgpack;
use podtap::format::{Observer, ecs};
use podtap::record::Record;
use podtap::redact::Redactor;
use podtap::sink::RecordBlock;
use podtap::synth::Conversation;
use podtap::tcp::CloseReason;

/// How a sink takes records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Msgpack,
}

/// Some thousand different records.
pub(crate) fn blocks(encoding: Encoding) -> Vec<Arc<RecordBlock>> {
    let observer = Observer::default();
    let mut blocks = vec![RecordBlock::default()];
    for number in 0..8000 {
        let request = format!(
            "GET /api/orders/{number}?page={} HTTP/1.1\r\nHost: shop.local:8080\r\nUser-Agent: curl/8.5.0\r\n\r\n",
            number % 7
        );
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let mut dissector = Dissector::new(DissectorConfig::default(), Redactor::off());
        let frames = Conversation::default().handshake().client(request).server(answer).close().frames();
        frames.iter().for_each(|frame| dissector.handle_frame(&frame.as_frame(), |_| false));
        dissector.finish(CloseReason::EndOfCapture);
        for record in dissector.records().drain(..) {
            if blocks.last().is_some_and(|block| block.bytes() > 128 << 10) {
                blocks.push(RecordBlock::default());
            }
            let Some(block) = blocks.last_mut() else { continue };
            block.push(podtap::record::Dataset::Http, |out| {
                match encoding {
                    Encoding::Json => ecs::write_json(out, &record, &observer),
                    Encoding::Msgpack => msgpack(out, &record, &observer),
                }
                // The same id again and again would be as fast.
                let exchange = record.exchange().unwrap();
                (format!("{}.{number}", exchange.id).into(), exchange.start())
            });
        }
    }
    blocks.into_iter().map(Arc::new).collect()
}

fn msgpack(out: &mut Vec<u8>, record: &Record, observer: &Observer) {
    let mut json = Vec::new();
    ecs::write_json(&mut json, record, observer);
    let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    msgpack::encode(&value, out).unwrap();
}

/// Bytes of a record.
pub(crate) fn mean(blocks: &[Arc<RecordBlock>]) -> usize {
    blocks.iter().map(|block| block.bytes()).sum::<usize>() / blocks.iter().map(|block| block.records()).sum::<usize>()
}
