use std::sync::Arc;

use proptest::prelude::*;

use super::super::super::{BlockPiece, RecordBlock};
use super::*;

/// One block; ids are 0, 1, …, times 1 s and as many nanoseconds.
fn batch(bodies: &[&[u8]]) -> Batch {
    let mut block = RecordBlock::default();
    for (i, body) in bodies.iter().enumerate() {
        let at = Timestamp(1_000_000_000 + i as i64);
        block.push(crate::record::Dataset::Http, |out| {
            out.extend_from_slice(body);
            (i.to_string().as_str().into(), at)
        });
    }
    let mut batch = Batch::default();
    batch.push(BlockPiece::whole(Arc::new(block)));
    batch
}

fn credentials() -> ForwardCredentials {
    ForwardCredentials { shared_key: "k3y".into(), username: "me".into(), password: "pw".into() }
}

/// What Python's hashlib makes of the nonce f0…ff, this salt, the salt ff 00 `salt` for the password, and the above.
const SALT: &str = "0123456789abcdef0123456789abcdef";
const CLIENT: &str = "73afc7eace563f3326005a0e30563eba0a3aaf39948da4ae8e16489a4efb0bf366b8209ea74fd7c94ead55491095e26960f77bb5a1ed306043142ba72b28f162";
const USER: &str = "f6384bbfbff4204223b456fa89574eea8011584073d8f74fdf979e4cffa6213f26103affa0e4aa6b19f137c3b2dbef2c01b616c23af9921367dde9ccbc359183";
const SERVER: &str = "0769706125db43675d946e43fe82cc07a590d15bc363840360119f28bc8977cf8c014069128e68393d3577bda35dd748b7a271b31dee22c67c432c75053e0645";

fn nonce() -> Vec<u8> {
    (0xf0..=0xff).collect()
}

#[test]
fn a_chunk_is_packed_forward_with_event_times_and_its_name() {
    let mut packer = BatchPacker::new("tag", ForwardCompression::None);
    let batch = batch(&[b"\x81\xa1a\x01", b"\x80"]);
    let packed = packer.pack(&batch, Some("id")).unwrap();
    let entries = b"\x92\xd7\0\0\0\0\x01\0\0\0\0\x81\xa1a\x01\x92\xd7\0\0\0\0\x01\0\0\0\x01\x80";
    let expected =
        [b"\x93\xa3tag\xc6\0\0\0\x1b".as_slice(), entries, b"\x82\xa4size\x02\xa5chunk\xa2id".as_slice()].concat();
    assert_eq!(packed.message, expected);
    assert_eq!((packed.records, packed.rejected), (2, vec![]));
}

#[test]
fn without_acknowledgements_a_chunk_has_no_name() {
    let mut packer = BatchPacker::new("tag", ForwardCompression::None);
    let packed = packer.pack(&batch(&[b"\x80"]), None).unwrap();
    assert!(packed.message.ends_with(b"\x80\x81\xa4size\x01"), "{:02x?}", packed.message);
}

#[test]
fn a_compressed_chunk_holds_the_same_entries() {
    use std::io::Read;
    let bodies: Vec<&[u8]> = vec![b"\x81\xa1a\xa4same"; 300];
    let batch = batch(&bodies);
    let mut plain = BatchPacker::new("t", ForwardCompression::None);
    let plain = plain.pack(&batch, Some("id")).unwrap();
    let mut packer = BatchPacker::new("t", ForwardCompression::Gzip);
    for _again in 0..2 {
        let packed = packer.pack(&batch, Some("id")).unwrap();
        assert!(packed.message.len() < plain.message.len() / 3);
        let (entries, behind) = packed.message[8..].split_at(packed.message.len() - 8 - 34);
        assert_eq!(behind, b"\x83\xa4size\xcd\x01\x2c\xa5chunk\xa2id\xaacompressed\xa4gzip");
        let length = u32::from_be_bytes(packed.message[4..8].try_into().unwrap());
        assert_eq!(length as usize, entries.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(entries).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.message[8..8 + unpacked.len()]);
        assert_eq!(packed.records, 300);
    }
}

#[test]
fn what_is_no_map_is_left_out_and_named_and_the_rest_stays_readable() {
    let mut packer = BatchPacker::new("t", ForwardCompression::None);
    let batch = batch(&[b"", b"\x80", b"{\"json\":1}", b"\x90", b"\xde\0\0", b"\xdf\0\0\0\0"]);
    let packed = packer.pack(&batch, None).unwrap();
    assert_eq!((packed.records, packed.rejected), (3, vec![0, 2, 3]));
    let mut rest = &packed.message[8..];
    for _entry in 0..3 {
        assert!(matches!(read_value(&mut rest), Ok(MsgpackValue::Array(items)) if items.len() == 2));
    }
    assert_eq!(rest, b"\x81\xa4size\x03");
}

#[test]
fn times_that_event_time_cannot_say_are_the_nearest_it_can() {
    for (nanos, expected) in [
        (-1, [0, 0, 0, 0, 0, 0, 0, 0]),
        (1_999_999_999, [0, 0, 0, 1, 0x3b, 0x9a, 0xc9, 0xff]),
        (i64::MAX, [0xff, 0xff, 0xff, 0xff, 0x3b, 0x9a, 0xc9, 0xff]),
    ] {
        assert_eq!(entry_head(Timestamp(nanos))[3..], expected);
    }
}

#[test]
fn answers_are_read_whichever_of_text_and_binary_a_server_uses() {
    let helo = |nonce: &[u8], auth: &[u8], keepalive| {
        ForwardReply::Helo(Helo { nonce: nonce.to_vec(), auth: auth.to_vec(), keepalive })
    };
    let pong = |accepted, reason: &str, hostname: &[u8], digest: &[u8]| {
        let (hostname, digest) = (hostname.to_vec(), digest.to_vec());
        ForwardReply::Pong(Pong { accepted, reason: reason.to_owned(), hostname, digest })
    };
    let cases: Vec<(&[u8], ForwardReply)> = vec![
        (b"\x92\xa4HELO\x83\xa5nonce\xc4\x02\xff\0\xa4auth\xa0\xa9keepalive\xc3", helo(b"\xff\0", b"", true)),
        (b"\x92\xa4HELO\x82\xa5nonce\xa2\xff\0\xa4auth\xa2\xfe\xfd", helo(b"\xff\0", b"\xfe\xfd", true)),
        (b"\x92\xc4\x04HELO\x82\xa9keepalive\xc2\xa5nonce\xa1n", helo(b"n", b"", false)),
        (b"\x95\xa4PONG\xc3\xa0\xa3srv\xa1d", pong(true, "", b"srv", b"d")),
        (b"\x95\xa4PONG\xc2\xa5no\x1b[m\xa0\xa0", pong(false, "no\\u{1b}[m", b"", b"")),
        (b"\x95\xa4PONG\xc2\xa2no\xc0\xc0", pong(false, "no", b"", b"")),
        (b"\x81\xa3ack\xa3abc", ForwardReply::Ack(b"abc".to_vec())),
        (b"\x82\xa1x\x07\xa3ack\xc4\x01\xff", ForwardReply::Ack(b"\xff".to_vec())),
    ];
    for (bytes, reply) in cases {
        let with_more = [bytes, b"\x81"].concat();
        assert_eq!(decode_reply(&with_more), Ok(Some((reply, bytes.len()))), "{}", bytes.escape_ascii());
        for cut in 0..bytes.len() {
            assert_eq!(decode_reply(&bytes[..cut]), Ok(None), "{} cut at {cut}", bytes.escape_ascii());
        }
    }
}

#[test]
fn whatever_else_a_server_says_is_nonsense() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x16\x03\x01",
        b"\xc1",
        b"\xc0",
        b"\x80",
        b"\x81\xa3ack\xc3",
        b"\x81\xa3nak\xa1x",
        b"\x90",
        b"\x92\xa4HELO\xc0",
        b"\x92\xa4HELO\x80",
        b"\x93\xa4PONG\xc0\xa0",
        b"\x96\xa4PING\xa0\xa0\xa0\xa0\xa0",
    ] {
        assert_eq!(decode_reply(bytes), Err(NotForward::Unknown), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_answer_that_never_ends_is_given_up_at_the_limit() {
    let endless = [b"\x81\xa3ack\xdb\xff\xff\xff\xff".as_slice(), &[b'x'; MAX_REPLY * 2]].concat();
    assert_eq!(decode_reply(&endless[..MAX_REPLY - 1]), Ok(None));
    assert_eq!(decode_reply(&endless[..MAX_REPLY]), Err(NotForward::TooLong));
    assert_eq!(decode_reply(&endless), Err(NotForward::TooLong));
    let many = [b"\xdd\xff\xff\xff\xff".as_slice(), &[0xc0; MAX_REPLY]].concat();
    assert_eq!(decode_reply(&many), Err(NotForward::TooLong));
}

#[test]
fn the_digests_are_those_of_the_specification() {
    let helo = Helo { nonce: nonce(), auth: b"\xff\0salt".to_vec(), keepalive: true };
    let credentials = credentials();
    let greeting = Greeting { helo: &helo, hostname: "cli", salt: SALT, credentials: &credentials };
    let expected = [b"\x96\xa4PING\xa3cli\xd9\x20", SALT.as_bytes(), b"\xd9\x80", CLIENT.as_bytes(), b"\xa2me\xd9\x80"];
    assert_eq!(greeting.ping(), [expected.concat().as_slice(), USER.as_bytes()].concat());
    let pong = |digest: &str| Pong {
        accepted: true,
        reason: String::new(),
        hostname: b"srv".to_vec(),
        digest: digest.as_bytes().to_vec(),
    };
    assert!(greeting.is_proven(&pong(SERVER)));
    assert!(!greeting.is_proven(&pong(CLIENT)));
    assert!(!greeting.is_proven(&pong("")));
}

#[test]
fn a_user_is_named_only_where_we_have_one_and_the_server_has_a_salt_for_it() {
    for (auth, username) in [(&b""[..], "me"), (b"salt", "")] {
        let helo = Helo { nonce: nonce(), auth: auth.to_vec(), keepalive: true };
        let credentials = ForwardCredentials { username: username.to_owned(), ..credentials() };
        let greeting = Greeting { helo: &helo, hostname: "cli", salt: SALT, credentials: &credentials };
        assert!(greeting.ping().ends_with(b"\xa0\xa0"), "{username:?}");
    }
}

#[test]
fn credentials_are_not_printed() {
    let printed = format!("{:?}", credentials());
    assert!(["k3y", "me", "pw"].iter().all(|secret| !printed.contains(secret)), "{printed}");
}

proptest! {
    #[test]
    fn the_decoder_survives_anything_and_takes_no_more_than_there_is(
        head in prop::sample::select(vec![&b""[..], b"\x92\xa4HELO\x83", b"\x95\xa4PONG", b"\x81\xa3ack", b"\xdf"]),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let input = [head, &tail].concat();
        if let Ok(Some((_, length))) = decode_reply(&input) {
            prop_assert!(length <= input.len() && length > 0);
        }
    }
}
