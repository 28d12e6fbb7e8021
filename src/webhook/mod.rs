//! `podtap webhook`: a mutating admission webhook that gives the sidecar to pods as they are made.
//!
//! The sidecar, and whether a pod gets one, are `crate::inject`'s. It asks the cluster nothing and has no rights in it;
//! which namespaces it is asked about is said by its MutatingWebhookConfiguration. It never keeps a pod from being
//! made: what cannot have a sidecar is admitted without, with a warning.

mod certificate;
mod review;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, RunConfig};
use crate::inject::SidecarOptions;
use crate::logging::{self, tell};
use crate::settings::{ListenAddress, SettingPairs};

use self::certificate::ServingCertificate;
use self::serve::WebhookServer;

/// What the webhook runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it listens.
    pub listen: ListenAddress,
    /// Its certificate, with the chain, in PEM.
    pub certificate: PathBuf,
    /// The key of that, in PEM.
    pub key: PathBuf,
    /// The sidecar that pods get.
    pub sidecar: SidecarOptions,
}

/// Serves until SIGTERM. Its own log follows LOG_LEVEL and LOG_FORMAT of its environment; flags are for the sidecars.
pub fn run(webhook: Webhook) -> ExitCode {
    match RunConfig::of(config::look(&SettingPairs::new())) {
        Ok(config) => logging::start(&config),
        Err(wrong) => {
            tell(&format!("podtap: {wrong}\n"));
            return ExitCode::from(2);
        }
    }
    match start(webhook) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(webhook: Webhook) -> Result<(), String> {
    let certificate = ServingCertificate::load(webhook.certificate, webhook.key)?;
    let listener = listen(&webhook.listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    let server = WebhookServer::new(webhook.sidecar);
    runtime.block_on(server.serve(listener, certificate)).map_err(|why| why.to_string())
}

/// The first address that can be had.
fn listen(listen: &ListenAddress) -> Result<std::net::TcpListener, String> {
    let mut why = String::new();
    for address in listen.candidates() {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => why = format!("cannot listen on {address}: {error}"),
        }
    }
    Err(why)
}
