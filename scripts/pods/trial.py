"""What the checks against a real API server share: pods and workloads to try, and how podtap's work on them is looked at."""

import json
import os

from control_plane import ROOT, differences
from lab import expect

PODTAP = os.environ.get("PODTAP", str(ROOT / "target" / "debug" / "podtap"))
CHART = "charts/podtap"
IMAGE = "registry.example/podtap:1"
APP = {"name": "app", "image": "registry.example/app:1"}


def injected(cluster, text, *words):
    return cluster.command(PODTAP, "inject", "--image", IMAGE, "-f", "-", *words, text=text).out


def uninjected(cluster, text):
    return cluster.command(PODTAP, "uninject", "-f", "-", text=text).out


def sidecars(pod):
    spec = pod["spec"]
    return [each for each in spec.get("initContainers", []) + spec["containers"] if each["name"] == "podtap"]


def warnings(answer):
    return [line.removeprefix("Warning: ") for line in answer.err.splitlines() if line.startswith("Warning: ")]


def pod(name, namespace, spec=None, **metadata):
    spec = {"containers": [APP], **(spec or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec}


def strict(name, namespace):
    """A pod to which the level restricted has nothing to object."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    security |= {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return pod(name, namespace, {"containers": [{**APP, "securityContext": security}]})


def workload(kind, name, namespace, api="apps/v1", **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod(name, namespace)["spec"]}
    if api == "batch/v1":
        template["spec"]["restartPolicy"] = "Never"
    else:
        spec["selector"] = {"matchLabels": labels}
    spec["template"] = template
    if kind == "CronJob":
        spec = {"schedule": "0 4 1 1 *", "jobTemplate": {"spec": spec}}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def workloads(namespace):
    yield workload("Deployment", "deployment", namespace, replicas=2)
    yield workload("StatefulSet", "statefulset", namespace, serviceName="any")
    daemon_set = workload("DaemonSet", "daemonset", namespace)
    # The node that there is will never be ready.
    daemon_set["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    yield daemon_set
    yield workload("Job", "job", namespace, "batch/v1")
    yield workload("CronJob", "cronjob", namespace, "batch/v1")


def create(cluster, document, *words):
    """Creates an object by kubectl: what it is now, and the warnings."""
    answer = cluster.kubectl("create", "--validate=strict", "-o", "json", "-f", "-", *words, text=json.dumps(document))
    return json.loads(answer.out), warnings(answer)


def kept(cluster, documents, namespace, whence):
    """Each object is as it was given, but for what the API server adds."""
    for document in documents:
        lost = list(differences(document, cluster.live(document, namespace)))
        expect(lost, [], f"{whence}: {document['kind']} {document['metadata']['name']}")
