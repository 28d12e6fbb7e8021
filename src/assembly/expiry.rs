//! Certificates that end soon: `podtap check` says so while there is time. Owns the look at each server; whether a
//! certificate is trusted, the sinks' own handshakes show.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::targets;
use crate::settings::{Settings, SinkName};
use crate::sink::connect::expiry::not_after;
use crate::sink::connect::{ConnectTimeouts, Connector, HostPort, LoadedTls, ProxySettings, TlsOptions};

/// How long before its end a certificate is worth a line.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long a look at one server may take, for each step.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sentence for each certificate that ends within `SOON`, or has ended: the servers', and our own.
pub(super) async fn expiring(sink: SinkName, settings: &Settings, now: Timestamp) -> Vec<String> {
    let Some((hosts, options)) = targets::encrypted(sink, settings) else { return Vec::new() };
    let proxies = targets::proxies(sink, settings).unwrap_or_default();
    let mut found = Vec::new();
    if let Some(certificate) = options.own_certificate() {
        let whose = format!("our own certificate ({}_TLS_CERT)", options.settings);
        found.extend(line(&whose, &certificate, now));
    }
    for host in hosts {
        let whose = format!("{host}: the server's certificate");
        if let Some(certificate) = shown(host, options.clone(), &proxies).await {
            found.extend(line(&whose, &certificate, now));
        }
    }
    found
}

/// Where there is no handshake the sink's own check says why.
async fn shown(host: HostPort, options: TlsOptions, proxies: &ProxySettings) -> Option<Vec<u8>> {
    let timeouts = ConnectTimeouts { lookup: PATIENCE, connect: PATIENCE, tls: PATIENCE };
    let connector = Connector::new(vec![host], LoadedTls::load(options).ok(), timeouts);
    let mut connector = connector.with_proxies(proxies.clone());
    let connected = connector.connect_to(0).await.ok()?;
    connected.stream.certificate().map(<[u8]>::to_vec)
}

fn line(whose: &str, certificate: &[u8], now: Timestamp) -> Option<String> {
    let end = not_after(certificate)?;
    let left = end.duration_since(now);
    if left > SOON {
        return None;
    }
    let (days, date) = (left.as_hours() / 24, end.strftime("%Y-%m-%d"));
    Some(match left.is_negative() {
        true => format!("{whose} ended on {date}"),
        false => format!("{whose} ends on {date}, in {days} days"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_worth_a_line_in_its_last_month_and_behind_it() {
        // DER as far as `not_after` reads it: the end is 2027-12-31.
        let times = b"\x17\x0d260101000000Z\x17\x0d271231000000Z";
        let signed = [b"\x02\x01\x07\x30\x00\x30\x00\x30\x1e".as_slice(), times].concat();
        let certificate = [&[0x30, 41, 0x30, 39][..], &signed].concat();
        let at = |day: &str| format!("{day}T00:00:00Z").parse().unwrap();
        for (day, expected) in [
            ("2027-11-01", None),
            ("2027-12-01", Some("ours ends on 2027-12-31, in 30 days")),
            ("2027-12-30", Some("ours ends on 2027-12-31, in 1 days")),
            ("2028-01-01", Some("ours ended on 2027-12-31")),
        ] {
            assert_eq!(line("ours", &certificate, at(day)).as_deref(), expected, "{day}");
        }
    }
}
