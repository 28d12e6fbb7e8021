//! *Can I trust this?*: what the records say about themselves, and what ledger records say about everything else.

use super::super::declare::{Chart, Compute, Dashboard, GroupBy, Panel, top};
use super::{
    ALL, AWAY, BY_TRUST, COMPLETE, DELIVERED, DOUBTFUL, DROPPED, FAILED_ATTEMPTS, GAP_BYTES, INTERFACE_DROPPED,
    KERNEL_DROPPED, KERNEL_PACKETS, LATE, ODD, OFFERED, QUEUED, REJECTED, SHORTENED, SINK, SPOOLED, UNPAIRED, WRONG,
    count, metric, share,
};
use crate::setup::kibana::declare::Compute::{Max, Ratio, Sum};
use crate::setup::kibana::declare::PanelFilter::{Has, Is};
use crate::setup::kibana::declare::PanelMetric;

const PACKETS_LOST: PanelMetric = metric("Share of packets lost", Ratio(KERNEL_DROPPED, KERNEL_PACKETS));
const NEVER_SEEN: PanelMetric = metric("Bytes never seen", Sum(GAP_BYTES));
const BLIND: PanelMetric = metric("Seconds without capture", Sum(AWAY));
const WRONG_LEDGERS: PanelMetric = count("Does not add up", WRONG);

pub(super) const TRUST: Dashboard = Dashboard {
    id: "trust",
    title: "[podtap] Can I trust this?",
    question: "What was not seen whole, what was lost, did everything arrive?",
    notes: "Records tell what was missing **within** them. What never became a record, or never arrived, stands in podtap's \
            ledger: every minute each pod tells what it saw, lost and delivered since. *Packets lost* are those the \
            kernel had no room for; *never seen* are bytes of TCP streams. Losses are a pod's: narrowed down by \
            direction or host, their panels stay empty. A pod that falls silent is worth a look.",
    panels: &[
        Panel::new("complete", "Complete records", Chart::Number, 12, &[share("Complete", COMPLETE)]),
        Panel::new("odd", "With protocol oddities", Chart::Number, 12, &[share("Odd", ODD)]),
        Panel::new("late", "Answers after the time-out", Chart::Number, 12, &[count("Late", LATE)]),
        Panel::new("shortened", "Shortened to fit", Chart::Number, 12, &[count("Shortened", SHORTENED)]),
        Panel::new("packets-lost", "Packets lost by the kernel", Chart::Number, 8, &[PACKETS_LOST]).of_the_ledger(),
        Panel::new("never-seen", "Bytes never seen", Chart::Number, 8, &[NEVER_SEEN]).of_the_ledger(),
        Panel::new("blind", "Seconds without capture", Chart::Number, 8, &[BLIND]).of_the_ledger(),
        Panel::new("dropped", "Records given up", Chart::Number, 8, &[metric("Given up", Sum(DROPPED))])
            .of_the_ledger(),
        Panel::new("rejected", "Records refused", Chart::Number, 8, &[metric("Refused", Sum(REJECTED))])
            .of_the_ledger(),
        Panel::new("wrong", "Ledgers that do not add up", Chart::Number, 8, &[WRONG_LEDGERS]).of_the_ledger(),
        Panel::new("labels", "How far records can be trusted", Chart::Shares, 24, &[metric("Records", Compute::Count)])
            .by(&[GroupBy::Parts(BY_TRUST), GroupBy::Time]),
        Panel::new(
            "arrivals",
            "Records by pod, the 20 busiest: a hole is a question",
            Chart::Stack,
            24,
            &[metric("Records", Compute::Count)],
        )
        .by(&[top(20, "kubernetes.pod.name", "Pod"), GroupBy::Time])
        .leads_to("overview"),
        Panel::new(
            "packets",
            "Packets lost, over time",
            Chart::Stack,
            16,
            &[metric("Buffer full", Sum(KERNEL_DROPPED)), metric("By the interface", Sum(INTERFACE_DROPPED))],
        )
        .of_the_ledger()
        .by(&[GroupBy::Time]),
        Panel::new("gaps", "Bytes of streams never seen, over time", Chart::Stack, 16, &[NEVER_SEEN])
            .of_the_ledger()
            .by(&[GroupBy::Time]),
        Panel::new(
            "fates",
            "What became of the records",
            Chart::Shares,
            16,
            &[
                metric("Offered", Sum("podtap.ledger.records_offered")),
                metric("Left out on purpose", Sum("podtap.ledger.records_left_out")),
            ],
        )
        .of_the_ledger()
        .by(&[GroupBy::Time]),
        Panel::new(
            "delivery",
            "Delivery, by sink",
            Chart::Table,
            28,
            &[
                metric("Offered", Sum(OFFERED)),
                metric("Delivered", Sum(DELIVERED)),
                metric("Given up", Sum(DROPPED)),
                metric("Refused", Sum(REJECTED)),
                metric("Failed attempts", Sum(FAILED_ATTEMPTS)),
                metric("Most waiting", Max(QUEUED)),
                metric("Most on disk", Max(SPOOLED)),
            ],
        )
        .of_the_ledger()
        .by(&[top(8, SINK, "Sink")]),
        Panel::new(
            "waiting",
            "Waiting, the fullest queue of each sink",
            Chart::Lines,
            20,
            &[metric("Records", Max(QUEUED))],
        )
        .of_the_ledger()
        .by(&[top(8, SINK, "Sink"), GroupBy::Time]),
        Panel::new("delivered", "Delivered, by sink", Chart::Stack, 24, &[metric("Records", Sum(DELIVERED))])
            .of_the_ledger()
            .by(&[top(8, SINK, "Sink"), GroupBy::Time]),
        Panel::new(
            "undelivered",
            "Given up, refused, tried again",
            Chart::Stack,
            24,
            &[
                metric("Given up", Sum(DROPPED)),
                metric("Refused", Sum(REJECTED)),
                metric("Failed attempts", Sum(FAILED_ATTEMPTS)),
            ],
        )
        .of_the_ledger()
        .by(&[GroupBy::Time]),
        Panel::new(
            "losses-by-pod",
            "Losses by pod, the most bytes never seen first",
            Chart::Table,
            48,
            &[
                NEVER_SEEN,
                PACKETS_LOST,
                metric("Lost by the kernel", Sum(KERNEL_DROPPED)),
                metric("Lost by the interface", Sum(INTERFACE_DROPPED)),
                BLIND,
                metric("Answers not known", Sum(UNPAIRED)),
                metric("Given up", Sum(DROPPED)),
                metric("Refused", Sum(REJECTED)),
                WRONG_LEDGERS,
            ],
        )
        .of_the_ledger()
        .by(&[top(50, "kubernetes.pod.name", "Pod")]),
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
