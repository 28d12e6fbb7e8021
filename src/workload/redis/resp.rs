//! The protocol of Redis (RESP2), as far as it is spoken here: commands out, replies in. Pure; opens nothing.

/// Longest text of a reply, and most items of a list: HGETALL of a hash that is no workload may be of any size.
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

/// The first reply in `bytes` and its length; none while it is not whole.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(RedisReply, usize)>, &'static str> {
    let mut rest = bytes;
    let Some((kind, line)) = line(&mut rest)? else { return Ok(None) };
    let reply = match kind {
        b'+' | b':' => Some(RedisReply::Text(line.to_vec())),
        b'-' => Some(RedisReply::Error(String::from_utf8_lossy(line).into_owned())),
        b'$' => text(line, &mut rest)?.map(|text| text.map_or(RedisReply::Nil, RedisReply::Text)),
        b'*' => list(line, &mut rest)?,
        _ => return Err("the server does not speak Redis' protocol"),
    };
    Ok(reply.map(|reply| (reply, bytes.len() - rest.len())))
}

fn list(line: &[u8], rest: &mut &[u8]) -> Result<Option<RedisReply>, &'static str> {
    let Some(count) = number(line)? else { return Ok(Some(RedisReply::Nil)) };
    if count > MAX_ITEMS {
        return Err("a list is too long to be a workload");
    }
    let mut items = Vec::new();
    for _ in 0..count {
        let Some((kind, line)) = self::line(rest)? else { return Ok(None) };
        match kind {
            b'+' | b':' => items.push(line.to_vec()),
            b'$' => match text(line, rest)? {
                Some(text) => items.push(text.unwrap_or_default()),
                None => return Ok(None),
            },
            _ => return Err("a list within a list was not expected"),
        }
    }
    Ok(Some(RedisReply::List(items)))
}

/// A text with its length in front; `Some(None)` is Redis' nil.
#[allow(clippy::type_complexity, reason = "nil, not whole and malformed are three things")]
fn text(line: &[u8], rest: &mut &[u8]) -> Result<Option<Option<Vec<u8>>>, &'static str> {
    let Some(length) = number(line)? else { return Ok(Some(None)) };
    if length > MAX_TEXT {
        return Err("a text is too long to be a workload's");
    }
    let Some((text, after)) = rest.split_at_checked(length) else { return Ok(None) };
    match after {
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(Some(Some(text.to_vec())))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err("a text is longer than it says"),
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, &'static str> {
    let head = rest.get(..rest.len().min(MAX_LINE)).unwrap_or_default();
    let Some(end) = memchr::memmem::find(head, b"\r\n") else {
        return if rest.len() > MAX_LINE { Err("a line does not end") } else { Ok(None) };
    };
    let (line, after) = (head.get(..end).unwrap_or_default(), rest.get(end + 2..).unwrap_or_default());
    *rest = after;
    line.split_first().map(|(kind, line)| Some((*kind, line))).ok_or("a line is empty")
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
            ("*4\r\n$9\r\nnamespace\r\n$4\r\nshop\r\n$4\r\nname\r\n$4\r\ncart\r\n", RedisReply::List(fields)),
            ("-WRONGTYPE no hash\r\n", RedisReply::Error("WRONGTYPE no hash".to_owned())),
        ] {
            let behind = format!("{bytes}+next\r\n");
            assert_eq!(read(behind.as_bytes()), Ok(Some((expected, bytes.len()))), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes.as_bytes()[..cut]), Ok(None), "{:?}", &bytes[..cut]);
            }
        }
    }

    #[test]
    fn what_is_no_reply_or_too_large_is_an_error() {
        let endless = format!("+{}", "a".repeat(600));
        for bytes in [
            "HTTP/1.1 400 x\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "$99999\r\n",
            "*257\r\n",
            "*1\r\n*0\r\n",
            "$1\r\nabc",
            &endless,
        ] {
            assert!(read(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_command_is_a_list_of_its_words() {
        let mut out = Vec::new();
        write(&mut out, &[b"HGETALL", b"10.0.0.1"]);
        assert_eq!(out, b"*2\r\n$7\r\nHGETALL\r\n$8\r\n10.0.0.1\r\n");
    }
}
