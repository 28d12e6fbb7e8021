//! All integration tests in one binary: linking is what takes the time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking; clippy.toml's exceptions do not reach the functions that tests call"
)]

mod allocations;
#[cfg(feature = "es")]
mod arrival;
mod binary;
mod campaign;
mod canary;
mod chart;
mod clock;
mod community_id;
mod compliance;
mod connects;
mod conntrack;
mod corpora;
mod crossing;
mod demo;
mod e2e;
#[cfg(feature = "setup")]
mod elasticsearch;
mod feed;
mod flows;
mod fluentd;
mod followed;
mod forged;
mod fuzz_corpus;
mod golden;
mod grafana;
mod har;
mod hosts;
mod http2;
#[cfg(feature = "setup")]
mod kibana;
mod in_terminal;
#[cfg(feature = "inject")]
mod inject;
mod labs;
mod limits;
mod live;
mod logstash;
mod metamorphic;
mod namespace;
mod privilege;
mod processes;
mod proportion;
mod readme;
mod redirected;
mod replay_cli;
mod report;
mod restarts;
mod rotation;
mod servers;
mod small_disk;
mod spool;
mod tidy;
#[cfg(feature = "top")]
mod top;
mod verdicts;
mod view;
#[cfg(feature = "webhook")]
mod webhook;
