//! The webhook's certificate and key, reloaded when their files change, as they do where a Secret is mounted.
//!
//! Makes none: the chart (by Helm or cert-manager) does. A pair that is no good leaves the one before it in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate in use, and where it came from.
pub(super) struct ServingCertificate {
    paths: [PathBuf; 2],
    /// The files as they were last read, good or not.
    read: [Vec<u8>; 2],
    config: Arc<ServerConfig>,
}

impl ServingCertificate {
    /// Reads both files.
    pub(super) fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, String> {
        let paths = [certificate, key];
        let read = read(&paths)?;
        let config = configured(&paths, &read)?;
        Ok(Self { paths, read, config })
    }

    /// What connections are served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Reads the files again; whether there was something new in them.
    pub(super) fn refresh(&mut self) -> Result<bool, String> {
        let read = read(&self.paths)?;
        if read == self.read {
            return Ok(false);
        }
        self.read = read;
        self.config = configured(&self.paths, &self.read)?;
        Ok(true)
    }
}

fn read(paths: &[PathBuf; 2]) -> Result<[Vec<u8>; 2], String> {
    let one = |path: &Path| std::fs::read(path).map_err(|why| format!("{} cannot be read: {why}", path.display()));
    let [certificate, key] = paths;
    Ok([one(certificate)?, one(key)?])
}

fn configured([certificate, key]: &[PathBuf; 2], [chain, secret]: &[Vec<u8>; 2]) -> Result<Arc<ServerConfig>, String> {
    let (certificate, key) = (certificate.display(), key.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| format!("{certificate} holds no certificate in PEM"))?;
    // The reader's own words may quote what it read.
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|_| format!("{key} holds no private key in PEM"))?;
    // ring, given explicitly: a second provider somewhere in the tree must not be able to make this panic.
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|why| why.to_string())?;
    let config = builder.with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|why| format!("{certificate} and {key} cannot be used: {why}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
