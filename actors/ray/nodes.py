"""The nodes of a Ray cluster: what they are called, what kind they are of, what they could hold, and what may come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from actors.machine import machine_kind
from actors.ray.defaults import MAX_WORKERS
from actors.ray.joining import ray

# Labels that name a node's type, the most telling one first. Ray sets the first one from RAY_NODE_TYPE_NAME, which
# its autoscaler and KubeRay give to every node that they start.
TYPE_LABELS = ("ray.io/node-group", "ray.io/node-type", "node.kubernetes.io/instance-type", "ray.io/accelerator-type")
CONFIG = "--autoscaling-config="
AUTO = "auto"  # Ray's word for the cluster that this machine is a node of
ID_DIGITS = 8

Resources = Mapping[str, float]


def node_name(address: str, node_id: str) -> str:
    """A node as people find it: its address, and enough of its id to tell apart those that share one."""
    return f"{address}/{node_id[-ID_DIGITS:]}"


def node_kind(labels: Mapping[str, str], device: str) -> str:
    """The type of this node by its `labels` in Ray, or what the machine is for renderers on `device`."""
    named = (labels[label] for label in TYPE_LABELS if labels.get(label))
    return next(named, "") or machine_kind(device)


@dataclass(frozen=True)
class NodeType:
    """A type of node that the cluster's autoscaler can start, and how many of them at most."""

    name: str
    resources: Resources
    at_most: int


@dataclass(frozen=True)
class Capacity:
    """What a cluster has and can have. `types` are empty where it has no autoscaler, or nobody here knows them."""

    nodes: Sequence[Resources]
    types: Sequence[NodeType]

    @property
    def gpus(self) -> float:
        """GPUs of the nodes that are there."""
        return sum(node.get("GPU", 0.0) for node in self.nodes)

    @property
    def knows_gpus(self) -> bool:
        """Whether a node has a GPU, or could."""
        return self.gpus > 0 or any(kind.resources.get("GPU", 0) > 0 for kind in self.types)

    def slots(self, wanted: Resources) -> int:
        """How many renderers that each need `wanted` fit on the nodes that are there, were these empty."""
        return sum(fits(node, wanted) for node in self.nodes)

    def slots_to_come(self, wanted: Resources) -> int:
        """How many fit when every type has as many nodes as it may."""
        return sum(kind.at_most * fits(kind.resources, wanted) for kind in self.types)


def fits(there: Resources, wanted: Resources) -> int:
    """How many times `wanted` fits into `there`."""
    shares = [there.get(name, 0.0) / amount for name, amount in wanted.items() if amount > 0]
    return int(min(shares)) if shares else 1


def capacity() -> Capacity:
    """What the cluster that this process is connected to has and can have."""
    nodes = [dict(node["Resources"]) for node in cast(Any, ray).nodes() if node["Alive"]]
    return Capacity(nodes, node_types(ray.get_runtime_context().gcs_address))


def node_types(gcs_address: str, processes: Path = Path("/proc")) -> tuple[NodeType, ...]:
    """The types in the cluster file of the autoscaler of the cluster at `gcs_address`, where `cluster_file` finds it.
    Ray tells them nowhere else."""
    file = cluster_file(gcs_address, processes)
    try:
        return types_in(yaml.safe_load(file.read_text())) if file is not None else ()
    except (OSError, yaml.YAMLError):
        return ()


def cluster_file(gcs_address: str, processes: Path = Path("/proc")) -> Path | None:
    """The cluster file of the autoscaler of the cluster at `gcs_address`, where that runs on this machine, as it does
    on the head; "auto" is whichever cluster this machine is the head of."""
    for arguments in processes.glob("[0-9]*/cmdline"):
        try:
            words = arguments.read_text(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
        file = next((word.removeprefix(CONFIG) for word in words if word.startswith(CONFIG)), "")
        if file and (gcs_address == AUTO or f"--gcs-address={gcs_address}" in words):
            return Path(file).expanduser()
    return None


def types_in(cluster: Any) -> tuple[NodeType, ...]:
    """The types of a cluster file that workers can be of. Where a type does not say how many there may be, Ray takes as
    many as the whole cluster may have, and of the head's none."""
    kinds = cluster.get("available_node_types", {}) if isinstance(cluster, dict) else {}
    whole = cluster.get("max_workers", MAX_WORKERS) if kinds else 0
    most = {
        name: kind.get("max_workers", 0 if name == cluster.get("head_node_type") else whole)
        for name, kind in kinds.items()
    }
    return tuple(
        NodeType(str(name), dict(kind.get("resources") or {}), int(most[name]))
        for name, kind in kinds.items()
        if most[name] > 0
    )
