//! The observer as it is now: names from the settings, labels and annotations from the files of the Downward API. The
//! kubelet rewrites those files when they change.
//!
//! Calls no API server. Who writes records subscribes to it (`published`).

mod downward;

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use downward::DownwardPairs;

use crate::format::{Observer, Pod};
use crate::glob::{BadPattern, Glob};
use crate::published::{Published, Subscription};
use crate::record::LabelSet;
use crate::settings::{Settings, printable};

/// Longest file read: Kubernetes allows 256 KiB of annotations, and its escapes make that longer.
const LONGEST_FILE: u64 = 1 << 20;
/// Maximum labels or annotations in a record, and their bytes: every record carries them.
const MOST: usize = 64;
const MOST_BYTES: usize = 4096;
/// Labels that name an application, the first that is there.
const APP: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];

/// What every record of this process has in common. Clones share one state.
#[derive(Clone, Debug)]
pub struct Identity(Arc<IdentityState>);

#[derive(Debug)]
struct IdentityState {
    settings: Settings,
    hostname: Option<String>,
    annotations: Vec<Glob>,
    observer: Published<Observer>,
    /// The files as they were read last.
    read: Mutex<[Option<FileStamp>; 2]>,
}

/// What changes when a file does. The kubelet swaps a link to a directory, so it is another file then.
type FileStamp = (u64, u64, u64, Option<SystemTime>);

impl Identity {
    /// Reads what there is; a file that is not there is no error, most pods have none.
    pub fn new(settings: &Settings) -> Result<Self, BadPattern> {
        let annotations = settings.annotations.iter().map(|name| Glob::new(name)).collect::<Result<_, _>>()?;
        let identity = Self(Arc::new(IdentityState {
            settings: settings.clone(),
            hostname: hostname(),
            annotations,
            observer: Published::default(),
            read: Mutex::default(),
        }));
        identity.read(&mut identity.lock());
        Ok(identity)
    }

    /// As it is now.
    pub fn observer(&self) -> Arc<Observer> {
        self.0.observer.now()
    }

    /// The pod in words, as far as it is known; none if it has no name.
    pub fn introduction(&self) -> Option<String> {
        let pod = &self.observer().pod;
        let name = pod.name.as_deref()?;
        let namespace = pod.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let node = pod.node.as_deref().map(|node| format!(" on node {node}")).unwrap_or_default();
        let labels = match pod.labels.iter().count() {
            0 => "no labels known".to_owned(),
            1 => "one label".to_owned(),
            n => format!("{n} labels"),
        };
        Some(printable(&format!("pod {namespace}{name}{node}, {labels}")))
    }

    /// Reads labels and annotations again when their files are others. True when the records to come differ. Costs two
    /// system calls while nothing changes.
    pub fn refresh(&self) -> bool {
        let mut read = self.lock();
        *read != self.stamps() && self.read(&mut read)
    }

    /// What one writer of records asks.
    pub fn subscribe(&self) -> Subscription<Observer> {
        self.0.observer.subscribe()
    }

    /// Stamps first: what changes while it is read is read again at the next look.
    fn read(&self, read: &mut [Option<FileStamp>; 2]) -> bool {
        let IdentityState { settings, hostname, .. } = &*self.0;
        *read = self.stamps();
        let labels = pairs(settings.pod_labels_path.as_deref());
        let mut annotations = pairs(settings.pod_annotations_path.as_deref());
        annotations.retain(|(name, _)| self.0.annotations.iter().any(|allowed| allowed.matches(name.as_bytes())));
        self.0.observer.publish(observer(settings, hostname.as_deref(), labels, annotations))
    }

    fn stamps(&self) -> [Option<FileStamp>; 2] {
        let settings = &self.0.settings;
        [&settings.pod_labels_path, &settings.pod_annotations_path].map(|path| stamp(path.as_deref()?))
    }

    /// What is in it is whole at any time.
    fn lock(&self) -> MutexGuard<'_, [Option<FileStamp>; 2]> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.modified().ok()))
}

fn pairs(path: Option<&Path>) -> DownwardPairs {
    let Some(path) = path else { return DownwardPairs::new() };
    let mut text = Vec::new();
    let outcome = std::fs::File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut text));
    match outcome {
        Ok(_) => downward::parse(&String::from_utf8_lossy(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => DownwardPairs::new(),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the Downward API's file cannot be read");
            DownwardPairs::new()
        }
    }
}

fn observer(
    settings: &Settings,
    hostname: Option<&str>,
    labels: DownwardPairs,
    annotations: DownwardPairs,
) -> Observer {
    let short = |text: &Option<String>| text.as_deref().map(Into::into);
    let app = || {
        let value = |wanted| labels.iter().find(|(name, value)| name == wanted && !value.is_empty());
        APP.into_iter().find_map(value).map(|(_, value)| value.as_str().into())
    };
    Observer {
        service_name: short(&settings.service_name).or_else(app),
        labels: settings.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect(),
        host_name: short(&settings.node_name).or_else(|| hostname.map(Into::into)),
        hostname: hostname.map(Into::into),
        cluster_name: short(&settings.cluster_name),
        pod: Pod {
            namespace: short(&settings.pod_namespace),
            name: short(&settings.pod_name),
            uid: short(&settings.pod_uid),
            ip: settings.pod_ip.or_else(|| settings.pod_ips.first().copied()),
            node: short(&settings.node_name),
            labels: bounded("labels", labels),
            annotations: bounded("annotations", annotations),
        },
    }
}

/// As many as a record may carry, in the order of their names; says when that is not all.
fn bounded(what: &str, mut pairs: DownwardPairs) -> LabelSet {
    pairs.sort();
    let all = pairs.len();
    let mut room = MOST_BYTES;
    pairs.truncate(MOST);
    pairs.retain(|(name, value)| match room.checked_sub(name.len() + value.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    if pairs.len() < all {
        tracing::warn!(
            "{} of the pod's {all} {what} stay out of the records: {MOST} and {MOST_BYTES} bytes fit",
            all - pairs.len()
        );
    }
    pairs.into_iter().collect()
}

/// What the kernel calls this host; in a pod, the pod's name.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
