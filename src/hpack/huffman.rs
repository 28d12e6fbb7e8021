//! The Huffman code of HPACK (RFC 7541 §5.2 and appendix B), decoded by table. The codes of ordinary text take eight
//! bits at a time, the rare long ones go by length.
//!
//! The code is canonical: of one length the codes rise with their symbols. So the lengths say all, and the tables are
//! made of them at compile time. Does not encode.

/// Bits of the code of each byte, and of the end-of-string symbol behind them (RFC 7541 appendix B).
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// Longest code.
const LONGEST: usize = 30;
/// Codes up to this length are found by one look.
const SHORT: u32 = 8;
/// The end-of-string symbol: never sent (RFC 7541 §5.2).
const EOS: u16 = 256;

/// What the next eight bits begin with: a symbol and the bits of its code; 0 bits where the code is longer.
const QUICK: [(u8, u8); 256] = quick();
/// Symbols by length, then by value.
const SYMBOLS: [u16; 257] = by_length();
/// For each length: its first code, how many there are, and where its symbols begin in `SYMBOLS`.
const OF_LENGTH: [(u32, u32, u32); LONGEST + 1] = of_length();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn by_length() -> [u16; 257] {
    let (mut symbols, mut at, mut length) = ([0u16; 257], 0, 0u8);
    while length as usize <= LONGEST {
        let mut symbol = 0u16;
        while symbol <= EOS {
            if LENGTHS[symbol as usize] == length {
                symbols[at] = symbol;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn of_length() -> [(u32, u32, u32); LONGEST + 1] {
    let mut table = [(0, 0, 0); LONGEST + 1];
    let (mut code, mut at, mut length) = (0u32, 0u32, 1);
    while length <= LONGEST {
        code <<= 1;
        let (mut count, mut symbol) = (0u32, 0);
        while symbol < LENGTHS.len() {
            count += (LENGTHS[symbol] as usize == length) as u32;
            symbol += 1;
        }
        table[length] = (code, count, at);
        code += count;
        at += count;
        length += 1;
    }
    table
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn quick() -> [(u8, u8); 256] {
    let (symbols, table) = (by_length(), of_length());
    let (mut quick, mut length) = ([(0u8, 0u8); 256], 1);
    while length <= SHORT {
        let (first, count, at) = table[length as usize];
        let mut n = 0;
        while n < count {
            let begin = ((first + n) << (SHORT - length)) as usize;
            let mut fill = 0;
            while fill < 1 << (SHORT - length) {
                quick[begin + fill] = (symbols[(at + n) as usize] as u8, length as u8);
                fill += 1;
            }
            n += 1;
        }
        length += 1;
    }
    quick
}

/// Appends the text that `code` means. False: it is no such text.
pub(super) fn decode(code: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(code.len() * 8 / 5);
    let (mut bits, mut have) = (0u64, 0u32);
    let mut bytes = code.iter();
    loop {
        while have <= 56
            && let Some(byte) = bytes.next()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let look = usize::from((bits >> 56) as u8);
        let (symbol, length) = QUICK.get(look).copied().unwrap_or_default();
        let (symbol, length) = if length > 0 { (u16::from(symbol), u32::from(length)) } else { long(bits) };
        if length == 0 || length > have {
            break;
        }
        match u8::try_from(symbol) {
            Ok(byte) => out.push(byte),
            Err(_) => return false,
        }
        bits <<= length;
        have -= length;
    }
    // Padding: fewer than eight bits, all of them 1 (RFC 7541 §5.2).
    have < 8 && bits >> (64 - have.max(1)) == (1 << have.max(1)) - 1 || have == 0
}

/// A code that is longer than `SHORT`: symbol and length. Every sequence of 30 bits begins with a code.
fn long(bits: u64) -> (u16, u32) {
    for length in SHORT + 1..=LONGEST as u32 {
        let (first, count, at) = OF_LENGTH.get(length as usize).copied().unwrap_or_default();
        let code = (bits >> (64 - length)) as u32;
        if let Some(n) = code.checked_sub(first)
            && n < count
        {
            return (SYMBOLS.get((at + n) as usize).copied().unwrap_or(EOS), length);
        }
    }
    (EOS, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as slow as it is plain.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let (first, count, at) = OF_LENGTH[length];
            let n = (0..count).find(|n| SYMBOLS[(at + n) as usize] == u16::from(*byte)).unwrap();
            bits.push_str(&format!("{:0length$b}", first + n));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes().chunks(8).map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap()).collect()
    }

    fn decoded(code: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(code, &mut out).then_some(out)
    }

    #[test]
    fn the_lengths_make_a_complete_code() {
        let sum: u64 = LENGTHS.iter().map(|length| 1u64 << (LONGEST - usize::from(*length))).sum();
        assert_eq!(sum, 1 << LONGEST);
        // RFC 7541 appendix B: the first and the last, and one of each kind between.
        for (symbol, code) in [(b'0', 0u32), (b'a', 3), (b' ', 0x14), (b'&', 0xf8), (b'\\', 0x7fff0), (10, 0x3fff_fffc)]
        {
            let (first, count, at) = OF_LENGTH[usize::from(LENGTHS[usize::from(symbol)])];
            let n = (0..count).find(|n| SYMBOLS[(at + n) as usize] == u16::from(symbol)).unwrap();
            assert_eq!(first + n, code, "{symbol}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (code, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("6402", "302"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ] {
            assert_eq!(decoded(&super::super::tests::hex(code)).unwrap(), text.as_bytes(), "{text}");
        }
    }

    #[test]
    fn padding_is_short_and_made_of_ones_and_the_end_is_never_sent() {
        for bad in [&[0xff][..], &[0x07, 0xff], &[0x00], &[0xff, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xfc, 0xff]] {
            assert_eq!(decoded(bad), None, "{bad:x?}");
        }
        assert_eq!(decoded(&[0x07]), Some(b"0".to_vec()));
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decoded(&encode(&text)), Some(text));
        }

        #[test]
        fn any_bytes_are_read_to_an_end(code in proptest::collection::vec(any::<u8>(), 0..80)) {
            let text = decoded(&code);
            prop_assert!(text.is_none_or(|text| encode(&text) == code));
        }
    }
}
