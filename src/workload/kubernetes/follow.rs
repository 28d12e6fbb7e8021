//! One kind of objects, followed: a list in pages, then a watch, for ever. Owns versions, waits and what to do after each
//! failure; what objects mean is `cluster`'s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::api::{ApiConnection, RequestTrouble};
use super::cluster::{ClusterState, SeenIn, WatchedKind};
use super::objects::{ObjectList, WatchEvent};
use super::{FollowedPlace, FollowerCounts};
use crate::flow::Timestamp;
use crate::settings::printable_up_to;
use crate::sink::RetryBackoff;

/// Objects on one page: some megabytes of JSON at most.
const PAGE: u32 = 250;
/// How long the server is to keep a watch open, at least. Up to half as long again, so that not all come back at once.
const WATCH_SECONDS: u64 = 240;
/// A watch that is silent for so much longer than it was to last is dead.
const MARGIN: Duration = Duration::from_secs(30);
/// Between two attempts.
const BACKOFF: RetryBackoff = RetryBackoff { first: Duration::from_millis(500), most: Duration::from_secs(30) };
/// After a refusal: what is not allowed stays so for a while.
const AFTER_REFUSAL: Duration = Duration::from_secs(300);
/// How long names are believed that cannot be asked for any more, nanoseconds: addresses change hands.
const BELIEVED_NS: u64 = 60_000_000_000;
/// A watch that ends sooner than this was no watch.
const SHORT: Duration = Duration::from_secs(1);

/// Follows one kind of objects.
pub(super) struct KindFollower {
    pub(super) kind: WatchedKind,
    pub(super) place: FollowedPlace,
    pub(super) api: ApiConnection,
    pub(super) cluster: Arc<Mutex<ClusterState>>,
    pub(super) counts: Arc<FollowerCounts>,
    pub(super) seen: SeenIn,
    pub(super) version: String,
    /// When it was last known to be up to date.
    pub(super) up_to_date: Timestamp,
    pub(super) now: fn() -> Timestamp,
    pub(super) trouble: Option<RequestTrouble>,
    pub(super) attempts: u32,
}

impl KindFollower {
    /// Never ends.
    pub(super) async fn run(mut self) {
        loop {
            match self.list().await {
                Ok(()) => self.recovered(),
                Err(trouble) => {
                    self.failed(&trouble).await;
                    continue;
                }
            }
            loop {
                let began = tokio::time::Instant::now();
                match self.watch().await {
                    Ok(()) if began.elapsed() >= SHORT => self.recovered(),
                    Ok(()) => tokio::time::sleep(self.pause()).await,
                    Err(RequestTrouble::Expired) => {
                        FollowerCounts::add(&self.counts.expired);
                        break;
                    }
                    Err(trouble) => self.failed(&trouble).await,
                }
            }
        }
    }

    /// Reads all pages. What they do not show has gone.
    pub(super) async fn list(&mut self) -> Result<(), RequestTrouble> {
        FollowerCounts::add(&self.counts.lists);
        self.seen.list = self.seen.list.wrapping_add(1);
        let (mut limit, mut next) = (PAGE, String::new());
        loop {
            let path = self.place.list(limit, &next);
            let page = match self.api.get(&path).await {
                Err(RequestTrouble::TooLarge) if limit > 1 => {
                    limit = (limit / 4).max(1);
                    continue;
                }
                page => page?,
            };
            let list: ObjectList = serde_json::from_slice(&page).map_err(|error| unreadable(&error))?;
            drop(page);
            let now = (self.now)();
            let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
            for object in list.items.into_iter().flatten() {
                cluster.apply(self.kind, object, self.seen, now);
            }
            self.version = list.metadata.resource_version.unwrap_or_default();
            next = list.metadata.next.unwrap_or_default();
            if next.is_empty() {
                cluster.sweep(self.kind, self.seen, self.up_to_date);
                cluster.believe(self.kind, self.seen.by, None);
                self.up_to_date = now;
                return Ok(());
            }
        }
    }

    /// Reads one watch to its end. `Expired`: the list has to be read again.
    pub(super) async fn watch(&mut self) -> Result<(), RequestTrouble> {
        FollowerCounts::add(&self.counts.watches);
        let seconds = WATCH_SECONDS + u64::from(self.seen.by) * 7 % (WATCH_SECONDS / 2);
        let path = self.place.watch(&self.version, seconds);
        let mut lines = self.api.watch(&path, Duration::from_secs(seconds) + MARGIN).await?;
        self.up_to_date = (self.now)();
        self.believe(None);
        loop {
            let mut event = Ok(());
            let more = {
                let Self { kind, cluster, counts, seen, version, up_to_date, now, .. } = self;
                lines.next(|line| {
                    *up_to_date = now();
                    event = take(line, *kind, cluster, counts, *seen, version, *up_to_date);
                })
            };
            match more.await {
                Ok(true) => event?,
                Ok(false) => return Ok(()),
                // It was of an object that is too large to be one; the others go on.
                Err(RequestTrouble::TooLarge) => FollowerCounts::add(&self.counts.failures),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn believe(&self, until: Option<Timestamp>) {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        cluster.believe(self.kind, self.seen.by, until);
    }

    /// Says so at the first one of a kind, and waits. Names are believed for a while longer.
    pub(super) async fn failed(&mut self, trouble: &RequestTrouble) {
        FollowerCounts::add(&self.counts.failures);
        self.believe(Some(self.up_to_date.plus(BELIEVED_NS)));
        let what = self.place.words();
        if self.trouble.as_ref() != Some(trouble) {
            let words = printable_up_to(600, &trouble.words());
            match trouble {
                RequestTrouble::Refused(403 | 404, _) if self.place.optional => {
                    tracing::debug!("no {what} are followed: {words}");
                }
                RequestTrouble::Refused(403, _) => {
                    tracing::warn!(
                        "{what} stay without names: {words}. Give the service account the role of docs/workloads.md"
                    );
                }
                RequestTrouble::Expired
                | RequestTrouble::TooLarge
                | RequestTrouble::Refused(..)
                | RequestTrouble::Failed(_) => {
                    tracing::warn!("{what} cannot be followed now; names may be missing until then: {words}");
                }
            }
            self.trouble = Some(trouble.clone());
        }
        let pause = match trouble {
            RequestTrouble::Refused(403 | 404, _) => AFTER_REFUSAL,
            RequestTrouble::Expired
            | RequestTrouble::TooLarge
            | RequestTrouble::Refused(..)
            | RequestTrouble::Failed(_) => self.pause(),
        };
        tokio::time::sleep(pause).await;
    }

    fn recovered(&mut self) {
        self.attempts = 0;
        let count = self.cluster.lock().unwrap_or_else(PoisonError::into_inner).count(self.kind);
        let what = self.place.words();
        if self.trouble.take().is_some() {
            tracing::info!("{what} are followed again: {count}");
        } else {
            tracing::debug!("{what} are followed: {count}");
        }
    }

    fn pause(&mut self) -> Duration {
        let pause = BACKOFF.wait(self.attempts, super::super::random());
        self.attempts = self.attempts.saturating_add(1);
        pause
    }
}

fn unreadable(error: &serde_json::Error) -> RequestTrouble {
    RequestTrouble::Failed(format!("the answer cannot be read: {error}"))
}

/// One line of a watch.
fn take(
    line: &[u8],
    kind: WatchedKind,
    cluster: &Mutex<ClusterState>,
    counts: &FollowerCounts,
    seen: SeenIn,
    version: &mut String,
    now: Timestamp,
) -> Result<(), RequestTrouble> {
    // One that cannot be read must not keep the others from being read.
    let Ok(WatchEvent { kind: event, object }) = serde_json::from_slice(line) else {
        FollowerCounts::add(&counts.failures);
        return Ok(());
    };
    if event == "ERROR" {
        let words = object.message.unwrap_or_default();
        return Err(match object.code {
            Some(410) => RequestTrouble::Expired,
            code => RequestTrouble::Refused(code.unwrap_or_default(), words),
        });
    }
    if let Some(newer) = object.metadata.as_ref().and_then(|meta| meta.resource_version.as_ref()) {
        version.clear();
        version.push_str(newer);
    }
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    match event.as_str() {
        "ADDED" | "MODIFIED" => cluster.apply(kind, object, seen, now),
        "DELETED" => cluster.deleted(kind, object, now),
        // A bookmark, or what a later API adds.
        _ => return Ok(()),
    }
    FollowerCounts::add(&counts.events);
    Ok(())
}
