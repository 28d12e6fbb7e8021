//! What was read and shown, in a few lines. Its size is bounded, whatever is read.

use std::collections::HashMap;
use std::fmt;

use crate::filter::expression::is_of_kind;
use crate::format::text::ShownDuration;
use crate::record::{Exchange, Record};
use crate::settings::{OnlyKind, counted};
use crate::tally::Durations;

/// Routes that are counted by name; further ones are counted together.
const MOST_ROUTES: usize = 1000;
/// Routes that are listed.
const LISTED: usize = 5;
const OTHER: &str = "(other routes)";

/// Counts of what was read.
#[derive(Clone, Debug, Default)]
pub(super) struct ViewSummary {
    /// Exchanges read, wanted or not.
    pub(super) read: u64,
    /// Exchanges shown.
    pub(super) shown: u64,
    /// Connects that were read, those that are shown, and of those the failed ones.
    pub(super) connects: [u64; 3],
    /// Lines that hold no record.
    pub(super) no_records: u64,
    /// Records of other datasets.
    pub(super) other_datasets: u64,
    kinds: [u64; KINDS.len()],
    failing: HashMap<String, u64>,
    durations: Durations,
}

const KINDS: [OnlyKind; 3] = [OnlyKind::Failed, OnlyKind::Slow, OnlyKind::Unanswered];

impl ViewSummary {
    /// Counts one that was read, wanted or not.
    pub(super) fn count_read(&mut self, record: &Record) {
        if record.exchange().is_some() {
            self.read += 1;
        } else {
            self.count_connect(0);
        }
    }

    fn count_connect(&mut self, which: usize) {
        if let Some(count) = self.connects.get_mut(which) {
            *count += 1;
        }
    }

    /// Counts one that is shown.
    pub(super) fn count(&mut self, record: &Record, slow_after: Option<u64>) {
        let Some(exchange) = record.exchange() else {
            self.count_connect(1);
            if is_of_kind(record, OnlyKind::Failed, slow_after) {
                self.count_connect(2);
            }
            return;
        };
        self.shown += 1;
        for (count, kind) in self.kinds.iter_mut().zip(KINDS) {
            *count += u64::from(is_of_kind(record, kind, slow_after));
        }
        if is_of_kind(record, OnlyKind::Failed, slow_after) {
            self.count_failing(&route_of(exchange), 1);
        }
        if let (Some(request), Some(end)) = (&exchange.request, exchange.end()) {
            self.durations.add(end.since(request.first));
        }
    }

    fn count_failing(&mut self, route: &str, n: u64) {
        let known = self.failing.len() < MOST_ROUTES || self.failing.contains_key(route);
        *self.failing.entry(if known { route } else { OTHER }.to_owned()).or_default() += n;
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.shown += other.shown;
        self.no_records += other.no_records;
        self.connects.iter_mut().zip(other.connects).for_each(|(count, more)| *count += more);
        self.other_datasets += other.other_datasets;
        self.kinds.iter_mut().zip(other.kinds).for_each(|(count, more)| *count += more);
        other.failing.iter().for_each(|(route, n)| self.count_failing(route, *n));
        self.durations.merge(&other.durations);
    }
}

fn route_of(exchange: &Exchange) -> String {
    let method = exchange.request.as_ref().map_or("-", |request| &request.method);
    let route = exchange.route.as_deref().unwrap_or("(no route)");
    crate::redact::escape(format!("{method} {route}").as_bytes()).into()
}

impl fmt::Display for ViewSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds.iter().zip(KINDS).map(|(n, kind)| format!("{n} {kind}")).collect();
        writeln!(f, "{} read, {} shown: {}", counted(self.read, "exchanges"), self.shown, kinds.join(", "))?;
        if let Some(longest) = self.durations.at(100) {
            let at =
                |percent| self.durations.at(percent).map_or(String::new(), |nanos| ShownDuration(nanos).to_string());
            writeln!(f, "p50 {}, p95 {}, p99 {}, longest {}", at(50), at(95), at(99), ShownDuration(longest))?;
        }
        let mut failing: Vec<_> = self.failing.iter().collect();
        failing.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        for (route, n) in failing.iter().take(LISTED) {
            writeln!(f, "{n:>8} failed  {route}")?;
        }
        let [read, shown, failed] = self.connects;
        if read > 0 {
            writeln!(f, "{} read, {shown} shown: {failed} failed", counted(read, "connects"))?;
        }
        if self.other_datasets > 0 {
            writeln!(f, "{} of other kinds not shown", counted(self.other_datasets, "records"))?;
        }
        if self.no_records > 0 {
            let are = if self.no_records == 1 { "is no record" } else { "are no records" };
            writeln!(f, "{} {are}", counted(self.no_records, "lines"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample::{exchange, record};

    fn of(records: &[Exchange]) -> ViewSummary {
        let mut summary = ViewSummary { read: records.len() as u64, ..ViewSummary::default() };
        records.iter().for_each(|it| summary.count(&record(it.clone()), Some(1_000_000)));
        summary
    }

    #[test]
    fn it_says_what_failed_and_where() {
        let mut failed = exchange();
        failed.response.as_mut().unwrap().status = Some(500);
        let mut summary = of(&[exchange(), failed.clone()]);
        summary.merge(&of(&[failed]));
        (summary.no_records, summary.other_datasets) = (1, 2);
        let expected = "3 exchanges read, 3 shown: 2 failed, 3 slow, 0 unanswered\n\
                        p50 12.4 ms, p95 12.4 ms, p99 12.4 ms, longest 12.4 ms\n       2 failed  GET /cart\n\
                        2 records of other kinds not shown\n1 line is no record\n";
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn invented_routes_take_no_more_than_their_limit() {
        let mut summary = ViewSummary::default();
        (0..3 * MOST_ROUTES).for_each(|n| summary.count_failing(&format!("GET /{n}"), 1));
        assert_eq!(summary.failing.len(), MOST_ROUTES + 1);
        assert_eq!(summary.failing.values().sum::<u64>(), 3 * MOST_ROUTES as u64);
    }
}
