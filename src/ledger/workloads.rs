//! Counts of names: how many addresses have one, how often one was found. Counts nothing itself.

use super::columns::{ColumnValue, LedgerColumn, ReasonCounts, columns};

reasons! {
    /// What came of the question who had an address at a time.
    Lookup {
        /// One workload had it.
        Named = "named",
        /// No one that is known had it.
        Unknown = "unknown",
        /// Two could have had it, so it has no name.
        Doubtful = "doubtful",
    }
}

/// What is known of workloads; only with WORKLOADS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadCounts {
    /// Addresses in the table.
    pub addresses: u64,
    /// Memory that they are estimated to take, in bytes.
    pub bytes: u64,
    /// Addresses for which there was no room.
    pub left_out: u64,
    /// Containers that have a name.
    pub containers: u64,
    /// Containers that made room for others.
    pub containers_left_out: u64,
    /// Questions by what came of them, as in [`Lookup::ALL`].
    pub lookups: [u64; Lookup::COUNT],
    /// Files read, also those of no use.
    pub files_read: u64,
    /// Of those, invalid files: the content read before stayed in use.
    pub files_refused: u64,
    /// Lists of Kubernetes that were begun.
    pub kubernetes_lists: u64,
    /// Watches that were opened.
    pub kubernetes_watches: u64,
    /// Changes that watches brought.
    pub kubernetes_events: u64,
    /// Watches that had become too old: their list was read again.
    pub kubernetes_expired: u64,
    /// Requests that came to nothing.
    pub kubernetes_failures: u64,
    /// Addresses that Redis was asked about.
    pub redis_asked: u64,
    /// Of those, addresses that it knew.
    pub redis_found: u64,
    /// Names written to Redis.
    pub redis_written: u64,
    /// Errands to Redis that came to nothing.
    pub redis_failures: u64,
    /// Addresses that answers of DNS gave a name.
    pub dns_addresses: u64,
    /// Answers that were read.
    pub dns_answers: u64,
    /// Names that had no room.
    pub dns_left_out: u64,
}

/// Of the table of workloads.
pub const WORKLOADS: &[LedgerColumn<WorkloadCounts>] = columns! {
    "workload_addresses" Gauge(|w| w.addresses) "Addresses whose workload is known, now or a while ago.",
    "workload_bytes" Gauge(|w| w.bytes) "Memory that they are estimated to take, in bytes.",
    "workload_addresses_left_out" Counter(|w| w.left_out) "Times the table had no room for an address.",
    "workload_containers" Gauge(|w| w.containers) "Containers that have a name for their processes, with RECORD=connects.",
    "workload_containers_left_out" Counter(|w| w.containers_left_out) "Containers that made room for others.",
    "workload_lookups" ReasonCounts(|w| &w.lookups, "result", || Lookup::ALL.iter().map(|lookup| lookup.name()).collect())
        "Ends of connections whose name was looked up.",
    "workload_files_read" Counter(|w| w.files_read) "Times a file of WORKLOADS was read.",
    "workload_files_refused" Counter(|w| w.files_refused) "Of those, invalid files: the content read before stayed in use.",
    "workload_kubernetes_lists" Counter(|w| w.kubernetes_lists) "Lists of the Kubernetes API that were begun.",
    "workload_kubernetes_watches" Counter(|w| w.kubernetes_watches) "Watches of the Kubernetes API that were opened.",
    "workload_kubernetes_events" Counter(|w| w.kubernetes_events) "Changes that watches brought.",
    "workload_kubernetes_expired" Counter(|w| w.kubernetes_expired)
        "Watches that had become too old (410 Gone): their list was read again.",
    "workload_kubernetes_failures" Counter(|w| w.kubernetes_failures) "Requests to the Kubernetes API that failed.",
    "workload_redis_asked" Counter(|w| w.redis_asked) "Addresses that Redis was asked about.",
    "workload_redis_found" Counter(|w| w.redis_found) "Of those, addresses that it knew.",
    "workload_redis_written" Counter(|w| w.redis_written) "Names written to Redis.",
    "workload_redis_failures" Counter(|w| w.redis_failures) "Attempts to talk to Redis that failed.",
    "workload_dns_addresses" Gauge(|w| w.dns_addresses) "Addresses with a name by an answer of DNS.",
    "workload_dns_answers" Counter(|w| w.dns_answers) "Answers of DNS that were read: with addresses, to a question that was seen.",
    "workload_dns_left_out" Counter(|w| w.dns_left_out) "Names of DNS that had no room.",
};
