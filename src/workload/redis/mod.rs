//! Names from Redis, as NetLog kept them: a hash with `namespace` and `name` under the bare address.
//!
//! A record that finds no name asks and does not wait: the next one has it. What Redis does not know is not asked again for a
//! while. With REDIS_WRITE what other sources know is written there, too.

mod client;
mod resp;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::mpsc;

pub(super) use self::client::{RedisClient, RedisLogin};
use super::Rank;
use super::table::WorkloadTable;
use crate::config;
use crate::flow::Timestamp;
use crate::ledger::WorkloadCounts;
use crate::record::Workload;
use crate::settings::{Secret, Settings, without_end};
use crate::sink::connect::{ConnectTimeouts, Connector, HostPort, LoadedTls, PemSource, TlsOptions};

/// Redis' port.
const PORT: u16 = 6379;
/// Questions and names that wait at most; what does not fit is asked by a later record.
const WAITING: usize = 1024;
/// Addresses of which it is known when to ask again.
const MAX_ADDRESSES: usize = 16_384;
/// Until an answer has come, no one asks again.
const ANSWER_NS: u64 = 5_000_000_000;
/// How long what Redis does not know is not asked again.
const NEGATIVE_NS: u64 = 30_000_000_000;

/// What records ask, and what is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Who has this address? A record of that time asks.
    Ask(IpAddr, Timestamp),
    /// This one has it.
    Tell(IpAddr, Arc<Workload>),
}

/// Redis as the settings have it.
pub(super) fn client(
    settings: &Settings,
    redis: &Arc<RedisSource>,
    table: &Arc<WorkloadTable>,
) -> Result<RedisClient, String> {
    let hosts = settings.redis_host.iter().map(|host| HostPort::parse(host, PORT));
    let hosts = hosts.collect::<Result<Vec<_>, _>>().map_err(|why| format!("REDIS_HOST: {why}"))?;
    if hosts.is_empty() {
        return Err("REDIS_HOST names no host".to_owned());
    }
    let options = TlsOptions {
        ca: settings.redis_tls_ca.as_deref().map(PemSource::of),
        cert: settings.redis_tls_cert.as_deref().map(PemSource::of),
        key: settings.redis_tls_key.as_ref().map(|key| {
            let key = key.reveal();
            key.file().map_or_else(|| PemSource::of(key.text()), |file| PemSource::File(file.to_owned()))
        }),
        name: settings.redis_tls_name.clone(),
        verify: settings.redis_tls_verify,
        ..TlsOptions::new("REDIS")
    };
    let said = options != TlsOptions::new("REDIS");
    let on = settings.redis_tls.given().copied().unwrap_or(said);
    let tls = on.then(|| LoadedTls::load(options)).transpose()?;
    let (username, password) = (settings.redis_username.clone(), settings.redis_password.clone());
    if username.is_some() && password.is_none() {
        return Err("REDIS_USERNAME is set, but REDIS_PASSWORD is not".to_owned());
    }
    let database = settings.redis_db.count();
    let login = move || RedisLogin { username: username.clone(), password: password.as_ref().map(current), database };
    Ok(RedisClient {
        redis: Arc::clone(redis),
        table: Arc::clone(table),
        connector: Connector::new(hosts, tls, ConnectTimeouts::default()),
        login: Box::new(login),
        now: super::wall_clock,
    })
}

/// What its file holds now, where it came from one.
fn current(secret: &Secret) -> String {
    let given = secret.reveal();
    let read = given.file().and_then(|file| config::read_secret(&file.to_string_lossy()).ok());
    let text = read.as_deref().map(without_end).filter(|text| !text.is_empty());
    text.unwrap_or(given.text()).to_owned()
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct RedisCounts {
    asked: AtomicU64,
    found: AtomicU64,
    written: AtomicU64,
    failures: AtomicU64,
}

impl RedisCounts {
    fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds them to all others.
    pub(super) fn put(&self, into: &mut WorkloadCounts) {
        let at = |count: &AtomicU64| count.load(Ordering::Relaxed);
        into.redis_asked += at(&self.asked);
        into.redis_found += at(&self.found);
        into.redis_written += at(&self.written);
        into.redis_failures += at(&self.failures);
    }
}

/// The side of records: who asks what, and when again.
#[derive(Debug)]
pub(super) struct RedisSource {
    pub(super) rank: Rank,
    /// How long an answer holds, nanoseconds.
    pub(super) holds: u64,
    writes: bool,
    errands: mpsc::Sender<Errand>,
    /// When the next record may ask or tell, by capture time.
    again: DashMap<IpAddr, Timestamp, foldhash::fast::RandomState>,
    pub(super) counts: Arc<RedisCounts>,
}

impl std::fmt::Display for RedisSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.writes { "Redis, which is written to as well" } else { "Redis" })
    }
}

impl RedisSource {
    /// With the other end of its errands.
    pub(super) fn new(rank: Rank, holds: u64, writes: bool) -> (Self, mpsc::Receiver<Errand>) {
        let (errands, waiting) = mpsc::channel(WAITING);
        let (again, counts) = Default::default();
        (Self { rank, holds, writes, errands, again, counts }, waiting)
    }

    /// A record looked for a name and found this one.
    pub(super) fn looked(&self, ip: IpAddr, at: Timestamp, found: Option<&(Rank, Arc<Workload>)>) {
        let errand = match found {
            Some((rank, workload)) if rank.source != self.rank.source && self.writes => {
                Errand::Tell(ip, Arc::clone(workload))
            }
            // What comes first has answered.
            Some((rank, _)) if rank.source < self.rank.source => return,
            Some(_) | None => Errand::Ask(ip, at),
        };
        let wait = if matches!(errand, Errand::Tell(..)) { self.holds } else { ANSWER_NS };
        if self.may_go(ip, at, wait) && self.errands.try_send(errand).is_err() {
            self.again.remove(&ip);
        }
    }

    fn may_go(&self, ip: IpAddr, at: Timestamp, wait: u64) -> bool {
        if self.again.get(&ip).is_some_and(|again| at < *again) {
            return false;
        }
        if self.again.len() >= MAX_ADDRESSES {
            // What is forgotten is asked again: the queue bounds how often.
            self.again.clear();
        }
        self.again.insert(ip, at.plus(wait));
        true
    }

    /// What came of a question, and until when that holds.
    pub(super) fn answered(&self, ip: IpAddr, asked: Timestamp, known: bool) {
        // Asked again while the answer still holds, so that no record finds nothing in between.
        let wait = if known { self.holds / 2 } else { NEGATIVE_NS };
        self.again.insert(ip, asked.plus(wait));
    }
}
