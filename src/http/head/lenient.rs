//! Heads that httparse refuses and real servers take: parsed line by line, every oddity named.
//!
//! Off the hot path; also reads the beginning of a head whose rest is missing (`salvage`).

use crate::record::{HttpVersion, Weird, WeirdSet};
use crate::redact::Redactor;

use super::super::detect::{is_foreign_version, is_known_method, is_token, is_version, is_version_start};
use super::folds::{Folds, is_blank};
use super::{EachField, HeadKind, KnownFields, MAX_HEADERS, MessageHead, ParsedHead, StartLine, end_of_head};

/// Parses the head at the start of `text`, which has no leading empty lines; `folds` keeps its fields if they have to be
/// unfolded.
pub(super) fn parse<'a>(
    kind: HeadKind,
    text: &'a [u8],
    (folds, redactor): (&'a mut Folds, &Redactor),
    weird: WeirdSet,
    each: EachField<'_>,
) -> ParsedHead<'a> {
    let Some(line_end) = memchr::memchr(b'\n', text) else { return ParsedHead::Partial };
    let mut weird = weird;
    let Some(start) = start_line(kind, text.get(..line_end).unwrap_or_default(), &mut weird) else {
        return ParsedHead::Invalid;
    };
    // `GET /path` is a whole request of HTTP/0.9; other methods without a version have fields behind their line.
    if weird.contains(Weird::Http09) && text.starts_with(b"GET") {
        return ParsedHead::Whole(line_end + 1, MessageHead { start, fields: KnownFields::default(), weird });
    }
    match end_of_head(text, 0) {
        Some(end) => {
            let lines = text.get(line_end + 1..end).unwrap_or_default();
            ParsedHead::Whole(end, read_fields(start, folds.unfold(lines, redactor, &mut weird), weird, each))
        }
        None => ParsedHead::Partial,
    }
}

/// What the beginning of a head shows when its rest will not come. At least that is a status, or a method and the
/// beginning of a target.
pub(in crate::http) fn salvage<'a>(
    kind: HeadKind,
    text: &'a [u8],
    (folds, redactor): (&'a mut Folds, &Redactor),
    each: EachField<'_>,
) -> Option<MessageHead<'a>> {
    let lead = text.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let text = text.get(lead..)?;
    let mut weird = WeirdSet::default();
    let Some(line_end) = memchr::memchr(b'\n', text) else {
        let start = match kind {
            HeadKind::Request => cut_request_line(text, &mut weird)?,
            HeadKind::Response => cut_status_line(text, &mut weird)?,
        };
        return Some(MessageHead { start, fields: KnownFields::default(), weird });
    };
    let start = start_line(kind, text.get(..line_end)?, &mut weird)?;
    let rest = text.get(line_end + 1..)?;
    let whole_lines = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
    Some(read_fields(start, folds.unfold(rest.get(..whole_lines)?, redactor, &mut weird), weird, each))
}

/// Whether readers of `head`, which has bare LFs or folded lines, may differ about where its message ends (RFC 9112 §2.2,
/// §5.2). That is so where a framing field is folded, or where a bare LF ends it, the line before it or the head, while other
/// lines end with CRLF.
pub(in crate::http) fn framing_may_differ(head: &[u8]) -> bool {
    let is_bare = |line: &[u8]| !line.ends_with(b"\r\n");
    let is_framing = |line: &[u8]| {
        let line = line.trim_ascii_start();
        let names = ["content-length", "transfer-encoding"];
        names.iter().any(|name| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes())))
    };
    let (mut bare, mut crlf, mut beside_bare) = (false, false, false);
    let (mut field_frames, mut before_is_bare) = (false, false);
    for line in head.split_inclusive(|b| *b == b'\n') {
        let frames = is_framing(line);
        if line.first().is_some_and(is_blank) && (frames || field_frames) {
            return true;
        }
        field_frames = frames;
        beside_bare |= frames && (before_is_bare || is_bare(line));
        before_is_bare = is_bare(line);
        bare |= before_is_bare;
        crlf |= !before_is_bare;
    }
    bare && crlf && (beside_bare || !head.ends_with(b"\r\n\r\n"))
}

/// The reason phrase of a status line, taken from the bytes.
pub(super) fn phrase(text: &[u8]) -> &[u8] {
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.splitn(3, |b| *b == b' ').nth(2).unwrap_or_default()
}

fn start_line<'a>(kind: HeadKind, line: &'a [u8], weird: &mut WeirdSet) -> Option<StartLine<'a>> {
    let line = match line.strip_suffix(b"\r") {
        Some(line) => line,
        None => {
            weird.insert(Weird::BareLf);
            line
        }
    };
    if memchr::memchr(b'\r', line).is_some() {
        weird.insert(Weird::BareCr);
    }
    match kind {
        HeadKind::Request => request_line(line, weird),
        HeadKind::Response => status_line(line, weird),
    }
}

fn request_line<'a>(line: &'a [u8], weird: &mut WeirdSet) -> Option<StartLine<'a>> {
    let method_len = line.iter().take_while(|b| is_token(**b)).count();
    let (method, rest) =
        line.split_at_checked(method_len).filter(|(m, r)| !m.is_empty() && r.first().is_some_and(is_blank))?;
    let target_and_version = rest.trim_ascii();
    if rest.first() == Some(&b'\t') || rest.get(1).is_some_and(is_blank) || rest.last().is_some_and(is_blank) {
        weird.insert(Weird::BadStartLineSpacing);
    }
    let cut = target_and_version.iter().rposition(is_blank);
    let (target, version) = match cut {
        Some(at) => target_and_version.split_at(at),
        None => (target_and_version, &b""[..]),
    };
    let version = version.trim_ascii();
    if target.last().is_some_and(is_blank) {
        weird.insert(Weird::BadStartLineSpacing);
    }
    let target = target.trim_ascii();
    let (known, local) = (is_known_method(method), target.starts_with(b"/"));
    if version.is_empty() && known && is_version(target) {
        // Two words: the second is reported as both, as it was sent.
        weird.insert(Weird::MissingTarget);
        return Some(StartLine::Request { method, target, version: version_of(target, weird) });
    }
    if version.is_empty() {
        weird.insert(Weird::Http09);
        return (known && local).then_some(StartLine::Request { method, target, version: HttpVersion::V09 });
    }
    let foreign = known && local && is_foreign_version(version);
    if !foreign && !is_version(version) {
        return None;
    }
    if target.iter().any(is_blank) {
        weird.insert(Weird::SpaceInTarget);
    }
    Some(StartLine::Request { method, target, version: version_of(version, weird) })
}

fn status_line<'a>(line: &'a [u8], weird: &mut WeirdSet) -> Option<StartLine<'a>> {
    let cut = line.iter().position(is_blank)?;
    let (version, rest) = line.split_at_checked(cut)?;
    let version = match version {
        b"ICY" => {
            weird.insert(Weird::IcyStatusLine);
            HttpVersion::V10
        }
        _ => version.get(..5).filter(|v| v.eq_ignore_ascii_case(b"HTTP/")).map(|_| version_of(version, weird))?,
    };
    let rest_trimmed = rest.trim_ascii_start();
    if rest.len() - rest_trimmed.len() > 1 || rest.first() == Some(&b'\t') {
        weird.insert(Weird::BadStartLineSpacing);
    }
    let digits = rest_trimmed.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, phrase) = rest_trimmed.split_at_checked(digits)?;
    if digits != 3 {
        weird.insert(Weird::OddStatus);
    }
    let status = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some(StartLine::Response { version, status, phrase: phrase.trim_ascii() })
}

/// A request line cut behind its method: that one is sure, and so is the target if something follows it. Half a target is
/// none: it may be another one whole.
fn cut_request_line<'a>(line: &'a [u8], weird: &mut WeirdSet) -> Option<StartLine<'a>> {
    if let Some(whole) = line.strip_suffix(b"\r") {
        return request_line(whole, weird);
    }
    let (method, rest) = line.split_at_checked(line.iter().position(is_blank)?)?;
    let rest = rest.trim_ascii_start();
    let (target, version) = match rest.iter().position(is_blank) {
        Some(end) => rest.split_at_checked(end)?,
        None if rest.is_empty() || rest.iter().any(u8::is_ascii_control) => return None,
        None => (&b""[..], &b""[..]),
    };
    let begins = is_known_method(method) && is_version_start(version.trim_ascii());
    let begins = begins && !target.iter().any(u8::is_ascii_control);
    begins.then_some(StartLine::Request { method, target, version: HttpVersion::Unknown })
}

/// A status line cut behind its status: that one is sure, and its phrase is not.
fn cut_status_line<'a>(line: &'a [u8], weird: &mut WeirdSet) -> Option<StartLine<'a>> {
    let version = line.iter().position(is_blank)?;
    let (before, rest) = line.split_at_checked(version)?;
    let blanks = rest.iter().take_while(|b| is_blank(b)).count();
    let digits = rest.get(blanks..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    rest.get(blanks + digits).filter(|b| is_blank(b))?;
    status_line(line.get(..before.len() + blanks + digits)?, weird)
}

fn version_of(version: &[u8], weird: &mut WeirdSet) -> HttpVersion {
    match version {
        b"HTTP/1.1" => HttpVersion::V11,
        b"HTTP/1.0" => HttpVersion::V10,
        _ => {
            weird.insert(Weird::OddVersion);
            let number = version.get(5..).unwrap_or_default();
            let low = number.starts_with(b"0") || number == b"1.0" || !is_version(version);
            if low { HttpVersion::V10 } else { HttpVersion::V11 }
        }
    }
}

/// Reads the header lines, unfolded.
fn read_fields<'a>(start: StartLine<'a>, lines: &'a [u8], weird: WeirdSet, mut each: EachField<'_>) -> MessageHead<'a> {
    let mut head = MessageHead { start, fields: KnownFields::default(), weird };
    for (count, line) in lines.split_inclusive(|b| *b == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let bare = !line.ends_with(b"\r");
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if bare {
            head.weird.insert(Weird::BareLf);
        }
        if line.is_empty() {
            break;
        }
        if line.first().is_some_and(is_blank) {
            head.weird.insert(Weird::ObsFold);
            continue;
        }
        let Some((name, value)) = field_line(line, &mut head.weird) else { continue };
        head.field(name, value);
        if count < MAX_HEADERS {
            head.keep(name, value, &mut each);
        } else {
            head.weird.insert(Weird::TooManyHeaders);
        }
    }
    head.close();
    head
}

fn field_line<'a>(line: &'a [u8], weird: &mut WeirdSet) -> Option<(&'a [u8], &'a [u8])> {
    if memchr::memchr(b'\r', line).is_some() {
        weird.insert(Weird::BareCr);
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        weird.insert(Weird::BadHeader);
        return None;
    };
    let (name, value) = line.split_at_checked(colon)?;
    let trimmed = name.trim_ascii_end();
    if trimmed.len() != name.len() {
        weird.insert(Weird::SpaceBeforeColon);
    }
    if trimmed.is_empty() || !trimmed.iter().all(|b| is_token(*b)) {
        weird.insert(Weird::BadHeader);
    }
    let value = value.get(1..)?.trim_ascii();
    if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        weird.insert(Weird::BadHeaderValue);
    }
    Some((trimmed, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_head_shows_what_it_can() {
        let off = Redactor::off();
        let [mut one, mut three] = [(); 2].map(|()| Folds::default());
        let head =
            salvage(HeadKind::Request, b"GET /a HTTP/1.1\r\nHost: shop\r\nUser-Ag", (&mut one, &off), None).unwrap();
        assert_eq!(head.fields.host, Some(&b"shop"[..]));
        assert_eq!(head.fields.user_agent, None);
        for (cut, expected) in [
            (&b"GET /a HTTP/1.1\r"[..], Some((&b"/a"[..], HttpVersion::V11))),
            (b"GET /a HTTP/1.1", Some((b"/a", HttpVersion::Unknown))),
            (b"GET /a HT", Some((b"/a", HttpVersion::Unknown))),
            (b"GET /a", Some((b"", HttpVersion::Unknown))),
            (b"GET ", None),
            (b"GE", None),
            (b"EHLO mail", None),
            (b"GET /a\0", None),
            (b"GET 302 x", None),
        ] {
            let mut folds = Folds::default();
            let told = salvage(HeadKind::Request, cut, (&mut folds, &off), None).map(|head| match head.start {
                StartLine::Request { target, version, .. } => (target, version),
                StartLine::Response { .. } => panic!("no response"),
            });
            assert_eq!(told, expected, "{}", String::from_utf8_lossy(cut));
        }
        let StartLine::Response { status, .. } =
            salvage(HeadKind::Response, b"HTTP/1.1 404 Not Found\r\nA", (&mut three, &off), None).unwrap().start
        else {
            panic!()
        };
        assert_eq!(status, 404);
        for (cut, expected) in [
            (&b"HTTP/1.0 302 MOV"[..], Some((302, &b""[..]))),
            (b"HTTP/1.0 302 ", Some((302, b""))),
            (b"HTTP/1.0 302", None),
            (b"HTTP/1.0 30", None),
            (b"HTTP/1.0", None),
        ] {
            let mut folds = Folds::default();
            let told = salvage(HeadKind::Response, cut, (&mut folds, &off), None).map(|head| match head.start {
                StartLine::Response { status, phrase, .. } => (status, phrase),
                StartLine::Request { .. } => panic!("no request"),
            });
            assert_eq!(told, expected, "{}", String::from_utf8_lossy(cut));
        }
    }

    #[test]
    fn a_bare_cr_is_named_wherever_it_is() {
        let off = Redactor::off();
        for head in [
            &b"GET / HTTP/1.1\r\nX: a\rContent-Length: 3\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nX\rContent-Length: 3\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\r\r\n\r\n",
            b"GET /\r HTTP/1.1\r\n\r\n",
        ] {
            let (mut folds, weird) = (Folds::default(), WeirdSet::default());
            let ParsedHead::Whole(_, parsed) = parse(HeadKind::Request, head, (&mut folds, &off), weird, None) else {
                panic!("{}", head.escape_ascii());
            };
            assert!(parsed.weird.contains(Weird::BareCr), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_bare_lf_or_a_fold_at_a_framing_field_makes_readers_differ() {
        for (head, expected) in [
            (&b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"[..], false),
            (b"GET / HTTP/1.1\nContent-Length: 3\n\n", false),
            (b"GET / HTTP/1.1\r\nA: b\nB: c\r\nContent-Length: 3\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nA: b\nContent-Length: 3\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\ntransfer-Encoding: chunked\nA: b\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nA: b\r\n\n", true),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nA: b\r\n Content-Length: 3\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nContent-Length:\r\n\t3\r\n\r\n", true),
        ] {
            assert_eq!(framing_may_differ(head), expected, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_start_line_is_refused() {
        let off = Redactor::off();
        for (kind, text) in [
            (HeadKind::Request, &b"EHLO mail\r\n\r\n"[..]),
            (HeadKind::Request, b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"),
            (HeadKind::Response, b"HTTP/1.1 abc\r\n\r\n"),
            (HeadKind::Response, b"220 smtp ready\r\n\r\n"),
        ] {
            assert!(
                matches!(
                    parse(kind, text, (&mut Folds::default(), &off), WeirdSet::default(), None),
                    ParsedHead::Invalid
                ),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }
}
