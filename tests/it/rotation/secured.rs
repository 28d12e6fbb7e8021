//! An Elasticsearch that knows its clients: keys, tokens and passwords that it takes back, and rights that it narrows, under 500
//! records a second. Rights are those that docs/elasticsearch.md names.

use serde_json::{Value, json};

use podtap::setup::SetupOptions;
use podtap::sink::FailureReason;

use super::{Mounted, goes_on, is_refused_after, start, under_load};
use crate::elasticsearch::{options, set_up};
use crate::feed::{json_line, watch};
use crate::servers::Search;

/// Does a request, which must succeed; `null` is no body.
fn done(server: &Search, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = server.ask(method, path, &body);
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

fn role(server: &Search, index: &str, privileges: &[&str]) {
    let role = json!({"cluster": ["monitor"], "indices": [{"names": [index], "privileges": privileges}]});
    done(server, "PUT", &format!("/_security/role/{index}"), &role);
}

fn user(server: &Search, index: &str, number: usize) -> (String, String) {
    let (name, password) = (format!("{index}-{number}"), format!("password-{number}"));
    let user = json!({"password": password, "roles": [index]});
    done(server, "PUT", &format!("/_security/user/{name}"), &user);
    (name, password)
}

const RIGHTS: [&str; 3] = ["create_doc", "auto_configure", "view_index_metadata"];

/// Who may write, as files; and how that is taken back.
trait Credential {
    /// The settings that name the files.
    const FILES: &'static [(&'static str, &'static str)];
    fn grant(server: &Search, index: &str, number: usize) -> Self;
    fn files(&self) -> Vec<(&'static str, Vec<u8>)>;
    fn revoke(&self, server: &Search);
}

struct User(String, String);

impl Credential for User {
    const FILES: &'static [(&'static str, &'static str)] =
        &[("ELASTICSEARCH_USERNAME_FILE", "user"), ("ELASTICSEARCH_PASSWORD_FILE", "password")];

    fn grant(server: &Search, index: &str, number: usize) -> Self {
        let (name, password) = user(server, index, number);
        Self(name, password)
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![("user", format!("{}\n", self.0).into_bytes()), ("password", format!("{}\n", self.1).into_bytes())]
    }

    fn revoke(&self, server: &Search) {
        done(server, "DELETE", &format!("/_security/user/{}", self.0), &Value::Null);
    }
}

struct ApiKey(Value);

impl Credential for ApiKey {
    const FILES: &'static [(&'static str, &'static str)] = &[("ELASTICSEARCH_API_KEY_FILE", "key")];

    fn grant(server: &Search, index: &str, number: usize) -> Self {
        let rights = json!({"cluster": ["monitor"], "indices": [{"names": [index], "privileges": RIGHTS}]});
        let key = json!({"name": format!("{index}-{number}"), "role_descriptors": {index: rights}});
        Self(done(server, "POST", "/_security/api_key", &key))
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![("key", self.0["encoded"].as_str().unwrap().into())]
    }

    fn revoke(&self, server: &Search) {
        done(server, "DELETE", "/_security/api_key", &json!({"ids": [self.0["id"]]}));
    }
}

struct Token(String);

impl Credential for Token {
    const FILES: &'static [(&'static str, &'static str)] = &[("ELASTICSEARCH_BEARER_FILE", "token")];

    fn grant(server: &Search, index: &str, number: usize) -> Self {
        let (username, password) = user(server, index, number);
        let wanted = json!({"grant_type": "password", "username": username, "password": password});
        let answer = done(server, "POST", "/_security/oauth2/token", &wanted);
        Self(answer["access_token"].as_str().unwrap().to_owned())
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![("token", self.0.clone().into_bytes())]
    }

    fn revoke(&self, server: &Search) {
        done(server, "DELETE", "/_security/oauth2/token", &json!({"token": self.0}));
    }
}

/// Taken back before there is another one, and after.
fn rotated<C: Credential>(server: &Search, index: &str) {
    set_up(&options(server, index), &SetupOptions::default());
    role(server, index, &RIGHTS);
    let first = C::grant(server, index, 1);
    let mut mounted = Mounted::new(index, &first.files());
    let files = C::FILES.iter().map(|(name, file)| ((*name).to_owned(), mounted.file(file))).collect();
    let settings =
        [("SEND_LOGS_TO", "elasticsearch"), ("ELASTICSEARCH_HOST", &server.url()), ("ELASTICSEARCH_INDEX", index)];
    let sink = start(&settings, files);
    let offered = under_load(index, sink, json_line, |sink| {
        goes_on(index, sink);
        is_refused_after(index, sink, || first.revoke(server));
        assert!(sink.counts().failed[FailureReason::Auth as usize] >= 2, "{:?}", sink.counts());
        let second = C::grant(server, index, 2);
        mounted.publish(&second.files());
        goes_on(index, sink);
        let third = C::grant(server, index, 3);
        mounted.publish(&third.files());
        second.revoke(server);
        goes_on(index, sink);
    });
    assert_eq!(server.count(index), offered as u64, "none lost, none twice");
}

#[test]
fn elasticsearch_with_another_user_another_api_key_and_another_token() {
    let Some(server) = Search::secured() else { return };
    done(&server, "POST", "/_license/start_trial?acknowledge=true", &Value::Null);
    rotated::<User>(&server, "rotated-user");
    rotated::<ApiKey>(&server, "rotated-key");
    rotated::<Token>(&server, "rotated-token");
    a_role_that_is_narrowed_holds_the_records(&server);
}

fn a_role_that_is_narrowed_holds_the_records(server: &Search) {
    let index = "narrowed";
    set_up(&options(server, index), &SetupOptions::default());
    role(server, index, &RIGHTS);
    let user = User::grant(server, index, 1);
    let mounted = Mounted::new(index, &user.files());
    let files = User::FILES.iter().map(|(name, file)| ((*name).to_owned(), mounted.file(file))).collect();
    let settings =
        [("SEND_LOGS_TO", "elasticsearch"), ("ELASTICSEARCH_HOST", &server.url()), ("ELASTICSEARCH_INDEX", index)];
    let offered = under_load(index, start(&settings, files), json_line, |sink| {
        goes_on(index, sink);
        is_refused_after(index, sink, || role(server, index, &["view_index_metadata"]));
        watch(index, sink, |counts| counts.failed[FailureReason::Forbidden as usize] > 0);
        role(server, index, &RIGHTS);
        goes_on(index, sink);
    });
    assert_eq!(server.count(index), offered as u64, "none lost, none twice");
}
