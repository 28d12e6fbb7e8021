//! A report as one page of HTML: no script, nothing from elsewhere, light and dark. Adds nothing up.

use std::fmt::{self, Write};

use super::charts::{histogram, latency, rates, talkers, waterfall};
use super::escape::EscapedHtml;
use super::{CountedInputs, ExchangeReport, FailedExchanges};
use crate::flow::Timestamp;
use crate::format::text::{ShownDuration, ShownSize};
use crate::record::{EventOutcome, Exchange, Trust};
use crate::settings::{counted, thousands};
use crate::tally::{LeadingRows, TallyKey, TallyRow};

/// Rows of a table that are shown at once; the others can be opened.
const SHOWN: usize = 30;
/// What is shown of a URL.
const LONGEST_URL: usize = 300;

/// The page.
pub(super) fn page(report: &ExchangeReport, counted: &CountedInputs) -> String {
    let mut out = String::with_capacity(64 << 10);
    // Writing to a string cannot fail.
    let _ = write(&mut out, report, counted);
    out
}

fn write(out: &mut String, report: &ExchangeReport, counted: &CountedInputs) -> fmt::Result {
    let title = format!("podtap: {}", counted.files.join(", "));
    let style = include_str!("style.css");
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{}</title>\n<style>\n{style}</style></head><body>\n",
        EscapedHtml(&title)
    )?;
    heading(out, report, &title)?;
    lost(out, counted)?;
    match report.all.exchanges {
        0 => out.write_str("<p>No HTTP exchange was seen.</p>\n")?,
        _ => exchanges(out, report)?,
    }
    connects(out, &report.connects)?;
    flows(out, &report.flows)?;
    let version = env!("CARGO_PKG_VERSION");
    write!(
        out,
        "<p class=\"faint\">Made by podtap {version}. Percentiles are at most 2 % too high.</p>\n</body></html>\n"
    )
}

fn exchanges(out: &mut String, report: &ExchangeReport) -> fmt::Result {
    over_time(out, report)?;
    routes(out, &report.routes)?;
    slowest(out, report)?;
    failures(out, &report.failures)?;
    out.write_str(
        "<h2>Who talks to whom</h2>\n<p class=\"faint\">Clients on the left, servers on the right; red where more \
                   than 5 % failed.</p>\n",
    )?;
    talkers(out, &report.pairs)?;
    trust(out, &report.all)
}

/// Those that failed are recorded always, others where RECORD asks for them.
fn connects(out: &mut String, connects: &LeadingRows) -> fmt::Result {
    let sorted = connects.sorted_by(|row| row.exchanges);
    if sorted.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<h2>Connects</h2>\n<div class=\"wide\"><table><tr><th>number</th><th>failed</th><th>p50</th><th>longest</th>\
         <th class=\"text\">who asked for what, and what came of it</th></tr>\n",
    )?;
    for (key, row) in sorted.into_iter().chain(others(connects)) {
        let class = if row.failed > 0 { "bad" } else { "" };
        let (n, failed, key) = (thousands(row.exchanges), thousands(row.failed), EscapedHtml(key));
        let (half, longest) = (took(row.durations.at(50)), took(row.durations.at(100)));
        writeln!(
            out,
            "<tr><td>{n}</td><td class=\"{class}\">{failed}</td><td>{half}</td><td>{longest}</td><td class=\"text\">{key}</td></tr>"
        )?;
    }
    out.write_str("</table></div>\n")
}

/// All connections, also those without HTTP: where RECORD asks for flows.
fn flows(out: &mut String, flows: &LeadingRows) -> fmt::Result {
    let sorted = flows.sorted_by(|row| row.bytes);
    if sorted.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<h2>Flows</h2>\n<p class=\"faint\">All connections and datagrams, by bytes.</p>\n<div class=\"wide\"><table><tr>\
         <th>bytes</th><th>flows</th><th>failed</th><th class=\"text\">between whom</th></tr>\n",
    )?;
    for (key, row) in sorted.into_iter().chain(others(flows)) {
        let class = if row.failed > 0 { "bad" } else { "" };
        let (bytes, n, failed, key) =
            (ShownSize(row.bytes), thousands(row.exchanges), thousands(row.failed), EscapedHtml(key));
        writeln!(
            out,
            "<tr><td>{bytes}</td><td>{n}</td><td class=\"{class}\">{failed}</td><td class=\"text\">{key}</td></tr>"
        )?;
    }
    out.write_str("</table></div>\n")
}

/// What has no row, where there is any.
fn others(table: &LeadingRows) -> Option<(&str, &TallyRow)> {
    let others = table.others();
    (others.exchanges > 0 || others.bytes > 0).then_some(("others", others))
}

fn heading(out: &mut String, report: &ExchangeReport, title: &str) -> fmt::Result {
    writeln!(out, "<h1>{}</h1>", EscapedHtml(title))?;
    if let Some((first, last)) = report.span {
        let took = ShownDuration(last.since(first));
        writeln!(out, "<p class=\"faint\">{first} to {last}, {took}</p>")?;
    }
    let all = &report.all;
    out.write_str("<div class=\"cards\">")?;
    let mut card = |name: &str, class: &str, value: &dyn fmt::Display| {
        write!(out, "<div><b class=\"{class}\">{value}</b>{name}</div>")
    };
    let alarm = |n: u64| if n > 0 { "bad" } else { "" };
    card("exchanges", "", &thousands(all.exchanges))?;
    card("failed", alarm(all.failed), &thousands(all.failed))?;
    card("unanswered", alarm(all.unanswered), &thousands(all.unanswered))?;
    for percent in [50, 95, 99, 100] {
        let name = if percent == 100 { "longest".to_owned() } else { format!("p{percent}") };
        card(&name, "", &took(all.durations.at(percent)))?;
    }
    card("transferred", "", &ShownSize(all.bytes))?;
    out.write_str("</div>\n")
}

fn took(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |nanos| ShownDuration(nanos).to_string())
}

/// What the capture lacks, before anything is believed.
fn lost(out: &mut String, counted: &CountedInputs) -> fmt::Result {
    if counted.losses.is_empty() && counted.problems.is_empty() {
        out.write_str("<div class=\"box\">Nothing lost; the ledger adds up.")?;
    } else {
        out.write_str("<div class=\"box lost\"><b>What was lost</b><ul>")?;
        for what in counted.problems.iter().chain(&counted.losses) {
            write!(out, "<li>{}</li>", EscapedHtml(what))?;
        }
        out.write_str("</ul>")?;
    }
    writeln!(
        out,
        "<details><summary>The whole ledger</summary><pre>{}</pre></details></div>",
        LinesOfText(&counted.closing)
    )
}

/// A text of several lines.
struct LinesOfText<'a>(&'a str);

impl fmt::Display for LinesOfText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| writeln!(f, "{}", EscapedHtml(line)))
    }
}

fn over_time(out: &mut String, report: &ExchangeReport) -> fmt::Result {
    let width = ShownDuration(report.timeline.width());
    write!(
        out,
        "<h2>Over time</h2>\n<p class=\"faint\">Exchanges a second, in steps of {width}; failed ones are red.</p>\n"
    )?;
    rates(out, &report.timeline)?;
    out.write_str("<p class=\"faint key\">Latency:")?;
    for name in ["p50", "p95", "p99"] {
        write!(out, "<span style=\"background:var(--{name})\"></span>{name}")?;
    }
    out.write_str("</p>\n")?;
    latency(out, &report.timeline)
}

fn routes(out: &mut String, routes: &LeadingRows) -> fmt::Result {
    out.write_str("<h2>Routes</h2>\n")?;
    let sorted = routes.sorted_by(|row| row.exchanges);
    let (shown, hidden) = sorted.split_at(SHOWN.min(sorted.len()));
    route_table(out, shown, (hidden.is_empty() && routes.others().exchanges > 0).then_some(routes.others()))?;
    if !hidden.is_empty() {
        write!(out, "<details><summary>{}</summary>", counted(hidden.len() as u64, "more routes"))?;
        let others = (routes.others().exchanges > 0).then_some(routes.others());
        route_table(out, hidden, others)?;
        out.write_str("</details>\n")?;
    }
    if routes.replaced() > 0 {
        let replaced = counted(routes.replaced(), "routes that were rare or invented");
        writeln!(out, "<p class=\"faint\">{replaced} gave their row to another one and count under (others).</p>")?;
    }
    Ok(())
}

fn route_table(out: &mut String, rows: &[(&str, &TallyRow)], others: Option<&TallyRow>) -> fmt::Result {
    out.write_str(
        "<div class=\"wide\"><table><tr><th class=\"text\">route</th><th>exchanges</th><th>failed</th><th>p50</th><th>p95</th>\
         <th>p99</th><th>longest</th><th>bytes</th><th class=\"text\">histogram</th></tr>\n",
    )?;
    for (key, row) in rows.iter().copied().chain(others.map(|row| ("(others)", row))) {
        let class = if row.failed > 0 { " class=\"bad\"" } else { "" };
        write!(
            out,
            "<tr><td class=\"text\">{}</td><td>{}</td><td{class}>{}</td>",
            EscapedHtml(key),
            thousands(row.exchanges),
            share(row.failed, row.exchanges)
        )?;
        for percent in [50, 95, 99, 100] {
            write!(out, "<td>{}</td>", took(row.durations.at(percent)))?;
        }
        write!(out, "<td>{}</td><td>", ShownSize(row.bytes))?;
        histogram(out, &row.durations)?;
        out.write_str("</td></tr>\n")?;
    }
    out.write_str("</table></div>\n")
}

fn share(n: u64, of: u64) -> String {
    match n {
        0 => "0".to_owned(),
        n => format!("{} ({:.1} %)", thousands(n), n as f64 * 100.0 / of.max(1) as f64),
    }
}

fn slowest(out: &mut String, report: &ExchangeReport) -> fmt::Result {
    out.write_str("<h2>Slowest</h2>\n<p class=\"faint key\">")?;
    for name in ["connect", "request", "wait", "response"] {
        write!(out, "<span style=\"background:var(--{name})\"></span>{name}")?;
    }
    out.write_str(
        "</p>\n<div class=\"wide\"><table><tr><th>took</th><th class=\"text\">parts</th><th>status</th>\
         <th class=\"text\">request</th><th>began</th><th>client</th><th>trust</th></tr>\n",
    )?;
    let connect = |exchange: &Exchange| exchange.timing().connect.unwrap_or(0);
    let longest = report.slowest.iter().map(|(took, exchange)| took + connect(exchange)).max().unwrap_or(1);
    for (took, exchange) in report.slowest.iter() {
        let timing = exchange.timing();
        let sent = exchange.request.as_ref().map(|request| request.last);
        let waited =
            exchange.gave_up.filter(|_| exchange.response.is_none()).zip(sent).map(|(at, sent)| at.since(sent));
        write!(out, "<tr><td>{}</td><td>", ShownDuration(took))?;
        waterfall(out, &timing, waited, longest)?;
        exchange_cells(out, exchange)?;
    }
    out.write_str("</table></div>\n")
}

/// Status, request, time, client, trust.
fn exchange_cells(out: &mut String, exchange: &Exchange) -> fmt::Result {
    let class = if exchange.outcome() == EventOutcome::Failure { "bad" } else { "" };
    writeln!(
        out,
        "</td><td class=\"{class}\">{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        EscapedHtml(&TallyKey::Status.of(exchange)),
        EscapedHtml(&request_of(exchange)),
        clock(exchange.start()),
        exchange.connection.client,
        exchange.trust.name(),
    )
}

fn clock(at: Timestamp) -> String {
    at.to_string().get(11..).unwrap_or_default().to_owned()
}

fn request_of(exchange: &Exchange) -> String {
    let Some(request) = &exchange.request else { return "(request not seen)".to_owned() };
    let host = request.host.as_deref().filter(|_| request.target.starts_with('/')).unwrap_or_default();
    let text = format!("{} {host}{}", request.method, request.target);
    match text.char_indices().nth(LONGEST_URL) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn failures(out: &mut String, failures: &FailedExchanges) -> fmt::Result {
    out.write_str("<h2>Errors</h2>\n")?;
    let kinds = failures.kinds.sorted_by(|row| row.exchanges);
    if kinds.is_empty() {
        return out.write_str("<p>None.</p>\n");
    }
    out.write_str("<div class=\"wide\"><table><tr><th>number</th><th>status</th><th class=\"text\">route</th></tr>\n")?;
    for (key, row) in kinds {
        let (status, route) = key.split_once(super::charts::PAIR).unwrap_or((key, ""));
        let (n, status, route) = (thousands(row.exchanges), EscapedHtml(status), EscapedHtml(route));
        writeln!(out, "<tr><td>{n}</td><td class=\"bad\">{status}</td><td class=\"text\">{route}</td></tr>")?;
    }
    let others = failures.kinds.others().exchanges;
    if others > 0 {
        writeln!(out, "<tr><td>{}</td><td>others</td><td class=\"text\"></td></tr>", thousands(others))?;
    }
    let first = counted(failures.first.len() as u64, "errors");
    write!(
        out,
        "</table></div>\n<details><summary>The first {first}</summary><div class=\"wide\"><table><tr><th>took</th><th>status</th>\
         <th class=\"text\">request</th><th>began</th><th>client</th><th>trust</th></tr>\n"
    )?;
    for exchange in &failures.first {
        write!(out, "<tr><td>{}", took(exchange.took()))?;
        exchange_cells(out, exchange)?;
    }
    out.write_str("</table></div></details>\n")
}

fn trust(out: &mut String, all: &TallyRow) -> fmt::Result {
    out.write_str("<h2>How far the records can be trusted</h2>\n<p>")?;
    let kinds = [Trust::Complete, Trust::Truncated, Trust::Gap, Trust::Midstream, Trust::Unpaired];
    for (trust, n) in kinds.iter().zip(all.trust).filter(|(_, n)| *n > 0) {
        write!(out, "{} {} &nbsp; ", thousands(n), trust.name())?;
    }
    out.write_str("</p>\n")
}
