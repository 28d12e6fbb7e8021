//! YAML as a tree that knows the place of each node in the text.
//!
//! Changes nothing. JSON is read as the YAML it is. What a node means (`value`) follows YAML 1.2 save for `yes`, `no`,
//! `on`, `off`, which Kubernetes' own reader takes for booleans.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, StructureStyle, Tag, options};
use serde_json::{Map, Value};

/// Most nodes that the aliases of one document mean in all, each time one is written out.
const MOST_ALIASED: usize = 1 << 20;
/// Deepest nesting with all aliases written out.
const DEEPEST: usize = 600;

/// One document of a stream, as it was read.
pub(crate) struct ParsedDocument<'a> {
    root: YamlNode<'a>,
    /// How many aliases mean each anchor.
    used: HashMap<usize, usize>,
}

/// A document whose aliases are resolved.
pub(crate) struct YamlDocument<'n, 'a> {
    /// Its top node.
    pub(crate) root: &'n YamlNode<'a>,
    used: &'n HashMap<usize, usize>,
    anchors: HashMap<usize, &'n YamlNode<'a>>,
    /// How many nodes its aliases may still expand to.
    aliased_left: Cell<usize>,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct YamlNode<'a> {
    /// What it is.
    pub(crate) kind: NodeKind<'a>,
    /// From its first to after its last byte; properties (anchor, tag) are before it.
    pub(crate) span: Range<usize>,
    /// The line it begins in, from 1.
    pub(crate) line: usize,
    anchor: usize,
    is_text: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum NodeKind<'a> {
    /// A string, number and so on.
    Scalar {
        /// As read.
        text: std::borrow::Cow<'a, str>,
        /// Neither quoted nor a block.
        plain: bool,
    },
    /// A list.
    List {
        /// Its items.
        items: Vec<YamlNode<'a>>,
        /// In brackets.
        flow: bool,
    },
    /// A mapping.
    Map {
        /// Its entries, in the text's order.
        entries: Vec<MappingEntry<'a>>,
        /// In braces.
        flow: bool,
    },
    /// What is elsewhere under this anchor.
    Alias(usize),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct MappingEntry<'a> {
    /// Its key.
    pub(crate) key: YamlNode<'a>,
    /// Its value.
    pub(crate) value: YamlNode<'a>,
}

/// Why a text is no YAML, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedYaml {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: String,
}

impl std::fmt::Display for MalformedYaml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.why)
    }
}

impl From<ScanError> for MalformedYaml {
    fn from(error: ScanError) -> Self {
        let mark = error.marker();
        Self { line: mark.line(), column: mark.col() + 1, why: error.info().to_owned() }
    }
}

/// The documents of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<ParsedDocument<'_>>, MalformedYaml> {
    let mut settings: Options = options! {};
    settings.set_emit_comments(false);
    let mut reader =
        YamlReader { text, events: Parser::new_from_str_with_options(text, settings), used: HashMap::new() };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        if event.is_node() {
            let root = reader.node(event, span)?;
            documents.push(ParsedDocument { root, used: std::mem::take(&mut reader.used) });
        }
    }
    Ok(documents)
}

/// What the first document of a text means; null where there is none.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    let documents = parse(text).map_err(|malformed| malformed.to_string())?;
    let first = documents.first().map(ParsedDocument::document);
    first.map_or(Ok(Value::Null), |document| document.value(document.root))
}

struct YamlReader<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    used: HashMap<usize, usize>,
}

impl<'a> YamlReader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, MalformedYaml> {
        Ok(self.events.next().transpose()?)
    }

    /// The node that begins with `event`. The parser bounds how deep they nest.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<YamlNode<'a>, MalformedYaml> {
        let anchor = event.anchor_id().unwrap_or_default();
        let is_text = event.tag().and_then(Tag::core_suffix).is_some_and(|suffix| suffix == "str");
        let line = span.start.line();
        let span = span.byte_range().unwrap_or_default();
        let (kind, span) = if let Event::SequenceStart(style, ..) = event {
            self.list(style == StructureStyle::Flow, span)?
        } else if let Event::MappingStart(style, ..) = event {
            self.map(style == StructureStyle::Flow, span)?
        } else if let Event::Alias(anchor) = event {
            *self.used.entry(anchor).or_default() += 1;
            (NodeKind::Alias(anchor), span)
        } else if let Event::Scalar(text, style, ..) = event {
            self.scalar(text, style, span)
        } else {
            (NodeKind::Scalar { text: "".into(), plain: true }, span)
        };
        Ok(YamlNode { kind, span, line, anchor, is_text })
    }

    fn scalar(
        &self,
        text: std::borrow::Cow<'a, str>,
        style: ScalarStyle,
        span: Range<usize>,
    ) -> (NodeKind<'a>, Range<usize>) {
        let plain = style == ScalarStyle::Plain;
        if plain && span.is_empty() {
            return (NodeKind::Scalar { text: "".into(), plain }, span);
        }
        // A block scalar's span takes in the empty lines after it, which belong to it only where it keeps them (`|+`).
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let keeps = !block || text.ends_with("\n\n");
        let whole = self.text.get(span.clone()).unwrap_or_default();
        let length = if keeps { whole.len() } else { whole.trim_ascii_end().len() };
        (NodeKind::Scalar { text, plain }, span.start..span.start + length)
    }

    fn list(&mut self, flow: bool, span: Range<usize>) -> Result<(NodeKind<'a>, Range<usize>), MalformedYaml> {
        let (mut items, mut end) = (Vec::new(), span.end);
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                end = if flow { at.byte_range().unwrap_or_default().end } else { end };
                break;
            }
            let item = self.node(event, at)?;
            end = end.max(item.span.end);
            items.push(item);
        }
        Ok((NodeKind::List { items, flow }, span.start..end))
    }

    fn map(&mut self, flow: bool, span: Range<usize>) -> Result<(NodeKind<'a>, Range<usize>), MalformedYaml> {
        let (mut entries, mut end) = (Vec::new(), span.end);
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                end = if flow { at.byte_range().unwrap_or_default().end } else { end };
                break;
            }
            let key = self.node(event, at)?;
            let Some((event, at)) = self.next()? else { break };
            let mut value = self.node(event, at)?;
            // Nothing is where its key ends, wherever the parser notices.
            if value.is_nothing() {
                value.span = key.span.end..key.span.end;
            }
            end = end.max(key.span.end).max(value.span.end);
            entries.push(MappingEntry { key, value });
        }
        Ok((NodeKind::Map { entries, flow }, span.start..end))
    }
}

impl<'a> YamlNode<'a> {
    /// Whether no character means it.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar { text, plain: true } if text.is_empty())
    }

    /// Whether it is a mapping or list in braces or brackets.
    pub(crate) fn is_flow(&self) -> bool {
        matches!(self.kind, NodeKind::Map { flow: true, .. } | NodeKind::List { flow: true, .. })
    }

    /// Whether it has an anchor.
    pub(crate) fn is_anchored(&self) -> bool {
        self.anchor != 0
    }

    /// The entries of a mapping; none of anything else.
    pub(crate) fn entries(&self) -> &[MappingEntry<'a>] {
        if let NodeKind::Map { entries, .. } = &self.kind { entries } else { &[] }
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[YamlNode<'a>] {
        if let NodeKind::List { items, .. } = &self.kind { items } else { &[] }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        if let NodeKind::Scalar { text, .. } = &self.kind { Some(text) } else { None }
    }

    fn anchors<'n>(&'n self, into: &mut HashMap<usize, &'n Self>) {
        if self.anchor != 0 {
            into.insert(self.anchor, self);
        }
        self.entries().iter().for_each(|entry| {
            entry.key.anchors(into);
            entry.value.anchors(into);
        });
        self.items().iter().for_each(|item| item.anchors(into));
    }
}

impl MappingEntry<'_> {
    /// Whether this is its key.
    pub(crate) fn is(&self, key: &str) -> bool {
        self.key.text() == Some(key)
    }
}

impl<'a> ParsedDocument<'a> {
    /// The same with its aliases resolved.
    pub(crate) fn document(&self) -> YamlDocument<'_, 'a> {
        let mut anchors = HashMap::new();
        if !self.used.is_empty() {
            self.root.anchors(&mut anchors);
        }
        YamlDocument { root: &self.root, used: &self.used, anchors, aliased_left: Cell::new(MOST_ALIASED) }
    }
}

impl<'a> YamlDocument<'_, 'a> {
    /// The entry of a mapping that is to be edited or walked through; the error says why that cannot be.
    pub(crate) fn entry<'m>(&self, map: &'m YamlNode<'a>, key: &str) -> Result<Option<&'m MappingEntry<'a>>, String> {
        let mut found = map.entries().iter().filter(|entry| entry.is(key));
        let Some(entry) = found.next() else {
            let merged = map.entries().iter().any(|entry| entry.is("<<"));
            let value = if merged { self.value(map)? } else { Value::Null };
            return match value.get(key) {
                Some(_) => Err(format!("`{key}` comes in by a merge key (<<), and an edit there would change others")),
                None => Ok(None),
            };
        };
        if found.next().is_some() {
            return Err(format!("`{key}` appears twice"));
        }
        if matches!(entry.value.kind, NodeKind::Alias(_)) {
            return Err(format!("`{key}` is an alias, and editing its anchor would change others"));
        }
        if self.used.contains_key(&entry.value.anchor) {
            return Err(format!("`{key}` has aliases, and editing it would change them"));
        }
        Ok(Some(entry))
    }

    /// What a node means, aliases and merge keys written out.
    pub(crate) fn value(&self, node: &YamlNode<'a>) -> Result<Value, String> {
        self.meaning(node, 0, false)
    }

    fn meaning(&self, node: &YamlNode<'a>, depth: usize, aliased: bool) -> Result<Value, String> {
        if aliased {
            let left = self.aliased_left.get().checked_sub(1).ok_or("too large with its aliases written out")?;
            self.aliased_left.set(left);
        }
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        Ok(match &node.kind {
            NodeKind::Scalar { text, plain: true } if !node.is_text => plain(text),
            NodeKind::Scalar { text, .. } => Value::String(text.to_string()),
            NodeKind::List { items, .. } => {
                let item = |item| self.meaning(item, depth + 1, aliased);
                Value::Array(items.iter().map(item).collect::<Result<_, _>>()?)
            }
            NodeKind::Map { entries, .. } => Value::Object(self.entries(entries, depth, aliased)?),
            NodeKind::Alias(anchor) => match self.anchors.get(anchor).copied() {
                Some(meant) => self.meaning(meant, depth + 1, true)?,
                None => Value::Null,
            },
        })
    }

    fn entries(&self, entries: &[MappingEntry<'a>], depth: usize, aliased: bool) -> Result<Map<String, Value>, String> {
        let (mut own, mut merged) = (Map::new(), Vec::new());
        for entry in entries {
            let value = self.meaning(&entry.value, depth + 1, aliased)?;
            match (self.meaning(&entry.key, depth + 1, aliased)?, value) {
                (Value::String(key), Value::Array(maps)) if key == "<<" => merged.extend(maps),
                (Value::String(key), map) if key == "<<" => merged.push(map),
                (Value::String(key), value) => drop(own.insert(key, value)),
                (key, value) => drop(own.insert(key.to_string(), value)),
            }
        }
        for map in merged.into_iter().filter_map(|map| if let Value::Object(map) = map { Some(map) } else { None }) {
            for (key, value) in map {
                own.entry(key).or_insert(value);
            }
        }
        Ok(own)
    }
}

/// What an unquoted scalar means.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let number = text.parse::<f64>().ok().filter(|_| numeric).and_then(serde_json::Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}
