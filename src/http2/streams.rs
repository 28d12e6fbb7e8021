//! The streams of one connection: which blocks, data and resets are whose, and when a stream is over.
//!
//! A stream's id is used once, so a request and the response with its id belong together, whatever was lost between them.
//! Reads no bytes of frames.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::format_compact;

use super::chain::{TouchedStream, TouchingFrame};
use super::half::BlockHead;
use super::message::BlockMessage;
use super::stream::{Http2Stream, StreamEnd};
use crate::exchange::{self, ExchangeContext, MessageStart};
use crate::flow::Timestamp;
use crate::grpc::{self, GrpcFlavour};
use crate::record::{
    ConnectionSide, EarlyEnd, Exchange, ExchangeConnection, Http2, HttpHeader, HttpRequest, HttpVersion, MissingParts,
    StreamClass, StreamReset, Trust, UnansweredReason, Weird,
};
use crate::sse;

/// Most streams of one connection that are open at once.
pub(super) const MAX_STREAMS: usize = 1024;
/// Most streams that are remembered as reset, though frames of them may still come.
const MAX_GONE: usize = 256;
/// Most 1xx codes kept of one exchange.
const MAX_INFORMATIONAL: usize = 8;
/// How long a stream that its client reset waits for an answer that was on its way, and an answer for its request, which
/// the capture may show after it (nanoseconds).
const LINGER: u64 = 1_000_000_000;
/// So long nothing came for a stream whose end may have been lost (nanoseconds): it was.
const QUIET: u64 = 10_000_000_000;

#[derive(Debug)]
pub(super) struct Http2Streams {
    pub(super) shared: Arc<ExchangeConnection>,
    map: BTreeMap<u32, Box<Http2Stream>>,
    exchanges: u32,
    /// Newest stream that the client opened, as far as we saw.
    pub(super) newest: u32,
    /// Frames of them mean nothing any more.
    gone: VecDeque<u32>,
    /// Streams up to this one were given up.
    floor: u32,
    /// The server said that it looks at no stream above this one.
    last_processed: Option<u32>,
    /// Streams may be open, or have been, that we saw nothing of.
    lossy: bool,
    late: bool,
    /// Frames of the client are missing: there may be streams that only the server has frames of.
    pub(super) asks_missing: bool,
    /// Stream 1 may be the request of an Upgrade that was not seen.
    pub(super) upgrade_unseen: bool,
    /// The client may still send header blocks on streams that are not in `map`.
    loose_ends: bool,
    connect_ns: Option<u64>,
    client_ip: Option<IpAddr>,
    /// How the connection ended, once it did.
    pub(super) ended: Option<EarlyEnd>,
    /// Highest stream so far, of the client and of the server: a lower one that begins may have been recorded before.
    highest: [u32; 2],
    /// Streams that began below them.
    below: u32,
    /// Up to then answers may have been in bytes that no one saw, though their requests come to us later.
    unsure_until: Option<Timestamp>,
}

/// A header block and where it came from.
pub(super) struct Arrived<'a> {
    pub(super) from: ConnectionSide,
    pub(super) head: BlockHead,
    pub(super) message: BlockMessage<'a>,
    pub(super) headers: Vec<HttpHeader>,
    pub(super) bad: Option<Weird>,
    /// How often its direction's table was lost.
    pub(super) epoch: u32,
}

impl Http2Streams {
    pub(super) fn new(
        shared: Arc<ExchangeConnection>,
        connect_ns: Option<u64>,
        client_ip: Option<IpAddr>,
        late: bool,
    ) -> Self {
        Self {
            shared,
            map: BTreeMap::new(),
            exchanges: 0,
            newest: 0,
            gone: VecDeque::new(),
            floor: 0,
            last_processed: None,
            lossy: late,
            late,
            asks_missing: late,
            upgrade_unseen: false,
            loose_ends: late,
            connect_ns,
            client_ip,
            ended: None,
            highest: [0; 2],
            below: 0,
            unsure_until: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The request of an h2c Upgrade is stream 1, and over (RFC 7540 §3.2).
    pub(super) fn upgraded(&mut self, mut request: HttpRequest, cx: &mut ExchangeContext) {
        self.exchanges += 1;
        let mut exchange = self.exchange(1);
        exchange.number = self.exchanges;
        if let Some(http2) = &mut exchange.http2 {
            http2.upgraded = true;
        }
        request.version = HttpVersion::V2;
        exchange.request = Some(request);
        let mut stream = Http2Stream::new(exchange);
        (stream.request.begun, stream.request.ended) = (true, true);
        cx.ledger.requests += 1;
        cx.ledger.open += 1;
        self.newest = 1;
        self.insert(1, stream, cx);
    }

    fn exchange(&mut self, id: u32) -> Box<Exchange> {
        let mut text = format_compact!("{}-s{id:x}", self.shared.id);
        if let Some(highest) = self.highest.get_mut(id as usize % 2) {
            if id > *highest {
                *highest = id;
            } else {
                self.below += 1;
                text = format_compact!("{text}.{:x}", self.below);
            }
        }
        let mut exchange = exchange::empty(self.shared.clone(), text, 0);
        exchange.http2 = Some(Box::new(Http2 { stream: id, pushed: id.is_multiple_of(2), ..Http2::default() }));
        exchange
    }

    fn insert(&mut self, id: u32, mut stream: Http2Stream, cx: &mut ExchangeContext) {
        stream.account(cx);
        self.map.insert(id, Box::new(stream));
        while self.map.len() > MAX_STREAMS || (cx.is_full() && self.map.len() > 1) {
            let Some((oldest, stream)) = self.map.pop_first() else { break };
            self.floor = self.floor.max(oldest);
            self.loose_ends |= stream.may_ask_on();
            cx.ledger.h2_streams_evicted += 1;
            stream.tell(StreamEnd::GivenUp(None), Timestamp::default(), cx);
        }
    }

    /// The stream that its client opens next; ids rise (RFC 9113 §5.1.1), and clients leave none out but at the beginning.
    fn next(&self) -> u32 {
        if self.newest == 0 { 1 } else { self.newest.saturating_add(2) }
    }

    /// The stream that the client's next header block is for if none is missing in front of it, where that is certain. A client
    /// opens streams in order, and has trailers only on those whose request is not over.
    pub(super) fn next_block(&self) -> Option<u32> {
        let certain = !self.loose_ends && !self.map.values().any(|stream| stream.may_have_asked());
        certain.then(|| self.next())
    }

    /// Whether frames on `id`, which is not open, may begin something.
    fn may_open(&self, id: u32) -> bool {
        id > self.floor && !self.gone.contains(&id) && (self.lossy || id > self.newest)
    }

    /// Whether the server may send such a frame, as far as it is known what its client asked.
    pub(super) fn may_come(&self, touched: &TouchedStream) -> bool {
        let id = touched.stream;
        let upgrade = id == 1 && self.upgrade_unseen;
        let unknown =
            upgrade || self.asks_missing || id.is_multiple_of(2) || id <= self.floor || self.gone.contains(&id);
        match touched.frame {
            _ if unknown => true,
            TouchingFrame::Asks => false,
            TouchingFrame::Other => id <= self.newest,
            TouchingFrame::Answers | TouchingFrame::Block | TouchingFrame::Data => self.awaits(touched),
        }
    }

    /// Whether such a frame of the server is the next one of a stream that is open.
    pub(super) fn awaits(&self, touched: &TouchedStream) -> bool {
        self.map.get(&touched.stream).is_some_and(|stream| match touched.frame {
            TouchingFrame::Answers => !stream.response.begun,
            TouchingFrame::Block | TouchingFrame::Data => !stream.response.ended,
            TouchingFrame::Asks | TouchingFrame::Other => false,
        })
    }

    pub(super) fn on_block(&mut self, arrived: Arrived<'_>, cx: &mut ExchangeContext) {
        if let Some(promised) = arrived.head.promised {
            self.on_promise(promised, arrived, cx);
            return;
        }
        let id = arrived.head.stream;
        if arrived.from == ConnectionSide::Client && id.is_multiple_of(2) {
            return;
        }
        let (side, ends, at) = (arrived.from, arrived.head.ends_stream, arrived.head.newest);
        if !self.map.contains_key(&id) {
            if !self.may_open(id) {
                return;
            }
            let exchange = self.exchange(id);
            let stream = Http2Stream::new(exchange);
            self.insert(id, stream, cx);
        }
        if side == ConnectionSide::Client && id > self.newest && id % 2 == 1 {
            // Streams were opened in a hole; or their client leaves some out, which is allowed.
            self.loose_ends |= self.lossy && id > self.next();
            self.newest = id;
        }
        match side {
            ConnectionSide::Client => self.on_request_block(id, arrived, cx),
            ConnectionSide::Server => self.on_response_block(id, arrived, cx),
        }
        self.after(id, side, ends, at, cx);
        if side == ConnectionSide::Client && self.last_processed.is_some_and(|last| id > last) {
            self.refuse(id, at, cx);
        }
    }

    /// What every frame of a stream may bring: its end.
    fn after(&mut self, id: u32, side: ConnectionSide, ends: bool, at: Timestamp, cx: &mut ExchangeContext) {
        let Some(stream) = self.map.get_mut(&id) else { return };
        stream.way(side).ended |= ends;
        stream.newest = stream.newest.max(at);
        if let Some((reset, at)) = stream.reset.filter(|_| stream.response.begun) {
            self.tell(id, StreamEnd::Reset(reset), at, cx);
        } else if stream.is_over() {
            self.tell(id, StreamEnd::Whole, at, cx);
        } else if ends || !stream.request.begun {
            stream.account(cx);
        }
    }

    fn tell(&mut self, id: u32, end: StreamEnd, at: Timestamp, cx: &mut ExchangeContext) {
        let Some(stream) = self.map.remove(&id) else { return };
        if !(stream.request.ended && stream.response.ended) {
            self.forget(id);
        }
        self.loose_ends |=
            stream.may_ask_on() && !matches!(end, StreamEnd::Reset(StreamReset { by: ConnectionSide::Client, .. }));
        stream.tell(end, at, cx);
    }

    /// Frames of a stream that is over may still come: they begin nothing.
    fn forget(&mut self, id: u32) {
        self.gone.push_back(id);
        if self.gone.len() > MAX_GONE
            && let Some(oldest) = self.gone.pop_front()
        {
            // Older streams that are open go on; nothing begins there any more.
            self.floor = self.floor.max(oldest);
        }
    }

    fn on_request_block(&mut self, id: u32, arrived: Arrived<'_>, cx: &mut ExchangeContext) {
        let Some(stream) = self.map.get_mut(&id) else { return };
        // No pseudo-header is known: these may be the trailers of a request whose head was not seen. Trailers end a stream.
        let nothing_hidden = arrived.message.hidden == 0 && arrived.bad.is_none();
        let may_be_trailers = nothing_hidden || (self.lossy && arrived.head.ends_stream);
        let says_nothing = !arrived.message.is_request() && may_be_trailers;
        if !stream.request.begun && !says_nothing {
            self.begin_request(id, arrived, cx);
            return;
        }
        stream.count(ConnectionSide::Client, arrived.head.newest, arrived.head.wire, 0);
        if let Some(request) = stream.exchange.as_mut().and_then(|exchange| exchange.request.as_mut()) {
            request.trailers = arrived.headers;
        }
    }

    fn begin_request(&mut self, id: u32, arrived: Arrived<'_>, cx: &mut ExchangeContext) {
        self.exchanges += 1;
        cx.ledger.requests += 1;
        cx.ledger.open += 1;
        let (number, peer, proxied) = (self.exchanges, self.shared.client.ip, self.client_ip);
        let connect_ns = self.connect_ns.filter(|_| number == 1);
        let lost = if self.late { Trust::Midstream } else { Trust::Gap };
        let unsure_until = self.unsure_until;
        let Some(stream) = self.map.get_mut(&id) else { return };
        let Arrived { head, message, headers, bad, epoch, .. } = arrived;
        stream.doubtful |= unsure_until.is_some_and(|until| head.newest <= until);
        (stream.request.begun, stream.number) = (true, number);
        let all = [":method", ":scheme", ":path", ":authority"];
        let unknown = if bad.is_some() { all.to_vec() } else { message.hidden_of_request() };
        if !unknown.is_empty() || bad.is_some() {
            stream.doubt(lost, MissingParts::REQUEST_HEAD);
        } else if message.hidden > 0 {
            stream.hide(lost, MissingParts::REQUEST_HEAD);
        }
        stream.note(message.weird(), cx);
        stream.note(bad.map(Into::into).unwrap_or_default(), cx);
        let by_line = GrpcFlavour::of_get(message.method.unwrap_or_default(), message.path.unwrap_or_default());
        stream.call(by_line, message.fields(), message.hidden == 0 && bad.is_none());
        let refused = stream.refused();
        let Some(exchange) = stream.exchange.as_mut() else { return };
        (exchange.number, exchange.connect_ns) = (number, connect_ns);
        if let Some(http2) = exchange.http2.as_mut() {
            http2.path_ref = if unknown.contains(&":path") { message.path_ref(epoch) } else { None };
            http2.unknown = unknown;
        }
        exchange.class = if refused { StreamClass::Exchange } else { message.class() };
        let socket = message.protocol == Some(b"websocket") && !refused;
        let request = request_of(head, message, headers, (peer, proxied), exchange, cx);
        if let Some(call) = exchange.grpc.as_mut() {
            call.method = grpc::method(&request.target);
        }
        exchange.request = Some(request);
        if socket {
            stream.open_socket();
        }
        stream.account(cx);
    }

    fn on_response_block(&mut self, id: u32, arrived: Arrived<'_>, cx: &mut ExchangeContext) {
        let Some(stream) = self.map.get_mut(&id) else { return };
        let status = arrived.message.status;
        if status.is_some_and(|status| (100..200).contains(&status)) && !arrived.head.ends_stream {
            cx.ledger.informational += 1;
            let codes = stream.exchange.as_mut().map(|exchange| &mut exchange.informational);
            if let Some(codes) = codes.filter(|codes| codes.len() < MAX_INFORMATIONAL) {
                codes.extend(status);
            }
            return;
        }
        let first = !stream.response.begun;
        if first {
            self.begin_response(id, arrived, cx);
        } else {
            stream.count(ConnectionSide::Server, arrived.head.newest, arrived.head.wire, 0);
            let response = stream.exchange.as_mut().and_then(|exchange| exchange.response.as_mut());
            if let Some(response) = response {
                // The first block may have been 1xx, with a status that was hidden.
                response.status = response.status.or(status);
                response.trailers = arrived.headers;
            }
            stream.call_status(&arrived.message, arrived.bad.is_some(), cx);
        }
    }

    fn begin_response(&mut self, id: u32, arrived: Arrived<'_>, cx: &mut ExchangeContext) {
        let late = self.late;
        let Some(stream) = self.map.get_mut(&id) else { return };
        let Arrived { head, message, headers, bad, .. } = arrived;
        cx.ledger.responses += 1;
        cx.ledger.responses_open += 1;
        let hidden = message.hidden > 0 || bad.is_some();
        let status = message.status;
        stream.note(message.weird(), cx);
        stream.note(bad.map(Into::into).unwrap_or_default(), cx);
        stream.call(None, message.fields(), !hidden);
        stream.response.begun = true;
        stream.answer_to_unary(status);
        let lost = if late { Trust::Midstream } else { Trust::Gap };
        if status.is_none() {
            stream.doubt(lost, MissingParts::RESPONSE_HEAD);
            // It may be the trailers, the head and messages lost.
            stream.response_uncountable();
        } else if hidden {
            stream.hide(lost, MissingParts::RESPONSE_HEAD);
        }
        stream.call_status(&message, bad.is_some(), cx);
        let accepted = status.is_some_and(|status| (200..300).contains(&status));
        let Some(exchange) = stream.exchange.as_mut() else { return };
        if status.is_none()
            && hidden
            && let Some(http2) = exchange.http2.as_mut()
        {
            http2.unknown.push(":status");
        }
        if !accepted && matches!(exchange.class, StreamClass::Tunnel | StreamClass::Upgrade) && status.is_some() {
            exchange.class = StreamClass::Exchange;
            stream.socket = None;
        }
        let begun = MessageStart { at: head.begun.at, offset: head.begun.offset, ack: None };
        let fields = message.into_fields();
        let mut response =
            exchange::response((HttpVersion::V2, status.unwrap_or_default(), b""), &fields, headers, begun, cx);
        response.status = status;
        response.bytes = head.wire;
        response.last = head.newest.max(head.begun.at);
        if sse::is_stream(response.mime_type.as_deref()) && status.is_some() {
            stream.events = Some(Box::default());
        }
        exchange.response = Some(response);
        stream.account(cx);
    }

    /// A stream that the server will answer without being asked.
    fn on_promise(&mut self, id: u32, arrived: Arrived<'_>, cx: &mut ExchangeContext) {
        if self.map.contains_key(&id) || self.gone.contains(&id) || id <= self.floor {
            return;
        }
        let stream = Http2Stream::new(self.exchange(id));
        self.insert(id, stream, cx);
        self.on_request_block(id, Arrived { from: ConnectionSide::Client, ..arrived }, cx);
        if let Some(stream) = self.map.get_mut(&id) {
            (stream.request.begun, stream.request.ended) = (true, true);
        }
    }

    /// Says whether a stream goes on of which nothing had come since frames of its client were lost.
    pub(super) fn on_data(
        &mut self,
        side: ConnectionSide,
        id: u32,
        at: Timestamp,
        bytes: &[u8],
        (wire, ends): (u64, bool),
        cx: &mut ExchangeContext,
    ) -> bool {
        let Some(stream) = self.map.get_mut(&id) else { return false };
        stream.count(side, at, wire, bytes.len() as u64);
        // What goes on had no trailers.
        let heard = side == ConnectionSide::Client && std::mem::take(&mut stream.unheard);
        if !bytes.is_empty() {
            stream.body(side, at, bytes);
        }
        if ends {
            self.after(id, side, true, at, cx);
        }
        heard
    }

    /// Bytes of a DATA frame are missing.
    pub(super) fn on_data_lost(
        &mut self,
        side: ConnectionSide,
        id: u32,
        (len, sure): (u64, bool),
        (ends, at): (bool, Timestamp),
        cx: &mut ExchangeContext,
    ) {
        let Some(stream) = self.map.get_mut(&id) else { return };
        stream.body_missing(side, sure.then_some(len));
        stream.count(side, Timestamp(i64::MIN), len, len);
        if ends {
            self.after(id, side, true, at, cx);
        }
    }

    /// Up to `at` bytes of the server were passed over: whatever was asked until then may have been answered in them.
    pub(super) fn unsure(&mut self, at: Timestamp) {
        self.unsure_until = self.unsure_until.max(Some(at));
        self.map.values_mut().filter(|stream| !stream.response.begun).for_each(|stream| stream.doubtful = true);
    }

    /// Frames of `side` are missing: they may have been any stream's, and streams may have come and gone in them.
    pub(super) fn on_hole(&mut self, side: ConnectionSide, at: Timestamp, cx: &mut ExchangeContext) {
        self.lossy = true;
        self.asks_missing |= side == ConnectionSide::Client;
        if side == ConnectionSide::Server {
            self.unsure(at);
        }
        let mut over = Vec::new();
        for (id, stream) in &mut self.map {
            stream.hole(side);
            if stream.is_over() {
                over.push((*id, stream.newest));
            }
        }
        over.into_iter().for_each(|(id, at)| self.tell(id, StreamEnd::Whole, at, cx));
    }

    pub(super) fn on_reset(&mut self, by: ConnectionSide, id: u32, code: u32, at: Timestamp, cx: &mut ExchangeContext) {
        let reset = StreamReset { by, code };
        if let Some(stream) = self.map.get_mut(&id) {
            // Where frames of the stream were not seen this may not be the first reset, or come behind its end.
            if !stream.request.begun || stream.holed || stream.trust != Trust::Complete {
                if !stream.response.ended {
                    self.tell(id, StreamEnd::GivenUp(None), at, cx);
                }
                return;
            }
            // The answer may be on its way.
            if by == ConnectionSide::Client && stream.request.begun && !stream.response.begun && stream.reset.is_none()
            {
                stream.reset = Some((reset, at));
                return;
            }
            self.tell(id, StreamEnd::Reset(reset), at, cx);
        } else if self.may_open(id) {
            self.loose_ends = true;
            self.forget(id);
        }
    }

    /// Its client reset a stream whose answer may have come before.
    pub(super) fn doubt_reset(&mut self, id: u32) {
        if let Some(stream) = self.map.get_mut(&id) {
            (stream.doubtful, stream.holed) = (true, true);
        }
    }

    /// The server says that it did not look at streams above `last`.
    pub(super) fn on_goaway(&mut self, last: u32, at: Timestamp, cx: &mut ExchangeContext) {
        self.last_processed = Some(self.last_processed.map_or(last, |before| before.min(last)));
        let above: Vec<_> =
            self.map.range(last.saturating_add(1)..).map(|(id, _)| *id).filter(|id| id % 2 == 1).collect();
        above.into_iter().for_each(|id| self.refuse(id, at, cx));
    }

    /// A stream above the last one that the server looks at; what was asked on it may be asked again.
    fn refuse(&mut self, id: u32, at: Timestamp, cx: &mut ExchangeContext) {
        let Some(stream) = self.map.get_mut(&id).filter(|stream| !stream.response.begun) else { return };
        if let Some(http2) = stream.exchange.as_mut().and_then(|exchange| exchange.http2.as_mut()) {
            http2.not_processed = true;
        }
        self.tell(id, StreamEnd::GivenUp(Some(UnansweredReason::Closed)), at, cx);
    }

    /// Requests that are whole and whose time is over, and streams whose end must have been lost.
    pub(super) fn on_tick(&mut self, now: Timestamp, cx: &mut ExchangeContext) {
        let after = cx.config.timeout_after;
        let mut lost = Vec::new();
        for (id, stream) in &mut self.map {
            if let Some((_, at)) = stream.reset {
                if now.since(at) >= LINGER {
                    lost.push(*id);
                }
                continue;
            }
            if !stream.request.begun && stream.response.ended && now.since(stream.newest) >= LINGER {
                lost.push(*id);
                continue;
            }
            let request = stream.exchange.as_ref().and_then(|exchange| exchange.request.as_ref());
            let last = request.map_or(stream.newest, |request| request.last);
            if (stream.doubtful || stream.missing.contains(MissingParts::REQUEST_BODY))
                && now.since(stream.newest.max(last)) >= QUIET
            {
                lost.push(*id);
                continue;
            }
            let waits = stream.request.ended && !stream.response.begun && !stream.was_told() && request.is_some();
            if waits && now.since(last) >= after {
                let text = format_compact!("{}-s{id:x}.late", self.shared.id);
                let mut late = exchange::empty(self.shared.clone(), text, stream.number);
                late.http2 = stream.exchange.as_ref().and_then(|exchange| exchange.http2.clone());
                stream.time_out(last.plus(after), late, cx);
            }
        }
        lost.into_iter().for_each(|id| self.tell(id, StreamEnd::GivenUp(None), now, cx));
    }

    /// Nothing more will come: from the server, or at all.
    pub(super) fn drain(&mut self, at: Timestamp, why: Option<UnansweredReason>, cx: &mut ExchangeContext) {
        self.on_tick(at, cx);
        self.floor = u32::MAX;
        while let Some((_, mut stream)) = self.map.pop_first() {
            stream.ended = self.ended;
            stream.tell(StreamEnd::GivenUp(why), at, cx);
        }
    }
}

/// The request half, and what of it is elsewhere in the record.
fn request_of(
    head: BlockHead,
    message: BlockMessage<'_>,
    headers: Vec<HttpHeader>,
    (peer, proxied): (IpAddr, Option<IpAddr>),
    exchange: &mut Exchange,
    cx: &mut ExchangeContext,
) -> HttpRequest {
    if let Some(call) = exchange.grpc.as_mut() {
        let connect = message.fields().connect_timeout.and_then(grpc::connect_timeout_us);
        call.timeout_us = message.grpc_timeout.and_then(grpc::timeout_us).or(connect);
        call.encoding = message.grpc_encoding.map(|name| cx.redactor.text(name));
    }
    let line = (message.method.unwrap_or_default(), message.target().unwrap_or_default(), HttpVersion::V2);
    let hidden = message.hidden > 0;
    let fields = message.into_fields();
    exchange.client_ip = exchange::client_ip(&fields, hidden, proxied, peer, &cx.config);
    exchange.own_traffic = exchange::is_own(line.0, &fields, &cx.config);
    let begun = MessageStart { at: head.begun.at, offset: head.begun.offset, ack: None };
    let mut request = exchange::request(line, &fields, headers, begun, cx);
    request.bytes = head.wire;
    request.last = head.newest.max(head.begun.at);
    request
}
