//! podtap in a pseudo-terminal: keys in, a screen out. Checks nothing itself.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use crate::binary::podtap;

const PATIENCE: Duration = Duration::from_secs(60);

/// podtap in a terminal, and what that shows.
pub(crate) struct InTerminal {
    pub(crate) child: Child,
    pub(crate) keyboard: Option<File>,
    output: Receiver<Vec<u8>>,
    pub(crate) shown: vt100::Parser,
}

fn window(columns: u16, lines: u16) -> libc::winsize {
    libc::winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl InTerminal {
    pub(crate) fn start(arguments: &[&str], env: &[(&str, &str)], columns: u16, lines: u16) -> Self {
        let (mut parent, mut inside) = (0, 0);
        let mut size = window(columns, lines);
        let null = std::ptr::null_mut();
        #[allow(unsafe_code, reason = "std has no pseudo-terminals")]
        // SAFETY: openpty writes two descriptors, which nothing else owns, and reads one `winsize`.
        let (parent, inside) = unsafe {
            assert_eq!(libc::openpty(&raw mut parent, &raw mut inside, null, null.cast(), &raw mut size), 0);
            (File::from_raw_fd(parent), OwnedFd::from_raw_fd(inside))
        };
        // A copy that no child inherits: it would keep the terminal from going away with the test.
        let parent = {
            let copy = parent.try_clone().unwrap();
            drop(parent);
            copy
        };
        let mut command = podtap(arguments, &[&[("TERM", "xterm-256color")], env].concat());
        command.stdin(inside.try_clone().unwrap()).stdout(inside).stderr(Stdio::piped());
        #[allow(unsafe_code, reason = "the child needs the pseudo-terminal as its own")]
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                // The program that runs the tests may ignore hangups.
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // Its copies of the descriptors stay open as long as the command.
        drop(command);
        let (sender, output) = sync_channel(1000);
        let mut screen = parent.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut block) {
                if sender.send(block[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard: Some(parent), output, shown: vt100::Parser::new(lines, columns, 0) }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, columns: u16, lines: u16) {
        let size = window(columns, lines);
        self.shown.screen_mut().set_size(lines, columns);
        #[allow(unsafe_code, reason = "std has no pseudo-terminals")]
        // SAFETY: the kernel reads one `winsize`.
        let set =
            unsafe { libc::ioctl(self.keyboard.as_ref().unwrap().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(set, 0);
    }

    /// Waits until all of this is shown at once.
    #[cfg(feature = "top")]
    pub(crate) fn shows(&mut self, parts: &[&str]) -> String {
        loop {
            let contents = self.shown.screen().contents();
            if parts.iter().all(|part| contents.contains(part)) {
                return contents;
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.shown.process(&bytes),
                Err(error) => panic!("{error}: no {parts:?} in\n{contents}"),
            }
        }
    }

    /// Waits until this number of lines is shown, other than what the keyboard echoes.
    pub(crate) fn shows_lines(&mut self, lines: usize) -> String {
        loop {
            let contents = self.shown.screen().contents();
            if contents.lines().filter(|line| !line.is_empty()).count() >= lines {
                return contents;
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.shown.process(&bytes),
                Err(error) => panic!("{error}: not {lines} lines in\n{contents}"),
            }
        }
    }

    /// Exit code and standard error; what was still shown is processed.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = self.child.wait().unwrap().code();
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.shown.process(&bytes);
        }
        (code, said)
    }
}

impl Drop for InTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
