//! Who is behind an address: WORKLOADS. Owns the table that every record asks, and puts the names into records.
//!
//! Nothing that asks ever waits: what is not known yet is left out of the record. It decides no direction and no route.

mod containers;
mod file;
mod host;
mod kubernetes;
mod redis;
mod table;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use self::containers::Containers;
use self::file::WatchedFile;
use self::kubernetes::ApiAccess;
use self::redis::{Errand, RedisClient, RedisSource};
use self::table::WorkloadTable;
use crate::dns::LearntNames;
use crate::flow::Timestamp;
pub use crate::ledger::WorkloadCounts;
use crate::record::{DomainNames, DomainSource, Exchange, ExchangeConnection, FlowRecord, Process, Record, Workload};
use crate::settings::{RecordKind, Settings, WorkloadSource};
use crate::sink::connect::OnSocket;
use crate::source::own_traffic::OwnTraffic;

/// How long it is remembered who had an address before. Records come late, up to the time-out of a request and the age of
/// a stream.
const MEMORY_NS: u64 = 600_000_000_000;

/// How far in front what says something is: the first that knows an address names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The place of the source in WORKLOADS.
    source: u8,
    /// The place of a kind of objects within the source.
    kind: u8,
    /// Whether several may have one address at the same time: it has no name then.
    shared: bool,
}

impl Rank {
    const fn of(source: u8, kind: u8) -> Self {
        Self { source, kind, shared: false }
    }
}

/// Who is behind which address. Clones share one table; without WORKLOADS it is empty and costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Workloads(Option<Arc<SharedWorkloads>>);

#[derive(Debug)]
struct SharedWorkloads {
    table: Arc<WorkloadTable>,
    files: Mutex<Vec<WatchedFile>>,
    kubernetes: Option<KubernetesSource>,
    redis: Option<Arc<RedisSource>>,
    dns: Option<Arc<LearntNames>>,
    /// What waits for the thread of the sources that ask others.
    waiting: Mutex<Option<(RedisClient, mpsc::Receiver<Errand>)>>,
    /// Dropped, it ends the thread of the sources that ask others.
    running: watch::Sender<()>,
}

/// What `podtap check` found at one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachedSource {
    /// The source, and what it said.
    pub what: String,
    /// What does not work.
    pub fault: Option<String>,
}

/// Kubernetes as a source.
#[derive(Debug)]
struct KubernetesSource {
    source: u8,
    access: Result<ApiAccess, String>,
    namespaces: Vec<String>,
    counts: Arc<kubernetes::FollowerCounts>,
}

impl Workloads {
    /// Reads the files that WORKLOADS names; `max_bytes` bounds what is remembered.
    pub fn new(settings: &Settings, max_bytes: usize) -> Result<Self, String> {
        if settings.workloads.is_empty() {
            return Ok(Self::default());
        }
        let named = settings.records(RecordKind::Connects) && settings.workloads.contains(&WorkloadSource::Kubernetes);
        let containers = named.then(|| Containers::new(settings.node_name.as_deref()));
        let table = Arc::new(WorkloadTable::new(max_bytes).with_containers(containers));
        let (mut files, mut kubernetes, mut redis, mut waiting, mut dns) = (Vec::new(), None, None, None, None);
        for (source, place) in settings.workloads.iter().zip(0..) {
            match source {
                WorkloadSource::File(path) => files.push(WatchedFile::open(path, Rank::of(place, 0), &table)?),
                WorkloadSource::Kubernetes => kubernetes = Some(KubernetesSource::new(place, settings)?),
                WorkloadSource::Dns => dns = Some(Arc::default()),
                WorkloadSource::Redis => {
                    let holds = u64::try_from(settings.redis_cache.0.as_nanos()).unwrap_or(u64::MAX / 2);
                    let (made, errands) = RedisSource::new(Rank::of(place, 0), holds, settings.redis_write);
                    let made = Arc::new(made);
                    let client = redis::client(settings, &made, &table)?;
                    (redis, waiting) = (Some(made), Some((client, errands)));
                }
            }
        }
        let (files, waiting, running) = (Mutex::new(files), Mutex::new(waiting), watch::Sender::new(()));
        Ok(Self(Some(Arc::new(SharedWorkloads { table, files, kubernetes, redis, dns, waiting, running }))))
    }

    /// Starts the thread of the sources that ask others; `own` learns of their connections, so that none of it is recorded.
    pub fn start(&self, own: &OwnTraffic) -> std::io::Result<()> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let own = own.clone();
        let hook = OnSocket::new(move |local, remote| own.add_connection(local, remote));
        let asked = shared.kubernetes.as_ref().map(|it| it.job(&shared.table));
        let redis = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if asked.is_none() && redis.is_none() {
            return Ok(());
        }
        let mut running = shared.running.subscribe();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("workloads".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Some(Err(why)) = asked.map(|job| job.start(&hook)) {
                    tracing::warn!("no names from Kubernetes: {why}");
                }
                if let Some((client, errands)) = redis {
                    tokio::spawn(client.with_hook(hook).run(errands));
                }
                while running.changed().await.is_ok() {}
            });
        })?;
        Ok(())
    }

    /// Whether nothing is ever named.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Who had the address at that time, if that is known and was one only.
    pub fn at(&self, ip: IpAddr, at: Timestamp) -> Option<Arc<Workload>> {
        let shared = self.0.as_ref()?;
        let found = shared.table.at(ip, at);
        if let Some(redis) = &shared.redis {
            redis.looked(ip.to_canonical(), at, found.as_ref());
        }
        found.map(|(_, workload)| workload)
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
                let opened = event.tuple.destination.ip;
                if let Some(service) = self.at(opened, at).filter(|_| server.ip != opened) {
                    event.destination_workload = Some(behind(&service, event.destination_workload.as_deref()));
                }
            }
            Record::Flow(flow) => {
                let pod = self.pod_of(flow.process());
                flow.source_workload = pod.or_else(|| self.at(flow.source.ip, flow.start));
                flow.destination_workload = self.at(flow.destination.ip, flow.start);
                flow.source_domain = self.domain_at(flow.source.ip, flow.start);
                flow.destination_domain = self.domain_of_flow(flow);
            }
            Record::Verdict(event) => {
                event.source_workload = self.at(event.packet.source.ip, event.at);
                event.destination_workload = self.at(event.packet.destination.ip, event.at);
            }
            Record::Connect(connect) => {
                let pod = self.pod_of(connect.process.as_deref());
                let by_address = || connect.source.and_then(|ip| self.at(ip, connect.start));
                connect.source_workload = pod.or_else(by_address);
                connect.destination_workload = self.at(connect.destination.ip, connect.start);
                connect.source_domain = connect.source.and_then(|ip| self.domain_at(ip, connect.start));
                connect.destination_domain = self.domain_at(connect.destination.ip, connect.start);
            }
            Record::Ledger(_) => {}
        }
    }

    fn name_exchange(&self, exchange: &mut Exchange) {
        let at = exchange.start();
        let pod = self.pod_of(exchange.process());
        exchange.source_workload = pod.or_else(|| self.at(exchange.connection.client.ip, at));
        exchange.destination_workload = self.at(exchange.connection.server.ip, at);
        let ExchangeConnection { client, server, names, .. } = &*exchange.connection;
        let [of_client, of_server] = names.learnt(|| [client, server].map(|end| self.domain_at(end.ip, at))).clone();
        let called = host::witness(exchange).map(|domain| names.call(domain));
        (exchange.source_domain, exchange.destination_domain) = (of_client, of_server.or(called));
    }

    /// The pod that a process is in, by its container: certain, also where the pod has the address of its node.
    fn pod_of(&self, process: Option<&Process>) -> Option<Arc<Workload>> {
        let containers = self.0.as_ref()?.table.containers.as_ref()?;
        Some(Arc::clone(&containers.of(process?)?.pod))
    }

    /// Puts the names of containers into the processes of connects. Call it before anything shares them.
    pub fn name_containers(&self, records: &mut [Record]) {
        let Some(containers) = self.0.as_ref().and_then(|shared| shared.table.containers.as_ref()) else { return };
        for record in records {
            if let Record::Connect(connect) = record
                && let Some(process) = &mut connect.process
            {
                containers.name(process);
            }
        }
    }

    /// What answers of DNS say comes first; then what the client calls the server.
    fn domain_of_flow(&self, flow: &FlowRecord) -> Option<Arc<DomainNames>> {
        let by_hello = || {
            let names = [flow.server_name.clone()?].into_iter().collect();
            Some(Arc::new(DomainNames { names, source: DomainSource::Sni }))
        };
        let learnt = self.domain_at(flow.destination.ip, flow.start);
        learnt.or_else(by_hello).or_else(|| flow.connection.as_ref()?.names.called())
    }

    /// The names that led to an address at that time, by answers of DNS that were seen.
    pub fn domain_at(&self, ip: IpAddr, at: Timestamp) -> Option<Arc<DomainNames>> {
        self.0.as_ref()?.dns.as_ref()?.at(ip, at)
    }

    /// Where captures put what answers of DNS say; nowhere unless WORKLOADS asks for it.
    pub fn learnt(&self) -> Option<&Arc<LearntNames>> {
        self.0.as_ref()?.dns.as_ref()
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

    /// Asks each source for as little as possible.
    pub async fn probe(&self) -> Vec<ReachedSource> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let well = |what: String| ReachedSource { what, fault: None };
        let mut found: Vec<_> = shared.files().iter().map(|file| well(file.in_words())).collect();
        if let Some(kubernetes) = &shared.kubernetes {
            found.extend(kubernetes.job(&shared.table).probe().await);
        }
        let redis = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut client, _)) = redis {
            found.push(client.probe().await);
        }
        found.extend(shared.dns.iter().map(|_| well("DNS: answers in the traffic are read".to_owned())));
        found
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
        if let Some(kubernetes) = &shared.kubernetes {
            kubernetes.counts.put(&mut counts);
        }
        if let Some(redis) = &shared.redis {
            redis.counts.put(&mut counts);
        }
        if let Some(dns) = &shared.dns {
            [counts.dns_addresses, counts.dns_answers, counts.dns_left_out] = dns.counts();
        }
        Some(counts)
    }

    /// The sources that others have to be asked: those say who has an address now.
    pub fn asked(&self) -> Vec<&'static str> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let sources = [(shared.kubernetes.is_some(), "kubernetes"), (shared.redis.is_some(), "redis")];
        sources.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
    }

    /// What it names from, a line each, for people.
    pub fn in_words(&self) -> Vec<String> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let files: Vec<_> = shared.files().iter().map(WatchedFile::in_words).collect();
        let kubernetes = shared.kubernetes.iter().filter_map(|kubernetes| kubernetes.access.as_ref().ok());
        let redis = shared.redis.as_ref().map(|redis| redis.to_string());
        let dns = shared.dns.as_ref().map(|_| "answers of DNS that are seen".to_owned());
        files.into_iter().chain(kubernetes.map(ToString::to_string)).chain(redis).chain(dns).collect()
    }
}

impl KubernetesSource {
    /// A kubeconfig that was named has to be of use. What a Pod lacks keeps nothing from starting.
    fn new(source: u8, settings: &Settings) -> Result<Self, String> {
        let access = ApiAccess::find(settings.kubeconfig.as_deref());
        if let (Err(why), Some(_)) = (&access, &settings.kubeconfig) {
            return Err(why.clone());
        }
        Ok(Self { source, access, namespaces: settings.workloads_namespaces.to_vec(), counts: Arc::default() })
    }

    fn job(&self, table: &Arc<WorkloadTable>) -> kubernetes::Job {
        kubernetes::Job {
            access: self.access.clone(),
            namespaces: self.namespaces.clone(),
            table: Arc::clone(table),
            source: self.source,
            counts: Arc::clone(&self.counts),
        }
    }
}

impl SharedWorkloads {
    /// What is in it is whole at any time.
    fn files(&self) -> MutexGuard<'_, Vec<WatchedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Any number: std seeds its hashers with the system's random numbers.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// What was opened to by the address of this Service, which is certain: of the Services that it serves only that one.
fn behind(service: &Workload, server: Option<&Workload>) -> Arc<Workload> {
    let mut named =
        server.cloned().unwrap_or_else(|| Workload { namespace: service.namespace.clone(), ..Workload::default() });
    named.services = service.name.iter().cloned().collect();
    Arc::new(named)
}

fn wall_clock() -> Timestamp {
    Timestamp(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
