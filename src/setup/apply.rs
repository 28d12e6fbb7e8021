//! Brings a server to the state of the plan: asks, compares, writes. Owns the order and the messages; `plan` has the
//! JSON.

use std::fmt;
use std::io::Write;

use serde_json::Value;

use super::compare::{Standing, standing};
use super::plan::{ResourceKind, ServerAbilities, ServerResource, SetupPlan};
use super::{Retention, SetupOptions};
use crate::sink::elasticsearch::{
    ApiVersion, ClusterClient, ElasticsearchOptions, ServerFlavour, ServerRequest, ServerVersion, ask_server,
    contradiction, held,
};

/// What became of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedResource {
    /// `created`, `updated`, `unchanged`, `kept`.
    pub what: SetupAction,
    /// `index template podtap-web`.
    pub of: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupAction {
    /// It was not there.
    Created,
    /// It was ours and outdated, or `--overwrite` was given.
    Updated,
    /// It holds what it shall.
    Unchanged,
    /// Somebody changed it: it was left alone.
    KeptChanged,
    /// Somebody else made it: it was left alone.
    KeptForeign,
    /// It existed already, and was left alone.
    KeptExisting,
}

impl fmt::Display for AppliedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.of;
        match self.what {
            SetupAction::Created => write!(f, "created    {of}"),
            SetupAction::Updated => write!(f, "updated    {of}"),
            SetupAction::Unchanged => write!(f, "unchanged  {of}"),
            SetupAction::KeptChanged => {
                write!(f, "kept       {of}: changed since podtap made it (--overwrite replaces it)")
            }
            SetupAction::KeptExisting => write!(f, "kept       {of}: it exists already (--overwrite replaces it)"),
            SetupAction::KeptForeign => write!(f, "kept       {of}: not made by podtap (--overwrite replaces it)"),
        }
    }
}

pub(super) async fn run(
    options: &ElasticsearchOptions,
    setup: &SetupOptions,
    out: &mut impl Write,
) -> Result<Vec<AppliedResource>, String> {
    if let Some(kind) = &options.doc_type {
        return Err(format!("ELASTICSEARCH_TYPE={kind}: servers with mapping types have no such templates"));
    }
    let client = ClusterClient::new(options)?;
    let server = ask_server(&client, options.api_version).await?;
    let abilities = match (setup.print, options.api_version) {
        // Nothing is asked of a server that need not be there.
        (true, ApiVersion::Given(_)) => ServerAbilities { ilm: true, ism: true },
        _ => abilities(&client, server, &setup.retention).await?,
    };
    let plan = SetupPlan::new(server, abilities, &options.index, options.format, &setup.retention);
    if setup.print {
        print(&plan, out).map_err(|why| why.to_string())?;
        return Ok(Vec::new());
    }
    let existing = match &plan.data_stream {
        Some(name) => Some((name, existing(&client, name).await?)),
        None => None,
    };
    // What has records of the other format takes none of this one, whatever the templates.
    let names = options.index.pattern();
    if let Some(other) = held(&client, &names).await?.filter(|other| *other != options.format) {
        return Err(contradiction(&names, other, options.format));
    }
    let mut all = Vec::new();
    for resource in &plan.resources {
        all.push(establish(&client, resource, setup.overwrite).await?);
        tell(out, all.last());
    }
    if let Some((name, exists)) = existing
        && let Some(done) = data_stream(&client, name, exists).await?
    {
        all.push(done);
        tell(out, all.last());
    }
    // The reader may be gone.
    let _ = plan.notes.iter().try_for_each(|note| writeln!(out, "note       {note}"));
    Ok(all)
}

fn tell(out: &mut impl Write, done: Option<&AppliedResource>) {
    if let Some(done) = done {
        // As above.
        let _ = writeln!(out, "{done}");
    }
}

/// As the servers' own consoles take it.
fn print(plan: &SetupPlan, out: &mut impl Write) -> std::io::Result<()> {
    for resource in &plan.resources {
        writeln!(out, "PUT {}\n{:#}\n", resource.path(), resource.body())?;
    }
    match &plan.data_stream {
        Some(name) => writeln!(out, "PUT /_data_stream/{name}"),
        None => Ok(()),
    }
}

async fn abilities(
    client: &ClusterClient,
    server: ServerVersion,
    retention: &Retention,
) -> Result<ServerAbilities, String> {
    let mut abilities = ServerAbilities::default();
    if *retention == Retention::Unlimited {
        return Ok(abilities);
    }
    match server.flavour {
        ServerFlavour::Elasticsearch => abilities.ilm = answers(client, "/_ilm/status").await?,
        ServerFlavour::OpenSearch => abilities.ism = answers(client, "/_plugins/_ism/policies").await?,
        ServerFlavour::Serverless => {}
    }
    Ok(abilities)
}

/// Whether the server has such an interface: one that it hides from us (403) is there.
async fn answers(client: &ClusterClient, path: &str) -> Result<bool, String> {
    let reply = client.send(&ServerRequest::get(path, &[])).await?;
    match reply.status {
        401 => Err(reply.words()),
        status => Ok(matches!(status, 200 | 403)),
    }
}

async fn establish(
    client: &ClusterClient,
    resource: &ServerResource,
    overwrite: bool,
) -> Result<AppliedResource, String> {
    let found = find(client, resource).await?;
    let standing = found.as_ref().map(|found| standing(&found.content, &resource.content));
    let what = match standing {
        None => SetupAction::Created,
        Some(Standing::UpToDate) => SetupAction::Unchanged,
        Some(Standing::Outdated) => SetupAction::Updated,
        Some(Standing::Changed | Standing::Foreign) if overwrite => SetupAction::Updated,
        Some(Standing::Changed) => SetupAction::KeptChanged,
        Some(Standing::Foreign) => SetupAction::KeptForeign,
    };
    if matches!(what, SetupAction::Created | SetupAction::Updated) {
        write(client, resource, found.and_then(|found| found.version)).await?;
    }
    Ok(AppliedResource { what, of: format!("{} {}", resource.kind.words(), resource.name) })
}

/// The current state.
struct FoundResource {
    content: Value,
    /// ISM takes a change only with the version it changes.
    version: Option<(String, String)>,
}

async fn find(client: &ClusterClient, resource: &ServerResource) -> Result<Option<FoundResource>, String> {
    let path = resource.path();
    let reply = client.send(&ServerRequest::get(&path, &[])).await?;
    if reply.status == 404 {
        return Ok(None);
    }
    if !reply.is_success() {
        return Err(format!("GET {path}: {}", reply.words()));
    }
    let answer: Value =
        serde_json::from_slice(&reply.body).map_err(|_| format!("GET {path}: an answer that is none"))?;
    let content = match resource.kind {
        ResourceKind::ComponentTemplate => answer.pointer("/component_templates/0/component_template"),
        ResourceKind::IndexTemplate => answer.pointer("/index_templates/0/index_template"),
        ResourceKind::IlmPolicy => answer.get(&resource.name).and_then(|policy| policy.get("policy")),
        ResourceKind::IsmPolicy => answer.get("policy"),
    };
    let number = |name: &str| answer.get(name).map(ToString::to_string);
    let version = number("_seq_no").zip(number("_primary_term"));
    Ok(content.map(|content| FoundResource { content: content.clone(), version }))
}

async fn write(
    client: &ClusterClient,
    resource: &ServerResource,
    version: Option<(String, String)>,
) -> Result<(), String> {
    let path = resource.path();
    let query = match &version {
        Some((number, term)) => vec![("if_seq_no", number.as_str()), ("if_primary_term", term.as_str())],
        None => Vec::new(),
    };
    let reply = client.send(&ServerRequest::put(&path, &query, resource.body().to_string().into_bytes())).await?;
    if reply.is_success() { Ok(()) } else { Err(format!("PUT {path}: {}", reply.words())) }
}

/// Whether the data stream exists. Where a plain index has its name, nothing of the plan would ever be used.
async fn existing(client: &ClusterClient, name: &str) -> Result<bool, String> {
    let reply = client.send(&ServerRequest::get(&format!("/{name}"), &[("filter_path", "*.data_stream")])).await?;
    if reply.is_success() && reply.body.trim_ascii() == b"{}" {
        return Err(format!("{name} is an index already, so no data stream can have that name"));
    }
    Ok(reply.is_success())
}

/// Makes the data stream before the first record could meet anything else of its name.
async fn data_stream(client: &ClusterClient, name: &str, exists: bool) -> Result<Option<AppliedResource>, String> {
    let done = |what| Ok(Some(AppliedResource { what, of: format!("data stream {name}") }));
    if exists {
        return done(SetupAction::Unchanged);
    }
    let path = format!("/_data_stream/{name}");
    let reply = client.send(&ServerRequest::put(&path, &[], Vec::new())).await?;
    match reply.status {
        200..=299 => done(SetupAction::Created),
        // Somebody was quicker.
        400 if reply.words().contains("resource_already_exists") => done(SetupAction::Unchanged),
        // Servers without that interface make the data stream with the first record.
        400 | 405 if !reply.words().contains("exception") => Ok(None),
        _ => Err(format!("PUT {path}: {}", reply.words())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::elasticsearch::RecordFormat;

    #[test]
    fn what_is_printed_can_be_pasted_into_a_console() {
        let server = ServerVersion { flavour: ServerFlavour::Elasticsearch, major: 9, minor: Some(1) };
        let index = crate::sink::elasticsearch::IndexName::new("web").unwrap();
        let plan =
            SetupPlan::new(server, ServerAbilities::default(), &index, RecordFormat::Classic, &Retention::default());
        let mut out = Vec::new();
        print(&plan, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let requests: Vec<_> = text.split("PUT ").skip(1).collect();
        assert_eq!(requests.len(), 3);
        assert!(requests[0].starts_with("/_component_template/podtap-mappings-classic\n"), "{text}");
        for request in &requests[..2] {
            let (_, body) = request.split_once('\n').unwrap();
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["_meta"]["managed_by"], "podtap");
        }
        assert_eq!(requests[2], "/_data_stream/web\n");
    }
}
