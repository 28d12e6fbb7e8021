//! A field of a record: name, type in a mapping, meaning. `ecs` declares them; contains no values.

/// Type of a field in an Elasticsearch or OpenSearch mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// `date_nanos` in meaning; written as RFC 3339.
    Date,
    /// `keyword`
    Keyword,
    /// `wildcard` where the server has it, else `keyword`: long, unbounded text.
    Wildcard,
    /// `long`
    Long,
    /// `ip`
    Ip,
    /// `boolean`
    Boolean,
    /// Any number of names below it, each a `keyword`.
    Object,
    /// Any number of names below it as one `flattened` field: their number is not ours to limit.
    Flattened,
}

impl FieldType {
    /// The name of the type in a mapping.
    pub fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Keyword => "keyword",
            Self::Wildcard => "wildcard",
            Self::Long => "long",
            Self::Ip => "ip",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Flattened => "flattened",
        }
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct RecordField {
    /// Dotted name; for an object, of the object.
    pub name: &'static str,
    /// Type.
    pub kind: FieldType,
    /// Meaning, one line.
    pub meaning: &'static str,
}

/// A field of this name.
pub(super) const fn field(name: &'static str, kind: FieldType, meaning: &'static str) -> RecordField {
    RecordField { name, kind, meaning }
}
