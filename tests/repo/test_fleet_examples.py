"""The examples of a fleet are valid YAML, and their objects fit each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "examples" / "kubernetes"
KINDS = {
    "Deployment": "apps/v1", "Service": "v1", "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}  # fmt: skip


def objects(name: str = "*") -> list[dict[str, Any]]:
    return [
        one for file in sorted(FOLDER.glob(f"{name}.yaml"))
        for one in yaml.safe_load_all(file.read_text())
    ]  # fmt: skip


def pods() -> list[dict[str, Any]]:
    return [one["spec"]["template"] for one in objects() if "template" in one["spec"]]


@pytest.mark.parametrize(
    "one", objects(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_object_has_a_known_kind_and_its_version(one: dict[str, Any]) -> None:
    assert one["apiVersion"] == KINDS[one["kind"]]
    assert set(one) == {"apiVersion", "kind", "metadata", "spec"}


def test_pods_mount_only_volumes_that_they_have_and_run_without_rights() -> None:
    assert len(pods()) == 3
    for pod in pods():
        spec = pod["spec"]
        volumes = {each["name"] for each in spec.get("volumes", [])}
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        mounted = {m["name"] for each in containers for m in each.get("volumeMounts", [])}
        assert mounted == volumes
        assert spec["securityContext"]["runAsNonRoot"]


def test_services_and_selectors_name_labels_and_ports_of_pods() -> None:
    for one in objects("deployment"):
        spec = one["spec"]
        if one["kind"] == "Deployment":
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
        if one["kind"] == "Service":
            [pod] = [p for p in pods() if p["metadata"]["labels"] == spec["selector"]]
            ports = {each["name"] for each in pod["spec"]["containers"][0]["ports"]}
            assert {each["targetPort"] for each in spec["ports"]} == ports


def test_native_sidecar_starts_before_the_agent_and_reads_the_shared_url() -> None:
    [job] = objects("native-sidecar")
    [sidecar] = job["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "startupProbe" in sidecar
    assert "SIDECAR_SHARED" in {each["name"] for each in sidecar["env"]}
