//! Names from Kubernetes' API: pods, Services, EndpointSlices, nodes, and kube-ovn's floating addresses.
//!
//! Each kind is listed in pages and then watched, by a client of a few hundred lines over the HTTP that is there anyway.
//! Whole objects are never kept. It asks for nothing else and changes nothing.

mod access;
mod api;
mod cluster;
mod follow;
mod objects;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(super) use self::access::ApiAccess;
use self::api::{ApiConnection, RequestTrouble};
use self::cluster::{ClusterState, FIP_LABEL, SeenIn, WatchedKind};
use self::follow::KindFollower;
use super::ReachedSource;
use super::table::WorkloadTable;
use crate::flow::Timestamp;
use crate::ledger::WorkloadCounts;
use crate::sink::connect::OnSocket;

/// What followers count.
#[derive(Debug, Default)]
pub(super) struct FollowerCounts {
    lists: AtomicU64,
    watches: AtomicU64,
    events: AtomicU64,
    expired: AtomicU64,
    failures: AtomicU64,
}

impl FollowerCounts {
    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds them to all others.
    pub(super) fn put(&self, into: &mut WorkloadCounts) {
        let at = |count: &AtomicU64| count.load(Ordering::Relaxed);
        into.kubernetes_lists += at(&self.lists);
        into.kubernetes_watches += at(&self.watches);
        into.kubernetes_events += at(&self.events);
        into.kubernetes_expired += at(&self.expired);
        into.kubernetes_failures += at(&self.failures);
    }
}

/// A kind of objects, in one namespace or in all.
#[derive(Clone, Debug)]
struct FollowedPlace {
    kind: WatchedKind,
    namespace: Option<String>,
    /// Not every cluster has them.
    optional: bool,
}

impl FollowedPlace {
    /// What is followed: nodes and floating addresses belong to no namespace, and are left out where only some are asked for.
    fn all(namespaces: &[String]) -> Vec<Self> {
        let kinds = [WatchedKind::Pods, WatchedKind::Services, WatchedKind::Slices];
        if namespaces.is_empty() {
            let of = |kind, optional| Self { kind, namespace: None, optional };
            let own = kinds.into_iter().map(|kind| of(kind, false));
            return own.chain([of(WatchedKind::Nodes, false), of(WatchedKind::Fips, true)]).collect();
        }
        let of =
            |namespace: &String| kinds.map(|kind| Self { kind, namespace: Some(namespace.clone()), optional: false });
        namespaces.iter().flat_map(of).collect()
    }

    fn path(&self) -> String {
        let (group, plural) = match self.kind {
            WatchedKind::Pods => ("/api/v1", "pods"),
            WatchedKind::Services => ("/api/v1", "services"),
            WatchedKind::Nodes => ("/api/v1", "nodes"),
            WatchedKind::Slices => ("/apis/discovery.k8s.io/v1", "endpointslices"),
            WatchedKind::Fips => ("/apis/kubeovn.io/v1", "ovn-fips"),
        };
        let namespace =
            self.namespace.as_ref().map(|name| format!("/namespaces/{}", escaped(name))).unwrap_or_default();
        format!("{group}{namespace}/{plural}")
    }

    fn list(&self, limit: u32, next: &str) -> String {
        let next = if next.is_empty() { String::new() } else { format!("&continue={}", escaped(next)) };
        format!("{}?limit={limit}{next}{}", self.path(), self.selector())
    }

    fn watch(&self, version: &str, seconds: u64) -> String {
        let version = escaped(version);
        let selector = self.selector();
        let path = self.path();
        format!("{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}{selector}")
    }

    fn selector(&self) -> String {
        if self.kind == WatchedKind::Fips { format!("&labelSelector={}", escaped(FIP_LABEL)) } else { String::new() }
    }

    fn words(&self) -> String {
        let what = match self.kind {
            WatchedKind::Pods => "pods",
            WatchedKind::Services => "Services",
            WatchedKind::Slices => "EndpointSlices",
            WatchedKind::Nodes => "nodes",
            WatchedKind::Fips => "ovn-fips",
        };
        self.namespace.as_ref().map_or(what.to_owned(), |namespace| format!("{what} of namespace {namespace}"))
    }
}

/// For a query (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What is to be followed, and where it goes.
pub(super) struct Job {
    pub(super) access: Result<ApiAccess, String>,
    pub(super) namespaces: Vec<String>,
    pub(super) table: Arc<WorkloadTable>,
    /// The place of Kubernetes in WORKLOADS.
    pub(super) source: u8,
    pub(super) counts: Arc<FollowerCounts>,
}

impl Job {
    /// Asks for one object of each kind.
    pub(super) async fn probe(self) -> Vec<ReachedSource> {
        let access = match self.access {
            Ok(access) => access,
            Err(why) => return vec![ReachedSource { what: "Kubernetes".to_owned(), fault: Some(why) }],
        };
        let mut found = Vec::new();
        for place in FollowedPlace::all(&self.namespaces) {
            let what = format!("{access}: {}", place.words());
            let answer = match ApiConnection::new(access.clone(), None) {
                Ok(mut api) => api.get(&place.list(1, "")).await,
                Err(why) => Err(RequestTrouble::Failed(why)),
            };
            match answer {
                Ok(_) => found.push(ReachedSource { what, fault: None }),
                Err(RequestTrouble::Refused(403 | 404, _)) if place.optional => {}
                Err(trouble) => found.push(ReachedSource { what, fault: Some(trouble.words()) }),
            }
        }
        found
    }

    /// Follows everything, as tasks of the runtime that this is called in; `hook` learns of every connection.
    pub(super) fn start(self, hook: &OnSocket) -> Result<(), String> {
        let access = self.access?;
        let cluster = Arc::new(Mutex::new(ClusterState::new(self.table, self.source)));
        for (place, by) in FollowedPlace::all(&self.namespaces).into_iter().zip(0..) {
            let follower = KindFollower {
                kind: place.kind,
                place,
                api: ApiConnection::new(access.clone(), Some(hook.clone()))?,
                cluster: Arc::clone(&cluster),
                counts: Arc::clone(&self.counts),
                seen: SeenIn { by, list: 0 },
                version: String::new(),
                up_to_date: Timestamp(0),
                now: super::wall_clock,
                trouble: None,
                attempts: 0,
            };
            tokio::spawn(follower.run());
        }
        Ok(())
    }
}
