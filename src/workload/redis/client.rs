//! The side of Redis: one connection, on which many errands go at once. Owns failures and waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::ReachedSource;
use super::super::table::WorkloadTable;
use super::resp::{self, RedisReply, Replies};
use super::{Errand, RedisCounts, RedisSource};
use crate::flow::Timestamp;
use crate::record::Workload;
use crate::settings::printable_up_to;
use crate::sink::RetryBackoff;
use crate::sink::connect::{Connector, OnSocket, ServerStream};

/// Errands on their way at once.
const AT_ONCE: usize = 128;
/// How long the replies to them may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const BACKOFF: RetryBackoff = RetryBackoff { first: Duration::from_millis(500), most: Duration::from_secs(30) };
/// What is written lasts this many times as long as answers hold: then it has to be confirmed.
const LASTS: u64 = 10;
/// Longest name, as DNS limits them.
const LONGEST_NAME: usize = 253;

/// User, password and database.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in crate::workload) struct RedisLogin {
    pub(in crate::workload) username: Option<String>,
    pub(in crate::workload) password: Option<String>,
    pub(in crate::workload) database: usize,
}

/// Runs errands.
pub(in crate::workload) struct RedisClient {
    pub(in crate::workload) redis: Arc<RedisSource>,
    pub(in crate::workload) table: Arc<WorkloadTable>,
    pub(in crate::workload) connector: Connector,
    /// As it is now: a password's file may hold another one.
    pub(in crate::workload) login: Box<dyn Fn() -> RedisLogin + Send + Sync>,
    pub(in crate::workload) now: fn() -> Timestamp,
}

/// Without its login.
impl std::fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client(…)")
    }
}

/// A connection, and the reply that is under way.
struct RedisLink {
    stream: ServerStream,
    replies: Replies,
}

impl RedisClient {
    /// Lets `hook` hear of every connection.
    pub(in crate::workload) fn with_hook(self, hook: OnSocket) -> Self {
        Self { connector: self.connector.with_hook(hook), ..self }
    }

    /// Logs in and asks for a sign of life.
    pub(in crate::workload) async fn probe(&mut self) -> ReachedSource {
        let hosts: Vec<_> = self.connector.hosts().iter().map(ToString::to_string).collect();
        let what = format!("Redis at {}", hosts.join(", "));
        let mut ping = Vec::new();
        resp::write(&mut ping, &[b"PING"]);
        let answer = match self.connect().await {
            Ok(mut link) => link.ask(&ping, 1).await,
            Err(why) => Err(why),
        };
        let fault = match answer.as_deref() {
            Ok([RedisReply::Error(why)]) => Some(why.clone()),
            Ok(_) => None,
            Err(why) => Some(why.clone()),
        };
        ReachedSource { what, fault }
    }

    /// Until no one can ask any more.
    pub(in crate::workload) async fn run(mut self, mut errands: mpsc::Receiver<Errand>) {
        let (mut link, mut attempts, mut trouble) = (None, 0, None);
        while let Some(first) = errands.recv().await {
            let mut batch = vec![first];
            while batch.len() < AT_ONCE
                && let Ok(errand) = errands.try_recv()
            {
                batch.push(errand);
            }
            match self.serve(&mut link, &batch).await {
                Ok(()) => {
                    attempts = 0;
                    if trouble.take().is_some() {
                        tracing::info!("Redis answers again");
                    }
                }
                Err(why) => {
                    link = None;
                    RedisCounts::add(&self.redis.counts.failures, 1);
                    if trouble.as_ref() != Some(&why) {
                        tracing::warn!("no names from Redis for now: {}", printable_up_to(600, &why));
                        trouble = Some(why);
                    }
                    tokio::time::sleep(BACKOFF.wait(attempts, super::super::random())).await;
                    attempts = attempts.saturating_add(1);
                }
            }
        }
    }

    /// Runs a batch; on a connection that was idle once more, as servers close those.
    async fn serve(&mut self, link: &mut Option<RedisLink>, batch: &[Errand]) -> Result<(), String> {
        let was_idle = link.is_some();
        if link.is_none() {
            *link = Some(self.connect().await?);
        }
        let Some(open) = link else { return Ok(()) };
        let commands = commands(batch, self.redis.holds);
        let replies = match open.ask(&commands, replies_to(batch)).await {
            Err(_) if was_idle => {
                let open = link.insert(self.connect().await?);
                open.ask(&commands, replies_to(batch)).await?
            }
            replies => replies?,
        };
        self.take(batch, replies)
    }

    async fn connect(&mut self) -> Result<RedisLink, String> {
        let connected = self.connector.connect().await.map_err(|error| error.to_string())?;
        let mut link = RedisLink { stream: connected.stream, replies: Replies::default() };
        let RedisLogin { username, password, database } = (self.login)();
        let (mut hello, mut expected) = (Vec::new(), 0);
        if let Some(password) = &password {
            let user = username.iter().map(String::as_bytes);
            let words: Vec<_> = std::iter::once(&b"AUTH"[..]).chain(user).chain([password.as_bytes()]).collect();
            resp::write(&mut hello, &words);
            expected += 1;
        }
        if database > 0 {
            resp::write(&mut hello, &[b"SELECT", database.to_string().as_bytes()]);
            expected += 1;
        }
        for reply in link.ask(&hello, expected).await? {
            if let RedisReply::Error(why) = reply {
                return Err(format!("{}: {why}", connected.host));
            }
        }
        Ok(link)
    }

    fn take(&self, batch: &[Errand], replies: Vec<RedisReply>) -> Result<(), String> {
        let mut replies = replies.into_iter();
        for errand in batch {
            let reply = replies.next();
            match errand {
                Errand::Ask(ip, asked) => {
                    if let Some(RedisReply::Error(why)) = &reply
                        && !why.starts_with("WRONGTYPE")
                    {
                        return Err(format!("HGETALL: {why}"));
                    }
                    RedisCounts::add(&self.redis.counts.asked, 1);
                    let workload = reply.and_then(workload);
                    if let Some(workload) = &workload {
                        RedisCounts::add(&self.redis.counts.found, 1);
                        let until = (self.now)().max(*asked).plus(self.redis.holds);
                        self.table.lease(self.redis.rank, *ip, [*asked, until], workload);
                    } else {
                        self.table.end(self.redis.rank, *ip, *asked);
                    }
                    self.redis.answered(*ip, *asked, workload.is_some());
                }
                Errand::Tell(..) => {
                    let expire = replies.next();
                    if let Some(RedisReply::Error(why)) =
                        [reply, expire].into_iter().flatten().find(|reply| matches!(reply, RedisReply::Error(_)))
                    {
                        return Err(format!("HSET: {why}"));
                    }
                    RedisCounts::add(&self.redis.counts.written, 1);
                }
            }
        }
        Ok(())
    }
}

impl RedisLink {
    /// Sends commands and reads as many replies.
    async fn ask(&mut self, commands: &[u8], expected: usize) -> Result<Vec<RedisReply>, String> {
        let late = |_| format!("no answer within {PATIENCE:?}");
        timeout(PATIENCE, self.stream.write_all(commands)).await.map_err(late)?.map_err(|error| error.to_string())?;
        timeout(PATIENCE, self.stream.flush()).await.map_err(late)?.map_err(|error| error.to_string())?;
        let mut replies = Vec::with_capacity(expected);
        let mut came = [0; 8192];
        while replies.len() < expected {
            let read = timeout(PATIENCE, self.stream.read(&mut came)).await.map_err(late)?;
            let length = read.map_err(|error| error.to_string())?;
            if length == 0 {
                return Err("the server closed the connection, an answer was expected".to_owned());
            }
            self.replies.take(came.get(..length).unwrap_or_default(), &mut replies)?;
        }
        if replies.len() > expected {
            return Err("the server answers more than it was asked".to_owned());
        }
        Ok(replies)
    }
}

fn replies_to(batch: &[Errand]) -> usize {
    batch.iter().map(|errand| if matches!(errand, Errand::Tell(..)) { 2 } else { 1 }).sum()
}

fn commands(batch: &[Errand], holds: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for errand in batch {
        match errand {
            Errand::Ask(ip, _) => resp::write(&mut out, &[b"HGETALL", ip.to_string().as_bytes()]),
            Errand::Tell(ip, workload) => {
                let key = ip.to_string();
                let text = |text: &Option<compact_str::CompactString>| text.clone().unwrap_or_default();
                let (namespace, name) = (text(&workload.namespace), text(&workload.name));
                let words: [&[u8]; 6] =
                    [b"HSET", key.as_bytes(), b"namespace", namespace.as_bytes(), b"name", name.as_bytes()];
                resp::write(&mut out, &words);
                let seconds = (holds / 1_000_000_000).max(1) * LASTS;
                resp::write(&mut out, &[b"EXPIRE", key.as_bytes(), seconds.to_string().as_bytes()]);
            }
        }
    }
    out
}

/// What a hash says; nothing without a name.
fn workload(reply: RedisReply) -> Option<Arc<Workload>> {
    let RedisReply::List(fields) = reply else { return None };
    let mut found = Workload::default();
    for pair in fields.chunks_exact(2) {
        let [field, value] = pair else { continue };
        let value = std::str::from_utf8(value).ok().filter(|value| !value.is_empty() && value.len() <= LONGEST_NAME);
        match field.as_slice() {
            b"namespace" => found.namespace = value.map(Into::into),
            b"name" => found.name = value.map(Into::into),
            _ => {}
        }
    }
    found.name.is_some().then(|| Arc::new(found))
}
