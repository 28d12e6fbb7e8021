//! One block of lines to text: what is in front of a record, the record, whether it is wanted. Reads nothing.

use super::summary::ViewSummary;
use crate::filter::Wanted;
use crate::filter::expression::RecordSurroundings;
use crate::format::ecs::{NotRead, ReadRecord, read_json};
use crate::format::text::{TextStyle, write_line};
use crate::redact::escape;

/// Longer beginnings of lines are no prefix of a log tool.
const LONGEST_PREFIX: usize = 512;
/// What is shown of a line that is no record.
const LONGEST_OTHER: usize = 1000;

/// What is wanted, and how it is shown.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    pub(super) wanted: Wanted,
    pub(super) style: TextStyle,
}

/// What came of a block.
#[derive(Debug, Default)]
pub(super) struct ShownLines {
    pub(super) text: Vec<u8>,
    pub(super) summary: ViewSummary,
}

impl Viewer {
    /// `width` is that of the terminal now.
    pub(super) fn show(&self, block: &[u8], width: Option<usize>) -> ShownLines {
        let style = TextStyle { width, ..self.style };
        let mut shown = ShownLines::default();
        let mut begins = 0;
        for end in memchr::memchr_iter(b'\n', block).chain([block.len()]) {
            self.line(block.get(begins..end).unwrap_or_default(), style, &mut shown);
            begins = end + 1;
        }
        shown
    }

    fn line(&self, line: &[u8], style: TextStyle, shown: &mut ShownLines) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (prefix, json) = split(line);
        match json.map_or(Err(NotRead::NoRecord), read_json) {
            Ok(read) => self.record(prefix, read, style, shown),
            Err(NotRead::OtherDataset) => shown.summary.other_datasets += 1,
            Err(NotRead::NoRecord) if line.trim_ascii().is_empty() => {}
            Err(NotRead::NoRecord) => {
                shown.summary.no_records += 1;
                // Where nothing is left out, podtap's own log lines are shown too, as they came.
                if self.wanted.is_all() {
                    let shown_part = line.get(..LONGEST_OTHER).unwrap_or(line);
                    shown.text.extend_from_slice(escape(shown_part).as_bytes());
                    shown.text.push(b'\n');
                }
            }
        }
    }

    fn record(&self, prefix: &[u8], read: ReadRecord, mut style: TextStyle, shown: &mut ShownLines) {
        let ReadRecord { record, pod, namespace, node } = read;
        let (pod, namespace, node) = (pod.as_deref(), namespace.as_deref(), node.as_deref());
        shown.summary.count_read(&record);
        if !self.wanted.holds(&record, RecordSurroundings { pod, namespace, node, slow_after: None }) {
            return;
        }
        shown.summary.count(&record, self.wanted.slow_after);
        if !prefix.is_empty() {
            let prefix = escape(prefix);
            style.width = style.width.map(|width| width.saturating_sub(prefix.len() + 1));
            shown.text.extend_from_slice(prefix.as_bytes());
            shown.text.push(b' ');
        }
        write_line(&mut shown.text, &record, &style);
    }
}

/// What log tools put in front of a line, and the object: `[pod/web-1/podtap] {…`, `web-1 | {…`. Times in front of a record
/// say nothing that it does not say itself.
fn split(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    let head = line.get(..LONGEST_PREFIX).unwrap_or(line);
    let Some(at) = memchr::memchr(b'{', head) else { return (&[], None) };
    let (prefix, json) = line.split_at_checked(at).unwrap_or_default();
    (without_time(prefix.trim_ascii()), Some(json))
}

/// Without the words of the container runtime and the times: `2026-03-01T12:00:00.1Z stdout F`.
fn without_time(prefix: &[u8]) -> &[u8] {
    let is_time = |word: &[u8]| word.len() >= 20 && word.get(10) == Some(&b'T') && word.get(4) == Some(&b'-');
    let mut rest = prefix;
    loop {
        let (before, word) = match rest.iter().rposition(|byte| *byte == b' ') {
            Some(space) => (rest.get(..space).unwrap_or_default(), rest.get(space + 1..).unwrap_or_default()),
            None => (&[][..], rest),
        };
        let goes = is_time(word) || [&b"F"[..], b"stdout", b"stderr", b"|"].contains(&word);
        if !goes || word.is_empty() {
            return rest;
        }
        rest = before.trim_ascii_end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::expression::FilterExpression;
    use crate::format::Observer;
    use crate::format::ecs::write_json;
    use crate::record::sample::{connect, conntrack, exchange, record};
    use crate::record::{ConnectResult, Record};
    use crate::settings::OnlyKind;

    fn viewer(only: &[OnlyKind], include: Option<&str>) -> Viewer {
        let wanted = Wanted {
            include: include.map(|text| FilterExpression::parse(text).unwrap()),
            exclude: None,
            only: only.to_vec(),
            slow_after: Some(1_000_000_000),
        };
        Viewer { wanted, style: TextStyle::default() }
    }

    fn json(record: &Record) -> String {
        let mut out = Vec::new();
        write_json(&mut out, record, &Observer::default());
        String::from_utf8(out).unwrap()
    }

    const LINE: &str =
        "12:00:00.000123Z ← GET  shop.local:8080/cart?id=7          200   1.8 kB  12.4 ms  10.1.2.3:51234\n";

    #[test]
    fn what_log_tools_put_in_front_is_understood() {
        let json = json(&record(exchange()));
        for (prefix, shown) in [
            ("", ""),
            ("2026-03-01T12:00:00.123456789Z ", ""),
            ("2026-03-01T12:00:00.123456789Z stdout F ", ""),
            ("[pod/web-1/podtap] ", "[pod/web-1/podtap] "),
            ("[pod/web-1/podtap] 2026-03-01T12:00:00Z ", "[pod/web-1/podtap] "),
            ("web-1  | ", "web-1 "),
        ] {
            let text = viewer(&[], None).show(format!("{prefix}{json}").as_bytes(), None).text;
            assert_eq!(String::from_utf8(text).unwrap(), format!("{shown}{LINE}"), "{prefix}");
        }
    }

    #[test]
    fn lines_that_are_no_records_are_shown_where_nothing_is_left_out_and_counted_always() {
        let mut failed = exchange();
        failed.response.as_mut().unwrap().status = Some(500);
        let block = [
            "2026-03-01T12:00:00Z  INFO listening on eth0\n".to_owned(),
            json(&record(exchange())),
            "\x1b[2J{oops\n".to_owned(),
            json(&Record::from(conntrack())),
            "\r\n".to_owned(),
            json(&record(failed)),
        ]
        .concat();
        let all = viewer(&[], None).show(block.as_bytes(), None);
        let text = String::from_utf8(all.text).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("2026-03-01T12:00:00Z  INFO") && text.contains("\\x1b[2J{oops\n"), "{text}");
        for view in [viewer(&[OnlyKind::Failed], None), viewer(&[], Some("status>=500"))] {
            let some = view.show(block.as_bytes(), None);
            assert_eq!(String::from_utf8(some.text).unwrap().matches(" 500 ").count(), 1);
            let ViewSummary { read, shown, no_records, other_datasets, .. } = some.summary;
            assert_eq!((read, shown, no_records, other_datasets), (2, 1, 2, 1));
        }
    }

    #[test]
    fn the_prefix_takes_its_width_from_the_columns() {
        let view = viewer(&[], None);
        let (plain, named) = (json(&record(exchange())), format!("[pod/web-1/podtap] {}", json(&record(exchange()))));
        let width = |line: &str| String::from_utf8(view.show(line.as_bytes(), Some(120)).text).unwrap().chars().count();
        assert!(width(&named) <= 121 && width(&plain) <= 121);
    }

    #[test]
    fn connects_are_shown_filtered_and_counted_apart() {
        let mut refused = connect();
        refused.result = ConnectResult::Refused;
        let block = [json(&record(exchange())), json(&refused.into()), json(&connect().into())].concat();
        let all = viewer(&[], None).show(block.as_bytes(), None);
        let text = String::from_utf8(all.text).unwrap();
        assert!(
            text.lines().count() == 3 && text.contains("→ 10.96.61.10:80") && text.contains("  refused  "),
            "{text}"
        );
        assert_eq!((all.summary.read, all.summary.shown, all.summary.connects), (1, 1, [2, 2, 1]));
        for view in [viewer(&[OnlyKind::Failed], None), viewer(&[], Some("state=refused"))] {
            let some = view.show(block.as_bytes(), None);
            assert_eq!(String::from_utf8(some.text).unwrap().matches("  refused  ").count(), 1);
            assert_eq!((some.summary.shown, some.summary.connects), (0, [2, 1, 1]));
        }
    }
}
