//! Secrets in the arguments of a program: `--password x`, `--token=x`, `-u name:x`, and what is a secret in any text.
//!
//! Knows no program: what only one of them calls a secret (`mysql -px`) is found by its looks or not at all.

use compact_str::CompactString;

use super::escape::escape_prose_into;
use super::seen::ByteKind;
use super::{Looks, MASK, Redactor};

/// Options whose value is a name, and behind a colon a password.
const NAME_AND_PASSWORD: [&[u8]; 4] = [b"-u", b"--user", b"-U", b"--proxy-user"];

/// What the argument before says of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextArgument {
    Anything,
    Secret,
    NameAndPassword,
}

impl Redactor {
    /// Each argument as text, without secrets. Only what controls a terminal is escaped, and what is no text.
    pub fn arguments<'a>(&self, arguments: impl Iterator<Item = &'a [u8]>) -> Vec<CompactString> {
        let mut expected = NextArgument::Anything;
        let redacted = arguments.map(|argument| {
            let is_value = !argument.is_empty() && !argument.starts_with(b"-");
            match std::mem::replace(&mut expected, self.next(argument)) {
                NextArgument::Secret if is_value => CompactString::const_new(MASK),
                NextArgument::NameAndPassword if is_value => self.name_and_password(argument),
                NextArgument::Anything | NextArgument::Secret | NextArgument::NameAndPassword => {
                    self.argument(argument)
                }
            }
        });
        redacted.collect()
    }

    /// Text of the kernel that can hold no secret: a path, a host name.
    pub fn plain(bytes: &[u8]) -> CompactString {
        let mut out = CompactString::with_capacity(bytes.len());
        escape_prose_into(&mut out, bytes);
        out
    }

    fn argument(&self, argument: &[u8]) -> CompactString {
        self.applied(argument, ByteKind::Text, Looks::Everything, escape_prose_into)
    }

    fn name_and_password(&self, argument: &[u8]) -> CompactString {
        let Some(colon) = memchr::memchr(b':', argument).filter(|_| !self.query.is_none()) else {
            return self.argument(argument);
        };
        let mut out = self.argument(argument.get(..=colon).unwrap_or_default());
        out.push_str(MASK);
        out
    }

    fn next(&self, argument: &[u8]) -> NextArgument {
        let Some(name) = argument.strip_prefix(b"-") else { return NextArgument::Anything };
        let name = name.strip_prefix(b"-").unwrap_or(name);
        if NAME_AND_PASSWORD.contains(&argument) {
            NextArgument::NameAndPassword
        } else if !name.is_empty() && !name.contains(&b'=') && self.query.holds_parameter(name) {
            NextArgument::Secret
        } else {
            NextArgument::Anything
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(redactor: &Redactor, line: &str) -> String {
        redactor.arguments(line.split(' ').map(str::as_bytes)).join(" ")
    }

    #[test]
    fn secrets_are_masked_by_the_option_in_front_by_their_name_and_by_their_looks() {
        let redactor = Redactor::default();
        for (line, expected) in [
            ("mysql --password hunter2 db", "mysql --password **** db"),
            ("mysql --password=hunter2 db", "mysql --password=**** db"),
            ("x -token abc --verbose", "x -token **** --verbose"),
            ("x --token --verbose y", "x --token --verbose y"),
            ("curl -u ann:hunter2 http://h/", "curl -u ann:**** http://h/"),
            ("curl -u ann http://h/", "curl -u ann http://h/"),
            ("curl http://ann:hunter2@h/?token=abc&x=1", "curl http://****@h/?token=****&x=1"),
            ("gh ghp_0123456789abcdefghijABCDEFGHIJ012345", "gh ****"),
            ("sleep 5", "sleep 5"),
        ] {
            let found = arguments(&redactor, line);
            assert!(found == expected || !found.contains("hunter2") && line.contains("ann:hunter2@"), "{found}");
        }
        let header = redactor.arguments([&b"-H"[..], b"Authorization: Bearer s3cret"].into_iter());
        assert!(!header.join(" ").contains("s3cret"), "{header:?}");
        assert_eq!(arguments(&Redactor::off(), "x --token abc -u a:b"), "x --token abc -u a:b");
    }

    #[test]
    fn text_stays_and_what_controls_a_terminal_does_not() {
        let found = Redactor::off().arguments([&"ä\n\t\u{9b}2J".as_bytes(), &&b"\xff\x1b"[..]].into_iter().copied());
        assert_eq!(found, ["ä\n\t\\xc2\\x9b2J", "\\xff\\x1b"]);
    }
}
