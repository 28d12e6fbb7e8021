use super::*;
use etherparse::{SlicedPacket, TransportSlice};

/// `C` or `S`, flags, stream offset, acknowledged offset, payload length; and microseconds since the first frame.
fn story(frames: &[SynthFrame]) -> Vec<String> {
    let mut isns = [0u32; 2];
    let line = |frame: &SynthFrame| {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
        let from = usize::from(tcp.source_port() == 80);
        if tcp.syn() {
            isns[from] = tcp.sequence_number();
        }
        let flags: String = [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), 'A')]
            .iter()
            .filter_map(|(set, letter)| set.then_some(*letter))
            .collect();
        let seq = tcp.sequence_number().wrapping_sub(isns[from]);
        let ack = if tcp.ack() { tcp.acknowledgment_number().wrapping_sub(isns[1 - from]) } else { 0 };
        let micros = frame.at.since(frames[0].at) / 1000;
        format!("{} {flags} {seq}/{ack}+{} {micros}", ['C', 'S'][from], tcp.payload().len())
    };
    frames.iter().map(line).collect()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_exchange_on_a_new_connection_is_ten_frames_when_every_segment_is_acknowledged() {
    let frames = Conversation::default()
        .acks(AckPolicy::Every)
        .rtt(MS)
        .handshake()
        .client("GET")
        .after(5 * MS)
        .server("OK")
        .close()
        .frames();
    let expected = [
        "C S 0/0+0 0",
        "S SA 0/1+0 1000",
        "C A 1/1+0 1001",
        "C PA 1/1+3 1002",
        "S A 1/4+0 2002",
        "S PA 1/4+2 7002",
        "C A 4/3+0 7003",
        "C FA 4/3+0 7004",
        "S FA 3/5+0 8004",
        "C A 5/4+0 8005",
    ];
    assert_eq!(story(&frames), expected);
}

#[test]
fn next_to_the_server_it_is_the_client_that_takes_a_round_trip() {
    let frames = Conversation::default().rtt(MS).tap_at_server().handshake().client("GET").server("OK").frames();
    let expected = ["C S 0/0+0 0", "S SA 0/1+0 1", "C A 1/1+0 1001", "C PA 1/1+3 1002", "S PA 1/4+2 1003"];
    assert_eq!(story(&frames), expected);
}

#[test]
fn a_large_message_is_segmented_and_every_second_segment_acknowledged() {
    let frames = Conversation::default().rtt(MS).handshake().client("GET").server(vec![b'x'; 4000]).frames();
    let expected = ["S A 1/4+1448 2002", "S A 1449/4+1448 2003", "C A 4/2897+0 2004", "S PA 2897/4+1104 2005"];
    assert_eq!(story(&frames)[4..], expected);
}

#[test]
fn a_held_back_acknowledgement_comes_after_40_ms() {
    let frames = Conversation::default().rtt(MS).handshake().client("GET").after(100 * MS).server("OK").frames();
    assert_eq!(story(&frames)[3..], ["C PA 1/1+3 1002", "S A 1/4+0 42002", "S PA 1/4+2 102002"]);
}

#[test]
fn lost_bytes_move_the_stream_and_sent_again_ones_do_not() {
    let frames = Conversation::default()
        .acks(AckPolicy::Piggyback)
        .initial_seqs(u32::MAX - 1, 5)
        .handshake()
        .client("abc")
        .lose(SynthSide::Client, 10)
        .client("def")
        .send_at(SynthSide::Client, 0, "abc")
        .server("x")
        .server_rst()
        .frames();
    let story: Vec<String> = story(&frames).iter().map(|s| s.rsplit_once(' ').unwrap().0.to_owned()).collect();
    assert_eq!(story[3..], ["C PA 1/1+3", "C PA 14/1+3", "C PA 1/1+3", "S PA 1/17+1", "S RA 2/17+0"]);
}

#[test]
fn draining_bit_by_bit_gives_the_same_frames_as_all_at_once() {
    let step = |c: Conversation| c.client(vec![b'q'; 5000]).after(50 * MS).server(vec![b'a'; 3000]).after(MS);
    let whole = step(step(Conversation::default().handshake())).frames();
    let mut conversation = Conversation::default().handshake();
    let mut parts = conversation.drain();
    for _ in 0..2 {
        conversation = step(conversation);
        parts.extend(conversation.drain());
    }
    parts.extend(conversation.frames());
    assert_eq!(parts, whole);
    assert!(whole.is_sorted_by_key(|frame| frame.at));
}
