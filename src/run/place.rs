//! Where a run captures and whose addresses are its own: settings meet the kernel's tables. Opens nothing.

use std::net::IpAddr;

use crate::glob::Glob;
use crate::settings::Settings;
use crate::source::interfaces::{ANY, InterfaceChoice, KernelTables};

/// IFACE as `KernelTables::choose` takes it: empty means by route. A node is observed on all of its interfaces.
pub(super) fn iface(settings: &Settings) -> String {
    if settings.of_node() && settings.iface.given().is_none() {
        return ANY.to_owned();
    }
    settings.iface.given().map(|names| names.join(",")).unwrap_or_default()
}

/// What is said where a node is observed, and NODE_INTERFACES fits none of its interfaces.
pub(super) fn fit_none(settings: &Settings, tables: &KernelTables, choices: &[InterfaceChoice]) -> Option<String> {
    // What is no pattern was refused before.
    let patterns: Vec<_> = settings.node_interfaces.iter().filter_map(|name| Glob::new(name).ok()).collect();
    (settings.of_node() && settings.captures()).then(|| tables.fit_none(&patterns, choices)).flatten()
}

/// The addresses that are ours, by the interfaces and by OWN_IPS or POD_IPS.
pub(super) fn own_ips(tables: &KernelTables, settings: &Settings) -> Vec<IpAddr> {
    tables.own_ips(settings.own_ips.given().map_or(&settings.pod_ips[..], |ips| &ips[..]))
}
