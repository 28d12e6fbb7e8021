//! What a server said to a `_bulk` request: which records are stored, which to send again, which it will never take.
//! Pure, from bytes that may be anything; decides nothing about waiting. Whose fault an error is, `verdict` knows.
//!
//! An answer without the server's own JSON is somebody else's, a gateway's or a mesh's: it says nothing about records.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::verdict::{ItemVerdict, verdict};
use crate::sink::{Delivery, DeliveryError, FailureReason, RejectedRecord, SinkError};

/// What is asked of an answer: enough to decide for each record, in order, and to say why.
pub(super) const FILTER: &str = "items.*.status,items.*.error.type,items.*.error.reason,error,status";

/// Longest reason kept: servers quote the record in it.
const MAX_REASON: usize = 400;

/// Characters shown of an answer that is not the server's.
const MAX_LINE: usize = 120;

/// Largest answer that is read: some bytes for each record, some thousand where something is wrong with it.
pub(super) const fn most_bytes(records: usize) -> usize {
    (64 << 10) + records.saturating_mul(4 << 10)
}

/// What becomes of the records of a request that was answered with `status` and `body`.
///
/// What is about the request's body as a whole is a verdict on a record only where there is one: halve the others
/// (`splits`).
pub fn outcomes(status: u16, body: &[u8], records: usize) -> Result<Delivery, SinkError> {
    judged(status, body, SentBatch { records, one_index: false })
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentBatch {
    pub(super) records: usize,
    /// All records go to the same index: what the server takes of one it would take of all.
    pub(super) one_index: bool,
}

/// The same, knowing more of the request.
pub(super) fn judged(status: u16, body: &[u8], sent: SentBatch) -> Result<Delivery, SinkError> {
    if (200..300).contains(&status) {
        return of_items(status, body, sent);
    }
    if splits(status, body).is_some() && sent.records == 1 {
        let rejected = vec![RejectedRecord { index: 0, reason: whole(status, body) }];
        return Ok(Delivery { rejected, ..Delivery::default() });
    }
    Err(SinkError::Transient(DeliveryError::new(class(status, body), whole(status, body))))
}

/// RFC 9110 §15.5.14.
const TOO_LARGE: u16 = 413;

/// What a smaller request may do better about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SplitReason {
    /// Its size, anyone who says so.
    TooLarge,
    /// One document in it, in the server's own words.
    Malformed,
}

/// Whether a smaller request may fare better.
pub(super) fn splits(status: u16, body: &[u8]) -> Option<SplitReason> {
    match (status, own_error(status, body)) {
        (TOO_LARGE, _) => Some(SplitReason::TooLarge),
        (400, Some(error)) if error.verdict(400) == ItemVerdict::Refused => Some(SplitReason::Malformed),
        _ => None,
    }
}

/// The class of an answer that is no success.
pub(super) fn class(status: u16, body: &[u8]) -> FailureReason {
    let by_status = FailureReason::of_http_status(status);
    match own_error(status, body).map(|error| error.verdict(status)) {
        Some(ItemVerdict::Hold(reason)) => reason,
        // A request that the server understood, and would not do as things are.
        Some(ItemVerdict::Unclear) => FailureReason::NotReady,
        Some(ItemVerdict::Stored | ItemVerdict::Refused) | None => by_status,
    }
}

fn of_items(status: u16, body: &[u8], sent: SentBatch) -> Result<Delivery, SinkError> {
    let nonsense = |what: String| {
        let what = format!("the answer is not one to _bulk: {what}");
        Err(SinkError::Transient(DeliveryError::new(FailureReason::Protocol, what)))
    };
    let Ok(answer) = serde_json::from_slice::<BulkAnswer<'_>>(body) else { return nonsense(foreign(status, body)) };
    let BulkItems(items) = answer.items;
    if items.len() != sent.records {
        return nonsense(format!("{} outcomes for {} records", items.len(), sent.records));
    }
    let verdicts: Vec<_> = items.iter().map(|item| item.error.verdict(item.status)).collect();
    // Where the index takes one record, an error that could be its own is the record's.
    let takes_some = sent.one_index && verdicts.contains(&ItemVerdict::Stored);
    let mut delivery = Delivery::default();
    for (index, (item, verdict)) in items.iter().zip(verdicts).enumerate() {
        let held = match verdict {
            ItemVerdict::Stored => continue,
            ItemVerdict::Hold(reason) => Some(reason),
            ItemVerdict::Unclear if !takes_some => Some(FailureReason::NotReady),
            ItemVerdict::Refused | ItemVerdict::Unclear => None,
        };
        match held {
            None => delivery.rejected.push(RejectedRecord { index, reason: item.to_string() }),
            Some(reason) => {
                delivery.cause.get_or_insert_with(|| DeliveryError::new(reason, item.to_string()));
                delivery.retry.push(index);
            }
        }
    }
    match delivery.cause {
        Some(error) if delivery.retry.len() == sent.records => Err(SinkError::Transient(error)),
        _ => Ok(delivery),
    }
}

/// Status and the server's own words for a request that failed as a whole. Of a stranger it is the first line it sent.
pub(super) fn whole(status: u16, body: &[u8]) -> String {
    match own_error(status, body) {
        Some(error) => BulkItem { status, error }.to_string(),
        None => format!("{status}: {}", foreign(status, body)),
    }
}

/// An answer that is not the server's: who says it no one knows, so what it was is shown.
fn foreign(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return match status {
            TOO_LARGE => "the request is too large".to_owned(),
            _ => "an empty answer, not the server's own: is there a gateway in between?".to_owned(),
        };
    };
    let told: String = line.chars().take(MAX_LINE).collect();
    let more = if told.len() < line.len() { "…" } else { "" };
    format!("not the server's own words, is there a gateway in between? It begins \"{}{more}\"", told.escape_debug())
}

/// The error of an answer that these servers make: with a type, or with the status said again.
fn own_error(status: u16, body: &[u8]) -> Option<FailureCause<'_>> {
    let failure = serde_json::from_slice::<BulkFailure<'_>>(body).ok()?;
    let error = failure.error?;
    (error.kind.is_some() || failure.status == Some(status)).then_some(error)
}

#[derive(Deserialize)]
struct BulkAnswer<'a> {
    #[serde(borrow)]
    items: BulkItems<'a>,
}

/// One outcome after the other, whatever the action was called.
struct BulkItems<'a>(Vec<BulkItem<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for BulkItems<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for ItemsVisitor<'a> {
            type Value = BulkItems<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of outcomes")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut items = Vec::new();
                while let Some(BulkAction { create }) = seq.next_element::<BulkAction<'_>>()? {
                    items.push(create);
                }
                Ok(BulkItems(items))
            }
        }
        deserializer.deserialize_seq(ItemsVisitor(std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
struct BulkAction<'a> {
    #[serde(borrow)]
    create: BulkItem<'a>,
}

#[derive(Deserialize)]
struct BulkItem<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: FailureCause<'a>,
}

#[derive(Deserialize)]
struct BulkFailure<'a> {
    #[serde(borrow, default)]
    error: Option<FailureCause<'a>>,
    /// Kibana calls it otherwise.
    #[serde(default, alias = "statusCode")]
    status: Option<u16>,
}

/// `{"type": …, "reason": …}`, or a mere sentence.
#[derive(Default)]
struct FailureCause<'a> {
    kind: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
}

impl FailureCause<'_> {
    fn verdict(&self, status: u16) -> ItemVerdict {
        verdict(status, self.kind.as_deref().unwrap_or_default(), self.reason.as_deref().unwrap_or_default())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for FailureCause<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CauseVisitor<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for CauseVisitor<'a> {
            type Value = FailureCause<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(FailureCause { kind: None, reason: Some(Cow::Owned(text.to_owned())) })
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(FailureCause::default())
            }

            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut cause = FailureCause::default();
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
        deserializer.deserialize_any(CauseVisitor(std::marker::PhantomData))
    }
}

impl fmt::Display for BulkItem<'_> {
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
        let reason = |index, reason: &str| RejectedRecord { index, reason: reason.to_owned() };
        let delivery = outcomes(200, &body, 9).unwrap();
        assert_eq!(delivery.retry, [2, 4, 5, 6, 8]);
        assert_eq!(delivery.cause.unwrap().reason(), FailureReason::Throttled);
        assert_eq!(delivery.rejected, [reason(3, "400 document_parsing_exception: [1:5] failed")]);
    }

    #[test]
    fn a_request_refused_record_for_record_says_why() {
        let body =
            items(&[item(429, r#"{"type":"rejected_execution_exception","reason":"queue full"}"#), item(503, "")]);
        assert_eq!(transient(200, &body, 2), "429 rejected_execution_exception: queue full");
    }

    #[test]
    fn an_error_that_could_be_anyones_is_the_records_where_its_index_takes_others() {
        let odd = item(400, r#"{"type":"illegal_argument_exception","reason":"something new"}"#);
        let (alone, beside) = (items(&[odd.clone(), odd.clone()]), items(&[item(201, ""), odd]));
        for (body, one_index, rejected) in [(&alone, true, 0), (&beside, true, 1), (&beside, false, 0)] {
            let judged = judged(200, body, SentBatch { records: 2, one_index });
            let got = judged.map_or(0, |delivery| delivery.rejected.len());
            assert_eq!(got, rejected, "one index: {one_index}");
        }
    }

    #[test]
    fn a_failed_request_is_tried_again_and_says_what_the_server_said() {
        use FailureReason::{Auth, Forbidden, NotReady, Protocol, Server, Throttled};
        let credentials = br#"{"error":{"root_cause":[{"type":"y"}],"type":"security_exception","reason":"no such key"},"status":401}"#;
        let full =
            br#"{"error":{"type":"validation_exception","reason":"this action would add [2] shards"},"status":400}"#;
        for (status, body, class, why) in [
            (401, &credentials[..], Auth, "401 security_exception: no such key"),
            (400, full, NotReady, "400 validation_exception: this action would add [2] shards"),
            (405, br#"{"error":"Incorrect HTTP method","status":405}"#, Protocol, "405: Incorrect HTTP method"),
            (429, b"{}", Throttled, "429: not the server's own words, is there a gateway in between? It begins \"{}\""),
            (
                503,
                b"\n <html>\x1b[2J\nbusy",
                Server,
                "503: not the server's own words, is there a gateway in between? It begins \"<html>\\u{1b}[2J\"",
            ),
            (
                400,
                b"<html>",
                Protocol,
                "400: not the server's own words, is there a gateway in between? It begins \"<html>\"",
            ),
            (403, b"", Forbidden, "403: an empty answer, not the server's own: is there a gateway in between?"),
            (
                404,
                br#"{"error":"not here"}"#,
                Protocol,
                "404: not the server's own words, is there a gateway in between? It begins \"{\\\"error\\\":\\\"not here\\\"}\"",
            ),
            (302, b"", Protocol, "302: an empty answer, not the server's own: is there a gateway in between?"),
        ] {
            for records in [1, 3] {
                let Err(SinkError::Transient(error)) = outcomes(status, body, records) else { panic!("{status}") };
                assert_eq!((error.reason(), error.to_string().as_str()), (class, why));
                assert_eq!(splits(status, body), None);
            }
        }
    }

    #[test]
    fn what_is_too_large_or_names_a_document_is_rejected_only_when_it_is_one_record() {
        let line = br#"{"error":{"type":"illegal_argument_exception","reason":"Malformed action/metadata line [3]"},"status":400}"#;
        for (status, body, split) in [
            (413, &b""[..], SplitReason::TooLarge),
            (413, b"<html>", SplitReason::TooLarge),
            (400, line, SplitReason::Malformed),
        ] {
            assert_eq!(splits(status, body), Some(split));
            assert!(matches!(outcomes(status, body, 2), Err(SinkError::Transient(_))));
            let rejected = outcomes(status, body, 1).unwrap().rejected;
            assert!(rejected[0].reason.starts_with(&status.to_string()), "{rejected:?}");
        }
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
        let Ok(delivery) =
            outcomes(200, &items(&[item(400, &format!(r#"{{"type":"parse_exception","reason":"{long}"}}"#))]), 1)
        else {
            panic!()
        };
        let reason = &delivery.rejected[0].reason;
        assert!(reason.ends_with("ü…") && reason.len() <= MAX_REASON + "400 parse_exception: …".len(), "{reason}");
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
