"""The nodes of a Ray cluster: what they are called, what kind they are of, what they could hold, and what may come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from actors.machine import machine_kind
from actors.ray.joining import ray

# Labels that name a node's type, the most telling one first. Ray sets the first one from RAY_NODE_TYPE_NAME, which
# its autoscaler and KubeRay give to every node that they start.
TYPE_LABELS = ("ray.io/node-group", "ray.io/node-type", "node.kubernetes.io/instance-type", "ray.io/accelerator-type")
AUTOSCALER_STATUS = b"__autoscaling_status"  # where Ray's first autoscaler, which tells no types, keeps its report
ID_DIGITS = 8

Resources = Mapping[str, float]


def node_name(address: str, node_id: str) -> str:
    """A node as people find it: its address, and enough of its id to tell apart those that share one."""
    return f"{address}/{node_id[:ID_DIGITS]}"


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
    """What a cluster has and can have. `grows`: it has an autoscaler; `types` are empty where that does not say."""

    nodes: Sequence[Resources]
    types: Sequence[NodeType]
    grows: bool

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

    def slots_at_most(self, wanted: Resources) -> int:
        """How many fit when every type has as many nodes as it may."""
        return max(self.slots(wanted), sum(kind.at_most * fits(kind.resources, wanted) for kind in self.types))

    def hopeless(self, wanted: Resources) -> bool:
        """Whether no node can hold a renderer, and none that could will come."""
        if self.slots(wanted):
            return False
        return not self.grows or (bool(self.types) and not any(fits(kind.resources, wanted) for kind in self.types))


def fits(there: Resources, wanted: Resources) -> int:
    """How many times `wanted` fits into `there`."""
    shares = [there.get(name, 0.0) / amount for name, amount in wanted.items() if amount > 0]
    return int(min(shares)) if shares else 1


def capacity() -> Capacity:
    """What the cluster that this process is connected to has and can have."""
    state = cast(Any, ray)._private.state.state
    nodes = [dict(node["Resources"]) for node in cast(Any, ray).nodes() if node["Alive"]]
    config = state.get_cluster_config()
    groups = [] if config is None else list(config.node_group_configs)
    types = [
        NodeType(str(group.name), dict(group.resources), at_most_of(group.max_count))
        for group in groups
        if group.max_count
    ]
    kv = cast(Any, ray).experimental.internal_kv
    grows = config is not None or kv._internal_kv_get(AUTOSCALER_STATUS) is not None
    return Capacity(nodes, types, grows)


def at_most_of(count: int) -> int:
    """Ray's -1 is "any number"."""
    return count if count >= 0 else 10_000
