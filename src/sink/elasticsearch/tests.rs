//! The sink against a server made of a closure: what it asks, and what it makes of the answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::sink::connect::tests::dead;
use crate::sink::connect::{PemSource, TlsOptions};
use crate::sink::{BlockPiece, FailureReason, RecordBlock, RejectedRecord};

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Asked {
    /// The ids of a bulk request.
    fn ids(&self) -> Vec<String> {
        let actions = self.body.lines().step_by(2);
        actions.map(|line| line.split('"').nth(5).unwrap().to_owned()).collect()
    }
}

type Answer = (u16, String);

/// The status of an answer that never comes.
const NEVER: u16 = 0;

/// A server on loopback and all it was asked.
struct Mock {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Mock {
    async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    async move {
                        let asked = asked_of(request).await;
                        let (status, body) = answer(&asked);
                        log.lock().unwrap().push(asked);
                        if status == NEVER {
                            std::future::pending::<()>().await;
                        }
                        Ok::<_, Infallible>(
                            hyper::Response::builder().status(status).body(Whole(Some(body.into()))).unwrap(),
                        )
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked, task }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn bulks(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path.ends_with("/_bulk")).collect()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn asked_of(request: hyper::Request<Incoming>) -> Asked {
    let (head, mut incoming) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut incoming).poll_frame(cx)).await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
    let headers: BTreeMap<_, _> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut body = String::new();
    if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut body).unwrap();
    } else {
        body = String::from_utf8(bytes).unwrap();
    }
    Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
    }
}

/// A body in one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

const BAD_LINE: &str =
    r#"{"error":{"type":"illegal_argument_exception","reason":"Malformed action/metadata line [3]"},"status":400}"#;

const VERSION: &str = r#"{"version":{"number":"8.13.0"}}"#;

/// A server whose data stream `web` exists; `bulk` answers the rest.
fn with_data_stream(bulk: impl Fn(&Asked) -> Answer) -> impl Fn(&Asked) -> Answer {
    move |asked| match asked.path.as_str() {
        "/" => (200, VERSION.to_owned()),
        "/web" => (200, r#"{".ds-web-000001":{"data_stream":"web"}}"#.to_owned()),
        "/web/_mapping" | "/_index_template" | "/_template" => (200, "{}".to_owned()),
        _ => bulk(asked),
    }
}

/// The status of each record by its id.
fn answered(asked: &Asked, status: impl Fn(&str) -> u16) -> Answer {
    let item = |id: &String| match status(id) {
        status @ 200..=299 => format!(r#"{{"create":{{"status":{status}}}}}"#),
        status => {
            format!(r#"{{"create":{{"status":{status},"error":{{"type":"some_exception","reason":"of {id}"}}}}}}"#)
        }
    };
    let items: Vec<_> = asked.ids().iter().map(item).collect();
    (200, format!(r#"{{"items":[{}]}}"#, items.join(",")))
}

fn created(asked: &Asked) -> Answer {
    answered(asked, |_| 201)
}

fn options(urls: &[String]) -> ElasticsearchOptions {
    let (nodes, _) = nodes(urls, 9200, false).unwrap();
    ElasticsearchOptions::new(nodes, IndexName::new("web").unwrap())
}

fn batch(ids: &[&str]) -> Batch {
    let mut block = RecordBlock::default();
    for id in ids {
        block.push(crate::record::Dataset::Http, |out| {
            out.extend_from_slice(format!("{{\"of\":\"{id}\"}}\n").as_bytes());
            ((*id).into(), Timestamp(0))
        });
    }
    let mut batch = Batch::default();
    batch.push(BlockPiece::whole(Arc::new(block)));
    batch
}

async fn sink(mock: &Mock, change: impl FnOnce(&mut ElasticsearchOptions)) -> ElasticsearchSink {
    let mut options = options(&[mock.url()]);
    change(&mut options);
    ElasticsearchSink::new(options).unwrap()
}

fn transient<T: std::fmt::Debug>(result: Result<T, SinkError>) -> String {
    match result {
        Err(SinkError::Transient(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_one_request_marked_as_ours_and_the_server_is_asked_once() {
    let mock = Mock::start(with_data_stream(created)).await;
    let mut sink = sink(&mock, |options| options.auth = ElasticsearchAuth::ApiKey("id:key".to_owned())).await;
    for _ in 0..2 {
        assert_eq!(sink.deliver(&batch(&["a", "b"])).await, Ok(Delivery::default()));
    }
    let asked = mock.asked();
    let paths: Vec<_> = asked.iter().map(|asked| (asked.method.as_str(), asked.path.as_str())).collect();
    let questions = ["/", "/web", "/_index_template", "/_template", "/web/_mapping"].map(|path| ("GET", path));
    assert_eq!(paths[..5], questions);
    assert_eq!(paths[5..], [("POST", "/web/_bulk"); 2]);
    let bulk = &asked[5];
    assert_eq!(
        bulk.body,
        "{\"create\":{\"_id\":\"a\"}}\n{\"of\":\"a\"}\n{\"create\":{\"_id\":\"b\"}}\n{\"of\":\"b\"}\n"
    );
    assert!(bulk.query.contains("items.*.status") && bulk.query.contains("require_data_stream=true"), "{}", bulk.query);
    for asked in &asked {
        assert_eq!(asked.headers["x-podtap-nonce"], crate::exchange::own::nonce().value());
        assert_eq!(asked.headers["authorization"], "ApiKey aWQ6a2V5");
        assert!(asked.headers["user-agent"].starts_with("podtap/"));
    }
    assert_eq!(bulk.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_deep_check_writes_reads_and_deletes_one_marked_record_where_it_was_stored() {
    let found = r#"{"_index":".ds-web-000001","_id":"x"}"#;
    // Status of reading and of deleting, and what is said.
    for (read, removed, said) in [
        (200, 200, "was written to .ds-web-000001, read and deleted"),
        (403, 200, "and deleted, but cannot be read: 403"),
        (200, 403, "cannot be deleted: _id podtap-check-"),
    ] {
        let mock = Mock::start(with_data_stream(move |asked| match asked.method.as_str() {
            "PUT" => (201, found.to_owned()),
            "GET" => (read, found.to_owned()),
            _ => (removed, found.to_owned()),
        }))
        .await;
        let sink = sink(&mock, |_| ()).await;
        let target = sink.check(Timestamp(0)).await.unwrap();
        let outcome = sink.try_record(&target, Timestamp(0)).await;
        let words = outcome.unwrap_or_else(|error| error.to_string());
        assert!(words.contains(said), "{words}");
        let asked = mock.asked();
        let [.., put, get, delete] = asked.as_slice() else { panic!() };
        assert!(put.path.starts_with("/web/_doc/podtap-check-") && put.query.contains("op_type=create"), "{put:?}");
        assert!(put.query.contains("require_data_stream=true") && put.body.contains("podtap check --deep"), "{put:?}");
        assert_eq!((get.method.as_str(), delete.method.as_str()), ("GET", "DELETE"));
        assert!(get.path == delete.path && get.path.starts_with("/.ds-web-000001/_doc/podtap-check-"), "{get:?}");
    }
}

/// Neither a version that is given nor a mapping type keeps `check` from asking.
#[tokio::test]
async fn a_check_always_asks_the_server() {
    let given = |options: &mut ElasticsearchOptions| options.api_version = "7.2".parse().unwrap();
    let typed = |options: &mut ElasticsearchOptions| options.doc_type = Some("http".to_owned());
    for change in [given as fn(&mut ElasticsearchOptions), typed] {
        let mut options = options(&[format!("http://{}", dead(1))]);
        change(&mut options);
        let error = ElasticsearchSink::new(options).unwrap().check(Timestamp(0)).await.unwrap_err();
        assert_eq!(error.reason(), FailureReason::Refused, "{error}");
    }
    let mock = Mock::start(with_data_stream(created)).await;
    for (version, warned) in [("7.2", true), ("8.x", false), ("8.13", false), ("8.14", true), ("opensearch-8.x", true)]
    {
        let sink = sink(&mock, |options| options.api_version = version.parse().unwrap()).await;
        let warning = sink.check(Timestamp(0)).await.unwrap().warning;
        assert_eq!(warning.is_some_and(|words| words.contains("ELASTICSEARCH_API_VERSION says")), warned, "{version}");
    }
}

#[tokio::test]
async fn records_of_one_format_are_held_before_an_index_of_the_other_and_both_are_named() {
    for (ours, host) in [(RecordFormat::Classic, r#"{"properties":{}}"#), (RecordFormat::Ecs, r#"{"type":"keyword"}"#)]
    {
        let mapping = format!(r#"{{"x":{{"mappings":{{"properties":{{"host":{host}}}}}}}}}"#);
        let stream = with_data_stream(created);
        let mock = Mock::start(move |asked| match asked.path.as_str() {
            "/web/_mapping" => (200, mapping.clone()),
            _ => stream(asked),
        })
        .await;
        let why = transient(sink(&mock, |options| options.format = ours).await.deliver(&batch(&["a"])).await);
        assert!(
            why.starts_with(&format!("FORMAT_ELASTICSEARCH is {}, but ELASTICSEARCH_INDEX=web", ours.word())),
            "{why}"
        );
        assert!(mock.bulks().is_empty());
    }
}

#[tokio::test]
async fn what_a_server_lacks_is_not_asked_of_it() {
    let mock = Mock::start(with_data_stream(created)).await;
    let older = |options: &mut ElasticsearchOptions| {
        options.api_version = "8.12".parse().unwrap();
        options.compress = false;
    };
    assert_eq!(sink(&mock, older).await.deliver(&batch(&["a"])).await, Ok(Delivery::default()));
    let bulk = mock.bulks().remove(0);
    assert!(!bulk.query.contains("require_data_stream"), "{}", bulk.query);
    assert!(!bulk.headers.contains_key("content-encoding"));
    assert!(mock.asked().iter().all(|asked| asked.path != "/"), "the version was given");
}

#[tokio::test]
async fn each_record_has_the_outcome_its_status_says() {
    let status = |id: &str| match id {
        "there" => 409,
        "busy" => 429,
        "wrong" => 400,
        _ => 201,
    };
    let mock = Mock::start(with_data_stream(move |asked| answered(asked, status))).await;
    let delivery = sink(&mock, |_| ()).await.deliver(&batch(&["a", "there", "busy", "wrong", "b"])).await.unwrap();
    let reason = "400 some_exception: of wrong".to_owned();
    assert_eq!((delivery.retry, delivery.rejected), (vec![2], vec![RejectedRecord { index: 3, reason }]));
    assert_eq!(delivery.cause.unwrap().reason(), FailureReason::Throttled);
}

#[tokio::test]
async fn a_body_too_large_is_halved_until_it_fits_and_the_next_one_is_cut_at_once() {
    let mock = Mock::start(with_data_stream(|asked| match asked.ids().as_slice() {
        [one] if one == "huge" => (413, String::new()),
        ids if ids.len() > 2 || ids.contains(&"huge".to_owned()) => (413, String::new()),
        _ => created(asked),
    }))
    .await;
    let mut sink = sink(&mock, |_| ()).await;
    let delivery = sink.deliver(&batch(&["a", "b", "c", "d", "huge", "f", "g"])).await.unwrap();
    let rejected = vec![RejectedRecord { index: 4, reason: "413: the request is too large".to_owned() }];
    assert_eq!(delivery, Delivery { rejected, ..Delivery::default() });
    let before = mock.bulks().len();
    assert_eq!(sink.deliver(&batch(&["h", "i", "j"])).await, Ok(Delivery::default()));
    let sent: Vec<_> = mock.bulks()[before..].iter().map(Asked::ids).collect();
    assert!(sent.iter().all(|ids| ids.len() < 3), "{sent:?}");
    let all: Vec<_> = sent.concat();
    assert_eq!(all, ["h", "i", "j"]);
}

#[tokio::test]
async fn one_malformed_record_does_not_take_the_others_with_it() {
    let mock = Mock::start(with_data_stream(|asked| {
        if asked.ids().contains(&"bad".to_owned()) { (400, BAD_LINE.to_owned()) } else { created(asked) }
    }))
    .await;
    let delivery = sink(&mock, |_| ()).await.deliver(&batch(&["a", "b", "bad", "d"])).await.unwrap();
    let reason = "400 illegal_argument_exception: Malformed action/metadata line [3]".to_owned();
    assert_eq!(delivery, Delivery { rejected: vec![RejectedRecord { index: 2, reason }], ..Delivery::default() });
}

/// One request for the batch, not one for each record, and nothing is lost to a gateway's words.
#[tokio::test]
async fn an_answer_that_is_not_the_servers_holds_the_batch_whole() {
    for (status, body, reason) in [
        (400, "<html><h1>Bad Request</h1></html>", FailureReason::Protocol),
        (400, r#"{"message":"Bad Request"}"#, FailureReason::Protocol),
        (403, "<html>blocked</html>", FailureReason::Forbidden),
        (404, "", FailureReason::Protocol),
        (405, "Method Not Allowed", FailureReason::Protocol),
        (422, "", FailureReason::Protocol),
        (200, "<html>sign in</html>", FailureReason::Protocol),
        (502, "bad gateway", FailureReason::Server),
    ] {
        let mock = Mock::start(with_data_stream(move |_| (status, body.to_owned()))).await;
        let result = sink(&mock, |_| ()).await.deliver(&batch(&["a", "b", "c", "d"])).await;
        let Err(SinkError::Transient(error)) = result else { panic!("{result:?}") };
        assert_eq!((error.reason(), mock.bulks().len()), (reason, 1), "{status} {error}");
        let line = body.lines().next().unwrap_or_default().replace('"', "\\\"");
        assert!(error.to_string().contains(&line), "{error}");
    }
}

#[tokio::test]
async fn what_was_taken_before_a_failure_is_not_sent_again() {
    let mock = Mock::start(with_data_stream(|asked| match asked.ids().as_slice() {
        [one] if one == "a" => created(asked),
        [_] => (503, String::new()),
        _ => (413, String::new()),
    }))
    .await;
    let delivery = sink(&mock, |_| ()).await.deliver(&batch(&["a", "b"])).await.unwrap();
    assert_eq!((delivery.retry, delivery.rejected), (vec![1], vec![]));
    assert_eq!(delivery.cause.unwrap().reason(), FailureReason::Server);
}

#[tokio::test]
async fn wrong_credentials_hold_the_records_and_are_never_shown() {
    let mock = Mock::start(|_: &Asked| {
        (401, r#"{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}"#.to_owned())
    })
    .await;
    let secret = || ElasticsearchAuth::Basic { username: "me".to_owned(), password: "hunter2".to_owned() };
    let mut sink = sink(&mock, |options| options.auth = secret()).await;
    let why = transient(sink.deliver(&batch(&["a"])).await);
    assert!(why.contains("401 security_exception: unable to authenticate"), "{why}");
    assert!(!format!("{why}{sink:?}").contains("hunter2"));
    assert_eq!(mock.asked()[0].headers["authorization"], "Basic bWU6aHVudGVyMg==");
}

#[tokio::test]
async fn a_missing_template_holds_the_records_until_it_is_there() {
    let there = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&there);
    let template =
        r#"{"index_templates":[{"index_template":{"index_patterns":["web"],"data_stream":{"hidden":false}}}]}"#;
    let mock = Mock::start(move |asked| match asked.path.as_str() {
        "/" => (200, VERSION.to_owned()),
        "/web" => (404, "{}".to_owned()),
        "/_index_template" if *flag.lock().unwrap() => (200, template.to_owned()),
        "/_index_template" | "/_template" => (200, "{}".to_owned()),
        _ => created(asked),
    })
    .await;
    let mut sink = sink(&mock, |_| ()).await;
    let why = transient(sink.deliver(&batch(&["a"])).await);
    assert!(why.contains("records are held") && why.contains("podtap setup elasticsearch"), "{why}");
    assert!(mock.bulks().is_empty());
    *there.lock().unwrap() = true;
    assert_eq!(sink.deliver(&batch(&["a"])).await, Ok(Delivery::default()));
}

#[tokio::test]
async fn a_template_lost_while_running_holds_the_records_too() {
    let mock = Mock::start(with_data_stream(|asked| answered(asked, |_| 404))).await;
    let mut sink = sink(&mock, |_| ()).await;
    assert_eq!(transient(sink.deliver(&batch(&["a", "b"])).await), "404 some_exception: of a");
    assert!(sink.target.is_none(), "the name is looked at again");
}

#[tokio::test]
async fn a_mapping_type_is_in_the_path_where_the_server_has_types_and_refused_elsewhere() {
    let number = Arc::new(Mutex::new("6.8.23"));
    let shown = Arc::clone(&number);
    let mock = Mock::start(move |asked| match asked.path.as_str() {
        "/" => (200, format!(r#"{{"version":{{"number":"{}"}}}}"#, shown.lock().unwrap())),
        _ => created(asked),
    })
    .await;
    let typed = |options: &mut ElasticsearchOptions| options.doc_type = Some("http".to_owned());
    assert_eq!(sink(&mock, typed).await.deliver(&batch(&["a"])).await, Ok(Delivery::default()));
    assert_eq!(mock.bulks()[0].path, "/web/http/_bulk");
    *number.lock().unwrap() = "8.7.1";
    let why = transient(sink(&mock, typed).await.deliver(&batch(&["a"])).await);
    assert_eq!(why, "Elasticsearch 8.7 has no mapping types: unset ELASTICSEARCH_TYPE");
    assert_eq!(mock.bulks().len(), 1);
}

#[tokio::test]
async fn another_node_is_asked_when_one_is_away_or_overloaded() {
    let away = format!("http://{}", dead(1));
    let busy = Mock::start(|_: &Asked| (503, String::new())).await;
    let good = Mock::start(with_data_stream(created)).await;
    // Wherever it begins.
    for _ in 0..8 {
        let options = options(&[away.clone(), busy.url(), good.url()]);
        let mut sink = ElasticsearchSink::new(options).unwrap();
        assert_eq!(sink.deliver(&batch(&["a"])).await, Ok(Delivery::default()));
    }
    let busy_asked = busy.asked().len();
    let mut sink = ElasticsearchSink::new(options(&[good.url(), good.url()])).unwrap();
    sink.deliver(&batch(&["a"])).await.unwrap();
    assert_eq!(busy.asked().len(), busy_asked);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_after_the_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(&[format!("http://{}", listener.local_addr().unwrap())]);
    options.timeout = Duration::from_millis(50);
    let why = transient(ElasticsearchSink::new(options).unwrap().deliver(&batch(&["a"])).await);
    assert!(why.ends_with("no answer within 50ms"), "{why}");
}

#[tokio::test]
async fn what_is_no_such_server_is_said_to_be_none() {
    for (status, body, expected) in [
        (200, "<html>hello</html>", "neither Elasticsearch nor OpenSearch"),
        (200, r#"{"version":"1"}"#, "neither Elasticsearch nor OpenSearch"),
        (
            404,
            "",
            "does not report its version (404: an empty answer, not the server's own: is there a gateway in between?); ELASTICSEARCH_API_VERSION can",
        ),
        (401, "", "is there a gateway in between?); see ELASTICSEARCH_USERNAME, "),
    ] {
        let mock = Mock::start(move |_: &Asked| (status, body.to_owned())).await;
        let why = transient(sink(&mock, |_| ()).await.deliver(&batch(&["a"])).await);
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let mock = Mock::start(with_data_stream(|_| (200, "x".repeat(answer::most_bytes(1) + 1)))).await;
    let why = transient(sink(&mock, |_| ()).await.deliver(&batch(&["a"])).await);
    assert!(why.contains("an answer of more than"), "{why}");
}

#[test]
fn certificates_that_cannot_be_read_are_named_by_their_setting() {
    let made = |tls: TlsOptions| {
        ElasticsearchSink::new(ElasticsearchOptions { tls, ..options(&["https://es".to_owned()]) })
            .unwrap_err()
            .to_string()
    };
    let absent = || Some(PemSource::File("/absent/x.pem".into()));
    let none = || Some(PemSource::Text("nothing".to_owned()));
    let base = || TlsOptions::new("ELASTICSEARCH");
    for (tls, setting) in [
        (TlsOptions { ca: absent(), ..base() }, "ELASTICSEARCH_TLS_CA: /absent/x.pem cannot be read"),
        (TlsOptions { ca: none(), ..base() }, "ELASTICSEARCH_TLS_CA: the text given holds no certificate"),
        (TlsOptions { cert: absent(), ..base() }, "ELASTICSEARCH_TLS_CERT: /absent"),
        (TlsOptions { cert: none(), ..base() }, "ELASTICSEARCH_TLS_CERT: the text given holds no certificate"),
        (TlsOptions { name: Some("other".to_owned()), ..base() }, "ELASTICSEARCH_TLS_NAME: "),
    ] {
        let why = made(tls);
        assert!(why.starts_with(setting), "{why}");
    }
}

/// Renewed as Kubernetes does it, the file under the same name.
#[tokio::test]
async fn a_token_that_was_renewed_is_used_as_soon_as_the_old_one_is_refused() {
    let valid = |asked: &Asked| asked.headers.get("authorization").is_some_and(|value| value == "Bearer new");
    let server = Mock::start(with_data_stream(move |asked| {
        if valid(asked) {
            created(asked)
        } else {
            (401, r#"{"error":{"type":"security_exception"},"status":401}"#.to_owned())
        }
    }))
    .await;
    let dir = crate::sink::spool::tests::Dir::new();
    let file = dir.0.join("token");
    std::fs::write(&file, "of yesterday").unwrap();
    let of_file = {
        let (file, options) = (file.clone(), options(&[server.url()]));
        move || {
            Ok(ElasticsearchOptions {
                auth: ElasticsearchAuth::Bearer(std::fs::read_to_string(&file).unwrap()),
                ..options.clone()
            })
        }
    };
    let first = of_file().unwrap();
    let mut sink = ElasticsearchSink::new(first).unwrap().renewed(None, vec![file.clone()], of_file);
    let records = batch(&["a"]);
    assert!(matches!(sink.deliver(&records).await, Err(SinkError::Transient(_))));
    assert!(matches!(sink.deliver(&records).await, Err(SinkError::Transient(_))), "the file is as it was");
    std::fs::write(dir.0.join("new"), "new").unwrap();
    std::fs::rename(dir.0.join("new"), &file).unwrap();
    assert_eq!(sink.deliver(&records).await.unwrap(), Delivery::default());
}

#[tokio::test]
async fn a_server_that_is_slow_to_store_gets_longer_each_time_however_fast_it_answers_questions() {
    let (silent, timeout) = (Arc::new(AtomicBool::new(true)), Duration::from_millis(60));
    let is_silent = Arc::clone(&silent);
    let mock = Mock::start(with_data_stream(move |asked| {
        if is_silent.load(Ordering::Relaxed) { (NEVER, String::new()) } else { created(asked) }
    }))
    .await;
    let mut sink = sink(&mock, |options| options.timeout = timeout).await;
    let records = batch(&["a"]);
    while mock.bulks().len() < 3 {
        transient(sink.deliver(&records).await);
    }
    let grown = sink.client.limit();
    assert!(grown >= timeout * 8, "{grown:?}");
    sink.reload();
    assert_eq!(sink.client.limit(), grown, "a new client knows it too");
    silent.store(false, Ordering::Relaxed);
    while sink.deliver(&records).await.is_err() {}
}
