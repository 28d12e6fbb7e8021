//! The terminal: how wide it is, whether it shows colours, and the offset of local time.
//!
//! Draws nothing.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Widths that make no sense are those of terminals that do not know theirs.
const WIDTHS: std::ops::RangeInclusive<u16> = 20..=2000;

/// Columns of the terminal behind this descriptor, where it is one and says so.
pub fn width(fd: impl AsFd) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    #[allow(unsafe_code, reason = "std does not ask a terminal for its size")]
    // SAFETY: the kernel writes one `winsize` to where it is.
    let outcome = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (outcome == 0 && WIDTHS.contains(&size.ws_col)).then_some(usize::from(size.ws_col))
}

/// Whether the terminal behind this descriptor has gone away: who has closed it may have sent no signal, or one that is ignored.
pub fn has_hung_up(fd: impl AsFd) -> bool {
    poll(fd, 0, 0) & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
}

/// Waits until the terminal behind this descriptor has something to read or goes away, at most so long.
pub fn await_input(fd: impl AsFd, within: Duration) {
    poll(fd, libc::POLLIN, i32::try_from(within.as_millis()).unwrap_or(i32::MAX));
}

/// What a descriptor is ready for.
fn poll(fd: impl AsFd, events: i16, millis: i32) -> i16 {
    let mut asked = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
    #[allow(unsafe_code, reason = "std does not poll")]
    // SAFETY: the kernel reads and writes one `pollfd`.
    let ready = unsafe { libc::poll(&raw mut asked, 1, millis) };
    if ready > 0 { asked.revents } else { 0 }
}

/// Whether a terminal is to show colours: not where NO_COLOR is set to anything (no-color.org), nor where TERM is `dumb`.
pub fn colours(is_terminal: bool) -> bool {
    let variable = |name| std::env::var_os(name);
    is_terminal && allows_colours(variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
}

/// Whether the terminal can do nothing but show one line after the other.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn allows_colours(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

/// Seconds that local time is ahead of UTC now; 0 where the system does not say.
pub fn utc_offset() -> i32 {
    let now = jiff::Timestamp::now().as_second();
    #[allow(unsafe_code, reason = "std does not know the local time zone")]
    // SAFETY: `tm` is plain numbers and a pointer that is not used; localtime_r writes one of them to where it is.
    let local = unsafe {
        let mut tm = std::mem::zeroed::<libc::tm>();
        (!libc::localtime_r(&raw const now, &raw mut tm).is_null()).then_some(tm.tm_gmtoff)
    };
    local.and_then(|seconds| i32::try_from(seconds).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::FromRawFd;

    use super::*;

    #[test]
    fn a_terminal_that_was_closed_has_hung_up() {
        let (mut parent, mut inside, null) = (0, 0, std::ptr::null_mut());
        #[allow(unsafe_code, reason = "std has no pseudo-terminals")]
        // SAFETY: openpty writes two descriptors, which nothing else owns.
        let (parent, inside) = unsafe {
            assert_eq!(libc::openpty(&raw mut parent, &raw mut inside, null, null.cast(), null.cast()), 0);
            (File::from_raw_fd(parent), File::from_raw_fd(inside))
        };
        assert!(!has_hung_up(&inside));
        drop(parent);
        assert!(has_hung_up(&inside));
    }

    #[test]
    fn neither_no_color_nor_a_dumb_terminal_gets_colours() {
        for (no_color, term, colours) in [
            (None, None, true),
            (Some(""), Some("xterm"), true),
            (Some("1"), Some("xterm"), false),
            (Some("0"), None, false),
            (None, Some("dumb"), false),
            (None, Some("vt100"), true),
        ] {
            assert_eq!(
                allows_colours(no_color.map(OsStr::new), term.map(OsStr::new)),
                colours,
                "{no_color:?} {term:?}"
            );
        }
    }

    #[test]
    fn what_is_no_terminal_has_no_width() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(width(&reader), None);
    }
}
