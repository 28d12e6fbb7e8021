//! What the user of `podtap top` has chosen: the table, the order, the filter, the row that is looked into. Knows no terminal:
//! presses of keys come in as plain values.

use compact_str::CompactString;

use super::board::ShownBoard;
use super::order::{By, RowOrder};
use crate::filter::expression::FilterExpression;
use crate::tally::TallyKey;

/// Longer filters are no filters.
const LONGEST_FILTER: usize = 1000;

/// A key of the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    /// Ctrl-C.
    Interrupt,
}

/// What follows from a press.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PressOutcome {
    Nothing,
    Quit,
    /// The board is to count only this.
    Filter(Option<FilterExpression>),
}

/// The choices.
#[derive(Debug)]
pub(super) struct TopScreen {
    by: By,
    order: RowOrder,
    /// The key of the selected row: it stays selected when the order changes.
    selected: Option<CompactString>,
    looks: Option<RowLook>,
    /// The text of the filter, and whether it is being written.
    pub(super) filter: String,
    pub(super) writes: bool,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
    frozen: Option<ShownBoard>,
    /// Lines for rows, as of the last time it was drawn.
    pub(super) page: usize,
}

/// A row that is looked into, and which of its records.
#[derive(Debug)]
struct RowLook {
    key: CompactString,
    record: usize,
}

impl Default for TopScreen {
    fn default() -> Self {
        Self {
            by: By::Key(TallyKey::Route),
            order: RowOrder::Rate,
            selected: None,
            looks: None,
            filter: String::new(),
            writes: false,
            wrong: None,
            frozen: None,
            page: 10,
        }
    }
}

impl TopScreen {
    pub(super) fn by(&self) -> By {
        self.by
    }

    pub(super) fn order(&self) -> RowOrder {
        self.order
    }

    /// The row whose records are shown.
    pub(super) fn looks_into(&self) -> Option<&str> {
        self.looks.as_ref().map(|look| look.key.as_str())
    }

    /// Which of the records is selected.
    pub(super) fn record(&self) -> usize {
        self.looks.as_ref().map_or(0, |look| look.record)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// What is drawn: what there is now, or was when it was paused.
    pub(super) fn drawn(&self, now: ShownBoard) -> ShownBoard {
        self.frozen.clone().unwrap_or(now)
    }

    /// Index of the selected row.
    pub(super) fn row(&self, shown: &ShownBoard) -> usize {
        let selected = self.selected.as_deref();
        shown.rows.iter().position(|row| Some(row.key.as_str()) == selected).unwrap_or(0)
    }

    /// Acts on a press; `shown` is what the user sees.
    pub(super) fn press(&mut self, press: Press, shown: &ShownBoard) -> PressOutcome {
        if press == Press::Interrupt {
            return PressOutcome::Quit;
        }
        if self.writes {
            return self.write(press);
        }
        match press {
            Press::Char('q') => return PressOutcome::Quit,
            Press::Char('/') => self.writes = true,
            Press::Char(' ') => self.frozen = if self.frozen.is_some() { None } else { Some(shown.clone()) },
            Press::Char('s') => self.sort(1),
            Press::Char('S') => self.sort(RowOrder::BACK),
            Press::Char(digit @ '1'..='7') => self.choose(digit),
            Press::Escape | Press::Backspace if self.looks.is_some() => self.looks = None,
            Press::Escape if !self.filter.is_empty() => {
                self.filter.clear();
                self.wrong = None;
                return PressOutcome::Filter(None);
            }
            Press::Enter if self.looks.is_none() => {
                let key = shown.rows.get(self.row(shown)).map(|row| row.key.clone());
                self.looks = key.map(|key| RowLook { key, record: 0 });
                // A paused picture has no records of the row.
                self.frozen = None;
            }
            Press::Up => self.go(shown, -1),
            Press::Down => self.go(shown, 1),
            Press::PageUp => self.go(shown, -(self.page as isize)),
            Press::PageDown => self.go(shown, self.page as isize),
            Press::First => self.go(shown, isize::MIN / 2),
            Press::Last => self.go(shown, isize::MAX / 2),
            Press::Char(_) | Press::Enter | Press::Escape | Press::Backspace | Press::Interrupt => {}
        }
        PressOutcome::Nothing
    }

    fn sort(&mut self, step: usize) {
        self.order = self.order.next(step);
        self.frozen = None;
    }

    fn choose(&mut self, digit: char) {
        let index = digit.to_digit(10).map_or(0, |digit| digit.saturating_sub(1) as usize);
        if let Some(by) = By::all().nth(index) {
            (self.by, self.selected, self.looks, self.frozen) = (by, None, None, None);
        }
    }

    fn go(&mut self, shown: &ShownBoard, by: isize) {
        let moved = |from: usize, of: usize| from.saturating_add_signed(by).min(of.saturating_sub(1));
        match &mut self.looks {
            Some(look) => look.record = moved(look.record, shown.records.len()),
            None => {
                let index = moved(self.row(shown), shown.rows.len());
                self.selected = shown.rows.get(index).map(|row| row.key.clone());
            }
        }
    }

    /// The filter changes with each character that makes it a whole expression.
    fn write(&mut self, press: Press) -> PressOutcome {
        match press {
            Press::Char(character) if self.filter.len() < LONGEST_FILTER => self.filter.push(character),
            Press::Backspace => _ = self.filter.pop(),
            Press::Enter => {
                self.writes = false;
                return PressOutcome::Nothing;
            }
            Press::Escape => {
                self.writes = false;
                self.filter.clear();
            }
            Press::Char(_)
            | Press::Up
            | Press::Down
            | Press::PageUp
            | Press::PageDown
            | Press::First
            | Press::Last
            | Press::Interrupt => return PressOutcome::Nothing,
        }
        self.frozen = None;
        if self.filter.trim().is_empty() {
            self.wrong = None;
            return PressOutcome::Filter(None);
        }
        match FilterExpression::parse(&self.filter) {
            Ok(filter) => {
                self.wrong = None;
                PressOutcome::Filter(Some(filter))
            }
            Err(why) => {
                self.wrong = Some(why.to_string());
                PressOutcome::Nothing
            }
        }
    }
}
