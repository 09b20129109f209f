"""What stands beside the RayJob on Kubernetes: who is let in, the nodes below it, prices and models of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from farm.clusterfile.check import findings, read
from farm.cost.prices import load_prices
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


def clusters() -> Iterator[dict[str, Any]]:
    yield of_kind("rayjob.yaml", "RayJob")["spec"]["rayClusterSpec"]
    yield of_kind("rayservice.yaml", "RayService")["spec"]["rayClusterConfig"]


def gibibytes(text: str) -> int:
    return int(text.removesuffix("Gi"))


def test_amazons_nodes_are_those_that_the_pods_ask_for() -> None:
    """By label, taint, disk, and what the autoscaler is told of a group without nodes."""
    nodes = {
        one["name"]: one for one in yaml.safe_load((ROOT / "deploy/aws/eks.yaml").read_text())["managedNodeGroups"]
    }
    for cluster in clusters():
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            pod, node = group["template"]["spec"], nodes[group.get("groupName", "head")]
            asked = pod["containers"][0]["resources"]["requests"]
            assert pod["nodeSelector"] == node["labels"]
            tolerated = {one["key"] for one in pod.get("tolerations", ())}
            assert {one["key"] for one in node.get("taints", ())} == tolerated & set(asked)
            disk = gibibytes(asked["ephemeral-storage"])
            (told,) = [text for name, text in node["tags"].items() if name.endswith("/resources/ephemeral-storage")]
            assert disk < gibibytes(told) < node["volumeSize"]
            assert (node["propagateASGTags"], node["minSize"], node["volumeEncrypted"]) == (True, 0, True)
            assert node.get("spot", False) == (group.get("labels", {}).get("market") == "spot")


def test_the_roles_of_amazons_cluster_are_those_of_the_folder_and_of_the_accounts() -> None:
    accounts = yaml.safe_load((ROOT / "deploy/aws/eks.yaml").read_text())["iam"]["serviceAccounts"]
    roles = {one["metadata"]["name"]: one for one in accounts if "attachPolicy" in one}
    named = [document for document in read(FOLDER / "access.yaml") if document["kind"] == "ServiceAccount"]
    assert len(named) == len(roles)
    for account in named:
        role = roles[account["metadata"]["name"]]
        assert role["metadata"]["namespace"] == account["metadata"]["namespace"]
        assert role["roleOnly"]
        arn = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert arn == f"arn:aws:iam::ACCOUNT:role/{role['roleName']}"
        kept = json.loads((ROOT / f"deploy/iam/{account['metadata']['name'].removeprefix('farm-')}.json").read_text())
        ours = [part for part in kept["Statement"] if all(action.startswith("s3:") for action in part["Action"])]
        assert role["attachPolicy"]["Statement"] == ours


def test_every_group_of_pods_has_a_price(tmp_path: Path) -> None:
    """Else a budget is refused (`no price of ... is known`)."""
    table = tmp_path / "prices.toml"
    table.write_text(of_kind("access.yaml", "ConfigMap")["data"]["prices.toml"])
    prices = load_prices(table)
    for cluster in clusters():
        groups = {group["groupName"]: group["labels"]["market"] for group in cluster["workerGroupSpecs"]}
        for name, market in groups.items():
            price = prices.of(name)
            assert price is not None
            assert price.market == market
        assert set(prices.own) == set(groups)
        head = cluster["headGroupSpec"]["template"]["spec"]
        (file,) = [one["value"] for one in head["containers"][0]["env"] if one["name"] == "FARM_PRICES"]
        (mount,) = [one for one in head["containers"][0]["volumeMounts"] if file == f"{one['mountPath']}/{table.name}"]
        (volume,) = [one for one in head["volumes"] if one["name"] == mount["name"]]
        assert volume["configMap"]["name"] == of_kind("access.yaml", "ConfigMap")["metadata"]["name"]


@pytest.mark.parametrize("file", ["rayjob.yaml", "rayservice.yaml"])
def test_with_the_comments_taken_away_every_pod_fetches_models_of_ones_own(file: str) -> None:
    text = (FOLDER / file).read_text()
    written = re.compile(r"^( +)# (initContainers:|- | {2,})", re.MULTILINE)
    (document,) = yaml.safe_load_all(written.sub(r"\1\2", text))
    assert not [one for one in findings([document]) if not one.fill_in]
    spec = document["spec"]
    cluster = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        first, container = pod["initContainers"][0], pod["containers"][0]
        said = {one["name"]: one.get("value") for one in (*container["env"], *first["env"])}
        assert f"--cache {said['FARM_MODEL_CACHE']}" in said["PULL"]
        assert "--from s3://BUCKET/models/ --accept-licence" in first["command"][-1]
        assert first["volumeMounts"][0] in container["volumeMounts"]
        assert first["envFrom"] == container["envFrom"]
