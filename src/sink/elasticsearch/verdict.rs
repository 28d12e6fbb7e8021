//! Whose fault an error of Elasticsearch's or OpenSearch's is: the record's, or that of the state the server is in. Pure;
//! `answer` reads the answers. The table in docs/elasticsearch.md says the same for people.
//!
//! A record is refused for good only where the error names the document. Everything else is held: it is somebody's to
//! mend on the server, and no record deserves to be lost for it. Types alone do not always tell: both servers say
//! `illegal_argument_exception` of a field's value and of a full cluster, there the reason's words decide.

use crate::sink::FailureReason;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemVerdict {
    /// It is there.
    Stored,
    /// It waits.
    Hold(FailureReason),
    /// The document itself is refused.
    Refused,
    /// The server found fault with it, and we do not know whether with the document: others next to it may show.
    Unclear,
}

/// Types that are about a document, whatever the words.
const DOCUMENT_TYPES: &[&str] = &[
    "document_parsing_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
    "parsing_exception",
    "parse_exception",
    "x_content_parse_exception",
    "x_content_parse",
    "xcontent_parse_exception",
    "json_parse_exception",
    "json_e_o_f_exception",
    "not_x_content_exception",
    "input_coercion_exception",
    "stream_constraints_exception",
    "routing_missing_exception",
    "max_bytes_length_exceeded_exception",
    // An ingest pipeline that fails on it.
    "script_exception",
    "fail_processor_exception",
    "ingest_processor_exception",
];

/// Words of an `illegal_argument_exception` (or a validation) that are about the document.
const DOCUMENT_WORDS: &[&str] = &[
    "id is too long",
    "] is too long, must be no longer than",
    "immense term",
    "Limit of total fields",
    "Limit of mapping depth",
    "Limit of field name length",
    "number of nested documents",
    "cannot be changed from type",
    "can't merge a non",
    "Can't merge",
    "Cannot update parameter",
    "mapper [",
    "timestamp field [",
    "field name cannot",
    "object field starting or ending with a [.]",
    "Malformed action/metadata line",
    "must be terminated by a newline",
    "failed to parse",
    "unable to convert",
    "Provided Grok expressions do not match",
    "not present as part of path",
];

/// Types that say in which state the server is, under whatever status.
const STATE_TYPES: &[(&str, FailureReason)] = &[
    ("cluster_block_exception", FailureReason::NotReady),
    ("index_closed_exception", FailureReason::NotReady),
    ("index_not_found_exception", FailureReason::NotReady),
    ("validation_exception", FailureReason::NotReady),
    ("invalid_index_name_exception", FailureReason::NotReady),
    ("security_exception", FailureReason::Forbidden),
    ("es_rejected_execution_exception", FailureReason::Throttled),
    ("rejected_execution_exception", FailureReason::Throttled),
    ("open_search_rejected_execution_exception", FailureReason::Throttled),
    ("circuit_breaking_exception", FailureReason::Throttled),
];

/// Words of an `illegal_argument_exception` that are about the server's state.
const STATE_WORDS: &[&str] = &[
    "this action would add",
    "no write index is defined for alias",
    "has more than one index associated with it",
    "pipeline with id [",
    "unrecognized parameter",
    "final mapping would have more than 1 type",
    "only write ops with an op_type of create are allowed in data streams",
];

/// Of one record, or of a whole request: `status`, the error's type, and its words.
pub(super) fn verdict(status: u16, kind: &str, words: &str) -> ItemVerdict {
    let known = STATE_TYPES.iter().find(|(known, _)| *known == kind).map(|(_, reason)| *reason);
    match status {
        // 409: it was there already, from an attempt whose answer was lost or from an earlier replay.
        200..=299 | 409 => ItemVerdict::Stored,
        401 => ItemVerdict::Hold(FailureReason::Auth),
        413 => ItemVerdict::Refused,
        _ if known.is_some() => ItemVerdict::Hold(known.unwrap_or(FailureReason::NotReady)),
        403 => ItemVerdict::Hold(FailureReason::Forbidden),
        404 => ItemVerdict::Hold(FailureReason::NotReady),
        429 => ItemVerdict::Hold(FailureReason::Throttled),
        // An ingest pipeline that fails on a document is answered so.
        500 if DOCUMENT_TYPES.contains(&kind) => ItemVerdict::Refused,
        500.. => ItemVerdict::Hold(FailureReason::Server),
        400 if STATE_WORDS.iter().any(|known| words.contains(known)) => ItemVerdict::Hold(FailureReason::NotReady),
        400 if names_document(kind, words) => ItemVerdict::Refused,
        400 => ItemVerdict::Unclear,
        _ => ItemVerdict::Hold(FailureReason::Protocol),
    }
}

fn names_document(kind: &str, words: &str) -> bool {
    DOCUMENT_TYPES.contains(&kind) || DOCUMENT_WORDS.iter().any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/elasticsearch.md: status, type (`-`: none) and words, as the servers wrote them.
    const ANSWERS: [(ItemVerdict, &str); 9] = [
        (
            ItemVerdict::Stored,
            "201 -
            409 version_conflict_engine_exception [a]: version conflict, document already exists",
        ),
        (
            ItemVerdict::Refused,
            r"400 document_parsing_exception [1:76] failed to parse field [source.ip] of type [ip]
            400 mapper_parsing_exception failed to parse field [source.ip]
            400 strict_dynamic_mapping_exception mapping set to strict
            400 illegal_argument_exception Document contains at least one immense term in field
            400 illegal_argument_exception Limit of total fields [1000] has been exceeded
            400 illegal_argument_exception mapper [a] cannot be changed from type [long] to [text]
            400 illegal_argument_exception data stream timestamp field [@timestamp] is missing
            400 action_request_validation_exception Validation Failed: 1: id [x] is too long, must be no longer than 512 bytes but was: 600;
            400 illegal_argument_exception The bulk request must be terminated by a newline [\n]
            500 fail_processor_exception no
            413 -",
        ),
        (
            ItemVerdict::Hold(FailureReason::Forbidden),
            "403 security_exception action [indices:data/write/bulk[s]] is unauthorized",
        ),
        (
            ItemVerdict::Hold(FailureReason::NotReady),
            "403 cluster_block_exception index [web] blocked by: [FORBIDDEN/8/index write (api)];
            429 cluster_block_exception index [web] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]
            400 illegal_argument_exception no write index is defined for alias [web]. The write index may be explicitly disabled
            400 illegal_argument_exception Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum shards open;
            400 validation_exception Validation Failed: 1: this action would add [2] shards;
            400 index_closed_exception closed
            400 illegal_argument_exception pipeline with id [gone] does not exist
            400 illegal_argument_exception request [/_bulk] contains unrecognized parameter: [require_data_stream]
            404 index_not_found_exception no such index [web]",
        ),
        (ItemVerdict::Hold(FailureReason::Auth), "401 security_exception unable to authenticate user"),
        (
            ItemVerdict::Hold(FailureReason::Throttled),
            "429 es_rejected_execution_exception rejected execution of coordinating operation",
        ),
        (
            ItemVerdict::Hold(FailureReason::Server),
            "503 unavailable_shards_exception [web][0] primary shard is not active
            500 null_pointer_exception",
        ),
        (ItemVerdict::Hold(FailureReason::Protocol), "405 -\n302 -"),
        (ItemVerdict::Unclear, "400 illegal_argument_exception something new\n400 -"),
    ];

    #[test]
    fn only_an_error_that_names_the_document_refuses_the_record() {
        for (expected, answers) in ANSWERS {
            for answer in answers.lines().map(str::trim) {
                let mut parts = answer.splitn(3, ' ');
                let mut next = || parts.next().filter(|part| *part != "-").unwrap_or_default();
                let (status, kind, words) = (next().parse().unwrap(), next(), next());
                assert_eq!(verdict(status, kind, words), expected, "{answer}");
            }
        }
    }
}
