//! Who is behind an address, as a record shows it: the workload, the names in DNS. `workload` finds them out.

use compact_str::CompactString;

/// The workload behind an address: `podtap.source.workload`, `podtap.destination.workload`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Workload {
    /// Namespace.
    pub namespace: Option<CompactString>,
    /// Name.
    pub name: Option<CompactString>,
    /// Kind: Pod, Service, Node, …
    pub kind: Option<CompactString>,
    /// The Services that it serves.
    pub services: NameSet,
    /// The node that it runs on.
    pub node: Option<CompactString>,
    /// Labels.
    pub labels: LabelSet,
}

/// The names of an address: `source.domain`, `destination.domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainNames {
    /// All of them.
    pub names: NameSet,
    /// Who says so.
    pub source: DomainSource,
}

/// `podtap.destination.domain_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomainSource {
    /// Answers of DNS that were seen.
    Dns,
    /// The Host header of the request, or `:authority`.
    Host,
}

impl DomainSource {
    /// `podtap.destination.domain_source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Host => "host",
        }
    }
}

/// Names in their order, each once. One is written as a string, several as a list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NameSet(Vec<CompactString>);

impl NameSet {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &CompactString> {
        self.0.iter()
    }
}

impl<N: Into<CompactString>> FromIterator<N> for NameSet {
    fn from_iter<T: IntoIterator<Item = N>>(names: T) -> Self {
        let mut names: Vec<CompactString> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }
}

impl serde::Serialize for NameSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            several => serializer.collect_seq(several),
        }
    }
}

/// Names and values, in the order of the names, each once.
///
/// Names have `_` for `.`, as Elastic's shippers write them: `app.kubernetes.io/name` would make `app` an object,
/// which it cannot be where another label is called `app`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LabelSet(Vec<(CompactString, CompactString)>);

impl LabelSet {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of one.
    pub fn value(&self, name: &str) -> Option<&CompactString> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Bytes of memory that they take.
    pub(crate) fn room(&self) -> usize {
        let long = |text: &CompactString| if text.is_heap_allocated() { text.capacity() } else { 0 };
        self.0.iter().map(|pair| size_of_val(pair) + long(&pair.0) + long(&pair.1)).sum()
    }
}

impl<N: AsRef<str>, V: Into<CompactString>> FromIterator<(N, V)> for LabelSet {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let dedot = |name: &str| name.chars().map(|c| if c == '.' { '_' } else { c }).collect::<CompactString>();
        let mut pairs: Vec<_> = pairs.into_iter().map(|(n, v)| (dedot(n.as_ref()), v.into())).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|next, kept| next.0 == kept.0);
        Self(pairs)
    }
}

impl serde::Serialize for LabelSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_a_string_and_several_are_a_list_in_order() {
        for (names, json) in [(&["b"][..], r#""b""#), (&["b", "a", "b"], r#"["a","b"]"#), (&[], "[]")] {
            assert_eq!(serde_json::to_string(&names.iter().copied().collect::<NameSet>()).unwrap(), json);
        }
    }

    #[test]
    fn labels_have_no_dots_and_each_name_once() {
        let labels: LabelSet =
            [("b", "1"), ("app.kubernetes.io/name", "cart"), ("a", "2"), ("a", "3")].into_iter().collect();
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("a", "2"), ("app_kubernetes_io/name", "cart"), ("b", "1")]);
    }
}
