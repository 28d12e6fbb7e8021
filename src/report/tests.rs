//! The page of a report: its numbers a second way, hostile texts, its size.

use super::*;
use crate::format::text::ShownDuration;
use crate::record::sample::{connect, exchange, flow, record};
use crate::record::{ConnectResult, UnansweredReason};

fn page(exchanges: &[Exchange]) -> String {
    page_of(&exchanges.iter().map(|one| record(one.clone())).collect::<Vec<_>>())
}

fn page_of(records: &[Record]) -> String {
    let mut report = ExchangeReport::default();
    records.iter().for_each(|one| report.add(one));
    let counted =
        CountedInputs::new(vec!["a.pcap".to_owned()], Vec::new(), &Ledger::default(), &RecordLedger::default());
    page::page(&report, &counted)
}

fn taking(millis: u64, route: &str, status: Option<u16>) -> Exchange {
    let mut one = exchange();
    one.route = Some(route.into());
    let start = one.start();
    match status {
        Some(status) => {
            let response = one.response.as_mut().unwrap();
            (response.first, response.last) = (start.plus(millis * 500_000), start.plus(millis * 1_000_000));
            response.status = Some(status);
        }
        None => (one.response, one.unanswered) = (None, Some(UnansweredReason::Timeout)),
    }
    one
}

/// The row of the table that begins with this cell.
fn row<'a>(page: &'a str, first: &str) -> &'a str {
    let cell = format!("<td class=\"text\">{first}</td>");
    page.lines().find(|line| line.contains(&cell)).unwrap_or_else(|| panic!("no {cell}"))
}

#[test]
fn the_numbers_of_a_route_are_those_of_its_exchanges() {
    let all: Vec<_> = (1..=100).map(|n| taking(n, "/a", Some(if n > 97 { 500 } else { 200 }))).collect();
    let page = page(&[&all[..], &[taking(0, "/b", None)]].concat());
    let row_a = row(&page, "GET /a");
    for part in
        ["<td>100</td>", "<td class=\"bad\">3 (3.0 %)</td>", &format!("<td>{}</td>", ShownDuration(100_000_000))]
    {
        assert!(row_a.contains(part), "{part} in {row_a}");
    }
    let cells: Vec<f64> = row_a
        .split("<td>")
        .filter_map(|cell| cell.split(" ms<").next()?.parse().ok())
        .filter(|n| *n != 100.0)
        .collect();
    for (found, exact) in cells.iter().zip([50.0, 95.0, 99.0]) {
        assert!((exact..=exact * 1.02).contains(found), "{found} for {exact}");
    }
    assert!(row(&page, "GET /b").contains("1 (100.0 %)"));
    assert!(page.contains("<b class=\"bad\">4</b>failed") && page.contains("<b class=\"bad\">1</b>unanswered"));
    assert!(page.contains("no answer: timeout</td><td class=\"text\">GET /b"), "its error");
}

#[test]
fn nothing_that_the_network_says_becomes_markup_or_is_loaded() {
    let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'</style></svg>\u{202e}&";
    let mut one = taking(5, evil, Some(500));
    let request = one.request.as_mut().unwrap();
    (request.method, request.target, request.host) = (evil.into(), evil.into(), Some(evil.into()));
    let page = page(&[one]);
    for markup in ["<script", "<img", "</style></svg>", "\u{202e}", "http://", "https://", "url(", "@import"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn its_size_does_not_grow_with_the_traffic() {
    let invented: Vec<_> = (0..30_000u64)
        .map(|n| {
            let mut one = taking(n % 5000, &format!("/{n}/{}", "x".repeat(200)), Some(500));
            let connection = crate::record::ExchangeConnection {
                client: crate::flow::Endpoint::new([10, 1, (n >> 8) as u8, n as u8], 4000),
                ..(*one.connection).clone()
            };
            one.connection = Arc::new(connection);
            let request = one.request.as_mut().unwrap();
            request.target = format!("/{n}{}", "<".repeat(3000)).into();
            let at = request.first.plus(n * 1_000_000_000);
            (request.first, request.last) = (at, at);
            let response = one.response.as_mut().unwrap();
            (response.first, response.last) = (at.plus(n), at.plus(n * 2));
            one
        })
        .collect();
    let size = page(&invented).len();
    assert!(size < 2_000_000, "{size}");
}

#[test]
fn without_exchanges_it_says_so() {
    assert!(page(&[]).contains("No HTTP exchange was seen."));
}

#[test]
fn connects_and_flows_have_a_table_also_where_there_is_no_http() {
    let mut refused = connect();
    refused.result = ConnectResult::Refused;
    let page = page_of(&[refused.clone().into(), refused.into(), connect().into(), Record::Flow(Box::new(flow()))]);
    let row_refused = row(&page, "curl -&gt; 10.96.61.10:80 refused");
    assert!(row_refused.starts_with("<tr><td>2</td><td class=\"bad\">2</td><td>210 us</td>"), "{row_refused}");
    assert!(row(&page, "curl -&gt; 10.96.61.10:80 established").starts_with("<tr><td>1</td><td class=\"\">0</td>"));
    let flow = flow();
    let bytes = crate::format::text::ShownSize(flow.counts.iter().map(|counts| counts.bytes).sum());
    let key = format!("tcp {} -&gt; {}", flow.source.ip, flow.destination);
    assert!(row(&page, &key).starts_with(&format!("<tr><td>{bytes}</td><td>{}</td>", u32::from(flow.report == 1))));
    assert!(page.contains("No HTTP exchange was seen.") && page.ends_with("</body></html>\n"));
}
