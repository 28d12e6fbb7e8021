//! A host and a port as people write them. Resolves nothing.

use std::fmt;
use std::net::Ipv6Addr;

/// One server of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// From `name`, `name:port`, `10.0.0.1:port`, `::1`, `[::1]` or `[::1]:port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let text = text.trim();
        let (host, port) = split(text).ok_or("a bracket is not closed")?;
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#[]".contains(c)) {
            return Err("neither a name nor an address: give host or host:port, without scheme and path".to_owned());
        }
        let port = match port {
            None => default_port,
            Some(port) => {
                port.parse().ok().filter(|port| *port > 0).ok_or("the port is not a number from 1 to 65535")?
            }
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            None if port.is_empty() => Some((host, None)),
            None => None,
            some => Some((host, some)),
        };
    }
    // Several colons without brackets: an IPv6 address, perhaps with a zone.
    let bare = text.split('%').next().unwrap_or_default();
    match text.rsplit_once(':') {
        Some(_) if bare.parse::<Ipv6Addr>().is_ok() => Some((text, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_people_write_it_and_printed_so_that_it_can_be_read_again() {
        for (text, expected) in [
            ("fluentd", "fluentd:24224"),
            (" fluentd.logging.svc.cluster.local.:5 ", "fluentd.logging.svc.cluster.local.:5"),
            ("10.0.0.1", "10.0.0.1:24224"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("::1", "[::1]:24224"),
            ("[::1]", "[::1]:24224"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
            ("fe80::1%eth0", "[fe80::1%eth0]:24224"),
        ] {
            let host = HostPort::parse(text, 24224).unwrap();
            assert_eq!(host.to_string(), expected);
            assert_eq!(HostPort::parse(expected, 1), Ok(host));
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "host is missing"),
            (":24224", "host is missing"),
            ("tcp://10.0.0.1:24224", "without scheme"),
            ("a b", "neither a name"),
            ("me:secret@host:1", "without scheme"),
            ("host:0", "port"),
            ("host:65536", "port"),
            ("host:http", "port"),
            ("[::1", "bracket"),
            ("[::1]9", "bracket"),
        ] {
            let error = HostPort::parse(text, 24224).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"));
        }
    }
}
