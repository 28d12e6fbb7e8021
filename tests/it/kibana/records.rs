//! Records of everything that a dashboard may ask for: podtap's own captures, replayed as several pods saw them.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use podtap::demo::{RENDERED_SERVER, rendered};
use podtap::dissect::{self, Dissector};
use podtap::exchange::{self, KeepHeaders};
use podtap::flow::Timestamp;
use podtap::format::{Observer, Pod, ecs};
use podtap::packet::Frame;
use podtap::record::{Record, Workload};
use podtap::redact::Redactor;
use podtap::shape::route::RouteRules;
use podtap::synth::message::{request, response};
use podtap::synth::{Conversation, SynthFrame};
use podtap::tcp::CloseReason;
use serde_json::Value;

use super::{flows, ledger, processes};

use crate::golden;

/// 2026-03-01, noon.
const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

/// The time range that the dashboards are opened with.
pub(super) const SPAN: (&str, &str) = ("2026-03-01T11:59:00Z", "2026-03-01T12:04:00Z");

/// Who watches, and what of.
struct Tap {
    pod: Option<&'static str>,
    own_ips: Vec<IpAddr>,
    interface: &'static str,
    /// Names are known for both ends.
    named: bool,
    /// Longest line.
    longest: usize,
    ends: CloseReason,
}

impl Default for Tap {
    fn default() -> Self {
        let (own_ips, ends) = (Vec::new(), CloseReason::EndOfCapture);
        Self { pod: None, own_ips, interface: "eth0", named: false, longest: usize::MAX, ends }
    }
}

/// As JSON lines, parsed; exchanges and ledger records. The same ones for all tests: what targets did not take depends
/// on the moment.
pub(super) fn lines() -> Vec<Value> {
    static LINES: OnceLock<Vec<Value>> = OnceLock::new();
    LINES
        .get_or_init(|| {
            [exchanges(), flows::lines(NOON), processes::lines(NOON), ledger::lines(&rendered(NOON), NOON)].concat()
        })
        .clone()
}

fn exchanges() -> Vec<Value> {
    let demo = rendered(NOON);
    let clients: Vec<IpAddr> = (100..108).map(|n| IpAddr::from([10, 1, 0, n])).collect();
    let server = vec![RENDERED_SERVER.ip];
    let everybody = [clients.clone(), server.clone()].concat();
    let served = IpAddr::from([10, 0, 0, 2]);
    let mut out = Vec::new();
    let mut see = |tap: Tap, name: &str, frames: &[SynthFrame]| out.extend(tap.lines(name, frames));
    see(Tap { pod: Some("shop-1"), own_ips: server.clone(), named: true, ..Tap::default() }, "serves", &demo);
    see(Tap { pod: Some("cart-1"), own_ips: clients, ..Tap::default() }, "asks", &demo);
    see(Tap { pod: Some("lonely-1"), own_ips: everybody, interface: "lo", ..Tap::default() }, "within", &demo);
    see(Tap::default(), "nobody", &demo);
    // What was not there yet when podtap ended.
    let half = &demo[..demo.len() / 2];
    see(Tap { own_ips: server, ends: CloseReason::Shutdown, ..Tap::default() }, "ended", half);
    for (name, play) in golden::all() {
        see(Tap { pod: Some("odd-1"), own_ips: vec![served], ..Tap::default() }, name, &play());
    }
    see(Tap { pod: Some("odd-1"), longest: 16 << 10, ..Tap::default() }, "long", &long());
    out
}

fn long() -> Vec<SynthFrame> {
    let ask = request("GET", "/long", &[("Host", "shop"), ("X-Long", &"v".repeat(20_000))], b"");
    Conversation::default().handshake().client(ask).server(response("200 OK", &[], b"")).close().frames()
}

impl Tap {
    /// Each capture is another observer's: the same addresses and ports are in several.
    fn lines(&self, name: &str, frames: &[SynthFrame]) -> Vec<Value> {
        let http = exchange::ExchangeConfig {
            headers: KeepHeaders::All,
            observer_id: name.to_owned(),
            own_ips: self.own_ips.clone(),
            ..exchange::ExchangeConfig::default()
        };
        let config = dissect::DissectorConfig { http, ..dissect::DissectorConfig::default() };
        let mut dissector = Dissector::new(config, Redactor::off());
        let interface: Arc<str> = self.interface.into();
        for frame in frames {
            let frame = Frame { interface: Some(&interface), ..frame.as_frame() };
            dissector.handle_frame(&frame, |_| false);
        }
        dissector.finish(self.ends);
        let routes = RouteRules::new(&[]).unwrap();
        let records: Vec<_> = dissector.records().drain(..).collect();
        records.into_iter().map(|record| self.line(record, &routes)).collect()
    }

    fn line(&self, mut record: Record, routes: &RouteRules) -> Value {
        let Record::Http(exchange) = &mut record else { unreachable!() };
        exchange.route = exchange.request.as_ref().and_then(|request| routes.of_request(request));
        if self.named {
            let named = |name: String| {
                let (namespace, kind) = (Some("shop".into()), Some("Deployment".into()));
                Some(Arc::new(Workload { namespace, name: Some(name.into()), kind, ..Workload::default() }))
            };
            exchange.source_workload = named(format!("client-{}", exchange.connection.client.port % 3));
            exchange.destination_workload = named("shop".to_owned());
        }
        let name = |text: &str| Some(text.into());
        let pod = self.pod.map_or_else(Pod::default, |pod| Pod {
            namespace: name(if pod.starts_with("odd") { "lab" } else { "shop" }),
            name: name(pod),
            ..Pod::default()
        });
        let observer = Observer { pod, host_name: name("node-1"), ..Observer::default() };
        let mut out = Vec::new();
        ecs::write_json_capped(&mut out, &record, &observer, self.longest);
        serde_json::from_slice(&out).unwrap()
    }
}
