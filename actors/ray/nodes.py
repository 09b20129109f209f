"""The nodes of a Ray cluster: what they are called and what kind they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from actors.machine import CPU, machine_kind
from actors.ray.joining import ray

# Labels that name a node's type, the most telling one first. The autoscaler sets the first two.
TYPE_LABELS = ("ray.io/node-group", "ray.io/node-type", "node.kubernetes.io/instance-type", "ray.io/accelerator-type")
ACCELERATOR = "accelerator_type:"
ID_DIGITS = 8


def name_of(node: Mapping[str, Any]) -> str:
    """A node as people find it: its address, and enough of its id to tell apart those that share one."""
    return f"{node.get('NodeManagerAddress', '')}/{str(node['NodeID'])[:ID_DIGITS]}"


def kind_of(node: Mapping[str, Any]) -> str:
    """The type of a node by its labels; else the accelerator that Ray found; "cpu" where there is no GPU; else ""."""
    labels = node.get("Labels") or {}
    for label in TYPE_LABELS:
        if labels.get(label):
            return str(labels[label])
    resources = node.get("Resources") or {}
    for name in sorted(resources):
        if name.startswith(ACCELERATOR):
            return str(name.removeprefix(ACCELERATOR))
    return "" if resources.get("GPU") else CPU


class Nodes:
    """Looks nodes up by their id, each once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def name_and_kind(self, node_id: str) -> tuple[str, str]:
        if node_id not in self._known:
            for node in cast(Any, ray).nodes():
                self._known[str(node["NodeID"])] = (name_of(node), kind_of(node) or machine_kind(""))
        return self._known.get(node_id, (node_id[:ID_DIGITS], CPU))
