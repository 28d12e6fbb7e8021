//! *Network*: packets and bytes by connection, which connections failed, and how well the network carried them.

use super::super::declare::{
    Chart, Compute, Dashboard, GroupBy, Panel, PanelDataset, PanelFilter, PanelMetric, SavedSearch, count, metric, top,
};
use super::{All, AnyOf, Has, Is};

const STATE: &str = "podtap.flow.state";
/// Every flow once: by its last record.
const FLOWS: PanelFilter = Is("flow.final", "true");
const REFUSED: PanelFilter = AnyOf(&[Is(STATE, "refused"), Is(STATE, "unreachable")]);
const TIMED_OUT: PanelFilter = Is(STATE, "timed_out");
const FAILED: PanelFilter = All(&[FLOWS, AnyOf(&[REFUSED, TIMED_OUT])]);
const OF_TCP: PanelFilter = Is("network.transport", "tcp");

const BYTES: PanelMetric = metric("Bytes", Compute::Sum("network.bytes"));
const PACKETS: PanelMetric = metric("Packets", Compute::Sum("network.packets"));
const THERE: PanelMetric = metric("Sent", Compute::Sum("source.bytes"));
const BACK: PanelMetric = metric("Answered", Compute::Sum("destination.bytes"));
const AGAIN: &str = "podtap.flow.source.retransmitted_bytes";
const AGAIN_BACK: &str = "podtap.flow.destination.retransmitted_bytes";
const NAME: &str = "destination.domain";
const FROM: &str = "podtap.source.workload.name";
const TO: &str = "podtap.destination.workload.name";

/// Every flow is in one of them.
const BY_END: &[(&str, PanelFilter)] = &[
    ("closed", Is(STATE, "closed")),
    ("reset", Is(STATE, "reset")),
    ("refused", REFUSED),
    ("timed out", TIMED_OUT),
    ("silent", Is(STATE, "idle")),
    ("not seen to its end", AnyOf(&[Is(STATE, "attempt"), Is(STATE, "established"), Is(STATE, "evicted")])),
];

pub(super) const NETWORK: Dashboard = Dashboard {
    id: "network",
    title: "[podtap] Network",
    question: "Who exchanges how much with whom, which connections fail, and where does the network lose packets?",
    notes: "Needs RECORD=flows. Bytes and packets are sums over all records of flows. A connection counts when it is over. \
            *Refused* includes destinations that cannot be reached; *timed out* means that nothing answered. Names need WORKLOADS. \
            Where both ends are observed, one connection is two flows: narrow down to one direction.",
    panels: &[
        Panel::new("bytes", "Bytes", Chart::Number, 8, &[BYTES]).about(PanelDataset::Flows),
        Panel::new("flows", "Flows that ended", Chart::Number, 8, &[count("Flows", FLOWS)]).about(PanelDataset::Flows),
        Panel::new("refused", "Refused connections", Chart::Number, 8, &[metric("Refused", Compute::Count)])
            .about(PanelDataset::Flows)
            .of(All(&[FLOWS, REFUSED])),
        Panel::new("timed-out", "Timed-out connects", Chart::Number, 8, &[metric("Timed out", Compute::Count)])
            .about(PanelDataset::Flows)
            .of(All(&[FLOWS, TIMED_OUT])),
        Panel::new("again", "Sent again", Chart::Number, 8, &[metric("Bytes", Compute::Sum(AGAIN))])
            .about(PanelDataset::Flows)
            .of(OF_TCP),
        Panel::new(
            "round-trip",
            "Round trip, 95 %",
            Chart::Number,
            8,
            &[metric("µs", Compute::Percentile("podtap.flow.rtt_us", 95))],
        )
        .about(PanelDataset::Flows)
        .of(All(&[FLOWS, Has("podtap.flow.rtt_us")])),
        Panel::new("over-time", "Bytes by protocol", Chart::Stack, 24, &[BYTES])
            .about(PanelDataset::Flows)
            .by(&[top(6, "network.transport", "Protocol"), GroupBy::Time]),
        Panel::new("ends", "How flows end", Chart::Stack, 24, &[metric("Flows", Compute::Count)])
            .about(PanelDataset::Flows)
            .of(FLOWS)
            .by(&[GroupBy::Parts(BY_END), GroupBy::Time]),
        Panel::new("talkers", "The 20 addresses that send most, and to whom", Chart::Table, 24, &[BYTES, PACKETS])
            .about(PanelDataset::Flows)
            .by(&[top(20, "source.ip", "From"), top(5, "destination.ip", "To"), top(3, "destination.port", "Port")]),
        Panel::new("workloads", "Bytes by workload", Chart::Table, 24, &[BYTES, THERE, BACK])
            .about(PanelDataset::Flows)
            .of(AnyOf(&[Has(FROM), Has(TO)]))
            .by(&[top(20, FROM, "From"), top(10, TO, "To")]),
        Panel::new("failing", "Connections that failed", Chart::Table, 24, &[metric("Failed", Compute::Count)])
            .about(PanelDataset::Flows)
            .of(FAILED)
            .by(&[
                top(20, "source.ip", "From"),
                top(5, "destination.ip", "To"),
                top(3, "destination.port", "Port"),
                top(3, STATE, "How"),
            ]),
        Panel::new("names", "Names that were resolved, by bytes", Chart::Ranking, 24, &[BYTES])
            .about(PanelDataset::Flows)
            .of(Has(NAME))
            .by(&[top(12, NAME, "Name")]),
        Panel::new(
            "retransmissions",
            "Bytes sent again",
            Chart::Stack,
            24,
            &[metric("By who opened", Compute::Sum(AGAIN)), metric("By the other end", Compute::Sum(AGAIN_BACK))],
        )
        .about(PanelDataset::Flows)
        .of(OF_TCP)
        .by(&[GroupBy::Time]),
        Panel::new(
            "closed-windows",
            "Windows that closed, by receiver",
            Chart::Table,
            24,
            &[
                metric("Zero windows", Compute::Sum("podtap.flow.destination.zero_windows")),
                metric("Resets", Compute::Sum("podtap.flow.destination.resets")),
                metric("Sent again to it", Compute::Sum(AGAIN)),
            ],
        )
        .about(PanelDataset::Flows)
        .of(OF_TCP)
        .by(&[top(20, "destination.ip", "Receiver"), top(3, "destination.port", "Port")]),
    ],
    records: &FLOW_RECORDS,
};

pub(super) const FLOW_RECORDS: SavedSearch = SavedSearch {
    id: "flows",
    title: "[podtap] Flows",
    description: "Every record of a flow, the newest first",
    about: PanelDataset::Flows,
    of: PanelFilter::Any,
    columns: &[
        "network.transport",
        "source.ip",
        "destination.ip",
        "destination.port",
        NAME,
        STATE,
        "event.outcome",
        "network.packets",
        "network.bytes",
        "podtap.flow.rtt_us",
        "podtap.flow.exchanges",
    ],
};
