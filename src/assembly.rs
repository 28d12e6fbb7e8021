//! Settings to parts: the dissector, what is left out, how a record is encoded, where it goes.
//!
//! Shared by `run`, `replay` and `demo`, so that all three give the same records. Starts no capture.

mod encoder;
mod ledger;
mod sinks;
mod targets;

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use self::encoder::Encoder;
pub use self::ledger::Statements;
pub use self::sinks::{Probed, Started};
#[cfg(feature = "es")]
pub use self::targets::elasticsearch_options;

use crate::config::Config;
use crate::dissect::{self, Dissector};
use crate::filter::{Filter, FilterConfig, Verdict};
use crate::format::Observer;
use crate::http::{self, KeepHeaders};
use crate::identity::Identity;
use crate::ledger::LeftOut;
use crate::metrics::Probe;
use crate::pipeline::{Outlet, Pipeline};
use crate::record::Record;
use crate::redact::{NameList, Redactor};
use crate::settings::{Auto, Headers, ListOf, Settings, SinkName};
use crate::shape::proxy::TrustedProxies;
use crate::shape::route::Routes;
use crate::sink::{QueueLimits, SinkHandle};
use crate::source::own_traffic;
use crate::tcp;

/// A setting whose value is well-formed but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub String);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// What settings come to.
#[derive(Clone, Debug)]
pub struct Assembly {
    dissect: dissect::Config,
    redactor: Redactor,
    routes: Arc<Routes>,
    filter: Arc<Mutex<Filter>>,
    identity: Identity,
    settings: Arc<Settings>,
    queue: QueueLimits,
}

impl Assembly {
    /// Checks what only the parts can check. `own_ips` decides the direction.
    pub fn new(config: &Config, own_ips: Vec<IpAddr>) -> Result<Self, Unusable> {
        let settings = &config.settings;
        let unusable = |name: &str, why: &dyn std::fmt::Display| Unusable(format!("{name}: {why}"));
        let filter = Filter::new(&filter_config(settings)).map_err(|e| Unusable(e.to_string()))?;
        let routes = Routes::new(&settings.routes).map_err(|e| unusable("ROUTES", &e))?;
        let identity = Identity::new(settings).map_err(|e| unusable("ANNOTATIONS", &e))?;
        Ok(Self {
            redactor: redactor(settings)?,
            dissect: dissect_config(config, &identity.observer(), own_ips),
            routes: Arc::new(routes),
            filter: Arc::new(Mutex::new(filter)),
            identity,
            settings: Arc::new(settings.clone()),
            queue: QueueLimits { records: settings.queue_records.count(), bytes: config.bounds.queue_bytes },
        })
    }

    /// Who observes, for whoever keeps it fresh.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A dissector for one capture thread.
    pub fn dissector(&self) -> Dissector {
        Dissector::new(self.dissect.clone(), self.redactor.clone())
    }

    /// The way of a record from a capture thread to the sinks' queues.
    #[allow(clippy::type_complexity, reason = "closures have no name, and `impl` none either in a type alias")]
    pub fn pipeline(
        &self,
        sinks: &Started,
        probe: Option<Probe>,
    ) -> Pipeline<impl FnMut(&mut Record) -> Option<LeftOut> + use<>, impl FnMut(&Record, &mut Vec<u8>) + use<>> {
        let (routes, filter) = (Arc::clone(&self.routes), Arc::clone(&self.filter));
        let select = move |record: &mut Record| {
            let Record::Http(exchange) = record else { return None };
            exchange.route = exchange.request.as_ref().and_then(|request| routes.of_request(request));
            if exchange.own_traffic {
                return Some(LeftOut::OwnTraffic);
            }
            match filter.lock().unwrap_or_else(PoisonError::into_inner).verdict(record) {
                Verdict::Keep => None,
                Verdict::LeftOut(why) => Some(why),
            }
        };
        Pipeline::new(select, self.outlets(sinks), probe)
    }

    /// One outlet for each encoding in use.
    fn outlets(&self, sinks: &Started) -> Vec<Outlet<impl FnMut(&Record, &mut Vec<u8>) + use<>>> {
        let outlet = |(encoder, sinks): (Encoder, Vec<SinkHandle>)| {
            let mut view = self.identity.view();
            let encode = move |record: &Record, out: &mut Vec<u8>| encoder.encode(record, view.observer(), out);
            Outlet { encode, sinks }
        };
        self.encoders(sinks, io::stdout().is_terminal(), |_| true).into_iter().map(outlet).collect()
    }

    /// The encodings in use, each with the sinks that it is for.
    fn encoders(
        &self,
        sinks: &Started,
        terminal: bool,
        wanted: impl Fn(SinkName) -> bool,
    ) -> Vec<(Encoder, Vec<SinkHandle>)> {
        let mut grouped: Vec<(Encoder, Vec<SinkHandle>)> = Vec::new();
        for (name, handle) in sinks.iter().filter(|(name, _)| wanted(*name)) {
            let encoder = Encoder::new(*name, &self.settings, terminal);
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

fn redactor(settings: &Settings) -> Result<Redactor, Unusable> {
    let names = |name: &str, list: &Auto<ListOf<String>>| match list.given() {
        None => Ok(NameList::default()),
        Some(list) if list.is_empty() => Ok(NameList::none()),
        Some(list) => list.join(",").parse().map_err(|e| Unusable(format!("{name}: {e}"))),
    };
    let headers = names("REDACT_HEADERS", &settings.redact_headers)?;
    let query = names("REDACT_QUERY", &settings.redact_query)?;
    Redactor::new(headers, query, &settings.redact_path).map_err(|e| Unusable(format!("REDACT_PATH: {e}")))
}

fn dissect_config(config: &Config, observer: &Observer, own_ips: Vec<IpAddr>) -> dissect::Config {
    let settings = &config.settings;
    let auto_id = || observer.pod.uid.as_deref().or(observer.hostname.as_deref()).unwrap_or_default().to_owned();
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let defaults = dissect::Config::default();
    dissect::Config {
        tcp: tcp::Limits {
            connections: config.bounds.connections,
            held_per_stream: (config.bounds.held_bytes / 4).max(1 << 18),
            held_total: config.bounds.held_bytes,
            ..defaults.tcp
        },
        http: http::Config {
            max_head_bytes: settings.max_head_bytes.in_memory(),
            // The last quarter of the memory, which `Bounds` leaves free, has room for this beside what grows slack.
            max_kept_bytes: config.bounds.held_bytes / 2,
            timeout_after: nanos(settings.timeout_after.0),
            stream_after: nanos(settings.stream_after.0),
            headers: match &settings.log_headers {
                Headers::Off => KeepHeaders::None,
                Headers::All => KeepHeaders::All,
                Headers::Named(names) => KeepHeaders::Named(names.clone()),
            },
            observer_id: settings.observer_id.given().cloned().unwrap_or_else(auto_id),
            own_ips,
            trusted_proxies: match settings.trusted_proxies.given() {
                None => TrustedProxies::default(),
                Some(nets) => TrustedProxies::new(nets.iter().map(|net| net.0)),
            },
            nonce: Some(own_traffic::nonce().value().to_owned()),
        },
        check_every: nanos(settings.timeout_interval_check.0),
        ..defaults
    }
}
