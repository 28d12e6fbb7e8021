//! Who is behind an address: WORKLOADS. Owns the table that every record asks, and puts the names into records.
//!
//! Nothing that asks ever waits: what is not known yet is left out of the record. It decides no direction and no route.

mod file;
mod host;
mod table;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::file::WatchedFile;
use self::table::Table;
use crate::flow::Timestamp;
pub use crate::ledger::WorkloadCounts;
use crate::record::{Domain, Exchange, Record, Workload};
use crate::settings::{Settings, WorkloadSource};

/// How long it is remembered who had an address before: records come late, up to the time-out of a request and the age of
/// a stream.
const MEMORY_NS: u64 = 600_000_000_000;

/// The place of a source in WORKLOADS: the first one that knows an address names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u8);

/// Who is behind which address. Clones share one table; without WORKLOADS it is empty and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Workloads(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    table: Table,
    files: Mutex<Vec<WatchedFile>>,
}

impl Workloads {
    /// Reads the files that WORKLOADS names; `max_bytes` bounds what is remembered.
    pub fn new(settings: &Settings, max_bytes: usize) -> Result<Self, String> {
        if settings.workloads.is_empty() {
            return Ok(Self::default());
        }
        let table = Table::new(max_bytes);
        let mut files = Vec::new();
        for (source, rank) in settings.workloads.iter().zip(0..) {
            match source {
                WorkloadSource::File(path) => files.push(WatchedFile::open(path, Rank(rank), &table)?),
            }
        }
        Ok(Self(Some(Arc::new(Shared { table, files: Mutex::new(files) }))))
    }

    /// Whether nothing is ever named.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Who had the address at that time, if that is known and was one only.
    pub fn at(&self, ip: IpAddr, at: Timestamp) -> Option<Arc<Workload>> {
        self.0.as_ref()?.table.at(ip, at)
    }

    /// Puts names into a record.
    pub fn name(&self, record: &mut Record) {
        if self.is_empty() {
            return;
        }
        match record {
            Record::Http(exchange) => self.name_exchange(exchange),
            Record::Conntrack(event) => {
                let at = event.start.unwrap_or(event.at);
                let server = event.destination_nat.unwrap_or(event.tuple.destination);
                event.source_workload = self.at(event.tuple.source.ip, at);
                event.destination_workload = self.at(server.ip, at);
            }
            Record::Verdict(event) => {
                event.source_workload = self.at(event.packet.source.ip, event.at);
                event.destination_workload = self.at(event.packet.destination.ip, event.at);
            }
            Record::Ledger(_) => {}
        }
    }

    fn name_exchange(&self, exchange: &mut Exchange) {
        let at = exchange.start();
        exchange.source_workload = self.at(exchange.connection.client.ip, at);
        exchange.destination_workload = self.at(exchange.connection.server.ip, at);
        exchange.destination_domain = host::witness(exchange).map(Arc::<Domain>::new);
    }

    /// Reads files again that changed, and forgets who had an address long ago. Costs a system call per file while nothing
    /// changes; call it every few seconds.
    pub fn refresh(&self) {
        let Some(shared) = &self.0 else { return };
        let now = wall_clock();
        for file in shared.files().iter_mut() {
            file.refresh(&shared.table, now);
        }
        shared.table.forget(Timestamp(now.0.saturating_sub_unsigned(MEMORY_NS)));
    }

    /// What is counted; none without WORKLOADS.
    pub fn counts(&self) -> Option<WorkloadCounts> {
        let shared = self.0.as_ref()?;
        let mut counts = shared.table.counts();
        for file in shared.files().iter() {
            let [reads, refused] = file.reads;
            counts.files_read += reads;
            counts.files_refused += refused;
        }
        Some(counts)
    }

    /// What it names from, a line each, for people.
    pub fn in_words(&self) -> Vec<String> {
        let Some(shared) = &self.0 else { return Vec::new() };
        shared.files().iter().map(WatchedFile::in_words).collect()
    }
}

impl Shared {
    /// What is in it is whole at any time.
    fn files(&self) -> MutexGuard<'_, Vec<WatchedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_clock() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
