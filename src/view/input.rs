//! Blocks of whole lines from a file or a pipe, unpacked, and followed if asked. Knows no record.

use std::fs::File;
use std::io::{self, Chain, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use crate::cli::CaptureInput;

/// Read at once.
const BLOCK: usize = 256 << 10;
/// Longer lines are no records of podtap: what is behind the limit is left out.
const LONGEST_LINE: usize = 4 << 20;
/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An input, block by block.
pub(super) struct BlockReader {
    source: Box<dyn Read>,
    /// It is unpacked.
    packed: bool,
    /// The file that is followed.
    followed: Option<Followed>,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    ended: bool,
}

struct Followed {
    path: PathBuf,
    inode: u64,
    read: u64,
}

type UnreadInput<R> = Chain<Cursor<Vec<u8>>, R>;

impl BlockReader {
    pub(super) fn open(input: &CaptureInput, follow: bool) -> io::Result<Self> {
        let ((packed, source), followed) = match input {
            CaptureInput::Stdin => (unpacked(io::stdin())?, None),
            CaptureInput::File(path) if follow => {
                let file = File::open(path)?;
                let inode = file.metadata()?.ino();
                let source: Box<dyn Read> = Box::new(file);
                ((false, source), Some(Followed { path: path.clone(), inode, read: 0 }))
            }
            CaptureInput::File(path) => (unpacked(File::open(path)?)?, None),
        };
        Ok(Self { source, packed, followed, rest: Vec::new(), ended: false })
    }

    #[cfg(test)]
    fn over(source: impl Read + 'static) -> io::Result<Self> {
        let (packed, source) = unpacked(source)?;
        Ok(Self { source, packed, followed: None, rest: Vec::new(), ended: false })
    }

    /// The next whole lines, as soon as there are some; at the end also a line without its end.
    pub(super) fn next_block(&mut self, stop: &AtomicBool) -> io::Result<Option<Vec<u8>>> {
        while !self.ended && !stop.load(Ordering::Relaxed) {
            let mut block = std::mem::take(&mut self.rest);
            let kept = block.len();
            block.resize(kept + BLOCK, 0);
            let read = match self.source.read(block.get_mut(kept..).unwrap_or_default()) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if self.packed && is_cut(&error) => {
                    let why = "the gzip data is cut short or damaged; what came before is shown";
                    return Err(io::Error::new(error.kind(), why));
                }
                Err(error) => return Err(error),
            };
            block.truncate(kept + read);
            if read == 0 {
                self.rest = block;
                match self.followed.as_mut() {
                    Some(followed) => {
                        if let Some(file) = followed.wait()? {
                            self.source = Box::new(file);
                        }
                    }
                    None => self.ended = true,
                }
                continue;
            }
            if let Some(followed) = &mut self.followed {
                followed.read += read as u64;
            }
            let new = block.get(kept..).unwrap_or_default();
            match memchr::memrchr(b'\n', new) {
                Some(end) => {
                    self.rest = block.split_off(kept + end + 1);
                    return Ok(Some(block));
                }
                // It goes on; of a line without end only the beginning is kept.
                None if block.len() > LONGEST_LINE => block.truncate(LONGEST_LINE),
                None => {}
            }
            self.rest = block;
        }
        let rest = std::mem::take(&mut self.rest);
        Ok((!rest.is_empty()).then_some(rest))
    }
}

impl Followed {
    /// Waits a little; the new file, where another one has taken its place or it was emptied.
    fn wait(&mut self) -> io::Result<Option<File>> {
        std::thread::sleep(LOOK);
        let Ok(now) = std::fs::metadata(&self.path) else { return Ok(None) };
        if now.ino() == self.inode && now.len() >= self.read {
            return Ok(None);
        }
        (self.inode, self.read) = (now.ino(), 0);
        reopened(&self.path).map(Some)
    }
}

fn reopened(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// What the unpacker says of data that ends too early, or makes no sense.
fn is_cut(error: &io::Error) -> bool {
    [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData].contains(&error.kind())
}

/// Unpacks gzip, which is known by its first bytes; whether it was needed.
fn unpacked(mut source: impl Read + 'static) -> io::Result<(bool, Box<dyn Read>)> {
    let mut head = vec![0; GZIP.len()];
    let mut known = 0;
    while known < head.len() {
        match source.read(head.get_mut(known..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => known += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(known);
    let packed = head == GZIP;
    let whole: UnreadInput<_> = Cursor::new(head).chain(source);
    Ok((packed, if packed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn blocks(mut reader: BlockReader) -> Vec<Vec<u8>> {
        let stop = AtomicBool::new(false);
        std::iter::from_fn(|| reader.next_block(&stop).unwrap()).collect()
    }

    /// Gives this many bytes at once.
    struct Slowly(Cursor<Vec<u8>>, usize);

    impl Read for Slowly {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn lines_stay_whole_however_they_arrive_and_the_last_may_lack_its_end() {
        let text: Vec<u8> = (0..2000).flat_map(|n| format!("line {n}\n").into_bytes()).chain(*b"end").collect();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&text).unwrap();
        let packed = packed.finish().unwrap();
        for at_once in [1, 7, 100_000] {
            for bytes in [&text, &packed] {
                let blocks = blocks(BlockReader::over(Slowly(Cursor::new(bytes.clone()), at_once)).unwrap());
                assert_eq!(blocks.concat(), text);
                let (last, others) = blocks.split_last().unwrap();
                assert!(others.iter().all(|block| block.ends_with(b"\n")) && last == b"end", "{at_once}");
            }
        }
        assert!(blocks(BlockReader::over(io::empty()).unwrap()).is_empty());
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_its_limit() {
        let endless = io::repeat(b'x').take(20 << 20).chain(&b"\nnext\n"[..]);
        let blocks = blocks(BlockReader::over(endless).unwrap());
        assert!(blocks.iter().all(|block| block.len() <= LONGEST_LINE + 2 * BLOCK));
        assert!(blocks.concat().ends_with(b"x\nnext\n"));
    }

    #[test]
    fn a_torn_archive_is_an_error() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"line\n").unwrap();
        let packed = packed.finish().unwrap();
        let mut reader = BlockReader::over(Cursor::new(packed[..packed.len() - 5].to_vec())).unwrap();
        let stop = AtomicBool::new(false);
        let outcome: Result<Vec<_>, _> = std::iter::from_fn(|| reader.next_block(&stop).transpose()).collect();
        assert!(outcome.is_err());
    }
}
