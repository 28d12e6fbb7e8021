"""Writes the plain manifests of examples/kubernetes anew (scripts/charts update)."""

import manifests

for target in manifests.TARGETS:
    (manifests.EXAMPLES / f"{target}.yaml").write_text(manifests.plain(target))
    print(f"charts: examples/kubernetes/{target}.yaml")
(manifests.EXAMPLES / "node.yaml").write_text(manifests.node())
print("charts: examples/kubernetes/node.yaml")
