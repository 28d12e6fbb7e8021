//! Records as MessagePack: the same fields as in JSON, for servers of the forward protocol. Reads nothing.

use serde::Serialize;

/// Appends `record` as one value with the fields it has in JSON: structs are maps, addresses and the like are text. With an
/// error nothing was appended.
pub fn encode<T: Serialize + ?Sized>(record: &T, out: &mut Vec<u8>) -> Result<(), String> {
    let before = out.len();
    let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map().with_human_readable();
    record.serialize(&mut serializer).map_err(|why| {
        out.truncate(before);
        why.to_string()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde_json::Value as Json;

    use super::*;

    fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out).unwrap();
        out
    }

    #[derive(Serialize)]
    struct Inner {
        ip: IpAddr,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<u8>,
        kind: Kind,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        UnitKind,
    }

    #[derive(Serialize)]
    struct Outer {
        #[serde(rename = "@timestamp")]
        at: &'static str,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        labels: BTreeMap<&'static str, u64>,
        list: [u16; 2],
    }

    #[test]
    fn structs_are_maps_flattened_fields_are_next_to_the_others_and_addresses_are_text() {
        let inner = Inner { ip: "10.0.0.1".parse().unwrap(), absent: None, kind: Kind::UnitKind };
        let outer = Outer { at: "now", inner, labels: [("n", u64::MAX)].into(), list: [1, 2] };
        let read: Json = rmp_serde::from_slice(&encoded(&outer)).unwrap();
        assert_eq!(read, serde_json::to_value(&outer).unwrap());
    }

    #[test]
    fn a_failed_encoding_leaves_what_was_there_before() {
        struct Half;
        impl Serialize for Half {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::{Error, SerializeSeq};
                let mut seq = serializer.serialize_seq(Some(2))?;
                seq.serialize_element("half")?;
                Err(S::Error::custom("no"))
            }
        }
        let mut out = b"before".to_vec();
        assert_eq!(encode(&Half, &mut out), Err("no".to_owned()));
        assert_eq!(out, b"before");
    }
}
