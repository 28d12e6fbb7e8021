//! *Overview*: requests, responses, and how fast they are.

use super::super::declare::{Chart, Compute, Dashboard, GroupBy, Panel, top};
use super::{
    ALL, BY_DIRECTION, BY_STATUS, CONNECT, EXCHANGES, FAILED_SHARE, REQUEST, RESPONSE, STATUS, TOTAL, UNANSWERED_COUNT,
    WAIT, metric, percentile,
};

pub(super) const OVERVIEW: Dashboard = Dashboard {
    id: "overview",
    title: "[podtap] Overview",
    question: "What is asked, how is it answered, how quickly?",
    notes: "Times leave out streams, tunnels and upgrades. *Connect* is SYN to SYN-ACK (the first exchange of a \
            connection), *request* and *response* are first byte to last, *wait* lies between them. *Failed*: status 400 \
            and above, or unanswered.",
    panels: &[
        Panel::new("exchanges", "Exchanges", Chart::Number, 8, &[ALL]),
        Panel::new("failed", "Failed", Chart::Number, 8, &[FAILED_SHARE]),
        Panel::new("unanswered", "Unanswered", Chart::Number, 8, &[UNANSWERED_COUNT]),
        Panel::new("p50", "Half are quicker than", Chart::Number, 8, &[percentile("Median", TOTAL, 50)]),
        Panel::new("p95", "95 % are quicker than", Chart::Number, 8, &[percentile("95th percentile", TOTAL, 95)]),
        Panel::new("p99", "99 % are quicker than", Chart::Number, 8, &[percentile("99th percentile", TOTAL, 99)]),
        Panel::new(
            "rate",
            "Exchanges a second, by status",
            Chart::Stack,
            24,
            &[metric("Exchanges a second", Compute::PerSecond)],
        )
        .by(&[GroupBy::Parts(BY_STATUS), GroupBy::Time])
        .leads_to("slow"),
        Panel::new(
            "directions",
            "Exchanges a second, in and out",
            Chart::Stack,
            24,
            &[metric("Exchanges a second", Compute::PerSecond)],
        )
        .by(&[GroupBy::Parts(BY_DIRECTION), GroupBy::Time])
        .leads_to("peers"),
        Panel::new(
            "latency",
            "How long exchanges take",
            Chart::Lines,
            24,
            &[percentile("Median", TOTAL, 50), percentile("95 %", TOTAL, 95), percentile("99 %", TOTAL, 99)],
        )
        .by(&[GroupBy::Time])
        .leads_to("slow"),
        Panel::new(
            "parts",
            "What it takes, part by part (95th percentile)",
            Chart::Lines,
            24,
            &[
                percentile("Connect", CONNECT, 95),
                percentile("Request", REQUEST, 95),
                percentile("Wait", WAIT, 95),
                percentile("Response", RESPONSE, 95),
            ],
        )
        .by(&[GroupBy::Time])
        .leads_to("slow"),
        Panel::new(
            "hosts",
            "The 15 most asked hosts",
            Chart::Table,
            16,
            &[ALL, FAILED_SHARE, percentile("95 %", TOTAL, 95)],
        )
        .by(&[top(15, "url.domain", "Host")])
        .leads_to("slow"),
        Panel::new(
            "paths",
            "The 25 most asked paths",
            Chart::Table,
            20,
            &[ALL, FAILED_SHARE, percentile("Median", TOTAL, 50), percentile("95 %", TOTAL, 95)],
        )
        .by(&[top(25, "http.route", "Path")])
        .leads_to("slow"),
        Panel::new("codes", "The 20 most frequent status codes", Chart::Ranking, 12, &[ALL])
            .by(&[top(20, STATUS, "Status")]),
        Panel::new(
            "directions-parts",
            "Part by part, in and out",
            Chart::Table,
            36,
            &[
                ALL,
                percentile("Connect, 95 %", CONNECT, 95),
                percentile("Request, 95 %", REQUEST, 95),
                percentile("Wait, median", WAIT, 50),
                percentile("Wait, 95 %", WAIT, 95),
                percentile("Wait, 99 %", WAIT, 99),
                percentile("Response, 95 %", RESPONSE, 95),
                percentile("All, 95 %", TOTAL, 95),
            ],
        )
        .by(&[GroupBy::Parts(BY_DIRECTION)]),
        Panel::new("methods", "Methods", Chart::Ranking, 12, &[ALL]).by(&[top(12, "http.request.method", "Method")]),
    ],
    records: &EXCHANGES,
};
