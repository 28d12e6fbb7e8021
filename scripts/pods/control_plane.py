"""A real Kubernetes control plane (scripts/servers/kube), and stand-ins for what it lacks: kubelets and kube-proxy. Knows
nothing of podtap.

Runs in a network namespace of its own, where the address of a Service can be given to the loopback interface."""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from lab import Failed, fail, run, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVERS = ROOT / "scripts" / "servers"
INSIDE = "PODTAP_CONTROL_PLANE"
# What comes and goes by itself.
FLEETING = {"events", "leases", "bindings", "componentstatuses", "controllerrevisions"}

Answer = collections.namedtuple("Answer", "code out err")


def alone():
    """Fetches the servers while there is a network, then begins again in a namespace where there is none."""
    if os.environ.get(INSIDE):
        run("ip", "link", "set", "lo", "up")
        return
    if subprocess.run([SERVERS / "kube", "fetch"]).returncode != 0:
        sys.exit("no control plane could be built")
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


def lacking():
    if os.geteuid() != 0:
        return "needs root"
    for tool in ["go", "openssl", "ip", "unshare", "curl"]:
        if not shutil.which(tool):
            return f"needs {tool}"
    return None if helms() else "there is no Helm: scripts/charts builds one (HELM=3, HELM=4)"


def helms():
    """The Helms that are there: of scripts/charts, or else of PATH."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    built = sorted(map(str, cache.glob("podtap/kubernetes/helm-*/helm")))
    return built or list(filter(None, [shutil.which("helm")]))


class Cluster:
    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="podtap-cluster-")
        self.root = pathlib.Path(self.directory.name)
        self.home = self.root / "kube"
        self.completing = set()

    def start(self):
        self.port = run(SERVERS / "kube", self.home).split()[0]
        homes = {"HOME": str(self.root), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
        path = f"{self.home / 'bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, **homes, "PATH": path, "KUBECONFIG": str(self.home / "kubeconfig")}
        self.context = ssl.create_default_context(cafile=self.home / "ca.crt")
        self.context.load_cert_chain(self.home / "admin.crt", self.home / "admin.key")
        self.version = self.ask("GET", "/version")["gitVersion"]
        threading.Thread(target=self.play_kubelet, daemon=True).start()

    def end(self):
        run(SERVERS / "stop", self.home, check=False)
        self.directory.cleanup()

    def command(self, *words, text=None, check=True):
        words = [str(word) for word in words]
        done = subprocess.run(words, input=text, capture_output=True, text=True, env=self.environment, cwd=ROOT)
        if check and done.returncode != 0:
            fail(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return Answer(done.returncode, done.stdout, done.stderr)

    def kubectl(self, *words, **options):
        return self.command("kubectl", *words, **options)

    def apply(self, text, *words, **options):
        return self.kubectl("apply", "--validate=strict", "-f", "-", *words, text=text, **options)

    def ask(self, method, path, body=None, form="application/json", patience=20):
        """The API server's answer as JSON, None for a 404."""
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Content-Type", form)
        try:
            with urllib.request.urlopen(request, json.dumps(body).encode() if body else None, context=self.context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 429 and patience:
                # It asks for that itself, while it gets to know a new kind.
                time.sleep(0.5)
                return self.ask(method, path, body, form, patience - 1)
            return None if error.code == 404 else fail(f"{method} {path}: {error} {error.read().decode()}")

    def get(self, kind, name, namespace=None):
        place = ["--namespace", namespace] if namespace else []
        return json.loads(self.kubectl("get", kind, name, *place, "-o", "json").out)

    def pods(self, namespace, selector=""):
        return self.ask("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]

    def some_pods(self, namespace, number=1, selector=""):
        return until(
            f"{number} pods {selector} in {namespace}",
            lambda: (pods := self.pods(namespace, selector)) and len(pods) >= number and pods,
        )

    def namespace(self, name, **labels):
        """A namespace in which pods can be made: with its usual service account."""
        labels = {label(key): value for key, value in labels.items()}
        text = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.apply(json.dumps(text))
        for usual in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"]:
            until(f"{usual} in {name}", lambda usual=usual: self.ask("GET", f"/api/v1/namespaces/{name}/{usual}"))
        return name

    def events(self, namespace, reason):
        items = self.ask("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        return [item["message"] for item in items if item["reason"] == reason]

    def documents(self, text):
        """The objects of a YAML text, as they stand there."""
        rest = self.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", text=text).out.strip()
        found = []
        while rest:
            value, end = json.JSONDecoder().raw_decode(rest)
            found += value["items"] if value["kind"] == "List" else [value]
            rest = rest[end:].lstrip()
        return found

    def live(self, document, namespace):
        """An object as the API server has it now."""
        meta = document["metadata"]
        return self.get(f"{document['kind']}.{self.group(document)}", meta["name"], meta.get("namespace", namespace))

    def group(self, document):
        group, _, version = document["apiVersion"].rpartition("/")
        return f"{version}.{group}"

    def everything(self, namespace):
        """The name of every object in a namespace, and of those of the whole cluster."""
        found = set()
        for prefix in ["/api/v1", *self.group_versions()]:
            for resource in self.ask("GET", prefix)["resources"]:
                name = resource["name"]
                if "list" not in resource["verbs"] or name in FLEETING:
                    continue
                place = f"{prefix}/namespaces/{namespace}/{name}" if resource["namespaced"] else f"{prefix}/{name}"
                for item in (self.ask("GET", place) or {}).get("items") or []:
                    found.add(f"{name}/{item['metadata']['name']}")
        return found

    def group_versions(self):
        groups = self.ask("GET", "/apis")["groups"]
        return [f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups]

    def complete(self, selector):
        """From now on pods with this label end well as soon as they are there: no kubelet runs them."""
        self.completing.add(selector)

    def play_kubelet(self):
        while True:
            with contextlib.suppress(Failed, OSError):
                for selector in list(self.completing):
                    pods = self.ask("GET", f"/api/v1/pods?labelSelector={selector}&fieldSelector=status.phase=Pending")
                    for pod in pods["items"]:
                        self.report(pod, "Succeeded")
            time.sleep(0.3)

    def report(self, pod, phase):
        """What a kubelet would say of a pod."""
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        self.ask("PATCH", path, {"status": {"phase": phase}}, "application/merge-patch+json")

    def refusals(self, namespace):
        """Why controllers could not make pods, without names that nobody knows beforehand."""
        said = until(f"a refusal in {namespace}", lambda: self.events(namespace, "FailedCreate"))
        return {re.sub(r'pods "[^"]*"', "pods", message) for message in said}

    def node(self, name):
        """A node, without anyone on it."""
        text = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}}}
        self.apply(json.dumps(text))


def label(name):
    """pod_security_kubernetes_io__enforce, as Python can say it, is pod-security.kubernetes.io/enforce."""
    prefix, _, key = name.partition("__")
    return f"{prefix.replace('_kubernetes_io', '.kubernetes.io').replace('podtap_io', 'podtap.io').replace('_', '-')}/{key}"


def differences(wanted, found, path=""):
    """What of `wanted` is not, or not so, in `found`; what is there besides does not count."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key in found:
                yield from differences(value, found[key], f"{path}.{key}")
            elif value not in ({}, None):
                yield f"{path}.{key} is gone: {value!r}"
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) <= len(found):
        for at, (one, other) in enumerate(zip(wanted, found)):
            yield from differences(one, other, f"{path}[{at}]")
    elif wanted != found and not same_quantity(wanted, found):
        yield f"{path} is {found!r}, not {wanted!r}"


def same_quantity(one, other):
    """1024Mi is 1Gi."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 1e-3, "": 1}
    parts = [re.fullmatch(r"([0-9.]+)(Ki|Mi|Gi|m|)", str(value)) for value in [one, other]]
    return all(parts) and len({float(part[1]) * units[part[2]] for part in parts}) == 1
