//! Turns settings into parts: the dissector, the filter, the encoders, the sinks.
//!
//! Shared by `run`, `replay` and `demo`, so that all three give the same records. Starts no capture.

mod encoder;
mod expiry;
mod faults;
mod ledger;
mod node;
mod processes;
mod sinks;
mod targets;

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::sync::Arc;

use self::encoder::RecordEncoder;
pub use self::encoder::style;
use self::faults::FaultList;
pub use self::faults::UnusableSettings;
pub use self::ledger::LedgerStatements;
pub use self::sinks::{ProbedServer, StartedSinks};
#[cfg(feature = "es")]
pub use self::targets::elasticsearch::elasticsearch_options;
pub use self::targets::{place, proxies_in_use};

use crate::attempts;
use crate::config::{self, RunConfig};
use crate::connects::ConnectionAskers;
use crate::conntrack::{self, ConntrackTracker};
use crate::copies;
use crate::dissect::{self, Dissector, SharedPools};
use crate::exchange::{self, KeepHeaders};
use crate::filter::{FilterConfig, FilterVerdict, FlowFilter, FlowRules, RecordFilter};
use crate::flows;
use crate::format::{Encoded, Observer};
use crate::glob::Glob;
use crate::identity::Identity;
use crate::ledger::LeftOut;
use crate::metrics::MetricsProbe;
use crate::pipeline::{FormatOutlet, Pipeline};
use crate::published::Published;
use crate::record::Record;
use crate::redact::{NameList, Redactor};
use crate::settings::{
    Auto, ConntrackEvents, Count, FlowState, HeadersToLog, IpNetwork, ListOf, MemoryBounds, ProtocolName, RecordKind,
    ResolvedSettings, Seconds, SettingFault, SettingPairs, Settings, SinkName, WrongValues,
};
use crate::shape::proxy::TrustedProxies;
use crate::shape::route::RouteRules;
use crate::sink::{QueueLimits, SinkHandle};
use crate::source::routes::HostRoutes;
use crate::tcp;
use crate::verdict::{self, PrefixPatterns, VerdictEngine};
use crate::workload::Workloads;

/// A port, as settings have it.
type Port = Count<1, 65_535>;

/// Reads the settings and has every part check what only it can judge: all wrong ones are found at once.
pub fn look(flags: &SettingPairs) -> ResolvedSettings {
    checked(config::look(flags))
}

/// What a start needs, or all that is wrong with the settings.
pub fn load(flags: &SettingPairs) -> Result<RunConfig, WrongValues> {
    RunConfig::of(look(flags))
}

fn checked(mut resolution: ResolvedSettings) -> ResolvedSettings {
    if let Some(settings) = &resolution.usable {
        let faults = unusable(settings);
        resolution.refuse(faults.into_iter().map(|fault| (fault.setting, fault.why)));
    }
    resolution
}

/// What the parts find wrong: each is made, and dropped again.
fn unusable(settings: &Settings) -> Vec<SettingFault> {
    let mut faults = FaultList::default();
    let parts = faults.keep(CheckedParts::new(settings, MemoryBounds::of(settings, None).workload_bytes));
    let observer = parts.map(|parts| parts.identity.observer()).unwrap_or_default();
    for name in settings.send_logs_to.iter() {
        let _ = faults.keep(targets::check(*name, settings, &observer));
    }
    faults.finish::<()>(None).err().map(|unusable| unusable.faults).unwrap_or_default()
}

/// The parts whose settings have rules of their own.
struct CheckedParts {
    redactor: Redactor,
    routes: RouteRules,
    filter: RecordFilter,
    identity: Identity,
    prefixes: PrefixPatterns,
    container_interfaces: Vec<Glob>,
    copies: Option<copies::CopyConfig>,
    workloads: Workloads,
}

impl CheckedParts {
    fn new(settings: &Settings, workload_bytes: usize) -> Result<Self, UnusableSettings> {
        let mut faults = FaultList::default();
        let filter = faults.keep(RecordFilter::new(&filter_config(settings)).map_err(|bad| UnusableSettings {
            faults: bad.iter().map(|bad| SettingFault::new(bad.setting, &bad.cause)).collect(),
        }));
        let routes = faults.keep(RouteRules::new(&settings.routes).map_err(|why| UnusableSettings::new("ROUTES", why)));
        let identity = faults.keep(Identity::new(settings).map_err(|why| UnusableSettings::new("ANNOTATIONS", why)));
        let redactor = faults.keep(redactor(settings));
        let given = settings.verdict_prefixes.given();
        let prefixes = given.map_or_else(|| Ok(PrefixPatterns::cloud_foundry()), |given| PrefixPatterns::new(given));
        let prefixes = faults.keep(prefixes.map_err(|why| UnusableSettings::new("VERDICT_PREFIXES", why)));
        let interfaces = settings.verdict_interfaces.iter().map(|name| Glob::new(name)).collect::<Result<Vec<_>, _>>();
        let interfaces = faults.keep(interfaces.map_err(|why| UnusableSettings::new("VERDICT_INTERFACES", why)));
        let of_node = settings.node_interfaces.iter().map(|name| Glob::new(name)).collect::<Result<Vec<_>, _>>();
        let of_node = faults.keep(of_node.map_err(|why| UnusableSettings::new("NODE_INTERFACES", why)));
        let workloads = Workloads::new(settings, workload_bytes);
        let workloads = faults.keep(workloads.map_err(|why| UnusableSettings::new("WORKLOADS", why)));
        let parts = redactor.zip(routes).zip(filter.zip(identity)).zip(prefixes.zip(interfaces)).zip(workloads);
        let parts = parts.zip(of_node);
        let parts = parts.map(|(((((redactor, routes), (filter, identity)), verdicts), workloads), of_node)| Self {
            redactor,
            routes,
            filter,
            identity,
            prefixes: verdicts.0,
            container_interfaces: verdicts.1,
            copies: node::copies(settings, of_node),
            workloads,
        });
        faults.finish(parts)
    }
}

/// What settings come to.
#[derive(Clone, Debug)]
pub struct Assembly {
    dissect: dissect::DissectorConfig,
    /// What all interfaces may have together.
    pools: SharedPools,
    redactor: Redactor,
    routes: Arc<RouteRules>,
    filter: Arc<RecordFilter>,
    identity: Identity,
    workloads: Workloads,
    settings: Arc<Settings>,
    queue: QueueLimits,
    /// Flows of connection tracking that are remembered.
    flows: usize,
    verdicts: verdict::VerdictConfig,
    /// Who asked for which connection, where connects are read.
    askers: Option<ConnectionAskers>,
    /// With OBSERVE=node: who is behind which interface.
    host_routes: Published<HostRoutes>,
}

impl Assembly {
    /// Checks what only the parts can check. `own_ips` decides the direction.
    pub fn new(config: &RunConfig, own_ips: Vec<IpAddr>) -> Result<Self, UnusableSettings> {
        let settings = &config.settings;
        let CheckedParts { redactor, routes, filter, identity, prefixes, container_interfaces, copies, workloads } =
            CheckedParts::new(settings, config.bounds.workload_bytes)?;
        let mut dissect = dissect_config(config, &identity.observer(), own_ips);
        dissect.dns = workloads.learnt().cloned();
        dissect.copies = copies;
        dissect.connects = settings.failed_connects.then(|| attempts::AttemptConfig {
            most: config.bounds.connections,
            observer_id: dissect.http.observer_id.clone(),
            own_ips: dissect.http.own_ips.clone(),
            reported: attempts::ReportedConnects::None,
        });
        let nanos = |time: Seconds| u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX);
        let verdicts = verdict::VerdictConfig {
            prefixes,
            container_interfaces,
            repeats: settings.verdict_repeats.map(nanos),
            patience: settings.verdict_outcome.filter(|_| sees_connections(settings)).map(nanos),
            observer_id: dissect.http.observer_id.clone(),
            filter: flow_filter(settings),
        };
        Ok(Self {
            redactor,
            pools: SharedPools::new(&dissect),
            dissect,
            routes: Arc::new(routes),
            filter: Arc::new(filter),
            identity,
            workloads,
            settings: Arc::new(settings.clone()),
            queue: QueueLimits { records: settings.queue_records.count(), bytes: config.bounds.queue_bytes },
            flows: config.bounds.flows,
            verdicts,
            askers: None,
            host_routes: Published::default(),
        })
    }

    /// The observer, for the thread that keeps it current.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who is behind which address, for the thread that keeps it current.
    pub fn workloads(&self) -> &Workloads {
        &self.workloads
    }

    /// Reads again who is behind which interface; nothing unless a whole node is observed.
    pub fn refresh_routes(&self) {
        if self.settings.of_node() {
            self.host_routes.publish(HostRoutes::read());
        }
    }

    /// A dissector for one capture thread.
    pub fn dissector(&self) -> Dissector {
        Dissector::sharing(self.dissect.clone(), self.redactor.clone(), &self.pools)
    }

    /// The table of flows of connection tracking.
    pub fn tracker(&self) -> ConntrackTracker {
        let nanos = u64::try_from(self.settings.conntrack_interval.0.as_nanos()).unwrap_or(u64::MAX);
        ConntrackTracker::new(conntrack::ConntrackConfig {
            events: match self.settings.conntrack_events {
                ConntrackEvents::All => conntrack::ConntrackEvents::All,
                ConntrackEvents::Folded => conntrack::ConntrackEvents::Folded,
                ConntrackEvents::Aggregate => conntrack::ConntrackEvents::Aggregate { interval: nanos },
            },
            max_flows: self.flows,
            observer_id: self.dissect.http.observer_id.clone(),
            filter: flow_filter(&self.settings),
            own_ips: self.dissect.http.own_ips.clone(),
            news: self.joins_verdicts(),
        })
    }

    /// Whether records of logged packets wait for what follows.
    pub fn joins_verdicts(&self) -> bool {
        self.verdicts.patience.is_some() && self.settings.records(RecordKind::Verdicts)
    }

    /// What reads logged packets.
    pub fn verdicts(&self) -> VerdictEngine {
        VerdictEngine::new(self.verdicts.clone())
    }

    /// The way of a record from a capture thread to the sinks' queues.
    #[allow(clippy::type_complexity, reason = "closures have no name, and `impl` none either in a type alias")]
    pub fn pipeline(
        &self,
        sinks: &StartedSinks,
        probe: Option<MetricsProbe>,
    ) -> Pipeline<
        impl FnMut(&mut Record) -> Option<LeftOut> + use<>,
        impl FnMut(&Record, &mut Vec<u8>) -> Encoded + use<>,
    > {
        Pipeline::new(self.select(), self.outlets(sinks), probe)
    }

    /// The same way, to a closure instead of sinks.
    #[allow(clippy::type_complexity, reason = "closures have no name, and `impl` none either in a type alias")]
    pub fn watched<W: FnMut(&Record)>(
        &self,
        mut watch: W,
        probe: Option<MetricsProbe>,
    ) -> Pipeline<
        impl FnMut(&mut Record) -> Option<LeftOut> + use<W>,
        impl FnMut(&Record, &mut Vec<u8>) -> Encoded + use<W>,
    > {
        let encode = move |record: &Record, _: &mut Vec<u8>| {
            watch(record);
            Encoded::NotInThisFormat
        };
        Pipeline::new(self.select(), vec![FormatOutlet { encode, sinks: Vec::new() }], probe)
    }

    /// Names the route and the workloads, and says what is left out.
    fn select(&self) -> impl FnMut(&mut Record) -> Option<LeftOut> + use<> {
        let (routes, filter) = (Arc::clone(&self.routes), Arc::clone(&self.filter));
        let flows = flow_filter(&self.settings);
        let workloads = self.workloads.clone();
        let mut node = self.settings.of_node().then(|| node::Node {
            name: self.identity.observer().host_name.clone().unwrap_or_default(),
            workloads: workloads.clone(),
            routes: self.host_routes.subscribe(),
        });
        let names_first = node.is_some() || filter.may_ask_for_names();
        move |record: &mut Record| {
            if let Record::Flow(flow) = record
                && !flows.keeps_flow(flow)
            {
                return Some(LeftOut::Ignored);
            }
            if let Record::Connect(connect) = record {
                if !flows.keeps_connect(connect) {
                    return Some(LeftOut::Ignored);
                }
                if let Some(why) = processes::is_recorded_by_process(connect) {
                    return Some(why);
                }
            }
            if let Record::Http(exchange) = record {
                exchange.route = exchange.request.as_ref().and_then(|request| routes.of_request(request));
                if exchange.own_traffic {
                    return Some(LeftOut::OwnTraffic);
                }
            }
            if names_first {
                workloads.name(record);
            }
            if let Some(node) = &mut node {
                node.observe(record);
            }
            match filter.verdict(record) {
                FilterVerdict::Keep => {
                    // What is left out costs no look, and no question to Redis.
                    if !names_first {
                        workloads.name(record);
                    }
                    None
                }
                FilterVerdict::LeftOut(why) => Some(why),
            }
        }
    }

    /// One outlet for each encoding in use.
    fn outlets(&self, sinks: &StartedSinks) -> Vec<FormatOutlet<impl FnMut(&Record, &mut Vec<u8>) -> Encoded + use<>>> {
        let outlet = |(encoder, sinks): (RecordEncoder, Vec<SinkHandle>)| {
            let mut observer = self.identity.subscribe();
            let mut begun = false;
            let encode =
                move |record: &Record, out: &mut Vec<u8>| encoder.encode_next(record, observer.now(), &mut begun, out);
            FormatOutlet { encode, sinks }
        };
        self.encoders(sinks, io::stdout().is_terminal(), |_| true).into_iter().map(outlet).collect()
    }

    /// The encodings in use, each with the sinks that it is for.
    fn encoders(
        &self,
        sinks: &StartedSinks,
        terminal: bool,
        wanted: impl Fn(SinkName) -> bool,
    ) -> Vec<(RecordEncoder, Vec<SinkHandle>)> {
        let mut grouped: Vec<(RecordEncoder, Vec<SinkHandle>)> = Vec::new();
        for (name, handle) in sinks.iter().filter(|(name, _)| wanted(*name)) {
            let encoder = RecordEncoder::new(*name, &self.settings, terminal);
            match grouped.iter_mut().find(|(known, _)| *known == encoder) {
                Some((_, handles)) => handles.push(handle.clone()),
                None => grouped.push((encoder, vec![handle.clone()])),
            }
        }
        grouped
    }
}

fn filter_config(settings: &Settings) -> FilterConfig {
    let words = |list: &[String]| list.to_vec();
    FilterConfig {
        only: settings.only.to_vec(),
        include: settings.include.clone(),
        exclude: settings.exclude.clone(),
        pod: settings.pod_name.clone(),
        namespace: settings.pod_namespace.clone(),
        node: settings.node_name.clone(),
        ignore_urls: words(&settings.ignore_urls),
        ignore_hosts: words(&settings.ignore_hosts),
        ignore_methods: words(&settings.ignore_methods),
        ignore_status: settings.ignore_status.to_vec(),
        ignore_user_agents: words(&settings.ignore_user_agents),
        only_direction: settings.only_direction.iter().map(|d| (*d).into()).collect(),
        sample: Some(settings.sample.0),
        rate_limit: settings.rate_limit.map(|rate| rate.0),
        slow_after_ms: settings.slow_after.map(|millis| millis.0.as_millis() as u64),
    }
}

fn flow_filter(settings: &Settings) -> FlowFilter {
    let rules = |cidrs: &[IpNetwork], ports: &[Port], protocols: &[ProtocolName], states: &[FlowState]| FlowRules {
        cidrs: cidrs.iter().map(|net| net.0).collect(),
        ports: ports.iter().filter_map(|port| u16::try_from(port.count()).ok()).collect(),
        protocols: protocols.iter().map(|protocol| protocol.0).collect(),
        states: states.to_vec(),
    };
    let it = settings;
    FlowFilter {
        include: rules(&it.include_cidrs, &it.include_ports, &it.include_protocols, &it.include_states),
        exclude: rules(&it.exclude_cidrs, &it.exclude_ports, &it.exclude_protocols, &it.exclude_states),
    }
}

fn redactor(settings: &Settings) -> Result<Redactor, UnusableSettings> {
    let names = |name: &str, list: &Auto<ListOf<String>>| match list.given() {
        None => Ok(NameList::default()),
        Some(list) if list.is_empty() => Ok(NameList::none()),
        Some(list) => list.join(",").parse().map_err(|why| UnusableSettings::new(name, why)),
    };
    let mut faults = FaultList::default();
    let headers = faults.keep(names("REDACT_HEADERS", &settings.redact_headers)).unwrap_or_default();
    let query = faults.keep(names("REDACT_QUERY", &settings.redact_query)).unwrap_or_default();
    let redactor = Redactor::new(headers, query, &settings.redact_path);
    let redactor = faults.keep(redactor.map_err(|why| UnusableSettings::new("REDACT_PATH", why)));
    faults.finish(redactor)
}

/// Whether what follows a packet can be seen.
fn sees_connections(settings: &Settings) -> bool {
    [RecordKind::Conntrack, RecordKind::Flows].into_iter().any(|kind| settings.records(kind))
}

fn dissect_config(config: &RunConfig, observer: &Observer, own_ips: Vec<IpAddr>) -> dissect::DissectorConfig {
    let settings = &config.settings;
    let auto_id = || observer.pod.uid.as_deref().or(observer.hostname.as_deref()).unwrap_or_default().to_owned();
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let defaults = dissect::DissectorConfig::default();
    let observer_id = settings.observer_id.given().cloned().unwrap_or_else(auto_id);
    let records_flows = settings.records(RecordKind::Flows);
    let flows = records_flows.then(|| flows::FlowConfig {
        interval: settings.flow_interval.as_ref().map(|interval| nanos(interval.0)),
        idle: nanos(settings.flow_idle.0),
        most: config.bounds.captured_flows,
        observer_id: observer_id.clone(),
        own_ips: own_ips.clone(),
        news: settings.verdict_outcome.is_some()
            && settings.records(RecordKind::Verdicts)
            // Connection tracking knows more: what is translated, and what is not captured.
            && !settings.records(RecordKind::Conntrack),
        ..flows::FlowConfig::default()
    });
    dissect::DissectorConfig {
        tcp: tcp::TcpLimits {
            connections: config.bounds.connections,
            held_per_stream: (config.bounds.held_bytes / 4).max(1 << 18),
            held_total: config.bounds.held_bytes,
            ..defaults.tcp
        },
        http: exchange::ExchangeConfig {
            max_head_bytes: settings.max_head_bytes.in_memory(),
            // The last quarter of the memory, which `MemoryBounds` leaves free, has room for this and for slack.
            max_kept_bytes: config.bounds.held_bytes / 2,
            timeout_after: nanos(settings.timeout_after.0),
            stream_after: nanos(settings.stream_after.0),
            headers: match &settings.log_headers {
                HeadersToLog::Off => KeepHeaders::None,
                HeadersToLog::All => KeepHeaders::All,
                HeadersToLog::Named(names) => KeepHeaders::Named(names.clone()),
            },
            observer_id,
            own_ips,
            trusted_proxies: match settings.trusted_proxies.given() {
                None => TrustedProxies::default(),
                Some(nets) => TrustedProxies::new(nets.iter().map(|net| net.0)),
            },
            nonce: Some(exchange::own::nonce().clone()),
        },
        reads_http: settings.records(RecordKind::Http) || !records_flows,
        flows,
        check_every: nanos(settings.timeout_interval_check.0),
        ..defaults
    }
}
