//! What both ends of one connection do, step by step.
//!
//! Says what, not how: `live` plays it on sockets, the parent module renders it.

use std::time::Duration;

use crate::synth::SynthSide;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ScriptStep {
    /// One side sends, the other reads all of it.
    Send(SynthSide, Vec<u8>),
    /// Nothing happens.
    Pause(Duration),
    /// The client closes, then the server.
    Close,
    /// The server closes, then the client.
    HangUp,
    /// The server resets the connection.
    Reset,
}

/// One connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DemoScript {
    /// How long after the curtain it begins.
    pub(super) start: Duration,
    /// Requests in it, answered or not.
    pub(super) requests: u32,
    pub(super) steps: Vec<ScriptStep>,
}

impl DemoScript {
    pub(super) fn starting(millis: u64) -> Self {
        Self { start: Duration::from_millis(millis), requests: 0, steps: Vec::new() }
    }

    /// The client asks.
    pub(super) fn ask(mut self, request: impl Into<Vec<u8>>) -> Self {
        self.requests += 1;
        self.more(SynthSide::Client, request)
    }

    /// The server answers after `millis`.
    pub(super) fn answer(self, millis: u64, response: impl Into<Vec<u8>>) -> Self {
        self.pause(millis).more(SynthSide::Server, response)
    }

    /// More bytes of a message, or of what is no message.
    pub(super) fn more(mut self, side: SynthSide, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(ScriptStep::Send(side, bytes.into()));
        self
    }

    pub(super) fn pause(mut self, millis: u64) -> Self {
        self.steps.push(ScriptStep::Pause(Duration::from_millis(millis)));
        self
    }

    pub(super) fn close(mut self) -> Self {
        self.steps.push(ScriptStep::Close);
        self
    }

    pub(super) fn hang_up(mut self) -> Self {
        self.steps.push(ScriptStep::HangUp);
        self
    }

    pub(super) fn reset(mut self) -> Self {
        self.steps.push(ScriptStep::Reset);
        self
    }
}
