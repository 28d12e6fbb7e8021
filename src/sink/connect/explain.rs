//! What a failed connection is called: its class, and for people one sentence with the advice. Owns the words only.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use super::super::error::{DeliveryError, FailureReason};

/// Names of a server's certificate that are shown.
const NAMES_TOLD: usize = 5;

/// What the words depend on.
#[derive(Debug)]
pub(super) struct ExplainContext<'a> {
    /// Prefix of the settings.
    pub(super) settings: &'a str,
    /// The name the certificate must hold.
    pub(super) name: &'a str,
    /// Where the authorities come from, if not the public ones.
    pub(super) ca: Option<String>,
    /// Whether we have a certificate to show.
    pub(super) has_certificate: bool,
}

/// The TLS error inside an I/O error; libraries wrap one such error in another.
pub(in crate::sink) fn tls_error(error: &io::Error) -> Option<&Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| inner.downcast_ref().and_then(tls_error))
}

impl DeliveryError {
    /// Of a connection that failed: the class follows from the error's kind.
    pub fn of_io(error: io::Error) -> Self {
        Self::new(io_reason(&error), explain(&error)).with_source(error)
    }
}

/// The class of an error of a socket.
#[allow(clippy::wildcard_enum_match_arm, reason = "an open list: the rest has to do with the way there")]
pub(in crate::sink) fn io_reason(error: &io::Error) -> FailureReason {
    use io::ErrorKind as Kind;
    if tls_error(error).is_some() {
        return FailureReason::Tls;
    }
    match error.kind() {
        Kind::ConnectionRefused => FailureReason::Refused,
        Kind::TimedOut => FailureReason::Timeout,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::NotConnected
        | Kind::BrokenPipe
        | Kind::WriteZero
        | Kind::UnexpectedEof => FailureReason::Closed,
        _ => FailureReason::Unreachable,
    }
}

/// An error of reading or writing in words. In TLS 1.3 a server says only now that it refuses our certificate (RFC 8446
/// §4.4.2: the client is done before the server has seen it).
pub fn explain(error: &io::Error) -> String {
    match tls_error(error) {
        Some(Error::AlertReceived(alert)) => format!("the server ended TLS: {}", alert_words(*alert)),
        Some(other) => format!("TLS: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        None => super::plain(error),
    }
}

/// Why there was no handshake.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the library's own, open lists: what has no words here keeps the library's"
)]
pub(super) fn explain_tls(error: &Error, context: &ExplainContext<'_>) -> String {
    let settings = context.settings;
    match error {
        Error::InvalidCertificate(why) => certificate(why, context),
        Error::AlertReceived(alert) => {
            let advice = match (needs_certificate(*alert), context.has_certificate) {
                (false, _) => String::new(),
                (true, true) => format!("; is {settings}_TLS_CERT the certificate it expects?"),
                (true, false) => format!("; if it wants a certificate, set {settings}_TLS_CERT and {settings}_TLS_KEY"),
            };
            format!("the server refused TLS: {}{advice}", alert_words(*alert))
        }
        Error::InvalidMessage(_) => {
            format!("the answer is not TLS; if the port is one without TLS, set {settings}_TLS=false")
        }
        Error::PeerIncompatible(_) => format!("no common version or cipher of TLS (1.2 or 1.3 is needed): {error}"),
        other => format!("no TLS handshake: {other}"),
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the library's own, open lists: what has no words here keeps the library's"
)]
fn certificate(why: &CertificateError, context: &ExplainContext<'_>) -> String {
    let (settings, name) = (context.settings, context.name);
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it there, or set this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: set this machine's clock".to_owned()
        }
        CertificateError::NotValidForName => wrong_name(name, &[], settings),
        CertificateError::NotValidForNameContext { presented, .. } => wrong_name(name, presented, settings),
        CertificateError::UnknownIssuer => match &context.ca {
            None => format!(
                "the server's certificate is signed by no public authority: set {settings}_TLS_CA to the file with the \
                 certificate of its authority"
            ),
            Some(ca) => format!(
                "the server's certificate is signed by none of the authorities in {ca} ({settings}_TLS_CA), or the \
                 server does not send the certificates in between"
            ),
        },
        CertificateError::Revoked => "the server's certificate has been revoked".to_owned(),
        other => odd(&format!("{other:?}")),
    }
}

/// Faults that rustls has no word for.
fn odd(name: &str) -> String {
    if name.contains("CaUsedAsEndEntity") {
        return "the server shows the certificate of an authority (CA:TRUE): give it a server certificate, signed by that authority"
            .to_owned();
    }
    if name.contains("UnsupportedCertVersion") {
        return "the server's certificate is not of version 3: issue it again, with subjectAltName".to_owned();
    }
    format!("the server's certificate is invalid: {name}")
}

/// The names come from the server: escaped, and not too many.
fn wrong_name(name: &str, presented: &[String], settings: &str) -> String {
    if presented.is_empty() {
        return format!(
            "the server's certificate holds no name as subjectAltName, {name} is needed: issue it again (the common name \
             does not count)"
        );
    }
    // rustls gives them as `DnsName("a")` and `IpAddress(10.0.0.1)`.
    let bare = |text: &String| text.split_once('(').map_or(text.clone(), |(_, rest)| rest.replace(['"', ')'], ""));
    let mut names: Vec<String> = presented.iter().take(NAMES_TOLD).map(bare).collect();
    if presented.len() > NAMES_TOLD {
        names.push("…".to_owned());
    }
    let names = names.join(", ").escape_debug().to_string();
    format!(
        "the server's certificate is for {names}, not for {name}: connect by one of its names, or set \
         {settings}_TLS_NAME to one"
    )
}

fn needs_certificate(alert: AlertDescription) -> bool {
    [
        AlertDescription::HandshakeFailure,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::CertificateRequired,
    ]
    .contains(&alert)
}

fn alert_words(alert: AlertDescription) -> String {
    let known = [
        (AlertDescription::CertificateRequired, "it wants a certificate and got none"),
        (AlertDescription::BadCertificate, "it does not like our certificate"),
        (AlertDescription::UnknownCA, "it does not know who signed our certificate"),
        (AlertDescription::CertificateExpired, "our certificate has expired"),
        (AlertDescription::CertificateRevoked, "our certificate has been revoked"),
        (AlertDescription::CertificateUnknown, "it cannot use our certificate"),
        (AlertDescription::UnrecognisedName, "it does not know the name we asked for"),
        (AlertDescription::AccessDenied, "access denied"),
        (AlertDescription::ProtocolVersion, "it speaks another version of TLS"),
        (AlertDescription::HandshakeFailure, "handshake failure"),
    ];
    let words = known.iter().find(|(known, _)| *known == alert).map(|(_, words)| (*words).to_owned());
    words.unwrap_or_else(|| format!("alert {alert:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_sockets_error_decides_its_class() {
        use io::ErrorKind as Kind;
        for (kind, reason) in [
            (Kind::ConnectionRefused, FailureReason::Refused),
            (Kind::ConnectionReset, FailureReason::Closed),
            (Kind::UnexpectedEof, FailureReason::Closed),
            (Kind::TimedOut, FailureReason::Timeout),
            (Kind::HostUnreachable, FailureReason::Unreachable),
            (Kind::PermissionDenied, FailureReason::Unreachable),
        ] {
            assert_eq!(DeliveryError::of_io(kind.into()).reason(), reason, "{kind:?}");
        }
    }
}
