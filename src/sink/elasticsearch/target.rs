//! What is behind ELASTICSEARCH_INDEX on this server, found out before the first record is sent.
//!
//! A bulk request to a name without a template creates a plain index of that name, after which the data stream cannot
//! exist. So records are held until it is known what the name is: a data stream, one that will become one, or meant to
//! be a plain index. Creates nothing (`podtap setup elasticsearch` does).

use serde::Deserialize;
use std::collections::BTreeMap;

use super::super::error::{DeliveryError, FailureReason};
use super::client::{ClusterClient, ServerReply, ServerRequest};
use super::options::{ElasticsearchOptions, RecordFormat};
use super::server::{ApiVersion, ServerVersion};

/// What was found, and it can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTarget {
    /// The server.
    pub server: ServerVersion,
    /// What the name is.
    pub kind: TargetKind,
    /// What will work, perhaps not as meant.
    pub warning: Option<String>,
}

/// What a name is, or will be with the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A data stream.
    DataStream,
    /// An index, or an alias of one.
    Index,
}

impl std::fmt::Display for CheckedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            TargetKind::DataStream => "data stream",
            TargetKind::Index => "index",
        };
        write!(f, "{}, {kind}", self.server)
    }
}

/// Asks; `name` is the index of some record. The error says why nothing can be sent.
pub(super) async fn examine(
    client: &ClusterClient,
    options: &ElasticsearchOptions,
    name: &str,
) -> Result<CheckedTarget, DeliveryError> {
    let server = server(client, options.api_version).await?;
    if options.doc_type.is_some() {
        return typed(server).map_err(not_ready);
    }
    if !server.has_data_streams() {
        return Ok(CheckedTarget { server, kind: TargetKind::Index, warning: None });
    }
    let found = found(&client.send(&ServerRequest::get(&format!("/{name}"), &[("filter_path", FOUND)])).await?);
    let (templates, planned) = templates(client, name).await?;
    let held = match found {
        FoundTarget::DataStream | FoundTarget::Index => held(client, name).await?,
        FoundTarget::Nothing | FoundTarget::Unknown(_) => planned,
    };
    if let Some(other) = held.filter(|held| *held != options.format) {
        return Err(not_ready(contradiction(name, other, options.format)));
    }
    judge(server, options.index.is_dated(), name, &found, &templates).map_err(not_ready)
}

fn not_ready(why: String) -> DeliveryError {
    DeliveryError::new(FailureReason::NotReady, why)
}

/// Asks for the version, unless it is given.
pub(crate) async fn server(client: &ClusterClient, version: ApiVersion) -> Result<ServerVersion, DeliveryError> {
    if let ApiVersion::Given(server) = version {
        return Ok(server);
    }
    let reply = client.send(&ServerRequest::get("/", &[])).await?;
    if !reply.is_success() {
        let advice = match reply.status {
            // 403 is another matter: who may write need not be allowed to ask for the version.
            401 => "see ELASTICSEARCH_USERNAME, _PASSWORD, _API_KEY and _BEARER",
            _ => "ELASTICSEARCH_API_VERSION can",
        };
        let what = format!("the server does not report its version ({}); {advice}", reply.words());
        return Err(DeliveryError::new(reply.class(), what));
    }
    ServerVersion::from_main(&reply.body).map_err(|why| DeliveryError::new(FailureReason::Protocol, why))
}

fn typed(server: ServerVersion) -> Result<CheckedTarget, String> {
    if server.has_types() {
        return Ok(CheckedTarget { server, kind: TargetKind::Index, warning: None });
    }
    Err(format!("{server} has no mapping types: unset ELASTICSEARCH_TYPE"))
}

/// Which kind of records the name is made for, where that shows: `host` is an object or a text.
pub(crate) async fn held(client: &ClusterClient, name: &str) -> Result<Option<RecordFormat>, DeliveryError> {
    let path = format!("/{name}/_mapping");
    let reply = client.send(&ServerRequest::get(&path, &[("filter_path", "*.mappings.properties.host")])).await?;
    Ok(if reply.is_success() { mapped(&reply.body) } else { None })
}

/// From the mapping of the newest index behind a name.
fn mapped(body: &[u8]) -> Option<RecordFormat> {
    let indices = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(body).ok()?;
    let host = indices.values().next_back()?.pointer("/mappings/properties/host")?;
    let is_object = host.get("properties").is_some() || host.get("type").is_some_and(|kind| kind == "object");
    Some(if is_object { RecordFormat::Ecs } else { RecordFormat::Classic })
}

/// What to say where records of one kind would meet an index of the other.
pub(crate) fn contradiction(name: &str, held: RecordFormat, ours: RecordFormat) -> String {
    let (held, ours) = (held.word(), ours.word());
    format!(
        "FORMAT_ELASTICSEARCH is {ours}, but ELASTICSEARCH_INDEX={name} is made for {held} records, which would reject \
         them: give {ours} records an index with another name, and {SETUP} for it"
    )
}

const FOUND: &str = "*.data_stream";

/// Whether the name exists.
#[derive(Clone, Debug, PartialEq, Eq)]
enum FoundTarget {
    DataStream,
    Index,
    Nothing,
    /// We may not know.
    Unknown(String),
}

/// From the answer to `GET /name`, filtered to what distinguishes a backing index from any other.
fn found(reply: &ServerReply) -> FoundTarget {
    #[derive(Deserialize)]
    struct Backing {}
    match reply.status {
        200 => match serde_json::from_slice::<BTreeMap<String, Backing>>(&reply.body) {
            Ok(indices) if indices.is_empty() => FoundTarget::Index,
            Ok(_) => FoundTarget::DataStream,
            Err(_) => FoundTarget::Unknown("an answer that is none".to_owned()),
        },
        404 => FoundTarget::Nothing,
        _ => FoundTarget::Unknown(reply.words()),
    }
}

/// Which template a new index of the name would be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplateMatch {
    /// One that makes a data stream.
    DataStream,
    /// One that does not.
    Index,
    None,
    Unknown(String),
}

/// And the format that it is for, where it is one of ours.
async fn templates(client: &ClusterClient, name: &str) -> Result<(TemplateMatch, Option<RecordFormat>), DeliveryError> {
    let reply = client.send(&ServerRequest::get("/_index_template", &[("filter_path", TEMPLATES)])).await?;
    if !reply.is_success() {
        return Ok((TemplateMatch::Unknown(reply.words()), None));
    }
    let (of_name, format) = winner(&reply.body, name);
    if of_name != TemplateMatch::None {
        return Ok((of_name, format));
    }
    // Of the kind before 7.8; where there is none of that kind any more, the server has none to apply either.
    let reply = client.send(&ServerRequest::get("/_template", &[("filter_path", "*.index_patterns")])).await?;
    let is_legacy = reply.is_success() && legacy(&reply.body, name);
    Ok((if is_legacy { TemplateMatch::Index } else { TemplateMatch::None }, None))
}

const TEMPLATES: &str = "index_templates.index_template.index_patterns,\
    index_templates.index_template.priority,index_templates.index_template.data_stream,\
    index_templates.index_template.composed_of";

/// The template of the highest priority that fits.
fn winner(body: &[u8], name: &str) -> (TemplateMatch, Option<RecordFormat>) {
    #[derive(Deserialize, Default)]
    struct All {
        #[serde(default)]
        index_templates: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        index_template: Template,
    }
    #[derive(Deserialize)]
    struct Template {
        #[serde(default)]
        index_patterns: Vec<String>,
        #[serde(default)]
        priority: Option<i64>,
        #[serde(default)]
        composed_of: Vec<String>,
        /// `filter_path` leaves out an empty object, but never the ones within it: servers fill it with defaults.
        #[serde(default)]
        data_stream: Option<serde::de::IgnoredAny>,
    }
    let Ok(all) = serde_json::from_slice::<All>(body) else {
        return (TemplateMatch::Unknown("an answer that is none".to_owned()), None);
    };
    let fitting = all.index_templates.into_iter().map(|one| one.index_template);
    let fitting = fitting.filter(|template| template.index_patterns.iter().any(|pattern| fits(pattern, name)));
    let Some(first) = fitting.max_by_key(|template| template.priority.unwrap_or(0)) else {
        return (TemplateMatch::None, None);
    };
    let is_of = |format: &RecordFormat| first.composed_of.iter().any(|name| name == format.component());
    let format = [RecordFormat::Ecs, RecordFormat::Classic].into_iter().find(is_of);
    (if first.data_stream.is_some() { TemplateMatch::DataStream } else { TemplateMatch::Index }, format)
}

fn legacy(body: &[u8], name: &str) -> bool {
    #[derive(Deserialize)]
    struct LegacyTemplate {
        #[serde(default)]
        index_patterns: Vec<String>,
    }
    serde_json::from_slice::<BTreeMap<String, LegacyTemplate>>(body).is_ok_and(|templates| {
        templates.values().flat_map(|template| &template.index_patterns).any(|pattern| fits(pattern, name))
    })
}

/// Whether a template's pattern fits: `*` is any run of characters, everything else is itself.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(tail)
}

const SETUP: &str = "run `podtap setup elasticsearch`";

fn judge(
    server: ServerVersion,
    dated: bool,
    name: &str,
    found: &FoundTarget,
    templates: &TemplateMatch,
) -> Result<CheckedTarget, String> {
    let unmapped = matches!(templates, TemplateMatch::None)
        .then(|| format!("no index template fits {name}: the server guesses the types of fields; {SETUP}"));
    let ready = |kind, warning| Ok(CheckedTarget { server, kind, warning });
    match (found, templates) {
        (FoundTarget::DataStream, _) => ready(TargetKind::DataStream, None),
        (FoundTarget::Index, _) => ready(TargetKind::Index, unmapped),
        // A date in the name: one plain index a day.
        (FoundTarget::Nothing | FoundTarget::Unknown(_), _) if dated => ready(TargetKind::Index, unmapped),
        (FoundTarget::Nothing | FoundTarget::Unknown(_), TemplateMatch::DataStream) => {
            ready(TargetKind::DataStream, None)
        }
        (FoundTarget::Nothing, TemplateMatch::Index) => ready(TargetKind::Index, None),
        (FoundTarget::Nothing, TemplateMatch::None) => Err(format!(
            "records are held: {name} does not exist, and without an index template the server would make a plain index \
             of it; {SETUP}, or create the index if a plain one is meant"
        )),
        // The server itself refuses whatever is no data stream.
        (FoundTarget::Unknown(_), _) | (_, TemplateMatch::Unknown(_)) if server.can_require_data_stream() => {
            ready(TargetKind::DataStream, None)
        }
        (FoundTarget::Unknown(why), _) | (FoundTarget::Nothing, TemplateMatch::Unknown(why)) => Err(format!(
            "records are held: whether {name} is a data stream cannot be known ({why}); it takes the privileges monitor \
             on the cluster and view_index_metadata on the index"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::ServerFlavour;
    use super::*;
    use proptest::prelude::*;

    fn reply(status: u16, body: &str) -> ServerReply {
        ServerReply { status, body: body.to_owned().into(), retry_after: None }
    }

    #[test]
    fn what_a_name_is_follows_from_its_indices() {
        let missing = r#"{"error":{"type":"index_not_found_exception","reason":"no such index"},"status":404}"#;
        for (status, body, expected) in [
            (200, r#"{".ds-web-2026.03.01-000001":{"data_stream":"web"}}"#, FoundTarget::DataStream),
            (200, "{}", FoundTarget::Index),
            (404, missing, FoundTarget::Nothing),
            (403, r#"{"error":"no","status":403}"#, FoundTarget::Unknown("403: no".to_owned())),
            (200, "<html>", FoundTarget::Unknown("an answer that is none".to_owned())),
        ] {
            assert_eq!(found(&reply(status, body)), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_template_of_the_highest_priority_decides() {
        let templates = r#"{"index_templates":[
            {"index_template":{"index_patterns":["we*"]}},
            {"index_template":{"index_patterns":["x","web*"],"priority":500,"data_stream":{"hidden":false}}},
            {"index_template":{"index_patterns":["*b"],"priority":100}}]}"#;
        for (name, expected) in [
            ("web", TemplateMatch::DataStream),
            ("web-1", TemplateMatch::DataStream),
            ("wet", TemplateMatch::Index),
            ("ab", TemplateMatch::Index),
            ("abc", TemplateMatch::None),
        ] {
            assert_eq!(winner(templates.as_bytes(), name), (expected, None), "{name}");
        }
        assert_eq!(winner(b"{}", "web"), (TemplateMatch::None, None));
        assert!(matches!(winner(b"[", "web"), (TemplateMatch::Unknown(_), None)));
        assert!(legacy(br#"{"old":{"index_patterns":["we*"]}}"#, "web"));
        assert!(!legacy(br#"{"old":{"index_patterns":["we*"]}}"#, "x") && !legacy(b"[", "x"));
    }

    #[test]
    fn an_index_shows_by_its_host_which_records_it_is_for() {
        for (body, expected) in [
            (r#"{"web-1":{"mappings":{"properties":{"host":{"properties":{"name":{}}}}}}}"#, Some(RecordFormat::Ecs)),
            (r#"{"web-1":{"mappings":{"properties":{"host":{"type":"keyword"}}}}}"#, Some(RecordFormat::Classic)),
            (
                r#"{"web-1":{"mappings":{"properties":{"host":{"type":"text","fields":{}}}}}}"#,
                Some(RecordFormat::Classic),
            ),
            (
                r#"{"a":{"mappings":{"properties":{"host":{"type":"text"}}}},"b":{"mappings":{"properties":{"host":{"properties":{}}}}}}"#,
                Some(RecordFormat::Ecs),
            ),
            ("{}", None),
            ("<html>", None),
        ] {
            assert_eq!(mapped(body.as_bytes()), expected, "{body}");
        }
        let template = |component: &str| {
            format!(
                r#"{{"index_templates":[{{"index_template":{{"index_patterns":["web"],"composed_of":["{component}"]}}}}]}}"#
            )
        };
        for format in [RecordFormat::Ecs, RecordFormat::Classic] {
            assert_eq!(winner(template(format.component()).as_bytes(), "web"), (TemplateMatch::Index, Some(format)));
        }
        assert_eq!(winner(template("theirs").as_bytes(), "web"), (TemplateMatch::Index, None));
    }

    #[test]
    fn records_are_sent_only_where_the_name_cannot_become_what_it_should_not() {
        let unknown = || "403".to_owned();
        let old = ServerVersion { flavour: ServerFlavour::Elasticsearch, major: 8, minor: Some(7) };
        let new = ServerVersion { minor: Some(13), ..old };
        let sent = |kind| Some((kind, false));
        let warned = Some((TargetKind::Index, true));
        // server, dated, found, templates -> kind and whether there is a warning, or held
        for (server, dated, found, templates, expected) in [
            (old, false, FoundTarget::DataStream, TemplateMatch::Unknown(unknown()), sent(TargetKind::DataStream)),
            (old, false, FoundTarget::Index, TemplateMatch::Index, sent(TargetKind::Index)),
            (old, false, FoundTarget::Index, TemplateMatch::None, warned),
            (old, false, FoundTarget::Nothing, TemplateMatch::DataStream, sent(TargetKind::DataStream)),
            (old, false, FoundTarget::Nothing, TemplateMatch::Index, sent(TargetKind::Index)),
            (old, false, FoundTarget::Nothing, TemplateMatch::None, None),
            (new, false, FoundTarget::Nothing, TemplateMatch::None, None),
            (old, true, FoundTarget::Nothing, TemplateMatch::None, warned),
            (old, true, FoundTarget::Nothing, TemplateMatch::Index, sent(TargetKind::Index)),
            (old, true, FoundTarget::Unknown(unknown()), TemplateMatch::Unknown(unknown()), sent(TargetKind::Index)),
            (old, false, FoundTarget::Unknown(unknown()), TemplateMatch::DataStream, sent(TargetKind::DataStream)),
            (old, false, FoundTarget::Unknown(unknown()), TemplateMatch::None, None),
            (old, false, FoundTarget::Unknown(unknown()), TemplateMatch::Unknown(unknown()), None),
            (old, false, FoundTarget::Nothing, TemplateMatch::Unknown(unknown()), None),
            (
                new,
                false,
                FoundTarget::Unknown(unknown()),
                TemplateMatch::Unknown(unknown()),
                sent(TargetKind::DataStream),
            ),
            (new, false, FoundTarget::Nothing, TemplateMatch::Unknown(unknown()), sent(TargetKind::DataStream)),
        ] {
            let got = judge(server, dated, "web", &found, &templates);
            let got = got.ok().map(|target| (target.kind, target.warning.is_some()));
            assert_eq!(got, expected, "{server} dated: {dated} {found:?} {templates:?}");
        }
    }

    #[test]
    fn a_mapping_type_is_refused_where_there_are_none() {
        let server = |major| ServerVersion { flavour: ServerFlavour::Elasticsearch, major, minor: None };
        assert_eq!(typed(server(6)).map(|target| target.kind), Ok(TargetKind::Index));
        assert_eq!(typed(server(8)), Err("Elasticsearch 8 has no mapping types: unset ELASTICSEARCH_TYPE".to_owned()));
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_a_slow_matcher_says(pattern in "[ab*]{0,6}", name in "[ab]{0,8}") {
            fn slow(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern, name) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => (0..=name.len()).any(|n| slow(rest, &name[n..])),
                    ([p, rest @ ..], [n, left @ ..]) => p == n && slow(rest, left),
                    _ => false,
                }
            }
            prop_assert_eq!(fits(&pattern, &name), slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
