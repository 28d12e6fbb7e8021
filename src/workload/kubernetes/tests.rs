//! What lists and watches make of the table, and a follower against a server that says what the test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener};

use serde_json::{Value, json};

use super::objects::ApiObject;
use super::*;

const SECOND: i64 = 1_000_000_000;
/// 2026-03-01T12:00:00Z
const NOON: i64 = 1_772_366_400 * SECOND;
const SEEN: SeenIn = SeenIn { by: 0, list: 1 };

struct World {
    table: Arc<WorkloadTable>,
    cluster: ClusterState,
}

impl World {
    fn new() -> Self {
        let table = Arc::new(WorkloadTable::new(16 << 20));
        Self { cluster: ClusterState::new(Arc::clone(&table), 0), table }
    }

    fn apply(&mut self, kind: WatchedKind, object: Value, second: i64) {
        self.cluster.apply(kind, read(object), SEEN, at(second));
    }

    fn delete(&mut self, kind: WatchedKind, object: Value, second: i64) {
        self.cluster.deleted(kind, read(object), at(second));
    }

    /// `kind namespace/name (services) @node` of who had the address then.
    fn who(&self, ip: &str, second: i64) -> String {
        let Some((_, it)) = self.table.at(ip.parse().unwrap(), at(second)) else { return String::new() };
        let text = |text: &Option<compact_str::CompactString>| text.as_deref().unwrap_or("-").to_owned();
        let services: Vec<_> = it.services.iter().map(ToString::to_string).collect();
        let node = it.node.as_ref().map(|node| format!(" @{node}")).unwrap_or_default();
        let services = if services.is_empty() { String::new() } else { format!(" ({})", services.join(",")) };
        format!("{} {}/{}{services}{node}", text(&it.kind), text(&it.namespace), text(&it.name))
    }
}

#[test]
fn containers_of_any_kind_have_their_names_and_their_pod_once_they_run() {
    use crate::record::{Process, ProcessContainer};
    let table = WorkloadTable::new(1 << 20).with_containers(Some(super::super::containers::Containers::new(None)));
    let table = Arc::new(table);
    let mut cluster = ClusterState::new(Arc::clone(&table), 0);
    let mut web = pod("web-1", "11:00:00", &[]);
    // On the network of its node: no address is its own.
    web["spec"]["hostNetwork"] = json!(true);
    web["status"]["containerStatuses"] = json!([{"name": "app", "containerID": "containerd://a"}, {"name": "late"}]);
    web["status"]["initContainerStatuses"] = json!([{"name": "podtap", "containerID": "containerd://b"}]);
    web["status"]["ephemeralContainerStatuses"] = json!([{"name": "debugger", "containerID": "containerd://c"}]);
    cluster.apply(WatchedKind::Pods, read(web), SEEN, at(0));
    let named = |id: &str| {
        let container = Some(ProcessContainer { id: id.into(), ..ProcessContainer::default() });
        let mut process = Arc::new(Process { container, ..Process::default() });
        let containers = table.containers.as_ref().unwrap();
        containers.name(&mut process);
        let pod = containers.of(&process)?.pod.clone();
        Some((process.container.as_ref()?.name.clone()?, pod.name.clone()?, pod.kind.clone()?))
    };
    for (id, name) in [("a", "app"), ("b", "podtap"), ("c", "debugger")] {
        assert_eq!(named(id), Some((name.into(), "web-1".into(), "Pod".into())));
    }
    assert_eq!(named("d"), None);
}

fn at(second: i64) -> Timestamp {
    Timestamp(NOON + second * SECOND)
}

fn read(object: Value) -> ApiObject {
    serde_json::from_value(object).unwrap()
}

fn pod(name: &str, started: &str, ips: &[&str]) -> Value {
    let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "metadata": {"uid": uid(name), "name": name, "namespace": "shop", "labels": {"app": "a.b"}, "resourceVersion": "5"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": ips.first().map(|ip| ip["ip"].clone()), "podIPs": ips,
            "startTime": format!("2026-03-01T{started}Z")},
    })
}

/// As Kubernetes makes them, the name in hexadecimal digits.
fn uid(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0>32}")
}

fn slice(name: &str, service: &str, ips: &[&str]) -> Value {
    json!({
        "metadata": {"uid": uid(name), "name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": ips.iter().map(|ip| json!({"addresses": [ip]})).collect::<Vec<_>>(),
    })
}

#[test]
fn an_address_goes_from_pod_to_pod_and_each_has_its_time() {
    let mut world = World::new();
    world.apply(WatchedKind::Pods, pod("a", "12:00:00", &["10.1.0.1", "fd00::1"]), 2);
    // Scheduled at 30, which is before `a` had gone; seen with its address at 35.
    world.apply(WatchedKind::Pods, pod("b", "12:00:30", &[]), 31);
    world.delete(WatchedKind::Pods, pod("a", "12:00:00", &["10.1.0.1"]), 33);
    world.apply(WatchedKind::Pods, pod("b", "12:00:30", &["10.1.0.1"]), 35);
    let a = "Pod shop/a @n1";
    for (second, who) in [(-1, ""), (0, a), (29, a), (31, ""), (33, "Pod shop/b @n1"), (99, "Pod shop/b @n1")] {
        assert_eq!(world.who("10.1.0.1", second), who, "{second}");
    }
    assert_eq!(world.who("fd00::1", 32), a);
    assert_eq!(world.who("fd00::1", 34), "");
}

#[test]
fn pods_that_have_ended_and_those_of_the_nodes_network_have_no_address() {
    let mut world = World::new();
    let mut done = pod("job", "12:00:00", &["10.1.0.1"]);
    world.apply(WatchedKind::Pods, done.clone(), 1);
    // Its status keeps the address, which is another pod's by then.
    done["status"]["phase"] = "Succeeded".into();
    done["status"]["containerStatuses"] = json!([{"state": {"terminated": {"finishedAt": "2026-03-01T12:00:10Z"}}}, {"state": {"terminated": {"finishedAt": null}}}]);
    world.apply(WatchedKind::Pods, done.clone(), 20);
    assert_eq!([world.who("10.1.0.1", 19), world.who("10.1.0.1", 21)], ["Pod shop/job @n1", ""], "no time is known");
    let mut other = pod("job2", "12:00:00", &["10.1.0.2"]);
    world.apply(WatchedKind::Pods, other.clone(), 1);
    other["status"]["phase"] = "Failed".into();
    other["status"]["containerStatuses"] = json!([{"state": {"terminated": {"finishedAt": "2026-03-01T12:00:10Z"}}}]);
    world.apply(WatchedKind::Pods, other, 20);
    assert_eq!(
        [world.who("10.1.0.2", 10), world.who("10.1.0.2", 11)],
        ["Pod shop/job2 @n1", ""],
        "its last second counts"
    );
    let mut host = pod("proxy", "12:00:00", &["192.0.2.1"]);
    host["spec"]["hostNetwork"] = true.into();
    world.apply(WatchedKind::Pods, host, 1);
    assert_eq!(world.who("192.0.2.1", 2), "");
    let node = json!({"metadata": {"uid": "n", "name": "n1", "creationTimestamp": "2026-03-01T11:00:00Z"},
        "status": {"addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.0.2.1"}]}});
    world.apply(WatchedKind::Nodes, node, 3);
    assert_eq!(world.who("192.0.2.1", 2), "Node -/n1");
}

#[test]
fn pods_name_their_services_whichever_comes_first_and_services_have_addresses() {
    let mut world = World::new();
    world.apply(WatchedKind::Slices, slice("s1", "cart", &["10.1.0.1", "10.1.0.2"]), 0);
    world.apply(WatchedKind::Pods, pod("a", "12:00:00", &["10.1.0.1"]), 1);
    assert_eq!(world.who("10.1.0.1", 2), "Pod shop/a (cart) @n1");
    world.apply(WatchedKind::Slices, slice("s2", "canary", &["10.1.0.1"]), 3);
    assert_eq!(world.who("10.1.0.1", 4), "Pod shop/a (canary,cart) @n1");
    world.apply(WatchedKind::Slices, slice("s1", "cart", &["10.1.0.2"]), 5);
    assert_eq!(world.who("10.1.0.1", 6), "Pod shop/a (canary) @n1");
    world.delete(WatchedKind::Slices, slice("s2", "canary", &[]), 7);
    assert_eq!(world.who("10.1.0.1", 8), "Pod shop/a @n1");
    // Of another namespace: anybody may write any address into a slice.
    let mut foreign = slice("s3", "evil", &["10.1.0.1"]);
    foreign["metadata"]["namespace"] = "elsewhere".into();
    world.apply(WatchedKind::Slices, foreign, 9);
    assert_eq!(world.who("10.1.0.1", 10), "Pod shop/a @n1");
    let service = |name: &str, external: &str| {
        json!({"metadata": {"uid": uid(name), "name": name, "namespace": "shop", "creationTimestamp": "2026-03-01T12:00:00Z"},
            "spec": {"clusterIP": "None", "clusterIPs": ["10.96.0.1", "fd96::1"], "externalIPs": [external]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "lb"}]}}})
    };
    world.apply(WatchedKind::Services, service("cart", "203.0.113.9"), 1);
    for ip in ["10.96.0.1", "fd96::1", "203.0.113.1", "203.0.113.9"] {
        assert_eq!(world.who(ip, 2), "Service shop/cart", "{ip}");
    }
    // A balancer's address may be shared by port: then it is no name.
    world.apply(WatchedKind::Services, service("other", "203.0.113.8"), 3);
    assert_eq!([world.who("203.0.113.1", 4), world.who("203.0.113.8", 4)], ["", "Service shop/other"]);
}

#[test]
fn a_floating_address_leads_to_its_pod_by_what_the_object_says_and_never_by_a_guess() {
    let fip = |name: &str, spec: Value, eip: &str| json!({"metadata": {"uid": uid(name), "name": name, "labels": {"ovn.kubernetes.io/eip_v4_ip": eip}}, "spec": spec});
    let mut world = World::new();
    let mut dashed = pod("c", "12:00:00", &["10.1.0.3"]);
    dashed["metadata"]["namespace"] = "shop-a".into();
    world.apply(WatchedKind::Pods, pod("web.1", "12:00:00", &["10.1.0.1"]), 1);
    world.apply(WatchedKind::Pods, pod("b", "12:00:00", &["10.1.0.2"]), 1);
    world.apply(WatchedKind::Pods, dashed, 1);
    world.apply(WatchedKind::Fips, fip("f1", json!({"ipName": "web.1.shop"}), "198.51.100.1"), 2);
    world.apply(WatchedKind::Fips, fip("f2", json!({"v4Ip": "10.1.0.2"}), "198.51.100.2"), 2);
    world.apply(WatchedKind::Fips, fip("shop-a-c", json!({}), "198.51.100.3"), 2);
    world.apply(WatchedKind::Fips, fip("nothing-known", json!({}), "198.51.100.4"), 2);
    world.apply(WatchedKind::Fips, fip("f5", json!({"ipName": "gone.shop"}), "198.51.100.5"), 2);
    let whose = |world: &World, second| [1, 2, 3, 4, 5].map(|n| world.who(&format!("198.51.100.{n}"), second));
    let dash = "Pod shop-a/c @n1";
    assert_eq!(whose(&world, 3), ["Pod shop/web.1 @n1", "Pod shop/b @n1", dash, "", "Pod shop/gone"]);
    // `shop` with `a-c` would have the same name: who knows.
    world.apply(WatchedKind::Pods, pod("a-c", "12:00:05", &["10.1.0.4"]), 5);
    world.delete(WatchedKind::Pods, pod("b", "12:00:00", &["10.1.0.2"]), 5);
    assert_eq!(whose(&world, 6), ["Pod shop/web.1 @n1", "", "", "", "Pod shop/gone"]);
    assert_eq!(whose(&world, 4)[2], dash, "what was stays");
    world.apply(WatchedKind::Pods, pod("b2", "12:00:07", &["10.1.0.2"]), 8);
    assert_eq!(whose(&world, 9)[1], "Pod shop/b2 @n1");
}

#[test]
fn what_a_list_no_longer_shows_has_gone_since_the_follower_was_up_to_date() {
    let mut world = World::new();
    world.apply(WatchedKind::Pods, pod("a", "12:00:00", &["10.1.0.1"]), 1);
    world.apply(WatchedKind::Pods, pod("b", "12:00:00", &["10.1.0.2"]), 1);
    let next = SeenIn { by: 0, list: 2 };
    world.cluster.apply(WatchedKind::Pods, read(pod("b", "12:00:00", &["10.1.0.2"])), next, at(60));
    world.cluster.sweep(WatchedKind::Pods, SeenIn { by: 1, list: 2 }, at(20));
    assert_eq!(world.cluster.count(WatchedKind::Pods), 2, "another follower's list says nothing of them");
    world.cluster.sweep(WatchedKind::Pods, next, at(20));
    assert_eq!((world.who("10.1.0.1", 19), world.who("10.1.0.1", 20)), ("Pod shop/a @n1".to_owned(), String::new()));
    assert_eq!(world.who("10.1.0.2", 60), "Pod shop/b @n1");
}

#[test]
fn while_the_server_cannot_be_asked_names_are_believed_for_a_while_only() {
    let mut world = World::new();
    world.apply(WatchedKind::Pods, pod("a", "12:00:00", &["10.1.0.1"]), 1);
    world.cluster.believe(WatchedKind::Pods, 0, Some(at(60)));
    // It goes on failing, and another namespace's follower failed before.
    world.cluster.believe(WatchedKind::Pods, 0, Some(at(90)));
    world.cluster.believe(WatchedKind::Pods, 5, Some(at(50)));
    world.cluster.believe(WatchedKind::Nodes, 3, Some(at(10)));
    assert_eq!([50, 51].map(|second| world.who("10.1.0.1", second)), ["Pod shop/a @n1", ""]);
    world.cluster.believe(WatchedKind::Pods, 5, None);
    assert_eq!([60, 61].map(|second| world.who("10.1.0.1", second)), ["Pod shop/a @n1", ""]);
    world.cluster.believe(WatchedKind::Pods, 0, None);
    assert_eq!(world.who("10.1.0.1", 99), "Pod shop/a @n1");
}

#[test]
fn paths_are_of_all_namespaces_or_of_some_and_nodes_have_none() {
    let paths = |namespaces: &[&str]| -> Vec<String> {
        let namespaces: Vec<_> = namespaces.iter().map(|name| (*name).to_owned()).collect();
        FollowedPlace::all(&namespaces).iter().map(|place| place.list(250, "")).collect()
    };
    let slices = "/apis/discovery.k8s.io/v1";
    let label = "ovn.kubernetes.io%2Feip_v4_ip";
    assert_eq!(
        paths(&[]),
        [
            "/api/v1/pods?limit=250".to_owned(),
            "/api/v1/services?limit=250".to_owned(),
            format!("{slices}/endpointslices?limit=250"),
            "/api/v1/nodes?limit=250".to_owned(),
            format!("/apis/kubeovn.io/v1/ovn-fips?limit=250&labelSelector={label}"),
        ]
    );
    let one = paths(&["shop"]);
    assert_eq!(
        (one.len(), one[2].as_str()),
        (3, format!("{slices}/namespaces/shop/endpointslices?limit=250").as_str())
    );
    let place = &FollowedPlace::all(&[])[0];
    assert_eq!(place.list(1, "a+b="), "/api/v1/pods?limit=1&continue=a%2Bb%3D");
}

/// A server that gives one answer to each request, and remembers what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let asked: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                let token =
                    asked.iter().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("-").to_owned();
                heard.lock().unwrap().push(format!("{} {token}", asked[0].split(' ').nth(1).unwrap()));
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = (&stream).write_all((head + &body).as_bytes());
            }
        });
        Self { port, asked }
    }

    fn follower(&self, world: World, folder: &std::path::Path) -> KindFollower {
        let config = folder.join("config");
        let text = format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nclusters: [{{name: a, cluster: \
             {{server: 'http://127.0.0.1:{}'}}}}]\nusers: [{{name: a, user: {{tokenFile: token}}}}]\n",
            self.port
        );
        std::fs::write(&config, text).unwrap();
        KindFollower {
            kind: WatchedKind::Pods,
            place: FollowedPlace::all(&[]).swap_remove(0),
            api: ApiConnection::new(ApiAccess::find(Some(&config)).unwrap(), None).unwrap(),
            cluster: Arc::new(Mutex::new(world.cluster)),
            counts: Arc::default(),
            seen: SEEN,
            version: String::new(),
            up_to_date: Timestamp(0),
            now: || at(50),
            trouble: None,
            attempts: 0,
        }
    }
}

fn page(version: &str, next: &str, pods: &[Value]) -> (u16, String) {
    (200, json!({"metadata": {"resourceVersion": version, "continue": next}, "items": pods}).to_string())
}

fn event(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string() + "\n"
}

#[test]
fn a_follower_lists_in_pages_watches_and_lists_again_when_its_version_is_gone() {
    let folder = std::env::temp_dir().join(format!("podtap-follow-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("token"), "one").unwrap();
    let (a, b) = (pod("a", "12:00:00", &["10.1.0.1"]), pod("b", "12:00:00", &["10.1.0.2"]));
    let mut bookmark = pod("x", "12:00:00", &[]);
    bookmark["metadata"]["resourceVersion"] = "9".into();
    let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old"});
    let watched = [event("ADDED", &b), "no JSON\n".to_owned(), event("DELETED", &a), event("BOOKMARK", &bookmark)];
    let server = Server::new(vec![
        page("7", "more", std::slice::from_ref(&a)),
        page("7", "", &[]),
        (200, watched.concat()),
        (200, event("ERROR", &gone)),
        (410, gone.to_string()),
        (403, r#"{"kind":"Status","status":"Failure","message":"pods is forbidden","code":403}"#.to_owned()),
        (200, "<html>".to_owned()),
    ]);
    let world = World::new();
    let table = Arc::clone(&world.table);
    let mut follower = server.follower(world, &folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(follower.list().await, Ok(()));
        assert!(table.at(IpAddr::from([10, 1, 0, 1]), at(40)).is_some());
        std::fs::write(folder.join("token"), "two").unwrap();
        assert_eq!(follower.watch().await, Ok(()), "its end is no trouble");
        assert_eq!(follower.watch().await, Err(RequestTrouble::Expired), "said within the watch");
        assert_eq!(follower.watch().await, Err(RequestTrouble::Expired), "said at once");
        assert_eq!(follower.list().await, Err(RequestTrouble::Refused(403, "pods is forbidden".to_owned())));
        assert!(matches!(follower.list().await, Err(RequestTrouble::Failed(why)) if why.contains("cannot be read")));
        // No one listens any more.
        assert!(matches!(follower.watch().await, Err(RequestTrouble::Failed(_))));
    });
    std::fs::remove_dir_all(&folder).unwrap();
    let asked: Vec<_> = server.asked.lock().unwrap().iter().map(|path| path.replace("/api/v1/pods?", "")).collect();
    assert_eq!(asked[..2], ["limit=250 Bearer one", "limit=250&continue=more Bearer one"]);
    let watch =
        |version| format!("watch=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion={version} Bearer two");
    assert_eq!(asked[2..5], [watch(7), watch(9), watch(9)], "the token is read again; a bookmark is a version");
    assert!(table.at([10, 1, 0, 2].into(), at(60)).is_some() && table.at([10, 1, 0, 1].into(), at(60)).is_none());
    let mut counts = WorkloadCounts::default();
    follower.counts.put(&mut counts);
    let found =
        [counts.kubernetes_lists, counts.kubernetes_watches, counts.kubernetes_events, counts.kubernetes_failures];
    assert_eq!(found, [3, 4, 2, 1]);
}

/// The figures of docs/workloads.md: 5,000 pods and 2,000 Services, with the labels that charts give them.
#[test]
fn a_cluster_of_5000_pods_and_2000_services_fits_into_8_mib() {
    let mut world = World::new();
    for n in 0..5000u32 {
        let ip = format!("10.1.{}.{}", n / 250, n % 250 + 1);
        let mut pod = pod(&format!("shop-{}-7d9c5b8f6d-x{n}", n % 200), "12:00:00", &[&ip]);
        pod["metadata"]["uid"] = format!("{n:032x}").into();
        let name = format!("shop-{}", n % 200);
        pod["metadata"]["labels"] = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name,
            "app.kubernetes.io/version": "1.2.3", "app.kubernetes.io/component": "server",
            "app.kubernetes.io/part-of": "shop", "pod-template-hash": "7d9c5b8f6d"});
        world.apply(WatchedKind::Pods, pod, 1);
    }
    for n in 0..2000u32 {
        let service = json!({"metadata": {"uid": format!("{n:032x}"), "name": format!("shop-{n}"), "namespace": "shop"},
            "spec": {"clusterIPs": [format!("10.96.{}.{}", n / 250, n % 250 + 1)]}});
        world.apply(WatchedKind::Services, service, 1);
    }
    let counts = world.table.counts();
    assert_eq!((counts.addresses, counts.left_out), (7000, 0));
    assert!(counts.bytes < 8 << 20, "{counts:?}");
}
