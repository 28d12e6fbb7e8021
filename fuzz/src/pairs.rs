//! Correct traffic of one connection, then spoilt. No wrong pair may come of it, whatever was lost, cut, repeated or
//! reordered, if its client waits for each answer. One that asks in advance can look as if it waited when enough of it is
//! missing. Then a wrong pair must at least be labelled. Every response names its request in its reason phrase, and nearly so
//! in its status.

use std::collections::VecDeque;
use std::time::Duration;

use podtap::dissect::DissectorConfig;
use podtap::record::{Exchange, MissingParts, Trust, UnansweredReason};
use podtap::redact::Redactor;
use podtap::synth::{AckPolicy, Conversation, LinkHeaders, SynthFrame, SynthSide};

use super::choices::Choices;
use super::watch::Watch;

/// Requests of one input.
const MAX_REQUESTS: usize = 60;

/// Manner of the capture, then the play until the bytes are over; its first part says what is spoilt.
pub fn run(bytes: &[u8]) {
    played(bytes, false);
}

/// No label excuses a wrong pair.
pub fn run_strictly(bytes: &[u8]) {
    played(bytes, true);
}

fn played(bytes: &[u8], strictly: bool) {
    let mut choices = Choices::new(bytes);
    let spoils = choices.below(16);
    let mut spoil = Choices::new(choices.take(3 * spoils));
    let mut play = Play::new(&mut choices);
    while !choices.is_empty() && play.asked < MAX_REQUESTS {
        play.step(&mut choices);
    }
    let excused = play.in_advance && !strictly;
    let (frames, asked) = play.end(&mut choices);
    let whole = spoils == 0;
    let mut watch = Watch::with(DissectorConfig::default(), Redactor::off()).with_unique_ids();
    for frame in spoilt(frames, &mut spoil) {
        watch.frame(&frame.as_frame());
    }
    let records = watch.finish();
    records.iter().for_each(|record| check(record, excused));
    if whole {
        // One that was answered after its time has two records.
        let timed_out = |e: &&Exchange| e.unanswered == Some(UnansweredReason::Timeout);
        let late = records.iter().filter(|e| e.late).count();
        assert_eq!((records.len() - late, records.iter().filter(timed_out).count()), (asked, late));
        let mut on_time = records.iter().filter(|e| !e.late && !timed_out(e));
        assert!(on_time.all(|e| e.trust == Trust::Complete && e.response.is_some()), "{records:#?}");
    }
}

fn check(record: &Exchange, excused: bool) {
    let (Some(request), Some(response)) = (&record.request, &record.response) else {
        assert_eq!(record.trust, Trust::Unpaired);
        return;
    };
    let id = request.target.strip_prefix('/').unwrap_or_default();
    let fits = match (response.phrase.as_deref(), response.status) {
        (Some(phrase), _) => phrase.strip_prefix("for-") == Some(id),
        // The line was cut behind its status.
        (None, Some(204 | 304)) => record.missing.contains(MissingParts::RESPONSE_HEAD),
        (None, status) => record.missing.contains(MissingParts::RESPONSE_HEAD) && status == id.parse().ok().map(code),
    };
    let labelled = matches!(record.trust, Trust::Gap | Trust::Midstream);
    if !(excused && labelled) {
        assert!(fits, "a wrong pair: {} {record:#?}", record.trust.name());
    }
}

/// The status of most responses to the request with this number.
fn code(id: usize) -> u16 {
    210 + u16::try_from(id % 80).unwrap_or_default()
}

/// A connection whose two sides keep to the rules.
struct Play {
    conversation: Conversation,
    asked: usize,
    /// The client waits for each answer.
    waits: bool,
    /// It asked once before it had all answers.
    in_advance: bool,
    /// Asked and not answered: number, and whether by HEAD.
    pending: VecDeque<(usize, bool)>,
}

impl Play {
    fn new(choices: &mut Choices<'_>) -> Self {
        let manner = choices.byte();
        let acks = [AckPolicy::Delayed, AckPolicy::Every, AckPolicy::Piggyback][usize::from(manner & 3) % 3];
        let mut conversation = Conversation::default().link(LinkHeaders::Raw).acks(acks);
        if manner & 4 != 0 {
            conversation = conversation.tap_at_server();
        }
        conversation = conversation.segments_of([1448, 1448, 700, 100][usize::from(manner >> 3) % 4]);
        let waits = matches!(manner >> 5, 1 | 3 | 4 | 6);
        Self { conversation: conversation.handshake(), asked: 0, waits, in_advance: false, pending: VecDeque::new() }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let step = choices.byte();
        match step % 8 {
            0..=2 => self.ask(choices),
            3..=5 if !self.pending.is_empty() => self.answer(choices),
            3..=5 => self.ask(choices),
            6 => self.say(|c| c.after(Duration::from_nanos(1 << (step / 8)))),
            _ => self.say(|c| if step & 8 == 0 { c.client_ack() } else { c.server_ack() }),
        }
    }

    fn say(&mut self, what: impl FnOnce(Conversation) -> Conversation) {
        self.conversation = what(std::mem::take(&mut self.conversation));
    }

    fn send(&mut self, side: SynthSide, bytes: impl AsRef<[u8]>) {
        self.say(|c| c.send(side, bytes));
    }

    fn ask(&mut self, choices: &mut Choices<'_>) {
        while self.waits && !self.pending.is_empty() {
            self.answer(choices);
        }
        let (id, kind) = (self.asked, choices.byte());
        self.asked += 1;
        self.in_advance |= !self.pending.is_empty();
        self.pending.push_back((id, kind % 6 == 0));
        let body = "b".repeat(usize::from(kind % 32) * 40);
        let head = |method: &str, more: &str| format!("{method} /{id} HTTP/1.1\r\nHost: shop\r\n{more}\r\n");
        let (head, body) = match kind % 6 {
            0 => (head("HEAD", ""), String::new()),
            1 => (head("POST", &format!("Content-Length: {}\r\n", body.len())), body),
            2 => {
                let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                (
                    head("PUT", "Transfer-Encoding: chunked\r\n"),
                    if body.is_empty() { "0\r\n\r\n".to_owned() } else { chunked },
                )
            }
            _ => (head("GET", ""), String::new()),
        };
        let early = kind & 0x40 != 0 && self.pending.len() == 1 && !body.is_empty();
        self.send(SynthSide::Client, head);
        if early {
            self.answer(choices);
        }
        if !body.is_empty() {
            self.send(SynthSide::Client, body);
        }
    }

    fn answer(&mut self, choices: &mut Choices<'_>) {
        let Some((id, head)) = self.pending.pop_front() else { return };
        let kind = choices.byte();
        if kind & 0x80 != 0 {
            self.send(SynthSide::Server, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        }
        let body = "x".repeat(usize::from(kind % 32) * 60);
        let line = |more: &str| format!("HTTP/1.1 {} for-{id}\r\n{more}\r\n", code(id));
        let sized = line(&format!("Content-Length: {}\r\n", body.len()));
        let bytes = match kind % 4 {
            _ if head => sized,
            0 => format!("HTTP/1.1 204 for-{id}\r\n\r\n"),
            1 if !body.is_empty() => {
                line("Transfer-Encoding: chunked\r\n") + &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
            2 => format!("HTTP/1.1 304 for-{id}\r\nContent-Length: 500\r\n\r\n"),
            _ => sized + &body,
        };
        self.send(SynthSide::Server, bytes);
    }

    /// Answers what is left and closes; gives the frames and how many requests there were.
    fn end(mut self, choices: &mut Choices<'_>) -> (Vec<SynthFrame>, usize) {
        while !self.pending.is_empty() {
            self.answer(choices);
        }
        (self.conversation.close().frames(), self.asked)
    }
}

/// Three bytes each: where, what, how far.
fn spoilt(mut frames: Vec<SynthFrame>, choices: &mut Choices<'_>) -> Vec<SynthFrame> {
    let mut times: Vec<_> = frames.iter().map(|frame| frame.at).collect();
    while !choices.is_empty() {
        let (at, what, far) = (choices.byte(), choices.byte(), usize::from(choices.byte()));
        let at = usize::from(at) * frames.len() / 256;
        let other = (at + 1 + far % 8).min(frames.len().saturating_sub(1));
        match what % 8 {
            _ if frames.is_empty() => break,
            0..=2 => drop(frames.remove(at)),
            3 => drop(frames.drain(at..other.max(at))),
            4 => frames.insert(other, frames[at].clone()),
            5 => frames[at].bytes.truncate(40 + far * 4),
            6 => {
                let moved = frames.remove(at);
                frames.insert(other, moved);
            }
            _ if what & 8 == 0 => drop(frames.drain(..at)),
            _ => frames.truncate(at),
        }
    }
    times.truncate(frames.len());
    let last = times.last().copied().unwrap_or_default();
    times.resize(frames.len(), last);
    frames.iter_mut().zip(times).for_each(|(frame, at)| frame.at = at);
    frames
}
