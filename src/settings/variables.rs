//! Every setting, declared once: name, field, type, default, meaning.
//!
//! The typed [`Settings`], the flags, `podtap settings`, `podtap --help` and the table of the README come from here.
//! A new setting is one line. What a value may be stands in its type (`values`).

use std::net::IpAddr;
use std::path::PathBuf;

use super::clean::Texts;
use super::declare::{Variable, settings};
use super::values::{
    Auto, Bytes, CaptureFilter, Count, DirectionName, Format, Fraction, Headers, ListOf, Listen, LogFormat, LogLevel,
    Millis, Mode, Network, Rate, Seconds, SinkName, StatusPattern, Tag, Value,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The largest snap length libpcap takes; less cuts the large segments that offloading makes.
const MAX_SNAPLEN: u64 = 262_144;

settings! {
    General "General" {
        /// `debug` logs more of itself; `development` listens on `lo` and prints readable text. Whatever is set
        /// explicitly wins over what the mode implies.
        MODE mode: Mode = "prod";
    }

    Output "Output" {
        /// Where records go.
        SEND_LOGS_TO send_logs_to: ListOf<SinkName> = "stdout";
        /// What a record looks like: Elastic Common Schema, the lines of kubernetes-internal-http-logger, or text for
        /// eyes. `auto` is `ecs`, but `text` when standard output is a terminal.
        FORMAT format: Auto<Format> = "auto";
        /// The same for standard output only; `auto` follows FORMAT.
        FORMAT_STDOUT format_stdout: Auto<Format> = "auto", only Stdout;
        /// The same for the file only; `auto` follows FORMAT.
        FORMAT_FILE format_file: Auto<Format> = "auto", only File;
        /// The file records are appended to.
        FILE_PATH file_path: Option<PathBuf> = "none", only File;
        /// The file is rotated when it has grown to this size.
        FILE_MAX_BYTES file_max_bytes: Option<Bytes<{ 4 * KIB }, { 1024 * GIB }>> = "100MiB", only File;
        /// The file is rotated when it is this old.
        FILE_MAX_AGE file_max_age: Option<Seconds> = "none", only File;
        /// How many rotated files are kept.
        FILE_KEEP file_keep: Count<0, 10_000> = "5", only File;
        /// Whether rotated files are compressed with gzip.
        FILE_COMPRESS file_compress: bool = "false", only File;
    }

    Select "Which exchanges are recorded" {
        /// Request targets not to record. Without a glob an entry matches the path exactly, the query ignored.
        IGNORE_URLS ignore_urls: ListOf<String> = "none", was "IGNOREURLS",
            allowed "comma list of paths, globs allowed (/health, /internal/*); or none";
        /// Hosts not to record, as in the Host header, without port.
        IGNORE_HOSTS ignore_hosts: ListOf<String> = "none", allowed "comma list of host names, globs allowed; or none";
        /// Methods not to record.
        IGNORE_METHODS ignore_methods: ListOf<String> = "none", allowed "comma list of methods (OPTIONS,HEAD); or none";
        /// Statuses not to record.
        IGNORE_STATUS ignore_status: ListOf<StatusPattern> = "none",
            allowed "comma list of codes and classes (2xx,304); or none";
        /// User agents not to record.
        IGNORE_USER_AGENTS ignore_user_agents: ListOf<String> = "none",
            allowed "comma list of user agents, globs allowed (kube-probe*); or none";
        /// Record only exchanges that go these ways, seen from the pod.
        ONLY_DIRECTION only_direction: ListOf<DirectionName> = "none";
        /// Share of the exchanges to record. Failures, unanswered and slow ones are always kept; what is left out is
        /// counted.
        SAMPLE sample: Fraction = "1";
        /// Most records a second. Failures, unanswered and slow ones are always kept; what is left out is counted.
        RATE_LIMIT rate_limit: Option<Rate> = "none";
        /// From when on an exchange is slow, and so always kept.
        SLOW_AFTER_MS slow_after: Option<Millis> = "1000";
    }

    Shape "What a record holds" {
        /// Whether headers are recorded; secrets in them are always masked.
        LOGHEADERS log_headers: Headers = "false";
        /// Headers to mask. A list extends the usual ones (Authorization, Cookie, Set-Cookie, X-Api-Key and the like),
        /// `-name` takes one out, `=name` replaces them all; `none` masks no header.
        REDACT_HEADERS redact_headers: Auto<ListOf<String>> = "auto",
            allowed "auto, none, or comma list of header names (x-a, +x-b*, -x-c, =x-d), globs allowed";
        /// Query parameters whose values are masked, in the same way (token, password and the like); `none` masks none.
        REDACT_QUERY redact_query: Auto<ListOf<String>> = "auto",
            allowed "auto, none, or comma list of parameter names, globs allowed";
        /// Paths of which the segments under `*` are masked.
        REDACT_PATH redact_path: ListOf<String> = "none", allowed "comma list of paths (/reset/*); or none";
        /// Labels that every record carries.
        TAGS tags: ListOf<Tag> = "none", allowed "comma list of key=value; or none";
        /// Name of the service in every record.
        SERVICE_NAME service_name: Option<String> = "none";
        /// Own patterns for `http.route`, tried before the built-in ones.
        ROUTES routes: ListOf<String> = "none", allowed "comma list of paths (/orders/{id}); or none";
        /// Proxies whose word about the client's address is taken; `auto` is every private address.
        TRUSTED_PROXIES trusted_proxies: Auto<ListOf<Network>> = "auto",
            allowed "auto, none, or comma list of IP addresses and networks (10.0.0.0/8)";
        /// What makes `event.id` differ between observers of the same exchange; `auto` is the pod's uid, else the
        /// host's
        /// name.
        OBSERVER_ID observer_id: Auto<String> = "auto";
        /// Name of the cluster in every record.
        CLUSTER_NAME cluster_name: Option<String> = "none";
    }

    Time "Time" {
        /// When a request counts as unanswered.
        TIMEOUT_AFTER_MS timeout_after: Millis = "10000", was "TIMEOUTAFTERMS";
        /// How often unanswered requests are looked for.
        TIMEOUT_INTERVAL_CHECK timeout_interval_check: Millis = "2000", was "TIMEOUTINTERVALCHECK";
        /// An answer that is still coming after this long is recorded as a stream, apart from ordinary exchanges.
        STREAM_AFTER_MS stream_after: Millis = "30000";
        /// How long stopping may take: draining of queues included. Keep it below the pod's
        /// `terminationGracePeriodSeconds`.
        GRACE_PERIOD grace_period: Seconds = "25s";
        /// How long capturing may go on after the signal to stop, while there is traffic; `auto` is half of
        /// GRACE_PERIOD.
        LINGER linger: Auto<Seconds> = "auto";
    }

    Capture "Capture" {
        /// Interfaces to listen on; `auto` is the pod's primary interface by route, `any` is all of them.
        IFACE iface: Auto<ListOf<String>> = "auto", allowed "auto, any, or comma list of interfaces";
        /// What the kernel hands over. `auto` leaves out what cannot carry TCP; a replay uses only an explicit one.
        CAP_FILTER cap_filter: CaptureFilter = "auto", was "CAPFILTER";
        /// Bytes captured of each frame.
        SNAPLEN snaplen: Bytes<64, MAX_SNAPLEN> = "262144";
        /// Size of the kernel's ring for each interface.
        CAPTURE_BUFFER capture_buffer: Bytes<{ 256 * KIB }, GIB> = "8MiB";
        /// The pod's own addresses, which decide the direction; `auto` asks POD_IPS and the interfaces, and is none
        /// in a
        /// replay.
        OWN_IPS own_ips: Auto<ListOf<IpAddr>> = "auto", allowed "auto, none, or comma list of IP addresses";
    }

    Limits "Limits" {
        /// Connections tracked at once; the one idle longest makes room. `auto` follows the memory limit.
        MAX_CONNECTIONS max_connections: Auto<Count<1, 10_000_000>> = "auto";
        /// Longest head of a request or response that is parsed.
        MAX_HEAD_BYTES max_head_bytes: Bytes<KIB, { 16 * MIB }> = "64KiB";
        /// Bytes held in all while earlier ones are missing. `auto` follows the memory limit.
        MAX_HELD_BYTES max_held_bytes: Auto<Bytes<{ 64 * KIB }, { 64 * GIB }>> = "auto";
        /// Records that may wait for one sink.
        QUEUE_RECORDS queue_records: Count<1, 10_000_000> = "10000";
        /// Bytes that may wait for one sink. `auto` follows the memory limit.
        QUEUE_BYTES queue_bytes: Auto<Bytes<{ 64 * KIB }, { 64 * GIB }>> = "auto";
        /// Most records of one batch.
        BATCH_RECORDS batch_records: Count<1, 100_000> = "500";
        /// Most bytes of one batch.
        BATCH_BYTES batch_bytes: Bytes<{ 4 * KIB }, { 64 * MIB }> = "1MiB";
        /// How long a batch may wait to be full.
        BATCH_AGE batch_age: Seconds = "1s";
    }

    Own "podtap itself" {
        /// How much podtap says of itself, on standard error.
        LOG_LEVEL log_level: LogLevel = "info";
        /// What its log lines look like.
        LOG_FORMAT log_format: LogFormat = "text";
        /// Where metrics and health are served.
        // 19199 lies below the ephemeral ports and the node ports, and apart from what apps (80, 3000, 5000, 8000 and
        // up, 9000 and up) and meshes (15000 and up, 4140 and up) take: in a pod all containers share one port space.
        METRICS_ADDR metrics_addr: Option<Listen> = ":19199";
    }

    Pod "The pod, by the Downward API" {
        /// Name of the pod, in every record (`metadata.name`).
        POD_NAME pod_name: Option<String> = "none";
        /// Its namespace (`metadata.namespace`).
        POD_NAMESPACE pod_namespace: Option<String> = "none";
        /// Its uid (`metadata.uid`).
        POD_UID pod_uid: Option<String> = "none";
        /// Its address (`status.podIP`).
        POD_IP pod_ip: Option<IpAddr> = "none";
        /// All its addresses (`status.podIPs`).
        POD_IPS pod_ips: ListOf<IpAddr> = "none", allowed "comma list of IP addresses; or none";
        /// The node it runs on (`spec.nodeName`).
        NODE_NAME node_name: Option<String> = "none";
        /// File with its labels (`metadata.labels` in a Downward API volume), read again when it changes.
        POD_LABELS_PATH pod_labels_path: Option<PathBuf> = "/etc/podtap/pod/labels";
        /// The same for its annotations (`metadata.annotations`).
        POD_ANNOTATIONS_PATH pod_annotations_path: Option<PathBuf> = "/etc/podtap/pod/annotations";
        /// Annotations to record; no others are.
        ANNOTATIONS annotations: ListOf<String> = "none", allowed "comma list of names, globs allowed (example.com/*); or none";
    }
}

/// Names that are fixed, but that this version does not use: set, they are pointed out, but not as misspelt.
/// Who declares one takes it out here.
pub(super) const UNUSED: &str = "
    FORMAT_FLUENTD FORMAT_LOGSTASH FORMAT_ELASTICSEARCH
    SPOOL_DIR SPOOL_MAX_BYTES SPOOL_FSYNC DEAD_LETTER_PATH
    FLUENTHOST FLUENTPORT FLUENTTAG
    FLUENTD_HOST FLUENTD_PORT FLUENTD_TAG FLUENTD_SHARED_KEY FLUENTD_SHARED_KEY_FILE FLUENTD_ACK FLUENTD_COMPRESS
    FLUENTD_TLS FLUENTD_TLS_CA FLUENTD_TLS_CERT FLUENTD_TLS_KEY FLUENTD_TLS_KEY_FILE FLUENTD_TLS_NAME
    FLUENTD_TLS_VERIFY FLUENTD_USERNAME FLUENTD_PASSWORD FLUENTD_PASSWORD_FILE FLUENTD_TIMEOUT FLUENTD_CONCURRENCY
    LOGSTASH_HOST LOGSTASH_PORT LOGSTASH_TYPE LOGSTASH_COMPRESS LOGSTASH_PATH
    LOGSTASH_TLS LOGSTASH_TLS_CA LOGSTASH_TLS_CERT LOGSTASH_TLS_KEY LOGSTASH_TLS_KEY_FILE LOGSTASH_TLS_NAME
    LOGSTASH_TLS_VERIFY LOGSTASH_USERNAME LOGSTASH_PASSWORD LOGSTASH_PASSWORD_FILE LOGSTASH_TIMEOUT
    LOGSTASH_CONCURRENCY
    ELASTICSEARCH_HOST ELASTICSEARCH_PORT ELASTICSEARCH_LOG ELASTICSEARCH_API_VERSION ELASTICSEARCH_INDEX
    ELASTICSEARCH_TYPE ELASTICSEARCH_API_KEY ELASTICSEARCH_API_KEY_FILE ELASTICSEARCH_BEARER
    ELASTICSEARCH_BEARER_FILE ELASTICSEARCH_CLOUD_ID ELASTICSEARCH_COMPRESS
    ELASTICSEARCH_TLS ELASTICSEARCH_TLS_CA ELASTICSEARCH_TLS_CERT ELASTICSEARCH_TLS_KEY ELASTICSEARCH_TLS_KEY_FILE
    ELASTICSEARCH_TLS_NAME ELASTICSEARCH_TLS_VERIFY ELASTICSEARCH_USERNAME ELASTICSEARCH_PASSWORD
    ELASTICSEARCH_PASSWORD_FILE ELASTICSEARCH_TIMEOUT ELASTICSEARCH_CONCURRENCY
";
