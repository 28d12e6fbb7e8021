//! Containers by their id: what Kubernetes calls them, and the pod they are in. For processes, whose control group names the
//! container. An id is never used again, so nothing here becomes wrong; what is oldest makes room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use compact_str::CompactString;
use dashmap::DashMap;

use crate::ledger::WorkloadCounts;
use crate::record::{Process, Workload};

/// Containers remembered at most.
const MAX_CONTAINERS: usize = 16_384;

/// The containers of a node, or of a cluster.
#[derive(Debug)]
pub(super) struct Containers {
    /// Only those on this node, where it is known.
    node: Option<CompactString>,
    known: DashMap<CompactString, Arc<NamedContainer>, foldhash::fast::RandomState>,
    /// The oldest first, and how many made room.
    order: Mutex<(VecDeque<CompactString>, u64)>,
}

/// What is known of a container.
#[derive(Debug)]
pub(super) struct NamedContainer {
    name: CompactString,
    runtime: CompactString,
    pub(super) pod: Arc<Workload>,
}

impl Containers {
    /// None is known.
    pub(super) fn new(node: Option<&str>) -> Self {
        let (known, order) = Default::default();
        Self { node: node.map(CompactString::from), known, order }
    }

    /// Takes the containers of a pod, each with its id as Kubernetes writes it: `containerd://<id>`.
    pub(super) fn take<'a>(&self, pod: &Workload, containers: impl Iterator<Item = (&'a str, &'a str)>) {
        if self.node.as_ref().zip(pod.node.as_ref()).is_some_and(|(own, node)| own != node) {
            return;
        }
        let mut shared: Option<Arc<Workload>> = None;
        for (name, id) in containers {
            let Some((runtime, id)) = id.split_once("://").filter(|(_, id)| !id.is_empty()) else { continue };
            if self.known.contains_key(id) {
                continue;
            }
            let pod = Arc::clone(shared.get_or_insert_with(|| Arc::new(pod.clone())));
            self.insert(id.into(), NamedContainer { name: name.into(), runtime: runtime.into(), pod });
        }
    }

    fn insert(&self, id: CompactString, container: NamedContainer) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if self.known.insert(id.clone(), Arc::new(container)).is_none() {
            order.0.push_back(id);
        }
        while order.0.len() > MAX_CONTAINERS
            && let Some(oldest) = order.0.pop_front()
        {
            self.known.remove(&oldest);
            order.1 += 1;
        }
    }

    /// The container that the process is in.
    pub(super) fn of(&self, process: &Process) -> Option<Arc<NamedContainer>> {
        let id = &process.container.as_ref()?.id;
        self.known.get(id).map(|known| Arc::clone(&known))
    }

    /// Puts into a process what its container is called.
    pub(super) fn name(&self, process: &mut Arc<Process>) {
        let Some(known) = self.of(process) else { return };
        if let Some(container) = &mut Arc::make_mut(process).container {
            container.name = Some(known.name.clone());
            container.runtime.get_or_insert_with(|| known.runtime.clone());
        }
    }

    /// What is counted.
    pub(super) fn put(&self, into: &mut WorkloadCounts) {
        into.containers = self.known.len() as u64;
        into.containers_left_out = self.order.lock().unwrap_or_else(PoisonError::into_inner).1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ProcessContainer;

    fn process(id: &str, runtime: Option<&str>) -> Arc<Process> {
        let runtime = runtime.map(CompactString::from);
        let container = Some(ProcessContainer { id: id.into(), runtime, ..ProcessContainer::default() });
        Arc::new(Process { container, ..Process::default() })
    }

    fn pod(node: &str) -> Workload {
        Workload { name: Some("web-1".into()), node: Some(node.into()), ..Workload::default() }
    }

    /// Name, runtime and pod of the process in the container with this id.
    fn named(containers: &Containers, id: &str, runtime: Option<&str>) -> Option<(String, String, String)> {
        let mut process = process(id, runtime);
        containers.name(&mut process);
        let pod = containers.of(&process)?.pod.name.as_ref()?.to_string();
        let container = process.container.as_ref()?;
        Some((container.name.as_ref()?.to_string(), container.runtime.as_ref()?.to_string(), pod))
    }

    #[test]
    fn a_process_gets_the_name_of_its_container_and_a_runtime_where_it_has_none() {
        let containers = Containers::new(None);
        containers.take(&pod("n1"), [("app", "containerd://c0ffee"), ("odd", "nothing"), ("", "x://")].into_iter());
        let of = |runtime: &str| Some(("app".to_owned(), runtime.to_owned(), "web-1".to_owned()));
        assert_eq!(named(&containers, "c0ffee", None), of("containerd"));
        assert_eq!(named(&containers, "c0ffee", Some("cri-o")), of("cri-o"));
        assert_eq!(named(&containers, "nothing", None), None);
        assert_eq!(containers.known.len(), 1);
    }

    #[test]
    fn where_the_node_is_known_only_its_containers_are_remembered() {
        let containers = Containers::new(Some("n1"));
        containers.take(&pod("n2"), [("app", "containerd://2")].into_iter());
        containers.take(&pod("n1"), [("app", "containerd://1")].into_iter());
        assert_eq!((named(&containers, "2", None), containers.known.len()), (None, 1));
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let containers = Containers::new(None);
        let ids: Vec<_> = (0..MAX_CONTAINERS + 3).map(|n| format!("containerd://{n}")).collect();
        for _ in 0..2 {
            containers.take(&pod("n1"), ids[3..].iter().map(|id| ("app", id.as_str())));
        }
        containers.take(&pod("n1"), ids[..3].iter().map(|id| ("app", id.as_str())));
        let mut counts = WorkloadCounts::default();
        containers.put(&mut counts);
        assert_eq!((counts.containers, counts.containers_left_out), (MAX_CONTAINERS as u64, 3));
        assert!(named(&containers, "3", None).is_none() && named(&containers, "0", None).is_some());
    }
}
