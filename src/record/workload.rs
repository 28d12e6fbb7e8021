//! The workload behind an address, as a record shows it. `identity` finds it out.

use compact_str::CompactString;

/// The workload behind an address: `podtap.source.workload`, `podtap.destination.workload`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Workload {
    /// Namespace.
    pub namespace: Option<CompactString>,
    /// Name.
    pub name: Option<CompactString>,
    /// Kind: Pod, Deployment, Service, …
    pub kind: Option<CompactString>,
    /// Labels.
    pub labels: Labels,
}

/// Names and values, in the order of the names, each once.
///
/// Names have `_` for `.`, as Elastic's shippers write them: `app.kubernetes.io/name` would make `app` an object,
/// which it cannot be where another label is called `app`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Labels(Vec<(CompactString, CompactString)>);

impl Labels {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: AsRef<str>, V: Into<CompactString>> FromIterator<(N, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let dedot = |name: &str| name.chars().map(|c| if c == '.' { '_' } else { c }).collect::<CompactString>();
        let mut pairs: Vec<_> = pairs.into_iter().map(|(n, v)| (dedot(n.as_ref()), v.into())).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|next, kept| next.0 == kept.0);
        Self(pairs)
    }
}

impl serde::Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_no_dots_and_each_name_once() {
        let labels: Labels =
            [("b", "1"), ("app.kubernetes.io/name", "cart"), ("a", "2"), ("a", "3")].into_iter().collect();
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("a", "2"), ("app_kubernetes_io/name", "cart"), ("b", "1")]);
    }
}
