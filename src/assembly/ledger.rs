//! Sends ledger records to the servers that get records as ECS. Standard output and files get exchanges only, and the
//! other formats have no such record.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::encoder::RecordEncoder;
use super::{Assembly, StartedSinks};
use crate::flow::Timestamp;
use crate::format::{Encoded, Observer};
use crate::metrics::{Intervals, MetricsSnapshot};
use crate::published::Subscription;
use crate::record::{Record, Statement};
use crate::settings::{Format, SinkName};
use crate::sink::{BlockPiece, RecordBlock, SinkHandle};

/// The way of ledger records, from the counters to the sinks' queues.
#[derive(Debug)]
pub struct LedgerStatements {
    every: Duration,
    intervals: Intervals,
    observer: Subscription<Observer>,
    outlets: Vec<(RecordEncoder, Vec<SinkHandle>)>,
}

impl Assembly {
    /// From `now` on; none if no sink wants any.
    pub fn statements(&self, sinks: &StartedSinks, now: Timestamp) -> Option<LedgerStatements> {
        let every = self.settings.ledger_interval.map(|interval| interval.0).filter(|every| !every.is_zero())?;
        let takes = |name: SinkName| name.is_server() && self.settings.format_at(name, false) == Format::Ecs;
        let outlets = self.encoders(sinks, false, takes);
        // No other run has it, of whichever pod.
        let run = format!("{:x}-{:016x}", now.0, RandomState::new().hash_one(now.0));
        let observer = self.identity.subscribe();
        (!outlets.is_empty()).then(|| LedgerStatements {
            every,
            intervals: Intervals::new(run, now),
            observer,
            outlets,
        })
    }
}

impl LedgerStatements {
    /// LEDGER_INTERVAL.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Offers what was counted since the last time.
    pub fn tell(&mut self, seen: MetricsSnapshot, now: Timestamp) {
        let with_name = |statement: Statement| (statement.id.clone(), statement.to, Record::from(statement));
        let records: Vec<_> = self.intervals.end(seen, now).into_iter().map(with_name).collect();
        for (encoder, sinks) in &self.outlets {
            let mut block = RecordBlock::default();
            for (id, to, record) in &records {
                block.push_if(record.dataset(), |out| {
                    let encoded = encoder.encode(record, self.observer.now(), out);
                    (encoded == Encoded::Written).then(|| (id.clone(), *to))
                });
            }
            let block = Arc::new(block);
            sinks.iter().for_each(|sink| sink.offer(BlockPiece::whole(Arc::clone(&block))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::metrics::Metrics;
    use crate::settings::MemoryBounds;
    use crate::settings::testing::settings;
    use crate::sink::WhenFull;

    fn told(env: &[(&str, &str)]) -> Option<Vec<(String, u64)>> {
        let settings = settings(env);
        let bounds = MemoryBounds::of(&settings, None);
        let assembly = Assembly::new(&RunConfig { settings, bounds, notes: Vec::new() }, Vec::new()).unwrap();
        let sinks = assembly.sinks(WhenFull::Drop, None).unwrap();
        let told = assembly.statements(&sinks, Timestamp(0)).map(|mut statements| {
            statements.tell(Metrics::new(sinks.all()).snapshot(), Timestamp(1));
        });
        let counts = sinks.all().finish(Duration::ZERO);
        for (_, counts) in &counts {
            assert_eq!(counts.ledger.imbalance(), None);
            // Nothing else offers anything here.
            assert_eq!(counts.ledger.offered, counts.ledger_records());
        }
        told.map(|()| counts.into_iter().map(|(name, counts)| (name, counts.ledger_records())).collect())
    }

    #[test]
    fn only_servers_that_get_ecs_get_one_of_the_capture_and_one_of_each_sink() {
        for (to, format, interval, expected) in [
            ("fluentd", "auto", "60s", Some(&[("fluentd", 2)][..])),
            ("logstash,stdout", "ecs", "1ms", Some(&[("logstash", 3), ("stdout", 0)])),
            ("stdout,fluentd", "text", "60s", Some(&[("stdout", 0), ("fluentd", 3)])),
            ("stdout,fluentd", "classic", "60s", None),
            ("stdout", "ecs", "60s", None),
            ("none", "ecs", "60s", None),
            ("fluentd", "ecs", "none", None),
            ("fluentd", "ecs", "0", None),
        ] {
            let mut env = vec![("FORMAT", format), ("LEDGER_INTERVAL", interval), ("LOGSTASH_TYPE", "beats")];
            env.push(("SEND_LOGS_TO", to));
            env.extend([("FLUENTD_HOST", "127.0.0.1:1"), ("LOGSTASH_HOST", "127.0.0.1:1")]);
            let expected = expected.map(|all| all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect());
            assert_eq!(told(&env), expected, "{env:?}");
        }
    }
}
