//! What a record says for each key. Decides nothing about it.

use std::fmt::Write;

use compact_str::CompactString;

use super::key::{NumberKey, TextKey, WhichEnds};
use crate::flow::Endpoint;
use crate::record::{
    ConnectRecord, ConnectResult, ConntrackRecord, EventOutcome, Exchange, FlowRecord, FlowStatus, HttpRequest,
    NetworkDirection, Process, Record, VerdictRecord, Workload, grpc_status,
};
use crate::settings::OnlyKind;
use crate::shape::target::RequestUrl;

/// How much of a container's id is usually shown.
const SHORT_ID: usize = 12;

/// What belongs to a record and is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSurroundings<'a> {
    /// The observed pod.
    pub pod: Option<&'a str>,
    /// Its namespace.
    pub namespace: Option<&'a str>,
    /// Its node.
    pub node: Option<&'a str>,
    /// From how many nanoseconds on an exchange is slow.
    pub slow_after: Option<u64>,
}

/// Whether a record is of a kind that ONLY names.
pub fn is_of_kind(record: &Record, kind: OnlyKind, slow_after: Option<u64>) -> bool {
    match (record, kind) {
        (Record::Http(exchange), OnlyKind::Failed) => exchange.outcome() == EventOutcome::Failure,
        (Record::Http(exchange), OnlyKind::Slow) => slow_after.is_some_and(|limit| exchange.is_slow(limit)),
        (Record::Http(exchange), OnlyKind::Unanswered) => exchange.unanswered.is_some(),
        (Record::Flow(flow), OnlyKind::Failed) => flow.outcome == Some(EventOutcome::Failure),
        (Record::Flow(flow), OnlyKind::Unanswered) => flow.status == FlowStatus::TimedOut,
        (Record::Conntrack(event), OnlyKind::Failed) => event.outcome == Some(EventOutcome::Failure),
        (Record::Conntrack(event), OnlyKind::Unanswered) => event.tries.is_some(),
        (Record::Verdict(packet), OnlyKind::Failed) => !packet.meaning.allowed,
        (Record::Connect(connect), OnlyKind::Failed) => connect.result.outcome() == EventOutcome::Failure,
        (Record::Connect(connect), OnlyKind::Unanswered) => connect.result == ConnectResult::TimedOut,
        (Record::Flow(_) | Record::Conntrack(_) | Record::Connect(_), OnlyKind::Slow)
        | (Record::Verdict(_), OnlyKind::Slow | OnlyKind::Unanswered)
        | (Record::Ledger(_), _) => false,
    }
}

/// Whether one of the ends is as wanted.
pub(super) fn ends(record: &Record, ends: WhichEnds, wanted: impl Fn(Endpoint) -> bool) -> bool {
    let (sources, destinations) = match record {
        Record::Http(exchange) => {
            let connection = &exchange.connection;
            ([Some(connection.client), None], [Some(connection.server), None])
        }
        Record::Flow(flow) => ([Some(flow.source), None], [Some(flow.destination), None]),
        Record::Conntrack(event) => {
            ([Some(event.tuple.source), event.source_nat], [Some(event.tuple.destination), event.destination_nat])
        }
        Record::Verdict(logged) => ([Some(logged.packet.source), None], [Some(logged.packet.destination), None]),
        Record::Connect(connect) => {
            // An end without a port compares by its address: no port is 0.
            let source = connect.source.map(|ip| Endpoint { ip, port: connect.source_port.unwrap_or(0) });
            ([source, None], [Some(connect.destination), None])
        }
        Record::Ledger(_) => return false,
    };
    let any = |of: [Option<Endpoint>; 2]| of.into_iter().flatten().any(&wanted);
    match ends {
        WhichEnds::Source => any(sources),
        WhichEnds::Destination => any(destinations),
        WhichEnds::Either => any(sources) || any(destinations),
    }
}

pub(super) fn status(record: &Record) -> Option<u16> {
    record.exchange()?.response.as_ref()?.status
}

pub(super) fn number(record: &Record, key: NumberKey) -> Option<u64> {
    match (record, key) {
        (Record::Http(exchange), NumberKey::Duration) => {
            let end = exchange.end().or(exchange.gave_up)?;
            Some(end.since(exchange.start()))
        }
        (Record::Http(exchange), NumberKey::Bytes) => exchange.response.as_ref().map(|response| response.bytes),
        (Record::Flow(flow), NumberKey::Duration) => Some(flow.duration),
        (Record::Flow(flow), NumberKey::Bytes) => Some(flow.counts.iter().map(|counts| counts.bytes).sum()),
        (Record::Conntrack(event), NumberKey::Duration) => Some(event.end?.since(event.start?)),
        (Record::Conntrack(event), NumberKey::Bytes) => event.counters.map(|[there, back]| there.bytes + back.bytes),
        (Record::Verdict(logged), NumberKey::Bytes) => logged.packet.length.map(u64::from),
        (Record::Connect(connect), NumberKey::Duration) => Some(connect.end?.since(connect.start)),
        (Record::Connect(_), NumberKey::Bytes) | (Record::Verdict(_), NumberKey::Duration) | (Record::Ledger(_), _) => {
            None
        }
    }
}

/// Whether one of the texts that a record has for `key` is as wanted.
#[allow(clippy::wildcard_enum_match_arm, reason = "what is left depends on the kind")]
pub(super) fn texts(
    record: &Record,
    around: &RecordSurroundings<'_>,
    key: TextKey,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> bool {
    let workloads = match record {
        Record::Http(exchange) => [&exchange.source_workload, &exchange.destination_workload],
        Record::Flow(flow) => [&flow.source_workload, &flow.destination_workload],
        Record::Conntrack(event) => [&event.source_workload, &event.destination_workload],
        Record::Verdict(logged) => [&logged.source_workload, &logged.destination_workload],
        Record::Connect(connect) => [&connect.source_workload, &connect.destination_workload],
        Record::Ledger(_) => return false,
    };
    let workloads = || workloads.into_iter().flatten().map(|workload| &**workload);
    let pods = || workloads().filter(|workload| workload.kind.as_deref() == Some("Pod"));
    match key {
        TextKey::Pod => around.pod.is_some_and(&mut *wanted) || pods().filter_map(name).any(wanted),
        TextKey::Namespace => {
            let named = workloads().filter_map(|workload| workload.namespace.as_deref());
            around.namespace.is_some_and(&mut *wanted) || { named }.any(wanted)
        }
        TextKey::Node => around.node.is_some_and(wanted),
        TextKey::Workload => workloads().filter_map(name).any(wanted),
        TextKey::Dataset => wanted(record.dataset().name().trim_start_matches("podtap.")),
        _ => match record {
            Record::Http(exchange) => of_exchange(exchange, key, wanted),
            Record::Flow(flow) => of_flow(flow, key, wanted),
            Record::Conntrack(event) => of_conntrack(event, key, wanted),
            Record::Verdict(logged) => of_verdict(logged, key, wanted),
            Record::Connect(connect) => of_connect(connect, key, wanted),
            Record::Ledger(_) => false,
        },
    }
}

fn name(workload: &Workload) -> Option<&str> {
    workload.name.as_deref()
}

fn direction(direction: Option<NetworkDirection>) -> Option<&'static str> {
    direction.map(NetworkDirection::name)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of any other key it has nothing")]
fn of_exchange(exchange: &Exchange, key: TextKey, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    let request = exchange.request.as_ref();
    let url = || request.map(RequestUrl::of);
    match key {
        TextKey::Host => url().and_then(|url| url.domain).is_some_and(wanted),
        TextKey::Path => url().and_then(|url| url.path).is_some_and(wanted),
        TextKey::Url => request.map(whole_url).is_some_and(|url| wanted(&url)),
        TextKey::Route => exchange.route.as_deref().is_some_and(wanted),
        TextKey::Method => request.is_some_and(|request| wanted(&request.method)),
        TextKey::Agent => request.and_then(|request| request.user_agent.as_deref()).is_some_and(wanted),
        TextKey::Direction => direction(exchange.direction()).is_some_and(wanted),
        TextKey::Trust => wanted(exchange.trust.name()),
        TextKey::Unanswered => exchange.unanswered.is_some_and(|why| wanted(why.name())),
        TextKey::Grpc => {
            exchange.grpc.as_ref().and_then(|call| call.status).is_some_and(|status| wanted(&grpc_status(status)))
        }
        TextKey::Interface => exchange.connection.interface.as_deref().is_some_and(wanted),
        TextKey::Protocol => wanted("http") || wanted("tcp"),
        TextKey::Connection => wanted(&exchange.connection.id),
        TextKey::Keyword => {
            request.is_some_and(|request| {
                wanted(&whole_url(request)) || request.user_agent.as_deref().is_some_and(&mut *wanted)
            }) || exchange.route.as_deref().is_some_and(&mut *wanted)
                || exchange.process().is_some_and(|process| of_process(process, TextKey::Keyword, wanted))
        }
        TextKey::Container | TextKey::Process | TextKey::User => {
            exchange.process().is_some_and(|process| of_process(process, key, wanted))
        }
        _ => false,
    }
}

/// Host, path and query, as the text line shows them.
fn whole_url(request: &HttpRequest) -> CompactString {
    let url = RequestUrl::of(request);
    if url.is_absolute || url.scheme.is_none() {
        return request.target.clone();
    }
    let mut whole = request.host.clone().unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = write!(whole, "{}", request.target);
    whole
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of any other key it has nothing")]
fn of_flow(flow: &FlowRecord, key: TextKey, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    match key {
        TextKey::Direction => direction(flow.direction).is_some_and(wanted),
        TextKey::Protocol => wanted(&flow.protocol.text()),
        TextKey::State => wanted(flow.status.name()),
        TextKey::Trust => wanted(flow.trust.name()),
        TextKey::Interface => flow.interface.as_deref().is_some_and(wanted),
        TextKey::Connection => flow.connection_id.as_deref().is_some_and(wanted),
        TextKey::Container | TextKey::Process | TextKey::User | TextKey::Keyword => {
            flow.process().is_some_and(|process| of_process(process, key, wanted))
        }
        _ => false,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of any other key it has nothing")]
fn of_conntrack(event: &ConntrackRecord, key: TextKey, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    match key {
        TextKey::Direction => direction(event.direction).is_some_and(wanted),
        TextKey::Protocol => event.tuple.protocol.name().is_some_and(wanted),
        TextKey::State => wanted(event.action.name()) || event.state.is_some_and(wanted),
        _ => false,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of any other key it has nothing")]
fn of_verdict(logged: &VerdictRecord, key: TextKey, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    match key {
        TextKey::Direction => wanted(logged.direction.name()),
        TextKey::Protocol => logged.packet.protocol.is_some_and(|protocol| wanted(&protocol.text())),
        TextKey::State => wanted(if logged.meaning.allowed { "allowed" } else { "denied" }),
        TextKey::Interface => {
            let interfaces = [&logged.interface_in, &logged.interface_out];
            interfaces.into_iter().flatten().any(|name| wanted(name))
        }
        TextKey::Container => {
            let containers = [&logged.source, &logged.destination];
            containers.into_iter().flatten().any(|container| wanted(&container.id))
        }
        TextKey::User => logged.user.is_some_and(|user| wanted(&user.to_string())),
        TextKey::Keyword => wanted(&logged.prefix),
        _ => false,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of any other key it has nothing")]
fn of_connect(connect: &ConnectRecord, key: TextKey, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    let process = connect.process.as_deref();
    match key {
        TextKey::Direction => direction(connect.direction).is_some_and(wanted),
        TextKey::Protocol => wanted(&connect.protocol.text()),
        TextKey::State => wanted(connect.result.name()),
        TextKey::Interface => connect.interface.as_deref().is_some_and(wanted),
        TextKey::Connection => connect.connection_id.as_deref().is_some_and(wanted),
        TextKey::Host => {
            connect.destination_domain.as_deref().is_some_and(|it| it.names.iter().any(|name| wanted(name)))
        }
        TextKey::Container | TextKey::Process | TextKey::User | TextKey::Keyword => {
            process.is_some_and(|process| of_process(process, key, wanted))
        }
        _ => false,
    }
}

/// Of the process that asked: `keyword` and `process` are the same.
fn of_process(process: &Process, key: TextKey, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    if key == TextKey::Container {
        return of_container(process, wanted);
    }
    if key == TextKey::User {
        return wanted(&process.user.to_string()) || process.user_name.as_deref().is_some_and(wanted);
    }
    wanted(&process.name) || process.executable.as_deref().is_some_and(wanted)
}

/// Its id, its name, or the beginning of its id as programs for containers show it.
fn of_container(process: &Process, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    process.container.as_ref().is_some_and(|container| {
        wanted(&container.id)
            || container.id.get(..SHORT_ID).is_some_and(&mut *wanted)
            || container.name.as_deref().is_some_and(wanted)
    })
}
