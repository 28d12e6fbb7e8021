"""The admission webhook of the chart: whom it is asked about, its certificate, its pods."""

import base64
import subprocess
import tempfile
import unittest

import cluster
import manifests
from manifests import only, rendered

HOST = "podtap-webhook.shop.svc"


def made(**webhook):
    return rendered(values={"webhook": {"enabled": True, **webhook}})


def hooks(documents):
    """What asks for the sidecar, and what asks where it is forbidden."""
    inject, forbidden = only(documents, "MutatingWebhookConfiguration")["webhooks"]
    return inject, forbidden


def arguments(documents):
    (container,) = manifests.pod_of(only(documents, "Deployment"))["containers"]
    return container["args"]


class Webhook(unittest.TestCase):
    def test_there_is_none_by_default(self):
        self.assertFalse([d for d in rendered() if "Webhook" in d["kind"]])

    def test_it_is_asked_about_new_pods_of_labelled_namespaces_that_do_not_object(self):
        for hook in hooks(made()):
            self.assertEqual(hook["failurePolicy"], "Ignore")
            self.assertEqual(hook["sideEffects"], "None")
            (rule,) = hook["rules"]
            self.assertEqual((rule["operations"], rule["resources"]), (["CREATE"], ["pods"]))
            namespaces = hook["namespaceSelector"]
            self.assertEqual(namespaces["matchLabels"], {"podtap.io/inject": "enabled"})
            excluded, _ = namespaces["matchExpressions"]
            self.assertEqual((excluded["key"], excluded["operator"]), ("kubernetes.io/metadata.name", "NotIn"))
            self.assertCountEqual(excluded["values"], ["shop", "kube-system"])
            (objecting,) = hook["objectSelector"]["matchExpressions"]
            self.assertEqual((objecting["operator"], objecting["values"]), ("NotIn", ["false"]))

    def test_where_pod_security_forbids_the_capability_it_is_asked_for_a_warning_only(self):
        asked = {}
        for hook in hooks(made()):
            _, level = hook["namespaceSelector"]["matchExpressions"]
            self.assertEqual(level["key"], "pod-security.kubernetes.io/enforce")
            self.assertEqual(level["values"], ["baseline", "restricted"])
            asked[level["operator"]] = hook["clientConfig"]["service"]["path"]
        self.assertEqual(asked, {"NotIn": "/inject", "In": "/forbidden"})

    def test_the_api_server_finds_it(self):
        documents = made(port=9443)
        service = only(documents, "Service")
        for hook in hooks(documents):
            asked = hook["clientConfig"]["service"]
            self.assertEqual((asked["name"], asked["namespace"]), (service["metadata"]["name"], "shop"))
            self.assertIn(asked["port"], [port["port"] for port in service["spec"]["ports"]])
        self.assertEqual(manifests.loose_ends(documents), [])
        self.assertIn("--listen=0.0.0.0:9443", arguments(documents))

    def test_it_adds_the_sidecar_that_the_chart_would_add(self):
        values = {
            "webhook": {"enabled": True, "extraArgs": ["--env=FORMAT=classic"]},
            "image": {"repository": "a/b", "tag": "7", "pullPolicy": "Always"},
            "configMap": {"name": "c"},
            "existingSecret": "s",
            "config": {"METRICS_ADDR": ":9", "SPOOL_DIR": "/spool"},
            "sidecar": {"classic": True, "resources": {"requests": {"cpu": None}, "limits": {"cpu": 2}}},
        }
        expected = """--image=a/b:7 --image-pull-policy=Always --config-map=c --secret=s --classic --cpu=none
            --cpu-limit=2 --memory=64Mi --memory-request=32Mi --env=METRICS_ADDR=:9 --env=SPOOL_DIR=/spool
            --env=FORMAT=classic"""
        self.assertEqual(arguments(rendered(values=values))[4:], expected.split())
        usual = "--config-map=podtap --cpu=10m --cpu-limit=none --memory=64Mi --memory-request=32Mi"
        self.assertEqual(arguments(made())[5:], usual.split())

    def test_its_own_pods_get_no_token_and_no_capability(self):
        documents = made()
        self.assertIs(only(documents, "ServiceAccount")["automountServiceAccountToken"], False)
        (container,) = manifests.pod_of(only(documents, "Deployment"))["containers"]
        self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})

    def test_two_releases_do_not_share_their_configuration(self):
        values = {"webhook": {"enabled": True}}
        names = {
            only(rendered(values=values, namespace=space), "MutatingWebhookConfiguration")["metadata"]["name"]
            for space in ["a", "b"]
        }
        self.assertEqual(len(names), 2)


class Certificate(unittest.TestCase):
    def openssl(self, *arguments):
        return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout

    def test_it_is_of_the_authority_that_the_api_server_is_told_of_and_for_the_service_s_name(self):
        documents = made()
        secret = only(documents, "Secret")["data"]
        for hook in hooks(documents):
            self.assertEqual(hook["clientConfig"]["caBundle"], secret["ca.crt"])
        with tempfile.TemporaryDirectory() as folder:
            for name, text in secret.items():
                with open(f"{folder}/{name}", "wb") as file:
                    file.write(base64.b64decode(text))
            authority, certificate = f"{folder}/ca.crt", f"{folder}/tls.crt"
            verified = self.openssl("verify", "-CAfile", authority, "-verify_hostname", HOST, certificate)
            self.assertIn("OK", verified)
            self.openssl("x509", "-in", certificate, "-noout", "-checkend", str(9 * 365 * 24 * 3600))
            key = self.openssl("pkey", "-in", f"{folder}/tls.key", "-pubout")
            self.assertEqual(key, self.openssl("x509", "-in", certificate, "-noout", "-pubkey"))

    def test_each_rendering_without_a_cluster_makes_another_one(self):
        values = {"webhook": {"enabled": True}}
        one, other = (only(rendered(values=values, again=True), "Secret") for _ in range(2))
        self.assertNotEqual(one["data"], other["data"])

    def test_the_one_that_is_there_is_kept(self):
        values = {"webhook": {"enabled": True}}
        first = only(cluster.rendered(values), "Secret")
        again = cluster.rendered(values, first)
        self.assertEqual(only(again, "Secret")["data"], first["data"])
        for hook in hooks(again):
            self.assertEqual(hook["clientConfig"]["caBundle"], first["data"]["ca.crt"])

    def test_one_that_is_not_whole_is_made_anew(self):
        values = {"webhook": {"enabled": True}}
        first = only(cluster.rendered(values), "Secret")
        del first["data"]["ca.crt"]
        again = only(cluster.rendered(values, first), "Secret")
        self.assertNotEqual(again["data"]["tls.crt"], first["data"]["tls.crt"])

    def test_cert_manager_makes_it_when_asked(self):
        documents = made(certManager={"enabled": True})
        self.assertFalse([d for d in documents if d["kind"] == "Secret"])
        certificate = only(documents, "Certificate")
        self.assertEqual(certificate["spec"]["issuerRef"], {"kind": "Issuer", "name": only(documents, "Issuer")["metadata"]["name"]})
        self.assertIn(HOST, certificate["spec"]["dnsNames"])
        mounted = manifests.pod_of(only(documents, "Deployment"))["volumes"][0]["secret"]["secretName"]
        self.assertEqual(certificate["spec"]["secretName"], mounted)
        told = only(documents, "MutatingWebhookConfiguration")["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        self.assertEqual(told, f"shop/{certificate['metadata']['name']}")
        self.assertFalse([hook for hook in hooks(documents) if "caBundle" in hook["clientConfig"]])

    def test_an_issuer_of_one_s_own_is_taken(self):
        documents = made(certManager={"enabled": True, "issuerRef": {"name": "i", "kind": "ClusterIssuer"}})
        self.assertFalse([d for d in documents if d["kind"] == "Issuer"])
        self.assertEqual(only(documents, "Certificate")["spec"]["issuerRef"]["kind"], "ClusterIssuer")


if __name__ == "__main__":
    unittest.main()
