"""Rendering, building and validating manifests, for the tests beside this file. Asserts nothing by itself."""

import json
import os
import pathlib
import re
import subprocess
from functools import cache

import jsonschema
import kubernetes_validate.utils as schemas
import yaml
from referencing import Registry, Resource

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "podtap"
EXAMPLES = ROOT / "examples" / "kubernetes"
TARGETS = ["stdout", "fluentd", "fluent-bit", "logstash", "elasticsearch", "opensearch"]
HELM = os.environ["HELM_BINARY"]
KUSTOMIZE = os.environ["KUSTOMIZE"].split()

# The schemas that kubernetes-validate ships, from the first version with native sidecars on; before it, for ordinary ones.
NATIVE = [version for version in schemas.all_versions() if schemas.Version(version) >= schemas.Version("1.29")]
CLASSIC = [version for version in schemas.all_versions() if version not in NATIVE]

# The version that Helm renders for: one that Go built knows of none.
VERSION = NATIVE[-1]

# Kinds of others, of which Kubernetes knows no schema.
FOREIGN = {
    "Certificate": "cert-manager.io/v1",
    "Issuer": "cert-manager.io/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "Component": "kustomize.config.k8s.io/v1alpha1",
}


class Failed(Exception):
    """A program that ended with an error; says what it said."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Like Kubernetes, refuses a key that stands twice."""

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in node.value]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise Failed(done.stdout + done.stderr)
    return done.stdout


def documents(text):
    return [document for document in yaml.load_all(text, Loader=Loader) if document]


def template(*arguments, chart=CHART, release="podtap", namespace="shop", values=None, version=VERSION, again=False):
    """The text that Helm renders; `values` as a mapping. What was rendered before is not rendered again unless told so."""
    command = (HELM, "template", release, str(chart), "--namespace", namespace, "--kube-version", version, *arguments)
    values = json.dumps(values or {})
    return (helm.__wrapped__ if again else helm)(command, values)


@cache
def helm(command, values):
    return run([*command, "--values", "-"], input=values)


def rendered(*arguments, **options):
    return documents(template(*arguments, **options))


@cache
def built(folder):
    return run([*KUSTOMIZE, str(EXAMPLES / folder)])


def chart_yaml():
    return yaml.load((CHART / "Chart.yaml").read_text(), Loader=Loader)


APP_VERSION = chart_yaml()["appVersion"]


# What kustomize appends to names of ConfigMaps: ten characters out of these.
HASH = r"-[2456789bcdfghkmt]{10}"


def plain(target):
    """The text of examples/kubernetes/TARGET.yaml: for people without kustomize, so without hashes in names."""
    text = built(target)
    for name in {document["metadata"]["name"] for document in documents(text) if document["kind"] == "ConfigMap"}:
        text = text.replace(name, re.sub(HASH + "$", "", name))
    head = f"# Made from {target}/ by scripts/charts update: the same for `kubectl apply -f`, see README.md.\n"
    return head + text


def node():
    """The text of examples/kubernetes/node.yaml: what the chart makes for whole nodes, in a namespace that allows it."""
    values = {"node": {"enabled": True}, "config": {"RECORD": "http,flows"}}
    only_these = [word for name in ("configmap", "node") for word in ("--show-only", f"templates/{name}.yaml")]
    namespace = """apiVersion: v1
kind: Namespace
metadata:
  name: podtap
  labels:
    app.kubernetes.io/instance: podtap
    pod-security.kubernetes.io/enforce: privileged
"""
    head = "# Made from the chart by scripts/charts update: podtap on every node, see docs/node.md.\n"
    return head + namespace + template(*only_these, namespace="podtap", values=values)


@cache
def validator(version, name):
    folder = schemas.importlib_resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    return jsonschema.validators.Draft202012Validator(json.loads((folder / name).read_text()), registry=registry(version))


@cache
def registry(version):
    folder = schemas.importlib_resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text())
    return Resource.from_contents(definitions) @ Registry()


def violations(document, versions):
    """What the strict schemas of Kubernetes' versions have against a document."""
    kind, api = document["kind"], document["apiVersion"]
    if FOREIGN.get(kind) == api:
        return []
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    found = []
    for version in versions:
        for error in validator(version, f"{kind.lower()}-{group}.json").iter_errors(document):
            found.append(f"{version} {kind} {document['metadata']['name']}: {error.json_path}: {error.message}")
    return found


def only(documents, kind, name=None):
    """The one document of a kind."""
    found = [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} of {kind} {name or ''}")
    return found[0]


def pod_of(document):
    """The spec of the pods that a document makes; none for what makes none."""
    if document["kind"] == "Pod":
        return document["spec"]
    spec = document.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {}).get("spec")


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def sidecar(pod):
    """The container of podtap and its volumes."""
    (container,) = [c for c in containers(pod) if c["name"] == "podtap"]
    return container, [v for v in pod.get("volumes", []) if v["name"].startswith("podtap-")]


def labels_of(made):
    return made.get("metadata", {}).get("labels", {})


def loose_ends(documents):
    """What names something in the same documents that is not there: ports, volumes, Services' pods."""
    found = []
    pods = [(d, d["spec"].get("template", {"metadata": d["metadata"]})) for d in documents if pod_of(d)]
    for document, made in pods:
        pod, name = pod_of(document), document["metadata"]["name"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        mounts = [m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])]
        found += [f"{name}: no volume {mount}" for mount in set(mounts) - volumes]
        found += [f"{name}: nobody mounts {volume}" for volume in volumes - set(mounts)]
        selector = document["spec"].get("selector", {}).get("matchLabels", {})
        if not selector.items() <= labels_of(made).items():
            found.append(f"{name}: does not select its own pods")
    for service in [d for d in documents if d["kind"] == "Service"]:
        selector = service["spec"]["selector"]
        chosen = [pod_of(d) for d, made in pods if selector.items() <= labels_of(made).items()]
        if len(chosen) != 1:
            found.append(f"Service {service['metadata']['name']} selects {len(chosen)} workloads")
        ports = {port["name"] for pod in chosen for c in containers(pod) for port in c.get("ports", [])}
        found += [f"no port {port['targetPort']}" for port in service["spec"]["ports"] if port["targetPort"] not in ports]
    return found


def ci_values():
    return sorted((CHART / "ci").glob("*-values.yaml"))
