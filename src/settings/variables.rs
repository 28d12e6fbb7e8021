//! Every setting, declared once: name, field, type, default, meaning.
//!
//! The typed [`Settings`], the flags, `podtap settings`, `podtap --help` and the table of the README come from here.
//! A new setting is one line. What a value may be stands in its type (`values`).

use std::net::IpAddr;
use std::path::PathBuf;

use super::clean::Texts;
use super::declare::{Variable, settings};
use super::values::{
    Auto, Bytes, CaptureFilter, Count, DirectionName, FieldFormat, Format, Fraction, Headers, ListOf, Listen,
    LogFormat, LogLevel, LogstashType, Millis, Mode, Network, Rate, Seconds, Secret, SinkName, SpoolFsync,
    StatusPattern, Tag, Value,
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
        /// The same for Fluentd only; `auto` follows FORMAT.
        FORMAT_FLUENTD format_fluentd: Auto<FieldFormat> = "auto", only Fluentd;
        /// The same for Logstash only; `auto` follows FORMAT.
        FORMAT_LOGSTASH format_logstash: Auto<FieldFormat> = "auto", only Logstash;
        /// The same for Elasticsearch only; `auto` follows FORMAT.
        FORMAT_ELASTICSEARCH format_elasticsearch: Auto<FieldFormat> = "auto", only Elasticsearch;
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

    Fluentd "Fluentd, Fluent Bit, and whoever speaks the forward protocol" {
        /// Hosts (`name`, `name:port`, `[::1]:port`); when one cannot be reached, the next one's turn comes.
        FLUENTD_HOST fluentd_host: ListOf<String> = "localhost", was "FLUENTHOST", only Fluentd,
            allowed "comma list of hosts";
        /// Port of the hosts that name none.
        FLUENTD_PORT fluentd_port: Count<1, 65_535> = "24224", was "FLUENTPORT", only Fluentd;
        /// Tag of the records; may hold `{namespace}`, `{pod}`, `{node}`, `{service}` and `{cluster}`.
        FLUENTD_TAG fluentd_tag: String = "k8s-internal-networking", was "FLUENTTAG", only Fluentd;
        /// Whether a batch counts as delivered only when the server has acknowledged it.
        FLUENTD_ACK fluentd_ack: bool = "true", only Fluentd;
        /// Whether batches are compressed with gzip.
        FLUENTD_COMPRESS fluentd_compress: bool = "false", only Fluentd;
        /// The key shared with the server.
        FLUENTD_SHARED_KEY fluentd_shared_key: Option<Secret> = "none", only Fluentd;
        /// User, where the server asks for one.
        FLUENTD_USERNAME fluentd_username: Option<String> = "none", only Fluentd;
        /// The user's password.
        FLUENTD_PASSWORD fluentd_password: Option<Secret> = "none", only Fluentd;
        /// Whether the connection is encrypted; `auto`: when one of the other FLUENTD_TLS_… is set.
        FLUENTD_TLS fluentd_tls: Auto<bool> = "auto", only Fluentd;
        /// Who may sign the server's certificate, in PEM: a path, or the text itself. `none` is the public authorities.
        FLUENTD_TLS_CA fluentd_tls_ca: Option<String> = "none", only Fluentd;
        /// Our own certificate with its chain, in PEM: a path, or the text itself.
        FLUENTD_TLS_CERT fluentd_tls_cert: Option<String> = "none", only Fluentd;
        /// Its key; `none`: it stands beside the certificate.
        FLUENTD_TLS_KEY fluentd_tls_key: Option<Secret> = "none", only Fluentd;
        /// The name that the server's certificate must hold; `none` is the host's.
        FLUENTD_TLS_NAME fluentd_tls_name: Option<String> = "none", only Fluentd;
        /// Whether the server's certificate is looked at.
        FLUENTD_TLS_VERIFY fluentd_tls_verify: bool = "true", only Fluentd;
        /// How long to wait for an answer.
        FLUENTD_TIMEOUT fluentd_timeout: Seconds = "30s", only Fluentd;
        /// Batches on their way at once; with more than one they may overtake each other.
        FLUENTD_CONCURRENCY fluentd_concurrency: Count<1, 32> = "1", only Fluentd;
    }

    Logstash "Logstash" {
        /// Which of Logstash's inputs listens there. Only `beats` and `http` acknowledge; with `tcp` what the server had
        /// not read is lost with it, and `udp` loses silently.
        LOGSTASH_TYPE logstash_type: LogstashType = "tcp", only Logstash;
        /// Hosts (`name`, `name:port`, `[::1]:port`); when one cannot be reached, the next one's turn comes.
        LOGSTASH_HOST logstash_host: ListOf<String> = "localhost", only Logstash, allowed "comma list of hosts";
        /// Port of the hosts that name none; `auto` is 5044 for `beats`, else 5000.
        LOGSTASH_PORT logstash_port: Auto<Count<1, 65_535>> = "auto", only Logstash;
        /// Path of the requests of `http`.
        LOGSTASH_PATH logstash_path: String = "/", only Logstash;
        /// Whether `beats` and `http` compress.
        LOGSTASH_COMPRESS logstash_compress: bool = "false", only Logstash;
        /// User of `http`.
        LOGSTASH_USERNAME logstash_username: Option<String> = "none", only Logstash;
        /// The user's password.
        LOGSTASH_PASSWORD logstash_password: Option<Secret> = "none", only Logstash;
        /// Whether the connection is encrypted; `auto`: when one of the other LOGSTASH_TLS_… is set.
        LOGSTASH_TLS logstash_tls: Auto<bool> = "auto", only Logstash;
        /// Who may sign the server's certificate, in PEM: a path, or the text itself. `none` is the public authorities.
        LOGSTASH_TLS_CA logstash_tls_ca: Option<String> = "none", only Logstash;
        /// Our own certificate with its chain, in PEM: a path, or the text itself.
        LOGSTASH_TLS_CERT logstash_tls_cert: Option<String> = "none", only Logstash;
        /// Its key; `none`: it stands beside the certificate.
        LOGSTASH_TLS_KEY logstash_tls_key: Option<Secret> = "none", only Logstash;
        /// The name that the server's certificate must hold; `none` is the host's.
        LOGSTASH_TLS_NAME logstash_tls_name: Option<String> = "none", only Logstash;
        /// Whether the server's certificate is looked at.
        LOGSTASH_TLS_VERIFY logstash_tls_verify: bool = "true", only Logstash;
        /// How long to wait for an answer.
        LOGSTASH_TIMEOUT logstash_timeout: Seconds = "30s", only Logstash;
        /// Batches on their way at once; with more than one they may overtake each other.
        LOGSTASH_CONCURRENCY logstash_concurrency: Count<1, 32> = "1", only Logstash;
    }

    Elasticsearch "Elasticsearch and OpenSearch" {
        /// Nodes of one cluster: hosts (`name`, `name:port`) or whole URLs.
        ELASTICSEARCH_HOST elasticsearch_host: ListOf<String> = "localhost", only Elasticsearch,
            allowed "comma list of hosts or URLs";
        /// Port of the hosts that name none.
        ELASTICSEARCH_PORT elasticsearch_port: Count<1, 65_535> = "9200", only Elasticsearch;
        /// Instead of hosts: the cloud id of a deployment.
        ELASTICSEARCH_CLOUD_ID elasticsearch_cloud_id: Option<String> = "none", only Elasticsearch;
        /// A data stream, an index, or a pattern by the record's own time in UTC (`podtap-%Y.%m.%d`).
        ELASTICSEARCH_INDEX elasticsearch_index: String = "k8s-internal-networking", only Elasticsearch;
        /// Mapping type, for servers that still have types (before 8).
        ELASTICSEARCH_TYPE elasticsearch_type: Option<String> = "none", only Elasticsearch;
        /// The server's version; `auto` asks it.
        ELASTICSEARCH_API_VERSION elasticsearch_api_version: String = "auto", only Elasticsearch,
            allowed "auto, 7.17, 8.x, 9.x, opensearch-2.x …";
        /// API key: `id:key`, or that in Base64 as the server shows it.
        ELASTICSEARCH_API_KEY elasticsearch_api_key: Option<Secret> = "none", only Elasticsearch;
        /// Bearer token.
        ELASTICSEARCH_BEARER elasticsearch_bearer: Option<Secret> = "none", only Elasticsearch;
        /// User.
        ELASTICSEARCH_USERNAME elasticsearch_username: Option<String> = "none", only Elasticsearch;
        /// The user's password.
        ELASTICSEARCH_PASSWORD elasticsearch_password: Option<Secret> = "none", only Elasticsearch;
        /// Whether requests are compressed with gzip.
        ELASTICSEARCH_COMPRESS elasticsearch_compress: bool = "true", only Elasticsearch;
        /// How much the client's library may log.
        ELASTICSEARCH_LOG elasticsearch_log: LogLevel = "warn", only Elasticsearch;
        /// Whether the connection is encrypted; `auto`: when one of the other ELASTICSEARCH_TLS_… is set.
        ELASTICSEARCH_TLS elasticsearch_tls: Auto<bool> = "auto", only Elasticsearch;
        /// Who may sign the server's certificate, in PEM: a path, or the text itself. `none` is the public authorities.
        ELASTICSEARCH_TLS_CA elasticsearch_tls_ca: Option<String> = "none", only Elasticsearch;
        /// Our own certificate with its chain, in PEM: a path, or the text itself.
        ELASTICSEARCH_TLS_CERT elasticsearch_tls_cert: Option<String> = "none", only Elasticsearch;
        /// Its key; `none`: it stands beside the certificate.
        ELASTICSEARCH_TLS_KEY elasticsearch_tls_key: Option<Secret> = "none", only Elasticsearch;
        /// Whether the server's certificate is looked at.
        ELASTICSEARCH_TLS_VERIFY elasticsearch_tls_verify: bool = "true", only Elasticsearch;
        /// How long to wait for an answer.
        ELASTICSEARCH_TIMEOUT elasticsearch_timeout: Seconds = "30s", only Elasticsearch;
        /// Batches on their way at once; with more than one they may overtake each other.
        ELASTICSEARCH_CONCURRENCY elasticsearch_concurrency: Count<1, 32> = "1", only Elasticsearch;
    }

    Kibana "Kibana, for `podtap setup kibana`" {
        /// Where Kibana is, with its base path where it has one. ELASTICSEARCH_TLS_… and ELASTICSEARCH_TIMEOUT hold for
        /// it, too.
        KIBANA_URL kibana_url: String = "http://localhost:5601", allowed "a URL";
        /// The space to import into; `none` is the default one. Of OpenSearch Dashboards: the tenant, the global one.
        KIBANA_SPACE kibana_space: Option<String> = "none", allowed "the id of a space; or none";
        /// API key: `id:key`, or that in Base64. `none`: the credentials of Elasticsearch.
        KIBANA_API_KEY kibana_api_key: Option<Secret> = "none";
    }

    Spool "What cannot be delivered" {
        /// Directory where records wait when memory is full, and over restarts. `none`: in memory only.
        SPOOL_DIR spool_dir: Option<PathBuf> = "none";
        /// Most bytes there, for each sink; the oldest records make room.
        SPOOL_MAX_BYTES spool_max_bytes: Bytes<MIB, { 1024 * GIB }> = "256MiB";
        /// When what is written there is made to survive a crash of the machine; a crash of podtap it always survives.
        SPOOL_FSYNC spool_fsync: SpoolFsync = "segment";
        /// File for the records that a server refused for good, one JSON line each, with the reason.
        DEAD_LETTER_PATH dead_letter_path: Option<PathBuf> = "none";
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
        /// Interfaces to listen on; `auto` is the pod's primary interface by route, and what a mesh's proxy puts on `lo`;
        /// `any` is all of them.
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
        /// How often servers that get records as `ecs` also get one of what was seen, lost and delivered since the last
        /// time (docs/record.md); `none` sends them none.
        LEDGER_INTERVAL ledger_interval: Option<Seconds> = "60s";
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
    ELASTICSEARCH_TLS_NAME
";
