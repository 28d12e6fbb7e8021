//! The parts of the record whose shape is not a struct: headers, lists of names, the whole URL.

use std::fmt;

use compact_str::CompactString;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::record::{HttpHeader, MissingParts, WeirdSet};
use crate::shape::target::RequestUrl;

/// Headers as a map: lower-case names, a string for a single field, a list for a repeated one.
pub(super) struct HeaderMap<'a>(pub(super) &'a [HttpHeader]);

/// The values of one name, from its first header on.
struct HeaderValues<'a> {
    name: &'a str,
    from_first: &'a [HttpHeader],
}

impl HeaderMap<'_> {
    /// Each name once, with the headers from its first on. The number of headers is limited where they are parsed.
    fn names(&self) -> impl Iterator<Item = HeaderValues<'_>> {
        self.0.iter().enumerate().filter_map(|(n, header)| {
            let (before, from_first) = self.0.split_at_checked(n)?;
            let is_first = !before.iter().any(|h| h.name.eq_ignore_ascii_case(&header.name));
            is_first.then_some(HeaderValues { name: &header.name, from_first })
        })
    }
}

impl HeaderValues<'_> {
    fn all(&self) -> impl Iterator<Item = &str> {
        let same_name = self.from_first.iter().filter(|h| h.name.eq_ignore_ascii_case(self.name));
        same_name.map(|h| h.value.as_str())
    }
}

impl Serialize for HeaderMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.names().count()))?;
        for values in self.names() {
            let lower: CompactString = values.name.chars().map(|c| c.to_ascii_lowercase()).collect();
            map.serialize_entry(lower.as_str(), &values)?;
        }
        map.end()
    }
}

impl Serialize for HeaderValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = self.all().count();
        if let (1, Some(value)) = (count, self.all().next()) {
            return serializer.serialize_str(value);
        }
        let mut list = serializer.serialize_seq(Some(count))?;
        self.all().try_for_each(|value| list.serialize_element(value))?;
        list.end()
    }
}

/// `podtap.missing`
pub(super) struct MissingNames(pub(super) MissingParts);

impl Serialize for MissingNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.names().count()))?;
        self.0.names().try_for_each(|name| list.serialize_element(name))?;
        list.end()
    }
}

/// `podtap.weird`
pub(super) struct WeirdNames(pub(super) WeirdSet);

impl Serialize for WeirdNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.iter().count()))?;
        self.0.iter().try_for_each(|weird| list.serialize_element(weird.name()))?;
        list.end()
    }
}

/// `url.full`, put together while it is written.
pub(super) struct FullUrl<'a> {
    pub(super) scheme: &'a str,
    pub(super) domain: &'a str,
    pub(super) port: Option<u16>,
    pub(super) path_and_query: &'a str,
}

impl<'a> FullUrl<'a> {
    /// The whole URL, where scheme and host are known and the target is a path (or `*`, RFC 9112 §3.2.4).
    pub(super) fn of(url: &RequestUrl<'a>) -> Option<Self> {
        let rest = url.path_and_query;
        let fits = rest.is_empty() || rest.starts_with(['/', '?', '#']);
        let (scheme, domain) = (url.scheme?, url.domain?);
        // Without its port it would be another URL.
        (fits && !url.has_bad_port).then_some(Self { scheme, domain, port: url.port, path_and_query: rest })
    }

    pub(super) fn len(&self) -> usize {
        self.scheme.len() + self.domain.len() + self.path_and_query.len() + "://:65535".len()
    }
}

impl fmt::Display for FullUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme)?;
        f.write_str("://")?;
        f.write_str(self.domain)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.path_and_query)
    }
}

impl Serialize for FullUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
