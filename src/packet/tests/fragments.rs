use super::*;
use crate::flow::Timestamp;

const SECOND: i64 = 1_000_000_000;

/// Feeds packets, one a second unless asked otherwise, and gives the payload of each segment that came out.
struct Feed {
    decoder: FrameDecoder,
    now: i64,
}

impl Feed {
    fn new(limits: FragmentLimits) -> Self {
        Self { decoder: FrameDecoder::new(limits), now: 0 }
    }

    fn packet(&mut self, packet: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.cut(packet, packet.len())
    }

    fn cut(&mut self, packet: &[u8], captured: usize) -> Option<(Vec<u8>, u32)> {
        self.now += SECOND;
        let frame = Frame { at: Timestamp(self.now), data: &packet[..captured], ..frame(101, packet) };
        let segment = self.decoder.decode(&frame).map(|segment| {
            assert_eq!(segment.at, frame.at);
            (segment.payload.to_vec(), segment.payload_len)
        });
        assert_balanced(self.decoder.ledger());
        segment
    }

    /// Segments, fragments, of them lost, dropped on arrival.
    fn counts(&self) -> [u64; 4] {
        let ledger = self.decoder.ledger();
        let dropped = ledger.skipped.at(Skip::FragmentDropped as usize);
        [ledger.segments, ledger.fragments, ledger.fragments_lost, dropped]
    }
}

fn feed() -> Feed {
    Feed::new(FragmentLimits::default())
}

fn body() -> Vec<u8> {
    (0..100u8).collect()
}

/// Bytes `from..to` of the datagram.
fn four(id: u16, from: usize, to: usize) -> Vec<u8> {
    let datagram = tcp(&body());
    ipv4_fragment(TCP, id, from, to < datagram.len(), &datagram[from..to])
}

fn six(id: u32, from: usize, to: usize) -> Vec<u8> {
    let datagram = extension(TCP, &tcp(&body()));
    ipv6_fragment(60, id, from, to < datagram.len(), &datagram[from..to])
}

#[test]
fn fragments_in_any_order_give_the_segment_with_the_last() {
    let parts = [(0, 24), (24, 64), (64, 124)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut feed = feed();
        let given: Vec<_> =
            order.map(|i| feed.packet(&four(1, parts[i].0, parts[i].1))).into_iter().flatten().collect();
        assert_eq!(given, [(body(), 100)]);
        assert_eq!(feed.counts(), [1, 2, 0, 0]);
    }
}

#[test]
fn extension_headers_of_ipv6_may_lie_in_the_fragmented_part() {
    let mut feed = feed();
    assert_eq!(feed.packet(&six(1, 64, 132)), None);
    assert_eq!(feed.packet(&six(1, 0, 64)), Some((body(), 100)));
}

#[test]
fn datagrams_differ_by_identification_protocol_and_addresses() {
    let mut feed = feed();
    assert_eq!(feed.packet(&four(1, 0, 64)), None);
    assert_eq!(feed.packet(&four(2, 64, 124)), None);
    let mut other = four(1, 64, 124);
    other[15] = 9;
    assert_eq!(feed.packet(&other), None);
    let mut other = four(1, 64, 124);
    other[9] = UDP;
    assert_eq!(feed.packet(&other), None);
    assert_eq!(feed.packet(&four(1, 64, 124)), Some((body(), 100)));
}

#[test]
fn a_tunnel_in_fragments_is_opened_once_it_is_whole() {
    let outer = udp(4789, &vxlan(&ethernet(0x86dd, &v6())));
    let mut feed = feed();
    assert_eq!(feed.packet(&ipv4_fragment(UDP, 1, 0, true, &outer[..80])), None);
    assert_eq!(feed.packet(&ipv4_fragment(UDP, 1, 80, false, &outer[80..])), Some((PAYLOAD.to_vec(), 18)));
    let outer = udp(53, &[0; 80]);
    assert_eq!(feed.packet(&ipv4_fragment(UDP, 2, 0, true, &outer[..80])), None);
    assert_eq!(feed.packet(&ipv4_fragment(UDP, 2, 80, false, &outer[80..])), None);
    assert_eq!(feed.decoder.ledger().skipped.at(Skip::NotTcp as usize), 1);
}

#[test]
fn a_duplicate_is_ignored_and_the_first_copy_wins() {
    let mut feed = feed();
    let mut forged = four(1, 32, 64);
    forged[20..].fill(0);
    assert_eq!(feed.packet(&four(1, 0, 24)), None);
    assert_eq!(feed.packet(&four(1, 24, 64)), None);
    assert_eq!(feed.packet(&forged), None);
    assert_eq!(feed.packet(&four(1, 0, 64)), None);
    assert_eq!(feed.packet(&four(1, 64, 124)), Some((body(), 100)));
    assert_eq!(feed.counts(), [1, 4, 0, 0]);
}

#[test]
fn an_overlap_condemns_the_datagram_and_all_that_is_still_to_come() {
    type Make = fn(usize, usize) -> Vec<u8>;
    for make in [(|from, to| four(1, from, to)) as Make, |from, to| six(1, from, to)] {
        let mut feed = feed();
        assert_eq!(feed.packet(&make(0, 64)), None);
        assert_eq!(feed.packet(&make(56, 80)), None);
        assert_eq!(feed.packet(&make(64, 80)), None);
        assert_eq!(feed.counts(), [0, 1, 1, 2]);
    }
}

#[test]
fn a_duplicate_with_other_content_condemns_a_datagram_of_ipv6() {
    let mut feed = feed();
    let mut forged = six(1, 0, 64);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(feed.packet(&six(1, 0, 64)), None);
    assert_eq!(feed.packet(&six(1, 0, 64)), None);
    assert_eq!(feed.packet(&forged), None);
    assert_eq!(feed.packet(&six(1, 64, 132)), None);
    assert_eq!(feed.counts(), [0, 2, 2, 2]);
}

#[test]
fn two_different_ends_condemn_the_datagram() {
    let mut feed = feed();
    assert_eq!(feed.packet(&ipv4_fragment(TCP, 1, 64, false, &[0; 40])), None);
    assert_eq!(feed.packet(&ipv4_fragment(TCP, 1, 120, true, &[0; 8])), None);
    assert_eq!(feed.packet(&ipv4_fragment(TCP, 2, 64, true, &[0; 40])), None);
    assert_eq!(feed.packet(&ipv4_fragment(TCP, 2, 32, false, &[0; 8])), None);
    assert_eq!(feed.counts(), [0, 2, 2, 2]);
}

#[test]
fn impossible_fragments_are_malformed() {
    let ragged = ipv4_fragment(TCP, 1, 0, true, &[0; 30]);
    let empty = ipv4_fragment(TCP, 1, 8, false, &[]);
    let beyond = ipv4_fragment(TCP, 1, 65_528, false, &[0; 8]);
    for packet in [ragged, empty, beyond] {
        assert_eq!(skip(&frame(228, &packet)), Some(Skip::Malformed));
    }
}

#[test]
fn a_cut_fragment_ends_the_payload_there_and_leaves_its_length() {
    let mut feed = feed();
    let first = four(1, 0, 64);
    assert_eq!(feed.cut(&first, first.len() - 10), None);
    assert_eq!(feed.packet(&four(1, 64, 124)), Some((body()[..30].to_vec(), 100)));
}

#[test]
fn the_oldest_datagram_makes_room_for_one_too_many() {
    let mut feed = Feed::new(FragmentLimits { datagrams: 2, ..FragmentLimits::default() });
    for id in [1, 2, 3] {
        assert_eq!(feed.packet(&four(id, 0, 64)), None);
    }
    assert_eq!(feed.counts(), [0, 3, 1, 0]);
    assert_eq!(feed.packet(&four(2, 64, 124)), Some((body(), 100)));
    assert_eq!(feed.packet(&four(3, 64, 124)), Some((body(), 100)));
    assert_eq!(feed.packet(&four(1, 64, 124)), None);
}

#[test]
fn the_oldest_datagram_makes_room_for_bytes() {
    let limits = FragmentLimits { bytes: 430, ..FragmentLimits::default() };
    let mut feed = Feed::new(limits);
    assert_eq!(feed.packet(&four(1, 0, 64)), None);
    assert_eq!(feed.packet(&four(2, 0, 64)), None);
    assert_eq!(feed.packet(&four(3, 0, 64)), None);
    assert_eq!(feed.counts(), [0, 3, 1, 0]);
    let big = ipv4_fragment(TCP, 4, 0, true, &[0; 480]);
    assert_eq!(feed.packet(&big), None);
    assert_eq!(feed.counts(), [0, 3, 1, 1]);
}

#[test]
fn a_datagram_that_stays_incomplete_is_given_up_in_time() {
    let mut feed = feed();
    assert_eq!(feed.packet(&four(1, 0, 64)), None);
    feed.now += 40 * SECOND;
    assert_eq!(feed.packet(&four(1, 64, 124)), None);
    assert_eq!(feed.counts(), [0, 2, 1, 0]);
    feed.decoder.on_timeout(Timestamp(feed.now + 40 * SECOND));
    assert_eq!(feed.counts(), [0, 2, 2, 0]);
    assert_eq!(feed.packet(&four(2, 0, 64)), None);
    feed.decoder.finish();
    assert_eq!(feed.counts(), [0, 3, 3, 0]);
}

proptest! {
    /// Whatever fragments come, what is held stays within its limits and every frame is accounted for.
    #[test]
    fn a_flood_of_fragments_stays_within_its_limits(
        flood in prop::collection::vec((0..6u16, 0..40usize, any::<bool>(), 0..6usize, 0..20i64, any::<bool>()), 0..60),
    ) {
        let limits = FragmentLimits { datagrams: 3, bytes: 1000, age: 30 * SECOND as u64 };
        let mut feed = Feed::new(limits);
        for (id, offset, more, len, seconds, v6) in flood {
            let payload = vec![id as u8; len * 8 + usize::from(!more)];
            feed.now += (seconds - 2) * SECOND;
            feed.packet(&if v6 {
                ipv6_fragment(TCP, id.into(), offset * 8, more, &payload)
            } else {
                ipv4_fragment(TCP, id, offset * 8, more, &payload)
            });
            prop_assert!(feed.decoder.fragments_within(limits));
        }
        let ledger = feed.decoder.ledger();
        prop_assert!(ledger.fragments_lost <= ledger.fragments);
    }
}
