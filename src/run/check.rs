//! The checks of `podtap check` for the capture and the servers. Keeps nothing open; sends no record but with `--deep`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::place::{fit_none, iface};
use crate::assembly::{Assembly, ProbedServer};
use crate::cli::check::CheckFinding;
use crate::config::RunConfig;
use crate::identity::Identity;
use crate::settings::{ListenAddress, MemoryBounds, RecordKind, Settings, bytes_in_words, printable_up_to};
use crate::sink::spool::volume_bytes;
use crate::source::connects::ConnectsUnavailable;
use crate::source::conntrack::KernelAccounting;
use crate::source::interfaces::{InterfaceChoice, KernelTables};
use crate::source::kernel_log::is_for_administrators;
use crate::source::live::check_filter;
use crate::source::privilege::{NeededRight, NotPermitted};
use crate::workload::ReachedSource;

/// How long another program on our port may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of that.
const LONGEST_PAGE: u64 = 1 << 20;

/// Of what a server says.
const LONGEST_ANSWER: usize = 1000;

/// One line for each thing the capture needs, and for each server.
pub fn check(settings: &Settings, deep: bool) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    if settings.captures() {
        let tables = KernelTables::read();
        let choices = tables.choose(&iface(settings));
        findings.extend([capability(), filter(settings, &choices)]);
        findings.extend(choices.iter().map(interface));
        let unfit = fit_none(settings, &tables, &choices);
        findings.extend(
            unfit.map(|what| CheckFinding::warn(what, "nothing is recorded until one fits; `*` at its end fits all")),
        );
    }
    if settings.records(RecordKind::Conntrack) {
        findings.extend(conntrack(settings));
    }
    if settings.records(RecordKind::Verdicts) {
        findings.extend(verdicts(settings));
    }
    if settings.records(RecordKind::Connects) {
        findings.extend(connects(settings));
    }
    findings.extend(settings.metrics_addr.as_ref().map(port));
    findings.extend(pod(settings));
    findings.extend(servers(settings, deep));
    findings.extend(settings.spool_dir.as_deref().and_then(|spool| volume(spool, settings.spool_max_bytes.bytes())));
    findings
}

/// Whether records will name the pod, where this is one. Outside there is nothing to say.
fn pod(settings: &Settings) -> Option<CheckFinding> {
    let advice = "see \"Who is this pod\" in docs/kubernetes.md";
    match Identity::new(settings).map(|identity| (identity.introduction(), identity.observer())) {
        Err(error) => Some(CheckFinding::fail(format!("ANNOTATIONS: {error}"), "")),
        Ok((Some(pod), observer)) if observer.pod.labels.is_empty() => {
            let what = format!("{pod}: there is no file POD_LABELS_PATH, or it is empty");
            Some(CheckFinding::warn(what, format!("mount a Downward API volume with metadata.labels there; {advice}")))
        }
        Ok((Some(pod), _)) => Some(CheckFinding::ok(pod)),
        // Every container in Kubernetes has this variable, also without service links.
        Ok((None, _)) => std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| {
            let what = "this is a pod, but records will not name it: POD_NAME is not set";
            CheckFinding::warn(
                what,
                format!("set POD_NAME and the other POD_ variables through the Downward API; {advice}"),
            )
        }),
    }
}

/// Whether what may be spooled fits where it is to lie. An emptyDir in memory has the size that it was given. Of one on the
/// node's disk only the kubelet knows the limit, and evicts the pod beyond it.
fn volume(spool: &Path, most: u64) -> Option<CheckFinding> {
    let has = volume_bytes(spool).ok()?;
    let most_in_words = bytes_in_words(most);
    let what = format!("SPOOL_DIR: its volume holds {} MiB, SPOOL_MAX_BYTES is {most_in_words}", has >> 20);
    if has >= most {
        return Some(CheckFinding::ok(what));
    }
    Some(CheckFinding::fail(what, "set SPOOL_MAX_BYTES below the size of the volume, or make that larger"))
}

/// Each server's real handshake, and what it answered; and what each source of names can reach.
fn servers(settings: &Settings, deep: bool) -> Vec<CheckFinding> {
    let config = RunConfig { settings: settings.clone(), bounds: MemoryBounds::of(settings, None), notes: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string());
    let assembly = Assembly::new(&config, Vec::new()).map_err(|why| why.to_string());
    let probed = runtime.and_then(|runtime| {
        assembly.map(|assembly| {
            runtime.block_on(async { (assembly.probe(deep).await, assembly.workloads().probe().await) })
        })
    });
    match probed {
        Ok((sinks, sources)) => sinks.iter().map(server).chain(sources.iter().map(source)).collect(),
        Err(why) => vec![CheckFinding::fail(why, "`podtap settings` explains it")],
    }
}

/// A source of names. Without it podtap runs, and records lack names.
fn source(reached: &ReachedSource) -> CheckFinding {
    let shown = |text: &str| printable_up_to(LONGEST_ANSWER, text);
    let what = format!("WORKLOADS: {}", shown(&reached.what));
    match &reached.fault {
        Some(fault) => CheckFinding::fail(what, shown(fault)),
        None => CheckFinding::ok(what),
    }
}

fn server(probed: &ProbedServer) -> CheckFinding {
    // A server's words: printable.
    let shown = |text: &str| printable_up_to(LONGEST_ANSWER, text);
    let what = shown(&format!("{}: {}", probed.sink.word(), probed.found));
    match (&probed.fault, &probed.warning) {
        (Some(fault), _) => CheckFinding::fail(what, shown(fault)),
        (None, Some(warning)) => CheckFinding::warn(what, shown(warning)),
        (None, None) => CheckFinding::ok(what),
    }
}

/// Whether events of connection tracking can be had, and what the kernel says in them.
fn conntrack(settings: &Settings) -> Vec<CheckFinding> {
    let broadcast = settings.conntrack_all_namespaces.then_some(NeededRight::NetBroadcast);
    let missing = [Some(NeededRight::NetAdmin), broadcast].into_iter().flatten().find_map(NotPermitted::of);
    let may = match missing {
        None => CheckFinding::ok("may listen to connection tracking (NET_ADMIN)"),
        Some(missing) => CheckFinding::fail("may not listen to connection tracking", missing.to_string()),
    };
    let switch = |on: bool, what: &str, name: &str| {
        if on {
            return CheckFinding::ok(format!("conntrack: {what}"));
        }
        let advice = format!("sysctl -w net.netfilter.{name}=1, in the network namespace that podtap listens to");
        CheckFinding::warn(format!("conntrack: records will lack {what}"), advice)
    };
    let says = match KernelAccounting::read() {
        Ok(accounting) => vec![
            switch(accounting.counters, "packets and bytes", "nf_conntrack_acct"),
            switch(accounting.times, "the kernel's own times", "nf_conntrack_timestamp"),
        ],
        Err(error) => vec![CheckFinding::warn(
            format!("conntrack: no connection is tracked in this network namespace: {error}"),
            "connections are tracked where rules need it (NAT, ct): with most networks that is the node's namespace, not a \
             pod's; see docs/conntrack.md",
        )],
    };
    std::iter::once(may).chain(says).collect()
}

/// Whether logged packets can be read, and whose they are.
fn verdicts(settings: &Settings) -> Vec<CheckFinding> {
    let may = |right: NeededRight, what: &str| match NotPermitted::of(right) {
        None => CheckFinding::ok(format!("may read {what} ({})", right.name())),
        Some(missing) => CheckFinding::fail(format!("may not read {what}"), missing.to_string()),
    };
    let nflog = (!settings.verdict_groups.is_empty()).then(|| may(NeededRight::NetAdmin, "NFLOG"));
    let kmsg = settings.verdict_kmsg.then(|| {
        if is_for_administrators() {
            may(NeededRight::Syslog, "/dev/kmsg")
        } else {
            CheckFinding::ok("may read /dev/kmsg")
        }
    });
    let readable = |name: &str, path: &Path| {
        let what = format!("{name} {}", printable_up_to(LONGEST_ANSWER, &path.display().to_string()));
        match std::fs::File::open(path) {
            Ok(_) => CheckFinding::ok(format!("{what} can be read")),
            Err(error) => CheckFinding::warn(format!("{what} cannot be read: {error}"), "podtap waits for it"),
        }
    };
    let file = settings.verdict_file.as_deref().filter(|path| path.as_os_str() != "-");
    let file = file.map(|path| readable("VERDICT_FILE", path));
    let store = settings.verdict_store.as_deref().map(|path| readable("VERDICT_STORE", path));
    [nflog, kmsg, file, store].into_iter().flatten().collect()
}

/// Whether the program of connects can be loaded: it is, and dropped again.
fn connects(settings: &Settings) -> Vec<CheckFinding> {
    let options = super::connects::options(settings);
    match crate::source::connects::load(&options) {
        Ok(loaded) => {
            let place = if options.netns.is_some() { "this network namespace" } else { "all network namespaces" };
            let ok = CheckFinding::ok(format!("connects: the kernel takes the BPF program, for {place}"));
            let early = loaded.lacks.map(|why| {
                let what = "connects: those that fail before a packet is sent, and those of UDP, cannot be seen";
                CheckFinding::warn(what, why)
            });
            std::iter::once(ok).chain(early).collect()
        }
        Err(ConnectsUnavailable::NotPermitted(missing)) => {
            vec![CheckFinding::fail("connects: may not load the BPF program", missing.to_string())]
        }
        Err(unavailable) => {
            let advice = "see docs/connects.md; RECORD=flows shows connections without their processes";
            vec![CheckFinding::fail(format!("connects: {unavailable}"), advice)]
        }
    }
}

fn capability() -> CheckFinding {
    match NotPermitted::found() {
        None => CheckFinding::ok("may open interfaces (NET_RAW)"),
        Some(missing) => CheckFinding::fail("may not open interfaces", missing.to_string()),
    }
}

fn filter(settings: &Settings, choices: &[InterfaceChoice]) -> CheckFinding {
    let filter = settings.live_filter();
    match choices.iter().try_for_each(|choice| check_filter(filter, &choice.interface)) {
        Ok(()) => CheckFinding::ok("CAP_FILTER compiles"),
        Err(error) => CheckFinding::fail(error.to_string(), "see pcap-filter(7)"),
    }
}

fn interface(choice: &InterfaceChoice) -> CheckFinding {
    if choice.exists {
        CheckFinding::ok(format!("interface {choice}"))
    } else {
        let what = format!("interface {} does not exist", choice.interface);
        CheckFinding::warn(what, "podtap waits for it; or change IFACE")
    }
}

/// Whether `run` could listen there: as it does, the first address that can be had.
fn port(listen: &ListenAddress) -> CheckFinding {
    let candidates = listen.candidates();
    let tried: Vec<_> = candidates.iter().map(|address| (*address, TcpListener::bind(address))).collect();
    let errors: Vec<_> = tried.iter().filter_map(|(address, bound)| Some((*address, bound.as_ref().err()?))).collect();
    if errors.len() < tried.len() {
        return CheckFinding::ok(format!("METRICS_ADDR: port {} is free", listen.port));
    }
    let without = "podtap runs without metrics; or change it";
    match errors.iter().find(|(_, error)| error.kind() == ErrorKind::AddrInUse) {
        Some((address, _)) if is_podtap(*address) => {
            CheckFinding::ok(format!("METRICS_ADDR: a running podtap listens on port {}", listen.port))
        }
        Some(_) => {
            CheckFinding::warn(format!("METRICS_ADDR: port {} is taken by another program", listen.port), without)
        }
        None => match errors.last() {
            Some((address, error)) if error.kind() == ErrorKind::AddrNotAvailable => {
                let what = format!("METRICS_ADDR: {} is not an address of this machine or pod", address.ip());
                CheckFinding::warn(what, without)
            }
            Some((address, error)) => {
                CheckFinding::warn(format!("METRICS_ADDR: cannot listen on {address}: {error}"), without)
            }
            None => CheckFinding::warn("METRICS_ADDR: names no address", without),
        },
    }
}

/// Whether one of us answers there: in a pod `check` mostly runs next to the podtap that it asks about.
fn is_podtap(address: SocketAddr) -> bool {
    let here = match address {
        SocketAddr::V4(_) if address.ip().is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        SocketAddr::V6(_) if address.ip().is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    };
    let asked = TcpStream::connect_timeout(&here, PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: podtap\r\nConnection: close\r\n\r\n")?;
        let mut page = Vec::new();
        stream.take(LONGEST_PAGE).read_to_end(&mut page)?;
        Ok(page)
    });
    asked.is_ok_and(|page| String::from_utf8_lossy(&page).contains("\npodtap_build_info{"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::check::CheckState;
    use crate::metrics::Metrics;
    use crate::metrics::endpoint::MetricsEndpoint;
    use crate::sink::Sinks;

    fn found(address: SocketAddr) -> (CheckState, String) {
        let finding = port(&ListenAddress::try_from(address.to_string()).unwrap());
        (finding.verdict, finding.what)
    }

    #[test]
    fn a_port_is_free_or_ours_or_taken_or_no_address_of_ours() {
        let endpoint = MetricsEndpoint::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let ours = endpoint.address();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(endpoint.serve(Arc::clone(&Metrics::new(Sinks::default()))));
        let (verdict, what) = found(ours);
        assert_eq!(verdict, CheckState::Ok, "{what}");
        assert!(what.contains("a running podtap"), "{what}");
        // One that says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let (verdict, what) = found(silent.local_addr().unwrap());
        assert_eq!(verdict, CheckState::Warn);
        assert!(what.contains("taken by another program"), "{what}");
        // TEST-NET-1 (RFC 5737).
        let (verdict, what) = found(([192, 0, 2, 1], 9).into());
        assert_eq!(verdict, CheckState::Warn);
        assert!(what.contains("192.0.2.1 is not an address"), "{what}");
    }
}
