//! The pictures of a report as inline SVG: rates, latency, histograms, waterfalls, who talks to whom. Every text goes through
//! `EscapedHtml`; nothing is loaded from elsewhere.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::escape::EscapedHtml;
use crate::format::text::ShownDuration;
use crate::record::ExchangeTiming;
use crate::tally::{Durations, LeadingRows, Timeline};

/// Width of a chart, in its own units.
const WIDTH: f64 = 760.0;
/// Room for the labels of an axis.
const LEFT: f64 = 56.0;
const HEIGHT: f64 = 150.0;
/// Ends that are drawn on each side.
const MOST_ENDS: usize = 20;
/// Between two of them.
const END_HEIGHT: f64 = 26.0;

/// Between client and server in the key of a pair: no key contains it.
pub(super) const PAIR: char = '\n';

/// Where a bucket is drawn.
fn x_of(index: usize, of: usize) -> f64 {
    LEFT + (WIDTH - LEFT) * index as f64 / of.max(1) as f64
}

fn begin(out: &mut String, height: f64, label: &str) -> fmt::Result {
    write!(
        out,
        "<div class=\"wide\"><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">"
    )
}

fn end(out: &mut String, timeline: &Timeline) -> fmt::Result {
    let buckets = timeline.buckets().len();
    let at = |index: usize| timeline.begins().saturating_add((index as i64).saturating_mul(timeline.width() as i64));
    for (index, anchor) in [(0, "start"), (buckets / 2, "middle"), (buckets, "end")] {
        let time = crate::flow::Timestamp(at(index)).to_string();
        let clock = time.get(11..23).unwrap_or_default().trim_end_matches('Z');
        let x = x_of(index, buckets);
        write!(
            out,
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT + 14.0,
            EscapedHtml(clock)
        )?;
    }
    out.write_str("</svg></div>\n")
}

fn level(out: &mut String, y: f64, label: impl fmt::Display) -> fmt::Result {
    write!(
        out,
        "<path class=\"frame\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        LEFT - 4.0,
        y + 4.0
    )
}

/// Exchanges a second, failed ones at the bottom.
pub(super) fn rates(out: &mut String, timeline: &Timeline) -> fmt::Result {
    let buckets = timeline.buckets();
    let most = buckets.iter().map(|bucket| bucket.exchanges).max().unwrap_or(0).max(1);
    let seconds = timeline.width() as f64 / 1e9;
    begin(out, HEIGHT + 20.0, "exchanges over time")?;
    level(out, 8.0, format_args!("{}/s", short(most as f64 / seconds)))?;
    level(out, HEIGHT, 0)?;
    let width = (WIDTH - LEFT) / buckets.len().max(1) as f64;
    for (index, bucket) in buckets.iter().enumerate().filter(|(_, bucket)| bucket.exchanges > 0) {
        let scale = (HEIGHT - 8.0) / most as f64;
        let (all, failed) = (bucket.exchanges as f64 * scale, bucket.failed as f64 * scale);
        let (x, width) = (x_of(index, buckets.len()), (width - 0.5).max(0.5));
        write!(out, "<g><title>{} exchanges, {} failed</title>", bucket.exchanges, bucket.failed)?;
        let mut bar = |class: &str, y: f64, height: f64| {
            write!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            )
        };
        bar("good", HEIGHT - all, all - failed)?;
        if bucket.failed > 0 {
            bar("fail", HEIGHT - failed.max(1.0), failed.max(1.0))?;
        }
        out.write_str("</g>")?;
    }
    end(out, timeline)
}

/// Percentiles over time, on a logarithmic scale.
pub(super) fn latency(out: &mut String, timeline: &Timeline) -> fmt::Result {
    let buckets = timeline.buckets();
    let values = |percent: u64| buckets.iter().map(move |bucket| bucket.durations.at(percent));
    let known = || [50, 95, 99].into_iter().flat_map(values).flatten().map(|nanos| (nanos.max(1000) as f64).log10());
    let (low, high) = known().fold((f64::MAX, f64::MIN), |(low, high), log| (low.min(log), high.max(log)));
    if low > high {
        return Ok(());
    }
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let y = |nanos: u64| HEIGHT - ((nanos.max(1000) as f64).log10() - low) / (high - low) * (HEIGHT - 8.0);
    begin(out, HEIGHT + 20.0, "latency over time")?;
    for power in low as i32..=high as i32 {
        let nanos = 10f64.powi(power) as u64;
        level(out, y(nanos), ShownDuration(nanos))?;
    }
    for percent in [50, 95, 99] {
        write!(out, "<path class=\"p{percent}\" d=\"")?;
        let mut before = false;
        for (index, nanos) in values(percent).enumerate() {
            if let Some(nanos) = nanos {
                let x = (x_of(index, buckets.len()) + x_of(index + 1, buckets.len())) / 2.0;
                // Its own point is a short line.
                write!(out, "{}{x:.1} {:.1}h.5", if before { 'L' } else { 'M' }, y(nanos))?;
            }
            before = nanos.is_some();
        }
        out.write_str("\"/>")?;
    }
    end(out, timeline)
}

/// How many took how long: a bar for each factor of two.
pub(super) fn histogram(out: &mut String, durations: &Durations) -> fmt::Result {
    let bars = durations.by_power();
    let most = bars.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let width = 6 * bars.len().max(1);
    write!(out, "<svg width=\"{width}\" height=\"24\" role=\"img\" aria-label=\"histogram\">")?;
    for (index, (bound, n)) in bars.iter().enumerate().filter(|(_, (_, n))| *n > 0) {
        let height = (*n as f64 / most as f64 * 22.0).max(1.0);
        write!(
            out,
            "<rect class=\"bar\" x=\"{}\" y=\"{:.1}\" width=\"5\" height=\"{height:.1}\"><title>{n} below {}</title></rect>",
            6 * index,
            24.0 - height,
            ShownDuration(*bound)
        )?;
    }
    out.write_str("</svg>")
}

/// The four parts of an exchange; the whole width is `longest`.
pub(super) fn waterfall(out: &mut String, timing: &ExchangeTiming, waited: Option<u64>, longest: u64) -> fmt::Result {
    let parts = [
        ("connect", timing.connect),
        ("request", timing.request),
        ("wait", timing.wait.or(waited)),
        ("response", timing.response),
    ];
    let mut x = 0.0;
    out.write_str("<svg width=\"240\" height=\"14\" role=\"img\" aria-label=\"parts\">")?;
    for (name, nanos) in parts {
        let Some(nanos) = nanos else { continue };
        let width = (nanos as f64 / longest.max(1) as f64 * 240.0).min(240.0 - x);
        if nanos > 0 {
            let shown = width.max(1.0);
            write!(
                out,
                "<rect class=\"{name}\" x=\"{x:.1}\" y=\"1\" width=\"{shown:.1}\" height=\"12\"><title>{name} {}</title></rect>",
                ShownDuration(nanos)
            )?;
        }
        x += width;
    }
    out.write_str("</svg>")
}

/// Clients on the left, servers on the right, a line for each pair: its width grows with the number of exchanges.
pub(super) fn talkers(out: &mut String, pairs: &LeadingRows) -> fmt::Result {
    let sorted = pairs.sorted_by(|row| row.exchanges);
    let edges: Vec<_> = sorted.iter().filter_map(|(key, row)| Some((key.split_once(PAIR)?, *row))).collect();
    let (mut clients, mut servers) = (BTreeMap::new(), BTreeMap::new());
    for ((client, server), _) in &edges {
        for (ends, end) in [(&mut clients, *client), (&mut servers, *server)] {
            let next = ends.len();
            if next < MOST_ENDS {
                ends.entry(end).or_insert(next);
            }
        }
    }
    let height = clients.len().max(servers.len()) as f64 * END_HEIGHT + 8.0;
    begin(out, height, "who talks to whom")?;
    let y = |index: usize| index as f64 * END_HEIGHT + END_HEIGHT / 2.0;
    let (from, to) = (WIDTH * 0.32, WIDTH * 0.6);
    let mut hidden = 0;
    for ((client, server), row) in edges {
        let (Some(a), Some(b)) = (clients.get(client), servers.get(server)) else {
            hidden += row.exchanges;
            continue;
        };
        let (a, b, middle) = (y(*a), y(*b), f64::midpoint(from, to));
        let width = 1.0 + (row.exchanges as f64).log2() / 2.0;
        let failing = if row.failed * 20 > row.exchanges { " failing" } else { "" };
        write!(
            out,
            "<path class=\"edge{failing}\" stroke-width=\"{width:.1}\" d=\"M{from:.0} {a:.0}C{middle:.0} {a:.0} {middle:.0} \
             {b:.0} {to:.0} {b:.0}\"><title>{} to {}: {} exchanges, {} failed</title></path>",
            EscapedHtml(client),
            EscapedHtml(server),
            row.exchanges,
            row.failed
        )?;
    }
    for (ends, x, anchor) in [(&clients, from - 8.0, "end"), (&servers, to + 8.0, "start")] {
        for (end, index) in ends {
            let (y, name) = (y(*index) + 4.0, EscapedHtml(shortened(end)));
            write!(out, "<text class=\"name\" x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{name}</text>")?;
        }
    }
    out.write_str("</svg></div>\n")?;
    hidden += pairs.others().exchanges;
    if hidden > 0 { writeln!(out, "<p class=\"faint\">{hidden} more exchanges between others.</p>") } else { Ok(()) }
}

/// So much of an end's name has room.
fn shortened(end: &str) -> &str {
    end.char_indices().nth(42).map_or(end, |(at, _)| end.get(..at).unwrap_or(end))
}

fn short(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}
