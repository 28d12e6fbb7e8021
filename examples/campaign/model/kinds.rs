//! The kinds of captures that are tried, by name.
//!
//! A table; how each part is made is in `traffic`, `tcp` and `capture`.

use podtap::synth::{Rng, SynthSide};

use super::capture::{Case, Conn, Spoil};
use super::tcp::{Net, play};
use super::traffic::{Client, Tail, Traffic};

/// A kind of captures.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What is odd about it.
    pub about: &'static str,
    /// Shares of frames lost to try, when no one asks for others.
    pub losses: &'static [f64],
    /// Changes ordinary traffic into this kind.
    make: fn(&mut Setup, &mut Rng),
}

/// What a case is made of.
pub struct Setup {
    traffic: Traffic,
    net: Net,
    spoil: Spoil,
    conns: u32,
    /// Loss is the network's, and not the capture's.
    network_loss: bool,
}

const LOSSES: &[f64] = &[0.0, 0.001, 0.01, 0.05, 0.1, 0.3];
const NONE: &[f64] = &[0.0];
const SOME: &[f64] = &[0.0, 0.01, 0.05];

macro_rules! kinds {
    ($($name:literal, $losses:ident, $about:literal, $make:expr;)*) => {
        /// All kinds.
        pub const KINDS: &[Kind] = &[$(Kind { name: $name, about: $about, losses: $losses, make: $make },)*];
    };
}

kinds! {
    "sequential", LOSSES, "the client waits for each answer", |s, _| s.traffic.client = Client::Keep(1);
    "advance", LOSSES, "one request in advance", |s, _| s.traffic.client = Client::Keep(2);
    "keep3", LOSSES, "three requests under way", |s, _| s.traffic.client = Client::Keep(3);
    "keep4", SOME, "four requests under way", |s, _| s.traffic.client = Client::Keep(4);
    "keep5", SOME, "five requests under way", |s, _| s.traffic.client = Client::Keep(5);
    "keep6", SOME, "six requests under way", |s, _| s.traffic.client = Client::Keep(6);
    "keep7", SOME, "seven requests under way", |s, _| s.traffic.client = Client::Keep(7);
    "keep8", LOSSES, "eight requests under way", |s, _| s.traffic.client = Client::Keep(8);
    "eager", LOSSES, "waits for each answer, but once in a while does not", |s, _| s.traffic.client = Client::Switch(2, 0.05);
    "switch", LOSSES, "waits for a while, pipelines for a while", |s, _| s.traffic.client = Client::Switch(6, 0.2);
    "burst2", SOME, "two at once, then both answers", |s, _| s.traffic.client = Client::Burst(2);
    "burst3", SOME, "three at once", |s, _| s.traffic.client = Client::Burst(3);
    "burst4", SOME, "four at once", |s, _| s.traffic.client = Client::Burst(4);
    "burst8", LOSSES, "eight at once", |s, _| s.traffic.client = Client::Burst(8);
    "proxy", LOSSES, "of many clients, by a proxy that keeps requests under way", |s, rng| {
        s.traffic.client = pipelined(rng);
        s.traffic.agents = 0.7;
    };
    "proxy1", LOSSES, "of many clients, by a proxy that waits for each answer", |s, _| {
        s.traffic.client = Client::Keep(1);
        s.traffic.agents = 0.7;
    };
    "plain1", SOME, "short GETs only, each waits for its answer", |s, _| plain(s, Client::Keep(1));
    "plain2", SOME, "short GETs only, one in advance", |s, _| plain(s, Client::Keep(2));
    "plain4", SOME, "short GETs only, four under way", |s, _| plain(s, Client::Keep(4));
    "plain8", SOME, "short GETs only, eight under way", |s, _| plain(s, Client::Keep(8));
    "plain-burst2", SOME, "short GETs only, two at once", |s, _| plain(s, Client::Burst(2));
    "plain-burst4", SOME, "short GETs only, four at once", |s, _| plain(s, Client::Burst(4));
    "plain-burst8", SOME, "short GETs only, eight at once", |s, _| plain(s, Client::Burst(8));
    "joined", LOSSES, "pipelined messages that share segments", |s, rng| {
        s.traffic.client = pipelined(rng);
        s.traffic.joined = 0.6;
    };
    "bursty", LOSSES, "frames lost several in a row", |s, rng| s.spoil.burst = rng.between(2, 12);
    "network", LOSSES, "the network loses, and the ends repeat", |s, _| s.network_loss = true;
    "overtake", LOSSES, "the network loses and reorders", |s, rng| {
        s.network_loss = true;
        s.net.jitter = rng.between(1_000, 3_000_000);
    };
    "head", LOSSES, "many HEADs", |s, _| s.traffic.head = 0.5;
    "bodyless", SOME, "many 204s and 304s", |s, _| s.traffic.bodyless = 0.7;
    "interim", LOSSES, "many 1xx", |s, _| (s.traffic.interim, s.traffic.head) = (0.5, 0.3);
    "expect", LOSSES, "clients that wait for 100", |s, _| (s.traffic.expect, s.traffic.upload) = (0.7, 0.6);
    "uploads", SOME, "large bodies of both sides", |s, _| (s.traffic.upload, s.traffic.body) = (0.6, 30_000);
    "early", LOSSES, "answers before the request's end", |s, _| {
        (s.traffic.early, s.traffic.upload, s.traffic.body) = (0.6, 0.6, 20_000);
    };
    "events", SOME, "server-sent events", |s, _| s.traffic.events = 0.4;
    "bodies", LOSSES, "bodies that look like messages", |s, _| {
        (s.traffic.like, s.traffic.upload, s.traffic.head) = (0.5, 0.4, 0.2);
    };
    "doubt", LOSSES, "framing that may be read in two ways", |s, _| s.traffic.doubt = 0.15;
    "doubt-once", LOSSES, "one such message, sequential", |s, _| {
        (s.traffic.client, s.traffic.doubt) = (Client::Keep(1), 0.04);
    };
    "heads", SOME, "frames with a message's first byte are missed", |s, rng| {
        s.spoil.heads = *rng.pick(&[0.02, 0.1, 0.3]).unwrap_or(&0.1);
        (s.traffic.head, s.traffic.interim) = (0.3, 0.15);
    };
    "tunnel", SOME, "CONNECT at the end", |s, _| s.traffic.tail = Tail::Tunnel;
    "clear-tunnel", SOME, "CONNECT with HTTP in it", |s, _| s.traffic.tail = Tail::ClearTunnel;
    "upgrade", SOME, "101, then text that looks like messages", |s, _| s.traffic.tail = Tail::Upgrade;
    "fields", SOME, "more than 512 header fields before the framing", |s, _| {
        (s.traffic.fields, s.traffic.like, s.traffic.upload) = (0.1, 0.5, 0.5);
    };
    "head-body", SOME, "a body behind the answer to HEAD", |s, rng| {
        (s.traffic.tail, s.traffic.count) = (Tail::HeadBody, rng.between(1, 6) as u32);
        s.conns = 3;
    };
    "refused", SOME, "uploads that are refused unread", |s, rng| {
        (s.traffic.tail, s.traffic.count) = (Tail::Refused, rng.between(1, 6) as u32);
        s.conns = 3;
    };
    "probes", SOME, "probes whether the peer is alive", |s, _| s.net.probes = 0.3;
    "clock", SOME, "the capture's clock jumps", |s, rng| {
        let far = [1_000_000, 100_000_000, 5_000_000_000, 100_000_000_000];
        s.spoil.clock = rng.pick(&far).copied().map(|jump| if rng.chance(0.7) { -jump } else { jump });
    };
    "hang-up", LOSSES, "the server closes while requests are under way", |s, _| s.traffic.tail = Tail::HangUp;
    "unasked", LOSSES, "a 408 that answers nothing crosses the next request", |s, rng| {
        (s.traffic.tail, s.traffic.count) = (Tail::Unasked, rng.between(1, 6) as u32);
        (s.traffic.client, s.conns) = (Client::Keep(1), 3);
    };
    "patience", SOME, "pauses in uploads, between 1xx, and before the body that waited for 100", |s, _| {
        (s.traffic.expect, s.traffic.upload, s.traffic.interim) = (0.3, 0.5, 0.3);
        (s.traffic.patience, s.traffic.count) = (30_000_000_000, 8);
    };
    "stalls", SOME, "applications that do not read for a while", |s, _| {
        (s.net.stalls, s.net.window) = ((0.05, 15_000_000_000), 8_192);
        (s.traffic.upload, s.traffic.body, s.traffic.count) = (0.5, 20_000, 8);
    };
    "garbage", LOSSES, "bytes behind responses that belong to nothing", |s, _| {
        s.traffic.client = Client::Keep(1);
        (s.traffic.garbage, s.traffic.head) = (0.2, 0.3);
    };
    "late", SOME, "answers behind the time-out", |s, _| (s.traffic.think, s.traffic.count) = (25_000_000_000, 10);
    "reorder", SOME, "frames up to 3 ms late", |s, rng| {
        (s.spoil.late, s.spoil.distance) = (0.1, 3_000_000);
        s.spoil.own_time = rng.chance(0.5);
    };
    "skew", SOME, "all frames of one side 3 ms late", |s, rng| {
        let side = if rng.chance(0.5) { SynthSide::Client } else { SynthSide::Server };
        s.spoil.skew = Some((side, rng.below(6_000_000)));
        s.spoil.own_time = rng.chance(0.5);
    };
    "skew-bodies", SOME, "the same with bodies that look like messages", |s, rng| {
        s.spoil.skew = Some((if rng.chance(0.8) { SynthSide::Client } else { SynthSide::Server }, rng.below(6_000_000)));
        s.spoil.own_time = rng.chance(0.5);
        (s.traffic.like, s.traffic.head) = (0.5, 0.3);
    };
    "duplicates", SOME, "frames seen twice", |s, rng| {
        (s.spoil.duplicate, s.spoil.distance) = (0.2, rng.below(3_000_000));
    };
    "one-way", SOME, "one direction only", |s, rng| {
        s.spoil.only = Some(if rng.chance(0.5) { SynthSide::Client } else { SynthSide::Server });
    };
    "midstream", LOSSES, "joined late", |s, rng| s.spoil.skip = rng.below(100) as f64 / 100.0;
    "snaplen", SOME, "cut frames", |s, rng| s.spoil.snaplen = rng.between(90, 400) as usize;
    "copies", NONE, "others repeat segments with other bytes", |s, _| s.net.forged_copies = 0.1;
    "repeats", SOME, "segments sent again for no reason", |s, _| s.net.spurious = 0.1;
    "resets", SOME, "resets that their receiver ignores", |s, _| s.net.resets = 0.03;
    "checksums", SOME, "damaged segments that their receiver drops", |s, _| s.net.damaged = 0.03;
    "reuse", LOSSES, "one connection behind another on the same ports", |s, rng| {
        s.conns = rng.between(2, 5) as u32;
        s.traffic.count = rng.between(1, 8) as u32;
    };
    "wrap", SOME, "sequence numbers that wrap around", |s, rng| {
        s.net.isn = [rng.below(9000) as u32, rng.below(30_000) as u32].map(|back| u32::MAX - back);
    };
    "everything", LOSSES, "a little of all", |s, rng| everything(s, rng);
}

fn pipelined(rng: &mut Rng) -> Client {
    let depth = rng.between(2, 8) as usize;
    if rng.chance(0.5) { Client::Keep(depth) } else { Client::Burst(depth) }
}

fn plain(s: &mut Setup, client: Client) {
    let t = &mut s.traffic;
    (t.client, t.body) = (client, 400);
    (t.head, t.upload, t.bodyless, t.interim, t.split, t.joined) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
}

fn everything(s: &mut Setup, rng: &mut Rng) {
    let t = &mut s.traffic;
    (t.head, t.interim, t.expect, t.early, t.like) = (0.2, 0.1, 0.1, 0.05, 0.15);
    (t.events, t.split, t.joined) = (0.02, 0.05, 0.1);
    t.doubt = if rng.chance(0.2) { 0.05 } else { 0.0 };
    t.tail = *rng
        .pick(&[
            Tail::None,
            Tail::None,
            Tail::Tunnel,
            Tail::ClearTunnel,
            Tail::Upgrade,
            Tail::HangUp,
            Tail::Unasked,
            Tail::HeadBody,
            Tail::Refused,
        ])
        .unwrap_or(&Tail::None);
    if rng.chance(0.3) {
        (s.spoil.late, s.spoil.distance) = (0.05, 3_000_000);
    }
    if rng.chance(0.2) {
        s.spoil.skew = Some((SynthSide::Client, rng.below(3_000_000)));
    }
    if rng.chance(0.2) {
        s.spoil.duplicate = 0.05;
    }
    if rng.chance(0.2) {
        s.spoil.burst = rng.between(2, 8);
    }
    if rng.chance(0.2) {
        s.spoil.skip = rng.below(80) as f64 / 100.0;
    }
    if rng.chance(0.3) {
        s.net.loss = [0.005, 0.005];
    } else {
        s.net.resets = 0.003;
    }
    s.net.damaged = 0.003;
    s.net.spurious = 0.01;
}

impl Kind {
    /// The case of this kind with this seed, when `loss` of the frames are lost.
    pub fn case(&self, seed: u64, loss: f64) -> Case {
        let mut rng = Rng::new(seed ^ loss.to_bits().rotate_left(17));
        let client = match rng.below(10) {
            0..=4 => Client::Keep(1),
            5..=6 => Client::Keep(2),
            _ => pipelined(&mut rng),
        };
        let mut setup = Setup {
            traffic: Traffic::of(client, &mut rng),
            net: net(&mut rng),
            spoil: Spoil::default(),
            conns: 1,
            network_loss: false,
        };
        (self.make)(&mut setup, &mut rng);
        if setup.network_loss {
            setup.net.loss = [loss / 2.0, loss / 2.0];
        } else {
            setup.spoil.loss = loss;
        }
        setup.traffic.step = setup.net.mss[1];
        setup.traffic.rtt = 2 * setup.net.latency.iter().sum::<u64>();
        let mut conns = Vec::new();
        let mut first = 1;
        for _ in 0..setup.conns {
            let script = setup.traffic.script(first, &mut rng);
            let trace = play(&script, &setup.net, &mut rng);
            first += script.truths.len() as u32;
            conns.push(Conn { trace, truths: script.truths });
            setup.net.isn = [rng.number() as u32, rng.number() as u32];
        }
        let pause = rng.below(2_000_000_000);
        Case::new(conns, pause, &setup.spoil, &mut rng)
    }
}

fn net(rng: &mut Rng) -> Net {
    let near = rng.between(1_000, 20_000);
    let far = *rng.pick(&[20_000, 200_000, 2_000_000, 15_000_000]).unwrap_or(&20_000);
    let latency = match rng.below(3) {
        0 => [near, far],
        1 => [far, near],
        _ => [far / 2, far / 2],
    };
    let mss = [1448, 1448, 500, 16_000];
    Net {
        latency,
        jitter: 0,
        loss: [0.0; 2],
        damaged: 0.0,
        resets: 0.0,
        forged_copies: 0.0,
        spurious: 0.0,
        probes: 0.0,
        mss: [(); 2].map(|()| *rng.pick(&mss).unwrap_or(&1448)),
        ack_all: rng.chance(0.3),
        stalls: (0.0, 0),
        window: *rng.pick(&[65_536, 262_144, 8_192]).unwrap_or(&65_536),
        isn: [rng.number() as u32, rng.number() as u32],
    }
}
