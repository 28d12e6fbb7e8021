//! INCLUDE_… and EXCLUDE_…: rules for records that are about addresses, not about HTTP.
//!
//! An include list that is not empty must match; an exclude list must not. Counts nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::flow::{Endpoint, IpProtocol};
use crate::record::{ConnectRecord, ConntrackRecord, EventOutcome, FlowRecord, VerdictDirection, VerdictRecord};
use crate::settings::FlowState;

/// One list of each kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowRules {
    /// Either end lies in one of them.
    pub cidrs: Vec<IpNet>,
    /// Either end has one of these ports.
    pub ports: Vec<u16>,
    /// The protocol is one of them.
    pub protocols: Vec<IpProtocol>,
    /// One of these words holds for it.
    pub states: Vec<FlowState>,
}

/// Which flows are wanted; the default is all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowFilter {
    /// INCLUDE_….
    pub include: FlowRules,
    /// EXCLUDE_….
    pub exclude: FlowRules,
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct FlowSeen<'a> {
    /// The protocol.
    pub protocol: IpProtocol,
    /// Both ends, and both translated ones.
    pub ends: &'a [Option<Endpoint>],
    /// The words that hold.
    pub states: &'a [FlowState],
}

impl FlowFilter {
    fn keeps_all(&self) -> bool {
        self.include.are_none() && self.exclude.are_none()
    }

    /// Whether all that is wanted holds, and nothing that is not.
    pub fn keeps(&self, seen: FlowSeen<'_>) -> bool {
        let wanted = |list_empty: bool, matches: bool| list_empty || matches;
        let (include, exclude) = (&self.include, &self.exclude);
        wanted(include.cidrs.is_empty(), include.has_address(seen))
            && wanted(include.ports.is_empty(), include.has_port(seen))
            && wanted(include.protocols.is_empty(), include.protocols.contains(&seen.protocol))
            && wanted(include.states.is_empty(), include.has_state(seen))
            && !exclude.has_address(seen)
            && !exclude.has_port(seen)
            && !exclude.protocols.contains(&seen.protocol)
            && !exclude.has_state(seen)
    }

    /// The same for a report of a flow.
    pub fn keeps_flow(&self, record: &FlowRecord) -> bool {
        if self.keeps_all() {
            return true;
        }
        let ends = [Some(record.source), Some(record.destination)];
        let words = [
            FlowState::of_word(record.status.name()),
            (record.outcome == Some(EventOutcome::Failure)).then_some(FlowState::Failed),
            (record.report == 1).then_some(FlowState::New),
            record.last.then_some(FlowState::End),
        ];
        let states: Vec<_> = words.into_iter().flatten().collect();
        self.keeps(FlowSeen { protocol: record.protocol, ends: &ends, states: &states })
    }

    /// The same for a connect. Of two ends without a port only the addresses count.
    pub fn keeps_connect(&self, record: &ConnectRecord) -> bool {
        if self.keeps_all() {
            return true;
        }
        let source = record.source.map(|ip| Endpoint { ip, port: record.source_port.unwrap_or(0) });
        let failed = record.result.outcome() == EventOutcome::Failure;
        let words = [FlowState::of_word(record.result.name()), failed.then_some(FlowState::Failed)];
        let states: Vec<_> = words.into_iter().flatten().collect();
        self.keeps(FlowSeen { protocol: record.protocol, ends: &[source, Some(record.destination)], states: &states })
    }

    /// The same for a logged packet.
    pub fn keeps_verdict(&self, record: &VerdictRecord) -> bool {
        if self.keeps_all() {
            return true;
        }
        let packet = &record.packet;
        let verdict = if record.meaning.allowed { FlowState::Allowed } else { FlowState::Denied };
        let direction = match record.direction {
            VerdictDirection::Ingress => FlowState::Ingress,
            VerdictDirection::Egress => FlowState::Egress,
        };
        let ends = [Some(packet.source), Some(packet.destination)];
        // A protocol that the entry does not name is none that a list can hold: 255 is reserved.
        let protocol = packet.protocol.unwrap_or(IpProtocol(255));
        self.keeps(FlowSeen { protocol, ends: &ends, states: &[verdict, direction] })
    }

    /// The same for a record of conntrack.
    pub fn keeps_conntrack(&self, record: &ConntrackRecord) -> bool {
        if self.keeps_all() {
            return true;
        }
        let tuple = &record.tuple;
        let ends = [Some(tuple.source), Some(tuple.destination), record.source_nat, record.destination_nat];
        let mut states: Vec<_> = record.status.names().filter_map(FlowState::of_word).collect();
        states.extend(record.state.and_then(FlowState::of_word));
        states.extend(FlowState::of_word(record.action.name()));
        states.extend((record.outcome == Some(EventOutcome::Failure)).then_some(FlowState::Failed));
        self.keeps(FlowSeen { protocol: tuple.protocol, ends: &ends, states: &states })
    }
}

impl FlowRules {
    fn are_none(&self) -> bool {
        let Self { cidrs, ports, protocols, states } = self;
        cidrs.is_empty() && ports.is_empty() && protocols.is_empty() && states.is_empty()
    }

    fn has_address(&self, seen: FlowSeen<'_>) -> bool {
        let within = |ip: IpAddr| self.cidrs.iter().any(|cidr| cidr.contains(&ip));
        !self.cidrs.is_empty() && seen.ends.iter().flatten().any(|end| within(end.ip))
    }

    fn has_port(&self, seen: FlowSeen<'_>) -> bool {
        seen.protocol.has_ports() && seen.ends.iter().flatten().any(|end| self.ports.contains(&end.port))
    }

    fn has_state(&self, seen: FlowSeen<'_>) -> bool {
        seen.states.iter().any(|state| self.states.contains(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(cidr: &str, port: u16, protocol: &str, state: &str) -> FlowRules {
        FlowRules {
            cidrs: cidr.parse().into_iter().collect(),
            ports: Some(port).filter(|port| *port > 0).into_iter().collect(),
            protocols: IpProtocol::parse(protocol).into_iter().collect(),
            states: FlowState::of_word(state).into_iter().collect(),
        }
    }

    #[test]
    fn every_include_list_must_match_and_no_exclude_list_may() {
        let ends = [([10, 0, 0, 1], 40_000), ([10, 96, 0, 9], 53), ([10, 1, 0, 5], 5353)];
        let ends = ends.map(|(ip, port)| Some(Endpoint::new(ip, port)));
        let states = [FlowState::End, FlowState::Failed];
        let seen = FlowSeen { protocol: IpProtocol::UDP, ends: &ends, states: &states };
        let keeps = |include, exclude| FlowFilter { include, exclude }.keeps(seen);
        let none = || rules("", 0, "", "");
        assert!(keeps(none(), none()));
        for (rules, matches) in [
            (rules("10.96.0.0/16", 0, "", ""), true),
            (rules("10.1.0.5/32", 0, "", ""), true),
            (rules("10.2.0.0/16", 0, "", ""), false),
            (rules("", 5353, "", ""), true),
            (rules("", 80, "", ""), false),
            (rules("", 0, "udp", ""), true),
            (rules("", 0, "tcp", ""), false),
            (rules("", 0, "", "failed"), true),
            (rules("", 0, "", "new"), false),
        ] {
            assert_eq!((keeps(rules.clone(), none()), keeps(none(), rules.clone())), (matches, !matches), "{rules:?}");
        }
        assert!(!keeps(rules("10.0.0.0/8", 80, "", ""), none()), "all lists must match");
        assert!(!keeps(rules("10.0.0.0/8", 53, "udp", "end"), rules("", 0, "", "failed")), "exclude wins");
    }
}
