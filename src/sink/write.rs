//! Bytes of a batch into something that can be written to, with exact knowledge of how far it came. Owns no file.

use std::io::{self, IoSlice, Write};

use super::batch::Batch;

/// Slices for one system call; the kernel's limit (IOV_MAX) is 1024.
const SLICES: usize = 256;

/// How far a write came.
#[derive(Debug)]
pub(super) struct WriteProgress {
    /// Bytes of the batch, what was skipped included.
    pub(super) bytes: usize,
    /// Why not all.
    pub(super) error: Option<io::Error>,
}

/// Writes the batch from its byte `skip` on, with as few system calls as the slices allow.
pub(super) fn write_batch(out: &mut impl Write, batch: &Batch, skip: usize) -> WriteProgress {
    let mut slices: Vec<IoSlice<'_>> = batch.slices().filter(|slice| !slice.is_empty()).collect();
    let mut rest = slices.as_mut_slice();
    let mut bytes = skip.min(batch.bytes());
    IoSlice::advance_slices(&mut rest, bytes);
    while !rest.is_empty() {
        match out.write_vectored(rest.get(..SLICES).unwrap_or(rest)) {
            Ok(0) => return WriteProgress { bytes, error: Some(io::ErrorKind::WriteZero.into()) },
            Ok(n) => {
                bytes += n;
                IoSlice::advance_slices(&mut rest, n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return WriteProgress { bytes, error: Some(error) },
        }
    }
    WriteProgress { bytes, error: None }
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::piece;
    use super::*;

    /// Takes at most three bytes a call, and stops after `room` in all.
    struct Stingy {
        got: Vec<u8>,
        room: usize,
    }

    impl Write for Stingy {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let n = buf.len().min(3).min(self.room - self.got.len());
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.got.extend_from_slice(&buf[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_writes_are_continued_and_a_failed_one_is_taken_up_where_it_stopped() {
        let mut batch = Batch::default();
        batch.push(piece(&["one\n", "two\n"]));
        batch.push(piece(&["", "three\n"]));
        for room in 0..=14 {
            let mut out = Stingy { got: Vec::new(), room };
            let first = write_batch(&mut out, &batch, 0);
            assert_eq!((first.bytes, first.error.is_none()), (room, room == 14));
            out.room = 14;
            let second = write_batch(&mut out, &batch, first.bytes);
            assert!(second.error.is_none() && second.bytes == 14);
            assert_eq!(out.got, b"one\ntwo\nthree\n", "room {room}");
        }
    }

    #[test]
    fn more_slices_than_a_system_call_takes_are_written_all() {
        let mut batch = Batch::default();
        (0..3000).for_each(|_| batch.push(piece(&["x\n"])));
        let mut out = Vec::new();
        assert_eq!(write_batch(&mut out, &batch, 0).bytes, 6000);
        assert_eq!(out.len(), 6000);
    }
}
