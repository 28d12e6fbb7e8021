//! Captures for real, each test in a separate network namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use podtap::flow::{Endpoint, FiveTuple, Timestamp};
use podtap::packet::{Frame, LinkType};
use podtap::source::interfaces::{KernelTables, exists};
use podtap::source::live::{self, CaptureError, CaptureOptions, CaptureState, FrameSink, KernelCounters, StopSender};
use podtap::source::own_traffic::OwnTraffic;

use crate::namespace::{in_a_namespace, ip};

const ETHERNET: LinkType = LinkType(1);
const SLL2: LinkType = LinkType(276);
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_tcp_exchange_on_loopback_is_captured_once_whole_and_with_the_kernels_time() {
    in_a_namespace(|| {
        let capture = Capture::start(options("lo"));
        let before = wall_clock();
        let exchange = exchange(b"hello podtap", b"hello you");
        let (seen, outcome) = capture.stop();
        assert_eq!(outcome, Ok(()));
        assert_eq!(seen.payloads(exchange.client, exchange.server), b"hello podtap");
        assert_eq!(seen.payloads(exchange.server, exchange.client), b"hello you");
        let after = wall_clock();
        assert!(seen.frames.iter().all(|frame| before <= frame.at && frame.at <= after));
        assert!(seen.frames.iter().any(|frame| frame.at.0 % 1000 != 0), "nanoseconds");
        for frame in &seen.frames {
            assert_eq!((frame.link, frame.interface.as_deref()), (ETHERNET, Some("lo")));
        }
        // Both copies of each packet on loopback were received, one was delivered.
        let frames = u64::try_from(seen.frames.len()).unwrap();
        assert_eq!((seen.kernel.received, seen.kernel.dropped), (frames * 2, 0));
        assert_eq!((seen.kernel.opens, seen.kernel.blind), (1, Duration::ZERO));
    });
}

#[test]
fn any_names_the_interface_of_each_frame() {
    in_a_namespace(|| {
        let capture = Capture::start(options("any"));
        let exchange = exchange(b"question", b"answer");
        let (seen, _) = capture.stop();
        assert_eq!(seen.payloads(exchange.client, exchange.server), b"question");
        for frame in &seen.frames {
            assert_eq!((frame.link, frame.interface.as_deref()), (SLL2, Some("lo")));
        }
    });
}

#[test]
fn super_packets_are_captured_whole() {
    in_a_namespace(|| {
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| n as u8).collect();
        // Room for both copies of each packet, many times over, and blocks that are given away when they are full rather than
        // each hundredth of a second. So nothing is dropped, however long the capture's thread must wait for a processor.
        let roomy = CaptureOptions { buffer_bytes: 64 << 20, timeout_ms: 100, ..options("lo") };
        let capture = Capture::start(roomy);
        let exchange = exchange(&sent, b"");
        let (seen, _) = capture.stop();
        assert_eq!(seen.kernel.dropped, 0);
        assert!(seen.frames.iter().all(|frame| frame.data.len() == frame.wire_len));
        assert!(seen.frames.iter().any(|frame| frame.data.len() > 60_000), "loopback's frames are long");
        let payload = seen.payloads(exchange.client, exchange.server);
        assert!(payload == sent, "{} of {} bytes, {:?}", payload.len(), sent.len(), seen.kernel);
    });
}

#[test]
fn what_the_ring_cannot_hold_is_counted() {
    in_a_namespace(|| {
        let small = CaptureOptions { buffer_bytes: 1 << 20, ..options("lo") };
        let (gate, closed) = sync_channel(0);
        let capture = Capture::start_gated(small, Some(closed));
        let exchange = exchange(&[7; 8_000_000], b"");
        drop(gate);
        let (seen, _) = capture.stop();
        assert!(seen.kernel.dropped > 0);
        let delivered = u64::try_from(seen.frames.len()).unwrap();
        assert!(seen.kernel.received >= delivered + seen.kernel.dropped, "{:?}", seen.kernel);
        assert!(seen.payloads(exchange.client, exchange.server).len() < 8_000_000);
    });
}

#[test]
fn a_quiet_link_ticks_and_stops_at_once() {
    in_a_namespace(|| {
        let capture = Capture::start(options("lo"));
        let first = capture.tick();
        let second = capture.tick();
        assert!(first < second && second <= wall_clock());
        let (seen, outcome) = capture.stop();
        assert_eq!((seen.frames.len(), outcome), (0, Ok(())));
    });
}

#[test]
fn an_interface_that_goes_away_and_comes_back_is_captured_again() {
    in_a_namespace(|| {
        add_pair();
        let capture = Capture::start(options("pt0"));
        send_out();
        ip("link del pt0");
        let reason = capture.waits();
        assert!(!exists("pt0"), "{reason}");
        capture.tick();
        add_pair();
        assert_eq!(capture.begins(), ETHERNET);
        send_out();
        let (seen, outcome) = capture.stop();
        assert_eq!(outcome, Ok(()));
        assert_eq!(seen.frames.iter().filter(|frame| frame.contains(MARK)).count(), 2);
        assert_eq!(seen.kernel.opens, 2);
        assert!(seen.kernel.received >= 2, "counters go on over the new handle: {:?}", seen.kernel);
        assert!(seen.kernel.blind > Duration::ZERO);
    });
}

#[test]
fn an_interface_that_is_replaced_under_its_name_is_captured_again() {
    in_a_namespace(|| {
        add_pair();
        let capture = Capture::start(options("pt0"));
        ip("link del pt0");
        add_pair();
        capture.waits();
        capture.begins();
        send_out();
        let (seen, _) = capture.stop();
        assert!(seen.frames.iter().any(|frame| frame.contains(MARK)));
    });
}

#[test]
fn an_interface_that_goes_down_and_up_is_captured_again() {
    in_a_namespace(|| {
        add_pair();
        let capture = Capture::start(options("pt0"));
        ip("link set pt0 down");
        capture.tick();
        bring_up();
        // Some versions of libpcap report that and need a new handle, which takes its time, others go on.
        let marks = Arc::clone(&capture.marks);
        for _ in 0..1000 {
            capture.tick();
            send_out();
            if marks.load(Ordering::Relaxed) > 0 {
                return;
            }
        }
        panic!("nothing is captured");
    });
}

#[test]
fn an_interface_that_is_not_there_yet_is_waited_for_and_a_wait_can_be_stopped() {
    in_a_namespace(|| {
        let capture = Capture::start_unopened(options("pt0"));
        assert_eq!(capture.waits(), "there is no such interface");
        add_pair();
        assert_eq!(capture.begins(), ETHERNET);
        ip("link del pt0");
        capture.waits();
        let (seen, outcome) = capture.stop();
        assert_eq!((seen.kernel.opens, outcome), (1, Ok(())));
    });
}

#[test]
fn a_filter_that_does_not_fit_ends_the_capture_with_libpcaps_words() {
    in_a_namespace(|| {
        let wrong = CaptureOptions { filter: "tcp prot 80".into(), ..options("lo") };
        let (_, outcome) = Capture::start_unopened(wrong).stop();
        let Err(CaptureError::Filter { message, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("syntax error"), "{message}");
    });
}

#[test]
fn the_default_filter_fits_every_link_type_and_leaves_out_udp() {
    in_a_namespace(|| {
        add_pair();
        ip("tuntap add dev pt2 mode tun");
        ip("link set pt2 up");
        for (interface, link) in [("lo", 1), ("any", 276), ("pt0", 1), ("pt2", 101)] {
            let with_default =
                CaptureOptions { filter: podtap::settings::DEFAULT_CAPTURE_FILTER.into(), ..options(interface) };
            let capture = Capture::start_unopened(with_default);
            assert_eq!(capture.begins(), LinkType(link), "{interface}");
            let exchange = exchange(b"by tcp", b"");
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(MARK, exchange.server).unwrap();
            let (seen, _) = capture.stop();
            assert!(!seen.frames.iter().any(|frame| frame.contains(MARK)));
            let sees_loopback = interface == "lo" || interface == "any";
            let expected = if sees_loopback { &b"by tcp"[..] } else { b"" };
            assert_eq!(seen.payloads(exchange.client, exchange.server), expected);
        }
    });
}

#[test]
fn own_connections_differ_from_others_to_the_same_server() {
    in_a_namespace(|| {
        let own = OwnTraffic::new(&KernelTables::read().own_ips(&[]));
        let capture = Capture::start(options("lo"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let mut connections = Vec::new();
        for announced in [true, false] {
            let mut client = TcpStream::connect(server).unwrap();
            if announced {
                own.add_connection(client.local_addr().unwrap(), server);
            }
            let (mut accepted, _) = listener.accept().unwrap();
            client.write_all(b"x").unwrap();
            accepted.read_exact(&mut [0]).unwrap();
            connections.push((client, announced));
        }
        let (seen, _) = capture.stop();
        let mut view = own.view();
        for (client, announced) in &connections {
            let client = client.local_addr().unwrap();
            let frames: Vec<_> = seen.tuples().filter(|tuple| tuple_has(tuple, client)).collect();
            assert!(frames.len() >= 4, "handshake and data in both directions");
            assert!(frames.iter().all(|tuple| view.is_own(tuple) == *announced));
        }
    });
}

// ---- what the tests above are written in ----

const MARK: &[u8] = b"podtap was here";

fn options(interface: &str) -> CaptureOptions {
    CaptureOptions { filter: String::new(), timeout_ms: 10, ..CaptureOptions::new(interface) }
}

/// A pair of interfaces; what is sent by pt0 needs no neighbour to answer.
fn add_pair() {
    ip("link add pt0 type veth peer name pt1");
    ip("link set pt1 up");
    bring_up();
}

fn bring_up() {
    ip("link set pt0 up");
    ip("addr replace 192.0.2.1/24 dev pt0");
    ip("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev pt0");
}

/// A datagram that leaves by pt0.
fn send_out() {
    UdpSocket::bind("192.0.2.1:0").unwrap().send_to(MARK, "192.0.2.2:9").unwrap();
}

struct Exchange {
    client: SocketAddr,
    server: SocketAddr,
}

fn exchange(question: &[u8], answer: &[u8]) -> Exchange {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut accepted, _) = listener.accept().unwrap();
            let mut got = vec![0; question.len()];
            accepted.read_exact(&mut got).unwrap();
            accepted.write_all(answer).unwrap();
        });
        let mut stream = TcpStream::connect(server).unwrap();
        stream.write_all(question).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got, answer);
        Exchange { client: stream.local_addr().unwrap(), server }
    })
}

/// One frame, kept.
struct Seen {
    at: Timestamp,
    link: LinkType,
    interface: Option<String>,
    data: Vec<u8>,
    wire_len: usize,
}

impl Seen {
    fn contains(&self, bytes: &[u8]) -> bool {
        self.data.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Just enough decoding for IPv4 and TCP behind Ethernet or SLL2: sender and receiver, sequence number, payload.
    fn segment(&self) -> Option<(FiveTuple, u32, &[u8])> {
        let packet = self.data.get(if self.link == SLL2 { 20 } else { 14 }..)?;
        if packet.first()? >> 4 != 4 || packet.get(9)? != &6 {
            return None;
        }
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let packet = packet.get(..total)?;
        let tcp = packet.get(usize::from(packet[0] & 15) * 4..)?;
        let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap();
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let tuple =
            FiveTuple { source: Endpoint::new(address(12), port(0)), destination: Endpoint::new(address(16), port(2)) };
        let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        Some((tuple, seq, tcp.get(usize::from(tcp[12] >> 4) * 4..)?))
    }
}

/// What a capture saw.
#[derive(Default)]
struct Log {
    frames: Vec<Seen>,
    kernel: KernelCounters,
}

impl Log {
    fn tuples(&self) -> impl Iterator<Item = FiveTuple> {
        self.frames.iter().filter_map(|frame| frame.segment().map(|(tuple, ..)| tuple))
    }

    /// What was sent one way, up to the first byte that was not seen. Segments are in the order of their sequence
    /// numbers: on a busy machine loopback sends some again, cut differently, and two cores overtake each other.
    fn payloads(&self, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let end = |address: SocketAddr| Endpoint::new(address.ip(), address.port());
        let wanted = FiveTuple { source: end(from), destination: end(to) };
        let sent = || self.frames.iter().filter_map(Seen::segment).filter(|(tuple, ..)| *tuple == wanted);
        let Some(first) = sent().find(|(.., bytes)| bytes.is_empty()).map(|(_, syn, _)| syn.wrapping_add(1)) else {
            return Vec::new();
        };
        let mut segments: Vec<_> = sent().map(|(_, seq, bytes)| (seq.wrapping_sub(first) as usize, bytes)).collect();
        segments.retain(|(at, bytes)| !bytes.is_empty() && *at < 1 << 31);
        segments.sort_by_key(|(at, _)| *at);
        let mut payload = Vec::new();
        for (at, bytes) in segments {
            if at <= payload.len() {
                payload.extend_from_slice(bytes.get(payload.len() - at..).unwrap_or_default());
            }
        }
        payload
    }
}

enum Event {
    Tick(Timestamp),
    State(CaptureState),
}

/// Keeps everything; reports ticks and states to the test if it listens.
struct Recorder {
    log: Log,
    /// Frames so far that bear the mark.
    marks: Arc<AtomicUsize>,
    states: SyncSender<Event>,
    ticks: SyncSender<Event>,
    /// Until its other end is dropped, the first frame is not taken: the ring fills.
    gate: Option<Receiver<()>>,
}

impl FrameSink for Recorder {
    fn on_frame(&mut self, frame: Frame<'_>) {
        if let Some(gate) = self.gate.take() {
            let _ = gate.recv();
        }
        let seen = Seen {
            at: frame.at,
            link: frame.link,
            interface: frame.interface.map(|name| name.to_string()),
            data: frame.data.to_vec(),
            wire_len: usize::try_from(frame.wire_len).unwrap(),
        };
        let is_marked = seen.data.len() < 100 && seen.contains(MARK);
        self.marks.fetch_add(usize::from(is_marked), Ordering::Relaxed);
        self.log.frames.push(seen);
    }

    fn on_tick(&mut self, now: Timestamp) {
        let _ = self.ticks.try_send(Event::Tick(now));
    }

    fn on_kernel(&mut self, counters: &KernelCounters) {
        self.log.kernel = counters.clone();
    }

    fn on_state(&mut self, state: &CaptureState) {
        self.states.try_send(Event::State(state.clone())).unwrap();
    }
}

/// A running capture, seen from the test.
struct Capture {
    stop: StopSender,
    marks: Arc<AtomicUsize>,
    thread: JoinHandle<(Recorder, Result<(), CaptureError>)>,
    states: Receiver<Event>,
    ticks: Receiver<Event>,
}

impl Capture {
    fn start(options: CaptureOptions) -> Self {
        Self::start_gated(options, None)
    }

    fn start_gated(options: CaptureOptions, gate: Option<Receiver<()>>) -> Self {
        let capture = Self::launch(options, gate);
        capture.begins();
        capture
    }

    /// Does not wait until it is open.
    fn start_unopened(options: CaptureOptions) -> Self {
        Self::launch(options, None)
    }

    fn launch(options: CaptureOptions, gate: Option<Receiver<()>>) -> Self {
        let (stop, stopped) = live::stop_pair().unwrap();
        let (state_sender, states) = sync_channel(1000);
        // No place in the channel: a tick is sent only to a test that waits for it.
        let (tick_sender, ticks) = sync_channel(0);
        let (log, marks) = (Log::default(), Arc::<AtomicUsize>::default());
        let recorder = Recorder { log, marks: Arc::clone(&marks), states: state_sender, ticks: tick_sender, gate };
        let thread = live::spawn(options, stopped, recorder).unwrap();
        Self { stop, marks, thread, states, ticks }
    }

    fn tick(&self) -> Timestamp {
        match self.ticks.recv_timeout(PATIENCE).unwrap() {
            Event::Tick(now) => now,
            Event::State(state) => panic!("{state:?}"),
        }
    }

    fn state(&self) -> CaptureState {
        match self.states.recv_timeout(PATIENCE).unwrap() {
            Event::State(state) => state,
            Event::Tick(now) => panic!("{now}"),
        }
    }

    /// The next state is capturing, perhaps after some attempts.
    fn begins(&self) -> LinkType {
        loop {
            if let CaptureState::Capturing { link } = self.state() {
                return link;
            }
        }
    }

    /// The next state is waiting.
    fn waits(&self) -> String {
        match self.state() {
            CaptureState::Waiting { reason } => reason,
            CaptureState::Capturing { .. } => panic!("still capturing"),
        }
    }

    fn stop(self) -> (Log, Result<(), CaptureError>) {
        self.stop.stop();
        let (recorder, outcome) = self.thread.join().unwrap();
        (recorder.log, outcome)
    }
}

fn tuple_has(tuple: &FiveTuple, end: SocketAddr) -> bool {
    [tuple.source, tuple.destination].contains(&Endpoint::new(end.ip(), end.port()))
}

#[allow(clippy::disallowed_methods, reason = "compares the kernel's time with the wall clock")]
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_nanos()).unwrap())
}
