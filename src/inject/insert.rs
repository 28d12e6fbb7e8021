//! Putting a sidecar into a document: which spans, and what comes there.
//!
//! Only adds; every addition is of a form that `remove` can take out again without a trace.

use super::lines::{Edit, LineIndex};
use super::sidecar::Sidecar;
use super::tree::{BlockStyle, FlowStyle, YamlTree};
use super::workload::PodManifest;
use crate::yaml::{MappingEntry, NodeKind, YamlNode};

/// What is put behind the key of a list that was empty, to make a comment of the rest of its line.
pub(super) const MARK: &str = " # podtap inject, was:";

/// Where in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListPlace {
    First,
    Last,
}

/// The edits that put `sidecar` into the pod; the error says why there are none.
pub(super) fn insert(text: &str, workload: &PodManifest<'_, '_>, sidecar: &Sidecar) -> Result<Vec<Edit>, String> {
    let pen = SpecPen::new(text, workload)?;
    let container = std::slice::from_ref(&sidecar.container);
    let (list, place) =
        if sidecar.classic { ("containers", ListPlace::Last) } else { ("initContainers", ListPlace::First) };
    let mut edits = [(list, container, place), ("volumes", &*sidecar.volumes, ListPlace::First)];
    // What goes into a list that is there comes before a new key, should both have the same place.
    edits.sort_by_key(|(key, ..)| !pen.spec.entries().iter().any(|entry| entry.is(key)));
    let edits = edits.into_iter().map(|(key, items, place)| pen.add_to(key, items, place));
    Ok(edits.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Writes into the spec of one pod, in its own style.
struct SpecPen<'n, 'a> {
    lines: LineIndex<'n>,
    workload: &'n PodManifest<'n, 'a>,
    spec: &'n YamlNode<'a>,
    /// The entry before which new ones come.
    containers: &'n MappingEntry<'a>,
    style: BlockStyle,
}

impl<'n, 'a> SpecPen<'n, 'a> {
    fn new(text: &'n str, workload: &'n PodManifest<'n, 'a>) -> Result<Self, String> {
        let (lines, spec) = (LineIndex(text), &workload.entry.value);
        let containers = workload.document.entry(spec, "containers")?.ok_or("it has no containers")?;
        let style = if spec.is_flow() || containers.value.is_flow() {
            BlockStyle { step: 2, dashes_in: true }
        } else {
            let outer = lines.before(workload.entry.key.span.start).chars().count();
            let key = lines.column(containers.key.span.start).ok_or(UNUSUAL)?;
            let dash = dash_column(lines, containers)?;
            BlockStyle { step: key.saturating_sub(outer).clamp(1, 8), dashes_in: dash > key }
        };
        Ok(Self { lines, workload, spec, containers, style })
    }

    fn add_to(&self, key: &str, items: &[YamlTree], place: ListPlace) -> Result<Vec<Edit>, String> {
        let Some(entry) = self.workload.document.entry(self.spec, key)? else {
            let made = if self.spec.is_flow() { self.flow_entry(key, items) } else { self.block_entry(key, items) };
            return made.map(|edit| vec![edit]);
        };
        let present = match &entry.value.kind {
            NodeKind::List { items, .. } => items.as_slice(),
            NodeKind::Scalar { text, plain: true } if ["", "~", "null"].contains(&&**text) => &[],
            NodeKind::Scalar { .. } | NodeKind::Map { .. } | NodeKind::Alias(_) => {
                return Err(format!("`{key}` is no list"));
            }
        };
        let (Some(first), Some(last)) = (present.first(), present.last()) else {
            let empty = if self.spec.is_flow() { Self::first_flow_items } else { Self::first_items };
            return empty(self, entry, items);
        };
        let edit = if entry.value.is_flow() {
            Ok(self.flow_items(&entry.value, first, last, items, place))
        } else {
            self.block_items(entry, [first, last], items, place)
        };
        edit.map(|edit| vec![edit])
    }

    /// `key:` and its items, before `containers:` and the comments that belong to that.
    fn block_entry(&self, key: &str, items: &[YamlTree]) -> Result<Edit, String> {
        let column = self.lines.column(self.containers.key.span.start).ok_or(UNUSUAL)?;
        let before =
            self.spec.entries().iter().take_while(|entry| entry.key.span.end <= self.containers.key.span.start);
        let floor = before.last().map_or(self.workload.entry.key.span.end, |entry| entry.value.span.end);
        let at = self.above_comments(self.containers.key.span.start, floor, column);
        let dashes = if self.style.dashes_in { column + 2 } else { column };
        let head = format!("{:column$}{key}:", "");
        let lines: Vec<_> = std::iter::once(head).chain(self.item_lines(items, dashes)).collect();
        Ok(self.lines.insert(at, &lines))
    }

    /// Items into a list that has some.
    fn block_items(
        &self,
        entry: &MappingEntry<'a>,
        [first, last]: [&YamlNode<'a>; 2],
        items: &[YamlTree],
        place: ListPlace,
    ) -> Result<Edit, String> {
        let column = dash_column(self.lines, entry)?;
        let lines = self.item_lines(items, column);
        let at = match place {
            ListPlace::First => {
                let dash = dash_line(self.lines, first, column, entry.key.span.end).ok_or(UNUSUAL)?;
                self.above_comments(dash, entry.key.span.end, column)
            }
            ListPlace::Last => self.lines.next(last.span.end),
        };
        Ok(self.lines.insert(at, &lines))
    }

    /// Items into an empty list: `[]`, `null` or nothing becomes a comment.
    fn first_items(&self, entry: &MappingEntry<'a>, items: &[YamlTree]) -> Result<Vec<Edit>, String> {
        let key = &entry.key.span;
        let column = self.lines.column(key.start).ok_or(UNUSUAL)?;
        let rest = self.lines.slice(key.end..self.lines.end(key.end));
        let colon = key.end + rest.find(':').ok_or(UNUSUAL)? + 1;
        let end = entry.value.span.end.max(colon);
        let between = self.lines.slice(colon..entry.value.span.start.max(colon));
        if !between.trim_matches(' ').is_empty() || self.lines.end(colon) < end || entry.value.is_anchored() {
            return Err(UNUSUAL.to_owned());
        }
        let dashes = if self.style.dashes_in { column + 2 } else { column };
        let lines = self.lines.insert(self.lines.next(end), &self.item_lines(items, dashes));
        Ok(vec![Edit::insert(colon, MARK), lines])
    }

    fn item_lines(&self, items: &[YamlTree], column: usize) -> Vec<String> {
        let indented = |line: String| format!("{:column$}{line}", "");
        items.iter().flat_map(|item| item.item_lines(self.style)).map(indented).collect()
    }

    /// The start of the line of `at`, or of the comments right above it in the same column; never before the line after
    /// that of `floor`.
    fn above_comments(&self, at: usize, floor: usize, column: usize) -> usize {
        let (mut start, floor) = (self.lines.start(at), self.lines.next(floor));
        while let Some(above) = self.lines.previous(start).filter(|above| *above >= floor) {
            let hash = above + column;
            if self.lines.column(hash) != Some(column) || !self.lines.slice(hash..start).starts_with('#') {
                break;
            }
            start = above;
        }
        start
    }

    /// `"key": [items], ` before `"containers"`.
    fn flow_entry(&self, key: &str, items: &[YamlTree]) -> Result<Edit, String> {
        let at = self.containers.key.span.start;
        let gap = self.gap_before(at);
        let style = self.flow_style(gap, self.spec.span.start);
        let list = YamlTree::List(items.to_vec()).flow(&style);
        Ok(Edit::insert(at, format!("\"{key}\": {list},{gap}")))
    }

    /// Items into brackets that hold some.
    fn flow_items(
        &self,
        list: &YamlNode<'a>,
        first: &YamlNode<'a>,
        last: &YamlNode<'a>,
        items: &[YamlTree],
        place: ListPlace,
    ) -> Edit {
        let gap = self.gap_before(first.span.start);
        let style = self.flow_style(gap, list.span.start);
        let texts: Vec<_> = items.iter().map(|item| format!("{gap}{}", item.flow(&style))).collect();
        match place {
            ListPlace::First => Edit::insert(list.span.start + 1, format!("{},", texts.join(","))),
            ListPlace::Last => Edit::insert(last.span.end, format!(",{}", texts.join(","))),
        }
    }

    /// Items into what is empty in braces. How many blanks follow the bracket shows `remove` what it was: none where
    /// there was no list, one for `[]`, two for `null`.
    fn first_flow_items(&self, entry: &MappingEntry<'a>, items: &[YamlTree]) -> Result<Vec<Edit>, String> {
        let texts: Vec<_> = items.iter().map(|item| item.flow(&FlowStyle::Line)).collect();
        let span = entry.value.span.clone();
        if matches!(entry.value.kind, NodeKind::List { .. }) {
            return Ok(vec![Edit::insert(span.start + 1, format!(" {}", texts.join(", ")))]);
        }
        if self.lines.slice(span.clone()) != "null" {
            return Err(UNUSUAL.to_owned());
        }
        Ok(vec![Edit { span, text: format!("[  {}]", texts.join(", ")) }])
    }

    /// The white space before `at`.
    fn gap_before(&self, at: usize) -> &'n str {
        let before = self.lines.slice(0..at);
        before.get(before.trim_ascii_end().len()..).unwrap_or_default()
    }

    /// Many lines where the entries next to it are in lines of their own.
    fn flow_style(&self, gap: &str, parent: usize) -> FlowStyle {
        let Some(line_break) = gap.rfind(['\n', '\r']) else { return FlowStyle::Line };
        let indent = gap.get(line_break + 1..).unwrap_or_default();
        let before = self.lines.before(parent);
        let outer = before.get(..before.len() - before.trim_start().len()).unwrap_or_default();
        let unit = indent.strip_prefix(outer).filter(|unit| !unit.is_empty()).unwrap_or("  ");
        let line_break = if gap.contains("\r\n") { "\r\n" } else { "\n" };
        FlowStyle::Lines { begin: format!("{line_break}{indent}"), unit: unit.to_owned() }
    }
}

/// Said of what is valid, and written in a way that no one writes it.
pub(super) const UNUSUAL: &str =
    "it is laid out in a way that cannot be edited safely; run it through a formatter first";

/// The column of the dashes of a list in block style.
pub(super) fn dash_column(lines: LineIndex<'_>, entry: &MappingEntry<'_>) -> Result<usize, String> {
    let first = entry.value.items().first().ok_or(UNUSUAL)?;
    let key = lines.column(entry.key.span.start).ok_or(UNUSUAL)?;
    // The parser says where the first dash is, save where dashes are below their key.
    let told = lines.column(entry.value.span.start).filter(|column| *column > key);
    let column = told.filter(|column| dash_line(lines, first, *column, entry.key.span.end).is_some()).unwrap_or(key);
    dash_line(lines, first, column, entry.key.span.end).map(|_| column).ok_or_else(|| UNUSUAL.to_owned())
}

/// The line with the dash of an item, in this column and after `floor`.
pub(super) fn dash_line(lines: LineIndex<'_>, item: &YamlNode<'_>, column: usize, floor: usize) -> Option<usize> {
    let mut start = lines.start(item.span.start);
    while start > floor {
        let dash = start + column;
        if lines.column(dash) == Some(column) && is_dash(lines, dash) {
            return Some(start);
        }
        start = lines.previous(start)?;
    }
    None
}

fn is_dash(lines: LineIndex<'_>, at: usize) -> bool {
    lines
        .slice(at..lines.end(at))
        .strip_prefix('-')
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}
