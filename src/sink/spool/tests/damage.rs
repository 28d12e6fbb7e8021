//! Torn, damaged and missing segments: what comes back of them, and what is known to be lost.

use super::*;

/// The bytes of one segment file with `records` records.
fn one_segment(dir: &Dir, records: usize) -> (PathBuf, Vec<u8>) {
    put(&mut dir.open().0, &numbered(0..records));
    let path = dir.segments().remove(0);
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// A kill may stop a write at any byte.
#[test]
fn any_prefix_of_a_segment_recovers_a_prefix_of_its_records_and_new_ones_go_behind() {
    let dir = Dir::new();
    let (path, bytes) = one_segment(&dir, 6);
    let mut recovered = BTreeSet::new();
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let (mut spool, opened) = dir.open();
        put(&mut spool, &numbered(90..92));
        let n = opened.records.total() as usize;
        let expected: Vec<_> = (0..n).chain(90..92).collect();
        assert_eq!((drain(&mut spool), opened.lost), ((expected, 0), 0), "cut at {cut}");
        recovered.insert(n);
    }
    assert_eq!(recovered, (0..=6).collect());
}

/// The worst that one byte can do is to cost the record it belongs to.
#[test]
fn any_damaged_byte_costs_at_most_its_record_and_what_is_lost_is_known() {
    let dir = Dir::new();
    let (path, growing) = one_segment(&dir, 5);
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..5));
    spool.close();
    drop(spool);
    let complete = fs::read(dir.segments().pop().unwrap()).unwrap();
    for (bytes, is_complete) in [(growing, false), (complete, true)] {
        for segment in dir.segments() {
            fs::remove_file(segment).unwrap();
        }
        let _ = fs::remove_file(dir.0.join("fake/index"));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            fs::write(&path, &damaged).unwrap();
            let (mut spool, opened) = dir.open();
            let got = drain(&mut spool).0;
            assert_eq!(got.len() as u64, opened.records.total());
            assert!(opened.damaged_bytes > 0, "byte {at}");
            match 5 - got.len() as u64 {
                0 => assert_eq!((opened.lost, opened.unknown_bytes), (0, 0), "byte {at}"),
                1 if opened.lost == 0 => assert!(!is_complete && opened.unknown_bytes > 0, "byte {at}"),
                1 => assert_eq!((opened.lost, opened.unknown_bytes), (1, 0), "byte {at}"),
                lost => panic!("byte {at}: {lost} lost"),
            }
            let _ = fs::remove_file(&path);
        }
    }
}

/// Of the segment that grew when podtap was killed, the index knows only that it was there.
#[test]
fn a_segment_that_grew_and_is_gone_is_missed_and_one_that_was_delivered_is_not() {
    type Damage = fn(&Path);
    let cases: [(Damage, u64, u64); 4] = [
        (|path| fs::remove_file(path).unwrap(), 1, 0),
        (|path| fs::write(path, "").unwrap(), 1, 0),
        (|path| fs::write(path, [0; 300]).unwrap(), 0, 300),
        (|_| {}, 0, 0),
    ];
    for (damage, missing_segments, unknown_bytes) in cases {
        let dir = Dir::new();
        let (mut spool, _) = dir.open();
        put(&mut spool, &numbered(0..5));
        assert_eq!(drain(&mut spool), ((0..5).collect(), 0));
        put(&mut spool, &numbered(5..9));
        drop(spool);
        damage(&dir.segments()[0]);
        let (mut spool, opened) = dir.open();
        assert_eq!((opened.missing_segments, opened.unknown_bytes, opened.lost), (missing_segments, unknown_bytes, 0));
        drain(&mut spool);
        drop(spool);
        assert_eq!(dir.open().1, OpenedSpool::default(), "counted once");
    }
}

/// What was settled before its segment vanished is not lost.
#[test]
fn of_a_missing_segment_only_what_was_not_settled_is_lost() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..10));
    spool.close();
    let (TakenRecords::Batch(_, ticket), NONE) = spool.take(&THREE, 1) else { panic!() };
    spool.settle(ticket);
    drop(spool);
    fs::remove_file(&dir.segments()[0]).unwrap();
    assert_eq!(dir.open().1, OpenedSpool { lost: 7, ..OpenedSpool::default() });
}

#[test]
fn a_segment_that_vanishes_while_podtap_runs_is_not_left_for_the_next_run() {
    let dir = Dir::new();
    let (mut spool, _) = dir.open();
    put(&mut spool, &numbered(0..4));
    fs::remove_file(&dir.segments()[0]).unwrap();
    assert_eq!((spool.close(), spool.bytes()), (http(4), 0));
    drop(spool);
    assert_eq!(dir.open().1, OpenedSpool::default());
}
