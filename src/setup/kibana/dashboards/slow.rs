//! *Slow and failing*: what goes wrong, where, and which part of an exchange takes the time.

use super::super::declare::{Chart, Compute, Dashboard, GroupBy, Panel, top};
use super::{
    FAILED, REQUEST, RESPONSE, STATUS, TIMED, TOTAL, TROUBLE, UNANSWERED, UNANSWERED_COUNT, WAIT, count, metric,
    percentile, share,
};
use crate::setup::kibana::declare::PanelFilter::{All, Below, From, Has};

pub(super) const SLOW: Dashboard = Dashboard {
    id: "slow",
    title: "[podtap] Slow and failing",
    question: "What fails, what is slow, and which part of it?",
    notes: "A long *wait* is the server thinking (or somebody it asks); a long *response* is a large answer or a slow \
            way. *Unanswered* has a reason: `timeout`, `closed` and `reset` as seen on the wire, `shutdown` where podtap \
            ended first. Slow means more than a second.",
    panels: &[
        Panel::new("failures", "Failed exchanges", Chart::Number, 12, &[count("Failed", FAILED)]),
        Panel::new("unanswered", "Unanswered", Chart::Number, 12, &[UNANSWERED_COUNT]),
        Panel::new("slow", "Slower than a second", Chart::Number, 12, &[count("Slow", super::SLOW)]),
        Panel::new("p99", "99 % are quicker than", Chart::Number, 12, &[percentile("99th percentile", TOTAL, 99)]),
        Panel::new(
            "failures-by-status",
            "Failures by status, the 12 most frequent",
            Chart::Stack,
            24,
            &[metric("Exchanges", Compute::Count)],
        )
        .of(All(&[FAILED, Has(STATUS)]))
        .by(&[top(12, STATUS, "Status"), GroupBy::Time]),
        Panel::new(
            "unanswered-by-reason",
            "Unanswered, by reason",
            Chart::Stack,
            24,
            &[metric("Exchanges", Compute::Count)],
        )
        .of(UNANSWERED)
        .by(&[top(4, "podtap.unanswered", "Reason"), GroupBy::Time]),
        Panel::new(
            "wait-and-transfer",
            "Waiting against transfer (95th percentile)",
            Chart::Lines,
            48,
            &[percentile("Wait", WAIT, 95), percentile("Response", RESPONSE, 95), percentile("Request", REQUEST, 95)],
        )
        .by(&[GroupBy::Time]),
        Panel::new(
            "slow-paths",
            "The 20 slowest paths",
            Chart::Table,
            28,
            &[
                metric("95 %", Compute::Percentile(TOTAL, 95)),
                metric("Longest", Compute::Max(TOTAL)),
                metric("Wait, 95 %", Compute::Percentile(WAIT, 95)),
                metric("Response, 95 %", Compute::Percentile(RESPONSE, 95)),
                metric("Bytes, 95 %", Compute::Percentile("http.response.bytes", 95)),
                metric("Exchanges", Compute::Count),
            ],
        )
        .of(TIMED)
        .by(&[top(20, "http.route", "Path")]),
        Panel::new(
            "failing-paths",
            "The 20 paths that fail most",
            Chart::Table,
            20,
            &[
                metric("Failed", Compute::Count),
                count("4xx", All(&[From(STATUS, 400), Below(STATUS, 500)])),
                count("5xx and above", From(STATUS, 500)),
                share("Unanswered", UNANSWERED),
            ],
        )
        .of(FAILED)
        .by(&[top(20, "http.route", "Path")]),
    ],
    records: &TROUBLE,
};
