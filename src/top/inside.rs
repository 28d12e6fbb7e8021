//! A row from inside: its records one by one, and of the selected one what took how long, or who asked. Chooses nothing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::board::ShownBoard;
use super::pen::{Pen, fitting};
use super::screen::TopScreen;
use crate::filter::expression::is_of_kind;
use crate::format::text::ShownDuration;
use crate::record::{ConnectRecord, Exchange, Record};
use crate::settings::{OnlyKind, printable_up_to};
use crate::tally::TallyKey;

/// Lines of the selected one's parts.
const PARTS_HEIGHT: u16 = 7;
/// Characters of a bar.
const BAR: usize = 40;
/// Characters of a text of the network that are looked at.
const LONGEST_TEXT: usize = 400;

/// Draws the records of a row, and the parts of the selected one.
pub(super) fn look(frame: &mut Frame<'_>, area: Rect, pen: Pen, screen: &mut TopScreen, shown: &ShownBoard) {
    let [list, parts] = Layout::vertical([Constraint::Min(2), Constraint::Length(PARTS_HEIGHT)]).areas(area);
    let title = fitting(screen.looks_into().unwrap_or_default(), usize::from(area.width));
    let mut lines = vec![Line::styled(title, pen.bold())];
    let height = usize::from(list.height).saturating_sub(1);
    screen.page = height.max(1);
    let selected = screen.record().min(shown.records.len().saturating_sub(1));
    let first = (selected + 1).saturating_sub(height);
    if shown.records.is_empty() {
        lines.push(Line::raw("its records are no longer in memory"));
    }
    for (index, record) in shown.records.iter().enumerate().skip(first).take(height) {
        let mut style = if index == selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        if pen.colours && is_of_kind(record, OnlyKind::Failed, None) {
            style = style.fg(Color::Red);
        }
        let text = line_of(record);
        lines.push(Line::styled(fitting(&text, usize::from(area.width)), style));
    }
    frame.render_widget(Paragraph::new(lines), list);
    let record = shown.records.get(selected);
    let lines = if let Some(Record::Http(exchange)) = record {
        waterfall(pen, exchange)
    } else if let Some(Record::Connect(connect)) = record {
        who_asked(pen, connect)
    } else {
        return;
    };
    frame.render_widget(Paragraph::new(lines), parts);
}

fn line_of(record: &Record) -> String {
    if let Record::Http(exchange) = record {
        line_of_exchange(exchange)
    } else if let Record::Connect(connect) = record {
        line_of_connect(connect)
    } else {
        String::new()
    }
}

fn line_of_connect(connect: &ConnectRecord) -> String {
    let time = connect.start.to_string();
    let time = time.get(11..23).unwrap_or_default();
    let took = connect.end.map_or_else(|| "-".to_owned(), |end| ShownDuration(end.since(connect.start)).to_string());
    let from = connect.source.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
    format!("{time} {:<11} {took:>8} {from} -> {}", connect.result.name(), connect.destination)
}

/// The process, where it is known, and what the kernel or the packets said.
fn who_asked(pen: Pen, connect: &ConnectRecord) -> Vec<Line<'static>> {
    let row = |name: &str, text: String| {
        let text = fitting(&printable_up_to(LONGEST_TEXT, &text), pen.width.saturating_sub(10));
        Line::raw(format!("{name:<9} {text}"))
    };
    let ends = line_of_connect(connect);
    let mut lines = vec![Line::raw(""), Line::styled(fitting(&ends, pen.width), pen.bold())];
    if let Some(process) = &connect.process {
        let user = process.user_name.as_deref().map_or_else(|| process.user.to_string(), str::to_owned);
        lines.push(row("process", format!("{} {} (user {user})", process.pid, process.args.join(" "))));
        if let Some(container) = &process.container {
            lines.push(row("container", container.name.as_ref().unwrap_or(&container.id).to_string()));
        }
    } else {
        lines.push(row("seen by", connect.seen_by.name().to_owned()));
    }
    lines.extend(connect.errno.as_ref().map(|errno| row("error", errno.to_string())));
    lines.extend(connect.tries.map(|tries| row("tries", tries.to_string())));
    lines
}

fn line_of_exchange(exchange: &Exchange) -> String {
    let time = exchange.start().to_string();
    let time = time.get(11..23).unwrap_or_default();
    let took = exchange.took().map_or_else(|| "-".to_owned(), |nanos| ShownDuration(nanos).to_string());
    let request = exchange.request.as_ref().map_or_else(
        || "(request not seen)".to_owned(),
        |request| printable_up_to(LONGEST_TEXT, &format!("{} {}", request.method, request.target)),
    );
    format!("{time} {:<9} {took:>8} {request}", TallyKey::Status.of(exchange))
}

/// The four parts below each other, each where it began.
fn waterfall(pen: Pen, exchange: &Exchange) -> Vec<Line<'static>> {
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
