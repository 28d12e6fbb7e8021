//! Messages in a stream: over TCP each has its length in front (RFC 1035 §4.2.2). Owns what of one is there already.

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct DnsStream {
    /// The length and what follows, up to a whole message.
    kept: Vec<u8>,
    /// Bytes were lost: where the next message begins is not known.
    lost: bool,
}

impl DnsStream {
    /// Takes the next bytes, and hands over each message that they complete.
    pub fn take(&mut self, mut bytes: &[u8], mut message: impl FnMut(&[u8])) {
        while !bytes.is_empty() && !self.lost {
            let missing = self.missing();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.kept.extend_from_slice(now);
            bytes = later;
            if self.kept.len() > 2 && self.missing() == 0 {
                message(self.kept.get(2..).unwrap_or_default());
                self.kept.clear();
            } else if self.kept == [0, 0] {
                self.kept.clear();
            }
        }
    }

    /// Bytes are missing from here on.
    pub fn lose(&mut self) {
        *self = Self { kept: Vec::new(), lost: true };
    }

    /// Bytes that wait for the rest of their message.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How many bytes the length or the message lack.
    fn missing(&self) -> usize {
        match self.kept.first_chunk::<2>() {
            None => 2 - self.kept.len(),
            Some(length) => (usize::from(u16::from_be_bytes(*length)) + 2).saturating_sub(self.kept.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_wherever_the_stream_is_cut() {
        let bytes = b"\0\x03abc\0\0\0\x01d\0\x05efgh";
        for at_once in 1..=bytes.len() {
            let (mut stream, mut messages) = (DnsStream::default(), Vec::new());
            bytes.chunks(at_once).for_each(|piece| stream.take(piece, |message| messages.push(message.to_vec())));
            assert_eq!(messages, [b"abc".to_vec(), b"d".to_vec()], "{at_once}");
            assert_eq!(stream.kept(), 6);
            stream.lose();
            stream.take(b"\0\x01x", |_| panic!("where it begins is not known"));
        }
    }
}
