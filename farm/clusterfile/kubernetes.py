"""Rules for KubeRay manifests: RayJob for films, RayService for the HTTP service, and what stands beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from farm.clusterfile.fields import field_faults, tables
from farm.clusterfile.findings import VIDEO_CAPABILITIES, Finding, mapping, members, number, wrong_tag

CLUSTER = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
BESIDE = {"Namespace", "ServiceAccount", "NetworkPolicy", "Secret", "ConfigMap", "PodMonitor"}
GPU = "nvidia.com/gpu"
DISK = "ephemeral-storage"


def kubernetes_faults(documents: list[dict[str, Any]], ray_version: str) -> Iterator[Finding]:
    """Every rule, for all documents of one file."""
    known = tables()
    for document in documents:
        kind = str(document["kind"])
        name = str(mapping(document.get("metadata")).get("name"))
        if kind in CLUSTER:
            yield from field_faults(document.get("spec"), known[kind], known, f"{kind}.spec")
            where = f"{kind}.spec.{CLUSTER[kind]}"
            yield from _cluster(where, mapping(mapping(document.get("spec")).get(CLUSTER[kind])), ray_version)
            if kind == "RayJob" and not mapping(document.get("spec")).get("shutdownAfterJobFinishes"):
                yield Finding("RayJob.spec.shutdownAfterJobFinishes", "the cluster stays and costs", "write true")
        elif kind == "Service" and mapping(document.get("spec")).get("type", "ClusterIP") != "ClusterIP":
            yield Finding(f"Service {name}.spec.type", "a port to the outside", "ClusterIP, and kubectl port-forward")
        elif kind not in BESIDE | {"Service"}:
            yield Finding(f"{kind} {name}", "no rules for this kind", "put it into a file of its own")


def _cluster(where: str, cluster: dict[str, Any], ray_version: str) -> Iterator[Finding]:
    if str(cluster.get("rayVersion")) != ray_version:
        yield Finding(f"{where}.rayVersion", f"{cluster.get('rayVersion')}", f'write "{ray_version}"')
    if mapping(cluster.get("authOptions")).get("mode") != "token":
        yield Finding(f"{where}.authOptions", "a Ray that obeys everybody", "write {mode: token}")
    options = mapping(cluster.get("autoscalerOptions"))
    if not cluster.get("enableInTreeAutoscaling") or options.get("version") != "v2":
        yield Finding(f"{where}.autoscalerOptions", "no autoscaler v2", "enableInTreeAutoscaling: true and version: v2")
    head = mapping(cluster.get("headGroupSpec"))
    if mapping(head.get("rayStartParams")).get("num-cpus") != "0":
        yield Finding(f"{where}.headGroupSpec.rayStartParams", "renderers may land on the head", 'num-cpus: "0"')
    if head.get("serviceType", "ClusterIP") != "ClusterIP":
        yield Finding(f"{where}.headGroupSpec.serviceType", "a port to the outside", "ClusterIP")
    yield from _pod(f"{where}.headGroupSpec", head, ray_version)
    groups = [mapping(group) for group in members(cluster.get("workerGroupSpecs"))]
    if not groups:
        yield Finding(f"{where}.workerGroupSpecs", "nobody would render", "add a group")
    for group in groups:
        place = f"{where}.workerGroupSpecs.{group.get('groupName')}"
        yield from _pod(place, group, ray_version)
        yield from _worker(place, group)
    renderers = [group for group in groups if _gpus(group)]
    if any(_limits(group) != _limits(renderers[0]) for group in renderers):
        yield Finding(f"{where}.workerGroupSpecs", "groups with GPUs of unlike resources", "the same, or size decides")
    if len({number(group.get("priority")) for group in renderers}) < len(renderers):
        yield Finding(f"{where}.workerGroupSpecs", "groups of one priority", "one for each, the cheapest highest")
    accounts = {str(_spec(group).get("serviceAccountName")) for group in groups}
    if str(_spec(head).get("serviceAccountName")) in accounts | {"None"}:
        yield Finding(
            f"{where}.headGroupSpec.template", "the workers' account, or none", "serviceAccountName of its own"
        )


def _spec(group: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(group.get("template")).get("spec"))


def _containers(group: dict[str, Any]) -> list[dict[str, Any]]:
    return [mapping(container) for container in members(_spec(group).get("containers"))]


def _requests(container: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(container.get("resources")).get("requests"))


def _volumes(group: dict[str, Any]) -> list[dict[str, Any]]:
    return [mapping(volume) for volume in members(_spec(group).get("volumes"))]


def _bytes(quantity: object) -> float:
    """Of a quantity of Kubernetes in whole units of bytes; 0 for another, which the table of fields does not know."""
    found = re.fullmatch(r"(\d+)([KMGT]?)(i?)", str(quantity))
    if found is None:
        return 0.0
    number, unit, binary = found.groups()
    return float(number) * (1024.0 if binary else 1000.0) ** (" KMGT".index(unit) if unit else 0)


def _limits(group: dict[str, Any]) -> list[object]:
    return [mapping(container.get("resources")).get("limits") for container in _containers(group)]


def _gpus(group: dict[str, Any]) -> bool:
    return any(GPU in mapping(limits) for limits in _limits(group))


def _pod(where: str, group: dict[str, Any], ray_version: str) -> Iterator[Finding]:
    context = mapping(_spec(group).get("securityContext"))
    if not context.get("runAsNonRoot"):
        yield Finding(f"{where}.template.spec.securityContext", "may run as root", "runAsNonRoot: true")
    if _spec(group).get("restartPolicy") != "Never":
        yield Finding(f"{where}.template.spec.restartPolicy", "a pod that Ray has given up comes back", "Never")
    asked = sum(_bytes(_requests(container).get(DISK)) for container in _containers(group))
    taken = sum(_bytes(mapping(volume.get("emptyDir")).get("sizeLimit")) for volume in _volumes(group))
    if asked < taken:
        hint = f"{DISK} among the requests, as much as the volumes may hold"
        yield Finding(f"{where}.template.spec.volumes", "a node with a small disk evicts the pod", hint)
    for container in _containers(group):
        place = f"{where}.{container.get('name')}"
        yield from wrong_tag(f"{place}.image", container.get("image"), ray_version)
        rights = mapping(container.get("securityContext"))
        if rights.get("allowPrivilegeEscalation") is not False or rights.get("privileged"):
            yield Finding(f"{place}.securityContext", "may gain rights", "allowPrivilegeEscalation: false")
        if not _limits(group)[0]:
            yield Finding(
                f"{place}.resources", "Ray reads them, and none are there", "limits, and the same as requests"
            )


def _worker(where: str, group: dict[str, Any]) -> Iterator[Finding]:
    if not _gpus(group):
        return
    if group.get("minReplicas", 0) or group.get("replicas", 0):
        yield Finding(f"{where}.minReplicas", "nodes that stay when nothing is to do", "0, and replicas: 0")
    container = _containers(group)[0]
    given = {mapping(entry).get("name"): mapping(entry).get("value") for entry in members(container.get("env"))}
    if VIDEO_CAPABILITIES - set(str(given.get("NVIDIA_DRIVER_CAPABILITIES")).split(",")):
        hint = "NVIDIA_DRIVER_CAPABILITIES: compute,utility,video"
        yield Finding(f"{where}.{container.get('name')}.env", "no video codecs of the GPU", hint)
    if not mapping(group.get("labels")).get("market"):
        yield Finding(f"{where}.labels", "nobody knows its price", "market: spot or on-demand")
