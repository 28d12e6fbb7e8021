//! The protocol of Redis (RESP2), as far as it is spoken here: commands out, replies in. Pure; opens nothing.

/// Longest text of a reply that is kept, and most items of a list. HGETALL of a hash that is no workload may be of any size.
const MAX_TEXT: usize = 16 << 10;
const MAX_ITEMS: usize = 256;
/// Longest line that says what follows.
const MAX_LINE: usize = 512;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RedisReply {
    /// A status, a text or a number.
    Text(Vec<u8>),
    /// Nothing.
    Nil,
    /// The server refuses.
    Error(String),
    /// A list of texts.
    List(Vec<Vec<u8>>),
}

/// Appends a command.
pub(super) fn write(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads replies as their bytes come: each byte once, and no more is kept than one reply that may be a workload.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The line, or the text, that is not whole.
    part: Vec<u8>,
    text: Option<Text>,
    list: Option<List>,
}

/// A text that is not whole.
#[derive(Debug)]
struct Text {
    /// Bytes that come, with the end of the line.
    missing: usize,
    /// It is short enough to be kept.
    fits: bool,
}

/// A list that is not whole.
#[derive(Debug)]
struct List {
    missing: usize,
    items: Vec<Vec<u8>>,
    fits: bool,
}

impl Replies {
    /// Takes the next bytes, and appends the replies that they complete. A text that is too long to be a workload's is empty
    /// there, and so is a list with too many items.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<RedisReply>) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            let length = match &self.text {
                Some(text) => text.missing.min(bytes.len()),
                None => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1),
            };
            let (these, later) = bytes.split_at(length);
            bytes = later;
            if self.text.is_some() {
                self.take_text(these, out)?;
            } else {
                self.take_line(these, out)?;
            }
        }
        Ok(())
    }

    fn take_line(&mut self, bytes: &[u8], out: &mut Vec<RedisReply>) -> Result<(), &'static str> {
        if self.part.len() + bytes.len() > MAX_LINE {
            return Err("a line does not end");
        }
        self.part.extend_from_slice(bytes);
        let Some((kind, line)) = self.part.strip_suffix(b"\r\n").map(<[u8]>::split_first).map(Option::unzip) else {
            return Ok(());
        };
        let (kind, line) = (kind.copied().ok_or("a line is empty")?, line.unwrap_or_default().to_vec());
        self.part.clear();
        self.on_line(kind, line, out)
    }

    fn on_line(&mut self, kind: u8, line: Vec<u8>, out: &mut Vec<RedisReply>) -> Result<(), &'static str> {
        match (kind, self.list.is_some()) {
            (b'+' | b':', _) => self.on_text(Some(line), out),
            (b'-', false) => out.push(RedisReply::Error(String::from_utf8_lossy(&line).into_owned())),
            (b'$', _) => match number(&line)? {
                Some(length) => {
                    self.text = Some(Text { missing: length.saturating_add(2), fits: length <= MAX_TEXT });
                }
                None => self.on_text(None, out),
            },
            (b'*', false) => match number(&line)? {
                Some(0) => out.push(RedisReply::List(Vec::new())),
                Some(missing) => self.list = Some(List { missing, items: Vec::new(), fits: missing <= MAX_ITEMS }),
                None => out.push(RedisReply::Nil),
            },
            (_, true) => return Err("a list within a list was not expected"),
            (_, false) => return Err("the server does not speak Redis' protocol"),
        }
        Ok(())
    }

    fn take_text(&mut self, bytes: &[u8], out: &mut Vec<RedisReply>) -> Result<(), &'static str> {
        let Some(text) = &mut self.text else { return Ok(()) };
        text.missing -= bytes.len();
        let (is_whole, fits) = (text.missing == 0, text.fits);
        if fits {
            self.part.extend_from_slice(bytes);
        }
        if !is_whole {
            return Ok(());
        }
        self.text = None;
        let mut whole = std::mem::take(&mut self.part);
        if fits && !whole.ends_with(b"\r\n") {
            return Err("a text is longer than it says");
        }
        whole.truncate(whole.len().saturating_sub(2));
        self.on_text(Some(whole), out);
        Ok(())
    }

    /// A text is whole, or nil: a reply, or an item of one.
    fn on_text(&mut self, text: Option<Vec<u8>>, out: &mut Vec<RedisReply>) {
        let Some(list) = &mut self.list else {
            return out.push(text.map_or(RedisReply::Nil, RedisReply::Text));
        };
        list.missing -= 1;
        if list.fits {
            list.items.push(text.unwrap_or_default());
        }
        if list.missing == 0
            && let Some(list) = self.list.take()
        {
            out.push(RedisReply::List(list.items));
        }
    }
}

/// A length; -1 is nil.
fn number(line: &[u8]) -> Result<Option<usize>, &'static str> {
    if line == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).ok();
    text.and_then(|text| text.parse().ok()).map(Some).ok_or("a length is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> RedisReply {
        RedisReply::Text(text.as_bytes().to_vec())
    }

    /// The replies, the bytes being taken in pieces; and the most that was kept in between.
    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<RedisReply>, usize), &'static str> {
        let (mut replies, mut out, mut most) = (Replies::default(), Vec::new(), 0);
        for piece in bytes.chunks(piece) {
            replies.take(piece, &mut out)?;
            let items = replies.list.iter().flat_map(|list| &list.items);
            most = most.max(replies.part.len() + items.map(Vec::len).sum::<usize>());
        }
        Ok((out, most))
    }

    #[test]
    fn replies_are_read_when_they_are_whole_wherever_they_are_cut() {
        let fields = ["namespace", "shop", "name", "cart"].map(|word| word.as_bytes().to_vec()).to_vec();
        for (bytes, expected) in [
            ("+OK\r\n", text("OK")),
            (":7\r\n", text("7")),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            ("$0\r\n\r\n", text("")),
            ("$-1\r\n", RedisReply::Nil),
            ("*-1\r\n", RedisReply::Nil),
            ("*0\r\n", RedisReply::List(vec![])),
            ("*2\r\n$-1\r\n:3\r\n", RedisReply::List(vec![vec![], b"3".to_vec()])),
            ("*4\r\n$9\r\nnamespace\r\n$4\r\nshop\r\n$4\r\nname\r\n$4\r\ncart\r\n", RedisReply::List(fields)),
            ("-WRONGTYPE no hash\r\n", RedisReply::Error("WRONGTYPE no hash".to_owned())),
        ] {
            let behind = format!("{bytes}+next\r\n");
            for piece in 1..=behind.len() {
                let (replies, _) = read(behind.as_bytes(), piece).unwrap();
                assert_eq!(replies, [expected.clone(), text("next")], "{bytes:?} {piece}");
            }
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes.as_bytes()[..cut], 3).unwrap().0, [], "{:?}", &bytes[..cut]);
            }
        }
    }

    #[test]
    fn a_hash_of_any_size_is_passed_by_and_what_is_behind_it_is_read() {
        let item = |length: usize| [format!("${length}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n"].concat();
        let many = [b"*10000\r\n".to_vec(), item(100).repeat(10_000)].concat();
        let long = [b"*2\r\n$4\r\nname\r\n".to_vec(), item(5 << 20)].concat();
        let name = RedisReply::List(vec![b"name".to_vec(), vec![]]);
        for (bytes, expected) in [(many, RedisReply::List(vec![])), (long, name), (item(1 << 20), text(""))] {
            let (replies, kept) = read(&[&bytes[..], b"+next\r\n"].concat(), 1000).unwrap();
            assert_eq!(replies, [expected, text("next")]);
            assert!(kept <= 1000, "{kept}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let endless = format!("+{}", "a".repeat(600));
        for bytes in
            ["HTTP/1.1 400 x\r\n", "\r\n", "$x\r\n", "$-2\r\n", "*1\r\n*0\r\n", "*1\r\n-x\r\n", "$1\r\nabc", &endless]
        {
            assert!(read(bytes.as_bytes(), 7).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_command_is_a_list_of_its_words() {
        let mut out = Vec::new();
        write(&mut out, &[b"HGETALL", b"10.0.0.1"]);
        assert_eq!(out, b"*2\r\n$7\r\nHGETALL\r\n$8\r\n10.0.0.1\r\n");
    }
}
