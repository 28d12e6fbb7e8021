//! podtap records the HTTP exchanges of a pod: it turns packets into one record for each request and its response.
//!
//! The library is the program without its `main`. Its core is sans-IO: frames go in with their capture times, records
//! come out, and the same capture gives the same records every time.
//!
//! # Example
//!
//! Replays a capture, and prints who asked for what:
//!
//! ```
//! use podtap::dissect::{Dissector, DissectorConfig};
//! use podtap::{redact::Redactor, source::file::CaptureReader, synth, tcp::CloseReason};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let conversation = synth::Conversation::default().handshake();
//! let conversation = conversation.client("GET /orders?token=secret HTTP/1.1\r\nHost: shop\r\n\r\n");
//! let capture = synth::pcap(&conversation.server("HTTP/1.1 204 No Content\r\n\r\n").close().frames());
//!
//! let mut reader = CaptureReader::open(&capture[..])?;
//! let mut dissector = Dissector::new(DissectorConfig::default(), Redactor::default());
//! while let Some(frame) = reader.next_frame()? {
//!     dissector.handle_frame(&frame, |_tuple| false);
//! }
//! dissector.finish(CloseReason::EndOfCapture);
//! for exchange in dissector.records().drain(..).filter_map(|record| record.into_exchange()) {
//!     let (Some(request), Some(response)) = (&exchange.request, &exchange.response) else { continue };
//!     println!("{} {} {} {:?}", exchange.connection.client.ip, request.method, request.target, response.status);
//! #   assert_eq!((&*request.method, &*request.target, response.status), ("GET", "/orders?token=****", Some(204)));
//! }
//! # assert_eq!(dissector.ledger().http.requests, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - Bytes from the network never cause a panic, and what they fill has a named limit.
//! - Every frame, byte, message and record is counted exactly once ([`ledger`]); the counts must add up.
//! - A record says how far it can be trusted ([`record::Trust`]). What is unknown is left out, not guessed.
//! - Secrets are masked before a string is stored ([`redact`]).
//!
//! Before 1.0 the Rust API may change with every release. Field names, settings and metrics are what must not break.
//!
//! # The map
//!
//! The order of the modules below, as in `lib.rs`, is the order of dependency: a module uses only those declared above it
//! (`tests/it/tidy.rs` enforces it). `docs/architecture.md` follows a packet through them.

// words: know nothing else
pub mod flow;
pub mod glob;
pub mod published;
pub mod record;
pub mod settings;
// sans-IO: no clock, no socket, no thread
pub mod pool;
pub mod ledger;
pub mod packet;
pub mod redirect;
pub mod synth;
pub mod tcp;
pub mod tls;
pub mod flows;
pub mod copies;
pub mod attempts;
pub mod redact;
pub mod shape;
pub mod hpack;
pub mod websocket;
pub mod sse;
pub mod grpc;
pub mod dns;
pub mod exchange;
pub mod http;
pub mod http2;
pub mod app;
pub mod dissect;
pub mod filter;
pub mod netlink;
pub mod conntrack;
pub mod verdict;
pub mod connects;
pub mod tally;
pub mod format;
#[cfg_attr(not(feature = "inject"), allow(dead_code, reason = "`inject` alone edits what it read"))]
pub mod yaml;
#[cfg(feature = "inject")]
pub mod inject;
// edges: each knows one outside thing
pub mod terminal;
pub mod config;
pub mod identity;
pub mod logging;
pub mod source;
pub mod sink;
pub mod workload;
#[cfg(feature = "setup")]
pub mod setup;
#[cfg_attr(not(feature = "webhook"), allow(dead_code, reason = "the webhook alone uses all of it"))]
pub mod guests;
pub mod metrics;
pub mod demo;
#[cfg(feature = "webhook")]
pub mod webhook;
// whole: wiring only
pub mod pipeline;
pub mod assembly;
pub mod cli;
pub mod replay;
pub mod report;
pub mod view;
pub mod run;
#[cfg(feature = "top")]
pub mod top;
