//! *gRPC*: which calls, what becomes of them, and how fast they are.

use super::super::declare::{Chart, Compute, Dashboard, GroupBy, Panel, PanelFilter, SavedSearch, top};
use super::{FAILED, FAILED_SHARE, TOTAL, metric, percentile, share};
use crate::setup::kibana::declare::PanelDataset;
use crate::setup::kibana::declare::PanelFilter::{All, AnyOf, Has, Is, Not};

const METHOD: &str = "rpc.method";
const STATUS: &str = "rpc.response.status_code";
const ASKED: &str = "podtap.grpc.request_messages";
const ANSWERED: &str = "podtap.grpc.response_messages";
const FIRST: &str = "podtap.grpc.first_message_us";
const RESET: &str = "podtap.http2.reset.code";

const CALL: PanelFilter = Is("rpc.system.name", "grpc");
const NO_STATUS: PanelFilter = Not(&Has(STATUS));

/// Every call is in one of them.
const BY_END: &[(&str, PanelFilter)] = &[
    ("OK", Is(STATUS, "OK")),
    ("UNAVAILABLE", Is(STATUS, "UNAVAILABLE")),
    ("DEADLINE_EXCEEDED", Is(STATUS, "DEADLINE_EXCEEDED")),
    (
        "another status",
        All(&[
            Has(STATUS),
            Not(&AnyOf(&[Is(STATUS, "OK"), Is(STATUS, "UNAVAILABLE"), Is(STATUS, "DEADLINE_EXCEEDED")])),
        ]),
    ),
    ("reset", All(&[NO_STATUS, Has(RESET)])),
    ("no status", All(&[NO_STATUS, Not(&Has(RESET))])),
];

pub(super) const CALLS: Dashboard = Dashboard {
    id: "grpc",
    title: "[podtap] gRPC",
    question: "Which calls are made, how do they end, how quickly?",
    notes: "A call ends with the status in its trailers, whatever HTTP says; *failed* is any status but `OK`, or a reset. A call \
            whose client gave up (deadline, cancellation) has no status: it was *reset*. *First message* is from the first byte of \
            the request to the first message of the server.",
    panels: &[
        Panel::new("calls", "Calls", Chart::Number, 12, &[metric("Calls", Compute::Count)]).of(CALL),
        Panel::new("failed", "Failed", Chart::Number, 12, &[FAILED_SHARE]).of(CALL),
        Panel::new("no-status", "Without a status", Chart::Number, 12, &[share("Without a status", NO_STATUS)])
            .of(CALL),
        Panel::new("p95", "95 % are quicker than", Chart::Number, 12, &[percentile("95th percentile", TOTAL, 95)])
            .of(CALL),
        Panel::new(
            "rate",
            "Calls a second, by how they end",
            Chart::Stack,
            24,
            &[metric("Calls a second", Compute::PerSecond)],
        )
        .of(CALL)
        .by(&[GroupBy::Parts(BY_END), GroupBy::Time]),
        Panel::new(
            "latency",
            "How long calls take",
            Chart::Lines,
            24,
            &[
                percentile("Median", TOTAL, 50),
                percentile("95 %", TOTAL, 95),
                percentile("First message, 95 %", FIRST, 95),
            ],
        )
        .of(CALL)
        .by(&[GroupBy::Time]),
        Panel::new(
            "methods",
            "The 25 most called methods",
            Chart::Table,
            32,
            &[
                metric("Calls", Compute::Count),
                FAILED_SHARE,
                percentile("Median", TOTAL, 50),
                percentile("95 %", TOTAL, 95),
                metric("Messages asked", Compute::Sum(ASKED)),
                metric("Messages answered", Compute::Sum(ANSWERED)),
            ],
        )
        .of(CALL)
        .by(&[top(25, METHOD, "Method")]),
        Panel::new("statuses", "Statuses", Chart::Ranking, 16, &[metric("Calls", Compute::Count)])
            .of(CALL)
            .by(&[top(17, STATUS, "Status")]),
        Panel::new("failing", "The 15 methods that fail most", Chart::Ranking, 24, &[metric("Failed", Compute::Count)])
            .of(All(&[CALL, FAILED]))
            .by(&[top(15, METHOD, "Method")]),
        Panel::new(
            "resets",
            "Streams that were reset, by code",
            Chart::Ranking,
            12,
            &[metric("Streams", Compute::Count)],
        )
        .of(Has(RESET))
        .by(&[top(14, RESET, "Code")]),
        Panel::new("reset-by", "By whom", Chart::Ranking, 12, &[metric("Streams", Compute::Count)])
            .of(Has(RESET))
            .by(&[top(2, "podtap.http2.reset.by", "By")]),
    ],
    records: &FAILED_CALLS,
};

pub(super) const FAILED_CALLS: SavedSearch = SavedSearch {
    id: "calls",
    title: "[podtap] gRPC calls that failed",
    description: "A status other than OK, or a reset",
    about: PanelDataset::Exchanges,
    of: All(&[CALL, FAILED]),
    columns: &[
        "network.direction",
        "source.ip",
        METHOD,
        STATUS,
        "podtap.grpc.message",
        RESET,
        TOTAL,
        "podtap.grpc.timeout_us",
        "podtap.trust",
    ],
};
