//! The words in which dashboards are declared: queries, and how results are drawn. Knows nothing of Kibana's own format
//! (`lens`, `objects`).

/// A dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard {
    /// Part of its id, and of its address.
    pub id: &'static str,
    /// Title.
    pub title: &'static str,
    /// Which question it answers.
    pub question: &'static str,
    /// How to read it, in Markdown.
    pub notes: &'static str,
    /// Its panels, in rows from left to right.
    pub panels: &'static [Panel],
    /// The records behind it.
    pub records: &'static SavedSearch,
}

/// Width of a dashboard in Kibana's units.
pub const WIDTH: u32 = 48;

/// A panel: one question to the records.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Unique within the dashboard.
    pub id: &'static str,
    /// Title.
    pub title: &'static str,
    /// How the answer is drawn.
    pub chart: Chart,
    /// Width, of `WIDTH`.
    pub width: u32,
    /// Exchanges or ledger records.
    pub about: PanelDataset,
    /// Of which of them.
    pub of: PanelFilter,
    /// Into what they are divided, the outer division first.
    pub by: &'static [GroupBy],
    /// What is computed of each part.
    pub metrics: &'static [PanelMetric],
    /// The dashboard that a click can lead to, besides the records.
    pub leads_to: Option<&'static str>,
}

/// How an answer is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chart {
    /// One number.
    Number,
    /// Lines over time.
    Lines,
    /// Bars over time, upon each other.
    Stack,
    /// The same, each bar as a whole of 100 %.
    Shares,
    /// Lying bars, the longest first.
    Ranking,
    /// A table.
    Table,
}

impl Chart {
    /// Height in Kibana's units.
    pub fn height(self) -> u32 {
        match self {
            Self::Number => 6,
            Self::Lines | Self::Stack | Self::Shares | Self::Ranking => 12,
            Self::Table => 14,
        }
    }
}

/// What an index holds side by side: a panel and a search are about one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelDataset {
    /// Records of exchanges.
    Exchanges,
    /// Records of flows.
    Flows,
    /// Records of connection tracking.
    Conntrack,
    /// Logged packets.
    Verdict,
    /// Connects of processes.
    Connects,
    /// Ledger records.
    Ledger,
}

impl PanelDataset {
    /// All of it.
    pub const fn filter(self) -> PanelFilter {
        match self {
            Self::Exchanges => PanelFilter::Is("event.dataset", "podtap.http"),
            Self::Flows => PanelFilter::Is("event.dataset", "podtap.flow"),
            Self::Conntrack => PanelFilter::Is("event.dataset", "podtap.conntrack"),
            Self::Verdict => PanelFilter::Is("event.dataset", "podtap.verdict"),
            Self::Connects => PanelFilter::Is("event.dataset", "podtap.connect"),
            Self::Ledger => PanelFilter::Is("event.dataset", "podtap.ledger"),
        }
    }

    /// Those of it that are `of`, in Kibana's query language.
    pub fn kql(self, of: &PanelFilter) -> String {
        let all = self.filter().kql();
        if *of == PanelFilter::Any { all } else { format!("{all} and {}", of.part()) }
    }
}

/// Which records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelFilter {
    /// All.
    Any,
    /// The field has this value (one of its values).
    Is(&'static str, &'static str),
    /// The field is there.
    Has(&'static str),
    /// The number is at least this.
    From(&'static str, u64),
    /// The number is less than this.
    Below(&'static str, u64),
    /// Not so.
    Not(&'static PanelFilter),
    /// All of these.
    All(&'static [PanelFilter]),
    /// At least one of these.
    AnyOf(&'static [PanelFilter]),
}

/// Into what records are divided.
#[derive(Clone, Copy, Debug)]
pub enum GroupBy {
    /// Equal spans of `@timestamp`.
    Time,
    /// The most frequent values of a field.
    Top {
        /// Field.
        field: &'static str,
        /// Column title.
        label: &'static str,
        /// How many values.
        size: u32,
    },
    /// Named parts.
    Parts(&'static [(&'static str, PanelFilter)]),
}

/// What is computed.
#[derive(Clone, Copy, Debug)]
pub struct PanelMetric {
    /// Column title.
    pub label: &'static str,
    /// What.
    pub what: Compute,
    /// Of which of the part's records.
    pub of: PanelFilter,
}

/// A computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// Number of records.
    Count,
    /// Number of records in a second.
    PerSecond,
    /// The share of these records among all of the part.
    Share,
    /// Number of different values.
    Distinct(&'static str),
    /// Sum.
    Sum(&'static str),
    /// The sum of the first among the sum of the second.
    Ratio(&'static str, &'static str),
    /// Largest value.
    Max(&'static str),
    /// The value that this percentage does not exceed.
    Percentile(&'static str, u8),
}

/// A saved search: the records themselves.
#[derive(Clone, Copy, Debug)]
pub struct SavedSearch {
    /// Part of its id.
    pub id: &'static str,
    /// Title.
    pub title: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// Exchanges or ledger records.
    pub about: PanelDataset,
    /// Which of them.
    pub of: PanelFilter,
    /// Columns, after the time.
    pub columns: &'static [&'static str],
}

/// Number of records of which something holds.
pub const fn count(label: &'static str, of: PanelFilter) -> PanelMetric {
    PanelMetric { label, what: Compute::Count, of }
}

/// Something computed of all records of the part.
pub const fn metric(label: &'static str, what: Compute) -> PanelMetric {
    PanelMetric { label, what, of: PanelFilter::Any }
}

/// The share of the records of which something holds.
pub const fn share(label: &'static str, of: PanelFilter) -> PanelMetric {
    PanelMetric { label, what: Compute::Share, of }
}

/// The most frequent values.
pub const fn top(size: u32, field: &'static str, label: &'static str) -> GroupBy {
    GroupBy::Top { field, label, size }
}

impl Panel {
    /// A panel of all exchanges, undivided.
    pub const fn new(
        id: &'static str,
        title: &'static str,
        chart: Chart,
        width: u32,
        metrics: &'static [PanelMetric],
    ) -> Self {
        Self {
            id,
            title,
            chart,
            width,
            about: PanelDataset::Exchanges,
            of: PanelFilter::Any,
            by: &[],
            metrics,
            leads_to: None,
        }
    }

    /// Of ledger records instead.
    pub const fn of_the_ledger(self) -> Self {
        self.about(PanelDataset::Ledger)
    }

    /// Of other records than exchanges.
    pub const fn about(self, about: PanelDataset) -> Self {
        Self { about, ..self }
    }

    /// Of these records only.
    pub const fn of(self, of: PanelFilter) -> Self {
        Self { of, ..self }
    }

    /// Divided so.
    pub const fn by(self, by: &'static [GroupBy]) -> Self {
        Self { by, ..self }
    }

    /// A click can lead to that dashboard.
    pub const fn leads_to(self, id: &'static str) -> Self {
        Self { leads_to: Some(id), ..self }
    }
}

/// Position and size on a dashboard, in Kibana's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelPlace {
    /// From the left.
    pub x: u32,
    /// From above.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Dashboard {
    /// The places of the notes, the panels (in order) and the records.
    pub fn places(&self) -> (PanelPlace, Vec<PanelPlace>, PanelPlace) {
        let notes = PanelPlace { x: 0, y: 0, width: WIDTH, height: 5 };
        let mut panels: Vec<PanelPlace> = Vec::with_capacity(self.panels.len());
        let (mut x, mut y) = (0, notes.height);
        let mut rest = self.panels;
        while let Some((row, after)) = rest.split_at_checked(row(rest)).filter(|(row, _)| !row.is_empty()) {
            // All of a row end where the highest does: Kibana would move the next row up into the gaps.
            let height = row.iter().map(|panel| panel.chart.height()).max().unwrap_or_default();
            for panel in row {
                panels.push(PanelPlace { x, y, width: panel.width, height });
                x += panel.width;
            }
            (x, y, rest) = (0, y + height, after);
        }
        (notes, panels, PanelPlace { x: 0, y, width: WIDTH, height: 20 })
    }
}

/// How many of the first panels fit into one row.
fn row(panels: &[Panel]) -> usize {
    let mut width = 0;
    let fits = panels.iter().take_while(|panel| {
        width += panel.width;
        width <= WIDTH
    });
    fits.count()
}

impl PanelFilter {
    /// In Kibana's query language; empty for `Any`.
    pub fn kql(&self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Is(field, value) => format!("{field} : \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Has(field) => format!("{field} : *"),
            Self::From(field, value) => format!("{field} >= {value}"),
            Self::Below(field, value) => format!("{field} < {value}"),
            Self::Not(filter) => format!("not {}", filter.part()),
            Self::All(filters) => joined(filters, " and "),
            Self::AnyOf(filters) => joined(filters, " or "),
        }
    }

    /// As a part of a larger query.
    fn part(&self) -> String {
        match self {
            Self::Is(..) | Self::Has(_) | Self::From(..) | Self::Below(..) | Self::Any => self.kql(),
            Self::Not(_) | Self::All(_) | Self::AnyOf(_) => format!("({})", self.kql()),
        }
    }

    /// The fields it looks at.
    pub fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::Any => Vec::new(),
            Self::Is(field, _) | Self::Has(field) | Self::From(field, _) | Self::Below(field, _) => vec![*field],
            Self::Not(filter) => filter.fields(),
            Self::All(filters) | Self::AnyOf(filters) => filters.iter().flat_map(PanelFilter::fields).collect(),
        }
    }
}

fn joined(filters: &[PanelFilter], with: &str) -> String {
    filters.iter().map(PanelFilter::part).collect::<Vec<_>>().join(with)
}

impl Compute {
    /// The field it looks at, the first if there are two.
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::Count | Self::PerSecond | Self::Share => None,
            Self::Ratio(field, _)
            | Self::Distinct(field)
            | Self::Sum(field)
            | Self::Max(field)
            | Self::Percentile(field, _) => Some(field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_written_in_kibanas_query_language() {
        const FAILED: PanelFilter = PanelFilter::Is("event.outcome", "failure");
        for (filter, kql) in [
            (PanelFilter::Any, ""),
            (FAILED, "event.outcome : \"failure\""),
            (PanelFilter::Is("url.path", "a\"b\\"), "url.path : \"a\\\"b\\\\\""),
            (PanelFilter::Not(&PanelFilter::Has("podtap.weird")), "not podtap.weird : *"),
            (PanelFilter::All(&[PanelFilter::From("a", 200), PanelFilter::Below("a", 300)]), "a >= 200 and a < 300"),
            (
                PanelFilter::AnyOf(&[
                    FAILED,
                    PanelFilter::All(&[PanelFilter::Has("a"), PanelFilter::Not(&PanelFilter::Has("b"))]),
                ]),
                "event.outcome : \"failure\" or (a : * and (not b : *))",
            ),
        ] {
            assert_eq!(filter.kql(), kql);
        }
    }

    #[test]
    fn panels_stand_in_rows_and_none_upon_another() {
        const P: Panel = Panel::new("p", "", Chart::Number, 24, &[]);
        const RECORDS: SavedSearch = SavedSearch {
            id: "",
            title: "",
            description: "",
            about: PanelDataset::Exchanges,
            of: PanelFilter::Any,
            columns: &[],
        };
        let dashboard = Dashboard {
            id: "d",
            title: "",
            question: "",
            notes: "",
            panels: &[P, P, Panel { width: 48, ..P }, P],
            records: &RECORDS,
        };
        let (notes, panels, records) = dashboard.places();
        let corners: Vec<_> = panels.iter().map(|place| (place.x, place.y)).collect();
        assert_eq!(corners, [(0, 5), (24, 5), (0, 11), (0, 17)]);
        assert_eq!((notes.y, records.y), (0, 23));
    }
}
