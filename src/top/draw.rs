//! The screen of `podtap top`: a heading, a table or the records of a row (`inside`), what was lost, the keys. Decides nothing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::board::{SPARK, ShownBoard, ShownRow};
use super::inside::look;
use super::order::{By, RowOrder};
use super::pen::{Pen, fitting};
use super::screen::TopScreen;
use crate::format::text::{ShownDuration, ShownSize};
use crate::settings::{printable_up_to, thousands};

/// Key column: at least this wide before another column is added.
const LEAST_KEY: usize = 24;
/// Characters that the heading gives to what is watched: at least, and at most.
const LEAST_SOURCE: usize = 4;
const MOST_SOURCE: usize = 300;

/// What is around the board.
#[derive(Clone, Debug, Default)]
pub(super) struct BoardFrame {
    /// What is watched: `eth0`, `a.pcap`.
    pub(super) source: String,
    /// There is nothing more to come.
    pub(super) ended: bool,
    /// What was lost, a sentence each.
    pub(super) losses: Vec<String>,
    pub(super) refused: u64,
    pub(super) timed_out: u64,
    pub(super) colours: bool,
}

/// A column: what is above it, its width, its cell.
struct BoardColumn {
    head: &'static str,
    width: usize,
    cell: fn(&ShownRow) -> String,
    order: Option<RowOrder>,
    /// It says something of connects, too.
    connects: bool,
}

/// The most important first: as many are shown as fit.
const COLUMNS: [BoardColumn; 10] = [
    BoardColumn { head: "RATE/s", width: 7, cell: |row| short(row.rate), order: Some(RowOrder::Rate), connects: true },
    BoardColumn {
        head: "FAILED",
        width: 7,
        cell: |row| share(row.failed, row.exchanges),
        order: Some(RowOrder::Failed),
        connects: true,
    },
    BoardColumn { head: "P50", width: 8, cell: |row| took(row, 0), order: Some(RowOrder::P50), connects: true },
    BoardColumn { head: "P95", width: 8, cell: |row| took(row, 1), order: Some(RowOrder::P95), connects: true },
    BoardColumn { head: "P99", width: 8, cell: |row| took(row, 2), order: Some(RowOrder::P99), connects: false },
    BoardColumn {
        head: "UNANSW",
        width: 6,
        cell: |row| count(row.unanswered),
        order: Some(RowOrder::Unanswered),
        connects: false,
    },
    BoardColumn {
        head: "TOTAL",
        width: 7,
        cell: |row| count(row.exchanges),
        order: Some(RowOrder::Total),
        connects: true,
    },
    BoardColumn {
        head: "BYTES",
        width: 7,
        cell: |row| ShownSize(row.bytes).to_string(),
        order: Some(RowOrder::Bytes),
        connects: false,
    },
    BoardColumn { head: "DOUBTFUL", width: 8, cell: |row| count(row.doubtful), order: None, connects: false },
    BoardColumn { head: "LAST SECONDS", width: SPARK, cell: |row| spark(&row.spark), order: None, connects: true },
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut TopScreen, shown: &ShownBoard, around: &BoardFrame) {
    let areas =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)]);
    let [top, middle, lost, keys] = areas.areas(frame.area());
    let pen = Pen { colours: around.colours, width: usize::from(frame.area().width) };
    frame.render_widget(Paragraph::new(vec![pen.heading(shown, around), pen.choices(screen, around.ended)]), top);
    if screen.looks_into().is_some() {
        look(frame, middle, pen, screen, shown);
    } else {
        table(frame, middle, pen, screen, shown);
    }
    frame.render_widget(Paragraph::new(pen.losses(shown, around)), lost);
    frame.render_widget(Paragraph::new(pen.keys(screen)), keys);
}

impl Pen {
    fn heading(self, shown: &ShownBoard, around: &BoardFrame) -> Line<'static> {
        let all = &shown.all;
        let time = crate::flow::Timestamp(shown.now).to_string();
        let clock =
            time.get(11..19).filter(|_| shown.now > 0).map_or_else(|| "-".to_owned(), |time| format!("{time}Z"));
        let percentile = |index: usize, name: &str| format!("  {name} {}", took(all, index));
        let mut numbers = format!(
            "{clock}  {}/s  {} seen, {} failed",
            short(all.rate),
            thousands(all.exchanges),
            thousands(all.failed)
        );
        let room = self.width.saturating_sub("podtap top  ".len() + LEAST_SOURCE);
        let percentiles = [percentile(0, "p50"), percentile(2, "p99"), percentile(1, "p95")];
        let fits = |numbers: &String, more: &String| numbers.chars().count() + more.chars().count() <= room;
        for more in percentiles {
            if fits(&numbers, &more) {
                numbers.push_str(&more);
            }
        }
        let room = self.width.saturating_sub(numbers.chars().count() + "podtap top  ".len());
        let source = fitting(&printable_up_to(MOST_SOURCE, &around.source), room);
        Line::from(vec![Span::styled(format!("podtap top {source} "), self.bold()), Span::raw(numbers)])
    }

    fn choices(self, screen: &TopScreen, ended: bool) -> Line<'static> {
        let mut spans = Vec::new();
        for (index, by) in By::all().enumerate() {
            let style = if by == screen.by() { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            spans.extend([Span::styled(format!("{}{}", index + 1, by.name()), style), Span::raw(" ")]);
        }
        spans.push(Span::raw(format!(" by {}", screen.order().name())));
        for (_, mark) in [(screen.is_paused(), "  PAUSED"), (ended, "  ENDED")].into_iter().filter(|(is, _)| *is) {
            spans.push(Span::styled(mark, self.bold()));
        }
        Line::from(spans)
    }

    fn losses(self, shown: &ShownBoard, around: &BoardFrame) -> Line<'static> {
        let connects = match (around.refused, around.timed_out) {
            (0, 0) => String::new(),
            (refused, late) => format!("connects: {} refused, {} timed out  ", thousands(refused), thousands(late)),
        };
        let rows = match shown.replaced {
            0 => String::new(),
            n => format!("rows taken over by other keys: {}  ", thousands(n)),
        };
        let lost = if around.losses.is_empty() {
            Span::raw("nothing lost")
        } else {
            let text = format!("LOST {}", around.losses.join("; "));
            Span::styled(printable_up_to(self.width * 2, &text), self.painted(Color::Red).add_modifier(Modifier::BOLD))
        };
        Line::from(vec![lost, Span::raw(format!("  {connects}{rows}"))])
    }

    fn keys(self, screen: &TopScreen) -> Line<'static> {
        if screen.writes || !screen.filter.is_empty() {
            let wrong = screen.wrong.as_ref().map(|why| format!("  {}", printable_up_to(self.width, why)));
            let cursor = if screen.writes { "_" } else { "" };
            return Line::from(vec![
                Span::styled(format!("/{}{cursor}", printable_up_to(self.width, &screen.filter)), self.bold()),
                Span::styled(wrong.unwrap_or_default(), self.painted(Color::Yellow)),
            ]);
        }
        let text = match screen.looks_into() {
            Some(_) => "q quit  Esc back  up/down record  Space pause",
            None => "q quit  1-7 table  s/S sort  / filter  Enter look inside  Space pause",
        };
        Line::from(Span::styled(text, Style::new().add_modifier(Modifier::DIM)))
    }
}

/// The columns of a table that have room, and what is left for the key.
fn columns(by: By, width: usize) -> (Vec<&'static BoardColumn>, usize) {
    let mut used = 0;
    let of_table = COLUMNS.iter().filter(|column| column.connects || by != By::Connect);
    let fitting = of_table.take_while(|column| {
        used += column.width + 1;
        used + LEAST_KEY <= width
    });
    let columns: Vec<_> = fitting.collect();
    let key = width.saturating_sub(columns.iter().map(|column| column.width + 1).sum());
    (columns, key)
}

fn table(frame: &mut Frame<'_>, area: Rect, pen: Pen, screen: &mut TopScreen, shown: &ShownBoard) {
    let (columns, key_width) = columns(screen.by(), usize::from(area.width));
    let head = columns.iter().fold(format!("{:key_width$}", screen.by().name().to_uppercase()), |line, column| {
        let mark = if column.order == Some(screen.order()) { "v" } else { "" };
        format!("{line} {:>width$}", format!("{}{mark}", column.head), width = column.width)
    });
    let mut lines = vec![Line::styled(head, pen.bold())];
    let height = usize::from(area.height).saturating_sub(1);
    screen.page = height.max(1);
    let selected = screen.row(shown);
    let first = (selected + 1).saturating_sub(height);
    if shown.rows.is_empty() {
        lines.push(Line::raw(if screen.by() == By::Connect { "no connect so far" } else { "no exchange so far" }));
    }
    for (index, row) in shown.rows.iter().enumerate().skip(first).take(height) {
        let mut style = if index == selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        if pen.colours && row.failed > 0 {
            style = style.fg(if row.failed * 20 > row.exchanges { Color::Red } else { Color::Yellow });
        }
        let key = fitting(&row.key, key_width);
        let cells = columns.iter().fold(format!("{key:key_width$}"), |line, column| {
            format!("{line} {:>width$}", (column.cell)(row), width = column.width)
        });
        lines.push(Line::styled(cells, style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn took(row: &ShownRow, index: usize) -> String {
    let nanos = row.percentiles.get(index).copied().flatten();
    nanos.map_or_else(|| "-".to_owned(), |nanos| ShownDuration(nanos).to_string())
}

fn short(rate: f64) -> String {
    if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

/// `1234`, `12.3k`, `4.5M`.
fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..10_000_000 => format!("{:.1}k", n as f64 / 1e3),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

fn share(n: u64, of: u64) -> String {
    if n == 0 { "0".to_owned() } else { format!("{:.1} %", n as f64 * 100.0 / of.max(1) as f64) }
}

fn spark(seconds: &[u32]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = seconds.iter().copied().max().unwrap_or(0).max(1);
    let bar = |n: u32| match n {
        0 => ' ',
        n => BARS.get((u64::from(n) * 7 / u64::from(most)) as usize).copied().unwrap_or('█'),
    };
    seconds.iter().map(|n| bar(*n)).collect()
}
