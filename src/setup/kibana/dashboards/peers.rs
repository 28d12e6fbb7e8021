//! *Who talks to whom*: clients and servers, by name where one is known, by address always.

use super::super::declare::{Chart, Compute, Dashboard, GroupBy, Panel, top};
use super::{ALL, EGRESS, EXCHANGES, FAILED_SHARE, INGRESS, TOTAL, count, metric, percentile};
use crate::setup::kibana::declare::PanelFilter::{All, Has};

const SOURCE: &str = "podtap.source.workload.name";
const DESTINATION: &str = "podtap.destination.workload.name";

pub(super) const PEERS: Dashboard = Dashboard {
    id: "peers",
    title: "[podtap] Who talks to whom",
    question: "Who asks whom, how often, how well does it go?",
    notes: "The *client* is whoever asked, whichever side podtap watched. Workloads are shown where podtap knows the \
            names behind both addresses. Numbers of different values are close estimates. Where both ends have a sidecar, \
            one exchange is two records: narrow down to one direction.",
    panels: &[
        Panel::new(
            "clients",
            "Clients",
            Chart::Number,
            8,
            &[metric("Client addresses", Compute::Distinct("source.ip"))],
        ),
        Panel::new(
            "servers",
            "Servers",
            Chart::Number,
            8,
            &[metric("Server addresses", Compute::Distinct("destination.ip"))],
        ),
        Panel::new(
            "pods",
            "Pods watched",
            Chart::Number,
            8,
            &[metric("Pods", Compute::Distinct("kubernetes.pod.name"))],
        ),
        Panel::new(
            "connections",
            "Connections",
            Chart::Number,
            8,
            &[metric("Connections", Compute::Distinct("podtap.connection.id"))],
        ),
        Panel::new("sent", "Sent by clients", Chart::Number, 8, &[metric("Bytes", Compute::Sum("source.bytes"))]),
        Panel::new(
            "answered",
            "Sent by servers",
            Chart::Number,
            8,
            &[metric("Bytes", Compute::Sum("destination.bytes"))],
        ),
        Panel::new(
            "workloads",
            "Workloads",
            Chart::Table,
            48,
            &[ALL, FAILED_SHARE, percentile("Median", TOTAL, 50), percentile("95 %", TOTAL, 95)],
        )
        .of(All(&[Has(SOURCE), Has(DESTINATION)]))
        .by(&[top(30, SOURCE, "Client"), top(10, DESTINATION, "Server")]),
        Panel::new(
            "addresses",
            "Addresses: the 20 busiest clients, and whom each asks most",
            Chart::Table,
            28,
            &[
                ALL,
                FAILED_SHARE,
                percentile("95 %", TOTAL, 95),
                metric("Asked", Compute::Sum("source.bytes")),
                metric("Answered", Compute::Sum("destination.bytes")),
            ],
        )
        .by(&[
            top(20, "source.ip", "Client"),
            top(5, "destination.ip", "Server"),
            top(3, "destination.port", "Port"),
        ]),
        Panel::new(
            "pods-in-and-out",
            "Pods, in and out",
            Chart::Table,
            20,
            &[ALL, count("In", INGRESS), count("Out", EGRESS), FAILED_SHARE],
        )
        .by(&[top(10, "kubernetes.namespace", "Namespace"), top(20, "kubernetes.pod.name", "Pod")])
        .leads_to("overview"),
        Panel::new(
            "bytes",
            "Bytes over time",
            Chart::Stack,
            24,
            &[
                metric("Sent by clients", Compute::Sum("source.bytes")),
                metric("Sent by servers", Compute::Sum("destination.bytes")),
            ],
        )
        .by(&[GroupBy::Time]),
        Panel::new("agents", "The 12 most frequent user agents", Chart::Ranking, 24, &[ALL]).by(&[top(
            12,
            "user_agent.original",
            "User agent",
        )]),
        Panel::new(
            "asked",
            "What pods ask of others: the 20 most asked hosts",
            Chart::Table,
            48,
            &[ALL, FAILED_SHARE, percentile("Median", TOTAL, 50), percentile("95 %", TOTAL, 95)],
        )
        .of(EGRESS)
        .by(&[top(20, "url.domain", "Host"), top(5, "destination.ip", "Server")])
        .leads_to("slow"),
    ],
    records: &EXCHANGES,
};
