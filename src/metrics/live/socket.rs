//! The socket of `Feed`: a Unix socket by name in the network namespace, so it needs no file, no port and no right. Owns who
//! may watch, and how many; makes no record.
//!
//! All who share the network namespace can see the name. So the kernel is asked who connects: the user that podtap runs as,
//! and root. A port would not do: behind a mesh, a proxy or a careless application strangers come from loopback too.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{interval, timeout};

use super::{Block, Notice, NoticeLine};
use crate::metrics::Metrics;

/// Watchers at once.
const MOST_WATCHERS: usize = 4;
/// From one block of records to the next.
pub(super) const EVERY: Duration = Duration::from_millis(50);
/// Blocks that a slow watcher may be behind; further ones it misses.
const BEHIND: usize = 2;
/// A watcher that takes nothing for so long has gone, or is stopped: its place is for another one.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one notice to the next.
const NOTICE_EVERY: Duration = Duration::from_secs(1);
/// Pause when no watcher can be accepted (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The name of the socket of the podtap that has this port for its metrics.
pub fn address(port: u16) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("podtap-{port}"))
}

/// A bound socket.
#[derive(Debug)]
pub struct LiveSocket(UnixListener);

impl LiveSocket {
    /// Binds; if the name is taken, only warns.
    pub fn bind(port: u16) -> Option<Self> {
        let bound = address(port).and_then(|address| {
            let listener = UnixListener::bind_addr(&address)?;
            listener.set_nonblocking(true)?;
            Ok(Self(listener))
        });
        bound.inspect_err(|error| tracing::warn!(%error, "`podtap top` cannot watch: no socket podtap-{port}")).ok()
    }

    /// Serves watchers until dropped; needs a tokio runtime with network and time.
    pub async fn serve(self, metrics: Arc<Metrics>) {
        let listener = match tokio::net::UnixListener::from_std(self.0) {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(%error, "`podtap top` cannot watch"),
        };
        let (blocks, _) = broadcast::channel(BEHIND);
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(admit(stream, Arc::clone(&metrics), blocks.clone()))),
                    Err(error) => {
                        tracing::debug!(%error, "no watcher can be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = pump(&metrics, &blocks) => {}
        }
    }
}

/// Makes blocks as long as one watches.
async fn pump(metrics: &Metrics, blocks: &broadcast::Sender<Arc<Block>>) {
    let mut tick = interval(EVERY);
    let mut from = 0;
    loop {
        if !metrics.feed.is_watched() {
            metrics.feed.came.notified().await;
            // What was left when the last watcher went.
            from = metrics.feed.take(from).to;
        }
        tick.tick().await;
        let block = metrics.feed.take(from);
        if block.to > from {
            from = block.to;
            // Without a receiver it is dropped.
            let _ = blocks.send(Arc::new(block));
        }
    }
}

/// Holds one of the places.
struct Place(Arc<Metrics>);

impl Place {
    fn new(metrics: &Arc<Metrics>) -> Option<Self> {
        let free = |taken: usize| (taken < MOST_WATCHERS).then_some(taken + 1);
        metrics.feed.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        metrics.feed.came.notify_one();
        Some(Self(Arc::clone(metrics)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.feed.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn admit(mut stream: UnixStream, metrics: Arc<Metrics>, blocks: broadcast::Sender<Arc<Block>>) {
    let refused = match stream.peer_cred() {
        Ok(peer) if may_watch(peer.uid(), own_uid()) => None,
        Ok(_) => Some(format!("it runs as user {}: only that user and root may watch it", own_uid())),
        Err(error) => Some(format!("it cannot see who asks: {error}")),
    };
    let place = Place::new(&metrics);
    let is_full = place.is_none().then(|| format!("{MOST_WATCHERS} watch it already"));
    let outcome = match refused.or(is_full) {
        Some(refused) => write(&mut stream, &line(Notice { refused: Some(refused), ..Notice::default() })).await,
        None => watch(&mut stream, &metrics, blocks.subscribe()).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a watcher left");
    }
}

/// Until it leaves, or takes nothing any more.
async fn watch(
    stream: &mut UnixStream,
    metrics: &Metrics,
    mut blocks: broadcast::Receiver<Arc<Block>>,
) -> io::Result<()> {
    let mut notice = interval(NOTICE_EVERY);
    let mut missed = 0;
    let mut expected = None;
    loop {
        tokio::select! {
            _ = notice.tick() => {
                write(stream, &line(Notice { refused: None, missed, status: metrics.status() })).await?;
            }
            block = blocks.recv() => match block {
                Ok(block) => {
                    missed += block.to - expected.unwrap_or(block.from) - block.number;
                    expected = Some(block.to);
                    write(stream, &block.text).await?;
                }
                // What it was behind is missing between this block and the next.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

async fn write(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    let written = timeout(PATIENCE, stream.write_all(bytes)).await;
    written.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it takes nothing")))
}

/// A notice with its line feed.
fn line(notice: Notice) -> Vec<u8> {
    // Plain numbers and strings: it does not fail.
    let mut line = serde_json::to_vec(&NoticeLine { watch: notice }).unwrap_or_default();
    line.push(b'\n');
    line
}

fn may_watch(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

fn own_uid() -> u32 {
    #[allow(unsafe_code, reason = "std does not ask who we are")]
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe {
        libc::geteuid()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};

    use super::*;
    use crate::metrics::{WaitingRequests, lock};
    use crate::record::sample::{exchange, record};
    use crate::sink::Sinks;

    type Watcher = Lines<BufReader<UnixStream>>;

    /// Sockets without a name: a test needs no free one.
    fn served(metrics: &Arc<Metrics>, blocks: &broadcast::Sender<Arc<Block>>) -> UnixStream {
        let (watcher, inside) = UnixStream::pair().unwrap();
        tokio::spawn(admit(inside, Arc::clone(metrics), blocks.clone()));
        watcher
    }

    async fn notice(watcher: &mut Watcher) -> Notice {
        let line = watcher.next_line().await.unwrap().unwrap();
        serde_json::from_str::<NoticeLine>(&line).unwrap_or_else(|error| panic!("{error}: {line}")).watch
    }

    fn offer(metrics: &Arc<Metrics>, number: usize) {
        let (mut requests, probe) = (WaitingRequests::default(), metrics.probe());
        (0..number).for_each(|_| requests.add(record(exchange()), probe.is_watched()));
        probe.count(&mut requests);
    }

    #[test]
    fn the_same_user_and_root_may_watch() {
        for (peer, own, may) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(may_watch(peer, own), may, "{peer} {own}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_gets_the_status_and_each_record_and_one_more_than_there_are_places_is_refused() {
        let metrics = Metrics::new(Sinks::default());
        let (blocks, _) = broadcast::channel(BEHIND);
        offer(&metrics, 3);
        assert_eq!(lock(&metrics.feed.waiting).offered, 0, "no one watches");
        let mut watchers = Vec::new();
        for _ in 0..MOST_WATCHERS {
            let mut watcher = BufReader::new(served(&metrics, &blocks)).lines();
            assert_eq!(notice(&mut watcher).await.refused, None);
            watchers.push(watcher);
        }
        let mut late = BufReader::new(served(&metrics, &blocks)).lines();
        assert_eq!(notice(&mut late).await.refused.as_deref(), Some("4 watch it already"));
        assert_eq!(late.next_line().await.unwrap(), None);
        offer(&metrics, 3);
        blocks.send(Arc::new(metrics.feed.take(0))).unwrap();
        for watcher in &mut watchers {
            for _ in 0..3 {
                let line = watcher.next_line().await.unwrap().unwrap();
                assert!(line.contains("\"dataset\":\"podtap.http\""), "{line}");
            }
        }
        drop(watchers);
        // Each finds out with its next notice, and its place is free.
        while metrics.feed.is_watched() {
            tokio::time::sleep(NOTICE_EVERY).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_slow_watcher_misses_is_counted_exactly_and_holds_up_no_other() {
        let metrics = Metrics::new(Sinks::default());
        let (blocks, _) = broadcast::channel(BEHIND);
        let (slow, mut quick) = (served(&metrics, &blocks), BufReader::new(served(&metrics, &blocks)).lines());
        notice(&mut quick).await;
        let (mut from, mut offered, mut of_quick) = (0, 0, (0, 0));
        for number in [100, 300, 200, 300, 100, 300] {
            offer(&metrics, number);
            offered += number as u64;
            let block = metrics.feed.take(from);
            from = block.to;
            blocks.send(Arc::new(block)).unwrap();
            count(&mut quick, &mut of_quick, offered).await;
        }
        assert_eq!(of_quick, (1150, 150));
        let (mut slow, mut of_slow) = (BufReader::new(slow).lines(), (0, 0));
        count(&mut slow, &mut of_slow, offered).await;
        assert!(of_slow.0 + of_slow.1 == offered && of_slow.0 < 1150, "{of_slow:?}");
    }

    /// Reads until `until` records came or were missed.
    async fn count(watcher: &mut Watcher, (records, missed): &mut (u64, u64), until: u64) {
        while *records + *missed < until {
            let line = watcher.next_line().await.unwrap().unwrap();
            match serde_json::from_str::<NoticeLine>(&line) {
                Ok(line) => *missed = line.watch.missed,
                Err(_) => *records += 1,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_takes_nothing_any_more_loses_its_place() {
        let metrics = Metrics::new(Sinks::default());
        let (blocks, _) = broadcast::channel(BEHIND);
        let mut stopped = served(&metrics, &blocks);
        // Until its buffer is full, and then until the patience ends.
        while blocks.receiver_count() == 0 {
            tokio::time::sleep(NOTICE_EVERY).await;
        }
        while metrics.feed.is_watched() {
            let text = vec![b'x'; 1 << 20];
            let _ = blocks.send(Arc::new(Block { text, ..Block::default() }));
            tokio::time::sleep(NOTICE_EVERY).await;
        }
        assert!(stopped.read_to_end(&mut Vec::new()).await.unwrap() > 0);
    }
}
