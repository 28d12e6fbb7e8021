//! podtap: from packets to trustworthy HTTP records.
//!
//! The order of the `pub mod` lines is the dependency order: a module uses only modules declared above it
//! (`tests/it/tidy.rs` holds it to that).

// words: know nothing else
pub mod flow;
pub mod glob;
pub mod record;
pub mod settings;
// sans-IO: no clock, no socket, no thread
pub mod ledger;
pub mod packet;
pub mod redirect;
pub mod synth;
pub mod tcp;
pub mod redact;
pub mod shape;
pub mod http;
pub mod dissect;
pub mod filter;
pub mod format;
pub mod inject;
// edges: each knows one outside thing
pub mod config;
pub mod identity;
pub mod logging;
pub mod source;
pub mod sink;
#[cfg(feature = "es")]
pub mod setup;
pub mod metrics;
pub mod demo;
pub mod webhook;
// whole: wiring only
pub mod pipeline;
pub mod assembly;
pub mod cli;
pub mod replay;
pub mod run;
