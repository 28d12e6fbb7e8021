"""The chart: what it renders for several values, and what it refuses."""

import json
import re
import unittest

import cluster
import manifests
from manifests import CHART, CLASSIC, NATIVE, Failed, only, rendered, sidecar

# Of Pod Security's level "restricted" everything but NET_RAW, and more than that.
RESTRICTED = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class EverySetOfValues(unittest.TestCase):
    def each(self):
        return [(file.name, rendered("--values", str(file))) for file in manifests.ci_values()]

    def test_there_are_several(self):
        self.assertGreaterEqual(len(manifests.ci_values()), 6)

    def test_helm_finds_nothing_to_say(self):
        for file in manifests.ci_values():
            command = [manifests.HELM, "lint", "--strict", "--quiet", "--kube-version", manifests.VERSION]
            self.assertNotRegex(manifests.run([*command, str(CHART), "--values", str(file)]), "WARNING|ERROR")

    def test_every_object_is_strictly_valid_in_every_version_of_kubernetes(self):
        for name, documents in self.each():
            for document in documents:
                self.assertEqual(manifests.violations(document, NATIVE), [], name)

    def test_what_is_classic_is_valid_before_native_sidecars_too(self):
        for version in CLASSIC:
            values = ["--values", str(CHART / "ci" / "classic-values.yaml")]
            for document in rendered(*values, version=version):
                self.assertEqual(manifests.violations(document, [version]), [])

    def test_objects_have_the_release_s_namespace_and_labels_and_different_names(self):
        for name, documents in self.each():
            names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
            self.assertEqual(len(names), len(set(names)), name)
            for document in documents:
                self.assertEqual(document["metadata"]["labels"]["app.kubernetes.io/instance"], "podtap")
                if document["kind"] not in ("ConfigMap", "MutatingWebhookConfiguration", "ClusterRole", "ClusterRoleBinding"):
                    self.assertEqual(document["metadata"]["namespace"], "shop")

    def test_no_rights_in_the_cluster_are_asked_for(self):
        for name, documents in self.each():
            if name != "node-values.yaml":
                self.assertFalse([d["kind"] for d in documents if "Role" in d["kind"]], name)

    def test_the_node_s_pods_may_list_and_watch_and_see_the_node_s_network_and_nothing_else(self):
        documents = rendered("--values", str(CHART / "ci" / "node-values.yaml"))
        for rule in only(documents, "ClusterRole")["rules"]:
            self.assertEqual((rule["verbs"], "secrets" in rule["resources"]), (["list", "watch"], False))
        account = only(documents, "ServiceAccount")["metadata"]["name"]
        (subject,) = only(documents, "ClusterRoleBinding")["subjects"]
        self.assertEqual((subject["name"], subject["namespace"]), (account, "shop"))
        pod = manifests.pod_of(only(documents, "DaemonSet"))
        self.assertEqual((pod["serviceAccountName"], pod["hostNetwork"]), (account, True))
        self.assertFalse([key for key in ("hostPID", "hostIPC") if key in pod])
        self.assertFalse([volume for volume in pod["volumes"] if "hostPath" in volume])
        (container,) = pod["containers"]
        self.assertEqual(container["args"], ["node", "--workloads", "kubernetes"])
        self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"], "add": ["NET_RAW"]})
        self.assertEqual(container["resources"]["limits"], {"memory": "256Mi"})
        token = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"].endswith("/serviceaccount")]
        self.assertEqual(token, ["podtap-token"])
        named = rendered(values={"node": {"enabled": True}, "config": {"WORKLOADS": "file:/names.json"}})
        (container,) = manifests.pod_of(only(named, "DaemonSet"))["containers"]
        self.assertEqual(container["args"], ["node"])

    def test_a_role_to_list_and_watch_is_made_only_on_request_and_for_no_more_than_it_says(self):
        asked = ["--set", "config.WORKLOADS=kubernetes", "--set", "rbac.create=true"]
        everywhere = rendered(*asked)
        account = ["--set", "rbac.serviceAccounts[0].name=web", "--set", "rbac.serviceAccounts[0].namespace=billing"]
        some = rendered(*asked, *account, "--set", "config.WORKLOADS_NAMESPACES={shop,billing}")
        for documents in [everywhere, some]:
            for document in documents:
                self.assertEqual(manifests.violations(document, NATIVE), [])
            for role in [d for d in documents if d["kind"] in ("Role", "ClusterRole")]:
                self.assertTrue(all(rule["verbs"] == ["list", "watch"] for rule in role["rules"]))
        group = only(everywhere, "ClusterRoleBinding")["subjects"]
        self.assertEqual([subject["name"] for subject in group], ["system:serviceaccounts:shop"])
        self.assertEqual([d["metadata"]["namespace"] for d in some if d["kind"] == "Role"], ["shop", "billing"])
        subjects = [d["subjects"] for d in some if d["kind"] == "RoleBinding"]
        self.assertEqual(subjects, [[{"kind": "ServiceAccount", "name": "web", "namespace": "billing"}]] * 2)
        self.assertFalse([rule for d in some if d["kind"] == "Role" for rule in d["rules"] if "nodes" in rule["resources"]])

    def test_only_the_sidecar_has_a_capability_and_nobody_more_than_restricted_allows(self):
        for _, documents in self.each():
            for pod in filter(None, map(manifests.pod_of, documents)):
                self.assertIs(pod["enableServiceLinks"], False)
                self.assertIs(pod["automountServiceAccountToken"], False)
                for container in manifests.containers(pod):
                    context = container["securityContext"]
                    self.assertEqual({key: context[key] for key in RESTRICTED}, RESTRICTED)
                    added = {"add": ["NET_RAW"]} if container["name"] == "podtap" else {}
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"], **added})
                    self.assertIn("memory", container["resources"]["limits"])

    def test_services_ports_and_volumes_name_what_is_there(self):
        for name, documents in self.each():
            self.assertEqual(manifests.loose_ends(documents), [], name)


class Defaults(unittest.TestCase):
    def test_nothing_but_the_configuration_and_its_test_is_made(self):
        documents = rendered()
        self.assertEqual(sorted(d["kind"] for d in documents), ["ConfigMap", "Pod"])
        self.assertEqual(only(documents, "ConfigMap")["data"], {})
        self.assertEqual(only(documents, "ConfigMap")["metadata"]["name"], "podtap")

    def test_helm_test_runs_podtap_check_as_the_sidecar_would_run(self):
        pod = only(rendered(), "Pod")
        self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
        self.assertEqual(pod["spec"]["restartPolicy"], "Never")
        (container,) = pod["spec"]["containers"]
        self.assertEqual(container.pop("args"), ["check"])
        theirs, volumes = sidecar(manifests.pod_of(only(demo(), "Deployment", "podtap-demo")))
        self.assertEqual(theirs.pop("restartPolicy"), "Always")
        self.assertEqual((container, pod["spec"]["volumes"]), (theirs, volumes))


def demo(**values):
    return rendered(values={"demo": {"enabled": True}, **values})


class Sidecar(unittest.TestCase):
    def of(self, **values):
        return sidecar(manifests.pod_of(only(demo(**values), "Deployment", "podtap-demo")))

    def test_each_capability_is_added_only_for_what_is_recorded(self):
        for config, added in [
            ({}, ["NET_RAW"]),
            ({"RECORD": "http"}, ["NET_RAW"]),
            ({"RECORD": ["http", "Conntrack"]}, ["NET_RAW", "NET_ADMIN"]),
            ({"RECORD": "flows"}, ["NET_RAW"]),
            ({"RECORD": "conntrack"}, ["NET_ADMIN"]),
            ({"CONNTRACK_ALL_NAMESPACES": True}, ["NET_RAW"]),
            ({"RECORD": "verdicts", "VERDICT_GROUPS": [5, 6]}, ["NET_ADMIN"]),
            ({"RECORD": "verdicts", "VERDICT_KMSG": True}, ["SYSLOG"]),
            ({"VERDICT_GROUPS": 5, "VERDICT_KMSG": True}, ["NET_RAW"]),
            ({"RECORD": "verdicts", "VERDICT_FILE": "/var/log/kern.log"}, []),
            ({"RECORD": "verdicts", "VERDICT_GROUPS": "none", "VERDICT_KMSG": "on"}, ["SYSLOG"]),
            ({"RECORD": "Conntrack, VERDICTS", "VERDICT_GROUPS": 0, "VERDICT_KMSG": 1}, ["NET_ADMIN", "SYSLOG"]),
            ({"RECORD": "conntrack", "CONNTRACK_ALL_NAMESPACES": True}, ["NET_ADMIN", "NET_BROADCAST"]),
        ]:
            container, _ = self.of(config=config)
            self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"], "add": added}, config)

    def test_it_is_native_unless_it_is_classic(self):
        pod = manifests.pod_of(only(demo(), "Deployment", "podtap-demo"))
        self.assertEqual([c["name"] for c in pod["initContainers"]], ["podtap"])
        self.assertEqual(pod["initContainers"][0]["restartPolicy"], "Always")
        pod = manifests.pod_of(only(demo(sidecar={"classic": True}), "Deployment", "podtap-demo"))
        self.assertEqual([c["name"] for c in pod["containers"]], ["nginx", "podtap"])
        self.assertNotIn("initContainers", pod)
        self.assertNotIn("restartPolicy", pod["containers"][1])

    def test_a_native_one_is_refused_where_it_would_never_end(self):
        values = {"demo": {"enabled": True}}
        with self.assertRaisesRegex(Failed, "sidecar.classic=true"):
            rendered(values=values, version="1.28")
        self.assertTrue(rendered(values={**values, "sidecar": {"classic": True}}, version="1.28"))

    def test_missing_configuration_keeps_no_pod_from_starting(self):
        container, _ = self.of(existingSecret="keys")
        self.assertEqual(
            container["envFrom"],
            [
                {"configMapRef": {"name": "podtap", "optional": True}},
                {"secretRef": {"name": "keys", "optional": True}},
            ],
        )

    def test_it_has_no_probe(self):
        container, _ = self.of()
        self.assertFalse([key for key in container if key.endswith("Probe")])

    def test_the_metrics_port_follows_its_setting(self):
        for address, ports in [
            ("", [19199]),
            (":8080", [8080]),
            ("[::]:9464", [9464]),
            ("127.0.0.1:9464", [9464]),
            (9464, [9464]),
            ("none", []),
        ]:
            container, _ = self.of(config={"METRICS_ADDR": address})
            found = [port["containerPort"] for port in container.get("ports", [])]
            self.assertEqual(found, ports, address)

    def test_a_spool_directory_gets_a_volume(self):
        container, volumes = self.of(config={"SPOOL_DIR": "/var/spool/podtap"}, sidecar={"spoolSizeLimit": "1Gi"})
        self.assertIn({"name": "podtap-spool", "mountPath": "/var/spool/podtap"}, container["volumeMounts"])
        self.assertIn({"name": "podtap-spool", "emptyDir": {"sizeLimit": "1Gi"}}, volumes)
        for none in ["", "none"]:
            self.assertEqual(len(self.of(config={"SPOOL_DIR": none})[1]), 1)

    def test_files_get_a_volume_once_for_each_folder(self):
        container, volumes = self.of(config={"FILE_PATH": "/out/a.json", "DEAD_LETTER_PATH": "/out/b.json"})
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "podtap-files"]
        self.assertEqual(mounts, [{"name": "podtap-files", "mountPath": "/out"}])
        self.assertIn({"name": "podtap-files", "emptyDir": {"sizeLimit": "1Gi"}}, volumes)
        for none in ["", "none", "/dev/stdout", "/records.json"]:
            self.assertEqual(len(self.of(config={"FILE_PATH": none})[1]), 1, none)

    def test_the_image_is_named_by_tag_or_digest(self):
        digest = "sha256:" + 64 * "0"
        for image, expected in [
            ({}, f"ghcr.io/podtap/podtap:{manifests.APP_VERSION}"),
            ({"repository": "a/b", "tag": "7"}, "a/b:7"),
            ({"digest": digest, "tag": "7"}, f"ghcr.io/podtap/podtap@{digest}"),
        ]:
            self.assertEqual(self.of(image=image)[0]["image"], expected)

    def test_the_pod_is_given_more_time_than_podtap_takes(self):
        for own, seconds in [("", 30), ("25s", 30), (10, 30), ("1m", 65), (90, 95), ("1h", 3605), ("1d", 86405), ("500ms", 30)]:
            pod = manifests.pod_of(only(demo(config={"GRACE_PERIOD": own}), "Deployment", "podtap-demo"))
            self.assertEqual(pod["terminationGracePeriodSeconds"], seconds, own)


class Configuration(unittest.TestCase):
    def data(self, config):
        return only(rendered(values={"config": config}), "ConfigMap")["data"]

    def test_values_of_every_kind_become_text(self):
        for value, text in [
            ("shop", "shop"),
            (["/a", "/b"], "/a,/b"),
            ([2, "x", True], "2,x,true"),
            (True, "true"),
            (False, "false"),
            (0, "0"),
            (0.25, "0.25"),
            (10_000_000, "10000000"),
            (1_048_576, "1048576"),
            ('a "b" \\ {{c}} #d: é\n', 'a "b" \\ {{c}} #d: é\n'),
        ]:
            self.assertEqual(self.data({"TAGS": value}), {"TAGS": text})

    def test_what_is_not_set_is_not_there(self):
        self.assertEqual(self.data({"TAGS": "", "MODE": None, "ROUTES": []}), {})

    def test_a_name_that_is_no_setting_is_refused(self):
        with self.assertRaisesRegex(Failed, "FLUENTD_HSOT"):
            self.data({"FLUENTD_HSOT": "x"})

    def test_a_secret_is_refused_and_the_place_for_it_named(self):
        with self.assertRaisesRegex(Failed, "FLUENTD_PASSWORD is a secret.*existingSecret"):
            self.data({"FLUENTD_PASSWORD": "x"})
        self.assertEqual(self.data({"FLUENTD_PASSWORD_FILE": "/x"}), {"FLUENTD_PASSWORD_FILE": "/x"})

    def test_a_value_that_there_is_not_is_refused(self):
        for values in [
            {"sidecars": {}},
            {"sidecar": {"clasic": True}},
            {"image": {"pullPolicy": "Sometimes"}},
            {"image": {"digest": "abc"}},
            {"webhook": {"port": 80}},
            {"webhook": {"timeoutSeconds": 31}},
            {"config": {"TAGS": {"a": "b"}}},
        ]:
            with self.assertRaises(Failed, msg=json.dumps(values)):
                rendered(values=values)

    def test_a_change_of_it_rolls_the_pods_and_nothing_else_does(self):
        def checksum(**values):
            template = only(demo(**values), "Deployment", "podtap-demo")["spec"]["template"]
            return template["metadata"]["annotations"]["podtap.io/config-checksum"]

        self.assertRegex(checksum(), "^[0-9a-f]{64}$")
        self.assertEqual(checksum(), checksum(webhook={"enabled": True}, config={"TAGS": ""}))
        self.assertNotEqual(checksum(), checksum(config={"FORMAT": "text"}))
        self.assertNotEqual(checksum(config={"FORMAT": "ecs"}), checksum(config={"FORMAT": "text"}))

    def test_it_can_be_somebody_else_s(self):
        documents = demo(configMap={"create": False, "name": "theirs"})
        self.assertFalse([d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] != "podtap-demo"])
        container, _ = sidecar(manifests.pod_of(only(documents, "Deployment", "podtap-demo")))
        self.assertEqual(container["envFrom"][0]["configMapRef"]["name"], "theirs")

    def test_other_namespaces_get_the_same(self):
        values = {"configMap": {"extraNamespaces": ["a", "shop", "b"]}, "config": {"FORMAT": "text"}}
        maps = [d for d in rendered(values=values) if d["kind"] == "ConfigMap"]
        self.assertEqual([m["metadata"]["namespace"] for m in maps], ["shop", "a", "b"])
        self.assertEqual({json.dumps(m["data"]) for m in maps}, {'{"FORMAT": "text"}'})


class Monitors(unittest.TestCase):
    def test_they_look_for_the_port_that_the_sidecar_has(self):
        values = ["--values", str(CHART / "ci" / "everything-values.yaml")]
        documents = rendered(*values)
        container, _ = sidecar(manifests.pod_of(only(documents, "Deployment", "tap-demo")))
        (port,) = container["ports"]
        monitor = only(documents, "PodMonitor")["spec"]
        self.assertEqual([e["port"] for e in monitor["podMetricsEndpoints"]], [port["name"]])
        self.assertEqual(monitor["namespaceSelector"], {"any": True})
        service = only(documents, "Service", "tap-metrics")
        self.assertEqual(service["spec"]["ports"][0]["targetPort"], port["name"])
        labels = only(documents, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
        self.assertLessEqual(labels.items(), service["metadata"]["labels"].items())

    def test_a_pod_monitor_finds_every_pod_with_the_port_unless_told_otherwise(self):
        monitor = only(rendered(values={"podMonitor": {"enabled": True}}), "PodMonitor")["spec"]
        self.assertEqual(monitor["selector"], {})
        self.assertNotIn("namespaceSelector", monitor)

    def test_without_metrics_there_is_nothing_to_monitor(self):
        values = {"podMonitor": {"enabled": True}, "config": {"METRICS_ADDR": "none"}}
        self.assertFalse([d for d in rendered(values=values) if d["kind"] == "PodMonitor"])

    def test_a_service_monitor_needs_to_know_whose_pods(self):
        with self.assertRaisesRegex(Failed, "serviceMonitor.podLabels"):
            rendered(values={"serviceMonitor": {"enabled": True}})


class Setup(unittest.TestCase):
    def test_it_runs_after_install_and_upgrade_with_its_own_rights(self):
        values = {"setup": {"enabled": True, "existingSecret": "admin"}, "existingSecret": "writer"}
        job = only(rendered(values=values), "Job")
        self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook"], "post-install,post-upgrade")
        (container,) = manifests.pod_of(job)["containers"]
        self.assertEqual(container["args"], ["setup", "elasticsearch"])
        self.assertEqual(container["envFrom"][1], {"secretRef": {"name": "admin"}})


class Notes(unittest.TestCase):
    def test_they_tell_the_next_step(self):
        for values, expected in [
            ({}, ["podtap inject", "helm test podtap --namespace shop", "Records go to: stdout."]),
            ({"webhook": {"enabled": True}}, ["kubectl label namespace NAMESPACE podtap.io/inject=enabled"]),
            ({"demo": {"enabled": True}}, ["kubectl logs --namespace shop deployment/podtap-demo --container podtap"]),
            ({"config": {"SEND_LOGS_TO": ["stdout", "file"]}}, ["Records go to: stdout,file."]),
            # What inject has to be told, to add what the chart would.
            ({"existingSecret": "keys", "sidecar": {"classic": True}}, ["--config-map podtap --secret keys --classic -f"]),
            ({"config": {"METRICS_ADDR": "[::]:9"}}, ["--config-map podtap --env 'METRICS_ADDR=[::]:9' -f deployment.yaml |"]),
            # What it must be allowed follows from what it records.
            ({}, ["needs the capability NET_RAW, which"]),
            (
                {"config": {"RECORD": ["http", "verdicts"], "VERDICT_GROUPS": [5, 6], "VERDICT_KMSG": True}},
                ["needs the capabilities NET_RAW, NET_ADMIN, SYSLOG, which", "--env 'RECORD=http,verdicts'",
                 "--env 'VERDICT_GROUPS=5,6' --env 'VERDICT_KMSG=true'"],
            ),
        ]:
            notes = cluster.notes(values)
            for line in expected:
                self.assertIn(line, notes)
            self.assertFalse(re.search(r"\n\n\n|[ \t]\n|<no value>|%!", notes), notes)


if __name__ == "__main__":
    unittest.main()
