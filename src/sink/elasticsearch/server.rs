//! Which server this is and what it can do: the one place that knows versions. Pure; `target` does the asking.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFlavour {
    /// Elastic's.
    Elasticsearch,
    /// Elastic's, run by Elastic: no versions, no ILM.
    Serverless,
    /// OpenSearch, and the services made of it.
    OpenSearch,
}

/// Flavour and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    /// Whose.
    pub flavour: ServerFlavour,
    /// 7, 8, 9; of OpenSearch 1, 2, 3.
    pub major: u16,
    /// Unknown in `8.x`.
    pub minor: Option<u16>,
}

/// What `GET /` answers, as far as it matters here.
#[derive(Deserialize)]
struct Main<'a> {
    #[serde(borrow)]
    version: VersionAnswer<'a>,
    #[serde(borrow, default)]
    tagline: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
struct VersionAnswer<'a> {
    #[serde(borrow)]
    number: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    distribution: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    build_flavor: Option<std::borrow::Cow<'a, str>>,
}

impl ServerVersion {
    /// From the answer to `GET /`.
    pub fn from_main(body: &[u8]) -> Result<Self, String> {
        let main: Main<'_> = serde_json::from_slice(body)
            .map_err(|_| "what answers there is neither Elasticsearch nor OpenSearch".to_owned())?;
        // OpenSearch can be set to call itself 7.10.2, for old clients; its name stays.
        let opensearch = main.version.distribution.as_deref() == Some("opensearch")
            || main.tagline.as_deref().is_some_and(|line| line.contains("OpenSearch"));
        let flavour = match main.version.build_flavor.as_deref() {
            _ if opensearch => ServerFlavour::OpenSearch,
            Some("serverless") => ServerFlavour::Serverless,
            _ => ServerFlavour::Elasticsearch,
        };
        numbers(&main.version.number)
            .map(|(major, minor)| Self { flavour, major, minor })
            .ok_or_else(|| "the server does not report its version".to_owned())
    }

    /// Whether what somebody gave fits what was found: `8.x` fits 8.13.
    pub(super) fn agrees(self, found: Self) -> bool {
        let flavour = match (self.flavour, found.flavour) {
            (ServerFlavour::Elasticsearch, ServerFlavour::Serverless) => return true,
            (given, found) => given == found,
        };
        flavour && self.major == found.major && self.minor.is_none_or(|minor| found.minor.is_none_or(|is| is == minor))
    }

    fn at_least(self, flavour: ServerFlavour, major: u16, minor: u16) -> bool {
        self.flavour == flavour && (self.major, self.minor.unwrap_or(0)) >= (major, minor)
    }

    fn elastic_since(self, major: u16, minor: u16) -> bool {
        self.flavour == ServerFlavour::Serverless || self.at_least(ServerFlavour::Elasticsearch, major, minor)
    }

    /// Whether indices have mapping types: the URL may name one. OpenSearch 1 came from Elasticsearch 7.
    pub fn has_types(self) -> bool {
        match self.flavour {
            ServerFlavour::Elasticsearch => self.major < 8,
            ServerFlavour::OpenSearch => self.major < 2,
            ServerFlavour::Serverless => false,
        }
    }

    /// Whether there are data streams (Elasticsearch 7.9, every OpenSearch). Of `7.x` we take it that it is 7.17.
    pub fn has_data_streams(self) -> bool {
        self.flavour != ServerFlavour::Elasticsearch || (self.major, self.minor.unwrap_or(u16::MAX)) >= (7, 9)
    }

    /// Whether `_bulk` knows `require_data_stream` (Elasticsearch 8.13).
    pub fn can_require_data_stream(self) -> bool {
        self.elastic_since(8, 13)
    }

    /// Whether a template can hold the retention of a data stream (general since Elasticsearch 8.14).
    pub fn has_data_stream_lifecycle(self) -> bool {
        self.elastic_since(8, 14)
    }

    /// The type for an object of any number of names: `flattened`, `flat_object` (OpenSearch 2.7), or none.
    pub fn flattened_type(self) -> Option<&'static str> {
        match self.flavour {
            ServerFlavour::Elasticsearch | ServerFlavour::Serverless => Some("flattened"),
            ServerFlavour::OpenSearch => self.at_least(ServerFlavour::OpenSearch, 2, 7).then_some("flat_object"),
        }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.flavour {
            ServerFlavour::Elasticsearch => "Elasticsearch",
            ServerFlavour::Serverless => return f.write_str("Elasticsearch Serverless"),
            ServerFlavour::OpenSearch => "OpenSearch",
        };
        match self.minor {
            Some(minor) => write!(f, "{name} {}.{minor}", self.major),
            None => write!(f, "{name} {}", self.major),
        }
    }
}

/// `8.7.1`, `8.7`, `8.x`, `8`.
fn numbers(text: &str) -> Option<(u16, Option<u16>)> {
    let mut parts = text.split(['.', '-']);
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next().and_then(|minor| minor.parse().ok())))
}

/// ELASTICSEARCH_API_VERSION.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiVersion {
    /// The server is asked.
    #[default]
    Auto,
    /// It is not asked; what an unknown minor version may lack is not used.
    Given(ServerVersion),
}

impl ApiVersion {
    /// What may be written.
    pub const ALLOWED: &'static str = "auto, 7.17, 8.x, 9.x, …, opensearch-2.x, …";
}

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (flavour, number) = match text.split_once(['-', ' ']) {
            Some(("opensearch", number)) => (ServerFlavour::OpenSearch, number),
            Some(("elasticsearch", number)) => (ServerFlavour::Elasticsearch, number),
            _ => (ServerFlavour::Elasticsearch, text.as_str()),
        };
        let known = match flavour {
            ServerFlavour::OpenSearch => 1..=9,
            ServerFlavour::Elasticsearch | ServerFlavour::Serverless => 5..=99,
        };
        match numbers(number) {
            Some((major, minor)) if known.contains(&major) => Ok(Self::Given(ServerVersion { flavour, major, minor })),
            _ => Err(format!("is not a version: {}", Self::ALLOWED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(flavour: ServerFlavour, major: u16, minor: impl Into<Option<u16>>) -> ServerVersion {
        ServerVersion { flavour, major, minor: minor.into() }
    }

    #[test]
    fn servers_are_known_by_what_they_answer() {
        use ServerFlavour::{Elasticsearch, OpenSearch, Serverless};
        for (body, expected) in [
            (
                r#"{"version":{"number":"8.7.1","build_flavor":"default"},"tagline":"You Know, for Search"}"#,
                server(Elasticsearch, 8, 7),
            ),
            (r#"{"version":{"number":"9.4.3-SNAPSHOT"}}"#, server(Elasticsearch, 9, 4)),
            (r#"{"version":{"number":"8.11.0","build_flavor":"serverless"}}"#, server(Serverless, 8, 11)),
            (r#"{"version":{"distribution":"opensearch","number":"2.19.1"}}"#, server(OpenSearch, 2, 19)),
            (
                r#"{"version":{"number":"7.10.2"},"tagline":"The OpenSearch Project: https://opensearch.org/"}"#,
                server(OpenSearch, 7, 10),
            ),
        ] {
            assert_eq!(ServerVersion::from_main(body.as_bytes()), Ok(expected), "{body}");
        }
        for body in ["", "<html>", "{}", r#"{"version":{"number":"x"}}"#, r#"{"version":{"number":8}}"#, "[1]"] {
            assert!(ServerVersion::from_main(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_version_can_be_given_for_either_family() {
        use ServerFlavour::{Elasticsearch, OpenSearch};
        for (text, expected) in [
            ("7.x", server(Elasticsearch, 7, None)),
            ("8", server(Elasticsearch, 8, None)),
            ("9.1.0", server(Elasticsearch, 9, 1)),
            ("Elasticsearch 8.13", server(Elasticsearch, 8, 13)),
            ("opensearch-2.x", server(OpenSearch, 2, None)),
            ("OpenSearch 3.6", server(OpenSearch, 3, 6)),
        ] {
            assert_eq!(text.parse(), Ok(ApiVersion::Given(expected)), "{text}");
        }
        assert_eq!("AUTO".parse(), Ok(ApiVersion::Auto));
        for text in ["", "x", "2", "opensearch", "opensearch-", "eight", "-8"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_server_can_do_follows_from_its_version() {
        use ServerFlavour::{Elasticsearch, OpenSearch, Serverless};
        // types, data streams, require_data_stream, lifecycle, flattened
        for (server, expected) in [
            (server(Elasticsearch, 6, 8), (true, false, false, false, Some("flattened"))),
            (server(Elasticsearch, 7, 17), (true, true, false, false, Some("flattened"))),
            (server(Elasticsearch, 7, None), (true, true, false, false, Some("flattened"))),
            (server(Elasticsearch, 8, 12), (false, true, false, false, Some("flattened"))),
            (server(Elasticsearch, 8, None), (false, true, false, false, Some("flattened"))),
            (server(Elasticsearch, 8, 13), (false, true, true, false, Some("flattened"))),
            (server(Elasticsearch, 9, None), (false, true, true, true, Some("flattened"))),
            (server(Serverless, 8, 11), (false, true, true, true, Some("flattened"))),
            (server(OpenSearch, 1, 3), (true, true, false, false, None)),
            (server(OpenSearch, 2, 6), (false, true, false, false, None)),
            (server(OpenSearch, 2, 19), (false, true, false, false, Some("flat_object"))),
            (server(OpenSearch, 3, 8), (false, true, false, false, Some("flat_object"))),
        ] {
            let got = (
                server.has_types(),
                server.has_data_streams(),
                server.can_require_data_stream(),
                server.has_data_stream_lifecycle(),
                server.flattened_type(),
            );
            assert_eq!(got, expected, "{server}");
        }
    }
}
