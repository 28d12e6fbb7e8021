//! Statements: what was added to every counter between two moments. Owns which numbers a statement contains; has no
//! clock, and sends nothing.
//!
//! There is one statement for the capture and one for each sink. The sink's name is a field, as it is a label of the
//! metrics, so readers need not know the sinks by name.

use compact_str::{CompactString, format_compact};

use super::MetricsSnapshot;
use crate::flow::Timestamp;
use crate::ledger::{
    CONNECTS, CONNTRACK, FLOWS, FRAMES, HTTP_BYTES, HTTP_MESSAGES, INTERFACES, Imbalance, KERNEL, LedgerColumn,
    RECORDS, SINKS, STREAMS, SinkCounts, VERDICTS,
};
use crate::record::Statement;

/// From moment to moment.
#[derive(Debug)]
pub struct Intervals {
    run: CompactString,
    number: u64,
    since: Timestamp,
    before: MetricsSnapshot,
}

impl Intervals {
    /// Begins now, with nothing counted. `run` is what no other run has: what is sent again, in whatever way, is the same
    /// record, and no other is.
    pub fn new(run: impl Into<CompactString>, now: Timestamp) -> Self {
        Self { run: run.into(), number: 0, since: now, before: MetricsSnapshot::default() }
    }

    /// The statements of the interval that ends now, that of the capture first; the next interval begins.
    pub fn end(&mut self, seen: MetricsSnapshot, now: Timestamp) -> Vec<Statement> {
        self.number += 1;
        // A clock that was set back gives an interval of no length, not one that ends before it begins.
        let (from, to) = (self.since.min(now), now);
        let id = format_compact!("{}.ledger.{}", self.run, self.number);
        let mut out = Vec::with_capacity(1 + seen.sinks.len());
        let imbalances = seen.ledger.imbalances().into_iter().chain(seen.records.imbalance());
        let of_capture =
            Statement { id, from, to, sink: None, numbers: self.capture(&seen), imbalances: names(imbalances) };
        for (name, counts) in &seen.sinks {
            out.push(Statement {
                id: format_compact!("{}.{name}", of_capture.id),
                sink: Some(name.as_str().into()),
                numbers: self.sink(name, counts),
                imbalances: names(counts.ledger.imbalance()),
                ..of_capture
            });
        }
        out.insert(0, of_capture);
        (self.since, self.before) = (to, seen);
        out
    }

    fn capture(&self, seen: &MetricsSnapshot) -> Vec<(&'static str, u64)> {
        let (was, is) = (&self.before.ledger, &seen.ledger);
        let mut numbers = Vec::new();
        add(&mut numbers, FRAMES, &was.frames, &is.frames);
        // Before an interface is open the kernel's counters are unknown, which is not 0.
        if seen.kernel.opens > 0 {
            add(&mut numbers, KERNEL, &self.before.kernel, &seen.kernel);
        }
        add(&mut numbers, INTERFACES, &self.before.kernel, &seen.kernel);
        add(&mut numbers, STREAMS, &was.streams, &is.streams);
        add(&mut numbers, HTTP_BYTES, &was.http, &is.http);
        add(&mut numbers, HTTP_MESSAGES, &was.http, &is.http);
        // As above, and no noise where no one asked for it.
        if is.flows.enabled {
            add(&mut numbers, FLOWS, &was.flows, &is.flows);
        }
        if is.conntrack.opens > 0 {
            add(&mut numbers, CONNTRACK, &was.conntrack, &is.conntrack);
        }
        if is.verdicts.opens > 0 {
            add(&mut numbers, VERDICTS, &was.verdicts, &is.verdicts);
        }
        if is.connects.opens > 0 {
            add(&mut numbers, CONNECTS, &was.connects, &is.connects);
        }
        add(&mut numbers, RECORDS, &self.before.records, &seen.records);
        numbers
    }

    fn sink(&self, name: &str, counts: &SinkCounts) -> Vec<(&'static str, u64)> {
        let before = self.before.sinks.iter().find(|(known, _)| known == name).map(|(_, counts)| counts);
        let mut numbers = Vec::with_capacity(SINKS.len());
        add(&mut numbers, SINKS, before.unwrap_or(&SinkCounts::default()), counts);
        numbers
    }
}

fn add<T>(numbers: &mut Vec<(&'static str, u64)>, columns: &[LedgerColumn<T>], before: &T, now: &T) {
    numbers.extend(columns.iter().map(|column| (column.name, column.between(before, now))));
}

fn names(imbalances: impl IntoIterator<Item = Imbalance>) -> Vec<&'static str> {
    imbalances.into_iter().map(|imbalance| imbalance.equation).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{DropReason, LeftOut, ledger_fields};

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000_000)
    }

    /// The totals of a run after a number of equal rounds.
    fn seen(rounds: u64) -> MetricsSnapshot {
        let mut seen = MetricsSnapshot::default();
        (seen.ledger.frames.frames, seen.ledger.frames.segments) = (3 * rounds, 3 * rounds);
        (seen.ledger.conntrack.opens, seen.ledger.verdicts.opens, seen.ledger.connects.opens) = (1, 1, 1);
        (seen.ledger.flows.enabled, seen.ledger.flows.frames) = (true, 3 * rounds);
        seen.ledger.streams.gap_bytes = 10 * rounds;
        (seen.kernel.received, seen.kernel.dropped, seen.kernel.opens) = (5 * rounds, 2 * rounds, rounds.min(1));
        (seen.records.made, seen.records.offered) = (7 * rounds, 6 * rounds);
        seen.records.left_out.add(LeftOut::Sampled as usize, rounds);
        let mut sink = SinkCounts::default();
        (sink.ledger.offered, sink.ledger.delivered, sink.ledger.queued) = (6 * rounds + 4, 5 * rounds, 4);
        (sink.ledger.dropped, sink.dropped[DropReason::QueueFull as usize]) = (rounds, rounds);
        seen.sinks = vec![("fluentd".to_owned(), sink)];
        seen
    }

    fn number(of: &Statement, name: &str) -> Option<u64> {
        of.numbers.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    #[test]
    fn each_interval_has_what_came_in_it_and_gauges_have_what_is() {
        let mut intervals = Intervals::new("run", at(0));
        let first = intervals.end(seen(1), at(60));
        let second = intervals.end(seen(4), at(120));
        assert_eq!(first.iter().map(|of| of.sink.as_deref()).collect::<Vec<_>>(), [None, Some("fluentd")]);
        for (of, rounds) in [(first, 1), (second, 3)] {
            let [capture, sink] = &of[..] else { panic!("{of:?}") };
            for (name, each) in
                [("frames", 3), ("gap_bytes", 10), ("kernel_dropped_packets", 2), ("records_left_out", 1)]
            {
                assert_eq!(number(capture, name), Some(each * rounds), "{name}");
            }
            for (name, each) in [("sink_delivered_records", 5), ("sink_dropped_records", 1)] {
                assert_eq!(number(sink, name), Some(each * rounds), "{name}");
            }
            assert_eq!(number(sink, "sink_queued_records"), Some(4));
            assert_eq!((number(sink, "frames"), number(capture, "sink_offered_records")), (None, None));
            assert!(capture.imbalances.is_empty() && sink.imbalances.is_empty());
        }
    }

    #[test]
    fn what_the_kernel_was_never_asked_is_absent_and_a_zero_is_present() {
        let all: BTreeSet<_> = ledger_fields().map(|(field, _)| field.rsplit('.').next().unwrap()).collect();
        let told = |seen: MetricsSnapshot| -> BTreeSet<_> {
            let records = Intervals::new("run", at(0)).end(seen, at(1));
            records.into_iter().flat_map(|of| of.numbers).map(|(name, _)| name).collect()
        };
        let unasked = MetricsSnapshot { kernel: Default::default(), ..seen(1) };
        let missing: Vec<_> = all.difference(&told(unasked)).copied().collect();
        assert_eq!(missing, ["interface_dropped_packets", "kernel_dropped_packets", "kernel_packets"]);
        assert_eq!(told(seen(1)), all);
    }

    #[test]
    fn an_equation_that_does_not_hold_is_named_where_it_is() {
        let mut wrong = seen(1);
        wrong.ledger.frames.frames += 1;
        wrong.ledger.flows.frames += 1;
        wrong.sinks[0].1.ledger.delivered += 1;
        let records = Intervals::new("run", at(0)).end(wrong, at(1));
        assert_eq!(records[0].imbalances, ["frames = segments + fragments + skipped"]);
        assert!(records[1].imbalances[0].starts_with("offered = delivered"), "{:?}", records[1]);
    }

    #[test]
    fn no_two_records_of_any_run_have_the_same_id() {
        let mut ids = BTreeSet::new();
        for run in ["a", "b"] {
            let mut intervals = Intervals::new(run, at(0));
            (1..5).for_each(|n| ids.extend(intervals.end(seen(1), at(n)).into_iter().map(|of| of.id)));
        }
        assert_eq!(ids.len(), 2 * 4 * 2);
        assert!(ids.contains("a.ledger.1") && ids.contains("b.ledger.4.fluentd"), "{ids:?}");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_interval_that_ends_before_it_begins() {
        let mut intervals = Intervals::new("run", at(100));
        let spans = [110, 50, 60].map(|now| {
            let of = intervals.end(seen(1), at(now)).remove(0);
            (of.from, of.to)
        });
        assert_eq!(spans, [(at(100), at(110)), (at(50), at(50)), (at(50), at(60))]);
    }

    proptest! {
        #[test]
        fn however_a_run_is_cut_the_sums_are_the_whole(mut cuts in proptest::collection::vec(0u64..1000, 1..10)) {
            cuts.sort_unstable();
            let mut intervals = Intervals::new("run", at(0));
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for (now, rounds) in (1..).zip(&cuts) {
                for of in intervals.end(seen(*rounds), at(now)) {
                    of.numbers.iter().for_each(|(name, number)| *sums.entry(name).or_default() += number);
                }
            }
            let whole = Intervals::new("run", at(0)).end(seen(*cuts.last().unwrap()), at(99));
            for (name, number) in whole.iter().flat_map(|of| &of.numbers).filter(|(name, _)| *name != "sink_queued_records") {
                prop_assert_eq!(sums[name], *number, "{}", name);
            }
        }
    }
}
