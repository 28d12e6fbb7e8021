//! The signals podtap listens to. Decides nothing about what follows.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT, SIGHUP. Made before anything else starts. The first process of a container gets no signal that it
/// does not listen to, and any other process would be ended by it.
pub(super) struct Signals {
    pub(super) term: Signal,
    pub(super) int: Signal,
    pub(super) hup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let on = |kind| signal(kind);
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hup: on(SignalKind::hangup())?,
        })
    }

    /// Somebody asks to stop, again.
    pub(super) async fn asked_again(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// At once where somebody has asked again already, else when somebody does.
    pub(super) async fn hurry(&mut self, asked_already: bool) {
        if !asked_already {
            self.asked_again().await;
        }
    }
}
