//! The wanted state of a server, as JSON. Pure: decided by the server's version and abilities, and by the settings.
//!
//! Checked against real servers: templates and data streams. Retention is written after the published interfaces
//! (data stream lifecycle, ILM, ISM): the servers that can be had for tests lack it.

use serde_json::{Value, json};

use super::mappings::mappings;
use super::{Retention, compare};
use crate::sink::elasticsearch::{IndexName, RecordFormat, ServerFlavour, ServerVersion};

/// Above every template that ships with a server, for names that are ours by the settings.
const PRIORITY: u32 = 500;

/// When a data stream begins a new index: large ones search slowly, and every new one forgets which ids it has seen.
const ROLLOVER_AGE: &str = "7d";
const ROLLOVER_SIZE: &str = "50gb";

/// What a server can do and its version does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerAbilities {
    /// Index lifecycle management (Elasticsearch).
    pub ilm: bool,
    /// Index state management (OpenSearch).
    pub ism: bool,
}

/// One thing on the server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// What it shall hold, without the marks that `body` adds.
    pub content: Value,
}

/// Kinds of things, in the order in which they need each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Retention by ILM.
    IlmPolicy,
    /// Retention by ISM.
    IsmPolicy,
    /// Mappings.
    ComponentTemplate,
    /// The name, its mappings and its settings.
    IndexTemplate,
}

impl ResourceKind {
    /// In messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::IlmPolicy => "lifecycle policy",
            Self::IsmPolicy => "state management policy",
            Self::ComponentTemplate => "component template",
            Self::IndexTemplate => "index template",
        }
    }
}

impl ServerResource {
    /// Where it is read and written.
    pub fn path(&self) -> String {
        let place = match self.kind {
            ResourceKind::IlmPolicy => "_ilm/policy",
            ResourceKind::IsmPolicy => "_plugins/_ism/policies",
            ResourceKind::ComponentTemplate => "_component_template",
            ResourceKind::IndexTemplate => "_index_template",
        };
        format!("/{place}/{}", self.name)
    }

    /// What is sent: the content, and a mark that shows later whether it was changed.
    pub fn body(&self) -> Value {
        let hash = compare::hash(&self.content);
        let mut content = self.content.clone();
        let Some(object) = content.as_object_mut() else { return content };
        match self.kind {
            // Has no room for anything else.
            ResourceKind::IsmPolicy => {
                object.insert("description".to_owned(), compare::description(&hash).into());
            }
            ResourceKind::IlmPolicy | ResourceKind::ComponentTemplate | ResourceKind::IndexTemplate => {
                object.insert("_meta".to_owned(), compare::meta(&hash));
            }
        }
        match self.kind {
            ResourceKind::IlmPolicy | ResourceKind::IsmPolicy => json!({ "policy": content }),
            ResourceKind::ComponentTemplate | ResourceKind::IndexTemplate => content,
        }
    }
}

/// The whole wanted state.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupPlan {
    /// In this order.
    pub resources: Vec<ServerResource>,
    /// What to create after the templates; plain indices come with their first record.
    pub data_stream: Option<String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl SetupPlan {
    /// For records named `index` on `server`.
    pub fn new(
        server: ServerVersion,
        abilities: ServerAbilities,
        index: &IndexName,
        format: RecordFormat,
        retention: &Retention,
    ) -> Self {
        let name = format!("podtap-{}", index.stem());
        let stream = !index.is_dated() && server.has_data_streams();
        let way = RetentionMethod::of(server, abilities, stream, retention);
        let mut resources = Vec::new();
        if let Retention::Limited(age) = retention {
            resources.extend(way.policy(&name, &index.pattern(), age, stream));
        }
        let component = format.component().to_owned();
        let template = index_template(index, &component, &name, stream, way, retention);
        resources.push(ServerResource {
            kind: ResourceKind::ComponentTemplate,
            name: component,
            content: json!({ "template": { "mappings": mappings(server, format) } }),
        });
        resources.push(ServerResource { kind: ResourceKind::IndexTemplate, name, content: template });
        let data_stream = stream.then(|| index.to_string());
        Self { resources, data_stream, notes: notes(server, way, stream, retention) }
    }
}

/// How records are deleted in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetentionMethod {
    /// They are not meant to be.
    Never,
    /// The template's own word (Elasticsearch 8.14).
    Lifecycle,
    Ilm,
    Ism,
    /// The server cannot.
    None,
}

impl RetentionMethod {
    fn of(server: ServerVersion, abilities: ServerAbilities, stream: bool, retention: &Retention) -> Self {
        match server.flavour {
            _ if *retention == Retention::Unlimited => Self::Never,
            ServerFlavour::OpenSearch if abilities.ism => Self::Ism,
            ServerFlavour::OpenSearch => Self::None,
            ServerFlavour::Elasticsearch | ServerFlavour::Serverless
                if stream && server.has_data_stream_lifecycle() =>
            {
                Self::Lifecycle
            }
            ServerFlavour::Elasticsearch if abilities.ilm => Self::Ilm,
            ServerFlavour::Elasticsearch | ServerFlavour::Serverless => Self::None,
        }
    }

    fn policy(self, name: &str, pattern: &str, age: &str, stream: bool) -> Option<ServerResource> {
        let (kind, content) = match self {
            Self::Never | Self::Lifecycle | Self::None => return None,
            Self::Ilm => (ResourceKind::IlmPolicy, ilm(age, stream)),
            Self::Ism => (ResourceKind::IsmPolicy, ism(pattern, age, stream)),
        };
        Some(ServerResource { kind, name: name.to_owned(), content })
    }
}

/// The age counts from the rollover, so that the newest record of an index is kept as long as promised.
fn ilm(age: &str, stream: bool) -> Value {
    let rollover = json!({ "rollover": { "max_age": ROLLOVER_AGE, "max_primary_shard_size": ROLLOVER_SIZE } });
    let hot = json!({ "actions": if stream { rollover } else { json!({}) } });
    json!({ "phases": { "hot": hot, "delete": { "min_age": age, "actions": { "delete": {} } } } })
}

/// As `ilm`; a plain index of one day was written to for a day, which counts as its age.
fn ism(pattern: &str, age: &str, stream: bool) -> Value {
    let rollover = json!([{ "rollover": { "min_index_age": ROLLOVER_AGE, "min_size": ROLLOVER_SIZE } }]);
    let since = if stream { "min_rollover_age" } else { "min_index_age" };
    json!({
        "default_state": "hot",
        "states": [
            {
                "name": "hot",
                "actions": if stream { rollover } else { json!([]) },
                "transitions": [{ "state_name": "delete", "conditions": { since: age } }],
            },
            { "name": "delete", "actions": [{ "delete": {} }], "transitions": [] },
        ],
        "ism_template": [{ "index_patterns": [pattern], "priority": PRIORITY }],
    })
}

fn index_template(
    index: &IndexName,
    component: &str,
    policy: &str,
    stream: bool,
    way: RetentionMethod,
    retention: &Retention,
) -> Value {
    let mut settings = json!({ "codec": "best_compression" });
    if way == RetentionMethod::Ilm {
        merge(&mut settings, json!({ "lifecycle": { "name": policy } }));
    }
    let mut template = json!({ "settings": { "index": settings } });
    if let (RetentionMethod::Lifecycle, Retention::Limited(age)) = (way, retention) {
        merge(&mut template, json!({ "lifecycle": { "data_retention": age } }));
    }
    let mut whole = json!({
        "index_patterns": [index.pattern()],
        "priority": PRIORITY,
        "composed_of": [component],
        "template": template,
    });
    if stream {
        merge(&mut whole, json!({ "data_stream": {} }));
    }
    whole
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn notes(server: ServerVersion, way: RetentionMethod, stream: bool, retention: &Retention) -> Vec<String> {
    let mut notes = Vec::new();
    match way {
        RetentionMethod::None => {
            notes.push(format!("{server} deletes nothing by itself here: take care of old indices otherwise"))
        }
        RetentionMethod::Never => notes.push("records are kept for ever".to_owned()),
        RetentionMethod::Lifecycle | RetentionMethod::Ilm | RetentionMethod::Ism => {
            notes.push(format!("records are deleted after {retention} at the earliest"))
        }
    }
    if stream {
        notes.push(
            "changed templates hold from the next backing index on (POST <name>/_rollover makes one, which has not seen \
             the ids of the one before)"
                .to_owned(),
        );
    }
    if server.flattened_type().is_none() {
        notes.push(format!("{server} cannot search labels and headers: they are stored only"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(
        flavour: ServerFlavour,
        version: (u16, u16),
        abilities: ServerAbilities,
        index: &str,
        retention: &str,
    ) -> SetupPlan {
        let server = ServerVersion { flavour, major: version.0, minor: Some(version.1) };
        let index = IndexName::new(index).unwrap();
        SetupPlan::new(server, abilities, &index, RecordFormat::Ecs, &retention.parse().unwrap())
    }

    const ILM: ServerAbilities = ServerAbilities { ilm: true, ism: false };
    const ISM: ServerAbilities = ServerAbilities { ilm: false, ism: true };
    const NEITHER: ServerAbilities = ServerAbilities { ilm: false, ism: false };

    fn paths(plan: &SetupPlan) -> Vec<String> {
        plan.resources.iter().map(ServerResource::path).collect()
    }

    #[test]
    fn a_name_becomes_a_data_stream_and_a_dated_name_plain_indices() {
        let stream = plan(ServerFlavour::Elasticsearch, (8, 7), NEITHER, "web", "30d");
        assert_eq!(paths(&stream), ["/_component_template/podtap-mappings", "/_index_template/podtap-web"]);
        assert_eq!(stream.data_stream.as_deref(), Some("web"));
        let template = stream.resources[1].body();
        assert_eq!(template["index_patterns"], json!(["web"]));
        assert_eq!(template["data_stream"], json!({}));
        assert_eq!(template["composed_of"], json!(["podtap-mappings"]));
        assert_eq!(template["_meta"]["managed_by"], "podtap");

        let dated = plan(ServerFlavour::Elasticsearch, (8, 7), NEITHER, "web-%Y.%m.%d", "30d");
        assert_eq!(dated.data_stream, None);
        let template = dated.resources[1].body();
        assert_eq!(template["index_patterns"], json!(["web-*.*.*"]));
        assert_eq!(template.get("data_stream"), None);
    }

    #[test]
    fn retention_takes_whichever_way_the_server_has() {
        use ServerFlavour::{Elasticsearch, OpenSearch, Serverless};
        // The policy's path, the template's lifecycle, its policy.
        for (flavour, version, abilities, index, retention, policy, lifecycle, named) in [
            (Elasticsearch, (9, 1), ILM, "web", "30d", None, Some("30d"), None),
            (Serverless, (8, 11), NEITHER, "web", "12h", None, Some("12h"), None),
            (Elasticsearch, (9, 1), ILM, "web-%Y", "30d", Some("/_ilm/policy/podtap-web"), None, Some("podtap-web")),
            (Elasticsearch, (7, 17), ILM, "web", "30d", Some("/_ilm/policy/podtap-web"), None, Some("podtap-web")),
            (Elasticsearch, (8, 7), NEITHER, "web", "30d", None, None, None),
            (Elasticsearch, (9, 1), ILM, "web", "none", None, None, None),
            (OpenSearch, (2, 19), ISM, "web", "30d", Some("/_plugins/_ism/policies/podtap-web"), None, None),
            (OpenSearch, (2, 19), NEITHER, "web", "30d", None, None, None),
        ] {
            let plan = plan(flavour, version, abilities, index, retention);
            let case = format!("{flavour:?} {version:?} {index} {retention}");
            let paths = paths(&plan);
            assert_eq!(paths.first().filter(|_| paths.len() == 3).map(String::as_str), policy, "{case}");
            let template = plan.resources.last().unwrap().body();
            assert_eq!(
                template.pointer("/template/lifecycle/data_retention").and_then(Value::as_str),
                lifecycle,
                "{case}"
            );
            let setting = template.pointer("/template/settings/index/lifecycle/name").and_then(Value::as_str);
            assert_eq!(setting, named, "{case}");
        }
    }

    #[test]
    fn a_policy_deletes_by_age_and_only_data_streams_roll_over() {
        let policy = |abilities, flavour, index: &str| {
            let plan = plan(flavour, (2, 19), abilities, index, "30d");
            plan.resources[0].body()["policy"].clone()
        };
        let stream = policy(ISM, ServerFlavour::OpenSearch, "web");
        assert_eq!(stream["states"][0]["actions"][0]["rollover"]["min_index_age"], "7d");
        assert_eq!(stream["states"][0]["transitions"][0]["conditions"], json!({ "min_rollover_age": "30d" }));
        assert_eq!(stream["ism_template"][0]["index_patterns"], json!(["web"]));
        assert!(stream["description"].as_str().unwrap().starts_with("Made by podtap"));
        let dated = policy(ISM, ServerFlavour::OpenSearch, "web-%Y.%m.%d");
        assert_eq!(dated["states"][0]["actions"], json!([]));
        assert_eq!(dated["states"][0]["transitions"][0]["conditions"], json!({ "min_index_age": "30d" }));

        let stream = ilm("30d", true);
        assert_eq!(stream["phases"]["hot"]["actions"]["rollover"]["max_age"], "7d");
        assert_eq!(stream["phases"]["delete"], json!({ "min_age": "30d", "actions": { "delete": {} } }));
        assert_eq!(ilm("30d", false)["phases"]["hot"], json!({ "actions": {} }));
    }

    #[test]
    fn what_a_server_cannot_do_is_said() {
        let notes = |plan: SetupPlan| plan.notes.join("\n");
        let old = notes(plan(ServerFlavour::OpenSearch, (1, 3), NEITHER, "web", "30d"));
        assert!(old.contains("OpenSearch 1.3 deletes nothing") && old.contains("cannot search labels"), "{old}");
        let unlimited = notes(plan(ServerFlavour::Elasticsearch, (9, 1), ILM, "web", "none"));
        assert!(unlimited.contains("for ever"), "{unlimited}");
    }
}
