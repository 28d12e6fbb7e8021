//! Who is behind an address, as a record shows it: the workload, the names in DNS. `workload` finds them out.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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

/// `podtap.source.domain_source`, `podtap.destination.domain_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomainSource {
    /// Answers of DNS that were seen.
    Dns,
    /// What the client called the server in its TLS ClientHello (SNI).
    Sni,
    /// The Host header of the request, or `:authority`.
    Host,
}

impl DomainSource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dns, Self::Sni, Self::Host];

    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Sni => "sni",
            Self::Host => "host",
        }
    }
}

/// What the ends of a connection are called, as far as its records have been named. Records of one connection share it.
#[derive(Debug, Default)]
pub struct EndNames {
    /// By answers of DNS, of client and server, when the first record was made: the connection may outlive them.
    learnt: OnceLock<[Option<Arc<DomainNames>>; 2]>,
    /// What the client calls the server in its requests.
    called: Mutex<Option<Arc<DomainNames>>>,
}

/// Names of one server in the requests of a connection at most: a proxy may ask for many.
const MAX_CALLED: usize = 8;

impl EndNames {
    /// What answers of DNS said at the first record; `look` asks them.
    pub fn learnt(&self, look: impl FnOnce() -> [Option<Arc<DomainNames>>; 2]) -> &[Option<Arc<DomainNames>>; 2] {
        self.learnt.get_or_init(look)
    }

    /// The client calls its server so, and perhaps has called it otherwise.
    pub fn call(&self, domain: DomainNames) -> Arc<DomainNames> {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        match &*called {
            Some(known) if known.names == domain.names => Arc::clone(known),
            Some(known) => {
                let all: NameSet = known.names.iter().chain(domain.names.iter()).cloned().collect();
                if all.0.len() <= MAX_CALLED {
                    *called = Some(Arc::new(DomainNames { names: all, source: domain.source }));
                }
                Arc::new(domain)
            }
            None => Arc::clone(called.insert(Arc::new(domain))),
        }
    }

    /// All that the client has called its server.
    pub fn called(&self) -> Option<Arc<DomainNames>> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Another connection has to be named by its own records.
impl Clone for EndNames {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Names are in the records; here they are only remembered.
impl PartialEq for EndNames {
    fn eq(&self, _: &Self) -> bool {
        true
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
/// Names have `_` for `.`, as Elastic's shippers write them. `app.kubernetes.io/name` would make `app` an object, which
/// it cannot be where another label is called `app`.
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
    fn a_connection_remembers_all_names_that_its_server_was_called_up_to_a_limit() {
        let names = EndNames::default();
        let call = |name: &str| {
            names.call(DomainNames { names: [name].into_iter().collect(), source: DomainSource::Host }).names.clone()
        };
        let called = || -> Vec<_> { names.called().unwrap().names.iter().map(ToString::to_string).collect() };
        assert_eq!(names.called(), None);
        assert_eq!([call("b"), call("a"), call("b")], ["b", "a", "b"].map(|name| [name].into_iter().collect()));
        assert_eq!(called(), ["a", "b"]);
        for n in 0..100 {
            call(&format!("x{n}"));
        }
        assert_eq!(called().len(), MAX_CALLED);
    }

    #[test]
    fn labels_have_no_dots_and_each_name_once() {
        let labels: LabelSet =
            [("b", "1"), ("app.kubernetes.io/name", "cart"), ("a", "2"), ("a", "3")].into_iter().collect();
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("a", "2"), ("app_kubernetes_io/name", "cart"), ("b", "1")]);
    }
}
