"""What a cluster file says of the nodes that may come: which types, how many, and how soon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.ray.defaults import MAX_WORKERS
from core.errors import InputError
from farm.clusterfile.check import read
from farm.clusterfile.findings import mapping, number
from farm.clusterfile.launcher import workers

MINUTE_S = 60.0


@dataclass(frozen=True)
class NodeSupply:
    """Types that renderers may come on, with the most nodes of each, in the file's order; `at_most` of all together.
    `boot_s` is from the request to a ready renderer, None where the file does not say it."""

    types: Mapping[str, int]
    at_most: int
    boot_s: float | None


def node_supply(path: Path) -> NodeSupply:
    """Of a file for `ray up`. `InputError` where it cannot be read, or names no type that may have nodes."""
    document = read(path)[0]
    # What the file leaves out Ray fills in: for a type, as many as the whole cluster may have.
    whole = document.get("max_workers", MAX_WORKERS)
    types = {str(name): int(number(kind.get("max_workers", whole))) for name, kind in workers(document).items()}
    types = {name: count for name, count in types.items() if count > 0}
    at_most = int(number(whole))
    if not types or at_most < 1:
        hint = "name a cluster.yaml whose available_node_types have max_workers"
        raise InputError("the file names no type of nodes that may come", where=str(path), hint=hint)
    boot_s = number(mapping(document.get("metadata")).get("boot_minutes")) * MINUTE_S
    return NodeSupply(types, at_most, boot_s if boot_s > 0 else None)
