//! The session's other half: requests and responses enter the queue, records leave it.

use crate::flow::{Direction, Timestamp};
use crate::ledger::NotHttp;
use crate::record::{
    EarlyEnd, Exchange, HttpRequest, HttpResponse, HttpVersion, MissingParts, StreamClass, Trust, UnansweredReason,
    Weird, WeirdSet,
};
use crate::tcp::{CloseReason, ConnSummary};

use super::body::{BodyLength, BodyProgress};
use super::detect::{DetectedStart, classify};
use super::framing::{self, After, AskedFraming};
use super::head::{HeadKind, MessageHead};
use super::pairing::{LeftQueue, OrphanResponse, RequestSlot, ResponseTarget, UnderWay};
use super::reader::{EventBytes, MessageStart};
use super::session::{HttpSession, MessageContext, NextProtocol, ProtocolHandover};
use super::{HttpContext, exchange_id, inside, orphan_id};
use crate::exchange::{self, room, unanswered_by};

/// What a server also sends that waits for a request no longer (RFC 9110 §15.5.9).
const REQUEST_TIMEOUT: u16 = 408;
/// Most 1xx codes kept of one exchange.
const MAX_INFORMATIONAL: usize = 8;

impl HttpSession {
    pub(super) fn on_request(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        line: (&[u8], &[u8], HttpVersion),
        head: &MessageHead<'_>,
        message: MessageContext,
        cx: &mut HttpContext,
    ) {
        let (method, _, version) = line;
        let (begun, end, cut) = (message.begun, message.begun.offset + message.len, message.cut);
        let record = self.request_record(conn, from, line, head, message, cx);
        cx.ledger.requests += 1;
        cx.ledger.open += 1;
        let body = BodyProgress::new(framing::of_request(version, &head.fields));
        let mut slot =
            RequestSlot::new(record, AskedFraming::by(method, version, &head.fields), begun.offset, begun.ack);
        (slot.expects, slot.request_done) = (head.fields.expect_continue, body.is_none());
        if !cut {
            self.pairing.sizes.learn_request(end - begun.offset, line.1.len() as u64, body.is_some());
        }
        self.end_http09_answer(from.flip(), begun.ack, cx);
        self.end_bodyless_answer(from.flip(), begun.ack, cx);
        // Where a response of ambiguous length ends, and whether the client had it whole, is not known.
        let heard = if self.is_ambiguous(from.flip()) { 0 } else { self.parsed_to(from.flip()) };
        let under_way = self.pairing.request(slot, heard, &mut cx.left);
        self.emit_left(cx);
        match under_way {
            UnderWay::Stays => {}
            UnderWay::Answers(number) => {
                self.target = Some(ResponseTarget::Slot(number));
                let head = self.pairing.slot(number).is_some_and(|slot| slot.asked.head);
                if let Some(end) = self.untouched_body(from.flip()).filter(|_| head) {
                    self.finish(from.flip(), HeadKind::Response, end, cx);
                }
            }
            UnderWay::Misread => self.forget_body(from.flip()),
        }
        let mut weird = head.weird;
        if !self.pairing.has_room() {
            weird.insert(Weird::TooManyPending);
        }
        weird.merge(std::mem::take(&mut self.stray));
        self.note(HeadKind::Request, weird, cx);
        if cut {
            self.doubt(HeadKind::Request, Trust::Truncated, MissingParts::REQUEST_HEAD);
        }
        match body {
            Some(body) => self.begin_body(from, body),
            None => self.finish(from, HeadKind::Request, end, cx),
        }
        if version == HttpVersion::V09 {
            self.http09_answer_seen(conn, from.flip(), cx);
        }
    }

    /// What the head of a request says; with it a new exchange begins.
    fn request_record(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        line: (&[u8], &[u8], HttpVersion),
        head: &MessageHead<'_>,
        message: MessageContext,
        cx: &mut HttpContext,
    ) -> Box<Exchange> {
        let MessageContext { len, begun, newest, headers, cut, .. } = message;
        let connection = self.shared.get_or_insert_with(|| exchange::connection(conn, from, &cx.config)).clone();
        let id = exchange_id(&connection.id, begun.offset);
        self.exchanges += 1;
        let peer = connection.client.ip;
        let mut record = exchange::empty(connection, id, self.exchanges);
        let mut request = exchange::request(line, &head.fields, headers, begun, cx);
        request.bytes = len;
        request.last = newest.max(begun.at);
        cx.keep(room::of_request(&request));
        record.request = Some(request);
        record.connect_ns = conn.connect_ns.filter(|_| self.exchanges == 1);
        record.client_ip = exchange::client_ip(&head.fields, cut, self.proxied, peer, &cx.config);
        record.own_traffic = exchange::is_own(line.0, &head.fields, &cx.config);
        inside::connect_call(&mut record, (line.0, line.1), &head.fields);
        record
    }

    pub(super) fn on_response(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        line: (HttpVersion, u16, &[u8]),
        head: &MessageHead<'_>,
        message: MessageContext,
        cx: &mut HttpContext,
    ) {
        let (_, status, _) = line;
        let (len, begun, newest) = (message.len, message.begun, message.newest);
        let end = begun.offset + len;
        self.time_out(conn, begun.at, cx);
        if (100..200).contains(&status) && status != 101 {
            self.on_informational(status, len, begun, cx);
            return;
        }
        cx.ledger.responses += 1;
        cx.ledger.responses_open += 1;
        let mut response = exchange::response(line, &head.fields, message.headers, begun, cx);
        response.bytes = len;
        response.last = newest.max(begun.at);
        cx.keep(room::of_response(&response));
        self.cut_head_answered_by(conn, from.flip(), begun, cx);
        let known = self.parsed_to(from.flip());
        if !message.cut {
            self.pairing.sizes.learn_response(len);
        }
        let slot = if status == REQUEST_TIMEOUT && self.pairing.ends_idle() {
            None
        } else {
            self.pairing.response(begun.offset, begun.ack, known, &mut cx.left)
        };
        self.emit_left(cx);
        let asked = match slot {
            Some(number) => self.answer(number, response),
            None => self.answer_none(conn, from, begun.offset, begun.ack, response, cx),
        };
        if let Some(status) = head.fields.grpc_status
            && let Some(record) = self.response_record()
        {
            inside::status_in_head(record, status, head.fields.grpc_message, &cx.redactor);
        }
        let mut weird = head.weird;
        weird.merge(std::mem::take(&mut self.stray));
        self.note(HeadKind::Response, weird, cx);
        if message.cut {
            self.doubt(HeadKind::Response, Trust::Truncated, MissingParts::RESPONSE_HEAD);
            self.name_end(HeadKind::Response);
        }
        self.behind_response_head(from, asked, status, head, end, cx);
    }

    /// A client asks when it has a whole response. If it then has no more than the head of one that announced a body, that
    /// answers a HEAD, which was lost. One that does not wait may ask between a head and its body.
    fn end_bodyless_answer(&mut self, from: Direction, ack: Option<u64>, cx: &mut HttpContext) {
        let whole = self.target == Some(ResponseTarget::Loose);
        let Some(end) = self.untouched_body(from).filter(|end| whole && ack == Some(*end)) else { return };
        if let Some(loose) = self.pairing.newest_loose() {
            loose.bodyless = true;
        }
        self.finish(from, HeadKind::Response, end, cx);
        if !self.pairing.client_waits() {
            self.look_for_message(from);
        }
    }

    /// A response comes that no whole request asked for, and its server had the beginning of one: that is what it answers.
    fn cut_head_answered_by(
        &mut self,
        conn: &ConnSummary,
        client: Direction,
        answer: MessageStart,
        cx: &mut HttpContext,
    ) {
        let begun = self.head_under_way(client);
        let alone = self.pairing.is_ordered() && self.pairing.client_waits() && !self.pairing.awaits_response();
        if alone && answer.ack.is_some_and(|ack| ack > begun) {
            self.cut_head_under_way(conn, client, Weird::UnfinishedHead, cx);
        }
    }

    /// What follows a final response's head, which ended before `end`.
    fn behind_response_head(
        &mut self,
        from: Direction,
        asked: AskedFraming,
        status: u16,
        head: &MessageHead<'_>,
        end: u64,
        cx: &mut HttpContext,
    ) {
        match framing::of_response(asked, status, &head.fields) {
            After::Tunnel => self.switch(from, StreamClass::Tunnel, NotHttp::Tunnel, end, cx),
            After::Upgraded => {
                if !asked.upgrade {
                    self.note(HeadKind::Response, Weird::UnexpectedUpgrade.into(), cx);
                }
                let h2c = head.fields.upgrade.is_some_and(|u| u.eq_ignore_ascii_case(b"h2c"));
                let to = if h2c { NotHttp::H2 } else { NotHttp::Upgraded };
                let asked = self.response_record().and_then(|record| record.request.clone()).map(Box::new);
                if h2c {
                    self.next_is(from, NextProtocol::Upgraded(asked), end);
                } else if head.fields.upgrade.is_some_and(|u| u.eq_ignore_ascii_case(b"websocket")) {
                    if let Some(record) = self.response_record() {
                        record.websocket = Some(Box::default());
                    }
                    self.next_is(from, NextProtocol::WebSocket, end);
                }
                self.switch(from, StreamClass::Upgrade, to, end, cx);
            }
            After::Body(length) => match BodyProgress::new(length) {
                Some(body) => self.begin_body(from, body),
                None => {
                    debug_assert!(matches!(length, BodyLength::None | BodyLength::Fixed(0)));
                    self.finish(from, HeadKind::Response, end, cx);
                }
            },
        }
    }

    /// 1xx: kept apart from the final status.
    fn on_informational(&mut self, status: u16, len: u64, begun: MessageStart, cx: &mut HttpContext) {
        cx.ledger.informational += 1;
        let slot = self.pairing.informational(begun.offset, begun.ack, begun.at, len);
        if let Some(record) = slot.and_then(|s| s.exchange.as_mut()) {
            if record.informational.len() < MAX_INFORMATIONAL {
                record.informational.push(status);
            } else {
                record.weird.insert(Weird::OddInformational);
            }
        }
    }

    /// Puts the response into its request's slot. A request that was reported as timed out gets its own record.
    pub(super) fn answer(&mut self, number: u64, response: HttpResponse) -> AskedFraming {
        self.target = Some(ResponseTarget::Slot(number));
        let Some(slot) = self.pairing.slot(number) else { return AskedFraming::default() };
        if let Some(record) = slot.exchange.as_mut() {
            if slot.reported {
                record.be_late();
            }
            record.response = Some(response);
        }
        slot.asked
    }

    /// Keeps a response that no known request asked for. Its request may still come when the server has acknowledged
    /// bytes that were not seen yet.
    fn answer_none(
        &mut self,
        conn: &ConnSummary,
        from: Direction,
        offset: u64,
        ack: Option<u64>,
        response: HttpResponse,
        cx: &mut HttpContext,
    ) -> AskedFraming {
        let seen = self.parsed_to(from.flip());
        let connection = self.shared.get_or_insert_with(|| exchange::connection(conn, from.flip(), &cx.config)).clone();
        let id = orphan_id(&connection.id, offset);
        let mut record = exchange::empty(connection, id, 0);
        record.response = Some(response);
        let explained = ack.is_some_and(|ack| ack > seen);
        let unsolicited = !explained && self.pairing.is_ordered() && self.speaks_http(from.flip());
        let loose = OrphanResponse::new(record, offset, ack);
        self.pairing.keep_loose(loose, &mut cx.left);
        self.target = Some(ResponseTarget::Loose);
        self.emit_left(cx);
        if unsolicited {
            self.note(HeadKind::Response, Weird::UnsolicitedResponse.into(), cx);
        }
        AskedFraming::default()
    }

    /// Another protocol begins in `from` at `begins`.
    fn next_is(&mut self, from: Direction, to: NextProtocol, begins: u64) {
        self.handover = Some(Box::new(ProtocolHandover { to, from, begins, reached: begins }));
    }

    fn switch(&mut self, from: Direction, class: StreamClass, to: NotHttp, end: u64, cx: &mut HttpContext) {
        if let Some(record) = self.response_record() {
            record.class = class;
        }
        self.finish(from, HeadKind::Response, end, cx);
        self.hand_over(to, cx);
        self.opaque_begins(from, end);
    }

    /// Whether a message that announced a body sends none: a request whose expectation was refused, or a response to a
    /// HEAD that was not seen. The next message begins where the body should.
    pub(super) fn is_bodyless(&mut self, from: Direction, kind: HeadKind, chunk: &EventBytes<'_>) -> bool {
        match kind {
            HeadKind::Request => {
                let refused = self.pairing.newest().is_some_and(|slot| {
                    let status = slot.exchange.as_ref().and_then(|e| e.response.as_ref()).and_then(|r| r.status);
                    slot.expects && status.is_some_and(|s| s >= 400)
                });
                refused && classify(chunk.bytes) == DetectedStart::Request
            }
            // Of a request that is not known, or not for sure, its client's word counts: one that waits for its answers has
            // read all up to here, and asked again.
            HeadKind::Response => {
                let asked = self.pairing.client_is_known_to_wait() && self.begins_turn(from, chunk);
                let bodyless = asked && chunk.fresh && self.may_be_bodyless(chunk.bytes);
                if bodyless
                    && let Some(loose) =
                        self.pairing.newest_loose().filter(|_| self.target == Some(ResponseTarget::Loose))
                {
                    loose.bodyless = true;
                }
                bodyless
            }
        }
    }

    /// Whether the response under way may answer a HEAD that is not known, and `bytes` begin the next one. They may as well
    /// be its body: no one can tell.
    pub(super) fn may_be_bodyless(&self, bytes: &[u8]) -> bool {
        let head_unknown = self.target == Some(ResponseTarget::Loose) || self.pairing.on_trial();
        head_unknown && bytes.starts_with(b"HTTP/1.") && classify(bytes) == DetectedStart::Response
    }

    /// The response under way has not the body that it announced. If its request is on trial, that does not fit; if it is not
    /// known, it was a HEAD.
    pub(super) fn contradict_by_body(&mut self, cx: &mut HttpContext) {
        if self.target != Some(ResponseTarget::Loose) {
            self.contradict(cx);
        }
    }

    /// What was seen does not fit the pairs on trial, if there are any.
    pub(super) fn contradict(&mut self, cx: &mut HttpContext) {
        self.pairing.fail(&mut cx.left);
        self.emit_left(cx);
    }

    pub(super) fn response_record(&mut self) -> Option<&mut Box<Exchange>> {
        match self.target? {
            ResponseTarget::Slot(number) => self.pairing.slot(number)?.exchange.as_mut(),
            ResponseTarget::Loose => self.pairing.newest_loose().map(|l| &mut l.exchange),
        }
    }

    pub(super) fn record_of(&mut self, kind: HeadKind) -> Option<&mut Box<Exchange>> {
        match kind {
            HeadKind::Request => self.pairing.newest()?.exchange.as_mut(),
            HeadKind::Response => self.response_record(),
        }
    }

    /// Counts bytes of the body under way.
    pub(super) fn count(&mut self, kind: HeadKind, at: Timestamp, wire: u64, payload: u64) {
        let Some(record) = self.record_of(kind) else { return };
        match kind {
            HeadKind::Request => {
                if let Some(HttpRequest { last, bytes, body_bytes, .. }) = record.request.as_mut() {
                    (*last, *bytes, *body_bytes) = ((*last).max(at), *bytes + wire, *body_bytes + payload);
                }
            }
            HeadKind::Response => {
                if let Some(HttpResponse { last, bytes, body_bytes, .. }) = record.response.as_mut() {
                    (*last, *bytes, *body_bytes) = ((*last).max(at), *bytes + wire, *body_bytes + payload);
                }
            }
        }
    }

    /// Names oddities of the message under way; each once per exchange.
    pub(super) fn note(&mut self, kind: HeadKind, weird: WeirdSet, cx: &mut HttpContext) {
        if weird.is_empty() {
            return;
        }
        let known = self.record_of(kind).map(|record| {
            let known = record.weird;
            record.weird.merge(weird);
            known
        });
        for one in weird.iter().filter(|w| !known.is_some_and(|k| k.contains(*w))) {
            cx.ledger.weird.add(one as usize, 1);
        }
    }

    /// Lowers the trust in the message under way.
    pub(super) fn doubt(&mut self, kind: HeadKind, trust: Trust, missing: MissingParts) {
        let (label, parts) = match (kind, self.target) {
            (HeadKind::Request, _) => match self.pairing.newest() {
                Some(slot) => (&mut slot.trust, &mut slot.missing),
                None => return,
            },
            (HeadKind::Response, Some(ResponseTarget::Slot(number))) => match self.pairing.slot(number) {
                Some(slot) => (&mut slot.trust, &mut slot.missing),
                None => return,
            },
            (HeadKind::Response, Some(ResponseTarget::Loose)) => match self.pairing.newest_loose() {
                Some(loose) => (&mut loose.trust, &mut loose.missing),
                None => return,
            },
            (HeadKind::Response, None) => return,
        };
        *label = (*label).max(trust);
        parts.insert(missing);
    }

    /// The end of the response under way was lost.
    pub(super) fn tail_lost(&mut self) {
        if let Some(ResponseTarget::Slot(number)) = self.target
            && let Some(slot) = self.pairing.slot(number)
        {
            slot.tail_lost = true;
        }
    }

    /// Requests whose time is over at `now`. It counts from their last byte, or from the last interim response, and not while
    /// they are on their way. They were given up when it was over, not when somebody looked: what is recorded does not depend on
    /// when the ticks come.
    pub(super) fn time_out(&mut self, conn: &ConnSummary, now: Timestamp, cx: &mut HttpContext) {
        let heard = self.hears_server(conn);
        for slot in self.pairing.slots().filter(|s| !s.answered && s.request_done && !s.reported) {
            let asked = slot.exchange.as_ref().and_then(|e| e.request.as_ref()).map(|r| r.last);
            let last = asked.max(slot.heard);
            let Some(last) = last.filter(|last| now.since(*last) >= cx.config.timeout_after) else { continue };
            let why = (heard && !slot.doubtful).then_some(UnansweredReason::Timeout);
            report(slot, last.plus(cx.config.timeout_after), why, None, cx);
        }
    }

    /// The server has ended: what it has not answered it never will.
    pub(super) fn no_more_responses(
        &mut self,
        conn: &ConnSummary,
        at: Timestamp,
        reason: CloseReason,
        cx: &mut HttpContext,
    ) {
        self.time_out(conn, at, cx);
        let (heard, ended) = (self.hears_server(conn), self.ended());
        for slot in self.pairing.slots().filter(|s| !s.answered && !s.reported) {
            let why = if slot.doubtful || !heard { None } else { unanswered_by(reason) };
            let ended = ended.filter(|_| matches!(why, Some(UnansweredReason::Closed | UnansweredReason::Reset)));
            report(slot, at, why, ended, cx);
        }
    }

    /// Whether the capture shows what the server sends, and it can be read: otherwise no one knows whether it answered.
    fn hears_server(&mut self, conn: &ConnSummary) -> bool {
        self.client.is_none_or(|client| conn.hears(client.flip()) && !self.is_ambiguous(client.flip()))
    }

    /// Lets go what is settled. It is asked at each event, and mostly nothing is.
    #[inline]
    pub(super) fn flush(&mut self, cx: &mut HttpContext) {
        if self.pairing.has_settled() {
            self.let_go_settled(cx);
        }
    }

    fn let_go_settled(&mut self, cx: &mut HttpContext) {
        while let Some(left) = self.pairing.settled() {
            emit(left, cx);
        }
    }

    pub(super) fn emit_left(&mut self, cx: &mut HttpContext) {
        if cx.left.is_empty() {
            return;
        }
        let mut left = std::mem::take(&mut cx.left);
        left.drain(..).for_each(|l| emit(l, cx));
        cx.left = left;
    }

    /// The connection is over: everything goes out.
    pub(super) fn drain(&mut self, conn: &ConnSummary, at: Timestamp, reason: CloseReason, cx: &mut HttpContext) {
        let over = matches!(reason, CloseReason::Closed | CloseReason::Reused | CloseReason::Idle);
        let content = self.client.is_some() && self.ended_first.map(|(first, _)| first) == self.client;
        self.pairing.judge(over, content, at, &mut cx.left);
        self.emit_left(cx);
        self.flush(cx);
        self.no_more_responses(conn, at, reason, cx);
        let (slots, loose) = self.pairing.drain();
        slots.into_iter().for_each(|s| emit(LeftQueue::Paired(s), cx));
        loose.into_iter().for_each(|l| emit(LeftQueue::Orphan(l), cx));
    }
}

/// Reports a request as unanswered. What was asked is kept: its answer may be late.
fn report(
    slot: &mut RequestSlot,
    at: Timestamp,
    why: Option<UnansweredReason>,
    ended: Option<EarlyEnd>,
    cx: &mut HttpContext,
) {
    slot.reported = true;
    if let Some(mut record) = slot.exchange.clone() {
        record.ended = record.ended.or(ended);
        cx.keep(room::of_exchange(&record));
        unanswered(record, at, why, slot.trust, slot.missing, cx);
    }
}

fn unanswered(
    mut record: Box<Exchange>,
    at: Timestamp,
    why: Option<UnansweredReason>,
    trust: Trust,
    missing: MissingParts,
    cx: &mut HttpContext,
) {
    cx.ledger.open -= 1;
    match why {
        Some(why) => cx.ledger.count_unanswered(why),
        None => cx.ledger.unpaired += 1,
    }
    record.unanswered = why;
    record.gave_up = why.map(|_| at.max(record.start()));
    record.missing = missing;
    record.missing.insert(MissingParts::RESPONSE);
    record.trust = trust.max(Trust::Unpaired);
    out(record, cx);
}

fn emit(left: LeftQueue, cx: &mut HttpContext) {
    match left {
        LeftQueue::Paired(slot) | LeftQueue::Unpaired(slot) => {
            let Some(record) = slot.exchange else { return };
            if slot.reported && record.response.is_none() {
                // Recorded before, as timed out or closed, and nothing came since.
                cx.let_go(room::of_exchange(&record));
            } else if record.response.is_none() {
                unanswered(record, Timestamp::default(), None, slot.trust, slot.missing, cx);
            } else {
                paired(record, slot.trust, slot.missing, slot.response_done, cx);
            }
        }
        LeftQueue::Orphan(loose) => {
            let mut record = loose.exchange;
            cx.ledger.orphan += 1;
            cx.ledger.responses_open -= 1;
            record.missing = loose.missing;
            record.missing.insert(MissingParts::REQUEST);
            if !loose.done {
                record.missing.insert(MissingParts::RESPONSE_BODY);
            }
            record.trust = Trust::Unpaired;
            out(record, cx);
        }
    }
}

fn paired(mut record: Box<Exchange>, trust: Trust, missing: MissingParts, whole: bool, cx: &mut HttpContext) {
    cx.ledger.responses_open -= 1;
    record.missing = missing;
    if !whole {
        record.missing.insert(MissingParts::RESPONSE_BODY);
    }
    record.trust = if whole { trust } else { trust.max(Trust::Truncated) };
    if record.late {
        cx.ledger.late += 1;
    } else {
        cx.ledger.open -= 1;
        cx.ledger.paired += 1;
    }
    out(record, cx);
}

fn out(record: Box<Exchange>, cx: &mut HttpContext) {
    cx.let_go(room::of_exchange(&record));
    cx.record_exchange(record);
}
