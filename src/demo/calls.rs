//! Scenes of HTTP/2: a browser with several requests at once, and calls of gRPC that end well and badly.

use super::script::DemoScript;
use crate::synth::SynthSide::{Client, Server};
use crate::synth::http2::{self, HpackEncoder, PREFACE};

pub(super) const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// One connection of HTTP/2 under way.
struct CallStreams {
    script: DemoScript,
    asks: HpackEncoder,
    answers: HpackEncoder,
}

type CallFields<'a> = &'a [(&'a str, &'a str)];

impl CallStreams {
    /// Prior knowledge: the client begins with the preface.
    fn starting(millis: u64) -> Self {
        let script = DemoScript::starting(millis).more(Client, [PREFACE, &http2::settings()].concat());
        Self {
            script: script.more(Server, http2::settings()),
            asks: HpackEncoder::default(),
            answers: HpackEncoder::default(),
        }
    }

    fn get(mut self, stream: u32, path: &str) -> Self {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop.example")];
        let bytes = self.asks.headers(stream, &[&fields[..], &[("user-agent", BROWSER)]].concat(), true);
        self.script = self.script.ask(bytes);
        self
    }

    fn answer(mut self, millis: u64, stream: u32, status: &str, fields: CallFields<'_>, body: &[u8]) -> Self {
        let fields = [&[(":status", status), ("server", "demo")], fields].concat();
        let mut bytes = self.answers.headers(stream, &fields, body.is_empty());
        if !body.is_empty() {
            bytes.extend(http2::data(stream, body, true));
        }
        self.script = self.script.answer(millis, bytes);
        self
    }

    /// A call with its only message.
    fn call(mut self, stream: u32, method: &str, message: &[u8]) -> Self {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "stock.shop.example:50051"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "500m"),
            ("user-agent", "grpc-go/1.76.0"),
        ];
        let mut bytes = self.asks.headers(stream, &fields, false);
        bytes.extend(http2::data(stream, &http2::grpc_message(message), true));
        self.script = self.script.ask(bytes);
        self
    }

    /// The head of its answer, and the first message.
    fn answer_call(mut self, millis: u64, stream: u32, message: &[u8]) -> Self {
        let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "identity")];
        let bytes = [self.answers.headers(stream, &fields, false), one(stream, message)].concat();
        self.script = self.script.answer(millis, bytes);
        self
    }

    fn more(mut self, millis: u64, stream: u32, message: &[u8]) -> Self {
        self.script = self.script.answer(millis, one(stream, message));
        self
    }

    fn trailers(mut self, stream: u32, status: &str) -> Self {
        let bytes = self.answers.headers(stream, &[("grpc-status", status), ("grpc-message", "")], true);
        self.script = self.script.more(Server, bytes);
        self
    }

    /// An answer of trailers alone.
    fn refuse(mut self, millis: u64, stream: u32, status: &str, message: &str) -> Self {
        let fields = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", status),
            ("grpc-message", message),
        ];
        self.script = self.script.answer(millis, self.answers.headers(stream, &fields, true));
        self
    }

    fn cancel(mut self, millis: u64, stream: u32) -> Self {
        const CANCEL: u32 = 8;
        self.script = self.script.pause(millis).more(Client, http2::reset(stream, CANCEL));
        self
    }

    fn close(self) -> DemoScript {
        self.script.close()
    }
}

fn one(stream: u32, message: &[u8]) -> Vec<u8> {
    http2::data(stream, &http2::grpc_message(message), false)
}

/// Three requests at once, answered in another order; then one that the browser does not wait for.
pub(super) fn many_at_once() -> DemoScript {
    CallStreams::starting(250)
        .get(1, "/checkout")
        .get(3, "/checkout.css")
        .get(5, "/img/cards.svg")
        .answer(9, 3, "200", &[("content-type", "text/css")], &[b'.'; 1800])
        .answer(14, 1, "200", &[("content-type", "text/html")], &[b' '; 5200])
        .answer(3, 5, "404", &[], b"")
        .get(7, "/search?q=tea")
        .cancel(140, 7)
        .close()
}

/// Calls that succeed, that stream, that fail, and one whose deadline passes.
pub(super) fn calls() -> DemoScript {
    CallStreams::starting(350)
        .call(1, "/shop.Stock/Reserve", b"104x2")
        .answer_call(6, 1, b"ok")
        .trailers(1, "0")
        .call(3, "/shop.Stock/Watch", b"104")
        .call(5, "/shop.Stock/Reserve", b"999x1")
        .answer_call(4, 3, b"12 left")
        .refuse(2, 5, "5", "no product 999")
        .more(120, 3, b"11 left")
        .call(7, "/shop.Payments/Charge", b"5001")
        .refuse(3, 7, "14", "caf%C3%A9 bank: try again")
        .more(120, 3, b"10 left")
        .trailers(3, "0")
        .call(9, "/shop.Payments/Charge", b"5001")
        .cancel(500, 9)
        .close()
}
