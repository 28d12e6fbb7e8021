//! Records that ask, and a client against a real Redis, where there is one.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::settings::testing::settings;

const RANK: Rank = Rank::of(1, 0);
const SECOND: u64 = 1_000_000_000;

fn at(second: u64) -> Timestamp {
    Timestamp(0).plus(second * SECOND)
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn named(name: &str) -> Arc<Workload> {
    Arc::new(Workload { name: Some(name.into()), ..Workload::default() })
}

#[test]
fn a_record_asks_once_and_again_when_the_answer_is_half_over_or_the_silence_long() {
    let (redis, mut errands) = RedisSource::new(RANK, 60 * SECOND, false);
    let mut asked = |second| {
        redis.looked(ip(1), at(second), None);
        errands.try_recv().is_ok()
    };
    assert_eq!([0, 1, 4, 5].map(&mut asked), [true, false, false, true], "no answer for five seconds");
    redis.answered(ip(1), at(5), true);
    assert_eq!([6, 34, 35].map(&mut asked), [false, false, true]);
    redis.answered(ip(1), at(35), false);
    assert_eq!([36, 64, 65].map(&mut asked), [false, false, true], "what is not known is asked rarely");
}

#[test]
fn what_comes_first_in_the_list_is_not_asked_for_again_and_is_written_only_on_request() {
    let (first, later) = ((Rank::of(0, 0), named("a")), (Rank::of(2, 0), named("b")));
    for (found, writes, errand) in [
        (Some(&first), false, None),
        (Some(&first), true, Some(Errand::Tell(ip(1), named("a")))),
        (Some(&later), false, Some(Errand::Ask(ip(1), at(0)))),
        (Some(&(RANK, named("c"))), true, Some(Errand::Ask(ip(1), at(0)))),
        (None, true, Some(Errand::Ask(ip(1), at(0)))),
    ] {
        let (redis, mut errands) = RedisSource::new(RANK, 60 * SECOND, writes);
        redis.looked(ip(1), at(0), found);
        assert_eq!(errands.try_recv().ok(), errand, "{found:?} {writes}");
    }
}

#[test]
fn addresses_without_end_take_no_room_without_end_and_never_wait() {
    let (redis, errands) = RedisSource::new(RANK, 60 * SECOND, false);
    for n in 0..50_000u32 {
        redis.looked(IpAddr::V4(n.into()), at(0), None);
    }
    assert!(redis.again.len() <= MAX_ADDRESSES, "{}", redis.again.len());
    assert_eq!(errands.len(), WAITING);
}

/// Debian's Redis with a password, on ports that were free just now, or on others where they are not; it ends with the test.
struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
    tls: u16,
}

impl Server {
    /// With TLS where there are settings for it.
    fn start(with_tls: &[&str]) -> Option<Self> {
        for attempt in 0..20 {
            let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let [port, tls] = free.map(|listener| listener.local_addr().unwrap().port());
            let folder = std::env::temp_dir().join(format!("podtap-redis-{}-{port}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let mut command = Command::new("redis-server");
            command.args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--requirepass",
                "hunter2",
                "--port",
                &port.to_string(),
            ]);
            if !with_tls.is_empty() {
                command.args(with_tls).args(["--tls-port", &tls.to_string()]);
            }
            command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else {
                println!("SKIPPED: no redis-server");
                return None;
            };
            while child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Self { child, folder, port, tls });
                }
                std::thread::yield_now();
            }
            println!("port {port} was taken, attempt {attempt}");
        }
        panic!("redis-server does not start");
    }

    fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "-a", "hunter2", "--no-auth-warning", "-n", "3"]).args(words);
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    }

    fn client(&self, redis: RedisSource, more: &[(&str, &str)]) -> (RedisClient, Arc<RedisSource>, Arc<WorkloadTable>) {
        let host = format!("127.0.0.1:{}", self.port);
        let own = [("REDIS_HOST", host.as_str()), ("REDIS_PASSWORD", "hunter2"), ("REDIS_DB", "3")];
        let table = Arc::new(WorkloadTable::new(1 << 20));
        let redis = Arc::new(redis);
        let client = client(&settings(&[&own[..], more].concat()), &redis, &table).unwrap();
        (RedisClient { now: || at(100), ..client }, redis, table)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn counts(redis: &RedisSource) -> [u64; 4] {
    let mut counts = WorkloadCounts::default();
    redis.counts.put(&mut counts);
    [counts.redis_asked, counts.redis_found, counts.redis_written, counts.redis_failures]
}

/// Until the errands are run: the queue is empty and every one is counted.
async fn until(done: impl Fn() -> bool) {
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_real_redis_is_asked_many_things_at_once_and_written_to() {
    let Some(server) = Server::start(&[]) else { return };
    server.cli(&["HSET", "10.0.0.1", "namespace", "shop", "name", "cart", "more", "x"]);
    server.cli(&["SET", "10.0.0.3", "no hash"]);
    server.cli(&["HSET", "10.0.0.4", "namespace", "shop"]);
    server.cli(&["HSET", "fd00::1", "name", "six"]);
    let (redis, errands) = RedisSource::new(RANK, 60 * SECOND, true);
    let (client, redis, table) = server.client(redis, &[]);
    for n in 0..200 {
        redis.looked(ip(n), at(90), None);
    }
    redis.looked("fd00::1".parse().unwrap(), at(90), None);
    redis.looked(ip(250), at(90), Some(&(Rank::of(0, 0), named("known"))));
    let running = tokio::spawn(client.run(errands));
    until(|| counts(&redis) == [201, 2, 1, 0]).await;
    let name = |ip, second| table.at(ip, at(second)).and_then(|(_, workload)| workload.name.clone());
    assert_eq!(table.at(ip(1), at(90)).unwrap().1.namespace.as_deref(), Some("shop"));
    assert_eq!([name(ip(1), 89), name(ip(1), 159), name(ip(1), 161)], [None, Some("cart".into()), None]);
    assert_eq!(
        [name(ip(3), 91), name(ip(4), 91), name("fd00::1".parse().unwrap(), 91)],
        [None, None, Some("six".into())]
    );
    assert_eq!(server.cli(&["HGETALL", "10.0.0.250"]), "namespace\n\nname\nknown");
    assert_eq!(server.cli(&["TTL", "10.0.0.250"]), "600");
    // A connection that the server closed is opened again, and no one notices.
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.cli(&["HSET", "10.0.0.1", "name", "other"]);
    redis.looked(ip(1), at(120), None);
    until(|| counts(&redis) == [202, 3, 1, 0]).await;
    assert_eq!([name(ip(1), 119), name(ip(1), 120)], [Some("cart".into()), Some("other".into())]);
    running.abort();
}

/// Of the commands of clients that the server counts: how often it was called.
fn calls(server: &Server, command: &str) -> u64 {
    let said = server.cli(&["INFO", "commandstats"]);
    let line = said.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_storm_of_addresses_that_no_one_knows_asks_for_each_once_on_one_connection() {
    const STORM: u32 = 10_000;
    let Some(server) = Server::start(&[]) else { return };
    let connections = |server: &Server| -> u64 {
        let said = server.cli(&["INFO", "stats"]);
        let line = said.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse().unwrap()
    };
    let (redis, errands) = RedisSource::new(RANK, 60 * SECOND, false);
    let (client, redis, table) = server.client(redis, &[]);
    let before = connections(&server);
    let running = tokio::spawn(client.run(errands));
    // Records look for names all the time; what finds no place in the queue is asked by a later one.
    let look = || (0..STORM).for_each(|n| redis.looked(IpAddr::V4((0x0a00_0000 + n).into()), at(90), None));
    until(|| {
        look();
        counts(&redis)[0] >= u64::from(STORM)
    })
    .await;
    look();
    assert_eq!(counts(&redis), [STORM.into(), 0, 0, 0]);
    // One is that of the client, the other that which asks here.
    assert_eq!(connections(&server) - before, 2);
    assert_eq!(calls(&server, "hgetall"), u64::from(STORM));
    assert_eq!(table.counts().addresses, 0);
    running.abort();
}

#[tokio::test]
async fn a_large_hash_is_no_workload_and_keeps_no_other_name_back() {
    let Some(server) = Server::start(&[]) else { return };
    for n in 0..10 {
        let fields: Vec<String> = (0..200).map(|field| format!("{n}-{field}")).collect();
        let words = ["HSET", "10.0.0.1"].into_iter().chain(fields.iter().map(String::as_str));
        server.cli(&words.collect::<Vec<_>>());
    }
    server.cli(&["HSET", "10.0.0.1", "name", "trap"]);
    server.cli(&["HSET", "10.0.0.2", "name", &"x".repeat(100_000), "namespace", "shop"]);
    server.cli(&["HSET", "10.0.0.3", "name", "cart"]);
    let (redis, errands) = RedisSource::new(RANK, 60 * SECOND, false);
    let (client, redis, table) = server.client(redis, &[]);
    (1..=3).for_each(|n| redis.looked(ip(n), at(90), None));
    let running = tokio::spawn(client.run(errands));
    until(|| counts(&redis)[0] == 3).await;
    assert_eq!(counts(&redis), [3, 1, 0, 0]);
    let named = [1, 2, 3].map(|n| table.at(ip(n), at(90)).and_then(|(_, workload)| workload.name.clone()));
    assert_eq!(named, [None, None, Some("cart".into())]);
    running.abort();
}

#[tokio::test]
async fn a_wrong_password_is_a_failure_that_names_no_password() {
    let Some(server) = Server::start(&[]) else { return };
    for (password, fault) in [("hunter2", None), ("wrong-secret", Some("WRONGPASS"))] {
        let (redis, _errands) = RedisSource::new(RANK, 60 * SECOND, false);
        let found = server.client(redis, &[("REDIS_PASSWORD", password)]).0.probe().await;
        let why = found.fault.unwrap_or_default();
        assert!(why.contains(fault.unwrap_or_default()) && why.is_empty() == fault.is_none(), "{why}");
        assert!(found.what.starts_with("Redis at 127.0.0.1:") && !why.contains("secret"), "{} {why}", found.what);
    }
    let (redis, errands) = RedisSource::new(RANK, 60 * SECOND, false);
    let (client, redis, _) = server.client(redis, &[("REDIS_PASSWORD", "wrong-secret")]);
    redis.looked(ip(1), at(90), None);
    let running = tokio::spawn(client.run(errands));
    until(|| counts(&redis)[3] == 1).await;
    assert_eq!(counts(&redis), [0, 0, 0, 1]);
    running.abort();
}

#[tokio::test]
async fn a_redis_with_tls_is_known_by_its_certificate() {
    let folder = std::env::temp_dir().join(format!("podtap-redis-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=redis",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no openssl");
        return;
    }
    let (key, cert) = (key.display().to_string(), cert.display().to_string());
    let more = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let Some(server) = Server::start(&more) else { return };
    server.cli(&["HSET", "10.0.0.1", "name", "cart"]);
    for (authority, expected) in [(Some(cert.as_str()), [1, 1, 0, 0]), (None, [0, 0, 0, 1])] {
        let (redis, errands) = RedisSource::new(RANK, 60 * SECOND, false);
        let host = format!("127.0.0.1:{}", server.tls);
        let own = [("REDIS_HOST", host.as_str()), ("REDIS_TLS", "true"), ("REDIS_TLS_CA", authority.unwrap_or("none"))];
        let (client, redis, _) = server.client(redis, &own);
        redis.looked(ip(1), at(90), None);
        let running = tokio::spawn(client.run(errands));
        until(|| counts(&redis).iter().sum::<u64>() == expected.iter().sum::<u64>()).await;
        assert_eq!(counts(&redis), expected, "{authority:?}");
        running.abort();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
