//! podtap: from packets to trustworthy HTTP records.
//!
//! The order of the `pub mod` lines is the dependency order: a module uses only modules declared above it
//! (`tests/it/tidy.rs` holds it to that).

// words: know nothing else
pub mod flow;
pub mod record;
// sans-IO: no clock, no socket, no thread
pub mod ledger;
pub mod packet;
pub mod tcp;
// edges: know one outside thing each
pub mod logging;
pub mod sink;
// sees every ledger, the sinks' too
pub mod metrics;
// whole: wiring only
pub mod pipeline;
