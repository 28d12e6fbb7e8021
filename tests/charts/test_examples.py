"""The manifests in examples/: valid, complete, and the same with and without kustomize."""

import re
import unittest

import manifests
from manifests import EXAMPLES, NATIVE, ROOT, TARGETS, only, plain


class Kubernetes(unittest.TestCase):
    def each(self):
        return [(target, manifests.documents(plain(target))) for target in TARGETS]

    def test_there_is_one_for_every_folder_with_settings(self):
        self.assertCountEqual([file.parent.name for file in EXAMPLES.glob("*/podtap.env")], TARGETS)

    def test_the_plain_manifests_are_what_kustomize_builds(self):
        for target in TARGETS:
            path = EXAMPLES / f"{target}.yaml"
            stale = f"{path.relative_to(ROOT)} is out of date: scripts/charts update"
            self.assertTrue(path.exists() and path.read_text() == plain(target), stale)

    def test_the_manifest_for_whole_nodes_is_what_the_chart_makes_and_is_valid(self):
        path = EXAMPLES / "node.yaml"
        text = manifests.node()
        stale = f"{path.relative_to(ROOT)} is out of date: scripts/charts update"
        self.assertTrue(path.exists() and path.read_text() == text, stale)
        documents = manifests.documents(text)
        kinds = ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Namespace", "ServiceAccount"]
        self.assertEqual(sorted(document["kind"] for document in documents), kinds)
        for document in documents:
            self.assertEqual(manifests.violations(document, NATIVE), [])

    def test_every_object_is_strictly_valid_in_every_version_of_kubernetes(self):
        for target, documents in self.each():
            for document in documents + manifests.documents(manifests.built(target)):
                self.assertEqual(manifests.violations(document, NATIVE), [], target)

    def test_each_is_complete(self):
        for target, documents in self.each():
            self.assertEqual(manifests.loose_ends(documents), [], target)
            spaces = {d["metadata"].get("namespace", d["metadata"]["name"]) for d in documents}
            self.assertEqual(spaces, {only(documents, "Namespace")["metadata"]["name"]})
            maps = {d["metadata"]["name"] for d in documents if d["kind"] == "ConfigMap"}
            self.assertEqual(maps, set(config_maps(documents)))

    def test_records_go_to_a_service_that_is_there(self):
        for target, documents in self.each():
            settings = only(documents, "ConfigMap", "podtap")["data"]
            services = {d["metadata"]["name"]: d["spec"]["ports"] for d in documents if d["kind"] == "Service"}
            hosts = {name: value for name, value in settings.items() if name.endswith(("_HOST", "_URL"))}
            self.assertIn(f"{settings['SEND_LOGS_TO'].upper()}_HOST", {"STDOUT_HOST", *hosts}, target)
            usual = {"FLUENTD_HOST": 24224, "LOGSTASH_HOST": 5044}
            for setting, host in hosts.items():
                name, _, port = re.sub("^https?://", "", host).partition(":")
                self.assertEqual([p["port"] for p in services[name]], [int(port or usual[setting])], target)

    def test_only_the_sidecar_needs_more_than_pod_security_s_level_restricted(self):
        for _, documents in self.each():
            for pod in filter(None, map(manifests.pod_of, documents)):
                self.assertIs(pod["enableServiceLinks"], False)
                for container in manifests.containers(pod):
                    context = container["securityContext"]
                    self.assertIs(context["runAsNonRoot"], True)
                    self.assertIs(context["allowPrivilegeEscalation"], False)
                    self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
                    added = {"add": ["NET_RAW"]} if container["name"] == "podtap" else {}
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"], **added})

    def test_the_sidecar_is_of_this_version(self):
        for _, documents in self.each():
            images = {c["image"] for pod in filter(None, map(manifests.pod_of, documents)) for c in manifests.containers(pod)}
            own = [image for image in images if "/podtap" in image]
            self.assertEqual(own, [f"ghcr.io/podtap/podtap:{manifests.APP_VERSION}"])


def config_maps(documents):
    """The names of ConfigMaps that pods use."""
    for pod in filter(None, map(manifests.pod_of, documents)):
        yield from (volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume)
        for container in manifests.containers(pod):
            sources = container.get("envFrom", [])
            yield from (source["configMapRef"]["name"] for source in sources if "configMapRef" in source)


class Compose(unittest.TestCase):
    folder = ROOT / "examples" / "compose"

    def services(self):
        (compose,) = manifests.documents((self.folder / "compose.yaml").read_text())
        return compose["services"]

    def test_podtap_sees_the_network_of_the_application_and_has_one_capability(self):
        podtap = self.services()["podtap"]
        self.assertEqual(podtap["network_mode"], "service:shop")
        self.assertEqual((podtap["cap_drop"], podtap["cap_add"]), (["ALL"], ["NET_RAW"]))
        self.assertIs(podtap["read_only"], True)
        self.assertIn("no-new-privileges:true", podtap["security_opt"])

    def test_everything_that_is_mounted_is_there(self):
        for name, service in self.services().items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                self.assertTrue(not source.startswith(".") or (self.folder / source).is_file(), f"{name}: {source}")

    def test_services_wait_for_services_that_are_there_and_can_tell_when_they_are_up(self):
        services = self.services()
        for name, service in services.items():
            for other, how in service.get("depends_on", {}).items():
                self.assertIn(other, services, name)
                if how["condition"] == "service_healthy":
                    self.assertIn("healthcheck", services[other])

    def test_ports_are_open_to_this_machine_only(self):
        for service in self.services().values():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), port)


if __name__ == "__main__":
    unittest.main()
