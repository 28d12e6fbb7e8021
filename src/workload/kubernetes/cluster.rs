//! The cluster as objects: which of them has which address, and since when. Applies what lists and watches say to the table.
//!
//! Pure: objects and time are arguments. Keeps of an object only its addresses, and of a Pod its name; the rest is in the
//! table.

mod floating;
mod read;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

pub(super) use self::floating::FIP_LABEL;
use self::floating::Fip;
use self::read::{dedup, ended, named, named_containers, parsed, time, uid};
use super::super::Rank;
use super::super::table::{AddressHolder, WorkloadTable};
use super::objects::{ApiObject, ObjectMeta, ObjectSpec, ObjectStatus};
use crate::flow::Timestamp;
use crate::record::{NameSet, Workload};

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

/// A unique id as a number: 36 characters would be most of what is kept of an object.
type Uid = u128;

/// An object, by its kind and its id.
type ObjectKey = (WatchedKind, Uid);

/// An object is seen as it is now.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    key: ObjectKey,
    seen: SeenIn,
    now: Timestamp,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct ClusterState {
    table: Arc<WorkloadTable>,
    source: u8,
    objects: HashMap<ObjectKey, KnownObject>,
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
        let sight = Sighting { key: (kind, uid(&meta)), seen, now };
        match kind {
            WatchedKind::Pods => self.pod(sight, meta, &spec, &status),
            WatchedKind::Services => self.service(sight, meta, &spec, &status),
            WatchedKind::Nodes => self.node(sight, meta, &status),
            WatchedKind::Slices => {
                let addresses = endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses).flatten();
                let addresses: Vec<_> = addresses.filter_map(|ip| parsed(&ip)).collect();
                self.slice(sight, &meta, addresses);
            }
            WatchedKind::Fips => self.fip(sight, &meta, &spec, &status),
        }
    }

    /// All of a list was seen. What it did not show has gone, at the latest when its follower was last up to date.
    pub(super) fn sweep(&mut self, kind: WatchedKind, seen: SeenIn, up_to_date: Timestamp) {
        let gone = |(key, known): (&ObjectKey, &KnownObject)| {
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
    fn pod(&mut self, sight: Sighting, meta: ObjectMeta, spec: &ObjectSpec, status: &ObjectStatus) {
        let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if is_over {
            self.remove(sight.key, ended(Some(status)).map_or(sight.now, |ended| ended.min(sight.now)));
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
        self.hold(sight, places, about, since, of);
        self.lead_again(sight.key, sight.now);
    }

    fn service(&mut self, sight: Sighting, meta: ObjectMeta, spec: &ObjectSpec, status: &ObjectStatus) {
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
        self.hold(sight, places.collect(), ObjectMeaning::Addresses, since, |_, _| workload.clone());
    }

    fn node(&mut self, sight: Sighting, meta: ObjectMeta, status: &ObjectStatus) {
        let rank = self.rank(NODES);
        let addresses = status.addresses.iter().flatten().filter_map(|address| address.address.as_ref());
        let mut ips: Vec<_> = addresses.filter_map(|ip| parsed(ip)).collect();
        dedup(&mut ips);
        let since = time(meta.creation_timestamp.as_ref());
        let workload = named(meta, "Node");
        let places = ips.into_iter().map(|ip| (rank, ip)).collect();
        self.hold(sight, places, ObjectMeaning::Addresses, since, |_, _| workload.clone());
    }

    /// Whose Service it is decides its label; what it names changes the Pods behind its addresses.
    fn slice(&mut self, Sighting { key, seen, .. }: Sighting, meta: &ObjectMeta, addresses: Vec<IpAddr>) {
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

    /// The object has these addresses now: those that it had and has no longer are released, new ones are held.
    fn hold(
        &mut self,
        Sighting { key, seen, now }: Sighting,
        places: Vec<(Rank, IpAddr)>,
        about: ObjectMeaning,
        since: Option<Timestamp>,
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

    fn remove(&mut self, key: ObjectKey, until: Timestamp) {
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
