//! `podtap setup elasticsearch` on real servers.

use podtap::setup::{SetupAction, SetupOptions};
use serde_json::json;

use super::{options, set_up};
use crate::servers::Search;

fn deeds(done: &[podtap::setup::AppliedResource]) -> Vec<SetupAction> {
    done.iter().map(|done| done.what).collect()
}

#[test]
fn setting_up_twice_changes_nothing_the_second_time() {
    for (kind, server) in Search::both() {
        let options = options(server, "twice");
        let (first, said) = set_up(&options, &SetupOptions::default());
        // The mappings may be another test's work already.
        assert_eq!(first[1].what, SetupAction::Created, "{said}");
        // Which of the two depends on the server: newer ones keep a data stream's lifecycle without a licence.
        let retention = said.contains("deletes nothing by itself") || said.contains("are deleted after 30d");
        assert!(said.contains("index template podtap-twice") && retention, "{said}");
        let before = server.get("/_index_template/podtap-twice");
        let (second, said) = set_up(&options, &SetupOptions::default());
        assert!(deeds(&second).iter().all(|deed| *deed == SetupAction::Unchanged), "{kind:?}: {said}");
        assert_eq!(server.get("/_index_template/podtap-twice"), before);
    }
}

#[test]
fn what_somebody_changed_is_kept_by_default() {
    for (kind, server) in Search::both() {
        let options = options(server, "kept-%Y.%m.%d");
        set_up(&options, &SetupOptions::default());
        let path = "/_index_template/podtap-kept";
        let mut template = server.get(path)["index_templates"][0]["index_template"].clone();
        // When it was made: newer servers tell it, and take no such word back.
        let own = |name: &String| !name.ends_with("_date") && !name.ends_with("_date_millis");
        template.as_object_mut().unwrap().retain(|name, _| own(name));
        template["priority"] = json!(600);
        assert_eq!(server.ask("PUT", path, &template.to_string()).0, 200, "{kind:?}");
        let (done, said) = set_up(&options, &SetupOptions::default());
        assert_eq!(deeds(&done), [SetupAction::Unchanged, SetupAction::KeptChanged], "{kind:?}: {said}");
        assert!(said.contains("--overwrite"), "{said}");
        let (done, said) = set_up(&options, &SetupOptions { overwrite: true, ..SetupOptions::default() });
        assert_eq!(deeds(&done), [SetupAction::Unchanged, SetupAction::Updated], "{kind:?}: {said}");
        assert_eq!(server.get(path)["index_templates"][0]["index_template"]["priority"], 500);
        template["_meta"] = json!({});
        server.ask("PUT", path, &template.to_string());
        assert_eq!(
            deeds(&set_up(&options, &SetupOptions::default()).0),
            [SetupAction::Unchanged, SetupAction::KeptForeign]
        );
    }
}

#[test]
fn a_name_that_is_an_index_already_is_refused_before_anything_is_made() {
    for (_, server) in Search::both() {
        server.ask("PUT", "/plain", "");
        let refused =
            podtap::setup::elasticsearch(&options(server, "plain"), &SetupOptions::default(), &mut Vec::new());
        assert_eq!(refused, Err("plain is an index already, so no data stream can have that name".to_owned()));
        assert_eq!(server.ask("GET", "/_index_template/podtap-plain", "").0, 404);
    }
}

#[test]
fn what_is_printed_is_what_the_server_takes() {
    for (_, server) in Search::both() {
        let (done, printed) =
            set_up(&options(server, "printed"), &SetupOptions { print: true, ..SetupOptions::default() });
        assert_eq!(done, []);
        assert_eq!(server.ask("GET", "/_index_template/podtap-printed", "").0, 404, "nothing was sent");
        for request in printed.split("PUT ").skip(1).filter(|request| request.contains('{')) {
            let (path, body) = request.split_once('\n').unwrap();
            let (status, answer) = server.ask("PUT", path, body);
            assert_eq!(status, 200, "{path}: {answer}");
        }
    }
}
