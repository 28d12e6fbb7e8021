//! MessagePack as servers answer in it. Records are written by `format::msgpack`.
//!
//! Owns what the forward protocol needs of it, no more. The reader trusts no length: a value is only ever made of bytes that are there, and anyone who calls it bounds those.

use rmp::Marker;

/// Values inside values that are followed; what servers answer has two levels.
const MAX_DEPTH: usize = 8;

/// A value of which only what the protocol uses is distinguished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MsgpackValue<'a> {
    Bool(bool),
    /// Text or binary: servers differ in what they use for which field, and text need not be UTF-8.
    Bytes(&'a [u8]),
    Array(Vec<MsgpackValue<'a>>),
    Map(Vec<(MsgpackValue<'a>, MsgpackValue<'a>)>),
    /// nil, numbers, extensions.
    Other,
}

impl MsgpackValue<'_> {
    /// The value next to the key `name` in a map.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(fields) = self else { return None };
        fields.iter().find(|(key, _)| *key == MsgpackValue::Bytes(name.as_bytes())).map(|(_, value)| value)
    }
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoValue {
    /// More bytes are needed.
    Incomplete,
    /// It never becomes one: a reserved marker, or nested too deep.
    Malformed,
}

/// Reads one value off the front of `input`.
pub(super) fn read_value<'a>(input: &mut &'a [u8]) -> Result<MsgpackValue<'a>, NoValue> {
    read_nested(input, MAX_DEPTH)
}

fn read_nested<'a>(input: &mut &'a [u8], depth: usize) -> Result<MsgpackValue<'a>, NoValue> {
    let depth = depth.checked_sub(1).ok_or(NoValue::Malformed)?;
    let marker = Marker::from_u8(take(input, 1)?.first().copied().ok_or(NoValue::Incomplete)?);
    let (length, kind) = match marker {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null => return Ok(MsgpackValue::Other),
        Marker::True => return Ok(MsgpackValue::Bool(true)),
        Marker::False => return Ok(MsgpackValue::Bool(false)),
        Marker::Reserved => return Err(NoValue::Malformed),
        Marker::U8 | Marker::I8 => (1, MsgpackKind::Skipped),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => (2, MsgpackKind::Skipped),
        Marker::FixExt2 => (3, MsgpackKind::Skipped),
        Marker::U32 | Marker::I32 | Marker::F32 => (4, MsgpackKind::Skipped),
        Marker::FixExt4 => (5, MsgpackKind::Skipped),
        Marker::U64 | Marker::I64 | Marker::F64 => (8, MsgpackKind::Skipped),
        Marker::FixExt8 => (9, MsgpackKind::Skipped),
        Marker::FixExt16 => (17, MsgpackKind::Skipped),
        Marker::Ext8 => (length(input, 1)? + 1, MsgpackKind::Skipped),
        Marker::Ext16 => (length(input, 2)? + 1, MsgpackKind::Skipped),
        Marker::Ext32 => (length(input, 4)? + 1, MsgpackKind::Skipped),
        Marker::FixStr(n) => (usize::from(n), MsgpackKind::Bytes),
        Marker::Str8 | Marker::Bin8 => (length(input, 1)?, MsgpackKind::Bytes),
        Marker::Str16 | Marker::Bin16 => (length(input, 2)?, MsgpackKind::Bytes),
        Marker::Str32 | Marker::Bin32 => (length(input, 4)?, MsgpackKind::Bytes),
        Marker::FixArray(n) => (usize::from(n), MsgpackKind::Array),
        Marker::Array16 => (length(input, 2)?, MsgpackKind::Array),
        Marker::Array32 => (length(input, 4)?, MsgpackKind::Array),
        Marker::FixMap(n) => (usize::from(n), MsgpackKind::Map),
        Marker::Map16 => (length(input, 2)?, MsgpackKind::Map),
        Marker::Map32 => (length(input, 4)?, MsgpackKind::Map),
    };
    kind.read(input, length, depth)
}

#[derive(Clone, Copy)]
enum MsgpackKind {
    Skipped,
    Bytes,
    Array,
    Map,
}

impl MsgpackKind {
    /// Vectors grow by what was read (at least one byte for each element), never by what a length claims.
    fn read<'a>(self, input: &mut &'a [u8], length: usize, depth: usize) -> Result<MsgpackValue<'a>, NoValue> {
        match self {
            Self::Skipped => take(input, length).map(|_| MsgpackValue::Other),
            Self::Bytes => take(input, length).map(MsgpackValue::Bytes),
            Self::Array => {
                let mut items = Vec::new();
                for _ in 0..length {
                    items.push(read_nested(input, depth)?);
                }
                Ok(MsgpackValue::Array(items))
            }
            Self::Map => {
                let mut fields = Vec::new();
                for _ in 0..length {
                    fields.push((read_nested(input, depth)?, read_nested(input, depth)?));
                }
                Ok(MsgpackValue::Map(fields))
            }
        }
    }
}

fn take<'a>(input: &mut &'a [u8], n: usize) -> Result<&'a [u8], NoValue> {
    let (front, rest) = input.split_at_checked(n).ok_or(NoValue::Incomplete)?;
    *input = rest;
    Ok(front)
}

/// A length of `n` bytes, big endian; at most four, so it fits.
fn length(input: &mut &[u8], n: usize) -> Result<usize, NoValue> {
    Ok(take(input, n)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;
    use crate::format::msgpack;

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e300..1e300).prop_map(Json::from),
            ".{0,40}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Json::from),
                prop::collection::btree_map(".{0,6}", inner, 0..20)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    fn encoded(value: &Json) -> Vec<u8> {
        let mut out = Vec::new();
        msgpack::encode(value, &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn what_is_encoded_has_the_same_fields_and_values_as_its_json(value in json()) {
            prop_assert_eq!(rmp_serde::from_slice::<Json>(&encoded(&value)).unwrap(), value);
        }

        #[test]
        fn the_reader_takes_exactly_one_value_and_asks_for_more_of_every_shorter_one(value in json()) {
            let bytes = encoded(&value);
            let mut input = [bytes.as_slice(), b"\xc1rest"].concat();
            let mut rest = input.as_slice();
            read_value(&mut rest).unwrap();
            prop_assert_eq!(rest, b"\xc1rest");
            input.truncate(bytes.len());
            for cut in 0..input.len() {
                prop_assert_eq!(read_value(&mut &input[..cut]), Err(NoValue::Incomplete));
            }
        }

        #[test]
        fn the_reader_survives_anything(input in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut rest = input.as_slice();
            if read_value(&mut rest).is_ok() {
                prop_assert!(rest.len() < input.len());
            }
        }
    }

    #[test]
    fn lengths_that_are_not_there_and_nesting_without_end_cost_nothing() {
        for claim in [
            &b"\xdf\xff\xff\xff\xff"[..],
            b"\xdd\xff\xff\xff\xff\xc0",
            b"\xc6\xff\xff\xff\xffx",
            b"\xc9\xff\xff\xff\xff",
        ] {
            assert_eq!(read_value(&mut &claim[..]), Err(NoValue::Incomplete));
        }
        assert_eq!(read_value(&mut &[0x91; 4000][..]), Err(NoValue::Malformed));
        assert_eq!(read_value(&mut &b"\xc1"[..]), Err(NoValue::Malformed));
    }
}
