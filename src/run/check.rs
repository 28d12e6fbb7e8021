//! The checks of `podtap check` for the capture and the servers. Keeps nothing open, sends no record.

use std::net::TcpListener;

use super::iface;
use crate::assembly::{Assembly, Probed};
use crate::cli::check::Finding;
use crate::config::Config;
use crate::identity::Identity;
use crate::settings::{Bounds, Listen, Settings, printable_up_to};
use crate::source::interfaces::{Choice, Tables};
use crate::source::live::check_filter;
use crate::source::privilege::NotPermitted;

/// Of what a server says.
const LONGEST_ANSWER: usize = 1000;

/// One line for each thing the capture needs, and for each server.
pub fn check(settings: &Settings) -> Vec<Finding> {
    let choices = Tables::read().choose(&iface(settings));
    let mut findings = vec![capability(), filter(settings, &choices)];
    findings.extend(choices.iter().map(interface));
    findings.extend(settings.metrics_addr.as_ref().map(port));
    findings.extend(pod(settings));
    findings.extend(servers(settings));
    findings
}

/// Whether records will name the pod, where this is one. Outside there is nothing to say.
fn pod(settings: &Settings) -> Option<Finding> {
    let advice = "see \"Who is this pod\" in docs/kubernetes.md";
    match Identity::new(settings).map(|identity| (identity.introduction(), identity.observer())) {
        Err(error) => Some(Finding::fail(format!("ANNOTATIONS: {error}"), "")),
        Ok((Some(pod), observer)) if observer.pod.labels.is_empty() => {
            let what = format!("{pod}: there is no file POD_LABELS_PATH, or it is empty");
            Some(Finding::warn(what, format!("mount a Downward API volume with metadata.labels there; {advice}")))
        }
        Ok((Some(pod), _)) => Some(Finding::ok(pod)),
        // Every container in Kubernetes has this variable, also without service links.
        Ok((None, _)) => std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| {
            let what = "this is a pod, but records will not name it: POD_NAME is not set";
            Finding::warn(what, format!("set POD_NAME and the other POD_ variables through the Downward API; {advice}"))
        }),
    }
}

/// Each server's real handshake, and what it answered.
fn servers(settings: &Settings) -> Vec<Finding> {
    let config = Config { settings: settings.clone(), bounds: Bounds::of(settings, None), notes: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string());
    let assembly = Assembly::new(&config, Vec::new()).map_err(|why| why.to_string());
    match runtime.and_then(|runtime| assembly.map(|assembly| runtime.block_on(assembly.probe()))) {
        Ok(probed) => probed.iter().map(server).collect(),
        Err(why) => vec![Finding::fail(why, "`podtap settings` explains it")],
    }
}

fn server(probed: &Probed) -> Finding {
    // A server's words: printable.
    let shown = |text: &str| printable_up_to(LONGEST_ANSWER, text);
    let what = shown(&format!("{}: {}", probed.sink.word(), probed.found));
    match (&probed.fault, &probed.warning) {
        (Some(fault), _) => Finding::fail(what, shown(fault)),
        (None, Some(warning)) => Finding::warn(what, shown(warning)),
        (None, None) => Finding::ok(what),
    }
}

fn capability() -> Finding {
    match NotPermitted::found() {
        None => Finding::ok("may open interfaces (NET_RAW)"),
        Some(missing) => Finding::fail("may not open interfaces", missing.to_string()),
    }
}

fn filter(settings: &Settings, choices: &[Choice]) -> Finding {
    let filter = settings.cap_filter.live().unwrap_or_default();
    match choices.iter().try_for_each(|choice| check_filter(filter, &choice.interface)) {
        Ok(()) => Finding::ok("CAP_FILTER compiles"),
        Err(error) => Finding::fail(error.to_string(), "see pcap-filter(7)"),
    }
}

fn interface(choice: &Choice) -> Finding {
    if choice.exists {
        Finding::ok(format!("interface {choice}"))
    } else {
        let what = format!("interface {} does not exist", choice.interface);
        Finding::warn(what, "podtap waits for it; or change IFACE")
    }
}

fn port(listen: &Listen) -> Finding {
    let free = listen.candidates().iter().any(|address| TcpListener::bind(address).is_ok());
    if free {
        Finding::ok(format!("METRICS_ADDR: port {} is free", listen.port))
    } else {
        let what = format!("METRICS_ADDR: port {} is taken", listen.port);
        Finding::warn(what, "podtap runs without metrics; or change it")
    }
}
