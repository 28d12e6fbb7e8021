//! The whole of it: files that change under a running program, and records that get names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;
use crate::record::sample;
use crate::settings::testing::settings;

/// A directory that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("podtap-workloads-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn workloads(path: &Path) -> Result<Workloads, String> {
    Workloads::new(&settings(&[("WORKLOADS", &format!("file:{}", path.display()))]), 1 << 20)
}

fn name(workloads: &Workloads, at: Timestamp) -> Option<String> {
    workloads.at([10, 0, 0, 1].into(), at)?.name.as_ref().map(ToString::to_string)
}

#[test]
fn a_file_that_changes_names_from_then_on_and_what_was_before_keeps_its_name() {
    let folder = Folder::new("changes");
    let path = folder.write("table", "10.0.0.1: before\n");
    let workloads = workloads(&path).unwrap();
    let early = wall_clock();
    assert_eq!(name(&workloads, early).as_deref(), Some("before"));
    assert_eq!(name(&workloads, Timestamp(0)).as_deref(), Some("before"), "of an old capture, too");
    folder.write("table", "10.0.0.1: after, and longer\n");
    workloads.refresh();
    assert_eq!(name(&workloads, early).as_deref(), Some("before"));
    assert_eq!(name(&workloads, wall_clock()).as_deref(), Some("after, and longer"));
    // Of no use: what was read stays.
    folder.write("table", "10.0.0.1: [\n");
    workloads.refresh();
    assert_eq!(name(&workloads, wall_clock()).as_deref(), Some("after, and longer"));
    fs::remove_file(&path).unwrap();
    workloads.refresh();
    assert_eq!(name(&workloads, wall_clock()).as_deref(), Some("after, and longer"));
    folder.write("table", "{}\n");
    workloads.refresh();
    assert_eq!(name(&workloads, wall_clock()), None);
    assert_eq!(name(&workloads, early).as_deref(), Some("before"));
}

/// As the kubelet changes a ConfigMap: `..data` is a link to a directory, and is swapped for another.
#[test]
fn a_file_behind_links_is_read_again_when_a_link_is_swapped() {
    let folder = Folder::new("links");
    folder.write("..1/table", "10.0.0.1: one\n");
    folder.write("..2/table", "10.0.0.1: two\n");
    symlink("..1", folder.0.join("..data")).unwrap();
    symlink("..data/table", folder.0.join("table")).unwrap();
    let workloads = workloads(&folder.0.join("table")).unwrap();
    assert_eq!(name(&workloads, wall_clock()).as_deref(), Some("one"));
    symlink("..2", folder.0.join("..new")).unwrap();
    fs::rename(folder.0.join("..new"), folder.0.join("..data")).unwrap();
    workloads.refresh();
    assert_eq!(name(&workloads, wall_clock()).as_deref(), Some("two"));
}

#[test]
fn a_file_of_no_use_is_an_error_at_the_start_and_says_why() {
    let folder = Folder::new("wrong");
    let path = folder.write("table", "10.0.0.1: a\n10.0.0.1: b\n");
    let error = workloads(&path).unwrap_err();
    assert!(error.starts_with(&path.display().to_string()) && error.contains("line 2"), "{error}");
    assert!(workloads(&folder.0.join("absent")).unwrap_err().contains("No such file"));
}

#[test]
fn records_get_the_names_of_both_ends_and_none_without_workloads() {
    let folder = Folder::new("records");
    let exchange = sample::exchange();
    let (client, server) = (exchange.connection.client.ip, exchange.connection.server.ip);
    let text = format!("\"{client}\": asks\n\"{server}\": {{name: serves, service: shop}}\n");
    let named = workloads(&folder.write("table", &text)).unwrap();
    let text_of = |workload: &Option<Arc<Workload>>| workload.as_ref().and_then(|w| w.name.clone()).unwrap_or_default();
    for (workloads, names) in [(named.clone(), ["asks", "serves"]), (Workloads::default(), ["", ""])] {
        let mut record = Record::Http(Box::new(exchange.clone()));
        workloads.name(&mut record);
        let made = record.into_exchange().unwrap();
        assert_eq!([text_of(&made.source_workload), text_of(&made.destination_workload)], names);
        assert_eq!(made.destination_domain.is_some(), !workloads.is_empty());
    }
    let mut flow = sample::conntrack();
    (flow.tuple.source.ip, flow.tuple.destination.ip) = (client, [10, 96, 0, 1].into());
    flow.destination_nat.as_mut().unwrap().ip = server;
    let mut record = Record::from(flow);
    named.name(&mut record);
    let Record::Conntrack(flow) = record else { unreachable!() };
    let found = [text_of(&flow.source_workload), text_of(&flow.destination_workload)];
    assert_eq!(found, ["asks", "serves"], "the pod behind the Service's address");
    // The Service's own address is asked for, too.
    assert_eq!(named.counts().unwrap().lookups, [4, 1, 0]);
}

#[test]
fn a_connection_to_a_service_names_the_pod_behind_it_and_that_service_alone() {
    let folder = Folder::new("service");
    let table = "10.61.2.2: {namespace: shop, name: cart-1, service: [cart, cart-headless]}\n10.96.61.10: {namespace: shop, name: cart, kind: Service}\n";
    let path = folder.write("table", table);
    let workloads = workloads(&path).unwrap();
    let named = |flow| {
        let mut record = Record::from(flow);
        workloads.name(&mut record);
        let Record::Conntrack(flow) = record else { unreachable!() };
        let it = flow.destination_workload.unwrap();
        (it.name.clone().map(String::from), it.services.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let through = sample::conntrack();
    assert_eq!(named(through.clone()), (Some("cart-1".to_owned()), vec!["cart".to_owned()]));
    let mut unknown = through.clone();
    unknown.destination_nat = Some(crate::flow::Endpoint::new([10, 61, 2, 9], 8080));
    assert_eq!(named(unknown), (None, vec!["cart".to_owned()]));
    let mut directly = through;
    (directly.tuple.destination, directly.destination_nat) = (directly.destination_nat.unwrap(), None);
    let both = vec!["cart".to_owned(), "cart-headless".to_owned()];
    assert_eq!(named(directly), (Some("cart-1".to_owned()), both));
}
