//! *Can I trust this?*: what the records say about themselves, and where to look for what no record can say.

use super::super::declare::{By, Chart, Compute, Dashboard, Panel, top};
use super::{ALL, BY_TRUST, COMPLETE, DOUBTFUL, LATE, ODD, SHORTENED, count, metric, share};
use crate::setup::kibana::declare::Filter::{Has, Is};

pub(super) const TRUST: Dashboard = Dashboard {
    id: "trust",
    title: "[podtap] Can I trust this?",
    question: "What was not seen whole, and what may be missing?",
    notes: "Records can tell what was missing **within** them. What never became a record, or never arrived, they cannot \
            tell: packets the kernel dropped, records a full queue gave up. podtap counts all of that in `/metrics`, \
            where the equations between the counters must hold; the Grafana dashboard shows them. Here, a pod that falls \
            silent in *Records by pod* is worth a look.",
    panels: &[
        Panel::new("complete", "Complete records", Chart::Number, 12, &[share("Complete", COMPLETE)]),
        Panel::new("odd", "With protocol oddities", Chart::Number, 12, &[share("Odd", ODD)]),
        Panel::new("late", "Answers after the time-out", Chart::Number, 12, &[count("Late", LATE)]),
        Panel::new("shortened", "Shortened to fit", Chart::Number, 12, &[count("Shortened", SHORTENED)]),
        Panel::new("labels", "How far records can be trusted", Chart::Shares, 24, &[metric("Records", Compute::Count)])
            .by(&[By::Parts(BY_TRUST), By::Time]),
        Panel::new(
            "arrivals",
            "Records by pod, the 20 busiest: a hole is a question",
            Chart::Stack,
            24,
            &[metric("Records", Compute::Count)],
        )
        .by(&[top(20, "kubernetes.pod.name", "Pod"), By::Time])
        .leads_to("overview"),
        Panel::new("missing", "What is missing", Chart::Ranking, 16, &[ALL]).of(Has("podtap.missing")).by(&[top(
            8,
            "podtap.missing",
            "Missing",
        )]),
        Panel::new("oddities", "The 20 most frequent protocol oddities", Chart::Ranking, 16, &[ALL])
            .of(ODD)
            .by(&[top(20, "podtap.weird", "Oddity")]),
        Panel::new("classes", "Exchanges, streams, tunnels, upgrades", Chart::Ranking, 16, &[ALL]).by(&[top(
            4,
            "podtap.stream",
            "Class",
        )]),
        Panel::new(
            "by-pod",
            "By pod",
            Chart::Table,
            28,
            &[
                ALL,
                share("Complete", COMPLETE),
                count("Truncated", Is("podtap.trust", "truncated")),
                count("Gap", Is("podtap.trust", "gap")),
                count("Midstream", Is("podtap.trust", "midstream")),
                count("Unpaired", Is("podtap.trust", "unpaired")),
                count("Odd", ODD),
            ],
        )
        .by(&[top(30, "kubernetes.pod.name", "Pod")]),
        Panel::new(
            "observers",
            "Who observes: versions and interfaces",
            Chart::Table,
            20,
            &[ALL, metric("Pods", Compute::Distinct("kubernetes.pod.name"))],
        )
        .by(&[top(5, "agent.version", "podtap"), top(10, "observer.ingress.interface.name", "Interface")]),
    ],
    records: &DOUBTFUL,
};
