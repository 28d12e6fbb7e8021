//! Imports the objects into Kibana or OpenSearch Dashboards. Owns the requests, their order, and what a response means;
//! `objects` has the objects.
//!
//! If an object exists already and is to be kept, Kibana's `_import` creates nothing at all. Yet it lists what it would
//! have created as successes. So the missing objects are then requested by name (`_resolve_import_errors`).

use std::io::Write;

use serde::Deserialize;
use serde_json::{Value, json};

use super::opensearch::tenant;
use super::{DASHBOARDS, ObjectNames};
use crate::settings::printable;
use crate::setup::{AppliedResource, SetupAction};
use crate::sink::elasticsearch::{self, ClusterClient, ServerReply, ServerRequest};

/// The version from which on Kibana understands how the objects are marked.
const OLDEST: (u32, u32) = (8, 8);

/// How to reach Kibana, and what to do there.
#[derive(Clone, Debug)]
pub struct KibanaOptions {
    /// KIBANA_URL as the only node, credentials, TLS and time limit; the rest of it does not matter.
    pub server: elasticsearch::ElasticsearchOptions,
    /// KIBANA_SPACE; none is the default space. Of OpenSearch Dashboards, the tenant; none is the global one.
    pub space: Option<String>,
    /// Where the records are: ELASTICSEARCH_INDEX, as a pattern.
    pub index_pattern: String,
    /// Replaces what is there already.
    pub overwrite: bool,
    /// Only prints the file that would be imported.
    pub print: bool,
    /// With `print`: the one for OpenSearch Dashboards.
    pub opensearch: bool,
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DashboardServer {
    Kibana,
    OpenSearchDashboards,
}

impl DashboardServer {
    fn name(self) -> &'static str {
        match self {
            Self::Kibana => "Kibana",
            Self::OpenSearchDashboards => "OpenSearch Dashboards",
        }
    }

    fn file(self, options: &KibanaOptions) -> String {
        match self {
            Self::Kibana => super::ndjson(&options.index_pattern, options.space.as_deref()),
            Self::OpenSearchDashboards => super::opensearch_ndjson(&options.index_pattern),
        }
    }

    /// What says that no browser was made to ask this.
    fn own_header(self) -> &'static str {
        match self {
            Self::Kibana => "kbn-xsrf",
            Self::OpenSearchDashboards => "osd-xsrf",
        }
    }

    /// The word for a type of objects.
    fn word(self, of: &str) -> String {
        match (self, of) {
            (Self::Kibana, "index-pattern") => "data view".to_owned(),
            (Self::OpenSearchDashboards, "index-pattern") => "index pattern".to_owned(),
            (_, other) => printable(other),
        }
    }
}

/// What Kibana says to an import.
#[derive(Debug, Default, Deserialize)]
struct ImportAnswer {
    #[serde(default, rename = "successResults")]
    taken: Vec<ImportedObject>,
    #[serde(default)]
    errors: Vec<RefusedObject>,
}

#[derive(Debug, Deserialize)]
struct ImportedObject {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default)]
    overwrite: bool,
}

#[derive(Debug, Deserialize)]
struct RefusedObject {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    error: RefusalReason,
}

impl RefusedObject {
    /// Kibana creates nothing while there is such an error, and waits to be asked again.
    fn stops_all(&self) -> bool {
        self.is_there() || self.error.kind == "missing_references"
    }

    /// It is there already, under its own id or another one.
    fn is_there(&self) -> bool {
        matches!(self.error.kind.as_str(), "conflict" | "ambiguous_conflict")
    }
}

#[derive(Debug, Deserialize)]
struct RefusalReason {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: Option<String>,
}

pub(super) async fn run(options: &KibanaOptions, out: &mut impl Write) -> Result<Vec<AppliedResource>, String> {
    if options.print {
        let kind = if options.opensearch { DashboardServer::OpenSearchDashboards } else { DashboardServer::Kibana };
        out.write_all(kind.file(options).as_bytes()).map_err(|why| why.to_string())?;
        return Ok(Vec::new());
    }
    let client = ClusterClient::new(&options.server)?;
    let kind = which(&client).await?;
    let space = match kind {
        DashboardServer::Kibana => options.space.as_deref(),
        DashboardServer::OpenSearchDashboards => tenant::named(options.space.as_deref()),
    };
    if let (DashboardServer::OpenSearchDashboards, Some(tenant)) = (kind, space) {
        tenant::check(&client, tenant).await?;
    }
    let file = kind.file(options);
    let kibana = KibanaClient { client, kind, space, file: &file };
    let answer = kibana.import(options.overwrite).await?;
    let all = done(kind, &answer);
    // The reader may be gone.
    let _ = all.iter().try_for_each(|done| writeln!(out, "{done}"));
    match refused(kind, &answer) {
        Some(why) => Err(why),
        None => {
            let _ = writeln!(out, "note       {}", address(options, kind, space));
            Ok(all)
        }
    }
}

/// Asks what answers there, and refuses what would take no objects, or take them and not understand them.
async fn which(client: &ClusterClient) -> Result<DashboardServer, String> {
    let reply = client.send(&ServerRequest::get("/api/status", &[])).await?;
    if reply.status == 503 {
        return Err("Kibana is not ready yet (503)".to_owned());
    }
    if reply.status == 404 {
        return Err("what answers there is not Kibana: it has no /api/status".to_owned());
    }
    // Without credentials Kibana does not tell its version, or nothing at all: importing will show why.
    let status = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    let Some(number) = status.pointer("/version/number").and_then(Value::as_str) else {
        return Ok(DashboardServer::Kibana);
    };
    let mut parts = number.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or_default());
    let version = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // OpenSearch Dashboards counts from 1 on; Kibana was at 7 then.
    if (1..5).contains(&version.0) {
        return Ok(DashboardServer::OpenSearchDashboards);
    }
    if version >= OLDEST {
        return Ok(DashboardServer::Kibana);
    }
    let (number, (major, minor)) = (printable(number), OLDEST);
    Err(format!("this is Kibana {number}: Kibana {major}.{minor} or newer is needed"))
}

struct KibanaClient<'a> {
    client: ClusterClient,
    kind: DashboardServer,
    space: Option<&'a str>,
    file: &'a str,
}

impl KibanaClient<'_> {
    /// Everything that can be taken is, also where something else is kept.
    async fn import(&self, overwrite: bool) -> Result<ImportAnswer, String> {
        let overwrite = if overwrite { "true" } else { "false" };
        let mut first = self.send("_import", &[("overwrite", overwrite)], None).await?;
        if first.taken.is_empty() || !first.errors.iter().any(RefusedObject::stops_all) {
            return Ok(first);
        }
        let retries: Vec<_> = first
            .taken
            .iter()
            .map(|taken| json!({ "type": taken.kind, "id": taken.id, "overwrite": false, "replaceReferences": [] }))
            .collect();
        let second = self.send("_resolve_import_errors", &[], Some(Value::Array(retries))).await?;
        first.taken = second.taken;
        first.errors.extend(second.errors);
        Ok(first)
    }

    async fn send(&self, to: &str, query: &[(&str, &str)], retries: Option<Value>) -> Result<ImportAnswer, String> {
        let own = (self.kind.own_header(), "podtap");
        let (path, tenant) = match (self.kind, self.space) {
            (DashboardServer::Kibana, Some(space)) => (format!("/s/{space}/api/saved_objects/{to}"), None),
            (DashboardServer::Kibana, None) => (format!("/api/saved_objects/{to}"), None),
            (DashboardServer::OpenSearchDashboards, tenant) => {
                (format!("/api/saved_objects/{to}"), Some(tenant::header(tenant)))
            }
        };
        let form = Form::new(self.file, retries);
        let content = ("content-type", form.content_type.as_str());
        let headers: Vec<_> = [own, content].into_iter().chain(tenant).collect();
        let request = ServerRequest::post(&path, query, &headers, form.body);
        let reply = self.client.send(&request).await?;
        if !reply.is_success() {
            return Err(format!("POST {path}: {}", words(&reply)));
        }
        serde_json::from_slice(&reply.body).map_err(|_| format!("POST {path}: an answer that is none"))
    }
}

/// A form with a file in it (RFC 7578).
struct Form {
    content_type: String,
    body: Vec<u8>,
}

impl Form {
    fn new(file: &str, retries: Option<Value>) -> Self {
        // Nothing in a line of JSON that serde writes begins with two dashes.
        let boundary = "podtap-5f1d6d2c";
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"podtap.ndjson\"\r\n\
             Content-Type: application/ndjson\r\n\r\n{file}\r\n"
        );
        if let Some(retries) = retries {
            body += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"retries\"\r\n\r\n{retries}\r\n");
        }
        body += &format!("--{boundary}--\r\n");
        Self { content_type: format!("multipart/form-data; boundary={boundary}"), body: body.into_bytes() }
    }
}

/// Status and Kibana's own words.
fn words(reply: &ServerReply) -> String {
    let body = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    let message = body.get("message").and_then(Value::as_str).map(printable).unwrap_or_default();
    format!("{} {message}", reply.status).trim_end().to_owned()
}

fn done(kind: DashboardServer, answer: &ImportAnswer) -> Vec<AppliedResource> {
    let of = |of: &str, id: &str| format!("{} {}", kind.word(of), printable(id));
    let taken = answer.taken.iter().map(|taken| {
        let what = if taken.overwrite { SetupAction::Updated } else { SetupAction::Created };
        AppliedResource { what, of: of(&taken.kind, &taken.id) }
    });
    let kept = answer.errors.iter().filter(|refused| refused.is_there());
    let kept =
        kept.map(|refused| AppliedResource { what: SetupAction::KeptExisting, of: of(&refused.kind, &refused.id) });
    taken.chain(kept).collect()
}

/// What could not be imported for any other reason than being there.
fn refused(kind: DashboardServer, answer: &ImportAnswer) -> Option<String> {
    let refused = answer.errors.iter().filter(|refused| !refused.is_there()).map(|refused| {
        let message = refused.error.message.as_deref().unwrap_or_default();
        printable(format!("{} {}: {} {message}", refused.kind, refused.id, refused.error.kind).trim_end())
    });
    let refused = refused.collect::<Vec<_>>().join("; ");
    if refused.is_empty() { None } else { Some(format!("{} did not take {refused}", kind.name())) }
}

/// Where to look now.
fn address(options: &KibanaOptions, kind: DashboardServer, space: Option<&str>) -> String {
    let url = options.server.nodes.first().map(ToString::to_string).unwrap_or_default();
    let (before, of, names) = match (kind, space) {
        (DashboardServer::Kibana, Some(name)) => (format!("/s/{name}"), String::new(), ObjectNames::of_space(space)),
        (DashboardServer::OpenSearchDashboards, Some(tenant)) => {
            (String::new(), format!("?security_tenant={tenant}"), ObjectNames::of_space(None))
        }
        (_, None) => (String::new(), String::new(), ObjectNames::of_space(None)),
    };
    let first = DASHBOARDS.first().map(|first| names.object(first.id)).unwrap_or_default();
    format!("{}{before}/app/dashboards{of}#/view/{first}", url.trim_end_matches('/'))
}
