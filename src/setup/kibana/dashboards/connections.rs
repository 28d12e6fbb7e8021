//! *Connections and verdicts*: what the kernel tracked, and what firewall rules logged.

use super::super::declare::{
    By, Chart, Compute, Dashboard, Dataset, Filter, Metric, Panel, Search, count, metric, top,
};
use super::Is;

const ENDED: Filter = Is("event.action", "end");
const FAILED: Filter = Is("event.outcome", "failure");
const DENIED: Filter = Is("event.type", "denied");
const FOLLOWED: &str = "podtap.verdict.followed_by";
const UNANSWERED: Filter = Filter::All(&[Is("event.type", "allowed"), Is(FOLLOWED, "nothing")]);
const SERVICE: &str = "destination.ip";
const POD: &str = "destination.nat.ip";

const PACKETS: Metric = metric("Packets", Compute::Sum("network.packets"));

/// The flows that ended.
const FLOWS: Metric = count("Flows", ENDED);

pub(super) const CONNECTIONS: Dashboard = Dashboard {
    id: "connections",
    title: "[podtap] Connections and verdicts",
    question: "Which connections were there, which failed, and which packets did rules hold back?",
    notes: "Needs RECORD=conntrack for connections and RECORD=verdicts for logged packets. A connection counts when it has \
            ended. *Failed* means that it was never established or answered. A verdict is what the rule's prefix says. With RECORD=conntrack,verdicts \
            a logged packet also shows what followed it.",
    panels: &[
        Panel::new("flows", "Connections that ended", Chart::Number, 12, &[FLOWS]).about(Dataset::Conntrack),
        Panel::new("failed", "Failed connections", Chart::Number, 12, &[metric("Failed", Compute::Count)])
            .about(Dataset::Conntrack)
            .of(FAILED),
        Panel::new("logged", "Logged packets", Chart::Number, 12, &[PACKETS]).about(Dataset::Verdict),
        Panel::new("denied", "Denied packets", Chart::Number, 12, &[PACKETS]).about(Dataset::Verdict).of(DENIED),
        Panel::new("flows-over-time", "Connections by protocol", Chart::Stack, 24, &[metric("Flows", Compute::Count)])
            .about(Dataset::Conntrack)
            .of(ENDED)
            .by(&[top(6, "network.transport", "Protocol"), By::Time]),
        Panel::new("verdicts-over-time", "Logged packets by verdict", Chart::Stack, 24, &[PACKETS])
            .about(Dataset::Verdict)
            .by(&[top(4, "event.action", "Verdict"), By::Time]),
        Panel::new(
            "services",
            "Services, and the pods behind them",
            Chart::Table,
            24,
            &[metric("Flows", Compute::Count), count("Failed", FAILED), metric("Bytes", Compute::Sum("network.bytes"))],
        )
        .about(Dataset::Conntrack)
        .of(Filter::All(&[ENDED, Filter::Has(POD)]))
        .by(&[top(20, SERVICE, "Service"), top(3, "destination.port", "Port"), top(5, POD, "Pod")]),
        Panel::new(
            "failing",
            "Connections that failed",
            Chart::Table,
            24,
            &[metric("Failed", Compute::Count), metric("Tries", Compute::Sum("podtap.conntrack.tries"))],
        )
        .about(Dataset::Conntrack)
        .of(FAILED)
        .by(&[top(20, "source.ip", "From"), top(5, SERVICE, "To"), top(3, "destination.port", "Port")]),
        Panel::new("held-back", "Packets held back", Chart::Table, 28, &[PACKETS])
            .about(Dataset::Verdict)
            .of(DENIED)
            .by(&[top(20, "source.ip", "From"), top(5, SERVICE, "To"), top(3, "destination.port", "Port")]),
        Panel::new("rules", "The rules that logged most", Chart::Ranking, 20, &[PACKETS])
            .about(Dataset::Verdict)
            .by(&[top(12, "rule.name", "Rule")]),
        Panel::new("followed", "What followed logged packets", Chart::Stack, 24, &[metric("Entries", Compute::Count)])
            .about(Dataset::Verdict)
            .of(Filter::Has(FOLLOWED))
            .by(&[top(4, FOLLOWED, "Followed by"), By::Time]),
        Panel::new("unanswered", "Allowed, but nothing came back", Chart::Table, 24, &[PACKETS])
            .about(Dataset::Verdict)
            .of(UNANSWERED)
            .by(&[top(20, "source.ip", "From"), top(5, SERVICE, "To"), top(3, "destination.port", "Port")]),
    ],
    records: &VERDICTS,
};

pub(super) const FLOW_RECORDS: Search = Search {
    id: "connections",
    title: "[podtap] Connections",
    description: "Every record of connection tracking, the newest first",
    about: Dataset::Conntrack,
    of: Filter::Any,
    columns: &[
        "event.action",
        "network.transport",
        "source.ip",
        SERVICE,
        "destination.port",
        POD,
        "event.outcome",
        "podtap.conntrack.tcp_state",
        "network.bytes",
    ],
};

pub(super) const VERDICTS: Search = Search {
    id: "verdicts",
    title: "[podtap] Logged packets",
    description: "Every packet that a rule logged, the newest first",
    about: Dataset::Verdict,
    of: Filter::Any,
    columns: &[
        "event.action",
        "rule.name",
        "network.transport",
        "source.ip",
        SERVICE,
        "destination.port",
        "cloudfoundry.app.id",
        FOLLOWED,
        "network.packets",
    ],
};
