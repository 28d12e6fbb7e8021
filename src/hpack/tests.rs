//! Decoding against the RFC's examples, the given stories, and itself with parts of the past missing.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// `name: value` for each field, `?` for what is unknown.
fn shown(block: &HeaderBlock) -> Vec<String> {
    let text = |part: Option<&[u8]>| part.map_or("?".to_owned(), |p| String::from_utf8_lossy(p).into_owned());
    block.fields().map(|field| format!("{}: {}", text(field.name), text(field.value))).collect()
}

fn decoded(decoder: &mut HpackDecoder, block: &[u8]) -> Result<Vec<String>, BadBlock> {
    let mut out = HeaderBlock::default();
    decoder.decode(block, &mut out).map(|()| shown(&out))
}

const THREE_REQUESTS: [(&str, &[&str]); 3] = [
    (
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    ),
    (
        "8286 84be 5886 a8eb 1064 9cbf",
        &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    ),
    (
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        &[
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ],
    ),
];

#[test]
fn the_requests_of_appendix_c_4_are_read() {
    let mut decoder = HpackDecoder::new();
    for (block, fields) in THREE_REQUESTS {
        assert_eq!(decoded(&mut decoder, &hex(block)).unwrap(), fields);
    }
}

#[test]
fn the_responses_of_appendix_c_6_are_read_with_their_evictions() {
    let mut decoder = HpackDecoder::new();
    // The examples use a table of 256 bytes.
    assert_eq!(decoded(&mut decoder, &hex("3fe101")).unwrap(), Vec::<String>::new());
    let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
                 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let second = "4883 640e ffc1 c0bf";
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
                 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let location = "location: https://www.example.com";
    assert_eq!(decoded(&mut decoder, &hex(first)).unwrap(), [":status: 302", "cache-control: private", date, location]);
    assert_eq!(
        decoded(&mut decoder, &hex(second)).unwrap(),
        [":status: 307", "cache-control: private", date, location]
    );
    assert_eq!(
        decoded(&mut decoder, &hex(third)).unwrap(),
        [
            ":status: 200",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
            location,
            "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
        ]
    );
}

#[test]
fn who_joins_late_knows_what_was_inserted_since_and_says_unknown_for_the_rest() {
    let mut decoder = HpackDecoder::new();
    decoder.forget();
    assert_eq!(
        decoded(&mut decoder, &hex(THREE_REQUESTS[1].0)).unwrap(),
        [":method: GET", ":scheme: http", ":path: /", "?: ?", "cache-control: no-cache"]
    );
    // One was inserted since: the authority is one further away, and still the same unknown entry.
    let mut out = HeaderBlock::default();
    decoder.decode(&hex(THREE_REQUESTS[2].0), &mut out).unwrap();
    assert_eq!(out.fields().nth(3).unwrap().entry, Some(-1));
    assert_eq!(shown(&out)[4], "custom-key: custom-value");
    // A literal whose name is unknown, inserted and used again: its value is known.
    assert_eq!(decoded(&mut decoder, &hex("7f 0e 01 78 be bf")).unwrap(), ["?: x", "?: x", "custom-key: custom-value"]);
}

#[test]
fn a_table_that_is_emptied_is_known_again() {
    let mut decoder = HpackDecoder::new();
    decoder.forget();
    assert_eq!(decoded(&mut decoder, &hex("be")).unwrap(), ["?: ?"]);
    assert_eq!(decoded(&mut decoder, &hex("20 3fe11f")).unwrap(), Vec::<String>::new());
    assert_eq!(decoded(&mut decoder, &hex("be")), Err(BadBlock::Malformed));
}

#[test]
fn what_breaks_the_rules_is_an_error_and_all_is_unknown_behind_it() {
    for bad in [
        "80",             // index 0
        "be",             // nothing was inserted
        "ff ffffffff 0f", // an integer without end
        "40 03 6162",     // a name that is cut
        "00 01 61 05 62", // a value that is cut
        "40 81 00 01 61", // Huffman padding that is none
        "7f",             // half an integer
    ] {
        let mut decoder = HpackDecoder::new();
        assert_eq!(decoded(&mut decoder, &hex(bad)), Err(BadBlock::Malformed), "{bad}");
        assert_eq!(decoded(&mut decoder, &hex("be")).unwrap(), ["?: ?"], "{bad}");
    }
}

#[test]
fn a_block_that_grows_without_end_is_given_up() {
    let mut decoder = HpackDecoder::new();
    let long = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
    decoded(&mut decoder, &long).unwrap();
    let mut out = HeaderBlock::default();
    assert_eq!(decoder.decode(&vec![0xbe; 100_000], &mut out), Err(BadBlock::TooLong));
    assert!(out.text.len() <= MAX_TEXT + 4096 && out.fields.len() <= MAX_FIELDS, "{}", out.text.len());
    // Names that are copied from entry to entry count too.
    let mut decoder = HpackDecoder::new();
    let named = [&[0x40, 0x7f, 0xa1, 0x1e][..], &[b'n'; 4000], &[1, b'v']].concat();
    decoded(&mut decoder, &named).unwrap();
    assert_eq!(decoder.decode(&[0x7e, 0].repeat(50_000), &mut out), Err(BadBlock::TooLong));
    assert!(decoder.kept() < 64 * 1024, "{}", decoder.kept());
}

#[test]
fn a_table_never_keeps_more_than_its_limit() {
    let mut decoder = HpackDecoder::new();
    // The encoder says that it uses a gigabyte.
    decoded(&mut decoder, &hex("3fe1ffff7f")).unwrap();
    let one = [&[0x40, 1, b'a', 0x7f, 0x81, 0x06][..], &[b'v'; 1024 - 128]].concat();
    for _ in 0..1000 {
        decoded(&mut decoder, &one).unwrap();
    }
    assert!(decoder.kept() <= 4 * table::MAX_SIZE, "{}", decoder.kept());
    // What was let go is unknown, not absent.
    assert_eq!(decoded(&mut decoder, &hex("ff00")).unwrap(), ["?: ?"]);
}

/// A file, and its header blocks with what they say.
type Story = (String, Vec<(Vec<u8>, Vec<String>)>);

/// The stories of ../shared.
fn stories() -> Option<Vec<Story>> {
    let corpora = std::env::var_os("PODTAP_CORPORA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"), PathBuf::from);
    let folders = std::fs::read_dir(corpora.join("hpack-stories")).ok()?;
    let mut stories = Vec::new();
    for file in folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).into_iter().flatten()) {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let story: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let case = |case: &serde_json::Value| {
            let fields = case["headers"].as_array().unwrap().iter().flat_map(|field| {
                let pairs = field.as_object().unwrap().iter();
                pairs.map(|(name, value)| format!("{name}: {}", value.as_str().unwrap())).collect::<Vec<_>>()
            });
            (hex(case["wire"].as_str().unwrap()), fields.collect::<Vec<_>>())
        };
        let cases = story["cases"].as_array().unwrap().iter().map(case).collect();
        stories.push((path.display().to_string(), cases));
    }
    Some(stories)
}

#[test]
fn every_story_is_read() {
    let Some(stories) = stories() else {
        eprintln!("SKIPPED every_story_is_read: no hpack-stories among the corpora");
        return;
    };
    assert!(stories.len() > 10, "{}", stories.len());
    for (path, cases) in stories {
        let mut decoder = HpackDecoder::new();
        for (number, (block, expected)) in cases.iter().enumerate() {
            assert_eq!(decoded(&mut decoder, block).as_ref(), Ok(expected), "{path} {number}");
        }
    }
}

/// Joining at any block of any story, and losing any: no field ever says something else.
#[test]
fn no_story_says_something_else_when_blocks_before_it_are_missing() {
    let Some(stories) = stories() else {
        eprintln!("SKIPPED no_story_says_something_else_when_blocks_before_it_are_missing: no hpack-stories");
        return;
    };
    let (mut known, mut all) = (0u64, 0u64);
    for (path, cases) in stories {
        for lost in 0..cases.len() {
            let mut decoder = HpackDecoder::new();
            cases.iter().take(lost).for_each(|(block, _)| drop(decoded(&mut decoder, block)));
            decoder.forget();
            for (block, expected) in cases.iter().skip(lost + 1) {
                let fields = decoded(&mut decoder, block).unwrap();
                assert_eq!(fields.len(), expected.len(), "{path}");
                for (field, expected) in fields.iter().zip(expected) {
                    let same = match field.split_once(": ") {
                        Some(("?", "?")) => true,
                        Some(("?", value)) => expected.ends_with(&format!(": {value}")),
                        _ => field == expected,
                    };
                    assert!(same, "{path}: {field} for {expected}");
                    known += u64::from(field == expected);
                    all += 1;
                }
            }
        }
    }
    assert!(known * 10 > all * 5, "{known} of {all} fields known");
}

proptest! {
    #[test]
    fn any_bytes_are_read_within_the_limits(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20), late in any::<bool>()) {
        let mut decoder = HpackDecoder::new();
        if late {
            decoder.forget();
        }
        let mut out = HeaderBlock::default();
        for block in blocks {
            let _ = decoder.decode(&block, &mut out);
            prop_assert!(out.text.len() <= MAX_TEXT + 4096);
            prop_assert!(decoder.kept() <= 4 * table::MAX_SIZE);
        }
    }
}

proptest! {
    #[test]
    fn what_an_encoder_with_a_table_writes_is_read_back(
        blocks in proptest::collection::vec(proptest::collection::vec(("[a-z-]{1,30}", "[ -~]{0,200}"), 1..20), 1..20)
    ) {
        let (mut encoder, mut decoder) = (crate::synth::http2::HpackEncoder::default(), HpackDecoder::new());
        for fields in blocks {
            // Each is sent twice: the second time by references.
            for _ in 0..2 {
                let borrowed: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let read = decoded(&mut decoder, &encoder.block(&borrowed)).unwrap();
                let expected: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                prop_assert_eq!(read, expected);
            }
        }
    }
}
