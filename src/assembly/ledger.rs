//! Ledger records to whom they are for: servers that get records as ECS. Standard output and files hold exchanges alone,
//! and the other formats have no such record.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::encoder::Encoder;
use super::{Assembly, Started};
use crate::flow::Timestamp;
use crate::identity::View;
use crate::metrics::{Intervals, Snapshot};
use crate::record::Record;
use crate::settings::{Format, SinkName};
use crate::sink::{Block, Piece, SinkHandle};

/// The way of ledger records, from the counters to the sinks' queues.
#[derive(Debug)]
pub struct Statements {
    every: Duration,
    intervals: Intervals,
    view: View,
    outlets: Vec<(Encoder, Vec<SinkHandle>)>,
}

impl Assembly {
    /// From `now` on; none where nobody wants any.
    pub fn statements(&self, sinks: &Started, now: Timestamp) -> Option<Statements> {
        let every = self.settings.ledger_interval.map(|interval| interval.0).filter(|every| !every.is_zero())?;
        let takes = |name: SinkName| name.is_server() && self.settings.format_at(name, false) == Format::Ecs;
        let outlets = self.encoders(sinks, false, takes);
        // No other run has it, of whichever pod.
        let run = format!("{:x}-{:016x}", now.0, RandomState::new().hash_one(now.0));
        let view = self.identity.view();
        (!outlets.is_empty()).then(|| Statements { every, intervals: Intervals::new(run, now), view, outlets })
    }
}

impl Statements {
    /// LEDGER_INTERVAL.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Offers what was counted since the last time.
    pub fn tell(&mut self, seen: Snapshot, now: Timestamp) {
        let records = self.intervals.end(seen, now);
        for (encoder, sinks) in &self.outlets {
            let mut block = Block::of_ledger();
            for record in &records {
                let Record::Ledger(statement) = record else { continue };
                block.push(|out| {
                    encoder.encode(record, self.view.observer(), out);
                    (statement.id.clone(), statement.to)
                });
            }
            let block = Arc::new(block);
            sinks.iter().for_each(|sink| sink.offer(Piece::whole(Arc::clone(&block))));
        }
    }
}
