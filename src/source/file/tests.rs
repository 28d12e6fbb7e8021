use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

/// A frame as the reader gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    at: i64,
    link: u16,
    data: Vec<u8>,
    wire_len: u32,
    interface: Option<String>,
}

fn given(at: i64, link: u16, data: &[u8], wire_len: u32) -> Given {
    Given { at, link, data: data.to_vec(), wire_len, interface: None }
}

/// Gives `read` byte by byte as a pipe may do it: as many as asked for, but never more than `most`.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(self.1);
        self.0.read(&mut buf[..n])
    }
}

fn read(file: impl Read) -> (Vec<Given>, Option<CaptureFileError>) {
    let mut frames = Vec::new();
    let mut reader = match CaptureReader::open(file) {
        Ok(reader) => reader,
        Err(e) => return (frames, Some(e)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(Given {
                interface: frame.interface.map(|name| name.to_string()),
                ..given(frame.at.0, frame.link.0, frame.data, frame.wire_len)
            }),
            Ok(None) => return (frames, None),
            Err(e) => {
                assert!(matches!(reader.next_frame(), Ok(None)), "an error is the end");
                return (frames, Some(e));
            }
        }
    }
}

fn read_well(file: &[u8]) -> Vec<Given> {
    let (frames, error) = read(file);
    assert!(error.is_none(), "{}", error.unwrap());
    assert_eq!(read(Trickle(file, 1)).0, frames, "the same byte by byte");
    frames
}

/// The error, in words.
fn complaint(file: &[u8]) -> String {
    read(file).1.unwrap().to_string()
}

fn gzip(file: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(file).unwrap();
    encoder.finish().unwrap()
}

/// Version 2.4, snap length 64, Ethernet; two records, the second cut to 3 of 9 bytes.
#[rustfmt::skip]
const PCAP: &[u8] = &[
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 1, 0, 0, 0,
    1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0, b'h', b'e', b'l', b'l', b'o',
    3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, b'a', b'b', b'c',
];

/// The same in big endian, with nanoseconds, and with a length of the frame check sequence next to the link type.
#[rustfmt::skip]
const PCAP_NANO_BE: &[u8] = &[
    0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0x44, 0, 0, 1,
    0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 5, b'h', b'e', b'l', b'l', b'o',
    0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 9, b'a', b'b', b'c',
];

/// Kuznetzov's records, of RAW packets.
#[rustfmt::skip]
const PCAP_MODIFIED: &[u8] = &[
    0x34, 0xcd, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 101, 0, 0, 0,
    1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, b'h', b'i',
];

/// A section with interfaces eth0 (Ethernet, microseconds) and a nameless one (RAW, nanoseconds, ten seconds ahead). It
/// has a statistics block, an enhanced, an obsolete and a simple packet; then comes a big-endian section with a binary
/// clock.
#[rustfmt::skip]
const PCAPNG: &[u8] = &[
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0,
    1, 0, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0,
        2, 0, 4, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0, 32, 0, 0, 0,
    1, 0, 0, 0, 44, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0,
        9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0,
    5, 0, 0, 0, 16, 0, 0, 0, 1, 2, 3, 4, 16, 0, 0, 0,
    6, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, b'a', b'b', b'c', 0,
        1, 0, 2, 0, b'x', b'y', 0, 0, 0, 0, 0, 0, 48, 0, 0, 0,
    2, 0, 0, 0, 36, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'h', b'i', 0, 0, 36, 0, 0, 0,
    3, 0, 0, 0, 20, 0, 0, 0, 6, 0, 0, 0, b'w', b'x', b'y', b'z', 20, 0, 0, 0,
    0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28,
    0, 0, 0, 1, 0, 0, 0, 28, 1, 20, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0x81, 0, 0, 0, 0, 0, 0, 28,
    0, 0, 0, 6, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, b'q', 0, 0, 0, 0, 0, 0, 36,
];

fn whole_pcapng() -> Vec<Given> {
    let eth0 = |given| Given { interface: Some("eth0".to_owned()), ..given };
    vec![
        eth0(given(4_294_967_298_000, 1, b"abc", 9)),
        given(10_000_000_005, 101, b"hi", 2),
        eth0(given(10_000_000_005, 1, b"wxyz", 6)),
        given(1_500_000_000, 276, b"q", 1),
    ]
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    let micro = [given(1_000_002_000, 1, b"hello", 5), given(3_000_004_000, 1, b"abc", 9)];
    let nano = [given(1_000_000_002, 1, b"hello", 5), given(3_000_000_004, 1, b"abc", 9)];
    assert_eq!(read_well(PCAP), micro);
    assert_eq!(read_well(PCAP_NANO_BE), nano);
    assert_eq!(read_well(PCAP_MODIFIED), [given(1_000_002_000, 101, b"hi", 2)]);
    assert_eq!(read_well(&PCAP[..24]), []);
}

#[test]
fn old_versions_of_pcap_have_their_lengths_the_other_way_round() {
    let expected = [given(1_000_002_000, 1, b"hello", 5), given(3_000_004_000, 1, b"abc", 9)];
    for (minor, swapped) in [(2, true), (3, true), (3, false), (4, false), (7, false)] {
        let mut file = PCAP.to_vec();
        file[6] = minor;
        if swapped {
            (file[53], file[57]) = (9, 3);
        }
        assert_eq!(read_well(&file), expected, "2.{minor}");
    }
    let mut archaic = PCAP.to_vec();
    archaic[4] = 1;
    assert_eq!(complaint(&archaic), "the file is corrupt at byte 4, after 0 frames: a version before 2.0");
}

#[test]
fn an_interface_name_is_escaped_like_everything_of_the_wire() {
    let mut file = PCAPNG.to_vec();
    let at = file.windows(4).position(|w| w == b"eth0").unwrap();
    file[at..at + 4].copy_from_slice(b"e\x1b\xff\0");
    assert_eq!(read_well(&file)[0].interface.as_deref(), Some("e\\x1b\\xff"));
}

#[test]
fn pcapng_is_read_with_all_its_blocks_clocks_and_sections() {
    assert_eq!(read_well(PCAPNG), whole_pcapng());
}

#[test]
fn clocks_of_any_resolution_give_nanoseconds() {
    let second = 1_000_000_000;
    let table: [(u8, u64, i64); 9] = [
        (0, 3, 3 * second),
        (3, 1_500, 1_500_000_000),
        (6, u64::MAX, i64::MAX),
        (9, 7, 7),
        (12, 7_999, 7),
        (127, u64::MAX, 1),
        (0x80, 3, 3 * second),
        (0x8a, 1_536, 1_500_000_000),
        (0xff, u64::MAX, 0),
    ];
    for (resolution, ticks, nanos) in table {
        let [file, at] = [PCAPNG.len() - 36, PCAPNG.len() - 44];
        let mut bytes = PCAPNG.to_vec();
        bytes[at] = resolution;
        bytes[file + 12..file + 20].copy_from_slice(&ticks.to_be_bytes());
        assert_eq!(read_well(&bytes)[3].at, nanos, "{resolution:#x}");
    }
}

#[test]
fn gzip_is_unpacked_also_in_several_members() {
    assert_eq!(read_well(&gzip(PCAP)), read_well(PCAP));
    assert_eq!(read_well(&gzip(PCAPNG)), whole_pcapng());
    let members = [gzip(&PCAP[..30]), gzip(&PCAP[30..])].concat();
    assert_eq!(read_well(&members), read_well(PCAP));
    let packed = gzip(PCAP);
    let mut reader = CaptureReader::open(packed.as_slice()).unwrap();
    while reader.next_frame().unwrap().is_some() {}
    assert_eq!(reader.bytes_read(), packed.len() as u64);
}

#[test]
fn a_frame_longer_than_the_buffer_is_read_whole() {
    let long = vec![7; 1 << 20];
    let mut file = PCAP.to_vec();
    file[16..20].copy_from_slice(&[0, 0, 16, 0]);
    file.extend([[9, 0, 0, 0, 0, 0, 0, 0], [0, 0, 16, 0, 0, 0, 16, 0]].concat());
    file.extend(&long);
    file.extend(&PCAP[24..45]);
    let frames = read_well(&file);
    assert_eq!(frames.iter().map(|frame| frame.data.len()).collect::<Vec<_>>(), [5, 3, 1 << 20, 5]);
    assert_eq!(frames[2].data, long);
}

/// Where each whole frame ends.
const ENDS: [(&[u8], &[usize]); 4] =
    [(PCAP, &[45, 64]), (PCAP_NANO_BE, &[45, 64]), (PCAP_MODIFIED, &[50]), (PCAPNG, &[168, 204, 224, PCAPNG.len()])];

#[test]
fn a_file_cut_anywhere_gives_its_whole_frames_and_then_the_error() {
    for (file, ends) in ENDS {
        let all = read_well(file);
        for len in 0..file.len() {
            let (frames, error) = read(&file[..len]);
            assert_eq!(frames, all[..ends.iter().filter(|end| **end <= len).count()]);
            match error {
                Some(CaptureFileError::Empty) => assert_eq!(len, 0),
                Some(CaptureFileError::NotACapture { first }) => assert!(len < 4 && first == file[..len]),
                Some(CaptureFileError::Cut { frames: given, offset }) => {
                    assert_eq!(given as usize, frames.len());
                    assert!(offset < len as u64);
                }
                None => assert!(len >= 24, "only behind a header, between blocks"),
                Some(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_packed_file_cut_anywhere_never_ends_cleanly() {
    let packed = gzip(PCAPNG);
    for len in 1..packed.len() {
        let (frames, error) = read(&packed[..len]);
        assert_eq!(frames, whole_pcapng()[..frames.len()]);
        assert!(error.is_some(), "{len}");
    }
}

#[test]
fn the_cut_is_named_by_its_place() {
    let expected = "the file is cut: what begins at byte 45, after 1 frame, is not whole";
    assert_eq!(complaint(&PCAP[..63]), expected);
    assert_eq!(complaint(&gzip(&PCAP[..63])), expected);
}

#[test]
fn what_is_no_capture_is_shown_by_its_first_bytes() {
    assert_eq!(complaint(b""), "the file is empty");
    assert_eq!(complaint(&gzip(b"")), "the file is empty");
    assert_eq!(complaint(b"hi\x1b"), "not a pcap or pcapng file: it begins with 68 69 1b");
    assert_eq!(complaint(b"{\"a\": 1234}"), "not a pcap or pcapng file: it begins with 7b 22 61 22 3a 20 31 32 (JSON)");
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 4, 0];
    let expected = "not a pcap or pcapng file: it begins with 28 b5 2f fd 04 00 (zstd: unpack it first)";
    assert_eq!(complaint(&zstd), expected);
    assert!(complaint(&[0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]).starts_with("cannot read on at byte 0"));
}

/// The file with bytes replaced.
fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let table: [(Vec<u8>, &str); 11] = [
        (with(PCAP, 53, &[255; 4]), "byte 45, after 1 frame: a record of 4294967295 bytes, where 262144 are the limit"),
        (
            with(&with(PCAP, 53, &[255; 4]), 16, &[255; 4]),
            "byte 45, after 1 frame: a record of 4294967295 bytes, where 268435456 are the limit",
        ),
        (with(PCAPNG, 8, &[0]), "byte 0, after 0 frames: a section header without byte-order magic"),
        (with(PCAPNG, 12, &[2]), "byte 0, after 0 frames: pcapng of version 2"),
        (with(PCAPNG, 32, &[33]), "byte 28, after 0 frames: a block of 33 bytes"),
        (with(PCAPNG, 32, &[8]), "byte 28, after 0 frames: a block of 8 bytes"),
        (with(PCAPNG, 56, &[36]), "byte 28, after 0 frames: a block that begins with length 32 and ends with 36"),
        (with(PCAPNG, 46, &[40]), "byte 28, after 0 frames: an interface option of 40 bytes in 8"),
        (with(PCAPNG, 128, &[2]), "byte 120, after 0 frames: a frame of unknown interface 2"),
        (with(PCAPNG, 140, &[17]), "byte 120, after 0 frames: a frame of 17 bytes in a block with room for 16"),
        (
            with(PCAPNG, 175, &[32]),
            "byte 168, after 1 frame: a block of 536870948 bytes, where 268435456 are the limit",
        ),
    ];
    for (file, expected) in table {
        assert_eq!(complaint(&file), format!("the file is corrupt at {expected}"));
    }
}

#[test]
fn a_block_of_no_interest_may_be_longer_than_the_limit() {
    let file = with(PCAPNG, 104, &[5, 0, 0, 0, 0, 0, 0, 32]);
    assert_eq!(complaint(&file), "the file is cut: what begins at byte 104, after 0 frames, is not whole");
}

#[test]
fn a_claimed_length_allocates_nothing_before_the_bytes_are_there() {
    let file = with(PCAP, 16, &[0, 0, 0, 16]);
    let mut reader = CaptureReader::open(Trickle(&file, 7)).unwrap();
    while reader.next_frame().unwrap().is_some() {}
    let claims = with(&file, 32, &[0, 0, 0, 15]);
    let mut reader = CaptureReader::open(claims.as_slice()).unwrap();
    assert!(matches!(reader.next_frame(), Err(CaptureFileError::Cut { frames: 0, offset: 24 })));
    assert_eq!(reader.window.capacity(), 256 << 10);
}

#[test]
fn a_read_that_fails_is_reported_after_the_frames_before_it() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let (frames, error) = read(PCAP[..50].chain(Broken));
    assert_eq!(frames.len(), 1);
    assert_eq!(error.unwrap().to_string(), "cannot read on at byte 50, after 1 frame: the disk is gone");
}

proptest! {
    #[test]
    fn no_change_to_a_file_makes_it_panic_or_lose_what_came_before(
        which in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        packed in any::<bool>(),
    ) {
        let (file, ends) = ENDS[which];
        let mut changed = file.to_vec();
        let mut first = file.len();
        for (at, value) in changes {
            let at = at.index(file.len());
            first = first.min(at);
            changed[at] = value;
        }
        let all = read_well(file);
        let intact = ends.iter().filter(|end| **end <= first).count();
        let (frames, _) = if packed { read(gzip(&changed).as_slice()) } else { read(changed.as_slice()) };
        prop_assert!(frames.len() >= intact);
        prop_assert_eq!(&frames[..intact], &all[..intact]);
    }

    #[test]
    fn no_bytes_behind_a_magic_make_it_panic(
        magic in prop::sample::select(vec![&PCAP[..4], &PCAP_NANO_BE[..4], &PCAPNG[..28], &[0x1f, 0x8b, 8, 0]]),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        read([magic, &rest].concat().as_slice());
    }
}
