//! What podtap says about a case, held against the truth.
//!
//! Counts; whether a count is good enough is not decided here.

use std::collections::BTreeSet;
use std::ops::{AddAssign, Range};

use podtap::dissect::{Dissector, DissectorConfig};
use podtap::flow::Timestamp;
use podtap::packet::TcpFlags;
use podtap::record::{EventOutcome, Exchange, Record, Trust, UnansweredReason};
use podtap::redact::Redactor;
use podtap::synth::SynthSide;
use podtap::tcp::CloseReason;

use super::capture::{Case, NOON};
use super::script::Truth;
use super::tcp::Packet;

/// Counts over cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Exchanges that took place.
    pub exchanges: u64,
    /// Records made.
    pub records: u64,
    /// Exchanges of which both heads were captured.
    pub seen: u64,
    /// Of those, the ones recorded as a right pair.
    pub paired: u64,
    /// Pairs of a request with the response to another.
    pub wrong: u64,
    /// Of those, labelled complete.
    pub wrong_complete: u64,
    /// Pairs with a message that no one sent as one, or such a message recorded as complete.
    pub forged: u64,
    /// Records of one such message alone.
    pub forged_alone: u64,
    /// Exchanges recorded twice.
    pub twice: u64,
    /// Exchanges recorded as complete whose sizes are not those of the messages.
    pub not_complete: u64,
    /// Recorded as unanswered or failed, though an answer had come, and a captured frame shows it.
    pub blamed: u64,
    /// The same where no captured frame shows it.
    pub blamed_blindly: u64,
    /// Times that are not those of the captured bytes, or an end before the begin.
    pub bad_time: u64,
    /// Equations of the ledger that do not hold.
    pub imbalances: u64,
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.exchanges += other.exchanges;
        self.records += other.records;
        self.seen += other.seen;
        self.paired += other.paired;
        self.wrong += other.wrong;
        self.wrong_complete += other.wrong_complete;
        self.forged += other.forged;
        self.forged_alone += other.forged_alone;
        self.twice += other.twice;
        self.not_complete += other.not_complete;
        self.blamed += other.blamed;
        self.blamed_blindly += other.blamed_blindly;
        self.bad_time += other.bad_time;
        self.imbalances += other.imbalances;
    }
}

impl Verdict {
    /// Counts by the name of the fault.
    pub fn count(&self, about: &str) -> Option<u64> {
        Some(match about {
            "lies" => self.lies(),
            "wrong" => self.wrong,
            "forged" => self.forged,
            "twice" => self.twice,
            "sizes" => self.not_complete,
            "time" => self.bad_time,
            "ledger" => self.imbalances,
            "blamed" => self.blamed,
            "blind" => self.blamed_blindly,
            "alone" => self.forged_alone,
            "missed" => self.seen - self.paired,
            _ => return None,
        })
    }

    /// Lies: what must never be.
    pub fn lies(&self) -> u64 {
        self.wrong + self.forged + self.twice + self.not_complete + self.bad_time + self.imbalances
    }
}

/// The name of a message: its number, and whether it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its number.
    pub number: u32,
    /// It only looks like a message.
    pub forged: bool,
}

/// The name in a request's target.
pub fn name_of_target(target: &str) -> Option<Name> {
    for (mark, forged) in [("/r/", false), ("/f/", true), ("r-", false), ("f-", true)] {
        if let Some(at) = target.find(mark) {
            return number(&target[at + mark.len()..]).map(|number| Name { number, forged });
        }
    }
    None
}

/// The name in a response's phrase.
pub fn name_of_phrase(phrase: &str) -> Option<Name> {
    let forged = phrase.starts_with('F');
    let rest = phrase.strip_prefix(['R', 'F'])?;
    number(rest).map(|number| Name { number, forged })
}

fn number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The records that podtap makes of a case, and how many equations did not hold.
pub fn records(case: &Case) -> (Vec<Exchange>, u64) {
    let mut config = DissectorConfig::default();
    config.tcp.connections = 64;
    let mut dissector = Dissector::new(config, Redactor::off());
    let mut out = Vec::new();
    for frame in case.frames() {
        dissector.handle_frame(&frame.as_frame(), |_| false);
        out.extend(dissector.records().drain(..).filter_map(Record::into_exchange));
    }
    dissector.finish(CloseReason::EndOfCapture);
    out.extend(dissector.records().drain(..).filter_map(Record::into_exchange));
    let ledger = dissector.ledger();
    let left = [ledger.streams.held, ledger.http.waiting, ledger.http.open, ledger.http.responses_open];
    let imbalances = ledger.imbalances().len() + left.iter().filter(|count| **count != 0).count();
    (out, imbalances as u64)
}

/// Judges what podtap says about a case.
pub fn judge(case: &Case) -> Verdict {
    let (records, imbalances) = records(case);
    verdict_on(case, &records, imbalances)
}

/// Judges these records.
pub fn verdict_on(case: &Case, records: &[Exchange], imbalances: u64) -> Verdict {
    let mut verdict = Verdict { records: records.len() as u64, imbalances, ..Verdict::default() };
    let facts = Facts::of(case);
    let (mut told, mut paired) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        facts.check(record, &mut verdict);
        let (request, response) = names(record);
        if let Some(name) = request.filter(|name| !name.forged && !record.late)
            && !told.insert(name.number)
        {
            verdict.twice += 1;
        }
        if let (Some(a), Some(b)) = (request, response)
            && a == b
            && !a.forged
        {
            paired.insert(a.number);
        }
    }
    for truth in facts.truths() {
        verdict.exchanges += 1;
        if facts.both_heads_seen(truth) {
            verdict.seen += 1;
            verdict.paired += u64::from(paired.contains(&truth.1.number));
        }
    }
    verdict
}

/// The exchanges with both heads captured that are not recorded as pairs.
pub fn missed(case: &Case, records: &[Exchange]) -> Vec<u32> {
    let facts = Facts::of(case);
    let paired: BTreeSet<u32> = records
        .iter()
        .filter_map(|record| match names(record) {
            (Some(a), Some(b)) if a == b && !a.forged => Some(a.number),
            _ => None,
        })
        .collect();
    let seen = facts.truths().filter(|truth| facts.both_heads_seen(*truth));
    seen.map(|(_, truth)| truth.number).filter(|number| !paired.contains(number)).collect()
}

/// The names in a record.
pub fn names(record: &Exchange) -> (Option<Name>, Option<Name>) {
    let request = record.request.as_ref().and_then(|request| name_of_target(&request.target));
    let response = record.response.as_ref().and_then(|r| r.phrase.as_deref()).and_then(name_of_phrase);
    (request, response)
}

/// What can be known of a case.
struct Facts<'a> {
    case: &'a Case,
    /// For each connection, what was captured of both streams.
    covered: Vec<[Vec<Range<u64>>; 2]>,
    span: u64,
}

impl<'a> Facts<'a> {
    fn of(case: &'a Case) -> Self {
        let mut covered = vec![[Vec::new(), Vec::new()]; case.conns.len()];
        for shot in &case.shots {
            let (conn, packet) = &case.packets[shot.packet];
            if packet.is_true() && shot.kept > 0 {
                let range = packet.data.start..packet.data.start + shot.kept;
                covered[*conn][usize::from(packet.from == SynthSide::Server)].push(range);
            }
        }
        covered.iter_mut().flatten().for_each(merge);
        let times = || case.shots.iter().map(|shot| shot.at);
        let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        Self { case, covered, span }
    }

    fn truths(&self) -> impl Iterator<Item = (usize, &'a Truth)> + use<'a> {
        let conns = self.case.conns.iter().enumerate();
        conns.flat_map(|(index, conn)| conn.truths.iter().map(move |truth| (index, truth)))
    }

    fn both_heads_seen(&self, (conn, truth): (usize, &Truth)) -> bool {
        let [client, server] = &self.covered[conn];
        !truth.response.is_empty()
            && covers(client, &(truth.request.start..truth.request_head))
            && covers(server, &(truth.response.start..truth.response_head))
    }

    fn check(&self, record: &Exchange, verdict: &mut Verdict) {
        let wrong = verdict.wrong;
        self.check_pair(record, verdict);
        if verdict.wrong > wrong && record.trust == Trust::Complete {
            verdict.wrong_complete += 1;
        }
        if let Some(end) = record.end() {
            let bad = end < record.start() || end.since(record.start()) > self.span;
            verdict.bad_time += u64::from(bad);
        }
        let (request, response) = names(record);
        let name = request.or(response).filter(|name| !name.forged);
        let Some((conn, truth)) = name.and_then(|name| self.truths().find(|(_, t)| t.number == name.number)) else {
            return;
        };
        verdict.not_complete += u64::from(record.trust == Trust::Complete && !is_whole(record, truth));
        verdict.bad_time += u64::from(record.trust == Trust::Complete && !self.times_fit(record, conn, truth));
        if !self.case.jumped && record.outcome() == EventOutcome::Failure && self.blames(record, conn, truth) {
            let shown = self.answer_shown(record, conn, truth);
            verdict.blamed += u64::from(shown);
            verdict.blamed_blindly += u64::from(!shown);
        }
    }

    fn check_pair(&self, record: &Exchange, verdict: &mut Verdict) {
        let (request, response) = names(record);
        let both = record.request.is_some() && record.response.is_some();
        let forged = [request, response].into_iter().flatten().any(|name| name.forged);
        if forged {
            let lie = both || record.trust == Trust::Complete;
            (verdict.forged, verdict.forged_alone) =
                (verdict.forged + u64::from(lie), verdict.forged_alone + u64::from(!lie));
        } else if let (Some(a), Some(b)) = (request, response) {
            verdict.wrong += u64::from(a != b);
        } else if let (Some(name), Some(status), true) = (request, record.response.as_ref().map(|r| r.status), both) {
            // The phrase was not seen: statuses name their request, too.
            let told = status.is_some_and(|s| (210..290).contains(&s) && s != super::messages::status(name.number));
            verdict.wrong += u64::from(told);
        }
    }

    /// Whether the times in a record are those at which its bytes were captured. That is the first ones of both messages,
    /// and the moment at which the response was whole.
    fn times_fit(&self, record: &Exchange, conn: usize, truth: &Truth) -> bool {
        let times = |side: SynthSide, bytes: Range<u64>| {
            self.case.shots.iter().filter_map(move |shot| {
                let (of, packet) = &self.case.packets[shot.packet];
                let holds = *of == conn && packet.from == side && packet.is_true() && meets(packet, &bytes);
                holds.then_some(Timestamp(NOON + shot.at as i64))
            })
        };
        let first = |side, byte: u64, at| times(side, byte..byte + 1).any(|time| time == at);
        let request = record.request.as_ref().is_none_or(|r| first(SynthSide::Client, truth.request.start, r.first));
        let response = record.response.as_ref().is_none_or(|r| {
            let last = truth.response.end.saturating_sub(1);
            let whole = times(SynthSide::Server, last..last + 1).min();
            first(SynthSide::Server, truth.response.start, r.first)
                && times(SynthSide::Server, truth.response.clone()).any(|time| time == r.last)
                && (self.case.jumped || whole.is_some_and(|whole| whole <= r.last))
        });
        request && response
    }

    /// Whether a record that says failure says it of an exchange that was answered by then.
    fn blames(&self, record: &Exchange, conn: usize, truth: &Truth) -> bool {
        if let Some(response) = &record.response {
            return response.status.is_some_and(|status| status < 400);
        }
        let gave_up = record.gave_up.map_or(u64::MAX, |at| u64::try_from(at.0 - NOON).unwrap_or(0));
        if record.unanswered == Some(UnansweredReason::Timeout) && self.still_on_its_way(conn, truth, gave_up) {
            return true;
        }
        let server = truth.response.start..truth.response.end.min(truth.response.start + 1);
        self.packets_of(conn).any(|p| p.from == SynthSide::Server && p.is_true() && meets(p, &server) && p.at < gave_up)
    }

    /// Whether at `gave_up` the request was not whole yet, or had been for less than the time-out, or an interim response had
    /// come since.
    fn still_on_its_way(&self, conn: usize, truth: &Truth, gave_up: u64) -> bool {
        let patience = podtap::exchange::ExchangeConfig::default().timeout_after;
        let last = truth.request.end - 1..truth.request.end;
        let interim = truth.interim..truth.response.start;
        let of = |side: SynthSide| self.packets_of(conn).filter(move |p| p.from == side && p.is_true());
        let whole = of(SynthSide::Client).find(|p| meets(p, &last));
        let lately = |p: &Packet| p.at < gave_up && p.at + patience > gave_up;
        whole.is_none_or(|p| p.at + patience > gave_up)
            || of(SynthSide::Server).any(|p| meets(p, &interim) && lately(p))
    }

    /// Whether a captured frame shows that the server had begun to answer.
    fn answer_shown(&self, record: &Exchange, conn: usize, truth: &Truth) -> bool {
        let gave_up = record.gave_up.map_or(u64::MAX, |at| u64::try_from(at.0 - NOON).unwrap_or(0));
        if record.unanswered == Some(UnansweredReason::Timeout) && self.still_on_its_way(conn, truth, gave_up) {
            return true;
        }
        let begins = truth.response.start + 1;
        self.case.shots.iter().filter(|shot| shot.at < gave_up).any(|shot| {
            let (of, packet) = &self.case.packets[shot.packet];
            let acks = packet.flags & TcpFlags::ACK != 0 && packet.ack > begins;
            *of == conn
                && packet.is_true()
                && if packet.from == SynthSide::Server { packet.end() > begins } else { acks }
        })
    }

    fn packets_of(&self, conn: usize) -> impl Iterator<Item = &Packet> {
        self.case.packets.iter().filter(move |(of, _)| *of == conn).map(|(_, packet)| packet)
    }
}

/// Whether the sizes in a record are those of the messages.
fn is_whole(record: &Exchange, truth: &Truth) -> bool {
    let len = |range: &Range<u64>| range.end - range.start;
    record.request.as_ref().is_none_or(|r| r.bytes == len(&truth.request))
        && record.response.as_ref().is_none_or(|r| r.bytes == len(&truth.response))
}

fn meets(packet: &Packet, range: &Range<u64>) -> bool {
    packet.data.start < range.end && range.start < packet.data.end
}

fn merge(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        match merged.last_mut().filter(|last| last.end >= range.start) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    *ranges = merged;
}

fn covers(ranges: &[Range<u64>], range: &Range<u64>) -> bool {
    ranges.iter().any(|have| have.start <= range.start && range.end <= have.end)
}
