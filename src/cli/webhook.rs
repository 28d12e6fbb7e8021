//! The flags of `podtap webhook`.
//!
//! The webhook itself is in `crate::webhook`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, value_parser};

use super::{refused, sidecar};
use crate::settings::ListenAddress;
use crate::webhook::{self, Webhook};

/// Its own flags, besides those of the sidecar.
pub(super) fn flags() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name("FILE").required(true);
        arg.value_parser(value_parser!(PathBuf)).help(help)
    };
    vec![
        Arg::new("listen")
            .long("listen")
            .value_name("ADDRESS")
            .default_value(":8443")
            .value_parser(|text: &str| ListenAddress::try_from(text.to_owned()))
            .help("Address to listen on"),
        file("certificate", "Certificate with its chain, in PEM; reloaded when it changes"),
        file("key", "Key of the certificate, in PEM; reloaded when it changes"),
    ]
}

/// What is asked for; the error says what is wrong with a setting of the sidecar.
pub(super) fn asked(matches: &ArgMatches) -> Result<Webhook, String> {
    let file = |name: &str| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let listen = matches.get_one::<ListenAddress>("listen").cloned().ok_or("--listen: no address")?;
    let sidecar = sidecar::options(matches)?;
    Ok(Webhook { listen, certificate: file("certificate"), key: file("key"), sidecar })
}

/// Runs `podtap webhook`.
pub fn run(asked: Box<Result<Webhook, String>>) -> ExitCode {
    match *asked {
        Ok(webhook) => webhook::run(webhook),
        Err(wrong) => refused(&wrong),
    }
}
