//! `podtap webhook` as the API server meets it: real AdmissionReview documents over TLS, by curl.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::podtap;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with certificates, and a webhook that uses them; both go with the test.
struct Running {
    child: Child,
    port: u16,
    folder: PathBuf,
    log: mpsc::Receiver<String>,
}

impl Running {
    fn start(name: &str, args: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("podtap-webhook-{name}-{}", std::process::id()));
        certificates(&folder);
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let flags = ["webhook", "--listen", "127.0.0.1:0"].map(str::to_owned).into_iter();
        let flags: Vec<_> = flags
            .chain([format!("--certificate={}", file("server.pem")), format!("--key={}", file("server.key"))])
            .collect();
        let args: Vec<_> = flags.iter().map(String::as_str).chain(args.iter().copied()).collect();
        let mut child = podtap(&args, &[("LOG_FORMAT", "json")]).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = mpsc::sync_channel(1000);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut running = Self { child, port: 0, folder, log };
        let listens: Value = serde_json::from_str(&running.said("webhook listening")).unwrap();
        let address = listens["address"].as_str().or(listens["fields"]["address"].as_str()).unwrap();
        running.port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        running
    }

    /// The next line of its log with this in it.
    fn said(&self, what: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what:?} never came: {before:#?}"));
            if line.contains(what) {
                return line;
            }
            before.push(line);
        }
    }

    /// Status and body of the answer.
    fn asked(&self, path: &str, args: &[&str], ca: &str, body: &[u8]) -> Result<(u16, String), String> {
        let posted = self.folder.join("posted");
        std::fs::write(&posted, body).unwrap();
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", "--cacert"])
            .arg(self.folder.join(ca))
            .args(args)
            .args(if body.is_empty() {
                Vec::new()
            } else {
                vec!["--data-binary".to_owned(), format!("@{}", posted.display())]
            })
            .args(["--header", "Content-Type: application/json", "--header", "Expect:"])
            .arg(format!("https://localhost:{}{path}", self.port))
            .output()
            .expect("curl is there");
        let text = String::from_utf8(output.stdout).unwrap();
        let Some((body, status)) = text.rsplit_once('\n').filter(|_| output.status.success()) else {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        };
        Ok((status.parse().unwrap(), body.to_owned()))
    }

    fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        self.asked(path, &[], "ca.pem", body).unwrap()
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn certificates(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers/certificates");
    assert!(Command::new(script).arg(folder).status().unwrap().success(), "openssl is needed");
}

/// A review as the API server sends it.
fn review(change: &Value) -> Vec<u8> {
    let mut spec = json!({
        "containers": [{"name": "cart", "image": "registry.example/cart:3", "resources": {}, "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"name": "kube-api-access-q8x2v", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
        "volumes": [{"name": "kube-api-access-q8x2v", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default", "schedulerName": "default-scheduler", "enableServiceLinks": true,
    });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let pods = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "d7e8a0a4-0e0d-4f0e-9d2c-5d3f0b1f2a3b", "kind": kind, "resource": pods, "requestKind": kind,
        "requestResource": pods, "namespace": "shop", "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"]},
        "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"generateName": "cart-7f9f-", "namespace": "shop",
            "labels": {"app": "cart"}, "annotations": {"podtap.io/ignore-urls": "/healthz"}, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7f9f", "uid": "u", "controller": true}]},
            "spec": spec, "status": {}},
        "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }})
    .to_string()
    .into_bytes()
}

fn patch(answer: &str) -> Vec<Value> {
    use base64::Engine as _;
    let answer: Value = serde_json::from_str(answer).unwrap();
    let response = &answer["response"];
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("d7e8a0a4-0e0d-4f0e-9d2c-5d3f0b1f2a3b"), &json!(true))
    );
    let patch =
        response["patch"].as_str().map(|patch| base64::engine::general_purpose::STANDARD.decode(patch).unwrap());
    patch.map(|patch| serde_json::from_slice(&patch).unwrap()).unwrap_or_default()
}

#[test]
fn a_new_pod_gets_the_sidecar_that_was_asked_for() {
    let webhook = Running::start(
        "sidecar",
        &["--image", "registry.example/podtap:1", "--secret", "keys", "--slow-after-ms", "50"],
    );
    for path in ["/mutate", "/inject?timeout=5s"] {
        let (status, answer) = webhook.post(path, &review(&json!({})));
        assert_eq!(status, 200, "{answer}");
        let patch = patch(&answer);
        let paths: Vec<_> = patch.iter().map(|operation| operation["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["/spec/initContainers", "/spec/volumes/0"]);
        let container = &patch[0]["value"][0];
        assert_eq!((&container["name"], &container["image"]), (&json!("podtap"), &json!("registry.example/podtap:1")));
        let env = container["env"].to_string();
        for set in [r#""name":"IGNORE_URLS","value":"/healthz""#, r#""name":"SLOW_AFTER_MS","value":"50""#, "fieldRef"]
        {
            assert!(env.contains(set), "{env}");
        }
        assert!(container["envFrom"].to_string().contains(r#""name":"keys""#));
    }
    let (status, answer) = webhook.post("/mutate", &review(&json!({"hostNetwork": true})));
    assert_eq!((status, patch(&answer).len()), (200, 0));
    assert!(answer.contains("hostNetwork"), "{answer}");
    let (status, answer) = webhook.post("/forbidden", &review(&json!({})));
    assert_eq!((status, patch(&answer).len()), (200, 0));
    assert!(answer.contains("Pod Security"), "{answer}");
    let said = webhook.said("sidecar added");
    assert!(said.contains("cart-7f9f-") && said.contains("shop"), "{said}");
}

#[test]
fn whatever_is_asked_it_answers_and_lives_on() {
    let webhook = Running::start("odd", &[]);
    let large = vec![b' '; (3 << 20) + 1];
    for (path, args, body, status) in [
        ("/healthz", &[][..], &b""[..], 200),
        ("/mutate", &[], b"", 405),
        ("/elsewhere", &[], b"", 404),
        ("/mutate", &[], b"{}", 400),
        ("/mutate", &[], b"\xff\x00", 400),
        ("/mutate", &[], &large, 413),
        ("/mutate", &["--header", "Transfer-Encoding: chunked"], &large, 413),
        ("/mutate", &["--request", "PUT"], b"{}", 405),
    ] {
        let asked = webhook.asked(path, args, "ca.pem", body);
        // A client that is still sending may not read the response.
        let told = asked.as_ref().map_or(413, |(found, _)| *found);
        assert_eq!(told, status, "{path} {args:?}: {asked:?}");
    }
    // Without TLS, and with an untrusted certificate: reported, and harmless.
    let _ = std::net::TcpStream::connect(("127.0.0.1", webhook.port))
        .map(|mut tcp| std::io::Write::write_all(&mut tcp, b"GET / HTTP/1.1\r\n\r\n"));
    assert!(webhook.asked("/healthz", &[], "stranger.pem", b"").is_err());
    webhook.said("no TLS handshake");
    assert_eq!(webhook.post("/mutate", &review(&json!({}))).0, 200);
}

/// A TLS connection that has sent `begun` and then nothing more.
async fn slow_client(
    webhook: &Running,
    connector: &tokio_rustls::TlsConnector,
    begun: &str,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    use tokio::io::AsyncWriteExt;
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", webhook.port)).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    stream.write_all(begun.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

fn trusting(webhook: &Running) -> tokio_rustls::TlsConnector {
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(webhook.folder.join("ca.pem")).unwrap()).unwrap();
    let provider = std::sync::Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    std::sync::Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()
}

#[test]
fn slow_clients_keep_no_review_out() {
    let webhook = Running::start("slow", &[]);
    let connector = trusting(&webhook);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let head = "POST /mutate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n";
    let half = format!("{head}{}", " ".repeat(1 << 20));
    let mut slow = Vec::new();
    // Places for reviews, for their bytes, for heads.
    for (begun, clients) in [(head, 8), (half.as_str(), 16), ("POST /mutate HTTP/1.1\r\nHost: lo", 200)] {
        slow.extend(runtime.block_on(async {
            let mut begun_ones = Vec::new();
            for _ in 0..clients {
                begun_ones.push(slow_client(&webhook, &connector, begun).await);
            }
            begun_ones
        }));
        assert_eq!(webhook.post("/mutate", &review(&json!({}))).0, 200, "{clients} slow clients");
    }
    // Those that do not even shake hands.
    let mute: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(("127.0.0.1", webhook.port)).unwrap()).collect();
    assert_eq!(webhook.post("/mutate", &review(&json!({}))).0, 200);
    drop((slow, mute));
}

#[test]
fn a_new_certificate_is_taken_up_and_a_broken_one_is_not() {
    let webhook = Running::start("renewed", &[]);
    let healthy = |ca: &str| webhook.asked("/healthz", &[], ca, b"").is_ok();
    assert!(healthy("ca.pem"));
    std::fs::write(webhook.folder.join("server.pem"), "nothing").unwrap();
    webhook.signal("HUP");
    webhook.said("certificate reload failed; keeping the current one");
    assert!(healthy("ca.pem"));
    std::fs::rename(webhook.folder.join("ca.pem"), webhook.folder.join("old.pem")).unwrap();
    certificates(&webhook.folder);
    webhook.signal("HUP");
    webhook.said("certificate reloaded");
    assert!(healthy("ca.pem") && !healthy("old.pem"));
}

#[test]
fn it_ends_in_peace_and_says_what_it_lacks() {
    let mut webhook = Running::start("end", &[]);
    webhook.signal("TERM");
    // Still asked until everybody knows: it answers a little longer.
    assert_eq!(webhook.post("/mutate", &review(&json!({}))).0, 200);
    webhook.signal("TERM");
    assert_eq!(webhook.child.wait().unwrap().code(), Some(0));
    for (args, code, why) in [
        (&["webhook"][..], 2, "--certificate"),
        (&["webhook", "--certificate", "/nowhere", "--key", "/nowhere"], 1, "/nowhere cannot be read"),
        (&["webhook", "--certificate", "x", "--key", "y", "--snaplen", "many"], 2, "SNAPLEN"),
        (&["webhook", "--certificate", "x", "--key", "y", "--listen", "here"], 2, "--listen"),
    ] {
        let ran = crate::binary::run(args, &[], b"");
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
    }
}
