//! Capture threads: started, and waited for at the end, within a time. What they do is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::exchange::SeenProtocols;
use crate::source::live::CaptureError;

/// What a capture thread ends with: its dissector's last words, and why it ended early.
pub(super) type CaptureResult = (SeenProtocols, Result<(), CaptureError>);

/// A capture thread.
#[derive(Debug)]
pub(super) struct CaptureThread {
    pub(super) interface: String,
    thread: JoinHandle<CaptureResult>,
    /// Closed when the thread ends, whatever way.
    ended: Receiver<()>,
}

impl CaptureThread {
    /// Starts a thread that is named after the interface, and has `any_ended` say so when it ends.
    pub(super) fn start(
        interface: String,
        any_ended: &Arc<Notify>,
        run: impl FnOnce() -> CaptureResult + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, ended): (SyncSender<()>, _) = sync_channel(0);
        let ends = EndNotice { sender: Some(sender), any_ended: Arc::clone(any_ended) };
        let thread = std::thread::Builder::new().name(format!("cap-{interface}")).spawn(move || {
            let _ends = ends;
            run()
        })?;
        Ok(Self { interface, thread, ended })
    }

    /// Whether its thread has nothing more to do than to end.
    pub(super) fn is_finished(&self) -> bool {
        self.ended.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits for its end. The error is the interface of one that panicked.
    pub(super) fn join(self) -> Result<CaptureResult, String> {
        self.thread.join().map_err(|_| self.interface)
    }
}

/// Dropped when a thread ends, whatever way: first it is over, then that is said.
struct EndNotice {
    sender: Option<SyncSender<()>>,
    any_ended: Arc<Notify>,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.sender.take();
        self.any_ended.notify_one();
    }
}

/// Waits for all of them, so long at most; false when one panicked or has not ended by then. What that one has captured
/// and not worked off is lost, and its counters stay as it last published them. `left`: how many have not ended.
pub(super) fn join(
    captures: Vec<CaptureThread>,
    patience: Duration,
    protocols: &mut SeenProtocols,
    left: &AtomicU64,
) -> bool {
    let deadline = now() + patience;
    let mut whole = true;
    left.store(captures.len() as u64, Ordering::Relaxed);
    for capture in captures {
        let patience = deadline.saturating_duration_since(now());
        if let Err(RecvTimeoutError::Timeout) = capture.ended.recv_timeout(patience) {
            tracing::error!(
                interface = capture.interface,
                "the capture is too far behind to wait for; the frames it has not processed are lost and not counted"
            );
            whole = false;
            continue;
        }
        left.fetch_sub(1, Ordering::Relaxed);
        match capture.join() {
            Ok((seen, _)) => protocols.merge(&seen),
            Err(interface) => {
                tracing::error!(interface, "internal error: the capture thread crashed; capture stopped");
                whole = false;
            }
        }
    }
    whole
}

#[allow(clippy::disallowed_methods, reason = "a deadline of the shutdown runs on this machine's clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_that_does_not_end_is_not_waited_for_and_the_others_are() {
        let (release, held) = sync_channel::<()>(0);
        let any = Arc::default();
        let stuck = CaptureThread::start("eth0".to_owned(), &any, move || {
            let _ = held.recv();
            (SeenProtocols::default(), Ok(()))
        });
        let sound = || CaptureThread::start("lo".to_owned(), &any, || (SeenProtocols::default(), Ok(())));
        let broken = || CaptureThread::start("eth1".to_owned(), &any, || panic!("a bug"));
        let patience = Duration::from_secs(60);
        let left = AtomicU64::default();
        let ended = |captures, patience| join(captures, patience, &mut SeenProtocols::default(), &left);
        assert!(ended(vec![sound().unwrap(), sound().unwrap()], patience));
        assert!(!ended(vec![broken().unwrap(), sound().unwrap()], patience));
        assert_eq!(left.load(Ordering::Relaxed), 0);
        // Would wait for ever, if it waited.
        assert!(!ended(vec![stuck.unwrap()], Duration::ZERO));
        assert_eq!(left.load(Ordering::Relaxed), 1);
        drop(release);
    }
}
