use proptest::prelude::*;

use super::*;
use crate::flow::Timestamp;
use crate::record::Dataset;

const MARKER: Marker = [7, 0, 255, 3];

/// A segment that is still growing: these bodies, and the offset behind each record.
fn growing(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let mut out = SegmentHeader::new(MARKER, "fake/ecs").encode();
    let mut ends = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        let id = format!("id-{n}");
        let dataset = Dataset::ALL[n % Dataset::COUNT];
        let item = BatchItem { id: &id, at: Timestamp(n as i64 - 1), dataset, body };
        assert!(encode_record(&mut out, MARKER, n as u32, &item));
        ends.push(out.len());
    }
    (out, ends)
}

fn complete(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = growing(bodies).0;
    out.extend_from_slice(&SegmentHeader::new(MARKER, "fake/ecs").footer(bodies.len() as u32));
    out
}

/// What a reader gets.
#[derive(Debug, Default, PartialEq)]
struct Got {
    records: Vec<(u32, Vec<u8>)>,
    lost: u64,
    damaged: u64,
    unknown: u64,
}

fn read(bytes: &[u8]) -> Option<Got> {
    let mut records = open(bytes).ok()?.records(0);
    let mut got = Got::default();
    for stored in records.by_ref() {
        let n = stored.ordinal as usize;
        assert_eq!((stored.item.id, stored.item.dataset), (&*format!("id-{n}"), Dataset::ALL[n % Dataset::COUNT]));
        got.records.push((stored.ordinal, stored.item.body.to_vec()));
    }
    (got.lost, got.damaged, got.unknown) = (records.lost, records.damaged, records.unknown);
    Some(got)
}

fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let any = proptest::collection::vec(any::<u8>(), 0..60);
    let nasty = prop_oneof![Just(MARKER.to_vec()), Just(MAGIC.to_vec()), Just(Vec::new())];
    proptest::collection::vec(prop_oneof![3 => any, 1 => nasty], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_prefix_of_the_bytes_gives_a_prefix_of_the_records_and_is_no_loss(bodies in bodies(), is_complete in any::<bool>()) {
        let (mut bytes, ends) = growing(&bodies);
        if is_complete {
            bytes = complete(&bodies);
        }
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let Some(got) = read(&bytes[..cut]) else {
                prop_assert!(cut < HEADER);
                continue;
            };
            prop_assert!(got.records.into_iter().eq((0..).zip(bodies.iter().cloned()).take(whole)), "{}", cut);
            prop_assert_eq!((got.lost, got.unknown), (0, 0), "{}", cut);
        }
    }

    #[test]
    fn a_damaged_byte_costs_at_most_its_record_and_what_it_costs_is_known(
        bodies in bodies(), flip in 1u8.., is_complete in any::<bool>()
    ) {
        let (_, ends) = growing(&bodies);
        let bytes = if is_complete { complete(&bodies) } else { growing(&bodies).0 };
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let hit = (at >= HEADER).then(|| ends.iter().filter(|end| **end <= at).count());
            let got = read(&damaged).unwrap();
            let expected = (0..).zip(bodies.iter().cloned()).filter(|(n, _)| Some(*n as usize) != hit);
            prop_assert!(got.records.into_iter().eq(expected), "byte {}", at);
            prop_assert!(got.damaged > 0);
            // Only of the last one, and only while the segment grows, no one knows that it was one.
            let is_lost = hit.is_some_and(|hit| hit < bodies.len());
            let may_be_unknown = !is_complete && hit == Some(bodies.len() - 1);
            prop_assert!(got.lost == u64::from(is_lost) && got.unknown == 0 || may_be_unknown && got.unknown > 0, "byte {}", at);
        }
    }

    #[test]
    fn whatever_a_page_of_damage_hits_the_loss_is_counted_exactly_or_in_bytes(
        bodies in bodies(), start in 0usize..600, length in 1usize..200, value in any::<u8>()
    ) {
        let mut bytes = complete(&bodies);
        let start = start % bytes.len();
        let end = (start + length).min(bytes.len());
        bytes[start..end].fill(value);
        if let Some(got) = read(&bytes) {
            let missing = bodies.len() as u64 - got.records.len() as u64;
            prop_assert!(got.lost == missing || got.unknown > 0 && got.lost < missing.max(1), "{} of {}: {:?}", missing, bodies.len(), got);
        }
    }

    #[test]
    fn no_bytes_panic_and_every_one_is_accounted_for(
        noise in proptest::collection::vec(any::<u8>(), 0..300), whole in any::<bool>()
    ) {
        let mut bytes = if whole { growing(&[b"a".to_vec()]).0 } else { Vec::new() };
        bytes.extend_from_slice(&noise);
        if let Some(found) = survey(&bytes) {
            prop_assert!(!whole || !found.ids.is_empty());
            prop_assert_eq!(found.whole + found.damaged, bytes.len() as u64);
        }
    }
}

#[test]
fn the_footer_alone_is_enough_to_read_a_segment_whose_header_is_gone() {
    let mut bytes = complete(&[b"a".to_vec(), b"b".to_vec()]);
    bytes[..HEADER].fill(0);
    let got = read(&bytes).unwrap();
    assert_eq!((got.records.len(), got.lost, got.damaged), (2, 0, HEADER as u64));
    let mut growing = growing(&[b"a".to_vec()]).0;
    growing[..HEADER].fill(0);
    assert_eq!(open(&growing), Err(BadHeader::Damaged));
}

#[test]
fn a_damaged_header_is_neither_a_torn_one_nor_another_version() {
    let bytes = growing(&[]).0;
    assert_eq!(open(&bytes).unwrap().header.encoding.as_ref(), "fake/ecs");
    for cut in 0..HEADER {
        assert_eq!(open(&bytes[..cut]), Err(BadHeader::Torn), "{cut}");
    }
    let mut later = bytes.clone();
    (later[7], later[BLOCK + 7]) = (b'3', b'3');
    assert_eq!(open(&later), Err(BadHeader::OtherVersion));
    assert_eq!(open(b"podtapS9 and less than a header"), Err(BadHeader::OtherVersion));
    let mut older = bytes.clone();
    older[7] = b'1';
    assert_eq!(open(&older).unwrap().header, open(&bytes).unwrap().header, "the second copy counts");
    let mut both = bytes;
    (both[9], both[BLOCK + 20]) = (1, 1);
    assert_eq!(open(&both), Err(BadHeader::Damaged));
}

#[test]
fn an_id_longer_than_its_length_field_is_refused() {
    let id = "x".repeat(70_000);
    let mut out = Vec::new();
    let item = BatchItem { id: &id, at: Timestamp(0), dataset: Dataset::Http, body: b"" };
    assert!(!encode_record(&mut out, MARKER, 0, &item));
    assert!(out.is_empty());
}
