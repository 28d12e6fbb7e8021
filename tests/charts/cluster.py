"""An API server that knows a version, the kinds that Helm asks for, and given Secrets: enough for Helm's dry runs."""

import contextlib
import http.server
import json
import os
import tempfile
import threading

import manifests


# The kinds that the chart makes, by the group and version they are in.
KINDS = {
    "v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment"],
    "admissionregistration.k8s.io/v1": ["MutatingWebhookConfiguration"],
}


def groups():
    for name in KINDS:
        group, _, version = name.rpartition("/")
        if group:
            served = {"groupVersion": name, "version": version}
            yield {"name": group, "versions": [served], "preferredVersion": served}


def resources(name):
    for kind in KINDS[name]:
        cluster_wide = kind == "MutatingWebhookConfiguration"
        yield {"name": kind.lower() + "s", "singularName": "", "namespaced": not cluster_wide, "kind": kind, "verbs": ["get", "list"]}


class Answers(http.server.BaseHTTPRequestHandler):
    secrets = {}

    def do_GET(self):
        path = self.path.split("?")[0]
        namespace, _, name = path.removeprefix("/api/v1/namespaces/").partition("/secrets/")
        if path == "/version":
            self.say({"major": "1", "minor": "37", "gitVersion": f"v{manifests.VERSION}"})
        elif path == "/api":
            self.say({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            self.say({"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups())})
        elif (known := path.removeprefix("/apis/").removeprefix("/api/")) in KINDS:
            self.say({"kind": "APIResourceList", "groupVersion": known, "resources": list(resources(known))})
        elif path.endswith("/secrets"):
            self.say({"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []})
        elif (namespace, name) in self.secrets:
            self.say(self.secrets[namespace, name])
        else:
            self.say({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, 404)

    def say(self, answer, status=200):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running(*secrets):
    """The environment for a Helm that speaks to such a server."""
    # What is not marked so, Helm leaves to its owner.
    mark = {"meta.helm.sh/release-name": "podtap", "meta.helm.sh/release-namespace": "shop"}
    for secret in secrets:
        secret["metadata"]["annotations"] = mark
    known = {(s["metadata"]["namespace"], s["metadata"]["name"]): s for s in secrets}
    answers = type("Given", (Answers,), {"secrets": known})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), answers) as server, tempfile.TemporaryDirectory() as home:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
        }
        path = os.path.join(home, "config")
        with open(path, "w") as file:
            json.dump(config, file)
        yield {**os.environ, "HOME": home, "KUBECONFIG": path}
        server.shutdown()


def dry_run(values, *secrets):
    """What `helm install` would make where these Secrets are, as it tells it."""
    with running(*secrets) as environment:
        command = [manifests.HELM, "install", "podtap", str(manifests.CHART), "--namespace", "shop", "--dry-run=server"]
        command.append("--disable-openapi-validation")
        return manifests.run([*command, "--values", "-"], input=json.dumps(values), env=environment)


def rendered(values, *secrets):
    text = dry_run(values, *secrets)
    return manifests.documents(text.partition("MANIFEST:\n")[2].partition("\nNOTES:\n")[0])


def notes(values):
    return dry_run(values).partition("\nNOTES:\n")[2]
