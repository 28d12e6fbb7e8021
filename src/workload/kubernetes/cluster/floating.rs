//! kube-ovn's floating addresses: which Pod each leads to. Knows nothing of who holds an address otherwise.

use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;

use super::read::{parsed, time};
use super::{AddressHolder, ClusterState, FIPS, KnownObject, ObjectKey, ObjectMeaning, PODS, Sighting, WatchedKind};
use crate::flow::Timestamp;
use crate::record::Workload;
use crate::workload::kubernetes::objects::{ObjectMeta, ObjectSpec, ObjectStatus};

/// The label by which kube-ovn finds the floating address of an `ovn-fips`.
pub(in crate::workload::kubernetes) const FIP_LABEL: &str = "ovn.kubernetes.io/eip_v4_ip";
/// An `ovn-fips`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fip {
    name: CompactString,
    /// `pod.namespace`
    ip_name: Option<CompactString>,
    pod_ip: Option<IpAddr>,
    since: Option<Timestamp>,
    address: Option<IpAddr>,
}

impl ClusterState {
    pub(super) fn fip(&mut self, sight: Sighting, meta: &ObjectMeta, spec: &ObjectSpec, status: &ObjectStatus) {
        let label = meta.labels.as_ref().and_then(|labels| labels.get(FIP_LABEL));
        let fip = Fip {
            name: meta.name.clone(),
            ip_name: spec.ip_name.clone().filter(|name| !name.is_empty()),
            pod_ip: status.v4_ip.as_ref().or(spec.v4_ip.as_ref()).and_then(|ip| parsed(ip)),
            since: time(meta.creation_timestamp.as_ref()),
            address: label.or(status.v4_eip.as_ref()).and_then(|ip| parsed(ip)),
        };
        self.fips.insert(sight.key.1);
        self.lead(sight, fip);
    }

    /// Names the floating address by the Pod that it leads to. Once it leads to another one, that is another holder.
    fn lead(&mut self, sight: Sighting, fip: Fip) {
        let workload = self.pod_of(&fip);
        let to = workload.as_ref().map(|pod| (pod.namespace.clone(), pod.name.clone()));
        let led = self.objects.get(&sight.key).and_then(|known| match &known.about {
            ObjectMeaning::Fip(_, led) => led.clone(),
            ObjectMeaning::Pod { .. } | ObjectMeaning::Slice { .. } | ObjectMeaning::Addresses => None,
        });
        if let Some(known) = self.objects.get_mut(&sight.key)
            && led.is_some()
            && led != to
        {
            for (rank, ip) in std::mem::take(&mut known.places) {
                self.table.release(rank, ip, known.holder, sight.now);
            }
            self.holders += 1;
            known.holder = AddressHolder(self.holders);
        }
        let rank = self.rank(FIPS);
        let places = fip.address.filter(|_| workload.is_some()).map(|ip| (rank, ip)).into_iter().collect();
        let since = fip.since.filter(|_| led.is_none());
        let workload = workload.unwrap_or_default();
        let about = ObjectMeaning::Fip(Box::new(fip), to);
        self.hold(sight, places, about, since, |_, _| Workload::clone(&workload));
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
    pub(super) fn lead_again(&mut self, pod: ObjectKey, now: Timestamp) {
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
            self.lead(Sighting { key: (WatchedKind::Fips, uid), seen, now }, fip);
        }
    }
}

/// Whether a name is these two with a `-` between.
fn is_joined(joined: &str, namespace: &str, name: &str) -> bool {
    joined.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('-')) == Some(name)
}
