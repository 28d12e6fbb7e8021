//! The queries of the dashboards: declarations only. A field that is renamed is renamed here; a test knows every field.

mod calls;
mod connections;
mod network;
mod overview;
mod peers;
mod processes;
mod slow;
mod trust;

use super::declare::Compute::Percentile;
use super::declare::PanelFilter::{All, AnyOf, Below, From, Has, Is, Not};
use super::declare::{Compute, Dashboard, PanelDataset, PanelFilter, PanelMetric, SavedSearch, count, metric, share};

/// All dashboards, in the order in which they link to each other.
pub const DASHBOARDS: &[Dashboard] = &[
    overview::OVERVIEW,
    slow::SLOW,
    peers::PEERS,
    calls::CALLS,
    network::NETWORK,
    connections::CONNECTIONS,
    processes::PROCESSES,
    trust::TRUST,
];

/// All saved searches.
pub const SEARCHES: &[SavedSearch] = &[
    EXCHANGES,
    TROUBLE,
    DOUBTFUL,
    calls::FAILED_CALLS,
    LOSSES,
    network::FLOW_RECORDS,
    connections::FLOW_RECORDS,
    connections::VERDICTS,
    processes::CONNECT_RECORDS,
];

/// What every dashboard can be narrowed down to, by a list of values on top.
pub const CONTROLS: &[(&str, &str)] = &[
    ("kubernetes.namespace", "Namespace"),
    ("kubernetes.pod.name", "Pod"),
    ("network.direction", "Direction"),
    ("url.domain", "Host"),
];

/// Microseconds from which an exchange counts as slow.
pub(super) const SLOW_US: u64 = 1_000_000;

const TOTAL: &str = "podtap.timing.total_us";
const CONNECT: &str = "podtap.timing.connect_us";
const REQUEST: &str = "podtap.timing.request_us";
const WAIT: &str = "podtap.timing.wait_us";
const RESPONSE: &str = "podtap.timing.response_us";
const STATUS: &str = "http.response.status_code";

const FAILED: PanelFilter = Is("event.outcome", "failure");
const UNANSWERED: PanelFilter = Has("podtap.unanswered");
/// Neither streams nor tunnels: how long those last says nothing about how quick anything is.
const TIMED: PanelFilter = Is("podtap.stream", "exchange");
const SLOW: PanelFilter = All(&[TIMED, From(TOTAL, SLOW_US)]);
const ODD: PanelFilter = Has("podtap.weird");
const LATE: PanelFilter = Is("podtap.late", "true");
const SHORTENED: PanelFilter = Is("podtap.shortened", "true");
const COMPLETE: PanelFilter = Is("podtap.trust", "complete");
const INGRESS: PanelFilter = Is("network.direction", "ingress");
const EGRESS: PanelFilter = Is("network.direction", "egress");

/// Every record is in one of them.
const BY_STATUS: &[(&str, PanelFilter)] = &[
    ("1xx", Below(STATUS, 200)),
    ("2xx", All(&[From(STATUS, 200), Below(STATUS, 300)])),
    ("3xx", All(&[From(STATUS, 300), Below(STATUS, 400)])),
    ("4xx", All(&[From(STATUS, 400), Below(STATUS, 500)])),
    ("5xx and above", From(STATUS, 500)),
    ("unanswered", UNANSWERED),
    ("answer not seen", Not(&AnyOf(&[Has(STATUS), UNANSWERED]))),
];

/// Every record is in one of them.
const BY_DIRECTION: &[(&str, PanelFilter)] = &[
    ("in", INGRESS),
    ("out", EGRESS),
    ("within the pod", Is("network.direction", "internal")),
    ("unknown", Not(&Has("network.direction"))),
];

/// Every record is in one of them.
const BY_TRUST: &[(&str, PanelFilter)] = &[
    ("complete", COMPLETE),
    ("truncated", Is("podtap.trust", "truncated")),
    ("gap", Is("podtap.trust", "gap")),
    ("midstream", Is("podtap.trust", "midstream")),
    ("unpaired", Is("podtap.trust", "unpaired")),
];

const ALL: PanelMetric = metric("Exchanges", Compute::Count);
const FAILED_SHARE: PanelMetric = share("Failed", FAILED);

/// Of exchanges that are neither streams nor tunnels.
const fn percentile(label: &'static str, field: &'static str, percent: u8) -> PanelMetric {
    PanelMetric { label, what: Percentile(field, percent), of: TIMED }
}

const EXCHANGES: SavedSearch = SavedSearch {
    id: "exchanges",
    title: "[podtap] Exchanges",
    description: "Every exchange, the newest first",
    about: PanelDataset::Exchanges,
    of: PanelFilter::Any,
    columns: &[
        "network.direction",
        "source.ip",
        "destination.ip",
        "http.request.method",
        "url.domain",
        "url.path",
        STATUS,
        TOTAL,
        "podtap.trust",
    ],
};

const TROUBLE: SavedSearch = SavedSearch {
    id: "trouble",
    title: "[podtap] Slow and failing exchanges",
    description: "Failed, unanswered, or slower than a second",
    about: PanelDataset::Exchanges,
    of: AnyOf(&[FAILED, SLOW]),
    columns: &[
        "network.direction",
        "source.ip",
        "http.request.method",
        "url.domain",
        "url.path",
        STATUS,
        "podtap.unanswered",
        WAIT,
        RESPONSE,
        TOTAL,
        "http.response.bytes",
        "podtap.trust",
    ],
};

const DOUBTFUL: SavedSearch = SavedSearch {
    id: "doubtful",
    title: "[podtap] Records to look at twice",
    description: "Not complete, odd, late or shortened",
    about: PanelDataset::Exchanges,
    of: AnyOf(&[Not(&COMPLETE), ODD, LATE, SHORTENED]),
    columns: &[
        "podtap.trust",
        "podtap.missing",
        "podtap.weird",
        "podtap.late",
        "network.direction",
        "source.ip",
        "destination.ip",
        "http.request.method",
        "url.path",
        STATUS,
        "observer.ingress.interface.name",
    ],
};

const SINK: &str = "podtap.ledger.sink";
const KERNEL_PACKETS: &str = "podtap.ledger.kernel_packets";
const KERNEL_DROPPED: &str = "podtap.ledger.kernel_dropped_packets";
const INTERFACE_DROPPED: &str = "podtap.ledger.interface_dropped_packets";
const AWAY: &str = "podtap.ledger.interface_away_seconds";
const GAP_BYTES: &str = "podtap.ledger.gap_bytes";
const UNPAIRED: &str = "podtap.ledger.requests_unpaired";
const OFFERED: &str = "podtap.ledger.sink_offered_records";
const DELIVERED: &str = "podtap.ledger.sink_delivered_records";
const DROPPED: &str = "podtap.ledger.sink_dropped_records";
const REJECTED: &str = "podtap.ledger.sink_rejected_records";
const FAILED_ATTEMPTS: &str = "podtap.ledger.sink_failed_attempts";
const QUEUED: &str = "podtap.ledger.sink_queued_records";
const SPOOLED: &str = "podtap.ledger.sink_spooled_records";
/// A bug in podtap.
const WRONG: PanelFilter = Is("podtap.ledger.adds_up", "false");

const LOSSES: SavedSearch = SavedSearch {
    id: "losses",
    title: "[podtap] Losses",
    description: "Ledger records of intervals in which something was lost",
    about: PanelDataset::Ledger,
    of: AnyOf(&[
        From(KERNEL_DROPPED, 1),
        From(INTERFACE_DROPPED, 1),
        From(AWAY, 1),
        From(GAP_BYTES, 1),
        From(UNPAIRED, 1),
        From(DROPPED, 1),
        From(REJECTED, 1),
        WRONG,
    ]),
    columns: &[
        "kubernetes.pod.name",
        SINK,
        KERNEL_DROPPED,
        INTERFACE_DROPPED,
        AWAY,
        GAP_BYTES,
        UNPAIRED,
        DROPPED,
        REJECTED,
        "podtap.ledger.imbalances",
    ],
};

const UNANSWERED_COUNT: PanelMetric = count("Unanswered", UNANSWERED);
