//! Every setting, declared once: name, field, type, default, meaning.
//!
//! The typed [`Settings`], the flags, `podtap settings`, `podtap --help` and docs/settings.md come from here.
//! A new setting is one line. Its type says which values are allowed (`values`).

use std::net::IpAddr;
use std::path::PathBuf;

use super::clean::SettingTexts;
use super::declare::{Variable, settings};
use super::values::{
    Auto, Bytes, CaptureFilter, ConntrackEvents, Count, DirectionName, FieldFormat, FlowState, Format, Fraction,
    HeadersToLog, IpNetwork, ListOf, ListenAddress, LogFormat, LogLevel, LogstashType, Millis, Mode, NetlogLabels,
    Observe, OnlyKind, ProtocolName, Rate, RecordKind, RecordTag, Renewable, Seconds, Secret, SettingValue, SinkName,
    SpoolFsync, SpoolMode, StatusPattern, WorkloadSource,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The largest snap length libpcap takes; less cuts the large segments that offloading makes.
const MAX_SNAPLEN: u64 = 262_144;

settings! {
    "General" {
        /// `debug` sets LOG_LEVEL to `debug`; `development` listens on `lo` and prints readable text. An explicit
        /// setting wins over the mode.
        MODE mode: Mode = "prod";
        /// What to record: HTTP exchanges, flows (docs/flows.md), what the kernel's connection tracking reports
        /// (docs/conntrack.md), packets that firewall rules logged (docs/verdicts.md), connects of processes (docs/connects.md).
        RECORD record: ListOf<RecordKind> = "http";
        /// Where packets are captured, also record TCP connects that failed: refused, undeliverable, or without an answer
        /// for five seconds.
        FAILED_CONNECTS failed_connects: bool = "true";
    }

    "Output" {
        /// Where to send records.
        SEND_LOGS_TO send_logs_to: ListOf<SinkName> = "stdout";
        /// Format of a record: Elastic Common Schema, the lines of kubernetes-internal-http-logger, readable text, or an HTTP
        /// archive (of a replay, to standard output). Or the lines of k8s-conntrack-log, of Cloud Foundry's iptables-logger, of
        /// NetLog or of lightmon. `auto` is `ecs`, or `text` when standard output is a terminal. Records that a format does not
        /// know are left out and counted. Servers get `ecs` instead of what is for lines only.
        FORMAT format: Auto<Format> = "auto";
        /// Format for standard output only; `auto` follows FORMAT.
        FORMAT_STDOUT format_stdout: Auto<Format> = "auto", only Stdout;
        /// Format for the file only; `auto` follows FORMAT.
        FORMAT_FILE format_file: Auto<Format> = "auto", only File;
        /// Format for Fluentd only; `auto` follows FORMAT.
        FORMAT_FLUENTD format_fluentd: Auto<FieldFormat> = "auto", only Fluentd;
        /// Format for Logstash only; `auto` follows FORMAT.
        FORMAT_LOGSTASH format_logstash: Auto<FieldFormat> = "auto", only Logstash;
        /// Format for Elasticsearch only; `auto` follows FORMAT.
        FORMAT_ELASTICSEARCH format_elasticsearch: Auto<FieldFormat> = "auto", only Elasticsearch;
        /// File to append records to.
        FILE_PATH file_path: Option<PathBuf> = "none", only File;
        /// Rotate the file when it reaches this size.
        FILE_MAX_BYTES file_max_bytes: Option<Bytes<{ 4 * KIB }, { 1024 * GIB }>> = "100MiB", only File;
        /// Rotate the file when it is this old.
        FILE_MAX_AGE file_max_age: Option<Seconds> = "none", only File;
        /// Number of rotated files to keep.
        FILE_KEEP file_keep: Count<0, 10_000> = "5", only File;
        /// Compress rotated files with gzip.
        FILE_COMPRESS file_compress: bool = "false", only File;
    }

    "All servers" {
        /// Replace connections to servers after about this long, so that a new server behind the same name gets its share.
        CONNECTION_MAX_AGE connection_max_age: Option<Seconds> = "5m";
        /// HTTP proxy for servers reached over HTTP without TLS: Elasticsearch, Kibana, Logstash's http input.
        HTTP_PROXY http_proxy: Option<String> = "none", was "http_proxy", allowed "URL with http://, or none";
        /// HTTP proxy for the same servers with TLS, through a tunnel (CONNECT).
        HTTPS_PROXY https_proxy: Option<String> = "none", was "https_proxy", allowed "URL with http://, or none";
        /// Servers to reach without a proxy: names with all names below them, addresses, networks, each with a port if you
        /// like, or `*`. Loopback never needs one.
        NO_PROXY no_proxy: ListOf<String> = "none", was "no_proxy", allowed "comma list of names, addresses and networks";
    }

    "Fluentd, Fluent Bit and others that speak the forward protocol" {
        /// Hosts (`name`, `name:port`, `[::1]:port`). When one cannot be reached, the next one is tried.
        FLUENTD_HOST fluentd_host: ListOf<String> = "localhost", was "FLUENTHOST", only Fluentd,
            allowed "comma list of hosts";
        /// Port for hosts without one.
        FLUENTD_PORT fluentd_port: Count<1, 65_535> = "24224", was "FLUENTPORT", only Fluentd;
        /// Tag of the records; may contain `{namespace}`, `{pod}`, `{node}`, `{service}` and `{cluster}`.
        FLUENTD_TAG fluentd_tag: String = "k8s-internal-networking", was "FLUENTTAG", only Fluentd;
        /// Wait for the server to acknowledge a batch before it counts as delivered.
        FLUENTD_ACK fluentd_ack: bool = "true", only Fluentd;
        /// Compress batches with gzip.
        FLUENTD_COMPRESS fluentd_compress: bool = "false", only Fluentd;
        /// Key shared with the server.
        FLUENTD_SHARED_KEY fluentd_shared_key: Option<Secret> = "none", only Fluentd;
        /// User name, if the server requires one.
        FLUENTD_USERNAME fluentd_username: Option<Renewable> = "none", only Fluentd;
        /// Password of the user.
        FLUENTD_PASSWORD fluentd_password: Option<Secret> = "none", only Fluentd;
        /// Encrypt the connection; `auto` does so when another FLUENTD_TLS_… setting is given.
        FLUENTD_TLS fluentd_tls: Auto<bool> = "auto", only Fluentd;
        /// Authorities that may sign the server certificate, in PEM: a path, or the text itself. `none` means the
        /// public ones.
        FLUENTD_TLS_CA fluentd_tls_ca: Option<String> = "none", only Fluentd;
        /// Client certificate with its chain, in PEM: a path, or the text itself.
        FLUENTD_TLS_CERT fluentd_tls_cert: Option<String> = "none", only Fluentd;
        /// Key of the client certificate; `none` if it is in the same PEM.
        FLUENTD_TLS_KEY fluentd_tls_key: Option<Secret> = "none", only Fluentd;
        /// Name expected in the server certificate; `none` is the host name.
        FLUENTD_TLS_NAME fluentd_tls_name: Option<String> = "none", only Fluentd;
        /// Verify the server certificate.
        FLUENTD_TLS_VERIFY fluentd_tls_verify: bool = "true", only Fluentd;
        /// How long to wait for an answer, and for a server that reads nothing. For a server that is only slow, the wait
        /// grows to four minutes.
        FLUENTD_TIMEOUT fluentd_timeout: Seconds = "10s", only Fluentd;
        /// Maximum batches in flight; above 1, order is not preserved.
        FLUENTD_CONCURRENCY fluentd_concurrency: Count<1, 32> = "1", only Fluentd;
    }

    "Logstash" {
        /// Logstash input at the other end. `beats` and `http` acknowledge. `tcp` loses what a failing server had not
        /// read; `udp` loses silently.
        LOGSTASH_TYPE logstash_type: LogstashType = "tcp", only Logstash;
        /// Hosts (`name`, `name:port`, `[::1]:port`). When one cannot be reached, the next one is tried.
        LOGSTASH_HOST logstash_host: ListOf<String> = "localhost", only Logstash, allowed "comma list of hosts";
        /// Port for hosts without one; `auto` is 5044 for `beats`, else 5000.
        LOGSTASH_PORT logstash_port: Auto<Count<1, 65_535>> = "auto", only Logstash;
        /// Request path for `http`.
        LOGSTASH_PATH logstash_path: String = "/", only Logstash;
        /// Compress with `beats` and `http`.
        LOGSTASH_COMPRESS logstash_compress: bool = "false", only Logstash;
        /// User name for `http`.
        LOGSTASH_USERNAME logstash_username: Option<Renewable> = "none", only Logstash;
        /// Password of the user.
        LOGSTASH_PASSWORD logstash_password: Option<Secret> = "none", only Logstash;
        /// Encrypt the connection; `auto` does so when another LOGSTASH_TLS_… setting is given.
        LOGSTASH_TLS logstash_tls: Auto<bool> = "auto", only Logstash;
        /// Authorities that may sign the server certificate, in PEM: a path, or the text itself. `none` means the
        /// public ones.
        LOGSTASH_TLS_CA logstash_tls_ca: Option<String> = "none", only Logstash;
        /// Client certificate with its chain, in PEM: a path, or the text itself.
        LOGSTASH_TLS_CERT logstash_tls_cert: Option<String> = "none", only Logstash;
        /// Key of the client certificate; `none` if it is in the same PEM.
        LOGSTASH_TLS_KEY logstash_tls_key: Option<Secret> = "none", only Logstash;
        /// Name expected in the server certificate; `none` is the host name.
        LOGSTASH_TLS_NAME logstash_tls_name: Option<String> = "none", only Logstash;
        /// Verify the server certificate.
        LOGSTASH_TLS_VERIFY logstash_tls_verify: bool = "true", only Logstash;
        /// How long to wait for an answer, and for a server that reads nothing. For a server that is only slow, the wait
        /// grows to four minutes.
        LOGSTASH_TIMEOUT logstash_timeout: Seconds = "10s", only Logstash;
        /// Maximum batches in flight; above 1, order is not preserved.
        LOGSTASH_CONCURRENCY logstash_concurrency: Count<1, 32> = "1", only Logstash;
    }

    "Elasticsearch and OpenSearch" {
        /// Nodes of one cluster: hosts (`name`, `name:port`) or URLs.
        ELASTICSEARCH_HOST elasticsearch_host: ListOf<String> = "localhost", only Elasticsearch,
            allowed "comma list of hosts or URLs";
        /// Port for hosts without one.
        ELASTICSEARCH_PORT elasticsearch_port: Count<1, 65_535> = "9200", only Elasticsearch;
        /// Cloud id of a deployment, instead of hosts.
        ELASTICSEARCH_CLOUD_ID elasticsearch_cloud_id: Option<String> = "none", only Elasticsearch;
        /// Data stream, index, or a pattern filled from the record's time in UTC (`podtap-%Y.%m.%d`).
        ELASTICSEARCH_INDEX elasticsearch_index: String = "k8s-internal-networking", only Elasticsearch;
        /// Mapping type, for servers before version 8.
        ELASTICSEARCH_TYPE elasticsearch_type: Option<String> = "none", only Elasticsearch;
        /// Version of the server; `auto` asks it.
        ELASTICSEARCH_API_VERSION elasticsearch_api_version: String = "auto", only Elasticsearch,
            allowed "auto, 7.17, 8.x, 9.x, opensearch-2.x …";
        /// API key: `id:key`, or its Base64 form as the server shows it.
        ELASTICSEARCH_API_KEY elasticsearch_api_key: Option<Secret> = "none", only Elasticsearch;
        /// Bearer token.
        ELASTICSEARCH_BEARER elasticsearch_bearer: Option<Secret> = "none", only Elasticsearch;
        /// User name.
        ELASTICSEARCH_USERNAME elasticsearch_username: Option<Renewable> = "none", only Elasticsearch;
        /// Password of the user.
        ELASTICSEARCH_PASSWORD elasticsearch_password: Option<Secret> = "none", only Elasticsearch;
        /// Compress requests with gzip.
        ELASTICSEARCH_COMPRESS elasticsearch_compress: bool = "true", only Elasticsearch;
        /// Log level of the client library.
        ELASTICSEARCH_LOG elasticsearch_log: LogLevel = "warn", only Elasticsearch;
        /// Encrypt the connection; `auto` does so when another ELASTICSEARCH_TLS_… setting is given.
        ELASTICSEARCH_TLS elasticsearch_tls: Auto<bool> = "auto", only Elasticsearch;
        /// Authorities that may sign the server certificate, in PEM: a path, or the text itself. `none` means the
        /// public ones.
        ELASTICSEARCH_TLS_CA elasticsearch_tls_ca: Option<String> = "none", only Elasticsearch;
        /// Client certificate with its chain, in PEM: a path, or the text itself.
        ELASTICSEARCH_TLS_CERT elasticsearch_tls_cert: Option<String> = "none", only Elasticsearch;
        /// Key of the client certificate; `none` if it is in the same PEM.
        ELASTICSEARCH_TLS_KEY elasticsearch_tls_key: Option<Secret> = "none", only Elasticsearch;
        /// Verify the server certificate.
        ELASTICSEARCH_TLS_VERIFY elasticsearch_tls_verify: bool = "true", only Elasticsearch;
        /// How long to wait for an answer, and for a server that reads nothing. For a server that is only slow, the wait
        /// grows to four minutes.
        ELASTICSEARCH_TIMEOUT elasticsearch_timeout: Seconds = "10s", only Elasticsearch;
        /// Maximum batches in flight; above 1, order is not preserved.
        ELASTICSEARCH_CONCURRENCY elasticsearch_concurrency: Count<1, 32> = "1", only Elasticsearch;
    }

    "Kibana, for `podtap setup kibana`" {
        /// URL of Kibana, including its base path. ELASTICSEARCH_TLS_… and ELASTICSEARCH_TIMEOUT apply to it too.
        KIBANA_URL kibana_url: String = "http://localhost:5601", allowed "a URL";
        /// Space to import into; `none` is the default space. With OpenSearch Dashboards, the tenant; `none` is the
        /// global one.
        KIBANA_SPACE kibana_space: Option<String> = "none", allowed "the id of a space; or none";
        /// API key: `id:key`, or its Base64 form. `none` uses the credentials of Elasticsearch.
        KIBANA_API_KEY kibana_api_key: Option<Secret> = "none";
    }

    "What cannot be delivered" {
        /// Directory for records that wait when memory is full, and across restarts. `none` keeps them in memory only.
        SPOOL_DIR spool_dir: Option<PathBuf> = "none";
        /// Maximum size on disk; each server in SEND_LOGS_TO gets an equal share. When it is full, the oldest records are dropped.
        SPOOL_MAX_BYTES spool_max_bytes: Bytes<MIB, { 1024 * GIB }> = "256MiB";
        /// What goes to disk while podtap runs. `overflow`: what is too much for memory. `failing`: also all that waits while
        /// deliveries fail or take long. `always`: every record before it is delivered.
        SPOOL_MODE spool_mode: SpoolMode = "failing";
        /// When the spool is synced to disk, to survive a crash of the machine. It always survives a crash of podtap.
        SPOOL_FSYNC spool_fsync: SpoolFsync = "segment";
        /// How long to hold records for a server that answers but refuses them for its own reasons. Such are missing
        /// rights, a full, closed or read-only index, no template, or a gateway's page. After that they are rejected.
        /// `none` holds them until the server takes them.
        HOLD_FOR hold_for: Option<Seconds> = "none";
        /// File for records that a server rejected for good: one JSON line each, with the reason.
        DEAD_LETTER_PATH dead_letter_path: Option<PathBuf> = "none";
    }

    "Which exchanges are recorded" {
        /// Paths not to record. Without a glob an entry must match the whole path; the query is ignored.
        IGNORE_URLS ignore_urls: ListOf<String> = "none", was "IGNOREURLS",
            allowed "comma list of paths, globs allowed (/health, /internal/*); or none";
        /// Hosts not to record, as in the Host header without its port.
        IGNORE_HOSTS ignore_hosts: ListOf<String> = "none", allowed "comma list of host names, globs allowed; or none";
        /// Methods not to record.
        IGNORE_METHODS ignore_methods: ListOf<String> = "none", allowed "comma list of methods (OPTIONS,HEAD); or none";
        /// Status codes not to record.
        IGNORE_STATUS ignore_status: ListOf<StatusPattern> = "none",
            allowed "comma list of codes and classes (2xx,304); or none";
        /// User agents not to record.
        IGNORE_USER_AGENTS ignore_user_agents: ListOf<String> = "none",
            allowed "comma list of user agents, globs allowed (kube-probe*); or none";
        /// Directions to record, as seen from the pod; `none` is all.
        ONLY_DIRECTION only_direction: ListOf<DirectionName> = "none";
        /// Records to keep, of all kinds: `failed`, `slow`, `unanswered`. The rest is still counted in the metrics.
        ONLY only: ListOf<OnlyKind> = "none";
        /// Record only what this expression holds for (docs/filters.md).
        INCLUDE include: Option<String> = "none", allowed "an expression (status>=500 && host=*.local); or none";
        /// Record nothing that this expression holds for.
        EXCLUDE exclude: Option<String> = "none", allowed "an expression (path=/health or agent=kube-probe*); or none";
        /// Share of exchanges to record. Failed, unanswered and slow ones are always kept; what is left out is counted.
        SAMPLE sample: Fraction = "1";
        /// Maximum records per second. Failed, unanswered and slow ones are always kept; what is left out is counted.
        RATE_LIMIT rate_limit: Option<Rate> = "none";
        /// Exchanges at least this slow are always kept.
        SLOW_AFTER_MS slow_after: Option<Millis> = "1000";
    }

    "Which flows, connects and packets are recorded" {
        /// Record only flows with an end in one of these networks, before or after translation.
        INCLUDE_CIDRS include_cidrs: ListOf<IpNetwork> = "none";
        /// Record no flows with an end in one of these networks.
        EXCLUDE_CIDRS exclude_cidrs: ListOf<IpNetwork> = "none";
        /// Record only flows with one of these ports at either end, before or after translation.
        INCLUDE_PORTS include_ports: ListOf<Count<1, 65_535>> = "none", allowed "comma list of ports; or none";
        /// Record no flows with one of these ports at either end.
        EXCLUDE_PORTS exclude_ports: ListOf<Count<1, 65_535>> = "none", allowed "comma list of ports; or none";
        /// Record only flows of these protocols.
        INCLUDE_PROTOCOLS include_protocols: ListOf<ProtocolName> = "none";
        /// Record no flows of these protocols.
        EXCLUDE_PROTOCOLS exclude_protocols: ListOf<ProtocolName> = "none";
        /// Record only what is in one of these states.
        INCLUDE_STATES include_states: ListOf<FlowState> = "none";
        /// Record nothing that is in one of these states.
        EXCLUDE_STATES exclude_states: ListOf<FlowState> = "none";
    }

    "Flows" {
        /// How often to record an open flow. `none` records it only at its end.
        FLOW_INTERVAL flow_interval: Option<Seconds> = "60s";
        /// Time without packets after which a flow ends. Established TCP connections have ten minutes.
        FLOW_IDLE flow_idle: Seconds = "30s";
        /// Maximum open flows on all interfaces together. Beyond it, a silent one ends early, and is recorded. `auto`
        /// follows the memory limit.
        MAX_FLOWS max_flows: Auto<Count<256, 10_000_000>> = "auto";
        /// Labels of the metrics `netlog_…`: both addresses and the server's port. `literal` adds the client's port, as
        /// NetLog had it.
        NETLOG_LABELS netlog_labels: NetlogLabels = "folded";
        /// Maximum combinations of labels of these metrics; what finds no place is counted under `other`.
        NETLOG_SERIES netlog_series: Count<1, 1_000_000> = "2000";
    }

    "Connection tracking" {
        /// Which events become records. `all`: each. `folded`: one at the start of a flow and one at its end. `aggregate`:
        /// one for all flows from an address to a port of another, every CONNTRACK_INTERVAL.
        CONNTRACK_EVENTS conntrack_events: ConntrackEvents = "folded";
        /// How long an aggregated record waits for further flows.
        CONNTRACK_INTERVAL conntrack_interval: Seconds = "60s";
        /// Size of the receive buffer for beginnings, and of that for changes and ends. What the kernel drops when one is full is
        /// counted, and the table is read again.
        CONNTRACK_BUFFER conntrack_buffer: Bytes<{ 64 * KIB }, GIB> = "8MiB";
        /// Listen to all network namespaces that have an id in this one (`ip netns set`), as the container runtimes' may.
        CONNTRACK_ALL_NAMESPACES conntrack_all_namespaces: bool = "false";
        /// Maximum flows to remember; of others only the ends are recorded whole. `auto` follows the memory limit.
        CONNTRACK_FLOWS conntrack_flows: Auto<Count<256, 10_000_000>> = "auto";
    }

    "Logged packets" {
        /// Groups of NFLOG to read.
        VERDICT_GROUPS verdict_groups: ListOf<Count<0, 65_535>> = "none", allowed "comma list of groups; or none";
        /// Read lines of LOG rules from /dev/kmsg.
        VERDICT_KMSG verdict_kmsg: bool = "false";
        /// Kernel log file to read lines of LOG rules from; `-` is standard input.
        VERDICT_FILE verdict_file: Option<PathBuf> = "none";
        /// Follow the file when it grows, is moved or shortened. Otherwise it is read to its end.
        VERDICT_FOLLOW verdict_follow: bool = "true";
        /// File that remembers how far the followed file was read. `none` begins with what is written from now on.
        VERDICT_POSITION verdict_position: Option<PathBuf> = "none";
        /// What prefixes of rules say, the first that fits: a pattern, `=`, `allowed` or `denied`, and perhaps `:` and a kind.
        /// Other prefixes are counted and not recorded. `auto` knows those of Cloud Foundry, `OK_*` and `DENY_*`.
        VERDICT_PREFIXES verdict_prefixes: Auto<ListOf<String>> = "auto",
            allowed "auto, or comma list of pattern=allowed or pattern=denied:kind";
        /// Interfaces of containers: a packet that goes out by one of them is `ingress`.
        VERDICT_INTERFACES verdict_interfaces: ListOf<String> = "s-*",
            allowed "comma list of interfaces, globs allowed; or none";
        /// Cloud Foundry's store of containers by address. It is read again when the file with `_version` behind its name
        /// changes.
        VERDICT_STORE verdict_store: Option<PathBuf> = "none";
        /// Fold repeated packets: the first is a record at once, the others are counted in one record after this time.
        VERDICT_REPEATS verdict_repeats: Option<Seconds> = "none";
        /// How long a record waits for what follows its packet (answered, tried again), where RECORD names conntrack or
        /// flows too.
        VERDICT_OUTCOME verdict_outcome: Option<Seconds> = "10s";
        /// Size of the receive buffer of NFLOG. What the kernel drops when it is full is counted.
        VERDICT_BUFFER verdict_buffer: Bytes<{ 64 * KIB }, GIB> = "8MiB";
    }

    "Connects of processes" {
        /// Record connects of UDP sockets too. They send nothing; many are a resolver's.
        CONNECT_UDP connect_udp: bool = "false";
        /// Record connects in all network namespaces of this machine, instead of podtap's own.
        CONNECT_ALL_NAMESPACES connect_all_namespaces: bool = "false";
        /// Record connects that fail before a packet is sent (no route, no port). Asks the kernel to look at the end of each
        /// system call, which costs all programs of the machine some time; UDP needs it, too.
        CONNECT_EARLY connect_early: bool = "true";
        /// Size of the ring between the kernel and podtap, rounded up to a power of two. Connects that find it full are counted as lost.
        CONNECT_BUFFER connect_buffer: Bytes<{ 64 * KIB }, GIB> = "1MiB";
    }

    "What a record holds" {
        /// Record headers. Secrets in them are always masked.
        LOGHEADERS log_headers: HeadersToLog = "false";
        /// Headers to mask. A list extends the built-in names (all with a word such as auth, cookie, key or token); `-name`
        /// removes one, `=name` replaces them all. `none` masks no header.
        REDACT_HEADERS redact_headers: Auto<ListOf<String>> = "auto",
            allowed "auto, none, or comma list of header names (x-a, +x-b*, -x-c, =x-d), globs allowed";
        /// Parameters to mask, written as in REDACT_HEADERS (built in: all with a word such as token, key or pass). `none`
        /// masks no parameter.
        REDACT_QUERY redact_query: Auto<ListOf<String>> = "auto",
            allowed "auto, none, or comma list of parameter names, globs allowed";
        /// Paths with segments to mask, written as `*`.
        REDACT_PATH redact_path: ListOf<String> = "none", allowed "comma list of paths (/reset/*); or none";
        /// Labels to add to every record.
        TAGS tags: ListOf<RecordTag> = "none", allowed "comma list of key=value; or none";
        /// Name of the service, added to every record.
        SERVICE_NAME service_name: Option<String> = "none";
        /// Patterns for `http.route`, tried before the built-in rules.
        ROUTES routes: ListOf<String> = "none", allowed "comma list of paths (/orders/{id}); or none";
        /// Proxies whose headers about the client address are trusted; `auto` is every private address.
        TRUSTED_PROXIES trusted_proxies: Auto<ListOf<IpNetwork>> = "auto",
            allowed "auto, none, or comma list of IP addresses and networks (10.0.0.0/8)";
        /// Part of `event.id` that differs between two observers of one exchange; `auto` is the pod's UID, else the host
        /// name.
        OBSERVER_ID observer_id: Auto<String> = "auto";
        /// Name of the cluster, added to every record.
        CLUSTER_NAME cluster_name: Option<String> = "none";
    }

    "Names of both ends (docs/workloads.md)" {
        /// Where to find who is behind an address; the first source that knows it counts. `kubernetes` asks the API server,
        /// which needs a role. `redis` has hashes as NetLog kept them. `file:PATH` is a table in JSON or YAML, which is read
        /// again when it changes. `dns` takes the names of servers from answers that are seen.
        WORKLOADS workloads: ListOf<WorkloadSource> = "none";
        /// Namespaces to take names from; `none` is all of them, which needs a role for the cluster.
        WORKLOADS_NAMESPACES workloads_namespaces: ListOf<String> = "none", allowed "comma list of namespaces; or none";
        /// Kubeconfig to reach the API server with; `none` is the Pod's service account, and outside of one ~/.kube/config.
        KUBECONFIG kubeconfig: Option<PathBuf> = "none";
        /// Hosts of Redis (`name`, `name:port`, `[::1]:port`; 6379 without a port). When one cannot be reached, the next one is
        /// tried.
        REDIS_HOST redis_host: ListOf<String> = "localhost", was "REDIS_ADDR", allowed "comma list of hosts";
        /// User name, if Redis has users.
        REDIS_USERNAME redis_username: Option<String> = "none";
        /// Password.
        REDIS_PASSWORD redis_password: Option<Secret> = "none";
        /// Number of the database.
        REDIS_DB redis_db: Count<0, 1_000_000> = "0";
        /// How long an answer of Redis holds. After half of it, Redis is asked again for an address in use.
        REDIS_CACHE redis_cache: Seconds = "60s";
        /// Write the names that other sources know to Redis, too. They last ten times REDIS_CACHE.
        REDIS_WRITE redis_write: bool = "false";
        /// Encrypt the connection; `auto` does so when another REDIS_TLS_… setting is given.
        REDIS_TLS redis_tls: Auto<bool> = "auto";
        /// Authorities that may sign the server certificate, in PEM: a path, or the text itself. `none` means the
        /// public ones.
        REDIS_TLS_CA redis_tls_ca: Option<String> = "none";
        /// Client certificate with its chain, in PEM: a path, or the text itself.
        REDIS_TLS_CERT redis_tls_cert: Option<String> = "none";
        /// Key of the client certificate; `none` if it is in the same PEM.
        REDIS_TLS_KEY redis_tls_key: Option<Secret> = "none";
        /// Name expected in the server certificate; `none` is the host name.
        REDIS_TLS_NAME redis_tls_name: Option<String> = "none";
        /// Verify the server certificate.
        REDIS_TLS_VERIFY redis_tls_verify: bool = "true";
    }

    "Time" {
        /// Time after which a request counts as unanswered.
        TIMEOUT_AFTER_MS timeout_after: Millis = "10000", was "TIMEOUTAFTERMS";
        /// How often to look for unanswered requests.
        TIMEOUT_INTERVAL_CHECK timeout_interval_check: Millis = "2000", was "TIMEOUTINTERVALCHECK";
        /// Time after which a response that has not ended is recorded as a stream.
        STREAM_AFTER_MS stream_after: Millis = "30000";
        /// Maximum time to stop, including draining the queues. Keep it below the pod's
        /// `terminationGracePeriodSeconds`.
        GRACE_PERIOD grace_period: Seconds = "25s";
        /// Maximum time to go on capturing after the signal to stop, while there is traffic; `auto` is half of
        /// GRACE_PERIOD.
        LINGER linger: Auto<Seconds> = "auto";
    }

    "Capture" {
        /// Interfaces to capture on. `auto` is the interface of the default route, plus `lo` where a mesh proxy uses
        /// it; `any` is all, as is `auto` with OBSERVE=node.
        IFACE iface: Auto<ListOf<String>> = "auto", allowed "auto, any, or comma list of interfaces";
        /// Capture filter for the kernel. `auto` excludes what cannot carry TCP; a replay uses only an explicit filter.
        CAP_FILTER cap_filter: CaptureFilter = "auto", was "CAPFILTER";
        /// Bytes to capture of each frame.
        SNAPLEN snaplen: Bytes<64, MAX_SNAPLEN> = "262144";
        /// Threads for each interface. They share its frames by connection, and the limits.
        CAPTURE_THREADS capture_threads: Count<1, 64> = "1";
        /// Size of the kernel's ring buffer for each thread of an interface.
        CAPTURE_BUFFER capture_buffer: Bytes<{ 256 * KIB }, GIB> = "8MiB";
        /// Addresses of the pod, which decide the direction. `auto` takes them from POD_IPS and the interfaces; in a
        /// replay it is none.
        OWN_IPS own_ips: Auto<ListOf<IpAddr>> = "auto", allowed "auto, none, or comma list of IP addresses";
    }

    "A whole node (docs/node.md)" {
        /// What is observed: the pod that podtap runs in, or all pods of its node and the node itself (`podtap node`).
        OBSERVE observe: Observe = "pod";
        /// Interfaces of the node, preferred ones first. A connection that several of them show is recorded on one of
        /// them. What fits no pattern is left out: without `*`, only interfaces of pods are observed.
        NODE_INTERFACES node_interfaces: ListOf<String> = "veth*,cali*,lxc*,gke*,azv*,eni*,tap*,*_h,*",
            allowed "comma list of interfaces, globs allowed";
        /// Packets to look into in a second. Beyond that, only a part of the new connections is recorded, the smaller the more
        /// there is; what is left out is counted. `none` looks into all.
        NODE_PACKETS node_packets: Option<Count<100, 1_000_000_000>> = "none";
    }

    "Limits" {
        /// Maximum connections to track on all interfaces together; beyond it the longest idle one is dropped. `auto` follows
        /// the memory limit.
        MAX_CONNECTIONS max_connections: Auto<Count<1, 10_000_000>> = "auto";
        /// Maximum size of the head of a request or response.
        MAX_HEAD_BYTES max_head_bytes: Bytes<KIB, { 16 * MIB }> = "64KiB";
        /// Maximum bytes to hold while earlier ones are missing, on all interfaces together. `auto` follows the memory limit.
        MAX_HELD_BYTES max_held_bytes: Auto<Bytes<{ 64 * KIB }, { 64 * GIB }>> = "auto";
        /// Maximum records in the queue of one sink.
        QUEUE_RECORDS queue_records: Count<1, 10_000_000> = "10000";
        /// Maximum bytes in the queue of one sink. `auto` follows the memory limit; the sinks share it.
        QUEUE_BYTES queue_bytes: Auto<Bytes<{ 64 * KIB }, { 64 * GIB }>> = "auto";
        /// Maximum records in one batch.
        BATCH_RECORDS batch_records: Count<1, 100_000> = "500";
        /// Maximum bytes in one batch.
        BATCH_BYTES batch_bytes: Bytes<{ 4 * KIB }, { 64 * MIB }> = "1MiB";
        /// Time after which a batch is sent even if it is not full.
        BATCH_AGE batch_age: Seconds = "1s";
    }

    "podtap itself" {
        /// How often to send a ledger record to servers that get `ecs` records: what was seen, lost and delivered
        /// (docs/record.md). `none` sends none.
        LEDGER_INTERVAL ledger_interval: Option<Seconds> = "60s";
        /// Log level; the log goes to standard error.
        LOG_LEVEL log_level: LogLevel = "info";
        /// Format of log lines.
        LOG_FORMAT log_format: LogFormat = "text";
        /// Address to serve metrics and health on.
        // 19199 lies below the ephemeral ports and the node ports. It is apart from what apps (80, 3000, 5000, 8000 and
        // up, 9000 and up) and meshes (15000 and up, 4140 and up) take: in a pod all containers share one port space.
        METRICS_ADDR metrics_addr: Option<ListenAddress> = ":19199";
    }

    "The pod, by the Downward API" {
        /// Name of the pod, added to every record (`metadata.name`).
        POD_NAME pod_name: Option<String> = "none";
        /// Namespace of the pod (`metadata.namespace`).
        POD_NAMESPACE pod_namespace: Option<String> = "none";
        /// UID of the pod (`metadata.uid`).
        POD_UID pod_uid: Option<String> = "none";
        /// Address of the pod (`status.podIP`).
        POD_IP pod_ip: Option<IpAddr> = "none";
        /// All addresses of the pod (`status.podIPs`).
        POD_IPS pod_ips: ListOf<IpAddr> = "none", allowed "comma list of IP addresses; or none";
        /// Node of the pod (`spec.nodeName`).
        NODE_NAME node_name: Option<String> = "none";
        /// File with the pod's labels (`metadata.labels` in a Downward API volume); changes are picked up.
        POD_LABELS_PATH pod_labels_path: Option<PathBuf> = "/etc/podtap/pod/labels";
        /// File with the pod's annotations (`metadata.annotations`); changes are picked up.
        POD_ANNOTATIONS_PATH pod_annotations_path: Option<PathBuf> = "/etc/podtap/pod/annotations";
        /// Annotations to add to every record; others are not recorded.
        ANNOTATIONS annotations: ListOf<String> = "none", allowed "comma list of names, globs allowed (example.com/*); or none";
    }
}
