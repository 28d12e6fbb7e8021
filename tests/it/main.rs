//! One binary for all integration tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking; clippy.toml's exceptions do not reach the functions that tests call"
)]

mod fluentd;
