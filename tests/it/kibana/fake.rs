//! Kibana's import interface, as far as `podtap setup kibana` uses it, after its published source
//! (core-saved-objects-import-export-server-internal). It has what it asks of a request. Above all `_import` creates
//! nothing while anything is in the way, though it lists the rest as successes.
//!
//! And OpenSearch Dashboards', which is the same but for its header, and for tenants (security-dashboards-plugin) instead
//! of spaces. A tenant it does not know is taken for the global one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What it is, and what is wrong with it.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// Before `/api`.
    pub(super) base: &'static str,
    /// None is reported to no client.
    pub(super) version: Option<&'static str>,
    /// The only value of Authorization that is let in.
    pub(super) authorization: Option<&'static str>,
    /// Answers every request so.
    pub(super) refuses: Option<u16>,
    /// Types of objects it does not know.
    pub(super) unknown: &'static [&'static str],
    /// Of OpenSearch Dashboards: has a security plugin, and with it tenants.
    pub(super) tenants: bool,
}

impl Kind {
    fn is_opensearch(&self) -> bool {
        self.version.is_some_and(|version| version.starts_with(['1', '2', '3']))
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self { base: "", version: Some("8.19.2"), authorization: None, refuses: None, unknown: &[], tenants: false }
    }
}

type Key = (String, String);
/// Objects of each space.
type Spaces = BTreeMap<String, BTreeMap<Key, Value>>;

/// A running one.
#[derive(Debug)]
pub(super) struct Kibana {
    kind: Kind,
    address: SocketAddr,
    spaces: Arc<Mutex<Spaces>>,
}

impl Kibana {
    pub(super) fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spaces = BTreeMap::from([(String::new(), BTreeMap::new()), ("shop".to_owned(), BTreeMap::new())]);
        let spaces = Arc::new(Mutex::new(spaces));
        let (shared, own) = (Arc::clone(&spaces), kind.clone());
        // It ends with the process; nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &own, &shared);
            }
        });
        Self { kind, address, spaces }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.kind.base)
    }

    /// What is there.
    pub(super) fn objects(&self, space: &str) -> BTreeMap<Key, Value> {
        self.spaces.lock().unwrap()[space].clone()
    }

    /// Somebody else's hand.
    pub(super) fn with(&self, space: &str, change: impl FnOnce(&mut BTreeMap<Key, Value>)) {
        change(self.spaces.lock().unwrap().get_mut(space).unwrap());
    }
}

struct Request {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, target, headers, body })
}

fn serve(mut stream: TcpStream, kind: &Kind, spaces: &Mutex<Spaces>) {
    let Some(request) = read(&mut stream) else { return };
    let (status, answer) = answer(&request, kind, spaces);
    let body = answer.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn error(status: u16, message: &str) -> (u16, Value) {
    (status, json!({ "statusCode": status, "error": "…", "message": message }))
}

fn answer(request: &Request, kind: &Kind, spaces: &Mutex<Spaces>) -> (u16, Value) {
    if let Some(status) = kind.refuses {
        return error(status, "Kibana server is not ready yet");
    }
    let Some(path) = request.target.strip_prefix(kind.base) else { return error(404, "Not Found") };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let welcome =
        kind.authorization.is_none_or(|only| request.headers.get("authorization").is_some_and(|it| it == only));
    if (request.method.as_str(), path) == ("GET", "/api/status") {
        return match kind.version.filter(|_| welcome) {
            Some(number) => (200, json!({ "name": "kibana", "version": { "number": number } })),
            None => (200, json!({ "status": { "overall": { "level": "available" } } })),
        };
    }
    if !welcome {
        return error(401, "[security_exception]: unable to authenticate user");
    }
    if kind.is_opensearch() {
        return opensearch(request, path, query, kind, spaces);
    }
    let (space, path) = match path.strip_prefix("/s/").and_then(|rest| rest.split_once('/')) {
        Some((space, rest)) => (space, format!("/{rest}")),
        None => ("", path.to_owned()),
    };
    if request.method == "POST" && !request.headers.contains_key("kbn-xsrf") {
        return error(400, "Request must contain a kbn-xsrf header.");
    }
    let mut spaces = spaces.lock().unwrap();
    let Some(there) = spaces.get_mut(space) else {
        return error(404, &format!("Saved object [space/{space}] not found"));
    };
    saved_objects(request, &path, query, there, kind)
}

fn saved_objects(
    request: &Request,
    path: &str,
    query: &str,
    there: &mut BTreeMap<Key, Value>,
    kind: &Kind,
) -> (u16, Value) {
    let form = match form(request) {
        Ok(form) => form,
        Err(why) => return error(400, why),
    };
    match path {
        "/api/saved_objects/_import" => (200, import(there, &form, query.contains("overwrite=true"), kind)),
        "/api/saved_objects/_resolve_import_errors" => (200, resolve(there, &form, kind)),
        _ => error(404, "Not Found"),
    }
}

fn opensearch(request: &Request, path: &str, query: &str, kind: &Kind, spaces: &Mutex<Spaces>) -> (u16, Value) {
    let asked = request.headers.get("securitytenant").map_or("", String::as_str);
    let tenant = if kind.tenants && asked == "shop" { "shop" } else { "" };
    if kind.tenants && (request.method.as_str(), path) == ("GET", "/api/v1/auth/authinfo") {
        let tenants = json!({ "global_tenant": true, "admin": true, "shop": true, "shown": false });
        return (200, json!({ "user_name": "admin", "user_requested_tenant": tenant, "tenants": tenants }));
    }
    if request.method == "POST" && !request.headers.contains_key("osd-xsrf") {
        return error(400, "Request must contain a osd-xsrf header.");
    }
    if request.method != "POST" {
        return error(404, "Not Found");
    }
    let mut spaces = spaces.lock().unwrap();
    saved_objects(request, path, query, spaces.get_mut(tenant).unwrap(), kind)
}

struct Form {
    file: Vec<Value>,
    retries: Vec<Value>,
}

fn form(request: &Request) -> Result<Form, &'static str> {
    let kind = request.headers.get("content-type").map(String::as_str).unwrap_or_default();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").ok_or("Unsupported Media Type")?;
    let body = std::str::from_utf8(&request.body).map_err(|_| "not text")?;
    let body = body.strip_prefix(&format!("--{boundary}\r\n")).ok_or("no first boundary")?;
    let body = body.strip_suffix(&format!("\r\n--{boundary}--\r\n")).ok_or("no last boundary")?;
    let mut form = Form { file: Vec::new(), retries: Vec::new() };
    for part in body.split(&format!("\r\n--{boundary}\r\n")) {
        let (head, content) = part.split_once("\r\n\r\n").ok_or("a part without a head")?;
        if head.contains("name=\"retries\"") {
            form.retries = serde_json::from_str(content).map_err(|_| "[request body.retries]: could not parse")?;
        } else if head.contains("name=\"file\"") {
            if !head.contains(".ndjson\"") {
                return Err("Invalid file extension");
            }
            let lines = content.lines().map(serde_json::from_str::<Value>);
            form.file = lines.collect::<Result<_, _>>().map_err(|_| "Unexpected token")?;
        }
    }
    Ok(form)
}

fn key(of: &Value) -> Key {
    (of["type"].as_str().unwrap().to_owned(), of["id"].as_str().unwrap().to_owned())
}

fn failure(object: &Value, error: Value) -> Value {
    json!({ "type": object["type"], "id": object["id"], "meta": {}, "error": error })
}

fn import(there: &mut BTreeMap<Key, Value>, form: &Form, overwrite: bool, kind: &Kind) -> Value {
    let keys: BTreeSet<_> = form.file.iter().map(key).collect();
    create(there, &form.file, &keys, &|_| overwrite, kind)
}

fn resolve(there: &mut BTreeMap<Key, Value>, form: &Form, kind: &Kind) -> Value {
    let overwrite = |wanted: &Key| form.retries.iter().any(|retry| key(retry) == *wanted && retry["overwrite"] == true);
    let wanted: BTreeSet<_> = form.retries.iter().map(key).collect();
    create(there, &form.file, &wanted, &overwrite, kind)
}

fn create(
    there: &mut BTreeMap<Key, Value>,
    file: &[Value],
    wanted: &BTreeSet<Key>,
    overwrite: &dyn Fn(&Key) -> bool,
    kind: &Kind,
) -> Value {
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    for object in file.iter().filter(|object| wanted.contains(&key(object))) {
        let missing = object["references"].as_array().unwrap().iter().any(|reference| {
            let to = key(reference);
            !there.contains_key(&to) && !wanted.contains(&to)
        });
        if kind.unknown.iter().any(|unknown| object["type"] == *unknown) {
            errors.push(failure(object, json!({ "type": "unsupported_type" })));
        } else if missing {
            errors.push(failure(object, json!({ "type": "missing_references", "references": [] })));
        } else if there.contains_key(&key(object)) && !overwrite(&key(object)) {
            errors.push(failure(object, json!({ "type": "conflict" })));
        } else {
            good.push(object);
        }
    }
    let waits =
        errors.iter().any(|error| ["conflict", "missing_references"].iter().any(|it| error["error"]["type"] == *it));
    let results: Vec<_> = good
        .iter()
        .map(|object| {
            let mut result = json!({ "type": object["type"], "id": object["id"], "meta": {} });
            if there.contains_key(&key(object)) {
                result["overwrite"] = json!(true);
            }
            result
        })
        .collect();
    if !waits {
        there.extend(good.into_iter().map(|object| (key(object), object.clone())));
    }
    let mut answer = json!({ "success": errors.is_empty(), "successCount": results.len(), "warnings": [] });
    if !results.is_empty() {
        answer["successResults"] = json!(results);
    }
    if !errors.is_empty() {
        answer["errors"] = json!(errors);
    }
    answer
}
