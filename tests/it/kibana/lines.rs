//! The second way: what a panel's declaration asks, computed from the records' JSON alone.

use std::collections::{BTreeMap, BTreeSet};

use podtap::setup::kibana::declare::{Compute, GroupBy, PanelFilter, PanelMetric};
use serde_json::Value;

/// The field's values: none where it is absent, several where it is a list.
pub(super) fn values<'a>(line: &'a Value, field: &str) -> Vec<&'a Value> {
    let found = field.split('.').try_fold(line, |value, name| value.get(name));
    match found {
        None => Vec::new(),
        Some(Value::Array(values)) => values.iter().collect(),
        Some(value) => vec![value],
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// As text, the way a bucket's key is written.
pub(super) fn key(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn holds(filter: &PanelFilter, line: &Value) -> bool {
    let any = |field: &str, is: &dyn Fn(&Value) -> bool| values(line, field).into_iter().any(is);
    match filter {
        PanelFilter::Any => true,
        PanelFilter::Is(field, wanted) => any(field, &|value| key(value) == *wanted),
        PanelFilter::Has(field) => any(field, &|_| true),
        PanelFilter::From(field, least) => any(field, &|value| number(value).is_some_and(|n| n >= *least as f64)),
        PanelFilter::Below(field, most) => any(field, &|value| number(value).is_some_and(|n| n < *most as f64)),
        PanelFilter::Not(filter) => !holds(filter, line),
        PanelFilter::All(filters) => filters.iter().all(|filter| holds(filter, line)),
        PanelFilter::AnyOf(filters) => filters.iter().any(|filter| holds(filter, line)),
    }
}

/// The parts that lines are divided into; `millis` is the span of a part of the time.
pub(super) fn divide<'a>(by: &GroupBy, lines: &[&'a Value], millis: i64) -> BTreeMap<String, Vec<&'a Value>> {
    let mut parts: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    match by {
        GroupBy::Time => lines.iter().for_each(|line| {
            let at: jiff::Timestamp = line["@timestamp"].as_str().unwrap().parse().unwrap();
            let begin = at.as_millisecond().div_euclid(millis) * millis;
            parts.entry(begin.to_string()).or_default().push(line);
        }),
        GroupBy::Top { field, .. } => lines.iter().for_each(|line| {
            for value in values(line, field).into_iter().map(key).collect::<BTreeSet<_>>() {
                parts.entry(value).or_default().push(line);
            }
        }),
        GroupBy::Parts(named) => named.iter().for_each(|(label, filter)| {
            let of = lines.iter().filter(|line| holds(filter, line)).copied().collect();
            parts.insert((*label).to_owned(), of);
        }),
    }
    parts
}

/// What a metric comes to.
#[derive(Debug)]
pub(super) enum Number {
    /// Exactly; nothing, where there is nothing to compute it of.
    Exactly(Option<f64>),
    /// Somewhere between two values of the records: servers estimate, and interpolate.
    Between(f64, f64),
}

pub(super) fn compute(metric: &PanelMetric, lines: &[&Value]) -> Number {
    let of: Vec<_> = lines.iter().filter(|line| holds(&metric.of, line)).copied().collect();
    let numbers =
        |field: &str| -> Vec<f64> { of.iter().flat_map(|line| values(line, field)).filter_map(number).collect() };
    let some = |numbers: &[f64], value: f64| Number::Exactly((!numbers.is_empty()).then_some(value));
    match metric.what {
        Compute::Count | Compute::PerSecond => Number::Exactly(Some(of.len() as f64)),
        Compute::Share => Number::Exactly((!lines.is_empty()).then(|| of.len() as f64 / lines.len() as f64)),
        Compute::Distinct(field) => {
            let different: BTreeSet<_> = of.iter().flat_map(|line| values(line, field)).map(key).collect();
            Number::Exactly(Some(different.len() as f64))
        }
        Compute::Ratio(some, all) => {
            let [some, all] = [some, all].map(|field| numbers(field).iter().sum::<f64>());
            Number::Exactly((all > 0.0).then_some(some / all))
        }
        // The sum of nothing would be -0.
        Compute::Sum(field) => Number::Exactly(Some(numbers(field).iter().sum::<f64>() + 0.0)),
        Compute::Max(field) => {
            let numbers = numbers(field);
            some(&numbers, numbers.iter().copied().fold(f64::MIN, f64::max))
        }
        Compute::Percentile(field, percent) => percentile(numbers(field), percent),
    }
}

/// One number for it: of a percentile, a value that is among the records.
pub(super) fn value(metric: &PanelMetric, lines: &[&Value]) -> Option<f64> {
    if let Compute::Percentile(field, percent) = metric.what {
        let of = lines.iter().filter(|line| holds(&metric.of, line));
        let mut numbers: Vec<f64> = of.flat_map(|line| values(line, field)).filter_map(number).collect();
        numbers.sort_by(f64::total_cmp);
        let rank = (numbers.len() * usize::from(percent)).div_ceil(100);
        return numbers.get(rank.saturating_sub(1)).copied();
    }
    match compute(metric, lines) {
        Number::Exactly(number) => number,
        Number::Between(..) => None,
    }
}

fn percentile(mut numbers: Vec<f64>, percent: u8) -> Number {
    let Some(last) = numbers.len().checked_sub(1) else { return Number::Exactly(None) };
    numbers.sort_by(f64::total_cmp);
    let rank = last as f64 * f64::from(percent) / 100.0;
    // One place to either side, and one in fifty: how much the server's digest may blur.
    let blur = 1 + last / 50;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    Number::Between(numbers[low.saturating_sub(blur)], numbers[(high + blur).min(last)])
}
