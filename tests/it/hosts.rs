//! Several hosts, for all sinks alike. Each pod begins with any of them and keeps to it, and a server that is added later gets its
//! share. Sinks are made of settings, as the program makes them; servers are real sockets that do everything right.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use podtap::sink::SinkHandle;

#[cfg(feature = "es")]
use crate::compliance::bulk;
use crate::compliance::servers::{self, Store, Stored};
use crate::feed::{Body, PATIENCE, finish, id, json_line, msgpack, piece, wait_until, watch};
use crate::rotation::start;
use crate::servers::{bound, reserved};

/// A sink over TCP, and a server of its protocol.
struct Kind {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    hosts: &'static str,
    body: Body,
    serve: fn(TcpStream, &Mutex<Store>) -> Option<()>,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "fluentd",
        settings: &[("SEND_LOGS_TO", "fluentd")],
        hosts: "FLUENTD_HOST",
        body: msgpack,
        serve: servers::forward,
    },
    Kind {
        name: "beats",
        settings: &[("SEND_LOGS_TO", "logstash"), ("LOGSTASH_TYPE", "beats")],
        hosts: "LOGSTASH_HOST",
        body: json_line,
        serve: servers::beats,
    },
    Kind {
        name: "http",
        settings: &[("SEND_LOGS_TO", "logstash"), ("LOGSTASH_TYPE", "http")],
        hosts: "LOGSTASH_HOST",
        body: json_line,
        serve: servers::http,
    },
    Kind {
        name: "tcp",
        settings: &[("SEND_LOGS_TO", "logstash"), ("LOGSTASH_TYPE", "tcp")],
        hosts: "LOGSTASH_HOST",
        body: json_line,
        serve: servers::lines,
    },
    #[cfg(feature = "es")]
    Kind {
        name: "elasticsearch",
        settings: &[
            ("SEND_LOGS_TO", "elasticsearch"),
            ("ELASTICSEARCH_INDEX", bulk::STREAM),
            ("ELASTICSEARCH_COMPRESS", "false"),
        ],
        hosts: "ELASTICSEARCH_HOST",
        body: json_line,
        serve: bulk::serve,
    },
];

impl Kind {
    fn start(&self, hosts: &[SocketAddr], max_age: &str) -> SinkHandle {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let more = [(self.hosts, hosts.join(",")), ("CONNECTION_MAX_AGE", max_age.to_owned())];
        start(self.settings, more.map(|(name, text)| (name.to_owned(), text)).to_vec())
    }

    /// Offers record `n` and waits for its delivery.
    fn deliver(&self, sink: &SinkHandle, n: usize) {
        let before = sink.counts().ledger.delivered;
        sink.offer(piece(n..n + 1, self.body));
        watch(self.name, sink, |counts| counts.ledger.delivered > before);
    }
}

/// The ids that a server has. Its own threads may be a little behind what its kernel acknowledged.
fn ids(stored: &Stored) -> BTreeSet<String> {
    stored.lock().unwrap().ids.iter().cloned().collect()
}

#[test]
fn of_many_pods_each_host_gets_some_and_each_pod_keeps_to_one() {
    const BATCHES: usize = 5;
    for kind in KINDS {
        let stores: [Stored; 3] = Default::default();
        let hosts = stores.each_ref().map(|stored| servers::start(Arc::clone(stored), kind.serve));
        let mut pods = 0;
        // One host of three is missed by 60 pods once in 10^10 times.
        while pods < 60 && stores.iter().any(|stored| ids(stored).is_empty()) {
            let sink = kind.start(&hosts, "1h");
            let mine = pods * BATCHES..(pods + 1) * BATCHES;
            mine.clone().for_each(|n| kind.deliver(&sink, n));
            finish(sink, PATIENCE);
            let mine: BTreeSet<_> = mine.map(id).collect();
            let has = |stored: &Stored| ids(stored).intersection(&mine).count();
            wait_until("what the servers read", || stores.iter().map(has).sum::<usize>() == BATCHES);
            assert!(stores.iter().any(|stored| has(stored) == BATCHES), "{}: it changed hosts", kind.name);
            pods += 1;
        }
        assert!(stores.iter().all(|stored| !ids(stored).is_empty()), "{}: {pods} pods", kind.name);
    }
}

#[test]
fn a_server_that_is_added_gets_its_share_and_no_record_is_lost_or_doubled() {
    const PODS: usize = 6;
    for kind in KINDS {
        let stores: [Stored; 2] = Default::default();
        let first = servers::start(Arc::clone(&stores[0]), kind.serve);
        let (second, _reserved) = reserved();
        let sinks: Vec<_> = (0..PODS).map(|_| kind.start(&[first, second], "1s")).collect();
        let mut offered = 0;
        let mut round = || {
            for sink in &sinks {
                kind.deliver(sink, offered);
                offered += 1;
            }
        };
        round();
        assert!(ids(&stores[1]).is_empty(), "{}: one server is not there yet", kind.name);
        let listener = bound(second).and_then(|socket| socket.listen(128).map(|()| socket)).unwrap();
        servers::serve(listener.into(), Arc::clone(&stores[1]), kind.serve);
        // Which pods have been at the new server: record n is of pod n % PODS.
        let moved = || {
            let numbers = ids(&stores[1]).into_iter().map(|id| id.trim_start_matches("id-").parse::<usize>().unwrap());
            numbers.map(|n| n % PODS).collect::<BTreeSet<_>>().len()
        };
        wait_until("a share for the new server", || {
            round();
            moved() >= PODS / 2
        });
        sinks.into_iter().for_each(|sink| drop(finish(sink, PATIENCE)));
        let all = || stores.iter().flat_map(|stored| stored.lock().unwrap().ids.clone()).collect::<Vec<_>>();
        wait_until("what the servers read", || all().len() >= offered);
        let mut all = all();
        all.sort_unstable();
        assert_eq!(all, (0..offered).map(id).collect::<Vec<_>>(), "{}", kind.name);
    }
}
