"""The chart's webhook as the API server calls it. The process is this machine's own, with the chart's arguments and
certificate, at the address of the chart's Service: kubelet and kube-proxy are what is missing."""

import base64
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import time

import control_plane
from control_plane import differences
from lab import expect, fail, ok, run, until
from trial import CHART, IMAGE, PODTAP, create, injected, pod, sidecars, strict, workloads

SPACE = "podtap"


class Webhook:
    def __init__(self, cluster):
        self.cluster = cluster
        self.process = None

    def helm(self, *words):
        self.cluster.command(control_plane.helms()[-1], *words)

    def install(self, how):
        values = ["--set", "webhook.enabled=true", "--set", "configMap.extraNamespaces={shop}"]
        self.helm(how, "podtap", CHART, "--namespace", SPACE, *values)

    def certificate(self):
        data = self.cluster.get("secret", "podtap-webhook-tls", SPACE)["data"]
        for name in ["tls.crt", "tls.key"]:
            (self.cluster.root / name).write_bytes(base64.b64decode(data[name]))
        return data["tls.crt"]

    def container(self):
        deployment = self.cluster.get("deployment", "podtap-webhook", SPACE)
        return deployment["spec"]["template"]["spec"]["containers"][0]

    def move_in(self):
        """The Service's address is this machine's."""
        self.address = self.cluster.get("service", "podtap-webhook", SPACE)["spec"]["clusterIP"]
        run("ip", "address", "add", f"{self.address}/32", "dev", "lo")

    def start(self):
        self.certificate()
        words = [word.replace("/etc/podtap/tls", str(self.cluster.root)) for word in self.container()["args"]]
        words = [re.sub(r"^--listen=.*", f"--listen={self.address}:443", word) for word in words]
        with open(self.log(), "a") as log:
            environment = {"LOG_LEVEL": "debug", "PATH": os.environ["PATH"]}
            self.process = subprocess.Popen([PODTAP, *words], stderr=log, env=environment)
        until("the webhook listens", self.listens)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.address, 443)) == 0

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def log(self):
        return self.cluster.root / "webhook.log"

    def lines(self, word):
        """The lines of its log with this word."""
        return [line for line in self.log().read_text().splitlines() if word in line]

    def create(self, *document, **metadata):
        return create(self.cluster, pod(*document, **metadata))

    def seconds(self, name, namespace):
        """A pod, and how long it took the API server to make it."""
        started = time.monotonic()
        made = self.cluster.ask("POST", f"/api/v1/namespaces/{namespace}/pods", pod(name, namespace))
        return made, time.monotonic() - started


def settle():
    """The API server learns of changed webhooks by a watch, a moment later; nothing tells when it has."""
    time.sleep(2)


def it_is_called(webhook):
    cluster = webhook.cluster
    # Its own pods are made where nothing is allowed.
    cluster.namespace(SPACE, pod_security_kubernetes_io__enforce="restricted")
    cluster.namespace("shop", podtap_io__inject="enabled")
    webhook.install("install")
    webhook.move_in()
    webhook.start()
    cluster.some_pods(SPACE, 2, "app.kubernetes.io/component=webhook")
    settle()
    made, warnings = webhook.create("plain", "shop")
    expect((len(sidecars(made)), warnings), (1, []), "sidecars, warnings")
    same_as_inject(webhook, made)
    mounts = [mount["name"] for mount in sidecars(made)[0]["volumeMounts"]]
    expect(mounts, ["podtap-pod", "podtap-pod"], "what is mounted into it: no token")
    cluster.namespace("elsewhere")
    made, _ = webhook.create("plain", "elsewhere")
    expect(len(sidecars(made)), 0, "sidecars in a namespace without the label")
    ok("the API server calls `podtap webhook` by its Service, with the chart's certificate: for labelled namespaces only")


def same_as_inject(webhook, made):
    """The sidecar is the one that `podtap inject` with the chart's image and ConfigMap would give."""
    words = ["--image", webhook.container()["image"], "--config-map", "podtap", "-f", "-"]
    text = webhook.cluster.command(PODTAP, "inject", *words, text=json.dumps(pod("plain", "shop"))).out
    wanted = json.loads(text)["spec"]
    expect(list(differences(wanted["initContainers"], made["spec"]["initContainers"])), [], "the sidecar")
    volumes = [volume for volume in made["spec"]["volumes"] if volume["name"].startswith("podtap")]
    expect(list(differences(wanted["volumes"], volumes)), [], "its volumes")


def pods_say_what_they_want(webhook):
    made, warnings = webhook.create("own", "shop", annotations={"podtap.io/format": "classic", "podtap.io/ignore-urls": "/a"})
    env = {each["name"]: each.get("value") for each in sidecars(made)[0]["env"]}
    expect((env["FORMAT"], env["IGNORE_URLS"], warnings), ("classic", "/a", []), "settings, warnings")
    made, warnings = webhook.create("wrong", "shop", annotations={"podtap.io/fromat": "classic"})
    expect((len(sidecars(made)), len(warnings)), (1, 1), f"sidecars, number of {warnings}")
    expect(warnings[0].startswith("podtap: left out: annotation podtap.io/fromat"), True, warnings[0])
    for place in ["labels", "annotations"]:
        made, warnings = webhook.create(f"unwilling-{place}", "shop", **{place: {"podtap.io/inject": "false"}})
        expect((sidecars(made), warnings), ([], []), f"sidecars of the pod that says no in its {place}, warnings")
    made, warnings = webhook.create("of-the-host", "shop", {"hostNetwork": True})
    expect((sidecars(made), len(warnings)), ([], 1), f"sidecars of a pod on the host's network, number of {warnings}")
    expect(warnings[0].startswith("podtap: no sidecar: hostNetwork"), True, warnings[0])
    ok("annotations override, wrong ones are left out with a warning; unwilling and hostNetwork pods are left alone")


def what_has_the_sidecar_is_left_alone(webhook):
    before = json.loads(injected(webhook.cluster, json.dumps(pod("injected", "shop")), "--format", "classic"))
    made, warnings = create(webhook.cluster, before)
    expect((len(sidecars(made)), sidecars(made)[0]["image"], warnings), (1, IMAGE, []), "sidecars, image, warnings")
    expect(list(differences(before, made)), [], "the pod")
    webhook.cluster.kubectl("label", "pod", "injected", "-n", "shop", "a=b")
    webhook.cluster.kubectl("set", "image", "pod/injected", "-n", "shop", "app=registry.example/app:2")
    ok("a pod that has the sidecar is left alone; pods can be changed afterwards")


def dry_runs_are_answered(webhook):
    made, warnings = create(webhook.cluster, pod("dry", "shop"), "--dry-run=server")
    expect((len(sidecars(made)), warnings), (1, []), "sidecars, warnings")
    expect(webhook.cluster.ask("GET", "/api/v1/namespaces/shop/pods/dry"), None, "the pod")
    ok("--dry-run=server shows the sidecar, and makes nothing")


def pods_of_controllers_get_it(webhook):
    cluster = webhook.cluster
    cluster.node("nobody")
    for document in workloads("shop"):
        _, warnings = create(cluster, document)
        expect(warnings, [], "warnings")
    cluster.kubectl("create", "job", "from-cronjob", "--from=cronjob/cronjob", "-n", "shop")
    for name, number in [("deployment", 2), ("statefulset", 1), ("daemonset", 1), ("job", 1), ("cronjob", 1)]:
        pods = cluster.some_pods("shop", number, f"app={name}")
        expect([len(sidecars(each)) for each in pods], [1] * number, f"sidecars in pods of the {name}")
    ok("pods of Deployment, StatefulSet, DaemonSet, Job and CronJob get it as their controllers make them")


def where_it_is_forbidden_pods_are_made_without(webhook):
    for level in ["baseline", "restricted"]:
        labels = {"pod_security_kubernetes_io__enforce": level, "podtap_io__inject": "enabled"}
        space = webhook.cluster.namespace(f"forbidding-{level}", **labels)
        made, warnings = create(webhook.cluster, strict("shop", space))
        expect(sidecars(made), [], f"sidecars at {level}")
        expect(warnings and warnings[0].startswith("podtap: no sidecar: Pod Security forbids"), True, f"{warnings}")
    ok("where Pod Security forbids NET_RAW pods are made without the sidecar, with a warning")


def limits_and_quotas_count_it(webhook):
    cluster = webhook.cluster
    space = cluster.namespace("limited", podtap_io__inject="enabled")
    limits = {"type": "Container", "default": {"cpu": "1", "memory": "128Mi"}, "defaultRequest": {"cpu": "50m"}}
    hard = {"limits.cpu": "8", "limits.memory": "1Gi"}
    for kind, spec in [("LimitRange", {"limits": [limits]}), ("ResourceQuota", {"hard": hard})]:
        document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "all", "namespace": space}, "spec": spec}
        cluster.apply(json.dumps(document))
    until("the quota counts", lambda: cluster.get("resourcequota", "all", space)["status"].get("used"))
    made, _ = webhook.create("limited", space)
    expect(sidecars(made)[0]["resources"]["limits"], {"cpu": "1", "memory": "64Mi"}, "limits")
    cluster.kubectl("delete", "limitrange", "all", "-n", space)
    settle()
    whole = {"containers": [{"name": "app", "image": "a", "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}}]}
    answer = cluster.kubectl("create", "-f", "-", text=json.dumps(pod("unlimited", space, whole)), check=False)
    expect("must specify limits.cpu for: podtap" in answer.err, True, f"whether a quota without defaults refuses: {answer.err}")
    ok("a LimitRange's defaults count for the sidecar; a quota of CPU limits without them refuses the pod")


def two_webhooks_add_one_sidecar(webhook):
    """Another release, whose webhook is the same process: there is no second one."""
    cluster = webhook.cluster
    cluster.namespace("second")
    webhook.helm("install", "second", CHART, "-n", "second", "--set", "webhook.enabled=true")
    hooks = cluster.get("mutatingwebhookconfiguration", "podtap-webhook.podtap")["webhooks"]
    patch = [{"op": "replace", "path": "/webhooks/0/clientConfig", "value": hooks[0]["clientConfig"]}]
    other = "mutatingwebhookconfiguration/second-podtap-webhook.second"
    cluster.kubectl("patch", other, "--type=json", "-p", json.dumps(patch))
    settle()
    made, _ = webhook.create("asked-twice", "shop")
    expect(len(sidecars(made)), 1, "sidecars")
    said = webhook.lines("asked-twice")
    expect(["sidecar added" in line for line in said], [True] + [False] * (len(said) - 1), f"what it says to {len(said)} questions")
    expect(len(said) >= 2, True, "whether it was asked more than once")
    webhook.helm("uninstall", "second", "-n", "second")
    settle()
    ok("two webhooks that are asked about one pod add one sidecar")


def it_has_no_rights(webhook):
    who = f"--as=system:serviceaccount:{SPACE}:podtap-webhook"
    for what in [["get", "pods"], ["list", "secrets"], ["create", "pods"], ["get", "namespaces"], ["*", "*"]]:
        answer = webhook.cluster.kubectl("auth", "can-i", *what, who, "-n", SPACE, check=False)
        expect(answer.out.strip(), "no", " ".join(what))
    ok("its service account may do nothing")


def its_certificate_can_be_changed(webhook):
    before = webhook.certificate()
    webhook.cluster.kubectl("delete", "secret", "podtap-webhook-tls", "-n", SPACE)
    webhook.install("upgrade")
    expect(webhook.certificate() != before, True, "whether there is another certificate")
    webhook.process.send_signal(signal.SIGHUP)
    until("the webhook reads it", lambda: webhook.lines("certificate reloaded"))
    settle()
    made, _ = webhook.create("after-the-change", "shop")
    expect(len(sidecars(made)), 1, "sidecars")
    ok("a certificate made anew counts at once")


def without_it_pods_are_made(webhook):
    times = [[webhook.seconds(f"timed-{n}", space)[1] for n in range(20)] for space in ["shop", "elsewhere"]]
    there, elsewhere = (statistics.median(each) * 1000 for each in times)
    webhook.stop()
    refused = without_sidecar(webhook, "refused")
    with socket.create_server((webhook.address, 443)):
        # The kernel accepts connections, and nothing answers.
        silent = without_sidecar(webhook, "silent")
    run("ip", "address", "del", f"{webhook.address}/32", "dev", "lo")
    astray = without_sidecar(webhook, "astray")
    run("ip", "address", "add", f"{webhook.address}/32", "dev", "lo")
    patience = webhook.cluster.get("mutatingwebhookconfiguration", "podtap-webhook.podtap")["webhooks"][0]["timeoutSeconds"]
    if max(refused, astray) > 2 or silent > patience + 1:
        fail(f"slow: {refused:.2f} s refused, {silent:.2f} s silent, {astray:.2f} s without a way")
    webhook.start()
    made, _ = webhook.create("again", "shop")
    expect(len(sidecars(made)), 1, "sidecars when it is there again")
    print(f"      a pod is made in {there:.0f} ms with it, {elsewhere:.0f} ms elsewhere; when it does not listen in {refused:.2f} s, when")
    print(f"      it does not answer in {silent:.2f} s, when there is no way to it in {astray:.2f} s")
    ok("while the webhook is away pods are made without the sidecar")


def without_sidecar(webhook, name):
    made, seconds = webhook.seconds(name, "shop")
    expect(sidecars(made), [], f"sidecars of {name}")
    return seconds


def uninstalled_it_is_gone(webhook):
    webhook.helm("uninstall", "podtap", "-n", SPACE)
    settle()
    made, seconds = webhook.seconds("afterwards", "shop")
    expect((sidecars(made), seconds < 2), ([], True), f"sidecars, whether that was quick ({seconds})")
    ok("when it is uninstalled, nothing is asked any more")


TESTS = [
    it_is_called,
    pods_say_what_they_want,
    what_has_the_sidecar_is_left_alone,
    dry_runs_are_answered,
    pods_of_controllers_get_it,
    where_it_is_forbidden_pods_are_made_without,
    limits_and_quotas_count_it,
    two_webhooks_add_one_sidecar,
    it_has_no_rights,
    its_certificate_can_be_changed,
    without_it_pods_are_made,
    uninstalled_it_is_gone,
]
