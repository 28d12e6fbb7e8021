//! Connections over which a batch was sent whole, and that may still acknowledge it while it goes again over another one.
//! Owns the listening; what an acknowledgement is, the sinks know.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections that are listened to at once.
const MOST: usize = 4;
/// How long each.
const PATIENCE: Duration = Duration::from_secs(240);

/// All of one batch.
#[derive(Debug, Default)]
pub(in crate::sink) struct Late {
    batch: String,
    waiting: JoinSet<bool>,
}

impl Late {
    /// Goes on listening if it is about this batch; else the connections are closed.
    pub(in crate::sink) fn about(&mut self, batch: impl FnOnce() -> String) {
        if !self.waiting.is_empty() && self.batch != batch() {
            *self = Self::default();
        }
    }

    /// `answer` says whether the batch was acknowledged, and owns the connection.
    pub(in crate::sink) fn listen(&mut self, batch: String, answer: impl Future<Output = bool> + Send + 'static) {
        self.batch = batch;
        if self.waiting.len() < MOST {
            self.waiting.spawn(async move { timeout(PATIENCE, answer).await.unwrap_or(false) });
        }
    }

    /// Comes when the batch was acknowledged; never where it is not.
    pub(in crate::sink) async fn acknowledged(&mut self) {
        while let Some(outcome) = self.waiting.join_next().await {
            if matches!(outcome, Ok(true)) {
                self.waiting.abort_all();
                return;
            }
        }
        std::future::pending().await
    }
}
