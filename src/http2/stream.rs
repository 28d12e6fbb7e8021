//! One stream: request and response under way, and the record that they become.
//!
//! ```text
//!            request block          END_STREAM
//!   nothing ───────────────▶ open ──────────────▶ half closed ─┐ END_STREAM of the server
//!      │                       │ response block, its data       ├──▶ made
//!      │ response block        ▼                                │ RST_STREAM, GOAWAY, close
//!      └────────────────▶ request not seen ─────────────────────┘
//! ```
//!
//! Knows one stream only; which there are is in `streams`.

use super::message::BlockMessage;
use crate::exchange::fields::KnownFields;
use crate::exchange::{ExchangeContext, room};
use crate::flow::Timestamp;
use crate::grpc::{self, GrpcFlavour, MessageCounter};
use crate::record::{
    ConnectionSide, EarlyEnd, EndedHow, Exchange, GrpcCall, MissingParts, StreamReset, Trust, UnansweredReason, Weird,
    WeirdSet,
};
use crate::redact::Redactor;
use crate::sse::EventCounter;
use crate::websocket::SocketEnds;

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct StreamWay {
    /// Its head was seen.
    pub(super) begun: bool,
    pub(super) ended: bool,
    messages: Option<MessageCounter>,
}

#[derive(Debug)]
pub(super) struct Http2Stream {
    /// `None` once it was recorded, as timed out.
    pub(super) exchange: Option<Box<Exchange>>,
    pub(super) number: u32,
    pub(super) request: StreamWay,
    pub(super) response: StreamWay,
    pub(super) trust: Trust,
    pub(super) missing: MissingParts,
    /// Frames of the server were lost while it was open: that there is no answer proves nothing.
    pub(super) doubtful: bool,
    pub(super) flavour: Option<GrpcFlavour>,
    pub(super) socket: Option<Box<SocketEnds>>,
    pub(super) events: Option<Box<EventCounter>>,
    pub(super) newest: Timestamp,
    /// Frames of either end were lost while it was open: a reset that comes may not be the first.
    pub(super) holed: bool,
    /// Frames of its client were lost, and none of the stream has come since.
    pub(super) unheard: bool,
    /// Its client reset it before an answer was seen.
    pub(super) reset: Option<(StreamReset, Timestamp)>,
    /// Parts of heads that the table hid: the record says so, and nothing else is in doubt.
    hidden: (Trust, MissingParts),
    /// How its connection ended, where it ended with that.
    pub(super) ended: Option<EarlyEnd>,
    told: bool,
    /// What was accounted for in the context's room.
    kept: usize,
}

/// Why a stream is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// Both ways ended.
    Whole,
    Reset(StreamReset),
    /// No more will come; `None`: no one knows whether it would have.
    GivenUp(Option<UnansweredReason>),
}

impl Http2Stream {
    pub(super) fn new(exchange: Box<Exchange>) -> Self {
        Self {
            number: exchange.number,
            exchange: Some(exchange),
            request: StreamWay::default(),
            response: StreamWay::default(),
            trust: Trust::Complete,
            missing: MissingParts::default(),
            doubtful: false,
            flavour: None,
            socket: None,
            events: None,
            newest: Timestamp::default(),
            holed: false,
            unheard: false,
            reset: None,
            hidden: (Trust::Complete, MissingParts::default()),
            ended: None,
            told: false,
            kept: 0,
        }
    }

    pub(super) fn way(&mut self, side: ConnectionSide) -> &mut StreamWay {
        match side {
            ConnectionSide::Client => &mut self.request,
            ConnectionSide::Server => &mut self.response,
        }
    }

    /// Keeps account of what it keeps in memory.
    pub(super) fn account(&mut self, cx: &mut ExchangeContext) {
        let now = size_of::<Self>()
            + self.exchange.as_ref().map_or(0, |exchange| size_of::<Exchange>() + room::of_exchange(exchange));
        cx.recount(&mut self.kept, now);
    }

    pub(super) fn doubt(&mut self, trust: Trust, missing: MissingParts) {
        self.trust = self.trust.max(trust);
        self.missing.insert(missing);
    }

    pub(super) fn hide(&mut self, trust: Trust, missing: MissingParts) {
        self.hidden.0 = self.hidden.0.max(trust);
        self.hidden.1.insert(missing);
    }

    /// Names oddities, each once.
    pub(super) fn note(&mut self, weird: WeirdSet, cx: &mut ExchangeContext) {
        let known = self.exchange.as_mut().map(|exchange| {
            let known = exchange.weird;
            exchange.weird.merge(weird);
            known
        });
        for one in weird.iter().filter(|one| !known.is_some_and(|known| known.contains(*one))) {
            cx.ledger.weird.add(one as usize, 1);
        }
    }

    /// Counts bytes of DATA; a head's too, without `payload`.
    pub(super) fn count(&mut self, side: ConnectionSide, at: Timestamp, wire: u64, payload: u64) {
        self.newest = self.newest.max(at);
        let Some(exchange) = self.exchange.as_mut() else { return };
        match side {
            ConnectionSide::Client => {
                if let Some(request) = exchange.request.as_mut() {
                    request.last = request.last.max(at);
                    request.bytes += wire;
                    request.body_bytes += payload;
                }
            }
            ConnectionSide::Server => {
                if let Some(response) = exchange.response.as_mut() {
                    response.last = response.last.max(at);
                    response.bytes += wire;
                    response.body_bytes += payload;
                }
            }
        }
    }

    /// It is a call: messages are counted from the first byte of each body on.
    pub(super) fn call(&mut self, by_line: Option<GrpcFlavour>, fields: &KnownFields<'_>, certain: bool) {
        let by_type = fields.content_type.and_then(|value| GrpcFlavour::of(value, fields.connect_version));
        let found = by_type.or(by_line);
        let flavour = self.flavour.or(found);
        self.flavour = flavour;
        if let Some(flavour) = flavour.filter(|_| found.is_some())
            && let Some(exchange) = self.exchange.as_mut()
        {
            exchange.grpc.get_or_insert_default().system = flavour.system();
        }
        let flavour = match (flavour, found) {
            (Some(GrpcFlavour::ConnectUnary), _) => return,
            (Some(flavour), Some(_)) => flavour,
            // Where the type is hidden they are counted in case it turns out to be one.
            (None, _) if fields.content_type.is_none() && !certain => GrpcFlavour::Grpc,
            _ => return,
        };
        // What came of the answer before its request was not counted.
        let uncounted = self.response.begun && self.response.messages.is_none();
        for way in [&mut self.request, &mut self.response] {
            way.messages.get_or_insert_with(|| MessageCounter::of(flavour)).turn_into(flavour);
        }
        if let Some(messages) = self.response.messages.as_mut().filter(|_| uncounted) {
            messages.lose();
        }
    }

    /// Its answer came before its request, behind a hole, and does not open a tunnel or a socket.
    pub(super) fn refused(&self) -> bool {
        let response = self.exchange.as_ref().and_then(|exchange| exchange.response.as_ref());
        response.and_then(|response| response.status).is_some_and(|status| !(200..300).contains(&status))
    }

    /// It is a WebSocket. What came of its server before its request was not counted.
    pub(super) fn open_socket(&mut self) {
        let mut socket = Box::<SocketEnds>::default();
        if self.response.begun {
            socket.lose(ConnectionSide::Server);
        }
        self.socket = Some(socket);
    }

    /// The body that answers a unary call of Connect is read where it is an error.
    pub(super) fn answer_to_unary(&mut self, status: Option<u16>) {
        if self.flavour == Some(GrpcFlavour::ConnectUnary) && status != Some(200) {
            self.response.messages = Some(MessageCounter::of(GrpcFlavour::ConnectUnary));
        }
    }

    /// What a block of the server says of a call.
    pub(super) fn call_status(&mut self, message: &BlockMessage<'_>, bad: bool, cx: &mut ExchangeContext) {
        let status = message.grpc_status.and_then(grpc::status);
        let late_found = status.is_some();
        let Some(exchange) = self.exchange.as_mut() else { return };
        if late_found && exchange.grpc.is_none() {
            let target = exchange.request.as_ref().and_then(|request| grpc::method(&request.target));
            exchange.grpc.get_or_insert_default().method = target;
        }
        let hides = status.is_none() && (message.hidden > 0 || bad);
        let Some(call) = exchange.grpc.as_mut() else { return };
        if call.method.is_none() {
            call.method = exchange.request.as_ref().and_then(|request| grpc::method(&request.target));
        }
        call.status = call.status.or(status);
        if let Some(text) = message.grpc_message {
            call.message = (!text.is_empty()).then(|| cx.redactor.prose(&grpc::message(text)));
        }
        if let Some(name) = message.grpc_encoding {
            call.encoding = Some(cx.redactor.text(name));
        }
        if hides
            && self.response.begun
            && exchange.response.is_some()
            && let Some(http2) = exchange.http2.as_mut()
        {
            http2.unknown.push("grpc-status");
        }
    }

    pub(super) fn grpc(&mut self) -> Option<&mut GrpcCall> {
        self.exchange.as_mut()?.grpc.as_deref_mut()
    }

    /// The next bytes of a body.
    pub(super) fn body(&mut self, side: ConnectionSide, at: Timestamp, bytes: &[u8]) {
        if let Some(socket) = &mut self.socket {
            socket.take(side, bytes);
        }
        if let Some(events) = self.events.as_mut().filter(|_| side == ConnectionSide::Server) {
            events.take(at, bytes);
        }
        let Some(messages) = self.way(side).messages.as_mut() else { return };
        let ended = messages.take(bytes);
        if side == ConnectionSide::Server
            && ended > 0
            && let Some(call) = self.grpc()
        {
            call.first_message.get_or_insert(at);
        }
    }

    /// Bytes of a body are missing: this many, or no one knows.
    pub(super) fn body_missing(&mut self, side: ConnectionSide, len: Option<u64>) {
        let body =
            if side == ConnectionSide::Client { MissingParts::REQUEST_BODY } else { MissingParts::RESPONSE_BODY };
        self.doubt(Trust::Gap, body);
        if let Some(events) = self.events.as_mut().filter(|_| side == ConnectionSide::Server) {
            events.lose();
        }
        if let Some(socket) = &mut self.socket {
            match len {
                Some(len) => socket.skip(side, len),
                None => socket.lose(side),
            }
        }
        if let Some(messages) = self.way(side).messages.as_mut() {
            match len {
                Some(len) => messages.skip(len),
                None => messages.lose(),
            }
        }
    }

    /// Frames of `side` are missing, which may have been this stream's.
    pub(super) fn hole(&mut self, side: ConnectionSide) {
        self.holed = true;
        self.unheard |= side == ConnectionSide::Client;
        let way = self.way(side);
        let (begun, ended) = (way.begun, way.ended);
        if ended {
            return;
        }
        self.doubtful |= side == ConnectionSide::Server;
        match side {
            _ if begun => self.body_missing(side, None),
            ConnectionSide::Client => self.doubt(Trust::Gap, MissingParts::REQUEST_HEAD),
            ConnectionSide::Server => {}
        }
    }

    /// What comes of the response is not its beginning.
    pub(super) fn response_uncountable(&mut self) {
        self.response.messages.get_or_insert_default().lose();
        if let Some(socket) = &mut self.socket {
            socket.lose(ConnectionSide::Server);
        }
    }

    /// Whether nothing more can come of it. A request whose end may have been in a hole is not waited for; one that was not
    /// seen is, for a while.
    pub(super) fn is_over(&self) -> bool {
        let request = self.request.ended || (self.request.begun && self.missing.contains(MissingParts::REQUEST_BODY));
        self.response.ended && request
    }

    /// Its client may send trailers.
    pub(super) fn may_ask_on(&self) -> bool {
        !self.request.ended && self.reset.is_none()
    }

    /// They may have been in a hole.
    pub(super) fn may_have_asked(&self) -> bool {
        self.may_ask_on() && self.unheard
    }

    /// Fills in what is known at the end.
    fn close(&mut self, redactor: &Redactor) {
        let counted = |way: &StreamWay| way.messages.as_ref().and_then(MessageCounter::count).filter(|_| way.begun);
        let requests = counted(&self.request);
        // No answer, and nothing lost: no message is a fact.
        let none = !self.response.begun && !self.doubtful && self.request.begun;
        let unary = self.flavour == Some(GrpcFlavour::ConnectUnary);
        let responses = counted(&self.response).or((none && !unary).then_some(0));
        let status = self.response.messages.as_ref().and_then(MessageCounter::status);
        if !self.response.begun
            && let Some(socket) = &mut self.socket
        {
            // Where its head was lost, frames may have been lost with it.
            socket.lose(ConnectionSide::Server);
        }
        let Some(exchange) = self.exchange.as_mut() else { return };
        if let Some(call) = exchange.grpc.as_mut() {
            call.request_messages = requests;
            // An answer of trailers alone has no message, and nothing of it was lost.
            call.response_messages = responses;
            if let Some((code, text)) = status.filter(|_| call.status.is_none()) {
                call.status = Some(code);
                call.message = text.filter(|text| !text.is_empty()).map(|text| redactor.prose(&text));
            }
            call.first_message = call.first_message.filter(|_| responses.is_some());
        }
        // Where no answer came there was no socket.
        if let Some(socket) = self.socket.as_ref().filter(|_| self.response.begun || self.doubtful) {
            exchange.websocket = Some(Box::new(socket.told()));
        }
        exchange.sse = self.events.as_ref().and_then(|events| events.told());
    }

    /// The record goes out.
    pub(super) fn tell(mut self, end: StreamEnd, at: Timestamp, cx: &mut ExchangeContext) {
        let (end, at) = self.reset.map_or((end, at), |(reset, at)| (StreamEnd::Reset(reset), at));
        self.close(&cx.redactor);
        if let StreamEnd::Reset(reset) = end
            && let Some(http2) = self.exchange.as_mut().and_then(|exchange| exchange.http2.as_mut())
        {
            http2.reset = Some(reset);
        }
        if let StreamEnd::Reset(StreamReset { by, .. }) = end {
            self.ended = Some(EarlyEnd { by: Some(by), how: EndedHow::ResetStream });
        }
        let Some(exchange) = self.exchange.take() else {
            cx.let_go(self.kept);
            return;
        };
        match (&exchange.request, &exchange.response) {
            (Some(_), Some(_)) => self.paired(exchange, end, cx),
            (Some(_), None) if !self.told => self.unanswered(exchange, end, at, cx),
            (None, Some(_)) => self.orphan(exchange, cx),
            (Some(_) | None, None) => {}
        }
        cx.let_go(self.kept);
    }

    fn paired(&mut self, mut exchange: Box<Exchange>, end: StreamEnd, cx: &mut ExchangeContext) {
        cx.ledger.responses_open -= 1;
        cx.ledger.open -= 1;
        cx.ledger.paired += 1;
        if !self.response.ended {
            let (trust, missing) = match end {
                // Its sender, or its receiver, meant to stop.
                StreamEnd::Whole | StreamEnd::Reset(_) => (Trust::Complete, MissingParts::default()),
                StreamEnd::GivenUp(_) => (Trust::Truncated, MissingParts::RESPONSE_BODY),
            };
            self.doubt(trust, missing);
            if matches!(end, StreamEnd::GivenUp(Some(UnansweredReason::Closed | UnansweredReason::Reset))) {
                exchange.weird.insert(Weird::BodyCutByClose);
                cx.ledger.weird.add(Weird::BodyCutByClose as usize, 1);
            }
        }
        self.out(exchange, cx);
    }

    fn orphan(&mut self, mut exchange: Box<Exchange>, cx: &mut ExchangeContext) {
        cx.ledger.responses_open -= 1;
        if self.told {
            cx.ledger.late += 1;
            exchange.late = true;
        } else {
            cx.ledger.orphan += 1;
        }
        let body = if self.response.ended { MissingParts::default() } else { MissingParts::RESPONSE_BODY };
        self.doubt(Trust::Unpaired, MissingParts::REQUEST);
        self.missing.insert(body);
        self.out(exchange, cx);
    }

    fn unanswered(&mut self, mut exchange: Box<Exchange>, end: StreamEnd, at: Timestamp, cx: &mut ExchangeContext) {
        cx.ledger.open -= 1;
        let why = match end {
            StreamEnd::GivenUp(why) => why.filter(|_| !self.doubtful),
            StreamEnd::Whole | StreamEnd::Reset(_) => None,
        };
        match (end, why) {
            (StreamEnd::Reset(_), _) => cx.ledger.reset += 1,
            (_, Some(why)) => cx.ledger.count_unanswered(why),
            (_, None) => cx.ledger.unpaired += 1,
        }
        exchange.unanswered = why;
        exchange.gave_up = (why.is_some() || matches!(end, StreamEnd::Reset(_))).then(|| at.max(exchange.start()));
        // A reset is its own answer: nothing is missing.
        if !matches!(end, StreamEnd::Reset(_)) {
            self.doubt(Trust::Unpaired, MissingParts::RESPONSE);
        }
        self.out(exchange, cx);
    }

    fn out(&mut self, mut exchange: Box<Exchange>, cx: &mut ExchangeContext) {
        let (trust, hidden) = self.hidden;
        exchange.trust = self.trust.max(trust);
        exchange.missing = self.missing;
        exchange.missing.insert(hidden);
        exchange.ended = self.ended.filter(|_| !(self.request.ended && self.response.ended));
        cx.record_exchange(exchange);
    }

    /// The wait for its answer is over: it is recorded without one. What comes later gets its own record, in `late`.
    pub(super) fn time_out(&mut self, at: Timestamp, late: Box<Exchange>, cx: &mut ExchangeContext) {
        self.close(&cx.redactor);
        let Some(exchange) = self.exchange.replace(late) else { return };
        self.unanswered(exchange, StreamEnd::GivenUp(Some(UnansweredReason::Timeout)), at, cx);
        (self.told, self.trust, self.missing) = (true, Trust::Complete, MissingParts::default());
        self.account(cx);
    }

    pub(super) fn was_told(&self) -> bool {
        self.told
    }
}
