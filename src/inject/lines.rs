//! Lines of a text, and edits of it by byte span.
//!
//! Knows no YAML. Every offset is a byte offset; one out of range gives an empty text, never a panic.

use std::ops::Range;

/// A line break: of Unix, of Windows, of the oldest Macs.
const BREAKS: [char; 2] = ['\n', '\r'];

/// A text, looked at by lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineIndex<'a>(pub(super) &'a str);

impl<'a> LineIndex<'a> {
    /// The text of a span.
    pub(super) fn slice(self, span: Range<usize>) -> &'a str {
        self.0.get(span).unwrap_or_default()
    }

    /// Where the line of `at` begins.
    pub(super) fn start(self, at: usize) -> usize {
        let begin = if self.0.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        self.slice(0..at).rfind(BREAKS).map_or(begin, |found| found + 1)
    }

    /// Where the line of `at` ends, its break not counted.
    pub(super) fn end(self, at: usize) -> usize {
        let rest = self.slice(at..self.0.len());
        rest.find(BREAKS).map_or(self.0.len(), |found| at + found)
    }

    /// Where the line after that of `at` begins.
    pub(super) fn next(self, at: usize) -> usize {
        let end = self.end(at);
        end + self.break_at(end).len()
    }

    /// Where the line before the one that begins at `start` begins; none before the first.
    pub(super) fn previous(self, start: usize) -> Option<usize> {
        let line_break = self.break_before(start).len();
        (line_break > 0).then(|| self.start(start - line_break))
    }

    /// The line break at `at`.
    fn break_at(self, at: usize) -> &'a str {
        let rest = self.slice(at..self.0.len());
        let length = if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with(BREAKS)) };
        rest.get(..length).unwrap_or_default()
    }

    /// The line break that ends before `at`.
    fn break_before(self, at: usize) -> &'a str {
        let before = self.slice(0..at);
        let length = if before.ends_with("\r\n") { 2 } else { usize::from(before.ends_with(BREAKS)) };
        before.get(at - length..).unwrap_or_default()
    }

    /// The kind of line break used around `at`.
    fn break_around(self, at: usize) -> &'a str {
        let found = [self.break_before(self.start(at)), self.break_at(self.end(at))];
        found.into_iter().find(|found| !found.is_empty()).unwrap_or("\n")
    }

    /// The line of `at`, up to it.
    pub(super) fn before(self, at: usize) -> &'a str {
        self.slice(self.start(at)..at)
    }

    /// The column of `at`, if only blanks precede it in its line.
    pub(super) fn column(self, at: usize) -> Option<usize> {
        let before = self.before(at);
        before.bytes().all(|byte| byte == b' ').then_some(before.len())
    }

    /// Puts whole lines in at `at`, where a line begins or the text ends.
    pub(super) fn insert(self, at: usize, lines: &[String]) -> Edit {
        let line_break = self.break_around(at);
        let text = lines.join(line_break);
        let unfinished = at == self.0.len() && at > 0 && self.break_before(at).is_empty();
        let text = if unfinished { format!("{line_break}{text}") } else { format!("{text}{line_break}") };
        Edit { span: at..at, text }
    }

    /// Takes out the lines from the one of `from` to the one of `to`: what `insert` put in.
    pub(super) fn remove(self, from: usize, to: usize) -> Edit {
        let (mut start, end) = (self.start(from), self.next(to));
        if end == self.0.len() && self.break_before(end).is_empty() {
            start -= self.break_before(start).len();
        }
        Edit { span: start..end, text: String::new() }
    }
}

/// The documents of a stream, each with the directives before it, and how many lines come before each. Put together they
/// are the text.
///
/// A line that begins with `---` or `...` never is part of a document's content (YAML 1.2.2 §9.1.2).
pub(super) fn documents(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut start, mut lines_before) = (0, 0);
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let (len, lines) = first_document(rest);
        let found = (lines_before, rest.get(..len)?);
        (start, lines_before) = (start + len, lines_before + lines);
        Some(found)
    })
}

/// Bytes and lines of the first document.
fn first_document(text: &str) -> (usize, usize) {
    let (mut at, mut count, mut begun) = (0, 0, false);
    while at < text.len() {
        let next = LineIndex(text).next(at);
        let line = text.get(at..next).unwrap_or_default().trim_start_matches('\u{feff}');
        let is_marker = |marker| {
            line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if is_marker("---") {
            if begun {
                break;
            }
            begun = true;
        }
        // Directives and comments belong to what follows them.
        begun |= !(line.trim().is_empty() || line.starts_with(['%', '#']));
        (at, count) = (next, count + 1);
        if is_marker("...") {
            break;
        }
    }
    (at, count)
}

/// Something else in the place of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// What goes.
    pub(super) span: Range<usize>,
    /// What comes.
    pub(super) text: String,
}

impl Edit {
    /// Something put in.
    pub(super) fn insert(at: usize, text: impl Into<String>) -> Self {
        Self { span: at..at, text: text.into() }
    }

    /// Something taken out.
    pub(super) fn remove(span: Range<usize>) -> Self {
        Self { span, text: String::new() }
    }
}

/// The text with the edits made; of two at one place the first comes first. None where edits overlap.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> Option<String> {
    edits.sort_by_key(|edit| edit.span.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        out.push_str(text.get(done..edit.span.start)?);
        out.push_str(&edit.text);
        done = edit.span.end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_whatever_ends_them() {
        for (text, at, start, end, next) in [
            ("ab\ncd\n", 4, 3, 5, 6),
            ("ab\r\ncd\r\n", 5, 4, 6, 8),
            ("ab\rcd", 4, 3, 5, 5),
            ("\u{feff}ab\n", 4, 3, 5, 6),
            ("", 0, 0, 0, 0),
            ("ab\n", 3, 3, 3, 3),
        ] {
            let lines = LineIndex(text);
            assert_eq!((lines.start(at), lines.end(at), lines.next(at)), (start, end, next), "{text:?}");
        }
    }

    #[test]
    fn lines_put_in_are_taken_out_without_a_trace() {
        let new = ["x".to_owned(), "y".to_owned()];
        for (text, at, expected) in [
            ("a\nb\n", 2, "a\nx\ny\nb\n"),
            ("a\r\nb", 3, "a\r\nx\r\ny\r\nb"),
            ("a\nb\n", 4, "a\nb\nx\ny\n"),
            ("a\nb", 3, "a\nb\nx\ny"),
            ("a\r\nb", 4, "a\r\nb\r\nx\r\ny"),
            ("a", 1, "a\nx\ny"),
        ] {
            let edited = apply(text, vec![LineIndex(text).insert(at, &new)]).unwrap();
            assert_eq!(edited, expected);
            let (from, to) = (edited.find('x').unwrap(), edited.find('y').unwrap());
            assert_eq!(apply(&edited, vec![LineIndex(&edited).remove(from, to)]).unwrap(), text);
        }
    }

    #[test]
    fn a_stream_falls_into_its_documents_at_their_markers() {
        for (text, expected) in [
            ("", &[][..]),
            ("a: 1", &[(0, "a: 1")]),
            ("a: 1\n---\nb: 2\n", &[(0, "a: 1\n"), (1, "---\nb: 2\n")]),
            ("# c\n---\na: |\n  ---\n  x\n--- b\n", &[(0, "# c\n---\na: |\n  ---\n  x\n"), (5, "--- b\n")]),
            ("a\r\n...\r\n%YAML 1.2\r\n---\r\nb", &[(0, "a\r\n...\r\n"), (2, "%YAML 1.2\r\n---\r\nb")]),
            ("---\n---\n", &[(0, "---\n"), (1, "---\n")]),
            ("a\r---\rb", &[(0, "a\r"), (1, "---\rb")]),
            ("---a\n....\n", &[(0, "---a\n....\n")]),
        ] {
            assert_eq!(documents(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn edits_at_one_place_keep_their_order_and_must_not_overlap() {
        let edits = vec![Edit::insert(2, "2"), Edit::insert(1, "a"), Edit::insert(1, "b"), Edit::remove(1..2)];
        assert_eq!(apply("xyz", edits).unwrap(), "xab2z");
        assert_eq!(apply("xyz", vec![Edit::remove(0..2), Edit::remove(1..3)]), None);
    }
}
