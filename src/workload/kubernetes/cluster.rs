//! The cluster as objects: which of them has which address, and since when. Applies what lists and watches say to the table.
//!
//! Pure: objects and time are arguments. Keeps of an object only its addresses, and of a Pod its name; the rest is in the
//! table.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::super::Rank;
use super::super::table::{AddressHolder, WorkloadTable};
use super::objects::{ApiObject, ObjectMeta, ObjectSpec, ObjectStatus};
use crate::flow::Timestamp;
use crate::record::{LabelSet, NameSet, Workload};

/// Maximum labels of one object, and their bytes: every record carries them.
const MAX_LABELS: usize = 64;
const MAX_LABEL_BYTES: usize = 4096;
/// The label by which kube-ovn finds the floating address of an `ovn-fips`.
pub(super) const FIP_LABEL: &str = "ovn.kubernetes.io/eip_v4_ip";
/// The label of an EndpointSlice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// What names an address that several kinds of objects have: the first of these.
const PODS: u8 = 0;
const SERVICES: u8 = 1;
const FIPS: u8 = 2;
const NODES: u8 = 3;
const BALANCERS: u8 = 4;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WatchedKind {
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// EndpointSlices.
    Slices,
    /// Nodes.
    Nodes,
    /// kube-ovn's floating addresses.
    Fips,
}

/// Who follows an object, and the list that showed it last or was the last one when a watch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenIn {
    /// The number of the follower.
    pub(super) by: u16,
    /// The number of the list.
    pub(super) list: u32,
}

/// What is known of one object.
#[derive(Debug)]
struct KnownObject {
    holder: AddressHolder,
    seen: SeenIn,
    places: Vec<(Rank, IpAddr)>,
    about: ObjectMeaning,
}

#[derive(Debug)]
enum ObjectMeaning {
    /// A Pod, by which an `ovn-fips` may mean it.
    Pod { namespace: CompactString, name: CompactString },
    /// The Service of an EndpointSlice.
    Slice { namespace: CompactString, service: CompactString },
    /// Whom a floating address may belong to, and whose it was last.
    Fip(Box<Fip>, Option<(Option<CompactString>, Option<CompactString>)>),
    /// Nothing else.
    Addresses,
}

#[derive(Clone, Debug, PartialEq)]
struct Fip {
    name: CompactString,
    /// `pod.namespace`
    ip_name: Option<CompactString>,
    pod_ip: Option<IpAddr>,
    since: Option<Timestamp>,
    address: Option<IpAddr>,
}

/// A unique id as a number: 36 characters would be most of what is kept of an object.
type Uid = u128;

/// Everything that is known.
#[derive(Debug)]
pub(super) struct ClusterState {
    table: Arc<WorkloadTable>,
    source: u8,
    objects: HashMap<(WatchedKind, Uid), KnownObject>,
    /// The Services behind an address: each slice that has it.
    serving: HashMap<IpAddr, Vec<Uid>>,
    fips: HashSet<Uid>,
    /// Followers that cannot ask now, and up to when each is believed.
    stale: HashMap<u16, (WatchedKind, Timestamp)>,
    holders: u64,
}

impl ClusterState {
    /// Nothing is known; `source` is the place of Kubernetes in WORKLOADS.
    pub(super) fn new(table: Arc<WorkloadTable>, source: u8) -> Self {
        let (objects, serving, fips, stale) = Default::default();
        Self { table, source, objects, serving, fips, stale, holders: 0 }
    }

    /// How many objects of a kind are known.
    pub(super) fn count(&self, kind: WatchedKind) -> usize {
        self.objects.keys().filter(|(of, _)| *of == kind).count()
    }

    /// A follower is up to date, or cannot ask and is believed up to a time. Of several the first one to end counts.
    pub(super) fn believe(&mut self, kind: WatchedKind, by: u16, until: Option<Timestamp>) {
        match until {
            Some(until) => _ = self.stale.entry(by).or_insert((kind, until)),
            None => _ = self.stale.remove(&by),
        }
        let until = self.stale.values().filter(|(of, _)| *of == kind).map(|(_, until)| *until).min();
        let ranks: &[u8] = match kind {
            WatchedKind::Pods => &[PODS],
            WatchedKind::Services => &[SERVICES, BALANCERS],
            WatchedKind::Nodes => &[NODES],
            WatchedKind::Fips => &[FIPS],
            // They name no one by themselves.
            WatchedKind::Slices => &[],
        };
        ranks.iter().for_each(|rank| self.table.believe(self.rank(*rank), until));
    }

    /// A list or a watch shows an object as it is now.
    pub(super) fn apply(&mut self, kind: WatchedKind, object: ApiObject, seen: SeenIn, now: Timestamp) {
        let ApiObject { metadata, spec, status, endpoints, .. } = object;
        let (meta, spec, status) = (metadata.unwrap_or_default(), spec.unwrap_or_default(), status.unwrap_or_default());
        let key = (kind, uid(&meta));
        match kind {
            WatchedKind::Pods => self.pod(key, meta, &spec, &status, seen, now),
            WatchedKind::Services => self.service(key, meta, &spec, &status, seen, now),
            WatchedKind::Nodes => self.node(key, meta, &status, seen, now),
            WatchedKind::Slices => {
                let addresses = endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses).flatten();
                let addresses: Vec<_> = addresses.filter_map(|ip| parsed(&ip)).collect();
                self.slice(key, &meta, addresses, seen);
            }
            WatchedKind::Fips => self.fip(key, &meta, &spec, &status, seen, now),
        }
    }

    /// All of a list was seen. What it did not show has gone, at the latest when its follower was last up to date.
    pub(super) fn sweep(&mut self, kind: WatchedKind, seen: SeenIn, up_to_date: Timestamp) {
        let gone = |(key, known): (&(WatchedKind, Uid), &KnownObject)| {
            (key.0 == kind && known.seen.by == seen.by && known.seen != seen).then_some(*key)
        };
        let gone: Vec<_> = self.objects.iter().filter_map(gone).collect();
        gone.into_iter().for_each(|key| self.remove(key, up_to_date));
    }

    /// A watch says that an object was deleted.
    pub(super) fn deleted(&mut self, kind: WatchedKind, object: ApiObject, now: Timestamp) {
        let meta = object.metadata.unwrap_or_default();
        let until = ended(object.status.as_ref()).map_or(now, |ended| ended.min(now));
        self.remove((kind, uid(&meta)), until);
    }

    /// A Pod on the network of its node has the node's address; one that has ended has none, whatever its status says.
    fn pod(
        &mut self,
        key: (WatchedKind, Uid),
        meta: ObjectMeta,
        spec: &ObjectSpec,
        status: &ObjectStatus,
        seen: SeenIn,
        now: Timestamp,
    ) {
        let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if is_over {
            self.remove(key, ended(Some(status)).map_or(now, |ended| ended.min(now)));
            return;
        }
        let several = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.as_ref());
        let mut ips: Vec<_> = several.chain(&status.pod_ip).filter_map(|ip| parsed(ip)).collect();
        dedup(&mut ips);
        if spec.host_network == Some(true) {
            ips.clear();
        }
        let rank = self.rank(PODS);
        let about =
            ObjectMeaning::Pod { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone() };
        let places: Vec<_> = ips.iter().map(|ip| (rank, *ip)).collect();
        let workload = Workload { node: spec.node_name.clone(), ..named(meta, "Pod") };
        if let Some(containers) = &self.table.containers {
            containers.take(&workload, named_containers(status));
        }
        let since = time(status.start_time.as_ref());
        let of = |cluster: &Self, ip: IpAddr| {
            let services = cluster.services_at(ip, workload.namespace.as_deref().unwrap_or_default());
            Workload { services, ..workload.clone() }
        };
        self.hold(key, places, about, seen, (since, now), of);
        self.lead_again(key, now);
    }

    fn service(
        &mut self,
        key: (WatchedKind, Uid),
        meta: ObjectMeta,
        spec: &ObjectSpec,
        status: &ObjectStatus,
        seen: SeenIn,
        now: Timestamp,
    ) {
        let (own, shared) = (self.rank(SERVICES), Rank { shared: true, ..self.rank(BALANCERS) });
        let mut cluster: Vec<_> =
            spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).filter_map(|ip| parsed(ip)).collect();
        dedup(&mut cluster);
        let balancers = status.load_balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
        let balancers = balancers.filter_map(|ingress| ingress.ip.as_ref());
        let mut external: Vec<_> =
            spec.external_ips.iter().flatten().chain(balancers).filter_map(|ip| parsed(ip)).collect();
        dedup(&mut external);
        let places = cluster.into_iter().map(|ip| (own, ip)).chain(external.into_iter().map(|ip| (shared, ip)));
        let since = time(meta.creation_timestamp.as_ref());
        let workload = named(meta, "Service");
        self.hold(key, places.collect(), ObjectMeaning::Addresses, seen, (since, now), |_, _| workload.clone());
    }

    fn node(&mut self, key: (WatchedKind, Uid), meta: ObjectMeta, status: &ObjectStatus, seen: SeenIn, now: Timestamp) {
        let rank = self.rank(NODES);
        let addresses = status.addresses.iter().flatten().filter_map(|address| address.address.as_ref());
        let mut ips: Vec<_> = addresses.filter_map(|ip| parsed(ip)).collect();
        dedup(&mut ips);
        let since = time(meta.creation_timestamp.as_ref());
        let workload = named(meta, "Node");
        let places = ips.into_iter().map(|ip| (rank, ip)).collect();
        self.hold(key, places, ObjectMeaning::Addresses, seen, (since, now), |_, _| workload.clone());
    }

    /// Whose Service it is decides its label; what it names changes the Pods behind its addresses.
    fn slice(&mut self, key: (WatchedKind, Uid), meta: &ObjectMeta, addresses: Vec<IpAddr>, seen: SeenIn) {
        let service = meta.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL)).cloned().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let rank = self.rank(PODS);
        let before = self.objects.remove(&key).map(|known| known.places).unwrap_or_default();
        for (_, ip) in &before {
            self.unserve(*ip, key.1);
        }
        for ip in &addresses {
            let slices = self.serving.entry(*ip).or_default();
            if !slices.contains(&key.1) {
                slices.push(key.1);
            }
        }
        let places: Vec<_> = addresses.into_iter().map(|ip| (rank, ip)).collect();
        let touched: Vec<_> = before.into_iter().chain(places.iter().copied()).map(|(_, ip)| ip).collect();
        let about = ObjectMeaning::Slice { namespace, service };
        let holder = self.next_holder();
        self.objects.insert(key, KnownObject { holder, seen, places, about });
        self.revise(touched);
    }

    fn unserve(&mut self, ip: IpAddr, slice: Uid) {
        let Some(slices) = self.serving.get_mut(&ip) else { return };
        slices.retain(|other| *other != slice);
        if slices.is_empty() {
            self.serving.remove(&ip);
        }
    }

    /// Pods at these addresses have other Services now.
    fn revise(&self, mut touched: Vec<IpAddr>) {
        dedup(&mut touched);
        for ip in touched {
            self.table.revise(self.rank(PODS), ip, |workload| {
                let services = self.services_at(ip, workload.namespace.as_deref().unwrap_or_default());
                (services != workload.services).then(|| Workload { services, ..workload.clone() })
            });
        }
    }

    /// The Services of a namespace that have this address behind them. Slices of other namespaces may name any address.
    fn services_at(&self, ip: IpAddr, namespace: &str) -> NameSet {
        let slices = self
            .serving
            .get(&ip)
            .into_iter()
            .flatten()
            .filter_map(|uid| self.objects.get(&(WatchedKind::Slices, *uid)));
        let services = slices.filter_map(|known| match &known.about {
            ObjectMeaning::Slice { namespace: of, service } if of == namespace && !service.is_empty() => {
                Some(service.clone())
            }
            ObjectMeaning::Slice { .. }
            | ObjectMeaning::Pod { .. }
            | ObjectMeaning::Fip(..)
            | ObjectMeaning::Addresses => None,
        });
        services.collect()
    }

    fn fip(
        &mut self,
        key: (WatchedKind, Uid),
        meta: &ObjectMeta,
        spec: &ObjectSpec,
        status: &ObjectStatus,
        seen: SeenIn,
        now: Timestamp,
    ) {
        let label = meta.labels.as_ref().and_then(|labels| labels.get(FIP_LABEL));
        let fip = Fip {
            name: meta.name.clone(),
            ip_name: spec.ip_name.clone().filter(|name| !name.is_empty()),
            pod_ip: status.v4_ip.as_ref().or(spec.v4_ip.as_ref()).and_then(|ip| parsed(ip)),
            since: time(meta.creation_timestamp.as_ref()),
            address: label.or(status.v4_eip.as_ref()).and_then(|ip| parsed(ip)),
        };
        self.fips.insert(key.1);
        self.lead(key, fip, seen, now);
    }

    /// Names the floating address by the Pod that it leads to. Once it leads to another one, that is another holder.
    fn lead(&mut self, key: (WatchedKind, Uid), fip: Fip, seen: SeenIn, now: Timestamp) {
        let workload = self.pod_of(&fip);
        let to = workload.as_ref().map(|pod| (pod.namespace.clone(), pod.name.clone()));
        let led = self.objects.get(&key).and_then(|known| match &known.about {
            ObjectMeaning::Fip(_, led) => led.clone(),
            ObjectMeaning::Pod { .. } | ObjectMeaning::Slice { .. } | ObjectMeaning::Addresses => None,
        });
        if let Some(known) = self.objects.get_mut(&key)
            && led.is_some()
            && led != to
        {
            for (rank, ip) in std::mem::take(&mut known.places) {
                self.table.release(rank, ip, known.holder, now);
            }
            self.holders += 1;
            known.holder = AddressHolder(self.holders);
        }
        let rank = self.rank(FIPS);
        let places = fip.address.filter(|_| workload.is_some()).map(|ip| (rank, ip)).into_iter().collect();
        let since = fip.since.filter(|_| led.is_none());
        let workload = workload.unwrap_or_default();
        let about = ObjectMeaning::Fip(Box::new(fip), to);
        self.hold(key, places, about, seen, (since, now), |_, _| Workload::clone(&workload));
    }

    /// The Pod that a floating address leads to, as the object says. That is by the Pod's address, or by the name,
    /// which is namespace and Pod with a `-` between, where only one Pod has it.
    fn pod_of(&self, fip: &Fip) -> Option<Arc<Workload>> {
        if let Some((name, namespace)) = fip.ip_name.as_deref().and_then(|name| name.rsplit_once('.')) {
            let known = self
                .pods()
                .find(|(known, ..)| (known.0, known.1) == (namespace, name))
                .and_then(|(_, pod)| self.workload_of(pod));
            let bare = || Workload {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                kind: Some(CompactString::const_new("Pod")),
                ..Workload::default()
            };
            return Some(known.unwrap_or_else(|| Arc::new(bare())));
        }
        if let Some(ip) = fip.pod_ip {
            return self.table.holds(self.rank(PODS), ip);
        }
        let mut meant = self.pods().filter(|((namespace, name), _)| is_joined(&fip.name, namespace, name));
        let (_, pod) = meant.next()?;
        if meant.next().is_some() {
            return None;
        }
        self.workload_of(pod)
    }

    fn workload_of(&self, pod: &KnownObject) -> Option<Arc<Workload>> {
        pod.places.iter().find_map(|(rank, ip)| self.table.holds(*rank, *ip))
    }

    fn pods(&self) -> impl Iterator<Item = ((&str, &str), &KnownObject)> {
        self.objects.values().filter_map(|known| match &known.about {
            ObjectMeaning::Pod { namespace, name } => Some(((namespace.as_str(), name.as_str()), known)),
            ObjectMeaning::Slice { .. } | ObjectMeaning::Fip(..) | ObjectMeaning::Addresses => None,
        })
    }

    /// A Pod came, changed or is about to go: floating addresses may lead to it, or no longer.
    fn lead_again(&mut self, pod: (WatchedKind, Uid), now: Timestamp) {
        let Some(KnownObject { about: ObjectMeaning::Pod { namespace, name }, places, .. }) = self.objects.get(&pod)
        else {
            return;
        };
        let meant = |fip: &Fip| {
            let by_ip = fip.pod_ip.is_some_and(|ip| places.iter().any(|(_, place)| *place == ip));
            let by_ip_name =
                fip.ip_name.as_deref().and_then(|joined| joined.rsplit_once('.')) == Some((name, namespace));
            by_ip || by_ip_name || is_joined(&fip.name, namespace, name)
        };
        let known = self.fips.iter().filter_map(|uid| Some((*uid, self.objects.get(&(WatchedKind::Fips, *uid))?)));
        let meant = known.filter_map(|(uid, known)| match &known.about {
            ObjectMeaning::Fip(fip, _) if meant(fip) => Some((uid, Fip::clone(fip), known.seen)),
            ObjectMeaning::Fip(..)
            | ObjectMeaning::Pod { .. }
            | ObjectMeaning::Slice { .. }
            | ObjectMeaning::Addresses => None,
        });
        for (uid, fip, seen) in meant.collect::<Vec<_>>() {
            self.lead((WatchedKind::Fips, uid), fip, seen, now);
        }
    }

    /// The object has these addresses now: those that it had and has no longer are released, new ones are held.
    fn hold(
        &mut self,
        key: (WatchedKind, Uid),
        places: Vec<(Rank, IpAddr)>,
        about: ObjectMeaning,
        seen: SeenIn,
        (since, now): (Option<Timestamp>, Timestamp),
        workload: impl Fn(&Self, IpAddr) -> Workload,
    ) {
        let known = self.objects.remove(&key);
        let (holder, before) = match known {
            Some(known) => (known.holder, known.places),
            None => (self.next_holder(), Vec::new()),
        };
        for (rank, ip) in before.iter().filter(|place| !places.contains(place)) {
            self.table.release(*rank, *ip, holder, now);
        }
        // What had another address before has got this one just now.
        let from = if before.is_empty() { since.unwrap_or(now) } else { now };
        let mut last: Option<Arc<Workload>> = None;
        for (rank, ip) in &places {
            let made = workload(self, *ip);
            let made = match last.take() {
                Some(last) if *last == made => last,
                Some(_) | None => Arc::new(made),
            };
            self.table.hold(*rank, *ip, holder, [from, now], &made);
            last = Some(made);
        }
        self.objects.insert(key, KnownObject { holder, seen, places, about });
    }

    fn remove(&mut self, key: (WatchedKind, Uid), until: Timestamp) {
        let Some(known) = self.objects.remove(&key) else { return };
        match &known.about {
            ObjectMeaning::Slice { .. } => {
                let touched: Vec<_> = known.places.iter().map(|(_, ip)| *ip).collect();
                touched.iter().for_each(|ip| self.unserve(*ip, key.1));
                self.revise(touched);
                return;
            }
            ObjectMeaning::Fip(..) => _ = self.fips.remove(&key.1),
            ObjectMeaning::Pod { .. } | ObjectMeaning::Addresses => {}
        }
        for (rank, ip) in &known.places {
            self.table.release(*rank, *ip, known.holder, until);
        }
        // Put back for a moment: floating addresses are asked about it once more.
        if key.0 == WatchedKind::Pods && !self.fips.is_empty() {
            self.objects.insert(key, known);
            self.lead_again(key, until);
            self.objects.remove(&key);
        }
    }

    fn rank(&self, kind: u8) -> Rank {
        Rank::of(self.source, kind)
    }

    fn next_holder(&mut self) -> AddressHolder {
        self.holders += 1;
        AddressHolder(self.holders)
    }
}

/// Whether a name is these two with a `-` between.
fn is_joined(joined: &str, namespace: &str, name: &str) -> bool {
    joined.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('-')) == Some(name)
}

fn named(meta: ObjectMeta, kind: &'static str) -> Workload {
    let ObjectMeta { name, namespace, labels, .. } = meta;
    Workload {
        namespace,
        name: Some(name),
        kind: Some(CompactString::const_new(kind)),
        labels: bounded(labels.unwrap_or_default()),
        ..Workload::default()
    }
}

/// As many labels as a record may carry, in the order of their names.
fn bounded(labels: std::collections::BTreeMap<CompactString, CompactString>) -> LabelSet {
    let mut left = MAX_LABEL_BYTES;
    let fits = labels.into_iter().take(MAX_LABELS).filter(|(name, value)| {
        let fits = left.checked_sub(name.len() + value.len());
        left = fits.unwrap_or(left);
        fits.is_some()
    });
    fits.collect()
}

/// Name and id of each container of a Pod that runs or has run.
fn named_containers(status: &ObjectStatus) -> impl Iterator<Item = (&str, &str)> {
    let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let all = all.into_iter().flat_map(|some| some.iter().flatten());
    all.filter_map(|container| Some((container.name.as_str(), container.id.as_deref()?)))
}

/// When the last container ended, to the end of that second, where all have.
fn ended(status: Option<&ObjectStatus>) -> Option<Timestamp> {
    let containers = status?.container_statuses.as_deref().filter(|all| !all.is_empty())?;
    let ends = containers.iter().map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let ends: Option<Vec<_>> = ends.map(time).collect();
    ends?.into_iter().max().map(|last| last.plus(1_000_000_000))
}

fn time(text: Option<&CompactString>) -> Option<Timestamp> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

fn parsed(ip: &str) -> Option<IpAddr> {
    ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn dedup(ips: &mut Vec<IpAddr>) {
    ips.sort_unstable();
    ips.dedup();
}

/// The hexadecimal digits of a UUID are a number; anything else is hashed.
fn uid(meta: &ObjectMeta) -> Uid {
    let digits = meta.uid.bytes().filter(|byte| *byte != b'-');
    let number = digits.clone().try_fold(0u128, |sum, byte| {
        let digit = char::from(byte).to_digit(16)?;
        sum.checked_mul(16)?.checked_add(digit.into())
    });
    if let (32, Some(number)) = (digits.count(), number) {
        return number;
    }
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in [&meta.uid, meta.namespace.as_ref().unwrap_or(&CompactString::const_new("")), &meta.name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.first_chunk::<16>().map_or(0, |head| u128::from_be_bytes(*head))
}
