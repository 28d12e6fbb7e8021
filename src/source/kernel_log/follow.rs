//! A log file that others write, move away and shorten. Waits for it, reads it to its end, goes on with what takes its place,
//! and remembers where it was.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

use super::{AT_ONCE, LineCutter, StopSignal, Timestamp, VerdictEngine, VerdictInput, wall_clock};
use crate::source::now;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the position is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// What a moved file may be called, next to its own name: as logrotate does it.
const MOVED: [&str; 2] = [".1", ".0"];

/// This many bytes before the place where reading goes on must be what they were. Another file may have the same number, and a
/// file that was shortened may have grown again.
const COMPARED: u64 = 64;

/// How to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowOptions {
    /// VERDICT_FILE.
    pub path: PathBuf,
    /// VERDICT_POSITION.
    pub position: Option<PathBuf>,
}

/// Which file, and how far it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogPosition {
    device: u64,
    inode: u64,
    offset: u64,
    /// Of the bytes before it.
    check: u64,
}

impl LogPosition {
    fn of(file: &File, offset: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let before = before(file, offset)?;
        let digest: [u8; 20] = Sha1::digest(before).into();
        let check = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Ok(Self { device: metadata.dev(), inode: metadata.ino(), offset, check })
    }

    /// Whether reading can go on there in this file.
    fn is_in(self, file: &File) -> bool {
        Self::of(file, self.offset).is_ok_and(|found| found == self)
    }

    fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { device: next()?, inode: next()?, offset: next()?, check: next()? })
    }

    /// Whole at any time: another file takes its place.
    fn write(self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        writeln!(file, "{} {} {} {}", self.device, self.inode, self.offset, self.check)?;
        std::fs::rename(beside, path)
    }
}

/// Some bytes before a place; an error where the file is shorter.
fn before(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let length = offset.min(COMPARED);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, offset - length)?;
    Ok(bytes)
}

struct OpenLog {
    file: File,
    offset: u64,
    lines: LineCutter,
    /// The last bytes that were read.
    last: Vec<u8>,
}

impl OpenLog {
    fn new(mut file: File, offset: u64) -> io::Result<Self> {
        let (offset, last) = before(&file, offset).map_or((0, Vec::new()), |last| (offset, last));
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file, offset, lines: LineCutter::default(), last })
    }

    fn is(&self, file: &Metadata) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (file.dev(), file.ino()))
    }

    /// Whether the file still holds what was read of it.
    fn is_whole(&self) -> bool {
        before(&self.file, self.offset).is_ok_and(|bytes| bytes == self.last)
    }

    /// It was shortened: from the beginning.
    fn again(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        (self.offset, self.lines) = (0, LineCutter::default());
        self.last.clear();
        Ok(())
    }

    /// Reads some; whether there was anything.
    fn read(&mut self, room: &mut [u8], verdicts: &mut VerdictEngine) -> io::Result<bool> {
        let read = self.file.read(room)?;
        self.offset += read as u64;
        self.last.extend_from_slice(room.get(..read).unwrap_or_default());
        let old = self.last.len().saturating_sub(COMPARED as usize);
        self.last.drain(..old);
        let line = |line: &[u8]| verdicts.handle_line(line, VerdictInput::File, wall_clock(), None);
        self.lines.take(room.get(..read).unwrap_or_default(), line);
        Ok(read > 0)
    }

    /// Where reading goes on after a restart: at the beginning of a line.
    fn line_begins(&self) -> u64 {
        self.offset.saturating_sub(self.lines.waiting() as u64)
    }
}

struct LogFollower<'a> {
    options: &'a FollowOptions,
    open: Option<OpenLog>,
    room: Vec<u8>,
    written: (Option<LogPosition>, Instant),
    /// The file was not there when it was looked for last.
    waits: bool,
}

pub(super) fn run(
    options: &FollowOptions,
    stop: &StopSignal,
    verdicts: &mut VerdictEngine,
    step: &mut impl FnMut(&mut VerdictEngine, Timestamp),
) -> io::Result<()> {
    let mut follower =
        LogFollower { options, open: None, room: vec![0; AT_ONCE], written: (None, now()), waits: false };
    follower.begin(verdicts)?;
    loop {
        let stopped = stop.wait(None, LOOK_EVERY).stopped;
        while follower.read(verdicts)? {
            step(verdicts, wall_clock());
        }
        follower.look(verdicts)?;
        let now = wall_clock();
        verdicts.handle_timeout(now);
        step(verdicts, now);
        follower.write(stopped);
        if stopped {
            return Ok(());
        }
    }
}

impl LogFollower<'_> {
    /// Goes on where it was. Without a memory it begins with what comes from now on, with an empty one at the beginning.
    fn begin(&mut self, verdicts: &mut VerdictEngine) -> io::Result<()> {
        let path = &self.options.path;
        let known = self.options.position.as_deref().map(LogPosition::read);
        if let Some(Some(position)) = known {
            self.rest_of_moved(position, verdicts)?;
        }
        let Some(file) = self.opened()? else { return Ok(()) };
        let metadata = file.metadata()?;
        let offset = match known {
            Some(Some(position)) if position.is_in(&file) => position.offset,
            Some(_) => 0,
            None => metadata.len(),
        };
        tracing::info!("reading the kernel log {} from byte {offset} on", path.display());
        self.open = Some(OpenLog::new(file, offset)?);
        Ok(())
    }

    /// The file was moved away while no one read: what was still to be read of it.
    fn rest_of_moved(&mut self, position: LogPosition, verdicts: &mut VerdictEngine) -> io::Result<()> {
        for ending in MOVED {
            let mut name = self.options.path.clone().into_os_string();
            name.push(ending);
            let Ok(file) = File::open(name) else { continue };
            if !position.is_in(&file) {
                continue;
            }
            let mut rest = OpenLog::new(file, position.offset)?;
            while rest.read(&mut self.room, verdicts)? {}
            rest.lines.finish(|line| verdicts.handle_line(line, VerdictInput::File, wall_clock(), None));
            verdicts.ledger_mut().rotations += 1;
        }
        Ok(())
    }

    fn opened(&mut self) -> io::Result<Option<File>> {
        match File::open(&self.options.path) {
            Ok(file) => {
                self.waits = false;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !std::mem::replace(&mut self.waits, true) {
                    tracing::warn!("{} is not there; waiting for it", self.options.path.display());
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, verdicts: &mut VerdictEngine) -> io::Result<bool> {
        self.open.as_mut().map_or(Ok(false), |open| open.read(&mut self.room, verdicts))
    }

    /// Whether the path leads to another file now, or to one that was shortened.
    fn look(&mut self, verdicts: &mut VerdictEngine) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            // What appears after a wait is read from its beginning.
            self.open = self.opened()?.map(|file| OpenLog::new(file, 0)).transpose()?;
            return Ok(());
        };
        let there = std::fs::metadata(&self.options.path);
        match there {
            Ok(there) if open.is(&there) => {
                if !open.is_whole() {
                    verdicts.ledger_mut().rotations += 1;
                    open.again()?;
                }
                return Ok(());
            }
            Ok(_) => {}
            // Moved, and nothing in its place yet: its writer may still write into it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let Some(next) = self.opened()? else { return Ok(()) };
        // Its last lines may have come since it was read.
        while self.read(verdicts)? {}
        if let Some(old) = &mut self.open {
            old.lines.finish(|line| verdicts.handle_line(line, VerdictInput::File, wall_clock(), None));
        }
        verdicts.ledger_mut().rotations += 1;
        self.open = Some(OpenLog::new(next, 0)?);
        Ok(())
    }

    fn write(&mut self, at_once: bool) {
        let (Some(path), Some(open)) = (&self.options.position, &self.open) else { return };
        if !(at_once || self.written.1.elapsed() >= WRITE_EVERY) {
            return;
        }
        let position = LogPosition::of(&open.file, open.line_begins());
        if position.as_ref().ok() == self.written.0.as_ref() {
            return;
        }
        self.written = (position.as_ref().ok().copied(), now());
        if let Err(error) = position.and_then(|position| position.write(path)) {
            tracing::warn!(%error, "VERDICT_POSITION {} cannot be written", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::source::live::stop_pair;
    use crate::verdict::{PrefixPatterns, VerdictConfig};

    const LINE: &str = "DENY_x IN=a OUT=b SRC=10.0.0.1 DST=10.0.0.2 LEN=37 PROTO=UDP SPT=1 DPT=";

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("podtap-follow-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn append(&self, name: &str, ports: &[u16]) {
            let mut file = File::options().create(true).append(true).open(self.0.join(name)).unwrap();
            ports.iter().for_each(|port| writeln!(file, "{LINE}{port} LEN=17").unwrap());
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn verdicts() -> VerdictEngine {
        VerdictEngine::new(VerdictConfig {
            prefixes: PrefixPatterns::new(&["DENY_*=denied".to_owned()]).unwrap(),
            container_interfaces: Vec::new(),
            repeats: None,
            patience: None,
            observer_id: String::new(),
            filter: Default::default(),
        })
    }

    fn ports(verdicts: &mut VerdictEngine) -> Vec<u16> {
        let port = |record| {
            if let Record::Verdict(packet) = record { Some(packet.packet.destination.port) } else { None }
        };
        verdicts.records().drain(..).filter_map(port).collect()
    }

    /// Step by step, without a thread.
    fn follower(options: &FollowOptions) -> LogFollower<'_> {
        LogFollower { options, open: None, room: vec![0; 64], written: (None, now()), waits: false }
    }

    fn all(follower: &mut LogFollower<'_>, verdicts: &mut VerdictEngine) -> Vec<u16> {
        while follower.read(verdicts).unwrap() {}
        follower.look(verdicts).unwrap();
        while follower.read(verdicts).unwrap() {}
        ports(verdicts)
    }

    #[test]
    fn a_file_that_is_moved_shortened_or_absent_is_read_on_and_no_line_twice() {
        let folder = Folder::new("moved");
        let options = FollowOptions { path: folder.0.join("log"), position: Some(folder.0.join("position")) };
        let (mut verdicts, mut it) = (verdicts(), follower(&options));
        it.begin(&mut verdicts).unwrap();
        assert_eq!(all(&mut it, &mut verdicts), [0u16; 0]);
        folder.append("log", &[1, 2]);
        assert_eq!(all(&mut it, &mut verdicts), [1, 2]);
        std::fs::rename(&options.path, folder.0.join("log.1")).unwrap();
        folder.append("log.1", &[3]);
        assert_eq!(all(&mut it, &mut verdicts), [3], "its writer has not noticed");
        folder.append("log.1", &[4]);
        folder.append("log", &[5]);
        assert_eq!(all(&mut it, &mut verdicts), [4, 5]);
        std::fs::write(&options.path, "").unwrap();
        assert_eq!(all(&mut it, &mut verdicts), [0u16; 0]);
        folder.append("log", &[6]);
        assert_eq!(all(&mut it, &mut verdicts), [6]);
        assert_eq!(verdicts.ledger().rotations, 2);
    }

    #[test]
    fn reading_goes_on_where_it_was_also_when_the_file_was_moved_meanwhile() {
        let folder = Folder::new("position");
        let options = FollowOptions { path: folder.0.join("log"), position: Some(folder.0.join("position")) };
        folder.append("log", &[1]);
        let mut verdicts = verdicts();
        let run = |verdicts: &mut VerdictEngine| {
            let mut it = follower(&options);
            it.begin(verdicts).unwrap();
            while it.read(verdicts).unwrap() {}
            it.write(true);
            ports(verdicts)
        };
        assert_eq!(run(&mut verdicts), [1], "an empty memory: from the beginning");
        assert_eq!(run(&mut verdicts), [0u16; 0]);
        let mut half = File::options().append(true).open(&options.path).unwrap();
        half.write_all(&LINE.as_bytes()[..20]).unwrap();
        assert_eq!(run(&mut verdicts), [0u16; 0]);
        half.write_all(&LINE.as_bytes()[20..]).unwrap();
        half.write_all(b"2 LEN=17\n").unwrap();
        assert_eq!(run(&mut verdicts), [2], "half a line is read again");
        folder.append("log", &[3]);
        std::fs::rename(&options.path, folder.0.join("log.1")).unwrap();
        folder.append("log", &[4]);
        assert_eq!(run(&mut verdicts), [3, 4]);
    }

    /// As `cp log log.1; : > log` does it between two looks, with much written soon after.
    #[test]
    fn a_file_that_was_shortened_and_has_grown_again_is_read_from_its_beginning() {
        let folder = Folder::new("grown");
        let options = FollowOptions { path: folder.0.join("log"), position: None };
        folder.append("log", &[]);
        let (mut verdicts, mut it) = (verdicts(), follower(&options));
        it.begin(&mut verdicts).unwrap();
        folder.append("log", &[1, 2]);
        assert_eq!(all(&mut it, &mut verdicts), [1, 2]);
        std::fs::write(&options.path, "").unwrap();
        folder.append("log", &[3, 4, 5, 6]);
        it.look(&mut verdicts).unwrap();
        assert_eq!(all(&mut it, &mut verdicts), [3, 4, 5, 6]);
        assert_eq!(verdicts.ledger().rotations, 1);
    }

    /// File systems give the number of a removed file to the next one.
    #[test]
    fn another_file_with_the_same_number_is_read_from_its_beginning() {
        let folder = Folder::new("number");
        let options = FollowOptions { path: folder.0.join("log"), position: Some(folder.0.join("position")) };
        folder.append("log", &[1, 2]);
        let old = LogPosition::of(&File::open(&options.path).unwrap(), 90).unwrap();
        let mut verdicts = verdicts();
        old.write(&folder.0.join("position")).unwrap();
        // The same file with other bytes before that place.
        std::fs::write(&options.path, "").unwrap();
        folder.append("log", &[7777, 8888]);
        let mut it = follower(&options);
        it.begin(&mut verdicts).unwrap();
        assert_eq!(all(&mut it, &mut verdicts), [7777, 8888]);
    }

    #[test]
    fn without_a_memory_only_what_comes_is_read_and_a_run_ends_when_it_is_stopped() {
        let folder = Folder::new("end");
        let options = FollowOptions { path: folder.0.join("log"), position: None };
        folder.append("log", &[1]);
        let mut verdicts = verdicts();
        let mut it = follower(&options);
        it.begin(&mut verdicts).unwrap();
        folder.append("log", &[2]);
        assert_eq!(all(&mut it, &mut verdicts), [2]);
        let (sender, stop) = stop_pair().unwrap();
        drop(sender);
        run(&options, &stop, &mut verdicts, &mut |_, _| {}).unwrap();
    }
}
