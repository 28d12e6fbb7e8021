//! Walks through an answer and through the records side by side, and finds every difference.

use std::collections::BTreeSet;

use podtap::setup::kibana::declare::{self, Compute, GroupBy};
use serde_json::Value;

use super::lines::{Number, compute, divide, holds};

/// Who asked a server, and reads its answer.
pub(super) trait Asked {
    /// A part of the time, in milliseconds.
    fn interval(&self) -> i64;
    /// The parts of an answer at this depth, by their keys.
    fn parts<'a>(&self, depth: usize, node: &'a Value) -> Vec<(String, &'a Value)>;
    /// What is drawn of a part: of each metric its number, if it has one.
    fn numbers(&self, node: &Value, records: &Value) -> Vec<Option<f64>>;
    /// Whether it is a part of which nothing is drawn.
    fn is_gap(&self, _: &Value) -> bool {
        false
    }
}

/// Fails where they differ, or where there is nothing to see; else how many numbers were compared.
pub(super) fn panel(
    name: &str,
    declared: &declare::Panel,
    asked: &dyn Asked,
    answer: &Value,
    lines: &[Value],
) -> usize {
    let about = declared.about.filter();
    let of: Vec<_> = lines.iter().filter(|line| holds(&about, line) && holds(&declared.of, line)).collect();
    let total = &answer["hits"]["total"]["value"];
    assert_eq!(*total, of.len(), "{name}");
    let mut walk = Walk { name, declared, asked, compared: 0, seen: BTreeSet::new(), named: BTreeSet::new() };
    walk.node(0, &answer["aggregations"], total, &of);
    for metric in 0..declared.metrics.len() {
        assert!(walk.seen.contains(&metric), "{name}: nothing but zero for {}", declared.metrics[metric].label);
    }
    for by in declared.by {
        if let GroupBy::Parts(parts) = by {
            parts.iter().for_each(|(part, _)| assert!(walk.named.contains(*part), "{name}: nothing is {part}"));
            // Nothing is left out, nothing counted twice.
            let all: usize = divide(by, &of, asked.interval()).values().map(Vec::len).sum();
            assert_eq!(all, of.len(), "{name}");
        }
    }
    walk.compared
}

struct Walk<'a> {
    name: &'a str,
    declared: &'a declare::Panel,
    asked: &'a dyn Asked,
    compared: usize,
    /// Metrics that were something else than zero.
    seen: BTreeSet<usize>,
    /// Parts that were not empty.
    named: BTreeSet<String>,
}

impl Walk<'_> {
    fn node(&mut self, depth: usize, node: &Value, records: &Value, lines: &[&Value]) {
        let Some(by) = self.declared.by.get(depth) else { return self.leaf(node, records, lines) };
        let mine = divide(by, lines, self.asked.interval());
        let mut theirs = self.asked.parts(depth, node);
        theirs.retain(|(key, node)| mine.contains_key(key) || !self.asked.is_gap(node));
        let wanted = if let GroupBy::Top { size, .. } = by { mine.len().min(*size as usize) } else { mine.len() };
        assert_eq!(theirs.len(), wanted, "{}: {:?}", self.name, mine.keys());
        if let GroupBy::Top { .. } = by {
            self.are_the_top(&mine, &theirs);
        }
        for (key, node) in theirs {
            let lines = mine.get(&key).unwrap_or_else(|| panic!("{}: {key} is nowhere", self.name));
            if !lines.is_empty() {
                self.named.insert(key);
            }
            self.node(depth + 1, node, &node["doc_count"], lines);
        }
    }

    /// None that was left out comes before one that is there.
    fn are_the_top(&self, mine: &std::collections::BTreeMap<String, Vec<&Value>>, theirs: &[(String, &Value)]) {
        let first = &self.declared.metrics[0];
        if !matches!(first.what, Compute::Count | Compute::Max(_) | Compute::Sum(_)) {
            return;
        }
        let rank = |lines: &Vec<&Value>| match compute(first, lines) {
            Number::Exactly(number) => number.unwrap_or_default(),
            Number::Between(..) => unreachable!(),
        };
        let there = |key: &String| theirs.iter().any(|(other, _)| other == key);
        let least = mine.iter().filter(|(key, _)| there(key)).map(|(_, lines)| rank(lines)).fold(f64::MAX, f64::min);
        let most = mine.iter().filter(|(key, _)| !there(key)).map(|(_, lines)| rank(lines)).fold(0.0, f64::max);
        assert!(least >= most, "{}: {least} is there, {most} is not", self.name);
    }

    fn leaf(&mut self, node: &Value, records: &Value, lines: &[&Value]) {
        let theirs = self.asked.numbers(node, records);
        assert_eq!(theirs.len(), self.declared.metrics.len(), "{}", self.name);
        for (number, (metric, theirs)) in self.declared.metrics.iter().zip(theirs).enumerate() {
            let mine = compute(metric, lines);
            let same = match (&mine, theirs) {
                (Number::Exactly(None), theirs) => theirs.is_none(),
                (Number::Exactly(Some(mine)), Some(theirs)) => (mine - theirs).abs() <= 1e-9 * mine.abs(),
                (Number::Between(low, high), Some(theirs)) => (*low..=*high).contains(&theirs),
                (_, None) => false,
            };
            assert!(same, "{}, {}: {mine:?} in the records, {theirs:?} there", self.name, metric.label);
            // Most requests fit into one packet: that they take no time is their number.
            if theirs.is_some_and(|theirs| theirs != 0.0 || matches!(metric.what, Compute::Percentile(..))) {
                self.seen.insert(number);
            }
            self.compared += 1;
        }
    }
}
