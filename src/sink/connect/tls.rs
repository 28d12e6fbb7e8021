//! TLS as the settings want it: certificates to trust, our own certificate, the server's name. Owns the reading of PEM;
//! what to say when a handshake fails is in `explain`.
//!
//! rustls with ring, given explicitly: a second provider somewhere in the tree must not be able to make this panic.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::super::error::{DeliveryError, FailureReason};
use super::explain::{ExplainContext, explain_tls, tls_error};
use super::stream::ServerStream;
use crate::settings::SettingFault;

/// Certificates or a key in PEM.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    /// To be read from this file.
    File(PathBuf),
    /// The text itself.
    Text(String),
}

impl PemSource {
    /// From a setting's value: PEM text, or a path.
    pub fn of(value: &str) -> Self {
        if value.contains("-----BEGIN") { Self::Text(value.to_owned()) } else { Self::File(value.into()) }
    }

    pub(in crate::sink) fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => {
                std::fs::read(path).map(without_mark).map_err(|why| format!("{} cannot be read: {why}", path.display()))
            }
            Self::Text(text) => Ok(without_mark(text.clone().into_bytes())),
        }
    }
}

/// Editors of some systems put a byte order mark (RFC 3629 §6) before the text; no reader of PEM looks past it.
fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    bytes
}

impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(_) => f.write_str("the text given"),
        }
    }
}

/// The text may be a private key.
impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

/// X_TLS_…
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The X, for advice: `FLUENTD`.
    pub settings: &'static str,
    /// Who may sign the server's certificate; `None`: the public authorities (a container has no bundle).
    pub ca: Option<PemSource>,
    /// Our certificate with its chain.
    pub cert: Option<PemSource>,
    /// Its key; `None`: it is next to the certificate.
    pub key: Option<PemSource>,
    /// The name the server's certificate must hold; `None`: the host's.
    pub name: Option<String>,
    /// Whether to look at the server's certificate at all.
    pub verify: bool,
}

impl TlsOptions {
    /// Against the public authorities, without a certificate of our own.
    pub fn new(settings: &'static str) -> Self {
        Self { settings, ca: None, cert: None, key: None, name: None, verify: true }
    }

    /// The files that hold certificates and keys.
    pub(in crate::sink) fn files(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let pems = [self.ca.clone(), self.cert.clone(), self.key.clone()];
        pems.into_iter().flatten().filter_map(|pem| match pem {
            PemSource::File(path) => Some(path),
            PemSource::Text(_) => None,
        })
    }

    /// What is wrong with the setting that ends so.
    fn fault(&self, end: &str, why: impl fmt::Display) -> SettingFault {
        SettingFault::new(format!("{}_TLS{end}", self.settings), why)
    }

    /// Reads the files; says which setting is wrong.
    pub fn check(&self) -> Result<(), SettingFault> {
        config(self).map(drop)
    }

    /// Our own certificate in DER, where there is one and it can be read.
    pub fn own_certificate(&self) -> Option<Vec<u8>> {
        let pem = self.cert.as_ref()?.read().ok()?;
        CertificateDer::from_pem_slice(&pem).ok().map(|certificate| certificate.to_vec())
    }

    /// Says what it means when certificates are not looked at.
    pub(in crate::sink) fn warn(&self) {
        if !self.verify {
            let setting = format!("{}_TLS_VERIFY", self.settings);
            tracing::warn!(setting, "the server's certificate is not verified: anybody in between can read and change");
        }
    }
}

/// Options whose files have been read.
#[derive(Clone, Debug)]
pub struct LoadedTls {
    options: TlsOptions,
    config: Arc<ClientConfig>,
}

impl LoadedTls {
    /// Reads the files; says which setting is wrong.
    pub fn load(options: TlsOptions) -> Result<Self, SettingFault> {
        let config = config(&options)?;
        options.warn();
        Ok(Self { options, config })
    }

    /// Reads the files again; with an error everything stays as it was.
    pub fn reload(&mut self) -> Result<(), SettingFault> {
        self.config = config(&self.options)?;
        Ok(())
    }

    /// The files that were read.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> + use<> {
        self.options.files()
    }

    pub(super) async fn handshake(&self, tcp: TcpStream, host: &str) -> Result<ServerStream, DeliveryError> {
        let name = self.options.name.as_deref().unwrap_or(host);
        let failed = |why: String| DeliveryError::new(FailureReason::Tls, why);
        let server = server_name(name).map_err(failed)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(server, tcp).await {
            Ok(stream) => Ok(ServerStream::Tls(Box::new(stream))),
            Err(error) => {
                let words = match tls_error(&error) {
                    Some(tls) => explain_tls(tls, &self.context(name)),
                    None => format!("no TLS handshake: {}; {}", super::plain(&error), self.plain_port()),
                };
                Err(failed(words).with_source(error))
            }
        }
    }

    /// Advice for when the other side does not seem to speak TLS.
    pub(super) fn plain_port(&self) -> String {
        format!("if the port is one without TLS, set {}_TLS=false", self.options.settings)
    }

    fn context<'a>(&'a self, name: &'a str) -> ExplainContext<'a> {
        let TlsOptions { settings, ca, cert, .. } = &self.options;
        ExplainContext { settings, name, ca: ca.as_ref().map(ToString::to_string), has_certificate: cert.is_some() }
    }
}

/// A name or an address; the dot at the end of a full name is no part of what a certificate holds.
fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = name.split('%').next().unwrap_or_default();
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is not a name that a certificate can hold"))
}

fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>, SettingFault> {
    if let Some(name) = &options.name {
        server_name(name).map_err(|why| options.fault("_NAME", why))?;
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|why| options.fault("", format!("cannot be set up: {why}")))?;
    let builder = if options.verify {
        builder.with_root_certificates(roots(options)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(algorithms)))
    };
    let config = match own_certificate(options)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|why| {
            if matches!(why, Error::InconsistentKeys(_)) {
                return options.fault("_KEY", format!("not the key of {}_TLS_CERT", options.settings));
            }
            options.fault("_CERT", why)
        })?,
    };
    Ok(Arc::new(config))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, SettingFault> {
    let Some(ca) = &options.ca else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let fault = |why: String| options.fault("_CA", why);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca).map_err(fault)? {
        roots.add(certificate).map_err(|why| fault(format!("{ca} holds no usable certificate: {why}")))?;
    }
    Ok(roots)
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own_certificate(options: &TlsOptions) -> Result<Option<Own>, SettingFault> {
    let Some(cert) = &options.cert else {
        return match options.key {
            Some(_) => Err(options.fault("_KEY", format!("set, but {}_TLS_CERT is not", options.settings))),
            None => Ok(None),
        };
    };
    let chain = certificates(cert).map_err(|why| options.fault("_CERT", why))?;
    let source = options.key.as_ref().unwrap_or(cert);
    let of_key = |why: String| options.fault(if options.key.is_some() { "_KEY" } else { "_CERT" }, why);
    let key = source.read().map_err(of_key)?;
    // The PEM reader's own words may quote what it read.
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|why| {
        let none = matches!(why, PemError::NoItemsFound);
        let why = if none { "holds no private key without a passphrase" } else { "is not PEM" };
        of_key(format!("{source} {why}"))
    })?;
    Ok(Some((chain, key)))
}

fn certificates(pem: &PemSource) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = pem.read()?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{pem} holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(_) => Err(format!("{pem} is not PEM")),
    }
}

/// Takes any certificate, if only its owner holds its key.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Random bytes for a protocol's salts, from the same source as TLS has its own.
pub(in crate::sink) fn random_bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let provider: CryptoProvider = crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_certificate() {
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for text in [pem.to_owned(), format!("\u{feff}{pem}")] {
            assert_eq!(certificates(&PemSource::of(&text)).map(|found| found.len()), Ok(1));
            let path = std::env::temp_dir().join(format!("podtap-mark-{}-{}", std::process::id(), text.len()));
            std::fs::write(&path, &text).unwrap();
            assert_eq!(certificates(&PemSource::File(path.clone())).map(|found| found.len()), Ok(1));
            std::fs::remove_file(path).unwrap();
        }
    }
}
