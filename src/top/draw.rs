//! The screen of `podtap top`: a heading, a table or the exchanges of a row, what was lost, the keys. Decides nothing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::board::{SPARK, ShownBoard, ShownRow};
use super::order::RowOrder;
use super::screen::TopScreen;
use crate::format::text::{ShownDuration, ShownSize};
use crate::record::{EventOutcome, Exchange};
use crate::settings::{printable_up_to, thousands};
use crate::tally::TallyKey;

/// Key column: at least this wide before another column is added.
const LEAST_KEY: usize = 24;
/// What is watched has so much room in the heading before the last numbers have, and at most so many characters.
const LEAST_SOURCE: usize = 4;
const MOST_SOURCE: usize = 300;
/// Lines of an exchange's parts.
const PARTS_HEIGHT: u16 = 7;
/// Characters of a bar.
const BAR: usize = 40;

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
}

/// What matters most first: so many of them are shown as have room.
const COLUMNS: [BoardColumn; 10] = [
    BoardColumn { head: "RATE/s", width: 7, cell: |row| short(row.rate), order: Some(RowOrder::Rate) },
    BoardColumn {
        head: "FAILED",
        width: 7,
        cell: |row| share(row.failed, row.exchanges),
        order: Some(RowOrder::Failed),
    },
    BoardColumn { head: "P50", width: 8, cell: |row| took(row, 0), order: Some(RowOrder::P50) },
    BoardColumn { head: "P95", width: 8, cell: |row| took(row, 1), order: Some(RowOrder::P95) },
    BoardColumn { head: "P99", width: 8, cell: |row| took(row, 2), order: Some(RowOrder::P99) },
    BoardColumn { head: "UNANSW", width: 6, cell: |row| count(row.unanswered), order: Some(RowOrder::Unanswered) },
    BoardColumn { head: "TOTAL", width: 7, cell: |row| count(row.exchanges), order: Some(RowOrder::Total) },
    BoardColumn { head: "BYTES", width: 7, cell: |row| ShownSize(row.bytes).to_string(), order: Some(RowOrder::Bytes) },
    BoardColumn { head: "DOUBTFUL", width: 8, cell: |row| count(row.doubtful), order: None },
    BoardColumn { head: "LAST SECONDS", width: SPARK, cell: |row| spark(&row.spark), order: None },
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut TopScreen, shown: &ShownBoard, around: &BoardFrame) {
    let areas =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)]);
    let [top, middle, lost, keys] = areas.areas(frame.area());
    let pen = CellPen { colours: around.colours, width: usize::from(frame.area().width) };
    frame.render_widget(Paragraph::new(vec![pen.heading(shown, around), pen.choices(screen, around.ended)]), top);
    if screen.looks_into().is_some() {
        look(frame, middle, pen, screen, shown);
    } else {
        table(frame, middle, pen, screen, shown);
    }
    frame.render_widget(Paragraph::new(pen.losses(shown, around)), lost);
    frame.render_widget(Paragraph::new(pen.keys(screen)), keys);
}

#[derive(Clone, Copy)]
struct CellPen {
    colours: bool,
    width: usize,
}

impl CellPen {
    fn painted(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

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
        for (index, key) in TallyKey::ALL.into_iter().enumerate() {
            let style = if key == screen.key() { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            spans.extend([Span::styled(format!("{}{}", index + 1, key.name()), style), Span::raw(" ")]);
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
            Some(_) => "q quit  Esc back  up/down exchange  Space pause",
            None => "q quit  1-6 key  s/S sort  / filter  Enter look inside  Space pause",
        };
        Line::from(Span::styled(text, Style::new().add_modifier(Modifier::DIM)))
    }
}

/// The columns that have room, and what is left for the key.
fn columns(width: usize) -> (&'static [BoardColumn], usize) {
    let mut used = 0;
    let fitting = COLUMNS.iter().take_while(|column| {
        used += column.width + 1;
        used + LEAST_KEY <= width
    });
    let n = fitting.count();
    let columns = COLUMNS.get(..n).unwrap_or_default();
    let key = width.saturating_sub(columns.iter().map(|column| column.width + 1).sum());
    (columns, key)
}

fn table(frame: &mut Frame<'_>, area: Rect, pen: CellPen, screen: &mut TopScreen, shown: &ShownBoard) {
    let (columns, key_width) = columns(usize::from(area.width));
    let head = columns.iter().fold(format!("{:key_width$}", screen.key().name().to_uppercase()), |line, column| {
        let mark = if column.order == Some(screen.order()) { "v" } else { "" };
        format!("{line} {:>width$}", format!("{}{mark}", column.head), width = column.width)
    });
    let mut lines = vec![Line::styled(head, pen.bold())];
    let height = usize::from(area.height).saturating_sub(1);
    screen.page = height.max(1);
    let selected = screen.row(shown);
    let first = (selected + 1).saturating_sub(height);
    if shown.rows.is_empty() {
        lines.push(Line::raw("no exchange so far"));
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

/// Cut in the middle, where it is too long.
fn fitting(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = text.chars().take(kept / 2);
    head.chain(['~']).chain(text.chars().skip(length - (kept - kept / 2))).collect()
}

fn look(frame: &mut Frame<'_>, area: Rect, pen: CellPen, screen: &mut TopScreen, shown: &ShownBoard) {
    let [list, parts] = Layout::vertical([Constraint::Min(2), Constraint::Length(PARTS_HEIGHT)]).areas(area);
    let title = fitting(screen.looks_into().unwrap_or_default(), usize::from(area.width));
    let mut lines = vec![Line::styled(title, pen.bold())];
    let height = usize::from(list.height).saturating_sub(1);
    screen.page = height.max(1);
    let selected = screen.exchange().min(shown.exchanges.len().saturating_sub(1));
    let first = (selected + 1).saturating_sub(height);
    if shown.exchanges.is_empty() {
        lines.push(Line::raw("none of its exchanges is remembered any more"));
    }
    for (index, exchange) in shown.exchanges.iter().enumerate().skip(first).take(height) {
        let mut style = if index == selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        if pen.colours && exchange.outcome() == EventOutcome::Failure {
            style = style.fg(Color::Red);
        }
        let text = line_of(exchange);
        lines.push(Line::styled(fitting(&text, usize::from(area.width)), style));
    }
    frame.render_widget(Paragraph::new(lines), list);
    if let Some(exchange) = shown.exchanges.get(selected) {
        frame.render_widget(Paragraph::new(waterfall(pen, exchange)), parts);
    }
}

fn line_of(exchange: &Exchange) -> String {
    let time = exchange.start().to_string();
    let time = time.get(11..23).unwrap_or_default();
    let took = exchange.took().map_or_else(|| "-".to_owned(), |nanos| ShownDuration(nanos).to_string());
    let request = exchange.request.as_ref().map_or_else(
        || "(request not seen)".to_owned(),
        |request| printable_up_to(400, &format!("{} {}", request.method, request.target)),
    );
    format!("{time} {:<9} {took:>8} {request}", TallyKey::Status.of(exchange))
}

/// The four parts below each other, each where it began.
fn waterfall(pen: CellPen, exchange: &Exchange) -> Vec<Line<'static>> {
    let timing = exchange.timing();
    let sent = exchange.request.as_ref().map(|request| request.last);
    let waited = exchange.gave_up.filter(|_| exchange.response.is_none()).zip(sent).map(|(at, sent)| at.since(sent));
    let parts = [
        ("connect", timing.connect, Color::Magenta),
        ("request", timing.request, Color::Blue),
        ("wait", timing.wait.or(waited), Color::Yellow),
        ("response", timing.response, Color::Green),
    ];
    let total = parts.iter().filter_map(|(_, nanos, _)| *nanos).sum::<u64>().max(1);
    let connection = &exchange.connection;
    let trust = exchange.trust.name();
    let ends = format!("{} -> {}  {trust}", connection.client, connection.server);
    let mut lines = vec![Line::raw(""), Line::styled(fitting(&ends, pen.width), pen.bold())];
    let mut begun = 0;
    for (name, nanos, colour) in parts {
        let at = |nanos: u64| (nanos as f64 / total as f64 * BAR as f64).round() as usize;
        let length = nanos.map_or(0, |nanos| at(begun + nanos).saturating_sub(at(begun)));
        let shown = nanos.map_or_else(|| "not seen".to_owned(), |nanos| ShownDuration(nanos).to_string());
        let bar = if nanos.is_some_and(|nanos| nanos > 0) { "█".repeat(length.max(1)) } else { String::new() };
        let space = " ".repeat(at(begun).min(BAR - 1));
        let rest = BAR.saturating_sub(space.len() + length.max(usize::from(!bar.is_empty())));
        lines.push(Line::from(vec![
            Span::raw(format!("{name:<9}{space}")),
            Span::styled(bar, pen.painted(colour)),
            Span::raw(format!("{} {shown:>9}", " ".repeat(rest))),
        ]));
        begun += nanos.unwrap_or(0);
    }
    lines
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
