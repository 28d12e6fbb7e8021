//! How a TCP connection began, and which process asked for it. Plain data: `connects` finds the process, `format` shows it.

use std::sync::{Arc, OnceLock};

use super::{Exchange, FlowRecord, Process};
use crate::flow::Timestamp;

/// The beginning of a connection whose SYN was captured.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionOpening {
    /// When the first SYN was captured.
    pub at: Timestamp,
    /// The process that asked for the connection, where one is known; empty until it was looked for.
    pub asker: OnceLock<Option<Arc<Process>>>,
}

impl ConnectionOpening {
    /// Nothing was looked for yet.
    pub fn new(at: Timestamp) -> Self {
        Self { at, asker: OnceLock::new() }
    }

    fn process(&self) -> Option<&Process> {
        self.asker.get()?.as_deref()
    }
}

impl Exchange {
    /// The process that asked for the connection, where it is known.
    pub fn process(&self) -> Option<&Process> {
        self.connection.opening.as_ref()?.process()
    }
}

impl FlowRecord {
    /// The process that asked for the connection, where it is known.
    pub fn process(&self) -> Option<&Process> {
        self.opening.as_ref()?.process()
    }
}
