//! What is put into a document: a value whose keys keep their order, and how it is written in block and in flow style.
//!
//! Knows nothing of sidecars, and nothing of the document it goes into but its style.

use serde_json::Value;

/// Something to be written into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum YamlTree {
    /// A string.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(i64),
    /// A list.
    List(Vec<Self>),
    /// A mapping, its keys in order.
    Map(Vec<(&'static str, Self)>),
    /// The same in flow style, also where the document is in block style.
    Short(Box<Self>),
}

/// How block style looks in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockStyle {
    /// Blanks for each level.
    pub(super) step: usize,
    /// Whether the dashes of a list are indented further than its key.
    pub(super) dashes_in: bool,
}

/// How flow style looks in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlowStyle {
    /// All in one line.
    Line,
    /// A line for each entry.
    Lines {
        /// What the entry itself is indented by, its line break included.
        begin: String,
        /// What each level adds.
        unit: String,
    },
}

impl From<&str> for YamlTree {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl YamlTree {
    /// The same in flow style.
    pub(crate) fn short(self) -> Self {
        Self::Short(Box::new(self))
    }

    /// The value, for comparing and for JSON.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Bool(yes) => Value::Bool(*yes),
            Self::Number(number) => Value::from(*number),
            Self::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| ((*key).to_owned(), value.value())).collect())
            }
            Self::Short(tree) => tree.value(),
        }
    }

    /// The lines of an item of a list in block style, without indentation in front.
    pub(super) fn item_lines(&self, style: BlockStyle) -> Vec<String> {
        let Some(lines) = self.block_lines(style) else { return vec![format!("- {}", self.plain())] };
        let dash = |(n, line): (usize, String)| if n == 0 { format!("- {line}") } else { format!("  {line}") };
        lines.into_iter().enumerate().map(dash).collect()
    }

    /// The lines of a mapping or list in block style; none of what is in one line.
    fn block_lines(&self, style: BlockStyle) -> Option<Vec<String>> {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                Some(entries.iter().flat_map(|(key, value)| value.entry_lines(key, style)).collect())
            }
            Self::List(items) if !items.is_empty() => {
                Some(items.iter().flat_map(|item| item.item_lines(style)).collect())
            }
            Self::Text(_) | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Map(_) | Self::Short(_) => None,
        }
    }

    fn entry_lines(&self, key: &str, style: BlockStyle) -> Vec<String> {
        let Some(lines) = self.block_lines(style) else { return vec![format!("{key}: {}", self.plain())] };
        let is_list = matches!(self, Self::List(_));
        let depth = match (is_list, style.dashes_in) {
            (true, false) => 0,
            (true, true) => 2,
            (false, _) => style.step,
        };
        let inner = lines.into_iter().map(|line| format!("{:depth$}{line}", ""));
        std::iter::once(format!("{key}:")).chain(inner).collect()
    }

    /// In one line, as YAML for the eyes.
    fn plain(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Bool(yes) => yes.to_string(),
            Self::Number(number) => number.to_string(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::plain).collect::<Vec<_>>().join(", ")),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{key}: {}", value.plain()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
            Self::Short(tree) => tree.plain(),
        }
    }

    /// As JSON, which is YAML in flow style too.
    pub(super) fn flow(&self, style: &FlowStyle) -> String {
        let FlowStyle::Lines { begin, unit } = style else { return self.json_line() };
        let inner = FlowStyle::Lines { begin: format!("{begin}{unit}"), unit: unit.clone() };
        let FlowStyle::Lines { begin: deeper, .. } = &inner else { return String::new() };
        match self {
            Self::List(items) if !items.is_empty() => {
                let items = items.iter().map(|item| format!("{deeper}{}", item.flow(&inner)));
                format!("[{}{begin}]", items.collect::<Vec<_>>().join(","))
            }
            Self::Map(entries) if !entries.is_empty() => {
                let entries =
                    entries.iter().map(|(key, value)| format!("{deeper}{}: {}", quoted(key), value.flow(&inner)));
                format!("{{{}{begin}}}", entries.collect::<Vec<_>>().join(","))
            }
            Self::Short(tree) => tree.flow(style),
            Self::Text(_) | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Map(_) => self.json_line(),
        }
    }

    fn json_line(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Bool(_) | Self::Number(_) => self.plain(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::json_line).collect::<Vec<_>>().join(", ")),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{}: {}", quoted(key), value.json_line()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
            Self::Short(tree) => tree.json_line(),
        }
    }
}

/// A string as YAML: bare where every reader takes it for the same string, else quoted.
fn scalar(text: &str) -> String {
    if is_bare(text) { text.to_owned() } else { quoted(text) }
}

/// Words that some version of YAML takes for something other than a string.
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];

fn is_bare(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/._-@:".contains(c);
    let quantity = || {
        let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
        digits.len() < text.len() && ["m", "Ki", "Mi", "Gi"].contains(&digits)
    };
    let named = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    (named || quantity())
        && text.chars().all(allowed)
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A string in double quotes, the same in JSON and in every version of YAML.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line breaks to YAML 1.1, marks, and what no terminal shows.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> YamlTree {
        YamlTree::Map(vec![
            ("name", "a".into()),
            (
                "list",
                YamlTree::List(vec![
                    "x".into(),
                    YamlTree::Map(vec![("b", YamlTree::Bool(true)), ("n", YamlTree::Number(1))]),
                ]),
            ),
            ("map", YamlTree::Map(vec![("k", YamlTree::Map(vec![("l", "m".into())]).short())])),
            ("none", YamlTree::Map(Vec::new())),
        ])
    }

    #[test]
    fn block_style_follows_the_documents_own() {
        for (step, dashes_in, expected) in [
            (2, true, "- name: a\n  list:\n    - x\n    - b: true\n      n: 1\n  map:\n    k: {l: m}\n  none: {}"),
            (4, false, "- name: a\n  list:\n  - x\n  - b: true\n    n: 1\n  map:\n      k: {l: m}\n  none: {}"),
        ] {
            assert_eq!(sample().item_lines(BlockStyle { step, dashes_in }).join("\n"), expected);
        }
    }

    #[test]
    fn flow_style_is_json_in_one_line_or_in_many() {
        let lines = FlowStyle::Lines { begin: "\n\t".to_owned(), unit: "\t".to_owned() };
        let pretty = sample().flow(&lines);
        assert!(pretty.starts_with("{\n\t\t\"name\": \"a\",\n\t\t\"list\": [\n\t\t\t\"x\",\n\t\t\t{\n"), "{pretty}");
        assert!(pretty.ends_with("\n\t\t\"none\": {}\n\t}"), "{pretty}");
        let line = sample().flow(&FlowStyle::Line);
        assert!(!line.contains('\n'));
        for text in [pretty, line] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), sample().value());
        }
    }

    #[test]
    fn a_string_is_bare_only_where_no_parser_reads_anything_else() {
        for bare in ["Always", "64Mi", "10m", "ghcr.io/a/b:0.1.0", "/etc/podtap/pod", "status.podIP", "a@b"] {
            assert_eq!(scalar(bare), bare);
        }
        for quoted in
            ["", "true", "No", "null", "y", "1", "1e3", "0x1", "12:30", ":x", "a:", "a: b", "a #b", "*a", "é", "-"]
        {
            assert_eq!(scalar(quoted), format!("\"{quoted}\""));
        }
        assert_eq!(scalar("a\"\\\n\u{85}\u{2028}\u{1b}"), "\"a\\\"\\\\\\n\\u0085\\u2028\\u001b\"");
    }
}
