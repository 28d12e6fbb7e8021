//! What a server said to a `_bulk` request: which records are stored, which to send again, which it will never take.
//! Pure, from bytes that may be anything; decides nothing about waiting.
//!
//! Servers name the same error differently, so the status decides and the names are only told on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::sink::{Delivery, DeliveryError, FailureReason, Rejected, SinkError};

/// What is asked of an answer: enough to decide for each record, in order, and to say why.
pub(super) const FILTER: &str = "items.*.status,items.*.error.type,items.*.error.reason,error,status";

/// Longest reason kept: servers quote the record in it.
const MAX_REASON: usize = 400;

/// Largest answer that is read: some bytes for each record, some thousand where something is wrong with it.
pub(super) const fn most_bytes(records: usize) -> usize {
    (64 << 10) + records.saturating_mul(4 << 10)
}

/// What becomes of the records of a request that was answered with `status` and `body`.
///
/// 413, and 400 for the whole request, is a verdict on one record only where there is one: halve the others (`splits`).
pub fn outcomes(status: u16, body: &[u8], records: usize) -> Result<Delivery, SinkError> {
    match status {
        200..=299 => of_items(body, records),
        _ if splits(status) && records == 1 => {
            let rejected = vec![Rejected { index: 0, reason: whole(status, body) }];
            Ok(Delivery { rejected, ..Delivery::default() })
        }
        // Wrong credentials, a proxy in between, an overloaded server: all of it gets repaired elsewhere, and none of
        // it is about a record.
        _ => Err(SinkError::Transient(DeliveryError::new(FailureReason::of_http_status(status), whole(status, body)))),
    }
}

/// RFC 9110 §15.5.14.
pub(super) const TOO_LARGE: u16 = 413;

/// Whether a smaller request may fare better.
pub(super) fn splits(status: u16) -> bool {
    matches!(status, 400 | TOO_LARGE)
}

fn of_items(body: &[u8], records: usize) -> Result<Delivery, SinkError> {
    let nonsense = |what: &str| {
        let what = format!("the answer is not one to _bulk: {what}");
        Err(SinkError::Transient(DeliveryError::new(FailureReason::Protocol, what)))
    };
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else { return nonsense("not its JSON") };
    let Items(items) = answer.items;
    if items.len() != records {
        return nonsense(&format!("{} outcomes for {records} records", items.len()));
    }
    let mut delivery = Delivery::default();
    let mut waiting = None;
    for (index, item) in items.iter().enumerate() {
        match verdict(item.status) {
            Verdict::Stored => {}
            Verdict::Again => {
                waiting.get_or_insert(item);
                delivery.retry.push(index);
            }
            Verdict::Never => delivery.rejected.push(Rejected { index, reason: item.to_string() }),
        }
    }
    let cause = waiting.map(|item| DeliveryError::new(FailureReason::of_http_status(item.status), item.to_string()));
    match cause {
        Some(error) if delivery.retry.len() == records => Err(SinkError::Transient(error)),
        cause => Ok(Delivery { cause, ..delivery }),
    }
}

enum Verdict {
    Stored,
    Again,
    Never,
}

fn verdict(status: u16) -> Verdict {
    match status {
        // 409: it was there already, from an attempt whose answer was lost or from an earlier replay.
        200..=299 | 409 => Verdict::Stored,
        // 404: the data stream's template, or the index, is missing: nothing is wrong with the record.
        429 | 500.. | 404 => Verdict::Again,
        _ => Verdict::Never,
    }
}

/// Status and the server's own words for a request that failed as a whole.
pub(super) fn whole(status: u16, body: &[u8]) -> String {
    let error = serde_json::from_slice::<Failure<'_>>(body).ok().and_then(|failure| failure.error);
    let error = error.unwrap_or_default();
    Item { status, error }.to_string()
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    items: Items<'a>,
}

/// One outcome after the other, whatever the action was called.
struct Items<'a>(Vec<Item<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for All<'a> {
            type Value = Items<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of outcomes")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut items = Vec::new();
                while let Some(Action { create }) = seq.next_element::<Action<'_>>()? {
                    items.push(create);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(All(std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow)]
    create: Item<'a>,
}

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Cause<'a>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow, default)]
    error: Option<Cause<'a>>,
}

/// `{"type": …, "reason": …}`, or a mere sentence.
#[derive(Default)]
struct Cause<'a> {
    kind: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Cause<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Either<'a> {
            type Value = Cause<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cause { kind: None, reason: Some(Cow::Owned(text.to_owned())) })
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Cause::default())
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut cause = Cause::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    match &*key {
                        "type" => cause.kind = map.next_value::<Option<Cow<'de, str>>>()?,
                        "reason" => cause.reason = map.next_value::<Option<Cow<'de, str>>>()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(cause)
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl fmt::Display for Item<'_> {
    /// `400 document_parsing_exception: failed to parse field …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(kind) = &self.error.kind {
            write!(f, " {}", shortened(kind))?;
        }
        match &self.error.reason {
            Some(reason) => write!(f, ": {}", shortened(reason)),
            None => Ok(()),
        }
    }
}

fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_REASON {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_REASON).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(status: u16, error: &str) -> String {
        let error = if error.is_empty() { String::new() } else { format!(",\"error\":{error}") };
        format!("{{\"create\":{{\"status\":{status}{error}}}}}")
    }

    fn items(items: &[String]) -> Vec<u8> {
        format!("{{\"errors\":true,\"items\":[{}]}}", items.join(",")).into_bytes()
    }

    fn transient(status: u16, body: &[u8], records: usize) -> String {
        match outcomes(status, body, records) {
            Err(SinkError::Transient(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_status_of_a_record_has_its_outcome() {
        let wrong = r#"{"type":"document_parsing_exception","reason":"[1:5] failed","caused_by":{"type":"x"}}"#;
        let body = items(&[
            item(201, ""),
            item(409, r#"{"type":"version_conflict_engine_exception","reason":"exists"}"#),
            item(429, r#"{"type":"es_rejected_execution_exception","reason":"full"}"#),
            item(400, wrong),
            item(503, ""),
            item(500, ""),
            item(403, r#"{"type":"cluster_block_exception","reason":"index read-only"}"#),
            item(200, "null"),
            item(404, r#"{"type":"index_not_found_exception"}"#),
        ]);
        let reason = |index, reason: &str| Rejected { index, reason: reason.to_owned() };
        let delivery = outcomes(200, &body, 9).unwrap();
        assert_eq!(delivery.retry, [2, 4, 5, 8]);
        assert_eq!(delivery.cause.unwrap().reason(), FailureReason::Throttled);
        assert_eq!(
            delivery.rejected,
            [
                reason(3, "400 document_parsing_exception: [1:5] failed"),
                reason(6, "403 cluster_block_exception: index read-only"),
            ]
        );
    }

    #[test]
    fn a_request_refused_record_for_record_says_why() {
        let body =
            items(&[item(429, r#"{"type":"rejected_execution_exception","reason":"queue full"}"#), item(503, "")]);
        assert_eq!(transient(200, &body, 2), "429 rejected_execution_exception: queue full");
    }

    #[test]
    fn a_failed_request_is_tried_again_and_says_what_the_server_said() {
        let credentials = br#"{"error":{"root_cause":[{"type":"y"}],"type":"security_exception","reason":"no such key"},"status":401}"#;
        for (status, body, why) in [
            (401, &credentials[..], "401 security_exception: no such key"),
            (429, b"{}", "429"),
            (503, b"<html>busy</html>", "503"),
            (404, br#"{"error":"no handler found for uri"}"#, "404: no handler found for uri"),
            (502, b"", "502"),
            (302, b"", "302"),
        ] {
            assert_eq!(transient(status, body, 3), why);
        }
    }

    #[test]
    fn what_is_too_large_or_malformed_is_rejected_only_when_it_is_one_record() {
        for status in [400, 413] {
            assert!(splits(status));
            assert!(matches!(outcomes(status, b"", 2), Err(SinkError::Transient(_))));
            let rejected = vec![Rejected { index: 0, reason: status.to_string() }];
            assert_eq!(outcomes(status, b"", 1), Ok(Delivery { rejected, ..Delivery::default() }));
        }
        assert!(!splits(429) && !splits(401));
    }

    #[test]
    fn an_answer_that_is_none_changes_nothing() {
        for body in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"items":{}}"#,
            r#"{"items":[{"create":{}}]}"#,
            r#"{"items":[{"delete":{"status":200}}]}"#,
        ] {
            assert!(transient(200, body.as_bytes(), 1).starts_with("the answer is not one to _bulk"), "{body}");
        }
        let two = items(&[item(201, ""), item(201, "")]);
        assert_eq!(transient(200, &two, 3), "the answer is not one to _bulk: 2 outcomes for 3 records");
        assert_eq!(outcomes(200, &two, 2), Ok(Delivery::default()));
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let long = "ü".repeat(MAX_REASON);
        let Ok(delivery) = outcomes(200, &items(&[item(400, &format!("\"{long}\""))]), 1) else { panic!() };
        let reason = &delivery.rejected[0].reason;
        assert!(reason.ends_with("ü…") && reason.len() <= MAX_REASON + 10, "{reason}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_a_panic_and_name_no_record_that_was_not_sent(
            status in any::<u16>(),
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                prop::collection::vec((100u16..600).prop_map(|status| item(status, "")), 0..6).prop_map(|all| items(&all)),
            ],
            records in 0usize..6,
        ) {
            if let Ok(delivery) = outcomes(status, &body, records) {
                prop_assert!(delivery.retry.is_sorted());
                prop_assert!(delivery.retry.iter().all(|index| *index < records));
                prop_assert!(delivery.rejected.iter().all(|r| r.index < records && !delivery.retry.contains(&r.index)));
            }
        }
    }
}
