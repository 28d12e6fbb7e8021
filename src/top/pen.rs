//! How text is drawn: colours where they are wanted, and cut where there is no room. Draws nothing itself.

use ratatui::style::{Color, Modifier, Style};

/// What the terminal shows.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    pub(super) colours: bool,
    pub(super) width: usize,
}

impl Pen {
    pub(super) fn painted(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// Cut in the middle, where it is too long.
pub(super) fn fitting(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = text.chars().take(kept / 2);
    head.chain(['~']).chain(text.chars().skip(length - (kept - kept / 2))).collect()
}
