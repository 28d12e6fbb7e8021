//! `podtap top`: traffic on a full screen, of a running podtap, live, or of captures. Owns the terminal and the loop around it; sends nothing
//! anywhere.
//!
//! A thread counts (`source`, `board`), this one draws four times a second. What is drawn is copied out under a short lock,
//! so drawing holds up no capture.

mod board;
mod draw;
mod inside;
mod order;
mod pen;
mod recent;
mod running;
mod screen;
mod source;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::board::{ShownBoard, TopBoard};
use self::screen::{Press, PressOutcome, TopScreen};
use self::source::TopSource;
use crate::assembly;
use crate::cli::{self, TopRequest};
use crate::config::{RunConfig, memory_limit};
use crate::filter::expression::FilterExpression;
use crate::settings::{MemoryBounds, SettingPairs};
use crate::source::privilege::{NeededRight, Privileges};
use crate::terminal;

/// From one picture to the next.
const EVERY: Duration = Duration::from_millis(250);

/// Runs `podtap top`. Call it before any thread starts: capabilities are dropped first.
pub fn top(request: &TopRequest, flags: &SettingPairs) -> ExitCode {
    Privileges::prepare(&[NeededRight::NetRaw]);
    let mut config = match assembly::load(flags) {
        Ok(config) => config,
        Err(wrong) => return cli::refuse(&wrong),
    };
    // Where it captures in a pod, it is a guest of the sidecar, which follows the same limit.
    config.bounds = MemoryBounds::of(&config.settings, memory_limit().map(|limit| limit / 4));
    if !io::stdout().is_terminal() || terminal::is_dumb() {
        cli::tell(
            "podtap: top needs a terminal that can show a full screen (TERM); `podtap status` and `podtap view` do not\n",
        );
        return ExitCode::from(cli::USAGE);
    }
    match run(request, &config) {
        Ok(closing) => {
            cli::tell(&closing);
            ExitCode::SUCCESS
        }
        Err(error) => {
            cli::tell(&format!("podtap: {error}\n"));
            ExitCode::from(cli::USAGE)
        }
    }
}

/// Gives the closing lines.
fn run(request: &TopRequest, config: &RunConfig) -> Result<String, Box<dyn std::error::Error>> {
    let settings = &config.settings;
    let slow_after = settings.slow_after.and_then(|millis| u64::try_from(millis.0.as_nanos()).ok());
    let board = Arc::new(Mutex::new(TopBoard::new(slow_after)));
    let stop = Arc::new(AtomicBool::new(false));
    cli::on_interrupt(Arc::clone(&stop))?;
    let source = TopSource::start(request, config, &board)?;
    let outcome = ratatui::try_init().and_then(|mut screen| {
        let outcome = shown_until_quit(&mut screen, &source, &board, &stop);
        if terminal::has_hung_up(io::stdout()) {
            // It would complain on a terminal that has gone.
            std::mem::forget(screen);
            return Ok(());
        }
        outcome
    });
    // A terminal that has gone needs no way back.
    let _ = ratatui::try_restore();
    let closing = source.finish();
    outcome?;
    Ok(closing)
}

fn shown_until_quit(
    terminal: &mut DefaultTerminal,
    source: &TopSource,
    board: &Mutex<TopBoard>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut screen = TopScreen::default();
    let colours = terminal::colours(true);
    while !stop.load(Ordering::Relaxed) && !terminal::has_hung_up(io::stdout()) {
        let around = source.around(colours);
        let shown = screen.drawn(shown_of(&lock(board), &screen));
        terminal.draw(|frame| draw::draw(frame, &mut screen, &shown, &around))?;
        let Some(press) = next_press(EVERY)? else { continue };
        match screen.press(press, &shown) {
            PressOutcome::Nothing => {}
            PressOutcome::Quit => break,
            PressOutcome::Filter(filter) => set_filter(board, filter),
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums and lists: a panic while holding it leaves nothing half done that matters.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the screen asks for.
fn shown_of(board: &TopBoard, screen: &TopScreen) -> ShownBoard {
    board.shown(screen.by(), screen.order(), screen.looks_into())
}

fn set_filter(board: &Mutex<TopBoard>, filter: Option<FilterExpression>) {
    lock(board).set_filter(filter);
}

/// The next press, or none after so long, when the window has another size, or when the terminal has gone. Waits itself: the
/// crate that reads keys would read for ever from a terminal that has gone.
fn next_press(within: Duration) -> io::Result<Option<Press>> {
    let until = now() + within;
    loop {
        terminal::await_input(io::stdout(), until.saturating_duration_since(now()));
        if terminal::has_hung_up(io::stdout()) {
            return Ok(None);
        }
        while event::poll(Duration::ZERO)? {
            let event = event::read()?;
            if matches!(event, Event::Resize(..)) {
                return Ok(None);
            }
            if let Event::Key(key) = event
                && key.kind != KeyEventKind::Release
                && let Some(press) = press(key)
            {
                return Ok(Some(press));
            }
        }
        if now() >= until {
            return Ok(None);
        }
    }
}

fn press(key: KeyEvent) -> Option<Press> {
    const NAMED: [(KeyCode, Press); 9] = [
        (KeyCode::Enter, Press::Enter),
        (KeyCode::Esc, Press::Escape),
        (KeyCode::Backspace, Press::Backspace),
        (KeyCode::Up, Press::Up),
        (KeyCode::Down, Press::Down),
        (KeyCode::PageUp, Press::PageUp),
        (KeyCode::PageDown, Press::PageDown),
        (KeyCode::Home, Press::First),
        (KeyCode::End, Press::Last),
    ];
    if let KeyCode::Char(character) = key.code {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        return match (control, character) {
            (true, 'c') => Some(Press::Interrupt),
            (true, _) => None,
            (false, character) => Some(Press::Char(character)),
        };
    }
    NAMED.into_iter().find(|(code, _)| *code == key.code).map(|(_, press)| press)
}

#[allow(clippy::disallowed_methods, reason = "pictures follow this machine's clock")]
fn now() -> Instant {
    Instant::now()
}
