"""What `podtap inject` makes of tests/inject, read by another parser: valid as before, and nothing changed but the sidecar."""

import copy
import unittest

import manifests
from manifests import NATIVE, ROOT, violations

FOLDER = ROOT / "tests" / "inject"
KINDS = ["Pod", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"]


def objects(path):
    """The objects of a file, those of a List one by one."""
    for document in manifests.documents(path.read_text()):
        yield from document["items"] if document["kind"] == "List" else [document]


def without(document):
    """The object without its sidecar, and whether it had one."""
    document = copy.deepcopy(document)
    pod = manifests.pod_of(document)
    before = len(pod.get("initContainers") or [])
    pod["initContainers"] = [each for each in pod.get("initContainers") or [] if each["name"] != "podtap"]
    pod["volumes"] = [each for each in pod.get("volumes") or [] if not each["name"].startswith("podtap-")]
    return document, len(pod["initContainers"]) < before


class Inject(unittest.TestCase):
    def test_what_was_valid_is_valid_with_the_sidecar_and_otherwise_the_same(self):
        seen = set()
        for path in sorted(FOLDER.glob("*.*")):
            with self.subTest(path.name):
                before, after = list(objects(path)), list(objects(FOLDER / "expected" / path.name))
                self.assertEqual(len(before), len(after))
                for one, other in zip(before, after):
                    self.assertEqual(violations(one, NATIVE), [])
                    self.assertEqual(violations(other, NATIVE), [])
                    if one["kind"] not in KINDS:
                        self.assertEqual(one, other)
                        continue
                    seen.add(one["kind"])
                    bare, had = without(other)
                    self.assertTrue(had)
                    self.assertEqual(bare, without(one)[0])
        self.assertEqual(seen, set(KINDS))
