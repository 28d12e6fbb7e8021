//! Header fields that go on in the next line (obs-fold, RFC 9112 §5.2): brought into one piece before they are read.
//!
//! Off the hot path. Knows lines, not what the fields mean.

use crate::record::{Weird, WeirdSet};
use crate::redact::Redactor;

use super::super::detect::is_token;

/// Unfolds the fields of one head, and keeps them for as long as they are read.
#[derive(Debug, Default)]
pub(in crate::http) struct Folds {
    text: Vec<u8>,
}

impl Folds {
    /// The header lines with every folded one in one piece, a single space for each fold. Nothing is copied where
    /// nothing is folded.
    pub(super) fn unfold<'a>(&'a mut self, lines: &'a [u8], redactor: &Redactor, weird: &mut WeirdSet) -> &'a [u8] {
        let folds = |at: usize| lines.get(at + 1).is_some_and(is_blank);
        if !memchr::memchr_iter(b'\n', lines).any(folds) {
            return lines;
        }
        self.text.clear();
        let mut secret = false;
        for line in lines.split_inclusive(|b| *b == b'\n') {
            // What follows the start line at once continues nothing.
            if self.text.is_empty() || !line.first().is_some_and(is_blank) {
                secret = false;
                self.text.extend_from_slice(line);
                continue;
            }
            weird.insert(Weird::ObsFold);
            if !self.text.ends_with(b"\r\n") || !line.ends_with(b"\r\n") {
                weird.insert(Weird::BareLf);
            }
            self.text.truncate(self.text.trim_ascii_end().len());
            secret |= self.append(line.trim_ascii(), secret, redactor);
            self.text.extend_from_slice(b"\r\n");
        }
        &self.text
    }

    /// Adds a part, and says whether it is a secret. Some servers take a line that is indented by mistake, or by design,
    /// for its own field. If that would be a secret one, it is masked here too, to the end of the field.
    fn append(&mut self, part: &[u8], masked: bool, redactor: &Redactor) -> bool {
        if masked || part.is_empty() {
            return masked;
        }
        self.text.push(b' ');
        let name_len = part.iter().take_while(|b| is_token(**b)).count();
        let (name, rest) = part.split_at(name_len);
        let value = rest.trim_ascii_start().strip_prefix(b":").filter(|_| redactor.is_secret_header(name));
        let Some(value) = value else {
            self.text.extend_from_slice(part);
            return false;
        };
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(redactor.header_value(name, value.trim_ascii()).as_bytes());
        true
    }
}

pub(super) fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_value_comes_in_one_piece_with_a_space_for_each_fold() {
        for (lines, expected) in [
            ("A: b\r\n c\r\nD: e\r\n\r\n", "A: b c\r\nD: e\r\n\r\n"),
            ("A: b \t \r\n\t  c\r\n  d\r\n\r\n", "A: b c d\r\n\r\n"),
            ("A:\r\n chunked\r\n\r\n", "A: chunked\r\n\r\n"),
            ("A: b\n c\r\n\r\n", "A: b c\r\n\r\n"),
            ("A: b\r\n \r\nD: e\r\n\r\n", "A: b\r\nD: e\r\n\r\n"),
            ("A: b\r\n  \r\n c\r\n\r\n", "A: b c\r\n\r\n"),
            (" A: b\r\nD: e\r\n\r\n", " A: b\r\nD: e\r\n\r\n"),
            ("Via: 1.1 a,\r\n b:8080\r\n\r\n", "Via: 1.1 a, b:8080\r\n\r\n"),
            ("A: b\r\n Authorization: Bearer x\r\nD: e\r\n\r\n", "A: b Authorization: Bearer ****\r\nD: e\r\n\r\n"),
            ("A: b\r\n Cookie :\r\n x=y\r\n z\r\nD:\r\n e\r\n\r\n", "A: b Cookie: ****\r\nD: e\r\n\r\n"),
        ] {
            let (redactor, mut weird) = (Redactor::default(), WeirdSet::default());
            let mut folds = Folds::default();
            let text = folds.unfold(lines.as_bytes(), &redactor, &mut weird);
            assert_eq!(String::from_utf8_lossy(text), expected);
            assert_eq!(weird.contains(Weird::ObsFold), lines != expected);
        }
    }

    #[test]
    fn what_is_not_folded_is_not_copied() {
        let (redactor, mut weird) = (Redactor::default(), WeirdSet::default());
        let mut folds = Folds::default();
        let lines = b"A: b\r\nC: d\r\n\r\n";
        assert_eq!(folds.unfold(lines, &redactor, &mut weird).as_ptr(), lines.as_ptr());
    }
}
