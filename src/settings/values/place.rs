//! Places: where to listen, which networks to trust, where names of workloads come from.
//!
//! Resolves no names, and opens nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::{SettingValue, by_envy, plain_values};
use crate::flow::IpProtocol;

/// Where to listen: `10.0.0.1:9090`, `[::1]:9090`, or on every address: `:9090`, `9090`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListenAddress {
    /// The address; `None` is every address of both families.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl ListenAddress {
    /// What to bind, the first that works: `[::]` serves both families, but not where IPv6 is switched off.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        let any = || vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        self.ip.map_or_else(any, |ip| vec![ip]).into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: Some(address.ip()), port: address.port() });
        }
        let port = text.strip_prefix(':').unwrap_or(&text).parse();
        port.map(|port| Self { ip: None, port }).map_err(|_| "neither address:port nor port".to_owned())
    }
}

/// A network in CIDR notation, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IpNetwork(pub IpNet);

impl TryFrom<String> for IpNetwork {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let single = text.parse::<IpAddr>().map(IpNet::from);
        single.or_else(|_| text.parse::<IpNet>()).map(Self).map_err(|_| "not an IP address or network".to_owned())
    }
}

/// A protocol on top of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProtocolName(pub IpProtocol);

impl TryFrom<String> for ProtocolName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        IpProtocol::parse(&text).map(Self).ok_or_else(|| "neither the name nor the number of a protocol".to_owned())
    }
}

/// Where the names of workloads come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum WorkloadSource {
    /// `file:PATH`: a table in a file.
    File(PathBuf),
    /// `kubernetes`: the API server.
    Kubernetes,
    /// `redis`: hashes as NetLog kept them.
    Redis,
    /// `dns`: answers seen in the traffic.
    Dns,
}

impl TryFrom<String> for WorkloadSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some((word, path)) if word.eq_ignore_ascii_case("file") && !path.is_empty() => Ok(Self::File(path.into())),
            None if text.eq_ignore_ascii_case("kubernetes") => Ok(Self::Kubernetes),
            None if text.eq_ignore_ascii_case("redis") => Ok(Self::Redis),
            None if text.eq_ignore_ascii_case("dns") => Ok(Self::Dns),
            Some(_) | None => Err("an entry that is not a source of names".to_owned()),
        }
    }
}

plain_values! {
    WorkloadSource => "kubernetes, redis, file:PATH, dns";
    ProtocolName => "name or number of a protocol (tcp, udp, icmp, ipv6-icmp, sctp)";
    ListenAddress => "address:port, or port";
    IpNetwork => "an IP address or network (10.0.0.0/8)";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_listens_on_every_address() {
        for (text, candidates) in [
            ("9090", vec!["[::]:9090", "0.0.0.0:9090"]),
            (":9090", vec!["[::]:9090", "0.0.0.0:9090"]),
            ("127.0.0.1:9", vec!["127.0.0.1:9"]),
            ("[::1]:9", vec!["[::1]:9"]),
        ] {
            let listen = ListenAddress::parse("X", text).unwrap();
            assert_eq!(listen.candidates().iter().map(SocketAddr::to_string).collect::<Vec<_>>(), candidates, "{text}");
        }
        for text in ["", ":", "localhost:9", "1.2.3.4", "70000", ":-1"] {
            assert!(ListenAddress::parse("X", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_source_of_names_is_a_word_and_a_file_has_its_path() {
        let parsed = |text| WorkloadSource::parse("X", text);
        assert_eq!(parsed("file:/etc/table"), Ok(WorkloadSource::File("/etc/table".into())));
        assert_eq!(parsed("redis"), Ok(WorkloadSource::Redis));
        assert_eq!(parsed("Kubernetes"), Ok(WorkloadSource::Kubernetes));
        assert_eq!(parsed("File:a:b"), Ok(WorkloadSource::File("a:b".into())));
        for text in ["file:", "file", "/etc/table", "etcd", ""] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_only() {
        for (network, ip, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "2001:db8::1", true),
            ("::1", "::2", false),
        ] {
            let parsed = IpNetwork::parse("X", network).unwrap();
            assert_eq!(parsed.0.contains(&ip.parse::<IpAddr>().unwrap()), inside, "{ip} in {network}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(IpNetwork::parse("X", text).is_err(), "{text}");
        }
    }
}
