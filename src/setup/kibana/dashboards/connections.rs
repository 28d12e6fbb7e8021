//! *Connections and verdicts*: what the kernel tracked, and what firewall rules logged.

use super::super::declare::{
    Chart, Compute, Dashboard, GroupBy, Panel, PanelDataset, PanelFilter, PanelMetric, SavedSearch, count, metric, top,
};
use super::Is;

const ENDED: PanelFilter = Is("event.action", "end");
const FAILED: PanelFilter = Is("event.outcome", "failure");
const DENIED: PanelFilter = Is("event.type", "denied");
const FOLLOWED: &str = "podtap.verdict.followed_by";
const UNANSWERED: PanelFilter = PanelFilter::All(&[Is("event.type", "allowed"), Is(FOLLOWED, "nothing")]);
const SERVICE: &str = "destination.ip";
const POD: &str = "destination.nat.ip";

const PACKETS: PanelMetric = metric("Packets", Compute::Sum("network.packets"));

/// The flows that ended.
const FLOWS: PanelMetric = count("Flows", ENDED);

pub(super) const CONNECTIONS: Dashboard = Dashboard {
    id: "connections",
    title: "[podtap] Connections and verdicts",
    question: "Which connections were there, which failed, and which packets did rules hold back?",
    notes: "Needs RECORD=conntrack for connections and RECORD=verdicts for logged packets. A connection counts when it has \
            ended. *Failed* means that it was never established or answered. A verdict is what the rule's prefix says. With RECORD=conntrack,verdicts \
            a logged packet also shows what followed it.",
    panels: &[
        Panel::new("flows", "Connections that ended", Chart::Number, 12, &[FLOWS]).about(PanelDataset::Conntrack),
        Panel::new("failed", "Failed connections", Chart::Number, 12, &[metric("Failed", Compute::Count)])
            .about(PanelDataset::Conntrack)
            .of(FAILED),
        Panel::new("logged", "Logged packets", Chart::Number, 12, &[PACKETS]).about(PanelDataset::Verdict),
        Panel::new("denied", "Denied packets", Chart::Number, 12, &[PACKETS]).about(PanelDataset::Verdict).of(DENIED),
        Panel::new("flows-over-time", "Connections by protocol", Chart::Stack, 24, &[metric("Flows", Compute::Count)])
            .about(PanelDataset::Conntrack)
            .of(ENDED)
            .by(&[top(6, "network.transport", "Protocol"), GroupBy::Time]),
        Panel::new("verdicts-over-time", "Logged packets by verdict", Chart::Stack, 24, &[PACKETS])
            .about(PanelDataset::Verdict)
            .by(&[top(4, "event.action", "Verdict"), GroupBy::Time]),
        Panel::new(
            "services",
            "Services, and the pods behind them",
            Chart::Table,
            24,
            &[metric("Flows", Compute::Count), count("Failed", FAILED), metric("Bytes", Compute::Sum("network.bytes"))],
        )
        .about(PanelDataset::Conntrack)
        .of(PanelFilter::All(&[ENDED, PanelFilter::Has(POD)]))
        .by(&[top(20, SERVICE, "Service"), top(3, "destination.port", "Port"), top(5, POD, "Pod")]),
        Panel::new(
            "failing",
            "Connections that failed",
            Chart::Table,
            24,
            &[metric("Failed", Compute::Count), metric("Tries", Compute::Sum("podtap.conntrack.tries"))],
        )
        .about(PanelDataset::Conntrack)
        .of(FAILED)
        .by(&[top(20, "source.ip", "From"), top(5, SERVICE, "To"), top(3, "destination.port", "Port")]),
        Panel::new("held-back", "Packets held back", Chart::Table, 28, &[PACKETS])
            .about(PanelDataset::Verdict)
            .of(DENIED)
            .by(&[top(20, "source.ip", "From"), top(5, SERVICE, "To"), top(3, "destination.port", "Port")]),
        Panel::new("rules", "The rules that logged most", Chart::Ranking, 20, &[PACKETS])
            .about(PanelDataset::Verdict)
            .by(&[top(12, "rule.name", "Rule")]),
        Panel::new("followed", "What followed logged packets", Chart::Stack, 24, &[metric("Entries", Compute::Count)])
            .about(PanelDataset::Verdict)
            .of(PanelFilter::Has(FOLLOWED))
            .by(&[top(4, FOLLOWED, "Followed by"), GroupBy::Time]),
        Panel::new("unanswered", "Allowed, but nothing came back", Chart::Table, 24, &[PACKETS])
            .about(PanelDataset::Verdict)
            .of(UNANSWERED)
            .by(&[top(20, "source.ip", "From"), top(5, SERVICE, "To"), top(3, "destination.port", "Port")]),
    ],
    records: &VERDICTS,
};

pub(super) const FLOW_RECORDS: SavedSearch = SavedSearch {
    id: "connections",
    title: "[podtap] Connections",
    description: "Every record of connection tracking, the newest first",
    about: PanelDataset::Conntrack,
    of: PanelFilter::Any,
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

pub(super) const VERDICTS: SavedSearch = SavedSearch {
    id: "verdicts",
    title: "[podtap] Logged packets",
    description: "Every packet that a rule logged, the newest first",
    about: PanelDataset::Verdict,
    of: PanelFilter::Any,
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
