//! The stdout sink. Owns how a pipe ends; it does not shape lines, and caps none (the encoder's job).
//!
//! Written is delivered: what a reader does with the bytes in the pipe cannot be known. A reader that leaves
//! (`| head`) is no error: the sink ends quietly, and what was not written yet counts as dropped.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use super::write::{WriteProgress, write_batch};
use super::{Batch, Delivery, DeliveryError, Sink, SinkError};

/// How long to wait for a pipe that somebody else made non-blocking.
const NON_BLOCKING_WAIT: Duration = Duration::from_millis(2);

/// Whole lines into a pipe, a terminal or whatever stdout is.
#[derive(Debug)]
pub struct StdoutSink<W = File> {
    out: W,
    /// Bytes of the next batch that are out already: a line cut by a failed write is continued, not begun again.
    ahead: usize,
}

impl StdoutSink {
    /// The process's own stdout, without the standard library's line buffer.
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl<W: Write> StdoutSink<W> {
    /// Anything else that takes whole lines.
    pub fn over(out: W) -> Self {
        Self { out, ahead: 0 }
    }
}

impl<W: Write + Send + 'static> Sink for StdoutSink<W> {
    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let WriteProgress { mut bytes, mut error } = write_batch(&mut self.out, batch, self.ahead);
        while error.as_ref().is_some_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.ahead = bytes;
            tokio::time::sleep(NON_BLOCKING_WAIT).await;
            WriteProgress { bytes, error } = write_batch(&mut self.out, batch, bytes);
        }
        self.ahead = 0;
        let Some(error) = error else { return Ok(Delivery::default()) };
        let whole = batch.fitting(bytes);
        if error.kind() == ErrorKind::BrokenPipe {
            return Err(SinkError::Gone { delivered: whole, why: None });
        }
        // A terminal that was closed (EIO), a descriptor that is none (EBADF): neither comes back.
        if matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADF)) {
            return Err(SinkError::Gone { delivered: whole, why: Some(error.to_string()) });
        }
        self.ahead = bytes - batch.range(0, whole).bytes();
        match whole {
            0 => Err(SinkError::Transient(local(error))),
            _ => Ok(Delivery {
                retry: (whole..batch.records()).collect(),
                cause: Some(local(error)),
                ..Delivery::default()
            }),
        }
    }
}

fn local(error: std::io::Error) -> DeliveryError {
    let message = error.to_string();
    DeliveryError::local(error, message)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::batch::tests::{batch, piece};
    use super::super::{SinkOptions, Sinks, WhenFull, spawn};
    use super::*;

    /// Yields what the script says, then takes everything.
    struct Scripted {
        got: Vec<u8>,
        script: Vec<Result<usize, ErrorKind>>,
    }

    impl Write for Scripted {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let step = if self.script.is_empty() { Ok(buf.len()) } else { self.script.remove(0) };
            let n = step?.min(buf.len());
            self.got.extend_from_slice(&buf[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_behind_stdout_costs_no_byte_and_no_record() {
        let script = vec![Ok(5), Err(ErrorKind::StorageFull), Ok(1), Err(ErrorKind::StorageFull)];
        let mut sink = StdoutSink::over(Scripted { got: Vec::new(), script });
        let lines = batch(&["one\n", "two\n", "six\n"]);
        let first = sink.deliver(&lines).await.unwrap();
        assert_eq!(first.retry, [1, 2]);
        let rest = lines.select(&first.retry);
        assert!(matches!(sink.deliver(&rest).await, Err(SinkError::Transient(_))));
        assert_eq!(sink.deliver(&rest).await, Ok(Delivery::default()));
        assert_eq!(sink.out.got, b"one\ntwo\nsix\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_made_non_blocking_by_somebody_else_is_waited_for() {
        let script = vec![Ok(2), Err(ErrorKind::WouldBlock), Err(ErrorKind::WouldBlock)];
        let mut sink = StdoutSink::over(Scripted { got: Vec::new(), script });
        assert_eq!(sink.deliver(&batch(&["one\n"])).await, Ok(Delivery::default()));
        assert_eq!(sink.out.got, b"one\n");
    }

    #[test]
    fn a_closed_pipe_ends_the_sink_quietly_and_nothing_hangs_and_all_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let options = SinkOptions { when_full: WhenFull::Wait, ..SinkOptions::default() };
        let sink = spawn("stdout", StdoutSink::over(writer), options).unwrap();
        let sinks = Sinks::new(vec![sink.clone()]);
        sink.offer(piece(&["first\n"]));
        let mut line = [0; 6];
        reader.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"first\n");
        drop(reader);
        let mut offered = 1;
        while !sink.has_ended() {
            sink.offer(piece(&["more\n"]));
            offered += 1;
        }
        let counts = sinks.finish(Duration::ZERO).remove(0).1;
        assert_eq!(counts.ledger.imbalance(), None);
        let ledger = (counts.ledger.offered, counts.ledger.delivered, counts.ledger.dropped);
        assert_eq!(ledger, (offered, 1, offered - 1));
        assert_eq!(counts.dropped, [0, offered - 1, 0, 0, 0], "gone, not full and not shutdown");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_reader_took_before_it_left_is_delivered() {
        let script = vec![Ok(5), Err(ErrorKind::BrokenPipe)];
        let mut sink = StdoutSink::over(Scripted { got: Vec::new(), script });
        let gone = Err(SinkError::Gone { delivered: 1, why: None });
        assert_eq!(sink.deliver(&batch(&["one\n", "two\n"])).await, gone);
    }

    #[test]
    fn a_reader_that_stalls_holds_up_neither_the_producer_nor_the_end() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = spawn("stdout", StdoutSink::over(writer), SinkOptions::default()).unwrap();
        let line = "x".repeat(1 << 20);
        (0..20).for_each(|_| sink.offer(piece(&[&line])));
        let counts = Sinks::new(vec![sink]).finish(Duration::ZERO).remove(0).1;
        assert_eq!(counts.ledger.imbalance(), None);
        assert_eq!((counts.ledger.offered, counts.ledger.delivered, counts.ledger.in_flight), (20, 0, 0));
        drop(reader);
    }
}
