//! Creates, starts and probes (`podtap check`) the sinks that SEND_LOGS_TO names.

use std::time::Duration;

use super::encoder::RecordEncoder;
use super::faults::FaultList;
use super::{Assembly, UnusableSettings, expiry, targets};
use crate::settings::{Settings, SinkName, SpoolFsync, SpoolMode};
use crate::sink::dead_letter::DeadLetters;
use crate::sink::file::FileSink;
use crate::sink::fluentd::FluentdSink;
use crate::sink::logstash::LogstashSink;
use crate::sink::spool::{self, Fsync, SpoolOptions};
use crate::sink::stdout::StdoutSink;
use crate::sink::{self, BatchLimits, Sink, SinkHandle, SinkOptions, Sinks, UndeliveredPolicy, WhenFull};
use crate::source::own_traffic::OwnTraffic;

#[cfg(feature = "es")]
use crate::sink::elasticsearch::ElasticsearchSink;

/// Running sinks and their names.
#[derive(Clone, Debug)]
pub struct StartedSinks {
    sinks: Vec<(SinkName, SinkHandle)>,
    dead_letters: Option<DeadLetters>,
}

impl StartedSinks {
    /// All of them, for metrics and shutdown.
    pub fn all(&self) -> Sinks {
        let sinks = self.sinks.iter().map(|(_, handle)| handle.clone()).collect();
        Sinks::new(sinks).with_dead_letters(self.dead_letters.clone())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(SinkName, SinkHandle)> {
        self.sinks.iter()
    }
}

/// A sink that is ready to start; one for each delivery that may be under way.
enum ReadySink {
    Stdout(StdoutSink),
    File(FileSink),
    Fluentd(Vec<FluentdSink>),
    Logstash(Vec<LogstashSink>),
    #[cfg(feature = "es")]
    Elasticsearch(Vec<ElasticsearchSink>),
}

/// What `podtap check` found at one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedServer {
    /// The sink.
    pub sink: SinkName,
    /// Whom it leads to, what worked, and what was answered.
    pub found: String,
    /// What works, perhaps not as meant.
    pub warning: Option<String>,
    /// What does not work.
    pub fault: Option<String>,
}

impl Assembly {
    /// Starts the sinks that SEND_LOGS_TO names; none is started if one of them cannot be. `own` learns of their
    /// connections, so that none of it is recorded.
    pub fn sinks(&self, when_full: WhenFull, own: Option<&OwnTraffic>) -> Result<StartedSinks, UnusableSettings> {
        let mut faults = FaultList::default();
        let names = self.settings.send_logs_to.iter();
        let made: Vec<_> =
            names.filter_map(|name| faults.keep(self.make(*name, own)).map(|sink| (*name, sink))).collect();
        let dead_letters = self.settings.dead_letter_path.clone().map(DeadLetters::start).transpose();
        let dead_letters = faults.keep(dead_letters.map_err(|why| UnusableSettings::new("DEAD_LETTER_PATH", why)));
        let dead_letters = faults.finish(dead_letters)?;
        let mut started = StartedSinks { sinks: Vec::new(), dead_letters };
        for (name, sink) in made {
            let handle = self.start(name, sink, when_full, started.dead_letters.clone());
            let handle =
                handle.map_err(|why| UnusableSettings::new(name.word(), format!("cannot be started: {why}")))?;
            started.sinks.push((name, handle));
        }
        Ok(started)
    }

    fn make(&self, name: SinkName, own: Option<&OwnTraffic>) -> Result<ReadySink, UnusableSettings> {
        let settings = &self.settings;
        Ok(match name {
            SinkName::Stdout => {
                ReadySink::Stdout(StdoutSink::new().map_err(|why| UnusableSettings::new("stdout", why))?)
            }
            SinkName::File => ReadySink::File(FileSink::new(targets::file(settings))),
            SinkName::Fluentd => ReadySink::Fluentd(several(settings.fluentd_concurrency.count(), || {
                targets::fluentd::sink(settings, &self.identity.observer(), own)
            })?),
            SinkName::Logstash => ReadySink::Logstash(several(settings.logstash_concurrency.count(), || {
                targets::logstash::sink(settings, own)
            })?),
            #[cfg(feature = "es")]
            SinkName::Elasticsearch => {
                ReadySink::Elasticsearch(several(settings.elasticsearch_concurrency.count(), || {
                    targets::elasticsearch::sink(settings)
                })?)
            }
            #[cfg(not(feature = "es"))]
            SinkName::Elasticsearch => return Err(targets::without_elasticsearch()),
        })
    }

    fn start(
        &self,
        name: SinkName,
        made: ReadySink,
        when_full: WhenFull,
        dead_letters: Option<DeadLetters>,
    ) -> std::io::Result<SinkHandle> {
        let options = self.options(name, when_full);
        let encoding = RecordEncoder::new(name, &self.settings, false).encoding();
        let spool = name.is_server().then(|| spool(&self.settings, encoding)).flatten();
        let undelivered = UndeliveredPolicy { spool, dead_letters };
        match made {
            ReadySink::Stdout(sink) => spawn(name, vec![sink], options, undelivered),
            ReadySink::File(sink) => spawn(name, vec![sink], options, undelivered),
            ReadySink::Fluentd(sinks) => spawn(name, sinks, options, undelivered),
            ReadySink::Logstash(sinks) => spawn(name, sinks, options, undelivered),
            #[cfg(feature = "es")]
            ReadySink::Elasticsearch(sinks) => spawn(name, sinks, options, undelivered),
        }
    }

    fn options(&self, name: SinkName, when_full: WhenFull) -> SinkOptions {
        let settings = &self.settings;
        let records = settings.batch_records.count();
        let batch = if name.is_server() {
            BatchLimits { records, bytes: settings.batch_bytes.in_memory(), age: settings.batch_age.0 }
        } else {
            // Local sinks take what is there at once; their batches need no age.
            BatchLimits { records: records.max(4096), bytes: settings.batch_bytes.in_memory(), age: Duration::ZERO }
        };
        SinkOptions {
            queue: self.queue,
            when_full,
            batch,
            hold_for: self.settings.hold_for.map(|time| time.0),
            ..SinkOptions::default()
        }
    }

    /// Tries each server: connection, encryption, and as much of an answer as its protocol knows. Sends no record.
    /// With `deep`, one marked record is written where it can be deleted again.
    pub async fn probe(&self, deep: bool) -> Vec<ProbedServer> {
        let mut probed = Vec::new();
        for name in self.settings.send_logs_to.iter().filter(|name| name.is_server()) {
            match self.make(*name, None) {
                Ok(made) => {
                    probed.extend(made.probe(*name, deep).await);
                    let expiring = expiry::expiring(*name, &self.settings, jiff::Timestamp::now()).await;
                    probed.extend(expiring.into_iter().map(|found| renew(*name, found)));
                }
                Err(why) => {
                    let found = "not usable as set".to_owned();
                    probed.push(ProbedServer { sink: *name, found, warning: None, fault: Some(why.to_string()) });
                }
            }
        }
        probed
    }
}

impl ReadySink {
    async fn probe(self, sink: SinkName, deep: bool) -> Vec<ProbedServer> {
        let checks = match self {
            Self::Stdout(_) | Self::File(_) => Vec::new(),
            Self::Fluentd(mut sinks) => match sinks.first_mut() {
                Some(sink) => sink.check().await,
                None => Vec::new(),
            },
            Self::Logstash(mut sinks) => match sinks.first_mut() {
                Some(sink) => sink.check().await,
                None => Vec::new(),
            },
            #[cfg(feature = "es")]
            Self::Elasticsearch(sinks) => return probe_cluster(sink, sinks.first(), deep).await,
        };
        let probed = |check: sink::fluentd::HostCheck| ProbedServer {
            sink,
            found: [vec![check.host], check.steps, no_record(deep)].concat().join("; "),
            warning: None,
            fault: check.fault,
        };
        checks.into_iter().map(probed).collect()
    }
}

#[cfg(feature = "es")]
async fn probe_cluster(sink: SinkName, cluster: Option<&ElasticsearchSink>, deep: bool) -> Vec<ProbedServer> {
    let Some(cluster) = cluster else { return Vec::new() };
    let now = jiff::Timestamp::now().as_nanosecond();
    let now = crate::flow::Timestamp(i64::try_from(now).unwrap_or_default());
    let probed = |found: String, warning, fault| vec![ProbedServer { sink, found, warning, fault }];
    match cluster.check(now).await {
        Ok(target) if deep => match cluster.try_record(&target, now).await {
            Ok(steps) => probed(format!("{target}; {steps}"), target.warning, None),
            Err(error) => probed(target.to_string(), target.warning, Some(error.into())),
        },
        Ok(target) => probed(target.to_string(), target.warning, None),
        Err(error) => probed("takes no records yet".to_owned(), None, Some(error.into())),
    }
}

fn renew(sink: SinkName, found: String) -> ProbedServer {
    ProbedServer { sink, found, warning: Some("renew it: from then on nothing is delivered".to_owned()), fault: None }
}

/// Of a server that can neither show nor delete a record.
fn no_record(deep: bool) -> Vec<String> {
    if deep { vec!["a record could not be taken back from there: none was sent".to_owned()] } else { Vec::new() }
}

fn several<S>(number: usize, make: impl Fn() -> Result<S, UnusableSettings>) -> Result<Vec<S>, UnusableSettings> {
    std::iter::repeat_with(make).take(number.max(1)).collect()
}

fn spawn<S: Sink>(
    name: SinkName,
    sinks: Vec<S>,
    options: SinkOptions,
    undelivered: UndeliveredPolicy,
) -> std::io::Result<SinkHandle> {
    sink::spawn_all(name.word(), sinks, options, undelivered)
}

fn spool(settings: &Settings, encoding: String) -> Option<SpoolOptions> {
    let servers = settings.send_logs_to.iter().filter(|name| name.is_server()).count();
    Some(SpoolOptions {
        directory: settings.spool_dir.clone()?,
        max_bytes: settings.spool_max_bytes.bytes() / servers.max(1) as u64,
        mode: match settings.spool_mode {
            SpoolMode::Overflow => spool::SpoolMode::Overflow,
            SpoolMode::Failing => spool::SpoolMode::Failing,
            SpoolMode::Always => spool::SpoolMode::Always,
        },
        fsync: match settings.spool_fsync {
            SpoolFsync::None => Fsync::None,
            SpoolFsync::Segment => Fsync::Segment,
            SpoolFsync::Batch => Fsync::Batch,
        },
        encoding,
    })
}
