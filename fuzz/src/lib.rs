//! The bodies of the fuzz targets: each takes any bytes and panics when something that must hold does not.
//!
//! Nothing here needs libFuzzer, so tests/it/fuzz_corpus.rs replays seeds and regressions through the same functions
//! with the stable compiler.

#[cfg(feature = "es")]
pub mod bulk_answer;
pub mod capture_file;
pub mod choices;
pub mod connects;
pub mod conntrack;
pub mod conversation;
pub mod dns;
pub mod expression;
pub mod forward_reply;
pub mod frames;
pub mod hpack;
pub mod http2;
pub mod http2_bytes;
pub mod kernel_lines;
pub mod lumberjack_acks;
pub mod netlink;
pub mod nflog;
pub mod pairs;
pub mod seeds;
pub mod settings;
pub mod spool;
pub mod verdicts;
pub mod watch;
pub mod websocket;
pub mod words;

/// A target: takes any bytes, panics on a finding.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames::run),
    ("conversation", conversation::run),
    ("pairs", pairs::run),
    ("hpack", hpack::run),
    ("http2", http2::run),
    ("http2_bytes", http2_bytes::run),
    ("websocket", websocket::run),
    ("conntrack", conntrack::run),
    ("dns", dns::run),
    ("netlink", netlink::run),
    ("connects", connects::run),
    ("nflog", nflog::run),
    ("kernel_lines", kernel_lines::run),
    ("verdicts", verdicts::run),
    ("settings", settings::run),
    ("expression", expression::run),
    ("capture_file", capture_file::run),
    #[cfg(feature = "es")]
    ("bulk_answer", bulk_answer::run),
    ("forward_reply", forward_reply::run),
    ("lumberjack_acks", lumberjack_acks::run),
    ("spool", spool::run),
];
