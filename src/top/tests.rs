//! Screens of `podtap top` as a terminal shows them, at several sizes, and their numbers a second way.

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};

use super::board::{ShownBoard, TopBoard};
use super::draw::{BoardFrame, draw};
use super::screen::{Press, PressOutcome, TopScreen};
use super::shown_of;
use crate::demo::rendered;
use crate::dissect::{Dissector, DissectorConfig};
use crate::flow::Timestamp;
use crate::record::sample::{START, connect, exchange, record};
use crate::record::{ConnectResult, EventOutcome, Exchange, Record, UnansweredReason};
use crate::redact::Redactor;
use crate::tally::TallyKey;
use crate::tcp::CloseReason;

fn around() -> BoardFrame {
    BoardFrame { source: "eth0".to_owned(), refused: 2, timed_out: 1, ..BoardFrame::default() }
}

/// What a terminal of this size shows, and the bytes it got.
fn terminal(
    screen: &mut TopScreen,
    shown: &ShownBoard,
    around: &BoardFrame,
    columns: u16,
    lines: u16,
) -> (vt100::Parser, Vec<u8>) {
    let mut bytes = Vec::new();
    let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, columns, lines)) };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(&mut bytes), options).unwrap();
    terminal.draw(|frame| draw(frame, screen, shown, around)).unwrap();
    drop(terminal);
    let mut parser = vt100::Parser::new(lines, columns, 0);
    parser.process(&bytes);
    (parser, bytes)
}

fn text(board: &TopBoard, screen: &mut TopScreen, columns: u16, lines: u16) -> String {
    let shown = screen.drawn(shown_of(board, screen));
    let (parser, _) = terminal(screen, &shown, &around(), columns, lines);
    parser.screen().rows(0, columns).map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn ending(second: u64, took_ms: u64, route: &str, status: Option<u16>) -> Exchange {
    let mut one = exchange();
    let first = START.plus(second * 1_000_000_000);
    let request = one.request.as_mut().unwrap();
    (request.first, request.last, request.target) = (first, first.plus(1_000_000), route.into());
    one.route = Some(route.into());
    match status {
        Some(status) => {
            let response = one.response.as_mut().unwrap();
            response.status = Some(status);
            (response.first, response.last) = (first.plus(took_ms * 500_000), first.plus(took_ms * 1_000_000));
        }
        None => {
            (one.response, one.unanswered) = (None, Some(UnansweredReason::Timeout));
            one.gave_up = Some(first.plus(took_ms * 1_000_000));
        }
    }
    one
}

/// Ten seconds: a good route, a failing one, one that never answers.
fn board() -> TopBoard {
    let mut board = TopBoard::new(None);
    for second in 0..10 {
        for n in 0..=second {
            board.add(&record(ending(second, 20 + n, "/cart", Some(200))));
        }
        board.add(&record(ending(second, 200, "/orders/{id}", Some(if second % 2 == 0 { 500 } else { 200 }))));
    }
    board.add(&record(ending(9, 300, "/hang", None)));
    board.tick(START.plus(10_000_000_000).0);
    board
}

#[test]
fn at_80_columns_the_numbers_that_matter_most_are_shown() {
    let expected = "\
podtap top eth0 12:00:10Z  6.6/s  66 seen, 6 failed  p50 23.1 ms  p99 200.0 ms
1route 2peer 3host 4status 5client 6connection 7connect  by rate
ROUTE                          RATE/sv  FAILED      P50      P95      P99 UNANSW
GET /cart                          5.5       0  23.1 ms  28.0 ms  29.0 ms      0
GET /orders/{id}                   1.0  50.0 % 200.0 ms 200.0 ms 200.0 ms      0
GET /hang                          0.1 100.0 %        -        -        -      1





nothing lost  connects: 2 refused, 1 timed out
q quit  1-7 table  s/S sort  / filter  Enter look inside  Space pause
";
    let found = text(&board(), &mut TopScreen::default(), 80, 13);
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn a_wide_terminal_has_more_columns_and_a_narrow_one_keeps_the_key() {
    let wide = text(&board(), &mut TopScreen::default(), 140, 24);
    for head in ["UNANSW", "TOTAL", "BYTES", "DOUBTFUL", "LAST SECONDS"] {
        assert!(wide.contains(head), "{head} in {wide}");
    }
    assert!(wide.lines().nth(3).unwrap().ends_with("▁▂▃▃▄▅▅▆▇█"), "{wide}");
    let narrow = text(&board(), &mut TopScreen::default(), 30, 8);
    assert!(narrow.contains("GET /orders/{id}") && narrow.lines().count() == 8, "{narrow}");
    // So small that nothing makes sense, but nothing breaks.
    text(&board(), &mut TopScreen::default(), 1, 1);
}

#[test]
fn what_is_lost_is_always_in_view() {
    let (mut screen, board) = (TopScreen::default(), board());
    let around = BoardFrame { losses: vec!["12 packets: the capture buffer was full".to_owned()], ..around() };
    for presses in [&[][..], &[Press::Enter], &[Press::Escape, Press::Char('/'), Press::Char('x')]] {
        for press in presses {
            screen.press(*press, &shown_of(&board, &screen));
        }
        let shown = shown_of(&board, &screen);
        let (parser, _) = terminal(&mut screen, &shown, &around, 80, 24);
        let line = parser.screen().rows(0, 80).nth(22).unwrap();
        assert!(line.starts_with("LOST 12 packets: the capture buffer was full"), "{line}");
    }
}

#[test]
fn without_colours_none_is_sent_and_with_them_a_failing_row_is_red() {
    let board = board();
    for colours in [false, true] {
        let around = BoardFrame { colours, ..around() };
        let mut screen = TopScreen::default();
        let shown = shown_of(&board, &screen);
        let (parser, bytes) = terminal(&mut screen, &shown, &around, 80, 24);
        let coloured = (0..80)
            .any(|column| parser.screen().cell(4, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default));
        assert_eq!(coloured, colours, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn nothing_of_the_network_moves_the_cursor() {
    let mut board = TopBoard::new(None);
    let mut evil = ending(0, 5, "/\u{1b}[2J\u{1b}]0;x\u{7}\u{202e}é", Some(500));
    let request = evil.request.as_mut().unwrap();
    (request.method, request.host) = ("\u{1b}[31m".into(), Some("\u{9b}1J".into()));
    board.add(&record(evil));
    for presses in [&[][..], &[Press::Enter], &[Press::Char('3')]] {
        let mut screen = TopScreen::default();
        presses.iter().for_each(|press| _ = screen.press(*press, &shown_of(&board, &screen)));
        let shown = shown_of(&board, &screen);
        let (parser, bytes) = terminal(&mut screen, &shown, &around(), 100, 24);
        assert!(parser.screen().contents().contains("podtap top"));
        let bytes = String::from_utf8(bytes).unwrap();
        for bad in ["\u{1b}[2J", "\u{1b}]0", "\u{7}", "\u{202e}", "\u{9b}", "\u{1b}[31m"] {
            assert!(!bytes.contains(bad), "{bad:?}");
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_records() {
    let mut dissector = Dissector::new(DissectorConfig::default(), Redactor::default());
    for frame in rendered(Timestamp(1_772_366_400_000_000_000)) {
        dissector.handle_frame(&frame.as_frame(), |_| false);
    }
    dissector.finish(CloseReason::EndOfCapture);
    let records: Vec<Record> = dissector.records().drain(..).collect();
    let mut board = TopBoard::new(None);
    records.iter().for_each(|record| board.add(record));
    let exchanges: Vec<_> = records.iter().filter_map(Record::exchange).collect();
    for (index, key) in TallyKey::ALL.into_iter().enumerate() {
        let mut screen = TopScreen::default();
        screen.press(Press::Char(char::from_digit(index as u32 + 1, 10).unwrap()), &shown_of(&board, &screen));
        let shown = shown_of(&board, &screen);
        assert_eq!(shown.rows.iter().map(|row| row.exchanges).sum::<u64>(), exchanges.len() as u64);
        for row in &shown.rows {
            let of: Vec<_> = exchanges.iter().filter(|exchange| key.of(exchange) == row.key).collect();
            let failed = of.iter().filter(|exchange| exchange.outcome() == EventOutcome::Failure).count() as u64;
            let unanswered = of.iter().filter(|exchange| exchange.unanswered.is_some()).count() as u64;
            assert_eq!(
                (row.exchanges, row.failed, row.unanswered),
                (of.len() as u64, failed, unanswered),
                "{}",
                row.key
            );
            let mut took: Vec<_> = of
                .iter()
                .filter(|exchange| exchange.class == crate::record::StreamClass::Exchange)
                .filter_map(|exchange| exchange.timing().total)
                .collect();
            took.sort_unstable();
            for (percent, found) in [50usize, 95, 99].into_iter().zip(row.percentiles) {
                let exact = took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).copied();
                let near = exact.zip(found).is_none_or(|(exact, found)| exact <= found && found - exact <= exact / 50);
                assert!(near && exact.is_some() == found.is_some(), "{percent} {exact:?} {found:?}");
            }
        }
    }
}

#[test]
fn a_filter_counts_what_it_holds_for_while_it_is_written() {
    let (mut screen, mut board) = (TopScreen::default(), board());
    screen.press(Press::Char('/'), &shown_of(&board, &screen));
    for character in "status>=500".chars() {
        let shown = shown_of(&board, &screen);
        if let PressOutcome::Filter(filter) = screen.press(Press::Char(character), &shown) {
            board.set_filter(filter);
        }
    }
    let shown = shown_of(&board, &screen);
    assert_eq!((shown.all.exchanges, shown.rows.len()), (5, 1));
    board.add(&record(ending(9, 5, "/cart", Some(200))));
    assert_eq!(shown_of(&board, &screen).all.exchanges, 5);
    screen.press(Press::Char('x'), &shown);
    let found = text(&board, &mut screen, 100, 24);
    assert!(found.contains("/status>=500x_") && found.contains("character "), "{found}");
    assert_eq!(screen.press(Press::Escape, &shown), PressOutcome::Filter(None));
    board.set_filter(None);
    assert_eq!(shown_of(&board, &screen).all.exchanges, 67);
}

#[test]
fn a_row_is_looked_into_down_to_the_parts_of_an_exchange() {
    let (mut screen, board) = (TopScreen::default(), board());
    for press in [Press::Down, Press::Enter, Press::Down] {
        screen.press(press, &shown_of(&board, &screen));
    }
    let found = text(&board, &mut screen, 80, 16);
    let lines: Vec<_> = found.lines().collect();
    assert_eq!(lines[2], "GET /orders/{id}", "{found}");
    assert!(lines[3].starts_with("12:00:09.000 200       200.0 ms GET /orders/{id}"), "{found}");
    for part in ["10.1.2.3:51234 -> 10.1.9.9:8080  complete", "request", "   99.0 ms", "  100.0 ms"] {
        assert!(found.contains(part), "{part} in {found}");
    }
    screen.press(Press::Escape, &shown_of(&board, &screen));
    assert_eq!(screen.looks_into(), None);
}

#[test]
fn connects_have_a_table_with_who_asked_for_what_and_can_be_filtered() {
    let (mut screen, mut board) = (TopScreen::default(), board());
    let mut one = connect();
    board.add(&one.clone().into());
    (one.result, one.errno) = (ConnectResult::Refused, Some("ECONNREFUSED".into()));
    board.add(&one.clone().into());
    (one.result, one.process, one.end) = (ConnectResult::TimedOut, None, Some(START.plus(5_000_000_000)));
    board.add(&one.into());
    assert_eq!(shown_of(&board, &screen).all.exchanges, 66, "they are no exchanges");
    screen.press(Press::Char('7'), &shown_of(&board, &screen));
    let found = text(&board, &mut screen, 80, 12);
    assert!(found.lines().nth(2).unwrap().starts_with("CONNECT  ") && found.contains("7connect"), "{found}");
    assert_eq!(shown_of(&board, &screen).rows.len(), 3);
    assert!(found.contains("\n10.61.1.2 -> 10.96.61.10:80 timed_out") && !found.contains("UNANSW"), "{found}");
    assert!(found.contains(" refused ") && found.contains("210 us"), "{found}");
    board.set_filter(Some(crate::filter::expression::FilterExpression::parse("state=refused").unwrap()));
    let shown = shown_of(&board, &screen);
    assert_eq!((shown.rows.len(), &*shown.rows[0].key), (1, "curl -> 10.96.61.10:80 refused"));
    screen.press(Press::Enter, &shown);
    let inside = text(&board, &mut screen, 80, 16);
    for part in [
        "refused       210 us 10.61.1.2 -> 10.96.61.10:80",
        "process   4711 curl http://web/ (user 1000)",
        "error     ECONNREFUSED",
    ] {
        assert!(inside.contains(part), "{part} in {inside}");
    }
}

#[test]
fn paused_it_keeps_its_picture_and_the_board_counts_on() {
    let (mut screen, mut board) = (TopScreen::default(), board());
    screen.press(Press::Char(' '), &shown_of(&board, &screen));
    board.add(&record(ending(9, 5, "/cart", Some(200))));
    assert_eq!(screen.drawn(shown_of(&board, &screen)).all.exchanges, 66);
    assert!(text(&board, &mut screen, 80, 24).contains("PAUSED"));
    screen.press(Press::Char(' '), &shown_of(&board, &screen));
    assert_eq!(screen.drawn(shown_of(&board, &screen)).all.exchanges, 67);
}

#[test]
fn a_selected_row_stays_selected_when_the_order_changes_and_moves_stay_inside() {
    let (mut screen, board) = (TopScreen::default(), board());
    let selected = |screen: &TopScreen| {
        let shown = shown_of(&board, screen);
        shown.rows[screen.row(&shown)].key.to_string()
    };
    screen.press(Press::Down, &shown_of(&board, &screen));
    assert_eq!(selected(&screen), "GET /orders/{id}");
    for _ in 0..8 {
        screen.press(Press::Char('s'), &shown_of(&board, &screen));
        assert_eq!(selected(&screen), "GET /orders/{id}");
    }
    for (press, expected) in [
        (Press::Last, "GET /hang"),
        (Press::PageDown, "GET /hang"),
        (Press::First, "GET /cart"),
        (Press::Up, "GET /cart"),
    ] {
        screen.press(press, &shown_of(&board, &screen));
        assert_eq!(selected(&screen), expected, "{press:?}");
    }
    screen.press(Press::Char('S'), &shown_of(&board, &screen));
    screen.press(Press::Char('S'), &shown_of(&board, &screen));
    assert_eq!(screen.order().name(), "p99");
    for press in [Press::Char('q'), Press::Interrupt] {
        assert_eq!(screen.press(press, &shown_of(&board, &screen)), PressOutcome::Quit);
    }
}
