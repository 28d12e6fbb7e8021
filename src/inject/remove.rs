//! Removes a sidecar from a document, however it got there: the reverse of `insert`.
//!
//! Takes no more than what is ours; what was changed around it meanwhile stays.

use serde_json::Value;

use super::insert::{MARK, UNUSUAL, dash_column, dash_line};
use super::lines::{Edit, LineIndex};
use super::predecessor::{LISTS, is_predecessor};
use super::spec::{is_own_container, is_own_volume, own_place};
use super::workload::PodManifest;
use crate::yaml::{MappingEntry, YamlNode};

/// The edits that take our sidecar out; none where there is none.
pub(super) fn remove(text: &str, workload: &PodManifest<'_, '_>) -> Result<Vec<Edit>, String> {
    let Some((list, _)) = own_place(&workload.spec) else { return Ok(Vec::new()) };
    let eraser = Eraser { lines: LineIndex(text), workload };
    let mut edits = eraser.take_from(list, is_own_container)?;
    edits.extend(eraser.take_from("volumes", is_own_volume)?);
    Ok(edits)
}

/// The same, and the loggers that podtap replaces.
pub(super) fn remove_with_predecessors(text: &str, workload: &PodManifest<'_, '_>) -> Result<Vec<Edit>, String> {
    let eraser = Eraser { lines: LineIndex(text), workload };
    let own = own_place(&workload.spec);
    let mut edits = Vec::new();
    for list in LISTS {
        let is_ours = |container: &Value| own.is_some_and(|(place, _)| place == list) && is_own_container(container);
        edits.extend(eraser.take_from(list, |container| is_ours(container) || is_predecessor(container))?);
    }
    if own.is_some() {
        edits.extend(eraser.take_from("volumes", is_own_volume)?);
    }
    Ok(edits)
}

struct Eraser<'n, 'a> {
    lines: LineIndex<'n>,
    workload: &'n PodManifest<'n, 'a>,
}

impl<'n, 'a> Eraser<'n, 'a> {
    fn take_from(&self, key: &str, is_own: impl Fn(&Value) -> bool) -> Result<Vec<Edit>, String> {
        let spec = &self.workload.entry.value;
        let Some(entry) = self.workload.document.entry(spec, key)? else { return Ok(Vec::new()) };
        let items = entry.value.items();
        let mut own = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if is_own(&self.workload.document.value(item)?) {
                own.push(at);
            }
        }
        let all = own.len() == items.len();
        match own.as_slice() {
            [] => Ok(Vec::new()),
            _ if spec.is_flow() && all => self.flow_list(spec, entry),
            _ if entry.value.is_flow() => self.flow_items(items, &own),
            _ if all => self.list(entry),
            _ => own.iter().map(|at| self.item(entry, *at)).collect(),
        }
    }

    /// One item, with its lines.
    fn item(&self, entry: &MappingEntry<'a>, at: usize) -> Result<Edit, String> {
        let column = dash_column(self.lines, entry)?;
        let items = entry.value.items();
        let item = items.get(at).ok_or(UNUSUAL)?;
        let floor =
            at.checked_sub(1).and_then(|before| items.get(before)).map_or(entry.key.span.end, |item| item.span.end);
        let dash = dash_line(self.lines, item, column, floor).ok_or(UNUSUAL)?;
        Ok(self.lines.remove(dash, item.span.end))
    }

    /// A list of which all is ours: what stood there before, by the mark, or else nothing.
    fn list(&self, entry: &MappingEntry<'a>) -> Result<Vec<Edit>, String> {
        let key = entry.key.span.clone();
        self.lines.column(key.start).ok_or(UNUSUAL)?;
        let last = entry.value.items().last().ok_or(UNUSUAL)?;
        let rest = self.lines.slice(key.end..self.lines.end(key.end));
        let Some(mark) = rest.find(MARK).map(|found| key.end + found) else {
            return Ok(vec![self.lines.remove(key.start, last.span.end)]);
        };
        let column = dash_column(self.lines, entry)?;
        let first = entry.value.items().first().ok_or(UNUSUAL)?;
        let dash = dash_line(self.lines, first, column, key.end).ok_or(UNUSUAL)?;
        Ok(vec![Edit::remove(mark..mark + MARK.len()), self.lines.remove(dash, last.span.end)])
    }

    /// Items in brackets, each with the comma that parts it from its neighbour.
    fn flow_items(&self, items: &[YamlNode<'a>], own: &[usize]) -> Result<Vec<Edit>, String> {
        let mut edits = Vec::new();
        for at in own {
            let item = items.get(*at).ok_or(UNUSUAL)?;
            let before = at.checked_sub(1).and_then(|before| items.get(before));
            edits.push(match (before, items.get(at + 1)) {
                // Others follow: from the bracket or comma before it through the comma after it.
                (_, Some(_)) => {
                    let start = self.lines.slice(0..item.span.start).trim_ascii_end().len();
                    Edit::remove(start..self.comma_after(item.span.end)?)
                }
                (Some(before), None) => Edit::remove(before.span.end..item.span.end),
                (None, None) => Edit::remove(item.span.clone()),
            });
        }
        Ok(edits)
    }

    /// A list in braces of which all is ours; the blanks after the bracket tell what stood there before.
    fn flow_list(&self, spec: &YamlNode<'a>, entry: &MappingEntry<'a>) -> Result<Vec<Edit>, String> {
        let list = entry.value.span.clone();
        let last = entry.value.items().last().ok_or(UNUSUAL)?;
        let inside = self.lines.slice(list.start + 1..list.end);
        match inside.len() - inside.trim_start_matches(' ').len() {
            1 => return Ok(vec![Edit::remove(list.start + 1..last.span.end)]),
            2 => return Ok(vec![Edit { span: list, text: "null".to_owned() }]),
            _ => {}
        }
        let entries = spec.entries();
        let at = entries.iter().position(|other| other.key.span == entry.key.span).ok_or(UNUSUAL)?;
        let span = match (at.checked_sub(1).and_then(|before| entries.get(before)), entries.get(at + 1)) {
            (_, Some(next)) if self.lines.slice(list.end..next.key.span.start).trim() == "," => {
                entry.key.span.start..next.key.span.start
            }
            (Some(before), None) => before.value.span.end..list.end,
            _ => return Err(UNUSUAL.to_owned()),
        };
        Ok(vec![Edit::remove(span)])
    }

    fn comma_after(&self, at: usize) -> Result<usize, String> {
        let rest = self.lines.slice(at..self.lines.0.len());
        let blanks = rest.len() - rest.trim_ascii_start().len();
        rest.get(blanks..)
            .filter(|rest| rest.starts_with(','))
            .map(|_| at + blanks + 1)
            .ok_or_else(|| UNUSUAL.to_owned())
    }
}
