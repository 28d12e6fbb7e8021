//! *Processes*: which process connected where, what came of it, and which exchanges it asked for.

use super::super::declare::{
    Chart, Compute, Dashboard, GroupBy, Panel, PanelDataset, PanelFilter, PanelMetric, SavedSearch, count, metric, top,
};
use super::{All, AnyOf, FAILED, FAILED_SHARE, Has, Is, Not};

const RESULT: &str = "podtap.connect.result";
const ERRNO: &str = "podtap.connect.errno";
const NAME: &str = "process.name";
const EXECUTABLE: &str = "process.executable";
const CONTAINER: &str = "container.name";
const USER: &str = "user.id";
const TO: &str = "destination.ip";
const PORT: &str = "destination.port";

const REFUSED: PanelFilter = AnyOf(&[Is(RESULT, "refused"), Is(RESULT, "unreachable")]);
const TIMED_OUT: PanelFilter = Is(RESULT, "timed_out");
const CONNECTS: PanelMetric = metric("Connects", Compute::Count);
const FAILURES: PanelMetric = count("Failed", FAILED);

/// Every connect is in one of them.
const BY_RESULT: &[(&str, PanelFilter)] = &[
    ("established", Is(RESULT, "established")),
    ("refused", Is(RESULT, "refused")),
    ("unreachable", Is(RESULT, "unreachable")),
    ("timed out", TIMED_OUT),
    ("given up", Is(RESULT, "given_up")),
    ("error", Is(RESULT, "error")),
];

pub(super) const PROCESSES: Dashboard = Dashboard {
    id: "processes",
    title: "[podtap] Processes",
    question: "Which process connects where, what comes of it, and which exchanges does it ask for?",
    notes: "Needs RECORD=connects; with RECORD=http,connects exchanges name their process, too. *Refused* includes destinations \
            that cannot be reached. Connects without a process were seen by packets only. A container has a name with \
            WORKLOADS=kubernetes.",
    panels: &[
        Panel::new("connects", "Connects", Chart::Number, 12, &[CONNECTS]).about(PanelDataset::Connects),
        Panel::new("executables", "Executables", Chart::Number, 12, &[metric("Paths", Compute::Distinct(EXECUTABLE))])
            .about(PanelDataset::Connects),
        Panel::new("refused", "Refused", Chart::Number, 12, &[CONNECTS]).about(PanelDataset::Connects).of(REFUSED),
        Panel::new("timed-out", "Timed out", Chart::Number, 12, &[CONNECTS])
            .about(PanelDataset::Connects)
            .of(TIMED_OUT),
        Panel::new("results", "What comes of connects", Chart::Stack, 24, &[CONNECTS])
            .about(PanelDataset::Connects)
            .by(&[GroupBy::Parts(BY_RESULT), GroupBy::Time]),
        Panel::new("by-process", "Connects by process", Chart::Stack, 24, &[CONNECTS])
            .about(PanelDataset::Connects)
            .of(Has(NAME))
            .by(&[top(8, NAME, "Process"), GroupBy::Time]),
        Panel::new("where", "Who connects where", Chart::Table, 28, &[CONNECTS, FAILURES])
            .about(PanelDataset::Connects)
            .of(Has(NAME))
            .by(&[top(20, NAME, "Process"), top(5, TO, "To"), top(3, PORT, "Port")]),
        Panel::new("paths", "Executables that connect most", Chart::Ranking, 20, &[CONNECTS])
            .about(PanelDataset::Connects)
            .of(Has(EXECUTABLE))
            .by(&[top(12, EXECUTABLE, "Executable")]),
        Panel::new("failing", "Connects that failed", Chart::Table, 28, &[metric("Failed", Compute::Count)])
            .about(PanelDataset::Connects)
            .of(FAILED)
            .by(&[top(20, NAME, "Process"), top(5, TO, "To"), top(3, PORT, "Port"), top(3, RESULT, "How")]),
        Panel::new("containers", "Containers and users", Chart::Table, 20, &[CONNECTS, FAILURES])
            .about(PanelDataset::Connects)
            .of(Has(CONTAINER))
            .by(&[top(12, CONTAINER, "Container"), top(3, USER, "User")]),
        Panel::new(
            "exchanges",
            "Exchanges by the process that asked",
            Chart::Table,
            28,
            &[metric("Exchanges", Compute::Count), FAILED_SHARE],
        )
        .of(Has(NAME))
        .by(&[top(20, NAME, "Process"), top(5, "url.domain", "Host")]),
        Panel::new(
            "unknown",
            "Failed connects without a process",
            Chart::Table,
            20,
            &[metric("Failed", Compute::Count)],
        )
        .about(PanelDataset::Connects)
        .of(All(&[FAILED, Not(&Has(NAME))]))
        .by(&[top(12, "source.ip", "From"), top(3, TO, "To")]),
    ],
    records: &CONNECT_RECORDS,
};

pub(super) const CONNECT_RECORDS: SavedSearch = SavedSearch {
    id: "connects",
    title: "[podtap] Connects",
    description: "Every connect, the newest first",
    about: PanelDataset::Connects,
    of: PanelFilter::Any,
    columns: &[NAME, "process.pid", "process.command_line", USER, CONTAINER, TO, PORT, RESULT, ERRNO, "event.duration"],
};
