"""What stands beside the RayJob on Kubernetes: who is let in, by the rules that the shipped files write."""

from __future__ import annotations

from typing import Any

import pytest

from farm.clusterfile.check import read
from tests.deploy.amazon import ROOT

FOLDER = ROOT / "deploy/kuberay"
METRICS, DASHBOARD, SERVICE = 8080, 8265, 8000  # KubeRay's, Ray's and the farm's numbers


def of_kind(file: str, kind: str) -> dict[str, Any]:
    (found,) = [document for document in read(FOLDER / file) if document["kind"] == kind]
    return found


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """A selector by labels; an empty one takes all."""
    return selector is not None and (selector.get("matchLabels") or {}).items() <= labels.items()


def admits(policy: dict[str, Any], port: int, namespace: dict[str, str], pod: dict[str, str]) -> bool:
    """Whether a pod with these labels, in a namespace with those, may speak to `port` of the pods of the policy."""
    here = {"kubernetes.io/metadata.name": policy["metadata"]["namespace"]}
    for rule in policy["spec"]["ingress"]:
        if "ports" in rule and port not in [one["port"] for one in rule["ports"]]:
            continue
        for peer in rule["from"]:
            place = selects(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else namespace == here
            if place and selects(peer.get("podSelector", {}), pod):
                return True
    return False


@pytest.mark.parametrize(
    ("namespace", "pod", "ports"),
    [
        ({"kubernetes.io/metadata.name": "farm"}, {}, {METRICS, DASHBOARD, SERVICE}),
        ({"kubernetes.io/metadata.name": "kuberay-system"}, {}, {METRICS, DASHBOARD, SERVICE}),
        ({"kubernetes.io/metadata.name": "monitoring", "farm-metrics": "true"}, {}, {METRICS}),
        ({"kubernetes.io/metadata.name": "web"}, {"farm-client": "true"}, {SERVICE}),
        ({"kubernetes.io/metadata.name": "monitoring"}, {}, set()),
    ],
)
def test_who_may_speak_to_which_port(namespace: dict[str, str], pod: dict[str, str], ports: set[int]) -> None:
    policy = of_kind("access.yaml", "NetworkPolicy")
    assert {port for port in (METRICS, DASHBOARD, SERVICE) if admits(policy, port, namespace, pod)} == ports


def test_the_monitor_looks_at_every_kind_of_node() -> None:
    monitor = of_kind("metrics.yaml", "PodMonitor")
    assert monitor["metadata"]["namespace"] == of_kind("access.yaml", "NetworkPolicy")["metadata"]["namespace"]
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    assert (expression["key"], set(expression["values"])) == ("ray.io/node-type", {"head", "worker"})
    assert [one["port"] for one in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    for file, kind, key in (
        ("rayjob.yaml", "RayJob", "rayClusterSpec"),
        ("rayservice.yaml", "RayService", "rayClusterConfig"),
    ):
        cluster = of_kind(file, kind)["spec"][key]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            # KubeRay names port 8080 itself, unless somebody else takes the number or the name.
            assert "metrics-export-port" not in group["rayStartParams"]
            named = [port for one in group["template"]["spec"]["containers"] for port in one.get("ports", ())]
            assert not [port for port in named if port["name"] == "metrics" or port["containerPort"] == METRICS]
