//! The kubelet's way to write the files, played on a directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::settings::testing::settings;

/// A Downward API volume: `labels` and `annotations` are links into `..data`, a link to its own directory for each
/// version, swapped by renaming.
struct Volume {
    root: PathBuf,
    version: u32,
}

impl Volume {
    fn new(name: &str, labels: &str, annotations: &str) -> Self {
        let root = std::env::temp_dir().join(format!("podtap-identity-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for file in ["labels", "annotations"] {
            symlink(format!("..data/{file}"), root.join(file)).unwrap();
        }
        let mut volume = Self { root, version: 0 };
        volume.write(labels, annotations);
        volume
    }

    fn write(&mut self, labels: &str, annotations: &str) {
        self.version += 1;
        let (version, new) = (format!("..v{}", self.version), self.root.join("..data_tmp"));
        let directory = self.root.join(&version);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("labels"), labels).unwrap();
        fs::write(directory.join("annotations"), annotations).unwrap();
        symlink(version, &new).unwrap();
        fs::rename(new, self.root.join("..data")).unwrap();
    }

    fn identity(&self, env: &[(&str, &str)]) -> Identity {
        let path = |file: &str| self.root.join(file).to_str().unwrap().to_owned();
        let (labels, annotations) = (path("labels"), path("annotations"));
        let mut all = vec![("POD_LABELS_PATH", labels.as_str()), ("POD_ANNOTATIONS_PATH", annotations.as_str())];
        all.extend(env);
        Identity::new(&settings(&all)).unwrap()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    pairs.iter().copied().collect()
}

#[test]
fn names_come_from_the_environment_and_labels_and_annotations_from_the_volume() {
    let volume = Volume::new(
        "names",
        "app=\"cart\"\ntier=\"front\"\n",
        "podtap.io/team=\"shop\"\nkubectl.kubernetes.io/last-applied-configuration=\"{\\\"secret\\\":1}\"\n",
    );
    let env = [("POD_NAME", "cart-1"), ("POD_NAMESPACE", "shop"), ("POD_UID", "0d1e"), ("NODE_NAME", "n1")];
    let ips = [("POD_IPS", "10.1.2.3,fd00::3"), ("CLUSTER_NAME", "prod"), ("ANNOTATIONS", "podtap.io/*")];
    let observer = volume.identity(&[&env[..], &ips[..]].concat()).observer();
    let pod = Pod {
        namespace: Some("shop".into()),
        name: Some("cart-1".into()),
        uid: Some("0d1e".into()),
        ip: Some("10.1.2.3".parse().unwrap()),
        node: Some("n1".into()),
        labels: labels(&[("app", "cart"), ("tier", "front")]),
        annotations: labels(&[("podtap.io/team", "shop")]),
    };
    assert_eq!(observer.pod, pod);
    let names = [&observer.host_name, &observer.cluster_name, &observer.service_name].map(|name| name.as_deref());
    assert_eq!(names, [Some("n1"), Some("prod"), Some("cart")]);
}

#[test]
fn annotations_are_recorded_only_where_they_are_allowed() {
    let volume = Volume::new("annotations", "", "a=\"1\"\nb=\"2\"\nbc=\"3\"\n");
    for (allowed, expected) in [
        ("none", labels(&[])),
        ("a", labels(&[("a", "1")])),
        ("b*", labels(&[("b", "2"), ("bc", "3")])),
        ("x,bc", labels(&[("bc", "3")])),
    ] {
        assert_eq!(volume.identity(&[("ANNOTATIONS", allowed)]).observer().pod.annotations, expected, "{allowed}");
    }
    assert!(Identity::new(&settings(&[("ANNOTATIONS", &"x".repeat(300))])).is_err());
}

#[test]
fn the_service_is_named_by_the_setting_else_by_the_pods_labels() {
    for (file, set, expected) in [
        ("app=\"b\"\napp.kubernetes.io/name=\"a\"\nk8s-app=\"c\"\n", "", Some("a")),
        ("app=\"b\"\nk8s-app=\"c\"\n", "", Some("b")),
        ("app=\"\"\nk8s-app=\"c\"\n", "", Some("c")),
        ("tier=\"front\"\n", "", None),
        ("app=\"b\"\n", "named", Some("named")),
    ] {
        let volume = Volume::new("service", file, "");
        let observer = volume.identity(&[("SERVICE_NAME", set)]).observer();
        assert_eq!(observer.service_name.as_deref(), expected, "{file} {set}");
    }
}

#[test]
fn a_change_of_the_volume_is_seen_by_every_reader_at_the_next_refresh() {
    let mut volume = Volume::new("change", "app=\"cart\"\n", "");
    let identity = volume.identity(&[]);
    let mut readers = [identity.subscribe(), identity.subscribe()];
    assert!(!identity.refresh(), "nothing changed");
    volume.write("app=\"till\"\n", "");
    assert_eq!(readers[0].now().pod.labels, labels(&[("app", "cart")]), "not before the refresh");
    assert!(identity.refresh());
    for reader in &mut readers {
        assert_eq!(reader.now().pod.labels, labels(&[("app", "till")]));
        assert_eq!(reader.now().service_name.as_deref(), Some("till"));
    }
    volume.write("app=\"till\"\n", "");
    assert!(!identity.refresh(), "written again, and the same");
    fs::remove_file(volume.root.join("..data")).unwrap();
    assert!(identity.refresh());
    assert_eq!(identity.observer().pod.labels, labels(&[]));
}

#[test]
fn the_pod_is_introduced_as_far_as_it_is_known() {
    let volume = Volume::new("introduction", "app=\"cart\"\n", "");
    let env = [("POD_NAME", "cart-1"), ("POD_NAMESPACE", "shop"), ("NODE_NAME", "n1")];
    for (known, expected) in [
        (&env[..0], None),
        (&env[1..], None),
        (&env[..1], Some("pod cart-1, one label")),
        (&env[..], Some("pod shop/cart-1 on node n1, one label")),
    ] {
        assert_eq!(volume.identity(known).introduction().as_deref(), expected);
    }
}

#[test]
fn outside_a_pod_there_is_neither() {
    let absent = [("POD_LABELS_PATH", "/nonexistent/labels"), ("POD_ANNOTATIONS_PATH", "none")];
    let identity = Identity::new(&settings(&absent)).unwrap();
    assert_eq!(identity.observer().pod, Pod::default());
    assert!(identity.observer().hostname.is_some());
    assert!(!identity.refresh());
}

#[test]
fn a_record_carries_no_more_than_a_named_number_of_labels_and_bytes() {
    let many: String = (0..MOST + 9).map(|n| format!("l{n:03}=\"x\"\n")).collect();
    let observer = Volume::new("many", &many, "").identity(&[]).observer();
    assert_eq!(observer.pod.labels.iter().count(), MOST);
    let long = format!("a=\"{}\"\nb=\"{}\"\nc=\"small\"\n", "x".repeat(MOST_BYTES / 2), "x".repeat(MOST_BYTES));
    let kept = Volume::new("long", "", &long).identity(&[("ANNOTATIONS", "*")]).observer();
    assert_eq!(kept.pod.annotations.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn a_file_without_an_end_is_not_read_to_its_end() {
    assert!(pairs(Some(Path::new("/dev/zero"))).is_empty());
}
