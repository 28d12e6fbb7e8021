//! Records of a podtap that runs: read from its socket on a thread, and asked for again when it ends. Trusts no byte of what it
//! reads, and captures nothing.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{lock, now};
use crate::filter::Wanted;
use crate::filter::expression::RecordSurroundings;
use crate::format::ecs::read_json;
use crate::metrics::StatusReport;
use crate::metrics::live::{Notice, NoticeLine, address};
use crate::record::Record;
use crate::settings::{counted, printable_up_to};

/// No line of podtap's is longer.
const LONGEST_LINE: u64 = 1 << 20;
/// How long a read waits before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);
/// It says something every second: after so long it has gone, or hangs.
const SILENCE: Duration = Duration::from_secs(5);
/// Before it is asked for again.
const PAUSE: Duration = Duration::from_millis(500);
/// What is shown of its texts.
const LONGEST_TEXT: usize = 300;
/// How a line begins that is no record.
const NOTICE: &[u8] = b"{\"watch\":";

/// The thread, and what it has read besides records.
pub(super) struct Running {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

/// What is known of the one that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) status: StatusReport,
    /// Records that were shown, and those that did not fit through the socket, over all connections.
    shown: u64,
    missed: u64,
    /// Of this connection alone.
    missed_now: u64,
    /// Why it is not being watched.
    gone: Option<String>,
}

/// Why a running podtap cannot be watched.
#[derive(Debug)]
pub(super) enum NotWatched {
    /// Nothing has the socket.
    NoneRuns(String),
    /// It said no, or nothing that makes sense.
    Refused(String),
}

impl Running {
    /// Connects to the podtap with this port for its metrics; what is wanted of its records goes to the closure.
    pub(super) fn start(
        port: u16,
        wanted: Wanted,
        take: impl Fn(&Record) + Send + 'static,
    ) -> Result<Self, NotWatched> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut lines, first) = begin(port, &stop)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        lock(&seen).notice(first);
        let thread = {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            let watch = move || {
                while !stop.load(Ordering::Relaxed) {
                    let why = follow(&mut lines, &wanted, &take, &seen);
                    lock(&seen).leave(why);
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(PAUSE);
                        match begin(port, &stop) {
                            Ok((again, first)) => {
                                lines = again;
                                lock(&seen).notice(first);
                                break;
                            }
                            Err(NotWatched::NoneRuns(why) | NotWatched::Refused(why)) => lock(&seen).gone = Some(why),
                        }
                    }
                }
            };
            std::thread::Builder::new().name("watch".to_owned()).spawn(watch)
        };
        let thread = thread.map_err(|error| NotWatched::Refused(error.to_string()))?;
        Ok(Self { thread, stop, seen })
    }

    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Ends it; what came of it, in a line.
    pub(super) fn finish(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        // A panic was reported by its hook.
        let _ = self.thread.join();
        let seen = lock(&self.seen);
        let shown = counted(seen.shown, "records");
        format!("{shown} of the running podtap shown, {} missed; it goes on.\n", seen.missed)
    }
}

impl Seen {
    fn notice(&mut self, notice: Notice) {
        self.missed += notice.missed.saturating_sub(self.missed_now);
        (self.missed_now, self.status, self.gone) = (notice.missed, notice.status, None);
    }

    fn leave(&mut self, why: String) {
        (self.missed_now, self.gone) = (0, Some(why));
    }

    /// What is not on the screen, a sentence each.
    pub(super) fn losses(&self) -> Vec<String> {
        let gone = self.gone.as_ref().map(|why| format!("{why}: trying again"));
        let missed = (self.missed > 0).then(|| {
            format!("{} too many for the way to this screen: sums are too low", counted(self.missed, "records"))
        });
        let lost = self.status.lost.iter().map(|text| printable_up_to(LONGEST_TEXT, text));
        gone.into_iter().chain(missed).chain(lost).collect()
    }
}

/// Lines, one at a time.
struct Lines {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Lines {
    /// The next line without its end.
    fn next(&mut self) -> io::Result<&[u8]> {
        self.line.clear();
        let until: Instant = now() + SILENCE;
        loop {
            let room = LONGEST_LINE.saturating_sub(self.line.len() as u64);
            match self.reader.by_ref().take(room).read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    self.line.pop();
                    return Ok(&self.line);
                }
                Ok(_) if self.line.len() as u64 >= LONGEST_LINE => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
                }
                Ok(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended")),
                Err(error) if is_early(&error) && now() < until && !self.stop.load(Ordering::Relaxed) => {}
                Err(error) if is_early(&error) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_early(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut, io::ErrorKind::Interrupted].contains(&error.kind())
}

/// A connection, and the first notice.
fn begin(port: u16, stop: &Arc<AtomicBool>) -> Result<(Lines, Notice), NotWatched> {
    let none = |why: io::Error| NotWatched::NoneRuns(format!("no podtap with metrics port {port} runs here ({why})"));
    let stream = address(port).and_then(|address| UnixStream::connect_addr(&address)).map_err(none)?;
    stream.set_read_timeout(Some(LOOK)).map_err(none)?;
    let mut lines = Lines { reader: BufReader::new(stream), line: Vec::new(), stop: Arc::clone(stop) };
    let odd =
        |why: String| NotWatched::Refused(format!("the podtap with metrics port {port} cannot be watched: {why}"));
    let first = lines.next().map_err(|why| odd(why.to_string()))?;
    let line: NoticeLine =
        serde_json::from_slice(first).map_err(|_| odd("its version is not that of this podtap".to_owned()))?;
    match line.watch.refused {
        Some(refused) => Err(odd(printable_up_to(LONGEST_TEXT, &refused))),
        None => Ok((lines, line.watch)),
    }
}

/// Until it ends: why.
fn follow(lines: &mut Lines, wanted: &Wanted, take: &impl Fn(&Record), seen: &Mutex<Seen>) -> String {
    loop {
        let line = match lines.next() {
            Ok(line) => line,
            Err(why) => return format!("the running podtap is not being watched ({why})"),
        };
        if line.starts_with(NOTICE) {
            match serde_json::from_slice::<NoticeLine>(line) {
                Ok(line) => lock(seen).notice(line.watch),
                Err(_) => return "what the running podtap says is not of this version".to_owned(),
            }
        } else if let Ok(read) = read_json(line) {
            let (pod, namespace, node) = (read.pod.as_deref(), read.namespace.as_deref(), read.node.as_deref());
            lock(seen).shown += 1;
            if wanted.holds(&read.record, RecordSurroundings { pod, namespace, node, slow_after: None }) {
                take(&read.record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::format::Observer;
    use crate::format::ecs::write_json;
    use crate::record::sample::{connect, exchange, record};

    fn lines(text: &[u8]) -> Lines {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let text = text.to_vec();
        std::thread::spawn(move || {
            // A reader that has seen enough leaves.
            let _ = writer.write_all(&text);
        });
        Lines { reader: BufReader::new(reader), line: Vec::new(), stop: Arc::default() }
    }

    fn notice(missed: u64, lost: &[&str]) -> Vec<u8> {
        let status =
            StatusReport { lost: lost.iter().map(|text| (*text).to_owned()).collect(), ..StatusReport::default() };
        let mut line = serde_json::to_vec(&NoticeLine { watch: Notice { refused: None, missed, status } }).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn records_go_on_and_notices_say_what_was_missed_over_all_connections() {
        let mut text = notice(0, &[]);
        for record in [record(exchange()), connect().into()] {
            write_json(&mut text, &record, &Observer::default());
        }
        text.extend(notice(3, &["1 packet\u{1b}[2J"]));
        text.extend(b"{\"new\":1}\nnonsense\n");
        let (taken, seen) = (Mutex::new(Vec::new()), Mutex::default());
        let take = |record: &Record| lock(&taken).push(record.dataset().name());
        for _ in 0..2 {
            let why = follow(&mut lines(&text), &Wanted::default(), &take, &seen);
            assert_eq!(why, "the running podtap is not being watched (it has ended)");
            lock(&seen).leave(why);
        }
        assert_eq!(*lock(&taken), ["podtap.http", "podtap.connect", "podtap.http", "podtap.connect"]);
        let seen = lock(&seen).clone();
        assert_eq!((seen.shown, seen.missed), (4, 6));
        let losses = seen.losses();
        assert_eq!(losses.len(), 3);
        assert!(losses[0].ends_with(": trying again") && losses[1].starts_with("6 records too many"), "{losses:?}");
        assert_eq!(losses[2], "1 packet\\u{1b}[2J");
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_its_limit() {
        let mut endless = lines(&vec![b'x'; 2 * LONGEST_LINE as usize]);
        assert_eq!(endless.next().unwrap_err().to_string(), "a line is too long");
        assert!(endless.line.capacity() <= 2 * LONGEST_LINE as usize);
    }

    #[test]
    fn what_is_not_wanted_is_not_taken() {
        let mut text = Vec::new();
        write_json(&mut text, &record(exchange()), &Observer::default());
        let only = vec![crate::settings::OnlyKind::Failed];
        let wanted = Wanted { only, ..Wanted::default() };
        let seen = Mutex::default();
        follow(&mut lines(&text), &wanted, &|_| panic!("it did not fail"), &seen);
        assert_eq!(lock(&seen).shown, 1);
    }
}
