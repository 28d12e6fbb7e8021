"""One sidecar, however it gets into a pod: the chart's, the kustomize component's, other charts', `podtap inject`'s."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import manifests
from manifests import CHART, only, rendered, sidecar

PROGRAM = pathlib.Path(os.environ.get("PODTAP", manifests.ROOT / "target" / "debug" / "podtap"))

BARE = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: bare
spec:
  selector:
    matchLabels:
      app: bare
  template:
    metadata:
      labels:
        app: bare
    spec:
      containers:
        - name: app
          image: nginx
"""

PARENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: bare
spec:
  selector:
    matchLabels:
      app: bare
  template:
    metadata:
      labels:
        app: bare
      annotations:
        {{- include "podtap.annotations" SCOPE | nindent 8 }}
    spec:
      terminationGracePeriodSeconds: {{ include "podtap.terminationGracePeriodSeconds" SCOPE }}
      initContainers:
        {{- include "podtap.sidecar" SCOPE | nindent 8 }}
      containers:
        - name: app
          image: nginx
      volumes:
        {{- include "podtap.volumes" SCOPE | nindent 8 }}
"""


def charts(**values):
    documents = rendered(values={"demo": {"enabled": True}, **values})
    return sidecar(manifests.pod_of(only(documents, "Deployment", "podtap-demo")))


def program(*arguments):
    return manifests.run([str(PROGRAM), *arguments], input=BARE)


def knows(word):
    """Whether the program is there and has such a command."""
    try:
        return f"\n  {word} " in program("--help")
    except (OSError, manifests.Failed):
        return False


class OtherCharts(unittest.TestCase):
    def parent(self, alias=None, **values):
        """What a chart gives that depends on this one."""
        name = alias or "podtap"
        with tempfile.TemporaryDirectory() as folder:
            parent = pathlib.Path(folder) / "parent"
            (parent / "templates").mkdir(parents=True)
            shutil.copytree(CHART, parent / "charts" / "podtap")
            dependency = {"name": "podtap", "version": manifests.chart_yaml()["version"], **({"alias": alias} if alias else {})}
            chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
            (parent / "Chart.yaml").write_text(json.dumps(chart))
            scope = f".Subcharts.{alias}" if alias else "."
            (parent / "templates" / "app.yaml").write_text(PARENT.replace("SCOPE", scope))
            return rendered(chart=parent, release="shop", values={name: values}, again=True)

    def test_a_chart_that_depends_on_this_one_gets_the_same_sidecar(self):
        documents = self.parent(config={"FORMAT": "text", "GRACE_PERIOD": "1m"})
        pod = manifests.pod_of(only(documents, "Deployment", "bare"))
        own, _ = found = sidecar(pod)
        (source,) = own["envFrom"]
        settings = only(documents, "ConfigMap", source["configMapRef"]["name"])
        self.assertEqual(settings["data"], {"FORMAT": "text", "GRACE_PERIOD": "1m"})
        self.assertEqual(pod["terminationGracePeriodSeconds"], 65)
        self.assertEqual(found, charts(configMap={"name": settings["metadata"]["name"]}))
        for document in documents:
            self.assertEqual(manifests.violations(document, manifests.NATIVE), [])

    def test_so_does_one_that_calls_it_otherwise(self):
        documents = self.parent(alias="tap", image={"tag": "7"})
        own, _ = sidecar(manifests.pod_of(only(documents, "Deployment", "bare")))
        self.assertTrue(own["image"].endswith(":7"))
        only(documents, "ConfigMap", own["envFrom"][0]["configMapRef"]["name"])


class Component(unittest.TestCase):
    def test_kustomize_adds_the_same_sidecar(self):
        documents = manifests.documents(manifests.plain("stdout"))
        pod = manifests.pod_of(only(documents, "Deployment", "shop"))
        self.assertEqual(sidecar(pod), charts(existingSecret="podtap"))


class Inject(unittest.TestCase):
    def needs(self, word):
        """Skips where the program does not know the command; in CI it must, once there is a source file of that name."""
        if not knows(word):
            written = any((manifests.ROOT / "src").glob(f"**/{word}*"))
            refuse = self.fail if os.environ.get("CI") and written else self.skipTest
            refuse(f"{PROGRAM} is not there, or knows no {word}")

    def setUp(self):
        self.needs("inject")

    def injected(self, *arguments):
        (document,) = manifests.documents(program("inject", "-f", "-", *arguments))
        return manifests.pod_of(document)

    def test_podtap_inject_adds_the_same_sidecar(self):
        for arguments, values in [
            ([], {}),
            (["--config-map", "c", "--secret", "s"], {"configMap": {"name": "c"}, "existingSecret": "s"}),
            (["--image", "a/b:7"], {"image": {"repository": "a/b", "tag": "7"}}),
        ]:
            self.assertEqual(sidecar(self.injected(*arguments)), charts(**values), arguments)

    def test_also_as_an_ordinary_container(self):
        pod = self.injected("--classic")
        self.assertNotIn("initContainers", pod)
        self.assertEqual(sidecar(pod), charts(sidecar={"classic": True}))

    def test_it_leaves_what_has_the_chart_s_sidecar_as_it_is(self):
        text = manifests.template(values={"demo": {"enabled": True}})
        done = subprocess.run([PROGRAM, "inject", "-f", "-"], input=text, capture_output=True, text=True, check=True)
        before = only(manifests.documents(text), "Deployment", "podtap-demo")
        after = only(manifests.documents(done.stdout), "Deployment", "podtap-demo")
        for document in [before, after]:
            manifests.pod_of(document)["volumes"].sort(key=lambda volume: volume["name"])
        self.assertEqual(after, before)

    def test_the_webhook_s_flags_are_known_to_the_program(self):
        values = ["--values", str(CHART / "ci" / "cert-manager-values.yaml")]
        (container,) = manifests.pod_of(only(rendered(*values), "Deployment"))["containers"]
        self.needs("webhook")
        known = program("webhook", "--help")
        for argument in container["args"][1:]:
            self.assertIn(argument.split("=")[0] + " ", known)


if __name__ == "__main__":
    unittest.main()
