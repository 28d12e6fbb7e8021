//! The bytes of a file, seen through one buffer that is reused.
//!
//! It reads, unpacks gzip, and counts; it knows no capture format.

use std::io::{Chain, Cursor, Error, ErrorKind, Read};

use flate2::read::MultiGzDecoder;

use super::CaptureFileError;

/// Fits the second-level cache; a read costs little against it.
const BUFFER: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

pub(super) struct FileWindow<R: Read> {
    input: FileInput<R>,
    buffer: Vec<u8>,
    /// Invariant: `start <= end <= buffer.len()`; between them lies what was read and not consumed.
    start: usize,
    end: usize,
    /// Where in the unpacked file `start` is.
    offset: u64,
    ended: bool,
    /// The packed stream broke off.
    torn: bool,
}

enum FileInput<R: Read> {
    Plain(CountedReader<R>),
    Gzip(Box<MultiGzDecoder<UnreadFile<R>>>),
}

/// What was read to look at it, and the rest.
type UnreadFile<R> = Chain<Cursor<Vec<u8>>, CountedReader<R>>;

struct CountedReader<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

impl<R: Read> FileWindow<R> {
    /// Looks at the first bytes to see whether they are packed.
    pub(super) fn open(read: R) -> Result<Self, CaptureFileError> {
        let input = FileInput::Plain(CountedReader { inner: read, bytes: 0 });
        let mut window =
            Self { input, buffer: vec![0; BUFFER], start: 0, end: 0, offset: 0, ended: false, torn: false };
        if !window.fill(GZIP.len())? || window.bytes().first_chunk() != Some(&GZIP) {
            return Ok(window);
        }
        let head = window.bytes().to_vec();
        if let FileInput::Plain(rest) = window.input {
            let unread = Cursor::new(head).chain(rest);
            window.input = FileInput::Gzip(Box::new(MultiGzDecoder::new(unread)));
        }
        Ok(Self { start: 0, end: 0, ended: false, ..window })
    }

    /// What was read and not consumed.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The first `N` of them, once filled.
    #[inline]
    pub(super) fn first<const N: usize>(&self) -> Option<&[u8; N]> {
        self.bytes().first_chunk()
    }

    /// Where in the unpacked file they are.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Sees to it that `n` bytes are there; false when the file ends before. The buffer grows with what is read, not
    /// with what a length field claims.
    #[inline]
    pub(super) fn fill(&mut self, n: usize) -> Result<bool, CaptureFileError> {
        if self.end - self.start >= n { Ok(true) } else { self.refill(n) }
    }

    #[cold]
    fn refill(&mut self, n: usize) -> Result<bool, CaptureFileError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < n && !self.ended {
            if self.end == self.buffer.len() {
                let longer = self.buffer.len().saturating_mul(2).max(BUFFER);
                self.buffer.resize(longer, 0);
            }
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.input.read(free) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => (self.ended, self.torn) = (true, true),
                Err(e) => return Err(self.io(e)),
            }
        }
        Ok(self.end >= n)
    }

    /// Goes on behind the next `n` bytes, which must be there. They stay readable by [`consumed`](Self::consumed) until
    /// the next fill.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.start);
        self.start += n;
        self.offset += n as u64;
    }

    /// `len` bytes that end `back` bytes before where we are.
    #[inline]
    pub(super) fn consumed(&self, back: usize, len: usize) -> &[u8] {
        let to = self.start.saturating_sub(back);
        self.buffer.get(to.saturating_sub(len)..to).unwrap_or_default()
    }

    /// Goes on behind the next `n` bytes, wherever they are; false when the file ends before.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<bool, CaptureFileError> {
        loop {
            let here = usize::try_from(n).unwrap_or(usize::MAX).min(self.end - self.start);
            self.consume(here);
            n -= here as u64;
            if n == 0 {
                return Ok(true);
            }
            if !self.fill(1)? {
                return Ok(false);
            }
        }
    }

    /// The end of the file, where a record or block should begin: whether it is a clean one.
    pub(super) fn at_end(&self) -> Result<(), CaptureFileError> {
        if self.bytes().is_empty() && !self.torn { Ok(()) } else { Err(self.cut(self.offset)) }
    }

    /// What begins at `offset` is not whole.
    pub(super) fn cut(&self, offset: u64) -> CaptureFileError {
        CaptureFileError::Cut { frames: 0, offset }
    }

    /// Bytes taken from the file, packed as they are.
    pub(super) fn bytes_read(&self) -> u64 {
        match &self.input {
            FileInput::Plain(read) => read.bytes,
            FileInput::Gzip(read) => read.get_ref().get_ref().1.bytes,
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    fn io(&self, source: Error) -> CaptureFileError {
        let offset = self.offset + (self.end - self.start) as u64;
        CaptureFileError::Io { frames: 0, offset, source }
    }
}

impl<R: Read> Read for FileInput<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(read) => read.read(buf),
            Self::Gzip(read) => read.read(buf),
        }
    }
}
